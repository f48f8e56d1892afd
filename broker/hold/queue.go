package hold

// maxIdleWaiting is up to which capacity a queue's list is kept for the next queue.
const maxIdleWaiting = 64

// insertLocked puts e into the list of its queue and into the heap.
func (s *shard) insertLocked(e *Entry) {
	key := queueKey{e.Topic, e.Queue}
	q := s.queues[key]
	if q == nil {
		if q = s.free; q != nil {
			s.free, q.free = q.free, nil
		} else {
			q = new(queue)
		}
		q.key = key
		s.queues[key] = q
	}
	e.queue, e.at = q, len(q.waiting)
	q.waiting = append(q.waiting, e)
	e.heapAt = len(s.heap)
	s.heap = append(s.heap, e)
	s.up(e.heapAt)
}

// removeLocked takes a parked entry out; the last of its queue moves to its place.
func (t *Table) removeLocked(s *shard, e *Entry) {
	q, last := e.queue, len(e.queue.waiting)-1
	moved := q.waiting[last]
	q.waiting[e.at], q.waiting[last] = moved, nil
	moved.at = e.at
	q.waiting = q.waiting[:last]
	e.queue = nil
	if last == 0 {
		delete(s.queues, q.key)
		if cap(q.waiting) > maxIdleWaiting {
			q.waiting = nil
		}
		q.key = queueKey{}
		q.free, s.free = s.free, q
	}
	s.unheap(e)
	s.parked.Add(-1)
	t.parked.Add(-1)
}

// The heap has four children per node: entries mostly come with the latest deadline and are taken out early, from anywhere.
const arity = 4

func (s *shard) unheap(e *Entry) {
	i, last := e.heapAt, len(s.heap)-1
	moved := s.heap[last]
	s.heap[last] = nil
	s.heap = s.heap[:last]
	if i == last {
		return
	}
	s.heap[i], moved.heapAt = moved, i
	if !s.up(i) {
		s.down(i)
	}
}

// up moves the entry at i towards the root and reports whether it moved.
func (s *shard) up(i int) bool {
	e, start := s.heap[i], i
	for i > 0 {
		p := (i - 1) / arity
		if s.heap[p].deadline <= e.deadline {
			break
		}
		s.heap[i] = s.heap[p]
		s.heap[i].heapAt = i
		i = p
	}
	s.heap[i], e.heapAt = e, i
	return i != start
}

func (s *shard) down(i int) {
	e := s.heap[i]
	for {
		first := arity*i + 1
		if first >= len(s.heap) {
			break
		}
		c := first
		for j := first + 1; j < min(first+arity, len(s.heap)); j++ {
			if s.heap[j].deadline < s.heap[c].deadline {
				c = j
			}
		}
		if e.deadline <= s.heap[c].deadline {
			break
		}
		s.heap[i] = s.heap[c]
		s.heap[i].heapAt = i
		i = c
	}
	s.heap[i], e.heapAt = e, i
}
