package record

import (
	"encoding/binary"
	"errors"
)

// ErrBatch is a batch body whose lengths run over its end.
var ErrBatch = errors.New("record: malformed batch body")

// BatchRecord is one message inside the body of a batch send; its fields alias that body.
type BatchRecord struct {
	Flag       int32
	Body       []byte
	Properties []byte
}

// CutBatch reads the first message of a batch body and returns the rest.
//
//	offset  size  field
//	0       4     size of this message; ignored, as in Java
//	4       4     0 (magic)
//	8       4     0 (body CRC)
//	12      4     flag
//	16      4     body length
//	20      n     body
//	...     2     properties length
//	...     n     properties
func CutBatch(b []byte) (r BatchRecord, rest []byte, err error) {
	const head, tail = 20, 2
	if len(b) < head+tail {
		return r, nil, ErrBatch
	}
	be := binary.BigEndian
	r.Flag = int32(be.Uint32(b[12:]))
	n := int(int32(be.Uint32(b[16:])))
	if n < 0 || n > len(b)-head-tail {
		return r, nil, ErrBatch
	}
	r.Body = b[head : head+n : head+n]
	b = b[head+n:]
	n = int(int16(be.Uint16(b)))
	if n < 0 || n > len(b)-tail {
		return r, nil, ErrBatch
	}
	r.Properties = b[tail : tail+n : tail+n]
	return r, b[tail+n:], nil
}

// CountBatch is how many messages a batch body has. Unlike those who cut it, whoever reads such a body as a whole goes by the sizes in it: each
// must be that of its message.
func CountBatch(b []byte) (n int, err error) {
	for len(b) > 0 {
		_, rest, err := CutBatch(b)
		if err != nil || int(int32(binary.BigEndian.Uint32(b))) != len(b)-len(rest) {
			return 0, ErrBatch
		}
		b, n = rest, n+1
	}
	return n, nil
}

// AppendBatch appends one message in that form; for tests and clients.
func AppendBatch(dst []byte, r BatchRecord) []byte {
	be := binary.BigEndian
	dst = be.AppendUint32(dst, uint32(22+len(r.Body)+len(r.Properties)))
	dst = be.AppendUint64(dst, 0)
	dst = be.AppendUint32(dst, uint32(r.Flag))
	dst = be.AppendUint32(dst, uint32(len(r.Body)))
	dst = append(dst, r.Body...)
	dst = be.AppendUint16(dst, uint16(len(r.Properties)))
	return append(dst, r.Properties...)
}
