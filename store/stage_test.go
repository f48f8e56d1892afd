package store

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"apogee/store/vfs"
)

// bodiesIn opens what a clone of the file system holds and lists the bodies in its log.
func (r *rig) bodiesIn(mem *vfs.Mem) map[string]bool {
	r.t.Helper()
	s := r.on(mem).open()
	defer abandon(s)
	have := map[string]bool{}
	for _, m := range walkLog(r.t, s) {
		have[m.body] = true
	}
	return have
}

func TestStagedIsNotThereBeforeItsCommit(t *testing.T) {
	r := newRig(t)
	s := r.open()
	defer s.Close()
	put(t, s, message("T", 0, "zero"))
	end := s.commit.end()
	one, two := s.Stage(message("T", 0, "one"), nil), s.Stage(message("T", 0, "two"), nil)
	if one.Status != PutOK || one.QueueOffset != 1 || two.QueueOffset != 2 || one.PhysicalOffset != end || two.PhysicalOffset != one.NextOffset {
		t.Fatalf("%+v, %+v", one, two)
	}
	if s.commit.end() != end || s.MaxOffset("T", 0) != 1 || s.Stats().PutTotal != 1 || len(r.bodiesIn(r.mem.KillClone())) != 1 {
		t.Fatalf("staged messages can be seen: end %d, queue %d", s.commit.end(), s.MaxOffset("T", 0))
	}
	must(t, s.Commit(&one)) // which writes what was staged with it
	if s.commit.end() != two.NextOffset || s.MaxOffset("T", 0) != 3 || s.Stats().PutTotal != 3 {
		t.Fatalf("after the commit: end %d, queue %d", s.commit.end(), s.MaxOffset("T", 0))
	}
	must(t, s.Commit(&two))
	checkReads(t, s, walkLog(t, s))
}

// TestAcknowledgedIsInTheFileSystem looks at the file system at the very moment of each acknowledgement, as a killed process
// (ASYNC_FLUSH) or a power cut (SYNC_FLUSH) would leave it.
func TestAcknowledgedIsInTheFileSystem(t *testing.T) {
	for _, mode := range []FlushDiskType{AsyncFlush, SyncFlush} {
		t.Run(string(mode), func(t *testing.T) {
			r := newRig(t, func(o *Options) { o.FlushDiskType = mode })
			s := r.open()
			defer s.Close()
			left := func(n int) *vfs.Mem {
				if mode == SyncFlush {
					return r.mem.CrashClone(uint64(n))
				}
				return r.mem.KillClone()
			}
			n := 0
			for round := range 12 {
				var clones sync.Map // by body
				var results []PutResult
				var bodies []string
				var waiting sync.WaitGroup
				for range round + 1 {
					n++
					body := fmt.Sprintf("%d:%s", n, strings.Repeat("x", n*37%3000))
					seed := n // the completion runs elsewhere
					waiting.Add(1)
					c := completed(func(status PutStatus) {
						if status != PutOK {
							t.Errorf("%.10q: %d", body, status)
						}
						clones.Store(body, left(seed))
						waiting.Done()
					})
					res := s.Stage(message("T", 0, body), c)
					if res.Status != PutOK || res.Pending != (mode == SyncFlush) {
						t.Fatalf("%+v", res)
					}
					results, bodies = append(results, res), append(bodies, body)
				}
				for i := range results {
					must(t, s.Commit(&results[i]))
					if !results[i].Pending {
						clones.Store(bodies[i], left(n))
						waiting.Done()
					}
				}
				waiting.Wait()
				for _, body := range bodies {
					clone, _ := clones.Load(body)
					if !r.bodiesIn(clone.(*vfs.Mem))[body] {
						t.Fatalf("%.10q was acknowledged and is not there", body)
					}
				}
			}
		})
	}
}

// completed is a function as a Completion.
type completed func(PutStatus)

func (f completed) Complete(status PutStatus) { f(status) }

// writesFS tells of each write to the log.
type writesFS struct {
	vfs.FS
	wrote func(off, n int64)
}

func (w writesFS) Open(name string) (vfs.File, error) {
	f, err := w.FS.Open(name)
	if err != nil || !strings.Contains(name, "commitlog") {
		return f, err
	}
	return writesFile{f, w.wrote}, nil
}

type writesFile struct {
	vfs.File
	wrote func(off, n int64)
}

func (w writesFile) WriteAt(b []byte, off int64) (int, error) {
	w.wrote(off, int64(len(b)))
	return w.File.WriteAt(b, off)
}

// TestBlocksAreFilled: the first write to a block reaches to its end, with zeros, and none reaches beyond the file.
func TestBlocksAreFilled(t *testing.T) {
	const size = 3*fillBlock + fillBlock/2
	r := newRig(t, func(o *Options) { o.MappedFileSizeCommitLog = size })
	type write struct{ off, n int64 }
	var writes []write
	s := r.on(writesFS{r.mem, func(off, n int64) { writes = append(writes, write{off, n}) }}).open()
	defer s.Close()
	filled, body := int64(0), 100
	for i := range 200 {
		body = (body*7 + i) % 9000
		writes = writes[:0]
		res := put(t, s, message("T", 0, strings.Repeat("x", body)))
		start := res.PhysicalOffset % size
		if start == 0 {
			filled = 0
		}
		want := write{start, res.NextOffset - res.PhysicalOffset}
		if end := start + want.n; end > filled {
			filled = min((end+fillBlock-1)&^(fillBlock-1), size)
			want.n = filled - start
		}
		if len(writes) == 0 || writes[len(writes)-1] != want {
			t.Fatalf("message %d at %d: %v, want %v last", i, start, writes, want)
		}
		f := s.commit.files.last()
		must(t, f.hold())
		for pos := f.wrote.Load(); pos < f.size; pos++ {
			if f.data[pos] != 0 {
				t.Fatalf("byte %d behind the end %d is %d", pos, f.wrote.Load(), f.data[pos])
			}
		}
		f.release()
	}
	checkReads(t, s, walkLog(t, s))
}

// TestGroupsShareTheClock: records that wait for one commit have the store time of the first, up to staleMost of them; the next
// group has a time of its own.
func TestGroupsShareTheClock(t *testing.T) {
	r := newRig(t, func(o *Options) { o.MappedFileSizeCommitLog = 1 << 20 })
	s := r.open()
	defer s.Close()
	for range 3 {
		var last PutResult
		for i := range 2 * staleMost {
			now := r.clock.now().UnixMilli()
			if i%staleMost != 0 {
				now = last.StoreTimestamp
			}
			if last = s.Stage(message("T", 0, "x"), nil); last.StoreTimestamp != now {
				t.Fatalf("message %d: %d, want %d", i, last.StoreTimestamp, now)
			}
			r.clock.advance(time.Millisecond)
		}
		last = s.Stage(message("T", 0, "x"), nil)
		must(t, s.Commit(&last))
		r.clock.advance(time.Millisecond)
	}
}

// TestStageIsBounded stages without a commit.
func TestStageIsBounded(t *testing.T) {
	r := newRig(t, func(o *Options) { o.MappedFileSizeCommitLog = 8 << 20 })
	s := r.open()
	defer s.Close()
	var last PutResult
	for range 100 {
		last = s.Stage(message("T", 0, strings.Repeat("x", 30<<10)), nil)
		if last.Status != PutOK {
			t.Fatalf("%+v", last)
		}
		if behind := last.NextOffset - s.commit.end(); behind > stageMost {
			t.Fatalf("%d bytes are staged", behind)
		}
	}
	large := s.Stage(message("T", 0, strings.Repeat("x", 3<<20)), nil)
	must(t, s.Commit(&large))
	if s.commit.end() != large.NextOffset || cap(s.commit.stage.spare) > stageKept {
		t.Fatalf("end %d of %d, %d kept", s.commit.end(), large.NextOffset, cap(s.commit.stage.spare))
	}
	checkQueues(t, walkLog(t, s))
}

// TestManyStageAndCommit has goroutines stage, in small files, and commit in batches.
func TestManyStageAndCommit(t *testing.T) {
	for _, mode := range []FlushDiskType{AsyncFlush, SyncFlush} {
		r := newRig(t, func(o *Options) { o.FlushDiskType = mode })
		s := r.open()
		var all sync.WaitGroup
		for g := range 6 {
			all.Go(func() {
				var batch []PutResult
				for i := range 120 {
					res := s.Stage(message("T", int32(g%2), fmt.Sprintf("%d.%d:%s", g, i, strings.Repeat("x", i*31%2000))), nil)
					if res.Status != PutOK {
						t.Errorf("%+v", res)
						return
					}
					if batch = append(batch, res); len(batch) > g*3 {
						for k := range batch {
							if err := s.Commit(&batch[k]); err != nil {
								t.Error(err)
							}
						}
						if end := s.commit.end(); end < res.NextOffset {
							t.Errorf("committed to %d, the log ends at %d", res.NextOffset, end)
						}
						batch = batch[:0]
					}
				}
				for k := range batch {
					if err := s.Commit(&batch[k]); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		eventually(t, func() bool { return s.Stats().DispatchBehind == 0 && s.commit.confirmed() == s.commit.end() })
		log := walkLog(t, s)
		if len(log) != 6*120 {
			t.Fatalf("%s: %d records", mode, len(log))
		}
		checkQueues(t, log)
		checkReads(t, s, log)
		must(t, s.Close())
	}
}

// TestWriteErrors fails the n-th write to the log. The messages that it carried are refused, those before are served and
// survive, and nothing is taken after it.
func TestWriteErrors(t *testing.T) {
	for _, mode := range []FlushDiskType{AsyncFlush, SyncFlush} {
		for _, cause := range []error{syscall.EIO, syscall.EROFS} {
			for n := int64(1); n <= 6; n++ {
				r := newRig(t, func(o *Options) { o.FlushDiskType = mode })
				fail := vfs.FailNth(n, false, cause, vfs.OpWrite)
				s := r.on(vfs.Faulty(r.mem, func(op vfs.Op, name string) error {
					if strings.Contains(name, "/commitlog/") {
						return fail(op, name)
					}
					return nil
				})).open()
				acked, refused := map[string]bool{}, 0
				for i := range 12 {
					var batch [3]PutResult
					var outcome [3]PutStatus
					var waiting sync.WaitGroup
					for k := range batch {
						waiting.Add(1)
						batch[k] = s.Stage(message("T", 0, fmt.Sprintf("%d.%d", i, k)), completed(func(st PutStatus) { outcome[k] = st; waiting.Done() }))
					}
					for k := range batch {
						err := s.Commit(&batch[k])
						switch res := &batch[k]; {
						case res.Status != PutOK:
							outcome[k] = res.Status
						case err != nil && !errors.Is(err, cause):
							t.Fatal(err)
						case err != nil:
							outcome[k] = UnknownError
						}
						if !batch[k].Pending {
							waiting.Done()
						}
					}
					waiting.Wait()
					for k, st := range outcome {
						if st != PutOK {
							refused++
							continue
						}
						if refused > 0 {
							t.Fatalf("%s, write %d: a message after the failure was taken", mode, n)
						}
						acked[fmt.Sprintf("%d.%d", i, k)] = true
					}
				}
				if ok, why := s.Writable(); ok || refused == 0 || !strings.Contains(why, cause.Error()) {
					t.Fatalf("%s, write %d: writable %v, %q, %d refused", mode, n, ok, why, refused)
				}
				if res := s.PutWait(message("T", 0, "later")); res.Status != ServiceNotAvailable {
					t.Fatalf("%+v", res)
				}
				eventually(t, func() bool { return s.Stats().DispatchBehind == 0 })
				log := walkLog(t, s)
				checkReads(t, s, log)
				have := r.bodiesIn(r.mem.KillClone())
				for body := range acked {
					if !have[body] {
						t.Fatalf("%s, write %d: %s is lost", mode, n, body)
					}
				}
				if len(log) != len(acked) {
					t.Fatalf("%s, write %d: %d records, %d acknowledged", mode, n, len(log), len(acked))
				}
				if err := s.Close(); !errors.Is(err, cause) {
					t.Fatalf("close: %v", err)
				}
			}
		}
	}
}
