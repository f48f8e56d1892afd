package pop

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Receipt is the handle of one popped message: what a client hands back to acknowledge it (property POP_CK, header extraInfo;
// ExtraInfoUtil). Eight parts with a blank between:
//
//	startOffset popTime invisibleTime reviveQueue kind broker queue offset
//
// The first is the start offset of the check point, the last the message's own. Seven are enough to read one.
type Receipt struct {
	StartOffset int64
	PopTime     int64 // ms
	Invisible   int64 // ms
	ReviveQueue int32
	Kind        Kind
	Broker      string
	Queue       int32
	Offset      int64 // -1 where the text has none
}

// Order tells a receipt of an ordered pop.
func (r *Receipt) Order() bool { return r.ReviveQueue == OrderQueue }

// ReviveTime is when the message is visible again.
func (r *Receipt) ReviveTime() int64 { return later(r.PopTime, r.Invisible) }

// ChangedAt is the pop time of the check point that gives the message at an offset a new invisible time. A check point is known by its
// start and its pop time, so in the millisecond of the pop the new one of a batch's first message would be taken for the old one: the ack
// of that one would be its own too, and the message would never come back.
func (r *Receipt) ChangedAt(offset, now int64) int64 {
	if r.StartOffset == offset && r.PopTime >= now && r.PopTime < now+1000 {
		return r.PopTime + 1
	}
	return now
}

// Append appends the text.
func (r *Receipt) Append(dst []byte) []byte {
	dst = append(strconv.AppendInt(dst, r.StartOffset, 10), ' ')
	dst = append(strconv.AppendInt(dst, r.PopTime, 10), ' ')
	dst = append(strconv.AppendInt(dst, r.Invisible, 10), ' ')
	dst = append(strconv.AppendInt(dst, int64(r.ReviveQueue), 10), ' ', byte(r.Kind), ' ')
	dst = append(append(dst, r.Broker...), ' ')
	dst = append(strconv.AppendInt(dst, int64(r.Queue), 10), ' ')
	return strconv.AppendInt(dst, r.Offset, 10)
}

// ErrReceipt is a receipt that cannot be read.
var ErrReceipt = errors.New("receipt is not readable")

// ParseReceipt reads a text; Broker aliases it. Parts that an acknowledgement does not need may be missing, as in Java: the first six must
// be there.
func ParseReceipt(text string) (Receipt, error) {
	r := Receipt{Queue: -1, Offset: -1}
	rest, parts := text, 0
	for more := true; more && parts < 8; parts++ {
		var part string
		part, rest, more = strings.Cut(rest, " ")
		if err := r.set(parts, part); err != nil {
			return Receipt{}, fmt.Errorf("%w: part %d of %q", ErrReceipt, parts+1, clip(text))
		}
	}
	if parts < 6 {
		return Receipt{}, fmt.Errorf("%w: %q has %d parts", ErrReceipt, clip(text), parts)
	}
	return r, nil
}

func (r *Receipt) set(i int, part string) (err error) {
	var n int64
	bits := 64
	switch i {
	case 3, 6:
		bits = 32
	case 4:
		if len(part) == 1 {
			r.Kind = Kind(part[0])
		}
		if _, ok := RealTopic("", "", r.Kind); !ok {
			return ErrReceipt
		}
		return nil
	case 5:
		r.Broker = part
		return nil
	}
	if n, err = strconv.ParseInt(part, 10, bits); err != nil {
		return err
	}
	switch i {
	case 0:
		r.StartOffset = n
	case 1:
		r.PopTime = n
	case 2:
		r.Invisible = n
	case 3:
		r.ReviveQueue = int32(n)
	case 6:
		r.Queue = int32(n)
	case 7:
		r.Offset = n
	}
	return nil
}

// clip keeps what a client sent out of remarks and logs beyond a length.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		return s[:most]
	}
	return s
}

// AppendStartOffset appends the part of the answer's startOffsetInfo for one queue: "kind queue offset", parts joined by semicolons.
func AppendStartOffset(dst []byte, k Kind, queue int32, start int64) []byte {
	return strconv.AppendInt(appendQueue(dst, k, queue), start, 10)
}

// AppendOffsets appends the part of the answer's msgOffsetInfo for one queue: "kind queue offset,offset,...".
func AppendOffsets(dst []byte, k Kind, queue int32, offsets []int64) []byte {
	dst = appendQueue(dst, k, queue)
	for i, off := range offsets {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(dst, off, 10)
	}
	return dst
}

// AppendQueueCount appends a part of orderCountInfo: "kind queue count", how often a queue's messages have been consumed at least.
func AppendQueueCount(dst []byte, k Kind, queue, count int32) []byte {
	return strconv.AppendInt(appendQueue(dst, k, queue), int64(count), 10)
}

// AppendOffsetCount appends a part of orderCountInfo: "kind qo<queue>%<offset> count", how often one message has been consumed.
func AppendOffsetCount(dst []byte, k Kind, queue int32, offset int64, count int32) []byte {
	dst = append(appendPart(dst, k), 'q', 'o')
	dst = append(strconv.AppendInt(dst, int64(queue), 10), '%')
	dst = append(strconv.AppendInt(dst, offset, 10), ' ')
	return strconv.AppendInt(dst, int64(count), 10)
}

func appendPart(dst []byte, k Kind) []byte {
	if len(dst) > 0 {
		dst = append(dst, ';')
	}
	return append(dst, byte(k), ' ')
}

func appendQueue(dst []byte, k Kind, queue int32) []byte {
	return append(strconv.AppendInt(appendPart(dst, k), int64(queue), 10), ' ')
}
