package client

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// Producers are the connected producers by group (ProducerManager). They are needed for answers to transaction checks and to
// request-reply, and for the operator's lists.
type Producers struct {
	now func() time.Time

	mu       sync.Mutex // guards what follows
	groups   map[string]map[Channel]*Member
	of       channelGroups
	byClient map[string]Channel
}

// NewProducers makes an empty table.
func NewProducers(now func() time.Time) *Producers {
	return &Producers{
		now: now, groups: make(map[string]map[Channel]*Member), of: make(channelGroups), byClient: make(map[string]Channel),
	}
}

// Register notes a heartbeat of a producer. It keeps the strings it is given.
func (p *Producers) Register(group string, ch Channel, id Identity) {
	now := p.now().UnixMilli()
	p.mu.Lock()
	defer p.mu.Unlock()
	members := p.groups[group]
	if members == nil {
		members = make(map[Channel]*Member)
		p.groups[group] = members
	}
	if m := members[ch]; m != nil {
		m.LastUpdate = now
		return
	}
	members[ch] = &Member{Identity: id, Channel: ch, LastUpdate: now}
	p.of.add(ch, group)
	p.byClient[id.ClientID] = ch
}

// Unregister removes a producer that says goodbye.
func (p *Producers) Unregister(group string, ch Channel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.removeLocked(group, ch)
}

// removeLocked needs mu.
func (p *Producers) removeLocked(group string, ch Channel) {
	members := p.groups[group]
	m := members[ch]
	if m == nil {
		return
	}
	delete(members, ch)
	if len(members) == 0 {
		delete(p.groups, group)
	}
	if p.of.remove(ch, group) && p.byClient[m.ClientID] == ch {
		delete(p.byClient, m.ClientID)
	}
}

// ChannelClosed removes a connection from every group and tells whether it was in any.
func (p *Producers) ChannelClosed(ch Channel) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	groups := p.of[ch].clone()
	for _, group := range groups {
		p.removeLocked(group, ch)
	}
	return len(groups) > 0
}

// Expire removes the members that have not been heard of for timeout and returns their channels, which the caller closes.
func (p *Producers) Expire(timeout time.Duration) []Channel {
	limit := p.now().UnixMilli() - timeout.Milliseconds()
	var out []Channel
	p.mu.Lock()
	defer p.mu.Unlock()
	for group, members := range p.groups {
		for ch, m := range members {
			if m.LastUpdate < limit {
				p.removeLocked(group, ch)
				out = append(out, ch)
			}
		}
	}
	return out
}

// Members are the producers of a group, ordered by client id; nil if there is no such group.
func (p *Producers) Members(group string) []Member {
	p.mu.Lock()
	defer p.mu.Unlock()
	return membersOf(p.groups[group])
}

// All is every group with its members.
func (p *Producers) All() map[string][]Member {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[string][]Member, len(p.groups))
	for g, m := range p.groups {
		out[g] = membersOf(m)
	}
	return out
}

// Channel finds the connection of a producer by its client id, nil if it is not connected.
func (p *Producers) Channel(clientID string) Channel {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byClient[clientID]
}

func membersOf(m map[Channel]*Member) []Member {
	if len(m) == 0 {
		return nil
	}
	out := make([]Member, 0, len(m))
	for _, v := range m {
		out = append(out, *v)
	}
	slices.SortFunc(out, func(a, b Member) int { return strings.Compare(a.ClientID, b.ClientID) })
	return out
}
