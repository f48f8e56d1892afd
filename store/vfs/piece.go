package vfs

import (
	"errors"
)

// pieceWriter is a file system that has a shorter way to write a piece of a file than opening it.
type pieceWriter interface {
	writePiece(name string, p []byte, off int64) error
	createPiece(name string, size int64, p []byte, off int64) error
}

// WriteAt writes p into an existing file that nobody keeps open: for thousands of files that get a little now and then.
func WriteAt(fsys FS, name string, p []byte, off int64) error {
	if w, ok := fsys.(pieceWriter); ok {
		return w.writePiece(name, p, off)
	}
	f, err := fsys.Open(name)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(p, off)
	return errors.Join(err, f.Close())
}

// CreateAt makes a file of that size, a hole but for p at off. If that cannot be had there is no file.
func CreateAt(fsys FS, name string, size int64, p []byte, off int64) error {
	if w, ok := fsys.(pieceWriter); ok {
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
