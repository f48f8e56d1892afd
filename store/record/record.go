// Package record is the byte layout of one stored message (spec: store.md 3). It does no I/O.
package record

import "net/netip"

// Message is a message on its way into the commit log, or read out of it.
//
// Body and Properties may alias foreign buffers (a network frame, a mapped file); whoever keeps a Message longer clones them.
type Message struct {
	Topic                     string
	QueueID                   int32
	Flag                      int32
	SysFlag                   int32
	BornTimestamp             int64 // ms
	BornHost                  netip.AddrPort
	StoreHost                 netip.AddrPort
	ReconsumeTimes            int32
	PreparedTransactionOffset int64
	Body                      []byte
	Properties                string // name 0x01 value 0x02 ..., as stored
	TagsCode                  int64  // of the consume-queue entry, where the caller knows better than the record (delay levels compute it)

	// Set by the store when the message is appended or read.
	QueueOffset    int64
	PhysicalOffset int64
	StoreTimestamp int64
	StoreSize      int32
	BodyCRC        uint32
	Magic          uint32
}
