package store

import (
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"apogee/store/record"
)

// commitLog is the log of all messages, in files of one size (docs/format/commitlog.md). Records never cross a file; the rest
// of a full file is marked blank.
//
// Putters write under lock, straight into the mapping. What they publish, in this order: the file's wrote position, then
// written; from then on the bytes before it do not change.
type commitLog struct {
	s     *Store
	files *mappedQueue
	alloc *allocator
	warm  *warmer
	lock  appendLock

	propCRC bool // records end with a checksum of their own

	// Under lock.
	tail *mappedFile // held; nil before the first append
	pos  int64       // in tail: where the next record goes
	puts int64
	size int64 // bytes put

	written       atomic.Int64 // end of the log
	lastStoreTime atomic.Int64 // of the last record; stored after written
	putTotal      atomic.Int64
	putBytes      atomic.Int64

	batches sync.Pool // *batch
	gates   sync.Pool // *gates
}

// appendLock is a mutex that tells since when it is held, for Java's page-cache-busy rule.
type appendLock struct {
	sync.Mutex
	since atomic.Int64 // ms, 0 when free
}

func newCommitLog(s *Store) *commitLog {
	o := s.options()
	l := &commitLog{s: s, propCRC: o.AppendPropCRC, batches: batchPool()}
	l.gates.New = func() any { return new(gates) }
	l.files = newMappedQueue(s.fs, o.CommitLogDir, o.MappedFileSizeCommitLog, 0)
	l.alloc = newAllocator(l)
	l.warm = newWarmer(l)
	return l
}

// end is the end of the log: what was put last ends there.
func (l *commitLog) end() int64 { return l.written.Load() }

// begin is the first offset that is still there.
func (l *commitLog) begin() int64 { return l.files.minOffset() }

// confirmed is the offset up to which records may be dispatched and read (spec: store.md 6.6).
func (l *commitLog) confirmed() int64 {
	o := l.s.options()
	if o.FlushDiskType == SyncFlush && !o.ReadUncommitted {
		return l.s.flush.flushed.Load()
	}
	return l.written.Load()
}

// put appends one measured message.
func (l *commitLog) put(m *record.Message, lay record.Layout, c Completion) PutResult {
	s := l.s
	q := s.queues.getOrCreate(m.Topic, m.QueueID)
	if !q.cq.served() {
		return s.refuse(MessageIllegal, errNotServed)
	}
	dig := s.digest(q, m)
	l.lock.Lock()
	now := s.now().UnixMilli()
	l.lock.since.Store(now)
	if q.gone {
		q = s.queues.getOrCreate(m.Topic, m.QueueID)
	}
	var r PutResult
	var further []*queue
	if dig.multi {
		further, lay, r.Status, r.Err = l.assignLocked(m)
	}
	if r.Status == PutOK {
		r = l.roomLocked(int64(lay.Total))
	}
	if r.Status == PutOK {
		r = l.appendLocked(q, m, lay, &dig, now, c)
	}
	if r.Status == PutOK {
		for _, f := range further {
			f.next++
		}
	}
	l.lock.since.Store(0)
	l.lock.Unlock()
	return l.done(r)
}

// appendLocked writes a message where there is room for it.
func (l *commitLog) appendLocked(q *queue, m *record.Message, lay record.Layout, dig *digest, now int64, c Completion) PutResult {
	counted := m.SysFlag&record.SysTranPrepared == 0 // prepared and rollback share this bit
	m.QueueOffset = 0
	if counted {
		m.QueueOffset = q.next
	}
	m.StoreTimestamp = now
	m.StoreSize = int32(lay.Total)
	m.PhysicalOffset = l.tail.base + l.pos
	if err := l.encodeLocked(m, lay, l.pos); err != nil {
		return l.failedLocked(err)
	}
	if counted {
		q.next++
	} else {
		q = nil // no entry
	}
	l.s.dispatch.push(q, dig, m.QueueOffset, m.PhysicalOffset, now, m.StoreSize)
	r := PutResult{PhysicalOffset: m.PhysicalOffset, QueueOffset: m.QueueOffset, StoreTimestamp: now, Count: 1}
	l.publishLocked(&r, int64(lay.Total), c)
	return r
}

// putBatch appends a measured batch: all in one file, published as one.
func (l *commitLog) putBatch(b *batch, items []BatchItem, c Completion) PutResult {
	s := l.s
	m := &b.msg
	q := b.queue
	l.lock.Lock()
	now := s.now().UnixMilli()
	l.lock.since.Store(now)
	if q.gone {
		q = s.queues.getOrCreate(m.Topic, m.QueueID)
	}
	r := l.roomLocked(int64(b.total))
	if r.Status == PutOK {
		r = PutResult{PhysicalOffset: l.tail.base + l.pos, QueueOffset: q.next, StoreTimestamp: now, Count: len(items)}
		if err := l.encodeBatchLocked(b, items, q.next, now); err != nil {
			r = l.failedLocked(err)
		} else {
			for i := range items {
				s.dispatch.push(q, &b.digests[i], q.next+int64(i), items[i].PhysicalOffset, now, int32(b.layouts[i].Total))
			}
			q.next += int64(len(items))
			l.publishLocked(&r, int64(b.total), c)
		}
	}
	l.lock.since.Store(0)
	l.lock.Unlock()
	return l.done(r)
}

func (l *commitLog) encodeBatchLocked(b *batch, items []BatchItem, next, now int64) error {
	pos := l.pos
	for i := range items {
		b.take(&items[i], b.crcs[i])
		b.msg.QueueOffset = next + int64(i)
		b.msg.StoreTimestamp = now
		b.msg.PhysicalOffset = l.tail.base + pos
		items[i].PhysicalOffset = b.msg.PhysicalOffset
		if err := l.encodeLocked(&b.msg, b.layouts[i], pos); err != nil {
			return err
		}
		pos += int64(b.layouts[i].Total)
	}
	return nil
}

// encodeLocked writes the record at pos of the tail file. A fault in the mapping is an error.
func (l *commitLog) encodeLocked(m *record.Message, lay record.Layout, pos int64) (err error) {
	f := l.tail
	defer f.caught(&err, debug.SetPanicOnFault(true))
	rec := f.data[pos : pos+int64(lay.Total)]
	record.Encode(rec, m, lay)
	if l.propCRC {
		record.SealCRC(rec)
	}
	return nil
}

// publishLocked makes n bytes at the end visible and registers who waits for them.
func (l *commitLog) publishLocked(r *PutResult, n int64, c Completion) {
	l.pos += n
	r.NextOffset = l.tail.base + l.pos
	l.tail.wrote.Store(l.pos)
	l.written.Store(r.NextOffset)
	l.lastStoreTime.Store(r.StoreTimestamp)
	l.puts += int64(r.Count)
	l.size += n
	l.putTotal.Store(l.puts)
	l.putBytes.Store(l.size)
	if r.NextOffset >= l.warm.mark.Load() {
		l.warm.wake()
	}
	if r.NextOffset >= l.alloc.mark.Load() {
		l.alloc.wake()
	}
	if c != nil && l.s.options().FlushDiskType == SyncFlush {
		if r.Err = l.s.flush.wait(r.NextOffset, r.StoreTimestamp, c); r.Err != nil { // in the order of the log, hence under its lock
			r.Status = UnknownError
			return
		}
		r.Pending = true
	}
}

// done is what follows a put outside of the lock.
func (l *commitLog) done(r PutResult) PutResult {
	if r.Status != PutOK {
		l.s.stats.putFailed.Add(1)
		return r
	}
	o := l.s.options()
	switch {
	case o.FlushDiskType == SyncFlush:
		l.s.flush.wake()
		if o.ReadUncommitted {
			l.s.dispatch.wake()
		}
	default:
		l.s.dispatch.wake()
		if o.WakeFlushWhenPut {
			l.s.flush.wake()
		}
	}
	return r
}

// failedLocked is a put whose bytes could not be written: a fault in the mapping. The log takes nothing after it.
func (l *commitLog) failedLocked(err error) PutResult {
	l.s.fail(err)
	return PutResult{Status: UnknownError, Err: err}
}

// roomLocked makes tail a file with room for n bytes and the mark behind them, or says why there is none.
func (l *commitLog) roomLocked(n int64) PutResult {
	if !l.s.flags.writeable() {
		_, why := l.s.Writable()
		return PutResult{Status: ServiceNotAvailable, Err: fmt.Errorf("%w: %s", errNotWritable, why)}
	}
	if n+record.BlankSize > l.files.fileSize {
		return PutResult{Status: MessageIllegal, Err: errFileTooSmall}
	}
	if f := l.tail; f != nil && l.pos+n+record.BlankSize > f.size {
		if err := l.finishTailLocked(); err != nil {
			return l.failedLocked(err)
		}
	}
	if l.tail == nil {
		if err := l.nextTailLocked(); err != nil {
			return PutResult{Status: CreateMappedFileFailed, Err: err}
		}
	}
	if l.pos+n+record.BlankSize > l.tail.reserved.Load() {
		if err := l.alloc.awaitBlocks(l.tail, l.pos+n+record.BlankSize); err != nil {
			return PutResult{Status: CreateMappedFileFailed, Err: err}
		}
	}
	return PutResult{}
}

// finishTailLocked marks the rest of the tail as unused and lets go of it.
func (l *commitLog) finishTailLocked() (err error) {
	f := l.tail
	if l.pos < f.size {
		if err := l.blankLocked(f); err != nil {
			return err
		}
	}
	f.wrote.Store(f.size)
	l.written.Store(f.end())
	l.tail = nil
	f.release()
	return nil
}

func (l *commitLog) blankLocked(f *mappedFile) (err error) {
	defer f.caught(&err, debug.SetPanicOnFault(true))
	record.PutBlank(f.data[l.pos:], int32(f.size-l.pos))
	return nil
}

// nextTailLocked goes to the next file, which the allocator has ready as a rule.
func (l *commitLog) nextTailLocked() error {
	f, err := l.alloc.take()
	if err != nil {
		return fmt.Errorf("next commit-log file: %w", err)
	}
	if err := f.hold(); err != nil {
		return fmt.Errorf("next commit-log file: %w", errors.Join(err, f.remove()))
	}
	l.files.add(f)
	l.tail, l.pos = f, 0
	return nil
}

// resume positions the log at its end, which recovery found, for the first append.
func (l *commitLog) resume(end int64) error {
	l.written.Store(end)
	f := l.files.last()
	if f == nil || end == f.end() {
		return nil
	}
	if err := f.hold(); err != nil {
		return err
	}
	l.tail, l.pos = f, end-f.base
	return nil
}

// open lets puts in; shut keeps them out and waits for those under way.
func (l *commitLog) open() {
	if l.tail != nil {
		l.alloc.adopt(l.tail)
	} else {
		l.alloc.wake()
	}
	l.s.flags.clear(flagNotRunning)
}

func (l *commitLog) shut() {
	l.s.flags.set(flagNotRunning)
	l.lock.Lock()
	defer l.lock.Unlock()
	if l.tail != nil {
		l.tail.release()
		l.tail = nil
	}
}

// retire makes every later put of a deleted queue look it up again.
func (l *commitLog) retire(q *queue) {
	l.lock.Lock()
	defer l.lock.Unlock()
	q.gone = true
}

// PageCacheBusy is true while one put has held the append lock for longer than osPageCacheBusyTimeOutMills: senders are told to
// go elsewhere. The upper bound keeps a stepped clock from counting (spec: store.md 3.8).
func (s *Store) PageCacheBusy() bool {
	ms := s.AppendLockHeldMs()
	return ms > s.options().OSPageCacheBusyTimeoutMs && ms < 10_000_000
}

// AppendLockHeldMs is for how long the put that holds the append lock has held it; 0 if none does.
func (s *Store) AppendLockHeldMs() int64 {
	since := s.commit.lock.since.Load()
	if since == 0 {
		return 0
	}
	return s.now().UnixMilli() - since
}

// Reading.

var errNoRecord = errors.New("no such offset in the commit log")

// hold finds n written bytes at an offset, inside one file, and holds that file; the caller touches them under f.guard and
// releases f.
func (l *commitLog) hold(off int64, n int64) (b []byte, f *mappedFile, err error) {
	f = l.files.find(off)
	if f == nil {
		return nil, nil, fmt.Errorf("offset %d: %w", off, errNoRecord)
	}
	pos := off - f.base
	if n < 0 || pos+n > f.wrote.Load() {
		return nil, nil, fmt.Errorf("offset %d, %d bytes: %w", off, n, errNoRecord)
	}
	if err := f.hold(); err != nil {
		return nil, nil, err
	}
	return f.data[pos : pos+n : pos+n], f, nil
}

// holdRest is hold for everything written in the file from an offset on, but not beyond limit. No bytes and no file where
// the offset is not in the log.
func (l *commitLog) holdRest(off, limit int64) ([]byte, *mappedFile, error) {
	f := l.files.find(off)
	if f == nil {
		return nil, nil, nil
	}
	return l.hold(off, max(min(f.wrote.Load()+f.base, limit)-off, 0))
}

// nextFile is where the file after the one that holds off starts.
func (l *commitLog) nextFile(off int64) int64 { return off - off%l.files.fileSize + l.files.fileSize }

// noMark is a mark that no offset reaches.
const noMark = math.MaxInt64
