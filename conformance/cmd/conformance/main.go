// Command conformance runs the suite of package conformance and prints a table: feature, Apogee, Java.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"apogee/conformance"
	"apogee/internal/testkit"
)

func main() {
	conformance.Inside()
	ok, err := run(os.Args[1:])
	testkit.RemoveBuilt()
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

type flags struct {
	target, namesrv, pattern, out string
	long, keep, readme, quiet     bool
	parallel                      int
}

func parse(args []string) (f flags, err error) {
	set := flag.NewFlagSet("conformance", flag.ContinueOnError)
	set.StringVar(&f.target, "target", "apogee", "what to start and test: apogee, java or both")
	set.StringVar(&f.namesrv, "namesrv", "", "name server `HOST:PORT` of a running cluster; nothing is started then")
	set.StringVar(&f.pattern, "run", "", "only cases whose area/feature matches this `regexp`")
	set.StringVar(&f.out, "json", "", "write results to this `file`")
	set.BoolVar(&f.long, "long", os.Getenv("APOGEE_LONG") == "1", "also cases that take minutes (or APOGEE_LONG=1)")
	set.BoolVar(&f.keep, "keep", false, "keep the servers' files and print where")
	set.BoolVar(&f.readme, "write-readme", false, "run against both and put the table into README.md")
	set.BoolVar(&f.quiet, "quiet", false, "no line for each case while running")
	set.IntVar(&f.parallel, "parallel", 0, "cases at the same time; 0: as many as the target can bear, since most of them wait")
	if err := set.Parse(args); err != nil {
		return f, err
	}
	if set.NArg() > 0 {
		return f, fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	if f.readme {
		f.target = "both"
	}
	return f, nil
}

func run(args []string) (bool, error) {
	f, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	opts := conformance.Options{Namesrv: f.namesrv, Long: f.long, Parallel: f.parallel, Keep: f.keep}
	if opts.Run, err = regexp.Compile(f.pattern); err != nil {
		return false, err
	}
	if !f.quiet {
		opts.Progress = func(r conformance.Result) {
			fmt.Fprintf(os.Stderr, "%-5s %6.1f s  %s: %s/%s\n", r.Status, float64(r.Millis)/1000, r.Target, r.Area, r.Feature)
		}
	}
	conformance.Quiet()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	report := conformance.Report{Date: conformance.Today(time.Now()), Command: command(args), Commit: testkit.Commit()}
	for _, name := range targets(f) {
		o := opts
		if f.namesrv == "" {
			target, err := conformance.NewTarget(name)
			if errors.Is(err, testkit.ErrMissing) && f.target == "both" && !f.readme {
				fmt.Fprintf(os.Stderr, "\nSKIPPED, the whole target %s: %v\n\n", name, err)
				continue
			}
			if err != nil {
				return false, err
			}
			o.Target = target
		}
		if o.Parallel == 0 {
			o.Parallel = 6
			if name == "apogee" { // which takes little; a case of Java's takes two JVMs
				o.Parallel = 10
			}
		}
		results, err := conformance.Run(ctx, o)
		if err != nil {
			return false, fmt.Errorf("target %s: %w", name, err)
		}
		report.Results = append(report.Results, results...)
	}
	return report.Failed("") == 0, deliver(f, report)
}

func targets(f flags) []string {
	switch {
	case f.namesrv != "":
		return []string{f.namesrv}
	case f.target == "both":
		return []string{"apogee", "java"}
	}
	return []string{f.target}
}

func deliver(f flags, report conformance.Report) error {
	if err := report.Print(os.Stdout); err != nil {
		return err
	}
	files := testkit.Delivery{Value: report, JSON: f.out, Text: report.Markdown()}
	if f.readme {
		files.Section = "conformance"
	}
	return files.Deliver()
}

// command is what was run, without where its results went and without what only changes the progress shown: the README quotes it.
func command(args []string) string {
	return testkit.CommandLine("bin/conformance", args, map[string]bool{"quiet": false, "keep": false, "json": true})
}
