package fastjson

import (
	"errors"
	"slices"
)

// errNothing says that a text has no beginning that could be used.
var errNothing = errors.New("nothing ahead of the damage can be read")

// Salvage gives parse as much as can be read of a text that was cut off, or is damaged from some place on: members ahead of the
// damage, with what is open there closed. parse is called several times, with longer texts as long as it takes them; the last one
// that it took is the longest. An error says that it took none with anything in it.
func Salvage(text []byte, parse func([]byte) error) error {
	cuts := membersEnd(text)
	var got bool
	// What is ahead of a beginning that can be read can be read. Most often the text was cut off, so the last one is tried first.
	for lo, hi, at := 0, len(cuts), len(cuts)-1; lo < hi; at = lo + (hi-lo)/2 {
		if parse(closed(text, cuts[at])) == nil {
			got, lo = true, at+1
		} else {
			hi = at
		}
	}
	if !got {
		return errNothing
	}
	return nil
}

// membersEnd is where members or elements end, in ascending order.
func membersEnd(text []byte) []int {
	var cuts []int
	quoted, depth, member := false, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted:
			if c == '\\' {
				i++
			} else if c == '"' {
				quoted = false
			}
		case c == '"':
			quoted, member = true, true
		case c == '{', c == '[':
			depth++
			member = false
		case c == '}', c == ']':
			if depth--; depth < 0 {
				return cuts
			}
			if member {
				cuts = append(cuts, i)
			}
			member = true
		case c == ',':
			if member {
				cuts = append(cuts, i)
			}
		case c > ' ':
			member = true
		}
	}
	return cuts
}

// closed is the text up to a place, with what is open there closed.
func closed(text []byte, to int) []byte {
	var open []byte
	quoted := false
	for i := 0; i < to; i++ {
		switch c := text[i]; {
		case quoted:
			if c == '\\' {
				i++
			} else if c == '"' {
				quoted = false
			}
		case c == '"':
			quoted = true
		case c == '{':
			open = append(open, '}')
		case c == '[':
			open = append(open, ']')
		case c == '}', c == ']':
			open = open[:len(open)-1]
		}
	}
	slices.Reverse(open)
	return append(text[:to:to], open...)
}
