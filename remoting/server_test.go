package remoting

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"apogee/remoting/code"
	"apogee/remoting/header"
)

// startServer runs a server until the test ends.
func startServer(t testing.TB, opts ServerOptions) *Server {
	t.Helper()
	opts.Addr = "127.0.0.1:0"
	s, err := Listen(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = s.Shutdown(ctx)
	})
	return s
}

func startClient(t testing.TB, opts ClientOptions) *Client {
	t.Helper()
	c := NewClient(opts)
	t.Cleanup(c.Close)
	return c
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// dialRaw is a connection of a test that writes its own bytes.
func dialRaw(t testing.TB, s *Server) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return nc
}

// jsonFrame is a frame with the given header text.
func jsonFrame(head, body string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(4+len(head)+len(body)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(head)))
	return append(append(b, head...), body...)
}

// readFrame reads one frame.
func readFrame(t testing.TB, r io.Reader) (Serialization, *Request) {
	t.Helper()
	frame := make([]byte, 4)
	if _, err := io.ReadFull(r, frame); err != nil {
		t.Fatalf("read a frame: %v", err)
	}
	frame = append(frame, make([]byte, binary.BigEndian.Uint32(frame))...)
	if _, err := io.ReadFull(r, frame[4:]); err != nil {
		t.Fatalf("read a frame: %v", err)
	}
	var req Request
	ser, err := decodeFrame(frame, &req)
	if err != nil {
		t.Fatal(err)
	}
	return ser, &req
}

func echo(r *Request) { r.Reply(&Reply{Extra: r.Fields, Body: r.Body}) }

func TestCallEchoesInBothSerializations(t *testing.T) {
	lane := NewLane("echo", 2, 10)
	defer lane.Close()
	s := startServer(t, ServerOptions{Routes: []Route{{Code: 1, Handle: echo}, {Code: 200050, Lane: lane, Handle: echo}}})
	for _, ser := range []Serialization{JSON, RocketMQ} {
		c := startClient(t, ClientOptions{Serialization: ser})
		for _, n := range []int32{1, 200050} {
			body := strings.Repeat("x", 100_000)
			resp, err := c.Call(testContext(t), s.Addr().String(), Outgoing{
				Code: n, Extra: header.Fields{{Key: "k", Value: "a\x01\"\\é\n"}}, Body: []byte(body),
			})
			if err != nil {
				t.Fatal(err)
			}
			if v, _ := resp.Fields.Get("k"); resp.Code != code.Success || v != "a\x01\"\\é\n" || string(resp.Body) != body {
				t.Errorf("%v, code %d: got code %d, fields %q, %d bytes", ser, n, resp.Code, resp.Fields, len(resp.Body))
			}
		}
	}
}

func TestUnknownCodeGetsCode3(t *testing.T) {
	s := startServer(t, ServerOptions{})
	nc := dialRaw(t, s)
	if _, err := nc.Write(jsonFrame(`{"code":10,"opaque":3}`, "")); err != nil {
		t.Fatal(err)
	}
	if _, r := readFrame(t, nc); r.Code != code.RequestCodeNotSupported || r.Remark != " request type 10 not supported" || r.Opaque != 3 || r.Flag != 1 {
		t.Errorf("got %+v", r)
	}
}
