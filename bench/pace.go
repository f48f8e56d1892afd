package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"sync"
	"time"
)

// paced sends at fixed times and reads answers on a goroutine of its own. Each message bears its intended time, so that a stall of
// the broker, or of this program, counts for every message that should have left meanwhile (no coordinated omission).
type paced struct {
	*sender
	slots slots
	taken []int
	ended chan error
}

var errConnectionEnded = errors.New("a producer's connection ended before its time")

// slots are the free ones of a producer. Its reader gives them back many at a time.
type slots struct {
	mu   sync.Mutex
	some sync.Cond // there are free ones again, or there will be none
	free []int
	over bool
}

// take moves up to n free slots into out; it waits until there is one. None come when the connection has ended.
func (s *slots) take(out []int, n int) []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.free) == 0 && !s.over {
		s.some.Wait()
	}
	rest := max(0, len(s.free)-n)
	out = append(out, s.free[rest:]...)
	s.free = s.free[:rest]
	return out
}

func (s *slots) give(slots []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, slots...)
	s.some.Signal()
}

// end lets nobody wait for slots any longer.
func (s *slots) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.some.Broadcast()
}

// read takes answers and gives their slots back.
func (p *paced) read() error {
	defer p.slots.end()
	for {
		if err := p.fill(); err != nil {
			return err
		}
		if err := p.answers(); err != nil {
			return err
		}
		p.slots.give(p.free)
		p.free = p.free[:0]
	}
}

// schedule says when each message of a run is to leave, and when those that are due do leave.
//
// Up to exactly messages a second each leaves at its own time. Above that the sender wakes up once in a tick and writes what has become
// due since, to a few connections in turn, for a wake-up and a write for each message cost this program more than the broker, with which
// it shares the machine. A message then leaves up to a tick after its time, half a tick on average. Its delay counts from its own time
// all the same, so that this half a tick is part of every delay that is reported, for whatever broker; and a broker meets
// requests in clusters, as it does from clients that send for many users.
type schedule struct {
	begin    time.Duration // the time of message 0
	interval float64       // nanoseconds between two
	tick     time.Duration // 0: each by itself
}

const (
	exactly = 20_000
	tick    = 250 * time.Microsecond
	// together is how many messages leave with one write at most.
	together = 64
	// late is how long after its time a message has to leave for it to be counted.
	late = time.Millisecond
)

func newSchedule(begin time.Duration, rate int) schedule {
	s := schedule{begin: begin, interval: float64(time.Second) / float64(rate)}
	if rate > exactly {
		s.tick = tick
	}
	return s
}

// at is the intended time of a message.
func (s *schedule) at(i int) time.Duration {
	return s.begin + time.Duration(float64(i)*s.interval)
}

// wake is when to look for messages to send, the next one of which is i.
func (s *schedule) wake(i int) time.Duration {
	at := s.at(i)
	if s.tick > 0 {
		at = s.begin + (at-s.begin+s.tick-1)/s.tick*s.tick
	}
	return at
}

// before is the number of messages whose time is before t.
func (s *schedule) before(t time.Duration) int {
	n := max(0, int(math.Ceil(float64(t-s.begin)/s.interval)))
	for n > 0 && s.at(n-1) >= t { // rounding
		n--
	}
	for s.at(n) < t {
		n++
	}
	return n
}

// split is how many of n due messages go with the next write, if all writes shall be about as large.
func split(n int) int {
	writes := (n + together - 1) / together
	return (n + writes - 1) / writes
}

// pace sends each message at its time, or as soon after it as the schedule and this thread's turns allow.
func (l *latencyRun) pace(ctx context.Context, begin, from, to time.Duration, measured func()) error {
	sleep, done := newSleeper(l.start)
	defer done()
	s := newSchedule(begin, l.run.opts.Rate)
	first, end := s.before(from), s.before(to) // those between count
	for i, turn := 0, 0; i < end; {
		sleep(s.wake(i))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if measured != nil && i >= first {
			measured()
			measured = nil
		}
		due := min(s.before(time.Since(l.start)+1), end)
		if measured != nil {
			due = min(due, first)
		}
		for i < due {
			n := split(due - i)
			if i >= first {
				l.sent += int64(n)
				l.behind += int64(max(0, min(n, s.before(time.Since(l.start)-late)-i)))
			}
			if err := l.producers[turn%len(l.producers)].sendAll(&s, i, n, i >= first); err != nil {
				return err
			}
			i += n
			turn++
		}
	}
	return nil
}

// sendAll writes n messages from number first on; the body of each begins with its intended time.
func (p *paced) sendAll(s *schedule, first, n int, measured bool) error {
	now := time.Now()
	born, epoch := uint64(now.UnixMilli()), uint64(p.start.UnixNano())
	for n > 0 {
		p.taken = p.slots.take(p.taken[:0], n)
		if len(p.taken) == 0 {
			return errConnectionEnded
		}
		for k, slot := range p.taken {
			at := s.at(first + k)
			f := p.request(slot, k, born)
			body := f[len(f)-p.run.opts.Body:]
			binary.BigEndian.PutUint64(body, uint64(at))
			binary.BigEndian.PutUint64(body[8:], epoch)
			binary.BigEndian.PutUint64(body[16:], uint64(now.Sub(p.start)))
			p.began[slot], p.measured[slot] = int64(at), measured
		}
		if _, err := p.Write(p.made(len(p.taken))); err != nil {
			return err
		}
		first += len(p.taken)
		n -= len(p.taken)
	}
	return nil
}
