package timer

import (
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"unsafe"

	"apogee/store/record"
)

// Topic is where timed messages wait, in queue 0.
const Topic = "rmq_sys_wheel_timer"

// Properties of timed messages. The first three come from clients, the first present counts; the others are the broker's, except that a
// cancellation names its message in PropCancel.
const (
	PropDelaySec  = "TIMER_DELAY_SEC"
	PropDelayMs   = "TIMER_DELAY_MS"
	PropDeliver   = "TIMER_DELIVER_MS"
	PropOut       = "TIMER_OUT_MS"
	PropEntered   = "TIMER_ENQUEUE_MS"
	PropDelivered = "TIMER_DEQUEUE_MS"
	PropRolls     = "TIMER_ROLL_TIMES"
	PropCancel    = "TIMER_DEL_UNIQKEY"
)

// Precision is timerPrecisionMs as it counts: rounded down to one of four values (MessageStoreConfig.setTimerPrecisionMs).
func Precision(ms int64) int64 {
	for _, p := range []int64{1000, 500, 200} {
		if ms >= p {
			return p
		}
	}
	return 100
}

// Rules say when a message that asks for a time is delivered (HookUtils.transformTimerMessage).
type Rules struct {
	Precision int64 // ms, as Precision gives it
	MaxDelay  int64 // ms: timerMaxDelaySec
}

// Ask is what a message says of its time; empty is not there.
type Ask struct {
	DelaySec, DelayMs, Deliver string
	Cancels                    bool // it cancels another one
}

// Asks tells whether there is a time at all.
func (a *Ask) Asks() bool { return a.DelaySec != "" || a.DelayMs != "" || a.Deliver != "" }

// Verdict is what becomes of a message that asks for a time.
type Verdict uint8

// The verdicts.
const (
	AtOnce  Verdict = iota // the time has passed: an ordinary message
	Timed                  // it waits in the slot of the time
	Illegal                // too far off, no number, or a cancellation that is too late
)

// Out is the time of the slot that a message waits in. The slot is delivered one precision step later, so the time is rounded down, and
// one that needs no rounding is in the slot before: no message comes early, and none later than a step.
func (r Rules) Out(a *Ask, now int64) (int64, Verdict) {
	due, ok := a.due(now)
	switch {
	case !ok:
		return 0, Illegal
	case due <= now && a.Cancels:
		return 0, Illegal
	case due <= now:
		return 0, AtOnce
	case due-now > r.MaxDelay:
		return 0, Illegal
	}
	return r.Slot(due), Timed
}

// Slot is the time of the slot for what is wanted at a time ahead.
func (r Rules) Slot(due int64) int64 {
	if due%r.Precision == 0 {
		return due - r.Precision
	}
	return due - due%r.Precision
}

// due is when the message is wanted. A delay that does not fit into 64 bits is none that Java means: there it wraps around.
func (a *Ask) due(now int64) (int64, bool) {
	text, unit, base := a.Deliver, int64(1), int64(0)
	switch {
	case a.DelaySec != "":
		text, unit, base = a.DelaySec, 1000, now
	case a.DelayMs != "":
		text, base = a.DelayMs, now
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n > (math.MaxInt64-base)/unit || n < math.MinInt64/unit {
		return 0, false
	}
	return base + n*unit, true
}

// Schedule makes m a message that waits in the slot of a time. The new properties are built in buf, which m.Properties aliases from
// then on; the grown buffer is returned.
func Schedule(m *record.Message, out int64, buf []byte) []byte {
	var num [20]byte
	buf = appendProps(buf[:0], m.Properties)
	buf = record.AppendProperty(buf, PropOut, view(strconv.AppendInt(num[:0], out, 10)))
	buf = record.AppendProperty(buf, record.PropRealTopic, m.Topic)
	buf = record.AppendProperty(buf, record.PropRealQueue, view(strconv.AppendInt(num[:0], int64(m.QueueID), 10)))
	m.Topic, m.QueueID = Topic, 0
	m.Properties = view(buf)
	return buf
}

// appendProps appends props without those that Schedule sets; there hardly ever are any.
func appendProps(dst []byte, props string) []byte {
	if !strings.Contains(props, "REAL_") && !strings.Contains(props, PropOut) {
		dst = append(dst, props...)
	} else {
		dst = record.AppendPairs(dst, props, record.PropRealTopic, record.PropRealQueue, PropOut)
	}
	if n := len(dst); n > 0 && dst[n-1] != record.PairEnd {
		dst = append(dst, record.PairEnd)
	}
	return dst
}

// CancelKey is what PropCancel says of the message with a unique key (TimerMessageStore.buildDeleteKey).
func CancelKey(topic, uniq string, withTopic bool) string {
	if withTopic {
		return topic + "+" + uniq
	}
	return uniq
}

// Full tells whether a slot takes no more messages for now: up to the limit it does, from twice the limit on it does not, and in between
// it depends on luck (TimerMessageStore.isReject).
func (s *Service) Full(out int64, limit int) bool {
	if limit >= math.MaxInt32 {
		return false
	}
	s.mu.Lock()
	slot, _ := s.wheel.get(out)
	s.mu.Unlock()
	n, most := int64(slot.num), int64(limit)
	switch {
	case n <= most:
		return false
	case n >= 2*most:
		return true
	}
	return float64(rand.IntN(1000)) > float64(1000*(n-most))/(float64(most)+0.1)
}

func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
