package header

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"unsafe"

	"apogee/internal/jsontext"
)

// The JSON form of pairs is appended by generated code of its own rather than through an Encoder, since nearly every answer is in
// JSON: names are constants there that need no look, and text between two values is one copy.

// AppendJSON is EncodeFields for JSON.
func (f Fields) AppendJSON(b []byte) []byte {
	for i := range f {
		b = AppendQuoted(append(b, ','), f[i].Key)
		b = AppendQuoted(append(b, ':'), f[i].Value)
	}
	return b
}

// Fixed is pairs that go into many headers.
type Fixed struct {
	fields Fields
	json   string
}

// Fix makes the JSON form of pairs once.
func Fix(f Fields) *Fixed { return &Fixed{fields: f, json: string(f.AppendJSON(nil))} }

// EncodeFields and AppendJSON make Fixed an Encodable; a nil one has no pairs.
func (f *Fixed) EncodeFields(e Encoder) {
	if f != nil {
		f.fields.EncodeFields(e)
	}
}

// AppendJSON is EncodeFields for JSON.
func (f *Fixed) AppendJSON(b []byte) []byte {
	if f == nil {
		return b
	}
	return append(b, f.json...)
}

// appendText appends a value whose opening quote is there already.
func appendText(b []byte, s string) []byte {
	n := clean(s)
	if n == len(s) {
		b = append(b, s...)
		return append(b, '"')
	}
	return appendEscaped(b, s, n)
}

// appendInt appends a number and the quote behind it.
func appendInt(b []byte, n int64) []byte {
	if uint64(n) < 10 {
		return append(b, byte('0'+n), '"')
	}
	return append(AppendInt(b, n), '"')
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, `true"`...)
	}
	return append(b, `false"`...)
}

// AppendInt appends a number in decimal, as strconv does. Those below 10^16, which are nearly all, are made eight digits at a time.
func AppendInt(b []byte, n int64) []byte {
	const e8 = 100_000_000
	switch u := uint64(n); {
	case u < 10:
		return append(b, byte('0'+u))
	case u < e8:
		d := digits8(u)
		skip := bits.TrailingZeros64(d) / 8
		b = binary.LittleEndian.AppendUint64(b, (d|zeros)>>(8*skip))
		return b[:len(b)-skip]
	case u < e8*e8:
		return binary.LittleEndian.AppendUint64(AppendInt(b, n/e8), digits8(u%e8)|zeros)
	}
	return strconv.AppendInt(b, n, 10)
}

const zeros = '0' * ones

// digits8 is the eight digits of a number below 10^8 as bytes, the first of them lowest: it is divided into fours, these into pairs,
// and the pairs into digits, each step for all parts at once by multiplying with the inverse of the divisor.
func digits8(n uint64) uint64 {
	fours := n/10000 | n%10000<<32
	hundreds := fours * 10486 >> 20 & (0x7f | 0x7f<<32)
	pairs := hundreds | (fours-100*hundreds)<<16
	tens := pairs * 103 >> 10 & (0xf | 0xf<<16 | 0xf<<32 | 0xf<<48)
	return tens | (pairs-10*tens)<<8
}

// AppendQuoted appends s as a JSON string with fastjson's escapes; UTF-8 stays as it is.
func AppendQuoted(b []byte, s string) []byte { return appendText(append(b, '"'), s) }

// appendEscaped goes on with a string whose first n bytes need no escape.
func appendEscaped(b []byte, s string, n int) []byte {
	for {
		b = append(b, s[:n]...)
		if n == len(s) {
			return append(b, '"')
		}
		b = jsontext.AppendEscape(b, s[n])
		s = s[n+1:]
		n = clean(s)
	}
}

const (
	ones = 0x0101010101010101
	tops = 0x80 * ones
)

// clean is how many bytes at the start of s need no escape. It looks at eight at a time: x-ones has a byte's top bit set, and x has not,
// first where that byte is zero.
func clean(s string) int {
	b := unsafe.Slice(unsafe.StringData(s), len(s))
	i := 0
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i : i+8 : i+8])
		q, e := x^(ones*'"'), x^(ones*'\\')
		if hit := ((q-ones)&^q | (e-ones)&^e | (x-ones*' ')&^x) & tops; hit != 0 {
			return i + bits.TrailingZeros64(hit)/8
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < ' ' || c == '"' || c == '\\' {
			break
		}
	}
	return i
}
