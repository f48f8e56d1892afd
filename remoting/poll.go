package remoting

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/cloudwego/netpoll"
	"golang.org/x/sys/unix"
)

// How connections use netpoll. Its Connection type reads whatever comes into a buffer without limit, whether or not a handler
// keeps up, and cannot be told to stop (spec: libraries.md, rules for the network). What it has besides is an epoll loop that
// calls Accept of a Listener when the listener's descriptor is readable. Accept may return nothing, and a descriptor is a
// descriptor: so each connection stands as a Listener of its own, whose Accept reads and works what is there, on the loop. Then
//   - bytes are read only as fast as they are worked, into memory that idle connections don't hold;
//   - a connection leaves the loop by an ordinary Shutdown of its "server", from within Accept: to let output drain, or to go on
//     as TLS in a goroutine.
// A connection is taken off the loop only by the loop itself (within Accept, or after a hang-up, which shutdown(2) provokes).
// netpoll keeps no reference to a listener but the one inside the kernel, so a removal from elsewhere could leave the loop with
// an event for memory that is gone.

// startLoops sets how many event loops the process has; netpoll knows only one setting for all servers in it.
var startLoops = sync.OnceValue(func() error {
	return netpoll.Configure(netpoll.Config{PollerNum: runtime.GOMAXPROCS(0)})
})

// watch calls ready on an event loop whenever fd is readable, until ready returns false or the other side hangs up.
func watch(fd int, ready func() bool) error {
	if err := startLoops(); err != nil {
		return err
	}
	loop, err := netpoll.NewEventLoop(nil)
	if err != nil {
		return err
	}
	w := &watched{fd: fd, ready: ready, loop: loop}
	err = loop.Serve(w)
	w.leaving.Lock() // Serve returns in the middle of Shutdown; the loop has done with fd only at its end
	return err
}

// watched is a descriptor as a netpoll.Listener.
type watched struct {
	fd      int
	ready   func() bool
	loop    netpoll.EventLoop
	leaving sync.Mutex // held while the loop lets go of fd
}

func (w *watched) Fd() int { return w.fd }

// Accept is called by the event loop when there is something to read.
func (w *watched) Accept() (net.Conn, error) {
	if !w.ready() {
		w.leaving.Lock()
		// Takes fd off the loop and lets Serve return; there is nothing that it could wait for.
		_ = w.loop.Shutdown(context.Background())
		w.leaving.Unlock()
	}
	return nil, nil
}

func (w *watched) Close() error   { return nil } // the descriptor is its connection's
func (w *watched) Addr() net.Addr { return nil }

// rawWire is a socket's descriptor as a wire.
type rawWire struct {
	fd      int
	timeout time.Duration
}

func (w *rawWire) write(pieces [][]byte, block bool) (int, error) {
	if block {
		return w.writeSlowly(pieces)
	}
	return writeFD(w.fd, pieces)
}

// maxPieces is what one writev takes (IOV_MAX).
const maxPieces = 1024

// writeFD writes to a socket until it would have to wait.
func writeFD(fd int, pieces [][]byte) (int, error) {
	total := 0
	for len(pieces) > 0 {
		some := pieces[:min(len(pieces), maxPieces)]
		n, want, err := writeOnce(fd, some)
		total += max(n, 0)
		switch {
		case err == nil && n == want:
			pieces = pieces[len(some):]
		case err == nil || errors.Is(err, unix.EAGAIN):
			return total, errAgain
		case !errors.Is(err, unix.EINTR):
			return total, os.NewSyscallError("write", err)
		}
	}
	return total, nil
}

func writeOnce(fd int, pieces [][]byte) (n, want int, err error) {
	if len(pieces) == 1 {
		n, err = unix.Write(fd, pieces[0])
		return n, len(pieces[0]), err
	}
	for _, p := range pieces {
		want += len(p)
	}
	n, err = unix.Writev(fd, pieces)
	return n, want, err
}

// writeSlowly waits until the other side takes the bytes. The descriptor is not known to Go's own poller, which can wait for it
// with a deadline, so this lends it a duplicate.
func (w *rawWire) writeSlowly(pieces [][]byte) (int, error) {
	nc, err := connOf(w.fd)
	if err != nil {
		return 0, err
	}
	s := newStreamWire(nc, w.timeout)
	defer s.close()
	return s.write(pieces, true)
}

func (w *rawWire) hangup() { _ = unix.Shutdown(w.fd, unix.SHUT_RDWR) }
func (w *rawWire) close()  { _ = unix.Close(w.fd) }

func (w *rawWire) localAddr() netip.AddrPort {
	sa, err := unix.Getsockname(w.fd)
	if err != nil {
		return netip.AddrPort{}
	}
	return sockAddr(sa)
}

// connOf makes a net.Conn of a duplicate of a socket.
func connOf(fd int) (net.Conn, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	f := os.NewFile(uintptr(dup), "")
	defer func() { _ = f.Close() }()
	return net.FileConn(f) // another duplicate
}

// polled is a connection that an event loop reads.
type polled struct {
	c       *Conn
	fd      int
	proxied bool            // a PROXY header has come
	opened  bool            // the first bytes have told what the other side speaks
	isTLS   bool            // namely TLS: it goes on as a stream
	ended   bool            // there was nothing more to read
	part    *inbox          // not nil while a part of a frame waits for the rest
	stalled bool            // part begins with whole frames
	paused  <-chan struct{} // not nil: it left the loop until output has drained
}

// Bounds of what a connection may do at one call of its loop, so that a fast one doesn't keep the others waiting.
const (
	readSize   = 256 << 10
	readRounds = 4
)

// servePolled reads and works frames until the connection ends.
func (c *Conn) servePolled(fd int) {
	p := &polled{c: c, fd: fd}
	defer p.keep(nil)
	for {
		err := watch(fd, p.readable)
		switch {
		case c.Closed():
			return
		case err != nil:
			// The other side hung up. What it sent before that may still be in the socket.
			p.ended = false
			for !p.ended && p.readable() {
			}
			return
		case p.isTLS:
			c.serveTLS(fd, p.pending())
			return
		}
		for (p.paused != nil || p.stalled) && !c.Closed() {
			if p.paused != nil {
				<-p.paused
				p.paused = nil
			}
			p.workRest()
			p.leaves()
		}
	}
}

// readable reads and works what is there, and says whether the connection shall stay on the loop.
func (p *polled) readable() bool {
	c := p.c
	s := c.ep.scratch.Get().(*scratch)
	if s.buf == nil {
		s.buf = make([]byte, readSize)
	}
	for range readRounds {
		more := p.read(s)
		for p.stalled && !p.leaves() {
			p.workRest() // output has drained meanwhile
		}
		if !more || p.leaves() {
			break
		}
	}
	c.ep.scratch.Put(s)
	return !p.leaves()
}

// leaves says that the connection can't stay on the loop.
func (p *polled) leaves() bool {
	if p.paused == nil {
		p.paused = p.c.full()
	}
	return p.c.Closed() || p.isTLS || p.paused != nil
}

// workRest works what was left when too much output waited.
func (p *polled) workRest() {
	p.stalled = false
	if p.part == nil {
		return
	}
	s := p.c.ep.scratch.Get().(*scratch)
	used, err := p.work(s, p.part.data)
	p.c.ep.scratch.Put(s)
	p.part.drop(used)
	if len(p.part.data) == 0 {
		p.keep(nil)
	}
	p.judge(err)
}

// judge takes what work said.
func (p *polled) judge(err error) {
	switch {
	case err == nil:
	case errors.Is(err, errFull):
		p.stalled = true
	default:
		p.c.fail("input", err)
	}
}

// read reads once and works what came. It says whether there may be more.
func (p *polled) read(s *scratch) bool {
	limit := p.c.ep.limits.MaxFrame
	buf, have, big := s.buf, 0, false
	if p.part != nil {
		have = len(p.part.data)
		if need, _ := frameSize(p.part.data, limit); need > len(buf)/2 {
			// A big frame is collected where it can stay.
			big = true
			p.part.grow(limit)
			buf = p.part.data[:cap(p.part.data)]
		} else {
			copy(buf, p.part.data)
		}
	}
	n, err := unix.Read(p.fd, buf[have:])
	if n <= 0 {
		p.ended = true
		if err != nil && err != unix.EAGAIN && err != unix.EINTR {
			p.c.broken(os.NewSyscallError("read", err))
		}
		return false
	}
	p.c.lastIO.Store(p.c.ep.lastNow.Load())
	data := buf[:have+n]
	used, err := p.work(s, data)
	if big {
		p.part.data = data
		p.part.drop(used)
	}
	if !big || used == len(data) {
		p.keep(data[used:])
	}
	p.judge(err)
	return n == len(buf)-have
}

// work works the whole frames in data, after what may come before the first of them.
func (p *polled) work(s *scratch, data []byte) (int, error) {
	used := 0
	if !p.opened {
		n, what, err := p.c.preface(data, &p.proxied)
		if err != nil || what == prefaceIncomplete {
			return n, err
		}
		used, p.opened, p.isTLS = n, what == prefacePlain, what == prefaceTLS
		if p.isTLS {
			return used, nil
		}
	}
	p.c.beginBatch()
	n, err := p.c.feed(s, data[used:])
	p.c.endBatch()
	return used + n, err
}

// keep makes rest what waits for more bytes.
func (p *polled) keep(rest []byte) {
	switch pool := &p.c.ep.inboxes; {
	case len(rest) > 0:
		if p.part == nil {
			p.part = pool.Get().(*inbox)
		}
		p.part.data = append(p.part.data[:0], rest...)
	case p.part != nil:
		if cap(p.part.data) > maxKept {
			p.part.data = nil
		}
		pool.Put(p.part)
		p.part = nil
	}
}

// pending is a copy of the bytes that were read and not worked.
func (p *polled) pending() []byte {
	if p.part == nil {
		return nil
	}
	return bytes.Clone(p.part.data)
}
