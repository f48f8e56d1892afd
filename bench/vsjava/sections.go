package main

import (
	"context"
	"errors"
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
	sections []section
}

func whole(s *settings) time.Duration { return s.warm }
func short(s *settings) time.Duration { return min(s.warm, 10*time.Second) }

// groups are all there is, in the order of the run.
func groups() []group {
	send := rowSections(asyncRows, nil)
	send = append(send, section{"connection churn", churn}, section{"route queries", routes})
	send = append(send, section{"latency at 50 %", latencyAt(50)}, section{"latency at 90 %", latencyAt(90)})
	send = append(send, growthSections()...)
	return []group{
		{name: "send", warm: whole, sections: send},
		{name: "bulk", warm: whole, sections: rowSections(bulkRows, nil)},
		{name: "sync", conf: syncConf(), warm: short, sections: rowSections(syncRows, syncLimits)},
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
	if err := s.refill(ctx); err != nil {
		return err
	}
	for _, g := range groups() {
		chosen := g.chosen(&s.settings)
		if len(chosen) == 0 {
			continue
		}
		if err := s.runGroup(ctx, &g, chosen); err != nil {
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

func (s *session) runGroup(ctx context.Context, g *group, chosen []section) (err error) {
	p := &pair{session: s}
	if !g.unpaired {
		p, err = s.pair(ctx, g.name, g.conf, g.prepare)
		defer func() { err = errors.Join(err, p.close()) }()
		if err == nil && g.warm != nil {
			err = p.warm(ctx, g.warm(&s.settings))
		}
		if err != nil {
			return err
		}
	}
	for _, x := range chosen {
		s.progress("section %s", x.name)
		if err := x.run(ctx, p); err != nil {
			return err
		}
	}
	return nil
}
