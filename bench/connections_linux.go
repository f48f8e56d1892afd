package bench

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// manyLoopbacks says that all of 127.0.0.0/8 is this machine without being set up.
const manyLoopbacks = true

// bindLate lets the kernel choose the port when it knows the other side, so that all of an address's ports are there for each other side.
func bindLate(_, _ string, c syscall.RawConn) error {
	var err error
	if ctlErr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	}); ctlErr != nil {
		return ctlErr
	}
	return err
}
