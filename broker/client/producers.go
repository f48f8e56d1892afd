package client

import (
	"strings"
	"sync"
	"time"
)

// Producers are the connected producers by group (ProducerManager). They are needed for answers to transaction checks and to
// request-reply, and for the operator's lists.
type Producers struct {
	now func() time.Time

	mu sync.Mutex // guards what follows
	roster
	byClient map[string]*entry
	turn     uint // of Available
}

// NewProducers makes an empty table.
func NewProducers(now func() time.Time) *Producers {
	return &Producers{now: now, roster: newRoster(), byClient: make(map[string]*entry)}
}

// Register notes a heartbeat of a producer. It copies the strings that it keeps, and allocates nothing for a producer that is known.
func (p *Producers) Register(name string, ch Channel, id Identity) {
	now := p.now().UnixMilli()
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.groups[name]
	if e := p.find(g, ch); e != nil {
		e.LastUpdate = now
		return
	}
	if g == nil {
		g = &group{name: strings.Clone(name)}
		p.groups[g.name] = g
	}
	e := p.join(g, Member{Identity: id, Channel: ch, LastUpdate: now})
	p.byClient[e.ClientID] = e
}

// Unregister removes a producer that says goodbye.
func (p *Producers) Unregister(group string, ch Channel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.find(p.groups[group], ch); e != nil {
		p.leaveLocked(e)
	}
}

// leaveLocked needs mu. A client is found by its id as long as its connection is in any group under that id.
func (p *Producers) leaveLocked(e *entry) {
	p.leave(e)
	if p.byClient[e.ClientID] != e {
		return
	}
	for other := p.of[e.Channel]; other != nil; other = other.rest {
		if other.ClientID == e.ClientID {
			p.byClient[other.ClientID] = other
			return
		}
	}
	delete(p.byClient, e.ClientID)
}

// ChannelClosed removes a connection from every group and tells whether it was in any.
func (p *Producers) ChannelClosed(ch Channel) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := false
	for e := p.of[ch]; e != nil; e = p.of[ch] {
		known = true
		p.leaveLocked(e)
	}
	return known
}

// Expire removes the members that have not been heard of for timeout and returns their channels, which the caller closes.
func (p *Producers) Expire(timeout time.Duration) []Channel {
	limit := p.now().UnixMilli() - timeout.Milliseconds()
	var out []Channel
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, g := range p.groups {
		for i := len(g.entries) - 1; i >= 0; i-- { // whoever takes the place of one that leaves has been looked at
			if e := g.entries[i]; e.LastUpdate < limit {
				p.leaveLocked(e)
				out = append(out, e.Channel)
			}
		}
	}
	return out
}

// Members are the producers of a group, ordered by client id; nil if there is no such group.
func (p *Producers) Members(group string) []Member {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.groups[group].sorted()
}

// All is every group with its members.
func (p *Producers) All() map[string][]Member {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[string][]Member, len(p.groups))
	for name, g := range p.groups {
		out[name] = g.sorted()
	}
	return out
}

// Available picks a producer of a group that can be asked something, nil if none is connected: the one whose turn it is, or one of the two
// after it if that cannot take anything now (ProducerManager.getAvailableChannel).
func (p *Producers) Available(name string) Channel {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.groups[name]
	if g == nil || len(g.entries) == 0 {
		return nil
	}
	p.turn++
	var open Channel
	for i := range uint(3) {
		ch := g.entries[(p.turn+i)%uint(len(g.entries))].Channel
		c, ok := ch.(interface {
			Closed() bool
			Writable() bool
		})
		switch {
		case !ok || !c.Closed() && c.Writable():
			return ch
		case !c.Closed():
			open = ch
		}
	}
	return open
}

// Channel finds the connection of a producer by its client id, nil if it is not connected.
func (p *Producers) Channel(clientID string) Channel {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.byClient[clientID]; e != nil {
		return e.Channel
	}
	return nil
}
