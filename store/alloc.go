package store

import (
	"context"
	"errors"
	"fmt"
	"path"
	"sync"
	"sync/atomic"
	"time"
)

// allocPiece is how much of a commit-log file gets its blocks at once. Where fallocate is quick a whole file is a few
// milliseconds; where each block has to be written, the first put waits for one piece and not for a gigabyte.
const allocPiece = 64 << 20

// allocRetry is for how long a failed allocation answers for the puts that would need the file.
const allocRetry = time.Second

// allocator makes commit-log files ahead of their use: full size, blocks allocated, existence durable. At most one is ahead;
// it is asked for when the present file is half full, and a clean stop deletes it, as in Java (spec: store.md 1).
type allocator struct {
	l    *commitLog
	mark atomic.Int64 // log offset from which the next file is wanted
	ping chan struct{}

	work sync.Mutex // one piece of work at a time; held across it

	mu      sync.Mutex // guards all below
	changed *sync.Cond
	want    bool
	tail    *mappedFile // in use; its blocks may still be missing
	next    *mappedFile // made, not used yet; usable as far as its blocks go
	err     error       // why there is no next or no growth
	errTime time.Time
	stopped bool
}

func newAllocator(l *commitLog) *allocator {
	a := &allocator{l: l, ping: make(chan struct{}, 1)}
	a.changed = sync.NewCond(&a.mu)
	a.mark.Store(noMark)
	return a
}

// wake asks for the next file. Called under the append lock.
func (a *allocator) wake() {
	a.mark.Store(noMark)
	a.mu.Lock()
	a.want = true
	a.mu.Unlock()
	a.signal()
}

func (a *allocator) signal() {
	select {
	case a.ping <- struct{}{}:
	default:
	}
}

// adopt takes on a file that recovery found as the tail: its blocks may be missing (Java's files are sparse).
func (a *allocator) adopt(f *mappedFile) {
	a.mu.Lock()
	a.tail = f
	a.mu.Unlock()
	a.mark.Store(f.base + f.size/2)
	a.signal()
}

// take hands out the next file, waiting for it if need be: the one place where a put may wait for the disk.
func (a *allocator) take() (*mappedFile, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.want = true
	err := a.awaitLocked(func() bool { return a.next != nil && a.next.reserved.Load() > 0 })
	if err != nil {
		return nil, err
	}
	f := a.next
	a.tail, a.next, a.want = f, nil, false
	a.signal() // for the rest of its blocks
	a.mark.Store(f.base + f.size/2)
	return f, nil
}

// awaitBlocks waits until f, the file in use, has blocks up to a position.
func (a *allocator) awaitBlocks(f *mappedFile, end int64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.awaitLocked(func() bool { return f.reserved.Load() >= end })
}

// awaitLocked waits for the loop to bring about what done says. A failure answers for allocRetry, then it is tried again.
func (a *allocator) awaitLocked(done func() bool) error {
	if a.err != nil && a.l.s.now().Sub(a.errTime).Abs() >= allocRetry {
		a.err = nil
	}
	for !done() {
		if a.stopped {
			return errNotWritable
		}
		if a.err != nil {
			return a.err
		}
		a.signal()
		a.changed.Wait()
	}
	return nil
}

// loop makes files and blocks until ctx ends.
func (a *allocator) loop(ctx context.Context) {
	defer a.end()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.ping:
		}
		for ctx.Err() == nil && a.step() {
		}
	}
}

func (a *allocator) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopped = true
	a.changed.Broadcast()
}

// step does one piece of work; false means there is none, or it failed.
func (a *allocator) step() bool {
	a.work.Lock()
	defer a.work.Unlock()
	a.mu.Lock()
	tail, next, want := a.tail, a.next, a.want
	failed := a.err != nil && a.l.s.now().Sub(a.errTime).Abs() < allocRetry
	a.mu.Unlock()
	var err error
	switch {
	case failed:
		return false
	case tail != nil && tail.reserved.Load() < tail.size:
		err = extend(tail)
	case next != nil && next.reserved.Load() < next.size:
		err = extend(next)
	case want && next == nil:
		err = a.create()
	default:
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
	if err != nil {
		a.errTime = a.l.s.now()
		a.mark.Store(a.l.end() + a.l.files.fileSize/16) // not at every put: those that cannot go on ask by themselves
		a.l.s.log.Error("commit-log file not allocated", "err", err)
	}
	a.changed.Broadcast()
	return err == nil
}

// extend allocates the next piece of a file.
func extend(f *mappedFile) error {
	from := f.reserved.Load()
	if err := f.allocate(from, min(from+allocPiece, f.size)); err != nil {
		return fmt.Errorf("allocate %s: %w", f.path, err)
	}
	return nil
}

// create makes the next file with its first piece. It is durable, empty, before anybody writes to it: recovery demands that
// every file but the last has its size.
func (a *allocator) create() error {
	files := a.l.files
	base := a.l.end() - a.l.end()%files.fileSize
	if f := files.last(); f != nil {
		base = f.end()
	}
	start := a.l.s.now()
	name := path.Join(files.dir, fileName(base))
	f, err := createMapped(a.l.s.fs, name, base, files.fileSize)
	if err != nil {
		return err
	}
	f.readOnly = files.readOnly
	err = f.allocate(0, min(allocPiece, f.size))
	if err == nil {
		err = a.settle(f)
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", name, errors.Join(err, f.remove()))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next = f
	a.l.s.log.Info("commit-log file made", "file", fileName(base), "took", a.l.s.now().Sub(start))
	return nil
}

// settle makes the existence and the size of a new file durable.
func (a *allocator) settle(f *mappedFile) error {
	file, err := a.l.s.fs.Open(f.path)
	if err != nil {
		return err
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return err
	}
	return a.l.s.fs.SyncDir(a.l.files.dir)
}

// discard deletes the file that was made ahead and not used. The loop has ended.
func (a *allocator) discard() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.next
	a.next = nil
	if f == nil {
		return nil
	}
	if err := f.remove(); err != nil {
		return fmt.Errorf("delete unused commit-log file: %w", err)
	}
	return a.l.s.fs.SyncDir(a.l.files.dir)
}
