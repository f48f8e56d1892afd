package conformance

import (
	"strings"
	"testing"
)

func TestCasesAreNamedAfterFeatures(t *testing.T) {
	known := map[Feature]bool{}
	for _, f := range Features() {
		known[f] = true
	}
	seen := map[Feature]bool{}
	for _, c := range Cases() {
		f := Feature{c.Area, c.Feature}
		if !known[f] {
			t.Errorf("case %q is not in features.tsv", f)
		}
		if seen[f] {
			t.Errorf("feature %q has two cases", f)
		}
		seen[f] = true
		if c.Run == nil {
			t.Errorf("case %q does nothing", f)
		}
	}
}

func TestRunnerReportsEachOutcome(t *testing.T) {
	for _, row := range []struct {
		want   Status
		reason string
		run    func(*T)
	}{
		{Pass, "", func(*T) {}},
		{Fail, "one; two", func(t *T) { t.Errorf("one"); t.Fatalf("two"); t.Errorf("three") }},
		{Fail, "one", func(t *T) {
			atOnce(t, []string{"one", "two"}, func(part string) {
				if part == "one" {
					t.Fatalf("%s", part)
				}
			})
			panic("not reached")
		}},
		{Fail, "panic: oops", func(t *T) { atOnce(t, []string{"one"}, func(string) { panic("oops") }) }},
		{Skip, "why", func(t *T) { t.Skipf("why"); t.Errorf("not reached") }},
		{Fail, "panic: oops", func(*T) { panic("oops") }},
		{Fail, "in clean-up", func(t *T) { t.Cleanup(func() { panic("in clean-up") }) }},
	} {
		r := (&T{}).run(Case{Run: row.run})
		if r.Status != row.want || !strings.Contains(r.Reason, row.reason) {
			t.Errorf("got %s %q, want %s %q", r.Status, r.Reason, row.want, row.reason)
		}
	}
}

func TestReadmeTable(t *testing.T) {
	r := Report{Date: "2026-01-02", Command: "bin/conformance", Results: []Result{
		{Area: "filtering", Feature: "Tag filter a || b", Target: "apogee", Status: Pass},
		{Area: "filtering", Feature: "Tag filter a || b", Target: "java", Status: Fail, Reason: "x"},
	}}
	table := r.Markdown()
	if !strings.Contains(table, `| filtering | Tag filter a \|\| b | yes | **no** |`) || !strings.Contains(table, "| filtering | SQL92 property filter | not yet |  |") {
		t.Errorf("table:\n%s", table)
	}
}
