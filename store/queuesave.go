package store

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"apogee/store/vfs"
)

// saver writes the entries of consume queues into their files: every flushIntervalConsumeQueue those queues that have two
// pages or more to write, every flushConsumeQueueThoroughInterval all, and then it syncs them and moves the checkpoint
// (spec: store.md 9). It does that for each gigabyte of log too, or for several where many queues are in use, so that a start
// after a crash has not much to read. With nothing to do it sleeps until dispatch calls.
type saver struct {
	ping  chan struct{} // entries have come while idle
	hurry chan struct{} // too many are in memory
	idle  atomic.Bool

	passMu   sync.Mutex // one pass at a time; held across its writes and syncs
	unsynced []*queue   // written since the last thorough pass
	cooling  []*queue   // with a chunk in memory, and nothing new at the last thorough pass
	done     mark       // the last record whose entry, and all before it, is durable
	spare    []*queue
	due      []*queue
	buf      []byte      // for what is written of a queue at once
	failing  atomic.Bool // messages are refused until queues can be written

	noteAt time.Time // the ends of queues are not noted again before; the loop's own

	whole atomic.Int64 // all entries of the log up to here are in files

	each int64 // bytes of log after which few queues (syncTogether) are synced; set before the start
}

// mark is a record and its store time.
type mark struct {
	rec  extent
	time int64
}

// thoroughEach is saver.each: half a second of recovery.
const thoroughEach = 1 << 30

// filesWhole is how many files of the log may have entries that are in memory only. Java, when it takes over after a kill, reads no more
// than the newest ten (commitLogRecoverMaxNum), empty ones included: what those do not tell has to be in the files of the queues.
const filesWhole = 4

// behind tells whether the log has more files than that since all entries were written.
func (v *saver) behind(d *dispatcher, pos int64) bool {
	return pos-v.whole.Load() >= filesWhole*d.s.options().MappedFileSizeCommitLog
}

// freshWait is how soon after a pass that made files the next one comes: where there are new queues there will be more, and a
// stop that comes soon should not find thousands of them.
const freshWait = 100 * time.Millisecond

// failedWait is how soon queues are tried again that could not be written: until then all messages are refused.
const failedWait = time.Second

// pageUnits is what two pages hold (Java: flushConsumeQueueLeastPages 2).
const pageUnits = 2 * vfs.PageSize / unitSize

func (v *saver) init() {
	v.ping, v.hurry = make(chan struct{}, 1), make(chan struct{}, 1)
	v.buf = make([]byte, chunkMost*unitSize)
	v.each = thoroughEach
}

// notice tells that there are new entries. Cheap.
func (v *saver) notice(press bool) {
	if press {
		v.press()
	}
	if v.idle.Load() && v.idle.CompareAndSwap(true, false) {
		signal(v.ping)
	}
}

// press asks for a pass now.
func (v *saver) press() { signal(v.hurry) }

func (v *saver) loop(d *dispatcher) {
	o := d.s.options
	last, seen := d.s.now(), int64(-1)
	at := d.pos.Load() // how far the log was at the last thorough pass
	fresh := false
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait := max(time.Duration(o().FlushConsumeQueueThoroughMs)*time.Millisecond-d.s.now().Sub(last), 0)
		if v.failing.Load() {
			wait = min(wait, failedWait)
		}
		if entered := d.entered.Load(); entered != seen { // there may be more: look at short intervals
			seen = entered
			wait = min(wait, time.Duration(o().FlushIntervalConsumeQueueMs)*time.Millisecond)
			if fresh {
				wait = min(wait, freshWait)
			}
		} else {
			if v.outstanding(d) == 0 {
				wait = forever
			}
			v.idle.Store(true)
			if d.entered.Load() != seen { // came before it could be seen that we are idle
				v.idle.Store(false)
				continue
			}
		}
		if !v.sleep(d, timer, wait) {
			return
		}
		now := d.s.now()
		pos := d.pos.Load()
		all := now.Sub(last) >= time.Duration(o().FlushConsumeQueueThoroughMs)*time.Millisecond || pos-at >= v.each && pos-at >= v.worth(d)
		if all {
			last, at = now, pos
		}
		var err error
		if fresh, err = v.pass(d, all, unhurried(d.quitting)); err != nil && !errors.Is(err, errGivenUp) {
			d.s.log.Error("consume queues not written", "err", err)
		} else if all && err == nil {
			v.noteEnds(d.s)
		}
		d.callHelp() // dispatch may have waited for memory
	}
}

// sleep waits for as long as that or until somebody calls; false when the dispatcher stops.
func (v *saver) sleep(d *dispatcher, timer *time.Timer, wait time.Duration) bool {
	timer.Reset(wait)
	select {
	case <-d.quit:
		return false
	case <-v.hurry:
	case <-v.ping:
	case <-timer.C:
	}
	v.idle.Store(false)
	return true
}

// forever is longer than any process lives.
const forever = 1 << 62 * time.Nanosecond

// outstanding is how many queues a thorough pass would look at.
func (v *saver) outstanding(d *dispatcher) int {
	v.passMu.Lock()
	defer v.passMu.Unlock()
	d.mu.Lock()
	defer d.letGo()
	return len(d.unsaved) + len(v.unsynced) + len(v.cooling)
}

// worth is how much new log is worth a thorough pass: the more queues are written or wait for it, the more.
func (v *saver) worth(d *dispatcher) int64 {
	v.passMu.Lock()
	defer v.passMu.Unlock()
	d.mu.Lock()
	defer d.letGo()
	return v.each * int64(1+max(len(v.unsynced), len(d.unsaved))/syncTogether)
}

// pass writes what is worth it; a thorough pass everything, makes it durable and moves the checkpoint. A queue that cannot be
// written stays on the list, its entries in memory, and so do those that p gives up. fresh: there were queues without a file.
func (v *saver) pass(d *dispatcher, thorough bool, p pace) (fresh bool, err error) {
	v.passMu.Lock()
	defer v.passMu.Unlock()
	d.mu.Lock()
	list := d.unsaved
	d.unsaved = v.spare[:0]
	now := mark{extent{d.lastPhys, d.lastEnd}, d.lastTime} // all entries up to this record are in memory, on a list
	pos := d.pos.Load()
	d.letGo()

	all := thorough || d.pending() >= pendingPress || v.behind(d, pos)
	due, keep := v.due[:0], list[:0]
	for _, q := range list {
		c := &q.cq
		// A queue's first file is made at once, so that thousands of them are not made together when the broker stops.
		first := c.files.last() == nil
		fresh = fresh || first
		if all || first || c.max.Load()-c.saved.Load() >= pageUnits {
			due = append(due, q)
		} else {
			keep = append(keep, q)
		}
	}
	w := writing{d: d, due: due, pace: p, began: d.s.now()}
	errs := w.run(v.buf)
	v.unsynced = append(v.unsynced, w.written...)
	d.mu.Lock()
	d.unsaved = append(append(append(d.unsaved, keep...), w.failed...), w.rest()...)
	d.letGo()
	if thorough && errs == nil {
		errs = w.complete()
	}
	if all && w.bad == 0 && len(w.rest()) == 0 {
		v.whole.Store(pos)
	}
	clear(list)
	clear(due)
	v.spare, v.due = list[:0], due[:0]

	v.flag(d.s, w.bad > 0)
	if thorough && errs == nil {
		errs = v.sync(d)
	}
	if thorough && errs == nil {
		v.done = now
	}
	// Recovery starts reading at this record, so it must be durable itself.
	if m := v.done; m.rec.end > 0 && m.rec.end <= d.s.flush.flushed.Load() {
		d.s.checkpoint.logicsPhysicalOffset.Store(m.rec.start)
		d.s.checkpoint.logicsMsgTimestamp.Store(m.time)
		v.done = mark{}
	}
	return fresh, errs
}

// flag closes the store for messages while queues cannot be written (Java: WRITE_LOGICS_QUEUE_ERROR, which it never takes back).
func (v *saver) flag(s *Store, failed bool) {
	if failed {
		s.flags.set(flagQueueWriteError)
	} else if v.failing.Load() {
		s.flags.clear(flagQueueWriteError)
	}
	v.failing.Store(failed)
}

// sync makes what has been written durable, and lets go of chunks that have had nothing new for a whole interval.
func (v *saver) sync(d *dispatcher) error {
	if err := v.syncUnsynced(d.s); err != nil {
		d.s.fail(err)
		return err
	}
	idle := v.cooling
	v.cooling = nil
	for _, q := range v.unsynced {
		q.cq.idleAt, q.cq.toSync = q.cq.saved.Load(), false
		v.cooling = append(v.cooling, q)
	}
	clear(v.unsynced)
	v.unsynced = v.unsynced[:0]
	for len(idle) > 0 {
		n := min(len(idle), 256) // a bounded hold of the lock
		d.mu.Lock()
		for _, q := range idle[:n] {
			if c := &q.cq; c.max.Load() == c.idleAt {
				c.dropTail(&d.heap)
			}
		}
		d.letGo()
		idle = idle[n:]
	}
	d.heap.trim()
	return nil
}

// syncTogether is from how many queues on the whole file system is synced instead of each file and its directories: ten thousand
// syncs would keep the disk busy for half a minute, and with it every put that waits for one.
const syncTogether = 32

func (v *saver) syncUnsynced(s *Store) error {
	if n := len(v.unsynced); n >= syncTogether {
		slow := time.AfterFunc(progressEvery, func() { s.log.Info("still syncing consume queues", "queues", n) })
		err := s.fs.SyncAll(s.files.queues)
		slow.Stop()
		if err == nil {
			for _, q := range v.unsynced {
				q.cq.isSynced()
			}
			return nil
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			return fmt.Errorf("sync consume queues: %w", err)
		}
	}
	for _, q := range v.unsynced {
		if err := q.cq.sync(); err != nil {
			return fmt.Errorf("sync consume queue %s/%d: %w", q.topic, q.id, err)
		}
	}
	return nil
}

// flushQueues makes queue entries durable; a thorough one all of them, and moves the checkpoint's logics fields.
func (s *Store) flushQueues(thorough bool) error { return s.flushQueuesAt(thorough, hurried(s, 0)) }

func (s *Store) flushQueuesAt(thorough bool, p pace) error {
	_, err := s.dispatch.saver.pass(s.dispatch, thorough, p)
	return err
}
