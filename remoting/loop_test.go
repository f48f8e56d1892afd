package remoting

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
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
