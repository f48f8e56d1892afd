package client

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"apogee/compat/body"
	"apogee/store/record"
)

// noted are the subscriptions that came with pulls and pops: proxies, and consumers that only pop, send no heartbeats. Tools see them where
// the group has no other (ConsumerManager.compensateSubscribeData).
type noted struct {
	mu     sync.RWMutex // guards groups
	groups map[string]map[string]*note
}

// note is a subscription of a topic, or of two: what comes back through a retry topic belongs to the same pops.
type note struct {
	kind, expression string
	at               *atomic.Int64 // ms, of the last request
}

// Note notes what a request says that its group wants of a topic. With retry it wants all of the topic of that name besides. It keeps nothing
// of the names, and allocates nothing if it has heard the same before.
func (c *Consumers) Note(group, topic, kind, expression string, retry func() string) {
	c.noted.note(group, topic, kind, expression, c.now().UnixMilli(), retry)
}

func (n *noted) note(group, topic, kind, expression string, ms int64, retry func() string) {
	n.mu.RLock()
	known := n.groups[group][topic]
	n.mu.RUnlock()
	if known != nil && known.kind == kind && known.expression == expression {
		known.at.Store(ms)
		return
	}
	kind = strings.Clone(kind)
	at := new(atomic.Int64)
	at.Store(ms)
	n.mu.Lock()
	defer n.mu.Unlock()
	topics := n.groups[group]
	if topics == nil {
		topics = make(map[string]*note, 2)
		if n.groups == nil {
			n.groups = make(map[string]map[string]*note)
		}
		n.groups[strings.Clone(group)] = topics
	}
	topics[strings.Clone(topic)] = &note{kind, strings.Clone(expression), at}
	if retry != nil {
		topics[retry()] = &note{kind, "*", at}
	}
}

// find is a subscription as Java writes it (FilterAPI.build), nil if nobody has asked.
func (n *noted) find(group, topic string) *body.SubscriptionData {
	n.mu.RLock()
	defer n.mu.RUnlock()
	v := n.groups[group][topic]
	if v == nil {
		return nil
	}
	s := &body.SubscriptionData{Topic: topic, SubString: v.expression, SubVersion: v.at.Load(), ExpressionType: v.kind}
	if !body.IsTagType(v.kind) {
		return s
	}
	s.ExpressionType = body.ExpressionTag
	if v.expression == "" || v.expression == "*" {
		s.SubString = "*"
		return s
	}
	for tag := range strings.SplitSeq(v.expression, "||") {
		if tag = strings.TrimSpace(tag); tag != "" && !slices.Contains(s.TagsSet, tag) {
			s.TagsSet, s.CodeSet = append(s.TagsSet, tag), append(s.CodeSet, record.HashString(tag))
		}
	}
	return s
}

// expire forgets what has not been heard of since.
func (n *noted) expire(since int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for group, topics := range n.groups {
		for topic, v := range topics {
			if v.at.Load() < since {
				delete(topics, topic)
			}
		}
		if len(topics) == 0 {
			delete(n.groups, group)
		}
	}
}

// Subscription is what a group wants of a topic: as its consumers said, or else as requests of the group did; nil if neither.
func (c *Consumers) Subscription(group, topic string) *body.SubscriptionData {
	if g := c.Group(group); g != nil && g.Subscriptions[topic] != nil {
		return g.Subscriptions[topic]
	}
	return c.noted.find(group, topic)
}
