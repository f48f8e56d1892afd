package migrate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"apogee/store/inspect"
	"apogee/store/vfs"
)

// copyRest copies all that is neither log nor queue. What is not known, and may depend on log offsets, is left out and reported.
func (r *run) copyRest() error {
	infos, err := r.FS.ReadDir(r.Src)
	if err != nil {
		return err
	}
	for _, info := range infos {
		name := info.Name
		switch {
		case name == simpleTree || name == batchTree || name == extTree || path.Join(r.Src, name) == r.SrcLog || name == "lock" || name == "abort.bak":
		case r.j.RestDone && name != "index":
			r.leftOut(name)
		case name == "index" && info.Dir:
			err = r.copyIndexes()
		case name == "timerlog" && info.Dir:
			err = r.copyFiles(name, r.moveTimers)
		case name == "config" || name == "compaction":
			err = r.copyFiles(name, nil)
		case name == "checkpoint":
			err = r.copyCheckpoint(info)
		case name == inspect.DamagedFile && r.rewrites():
			err = r.copyDamaged(path.Join(r.Dst, name))
		case name == inspect.DamagedFile || name == "timerwheel" || strings.HasPrefix(name, "timerwheel.") && !strings.HasSuffix(name, ".tmp"),
			!info.Dir && (strings.HasPrefix(name, "epochFileCheckpoint") || strings.HasPrefix(name, "brokerIdentity")):
			err = r.copyFile("files", path.Join(r.Src, name), path.Join(r.Dst, name), info, nil)
		default:
			r.leftOut(name)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := r.FS.SyncDir(r.Dst); err != nil {
		return err
	}
	r.j.RestDone = true
	return r.save()
}

// leftOut reports what is not copied.
func (r *run) leftOut(name string) {
	if !slices.Contains([]string{"config", "compaction", "checkpoint", "timerlog", "timerwheel", inspect.DamagedFile}, name) && !r.exists(path.Join(r.Dst, name)) {
		r.rep.NotCopied = append(r.rep.NotCopied, name)
	}
}

// copyFiles copies a folder with all that is in it, each file through change.
func (r *run) copyFiles(dir string, change func(size int64) func(at int64, b []byte)) error {
	infos, err := r.FS.ReadDir(path.Join(r.Src, dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := makeDir(r.FS, path.Join(r.Dst, dir)); err != nil {
		return err
	}
	for _, info := range infos {
		name := path.Join(dir, info.Name)
		if info.Dir {
			err = r.copyFiles(name, change)
		} else {
			var f func(int64, []byte)
			if change != nil {
				f = change(info.Size)
			}
			err = r.copyFile("files", path.Join(r.Src, name), path.Join(r.Dst, name), info, f)
		}
		if err != nil {
			return err
		}
	}
	return r.FS.SyncDir(path.Join(r.Dst, dir))
}

// Units of a timer log are 52 bytes, with a log offset at 28; the last bytes of a file are unused (spec: store.md 12.3).
const (
	timerUnit = 52
	timerPhys = 28
	timerTail = 16
)

// moveTimers moves the log offsets of a piece of a timer log; pieces are whole units.
func (r *run) moveTimers(size int64) func(at int64, b []byte) {
	if !r.rewrites() {
		return nil
	}
	end := (size - timerTail) / timerUnit * timerUnit
	return func(at int64, b []byte) {
		for p := int64(0); p+timerUnit <= int64(len(b)) && at+p < end; p += timerUnit {
			if binary.BigEndian.Uint32(b[p:]) != timerUnit {
				return // behind the last unit
			}
			v := b[p+timerPhys:]
			binary.BigEndian.PutUint64(v, uint64(r.j.Pieces.of(int64(binary.BigEndian.Uint64(v)))))
		}
	}
}

// copyIndexes copies the files of the index.
func (r *run) copyIndexes() error {
	infos, err := r.FS.ReadDir(path.Join(r.Src, "index"))
	if err != nil {
		return err
	}
	if err := makeDir(r.FS, path.Join(r.Dst, "index")); err != nil {
		return err
	}
	for _, info := range infos {
		if _, err := strconv.ParseInt(info.Name, 10, 64); err != nil || info.Dir {
			continue
		}
		r.rep.IndexFiles++
		if r.j.RestDone {
			continue
		}
		if err := r.copyIndex(info); err != nil {
			return err
		}
	}
	return r.FS.SyncDir(path.Join(r.Dst, "index"))
}

// copyIndex copies one file; where log offsets change, those in its header and entries (spec: store.md 5).
func (r *run) copyIndex(info vfs.Info) error {
	from, to := path.Join(r.Src, "index", info.Name), path.Join(r.Dst, "index", info.Name)
	if !r.rewrites() {
		return r.copyFile("index", from, to, info, nil)
	}
	if want := 40 + 4*r.HashSlots + 20*r.IndexEntries; info.Size != want {
		return fmt.Errorf("%s has %d bytes, not %d: name the broker's configuration (maxHashSlotNum, maxIndexNum)", info.Name, info.Size, want)
	}
	data, err := vfs.ReadFile(r.FS, from)
	if err != nil {
		return err
	}
	if err := r.pace("index", info.Size); err != nil {
		return err
	}
	be := binary.BigEndian
	move := func(at int64) { be.PutUint64(data[at:], uint64(r.j.Pieces.of(int64(be.Uint64(data[at:]))))) }
	move(16)
	move(24)
	entries := min(int64(int32(be.Uint32(data[36:]))), r.IndexEntries)
	for n := int64(1); n < entries; n++ {
		move(40 + 4*r.HashSlots + 20*n + 4)
	}
	f, err := create(r.FS, to, info.Size)
	if err != nil {
		return err
	}
	for at := 0; at < len(data); at += pieceSize {
		b := data[at:min(at+pieceSize, len(data))]
		if slices.ContainsFunc(b, func(c byte) bool { return c != 0 }) {
			if _, err := f.WriteAt(b, int64(at)); err != nil {
				return errors.Join(err, f.Close())
			}
		}
	}
	return errors.Join(f.Sync(), f.Close(), vfs.SetModTime(r.FS, to, info.ModTime))
}

// copyCheckpoint copies the checkpoint; its last three numbers are log offsets (spec: store.md 6.1). What a master has flushed is of a log that
// the copy is no replica of.
func (r *run) copyCheckpoint(info vfs.Info) error {
	return r.copyFile("files", path.Join(r.Src, "checkpoint"), path.Join(r.Dst, "checkpoint"), info, func(at int64, b []byte) {
		if at > 0 || len(b) < 48 || !r.rewrites() {
			return
		}
		be := binary.BigEndian
		be.PutUint64(b[24:], 0)
		for _, p := range []int{32, 40} {
			if v := int64(be.Uint64(b[p:])); v > 0 {
				be.PutUint64(b[p:], uint64(r.j.Pieces.of(v)))
			}
		}
	})
}
