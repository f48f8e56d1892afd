package main

import (
	"context"
	"time"

	"apogee/bench"
	"apogee/internal/testkit"
)

// row of the table that is a load on a broker with its own result.
type loadRow struct {
	name string
	run  func(context.Context, bench.Options) (bench.Result, error)
	set  func(*bench.Options, *settings)
	owed []loadOwed
}

type loadOwed struct {
	figure figure
	owed   owed
}

func connections(n, inFlight int) func(*bench.Options, *settings) {
	return func(o *bench.Options, _ *settings) { o.Connections, o.InFlight = n, inFlight }
}

func body(bytes, inFlight int) func(*bench.Options, *settings) {
	return func(o *bench.Options, _ *settings) { o.Body, o.InFlight, o.Count = bytes, inFlight, bulk/int64(bytes) }
}

// bulk is how many bytes one run sends at most: what the kernel takes without making the writers wait for the disk.
const bulk = 3 << 30

func batches(o *bench.Options, _ *settings) {
	o.Connections, o.InFlight, o.Count = 16, 4, bulk/int64(o.Body)
}

func tail(rate int) func(*bench.Options, *settings) {
	return func(o *bench.Options, _ *settings) { o.Topic, o.Connections, o.Rate = "TailTopic", 4, rate }
}

func drain(o *bench.Options, s *settings) {
	o.Topic, o.Connections, o.Fill, o.Duration = "DrainTopic", 4, 400_000, time.Minute
	if s.quick {
		o.Fill = 100_000
	}
}

// Rows that share a pair of brokers; what the bulky ones leave on the disk goes before others start.
var (
	asyncRows = []loadRow{
		{"send 1 KiB, 16 connections × 64 in flight", bench.Send, connections(16, 64), []loadOwed{
			{cpu, owed{better: 10, text: "≤ 1/10 of Java's (aim: 1/15)"}},
			{throughput, times(8)},
			{half, owed{}},
			{anonMemory, atMost(150, " MB")},
		}},
		{"send 1 KiB, 1 × 1", bench.Send, connections(1, 1), []loadOwed{{cpu, part(6)}, {half, atMost(0.06, " ms")}, {throughput, owed{}}}},
		{"send 128 B, 16 × 64", bench.Send, body(128, 64), []loadOwed{{cpu, part(8)}, {throughput, owed{}}}},
		{"pull, draining 400,000 in batches of 32", bench.Pull, drain, []loadOwed{{cpu, part(8)}, {throughput, owed{}}}},
		{"tail at 10,000/s, long polling", bench.LatencyRun, tail(10_000), []loadOwed{{cpu, part(8)}, {half, atMost(0.3, " ms")}, {hundredth, atMost(3, " ms")}}},
		{"tail at 1,000/s, long polling", bench.LatencyRun, tail(1_000), []loadOwed{{cpu, part(8)}, {half, atMost(0.2, " ms")}, {hundredth, atMost(1.5, " ms")}}},
	}
	bulkRows = []loadRow{
		{"send 4 KiB, 16 × 64", bench.Send, body(4<<10, 64), []loadOwed{{cpu, part(6)}, {throughput, owed{}}}},
		{"send 64 KiB, 16 × 8", bench.Send, body(64<<10, 8), []loadOwed{{cpu, part(4)}, {throughput, owed{}}}},
		{"batch of 32, 16 × 4", bench.Batch, batches, []loadOwed{{cpu, part(8)}, {throughput, owed{}}}},
	}
)

// measure runs a row on a pair.
func (l *loadRow) measure(ctx context.Context, p *pair, limit func(context.Context) (bench.Result, error)) error {
	do := func(ctx context.Context, x *subject, _ int) (bench.Result, error) {
		o := p.options(x)
		l.set(&o, &p.settings)
		return l.run(ctx, o)
	}
	if err := l.settle(ctx, p); err != nil {
		return err
	}
	r, err := p.turns(ctx, l.name, do, limit)
	if err != nil {
		return err
	}
	for _, f := range l.owed {
		p.report.add(newRow(l.name, f.figure, r, f.owed))
	}
	if l.name == asyncRows[0].name {
		p.highest[apogeeName], p.highest[javaName] = *median(figures(r.Apogee, throughput.of)), *median(figures(r.Java, throughput.of))
	}
	return nil
}

// settle makes the load once on the reference without counting, for what is compiled for this load only.
func (l *loadRow) settle(ctx context.Context, p *pair) error {
	for _, x := range p.subjects {
		if x.isApogee() {
			continue
		}
		o := p.options(x)
		o.Duration = min(o.Duration, 3*time.Second)
		l.set(&o, &p.settings)
		o.Warmup = 0
		p.progress("%s: warm up %s", l.name, x.name())
		err := p.alone(x, func() error {
			_, err := l.run(ctx, o)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// rowSections are sections of one row each, on brokers that they share.
func rowSections(rows []loadRow, limits map[string]func(*pair) func(context.Context) (bench.Result, error)) []section {
	var out []section
	for _, l := range rows {
		out = append(out, section{l.name, func(ctx context.Context, p *pair) error {
			var limit func(context.Context) (bench.Result, error)
			if of := limits[l.name]; of != nil {
				limit = of(p)
			}
			return l.measure(ctx, p, limit)
		}})
	}
	return out
}

// recordBytes is what a message of 1 KiB takes in the log with the properties that these runs give it.
const recordBytes = 1180

var syncRows = []loadRow{
	{"sync flush, 16 × 64", bench.Send, connections(16, 64), []loadOwed{
		{cpu, part(8)},
		{throughput, owed{ofLimit: 0.9, text: "≥ 90 % of a bare group commit of 64"}},
	}},
	{"sync flush, 1 × 1", bench.Send, connections(1, 1), []loadOwed{
		{cpu, owed{}},
		{throughput, owed{ofLimit: 0.5, text: "≥ 50 % of a bare append + fdatasync"}},
	}},
}

// syncLimits are the bare loops beside the rows of syncRows.
var syncLimits = map[string]func(*pair) func(context.Context) (bench.Result, error){
	syncRows[0].name: bareSync(64),
	syncRows[1].name: bareSync(1),
}

func bareSync(records int) func(*pair) func(context.Context) (bench.Result, error) {
	return func(p *pair) func(context.Context) (bench.Result, error) {
		return func(ctx context.Context) (bench.Result, error) {
			return bench.BareSync(ctx, bench.BareOptions{Dir: p.dir, Record: recordBytes, Group: records, Duration: p.length})
		}
	}
}

func syncConf() testkit.Props { return testkit.Props{"flushDiskType": "SYNC_FLUSH"} }
