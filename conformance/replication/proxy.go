package replication

import (
	"fmt"
	"net"
	"sync"

	"apogee/internal/testkit"
)

// loopback is everything on one host, for who may not make namespaces: the one line that can be cut is the one that the log goes over,
// which leads through a relay. Only an Apogee slave can be told to go there.
type loopback struct {
	java  bool // the slave
	relay *relay
}

func (l *loopback) host(role) host { return host{addr: "127.0.0.1"} }
func (l *loopback) client() string { return "127.0.0.1" }
func (l *loopback) String() string { return "loopback" }

func (l *loopback) slaveConf(masters string) (testkit.Props, error) {
	if l.java {
		return nil, nil // it forgets haMasterAddress before it uses it, and follows the name server
	}
	var err error
	if l.relay, err = newRelay(masters); err != nil {
		return nil, err
	}
	return testkit.Props{"haMasterAddress": l.relay.Addr().String()}, nil
}

// cut cuts the same line in each case.
func (l *loopback) cut(line) error {
	if l.relay == nil {
		return fmt.Errorf("a Java slave's line to its master: %w", testkit.ErrMissing)
	}
	l.relay.gate.Lock()
	return nil
}

func (l *loopback) mend() error {
	l.relay.gate.Unlock()
	return nil
}

func (l *loopback) close() {
	if l.relay != nil {
		l.relay.close()
	}
}

// relay passes on what comes, as long as its gate is open. Nobody is told when it is not: connections stay, and what was sent waits.
type relay struct {
	net.Listener
	to   string
	gate sync.RWMutex // held for writing: shut
	done sync.WaitGroup

	mu     sync.Mutex // guards what follows
	conns  []net.Conn
	closed bool
}

func newRelay(to string) (*relay, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{Listener: l, to: to}
	r.done.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.done.Go(func() { r.serve(c) })
		}
	})
	return r, nil
}

func (r *relay) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	r.gate.RLock()
	m, err := net.Dial("tcp", r.to)
	r.gate.RUnlock()
	if err != nil {
		return
	}
	defer func() { _ = m.Close() }()
	r.mu.Lock()
	closed := r.closed
	r.conns = append(r.conns, c, m)
	r.mu.Unlock()
	if closed {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { r.pass(m, c) })
	r.pass(c, m)
	both.Wait()
}

// pass copies until one of the two ends, and then ends the other.
func (r *relay) pass(to, from net.Conn) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		r.gate.RLock()
		if n > 0 {
			if _, e := to.Write(buf[:n]); e != nil {
				err = e
			}
		}
		r.gate.RUnlock()
		if err != nil {
			return
		}
	}
}

// close ends all connections. The gate is open.
func (r *relay) close() {
	_ = r.Close()
	r.mu.Lock()
	r.closed = true
	for _, c := range r.conns {
		_ = c.Close()
	}
	r.mu.Unlock()
	r.done.Wait()
}
