package remoting

import (
	"math"
	"strconv"

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
	b := append(w.buf, `{"code":`...)
	b = header.AppendInt(b, int64(h.code))
	if h.fields != nil || h.shared != nil || len(h.extra) > 0 {
		// Java has a map, even an empty one, as soon as there is a custom header; its clients rely on it (spec: remoting.md 4.2).
		b = append(b, `,"extFields":`...)
		at := len(b)
		if h.fields != nil {
			b = h.fields.AppendJSON(b)
		}
		b = h.extra.AppendJSON(h.shared.AppendJSON(b))
		if len(b) > at {
			b[at] = '{' // where the first pair has its comma
		} else {
			b = append(b, '{')
		}
		b = append(b, '}')
	}
	b = header.AppendInt(append(b, `,"flag":`...), int64(h.flag))
	b = header.AppendInt(append(b, `,"language":"JAVA","opaque":`...), int64(h.opaque))
	if h.remark != "" {
		b = header.AppendQuoted(append(b, `,"remark":`...), h.remark)
	}
	b = append(b, `,"serializeTypeCurrentRPC":"JSON","version":`...)
	b = header.AppendInt(b, ourVersion)
	w.buf = append(b, '}')
}
