package timer

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"

	"apogee/broker/meta"
	"apogee/store"
	"apogee/store/record"
)

// enterCount is how many messages are entered before slots that are due have their turn.
const enterCount = 256

// never is what TIMER_ENQUEUE_MS says of a message that was late: it was never in the wheel.
const never = math.MaxInt64

// catchingUp tells whether what was there at the start is not entered yet.
func (s *Service) catchingUp() bool {
	if s.queueOffset.Load() >= s.repeat.catchUp {
		s.repeat.catchUp = 0
	}
	return s.repeat.catchUp > 0 && !s.opts.Switches().StopEnqueue
}

// enter reads the timer topic on; false if its end is reached.
func (s *Service) enter(sw *Switches) (more bool, err error) {
	if s.repeat.searching() {
		s.lookAhead()
		return true, nil
	}
	off, now := s.queueOffset.Load(), s.now()
	most := s.enterable(off)
	if most == 0 {
		return false, nil
	}
	s.req = store.GetRequest{Topic: Topic, Offset: off, MaxCount: most, MaxBytes: math.MaxInt32}
	s.opts.Store.Get(&s.req, &s.res)
	defer s.res.Release()
	switch s.res.Status {
	case store.Found:
		err := s.enterAll(sw)
		switch s.full = errors.Is(err, errFull); {
		case s.full: // delivery goes on, and makes room
			return false, nil
		case errors.Is(err, errAhead):
			return true, nil
		}
		return true, err
	case store.OffsetTooSmall, store.OffsetOverflowBadly, store.OffsetFoundNull, store.MessageWasRemoving, store.NoMatchedMessage:
		s.opts.Log.Warn("timer skips", "off", off, "next", s.res.Next, "status", s.res.Status)
		s.queueOffset.Store(s.res.Next)
		if s.res.Next == off { // nothing to go on to; look again when the store has changed
			return false, fmt.Errorf("timer topic at %d: %v", off, s.res.Status)
		}
		s.changed()
		return true, nil
	}
	if s.repeat.until > 0 { // the checkpoint may have waited for this
		s.changed()
	}
	s.repeat = repeat{} // all that recovery knows something about is entered
	s.caughtUp.Store(now)
	s.idle.Store(true)
	if s.opts.Store.MaxOffset(Topic, 0) > off && s.idle.CompareAndSwap(true, false) {
		return true, nil
	}
	return false, nil
}

// enterAll enters the messages of the result. What comes too late for its slot is put at once.
func (s *Service) enterAll(sw *Switches) (err error) {
	s.changed()
	for _, region := range s.res.Regions {
		for len(region) >= record.MinSize && err == nil {
			size := int(record.SizeOf(region))
			if size < record.MinSize || size > len(region) {
				s.opts.Log.Error("timed message is damaged", "off", s.queueOffset.Load(), "size", size)
				break
			}
			rec := region[:size]
			region = region[size:]
			if err = s.enterOne(rec, sw); err == nil {
				s.queueOffset.Store(record.QueueOffsetOf(rec) + 1)
			}
		}
	}
	if e := s.commit(); e != nil {
		s.queueOffset.Store(s.req.Offset) // units are repeated rather than messages lost
		return e
	}
	if e := s.log.write(); e != nil {
		return e // what is staged stays, and is written before anything else
	}
	if err == nil {
		s.retry = 0
		s.queueOffset.Store(max(s.queueOffset.Load(), s.res.Next))
	}
	return err
}

// timed is what the properties of a message in the timer topic say.
type timed struct {
	out     int64
	topic   []byte // the real one
	uniq    []byte
	cancels []byte // the key of the message that this one cancels, nil if it does not
	late    bool   // was never in the wheel
}

func (t *timed) parse(props []byte) error {
	*t = timed{out: -1}
	for c := record.Pairs(props); c.Next(); {
		switch string(c.Name) {
		case PropOut:
			n, err := strconv.ParseInt(view(c.Value), 10, 64)
			if err != nil || n < 0 {
				return fmt.Errorf("property %s is %q", PropOut, c.Value)
			}
			t.out = n
		case PropCancel:
			t.cancels = c.Value
		case PropEntered:
			t.late = string(c.Value) == "9223372036854775807"
		case record.PropRealTopic:
			t.topic = c.Value
		case record.PropUniqKey:
			t.uniq = c.Value
		}
	}
	if t.out < 0 {
		return fmt.Errorf("property %s is missing", PropOut)
	}
	return nil
}

// enterOne gives a message its unit and slot.
func (s *Service) enterOne(rec []byte, sw *Switches) error {
	var h record.Header
	var t timed
	err := record.Parse(rec, &h)
	if err == nil {
		err = t.parse(h.Properties)
	}
	if err != nil {
		// Java tries such a message for ever, and what is behind it is never delivered.
		s.opts.Log.Error("message is no timed one", "off", record.QueueOffsetOf(rec), "err", err)
		return nil
	}
	if s.known(&h, &t) {
		return nil
	}
	out := s.wheel.floor(t.out)
	if out < s.read {
		if s.following.on { // the master has delivered it
			return nil
		}
		if t.cancels != nil {
			s.opts.Log.Warn("cancellation comes too late", "key", string(t.cancels), "out", t.out)
			return nil
		}
		if cancelled, err := s.cancelledLate(&h, &t, out); cancelled || err != nil {
			return err
		}
		return s.put(rec, never, false, sw)
	}
	u := unit{prev: -1, magic: magicDefault, entered: s.write, phys: h.PhysicalOffset, size: int32(h.Size), topic: topicHash(t.topic)}
	if rolled, ok := s.roll(out, s.write); ok {
		out = rolled
		u.magic |= magicRoll
	}
	n := int32(1)
	if t.cancels != nil {
		u.magic |= magicDelete
		n = -1
	}
	if s.wheel.taken(out, s.oldest()) { // delivery is that far behind
		return errFull
	}
	u.delay = int32(out - s.write)
	return s.chain(out, &u, n, &t)
}

// oldest is the time from which on slots are still to be delivered.
func (s *Service) oldest() int64 {
	if s.due != nil {
		return s.due.time
	}
	return s.read
}

// roll is the nearer slot for a time that is beyond the window, false if it is not. Near the end of the window half of it is taken, so
// that there is enough for the next round.
func (s *Service) roll(out, entered int64) (int64, bool) {
	window := s.opts.RollWindow * s.opts.Precision
	switch ahead := out - entered; {
	case ahead < window:
		return out, false
	case ahead-window < s.opts.RollWindow/3*s.opts.Precision:
		return entered + s.opts.RollWindow/2*s.opts.Precision, true
	}
	return entered + window, true
}

// chain adds a unit to the log and to the slot of a time.
func (s *Service) chain(out int64, u *unit, n int32, t *timed) error {
	at, ok := s.wheel.get(out)
	if ok {
		u.prev = at.last
	}
	pos, err := s.log.add(u)
	if err != nil {
		return err
	}
	if !ok {
		at = slot{first: pos}
	}
	at.last, at.num = pos, at.num+n
	s.mu.Lock()
	s.wheel.put(out, at)
	s.mu.Unlock()
	s.next = min(s.next, out)
	if !t.late && t.topic != nil {
		s.metrics.add(t.topic, int64(n))
	}
	return nil
}

// batch is the messages that were staged and not yet committed.
type batch struct {
	msg     record.Message
	props   []byte
	results []store.PutResult
}

// batchCount is how many are committed at once.
const batchCount = 64

// put stages a message into its topic, or once more into the timer topic if it is rolled. The next commit makes it readable.
func (s *Service) put(rec []byte, entered int64, roll bool, sw *Switches) error {
	b, m := &s.batch, &s.batch.msg
	if err := record.Decode(rec, m); err != nil {
		s.opts.Log.Error("timed message is damaged", "off", record.PhysicalOf(rec), "err", err)
		return nil
	}
	var t timed
	if err := t.parse(bytesOf(m.Properties)); err != nil {
		s.opts.Log.Error("timed message is damaged", "off", m.PhysicalOffset, "err", err)
		return nil
	}
	counts := t.topic
	if entered == never {
		counts = nil
	}
	original := m.Properties
	b.props = s.stamp(b.props[:0], m.Properties, entered, roll)
	m.Properties = view(b.props)
	if err := restore(m, roll); err != nil {
		// Java throws here and holds the whole slot back.
		s.opts.Log.Error("timed message cannot be delivered", "off", m.PhysicalOffset, "err", err)
		s.count(counts, roll, t.cancels != nil)
		return nil
	}
	phys, topic := m.PhysicalOffset, m.Topic
	r := s.opts.Store.Stage(m, nil)
	if r.Status == store.PropertiesSizeExceeded {
		m.Properties = original // it had room for itself, but none for what is told of its stay
		r = s.opts.Store.Stage(m, nil)
	}
	switch r.Status {
	case store.PutOK, store.FlushDiskTimeout, store.FlushSlaveTimeout, store.SlaveNotAvailable:
		b.results = append(b.results, r)
		s.count(counts, roll, t.cancels != nil)
	case store.MessageIllegal, store.PropertiesSizeExceeded:
		s.opts.Log.Error("timed message is refused for good", "off", phys, "topic", topic, "err", r.Err)
		s.count(counts, roll, t.cancels != nil)
	default:
		if r.Status == store.UnknownError && sw.SkipUnknown {
			s.opts.Log.Error("timed message is skipped", "off", phys, "topic", topic, "err", r.Err)
			s.count(counts, roll, t.cancels != nil)
			break
		}
		return fmt.Errorf("put into %s: status %d: %w", topic, r.Status, cause(r.Err))
	}
	if len(b.results) >= batchCount {
		return s.commit()
	}
	return nil
}

// count takes a message off the metrics that has left the wheel. A rolled one comes in again.
func (s *Service) count(topic []byte, roll, cancels bool) {
	switch {
	case topic == nil:
	case roll && cancels:
		s.metrics.add(topic, 1)
	default:
		s.metrics.add(topic, -1)
	}
}

// commit makes readable what was staged.
func (s *Service) commit() error {
	b := &s.batch
	for i := range b.results {
		r := &b.results[i]
		if err := s.opts.Store.Commit(r); err != nil {
			b.results = b.results[:0]
			return fmt.Errorf("%w: %w", errCommit, err)
		}
		s.putEnd = max(s.putEnd, r.NextOffset)
	}
	b.results = b.results[:0]
	return nil
}

// stamp appends properties with when the message was entered and when it left, and how often it was rolled.
func (s *Service) stamp(dst []byte, props string, entered int64, roll bool) []byte {
	rolls := int64(0)
	for c := record.Pairs(bytesOf(props)); c.Next(); {
		switch string(c.Name) {
		case PropEntered, PropDelivered:
			continue
		case PropRolls:
			if roll {
				rolls, _ = strconv.ParseInt(view(c.Value), 10, 32)
				continue
			}
		}
		dst = record.AppendProperty(dst, view(c.Name), view(c.Value))
	}
	var num [20]byte
	dst = record.AppendProperty(dst, PropEntered, view(strconv.AppendInt(num[:0], entered, 10)))
	if roll {
		dst = record.AppendProperty(dst, PropRolls, view(strconv.AppendInt(num[:0], rolls+1, 10)))
	}
	return record.AppendProperty(dst, PropDelivered, view(strconv.AppendInt(num[:0], s.now(), 10)))
}

// restore makes a stored timed message the one that its sender meant; a rolled one stays what it is. Java rebuilds the record in the
// same way: REAL_TOPIC, REAL_QID and the times stay among the properties (TimerMessageStore.convertMessage). Clients may write into the
// timer topic themselves, so it is looked at where a message wants to go.
func restore(m *record.Message, roll bool) error {
	m.PreparedTransactionOffset, m.TagsCode = 0, 0
	if roll {
		return nil
	}
	topic := record.Property(m.Properties, record.PropRealTopic)
	queue, err := strconv.ParseInt(record.Property(m.Properties, record.PropRealQueue), 10, 32)
	switch {
	case topic == "":
		return fmt.Errorf("property %s is missing", record.PropRealTopic)
	case err != nil:
		return fmt.Errorf("property %s: %w", record.PropRealQueue, err)
	case topic == Topic || !meta.SendAllowed(topic):
		return fmt.Errorf("topic %s takes no timed messages", topic)
	}
	m.Topic, m.QueueID = topic, int32(queue)
	return nil
}

func cause(err error) error {
	if err == nil {
		return errRefused
	}
	return err
}

var (
	errRefused = errors.New("refused")
	errFull    = errors.New("what is to be delivered is too far behind")
	errCommit  = errors.New("not committed")
)

// sameTopic tells whether a record is one of the timer topic.
func sameTopic(h *record.Header) bool { return bytes.Equal(h.Topic, []byte(Topic)) }
