package replication

import (
	"path/filepath"
	"strings"
	"testing"
)

// What a run has left stays when another one goes on, and the newest result of a cell counts.
func TestResultsAreKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out.json")
	all := Matrix()
	for _, run := range [][]Row{
		{{Cell: all[7], Origin: "first", Acknowledged: 10, Findings: []string{"bad"}}, {Cell: all[1], Origin: "first", Acknowledged: 20}},
		{{Cell: all[7], Origin: "second", Acknowledged: 30}, {Cell: all[1], Skipped: "context canceled"}},
	} {
		r, err := OpenResults(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range run {
			if err := r.Take(row); err != nil {
				t.Fatal(err)
			}
		}
	}
	r, err := OpenResults(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.rows) != 2 || !r.Clean(all[1]) || !r.Clean(all[7]) || r.Clean(all[0]) {
		t.Errorf("%+v", r.rows)
	}
	table := r.Markdown()
	for _, want := range []string{
		"| apogee-apogee-async | not run | 0 / 20 | not run |", "| apogee-apogee-sync | not run | not run | 0 / 30 |",
		"2 of 40 cells, 0 of them with findings; 50 messages acknowledged", "Run first (1 cells); second (1 cells).",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("no %q in\n%s", want, table)
		}
	}
}
