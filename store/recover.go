package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"time"

	"apogee/store/record"
	"apogee/store/vfs"
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
	parts    int    // damaged parts that were passed
	cut      extent // records behind the end of the log that are given up: nobody has said that they are durable

	needs bool  // queues have lost entries that they had
	need  int64 // of records from here on

	begun, told time.Time
}

// recover brings log, queues and index into line. It reads what is after the checkpoint (after a clean exit: what no queue
// knows) and touches nothing before it.
func (s *Store) recover() error {
	r := &recovery{s: s, o: s.options(), last: s.lastExit, begun: s.now()}
	r.told = r.begun
	if err := r.recoverQueues(); err != nil {
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
		"replayed", r.replayed, "damaged", r.parts, "took", s.now().Sub(r.begun))
	return nil
}

// recoverQueues finds the ends of the queues, and what they have lost.
func (r *recovery) recoverQueues() (err error) {
	s := r.s
	if r.queues, err = s.recoverQueues(s.lastExit); err != nil {
		return err
	}
	s.checkQueueEnds(&s.ends)
	s.ends = queueEnds{}
	broken := 0
	for q := range s.queues.each {
		c := &q.cq
		if !c.broken {
			continue
		}
		r.needFrom(c.physEnd)
		c.broken = false
		if broken++; broken <= partsTold {
			s.log.Error("entries of a consume queue are damaged or missing: they are made again from the commit log", "topic", q.topic, "queue", q.id, "entry", c.max.Load(), "off", c.physEnd)
		}
	}
	if broken > partsTold {
		s.log.Error("entries of more consume queues are damaged or missing", "queues", broken-partsTold)
	}
	if s.queuesLost && s.commit.files.last() != nil {
		r.needFrom(0)
		return s.fs.MkdirAll(s.files.queues) // one start is enough
	}
	return nil
}

func (r *recovery) needFrom(off int64) {
	if !r.needs || off < r.need {
		r.needs, r.need = true, off
	}
}

// withoutLog is a directory without commit log: no queue entry can point anywhere (Java destroys the queues as well).
func (r *recovery) withoutLog() error {
	if r.queues.end > 0 {
		if err := r.setQueuesAside(); err != nil {
			return err
		}
	}
	if err := r.s.destroyQueues(); err != nil {
		return fmt.Errorf("remove consume queues: %w", err)
	}
	return r.s.settleQueues(0)
}

// setQueuesAside moves all queues out of the way.
func (r *recovery) setQueuesAside() error {
	s := r.s
	for _, q := range s.queues.all() {
		if q.cq.served() {
			q.cq.files.close()
		}
		s.queues.remove(q)
	}
	var moved []string
	for _, dir := range []string{s.files.queues, s.files.batchQueues} {
		if _, err := s.fs.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		to, err := s.quarantine(dir)
		if err != nil {
			return err
		}
		moved = append(moved, to)
	}
	s.log.Error("there is no commit log: its messages are lost, and their consume queues are set aside", "dir", r.o.CommitLogDir, "moved", moved)
	return nil
}

// chooseStart decides where the scan starts and from where records are given to the queues.
func (r *recovery) chooseStart() error {
	if err := r.chooseByCheckpoint(); err != nil || !r.needs {
		return err
	}
	need := max(r.need, r.s.commit.begin())
	r.s.log.Warn("entries of consume queues are lost, and made again from the commit log", "from", need)
	r.replay = min(r.replay, need)
	if need < r.from {
		if r.from = need; !r.startsRecord(need, func(*record.Header) bool { return true }) {
			r.from = need - need%r.s.commit.files.fileSize
		}
	}
	return nil
}

// chooseByCheckpoint is chooseStart as long as the queues have what the checkpoint says.
func (r *recovery) chooseByCheckpoint() error {
	c := r.s.checkpoint
	logics := c.logicsPhysicalOffset.Load()
	if r.last == uncleanExit && r.queues.end > 0 && logics >= r.queues.end {
		// That record is in its queue, if the checkpoint is right; unless its topic has been deleted since.
		r.s.log.Warn("no queue has the record that the checkpoint names: its times are used", "off", logics, "queues", r.queues.end)
		logics = 0
	}
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
	c := newScanner(r)
	defer c.close()
	off := r.from
	for {
		f := r.s.commit.files.find(off)
		if f == nil {
			return off, nil
		}
		p, err := c.file(f, off)
		if err != nil {
			return 0, fmt.Errorf("recover commit log %s: %w", f.path, err)
		}
		full := errors.Is(p.bad, record.ErrBlank)
		if !full || p.head.Size != int(f.end()-p.stop) { // a mark says how much is left
			next, err := r.behind(f, p)
			if err != nil {
				return 0, fmt.Errorf("recover commit log %s: %w", f.path, err)
			}
			if next >= 0 {
				off = next
				continue
			}
			if !full {
				return p.stop, nil
			}
		}
		if r.s.commit.files.find(f.end()) == nil {
			return p.stop, nil // the mark is the last thing there is: what comes next overwrites it
		}
		off = f.end()
	}
}

// behind decides what to do where no valid record follows: the log ends there, which is -1, or it is damaged there, and goes on at the
// offset that is returned. It goes on only behind what is known to have been durable, hence whole.
func (r *recovery) behind(f *mappedFile, p *piece) (next int64, err error) {
	unwritten := p.bad != nil && p.head.Magic == 0 && p.head.Size == 0 && !errors.Is(p.bad, record.ErrBodyCRC)
	known := r.last == cleanExit && r.queues.end > p.stop
	later, laterTime := r.laterFile(f)
	if unwritten && !known && later == nil {
		return -1, nil
	}
	why := p.doubt
	if p.bad != nil {
		why = p.bad.Error()
	}
	var h record.Header
	at := int64(-1)
	if err := f.hold(); err != nil {
		return 0, err
	}
	err = f.guard(func() error {
		b := f.data[p.stop-f.base:]
		if i := nextRecord(b, p.stop, 1, &h); i >= 0 {
			at = p.stop + int64(i)
		}
		return nil
	})
	f.release()
	switch {
	case err != nil:
		return 0, err
	case at >= 0 && r.durable(h.StoreTimestamp):
		return at, r.pass(f, extent{p.stop, at}, why)
	case at >= 0:
		r.cut = extent{p.stop, f.end()}
	case errors.Is(p.bad, record.ErrBlank):
		return -1, nil
	case later != nil && r.durable(laterTime):
		if p.stop == f.base || later.base != f.end() {
			return 0, r.hole(f.base, later.base)
		}
		return later.base, r.pass(f, extent{p.stop, f.end()}, why)
	case known && r.queues.end <= f.end():
		return r.queues.end, r.pass(f, extent{p.stop, r.queues.end}, why)
	}
	if !unwritten {
		r.s.log.Warn("log ends at an invalid record", "off", p.stop, "size", p.head.Size, "why", why)
	}
	return -1, nil
}

// durable tells whether somebody has said that a record with that store time is on disk, and with it all before it.
func (r *recovery) durable(storeTime int64) bool {
	return r.last == cleanExit || storeTime < r.s.checkpoint.physicMsgTimestamp.Load()
}

// laterFile is the first file behind f that has a valid record, and that record's store time.
func (r *recovery) laterFile(f *mappedFile) (*mappedFile, int64) {
	for _, later := range r.s.commit.files.from(f.end()) {
		var time int64
		if later.hold() != nil {
			continue
		}
		ok := false
		_ = later.guard(func() error { // a file that cannot be read has none
			var h record.Header
			ok = r.check(later.data, &h) == nil && h.PhysicalOffset == later.base || written(later) && nextRecord(later.data, later.base, 0, &h) >= 0
			time = h.StoreTimestamp
			return nil
		})
		later.release()
		if ok {
			return later, time
		}
	}
	return nil, 0
}

// partsTold is how many damaged parts are told one by one.
const partsTold = 20

// pass notes a damaged part, and goes on behind it.
func (r *recovery) pass(f *mappedFile, e extent, why string) error {
	r.s.noteDamage(e)
	r.s.dispatch.passed = e
	if r.parts++; r.parts <= partsTold {
		r.s.log.Error("commit log is damaged: messages in between are lost, those behind are not", "file", f.path, "from", e.start, "to", e.end, "why", why)
	}
	return nil
}

// ErrHole says that a directory lacks a part of the commit log, with messages on both sides of it.
var ErrHole = errors.New("commit log has a hole")

// hole is the error for a log without a part.
func (r *recovery) hole(from, to int64) error { return holeError(r.o, from, to) }

func holeError(o *Options, from, to int64) error {
	return fmt.Errorf("%w: nothing can be read from %s up to %s, and there are messages behind it. Put the missing files back; "+
		"or see with `apogee store doctor %s` what is left, and give up what is missing with `apogee store repair`",
		ErrHole, fileName(from), fileName(to), o.RootDir)
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

// progressEvery is how often a long recovery says where it is.
const progressEvery = 2 * time.Second

// tell says how far the scan is, and when it may be through: the last file may not be full.
func (r *recovery) tell(off int64) {
	now := r.s.now()
	if now.Sub(r.told) < progressEvery {
		return
	}
	r.told = now
	done, left := off-r.from, r.s.commit.files.last().end()-off
	took := now.Sub(r.begun)
	r.s.log.Info("recovering", "off", off, "records", r.records, "MB", done>>20, "left", left>>20,
		"inAtMost", time.Duration(float64(took)*float64(left)/float64(max(done, 1))).Round(time.Second))
}

// finish cuts everything to the end that was found (spec: store.md 6.4).
func (r *recovery) finish(end int64) error {
	s := r.s
	if r.tail.end > 0 {
		s.checkpoint.confirmPhyOffset.Store(r.tail.start)
	}
	if r.queues.end > end {
		level := slog.LevelWarn
		if r.last == cleanExit { // nothing but a loss of files explains that
			level = slog.LevelError
		}
		s.log.Log(context.Background(), level, "queues are ahead of the log and are cut", "queues", r.queues.end, "end", end)
		if err := s.truncateQueues(end); err != nil {
			return fmt.Errorf("cut queues at %d: %w", end, err)
		}
	}
	if err := r.keepTail(end); err != nil {
		return err
	}
	if err := s.commit.files.truncate(end); err != nil {
		return fmt.Errorf("cut commit log at %d: %w", end, err)
	}
	if r.parts > partsTold {
		s.log.Error("commit log is damaged in more places", "places", r.parts-partsTold)
	}
	if err := s.writeDamaged(); err != nil {
		return err
	}
	if err := r.settleLog(end); err != nil {
		return err
	}
	if err := s.settleQueues(s.commit.begin()); err != nil {
		return fmt.Errorf("recover queue offsets: %w", err)
	}
	return nil
}

// keepTail copies what is cut off the log's end if there are messages among it, and sets whole files aside that have any. The last goes first:
// whoever is interrupted leaves no hole.
func (r *recovery) keepTail(end int64) error {
	s := r.s
	for _, f := range slices.Backward(s.commit.files.from(end)) {
		switch {
		case f.base < end || f.base == r.cut.start:
			if r.cut.end == 0 {
				continue
			}
			to, n, err := s.copyTail(f, r.cut.start)
			if err != nil {
				return fmt.Errorf("keep what is cut off the commit log: %w", err)
			}
			s.log.Warn("messages behind the end of the log, which nobody has said to be durable, are cut off; a copy was kept", "file", f.path, "off", r.cut.start, "bytes", n, "copy", to)
		case written(f):
			to, err := s.quarantine(f.path)
			if err != nil {
				return err
			}
			s.commit.files.forget(f)
			s.log.Warn("file behind the end of the log set aside", "file", f.path, "moved", to)
		case f.base > end:
			s.commit.files.forget(f)
			if err := s.fs.Remove(f.path); err != nil {
				return err
			}
		}
	}
	return nil
}

// copyTail copies a file from an offset up to the last byte that is not zero.
func (s *Store) copyTail(f *mappedFile, off int64) (to string, n int64, err error) {
	root, rel := s.quarantineRoot(fmt.Sprintf("%s.from-%d", f.path, off))
	if to, err = vfs.QuarantineName(s.fs, root, rel, s.now()); err != nil {
		return "", 0, err
	}
	if err := f.hold(); err != nil {
		return "", 0, err
	}
	defer f.release()
	file, err := s.fs.Create(to)
	if err != nil {
		return "", 0, err
	}
	err = f.guard(func() error {
		b := bytes.TrimRight(f.data[off-f.base:], "\x00")
		n = int64(len(b))
		for at := int64(0); at < n; at += copyStep { // a piece at a time, so that a fault is found here
			if _, err := file.WriteAt(b[at:min(at+copyStep, n)], at); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = file.Sync()
	}
	return to, n, errors.Join(err, file.Close(), s.fs.SyncDir(path.Dir(to)))
}

const copyStep = 1 << 20

// written tells whether a file that should hold nothing has anything in it. It looks at places all over the file, not at all of it: a file
// that was made ahead is a gigabyte of zeros.
func written(f *mappedFile) bool {
	file, err := f.fs.Open(f.path)
	if err != nil {
		return true
	}
	defer file.Close()
	var b [512]byte
	for i := range int64(128) {
		n, err := file.ReadAt(b[:], i*(f.size/128))
		if err != nil && !errors.Is(err, io.EOF) || len(bytes.Trim(b[:n], "\x00")) > 0 {
			return true
		}
	}
	return false
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
