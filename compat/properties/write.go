package properties

import (
	"slices"
	"strings"
)

// Format is the set as text that Java's loader and [Parse] read back to the same keys and values, one key=value a line, sorted by
// key. Only what the syntax needs is escaped, so that ordinary values look as they were typed; text stays UTF-8.
func (f *File) Format() []byte {
	entries := f.Entries()
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	var b strings.Builder
	for _, e := range entries {
		writeEscaped(&b, e.Key, true)
		b.WriteByte('=')
		writeEscaped(&b, e.Value, false)
		b.WriteByte('\n')
	}
	return []byte(b.String())
}

// writeEscaped writes a key or a value. Separators end a key anywhere, and blanks and comment signs matter at the start of a text.
func writeEscaped(b *strings.Builder, s string, key bool) {
	if rest, ok := strings.CutPrefix(s, byteOrderMark); ok && key {
		// At the start of the text it would be taken for a mark.
		b.WriteString(`\ufeff`)
		s = rest
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\':
			b.WriteString(`\\`)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t' && (key || i == 0):
			b.WriteString(`\t`)
		case c == '\f' && (key || i == 0):
			b.WriteString(`\f`)
		case c == ' ' && (key || i == 0):
			b.WriteString(`\ `)
		case key && (c == '=' || c == ':'), key && i == 0 && (c == '#' || c == '!'):
			b.WriteByte('\\')
			b.WriteByte(c)
		case i == 0 && !key && (c == '=' || c == ':'):
			// After the separator another one would be value text, but a reader with its own parser might differ.
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
}
