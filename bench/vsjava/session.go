package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"apogee/bench"
	"apogee/internal/testkit"
)

// settings are the flags.
type settings struct {
	runs       int
	quick      bool
	length     time.Duration
	warm       time.Duration
	steady     time.Duration
	steadyRate int
	fill       bool
	hold       bool
	readme     bool
	only       *regexp.Regexp
	out        string
	from       string
	measures   bool // not only what from holds is wanted
	dir        string
	room       int // GB that the disk shall have free before a load
}

// session is one run of the program.
type session struct {
	settings
	targets []testkit.Target
	dir     string
	filler  *filler
	report  *report
	old     *report // what the run began with; may be nil
	log     io.Writer
	peak    map[string]float64 // messages a second that each broker reached with 16 x 64
	highest map[string]float64 // the same in open loop
	plan    plan
	failing []error // sections that could not be measured
}

func (s *session) progress(format string, args ...any) {
	_, _ = fmt.Fprintf(s.log, time.Now().UTC().Format("15:04:05 ")+format+"\n", args...)
}

// target is one of the two.
func (s *session) target(name string) testkit.Target {
	for _, t := range s.targets {
		if t.Name() == name {
			return t
		}
	}
	return nil
}

// options are what the loads start from.
func (s *session) options(x *subject) bench.Options {
	o := bench.Options{
		Broker: x.broker.Addr(), PID: x.broker.PID(), Topic: "BenchTopic", Topics: 1, Queues: 8, Create: true, Group: "bench_consumer", Connections: 16,
		InFlight: 64, Body: 1024, Batch: 32, Wait: true, Warmup: time.Second, Duration: s.length,
	}
	if x.slave != nil {
		o.Slave = x.slave.Addr()
	}
	return o
}

// pair are the two brokers with the same settings, both alive; the one that is not under load is frozen.
type pair struct {
	*session
	dir      string
	subjects []*subject
	section  string // the one under way, or the last one
}

// pair starts both brokers, with a slave each if there are to be slaves. prepare, if given, gets the folder of a store before its broker starts.
func (s *session) pair(ctx context.Context, name string, conf testkit.Props, slaves bool, prepare func(name, store string) error) (*pair, error) {
	p := &pair{session: s, dir: filepath.Join(s.dir, name)}
	for _, t := range s.targets {
		dir := filepath.Join(p.dir, t.Name())
		if prepare != nil {
			if err := prepare(t.Name(), storeDir(dir)); err != nil {
				return p, err
			}
		}
		s.progress("start %s for %s", t.Name(), name)
		x, took, err := startSubject(ctx, t, dir, conf)
		p.subjects = append(p.subjects, x)
		if err != nil {
			return p, err
		}
		s.progress("%s took %v to its first acknowledged send", t.Name(), took.FirstSend.Round(time.Millisecond))
		if slaves {
			if err := x.startSlave(ctx, conf); err != nil {
				return p, err
			}
		}
		x.freeze()
	}
	return p, s.refill(ctx)
}

// close ends the brokers and removes their files. That a broker does not end as it should spoils no figure: it is told.
func (p *pair) close() {
	for _, x := range p.subjects {
		x.thaw()
		p.end(x)
	}
	if err := os.RemoveAll(p.dir); err != nil {
		p.warn("files of %s are left: %v", filepath.Base(p.dir), err)
	}
	p.report.stamp(p.section) // so that measuring it again drops what was said here
}

// end stops a broker and its name server; what does not stop is killed.
func (s *session) end(x *subject) {
	servers := x.servers()
	err := x.stop()
	if err == nil {
		return
	}
	s.warn("%s did not stop as it should: %v", x.name(), err)
	for _, server := range servers {
		if err := server.Kill(); err != nil {
			s.progress("kill %s: %v", x.name(), err) // it has ended, most likely
		}
	}
}

// alone runs f while the other broker is frozen, with nothing left to be written from before.
func (p *pair) alone(x *subject, f func() error) error {
	if err := settle(p.dir); err != nil {
		return err
	}
	x.thaw()
	defer x.freeze()
	return f()
}

// warm makes the load for which a JVM compiles what it needs. Nothing is compiled in the other while it runs; a moment is enough there.
func (p *pair) warm(ctx context.Context, d time.Duration, sets ...func(*bench.Options)) error {
	for _, x := range p.subjects {
		took := d
		if x.isApogee() {
			took = min(d, 2*time.Second)
		}
		p.progress("warm up %s for %v", x.name(), took)
		o := p.options(x)
		o.Warmup, o.Duration, o.Topic = 0, took, "WarmTopic"
		for _, set := range sets {
			set(&o)
		}
		err := p.alone(x, func() error {
			_, err := bench.Send(ctx, o)
			return err
		})
		if err != nil {
			return fmt.Errorf("warm up %s: %w", x.name(), err)
		}
	}
	return p.refill(ctx)
}

func (s *session) refill(ctx context.Context) error {
	if s.filler == nil {
		return nil
	}
	began := time.Now()
	if err := s.filler.fill(ctx); err != nil {
		return fmt.Errorf("fill the page cache: %w", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		s.progress("filled the page cache in %v", took.Round(time.Second))
	}
	return nil
}

// results are the runs of one load.
type results struct {
	tag
	Name   string         `json:"name"`
	Apogee []bench.Result `json:"apogee,omitempty"`
	Java   []bench.Result `json:"java,omitempty"`
	Limit  []bench.Result `json:"limit,omitempty"`
}

func (r *results) add(name string, res bench.Result) {
	if name == apogeeName {
		r.Apogee = append(r.Apogee, res)
	} else {
		r.Java = append(r.Java, res)
	}
}

// other is the highest load by others that a run met.
func (r *results) other() float64 {
	var most float64
	for _, list := range [][]bench.Result{r.Apogee, r.Java, r.Limit} {
		for i := range list {
			most = max(most, list[i].OtherLoad)
		}
	}
	return most
}

// load is one kind of run on a broker.
type load func(ctx context.Context, x *subject, run int) (bench.Result, error)

// turns runs a load on both brokers in turns; who begins changes. limit, if given, is what the machine does by itself, measured in between.
func (p *pair) turns(ctx context.Context, name string, do load, limit func(context.Context) (bench.Result, error)) (results, error) {
	if err := p.refill(ctx); err != nil {
		return results{}, err
	}
	out := results{Name: name}
	for n := range p.runs {
		if err := p.turn(ctx, &out, n, do); err != nil {
			return out, err
		}
		if limit == nil {
			continue
		}
		if err := settle(p.dir); err != nil {
			return out, err
		}
		res, err := limit(ctx)
		if err != nil {
			return out, fmt.Errorf("%s, by the machine itself: %w", name, err)
		}
		p.say(name, n, "machine", &res)
		out.Limit = append(out.Limit, res)
	}
	p.report.Loads = append(p.report.Loads, out)
	return out, nil
}

// turn makes one run on each broker.
func (p *pair) turn(ctx context.Context, out *results, n int, do load) error {
	for i := range p.subjects {
		x := p.subjects[(i+n)%len(p.subjects)]
		res, err := p.once(ctx, out.Name, n, x, do)
		if err != nil {
			return err
		}
		out.add(x.name(), res)
	}
	return nil
}

func (p *pair) once(ctx context.Context, name string, n int, x *subject, do load) (res bench.Result, err error) {
	err = p.alone(x, func() (err error) {
		res, err = do(ctx, x, n)
		return err
	})
	if err != nil {
		return res, fmt.Errorf("%s on %s: %w", name, x.name(), err)
	}
	p.say(name, n, x.name(), &res)
	if res.Unanswered > 0 {
		p.warn("%s on %s: %d requests were never answered", name, x.name(), res.Unanswered)
	}
	if res.Failed() > 0 {
		p.warn("%s on %s: %d requests failed: %.120s", name, x.name(), res.Failed(), res.FirstErr)
	}
	return res, nil
}

// warn goes to the report too: whoever reads a figure shall know what spoils it.
func (s *session) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.progress("%s", text)
	s.report.Notes = append(s.report.Notes, remark{Text: note(text)})
}

// note is what goes into the report: a line, without what a server has logged, and without the folders of this machine.
func note(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	words := strings.Fields(line)
	for i, w := range words {
		if path.IsAbs(w) {
			words[i] = path.Base(w)
		}
	}
	return strings.Join(words, " ")
}

func (s *session) say(name string, n int, who string, res *bench.Result) {
	s.progress("%-28s run %d  %-7s %10.0f/s  %8.2f us CPU  p50 %8.3f ms  p99 %8.3f ms  others %.2f  bench %.2f us", name, n+1, who, res.Rate, res.BrokerCPU,
		milliseconds(res, p50), milliseconds(res, p99), res.OtherLoad, res.BenchCPU)
}
