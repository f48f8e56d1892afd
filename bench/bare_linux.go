package bench

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// preallocate gives a file its blocks, as the log's files get theirs.
func preallocate(f *os.File, size int64) error { return unix.Fallocate(int(f.Fd()), 0, 0, size) }

func datasync(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }

// threadCPU is the processor time of the calling thread, in user and kernel. Unlike getrusage, the clock does not count in ticks.
func threadCPU() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
