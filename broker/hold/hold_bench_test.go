package hold

import (
	"testing"
	"time"

	"apogee/store"
)

// BenchmarkParkWake is one long poll that an arrival ends, with others held beside it.
func BenchmarkParkWake(b *testing.B) {
	for name, others := range map[string]int{"alone": 0, "among10000": 10_000} {
		b.Run(name, func(b *testing.B) {
			table := New(Options{})
			defer table.Close()
			for i := range others {
				w := newWaiter("other", int32(i), 0)
				table.Park(&w.Entry, i%100, time.Hour)
			}
			w := newWaiter("t", 0, 5)
			batch := []store.Arrival{arrival("t", 0, 6, 0)}
			b.ReportAllocs()
			for b.Loop() {
				w.Entry = Entry{Waiter: w, Topic: "t", Offset: 5}
				table.Park(&w.Entry, "conn", time.Hour)
				table.Arrive(batch)
				<-w.woken
			}
		})
	}
}

// BenchmarkArriveIdle is what an arrival costs the dispatcher that nobody waits for.
func BenchmarkArriveIdle(b *testing.B) {
	table := New(Options{})
	defer table.Close()
	w := newWaiter("other", 0, 0)
	table.Park(&w.Entry, "conn", time.Hour)
	batch := []store.Arrival{arrival("t", 0, 6, 0)}
	b.ReportAllocs()
	for b.Loop() {
		table.Arrive(batch)
	}
}
