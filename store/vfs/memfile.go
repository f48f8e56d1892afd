package vfs

import (
	"io"
	"io/fs"

	"golang.org/x/sys/unix"
)

type memFile struct {
	fs   *Mem
	node *inode
	name string
}

func (f *memFile) fail(op string, err error) error {
	return &fs.PathError{Op: op, Path: f.name, Err: err}
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if off >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copyRacy(p, f.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.take(f.node, f.name, off, int64(len(p))); err != nil {
		return 0, err
	}
	if end := off + int64(len(p)); end > int64(len(f.node.data)) {
		if err := f.resize(end); err != nil {
			return 0, err
		}
	}
	f.node.modTime = f.fs.now()
	return copy(f.node.data[off:], p), nil
}

// resize sets the size. A mapped file's bytes cannot move.
func (f *memFile) resize(size int64) error {
	n := f.node
	if size <= int64(cap(n.data)) {
		old := len(n.data)
		n.data = n.data[:size]
		if int(size) > old {
			clear(n.data[old:])
		}
		return nil
	}
	if n.mapped > 0 {
		return f.fail("truncate", unix.EBUSY)
	}
	grown := make([]byte, size)
	copy(grown, n.data)
	n.data = grown
	return nil
}

func (f *memFile) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.fs.give(f.node, func(p int64) bool { return p*PageSize >= size })
	f.node.modTime = f.fs.now()
	return f.resize(size)
}

func (f *memFile) Allocate(off, n int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return f.fs.take(f.node, f.name, off, n)
}

func (f *memFile) Zero(off, n int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.fs.give(f.node, func(p int64) bool { return p*PageSize >= off && (p+1)*PageSize <= off+n })
	clear(f.node.data[off:min(off+n, int64(len(f.node.data)))])
	f.node.modTime = f.fs.now()
	return nil
}

func (f *memFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.node.sync(0, int64(len(f.node.data)))
	return nil
}

// sync makes a range durable, and the size with it.
func (n *inode) sync(off, size int64) {
	if len(n.durable) > len(n.data) {
		n.durable = n.durable[:len(n.data)]
	}
	if grow := len(n.data) - len(n.durable); grow > 0 {
		n.durable = append(n.durable, make([]byte, grow)...)
	}
	from := max(off, 0) &^ (PageSize - 1)
	to := min((off+size+PageSize-1)&^(PageSize-1), int64(len(n.data)))
	if from < to {
		copyRacy(n.durable[from:to], n.data[from:to])
	}
}

func (f *memFile) Map(n int64) (Mapping, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if n <= 0 || n > int64(len(f.node.data)) {
		return nil, f.fail("map", unix.EINVAL) // a real mapping past the end would fault
	}
	f.node.mapped++
	return &memMapping{file: f, data: f.node.data[:n:n]}, nil
}

func (f *memFile) MapRead(n int64) (Mapping, error) { return f.Map(n) }

func (f *memFile) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return int64(len(f.node.data)), nil
}

func (f *memFile) Close() error { return nil }

type memMapping struct {
	file *memFile
	data []byte
}

func (m *memMapping) Bytes() []byte { return m.data }

func (m *memMapping) Sync(off, n int64) error {
	f := m.file
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.node.sync(off, n)
	f.node.modTime = f.fs.now()
	return nil
}

func (m *memMapping) Evict(int64, int64) error         { return nil }
func (m *memMapping) Load(int64, int64)                {}
func (m *memMapping) Resident(off int64, n int64) bool { return true }

func (m *memMapping) Unmap() error {
	m.file.fs.mu.Lock()
	defer m.file.fs.mu.Unlock()
	m.file.node.mapped--
	m.data = nil
	return nil
}

// copyRacy copies bytes that a mapping may be writing meanwhile, as a kernel's write-back does. The race is the thing that
// is modelled, so the race detector is told to look away.
//
//go:norace
func copyRacy(dst, src []byte) int {
	n := min(len(dst), len(src))
	for i := 0; i < n; i++ {
		dst[i] = src[i]
	}
	return n
}
