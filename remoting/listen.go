package remoting

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// listener is a listening socket that an event loop accepts from.
type listener struct {
	fd   int
	addr net.Addr
}

func newListener(addr string) (*listener, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = ln.Close() }()
	f, err := ln.(*net.TCPListener).File()
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	defer func() { _ = f.Close() }()
	// A duplicate that Go's own poller does not know, so that it isn't woken for each connection.
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err == nil {
		// Accepted sockets inherit it.
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, os.NewSyscallError("fcntl", err))
	}
	return &listener{fd: fd, addr: ln.Addr()}, nil
}

// acceptRetry is how long to leave the backlog alone when there are no descriptors left.
const acceptRetry = 50 * time.Millisecond

// acceptAtOnce is how many connections one call of the loop takes.
const acceptAtOnce = 64

// acceptLoop accepts until the server stops.
func (s *Server) acceptLoop() {
	defer func() { _ = unix.Close(s.ln.fd) }()
	a := &acceptor{Server: s}
	if leave, err := s.loop.listen(s.ln.fd); err != nil {
		a.ep.log.Warn("connections wait some milliseconds to be accepted", "addr", s.ln.addr, "err", err)
	} else {
		defer leave()
	}
	for {
		if err := watch(s.ln.fd, a.acceptSome); err != nil {
			a.failed(err)
		}
		select {
		case <-s.stopAccept:
			return
		case <-time.After(acceptRetry):
		}
	}
}

// acceptor is what the accept loop remembers.
type acceptor struct {
	*Server
	failing bool // the last accept failed; said once, not twenty times a second
}

func (a *acceptor) failed(err error) {
	if !a.failing && !a.stopping() {
		a.ep.log.Error("accept", "addr", a.ln.addr, "err", err)
	}
	a.failing = true
}

func (s *Server) stopping() bool {
	select {
	case <-s.stopAccept:
		return true
	default:
		return false
	}
}

// acceptSome accepts what waits, on the event loop. False leaves the loop.
func (a *acceptor) acceptSome() bool {
	for range acceptAtOnce {
		if a.stopping() {
			return false
		}
		fd, sa, err := unix.Accept4(a.ln.fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch {
		case err == nil:
			a.failing = false
			a.serve(fd, sockAddr(sa))
		case errors.Is(err, unix.EAGAIN):
			return true
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
		default:
			a.failed(os.NewSyscallError("accept", err))
			return false
		}
	}
	return true
}

func sockAddr(sa unix.Sockaddr) netip.AddrPort {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	return netip.AddrPort{}
}
