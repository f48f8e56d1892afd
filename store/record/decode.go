package record

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
	"unsafe"
)

// Header is what dispatch and recovery need of a record. Topic, Body and Properties alias the bytes that were parsed.
type Header struct {
	Size           int // whole record; for ErrBlank the rest of the file, for ErrMalformed what the record claims
	Magic          uint32
	BodyCRC        uint32
	QueueID        int32
	Flag           int32
	SysFlag        int32
	QueueOffset    int64
	PhysicalOffset int64
	StoreTimestamp int64
	PreparedOffset int64
	Body           []byte
	Topic          []byte
	Properties     []byte
}

// Parse walks the record at the start of b. It checks bounds, magic and that the fields add up to the size, not the checksums.
//
// With ErrBlank and ErrMalformed h.Size is what the bytes claim (a size that fits into b in the second case, so that a reader may
// step over it, as Java does); with every other error it is 0.
func Parse(b []byte, h *Header) error {
	*h = Header{}
	if len(b) < BlankSize {
		return ErrShort
	}
	be := binary.BigEndian
	size := int(int32(be.Uint32(b)))
	h.Magic = be.Uint32(b[offMagic:])
	switch h.Magic {
	case MagicV1, MagicV2:
	case MagicBlank:
		h.Size = size
		return ErrBlank
	default:
		return ErrMagic
	}
	if size < MinSize {
		return ErrMalformed
	}
	if size > len(b) {
		return ErrShort
	}
	h.Size = size
	return h.walk(b[:size:size])
}

// Starts tells whether b seems to start with a record, by its first fields only, and how long it says it is: no more than b.
func Starts(b []byte) (size int, ok bool) {
	if len(b) < MinSize {
		return 0, false
	}
	be := binary.BigEndian
	size = int(int32(be.Uint32(b)))
	magic := be.Uint32(b[offMagic:])
	return size, (magic == MagicV1 || magic == MagicV2) && size >= MinSize && size <= len(b)
}

// walk reads the fields; rec has the size that its first field says, which is at least MinSize.
func (h *Header) walk(rec []byte) error {
	be := binary.BigEndian
	f := rec[:offBornHost+hostV4+8]
	h.BodyCRC = be.Uint32(f[offBodyCRC:])
	h.QueueID = int32(be.Uint32(f[offQueueID:]))
	h.Flag = int32(be.Uint32(f[offFlag:]))
	h.QueueOffset = int64(be.Uint64(f[offQueueOffset:]))
	h.PhysicalOffset = int64(be.Uint64(f[offPhysical:]))
	h.SysFlag = int32(be.Uint32(f[offSysFlag:]))
	p := offBornHost + hostV4
	min := MinSize
	if h.SysFlag&SysBornHostV6 != 0 {
		p = offBornHost + hostV6
		min += hostV6 - hostV4
	}
	q := p + 8 + hostV4
	if h.SysFlag&SysStoreHostV6 != 0 {
		q = p + 8 + hostV6
		min += hostV6 - hostV4
	}
	if h.Magic == MagicV2 {
		min++
	}
	if len(rec) < min {
		return ErrMalformed
	}
	h.StoreTimestamp = int64(be.Uint64(rec[p:]))
	h.PreparedOffset = int64(be.Uint64(rec[q+4:]))
	// A negative length counts as 0 for body and properties in Java; for a topic it is an error.
	body := max(0, int(int32(be.Uint32(rec[q+12:]))))
	room := len(rec) - min // what body, topic and properties have together
	if body > room {
		return ErrMalformed
	}
	room -= body
	q += 16
	h.Body = rec[q : q+body : q+body]
	q += body
	var topic int
	if h.Magic == MagicV2 {
		topic = int(int16(be.Uint16(rec[q:])))
		q += 2
	} else {
		topic = int(int8(rec[q]))
		q++
	}
	if topic < 0 || topic > room {
		return ErrMalformed
	}
	room -= topic
	h.Topic = rec[q : q+topic : q+topic]
	q += topic
	if max(0, int(int16(be.Uint16(rec[q:])))) != room {
		return ErrMalformed
	}
	h.Properties = rec[q+2:]
	return nil
}

// CheckBody compares the body with its checksum.
func (h *Header) CheckBody() error {
	if len(h.Body) > 0 && BodyCRC(h.Body) != h.BodyCRC {
		return ErrBodyCRC
	}
	return nil
}

// CheckPropCRC verifies the property CRC of rec, the record that h was parsed from. Without one it is ErrPropCRC where must is
// set, nil otherwise.
func (h *Header) CheckPropCRC(rec []byte, must bool) error {
	n := len(h.Properties) - CRCReserve
	if n < 0 || string(h.Properties[n:n+9]) != PropCRC32+"\x01" {
		if must {
			return ErrPropCRC
		}
		return nil
	}
	var want uint32
	digits := h.Properties[n+9 : n+19]
	for i := len(digits) - 1; i >= 0; i-- {
		c := digits[i] - '0'
		if c > 9 {
			return ErrPropCRC
		}
		want = want*10 + uint32(c)
	}
	if crc32.ChecksumIEEE(rec[:h.Size-CRCReserve])&0x7FFFFFFF != want {
		return ErrPropCRC
	}
	return nil
}

// Tran is the transaction type: 0, SysTranPrepared, SysTranCommit or SysTranRollback.
func (h *Header) Tran() int32 { return h.SysFlag & SysTranMask }

// Decode reads the whole record at the start of b into m; Topic, Body and Properties alias b. Errors are those of Parse.
func Decode(b []byte, m *Message) error {
	var h Header
	if err := Parse(b, &h); err != nil {
		return err
	}
	be := binary.BigEndian
	*m = Message{
		Topic:                     view(h.Topic),
		QueueID:                   h.QueueID,
		Flag:                      h.Flag,
		SysFlag:                   h.SysFlag,
		BornTimestamp:             int64(be.Uint64(b[offBornTime:])),
		PreparedTransactionOffset: h.PreparedOffset,
		Body:                      h.Body,
		Properties:                view(h.Properties),
		QueueOffset:               h.QueueOffset,
		PhysicalOffset:            h.PhysicalOffset,
		StoreTimestamp:            h.StoreTimestamp,
		StoreSize:                 int32(h.Size),
		BodyCRC:                   h.BodyCRC,
		Magic:                     h.Magic,
	}
	var n int
	p := offBornHost
	m.BornHost, n = readHost(b[p:], h.SysFlag&SysBornHostV6 != 0)
	p += n + 8
	m.StoreHost, n = readHost(b[p:], h.SysFlag&SysStoreHostV6 != 0)
	m.ReconsumeTimes = int32(be.Uint32(b[p+n:]))
	return nil
}

func readHost(b []byte, v6 bool) (netip.AddrPort, int) {
	if v6 {
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[:16])), uint16(binary.BigEndian.Uint32(b[16:]))), hostV6
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[:4])), uint16(binary.BigEndian.Uint32(b[4:]))), hostV4
}

// view is the string that shares b's bytes.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Fields of a record that is known to be whole, without a walk.

// SizeOf is the total size that a record states.
func SizeOf(rec []byte) int32 { return int32(binary.BigEndian.Uint32(rec)) }

// QueueOffsetOf is the queue offset.
func QueueOffsetOf(rec []byte) int64 { return int64(binary.BigEndian.Uint64(rec[offQueueOffset:])) }

// PhysicalOf is the physical offset.
func PhysicalOf(rec []byte) int64 { return int64(binary.BigEndian.Uint64(rec[offPhysical:])) }

// StoreTimeOf is the store timestamp.
func StoreTimeOf(rec []byte) int64 {
	p := offBornHost + hostV4
	if int32(binary.BigEndian.Uint32(rec[offSysFlag:]))&SysBornHostV6 != 0 {
		p = offBornHost + hostV6
	}
	return int64(binary.BigEndian.Uint64(rec[p:]))
}

// HeadSize is how many bytes of a record StoreTimeOf and the other field readers may touch.
const HeadSize = offBornHost + hostV6 + 8
