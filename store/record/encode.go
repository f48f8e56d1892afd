package record

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
)

// The record. H1 and H2 are 8 for an IPv4 host and 20 for an IPv6 one; integers are big endian and signed.
//
//	offset        size  field
//	0             4     total size, whole record
//	4             4     magic
//	8             4     body CRC
//	12            4     queue id
//	16            4     flag (the application's)
//	20            8     queue offset
//	28            8     physical offset: where this record starts in the commit log
//	36            4     sysFlag
//	40            8     born timestamp, ms
//	48            H1    born host: address, 4-byte port
//	48+H1         8     store timestamp, ms
//	56+H1         H2    store host
//	56+H1+H2      4     reconsume times
//	60+H1+H2      8     prepared transaction offset
//	68+H1+H2      4     body length
//	72+H1+H2      n     body
//	...           1, 2  topic length: 1 byte (signed) in V1, 2 in V2
//	...           n     topic
//	...           2     properties length
//	...           n     properties
const (
	offMagic       = 4
	offBodyCRC     = 8
	offQueueID     = 12
	offFlag        = 16
	offQueueOffset = 20
	offPhysical    = 28
	offSysFlag     = 36
	offBornTime    = 40
	offBornHost    = 48

	hostV4 = 8
	hostV6 = 20
)

// Layout holds the sizes of a message's record, as Measure found them.
type Layout struct {
	Total   int  // size of the whole record
	Props   int  // bytes of properties as stored, separator and CRC included
	v2      bool // two-byte topic length
	sep     bool // the properties need a closing separator ahead of the CRC
	propCRC bool
	bornV6  bool
	storeV6 bool
}

// Measure computes the sizes that Encode needs. With propCRC room is reserved for the property CRC; the caller has deleted a
// foreign one (DeleteProperty with PropCRC32) before.
//
// Java picks V2 where the topic has more than 127 UTF-16 units. We go by bytes: that is the same for every name that passes
// validation, and where it is not, Java writes a length that it cannot read back.
func (m *Message) Measure(propCRC bool) (Layout, error) {
	l := Layout{propCRC: propCRC, v2: len(m.Topic) > 127, bornV6: isV6(m.BornHost), storeV6: isV6(m.StoreHost)}
	l.Props = len(m.Properties)
	if propCRC {
		if l.Props > 0 && m.Properties[l.Props-1] != PairEnd {
			l.sep = true
			l.Props++
		}
		l.Props += CRCReserve
	}
	if l.Props > MaxProperties {
		return l, ErrPropertiesTooLong
	}
	if len(m.Topic) > MaxTopic {
		return l, ErrTopicTooLong
	}
	l.Total = MinSize + len(m.Body) + len(m.Topic) + l.Props
	if l.v2 {
		l.Total++
	}
	if l.bornV6 {
		l.Total += hostV6 - hostV4
	}
	if l.storeV6 {
		l.Total += hostV6 - hostV4
	}
	return l, nil
}

// Encode writes the record of m to dst, which has at least l.Total bytes. Queue offset, physical offset and store time are taken
// from m; where they are not known yet, Patch sets them later. A property CRC is only reserved: SealCRC fills it when all else is set.
func Encode(dst []byte, m *Message, l Layout) {
	dst = dst[:l.Total]
	magic, sys := MagicV1, m.SysFlag&^(SysBornHostV6|SysStoreHostV6)
	if l.v2 {
		magic = MagicV2
	}
	if l.bornV6 {
		sys |= SysBornHostV6
	}
	if l.storeV6 {
		sys |= SysStoreHostV6
	}
	be := binary.BigEndian
	h := dst[:offBornHost]
	be.PutUint32(h, uint32(l.Total))
	be.PutUint32(h[offMagic:], magic)
	be.PutUint32(h[offBodyCRC:], m.BodyCRC)
	be.PutUint32(h[offQueueID:], uint32(m.QueueID))
	be.PutUint32(h[offFlag:], uint32(m.Flag))
	be.PutUint64(h[offQueueOffset:], uint64(m.QueueOffset))
	be.PutUint64(h[offPhysical:], uint64(m.PhysicalOffset))
	be.PutUint32(h[offSysFlag:], uint32(sys))
	be.PutUint64(h[offBornTime:], uint64(m.BornTimestamp))
	p := offBornHost
	p += putHost(dst[p:], m.BornHost, l.bornV6)
	be.PutUint64(dst[p:], uint64(m.StoreTimestamp))
	p += 8
	p += putHost(dst[p:], m.StoreHost, l.storeV6)
	be.PutUint32(dst[p:], uint32(m.ReconsumeTimes))
	be.PutUint64(dst[p+4:], uint64(m.PreparedTransactionOffset))
	be.PutUint32(dst[p+12:], uint32(len(m.Body)))
	p += 16
	p += copy(dst[p:], m.Body)
	if l.v2 {
		be.PutUint16(dst[p:], uint16(len(m.Topic)))
		p += 2
	} else {
		dst[p] = byte(len(m.Topic))
		p++
	}
	p += copy(dst[p:], m.Topic)
	be.PutUint16(dst[p:], uint16(l.Props))
	p += 2
	p += copy(dst[p:], m.Properties)
	if l.sep {
		dst[p] = PairEnd
	}
}

// Patch sets what is only known when the record has its place: the queue offset, the physical offset and the store time.
func Patch(rec []byte, queueOffset, physical, storeTime int64) {
	be := binary.BigEndian
	be.PutUint64(rec[offQueueOffset:], uint64(queueOffset))
	be.PutUint64(rec[offPhysical:], uint64(physical))
	p := offBornHost + hostV4
	if int32(be.Uint32(rec[offSysFlag:]))&SysBornHostV6 != 0 {
		p = offBornHost + hostV6
	}
	be.PutUint64(rec[p:], uint64(storeTime))
}

// PutPhysical has a record say that it starts elsewhere, for copies in other logs.
func PutPhysical(rec []byte, physical int64) {
	binary.BigEndian.PutUint64(rec[offPhysical:], uint64(physical))
}

// PutPrepared has a record say where the first half of its transaction is.
func PutPrepared(rec []byte, physical int64) {
	p := offBornHost + hostV4 + hostV4 + 12
	sys := int32(binary.BigEndian.Uint32(rec[offSysFlag:]))
	if sys&SysBornHostV6 != 0 {
		p += hostV6 - hostV4
	}
	if sys&SysStoreHostV6 != 0 {
		p += hostV6 - hostV4
	}
	binary.BigEndian.PutUint64(rec[p:], uint64(physical))
}

// SealCRC fills the reserved property CRC of a whole record that was measured with propCRC; it is the last thing done to it.
//
//	offset from the end  size  field
//	-20                  8     "__CRC32#"
//	-12                  1     0x01
//	-11                  10    the CRC of all before, decimal, least significant digit first, padded with '0'
//	-1                   1     0x02
func SealCRC(rec []byte) {
	t := rec[len(rec)-CRCReserve:]
	crc := crc32.ChecksumIEEE(rec[:len(rec)-CRCReserve]) & 0x7FFFFFFF
	copy(t, PropCRC32)
	t[8] = NameEnd
	for i := 9; i < 19; i++ {
		t[i] = byte('0' + crc%10)
		crc /= 10
	}
	t[19] = PairEnd
}

// PutBlank marks the rest of a file as unused; remaining is the number of bytes from dst to the end of the file, at least BlankSize.
func PutBlank(dst []byte, remaining int32) {
	binary.BigEndian.PutUint32(dst, uint32(remaining))
	binary.BigEndian.PutUint32(dst[offMagic:], MagicBlank)
}

// isV6 is true for what Java holds in an Inet6Address; an IPv4 address in IPv6 clothes is an Inet4Address there.
func isV6(a netip.AddrPort) bool { return a.Addr().Is6() && !a.Addr().Is4In6() }

func putHost(dst []byte, a netip.AddrPort, v6 bool) int {
	if v6 {
		b := a.Addr().As16()
		copy(dst, b[:])
		binary.BigEndian.PutUint32(dst[16:], uint32(a.Port()))
		return hostV6
	}
	var b [4]byte // an unset address is 0.0.0.0
	if a.Addr().IsValid() {
		b = a.Addr().Unmap().As4()
	}
	copy(dst, b[:])
	binary.BigEndian.PutUint32(dst[4:], uint32(a.Port()))
	return hostV4
}
