package repair

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
		reopen = reopen || s.State == Planned && s.Kind != Config && s.Kind != Leftover && s.Kind != TimerWheel && s.Kind != Compacted
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
		if err := r.quarantineFolders(path.Join(r.root, "index")); err != nil {
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

// quarantineFolders moves the files of folders, as far as there are such.
func (r *run) quarantineFolders(dirs ...string) error {
	for _, dir := range dirs {
		if err := r.quarantineAll(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
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

// wrapMost is how long the records are at most that wrap damaged bytes.
const wrapMost = 4 << 20

// fill wraps a hole so that readers step over it. Its bytes stay in their place but for those under the new headers and ends; all of them are
// copied to the quarantine first.
func (r *run) fill(name string, h *hole) error {
	base := h.from - h.from%r.s.MappedFileSizeCommitLog
	if err := r.copyRange(name, h.from-base, h.to-base, fmt.Sprintf(".hole-%d", h.from)); err != nil {
		return err
	}
	file, err := r.fs.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(r.wrap(file, base, h), file.Close())
}

// wrap writes the records of a hole. The first header comes last, with everything else durable: until then the range counts as damaged.
func (r *run) wrap(file vfs.File, base int64, h *hole) error {
	parts, blank := h.parts(r.s.MappedFileSizeCommitLog)
	if blank > 0 {
		var mark [record.BlankSize]byte
		record.PutBlank(mark[:], int32(blank))
		if _, err := file.WriteAt(mark[:], h.to-blank-base); err != nil {
			return err
		}
	}
	var first []byte
	for i, p := range parts {
		b := make([]byte, p.size)
		if _, err := file.ReadAt(b, p.from-base); err != nil {
			return err
		}
		body, end, err := record.Wrap(b, p.from, r.log.last)
		if err != nil {
			return err
		}
		if _, err := file.WriteAt(b[end:], p.from-base+int64(end)); err != nil {
			return err
		}
		if i == 0 {
			first = b[:body]
		} else if _, err := file.WriteAt(b[:body], p.from-base); err != nil {
			return err
		}
	}
	if err := file.Sync(); err != nil || first == nil {
		return err
	}
	if _, err := file.WriteAt(first, h.from-base); err != nil {
		return err
	}
	return file.Sync()
}

// parts are the records that wrap a hole, and how many bytes of it are marked as unused, at the end of a file. A lost message that a queue
// has an entry of gets a record of its own in its place, since a Java broker gives that to clients: it has to come apart, or they lose what
// follows in the same answer. Where entries are lost too there are as many records as messages may have been.
func (h *hole) parts(fileSize int64) (parts []extent, blank int64) {
	to, most := h.to, int64(wrapMost)
	if to%fileSize == 0 {
		to -= record.BlankSize // at least; no record ends a file
	}
	if h.need > 0 {
		most = max(record.MinSize, min(most, (h.to-h.from)/(h.need+1)))
	}
	at := h.from
	put := func(upTo int64) {
		for at < upTo {
			n := min(upTo-at, most)
			if rest := upTo - at - n; rest > 0 && rest < record.MinSize {
				n = min(upTo-at, n+rest)
			}
			parts = append(parts, extent{at, n})
			at += n
		}
	}
	slices.SortFunc(h.gone, func(a, b extent) int { return cmp.Compare(a.from, b.from) })
	for _, e := range h.gone {
		end := e.from + e.size
		fits := func(n int64) bool { return n == 0 || n >= record.MinSize }
		if e.size < record.MinSize || !fits(e.from-at) || e.from < at || end > to || to == h.to && !fits(to-end) {
			continue
		}
		put(e.from)
		parts = append(parts, extent{e.from, e.size})
		at = end
	}
	if to < h.to { // the rest of the file
		if h.need > int64(len(parts)) && to-at >= record.MinSize {
			put(to)
		}
		return parts, h.to - at
	}
	put(to)
	return parts, 0
}
