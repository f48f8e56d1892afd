// Package record is the byte layout of one stored message (docs/format/record.md). It does no I/O and knows no files.
//
// Writing: Message.Measure gives the sizes and refuses what cannot be stored, Encode fills a slice that the caller owns (a
// mapped file), Patch sets the three fields that are only known under the append lock. Reading: Parse is the cheap walk that
// dispatch and recovery use, Decode gives every field. Nothing here allocates unless its comment says so.
//
// Start with the table in encode.go.
package record

import (
	"errors"
	"hash/crc32"
	"net/netip"
)

// Magic numbers of what may start at a record boundary.
const (
	MagicV1    uint32 = 0xDAA320A7 // topic length is one byte
	MagicV2    uint32 = 0xDAA320AB // topic length is two bytes
	MagicBlank uint32 = 0xCBD43194 // rest of the file is unused
)

// Limits of the layout.
const (
	MaxProperties = 1<<15 - 1 // the length is a signed 16-bit number
	MaxTopic      = 1<<15 - 1
	BlankSize     = 8  // size and magic of the marker; a file always keeps this much free behind its last record
	CRCReserve    = 20 // bytes of the property CRC at the end of the properties
	MinSize       = 91 // empty topic, body and properties, IPv4 hosts
)

// Bits of SysFlag (Java MessageSysFlag).
const (
	SysCompressed   int32 = 0x1
	SysMultiTags    int32 = 0x2
	SysTranMask     int32 = 0xC
	SysTranPrepared int32 = 0x4
	SysTranCommit   int32 = 0x8
	SysTranRollback int32 = 0xC
	SysBornHostV6   int32 = 0x10
	SysStoreHostV6  int32 = 0x20
	SysNeedUnwrap   int32 = 0x40
	SysInnerBatch   int32 = 0x80
	SysCompressMask int32 = 0x700
)

// What reading bytes that should be a record can find.
var (
	ErrShort     = errors.New("record: too few bytes")     // the bytes end before the record does
	ErrMagic     = errors.New("record: unknown magic")     // zero-filled space, as a rule
	ErrBlank     = errors.New("record: end of file mark")  // not a record: the rest of the file is unused
	ErrMalformed = errors.New("record: lengths disagree")  // the fields do not add up to the size
	ErrBodyCRC   = errors.New("record: body CRC mismatch") // torn or damaged
	ErrPropCRC   = errors.New("record: property CRC missing or wrong")

	ErrPropertiesTooLong = errors.New("record: properties longer than 32767 bytes")
	ErrTopicTooLong      = errors.New("record: topic longer than 32767 bytes")
)

// Message is a message on its way into the commit log, or read out of it.
//
// Topic, Body and Properties may alias foreign buffers (a network frame, a mapped file); whoever keeps a Message longer clones them.
type Message struct {
	Topic                     string
	QueueID                   int32
	Flag                      int32
	SysFlag                   int32 // Encode sets and clears the two host bits by itself
	BornTimestamp             int64 // ms
	BornHost                  netip.AddrPort
	StoreHost                 netip.AddrPort
	ReconsumeTimes            int32
	PreparedTransactionOffset int64
	Body                      []byte
	Properties                string // name 0x01 value 0x02 ..., as stored
	Found                     Words  // of the properties, where the caller has come across them; otherwise they are looked for
	TagsCode                  int64  // of the consume-queue entry, where the caller knows better than the record (delay levels compute it)

	// Set by the store when the message is appended or read.
	QueueOffset    int64
	PhysicalOffset int64
	StoreTimestamp int64
	StoreSize      int32
	BodyCRC        uint32 // the caller of Encode computes it, outside of any lock
	BodyChecked    bool   // by whoever has read the message: BodyCRC is that of the body
	Magic          uint32
}

// BodyCRC is the checksum that is stored for a body: CRC-32 (IEEE) without its top bit, 0 for an empty one.
func BodyCRC(body []byte) uint32 { return crc32.ChecksumIEEE(body) & 0x7FFFFFFF }
