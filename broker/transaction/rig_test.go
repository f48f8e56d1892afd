package transaction

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"apogee/broker/client"
	"apogee/broker/meta"
	"apogee/internal/leaktest"
	"apogee/internal/testkit"
	"apogee/remoting"
	"apogee/remoting/header"
	"apogee/store"
	"apogee/store/record"
	"apogee/store/vfs"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// testClock is a clock that stands until it is told to go on.
type testClock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *testClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// question is what a producer was asked.
type asked struct {
	header.CheckTransactionStateRequest
	msg record.Message
}

// peer is a producer that notes what it is asked.
type peer struct {
	client.Channel
	asked []asked
	err   error
}

func (p *peer) Oneway(out remoting.Outgoing) error {
	if p.err != nil {
		return p.err
	}
	q := asked{CheckTransactionStateRequest: *out.Header.(*header.CheckTransactionStateRequest)}
	q.MsgID, q.TransactionID = strings.Clone(q.MsgID), strings.Clone(q.TransactionID)
	if err := record.Decode(out.Body, &q.msg); err != nil {
		return err
	}
	p.asked = append(p.asked, q)
	return nil
}

func (p *peer) RemoteText() string { return "peer" }

func (p *peer) Call(context.Context, remoting.Outgoing) (*remoting.Response, error) { return nil, nil }

// doorStore is a store with a door before and behind each put.
type doorStore struct {
	*store.Store
	door   func()
	refuse func(m *record.Message) bool
}

func (s *doorStore) Put(m *record.Message, c store.Completion) store.PutResult {
	if s.door != nil {
		s.door()
		defer s.door()
	}
	if s.refuse != nil && s.refuse(m) {
		return store.PutResult{Status: store.ServiceNotAvailable, Err: fmt.Errorf("refused")}
	}
	return s.Store.Put(m, c)
}

// rig is a service over a real store in memory, whose goroutines do not run: tests take the steps themselves.
type rig struct {
	*Service
	t       testing.TB
	mem     *vfs.Mem
	clock   *testClock
	mode    store.FlushDiskType
	st      *doorStore
	offsets *meta.Offsets
	set     Settings
	peer    *peer
}

func usual() Settings {
	return Settings{
		Timeout: 6 * time.Second, CheckMax: 15, CheckInterval: 30 * time.Second, Reserved: 72 * time.Hour,
		OpMaxSize: 4096, OpInterval: 3 * time.Second, FlushCounts: 10 * time.Second, BrokerName: "b",
	}
}

func newRig(t testing.TB, mode store.FlushDiskType) *rig {
	clock := &testClock{t: time.UnixMilli(1_700_000_000_000)}
	r := &rig{t: t, mem: vfs.NewMem(clock.now), clock: clock, mode: mode, set: usual()}
	r.open()
	t.Cleanup(func() { _ = r.st.Close() })
	return r
}

// open opens what is in mem.
func (r *rig) open() {
	r.t.Helper()
	o := store.Defaults()
	o.FS, o.Now, o.RootDir, o.FlushDiskType = r.mem, r.clock.now, "/data/store", r.mode
	o.MappedFileSizeCommitLog, o.MappedFileSizeConsumeQueue = 64<<10, 20*100
	o.MaxHashSlotNum, o.MaxIndexNum = 100, 400
	st, err := store.Open(o)
	if err == nil {
		err = st.Start()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.st = &doorStore{Store: st}
	r.peer = &peer{}
	r.offsets = meta.NewOffsets(meta.OffsetOptions{FS: r.mem, Dir: o.RootDir, Now: r.clock.now, Log: slog.New(slog.DiscardHandler), VersionStep: 1})
	if err := r.offsets.Load(); err != nil {
		r.t.Fatal(err)
	}
	host := netip.MustParseAddrPort("127.0.0.1:10911")
	r.Service, err = Open(Options{
		Store: r.st, Offsets: r.offsets, FS: r.mem, Dir: o.RootDir, Now: r.clock.now, Settings: func() Settings { return r.set },
		Producer: func(group string) client.Channel {
			if group != "pg" || r.peer == nil {
				return nil
			}
			return r.peer
		},
		Queues: func() int32 { return 1 }, GivenUp: func() error { return nil }, Host: func() netip.AddrPort { return host },
		Stored: func(string, int64) {},
		End:    func() int64 { return st.Stats().MaxPhysical }, Flushed: func() int64 { return st.Stats().Flushed },
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// on goes on with what a crash has left.
func (r *rig) on(mem *vfs.Mem) {
	r.t.Helper()
	r.st.door = nil
	_ = r.st.Close() // the old directory is of no interest any more
	r.mem = mem
	r.open()
}

// half stores a half message for queue 1 of topic T and tells its place.
func (r *rig) half(uniq string, more ...string) store.PutResult {
	r.t.Helper()
	props := record.AppendProperty(nil, PropHalf, "true")
	props = record.AppendProperty(props, PropProducerGroup, "pg")
	props = record.AppendProperty(props, record.PropUniqKey, uniq)
	for i := 0; i < len(more); i += 2 {
		props = record.AppendProperty(props, more[i], more[i+1])
	}
	m := record.Message{
		Topic: "T", QueueID: 1, Flag: 7, SysFlag: record.SysTranPrepared, BornTimestamp: r.clock.now().UnixMilli(), ReconsumeTimes: 3,
		BornHost: netip.MustParseAddrPort("127.0.0.1:1000"), StoreHost: netip.MustParseAddrPort("127.0.0.1:10911"),
		Body: []byte(uniq), Properties: string(props),
	}
	Prepare(&m, uniq, nil)
	res := r.st.PutWait(&m)
	if !stored(res.Status) {
		r.t.Fatal(res.Err)
	}
	r.Prepared("T")
	r.clock.add(time.Millisecond) // so that it is older than a round that follows
	return res
}

// commit commits the half message at a place as the processor does.
func (r *rig) commit(queueOffset, physical int64) {
	r.t.Helper()
	rec, release, err := r.st.View(physical)
	if err != nil {
		r.t.Fatal(err)
	}
	defer release()
	var m record.Message
	if err := record.Decode(rec, &m); err != nil || m.QueueOffset != queueOffset {
		r.t.Fatalf("half message at %d: %d, %v", physical, m.QueueOffset, err)
	}
	if _, err := Commit(&m, nil); err != nil {
		r.t.Fatal(err)
	}
	r.Begin(0, queueOffset)
	if r.st.door != nil {
		r.st.door()
	}
	if res := r.st.PutWait(&m); !stored(res.Status) {
		r.t.Fatal(res.Err)
	}
	if r.st.door != nil {
		r.st.door()
	}
	r.Done(0, queueOffset, "T")
}

// messages are what a queue has, settled.
func (r *rig) messages(topic string, queue int32) []record.Message {
	r.t.Helper()
	testkit.AwaitReadable(r.t, r.st)
	var rd reader
	var out []record.Message
	for at := max(0, r.st.MinOffset(topic, queue)); rd.get(r.st, topic, queue, at, 32) == store.Found; {
		for _, region := range rd.res.Regions {
			eachRecord(region, func(m *record.Message) {
				c := *m
				c.Topic, c.Properties, c.Body = strings.Clone(m.Topic), strings.Clone(m.Properties), append([]byte(nil), m.Body...)
				out = append(out, c)
			})
		}
		at = rd.res.Next
		rd.res.Release()
	}
	return out
}

// flush writes the ops that wait.
func (r *rig) flush() {
	r.t.Helper()
	if err := r.flushOps(); err != nil {
		r.t.Fatal(err)
	}
}

// round is one round after a while, whose offsets are noted.
func (r *rig) round(after time.Duration) {
	r.clock.add(after)
	testkit.AwaitReadable(r.t, r.st)
	r.check.round()
	r.settle()
}

// settle makes sure that the log is flushed, and notes the offsets.
func (r *rig) settle() {
	r.check.publish(true)
}

// at is how far the check has got.
func (r *rig) at() string {
	half, _ := r.offsets.Query(Group, meta.HalfTopic, 0)
	op, _ := r.offsets.Query(Group, meta.OpHalfTopic, 0)
	return strconv.FormatInt(half, 10) + " " + strconv.FormatInt(op, 10)
}
