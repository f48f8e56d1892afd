package store

import (
	"unsafe"

	"apogee/store/record"
)

// What is read of the log is not checked while it is in memory: it is what was written there. What comes from a disk may have changed
// there. So whoever waits for the disk has what it brought checked, and gives out nothing that is damaged.

// Load waits until the regions are in memory, and checks their records. What is damaged is noted, and read over: then the result is another
// one, and may have nothing left. A read of cold data does so on a lane, so that the event loop, which may be the one that writes the
// answer, never waits for the disk. The request must be as it was when it was read.
func (r *GetResult) Load() {
	for r.load(); !r.verify(); r.load() {
		r.s.Get(r.req, r)
	}
}

// load waits for the disk.
func (r *GetResult) load() {
	for _, region := range r.Regions {
		if f := r.fileOf(region); f != nil {
			f.mapping.Load(f.positionOf(region), int64(len(region)))
		}
	}
}

// fileOf is the file that a region lies in, nil for one that somebody else has made.
func (r *GetResult) fileOf(region []byte) *mappedFile {
	at := uintptr(unsafe.Pointer(unsafe.SliceData(region)))
	for _, f := range r.held {
		if f.contains(at) {
			return f
		}
	}
	return nil
}

func (f *mappedFile) positionOf(region []byte) int64 {
	return int64(uintptr(unsafe.Pointer(unsafe.SliceData(region))) - uintptr(unsafe.Pointer(unsafe.SliceData(f.data))))
}

// verify checks all records; false if there are some that have not been known to be damaged. Each round notes at least one, so there
// is an end to them.
func (r *GetResult) verify() bool {
	if r.s == nil || r.compacted {
		return true
	}
	whole := true
	for i, region := range r.Regions {
		f := r.fileOf(region)
		if f == nil {
			continue
		}
		var bad []extent
		pos, size := f.positionOf(region), len(region)
		if i+1 < len(r.Regions) && r.fileOf(r.Regions[i+1]) == f {
			if next := f.positionOf(r.Regions[i+1]); next > pos && next < pos+int64(size) {
				size = int(next - pos) // where the next record is, this one is not any more
			}
		}
		err := f.guard(func() error {
			rest := f.data[pos:f.wrote.Load()]
			bad, size = damagedIn(rest[:min(len(rest), size+recordMost)], size, f.base+pos)
			return nil
		})
		if err == nil && size < len(region) { // an entry says that its record is longer than it is
			r.Regions[i] = region[:size]
			r.Bytes -= len(region) - size
		}
		if err != nil { // the disk has no more than that: all of it
			bad = []extent{{f.base + pos, f.base + pos + int64(len(region))}}
		}
		for _, e := range bad {
			if r.s.isDamaged(e.start) {
				continue
			}
			whole = false
			r.s.noteDamage(e)
			r.s.log.Error("commit log is damaged: messages are not given out any more", "file", f.path, "from", e.start, "to", e.end,
				"topic", r.req.Topic, "queue", r.req.QueueID, "near", r.req.Offset, "err", err)
		}
	}
	return whole
}

// recordMost is how far behind a region the next record is looked for.
const recordMost = 8 << 20

// damagedIn is the parts of a region that are no valid records, and how long the region is in whole records. The region is the first size
// bytes of b, at that offset of the log. What is behind it tells where a damaged part ends: an entry that says wrongly where its record is
// must not hide others.
func damagedIn(b []byte, size int, base int64) (bad []extent, whole int) {
	var h record.Header
	pos := 0
	for pos < size {
		at := base + int64(pos)
		if record.Parse(b[pos:], &h) == nil && h.PhysicalOffset == at && h.CheckBody() == nil {
			if pos+h.Size > size {
				return bad, pos
			}
			pos += h.Size
			continue
		}
		next := nextRecord(b[pos:], at, 1, &h)
		if next < 0 || pos+next > size {
			next = size - pos
		}
		bad = append(bad, extent{at, at + int64(next)})
		pos += next
	}
	return bad, size
}
