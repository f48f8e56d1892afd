package store

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// pace says how a pass of the saver goes about its work.
type pace struct {
	workers int
	over    func() bool // true: leave the rest
	tells   bool        // of its progress
}

// unhurried is the pace of every day: one goroutine, which makes room for a hurried pass when the broker stops.
func unhurried(over func() bool) pace { return pace{workers: 1, over: over} }

// hurried is the pace of a start or a stop, with more goroutines than there are processors: a file whose last page has left the memory has it
// read before it is written to, and a disk reads many pages in the time of one. With a limit it leaves what it has not done by then.
func hurried(s *Store, limit time.Duration) pace {
	over := func() bool { return false }
	if limit > 0 {
		end := s.now().Add(limit)
		over = func() bool { return !s.now().Before(end) }
	}
	return pace{workers: inParallelMost, over: over, tells: true}
}

// errGivenUp says that a pass ended before all queues were written. Nothing is lost: the checkpoint stays where it was.
var errGivenUp = errors.New("consume queues left unwritten, which the next start makes again from the commit log")

// writing is the part of a pass that writes, and what has come of it.
type writing struct {
	d     *dispatcher
	due   []unsaved
	pace  pace
	began time.Time
	next  atomic.Int64 // of due

	mu      sync.Mutex // guards all below; a leaf
	written []*queue   // that nobody has waiting for a sync yet
	failed  []unsaved
	lowest  int64 // since, of what has failed
	bad     int
	errs    error // of the first few: a full disk would have as many as there are queues
	told    time.Time
}

// errorsTold is how many errors of a pass are told one by one.
const errorsTold = 4

// writeMost bounds how long Close makes files: well below the half minute that many supervisors wait before they kill. A new queue costs the
// kernel some 60 µs, most of it for two directory entries; several times as much where other processes have the processors, or where as
// many files were deleted within the last minute (ext4 passes their inodes over). What is left is a second's work for the next start.
const writeMost = 15 * time.Second

// writingShare is how many queues a worker takes at once. Neighbours are often of one topic, whose directory makes one file at a time.
const writingShare = 4

// run writes the queues that are due. buf is for one worker.
func (w *writing) run(buf []byte) error {
	w.told = w.began
	var all sync.WaitGroup
	for range min(w.pace.workers-1, len(w.due)/writingShare) {
		all.Go(func() { w.work(make([]byte, len(buf))) })
	}
	w.work(buf)
	all.Wait()
	if w.bad > errorsTold {
		return errors.Join(w.errs, fmt.Errorf("and %d more", w.bad-errorsTold))
	}
	return w.errs
}

func (w *writing) work(buf []byte) {
	for w.next.Load() < int64(len(w.due)) && !w.pace.over() {
		from := w.next.Add(writingShare) - writingShare
		for _, u := range w.due[min(from, int64(len(w.due))):min(from+writingShare, int64(len(w.due)))] {
			w.save(u, buf)
		}
		if w.pace.tells {
			w.tell(min(from+writingShare, int64(len(w.due))))
		}
	}
}

func (w *writing) save(u unsaved, buf []byte) {
	q, c := u.q, &u.q.cq
	c.listed.Store(false) // before save looks at max
	n, err := c.save(&w.d.heap, buf)
	w.d.written.Add(n)
	toSync := n > 0 && !c.toSync
	if err == nil && !toSync {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if toSync {
		c.toSync = true
		w.written = append(w.written, q)
	}
	if err == nil {
		return
	}
	if w.bad++; w.bad <= errorsTold {
		w.errs = errors.Join(w.errs, fmt.Errorf("write consume queue %s/%d: %w", q.topic, q.id, err))
	}
	w.lowest = min(w.lowest, u.since)
	if c.listed.CompareAndSwap(false, true) {
		w.failed = append(w.failed, u)
	}
}

// tell logs the progress of a pass that takes long.
func (w *writing) tell(done int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := w.d.s.now(); now.Sub(w.told) >= progressEvery {
		w.told = now
		w.d.s.log.Info("writing consume queues", "queues", len(w.due), "done", done)
	}
}

// rest is what has not been taken up.
func (w *writing) rest() []unsaved { return w.due[min(w.next.Load(), int64(len(w.due))):] }

// complete is an error if there is a rest.
func (w *writing) complete() error {
	if n := len(w.rest()); n > 0 {
		return fmt.Errorf("%w: %d of %d after %v", errGivenUp, n, len(w.due), w.d.s.now().Sub(w.began))
	}
	return nil
}
