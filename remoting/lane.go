package remoting

import (
	"sync"
	"time"

	"apogee/internal/clock"
)

// Lane is a bounded queue of requests with workers of its own, for work that may block. Whoever made it closes it.
type Lane struct {
	name    string
	workers sync.WaitGroup

	mu     sync.Mutex // guards everything below
	some   sync.Cond  // signalled when a job comes, broadcast on close
	ring   []job      // allocated up to its capacity as it fills
	head   int
	queued int
	max    int
	closed bool
}

// job is either f or a request for its handler.
type job struct {
	f      func()
	ep     *endpoint
	handle Handler
	req    *parked
	queued time.Time
}

// LaneStats tells how full a lane is.
type LaneStats struct {
	Queued, Capacity int
	HeadWait         time.Duration // how long the oldest job has waited
}

// NewLane starts a lane. A lane without workers or capacity gets one.
func NewLane(name string, workers, capacity int) *Lane {
	l := &Lane{name: name, max: max(capacity, 1)}
	l.some.L = &l.mu
	for range max(workers, 1) {
		l.workers.Go(l.work)
	}
	return l
}

// Name is what NewLane was given.
func (l *Lane) Name() string { return l.name }

// Stats looks at the queue.
func (l *Lane) Stats() LaneStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := LaneStats{Queued: l.queued, Capacity: l.max}
	if l.queued > 0 {
		s.HeadWait = clock.Now().Sub(l.ring[l.head].queued)
	}
	return s
}

// Submit queues work; false means the lane is full or closed (the caller answers SYSTEM_BUSY).
func (l *Lane) Submit(f func()) bool { return l.put(job{f: f}) }

func (l *Lane) put(j job) bool {
	j.queued = clock.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.queued == l.max {
		return false
	}
	if l.queued == len(l.ring) {
		l.growLocked()
	}
	l.ring[(l.head+l.queued)%len(l.ring)] = j
	l.queued++
	l.some.Signal()
	return true
}

func (l *Lane) growLocked() {
	ring := make([]job, min(l.max, max(16, 2*len(l.ring))))
	n := copy(ring, l.ring[l.head:])
	copy(ring[n:], l.ring[:l.head])
	l.ring, l.head = ring, 0
}

func (l *Lane) work() {
	for {
		l.mu.Lock()
		for l.queued == 0 && !l.closed {
			l.some.Wait()
		}
		if l.queued == 0 {
			l.mu.Unlock()
			return
		}
		j := l.ring[l.head]
		l.ring[l.head] = job{}
		l.head = (l.head + 1) % len(l.ring)
		l.queued--
		l.mu.Unlock()
		if j.f != nil {
			j.f()
		} else {
			j.ep.runParked(j.handle, j.req)
		}
	}
}

// Close lets the workers finish what is queued and waits for them.
func (l *Lane) Close() {
	l.mu.Lock()
	l.closed = true
	l.some.Broadcast()
	l.mu.Unlock()
	l.workers.Wait()
}
