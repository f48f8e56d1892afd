package remoting

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"apogee/remoting/header"
)

// logBuffer collects what a server logs.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// eventually waits for a condition that another goroutine brings about.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

// isGone says that a read ended because the other side closed.
func isGone(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) }

func mustWrite(t testing.TB, nc net.Conn, b []byte) {
	t.Helper()
	if _, err := nc.Write(b); err != nil {
		t.Fatal(err)
	}
}

func TestBadInputClosesWithOneLineThatSaysWhoAndWhy(t *testing.T) {
	frame := func(length int32, word uint32, rest string) []byte {
		b := binary.BigEndian.AppendUint32(nil, uint32(length))
		return append(binary.BigEndian.AppendUint32(b, word), rest...)
	}
	for name, tc := range map[string]struct {
		in  []byte
		why string
	}{
		"HTTP":                   {[]byte("GET / HTTP/1.1\r\n\r\n"), "length 1195725856"},
		"TLS where it is off":    {[]byte{0x16, 3, 1, 0, 5}, "TLS is disabled"},
		"oversized":              {frame(16<<20, 0, ""), "exceeds the limit"},
		"negative length":        {frame(-1, 0, ""), "length -1"},
		"header beyond frame":    {frame(6, 100, "{}"), "header of 100 bytes"},
		"unknown serialization":  {frame(6, 7<<24|2, "{}"), "serialization 7"},
		"bad JSON":               {frame(6, 2, "{["), "JSON header"},
		"bad binary":             {frame(6, 1<<24|2, "{}"), "binary header"},
		"good, then bad":         {append(jsonFrame(`{"code":1,"flag":2}`, ""), frame(6, 2, "{[")...), "JSON header"},
		"almost PROXY":           {[]byte("PRO\x00"), "begins with"},
		"PROXY with junk":        {[]byte("PROXY TCP4 a b c d\r\n"), "PROXY line"},
		"PROXY line without end": {[]byte("PROXY " + strings.Repeat("x", 200)), "without end"},
	} {
		t.Run(name, func(t *testing.T) {
			var log logBuffer
			closed := make(chan struct{})
			s := startServer(t, ServerOptions{Log: log.logger(), OnClose: func(*Conn) { close(closed) }})
			nc := dialRaw(t, s)
			mustWrite(t, nc, tc.in)
			if b, err := io.ReadAll(nc); len(b) > 0 || err != nil && !isGone(err) {
				t.Errorf("got %q, %v, want the end", b, err)
			}
			<-closed
			text := log.String()
			if strings.Count(text, "\n") != 1 || !strings.Contains(text, tc.why) || !strings.Contains(text, nc.LocalAddr().String()) {
				t.Errorf("log is %q, want one line with %q and %v", text, tc.why, nc.LocalAddr())
			}
		})
	}
}

func TestFramesInAnyPieces(t *testing.T) {
	s := startServer(t, ServerOptions{Routes: []Route{{Code: 1, Handle: echo}}})
	one := jsonFrame(`{"code":1,"opaque":5,"extFields":{"k":"\u0041"}}`, "body")
	check := func(nc net.Conn) {
		t.Helper()
		_, r := readFrame(t, nc)
		if v, _ := r.Fields.Get("k"); v != "A" || string(r.Body) != "body" || r.Opaque != 5 {
			t.Fatalf("got %+v", r)
		}
	}
	t.Run("byte by byte", func(t *testing.T) {
		nc := dialRaw(t, s)
		for i := range one {
			mustWrite(t, nc, one[i:i+1])
		}
		check(nc)
	})
	t.Run("many at once and the half of one", func(t *testing.T) {
		nc := dialRaw(t, s)
		for range 3 {
			many := append(bytes.Repeat(one, 500), one[:20]...)
			mustWrite(t, nc, many)
			for range 500 {
				check(nc)
			}
			mustWrite(t, nc, one[20:])
			check(nc)
		}
	})
	t.Run("big frames between small ones", func(t *testing.T) {
		nc := dialRaw(t, s)
		for _, size := range []int{0, 100_000, 3_000_000, 10, 300_000, 16<<20 - 8 - 10} {
			body := bytes.Repeat([]byte{'x'}, size)
			go func() { _, _ = nc.Write(append(jsonFrame(`{"code":1}`, string(body)), one...)) }()
			if _, r := readFrame(t, nc); !bytes.Equal(r.Body, body) {
				t.Fatalf("body of %d bytes came back with %d", size, len(r.Body))
			}
			check(nc)
		}
	})
}

func TestLastRequestsOfOneThatHangsUpAreWorked(t *testing.T) {
	var got atomic.Int32
	s := startServer(t, ServerOptions{Routes: []Route{{Code: 1, Handle: func(*Request) { got.Add(1) }}}})
	nc := dialRaw(t, s)
	const n = 3000
	mustWrite(t, nc, bytes.Repeat(jsonFrame(`{"code":1,"flag":2}`, string(make([]byte, 1024))), n))
	if err := nc.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all requests", func() bool { return got.Load() == n })
}

func TestHalfClosedConnectionIsClosed(t *testing.T) {
	s := startServer(t, ServerOptions{Routes: []Route{{Code: 1, Handle: echo}}})
	nc := dialRaw(t, s)
	mustWrite(t, nc, jsonFrame(`{"code":1}`, ""))
	readFrame(t, nc)
	if err := nc.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(nc); err != nil && !isGone(err) {
		t.Error(err)
	}
}

func TestResetConnectionIsForgotten(t *testing.T) {
	closed := make(chan *Conn, 1)
	s := startServer(t, ServerOptions{Routes: []Route{{Code: 1, Handle: echo}}, OnClose: func(c *Conn) { closed <- c }})
	nc := dialRaw(t, s)
	mustWrite(t, nc, jsonFrame(`{"code":1}`, ""))
	readFrame(t, nc)
	if err := nc.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	_ = nc.Close()
	if c := <-closed; !c.Closed() {
		t.Error("closed connection isn't")
	}
}

// fakeClock is a Now that moves when it is told to.
type fakeClock struct{ ns atomic.Int64 }

func (f *fakeClock) Now() time.Time          { return time.Unix(1_700_000_000, f.ns.Load()) }
func (f *fakeClock) advance(d time.Duration) { f.ns.Add(int64(d)) }

func TestIdleConnectionsAreClosedAndBusyOnesAreNot(t *testing.T) {
	var clk fakeClock
	var log logBuffer
	// The watch ticks every eighth of Idle in real time and goes by the fake clock.
	s := startServer(t, ServerOptions{
		Routes: []Route{{Code: 1, Handle: echo}}, Limits: Limits{Idle: 80 * time.Millisecond}, Now: clk.Now, Log: log.logger(),
	})
	silent, unfinished, busy := dialRaw(t, s), dialRaw(t, s), dialRaw(t, s)
	mustWrite(t, unfinished, jsonFrame(`{"code":1}`, "never finished")[:20])
	request := func() {
		mustWrite(t, busy, jsonFrame(`{"code":1}`, ""))
		readFrame(t, busy)
	}
	request()
	noted := func(want int64) func() bool { return func() bool { return s.ep.lastNow.Load() >= want } }
	for range 2 {
		clk.advance(50 * time.Millisecond)
		eventually(t, "the tick", noted(clk.Now().UnixNano()))
		request()
	}
	for _, nc := range []net.Conn{silent, unfinished} {
		if _, err := nc.Read(make([]byte, 1)); !isGone(err) {
			t.Errorf("read: %v, want the end", err)
		}
	}
	request()
	if n := strings.Count(log.String(), "close idle connection"); n != 2 {
		t.Errorf("%d idle connections closed, want 2: %s", n, log.String())
	}
}

// heap is the memory in use after a collection.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestUnfinishedFramesCostWhatWasSent(t *testing.T) {
	s := startServer(t, ServerOptions{})
	const conns = 200
	before := heap()
	for range conns {
		nc := dialRaw(t, s)
		b := binary.BigEndian.AppendUint32(nil, 16<<20-4)
		mustWrite(t, nc, append(b, make([]byte, 100)...))
	}
	eventually(t, "all connections", func() bool { return len(s.conns.list(func(c *Conn) bool { return true })) == conns })
	if grown := int64(heap()) - int64(before); grown > conns*64<<10 {
		t.Errorf("%d connections that announced 16 MiB and sent 100 bytes cost %d KiB each", conns, grown>>10/conns)
	}
}

func TestSlowReaderIsNotReadAndLosesNothing(t *testing.T) {
	const answer, requests = 64 << 10, 2000
	var worked, released atomic.Int32
	region := make([]byte, answer)
	s := startServer(t, ServerOptions{
		Limits: Limits{WriteHighMark: 256 << 10},
		Routes: []Route{{Code: 1, Handle: func(r *Request) {
			worked.Add(1)
			r.Reply(&Reply{Regions: [][]byte{region[:10], region[10:]}, Release: func() { released.Add(1) }})
		}}},
	})
	nc := dialRaw(t, s)
	if err := nc.(*net.TCPConn).SetReadBuffer(16 << 10); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() {
		for i := range requests {
			// The padding makes the requests more than what the sockets and one read can hold.
			head := fmt.Sprintf(`{"code":1,"opaque":%d,"extFields":{"pad":"%s"}}`, i, strings.Repeat("p", 4000))
			if _, err := nc.Write(jsonFrame(head, "")); err != nil {
				written <- err
				return
			}
		}
		written <- nil
	}()
	// It stops when the socket is full and the mark is passed: its reader then waits for output to leave.
	eventually(t, "the server to stop reading", func() bool {
		return len(s.conns.list(func(c *Conn) bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.drained != nil
		})) == 1
	})
	if n := worked.Load(); n == requests {
		t.Fatalf("all %d requests were worked though no answer was read", n)
	}
	for i := range requests {
		_, r := readFrame(t, nc)
		if int(r.Opaque) != i || len(r.Body) != answer {
			t.Fatalf("answer %d has opaque %d and %d bytes", i, r.Opaque, len(r.Body))
		}
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	eventually(t, "every release", func() bool { return released.Load() == requests })
}

func TestStuckReaderIsGivenUpAndItsRegionsAreReleasedOnce(t *testing.T) {
	var worked, released atomic.Int32
	var log logBuffer
	closed := make(chan struct{})
	region := make([]byte, 256<<10)
	s := startServer(t, ServerOptions{
		Limits: Limits{WriteTimeout: 50 * time.Millisecond, WriteHighMark: 1 << 20},
		Log:    log.logger(), OnClose: func(*Conn) { close(closed) },
		Routes: []Route{{Code: 1, Handle: func(r *Request) {
			worked.Add(1)
			r.Reply(&Reply{Regions: [][]byte{region}, Release: func() { released.Add(1) }})
		}}},
	})
	nc := dialRaw(t, s)
	mustWrite(t, nc, bytes.Repeat(jsonFrame(`{"code":1}`, ""), 200))
	<-closed
	eventually(t, "every release", func() bool { return released.Load() == worked.Load() })
	if !strings.Contains(log.String(), "close connection: timeout") {
		t.Errorf("log is %q", log.String())
	}
}

func TestRepliesAfterTheEndAreReleased(t *testing.T) {
	repliers := make(chan Replier, 1)
	closed := make(chan struct{})
	s := startServer(t, ServerOptions{
		OnClose: func(*Conn) { close(closed) },
		Routes:  []Route{{Code: 1, Handle: func(r *Request) { repliers <- r.Replier() }}},
	})
	nc := dialRaw(t, s)
	mustWrite(t, nc, jsonFrame(`{"code":1}`, ""))
	r := <-repliers
	_ = nc.Close()
	<-closed
	released := 0
	r.Reply(&Reply{Regions: [][]byte{{1}}, Release: func() { released++ }})
	if released != 1 {
		t.Errorf("released %d times", released)
	}
}

func TestOnewayIsNeverAnsweredButReleased(t *testing.T) {
	lane := NewLane("full", 1, 1)
	var released atomic.Int32
	s := startServer(t, ServerOptions{Routes: []Route{
		{Code: 1, Handle: func(r *Request) {
			r.Reply(&Reply{Extra: header.Fields{{Key: "a", Value: "b"}}, Regions: [][]byte{{1}}, Release: func() { released.Add(1) }})
		}},
		{Code: 2, Handle: func(r *Request) { r.Fail(1, "failed") }},
		{Code: 3, Handle: func(*Request) { panic("a defect") }},
		{Code: 4, Lane: lane, Handle: func(r *Request) { r.Fail(1, "failed") }},
		{Code: 5, Handle: echo},
	}})
	lane.Close() // refuses everything
	nc := dialRaw(t, s)
	for _, n := range []int{1, 2, 3, 4, 999} {
		mustWrite(t, nc, jsonFrame(fmt.Sprintf(`{"code":%d,"flag":2}`, n), ""))
	}
	mustWrite(t, nc, jsonFrame(`{"code":5,"opaque":77}`, ""))
	if _, r := readFrame(t, nc); r.Opaque != 77 {
		t.Errorf("a one-way request was answered: %+v", r)
	}
	if released.Load() != 1 {
		t.Errorf("released %d times", released.Load())
	}
}
