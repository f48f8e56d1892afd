package lite

import (
	"slices"
	"strings"
	"time"

	"apogee/broker/pop"
)

// fullDispatch is a look at all that a client, or a wildcard group, subscribes to, for what its events had no room for.
type fullDispatch struct {
	group string
	wild  bool
	at    time.Time
}

const (
	wildFirst    = 5 * time.Second // until all lite topics are looked at for a new client of a wildcard group
	lowWaterPart = 5               // a full dispatch waits until a client has worked off all but one fifth of its room
)

// Dispatch makes a lite topic an event of one client of each group that wants it; of one group if it is named.
func (s *Service) Dispatch(group, queue string) {
	s.mu.Lock()
	defer s.unlock()
	s.dispatchLocked(group, queue, "")
}

func (s *Service) dispatchLocked(group, queue, except string) {
	parent, _, ok := Split(queue)
	if !ok {
		return
	}
	if group != "" {
		if s.wild[parent][group] {
			s.selectLocked(s.of[wildKey(parent, group)], group, queue, except)
			return
		}
		s.selectLocked(s.of[queue], group, queue, except)
		return
	}
	done := make(map[string]bool, 1)
	for _, c := range s.of[queue] {
		if !done[c.group] {
			done[c.group] = true
			s.selectLocked(s.of[queue], c.group, queue, except)
		}
	}
	for g := range s.wild[parent] {
		if !done[g] {
			s.selectLocked(s.of[wildKey(parent, g)], g, queue, except)
		}
	}
}

// selectLocked gives an event to one of a group's clients: to another than except if there is one, and to one with room.
func (s *Service) selectLocked(among map[string]*subscriber, group, queue, except string) {
	var in []*subscriber
	for _, c := range among {
		if c.group == group {
			in = append(in, c)
		}
	}
	if len(in) == 0 {
		return
	}
	slices.SortFunc(in, func(a, b *subscriber) int { return strings.Compare(a.id, b.id) })
	s.turn++
	now := s.opts.Now()
	// Those that ask for events come first, then who is quiet, then the one that is to be avoided.
	rank := func(c *subscriber) int {
		switch {
		case c.id == except:
			return 2
		case c.quiet(now):
			return 1
		}
		return 0
	}
	for want := range 3 {
		for i := range in {
			c := in[(s.turn+i)%len(in)]
			if rank(c) == want && s.offerLocked(c, queue) {
				s.wakes = append(s.wakes, c.id)
				return
			}
		}
	}
	wild := s.wild[in[0].parent][group]
	settings := s.opts.Settings()
	if wild {
		s.scheduleLocked(group, fullDispatch{group: group, wild: true}, settings.WildDelay)
		return
	}
	for _, c := range in {
		s.scheduleLocked(c.id, fullDispatch{group: group}, settings.FullDelay)
	}
}

func (c *subscriber) quiet(now time.Time) bool {
	d := now.Sub(c.access)
	return d > quietAtAll || len(c.events) > 0 && d > quietWithEvents
}

// offerLocked is false if there is no room.
func (s *Service) offerLocked(c *subscriber, queue string) bool {
	if c.queued[queue] {
		return true
	}
	if len(c.events) >= s.limit(c.group) {
		return false
	}
	queue = strings.Clone(queue)
	c.queued[queue] = true
	c.events = append(c.events, queue)
	return true
}

// Next takes a client's next event; "" if there is none.
func (s *Service) Next(client string) string {
	s.mu.Lock()
	defer s.unlock()
	c := s.clients[client]
	if c == nil {
		return ""
	}
	c.access = s.opts.Now()
	if len(c.events) == 0 {
		return ""
	}
	q := c.events[0]
	c.events = c.events[1:]
	delete(c.queued, q)
	c.took = c.access
	return q
}

// Ready tells whether a client has events.
func (s *Service) Ready(client string) bool {
	s.mu.Lock()
	defer s.unlock()
	c := s.clients[client]
	return c != nil && len(c.events) > 0
}

// Lock is the right to pop a light queue for a group, or to change what is out; false if somebody has it. Who is turned away is not
// forgotten: the lite topic becomes an event again at Unlock.
func (s *Service) Lock(k pop.Key) bool {
	s.mu.Lock()
	defer s.unlock()
	if _, taken := s.busy[k]; taken {
		s.busy[k] = true
		return false
	}
	s.busy[k] = false
	return true
}

// Unlock gives the right back.
func (s *Service) Unlock(k pop.Key) {
	s.mu.Lock()
	defer s.unlock()
	wanted := s.busy[k]
	delete(s.busy, k)
	if wanted {
		s.dispatchLocked(k.Group, k.Topic, "")
	}
}

func (s *Service) scheduleLocked(key string, d fullDispatch, in time.Duration) {
	if _, ok := s.due[key]; !ok {
		d.at = s.opts.Now().Add(in)
		s.due[strings.Clone(key)] = d
	}
}

// Scan gives the events of quiet clients to others and looks at all of a client's lite topics where its events were full. It is due every
// liteEventCheckInterval.
func (s *Service) Scan() {
	now := s.opts.Now()
	s.mu.Lock()
	for _, c := range s.clients {
		if !c.quiet(now) || len(c.events) == 0 {
			continue
		}
		events := c.events
		c.events, c.queued = nil, make(map[string]bool)
		for _, q := range events {
			s.dispatchLocked(c.group, q, c.id)
		}
	}
	var wild []string
	for key, d := range s.due {
		if d.at.After(now) {
			continue
		}
		delete(s.due, key)
		if d.wild {
			wild = append(wild, d.group)
			continue
		}
		if c := s.clients[key]; c != nil {
			s.fullLocked(c)
		}
	}
	s.unlock()
	if len(wild) > 0 {
		s.fullWild(wild)
	}
}

// fullLocked makes all lite topics of a client events in which there is something to read.
func (s *Service) fullLocked(c *subscriber) {
	delay := s.opts.Settings().FullDelay
	if len(c.events)*lowWaterPart >= s.limit(c.group) {
		s.scheduleLocked(c.id, fullDispatch{group: c.group}, delay)
		return
	}
	for q := range c.queues {
		if s.behind(c.group, q) && !s.offerLocked(c, q) {
			s.scheduleLocked(c.id, fullDispatch{group: c.group}, delay)
			break
		}
	}
	if len(c.events) > 0 {
		s.wakes = append(s.wakes, c.id)
	}
}

// fullWild is the same for wildcard groups, who have all lite topics of their parents.
func (s *Service) fullWild(groups []string) {
	for _, q := range s.opts.Queues() {
		parent, _, ok := Split(q)
		if !ok {
			continue
		}
		s.mu.Lock()
		for _, g := range groups {
			if s.wild[parent][g] && s.behind(g, q) {
				s.dispatchLocked(g, q, "")
			}
		}
		s.unlock()
	}
}

func (s *Service) behind(group, queue string) bool {
	end := s.opts.MaxOffset(queue)
	at, _ := s.opts.Offsets.Query(group, queue, 0)
	return end > 0 && at < end
}

// Full has all clients of a group looked at, as an operator asks; of one client if it is named.
func (s *Service) Full(group, client string) {
	s.mu.Lock()
	wild := false
	for _, groups := range s.wild {
		wild = wild || groups[group]
	}
	for _, c := range s.clients {
		if !wild && c.group == group && (client == "" || c.id == client) {
			s.fullLocked(c)
		}
	}
	s.unlock()
	if wild {
		s.fullWild([]string{group})
	}
}

// Expire forgets clients that have not said for too long what they subscribe to. It is due every liteSubscriptionCheckInterval.
func (s *Service) Expire() {
	limit := s.opts.Now().Add(-s.opts.Settings().ClientIdle)
	s.mu.Lock()
	defer s.unlock()
	for _, c := range s.clients {
		if c.updated.Before(limit) {
			s.opts.Log.Info("lite subscriptions expired", "client", c.id, "group", c.group, "topic", c.parent)
			s.forgetLocked(c)
		}
	}
}
