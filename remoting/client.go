package remoting

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"

	"apogee/remoting/code"
)

// Client keeps one connection to each address and multiplexes calls on it. It makes connections when they are needed, again
// after they broke, and again when a server asks it to go away.
type Client struct {
	ep   *endpoint
	opts ClientOptions
	stop chan struct{}

	conns connSet // all that are open; peers has the ones for new calls

	mu     sync.Mutex // guards what follows
	peers  map[string]*peer
	closed bool
}

// peer is an address. Its lock is held while it is dialled, so that calls which come together share one connection.
type peer struct {
	dialing chan struct{} // holds a token while nobody dials
	conn    *Conn         // guarded by the client's mu
}

// NewClient makes a client. It connects to nothing yet.
func NewClient(opts ClientOptions) *Client {
	opts.Limits = opts.Limits.withDefaults()
	opts.Now = orRealClock(opts.Now)
	if opts.DialTimeout <= 0 {
		opts.DialTimeout = defaultDialTimeout
	}
	ep := newEndpoint(opts.Routes, nil)
	ep.ser, ep.limits, ep.log, ep.now = opts.Serialization, opts.Limits, orDiscard(opts.Log), opts.Now
	c := &Client{ep: ep, opts: opts, stop: make(chan struct{}), peers: map[string]*peer{}}
	c.conns.open = map[*Conn]struct{}{}
	ep.onClose = c.conns.remove
	ep.lastNow.Store(ep.now().UnixNano())
	c.ep.goroutines.Go(func() { ep.watchIdle(c.stop, c.conns.list) })
	return c
}

// Call makes a request to addr and waits for its answer. A server that answers GO_AWAY is asked once more over a new connection.
func (c *Client) Call(ctx context.Context, addr string, out Outgoing) (*Response, error) {
	conn, resp, err := c.call(ctx, addr, out)
	if err == nil && resp.Code == code.GoAway {
		c.forget(addr, conn)
		_, resp, err = c.call(ctx, addr, out)
	}
	return resp, err
}

func (c *Client) call(ctx context.Context, addr string, out Outgoing) (*Conn, *Response, error) {
	conn, err := c.connect(ctx, addr)
	if err != nil {
		return nil, nil, err
	}
	resp, err := conn.Call(ctx, out)
	return conn, resp, err
}

// Oneway makes a request that nobody answers.
func (c *Client) Oneway(ctx context.Context, addr string, out Outgoing) error {
	conn, err := c.connect(ctx, addr)
	if err != nil {
		return err
	}
	return conn.Oneway(out)
}

// Close closes every connection and waits for its goroutines. Calls under way fail.
func (c *Client) Close() {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		close(c.stop)
	}
	c.mu.Unlock()
	c.conns.close()
	for _, conn := range c.conns.list(func(*Conn) bool { return true }) {
		conn.Close()
	}
	c.ep.goroutines.Wait()
}

// connect returns a connection to addr, an open one if there is.
func (c *Client) connect(ctx context.Context, addr string) (*Conn, error) {
	c.mu.Lock()
	p := c.peers[addr]
	if p == nil {
		p = &peer{dialing: make(chan struct{}, 1)}
		p.dialing <- struct{}{}
		c.peers[addr] = p
	}
	conn := p.conn
	c.mu.Unlock()
	if conn != nil && !conn.Closed() {
		return conn, nil
	}
	select {
	case <-p.dialing:
	case <-ctx.Done():
		return nil, fmt.Errorf("connect to %s: %w", addr, ctx.Err())
	}
	defer func() { p.dialing <- struct{}{} }()
	c.mu.Lock()
	conn = p.conn
	c.mu.Unlock()
	if conn != nil && !conn.Closed() {
		return conn, nil
	}
	return c.dial(ctx, addr, p)
}

func (c *Client) dial(ctx context.Context, addr string, p *peer) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.DialTimeout)
	defer cancel()
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	remote := addrPort(nc.RemoteAddr())
	if c.opts.TLS != nil {
		t := tls.Client(nc, tlsFor(c.opts.TLS, addr))
		if err := t.HandshakeContext(ctx); err != nil {
			_ = nc.Close()
			return nil, fmt.Errorf("TLS with %s: %w", addr, err)
		}
		nc = t
	}
	w := newStreamWire(nc, c.opts.Limits.WriteTimeout)
	conn := c.ep.newConn(w, remote)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || !c.conns.add(conn) {
		_ = nc.Close()
		return nil, fmt.Errorf("connect to %s: %w", addr, errClientClosed)
	}
	p.conn = conn
	c.ep.goroutines.Go(func() {
		conn.readStream(nc, nil)
		conn.finish()
		c.ended(addr)
	})
	return conn, nil
}

func (c *Client) ended(addr string) {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if !closed && c.opts.Lost != nil {
		c.opts.Lost(addr)
	}
}

var errClientClosed = errors.New("client closed")

// tlsFor is cfg with the name that the server's certificate is checked against.
func tlsFor(cfg *tls.Config, addr string) *tls.Config {
	if cfg.ServerName != "" || cfg.InsecureSkipVerify {
		return cfg
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return cfg
	}
	cfg = cfg.Clone()
	cfg.ServerName = host
	return cfg
}

// forget keeps new calls off a connection; those that wait for answers on it get them.
func (c *Client) forget(addr string, conn *Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.peers[addr]; p != nil && p.conn == conn {
		p.conn = nil
	}
}
