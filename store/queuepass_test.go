package store

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"apogee/store/vfs"
)

// unhurriedSaver leaves all passes to the test.
func unhurriedSaver(o *Options) {
	hour := time.Hour.Milliseconds()
	o.FlushIntervalConsumeQueueMs, o.FlushConsumeQueueThoroughMs = hour, hour
}

// TestCutsBetweenPassesOfSomeQueues: whichever queues have been written and whichever not, the checkpoint says where to begin.
func TestCutsBetweenPassesOfSomeQueues(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 9))
		r := newRig(t, syncFlush, unhurriedSaver, func(o *Options) { o.MappedFileSizeCommitLog = 16 << 10 })
		s := r.open()
		want := map[string]bool{}
		for life := range 3 {
			for i := range 40 + rnd.IntN(80) {
				body := fmt.Sprint(life, " ", i)
				put(t, s, message(fmt.Sprint("Topic", rnd.IntN(4)), rnd.Int32N(3), body))
				want[body] = true
				if rnd.IntN(8) > 0 {
					continue
				}
				pos := s.dispatch.pos.Load()
				must(t, s.flushQueuesAt(task{before: pos - rnd.Int64N(8<<10), sync: rnd.IntN(2) == 0}, hurried(s, 0)))
				must(t, s.checkpoint.write())
				for _, u := range s.dispatch.unsaved {
					if at := s.checkpoint.logicsPhysicalOffset.Load(); at >= u.since {
						t.Fatalf("seed %d: the checkpoint is at %d, and %s/%d is written up to %d", seed, at, u.q.topic, u.q.id, u.since)
					}
				}
			}
			mem := r.mem.CrashClone(seed)
			if life == 1 {
				mem = r.mem.KillClone()
			}
			abandon(s)
			r = r.on(mem)
			s = r.open()
			checkMany(t, s, want)
		}
		must(t, s.Close())
		r.reopen(want)
	}
}

// TestPassesWriteTheOldestFirst: where memory is short, and where a pass is about what is old.
func TestPassesWriteTheOldestFirst(t *testing.T) {
	const queues, each = 1000, pageUnits - 9
	for _, c := range []struct {
		name    string
		pending int64
		task    task
		want    int
	}{
		{"nothing is wrong", 0, task{}, 0},
		{"memory is short", pendingPress, task{}, pendingPress/8/each + 1},
		{"memory is very short", pendingPress + queues*each, task{}, queues},
		{"what is old", 0, task{before: 300}, 300},
		{"everything", 0, everything(), queues},
	} {
		s := newRig(t).open()
		d, v := s.dispatch, &s.dispatch.saver
		d.entered.Add(c.pending)
		var list []unsaved
		for i := range int64(queues) {
			q := &queue{}
			q.cq.saved.Store(1)
			q.cq.max.Store(1 + each)
			list = append(list, unsaved{q, i})
		}
		keep, fresh := v.choose(d, list, c.task, 0)
		if len(v.due) != c.want || len(keep) != queues-c.want || fresh {
			t.Errorf("%s: %d are written, %d are kept, want %d; fresh: %v", c.name, len(v.due), len(keep), c.want, fresh)
		}
		for i, u := range append(v.due, keep...) {
			if u.since != int64(i) {
				t.Fatalf("%s: the %dth is that of %d", c.name, i, u.since)
			}
		}
		d.entered.Add(-c.pending)
		must(t, s.Close())
	}
}

// TestPassLeavesAloneWhatComesAsItEnds: the list of a pass becomes the list of the next one, to which dispatch adds as soon as it may.
func TestPassLeavesAloneWhatComesAsItEnds(t *testing.T) {
	s := newRig(t, unhurriedSaver).open()
	defer abandon(s)
	d := s.dispatch
	const queues = 1 << 20 // clearing so many takes longer than waking up
	list := make([]unsaved, queues)
	for i := range list {
		list[i] = unsaved{new(queue), int64(i)}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d.saver.putBack(d, list, list[:1], &writing{d: d, lowest: noMark}, queues)
	}()
	fresh := unsaved{new(queue), queues}
	for added := false; !added; {
		d.mu.Lock()
		if added = len(d.unsaved) == 1; added {
			for range queues - 1 {
				d.unsaved = append(d.unsaved, fresh)
			}
		}
		d.mu.Unlock()
	}
	<-ended
	came := d.unsaved[1:]
	d.unsaved = nil
	for i, u := range came {
		if u != fresh {
			t.Fatalf("queue %d that came as the pass ended is %+v", i, u)
		}
	}
}

// TestFailedQueueKeepsItsPlace: what could not be written holds the checkpoint back, whatever came to the queue meanwhile.
func TestFailedQueueKeepsItsPlace(t *testing.T) {
	var s *Store
	broken := true
	r := newRig(t, syncFlush, unhurriedSaver)
	s = r.on(vfs.Faulty(r.mem, func(op vfs.Op, name string) error {
		if broken && op == vfs.OpWrite && name == "/data/store/consumequeue/Topic/0/"+fileName(0) {
			d := s.dispatch
			d.mu.Lock() // a message comes while its queue is being written
			defer d.mu.Unlock()
			d.noteEntry(s.queues.get("Topic", 0), 1<<30)
			d.fresh--
			return vfs.ErrNoSpace
		}
		return nil
	})).open()
	put(t, s, message("Topic", 1, "a"))
	failed := put(t, s, message("Topic", 0, "b"))
	put(t, s, message("Topic", 2, "c"))
	if s.flushQueues(true) == nil {
		t.Fatal("no error")
	}
	list := s.dispatch.unsaved
	if len(list) != 1 || list[0].since > failed.PhysicalOffset || s.dispatch.saver.whole.Load() > failed.PhysicalOffset {
		t.Fatalf("%+v, and all is written up to %d; the record is at %d", list, s.dispatch.saver.whole.Load(), failed.PhysicalOffset)
	}
	broken = false
	must(t, s.Close())
}

// TestManyQueuesAreWrittenWhenItIsQuiet, however long the interval is.
func TestManyQueuesAreWrittenWhenItIsQuiet(t *testing.T) {
	r := newRig(t, manyOptions, func(o *Options) {
		o.FlushIntervalConsumeQueueMs, o.FlushConsumeQueueThoroughMs = 1, time.Hour.Milliseconds()
	})
	s := r.open()
	d := s.dispatch
	for range int64(2) {
		manyQueues(t, s, crowd+4)
		eventually(t, func() bool { return d.pending() == 0 && d.heap.Load() == 0 })
	}
	must(t, s.Close())
}
