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

	// fillBlock is the piece of a file that is written as a whole when it is written to for the first time, with zeros behind the
	// records: those are there already, as far as a reader can tell. The kernel makes one large page of the page cache of it and maps it
	// to the disk once, where record by record it would do both for each 4 KiB.
	fillBlock = 64 << 10

	// staleMost bounds how many records of one group share a reading of the clock.
	staleMost = 16
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
	// Under the append lock.
	staged
	end   int64 // of what is staged
	clock int64 // ms: the store time of the last record
	stale int   // so many records more may have that time

	// Under writer.
	writer writerLock
	spare  []byte // the other buffer
	filled int64  // log offset up to which whole fillBlocks have been written
	err    error  // of the write that failed
	stuck  staged // what that was, where a full disk has refused it: retry lifts err
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
			c.buf = make([]byte, 0, max(stageFirst, n)+fillBlock)
		}
	}
	have := len(c.buf)
	if cap(c.buf)-have < n+fillBlock {
		c.buf = slices.Grow(c.buf, n+fillBlock)
	}
	c.buf = c.buf[:have+n]
	return c.buf[have:]
}

// timeLocked is the store time of the next record. The clock is read for the first record of a group, and now and then.
func (l *commitLog) timeLocked() int64 {
	st := &l.stage
	if len(st.buf) == 0 || st.stale == 0 {
		st.clock, st.stale = l.s.now().UnixMilli(), staleMost
	}
	st.stale--
	return st.clock
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
	l.stage.end = f.end()
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

// commitStaged is commitTo for all that is staged now.
func (l *commitLog) commitStaged() error { return l.commitTo(l.stagedEnd()) }

// stagedEnd is the end of what is staged now.
func (l *commitLog) stagedEnd() int64 {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.stage.end
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
	return l.writeSwapped(&c)
}

// writeSwapped writes what was staged, and keeps its buffer unless it is still needed. Under writer.
func (l *commitLog) writeSwapped(c *staged) error {
	err := l.writeOut(c)
	if l.stage.stuck.file == nil && cap(c.buf) <= stageKept {
		l.stage.spare = c.buf[:0]
	}
	return err
}

// retry writes what a full disk has refused, and what was staged until that was known; then the store takes messages again. Nobody was told
// of those messages, but that they could not be stored: like a send that has timed out, such a one may turn up all the same. The flusher
// calls it now and then.
func (l *commitLog) retry() {
	if !l.s.flags.has(flagNoSpace) || !l.retryWrite() || l.commitStaged() != nil {
		return
	}
	l.s.flags.clear(flagNoSpace)
	l.s.log.Info("commit log has room again: the store takes messages", "off", l.end())
	l.told()
}

func (l *commitLog) retryWrite() bool {
	l.stage.writer.Lock()
	defer l.stage.writer.Unlock()
	c := l.stage.stuck
	if c.file == nil {
		return l.stage.err == nil
	}
	l.stage.stuck, l.stage.err = staged{}, nil
	return l.writeSwapped(&c) == nil
}

// swap takes what is staged and puts the spare buffer in its place. Under writer.
func (l *commitLog) swap() staged {
	l.lock.Lock()
	defer l.lock.Unlock()
	c := l.stage.staged
	l.s.dispatch.slips.publish()
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
	_, err := c.out.WriteAt(l.fill(c), c.pos)
	stuck := noSpace(err)
	if c.last && !stuck {
		defer f.release()
		err = errors.Join(err, c.out.Close())
	}
	if err != nil {
		l.stage.err = fmt.Errorf("write commit log at %d: %w", f.base+c.pos, err)
		if stuck {
			l.refused(c)
		} else {
			l.s.fail(l.stage.err)
		}
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
	l.grew()
	return nil
}

// refused keeps what a full disk has refused: offsets are given away, so it is what the log goes on with. Blocks are allocated before they are
// written, so this is for file systems that take new ones for each write. Under writer.
func (l *commitLog) refused(c *staged) {
	l.stage.stuck = *c
	if !l.s.flags.has(flagNoSpace) {
		l.s.flags.set(flagNoSpace)
		l.s.log.Error("the store refuses messages until there is room", "err", l.stage.err)
	}
}

// fill is the staged bytes, with zeros behind them as far as a block reaches that is begun with them. Under writer.
func (l *commitLog) fill(c *staged) []byte {
	f, end := c.file, c.pos+int64(len(c.buf))
	if c.last || f.base+end <= l.stage.filled {
		return c.buf
	}
	to := min((end+fillBlock-1)&^(fillBlock-1), f.reserved.Load())
	if to <= end || to-end > int64(cap(c.buf)-len(c.buf)) {
		return c.buf
	}
	l.stage.filled = f.base + to
	b := c.buf[:len(c.buf)+int(to-end)]
	clear(b[len(c.buf):])
	return b
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
