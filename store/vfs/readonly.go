package vfs

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"time"
)

// ReadOnly is a directory of a file system as those see it who only read.
func ReadOnly(fsys FS, dir string) fs.FS { return readOnly{fsys, dir} }

type readOnly struct {
	fs  FS
	dir string
}

func (r readOnly) path(op, name string) (string, error) {
	if !fs.ValidPath(name) {
		return "", &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	return path.Join(r.dir, name), nil
}

func (r readOnly) Stat(name string) (fs.FileInfo, error) {
	full, err := r.path("stat", name)
	if err != nil {
		return nil, err
	}
	info, err := r.fs.Stat(full)
	if err != nil {
		return nil, err
	}
	return fileInfo{info}, nil
}

func (r readOnly) Open(name string) (fs.File, error) {
	full, err := r.path("open", name)
	if err != nil {
		return nil, err
	}
	info, err := r.fs.Stat(full)
	if err != nil {
		return nil, err
	}
	if info.Dir {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("is a directory")} // ReadDir lists it
	}
	f, err := r.fs.Open(full)
	if err != nil {
		return nil, err
	}
	return &readFile{ReaderAt: f, Closer: f, info: info}, nil
}

func (r readOnly) ReadDir(name string) ([]fs.DirEntry, error) {
	full, err := r.path("readdir", name)
	if err != nil {
		return nil, err
	}
	infos, err := r.fs.ReadDir(full)
	if err != nil {
		return nil, err
	}
	out := make([]fs.DirEntry, len(infos))
	for i, info := range infos {
		out[i] = fs.FileInfoToDirEntry(fileInfo{info})
	}
	return out, nil
}

// readFile is an open file; what reads it in order starts at its beginning.
type readFile struct {
	io.ReaderAt
	io.Closer
	info Info
	at   int64
}

func (f *readFile) Stat() (fs.FileInfo, error) { return fileInfo{f.info}, nil }

func (f *readFile) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.at)
	f.at += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

type fileInfo struct{ Info }

func (i fileInfo) Name() string       { return i.Info.Name }
func (i fileInfo) Size() int64        { return i.Info.Size }
func (i fileInfo) ModTime() time.Time { return i.Info.ModTime }
func (i fileInfo) IsDir() bool        { return i.Dir }
func (i fileInfo) Sys() any           { return nil }

func (i fileInfo) Mode() fs.FileMode {
	if i.Dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}
