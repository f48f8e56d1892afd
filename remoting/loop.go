package remoting

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudwego/netpoll"
	"golang.org/x/sys/unix"

	"apogee/internal/clock"
)

// How connections use netpoll.
//
// netpoll's own Connection reads whatever comes into a buffer without limit, whether or not a handler keeps up, and cannot be told
// to stop (spec: libraries.md, rules for the network). Its pollers work one descriptor at a time, so that what many connections
// bring at the same moment cannot share one write of the commit log; and a poller that finds nothing yields to the scheduler before it
// sleeps, which wakes a second thread to look for work: three quarters of what a message costs at 10,000/s (docs/performance.md).
//
// What netpoll has besides is an epoll loop that calls Accept of a Listener when the listener's descriptor is readable. Accept may
// return nothing, a descriptor is a descriptor, and an epoll set is one, too: readable when one of its members is. So the connections
// are members of a set of ours, the set stands as a Listener in netpoll, and its Accept works through what is ready. It stays for
// as long as there is traffic, up to a bound. The listening sockets are netpoll's to accept from; they are members, too, but only for the set
// to see that somebody knocks, and to return at once.
//
// The members are edge triggered: a connection is queued when something comes, and worked by one worker at a time. The goroutine of
// netpoll is the first worker. Others help when the queue is long; they sleep while one is enough.

// set is the connections that the event loop reads. There is one for the process, as there is one netpoll.
type set struct {
	epfd   int
	events []unix.EpollEvent // of the goroutine that waits
	first  *worker
	pacer  pacer
	began  time.Time

	requests atomic.Int64 // worked since the pacer was told

	mu      sync.Mutex // guards what follows, and the loop's part of each member
	slots   []slot     // by the number that an event carries
	unused  []int32
	queue   []*polled // the members that wait for a worker, from head on
	head    int
	resting []*worker // helpers that sleep
	perTurn int       // requests that a turn brings, a moving average in sixteenths
}

// slot is a member's place. A number is used again, so an event names the generation that it means.
type slot struct {
	p      *polled
	listen bool // a listening socket
	gen    int32
}

const (
	setEvents  = 512                    // taken at once
	stay       = 100 * time.Millisecond // at most, before netpoll has its turn if nobody knocks
	linger     = 2                      // ms without anything, after which the waiting is netpoll's
	yieldBelow = 8                      // requests of a turn after which the loop lets a goroutine run that goes on with one; after more it would cost each more than it gains
	helpAbove  = 48                     // requests that are expected of the queue before a helper is woken for it
)

// theSet makes the set and lends it to netpoll, once.
var theSet = sync.OnceValues(func() (*set, error) {
	if err := netpoll.Configure(netpoll.Config{PollerNum: 1}); err != nil {
		return nil, err
	}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create", err)
	}
	s := &set{epfd: fd, events: make([]unix.EpollEvent, setEvents), began: clock.Now()}
	s.first = newWorker(s)
	processors := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(processors + 1) // the loop keeps one while it waits
	for range processors - 1 {
		w := newWorker(s)
		s.resting = append(s.resting, w)
		go w.help()
	}
	go func() { _ = watch(fd, s.work) }()
	return s, nil
})

// watch calls ready on netpoll's loop whenever fd is readable, until ready returns false or the other side hangs up.
func watch(fd int, ready func() bool) error {
	loop, err := netpoll.NewEventLoop(nil)
	if err != nil {
		return err
	}
	w := &watched{fd: fd, ready: ready, loop: loop}
	err = loop.Serve(w)
	w.leaving.Lock() // Serve returns in the middle of Shutdown; the loop has done with fd only at its end
	return err
}

// watched is a descriptor as a netpoll.Listener. It is taken off the loop only by the loop itself, within Accept: netpoll keeps no
// reference to a listener but the one inside the kernel, so a removal from elsewhere could leave the loop with an event for memory
// that is gone.
type watched struct {
	fd      int
	ready   func() bool
	loop    netpoll.EventLoop
	leaving sync.Mutex // held while the loop lets go of fd
}

func (w *watched) Fd() int { return w.fd }

// Accept is called by the event loop when there is something to read.
func (w *watched) Accept() (net.Conn, error) {
	if !w.ready() {
		w.leaving.Lock()
		// Takes fd off the loop and lets Serve return; there is nothing that it could wait for.
		_ = w.loop.Shutdown(context.Background())
		w.leaving.Unlock()
	}
	return nil, nil
}

func (w *watched) Close() error   { return nil } // the descriptor is not netpoll's
func (w *watched) Addr() net.Addr { return nil }

// work takes what is ready and works it, until nothing comes any more or it has stayed long enough.
func (s *set) work() bool {
	for until := s.since() + stay; ; {
		n, err := rawWait(s.epfd, s.events, linger)
		if n > 0 {
			knocked := s.ready(s.events[:n])
			s.first.workAll()
			if s.first.s.handed {
				s.first.s.handed = false
				if s.requests.Load() <= yieldBelow {
					runtime.Gosched()
				}
			}
			if knocked {
				return true
			}
		}
		now := s.since()
		if n == 0 && !errors.Is(err, unix.EINTR) || now >= until {
			return true
		}
		if s.pacer.pause(now, int(s.requests.Swap(0))) {
			rawSleep(pacerPause)
		}
	}
}

// since is a monotonic time.
func (s *set) since() time.Duration { return clock.Now().Sub(s.began) }

// add makes p a member.
func (s *set) add(p *polled) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.queued, p.again = false, false
	i, err := s.enterLocked(p.fd, slot{p: p})
	p.slot = i
	return err
}

// listen has the set see that there is something to accept; it does not accept. The returned function ends that.
func (s *set) listen(fd int) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.enterLocked(fd, slot{listen: true})
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.leaveLocked(fd, i)
	}, err
}

func (s *set) enterLocked(fd int, sl slot) (int32, error) {
	i := int32(len(s.slots))
	if n := len(s.unused); n > 0 {
		i, s.unused = s.unused[n-1], s.unused[:n-1]
	} else {
		s.slots = append(s.slots, slot{})
	}
	sl.gen = s.slots[i].gen
	s.slots[i] = sl
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET, Fd: i, Pad: sl.gen}
	if err := unix.EpollCtl(s.epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		s.freeLocked(i)
		return i, os.NewSyscallError("epoll_ctl", err)
	}
	return i, nil
}

// leaveLocked takes a descriptor out that is still its owner's.
func (s *set) leaveLocked(fd int, i int32) {
	_ = unix.EpollCtl(s.epfd, unix.EPOLL_CTL_DEL, fd, nil)
	s.freeLocked(i)
}

func (s *set) freeLocked(i int32) {
	s.slots[i] = slot{gen: s.slots[i].gen + 1}
	s.unused = append(s.unused, i)
}

// ready queues the members that events name, and wakes a helper if that is much. It tells whether there is something to accept.
func (s *set) ready(events []unix.EpollEvent) (knocked bool) {
	s.mu.Lock()
	for i := range events {
		e := &events[i]
		sl := &s.slots[e.Fd]
		switch {
		case sl.gen != e.Pad || sl.p == nil:
			knocked = knocked || sl.gen == e.Pad && sl.listen
			continue
		case e.Events&^unix.EPOLLIN != 0:
			sl.p.hup.Store(true)
		}
		if sl.p.queued {
			sl.p.again = true
			continue
		}
		sl.p.queued = true
		s.queue = append(s.queue, sl.p)
	}
	w := s.helperLocked()
	s.mu.Unlock()
	w.wake()
	return knocked
}

// helperLocked takes a helper out if the queue is worth it.
func (s *set) helperLocked() *worker {
	waiting, n := len(s.queue)-s.head, len(s.resting)
	if n == 0 || waiting < 2 || waiting*s.perTurn < helpAbove*16 {
		return nil
	}
	w := s.resting[n-1]
	s.resting = s.resting[:n-1]
	return w
}

// next is the member to work next, nil when there is none.
func (s *set) next() *polled {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.head == len(s.queue) {
		clear(s.queue)
		s.queue, s.head = s.queue[:0], 0
		return nil
	}
	p := s.queue[s.head]
	s.queue[s.head] = nil
	s.head++
	return p
}

// rest puts a helper to rest unless there is work.
func (s *set) rest(w *worker) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.head < len(s.queue) {
		return false
	}
	s.resting = append(s.resting, w)
	return true
}

// worked gives back what a worker has worked. Members that have to leave are returned, in the front of members.
func (s *set) worked(members []*polled, requests int) []*polled {
	left := members[:0]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.perTurn += (requests*16/max(1, len(members)) - s.perTurn) / 4
	for _, p := range members {
		switch {
		case p.leaves():
			// Nothing else knows the member now, so the descriptor is still its own.
			s.leaveLocked(p.fd, p.slot)
			left = append(left, p)
		case p.more || p.again || p.stalled:
			p.more, p.again = false, false
			s.queue = append(s.queue, p)
		default:
			p.queued = false
		}
	}
	return left
}

// worker works members, one after the other, and ends their batches together.
type worker struct {
	set       *set
	s         scratch
	call      chan struct{}
	members   []*polled
	attending []Attendant
}

func newWorker(s *set) *worker {
	w := &worker{set: s, call: make(chan struct{}, 1)}
	w.s.init()
	w.s.buf = make([]byte, readSize)
	return w
}

func (w *worker) wake() {
	if w != nil {
		w.call <- struct{}{} // there is room: it was resting
	}
}

// help is a helper's goroutine.
func (w *worker) help() {
	for range w.call {
		for {
			w.workAll()
			if w.set.rest(w) {
				break
			}
		}
	}
}

// endAfter is how many requests are worked at most before their batches end: enough to make one write of the commit log for all
// cheap, few enough for them to be still in the processor's cache, and for the answers not to wait long.
const endAfter = 128

// workAll works until the queue is empty.
func (w *worker) workAll() {
	for {
		p := w.set.next()
		if p == nil {
			if len(w.members) == 0 {
				return
			}
			w.end() // which may queue some of them again
			continue
		}
		w.attend(p.c.ep.attendant)
		w.members = append(w.members, p)
		p.turn(&w.s)
		if w.s.worked >= endAfter {
			w.end()
		}
	}
}

func (w *worker) attend(a Attendant) {
	if a == nil {
		return
	}
	for _, have := range w.attending {
		if have == a {
			return
		}
	}
	a.Begin()
	w.attending = append(w.attending, a)
}

// end ends the batches: what handlers have put off first, then the answers leave, then what has become possible by it is done.
func (w *worker) end() {
	if len(w.members) == 0 {
		return
	}
	w.s.end()
	for _, p := range w.members {
		p.endBatch()
	}
	for i, a := range w.attending {
		a.End()
		w.attending[i] = nil
	}
	w.attending = w.attending[:0]
	left := w.set.worked(w.members, w.s.worked)
	w.set.requests.Add(int64(w.s.worked))
	w.s.worked = 0
	for _, p := range left {
		go p.aside(w.set) // counted with its connection
	}
	clear(w.members)
	w.members = w.members[:0]
}
