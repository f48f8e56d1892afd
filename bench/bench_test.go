package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// nullServer takes requests and answers each as fast as it can; it stores nothing. Pulls get made-up messages up to end.
type nullServer struct {
	l        net.Listener
	sends    atomic.Int64
	messages atomic.Int64
	end      atomic.Int64
	code     atomic.Int64 // of answers to sends
	stop     chan struct{}
}

func startNull(t testing.TB) *nullServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &nullServer{l: l, stop: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	}()
	t.Cleanup(func() {
		close(s.stop)
		_ = l.Close()
		<-done
	})
	return s
}

func (s *nullServer) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	go func() {
		<-s.stop
		_ = c.Close()
	}()
	in := &conn{Conn: c, buf: make([]byte, readBuffer)}
	var out []byte
	for {
		out = out[:0]
		for {
			req, ok, err := in.next()
			if err != nil {
				return
			}
			if !ok {
				break
			}
			out = s.answer(out, &req)
		}
		if len(out) > 0 {
			if _, err := c.Write(out); err != nil {
				return
			}
		}
		if in.fill() != nil {
			return
		}
	}
}

func (s *nullServer) answer(out []byte, req *answer) []byte {
	opaque := req.slot + opaqueBase
	var ext string
	var body []byte
	code := 0
	switch req.code {
	case codeSendV2:
		s.sends.Add(1)
		s.messages.Add(1)
		code = int(s.code.Load())
		ext = `"msgId":"7F00000100002A9F0000000000000000","queueId":"0","queueOffset":"7"`
	case codeSendBatch:
		s.sends.Add(1)
		for b := req.body; len(b) > 0; b = b[binary.BigEndian.Uint32(b):] {
			s.messages.Add(1)
			s.end.Add(1)
		}
	case codeMinOffset:
		ext = `"offset":"0"`
	case codeMaxOffset:
		ext = fmt.Sprintf(`"offset":"%d"`, s.end.Load())
	case codePull:
		from, _ := number(req.header, `"queueOffset":`)
		n := min(32, s.end.Load()-from)
		if n <= 0 {
			n, code = 0, pullNotFound
		}
		for range n {
			rec := make([]byte, 88+10+1+1+2)
			binary.BigEndian.PutUint32(rec, uint32(len(rec)))
			binary.BigEndian.PutUint32(rec[84:], 10)
			body = append(body, rec...)
		}
		ext = fmt.Sprintf(`"nextBeginOffset":"%d"`, from+n)
	}
	head := fmt.Sprintf(`{"code":%d,"extFields":{%s},"flag":1,"language":"JAVA","opaque":%d,"serializeTypeCurrentRPC":"JSON","version":513}`, code, ext, opaque)
	out = binary.BigEndian.AppendUint32(out, uint32(4+len(head)+len(body)))
	out = binary.BigEndian.AppendUint32(out, uint32(len(head)))
	return append(append(out, head...), body...)
}

func options(s *nullServer) Options {
	return Options{
		Broker: s.l.Addr().String(), Topic: "T", Topics: 1, Queues: 4, Create: true, Group: "g", Connections: 2, InFlight: 16, Body: 100, Batch: 32,
		Wait: true, Warmup: 20 * time.Millisecond, Duration: 200 * time.Millisecond,
	}
}

func TestSend(t *testing.T) {
	for _, kind := range []Serialization{JSON, Binary} {
		s := startNull(t)
		o := options(s)
		o.Serialization, o.Topics = kind, 3
		if kind == Binary {
			o.Create = false
		}
		res, err := Send(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if res.Messages == 0 || res.Messages > s.messages.Load() || res.Failed() != 0 {
			t.Errorf("%d messages counted, %d failed, %d at the server", res.Messages, res.Failed(), s.messages.Load())
		}
		if res.Send.Count != res.Messages || res.Send.P50 <= 0 || res.Send.Maximum < res.Send.P9999 || res.Send.P99 < res.Send.P50 {
			t.Errorf("latencies %+v of %d messages", res.Send, res.Messages)
		}
		if res.Bytes != res.Messages*100 {
			t.Errorf("%d bytes in %d messages of 100", res.Bytes, res.Messages)
		}
		if os.Getenv("GOOS") == "" && res.BrokerPID != os.Getpid() {
			t.Errorf("broker is process %d, want this one, %d", res.BrokerPID, os.Getpid())
		}
	}
}

func TestSendOverOneConnection(t *testing.T) {
	s := startNull(t)
	o := options(s)
	o.Connections, o.InFlight = 1, 1
	res, err := Send(t.Context(), o)
	if err != nil || res.Messages == 0 || res.Failed() != 0 || res.Unanswered != 0 {
		t.Errorf("%+v, %v", res, err)
	}
	o.Broker = "127.0.0.1:1"
	o.Create = false
	if _, err := Send(t.Context(), o); err == nil {
		t.Error("sends to where nothing listens succeed")
	}
}

func TestCountEndsARun(t *testing.T) {
	s := startNull(t)
	o := options(s)
	o.Count, o.Duration = 500, time.Minute
	res, err := Send(t.Context(), o)
	if err != nil || res.Messages < 500 || res.Messages > 100000 {
		t.Errorf("%d messages (%v), want 500 and what was under way", res.Messages, err)
	}
}

func TestFailuresAreCountedByCode(t *testing.T) {
	s := startNull(t)
	s.code.Store(14)
	o := options(s)
	res, err := Send(t.Context(), o)
	if err != nil || res.Messages != 0 || res.Errors[14] == 0 || !strings.Contains(res.FirstErr, "14") {
		t.Errorf("%+v, %v", res, err)
	}
	if err := finish(io.Discard, false, &res, nil); err == nil {
		t.Error("a run without a success ends well")
	}
}

func TestBatch(t *testing.T) {
	s := startNull(t)
	o := options(s)
	o.Batch = 7
	res, err := Batch(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if res.Messages != 7*res.Requests || res.Requests == 0 || s.messages.Load() != 7*s.sends.Load() {
		t.Errorf("%d messages in %d requests; the server saw %d in %d", res.Messages, res.Requests, s.messages.Load(), s.sends.Load())
	}
}

func TestPullFillsAndDrains(t *testing.T) {
	s := startNull(t)
	o := options(s)
	o.Queues, o.Fill, o.Duration = 1, 1000, 0
	res, err := Pull(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if res.Messages != s.end.Load() || res.Messages < 1000 || res.Bytes != 10*res.Messages {
		t.Errorf("%d messages of %d bytes drained, %d are there", res.Messages, res.Bytes, s.end.Load())
	}
}

func TestLatencyKeepsItsSchedule(t *testing.T) {
	s := startNull(t)
	o := options(s)
	o.Rate = 2000
	res, err := LatencyRun(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	// 0.2 s at 2,000 a second, however late this machine let them leave.
	if res.Messages < 399 || res.Messages > 401 || res.Send.Count != res.Messages {
		t.Errorf("%d messages, %d latencies, want 400", res.Messages, res.Send.Count)
	}
	if res.NotDeliveredYet != res.Messages {
		t.Errorf("%d not delivered by a server that delivers nothing, want all", res.NotDeliveredYet)
	}
}

func TestCountInsteadOfARate(t *testing.T) {
	s := startNull(t)
	o := options(s)
	o.Count, o.Rate, o.InFlight = 300, 1, 4
	res, err := LatencyRun(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if res.Messages != 300 || res.NotDeliveredYet != 300 || res.Send != nil || res.Delivery != nil || res.Behind != 0 {
		t.Errorf("%d messages, %d not delivered, %d behind: want 300, all and none", res.Messages, res.NotDeliveredYet, res.Behind)
	}
}

func TestGroupsOfALatencyRun(t *testing.T) {
	s := startNull(t)
	for _, row := range []struct{ groups, want int64 }{{3, 3}, {-1, 0}} {
		o := options(s)
		o.Rate, o.Groups = 50_000, int(row.groups)
		res, err := LatencyRun(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		// 0.2 s at 50,000 a second; most leave together with others.
		if res.Messages != 10_000 || res.NotDeliveredYet != row.want*res.Messages || (res.Delivery == nil) != (row.want == 0) {
			t.Errorf("%d groups: %d messages, %d not delivered, %v", row.groups, res.Messages, res.NotDeliveredYet, res.Delivery)
		}
	}
}

func TestLatencyRunEndsWithItsConnections(t *testing.T) {
	var s slots
	s.some.L = &s.mu
	got := make(chan []int)
	go func() { got <- s.take(nil, 3) }()
	s.give([]int{4})
	if x := <-got; len(x) != 1 || x[0] != 4 {
		t.Errorf("took %v, want slot 4", x)
	}
	go func() { got <- s.take(nil, 3) }()
	s.end()
	if x := <-got; len(x) != 0 {
		t.Errorf("took %v after the end", x)
	}
}

func TestParseMemory(t *testing.T) {
	m := parseMemory("Name:\tx\nVmRSS:\t    2048 kB\nRssAnon:\t    1024 kB\nRssFile:\t 5 kB\nThreads:\t3\n")
	if m != (Memory{Resident: 2048 << 10, Anonymous: 1024 << 10}) {
		t.Errorf("%+v", m)
	}
	if h := m.higher(&Memory{Resident: 1, Anonymous: 4 << 20}); *h != (Memory{Resident: 2048 << 10, Anonymous: 4 << 20}) {
		t.Errorf("%+v", h)
	}
}

func TestCancelledRunEnds(t *testing.T) {
	s := startNull(t)
	o := options(s)
	o.Duration = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Send(ctx, o); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ended with %v", err)
	}
}

func TestBadOptions(t *testing.T) {
	s := startNull(t)
	for what, spoil := range map[string]func(*Options){
		"broker": func(o *Options) { o.Broker = "" }, "topic": func(o *Options) { o.Topic = "" }, "queues": func(o *Options) { o.Queues = 0 },
		"connections": func(o *Options) { o.Connections = 0 }, "body": func(o *Options) { o.Body = 0 }, "time": func(o *Options) { o.Duration, o.Count = 0, 0 },
	} {
		o := options(s)
		spoil(&o)
		if _, err := Send(t.Context(), o); err == nil {
			t.Errorf("without a usable %s a run starts", what)
		}
	}
}

func TestMasters(t *testing.T) {
	found, err := masters([]byte(`{"brokerAddrTable":{"a":{"brokerAddrs":{0:"1.1.1.1:10911",1:"1.1.1.2:10911"},"brokerName":"a"},"b":{"brokerAddrs":{1:"x:1"}}}}`))
	if err != nil || len(found) != 1 || found["a"] != "1.1.1.1:10911" {
		t.Errorf("%v, %v", found, err)
	}
}

func TestParseAnswer(t *testing.T) {
	for _, row := range []struct {
		frame string
		ok    bool
		code  int
		slot  int
	}{
		{"\x00\x00\x00\x26" + `{"code":10,"opaque":1000000005,"flag":1`, true, 10, 5},
		{"\x00\x00\x00\x02{}", false, 0, 0},
		{"\x00\x00\x00\x63{}", false, 0, 0},
		{"\x00", false, 0, 0},
		{"\x01\x00\x00\x02{}", false, 0, 0},
	} {
		f := row.frame
		if row.ok {
			f = "\x00\x00\x00" + string(byte(len(f)-4)) + f[4:]
		}
		a, err := parseAnswer([]byte(f))
		if (err == nil) != row.ok || row.ok && (a.code != row.code || a.slot != row.slot) {
			t.Errorf("%q: %+v, %v", row.frame, a, err)
		}
	}
}

func FuzzParseAnswer(f *testing.F) {
	f.Add(frame(JSON, 0, opaqueBase, []pair{{"nextBeginOffset", "5"}}, []byte("body"))[4:])
	f.Add(frame(Binary, 0, opaqueBase, []pair{{"nextBeginOffset", "5"}}, []byte("body"))[4:])
	f.Fuzz(func(_ *testing.T, b []byte) {
		a, err := parseAnswer(b)
		if err != nil {
			return
		}
		a.field(JSON, "nextBeginOffset")
		a.field(Binary, "nextBeginOffset")
		countRecords(a.body)
	})
}

// BenchmarkSend says what a message costs in this program, with a server that does nothing but answer in the same process.
func BenchmarkSend(b *testing.B) {
	s := startNull(b)
	o := options(s)
	o.Connections, o.InFlight, o.Body, o.Warmup, o.Duration, o.Count = 4, 256, 1024, 0, time.Hour, int64(b.N)
	b.ReportAllocs()
	b.ResetTimer()
	if _, err := Send(b.Context(), o); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkAppend(b *testing.B) {
	r := &run{opts: Options{Topic: "T", Queues: 8, Body: 1024, InFlight: 1, Connections: 1}}
	t := newTally()
	s := &sender{tally: &t, run: r, per: 1}
	for q := range 8 {
		t := sendTemplate(&r.opts, q, 1)
		s.templates = append(s.templates, t)
		s.place = append(s.place, places{t.places[markKey], t.places[markBorn], t.places[markTopic]})
	}
	b.ReportAllocs()
	for b.Loop() {
		s.request(0, 0, 1700000000000)
	}
}

// Both ways to make requests must write the same.
func TestRingWritesWhatAppendWrites(t *testing.T) {
	for _, kind := range []Serialization{JSON, Binary} {
		o := Options{Topic: "T", Topics: 3, Queues: 5, Body: 50, InFlight: 9, Connections: 1, Serialization: kind, Keys: true}
		r := &run{opts: o}
		templates, place := r.sendTemplates(1)
		mk := func() *sender {
			return &sender{run: &run{opts: o}, per: 1, templates: templates, place: place, turn: 3, topic: 2}
		}
		a, b := mk(), mk()
		b.ring = newRing(templates, o.InFlight)
		for round, free := range [][]int{{0, 1, 2, 3, 4, 5, 6, 7, 8}, {4}, {8, 0, 3}, {7, 1, 2, 3, 4, 5, 6, 0, 8}} {
			a.free, b.free = free, free
			born := uint64(1_700_000_000_000 + round)
			want, got := string(a.frames(born)), string(b.frames(born))
			if got != want {
				t.Fatalf("serialization %d, round %d:\n%q\nwant\n%q", kind, round, got, want)
			}
			if strings.Contains(got, "KKKK") || strings.Contains(got, markBorn) || strings.Contains(got, markTopic) {
				t.Errorf("a mark is left in %q", got)
			}
		}
	}
	if newRing([]template{{frame: make([]byte, ringBytes/2)}}, 3) != nil {
		t.Error("a ring without bounds")
	}
}

func TestPutDecimal(t *testing.T) {
	for _, n := range []uint64{0, 7, 10, 99, 1_000_000_000, 1_000_000_037, 1_700_000_000_123} {
		for _, width := range []int{1, 5, 10, 13} {
			b := make([]byte, width)
			putDecimal(b, n)
			want := fmt.Sprintf("%020d", n)
			if want = want[20-width:]; string(b) != want {
				t.Errorf("%d in %d digits is %q, want %q", n, width, b, want)
			}
		}
	}
}

// The place where the opaque stood before is a hint and no more.
func TestParseAnswerLike(t *testing.T) {
	for _, hint := range []int{0, 9, 10, 11, 500} {
		for _, head := range []string{`{"code":0,"opaque":1000000005}`, `{"code":0,"extFields":{"a":"b"},"opaque":1000000005,"flag":1}`, `{"flag":1,"opaque":1000000005,"code":0}`} {
			f := append([]byte{0, 0, 0, byte(len(head))}, head...)
			at := hint
			a, err := parseAnswerLike(f, &at)
			if err != nil || a.code != 0 || a.slot != 5 || !strings.HasPrefix(head[at:], opaqueKey) {
				t.Errorf("%s with hint %d: %+v, %v, next hint %d", head, hint, a, err, at)
			}
		}
	}
}
