package remoting

import (
	"errors"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
)

// ErrClosed is in the errors of calls on a connection that is gone, or goes before the answer comes.
var ErrClosed = errors.New("connection closed")

// Conn is one connection, of a server or of a client.
//
// Bytes come in through whoever reads the connection (the event loop or a goroutine of its own), which hands them to feed.
// They leave through the outboxes: send appends a frame to out, and one writer at a time takes out, makes it cur and writes it.
type Conn struct {
	ep *endpoint

	peer     atomic.Pointer[peerAddr] // replaced once, by a PROXY header
	attached atomic.Pointer[any]
	closing  atomic.Bool  // somebody wants it closed
	waiting  atomic.Int64 // bytes of output that have not left
	lastIO   atomic.Int64 // endpoint.lastNow when bytes last went in or out

	mu       sync.Mutex // guards what follows up to calls
	wire     wire
	out      *outbox       // being filled
	cur      *outbox       // being written, by the one for whom writing is set
	writing  bool          // somebody writes, and will look at out again before giving up
	held     bool          // nothing may leave before the first bytes from the other side tell whether it speaks TLS
	batching bool          // the reader is at work and will write at the end of its batch
	blocking bool          // the reader may wait for the network, having a goroutine of its own
	dead     bool          // nothing is read or sent any more
	drained  chan struct{} // not nil while the reader waits for output to leave

	callMu sync.Mutex
	opaque int32
	calls  map[int32]chan *Response // answers owed to us; made when it is needed
	ended  bool                     // no answer will come any more
}

// wire moves bytes for a connection.
type wire interface {
	// write sends as much of pieces as can go. If block is false it never waits, and returns errAgain when it would have to.
	write(pieces [][]byte, block bool) (int, error)
	// hangup makes reads and writes fail from now on. It is not called after close.
	hangup()
	close()
	localAddr() netip.AddrPort // not called after close
}

var errAgain = errors.New("write would block")

// peerAddr is who is at the other end.
type peerAddr struct {
	addr  netip.AddrPort
	text  string
	proxy *ProxyHeader
}

func (ep *endpoint) newConn(w wire, remote netip.AddrPort) *Conn {
	c := &Conn{ep: ep, wire: w}
	c.setRemote(remote, nil)
	c.lastIO.Store(ep.lastNow.Load())
	return c
}

func (c *Conn) setRemote(a netip.AddrPort, proxy *ProxyHeader) {
	a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	c.peer.Store(&peerAddr{addr: a, text: a.String(), proxy: proxy})
}

// RemoteAddr is the other side's address, or the one that a PROXY header named.
func (c *Conn) RemoteAddr() netip.AddrPort { return c.peer.Load().addr }

// Proxy is the PROXY header that the connection began with, or nil.
func (c *Conn) Proxy() *ProxyHeader { return c.peer.Load().proxy }

// LocalAddr is this side's address.
func (c *Conn) LocalAddr() netip.AddrPort {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return netip.AddrPort{}
	}
	return c.wire.localAddr()
}

// RemoteText is RemoteAddr as "ip:port", made once.
func (c *Conn) RemoteText() string {
	if c == nil {
		return "local"
	}
	return c.peer.Load().text
}

// Attachment is one value that the layer above keeps with the connection.
func (c *Conn) Attachment() any {
	if p := c.attached.Load(); p != nil {
		return *p
	}
	return nil
}

// Attach sets the Attachment.
func (c *Conn) Attach(v any) { c.attached.Store(&v) }

// Closed says that the connection is gone or going.
func (c *Conn) Closed() bool { return c.closing.Load() }

// Writable is false while more answers wait than the high-water mark allows.
func (c *Conn) Writable() bool { return c.waiting.Load() <= int64(c.ep.limits.WriteHighMark) }

// Close hangs up. Output that waits is dropped. It doesn't wait for OnClose.
func (c *Conn) Close() {
	if c.closing.Swap(true) {
		return
	}
	c.mu.Lock()
	if !c.dead {
		c.wire.hangup()
	}
	c.wakeReaderLocked()
	c.mu.Unlock()
}

// fail closes the connection for a reason worth a line in the log.
func (c *Conn) fail(why string, err error) {
	if !c.closing.Load() {
		c.ep.log.Warn("close connection: "+why, "addr", c.RemoteText(), "err", err)
	}
	c.Close()
}

// broken closes the connection after an error of the network, which is worth a warning only if the other side sat still.
func (c *Conn) broken(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.fail("timeout", err)
		return
	}
	if err != nil && !c.closing.Load() {
		c.ep.log.Debug("connection broke", "addr", c.RemoteText(), "err", err)
	}
	c.Close()
}

// finish is the end of the connection, called once by its reader when nothing will be read any more.
func (c *Conn) finish() {
	c.closing.Store(true)
	c.mu.Lock()
	c.dead = true
	out, cur, w := c.out, c.cur, c.wire
	c.out = nil
	writing := c.writing
	if !writing {
		c.cur = nil
	} else {
		w.hangup() // so that the writer, who cleans up instead, doesn't wait any longer
		cur = nil
	}
	c.mu.Unlock()
	if !writing {
		w.close()
	}
	c.ep.recycle(out)
	c.ep.recycle(cur)
	c.failCalls()
	if c.ep.onClose != nil {
		c.ep.onClose(c)
	}
}

// send appends a frame and sees to it that it leaves: with the reader's batch, with the batch b, by the writer at work, or now.
// Release is called in any case.
func (c *Conn) send(ser Serialization, h *head, body []byte, regions [][]byte, release func(), b *Batch) error {
	c.mu.Lock()
	if c.dead || c.closing.Load() {
		c.mu.Unlock()
		if release != nil {
			release()
		}
		return ErrClosed
	}
	if c.out == nil {
		c.out = c.ep.outboxes.Get().(*outbox)
	}
	n, err := c.out.add(ser, h, body, regions, release)
	if err != nil {
		c.mu.Unlock()
		if release != nil {
			release()
		}
		return err
	}
	c.waiting.Add(int64(n))
	write := !c.held && !c.batching && !c.writing && !(b != nil && b.take(c))
	if write {
		c.writing = true
	}
	c.mu.Unlock()
	if write {
		c.flush(false)
	}
	return nil
}

// beginBatch holds output back until endBatch.
func (c *Conn) beginBatch() {
	c.mu.Lock()
	c.batching = true
	c.mu.Unlock()
}

func (c *Conn) endBatch() {
	c.mu.Lock()
	c.batching, c.held = false, false
	c.kickLocked(c.blocking)
}

// kickLocked starts writing what waits, unless somebody is at it. It unlocks.
func (c *Conn) kickLocked(block bool) {
	write := c.out != nil && !c.writing && !c.held && !c.dead
	if write {
		c.writing = true
	}
	c.mu.Unlock()
	if write {
		c.flush(block)
	}
}

// relieve writes in the middle of a batch because much waits, and says whether the batch may go on.
func (c *Conn) relieve() bool {
	c.mu.Lock()
	c.kickLocked(c.blocking)
	return c.Writable()
}

// flush writes until nothing waits. The caller has set writing. Where it would have to wait for the network and block is false,
// a goroutine goes on.
func (c *Conn) flush(block bool) {
	c.mu.Lock()
	for {
		if c.cur == nil && c.out != nil {
			c.cur, c.out = c.out, nil
			c.cur.seal()
		}
		o, w := c.cur, c.wire
		if o == nil || c.dead {
			c.stopWritingLocked()
			return
		}
		c.mu.Unlock()
		n, err := w.write(o.rest, false)
		o.wrote(n)
		if block && errors.Is(err, errAgain) {
			var m int
			m, err = w.write(o.rest, true)
			n += m
		}
		if err == nil {
			c.ep.recycle(o)
		}
		c.mu.Lock()
		c.leftLocked(n)
		switch {
		case err == nil:
			c.cur = nil
		case errors.Is(err, errAgain) && !c.dead:
			// The reader is not dead, so the endpoint still waits for at least one goroutine, and for this one, too.
			c.ep.goroutines.Go(func() { c.flush(true) })
			c.mu.Unlock()
			return
		default:
			c.stopWritingLocked()
			if errors.Is(err, syscall.EFAULT) {
				c.ep.unreadable(err)
			}
			c.broken(err)
			return
		}
	}
}

// stopWritingLocked is the end of a flush: nothing waits any more, or it never will leave. It unlocks.
func (c *Conn) stopWritingLocked() {
	out, cur, w, dead := c.out, c.cur, c.wire, c.dead
	c.out, c.cur, c.writing = nil, nil, false
	c.mu.Unlock()
	if dead {
		w.close() // the reader left it to us
	}
	c.ep.recycle(cur)
	c.ep.recycle(out)
}

// leftLocked notes that n bytes of output have left, and lets a reader go on that waits for it.
func (c *Conn) leftLocked(n int) {
	if n == 0 {
		return
	}
	c.lastIO.Store(c.ep.lastNow.Load())
	if c.waiting.Add(int64(-n)) <= int64(c.ep.limits.WriteHighMark/2) {
		c.wakeReaderLocked()
	}
}

func (c *Conn) wakeReaderLocked() {
	if c.drained != nil {
		close(c.drained)
		c.drained = nil
	}
}

// full returns what a reader has to wait for before it reads on, or nil: output beyond the high-water mark has to leave first.
func (c *Conn) full() <-chan struct{} {
	if c.Writable() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing.Load() || c.waiting.Load() <= int64(c.ep.limits.WriteHighMark/2) {
		return nil
	}
	if c.drained == nil {
		c.drained = make(chan struct{})
	}
	return c.drained
}

// errFull says that whole frames are left because too much output waits.
var errFull = errors.New("output is full")

// feed works the whole frames at the start of data, as one batch, and returns how many bytes they have. It stops early, with
// errFull, when too much output waits: each of many small requests can have a big answer.
func (c *Conn) feed(s *scratch, data []byte) (int, error) {
	used := 0
	for !c.closing.Load() {
		n, err := frameSize(data[used:], c.ep.limits.MaxFrame)
		if err != nil {
			return used, err
		}
		if n == 0 || n > len(data)-used {
			return used, nil
		}
		if !c.Writable() && !c.relieve() {
			return used, errFull
		}
		frame := data[used : used+n : used+n]
		used += n
		ser, err := decodeFrame(frame, &s.req)
		if err != nil {
			return used, err
		}
		if s.req.Flag&flagResponse != 0 {
			c.resolve(&s.req)
			continue
		}
		s.req.replier = Replier{conn: c, opaque: s.req.Opaque, ser: ser, oneway: s.req.Oneway()}
		s.req.batch = s
		s.worked++
		c.ep.dispatch(&s.req)
	}
	return used, ErrClosed
}
