package repair

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"apogee/store/record"
)

// The records that wrap a hole cover all of it, none crosses its end or ends a file, and each lost message that a queue knows has one.
func TestPartsOfAHole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const fileSize = 64 << 10
		h := hole{from: rapid.Int64Range(0, 30_000).Draw(t, "from")}
		at := h.from
		var known []extent
		for range rapid.IntRange(1, 20).Draw(t, "messages") {
			e := extent{at, rapid.Int64Range(record.MinSize, 1500).Draw(t, "size")}
			if at += e.size; rapid.Bool().Draw(t, "known") {
				known = append(known, e)
			}
		}
		h.to = at
		toEnd := rapid.Bool().Draw(t, "up to the end of the file")
		if toEnd {
			h.to = fileSize
		}
		h.gone = append(slices.Clone(known), extent{h.from + 3, 200}, extent{h.to - 5, 200}, extent{h.from, 0}) // and entries that are wrong
		h.gone = rapid.Permutation(h.gone).Draw(t, "order")
		if rapid.Bool().Draw(t, "entries are lost too") {
			h.gone, known, h.need = nil, nil, rapid.Int64Range(1, (at-h.from)/record.MinSize/2+1).Draw(t, "need")
		}
		parts, blank := h.parts(fileSize)
		at = h.from
		for _, p := range parts {
			if p.from != at || p.size < record.MinSize || p.size > wrapMost+record.MinSize {
				t.Fatalf("parts %v of %d to %d", parts, h.from, h.to)
			}
			at += p.size
		}
		if at+blank != h.to || toEnd != (blank >= record.BlankSize) || !toEnd && blank != 0 {
			t.Fatalf("%d blank behind %d of %d", blank, at, h.to)
		}
		for _, e := range known {
			if !slices.Contains(parts, e) {
				t.Fatalf("%v is not among %v", e, parts)
			}
		}
		if int64(len(parts)) < h.need && at-h.from >= 2*h.need*record.MinSize {
			t.Fatalf("%d parts for %d messages", len(parts), h.need)
		}
	})
}
