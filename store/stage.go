package store

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"apogee/store/record"
	"apogee/store/vfs"
)

// How records get from a put into the file. A put encodes into memory, under the append lock; a commit writes all that is
// staged with one system call and then publishes it. Writing a mapped page for the first time costs a fault, which is many
// times the cost of the same page in one large write, and it would be paid under the append lock.
//
// Nobody hears of a message before it is committed: it is in the page cache then, and outlives the process. Offsets are
// assigned when it is staged, so after a failed write the log takes nothing more: what would follow has no place.
//
// Locks: writer before append. A putter that needs a commit lets go of the append lock first.
const (
	stageFirst = 64 << 10
	stageMost  = 512 << 10 // staged beyond this, records are committed by whoever puts the next one
	stageKept  = 1 << 20   // a buffer that grew beyond this, for a large record, is not kept
)

// staged is bytes of one file that wait to be written.
type staged struct {
	file      *mappedFile
	out       vfs.File
	pos       int64 // in file: where buf goes
	buf       []byte
	last      bool // the file ends with these, which own its hold and out
	storeTime int64
	puts      int64
	size      int64 // bytes of records, without the mark at the end of a file
}

// stage is the way from a put to the file.
type stage struct {
	staged              // under the append lock
	end    atomic.Int64 // of what is staged; stored under the append lock

	writer writerLock
	spare  []byte // the other buffer; under writer
	err    error  // of the write that failed; under writer
}

// writerLock is held while staged bytes are written, and tells since when.
type writerLock struct {
	sync.Mutex
	since atomic.Int64 // ms, 0 when free
}

// stagedLocked is n bytes at the end of the stage. Under the append lock.
func (l *commitLog) stagedLocked(n int) []byte {
	c := &l.stage.staged
	if len(c.buf) == 0 {
		c.file, c.out, c.pos = l.tail, l.out, l.pos
		if c.buf == nil {
			c.buf = make([]byte, 0, max(stageFirst, n))
		}
	}
	have := len(c.buf)
	c.buf = slices.Grow(c.buf, n)[:have+n]
	return c.buf[have:]
}

// fullLocked tells whether n more bytes have to wait for a commit. A tail that has no room for them is finished.
func (l *commitLog) fullLocked(n int64) bool {
	c := &l.stage.staged
	if f := l.tail; f != nil && l.pos+n+record.BlankSize > f.size && n+record.BlankSize <= f.size && l.s.flags.writeable() {
		l.finishTailLocked()
	}
	return c.last || len(c.buf) > 0 && int64(len(c.buf))+n > stageMost
}

// finishTailLocked marks the rest of the tail as unused and lets go of it; what is staged owns it now.
func (l *commitLog) finishTailLocked() {
	f := l.tail
	if rest := f.size - l.pos; rest >= record.BlankSize { // every record leaves as much
		record.PutBlank(l.stagedLocked(record.BlankSize), int32(rest))
	} else {
		l.stagedLocked(0)
	}
	l.stage.last = true
	l.stage.end.Store(f.end())
	l.tail, l.out = nil, nil
}

// commitTo returns when the log is written up to next, or cannot be. Whoever waits for readable records is told.
func (l *commitLog) commitTo(next int64) error {
	if l.written.Load() >= next {
		return nil
	}
	err := l.write(next)
	l.told()
	return err
}

// write is commitTo without the telling.
func (l *commitLog) write(next int64) error {
	if l.written.Load() >= next {
		return nil
	}
	w := &l.stage.writer
	w.Lock()
	defer w.Unlock()
	if l.written.Load() >= next {
		return nil // somebody wrote it with his own
	}
	if l.stage.err != nil {
		return l.stage.err
	}
	w.since.Store(l.s.now().UnixMilli())
	defer w.since.Store(0)
	c := l.swap()
	err := l.writeOut(&c)
	if cap(c.buf) <= stageKept {
		l.stage.spare = c.buf[:0]
	}
	return err
}

// swap takes what is staged and puts the spare buffer in its place. Under writer.
func (l *commitLog) swap() staged {
	l.lock.Lock()
	defer l.lock.Unlock()
	c := l.stage.staged
	l.stage.staged = staged{buf: l.stage.spare}
	l.stage.spare = nil
	return c
}

// writeOut writes and publishes, in this order: the file's wrote position, then written; from then on the bytes before it do
// not change. Under writer.
func (l *commitLog) writeOut(c *staged) error {
	f := c.file
	if f == nil {
		return errNotStaged
	}
	if c.last {
		defer f.release()
	}
	_, err := c.out.WriteAt(c.buf, c.pos)
	if c.last {
		err = errors.Join(err, c.out.Close())
	}
	if err != nil {
		l.stage.err = fmt.Errorf("write commit log at %d: %w", f.base+c.pos, err)
		l.s.fail(l.stage.err)
		l.s.flush.wake() // it tells those who wait
		return l.stage.err
	}
	end := c.pos + int64(len(c.buf))
	if c.last {
		end = f.size
	}
	f.wrote.Store(end)
	l.written.Store(f.base + end)
	if c.puts > 0 {
		l.lastStoreTime.Store(c.storeTime)
		l.putTotal.Add(c.puts)
		l.putBytes.Add(c.size)
	}
	if f.base+end >= l.evict.mark.Load() {
		l.evict.wake()
	}
	return nil
}

// errNotStaged cannot be: whoever commits has staged something.
var errNotStaged = errors.New("nothing is staged there")

// told wakes who waits for committed records. Never under a lock: records are dispatched on this goroutine.
func (l *commitLog) told() {
	o := l.s.options()
	if o.FlushDiskType != SyncFlush {
		l.s.dispatch.wake()
		if o.WakeFlushWhenPut {
			l.s.flush.wake()
		}
		return
	}
	if o.ReadUncommitted {
		l.s.dispatch.wake()
	}
	l.s.flush.wake()
}

// Commit makes sure of what Stage put: when it returns nil, the message is where it outlives the process, or, if r is pending on
// the disk, on its way there, and its completion follows. After an error the message is not stored, and the store takes no
// more. One write serves all that has been staged before, whoever staged it: only the first of many calls costs something.
func (s *Store) Commit(r *PutResult) error {
	switch {
	case r.Status != PutOK:
		return nil
	case r.onDisk:
		s.flush.wake()
		return nil
	}
	return s.commit.commitTo(r.NextOffset)
}
