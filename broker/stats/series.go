package stats

import (
	"sync"
	"sync/atomic"
	"time"
)

// SamplePeriod is how often Sample is due.
const SamplePeriod = 10 * time.Second

// How the three windows are sampled (StatsItem): a point every period, and so many points kept.
const (
	minutePeriod, minutePoints = 10 * time.Second, 7
	hourPeriod, hourPoints     = 10 * time.Minute, 7
	dayPeriod, dayPoints       = time.Hour, 25
)

// series is a counter and its windows.
type series struct {
	value, times atomic.Int64 // sum, and how many things it is the sum of

	mu     sync.Mutex // guards the windows
	minute window
	hour   window
	day    window
}

func (s *series) add(v, times int64) {
	s.value.Add(v)
	s.times.Add(times)
}

func (s *series) sample(ms int64) {
	v, n := s.value.Load(), s.times.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	if v == 0 && len(s.minute.points) == 0 {
		return // nothing has happened yet; the first point then is a zero one period back
	}
	s.minute.take(ms, v, n, minutePeriod, minutePoints)
	s.hour.take(ms, v, n, hourPeriod, hourPoints)
	s.day.take(ms, v, n, dayPeriod, dayPoints)
}

func (s *series) view() View {
	s.mu.Lock()
	defer s.mu.Unlock()
	return View{Minute: s.minute.sum(), Hour: s.hour.sum(), Day: s.day.sum()}
}

// window is the last samples of a counter, oldest first.
type window struct{ points []point }

type point struct{ ms, value, times int64 }

// earlyTick is how much too early a tick of the sampler may be, in ms.
const earlyTick = 500

// take adds a point if one is due. Before the first it puts a zero one period back, so that a window has a start.
func (w *window) take(ms, value, times int64, period time.Duration, keep int) {
	p := period.Milliseconds()
	if len(w.points) == 0 {
		w.points = append(make([]point, 0, keep+1), point{ms: ms - p})
	} else if last := w.points[len(w.points)-1]; ms-last.ms < p-earlyTick {
		return
	}
	w.points = append(w.points, point{ms, value, times})
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
