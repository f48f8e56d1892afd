package record

import (
	"math"
	"unicode/utf8"
)

// HashString is Java's String.hashCode of a text held as UTF-8: h = 31*h + unit over its UTF-16 units, in 32 bits.
func HashString(s string) int32 { return hashFrom(0, s) }

// HashMore continues a hash over a further piece of text, so that a text in several pieces needs no joining. A character must not
// be split over two pieces.
func HashMore(h int32, piece string) int32 { return hashFrom(uint32(h), piece) }

func hashFrom(h uint32, s string) int32 {
	i := 0
	// Eight characters at a time, so that one multiplication waits for the one before and not eight.
	for ; i+8 <= len(s); i += 8 {
		c := s[i : i+8]
		if (c[0]|c[1]|c[2]|c[3]|c[4]|c[5]|c[6]|c[7])&utf8.RuneSelf != 0 {
			return hashWide(h, s[i:])
		}
		h = h*(p4*p4&math.MaxUint32) +
			(uint32(c[0])*p3+uint32(c[1])*p2+uint32(c[2])*p1+uint32(c[3]))*p4 +
			uint32(c[4])*p3 + uint32(c[5])*p2 + uint32(c[6])*p1 + uint32(c[7])
	}
	for ; i < len(s); i++ {
		c := s[i]
		if c >= utf8.RuneSelf {
			return hashWide(h, s[i:])
		}
		h = 31*h + uint32(c)
	}
	return int32(h)
}

// Powers of the factor.
const (
	p1 = 31
	p2 = p1 * p1
	p3 = p2 * p1
	p4 = p3 * p1
)

// hashWide is hashFrom for a text that is not ASCII from its start.
func hashWide(h uint32, s string) int32 {
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n <= 1:
			// Java puts one U+FFFD for each longest beginning of a character that goes wrong.
			n = badLength(s)
			h = 31*h + utf8.RuneError
		case r >= 0x10000:
			r -= 0x10000
			h = 31*h + 0xD800 + uint32(r>>10)
			h = 31*h + 0xDC00 + uint32(r&0x3FF)
		default:
			h = 31*h + uint32(r)
		}
		s = s[n:]
	}
	return int32(h)
}

// badLength is how many bytes at the start of s, which is not valid there, Java's UTF-8 decoder replaces by one U+FFFD.
func badLength(s string) int {
	lead, want := s[0], 0
	switch {
	case lead >= 0xC2 && lead <= 0xDF:
		want = 2
	case lead >= 0xE0 && lead <= 0xEF:
		want = 3
	case lead >= 0xF0 && lead <= 0xF4:
		want = 4
	default:
		return 1
	}
	n := 1
	for n < want && n < len(s) && s[n]&0xC0 == 0x80 {
		// The second byte is restricted for some leads. A surrogate (0xED) is not: it is read whole and replaced as one.
		if n == 1 && (lead == 0xE0 && s[1] < 0xA0 || lead == 0xF0 && s[1] < 0x90 || lead == 0xF4 && s[1] > 0x8F) {
			break
		}
		n++
	}
	return n
}
