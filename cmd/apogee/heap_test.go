package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
)

func TestPercentOf(t *testing.T) {
	for live, want := range map[uint64]int{0: 400, 4 << 20: 400, 8 << 20: 400, 16 << 20: 200, 32 << 20: 100, 64 << 20: 50, 1 << 30: 50} {
		if got := percentOf(live); got != want {
			t.Errorf("%d MiB live: %d %%, want %d", live>>20, got, want)
		}
	}
}

// The percentage follows what is live, collection after collection.
func TestHeapIsTuned(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	stop := tuneHeap()
	defer stop()
	live := make([]byte, 40<<20)
	now := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	for metrics.Read(now); now[0].Value.Uint64() == heapPercent; metrics.Read(now) { // cleanups run some time after a collection
		runtime.GC()
	}
	if got, most := int(now[0].Value.Uint64()), percentOf(uint64(len(live))); got > most {
		t.Errorf("%d %%, want at most the %d of what is surely live", got, most)
	}
	runtime.KeepAlive(live)
}
