package timer

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"apogee/store"
	"apogee/store/record"
)

// dueSlot is a slot that is being delivered.
type dueSlot struct {
	time    int64
	items   []item // oldest first, without the cancellations
	next    int    // of items
	tries   int    // to read items[next]
	cancels map[string]*cancellation
}

// item is a unit that was read.
type item struct {
	phys    int64
	entered int64
	size    int32
	magic   int32
}

// cancellation is the cancelling of one message; it counts against the messages that wait for its topic.
type cancellation struct {
	topic []byte
	used  bool
}

// maxKeptItems bounds what is kept of a slot for the next.
const maxKeptItems = 1 << 16

// deliverDue works on the slot that is due; false if there is none.
func (s *Service) deliverDue(sw *Switches) (busy bool, err error) {
	if s.due == nil {
		if s.next >= s.settled {
			return false, nil
		}
		if err := s.open(s.next); err != nil {
			return false, err
		}
		if s.due == nil { // a rebuild has begun
			return true, nil
		}
	}
	s.changed()
	d := s.due
	from := d.next
	for n := 0; d.next < len(d.items) && n < 4*batchCount; n++ {
		if err := s.deliverOne(d, &d.items[d.next], sw); err != nil {
			return false, s.committed(d, from, errors.Join(err, s.commit()))
		}
		if d.next++; len(s.batch.results) == 0 {
			from = d.next
		}
	}
	if err := s.committed(d, from, s.commit()); err != nil {
		return false, err
	}
	s.retry = 0
	if d.next == len(d.items) {
		s.finish(d)
	}
	return true, nil
}

// committed goes back to the first item that is not known to be in the log if a commit has failed.
func (s *Service) committed(d *dueSlot, from int, err error) error {
	if errors.Is(err, errCommit) {
		d.next = from
	}
	return err
}

// open reads the chain of a slot. From then on nothing is entered into it any more.
func (s *Service) open(at int64) error {
	chained, ok := s.wheel.get(at)
	if !ok {
		s.skipTo(at + s.opts.Precision)
		return nil
	}
	if err := s.log.write(); err != nil {
		return err
	}
	d := s.spare
	s.spare = nil
	if d == nil || cap(d.items) > maxKeptItems {
		d = new(dueSlot)
	}
	*d = dueSlot{time: at, items: d.items[:0]}
	if err := s.readChain(d, chained.last); err != nil {
		s.spare = d
		if errors.Is(err, errNoUnit) {
			s.opts.Log.Error("timer log is damaged; it is made anew from the timer topic", "slot", at, "err", err)
			return s.rebuild(at, at, s.queueOffset.Load())
		}
		return err
	}
	s.due = d
	s.read = at + s.opts.Precision
	s.findNext()
	return nil
}

// readChain reads units from the newest on, and sorts out the cancellations.
func (s *Service) readChain(d *dueSlot, pos int64) error {
	for pos >= s.log.begin() {
		var u unit
		if err := s.log.read(pos, &u); err != nil {
			return err
		}
		if s.wheel.floor(u.time()) != d.time || u.prev >= pos {
			return fmt.Errorf("%w of the slot at %d", errNoUnit, pos)
		}
		pos = u.prev
		it := item{u.phys, u.entered, u.size, u.magic}
		if u.magic&(magicDelete|magicRoll) != magicDelete {
			d.items = append(d.items, it)
			continue
		}
		if err := s.readCancel(d, &it); err != nil {
			return err
		}
	}
	slices.Reverse(d.items)
	return nil
}

func (s *Service) readCancel(d *dueSlot, it *item) error {
	_, t, release, err := s.message(it)
	switch {
	case store.Scarce(err):
		return err
	case err != nil:
		s.opts.Log.Warn("cancellation cannot be read", "off", it.phys, "err", err)
		return nil
	}
	defer release()
	if t.cancels == nil {
		return nil
	}
	if d.cancels == nil {
		d.cancels = make(map[string]*cancellation)
	}
	d.cancels[string(t.cancels)] = &cancellation{topic: slices.Clone(t.topic)}
	return nil
}

// message is the message of a unit; release lets go of it.
func (s *Service) message(it *item) (rec []byte, t timed, release func(), err error) {
	rec, release, err = s.opts.Store.View(it.phys)
	if err != nil {
		return nil, t, nil, err
	}
	var h record.Header
	if err = record.Parse(rec, &h); err == nil {
		if h.Size != int(it.size) || !sameTopic(&h) {
			err = fmt.Errorf("offset %d: another message has taken the place of the timed one", it.phys)
		} else {
			err = t.parse(h.Properties)
		}
	}
	if err != nil {
		release()
		return nil, t, nil, err
	}
	return rec, t, release, nil
}

// maxTries is how often a message is read that cannot be, as in Java.
const maxTries = 3

// deliverOne delivers, rolls or cancels one message.
func (s *Service) deliverOne(d *dueSlot, it *item, sw *Switches) error {
	rec, t, release, err := s.message(it)
	if err != nil {
		begin, _, _ := s.opts.Ends()
		if d.tries++; it.phys >= begin && (d.tries < maxTries || store.Scarce(err)) {
			return err
		}
		s.opts.Log.Error("timed message is lost", "off", it.phys, "size", it.size, "err", err)
		d.tries = 0
		return nil
	}
	defer release()
	d.tries = 0
	if it.magic&magicRoll == 0 && s.wheel.floor(t.out) != d.time {
		s.opts.Log.Error("timed message is lost, and another has taken its place", "off", it.phys, "slot", d.time, "out", t.out)
		return nil
	}
	if len(d.cancels) > 0 && it.magic&magicRoll == 0 && t.uniq != nil {
		if c := d.cancels[s.cancelKey(&t)]; c != nil {
			c.used = true
			return nil
		}
	}
	return s.put(rec, it.entered, it.magic&magicRoll != 0, sw)
}

func (s *Service) cancelKey(t *timed) string {
	if s.opts.KeysHaveTopic {
		return CancelKey(string(t.topic), string(t.uniq), true)
	}
	return view(t.uniq)
}

// finish moves on from a slot that is delivered. A cancellation that found no message was counted against nothing.
func (s *Service) finish(d *dueSlot) {
	for _, c := range d.cancels {
		if !c.used && c.topic != nil {
			s.metrics.add(c.topic, 1)
		}
	}
	s.due, s.spare = nil, d
	s.readTime.Store(s.read)
}

// skipTo moves over slots that are empty.
func (s *Service) skipTo(at int64) {
	s.read = max(s.read, at)
	s.findNext()
}

// findNext looks for the first slot from read on.
func (s *Service) findNext() {
	s.next = math.MaxInt64
	if at, ok := s.wheel.next(s.read); ok {
		s.next = at
	}
}
