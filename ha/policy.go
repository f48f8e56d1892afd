package ha

import (
	"fmt"
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
}

// A Policy decides what the acknowledgement of a put promises. Its methods are called for each put, or each report: they must not
// block.
type Policy interface {
	// Required is how many replicas must hold a message before its put is acknowledged, this one included: 0 and 1 wait for nobody.
	// inSync is how many there are that are not far behind, this one included. An error refuses the put.
	Required(inSync int) (int, error)
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
	Least int  // minInSyncReplicas
}

// Required is inSyncReplicas. Where slaves act as masters fewer are waited for if there are not as many, with
// enableAutoInSyncReplicas, or the put is refused.
func (p *Classic) Required(inSync int) (int, error) {
	need := p.Config().Required
	if p.Group == nil {
		return need, nil
	}
	g := p.Group()
	if !g.On {
		return need, nil
	}
	inSync = min(inSync, g.Alive)
	if g.Auto {
		need = max(min(need, inSync), g.Least)
	}
	if need > inSync {
		return need, fmt.Errorf("%d of %d replicas are in sync", inSync, need)
	}
	return need, nil
}

// Counts is true: whoever is connected is a slave.
func (p *Classic) Counts(int64) bool { return true }
