package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/edsrzf/mmap-go"
	"golang.org/x/sys/unix"
)

const errNoSpace = unix.ENOSPC

// kernelPage is what addresses given to the kernel must be aligned to.
var kernelPage = int64(os.Getpagesize())

type osFS struct{}

// OS is the real file system.
func OS() FS { return osFS{} }

func (osFS) Open(name string) (File, error) {
	f, err := openPlain(name, unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) Create(name string) (File, error) {
	f, err := openPlain(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// openPlain is os.OpenFile for files and directories: os.OpenFile makes five more system calls to find out that they cannot be
// polled, which a start or a stop with forty thousand queues makes that many times over.
func openPlain(name string, flags int) (*os.File, error) {
	fd, err := openDescriptor(name, flags)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

func openDescriptor(name string, flags int) (fd int, err error) {
	err = retryIntr(func() (err error) {
		fd, err = unix.Open(name, flags|unix.O_CLOEXEC, 0o644)
		return err
	})
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return fd, nil
}

// writePiece makes three system calls, and nothing that has to be collected.
func (osFS) writePiece(name string, p []byte, off int64) error {
	fd, err := openDescriptor(name, unix.O_WRONLY)
	if err != nil {
		return err
	}
	if err := errors.Join(writeDescriptor(fd, p, off), unix.Close(fd)); err != nil {
		return &fs.PathError{Op: "write", Path: name, Err: err}
	}
	return nil
}

// createPiece makes four.
func (osFS) createPiece(name string, size int64, p []byte, off int64) error {
	fd, err := openDescriptor(name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return err
	}
	err = retryIntr(func() error { return unix.Ftruncate(fd, size) })
	if err == nil {
		err = writeDescriptor(fd, p, off)
	}
	if err := errors.Join(err, unix.Close(fd)); err != nil {
		return errors.Join(&fs.PathError{Op: "create", Path: name, Err: err}, os.Remove(name))
	}
	return nil
}

func writeDescriptor(fd int, p []byte, off int64) error {
	for len(p) > 0 {
		var n int
		err := retryIntr(func() (err error) {
			n, err = unix.Pwrite(fd, p, off)
			return err
		})
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrShortWrite
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// readPiece makes three system calls as a rule.
func (osFS) readPiece(name string, p []byte, off int64) (n int, err error) {
	fd, err := openDescriptor(name, unix.O_RDONLY)
	if err != nil {
		return 0, err
	}
	for n < len(p) {
		var got int
		err = retryIntr(func() (err error) {
			got, err = unix.Pread(fd, p[n:], off+int64(n))
			return err
		})
		if err != nil || got == 0 {
			break
		}
		n += got
	}
	if err := errors.Join(err, unix.Close(fd)); err != nil {
		return n, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return n, nil
}

func (osFS) Remove(name string) error             { return os.Remove(name) }
func (osFS) Rename(oldname, newname string) error { return os.Rename(oldname, newname) }

func (osFS) SetModTime(name string, t time.Time) error { return os.Chtimes(name, t, t) }

// MkdirAll makes one system call for a directory whose parent exists: os.MkdirAll looks first, at every parent too.
func (o osFS) MkdirAll(dir string) error {
	for range 2 {
		err := retryIntr(func() error { return unix.Mkdir(dir, 0o755) })
		if err == nil {
			return nil
		}
		parent := filepath.Dir(dir)
		if !errors.Is(err, fs.ErrNotExist) || parent == dir {
			break
		}
		if err := o.MkdirAll(parent); err != nil {
			return err
		}
	}
	return os.MkdirAll(dir, 0o755) // it exists, or this has the right error
}

func (osFS) ReadDir(dir string) ([]Info, error) {
	infos, err := readDir(dir)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(infos, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return infos, nil
}

func (osFS) Stat(name string) (Info, error) {
	st, err := os.Stat(name)
	if err != nil {
		return Info{}, err
	}
	return Info{Name: filepath.Base(name), Size: st.Size(), ModTime: st.ModTime(), Dir: st.IsDir()}, nil
}

func (osFS) SyncAll(dir string) error {
	d, err := openPlain(dir, unix.O_RDONLY)
	if err != nil {
		return err
	}
	err = syncFS(int(d.Fd()))
	return errors.Join(err, d.Close())
}

func (osFS) SyncDir(dir string) error {
	d, err := openPlain(dir, unix.O_RDONLY)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

// Lock locks byte 0, length 1, as FileChannel.tryLock(0, 1, false) does in Java (spec: store.md 1). An open-file-description
// lock conflicts with Java's process-owned one but also with a second store of this process, and other code that opens and
// closes the file does not drop it.
func (osFS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: 0, Len: 1}
	if err := unix.FcntlFlock(f.Fd(), setLock, &lock); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return nil, fmt.Errorf("lock %s: %w", name, ErrLocked)
		}
		return nil, &fs.PathError{Op: "lock", Path: name, Err: err}
	}
	return f, nil
}

func (osFS) DiskUsage(path string) (Usage, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return Usage{}, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	// Java: used = total - free, and its ratio is used over used plus what a user may still take.
	size := uint64(st.Bsize)
	used := (st.Blocks - st.Bfree) * size
	return Usage{Used: used, Total: used + st.Bavail*size}, nil
}

type osFile struct{ f *os.File }

func (f osFile) ReadAt(p []byte, off int64) (int, error)  { return f.f.ReadAt(p, off) }
func (f osFile) WriteAt(p []byte, off int64) (int, error) { return f.f.WriteAt(p, off) }
func (f osFile) Close() error                             { return f.f.Close() }
func (f osFile) Truncate(size int64) error                { return f.f.Truncate(size) }

func (f osFile) Size() (int64, error) {
	st, err := f.f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

func (f osFile) Sync() error {
	if err := retryIntr(func() error { return dataSync(int(f.f.Fd())) }); err != nil {
		return &fs.PathError{Op: "sync", Path: f.f.Name(), Err: err}
	}
	return nil
}

func (f osFile) Allocate(off, n int64) error {
	err := retryIntr(func() error { return allocate(int(f.f.Fd()), off, n) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		err = f.touch(off, n)
	}
	if err != nil {
		return &fs.PathError{Op: "allocate", Path: f.f.Name(), Err: err}
	}
	return nil
}

// touch stands in for fallocate: one byte of each block is written back as it was read. The caller allocates only ahead of
// what is being written, so nothing can be lost between the read and the write.
func (f osFile) touch(off, n int64) error {
	size, err := f.Size()
	if err != nil {
		return err
	}
	var b [1]byte
	for at := off &^ (PageSize - 1); at < min(off+n, size); at += PageSize {
		if _, err := f.f.ReadAt(b[:], at); err != nil {
			return err
		}
		if _, err := f.f.WriteAt(b[:], at); err != nil {
			return err
		}
	}
	return nil
}

func (f osFile) Zero(off, n int64) error {
	err := retryIntr(func() error { return zeroRange(int(f.f.Fd()), off, n) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		err = f.writeZeros(off, n)
	}
	if err != nil {
		return &fs.PathError{Op: "zero", Path: f.f.Name(), Err: err}
	}
	return nil
}

func (f osFile) writeZeros(off, n int64) error {
	zeros := make([]byte, min(n, 1<<20))
	for end := off + n; off < end; {
		k, err := f.f.WriteAt(zeros[:min(end-off, int64(len(zeros)))], off)
		if err != nil {
			return err
		}
		off += int64(k)
	}
	return nil
}

func (f osFile) Map(n int64) (Mapping, error)     { return f.mapped(n, mmap.RDWR) }
func (f osFile) MapRead(n int64) (Mapping, error) { return f.mapped(n, mmap.RDONLY) }

func (f osFile) mapped(n int64, access int) (Mapping, error) {
	m, err := mmap.MapRegion(f.f, int(n), access, 0, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "map", Path: f.f.Name(), Err: err}
	}
	return &osMapping{m: m, name: f.f.Name()}, nil
}

type osMapping struct {
	m    mmap.MMap
	name string
}

func (m *osMapping) Bytes() []byte { return m.m }

func (m *osMapping) Sync(off, n int64) error {
	r := m.pages(off, n)
	if len(r) == 0 {
		return nil
	}
	if err := retryIntr(func() error { return unix.Msync(r, unix.MS_SYNC) }); err != nil {
		return &fs.PathError{Op: "msync", Path: m.name, Err: err}
	}
	return nil
}

func (m *osMapping) Evict(off, n int64) error {
	r := m.pages(off, n)
	if len(r) == 0 {
		return nil
	}
	return unix.Madvise(r, unix.MADV_DONTNEED)
}

func (m *osMapping) Load(off, n int64) {
	if r := m.pages(off, n); len(r) > 0 {
		_ = retryIntr(func() error { return load(r) })
	}
}

func (m *osMapping) Resident(off, n int64) bool { return resident(m.pages(off, n)) }

func (m *osMapping) Unmap() error { return m.m.Unmap() }

// pages is the part of the mapping that the range touches, in whole pages.
func (m *osMapping) pages(off, n int64) []byte {
	from := max(off, 0) &^ (kernelPage - 1)
	to := min((off+n+kernelPage-1)&^(kernelPage-1), int64(len(m.m)))
	if from >= to {
		return nil
	}
	return m.m[from:to]
}

func retryIntr(f func() error) error {
	for {
		if err := f(); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
