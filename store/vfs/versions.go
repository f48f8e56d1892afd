package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
)

// Versions replaces one file again and again, where each version differs little from the one before. It leaves what
// [WriteFileAtomic] leaves, and a crash at any moment does to it what it does there. But it writes a version over the one before
// the last, which name.bak is: then only what has changed in the meantime needs to be written and synced, and no blocks are
// given back and taken again. A table of megabytes is replaced in a few small writes.
//
// Nobody else may write the file or its backup meanwhile. It is used by one goroutine at a time.
type Versions struct {
	fs   FS
	name string

	last, before version // what name and name.bak hold
}

// version is what is known of a version that was written.
type version struct {
	known bool
	size  int64
	same  Same // with the version before it
}

// Same says what a version has in common with the one before it: everything from First on up to Last. What is ahead of First has
// the same length in both. The zero value is nothing in common.
type Same struct{ First, Last int }

// with narrows it to what is common over two steps.
func (s Same) with(o Same) Same { return Same{First: max(s.First, o.First), Last: min(s.Last, o.Last)} }

// NewVersions is for a file that may be there already; its first two versions are written as a whole.
func NewVersions(fsys FS, name string) *Versions { return &Versions{fs: fsys, name: name} }

// Write replaces the file. When it returns without an error the version is durable. After an error the file holds this version or
// the one before.
func (v *Versions) Write(data []byte, same Same) error {
	last, before := v.last, v.before
	v.last, v.before = version{}, version{} // until it is known better
	err := v.overwrite(data, before, same.with(last.same))
	if errors.Is(err, errNoVersion) {
		err = WriteFileAtomic(v.fs, v.name, data)
	}
	if err != nil {
		return err
	}
	v.last, v.before = version{known: true, size: int64(len(data)), same: same}, last
	return nil
}

// errNoVersion says that there is no known version to write over.
var errNoVersion = errors.New("no earlier version")

// overwrite makes the backup the new version. While its contents change it has a name that nobody reads, and the last version is in
// its place; if the power fails meanwhile, it may turn up as the backup, beside a file that needs none.
func (v *Versions) overwrite(data []byte, over version, same Same) error {
	if !over.known {
		return errNoVersion
	}
	temp, backup := v.name+tempSuffix, v.name+backupSuffix
	info, err := v.fs.Stat(backup)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size != over.size {
		return errNoVersion
	}
	if err == nil {
		err = v.fs.Rename(backup, temp)
	}
	if err == nil {
		err = rewriteSynced(v.fs, temp, data, over.size, same)
	}
	if err == nil {
		err = v.fs.Rename(v.name, backup)
	}
	if err == nil {
		err = v.fs.Rename(temp, v.name)
	}
	if err == nil {
		err = v.fs.SyncDir(path.Dir(v.name))
	}
	if err != nil {
		return fmt.Errorf("replace %s: %w", v.name, err)
	}
	return nil
}

func rewriteSynced(fsys FS, name string, data []byte, size int64, same Same) error {
	f, err := fsys.Open(name)
	if err != nil {
		return err
	}
	first, last := min(same.First, len(data)), min(same.Last, len(data), int(size))
	if last <= first {
		first, last = len(data), len(data)
	}
	if first > 0 {
		_, err = f.WriteAt(data[:first], 0)
	}
	if err == nil && last < len(data) {
		_, err = f.WriteAt(data[last:], int64(last))
	}
	if err == nil && size > int64(len(data)) {
		err = f.Truncate(int64(len(data)))
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
