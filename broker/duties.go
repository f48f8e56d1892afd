package broker

import (
	"context"
	"errors"
	"fmt"

	"apogee/broker/acting"
	"apogee/broker/escape"
	"apogee/broker/slave"
	"apogee/broker/timer"
	"apogee/compat/fastjson"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store/record"
)

// Duties are what only one broker of a name does: the delivery of delayed and timed messages, the check of transactions, and the revival of
// popped messages. A master's services all run; those of a slave follow their master's, until the slave acts for it.

// newActing makes what decides about the duties, and on a slave what keeps its metadata like the master's.
func (b *Broker) newActing() (err error) {
	c := b.live.Get()
	b.acting = acting.New(acting.Options{
		Config: b.live, Caller: b.client, Log: b.env.Log, Self: b.Address, HASelf: b.haAddress, Members: b.members.ask, Link: b.link(),
		Special: b.setDuties, Register: b.registrar.full, Heartbeat: b.registrar.heartbeat, SetMaster: b.setMaster, TakeBack: b.takeBack,
		MasterIsBack: b.hold.Expire,
	})
	b.registrar.isolated = b.acting.Isolated
	if c.Master() {
		return nil
	}
	o := slave.Options{
		Caller: b.client, FS: b.env.FS, Dir: b.storeOpts.RootDir, Now: b.env.Now, Log: b.env.Log, Self: b.Address,
		Queues: b.store, Topics: b.topics, Groups: b.groups, Offsets: b.offsets, Modes: b.modes, Delays: b.delay, Delivers: b.acting.Active,
	}
	if b.timer != nil {
		o.Timers = b.timer
	}
	b.slave, err = slave.New(o)
	return err
}

// newBridge makes what an acting slave stores by.
func (b *Broker) newBridge() {
	b.bridge = escape.New(b.ctx, escape.Options{
		Config: b.live, Caller: b.client, Log: b.env.Log, Now: b.env.Now, Acting: b.duty, Route: b.fetchRoute,
	})
}

// duty tells whether the duties are this broker's now.
func (b *Broker) duty() bool { return b.acting.Active() }

// puts is the store for those who only add to it.
func (b *Broker) puts() *escape.Store { return &escape.Store{Store: b.store, Bridge: b.bridge} }

// fetch is a message at another broker, whose check point was stored here while that had no master.
func (b *Broker) fetch(broker, topic string, queue int32, off int64) ([]byte, error) {
	return b.bridge.Fetch(b.ctx, broker, topic, queue, off)
}

// setDuties starts or stops them.
func (b *Broker) setDuties(on bool) {
	if b.timer != nil {
		b.timer.Follow(!on)
	}
	if on {
		b.delay.Start()
		b.trans.Start()
		return
	}
	if err := errors.Join(b.delay.Stop(), b.trans.Stop()); err != nil {
		b.env.Log.Error("what was done is not noted", "err", err)
	}
	if changed, err := b.trans.Settle(); err != nil {
		b.env.Log.Error("what was checked is not noted", "changed", changed, "err", err)
	}
}

// setMaster tells where the master is that metadata comes from.
func (b *Broker) setMaster(addr, who, why string) {
	if b.slave != nil {
		b.slave.SetMaster(addr, who, why)
	}
}

// takeBack fetches what a slave has done in this master's place (BrokerPreOnlineService.syncMetadataReverse).
func (b *Broker) takeBack(ctx context.Context, addr string) error {
	ask := func(what int32) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, memberTimeout)
		defer cancel()
		resp, err := b.client.Call(ctx, addr, remoting.Outgoing{Code: what})
		if err == nil && resp.Code != code.Success {
			err = fmt.Errorf("answer %d: %s", resp.Code, resp.Remark)
		}
		if err != nil {
			return nil, fmt.Errorf("request %d: %w", what, err)
		}
		return resp.Body, nil
	}
	delays, err := ask(code.GetAllDelayOffset)
	if err != nil {
		return err
	}
	offsets, err := ask(code.GetAllConsumerOffset)
	if err != nil {
		return err
	}
	if b.timer != nil {
		check, err := ask(code.GetTimerCheckPoint)
		if err != nil {
			return err
		}
		theirs, err := timer.ParseVersion(check)
		if err == nil && b.timer.Version().Compare(theirs) <= 0 {
			err = b.timer.TakeOver(check)
		}
		if err != nil {
			return err
		}
	}
	if _, err := b.offsets.TakeOver(offsets); err != nil {
		return err
	}
	return errors.Join(b.offsets.Persist(), b.delay.TakeOver(delays))
}

// escapes is where undecided half messages go, nil while they stay here. A slave whose messages go nowhere must not look at them.
func (b *Broker) escapes() func(m *record.Message) error {
	switch {
	case b.live.Get().Master():
		return nil
	case b.bridge.On():
		return func(m *record.Message) error { return b.bridge.Send(b.ctx, m) }
	}
	return func(*record.Message) error { return errNoEscape }
}

var errNoEscape = errors.New("enableRemoteEscape is off: nothing can be stored while the master is away")

// heartbeat tells the name servers that this broker is there (BROKER_HEARTBEAT, or a question that older ones know as well).
func (g *registrar) heartbeat(ctx context.Context) {
	c := g.live.Get()
	out := remoting.Outgoing{Code: code.BrokerHeartbeat, Header: &header.BrokerHeartbeatRequest{
		ClusterName: c.ClusterName, BrokerAddr: *g.addr.Load(), BrokerName: c.Name,
	}}
	if c.OldNameServers {
		version := g.topics.Version()
		out = remoting.Outgoing{
			Code:   code.QueryDataVersion,
			Header: &header.QueryDataVersionRequest{BrokerName: c.Name, BrokerAddr: *g.addr.Load(), ClusterName: c.ClusterName, BrokerID: c.ID},
			Body:   fastjson.Marshal(&version),
		}
	}
	for _, addr := range c.NameServerList() {
		ctx, cancel := context.WithTimeout(ctx, c.HeartbeatLimit)
		if err := g.caller.Oneway(ctx, addr, out); err != nil {
			g.log.Debug("heartbeat not sent", "addr", addr, "err", err)
		}
		cancel()
	}
}
