package filter

import (
	"cmp"
	"math"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// parseWhole reads a number as Java's Integer.valueOf (bits 32) or Long.valueOf (64) does: a sign perhaps, then digits of any script of
// the basic plane, nothing else.
func parseWhole(s string, bits uint) (int64, bool) {
	limit := uint64(1)<<(bits-1) - 1
	neg := false
	if s != "" && (s[0] == '-' || s[0] == '+') {
		neg = s[0] == '-'
		s = s[1:]
	}
	if neg {
		limit++
	}
	if s == "" {
		return 0, false
	}
	var n uint64
	for s != "" {
		d, size := digit(s)
		if size == 0 || n > (limit-d)/10 {
			return 0, false
		}
		n = n*10 + d
		s = s[size:]
	}
	if neg {
		return -int64(n), true
	}
	return int64(n), true
}

// digit is the value of the digit that s starts with, and its length; length 0 if it is none.
func digit(s string) (uint64, int) {
	if c := s[0]; c < utf8.RuneSelf {
		if isDigit(c) {
			return uint64(c - '0'), 1
		}
		return 0, 0
	}
	r, size := utf8.DecodeRuneInString(s)
	for _, block := range unicode.Nd.R16 { // each is a row of tens, in order
		if uint16(r) >= block.Lo && uint16(r) <= block.Hi && r <= math.MaxUint16 {
			return uint64(uint16(r)-block.Lo) % 10, size
		}
	}
	return 0, 0
}

// parseDouble reads a number as Java's Double.valueOf does: blanks around it do not count, NaN and Infinity are numbers, an f or d may
// follow, and hexadecimal ones need an exponent. Beyond the range it is infinite.
func parseDouble(s string) (float64, bool) {
	s = trim(s)
	body := s
	if body != "" && (body[0] == '+' || body[0] == '-') {
		body = body[1:]
	}
	switch body {
	case "NaN":
		return math.NaN(), true
	case "Infinity":
		if s[0] == '-' {
			return math.Inf(-1), true
		}
		return math.Inf(1), true
	}
	n := decimalLen(body)
	if len(body) > 2 && body[0] == '0' && body[1]|0x20 == 'x' {
		n = hexLen(body)
	}
	if rest := body[n:]; n == 0 || len(rest) > 1 || rest != "" && rest[0]|0x20 != 'f' && rest[0]|0x20 != 'd' {
		return 0, false
	}
	v, _ := strconv.ParseFloat(s[:len(s)-len(body)+n], 64) // the only error left is the range, and then it is infinite
	return v, true
}

// trim takes off what Java's String.trim does.
func trim(s string) string {
	for s != "" && s[0] <= ' ' {
		s = s[1:]
	}
	for s != "" && s[len(s)-1] <= ' ' {
		s = s[:len(s)-1]
	}
	return s
}

// decimalLen is the length of a decimal number without sign at the start of s.
func decimalLen(s string) int {
	whole := digits(s)
	n, seen := whole, whole
	if n < len(s) && s[n] == '.' {
		f := digits(s[n+1:])
		n, seen = n+1+f, whole+f
	}
	if seen == 0 {
		return 0
	}
	return n + exponent(s[n:])
}

// hexLen is the length of 0x, hexadecimal digits with a point perhaps, P and a decimal exponent.
func hexLen(s string) int {
	whole := hexDigits(s[2:])
	n, seen := 2+whole, whole
	if n < len(s) && s[n] == '.' {
		f := hexDigits(s[n+1:])
		n, seen = n+1+f, whole+f
	}
	if seen == 0 || n == len(s) || s[n]|0x20 != 'p' {
		return 0
	}
	n++
	if n < len(s) && (s[n] == '+' || s[n] == '-') {
		n++
	}
	d := digits(s[n:])
	if d == 0 {
		return 0
	}
	return n + d
}

func hexDigits(s string) int {
	n := 0
	for n < len(s) && (isDigit(s[n]) || s[n]|0x20 >= 'a' && s[n]|0x20 <= 'f') {
		n++
	}
	return n
}

// compareDoubles is Double.compareTo: -0.0 is below 0.0, and NaN is equal to itself and above all others.
func compareDoubles(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	case a == b:
		return cmp.Compare(int64(math.Float64bits(a)), int64(math.Float64bits(b))) // tells the zeros apart, all else is equal
	case math.IsNaN(a) && math.IsNaN(b):
		return 0
	case math.IsNaN(a):
		return 1
	}
	return -1
}
