package store

import (
	"errors"
	"fmt"
	"time"

	"apogee/store/record"
)

// extent is the place of a record in the log.
type extent struct{ start, end int64 }

// recovery is one run over the end of the log (spec: store.md 6.3 to 6.5): it finds where the log ends, and gives queues and
// index what they have not got.
type recovery struct {
	s    *Store
	o    *Options
	last exit

	from     int64  // where the scan starts
	replay   int64  // records from here on are given to queues and index
	queues   extent // the furthest record that any queue knows
	tail     extent // the last valid record that the scan saw
	records  int64
	replayed int64
	progress time.Time
}

// recover brings log, queues and index into line. It reads what is after the checkpoint (after a clean exit: what no queue
// knows) and touches nothing before it.
func (s *Store) recover() error {
	r := &recovery{s: s, o: s.options(), last: s.lastExit, progress: s.now()}
	begun := r.progress
	var err error
	if r.queues, err = s.recoverQueues(s.lastExit); err != nil {
		return fmt.Errorf("recover queues: %w", err)
	}
	if s.commit.files.last() == nil {
		return r.withoutLog()
	}
	if err := r.chooseStart(); err != nil {
		return err
	}
	end, err := r.scan()
	if err != nil {
		return err
	}
	if err := r.finish(end); err != nil {
		return err
	}
	s.log.Info("store recovered", "exit", s.lastExit.String(), "from", r.from, "end", end, "records", r.records,
		"replayed", r.replayed, "took", s.now().Sub(begun))
	return nil
}

// withoutLog is a directory without commit log: no queue entry can point anywhere (Java destroys the queues as well).
func (r *recovery) withoutLog() error {
	if r.queues.end > 0 {
		r.s.log.Warn("no commit log: consume queues are removed", "dir", r.o.CommitLogDir)
	}
	if err := r.s.destroyQueues(); err != nil {
		return fmt.Errorf("remove consume queues: %w", err)
	}
	return r.s.settleQueues(0)
}

// chooseStart decides where the scan starts and from where records are given to the queues.
func (r *recovery) chooseStart() error {
	c := r.s.checkpoint
	logics := c.logicsPhysicalOffset.Load()
	if r.last == cleanExit {
		// Everything was flushed and dispatched, so only what follows the last known record is of interest. Java reads that
		// record's file from its start; a record that is what its queue entry says makes that needless.
		r.replay = r.queues.end
		if r.startsRecord(r.queues.start, func(h *record.Header) bool { return r.queues.start+int64(h.Size) == r.queues.end }) {
			r.from = r.queues.start
			return nil
		}
	} else if !r.o.MessageIndexSafe && logics > 0 {
		// The record at logicsPhysicalOffset is in its queue for good, as is all before it. The log itself is as durable if a
		// younger record is known to be flushed; otherwise the file is read from its start, as Java does.
		if r.startsRecord(logics, func(h *record.Header) bool { return h.StoreTimestamp < c.physicMsgTimestamp.Load() }) {
			r.from, r.replay = logics, logics
			return nil
		}
	}
	f, err := r.startFile(logics)
	if err != nil {
		return err
	}
	r.from = f.base
	if r.last == uncleanExit {
		r.replay = f.base
	}
	return nil
}

// startsRecord tells whether a whole record starts at off and pleases also.
func (r *recovery) startsRecord(off int64, also func(*record.Header) bool) bool {
	f := r.s.commit.files.find(off)
	if f == nil || off < 0 || f.hold() != nil {
		return false
	}
	defer f.release()
	var ok bool
	_ = f.guard(func() error { // a fault is found again by the scan
		var h record.Header
		ok = r.check(f.data[off-f.base:], &h) == nil && h.PhysicalOffset == off && also(&h)
		return nil
	})
	return ok
}

// startFile walks from the newest file backwards to the first that matches (spec: store.md 6.3). Java takes the
// commitLogRecoverMaxNum-th file if none has matched by then, and so forgets queue entries of what is before; we go on.
func (r *recovery) startFile(logics int64) (*mappedFile, error) {
	files := r.s.commit.files.list()
	for i := len(files) - 1; i >= 0; i-- {
		f := files[i]
		ok, err := r.matches(f, logics)
		if err != nil {
			return nil, err
		}
		if ok {
			return f, nil
		}
	}
	return files[0], nil
}

func (r *recovery) matches(f *mappedFile, logics int64) (bool, error) {
	if err := f.hold(); err != nil {
		return false, fmt.Errorf("recover commit log: %w", err)
	}
	defer f.release()
	var h record.Header
	var bad error
	if err := f.guard(func() error { bad = record.Parse(f.data, &h); return nil }); err != nil {
		return false, fmt.Errorf("recover commit log: %w", err)
	}
	if bad != nil || h.StoreTimestamp == 0 {
		return false, nil
	}
	c := r.s.checkpoint
	if r.o.MessageIndexEnable && r.o.MessageIndexSafe && h.StoreTimestamp > c.minTimestampIndex() {
		return false, nil
	}
	switch {
	case r.last == cleanExit:
		return h.PhysicalOffset <= r.queues.end, nil
	case logics > 0:
		return h.PhysicalOffset <= logics, nil
	default:
		return h.StoreTimestamp <= c.logicsMsgTimestamp.Load(), nil
	}
}

// scan reads records from r.from and returns where the valid log ends.
func (r *recovery) scan() (int64, error) {
	off := r.from
	for {
		f := r.s.commit.files.find(off)
		if f == nil {
			return off, nil
		}
		stop, full, err := r.scanFile(f, off)
		if err != nil {
			return 0, fmt.Errorf("recover commit log %s: %w", f.path, err)
		}
		if !full {
			return stop, nil
		}
		if r.s.commit.files.find(f.end()) == nil {
			return stop, nil // the mark is the last thing there is: what comes next overwrites it
		}
		off = f.end()
	}
}

// scanFile reads one file from an offset. stop is where its valid part ends; full says that an end-of-file mark stands there.
func (r *recovery) scanFile(f *mappedFile, off int64) (stop int64, full bool, err error) {
	if err := f.hold(); err != nil {
		return 0, false, err
	}
	defer f.release()
	stop = off
	err = f.guard(func() error {
		var h record.Header
		for {
			rest := f.data[stop-f.base:]
			if bad := r.check(rest, &h); bad != nil {
				full = errors.Is(bad, record.ErrBlank)
				r.note(stop, &h, bad)
				return nil
			}
			if why := r.doubt(f, stop, &h, rest[h.Size:]); why != "" {
				r.s.log.Warn("log ends at a doubtful record", "off", stop, "size", h.Size, "why", why)
				return nil
			}
			if err := r.take(stop, rest[:h.Size]); err != nil {
				return err
			}
			stop += int64(h.Size)
		}
	})
	return stop, full, err
}

// check is whether a valid record starts b.
func (r *recovery) check(b []byte, h *record.Header) error {
	if err := record.Parse(b, h); err != nil {
		return err
	}
	if r.o.AppendPropCRC {
		if err := h.CheckPropCRC(b[:h.Size], r.o.ForceVerifyPropCRC); err != nil {
			return err
		}
		if r.o.ForceVerifyPropCRC {
			return nil
		}
	}
	if r.o.CheckCRCOnRecover {
		return h.CheckBody()
	}
	return nil
}

// doubt tells why a record whose checks pass is not believed, "" where it is. Checksum and lengths do not cover what follows
// the body: a power cut may leave a record with a topic or with properties that end in zeros. Java believes those. Here they
// end the log, but only where nobody has said that the log is durable, since a Java broker may have gone on behind one.
func (r *recovery) doubt(f *mappedFile, off int64, h *record.Header, rest []byte) string {
	if r.last == cleanExit {
		return ""
	}
	if r.o.CheckOffsetOnRecover && (h.PhysicalOffset < f.base || h.PhysicalOffset >= f.end()) {
		return "it belongs elsewhere"
	}
	if h.StoreTimestamp < r.s.checkpoint.physicMsgTimestamp.Load() {
		return ""
	}
	for _, c := range h.Topic {
		if c < ' ' {
			return "its topic is damaged"
		}
	}
	if n := len(h.Properties); n > 0 && h.Properties[n-1] == 0 {
		var next record.Header
		if r.check(rest, &next) != nil { // what has a successor may really end like that
			return "its properties are damaged"
		}
	}
	return ""
}

// note logs what ended a file's valid part, if it was not the usual unwritten space.
func (r *recovery) note(off int64, h *record.Header, bad error) {
	if !errors.Is(bad, record.ErrBlank) && (h.Magic != 0 || h.Size != 0) {
		r.s.log.Warn("log ends at an invalid record", "off", off, "size", h.Size, "err", bad)
	}
}

// progressEvery is how often a long scan says where it is.
const progressEvery = 2 * time.Second

func (r *recovery) take(off int64, rec []byte) error {
	r.tail = extent{off, off + int64(len(rec))}
	r.records++
	if off >= r.replay {
		r.replayed++
		if err := r.s.replay(off, rec); err != nil {
			return fmt.Errorf("replay record at %d: %w", off, err)
		}
	}
	if r.records%4096 == 0 {
		if now := r.s.now(); now.Sub(r.progress) >= progressEvery {
			r.progress = now
			r.s.log.Info("recovering", "off", off, "records", r.records, "behind", r.s.commit.files.last().end()-off)
		}
	}
	return nil
}

// finish cuts everything to the end that was found (spec: store.md 6.4).
func (r *recovery) finish(end int64) error {
	s := r.s
	if r.tail.end > 0 {
		s.checkpoint.confirmPhyOffset.Store(r.tail.start)
	}
	if r.queues.end > end {
		s.log.Warn("queues are ahead of the log and are cut", "queues", r.queues.end, "end", end)
		if err := s.truncateQueues(end); err != nil {
			return fmt.Errorf("cut queues at %d: %w", end, err)
		}
	}
	if err := s.commit.files.truncate(end); err != nil {
		return fmt.Errorf("cut commit log at %d: %w", end, err)
	}
	if err := r.settleLog(end); err != nil {
		return err
	}
	if err := s.settleQueues(s.commit.begin()); err != nil {
		return fmt.Errorf("recover queue offsets: %w", err)
	}
	return nil
}

// settleLog readies the log for appending at end. After an unclean exit two things are uncertain. What is behind the end may
// hold whole records of before the crash, which a later recovery would take for real if new ones end just in front of them:
// it is cleared. And what was read may be in the page cache only: it counts as not flushed.
func (r *recovery) settleLog(end int64) error {
	s := r.s
	flushed := end
	if r.last == uncleanExit {
		if err := s.commit.clearBehind(end); err != nil {
			return fmt.Errorf("clear commit log behind %d: %w", end, err)
		}
		flushed = min(r.from, end)
		s.commit.files.markUnsynced()
	}
	for _, f := range s.commit.files.from(flushed) {
		f.flushed.Store(min(max(flushed-f.base, 0), f.wrote.Load()))
	}
	s.flush.flushed.Store(flushed)
	if err := s.commit.resume(end); err != nil {
		return err
	}
	if r.last == uncleanExit && r.o.FlushDiskType == SyncFlush {
		// Readers see flushed records only, and what had been acknowledged is on disk, so there is little to sync.
		return s.flush.flush()
	}
	return nil
}

// clearBehind zeroes the file that holds end from there on.
func (l *commitLog) clearBehind(end int64) error {
	f := l.files.find(end)
	if f == nil {
		return nil
	}
	file, err := l.s.fs.Open(f.path)
	if err != nil {
		return err
	}
	err = file.Zero(end-f.base, f.end()-end)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}
