package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// origin is how and when a part of a report was measured. A report that was put together from several runs has several.
type origin struct {
	Date    string `json:"date"`
	At      string `json:"at,omitempty"` // hour and minute
	Command string `json:"command"`
	Commit  string `json:"commit,omitempty"`
	Machine string `json:"machine"`
	JVM     string `json:"jvm"`
	Runs    int    `json:"runs"`
	Length  string `json:"length_of_a_run"`
	Warm    string `json:"jvm_warmed_for"`
	Took    string `json:"took"`
	Held    bool   `json:"memory_held,omitempty"`
}

// tag says where a piece of a report comes from.
type tag struct {
	Section string `json:"section,omitempty"` // its name for -run
	Part    int    `json:"part,omitempty"`    // 0: the report's own run; else Parts[Part-1]
}

func (t *tag) tagged() *tag { return t }

// piece is something of which a report has a list. Two with the same key are the same figure, measured twice.
type piece[T any] interface {
	*T
	tagged() *tag
	key() string
}

func (r *row) key() string        { return r.Load + ", " + r.Figure }
func (l *latencyRow) key() string { return l.Load }
func (f *flatRow) key() string    { return f.What }
func (s *steadyRow) key() string  { return s.Broker }
func (r *results) key() string    { return r.Name }
func (n *remark) key() string     { return n.Section + ": " + n.Text }

// remark is a line under the tables.
type remark struct {
	tag
	Text string `json:"text"`
}

// UnmarshalJSON reads also what was written when a remark was its text and nothing else.
func (n *remark) UnmarshalJSON(b []byte) error {
	if err := json.Unmarshal(b, &n.Text); err == nil {
		return nil
	}
	type plain remark
	return json.Unmarshal(b, (*plain)(n))
}

// pieces calls do for each piece of the report.
func (r *report) pieces(do func(*tag)) {
	each(r.Rows, do)
	each(r.Latency, do)
	each(r.Flat, do)
	each(r.Steady, do)
	each(r.Loads, do)
	each(r.Notes, do)
}

func each[T any, P piece[T]](list []T, do func(*tag)) {
	for i := range list {
		do(P(&list[i]).tagged())
	}
}

// stamp names the section of all that has none yet: what was measured last.
func (r *report) stamp(section string) {
	r.pieces(func(t *tag) {
		if t.Section == "" {
			t.Section = section
		}
	})
}

// mergedInto is an earlier report with what this one has measured anew in its place. A section that this run did not finish stays as it was.
func (r *report) mergedInto(old *report) *report {
	out := *old
	done := map[string]bool{}
	for _, name := range r.finished {
		done[name] = true
	}
	part := 1 + len(old.Parts)
	out.Parts = append(slices.Clone(old.Parts), r.origin)
	out.Rows = mergeLists(old.Rows, r.Rows, done, part)
	out.Latency = mergeLists(old.Latency, r.Latency, done, part)
	out.Flat = mergeLists(old.Flat, r.Flat, done, part)
	out.Steady = mergeLists(old.Steady, r.Steady, done, part)
	out.Loads = mergeLists(old.Loads, r.Loads, done, part)
	out.Notes = mergeLists(old.Notes, r.Notes, done, part)
	out.finished = r.finished
	out.dropUnusedParts()
	return &out
}

// mergeLists replaces what is measured anew where it stands, drops the rest of the sections that are done, and adds what is new.
func mergeLists[T any, P piece[T]](old, fresh []T, done map[string]bool, part int) []T {
	var out []T
	used := make([]bool, len(fresh))
	for i := range old {
		key, section := P(&old[i]).key(), P(&old[i]).tagged().Section
		at := slices.IndexFunc(fresh, func(x T) bool { return P(&x).key() == key })
		switch {
		case at >= 0 && !used[at]:
			used[at] = true
			out = append(out, fresh[at])
			P(&out[len(out)-1]).tagged().Part = part
		case at < 0 && !(section != "" && done[section]):
			out = append(out, old[i])
		}
	}
	for i, x := range fresh {
		if !used[i] {
			out = append(out, x)
			P(&out[len(out)-1]).tagged().Part = part
		}
	}
	return out
}

// keepOnly drops what belongs to a section that there is no longer: nothing would ever replace it.
func (r *report) keepOnly(sections []string) {
	r.Rows, r.Latency, r.Flat = keep(r.Rows, sections), keep(r.Latency, sections), keep(r.Flat, sections)
	r.Steady, r.Loads, r.Notes = keep(r.Steady, sections), keep(r.Loads, sections), keep(r.Notes, sections)
	r.dropUnusedParts()
}

func keep[T any, P piece[T]](list []T, sections []string) []T {
	return slices.DeleteFunc(list, func(x T) bool {
		s := P(&x).tagged().Section
		return s != "" && !slices.Contains(sections, s)
	})
}

// dropUnusedParts forgets runs of which nothing is left. The first one of which something is left is then the report's own.
func (r *report) dropUnusedParts() {
	all := append([]origin{r.origin}, r.Parts...)
	used := make([]bool, len(all))
	r.pieces(func(t *tag) { used[t.Part] = true })
	var left []origin
	renamed := make([]int, len(all))
	for i, o := range all {
		if used[i] {
			renamed[i] = len(left)
			left = append(left, o)
		}
	}
	if len(left) == 0 {
		return
	}
	r.pieces(func(t *tag) { t.Part = renamed[t.Part] })
	r.origin, r.Parts = left[0], left[1:]
}

// writeParts says what was not measured by the run that the report begins with.
func (r *report) writeParts(b *strings.Builder) {
	for i, o := range r.Parts {
		var sections []string
		r.pieces(func(t *tag) {
			if t.Part == i+1 && !slices.Contains(sections, t.Section) {
				sections = append(sections, t.Section)
			}
		})
		fmt.Fprintf(b, "- Measured apart, on %s at %s UTC with `%s`", o.Date, o.At, o.Command)
		if o.Commit != "" {
			fmt.Fprintf(b, " at commit %s", o.Commit)
		}
		if o.Machine != r.Machine {
			fmt.Fprintf(b, " on %s", o.Machine)
		}
		if o.Held && !r.Held {
			b.WriteString(", with memory held")
		}
		fmt.Fprintf(b, ", the median of %d runs of %s: %s.\n", o.Runs, o.Length, strings.Join(sections, "; "))
	}
}
