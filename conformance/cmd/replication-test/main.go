// Command replication-test runs pairs of master and slave through faults under load, and prints what was lost and what a checker of
// linearizability says of what clients saw.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"apogee/conformance/replication"
	"apogee/internal/testkit"
)

const help = `Runs pairs of a master and a slave through faults under load.

The matrix is {Apogee, Java} master x {Apogee, Java} slave x {async, sync} x {clean, kill-master, kill-slave, partition, slow-disk}. In each
cell producers send, consumers read from both, and an auditor asks the slave how much it has, while the fault happens. Then both logs are
compared byte by byte; then the master is killed under load for good, and the slave alone is read. A checker of linearizability judges all
that clients saw.

As root, hosts are network namespaces that are cut off by taking links down, and slow disks are file systems of their own that the kernel
throttles (cgroup blkio). Otherwise all is on one host, the line for the log leads through a relay that stops passing things on (which a Java
slave cannot be told to use: those partitions are skipped), and for slow disks processes are halted again and again.

Columns: messages sent (each once), acknowledged with SEND_OK, answered as stored but not copied (FLUSH_SLAVE_TIMEOUT and its like),
refused, without an answer; of what was promised, lost; stored more than once; acknowledged by an async master that died before its slave had
them; served to the consumer by master and by slave; times that the slave's end was compared with what was acknowledged by then (sync).

Exit code: 0 without findings, 1 with some, 2 if the test could not run. Cells with Java need it and the oracle (APOGEE_ORACLE names its
script); without them they are skipped.

Examples:
  bin/replication-test                             the whole matrix, once, about 15 minutes
  bin/replication-test -run 'apogee-apogee-.*'     without Java, about a minute
  bin/replication-test -run 'java-apogee-sync-.*' -rounds 5 -load 5s

Flags:
`

func main() {
	code := run(os.Args[1:])
	testkit.RemoveBuilt()
	os.Exit(code)
}

func run(args []string) int {
	set := testkit.NewFlags("replication-test", help)
	which := set.String("run", ".*", "`expression` of the cells to run, as java-apogee-sync-kill-master; it has to fit the whole name")
	rounds := set.Int("rounds", 2, "`how often` the fault happens in a cell")
	load := set.Duration("load", 2*time.Second, "how long clients work before, in and after each fault")
	together := set.Int("together", 1, "`cells` at the same time")
	dir := set.String("dir", "", "`folder` for the files; by default a temporary one. What a cell leaves stays there if it has findings")
	if code, ok := testkit.ParseFlags(set, args); !ok {
		return code
	}
	o := replication.Options{Dir: *dir, Load: *load, Rounds: *rounds, Together: *together, Progress: func(format string, args ...any) {
		fmt.Printf(format+"\n", args...)
	}}
	ok, err := start(&o, *which)
	if err != nil {
		fmt.Fprintf(os.Stderr, "replication-test: %v\n", err)
		return 2
	}
	if ok {
		if *dir == "" {
			_ = os.RemoveAll(o.Dir)
		}
		return 0
	}
	fmt.Fprintf(os.Stderr, "the files are in %s\n", o.Dir)
	return 1
}

func start(o *replication.Options, which string) (ok bool, err error) {
	fits, err := regexp.Compile("^(?:" + which + ")$")
	if err != nil {
		return false, err
	}
	for _, c := range replication.Matrix() {
		if fits.MatchString(c.String()) {
			o.Cells = append(o.Cells, c)
		}
	}
	if len(o.Cells) == 0 {
		return false, fmt.Errorf("no cell has a name that fits %s", which)
	}
	if o.Apogee.Bin, err = testkit.Binary(); err != nil {
		return false, err
	}
	if o.Java, err = testkit.FindJava(); err != nil {
		fmt.Printf("cells with Java are skipped: %v\n", err)
		o.Java = nil
	}
	if o.Dir == "" {
		if o.Dir, err = os.MkdirTemp("", "replication-"); err != nil {
			return false, err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	rows, err := replication.Run(ctx, *o)
	fmt.Printf("\n%s", replication.Table(rows))
	for i := range rows {
		ok = ok || rows[i].OK()
	}
	for i := range rows {
		ok = ok && len(rows[i].Findings) == 0
	}
	return ok, err
}
