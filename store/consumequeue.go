package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"sync/atomic"
)

// A consume queue is the list of one queue's records, as entries of fixed size (docs/format/consumequeue.md).
//
//	offset size field
//	     0    8 where the record starts in the commit log
//	     8    4 size of the record
//	    12    8 tags code
//
// Entry n of the queue lies at byte n*20 of its files. Units that fill the space ahead of a queue that starts inside a file
// are (0, 0x7FFFFFFF, 0); they look valid and are kept out of sight by the queue's min offset.
const (
	unitSize  = 20
	unitSizeF = 8  // offset of the size field
	unitTagsF = 12 // offset of the tags code
	blankSize = math.MaxInt32
)

func putUnit(b []byte, phys int64, size int32, tags int64) {
	_ = b[unitSize-1]
	binary.BigEndian.PutUint64(b, uint64(phys))
	binary.BigEndian.PutUint32(b[unitSizeF:], uint32(size))
	binary.BigEndian.PutUint64(b[unitTagsF:], uint64(tags))
}

func readUnit(b []byte) (phys int64, size int32, tags int64) {
	_ = b[unitSize-1]
	return int64(binary.BigEndian.Uint64(b)), int32(binary.BigEndian.Uint32(b[unitSizeF:])), int64(binary.BigEndian.Uint64(b[unitTagsF:]))
}

// blankUnit tells a unit of the fill ahead of a queue's first entry.
func blankUnit(phys int64, size int32) bool { return phys == 0 && size == blankSize }

// consumeQueue is one queue: its newest entries in memory, the rest in files.
//
// Dispatch only touches memory; the saver (queuesave.go) writes entries out later, many at once. So dispatching never waits
// for a disk and can be done by whoever has put a message, ten thousand queues cost neither mappings nor descriptors, and a
// full disk is an error of a write. What a killed process had not written out is dispatched again at the next start: the
// checkpoint only counts what has been saved and synced.
//
// Readers take no lock: max is published after the entry's bytes, a chunk is unlinked only after its entries are in files, and used
// again only if nobody reads then.
type consumeQueue struct {
	files *mappedQueue // nil: its topic cannot be the name of a directory, nothing is dispatched or served

	max  atomic.Int64          // the next entry
	tail atomic.Pointer[chunk] // newest chunk, nil where all is in files

	// Under the right to dispatch.
	room    []byte // of tail, what has no entries yet
	physEnd int64  // end of the furthest record: what comes again is ignored

	listed  atomic.Bool // in dispatcher.unsaved; set under the right to dispatch, cleared by the saver before it looks at max
	dropped atomic.Bool // deleted: nothing is entered or written any more

	saved atomic.Int64 // entries before it are in files; stored under saveMu
	min   atomic.Int64 // first entry whose record is still in the log

	// Under saveMu.
	saveMu sync.Mutex // serialises what changes files; held across writes. Taken before no other lock but file references
	synced int64      // entries before it are durable

	minPhys int64 // a lower bound of the log offset at min, -1 for none; the cleaner's own (and recovery's)

	// The saver's own.
	idleAt int64 // max at the last thorough pass
	toSync bool  // in saver.unsynced

	reads   atomic.Int32 // file reads since the last look, for unmapping
	reading atomic.Int32 // readers that may have a chunk: those that have been taken out of the queue before it was 0 are nobody's

	broken bool // recovery's: entries that were there are lost

	width int64        // bytes of an entry
	inner *batchBounds // of a batch queue only
}

// put appends the entry of a record whose queue offset is unit, and returns the offset after it; added is false for what the
// queue knows already. As in Java (spec: store.md 4.1) an entry that should stand further back is ignored too, and one that
// leaves a gap is appended without it: the caller logs that. Under the right to dispatch.
func (c *consumeQueue) put(unit, phys int64, size int32, tags int64, heap *chunkHeap) (next int64, added bool) {
	max := c.max.Load()
	if phys+int64(size) <= c.physEnd || c.dropped.Load() {
		return max, false
	}
	if unit != max {
		if unit < max {
			return max, false
		}
		if max == 0 && c.saved.Load() == 0 && c.files.last() == nil {
			// The first entry of a queue that does not start at 0 (a replica, a log whose beginning is gone).
			c.min.Store(unit)
			c.saved.Store(unit)
			max = unit
		}
	}
	if len(c.room) == 0 {
		c.grow(max, heap)
	}
	putUnit(c.room, phys, size, tags)
	c.room = c.room[unitSize:]
	c.physEnd = phys + int64(size)
	c.max.Store(max + 1)
	return max + 1, true
}

// heapPlenty is how much memory chunks may take before they stop growing.
const heapPlenty = 8 << 20

func (c *consumeQueue) grow(base int64, heap *chunkHeap) {
	n, last := chunkLeast, c.tail.Load()
	if last != nil && heap.Load() < heapPlenty {
		n = min(2*cap(last.buf)/unitSize, chunkMost)
	}
	ch := heap.get(n, base, int(c.width))
	ch.prev.Store(last)
	c.tail.Store(ch)
	c.room = ch.buf
}

// forget lets go of all chunks. Under the right to dispatch.
func (c *consumeQueue) forget(heap *chunkHeap) {
	ch := c.tail.Swap(nil)
	c.room = nil
	heap.put(ch, c.reading.Load() != 0)
}

// fileless tells whether the queue has no file yet. Where it has entries in files, that need not be looked at.
func (c *consumeQueue) fileless() bool {
	return c.saved.Load() <= c.min.Load() && c.files.last() == nil
}

// served tells whether the queue is of the kind that is dispatched and read.
func (c *consumeQueue) served() bool { return c.files != nil }

// errNoUnit says that an entry between min and max is in no file.
var errNoUnit = errors.New("no such entry in the consume queue")

// read copies entries from unit on into dst, as many as are at hand in one place, and returns how many; 0 at the end of the queue.
func (c *consumeQueue) read(unit int64, dst []byte) (int, error) {
	max := c.max.Load() // first: what it counts is in the chunks and files that are looked at next
	if unit >= max {
		return 0, nil
	}
	if n := c.readChunks(unit, max, dst); n > 0 {
		return n, nil
	}
	return c.readFile(unit, dst)
}

// readChunks is read from memory, 0 where the entry is in files.
func (c *consumeQueue) readChunks(unit, max int64, dst []byte) int {
	c.reading.Add(1)
	defer c.reading.Add(-1)
	for ch := c.tail.Load(); ch != nil; ch = ch.prev.Load() {
		if unit >= ch.base {
			to := min(max, ch.base+int64(c.units(len(ch.buf))))
			return c.units(copy(dst, ch.buf[(unit-ch.base)*c.width:(to-ch.base)*c.width]))
		}
	}
	return 0
}

// units is how many entries so many bytes are. Each read asks; a constant divides in a tenth of the time.
func (c *consumeQueue) units(bytes int) int {
	if c.inner != nil {
		return bytes / batchUnitSize
	}
	return bytes / unitSize
}

// readFile is read from the files.
func (c *consumeQueue) readFile(unit int64, dst []byte) (int, error) {
	off := unit * c.width
	f := c.files.find(off)
	if f == nil {
		return 0, fmt.Errorf("%s, entry %d: %w", c.files.dir, unit, errNoUnit)
	}
	n := int64(c.units(int(min(int64(len(dst)), f.end()-off, c.saved.Load()*c.width-off)))) * c.width
	if n <= 0 {
		return 0, fmt.Errorf("%s, entry %d: %w", c.files.dir, unit, errNoUnit)
	}
	dst = dst[:n]
	if err := f.hold(); err != nil {
		if errors.Is(err, errFileGone) {
			return 0, fmt.Errorf("%s, entry %d: %w", c.files.dir, unit, errNoUnit)
		}
		// No mapping to be had, perhaps too many: read it the plain way.
		return c.units(int(n)), readFileAt(f, dst, off-f.base)
	}
	c.mapped()
	err := f.readAt(off-f.base, dst)
	f.release()
	return c.units(int(n)), err
}

// mapped notes that files of the queue have been mapped for reading.
func (c *consumeQueue) mapped() {
	if c.reads.Load() != idlePasses {
		c.reads.Store(idlePasses)
	}
}

// readFileAt reads without a mapping. It has a buffer of its own so that dst, which is on the stack as a rule, may stay there.
func readFileAt(f *mappedFile, dst []byte, pos int64) error {
	file, err := f.fs.Open(f.path)
	if err != nil {
		return err
	}
	buf := make([]byte, len(dst))
	n, err := file.ReadAt(buf, pos)
	if n == len(buf) && errors.Is(err, io.EOF) {
		err = nil
	}
	copy(dst, buf[:n])
	return errors.Join(err, file.Close())
}

// recordOf is where the record of the message at an offset lies.
func (c *consumeQueue) recordOf(off int64) (phys int64, size int32, ok bool) {
	if c.inner == nil {
		phys, size, _, ok = c.unit(off)
		return phys, size, ok
	}
	if lo, hi := c.bounds(); off < lo || off >= hi {
		return 0, 0, false
	}
	unit, ok := c.locate(off)
	if !ok {
		return 0, 0, false
	}
	phys, size, _, ok = c.unit(unit)
	return phys, size, ok
}

// unit is one entry; ok is false where there is none to be had.
func (c *consumeQueue) unit(n int64) (phys int64, size int32, tags int64, ok bool) {
	if n < c.min.Load() {
		return 0, 0, 0, false
	}
	var b [batchUnitSize]byte
	if got, err := c.read(n, b[:c.width]); got != 1 || err != nil {
		return 0, 0, 0, false
	}
	phys, size, tags = readUnit(b[:])
	return phys, size, tags, true
}
