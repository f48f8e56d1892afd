package store

import (
	"errors"
	"runtime/debug"
	"strconv"
	"strings"

	"apogee/store/record"
)

// Multi dispatch (spec: store.md 4.6): a record may name further queues, %LMQ%... of one queue each, that get an entry of it
// as well. Their offsets are assigned when the record is put, and stored in it.
const (
	lmqPrefix    = "%LMQ%"
	systemPrefix = "rmq_sys_"

	halfTopic    = "RMQ_SYS_TRANS_HALF_TOPIC"   // undecided messages
	givenUpTopic = "TRANS_CHECK_MAX_TIME_TOPIC" // those that nobody decides about
)

var (
	errLmqTooLarge = errors.New("record of several queues is longer than maxMessageSize")
	errLmqQuota    = errors.New("there are as many light queues as maxLmqConsumeQueueNum allows")
)

// multiDispatched tells whether records of a topic go to further queues as well (MultiDispatchUtils). Java also serves names
// without the prefix, if only by number; no such queue can have got an offset.
func multiDispatched(o *Options, topic string) bool {
	return o.EnableMultiDispatch && o.EnableLmq && !strings.HasPrefix(topic, retryTopicPrefix) &&
		!strings.HasPrefix(topic, systemPrefix) && topic != record.ScheduleTopic
}

// undelivered tells whether what is put into a topic must not be seen elsewhere yet: a half message enters its light queues when it is
// committed, once. What Java has put there has got its offsets, and keeps them.
func undelivered(topic string) bool { return topic == halfTopic || topic == givenUpTopic }

// assignLocked fixes the offsets of the queues that m names, and measures it again with them. Under the append lock, as the
// offsets are; queues.next is raised by the caller when m has been written.
func (l *commitLog) assignLocked(m *record.Message) (queues []*queue, lay record.Layout, status PutStatus, err error) {
	o := l.s.options()
	names := strings.Split(record.Property(m.Properties, record.PropMultiDispatch), ",")
	if o.EnableLmqQuota && !l.s.lmqQuota(o, names) {
		return nil, lay, LmqConsumeQueueNumExceeded, errLmqQuota
	}
	var offsets []byte
	for i, name := range names {
		if i > 0 {
			offsets = append(offsets, ',')
		}
		if !strings.HasPrefix(name, lmqPrefix) || !dirName(name) {
			continue // an empty place, as in Java
		}
		q := l.s.queues.getOrCreate(name, 0)
		next := q.next
		for _, before := range queues { // named twice
			if before == q {
				next++
			}
		}
		queues = append(queues, q)
		offsets = strconv.AppendInt(offsets, next, 10)
	}
	m.Properties = string(record.SetProperty(nil, m.Properties, record.PropMultiDispatchQueue, string(offsets)))
	if lay, err = m.Measure(o.AppendPropCRC); err != nil {
		return nil, lay, measureStatus(err), err
	}
	if lay.Total > o.MaxMessageSize { // without the allowance that other records have
		return nil, lay, MessageIllegal, errLmqTooLarge
	}
	return queues, lay, PutOK, nil
}

// lmqQuota tells whether a record may go to further queues: to those that are there, and to new ones as long as there are fewer than are
// allowed (5.5: HookUtils.handleLmqQuota).
func (s *Store) lmqQuota(o *Options, names []string) bool {
	for _, name := range names {
		if strings.HasPrefix(name, lmqPrefix) && int(s.queues.light.Load()) >= o.MaxLmqConsumeQueueNum && s.queues.get(name, 0) == nil {
			return false
		}
	}
	return true
}

// enterMulti gives the further queues that a record names their entries of it, at the offsets that were fixed when it was put.
func (d *dispatcher) enterMultiSlip(e *slip) (err error) {
	rec := d.recordAt(e.phys, e.size)
	if rec == nil {
		return errUndispatched
	}
	defer d.logFile.caught(&err, debug.SetPanicOnFault(true))
	var h record.Header
	if err := record.Parse(rec, &h); err != nil {
		return err
	}
	d.enterMulti(&h, e.tags)
	return nil
}

func (d *dispatcher) enterMulti(h *record.Header, code int64) {
	if !multiDispatched(d.s.options(), stringView(h.Topic)) {
		return
	}
	props := stringView(h.Properties)
	names := strings.Split(record.Property(props, record.PropMultiDispatch), ",")
	assigned := record.Property(props, record.PropMultiDispatchQueue)
	if assigned == "" {
		return // a message of a batch: those go to their queue only
	}
	offsets := strings.Split(assigned, ",")
	if len(names) != len(offsets) {
		d.s.log.Error("record names queues and offsets of different number", "off", h.PhysicalOffset)
		return
	}
	for i, name := range names {
		unit, err := strconv.ParseInt(offsets[i], 10, 64)
		if err != nil || unit < 0 || !strings.HasPrefix(name, lmqPrefix) || !dirName(name) {
			continue
		}
		d.enter(d.s.queues.getOrCreate(name, 0), unit, h.PhysicalOffset, int32(h.Size), code, h.StoreTimestamp)
	}
}
