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
	for _, region := range r.Regions {
		f := r.fileOf(region)
		if f == nil {
			continue
		}
		var bad []extent
		pos := f.positionOf(region)
		err := f.guard(func() error {
			bad = damagedIn(region, f.base+pos)
			return nil
		})
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

// damagedIn is the parts of a region that are no valid records; the region is at that offset of the log.
func damagedIn(region []byte, base int64) (bad []extent) {
	var h record.Header
	for pos := 0; pos < len(region); {
		at := base + int64(pos)
		if record.Parse(region[pos:], &h) == nil && h.PhysicalOffset == at && h.CheckBody() == nil {
			pos += h.Size
			continue
		}
		next := nextRecord(region[pos:], at, 1, &h)
		if next < 0 {
			next = len(region) - pos
		}
		bad = append(bad, extent{at, at + int64(next)})
		pos += next
	}
	return bad
}
