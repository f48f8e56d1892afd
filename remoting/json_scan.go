package remoting

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"

	"apogee/remoting/header"
)

// scanner walks over JSON. After a failure its position is where it failed.
type scanner struct {
	b      []byte
	i      int
	quick  bool // plain text may be read by shortcuts
	failed bool // more met neither a comma nor the closing bracket
}

func (s *scanner) bad(what string) error {
	return badFrame("JSON header: %s at byte %d of %d", what, s.i, len(s.b))
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// peek is the next byte that isn't space, 0 at the end.
func (s *scanner) peek() byte {
	if s.i < len(s.b) && s.b[s.i] > ' ' {
		return s.b[s.i]
	}
	s.space()
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

// enter steps over an opening bracket.
func (s *scanner) enter(open byte) bool {
	if s.peek() != open {
		return false
	}
	s.i++
	return true
}

// more says whether another element comes before the closing bracket, and steps over the comma or that bracket.
func (s *scanner) more(closing byte, first bool) bool {
	switch c := s.peek(); {
	case c == closing:
		s.i++
		return false
	case first:
		return true
	case c == ',':
		s.i++
		return true
	}
	s.failed = true
	return false
}

// key reads a key and its colon.
func (s *scanner) key() (string, error) {
	if s.peek() != '"' {
		return "", s.bad("no key")
	}
	k, err := s.str()
	if err != nil {
		return "", err
	}
	if s.peek() != ':' {
		return "", s.bad("no colon")
	}
	s.i++
	return k, nil
}

// str reads the string that starts at s.i. Without an escape it is a view of the bytes; otherwise they are rewritten in place.
func (s *scanner) str() (string, error) {
	start := s.i + 1
	end := special(s.b, start)
	if end < len(s.b) && s.b[end] == '"' {
		s.i = end + 1
		return view(s.b[start:end]), nil
	}
	return s.escaped(start, end)
}

// special is where the next quote or backslash is at or after i, or the end. It looks at eight bytes at a time.
func special(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 {
		if hit := specials(word(b, i)); hit != 0 {
			return i + bits.TrailingZeros64(hit)/8
		}
	}
	for ; i < len(b); i++ {
		if b[i] == '"' || b[i] == '\\' {
			break
		}
	}
	return i
}

const (
	ones = 0x0101010101010101
	tops = 0x80 * ones
)

// word is the eight bytes at i, the first of them lowest. (A slice without a capacity of its own would cost five instructions more.)
func word(b []byte, i int) uint64 { return binary.LittleEndian.Uint64(b[i : i+8 : i+8]) }

// part is the bytes between two positions, of which to is not beyond the last byte, as a string that shares their memory.
func part(b []byte, from, to int) string { return unsafe.String(&b[from], to-from) }

// specials has the top bit of the first byte set that is a quote or a backslash, and none below: x-ones has a byte's top bit set, and
// x has not, first where that byte is zero.
func specials(x uint64) uint64 {
	q, e := x^(ones*'"'), x^(ones*'\\')
	return ((q-ones)&^q | (e-ones)&^e) & tops
}

// escaped goes on with a string whose first backslash is at i, if it isn't the end.
func (s *scanner) escaped(start, i int) (string, error) {
	b, w := s.b, i
	for i < len(b) {
		if b[i] == '"' {
			s.i = i + 1
			return view(b[start:w]), nil
		}
		if c, ok := separator(b, i); ok {
			b[w] = c
			i, w = i+6, w+1
		} else {
			n, size := unescape(b[i:], b[w:])
			if n == 0 {
				s.i = i
				return "", s.bad("escape")
			}
			i, w = i+n, w+size
		}
		i, w = moveDown(b, i, w)
	}
	s.i = len(b)
	return "", s.bad("string without end")
}

// separator reads the escape at i if it is \u0000 to \u0009: what separates properties looks so, and is by far the most frequent.
func separator(b []byte, i int) (byte, bool) {
	if i+8 > len(b) {
		return 0, false
	}
	x := word(b, i)
	c := byte(x>>40) - '0'
	return c, x&(1<<40-1) == '\\'|'u'<<8|'0'<<16|'0'<<24|'0'<<32 && c <= 9
}

// moveDown moves what is at i, up to the next quote or backslash, to w, and returns where both end.
func moveDown(b []byte, i, w int) (int, int) {
	if i-w < 8 {
		next := special(b, i)
		return next, w + copy(b[w:], b[i:next])
	}
	// The gap holds a word, so that whole words can be stored before it is known where the piece ends.
	for i+8 <= len(b) {
		x := word(b, i)
		binary.LittleEndian.PutUint64(b[w:], x)
		if hit := specials(x); hit != 0 {
			n := bits.TrailingZeros64(hit) / 8
			return i + n, w + n
		}
		i, w = i+8, w+8
	}
	for ; i < len(b) && b[i] != '"' && b[i] != '\\'; i++ {
		b[w] = b[i]
		w++
	}
	return i, w
}

// unescape writes what the escape at the start of src stands for to dst, which may overlap: no escape is shorter than its
// meaning. It returns how many bytes were read (0: no escape) and written.
func unescape(src, dst []byte) (read, written int) {
	if len(src) < 2 {
		return 0, 0
	}
	switch c := src[1]; c {
	case 'u':
		return unescapeUnicode(src, dst)
	case '"', '\\', '/', '\'':
		dst[0] = c
	case 'b':
		dst[0] = '\b'
	case 'f':
		dst[0] = '\f'
	case 'n':
		dst[0] = '\n'
	case 'r':
		dst[0] = '\r'
	case 't':
		dst[0] = '\t'
	default:
		return 0, 0
	}
	return 2, 1
}

func unescapeUnicode(src, dst []byte) (read, written int) {
	r, ok := hex4(src[2:])
	switch {
	case !ok:
		return 0, 0
	case r < utf8.RuneSelf:
		dst[0] = byte(r)
		return 6, 1
	case !utf16.IsSurrogate(r):
		return 6, utf8.EncodeRune(dst[:utf8.UTFMax], r)
	}
	if len(src) >= 8 && src[6] == '\\' && src[7] == 'u' {
		if low, ok := hex4(src[8:]); ok {
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				return 12, utf8.EncodeRune(dst[:utf8.UTFMax], pair)
			}
		}
	}
	return 6, utf8.EncodeRune(dst[:utf8.UTFMax], utf8.RuneError)
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	if b[0] == '0' && b[1] == '0' && b[2] == '0' && b[3] <= '9' && b[3] >= '0' {
		return rune(b[3] - '0'), true // the separators inside properties
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// value reads any value and returns its bytes.
func (s *scanner) value() ([]byte, error) {
	c := s.peek()
	start := s.i
	switch {
	case c == '"':
		if err := s.skipString(); err != nil {
			return nil, err
		}
	case c == '{' || c == '[':
		if err := s.skipNested(); err != nil {
			return nil, err
		}
	default:
		for s.i < len(s.b) && isWord(s.b[s.i]) {
			s.i++
		}
		if !isLiteral(s.b[start:s.i]) {
			s.i = start
			return nil, s.bad("no value")
		}
	}
	return s.b[start:s.i], nil
}

func isWord(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '+' || c == '-' || c == '.'
}

// isLiteral tells a number, true, false or null. A number need only look like one: whoever wants its value parses it.
func isLiteral(w []byte) bool {
	switch string(w) {
	case "":
		return false
	case "true", "false", "null":
		return true
	}
	for i, c := range w {
		switch {
		case c >= '0' && c <= '9', c == '-' && i == 0:
		case i > 0 && (c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-'):
		default:
			return false
		}
	}
	return w[len(w)-1] >= '0' && w[len(w)-1] <= '9'
}

func (s *scanner) skipString() error {
	for i := s.i + 1; i < len(s.b); i++ {
		switch s.b[i] {
		case '"':
			s.i = i + 1
			return nil
		case '\\':
			i++
		}
	}
	s.i = len(s.b)
	return s.bad("string without end")
}

// skipNested steps over an object or array by matching brackets. It looks no closer, since nobody reads what is inside; and it
// does not recurse, so that depth costs nothing.
func (s *scanner) skipNested() error {
	depth := 0
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case '"':
			if err := s.skipString(); err != nil {
				return err
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				s.i++
				return nil
			}
		}
		s.i++
	}
	return s.bad("nesting without end")
}

// text reads a value as a string: a JSON string is itself, null is absent, anything else is its JSON text.
func (s *scanner) text() (string, bool, error) {
	if s.peek() == '"' {
		v, err := s.str()
		return v, true, err
	}
	raw, err := s.value()
	if err != nil || string(raw) == "null" {
		return "", false, err
	}
	return view(raw), true, nil
}

// plain says that the lowest byte is neither a quote nor a backslash.
func plain(x uint64) bool { return byte(x) != '"' && byte(x) != '\\' }

// plainPairs reads pairs of strings for as long as there is no space around them, which is what nearly every header looks like. It
// stops before what is different, which may be anything, and says no more about it. The position is kept in a variable: a place in memory
// that each pair waits for would be most of its time.
func (s *scanner) plainPairs(f header.Fields, first bool) (header.Fields, error) {
	const (
		letterMask = 0xff | 0xff<<16 | 0xff<<24 | 0xff<<32
		letterKey  = '"' | '"'<<16 | ':'<<24 | '"'<<32 // "?":" with any byte for ?
	)
	b, i := s.b, s.i
	if !first {
		if i >= len(b) || b[i] != ',' {
			return f, nil
		}
		i++
	}
	for i+16 <= len(b) {
		x := word(b, i)
		keyEnd, v := i+2, i+5
		switch {
		case x&letterMask != letterKey || !plain(x>>8):
			if byte(x) != '"' {
				return f, nil
			}
			if hit := specials(x) &^ 0x80; hit != 0 {
				keyEnd = i + bits.TrailingZeros64(hit)/8
			} else {
				keyEnd = special(b, i+8)
			}
			v = keyEnd + 3
			if v+8 > len(b) || b[keyEnd] != '"' || b[keyEnd+1] != ':' || b[keyEnd+2] != '"' {
				return f, nil
			}
		case x>>48 == '"'|','<<8 && plain(x>>40):
			f = append(f, header.Pair{Key: part(b, i+1, i+2), Value: part(b, i+5, i+6)})
			s.i = i + 7
			i += 8
			continue
		}
		var end int
		if hit := specials(word(b, v)); hit != 0 {
			end = v + bits.TrailingZeros64(hit)/8
		} else if end = special(b, v+8); end == len(b) {
			break
		}
		p := header.Pair{Key: part(b, i+1, keyEnd), Value: part(b, v, end)}
		i = end + 1
		if b[end] != '"' {
			var err error
			if p.Value, err = s.escaped(v, end); err != nil {
				return f, err
			}
			i = s.i
		}
		f = append(f, p)
		s.i = i
		if i >= len(b) || b[i] != ',' {
			break
		}
		i++
	}
	return f, nil
}
