package ha

import (
	"sync"
	"time"

	"apogee/store"
)

// Acks is the gate that puts wait at until enough replicas have them (store.Replicas; Java GroupTransferService, which looks at one
// request after the other on a thread). A report completes all it is enough for, on the goroutine that read it.
type Acks struct {
	server *Server
	policy Policy

	mu      sync.Mutex // guards all below; a leaf
	waiting []waiter   // by the end of their records; [head:] is live
	head    int
	timer   *time.Timer // runs whenever somebody waits
	closed  bool
}

type waiter struct {
	next     int64
	deadline int64 // ms
	need     int
	c        store.Completion
}

// Admit refuses what the policy refuses.
func (a *Acks) Admit() error {
	_, err := a.policy.Required(a.server.inSync())
	return err
}

// Await implements store.Replicas. c hears PutOK once enough replicas hold the log up to next, FlushSlaveTimeout after slaveTimeout: the
// message is stored then, but nobody knows on how many disks.
func (a *Acks) Await(next int64, c store.Completion) {
	need, _ := a.policy.Required(a.server.inSync())
	if a.server.reached(need, a.policy) >= next {
		c.Complete(store.PutOK)
		return
	}
	timeout := a.server.config().SlaveTimeout
	w := waiter{next: next, deadline: a.server.now().Add(timeout).UnixMilli(), need: need, c: c}
	if !a.add(w, timeout) {
		c.Complete(store.FlushSlaveTimeout)
		return
	}
	if a.server.reached(need, a.policy) >= next { // a report has come meanwhile, and may have seen nobody waiting
		a.Advance()
	}
}

// add puts a waiter in its place: near the end, since puts come nearly in the order of the log. False if the gate is closed.
func (a *Acks) add(w waiter, timeout time.Duration) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return false
	}
	if a.head > 0 && a.head*2 >= len(a.waiting) { // under steady load it is never empty
		n := copy(a.waiting, a.waiting[a.head:])
		clear(a.waiting[n:])
		a.waiting, a.head = a.waiting[:n], 0
	}
	a.waiting = append(a.waiting, w)
	for i := len(a.waiting) - 1; i > a.head && a.waiting[i-1].next > w.next; i-- {
		a.waiting[i], a.waiting[i-1] = a.waiting[i-1], w
	}
	if a.timer == nil {
		a.timer = time.AfterFunc(timeout, a.expire)
	}
	return true
}

// Advance completes those that have been waiting for what replicas have by now.
func (a *Acks) Advance() {
	a.mu.Lock()
	idle := a.head == len(a.waiting)
	a.mu.Unlock()
	if idle {
		return
	}
	need, to := 0, int64(-1)
	a.settle(func(w *waiter) (store.PutStatus, bool) {
		if w.need != need {
			need, to = w.need, a.server.reached(w.need, a.policy)
		}
		return store.PutOK, w.next <= to
	})
}

// expire completes those whose time is up.
func (a *Acks) expire() {
	now, written := a.server.now().UnixMilli(), a.server.end()
	a.settle(func(w *waiter) (store.PutStatus, bool) {
		if w.next > written { // the log could not be written
			return store.UnknownError, w.deadline <= now
		}
		return store.FlushSlaveTimeout, w.deadline <= now
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.head == len(a.waiting) || a.closed {
		a.timer = nil
		return
	}
	a.timer.Reset(max(time.Duration(a.waiting[a.head].deadline-now), 1) * time.Millisecond)
}

// settle completes waiters from the front for as long as which says so. which is called under the lock, completions are not.
func (a *Acks) settle(which func(*waiter) (store.PutStatus, bool)) {
	var done [64]store.Completion
	var status [64]store.PutStatus
	for {
		a.mu.Lock()
		n := 0
		for n < len(done) && a.head < len(a.waiting) {
			w := &a.waiting[a.head]
			s, ok := which(w)
			if !ok {
				break
			}
			done[n], status[n] = w.c, s
			*w = waiter{}
			a.head++
			n++
		}
		a.mu.Unlock()
		for i := range done[:n] {
			done[i].Complete(status[i])
		}
		if n < len(done) {
			return
		}
	}
}

// close completes all who wait, and lets nobody wait any more.
func (a *Acks) close() {
	a.mu.Lock()
	a.closed = true
	if a.timer != nil {
		a.timer.Stop()
	}
	a.mu.Unlock()
	a.settle(func(*waiter) (store.PutStatus, bool) { return store.FlushSlaveTimeout, true })
}
