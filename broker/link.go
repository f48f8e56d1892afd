package broker

import (
	"context"
	"net"
	"slices"
	"time"

	"apogee/broker/acting"
	"apogee/ha"
)

// link is replication as package acting needs it.
type link struct{ b *Broker }

func (b *Broker) link() acting.Replication { return link{b} }

// SetMaster has a slave follow somebody else, or nobody. haMasterAddress wins over it.
func (l link) SetMaster(haAddr, who, why string) {
	if l.b.follower != nil && l.b.live.Get().HAMaster == "" {
		l.b.follower.Follow(haAddr, who, why)
	}
}

// awaitEvery is how often Await looks.
const awaitEvery = 20 * time.Millisecond

// Await looks until the log goes to, or comes from, a host.
func (l link) Await(ctx context.Context, host string) error {
	tick := time.NewTicker(awaitEvery)
	defer tick.Stop()
	for !l.connected(host) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

func (l link) connected(host string) bool {
	if l.b.follower != nil {
		s := l.b.follower.Status()
		return s.Active && hostOf(s.Master) == host
	}
	return slices.ContainsFunc(l.b.replicas.Status().Slaves, func(p ha.SlaveStatus) bool { return hostOf(p.Addr) == host })
}

func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}

func (l link) InitEnd() int64 { return l.b.initEnd }

// WantsFlushed is true while nothing is noted.
func (l link) WantsFlushed() bool {
	return l.b.follower != nil && l.b.live.Get().NoteFlushed && l.b.store.MasterFlushed() == 0
}

func (l link) NoteFlushed(off int64) { l.b.store.SetMasterFlushed(off) }

func (l link) Hears(within time.Duration) bool {
	if l.b.follower == nil {
		return false
	}
	s := l.b.follower.Status()
	return s.Active && l.b.env.Now().Sub(time.UnixMilli(s.LastRead)) < within
}
