package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"apogee/bench"
)

// compared is one load on both.
type compared struct {
	Name   string         `json:"name"`
	Apogee []bench.Result `json:"apogee"`
	Java   []bench.Result `json:"java"`
}

type report struct {
	Date    string     `json:"date"`
	Command string     `json:"command"`
	Commit  string     `json:"commit,omitempty"`
	Machine string     `json:"machine"`
	JVM     string     `json:"jvm"`
	Runs    int        `json:"runs"`
	Starts  []started  `json:"starts"`
	Loads   []compared `json:"loads"`
}

// metric is one figure of a result; better says which way is good.
type metric struct {
	name   string
	of     func(*bench.Result) float64
	more   bool // more is better
	format string
}

var metrics = []metric{
	{"broker CPU, us a message", func(r *bench.Result) float64 { return r.BrokerCPU }, false, "%.2f"},
	{"messages/s", func(r *bench.Result) float64 { return r.Rate }, true, "%.0f"},
	{"p50, ms", func(r *bench.Result) float64 {
		return percentile(r, func(l *bench.Latency) time.Duration { return l.P50 })
	}, false, "%.3f"},
	{"p99, ms", func(r *bench.Result) float64 {
		return percentile(r, func(l *bench.Latency) time.Duration { return l.P99 })
	}, false, "%.3f"},
	{"p99.9, ms", func(r *bench.Result) float64 {
		return percentile(r, func(l *bench.Latency) time.Duration { return l.P999 })
	}, false, "%.3f"},
	{"maximum, ms", func(r *bench.Result) float64 {
		return percentile(r, func(l *bench.Latency) time.Duration { return l.Maximum })
	}, false, "%.3f"},
	{"memory, MiB anonymous", anonymous, false, "%.0f"},
	{"other load, cores", func(r *bench.Result) float64 { return r.OtherLoad }, false, "%.2f"},
}

// percentile is of the delivery where there is one, else of the sends, else of the pulls.
func percentile(r *bench.Result, f func(*bench.Latency) time.Duration) float64 {
	for _, l := range []*bench.Latency{r.Delivery, r.Send, r.Pull} {
		if l != nil {
			return float64(f(l)) / float64(time.Millisecond)
		}
	}
	return 0
}

func anonymous(r *bench.Result) float64 {
	if r.Memory == nil {
		return 0
	}
	return float64(r.Memory.Anonymous) / (1 << 20)
}

func median(results []bench.Result, f func(*bench.Result) float64) float64 {
	var v []float64
	for i := range results {
		v = append(v, f(&results[i]))
	}
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// ratio says how many times better Apogee is; below 1 it is worse.
func ratio(apogee, java float64, more bool) string {
	if apogee == 0 || java == 0 {
		return ""
	}
	x := java / apogee
	if more {
		x = apogee / java
	}
	return fmt.Sprintf("%.2f x", x)
}

func (r *report) print(w io.Writer) {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s on %s, commit %s, JVM %s, median of %d runs each, in turns.\n", r.Command, r.Machine, r.Commit, r.JVM, r.Runs)
	b.WriteString("The ratio says how many times better Apogee is; below 1 it is worse. Percentiles are of delivery in latency runs, else of the answer.\n\n")
	b.WriteString("| load | figure | Apogee | Java 5.5.0 | ratio |\n|---|---|---:|---:|---:|\n")
	for _, c := range r.Loads {
		for _, m := range metrics {
			a, j := median(c.Apogee, m.of), median(c.Java, m.of)
			x := ratio(a, j, m.more)
			if m.name == "other load, cores" {
				x = ""
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", c.Name, m.name, fmt.Sprintf(m.format, a), fmt.Sprintf(m.format, j), x)
		}
	}
	r.printStarts(&b)
	_, _ = io.WriteString(w, b.String())
}

func (r *report) printStarts(b *strings.Builder) {
	if len(r.Starts) != 2 {
		return
	}
	a, j := r.Starts[0], r.Starts[1]
	for _, m := range []struct {
		name string
		of   func(started) float64
	}{
		{"to the first acknowledged send, ms", func(s started) float64 { return float64(s.FirstSend) / float64(time.Millisecond) }},
		{"CPU used by then, ms", func(s started) float64 { return float64(s.CPU) / float64(time.Millisecond) }},
		{"idle memory, MiB anonymous", func(s started) float64 { return float64(s.Idle.Anonymous) / (1 << 20) }},
		{"idle memory, MiB resident", func(s started) float64 { return float64(s.Idle.Resident) / (1 << 20) }},
	} {
		fmt.Fprintf(b, "| start | %s | %.0f | %.0f | %s |\n", m.name, m.of(a), m.of(j), ratio(m.of(a), m.of(j), false))
	}
}
