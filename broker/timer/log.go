package timer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"

	"apogee/store/vfs"
)

// unit is one entry of the timer log: a message that waits in a slot (spec: store.md 12.3; Java TimerLog).
//
//	offset size field
//	0      4    52
//	4      8    position of the unit before it in the same slot, -1 without any
//	12     4    magic: 1, with 2 for a message that will be rolled and 4 for a cancellation
//	16     8    when it was entered, a multiple of the precision
//	24     4    ms from then to the time of its slot
//	28     8    commit-log offset of the message
//	36     4    its size
//	40     4    hash of its real topic
//	44     8    0
type unit struct {
	prev    int64
	magic   int32
	entered int64
	delay   int32
	phys    int64
	size    int32
	topic   int32
}

const (
	unitSize  = 52
	blankSize = 16 // kept free at the end of a file, for the mark that says so

	magicDefault = 1
	magicRoll    = 2
	magicDelete  = 4
	magicBits    = 0xF

	blankMagic = 0xCBD43194
)

// time is the slot's time.
func (u *unit) time() int64 { return u.entered + int64(u.delay) }

func (u *unit) append(b []byte) []byte {
	be := binary.BigEndian
	b = be.AppendUint32(b, unitSize)
	b = be.AppendUint64(b, uint64(u.prev))
	b = be.AppendUint32(b, uint32(u.magic))
	b = be.AppendUint64(b, uint64(u.entered))
	b = be.AppendUint32(b, uint32(u.delay))
	b = be.AppendUint64(b, uint64(u.phys))
	b = be.AppendUint32(b, uint32(u.size))
	b = be.AppendUint32(b, uint32(u.topic))
	return be.AppendUint64(b, 0)
}

// What the bytes at a position can be besides a unit.
var (
	errBlank  = errors.New("timer log: rest of the file is unused")
	errNoUnit = errors.New("timer log: no unit")
)

// parse reads the unit at the start of b.
func (u *unit) parse(b []byte) error {
	if len(b) < blankSize {
		return errNoUnit
	}
	be := binary.BigEndian
	magic := be.Uint32(b[12:])
	if magic == blankMagic {
		return errBlank
	}
	if len(b) < unitSize || be.Uint32(b) != unitSize || magic&^magicBits != 0 {
		return errNoUnit
	}
	*u = unit{
		prev: int64(be.Uint64(b[4:])), magic: int32(magic), entered: int64(be.Uint64(b[16:])), delay: int32(be.Uint32(b[24:])),
		phys: int64(be.Uint64(b[28:])), size: int32(be.Uint32(b[36:])), topic: int32(be.Uint32(b[40:])),
	}
	if u.prev < -1 || u.phys < 0 || u.size <= 0 || u.entered < 0 || u.time() < 0 {
		return errNoUnit
	}
	return nil
}

// timerLog is the files of units. Positions run through them; a file's name is the position that it starts at. It belongs to one
// goroutine.
type timerLog struct {
	fs    vfs.FS
	dir   string
	size  int64 // of a file
	files []*logFile
	end   int64 // where the next unit goes

	staged []byte // units ahead of end that are not written yet, all of the last file

	block   []byte // what was read last
	blockAt int64
}

type logFile struct {
	base  int64
	f     vfs.File
	dirty bool // has what is not synced
}

// blockSize is read at once: units of a slot lie close together.
const blockSize = 64 << 10

const logDir = "timerlog"

// openLog opens the files that are there. A gap among them, or a file of another size, is an error: positions mean nothing then. Where
// all files agree on a size that is not the configured one, theirs is kept.
func openLog(fsys vfs.FS, dir string, size int64) (*timerLog, error) {
	l := &timerLog{fs: fsys, dir: path.Join(dir, logDir), size: size}
	list, err := fsys.ReadDir(l.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("timer log: %w", err)
	}
	for _, e := range list {
		base, err := strconv.ParseInt(e.Name, 10, 64)
		if err != nil || e.Dir || len(e.Name) != 20 {
			continue
		}
		if e.Size == 0 { // the process ended while it was made; it would be in the way when its turn comes
			if err := fsys.Remove(path.Join(l.dir, e.Name)); err != nil {
				return l, fmt.Errorf("timer log: %w", err)
			}
			continue
		}
		f, err := fsys.Open(path.Join(l.dir, e.Name))
		if err != nil {
			return l, fmt.Errorf("timer log: %w", err)
		}
		if len(l.files) == 0 {
			l.size = e.Size
		}
		l.files = append(l.files, &logFile{base: base, f: f})
		if e.Size != l.size || base%l.size != 0 || base != l.files[0].base+int64(len(l.files)-1)*l.size {
			return l, fmt.Errorf("%w at the file %s of %d bytes", errNoUnit, e.Name, e.Size)
		}
	}
	if len(l.files) > 0 {
		l.end = l.files[0].base
	}
	if l.size < unitSize+blankSize {
		return l, fmt.Errorf("%w: files of %d bytes hold nothing", errNoUnit, l.size)
	}
	return l, nil
}

// begin is the first position that there is.
func (l *timerLog) begin() int64 {
	if len(l.files) == 0 {
		return l.end
	}
	return l.files[0].base
}

func (l *timerLog) file(pos int64) *logFile {
	if len(l.files) == 0 || pos < l.files[0].base {
		return nil
	}
	if i := int((pos - l.files[0].base) / l.size); i < len(l.files) {
		return l.files[i]
	}
	return nil
}

// add gives a unit its position. It is in the file after the next write.
func (l *timerLog) add(u *unit) (pos int64, err error) {
	if f := l.file(l.end); f == nil || f.base+l.size-l.end < unitSize+blankSize {
		if err := l.roll(f); err != nil {
			return 0, err
		}
	}
	pos = l.end
	l.staged = u.append(l.staged)
	l.end += unitSize
	return pos, nil
}

// roll ends the file that is full, and makes the next.
func (l *timerLog) roll(full *logFile) error {
	if err := l.write(); err != nil {
		return err
	}
	base := l.end - l.end%l.size
	if full != nil {
		mark := make([]byte, 0, blankSize)
		mark = binary.BigEndian.AppendUint32(mark, uint32(full.base+l.size-l.end))
		mark = binary.BigEndian.AppendUint64(mark, 0)
		mark = binary.BigEndian.AppendUint32(mark, blankMagic)
		if room := full.base + l.size - l.end; room >= blankSize {
			if _, err := full.f.WriteAt(mark, l.end-full.base); err != nil {
				return fmt.Errorf("timer log: %w", err)
			}
			full.dirty = true
		}
		base = full.base + l.size
	}
	if err := l.fs.MkdirAll(l.dir); err != nil {
		return fmt.Errorf("timer log: %w", err)
	}
	f, err := l.fs.Create(l.name(base))
	if errors.Is(err, fs.ErrExist) { // an attempt that failed could not take it away again
		if err = l.fs.Remove(l.name(base)); err == nil {
			f, err = l.fs.Create(l.name(base))
		}
	}
	if err == nil {
		err = errors.Join(f.Truncate(l.size), l.fs.SyncDir(l.dir))
	}
	if err != nil {
		if f != nil {
			_ = f.Close()
			_ = l.fs.Remove(l.name(base)) // an empty file would be in the way of the next attempt
		}
		return fmt.Errorf("timer log: %w", err)
	}
	l.files = append(l.files, &logFile{base: base, f: f})
	l.end = base
	return nil
}

func (l *timerLog) name(base int64) string { return path.Join(l.dir, fmt.Sprintf("%020d", base)) }

// write puts what is staged into the file.
func (l *timerLog) write() error {
	if len(l.staged) == 0 {
		return nil
	}
	at := l.end - int64(len(l.staged))
	f := l.file(at)
	if _, err := f.f.WriteAt(l.staged, at-f.base); err != nil {
		return fmt.Errorf("timer log: %w", err)
	}
	f.dirty = true
	l.staged = l.staged[:0]
	l.block = l.block[:0] // it may have ended where this begins
	return nil
}

// read gets the unit at a position, which must have been written.
func (l *timerLog) read(pos int64, u *unit) error {
	f := l.file(pos)
	if f == nil {
		return fmt.Errorf("%w at %d: there is no such file", errNoUnit, pos)
	}
	if pos < l.blockAt || pos+unitSize > l.blockAt+int64(len(l.block)) {
		if err := l.load(f, pos); err != nil {
			return err
		}
	}
	if pos >= l.blockAt+int64(len(l.block)) {
		return fmt.Errorf("%w at %d", errNoUnit, pos)
	}
	if err := u.parse(l.block[pos-l.blockAt:]); err != nil {
		return fmt.Errorf("%w at %d", err, pos)
	}
	return nil
}

// load reads the block around a position.
func (l *timerLog) load(f *logFile, pos int64) error {
	if l.block == nil {
		l.block = make([]byte, 0, blockSize+unitSize)
	}
	start := (pos - f.base) - (pos-f.base)%blockSize
	l.blockAt = f.base + start
	l.block = l.block[:min(int64(cap(l.block)), l.size-start)]
	n, err := f.f.ReadAt(l.block, start)
	l.block = l.block[:n]
	if err != nil && !errors.Is(err, io.EOF) {
		l.block = l.block[:0]
		return fmt.Errorf("timer log: read %s: %w", l.name(f.base), err)
	}
	return nil
}

// cut drops what is behind a position, which is in the last file that stays.
func (l *timerLog) cut(end int64) error {
	l.block, l.staged, l.end = l.block[:0], l.staged[:0], end
	for len(l.files) > 0 {
		last := l.files[len(l.files)-1]
		if last.base < end || last.base == end && len(l.files) == 1 {
			if room := last.base + l.size - end; room > 0 {
				// Whole units from before a crash would come back to life behind those that will be written here.
				if err := last.f.Zero(end-last.base, room); err != nil {
					return fmt.Errorf("timer log: %w", err)
				}
				last.dirty = true
			}
			return nil
		}
		if err := l.remove(len(l.files) - 1); err != nil {
			return err
		}
	}
	return nil
}

// remove deletes a file.
func (l *timerLog) remove(i int) error {
	f := l.files[i]
	l.files = slices.Delete(l.files, i, i+1)
	l.block = l.block[:0]
	if err := errors.Join(f.f.Close(), l.fs.Remove(l.name(f.base))); err != nil {
		return fmt.Errorf("timer log: %w", err)
	}
	return nil
}

// clean deletes the files at the front all of whose messages are gone from the commit log, which begins at least.
func (l *timerLog) clean(least int64) error {
	for len(l.files) > 1 && !l.files[0].dirty {
		lastUnit := (l.size-blankSize)/unitSize*unitSize - unitSize
		var u unit
		if err := l.read(l.files[0].base+lastUnit, &u); err != nil && !errors.Is(err, errNoUnit) || err == nil && u.phys >= least {
			return err
		}
		if err := l.remove(0); err != nil {
			return err
		}
	}
	return nil
}

// clear deletes everything.
func (l *timerLog) clear() error {
	var err error
	for len(l.files) > 0 {
		err = errors.Join(err, l.remove(len(l.files)-1))
	}
	if list, e := l.fs.ReadDir(l.dir); e == nil { // files that never made it into the list
		for _, i := range list {
			if !i.Dir {
				err = errors.Join(err, l.fs.Remove(path.Join(l.dir, i.Name)))
			}
		}
	}
	l.end, l.staged, l.block = 0, l.staged[:0], l.block[:0]
	return err
}

func (l *timerLog) close() error {
	var err error
	for _, f := range l.files {
		err = errors.Join(err, f.f.Close())
	}
	l.files = nil
	return err
}

// topicHash is String.hashCode, which counts in UTF-16 units.
func topicHash(topic []byte) int32 {
	var h int32
	for _, r := range string(topic) {
		if r >= 0x10000 {
			r -= 0x10000
			h = 31*h + (0xD800 + r>>10)
			r = 0xDC00 + r&0x3FF
		}
		h = 31*h + r
	}
	return h
}
