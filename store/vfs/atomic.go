package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
)

// ErrCorrupt says that a file is there but neither it nor its backup can be read.
var ErrCorrupt = errors.New("file and backup are unusable")

const (
	backupSuffix  = ".bak"
	tempSuffix    = ".tmp"
	corruptSuffix = ".corrupt"
)

// ReadFile reads a whole file.
func ReadFile(fsys FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	data := make([]byte, size)
	n, err := f.ReadAt(data, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return data[:n], nil
}

// WriteFileAtomic replaces a small file as a whole: after a crash at any moment [ReadFileOrBackup] finds the old contents or
// the new. The contents before stay in name.bak, where a Java broker keeps and looks for them (spec: store.md 10.1); unlike
// Java, the new contents are on disk before the old ones leave their name.
func WriteFileAtomic(fsys FS, name string, data []byte) error {
	temp := name + tempSuffix
	if err := writeSynced(fsys, temp, data); err != nil {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	if err := fsys.Rename(name, name+backupSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	if err := fsys.Rename(temp, name); err != nil {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	if err := fsys.SyncDir(path.Dir(name)); err != nil {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	return nil
}

func writeSynced(fsys FS, name string, data []byte) error {
	if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := fsys.Create(name)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// ReadFileOrBackup reads what [WriteFileAtomic], or Java, wrote. parse is given the contents; when the file is missing, empty
// or refused by parse, name.bak is tried in its place. Neither being there is fs.ErrNotExist, neither being usable
// [ErrCorrupt] (with the cause). A refused file is moved to name.corrupt, so that the next write does not push it over the
// good backup (Java deletes it). parse may be called twice and must set its result as a whole.
func ReadFileOrBackup(fsys FS, name string, parse func([]byte) error) error {
	first := readInto(fsys, name, parse)
	if first == nil {
		return nil
	}
	second := readInto(fsys, name+backupSuffix, parse)
	absent := errors.Is(first, fs.ErrNotExist)
	if absent && errors.Is(second, fs.ErrNotExist) {
		return &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	if second != nil {
		// The causes are not wrapped: that one of the two does not exist must not make it look as if nothing were there.
		return fmt.Errorf("read %s: %w: %v; backup: %v", name, ErrCorrupt, first, second)
	}
	if !absent {
		if err := fsys.Rename(name, name+corruptSuffix); err != nil {
			return fmt.Errorf("set aside %s: %w", name, err)
		}
	}
	return nil
}

var errEmpty = errors.New("empty")

func readInto(fsys FS, name string, parse func([]byte) error) error {
	data, err := ReadFile(fsys, name)
	if err != nil {
		return err
	}
	if len(data) == 0 {
		return errEmpty
	}
	return parse(data)
}

// RemoveAll removes a directory and what is under it, or a file; one that is not there is no error.
func RemoveAll(fsys FS, name string) error {
	st, err := fsys.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Dir {
		children, err := fsys.ReadDir(name)
		if err != nil {
			return err
		}
		for _, c := range children {
			if err := RemoveAll(fsys, path.Join(name, c.Name)); err != nil {
				return err
			}
		}
	}
	return fsys.Remove(name)
}
