package remoting

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Server listens, decodes and dispatches.
type Server struct {
	ep     *endpoint
	opts   ServerOptions
	ln     *listener
	ending sync.Once

	stopAccept chan struct{} // closed first
	stop       chan struct{} // closed when the idle watch shall end

	conns connSet
	loop  *set
}

// connSet is the open connections of a server.
type connSet struct {
	mu     sync.Mutex
	open   map[*Conn]struct{}
	closed bool
}

func (s *connSet) add(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.open[c] = struct{}{}
	}
	return !s.closed
}

func (s *connSet) remove(c *Conn) {
	s.mu.Lock()
	delete(s.open, c)
	s.mu.Unlock()
}

// list returns the connections for which keep is true.
func (s *connSet) list(keep func(*Conn) bool) []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	var l []*Conn
	for c := range s.open {
		if keep(c) {
			l = append(l, c)
		}
	}
	return l
}

func (s *connSet) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
}

// Listen starts a server.
func Listen(opts ServerOptions) (*Server, error) {
	loop, err := theSet()
	if err != nil {
		return nil, fmt.Errorf("event loop: %w", err)
	}
	ln, err := newListener(opts.Addr)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	opts.Limits = opts.Limits.withDefaults()
	opts.Now = orRealClock(opts.Now)
	ep := newEndpoint(opts.Routes, opts.Fallback)
	ep.ser, ep.limits, ep.log, ep.now = opts.Serialization, opts.Limits, orDiscard(opts.Log), opts.Now
	s := &Server{ep: ep, loop: loop, opts: opts, ln: ln, stop: make(chan struct{}), stopAccept: make(chan struct{})}
	s.conns.open = map[*Conn]struct{}{}
	ep.onClose, ep.onFault, ep.tls, ep.attendant = s.closed, opts.OnFault, opts.TLS, opts.Attendant
	ep.lastNow.Store(ep.now().UnixNano())
	s.ep.goroutines.Go(s.acceptLoop)
	s.ep.goroutines.Go(func() { ep.watchIdle(s.stop, s.conns.list) })
	return s, nil
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.ln.addr }

// serve makes a connection of an accepted socket. The event loop reads it.
func (s *Server) serve(fd int, remote netip.AddrPort) {
	w := &rawWire{fd: fd, timeout: s.ep.limits.WriteTimeout}
	c := s.ep.newConn(w, remote)
	c.held = true
	if !s.conns.add(c) {
		w.close()
		return
	}
	s.ep.goroutines.Add(1) // until it has ended: aside
	if s.opts.OnOpen != nil {
		s.opts.OnOpen(c)
	}
	p := &polled{c: c, fd: fd}
	if err := s.loop.add(p); err != nil {
		c.fail("event loop", err)
		go p.aside(s.loop)
	}
}

func (s *Server) closed(c *Conn) {
	s.conns.remove(c)
	if s.opts.OnClose != nil {
		s.opts.OnClose(c)
	}
}

// Shutdown stops accepting, lets work under way answer until ctx ends, then closes every connection and waits for its
// goroutines. Work under way is what handlers and lanes are at, and output that has not left; a request that was detached to be
// answered some day (a held pull) is not waited for.
func (s *Server) Shutdown(ctx context.Context) error {
	var err error
	s.ending.Do(func() {
		close(s.stopAccept)
		_ = unix.Shutdown(s.ln.fd, unix.SHUT_RDWR) // wakes the event loop
		if s.opts.GoAway {
			s.ep.goAway.Store(true)
		}
		err = s.settle(ctx)
		s.conns.close()
		for _, c := range s.conns.list(func(*Conn) bool { return true }) {
			c.Close()
		}
		close(s.stop)
	})
	s.ep.goroutines.Wait()
	return err
}

// settle waits until nothing is under way.
func (s *Server) settle(ctx context.Context) error {
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for {
		if s.opts.GoAway {
			if len(s.conns.list(func(*Conn) bool { return true })) == 0 {
				return nil
			}
		} else if s.ep.busy.Load() == 0 && len(s.conns.list((*Conn).atWork)) == 0 {
			return nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return fmt.Errorf("shut down with work under way: %w", ctx.Err())
		}
	}
}

// atWork says that requests are being worked on or that output waits.
func (c *Conn) atWork() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.batching || c.writing || c.out != nil && !c.held
}

// watchIdle closes connections that have neither sent nor received for too long, and keeps the coarse time by which that is
// measured. One ticker serves all connections.
func (ep *endpoint) watchIdle(stop <-chan struct{}, list func(func(*Conn) bool) []*Conn) {
	tick := time.NewTicker(min(max(ep.limits.Idle/8, 5*time.Millisecond), time.Second))
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		now := ep.now().UnixNano()
		ep.lastNow.Store(now)
		idle := func(c *Conn) bool { return now-c.lastIO.Load() >= int64(ep.limits.Idle) && !c.Closed() }
		for _, c := range list(idle) {
			ep.log.Info("close idle connection", "addr", c.RemoteText(), "idle", ep.limits.Idle)
			c.Close()
		}
	}
}
