package store

import (
	"errors"
	"fmt"
	"strings"

	"apogee/store/record"
)

// A replica may have records of a topic before its master's table says what the topic's queues are made of: then it makes simple ones, which
// is not what they are if the topic has batches or is compacted. When the table is there they are made again, from the log. (A Java slave
// keeps the simple ones, and does not start the next time: ConsumeQueueStore.findOrCreateConsumeQueue, load.)

// RemakeQueues makes those queues again whose topics are known to be of another kind by now. Meanwhile nothing is dispatched, for as long as
// it takes to read the log from the first record of such a topic on.
func (s *Store) RemakeQueues(known func(topic string) bool) error {
	var wrong []*queue
	for q := range s.queues.each {
		if light := strings.HasPrefix(q.topic, lmqPrefix); !light && q.cq.served() && q.kind != s.kindOf(q.topic) && known(q.topic) {
			wrong = append(wrong, q)
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	if err := s.remake(wrong); err != nil {
		return fmt.Errorf("make queues of another kind: %w", err)
	}
	return nil
}

// remake makes queues again. A crash under way is one ahead of the checkpoint: recovery makes them, of whatever kind they are then.
func (s *Store) remake(wrong []*queue) error {
	d, v := s.dispatch, &s.dispatch.saver
	v.passMu.Lock() // in the order of docs/LOCKS.md
	defer v.passMu.Unlock()
	if err := s.forgetQueueEnds(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.letGo()
	to := d.pos.Load()
	if to == noMark {
		return errNotWritable
	}
	from := to
	for _, q := range wrong {
		from = min(from, s.firstOf(&q.cq, to))
	}
	if err := s.lowerCheckpoint(from); err != nil {
		return err
	}
	v.cut(d, from)
	var errs error
	topics := map[string]bool{}
	for _, q := range wrong {
		topics[q.topic] = true
		s.queues.remove(q)
		s.commit.retire(q)
		q.cq.saveMu.Lock()
		d.drop(q)
		if err := s.removeQueueFiles(q); err != nil { // they are in nobody's way
			errs = errors.Join(errs, fmt.Errorf("remove consume queue %s/%d: %w", q.topic, q.id, err))
		}
		q.cq.saveMu.Unlock()
	}
	s.log.Warn("queues of topics that are of another kind than was known are made again from the log", "queues", len(wrong), "from", from, "to", to)
	return errors.Join(errs, d.reenter(topics, from, to))
}

// firstOf is where the first record of a queue is in the log; most if it has none.
func (s *Store) firstOf(c *consumeQueue, most int64) int64 {
	if c.min.Load() >= c.max.Load() {
		return most
	}
	phys, _, _, ok := c.unit(c.min.Load())
	if !ok {
		return s.commit.begin()
	}
	return max(phys, s.commit.begin())
}

// lowerCheckpoint has the next start give all records from off on to the queues.
func (s *Store) lowerCheckpoint(off int64) error {
	c := s.checkpoint
	if c.logicsPhysicalOffset.Load() < off {
		return nil
	}
	c.logicsPhysicalOffset.Store(off)
	c.logicsMsgTimestamp.Store(min(c.logicsMsgTimestamp.Load(), s.StoreTimeAt(off)))
	return c.write()
}

// reenter dispatches the records of topics in a part of the log once more, to queues that have none of them. Under passMu and the right to
// dispatch.
func (d *dispatcher) reenter(topics map[string]bool, from, to int64) error {
	defer d.endDrain()
	written := int64(0)
	for from < to {
		next, _, err := d.s.walk(from, to, drainShare, func(h *record.Header, _ []byte) error {
			if topics[stringView(h.Topic)] {
				d.enterOwn(h)
			}
			return nil
		})
		if err == nil && next == from {
			err = errUndispatched
		}
		if err != nil {
			err = fmt.Errorf("read the log at %d: %w", from, err)
			d.s.fail(err) // the queues lack what follows
			return err
		}
		if from = next; d.fresh-written < pendingPress {
			continue
		}
		for _, u := range d.unsaved {
			if topics[u.q.topic] {
				if err := d.saver.saveNow(d, u.q); err != nil {
					d.s.log.Error("consume queue not written", "err", err) // later, by the saver
				}
			}
		}
		written = d.fresh
	}
	return nil
}
