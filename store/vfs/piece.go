package vfs

import (
	"errors"
	"io"
)

// piecework is what a file system has that knows a shorter way to a piece of a file than opening it.
type piecework interface {
	readPiece(name string, p []byte, off int64) (int, error)
	writePiece(name string, p []byte, off int64) error
	createPiece(name string, size int64, p []byte, off int64) error
}

// WriteAt writes p into an existing file that nobody keeps open: for thousands of files that get a little now and then.
func WriteAt(fsys FS, name string, p []byte, off int64) error {
	if w, ok := fsys.(piecework); ok {
		return w.writePiece(name, p, off)
	}
	f, err := fsys.Open(name)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(p, off)
	return errors.Join(err, f.Close())
}

// ReadAt fills p from a file that nobody keeps open. It returns less only where the file ends, which is no error here.
func ReadAt(fsys FS, name string, p []byte, off int64) (int, error) {
	if w, ok := fsys.(piecework); ok {
		return w.readPiece(name, p, off)
	}
	f, err := fsys.Open(name)
	if err != nil {
		return 0, err
	}
	n, err := f.ReadAt(p, off)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, errors.Join(err, f.Close())
}

// CreateAt makes a file of that size, a hole but for p at off. If that cannot be had there is no file.
func CreateAt(fsys FS, name string, size int64, p []byte, off int64) error {
	if w, ok := fsys.(piecework); ok {
		return w.createPiece(name, size, p, off)
	}
	f, err := fsys.Create(name)
	if err != nil {
		return err
	}
	if err = f.Truncate(size); err == nil {
		_, err = f.WriteAt(p, off)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, fsys.Remove(name))
	}
	return nil
}
