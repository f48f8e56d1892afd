package main

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"apogee/bench"
)

const (
	manyTopic   = "ManyTopic"
	manyTopics  = 10_000
	topicQueues = 4
)

// topicSteps are how many topics are used in turn.
func (s *settings) topicSteps() []int { return []int{1, 100, 1_000, 5_000, manyTopics} }

// manyTopicsStore prepares a store: the reference takes an hour to create them one by one.
func manyTopicsStore(_, store string) error {
	return bench.WriteTopics(store, manyTopic, manyTopics, topicQueues)
}

// openFiles is how many descriptors a process may have here.
func openFiles() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 1024
	}
	return int(min(l.Max, 1<<30))
}

// topics measures sends to ever more topics, all of which exist from the beginning. The steps are made in turn, as often as there are runs:
// whatever slows the machine down meanwhile then meets all of them.
func topics(ctx context.Context, p *pair) error {
	var steps []*topicStep
	most := openFiles() - 1000 // the reference keeps a file open for each queue
	for _, n := range p.topicSteps() {
		s := &topicStep{pair: *p, n: n, results: results{Name: fmt.Sprintf("%d topics", n)}}
		if n*topicQueues > most {
			s.subjects = p.only(apogeeName)
			p.warn("%s: not on Java, which keeps a file open for each queue; a process here may have %d", s.results.Name, openFiles())
		}
		if err := s.touch(ctx, n*topicQueues, s.set); err != nil {
			return fmt.Errorf("%s: %w", s.results.Name, err)
		}
		steps = append(steps, s)
	}
	for n := range p.runs {
		for _, s := range steps {
			if err := s.measure(ctx, n); err != nil {
				return err
			}
		}
	}
	row := flatRow{What: "topics × 4 queues, sends of 1 KiB, 16 × 64", Owed: flatRise}
	for _, s := range steps {
		row.add(s.n, s.results, cpu.of)
		p.report.Loads = append(p.report.Loads, s.results)
	}
	row.judge()
	p.report.Flat = append(p.report.Flat, row)
	p.report.add(row.row("topics × 4 queues in turn: 1 to 10,000"))
	return nil
}

// topicStep is one number of topics.
type topicStep struct {
	pair
	n       int
	results results
}

func (s *topicStep) set(o *bench.Options) {
	o.Topic, o.Topics, o.Queues, o.Create = manyTopic, s.n, topicQueues, false
	if s.n == 1 {
		o.Topic = bench.TopicName(manyTopic, 0)
	}
}

// measure makes one run on each broker.
func (s *topicStep) measure(ctx context.Context, run int) error {
	if err := s.prune(ctx); err != nil {
		return err
	}
	if err := s.refill(ctx); err != nil {
		return err
	}
	return s.turn(ctx, &s.results, run, func(ctx context.Context, x *subject, _ int) (bench.Result, error) {
		o := s.options(x)
		s.set(&o)
		return bench.Send(ctx, o)
	})
}

// touch sends to each queue, so that no file is made while measuring.
func (p *pair) touch(ctx context.Context, queues int, set func(*bench.Options)) error {
	for _, x := range p.subjects {
		o := p.options(x)
		o.Warmup, o.Duration, o.Count = 0, 2*time.Minute, int64(3*queues)
		set(&o)
		began := time.Now()
		err := p.alone(x, func() error {
			_, err := bench.Send(ctx, o)
			return err
		})
		if err != nil {
			return err
		}
		if took := time.Since(began); took > time.Second {
			p.progress("%s: first messages of %d queues took %v", x.name(), queues, took.Round(time.Millisecond))
		}
	}
	return nil
}

func (p *pair) only(name string) []*subject {
	for _, x := range p.subjects {
		if x.name() == name {
			return []*subject{x}
		}
	}
	return nil
}

// create measures the creation of one more topic.
func create(ctx context.Context, p *pair) error {
	name := "create a topic when 10,000 exist"
	made := map[string]int64{}
	r, err := p.turns(ctx, name, func(ctx context.Context, x *subject, n int) (bench.Result, error) {
		o := p.options(x)
		// Names of their own for each run.
		o.Topic, o.Queues, o.Fill, o.Count, o.Duration = "MoreTopic", topicQueues, made[x.name()], 200, p.length
		res, err := bench.CreateTopics(ctx, o)
		made[x.name()] += res.Messages
		return res, err
	}, nil)
	if err != nil {
		return err
	}
	p.report.add(newRow(name, half, r, atMost(2, " ms")))
	p.report.add(newRow(name, cpu.named("broker CPU, µs a topic"), r, owed{}))
	return nil
}
