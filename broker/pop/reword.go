package pop

import (
	"encoding/binary"

	"apogee/store/record"
)

// wholeBody is how long a body may be that is copied with its record. A longer one stays where it is, between two pieces.
const wholeBody = 2048

// Reword appends to regions the record at the start of b as a pop of the normal topic gives it: under that topic's name, and with its
// receipt. It returns the size of the record in b. The body is not copied if it is long.
func Reword(regions [][]byte, b []byte, topic string, r *Receipt) ([][]byte, int, error) {
	var m record.Message
	if err := record.Decode(b, &m); err != nil {
		return regions, 0, err
	}
	size := int(m.StoreSize)
	text := r.Append(make([]byte, 0, 96))
	m.Topic = topic
	m.Properties = view(record.SetProperty(make([]byte, 0, len(m.Properties)+len(text)+16), m.Properties, PropReceipt, view(text)))
	body := m.Body
	long := len(body) > wholeBody
	if long {
		m.Body = nil
	}
	l, err := m.Measure(false)
	if err != nil {
		return regions, 0, err
	}
	out := make([]byte, l.Total)
	record.Encode(out, &m, l)
	if !long {
		return append(regions, out), size, nil
	}
	// The length of the body is followed by the topic with its length, and the properties with theirs.
	const lengths = 1 + 2
	tail := len(out) - lengths - len(topic) - l.Props
	if len(topic) > 127 {
		tail--
	}
	binary.BigEndian.PutUint32(out, uint32(l.Total+len(body)))
	binary.BigEndian.PutUint32(out[tail-4:], uint32(len(body)))
	return append(regions, out[:tail:tail], body, out[tail:]), size, nil
}
