package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"apogee/store/record"
)

// The store as replication sees it. A master's log is read with ReadLog, by whoever Follow has told that there is more; what is
// read is mapped and not copied. A replica's log is written with AppendLog alone: the bytes of the master's, at the same offsets.
// Both are of whole records, so a replica's log ends where a record ends, whatever the pieces are in which it comes, and what is
// dispatched, served or acknowledged is never half a record.
//
// Who is master, how far records are confirmed, and who waits for whom is decided elsewhere (package ha).

var (
	// ErrNotInLog says that an offset is before the first file of the log, or behind its end.
	ErrNotInLog = errors.New("offset is not in the commit log")
	// ErrForeignLog says that bytes are not the continuation of this log.
	ErrForeignLog = errors.New("not the continuation of this log")
)

// LogBytes is a piece of the log, valid until Release.
type LogBytes struct {
	Bytes []byte
	file  *mappedFile
}

// Release lets go of the piece. Releasing twice does no harm.
func (b *LogBytes) Release() {
	if b.file != nil {
		b.file.release()
	}
	*b = LogBytes{}
}

// Bounds is where the log begins and ends. Both are 0 for a log without files.
func (s *Store) Bounds() (begin, end int64) { return s.commit.begin(), s.commit.end() }

// Flushed is up to where the log is on disk.
func (s *Store) Flushed() int64 { return s.flush.flushed.Load() }

// LastStoreTime is the store time of the newest message since the start, in ms, 0 without any.
func (s *Store) LastStoreTime() int64 { return s.commit.lastStoreTime.Load() }

// searchMost is how far StoreTimeAt looks for the begin of a record: no record is larger.
const searchMost = 8 << 20

// StoreTimeAt is the store time of the first record that begins at off or behind it, in ms; 0 if there is none.
func (s *Store) StoreTimeAt(off int64) (ms int64) {
	for range 2 { // the file of off may have nothing behind it, and the next one begins with a record
		piece, err := s.ReadLog(off, searchMost)
		if err != nil || len(piece.Bytes) == 0 {
			return 0
		}
		_ = piece.file.guard(func() error { ms = firstTime(piece.Bytes, off); return nil }) // what cannot be read has no time
		piece.Release()
		if ms != 0 {
			break
		}
		off = s.commit.nextFile(off)
	}
	return ms
}

// firstTime finds the first record in bytes of the log that begin at off, and its store time: a record says where it is.
func firstTime(b []byte, off int64) int64 {
	var magic [4]byte
	binary.BigEndian.PutUint32(magic[:], record.MagicV1)
	const before = 4 // the size
	for at := before; at < len(b); at++ {
		i := bytes.Index(b[at:], magic[:3]) // the two magics differ in their last byte
		if i < 0 {
			break
		}
		at += i
		start := at - before
		if start+record.HeadSize > len(b) {
			break
		}
		head := b[start : start+record.HeadSize]
		if m := binary.BigEndian.Uint32(head[before:]); (m == record.MagicV1 || m == record.MagicV2) && record.PhysicalOf(head) == off+int64(start) {
			return record.StoreTimeOf(head)
		}
	}
	return 0
}

// MasterFlushed is up to where the master has told that its log is on disk, 0 if it has not (the checkpoint's masterFlushedOffset).
func (s *Store) MasterFlushed() int64 { return s.checkpoint.masterFlushedOffset.Load() }

// SetMasterFlushed notes it; the checkpoint is written soon.
func (s *Store) SetMasterFlushed(off int64) { s.checkpoint.masterFlushedOffset.Store(max(off, 0)) }

// LogFileSize is the size of the log's files, which a replica must have in common with its master.
func (s *Store) LogFileSize() int64 { return s.commit.files.fileSize }

// ReadLog is the bytes of the log from off on, as far as they are in one file, and at most so many. At the end of the log it is
// empty. The bytes may be written to a socket; a fault in them is the socket's error.
func (s *Store) ReadLog(off, most int64) (LogBytes, error) {
	l := s.commit
	end := l.end()
	if off < l.begin() || off > end {
		return LogBytes{}, fmt.Errorf("%d of %d to %d: %w", off, l.begin(), end, ErrNotInLog)
	}
	if off == end {
		return LogBytes{}, nil
	}
	b, f, err := l.holdRest(off, min(end, off+most))
	switch {
	case errors.Is(err, errFileGone) || err == nil && f == nil:
		return LogBytes{}, fmt.Errorf("%d: %w", off, ErrNotInLog)
	case err != nil:
		return LogBytes{}, err
	}
	return LogBytes{b, f}, nil
}

// CopyLog copies the bytes of the log at off, all of which must be there.
func (s *Store) CopyLog(off int64, to []byte) error {
	for len(to) > 0 {
		b, err := s.ReadLog(off, int64(len(to)))
		if err != nil {
			return err
		}
		if len(b.Bytes) == 0 {
			return fmt.Errorf("%d: %w", off, ErrNotInLog)
		}
		err = b.file.guard(func() error { copy(to, b.Bytes); return nil })
		n := len(b.Bytes)
		b.Release()
		if err != nil {
			return err
		}
		off, to = off+int64(n), to[n:]
	}
	return nil
}

// Follow has ch signalled whenever the log has grown or more of it is on disk, until stop is called. Nobody waits for ch, so it has
// room for one signal at least.
func (s *Store) Follow(ch chan<- struct{}) (stop func()) {
	l := s.commit
	l.followMu.Lock()
	defer l.followMu.Unlock()
	var old []chan<- struct{}
	if p := l.followers.Load(); p != nil {
		old = *p
	}
	list := append(old[:len(old):len(old)], ch)
	l.followers.Store(&list)
	return func() { l.unfollow(ch) }
}

func (l *commitLog) unfollow(ch chan<- struct{}) {
	l.followMu.Lock()
	defer l.followMu.Unlock()
	var list []chan<- struct{}
	for _, c := range *l.followers.Load() {
		if c != ch {
			list = append(list, c)
		}
	}
	if len(list) == 0 {
		l.followers.Store(nil)
		return
	}
	l.followers.Store(&list)
}

// grew tells the followers.
func (l *commitLog) grew() {
	p := l.followers.Load()
	if p == nil {
		return
	}
	for _, ch := range *p {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// rawTail is the record at the end of a replica's log that has not come as a whole. Its bytes are in the file. Under writer.
type rawTail struct {
	start int64 // where it begins, which is the end of the log
	have  int64 // bytes that have come
	size  int64 // of the record, or of what its file has left; 0 until it is known
	time  int64 // its store time; 0 for what a file has left
	head  [record.HeadSize]byte
}

// AppendLog appends bytes of a master's log. off is the end of this one, or where the piece before ended; a log without files
// begins with the file that off is the start of. What is not a whole record yet is kept back, and forgotten if off goes back to the
// end of the log. The result is the end of the log then.
//
// A record that does not say that it belongs where it comes to, or crosses files, is refused with ErrForeignLog, and nothing behind
// it is taken: the log of this replica, and its master's, are not the same, or their files are not of one size.
func (s *Store) AppendLog(off int64, b []byte) (end int64, err error) {
	l := s.commit
	w := &l.stage.writer
	w.Lock()
	err = l.appendRaw(off, b)
	w.Unlock()
	l.told()
	return l.end(), err
}

// appendRaw is AppendLog under writer.
func (l *commitLog) appendRaw(off int64, b []byte) error {
	if !l.s.flags.has(flagSlave) {
		return fmt.Errorf("append to the log at %d: %w: brokerRole is not SLAVE", off, errNotWritable)
	}
	if l.s.flags.has(flagsReplicaStopped) || l.stage.err != nil {
		_, why := l.s.Writable()
		return fmt.Errorf("append to the log at %d: %w: %s", off, errNotWritable, why)
	}
	if err := l.placeRaw(off); err != nil {
		return err
	}
	for len(b) > 0 { // file by file: no record is in two
		n := min(int64(len(b)), l.nextFile(l.raw.start+l.raw.have)-l.raw.start-l.raw.have)
		if err := l.appendPiece(b[:n]); err != nil {
			l.rewindRaw()
			return err
		}
		b = b[n:]
	}
	return nil
}

// appendPiece appends bytes of one file. What is good of them is taken.
func (l *commitLog) appendPiece(b []byte) error {
	done, good, bad := l.raw.scan(b, l.files.fileSize)
	if err := l.writeRaw(b[:good]); err != nil {
		return err
	}
	l.publishRaw(done)
	return bad
}

// placeRaw makes sure that off is where the next byte goes.
func (l *commitLog) placeRaw(off int64) error {
	t, end := &l.raw, l.end()
	switch {
	case l.files.last() == nil:
		if off < 0 || off%l.files.fileSize != 0 {
			return fmt.Errorf("an empty log cannot begin at %d, inside of a file: %w", off, ErrForeignLog)
		}
		l.written.Store(off) // the allocator makes the first file there
		l.rewindRaw()
	case off == end:
		l.rewindRaw()
	case off != t.start+t.have:
		return fmt.Errorf("%d comes to a log that ends at %d: %w", off, end, ErrForeignLog)
	}
	return nil
}

// rewindRaw forgets what has come of a record that is not whole. It is in one file with the end of the log.
func (l *commitLog) rewindRaw() {
	end := l.end()
	l.raw = rawTail{start: end}
	l.lock.Lock()
	defer l.lock.Unlock()
	if l.tail != nil {
		l.pos = end - l.tail.base
	}
}

// rawDone is what a call of AppendLog has completed.
type rawDone struct {
	end, puts, bytes, time int64
}

// scan finds the ends of records in what has come: what is complete with it, how much of b is good, and what is wrong with the rest.
func (t *rawTail) scan(b []byte, fileSize int64) (done rawDone, good int, err error) {
	done.end = t.start
	for at := 0; at < len(b); {
		if t.size == 0 {
			n := copy(t.head[t.have:t.wants()], b[at:])
			t.have, at = t.have+int64(n), at+n
			if err := t.measure(fileSize); err != nil {
				return done, good, err
			}
		}
		if t.size > 0 {
			n := min(t.size-t.have, int64(len(b)-at))
			t.have, at = t.have+n, at+int(n)
		}
		if t.size == 0 || t.have < t.size {
			continue
		}
		done.end = t.start + t.size
		if t.time != 0 {
			done.puts, done.bytes, done.time = done.puts+1, done.bytes+t.size, t.time
		}
		*t = rawTail{start: done.end}
		good = at
	}
	return done, len(b), nil
}

// wants is how much of the head is looked at next: what says what it is, then where it belongs.
func (t *rawTail) wants() int64 {
	if t.have < record.BlankSize {
		return record.BlankSize
	}
	return record.HeadSize
}

// measure looks at what there is of the head.
func (t *rawTail) measure(fileSize int64) error {
	rest := fileSize - t.start%fileSize
	size := int64(int32(binary.BigEndian.Uint32(t.head[:])))
	magic := binary.BigEndian.Uint32(t.head[4:])
	switch {
	case t.have < record.BlankSize:
	case magic == record.MagicBlank:
		if size != rest {
			return fmt.Errorf("mark at %d says that its file has %d bytes left, it has %d: %w", t.start, size, rest, ErrForeignLog)
		}
		t.size = size
	case magic != record.MagicV1 && magic != record.MagicV2:
		return fmt.Errorf("no record at %d: %w", t.start, ErrForeignLog)
	case t.have < record.HeadSize:
	case record.PhysicalOf(t.head[:]) != t.start:
		return fmt.Errorf("record at %d belongs to %d: %w", t.start, record.PhysicalOf(t.head[:]), ErrForeignLog)
	case size < record.MinSize || size+record.BlankSize > rest:
		return fmt.Errorf("record at %d of %d bytes, where the file has %d left: %w", t.start, size, rest, ErrForeignLog)
	default:
		t.size, t.time = size, record.StoreTimeOf(t.head[:])
	}
	return nil
}

// writeRaw writes bytes of one file behind those that have come. Where there is no room for them now there may be later, when they come
// again: nothing counts that has been written of them. Another write that fails closes the store. Under writer.
func (l *commitLog) writeRaw(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	l.lock.Lock()
	f, err := l.roomRawLocked(int64(len(b)))
	pos := l.pos
	l.lock.Unlock()
	if err != nil {
		return fmt.Errorf("append to the log: %w", err)
	}
	if _, err = l.out.WriteAt(b, pos); noSpace(err) {
		return fmt.Errorf("write commit log at %d: %w", f.base+pos, err)
	}
	l.lock.Lock()
	l.pos += int64(len(b))
	full := l.pos == f.size
	if full {
		err = errors.Join(err, l.out.Close())
		l.tail, l.out = nil, nil
	}
	if f.base+l.pos >= l.alloc.mark.Load() {
		l.alloc.wake()
	}
	l.lock.Unlock()
	if full {
		f.release()
	}
	if err != nil {
		l.stage.err = fmt.Errorf("write commit log at %d: %w", f.base+pos, err)
		l.s.fail(l.stage.err)
		return l.stage.err
	}
	return nil
}

// roomRawLocked is the file that the next bytes go to, with blocks for n of them, or as many as it takes.
func (l *commitLog) roomRawLocked(n int64) (*mappedFile, error) {
	if l.tail == nil {
		if err := l.nextTailLocked(); err != nil {
			return nil, err
		}
	}
	f := l.tail
	if end := l.pos + n; end > f.reserved.Load() {
		return f, l.alloc.awaitBlocks(f, end)
	}
	return f, nil
}

// publishRaw makes whole records part of the log. Under writer.
func (l *commitLog) publishRaw(done rawDone) {
	from := l.end()
	if done.end == from {
		return
	}
	for _, f := range l.files.from(from) {
		if f.base >= done.end {
			break
		}
		f.wrote.Store(min(done.end-f.base, f.size))
	}
	l.lock.Lock()
	l.stage.end = done.end
	l.lock.Unlock()
	l.written.Store(done.end)
	if done.puts > 0 {
		l.lastStoreTime.Store(done.time)
		l.putTotal.Add(done.puts)
		l.putBytes.Add(done.bytes)
	}
	if done.end >= l.evict.mark.Load() {
		l.evict.wake()
	}
	l.grew()
}

// SyncsLog tells whether what is put counts as done when it is on disk (flushDiskType=SYNC_FLUSH).
func (s *Store) SyncsLog() bool { return s.options().FlushDiskType == SyncFlush }
