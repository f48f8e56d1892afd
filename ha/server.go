package ha

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"apogee/store"
)

// ServerOptions make a Server.
type ServerOptions struct {
	Store  func() *store.Store // asked after Listen only: the store's options name the gate, which is the server's
	Config func() Config
	Policy Policy
	Now    func() time.Time
	Log    *slog.Logger
}

// Server is a master's side: it listens, and sends the log to whoever asks for it.
type Server struct {
	o    ServerOptions
	acks Acks

	listener net.Listener
	peers    atomic.Pointer[[]*peer] // immutable
	push     atomic.Int64            // the furthest report of any slave (Java push2SlaveMaxOffset)
	done     sync.WaitGroup

	mu     sync.Mutex // guards changes of peers, and closed; a leaf
	closed bool
	turned int // connections turned away in a row, of which one is logged
}

// mostPeers bounds the connections: more are strangers.
const mostPeers = 64

// NewServer makes a server that nobody can reach yet; its gate works.
func NewServer(o ServerOptions) *Server {
	s := &Server{o: o}
	s.acks.server, s.acks.policy = s, o.Policy
	s.peers.Store(&[]*peer{})
	return s
}

// Acks is the gate for sync puts.
func (s *Server) Acks() *Acks { return &s.acks }

// Listen opens the port. The store has been started.
func (s *Server) Listen(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("port for replicas: %w", err)
	}
	s.listener = l
	s.done.Go(s.accept)
	return nil
}

// Addr is where it listens, nil before it does.
func (s *Server) Addr() net.Addr {
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

// acceptPause is how long an acceptor waits that has no descriptor left.
const acceptPause = 100 * time.Millisecond

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			s.o.Log.Error("replica not accepted", "err", err)
			pause := time.NewTimer(acceptPause)
			<-pause.C
			continue
		}
		s.take(conn)
	}
}

// take serves a connection, unless there are too many.
func (s *Server) take(conn net.Conn) {
	p := newPeer(s, conn)
	s.mu.Lock()
	old := *s.peers.Load()
	refused := s.closed || len(old) >= mostPeers
	if !refused {
		s.turned = 0
		list := append(old[:len(old):len(old)], p)
		s.peers.Store(&list)
		s.done.Add(2)
	} else {
		s.turned++
	}
	first := s.turned == 1 && !s.closed
	s.mu.Unlock()
	if refused {
		_ = conn.Close()
		if first {
			s.o.Log.Warn("too many connections for replicas", "addr", p.addr, "most", mostPeers)
		}
		return
	}
	go func() { defer s.done.Done(); p.read() }()
	go func() { defer s.done.Done(); p.send() }()
}

// leave forgets a connection that has ended.
func (s *Server) leave(p *peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(*s.peers.Load()), func(q *peer) bool { return q == p })
	s.peers.Store(&list)
}

// Looks of Settle at the replicas, and how long it waits for them at most: as long as a Java master leaves them when it stops.
const (
	settleLook = 5 * time.Millisecond
	settleMost = 3 * time.Second
)

// Settle waits until the slaves that keep up have all of the log, so that a master that stops leaves nothing behind that only it has.
// Nothing is put any more. Slaves that are far behind, or cannot be sent anything, are not waited for.
func (s *Server) Settle(ctx context.Context) {
	if len(s.behind()) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, settleMost)
	defer cancel()
	tick := time.NewTicker(settleLook)
	defer tick.Stop()
	for {
		late := s.behind()
		if len(late) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			s.o.Log.Warn("replicas do not have all of the log at the stop", "addrs", late, "end", s.end())
			return
		case <-tick.C:
		}
	}
}

// behind are the slaves in sync that lack something.
func (s *Server) behind() (addrs []string) {
	end, gap := s.end(), s.config().MaxGap
	for _, p := range *s.peers.Load() {
		if p.inSync(end, gap) && p.ack.Load() < end {
			addrs = append(addrs, p.addr)
		}
	}
	return addrs
}

// Close ends all connections and completes all who wait for replicas.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	peers := *s.peers.Load()
	s.mu.Unlock()
	if s.listener != nil {
		_ = s.listener.Close() // nothing was written to it
	}
	for _, p := range peers {
		p.end(errors.New("the broker stops"))
	}
	s.done.Wait()
	s.acks.close()
}

func (s *Server) config() Config { return s.o.Config() }

func (s *Server) now() time.Time { return s.o.Now() }

// end is the end of the log.
func (s *Server) end() int64 {
	_, end := s.o.Store().Bounds()
	return end
}

// reached is up to where need replicas hold the log, this one included; -1 if there are not as many.
func (s *Server) reached(need int, policy Policy) int64 {
	if need == All {
		if need = policy.Members(); need == 0 {
			return -1
		}
	}
	if need <= 1 { // whatever is put next, too: nobody reports when the log grows here
		return math.MaxInt64
	}
	var room [8]int64
	best := room[:0] // the need-1 furthest, furthest first
	for i, p := range *s.peers.Load() {
		ack := p.ack.Load()
		id := p.id.Load()
		if ack < 0 || !policy.Counts(id) || s.twice(i, id, ack) {
			continue
		}
		at, _ := slices.BinarySearchFunc(best, ack, func(a, b int64) int {
			switch {
			case a > b:
				return -1
			case a < b:
				return 1
			}
			return 0
		})
		best = slices.Insert(best, at, ack)
	}
	if len(best) < need-1 {
		return -1
	}
	return best[need-2]
}

// twice tells whether a replica has another connection that counts in place of the i-th: each disk counts once.
func (s *Server) twice(i int, id, ack int64) bool {
	if id < 0 {
		return false
	}
	for j, q := range *s.peers.Load() {
		if j == i || q.id.Load() != id {
			continue
		}
		if other := q.ack.Load(); other > ack || other == ack && j < i {
			return true
		}
	}
	return false
}

// inSync is how many replicas are not far behind, this one included.
func (s *Server) inSync() int {
	n, end, gap := 1, s.end(), s.config().MaxGap
	for _, p := range *s.peers.Load() {
		if p.inSync(end, gap) {
			n++
		}
	}
	return n
}

// Heard is how many replicas are sent the log and have been heard of within a time.
func (s *Server) Heard(within time.Duration) (n int) {
	since := s.now().Add(-within).UnixMilli()
	for i, p := range *s.peers.Load() {
		if ack := p.ack.Load(); ack >= 0 && !p.lost.Load() && p.heard.Load() >= since && !s.twice(i, p.id.Load(), ack) {
			n++
		}
	}
	return n
}

// Status is how replication goes, as the master sees it (Java HARuntimeInfo).
type Status struct {
	End    int64
	InSync int // slaves
	Slaves []SlaveStatus
}

// SlaveStatus is one connected slave.
type SlaveStatus struct {
	Addr      string
	ID        int64 // -1 if it does not say
	Ack       int64
	Behind    int64
	Age       time.Duration // of the oldest message that it lacks; 0 if that is not known
	InSync    bool
	PerSecond int64
	From      int64 // what is sent next
}

// Status collects it.
func (s *Server) Status() Status {
	st := Status{End: s.end()}
	gap, now := s.config().MaxGap, s.now()
	for _, p := range *s.peers.Load() {
		one := SlaveStatus{
			Addr: p.addr, ID: p.id.Load(), Ack: p.ack.Load(), InSync: p.inSync(st.End, gap), PerSecond: p.meter.perSecond(now), From: p.next.Load(),
		}
		one.Behind = st.End - one.Ack
		_, one.Age = p.lag(st.End, now)
		if one.InSync {
			st.InSync++
		}
		st.Slaves = append(st.Slaves, one)
	}
	return st
}

// Behind is how far the furthest slave is behind (Java slaveFallBehindMuch).
func (s *Server) Behind() int64 { return s.end() - s.push.Load() }
