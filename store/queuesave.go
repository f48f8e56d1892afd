package store

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"apogee/internal/prefetch"
	"apogee/store/vfs"
)

// saver writes the entries of consume queues into their files: every flushIntervalConsumeQueue those queues that have two
// pages or more to write, every flushConsumeQueueThoroughInterval all, and then it syncs them and moves the checkpoint
// (spec: store.md 9). It does that for each gigabyte of log too, or for several where many queues are in use, so that a start
// after a crash has not much to read. With nothing to do it sleeps until dispatch calls.
//
// Each write of a queue costs as much as ten messages, however little it writes. So where tens of thousands of queues have a few entries
// each, they are left in memory until there is no more room for them, or the log has gone on for long, and then the oldest are written:
// that is twice as many entries a write as if all were written together. Nothing rests on those files: the log has it all.
type saver struct {
	ping  chan struct{} // entries have come while idle
	hurry chan struct{} // too many are in memory
	idle  atomic.Bool

	passMu   sync.Mutex // one pass at a time; held across its writes and syncs
	unsynced []*queue   // written since the last sync
	cooling  []*queue   // with a chunk in memory, and nothing new at the last sync
	marks    []mark     // where the log was at some of the passes since the last sync, in order
	done     mark       // the last record whose entry, and all before it, is durable
	spare    []unsaved
	due      []unsaved
	buf      []byte      // for what is written of a queue at once
	failing  atomic.Bool // messages are refused until queues can be written

	noteAt time.Time // the ends of queues are not noted again before; the loop's own

	whole atomic.Int64 // all entries of the log up to here are in files

	each int64 // bytes of log after which few queues (syncTogether) are synced; set before the start
}

// unsaved is a queue with entries that are not in files.
type unsaved struct {
	q     *queue
	since int64 // none of them is of a record before this offset of the log
}

// mark is a record and its store time.
type mark struct {
	rec  extent
	time int64
}

// thoroughEach is saver.each: half a second of recovery. lagMost is what many queues make of it at most: two seconds.
const (
	thoroughEach = 1 << 30
	lagMost      = 4 << 30
)

// markEach is how much log there is between two marks.
const markEach = 16 << 20

// filesWhole is how many files of the log may have entries that are in memory only. Java, when it takes over after a kill, reads no more
// than the newest ten (commitLogRecoverMaxNum), empty ones included: what those do not tell has to be in the files of the queues.
const filesWhole = 4

// behind tells whether the log has more files than that since all entries were written.
func (v *saver) behind(d *dispatcher, pos int64) bool {
	return pos != noMark && pos-v.whole.Load() >= filesWhole*d.s.options().MappedFileSizeCommitLog
}

// freshWait is how soon after a pass that made files the next one comes: where there are new queues there will be more, and a
// stop that comes soon should not find thousands of them.
const freshWait = 100 * time.Millisecond

// failedWait is how soon queues are tried again that could not be written: until then all messages are refused.
const failedWait = time.Second

// pageUnits is what two pages hold (Java: flushConsumeQueueLeastPages 2).
const pageUnits = 2 * vfs.PageSize / unitSize

// From a crowd on a thorough pass takes a noticeable share of a processor if it comes every minute, while messages come: it comes less
// often by so much, or when the saver has looked for new entries several times and found none. (One look that finds none tells nothing: the
// process may have been stopped all the time.)
const (
	crowd      = 4096
	quietLooks = 10
)

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
	r := rounds{v: v, d: d, last: d.s.now(), seen: -1, at: d.pos.Load()}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait, again := r.wait()
		if again {
			continue
		}
		if !v.sleep(d, timer, wait) {
			return
		}
		t := r.task()
		var err error
		if r.fresh, err = v.pass(d, t, unhurried(d.quitting)); err != nil && !errors.Is(err, errGivenUp) {
			d.s.log.Error("consume queues not written", "err", err)
		} else if t.sync && err == nil {
			v.noteEnds(d.s)
		}
		d.callHelp() // dispatch may have waited for memory
	}
}

// rounds is what the saver's loop remembers from one pass to the next.
type rounds struct {
	v     *saver
	d     *dispatcher
	last  time.Time // of the last pass with a sync
	at    int64     // how far the log was then
	seen  int64     // entries
	quiet int       // looks in a row that found no new ones
	fresh bool      // the last pass made files
}

// thorough is how long after the last sync so many queues are all written.
func (r *rounds) thorough(queues int) time.Duration {
	return time.Duration(r.d.s.options().FlushConsumeQueueThoroughMs*int64(max(queues/crowd, 1))) * time.Millisecond
}

// wait is how long there is nothing to do; again says that there is something to look at first.
func (r *rounds) wait() (wait time.Duration, again bool) {
	v, d := r.v, r.d
	n := v.outstanding(d)
	short := time.Duration(d.s.options().FlushIntervalConsumeQueueMs) * time.Millisecond
	wait = max(r.thorough(n)-d.s.now().Sub(r.last), 0)
	if v.failing.Load() {
		wait = min(wait, failedWait)
	}
	if entered := d.entered.Load(); entered != r.seen { // there may be more: look at short intervals
		r.seen, r.quiet = entered, 0
		wait = min(wait, short)
		if r.fresh {
			wait = min(wait, freshWait)
		}
		return wait, false
	}
	r.quiet++
	switch {
	case n == 0:
		wait = forever
	case n > crowd:
		wait = min(wait, short)
	}
	v.idle.Store(true)
	if d.entered.Load() != r.seen { // came before it could be seen that we are idle
		v.idle.Store(false)
		return 0, true
	}
	return wait, false
}

// task is what the next pass is to do.
func (r *rounds) task() task {
	v, d := r.v, r.d
	now, pos := d.s.now(), d.pos.Load()
	n := v.outstanding(d)
	t := everything()
	switch since, grown := now.Sub(r.last), pos-r.at; {
	case since >= r.thorough(n), n > crowd && r.quiet >= quietLooks:
	case grown >= v.each && grown >= v.worth(d):
		t = task{all: n <= crowd, before: pos - lagMost/2, sync: true}
	default:
		return task{}
	}
	r.last, r.at, r.quiet = now, pos, 0
	return t
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
	return min(v.each*int64(1+max(len(v.unsynced), len(d.unsaved))/syncTogether), lagMost)
}

// task is what a pass has to do besides writing what is worth it by itself.
type task struct {
	all    bool  // write everything
	before int64 // write the queues that have entries of records before this offset
	sync   bool  // make durable what has been written, and move the checkpoint
}

func everything() task { return task{all: true, sync: true} }

// pass writes queues, and the rest of its task. A queue that cannot be written stays on the list, its entries in memory, and so do those
// that p gives up. fresh: there were queues without a file.
func (v *saver) pass(d *dispatcher, t task, p pace) (fresh bool, err error) {
	v.passMu.Lock()
	defer v.passMu.Unlock()
	d.mu.Lock()
	list := d.unsaved
	d.unsaved = v.spare[:0]
	now := mark{extent{d.lastPhys, d.lastEnd}, d.lastTime} // all entries up to this record are in memory, on a list
	pos := d.pos.Load()
	d.letGo()
	v.note(now, t.sync)

	keep, fresh := v.choose(d, list, t, pos)
	w := writing{d: d, due: v.due, pace: p, began: d.s.now(), lowest: noMark}
	errs := w.run(v.buf)
	v.unsynced = append(v.unsynced, w.written...)
	whole := v.putBack(d, list, keep, &w, pos)
	if t.sync && errs == nil {
		errs = w.complete()
	}
	if clear(v.due); t.all { // the lists are as long as there are queues
		v.due, v.spare = nil, nil
	}

	v.flag(d.s, w.bad > 0)
	if t.sync && errs == nil {
		if errs = errors.Join(v.sync(d), d.s.compact.follow()); errs == nil {
			v.reached(whole)
		}
	}
	// Recovery starts reading at this record, so it must be durable itself.
	if m := v.done; m.rec.end > 0 && m.rec.end <= d.s.flush.flushed.Load() {
		d.s.checkpoint.logicsPhysicalOffset.Store(m.rec.start)
		d.s.checkpoint.logicsMsgTimestamp.Store(m.time)
		v.done = mark{}
	}
	return fresh, errs
}

// choose divides a list into what is written now, v.due, and what stays in memory.
func (v *saver) choose(d *dispatcher, list []unsaved, t task, pos int64) (keep []unsaved, fresh bool) {
	if v.behind(d, pos) {
		t.before = max(t.before, pos-(filesWhole-1)*d.s.options().MappedFileSizeCommitLog)
	}
	room := int64(0) // entries that have to go
	if n := d.pending(); n >= pendingPress {
		room = n - pendingPress + pendingPress/8
	}
	keep, v.due = list[:0], v.due[:0]
	for i, u := range list {
		if i+chooseAhead < len(list) {
			prefetch.Lines(&list[i+chooseAhead].q.cq.max)
		}
		c := &u.q.cq
		n := c.max.Load() - c.saved.Load()
		// A queue's first file is made at once, so that thousands of them are not made together when the broker stops.
		first := c.fileless()
		fresh = fresh || first
		if t.all || first || n >= pageUnits || u.since < t.before || room > 0 {
			v.due = append(v.due, u)
			room -= n
		} else {
			keep = append(keep, u)
		}
	}
	return keep, fresh
}

// chooseAhead is how many queues ahead of a look their memory is fetched.
const chooseAhead = 8

// putBack makes the list of what is not in files, the oldest first as far as that is possible. It returns up to where all entries of the log
// are in files.
func (v *saver) putBack(d *dispatcher, list, keep []unsaved, w *writing, pos int64) (whole int64) {
	keep = append(append(keep, w.failed...), w.rest()...)
	whole = pos
	for _, u := range keep {
		whole = min(whole, u.since)
	}
	d.mu.Lock()
	fresh := d.unsaved
	for i := range fresh { // such a one may have failed, and its older entries be among those
		fresh[i].since = min(fresh[i].since, w.lowest)
		whole = min(whole, fresh[i].since)
	}
	d.unsaved = append(keep, fresh...)
	if n := len(d.unsaved); n < len(list) {
		clear(list[n:]) // before there may be something new
	}
	d.letGo()
	v.whole.Store(whole)
	clear(fresh)
	v.spare = fresh[:0]
	return whole
}

// note remembers where the log is, so that the checkpoint can go there once all that is before it has been written.
func (v *saver) note(now mark, always bool) {
	n := len(v.marks)
	if now.rec.end == 0 || n > 0 && (now.rec.end == v.marks[n-1].rec.end || !always && now.rec.end < v.marks[n-1].rec.end+markEach) {
		return
	}
	v.marks = append(v.marks, now)
}

// reached says that all entries of the log up to whole are durable.
func (v *saver) reached(whole int64) {
	n := 0
	for n < len(v.marks) && v.marks[n].rec.end <= whole {
		v.done = v.marks[n]
		n++
	}
	v.marks = slices.Delete(v.marks, 0, n)
}

// start begins with a log that has queue entries up to from. Under no lock: nobody else is about.
func (v *saver) start(d *dispatcher, from int64) {
	for _, u := range d.unsaved {
		from = min(from, u.since)
	}
	v.whole.Store(from)
}

// cut forgets what is behind off, where the log ends now, or is dispatched once more. Under passMu and the right to dispatch.
func (v *saver) cut(d *dispatcher, off int64) {
	if v.done.rec.end > off {
		v.done = mark{}
	}
	v.marks = slices.DeleteFunc(v.marks, func(m mark) bool { return m.rec.end > off })
	for i := range d.unsaved {
		d.unsaved[i].since = min(d.unsaved[i].since, off)
	}
	v.whole.Store(min(v.whole.Load(), off))
}

// saveNow writes the entries of one queue, with passMu held. They are synced by the next thorough pass.
func (v *saver) saveNow(d *dispatcher, q *queue) error {
	n, err := q.cq.save(&d.heap, v.buf)
	d.written.Add(n)
	if n > 0 && !q.cq.toSync {
		q.cq.toSync = true
		v.unsynced = append(v.unsynced, q)
	}
	if err != nil {
		return fmt.Errorf("write consume queue %s/%d: %w", q.topic, q.id, err)
	}
	return nil
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
func (s *Store) flushQueues(thorough bool) error {
	var t task
	if thorough {
		t = everything()
	}
	return s.flushQueuesAt(t, hurried(s, 0))
}

func (s *Store) flushQueuesAt(t task, p pace) error {
	_, err := s.dispatch.saver.pass(s.dispatch, t, p)
	return err
}
