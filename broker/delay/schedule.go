package delay

import (
	"fmt"
	"strconv"
	"strings"
	"unsafe"

	"apogee/store/record"
)

// Of is the level that a DELAY property asks for: 0 if none. A level above the highest counts as that; clipped reports it. A text that is
// no number is an error, in which Java ends the request.
func (l Levels) Of(property string) (level int, clipped bool, err error) {
	if property == "" {
		return 0, false, nil
	}
	n, err := strconv.ParseInt(property, 10, 32)
	switch {
	case err != nil:
		return 0, false, fmt.Errorf("property %s: %w", record.PropDelay, err)
	case n <= 0 || len(l) == 0:
		return 0, false, nil
	case int(n) > len(l):
		return len(l), true, nil
	}
	return int(n), false, nil
}

// Schedule makes m a message of the schedule topic that will be delivered to where it was going. level is 1 or above. The new properties
// are built in buf, which m.Properties aliases from then on; the grown buffer is returned.
//
// DELAY is rewritten only where the level was clipped, and properties REAL_TOPIC and REAL_QID that a client has set are replaced
// (HookUtils.transformDelayLevelMessage).
func Schedule(m *record.Message, level int, clipped bool, buf []byte) []byte {
	buf = buf[:0]
	var num [11]byte
	if clipped {
		buf = setDelay(buf, m.Properties, view(strconv.AppendInt(num[:0], int64(level), 10)))
	} else {
		buf = appendWithout(buf, m.Properties)
	}
	if n := len(buf); n > 0 && buf[n-1] != record.PairEnd {
		buf = append(buf, record.PairEnd)
	}
	buf = record.AppendProperty(buf, record.PropRealTopic, m.Topic)
	buf = record.AppendProperty(buf, record.PropRealQueue, view(strconv.AppendInt(num[:0], int64(m.QueueID), 10)))
	m.Topic, m.QueueID = record.ScheduleTopic, int32(level-1)
	m.Properties = view(buf)
	return buf
}

// setDelay is appendWithout with the value of DELAY replaced in its place.
func setDelay(dst []byte, props, value string) []byte {
	for c := record.Pairs(bytesOf(props)); c.Next(); {
		switch string(c.Name) {
		case record.PropRealTopic, record.PropRealQueue:
		case record.PropDelay:
			dst = record.AppendProperty(dst, record.PropDelay, value)
		default:
			dst = record.AppendProperty(dst, view(c.Name), view(c.Value))
		}
	}
	return dst
}

// appendWithout appends props without the two properties that Schedule sets; there hardly ever are any.
func appendWithout(dst []byte, props string) []byte {
	if !strings.Contains(props, "REAL_") {
		return append(dst, props...)
	}
	return record.AppendPairs(dst, props, record.PropRealTopic, record.PropRealQueue)
}

func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
