package bench

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// newSleeper makes a function that sleeps until a time since start. The runtime's own timers are good to a millisecond when a
// processor is idle, which is more than the delays to be measured; so this thread sleeps by itself, with the kernel's slack taken off.
func newSleeper(start time.Time) (sleep func(until time.Duration), done func()) {
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	return func(until time.Duration) {
		for {
			left := until - time.Since(start)
			if left <= 0 {
				return
			}
			ts := unix.NsecToTimespec(int64(left))
			_ = unix.Nanosleep(&ts, nil)
		}
	}, runtime.UnlockOSThread
}
