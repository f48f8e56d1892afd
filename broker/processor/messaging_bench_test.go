package processor

import (
	"runtime"
	"sync/atomic"
	"testing"

	"apogee/internal/testkit"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/store"
	"apogee/store/record"
)

// nullStore takes everything and gives the same 32 records for every read, so that what is measured is the handlers.
type nullStore struct {
	*memStore
	pending []store.Completion
	sync    bool
	regions [][]byte
}

func (s *nullStore) Commit(*store.PutResult) error { return nil }

func (s *nullStore) StageAt(_ *store.Place, m *record.Message, c store.Completion) store.PutResult {
	if s.sync && c != nil {
		s.pending = append(s.pending, c)
	}
	return store.PutResult{PhysicalOffset: 1 << 30, NextOffset: 1<<30 + int64(len(m.Body)), QueueOffset: 77, Count: 1, Pending: s.sync && c != nil}
}

func (s *nullStore) StageBatch(_ *store.Place, _ *record.Message, items []store.BatchItem, _ store.Completion) store.PutResult {
	return store.PutResult{PhysicalOffset: 1 << 30, NextOffset: 1<<30 + 100, QueueOffset: 77, Count: len(items)}
}

func (s *nullStore) Get(req *store.GetRequest, res *store.GetResult) {
	if req.Filter != nil && !req.Filter.MatchTags(int64(record.HashString("TagA"))) {
		panic("the filter is wrong")
	}
	res.Status, res.Next, res.Min, res.Max = store.Found, req.Offset+32, 0, 1<<20
	res.Count, res.Bytes, res.Regions = 32, 32<<10, append(res.Regions[:0], s.regions...)
}

func (s *nullStore) Cold(string, int32, int64) bool { return false }
func (s *nullStore) ColdAt(int64) bool              { return false }

func nullRig(t testing.TB) (*rig, *nullStore) {
	g := newRig(t)
	g.addTopic("BenchTopic", nil)
	g.addGroup("cg", nil)
	n := &nullStore{memStore: g.store, regions: [][]byte{make([]byte, 32<<10)}}
	g.Processor.Store, g.Processor.Reader = n, n
	return g, n
}

// discard is a replier that behaves as the connection does: it reads the answer and releases it. (What it costs to write one is
// measured in package remoting.)
func discard(rep *remoting.Reply) {
	if rep.Header != nil {
		rep.Header.EncodeFields(nullEncoder{})
	}
	if rep.Release != nil {
		rep.Release()
	}
}

type nullEncoder struct{}

func (nullEncoder) String(string, string) {}
func (nullEncoder) Int(string, int64)     {}
func (nullEncoder) Bool(string, bool)     {}

const typicalProps = "UNIQ_KEY\x01C0A8016400002A9F0000000000000001\x02WAIT\x01true\x02TAGS\x01TagA\x02KEYS\x01order-12345\x02"

func benchSend(properties string) *remoting.Request {
	return remoting.NewRequest(remoting.Request{
		Code: code.SendMessageV2, Version: 513, Fields: short(sendFields("BenchTopic", properties)), Body: make([]byte, 1024),
	}, discard)
}

func benchBatch() *remoting.Request {
	var b []byte
	for range 32 {
		b = record.AppendBatch(b, record.BatchRecord{Body: make([]byte, 128), Properties: []byte(typicalProps)})
	}
	return remoting.NewRequest(remoting.Request{
		Code: code.SendBatchMessage, Version: 513, Fields: short(sendFields("BenchTopic", "", "batch", "true")), Body: b,
	}, discard)
}

func benchPull(kv ...string) *remoting.Request {
	return remoting.NewRequest(remoting.Request{Code: code.PullMessage, Version: 513, Fields: pullFields("BenchTopic", 0, kv...)}, discard)
}

// bareReply is what the replier of a test costs by itself: it copies the reply, which that of a connection does not.
func bareReply() float64 {
	r := benchSend("")
	rep := remoting.Reply{}
	return testing.AllocsPerRun(200, func() { r.Reply(&rep) })
}

func TestSendAndPullAllocateNothing(t *testing.T) {
	testkit.CountsAllocations(t)
	g, n := nullRig(t)
	bare := bareReply()
	anyQueue := remoting.NewRequest(remoting.Request{
		Code: code.SendMessage, Version: 513, Fields: sendFields("BenchTopic", typicalProps, "queueId", "-1"), Body: make([]byte, 64),
	}, discard)
	for name, c := range map[string]struct {
		handle func(*remoting.Request)
		r      *remoting.Request
	}{
		"send":                    {g.Processor.send, benchSend(typicalProps)},
		"send without unique key": {g.Processor.send, benchSend("TAGS\x01TagA\x02")},
		"send delayed":            {g.Processor.send, benchSend(typicalProps + "DELAY\x012\x02")},
		"send to any queue":       {g.Processor.send, anyQueue},
		"send a batch of 32":      {g.Processor.send, benchBatch()},
		"pull":                    {g.Processor.pull, benchPull()},
		"pull by tag":             {g.Processor.pull, benchPull("subscription", "TagA || TagB")},
		"pull and commit":         {g.Processor.pull, benchPull("sysFlag", "5", "commitOffset", "7")},
	} {
		c.handle(c.r) // fills pools and tables
		if allocs := testing.AllocsPerRun(200, func() { c.handle(c.r) }) - bare; allocs != 0 {
			t.Errorf("%s: %v allocations", name, allocs)
		}
	}
	n.sync, n.pending = true, make([]store.Completion, 0, 16)
	var answered atomic.Int64
	r := remoting.NewRequest(*benchSend(typicalProps), func(*remoting.Reply) { answered.Add(1) })
	send := func() {
		was := answered.Load()
		g.Processor.send(r)
		n.pending[0].Complete(store.PutOK)
		n.pending = n.pending[:0]
		for answered.Load() == was {
			runtime.Gosched()
		}
	}
	send()
	if allocs := testing.AllocsPerRun(200, send) - bare; allocs > 0 {
		t.Errorf("send that waits for the disk: %v allocations", allocs)
	}
}

func BenchmarkSend(b *testing.B) {
	g, _ := nullRig(b)
	for name, r := range map[string]*remoting.Request{"typical": benchSend(typicalProps), "noUniqKey": benchSend("TAGS\x01TagA\x02"), "delayed": benchSend(typicalProps + "DELAY\x012\x02"), "batch32": benchBatch()} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				g.Processor.send(r)
			}
		})
	}
}

func BenchmarkPull(b *testing.B) {
	g, _ := nullRig(b)
	for name, r := range map[string]*remoting.Request{"all": benchPull(), "tag": benchPull("subscription", "TagA || TagB"), "commit": benchPull("sysFlag", "5")} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				g.Processor.pull(r)
			}
		})
	}
}

func BenchmarkRewriteProperties(b *testing.B) {
	var p sentProperties
	buf := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		buf = p.rewrite(buf[:0], typicalProps)
	}
}
