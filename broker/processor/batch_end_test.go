package processor

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"apogee/broker/stats"
	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/store"
	"apogee/store/record"
)

// defective panics at one of its commits.
type defective struct {
	*memStore
	commits *atomic.Int32
	at      int32
}

func (d defective) Commit(r *store.PutResult) error {
	if d.commits.Add(1) == d.at {
		panic("a defect")
	}
	return d.memStore.Commit(r)
}

// sendFrame is a send as it comes over the network.
func sendFrame(topic string, opaque int) []byte {
	var ext strings.Builder
	for i, f := range sendFields(topic, "") {
		if i > 0 {
			ext.WriteByte(',')
		}
		fmt.Fprintf(&ext, "%q:%q", f.Key, f.Value)
	}
	head := fmt.Sprintf(`{"code":%d,"extFields":{%s},"flag":0,"language":"JAVA","opaque":%d,"version":513}`, code.SendMessage, ext.String(), opaque)
	frame := binary.BigEndian.AppendUint32(nil, uint32(4+len(head)+4))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(head)))
	return append(append(frame, head...), "body"...)
}

// readAnswer reads an answer and wants it to begin like this, and to be that to a request.
func readAnswer(from io.Reader, begin string, opaque int) error {
	var size [4]byte
	if _, err := io.ReadFull(from, size[:]); err != nil {
		return err
	}
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(from, frame); err != nil {
		return err
	}
	if a := string(frame[4:]); !strings.HasPrefix(a, begin) || !strings.Contains(a, fmt.Sprintf(`"opaque":%d,`, opaque)) {
		return fmt.Errorf("answer %s, want that to %d", a, opaque)
	}
	return nil
}

// goodAnswer reads an answer and wants it to be that to a send that was stored.
func goodAnswer(from io.Reader, opaque int) error {
	return readAnswer(from, `{"code":0,"extFields":{"msgId":"`, opaque)
}

// serve has a server answer for a rig, and returns how to connect to it.
func (g *rig) serve(t testing.TB) func() net.Conn { return g.serveRoutes(t, g.Routes(false)) }

func (g *rig) serveRoutes(t testing.TB, routes []remoting.Route) func() net.Conn {
	t.Helper()
	srv, err := remoting.Listen(remoting.ServerOptions{Addr: "127.0.0.1:0", Routes: routes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Shutdown(context.Background()) })
	return func() net.Conn {
		c, err := net.Dial("tcp", srv.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
}

func TestSendsOfOneBatchAreEndedTogether(t *testing.T) {
	g := newRig(t)
	g.addTopic("tA", nil)
	g.addTopic("tB", nil)
	g.Processor.Store = defective{g.store, new(atomic.Int32), 3}
	c := g.serve(t)()

	start := time.Unix(1_700_000_000, 0)
	g.Stats.Sample(start)
	for round := range 3 { // later ones with the ops of those before
		var frames []byte
		topics := []string{"tA", "tA", "tB", "tA", "tB", "tB", "tB"}
		for i, topic := range topics {
			frames = append(frames, sendFrame(topic, i)...)
		}
		if _, err := c.Write(frames); err != nil {
			t.Fatal(err)
		}
		for i := range topics {
			begin := `{"code":0,`
			if round == 0 && i == 2 { // the one that panics
				begin = `{"code":1,`
			}
			if err := readAnswer(c, begin, i); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
	}
	g.Stats.Sample(start.Add(stats.SamplePeriod))
	for topic, want := range map[string]int64{"tA": 9, "tB": 11} {
		if v, _ := g.Stats.View("TOPIC_PUT_NUMS", topic); v.Minute.Sum != want || v.Minute.Times != want {
			t.Errorf("%s: %+v, want %d", topic, v.Minute, want)
		}
	}
}

// TestEachKindOfEndMayPanic has one request of each kind in a batch, and each of their ends panic in turn: that one has an error for an
// answer, the others have theirs.
func TestEachKindOfEndMayPanic(t *testing.T) {
	const kinds = 4
	g := newRig(t)
	g.addTopic("tA", nil)
	commits := new(atomic.Int32)
	g.Processor.Store = defective{g.store, commits, kinds}
	topic, _ := g.Topics.Get("tA")
	staged := store.PutResult{NextOffset: 1, Count: 1}
	routes := g.Routes(false)
	stage := func(code int32, f func(r *remoting.Request)) {
		routes = append(routes, remoting.Route{Code: code, Handle: f})
	}
	stage(2000, func(r *remoting.Request) { g.putOff(r, &sentBack{p: g.Processor, replier: r.Replier(), res: staged}) })
	stage(2001, func(r *remoting.Request) {
		d := g.newAcked(r)
		d.last = staged
		d.all()
	})
	stage(2002, func(r *remoting.Request) {
		op := g.newPop(r)
		op.request, op.topic, op.group, op.put, op.count = r, topic, new(body.SubscriptionGroupConfig), staged, 1
		op.finish()
	})
	c := g.serveRoutes(t, routes)()
	frames := sendFrame("tA", 0)
	for i := 1; i < kinds; i++ {
		head := fmt.Sprintf(`{"code":%d,"flag":0,"language":"JAVA","opaque":%d,"version":513}`, 1999+i, i)
		frames = binary.BigEndian.AppendUint32(frames, uint32(4+len(head)))
		frames = append(binary.BigEndian.AppendUint32(frames, uint32(len(head))), head...)
	}
	for bad := range kinds {
		commits.Store(int32(kinds - bad - 1))
		if _, err := c.Write(frames); err != nil {
			t.Fatal(err)
		}
		for i := range kinds {
			begin := `{"code":0,`
			if i == bad {
				begin = `{"code":1,`
			}
			if err := readAnswer(c, begin, i); err != nil {
				t.Fatalf("where %d panics: %v", bad, err)
			}
		}
	}
}

// What an end that panics has left is let go: a pending send waits for nothing any more, its transaction is undecided as before, and a pop
// holds no files.
func TestBrokenEndsAreLetGo(t *testing.T) {
	g := newRig(t)
	op := &sendOp{p: g.Processor, res: store.PutResult{Pending: true}, tran: ending{step: tranCommit, queue: 1, off: 2}}
	g.pending.Store(1)
	op.broken()
	op.Complete(store.PutOK)
	if n, said := g.pending.Load(), g.tran().take(); n != 0 || said != "[abandon 1/2]" {
		t.Errorf("%d pending, %s", n, said)
	}
	p := &popOp{results: []*store.GetResult{new(store.GetResult)}, used: 1}
	if p.broken(); p.used != 0 {
		t.Error("the pop holds messages")
	}
}

// panicking is a reader with a defect.
type panicking struct{ Reader }

func (panicking) Get(*store.GetRequest, *store.GetResult) { panic("a defect") }

// TestPanicsOutsideOfHandlers: what goes on with a request when its handler has returned answers for a defect, too.
func TestPanicsOutsideOfHandlers(t *testing.T) {
	for name, c := range map[string]struct {
		fields []string
		cold   bool
	}{"a pull that waited": {[]string{"sysFlag", "6"}, false}, "a pull in its lane": {nil, true}} {
		t.Run(name, func(t *testing.T) {
			g := pullRig(t)
			good := g.Processor.Reader
			g.store.cold = c.cold
			if c.cold {
				g.Processor.Reader = panicking{good}
			}
			out := g.start(remoting.Request{Code: code.PullMessage, Fields: pullFields("tA", 3, c.fields...)})
			if !c.cold {
				g.Processor.Reader = panicking{good}
				g.send("tA", 0, "a", "wakes it")
			}
			if a := g.wait(out); a.code != code.SystemError || !strings.Contains(a.remark, "a defect") {
				t.Errorf("answer %v", a)
			}
		})
	}
}

// TestBatchesOfManyConnections has them come and go at the same time, on several workers.
func TestBatchesOfManyConnections(t *testing.T) {
	const conns, rounds, sends = 6, 40, 12
	g := newRig(t)
	g.addTopic("tA", nil)
	dial := g.serve(t)
	start := time.Unix(1_700_000_000, 0)
	g.Stats.Sample(start)
	var frames []byte
	for i := range sends {
		frames = append(frames, sendFrame("tA", i)...)
	}
	var clients sync.WaitGroup
	for range conns {
		c := dial()
		clients.Go(func() {
			for range rounds {
				if _, err := c.Write(frames); err != nil {
					t.Error(err)
					return
				}
				for i := range sends {
					if err := goodAnswer(c, i); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	clients.Wait()
	g.Stats.Sample(start.Add(stats.SamplePeriod))
	if v, _ := g.Stats.View("TOPIC_PUT_NUMS", "tA"); v.Minute.Sum != conns*rounds*sends {
		t.Errorf("%d messages were counted, want %d", v.Minute.Sum, conns*rounds*sends)
	}
}

// BenchmarkServeSend has a server answer sends from a socket in batches of 64, over a null store. Its time is that of both sides; the
// client's is small and always the same.
func BenchmarkServeSend(b *testing.B) {
	g, _ := nullRig(b)
	c := g.serve(b)()
	const window = 64
	var frames []byte
	for i := range window {
		frames = append(frames, sendFrame("BenchTopic", i)...)
	}
	answers := make([]byte, 64<<10)
	b.ReportAllocs()
	for range b.N/window + 1 {
		if _, err := c.Write(frames); err != nil {
			b.Fatal(err)
		}
		for left := window; left > 0; {
			n, err := c.Read(answers)
			if err != nil {
				b.Fatal(err)
			}
			left -= bytes.Count(answers[:n], []byte(`"opaque":`)) // none is cut there: each batch leaves with one write
		}
	}
}

// TestInnerBatch sends batches to a topic with queues of batches.
func TestInnerBatch(t *testing.T) {
	body2 := record.AppendBatch(record.AppendBatch(nil, record.BatchRecord{Body: []byte("a")}), record.BatchRecord{Body: []byte("b"), Properties: []byte("KEYS\x01k\x02")})
	badSize := bytes.Clone(body2)
	badSize[3]++
	for name, c := range map[string]struct {
		body  []byte
		props string
		code  int32
		inner string
	}{
		"inner":            {body2, props("UNIQ_KEY=u", "WAIT=true"), 0, "2"},
		"no unique key":    {body2, props("WAIT=true"), 0, ""},
		"sizes do not add": {badSize, props("UNIQ_KEY=u"), code.MessageIllegal, ""},
		"cut off":          {body2[:len(body2)-1], props("UNIQ_KEY=u"), code.MessageIllegal, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			g.addTopic("tB", func(c *body.TopicConfig) { c.Attributes = map[string]string{"queue.type": "BatchCQ"} })
			a := g.call(code.SendBatchMessage, short(sendFields("tB", c.props, "batch", "true")), string(c.body))
			if a.code != c.code {
				t.Fatalf("answer %v", a)
			}
			if c.code != 0 {
				if len(g.store.log) != 0 {
					t.Error("it was stored all the same")
				}
				return
			}
			want := 1
			if c.inner == "" {
				want = 2
			} else if a.ext["batchUniqId"] != "u" || strings.Contains(a.ext["msgId"], ",") {
				t.Errorf("answer %v", a)
			}
			if len(g.store.log) != want {
				t.Fatalf("%d records", len(g.store.log))
			}
			for _, rec := range g.store.log {
				var h record.Header
				if err := record.Parse(rec, &h); err != nil {
					t.Fatal(err)
				}
				if got := record.Property(string(h.Properties), record.PropInnerNum); got != c.inner {
					t.Errorf("INNER_NUM %q", got)
				}
				if flags := h.SysFlag & (record.SysInnerBatch | record.SysNeedUnwrap); (flags == 0xC0) != (c.inner != "") {
					t.Errorf("flags %x", flags)
				}
			}
		})
	}
}

func TestBatchWithoutKeys(t *testing.T) {
	one := record.AppendBatch(nil, record.BatchRecord{Body: []byte("a"), Properties: []byte("KEYS\x01k\x02")})
	g := newRig(t)
	g.addTopic("tC", func(c *body.TopicConfig) { c.Attributes = map[string]string{"cleanup.policy": "COMPACTION"} })
	fields := short(sendFields("tC", "", "batch", "true"))
	if a := g.call(code.SendBatchMessage, fields, string(record.AppendBatch(one, record.BatchRecord{Body: []byte("b")}))); a.code != code.MessageIllegal || len(g.store.log) != 0 {
		t.Errorf("a message without a key: %v", a)
	}
	if a := g.call(code.SendBatchMessage, fields, string(one)); a.code != 0 {
		t.Errorf("with a key: %v", a)
	}
}
