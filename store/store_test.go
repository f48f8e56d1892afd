package store

import (
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"apogee/store/record"
	"apogee/store/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testClock is a clock that stands until it is moved.
type testClock struct{ ms atomic.Int64 }

func newClock() *testClock {
	c := &testClock{}
	c.ms.Store(epoch.UnixMilli())
	return c
}

func (c *testClock) now() time.Time          { return time.UnixMilli(c.ms.Load()) }
func (c *testClock) advance(d time.Duration) { c.ms.Add(d.Milliseconds()) }

// rig is a memory file system with a clock and options for a small store on it.
type rig struct {
	t     testing.TB
	clock *testClock
	mem   *vfs.Mem
	opts  Options
}

func newRig(t testing.TB, change ...func(*Options)) *rig {
	t.Helper()
	r := &rig{t: t, clock: newClock()}
	r.mem = vfs.NewMem(r.clock.now)
	r.opts = Defaults()
	r.opts.FS, r.opts.Now, r.opts.RootDir = r.mem, r.clock.now, "/data/store"
	r.opts.MappedFileSizeCommitLog = 16 << 10
	r.opts.MappedFileSizeConsumeQueue = 20 * 50
	r.opts.MaxHashSlotNum, r.opts.MaxIndexNum = 100, 400
	for _, c := range change {
		c(&r.opts)
	}
	return r
}

func syncFlush(o *Options) { o.FlushDiskType = SyncFlush }

// on is the same rig on another file system (a clone after a crash, a faulty wrapper).
func (r *rig) on(fsys vfs.FS) *rig {
	c := *r
	c.opts.FS = fsys
	if m, ok := fsys.(*vfs.Mem); ok {
		c.mem = m
	}
	return &c
}

// open is a store that takes messages; the test closes it, or abandon does.
func (r *rig) open() *Store {
	r.t.Helper()
	s, err := Open(r.opts)
	if err != nil {
		r.t.Fatalf("open: %v\n%s", err, r.mem.Dump())
	}
	if err := s.Start(); err != nil {
		_ = s.Close()
		r.t.Fatalf("start: %v", err)
	}
	return s
}

// abandon stops the goroutines of a store whose disk has been cloned away.
func abandon(s *Store) {
	s.drain = 0
	_ = s.Close()
}

var (
	hostV4 = netip.MustParseAddrPort("10.1.2.3:1234")
	hostV6 = netip.MustParseAddrPort("[2001:db8::1]:1234")
)

func message(topic string, queue int32, body string) *record.Message {
	return &record.Message{Topic: topic, QueueID: queue, Body: []byte(body), BornTimestamp: epoch.UnixMilli(), BornHost: hostV4, StoreHost: hostV4}
}

// put appends and waits, and fails the test if that does not work.
func put(t testing.TB, s *Store, m *record.Message) PutResult {
	t.Helper()
	r := s.PutWait(m)
	if r.Status != PutOK {
		t.Fatalf("put: status %d, %v", r.Status, r.Err)
	}
	return r
}

// recordAt reads a record straight from the log.
func recordAt(t testing.TB, s *Store, off int64) record.Message {
	t.Helper()
	b, f, err := s.commit.holdRest(off, s.commit.end())
	must(t, err)
	if f == nil {
		t.Fatalf("nothing at %d", off)
	}
	defer f.release()
	var m record.Message
	must(t, record.Decode(b, &m))
	m.Topic, m.Properties, m.Body = strings.Clone(m.Topic), strings.Clone(m.Properties), append([]byte(nil), m.Body...)
	return m
}

// outcomes collects completions by the end offset of their put.
type outcomes struct {
	mu    sync.Mutex
	got   []PutStatus
	order []int
	all   chan struct{}
	want  int
}

func newOutcomes(want int) *outcomes { return &outcomes{all: make(chan struct{}), want: want} }

// each is a completion with a number.
func (o *outcomes) each(n int) Completion { return numbered{o, n} }

type numbered struct {
	o *outcomes
	n int
}

func (c numbered) Complete(status PutStatus) {
	c.o.mu.Lock()
	defer c.o.mu.Unlock()
	c.o.got = append(c.o.got, status)
	c.o.order = append(c.o.order, c.n)
	if len(c.o.got) == c.o.want {
		close(c.o.all)
	}
}

func (o *outcomes) wait(t testing.TB) []PutStatus {
	t.Helper()
	select {
	case <-o.all:
	case <-time.After(20 * time.Second):
		t.Fatalf("only %d of %d completions came", len(o.got), o.want)
	}
	return o.got
}

// eventually waits for a condition that other goroutines bring about.
func eventually(t testing.TB, cond func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !cond() {
		select {
		case <-deadline:
			t.Fatal("it did not come about")
		case <-time.After(time.Millisecond):
		}
	}
}
