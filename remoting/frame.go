package remoting

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"apogee/remoting/header"
)

// A frame (docs/format/remoting.md#frame), all integers big-endian:
//
//	offset size field
//	     0    4 length: bytes after this field = 4 + headerLength + bodyLength
//	     4    1 serialization of the header: 0 JSON, 1 ROCKETMQ
//	     5    3 headerLength
//	     8    n header
//	   8+n    m body
const (
	lengthSize    = 4
	preambleSize  = 8
	maxHeaderSize = 1<<24 - 1
)

// Serialization is the header encoding of a frame.
type Serialization uint8

// The serializations, by SerializeType's codes.
const (
	JSON     Serialization = 0
	RocketMQ Serialization = 1
)

// String is the name that a JSON header bears in serializeTypeCurrentRPC.
func (s Serialization) String() string {
	if s == RocketMQ {
		return "ROCKETMQ"
	}
	return "JSON"
}

// Flag bits.
const (
	flagResponse = 1
	flagOneway   = 2
)

// ourVersion is MQVersion V5_5_0: heartbeat answers below 232 would make clients refuse SQL filters (spec: remoting.md 2.6).
const ourVersion = 513

// ErrBadFrame is in every error about bytes that are no frame. The connection they came from is closed, as Java does: there is
// no error answer, because there is nothing trustworthy to answer to.
var ErrBadFrame = errors.New("bad frame")

func badFrame(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBadFrame, fmt.Sprintf(format, args...))
}

// frameSize tells how many bytes the frame at the start of b has, length field included. 0 means b is too short to tell.
func frameSize(b []byte, maxFrame int) (int, error) {
	if len(b) < lengthSize {
		return 0, nil
	}
	n := int32(binary.BigEndian.Uint32(b))
	if n < lengthSize {
		return 0, badFrame("length %d", n)
	}
	if int64(n)+lengthSize > int64(maxFrame) {
		return 0, badFrame("length %d exceeds the limit of %d bytes", n, maxFrame)
	}
	return int(n) + lengthSize, nil
}

// decodeFrame reads one whole frame into r. Strings and the body alias frame, which is changed where JSON strings have escapes.
func decodeFrame(frame []byte, r *Request) (Serialization, error) {
	word := binary.BigEndian.Uint32(frame[lengthSize:])
	ser, headerLen := Serialization(word>>24), int(word&maxHeaderSize)
	if headerLen > len(frame)-preambleSize {
		return 0, badFrame("header of %d bytes in a frame of %d", headerLen, len(frame))
	}
	r.reset()
	r.Body = frame[preambleSize+headerLen:]
	head := frame[preambleSize : preambleSize+headerLen]
	switch ser {
	case JSON:
		return ser, decodeJSON(head, r)
	case RocketMQ:
		return ser, decodeBinary(head, r)
	}
	return 0, badFrame("serialization %d", uint8(ser))
}

// reset makes r what a header without a single field means.
func (r *Request) reset() {
	r.Code, r.Language, r.Version, r.Opaque, r.Flag, r.Remark = 0, Java, 0, 0, 0, ""
	r.Fields, r.Body = r.Fields[:0], nil
	r.answered = false
}

// head is the header of a frame that leaves.
type head struct {
	code, opaque, flag int32
	remark             string
	fields             header.Encodable // may be nil
	shared             *header.Fixed    // may be nil
	extra              header.Fields
}

// frameWriter appends frames to buf.
type frameWriter struct{ buf []byte }

// frame appends a frame whose body is body followed by regionBytes bytes that the caller sends itself.
func (w *frameWriter) frame(ser Serialization, h *head, body []byte, regionBytes int) error {
	start := len(w.buf)
	w.buf = slices.Grow(w.buf, len(body)+512)
	w.buf = append(w.buf, 0, 0, 0, 0, 0, 0, 0, 0)
	if ser == RocketMQ {
		w.binary(h)
	} else {
		w.json(h)
	}
	headerLen := len(w.buf) - start - preambleSize
	if headerLen > maxHeaderSize {
		w.buf = w.buf[:start]
		return fmt.Errorf("header of code %d has %d bytes, a frame takes %d", h.code, headerLen, maxHeaderSize)
	}
	w.buf = append(w.buf, body...)
	binary.BigEndian.PutUint32(w.buf[start:], uint32(len(w.buf)-start-lengthSize+regionBytes))
	binary.BigEndian.PutUint32(w.buf[start+lengthSize:], uint32(ser)<<24|uint32(headerLen))
	return nil
}
