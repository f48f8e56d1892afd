package main

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"apogee/bench"
)

// row is one figure of the table: what both brokers reached, and what is owed.
type row struct {
	tag
	Load   string `json:"load"`
	Figure string `json:"figure"`
	// Medians of the runs below; nil where there is no such figure.
	Apogee *float64 `json:"apogee,omitempty"`
	Java   *float64 `json:"java,omitempty"`
	Limit  *float64 `json:"limit,omitempty"` // what the machine did by itself in the same run
	// How many times better Apogee is; below 1 it is worse.
	Ratio   *float64 `json:"times_better,omitempty"`
	OfLimit *float64 `json:"part_of_limit,omitempty"` // median of the parts in each run
	More    bool     `json:"more_is_better,omitempty"`
	Owed    string   `json:"owed,omitempty"`
	Verdict string   `json:"verdict,omitempty"`
	Other   float64  `json:"other_load_cores"` // the highest of the runs
	Runs    runs     `json:"runs"`
}

// runs are the figures of each run in the order they were made.
type runs struct {
	Apogee []float64 `json:"apogee,omitempty"`
	Java   []float64 `json:"java,omitempty"`
	Limit  []float64 `json:"limit,omitempty"`
}

// The verdicts on a figure that is owed.
const (
	met    = "met"
	missed = "missed"
)

// owed is what a figure has to reach; the fields that are not zero count, and all of them have to be met.
type owed struct {
	better  float64 // so many times better than Java in the same run
	atMost  float64 // Apogee's own figure
	ofLimit float64 // part of what the machine does by itself
	text    string  // as it is said in the table
}

// part is a bound of processor time: at most 1/n of Java's.
func part(n int) owed { return owed{better: float64(n), text: fmt.Sprintf("≤ 1/%d of Java's", n)} }

// times is a bound of throughput.
func times(n int) owed { return owed{better: float64(n), text: fmt.Sprintf("≥ %d × Java's", n)} }

func atMost(limit float64, unit string) owed {
	return owed{atMost: limit, text: fmt.Sprintf("≤ %s%s", strings.TrimSuffix(strings.TrimSuffix(fmt.Sprintf("%.2f", limit), "0"), ".0"), unit)}
}

// figure is how a row gets its number out of a result.
type figure struct {
	name string
	of   func(*bench.Result) float64
	more bool // more is better
}

// newRow makes the row of one figure. A figure that could not be had, which is not above zero, never meets what is owed.
func newRow(load string, f figure, r results, o owed) row {
	out := row{Load: load, Figure: f.name, Owed: o.text, Other: r.other()}
	out.Runs = runs{Apogee: figures(r.Apogee, f.of), Java: figures(r.Java, f.of), Limit: figures(r.Limit, f.of)}
	out.judge(f.more, o)
	return out
}

func figures(results []bench.Result, of func(*bench.Result) float64) []float64 {
	var out []float64
	for i := range results {
		out = append(out, of(&results[i]))
	}
	return out
}

// judge fills in medians, ratio and verdict from the runs.
func (r *row) judge(more bool, o owed) {
	r.More = more
	r.Apogee, r.Java, r.Limit = median(r.Runs.Apogee), median(r.Runs.Java), median(r.Runs.Limit)
	if positive(r.Apogee) && positive(r.Java) {
		x := *r.Java / *r.Apogee
		if more {
			x = 1 / x
		}
		r.Ratio = &x
	}
	var parts []float64
	for i := range min(len(r.Runs.Apogee), len(r.Runs.Limit)) {
		if r.Runs.Limit[i] > 0 {
			parts = append(parts, r.Runs.Apogee[i]/r.Runs.Limit[i])
		}
	}
	r.OfLimit = median(parts)
	r.Verdict = o.verdict(r)
}

func (o owed) verdict(r *row) string {
	if o.better == 0 && o.atMost == 0 && o.ofLimit == 0 {
		return ""
	}
	ok := positive(r.Apogee)
	ok = ok && (o.better == 0 || r.Ratio != nil && *r.Ratio >= o.better)
	ok = ok && (o.atMost == 0 || *r.Apogee <= o.atMost)
	ok = ok && (o.ofLimit == 0 || r.OfLimit != nil && *r.OfLimit >= o.ofLimit)
	return verdict(ok)
}

func verdict(ok bool) string {
	if ok {
		return met
	}
	return missed
}

func positive(x *float64) bool { return x != nil && *x > 0 && !math.IsInf(*x, 0) && !math.IsNaN(*x) }

// median of the runs; nil of none.
func median(v []float64) *float64 {
	if len(v) == 0 {
		return nil
	}
	s := slices.Sorted(slices.Values(v))
	m := s[len(s)/2]
	if len(s)%2 == 0 {
		m = (s[len(s)/2-1] + m) / 2
	}
	return &m
}

// number writes three digits that count, and thousands with commas.
func number(x *float64) string {
	if x == nil {
		return ""
	}
	v := *x
	switch a := math.Abs(v); {
	case a >= 1000:
		return thousands(int64(math.Round(v)))
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 0.1 || v == 0:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

func thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
