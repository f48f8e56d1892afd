package meta

import (
	"strings"
	"sync"
)

// A slave takes what clients commit while its master is away, and from those who do not know yet that it is back. What comes when the master
// has already asked for the offsets has to be brought to it, or the master's older ones would take its place.

// Moved is an offset that clients have moved at a slave.
type Moved struct {
	Group, Topic string
	Queue        int32
	From, To     int64 // From is 0 where there was none
}

// moved are those that the master has not been told of.
type moved struct {
	mu sync.Mutex // a leaf
	m  map[movedKey]span
}

type movedKey struct {
	progressKey
	queue int32
}

type span struct{ from, to int64 }

// CommitOfClient is Commit of what a client says. At a slave it is noted for the master.
func (o *Offsets) CommitOfClient(group, topic string, queue int32, off int64) (lower bool) {
	if !o.opts.Slave {
		return o.Commit(group, topic, queue, off)
	}
	before, _ := o.Query(group, topic, queue)
	lower = o.Commit(group, topic, queue, off)
	if before != off {
		o.moved.note(Moved{group, topic, o.queue(group, queue), before, off})
	}
	return lower
}

func (m *moved) note(of Moved) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := movedKey{progressKey{of.Topic, of.Group}, of.Queue}
	if old, ok := m.m[key]; ok {
		m.m[key] = span{old.from, of.To}
		return
	}
	if m.m == nil {
		m.m = make(map[movedKey]span)
	}
	key.topic, key.group = strings.Clone(of.Topic), strings.Clone(of.Group)
	m.m[key] = span{of.From, of.To}
}

// HasMoved tells whether there is anything to take.
func (o *Offsets) HasMoved() bool {
	o.moved.mu.Lock()
	defer o.moved.mu.Unlock()
	return len(o.moved.m) > 0
}

// TakeMoved is what clients have moved since the last time.
func (o *Offsets) TakeMoved() []Moved {
	o.moved.mu.Lock()
	all := o.moved.m
	o.moved.m = nil
	o.moved.mu.Unlock()
	out := make([]Moved, 0, len(all))
	for k, s := range all {
		out = append(out, Moved{k.group, k.topic, k.queue, s.from, s.to})
	}
	return out
}

// NoteMoved takes back what could not be brought to the master. What clients have moved since stays.
func (o *Offsets) NoteMoved(all []Moved) {
	m := &o.moved
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, of := range all {
		key := movedKey{progressKey{of.Topic, of.Group}, of.Queue}
		if m.m == nil {
			m.m = make(map[movedKey]span)
		}
		s, ok := m.m[key]
		if !ok {
			s.to = of.To
		}
		m.m[key] = span{of.From, s.to}
	}
}
