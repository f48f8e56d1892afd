package verify

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// logDir is what the log's folder is called in findings, wherever it is.
const logDir = "commitlog"

// nameLen is the length of the names of files that are named by an offset.
const nameLen = 20

// segment is one file of a log or queue.
type segment struct {
	name       string
	base, size int64
}

func (s segment) end() int64 { return s.base + s.size }

// segments lists a folder of files that are named by offsets, and reports what is wrong with names, sizes and order. One that is not there is
// empty.
func (r *run) segments(fsys fs.FS, dir, shown string, kind Kind) ([]segment, error) {
	list, err := fs.ReadDir(fsys, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []segment
	for _, e := range list {
		if e.IsDir() {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		base, err := strconv.ParseInt(e.Name(), 10, 64)
		if err != nil || base < 0 || len(e.Name()) != nameLen {
			r.report(Finding{
				Kind: kind, Level: Damage, File: below(shown, e.Name()), At: -1,
				Text: "the name is no offset of 20 digits; a Java broker does not start with such a file",
			})
			continue
		}
		out = append(out, segment{e.Name(), base, info.Size()})
	}
	slices.SortFunc(out, func(a, b segment) int { return cmp.Compare(a.base, b.base) })
	return r.settleSegments(out, shown, kind), nil
}

// sparse tells whether files of a kind in a folder are named by the offsets of others, so that their own sizes say nothing of their names.
func sparse(shown string) bool { return strings.HasPrefix(shown, compactionCqDir+"/") }

// settleSegments leaves out empty files and reports those that do not fit the others.
func (r *run) settleSegments(list []segment, shown string, kind Kind) []segment {
	if n := len(list); n > 0 && list[n-1].size == 0 {
		r.report(Finding{Kind: kind, Level: Recoverable, File: below(shown, list[n-1].name), At: -1, Text: "empty: a crash cut its making short; a start deletes it"})
		list = list[:n-1]
	}
	if len(list) == 0 {
		return nil
	}
	size := usualSize(list)
	out := list[:0]
	for i, f := range list {
		if f.size != size {
			r.report(Finding{
				Kind: kind, Level: Damage, File: below(shown, f.name), At: -1, Size: f.size,
				Text: fmt.Sprintf("has %d bytes, the others have %d; a broker does not start with it", f.size, size),
			})
		}
		if i > 0 && list[i-1].base+size != f.base && !sparse(shown) {
			r.report(Finding{
				Kind: kind, Level: Damage, File: below(shown, f.name), At: -1,
				Text: fmt.Sprintf("does not go on where the file before it ends, at %d", list[i-1].base+size),
			})
		}
		if f.size > 0 {
			out = append(out, f)
		}
	}
	return out
}

// usualSize is the size that most of the files have; of several the greatest.
func usualSize(list []segment) int64 {
	count := map[int64]int{}
	best := list[0].size
	for _, f := range list {
		count[f.size]++
		if n, m := count[f.size], count[best]; n > m || n == m && f.size > best {
			best = f.size
		}
	}
	return best
}

// find is the segment that holds a position, nil if none does.
func find(list []segment, at int64) *segment {
	i, ok := slices.BinarySearchFunc(list, at, func(f segment, at int64) int {
		switch {
		case f.end() <= at:
			return -1
		case f.base > at:
			return 1
		default:
			return 0
		}
	})
	if !ok {
		return nil
	}
	return &list[i]
}

// readAt fills p from a position of a file, and tells how much there was.
func readAt(fsys fs.FS, name string, p []byte, at int64) (n int, err error) {
	f, err := fsys.Open(name)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return readFrom(f, name, p, at)
}

// readFrom is readAt for an open file. The end of the file is no error.
func readFrom(f fs.File, name string, p []byte, at int64) (int, error) {
	ra, ok := f.(io.ReaderAt)
	if !ok {
		return 0, fmt.Errorf("%s cannot be read at an offset", name)
	}
	n, err := ra.ReadAt(p, at)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// readLimited reads a small file; one that is larger than most is an error.
func readLimited(fsys fs.FS, name string, most int64) ([]byte, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, err
	}
	if info.Size() > most {
		return nil, fmt.Errorf("%d bytes, and at most %d are looked at", info.Size(), most)
	}
	return fs.ReadFile(fsys, name)
}

// onlyZeros tells whether there is nothing in b.
func onlyZeros(b []byte) bool {
	for len(b) >= 8 {
		if b[0]|b[1]|b[2]|b[3]|b[4]|b[5]|b[6]|b[7] != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// dirNames are the names of the folders in a folder; one that is not there has none.
func dirNames(fsys fs.FS, dir string) ([]string, error) {
	list, err := fs.ReadDir(fsys, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range list {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// queueDirs calls f for each folder topic/number below dir.
func queueDirs(fsys fs.FS, dir string, f func(topic string, id int32, at string) error) error {
	topics, err := dirNames(fsys, dir)
	if err != nil {
		return err
	}
	for _, topic := range topics {
		ids, err := dirNames(fsys, path.Join(dir, topic))
		if err != nil {
			return err
		}
		for _, name := range ids {
			id, err := strconv.ParseInt(name, 10, 32)
			if err != nil || id < 0 {
				continue
			}
			if err := f(topic, int32(id), path.Join(dir, topic, name)); err != nil {
				return err
			}
		}
	}
	return nil
}
