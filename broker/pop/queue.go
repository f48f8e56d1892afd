package pop

import (
	"strings"
	"sync"
	"time"
)

// Queue is one queue as one group pops it: who is popping from it right now, how many messages are out, and which check points are in
// memory.
type Queue struct {
	key Key

	mu   sync.Mutex // guards all below; a leaf but for the offsets
	free sync.Cond
	busy bool
	gone bool // taken out of the table

	inflight int64
	used     int64 // ms
	pending  []*held
	points   map[pointKey]*held
}

// unusedFor is how long a queue that nobody pops from is remembered.
const unusedFor = 5 * time.Minute

// Key is which queue it is.
func (q *Queue) Key() Key { return q.key }

// TryLock makes the caller the one who pops from a queue; nil if somebody else is.
func (s *Service) TryLock(k Key) *Queue {
	for {
		q := s.queue(k)
		q.mu.Lock()
		switch {
		case q.gone:
			q.mu.Unlock()
			continue
		case q.busy:
			q.mu.Unlock()
			return nil
		}
		q.busy, q.used = true, s.now()
		q.mu.Unlock()
		return q
	}
}

// Lock is TryLock that waits. Whoever has the queue holds it for a read at most.
func (s *Service) Lock(k Key) *Queue {
	for {
		q := s.queue(k)
		q.mu.Lock()
		for q.busy {
			q.free.Wait()
		}
		if q.gone {
			q.mu.Unlock()
			continue
		}
		q.busy, q.used = true, s.now()
		q.mu.Unlock()
		return q
	}
}

// Unlock lets others pop.
func (q *Queue) Unlock() {
	q.mu.Lock()
	q.busy = false
	q.free.Signal()
	q.mu.Unlock()
}

func (s *Service) queue(k Key) *Queue {
	if q := s.find(k); q != nil {
		return q
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[k]
	if q == nil {
		k.Topic, k.Group = strings.Clone(k.Topic), strings.Clone(k.Group)
		q = &Queue{key: k}
		q.free.L = &q.mu
		s.queues[k] = q
	}
	return q
}

func (s *Service) find(k Key) *Queue {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.queues[k]
}

// all is every queue.
func (s *Service) all() []*Queue {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]*Queue, 0, len(s.queues))
	for _, q := range s.queues {
		out = append(out, q)
	}
	return out
}

// forget drops queues that nobody has popped from for a while and that remember nothing.
func (s *Service) forget() {
	limit := s.now() - unusedFor.Milliseconds()
	s.drops(func(q *Queue) bool { return q.used < limit && q.inflight == 0 && len(q.pending) == 0 })
}

// Forget drops what is remembered of a topic, or of a group, that has been deleted. Check points in memory go with it.
func (s *Service) Forget(topic, group string) {
	s.drops(func(q *Queue) bool { return q.key.Topic == topic || q.key.Group == group })
}

// drops empties queues, and takes those out of the table that nobody is popping from.
func (s *Service) drops(which func(*Queue) bool) {
	for _, q := range s.all() {
		q.mu.Lock()
		if which(q) {
			s.held.Add(-int64(len(q.points)))
			q.points, q.pending, q.inflight = nil, nil, 0
			q.gone = !q.busy
		}
		gone := q.gone
		q.mu.Unlock()
		if gone {
			s.mu.Lock()
			if s.queues[q.key] == q {
				delete(s.queues, q.key)
			}
			s.mu.Unlock()
		}
	}
}

// Offset is where a group would go on, without changing anything: for counting what is left. Init as in [Service.Start].
func (s *Service) Offset(k Key, fromMin bool) int64 {
	off, ok := s.Offsets.Query(k.Group, k.Topic, k.Queue)
	if !ok {
		off = s.first(k, fromMin)
	}
	if q := s.find(k); q != nil {
		q.mu.Lock()
		defer q.mu.Unlock()
		return max(off, q.latest())
	}
	return off
}

// Quiet tells whether there is certainly nothing to pop.
func (s *Service) Quiet(k Key) bool {
	off, ok := s.Offsets.Query(k.Group, k.Topic, k.Queue)
	return ok && s.Store.MaxOffset(k.Topic, k.Queue) == off && !s.Offsets.ResetPending(k.Group, k.Topic, k.Queue)
}

// Begin is where the caller, who holds the queue, reads: where an operator wants the group to go on, else behind what was popped last. A
// group that is new begins with the first message, or as initMode MAX says with the last one, but with the first where all that the queue
// ever had is still in memory. (PopMessageProcessor.getPopOffset)
func (s *Service) Begin(q *Queue, fromMin bool) int64 {
	k := q.key
	if off, ok := s.Offsets.TakeReset(k.Group, k.Topic, k.Queue); ok {
		s.Orders.Clear(k)
		q.mu.Lock()
		q.inflight = 0
		s.held.Add(-int64(len(q.points)))
		q.points, q.pending = nil, nil
		q.mu.Unlock()
		s.commit(k, off)
		return off
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	off, ok := s.Offsets.Query(k.Group, k.Topic, k.Queue)
	if !ok {
		off = s.first(k, fromMin)
		s.commit(k, off)
	}
	return max(off, q.latest())
}

func (s *Service) first(k Key, fromMin bool) int64 {
	least := s.Store.MinOffset(k.Topic, k.Queue)
	if fromMin || strings.HasPrefix(k.Topic, retryPrefix) {
		return max(least, 0)
	}
	if s.Config.Get().PopInitInMemory && least <= 0 && s.Store.InMemory(k.Topic, k.Queue, 0) {
		return 0
	}
	return max(s.Store.MaxOffset(k.Topic, k.Queue)-1, 0)
}

// Correct sets an offset that has no message to one that has. The caller holds the queue.
func (s *Service) Correct(q *Queue, off int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s.commit(q.key, off)
}

// Out notes that messages are out.
func (q *Queue) Out(n int) {
	q.mu.Lock()
	q.inflight += int64(n)
	q.mu.Unlock()
}

// NoneOut forgets how many messages are out, as an ordered pop does.
func (q *Queue) NoneOut() {
	q.mu.Lock()
	q.inflight = 0
	q.mu.Unlock()
}

// TooManyOut tells whether a queue has more messages out than the configuration allows (enablePopMessageThreshold).
func (s *Service) TooManyOut(q *Queue) bool {
	c := s.Config.Get()
	if !c.PopLimit {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.inflight > c.PopLimitMessages
}

// returned notes that messages are not out any more. Those of pops before the start were never counted.
func (s *Service) returned(k Key, popTime, n int64) {
	if popTime < s.started {
		return
	}
	if q := s.find(k); q != nil {
		q.mu.Lock()
		q.inflight = max(q.inflight-n, 0)
		q.mu.Unlock()
	}
}

// Returned notes that an ordered pop's message is not out any more.
func (s *Service) Returned(k Key, popTime int64) { s.returned(k, popTime, 1) }

// Latest is the offset behind what the queue's check points in memory cover, -1 without any.
func (s *Service) Latest(k Key) int64 {
	if q := s.find(k); q != nil {
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.latest()
	}
	return -1
}

func (q *Queue) latest() int64 {
	if n := len(q.pending); n > 0 {
		return q.pending[n-1].next
	}
	return -1
}
