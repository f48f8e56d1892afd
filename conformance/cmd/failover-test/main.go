// Command failover-test kills the master of a pair again and again, or has a cluster become one of another implementation, under load.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"apogee/conformance"
	"apogee/conformance/failover"
	"apogee/internal/testkit"
)

const help = `Fail-over to a slave that acts as master, and the upgrade of a cluster with no stop; both under load.

Without -upgrade: a master and its slave, and a name server. The master is killed (kill -9), clients go on at the slave, the master is
started again, clients are back. Clients ask the name server every 20 ms where to go, so that what is measured is what the servers take;
-official adds a consumer of the Go client, which asks every 30 s. At the end everything is read from master and slave and compared.

With -upgrade: pairs of Java brokers and a Java name server become Apogee, one server at a time, and Java again, while producers and a
consumer of the Go client work. With two pairs no send may fail; with -pairs 1 it is measured how long nobody takes messages.

Exit code: 0 without findings, 1 with some, 2 if it could not run. Java is started by the oracle (APOGEE_ORACLE names its script).

Examples:
  bin/failover-test                       50 kills of Apogee's master
  bin/failover-test -with java            the same of Java's
  bin/failover-test -kills 5 -official    with the Go client's consumer, about a minute a kill
  bin/failover-test -upgrade              from Java to Apogee and back
  bin/failover-test -upgrade -pairs 1 -with apogee

The file of -json has all measurements. Kills are added to those that earlier runs have left there, Apogee's and Java's apart;
-write-readme makes a table of them.

Flags:
`

func main() {
	conformance.Quiet()
	code := run(os.Args[1:])
	testkit.RemoveBuilt()
	os.Exit(code)
}

// settings are the command line.
type settings struct {
	kills, pairs      int
	upgrade, official bool
	readme            bool
	with, dir, json   string
	origin            string // what is run, and at which commit
	seed              uint64
	phase             time.Duration
}

func run(args []string) int {
	var s settings
	set := testkit.NewFlags("failover-test", help)
	set.IntVar(&s.kills, "kills", 50, "`how often` the master is killed")
	set.BoolVar(&s.official, "official", false, "have a consumer of the Go client go along, and wait for it")
	set.BoolVar(&s.upgrade, "upgrade", false, "exchange servers in place of killing them")
	set.IntVar(&s.pairs, "pairs", 2, "`how many` pairs are exchanged")
	set.StringVar(&s.with, "with", "", "what is killed, or exchanged with Apogee: java or apogee; by default apogee is killed, and java exchanged")
	set.Uint64Var(&s.seed, "seed", 1, "of the moments of the kills")
	set.DurationVar(&s.phase, "phase", 2*time.Second, "how long all is well before a kill or an exchange, on average")
	set.StringVar(&s.dir, "dir", "", "`folder` for the files, which stay; by default a temporary one, which is deleted unless there are findings")
	set.StringVar(&s.json, "json", "", "`file` for the report with all measurements")
	set.BoolVar(&s.readme, "write-readme", false, "put the table of kills that the file of -json has into README.md; with -kills 0 nothing is run")
	if code, ok := testkit.ParseFlags(set, args); !ok {
		return code
	}
	said := testkit.CommandLine("bin/failover-test", args, map[string]bool{"dir": true, "json": true, "write-readme": false})
	s.origin = fmt.Sprintf("`%s` at commit %s", said, testkit.Commit())
	temporary := s.dir == ""
	report, findings, err := s.start()
	if report != nil {
		fmt.Printf("\n%v", report)
	}
	err = errors.Join(err, s.deliver(report))
	switch {
	case err != nil:
		fmt.Fprintf(os.Stderr, "failover-test: %v\n", err)
	case findings == 0:
		if temporary {
			_ = os.RemoveAll(s.dir)
		}
		return 0
	}
	fmt.Fprintf(os.Stderr, "the files are in %s\n", s.dir)
	if err != nil {
		return 2
	}
	return 1
}

// deliver writes the files.
func (s *settings) deliver(report fmt.Stringer) error {
	if s.json == "" {
		return nil
	}
	if s.upgrade {
		return testkit.Delivery{Value: report, JSON: s.json}.Deliver()
	}
	results, err := failover.OpenKillResults(s.json)
	if err != nil {
		return err
	}
	if r, ok := report.(*failover.KillReport); ok {
		if err := results.Add(r); err != nil {
			return err
		}
	}
	if s.readme {
		return testkit.Delivery{Text: results.Markdown(), Section: "failover"}.Deliver()
	}
	return nil
}

// start runs what is asked for.
func (s *settings) start() (report fmt.Stringer, findings int, err error) {
	if !s.upgrade && s.kills == 0 {
		return nil, 0, nil
	}
	bin, err := testkit.Binary()
	if err != nil {
		return nil, 0, err
	}
	apogee := testkit.Apogee{Bin: bin}
	if s.with == "" {
		s.with = map[bool]string{true: "java", false: "apogee"}[s.upgrade]
	}
	other := testkit.Target(apogee)
	switch s.with {
	case "apogee":
	case "java":
		if other, err = testkit.FindJava(); err != nil {
			return nil, 0, err
		}
	default:
		return nil, 0, fmt.Errorf("-with %s: it is java or apogee", s.with)
	}
	if s.dir == "" {
		if s.dir, err = os.MkdirTemp("", "failover-"); err != nil {
			return nil, 0, err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	progress := func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	if s.upgrade {
		r, err := failover.Upgrade(ctx, failover.UpgradeOptions{From: other, To: apogee, Dir: s.dir, Pairs: s.pairs, Phase: s.phase, Progress: progress})
		return r, len(r.Findings), err
	}
	r, err := failover.Kills(ctx, failover.KillOptions{
		Target: other, Dir: s.dir, Kills: s.kills, Seed: s.seed, Phase: s.phase, Official: s.official, Origin: s.origin, Progress: progress,
	})
	return r, len(r.Findings), err
}
