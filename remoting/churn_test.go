package remoting

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// openFiles is how many descriptors the process has.
func openFiles(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("SKIPPED, descriptors that are left open are not counted: %v; it needs /proc, as on Linux, where bin/test runs this", err)
	}
	return len(d)
}

// TestConnectionsThatComeAndGo has connections end in every way at every moment, and then counts: no connection, region or
// descriptor is left.
func TestConnectionsThatComeAndGo(t *testing.T) {
	cert := certificate(t, "one")
	lane := NewLane("lane", 2, 50)
	defer lane.Close()
	var opened, closed, asked, released atomic.Int64
	region := make([]byte, 50_000)
	regions := func() *Reply {
		asked.Add(1)
		return &Reply{Regions: [][]byte{region}, Release: func() { released.Add(1) }}
	}
	later := make(chan Replier, 10_000)
	s := startServer(t, ServerOptions{
		OnOpen: func(*Conn) { opened.Add(1) }, OnClose: func(*Conn) { closed.Add(1) },
		Limits: Limits{WriteHighMark: 64 << 10}, TLS: policy("permissive", certFunc(cert)),
		Routes: []Route{
			{Code: 1, Handle: echo},
			{Code: 2, Handle: func(r *Request) { r.Reply(regions()) }},
			{Code: 3, Handle: func(r *Request) { r.Reply(regions()); r.Conn().Close() }},
			{Code: 4, Handle: func(r *Request) { later <- r.Replier() }},
			{Code: 5, Lane: lane, Handle: func(r *Request) { r.Reply(regions()) }},
			{Code: 6, Lane: lane, Handle: func(r *Request) { r.Conn().Close() }},
		},
	})
	first := dialRaw(t, s) // has the event loops open their descriptors
	mustWrite(t, first, jsonFrame(`{"code":1}`, ""))
	readFrame(t, first)
	before := openFiles(t)
	var answering, clients sync.WaitGroup
	answering.Go(func() {
		var b Batch
		for r := range later {
			b.Reply(r, regions())
			if len(later)%3 == 0 {
				b.Flush()
			}
		}
		b.Flush()
	})
	for seed := range uint64(4) {
		clients.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, 1))
			for range 100 {
				visit(t, s, rnd)
			}
		})
	}
	clients.Wait()
	eventually(t, "every connection to end", func() bool { return opened.Load() == 401 && closed.Load() == 400 })
	close(later)
	answering.Wait()
	eventually(t, "every region to be released", func() bool { return released.Load() == asked.Load() && lane.Stats().Queued == 0 })
	eventually(t, "every descriptor to be closed", func() bool { return openFiles(t) <= before })
	if n := len(s.conns.list(func(*Conn) bool { return true })); n != 1 {
		t.Errorf("%d connections are left, want the first", n)
	}
}

// visit is one connection that does a few things and goes in one of several ways.
func visit(t *testing.T, s *Server, rnd *rand.Rand) {
	raw, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = raw.Close() }()
	_ = raw.SetDeadline(time.Now().Add(30 * time.Second))
	nc := raw
	if rnd.IntN(5) == 0 {
		nc = tlsClient(raw)
	}
	var in bytes.Buffer
	for range rnd.IntN(30) {
		in.Write(jsonFrame(`{"code":`+string(rune('1'+rnd.IntN(6)))+`}`, strings.Repeat("b", rnd.IntN(3000))))
	}
	if rnd.IntN(3) == 0 && in.Len() > 0 {
		in.Truncate(rnd.IntN(in.Len()))
	}
	_, _ = nc.Write(in.Bytes()) // fails where the server has closed
	switch rnd.IntN(4) {
	case 0: // goes at once
	case 1:
		_ = raw.(*net.TCPConn).SetLinger(0)
	case 2:
		_ = raw.SetReadDeadline(time.Now().Add(5 * time.Millisecond)) // there may be less to read
		_, _ = io.CopyN(io.Discard, nc, int64(rnd.IntN(200_000)))
	case 3:
		_ = raw.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, nc)
	}
}
