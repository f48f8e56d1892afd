package store

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"apogee/store/vfs"
)

// A Java broker puts compacted files in the place of others without a mark that says how far it is (CompactionLog.replaceFiles): those of the
// log first get names that end in ".delete", then the new ones are moved out of their directory, then the former are deleted; after that it does
// the same with the files of entries. Once it has been killed in between it does not start any more. What it has left tells where it was:
//
//   - New files of the log are still to be moved, and there are old ones to be deleted: the old ones get their names back. All are there.
//   - None is to be moved, but files of entries are: they are those of the log as it is now, and take the place of others.
//   - No file is to be moved: only what was to be deleted is left to do.

// javaDeleted is the end of the name of a file that is to be deleted.
const javaDeleted = ".delete"

// partNames are the files of a directory.
type partNames struct{ whole, deleted []string }

func (c *compactor) partNames(dir string) (n partNames, err error) {
	list, err := c.s.fs.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return n, err
	}
	for _, info := range list {
		name, deleted := strings.CutSuffix(info.Name, javaDeleted)
		if _, err := strconv.ParseInt(name, 10, 64); err != nil || info.Dir {
			continue
		}
		if deleted {
			n.deleted = append(n.deleted, name)
		} else {
			n.whole = append(n.whole, name)
		}
	}
	return n, nil
}

// finishJavaSwap does what is left to do of the swap of a Java broker.
func (c *compactor) finishJavaSwap(l *compactionLog) error {
	var parts [4]partNames
	for i, dir := range []string{l.dir, l.cqDir, path.Join(l.dir, compactingDir), path.Join(l.cqDir, compactingDir)} {
		var err error
		if parts[i], err = c.partNames(dir); err != nil {
			return err
		}
	}
	logs, cqs, newLogs, newCqs := parts[0], parts[1], parts[2].whole, parts[3].whole
	if len(logs.deleted) == 0 && len(cqs.deleted) == 0 && (len(newLogs) > 0 || len(newCqs) == 0) {
		return nil // it had not begun
	}
	if len(newLogs) > 0 {
		for _, name := range logs.deleted {
			moved := slices.Contains(newCqs, name) && !slices.Contains(newLogs, name) // the new one has its name
			if slices.Contains(logs.whole, name) && !moved || !slices.Contains(cqs.whole, name) {
				continue // it has been so for long: somebody was reading it
			}
			if err := c.s.fs.Rename(path.Join(l.dir, name+javaDeleted), path.Join(l.dir, name)); err != nil {
				return err
			}
		}
		return c.s.fs.SyncDir(l.dir)
	}
	for _, name := range newCqs {
		if ok, err := c.fit(path.Join(l.dir, name), path.Join(l.cqDir, compactingDir, name)); err != nil || !ok {
			return err // the rest of a compaction that was forgotten
		}
	}
	for _, name := range cqs.whole {
		if slices.Contains(newCqs, name) || !slices.Contains(logs.whole, name) {
			if err := vfs.RemoveAll(c.s.fs, path.Join(l.cqDir, name)); err != nil {
				return err
			}
		}
	}
	for _, name := range newCqs {
		if err := c.s.fs.Rename(path.Join(l.cqDir, compactingDir, name), path.Join(l.cqDir, name)); err != nil {
			return err
		}
	}
	c.s.log.Warn("a broker has ended while it put compacted files in their place: that is finished", "topic", l.topic, "queue", l.id)
	for dir, names := range map[string][]string{l.dir: logs.deleted, l.cqDir: cqs.deleted} {
		for _, name := range names {
			if err := vfs.RemoveAll(c.s.fs, path.Join(dir, name+javaDeleted)); err != nil {
				return err
			}
		}
		if err := c.s.fs.SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// fit tells whether all entries of a file are those of records in a file of the log.
func (c *compactor) fit(log, cq string) (bool, error) {
	for name, size := range map[string]int64{log: c.logSize, cq: c.cqSize} {
		info, err := c.s.fs.Stat(name)
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size != size {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	base, err := strconv.ParseInt(path.Base(log), 10, 64)
	if err != nil {
		return false, err
	}
	g := &segment{log: openMapped(c.s.fs, log, base, c.logSize), cq: openMapped(c.s.fs, cq, base, c.cqSize)}
	defer g.log.close()
	defer g.cq.close()
	g.log.readOnly, g.cq.readOnly = true, true
	n, err := g.countUnits()
	if err != nil {
		return false, err
	}
	valid, err := g.countRecords(n)
	return valid == n, err
}
