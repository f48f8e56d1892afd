package broker

import (
	"net/netip"
	"strconv"
	"unsafe"

	"apogee/broker/meta"
	"apogee/broker/pop"
	"apogee/broker/pop/order"
	"apogee/broker/pop/wait"
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
		Config: b.live, Store: b.store, Offsets: b.offsets, Topics: b.topics, Groups: b.groups, Timer: popTimer{},
		Waiting: popWaiting{pops: b.pops, notices: b.notices}, Orders: b.orders,
		Host: func() netip.AddrPort { return b.proc.Address().Host }, Now: b.env.Now, Log: b.env.Log,
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
type popTimer struct{}

// timerStep is timerPrecisionMs: the slots of the timer.
const timerStep = 1000

// Schedule makes m a message of the timer topic that is due in the slot before.
func (popTimer) Schedule(m *record.Message, due int64, buf []byte) []byte {
	out := due - due%timerStep
	if due%timerStep == 0 {
		out -= timerStep
	}
	var num [20]byte
	buf = append(buf[:0], m.Properties...)
	buf = appendNumber(buf, "TIMER_OUT_MS", num[:0], out)
	buf = record.AppendProperty(buf, "REAL_TOPIC", m.Topic)
	buf = appendNumber(buf, "REAL_QID", num[:0], int64(m.QueueID))
	m.Topic, m.QueueID, m.Properties = meta.TimerTopic, 0, viewOf(buf)
	return buf
}

func appendNumber(dst []byte, name string, num []byte, n int64) []byte {
	return record.AppendProperty(dst, name, viewOf(strconv.AppendInt(num, n, 10)))
}

func viewOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Behind is false.
func (popTimer) Behind() bool { return false }
