package vfs

import (
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// Op names a kind of file operation for fault injection.
type Op string

const (
	OpOpen     Op = "open"
	OpCreate   Op = "create"
	OpRemove   Op = "remove"
	OpRename   Op = "rename"
	OpMkdir    Op = "mkdir"
	OpReadDir  Op = "readdir"
	OpStat     Op = "stat"
	OpSyncDir  Op = "syncdir"
	OpLock     Op = "lock"
	OpUsage    Op = "usage"
	OpRead     Op = "read"
	OpWrite    Op = "write"
	OpSync     Op = "sync" // of a file or of a mapping
	OpTruncate Op = "truncate"
	OpAllocate Op = "allocate"
	OpZero     Op = "zero"
	OpMap      Op = "map"
)

// Faulty wraps a file system; before each operation check is asked, and its error is the operation's. check may also look on,
// count, or clone a [Mem] in the middle of things.
func Faulty(under FS, check func(op Op, name string) error) FS {
	return &faultyFS{under, check}
}

// Short is an error for writes that the disk takes a part of: the first N bytes are written, then Err is the operation's error. Other
// operations just fail with it.
type Short struct {
	N   int
	Err error
}

func (s *Short) Error() string { return s.Err.Error() }
func (s *Short) Unwrap() error { return s.Err }

// FailNth is a check for [Faulty]: the n-th operation (from 1) of the given kinds fails with err, any kind if none is given.
// With sticky, all later ones of these kinds fail as well.
func FailNth(n int64, sticky bool, err error, kinds ...Op) func(Op, string) error {
	var count atomic.Int64
	return func(op Op, _ string) error {
		match := len(kinds) == 0
		for _, k := range kinds {
			match = match || k == op
		}
		if !match {
			return nil
		}
		if c := count.Add(1); c == n || sticky && c > n {
			return err
		}
		return nil
	}
}

type faultyFS struct {
	under FS
	check func(Op, string) error
}

func (f *faultyFS) Open(name string) (File, error) {
	if err := f.check(OpOpen, name); err != nil {
		return nil, err
	}
	return f.wrap(f.under.Open(name))(name)
}

func (f *faultyFS) Create(name string) (File, error) {
	if err := f.check(OpCreate, name); err != nil {
		return nil, err
	}
	return f.wrap(f.under.Create(name))(name)
}

func (f *faultyFS) wrap(file File, err error) func(string) (File, error) {
	return func(name string) (File, error) {
		if err != nil {
			return nil, err
		}
		return &faultyFile{file, f.check, name}, nil
	}
}

func (f *faultyFS) Remove(name string) error {
	if err := f.check(OpRemove, name); err != nil {
		return err
	}
	return f.under.Remove(name)
}

func (f *faultyFS) Rename(oldname, newname string) error {
	if err := f.check(OpRename, oldname); err != nil {
		return err
	}
	return f.under.Rename(oldname, newname)
}

func (f *faultyFS) MkdirAll(dir string) error {
	if err := f.check(OpMkdir, dir); err != nil {
		return err
	}
	return f.under.MkdirAll(dir)
}

func (f *faultyFS) SetModTime(name string, t time.Time) error { return SetModTime(f.under, name, t) }

func (f *faultyFS) ReadDir(dir string) ([]Info, error) {
	if err := f.check(OpReadDir, dir); err != nil {
		return nil, err
	}
	return f.under.ReadDir(dir)
}

func (f *faultyFS) Stat(name string) (Info, error) {
	if err := f.check(OpStat, name); err != nil {
		return Info{}, err
	}
	return f.under.Stat(name)
}

func (f *faultyFS) SyncAll(dir string) error {
	if err := f.check(OpSync, dir); err != nil {
		return err
	}
	return f.under.SyncAll(dir)
}

func (f *faultyFS) SyncDir(dir string) error {
	if err := f.check(OpSyncDir, dir); err != nil {
		return err
	}
	return f.under.SyncDir(dir)
}

func (f *faultyFS) Lock(name string) (io.Closer, error) {
	if err := f.check(OpLock, name); err != nil {
		return nil, err
	}
	return f.under.Lock(name)
}

func (f *faultyFS) DiskUsage(path string) (Usage, error) {
	if err := f.check(OpUsage, path); err != nil {
		return Usage{}, err
	}
	return f.under.DiskUsage(path)
}

type faultyFile struct {
	File
	check func(Op, string) error
	name  string
}

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.check(OpRead, f.name); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	err := f.check(OpWrite, f.name)
	if err == nil {
		return f.File.WriteAt(p, off)
	}
	var short *Short
	if !errors.As(err, &short) {
		return 0, err
	}
	n, under := f.File.WriteAt(p[:min(len(p), short.N)], off)
	return n, errors.Join(short.Err, under)
}

func (f *faultyFile) Sync() error {
	if err := f.check(OpSync, f.name); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faultyFile) Truncate(size int64) error {
	if err := f.check(OpTruncate, f.name); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *faultyFile) Allocate(off, n int64) error {
	if err := f.check(OpAllocate, f.name); err != nil {
		return err
	}
	return f.File.Allocate(off, n)
}

func (f *faultyFile) Zero(off, n int64) error {
	if err := f.check(OpZero, f.name); err != nil {
		return err
	}
	return f.File.Zero(off, n)
}

func (f *faultyFile) Map(n int64) (Mapping, error) {
	if err := f.check(OpMap, f.name); err != nil {
		return nil, err
	}
	return f.wrapped(f.File.Map(n))
}

func (f *faultyFile) MapRead(n int64) (Mapping, error) {
	if err := f.check(OpMap, f.name); err != nil {
		return nil, err
	}
	return f.wrapped(f.File.MapRead(n))
}

func (f *faultyFile) wrapped(m Mapping, err error) (Mapping, error) {
	if err != nil {
		return nil, err
	}
	return &faultyMapping{m, f.check, f.name}, nil
}

type faultyMapping struct {
	Mapping
	check func(Op, string) error
	name  string
}

func (m *faultyMapping) Sync(off, n int64) error {
	if err := m.check(OpSync, m.name); err != nil {
		return err
	}
	return m.Mapping.Sync(off, n)
}
