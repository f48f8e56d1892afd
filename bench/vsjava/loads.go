package main

import (
	"context"
	"time"

	"apogee/bench"
	"apogee/internal/testkit"
)

// row of the table that is a load on a broker with its own result.
type loadRow struct {
	name  string
	run   func(context.Context, bench.Options) (bench.Result, error)
	set   func(*bench.Options, *settings)
	limit limit // nil where none is measured
	owed  []loadOwed
	on    func(*subject, *bench.Options) // where not on the broker
}

// limit makes what a machine does by itself, for a pair of brokers on it.
type limit func(*pair) func(context.Context) (bench.Result, error)

// options are what one run of the row is made with.
func (l *loadRow) options(p *pair, x *subject) bench.Options {
	o := p.options(x)
	if l.set != nil {
		l.set(&o, &p.settings)
	}
	if l.on != nil {
		l.on(x, &o)
	}
	return o
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

// tail is that many producers and consumers. A client has one connection to a broker, whatever it sends and pulls.
func tail(rate, producers, consumers int) func(*bench.Options, *settings) {
	return func(o *bench.Options, _ *settings) {
		o.Topic, o.Connections, o.Consumers, o.Rate = "TailTopic", producers, consumers, rate
	}
}

func drain(o *bench.Options, s *settings) {
	o.Topic, o.Connections, o.Fill, o.Duration = "DrainTopic", 4, 400_000, time.Minute
	if s.quick {
		o.Fill = 100_000
	}
}

// intended is the delay of a delivery with what this program itself was late.
var intended = half.named("p50 from its intended time, ms")

// Rows that share a pair of brokers; what the bulky ones leave on the disk goes before others start.
var (
	asyncRows = []loadRow{
		{name: "send 1 KiB, 16 connections × 64 in flight", run: bench.Send, set: connections(16, 64), owed: []loadOwed{
			{cpu, owed{better: 10, text: "≤ 1/10 of Java's (aim: 1/15)"}},
			{throughput, times(8)},
			{half, owed{}},
			{anonMemory, atMost(150, " MB")},
		}},
		{name: "send 1 KiB, 1 × 1", run: bench.Send, set: connections(1, 1), owed: []loadOwed{{cpu, part(6)}, {half, atMost(0.06, " ms")}, {throughput, owed{}}}},
		{name: "send 128 B, 16 × 64", run: bench.Send, set: body(128, 64), owed: []loadOwed{{cpu, part(8)}, {throughput, owed{}}}},
		{name: "pull, draining 400,000 in batches of 32", run: bench.Pull, set: drain, owed: []loadOwed{{cpu, part(8)}, {throughput, owed{}}}},
		{name: "tail at 10,000/s, a producer, 2 long-polling consumers", run: bench.LatencyRun, set: tail(10_000, 1, 2), limit: bareTail(10_000, 330*time.Microsecond), owed: []loadOwed{{cpu, part(8)}, {fromWrite, atMost(0.3, " ms")}, {lastWrite, atMost(3, " ms")}, {intended, owed{}}}},
		{name: "tail at 10,000/s, 4 and 4", run: bench.LatencyRun, set: tail(10_000, 4, 4), owed: []loadOwed{{cpu, owed{}}, {half, owed{}}, {hundredth, owed{}}}},
		{name: "tail at 1,000/s, a producer, 2 long-polling consumers", run: bench.LatencyRun, set: tail(1_000, 1, 2), limit: bareTail(1_000, 0), owed: []loadOwed{{cpu, part(8)}, {fromWrite, atMost(0.2, " ms")}, {lastWrite, atMost(1.5, " ms")}, {intended, owed{}}}},
	}
	bulkRows = []loadRow{
		{name: "send 4 KiB, 16 × 64", run: bench.Send, set: body(4<<10, 64), owed: []loadOwed{{cpu, part(6)}, {throughput, owed{}}}},
		{name: "send 64 KiB, 16 × 8", run: bench.Send, set: body(64<<10, 8), owed: []loadOwed{{cpu, part(4)}, {throughput, owed{}}}},
		{name: "batch of 32, 16 × 4", run: bench.Batch, set: batches, owed: []loadOwed{{cpu, part(8)}, {throughput, owed{}}}},
	}
)

// bareTail is the bare system calls beside a tail. The pauses are the broker's where it makes some.
func bareTail(rate int, pause time.Duration) limit {
	return func(p *pair) func(context.Context) (bench.Result, error) {
		return func(ctx context.Context) (bench.Result, error) {
			return bench.BareTail(ctx, bench.TailOptions{Dir: p.dir, Rate: rate, Duration: p.length, Pause: pause})
		}
	}
}

// measure runs a row on a pair.
func (l *loadRow) measure(ctx context.Context, p *pair) error {
	do := func(ctx context.Context, x *subject, _ int) (bench.Result, error) {
		return l.run(ctx, l.options(p, x))
	}
	if err := p.prune(ctx); err != nil {
		return err
	}
	if err := l.settle(ctx, p); err != nil {
		return err
	}
	var alone func(context.Context) (bench.Result, error)
	if l.limit != nil {
		alone = l.limit(p)
	}
	r, err := p.turns(ctx, l.name, do, alone)
	if err != nil {
		return err
	}
	for _, f := range l.owed {
		p.report.add(newRow(l.name, f.figure, r, f.owed))
	}
	if l.name == asyncRows[0].name {
		p.peak[apogeeName], p.peak[javaName] = *median(figures(r.Apogee, throughput.of)), *median(figures(r.Java, throughput.of))
	}
	return nil
}

// settle makes the load once on the reference without counting, for what is compiled for this load only.
func (l *loadRow) settle(ctx context.Context, p *pair) error {
	for _, x := range p.subjects {
		if x.isApogee() {
			continue
		}
		o := l.options(p, x)
		o.Warmup, o.Duration = 0, min(o.Duration, 3*time.Second)
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
func rowSections(rows []loadRow) []section {
	var out []section
	for _, l := range rows {
		out = append(out, section{l.name, func(ctx context.Context, p *pair) error {
			return l.measure(ctx, p)
		}})
	}
	return out
}

// recordBytes is what a message of 1 KiB takes in the log with the properties that these runs give it.
const recordBytes = 1180

var syncRows = []loadRow{
	{name: "sync flush, 16 × 64", run: bench.Send, set: connections(16, 64), limit: bareSync(64), owed: []loadOwed{
		{cpu, part(8)},
		{throughput, owed{ofLimit: 0.9, text: "≥ 90 % of a bare group commit of 64"}},
	}},
	{name: "sync flush, 1 × 1", run: bench.Send, set: connections(1, 1), limit: bareSync(1), owed: []loadOwed{
		{cpu, owed{}},
		{throughput, owed{ofLimit: 0.5, text: "≥ 50 % of a bare append + fdatasync"}},
	}},
}

// replicated is a load of which two copies are kept.
func replicated(o *bench.Options, _ *settings) {
	o.Connections, o.InFlight, o.Count = 16, 64, 1_500_000
}

// slaveRows are sends with a slave that gets everything, sent 16 × 64.
func slaveRows(with string) []loadRow {
	return []loadRow{{name: "send with " + with + ", 16 × 64", run: bench.Send, set: replicated, owed: []loadOwed{
		{pairCPU, owed{better: 1, text: "less than Java's"}}, {throughput, owed{}}, {half, owed{}}, {hundredth, owed{}}, {behind, owed{}}, {catchUp, owed{}},
	}}}
}

// bareSync is the bare loop beside a load with synchronous flush.
func bareSync(records int) limit {
	return func(p *pair) func(context.Context) (bench.Result, error) {
		return func(ctx context.Context) (bench.Result, error) {
			return bench.BareSync(ctx, bench.BareOptions{Dir: p.dir, Record: recordBytes, Group: records, Duration: p.length})
		}
	}
}

func syncConf() testkit.Props { return testkit.Props{"flushDiskType": "SYNC_FLUSH"} }
