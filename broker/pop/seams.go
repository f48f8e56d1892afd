package pop

import (
	"time"

	"apogee/broker/hold"
	"apogee/remoting"
	"apogee/store"
)

// Waiter is a pop that found nothing and can wait (the request itself).
type Waiter interface {
	// Ready tells whether there is something new since the waiter looked. It is asked once by Park, when arrivals can already see the
	// waiter: in between nothing slips through.
	Ready() bool
	// Wants tells whether an arrival is worth waking for; the arrival is valid during the call only. It says no more than the filter.
	Wants(a *store.Arrival) bool
	// Wake is called exactly once for each Park that said Parked, on a goroutine that may write answers.
	Wake(why hold.Reason, out *remoting.Batch)
}

// Wait is one waiting pop; requests embed it. Strings must not alias a frame.
type Wait struct {
	Waiter Waiter
	Key    Key   // Queue is -1 for a pop of all queues
	Until  int64 // ms, wall clock: bornTime + pollTime
	Conn   *remoting.Conn

	// Private is for the implementation of Waiting.
	Private any
}

// Outcome is what became of a Park.
type Outcome uint8

const (
	Parked  Outcome = iota // Wake follows
	Ready                  // there is something new: look again; nothing was parked
	Full                   // POLLING_FULL
	TooLate                // POLLING_TIMEOUT: there is no time to wait
)

// Waiting holds pops until something comes (Java PopLongPollingService).
type Waiting interface {
	Park(w *Wait) Outcome
	// Notify says that a group can pop again from a queue (-1: from any): there is more, or an ordered queue is free. It wakes one waiter
	// of that key, whatever its filter.
	Notify(k Key)
}

// NoWaiting answers at once, as if no pop wanted to wait.
type NoWaiting struct{}

// Park holds nothing.
func (NoWaiting) Park(*Wait) Outcome { return TooLate }

// Notify has nobody to wake.
func (NoWaiting) Notify(Key) {}

// Orders remembers what ordered pops have handed out (Java ConsumerOrderInfoManager). The caller holds the queue's lock ([Service.Lock])
// for all but Blocked.
type Orders interface {
	// Blocked tells whether messages are out that are neither acknowledged nor visible again. The attempt that took them is let through.
	Blocked(k Key, attempt string, invisible time.Duration, now int64) bool
	// Taken notes a batch and appends its part of orderCountInfo to counts.
	Taken(k Key, attempt string, popTime int64, invisible time.Duration, offsets []int64, counts []byte) []byte
	// Ack notes an acknowledgement and returns where the group goes on; -1 for an offset that is not out, -2 where there is nothing to do.
	Ack(k Key, offset, popTime int64) (next int64)
	// Postpone makes a message visible again at a time (ms) of its own.
	Postpone(k Key, offset, popTime, visible int64)
	// Clear forgets what is out, after a reset.
	Clear(k Key)
}

// NoOrders is for a broker without ordered pops: nothing is remembered, and nothing blocks.
type NoOrders struct{}

// Blocked is false.
func (NoOrders) Blocked(Key, string, time.Duration, int64) bool { return false }

// Taken notes nothing.
func (NoOrders) Taken(_ Key, _ string, _ int64, _ time.Duration, _ []int64, counts []byte) []byte {
	return counts
}

// Ack takes every offset.
func (NoOrders) Ack(_ Key, offset, _ int64) int64 { return offset + 1 }

// Postpone notes nothing.
func (NoOrders) Postpone(Key, int64, int64, int64) {}

// Clear has nothing to forget.
func (NoOrders) Clear(Key) {}
