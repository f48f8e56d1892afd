package store

import (
	"slices"
	"strings"
	"sync"
)

// queue is one queue of one topic, as the store knows it. The parts have different owners, named at each.
type queue struct {
	topic string
	id    int32

	kind    QueueKind
	keyHash int32 // of "topic#", with which the index hashes of keys begin

	// Under the append lock.
	next int64 // queue offset of the next message
	gone bool  // deleted: look the queue up again

	cq consumeQueue // the dispatcher's; readers use what it publishes
}

type queueKey struct {
	topic string
	id    int32
}

// queueTable finds queues by topic and id without allocating. Its lock is a leaf: nothing else is taken under it.
type queueTable struct {
	prepare func(*queue) // completes a new queue before anybody can see it; set before the first use

	mu     sync.RWMutex
	queues map[queueKey]*queue
}

func newQueueTable() *queueTable { return &queueTable{queues: map[queueKey]*queue{}} }

// get is the queue, nil if there is none. topic may alias a buffer.
func (t *queueTable) get(topic string, id int32) *queue {
	t.mu.RLock()
	q := t.queues[queueKey{topic, id}]
	t.mu.RUnlock()
	return q
}

// getOrCreate finds or makes the queue. topic may alias a buffer.
func (t *queueTable) getOrCreate(topic string, id int32) *queue {
	if q := t.get(topic, id); q != nil {
		return q
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	key := queueKey{strings.Clone(topic), id}
	if q := t.queues[key]; q != nil {
		return q
	}
	q := &queue{topic: key.topic, id: id}
	if t.prepare != nil {
		t.prepare(q)
	}
	t.queues[key] = q
	return q
}

// remove forgets a queue.
func (t *queueTable) remove(q *queue) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if key := (queueKey{q.topic, q.id}); t.queues[key] == q {
		delete(t.queues, key)
	}
}

// all is every queue, by topic and id.
func (t *queueTable) all() []*queue {
	t.mu.RLock()
	l := make([]*queue, 0, len(t.queues))
	for _, q := range t.queues {
		l = append(l, q)
	}
	t.mu.RUnlock()
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
	for _, q := range t.all() {
		if q.cq.served() {
			m[q.topic] = append(m[q.topic], q.id)
		}
	}
	return m
}
