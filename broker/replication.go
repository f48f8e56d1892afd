package broker

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"apogee/compat/body"
	"apogee/ha"
	"apogee/store"
)

// Replication: a broker sends its log to whoever asks for it on haListenPort, a slave as well, and a slave copies its master's.

// haConfig is the part of the configuration that replication follows.
func (b *Broker) haConfig() ha.Config {
	c := b.live.Get()
	return ha.Config{
		ID: c.ID, Heartbeat: c.HAHeartbeat, Housekeeping: c.HAHousekeeping, Batch: c.HABatch, FlowControl: c.HAFlowControl,
		MostPerSec: c.HAMostPerSec, MaxGap: c.HAMaxGap, SlaveTimeout: c.SlaveTimeout, LastFileOnly: c.SyncLastFile, Required: c.InSyncReplicas,
		Least: c.MinInSync,
	}
}

// haGroup is who else has this broker's name, where slaves may act for masters. A name server that has just been started knows those only who
// have registered with it since: replicas that are heard of are alive all the same. (In Java messages are refused until the slaves have
// registered again, or, with enableAutoInSyncReplicas, are acknowledged that no slave has.)
func (b *Broker) haGroup() ha.Group {
	c := b.live.Get()
	if !c.SlaveActing {
		return ha.Group{}
	}
	return ha.Group{On: true, Alive: max(b.members.alive(), 1+b.replicas.Heard(c.NotActive)), Auto: c.AutoInSync}
}

// newReplicas makes the sending side, and has puts wait at its gate where the role says so. The store is opened after it.
func (b *Broker) newReplicas(o *store.Options) {
	b.replicas = ha.NewServer(ha.ServerOptions{
		Store: func() *store.Store { return b.store }, Config: b.haConfig, Policy: &ha.Classic{Config: b.haConfig, Group: b.haGroup}, Now: b.env.Now, Log: b.env.Log,
	})
	if o.BrokerRole == store.SyncMaster {
		o.Replicas = b.replicas.Acks()
	}
}

// listenForReplicas opens haListenPort on all interfaces, as Java does: brokerIP2 need not be what bindAddress says. A broker that is bound to
// loopback is for this machine alone, and so is this port.
func (b *Broker) listenForReplicas() error {
	c := b.live.Get()
	host, port := "", c.HAPort
	if ip := net.ParseIP(c.BindAddress); ip != nil && ip.IsLoopback() {
		host = c.BindAddress
	}
	if c.ListenPort == 0 {
		port = 0 // the kernel chooses this one too
	}
	return b.replicas.Listen(net.JoinHostPort(host, strconv.Itoa(port)))
}

// haAddress is what slaves are told.
func (b *Broker) haAddress() string {
	return net.JoinHostPort(b.live.Get().IP2, strconv.Itoa(b.replicas.Addr().(*net.TCPAddr).Port))
}

// newFollower makes the copying side of a slave. It follows haMasterAddress, or whom the name servers name.
func (b *Broker) newFollower() {
	c := b.live.Get()
	if c.Master() {
		return
	}
	b.follower = ha.NewClient(ha.ClientOptions{
		Store: b.store, Config: b.haConfig, Now: b.env.Now, Log: b.env.Log, Lost: func() { b.registrar.soon() },
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			d := net.Dialer{Timeout: c.ConnectTimeout}
			conn, err := d.DialContext(ctx, "tcp", addr)
			if err != nil {
				return nil, fmt.Errorf("connect to master: %w", err)
			}
			return conn, nil
		},
	})
	if c.HAMaster != "" {
		b.follower.Follow(c.HAMaster, "configuration", "haMasterAddress")
	}
}

// masterTold hears from a name server who is master: its address for replicas, and the one for requests. One that knows no master may have
// been started just now.
func (b *Broker) masterTold(haAddr, addr string) {
	const why = "registered as the master of this broker's name"
	if b.follower == nil {
		return
	}
	if haAddr != "" && b.live.Get().HAMaster == "" {
		b.follower.Follow(haAddr, "name server", why)
	}
	if addr != "" {
		b.slave.SetMaster(addr, "name server", why)
	}
}

// ResetMasterFlushed notes up to where the master's log is on disk.
func (b *Broker) ResetMasterFlushed(off int64) { b.store.SetMasterFlushed(off) }

// HAStatus is how replication goes (Java HARuntimeInfo).
func (b *Broker) HAStatus() *body.HARuntimeInfo {
	if b.follower != nil {
		s := b.follower.Status()
		info := &body.HARuntimeInfo{
			HAConnectionInfo: []body.HAConnectionRuntimeInfo{},
			HAClientRuntimeInfo: body.HAClientRuntimeInfo{
				MasterAddr: s.Master, TransferredByteInSecond: s.PerSecond, MaxOffset: s.End, LastReadTimestamp: s.LastRead,
				LastWriteTimestamp: s.LastWrite, MasterFlushOffset: b.store.MasterFlushed(),
			},
		}
		if s.Behind >= 0 {
			late := s.Late.Milliseconds()
			info.HAClientRuntimeInfo.Diff, info.HAClientRuntimeInfo.DiffMillis = &s.Behind, &late
		}
		return info
	}
	s := b.replicas.Status()
	info := &body.HARuntimeInfo{
		Master: true, MasterCommitLogMaxOffset: s.End, InSyncSlaveNums: int32(s.InSync), HAConnectionInfo: []body.HAConnectionRuntimeInfo{},
	}
	for _, p := range s.Slaves {
		age := p.Age.Milliseconds()
		info.HAConnectionInfo = append(info.HAConnectionInfo, body.HAConnectionRuntimeInfo{
			Addr: p.Addr, SlaveAckOffset: p.Ack, Diff: p.Behind, DiffMillis: &age, InSync: p.InSync, TransferredByteInSecond: p.PerSecond, TransferFromWhere: p.From,
		})
	}
	return info
}
