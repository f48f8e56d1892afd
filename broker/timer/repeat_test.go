package timer

import (
	"hash/maphash"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"apogee/store/record"
	"apogee/store/vfs"
)

// When messages were entered is written nowhere, so a timer that is made anew may not count on it: a message that was entered late and lies
// in the wheel is not lost, and one that was rolled comes once.
func TestRolledAndLateOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fs := newFakeStore(), newMem()
		var stopped atomic.Bool
		options := func(o *Options) {
			o.RollWindow = 10
			o.Switches = func() Switches { return Switches{StopEnqueue: stopped.Load()} }
		}
		run(t, s, fs, func(*Service) {
			s.send(t, "rolled", 200_000)
			s.send(t, "twice", 200_000)
			s.send(t, "twice", 200_000)
			time.Sleep(time.Second)
			stopped.Store(true)
			time.Sleep(time.Second)
			s.send(t, "late", 200_000)
			s.send(t, "late and near", 103_000)
			time.Sleep(98 * time.Second)
			stopped.Store(false)
			time.Sleep(4 * time.Second)
		}, options)
		if err := vfs.RemoveAll(fs, "store/timerlog"); err != nil {
			t.Fatal(err)
		}
		run(t, s, fs, func(*Service) { time.Sleep(5 * time.Minute) }, options)
		if got, want := s.bodies(), []string{"late", "late and near", "rolled", "twice", "twice"}; !slices.Equal(got, want) {
			t.Errorf("delivered %v, want %v", got, want)
		}
	})
}

// However long the broker was down, what became due meanwhile comes.
func TestLongStops(t *testing.T) {
	for _, days := range []int{3, 8, 11, 13, 15, 30} {
		synctest.Test(t, func(t *testing.T) {
			s, fs := newFakeStore(), newMem()
			run(t, s, fs, func(*Service) {
				s.send(t, "gone", 1000)
				s.send(t, "a", 5000)
				s.send(t, "cancelled", 5000)
				s.send(t, "cancel", 5000, PropCancel, "cancelled")
				s.send(t, "b", 100_000)
				time.Sleep(3500 * time.Millisecond)
			})
			time.Sleep(time.Duration(days) * 24 * time.Hour)
			s.send(t, "new", 5000)
			run(t, s, fs, func(*Service) { time.Sleep(time.Minute) })
			want := []string{"a", "b", "gone", "new"}
			if got := s.bodies(); !slices.Equal(got, want) {
				t.Errorf("%d days: delivered %v, want %v", days, got, want)
			}
		})
	}
}

// A slot that is still to be delivered is not given to another time, a turn of the wheel later.
func TestSlotsAreNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		var stopped atomic.Bool
		stopped.Store(true)
		run(t, s, newMem(), func(*Service) {
			s.send(t, "a", 5000)
			time.Sleep(slotCount * time.Second)
			s.send(t, "b", 5000)
			s.send(t, "c", 6000)
			time.Sleep(20 * time.Second)
			if got := s.delivered(); got != "" {
				t.Errorf("delivered %s", got)
			}
			stopped.Store(false)
			time.Sleep(time.Minute)
		}, func(o *Options) { o.Switches = func() Switches { return Switches{StopDequeue: stopped.Load()} } })
		if got := s.bodies(); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("delivered %v", got)
		}
	})
}

// What rolling changes does not count in what it leaves, nor does the order of the properties.
func TestOrigins(t *testing.T) {
	r := repeat{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
	of := func(body, props string) origin {
		return r.origin(&record.Header{Body: []byte(body), Properties: []byte(props)}, rollsOf([]byte(props)))
	}
	was := of("x", "a\x011\x02b\x012\x02")
	is := of("x", "TIMER_DEQUEUE_MS\x015\x02b\x012\x02TIMER_ROLL_TIMES\x011\x02a\x011\x02TIMER_ENQUEUE_MS\x014\x02__CRC32#\x011234567890\x02")
	if is.rolls--; was != is {
		t.Errorf("%v became %v", was, is)
	}
	for _, other := range []origin{of("y", "a\x011\x02b\x012\x02"), of("x", "a\x012\x02b\x011\x02"), of("x", "a\x011\x02")} {
		if other == was {
			t.Error("two messages look the same")
		}
	}
}
