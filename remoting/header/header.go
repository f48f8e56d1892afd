// Package header declares the custom header ("extFields") of each request and answer once, as a typed struct.
//
// On the wire a custom header is a list of string pairs named after the Java fields (spec: remoting.md 2.7). A struct here names
// its pair in the rmq tag; the files named _gen.go, made by internal/headergen, hold the decoders (a switch over names) and the
// encoders, so that no request pays for reflection. Struct names are the code's name in package code plus Request or Response.
//
// Strings that a decoder sets alias the pairs it was given, which usually alias the frame: clone what outlives the request.
//
//go:generate go run ../../internal/headergen -in headers.go
package header

import (
	"fmt"
	"math"
)

// Pair is one entry of extFields.
type Pair struct{ Key, Value string }

// Fields are the pairs of one header in wire order. A key may come twice: the last one counts, as in Java.
type Fields []Pair

// Get returns the value of key.
func (f Fields) Get(key string) (string, bool) {
	for i := len(f) - 1; i >= 0; i-- {
		if f[i].Key == key {
			return f[i].Value, true
		}
	}
	return "", false
}

// Decoder is a header that can be read from pairs.
type Decoder interface{ DecodeFields(f Fields) error }

// Encodable is a header that can write itself.
type Encodable interface {
	// EncodeFields gives the pairs to e.
	EncodeFields(e Encoder)
	// AppendJSON appends the pairs as members of a JSON object, values in quotes, a comma in front of each pair.
	AppendJSON(b []byte) []byte
}

// Encoder takes the pairs of a header one by one. Values are appended, never retained.
type Encoder interface {
	String(key, value string)
	Int(key string, value int64)
	Bool(key string, value bool)
}

// EncodeFields lets ready-made pairs stand where a typed header would.
func (f Fields) EncodeFields(e Encoder) {
	for i := range f {
		e.String(f[i].Key, f[i].Value)
	}
}

// Opt is a value whose absence means something of its own.
type Opt[T any] struct {
	Value T
	Valid bool
}

// Some is an Opt that is there.
func Some[T any](v T) Opt[T] { return Opt[T]{Value: v, Valid: true} }

// Or returns the value, or def if it is absent.
func (o Opt[T]) Or(def T) T {
	if o.Valid {
		return o.Value
	}
	return def
}

// MissingFieldError says that a field that Java marks @CFNotNull is not there (or not readable, which Java treats alike).
type MissingFieldError struct{ Field string }

func (e *MissingFieldError) Error() string {
	return fmt.Sprintf("the custom field <%s> is null", e.Field)
}

// parseInt32, parseInt64 and parseBool read values as Java does: what cannot be read counts as absent
// (RemotingCommand.decodeCommandCustomHeader logs and leaves the field alone). Most numbers have one digit.
func parseInt32(s string) (int32, bool) {
	if len(s) == 1 && s[0]-'0' <= 9 {
		return int32(s[0] - '0'), true
	}
	return parseLonger32(s)
}

func parseLonger32(s string) (int32, bool) {
	n, ok := ParseInt(s)
	return int32(n), ok && n == int64(int32(n))
}

func parseInt64(s string) (int64, bool) { return ParseInt(s) }

// ParseInt reads a decimal int64 as Java's Long.parseLong does. Unlike strconv it says no without making an error value, since
// the other side decides how often that happens.
func ParseInt(s string) (int64, bool) {
	if len(s) > 16 {
		return parseAny(s)
	}
	n, i := uint64(0), 0
	if len(s) >= 8 {
		v, ok := eightDigits(s)
		if !ok {
			return parseAny(s)
		}
		n, i = v, 8
	}
	for ; i < len(s); i++ {
		d := s[i] - '0'
		if d > 9 {
			return parseAny(s)
		}
		n = n*10 + uint64(d)
	}
	return int64(n), len(s) > 0
}

// eightDigits reads the first eight bytes of s. They are added up in pairs, the pairs in fours, and the fours in one
// multiplication each.
func eightDigits(s string) (uint64, bool) {
	const zeros = '0' * 0x0101010101010101
	x := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
	const upper = 0xf0f0f0f0f0f0f0f0
	if x&upper != zeros || (x+0x0606060606060606)&upper != zeros {
		return 0, false
	}
	x -= zeros
	x = x*10 + x>>8
	const pairs = 0x000000ff000000ff
	return ((x&pairs)*(100+1000000<<32) + (x>>16&pairs)*(1+10000<<32)) >> 32, true
}

// parseAny reads a number of any length, with or without a sign.
func parseAny(s string) (int64, bool) {
	neg := false
	if len(s) > 1 && (s[0] == '-' || s[0] == '+') {
		neg, s = s[0] == '-', s[1:]
	}
	if len(s) == 0 {
		return 0, false
	}
	var n uint64
	for i := 0; i < len(s); i++ {
		d := s[i] - '0'
		if d > 9 || n > math.MaxInt64/10 {
			return 0, false
		}
		n = n*10 + uint64(d)
	}
	if neg {
		return -int64(n), n <= 1<<63
	}
	return int64(n), n <= math.MaxInt64
}

func parseBool(s string) bool {
	return len(s) == 4 && s[0]|0x20 == 't' && s[1]|0x20 == 'r' && s[2]|0x20 == 'u' && s[3]|0x20 == 'e'
}
