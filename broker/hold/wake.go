package hold

import (
	"math"
	"sync"
	"time"

	"apogee/remoting"
)

// chain is a list of entries that are to be woken, first come first.
type chain struct{ head, tail *Entry }

func (c *chain) add(e *Entry, r Reason) {
	e.reason, e.wakeNext = r, nil
	if c.tail == nil {
		c.head = e
	} else {
		c.tail.wakeNext = e
	}
	c.tail = e
}

// wakeList hands entries to the wakers. It is as long as the number of held requests at most, so it needs no bound of its own.
type wakeList struct {
	mu     sync.Mutex // guards list and closed
	cond   sync.Cond
	list   chain
	closed bool

	attending int // who will look at the list soon: nobody needs to be woken for it
}

func (w *wakeList) init() { w.cond.L = &w.mu }

func (t *Table) put(c chain) {
	w := &t.wake
	if c.head == nil {
		return
	}
	w.mu.Lock()
	if w.closed { // the wakers may have ended; what was taken out while the table closed is woken here
		w.mu.Unlock()
		t.wakeAll(c.head)
		return
	}
	if w.list.tail == nil {
		w.list.head = c.head
	} else {
		w.list.tail.wakeNext = c.head
	}
	w.list.tail = c.tail
	attended := w.attending > 0
	w.mu.Unlock()
	if !attended {
		w.cond.Signal()
	}
}

// share is how many entries a waker takes at once; what is left, another one takes.
const share = 16

// take waits for entries; nil after close, when there are none left.
func (w *wakeList) take() *Entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.list.head == nil {
		if w.closed {
			return nil
		}
		w.cond.Wait()
	}
	first := w.cutLocked(share)
	if w.list.head != nil {
		w.cond.Signal()
	}
	return first
}

// cutLocked takes up to n entries off the front.
func (w *wakeList) cutLocked(n int) *Entry {
	first := w.list.head
	last := first
	for i := 1; i < n && last.wakeNext != nil; i++ {
		last = last.wakeNext
	}
	w.list.head, last.wakeNext = last.wakeNext, nil
	if w.list.head == nil {
		w.list.tail = nil
	}
	return first
}

// attended is how many entries an attendant wakes itself before it leaves the rest to the wakers.
const attended = 64

// Begin promises an End soon, by the same goroutine. Until then arrivals wake no waker: End does what has come together. With it
// an event loop saves the switch to another thread for each arrival, which costs more than the answer.
func (t *Table) Begin() {
	w := &t.wake
	w.mu.Lock()
	w.attending++
	w.mu.Unlock()
}

// End wakes what has come since Begin.
func (t *Table) End() {
	w := &t.wake
	w.mu.Lock()
	for n := 0; n < attended && w.list.head != nil; n += share {
		e := w.cutLocked(share)
		w.mu.Unlock()
		t.wakeAll(e)
		w.mu.Lock()
	}
	w.attending--
	rest := w.list.head != nil && w.attending == 0
	w.mu.Unlock()
	if rest {
		w.cond.Signal()
	}
}

// close lets the wakers end once the list is empty; false if it was closed before.
func (w *wakeList) close() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	was := w.closed
	w.closed = true
	w.cond.Broadcast()
	return !was
}

func (t *Table) runWaker() {
	for {
		e := t.wake.take()
		if e == nil {
			return
		}
		t.wakeAll(e)
	}
}

// wakeAll wakes a list; the answers to one connection leave together.
func (t *Table) wakeAll(e *Entry) {
	b := t.batches.Get().(*remoting.Batch)
	for e != nil {
		next := e.wakeNext
		e.wakeNext = nil
		// The entry leaves its owner's list here, before Wake may give it away: Drop walks that list.
		e.owner.unlink(e)
		e.owner = nil
		e.Waiter.Wake(e.reason, b)
		e = next
	}
	b.Flush()
	t.batches.Put(b)
}

// runTimer sleeps until the earliest deadline. Park nudges it when it parks an earlier one.
func (t *Table) runTimer() {
	timer := time.NewTimer(math.MaxInt64)
	defer timer.Stop()
	for {
		t.armed.Store(math.MaxInt64) // whatever is parked during the search nudges
		next := t.expire(t.now())
		t.armed.Store(next)
		if next == math.MaxInt64 {
			timer.Reset(math.MaxInt64)
		} else {
			timer.Reset(time.Duration(max(0, next-t.now())))
		}
		select {
		case <-timer.C:
		case <-t.nudge:
		case <-t.stop:
			return
		}
	}
}

// Expire wakes everything, as if its time were over: what is held would be better off elsewhere.
func (t *Table) Expire() { t.expire(math.MaxInt64) }

// expire wakes what is due at now and returns the earliest deadline of the rest.
func (t *Table) expire(now int64) int64 {
	next := int64(math.MaxInt64)
	var woken chain
	for i := range t.shards {
		s := &t.shards[i]
		if s.parked.Load() == 0 {
			continue
		}
		s.mu.Lock()
		for len(s.heap) > 0 && s.heap[0].deadline <= now {
			e := s.heap[0]
			t.removeLocked(s, e)
			woken.add(e, Expired)
		}
		if len(s.heap) > 0 {
			next = min(next, s.heap[0].deadline)
		}
		s.mu.Unlock()
	}
	t.put(woken)
	return next
}
