package store

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"apogee/store/vfs"
)

// flusher makes the log durable. With SYNC_FLUSH every put that waits is served by the next sync: one goroutine syncs all
// that has been written and then completes, in the order of the log, whoever waited for it (group commit). With ASYNC_FLUSH it
// syncs every flushIntervalCommitLog what has at least four pages, and everything every flushCommitLogThoroughInterval.
type flusher struct {
	s       *Store
	flushed atomic.Int64 // the log is durable up to here
	ping    chan struct{}
	quit    chan struct{}
	syncing sync.Mutex // held across the sync of the log
	done    sync.WaitGroup

	lastThorough time.Time // the loop's own

	mu      sync.Mutex // guards all below; a leaf under the append lock
	waiting []waiter   // in the order of the log; [head:] is live
	head    int
	timer   *time.Timer // runs whenever somebody waits
	err     error       // after it nothing is synced any more
}

type waiter struct {
	next     int64
	deadline int64 // ms
	c        Completion
}

// leastDirty is how much must be dirty for the timed flush (Java: flushCommitLogLeastPages 4; a key without visible effect).
const leastDirty = 4 * vfs.PageSize

func newFlusher(s *Store) *flusher {
	return &flusher{s: s, ping: make(chan struct{}, 1), quit: make(chan struct{})}
}

// wait registers a completion for when the log is durable up to next, or the deadline has passed. An error is the sync error
// after which nothing becomes durable any more; c is not called then.
func (f *flusher) wait(next, now int64, c Completion) error {
	timeout := f.s.options().SyncFlushTimeoutMs
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	if f.head > 0 && f.head*2 >= len(f.waiting) { // under steady load it is never empty
		n := copy(f.waiting, f.waiting[f.head:])
		clear(f.waiting[n:])
		f.waiting, f.head = f.waiting[:n], 0
	}
	f.waiting = append(f.waiting, waiter{next, now + timeout, c})
	if f.timer == nil {
		f.timer = time.AfterFunc(time.Duration(timeout)*time.Millisecond, f.expire)
	}
	return nil
}

// wake starts a flush soon.
func (f *flusher) wake() {
	select {
	case f.ping <- struct{}{}:
	default:
	}
}

func (f *flusher) start() {
	f.lastThorough = f.s.now()
	f.done.Go(f.loop)
}

func (f *flusher) loop() {
	tick := time.NewTimer(f.interval())
	defer tick.Stop()
	for {
		timed := false
		select {
		case <-f.quit:
			return
		case <-f.ping:
		case <-tick.C:
			timed = true
			tick.Reset(f.interval())
			f.s.commit.retry()
		}
		if !timed || f.due() {
			_ = f.flush() // has told everybody
		}
	}
}

func (f *flusher) interval() time.Duration {
	return time.Duration(f.s.options().FlushIntervalCommitLogMs) * time.Millisecond
}

// due tells whether a timed flush is worth its sync.
func (f *flusher) due() bool {
	dirty := f.s.commit.end() - f.flushed.Load()
	if dirty == 0 {
		return false
	}
	o := f.s.options()
	return dirty >= leastDirty || o.FlushDiskType == SyncFlush ||
		f.s.now().Sub(f.lastThorough) >= time.Duration(o.FlushCommitLogThoroughMs)*time.Millisecond
}

// flush makes durable what has been written so far and completes those who wait for it. After an error nothing is tried
// again: the kernel may have dropped the pages, and a second sync that succeeds would prove nothing.
func (f *flusher) flush() error {
	if err := f.failure(); err != nil {
		return err
	}
	l := f.s.commit
	unwritten := l.write(f.awaited())
	if o := f.s.options(); o.FlushDiskType != SyncFlush || o.ReadUncommitted {
		f.s.dispatch.wake()
	}
	storeTime := l.lastStoreTime.Load() // before end: of a record that is flushed below
	from, end, err := f.syncLog()
	if err != nil {
		err = fmt.Errorf("flush commit log from %d: %w", from, err)
		f.fail(err)
		return err
	}
	if end > from {
		f.lastThorough = f.s.now()
		l.grew()
		if storeTime > f.s.checkpoint.physicMsgTimestamp.Load() {
			f.s.checkpoint.physicMsgTimestamp.Store(storeTime)
		}
		if f.s.options().FlushDiskType == SyncFlush {
			f.s.dispatch.wake()
		}
	}
	f.settle(PutOK, func(w waiter) bool { return w.next <= end })
	if unwritten != nil {
		f.settle(UnknownError, func(waiter) bool { return true })
	}
	return unwritten
}

// awaited is the end of what somebody waits for. What nobody waits for is committed by whoever staged it.
func (f *flusher) awaited() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.waiting); n > f.head {
		return f.waiting[n-1].next
	}
	return 0
}

// syncLog makes the log durable up to its end.
func (f *flusher) syncLog() (from, end int64, err error) {
	f.syncing.Lock()
	defer f.syncing.Unlock()
	from, end = f.flushed.Load(), f.s.commit.end()
	if end > from {
		if err := f.syncFiles(from, end); err != nil {
			return from, end, err
		}
		f.flushed.Store(end)
	}
	return from, end, nil
}

func (f *flusher) syncFiles(from, end int64) error {
	files := f.s.commit.files
	for _, file := range files.from(from) {
		if file.base >= end {
			break
		}
		if err := file.hold(); errors.Is(err, errFileGone) {
			continue // retention was quicker
		} else if err != nil {
			return err
		}
		err := file.sync(min(end-file.base, file.size))
		file.release()
		if err != nil {
			return err
		}
	}
	return files.syncDirs()
}

func (f *flusher) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// fail closes the store for writing and refuses everybody who waits.
func (f *flusher) fail(err error) {
	f.mu.Lock()
	f.err = err
	f.mu.Unlock()
	f.s.fail(err)
	f.settle(UnknownError, func(waiter) bool { return true })
}

// expire completes those whose time is up: their messages are stored, but nobody knows when they will be durable.
func (f *flusher) expire() {
	status := FlushDiskTimeout
	if f.s.commit.commitTo(f.awaited()) != nil {
		status = UnknownError
	}
	now := f.s.now().UnixMilli()
	f.mu.Lock()
	if f.timer == nil { // stopped
		f.mu.Unlock()
		return
	}
	f.mu.Unlock()
	f.settle(status, func(w waiter) bool { return w.deadline <= now })
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.head == len(f.waiting) || f.timer == nil {
		f.timer = nil
		return
	}
	f.timer.Reset(max(time.Duration(f.waiting[f.head].deadline-now), 1) * time.Millisecond)
}

// settle completes waiters from the front for as long as which says so.
func (f *flusher) settle(status PutStatus, which func(waiter) bool) {
	var done [64]waiter
	for {
		f.mu.Lock()
		n := 0
		for n < len(done) && f.head < len(f.waiting) && which(f.waiting[f.head]) {
			done[n] = f.waiting[f.head]
			f.waiting[f.head] = waiter{}
			f.head++
			n++
		}
		f.mu.Unlock()
		for i := range done[:n] {
			done[i].c.Complete(status)
		}
		if n < len(done) {
			return
		}
	}
}

// stop ends the loop, flushes what is left and completes everybody.
func (f *flusher) stop() error {
	close(f.quit)
	f.done.Wait()
	err := f.flush()
	f.mu.Lock()
	if f.timer != nil {
		f.timer.Stop()
		f.timer = nil
	}
	f.mu.Unlock()
	f.settle(UnknownError, func(waiter) bool { return true })
	return err
}

// syncWait is a completion that somebody waits for.
type syncWait chan PutStatus

func (w syncWait) Complete(status PutStatus) { w <- status }

// Sync returns when all that has been put before is on disk, whatever the flush policy is, or it is not within syncFlushTimeout.
func (s *Store) Sync() error {
	done := make(syncWait, 1)
	l := s.commit
	l.lock.Lock() // those who wait stand in the order of the log
	end := l.stage.end
	if s.flush.flushed.Load() >= end {
		l.lock.Unlock()
		return s.flush.failure()
	}
	err := s.flush.wait(end, s.now().UnixMilli(), done)
	l.lock.Unlock()
	if err != nil {
		return err
	}
	s.flush.wake()
	if status := <-done; status != PutOK {
		return fmt.Errorf("sync commit log up to %d: status %d", end, status)
	}
	return nil
}
