package properties

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Entry is one setting and where it was made.
type Entry struct {
	Key, Value string
	Origin     string // a file's name, or words like "environment NAMESRV_ADDR"
	Line       int    // 1-based line where the key starts; 0 where the origin is no file
}

// Where is the entry's place as people write it: file:line, or the origin alone.
func (e Entry) Where() string {
	if e.Line > 0 {
		return e.Origin + ":" + strconv.Itoa(e.Line)
	}
	return e.Origin
}

// File is an ordered set of settings. A key holds one value: the last one given, as in Java.
type File struct {
	name    string
	entries []Entry
	index   map[string]int
}

// New returns an empty set. Its name becomes the origin of what [File.Set] adds.
func New(name string) *File { return &File{name: name, index: make(map[string]int)} }

// Name is what the file was opened as.
func (f *File) Name() string { return f.name }

// Len is the number of distinct keys.
func (f *File) Len() int { return len(f.entries) }

// Get is the value of key.
func (f *File) Get(key string) (string, bool) {
	e, ok := f.Lookup(key)
	return e.Value, ok
}

// Lookup is the entry of key. It may be called on a nil File, which is empty.
func (f *File) Lookup(key string) (Entry, bool) {
	if f == nil {
		return Entry{}, false
	}
	i, ok := f.index[key]
	if !ok {
		return Entry{}, false
	}
	return f.entries[i], true
}

// Entries are all settings in the order in which their keys first appeared. The slice belongs to the caller.
func (f *File) Entries() []Entry {
	if f == nil {
		return nil
	}
	return append([]Entry(nil), f.entries...)
}

// Set gives key a value.
func (f *File) Set(key, value string) { f.put(Entry{Key: key, Value: value, Origin: f.name}) }

func (f *File) put(e Entry) {
	if i, ok := f.index[e.Key]; ok {
		f.entries[i] = e
		return
	}
	f.index[e.Key] = len(f.entries)
	f.entries = append(f.entries, e)
}

// Merge lays files over each other, the weakest first. Nil files are skipped. Each entry keeps its origin.
func Merge(name string, files ...*File) *File {
	out := New(name)
	for _, f := range files {
		for _, e := range f.Entries() {
			out.put(e)
		}
	}
	return out
}

// Filter is the part of f whose keys satisfy keep. Each entry keeps its origin.
func (f *File) Filter(keep func(key string) bool) *File {
	out := New(f.name)
	for _, e := range f.entries {
		if keep(e.Key) {
			out.put(e)
		}
	}
	return out
}

// Parse reads the text of a .properties file. name is what errors and warnings call it.
//
// The syntax is that of java.util.Properties.load: lines end in \n, \r or \r\n; a line that starts with # or ! after blanks is a
// comment; an odd number of backslashes at the end joins the next line without its leading blanks; the key ends at the first
// unescaped =, : or blank; \t \n \r \f \uXXXX are escapes, and a backslash before anything else is dropped.
func Parse(name string, data []byte) (*File, error) {
	f := New(name)
	s := scanner{text: decodeText(data), line: 1}
	for {
		raw, line, ok := s.logical()
		if !ok {
			return f, nil
		}
		key, value := split(raw)
		k, err := unescape(key)
		if err == nil {
			value, err = unescape(value)
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, line, err)
		}
		f.put(Entry{Key: k, Value: value, Origin: name, Line: line})
	}
}

const byteOrderMark = "\ufeff"

// decodeText makes a string of the bytes of a file: UTF-8 (without byte order mark) where they are that, else ISO-8859-1.
func decodeText(data []byte) string {
	if utf8.Valid(data) {
		return strings.TrimPrefix(string(data), byteOrderMark)
	}
	var b strings.Builder
	b.Grow(len(data) + len(data)/8)
	for _, c := range data {
		b.WriteRune(rune(c))
	}
	return b.String()
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\f' }

// scanner cuts text into logical lines. All syntax is ASCII, so bytes of longer runes pass through untouched.
type scanner struct {
	text string
	pos  int
	line int // number of the natural line at pos
}

// natural returns the next line without its end, and whether there was one.
func (s *scanner) natural() (string, bool) {
	if s.pos >= len(s.text) {
		return "", false
	}
	rest := s.text[s.pos:]
	end := strings.IndexAny(rest, "\r\n")
	if end < 0 {
		s.pos = len(s.text)
		s.line++
		return rest, true
	}
	next := end + 1
	if rest[end] == '\r' && next < len(rest) && rest[next] == '\n' {
		next++
	}
	s.pos += next
	s.line++
	return rest[:end], true
}

// logical returns the next line that holds a setting, continuations joined, and the number of its first line.
func (s *scanner) logical() (text string, line int, ok bool) {
	var joined strings.Builder
	for {
		n, more := s.natural()
		if !more {
			return joined.String(), line, joined.Len() > 0
		}
		n = strings.TrimLeft(n, " \t\f")
		// As long as nothing has been collected this is the start of a logical line, even after a lone backslash.
		if joined.Len() == 0 {
			if n == "" || n[0] == '#' || n[0] == '!' {
				continue
			}
			line = s.line - 1
		}
		cut, continues := strings.CutSuffix(n, `\`)
		if continues && trailingBackslashes(n)%2 == 1 {
			joined.WriteString(cut)
			continue
		}
		joined.WriteString(n)
		return joined.String(), line, true
	}
}

func trailingBackslashes(s string) int { return len(s) - len(strings.TrimRight(s, `\`)) }

// split cuts a logical line into key and value, both still escaped.
func split(s string) (key, value string) {
	end, escaped := len(s), false
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !escaped && (c == '=' || c == ':' || isBlank(c)) {
			end = i
			break
		}
		escaped = c == '\\' && !escaped
	}
	key, value = s[:end], strings.TrimLeft(s[end:], " \t\f")
	if value != "" && (value[0] == '=' || value[0] == ':') {
		value = strings.TrimLeft(value[1:], " \t\f")
	}
	return key, value
}

// unescape resolves backslash escapes. A pair of \u surrogates is one character, as in Java's UTF-16 strings.
func unescape(s string) (string, error) {
	if strings.IndexByte(s, '\\') < 0 {
		return s, nil
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		if i++; i == len(s) {
			break
		}
		switch s[i] {
		case 't':
			b.WriteByte('\t')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 'f':
			b.WriteByte('\f')
		case 'u':
			r, used, err := unicodeEscape(s[i-1:])
			if err != nil {
				return "", err
			}
			b.WriteRune(r)
			i += used - 2
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), nil
}

const escapeLen = 6 // \uXXXX

// unicodeEscape reads one \uXXXX, or two where they are a surrogate pair, from the start of s.
func unicodeEscape(s string) (r rune, used int, err error) {
	first, err := hex4(s)
	if err != nil {
		return 0, 0, err
	}
	if utf16.IsSurrogate(first) && strings.HasPrefix(s[escapeLen:], `\u`) {
		if second, err := hex4(s[escapeLen:]); err == nil {
			if pair := utf16.DecodeRune(first, second); pair != utf8.RuneError {
				return pair, 2 * escapeLen, nil
			}
		}
	}
	return first, escapeLen, nil
}

func hex4(s string) (rune, error) {
	if len(s) < escapeLen {
		return 0, fmt.Errorf("%q is not a \\uXXXX escape with four hex digits", s)
	}
	v, err := strconv.ParseUint(s[2:escapeLen], 16, 16)
	if err != nil {
		return 0, fmt.Errorf("%q is not a \\uXXXX escape with four hex digits", s[:escapeLen])
	}
	return rune(v), nil
}
