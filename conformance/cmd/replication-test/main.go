// Command replication-test runs pairs of master and slave through faults under load, and prints what was lost and what a checker of
// linearizability says of what clients saw.
package main

import (
	"context"
	"errors"
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

With -json each cell's result is in a file as soon as it ends, beside the results of other cells that earlier runs have left there, and the
table that -write-readme puts into README.md is made of that file.

Exit code: 0 without findings, 1 with some, 2 if the test could not run. Cells with Java need it and the oracle (APOGEE_ORACLE names its
script); without them they are skipped.

Examples:
  bin/replication-test                             the whole matrix, once, about 15 minutes
  bin/replication-test -run 'apogee-apogee-.*'     without Java, about a minute
  bin/replication-test -run 'java-apogee-sync-.*' -rounds 5 -load 5s
  bin/replication-test -json out.json -missing     goes on with what an interrupted run has left

Flags:
`

func main() {
	code := run(os.Args[1:])
	testkit.RemoveBuilt()
	os.Exit(code)
}

// settings are the command line.
type settings struct {
	replication.Options
	which, json                 string
	missing, reportOnly, readme bool
}

func run(args []string) int {
	s := settings{Options: replication.Options{Progress: func(format string, args ...any) { fmt.Printf(format+"\n", args...) }}}
	set := testkit.NewFlags("replication-test", help)
	set.StringVar(&s.which, "run", ".*", "`expression` of the cells to run, as java-apogee-sync-kill-master; it has to fit the whole name")
	set.IntVar(&s.Rounds, "rounds", 2, "`how often` the fault happens in a cell")
	set.DurationVar(&s.Load, "load", 2*time.Second, "how long clients work before, in and after each fault")
	set.IntVar(&s.Together, "together", 1, "`cells` at the same time")
	set.StringVar(&s.Dir, "dir", "", "`folder` for the files; by default a temporary one. What a cell leaves stays there if it has findings")
	set.StringVar(&s.json, "json", "", "`file` for the results of this run and of earlier ones")
	set.BoolVar(&s.missing, "missing", false, "do not run the cells that the file of -json has without findings")
	set.BoolVar(&s.reportOnly, "report", false, "run nothing: print what the file of -json has")
	set.BoolVar(&s.readme, "write-readme", false, "put the table of the file of -json into README.md")
	if code, ok := testkit.ParseFlags(set, args); !ok {
		return code
	}
	// The cells have their names, whatever expression chose them.
	said := testkit.CommandLine("bin/replication-test", args, map[string]bool{
		"run": true, "dir": true, "json": true, "missing": false, "report": false, "write-readme": false,
	})
	s.Origin = fmt.Sprintf("`%s` at commit %s", said, testkit.Commit())
	temporary := s.Dir == ""
	ok, err := s.start()
	if err != nil {
		fmt.Fprintf(os.Stderr, "replication-test: %v\n", err)
		return 2
	}
	if ok {
		if temporary {
			_ = os.RemoveAll(s.Dir)
		}
		return 0
	}
	fmt.Fprintf(os.Stderr, "the files are in %s\n", s.Dir)
	return 1
}

func (s *settings) start() (ok bool, err error) {
	results, err := replication.OpenResults(s.json)
	if err != nil {
		return false, err
	}
	if s.json == "" && (s.missing || s.reportOnly || s.readme) {
		return false, errors.New("-missing, -report and -write-readme are about the file of -json")
	}
	ok = true
	if !s.reportOnly {
		if ok, err = s.cells(results); err != nil {
			return false, err
		}
	}
	if s.json == "" {
		return ok, nil
	}
	fmt.Printf("\n%s", results.Markdown())
	if s.readme {
		err = testkit.Delivery{Text: results.Markdown(), Section: "replication"}.Deliver()
	}
	return ok, err
}

// cells runs what is asked for.
func (s *settings) cells(results *replication.Results) (ok bool, err error) {
	fits, err := regexp.Compile("^(?:" + s.which + ")$")
	if err != nil {
		return false, err
	}
	for _, c := range replication.Matrix() {
		if fits.MatchString(c.String()) && !(s.missing && results.Clean(c)) {
			s.Cells = append(s.Cells, c)
		}
	}
	if len(s.Cells) == 0 {
		if s.missing {
			return true, nil
		}
		return false, fmt.Errorf("no cell has a name that fits %s", s.which)
	}
	if s.Apogee.Bin, err = testkit.Binary(); err != nil {
		return false, err
	}
	if s.Java, err = testkit.FindJava(); err != nil {
		fmt.Printf("cells with Java are skipped: %v\n", err)
		s.Java = nil
	}
	if s.Dir == "" {
		if s.Dir, err = os.MkdirTemp("", "replication-"); err != nil {
			return false, err
		}
	}
	s.Ended = results.Take
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	rows, err := replication.Run(ctx, s.Options)
	fmt.Printf("\n%s", replication.Table(rows))
	for i := range rows {
		ok = ok || rows[i].OK()
	}
	for i := range rows {
		ok = ok && len(rows[i].Findings) == 0
	}
	return ok, err
}
