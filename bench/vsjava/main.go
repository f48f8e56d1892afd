// Command vsjava runs the same loads on Apogee and on the Java reference and prints how they compare (bin/bench-vs-java).
//
// The brokers are measured in turns on 127.0.0.1, each with a name server of its own, and the one that is not measured is frozen: what
// else the machine does hits both alike. Each figure is the median of the runs. Start reading at groups, which lists what is measured.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"apogee/internal/testkit"
)

func main() {
	err := run(os.Args[1:])
	testkit.RemoveBuilt()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench-vs-java:", err)
		os.Exit(1)
	}
}

func parse(args []string, w io.Writer) (s settings, err error) {
	set := flag.NewFlagSet("bench-vs-java", flag.ContinueOnError)
	set.SetOutput(w)
	set.IntVar(&s.runs, "runs", 3, "runs of each load on each broker; the median counts")
	set.BoolVar(&s.quick, "quick", false, "one short run of each, and a short warm-up: a look, not a claim")
	set.DurationVar(&s.length, "length", 5*time.Second, "how long one run measures")
	set.DurationVar(&s.warm, "warm", 30*time.Second, "load before the first run, so that the JVM has compiled")
	set.BoolVar(&s.fill, "fill", true, "fill the memory with page cache first")
	set.BoolVar(&s.hold, "hold", os.Getuid() == 0, "hold a page in each 2 MB of memory, so that a hypervisor does not take freed memory back; takes a minute, and root")
	set.DurationVar(&s.steady, "steady", 0, "only watch the memory of both under a fixed rate for so long")
	set.IntVar(&s.steadyRate, "steady-rate", 10_000, "messages a second of -steady")
	set.StringVar(&s.out, "json", "", "write everything to this `file`")
	set.StringVar(&s.from, "from", "", "begin with what an earlier run has written to this `file`: with -run or -steady what is measured replaces what it has of that, else nothing is measured")
	set.BoolVar(&s.readme, "write-readme", false, "put the table into README.md, and what it shows into "+tableFile+", which -from can begin with")
	set.StringVar(&s.dir, "dir", "", "parent `folder` of the data, on the disk to be measured; it needs 60 GB")
	set.IntVar(&s.room, "room", roomWanted, "have the brokers delete old segments before a load for which the disk has less free than so many `GB`")
	only := set.String("run", "", "only sections whose name matches this `regexp`; -run 'no such' lists them")
	if err := set.Parse(args); err != nil {
		return s, err
	}
	if set.NArg() > 0 {
		return s, fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	if s.quick {
		s.runs, s.length, s.warm = 1, 2*time.Second, 6*time.Second
	}
	if s.runs < 1 {
		return s, fmt.Errorf("runs: %d is too few", s.runs)
	}
	s.only, err = regexp.Compile(*only)
	s.measures = s.from == "" || *only != "" || s.steady > 0
	return s, err
}

// serverJVM is what the reference gets here: enough memory for it to be at its best on a small machine.
const serverJVM = "-Xms512m -Xmx1g -Xmn256m -XX:MaxDirectMemorySize=1g -XX:+UseG1GC"

func run(args []string) error {
	s, err := parse(args, os.Stderr)
	if err != nil {
		return err
	}
	var old *report
	if s.from != "" {
		if old, err = readReport(s.from); err != nil {
			return err
		}
		old.keepOnly(append(every(), steadySection))
		if !s.measures {
			return old.deliver(&s)
		}
	}
	if names := s.names(); len(names) == 0 {
		return fmt.Errorf("no section has such a name; there are:\n%s", strings.Join(every(), "\n"))
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
	x := &session{settings: s, targets: []testkit.Target{testkit.Apogee{Bin: bin}, java}, log: os.Stderr, peak: map[string]float64{}, highest: map[string]float64{}}
	x.report, x.old = newReport(&s, args), old
	if x.dir, err = os.MkdirTemp(s.dir, "bench-vs-java-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(x.dir) }()
	if s.hold && !s.quick {
		free, err := x.holdMemory(ctx)
		if err != nil {
			return fmt.Errorf("hold memory (-hold=false does without): %w", err)
		}
		defer func() { _ = free() }()
	}
	if s.fill {
		if x.filler, err = newFiller(x.dir); err != nil {
			return err
		}
		x.report.Filled = x.filler.size
	}
	began := time.Now()
	// What was measured before an error is still worth its time.
	if s.steady > 0 {
		err = x.watch(ctx)
	} else {
		err = x.run(ctx)
	}
	x.report.Took = time.Since(began).Round(time.Second).String()
	if err != nil {
		x.warn("ended early: %v", err)
	}
	if s.steady > 0 {
		x.report.stamp(steadySection)
	}
	return errors.Join(err, x.failed(), x.whole().deliver(&s))
}

// holdMemory keeps the machine's memory in the machine until free is called.
func (s *session) holdMemory(ctx context.Context) (free func() error, err error) {
	available, err := memory("MemAvailable")
	if err != nil {
		return nil, err
	}
	s.progress("touch %d MB of memory", available>>20)
	h, err := holdMemory(ctx, available)
	if err != nil {
		return nil, err
	}
	s.progress("hold a page in each of %d blocks of 2 MB", h.blocks)
	s.report.Held = true
	return h.release, nil
}

// whole is what has been measured so far, in the report that the run began with if there is one.
func (s *session) whole() *report {
	if s.old == nil {
		return s.report
	}
	return s.report.mergedInto(s.old)
}

// steadySection is the section of -steady.
const steadySection = "steady"

// every section that -run chooses from.
func every() []string { return (&settings{only: regexp.MustCompile("")}).names() }

// names are the sections that the flags choose.
func (s *settings) names() []string {
	var out []string
	for _, g := range groups() {
		for _, x := range g.chosen(s) {
			out = append(out, x.name)
		}
	}
	return out
}

func newReport(s *settings, args []string) *report {
	now := time.Now().UTC()
	return &report{origin: origin{
		Date: now.Format("2006-01-02"), At: now.Format("15:04"), Command: command(args), Machine: machine(), Commit: testkit.Commit(), JVM: serverJVM, Runs: s.runs,
		Length: s.length.String(), Warm: s.warm.String(),
	}}
}

// command is what was run, without the files and folders that it worked on.
func command(args []string) string {
	return testkit.CommandLine("bin/bench-vs-java", args, map[string]bool{"write-readme": false, "json": true, "dir": true, "from": true})
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
	memory := ""
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		if line, _, ok := strings.Cut(string(text), "\n"); ok {
			var kib int64
			_, _ = fmt.Sscanf(line, "MemTotal: %d kB", &kib)
			memory = fmt.Sprintf(", %d GB of memory", (kib+1<<19)>>20)
		}
	}
	return fmt.Sprintf("%s, %d processors%s, %s", model, runtime.NumCPU(), memory, runtime.GOOS)
}

func readReport(path string) (*report, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &report{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}
