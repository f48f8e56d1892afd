package inspect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// Java's defaults for an index file.
const (
	DefaultIndexSlots   = 5000000
	DefaultIndexEntries = 20000000
)

// IndexFileSize is the size of an index file.
func IndexFileSize(slots, entries int32) int64 { return indexEntryAt(slots, int64(entries)) }

func indexEntryAt(slots int32, n int64) int64 {
	return IndexHeadSize + int64(slots)*IndexSlotSize + n*IndexEntrySize
}

// IndexSlots finds out how many slots an index file has, which it does not say: as by default if it is of that size, else so that its first and
// last entry are where its header says, and the last is the newest of its slot.
func IndexSlots(r io.ReaderAt, size int64, h *Index) (int32, error) {
	if size == IndexFileSize(DefaultIndexSlots, DefaultIndexEntries) {
		return DefaultIndexSlots, nil
	}
	unknown := fmt.Errorf("an index file of %d bytes, not the %d of default settings: maxHashSlotNum and maxIndexNum cannot be told from it",
		size, IndexFileSize(DefaultIndexSlots, DefaultIndexEntries))
	if h.IndexCount < 2 {
		return 0, unknown
	}
	var want [8]byte
	binary.BigEndian.PutUint64(want[:], uint64(h.BeginPhys))
	buf := make([]byte, 1<<20)
	for at := int64(IndexHeadSize); at < size; {
		n, err := r.ReadAt(buf[:min(int64(len(buf)), size-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if n < IndexEntrySize {
			break
		}
		for i := 0; i+IndexEntrySize <= n; i += 4 {
			if [8]byte(buf[i+4:i+12]) != want {
				continue
			}
			slots := (at + int64(i) - IndexHeadSize - IndexEntrySize) / IndexSlotSize
			if slots > 0 && slots < math.MaxInt32 && (size-indexEntryAt(int32(slots), 0))%IndexEntrySize == 0 && slotsFit(r, h, int32(slots)) {
				return int32(slots), nil
			}
		}
		at += int64(n-IndexEntrySize)/4*4 + 4
	}
	return 0, unknown
}

func slotsFit(r io.ReaderAt, h *Index, slots int32) bool {
	var b [IndexEntrySize]byte
	read := func(n int32) (IndexEntry, bool) {
		if got, _ := r.ReadAt(b[:], indexEntryAt(slots, int64(n))); got < len(b) {
			return IndexEntry{}, false
		}
		return ParseIndexEntry(b[:])
	}
	first, ok := read(1)
	last, ok2 := read(h.IndexCount - 1)
	if !ok || !ok2 || first.Before != 0 || first.PhysicalOffset != h.BeginPhys || last.PhysicalOffset != h.EndPhys || last.Hash < 0 {
		return false
	}
	var slot [IndexSlotSize]byte
	got, _ := r.ReadAt(slot[:], IndexHeadSize+int64(last.Hash%slots)*IndexSlotSize)
	return got == len(slot) && int32(binary.BigEndian.Uint32(slot[:])) == h.IndexCount-1
}
