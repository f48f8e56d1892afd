package repair

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"

	"apogee/store/vfs"
)

// readCheckpoint is the file's six numbers; what is missing is 0 (spec: store.md 6.1).
func (r *run) readCheckpoint() (c [6]int64, err error) {
	data, err := vfs.ReadFile(r.fs, path.Join(r.root, "checkpoint"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c, err
	}
	var b [48]byte
	copy(b[:], data)
	for i := range c {
		c[i] = int64(binary.BigEndian.Uint64(b[8*i:]))
	}
	return c, nil
}

// redispatched is the log offset from which the start after a crash gives all records to the queues again.
func (r *run) redispatched() (from int64, ok bool) {
	c, err := r.readCheckpoint()
	if err != nil {
		return 0, false
	}
	return max(c[5], 0), true
}

// lookCheckpoint looks for numbers that cannot be: a start would begin to read in the wrong place.
func (r *run) lookCheckpoint() error {
	c, err := r.readCheckpoint()
	if err != nil {
		return err
	}
	found := ""
	for i, v := range c {
		if v < 0 {
			found = fmt.Sprintf("number %d is %d", i, v)
		}
	}
	if len(r.log.files) > 0 && (c[5] > r.log.end || c[4] > r.log.end) {
		found = fmt.Sprintf("says that the log reaches %d, but it ends at %d", max(c[4], c[5]), r.log.end)
	}
	if found == "" {
		return nil
	}
	r.rebuild = r.rebuild || r.abort
	r.add(Step{
		Kind: CheckFile, Path: "checkpoint", Found: found, Do: "set it aside; the store writes a new one",
		apply: func() error {
			if r.rebuild {
				return nil // it has been replaced
			}
			return r.quarantine(path.Join(r.root, "checkpoint"))
		},
	})
	return nil
}

// lookAbort looks whether the directory was closed.
func (r *run) lookAbort() error {
	if !r.abort {
		return nil
	}
	r.add(Step{
		Kind: Abort, Path: "abort", Found: "the last broker did not close the directory, and none runs on it now",
		Do: "recover the store and close it, as a start and a stop would", apply: func() error { return nil },
	})
	return nil
}

// lookIndex looks at the files of the index: size, header, and that entries point into the log, in its order. Queries would give less, never
// something wrong; so what is bad is made again.
func (r *run) lookIndex() error {
	if !r.s.MessageIndexEnable || len(r.log.files) == 0 {
		return nil
	}
	dir := path.Join(r.root, "index")
	infos, err := r.list(dir)
	if err != nil {
		return err
	}
	var good []string
	bad := ""
	var end int64
	for _, info := range infos {
		name := path.Join(dir, info.Name)
		if _, err := strconv.ParseInt(info.Name, 10, 64); err != nil || info.Dir {
			continue
		}
		if bad == "" {
			if bad, end, err = r.lookIndexFile(name, info.Size, end); err != nil {
				return err
			}
			if bad == "" {
				good = append(good, name)
				continue
			}
			// Of the last good one's last record some keys may stand in the bad one.
			if n := len(good); n > 0 {
				r.quarantineStep(Index, good[n-1], "goes on in the next file, which is not whole; its keys are indexed again from the log")
				good = good[:n-1]
			}
		}
		r.quarantineStep(Index, name, bad+"; its keys are indexed again from the log")
	}
	if len(good) == 0 && r.log.keyed >= 0 {
		if bad == "" {
			r.add(Step{Kind: Index, Path: "index", Found: "there is no index, but messages with keys", Do: "make it from the log", apply: func() error { return nil }})
		}
		r.rebuild = true
	}
	return nil
}

// lookIndexFile tells what is wrong with a file, and the log offset of its last entry.
//
// The first file, which has none before it, must begin where keys do: with after 0.
func (r *run) lookIndexFile(name string, size, after int64) (bad string, end int64, err error) {
	if size != indexSize(r.s) {
		return fmt.Sprintf("has %d bytes, not %d (maxHashSlotNum, maxIndexNum)", size, indexSize(r.s)), 0, nil
	}
	f, err := r.fs.Open(name)
	if err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var head [40]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return "", 0, fmt.Errorf("read %s: %w", name, err)
	}
	be := binary.BigEndian
	begin, end, count := int64(be.Uint64(head[16:])), int64(be.Uint64(head[24:])), int64(int32(be.Uint32(head[36:])))
	if count <= 1 {
		return "", after, nil
	}
	if after == 0 && r.log.keyed >= 0 && begin > r.log.keyed {
		return fmt.Sprintf("begins at %d, but there are keys from %d on: files before it are missing", begin, r.log.keyed), 0, nil
	}
	if count > int64(r.s.MaxIndexNum) || begin > end || end >= r.log.end {
		return fmt.Sprintf("its header says %d entries from %d to %d", count-1, begin, end), 0, nil
	}
	before := after
	buf := make([]byte, 20*4096)
	base := 40 + 4*int64(r.s.MaxHashSlotNum)
	for n := int64(1); n < count; {
		b := buf[:20*min(4096, count-n)]
		if _, err := f.ReadAt(b, base+20*n); err != nil && !errors.Is(err, io.EOF) {
			return "", 0, fmt.Errorf("read %s: %w", name, err)
		}
		for ; len(b) > 0; b, n = b[20:], n+1 {
			phys, prev := int64(be.Uint64(b[4:])), int64(int32(be.Uint32(b[16:])))
			if phys < before || phys >= r.log.end || prev < 0 || prev >= n {
				return fmt.Sprintf("entry %d points at %d, behind the entry %d", n, phys, prev), 0, nil
			}
			before = phys
		}
	}
	if before != end {
		return fmt.Sprintf("its last entry is of %d, its header says %d", before, end), 0, nil
	}
	return "", end, nil
}
