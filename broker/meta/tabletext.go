package meta

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/store/vfs"
)

// tableText is the text of a configuration file whose bulk is one table: an object in which each member is an object. It is kept
// so that a change of one entry costs the encoding of one entry, and leaves the bytes ahead of it as they are. Entries stay in the
// order in which they came; Java's files have none.
type tableText struct {
	table string // the table's name in the file

	text []byte
	head int      // what is ahead of the entries
	tail int      // what follows them
	same vfs.Same // what the text has in common with what take returned the last time
}

// The layout of a file that Java writes. No string of JSON contains these: newlines and tabs are escaped there.
const (
	memberStart = "\n\t\""
	entryEnd    = "\n\t\t}"
	tableEnd    = "\n\t"
)

// frame sets what is around the entries: the text of the file as it would be with an empty table, which must be there.
func (t *tableText) frame(empty []byte) error {
	mark := []byte(memberStart + t.table + "\":{}")
	at := bytes.Index(empty, mark)
	if at < 0 {
		return fmt.Errorf("encode %s: no such table", t.table)
	}
	head, tail := empty[:at+len(mark)-1], empty[at+len(mark)-1:]
	if len(head) == t.head && bytes.HasSuffix(t.text, tail) {
		copy(t.text, head)
		return nil
	}
	entries := t.entries()
	text := append(make([]byte, 0, len(head)+len(entries)+len(tail)+slack), head...)
	text = append(text, entries...)
	if len(entries) > 0 {
		text = append(text, tableEnd...)
	}
	t.text, t.head = append(text, tail...), len(head)
	t.tail = len(t.text) - t.head - len(entries)
	t.same = vfs.Same{}
	return nil
}

// slack is how much a text may grow before it has to be moved.
const slack = 4096

// entrySize is about what a topic takes.
const entrySize = 256

// grow makes room for n bytes.
func (t *tableText) grow(n int) { t.text = slices.Grow(t.text, n) }

func (t *tableText) end() int { return len(t.text) - t.tail }

func (t *tableText) entries() []byte { return t.text[t.head:t.end()] }

// add makes an entry that is not there.
func (t *tableText) add(name string, value entryText) {
	end, first := t.end(), t.tail == len(t.text)-t.head
	entry := make([]byte, 0, 512)
	if !first {
		entry = append(entry, ',')
	}
	entry = value(appendName(entry, name))
	if first { // the table's end moves to a line of its own
		entry = append(entry, tableEnd...)
		t.tail += len(tableEnd)
	}
	t.splice(end, end, entry)
}

// replace gives an entry another value.
func (t *tableText) replace(name string, value entryText) {
	if from, to, ok := t.find(name); ok {
		t.splice(from, to, value(appendName(nil, name)))
	}
}

// entryText appends an entry's value, laid out for its place in the file.
type entryText func(b []byte) []byte

func appendName(b []byte, name string) []byte {
	return append(appendString(append(b, "\n\t\t"...), name), ':')
}

// appendString is fastjson.Append for a string, quicker for those that need no escapes.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-' || c == '%' || c == '|') {
			return fastjson.Append(b, s)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// remove takes an entry away.
func (t *tableText) remove(name string) {
	from, to, ok := t.find(name)
	switch {
	case !ok:
		return
	case to < t.end(): // with the comma behind it
		to++
	case from > t.head: // the last one, with the comma ahead of it
		from--
	default: // the only one
		to += len(tableEnd)
		t.tail -= len(tableEnd)
	}
	t.splice(from, to, nil)
}

// find is where an entry stands.
func (t *tableText) find(name string) (from, to int, ok bool) {
	key := appendName(nil, name)
	entries := t.entries()
	from = bytes.Index(entries, key)
	if from < 0 {
		return 0, 0, false
	}
	n := bytes.Index(entries[from:], []byte(entryEnd))
	if n < 0 {
		return 0, 0, false
	}
	return t.head + from, t.head + from + n + len(entryEnd), true
}

func (t *tableText) splice(from, to int, by []byte) {
	t.same.Last = min(t.same.Last, from)
	if n := len(by) - (to - from); cap(t.text)-len(t.text) < n {
		t.grow(n + slack + len(t.text)/8)
	}
	rest := len(t.text) - to
	text := t.text[:from+len(by)+rest]
	copy(text[from+len(by):], t.text[to:])
	copy(text[from:], by)
	t.text = text
}

// take returns the text, valid until the next change, and what it has in common with what was taken before.
func (t *tableText) take() ([]byte, vfs.Same) {
	same := t.same
	t.same = vfs.Same{First: t.head, Last: len(t.text)}
	return t.text, same
}

// topicEntry is a topic's entry in topics.json. Most topics have nothing but the plain members, which are written without the
// detour over reflection: a broker's first change writes all of its topics.
func topicEntry(c *body.TopicConfig) entryText {
	if len(c.Attributes) > 0 || len(c.Extras) > 0 {
		return func(b []byte) []byte { return fastjson.PrettyAt(b, fastjson.Marshal(c), 2) }
	}
	const member = ",\n\t\t\t\""
	number := func(b []byte, label string, n int32) []byte {
		return strconv.AppendInt(append(append(b, label...), "\":"...), int64(n), 10)
	}
	text := func(b []byte, label, s string) []byte {
		if s == "" {
			return b
		}
		return appendString(append(append(b, label...), "\":"...), s)
	}
	return func(b []byte) []byte {
		b = append(b, "{\n\t\t\t\"attributes\":{}"...)
		b = strconv.AppendBool(append(b, member+"order\":"...), c.Order)
		b = number(b, member+"perm", c.Perm)
		b = number(b, member+"readQueueNums", c.ReadQueueNums)
		b = text(b, member+"topicFilterType", c.TopicFilterType)
		b = text(b, member+"topicName", c.TopicName)
		b = number(b, member+"topicSysFlag", c.TopicSysFlag)
		b = number(b, member+"writeQueueNums", c.WriteQueueNums)
		return append(b, entryEnd...)
	}
}
