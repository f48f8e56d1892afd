package repair

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"apogee/store"
	"apogee/store/vfs"
)

// segment is a file that is named by an offset.
type segment struct {
	path       string
	base, size int64
}

func (s segment) end() int64 { return s.base + s.size }

// list is a directory's entries, none where there is no directory.
func (r *run) list(dir string) ([]vfs.Info, error) {
	infos, err := r.fs.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return infos, err
}

// offsetName reads a file's name, which must be an offset of 20 digits.
func offsetName(name string) (int64, bool) {
	base, err := strconv.ParseInt(name, 10, 64)
	return base, err == nil && base >= 0 && len(name) == 20
}

// Sizes sets the file sizes of o to those that the files have: for directories whose configuration is not at hand. What cannot be told
// from files stays as it is; the index is switched off where its files have another size than o says.
func Sizes(fsys vfs.FS, o *store.Options) {
	logDir := o.CommitLogDir
	if logDir == "" {
		logDir = path.Join(o.RootDir, "commitlog")
	}
	if n := usualSize(fsys, logDir, 0); n > 0 {
		o.MappedFileSizeCommitLog = n
	}
	if n := usualSize(fsys, path.Join(o.RootDir, "consumequeue"), 2); n > 0 && n%20 == 0 {
		o.MappedFileSizeConsumeQueue = n
	}
	if n := usualSize(fsys, path.Join(o.RootDir, "batchconsumequeue"), 2); n > 0 && n%46 == 0 {
		o.MapperFileSizeBatchConsumeQueue = n
	}
	if n := usualSize(fsys, path.Join(o.RootDir, "index"), 0); n > 0 && n != indexSize(o) {
		o.MessageIndexEnable = false
	}
}

func indexSize(o *store.Options) int64 {
	return 40 + 4*int64(o.MaxHashSlotNum) + 20*int64(o.MaxIndexNum)
}

// usualSize is the size that most of the files in dir have, so many levels below it; 0 if there are none.
func usualSize(fsys vfs.FS, dir string, levels int) int64 {
	count := map[int64]int{}
	countSizes(fsys, dir, levels, count)
	var best int64
	for n, c := range count {
		if c > count[best] || c == count[best] && n > best {
			best = n
		}
	}
	return best
}

func countSizes(fsys vfs.FS, dir string, levels int, count map[int64]int) {
	infos, _ := fsys.ReadDir(dir)
	for _, info := range infos {
		_, err := strconv.ParseInt(info.Name, 10, 64)
		switch {
		case levels > 0 && info.Dir:
			countSizes(fsys, path.Join(dir, info.Name), levels-1, count)
		case levels == 0 && !info.Dir && err == nil && info.Size > 0:
			count[info.Size]++
		}
	}
}

// lookLogFiles brings the files of the log to where they are one range of bytes: names, sizes, none missing.
func (r *run) lookLogFiles() error {
	infos, err := r.list(r.s.CommitLogDir)
	if err != nil {
		return err
	}
	size := r.s.MappedFileSizeCommitLog
	var files []segment
	for i, info := range infos {
		name := path.Join(r.s.CommitLogDir, info.Name)
		base, ok := offsetName(info.Name)
		switch {
		case info.Dir:
		case !ok:
			r.quarantineStep(Name, name, "its name is no offset of 20 digits; a Java broker does not start with such a file")
		case info.Size == 0 && i == len(infos)-1:
			r.quarantineStep(LogFile, name, "empty: its making was cut short")
		case base%size != 0:
			r.add(Step{
				Kind: LogFile, Path: r.below(name), State: Remains,
				Found: fmt.Sprintf("its first offset is no multiple of the file size %d: the size in the configuration is another than the files'", size),
			})
		default:
			files = append(files, segment{name, base, info.Size})
		}
	}
	slices.SortFunc(files, func(a, b segment) int { return strings.Compare(a.path, b.path) })
	for i, f := range files {
		if i > 0 {
			for base := files[i-1].base + size; base < f.base; base += size {
				r.missingLogFile(base)
			}
		}
		if f.size != size {
			r.sizedLogFile(f)
		}
	}
	r.log.files = files
	return nil
}

// sizedLogFile is a log file of a wrong size. What is too short is made longer, with zeros: no byte is lost by that. A longer one was not
// written by a broker with this configuration.
func (r *run) sizedLogFile(f segment) {
	size := r.s.MappedFileSizeCommitLog
	if f.size > size {
		r.add(Step{
			Kind: LogFile, Path: r.below(f.path), State: Remains,
			Found: fmt.Sprintf("has %d bytes, more than the %d of the configuration (mappedFileSizeCommitLog)", f.size, size),
		})
		return
	}
	r.add(Step{
		Kind: LogFile, Path: r.below(f.path), Found: fmt.Sprintf("has %d bytes of %d: the rest was cut off", f.size, size),
		Do: "give it its size again, with zeros", Lost: r.lostAfter(f), apply: func() error {
			r.fileAt(f.base).size = size
			return r.resize(f.path, size)
		},
	})
}

func (r *run) lostAfter(f segment) string {
	return fmt.Sprintf("what stood at %d and behind it, if anything; see the steps of this file below", f.end())
}

func (r *run) resize(name string, size int64) error {
	f, err := r.fs.Open(name)
	if err != nil {
		return err
	}
	if err = f.Truncate(size); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// missingLogFile is replaced by one that holds nothing, so that what is behind it can be read.
func (r *run) missingLogFile(base int64) {
	size := r.s.MappedFileSizeCommitLog
	name := path.Join(r.s.CommitLogDir, fmt.Sprintf("%020d", base))
	r.add(Step{
		Kind: LogFile, Path: r.below(name), At: at(base), Found: "missing, with files behind it", Do: "make one that is empty, so that the files behind it can be read",
		Lost: fmt.Sprintf("all messages between %d and %d; ", base, base+size), apply: func() error {
			if err := r.note(base, base+size); err != nil {
				return err
			}
			return r.makeLogFile(segment{name, base, size})
		},
	})
}

// makeLogFile makes a log file that holds nothing. What says so is durable before the name has its place.
func (r *run) makeLogFile(s segment) error {
	tmp := path.Join(r.root, "blank.tmp")
	if err := r.fs.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := r.fs.Create(tmp)
	if err != nil {
		return err
	}
	h := hole{from: s.base, to: s.end()}
	if known := r.log.holeOf(s.base); known != nil {
		h.gone, h.need = known.gone, known.need
	}
	if err = f.Truncate(s.size); err == nil {
		err = r.wrap(f, s.base, &h)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := errors.Join(r.fs.Rename(tmp, s.path), r.fs.SyncDir(path.Dir(s.path)), r.fs.SyncDir(r.root)); err != nil {
		return err
	}
	i, _ := slices.BinarySearchFunc(r.log.files, s.base, func(f segment, base int64) int { return cmp.Compare(f.base, base) })
	r.log.files = slices.Insert(r.log.files, i, s)
	return nil
}

// lookConfig finds files of settings that cannot be read, with a backup that can.
func (r *run) lookConfig() error {
	dir := path.Join(r.root, "config")
	infos, err := r.list(dir)
	if err != nil {
		return err
	}
	names := map[string]bool{}
	for _, info := range infos {
		switch name := info.Name; {
		case info.Dir:
		case strings.HasSuffix(name, ".tmp"):
			r.quarantineStep(Leftover, path.Join(dir, name), "a write that was cut short; the file that it should have replaced is whole")
		case strings.HasSuffix(strings.TrimSuffix(name, ".bak"), ".json") || name == "timermetrics" || name == "transactionMetrics":
			names[strings.TrimSuffix(name, ".bak")] = true
		}
	}
	for _, name := range sortedKeys(names) {
		if err := r.lookConfigFile(path.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) lookConfigFile(name string) error {
	text, bad, err := r.readConfig(name)
	if err != nil || bad == "" {
		return err
	}
	backup, badBackup, err := r.readConfig(name + ".bak")
	if err != nil {
		return err
	}
	if badBackup != "" {
		if len(text)+len(backup) == 0 {
			bad += ", and so is its backup"
		} else {
			bad += "; its backup: " + badBackup
		}
		r.add(Step{Kind: Config, Path: r.below(name), State: Remains, Found: bad, Lost: "what the file held; restore it from a backup of the machine or from a slave"})
		return nil
	}
	r.add(Step{
		Kind: Config, Path: r.below(name), Found: bad + "; its backup is whole", Do: "put the backup in its place",
		Lost: "changes of the last moments before it was damaged: the backup is the version before", apply: func() error {
			if err := r.quarantine(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return r.replace(name, backup)
		},
	})
	return nil
}

// readConfig reads a file of settings, and tells in words what is wrong with it.
func (r *run) readConfig(name string) (text []byte, bad string, err error) {
	text, err = vfs.ReadFile(r.fs, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, "missing", nil
	case err != nil:
		return nil, "", err
	case len(text) == 0:
		return nil, "empty", nil
	}
	if r.o.ValidConfig != nil {
		if err := r.o.ValidConfig(path.Base(strings.TrimSuffix(name, ".bak")), text); err != nil {
			return text, err.Error(), nil
		}
	}
	return text, "", nil
}

// timerWheelSize is fixed (spec: store.md 12.2).
const timerWheelSize = 2 * 7 * 24 * 3600 * 32

// lookTimers looks at the wheel, which a Java broker does not start with if it has another size. It is made again from its log.
func (r *run) lookTimers() error {
	name := path.Join(r.root, "timerwheel")
	info, err := r.fs.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Size != timerWheelSize {
		r.add(Step{
			Kind: TimerWheel, Path: r.below(name), Found: fmt.Sprintf("has %d bytes, not %d", info.Size, timerWheelSize),
			Do: "set it aside; the next start makes it again from the timer log", apply: func() error {
				if err := r.rewindTimers(); err != nil {
					return err
				}
				return r.quarantine(name)
			},
		})
	}
	return nil
}

// rewindTimers has the next start read the whole timer log: the checkpoint's second number is where it stops going back.
func (r *run) rewindTimers() error {
	f, err := r.fs.Open(path.Join(r.root, "config", "timercheck"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(make([]byte, 8), 8); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
