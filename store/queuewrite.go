package store

import (
	"errors"
	"fmt"

	"apogee/store/vfs"
)

// save writes the entries that are not in files yet, and returns how many those were. buf is for as much as is written at once.
func (c *consumeQueue) save(heap *chunkHeap, buf []byte) (n int64, err error) {
	c.saveMu.Lock()
	defer c.saveMu.Unlock()
	from, to := c.saved.Load(), c.max.Load()
	if c.dropped.Load() {
		c.saved.Store(to)
		c.unlink(heap)
		return to - from, nil
	}
	err = c.write(to, buf)
	c.unlink(heap)
	return c.saved.Load() - from, err
}

// write brings the files up to entry to. Under saveMu.
func (c *consumeQueue) write(to int64, buf []byte) error {
	for from := c.saved.Load(); from < to; from = c.saved.Load() {
		off := from * c.width
		base, file, err := c.fileFor(off)
		if err != nil {
			return err
		}
		piece := c.gather(from, min(to, (base+c.files.fileSize)/c.width, from+int64(len(buf))/c.width), buf)
		if file != nil {
			err = vfs.WriteAt(file.fs, file.path, piece, off-base)
		} else {
			file, err = c.files.createAt(base, piece, off-base)
		}
		if err != nil {
			return err
		}
		file.wrote.Store(off - base + int64(len(piece)))
		c.saved.Store(from + int64(len(piece))/c.width)
	}
	return nil
}

// gather is entries that are not in files, in one piece: a queue that is written out after a while has them in several chunks.
func (c *consumeQueue) gather(from, to int64, buf []byte) []byte {
	for ch := c.tail.Load(); ; ch = ch.prev.Load() {
		first, last := max(from, ch.base), min(to, ch.end(c.width))
		if first < last {
			entries := ch.buf[(first-ch.base)*c.width : (last-ch.base)*c.width]
			if first == from && last == to {
				return entries
			}
			copy(buf[(first-from)*c.width:], entries)
		}
		if ch.base <= from {
			return buf[:(to-from)*c.width]
		}
	}
}

// unlink lets go of chunks ahead of the one that has the first entry that is not in files.
func (c *consumeQueue) unlink(heap *chunkHeap) {
	saved := c.saved.Load()
	ch := c.tail.Load()
	for ch != nil && ch.base > saved {
		ch = ch.prev.Load()
	}
	if ch == nil || ch.prev.Load() == nil {
		return
	}
	old := ch.prev.Swap(nil)
	heap.put(old, c.reading.Load() != 0)
}

// dropTail lets go of the last chunk where all of it is in files. Under the right to dispatch.
func (c *consumeQueue) dropTail(heap *chunkHeap) {
	if ch := c.tail.Load(); ch != nil && ch.prev.Load() == nil && c.saved.Load() == c.max.Load() {
		c.forget(heap)
	}
}

// fileFor is the file for the next entry and where it starts, nil where it has to be made yet. The first file of a queue that
// starts inside it is filled with blank units up to there.
func (c *consumeQueue) fileFor(off int64) (base int64, f *mappedFile, err error) {
	if f := c.files.find(off); f != nil {
		return f.base, f, nil
	}
	base = c.files.nextBase(off)
	if off < base || off >= base+c.files.fileSize {
		return 0, nil, fmt.Errorf("next file starts at %d, next entry at %d", base, off)
	}
	if c.files.last() != nil || off == base {
		return base, nil, nil
	}
	f, err = c.files.create(off, func(f *mappedFile) error { return fillBlank(f, off-base) })
	return base, f, err
}

func fillBlank(f *mappedFile, n int64) error {
	file, err := f.fs.Open(f.path)
	if err != nil {
		return err
	}
	var piece [1024 * unitSize]byte
	for p := 0; p < len(piece); p += unitSize {
		putUnit(piece[p:], 0, blankSize, 0)
	}
	for at := int64(0); at < n && err == nil; {
		part := piece[:min(n-at, int64(len(piece)))]
		_, err = file.WriteAt(part, at)
		at += int64(len(part))
	}
	f.wrote.Store(n)
	return errors.Join(err, file.Close())
}

// sync makes what is in files durable.
func (c *consumeQueue) sync() error {
	c.saveMu.Lock()
	defer c.saveMu.Unlock()
	if c.dropped.Load() {
		return nil
	}
	saved := c.saved.Load()
	for _, f := range c.files.from(c.synced * c.width) {
		if err := syncFile(f, min(saved*c.width-f.base, f.size)); err != nil {
			return err
		}
	}
	if err := c.files.syncDirs(); err != nil {
		return err
	}
	c.synced = saved
	return nil
}

// isSynced notes that all that is in files has been made durable.
func (c *consumeQueue) isSynced() {
	c.saveMu.Lock()
	defer c.saveMu.Unlock()
	saved := c.saved.Load()
	for _, f := range c.files.from(c.synced * c.width) {
		f.flushed.Store(min(saved*c.width-f.base, f.size))
	}
	c.files.dirsSynced()
	c.synced = saved
}

func syncFile(f *mappedFile, to int64) error {
	if to <= f.flushed.Load() {
		return nil
	}
	file, err := f.fs.Open(f.path)
	if err != nil {
		return err
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return err
	}
	f.flushed.Store(to)
	return nil
}
