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

// goodAnswer reads an answer and wants it to be that to a send that was stored.
func goodAnswer(from io.Reader, opaque int) error {
	var size [4]byte
	if _, err := io.ReadFull(from, size[:]); err != nil {
		return err
	}
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(from, frame); err != nil {
		return err
	}
	if a := string(frame[4:]); !strings.HasPrefix(a, `{"code":0,"extFields":{"msgId":"`) || !strings.Contains(a, fmt.Sprintf(`"opaque":%d,`, opaque)) {
		return fmt.Errorf("answer %s, want that to %d", a, opaque)
	}
	return nil
}

// serve has a server answer for a rig, and returns how to connect to it.
func (g *rig) serve(t testing.TB) func() net.Conn {
	t.Helper()
	srv, err := remoting.Listen(remoting.ServerOptions{Addr: "127.0.0.1:0", Routes: g.Routes(false)})
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
		var want []int
		for i, topic := range []string{"tA", "tA", "tB", "tA", "tB", "tB", "tB"} {
			frames = append(frames, sendFrame(topic, i)...)
			if round > 0 || i != 2 { // the one that panics has no answer, the others have
				want = append(want, i)
			}
		}
		if _, err := c.Write(frames); err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if err := goodAnswer(c, w); err != nil {
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
