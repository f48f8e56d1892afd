package store

import (
	"context"
	"path"

	"apogee/store/vfs"
)

// shredStep is how much of a removed file is given back to the file system at once.
const shredStep = 32 << 20

// shredder gives the blocks of removed files back in steps.
//
// A file's blocks are freed by whoever lets go of it last, in one go. For a gigabyte of log that is some 300 ms, in which a write with
// its sync took 70 to 120 ms, and it may be a pull that lets go of a mapping, or the cleaner under the lock that a roll-over
// needs. So a file is opened before its name goes, which keeps its blocks, and it is cut short bit by bit when nobody reads it any more.
type shredder struct {
	s    *Store
	step int64
}

// open holds on to the blocks of a file that is about to be removed; nil where that is not worth it, or not possible.
func (x *shredder) open(f *mappedFile) vfs.File {
	if f.size <= x.step {
		return nil
	}
	file, err := x.s.fs.Open(f.path)
	if err != nil {
		x.s.log.Warn("file to be removed not opened, its blocks are freed at once", "file", f.path, "err", err)
		return nil
	}
	return file
}

// shred frees the blocks of a removed file that open has opened. Nobody reads it any more. When ctx ends the rest goes at once.
func (x *shredder) shred(ctx context.Context, f *mappedFile, file vfs.File) {
	if file == nil {
		return
	}
	if err := x.cut(ctx, f, file); err != nil {
		x.s.log.Warn("blocks of a removed file not freed in steps", "file", f.path, "err", err)
	}
	if err := file.Close(); err != nil {
		x.s.log.Warn("removed file not closed", "file", f.path, "err", err)
	}
}

func (x *shredder) cut(ctx context.Context, f *mappedFile, file vfs.File) error {
	// A power cut must not bring the name back with a part of the file.
	if err := x.s.fs.SyncDir(path.Dir(f.path)); err != nil {
		return err
	}
	for size := f.size; size > x.step; {
		size -= x.step
		began := x.s.now()
		if err := file.Truncate(size); err != nil {
			return err
		}
		if !pause(ctx, x.s.now().Sub(began).Milliseconds()+1) { // the disk is for others for as long again
			return nil
		}
	}
	return nil
}
