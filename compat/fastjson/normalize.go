package fastjson

import (
	"bytes"
	"unicode/utf8"

	"apogee/internal/jsontext"
)

// Normalize appends to dst the standard, compact JSON text that means what src means to fastjson: it quotes bare and single-quoted
// names, turns object keys into strings, drops comments and superfluous commas, escapes raw control characters, reads NaN and
// undefined as null, and puts the value in the place of a {"$ref":path}.
//
// Accepted beyond what fastjson writes is only what fastjson 1.2 accepts too.
func Normalize(dst, src []byte) ([]byte, error) {
	if len(src) > MaxSize {
		return dst, ErrTooLarge
	}
	n := normalizer{src: src, dst: dst}
	if bytes.Contains(src, []byte("$ref")) {
		n.refs = newRefs(src)
		n.dst = nil // positions in the text are noted
	}
	if err := n.value(0, rootPath); err != nil {
		return dst, err
	}
	if err := n.blanks(); err != nil {
		return dst, err
	}
	if n.pos != len(src) {
		return dst, n.fail("text after the value")
	}
	if n.refs != nil {
		out, err := n.refs.resolve(n.dst, MaxSize)
		return append(dst, out...), err
	}
	return n.dst, nil
}

// normalizer walks src once. path is a hash of the keys from the root to the value at hand; it is kept only where the text has
// references.
type normalizer struct {
	src, dst []byte
	pos      int
	refs     *refs
}

func (n *normalizer) fail(reason string) error { return &SyntaxError{Offset: n.pos, Reason: reason} }

// peek returns the byte at hand, 0 at the end (a NUL in the text is an error wherever it is peeked at).
func (n *normalizer) peek() byte {
	if n.pos < len(n.src) {
		return n.src[n.pos]
	}
	return 0
}

// blanks skips white space and comments.
func (n *normalizer) blanks() error {
	for n.pos < len(n.src) {
		switch n.src[n.pos] {
		case ' ', '\t', '\n', '\r', '\f', '\b':
			n.pos++
		case '/':
			if err := n.comment(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

func (n *normalizer) comment() error {
	rest := n.src[n.pos:]
	switch {
	case bytes.HasPrefix(rest, []byte("//")):
		end := bytes.IndexByte(rest, '\n')
		if end < 0 {
			end = len(rest) - 1
		}
		n.pos += end + 1
	case bytes.HasPrefix(rest, []byte("/*")):
		end := bytes.Index(rest[2:], []byte("*/"))
		if end < 0 {
			return n.fail("comment without end")
		}
		n.pos += 2 + end + 2
	default:
		return n.fail("unexpected '/'")
	}
	return nil
}

func (n *normalizer) value(depth int, path uint64) error {
	if depth > MaxDepth {
		return n.fail("nested too deeply")
	}
	if err := n.blanks(); err != nil {
		return err
	}
	start := len(n.dst)
	var err error
	switch c := n.peek(); {
	case c == '{':
		err = n.object(depth, path)
	case c == '[':
		err = n.array(depth, path)
	case c == '"' || c == '\'':
		err = n.quoted()
	case c == '-' || c == '+' || c == '.' || '0' <= c && c <= '9':
		err = n.number()
	case isNameStart(c):
		err = n.word()
	case n.pos == len(n.src):
		err = n.fail("unexpected end")
	default:
		err = n.fail("unexpected character")
	}
	if err == nil && n.refs != nil {
		n.refs.saw(path, start, len(n.dst))
	}
	return err
}

func (n *normalizer) object(depth int, path uint64) error {
	start := len(n.dst)
	n.dst = append(n.dst, '{')
	n.pos++
	for first := true; ; first = false {
		if err := n.commas(first); err != nil {
			return err
		}
		if n.peek() == '}' {
			n.pos++
			n.dst = append(n.dst, '}')
			if n.refs != nil {
				n.refs.maybeUse(n.dst, start)
			}
			return nil
		}
		if !first {
			n.dst = append(n.dst, ',')
		}
		keyAt := len(n.dst)
		if err := n.key(depth); err != nil {
			return err
		}
		child := path
		if n.refs != nil {
			child = childPath(path, n.dst[keyAt+1:len(n.dst)-1])
		}
		if err := n.blanks(); err != nil {
			return err
		}
		if n.peek() != ':' {
			return n.fail("no colon after a name")
		}
		n.pos++
		n.dst = append(n.dst, ':')
		if err := n.value(depth+1, child); err != nil {
			return err
		}
	}
}

func (n *normalizer) array(depth int, path uint64) error {
	n.dst = append(n.dst, '[')
	n.pos++
	for i := 0; ; i++ {
		if err := n.commas(i == 0); err != nil {
			return err
		}
		if n.peek() == ']' {
			n.pos++
			n.dst = append(n.dst, ']')
			return nil
		}
		if i > 0 {
			n.dst = append(n.dst, ',')
		}
		child := path
		if n.refs != nil {
			child = indexPath(path, i)
		}
		if err := n.value(depth+1, child); err != nil {
			return err
		}
	}
}

// commas goes over what stands between two elements: one comma at least (or the closing bracket, which the caller looks for),
// and as many more as there are (AllowArbitraryCommas). Before the first element there is none to ask for.
func (n *normalizer) commas(first bool) error {
	seen := first
	for {
		if err := n.blanks(); err != nil {
			return err
		}
		if n.peek() != ',' {
			break
		}
		n.pos++
		seen = true
	}
	if c := n.peek(); !seen && c != '}' && c != ']' {
		return n.fail("no comma between elements")
	}
	return nil
}

// key writes a name as a JSON string: quoted, single-quoted, bare (a number or a word), or an object's own text.
func (n *normalizer) key(depth int) error {
	switch c := n.peek(); {
	case c == '"' || c == '\'':
		return n.quoted()
	case c == '{':
		return n.objectKey(depth)
	case isNameStart(c) || c == '-' || '0' <= c && c <= '9':
		start := n.pos
		for n.pos++; n.pos < len(n.src) && isNamePart(n.src[n.pos]); n.pos++ {
		}
		n.dst = append(n.dst, '"')
		n.dst = append(n.dst, n.src[start:n.pos]...)
		n.dst = append(n.dst, '"')
		return nil
	}
	return n.fail("no name")
}

// objectKey normalises the object in a normalizer of its own and quotes the result. Keys in keys are quoted again at each level,
// which doubles backslashes; no bean has them, so a third level is refused.
func (n *normalizer) objectKey(depth int) error {
	sub := normalizer{src: n.src, pos: n.pos}
	if depth >= MaxDepth {
		return n.fail("nested too deeply")
	}
	if err := sub.object(depth+1+objectKeyDepth, rootPath); err != nil {
		return err
	}
	n.pos = sub.pos
	n.dst = appendString(n.dst, string(sub.dst))
	return nil
}

// objectKeyDepth is what an object key adds to the depth, so that keys within keys within keys run into MaxDepth before the
// quoting of quotes costs anything.
const objectKeyDepth = MaxDepth / 3

func isNameStart(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c == '$'
}

func isNamePart(c byte) bool {
	return isNameStart(c) || '0' <= c && c <= '9' || c == '-' || c == '.'
}

// quoted copies a string in either kind of quotes.
func (n *normalizer) quoted() error {
	quote := n.src[n.pos]
	open := n.pos
	n.pos++
	n.dst = append(n.dst, '"')
	for {
		start := n.pos
		for n.pos < len(n.src) {
			if c := n.src[n.pos]; c == quote || c == '\\' || c < 0x20 || c == '"' {
				break
			}
			n.pos++
		}
		n.dst = append(n.dst, n.src[start:n.pos]...)
		if n.pos == len(n.src) {
			n.pos = open
			return n.fail("string without end")
		}
		switch c := n.src[n.pos]; {
		case c == quote:
			n.pos++
			n.dst = append(n.dst, '"')
			return nil
		case c == '\\':
			if err := n.escape(); err != nil {
				return err
			}
		case c == '"':
			n.pos++
			n.dst = append(n.dst, '\\', '"')
		default: // a raw control character, which both fastjsons take
			n.pos++
			n.dst = jsontext.AppendEscape(n.dst, c)
		}
	}
}

// escape copies one escape sequence, respelling those that only Java knows: \' \v \xHH and \0 to \7.
func (n *normalizer) escape() error {
	if n.pos+1 >= len(n.src) {
		return n.fail("string without end")
	}
	switch c := n.src[n.pos+1]; c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		n.dst = append(n.dst, '\\', c)
	case 'u':
		if n.pos+6 > len(n.src) || !allHex(n.src[n.pos+2:n.pos+6]) {
			return n.fail("bad \\u escape")
		}
		n.dst = append(n.dst, n.src[n.pos:n.pos+6]...)
		n.pos += 6
		return nil
	case 'x':
		if n.pos+4 > len(n.src) || !allHex(n.src[n.pos+2:n.pos+4]) {
			return n.fail("bad \\x escape")
		}
		n.dst = append(n.dst, '\\', 'u', '0', '0', n.src[n.pos+2], n.src[n.pos+3])
		n.pos += 4
		return nil
	case '\'':
		n.dst = append(n.dst, '\'')
	case 'v':
		n.dst = jsontext.AppendEscape(n.dst, '\v')
	case '0', '1', '2', '3', '4', '5', '6', '7':
		n.dst = jsontext.AppendEscape(n.dst, c-'0')
	default:
		return n.fail("unknown escape")
	}
	n.pos += 2
	return nil
}

func allHex(b []byte) bool {
	for _, c := range b {
		if !('0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f') {
			return false
		}
	}
	return true
}

// number copies a number. A type suffix (12L, 1.5D: fastjson's WriteClassName form) is dropped.
func (n *normalizer) number() error {
	start := n.pos
	if n.src[n.pos] == '+' {
		start++
	}
	for n.pos++; n.pos < len(n.src); n.pos++ {
		if c := n.src[n.pos]; !('0' <= c && c <= '9' || c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-') {
			break
		}
	}
	text := n.src[start:n.pos]
	if !validNumber(text) {
		n.pos = start
		return n.fail("bad number")
	}
	n.dst = append(n.dst, text...)
	switch n.peek() {
	case 'L', 'S', 'B', 'F', 'D':
		n.pos++
	}
	return nil
}

// validNumber is the number grammar of RFC 8259.
func validNumber(b []byte) bool {
	if len(b) > 0 && b[0] == '-' {
		b = b[1:]
	}
	digits := func() int {
		i := 0
		for i < len(b) && '0' <= b[i] && b[i] <= '9' {
			i++
		}
		b = b[i:]
		return i
	}
	zero := len(b) > 0 && b[0] == '0'
	if n := digits(); n == 0 || zero && n > 1 {
		return false
	}
	if len(b) > 0 && b[0] == '.' {
		b = b[1:]
		if digits() == 0 {
			return false
		}
	}
	if len(b) > 0 && b[0]|0x20 == 'e' {
		b = b[1:]
		if len(b) > 0 && (b[0] == '+' || b[0] == '-') {
			b = b[1:]
		}
		if digits() == 0 {
			return false
		}
	}
	return len(b) == 0
}

func (n *normalizer) word() error {
	start := n.pos
	for n.pos++; n.pos < len(n.src) && isNamePart(n.src[n.pos]); n.pos++ {
	}
	switch w := n.src[start:n.pos]; string(w) {
	case "true", "false", "null":
		n.dst = append(n.dst, w...)
	case "NaN", "undefined":
		n.dst = append(n.dst, "null"...)
	default:
		n.pos = start
		return n.fail("unknown word")
	}
	return nil
}

// appendString writes s as fastjson 2 writes a string: only the quote, the backslash and control characters are escaped.
// Bytes that are not UTF-8 become U+FFFD, which is what a Java String would hold.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(append(dst, s[start:i]...), "\uFFFD"...)
				start = i + 1
			}
			i += size
			continue
		}
		if c >= 0x20 && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		dst = jsontext.AppendEscape(dst, c)
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}
