package remoting

import (
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"
	"unsafe"

	"apogee/remoting/header"
)

// The JSON header is read by a scanner of our own, in one pass and into a flat list of pairs, because every request pays for it.
// It takes what fastjson2 takes (docs/format/remoting.md#json-header): scalars quoted or not, a language by name or ordinal,
// null remark and extFields, values in extFields of any kind (kept as their text), keys it does not know.
//
// What clients really send is plainer than that: plainMembers and plainPairs read it by comparing and scanning eight bytes at a time, and
// leave to the general scanner whatever looks different. Both read the same; a fuzz target compares them.

// decodeJSON reads a JSON header into r. It unescapes strings in place, inside h.
func decodeJSON(h []byte, r *Request) error { return readJSON(h, r, true) }

// readJSON does that, in general or quickly where it can.
func readJSON(h []byte, r *Request, quick bool) error {
	s := scanner{b: h, quick: quick}
	if !s.enter('{') {
		return s.bad("no object")
	}
	for first := true; ; first = false {
		if quick {
			was := s.i
			if err := s.plainMembers(r, first); err != nil {
				return err
			}
			first = first && s.i == was
		}
		if !s.more('}', first) {
			break
		}
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

// The beginnings of members, as word reads them.
const (
	memberCode      = '"' | 'c'<<8 | 'o'<<16 | 'd'<<24 | 'e'<<32 | '"'<<40 | ':'<<48
	memberFlag      = '"' | 'f'<<8 | 'l'<<16 | 'a'<<24 | 'g'<<32 | '"'<<40 | ':'<<48
	memberOpaque    = '"' | 'o'<<8 | 'p'<<16 | 'a'<<24 | 'q'<<32 | 'u'<<40 | 'e'<<48 | '"'<<56
	memberRemark    = '"' | 'r'<<8 | 'e'<<16 | 'm'<<24 | 'a'<<32 | 'r'<<40 | 'k'<<48 | '"'<<56
	memberVersion   = '"' | 'v'<<8 | 'e'<<16 | 'r'<<24 | 's'<<32 | 'i'<<40 | 'o'<<48 | 'n'<<56
	memberLanguage  = '"' | 'l'<<8 | 'a'<<16 | 'n'<<24 | 'g'<<32 | 'u'<<40 | 'a'<<48 | 'g'<<56
	memberExtFields = '"' | 'e'<<8 | 'x'<<16 | 't'<<24 | 'F'<<32 | 'i'<<40 | 'e'<<48 | 'l'<<56
	memberSerialize = '"' | 's'<<8 | 'e'<<16 | 'r'<<24 | 'i'<<32 | 'a'<<40 | 'l'<<48 | 'i'<<56

	sevenBytes = 1<<56 - 1
)

// plainMembers reads members of the header for as long as they look as those of most clients do: without space, numbers in digits.
// It stops before what is different, which may be anything.
func (s *scanner) plainMembers(r *Request, first bool) (err error) {
	for b := s.b; ; first = false {
		i := s.i
		if !first {
			if i >= len(b) || b[i] != ',' {
				return nil
			}
			i++
		}
		if i+8 > len(b) {
			return nil
		}
		var number *int32
		switch x := word(b, i); {
		case x&sevenBytes == memberCode:
			number, i = &r.Code, i+7
		case x&sevenBytes == memberFlag:
			number, i = &r.Flag, i+7
		case x == memberOpaque && follows(b, i+8, ":"):
			number, i = &r.Opaque, i+9
		case x == memberVersion && follows(b, i+8, `":`):
			number, i = &r.Version, i+10
		case x == memberLanguage && follows(b, i+8, `e":"JAVA"`):
			r.Language, s.i = Java, i+17
			continue
		case x == memberLanguage && follows(b, i+8, `e":"GO"`):
			r.Language, s.i = Go, i+15
			continue
		case x == memberRemark && follows(b, i+8, `:"`):
			s.i = i + 9
			if r.Remark, err = s.str(); err != nil {
				return err
			}
			continue
		case x == memberExtFields && follows(b, i+8, `ds":`):
			s.i = i + 12
			if r.Fields, err = s.fields(r.Fields[:0]); err != nil {
				return err
			}
			continue
		case x == memberSerialize && follows(b, i+8, `zeTypeCurrentRPC":"JSON"`):
			s.i = i + 32
			continue
		default:
			return nil
		}
		v, end := digits(b, i)
		if end == i || end >= len(b) || b[end] != ',' && b[end] != '}' {
			return nil
		}
		*number, s.i = v, end
	}
}

// follows says that text is at i.
func follows(b []byte, i int, text string) bool {
	return i+len(text) <= len(b) && string(b[i:i+len(text)]) == text
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

// digits reads up to ten digits at i that are an int32, and returns where they end, i if they are none.
func digits(b []byte, i int) (int32, int) {
	n, end := uint64(0), i
	for ; end < len(b) && end < i+10; end++ {
		d := b[end] - '0'
		if d > 9 {
			break
		}
		n = n*10 + uint64(d)
	}
	if n > math.MaxInt32 {
		return 0, i
	}
	return int32(n), end
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
func (s *scanner) fields(f header.Fields) (_ header.Fields, err error) {
	if s.peek() != '{' {
		raw, err := s.value()
		if err == nil && string(raw) != "null" {
			err = s.bad("extFields is no object")
		}
		return f, err
	}
	s.i++
	for first := true; ; first = false {
		if s.quick {
			was := s.i
			if f, err = s.plainPairs(f, first); err != nil {
				return f, err
			}
			first = first && s.i == was
		}
		if !s.more('}', first) {
			break
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
