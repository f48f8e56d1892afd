package ha

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"apogee/store"
)

// ClientOptions make a Client.
type ClientOptions struct {
	Store  *store.Store
	Config func() Config
	Now    func() time.Time
	Log    *slog.Logger
	Dial   func(ctx context.Context, addr string) (net.Conn, error)
	// Lost is called now and then while no master is known; nil does nothing.
	Lost func()
	// Limited has it take no more than maxHaTransferByteInSecond.
	Limited bool
}

// Client is a slave's side: it keeps its log the same as its master's.
type Client struct {
	o      ClientOptions
	cancel context.CancelFunc
	done   sync.WaitGroup
	moved  chan struct{} // the master's address has changed
	meter  meter

	lastRead, lastWrite atomic.Int64 // ms
	active              atomic.Bool  // the master sends
	mastersEnd          atomic.Int64 // of its log, when it was last heard of; -1 while that is not known
	mastersTime         atomic.Int64 // store time of the last message there, likewise; 0 if it has not told

	mu     sync.Mutex // guards all below; a leaf
	master string     // its address for replicas; "" while none is known
	conn   net.Conn   // the present one, to be closed when the master is another
}

// NewClient makes a client that follows nobody yet.
func NewClient(o ClientOptions) *Client {
	c := &Client{o: o, moved: make(chan struct{}, 1)}
	c.mastersEnd.Store(-1)
	now := o.Now().UnixMilli()
	c.lastRead.Store(now)
	c.lastWrite.Store(now)
	return c
}

// Follow makes addr the master; "" is none. who and why are for the log, where each change is one line.
func (c *Client) Follow(addr, who, why string) {
	c.mu.Lock()
	old, conn := c.master, c.conn
	c.master = addr
	c.mu.Unlock()
	if old == addr {
		return
	}
	c.o.Log.Info("master for replication changes", "from", old, "to", addr, "who", who, "why", why)
	if conn != nil {
		_ = conn.Close() // its reader hears of it
	}
	select {
	case c.moved <- struct{}{}:
	default:
	}
}

// Start begins to follow. The store has been started.
func (c *Client) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.done.Go(func() { c.run(ctx) })
}

// Stop ends it. What has come is in the store.
func (c *Client) Stop() {
	if c.cancel == nil {
		return
	}
	c.cancel()
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	if conn != nil {
		_ = conn.Close() // its reader hears of it
	}
	c.done.Wait()
}

// Waits between two attempts. Java waits 5 s each time.
const (
	againFirst = 100 * time.Millisecond
	againMost  = 5 * time.Second
)

// run connects, again and again.
func (c *Client) run(ctx context.Context) {
	wait, said := againFirst, ""
	for ctx.Err() == nil {
		addr := c.addr()
		if addr == "" {
			if c.o.Lost != nil {
				c.o.Lost()
			}
			c.pause(ctx, againMost)
			continue
		}
		_, before := c.o.Store.Bounds()
		err := c.follow(ctx, addr)
		if ctx.Err() != nil {
			return
		}
		if _, end := c.o.Store.Bounds(); end > before {
			wait = againFirst
		}
		if text := fmt.Sprint(addr, err); text != said {
			said = text
			c.o.Log.Warn("replication interrupted", "master", addr, "err", err)
		}
		if c.pause(ctx, wait) {
			wait = againFirst
			continue
		}
		wait = min(2*wait, againMost)
	}
}

func (c *Client) addr() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.master
}

// pause waits, and tells whether the master has changed meanwhile.
func (c *Client) pause(ctx context.Context, d time.Duration) (moved bool) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-c.moved:
		return true
	}
	return false
}

// follow copies from one master until the connection ends.
func (c *Client) follow(ctx context.Context, addr string) error {
	conn, err := c.o.Dial(ctx, addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	c.mu.Lock()
	same := c.master == addr
	c.conn = conn
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.conn = nil
		c.mu.Unlock()
		c.active.Store(false)
	}()
	if !same || ctx.Err() != nil {
		return errors.New("the master has changed")
	}
	l := &link{c: c, st: c.o.Store, conn: conn, addr: addr, quit: ctx.Done()}
	return l.run()
}

// ClientStatus is how replication goes, as the slave sees it.
type ClientStatus struct {
	Master              string
	End                 int64
	PerSecond           int64
	Busiest             int64 // bytes in the second that had most
	LastRead, LastWrite int64 // ms
	Active              bool
	MasterEnd           int64 // when it was last heard of; -1 while that is not known
	Behind              int64 // bytes, -1 likewise
	// Late is how much older the last message here is than the master's last one; 0 if nothing is missing, or that is not known.
	Late time.Duration
}

// Status collects it.
func (c *Client) Status() ClientStatus {
	_, end := c.o.Store.Bounds()
	s := ClientStatus{
		Master: c.addr(), End: end, PerSecond: c.meter.perSecond(c.o.Now()), Busiest: c.meter.busiest(), LastRead: c.lastRead.Load(), LastWrite: c.lastWrite.Load(),
		Active: c.active.Load(), MasterEnd: c.mastersEnd.Load(), Behind: -1,
	}
	if s.MasterEnd < 0 {
		return s
	}
	s.Behind = max(s.MasterEnd-end, 0)
	if last, theirs := c.o.Store.LastStoreTime(), c.mastersTime.Load(); s.Behind > 0 && last > 0 && theirs > last {
		s.Late = time.Duration(theirs-last) * time.Millisecond
	}
	return s
}
