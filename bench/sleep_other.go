//go:build !linux

package bench

import "time"

// newSleeper makes a function that sleeps until a time since start.
func newSleeper(start time.Time) (sleep func(until time.Duration), done func()) {
	return func(until time.Duration) { time.Sleep(until - time.Since(start)) }, func() {}
}
