package client

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"apogee/compat/body"
)

// Group is what the latest heartbeats said of a consumer group. It is immutable: a change makes a new one.
type Group struct {
	Name          string
	ConsumeType   body.ConsumeType
	Model         body.MessageModel
	FromWhere     body.ConsumeFromWhere
	Subscriptions map[string]*body.SubscriptionData // by topic
	Updated       int64                             // ms
}

// Consumers are the connected consumers by group (ConsumerManager). A group lives from its first member to its last.
type Consumers struct {
	now     func() time.Time
	changed func(group string)

	mu     sync.RWMutex // guards what follows
	groups map[string]*consumerGroup
	of     channelGroups
}

type consumerGroup struct {
	view        *Group
	members     map[Channel]*Member
	fingerprint int32 // of the last heartbeat; 0 is one of version 1
	known       bool  // there was a heartbeat
}

// NewConsumers makes an empty table. changed hears, without any lock held, that the members of a group must look at their
// queues anew; it is never called for broadcasting groups.
func NewConsumers(now func() time.Time, changed func(group string)) *Consumers {
	return &Consumers{now: now, changed: changed, groups: make(map[string]*consumerGroup), of: make(channelGroups)}
}

// Registration is one group of a heartbeat. The table keeps its strings.
type Registration struct {
	Group         string
	ConsumeType   body.ConsumeType
	Model         body.MessageModel
	FromWhere     body.ConsumeFromWhere
	Subscriptions []body.SubscriptionData
	// WithoutSub says that the heartbeat left the subscriptions out because they have not changed (heartbeat V2).
	WithoutSub bool
	// Notify is notifyConsumerIdsChangedEnable of the group.
	Notify bool
}

// Register notes a heartbeat of a consumer and reports whether members or subscriptions of the group have changed.
func (c *Consumers) Register(ch Channel, id Identity, r Registration) bool {
	c.mu.Lock()
	g := c.groups[r.Group]
	if g == nil {
		g = &consumerGroup{members: make(map[Channel]*Member), view: &Group{Name: r.Group}}
		c.groups[r.Group] = g
	}
	joined := c.joinLocked(g, ch, id)
	view, moved := g.next(r, c.now().UnixMilli())
	g.view = view
	c.mu.Unlock()

	changed := joined || moved
	if changed && r.Notify && view.Model != body.Broadcasting {
		c.changed(r.Group)
	}
	return changed
}

// joinLocked needs mu. A channel that comes with another client id than before is one client that has renamed itself.
func (c *Consumers) joinLocked(g *consumerGroup, ch Channel, id Identity) bool {
	now := c.now().UnixMilli()
	if m := g.members[ch]; m != nil {
		m.Identity, m.LastUpdate = id, now
		return false
	}
	g.members[ch] = &Member{Identity: id, Channel: ch, LastUpdate: now}
	c.of.add(ch, g.view.Name)
	return true
}

// next is the group as r changes it, and whether the set of its topics has changed. The latest heartbeat decides type, model and
// start for the whole group. A known topic is replaced by a newer version only; topics that this heartbeat does not have are
// dropped for all members, even if others subscribe to them (ConsumerGroupInfo.updateSubscription).
func (g *consumerGroup) next(r Registration, now int64) (*Group, bool) {
	v := &Group{
		Name: g.view.Name, ConsumeType: r.ConsumeType, Model: r.Model, FromWhere: r.FromWhere,
		Subscriptions: g.view.Subscriptions, Updated: now,
	}
	if r.WithoutSub {
		return v, false
	}
	if g.same(r.Subscriptions) {
		return v, false
	}
	moved := false
	subs := make(map[string]*body.SubscriptionData, len(r.Subscriptions))
	for i := range r.Subscriptions {
		s := &r.Subscriptions[i]
		old := g.view.Subscriptions[s.Topic]
		switch {
		case old == nil:
			moved = true
			subs[s.Topic] = s
		case s.SubVersion > old.SubVersion:
			subs[s.Topic] = s
		default:
			subs[s.Topic] = old
		}
	}
	for topic := range g.view.Subscriptions {
		if subs[topic] == nil {
			moved = true
		}
	}
	v.Subscriptions = subs
	return v, moved
}

// same is the common case: a heartbeat that says what the last one said.
func (g *consumerGroup) same(subs []body.SubscriptionData) bool {
	if len(subs) != len(g.view.Subscriptions) {
		return false
	}
	for i := range subs {
		old := g.view.Subscriptions[subs[i].Topic]
		if old == nil || subs[i].SubVersion > old.SubVersion {
			return false
		}
	}
	return true
}

// Fingerprint compares the fingerprint of a heartbeat (0 for one of version 1) with the group's last one, and keeps it. It reports whether the client
// has to send its subscriptions again: they changed, or it left them out while the broker does not know the group.
func (c *Consumers) Fingerprint(group string, fingerprint int32, withoutSub bool) (resend bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.groups[group]
	if g == nil {
		return withoutSub
	}
	old, known := g.fingerprint, g.known
	g.fingerprint, g.known = fingerprint, true
	return old != fingerprint && (known || withoutSub)
}

// Unregister removes a consumer that says goodbye and tells the remaining ones, if notify.
func (c *Consumers) Unregister(group string, ch Channel, notify bool) {
	c.mu.Lock()
	tell := c.leaveLocked(group, ch)
	c.mu.Unlock()
	if tell && notify {
		c.changed(group)
	}
}

// leaveLocked needs mu. It reports whether there are members left who share the group's queues.
func (c *Consumers) leaveLocked(group string, ch Channel) bool {
	g := c.groups[group]
	if g == nil || g.members[ch] == nil {
		return false
	}
	delete(g.members, ch)
	c.of.remove(ch, group)
	if len(g.members) == 0 {
		delete(c.groups, group)
		return false
	}
	return g.view.Model != body.Broadcasting
}

// ChannelClosed removes a connection from every group, tells the remaining members, and reports whether it was in any.
func (c *Consumers) ChannelClosed(ch Channel) bool {
	c.mu.Lock()
	groups := c.of[ch].clone()
	tell := groups[:0:0]
	for _, group := range groups {
		if c.leaveLocked(group, ch) {
			tell = append(tell, group)
		}
	}
	c.mu.Unlock()
	for _, group := range tell {
		c.changed(group)
	}
	return len(groups) > 0
}

// Expire removes the members that have not been heard of for timeout, tells the remaining ones, and returns the channels, which
// the caller closes.
func (c *Consumers) Expire(timeout time.Duration) []Channel {
	limit := c.now().UnixMilli() - timeout.Milliseconds()
	var out []Channel
	var tell []string
	c.mu.Lock()
	for group, g := range c.groups {
		shared := false
		for ch, m := range g.members {
			if m.LastUpdate < limit {
				out = append(out, ch)
				shared = c.leaveLocked(group, ch)
			}
		}
		if shared {
			tell = append(tell, group)
		}
	}
	c.mu.Unlock()
	for _, group := range tell {
		c.changed(group)
	}
	return out
}

// Group is the present state of a group, nil if nobody is online. It allocates nothing and keeps nothing of the name.
func (c *Consumers) Group(name string) *Group {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if g := c.groups[name]; g != nil {
		return g.view
	}
	return nil
}

// Members are the consumers of a group, ordered by client id; nil if nobody is online.
func (c *Consumers) Members(group string) []Member {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if g := c.groups[group]; g != nil {
		return membersOf(g.members)
	}
	return nil
}

// ClientIDs are the client ids of a group, in order, each once. Clients spread queues by their place in this list.
func (c *Consumers) ClientIDs(group string) []string {
	members := c.Members(group)
	out := make([]string, 0, len(members))
	for i := range members {
		out = append(out, members[i].ClientID)
	}
	return slices.Compact(out)
}

// Channels are the connections of a group.
func (c *Consumers) Channels(group string) []Channel {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if g := c.groups[group]; g != nil {
		return slices.Collect(maps.Keys(g.members))
	}
	return nil
}

// Member finds a consumer of a group by its client id.
func (c *Consumers) Member(group, clientID string) (Member, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if g := c.groups[group]; g != nil {
		for _, m := range g.members {
			if m.ClientID == clientID {
				return *m, true
			}
		}
	}
	return Member{}, false
}

// Names are the groups with at least one member, in order.
func (c *Consumers) Names() []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.Sorted(maps.Keys(c.groups))
}

// GroupsOf are the online groups that subscribe to a topic, in order.
func (c *Consumers) GroupsOf(topic string) []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var out []string
	for name, g := range c.groups {
		if g.view.Subscriptions[topic] != nil {
			out = append(out, name)
		}
	}
	slices.SortFunc(out, strings.Compare)
	return out
}
