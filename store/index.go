package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path"

	"apogee/internal/prefetch"
	"apogee/store/vfs"
)

// An index file finds records by the hash of a key (docs/format/index.md): a header, a table of slots, and entries that are
// chained from their slot, the newest first.
//
//	offset size header field
//	     0    8 beginTimestamp  store time of the first entry's record, ms
//	     8    8 endTimestamp    of the last one's
//	    16    8 beginPhyOffset  commit-log offset of the first entry's record
//	    24    8 endPhyOffset    of the last one's
//	    32    4 hashSlotCount   slots in use
//	    36    4 indexCount      number of the next entry; starts at 1
//
//	a slot, at 40 + n*4: 4 bytes, number of its newest entry, 0 for none
//
//	offset size entry field, at 40 + slots*4 + n*20; entry 0 is not used
//	     0    4 hash of the key
//	     4    8 commit-log offset
//	    12    4 seconds since beginTimestamp
//	    16    4 number of the entry before it in its slot, 0 for none
const (
	indexHeaderSize = 40
	indexSlotSize   = 4
	indexEntrySize  = 20
)

// indexHeader is the header of a file, kept in memory while the file is known.
type indexHeader struct {
	beginTime, endTime int64
	beginPhys, endPhys int64
	slotCount, count   int32
}

func (h *indexHeader) decode(b []byte) {
	be := binary.BigEndian
	h.beginTime, h.endTime = int64(be.Uint64(b)), int64(be.Uint64(b[8:]))
	h.beginPhys, h.endPhys = int64(be.Uint64(b[16:])), int64(be.Uint64(b[24:]))
	h.slotCount, h.count = int32(be.Uint32(b[32:])), int32(be.Uint32(b[36:]))
	h.count = max(h.count, 1)
}

func (h *indexHeader) encode(b []byte) {
	be := binary.BigEndian
	_ = b[indexHeaderSize-1]
	be.PutUint64(b, uint64(h.beginTime))
	be.PutUint64(b[8:], uint64(h.endTime))
	be.PutUint64(b[16:], uint64(h.beginPhys))
	be.PutUint64(b[24:], uint64(h.endPhys))
	be.PutUint32(b[32:], uint32(h.slotCount))
	be.PutUint32(b[36:], uint32(h.count))
}

// indexFile is one file; indexFiles.mu guards it.
type indexFile struct {
	f       *mappedFile
	slots   int32
	entries int32
	head    indexHeader

	// Space that is known to be allocated: the file is sparse, and a write to a hole of a full disk is a fault.
	slotPieces []uint64 // a bit for each slotPiece
	entriesTo  int64
}

const (
	slotPiece   = 16 << 10
	entryPieces = 64 << 10
	entryMost   = 1 << 20
)

func indexFileSize(slots, entries int32) int64 {
	return indexHeaderSize + int64(slots)*indexSlotSize + int64(entries)*indexEntrySize
}

// indexHash is the hash that index files hold (IndexFile.indexKeyHashMethod).
func indexHash(h int32) int32 {
	if h < 0 {
		h = -h
	}
	return max(h, 0) // the least integer has no positive counterpart
}

func newIndexFile(f *mappedFile, slots, entries int32) *indexFile {
	x := &indexFile{f: f, slots: slots, entries: entries}
	x.slotPieces = make([]uint64, (int64(slots)*indexSlotSize/slotPiece+64)/64+1)
	return x
}

// openIndexFile reads the header of an existing file.
func openIndexFile(fsys vfs.FS, name string, slots, entries int32) (*indexFile, error) {
	x := newIndexFile(openMapped(fsys, name, 0, indexFileSize(slots, entries)), slots, entries)
	var b [indexHeaderSize]byte
	if err := readFileAt(x.f, b[:], 0); err != nil {
		return nil, err
	}
	x.head.decode(b[:])
	x.head.count = min(x.head.count, entries)
	return x, nil
}

// createIndexFile makes a file; it goes on where the one before, if not nil, has ended.
func createIndexFile(fsys vfs.FS, dir string, number int64, slots, entries int32, before *indexFile) (*indexFile, error) {
	f, err := createMapped(fsys, path.Join(dir, fmt.Sprintf("%017d", number)), 0, indexFileSize(slots, entries))
	if err != nil {
		return nil, err
	}
	x := newIndexFile(f, slots, entries)
	x.head.count = 1
	if before != nil {
		x.head.beginTime, x.head.endTime = before.head.endTime, before.head.endTime
		x.head.beginPhys, x.head.endPhys = before.head.endPhys, before.head.endPhys
	}
	return x, nil
}

func (x *indexFile) full() bool { return x.head.count >= x.entries }

func (x *indexFile) slotAt(hash int32) int64 {
	return indexHeaderSize + int64(hash%x.slots)*indexSlotSize
}

func (x *indexFile) entryAt(n int32) int64 {
	return indexHeaderSize + int64(x.slots)*indexSlotSize + int64(n)*indexEntrySize
}

// touch has the processor fetch the slots that records will change. They are anywhere in a table of 20 MB: each is a miss of the caches, and
// here the misses of many overlap, while put waits for each in turn. The file is held.
func (x *indexFile) touch(records []offer) {
	for i := range records {
		e := &records[i]
		for _, hash := range e.keys[:e.nkeys] {
			prefetch.Line(&x.f.data[x.slotAt(indexHash(hash))])
		}
	}
}

// put adds an entry; the file is held, not full, and the caller guards against faults and writes the header some time later.
func (x *indexFile) put(hash int32, phys, storeTime int64) error {
	slot, entry := x.slotAt(hash), x.entryAt(x.head.count)
	if err := x.reserve(slot, entry); err != nil {
		return err
	}
	be, b := binary.BigEndian, x.f.data
	before := int32(be.Uint32(b[slot:]))
	if before < 0 || before > x.head.count { // left by a crash: Java heals it in the same way
		before = 0
	}
	seconds := (storeTime - x.head.beginTime) / 1000
	if x.head.beginTime <= 0 || seconds < 0 {
		seconds = 0
	}
	e := b[entry : entry+indexEntrySize]
	be.PutUint32(e, uint32(hash))
	be.PutUint64(e[4:], uint64(phys))
	be.PutUint32(e[12:], uint32(min(seconds, math.MaxInt32)))
	be.PutUint32(e[16:], uint32(before))
	be.PutUint32(b[slot:], uint32(x.head.count))
	if x.head.count <= 1 {
		x.head.beginPhys, x.head.beginTime = phys, storeTime
	}
	if before == 0 {
		x.head.slotCount++
	}
	x.head.count++
	x.head.endPhys, x.head.endTime = phys, storeTime
	return nil
}

// reserve makes sure that a slot and an entry have blocks on disk.
func (x *indexFile) reserve(slot, entry int64) error {
	piece := slot / slotPiece
	if x.slotPieces[piece/64]&(1<<(piece%64)) == 0 {
		from := piece * slotPiece
		if err := x.allocate(from, min(from+slotPiece, x.f.size)); err != nil {
			return err
		}
		x.slotPieces[piece/64] |= 1 << (piece % 64)
	}
	if end := entry + indexEntrySize; end > x.entriesTo {
		if x.entriesTo == 0 {
			x.entriesTo = entry &^ (vfs.PageSize - 1)
		}
		step := min(max(entry-x.entryAt(0), entryPieces), entryMost)
		to := min(max(end, x.entriesTo+step), x.f.size)
		if err := x.allocate(x.entriesTo, to); err != nil {
			return err
		}
		x.entriesTo = to
	}
	return nil
}

func (x *indexFile) allocate(from, to int64) error {
	file, err := x.f.fs.Open(x.f.path)
	if err != nil {
		return err
	}
	return errors.Join(file.Allocate(from, to-from), file.Close())
}

// writeHeader brings the file's header up to date; the file is held.
func (x *indexFile) writeHeader() { x.head.encode(x.f.data) }

// covers tells whether the file may have entries of a time range.
func (x *indexFile) covers(begin, end int64) bool {
	h := &x.head
	return begin < h.beginTime && end > h.endTime || begin >= h.beginTime && begin <= h.endTime || end >= h.beginTime && end <= h.endTime
}

// find appends the log offsets of entries with a hash and a time in the range to dst, the newest first, until it has most.
func (x *indexFile) find(dst []int64, hash int32, most int, begin, end int64) (found []int64, err error) {
	if x.head.count <= 1 {
		return dst, nil
	}
	if err := x.f.hold(); err != nil {
		return dst, err
	}
	defer x.f.release()
	err = x.f.guard(func() error {
		b, be := x.f.data, binary.BigEndian
		n := int32(be.Uint32(b[x.slotAt(hash):]))
		for above := x.head.count; len(dst) < most; {
			// Entries are chained to older ones, so what does not get smaller is damage (Java looks for n == above only).
			if n <= 0 || n >= above {
				return nil
			}
			e := b[x.entryAt(n):]
			seconds := int32(be.Uint32(e[12:]))
			if seconds < 0 {
				return nil
			}
			at := x.head.beginTime + int64(seconds)*1000
			if int32(be.Uint32(e)) == hash && at >= begin && at <= end {
				dst = append(dst, int64(be.Uint64(e[4:])))
			}
			if at < begin {
				return nil
			}
			above, n = n, int32(be.Uint32(e[16:]))
		}
		return nil
	})
	return dst, err
}
