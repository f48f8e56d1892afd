package bench

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// kernelConn is a connection that waits in the kernel instead of in the runtime's poller, which makes two reads out of one (the first
// finds nothing) and wakes threads. For one connection with one request under way that is a third of the processor time here, and a fifth
// of the delay; with many connections the poller is the better one.
type kernelConn struct {
	net.Conn // nil: only what is below is used
	fd       int
	closed   atomic.Int32
}

// waitInKernel exchanges the connection for such a one.
func (c *conn) waitInKernel(addr string) error {
	k, err := dialKernel(addr)
	if err != nil {
		return err
	}
	_ = c.Close()
	c.Conn = k
	return nil
}

func dialKernel(addr string) (*kernelConn, error) {
	to, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, err
	}
	family, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: to.Port, Addr: [16]byte(to.IP.To16())})
	if ip := to.IP.To4(); ip != nil {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(ip)}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := errors.Join(unix.Connect(fd, sa), unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("connect", err)
	}
	return &kernelConn{fd: fd}, nil
}

func (k *kernelConn) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(k.fd, b)
		switch {
		case err == unix.EINTR:
		case k.closed.Load() > 0:
			return max(0, n), net.ErrClosed
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func (k *kernelConn) Write(b []byte) (int, error) {
	sent := 0
	for sent < len(b) {
		n, err := unix.Write(k.fd, b[sent:])
		sent += max(0, n)
		switch {
		case err == unix.EINTR || err == nil:
		case k.closed.Load() > 0:
			return sent, net.ErrClosed
		default:
			return sent, os.NewSyscallError("write", err)
		}
	}
	return sent, nil
}

// Close ends what is under way. The next call, when nobody uses the connection any longer, gives the descriptor back.
func (k *kernelConn) Close() error {
	switch k.closed.Add(1) {
	case 1:
		return os.NewSyscallError("shutdown", unix.Shutdown(k.fd, unix.SHUT_RDWR))
	case 2:
		return os.NewSyscallError("close", unix.Close(k.fd))
	}
	return net.ErrClosed
}
