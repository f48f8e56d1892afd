package remoting

import (
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

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
	for i := start; i < len(s.b); i++ {
		switch s.b[i] {
		case '"':
			s.i = i + 1
			return view(s.b[start:i]), nil
		case '\\':
			return s.escaped(start, i)
		}
	}
	s.i = len(s.b)
	return "", s.bad("string without end")
}

// escaped goes on with a string whose first backslash is at i.
func (s *scanner) escaped(start, i int) (string, error) {
	w := i
	for i < len(s.b) {
		switch c := s.b[i]; c {
		case '"':
			s.i = i + 1
			return view(s.b[start:w]), nil
		case '\\':
			n, size := unescape(s.b[i:], s.b[w:])
			if n == 0 {
				s.i = i
				return "", s.bad("escape")
			}
			i += n
			w += size
		default:
			s.b[w] = c
			i++
			w++
		}
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
	case 'u':
		r, ok := hex4(src[2:])
		if !ok {
			return 0, 0
		}
		if r < utf8.RuneSelf {
			dst[0] = byte(r)
			return 6, 1
		}
		read = 6
		if utf16.IsSurrogate(r) {
			low, ok := rune(0), false
			if len(src) >= 8 && src[6] == '\\' && src[7] == 'u' {
				low, ok = hex4(src[8:])
			}
			if pair := utf16.DecodeRune(r, low); ok && pair != utf8.RuneError {
				r, read = pair, 12
			} else {
				r = utf8.RuneError
			}
		}
		return read, utf8.EncodeRune(dst[:utf8.UTFMax], r)
	default:
		return 0, 0
	}
	return 2, 1
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
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

// parseSmall reads an int32. Java also takes 1.0 and 1e2 for whole numbers.
func parseSmall(word string) (int32, bool) {
	if n, err := strconv.ParseInt(word, 10, 32); err == nil {
		return int32(n), true
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
	if n, err := strconv.ParseInt(word, 10, 64); err == nil {
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
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	dst = append(dst, s[from:]...)
	return append(dst, '"')
}
