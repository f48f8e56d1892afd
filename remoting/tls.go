package remoting

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
)

// What the first bytes of a connection say (spec: remoting.md 1.2).
type preface int

const (
	prefaceIncomplete preface = iota
	prefacePlain
	prefaceTLS
)

// tlsHandshake is the first byte of a TLS connection: the record type of a handshake. No frame within the limit starts with it.
const tlsHandshake = 0x16

// The modes of TLSPolicy that are not permissive.
const (
	tlsDisabled  = "disabled"
	tlsEnforcing = "enforcing"
)

// preface reads what comes before the first frame: a PROXY header perhaps, then TLS or not. It returns how many bytes are done
// with. Nothing waits for bytes that a frame has no need of: Java waits for twelve.
func (c *Conn) preface(data []byte, proxied *bool) (int, preface, error) {
	used := 0
	if !*proxied && len(data) > 0 && (data[0] == proxyV1Start[0] || data[0] == proxyV2Start[0]) {
		n, h, err := parseProxyHeader(data)
		if err != nil || n == 0 {
			return 0, prefaceIncomplete, err
		}
		*proxied = true
		used = n
		addr := h.Source
		if !addr.IsValid() {
			addr = c.RemoteAddr()
		}
		c.setRemote(addr, h)
	}
	if used == len(data) {
		return used, prefaceIncomplete, nil
	}
	mode := tlsDisabled
	if c.ep.tls != nil {
		mode = c.ep.tls.Mode
	}
	switch first := data[used]; {
	case first == tlsHandshake && mode == tlsDisabled:
		return used, prefaceIncomplete, errTLSDisabled
	case first == tlsHandshake:
		return used, prefaceTLS, nil
	case mode == tlsEnforcing:
		return used, prefaceIncomplete, errTLSEnforced
	}
	return used, prefacePlain, nil
}

var (
	errTLSDisabled = errors.New("TLS is disabled here")
	errTLSEnforced = errors.New("only TLS is served here")
)

// serveTLS goes on with a socket whose first bytes, pending, announce TLS. It takes the socket over.
func (c *Conn) serveTLS(fd int, pending []byte) {
	nc, err := c.handshake(fd, pending)
	if err != nil {
		c.fail("TLS handshake", err)
		return
	}
	c.endBatch() // output was held back until here
	c.readStream(nc, nil)
}

func (c *Conn) handshake(fd int, pending []byte) (net.Conn, error) {
	cfg, err := c.ep.tls.Config()
	if err != nil {
		return nil, err
	}
	nc, err := connOf(fd)
	if err != nil {
		return nil, err
	}
	t := tls.Server(&prefixed{Conn: nc, pending: pending}, cfg)
	if !c.rewire(newStreamWire(t, c.ep.limits.WriteTimeout)) {
		_ = nc.Close()
		return nil, ErrClosed
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.ep.limits.Handshake)
	defer cancel()
	return t, t.HandshakeContext(ctx)
}

// rewire replaces the wire of a connection that has not sent anything yet.
func (c *Conn) rewire(w wire) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing.Load() {
		return false
	}
	c.wire.close()
	c.wire = w
	return true
}

// prefixed is a connection that some bytes were read from before.
type prefixed struct {
	net.Conn
	pending []byte
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.pending) == 0 {
		return p.Conn.Read(b)
	}
	n := copy(b, p.pending)
	p.pending = p.pending[n:]
	return n, nil
}
