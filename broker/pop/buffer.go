package pop

import (
	"slices"
	"time"

	"apogee/store"
)

// held is a check point in memory, or, in a queue that has such ones, the mark that something behind them is done. The group's offset
// moves on when all before it are acknowledged or written.
type held struct {
	ck      CheckPoint
	revive  int32
	next    int64
	written uint32 // acks that are in the revive log; belongs to who writes
	put     bool   // it is in the revive log, maybe without its acks; belongs to who writes
	leaving bool   // it goes to the revive log
	stored  bool   // it is there, with all acks
	mark    bool   // it only has an offset
}

type pointKey struct{ start, popTime int64 }

// Periods and margins of Java's buffer (PopBufferMergeService).
const (
	bufferLook   = 100 * time.Millisecond
	forgetPeriod = 30 * time.Second
	bufferMargin = 1500 // ms before a check point leaves, nothing is added to it any more
)

// hold keeps a check point in memory; false if it has to be written. The caller holds the queue.
func (s *Service) hold(q *Queue, ck *CheckPoint, b *Batch) bool {
	c := s.Config.Get()
	if !c.PopBuffer || ck.ReviveTime()-s.now() < c.PopBufferLeave.Milliseconds()+bufferMargin || s.held.Load() > int64(c.PopBufferMax) {
		return false
	}
	select {
	case <-s.stop:
		return false
	default:
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	id := pointKey{b.Start, b.PopTime}
	if len(q.pending) >= c.PopBufferQueueMax || q.points[id] != nil {
		return false
	}
	h := &held{ck: *ck, revive: b.ReviveQueue, next: b.Next}
	h.ck.Diffs = slices.Clone(ck.Diffs)
	if q.points == nil {
		q.points = make(map[pointKey]*held)
	}
	q.points[id] = h
	q.pending = append(q.pending, h)
	if s.held.Add(1) == 1 {
		select {
		case s.nudge <- struct{}{}:
		default:
		}
	}
	return true
}

func (q *Queue) knows(start, popTime int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.points[pointKey{start, popTime}] != nil
}

// advance moves a group's offset on to next, or has it follow when the check points before it are done.
func (s *Service) advance(q *Queue, next int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.pending) == 0 {
		s.commit(q.key, next)
		return
	}
	q.pending = append(q.pending, &held{next: next, mark: true})
}

// merge acknowledges in memory; false if the ack has to be written.
func (s *Service) merge(a *Ack) bool {
	c := s.Config.Get()
	if s.held.Load() == 0 || a.Broker != c.Name {
		return false
	}
	q := s.find(Key{a.Topic, a.Group, a.Queue})
	if q == nil {
		return false
	}
	now := s.now()
	q.mu.Lock()
	defer q.mu.Unlock()
	h := q.points[pointKey{a.StartOffset, a.PopTime}]
	if h == nil || h.leaving || h.ck.ReviveTime()-now < c.PopBufferLeave.Milliseconds()+bufferMargin ||
		now-h.ck.PopTime > c.PopBufferStay.Milliseconds()-bufferMargin {
		return false
	}
	if a.Offsets == nil {
		h.ck.set(a.Offset)
	}
	for _, off := range a.Offsets {
		h.ck.set(off)
	}
	if h.acked() {
		s.drop(q, h)
	}
	return true
}

func (h *held) acked() bool { return h.ck.Bits&h.ck.All() == h.ck.All() }

// drop takes a check point that is done out of memory, and moves the offset on as far as that allows. Under q.mu.
func (s *Service) drop(q *Queue, h *held) {
	id := pointKey{h.ck.StartOffset, h.ck.PopTime}
	if q.points[id] == h {
		delete(q.points, id)
		s.held.Add(-1)
	}
	n := 0
	for n < len(q.pending) && (q.pending[n].mark || q.pending[n].stored || q.pending[n].acked()) {
		n++
	}
	if n == 0 {
		return
	}
	next := q.pending[n-1].next
	clear(q.pending[:n])
	if q.pending = q.pending[n:]; len(q.pending) == 0 {
		q.pending = nil
	}
	if off, ok := s.Offsets.Query(q.key.Group, q.key.Topic, q.key.Queue); !ok || next > off {
		s.commit(q.key, next)
	}
}

// runBuffer has check points leave memory in time, and forgets queues.
func (s *Service) runBuffer() {
	tick := time.NewTimer(bufferLook)
	defer tick.Stop()
	tidy := time.NewTicker(forgetPeriod)
	defer tidy.Stop()
	for {
		if s.held.Load() > 0 {
			tick.Reset(bufferLook)
		}
		select {
		case <-s.stop:
			return
		case <-s.nudge:
		case <-tidy.C:
			s.forget()
		case <-tick.C:
			s.leave(false)
		}
	}
}

// leave writes the check points that have been in memory for long, or are almost due, with the acks that they got.
func (s *Service) leave(all bool) {
	if s.held.Load() == 0 {
		return
	}
	c, now := s.Config.Get(), s.now()
	var out []*held
	for _, q := range s.all() {
		out = out[:0]
		q.mu.Lock()
		for _, h := range q.points {
			if all || h.leaving || h.ck.ReviveTime()-now < c.PopBufferLeave.Milliseconds() || now-h.ck.PopTime > c.PopBufferStay.Milliseconds() {
				h.leaving = true
				out = append(out, h)
			}
		}
		q.mu.Unlock()
		slices.SortFunc(out, func(a, b *held) int { return int(min(max(a.next-b.next, -1), 1)) })
		for _, h := range out {
			if err := s.write(h, c.PopBatchAck); err != nil {
				s.Log.Error("check point is not written", "topic", h.ck.Topic, "group", h.ck.Group, "queue", h.ck.Queue, "err", err)
				return // the next look tries again
			}
			q.mu.Lock()
			h.stored = true
			s.drop(q, h)
			q.mu.Unlock()
		}
	}
}

// write puts a check point and its acks into the revive log. Nobody else changes a check point that is leaving.
func (s *Service) write(h *held, batch bool) error {
	if !h.put {
		t := s.records.Get().(*timedRecord)
		defer s.records.Put(t)
		ck := h.ck
		ck.Bits = 0
		if err := s.putCheckPoint(t, &ck, h.revive); err != nil {
			return err
		}
		h.put = true
	}
	a := Ack{Group: h.ck.Group, PopTime: h.ck.PopTime, Queue: h.ck.Queue, StartOffset: h.ck.StartOffset, Topic: h.ck.Topic}
	put := func() error {
		if r := s.putAck(&a, h.revive, h.ck.ReviveTime(), nil, s.Store.Put); !stored(r.Status) {
			return putError("ack", &r)
		}
		return nil
	}
	left := h.ck.Bits &^ h.written
	for i := range int(h.ck.Num) {
		if left&(1<<uint(i)) == 0 {
			continue
		}
		if batch {
			a.Offsets = append(a.Offsets, h.ck.Offset(i))
			continue
		}
		a.Broker, a.Offset = h.ck.Broker, h.ck.Offset(i)
		if err := put(); err != nil {
			return err
		}
		h.written |= 1 << uint(i)
	}
	if len(a.Offsets) > 0 {
		if err := put(); err != nil {
			return err
		}
		h.written |= left
	}
	return nil
}

// stored tells whether a put is in the log, whatever else is missing.
func stored(s store.PutStatus) bool {
	switch s {
	case store.PutOK, store.FlushDiskTimeout, store.FlushSlaveTimeout, store.SlaveNotAvailable:
		return true
	}
	return false
}
