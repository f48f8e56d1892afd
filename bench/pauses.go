package bench

import (
	"cmp"
	"slices"
	"time"
)

// Pause is a time in which nothing that was to leave then was answered at once: a stretch of messages with delays of more than pauseFrom.
type Pause struct {
	At      time.Time     `json:"at"`      // the intended time of the first of them
	Length  time.Duration `json:"len_ns"`  // to that of the last
	Longest time.Duration `json:"most_ns"` // the highest delay among them
}

// pauseFrom is a delay that makes a pause, and how long there must be none for the next pause to be another one.
const pauseFrom = 20 * time.Millisecond

// mostPauses is how many a connection keeps: whoever has more has one problem, not many pauses.
const mostPauses = 1000

type pause struct{ from, to, most time.Duration } // since the run's start

// paused notes a delay; it comes roughly in the order of the intended times.
func (t *tally) paused(due, delay time.Duration) {
	if n := len(t.pauses); n > 0 && due <= t.pauses[n-1].to+pauseFrom && due >= t.pauses[n-1].from-pauseFrom {
		p := &t.pauses[n-1]
		p.from, p.to, p.most = min(p.from, due), max(p.to, due), max(p.most, delay)
	} else if n < mostPauses {
		t.pauses = append(t.pauses, pause{due, due, delay})
	}
}

// joinPauses makes one list of what all connections have met.
func joinPauses(start time.Time, all []pause) []Pause {
	slices.SortFunc(all, func(a, b pause) int { return cmp.Compare(a.from, b.from) })
	var joined []pause
	for _, p := range all {
		if n := len(joined); n > 0 && p.from <= joined[n-1].to+pauseFrom {
			last := &joined[n-1]
			last.to, last.most = max(last.to, p.to), max(last.most, p.most)
		} else {
			joined = append(joined, p)
		}
	}
	var out []Pause
	for _, p := range joined {
		out = append(out, Pause{At: start.Add(p.from), Length: p.to - p.from, Longest: p.most})
	}
	return out
}
