package replication

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"apogee/internal/testkit"
)

// Results are rows of one run or several, the newest of each cell, in the order of the matrix. With a path they are in that file too.
type Results struct {
	path string
	rows []Row
}

// OpenResults reads what runs have left in a file, if there is one.
func OpenResults(path string) (*Results, error) {
	r := &Results{path: path}
	return r, testkit.Earlier(path, &r.rows)
}

// Take puts a row in the place of an older one of its cell, also in the file. A cell that was skipped keeps what it had.
func (r *Results) Take(row Row) error {
	if row.Skipped != "" {
		return nil
	}
	r.rows = append(slices.DeleteFunc(r.rows, func(old Row) bool { return old.Cell == row.Cell }), row)
	all := Matrix()
	slices.SortFunc(r.rows, func(a, b Row) int { return slices.Index(all, a.Cell) - slices.Index(all, b.Cell) })
	return testkit.Delivery{Value: r.rows, JSON: r.path}.Deliver()
}

// Clean tells whether there is a result of a cell, and nothing is wrong with it.
func (r *Results) Clean(c Cell) bool {
	row := r.of(c)
	return row != nil && row.OK()
}

func (r *Results) of(c Cell) *Row {
	if i := slices.IndexFunc(r.rows, func(row Row) bool { return row.Cell == c }); i >= 0 {
		return &r.rows[i]
	}
	return nil
}

// Markdown is a short table for a page: what was lost in each cell, of how much, and what was run when.
func (r *Results) Markdown() string {
	var b strings.Builder
	b.WriteString("Messages lost of those that were promised / acknowledged, and findings where there are any:\n\n| master → slave |")
	for _, f := range faults {
		fmt.Fprintf(&b, " %s |", f.name)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(faults)) + "\n")
	ran, bad, acknowledged, operations := 0, 0, 0, 0
	runs := map[string]int{}
	all := Matrix()
	for line := range slices.Chunk(all, len(faults)) {
		fmt.Fprintf(&b, "| %s |", line[0].pair())
		for _, c := range line {
			row := r.of(c)
			if row == nil {
				b.WriteString(" not run |")
				continue
			}
			text := fmt.Sprintf("%d / %d", row.Lost, row.Acknowledged)
			if n := len(row.Findings); n > 0 {
				bad++
				text += fmt.Sprintf(", **%d findings**", n)
			}
			fmt.Fprintf(&b, " %s |", text)
			ran++
			acknowledged += row.Acknowledged
			operations += row.Operations
			runs[row.Origin]++
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "\n%d of %d cells, %d of them with findings; %d messages acknowledged, %d operations judged. Run", ran, len(all), bad, acknowledged, operations)
	for i, origin := range slices.Sorted(maps.Keys(runs)) {
		if i > 0 {
			b.WriteString(";")
		}
		fmt.Fprintf(&b, " %s (%d cells)", origin, runs[origin])
	}
	b.WriteString(".\n")
	return b.String()
}
