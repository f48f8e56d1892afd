package meta

import (
	"math"
	"strings"
	"sync/atomic"

	"apogee/broker/stats"
	"apogee/compat/body"
	"apogee/internal/prefetch"
	"apogee/store"
)

// Topic is what a send wants of its topic, found with one look-up: what its configuration says to most messages, its queues and
// its counters. With ten thousand topics each of them is a miss of the caches where it is looked up by name.
//
// It is laid out for two cache lines, with name, configuration and Plain in the first (the name is in front of it, see
// package names). It lives as long as the topic's name is in the table; who still has it then finds nothing wrong in it but what is
// old: a queue or counters that are gone say so themselves.
type Topic struct {
	plain  atomic.Int64 // see Plain; the complement while the topic is not on disk
	item   atomic.Pointer[stats.Item]
	places [topicPlaces]store.Place
}

// topicPlaces is how many queues a Topic has at hand: what its second line has room for.
const topicPlaces = 7

// Plain is how many queues there are to send to, or no more than 0 where more has to be looked at: the topic has attributes, a filter type of
// its own or a name that may not be sent to, belongs to a group, or is new.
func (t *Topic) Plain() int32 { return int32(t.plain.Load()) }

// New tells whether the topic may not be on disk yet: nothing that rests on it is acknowledged before [Topics.Saved] returns.
func (t *Topic) New() bool { return t.plain.Load() < 0 }

func (t *Topic) newLocked() { t.plain.Store(^0) }

func (t *Topic) savedLocked() {
	if n := t.plain.Load(); n < 0 {
		t.plain.Store(^n)
	}
}

func (t *Topic) setLocked(name string, c *body.TopicConfig) {
	n := max(c.ReadQueueNums, c.WriteQueueNums, 0)
	if len(c.Attributes) > 0 || c.TopicFilterType == body.MultiTag || c.TopicName != name || n > math.MaxInt32-1 ||
		ValidateTopic(name) != "" || !SendAllowed(name) || strings.HasPrefix(name, RetryPrefix) {
		n = 0
	}
	if t.New() {
		n = ^n
	}
	t.plain.Store(int64(n))
}

// Place is where the store remembers a queue of the topic; nil for queues that it has to look up.
func (t *Topic) Place(queue int32) *store.Place {
	if uint32(queue) >= topicPlaces {
		return nil
	}
	return &t.places[queue]
}

// Fetch has the processor fetch what a message to a queue will need: call it as soon as the queue is known.
func (t *Topic) Fetch(queue int32) {
	if at := t.Place(queue); at != nil {
		at.Fetch()
	}
	if it := t.item.Load(); it != nil {
		it.Fetch()
	}
}

// Item is the topic's counters.
func (t *Topic) Item(s *stats.Stats, name string) *stats.Item {
	it := t.item.Load()
	if it == nil || it.Gone() {
		it = s.Topic(name)
		t.item.Store(it)
	}
	return it
}

// Lookup finds a topic as Get does, with its name and what else there is of it; nil for light queues, which are in no table.
func (t *Topics) Lookup(name string) (own string, topic *Topic, c *body.TopicConfig) {
	if t.opts.LMQ && IsLMQ(name) {
		c = lightTopic(name)
		return c.TopicName, nil, c
	}
	own, e := t.table.entries.Lookup(name)
	if e == nil {
		return "", nil, nil
	}
	prefetch.Line(&e.more.places[0]) // the second line
	return own, &e.more, e.value.Load()
}
