package remoting

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"apogee/remoting/code"
	"apogee/remoting/header"
)

func TestAnswersComeInTheRequestsSerialization(t *testing.T) {
	s := startServer(t, ServerOptions{Serialization: RocketMQ, Routes: []Route{{Code: 1, Handle: echo}}})
	nc := dialRaw(t, s)
	mustWrite(t, nc, append(jsonFrame(`{"code":1,"opaque":1}`, ""), binaryOf(t, `{"code":1,"opaque":2}`)...))
	for opaque, want := range []Serialization{JSON, RocketMQ} {
		if ser, r := readFrame(t, nc); ser != want || int(r.Opaque) != opaque+1 {
			t.Errorf("answer %d is %v", r.Opaque, ser)
		}
	}
}

func TestFallbackServesCodesWithoutRoute(t *testing.T) {
	s := startServer(t, ServerOptions{Fallback: func(r *Request) { r.Fail(16, "code %d", r.Code) }, Routes: []Route{{Code: 1, Handle: echo}}})
	c := startClient(t, ClientOptions{})
	for _, n := range []int32{2, 5000, -1, 1 << 30} {
		resp, err := c.Call(testContext(t), s.Addr().String(), Outgoing{Code: n})
		if err != nil || resp.Code != 16 || resp.Remark != fmt.Sprintf("code %d", n) {
			t.Errorf("code %d: %+v, %v", n, resp, err)
		}
	}
}

func TestPanicIsAnAnswerAndALineInTheLog(t *testing.T) {
	var log logBuffer
	lane := NewLane("one", 1, 1)
	defer lane.Close()
	s := startServer(t, ServerOptions{Log: log.logger(), Routes: []Route{
		{Code: 1, Handle: func(*Request) { panic("a defect") }},
		{Code: 2, Handle: func(r *Request) { r.Fail(0, "fine"); panic("after the answer") }},
		{Code: 3, Handle: echo},
		{Code: 4, Handle: func(r *Request) { r.GoOn(lane, func(*Request) { panic("a defect") }) }},
	}})
	nc := dialRaw(t, s)
	mustWrite(t, nc, jsonFrame(`{"code":4,"opaque":4}`, ""))
	if _, r := readFrame(t, nc); r.Opaque != 4 || r.Code != code.SystemError || !strings.Contains(r.Remark, "a defect") {
		t.Errorf("got %+v", r)
	}
	for _, n := range []int{1, 2, 3} {
		mustWrite(t, nc, jsonFrame(fmt.Sprintf(`{"code":%d,"opaque":%d}`, n, n), ""))
	}
	if _, r := readFrame(t, nc); r.Opaque != 1 || r.Code != code.SystemError || !strings.Contains(r.Remark, "a defect") {
		t.Errorf("got %+v", r)
	}
	if _, r := readFrame(t, nc); r.Opaque != 2 || r.Remark != "fine" {
		t.Errorf("got %+v", r)
	}
	if _, r := readFrame(t, nc); r.Opaque != 3 {
		t.Errorf("two answers to one request: %+v", r)
	}
	if !strings.Contains(log.String(), "a defect") || !strings.Contains(log.String(), "serve_test.go") {
		t.Errorf("log is %q, want the panic and its stack", log.String())
	}
}

func TestFullLaneAnswersBusy(t *testing.T) {
	lane := NewLane("one", 1, 1)
	defer lane.Close()
	block, entered := make(chan struct{}), make(chan struct{}, 10)
	s := startServer(t, ServerOptions{Routes: []Route{{Code: 1, Lane: lane, Handle: func(r *Request) {
		entered <- struct{}{}
		<-block
		echo(r)
	}}}})
	nc := dialRaw(t, s)
	send := func(opaque int) {
		mustWrite(t, nc, jsonFrame(fmt.Sprintf(`{"code":1,"opaque":%d,"extFields":{"n":"%d"}}`, opaque, opaque), "body"))
	}
	send(1)
	<-entered
	send(2)
	eventually(t, "the second to wait", func() bool { return lane.Stats().Queued == 1 })
	send(3)
	if _, r := readFrame(t, nc); r.Opaque != 3 || r.Code != code.SystemBusy || r.Remark != "[OVERLOAD]system busy, start flow control for a while" {
		t.Errorf("got %+v", r)
	}
	eventually(t, "a wait to show", func() bool { return lane.Stats().HeadWait > 0 })
	close(block)
	for _, want := range []int32{1, 2} {
		_, r := readFrame(t, nc)
		if v, _ := r.Fields.Get("n"); r.Opaque != want || v != fmt.Sprint(want) || string(r.Body) != "body" {
			t.Errorf("got %+v, want %d", r, want)
		}
	}
	if st := lane.Stats(); st.Queued != 0 || st.Capacity != 1 || st.HeadWait != 0 {
		t.Errorf("stats are %+v", st)
	}
}

func TestLaneKeepsOrderAndCloseFinishesIt(t *testing.T) {
	l := NewLane("order", 1, 100)
	release := make(chan struct{})
	if !l.Submit(func() { <-release }) {
		t.Fatal("an empty lane refuses")
	}
	eventually(t, "the worker to take it", func() bool { return l.Stats().Queued == 0 })
	var got []int
	for i := range 100 {
		if !l.Submit(func() { got = append(got, i) }) {
			t.Fatalf("lane refuses job %d", i)
		}
	}
	if l.Submit(func() {}) {
		t.Error("a full lane takes another job")
	}
	close(release)
	l.Close()
	for i := range 100 {
		if got[i] != i {
			t.Fatalf("job %d ran in place %d", got[i], i)
		}
	}
	if l.Submit(func() {}) {
		t.Error("a closed lane takes a job")
	}
}

func TestBatchAnswersLeaveOnFlush(t *testing.T) {
	const n = 20
	repliers := make(chan Replier, 2*n)
	s := startServer(t, ServerOptions{Routes: []Route{{Code: 1, Handle: func(r *Request) { repliers <- r.Replier() }}}})
	a, b := dialRaw(t, s), dialRaw(t, s)
	for i := range n {
		f := jsonFrame(fmt.Sprintf(`{"code":1,"opaque":%d}`, i), "")
		mustWrite(t, a, f)
		mustWrite(t, b, f)
	}
	var batch Batch
	for range 2 { // a batch can be used again
		for range n {
			batch.Reply(<-repliers, &Reply{})
		}
		batch.Flush()
	}
	for i := range n {
		for _, nc := range []io.Reader{a, b} {
			if _, r := readFrame(t, nc); int(r.Opaque) != i {
				t.Fatalf("answer %d in place %d", r.Opaque, i)
			}
		}
	}
}

func TestServerCallsItsClient(t *testing.T) {
	conns := make(chan *Conn, 1)
	s := startServer(t, ServerOptions{Routes: []Route{{Code: 34, Handle: func(r *Request) {
		conns <- r.Conn()
		r.Reply(&Reply{})
	}}}})
	oneway := make(chan string, 1)
	c := startClient(t, ClientOptions{Routes: []Route{
		{Code: 40, Handle: func(r *Request) { g, _ := r.Fields.Get("consumerGroup"); oneway <- g }},
		{Code: 307, Handle: echo},
	}})
	ctx := testContext(t)
	if _, err := c.Call(ctx, s.Addr().String(), Outgoing{Code: 34}); err != nil {
		t.Fatal(err)
	}
	conn := <-conns
	if err := conn.Oneway(Outgoing{Code: 40, Header: &header.NotifyConsumerIDsChangedRequest{ConsumerGroup: "G"}}); err != nil {
		t.Fatal(err)
	}
	if g := <-oneway; g != "G" {
		t.Errorf("group is %q", g)
	}
	var calls sync.WaitGroup
	for i := range 50 {
		calls.Go(func() {
			resp, err := conn.Call(ctx, Outgoing{Code: 307, Body: []byte{byte(i)}})
			if err != nil || len(resp.Body) != 1 || resp.Body[0] != byte(i) || resp.Version != 513 {
				t.Errorf("call %d: %+v, %v", i, resp, err)
			}
		})
	}
	calls.Wait()
	if resp, err := conn.Call(ctx, Outgoing{Code: 1}); err != nil || resp.Code != code.RequestCodeNotSupported {
		t.Errorf("code that the client has no route for: %+v, %v", resp, err)
	}
}

func TestCallEndsWithItsContextOrItsConnection(t *testing.T) {
	conns := make(chan *Conn, 1)
	s := startServer(t, ServerOptions{Routes: []Route{{Code: 34, Handle: func(r *Request) { conns <- r.Conn() }}}})
	nc := dialRaw(t, s)
	mustWrite(t, nc, jsonFrame(`{"code":34,"flag":2}`, ""))
	conn := <-conns
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		readFrame(t, nc)
		cancel()
	}()
	if _, err := conn.Call(ctx, Outgoing{Code: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := conn.Call(ctx, Outgoing{Code: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	// The answer comes too late, to nobody; the next call has another opaque.
	mustWrite(t, nc, jsonFrame(`{"code":0,"flag":1,"opaque":1}`, "late"))
	go func() {
		readFrame(t, nc)
		_ = nc.Close()
	}()
	if _, err := conn.Call(context.Background(), Outgoing{Code: 1}); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
	eventually(t, "the end", conn.Closed)
	if _, err := conn.Call(context.Background(), Outgoing{Code: 1}); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
	if err := conn.Oneway(Outgoing{Code: 1}); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
	if len(conn.calls) != 0 {
		t.Errorf("%d calls are left", len(conn.calls))
	}
}

func TestClientConnectsAgain(t *testing.T) {
	var opened atomic.Int32
	conns := make(chan *Conn, 10)
	s := startServer(t, ServerOptions{
		OnOpen: func(*Conn) { opened.Add(1) },
		Routes: []Route{{Code: 1, Handle: func(r *Request) { conns <- r.Conn(); r.Reply(&Reply{}) }}},
	})
	lost := make(chan string, 10)
	c := startClient(t, ClientOptions{Lost: func(addr string) { lost <- addr }})
	addr := s.Addr().String()
	var calls sync.WaitGroup
	for range 10 {
		calls.Go(func() {
			if _, err := c.Call(testContext(t), addr, Outgoing{Code: 1}); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	first := <-conns
	for range 9 {
		if <-conns != first {
			t.Error("more than one connection")
		}
	}
	first.Close()
	eventually(t, "a call over a new connection", func() bool {
		_, err := c.Call(testContext(t), addr, Outgoing{Code: 1})
		return err == nil && <-conns != first
	})
	if opened.Load() != 2 {
		t.Errorf("%d connections", opened.Load())
	}
	if got := <-lost; got != addr {
		t.Errorf("%s was lost", got)
	}
	c.Close()
	if n := len(lost); n > 0 {
		t.Errorf("%d more were lost", n)
	}
	if _, err := c.Call(testContext(t), addr, Outgoing{Code: 1}); err == nil {
		t.Error("a closed client calls")
	}
}

func TestClientSaysWhereItCannotConnect(t *testing.T) {
	s := startServer(t, ServerOptions{})
	addr := s.Addr().String()
	if err := s.Shutdown(testContext(t)); err != nil {
		t.Fatal(err)
	}
	c := startClient(t, ClientOptions{})
	if _, err := c.Call(testContext(t), addr, Outgoing{Code: 1}); err == nil || !strings.Contains(err.Error(), addr) {
		t.Errorf("got %v", err)
	}
	if err := c.Oneway(testContext(t), addr, Outgoing{Code: 1}); err == nil || !strings.Contains(err.Error(), addr) {
		t.Errorf("got %v", err)
	}
}

func TestShutdownLetsWorkFinish(t *testing.T) {
	lane := NewLane("work", 1, 10)
	defer lane.Close()
	entered, finish := make(chan struct{}), make(chan struct{})
	s := startServer(t, ServerOptions{Routes: []Route{{Code: 1, Lane: lane, Handle: func(r *Request) {
		close(entered)
		<-finish
		r.Reply(&Reply{Body: bytes.Repeat([]byte{'x'}, 5<<20)})
	}}}})
	silent := dialRaw(t, s)
	nc := dialRaw(t, s)
	mustWrite(t, nc, jsonFrame(`{"code":1}`, ""))
	<-entered
	done := make(chan error)
	go func() { done <- s.Shutdown(testContext(t)) }()
	eventually(t, "new connections to be refused", func() bool {
		c := NewClient(ClientOptions{DialTimeout: time.Second})
		defer c.Close()
		return c.Oneway(testContext(t), s.Addr().String(), Outgoing{}) != nil
	})
	select {
	case err := <-done:
		t.Fatalf("shut down with work under way: %v", err)
	default:
	}
	close(finish)
	if _, r := readFrame(t, nc); len(r.Body) != 5<<20 {
		t.Errorf("answer has %d bytes", len(r.Body))
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := silent.Read(make([]byte, 1)); !isGone(err) {
		t.Errorf("a connection survives the server: %v", err)
	}
}

func TestShutdownDoesNotWaitBeyondItsContext(t *testing.T) {
	lane := NewLane("work", 1, 10)
	finish := make(chan struct{})
	entered := make(chan struct{})
	s := startServer(t, ServerOptions{Routes: []Route{{Code: 1, Lane: lane, Handle: func(r *Request) {
		close(entered)
		<-finish
		r.Reply(&Reply{})
	}}}})
	nc := dialRaw(t, s)
	mustWrite(t, nc, jsonFrame(`{"code":1}`, ""))
	<-entered
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(finish)
	lane.Close()
}

func TestGoAway(t *testing.T) {
	var served atomic.Int32
	route := []Route{{Code: 1, Handle: func(r *Request) { served.Add(1); r.Reply(&Reply{}) }}}
	s := startServer(t, ServerOptions{GoAway: true, Routes: route})
	old, recent := dialRaw(t, s), dialRaw(t, s)
	ask := func(nc io.ReadWriter, version int) *Request {
		t.Helper()
		if _, err := nc.Write(jsonFrame(fmt.Sprintf(`{"code":1,"version":%d}`, version), "")); err != nil {
			t.Fatal(err)
		}
		_, r := readFrame(t, nc)
		return r
	}
	ask(old, 475)
	ask(recent, 476)
	done := make(chan error)
	go func() { done <- s.Shutdown(testContext(t)) }()
	eventually(t, "GO_AWAY", func() bool { return ask(recent, 476).Code == code.GoAway })
	if r := ask(old, 475); r.Code != code.Success {
		t.Errorf("a client that does not know GO_AWAY gets %+v", r)
	}
	_ = old.Close()
	_ = recent.Close()
	if err := <-done; err != nil {
		t.Errorf("everybody has gone, but: %v", err)
	}
}

func TestClientGoesAwayAndAsksOnceMore(t *testing.T) {
	var asked atomic.Int32
	var opened atomic.Int32
	s := startServer(t, ServerOptions{
		OnOpen: func(*Conn) { opened.Add(1) },
		Routes: []Route{{Code: 1, Handle: func(r *Request) {
			if asked.Add(1) == 1 {
				r.Fail(code.GoAway, "please go away")
				return
			}
			r.Reply(&Reply{})
		}}},
	})
	c := startClient(t, ClientOptions{})
	resp, err := c.Call(testContext(t), s.Addr().String(), Outgoing{Code: 1})
	if err != nil || resp.Code != code.Success || asked.Load() != 2 || opened.Load() != 2 {
		t.Errorf("got %+v, %v after %d calls over %d connections", resp, err, asked.Load(), opened.Load())
	}
}

func TestAttachment(t *testing.T) {
	c := newEndpoint(nil, nil).newConn(nil, netip.AddrPort{})
	if c.Attachment() != nil {
		t.Error("attached from the beginning")
	}
	c.Attach(5)
	c.Attach("x")
	if c.Attachment() != "x" {
		t.Errorf("attached %v", c.Attachment())
	}
}

func TestConnKnowsItsAddresses(t *testing.T) {
	conns := make(chan *Conn, 1)
	s := startServer(t, ServerOptions{OnOpen: func(c *Conn) { conns <- c }})
	nc := dialRaw(t, s)
	c := <-conns
	if got, want := c.RemoteAddr().String(), nc.LocalAddr().String(); got != want || c.RemoteText() != want {
		t.Errorf("remote is %s, %s, want %s", got, c.RemoteText(), want)
	}
	if got, want := c.LocalAddr().String(), s.Addr().String(); got != want {
		t.Errorf("local is %s, want %s", got, want)
	}
}

func TestHandlersCanBeTriedWithoutAConnection(t *testing.T) {
	var got *Reply
	r := NewRequest(Request{Code: 7, Fields: header.Fields{{Key: "topic", Value: "T"}}, Body: []byte("b")}, func(rep *Reply) { got = rep })
	var h header.GetRouteInfoByTopicRequest
	if err := r.Decode(&h); err != nil || h.Topic != "T" || r.Conn() != nil || r.Conn().RemoteText() != "local" {
		t.Errorf("decoded %+v, %v", h, err)
	}
	r.Fail(17, "no topic %s", "T")
	if got == nil || got.Code != 17 || got.Remark != "no topic T" {
		t.Errorf("got %+v", got)
	}
	got = nil
	NewRequest(Request{Flag: 2}, func(rep *Reply) { got = rep }).Fail(1, "x")
	if got != nil {
		t.Error("a one-way request was answered")
	}
}
