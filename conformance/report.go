package conformance

import (
	_ "embed"
	"fmt"
	"io"
	"strings"
	"time"
)

//go:embed features.tsv
var featureText string

// Feature is one row of the feature list.
type Feature struct{ Area, Name string }

// Features is the whole list; what has no case yet is owed by later work.
func Features() []Feature {
	var out []Feature
	for line := range strings.Lines(featureText) {
		if area, name, ok := strings.Cut(strings.TrimRight(line, "\n"), "\t"); ok {
			out = append(out, Feature{area, name})
		}
	}
	return out
}

// Report is what a run leaves behind.
type Report struct {
	Date    string   `json:"date"`
	Command string   `json:"command"`
	Commit  string   `json:"commit,omitempty"`
	Results []Result `json:"results"`
}

// Failed counts the failures on a target; "" counts all.
func (r Report) Failed(target string) int { return r.count(target, Fail) }

func (r Report) count(target string, s Status) int {
	n := 0
	for _, x := range r.Results {
		if x.Status == s && (target == "" || x.Target == target) {
			n++
		}
	}
	return n
}

func (r Report) find(f Feature, target string) *Result {
	for i := range r.Results {
		if x := &r.Results[i]; x.Area == f.Area && x.Feature == f.Name && x.Target == target {
			return x
		}
	}
	return nil
}

// Targets are the targets in the report, in the order of their first result.
func (r Report) Targets() []string {
	var out []string
	seen := map[string]bool{}
	for _, x := range r.Results {
		if !seen[x.Target] {
			seen[x.Target] = true
			out = append(out, x.Target)
		}
	}
	return out
}

// Print writes the table for people at a terminal, with the reasons of what did not pass below it.
func (r Report) Print(w io.Writer) error {
	targets := r.Targets()
	var b strings.Builder
	fmt.Fprintf(&b, "%-14s %-62s", "area", "feature")
	for _, t := range targets {
		fmt.Fprintf(&b, " %-10s", t)
	}
	b.WriteString("\n")
	for _, f := range Features() {
		line, any := fmt.Sprintf("%-14s %-62s", f.Area, f.Name), false
		for _, t := range targets {
			text := "-"
			if x := r.find(f, t); x != nil {
				text, any = string(x.Status), true
				if x.Status == Fail {
					text = "FAIL"
				}
			}
			line += fmt.Sprintf(" %-10s", text)
		}
		if any {
			b.WriteString(line + "\n")
		}
	}
	for _, s := range []Status{Skip, Fail} {
		for _, x := range r.Results {
			if x.Status == s {
				fmt.Fprintf(&b, "\n%s on %s: %s\n  %s\n", strings.ToUpper(string(s)), x.Target, x.Feature, strings.ReplaceAll(x.Reason, "\n", "\n  "))
			}
		}
	}
	b.WriteString("\n")
	for _, t := range targets {
		fmt.Fprintf(&b, "%s: %d passed, %d failed, %d skipped\n", t, r.count(t, Pass), r.count(t, Fail), r.count(t, Skip))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Markdown is the table of the README: every row of the feature list, also those without a case.
func (r Report) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Run on %s with `%s`", r.Date, r.Command)
	if r.Commit != "" {
		fmt.Fprintf(&b, " at commit %s", r.Commit)
	}
	b.WriteString(".")
	for _, t := range r.Targets() {
		fmt.Fprintf(&b, " %s: %d passed, %d failed, %d skipped.", t, r.count(t, Pass), r.count(t, Fail), r.count(t, Skip))
	}
	b.WriteString(" A row without a result has no case yet: it is not served, or not shown.\n\n| area | feature | Apogee | Java 5.5.0 |\n|---|---|---|---|\n")
	for _, f := range Features() {
		cell := func(target string) string {
			x := r.find(f, target)
			switch {
			case x == nil:
				return ""
			case x.Status == Pass:
				return "yes"
			case x.Status == Skip:
				return "not applicable"
			}
			return "**no**"
		}
		apogee := cell("apogee")
		if apogee == "" {
			apogee = "not yet"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", f.Area, strings.ReplaceAll(f.Name, "|", `\|`), apogee, cell("java"))
	}
	return b.String()
}

// Today is the date of a report.
func Today(now time.Time) string { return now.UTC().Format("2006-01-02") }
