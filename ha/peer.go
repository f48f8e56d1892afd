package ha

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// peer is a connected slave, as its master knows it.
type peer struct {
	s     *Server
	conn  net.Conn
	addr  string
	watch *time.Timer // ends a connection that is silent
	meter meter

	id    atomic.Int64 // brokerId of an Apogee slave, else -1
	ack   atomic.Int64 // its log has the master's bytes up to here; -1 while that is not known
	next  atomic.Int64 // what is sent next: no ack can be beyond
	heard atomic.Int64 // ms: when it last said anything
	lost  atomic.Bool  // it cannot be sent anything: its log does not end inside of this one
	start chan int64   // where sending begins; one
	notes bool         // it wants to know how far its master is; set before sending begins

	once sync.Once
	why  error // of the end; set before gone is closed
	gone chan struct{}

	// The reader's own.
	words    reports
	greeting greeting
	begun    bool // sending has been asked for
}

func newPeer(s *Server, conn net.Conn) *peer {
	p := &peer{s: s, conn: conn, addr: conn.RemoteAddr().String(), start: make(chan int64, 1), gone: make(chan struct{})}
	p.id.Store(-1)
	p.ack.Store(-1)
	p.next.Store(-1)
	return p
}

// end closes the connection, once.
func (p *peer) end(why error) {
	p.once.Do(func() {
		p.why = why
		close(p.gone)
		_ = p.conn.Close() // whoever reads or writes hears of it
	})
}

func (p *peer) inSync(end, gap int64) bool {
	ack := p.ack.Load()
	return ack >= 0 && end-ack < gap && !p.lost.Load()
}

// lag is how many bytes of the log a slave lacks, and how old the oldest message among them is; 0 if that cannot be told.
func (p *peer) lag(end int64, now time.Time) (behind int64, age time.Duration) {
	ack := p.ack.Load()
	if behind = end - max(ack, 0); behind <= 0 {
		return 0, 0
	}
	if at := p.s.o.Store().StoreTimeAt(max(ack, 0)); at != 0 {
		age = max(now.Sub(time.UnixMilli(at)).Truncate(time.Millisecond), 0)
	}
	return behind, age
}

var errSilent = errors.New("nothing was heard of it for haHousekeepingInterval")

// read takes the slave's reports until the connection ends.
func (p *peer) read() {
	p.s.o.Log.Info("replica connects", "addr", p.addr)
	p.watch = time.AfterFunc(p.s.config().Housekeeping, func() { p.end(errSilent) })
	defer p.watch.Stop()
	var buf [4096]byte
	for {
		n, err := p.conn.Read(buf[:])
		if n > 0 {
			p.watch.Reset(p.s.config().Housekeeping)
			p.heard.Store(p.s.now().UnixMilli())
			if err := p.words.each(buf[:n], p.word); err != nil {
				p.end(err)
				break
			}
			p.s.acks.Advance()
		}
		if err != nil {
			p.end(err)
			break
		}
	}
	p.s.leave(p)
	p.said("replica has gone")
}

// said logs the end of the connection.
func (p *peer) said(what string) {
	why := p.why
	if errors.Is(why, io.EOF) {
		why = errors.New("it closed the connection")
	}
	behind, age := p.lag(p.s.end(), p.s.now())
	p.s.o.Log.Info(what, "addr", p.addr, "id", p.id.Load(), "ack", p.ack.Load(), "behind", behind, "oldest", age, "why", why)
}

// word takes one word of a slave.
func (p *peer) word(w int64) error {
	if !p.begun && p.greeting.wants(w) {
		return p.greet(w)
	}
	if !p.begun {
		return p.request(w)
	}
	return p.report(w)
}

// request is the first report of a slave that does not greet.
func (p *peer) request(off int64) error {
	begin, end := p.s.o.Store().Bounds()
	from := off
	switch {
	case off < 0:
		return fmt.Errorf("request for %d: %w", off, errProtocol)
	case off == 0: // Java's slaves begin with the last file
		size := p.s.o.Store().LogFileSize()
		from = end - end%size
	case off > end:
		p.s.o.Log.Error("replica is ahead of its master: one of the two has lost messages, or it was another's; it gets nothing until its store is deleted",
			"addr", p.addr, "replica", off, "master", end)
		p.lost.Store(true)
	case off < begin:
		p.s.o.Log.Error("replica is behind the oldest file of its master; it gets nothing until its store is deleted",
			"addr", p.addr, "replica", off, "oldest", begin)
		p.lost.Store(true)
	}
	p.s.o.Log.Info("replica is sent the log", "addr", p.addr, "request", off, "from", from, "end", end)
	p.begin(from)
	if off > 0 {
		return p.report(off)
	}
	p.ack.Store(0)
	return nil
}

// begin starts the sender.
func (p *peer) begin(from int64) {
	p.begun = true
	p.next.Store(from)
	p.start <- from
}

// report is how far the slave has got. What it has not been sent does not count, and what it had it keeps.
func (p *peer) report(off int64) error {
	if p.lost.Load() {
		return nil
	}
	if sent := p.next.Load(); off > sent {
		return fmt.Errorf("report of %d, where %d was sent: %w", off, sent, errProtocol)
	}
	if off <= p.ack.Load() {
		return nil
	}
	p.ack.Store(off)
	for {
		push := p.s.push.Load()
		if off <= push || p.s.push.CompareAndSwap(push, off) {
			return nil
		}
	}
}
