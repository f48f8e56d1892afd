package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"apogee/internal/testkit"
)

// report is everything that a run leaves behind.
type report struct {
	origin
	Parts   []origin     `json:"parts,omitempty"` // other runs that pieces of this report are from
	Filled  int64        `json:"page_cache_filled_bytes"`
	Rows    []row        `json:"rows,omitempty"`
	Latency []latencyRow `json:"latency,omitempty"`
	Flat    []flatRow    `json:"flat,omitempty"`
	Steady  []steadyRow  `json:"steady,omitempty"`
	Loads   []results    `json:"loads,omitempty"`
	Notes   []remark     `json:"notes,omitempty"`

	finished []string // sections that were measured without an error
}

func (r *report) add(x row) { r.Rows = append(r.Rows, x) }

// markdown is what is printed, and what the README quotes.
func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Run on %s with `%s`", r.Date, r.Command)
	if r.Commit != "" {
		fmt.Fprintf(&b, " at commit %s", r.Commit)
	}
	fmt.Fprintf(&b, ", on %s. Both brokers in turns, the one that is not measured frozen; the median of %d runs of %s each; JVM (`%s`) warmed with %s of load.",
		r.Machine, r.Runs, r.Length, r.JVM, r.Warm)
	if r.Filled > 0 {
		fmt.Fprintf(&b, " %s", fillReason)
	}
	if r.Held || slices.ContainsFunc(r.Parts, func(o origin) bool { return o.Held }) {
		fmt.Fprintf(&b, " %s", r.heldReason())
	}
	b.WriteString("\n")
	r.writeRows(&b)
	r.writeLatency(&b)
	r.writeFlat(&b)
	r.writeSteady(&b)
	if len(r.Notes)+len(r.Parts) > 0 {
		b.WriteString("\n")
		r.writeParts(&b)
		for _, n := range r.Notes {
			fmt.Fprintf(&b, "- %s\n", n.Text)
		}
	}
	return b.String()
}

// heldReason says what holding memory is, and which parts it was done for.
func (r *report) heldReason() string {
	if r.Held {
		return holdReason
	}
	return "Where it says so below: " + holdReason
}

func (r *report) writeRows(b *strings.Builder) {
	if len(r.Rows) == 0 {
		return
	}
	good, owed := 0, 0
	for _, x := range r.Rows {
		if x.Verdict != "" {
			owed++
		}
		if x.Verdict == met {
			good++
		}
	}
	fmt.Fprintf(b, "\n%d of %d figures that are owed are met. The ratio says how many times better Apogee is; below 1 it is worse.\n\n", good, owed)
	b.WriteString("| load | figure | Apogee | Java 5.5.0 | ratio | owed | | other load, cores |\n|---|---|---:|---:|---:|---|---|---:|\n")
	last := ""
	for _, x := range slices.SortedStableFunc(slices.Values(r.Rows), func(a, b row) int { return place(a.Load) - place(b.Load) }) {
		name := x.Load
		if name == last {
			name = ""
		}
		last = x.Load
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s | %.2f |\n", name, x.Figure, number(x.Apogee), number(x.Java), x.ratio(), x.Owed, emphasize(x.Verdict), x.Other)
	}
}

// order is that of the table that is owed; brokers are started in another one.
var order = []string{
	"send 1 KiB, 16", "send 128 B", "send 4 KiB", "send 64 KiB", "send 1 KiB, 1 ×", "batch", "pull", "tail", "sync", "idle broker", "idle", "connection churn",
	"start", "topics", "create", "route",
}

func place(load string) int {
	for i, prefix := range order {
		if strings.HasPrefix(load, prefix) {
			return i
		}
	}
	return len(order)
}

// ratio is the cell of the comparison: with Java, and with the machine where that was measured.
func (r *row) ratio() string {
	var parts []string
	if r.Ratio != nil {
		parts = append(parts, number(r.Ratio)+" ×")
	}
	switch {
	case r.OfLimit == nil:
	case r.More:
		parts = append(parts, fmt.Sprintf("%.0f %% of the machine's %s", 100**r.OfLimit, number(r.Limit)))
	default:
		parts = append(parts, "the machine's own "+number(r.Limit))
	}
	return strings.Join(parts, "; ")
}

func emphasize(verdict string) string {
	if verdict == missed {
		return "**missed**"
	}
	return verdict
}

// deliver prints the report and writes it where the flags say.
func (r *report) deliver(s *settings) error {
	if _, err := io.WriteString(os.Stdout, r.markdown()); err != nil {
		return err
	}
	if err := (testkit.Delivery{Value: r, JSON: s.out}).Deliver(); err != nil || !s.readme {
		return err
	}
	root, err := testkit.Root()
	if err != nil {
		return err
	}
	return testkit.Delivery{Value: r.table(), JSON: filepath.Join(root, tableFile), Text: r.markdown(), Section: "bench"}.Deliver()
}

// tableFile keeps what the README's table shows, so that -from can begin with it on any machine.
const tableFile = "docs/bench-vs-java.json"

// table is the report without what its tables do not show: the loads in full are some hundred kilobytes.
func (r *report) table() *report {
	out := *r
	out.Loads = nil
	return &out
}
