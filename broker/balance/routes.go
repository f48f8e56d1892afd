// Package balance shares the queues of topics out among the consumers of a group, in place of the clients (Java
// QueryAssignmentProcessor): which queues there are, as the name servers know them, and which of them are whose.
//
// Start at [Routes.Queues] and [Assign].
package balance

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"apogee/compat/body"
)

// ErrNoTopic is what a [Fetch] returns when the name servers know no such topic.
var ErrNoTopic = errors.New("no route for this topic")

// Fetch asks the name servers for a topic's route.
type Fetch func(ctx context.Context, topic string) (*body.TopicRouteData, error)

// Routes keeps the queues of topics (TopicRouteInfoManager). A route is asked for when somebody wants it and the last answer is
// older than the period; nothing is asked while nobody wants it, which is the difference from Java. A topic that was not found is not
// kept, so what is kept is bounded by the topics that there are.
type Routes struct {
	fetch Fetch
	now   func() time.Time

	mu    sync.Mutex // guards table
	table map[string]*route
}

type route struct {
	asking sync.Mutex // held while the name servers are asked; under it nothing is taken but mu

	mu    sync.Mutex // guards all below
	has   queues
	known bool
	asked time.Time
}

// queues are those that consumers may read and those that producers may write to, each in order.
type queues struct{ read, write []body.MessageQueue }

// NewRoutes makes an empty table.
func NewRoutes(fetch Fetch, now func() time.Time) *Routes {
	return &Routes{fetch: fetch, now: now, table: make(map[string]*route)}
}

// Queues are the readable queues of a topic, in order; nil if the topic is unknown. They are shared and must not be changed. It waits for
// a name server if what is known is older than period, or nothing is known: not on an event loop. A name server that does not answer
// leaves the queues as they were.
func (r *Routes) Queues(ctx context.Context, topic string, period time.Duration) []body.MessageQueue {
	return r.find(ctx, topic, period).read
}

// Writable is Queues for those that producers may write to.
func (r *Routes) Writable(ctx context.Context, topic string, period time.Duration) []body.MessageQueue {
	return r.find(ctx, topic, period).write
}

func (r *Routes) find(ctx context.Context, topic string, period time.Duration) queues {
	e := r.entry(topic)
	has, fresh := e.get(r.now(), period)
	if fresh {
		return has
	}
	if len(has.read) > 0 {
		if !e.asking.TryLock() {
			return has // somebody asks already
		}
	} else {
		e.asking.Lock()
	}
	defer e.asking.Unlock()
	if has, fresh = e.get(r.now(), period); fresh {
		return has
	}
	data, err := r.fetch(ctx, topic)
	if err != nil {
		if errors.Is(err, ErrNoTopic) || len(has.read) == 0 {
			r.forget(topic, e)
		}
		if errors.Is(err, ErrNoTopic) {
			return queues{}
		}
		e.mu.Lock()
		e.asked = r.now()
		e.mu.Unlock()
		return has
	}
	name := e.name(topic)
	return e.put(queues{readable(name, data), writable(name, data)}, r.now())
}

func (e *route) name(topic string) string {
	if len(e.has.read) > 0 { // asking is held: nobody else changes them
		return e.has.read[0].Topic
	}
	return strings.Clone(topic)
}

func (r *Routes) entry(topic string) *route {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.table[topic]
	if e == nil {
		e = new(route)
		r.table[strings.Clone(topic)] = e
	}
	return e
}

func (r *Routes) forget(topic string, e *route) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.table[topic] == e {
		delete(r.table, topic)
	}
}

// get is what is known, and whether that will do. A topic without queues is asked for each time, as in Java.
func (e *route) get(now time.Time, period time.Duration) (queues, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.has, e.known && len(e.has.read) > 0 && now.Sub(e.asked) < period
}

func (e *route) put(has queues, now time.Time) queues {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.has, e.known, e.asked = has, true, now
	return has
}

// readable lists the queues of a route that consumers may read (MQClientInstance.topicRouteData2TopicSubscribeInfo); never nil.
func readable(topic string, data *body.TopicRouteData) []body.MessageQueue {
	queues := make([]body.MessageQueue, 0, len(data.QueueDatas))
	for _, d := range data.QueueDatas {
		if d.Perm&body.PermRead == 0 {
			continue
		}
		for id := range d.ReadQueueNums {
			queues = append(queues, body.MessageQueue{Topic: topic, BrokerName: d.BrokerName, QueueID: id})
		}
	}
	slices.SortFunc(queues, compare)
	return slices.Compact(queues)
}

// writable lists the queues of a route that producers may write to: those of brokers with a master
// (MQClientInstance.topicRouteData2TopicPublishInfo).
func writable(topic string, data *body.TopicRouteData) []body.MessageQueue {
	masters := make(map[string]bool, len(data.BrokerDatas))
	for i := range data.BrokerDatas {
		b := &data.BrokerDatas[i]
		masters[b.BrokerName] = b.BrokerAddrs[body.MasterID] != ""
	}
	var out []body.MessageQueue
	for _, d := range data.QueueDatas {
		if d.Perm&body.PermWrite == 0 || !masters[d.BrokerName] {
			continue
		}
		for id := range d.WriteQueueNums {
			out = append(out, body.MessageQueue{Topic: topic, BrokerName: d.BrokerName, QueueID: id})
		}
	}
	slices.SortFunc(out, compare)
	return slices.Compact(out)
}

// compare orders queues as Java's MessageQueue.compareTo.
func compare(a, b body.MessageQueue) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.BrokerName, b.BrokerName), cmp.Compare(a.QueueID, b.QueueID))
}
