// Package vfs is every file operation of Apogee behind an interface, so that crashes, full disks and failing syncs can be
// tested without a disk and without luck.
//
// [OS] is the real one, [Mem] lives in memory and can be cloned as a power cut would leave it, [Faulty] wraps either and
// fails the operations a test chooses. Small files that are replaced as a whole go through [WriteFileAtomic] and
// [SmallFile.Load]. The package knows nothing of what the files hold.
package vfs

import (
	"errors"
	"io"
	"time"
)

var (
	// ErrLocked says that another process, or another store of this one, holds the lock file.
	ErrLocked = errors.New("locked by another broker")
	// ErrNoSpace is what a full disk answers; the file systems here return errors for which errors.Is(err, ErrNoSpace) holds.
	ErrNoSpace error = errNoSpace
)

// FS is a file system. Names are slash-separated paths; errors satisfy errors.Is with fs.ErrNotExist and fs.ErrExist.
type FS interface {
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	// Create makes a new empty file; one that exists is an error, so that no bug can empty a segment.
	Create(name string) (File, error)
	Remove(name string) error
	Rename(oldname, newname string) error
	MkdirAll(dir string) error
	// ReadDir lists a directory, sorted by name. Of directories in it only the name is told.
	ReadDir(dir string) ([]Info, error)
	Stat(name string) (Info, error)
	// SyncDir makes what was created, renamed and removed directly in dir survive a power cut.
	SyncDir(dir string) error
	// SyncAll makes everything on the file system that holds dir survive a power cut, contents and names: for when there are
	// thousands of files to sync. Where that cannot be had it is errors.ErrUnsupported.
	SyncAll(dir string) error
	// Lock takes an exclusive lock on byte 0 of the file, creating it if need be, in the way a Java broker does, so that
	// each excludes the other. The lock is given back by Close. A taken lock is [ErrLocked].
	Lock(name string) (io.Closer, error)
	// DiskUsage tells how full the file system is that holds path.
	DiskUsage(path string) (Usage, error)
}

// Info describes a file or directory.
type Info struct {
	Name    string // last element of the path
	Size    int64
	ModTime time.Time
	Dir     bool
}

// Usage is the state of a file system. Used counts what its owner's reserve leaves: Used/Total is what df prints.
type Usage struct {
	Used, Total uint64
}

// Ratio is the used share, rounded up to the next percent as Java's UtilAll.getDiskPartitionSpaceUsedPercent does; 0 to 1.
func (u Usage) Ratio() float64 {
	if u.Total == 0 {
		return 0
	}
	percent := (u.Used*100 + u.Total - 1) / u.Total
	return float64(percent) / 100
}

// File is an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes contents and size durable (fdatasync).
	Sync() error
	// Truncate sets the size; growing leaves a hole.
	Truncate(size int64) error
	// Allocate reserves blocks for a range inside the file's size, contents unchanged. A full disk shows here and not later
	// as a fault in the middle of a mapped write.
	Allocate(off, n int64) error
	// Zero makes a range inside the file's size read as zeros. It needs no space and may give blocks back, so the range has
	// to be allocated again before it is written through a mapping.
	Zero(off, n int64) error
	// Map maps the first n bytes, shared and writable. The mapping outlives the file's Close.
	Map(n int64) (Mapping, error)
	// MapRead is Map for reading only. The mapping shows what WriteAt wrote, and its Sync makes that durable.
	MapRead(n int64) (Mapping, error)
	Size() (int64, error)
}

// Mapping is a mapped range of a file.
type Mapping interface {
	// Bytes is the mapping itself. It must not be touched after Unmap.
	Bytes() []byte
	// Sync makes a range durable (msync). The range is widened to pages.
	Sync(off, n int64) error
	// Evict tells the kernel that the pages of a range are not needed soon by this process; contents are kept.
	Evict(off, n int64) error
	// Resident tells whether every page of a range is in memory, so that reading it does not wait for the disk.
	Resident(off, n int64) bool
	// Load waits for the disk until a range is in memory, for whoever may wait on behalf of others that touch it later. It is
	// advice: where it can't be followed, or the disk fails, those will find out.
	Load(off, n int64)
	Unmap() error
}

// timekeeper is a file system that can say when a file was changed last.
type timekeeper interface {
	SetModTime(name string, t time.Time) error
}

// SetModTime makes a copy look as old as what it was copied from: brokers delete log files by that time. Where it cannot be had, nothing
// happens.
func SetModTime(fsys FS, name string, t time.Time) error {
	if k, ok := fsys.(timekeeper); ok {
		return k.SetModTime(name, t)
	}
	return nil
}

// PageSize is what ranges are widened to where the kernel thinks in pages.
const PageSize = 4096
