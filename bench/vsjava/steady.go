package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"apogee/bench"
	"apogee/internal/testkit"
)

// sampleEvery is the time between two looks at the memory.
const sampleEvery = 10 * time.Second

// sample is one look.
type sample struct {
	At     time.Duration `json:"at_ns"`
	Memory bench.Memory  `json:"memory"`
}

// steadyRow is how the memory of a broker went under a fixed rate.
type steadyRow struct {
	tag
	Broker  string   `json:"broker"`
	Rate    int      `json:"messages_per_second"`
	Samples []sample `json:"samples"`
}

// trend sums up one kind of memory, in MB; the slope is that of the line of least squares, in MB an hour, without the first tenth of the
// time, in which buffers and heap get their sizes.
type trend struct{ first, last, most, slope float64 }

func (r *steadyRow) trend(of func(bench.Memory) int64) trend {
	var t trend
	if len(r.Samples) == 0 {
		return t
	}
	mb := func(s sample) float64 { return float64(of(s.Memory)) / 1e6 }
	t.first, t.last = mb(r.Samples[0]), mb(r.Samples[len(r.Samples)-1])
	for _, s := range r.Samples {
		t.most = max(t.most, mb(s))
	}
	settled := r.Samples[len(r.Samples)/10:]
	var sx, sy, sxx, sxy float64
	n := float64(len(settled))
	for _, s := range settled {
		x, y := s.At.Hours(), mb(s)
		sx, sy, sxx, sxy = sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	if d := n*sxx - sx*sx; d > 0 {
		t.slope = (n*sxy - sx*sy) / d
	}
	return t
}

// steadyConf keeps the disk bounded: what is old goes at any hour, and is made old soon.
func steadyConf() testkit.Props {
	var hours []string
	for h := range 24 {
		hours = append(hours, fmt.Sprintf("%02d", h))
	}
	return testkit.Props{"fileReservedTime": "1", "deleteWhen": strings.Join(hours, ";")}
}

// watch puts both brokers under the rate at the same time and looks at their memory.
func (s *session) watch(ctx context.Context) (err error) {
	if err := s.refill(ctx); err != nil {
		return err
	}
	p, err := s.pair(ctx, "steady", steadyConf(), false, nil)
	defer p.close()
	if err != nil {
		return err
	}
	rows := make([]steadyRow, len(p.subjects))
	errs := make([]error, len(p.subjects))
	var wg sync.WaitGroup
	for i, x := range p.subjects {
		x.thaw()
		wg.Go(func() { rows[i], errs[i] = p.watchOne(ctx, x) })
	}
	wg.Wait()
	s.report.Steady = rows
	return errors.Join(errs...)
}

func (p *pair) watchOne(ctx context.Context, x *subject) (steadyRow, error) {
	row := steadyRow{Broker: x.name(), Rate: p.steadyRate}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		o := p.openLoop(x, float64(p.steadyRate))
		o.Warmup, o.Duration = 0, p.steady
		_, err := bench.LatencyRun(ctx, o)
		ended <- err
	}()
	began := time.Now()
	tick := time.NewTicker(min(sampleEvery, max(time.Second, p.steady/10)))
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return row, err
		case <-tick.C:
			m, err := bench.MemoryOf(x.broker.PID())
			if err != nil {
				return row, err
			}
			row.Samples = append(row.Samples, sample{time.Since(began), m})
			if err := age(x, 2); err != nil {
				return row, err
			}
			p.progress("%-7s %6.0f s  %7.1f MB anonymous  %7.1f MB resident  %d segments", x.name(), time.Since(began).Seconds(), float64(m.Anonymous)/1e6,
				float64(m.Resident)/1e6, len(x.logFiles()))
		}
	}
}

func (r *report) writeSteady(b *strings.Builder) {
	if len(r.Steady) == 0 {
		return
	}
	fmt.Fprintf(b, "\nMemory under %s messages/s of 1 KiB, MB; slope without the first tenth of the time.\n\n", thousands(int64(r.Steady[0].Rate)))
	b.WriteString("| broker | memory | first | last | highest | slope, MB an hour | for |\n|---|---|---:|---:|---:|---:|---:|\n")
	for _, x := range r.Steady {
		var long time.Duration
		if n := len(x.Samples); n > 0 {
			long = x.Samples[n-1].At.Round(time.Second)
		}
		for _, kind := range []struct {
			name string
			of   func(bench.Memory) int64
		}{
			{"anonymous", func(m bench.Memory) int64 { return m.Anonymous }},
			{"resident", func(m bench.Memory) int64 { return m.Resident }},
		} {
			t := x.trend(kind.of)
			fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %.1f | %s |\n", x.Broker, kind.name, number(&t.first), number(&t.last), number(&t.most), t.slope, long)
		}
	}
}
