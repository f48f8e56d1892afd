package store

import (
	"errors"
	"io/fs"
	"math"
	"runtime/debug"
	"time"

	"apogee/internal/prefetch"
	"apogee/store/record"
)

// Limits of a read that are no configuration (DefaultMessageStore.getMessage).
const (
	getBytesLeast = 100
	getBytesMost  = 128 << 20
	noRoll        = math.MinInt64
	getUnits      = 32 // entries looked at in one go
)

// Get reads messages of one queue, from the offset on (spec: store.md 7, behaviour.md 5.2, 5.3). res is reset first; it holds
// on to files until its Release. Nothing is allocated once res has been used a few times. Cold data is read by whoever touches
// the regions, and here where a filter looks at records. A record that cannot be read just now ends the result; Next does not pass it.
func (s *Store) Get(req *GetRequest, res *GetResult) {
	res.Release()
	res.s, res.req, res.compacted = s, req, false
	res.Status, res.Next, res.Min, res.Max = NoMessageInQueue, req.Offset, 0, 0
	res.Count, res.Bytes, res.FromSlave, res.Err = 0, 0, false, nil
	res.Offsets = res.Offsets[:0]
	g := getter{s: s, o: s.options(), req: req, res: res}
	switch q := s.queues.get(req.Topic, req.QueueID); {
	case !req.Plain && (q == nil && s.kindOf(req.Topic) == CompactionQueue || q != nil && q.kind == CompactionQueue):
		if l := s.compact.find(req.Topic, req.QueueID); l != nil {
			g.q, res.compacted = q, true
			g.getCompacted(l)
			break
		}
		res.Status, res.Next = NoMatchedLogicQueue, g.corrected(0)
	case q != nil && !q.cq.served():
		res.Status, res.Next = NoMatchedLogicQueue, g.corrected(0)
	case q == nil:
		res.Next = g.corrected(0) // Java makes the queue and finds nothing in it
	default:
		g.q = q
		g.get()
	}
	if res.Err != nil {
		s.tellUnreadable(req, res)
	}
	if res.Status == Found {
		s.stats.getFound.Add(1)
		s.stats.getMessages.Add(int64(res.Count))
		s.stats.getBytes.Add(int64(res.Bytes))
	} else {
		s.stats.getMiss.Add(1)
	}
}

// getter is one read under way.
type getter struct {
	s   *Store
	o   *Options
	q   *queue
	req *GetRequest
	res *GetResult

	end       int64 // of the log
	nearby    int64 // so far from the end a record counts as in memory
	most      int64 // bytes
	next      int64
	last      int64 // log offset of the last entry looked at
	skipUntil int64 // entries before this log offset are known to be gone
	later     bool  // the record at next cannot be read just now
	damaged   *damaged
}

// corrected is the offset that a client is told to go on at; a replica leaves it to the client (nextOffsetCorrection).
func (g *getter) corrected(off int64) int64 {
	if g.o.BrokerRole == Slave && !g.o.OffsetCheckInSlave {
		return g.req.Offset
	}
	return off
}

func (g *getter) get() {
	c, off, res := &g.q.cq, g.req.Offset, g.res
	g.end = g.s.commit.end()
	res.Min, res.Max = c.bounds()
	switch {
	case res.Max == 0:
		res.Status, res.Next = NoMessageInQueue, g.corrected(0)
		return
	case off < res.Min:
		res.Status, res.Next = OffsetTooSmall, g.corrected(res.Min)
		return
	case off == res.Max:
		res.Status, res.Next = OffsetOverflowOne, g.corrected(off)
		return
	case off > res.Max:
		res.Status, res.Next = OffsetOverflowBadly, g.corrected(res.Max)
		return
	}
	g.prepare()
	if g.q.kind == BatchQueue {
		g.getBatch()
	} else {
		g.getUnits()
	}
	res.Next = g.next
	res.FromSlave = g.end-g.last > g.nearby
}

// prepare sets the bounds of a read that will look at entries.
func (g *getter) prepare() {
	g.nearby = g.s.nearby(g.o)
	g.most = getBytesMost
	if g.req.MaxBytes > 0 {
		g.most = min(max(int64(g.req.MaxBytes), getBytesLeast), getBytesMost)
	}
	g.next, g.skipUntil = g.req.Offset, noRoll
	g.damaged = g.s.damaged.Load()
	g.res.Status = NoMatchedMessage
}

// getUnits is the part of get that looks at the entries of a simple queue.
func (g *getter) getUnits() {
	c, res := &g.q.cq, g.res
	// An entry file at a time: a read goes on into the next file only while it has found nothing.
	perFile := c.files.fileSize / unitSize
	for n := 0; n < max(g.o.TravelCQFileNumWhenGetMessage, 1) && res.Bytes == 0 && g.next < res.Max && !g.later; n++ {
		if !g.scan(min(res.Max, (g.next/perFile+1)*perFile)) {
			res.Status = OffsetFoundNull
			g.next = g.corrected((g.next/perFile + 1) * perFile)
			break
		}
	}
}

// scan looks at entries up to an offset; false if they cannot be had.
func (g *getter) scan(to int64) bool {
	window := max(int64(g.o.MaxFilterMessageSize), int64(g.req.MaxCount)*unitSize)
	var units [getUnits * unitSize]byte
	for g.next < to {
		n, err := g.q.cq.read(g.next, units[:])
		if unreadable(err) {
			g.wait(err)
			return true
		}
		if err != nil || n == 0 {
			if g.res.Bytes > 0 || g.next != g.req.Offset {
				return true // tell what has been found; the next read starts where the trouble is
			}
			return false
		}
		for i := range int(min(int64(n), to-g.next)) {
			if (g.next-g.req.Offset)*unitSize >= window {
				return true
			}
			phys, size, tags := readUnit(units[i*unitSize:])
			if g.full(phys, int64(size), 1) {
				return true
			}
			if g.req.ByRecord && i+filterAhead < int(n) {
				g.fetch(units[(i+filterAhead)*unitSize:])
			}
			g.next++
			g.last = phys
			if g.look(phys, size, tags); g.later {
				g.next--
				return true
			}
		}
	}
	return true
}

// filterAhead is how many records ahead of the one that a filter looks at are fetched into the processor's cache.
const filterAhead = 3

// fetch fetches what a filter looks at of an entry's record: how it begins, and the properties at its end.
func (g *getter) fetch(unit []byte) {
	n := len(g.res.held)
	if n == 0 {
		return
	}
	phys, size, _ := readUnit(unit)
	f := g.res.held[n-1]
	pos := phys - f.base
	if pos < 0 || size < record.MinSize || pos+int64(size) > f.wrote.Load() {
		return
	}
	rec := f.data[pos : pos+int64(size)]
	prefetch.Lines(&rec[0])
	prefetch.Lines(&rec[max(0, len(rec)-256)])
	prefetch.Lines(&rec[max(0, len(rec)-128)])
}

// full tells whether the result takes no record of that size, place and number of messages (isTheBatchFull). The first one always fits.
func (g *getter) full(phys, size int64, n int) bool {
	res := g.res
	if res.Count == 0 || res.Bytes == 0 {
		return false
	}
	bytes := int64(res.Bytes) + size
	if res.Count+n > int(g.req.MaxCount) || bytes > g.most {
		return true
	}
	if g.end-phys <= g.nearby {
		return bytes > int64(g.o.MaxTransferBytesInMemory) || res.Count > int(g.o.MaxTransferCountInMemory)-1
	}
	return bytes > int64(g.o.MaxTransferBytesInDisk) || res.Count > int(g.o.MaxTransferCountInDisk)-1
}

// look takes one entry's record, if it is there and wanted.
func (g *getter) look(phys int64, size int32, tags int64) {
	if phys < g.skipUntil {
		return
	}
	if g.damaged != nil && g.damaged.covers(phys) {
		g.missed(NoMatchedMessage)
		return
	}
	// What is below the range of a hash is the place of an extension, which only Java reads: the record says what would be here.
	extended := tags < math.MinInt32
	if f := g.req.Filter; f != nil && !extended && !f.MatchTags(tags) {
		g.missed(NoMatchedMessage)
		return
	}
	rec, f, err := g.res.region(g.s, phys, int64(size))
	if unreadable(err) {
		g.wait(err)
		return
	}
	if rec == nil {
		g.missed(MessageWasRemoving)
		g.skipUntil = g.s.commit.nextFile(phys)
		return
	}
	if g.req.Filter != nil && !g.matchRecord(f, rec, extended) {
		g.missed(NoMatchedMessage)
		return
	}
	g.res.add(rec, phys)
	if g.req.Each {
		g.res.Offsets = append(g.res.Offsets, g.next-1) // scan is one ahead
	}
	g.res.Status = Found
	g.skipUntil = noRoll
}

// unreadable tells whether something that cannot be read is there all the same. Whoever went on behind it would never see it.
func unreadable(err error) bool {
	return err != nil && !errors.Is(err, errFileGone) && !errors.Is(err, errNoUnit) && !errors.Is(err, fs.ErrNotExist)
}

// wait ends the result ahead of what cannot be read.
func (g *getter) wait(err error) { g.later, g.res.Err = true, err }

// tellEach is how often it is told that messages cannot be read: who reads them tries again and again.
const tellEach = time.Second

func (s *Store) tellUnreadable(req *GetRequest, res *GetResult) {
	now := s.now().UnixNano()
	if last := s.told.Load(); now-last < int64(tellEach) || !s.told.CompareAndSwap(last, now) {
		return
	}
	s.log.Error("messages cannot be read", "topic", req.Topic, "queue", req.QueueID, "off", res.Next, "err", res.Err)
}

// missed is the status as long as nothing has been found.
func (g *getter) missed(status GetStatus) {
	if g.res.Bytes == 0 {
		g.res.Status = status
	}
}

// matchRecord asks the filter about a record, of an extended entry by its tags first; one that cannot be read does not match.
func (g *getter) matchRecord(f *mappedFile, rec []byte, extended bool) (ok bool) {
	var fault error // leaves ok false
	defer f.caught(&fault, debug.SetPanicOnFault(true))
	if extended && !g.req.Filter.MatchTags(g.s.tagsOf(rec)) {
		return false
	}
	return g.req.Filter.MatchRecord(rec)
}

// tagsOf is the tags code that a record's queue entry has where it has no extension.
func (s *Store) tagsOf(rec []byte) int64 {
	var h record.Header
	if record.Parse(rec, &h) != nil {
		return 0
	}
	words := record.ReadWords(stringView(h.Properties))
	return record.TagsCode(stringView(h.Topic), words.Tags, words.Delay, h.StoreTimestamp, s.delays)
}

// nearby is how far from the end of the log a record counts as in memory (StoreUtil.TOTAL_PHYSICAL_MEMORY_SIZE and
// accessMessageInMemoryMaxRatio).
func (s *Store) nearby(o *Options) int64 {
	return int64(float64(o.Memory) * float64(o.AccessMessageInMemoryMaxRatio) / 100)
}

// region finds a record, and holds its file for this result; nil if it is not in the log, or cannot be had.
func (r *GetResult) region(s *Store, phys, size int64) ([]byte, *mappedFile, error) {
	var f *mappedFile
	if n := len(r.held); n > 0 {
		f = r.held[n-1]
	}
	if f == nil || phys < f.base || phys >= f.end() {
		if f = s.commit.files.find(phys); f == nil {
			return nil, nil, nil
		}
		if err := f.hold(); err != nil {
			return nil, nil, err
		}
		r.held = append(r.held, f)
	}
	pos := phys - f.base
	if size <= 0 || pos+size > f.wrote.Load() {
		return nil, nil, nil
	}
	if err := f.cut(pos + size); err != nil {
		return nil, nil, err
	}
	return f.data[pos : pos+size : pos+size], f, nil
}

// add takes a record into the result. Records that lie side by side make one region.
func (r *GetResult) add(rec []byte, phys int64) {
	if n := len(r.Regions); n > 0 && r.joint == phys && r.jointFile == r.held[len(r.held)-1] {
		last := r.Regions[n-1]
		r.Regions[n-1] = r.jointFile.data[phys-r.jointFile.base-int64(len(last)) : phys-r.jointFile.base+int64(len(rec))]
	} else {
		r.Regions = append(r.Regions, rec)
	}
	r.jointFile, r.joint = r.held[len(r.held)-1], phys+int64(len(rec))
	r.Count++
	r.Bytes += len(rec)
}

// Release lets go of the files; the regions are not to be touched after it. Releasing twice does no harm.
func (r *GetResult) Release() {
	clear(r.Regions)
	r.Regions = r.Regions[:0]
	for i, f := range r.held {
		f.release()
		r.held[i] = nil
	}
	r.held, r.jointFile = r.held[:0], nil
}
