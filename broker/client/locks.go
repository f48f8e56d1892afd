package client

import (
	"sync"
	"time"

	"apogee/compat/body"
)

// LockLife is how long a lock on a queue lives after its last renewal (rocketmq.broker.rebalance.lockMaxLiveTime); clients renew
// every 20 s.
const LockLife = 60 * time.Second

// Locks are the queues that orderly consumers hold, per group (RebalanceLockManager).
type Locks struct {
	now func() time.Time

	mu     sync.Mutex // guards groups
	groups map[string]map[body.MessageQueue]lockEntry
}

type lockEntry struct {
	owner   string
	renewed time.Time
}

func (e lockEntry) expired(now time.Time) bool { return now.Sub(e.renewed) > LockLife }

// NewLocks makes an empty table.
func NewLocks(now func() time.Time) *Locks {
	return &Locks{now: now, groups: make(map[string]map[body.MessageQueue]lockEntry)}
}

// Lock takes or renews queues for a client and returns those that it holds now. A queue whose owner has not renewed in time
// changes hands.
func (l *Locks) Lock(group, clientID string, queues []body.MessageQueue) []body.MessageQueue {
	now := l.now()
	held := make([]body.MessageQueue, 0, len(queues))
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.groups[group]
	if m == nil {
		m = make(map[body.MessageQueue]lockEntry, len(queues))
		l.groups[group] = m
	}
	for _, q := range queues {
		if e, ok := m[q]; ok && e.owner != clientID && !e.expired(now) {
			continue
		}
		m[q] = lockEntry{owner: clientID, renewed: now}
		held = append(held, q)
	}
	return held
}

// Unlock gives queues back; those of other clients stay theirs.
func (l *Locks) Unlock(group, clientID string, queues []body.MessageQueue) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.groups[group]
	for _, q := range queues {
		if e, ok := m[q]; ok && e.owner == clientID {
			delete(m, q)
		}
	}
	if len(m) == 0 {
		delete(l.groups, group)
	}
}

// Held tells whether a group has a lock that is still good: then it consumes in order, and a message that it returns goes to the
// dead letters at once.
func (l *Locks) Held(group string) bool {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.groups[group] {
		if !e.expired(now) {
			return true
		}
	}
	return false
}

// Expire forgets locks that nobody has renewed, so that groups which went away cost nothing. Java keeps them.
func (l *Locks) Expire() {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for g, m := range l.groups {
		for q, e := range m {
			if e.expired(now) {
				delete(m, q)
			}
		}
		if len(m) == 0 {
			delete(l.groups, g)
		}
	}
}
