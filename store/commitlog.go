package store

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"apogee/store/record"
	"apogee/store/vfs"
)

// commitLog is the log of all messages, in files of one size (docs/format/commitlog.md). Records never cross a file; the rest
// of a full file is marked blank.
//
// Puts are staged in memory, under lock; a commit writes what is staged and publishes it (stage.go). Files are mapped for
// reading only.
type commitLog struct {
	s     *Store
	files *mappedQueue
	alloc *allocator
	evict *evictor
	lock  appendLock
	stage stage

	propCRC bool // records end with a checksum of their own

	// Under lock.
	tail *mappedFile // held; nil before the first append
	out  vfs.File    // tail, open for writing
	pos  int64       // in tail: where the next record goes

	written       atomic.Int64 // end of the log: what has been committed
	lastStoreTime atomic.Int64 // of the last record; stored after written
	putTotal      atomic.Int64
	putBytes      atomic.Int64

	raw       rawTail // of a replica; under stage.writer
	followers atomic.Pointer[[]chan<- struct{}]
	followMu  sync.Mutex // guards changes of followers; a leaf

	batches sync.Pool // *batch
	gates   sync.Pool // *gates
}

// appendLock is a mutex that tells since when its holder waits for the disk, for Java's page-cache-busy rule. Whoever holds it and
// does not wait is done in a moment.
type appendLock struct {
	sync.Mutex
	since atomic.Int64 // ms, 0 when nobody waits
}

func newCommitLog(s *Store) *commitLog {
	o := s.options()
	l := &commitLog{s: s, propCRC: o.AppendPropCRC, batches: batchPool()}
	l.gates.New = func() any { return new(gates) }
	l.files = newMappedQueue(s.fs, o.CommitLogDir, o.MappedFileSizeCommitLog, 0)
	l.files.readOnly = true
	l.alloc = newAllocator(l)
	l.evict = newEvictor(l)
	return l
}

// end is the end of the log: what was committed last ends there.
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

// put stages one measured message.
func (l *commitLog) put(r *PutResult, at *Place, m *record.Message, lay record.Layout, c Completion) {
	s := l.s
	q := s.queues.at(at, m.Topic, m.QueueID)
	if !q.cq.served() {
		*r = s.refuse(MessageIllegal, errNotServed)
		return
	}
	var dig digest
	s.digest(&dig, q, m)
	if dig.inner && (q.kind != BatchQueue || innerCount(m) == 0) {
		*r = s.refuse(MessageIllegal, errInnerBatch)
		return
	}
	for l.tryPut(r, at, q, m, lay, &dig, c) {
		if err := l.commitStaged(); err != nil {
			*r = s.refuse(UnknownError, err)
			return
		}
	}
	l.count(r)
}

// tryPut takes the lock for putLocked. A message may be one that is read from mapped memory: the lock outlives the panic if the disk does not
// give it, and so does what was staged before.
func (l *commitLog) tryPut(r *PutResult, at *Place, q *queue, m *record.Message, lay record.Layout, dig *digest, c Completion) (again bool) {
	l.lock.Lock()
	defer l.lock.Unlock()
	if q.gone {
		q = l.s.queues.again(at, m.Topic, m.QueueID)
	}
	return l.putLocked(r, q, m, lay, dig, c)
}

// putLocked is put under the append lock. It does nothing and says again if what is staged has to be committed first.
func (l *commitLog) putLocked(r *PutResult, q *queue, m *record.Message, lay record.Layout, dig *digest, c Completion) (again bool) {
	var further []*queue
	if dig.inner {
		if lay, r.Status, r.Err = l.baseLocked(m, q); r.Status != PutOK {
			return false
		}
	}
	if dig.multi {
		if further, lay, r.Status, r.Err = l.assignLocked(m); r.Status != PutOK {
			return false
		}
	}
	if l.fullLocked(int64(lay.Total)) {
		return true
	}
	if r.Status, r.Err = l.roomLocked(int64(lay.Total)); r.Status != PutOK {
		return false
	}
	l.appendLocked(r, q, m, lay, dig, c)
	for _, f := range further {
		f.next++
	}
	return false
}

// appendLocked stages a message where there is room for it.
func (l *commitLog) appendLocked(r *PutResult, q *queue, m *record.Message, lay record.Layout, dig *digest, c Completion) {
	now := l.timeLocked()
	counted := m.SysFlag&record.SysTranPrepared == 0 // prepared and rollback share this bit
	m.QueueOffset = 0
	if counted {
		m.QueueOffset = q.next
	}
	m.StoreTimestamp = now
	m.StoreSize = int32(lay.Total)
	m.PhysicalOffset = l.tail.base + l.pos
	l.encodeLocked(m, lay)
	r.Count = 1
	if dig.inner {
		r.Count = int(innerCount(m))
	}
	if counted {
		q.next += int64(r.Count)
	} else {
		q = nil // no entry
	}
	l.s.dispatch.push(q, dig, m.QueueOffset, m.PhysicalOffset, now, m.StoreSize)
	r.PhysicalOffset, r.QueueOffset, r.StoreTimestamp = m.PhysicalOffset, m.QueueOffset, now
	l.stageLocked(r, int64(lay.Total), c)
}

// putBatch stages a measured batch: all in one file, committed as one.
func (l *commitLog) putBatch(r *PutResult, at *Place, b *batch, items []BatchItem, c Completion) {
	q := b.queue
	for {
		l.lock.Lock()
		if q.gone {
			q = l.s.queues.again(at, b.msg.Topic, b.msg.QueueID)
		}
		again := l.fullLocked(int64(b.total))
		if !again {
			if r.Status, r.Err = l.roomLocked(int64(b.total)); r.Status == PutOK {
				l.appendBatchLocked(r, q, b, items, c)
			}
		}
		l.lock.Unlock()
		if !again {
			l.count(r)
			return
		}
		if err := l.commitStaged(); err != nil {
			*r = l.s.refuse(UnknownError, err)
			return
		}
	}
}

// appendBatchLocked stages a batch where there is room for it.
func (l *commitLog) appendBatchLocked(r *PutResult, q *queue, b *batch, items []BatchItem, c Completion) {
	now := l.timeLocked()
	r.PhysicalOffset, r.QueueOffset, r.StoreTimestamp, r.Count = l.tail.base+l.pos, q.next, now, len(items)
	room := l.stagedLocked(b.total)
	at := r.PhysicalOffset
	for i := range items {
		b.take(&items[i], b.crcs[i])
		b.msg.QueueOffset = q.next + int64(i)
		b.msg.StoreTimestamp = now
		b.msg.PhysicalOffset = at
		items[i].PhysicalOffset = at
		size := b.layouts[i].Total
		l.encode(room[:size], &b.msg, b.layouts[i])
		l.s.dispatch.push(q, &b.digests[i], b.msg.QueueOffset, at, now, int32(size))
		room, at = room[size:], at+int64(size)
	}
	q.next += int64(len(items))
	l.stageLocked(r, int64(b.total), c)
}

// encodeLocked stages the bytes of a message, or nothing if it cannot be read.
func (l *commitLog) encodeLocked(m *record.Message, lay record.Layout) {
	rec, whole := l.stagedLocked(lay.Total), false
	defer func() {
		if !whole {
			l.stage.buf = l.stage.buf[:len(l.stage.buf)-len(rec)]
		}
	}()
	l.encode(rec, m, lay)
	whole = true
}

func (l *commitLog) encode(rec []byte, m *record.Message, lay record.Layout) {
	record.Encode(rec, m, lay)
	if l.propCRC {
		record.SealCRC(rec)
	}
}

// stageLocked counts n staged bytes and registers who waits for them.
func (l *commitLog) stageLocked(r *PutResult, n int64, c Completion) {
	l.pos += n
	r.NextOffset = l.tail.base + l.pos
	st := &l.stage
	st.end = r.NextOffset
	st.storeTime = r.StoreTimestamp
	st.puts += int64(r.Count)
	st.size += n
	if r.NextOffset >= l.alloc.mark.Load() {
		l.alloc.wake()
	}
	if c != nil && l.s.options().FlushDiskType == SyncFlush {
		if r.Err = l.s.flush.wait(r.NextOffset, r.StoreTimestamp, c); r.Err != nil { // in the order of the log, hence under its lock
			r.Status = UnknownError
			return
		}
		r.Pending, r.onDisk = true, true
	}
}

// count counts a put that was refused.
func (l *commitLog) count(r *PutResult) {
	if r.Status != PutOK {
		l.s.stats.putFailed.Add(1)
	}
}

// roomLocked makes tail a file with room for n bytes and the mark behind them, or says why there is none. A full file has been
// finished before.
func (l *commitLog) roomLocked(n int64) (PutStatus, error) {
	if !l.s.flags.writeable() {
		_, why := l.s.Writable()
		return ServiceNotAvailable, fmt.Errorf("%w: %s", errNotWritable, why)
	}
	if n+record.BlankSize > l.files.fileSize {
		return MessageIllegal, errFileTooSmall
	}
	if l.tail != nil && l.pos+n+record.BlankSize <= l.tail.reserved.Load() {
		return PutOK, nil
	}
	// The allocator is asked, who may have to be waited for.
	l.lock.since.Store(l.s.now().UnixMilli())
	defer l.lock.since.Store(0)
	l.stage.stale = 0
	if l.tail == nil {
		if err := l.nextTailLocked(); err != nil {
			return CreateMappedFileFailed, err
		}
	}
	if end := l.pos + n + record.BlankSize; end > l.tail.reserved.Load() {
		if err := l.alloc.awaitBlocks(l.tail, end); err != nil {
			return CreateMappedFileFailed, err
		}
	}
	return PutOK, nil
}

// nextTailLocked goes to the next file, which the allocator has ready as a rule.
func (l *commitLog) nextTailLocked() error {
	f, err := l.alloc.take()
	if err != nil {
		return fmt.Errorf("next commit-log file: %w", err)
	}
	if err := l.useLocked(f, 0); err != nil {
		return fmt.Errorf("next commit-log file: %w", errors.Join(err, f.remove()))
	}
	l.files.add(f)
	return nil
}

// useLocked makes f the tail.
func (l *commitLog) useLocked(f *mappedFile, pos int64) error {
	out, err := l.s.fs.Open(f.path)
	if err != nil {
		return err
	}
	if err := f.hold(); err != nil {
		return errors.Join(err, out.Close())
	}
	l.tail, l.out, l.pos = f, out, pos
	return nil
}

// resume positions the log at its end, which recovery found, for the first append.
func (l *commitLog) resume(end int64) error {
	l.written.Store(end)
	l.stage.end = end
	f := l.files.last()
	if f == nil || end == f.end() {
		return nil
	}
	return l.useLocked(f, end-f.base)
}

// open lets puts in; shut keeps them out and waits for those under way.
func (l *commitLog) open() {
	switch {
	case l.tail != nil:
		l.alloc.adopt(l.tail)
	case l.files.last() == nil && l.s.flags.has(flagSlave): // its first file is where its master says
	default:
		l.alloc.wake()
	}
	l.s.flags.clear(flagNotRunning)
}

func (l *commitLog) shut() error {
	l.s.flags.set(flagNotRunning)
	err := l.commitStaged()
	return errors.Join(err, l.letGo())
}

// letGo ends the use of the tail.
func (l *commitLog) letGo() error {
	l.stage.writer.Lock()
	defer l.stage.writer.Unlock()
	l.lock.Lock()
	defer l.lock.Unlock()
	var err error
	for _, c := range []*staged{&l.stage.stuck, &l.stage.staged} { // a write failed
		if c.last {
			c.file.release()
			err = errors.Join(err, c.out.Close())
		}
		*c = staged{}
	}
	if l.tail != nil {
		l.tail.release()
		err = errors.Join(err, l.out.Close())
		l.tail, l.out = nil, nil
	}
	return err
}

// retire makes every later put of a deleted queue look it up again.
func (l *commitLog) retire(q *queue) {
	l.lock.Lock()
	defer l.lock.Unlock()
	q.gone = true
}

// PageCacheBusy is true while one put or commit has held others up for longer than osPageCacheBusyTimeOutMills: senders are told to
// go elsewhere. The upper bound keeps a stepped clock from counting (spec: store.md 3.8).
func (s *Store) PageCacheBusy() bool {
	ms := s.AppendLockHeldMs()
	return ms > s.options().OSPageCacheBusyTimeoutMs && ms < 10_000_000
}

// AppendLockHeldMs is for how long a put has waited for the disk under the append lock, or the commit at work has been at it; 0 if there
// is none.
func (s *Store) AppendLockHeldMs() int64 {
	since := s.commit.lock.since.Load()
	if w := s.commit.stage.writer.since.Load(); since == 0 || w != 0 && w < since {
		since = w
	}
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
	if err := f.cut(pos + n); err != nil {
		f.release()
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
