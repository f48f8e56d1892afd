package wire

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"net"
	"net/netip"
	"strings"
)

// The two magic numbers of a stored message; V2 has a topic length of two bytes.
const (
	MagicV1 uint32 = 0xDAA320A7
	MagicV2 uint32 = 0xDAA320AB
)

// Record is one stored message as pulls return it.
type Record struct {
	Raw            []byte
	Magic          uint32
	BodyCRC        uint32
	QueueID        int
	Flag           int
	QueueOffset    int64
	Physical       int64
	SysFlag        int
	BornTime       int64
	BornHost       netip.AddrPort
	StoreTime      int64
	StoreHost      netip.AddrPort
	ReconsumeTimes int
	Prepared       int64
	Body           []byte
	Topic          string
	Properties     map[string]string
}

// reader cuts fields off a record; past the end it gives zeros and remembers that.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) bytes(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.short = true
		return make([]byte, max(0, min(n, 64)))
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u16() int    { return int(binary.BigEndian.Uint16(r.bytes(2))) }
func (r *reader) u32() uint32 { return binary.BigEndian.Uint32(r.bytes(4)) }
func (r *reader) i32() int    { return int(int32(r.u32())) }
func (r *reader) i64() int64  { return int64(binary.BigEndian.Uint64(r.bytes(8))) }

func (r *reader) host(v6 bool) netip.AddrPort {
	n := 4
	if v6 {
		n = 16
	}
	ip, _ := netip.AddrFromSlice(r.bytes(n))
	return netip.AddrPortFrom(ip, uint16(r.u32()))
}

// Records splits a body into the messages in it.
func Records(body []byte) ([]Record, error) {
	var out []Record
	for len(body) > 0 {
		if len(body) < 4 || int(binary.BigEndian.Uint32(body)) > len(body) || binary.BigEndian.Uint32(body) < 8 {
			return out, fmt.Errorf("record %d is cut short", len(out))
		}
		size := binary.BigEndian.Uint32(body)
		m, err := ParseRecord(body[:size])
		if err != nil {
			return out, fmt.Errorf("record %d: %w", len(out), err)
		}
		out, body = append(out, m), body[size:]
	}
	return out, nil
}

// ParseRecord reads one stored message and checks the sum of its body.
func ParseRecord(b []byte) (Record, error) {
	r := reader{b: b}
	m := Record{Raw: b}
	r.u32()
	m.Magic, m.BodyCRC = r.u32(), r.u32()
	m.QueueID, m.Flag, m.QueueOffset, m.Physical, m.SysFlag = r.i32(), r.i32(), r.i64(), r.i64(), r.i32()
	m.BornTime, m.BornHost = r.i64(), r.host(m.SysFlag&0x10 != 0)
	m.StoreTime, m.StoreHost = r.i64(), r.host(m.SysFlag&0x20 != 0)
	m.ReconsumeTimes, m.Prepared = r.i32(), r.i64()
	m.Body = r.bytes(r.i32())
	switch m.Magic {
	case MagicV1:
		m.Topic = string(r.bytes(int(r.bytes(1)[0])))
	case MagicV2:
		m.Topic = string(r.bytes(r.u16()))
	default:
		return m, fmt.Errorf("magic %#x", m.Magic)
	}
	m.Properties = ParseProperties(string(r.bytes(r.u16())))
	if r.short || len(r.b) != 0 {
		return m, fmt.Errorf("fields do not fill the record of %d bytes (%d left)", len(b), len(r.b))
	}
	if sum := crc32.ChecksumIEEE(m.Body) & 0x7FFFFFFF; sum != m.BodyCRC {
		return m, fmt.Errorf("body has sum %#x, record says %#x", sum, m.BodyCRC)
	}
	return m, nil
}

// ParseProperties reads name 0x01 value 0x02 ...
func ParseProperties(s string) map[string]string {
	m := map[string]string{}
	for pair := range strings.SplitSeq(s, "\x02") {
		if k, v, ok := strings.Cut(pair, "\x01"); ok {
			m[k] = v
		}
	}
	return m
}

// Properties writes alternating names and values.
func Properties(pairs ...string) string {
	var b strings.Builder
	for i := 0; i+1 < len(pairs); i += 2 {
		b.WriteString(pairs[i] + "\x01" + pairs[i+1] + "\x02")
	}
	return b.String()
}

// OffsetID reads an offset message id: host of the broker and position in the commit log.
func OffsetID(id string) (netip.AddrPort, int64, error) {
	b, err := hex.DecodeString(id)
	if err != nil || (len(b) != 16 && len(b) != 28) {
		return netip.AddrPort{}, 0, fmt.Errorf("%q is no offset id", id)
	}
	ip := net.IP(b[:len(b)-12])
	addr, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(addr, uint16(binary.BigEndian.Uint32(b[len(b)-12:]))), int64(binary.BigEndian.Uint64(b[len(b)-8:])), nil
}

// BatchItem is one message of a batch body.
type BatchItem struct {
	Flag       int
	Body       []byte
	Properties string
}

// Batch encodes the body of a batch send.
func Batch(items ...BatchItem) []byte {
	var out []byte
	for _, it := range items {
		size := 4 + 4 + 4 + 4 + 4 + len(it.Body) + 2 + len(it.Properties)
		out = binary.BigEndian.AppendUint32(out, uint32(size))
		out = binary.BigEndian.AppendUint32(out, 0)
		out = binary.BigEndian.AppendUint32(out, 0)
		out = binary.BigEndian.AppendUint32(out, uint32(it.Flag))
		out = binary.BigEndian.AppendUint32(out, uint32(len(it.Body)))
		out = append(out, it.Body...)
		out = binary.BigEndian.AppendUint16(out, uint16(len(it.Properties)))
		out = append(out, it.Properties...)
	}
	return out
}
