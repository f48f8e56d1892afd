// Command vsjava runs the same loads on Apogee and on the Java reference in turns and prints how they compare (bin/bench-vs-java).
//
// Both brokers run all the time, each with a name server of its own, on 127.0.0.1; only one is under load at a time, and the next run of
// a load follows on the other broker at once, so that what else the machine does hits both alike. Each figure is the median of the runs.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"apogee/bench"
	"apogee/internal/testkit"
)

func main() {
	err := run(os.Args[1:])
	testkit.RemoveBinary()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench-vs-java:", err)
		os.Exit(1)
	}
}

// settings are the flags.
type settings struct {
	runs   int
	quick  bool
	length time.Duration
	warm   time.Duration
	only   *regexp.Regexp
	out    string
	dir    string
}

func parse(args []string) (s settings, err error) {
	set := flag.NewFlagSet("bench-vs-java", flag.ContinueOnError)
	set.IntVar(&s.runs, "runs", 3, "runs of each load on each broker; the median counts")
	set.BoolVar(&s.quick, "quick", false, "one short run of each, and a short warm-up: a look, not a claim")
	set.DurationVar(&s.length, "length", 6*time.Second, "how long one run measures")
	set.DurationVar(&s.warm, "warm", 30*time.Second, "load before the first run, so that the JVM has compiled")
	set.StringVar(&s.out, "json", "", "write everything to this `file`")
	set.StringVar(&s.dir, "dir", "", "parent `folder` of the data, on the disk to be measured")
	only := set.String("run", "", "only loads whose name matches this `regexp`")
	if err := set.Parse(args); err != nil {
		return s, err
	}
	if s.quick {
		s.runs, s.length, s.warm = 1, 3*time.Second, 6*time.Second
	}
	if s.runs < 1 {
		return s, fmt.Errorf("runs: %d is too few", s.runs)
	}
	s.only, err = regexp.Compile(*only)
	return s, err
}

// serverJVM is what the reference gets here: enough memory for it to be at its best on a small machine.
const serverJVM = "-Xms512m -Xmx1g -Xmn256m -XX:MaxDirectMemorySize=1g -XX:+UseG1GC"

func run(args []string) error {
	s, err := parse(args)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	bin, err := testkit.Binary()
	if err != nil {
		return err
	}
	java, err := testkit.FindJava()
	if err != nil {
		return fmt.Errorf("there is nothing to compare with: %w", err)
	}
	java.BrokerOpts = serverJVM
	dir, err := os.MkdirTemp(s.dir, "bench-vs-java-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	r := report{
		Date: time.Now().UTC().Format(time.RFC3339), Command: strings.TrimSpace("bin/bench-vs-java " + strings.Join(args, " ")),
		Machine: machine(), Commit: commit(), JVM: serverJVM, Runs: s.runs,
	}
	targets := []testkit.Target{testkit.Apogee{Bin: bin}, java}
	for _, mode := range []string{"ASYNC_FLUSH", "SYNC_FLUSH"} {
		if err := r.compare(ctx, s, targets, filepath.Join(dir, mode), mode); err != nil {
			return err
		}
	}
	r.print(os.Stdout)
	if s.out == "" {
		return nil
	}
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(s.out, append(b, '\n'), 0o644)
}

func machine() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	model := runtime.GOARCH
	for line := range strings.Lines(string(text)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			model = strings.TrimSpace(v)
			break
		}
	}
	return fmt.Sprintf("%s, %d processors, %s", model, runtime.NumCPU(), runtime.GOOS)
}

func commit() string {
	out, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// load is one kind of run.
type load struct {
	name string
	mode string // flush mode of the brokers that it runs on
	run  func(context.Context, bench.Options) (bench.Result, error)
	set  func(o *bench.Options, s settings)
}

var loads = []load{
	{"send 1 KiB, 16 x 64", "ASYNC_FLUSH", bench.Send, func(o *bench.Options, _ settings) { o.Connections, o.InFlight = 16, 64 }},
	{"send 1 KiB, 1 x 1", "ASYNC_FLUSH", bench.Send, func(o *bench.Options, _ settings) { o.Connections, o.InFlight = 1, 1 }},
	{"batch of 32, 16 x 4", "ASYNC_FLUSH", bench.Batch, func(o *bench.Options, _ settings) { o.Connections, o.InFlight = 16, 4 }},
	{"pull, drain", "ASYNC_FLUSH", bench.Pull, func(o *bench.Options, s settings) {
		o.Topic, o.Connections, o.Fill, o.Duration = "DrainTopic", 4, 400_000, time.Minute
		if s.quick {
			o.Fill = 100_000
		}
	}},
	{"latency at 1,000/s", "ASYNC_FLUSH", bench.LatencyRun, func(o *bench.Options, _ settings) { o.Topic, o.Connections, o.Rate = "TailTopic", 4, 1_000 }},
	{"latency at 10,000/s", "ASYNC_FLUSH", bench.LatencyRun, func(o *bench.Options, _ settings) { o.Topic, o.Connections, o.Rate = "TailTopic", 4, 10_000 }},
	{"sync flush, 16 x 64", "SYNC_FLUSH", bench.Send, func(o *bench.Options, _ settings) { o.Connections, o.InFlight = 16, 64 }},
	{"sync flush, 1 x 1", "SYNC_FLUSH", bench.Send, func(o *bench.Options, _ settings) { o.Connections, o.InFlight = 1, 1 }},
}

func options(s settings, broker string, pid int) bench.Options {
	return bench.Options{
		Broker: broker, PID: pid, Topic: "BenchTopic", Topics: 1, Queues: 8, Create: true, Group: "bench_consumer", Connections: 16, InFlight: 64,
		Body: 1024, Batch: 32, Wait: true, Warmup: time.Second, Duration: s.length,
	}
}

// subject is one implementation under test.
type subject struct {
	target          testkit.Target
	namesrv, broker testkit.Server
}

func (x *subject) stop() {
	for _, s := range []testkit.Server{x.broker, x.namesrv} {
		if s != nil {
			_ = s.Stop()
		}
	}
}

func (r *report) compare(ctx context.Context, s settings, targets []testkit.Target, dir, mode string) error {
	var todo []load
	for _, l := range loads {
		if l.mode == mode && s.only.MatchString(l.name) {
			todo = append(todo, l)
		}
	}
	if len(todo) == 0 {
		return nil
	}
	var subjects []*subject
	defer func() {
		for _, x := range subjects {
			x.stop()
		}
	}()
	for _, t := range targets {
		x, started, err := startSubject(t, filepath.Join(dir, t.Name()), mode)
		subjects = append(subjects, x)
		if err != nil {
			return err
		}
		if mode == "ASYNC_FLUSH" {
			r.Starts = append(r.Starts, started)
		}
	}
	for _, x := range subjects {
		o := options(s, x.broker.Addr(), x.broker.PID())
		o.Warmup, o.Duration, o.Topic = 0, s.warm, "WarmTopic"
		if x.target.Name() == "apogee" {
			o.Duration = min(s.warm, 3*time.Second) // nothing is compiled while it runs
		}
		if mode == "SYNC_FLUSH" {
			o.Duration = min(o.Duration, 10*time.Second)
		}
		fmt.Fprintf(os.Stderr, "warm up %s, %s, %v\n", x.target.Name(), mode, o.Duration)
		if _, err := bench.Send(ctx, o); err != nil {
			return fmt.Errorf("warm up %s: %w", x.target.Name(), err)
		}
	}
	for _, l := range todo {
		if err := r.measure(ctx, s, l, subjects); err != nil {
			return err
		}
	}
	return nil
}

// measure runs one load in turns.
func (r *report) measure(ctx context.Context, s settings, l load, subjects []*subject) error {
	got := map[string][]bench.Result{}
	for n := range s.runs {
		for i := range subjects {
			x := subjects[(i+n)%len(subjects)] // who begins changes
			o := options(s, x.broker.Addr(), x.broker.PID())
			l.set(&o, s)
			res, err := l.run(ctx, o)
			if err != nil {
				return fmt.Errorf("%s on %s: %w", l.name, x.target.Name(), err)
			}
			if res.Unanswered > 0 {
				fmt.Fprintf(os.Stderr, "%s on %s: %d requests were never answered\n", l.name, x.target.Name(), res.Unanswered)
			}
			if res.Failed() > 0 {
				fmt.Fprintf(os.Stderr, "%s on %s: %d requests failed: %s\n", l.name, x.target.Name(), res.Failed(), res.FirstErr)
			}
			fmt.Fprintf(os.Stderr, "%-22s run %d  %-7s %10.0f messages/s  %7.2f us CPU a message  others %.2f cores\n", l.name, n+1, x.target.Name(), res.Rate,
				res.BrokerCPU, res.OtherLoad)
			got[x.target.Name()] = append(got[x.target.Name()], res)
		}
	}
	r.Loads = append(r.Loads, compared{Name: l.name, Apogee: got["apogee"], Java: got["java"]})
	return nil
}
