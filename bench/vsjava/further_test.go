package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"apogee/bench"
)

func TestRise(t *testing.T) {
	for _, row := range []struct {
		costs      []float64
		up, spread float64
	}{
		{[]float64{2, 2, 2}, 1, 1},
		{[]float64{8, 4, 5}, 1.25, 2}, // it falls first: only what comes after the fall is a rise
		{[]float64{4, 8, 2}, 2, 4},
		{[]float64{4, 2, 1}, 0.5, 4},
		{[]float64{3}, 0, 0},
		{nil, 0, 0},
		{[]float64{3, 0}, 0, 0},
	} {
		if up, spread := rise(row.costs); up != row.up || spread != row.spread {
			t.Errorf("%v rise by %v and spread by %v, want %v and %v", row.costs, up, spread, row.up, row.spread)
		}
	}
}

func TestFlatVerdict(t *testing.T) {
	f := flatRow{What: "queues", Owed: flatRise}
	for i, cost := range []float64{4, 5, 4.5} {
		f.add(i+1, results{Apogee: []bench.Result{{BrokerCPU: cost}}, Java: []bench.Result{{BrokerCPU: 50}}}, cpu.of)
	}
	f.judge()
	if f.Verdict != met || f.Rise != 1.25 {
		t.Errorf("%+v", f)
	}
	f.add(9, results{Apogee: []bench.Result{{BrokerCPU: 5.1}}}, cpu.of)
	if f.judge(); f.Verdict != missed {
		t.Errorf("%+v", f)
	}
	r := report{Flat: []flatRow{f}}
	for _, want := range []string{"| queues | Apogee | 1: 4.00, 2: 5.00, 3: 4.50, 9: 5.10 | 1.27 | 1.27 | **missed** |", "| | Java 5.5.0 | 1: 50.0, 2: 50.0, 3: 50.0 |"} {
		if text := r.markdown(); !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestRowOfARise(t *testing.T) {
	four, five, fifty := 4.0, 5.0, 50.0
	f := flatRow{Owed: flatRise, Points: []flatPoint{{N: 1, Apogee: &four, Java: &four}, {N: 9, Apogee: &five, Java: &fifty}, {N: 99, Apogee: &five}}}
	f.judge()
	if r := f.row("topics"); *r.Apogee != 1.25 || *r.Java != 12.5 || r.Ratio != nil || r.Verdict != met {
		t.Errorf("%+v", r)
	}
}

func TestRowsStandInTheOrderOfTheIssue(t *testing.T) {
	r := report{Rows: []row{{Load: "else"}, {Load: "route queries"}, {Load: "tail at 10,000/s"}, {Load: "send 4 KiB"}, {Load: "idle broker"}, {Load: "idle connections"}, {Load: "send 1 KiB, 16 connections"}}}
	text := r.markdown()
	at := 0
	for _, want := range []string{"send 1 KiB, 16", "send 4 KiB", "tail", "idle broker", "idle conn", "route", "else"} {
		i := strings.Index(text, "| "+want)
		if i < at {
			t.Errorf("%q at %d, after %d:\n%s", want, i, at, text)
		}
		at = i
	}
}

func TestPerDelivery(t *testing.T) {
	if got := perDelivery(&bench.Result{BrokerCPU: 30, Messages: 100, Delivered: 1000}); got != 3 {
		t.Errorf("%v a delivery, want 3", got)
	}
	if got := perDelivery(&bench.Result{BrokerCPU: 30, Messages: 100}); got != 0 {
		t.Errorf("%v a delivery of none", got)
	}
}

func run1(maximum time.Duration) bench.Result {
	return bench.Result{Rate: 1000, Behind: 2, Send: &bench.Latency{P50: time.Millisecond, P99: 2 * time.Millisecond, P999: 3 * time.Millisecond, Maximum: maximum}}
}

func TestStalls(t *testing.T) {
	const ms = time.Millisecond
	for _, row := range []struct {
		apogee, java time.Duration
		want         string
	}{
		{49 * ms, 1 * ms, met}, {51 * ms, 40 * ms, missed}, {80 * ms, 90 * ms, met}, {80 * ms, 79 * ms, missed},
	} {
		r := newLatencyRow("x", results{Apogee: []bench.Result{run1(ms), run1(row.apogee)}, Java: []bench.Result{run1(row.java)}}, nil)
		if r.Verdict != row.want || r.Apogee.Maximum != float64(row.apogee)/1e6 || r.Apogee.Late != 4 {
			t.Errorf("%v beside %v: %+v", row.apogee, row.java, r)
		}
	}
	r := report{Latency: []latencyRow{newLatencyRow("it rains", results{Apogee: []bench.Result{run1(9 * ms)}, Java: []bench.Result{run1(9 * ms)}}, map[string][]string{javaName: {"a", "b"}})}}
	for _, want := range []string{"| it rains | Apogee | 1,000 | 1.00 | 2.00 | 3.00 | 9.00 | 2 | met |", "|  | Java 5.5.0 (a; b) | 1,000 |"} {
		if text := r.markdown(); !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestTrend(t *testing.T) {
	row := steadyRow{Broker: "apogee", Rate: 10_000}
	for i := range 101 {
		m := int64(100e6) + int64(i)*1e5
		if i < 5 {
			m = 400e6 // while it starts
		}
		row.Samples = append(row.Samples, sample{At: time.Duration(i) * time.Minute, Memory: bench.Memory{Anonymous: m}})
	}
	got := row.trend(func(m bench.Memory) int64 { return m.Anonymous })
	if got.first != 400 || got.last != 110 || got.most != 400 || math.Abs(got.slope-6) > 1e-6 {
		t.Errorf("%+v, want a slope of 6 MB an hour", got)
	}
	r := report{Steady: []steadyRow{row}}
	if text, want := r.markdown(), "| apogee | anonymous | 400 | 110 | 400 | 6.0 | 1h40m0s |"; !strings.Contains(text, want) {
		t.Errorf("no %q in\n%s", want, text)
	}
	if zero := (&steadyRow{}).trend(func(m bench.Memory) int64 { return m.Anonymous }); zero != (trend{}) {
		t.Errorf("%+v of no samples", zero)
	}
}

func TestQuietHour(t *testing.T) {
	if got := quietHour(time.Date(2026, 1, 1, 15, 30, 0, 0, time.UTC)); got != "03" {
		t.Errorf("%s is far from 15:30", got)
	}
}

func TestSections(t *testing.T) {
	seen := map[string]bool{}
	for _, g := range groups() {
		for _, s := range g.sections {
			if seen[s.name] || s.run == nil {
				t.Errorf("section %s cannot be chosen by its name, or does nothing", s.name)
			}
			seen[s.name] = true
		}
	}
	if len(seen) < 25 {
		t.Errorf("%d sections", len(seen))
	}
}

func TestHeldVerdict(t *testing.T) {
	for _, row := range []struct {
		asked, files int
		alive        float64
		want         string
	}{
		{manyConnections, 100_000, manyConnections, met},
		{manyConnections, 100_000, manyConnections - 1, missed},
		{1_000, 100_000, 1_000, missed},
		{19_800, 20_000, 19_800, met}, // all that the machine lets a process have
		{19_800, 20_000, 19_799, missed},
		{1_000, 20_000, 1_000, missed},
	} {
		r := row2([]float64{row.alive}, nil, nil)
		r.judge(true, owed{})
		if r.heldVerdict(row.asked, row.files); r.Verdict != row.want || !strings.Contains(r.Owed, "20,000") {
			t.Errorf("%v alive of %d with %d files: %s, %s, want %s", row.alive, row.asked, row.files, r.Owed, r.Verdict, row.want)
		}
	}
}

func TestAgeLeavesTheLastSegments(t *testing.T) {
	x := withSegments(t, t.TempDir(), 5)
	dir := filepath.Join(x.storeDir(), "commitlog")
	if err := age(x, 2); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		st, err := os.Stat(filepath.Join(dir, fmt.Sprintf("%020d", i*segmentBytes)))
		if err != nil {
			t.Fatal(err)
		}
		if old := time.Since(st.ModTime()) > time.Hour; old != (i < 3) {
			t.Errorf("segment %d is old: %v", i, old)
		}
	}
	if err := os.Remove(filepath.Join(dir, fmt.Sprintf("%020d", 0))); err != nil {
		t.Fatal(err)
	}
	if first, last := segments(x); first != 1 || last != 4 || x.logBytes() != 4 {
		t.Errorf("segments %d to %d with %d bytes, want 1 to 4", first, last, x.logBytes())
	}
	if err := age(x, 9); err != nil {
		t.Error(err)
	}
}
