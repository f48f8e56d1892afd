package transaction

import (
	"maps"
	"math"
	"net/netip"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"apogee/broker/meta"
	"apogee/store"
	"apogee/store/record"
)

// roundLimit is how long one round works on one queue (MAX_PROCESS_TIME_LIMIT).
const roundLimit = 60 * time.Second

// publishPeriod is how often the flushed position is looked at while offsets wait for it.
const publishPeriod = time.Second

// checker is the check of half messages. All of it belongs to its goroutine, and to Settle after that.
type checker struct {
	s      *Service
	stop   <-chan struct{}
	queues map[int32]*halfQueue

	reader   // of half messages
	opReader reader
	msg      record.Message
}

// halfQueue is what the check knows of one queue.
type halfQueue struct {
	id      int32
	scanned bool
	// prepared has the queue offsets that producers know undecided messages by, which were stored again in their time of immunity, and
	// where their copies are: an end names the first offset, wherever the check has got. Java forgets such ends once it is past the first
	// message, and asks about what is decided.
	prepared map[int64]int64
	// newest has the last copy of each message of which a scan at the start found copies. The check stores a copy before it notes that it
	// has passed the message: who was killed in between must not ask for both, since both would be committed.
	newest  map[identity]int64
	waiting *progress
}

// identity is what a message and its copies have in common.
type identity struct {
	uniq, topic string
	host        netip.AddrPort
	born        int64
}

// progress is how far the check has got, and what of the log it relies on.
type progress struct{ half, op, end int64 }

func (s *Service) checkLoop() {
	c := &s.check
	timer := time.NewTimer(maxSleep)
	defer timer.Stop()
	last := s.opts.Now()
	for {
		sleep := s.opts.Settings().CheckInterval - s.opts.Now().Sub(last)
		if sleep <= 0 {
			c.round()
			last = s.opts.Now()
			sleep = max(s.opts.Settings().CheckInterval, time.Millisecond)
		}
		if !c.publish(false) && c.waits() {
			sleep = min(sleep, publishPeriod)
		}
		timer.Reset(min(sleep, maxSleep))
		select {
		case <-c.stop:
			return
		case <-timer.C:
		}
	}
}

func (c *checker) queue(id int32) *halfQueue {
	q := c.queues[id]
	if q == nil {
		q = &halfQueue{id: id, prepared: make(map[int64]int64)}
		if c.queues == nil {
			c.queues = make(map[int32]*halfQueue)
		}
		c.queues[id] = q
	}
	return q
}

// publish notes as consumer offsets what the log supports, or all of it; changed tells whether it noted anything.
func (c *checker) publish(all bool) (changed bool) {
	flushed := int64(math.MaxInt64)
	for _, q := range c.queues {
		if q.waiting == nil {
			continue
		}
		if !all && flushed == math.MaxInt64 {
			flushed = c.s.opts.Flushed()
		}
		if q.waiting.end > flushed {
			continue
		}
		c.s.opts.Offsets.Commit(Group, meta.HalfTopic, q.id, q.waiting.half)
		c.s.opts.Offsets.Commit(Group, meta.OpHalfTopic, q.id, q.waiting.op)
		q.waiting, changed = nil, true
	}
	return changed
}

func (c *checker) waits() bool {
	for _, q := range c.queues {
		if q.waiting != nil {
			return true
		}
	}
	return false
}

// begin is where a round begins: where the last one ended.
func (c *checker) begin(q *halfQueue) progress {
	if q.waiting != nil {
		return *q.waiting
	}
	at := func(topic string) int64 {
		if off, ok := c.s.opts.Offsets.Query(Group, topic, q.id); ok {
			return max(off, 0)
		}
		return max(c.s.opts.Store.MinOffset(topic, q.id), 0)
	}
	return progress{half: at(meta.HalfTopic), op: at(meta.OpHalfTopic)}
}

// round checks every queue once.
func (c *checker) round() {
	for id := range c.s.opts.Queues() {
		c.guarded(c.queue(id))
	}
}

// guarded is check that survives a disk which cannot give what is mapped: the queue is looked at again in the next round.
func (c *checker) guarded(q *halfQueue) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch p := recover().(type) {
		case nil:
		case memoryFault:
			c.s.opts.Log.Error("half message cannot be read", "queue", q.id, "err", p)
		default:
			panic(p)
		}
	}()
	c.check(q)
}

// memoryFault is the runtime's error for an access that the kernel refuses.
type memoryFault interface {
	runtime.Error
	Addr() uintptr
}

// look is one round over one queue.
type look struct {
	*checker
	q     *halfQueue
	set   Settings
	start int64 // ms
	first int64 // half offset
	ops   opWindow
	asked int

	escape func(m *record.Message) error // where undecided messages go; nil: producers are asked
}

// check is TransactionalMessageServiceImpl.check for one queue.
func (c *checker) check(q *halfQueue) {
	from := c.begin(q)
	if !q.scanned {
		c.scan(q, from.half)
		q.scanned = true
	}
	l := look{checker: c, q: q, set: c.s.opts.Settings(), start: c.s.opts.Now().UnixMilli(), first: from.half}
	if c.s.opts.Escape != nil {
		l.escape = c.s.opts.Escape()
	}
	l.ops = newOpWindow(from.op)
	l.readOps(1)
	at, gaps := from.half, 0
	for goes := true; goes && !l.ended(); {
		if l.passed(at) {
			at++
			continue
		}
		if end := c.s.ops.state(q.id, at); end != undecided {
			// A commit that is being stored may be refused yet: the message is looked at again in the next round.
			if goes = end == ended; goes {
				at++
			}
			continue
		}
		switch next, found := l.read(at); {
		case found:
			goes = l.judge(at)
			c.res.Release()
			if goes {
				at++
			}
		case next < 0: // the end of the queue
			goes = false
		default: // Java skips once, too; a queue that has lost its middle is passed in a few rounds
			c.s.opts.Log.Warn("check of half messages skips", "queue", q.id, "off", at, "next", next)
			at = next
			gaps++
			goes = gaps <= 1
		}
	}
	to := progress{half: at, op: l.ops.done()}
	if to.half != from.half || to.op != from.op {
		to.end = c.s.opts.End()
		q.waiting = &to
	}
	q.forget(at)
	if l.asked > 0 {
		c.s.opts.Log.Info("half messages are asked about", "queue", q.id, "asked", l.asked, "elsewhere", l.escape != nil, "off", at, "op", to.op)
	}
}

// forget drops what was known of copies that are all behind an offset.
func (q *halfQueue) forget(at int64) {
	maps.DeleteFunc(q.prepared, func(_, last int64) bool { return last < at })
	maps.DeleteFunc(q.newest, func(_ identity, last int64) bool { return last < at })
}

// passed tells whether a half message was ended. The op is kept for a copy that will be met further on.
func (l *look) passed(at int64) bool {
	if _, copied := l.q.prepared[at]; copied {
		_, ok := l.ops.by[at]
		return ok
	}
	return l.ops.take(at)
}

func (l *look) ended() bool {
	return l.stopped() || l.s.opts.Now().UnixMilli()-l.start > roundLimit.Milliseconds()
}

func (c *checker) stopped() bool {
	select {
	case <-c.stop:
		return true
	default:
		return false
	}
}

// read reads the half message at an offset into msg, found says so; else next is where to go on, below 0 for nowhere.
func (l *look) read(at int64) (next int64, found bool) {
	switch l.get(l.s.opts.Store, meta.HalfTopic, l.q.id, at, 1) {
	case store.Found:
		if err := decodeFirst(&l.res, &l.msg); err == nil {
			return 0, true
		}
		l.res.Release()
		return at + 1, false
	case store.NoMatchedLogicQueue, store.NoMessageInQueue, store.OffsetOverflowOne:
		return -1, false
	default:
		if l.res.Next == at {
			return -1, false
		}
		return l.res.Next, false
	}
}

func decodeFirst(res *store.GetResult, m *record.Message) error {
	if len(res.Regions) == 0 {
		return record.ErrShort
	}
	return record.Decode(res.Regions[0], m)
}

// judge decides about the message in msg; false ends the round, and the message is looked at again in the next one.
func (l *look) judge(at int64) bool {
	m := &l.msg
	now := l.s.opts.Now().UnixMilli()
	timeout := l.set.Timeout.Milliseconds()
	age := now - m.BornTimestamp
	immune, custom := checkImmunity(m.Properties, timeout)
	if l.escape == nil && (m.StoreTimestamp >= l.start || !custom && 0 <= age && age <= immune) {
		return false
	}
	origin := preparedAt(m)
	end := l.state(at, origin) // an end that is noted in an op message from here on is found either here or there
	l.readOps(math.MaxInt)
	if l.superseded(at) { // whose op, if there is one, is for the last copy
		return true
	}
	if l.passed(at) || origin >= 0 && l.ops.take(origin) {
		end = ended
	}
	switch max(end, l.state(at, origin)) {
	case ended:
		delete(l.q.prepared, origin)
		return true
	case begun:
		return false
	}
	if l.escape != nil {
		return l.escaped(origin)
	}
	times, known := checkTimes(m.Properties)
	switch {
	case known && times >= int64(l.set.CheckMax) || age > l.set.Reserved.Milliseconds():
		if !l.giveUp() {
			return false
		}
		delete(l.q.prepared, origin)
		return true
	case custom && age <= immune:
		if origin < 0 {
			origin = at
		}
		rewrite(m, PropPreparedAt, strconv.FormatInt(origin, 10))
		res, ok := l.putBack()
		if ok {
			l.q.prepared[origin] = res.QueueOffset
		}
		return ok
	}
	rewrite(m, PropCheckTimes, strconv.FormatInt(times+1, 10))
	res, ok := l.putBack()
	if !ok {
		return false
	}
	if origin >= 0 {
		l.q.prepared[origin] = res.QueueOffset
	}
	l.asked++
	l.s.ask(m, &res)
	return true
}

// state tells of the end of a half message and of the one that it is a copy of, if it is one.
func (l *look) state(at, origin int64) endState {
	end := l.s.ops.state(l.q.id, at)
	if origin >= 0 {
		end = max(end, l.s.ops.state(l.q.id, origin))
	}
	return end
}

// superseded tells whether a later copy of the message takes its place.
func (l *look) superseded(at int64) bool {
	return len(l.q.newest) > 0 && l.q.newest[identityOf(&l.msg)] > at
}

// putBack stores the message in msg at the end of its queue.
func (l *look) putBack() (store.PutResult, bool) {
	res := l.s.opts.Store.Put(&l.msg, nil)
	if !stored(res.Status) {
		l.s.opts.Log.Error("half message cannot be stored again", "queue", l.q.id, "off", l.msg.QueueOffset, "status", int(res.Status), "err", res.Err)
		return res, false
	}
	l.s.opts.Stored(meta.HalfTopic, res.NextOffset-res.PhysicalOffset)
	return res, true
}

// escaped has another broker see to the message in msg (EscapeBridge). Java gives a message up that cannot be sent three times.
func (l *look) escaped(origin int64) bool {
	if err := l.escape(&l.msg); err != nil {
		l.s.opts.Log.Warn("half message stays here", "queue", l.q.id, "off", l.msg.QueueOffset, "err", err)
		return false
	}
	delete(l.q.prepared, origin)
	l.asked++
	return true
}

// giveUp moves the message in msg to where operators find it (DefaultTransactionalMessageCheckListener.resolveDiscardMsg). Java passes
// over a message that cannot be moved, and loses it; it is tried again here.
func (l *look) giveUp() bool {
	m := &l.msg
	if err := l.s.opts.GivenUp(); err != nil {
		l.s.opts.Log.Error("no topic for half messages that are given up", "topic", meta.CheckMaxTimeTopic, "err", err)
		return false
	}
	m.Topic, m.QueueID = meta.CheckMaxTimeTopic, 0
	m.PreparedTransactionOffset, m.TagsCode = 0, 0
	m.Properties = record.DeleteProperty(m.Properties, record.PropMultiDispatchQueue) // see rewrite
	res := l.s.opts.Store.Put(m, nil)
	if !stored(res.Status) {
		l.s.opts.Log.Error("half message cannot be given up", "queue", l.q.id, "off", m.QueueOffset, "status", int(res.Status), "err", res.Err)
		return false
	}
	topic := record.Property(m.Properties, record.PropRealTopic)
	l.s.opts.Log.Warn("half message is given up", "queue", l.q.id, "off", m.QueueOffset, "topic", topic, "group", record.Property(m.Properties, PropProducerGroup))
	l.s.counts.add(topic, -1)
	return true
}

// scan looks for copies from an offset on to the end: what the maps of a halfQueue know, once a broker is started.
func (c *checker) scan(q *halfQueue, at int64) {
	end := c.s.opts.Store.MaxOffset(meta.HalfTopic, q.id)
	for at < end && !c.stopped() && c.get(c.s.opts.Store, meta.HalfTopic, q.id, at, opRead) == store.Found {
		for _, region := range c.res.Regions {
			eachRecord(region, func(m *record.Message) {
				origin := preparedAt(m)
				if origin >= 0 {
					q.prepared[origin] = m.QueueOffset
				}
				if _, asked := checkTimes(m.Properties); !asked && origin < 0 {
					return
				}
				if q.newest == nil {
					q.newest = make(map[identity]int64)
				}
				id := identityOf(m)
				id.uniq, id.topic = strings.Clone(id.uniq), strings.Clone(id.topic)
				q.newest[id] = m.QueueOffset
			})
		}
		next := c.res.Next
		c.res.Release()
		if next <= at {
			return
		}
		at = next
	}
}

func identityOf(m *record.Message) identity {
	return identity{
		uniq: record.Property(m.Properties, record.PropUniqKey), topic: record.Property(m.Properties, record.PropRealTopic),
		host: m.BornHost, born: m.BornTimestamp,
	}
}

// eachRecord calls f with the messages that lie one behind the other in a region, up to one that is damaged.
func eachRecord(region []byte, f func(m *record.Message)) {
	var m record.Message
	for len(region) >= record.MinSize {
		size := int(record.SizeOf(region))
		if size < record.MinSize || size > len(region) || record.Decode(region[:size], &m) != nil {
			return
		}
		f(&m)
		region = region[size:]
	}
}
