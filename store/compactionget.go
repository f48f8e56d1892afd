package store

// getCompacted is the part of get that reads a compaction log, a file at a time. Filters are the client's business, as in Java.
func (g *getter) getCompacted(l *compactionLog) {
	res, off := g.res, g.req.Offset
	res.Min, res.Max = l.bounds()
	switch {
	case off > res.Max && g.q != nil && off <= g.q.cq.max.Load(): // it is being copied
		res.Status, res.Next = OffsetOverflowOne, g.corrected(off)
		return
	case res.Max == 0:
		res.Min = 0
		res.Status, res.Next = NoMessageInQueue, g.corrected(0)
		return
	case off == res.Max:
		res.Status, res.Next = OffsetOverflowOne, g.corrected(off)
		return
	case off > res.Max && res.Min == 0:
		res.Status, res.Next = OffsetOverflowBadly, g.corrected(0)
		return
	case off > res.Max:
		res.Status, res.Next = OffsetOverflowBadly, g.corrected(res.Max)
		return
	}
	g.prepare()
	for range compactedTries {
		if g.scanCompacted(l) {
			return
		}
		// The files were written anew meanwhile.
	}
	res.Status, res.Next = OffsetFoundNull, g.corrected(0)
}

// compactedTries is how often a read looks for the files of a log: they change at long intervals.
const compactedTries = 3

// scanCompacted reads from the file that has the next message; false if the file is gone.
func (g *getter) scanCompacted(l *compactionLog) bool {
	res := g.res
	for _, seg := range l.list() {
		if seg.last.Load() < g.req.Offset {
			continue
		}
		n := seg.n.Load()
		g.end = seg.log.base + seg.log.wrote.Load()
		i, err := seg.search(g.req.Offset)
		for ; err == nil && i < n; i++ {
			var u batchUnit
			if u, err = seg.unit(i); err != nil || g.full(u.phys, int64(u.size), 1) {
				break
			}
			rec := res.regionOf(seg.log, u.phys, int64(u.size))
			if rec == nil {
				break
			}
			res.add(rec, u.phys)
			if g.req.Each {
				res.Offsets = append(res.Offsets, u.base)
			}
			res.Status, g.next, g.last = Found, u.base+1, u.phys
		}
		if res.Count == 0 {
			return false
		}
		res.Next = g.next
		res.FromSlave = g.end-g.last > g.nearby
		return true
	}
	return false
}

// regionOf finds a record in a file, and holds that for this result; nil if the file is gone.
func (r *GetResult) regionOf(f *mappedFile, phys, size int64) []byte {
	if n := len(r.held); n == 0 || r.held[n-1] != f {
		if f.hold() != nil {
			return nil
		}
		r.held = append(r.held, f)
	}
	pos := phys - f.base
	if size <= 0 || pos < 0 || pos+size > f.wrote.Load() {
		return nil
	}
	return f.data[pos : pos+size : pos+size]
}
