package remoting

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

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
		n, e := rawWrite(fd, pieces[0])
		if e != 0 {
			return 0, len(pieces[0]), e
		}
		return n, len(pieces[0]), nil
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

// polled is a connection that the event loop reads.
type polled struct {
	c       *Conn
	fd      int
	proxied bool            // a PROXY header has come
	opened  bool            // the first bytes have told what the other side speaks
	isTLS   bool            // namely TLS: it goes on as a stream
	ended   bool            // there is nothing more to read
	begun   bool            // a batch of frames has begun and not ended
	more    bool            // it stopped reading while there was more
	part    *inbox          // not nil while a part of a frame waits for the rest
	stalled bool            // part begins with whole frames
	paused  <-chan struct{} // not nil: it left the loop until output has drained

	// The set's, under its lock.
	slot   int32
	queued bool // it is in the queue, or with a worker
	again  bool // something came since

	hup atomic.Bool // the other side has ended: what it sent is to be read up to the end, for nothing will tell of it again
}

// Bounds of what a connection may do at one turn, so that a fast one doesn't keep the others waiting.
const (
	readSize   = 256 << 10
	readRounds = 4
)

// turn reads and works what is there. The batch that it begins is to be ended by endBatch.
func (p *polled) turn(s *scratch) {
	if p.stalled {
		p.workRest(s)
	}
	for range readRounds {
		p.more = false
		if p.stalled || p.c.Closed() || p.isTLS || p.ended {
			return
		}
		if p.more = p.read(s); !p.more {
			return
		}
	}
}

// endBatch lets the answers of a turn leave.
func (p *polled) endBatch() {
	if p.begun {
		p.begun = false
		p.c.endBatch()
	}
}

// leaves says that the connection can't stay on the loop. Its batch has ended.
func (p *polled) leaves() bool {
	if p.paused == nil {
		p.paused = p.c.full()
	}
	return p.ended || p.isTLS || p.paused != nil || p.c.Closed()
}

// aside is the goroutine of a connection that has left the loop: until output has drained, or to end.
func (p *polled) aside(loop *set) {
	c := p.c
	for (p.paused != nil || p.stalled) && !c.Closed() {
		if p.paused != nil {
			<-p.paused
			p.paused = nil
		}
		s := c.ep.scratch.Get().(*scratch)
		p.workRest(s)
		s.end()
		p.endBatch()
		c.ep.scratch.Put(s)
		p.paused = c.full()
	}
	if !p.ended && !p.isTLS && !c.Closed() {
		err := loop.add(p)
		if err == nil {
			return
		}
		c.fail("event loop", err)
	}
	if p.isTLS && !c.Closed() {
		c.serveTLS(p.fd, p.pending())
	}
	p.keep(nil)
	c.finish()
	c.ep.goroutines.Done()
}

// workRest works what was left when too much output waited.
func (p *polled) workRest(s *scratch) {
	p.stalled = false
	if p.part == nil {
		return
	}
	used, err := p.work(s, p.part.data)
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
	n, e := rawRead(p.fd, buf[have:])
	if n <= 0 || e != 0 {
		switch e {
		case unix.EAGAIN:
		case unix.EINTR:
			return true
		case 0:
			p.ended = true
		default:
			p.ended = true
			p.c.broken(os.NewSyscallError("read", e))
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
	return n == len(buf)-have || p.hup.Load()
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
	if !p.begun {
		p.begun = true
		p.c.beginBatch()
	}
	n, err := p.c.feed(s, data[used:])
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
