package store

import (
	"encoding/binary"
	"errors"
	"math"
	"runtime/debug"
	"strconv"
	"sync/atomic"

	"apogee/store/record"
)

// The queues of a BatchCQ topic have an entry for each record, which may hold many messages (an inner batch; Java BatchConsumeQueue,
// spec: store.md 4.4, docs/format/consumequeue.md). The offsets of such a queue count messages, so an entry is found by a search.
//
//	offset size field
//	     0    8 where the record starts in the commit log
//	     8    4 size of the record
//	    12    8 tags code
//	    20    8 store time
//	    28    8 offset of the first message
//	    36    2 number of messages
//	    38    4 -1
//	    42    4 0
//
// A record without INNER_NUM and INNER_BASE, or that is no inner batch, is a message of its own.
const (
	batchUnitSize  = 46
	batchUnitTimeF = 20
	batchUnitBaseF = 28
	batchUnitNumF  = 36
)

// batchUnit is one entry.
type batchUnit struct {
	phys int64
	size int32
	tags int64
	time int64
	base int64
	num  int16
}

func (u *batchUnit) put(b []byte) {
	_ = b[batchUnitSize-1]
	putUnit(b, u.phys, u.size, u.tags)
	be := binary.BigEndian
	be.PutUint64(b[batchUnitTimeF:], uint64(u.time))
	be.PutUint64(b[batchUnitBaseF:], uint64(u.base))
	be.PutUint16(b[batchUnitNumF:], uint16(u.num))
	be.PutUint32(b[38:], math.MaxUint32)
	be.PutUint32(b[42:], 0)
}

func (u *batchUnit) read(b []byte) {
	_ = b[batchUnitSize-1]
	u.phys, u.size, u.tags = readUnit(b)
	be := binary.BigEndian
	u.time, u.base, u.num = int64(be.Uint64(b[batchUnitTimeF:])), int64(be.Uint64(b[batchUnitBaseF:])), int16(be.Uint16(b[batchUnitNumF:]))
}

// end is the offset after the last message.
func (u *batchUnit) end() int64 { return u.base + int64(u.num) }

// validBatchUnit is what recovery asks of an entry, beyond what it asks of any.
func validBatchUnit(b []byte) bool {
	var u batchUnit
	u.read(b)
	return u.base >= 0 && u.base <= unitMost && u.num > 0
}

// batchBounds are the offsets of a batch queue; min and max of the queue itself count entries.
type batchBounds struct {
	min atomic.Int64 // -1 as long as there has never been an entry
	max atomic.Int64 // stored after the queue's own
}

// bounds are the offsets that can be read.
func (c *consumeQueue) bounds() (lo, hi int64) {
	if c.inner != nil {
		hi = c.inner.max.Load()
		return c.inner.min.Load(), hi
	}
	return c.min.Load(), c.max.Load()
}

// end is the offset of the next message.
func (c *consumeQueue) end() int64 {
	_, hi := c.bounds()
	return hi
}

// putBatch is put for an entry of a batch queue. Under the right to dispatch.
func (c *consumeQueue) putBatch(u *batchUnit, heap *chunkHeap) bool {
	max := c.max.Load()
	if u.phys+int64(u.size) <= c.physEnd || c.dropped.Load() {
		return false
	}
	if len(c.room) == 0 {
		c.grow(max, heap)
	}
	u.put(c.room)
	c.room = c.room[batchUnitSize:]
	c.physEnd = u.phys + int64(u.size)
	if c.min.Load() == max {
		c.inner.min.Store(u.base)
	}
	c.max.Store(max + 1)
	c.inner.max.Store(u.end())
	return true
}

// batchUnit is the n-th entry.
func (c *consumeQueue) batchUnit(n int64) (u batchUnit, ok bool) {
	var b [batchUnitSize]byte
	if got, err := c.read(n, b[:]); got != 1 || err != nil {
		return u, false
	}
	u.read(b[:])
	return u, true
}

// rebound reads the offsets of a batch queue from its entries, of which there may be others than before. Nobody enters any meanwhile.
func (c *consumeQueue) rebound() error {
	if c.inner == nil {
		return nil
	}
	lo, hi := c.min.Load(), c.max.Load()
	c.inner.min.Store(-1)
	c.inner.max.Store(0)
	if hi == 0 || hi*c.width == c.files.minOffset() {
		return nil
	}
	last, ok := c.batchUnit(hi - 1)
	if !ok {
		return errNoUnit
	}
	c.inner.max.Store(last.end())
	return c.reboundMin(lo)
}

// reboundMin moves the least offset to that of an entry.
func (c *consumeQueue) reboundMin(lo int64) error {
	if c.inner == nil {
		return nil
	}
	end := c.inner.max.Load() // before c.max: an entry that comes in between starts here
	if end == 0 {
		return nil
	}
	if lo >= c.max.Load() {
		c.inner.min.Store(end)
		return nil
	}
	first, ok := c.batchUnit(lo)
	if !ok {
		return errNoUnit
	}
	c.inner.min.Store(first.base)
	return nil
}

// locate is the entry that has the message at an offset: the last that starts at or before it.
func (c *consumeQueue) locate(off int64) (unit int64, ok bool) {
	from, to := c.min.Load(), c.max.Load()
	first := from
	if ch := c.tail.Load(); ch != nil && ch.base > from && ch.base < to && c.recent(ch, off) {
		from = ch.base // no file is looked at
	}
	for from < to {
		mid := from + (to-from)/2
		u, ok := c.batchUnit(mid)
		if !ok {
			return 0, false
		}
		if u.base > off {
			to = mid
		} else {
			from = mid + 1
		}
	}
	return from - 1, from > first
}

// recent tells whether the message at an offset is in the newest chunk or behind it.
func (c *consumeQueue) recent(ch *chunk, off int64) bool {
	if ch == nil {
		return false
	}
	u, ok := c.batchUnit(ch.base)
	return ok && u.base <= off
}

// enterBatch gives a batch queue its entry of a record, and reports it.
func (d *dispatcher) enterBatch(q *queue, h *record.Header, tags int64) {
	c := &q.cq
	if !c.served() {
		return
	}
	u := batchUnit{phys: h.PhysicalOffset, size: int32(h.Size), tags: tags, time: h.StoreTimestamp, base: h.QueueOffset, num: 1}
	props := ""
	if h.SysFlag&record.SysInnerBatch != 0 { // in other records the properties are what somebody wrote into them
		props = stringView(h.Properties)
	}
	if num, base := record.Property(props, record.PropInnerNum), record.Property(props, record.PropInnerBase); num != "" && base != "" {
		n, err := strconv.ParseInt(num, 10, 16)
		at, err2 := strconv.ParseInt(base, 10, 64)
		if err != nil || err2 != nil {
			n = 0
		}
		u.num, u.base = int16(n), at
	}
	if u.num <= 0 || u.base < 0 || u.base > unitMost {
		d.s.log.Error("record of a batch queue says neither its offset nor its size", "topic", q.topic, "queue", q.id, "off", u.phys, "base", u.base, "messages", u.num)
		return
	}
	if !c.putBatch(&u, &d.heap) {
		return
	}
	d.noteEntry(q, u.phys)
	d.report(q, u.end(), u.phys, u.size, tags, u.time)
}

var (
	errInnerBatch   = errors.New("record: an inner batch that does not say how many messages it has")
	errUndispatched = errors.New("a record that has been put cannot be read, so its queue has no entry of it")
)

// innerCount is how many messages a message is: what it says, 1 if it says nothing; 0 if that is no number that can be.
func innerCount(m *record.Message) int64 {
	text := record.Property(m.Properties, record.PropInnerNum)
	if text == "" {
		return 1
	}
	n, err := strconv.ParseInt(text, 10, 16)
	if err != nil || n < 1 {
		return 0
	}
	return n
}

// baseLocked stores the queue offset of its first message with an inner batch, and measures it again. Under the append lock.
func (l *commitLog) baseLocked(m *record.Message, q *queue) (lay record.Layout, status PutStatus, err error) {
	o := l.s.options()
	m.Properties = string(record.SetProperty(nil, m.Properties, record.PropInnerBase, strconv.FormatInt(q.next, 10)))
	if lay, err = m.Measure(o.AppendPropCRC); err != nil {
		return lay, measureStatus(err), err
	}
	if lay.Total > o.MaxMessageSize+recordAllowance {
		return lay, MessageIllegal, errRecordTooLarge
	}
	return lay, PutOK, nil
}

// enterBatchSlip is enterBatch for a record that has just been put: its slip does not say how many messages it has.
func (d *dispatcher) enterBatchSlip(e *slip) (err error) {
	var h record.Header
	rec := d.recordAt(e.phys, e.size)
	if rec == nil {
		return errUndispatched
	}
	defer d.logFile.caught(&err, debug.SetPanicOnFault(true))
	if err := record.Parse(rec, &h); err != nil {
		return err
	}
	h.PhysicalOffset = e.phys
	d.enterBatch(e.queue, &h, e.tags)
	return nil
}

// getBatch is the part of get that looks at the entries of a batch queue, a file of them at a time.
func (g *getter) getBatch() {
	c, res := &g.q.cq, g.res
	perFile := c.files.fileSize / batchUnitSize
	for n := 0; n < max(g.o.TravelCQFileNumWhenGetMessage, 1) && res.Bytes == 0 && g.next < res.Max && !g.later; n++ {
		unit, ok := c.locate(g.next)
		if !ok {
			res.Status, g.next = OffsetFoundNull, g.corrected(0)
			return
		}
		g.scanBatch(unit, (unit/perFile+1)*perFile)
	}
}

// scanBatch looks at entries from one on, up to the end of their file.
func (g *getter) scanBatch(unit, to int64) {
	window := max(int64(g.o.MaxFilterMessageSize), int64(g.req.MaxCount)*batchUnitSize)
	var units [16 * batchUnitSize]byte
	for unit < to && g.next < g.res.Max {
		n, err := g.q.cq.read(unit, units[:])
		if err != nil || n == 0 {
			return
		}
		for i := range int(min(int64(n), to-unit)) {
			var u batchUnit
			u.read(units[i*batchUnitSize:])
			if g.next >= g.res.Max || (u.base-g.req.Offset)*batchUnitSize >= window || g.full(u.phys, int64(u.size), int(u.num)) {
				return
			}
			unit++
			before := g.next
			g.next, g.last = u.end(), u.phys
			had := g.res.Count
			if g.look(u.phys, u.size, u.tags); g.later {
				g.next = before
				return
			}
			if g.res.Count > had {
				g.res.Count = had + int(u.num)
				if g.req.Each { // one of the record: that of its first message
					g.res.Offsets[len(g.res.Offsets)-1] = u.base
				}
			}
		}
	}
}

// batchOffsetByTime is OffsetByTime of a batch queue: the first message of an entry. It answers as Java does in each case: a time after
// all entries is the last one's, and with upper a search that ends beside what it looks for is min.
func (c *consumeQueue) batchOffsetByTime(ms int64, upper bool) int64 {
	lo, hi := c.min.Load(), c.max.Load()
	least, _ := c.bounds()
	if lo >= hi {
		return max(least, 0)
	}
	last, ok := c.batchUnit(hi - 1)
	if !ok {
		return max(least, 0)
	}
	if ms >= last.time {
		return last.base
	}
	if !upper {
		unit, err := c.searchUnits(lo, hi, func(u *batchUnit) bool { return u.time >= ms })
		if u, ok := c.batchUnit(unit); err == nil && ok {
			return u.base
		}
		return max(least, 0)
	}
	if base, ok := c.upperByTime(lo, hi-1, ms); ok {
		return base
	}
	return max(least, 0)
}

// upperByTime is Java's search for the upper bound, with its ends.
func (c *consumeQueue) upperByTime(left, right, ms int64) (base int64, ok bool) {
	for left <= right {
		mid := left + (right-left)/2
		u, ok := c.batchUnit(mid)
		if !ok {
			return 0, false
		}
		switch {
		case mid == right, mid == left && u.time >= ms:
			return u.base, u.time >= ms
		case mid == left:
			left = mid + 1
		case u.time <= ms:
			left = mid
		default:
			right = mid - 1
		}
	}
	return 0, false
}

// searchUnits is search for batch entries.
func (c *consumeQueue) searchUnits(from, to int64, pred func(u *batchUnit) bool) (int64, error) {
	for from < to {
		mid := from + (to-from)/2
		u, ok := c.batchUnit(mid)
		if !ok {
			return 0, errNoUnit
		}
		if pred(&u) {
			to = mid
		} else {
			from = mid + 1
		}
	}
	return from, nil
}
