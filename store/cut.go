package store

import (
	"errors"
	"fmt"
	"slices"

	"apogee/store/record"
)

// CutLog ends the log of a replica at off, where a record ends, and takes the queue entries of what was behind away: the replica has
// what its master has not, and goes on with what that has (spec: store.md 6.8). The index keeps its entries, as in Java; look-ups
// compare the records. Readers may still be sending what is cut. What needs room on the disk is done first: without it nothing has changed,
// and it can be tried again.
//
// A crash under way leaves a log that is longer, or one whose queues are ahead of it, which the next start mends.
func (s *Store) CutLog(off int64) error {
	l, d := s.commit, s.dispatch
	d.saver.passMu.Lock() // in the order of docs/LOCKS.md
	defer d.saver.passMu.Unlock()
	l.stage.writer.Lock()
	defer l.stage.writer.Unlock()
	if !s.flags.has(flagSlave) || s.flags.has(flagsReplicaStopped) || l.stage.err != nil {
		return fmt.Errorf("cut the log at %d: %w", off, errNotWritable)
	}
	begin, end := s.Bounds()
	if off <= begin || off > end {
		return fmt.Errorf("cut a log from %d to %d at %d: %w", begin, end, off, ErrNotInLog)
	}
	last, err := l.lastBefore(off)
	if err != nil {
		return fmt.Errorf("cut the log at %d: %w", off, err)
	}
	if off == end {
		return nil
	}
	if err := s.forgetQueueEnds(); err != nil {
		return fmt.Errorf("cut the log at %d: %w", off, err)
	}
	if err := s.cut(off, last); err != nil {
		return fmt.Errorf("cut the log at %d: %w", off, err)
	}
	s.log.Warn("the log was cut", "at", off, "was", end)
	return nil
}

// lastBefore is the record that ends at off, or that is the last one in the file that does.
func (l *commitLog) lastBefore(off int64) (last mark, err error) {
	from := (off - 1) - (off-1)%l.files.fileSize
	for from < off {
		next, _, err := l.s.walk(from, off, 4096, func(h *record.Header, _ []byte) error {
			last = mark{extent{h.PhysicalOffset, h.PhysicalOffset + int64(h.Size)}, h.StoreTimestamp}
			return nil
		})
		if err != nil {
			return last, err
		}
		if next <= from {
			break
		}
		from = next
	}
	if from != off || last.rec.end != off && off%l.files.fileSize != 0 {
		return last, fmt.Errorf("no record ends there: %w", ErrForeignLog)
	}
	return last, nil
}

// RecordAt is the extent of the record that has the byte at off, or of what a file has left after its last one.
func (s *Store) RecordAt(off int64) (start, end int64, err error) {
	start = off - off%s.LogFileSize()
	for from := start; ; {
		next, _, err := s.walk(from, s.commit.end(), 4096, func(h *record.Header, _ []byte) error {
			if end = h.PhysicalOffset + int64(h.Size); off < end {
				start = h.PhysicalOffset
				return errFound
			}
			start = end
			return nil
		})
		switch {
		case errors.Is(err, errFound):
			return start, end, nil
		case err != nil:
			return 0, 0, err
		case next > off:
			return start, next, nil
		case next <= from:
			return 0, 0, fmt.Errorf("%d: %w", off, ErrNotInLog)
		}
		from = next
	}
}

// errFound ends a walk.
var errFound = errors.New("found")

// cut is CutLog with the saver and the writer kept out.
func (s *Store) cut(off int64, last mark) error {
	d := s.dispatch
	s.flush.syncing.Lock()
	defer s.flush.syncing.Unlock()
	d.mu.Lock()
	err := s.readyToCut(off, last)
	if err == nil {
		if err = s.cutLocked(off, last); err != nil { // nobody knows what is there now
			s.fail(fmt.Errorf("cut the log at %d: %w", off, err))
		}
	}
	d.letGo()
	if err == nil {
		s.index.cut(off)
	}
	return err
}

// readyToCut has the queues that are to be cut in their files, and the checkpoint back where the log will end: recovery starts earlier
// meanwhile, which does no harm.
func (s *Store) readyToCut(off int64, last mark) error {
	v, c := &s.dispatch.saver, s.checkpoint
	for q := range s.queues.each {
		if q.cq.served() && q.cq.physEnd > off {
			if err := v.saveNow(s.dispatch, q); err != nil {
				return err
			}
		}
	}
	if c.logicsPhysicalOffset.Load() >= off {
		c.logicsPhysicalOffset.Store(last.rec.start)
		c.logicsMsgTimestamp.Store(last.time)
	}
	c.physicMsgTimestamp.Store(min(c.physicMsgTimestamp.Load(), last.time))
	return c.write()
}

// cutLocked cuts with everybody kept out who reads ahead or writes: first the log, so that queues are never behind it after a crash.
func (s *Store) cutLocked(off int64, last mark) error {
	d := s.dispatch
	if err := s.commit.cut(off); err != nil {
		return err
	}
	d.saver.cut(d, off)
	d.pos.Store(min(d.pos.Load(), off))
	if d.lastEnd > off {
		d.lastPhys, d.lastEnd, d.lastTime = last.rec.start, last.rec.end, last.time
	}
	all := slices.Collect(s.queues.each)
	for _, q := range all {
		if !q.cq.served() || q.cq.physEnd <= off {
			continue
		}
		if err := s.truncateQueue(&q.cq, off); err != nil {
			return fmt.Errorf("queue %s/%d: %w", q.topic, q.id, err)
		}
	}
	return nil
}

// cut ends the log at off. Under writer, with no sync under way.
func (l *commitLog) cut(off int64) error {
	if err := l.dropTail(); err != nil {
		return err
	}
	l.written.Store(off) // nobody looks behind it from now on
	if err := l.files.truncate(off); err != nil {
		return err
	}
	if err := l.s.fs.SyncDir(l.files.dir); err != nil {
		return err
	}
	if err := l.clearBehind(off); err != nil {
		return err
	}
	flushed := &l.s.flush.flushed
	flushed.Store(min(flushed.Load(), off))
	l.lock.Lock()
	defer l.lock.Unlock()
	l.raw = rawTail{start: off}
	l.stage.end = off
	f := l.files.last()
	if f == nil || off == f.end() {
		return l.alloc.restart(nil)
	}
	if err := l.useLocked(f, off-f.base); err != nil {
		return err
	}
	return l.alloc.restart(f)
}

// dropTail lets go of the file in use.
func (l *commitLog) dropTail() error {
	l.lock.Lock()
	defer l.lock.Unlock()
	if l.tail == nil {
		return nil
	}
	l.tail.release()
	err := l.out.Close()
	l.tail, l.out = nil, nil
	return err
}

// restart has the allocator go on from another file in use, nil for none. What it made ahead goes: its name is not the next one's.
func (a *allocator) restart(tail *mappedFile) error {
	a.work.Lock()
	defer a.work.Unlock()
	a.mu.Lock()
	next := a.next
	a.tail, a.next, a.want, a.err = nil, nil, false, nil
	a.mu.Unlock()
	var err error
	if next != nil {
		err = errors.Join(next.remove(), a.l.s.fs.SyncDir(a.l.files.dir))
	}
	if tail != nil {
		a.adopt(tail)
	} else {
		a.mark.Store(noMark)
	}
	return err
}
