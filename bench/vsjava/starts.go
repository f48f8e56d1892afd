package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"apogee/bench"
)

// stay is how long a broker is left alone before its idle memory is read.
const stay = 3 * time.Second

// startResult puts what a start cost into the form of all results: one message, which took as long as the start.
func startResult(what string, s started, pid int) bench.Result {
	l := bench.Latency{Count: 1, Mean: s.FirstSend, P50: s.FirstSend, P90: s.FirstSend, P99: s.FirstSend, P999: s.FirstSend, P9999: s.FirstSend, Maximum: s.FirstSend}
	return bench.Result{Kind: what, Elapsed: s.FirstSend, Messages: 1, Send: &l, BrokerPID: pid, BrokerCPU: float64(s.CPU.Microseconds()), OtherLoad: s.Other}
}

// each does something with one broker at a time, none else alive, in turns.
func (s *session) each(ctx context.Context, name string, do func(ctx context.Context, t int, dir string) (bench.Result, error)) (results, error) {
	out := results{Name: name}
	for n := range s.runs {
		for i := range s.targets {
			t := (i + n) % len(s.targets)
			dir := filepath.Join(s.dir, "alone")
			if err := errors.Join(s.refill(ctx), os.MkdirAll(dir, 0o755), settle(dir)); err != nil {
				return out, err
			}
			res, err := do(ctx, t, dir)
			if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
				return out, fmt.Errorf("%s of %s: %w", name, s.targets[t].Name(), err)
			}
			s.say(name, n, s.targets[t].Name(), &res)
			out.add(s.targets[t].Name(), res)
		}
	}
	s.report.Loads = append(s.report.Loads, out)
	return out, nil
}

// start measures starts on empty folders, and what a broker takes that has nothing to do.
func start(ctx context.Context, p *pair) error {
	r, err := p.each(ctx, "start", func(ctx context.Context, t int, dir string) (res bench.Result, err error) {
		x, took, err := startSubject(ctx, p.targets[t], dir, nil)
		defer p.end(x)
		if err != nil {
			return res, err
		}
		res = startResult("start", took, x.broker.PID())
		if err := sleep(ctx, stay); err != nil {
			return res, err
		}
		m, err := bench.MemoryOf(x.broker.PID())
		res.Memory = &m
		return res, err
	})
	if err != nil {
		return err
	}
	p.report.add(newRow("start", half.named("to the first acknowledged send, ms"), r, atMost(100, " ms")))
	p.report.add(newRow("start", startCPU, r, atMost(100, " ms")))
	p.report.add(newRow("idle broker", anonMemory.named("memory, MB anonymous"), r, atMost(25, " MB")))
	return nil
}

var startCPU = figure{"CPU used by then, ms", func(r *bench.Result) float64 { return r.BrokerCPU / 1000 }, false}

// logBytes is how much log is there to be recovered.
func (s *settings) logBytes() int64 {
	if s.quick {
		return 500e6
	}
	return 4e9
}

// recovery measures starts after kill -9, each with a log of its own: the second start on the same one would find less to do.
func recovery(ctx context.Context, p *pair) error {
	name := fmt.Sprintf("start after kill -9, %.1f GB of 1 KiB messages sent in batches", float64(p.logBytes())/1e9)
	r, err := p.each(ctx, name, func(ctx context.Context, t int, dir string) (res bench.Result, err error) {
		x, _, err := startSubject(ctx, p.targets[t], dir, nil)
		defer p.end(x)
		if err != nil {
			return res, err
		}
		o := p.options(x)
		o.Warmup, o.Duration, o.Count, o.Connections, o.InFlight = 0, 10*time.Minute, p.logBytes()/recordBytes, 16, 4
		if _, err := bench.Batch(ctx, o); err != nil {
			return res, err
		}
		if err := x.broker.Kill(); err != nil {
			return res, err
		}
		took, err := x.restart(ctx)
		if err != nil {
			return res, err
		}
		return startResult("start", took, x.broker.PID()), nil
	})
	if err != nil {
		return err
	}
	p.report.add(newRow(name, half.named("to the first acknowledged send, ms"), r, atMost(2000, " ms")))
	p.report.add(newRow(name, startCPU, r, owed{}))
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
