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
	buf      []byte // for what is written of a queue at once
	failing  bool

	each int64 // bytes of log after which few queues (syncTogether) are synced; set before the start
}

// mark is a record and its store time.
type mark struct {
	rec  extent
	time int64
}

// thoroughEach is saver.each: half a second of recovery.
const thoroughEach = 1 << 30

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
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait := max(time.Duration(o().FlushConsumeQueueThoroughMs)*time.Millisecond-d.s.now().Sub(last), 0)
		if entered := d.entered.Load(); entered != seen { // there may be more: look at short intervals
			seen = entered
			wait = min(wait, time.Duration(o().FlushIntervalConsumeQueueMs)*time.Millisecond)
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
		all := now.Sub(last) >= time.Duration(o().FlushConsumeQueueThoroughMs)*time.Millisecond || pos-at >= v.each && pos-at >= v.worth()
		if all {
			last, at = now, pos
		}
		if err := v.pass(d, all); err != nil {
			d.s.log.Error("consume queues not written", "err", err)
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
	defer d.mu.Unlock()
	return len(d.unsaved) + len(v.unsynced) + len(v.cooling)
}

// worth is how much new log is worth a thorough pass.
func (v *saver) worth() int64 {
	v.passMu.Lock()
	defer v.passMu.Unlock()
	return v.each * int64(1+len(v.unsynced)/syncTogether)
}

// pass writes what is worth it; a thorough pass everything, makes it durable and moves the checkpoint. A queue that cannot be
// written stays on the list, its entries in memory.
func (v *saver) pass(d *dispatcher, thorough bool) error {
	v.passMu.Lock()
	defer v.passMu.Unlock()
	d.mu.Lock()
	list := d.unsaved
	d.unsaved = v.spare[:0]
	now := mark{extent{d.lastPhys, d.lastEnd}, d.lastTime} // all entries up to this record are in memory, on a list
	d.mu.Unlock()

	all := thorough || d.pending() >= pendingPress
	var errs error
	keep := list[:0]
	for _, q := range list {
		c := &q.cq
		// A queue's first file is made at once, so that thousands of them are not made together when the broker stops.
		if !all && c.max.Load()-c.saved.Load() < pageUnits && c.files.last() != nil {
			keep = append(keep, q)
			continue
		}
		c.listed.Store(false) // before save looks at max
		n, err := c.save(&d.heap, v.buf)
		d.written.Add(n)
		if err != nil {
			errs = errors.Join(errs, fmt.Errorf("write consume queue %s/%d: %w", q.topic, q.id, err))
			if c.listed.CompareAndSwap(false, true) {
				keep = append(keep, q)
			}
		}
		if n > 0 && !c.toSync {
			c.toSync = true
			v.unsynced = append(v.unsynced, q)
		}
	}
	d.mu.Lock()
	d.unsaved = append(d.unsaved, keep...)
	d.mu.Unlock()
	clear(list[len(keep):])
	v.spare = list[:0]

	v.flag(d.s, errs != nil)
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
	return errs
}

// flag closes the store for messages while queues cannot be written (Java: WRITE_LOGICS_QUEUE_ERROR, which it never takes back).
func (v *saver) flag(s *Store, failed bool) {
	if failed {
		s.flags.set(flagQueueWriteError)
	} else if v.failing {
		s.flags.clear(flagQueueWriteError)
	}
	v.failing = failed
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
		d.mu.Unlock()
		idle = idle[n:]
	}
	d.heap.trim()
	return nil
}

// syncTogether is from how many queues on the whole file system is synced instead of each file and its directories: ten thousand
// syncs would keep the disk busy for half a minute, and with it every put that waits for one.
const syncTogether = 32

func (v *saver) syncUnsynced(s *Store) error {
	if len(v.unsynced) >= syncTogether {
		err := s.fs.SyncAll(s.files.queues)
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

// save writes the entries that are not in files yet, and returns how many those were. buf is for as much as is written at once.
func (c *consumeQueue) save(heap *chunkHeap, buf []byte) (n int64, err error) {
	c.saveMu.Lock()
	defer c.saveMu.Unlock()
	from, to := c.saved.Load(), c.max.Load()
	if c.dropped.Load() {
		c.saved.Store(to)
		c.unlink(heap)
		return to - from, nil
	}
	err = c.write(to, buf)
	c.unlink(heap)
	return c.saved.Load() - from, err
}

// write brings the files up to entry to. Under saveMu.
func (c *consumeQueue) write(to int64, buf []byte) error {
	for from := c.saved.Load(); from < to; from = c.saved.Load() {
		off := from * unitSize
		f, err := c.fileFor(off)
		if err != nil {
			return err
		}
		piece := c.gather(from, min(to, f.end()/unitSize, from+int64(len(buf)/unitSize)), buf)
		if err := vfs.WriteAt(f.fs, f.path, piece, off-f.base); err != nil {
			return err
		}
		f.wrote.Store(off - f.base + int64(len(piece)))
		c.saved.Store(from + int64(len(piece)/unitSize))
	}
	return nil
}

// gather is entries that are not in files, in one piece: a queue that is written out after a while has them in several chunks.
func (c *consumeQueue) gather(from, to int64, buf []byte) []byte {
	for ch := c.tail.Load(); ; ch = ch.prev.Load() {
		first, last := max(from, ch.base), min(to, ch.end())
		if first < last {
			entries := ch.buf[(first-ch.base)*unitSize : (last-ch.base)*unitSize]
			if first == from && last == to {
				return entries
			}
			copy(buf[(first-from)*unitSize:], entries)
		}
		if ch.base <= from {
			return buf[:(to-from)*unitSize]
		}
	}
}

// unlink lets go of chunks ahead of the one that has the first entry that is not in files.
func (c *consumeQueue) unlink(heap *chunkHeap) {
	saved := c.saved.Load()
	ch := c.tail.Load()
	for ch != nil && ch.base > saved {
		ch = ch.prev.Load()
	}
	if ch == nil || ch.prev.Load() == nil {
		return
	}
	old := ch.prev.Swap(nil)
	heap.put(old, c.reading.Load() != 0)
}

// dropTail lets go of the last chunk where all of it is in files. Under the right to dispatch.
func (c *consumeQueue) dropTail(heap *chunkHeap) {
	if ch := c.tail.Load(); ch != nil && ch.prev.Load() == nil && c.saved.Load() == c.max.Load() {
		c.forget(heap)
	}
}

// fileFor is the file for the next entry, made if need be. The first file of a queue that starts inside it is filled with
// blank units up to there.
func (c *consumeQueue) fileFor(off int64) (*mappedFile, error) {
	if f := c.files.find(off); f != nil {
		return f, nil
	}
	first := c.files.last() == nil
	f, err := c.files.create(off)
	if err != nil {
		return nil, err
	}
	if off < f.base || off >= f.end() {
		return nil, fmt.Errorf("next file starts at %d, next entry at %d", f.base, off)
	}
	if first && off > f.base {
		return f, fillBlank(f, off-f.base)
	}
	return f, nil
}

func fillBlank(f *mappedFile, n int64) error {
	file, err := f.fs.Open(f.path)
	if err != nil {
		return err
	}
	var piece [1024 * unitSize]byte
	for p := 0; p < len(piece); p += unitSize {
		putUnit(piece[p:], 0, blankSize, 0)
	}
	for at := int64(0); at < n && err == nil; {
		part := piece[:min(n-at, int64(len(piece)))]
		_, err = file.WriteAt(part, at)
		at += int64(len(part))
	}
	f.wrote.Store(n)
	return errors.Join(err, file.Close())
}

// sync makes what is in files durable.
func (c *consumeQueue) sync() error {
	c.saveMu.Lock()
	defer c.saveMu.Unlock()
	if c.dropped.Load() {
		return nil
	}
	saved := c.saved.Load()
	for _, f := range c.files.from(c.synced * unitSize) {
		if err := syncFile(f, min(saved*unitSize-f.base, f.size)); err != nil {
			return err
		}
	}
	if err := c.files.syncDirs(); err != nil {
		return err
	}
	c.synced = saved
	return nil
}

// isSynced notes that all that is in files has been made durable.
func (c *consumeQueue) isSynced() {
	c.saveMu.Lock()
	defer c.saveMu.Unlock()
	saved := c.saved.Load()
	for _, f := range c.files.from(c.synced * unitSize) {
		f.flushed.Store(min(saved*unitSize-f.base, f.size))
	}
	c.files.dirsSynced()
	c.synced = saved
}

func syncFile(f *mappedFile, to int64) error {
	if to <= f.flushed.Load() {
		return nil
	}
	file, err := f.fs.Open(f.path)
	if err != nil {
		return err
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return err
	}
	f.flushed.Store(to)
	return nil
}

// flushQueues makes queue entries durable; a thorough one all of them, and moves the checkpoint's logics fields.
func (s *Store) flushQueues(thorough bool) error { return s.dispatch.saver.pass(s.dispatch, thorough) }
