package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// Log files are renamed when they reach logSize; logKeep of them are kept besides the present one: broker.log.1 is the newest.
const (
	logSize = 64 << 20
	logKeep = 9
)

// rotatingFile is a log file that never grows beyond a size.
type rotatingFile struct {
	path string
	size int64
	keep int

	mu   sync.Mutex // guards what follows
	f    *os.File
	held int64
}

func openRotating(path string, size int64, keep int) (*rotatingFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	r := &rotatingFile{path: path, size: size, keep: keep}
	return r, r.openLocked()
}

func (r *rotatingFile) openLocked() error {
	f, err := os.OpenFile(r.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return err
	}
	r.f, r.held = f, info.Size()
	return nil
}

// Write writes one line. A line is never split over two files. When rotation fails, the present file goes on being used: losing
// the log for that would be worse than a long file.
func (r *rotatingFile) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.f == nil {
		return 0, fs.ErrClosed
	}
	if r.held > 0 && r.held+int64(len(line)) > r.size {
		if err := r.rotateLocked(); err != nil && r.f == nil {
			return 0, err
		}
	}
	n, err := r.f.Write(line)
	r.held += int64(n)
	return n, err
}

func (r *rotatingFile) rotateLocked() error {
	name := func(i int) string { return fmt.Sprintf("%s.%d", r.path, i) }
	for i := r.keep - 1; i >= 1; i-- {
		_ = os.Rename(name(i), name(i+1)) // one that is not there yet is no fault
	}
	if err := os.Rename(r.path, name(1)); err != nil {
		r.held = 0 // try again after as much again
		return err
	}
	_ = r.f.Close()
	r.f = nil
	return r.openLocked()
}

// Close closes the file; later writes fail.
func (r *rotatingFile) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.f == nil {
		return nil
	}
	err := r.f.Close()
	r.f = nil
	return err
}
