package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"apogee/bench"
	"apogee/internal/testkit"
)

// flatRise is how much a cost may rise.
const flatRise = 1.25

// flatRounds is how often each step is measured, and flatLength for how long: briefly and often, since the machine's own pace changes from
// run to run by more than a cost may rise. The reference, of which nothing is owed here, takes part in every javaRound-th round only.
func (s *settings) flatRounds() int { return 4*s.runs + 1 }

func (s *settings) flatLength() time.Duration { return min(s.length, 3*time.Second) / 3 }

const javaRound = 3

// flatStep is one number of something.
type flatStep struct {
	*pair   // whom it is measured on
	n       int
	set     func(*bench.Options)
	results results
}

func (p *pair) newFlatStep(what string, n int, set func(*bench.Options)) *flatStep {
	return &flatStep{pair: p, n: n, set: set, results: results{Name: fmt.Sprintf("%s: %d", what, n)}}
}

// measure makes the run of a round.
func (s *flatStep) measure(ctx context.Context, round int, run func(context.Context, bench.Options) (bench.Result, error)) error {
	if err := errors.Join(s.prune(ctx), s.refill(ctx)); err != nil {
		return err
	}
	on := s.pair
	if round%javaRound != 0 {
		on = on.without(javaName)
	}
	return on.turn(ctx, &s.results, round, func(ctx context.Context, x *subject, _ int) (bench.Result, error) {
		o := s.options(x)
		o.Warmup, o.Duration = 500*time.Millisecond, s.flatLength()
		if round == 0 && !x.isApogee() {
			o.Warmup = 2 * time.Second
		}
		s.set(&o)
		return run(ctx, o)
	})
}

// measureFlat measures the steps in turn, as often as there are rounds, and begins with another one each time: whatever slows the machine
// down meanwhile meets all of them.
func (p *pair) measureFlat(ctx context.Context, what string, steps []*flatStep, of func(*bench.Result) float64, run func(context.Context, bench.Options) (bench.Result, error)) (flatRow, error) {
	row := flatRow{What: what, Owed: flatRise}
	for round := range p.flatRounds() {
		for i := range steps {
			if err := steps[(i+round)%len(steps)].measure(ctx, round, run); err != nil {
				return row, err
			}
		}
	}
	for _, s := range steps {
		row.add(s.n, s.results, of)
		p.report.Loads = append(p.report.Loads, s.results)
	}
	row.judge()
	p.report.Flat = append(p.report.Flat, row)
	return row, nil
}

// growth measures one load for ever more of something.
func growth(what string, steps []int, of func(*bench.Result) float64, run func(context.Context, bench.Options) (bench.Result, error), set func(o *bench.Options, n int)) func(context.Context, *pair) error {
	return func(ctx context.Context, p *pair) error {
		var list []*flatStep
		for _, n := range steps {
			list = append(list, p.newFlatStep(what, n, func(o *bench.Options) { set(o, n) }))
		}
		_, err := p.measureFlat(ctx, what, list, of, run)
		return err
	}
}

// inFlight is how many requests all connections together have under way at most.
const inFlight = 1024

func growthSections() []section {
	return []section{
		{"flat: connections × 64", growth("connections, 64 in flight each", []int{1, 16, 100, 1_000}, cpu.of, bench.Send, func(o *bench.Options, n int) {
			o.Connections, o.InFlight = n, 64
		})},
		{"flat: connections", growth("connections, 64 in flight each up to 1,024 in all", []int{1, 16, 100, 1_000}, cpu.of, bench.Send, func(o *bench.Options, n int) {
			o.Connections, o.InFlight = n, min(64, max(1, inFlight/n))
		})},
		{"flat: connections × 1", growth("connections, 1 in flight each", []int{1, 16, 100, 1_000}, cpu.of, bench.Send, func(o *bench.Options, n int) {
			o.Connections, o.InFlight = n, 1
		})},
		{"flat: queues", growth("queues of one topic, sends of 16 × 64", []int{1, 8, 100, 1_000, 10_000}, cpu.of, bench.Send, func(o *bench.Options, n int) {
			o.Topic, o.Queues = fmt.Sprintf("QueuesTopic%d", n), n
		})},
		{"flat: consumer groups", growth("consumer groups on one topic, 10,000 deliveries/s, for each delivered message", []int{1, 10, 100}, perDelivery, bench.LatencyRun, func(o *bench.Options, n int) {
			o.Topic, o.Connections, o.Consumers, o.Groups, o.Rate = "GroupsTopic", 4, 1, n, 10_000/n
		})},
	}
}

// perDelivery is the broker's processor time for each message that a consumer got.
func perDelivery(r *bench.Result) float64 {
	if r.Delivered == 0 {
		return 0
	}
	return r.BrokerCPU * float64(r.Messages) / float64(r.Delivered)
}

// storeSizes are in GB.
func (s *settings) storeSizes() []int {
	if s.quick {
		return []int{0, 1, 2}
	}
	return []int{0, 5, 10, 20}
}

// storeGrowth fills the store of Apogee and measures sends at each size.
func storeGrowth(ctx context.Context, s *pair) (err error) {
	p := &pair{session: s.session, dir: filepath.Join(s.session.dir, "store")}
	x, _, err := startSubject(ctx, p.target(apogeeName), filepath.Join(p.dir, apogeeName), testkit.Props{})
	p.subjects = []*subject{x}
	defer p.close()
	if err != nil {
		return err
	}
	if err := p.warm(ctx, time.Second); err != nil {
		return err
	}
	row := flatRow{What: "GB in the store, sends of 16 × 64", Owed: flatRise}
	for _, gb := range p.storeSizes() {
		if more := int64(gb)*1e9 - x.logBytes(); more > 0 {
			if err := p.alone(x, func() error { return p.batches(ctx, x, "BulkTopic", more) }); err != nil {
				return err
			}
		}
		r, err := p.turns(ctx, fmt.Sprintf("%s: %d", row.What, gb), func(ctx context.Context, x *subject, _ int) (bench.Result, error) {
			o := p.options(x)
			o.Warmup, o.Duration = 500*time.Millisecond, min(p.length, 3*time.Second)
			return bench.Send(ctx, o)
		}, nil)
		if err != nil {
			return err
		}
		row.add(gb, r, cpu.of)
	}
	row.judge()
	p.report.Flat = append(p.report.Flat, row)
	return nil
}
