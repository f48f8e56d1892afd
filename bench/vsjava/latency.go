package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"apogee/bench"
	"apogee/internal/testkit"
)

// latencyRow shows how long sends take at a fixed rate while something else goes on.
type latencyRow struct {
	tag
	Load    string         `json:"load"`
	Apogee  *latencyResult `json:"apogee,omitempty"`
	Java    *latencyResult `json:"java,omitempty"`
	Verdict string         `json:"verdict"`
	Other   float64        `json:"other_load_cores"`
}

// latencyResult are medians of the runs; the maximum is that of all of them.
type latencyResult struct {
	Rate    float64 `json:"messages_per_second"`
	P50     float64 `json:"p50_ms"`
	P99     float64 `json:"p99_ms"`
	P999    float64 `json:"p999_ms"`
	Maximum float64 `json:"max_ms"`
	Late    int64   `json:"late"` // sends that left more than 1 ms late, which this program or the machine is to blame for
	Note    string  `json:"note,omitempty"`
}

// stall is how long a send may take whatever Java does.
const stall = 50

func newLatencyRow(name string, r results, notes map[string][]string) latencyRow {
	out := latencyRow{Load: name, Other: r.other(), Apogee: latencyOf(r.Apogee, notes[apogeeName]), Java: latencyOf(r.Java, notes[javaName])}
	out.judge()
	return out
}

func latencyOf(list []bench.Result, notes []string) *latencyResult {
	if len(list) == 0 {
		return nil
	}
	of := func(f func(*bench.Latency) time.Duration) []float64 {
		return figures(list, func(r *bench.Result) float64 { return milliseconds(r, f) })
	}
	out := &latencyResult{
		Rate: *median(figures(list, throughput.of)), P50: *median(of(p50)), P99: *median(of(p99)), P999: *median(of(p999)),
		Note: strings.Join(notes, "; "),
	}
	for _, v := range of(maximum) {
		out.Maximum = max(out.Maximum, v)
	}
	for i := range list {
		out.Late += list[i].Behind
	}
	return out
}

// judge holds Apogee to: no stall above 50 ms that Java does not have.
func (l *latencyRow) judge() {
	l.Verdict = verdict(l.Apogee != nil && (l.Apogee.Maximum <= stall || l.Java != nil && l.Apogee.Maximum <= l.Java.Maximum))
}

func (r *report) writeLatency(b *strings.Builder) {
	if len(r.Latency) == 0 {
		return
	}
	b.WriteString("\nNo trade-off hidden: sends of 1 KiB at a fixed rate (open loop, each delay from the intended time), 16 connections. Owed: no maximum above 50 ms that Java does not have. ")
	b.WriteString(highestIs + "\n\n")
	b.WriteString("| while | broker | messages/s | p50, ms | p99, ms | p99.9, ms | maximum, ms | left late | | other load, cores |\n|---|---|---:|---:|---:|---:|---:|---:|---|---:|\n")
	for _, l := range r.Latency {
		line := func(load, who string, x *latencyResult, verdict, other string) {
			if x == nil {
				return
			}
			if x.Note != "" {
				who += " (" + x.Note + ")"
			}
			fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", load, who, number(&x.Rate), number(&x.P50), number(&x.P99), number(&x.P999),
				number(&x.Maximum), thousands(x.Late), verdict, other)
		}
		line(l.Load, "Apogee", l.Apogee, emphasize(l.Verdict), fmt.Sprintf("%.2f", l.Other))
		line("", "Java 5.5.0", l.Java, "", "")
	}
}

// openLoop are sends at a fixed rate that nobody consumes.
func (p *pair) openLoop(x *subject, rate float64) bench.Options {
	o := p.options(x)
	o.Topic, o.Connections, o.Rate, o.Groups = "RateTopic", 16, int(rate), -1
	return o
}

// highestIs says what highest finds.
const highestIs = "A broker's highest rate is what it and the load generator, which share the machine, keep up: the highest one at which 99 of 100 sends of 3 s are " +
	"answered within 50 ms, to a fortieth of what the broker reached with 16 × 64 in flight. Above 20,000/s the generator sends every 0.25 ms what has become due; " +
	"the eighth of a millisecond that this costs on average is part of the delays."

// The bounds of the search for the highest rate, as parts of what 16 × 64 in flight reached, and how often the rest is halved.
const (
	leastRate, mostRate = 0.3, 1.1
	halvings            = 5
	keptUp              = 50 * time.Millisecond
	probe               = 3 * time.Second
)

// highestRates makes sure that they are known.
func (p *pair) highestRates(ctx context.Context) error {
	for _, x := range p.subjects {
		if p.highest[x.name()] > 0 {
			continue
		}
		if p.peak[x.name()] == 0 {
			err := p.alone(x, func() error {
				res, err := bench.Send(ctx, p.options(x))
				p.peak[x.name()] = res.Rate
				return err
			})
			if err != nil {
				return err
			}
		}
		rate, err := searchRate(p.peak[x.name()], func(rate float64) (ok bool, err error) {
			err = p.alone(x, func() error {
				o := p.openLoop(x, rate)
				o.Duration = min(o.Duration, probe)
				res, err := bench.LatencyRun(ctx, o)
				ok = err == nil && res.Failed() == 0 && res.Send.Count > 0 && res.Send.P99 <= keptUp
				p.progress("%s at %s/s: p99 %.3f ms, %s left late, kept up: %v", x.name(), thousands(int64(rate)), milliseconds(&res, p99), thousands(res.Behind), ok)
				return err
			})
			return ok, err
		})
		if err != nil {
			return fmt.Errorf("highest rate of %s: %w", x.name(), err)
		}
		p.highest[x.name()] = rate
		p.progress("highest rate of %s: %s/s", x.name(), thousands(int64(rate)))
	}
	return p.refill(ctx)
}

// searchRate finds by bisection the highest rate that is kept up.
func searchRate(peak float64, keeps func(rate float64) (bool, error)) (float64, error) {
	low, high := leastRate*peak, mostRate*peak
	for range halvings {
		rate := (low + high) / 2
		ok, err := keeps(rate)
		if err != nil {
			return 0, err
		}
		if ok {
			low = rate
		} else {
			high = rate
		}
	}
	return low, nil
}

// latencyAt measures at a part of the highest rate of each broker. The same part is many times as many messages for Apogee as it is for Java.
func latencyAt(percent float64) func(context.Context, *pair) error {
	return loaded(fmt.Sprintf("nothing else, %.0f %% of each broker's highest rate", percent), func(p *pair, x *subject) float64 {
		return p.highest[x.name()] * percent / 100
	})
}

// latencyAlike measures both at the same rate, a part of Java's highest.
func latencyAlike(percent float64) func(context.Context, *pair) error {
	return loaded(fmt.Sprintf("nothing else, both at %.0f %% of Java's highest rate", percent), func(p *pair, _ *subject) float64 {
		return p.highest[javaName] * percent / 100
	})
}

// loaded measures at rates that come of the highest ones.
func loaded(name string, rate func(*pair, *subject) float64) func(context.Context, *pair) error {
	return func(ctx context.Context, p *pair) error {
		if err := p.prune(ctx); err != nil {
			return err
		}
		if err := p.highestRates(ctx); err != nil {
			return err
		}
		r, err := p.turns(ctx, name, func(ctx context.Context, x *subject, _ int) (bench.Result, error) {
			o := p.openLoop(x, rate(p, x))
			if x.isApogee() {
				o.Duration += p.length // a segment of 1 GB shall be among it
			}
			return bench.LatencyRun(ctx, o)
		}, nil)
		if err == nil {
			p.report.Latency = append(p.report.Latency, newLatencyRow(name, r, nil))
		}
		return err
	}
}

// Settings of the brokers that roll segments over and delete them while they are watched: small segments that may go after an hour, looked
// at each second, but deleted only when an operator says so. Which of them are older than that is up to age.
func segmentConf() testkit.Props {
	return testkit.Props{"mappedFileSizeCommitLog": fmt.Sprint(segmentBytes), "fileReservedTime": "1", "cleanResourceInterval": "1000"}
}

// age makes segments old that will not be written any more: all but the last few.
func age(x *subject, but int) error {
	names := x.logFiles()
	old := time.Now().Add(-100 * time.Hour) // more than any of the brokers reserves
	for _, name := range names[:max(0, len(names)-but)] {
		// The broker may have deleted it meanwhile.
		if err := os.Chtimes(name, old, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

const (
	segmentBytes      = 64 << 20
	segmentRate       = 10_000 // what both brokers can do; a segment lasts less than six seconds
	codeDeleteExpired = 329
)

// beside measures sends while something else goes on. What it did is said in the table.
func (p *pair) beside(ctx context.Context, name string, length time.Duration, other func(ctx context.Context, x *subject, n int) (string, error)) error {
	return p.besides(ctx, name, length, nil, other)
}

// besides is beside with something to prepare before each run.
func (p *pair) besides(ctx context.Context, name string, length time.Duration, prepare func(context.Context, *subject) error,
	other func(ctx context.Context, x *subject, n int) (string, error),
) error {
	notes := map[string][]string{}
	r, err := p.turns(ctx, name, func(ctx context.Context, x *subject, n int) (bench.Result, error) {
		if prepare != nil {
			if err := errors.Join(prepare(ctx, x), settle(p.dir)); err != nil {
				return bench.Result{}, err
			}
		}
		o := p.openLoop(x, segmentRate)
		o.Duration = length
		type did struct {
			what string
			err  error
		}
		done := make(chan did, 1)
		go func() {
			what, err := other(ctx, x, n)
			done <- did{what, err}
		}()
		res, err := bench.LatencyRun(ctx, o)
		d := <-done
		if d.what != "" {
			notes[x.name()] = append(notes[x.name()], d.what)
		}
		return res, errors.Join(err, d.err)
	}, nil)
	if err == nil {
		p.report.Latency = append(p.report.Latency, newLatencyRow(name, r, notes))
	}
	return err
}

func rollOver(ctx context.Context, p *pair) error {
	length := max(p.length, 12*time.Second)
	return p.beside(ctx, "segments of 64 MB roll over", length, func(ctx context.Context, x *subject, _ int) (string, error) {
		before := lastSegment(x)
		err := sleep(ctx, length)
		return fmt.Sprintf("%d times", lastSegment(x)-before), err
	})
}

// firstDeletion is how long after its start a broker begins to look for files to delete.
const firstDeletion = 65 * time.Second

// awaitDeletions waits until each broker has begun.
func (p *pair) awaitDeletions(ctx context.Context) error {
	for _, x := range p.subjects {
		if err := p.alone(x, func() error { return sleep(ctx, time.Until(x.since.Add(firstDeletion))) }); err != nil {
			return err
		}
	}
	return nil
}

// retention deletes segments that were filled just before each run.
func retention(ctx context.Context, p *pair) error {
	length := max(p.length, 8*time.Second)
	if err := p.awaitDeletions(ctx); err != nil {
		return err
	}
	fill := func(ctx context.Context, x *subject) error {
		return p.batches(ctx, x, "OldTopic", 10*segmentBytes)
	}
	return p.besides(ctx, "retention deletes segments", length, fill, func(ctx context.Context, x *subject, _ int) (string, error) {
		before := firstSegment(x)
		if err := errors.Join(sleep(ctx, 2*time.Second), age(x, 3), bench.Request(x.broker.Addr(), codeDeleteExpired)); err != nil {
			return "", err
		}
		err := sleep(ctx, length-2*time.Second)
		return fmt.Sprintf("%d deleted", firstSegment(x)-before), err
	})
}

// segments of a broker's log by number.
func segments(x *subject) (first, last int64) {
	names, err := os.ReadDir(filepath.Join(x.storeDir(), "commitlog"))
	if err != nil {
		return 0, 0
	}
	first = -1
	for _, e := range names {
		var at int64
		if n, err := fmt.Sscanf(e.Name(), "%020d", &at); n != 1 || err != nil {
			continue
		}
		if first < 0 {
			first = at / segmentBytes
		}
		last = at / segmentBytes
	}
	return max(0, first), last
}

func firstSegment(x *subject) int64 { first, _ := segments(x); return first }
func lastSegment(x *subject) int64  { _, last := segments(x); return last }

// batches fills a topic.
func (p *pair) batches(ctx context.Context, x *subject, topic string, bytes int64) error {
	o := p.options(x)
	o.Topic, o.Warmup, o.Duration, o.Count, o.Connections, o.InFlight = topic, 0, 10*time.Minute, bytes/recordBytes, 16, 4
	_, err := bench.Batch(ctx, o)
	return err
}

// coldBytes is how much a cold reader has before it in one run.
func (s *settings) coldBytes() int64 {
	if s.quick {
		return 300e6
	}
	return 1e9
}

func coldTopic(n int) string { return fmt.Sprintf("ColdTopic%d", n) }

// coldRead lets another consumer read what is on the disk only: data that was there before the brokers started again, and that was dropped
// from the page cache.
func coldRead(ctx context.Context, p *pair) error {
	for _, x := range p.subjects {
		if err := p.makeCold(ctx, x); err != nil {
			return fmt.Errorf("cold data of %s: %w", x.name(), err)
		}
	}
	if err := p.warm(ctx, short(&p.settings)); err != nil {
		return err
	}
	return p.beside(ctx, "another consumer reads old data from disk", p.length, func(ctx context.Context, x *subject, n int) (string, error) {
		if err := sleep(ctx, 1500*time.Millisecond); err != nil {
			return "", err
		}
		o := p.options(x)
		o.Topic, o.Connections, o.Create, o.Duration, o.Group = coldTopic(n), 4, false, p.length, "bench_cold"
		res, err := bench.Pull(ctx, o)
		return fmt.Sprintf("%.0f MB at %.0f MB/s", float64(res.Bytes)/1e6, float64(res.Bytes)/1e6/res.Elapsed.Seconds()), err
	})
}

func (p *pair) makeCold(ctx context.Context, x *subject) error {
	x.thaw()
	defer x.freeze()
	for n := range p.runs {
		if err := p.batches(ctx, x, coldTopic(n), p.coldBytes()); err != nil {
			return err
		}
	}
	if err := errors.Join(x.broker.Stop(), settle(p.dir), dropCache(x.storeDir())); err != nil {
		return err
	}
	_, err := x.restart(ctx)
	return err
}

// dropCache drops what the page cache has of the files in a folder. It has to be on disk.
func dropCache(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		return dontNeed(f)
	})
}
