package store

import (
	"fmt"
	"math"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"apogee/internal/prefetch"
	"apogee/store/record"
)

// dispatcher turns records of the log into queue entries and index entries, in the order of the log, and tells who listens
// (Java ReputMessageService, which looks every millisecond; here nobody polls).
//
// A put leaves a slip in a ring, under the append lock. Whoever then makes records readable (the put itself, or with
// SYNC_FLUSH the flusher) calls wake and does the work there and then, unless somebody else is at it: then that one does it,
// since it looks once more after letting go of the right to dispatch. The work touches memory only. What would take long goes
// to a goroutine of the dispatcher: records whose slips did not fit (they are read from the log), and a long backlog.
//
// Positions: pos is how far the queues are, index.pos how far the index is; neither passes commitLog.confirmed.
type dispatcher struct {
	s     *Store
	slips *ring[slip]
	pos   atomic.Int64 // the log is dispatched up to here; noMark while not running
	help  chan struct{}
	quit  chan struct{}
	done  sync.WaitGroup

	mu       sync.Mutex // the right to dispatch; guards all below, and consumeQueue's parts that say so
	lastPhys int64      // start of the last record dispatched
	lastEnd  int64      // its end, 0 for none
	lastTime int64      // its store time
	unsaved  []unsaved  // in the order of their first entries that are not in files
	fresh    int64      // entries made by this drain
	arrivals []Arrival
	logFile  *mappedFile // held during a drain, for the arrivals' records
	passed   extent      // the damaged part of the log that recovery has passed last

	enterRecordFn func(h *record.Header, rec []byte) error // once, since a method value is an allocation
	reportFn      func() error

	heap    chunkHeap    // of the queues
	entered atomic.Int64 // entries made; stored under the right to dispatch
	written atomic.Int64 // entries that are in files, or given up

	saver saver
}

// slip is what dispatch needs to know of a record that has just been put, so that it need not read it.
type slip struct {
	queue *queue // nil: the record gets no queue entry
	phys  int64
	unit  int64
	time  int64
	digest
	size int32
}

// digest is what dispatch needs to know of a message's properties.
type digest struct {
	tags  int64    // tags code of the queue entry; with timed, how many ms after its storing the message is due
	keys  [3]int32 // index hashes
	nkeys int8     // how many; tooManyKeys: read them from the record
	timed bool
	multi bool // goes to further queues (LMQ): read them from the record
	inner bool // a batch in one record
}

const tooManyKeys = -1

const (
	slipCount = 4096
	// drainShare bounds what one put dispatches for others before it hands over.
	drainShare = 1024
	// pendingMost bounds the entries in memory: dispatch waits for the saver beyond.
	pendingMost  = 64 << 20 / unitSize
	pendingPress = 32 << 20 / unitSize // from here on the saver writes out small pieces too
	arrivalBatch = 128
	// fetchAhead is how many records ahead of dispatch the memory of queues is fetched: enough for a miss to pass, few enough that
	// it is still there.
	fetchAhead = 4
)

// unitMost is the last entry that a queue may have: far beyond any real one, near enough that its place in the files is a number.
// Only a damaged record says more.
const unitMost = 1 << 56

func newDispatcher(s *Store) *dispatcher {
	d := &dispatcher{s: s, slips: newRing[slip](slipCount), help: make(chan struct{}, 1), quit: make(chan struct{})}
	d.pos.Store(noMark)
	d.enterRecordFn = d.enterRecord
	d.reportFn = func() error { s.options().OnArrive(d.arrivals); return nil }
	d.saver.init()
	return d
}

// push leaves the slip of a record that is being staged. Under the append lock; the commit publishes it before commitLog.written
// covers the record.
func (d *dispatcher) push(q *queue, dig *digest, unit, phys, storeTime int64, size int32) {
	e := d.slips.next()
	if e == nil {
		return // read from the log later
	}
	e.queue, e.phys, e.unit, e.time, e.digest, e.size = q, phys, unit, storeTime, *dig, size
	if dig.timed {
		e.tags += storeTime
	}
	d.slips.push()
}

// wake says that confirmed() has grown. Called for each put, on its goroutine: it dispatches what it finds, never waits for
// anybody and for no disk. Arrivals are reported from here too.
func (d *dispatcher) wake() {
	for d.pos.Load() < d.s.commit.confirmed() {
		if !d.mu.TryLock() {
			return // whoever has it looks again after letting go
		}
		switch d.drainAndLetGo(drainShare) {
		case drainMore:
			d.callHelp()
			return
		case drainStuck:
			return
		}
	}
}

// letGo gives the right to dispatch back for those who took it for something else. A put that was refused it meanwhile has gone away:
// what it brought is dispatched by the helper.
func (d *dispatcher) letGo() {
	d.mu.Unlock()
	if pos := d.pos.Load(); pos != noMark && pos < d.s.commit.confirmed() {
		d.callHelp()
	}
}

// pending is how many entries are not in files.
func (d *dispatcher) pending() int64 { return d.entered.Load() - d.written.Load() }

func (d *dispatcher) callHelp() { signal(d.help) }

// drained is how a drain ended.
type drained int

const (
	drainDone  drained = iota // all that was confirmed
	drainMore                 // its share is used up
	drainStuck                // it cannot go on now; whoever can change that calls for help
)

// drainAndLetGo is drain for whoever has the right to dispatch. A panic is a defect, of ours or of who listens; whoever put the message would
// survive it, and the right be lost: all later messages would be confirmed, and nobody could read them. So the store takes no more.
func (d *dispatcher) drainAndLetGo(share int) (got drained) {
	defer d.mu.Unlock()
	defer func() {
		if p := recover(); p != nil {
			d.s.fail(fmt.Errorf("dispatch at %d of the log panicked: %v\n%s", d.pos.Load(), p, debug.Stack()))
			got = drainStuck
		}
	}()
	return d.drain(share)
}

// drain dispatches up to the confirmed offset, at most about share records.
func (d *dispatcher) drain(share int) drained {
	pos := d.pos.Load()
	if pos == noMark {
		return drainStuck
	}
	confirmed := d.s.commit.confirmed()
	now, got := d.drainTo(pos, confirmed, share)
	d.slips.free()
	if now != pos {
		d.s.index.publish()
		d.pos.Store(now)
		d.endDrain()
	}
	return got
}

// drainTo is drain without the telling.
func (d *dispatcher) drainTo(pos, confirmed int64, share int) (int64, drained) {
	room := pendingMost - d.pending()
	for pos < confirmed {
		if d.fresh >= room {
			d.saver.press()
			return pos, drainStuck
		}
		if share <= 0 {
			return pos, drainMore
		}
		e := d.slips.peek()
		switch {
		case e != nil && e.phys < pos: // its record was read from the log
			d.slips.pop()
		case e != nil && e.phys == pos:
			if pos+int64(e.size) > confirmed {
				return pos, drainDone
			}
			d.fetchLater()
			d.enterSlip(e)
			pos += int64(e.size)
			d.slips.pop()
			share--
		default: // slips were lost, or the file ends here
			to := confirmed
			if e != nil {
				to = min(to, e.phys)
			}
			next, n, err := d.s.walk(pos, to, share, d.enterRecordFn)
			if err != nil {
				d.s.fail(err)
			}
			if next == pos {
				return pos, drainStuck
			}
			pos, share = next, share-n-1
		}
	}
	return pos, drainDone
}

// fetchLater has the processor fetch where records that come a little later will go: with many queues neither a queue nor its newest
// chunk is in a cache, and each miss takes as long as the rest of a dispatch.
func (d *dispatcher) fetchLater() {
	if e := d.slips.later(2 * fetchAhead); e != nil && e.queue != nil {
		prefetch.Line(&e.queue.cq.tail) // what follows it is the second line
	}
	if e := d.slips.later(fetchAhead); e != nil && e.queue != nil {
		if room := e.queue.cq.room; len(room) > 0 {
			prefetch.Line(&room[0])
		}
	}
}

// endDrain tells the listeners, the saver and the index.
func (d *dispatcher) endDrain() {
	d.arrive()
	if d.logFile != nil {
		d.logFile.release()
		d.logFile = nil
	}
	if d.fresh > 0 {
		d.entered.Store(d.entered.Load() + d.fresh)
		d.fresh = 0
		d.saver.notice(d.pending() >= pendingPress || d.saver.behind(d, d.pos.Load()))
	}
	d.s.index.notice()
}

// enterSlip dispatches a record by its slip.
func (d *dispatcher) enterSlip(e *slip) {
	d.lastPhys, d.lastEnd, d.lastTime = e.phys, e.phys+int64(e.size), e.time
	d.s.index.offer(e)
	if e.multi {
		if err := d.enterMultiSlip(e); err != nil {
			d.s.fail(err)
		}
	}
	switch {
	case e.queue == nil:
	case e.queue.kind == BatchQueue:
		if err := d.enterBatchSlip(e); err != nil {
			d.s.fail(err)
		}
	default:
		d.enter(e.queue, e.unit, e.phys, e.size, e.tags, e.time)
	}
}

// enter gives a queue its entry of a record, and reports it.
func (d *dispatcher) enter(q *queue, unit, phys int64, size int32, tags, storeTime int64) {
	c := &q.cq
	if !c.served() {
		return
	}
	if unit < 0 || unit > unitMost {
		d.s.log.Error("queue offset of a record cannot be", "topic", q.topic, "queue", q.id, "off", phys, "says", unit)
		return
	}
	if d.passed.end > 0 {
		d.fill(q, unit, phys)
	}
	next, added := c.put(unit, phys, size, tags, &d.heap)
	if !added {
		return
	}
	if next != unit+1 { // Java calls it a bug in its log; the entry stands where its record does not say
		d.s.log.Error("queue offset of a record is not the next one", "topic", q.topic, "queue", q.id, "off", phys, "says", unit, "next", next-1)
	}
	d.noteEntry(q, phys)
	d.report(q, next, phys, size, tags, storeTime)
}

// fill gives a queue entries for messages that recovery could not read, so that those behind keep their offsets. They refer to the part
// of the log that is damaged, which is not given out.
func (d *dispatcher) fill(q *queue, unit, phys int64) {
	c := &q.cq
	from, part := c.max.Load(), d.passed
	if lost := unit - from; lost <= 0 || lost > (part.end-part.start)/record.MinSize || c.physEnd > part.start || phys < part.end {
		return
	}
	for u := from; u < unit; u++ {
		size := int64(1)
		if u == unit-1 {
			size = min(part.end-part.start, math.MaxInt32-1)
		}
		if _, added := c.put(u, part.start, int32(size), 0, &d.heap); !added {
			return
		}
		d.noteEntry(q, part.start)
		part.start++
	}
}

// noteEntry counts an entry of the record at phys, and has the saver look at its queue.
func (d *dispatcher) noteEntry(q *queue, phys int64) {
	d.fresh++
	if c := &q.cq; !c.listed.Load() {
		c.listed.Store(true)
		d.unsaved = append(d.unsaved, unsaved{q, phys})
	}
}

// report notes an arrival.
func (d *dispatcher) report(q *queue, next, phys int64, size int32, tags, storeTime int64) {
	if q.kind == CompactionQueue { // reported when it can be read
		d.s.compact.notice()
		return
	}
	if d.s.options().OnArrive == nil || d.pos.Load() == noMark {
		return
	}
	a := Arrival{Topic: q.topic, QueueID: q.id, Next: next, TagsCode: tags, StoreTimestamp: storeTime}
	a.Record = d.recordAt(phys, size)
	if d.arrivals = append(d.arrivals, a); len(d.arrivals) == arrivalBatch {
		d.arrive()
	}
}

// arrive reports the arrivals so far. They belong to one file, d.logFile.
func (d *dispatcher) arrive() {
	if len(d.arrivals) == 0 {
		return
	}
	if d.logFile == nil {
		_ = d.reportFn()
	} else if err := d.logFile.guard(d.reportFn); err != nil {
		d.s.log.Error("arrivals not reported", "err", err)
	}
	clear(d.arrivals)
	d.arrivals = d.arrivals[:0]
}

// recordAt is the bytes of a record, valid until the end of the drain or until a record of another file is asked for; nil if
// they cannot be had.
func (d *dispatcher) recordAt(phys int64, size int32) []byte {
	f := d.logFile
	if f == nil || phys < f.base || phys >= f.end() {
		d.arrive()
		if f != nil {
			f.release()
			d.logFile = nil
		}
		if f = d.s.commit.files.find(phys); f == nil || f.hold() != nil {
			return nil
		}
		d.logFile = f
	}
	pos := phys - f.base
	if size < 0 || pos+int64(size) > f.size {
		return nil
	}
	return f.data[pos : pos+int64(size) : pos+int64(size)]
}

// start runs the dispatcher from an offset of the log; it follows commitLog.confirmed().
func (d *dispatcher) start(from int64) {
	d.pos.Store(from)
	d.saver.start(d, from)
	d.s.index.start(from)
	d.done.Go(d.helper)
	d.done.Go(func() { d.saver.loop(d) })
	d.done.Go(func() { d.s.index.loop(d.quit) })
	d.callHelp()
}

// helper does what is too long for a put.
func (d *dispatcher) helper() {
	for {
		select {
		case <-d.quit:
			return
		case <-d.help:
		}
		for d.pos.Load() < d.s.commit.confirmed() && !d.quitting() {
			d.mu.Lock()
			if d.drainAndLetGo(drainShare) == drainStuck {
				break
			}
		}
	}
}

func (d *dispatcher) quitting() bool {
	select {
	case <-d.quit:
		return true
	default:
		return false
	}
}

// stop lets the dispatcher reach confirmed(), for at most the timeout, ends it, and tells how many bytes are left: of the log
// without queue entries or without index entries, whichever is more.
func (d *dispatcher) stop(timeout time.Duration) (behind int64) {
	if d.pos.Load() == noMark {
		return 0
	}
	limit := time.NewTimer(timeout)
	defer limit.Stop()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for waiting := true; waiting && d.unfinished() > 0 && d.s.failure.Load() == nil; {
		d.callHelp()
		d.saver.press()
		if x := d.s.index; x.behind() > 0 && !x.catchUp() && x.failing() {
			break // it could not be written just now, and nobody is there to change that
		}
		select {
		case <-again.C:
		case <-limit.C:
			waiting = false
		}
	}
	close(d.quit)
	d.done.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	behind = d.unfinished()
	d.pos.Store(noMark)
	return behind
}

// Dispatched is how far messages of the log can be read from their queues, and how far they are acknowledged, which may be a little further.
func (s *Store) Dispatched() (upTo, acknowledged int64) {
	acknowledged = s.commit.confirmed()
	return s.dispatch.pos.Load(), acknowledged
}

// behind is how much of the confirmed log has no queue entries.
func (d *dispatcher) behind() int64 { return max(d.s.commit.confirmed()-d.pos.Load(), 0) }

// unfinished counts missing index entries too.
func (d *dispatcher) unfinished() int64 {
	return max(d.behind(), d.s.commit.confirmed()-d.s.index.position())
}
