package main

import (
	"time"

	"apogee/bench"
)

// The figures of the table.
var (
	cpu        = figure{"broker CPU, µs a message", func(r *bench.Result) float64 { return r.BrokerCPU }, false}
	throughput = figure{"messages/s", func(r *bench.Result) float64 { return r.Rate }, true}
	half       = figure{"p50, ms", func(r *bench.Result) float64 { return milliseconds(r, p50) }, false}
	hundredth  = figure{"p99, ms", func(r *bench.Result) float64 { return milliseconds(r, p99) }, false}
	fromWrite  = figure{"p50 from its write to its delivery, ms", func(r *bench.Result) float64 { return written(r, p50) }, false}
	lastWrite  = figure{"p99 from its write to its delivery, ms", func(r *bench.Result) float64 { return written(r, p99) }, false}
	anonMemory = figure{"memory, MB anonymous, highest", anonymous, false}
	pairCPU    = cpu.named("CPU of master and slave, µs a message")
	behind     = figure{"slave behind at the end of the load, MB", func(r *bench.Result) float64 {
		return slaveFigure(r, func(s *bench.SlaveResult) float64 { return float64(s.Behind) / 1e6 })
	}, false}
	catchUp = figure{"until the slave had everything, ms", func(r *bench.Result) float64 {
		return slaveFigure(r, func(s *bench.SlaveResult) float64 { return float64(s.CatchUp) / float64(time.Millisecond) })
	}, false}
)

// named is the same figure under another name.
func (f figure) named(name string) figure {
	f.name = name
	return f
}

func p50(l *bench.Latency) time.Duration     { return l.P50 }
func p99(l *bench.Latency) time.Duration     { return l.P99 }
func p999(l *bench.Latency) time.Duration    { return l.P999 }
func maximum(l *bench.Latency) time.Duration { return l.Maximum }

// milliseconds is a percentile of the delivery where there is one, else of the sends, else of the pulls.
func milliseconds(r *bench.Result, f func(*bench.Latency) time.Duration) float64 {
	for _, l := range []*bench.Latency{r.Delivery, r.Send, r.Pull} {
		if l != nil {
			return float64(f(l)) / float64(time.Millisecond)
		}
	}
	return 0
}

// written is a percentile of what passes from the write of a message to its delivery.
func written(r *bench.Result, f func(*bench.Latency) time.Duration) float64 {
	if r.Written == nil {
		return 0
	}
	return float64(f(r.Written)) / float64(time.Millisecond)
}

// slaveFigure is a figure of a slave where there is one.
func slaveFigure(r *bench.Result, of func(*bench.SlaveResult) float64) float64 {
	if r.Slave == nil {
		return 0
	}
	return of(r.Slave)
}

func anonymous(r *bench.Result) float64 {
	if r.Memory == nil {
		return 0
	}
	return float64(r.Memory.Anonymous) / 1e6
}
