package repair

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"slices"
	"strconv"
	"time"

	"apogee/store"
	"apogee/store/record"
	"apogee/store/vfs"
)

// applyAll does what look has found. Whatever the moment of a kill: what is done is not undone by the next run, and what is not done is
// found by it again.
func (r *run) applyAll() error {
	reopen := r.abort
	for _, s := range r.rep.Steps {
		reopen = reopen || s.State == Planned && s.Kind != Config && s.Kind != Leftover && s.Kind != TimerWheel
	}
	if r.rebuild {
		// Before the first queue is gone the directory says that all is to be read again.
		if err := r.forget(); err != nil {
			return err
		}
	}
	for i := range r.rep.Steps {
		s := &r.rep.Steps[i]
		if s.State != Planned || s.apply == nil {
			continue
		}
		if err := s.apply(); err != nil {
			return fmt.Errorf("%s: %w", s.Path, err)
		}
	}
	r.rep.Applied = true
	if err := r.remakeQueues(); err != nil {
		return err
	}
	if reopen {
		if err := r.reopen(); err != nil {
			return err
		}
	}
	for i := range r.rep.Steps {
		if s := &r.rep.Steps[i]; s.State == Planned {
			s.State = Done
		}
	}
	return nil
}

// forget makes the next start read the whole log: the directory counts as not closed, and its checkpoint says nothing of queues. The log
// itself it vouches for: it was read to its end.
func (r *run) forget() error {
	if err := r.copyAside(path.Join(r.root, "checkpoint")); err != nil {
		return err
	}
	b := make([]byte, 4096)
	binary.BigEndian.PutUint64(b, uint64(r.log.last+1))
	if err := r.replace(path.Join(r.root, "checkpoint"), b); err != nil {
		return err
	}
	if !r.abort {
		return r.replace(path.Join(r.root, "abort"), []byte(strconv.Itoa(os.Getpid())))
	}
	return nil
}

// reopen has the store recover itself, and closes it.
func (r *run) reopen() error {
	if r.rebuild {
		// The index follows what recovery reads, if there is none.
		if err := r.quarantineAll(path.Join(r.root, "index")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := r.letGo(); err != nil {
		return err
	}
	s, err := store.Open(r.quiet())
	if err != nil {
		return err
	}
	if end := s.Stats().MaxPhysical; len(r.log.files) > 0 && end < r.log.end {
		return errors.Join(fmt.Errorf("the store ends its log at %d, where records up to %d are whole", end, r.log.end), s.Close())
	}
	if err := s.Start(); err != nil {
		return errors.Join(err, s.Close())
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for s.IndexBehind() > 0 {
		<-tick.C
	}
	return s.Close()
}

// quiet are options with which a store deletes and compacts nothing, and takes bodies as they are: that they are damaged has been told.
func (r *run) quiet() store.Options {
	o := *r.s
	o.BrokerRole = store.AsyncMaster
	o.FlushDiskType = store.AsyncFlush
	o.CheckCRCOnRecover, o.AppendPropCRC, o.ForceVerifyPropCRC, o.CheckOffsetOnRecover, o.MessageIndexSafe = false, false, false, false, false
	o.FileReservedTimeHours, o.CleanFileForciblyEnable = 1<<30, false
	const never = 1 << 40 // ms
	o.CleanResourceIntervalMs, o.CompactionScheduleInternal = never, never
	o.Whole = true
	return o
}

// quarantineDir is the dated folder that things of this run go to.
func (r *run) quarantineDir() (string, error) {
	if r.away != "" {
		return r.away, nil
	}
	dir := path.Join(r.root, "quarantine", r.s.Now().UTC().Format("20060102-150405"))
	for n := 1; ; n++ {
		name := dir
		if n > 1 {
			name = fmt.Sprintf("%s-%d", dir, n)
		}
		_, err := r.fs.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			if err := errors.Join(r.fs.MkdirAll(name), r.fs.SyncDir(path.Dir(name)), r.fs.SyncDir(r.root)); err != nil {
				return "", err
			}
			r.away, r.rep.Quarantine = name, r.below(name)
			return name, nil
		}
		if err != nil {
			return "", err
		}
	}
}

// place is where a file goes in the quarantine, with its folders made.
func (r *run) place(name string) (string, error) {
	dir, err := r.quarantineDir()
	if err != nil {
		return "", err
	}
	rest, ok := cutDir(name, r.root)
	if !ok { // the commit log, elsewhere
		rest = path.Join("commitlog", path.Base(name))
	}
	to := path.Join(dir, rest)
	if err := r.fs.MkdirAll(path.Dir(to)); err != nil {
		return "", err
	}
	for d := path.Dir(to); len(d) >= len(dir); d = path.Dir(d) {
		if err := r.fs.SyncDir(d); err != nil {
			return "", err
		}
	}
	return to, nil
}

// quarantine moves a file away. One on another disk is copied first.
func (r *run) quarantine(name string) error {
	if _, err := r.fs.Stat(name); err != nil {
		return err
	}
	to, err := r.place(name)
	if err != nil {
		return err
	}
	if _, inside := cutDir(name, r.root); !inside {
		if err := r.copyAside(name); err != nil {
			return err
		}
		return errors.Join(r.fs.Remove(name), r.fs.SyncDir(path.Dir(name)))
	}
	if err := r.fs.Rename(name, to); err != nil {
		return err
	}
	return errors.Join(r.fs.SyncDir(path.Dir(to)), r.fs.SyncDir(path.Dir(name)))
}

// quarantineAll moves the files of a folder, of the folders in it too.
func (r *run) quarantineAll(dir string) error {
	infos, err := r.fs.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, info := range infos {
		name := path.Join(dir, info.Name)
		if info.Dir {
			err = r.quarantineAll(name)
		} else {
			err = r.quarantine(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *run) quarantineStep(kind Kind, name, found string) {
	r.add(Step{Kind: kind, Path: r.below(name), Found: found, Do: "set it aside", apply: func() error {
		if err := r.quarantine(name); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil // with its queue
	}})
}

// copyAside copies a file to the quarantine; one that is not there needs none.
func (r *run) copyAside(name string) error {
	info, err := r.fs.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return r.copyRange(name, 0, info.Size, "")
}

// copyRange copies a part of a file; suffix tells it from the whole.
func (r *run) copyRange(name string, from, to int64, suffix string) (err error) {
	dst, err := r.place(name)
	if err != nil {
		return err
	}
	dst += suffix
	if err := r.fs.Remove(dst); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a run in the same second
		return err
	}
	src, err := r.fs.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	out, err := r.fs.Create(dst)
	if err != nil {
		return err
	}
	err = copyBytes(out, src, from, to)
	if err == nil {
		err = out.Sync()
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	return r.fs.SyncDir(path.Dir(dst))
}

func copyBytes(dst, src vfs.File, from, to int64) error {
	buf := make([]byte, min(to-from, 1<<20))
	for at := from; at < to; {
		n, err := src.ReadAt(buf[:min(int64(len(buf)), to-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if n == 0 {
			return dst.Truncate(to - from)
		}
		if slices.ContainsFunc(buf[:n], func(b byte) bool { return b != 0 }) { // what is sparse stays so
			if _, err := dst.WriteAt(buf[:n], at-from); err != nil {
				return err
			}
		}
		at += int64(n)
	}
	return dst.Truncate(to - from)
}

// replace writes a small file as a whole.
func (r *run) replace(name string, text []byte) error {
	tmp := name + ".tmp"
	if err := r.fs.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := r.fs.Create(tmp)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(text, 0); err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return errors.Join(r.fs.Rename(tmp, name), r.fs.SyncDir(path.Dir(name)))
}

// clearTail clears what is behind the log's end, after a copy was made.
func (r *run) clearTail(f segment, from, to int64) error {
	suffix := fmt.Sprintf(".tail-%d", from)
	if err := r.copyRange(f.path, from-f.base, to-f.base, suffix); err != nil {
		return err
	}
	file, err := r.fs.Open(f.path)
	if err != nil {
		return err
	}
	if err = file.Zero(from-f.base, to-from); err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// fillerTopic is what a record is under that wraps damaged bytes. Nobody is given it: it is of the kind that ends a transaction without a
// message, which has no place in queues and index.
const (
	fillerTopic = "RMQ_SYS_DAMAGED"
	fillerMost  = 4 << 20
)

// fill wraps a range of the log so that readers step over it. Its bytes stay in their place but for those under the new header and end; all of
// them are copied to the quarantine first. The header is written last, with everything else durable.
func (r *run) fill(name string, from, to int64) error {
	base := from - from%r.s.MappedFileSizeCommitLog
	if err := r.copyRange(name, from-base, to-base, fmt.Sprintf(".hole-%d", from)); err != nil {
		return err
	}
	file, err := r.fs.Open(name)
	if err != nil {
		return err
	}
	err = r.fillRange(file, base, from, to)
	return errors.Join(err, file.Close())
}

func (r *run) fillRange(file vfs.File, base, from, to int64) error {
	if to%r.s.MappedFileSizeCommitLog == 0 {
		var mark [record.BlankSize]byte
		record.PutBlank(mark[:], int32(to-from))
		if _, err := file.WriteAt(mark[:], from-base); err != nil {
			return err
		}
		return file.Sync()
	}
	// From the end to the start: the range counts as damaged until its first header stands.
	for to > from {
		n := min(to-from, fillerMost)
		if rest := to - from - n; rest > 0 && rest < record.MinSize {
			n -= record.MinSize
		}
		if err := r.filler(file, base, to-n, n); err != nil {
			return err
		}
		to -= n
	}
	return nil
}

// filler writes one record of n bytes over what is there.
func (r *run) filler(file vfs.File, base, at, n int64) error {
	m := record.Message{
		Topic: fillerTopic, SysFlag: record.SysTranRollback, PhysicalOffset: at, BornTimestamp: r.log.last, StoreTimestamp: r.log.last,
	}
	m.BornHost = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	m.StoreHost = m.BornHost
	if n < record.MinSize+int64(len(fillerTopic)) {
		m.Topic = ""
	}
	room := n - record.MinSize - int64(len(m.Topic))
	b := make([]byte, n)
	if _, err := file.ReadAt(b, at-base); err != nil {
		return err
	}
	const bodyAt = 88 // with hosts of four bytes
	m.Body = append([]byte(nil), b[bodyAt:bodyAt+room]...)
	m.BodyCRC = record.BodyCRC(m.Body)
	l, err := m.Measure(false)
	if err != nil {
		return err
	}
	record.Encode(b, &m, l)
	if _, err := file.WriteAt(b[bodyAt:], at-base+bodyAt); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if _, err := file.WriteAt(b[:bodyAt], at-base); err != nil {
		return err
	}
	return file.Sync()
}
