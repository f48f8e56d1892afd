package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

// The heap may grow by heapGrowth before it is collected, but by no more than heapPercent of what is live, and no less than
// heapLeast. Little is live in a quiet broker (messages are in mapped files): a fixed percentage would either collect that all the time,
// or let the 60 MiB that forty thousand queues take grow to 300.
const (
	heapGrowth  = 32 << 20
	heapPercent = 400
	heapLeast   = 50
)

// tuneHeap keeps the collector's percentage in step with what is live, until the returned function is called.
func tuneHeap() (stop func()) {
	t := new(heapTuner)
	t.percent = heapPercent
	debug.SetGCPercent(t.percent)
	t.arm()
	return func() { t.stopped.Store(true) }
}

type heapTuner struct {
	percent int
	stopped atomic.Bool
}

// arm has the percentage looked at after the next collection: that is when the object below is found to be gone.
func (t *heapTuner) arm() {
	runtime.AddCleanup(&struct{ self *heapTuner }{t}, func(t *heapTuner) {
		if t.stopped.Load() {
			return
		}
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		t.adjust(live[0].Value.Uint64())
		t.arm()
	}, t)
}

func (t *heapTuner) adjust(live uint64) {
	want := percentOf(live)
	if d := want - t.percent; d > t.percent/10 || -d > t.percent/10 {
		t.percent = want
		debug.SetGCPercent(want)
	}
}

func percentOf(live uint64) int {
	return int(min(max(heapGrowth*100/max(live, 1), heapLeast), heapPercent))
}
