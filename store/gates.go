package store

import (
	"sync"
	"sync/atomic"
)

// gates joins the two conditions of a put where a broker replicates: the local disk and the replicas. Whoever waits hears once
// both have answered. Without Replicas there are none, and a completion goes to the flusher as it is.
type gates struct {
	left          atomic.Int32
	disk, replica PutStatus
	c             Completion
	pool          *sync.Pool
}

// diskGate and replicaGate are the two sides of gates.
type (
	diskGate    gates
	replicaGate gates
)

func (l *commitLog) newGates(c Completion) *gates {
	g := l.gates.Get().(*gates)
	g.left.Store(2)
	g.disk, g.replica, g.c, g.pool = PutOK, PutOK, c, &l.gates
	return g
}

func (g *diskGate) Complete(status PutStatus) {
	g.disk = status
	(*gates)(g).answered()
}

func (g *replicaGate) Complete(status PutStatus) {
	g.replica = status
	(*gates)(g).answered()
}

// answered completes after the second answer. What the replicas say wins over what the disk says (spec: store.md 9).
func (g *gates) answered() {
	if g.left.Add(-1) > 0 {
		return
	}
	status, c := g.disk, g.c
	if g.replica != PutOK {
		status = g.replica
	}
	g.drop()
	c.Complete(status)
}

// drop gives gates back that nobody will answer.
func (g *gates) drop() {
	g.c = nil
	g.pool.Put(g)
}

// await puts the gates of a finished put to work: r has gone to the log, or been refused.
func (l *commitLog) await(r *PutResult, g *gates) {
	if r.Status != PutOK {
		g.drop()
		return
	}
	if !r.Pending { // ASYNC_FLUSH: the disk has no say
		(*diskGate)(g).Complete(PutOK)
	}
	r.Pending = true
	l.s.options().Replicas.Await(r.NextOffset, (*replicaGate)(g))
}
