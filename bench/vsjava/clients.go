package main

import (
	"context"
	"fmt"
	"time"

	"apogee/bench"
)

const (
	manyConnections = 20_000
	otherFiles      = 200 // descriptors that a process needs for something else
)

// held is how many idle connections each broker is asked to hold; a heap hides what few take.
func (s *settings) held(x *subject) int {
	switch {
	case s.quick:
		return 1_000
	case x.isApogee():
		return min(manyConnections, openFiles()-otherFiles)
	}
	return 2_000
}

// heldVerdict: where the machine does not let a process have so many descriptors, as many as it does are enough, and the row says so.
func (r *row) heldVerdict(asked, files int) {
	r.Owed = thousands(manyConnections)
	if asked < manyConnections {
		r.Owed += fmt.Sprintf(" (%s were asked for)", thousands(int64(asked)))
	}
	limited := asked >= files-otherFiles
	r.Verdict = verdict(positive(r.Apogee) && (*r.Apogee >= manyConnections || limited && int(*r.Apogee) >= asked))
}

// idle measures what connections cost that do nothing but heartbeats. Memory that has been taken once is not given back at once, so the
// first run is the one that tells; there is only one.
func idle(ctx context.Context, p *pair) error {
	const load = "idle connections with heartbeats"
	out := row{Load: load, Figure: "KiB anonymous each"}
	all := row{Load: load, Figure: "held at once"}
	asked := 0
	for _, x := range p.subjects {
		var res bench.IdleResult
		n := p.held(x)
		if x.isApogee() {
			asked = n
		}
		err := p.alone(x, func() (err error) {
			others := bench.WatchOthers(x.broker.PID())
			defer func() { out.Other = max(out.Other, others(x.broker.PID())) }()
			res, err = bench.Idle(ctx, bench.IdleOptions{
				Broker: x.broker.Addr(), PID: x.broker.PID(), Connections: n, Group: "bench_idle", Every: 5 * time.Second, Hold: 12 * time.Second,
			})
			return err
		})
		if err != nil {
			return fmt.Errorf("idle connections to %s: %w", x.name(), err)
		}
		p.progress("%s: %d of %d held, %d alive, %.2f KiB each, %.1f us a connection, %.1f us a heartbeat %s", x.name(), res.Held, n, res.Alive, res.Anonymous/1024,
			res.ConnCPU, res.BeatCPU, res.FirstErr)
		if res.FirstErr != "" {
			p.warn("%s on %s: %s", load, x.name(), res.FirstErr)
		}
		kib, alive := res.Anonymous/1024, float64(res.Alive)
		if x.isApogee() {
			out.Runs.Apogee, all.Runs.Apogee = append(out.Runs.Apogee, kib), append(all.Runs.Apogee, alive)
		} else {
			out.Runs.Java, all.Runs.Java = append(out.Runs.Java, kib), append(all.Runs.Java, alive)
		}
	}
	out.Owed = atMost(5, " KiB").text
	out.judge(false, atMost(5, " KiB"))
	all.judge(true, owed{})
	all.Other = out.Other
	all.Ratio = nil // they were not asked for the same number
	all.heldVerdict(asked, openFiles())
	p.report.add(out)
	p.report.add(all)
	if l := openFiles(); l < manyConnections+otherFiles {
		p.warn("%s: a process may have %s open files on this machine", load, thousands(int64(l)))
	}
	return nil
}

// churn measures connections that come for one heartbeat and go.
func churn(ctx context.Context, p *pair) error {
	l := loadRow{name: "connection churn, one heartbeat each", run: bench.Churn, set: func(o *bench.Options, _ *settings) { o.Connections, o.Group = 8, "bench_churn" }, owed: []loadOwed{
		{cpu.named("broker CPU, µs a connection"), atMost(200, " µs")},
		{throughput.named("connections/s"), owed{}},
	}}
	return l.measure(ctx, p)
}

// routes measures queries at the name servers.
func routes(ctx context.Context, p *pair) error {
	l := loadRow{name: "route queries at the name server", run: bench.Route, owed: []loadOwed{
		{cpu.named("name server CPU, µs a query"), part(4)},
		{throughput.named("queries/s"), owed{}},
	}}
	l.on = func(x *subject, o *bench.Options) {
		o.Broker, o.PID = x.namesrv.Addr(), x.namesrv.PID()
		o.Topic, o.Topics, o.Queues, o.Connections, o.InFlight = "RouteTopic", 100, 8, 16, 16
	}
	return l.measure(ctx, p)
}
