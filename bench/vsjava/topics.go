package main

import (
	"context"
	"fmt"
	"slices"
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

// topics measures sends to ever more topics, all of which exist from the beginning.
func topics(ctx context.Context, p *pair) error {
	var steps []*flatStep
	most := openFiles() - 1000 // the reference keeps a file open for each queue
	for _, n := range p.topicSteps() {
		on := p
		if n*topicQueues > most {
			on = p.without(javaName)
			p.warn("%d topics: not on Java, which keeps a file open for each queue; a process here may have %d", n, openFiles())
		}
		s := on.newFlatStep("topics", n, func(o *bench.Options) {
			o.Topic, o.Topics, o.Queues, o.Create = manyTopic, n, topicQueues, false
			if n == 1 {
				o.Topic = bench.TopicName(manyTopic, 0)
			}
		})
		if err := on.touch(ctx, n*topicQueues, s.set); err != nil {
			return fmt.Errorf("%s: %w", s.results.Name, err)
		}
		steps = append(steps, s)
	}
	row, err := p.measureFlat(ctx, "topics × 4 queues, sends of 1 KiB, 16 × 64", steps, cpu.of, bench.Send)
	if err == nil {
		p.report.add(row.row("topics × 4 queues in turn: 1 to 10,000"))
	}
	return err
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

// without is the pair without one of the two.
func (p *pair) without(name string) *pair {
	out := *p
	out.subjects = slices.DeleteFunc(slices.Clone(p.subjects), func(x *subject) bool { return x.name() == name })
	return &out
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
