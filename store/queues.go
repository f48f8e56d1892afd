package store

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"apogee/internal/names"
	"apogee/internal/prefetch"
)

// queue is one queue of one topic, as the store knows it. The parts have different owners, named at each.
type queue struct {
	topic string
	id    int32

	keyHash int32 // of "topic#", with which the index hashes of keys begin
	kind    QueueKind

	// Under the append lock.
	next int64 // queue offset of the next message
	gone bool  // deleted: look the queue up again

	cq consumeQueue // the dispatcher's; readers use what it publishes

	// Together these are three cache lines, of which a message needs the first two: the allocator aligns such sizes.
}

// Place is where somebody keeps a queue of the store that he puts to again and again, so that it need not be looked up. It is empty at first; the
// puts fill it. A place is for one queue of one topic.
type Place struct{ q atomic.Pointer[queue] }

// Fetch has the processor fetch what a put to the queue will need.
func (p *Place) Fetch() {
	if q := p.q.Load(); q != nil {
		prefetch.Lines(q)
	}
}

// at is the queue of a topic, by its place if there is one.
func (t *queueTable) at(p *Place, topic string, id int32) *queue {
	if p == nil {
		return t.getOrCreate(topic, id)
	}
	if q := p.q.Load(); q != nil && q.id == id {
		return q
	}
	return t.again(p, topic, id)
}

// again is at for a queue that is not in its place, or that is gone.
func (t *queueTable) again(p *Place, topic string, id int32) *queue {
	q := t.getOrCreate(topic, id)
	if p != nil {
		p.q.Store(q)
	}
	return q
}

// queueTable finds queues by topic and id, without a lock and without allocating: a table of topics, each with its queues by id.
// The lock of changes is a leaf: nothing else is taken under it.
type queueTable struct {
	prepare func(*queue) // completes a new queue before anybody can see it; set before the first use

	topics *names.Table[topicQueues]

	mu  sync.RWMutex // guards changes of topics, and odd
	odd map[queueKey]*queue

	light atomic.Int32 // how many are light queues (LMQ)
}

// topicQueues is the queues of one topic, by id.
type topicQueues struct {
	first [firstIDs]atomic.Pointer[queue] // most topics have no more
	rest  atomic.Pointer[[]atomic.Pointer[queue]]
	count int // under mu
}

const (
	firstIDs = 8
	// densestID is up to which id queues are found by index. The others are odd: no operator makes so many, but any client may ask.
	densestID = 1<<16 - 1
)

type queueKey struct {
	topic string
	id    int32
}

func newQueueTable() *queueTable {
	return &queueTable{topics: names.New[topicQueues](), odd: map[queueKey]*queue{}}
}

func oddID(id int32) bool { return id < 0 || id > densestID }

// place is where a queue's pointer is, nil if the topic has no place for it. The id is not odd.
func (of *topicQueues) place(id int32) *atomic.Pointer[queue] {
	if id < firstIDs {
		return &of.first[id]
	}
	if rest := of.rest.Load(); rest != nil && int(id)-firstIDs < len(*rest) {
		return &(*rest)[id-firstIDs]
	}
	return nil
}

// growLocked makes a place for a queue.
func (of *topicQueues) growLocked(id int32) {
	var old []atomic.Pointer[queue]
	if p := of.rest.Load(); p != nil {
		old = *p
	}
	next := make([]atomic.Pointer[queue], max(2*len(old), int(id)-firstIDs+1))
	for i := range old {
		next[i].Store(old[i].Load())
	}
	of.rest.Store(&next)
}

func (of *topicQueues) each(yield func(*queue) bool) {
	for i := range of.first {
		if q := of.first[i].Load(); q != nil && !yield(q) {
			return
		}
	}
	if rest := of.rest.Load(); rest != nil {
		for i := range *rest {
			if q := (*rest)[i].Load(); q != nil && !yield(q) {
				return
			}
		}
	}
}

// get is the queue, nil if there is none. topic may alias a buffer.
func (t *queueTable) get(topic string, id int32) *queue {
	if oddID(id) {
		t.mu.RLock()
		defer t.mu.RUnlock()
		return t.odd[queueKey{topic, id}]
	}
	if of := t.topics.Find(topic); of != nil {
		if p := of.place(id); p != nil {
			return p.Load()
		}
	}
	return nil
}

// getOrCreate finds or makes the queue. topic may alias a buffer.
func (t *queueTable) getOrCreate(topic string, id int32) *queue {
	if q := t.get(topic, id); q != nil {
		return q
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if oddID(id) {
		key := queueKey{strings.Clone(topic), id}
		if t.odd[key] == nil {
			t.odd[key] = t.make(key.topic, id)
		}
		return t.odd[key]
	}
	name, of := t.topics.Add(topic, func(string, *topicQueues) {})
	if of.place(id) == nil {
		of.growLocked(id)
	}
	p := of.place(id)
	if p.Load() == nil {
		of.count++
		p.Store(t.make(name, id))
	}
	return p.Load()
}

func (t *queueTable) make(topic string, id int32) *queue {
	q := &queue{topic: topic, id: id}
	if strings.HasPrefix(topic, lmqPrefix) {
		t.light.Add(1)
	}
	if t.prepare != nil {
		t.prepare(q)
	}
	return q
}

// remove forgets a queue.
func (t *queueTable) remove(q *queue) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if oddID(q.id) {
		if key := (queueKey{q.topic, q.id}); t.odd[key] == q {
			delete(t.odd, key)
			t.gone(q)
		}
		return
	}
	of := t.topics.Find(q.topic)
	if of == nil {
		return
	}
	if p := of.place(q.id); p != nil && p.CompareAndSwap(q, nil) {
		t.gone(q)
		if of.count--; of.count == 0 {
			t.topics.Remove(q.topic)
		}
	}
}

func (t *queueTable) gone(q *queue) {
	if strings.HasPrefix(q.topic, lmqPrefix) {
		t.light.Add(-1)
	}
}

// each is every queue, in no order. It may miss queues that come or go meanwhile.
func (t *queueTable) each(yield func(*queue) bool) {
	for _, of := range t.topics.All() {
		for q := range of.each {
			if !yield(q) {
				return
			}
		}
	}
	t.mu.RLock()
	odd := make([]*queue, 0, len(t.odd))
	for _, q := range t.odd {
		odd = append(odd, q)
	}
	t.mu.RUnlock()
	for _, q := range odd {
		if !yield(q) {
			return
		}
	}
}

// all is every queue, by topic and id.
func (t *queueTable) all() []*queue {
	l := slices.Collect(t.each)
	slices.SortFunc(l, func(a, b *queue) int {
		if c := strings.Compare(a.topic, b.topic); c != 0 {
			return c
		}
		return int(a.id) - int(b.id)
	})
	return l
}

// ids is topic to ids of queues that are served.
func (t *queueTable) ids() map[string][]int32 {
	m := map[string][]int32{}
	for q := range t.each {
		if q.cq.served() {
			m[q.topic] = append(m[q.topic], q.id)
		}
	}
	for _, ids := range m {
		slices.Sort(ids)
	}
	return m
}
