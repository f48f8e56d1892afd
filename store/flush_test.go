package store

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"apogee/store/vfs"
)

// gate is a check for vfs.Faulty that lets syncs of the log wait.
type gate struct {
	shut    atomic.Bool
	arrived chan struct{}
	open    chan struct{}
}

func newGate() *gate { return &gate{arrived: make(chan struct{}, 100), open: make(chan struct{})} }

func (g *gate) check(op vfs.Op, name string) error {
	if op == vfs.OpSync && strings.Contains(name, "commitlog") && g.shut.Load() {
		g.arrived <- struct{}{}
		<-g.open
	}
	return nil
}

func TestSyncFlushCompletesInOrderWithOneSync(t *testing.T) {
	r := newRig(t, syncFlush)
	g := newGate()
	var syncs atomic.Int64
	s := r.on(vfs.Faulty(r.mem, func(op vfs.Op, name string) error {
		if op == vfs.OpSync && strings.Contains(name, "commitlog") {
			syncs.Add(1)
		}
		return g.check(op, name)
	})).open()
	defer s.Close()
	put(t, s, message("T", 0, "warm up: the file is made"))
	g.shut.Store(true)
	const n = 100
	out := newOutcomes(n)
	for i := range n {
		if res := s.Put(message("T", 0, "x"), out.each(i)); res.Status != PutOK || !res.Pending {
			t.Fatalf("%+v", res)
		}
		if i == 0 {
			<-g.arrived // the first one's sync is under way
		}
	}
	if res := s.Put(message("T", 0, "nobody waits"), nil); res.Status != PutOK || res.Pending {
		t.Fatalf("%+v", res)
	}
	before := syncs.Load()
	if got := s.commit.confirmed(); got >= s.commit.end() {
		t.Fatal("confirmed what is not synced")
	}
	g.shut.Store(false)
	close(g.open)
	for i, status := range out.wait(t) {
		if status != PutOK {
			t.Fatalf("put %d: %d", i, status)
		}
	}
	if !slices.IsSorted(out.order) {
		t.Fatalf("completed in this order: %v", out.order)
	}
	if more := syncs.Load() - before; more > 2 {
		t.Fatalf("%d syncs for the 99 that waited", more)
	}
}

func TestSyncFlushTimeout(t *testing.T) {
	r := newRig(t, syncFlush, func(o *Options) { o.SyncFlushTimeoutMs = 20 })
	r.opts.Now = time.Now // the deadline is real
	g := newGate()
	s := r.on(vfs.Faulty(r.mem, g.check)).open()
	put(t, s, message("T", 0, "warm up"))
	g.shut.Store(true)
	out := newOutcomes(10)
	for i := range 10 {
		s.Put(message("T", 0, "x"), out.each(i))
	}
	for i, status := range out.wait(t) {
		if status != FlushDiskTimeout {
			t.Fatalf("put %d: %d", i, status)
		}
	}
	g.shut.Store(false)
	close(g.open)
	put(t, s, message("T", 0, "goes on"))
	must(t, s.Close())
	if s = r.open(); s.commit.end() == 0 {
		t.Fatal("what timed out was stored nevertheless")
	}
	must(t, s.Close())
}

func TestSyncErrorClosesTheStore(t *testing.T) {
	boom := errors.New("boom")
	for _, mode := range []FlushDiskType{SyncFlush, AsyncFlush} {
		r := newRig(t, func(o *Options) {
			o.FlushDiskType = mode
			o.FlushIntervalCommitLogMs = 1
			o.FlushCommitLogThoroughMs = 1
		})
		var bad atomic.Bool
		s := r.on(vfs.Faulty(r.mem, func(op vfs.Op, name string) error {
			if op == vfs.OpSync && strings.Contains(name, "commitlog") && bad.Load() {
				return boom
			}
			return nil
		})).open()
		put(t, s, message("T", 0, "good"))
		bad.Store(true)
		res := s.PutWait(message("T", 0, "bad"))
		if mode == SyncFlush && res.Status != UnknownError {
			t.Fatalf("%s: the one that waited: %+v", mode, res)
		}
		eventually(t, func() bool { // the timed flush comes by itself
			r.clock.advance(time.Second)
			return s.failure.Load() != nil
		})
		bad.Store(false) // a later sync would work; it must not be tried
		flushed := s.flush.flushed.Load()
		res = s.PutWait(message("T", 0, "later"))
		if res.Status != ServiceNotAvailable || !strings.Contains(res.Err.Error(), "boom") {
			t.Fatalf("%s: a later one: %+v", mode, res)
		}
		if ok, why := s.Writable(); ok || !strings.Contains(why, "boom") {
			t.Fatalf("%s: writable %v, %s", mode, ok, why)
		}
		if err := s.Close(); !errors.Is(err, boom) {
			t.Fatalf("%s: close: %v", mode, err)
		}
		if got := s.flush.flushed.Load(); got != flushed {
			t.Fatalf("%s: flushed to %d after the error", mode, got)
		}
		if _, err := r.mem.Stat("/data/store/abort"); err != nil {
			t.Fatalf("%s: abort was deleted: %v", mode, err)
		}
		s = r.open()
		put(t, s, message("T", 0, "after a restart"))
		must(t, s.Close())
	}
}

func TestAsyncFlushByPagesAndTime(t *testing.T) {
	r := newRig(t, func(o *Options) { o.MappedFileSizeCommitLog = 1 << 20; o.FlushIntervalCommitLogMs = 1 })
	s := r.open()
	defer s.Close()
	put(t, s, message("T", 0, "less than four pages"))
	if s.flush.due() {
		t.Fatal("a little is flushed at once")
	}
	r.clock.advance(11 * time.Second)
	eventually(t, func() bool { return s.flush.flushed.Load() == s.commit.end() })
	if got := s.checkpoint.physicMsgTimestamp.Load(); got != epoch.UnixMilli() {
		t.Fatalf("physicMsgTimestamp %d", got)
	}
	put(t, s, message("T", 0, strings.Repeat("x", 4*vfs.PageSize)))
	eventually(t, func() bool { return s.flush.flushed.Load() == s.commit.end() })
}

func TestCleanCloseLeavesNoMarks(t *testing.T) {
	r := newRig(t)
	s := r.open()
	if text, err := vfs.ReadFile(r.mem, "/data/store/lock"); err != nil || string(text) != "lock" {
		t.Fatalf("lock holds %q, %v", text, err)
	}
	if text, err := vfs.ReadFile(r.mem, "/data/store/abort"); err != nil || len(text) == 0 {
		t.Fatalf("abort holds %q, %v", text, err)
	}
	if _, err := Open(r.opts); !errors.Is(err, vfs.ErrLocked) {
		t.Fatalf("second open: %v", err)
	}
	for range 20 { // over half of the first file, so that the next is made
		put(t, s, message("T", 0, strings.Repeat("x", 500)))
	}
	must(t, s.Close())
	if _, err := r.mem.Stat("/data/store/abort"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("abort after a clean stop: %v", err)
	}
	infos, err := r.mem.ReadDir("/data/store/commitlog")
	must(t, err)
	if len(infos) != 1 {
		t.Fatalf("%d files: the one made ahead was not deleted", len(infos))
	}
	s, err = Open(r.opts)
	must(t, err)
	if s.lastExit != cleanExit || s.flush.flushed.Load() != s.commit.end() {
		t.Fatalf("exit %v, flushed %d, end %d", s.lastExit, s.flush.flushed.Load(), s.commit.end())
	}
	must(t, s.Close()) // never started
	if _, err := r.mem.Stat("/data/store/abort"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal("abort was written without a start")
	}
}

// scripted are replicas that answer when the test says so.
type scripted struct{ asked chan replicaCall }

type replicaCall struct {
	next int64
	c    Completion
}

func (r scripted) Admit() error { return nil }

func (r scripted) Await(next int64, c Completion) { r.asked <- replicaCall{next, c} }

func TestReplicasAreASecondGate(t *testing.T) {
	for _, mode := range []FlushDiskType{AsyncFlush, SyncFlush} {
		for _, status := range []PutStatus{PutOK, FlushSlaveTimeout} {
			replicas := scripted{make(chan replicaCall, 10)}
			s := newRig(t, func(o *Options) { o.FlushDiskType, o.Replicas = mode, replicas }).open()
			out := newOutcomes(1)
			res := s.Put(message("T", 0, "x"), out.each(0))
			if res.Status != PutOK || !res.Pending {
				t.Fatalf("%s: %+v", mode, res)
			}
			eventually(t, func() bool { return mode == AsyncFlush || s.flush.flushed.Load() == res.NextOffset })
			call := <-replicas.asked
			if call.next != res.NextOffset {
				t.Fatalf("%s: asked for %d, want %d", mode, call.next, res.NextOffset)
			}
			select {
			case <-out.all:
				t.Fatalf("%s: completed before the replicas answered", mode)
			default:
			}
			call.c.Complete(status)
			if got := out.wait(t)[0]; got != status {
				t.Fatalf("%s: completed with %d, want %d", mode, got, status)
			}
			if res := s.Put(message("T", 0, "nobody waits"), nil); res.Pending || len(replicas.asked) != 0 {
				t.Fatalf("%s: %+v", mode, res)
			}
			if res := s.Put(message("", 0, "refused"), out.each(1)); res.Status != MessageIllegal || res.Pending || len(replicas.asked) != 0 {
				t.Fatalf("%s: %+v", mode, res)
			}
			must(t, s.Close())
		}
	}
}
