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
}

// Consumers are the connected consumers by group (ConsumerManager). A group lives from its first member to its last.
type Consumers struct {
	now     func() time.Time
	changed func(group string)
	filters Filters
	noted   noted

	mu sync.RWMutex // guards what follows
	roster
}

// Filters hears what becomes of the subscriptions of groups.
type Filters interface {
	Register(group string, subs []body.SubscriptionData)
	Unregister(group string)
}

// consuming is what is known of a group of consumers besides its members.
type consuming struct {
	view        *Group
	fingerprint int32 // of the last heartbeat; 0 is one of version 1
	known       bool  // there was a heartbeat
}

// NewConsumers makes an empty table. changed hears, without any lock held, that the members of a group must look at their
// queues anew; it is never called for broadcasting groups. filters hears, likewise, that the last member of a group has left; it may be
// nil.
func NewConsumers(now func() time.Time, changed func(group string), filters Filters) *Consumers {
	return &Consumers{now: now, changed: changed, filters: filters, roster: newRoster()}
}

// Registration is one group of a heartbeat. The table copies what it keeps, so that all of it may be in memory that is used again.
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

// Register notes a heartbeat of a consumer and reports whether members or subscriptions of the group have changed. One that says what
// the last one said allocates nothing.
func (c *Consumers) Register(ch Channel, id Identity, r Registration) bool {
	c.mu.Lock()
	g := c.groups[r.Group]
	if g == nil {
		name := strings.Clone(r.Group)
		g = &group{name: name, consuming: &consuming{view: &Group{Name: name}}}
		c.groups[name] = g
	}
	joined := c.joinLocked(g, ch, id)
	view, moved := g.next(&r)
	g.view = view
	c.mu.Unlock()

	changed := joined || moved
	if changed && r.Notify && view.Model != body.Broadcasting {
		c.changed(view.Name)
	}
	return changed
}

// joinLocked needs mu. A channel that comes with another client id than before is one client that has renamed itself.
func (c *Consumers) joinLocked(g *group, ch Channel, id Identity) bool {
	now := c.now().UnixMilli()
	if e := c.find(g, ch); e != nil {
		id.ClientID = keep(e.ClientID, id.ClientID)
		e.Identity, e.LastUpdate = id, now
		return false
	}
	c.join(g, Member{Identity: id, Channel: ch, LastUpdate: now})
	return true
}

// next is the group as r changes it, and whether the set of its topics has changed. The latest heartbeat decides type, model and
// start for the whole group. A known topic is replaced by a newer version only; topics that this heartbeat does not have are
// dropped for all members, even if others subscribe to them (ConsumerGroupInfo.updateSubscription).
func (g *consuming) next(r *Registration) (*Group, bool) {
	old := g.view
	as := old.ConsumeType == r.ConsumeType && old.Model == r.Model && old.FromWhere == r.FromWhere
	kept := r.WithoutSub || g.same(r.Subscriptions)
	if as && kept {
		return old, false
	}
	v := &Group{
		Name: old.Name, ConsumeType: keep(old.ConsumeType, r.ConsumeType), Model: keep(old.Model, r.Model), FromWhere: keep(old.FromWhere, r.FromWhere),
		Subscriptions: old.Subscriptions,
	}
	if kept {
		return v, false
	}
	moved := false
	v.Subscriptions = make(map[string]*body.SubscriptionData, len(r.Subscriptions))
	for i := range r.Subscriptions {
		s := &r.Subscriptions[i]
		had := old.Subscriptions[s.Topic]
		if had == nil {
			moved = true
		}
		if had == nil || s.SubVersion > had.SubVersion {
			had = cloneSubscription(s)
		}
		v.Subscriptions[had.Topic] = had
	}
	for topic := range old.Subscriptions {
		if v.Subscriptions[topic] == nil {
			moved = true
		}
	}
	return v, moved
}

// keep is next as a string that may be kept.
func keep[S ~string](old, next S) S {
	if old == next {
		return old
	}
	return S(strings.Clone(string(next)))
}

func cloneSubscription(s *body.SubscriptionData) *body.SubscriptionData {
	out := *s
	out.Topic, out.SubString, out.ExpressionType = strings.Clone(s.Topic), strings.Clone(s.SubString), strings.Clone(s.ExpressionType)
	out.TagsSet, out.CodeSet = nil, slices.Clone(s.CodeSet)
	for _, tag := range s.TagsSet {
		out.TagsSet = append(out.TagsSet, strings.Clone(tag))
	}
	return &out
}

// same is the common case: a heartbeat that says what the last one said.
func (g *consuming) same(subs []body.SubscriptionData) bool {
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
	e := c.find(c.groups[group], ch)
	if e == nil {
		c.mu.Unlock()
		return
	}
	var left leavers
	c.leaveLocked(e, &left)
	c.mu.Unlock()
	if !notify {
		left.tell = nil
	}
	c.tell(&left)
}

// leavers are the groups that somebody has left.
type leavers struct {
	tell []string // members are left who share its queues
	gone []string // it was the last one
}

// leaveLocked needs mu.
func (c *Consumers) leaveLocked(e *entry, left *leavers) {
	g := e.in
	c.leave(e)
	switch {
	case len(g.entries) == 0:
		left.gone = append(left.gone, g.name)
	case g.view.Model != body.Broadcasting && (len(left.tell) == 0 || left.tell[len(left.tell)-1] != g.name):
		left.tell = append(left.tell, g.name)
	}
}

// tell calls who listens. A group that has lost all of its members has nobody to be told.
func (c *Consumers) tell(left *leavers) {
	for _, group := range left.tell {
		if !slices.Contains(left.gone, group) {
			c.changed(group)
		}
	}
	for _, group := range left.gone {
		c.forget(group)
	}
}

// forget says that a group has no members. There may be one again by now, whose subscriptions were registered before they are forgotten here,
// and who does not say them again.
func (c *Consumers) forget(group string) {
	if c.filters == nil {
		return
	}
	c.filters.Unregister(group)
	g := c.Group(group)
	if g == nil {
		return
	}
	subs := make([]body.SubscriptionData, 0, len(g.Subscriptions))
	for _, s := range g.Subscriptions {
		subs = append(subs, *s)
	}
	c.filters.Register(group, subs)
}

// ChannelClosed removes a connection from every group, tells the remaining members, and reports whether it was in any.
func (c *Consumers) ChannelClosed(ch Channel) bool {
	var left leavers
	known := false
	c.mu.Lock()
	for e := c.of[ch]; e != nil; e = c.of[ch] {
		known = true
		c.leaveLocked(e, &left)
	}
	c.mu.Unlock()
	c.tell(&left)
	return known
}

// ExpireNoted forgets what requests said of subscriptions longer than timeout ago.
func (c *Consumers) ExpireNoted(timeout time.Duration) {
	c.noted.expire(c.now().UnixMilli() - timeout.Milliseconds())
}

// Expire removes the members that have not been heard of for timeout, tells the remaining ones, and returns the channels, which
// the caller closes.
func (c *Consumers) Expire(timeout time.Duration) []Channel {
	limit := c.now().UnixMilli() - timeout.Milliseconds()
	var out []Channel
	var left leavers
	c.mu.Lock()
	for _, g := range c.groups {
		for i := len(g.entries) - 1; i >= 0; i-- { // whoever takes the place of one that leaves has been looked at
			if e := g.entries[i]; e.LastUpdate < limit {
				out = append(out, e.Channel)
				c.leaveLocked(e, &left)
			}
		}
	}
	c.mu.Unlock()
	c.tell(&left)
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
	return c.groups[group].sorted()
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
	g := c.groups[group]
	if g == nil {
		return nil
	}
	out := make([]Channel, len(g.entries))
	for i, e := range g.entries {
		out[i] = e.Channel
	}
	return out
}

// Member finds a consumer of a group by its client id.
func (c *Consumers) Member(group, clientID string) (Member, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if g := c.groups[group]; g != nil {
		for _, e := range g.entries {
			if e.ClientID == clientID {
				return e.Member, true
			}
		}
	}
	return Member{}, false
}

// Has tells whether a connection is a consumer of a group.
func (c *Consumers) Has(group string, ch Channel) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.find(c.groups[group], ch) != nil
}

// Listener is the client id of a connection in a broadcasting group of push consumers, "" where it is in none.
func (c *Consumers) Listener(group string, ch Channel) string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	g := c.groups[group]
	if g == nil || g.view.Model != body.Broadcasting || g.view.ConsumeType != body.ConsumePassively {
		return ""
	}
	if e := c.find(g, ch); e != nil {
		return e.ClientID
	}
	return ""
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
