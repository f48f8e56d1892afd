package bench

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestScheduleCountsWhatIsDue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		begin := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "begin"))
		s := newSchedule(begin, rapid.IntRange(1, 2_000_000).Draw(t, "rate"))
		i := rapid.IntRange(0, 50_000_000).Draw(t, "i")
		at := s.at(i)
		if n := s.before(at); n > i || n < i-1 { // two messages may fall on one nanosecond at most
			t.Errorf("%d messages before the time of %d", n, i)
		}
		if n := s.before(at + 1); n <= i {
			t.Errorf("%d messages until the time of %d", n, i)
		}
		if s.before(begin) != 0 || s.before(begin-1) != 0 {
			t.Error("messages before the beginning")
		}
		wake := s.wake(i)
		if wake < at || wake-at >= max(1, s.tick) || s.tick > 0 && (wake-begin)%s.tick != 0 {
			t.Errorf("message %d of %v is looked for at %v with ticks of %v", i, at, wake, s.tick)
		}
	})
}

func TestFewMessagesLeaveEachAtItsTime(t *testing.T) {
	for rate, want := range map[int]time.Duration{1: 0, 10_000: 0, exactly: 0, exactly + 1: tick, 1_000_000: tick} {
		if s := newSchedule(0, rate); s.tick != want {
			t.Errorf("ticks of %v at %d/s, want %v", s.tick, rate, want)
		}
	}
}

func TestSplitMakesWritesEven(t *testing.T) {
	for n := 1; n < 5*together; n++ {
		least, most, writes := n, 0, 0
		for left := n; left > 0; writes++ {
			k := split(left)
			if k < 1 || k > left || k > together {
				t.Fatalf("%d of %d", k, left)
			}
			least, most = min(least, k), max(most, k)
			left -= k
		}
		if most-least > 1 || writes != (n+together-1)/together {
			t.Errorf("%d in %d writes of %d to %d", n, writes, least, most)
		}
	}
}

func TestPausesOfAllConnectionsAreJoined(t *testing.T) {
	const ms = time.Millisecond
	var a, b tally
	for _, due := range []time.Duration{100, 101, 119, 500} {
		a.paused(due*ms, 30*ms)
	}
	b.paused(130*ms, 45*ms)
	b.paused(128*ms, 47*ms) // an answer that came later
	b.paused(900*ms, 21*ms)
	start := time.Unix(1000, 0)
	got := joinPauses(start, append(a.pauses, b.pauses...))
	want := []Pause{{start.Add(100 * ms), 30 * ms, 47 * ms}, {start.Add(500 * ms), 0, 30 * ms}, {start.Add(900 * ms), 0, 21 * ms}}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for i := range 2 * mostPauses {
		a.paused(time.Duration(i)*time.Second, 30*ms)
	}
	if len(a.pauses) != mostPauses {
		t.Errorf("%d pauses are kept", len(a.pauses))
	}
}
