// Package hold keeps requests that found nothing to read until there is something, or until they have waited long enough.
//
// It is the long polling of pulls (Java PullRequestHoldService), without its scans: the store's dispatcher wakes what waits for a
// queue, one timer goroutine ends what has waited long enough, and nothing polls. A held request is woken exactly once, with a
// [Reason]. The package knows no headers: the request itself is a [Waiter], its connection a key.
//
// What is parked costs one [Entry], which the request embeds; parking and waking allocate nothing once the tables have grown.
// Start at [Table.Park].
package hold

import (
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"apogee/internal/clock"
	"apogee/remoting"
	"apogee/store"
)

// Reason says why a waiter was woken.
type Reason uint8

const (
	Arrived Reason = iota // its queue has grown past the offset, and the waiter wanted what came
	Expired               // it has waited as long as it asked to
	Closing               // the table is closing
	Gone                  // its connection is closed: there is nobody to answer
)

// Waiter is a request that can wait.
type Waiter interface {
	// Ready tells whether the queue has grown past the entry's offset by now. It is asked once, at parking, under a lock that
	// arrivals also need: between its answer and the parking nothing can slip through.
	Ready() bool
	// Wants tells whether an arrival is worth waking for; the arrival is valid during the call only.
	Wants(a *store.Arrival) bool
	// Wake is called exactly once for each successful Park, when the entry is free again, on a goroutine of the table or of an
	// event loop. It answers through out, or before it returns.
	Wake(r Reason, out *remoting.Batch)
}

// Entry is one parked request; a pooled request embeds it. The caller sets the exported fields before Park and leaves the entry
// alone until Wake.
type Entry struct {
	Waiter Waiter
	Topic  string // kept: must not alias a frame
	Queue  int32
	Offset int64 // the offset that is not there yet

	deadline   int64 // ns since the table's start
	shard      *shard
	queue      *queue // nil: not parked (any more); guarded by shard.mu
	at         int    // index in queue.waiting
	heapAt     int    // index in shard.heap
	owner      *owner
	prev, next *Entry // in the owner's list; guarded by owner.mu
	wakeNext   *Entry // in the list of those to be woken
	reason     Reason
}

// Outcome is what became of a Park.
type Outcome uint8

const (
	Parked Outcome = iota // Wake follows
	Ready                 // there is something to read now; nothing was parked
	Full                  // too much is held, by the connection or at all
	Closed                // the table takes nothing more
)

// Options bound and drive a table. Zero fields take the defaults.
type Options struct {
	Now     func() time.Time // monotonic readings are used where it gives them
	Max     int              // held at once; 200,000
	MaxConn int              // held at once for one connection; 20,000: a consumer holds one per queue it is assigned
	Wakers  int              // goroutines that wake; 2
}

// granularity is the step of deadlines: what expires within one step costs one wake-up of the timer.
const granularity = int64(16 * time.Millisecond)

const shardCount = 64

// Table holds parked requests.
type Table struct {
	opts   Options
	start  time.Time
	seed   maphash.Seed
	shards [shardCount]shard
	parked atomic.Int64

	ownersMu sync.RWMutex // guards owners
	owners   map[any]*owner

	armed atomic.Int64 // when the timer fires next; math.MaxInt64 while it looks for that
	nudge chan struct{}
	stop  chan struct{}

	wake wakeList
	done sync.WaitGroup

	batches sync.Pool // *remoting.Batch
}

// shard holds the queues whose name hashes to it.
type shard struct {
	parked atomic.Int64
	mu     sync.Mutex // guards all below and the parking state of the entries
	closed bool
	queues map[queueKey]*queue
	heap   []*Entry // by deadline, the earliest first
	free   *queue
}

type queueKey struct {
	topic string
	id    int32
}

type queue struct {
	key     queueKey
	waiting []*Entry
	free    *queue
}

// owner is what one connection has parked. Lock order: owner.mu, then shard.mu.
type owner struct {
	mu     sync.Mutex // guards all below and the list pointers of the entries
	closed bool
	n      int
	head   *Entry
}

// New makes a table and starts its goroutines; Close ends them.
func New(opts Options) *Table {
	if opts.Now == nil {
		opts.Now = clock.Now
	}
	opts.Max = or(opts.Max, 200_000)
	opts.MaxConn = or(opts.MaxConn, 20_000)
	opts.Wakers = or(opts.Wakers, 2)
	t := &Table{
		opts:   opts,
		start:  opts.Now(),
		seed:   maphash.MakeSeed(),
		owners: make(map[any]*owner),
		nudge:  make(chan struct{}, 1),
		stop:   make(chan struct{}),
	}
	for i := range t.shards {
		t.shards[i].queues = make(map[queueKey]*queue)
	}
	t.armed.Store(math.MaxInt64)
	t.wake.init()
	t.batches.New = func() any { return new(remoting.Batch) }
	t.done.Go(t.runTimer)
	for range opts.Wakers {
		t.done.Go(t.runWaker)
	}
	return t
}

func or(v, def int) int {
	if v <= 0 {
		return def
	}
	return v
}

// Len is how many requests are held.
func (t *Table) Len() int { return int(t.parked.Load()) }

func (t *Table) now() int64 { return int64(t.opts.Now().Sub(t.start)) }

func (t *Table) shard(topic string, id int32) *shard {
	h := maphash.String(t.seed, topic) + uint64(uint32(id))*0x9E3779B97F4A7C15
	return &t.shards[(h>>32)%shardCount]
}

// Park holds e for at most wait. conn is the connection that will be answered, any comparable value; see [Table.Drop].
//
// After Parked the entry belongs to the table: it may have been woken before Park returns.
func (t *Table) Park(e *Entry, conn any, wait time.Duration) Outcome {
	if t.parked.Load() >= int64(t.opts.Max) {
		return Full
	}
	o := t.lockOwner(conn)
	defer o.mu.Unlock()
	if o.n >= t.opts.MaxConn {
		return Full
	}
	deadline := (t.now() + int64(wait) + granularity - 1) / granularity * granularity
	if out := t.park(t.shard(e.Topic, e.Queue), e, o, deadline); out != Parked {
		return out
	}
	if deadline < t.armed.Load() {
		select {
		case t.nudge <- struct{}{}:
		default:
		}
	}
	return Parked
}

func (t *Table) park(s *shard, e *Entry, o *owner, deadline int64) Outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return Closed
	}
	// The counters first, then the question: an arrival published after the answer finds the counters set and waits for the lock.
	s.parked.Add(1)
	t.parked.Add(1)
	if e.Waiter.Ready() {
		s.parked.Add(-1)
		t.parked.Add(-1)
		return Ready
	}
	e.shard, e.owner, e.deadline, e.wakeNext = s, o, deadline, nil
	o.link(e)
	s.insertLocked(e)
	return Parked
}

// Arrive wakes what waits for the queues that have grown; the store's dispatcher calls it.
func (t *Table) Arrive(batch []store.Arrival) {
	if t.parked.Load() == 0 {
		return
	}
	var woken chain
	for i := range batch {
		a := &batch[i]
		s := t.shard(a.Topic, a.QueueID)
		if s.parked.Load() == 0 {
			continue
		}
		s.mu.Lock()
		if q := s.queues[queueKey{a.Topic, a.QueueID}]; q != nil {
			for j := 0; j < len(q.waiting); {
				e := q.waiting[j]
				if a.Next <= e.Offset || !e.Waiter.Wants(a) {
					j++
					continue
				}
				t.removeLocked(s, e) // puts another entry at j
				woken.add(e, Arrived)
			}
		}
		s.mu.Unlock()
	}
	t.put(woken)
}

// Drop wakes everything that conn has parked, with Gone. The server calls it when a connection has closed; whoever parks for a
// connection looks once more afterwards whether it is still open, and drops it if not.
func (t *Table) Drop(conn any) {
	t.ownersMu.Lock()
	o := t.owners[conn]
	delete(t.owners, conn)
	t.ownersMu.Unlock()
	if o == nil {
		return
	}
	var woken chain
	o.mu.Lock()
	o.closed = true
	for e := o.head; e != nil; e = e.next {
		e.shard.mu.Lock()
		if e.queue != nil {
			t.removeLocked(e.shard, e)
			woken.add(e, Gone)
		}
		e.shard.mu.Unlock()
	}
	o.mu.Unlock()
	t.put(woken)
}

// Close wakes everything, waits until all of it has been answered, and ends the goroutines. Parks after it get Closed.
func (t *Table) Close() {
	var woken chain
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		s.closed = true
		for len(s.heap) > 0 {
			e := s.heap[0]
			t.removeLocked(s, e)
			woken.add(e, Closing)
		}
		s.mu.Unlock()
	}
	t.put(woken)
	if t.wake.close() {
		close(t.stop)
	}
	t.done.Wait()
}

// lockOwner finds or makes the owner of a connection's entries and locks it.
func (t *Table) lockOwner(conn any) *owner {
	for {
		t.ownersMu.RLock()
		o := t.owners[conn]
		t.ownersMu.RUnlock()
		if o == nil {
			t.ownersMu.Lock()
			if o = t.owners[conn]; o == nil {
				o = new(owner)
				t.owners[conn] = o
			}
			t.ownersMu.Unlock()
		}
		o.mu.Lock()
		if !o.closed {
			return o
		}
		o.mu.Unlock() // dropped since; the map has forgotten it
	}
}

func (o *owner) link(e *Entry) {
	e.prev, e.next = nil, o.head
	if o.head != nil {
		o.head.prev = e
	}
	o.head = e
	o.n++
}

func (o *owner) unlink(e *Entry) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		o.head = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	}
	e.prev, e.next = nil, nil
	o.n--
}
