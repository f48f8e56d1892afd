package inspect

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
)

// nameLen is the length of the names of files in a queue: the start offset in decimal, padded with zeros.
const nameLen = 20

// segments are the files of one log or queue, by start offset, read as one range of bytes. Gaps are possible (damage) and reading
// from one fails.
type segments struct {
	fsys  fs.FS
	dir   string
	files []segment

	open   fs.File // the file read last stays open: reads come in order
	openAt int
}

type segment struct {
	name       string
	start, len int64
}

func (s segment) end() int64 { return s.start + s.len }

// readSegments lists dir. One that is not there is an empty queue; files whose name is no offset are not part of it.
func readSegments(fsys fs.FS, dir string) (*segments, error) {
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	s := &segments{fsys: fsys, dir: dir, openAt: -1}
	for _, e := range entries {
		start, err := strconv.ParseInt(e.Name(), 10, 64)
		if err != nil || start < 0 || len(e.Name()) != nameLen || e.IsDir() {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		s.files = append(s.files, segment{e.Name(), start, info.Size()})
	}
	slices.SortFunc(s.files, func(a, b segment) int { return cmp.Compare(a.start, b.start) })
	return s, nil
}

func (s *segments) min() int64 {
	if len(s.files) == 0 {
		return 0
	}
	return s.files[0].start
}

func (s *segments) max() int64 {
	if len(s.files) == 0 {
		return 0
	}
	return s.files[len(s.files)-1].end()
}

// at is the number of the file that holds off, -1 if none does.
func (s *segments) at(off int64) int {
	i, found := slices.BinarySearchFunc(s.files, off, func(f segment, off int64) int {
		switch {
		case f.end() <= off:
			return -1
		case f.start > off:
			return 1
		default:
			return 0
		}
	})
	if !found {
		return -1
	}
	return i
}

// read fills p from off on. It does not cross into the next file, since nothing that is stored does: what is missing is io.EOF.
func (s *segments) read(p []byte, off int64) error {
	i := s.at(off)
	if i < 0 {
		return fmt.Errorf("%s: no file holds offset %d", s.dir, off)
	}
	if i != s.openAt {
		s.close()
		f, err := s.fsys.Open(path.Join(s.dir, s.files[i].name))
		if err != nil {
			return err
		}
		s.open, s.openAt = f, i
	}
	r, ok := s.open.(io.ReaderAt)
	if !ok {
		return fmt.Errorf("%s/%s cannot be read at an offset", s.dir, s.files[i].name)
	}
	n, err := r.ReadAt(p, off-s.files[i].start)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%s/%s at %d: %w", s.dir, s.files[i].name, off-s.files[i].start, err)
}

func (s *segments) close() {
	if s.open != nil {
		_ = s.open.Close()
		s.open, s.openAt = nil, -1
	}
}
