package main

import (
	"fmt"
	"strings"
	"time"
)

// plan is how long the sections that are chosen may take: a guess from what each of them does, which is set right by what those took
// that have ended.
type plan struct {
	settings *settings
	now      func() time.Time
	began    time.Time
	sections int
	at       int
	guessed  time.Duration // of all
	done     time.Duration // guessed for what has ended
}

func newPlan(s *settings, all []group) plan {
	p := plan{settings: s, now: time.Now, began: time.Now()}
	for _, g := range all {
		chosen := g.chosen(s)
		if len(chosen) == 0 {
			continue
		}
		p.guessed += g.takes(s)
		p.sections += len(chosen)
		for _, x := range chosen {
			p.guessed += x.guess(s)
		}
	}
	return p
}

// What things take apart from the load itself.
const (
	pairStart   = 25 * time.Second // both brokers, until they take messages, and their end
	aroundARun  = 3 * time.Second  // what is dirty is written, topics are made, the load warms up
	aroundARow  = 6 * time.Second  // memory is filled again, the row's load warms up
	moreForRest = 2 * time.Second
)

// takes is how long a group needs before its first section.
func (g *group) takes(s *settings) time.Duration {
	if g.unpaired {
		return 0
	}
	d := pairStart
	if g.warm != nil {
		d += g.warm(s) + moreForRest
	}
	return d
}

// guess is how long a section needs.
func (x *section) guess(s *settings) time.Duration {
	half := time.Minute / 2
	switch name := x.name; {
	case name == "flat: queues":
		return flatSteps(s, 5)
	case name == "flat: consumer groups":
		return flatSteps(s, 3)
	case name == "flat: store size":
		return steps(s, len(s.storeSizes()), min(s.length, 3*time.Second)) + 2*time.Minute
	case strings.HasPrefix(name, "flat: "):
		return flatSteps(s, 4)
	case name == "latency at 50 %":
		return steps(s, 1, s.length) + 2*halvings*(probe+aroundARun)
	case name == "latency during cold reads":
		return steps(s, 1, s.length) + pairStart + short(s) + time.Duration(2*s.runs)*half
	case name == "latency during roll-over":
		return steps(s, 1, max(s.length, 12*time.Second))
	case name == "latency during retention":
		return steps(s, 1, max(s.length, 8*time.Second)+15*time.Second)
	case name == "idle connections":
		return 2 * half
	case name == "start":
		return time.Duration(s.runs) * half
	case name == "kill -9":
		return time.Duration(2*s.runs) * (half + half/2)
	case name == "topics":
		return flatSteps(s, len(s.topicSteps())) + 4*half
	}
	return steps(s, 1, s.length)
}

// steps is how long a number of loads need that are measured in turns for so long each.
func steps(s *settings, n int, length time.Duration) time.Duration {
	return time.Duration(n) * (aroundARow + time.Duration(2*s.runs)*(length+aroundARun))
}

// flatSteps is how long so many steps need: Apogee in each round, the reference in some.
func flatSteps(s *settings, n int) time.Duration {
	return time.Duration(n*s.flatRounds()*(javaRound+1)/javaRound) * (s.flatLength() + aroundARun)
}

// started counts what the brokers of a group took to start.
func (p *plan) started(g *group) { p.done += g.takes(p.settings) }

func (p *plan) ended(x section) {
	p.at++
	p.done += x.guess(p.settings)
}

func (p *plan) total() string {
	return fmt.Sprintf("%d sections, which may take %v", p.sections, p.guessed.Round(time.Minute))
}

// left is where the run is.
func (p *plan) left() string {
	took := p.now().Sub(p.began)
	rest := max(0, p.guessed-p.done)
	if p.done > p.guessed/20 {
		rest = time.Duration(float64(rest) * float64(took) / float64(p.done))
	}
	return fmt.Sprintf("%d of %d, after %v, perhaps %v left", p.at+1, p.sections, took.Round(time.Second), rest.Round(10*time.Second))
}
