package replication

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"apogee/internal/testkit"
)

// Cell is one case of the matrix.
type Cell struct {
	Master, Slave string // apogee or java
	Sync          bool   // SYNC_MASTER with inSyncReplicas=2
	Fault         Fault
}

func (c Cell) String() string { return fmt.Sprintf("%s-%s", c.pair(), c.Fault) }

// pair is what the cells have in common that differ in the fault only.
func (c Cell) pair() string {
	mode := "async"
	if c.Sync {
		mode = "sync"
	}
	return fmt.Sprintf("%s-%s-%s", c.Master, c.Slave, mode)
}

// Matrix is all cells.
func Matrix() (all []Cell) {
	for _, master := range []string{"apogee", "java"} {
		for _, slave := range []string{"apogee", "java"} {
			for _, sync := range []bool{false, true} {
				for f := range faults {
					all = append(all, Cell{master, slave, sync, Fault(f)})
				}
			}
		}
	}
	return all
}

// Options say what is run and how.
type Options struct {
	Apogee   testkit.Apogee
	Java     *testkit.Java // nil where there is none: its cells are skipped
	Cells    []Cell
	Dir      string        // for the files
	Load     time.Duration // how long clients work before, in and after each fault
	Rounds   int           // faults in a cell, one after the other
	Together int           // cells at the same time
	Origin   string        // of the rows: what was run, and at which commit
	Progress func(format string, args ...any)
	Ended    func(Row) error // is told of each cell as it ends; may be nil
}

// Row is what came of a cell.
type Row struct {
	Cell
	Origin  string
	Skipped string // why; "" if it was run
	Hosts   string // what they were
	Slow    string // what made disks slow

	Sent         int // each once, without retries
	Acknowledged int // SEND_OK
	NotCopied    int // FLUSH_SLAVE_TIMEOUT and its like: stored, but perhaps on no slave
	Refused      int
	Unanswered   int
	Lost         int // of what was promised
	Duplicates   int // stored more than once
	Behind       int // acknowledged, and not yet on the async slave when its master died: nobody has promised that
	FromMaster   int // messages that the consumer was served, by whom
	FromSlave    int
	Audits       int // times that the slave's end was compared with what was acknowledged by then
	Operations   int // of the history that the checker has judged
	Verdict      string
	LogBytes     int64 // compared
	Took         time.Duration
	Findings     []string
}

// OK tells whether nothing is wrong with a cell that was run.
func (r *Row) OK() bool { return r.Skipped == "" && len(r.Findings) == 0 }

// Run runs all cells. An error means that it was stopped, or that Ended failed; what is wrong with the brokers is in the rows.
func Run(ctx context.Context, o Options) ([]Row, error) {
	rows := make([]Row, len(o.Cells))
	var wg sync.WaitGroup
	var mu sync.Mutex // of Progress, Ended and what that says
	var failed error
	turn := make(chan struct{}, max(o.Together, 1))
	for i := range o.Cells {
		turn <- struct{}{}
		wg.Go(func() {
			defer func() { <-turn }()
			rows[i] = o.run(ctx, i)
			mu.Lock()
			defer mu.Unlock()
			o.Progress("%s", rows[i].line())
			for _, f := range rows[i].Findings {
				o.Progress("  FINDING: %s", f)
			}
			if o.Ended != nil {
				failed = errors.Join(failed, o.Ended(rows[i]))
			}
		})
	}
	wg.Wait()
	return rows, errors.Join(ctx.Err(), failed)
}

func (o *Options) run(ctx context.Context, i int) Row {
	spec := o.Cells[i]
	row := Row{Cell: spec, Origin: o.Origin}
	if err := ctx.Err(); err != nil {
		row.Skipped = err.Error()
		return row
	}
	if o.Java == nil && (spec.Master == "java" || spec.Slave == "java") {
		row.Skipped = "there is no Java"
		return row
	}
	began := time.Now()
	c := &cell{
		Options: o, Row: &row, ctx: ctx, began: began, dir: filepath.Join(o.Dir, fmt.Sprintf("%02d-%s", i, spec)), topic: "Replicated",
	}
	err := c.run()
	row.Took = time.Since(began)
	switch {
	case ctx.Err() != nil:
		row.Skipped = ctx.Err().Error()
	case err != nil:
		row.Findings = append(row.Findings, err.Error())
	}
	if row.Skipped == "" && len(row.Findings) == 0 {
		_ = os.RemoveAll(c.dir)
	}
	return row
}

// columns are the table's.
var columns = []struct {
	name string
	of   func(*Row) any
}{
	{"sent", func(r *Row) any { return r.Sent }},
	{"acknowledged", func(r *Row) any { return r.Acknowledged }},
	{"not copied", func(r *Row) any { return r.NotCopied }},
	{"refused", func(r *Row) any { return r.Refused }},
	{"no answer", func(r *Row) any { return r.Unanswered }},
	{"lost", func(r *Row) any { return r.Lost }},
	{"duplicates", func(r *Row) any { return r.Duplicates }},
	{"behind", func(r *Row) any { return r.Behind }},
	{"from master", func(r *Row) any { return r.FromMaster }},
	{"from slave", func(r *Row) any { return r.FromSlave }},
	{"audits", func(r *Row) any { return r.Audits }},
	{"operations", func(r *Row) any { return r.Operations }},
	{"checker", func(r *Row) any { return r.Verdict }},
	{"log MB", func(r *Row) any { return fmt.Sprintf("%.1f", float64(r.LogBytes)/1e6) }},
	{"seconds", func(r *Row) any { return fmt.Sprintf("%.0f", r.Took.Seconds()) }},
}

// line is a row for who watches.
func (r *Row) line() string {
	if r.Skipped != "" {
		return fmt.Sprintf("%v: SKIPPED: %s", r.Cell, r.Skipped)
	}
	on := r.Hosts
	if r.Slow != "" {
		on += ", " + r.Slow
	}
	parts := make([]string, len(columns))
	for i, c := range columns {
		parts[i] = fmt.Sprint(c.name, " ", c.of(r))
	}
	return fmt.Sprintf("%v (%s): %s", r.Cell, on, strings.Join(parts, ", "))
}

// Table is the report on all cells.
func Table(rows []Row) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "master-slave-mode-fault\t")
	for _, c := range columns {
		fmt.Fprintf(w, "%s\t", c.name)
	}
	fmt.Fprintln(w)
	for i := range rows {
		if r := &rows[i]; r.Skipped == "" {
			fmt.Fprintf(w, "%v\t", r.Cell)
			for _, c := range columns {
				fmt.Fprintf(w, "%v\t", c.of(r))
			}
			fmt.Fprintln(w)
		}
	}
	_ = w.Flush() // a strings.Builder takes everything
	var ran, skipped, bad int
	for i := range rows {
		r := &rows[i]
		if r.Skipped != "" {
			b.WriteString(r.line() + "\n")
		}
		for _, f := range r.Findings {
			fmt.Fprintf(&b, "FINDING: %v: %s\n", r.Cell, f)
		}
		switch {
		case r.Skipped != "":
			skipped++
		case !r.OK():
			bad++
			fallthrough
		default:
			ran++
		}
	}
	fmt.Fprintf(&b, "%d cells run, %d of them with findings; %d skipped\n", ran, bad, skipped)
	return b.String()
}
