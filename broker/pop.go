package broker

import (
	"net/netip"

	"apogee/broker/pop"
	"apogee/broker/pop/order"
	"apogee/broker/pop/wait"
	"apogee/broker/timer"
	"apogee/store/record"
)

// newOrders makes what remembers ordered pops.
func (b *Broker) newOrders() *order.Table {
	return order.New(order.Options{
		FS: b.env.FS, Dir: b.storeOpts.RootDir, Now: b.env.Now, Log: b.env.Log,
		ReadQueues: func(topic string) (int32, bool) {
			t, ok := b.topics.Get(topic)
			if !ok {
				return 0, false
			}
			return t.ReadQueueNums, true
		},
		HasGroup: func(group string) bool { _, ok := b.groups.Get(group); return ok },
		Next: func(k pop.Key) int64 {
			if off, ok := b.offsets.Query(k.Group, k.Topic, k.Queue); ok {
				return off
			}
			return b.store.MinOffset(k.Topic, k.Queue)
		},
		Free: func(k pop.Key) {
			if b.store.MaxOffset(k.Topic, k.Queue) > b.pop.Offset(k, true) {
				b.pop.Waiting.Notify(k)
			}
		},
		Announce: func() bool { return b.live.Get().PopNotifyFree },
	})
}

// newLines makes what holds pops, or requests that ask whether there is something to pop.
func (b *Broker) newLines(last bool) *wait.Table {
	return wait.New(wait.Options{Hold: b.hold, Now: b.env.Now, Last: last, Limits: func() wait.Limits {
		c := b.live.Get()
		return wait.Limits{Total: c.PopWaiting, Line: c.PopLine, Groups: c.PopGroups, Idle: c.PopGroupIdle, Force: c.PopForce}
	}})
}

// popWaiting holds pops; what there is for them concerns those that ask whether there is something, too.
type popWaiting struct{ pops, notices *wait.Table }

// Park holds a pop.
func (w popWaiting) Park(p *pop.Wait) pop.Outcome { return w.pops.Park(p) }

// Notify wakes one of each kind.
func (w popWaiting) Notify(k pop.Key) {
	w.pops.Notify(k)
	w.notices.Notify(k)
}

// newPop puts pop consumption together.
func (b *Broker) newPop() *pop.Service {
	return pop.New(pop.Options{
		Config: b.live, Store: b.puts(), Active: b.duty, Fetch: b.fetch, Offsets: b.offsets, Topics: b.topics, Groups: b.groups, Timer: popTimer{timer.Rules{Precision: timer.Precision(b.live.Get().TimerPrecision)}, b.timer},
		Waiting: popWaiting{pops: b.pops, notices: b.notices}, Orders: b.orders,
		Host: func() netip.AddrPort { return b.proc.Address().Host }, Now: b.env.Now, Log: b.env.Log, Counts: b.stats,
	})
}

// syncMoved makes durable what the offsets rest on that are about to be written.
func (b *Broker) syncMoved() error {
	if b.pop == nil {
		return nil
	}
	return b.pop.SyncMoved(b.store.Sync)
}

// popTimer has records of the revive topic wait in the timer topic.
type popTimer struct {
	rules timer.Rules
	timer *timer.Service // nil without a timer wheel
}

// Schedule makes m a message of the timer topic that comes when it is due.
func (t popTimer) Schedule(m *record.Message, due int64, buf []byte) []byte {
	return timer.Schedule(m, t.rules.Slot(due), buf)
}

// Behind tells whether something that was due by now may not be in its topic yet.
func (t popTimer) Behind() bool { return t.timer != nil && t.timer.Behind() }
