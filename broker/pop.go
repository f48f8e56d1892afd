package broker

import (
	"net/netip"
	"strconv"
	"unsafe"

	"apogee/broker/meta"
	"apogee/broker/pop"
	"apogee/store/record"
)

// newPop puts pop consumption together.
func (b *Broker) newPop() *pop.Service {
	return pop.New(pop.Options{
		Config: b.live, Store: b.store, Offsets: b.offsets, Topics: b.topics, Groups: b.groups, Timer: popTimer{},
		Waiting: pop.NoWaiting{}, Orders: pop.NoOrders{},
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
