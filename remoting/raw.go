package remoting

import (
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls of the event loop that take a bounded time bypass Go's scheduler. It would take the loop's context away while the loop waits and
// give it back afterwards, mostly on another thread, and its monitor thread would be kept awake for that: 15 µs of 60 for a message that
// comes alone. Instead theSet adds a context, which the loop keeps while it waits. The scheduler gets hold of a thread in such a call by
// a signal, which ends the call with EINTR.

// rawWait waits for events at most that many milliseconds, n is 0 if none came or a signal did. It is a call of its own, since the
// beginning of a function is where the scheduler can stop the loop.
//
//go:noinline
func rawWait(epfd int, events []unix.EpollEvent, ms int) (n int, err error) {
	r, _, e := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), uintptr(ms), 0, 0)
	if e != 0 {
		return 0, os.NewSyscallError("epoll_pwait", e)
	}
	return int(r), nil
}

// rawSleep sleeps for as long as that, or until a signal comes.
func rawSleep(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
}

// rawRead reads from a descriptor that does not block.
func rawRead(fd int, b []byte) (int, unix.Errno) {
	n, _, e := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), e
}

// rawWrite writes to a descriptor that does not block.
func rawWrite(fd int, b []byte) (int, unix.Errno) {
	n, _, e := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), e
}
