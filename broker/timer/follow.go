package timer

import (
	"fmt"
	"sync"

	"apogee/compat/body"
	"apogee/compat/fastjson"
)

// A slave's timer follows its master's (TimerMessageStore.isRunningEnqueue, isRunningDequeue): it enters what the master has entered, so
// that its wheel is ready, and delivers nothing. Its hand stands where the master's is: what is before that has been delivered. When it
// leads, it enters the rest of the timer topic first, and goes on from there.

// orders is what others want of the run loop.
type orders struct {
	mu     sync.Mutex // guards what follows; a leaf
	follow bool
	master checkpoint
	fresh  bool // master has not been looked at
}

// following is what the run loop knows of its master.
type following struct {
	on     bool
	master checkpoint
	known  bool // there is a master checkpoint
}

// Follow has the timer follow, or lead. A timer leads unless it is told otherwise.
func (s *Service) Follow(on bool) {
	s.orders.mu.Lock()
	s.orders.follow = on
	s.orders.mu.Unlock()
	s.wake()
}

// TakeOver tells how far the master is: the answer to GET_TIMER_CHECK_POINT.
func (s *Service) TakeOver(text []byte) error {
	var c checkpoint
	if err := c.parse(text); err != nil {
		return err
	}
	s.orders.mu.Lock()
	s.orders.master, s.orders.fresh = c, true
	s.orders.mu.Unlock()
	s.wake()
	return nil
}

// Version is the data version of the checkpoint.
func (s *Service) Version() body.DataVersion { return s.saver.checkpoint().version }

// ParseVersion is the data version in an answer to GET_TIMER_CHECK_POINT.
func ParseVersion(text []byte) (body.DataVersion, error) {
	var c checkpoint
	err := c.parse(text)
	return c.version, err
}

// TakeOverMetrics tells what waits at the master, for each topic: the answer to GET_TIMER_METRICS.
func (s *Service) TakeOverMetrics(text []byte) error {
	var t body.TimerMetrics
	if err := fastjson.Unmarshal(text, &t); err != nil {
		return fmt.Errorf("timer metrics: %w", err)
	}
	s.metrics.adopt(&t)
	return nil
}

func (s *Service) wake() {
	select {
	case s.nudge <- struct{}{}:
	default:
	}
}

// obey does what was ordered since the last time.
func (s *Service) obey() {
	s.orders.mu.Lock()
	on, cp, fresh := s.orders.follow, s.orders.master, s.orders.fresh
	s.orders.fresh = false
	s.orders.mu.Unlock()
	f := &s.following
	if on && !f.on {
		s.opts.Log.Info("timer follows its master", "off", s.queueOffset.Load(), "read", s.read)
		f.on, f.known = true, false
		if s.due != nil { // what was delivered of the slot comes again, should this broker lead again
			s.read, s.due = s.due.time, nil
			s.findNext()
		}
	}
	if fresh && f.on {
		f.master, f.known = cp, true
		s.goTo(s.wheel.floor(cp.read))
		s.changed()
	}
	if !on && f.on {
		f.on = false
		s.opts.Log.Info("timer leads", "off", s.queueOffset.Load(), "read", s.read, "end", s.opts.Store.MaxOffset(Topic, 0))
		s.lead()
	}
}

// goTo moves the hand to where the master's is, back too: a master that was killed delivers again what it did not note.
func (s *Service) goTo(read int64) {
	if read == s.read {
		return
	}
	s.read = max(read, s.write-(slotsTotal-blankSlots)*s.opts.Precision)
	s.findNext()
	s.readTime.Store(min(s.read, s.write))
}

// lead has everything entered that is there, before anything is delivered, so that cancellations are known. Of what is not entered yet, the
// master has delivered what was due.
func (s *Service) lead() {
	f := &s.following
	s.look = look{}
	s.repeat.catchUp = s.opts.Store.MaxOffset(Topic, 0)
	if f.known && s.repeat.until < f.master.queue && f.master.queue > s.queueOffset.Load() {
		s.repeat.until, s.repeat.read = f.master.queue, s.wheel.floor(f.master.read)
	}
	s.changed()
}

// enterable is how many messages may be entered from an offset on.
func (s *Service) enterable(off int64) int32 {
	f := &s.following
	switch {
	case !f.on:
		return enterCount
	case !f.known:
		return 0
	}
	return int32(max(0, min(enterCount, f.master.queue-off)))
}
