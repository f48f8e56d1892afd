package testkit

import "time"

// AwaitReadable waits until all that a store has acknowledged can be read from its queues. As a rule it can at once; but the goroutine that
// is about to dispatch it may stand still, on a busy machine for longer than a test takes whose clock goes on by hand.
func AwaitReadable(t TB, s interface {
	Dispatched() (upTo, acknowledged int64)
},
) {
	t.Helper()
	for deadline := time.After(20 * time.Second); ; {
		if upTo, acknowledged := s.Dispatched(); upTo >= acknowledged {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("what is acknowledged does not get into its queue")
		case <-time.After(100 * time.Microsecond):
		}
	}
}
