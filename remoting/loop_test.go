package remoting

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// counted attends a server and counts.
type counted struct{ begun, ended atomic.Int64 }

func (c *counted) Begin() { c.begun.Add(1) }
func (c *counted) End()   { c.ended.Add(1) }

// TestAttendantBeginsAndEndsAroundRequests: no request is worked outside, and no Begin is without its End.
func TestAttendantBeginsAndEndsAroundRequests(t *testing.T) {
	var a counted
	var outside atomic.Int64
	s := startServer(t, ServerOptions{Attendant: &a, Routes: []Route{{Code: 1, Handle: func(r *Request) {
		if a.begun.Load() <= a.ended.Load() {
			outside.Add(1)
		}
		echo(r)
	}}}})
	var clients sync.WaitGroup
	for i := range 8 {
		nc := dialRaw(t, s)
		clients.Go(func() {
			for n := range 200 {
				if err := askOnce(nc, i*1000+n); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	clients.Wait()
	eventually(t, "as many ends as beginnings", func() bool { return a.begun.Load() == a.ended.Load() })
	if a.begun.Load() == 0 || outside.Load() != 0 {
		t.Errorf("began %d times; %d requests were worked outside", a.begun.Load(), outside.Load())
	}
}

// askOnce sends a request and checks the answer's opaque.
func askOnce(nc net.Conn, opaque int) error {
	if _, err := nc.Write(jsonFrame(fmt.Sprintf(`{"code":1,"opaque":%d}`, opaque), "x")); err != nil {
		return err
	}
	got, err := readOpaque(nc)
	if err == nil && got != opaque {
		err = fmt.Errorf("answer to %d, want %d", got, opaque)
	}
	return err
}

// readOpaque reads an answer.
func readOpaque(r io.Reader) (int, error) {
	frame := make([]byte, 4)
	if _, err := io.ReadFull(r, frame); err != nil {
		return 0, err
	}
	frame = append(frame, make([]byte, binary.BigEndian.Uint32(frame))...)
	if _, err := io.ReadFull(r, frame[4:]); err != nil {
		return 0, err
	}
	var req Request
	_, err := decodeFrame(frame, &req)
	return int(req.Opaque), err
}

// TestManyConnectionsAreAllServedInOrder: what handlers put off ends together for all connections that were ready together, and each
// connection's answers are in the order of its requests.
func TestManyConnectionsAreAllServedInOrder(t *testing.T) {
	const conns, each = 64, 500
	putOff := func(r *Request) {
		l := &later{note: func(string) {}, opaque: r.Opaque, replier: r.Replier()}
		if !r.AtBatchEnd(l) {
			l.EndBatch()
		}
	}
	s := startServer(t, ServerOptions{Routes: []Route{{Code: 1, Handle: putOff}}})
	var clients sync.WaitGroup
	for range conns {
		nc := dialRaw(t, s)
		clients.Go(func() {
			var frames []byte
			for n := range each {
				frames = append(frames, jsonFrame(fmt.Sprintf(`{"code":1,"opaque":%d}`, n), "")...)
			}
			if _, err := nc.Write(frames); err != nil {
				t.Error(err)
				return
			}
			for n := range each {
				if got, err := readOpaque(nc); err != nil || got != n {
					t.Errorf("answer %d: opaque %d, %v", n, got, err)
					return
				}
			}
		})
	}
	clients.Wait()
}

// TestEndOfInputBehindRequests: a request and the end of input that come as one event are both seen.
func TestEndOfInputBehindRequests(t *testing.T) {
	closed := make(chan struct{}, 1)
	s := startServer(t, ServerOptions{OnClose: func(*Conn) { closed <- struct{}{} }, Routes: []Route{{Code: 1, Handle: echo}}})
	for i := range 50 {
		nc := dialRaw(t, s)
		if _, err := nc.Write(jsonFrame(fmt.Sprintf(`{"code":1,"opaque":%d}`, i), "")); err != nil {
			t.Fatal(err)
		}
		if err := nc.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := readOpaque(nc); err != nil || got != i {
			t.Fatalf("opaque %d, %v; want %d", got, err, i)
		}
		<-closed
	}
}

// TestSetSeesWhoKnocks: a connection to be accepted is told apart from input, and is not seen any more once the listener has left.
func TestSetSeesWhoKnocks(t *testing.T) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	s := &set{epfd: fd}
	ln, err := newListener("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(ln.fd) }()
	leave, err := s.listen(ln.fd)
	if err != nil {
		t.Fatal(err)
	}
	knock := func() {
		nc, err := net.Dial("tcp", ln.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
	}
	events := make([]unix.EpollEvent, 4)
	wait := func(ms int) []unix.EpollEvent {
		n, err := unix.EpollWait(fd, events, ms)
		if err != nil && !errors.Is(err, unix.EINTR) {
			t.Fatal(err)
		}
		return events[:max(n, 0)]
	}
	knock()
	seen := wait(10_000)
	if len(seen) != 1 || !s.ready(seen) {
		t.Fatalf("%d events", len(seen))
	}
	knock()
	late := wait(10_000)
	leave()
	if s.ready(late) {
		t.Error("an event for a listener that has left")
	}
	knock()
	if n := len(wait(0)); n != 0 {
		t.Errorf("%d events after the listener has left", n)
	}
}
