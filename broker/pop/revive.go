package pop

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"apogee/compat/body"
	"apogee/store"
	"apogee/store/record"
)

// rePutAfter are the waits, in seconds, before a check point whose messages could not be revived is tried again (PopReviveService).
var rePutAfter = [...]int64{10, 20, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200}

const (
	reviveMargin = 2 * ackInterval // ms: what is due may have acks that come so much later
	reviveQuiet  = 3000            // ms without records after which time goes on by the clock
	reviveEarly  = 60_000          // ms: a check point that is so early has not come from the timer
	reviveRead   = 4096            // records of one queue in one round
	reviveKept   = 100_000         // check points of one queue in memory; beyond that nothing more is read before some are done
)

// reviver works one revive queue. Unlike Java, which reads from the first unfinished check point on in each round, it keeps what it read.
type reviver struct {
	s     *Service
	queue int32
	key   Key

	begun   bool
	done    int64 // offset of the last check point that is finished; Java commits this one and not the next
	next    int64 // to read
	endTime int64 // ms: all records that are due before are read
	points  map[mergeKey]*CheckPoint
	order   []*CheckPoint // in order of their revive offsets; points that were replaced have Num -1
	idle    int64         // rounds without anything
	rest    int64         // rounds to leave out

	req store.GetRequest
	res store.GetResult
	msg record.Message
	buf []byte

	spare []byte
}

// mergeKey is what a check point and its acks have in common.
type mergeKey struct {
	topic, group, broker string
	queue                int32
	start, popTime       int64
}

func (c *CheckPoint) key() mergeKey {
	return mergeKey{c.Topic, c.Group, c.Broker, c.Queue, c.StartOffset, c.PopTime}
}

func newReviver(s *Service, queue int32) *reviver {
	return &reviver{s: s, queue: queue, key: Key{s.topic, ReviveGroup, queue}, done: -1, points: make(map[mergeKey]*CheckPoint)}
}

// runRevive works all queues in turn.
func (s *Service) runRevive() {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	timer := time.NewTimer(s.Config.Get().ReviveInterval)
	defer timer.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-timer.C:
		}
		s.Revive()
		timer.Reset(s.Config.Get().ReviveInterval)
	}
}

// Revive is one round over all revive queues: what is due and not acknowledged goes to the retry topics. Queues that have more than is read
// in one round get others at once, or they would fall behind for good while many messages are popped. Start's goroutine calls it.
func (s *Service) Revive() {
	if !s.Config.Get().TimerWheel {
		return
	}
	if !s.Active() {
		for _, r := range s.revive {
			r.forget()
		}
		return
	}
	for left := s.revive; len(left) > 0; {
		var full []*reviver
		for _, r := range left {
			select {
			case <-s.stop:
				return
			default:
			}
			if r.rest > 0 {
				r.rest--
				continue
			}
			n, err := r.round()
			if err != nil {
				s.Log.Error("revive", "queue", r.queue, "err", err)
			} else if n >= reviveRead {
				full = append(full, r)
			}
		}
		left = full
	}
}

// memoryFault is the runtime's error for an access that the kernel refuses.
type memoryFault interface {
	runtime.Error
	Addr() uintptr
}

// round reads and revives. It returns how many records were read.
func (r *reviver) round() (n int, err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case memoryFault:
			err = fmt.Errorf("read at %d: %w", r.next, p)
		default:
			panic(p)
		}
	}()
	defer r.res.Release()
	r.resume()
	now, behind := r.s.now(), r.s.Timer.Behind() // both before reading: what was due then is read below
	n = r.read()
	if n == 0 && !behind && r.endTime != 0 && now-r.endTime > reviveQuiet {
		r.endTime = now
	}
	err = r.finish()
	if n == 0 && len(r.order) == 0 {
		r.idle = min(r.idle+1, max(r.s.Config.Get().ReviveMaxSlow, 1))
		r.rest = r.idle - 1
	} else {
		r.idle = 0
	}
	return n, err
}

// forget has a reviver begin anew, where somebody else will have got by then.
func (r *reviver) forget() {
	if r.begun {
		*r = *newReviver(r.s, r.queue)
	}
}

// resume follows the committed offset, if somebody else moved it ahead.
func (r *reviver) resume() {
	off, ok := r.s.Offsets.Query(ReviveGroup, r.s.topic, r.queue)
	if !ok {
		off = -1
	}
	if !r.begun {
		r.begun, r.done, r.next = true, off, off+1
	}
	r.done, r.next = max(r.done, off), max(r.next, off+1)
}

// read takes in what is new, and returns how many records that were.
func (r *reviver) read() (n int) {
	for n < reviveRead && len(r.order) < reviveKept {
		r.req = store.GetRequest{Topic: r.s.topic, QueueID: r.queue, Offset: r.next, MaxCount: 32, MaxBytes: 1 << 20}
		r.s.Store.Get(&r.req, &r.res)
		switch r.res.Status {
		case store.Found:
			r.res.Load()
			for _, region := range r.res.Regions {
				n += r.take(region)
			}
			if c := r.s.Counts; c != nil {
				c.Got(r.s.topic, ReviveGroup, int64(r.res.Count), int64(r.res.Bytes))
			}
			r.next = max(r.next, r.res.Next)
		case store.NoMatchedMessage, store.MessageWasRemoving, store.OffsetFoundNull, store.OffsetTooSmall, store.OffsetOverflowBadly:
			if r.res.Next == r.next {
				return n
			}
			r.s.Log.Warn("revive offset is outside of its queue", "queue", r.queue, "off", r.next, "next", r.res.Next, "status", r.res.Status)
			r.next = r.res.Next
			if len(r.order) == 0 {
				r.done = r.next - 1
				r.s.commit(r.key, r.done)
			}
			if r.res.Status == store.OffsetOverflowBadly {
				return n
			}
		default:
			return n
		}
	}
	return n
}

func (r *reviver) take(region []byte) (n int) {
	for len(region) >= record.MinSize {
		size := int(record.SizeOf(region))
		if size < record.MinSize || size > len(region) {
			return n
		}
		if err := r.one(region[:size]); err != nil {
			r.s.Log.Warn("record of the revive topic is skipped", "queue", r.queue, "off", record.QueueOffsetOf(region), "err", err)
		}
		region = region[size:]
		n++
	}
	return n
}

// one takes a record in: a check point is remembered, an ack sets bits of its check point. An ack without one is late, or a repetition.
func (r *reviver) one(rec []byte) error {
	m := &r.msg
	if err := record.Decode(rec, m); err != nil {
		return err
	}
	if due, err := strconv.ParseInt(record.Property(m.Properties, propDeliver), 10, 64); err == nil {
		r.endTime = max(r.endTime, min(due, r.s.now())) // clients may write here, too
	}
	switch tag := record.Property(m.Properties, record.PropTags); tag {
	case TagCheckPoint:
		ck, err := ParseCheckPoint(m.Body)
		if err != nil {
			return err
		}
		ck.ReviveOffset = m.QueueOffset
		if ck.ReviveTime()-r.s.now() > reviveEarly && r.postpone(ck) {
			return nil
		}
		r.add(ck.key(), ck)
	case TagAck, TagBatchAck:
		a, err := ParseAck(m.Body)
		if err != nil {
			return err
		}
		r.ack(a, tag == TagBatchAck, m)
	}
	return nil
}

// add remembers a check point. One that comes a second time, as after a crash of the timer, takes the place and the acks of the first.
// Two that only look alike, because a clock was put back, share their acks.
func (r *reviver) add(k mergeKey, ck *CheckPoint) {
	if old := r.points[k]; old != nil {
		for i := range int(old.Num) {
			if old.Bits&(1<<uint(i)) != 0 {
				ck.set(old.Offset(i))
			}
		}
		if old.Num == ck.Num && slices.Equal(old.Diffs, ck.Diffs) {
			old.Num, ck.older = -1, old.older
		} else {
			ck.older = old
		}
	}
	r.points[k] = ck
	r.order = append(r.order, ck)
}

func (r *reviver) ack(a *Ack, batch bool, m *record.Message) {
	broker := a.Broker
	if broker == "" {
		broker = r.s.Config.Get().Name
	}
	k := mergeKey{a.Topic, a.Group, broker, a.Queue, a.StartOffset, a.PopTime}
	ck := r.points[k]
	if ck == nil {
		r.waiting(k, m)
		return
	}
	if !batch {
		a.Offsets = append(a.Offsets[:0], a.Offset)
	}
	for ; ck != nil; ck = ck.older {
		for _, off := range a.Offsets {
			ck.set(off)
		}
	}
}

// waiting has the offset move past acks that have waited too long for a check point (enableSkipLongAwaitingAck): an empty one stands in.
func (r *reviver) waiting(k mergeKey, m *record.Message) {
	c := r.s.Config.Get()
	due, err := strconv.ParseInt(record.Property(m.Properties, propDeliver), 10, 64)
	if !c.SkipAwaitingAck || err != nil || r.s.now()-due <= c.ReviveAckWait.Milliseconds() {
		return
	}
	r.s.Log.Warn("ack has no check point", "topic", k.topic, "group", k.group, "queue", k.queue, "off", k.start)
	r.add(k, &CheckPoint{
		Broker: k.broker, Group: k.group, Topic: k.topic, Queue: k.queue, StartOffset: k.start, PopTime: k.popTime, ReviveOffset: m.QueueOffset,
	})
}

// finish revives what is due, in the order of the log, and commits how far that got.
func (r *reviver) finish() (err error) {
	n, done := 0, r.done
	for n < len(r.order) {
		ck := r.order[n]
		if ck.Num >= 0 {
			if r.endTime-ck.ReviveTime() <= reviveMargin {
				break
			}
			if err = r.revive(ck); err != nil {
				break
			}
			if k := ck.key(); r.points[k] == ck {
				delete(r.points, k)
			}
		}
		done = max(done, ck.ReviveOffset)
		n++
	}
	clear(r.order[:n])
	r.order = r.order[n:]
	if done > r.done {
		r.done = done
		r.s.commit(r.key, done)
	}
	return err
}

// revive puts the messages of a check point that are not acknowledged into their retry topic. An error means that the store takes nothing
// now: the check point stays, with what is done marked.
func (r *reviver) revive(ck *CheckPoint) error {
	if ck.Num == 0 || ck.Bits&ck.All() == ck.All() {
		return nil
	}
	normal := NormalTopic(ck.Topic, ck.Group)
	t, ok := r.s.Topics.Get(normal)
	if !ok {
		r.s.Log.Warn("topic of a check point is gone", "topic", ck.Topic, "group", ck.Group)
		return nil
	}
	if _, ok := r.s.Groups.Ensure(ck.Group); !ok {
		r.s.Log.Warn("group of a check point is gone", "topic", ck.Topic, "group", ck.Group)
		return nil
	}
	for i := range int(ck.Num) {
		bit := uint32(1) << uint(i)
		if ck.Bits&bit != 0 {
			continue
		}
		res, err := r.retry(ck, ck.Offset(i), t)
		switch {
		case err != nil:
			return err
		case stored(res.Status):
			r.s.returned(Key{ck.Topic, ck.Group, ck.Queue}, ck.PopTime, 1)
		case res.Status == store.MessageIllegal || res.Status == store.PropertiesSizeExceeded:
			if err := r.putAgain(ck, ck.Offset(i)); err != nil {
				return err
			}
		default:
			return putError("retried message", &res)
		}
		ck.Bits |= bit
	}
	return nil
}

// retry puts one message into the retry topic. A message that is not in the log any more counts as done.
func (r *reviver) retry(ck *CheckPoint, off int64, normal *body.TopicConfig) (store.PutResult, error) {
	c := r.s.Config.Get()
	if ck.Broker != "" && ck.Broker != c.Name {
		return r.retryFrom(ck, off, normal)
	}
	r.req = store.GetRequest{Topic: ck.Topic, QueueID: ck.Queue, Offset: off, MaxCount: 1, MaxBytes: 1, Each: true}
	r.s.Store.Get(&r.req, &r.res)
	if r.res.Status == store.NoMatchedMessage && r.res.Next == off {
		return store.PutResult{}, fmt.Errorf("message %d of %s, queue %d, cannot be read just now", off, ck.Topic, ck.Queue)
	}
	// What was compacted is passed over: the next message is another one.
	if r.res.Status != store.Found || len(r.res.Regions) == 0 || len(r.res.Offsets) > 0 && r.res.Offsets[0] != off {
		r.s.Log.Info("message to revive is gone", "topic", ck.Topic, "queue", ck.Queue, "off", off, "status", r.res.Status)
		return store.PutResult{Status: store.PutOK}, nil
	}
	r.res.Load()
	return r.retryRecord(ck, off, normal, r.res.Regions[0])
}

// retryFrom is retry for a message at another broker.
func (r *reviver) retryFrom(ck *CheckPoint, off int64, normal *body.TopicConfig) (store.PutResult, error) {
	rec, err := r.s.Fetch(ck.Broker, ck.Topic, ck.Queue, off)
	switch {
	case err != nil:
		return store.PutResult{}, fmt.Errorf("message %d of %s, queue %d, of %s: %w", off, ck.Topic, ck.Queue, ck.Broker, err)
	case rec == nil:
		r.s.Log.Info("message to revive is gone", "broker", ck.Broker, "topic", ck.Topic, "queue", ck.Queue, "off", off)
		return store.PutResult{Status: store.PutOK}, nil
	}
	return r.retryRecord(ck, off, normal, rec)
}

func (r *reviver) retryRecord(ck *CheckPoint, off int64, normal *body.TopicConfig, rec []byte) (store.PutResult, error) {
	m := &r.msg
	if err := record.Decode(rec, m); err != nil {
		r.s.Log.Error("message to revive is damaged", "topic", ck.Topic, "queue", ck.Queue, "off", off, "err", err)
		return store.PutResult{Status: store.PutOK}, nil
	}
	c := r.s.Config.Get()
	topic := ck.Topic
	if topic == normal.TopicName {
		topic = RetryTopic(topic, ck.Group, c.RetryTopicV2)
	}
	queues, err := r.retryTopic(topic, ck.Group, normal, c.SeparateRetryQueue)
	if err != nil {
		return store.PutResult{}, err
	}
	queue := int32(0)
	if c.SeparateRetryQueue && ck.Queue < queues {
		queue = ck.Queue
	}
	if m.SysFlag&record.SysInnerBatch != 0 {
		return r.retryInner(ck, topic, queue), nil
	}
	return r.putRetry(ck, topic, queue, m), nil
}

// retryInner puts the messages of an inner batch into the retry topic, one by one: its queues are ordinary ones, which take no such batch. Java
// tries the whole of it again and again.
func (r *reviver) retryInner(ck *CheckPoint, topic string, queue int32) (res store.PutResult) {
	m, rest := r.msg, r.msg.Body
	if _, err := record.CountBatch(rest); err != nil {
		return store.PutResult{Status: store.MessageIllegal, Err: err}
	}
	m.SysFlag &^= record.SysInnerBatch | record.SysNeedUnwrap
	done := false
	for len(rest) > 0 {
		inner, next, err := record.CutBatch(rest)
		if err != nil {
			return store.PutResult{Status: store.MessageIllegal, Err: err}
		}
		rest = next
		m.Flag, m.Body, m.Properties = inner.Flag, inner.Body, view(inner.Properties)
		res = r.putRetry(ck, topic, queue, &m)
		switch {
		case stored(res.Status):
			done = true
		case res.Status == store.MessageIllegal && done: // the sender says of this one that it is a batch, too
			r.s.Log.Error("message of an inner batch is refused for good", "topic", ck.Topic, "queue", ck.Queue, "off", m.QueueOffset, "err", res.Err)
			res.Status = store.PutOK
		default:
			return res // those before it come once more
		}
	}
	return res
}

func (r *reviver) putRetry(ck *CheckPoint, topic string, queue int32, m *record.Message) store.PutResult {
	host := r.s.Host()
	again := record.Message{
		Topic: topic, QueueID: queue, Flag: m.Flag, SysFlag: m.SysFlag, BornTimestamp: m.BornTimestamp, BornHost: host,
		StoreHost: host, ReconsumeTimes: m.ReconsumeTimes, Body: m.Body,
	}
	if !ck.Suspend {
		again.ReconsumeTimes++
	}
	r.buf = append(r.buf[:0], m.Properties...)
	if n := len(r.buf); n > 0 && r.buf[n-1] != record.PairEnd {
		r.buf = append(r.buf, record.PairEnd)
	}
	if m.ReconsumeTimes == 0 || record.Property(m.Properties, PropFirstPop) == "" {
		r.spare = record.SetProperty(r.spare[:0], view(r.buf), PropFirstPop, strconv.FormatInt(ck.PopTime, 10))
		r.buf, r.spare = r.spare, r.buf
	}
	r.spare = record.SetProperty(r.spare[:0], view(r.buf), PropOriginGroup, ck.Group)
	r.buf, r.spare = r.spare, r.buf
	again.Properties = view(r.buf)
	r.s.moved.Store(true)
	res := r.s.Store.Put(&again, nil)
	if res.Status == store.PropertiesSizeExceeded {
		again.Properties = m.Properties // it has room for itself, but none for what is told of it
		res = r.s.Store.Put(&again, nil)
	}
	if c := r.s.Counts; c != nil && stored(res.Status) {
		c.Put(topic, 1, res.NextOffset-res.PhysicalOffset)
	}
	return res
}

// retryTopic finds or makes a retry topic, and returns how many queues it has: one, or with useSeparateRetryQueue as many as the normal
// topic. A group begins with the first message of a new one.
func (r *reviver) retryTopic(name, group string, normal *body.TopicConfig, separate bool) (int32, error) {
	queues := int32(1)
	if separate {
		queues = max(normal.WriteQueueNums, 1)
	}
	if t, ok := r.s.Topics.Get(name); ok && (!separate || t.WriteQueueNums == queues) {
		return t.WriteQueueNums, nil
	}
	t := body.NewTopicConfig(name)
	t.ReadQueueNums, t.WriteQueueNums, t.Perm = queues, queues, body.PermRead|body.PermWrite
	if err := r.s.Topics.Put(&t); err != nil {
		return 0, fmt.Errorf("make retry topic %s: %w", name, err)
	}
	for q := range queues {
		if _, ok := r.s.Offsets.Query(group, name, q); !ok {
			r.s.commit(Key{name, group, q}, 0)
		}
	}
	return queues, nil
}

// postpone has a check point come back when it is due, so that those behind it need not wait until then.
func (r *reviver) postpone(ck *CheckPoint) bool {
	r.s.Log.Warn("check point has come too early", "topic", ck.Topic, "group", ck.Group, "queue", ck.Queue, "off", ck.StartOffset, "due", ck.ReviveTime())
	t := r.s.records.Get().(*timedRecord)
	defer r.s.records.Put(t)
	return r.s.putCheckPoint(t, ck, r.queue) == nil
}

// putAgain has one message of a check point tried again later.
func (r *reviver) putAgain(ck *CheckPoint, off int64) error {
	if int(ck.RePuts) >= len(rePutAfter) && r.s.Config.Get().SkipWhenRePut {
		r.s.Log.Warn("message is not revived", "topic", ck.Topic, "group", ck.Group, "queue", ck.Queue, "off", off, "tries", ck.RePuts)
		return nil
	}
	again := CheckPoint{
		Broker: ck.Broker, Group: ck.Group, Diffs: []int32{0}, Invisible: ck.Invisible, Num: 1, PopTime: ck.PopTime, Queue: ck.Queue,
		RePuts: ck.RePuts + 1, Topic: ck.Topic, StartOffset: off, Suspend: ck.Suspend,
	}
	if ck.ReviveTime() <= r.s.now() {
		again.Invisible += rePutAfter[min(int(ck.RePuts), len(rePutAfter)-1)] * 1000
	}
	t := r.s.records.Get().(*timedRecord)
	defer r.s.records.Put(t)
	return r.s.putCheckPoint(t, &again, r.queue)
}
