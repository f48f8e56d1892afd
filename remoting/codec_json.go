package remoting

import (
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"

	"apogee/remoting/header"
)

// The JSON header is read by a scanner of our own, in one pass and into a flat list of pairs, because every request pays for it.
// It takes what fastjson2 takes (docs/format/remoting.md#json-header): scalars quoted or not, a language by name or ordinal,
// null remark and extFields, values in extFields of any kind (kept as their text), keys it does not know.

// decodeJSON reads a JSON header into r. It unescapes strings in place, inside h.
func decodeJSON(h []byte, r *Request) error {
	s := scanner{b: h}
	if !s.enter('{') {
		return s.bad("no object")
	}
	for more := s.more('}', true); more; more = s.more('}', false) {
		key, err := s.key()
		if err != nil {
			return err
		}
		if err := s.member(key, r); err != nil {
			return err
		}
	}
	if s.failed {
		return s.bad("no end of the object")
	}
	if s.space(); s.i != len(s.b) {
		return s.bad("bytes after the object")
	}
	return nil
}

// member reads the value of one key of the header.
func (s *scanner) member(key string, r *Request) (err error) {
	switch key {
	case "code":
		err = s.int32(&r.Code)
	case "flag":
		err = s.int32(&r.Flag)
	case "opaque":
		err = s.int32(&r.Opaque)
	case "version":
		err = s.int32(&r.Version)
	case "language":
		r.Language, err = s.language()
	case "remark":
		r.Remark, _, err = s.text()
	case "extFields":
		r.Fields, err = s.fields(r.Fields[:0])
	default:
		_, err = s.value()
	}
	return err
}

// scanner walks over JSON. After a failure its position is where it failed.
type scanner struct {
	b      []byte
	i      int
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

// special is where the next quote or backslash is at or after i, or the end. It looks at eight bytes at a time: x-ones has a
// byte's top bit set, and x has not, first where that byte is zero.
func special(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		q, e := x^(ones*'"'), x^(ones*'\\')
		if hit := ((q-ones)&^q | (e-ones)&^e) & tops; hit != 0 {
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

// escaped goes on with a string whose first backslash is at i, if it isn't the end.
func (s *scanner) escaped(start, i int) (string, error) {
	w := i
	for i < len(s.b) {
		if s.b[i] == '"' {
			s.i = i + 1
			return view(s.b[start:w]), nil
		}
		n, size := unescape(s.b[i:], s.b[w:])
		if n == 0 {
			s.i = i
			return "", s.bad("escape")
		}
		i += n
		w += size
		next := special(s.b, i)
		w += copy(s.b[w:], s.b[i:next])
		i = next
	}
	s.i = len(s.b)
	return "", s.bad("string without end")
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

// int32 reads a number, quoted or not; null and "" leave *v alone, as they leave Java's field alone.
func (s *scanner) int32(v *int32) error {
	if n, end := digits(s.b, s.i); end > s.i && end < len(s.b) && (s.b[end] == ',' || s.b[end] == '}') {
		*v, s.i = n, end
		return nil
	}
	start := s.i
	word, ok, err := s.text()
	if err != nil || !ok || word == "" {
		return err
	}
	n, ok := parseSmall(word)
	if !ok {
		s.i = start
		return s.bad("no int32")
	}
	*v = n
	return nil
}

// digits reads up to nine digits at i and returns where they end.
func digits(b []byte, i int) (n int32, end int) {
	for end = i; end < len(b) && end < i+9; end++ {
		d := b[end] - '0'
		if d > 9 {
			break
		}
		n = n*10 + int32(d)
	}
	return n, end
}

// parseSmall reads an int32. Java also takes 1.0 and 1e2 for whole numbers.
func parseSmall(word string) (int32, bool) {
	if n, ok := header.ParseInt(word); ok {
		return int32(n), n == int64(int32(n))
	}
	f, err := strconv.ParseFloat(word, 64)
	if err != nil || f != math.Trunc(f) || f < math.MinInt32 || f > math.MaxInt32 {
		return 0, false
	}
	return int32(f), true
}

func (s *scanner) language() (Language, error) {
	word, ok, err := s.text()
	if err != nil || !ok {
		return UnknownLanguage, err
	}
	if n, ok := header.ParseInt(word); ok {
		return languageByOrdinal(n), nil
	}
	return languageByName(word), nil
}

// fields reads extFields.
func (s *scanner) fields(f header.Fields) (header.Fields, error) {
	if s.peek() != '{' {
		raw, err := s.value()
		if err == nil && string(raw) != "null" {
			err = s.bad("extFields is no object")
		}
		return f, err
	}
	s.i++
	for more := s.more('}', true); more; more = s.more('}', false) {
		if key, value, ok := s.plainPair(); ok {
			f = append(f, header.Pair{Key: key, Value: value})
			continue
		}
		key, err := s.key()
		if err != nil {
			return f, err
		}
		value, ok, err := s.text()
		if err != nil {
			return f, err
		}
		if ok {
			f = append(f, header.Pair{Key: key, Value: value})
		}
	}
	if s.failed {
		return f, s.bad("no end of extFields")
	}
	return f, nil
}

// plainPair reads "key":"value" with neither space nor escape, which is what nearly every pair looks like. If it is something
// else nothing was read.
func (s *scanner) plainPair() (key, value string, ok bool) {
	b, i := s.b, s.i
	if i >= len(b) || b[i] != '"' {
		return "", "", false
	}
	k := special(b, i+1)
	if k+2 >= len(b) || b[k] != '"' || b[k+1] != ':' || b[k+2] != '"' {
		return "", "", false
	}
	v := special(b, k+3)
	if v >= len(b) || b[v] != '"' {
		return "", "", false
	}
	s.i = v + 1
	return view(b[i+1 : k]), view(b[k+3 : v]), true
}

// json appends a header as Java prints it: compact, keys in alphabetical order, without nulls.
func (w *frameWriter) json(h *head) {
	w.buf = append(w.buf, `{"code":`...)
	w.buf = strconv.AppendInt(w.buf, int64(h.code), 10)
	if h.fields != nil || len(h.extra) > 0 {
		// Java has a map, even an empty one, as soon as there is a custom header; its clients rely on it (spec: remoting.md 4.2).
		w.buf = append(w.buf, `,"extFields":{`...)
		if h.fields != nil {
			h.fields.EncodeFields((*jsonPairs)(w))
		}
		h.extra.EncodeFields((*jsonPairs)(w))
		w.buf = append(w.buf, '}')
	}
	w.buf = append(w.buf, `,"flag":`...)
	w.buf = strconv.AppendInt(w.buf, int64(h.flag), 10)
	w.buf = append(w.buf, `,"language":"JAVA","opaque":`...)
	w.buf = strconv.AppendInt(w.buf, int64(h.opaque), 10)
	if h.remark != "" {
		w.buf = append(w.buf, `,"remark":`...)
		w.buf = appendQuoted(w.buf, h.remark)
	}
	w.buf = append(w.buf, `,"serializeTypeCurrentRPC":"JSON","version":`...)
	w.buf = strconv.AppendInt(w.buf, ourVersion, 10)
	w.buf = append(w.buf, '}')
}

// jsonPairs is a frameWriter as the header.Encoder of the JSON form. Values are always strings.
type jsonPairs frameWriter

func (w *jsonPairs) key(key string) {
	if w.pairs++; w.pairs > 1 {
		w.buf = append(w.buf, ',')
	}
	w.buf = appendQuoted(w.buf, key)
	w.buf = append(w.buf, ':')
}

func (w *jsonPairs) String(key, value string) {
	w.key(key)
	w.buf = appendQuoted(w.buf, value)
}

func (w *jsonPairs) Int(key string, value int64) {
	w.key(key)
	w.buf = append(w.buf, '"')
	w.buf = strconv.AppendInt(w.buf, value, 10)
	w.buf = append(w.buf, '"')
}

func (w *jsonPairs) Bool(key string, value bool) {
	w.key(key)
	if value {
		w.buf = append(w.buf, `"true"`...)
	} else {
		w.buf = append(w.buf, `"false"`...)
	}
}

const hexDigits = "0123456789abcdef"

// appendQuoted appends s as a JSON string with fastjson's escapes; UTF-8 stays as it is.
func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for {
		n := clean(s)
		dst = append(dst, s[:n]...)
		if n == len(s) {
			return append(dst, '"')
		}
		dst = appendEscape(dst, s[n])
		s = s[n+1:]
	}
}

// clean is how many bytes at the start of s need no escape. Like special, it looks at eight at a time.
func clean(s string) int {
	b := unsafe.Slice(unsafe.StringData(s), len(s))
	i := 0
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
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

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}
