package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"apogee/internal/testkit"
)

// section is a part of the output that can be chosen by name. It measures on the pair that its group has started.
type section struct {
	name string
	run  func(context.Context, *pair) error
}

// group is a number of sections on one pair of brokers.
type group struct {
	name     string
	conf     testkit.Props
	prepare  func(name, store string) error
	warm     func(*settings) time.Duration // sends of 1 KiB before the first section
	unpaired bool                          // the sections start what they need
	slaves   bool                          // each broker has one
	sections []section
}

func whole(s *settings) time.Duration { return s.warm }
func short(s *settings) time.Duration { return min(s.warm, 10*time.Second) }

// groups are all there is, in the order of the run.
func groups() []group {
	send := rowSections(asyncRows)
	send = append(send, section{"connection churn", churn}, section{"route queries", routes})
	send = append(send, section{"latency at 50 %", latencyAt(50)}, section{"latency at 90 %", latencyAt(90)},
		section{"latency at the same rate", latencyAlike(90)})
	send = append(send, growthSections()...)
	return []group{
		{name: "send", warm: whole, sections: send},
		{name: "bulk", warm: whole, sections: rowSections(bulkRows)},
		{name: "kinds", conf: filtering(), warm: short, sections: rowSections(kindRows)},
		{name: "sync", conf: syncConf(), warm: short, sections: rowSections(syncRows)},
		{name: "async slave", conf: testkit.Props{"brokerRole": "ASYNC_MASTER"}, slaves: true, warm: short, sections: rowSections(slaveRows("an async slave"))},
		{name: "sync slave", conf: testkit.Props{"brokerRole": "SYNC_MASTER", "inSyncReplicas": "2"}, slaves: true, warm: short, sections: rowSections(slaveRows("a sync slave"))},
		{name: "idle", sections: []section{{"idle connections", idle}}},
		{name: "start", unpaired: true, sections: []section{{"start", start}, {"kill -9", recovery}}},
		{name: "topics", prepare: manyTopicsStore, warm: whole, sections: []section{{"topics", topics}, {"create a topic", create}}},
		{name: "segments", conf: segmentConf(), warm: whole, sections: []section{
			{"latency during cold reads", coldRead}, {"latency during roll-over", rollOver}, {"latency during retention", retention},
		}},
		{name: "store", unpaired: true, sections: []section{{"flat: store size", storeGrowth}}},
	}
}

// run runs the chosen sections.
func (s *session) run(ctx context.Context) error {
	s.plan = newPlan(&s.settings, groups())
	s.progress("%s", s.plan.total())
	if err := s.refill(ctx); err != nil {
		return err
	}
	for _, g := range groups() {
		if err := s.runGroup(ctx, &g, g.chosen(&s.settings)); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) chosen(s *settings) []section {
	var out []section
	for _, x := range g.sections {
		if s.only.MatchString(x.name) {
			out = append(out, x)
		}
	}
	return out
}

// runGroup runs sections of a group. One that fails is noted and left out; the rest goes on with brokers that are started anew, since
// nobody knows in what state these are. An error is that nothing more shall be done.
func (s *session) runGroup(ctx context.Context, g *group, chosen []section) error {
	for len(chosen) > 0 {
		n := s.runSections(ctx, g, chosen)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		chosen = chosen[n:]
	}
	return nil
}

// runSections runs sections on one pair until one fails. It tells how many have been dealt with.
func (s *session) runSections(ctx context.Context, g *group, chosen []section) int {
	p := &pair{session: s}
	if !g.unpaired {
		var err error
		p, err = s.pair(ctx, g.name, g.conf, g.slaves, g.prepare)
		p.section = chosen[0].name
		defer p.close()
		if err == nil && g.warm != nil {
			err = p.warm(ctx, g.warm(&s.settings))
		}
		if err != nil {
			for _, x := range chosen {
				s.fail(x.name, err)
			}
			return len(chosen)
		}
	}
	s.plan.started(g)
	for i, x := range chosen {
		s.progress("section %s; %s", x.name, s.plan.left())
		p.section = x.name
		err := x.run(ctx, p)
		s.report.stamp(x.name)
		s.plan.ended(x)
		if err != nil {
			s.fail(x.name, err)
			return i + 1
		}
		s.report.finished = append(s.report.finished, x.name)
		if err := s.save(); err != nil {
			s.progress("%v", err) // it is tried again
		}
	}
	return len(chosen)
}

// fail notes a section that could not be measured.
func (s *session) fail(name string, err error) {
	s.warn("not measured: %s: %v", name, err)
	s.report.stamp(name)
	s.failing = append(s.failing, fmt.Errorf("section %s: %w", name, err))
}

// failed is all that could not be measured.
func (s *session) failed() error { return errors.Join(s.failing...) }

// save writes what there is so far, so that a run which is killed has not been for nothing.
func (s *session) save() error {
	return testkit.Delivery{Value: s.whole(), JSON: s.out}.Deliver()
}
