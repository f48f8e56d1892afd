// Command takeover-test has Apogee and the reference take over a data directory from each other, and prints what was compared.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"apogee/conformance/takeover"
	"apogee/internal/testkit"
)

const help = `Has Apogee and the Java original take over a data directory from each other, and compares what clients see.

Each phase starts one of them on the directory that the other one has left, compares everything with what is known, and then sends
messages of all kinds (plain, in batches, in inner batches, to light queues, to compacted topics, ordered, delayed, timed and recalled, in
transactions), pulls, pops, pops in order, acknowledges, sends back and commits offsets, all at the same time. It ends with a kill -9 under load, a stop under load, or a quiet stop; then comes the other
one. At the end it waits until everything that was to come has come.

Exit code: 0 without differences, 1 with some, 2 if the test could not run. Needs Java and the oracle (APOGEE_ORACLE names its script).

Examples:
  bin/takeover-test                       5 switches, about a minute and a half
  bin/takeover-test -switches 50          the long test, about ten minutes
  bin/takeover-test -seed 1234            what a run that found something has done, as far as time lets it
  bin/takeover-test -with apogee          Apogee from itself: quick, and without Java

Flags:
`

func main() {
	code := run(os.Args[1:])
	testkit.RemoveBuilt()
	os.Exit(code)
}

func run(args []string) int {
	set := testkit.NewFlags("takeover-test", help)
	switches := set.Int("switches", 5, "`how often` the other one takes over")
	seed := set.Uint64("seed", uint64(time.Now().UnixNano())%1e9, "what is done; by default another one each time, which is printed")
	phase := set.Duration("phase", 3*time.Second, "how long each works, on average")
	with := set.String("with", "java", "who takes turns with Apogee: java or apogee")
	dir := set.String("dir", "", "`folder` for the files, which stay; by default a temporary one, which is deleted unless there are differences")
	if code, ok := testkit.ParseFlags(set, args); !ok {
		return code
	}
	o := takeover.Options{Seed: *seed, Switches: *switches, Phase: *phase, Dir: *dir, Progress: func(format string, args ...any) {
		fmt.Printf(format+"\n", args...)
	}}
	report, err := start(&o, *with)
	if report != nil {
		fmt.Println()
		fmt.Print(report)
	}
	switch {
	case err != nil:
		fmt.Fprintf(os.Stderr, "takeover-test: %v\n", err)
	case len(report.Differences) == 0:
		if *dir == "" {
			_ = os.RemoveAll(o.Dir)
		}
		return 0
	}
	fmt.Fprintf(os.Stderr, "the files are in %s; again with -seed %d -switches %d -phase %v\n", o.Dir, *seed, *switches, *phase)
	if err != nil {
		return 2
	}
	return 1
}

func start(o *takeover.Options, with string) (*takeover.Report, error) {
	bin, err := testkit.Binary()
	if err != nil {
		return nil, err
	}
	o.First = testkit.Apogee{Bin: bin}
	switch with {
	case "java":
		if o.Second, err = testkit.FindJava(); err != nil {
			return nil, err
		}
	case "apogee":
		o.Second = o.First
	default:
		return nil, fmt.Errorf("-with %s: it is java or apogee", with)
	}
	if o.Dir == "" {
		if o.Dir, err = os.MkdirTemp("", "takeover-"); err != nil {
			return nil, err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	fmt.Printf("seed %d, %d switches, files in %s\n", o.Seed, o.Switches, o.Dir)
	return takeover.Run(ctx, *o)
}
