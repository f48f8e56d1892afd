package meta

import (
	"math"
	"strings"
	"sync"
	"time"
)

// BroadcastScan is how often [Broadcast.Scan] is due.
const BroadcastScan = 5 * time.Second

// BroadcastOptions configure what is remembered of broadcasting groups.
type BroadcastOptions struct {
	Now     func() time.Time
	Offsets *Offsets
	// Online tells whether a client of a group is connected.
	Online func(group, clientID string) bool
	// First is where a client starts that nobody knows: at 0 while the first message is in memory, else at the end.
	First func(topic string, queue int32) int64

	Expire    func() time.Duration // of a client that is gone: broadcastOffsetExpireSecond
	ExpireMax func() time.Duration // of one that is there and pulls nothing: broadcastOffsetExpireMaxSecond
}

// Broadcast remembers where each client of a broadcasting group pulls (BroadcastOffsetManager). Such clients keep their offsets
// themselves; one that comes through a proxy does not, and one that goes from a proxy to the broker or back has them at the other side.
// It is told to go on where it was.
//
// What is remembered lives in memory. The least offset of all clients is committed under the name of group@broadcast, so that
// a restarted broker has something to go by.
type Broadcast struct {
	opts BroadcastOptions

	mu     sync.Mutex // guards groups and what they point to
	groups map[progressKey]map[string]*broadcastClient
}

// broadcastClient is one client in one topic.
type broadcastClient struct {
	proxied bool
	seen    time.Time
	pulled  queueValues
}

// Listener is who pulls.
type Listener struct {
	Topic, Group, ClientID string
	Proxied                bool // through a proxy
}

// NewBroadcast makes an empty table.
func NewBroadcast(opts BroadcastOptions) *Broadcast {
	return &Broadcast{opts: opts, groups: make(map[progressKey]map[string]*broadcastClient)}
}

// Moved notes where a client has pulled. Offsets only grow. It keeps nothing of the names.
func (b *Broadcast) Moved(l Listener, queue int32, off int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.clientLocked(l, true)
	c.proxied, c.seen = l.Proxied, b.opts.Now()
	if old, ok := c.pulled.get(queue); !ok || off > old {
		c.pulled.set(queue, off)
	}
}

// clientLocked finds a client; create makes it, and its group, with names of its own.
func (b *Broadcast) clientLocked(l Listener, create bool) *broadcastClient {
	clients := b.groups[progressKey{l.Topic, l.Group}]
	c := clients[l.ClientID]
	if c != nil || !create {
		return c
	}
	if clients == nil {
		clients = make(map[string]*broadcastClient)
		b.groups[progressKey{strings.Clone(l.Topic), strings.Clone(l.Group)}] = clients
	}
	c = &broadcastClient{proxied: l.Proxied}
	clients[strings.Clone(l.ClientID)] = c
	return c
}

// Start is where a client has to go on instead of where it asks, if so: it has come over from the other side, or it comes through a
// proxy and does not know.
func (b *Broadcast) Start(l Listener, queue int32, requested int64) (int64, bool) {
	b.mu.Lock()
	if b.groups[progressKey{l.Topic, l.Group}] == nil {
		b.mu.Unlock()
		if l.Proxied && requested < 0 {
			return b.initial(l, queue), true
		}
		return 0, false
	}
	c := b.clientLocked(l, true)
	if c.seen.IsZero() {
		c.seen = b.opts.Now()
	}
	if moved := c.proxied != l.Proxied; !moved && (!c.proxied || requested >= 0) {
		b.mu.Unlock()
		return 0, false
	}
	off, ok := c.pulled.get(queue)
	b.mu.Unlock()
	if !ok || off < 0 {
		off = b.initial(l, queue)
	}
	return off, off >= 0
}

// initial is for a client of whom nothing is known: what the slowest of its group had, else where new clients start.
func (b *Broadcast) initial(l Listener, queue int32) int64 {
	if off, ok := b.opts.Offsets.Query(broadcastGroup(l.Group), l.Topic, queue); ok && off >= 0 {
		return off
	}
	return b.opts.First(l.Topic, queue)
}

// broadcastGroup is under which name a group's least offsets are committed.
func broadcastGroup(group string) string { return group + "@broadcast" }

// Scan forgets clients that are gone or idle and commits the least offset of those that are left.
func (b *Broadcast) Scan() {
	type least struct {
		key progressKey
		off map[int32]int64
	}
	var commits []least
	now, gone, idle := b.opts.Now(), b.opts.Expire(), b.opts.ExpireMax()
	b.mu.Lock()
	for key, clients := range b.groups {
		l := least{key, make(map[int32]int64)}
		for id, c := range clients {
			since, online := now.Sub(c.seen), b.opts.Online(key.group, id)
			if online || since < gone {
				for q, off := range c.pulled.values() {
					if old, ok := l.off[q]; !ok || off < old {
						l.off[q] = off
					}
				}
			}
			if online && since >= idle || !online && since >= gone {
				delete(clients, id)
			}
		}
		if len(clients) == 0 {
			delete(b.groups, key)
		}
		if len(l.off) > 0 {
			commits = append(commits, l)
		}
	}
	b.mu.Unlock()
	for _, l := range commits {
		for q, off := range l.off {
			if off != math.MinInt64 {
				b.opts.Offsets.Commit(broadcastGroup(l.key.group), l.key.topic, q, off)
			}
		}
	}
}
