package faults

import (
	"sync/atomic"
	"time"
)

// stalls measures how long this machine keeps goroutines waiting: a bound in time can be held to no better than that.
type stalls struct{ most atomic.Int64 }

const stallTick = 2 * time.Millisecond

// watch measures until the function that it returns is called.
func (s *stalls) watch() (stop func()) {
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTimer(stallTick)
		for {
			began := time.Now()
			select {
			case <-end:
				return
			case <-tick.C:
			}
			if d := int64(time.Since(began) - stallTick); d > s.most.Load() {
				s.most.Store(d)
			}
			tick.Reset(stallTick)
		}
	}()
	return func() {
		close(end)
		<-done
	}
}

// longest allows for several waits in a row, on the way of one message.
func (s *stalls) longest() time.Duration {
	return 10*time.Duration(s.most.Load()) + 50*time.Millisecond
}
