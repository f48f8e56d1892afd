package pop

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"apogee/compat/fastjson"
)

// CheckPoint says which messages of a queue one pop took, and until when nobody else sees them (PopCheckPoint). Its body in the revive
// topic, compact:
//
//	{"bm":0,"bn":"b1","c":"gA","d":[0,1,2],"it":60000,"n":3,"pt":1700000000000,"q":0,"reviveTime":1700000060000,"ro":0,"so":100,"sp":false,"t":"tA"}
//
// bm has a bit for each message that is acknowledged, d is each message's offset less the start offset; without d (old brokers) they
// follow the start offset without holes. rp counts how often a check point was put again because reviving failed. sp (5.5) says that the
// messages come back with the count of consumptions that they have.
type CheckPoint struct {
	Bits        uint32
	Broker      string
	Group       string
	Diffs       []int32
	Invisible   int64 // ms
	Num         int32 // messages
	PopTime     int64 // ms
	Queue       int32
	RePuts      int32  // rp
	Topic       string // a retry topic, if it was one that was popped
	StartOffset int64
	Suspend     bool

	ReviveOffset int64 // where it is in the revive queue; set by who reads it there

	older *CheckPoint // another one that acks cannot tell from it
}

// set acknowledges an offset, if it is one of the messages.
func (c *CheckPoint) set(offset int64) {
	if i := c.Index(offset); i >= 0 {
		c.Bits |= 1 << uint(i)
	}
}

// ReviveTime is when the messages are visible again.
func (c *CheckPoint) ReviveTime() int64 { return later(c.PopTime, c.Invisible) }

// later is t + d; a client that means for ever may say so with the greatest number.
func later(t, d int64) int64 {
	if d > 0 && t > math.MaxInt64-d {
		return math.MaxInt64
	}
	return t + d
}

// Offset is the offset of the i-th message.
func (c *CheckPoint) Offset(i int) int64 {
	if len(c.Diffs) == 0 {
		return c.StartOffset + int64(i)
	}
	return c.StartOffset + int64(c.Diffs[i])
}

// Index is which message an offset is, -1 if it is none of them.
func (c *CheckPoint) Index(offset int64) int {
	d := offset - c.StartOffset
	if d < 0 {
		return -1
	}
	if len(c.Diffs) == 0 {
		if d < int64(c.Num) {
			return int(d)
		}
		return -1
	}
	for i, have := range c.Diffs {
		if int64(have) == d && i < int(c.Num) {
			return i
		}
	}
	return -1
}

// All is the bits of a check point that is acknowledged in full.
func (c *CheckPoint) All() uint32 { return uint32(1<<uint(c.Num) - 1) }

// checkPointJSON is the body. All but rp is always written.
type checkPointJSON struct {
	Bits       int32   `json:"bm"`
	Broker     *string `json:"bn"`
	Group      *string `json:"c"`
	Diffs      []int32 `json:"d"`
	Invisible  int64   `json:"it"`
	Num        int32   `json:"n"`
	PopTime    int64   `json:"pt"`
	Queue      int32   `json:"q"`
	ReviveTime int64   `json:"reviveTime"`
	Revive     int64   `json:"ro"`
	RePuts     *string `json:"rp"`
	Start      int64   `json:"so"`
	Suspend    bool    `json:"sp"`
	Topic      *string `json:"t"`
}

// Append appends the body. It is written by hand: a pop writes one of these, and an ack for each message.
func (c *CheckPoint) Append(dst []byte) []byte {
	dst = number(dst, `{"bm":`, int64(int32(c.Bits)))
	dst = text(dst, `,"bn":`, c.Broker)
	dst = text(dst, `,"c":`, c.Group)
	if c.Diffs != nil {
		dst = append(dst, `,"d":[`...)
		for i, d := range c.Diffs {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = strconv.AppendInt(dst, int64(d), 10)
		}
		dst = append(dst, ']')
	}
	dst = number(dst, `,"it":`, c.Invisible)
	dst = number(dst, `,"n":`, int64(c.Num))
	dst = number(dst, `,"pt":`, c.PopTime)
	dst = number(dst, `,"q":`, int64(c.Queue))
	dst = number(dst, `,"reviveTime":`, c.ReviveTime())
	dst = number(dst, `,"ro":`, c.ReviveOffset)
	if c.RePuts > 0 {
		dst = append(number(dst, `,"rp":"`, int64(c.RePuts)), '"')
	}
	dst = number(dst, `,"so":`, c.StartOffset)
	dst = strconv.AppendBool(append(dst, `,"sp":`...), c.Suspend)
	return append(text(dst, `,"t":`, c.Topic), '}')
}

func number(dst []byte, name string, n int64) []byte {
	return strconv.AppendInt(append(dst, name...), n, 10)
}

// text appends a member that is a text, as fastjson writes it.
func text(dst []byte, name, s string) []byte {
	dst = append(dst, name...)
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7F || c == '"' || c == '\\' {
			return fastjson.Append(dst, &s)
		}
	}
	dst = append(append(dst, '"'), s...)
	return append(dst, '"')
}

// ErrCheckPoint is a check point or an ack that says nothing one could act on.
var ErrCheckPoint = errors.New("record of the revive topic is not usable")

// ParseCheckPoint reads a body. It shares nothing with it.
func ParseCheckPoint(body []byte) (*CheckPoint, error) {
	var j checkPointJSON
	if err := fastjson.Unmarshal(body, &j); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCheckPoint, err)
	}
	if j.Topic == nil || j.Group == nil {
		return nil, fmt.Errorf("%w: check point without topic or group", ErrCheckPoint)
	}
	if j.Num < 0 || j.Num > MaxBatch || len(j.Diffs) > 0 && len(j.Diffs) < int(j.Num) || j.Start < 0 || j.PopTime < 0 || j.Invisible > math.MaxInt64-j.PopTime {
		return nil, fmt.Errorf("%w: check point of %d messages at %d, %d differences", ErrCheckPoint, j.Num, j.Start, len(j.Diffs))
	}
	c := &CheckPoint{
		Bits: uint32(j.Bits), Group: *j.Group, Diffs: j.Diffs, Invisible: j.Invisible, Num: j.Num, PopTime: j.PopTime, Queue: j.Queue,
		StartOffset: j.Start, Suspend: j.Suspend, Topic: *j.Topic,
	}
	if j.Broker != nil {
		c.Broker = *j.Broker
	}
	if j.RePuts != nil && *j.RePuts != "" {
		n, err := strconv.ParseInt(*j.RePuts, 10, 32)
		if err != nil {
			n = math.MaxInt8 // as Java reads what is no number
		}
		c.RePuts = int32(max(n, 0))
	}
	return c, nil
}

// Ack says that one message, or several of one check point, are consumed (AckMsg, BatchAckMsg). Bodies, compact:
//
//	{"ao":101,"bn":"b1","c":"gA","pt":1700000000000,"q":0,"so":100,"t":"tA"}
//	{"ao":-1,"aol":[101,102],"bn":"b1","c":"gA","pt":1700000000000,"q":0,"so":100,"t":"tA"}
type Ack struct {
	Offset      int64
	Offsets     []int64 // of a batch; nil for one message
	Broker      string  // "" where the broker did not say
	Group       string
	PopTime     int64
	Queue       int32
	StartOffset int64
	Topic       string
}

type ackJSON struct {
	Offset  int64   `json:"ao"`
	Offsets []int64 `json:"aol"`
	Broker  *string `json:"bn"`
	Group   *string `json:"c"`
	PopTime int64   `json:"pt"`
	Queue   int32   `json:"q"`
	Start   int64   `json:"so"`
	Topic   *string `json:"t"`
}

// Append appends the body.
func (a *Ack) Append(dst []byte) []byte {
	dst = number(dst, `{"ao":`, a.Offset)
	if a.Offsets != nil {
		dst = append(dst, `,"aol":[`...)
		for i, off := range a.Offsets {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = strconv.AppendInt(dst, off, 10)
		}
		dst = append(dst, ']')
	}
	if a.Broker != "" {
		dst = text(dst, `,"bn":`, a.Broker)
	}
	dst = text(dst, `,"c":`, a.Group)
	dst = number(dst, `,"pt":`, a.PopTime)
	dst = number(dst, `,"q":`, int64(a.Queue))
	dst = number(dst, `,"so":`, a.StartOffset)
	return append(text(dst, `,"t":`, a.Topic), '}')
}

// ParseAck reads a body. It shares nothing with it.
func ParseAck(body []byte) (*Ack, error) {
	var j ackJSON
	if err := fastjson.Unmarshal(body, &j); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCheckPoint, err)
	}
	if j.Topic == nil || j.Group == nil {
		return nil, fmt.Errorf("%w: ack without topic or group", ErrCheckPoint)
	}
	a := &Ack{Offset: j.Offset, Offsets: j.Offsets, Group: *j.Group, PopTime: j.PopTime, Queue: j.Queue, StartOffset: j.Start, Topic: *j.Topic}
	if j.Broker != nil {
		a.Broker = *j.Broker
	}
	return a, nil
}

// Tag is the tag of an ack's record.
func (a *Ack) Tag() string {
	if a.Offsets != nil {
		return TagBatchAck
	}
	return TagAck
}

// AppendUnique appends the unique key of a check point's record (PopMessageProcessor.genCkUniqueId).
func (c *CheckPoint) AppendUnique(dst []byte) []byte {
	dst = appendUnique(dst, c.Topic, c.Queue, c.StartOffset, c.Group, c.PopTime)
	return append(append(append(append(dst, '@'), c.Broker...), '@'), TagCheckPoint...)
}

// AppendUnique appends the unique key of an ack's record, whether it is of one message or of several (genAckUniqueId).
func (a *Ack) AppendUnique(dst []byte) []byte {
	dst = appendUnique(dst, a.Topic, a.Queue, a.Offset, a.Group, a.PopTime)
	return append(append(append(append(dst, '@'), a.Broker...), '@'), TagAck...)
}

func appendUnique(dst []byte, topic string, queue int32, offset int64, group string, popTime int64) []byte {
	dst = append(append(dst, topic...), '@')
	dst = append(strconv.AppendInt(dst, int64(queue), 10), '@')
	dst = append(strconv.AppendInt(dst, offset, 10), '@')
	dst = append(append(dst, group...), '@')
	return strconv.AppendInt(dst, popTime, 10)
}
