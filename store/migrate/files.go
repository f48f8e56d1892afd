package migrate

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"apogee/store/vfs"
)

// segment is a file that is named by an offset.
type segment struct {
	name, path string
	base, size int64
	modified   time.Time
}

func (s segment) end() int64 { return s.base + s.size }

// segments lists a folder of them. They must have one size and go on from each other; what is not so is for repair.
func segments(fsys vfs.FS, dir string) ([]segment, error) {
	infos, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []segment
	for i, info := range infos {
		if info.Dir || info.Size == 0 && i == len(infos)-1 {
			continue
		}
		base, err := strconv.ParseInt(info.Name, 10, 64)
		if err != nil || base < 0 {
			return nil, fmt.Errorf("%s: its name is no offset; see apogee store repair", path.Join(dir, info.Name))
		}
		out = append(out, segment{info.Name, path.Join(dir, info.Name), base, info.Size, info.ModTime})
	}
	slices.SortFunc(out, func(a, b segment) int { return strings.Compare(a.name, b.name) })
	for i, s := range out {
		if s.size != out[0].size || s.base%s.size != 0 || i > 0 && s.base != out[i-1].end() {
			return nil, fmt.Errorf("%s: it has another size than the first file, or does not go on where the one before ends; see apogee store repair", s.path)
		}
	}
	return out, nil
}

func (r *run) listLog() error {
	log, err := segments(r.FS, r.SrcLog)
	if err != nil {
		return err
	}
	r.log = log
	if len(log) > 0 {
		r.logSize = log[0].size
	}
	if r.LogFile == 0 {
		r.LogFile = r.logSize
	}
	for _, s := range log {
		r.total += 3 * s.size // copied, and both read again
	}
	return nil
}

// Trees of queues, and the sizes of their entries.
const (
	simpleTree = "consumequeue"
	batchTree  = "batchconsumequeue"
	extTree    = "consumequeue_ext"
)

var unitOf = map[string]int64{simpleTree: 20, batchTree: 46, extTree: 1}

// queueDir is the folder of a queue, below the root.
type queueDir struct{ tree, topic, id string }

func (q queueDir) path(root string) string { return path.Join(root, q.tree, q.topic, q.id) }

// listQueues finds all queues, in an order that is the same each time.
func (r *run) listQueues() error {
	for _, tree := range []string{simpleTree, batchTree, extTree} {
		topics, err := dirs(r.FS, path.Join(r.Src, tree))
		if err != nil {
			return err
		}
		for _, topic := range topics {
			ids, err := dirs(r.FS, path.Join(r.Src, tree, topic))
			if err != nil {
				return err
			}
			for _, id := range ids {
				q := queueDir{tree, topic, id}
				r.queues = append(r.queues, q)
				if r.qsize[tree] == 0 {
					list, err := segments(r.FS, q.path(r.Src))
					if err != nil {
						return err
					}
					if len(list) > 0 {
						r.qsize[tree] = list[0].size
					}
				}
			}
		}
	}
	if r.QueueFile == 0 {
		r.QueueFile = r.qsize[simpleTree]
	}
	if r.BatchQueueFile == 0 {
		r.BatchQueueFile = r.qsize[batchTree]
	}
	if r.QueueFile%20 != 0 || r.BatchQueueFile%46 != 0 {
		return fmt.Errorf("sizes of queue files must be multiples of 20 and 46: %d, %d", r.QueueFile, r.BatchQueueFile)
	}
	return nil
}

// dirs are the folders in a folder.
func dirs(fsys vfs.FS, dir string) ([]string, error) {
	infos, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []string
	for _, info := range infos {
		if info.Dir {
			out = append(out, info.Name)
		}
	}
	return out, err
}

// makeDir makes a folder whose existence survives a power cut.
func makeDir(fsys vfs.FS, dir string) error {
	if err := fsys.MkdirAll(dir); err != nil {
		return err
	}
	for d := dir; d != path.Dir(d); d = path.Dir(d) {
		if err := fsys.SyncDir(path.Dir(d)); err != nil {
			return err
		}
	}
	return nil
}

// create makes a file of a size, of zeros; one that a killed run has left is emptied.
func create(fsys vfs.FS, name string, size int64) (vfs.File, error) {
	if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := fsys.Create(name)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(size); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// writeFile replaces a small file.
func writeFile(fsys vfs.FS, name string, text []byte) error {
	f, err := create(fsys, name+".tmp", 0)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(text, 0); err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return errors.Join(fsys.Rename(name+".tmp", name), fsys.SyncDir(path.Dir(name)))
}

// pieceSize is how much is read at once: about a MiB, in whole units of a timer log.
const pieceSize = 20480 * timerUnit

// copyFile copies a file, changing each piece on the way if change is not nil. What is sparse stays so. The time of its last change is kept.
func (r *run) copyFile(what, from, to string, info vfs.Info, change func(at int64, b []byte)) (err error) {
	src, err := r.FS.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	dst, err := create(r.FS, to, info.Size)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, dst.Close())
		if err == nil {
			err = vfs.SetModTime(r.FS, to, info.ModTime)
		}
	}()
	buf := make([]byte, pieceSize)
	for at := int64(0); at < info.Size; {
		n, err := src.ReadAt(buf[:min(pieceSize, info.Size-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%s has become shorter", from)
		}
		b := buf[:n]
		if change != nil {
			change(at, b)
		}
		if slices.ContainsFunc(b, func(c byte) bool { return c != 0 }) {
			if _, err := dst.WriteAt(b, at); err != nil {
				return err
			}
		}
		at += int64(n)
		if err := r.pace(what, int64(n)); err != nil {
			return err
		}
	}
	return dst.Sync()
}
