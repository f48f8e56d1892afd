package client

import (
	"slices"
	"strings"
)

// roster is who is in which group, with the least that a connection can cost: brokers hold tens of thousands of them, most in one or two
// groups. There is one entry for each client in a group; a map leads from a connection to its entries, and a group has a list of its own.
type roster struct {
	groups map[string]*group
	of     map[Channel]*entry
	// index finds the entries of connections with more than manyGroups of them: a proxy has one connection for all of its clients.
	index map[Channel]map[*group]*entry
}

// manyGroups is how many entries of a connection are looked through one by one.
const manyGroups = 16

// entry is one client in one group.
type entry struct {
	Member
	in         *group
	at         int32  // place in the group's list
	prev, rest *entry // of the same connection, in other groups
}

// group is one group of producers or of consumers. It lives from its first member to its last.
type group struct {
	name    string
	entries []*entry
	*consuming
}

func newRoster() roster {
	return roster{groups: make(map[string]*group), of: make(map[Channel]*entry), index: make(map[Channel]map[*group]*entry)}
}

// find returns a connection's entry in a group, nil if there is none.
func (r *roster) find(g *group, ch Channel) *entry {
	if g == nil {
		return nil
	}
	if index := r.index[ch]; index != nil {
		return index[g]
	}
	for e := r.of[ch]; e != nil; e = e.rest {
		if e.in == g {
			return e
		}
	}
	return nil
}

// join adds an entry. It copies the client id, unless the connection is known under it already.
func (r *roster) join(g *group, m Member) *entry {
	first := r.of[m.Channel]
	if first != nil && first.ClientID == m.ClientID {
		m.ClientID = first.ClientID
	} else {
		m.ClientID = strings.Clone(m.ClientID)
	}
	e := &entry{Member: m, in: g, at: int32(len(g.entries)), rest: first}
	if first != nil {
		first.prev = e
	}
	g.entries = append(g.entries, e)
	r.of[m.Channel] = e
	if index := r.index[m.Channel]; index != nil {
		index[g] = e
	} else if n := e.chain(); n > manyGroups {
		index = make(map[*group]*entry, n)
		for x := e; x != nil; x = x.rest {
			index[x.in] = x
		}
		r.index[m.Channel] = index
	}
	return e
}

// chain is how many entries a connection has from e on.
func (e *entry) chain() int {
	n := 0
	for ; e != nil; e = e.rest {
		n++
	}
	return n
}

// leave removes an entry, and its group if that was the last one.
func (r *roster) leave(e *entry) {
	g := e.in
	last := len(g.entries) - 1
	moved := g.entries[last]
	g.entries[e.at], moved.at = moved, e.at
	g.entries[last] = nil
	g.entries = g.entries[:last]
	if last == 0 {
		delete(r.groups, g.name)
	} else if cap(g.entries) > 4*last && cap(g.entries) > 64 {
		g.entries = append(make([]*entry, 0, 2*last), g.entries...) // the many that were here once are gone
	}
	if e.rest != nil {
		e.rest.prev = e.prev
	}
	switch {
	case e.prev != nil:
		e.prev.rest = e.rest
	case e.rest != nil:
		r.of[e.Channel] = e.rest
	default:
		delete(r.of, e.Channel)
	}
	if index := r.index[e.Channel]; index != nil {
		delete(index, g)
		if len(index) <= manyGroups/2 {
			delete(r.index, e.Channel)
		}
	}
	e.prev, e.rest = nil, nil
}

// sorted are a group's members, ordered by client id; nil if there is no such group.
func (g *group) sorted() []Member {
	if g == nil {
		return nil
	}
	out := make([]Member, len(g.entries))
	for i, e := range g.entries {
		out[i] = e.Member
	}
	slices.SortFunc(out, func(a, b Member) int { return strings.Compare(a.ClientID, b.ClientID) })
	return out
}
