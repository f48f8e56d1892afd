package pop

import (
	"encoding/base64"
	"errors"
	"fmt"

	"apogee/compat/fastjson"
)

// BatchAck is one entry of a BATCH_ACK_MESSAGE body (Java BatchAck): messages of one check point.
//
//	{"acks":[{"b":"AQI=","c":"CG","it":60000,"pt":1700000000000,"q":2,"r":"0","rq":1,"so":100,"t":"T1"}],"brokerName":"b-0"}
//
// b is a Java BitSet: little-endian bytes in Base64, bit i for the offset so + i.
type BatchAck struct {
	Bits        string `json:"b"`
	Group       string `json:"c"`
	Invisible   int64  `json:"it"`
	PopTime     int64  `json:"pt"`
	Queue       int32  `json:"q"`
	Retry       string `json:"r"`
	ReviveQueue int32  `json:"rq"`
	StartOffset int64  `json:"so"`
	Topic       string `json:"t"`
}

// BatchAckBody is the body of BATCH_ACK_MESSAGE (200151).
type BatchAckBody struct {
	Acks   []BatchAck `json:"acks"`
	Broker string     `json:"brokerName"`
}

// ErrBatchAck is a batch of acks that cannot be read.
var ErrBatchAck = errors.New("batch of acks is not readable")

// ParseBatchAck reads a body; it shares nothing with it.
func ParseBatchAck(body []byte) (*BatchAckBody, error) {
	b := new(BatchAckBody)
	if err := fastjson.Unmarshal(body, b); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBatchAck, err)
	}
	return b, nil
}

// maxSpread bounds how far the offsets of one check point can be apart: a pop looks at so many queue entries at most, by far.
const maxSpread = 1 << 20

// Offsets is the offsets whose bits are set, within least and most.
func (b *BatchAck) Offsets(least, most int64) ([]int64, error) {
	if base64.StdEncoding.DecodedLen(len(b.Bits)) > maxSpread/8 {
		return nil, fmt.Errorf("%w: %d bytes of bits", ErrBatchAck, len(b.Bits))
	}
	raw, err := base64.StdEncoding.DecodeString(b.Bits)
	if err != nil {
		return nil, fmt.Errorf("%w: bits: %w", ErrBatchAck, err)
	}
	var out []int64
	for i, v := range raw {
		for bit := range 8 {
			if off := b.StartOffset + int64(i*8+bit); v&(1<<bit) != 0 && off >= least && off <= most {
				out = append(out, off)
			}
		}
	}
	return out, nil
}

// Kind is which topic the entry means.
func (b *BatchAck) Kind() Kind {
	if len(b.Retry) != 1 {
		return 0
	}
	return Kind(b.Retry[0])
}
