package stats

import (
	"sync"
	"time"
)

// Totals are counters of the store that only grow.
type Totals struct{ Put, Found, Miss, Transferred int64 }

// Rates turns totals into rates over the last 10, 60 and 600 seconds (StoreStatsService).
type Rates struct {
	mu      sync.Mutex // guards samples and next
	samples [rateSamples]rateSample
	n       int // samples taken so far
}

// RatePeriod is how often Sample is due.
const RatePeriod = time.Second

const rateSamples = 601 // 600 s and both ends

type rateSample struct {
	at     time.Time
	totals Totals
}

// Sample notes the totals.
func (r *Rates) Sample(now time.Time, t Totals) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.samples[r.n%rateSamples] = rateSample{now, t}
	r.n++
}

// RateView is each rate over 10, 60 and 600 s. Until so much time has passed, it is over the time that has.
type RateView struct{ Put, Found, Miss, Total, Transferred [3]float64 }

// View computes the rates.
func (r *Rates) View() RateView {
	r.mu.Lock()
	defer r.mu.Unlock()
	var v RateView
	if r.n < 2 {
		return v
	}
	last := r.samples[(r.n-1)%rateSamples]
	for i, span := range []int{10, 60, 600} {
		first := r.samples[(r.n-1-min(span, r.n-1, rateSamples-1))%rateSamples]
		secs := last.at.Sub(first.at).Seconds()
		if secs <= 0 {
			continue
		}
		rate := func(a, b int64) float64 { return float64(b-a) / secs }
		v.Put[i] = rate(first.totals.Put, last.totals.Put)
		v.Found[i] = rate(first.totals.Found, last.totals.Found)
		v.Miss[i] = rate(first.totals.Miss, last.totals.Miss)
		v.Total[i] = v.Found[i] + v.Miss[i]
		v.Transferred[i] = rate(first.totals.Transferred, last.totals.Transferred)
	}
	return v
}
