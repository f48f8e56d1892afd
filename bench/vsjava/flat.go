package main

import (
	"fmt"
	"strings"

	"apogee/bench"
)

// flatRow shows how the cost of a message changes with the number of something.
type flatRow struct {
	tag
	What    string      `json:"what"`
	Points  []flatPoint `json:"points"`
	Owed    float64     `json:"owed"` // the rise may be this
	Rise    float64     `json:"rise"`
	Spread  float64     `json:"spread"`
	Verdict string      `json:"verdict"`
	Other   float64     `json:"other_load_cores"`
}

type flatPoint struct {
	N      int      `json:"n"`
	Apogee *float64 `json:"apogee,omitempty"`
	Java   *float64 `json:"java,omitempty"`
}

func (f *flatRow) add(n int, r results, of func(*bench.Result) float64) {
	f.Points = append(f.Points, flatPoint{N: n, Apogee: median(figures(r.Apogee, of)), Java: median(figures(r.Java, of))})
	f.Other = max(f.Other, r.other())
}

// judge finds the highest rise from a smaller number to any larger one, and the spread from the least to the most. What is owed is about
// the rise: that many connections share a wake-up, and one has it for itself, makes a cost fall as the work grows, and nobody minds that.
func (f *flatRow) judge() {
	f.Rise, f.Spread = rise(f.costs())
	f.Verdict = verdict(f.Rise > 0 && f.Rise <= f.Owed)
}

// row is the rise as a figure of the table.
func (f *flatRow) row(load string) row {
	out := row{Load: load, Figure: "largest rise of the broker's CPU a message", Other: f.Other}
	out.Runs.Apogee = []float64{f.Rise}
	var java []float64
	for _, p := range f.Points {
		if p.Java != nil {
			java = append(java, *p.Java)
		}
	}
	if up, _ := rise(java); up > 0 {
		out.Runs.Java = []float64{up}
	}
	o := owed{atMost: f.Owed, text: "flat within 25 %"}
	out.Owed = o.text
	out.judge(false, o)
	out.Ratio = nil // Java may not have gone all the steps
	return out
}

func (f *flatRow) costs() []float64 {
	var out []float64
	for _, p := range f.Points {
		if p.Apogee != nil {
			out = append(out, *p.Apogee)
		}
	}
	return out
}

// rise is the largest ratio of a cost to one before it, and the ratio of the largest to the smallest. 0 when there is nothing to compare.
func rise(costs []float64) (up, spread float64) {
	var least, most float64
	for i, c := range costs {
		if c <= 0 {
			return 0, 0
		}
		if i == 0 {
			least, most = c, c
			continue
		}
		up = max(up, c/least)
		least, most = min(least, c), max(most, c)
		spread = most / least
	}
	return up, spread
}

func (r *report) writeFlat(b *strings.Builder) {
	if len(r.Flat) == 0 {
		return
	}
	b.WriteString("\nCost grows with the work: broker CPU, µs a message, for ever more of something. Owed: no rise above 25 % from any step to a later one. " +
		"The steps (but for the sizes of the store, which only grows) are measured in turn, briefly and more than twice as often as other loads, and the median counts: the machine's own pace changes meanwhile.\n\n")
	b.WriteString("| what | broker | steps | largest rise | largest to smallest | | other load, cores |\n|---|---|---|---:|---:|---|---:|\n")
	for _, f := range r.Flat {
		var apogee, java []string
		for _, p := range f.Points {
			if p.Apogee != nil {
				apogee = append(apogee, fmt.Sprintf("%s: %s", thousands(int64(p.N)), number(p.Apogee)))
			}
			if p.Java != nil {
				java = append(java, fmt.Sprintf("%s: %s", thousands(int64(p.N)), number(p.Java)))
			}
		}
		fmt.Fprintf(b, "| %s | Apogee | %s | %.2f | %.2f | %s | %.2f |\n", f.What, strings.Join(apogee, ", "), f.Rise, f.Spread, emphasize(f.Verdict), f.Other)
		if len(java) > 0 {
			fmt.Fprintf(b, "| | Java 5.5.0 | %s | | | | |\n", strings.Join(java, ", "))
		}
	}
}
