package stats

import (
	"sync"
	"time"
)

// SamplePeriod is how often Sample is due.
const SamplePeriod = 10 * time.Second

// How the three windows are sampled (StatsItem): a point every period, and so many points kept. The beats of hours and days are those
// of the broker, not of the item, so what an item counts shows in the hour at the next full ten minutes, and in the day at the next hour.
const (
	minutePeriod, minutePoints = 10 * time.Second, 7
	hourPeriod, hourPoints     = 10 * time.Minute, 7
	dayPeriod, dayPoints       = time.Hour, 25
)

// beats says which windows a sample is for.
type beats struct{ minute, hour, day bool }

// metronome keeps the beats of one broker.
type metronome struct{ minute, hour, day int64 }

// earlyTick is how much too early a tick of the sampler may be, in ms.
const earlyTick = 500

// next says what is due. The first call starts the beats of hours and days without sampling them. A clock that was put back starts a
// beat anew: to wait until it is where it was would be to show no news for so long.
func (m *metronome) next(ms int64) beats {
	if m.hour == 0 {
		m.minute, m.hour, m.day = ms-minutePeriod.Milliseconds(), ms, ms
	}
	due := func(last *int64, period time.Duration) bool {
		if passed := ms - *last; passed >= 0 && passed < period.Milliseconds()-earlyTick {
			return false
		}
		*last = ms
		return true
	}
	return beats{due(&m.minute, minutePeriod), due(&m.hour, hourPeriod), due(&m.day, dayPeriod)}
}

// counts is what a counter says: a sum, and how many things it is the sum of.
type counts struct{ value, times int64 }

func (c *counts) add(o counts) {
	c.value += o.value
	c.times += o.times
}

// series is the windows of a counter.
type series struct {
	mu     sync.Mutex // guards the windows
	minute window
	hour   window
	day    window
}

func (s *series) sample(ms int64, c counts, due beats) {
	if c.times == 0 {
		return // nothing has happened yet; the first point then is a zero one period back
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if due.minute {
		s.minute.take(ms, c, minutePeriod, minutePoints)
	}
	if due.hour {
		s.hour.take(ms, c, hourPeriod, hourPoints)
	}
	if due.day {
		s.day.take(ms, c, dayPeriod, dayPoints)
	}
}

// view is zero for a series that has not begun.
func (s *series) view() View {
	if s == nil {
		return View{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return View{Minute: s.minute.sum(), Hour: s.hour.sum(), Day: s.day.sum()}
}

// window is the last samples of a counter, oldest first.
type window struct{ points []point }

type point struct {
	ms int64
	counts
}

// take adds a point. Before the first it puts a zero one period back, so that a window has a start.
func (w *window) take(ms int64, c counts, period time.Duration, keep int) {
	if len(w.points) == 0 {
		w.points = append(make([]point, 0, keep+1), point{ms: ms - period.Milliseconds()})
	}
	w.points = append(w.points, point{ms, c})
	if len(w.points) > keep {
		w.points = append(w.points[:0], w.points[1:]...)
	}
}

// sum is what came between the window's ends (StatsItem.computeStatsData).
func (w *window) sum() Sum {
	if len(w.points) == 0 {
		return Sum{}
	}
	first, last := w.points[0], w.points[len(w.points)-1]
	s := Sum{Sum: last.value - first.value, Times: last.times - first.times}
	if d := last.ms - first.ms; d > 0 {
		s.TPS = float64(s.Sum) * 1000 / float64(d)
	}
	if s.Times > 0 {
		s.Average = float64(s.Sum) / float64(s.Times)
	}
	return s
}

// Sum is what one window says.
type Sum struct {
	Sum, Times   int64
	TPS, Average float64
}

// View is the three windows of one statistic.
type View struct{ Minute, Hour, Day Sum }
