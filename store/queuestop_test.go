package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"apogee/store/vfs"
)

// manyQueues puts one message into each of so many queues, four to a topic, and returns their bodies.
func manyQueues(t testing.TB, s *Store, queues int) map[string]bool {
	t.Helper()
	want := map[string]bool{}
	for i := range queues {
		body := fmt.Sprint("m", i)
		put(t, s, message(fmt.Sprintf("Topic%d", i/4), int32(i%4), body))
		want[body] = true
	}
	return want
}

func manyOptions(o *Options) { o.MappedFileSizeCommitLog = 1 << 20 }

// checkMany fails the test unless the store has exactly these messages, in its log and in its queues.
func checkMany(t testing.TB, s *Store, want map[string]bool) {
	t.Helper()
	all := walkLog(t, s)
	checkQueues(t, all)
	checkReads(t, s, all)
	if len(all) != len(want) {
		t.Fatalf("%d messages, want %d", len(all), len(want))
	}
	for _, m := range all {
		if !want[m.body] {
			t.Fatalf("%q was never put", m.body)
		}
	}
}

// reopen opens a store that has exactly these messages, and closes it.
func (r *rig) reopen(want map[string]bool) {
	r.t.Helper()
	s := r.open()
	checkMany(r.t, s, want)
	must(r.t, s.Close())
}

// countingQueueOps counts what is asked of a file system for consume queues.
func countingQueueOps(under vfs.FS) (counting vfs.FS, counts func() map[vfs.Op]int) {
	var mu sync.Mutex
	count := map[vfs.Op]int{}
	counting = vfs.Faulty(under, func(op vfs.Op, name string) error {
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(name, "/consumequeue") {
			count[op]++
		}
		return nil
	})
	return counting, func() map[vfs.Op]int {
		mu.Lock()
		defer mu.Unlock()
		return maps.Clone(count)
	}
}

// TestStopMakesFilesInFewSteps counts what is asked of the file system for queues that are new when the broker stops.
func TestStopMakesFilesInFewSteps(t *testing.T) {
	const queues = 400
	r := newRig(t, manyOptions)
	fsys, counts := countingQueueOps(r.mem)
	s := r.on(fsys).open()
	want := manyQueues(t, s, queues)
	must(t, s.Close())
	count := counts()
	for _, op := range []vfs.Op{vfs.OpMkdir, vfs.OpCreate, vfs.OpTruncate, vfs.OpWrite} {
		if count[op] != queues {
			t.Errorf("%s: %d times for %d queues", op, count[op], queues)
		}
		delete(count, op)
	}
	for op, n := range count { // each pass that finds many new ones syncs once, and recovery looked for the directory
		if n >= queues/4 {
			t.Errorf("%s: %d times for %d queues", op, n, queues)
		}
	}
	r.reopen(want)
}

// TestCutsDuringStop ends a stop with many new queues at one of its file operations, by a power cut or a kill.
func TestCutsDuringStop(t *testing.T) {
	const queues = 40
	for n := int64(1); ; n += 17 {
		r := newRig(t, manyOptions, syncFlush)
		var stopping atomic.Bool
		var count atomic.Int64
		var once sync.Once
		var cut, kill *vfs.Mem
		s := r.on(vfs.Faulty(r.mem, func(vfs.Op, string) error {
			if stopping.Load() && count.Add(1) >= n {
				once.Do(func() { cut, kill = r.mem.CrashClone(uint64(n)), r.mem.KillClone() })
			}
			return nil
		})).open()
		want := manyQueues(t, s, queues)
		stopping.Store(true)
		must(t, s.Close())
		if cut == nil {
			if n == 1 {
				t.Fatal("nothing is written by a stop")
			}
			return
		}
		for _, mem := range []*vfs.Mem{cut, kill} {
			for range 2 {
				r.on(mem).reopen(want)
			}
		}
	}
}

// TestStopDoesNotTakeForever: files that take too long to make are left to the next start, which is told so by the abort file.
func TestStopDoesNotTakeForever(t *testing.T) {
	const queues = 200
	r := newRig(t, manyOptions)
	var log bytes.Buffer
	r.opts.Log = slog.New(slog.NewTextHandler(&log, nil))
	var s *Store
	s = r.on(vfs.Faulty(r.mem, func(op vfs.Op, name string) error {
		if op == vfs.OpCreate && strings.Contains(name, "/consumequeue/") {
			<-s.dispatch.quit // no file before the stop
			r.clock.advance(time.Second)
		}
		return nil
	})).open()
	want := manyQueues(t, s, queues)
	if err := s.Close(); !errors.Is(err, errGivenUp) {
		t.Fatalf("close: %v", err)
	}
	if _, err := r.mem.Stat("/data/store/abort"); err != nil {
		t.Errorf("abort file: %v", err)
	}
	if n := strings.Count(r.mem.Dump(), "/consumequeue/"); n == 0 || n > queues/2 {
		t.Errorf("%d files after %v of a second each", n, writeMost)
	}
	if n := strings.Count(log.String(), "writing consume queues"); n == 0 || n > queues/4 {
		t.Errorf("progress was told %d times", n)
	}
	r.reopen(want)
	if _, err := r.mem.Stat("/data/store/abort"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("abort file after a stop with enough time: %v", err)
	}
	r.reopen(want)
}

// TestWriteErrorsOfManyQueues: a full disk fails them all, and is told of in a few lines.
func TestWriteErrorsOfManyQueues(t *testing.T) {
	const queues = 100
	r := newRig(t, manyOptions)
	var full atomic.Bool
	full.Store(true)
	s := r.on(vfs.Faulty(r.mem, func(op vfs.Op, name string) error {
		if full.Load() && op == vfs.OpWrite && strings.Contains(name, "/consumequeue/") {
			return vfs.ErrNoSpace
		}
		return nil
	})).open()
	d := s.dispatch
	d.mu.Lock()
	for i := range int64(queues) {
		d.enter(s.queues.getOrCreate("Topic", int32(i)), 0, i*10, 10, 0, 0)
	}
	d.mu.Unlock()
	err := s.flushQueues(true)
	if !errors.Is(err, vfs.ErrNoSpace) || strings.Count(err.Error(), "\n") > 10 || !strings.Contains(err.Error(), "96 more") {
		t.Errorf("flush: %v", err)
	}
	if n := strings.Count(r.mem.Dump(), "/consumequeue/"); n != 0 {
		t.Errorf("%d files that could not be written are left", n)
	}
	if ok, _ := s.Writable(); ok {
		t.Error("messages are taken while queues cannot be written")
	}
	full.Store(false)
	must(t, s.flushQueues(true))
	if ok, why := s.Writable(); !ok {
		t.Error(why)
	}
	must(t, s.Close())
}

// TestStartOpensWhatItNeeds: after a clean stop each queue's directory is listed and its only file read once, and nothing mapped.
func TestStartOpensWhatItNeeds(t *testing.T) {
	const queues = 200
	r := newRig(t, manyOptions)
	s := r.open()
	want := manyQueues(t, s, queues)
	must(t, s.Close())
	fsys, counts := countingQueueOps(r.mem)
	s = r.on(fsys).open()
	got := fmt.Sprint(counts())
	if want := fmt.Sprint(map[vfs.Op]int{vfs.OpReadDir: 1 + queues/4 + queues, vfs.OpOpen: queues, vfs.OpRead: queues}); got != want {
		t.Errorf("start: %s, want %s", got, want)
	}
	checkMany(t, s, want)
	must(t, s.Close())
}

func TestInParallelCallsEachOnce(t *testing.T) {
	for _, n := range []int{0, 1, 2, 63, 64, 65, 1000, 1025, 5000} {
		calls := make([]atomic.Int32, n)
		odd := errors.New("odd")
		err := inParallel(n, func(i int) error {
			calls[i].Add(1)
			if i == n-1 {
				return odd
			}
			return nil
		})
		if errors.Is(err, odd) != (n > 0) {
			t.Errorf("%d: %v", n, err)
		}
		for i := range calls {
			if c := calls[i].Load(); c != 1 {
				t.Fatalf("%d of %d was called %d times", i, n, c)
			}
		}
	}
}

// TestQueuesAreNotBehindByManyFiles: where files of the log are small, Java would not read all of those again whose entries a kill has cost.
func TestQueuesAreNotBehindByManyFiles(t *testing.T) {
	r := newRig(t)
	s := r.open()
	defer func() { must(t, s.Close()) }()
	q := s.queues.getOrCreate("Topic", 0)
	savedUpTo := func(phys int64) {
		t.Helper()
		eventually(t, func() bool {
			at, _, _, ok := q.cq.unit(q.cq.saved.Load() - 1)
			return ok && at >= phys
		})
	}
	put(t, s, message("Topic", 0, "a queue's first file is made at once"))
	savedUpTo(0)
	for i := range 200 { // less than two pages of entries: they alone would wait for a minute
		put(t, s, message("Topic", 0, fmt.Sprintf("%d %s", i, strings.Repeat("x", 1000))))
	}
	savedUpTo(s.commit.end() - (filesWhole+2)*r.opts.MappedFileSizeCommitLog)
}
