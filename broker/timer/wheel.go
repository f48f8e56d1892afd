package timer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"apogee/store/vfs"
)

// Sizes of the wheel (spec: store.md 12.2; Java TimerWheel, Slot). It has room for twice seven days at a precision of a second, so that what
// is behind the hand and what is ahead of it never share a slot.
const (
	slotSize   = 32
	slotsTotal = 7 * 24 * 3600
	slotCount  = 2 * slotsTotal
	wheelSize  = slotCount * slotSize
	pageSize   = vfs.PageSize
	pageSlots  = pageSize / slotSize
	pageCount  = slotCount / pageSlots
)

// slot is the chain of one time in the timer log.
//
//	offset size field
//	0      8    time / precision
//	8      8    position of the chain's oldest unit
//	16     8    position of its newest
//	24     4    messages less cancellations
//	28     4    0
type slot struct {
	first, last int64
	num         int32
}

// wheel is the slots in memory, by pages of the file. A page that was never used is not there: an unused wheel costs nothing. Its times
// are ms and multiples of the precision.
type wheel struct {
	precision int64
	pages     [pageCount]*[pageSize]byte
	dirty     []int // pages that differ from the file
	isDirty   [pageCount]bool
}

func (w *wheel) floor(ms int64) int64 { return ms - ms%w.precision }

func (w *wheel) index(ms int64) int { return int(ms / w.precision % slotCount) }

// get is the slot of a time, false if it has none. What an earlier turn of the wheel left behind does not count.
func (w *wheel) get(ms int64) (slot, bool) {
	i := w.index(ms)
	p := w.pages[i/pageSlots]
	if p == nil {
		return slot{}, false
	}
	b := p[i%pageSlots*slotSize:]
	if int64(binary.BigEndian.Uint64(b)) != ms/w.precision {
		return slot{}, false
	}
	return slot{
		first: int64(binary.BigEndian.Uint64(b[8:])), last: int64(binary.BigEndian.Uint64(b[16:])),
		num: int32(binary.BigEndian.Uint32(b[24:])),
	}, true
}

// taken tells whether the place of a time's slot is that of another one, not before a time.
func (w *wheel) taken(ms, from int64) bool {
	i := w.index(ms)
	p := w.pages[i/pageSlots]
	if p == nil {
		return false
	}
	at := int64(binary.BigEndian.Uint64(p[i%pageSlots*slotSize:])) * w.precision
	return at != ms && at >= from
}

func (w *wheel) put(ms int64, s slot) {
	b := w.edit(w.index(ms))
	binary.BigEndian.PutUint64(b, uint64(ms/w.precision))
	binary.BigEndian.PutUint64(b[8:], uint64(s.first))
	binary.BigEndian.PutUint64(b[16:], uint64(s.last))
	binary.BigEndian.PutUint32(b[24:], uint32(s.num))
	binary.BigEndian.PutUint32(b[28:], 0)
}

// drop empties the slot of a time.
func (w *wheel) drop(ms int64) { clear(w.edit(w.index(ms))) }

// edit is the bytes of a slot that is about to change.
func (w *wheel) edit(i int) []byte {
	n := i / pageSlots
	if w.pages[n] == nil {
		w.pages[n] = new([pageSize]byte)
	}
	w.touch(n)
	at := i % pageSlots * slotSize
	return w.pages[n][at : at+slotSize]
}

func (w *wheel) touch(page int) {
	if !w.isDirty[page] {
		w.isDirty[page] = true
		w.dirty = append(w.dirty, page)
	}
}

// each calls f with the slots of one turn from a time on, in order, until f says false.
func (w *wheel) each(from int64, f func(ms int64, s slot) bool) {
	from = w.floor(from)
	for n := 0; n < slotCount; {
		ms := from + int64(n)*w.precision
		i := w.index(ms)
		if w.pages[i/pageSlots] == nil {
			n += pageSlots - i%pageSlots
			continue
		}
		if s, ok := w.get(ms); ok && !f(ms, s) {
			return
		}
		n++
	}
}

// next is the first time from a time on that has a slot.
func (w *wheel) next(from int64) (ms int64, ok bool) {
	w.each(from, func(at int64, _ slot) bool {
		ms, ok = at, true
		return false
	})
	return ms, ok
}

// sum is the number of messages from a time on.
func (w *wheel) sum(from int64) (n int64) {
	w.each(from, func(_ int64, s slot) bool {
		n += int64(s.num)
		return true
	})
	return n
}

// reset empties all slots.
func (w *wheel) reset() {
	for n, p := range w.pages {
		if p != nil {
			clear(p[:])
			w.touch(n)
		}
	}
}

// page is a page to be written.
type page struct {
	number int
	data   [pageSize]byte
}

// takeDirty copies the pages that have changed, and takes them for written.
func (w *wheel) takeDirty(dst []page) []page {
	for _, n := range w.dirty {
		dst = append(dst, page{n, *w.pages[n]})
		w.isDirty[n] = false
	}
	w.dirty = w.dirty[:0]
	return dst
}

// errWheel says that there is a file which is no wheel.
var errWheel = errors.New("not a timer wheel")

// wheelName is the file's name under the root of the store.
const wheelName = "timerwheel"

// load reads the file: fs.ErrNotExist if there is none, errWheel if it is no wheel.
func (w *wheel) load(fsys vfs.FS, dir string) (err error) {
	f, err := fsys.Open(path.Join(dir, wheelName))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return err
	}
	if size != wheelSize {
		return fmt.Errorf("%w: %d bytes, want %d", errWheel, size, wheelSize)
	}
	buf := make([]byte, 256<<10)
	var zero [pageSize]byte
	for at := int64(0); at < wheelSize; {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), wheelSize-at)], at)
		if n < pageSize {
			return fmt.Errorf("%w: %v", errWheel, err)
		}
		n -= n % pageSize
		for p := buf[:n]; len(p) > 0; p = p[pageSize:] {
			if [pageSize]byte(p) != zero {
				w.pages[at/pageSize] = (*[pageSize]byte)(append([]byte(nil), p[:pageSize]...))
			}
			at += pageSize
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	return nil
}

// snapshots tells whether Java has left copies of the wheel (timerWheelSnapshotFlush): then the file itself is an old one.
func snapshots(fsys vfs.FS, dir string) bool {
	list, err := fsys.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, e := range list {
		if rest, ok := strings.CutPrefix(e.Name, wheelName+"."); ok && rest != "" && strings.Trim(rest, "0123456789") == "" {
			return true
		}
	}
	return false
}

// openWheel opens the file for writing; one that is missing or of a wrong size becomes an empty wheel.
func openWheel(fsys vfs.FS, dir string) (vfs.File, error) {
	name := path.Join(dir, wheelName)
	f, err := fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		if f, err = fsys.Create(name); err == nil {
			err = fsys.SyncDir(dir)
		}
	}
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err == nil && size != wheelSize {
		if err = f.Truncate(0); err == nil {
			err = f.Truncate(wheelSize)
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
