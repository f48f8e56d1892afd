package inspect

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Sizes of the entries of queues and index files.
const (
	EntrySize      = 20 // of a queue
	BatchEntrySize = 46 // of a batch queue, and of the queue of a compaction log
	IndexEntrySize = 20
	IndexSlotSize  = 4
	IndexHeadSize  = 40
)

// Entry is one entry of a queue (docs/format/consumequeue.md).
type Entry struct {
	QueueOffset    int64 `json:"queueOffset"`
	PhysicalOffset int64 `json:"physicalOffset"`
	Size           int32 `json:"size"`
	TagsCode       int64 `json:"tagsCode"`
	StoreTimestamp int64 `json:"storeTimestamp,omitempty"` // of batch queues
	Count          int   `json:"count"`                    // messages in the record; 1 but in a batch queue
}

// blankSize is the record size of entries that only fill the start of a queue's first file.
const blankSize = 0x7FFFFFFF

// Blank tells whether the entry only fills the start of a queue's first file.
func (e *Entry) Blank() bool { return e.Size == blankSize }

// End is where the record that the entry points at ends.
func (e *Entry) End() int64 { return e.PhysicalOffset + int64(e.Size) }

// ExtAddress is the place in the queue's extension that the tags code stands for, false if it is a tags code.
func (e *Entry) ExtAddress() (int64, bool) {
	return e.TagsCode - math.MinInt64, e.TagsCode < math.MinInt32
}

// ParseEntry reads an entry of 20 bytes; its queue offset is where it stands, which the caller knows. ok is false where there is none.
func ParseEntry(b []byte) (e Entry, ok bool) {
	if len(b) < EntrySize {
		return e, false
	}
	e = Entry{
		PhysicalOffset: int64(binary.BigEndian.Uint64(b)), Size: int32(binary.BigEndian.Uint32(b[8:])),
		TagsCode: int64(binary.BigEndian.Uint64(b[12:])), Count: 1,
	}
	return e, e.PhysicalOffset >= 0 && e.Size > 0
}

// ParseBatchEntry reads an entry of 46 bytes. ok is false where there is none.
func ParseBatchEntry(b []byte) (e Entry, ok bool) {
	if len(b) < BatchEntrySize {
		return e, false
	}
	e, ok = ParseEntry(b)
	e.StoreTimestamp = int64(binary.BigEndian.Uint64(b[20:]))
	e.QueueOffset = int64(binary.BigEndian.Uint64(b[28:]))
	e.Count = int(int16(binary.BigEndian.Uint16(b[36:])))
	return e, ok && e.Count > 0 && e.QueueOffset >= 0
}

// IndexEntry is one entry of an index file (docs/format/index.md).
type IndexEntry struct {
	Number         int32 `json:"number"`
	Hash           int32 `json:"hash"`
	PhysicalOffset int64 `json:"physicalOffset"`
	Seconds        int32 `json:"seconds"` // since the file's beginTimestamp
	Before         int32 `json:"before"`  // the entry before it in the same slot, 0 for none
}

// ParseIndexEntry reads an entry of 20 bytes; its number is where it stands.
func ParseIndexEntry(b []byte) (e IndexEntry, ok bool) {
	if len(b) < IndexEntrySize {
		return e, false
	}
	be := binary.BigEndian
	return IndexEntry{
		Hash: int32(be.Uint32(b)), PhysicalOffset: int64(be.Uint64(b[4:])), Seconds: int32(be.Uint32(b[12:])), Before: int32(be.Uint32(b[16:])),
	}, true
}

// ParseIndexHeader reads the header of an index file, 40 bytes.
func ParseIndexHeader(b []byte) (ix Index, err error) {
	if len(b) < IndexHeadSize {
		return ix, fmt.Errorf("header of %d bytes", len(b))
	}
	long := func(at int) int64 { return int64(binary.BigEndian.Uint64(b[at:])) }
	return Index{
		BeginTime: long(0), EndTime: long(8), BeginPhys: long(16), EndPhys: long(24),
		SlotsUsed: int32(binary.BigEndian.Uint32(b[32:])), IndexCount: int32(binary.BigEndian.Uint32(b[36:])),
	}, nil
}

// ParseCheckpoint reads the checkpoint file; one of an older broker may lack its last number.
func ParseCheckpoint(b []byte) (*Checkpoint, error) {
	if len(b) < 40 {
		return nil, fmt.Errorf("checkpoint of %d bytes", len(b))
	}
	var whole [48]byte
	copy(whole[:], b)
	long := func(i int) int64 { return int64(binary.BigEndian.Uint64(whole[8*i:])) }
	return &Checkpoint{long(0), long(1), long(2), long(3), long(4), long(5)}, nil
}

// ExtUnitHead is what stands ahead of the bit map in the extension of a queue entry.
const ExtUnitHead = 20

// ExtUnit is the extension of a queue entry, which a Java broker with enableConsumeQueueExt writes (ConsumeQueueExt; spec: store.md 4.3).
type ExtUnit struct {
	Size           int    `json:"size"`
	TagsCode       int64  `json:"tagsCode"`
	StoreTimestamp int64  `json:"storeTimestamp"`
	BitMap         []byte `json:"bitMap,omitempty"` // of filters; as much of it as there was
}

// ParseExtUnit reads the extension at the start of b. ok is false where there is none, or the end of the file is marked.
//
//	offset size field
//	     0    2 size of the whole; -1 marks the end of the file
//	     2    8 tags code
//	    10    8 store time, ms
//	    18    2 size of the bit map
//	    20      bit map
func ParseExtUnit(b []byte) (u ExtUnit, ok bool) {
	if len(b) < ExtUnitHead {
		return u, false
	}
	be := binary.BigEndian
	u = ExtUnit{Size: int(int16(be.Uint16(b))), TagsCode: int64(be.Uint64(b[2:])), StoreTimestamp: int64(be.Uint64(b[10:]))}
	bits := int(int16(be.Uint16(b[18:])))
	if bits < 0 || u.Size != ExtUnitHead+bits {
		return u, false
	}
	u.BitMap = b[ExtUnitHead:min(len(b), ExtUnitHead+bits)]
	return u, true
}
