package store

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"unsafe"

	"apogee/store/vfs"
)

// mappedFile is one file of fixed size that is read and written through a mapping; its name is the offset of its first byte.
//
// The mapping is made at the first hold and dropped by unmapIdle, so thousands of cold files cost neither address space nor
// descriptors (the file is never kept open). Bytes may be touched only between hold and release, and only through guard,
// writeAt or readAt, which turn a fault (a file cut short behind our back, a failing disk) into an error.
//
// One goroutine at a time writes, through the mapping or, where that is read-only, to the file. It publishes what it wrote with wrote; readers look no further than that.
type mappedFile struct {
	fs   vfs.FS
	path string
	base int64 // offset of the first byte in the queue of files
	size int64

	readOnly bool // mapped for reading; set before the first hold

	wrote   atomic.Int64 // position in the file up to which there is data
	flushed atomic.Int64 // position up to which it is durable

	refs   atomic.Int64 // holders, plus goneBit once the file is removed
	failed atomic.Pointer[error]

	lost atomic.Int64 // bytes at the end that somebody has cut off

	reserved atomic.Int64 // position up to which blocks are allocated

	mu      sync.Mutex // guards mapping and its making; never held by a holder
	mapping vfs.Mapping
	data    []byte // the mapping's bytes; stable while refs > 0
	idle    bool   // not held since the last unmapIdle
}

// goneBit in refs marks a removed file: it cannot be held again, and is unmapped when its last holder releases it.
const goneBit = 1 << 62

var (
	errFileGone  = errors.New("file has been removed")
	errFileFault = errors.New("fault in mapped file")
	errCutShort  = fmt.Errorf("%w: it has been cut short", errFileFault)
)

// openMapped stands for an existing file of full size; everything in it counts as written and flushed until recovery
// knows better.
func openMapped(fs vfs.FS, path string, base, size int64) *mappedFile {
	f := &mappedFile{fs: fs, path: path, base: base, size: size}
	f.wrote.Store(size)
	f.flushed.Store(size)
	return f
}

// createMapped makes the file at full size without blocks behind it: reserve gets those.
func createMapped(fs vfs.FS, path string, base, size int64) (*mappedFile, error) {
	var file vfs.File
	err := anew(fs, path, func() (err error) {
		file, err = fs.Create(path)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = file.Truncate(size)
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, errors.Join(err, fs.Remove(path))
	}
	return &mappedFile{fs: fs, path: path, base: base, size: size}, nil
}

// anew makes a file that is not known of. If there is one all the same, an attempt of ours has left it that failed, and could not take it
// away again.
func anew(fsys vfs.FS, name string, create func() error) error {
	err := create()
	if !errors.Is(err, iofs.ErrExist) {
		return err
	}
	if err := fsys.Remove(name); err != nil {
		return err
	}
	return create()
}

func (f *mappedFile) end() int64 { return f.base + f.size }

// hold keeps the mapping in place until release. It fails for a removed file and where no mapping can be made.
func (f *mappedFile) hold() error {
	for {
		r := f.refs.Load()
		if r&goneBit != 0 {
			return fmt.Errorf("%s: %w", f.path, errFileGone)
		}
		if r == 0 {
			return f.holdFirst()
		}
		if f.refs.CompareAndSwap(r, r+1) {
			return nil
		}
	}
}

func (f *mappedFile) holdFirst() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refs.Load()&goneBit != 0 {
		return fmt.Errorf("%s: %w", f.path, errFileGone)
	}
	if f.mapping == nil {
		if err := f.mapLocked(); err != nil {
			return err
		}
	}
	f.idle = false
	f.refs.Add(1)
	return nil
}

func (f *mappedFile) mapLocked() error {
	file, err := f.fs.Open(f.path)
	if err != nil {
		return err
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		return err
	}
	switch {
	case size == f.size:
	case size < f.size && size > 0 && f.readOnly: // what is left can be read
		f.lost.Store(f.size - size)
	default: // a shorter file would fault at its end
		return fmt.Errorf("map %s: size is %d, expected %d", f.path, size, f.size)
	}
	mapping := file.Map
	if f.readOnly {
		mapping = file.MapRead
	}
	m, err := mapping(f.size)
	if err != nil {
		return err
	}
	f.mapping, f.data = m, m.Bytes()
	return nil
}

// tryHold is hold without the making of a mapping; for callers on an event loop.
func (f *mappedFile) tryHold() bool {
	for {
		r := f.refs.Load()
		if r == 0 || r&goneBit != 0 {
			return false
		}
		if f.refs.CompareAndSwap(r, r+1) {
			return true
		}
	}
}

func (f *mappedFile) release() {
	if f.refs.Add(-1) == goneBit {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.unmapLocked()
	}
}

func (f *mappedFile) held() bool { return f.refs.Load()&^goneBit > 0 }

func (f *mappedFile) unmapLocked() {
	if f.mapping != nil {
		_ = f.mapping.Unmap() // fails only for a range that is not ours, and then there is nothing to be done
		f.mapping, f.data = nil, nil
	}
}

// resting tells whether nobody has held the file since the last unmapIdle.
func (f *mappedFile) resting() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.idle && !f.held()
}

// unmapIdle drops the mapping of a file that nobody has held since the last call.
func (f *mappedFile) unmapIdle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refs.Load() != 0 {
		return
	}
	if f.idle {
		f.unmapLocked()
	}
	f.idle = true
}

// remove deletes the file now; holders keep its bytes until they release it. (Java keeps the name until the last reader is
// gone, or forces it after destroyMapedFileIntervalForcibly; here there is nothing to force.)
func (f *mappedFile) remove() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refs.Or(goneBit)&^goneBit == 0 {
		f.unmapLocked()
	}
	return f.fs.Remove(f.path)
}

// renamed notes the new name of the file, which its holder has given it.
func (f *mappedFile) renamed(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.path = name
}

// close drops the mapping and refuses further holds; the file stays.
func (f *mappedFile) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refs.Or(goneBit)&^goneBit == 0 {
		f.unmapLocked()
	}
}

// bytes is the whole mapping; the caller holds the file and touches the bytes under guard.
func (f *mappedFile) bytes() []byte { return f.data }

// guard runs fn, which may touch the bytes of this file; a fault in them becomes an error and fails the file for writing.
// Any other panic goes on its way.
func (f *mappedFile) guard(fn func() error) (err error) {
	defer f.caught(&err, debug.SetPanicOnFault(true))
	return fn()
}

// caught is what guard and guarded functions defer: defer f.caught(&err, debug.SetPanicOnFault(true)).
func (f *mappedFile) caught(err *error, before bool) {
	debug.SetPanicOnFault(before)
	r := recover()
	if r == nil {
		return
	}
	fault, ok := r.(interface {
		error
		Addr() uintptr
	})
	if !ok || !f.contains(fault.Addr()) {
		panic(r)
	}
	off := fault.Addr() - uintptr(unsafe.Pointer(unsafe.SliceData(f.data)))
	if *err = f.shrunk(); *err == nil {
		*err = fmt.Errorf("%s at %d: %w", f.path, off, errFileFault)
	}
	f.fail(*err)
}

// shrunk looks if the file has been cut short underneath, and tells where.
func (f *mappedFile) shrunk() error {
	st, err := f.fs.Stat(f.path)
	if err != nil || st.Size >= f.size {
		return nil // another fault, or it has gone
	}
	f.lost.Store(f.size - st.Size)
	return f.cut(f.size)
}

// cut is an error if the bytes up to a position are not all there any more.
func (f *mappedFile) cut(to int64) error {
	if lost := f.lost.Load(); lost > 0 && to > f.size-lost {
		return fmt.Errorf("%s: %w: it has %d bytes of %d", f.path, errCutShort, f.size-lost, f.size)
	}
	return nil
}

func (f *mappedFile) contains(addr uintptr) bool {
	start := uintptr(unsafe.Pointer(unsafe.SliceData(f.data)))
	return len(f.data) > 0 && addr >= start && addr < start+uintptr(len(f.data))
}

// fail notes the first error that makes the file unfit for writing.
func (f *mappedFile) fail(err error) { f.failed.CompareAndSwap(nil, &err) }

// failure is that error, or nil.
func (f *mappedFile) failure() error {
	if p := f.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// writeAt copies b to pos; the caller holds the file, has reserved the range, and publishes it with wrote.
func (f *mappedFile) writeAt(pos int64, b []byte) (err error) {
	if err := f.failure(); err != nil {
		return err
	}
	defer f.caught(&err, debug.SetPanicOnFault(true))
	copy(f.data[pos:pos+int64(len(b))], b)
	return nil
}

// readAt copies len(b) bytes from pos; the caller holds the file.
func (f *mappedFile) readAt(pos int64, b []byte) (err error) {
	defer f.caught(&err, debug.SetPanicOnFault(true))
	copy(b, f.data[pos:pos+int64(len(b))])
	return nil
}

// Steps in which a sparse file gets its blocks: doubled from the smallest, so that a queue with three entries does not
// cost 64 KiB and a busy one not a system call every other page.
const (
	reserveFirst = 4 << 10
	reserveMost  = 64 << 10
)

// reserve makes sure that blocks are allocated up to position end (and some more), so that a write there cannot meet a full disk.
func (f *mappedFile) reserve(end int64) error {
	have := f.reserved.Load()
	if end <= have {
		return nil
	}
	step := min(max(have, reserveFirst), reserveMost)
	return f.allocate(have, min(max(end, have+step), f.size))
}

// allocate gets the blocks of a range and counts the file as reserved up to its end.
func (f *mappedFile) allocate(from, to int64) error {
	file, err := f.fs.Open(f.path)
	if err != nil {
		return err
	}
	err = file.Allocate(from, to-from)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	f.reserved.Store(to)
	return nil
}

// sync makes everything up to position to durable; the caller holds the file. An error fails the file: after a failed sync
// the kernel may drop the dirty pages and call the next one a success, so it must not be tried again.
func (f *mappedFile) sync(to int64) error {
	from := f.flushed.Load()
	if to <= from {
		return nil
	}
	if err := f.failure(); err != nil {
		return err
	}
	if err := f.mapping.Sync(from, to-from); err != nil {
		f.fail(err)
		return err
	}
	f.flushed.Store(to)
	return nil
}

// setPosition is for recovery: data ends at pos, and what is before it counts as durable or not.
func (f *mappedFile) setPosition(pos int64, durable bool) {
	f.wrote.Store(pos)
	if durable {
		f.flushed.Store(pos)
	} else {
		f.flushed.Store(0)
	}
	f.reserved.Store(pos &^ (vfs.PageSize - 1))
}
