package ha

import (
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"
)

// Config is what of the broker's configuration replication follows, under Java's keys. It may change at any time.
type Config struct {
	ID           int64         // brokerId
	Heartbeat    time.Duration // haSendHeartbeatInterval
	Housekeeping time.Duration // haHousekeepingInterval
	Batch        int           // haTransferBatchSize
	FlowControl  bool          // haFlowControlEnable
	MostPerSec   int64         // maxHaTransferByteInSecond
	MaxGap       int64         // haMaxGapNotInSync
	SlaveTimeout time.Duration // slaveTimeout
	LastFileOnly bool          // syncFromLastFile
	Required     int           // inSyncReplicas
	Least        int           // minInSyncReplicas
}

// All is as many replicas as there are members of the in-sync set when a report comes: the set may change while a put waits.
const All = math.MaxInt

// A Policy decides what the acknowledgement of a put promises. Its methods are called for each put, or each report: they must not
// block.
type Policy interface {
	// Required is how many replicas must hold a message before its put is acknowledged, this one included: 0 and 1 wait for nobody.
	// inSync is how many there are that are not far behind, this one included. An error refuses a put that is not stored yet; one that is waits.
	Required(inSync int) (int, error)
	// Members is how many All are now, this one included.
	Members() int
	// Counts tells whether what a replica holds counts. id is -1 for a slave that does not say who it is, as Java's.
	Counts(id int64) bool
}

// Classic is the policy of brokers whose roles are in their configuration (Java CommitLog.asyncPutMessage; spec: store.md 9).
type Classic struct {
	Config func() Config
	// Group is nil unless slaves act as masters that are away: then only so many are waited for as are alive.
	Group func() Group
}

// Group is what slave-acting-master mode knows of the brokers of one name.
type Group struct {
	On    bool // enableSlaveActingMaster
	Alive int  // brokers of this name, this one included
	Auto  bool // enableAutoInSyncReplicas
}

// Required is inSyncReplicas. Where slaves act as masters fewer are waited for if there are not as many, with
// enableAutoInSyncReplicas, or the put is refused.
func (p *Classic) Required(inSync int) (int, error) {
	c := p.Config()
	need := c.Required
	if p.Group == nil {
		return need, nil
	}
	g := p.Group()
	if !g.On {
		return need, nil
	}
	inSync = min(inSync, g.Alive)
	if g.Auto {
		need = max(min(need, inSync), c.Least)
	}
	if need > inSync {
		return need, fmt.Errorf("%d of %d replicas are in sync", inSync, need)
	}
	return need, nil
}

// Members is this broker alone: there is no set.
func (p *Classic) Members() int { return 1 }

// Counts is true: whoever is connected is a slave.
func (p *Classic) Counts(int64) bool { return true }

// SyncSet are the replicas whose logs have what is acknowledged, by brokerId, the master's included.
type SyncSet struct {
	Members []int64
	Epoch   int // of the set: each change has a higher one
}

// Elected is the policy of a master that was elected: somebody else decides who is in the in-sync set (Java's controller mode; spec: store.md 9,
// 20.5). Only members count, and whoever decides is asked before one is dropped.
type Elected struct {
	Config func() Config
	AllAck bool // allAckInSyncStateSet: a put waits for all members, else for inSyncReplicas of them
	set    atomic.Pointer[SyncSet]
}

// Decide makes another set the one that counts, unless it is older. Puts that wait are looked at by Acks.Advance.
func (p *Elected) Decide(s SyncSet) bool {
	for {
		old := p.set.Load()
		if old != nil && s.Epoch <= old.Epoch {
			return false
		}
		if p.set.CompareAndSwap(old, &s) {
			return true
		}
	}
}

// Required refuses where the set has fewer members than minInSyncReplicas. How far who is behind does not matter: who is too far is dropped.
func (p *Elected) Required(int) (int, error) {
	c := p.Config()
	need := c.Required
	if p.AllAck {
		need = All
	}
	if n := p.Members(); n < max(c.Least, 1) {
		return need, fmt.Errorf("the in-sync set has %d members of %d", n, c.Least)
	}
	return need, nil
}

// Members is how many the set has; none before the first decision.
func (p *Elected) Members() int {
	if s := p.set.Load(); s != nil {
		return len(s.Members)
	}
	return 0
}

// Counts tells whether a replica is a member. One that does not say who it is cannot be.
func (p *Elected) Counts(id int64) bool {
	s := p.set.Load()
	return s != nil && slices.Contains(s.Members, id)
}
