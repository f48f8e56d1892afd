package store

import (
	"apogee/store/record"
)

// PutStatus is the outcome of an append (Java PutMessageStatus; ordinals as there).
type PutStatus int

const (
	PutOK PutStatus = iota
	FlushDiskTimeout
	FlushSlaveTimeout
	SlaveNotAvailable
	ServiceNotAvailable
	CreateMappedFileFailed
	MessageIllegal
	PropertiesSizeExceeded
	OSPageCacheBusy
	UnknownError
	InSyncReplicasNotEnough
)

// PutResult tells where a message went.
type PutResult struct {
	Status         PutStatus
	PhysicalOffset int64 // of the (first) record
	NextOffset     int64 // end of the (last) record
	QueueOffset    int64 // of the (first) message
	StoreTimestamp int64
	Count          int
	Pending        bool  // the policy is not satisfied yet: Completion.Complete follows, exactly once
	Err            error // the cause, where Status is a refusal; for remarks and logs
}

// Completion hears once that what was put is as safe as the configured policy asks, or why it is not.
// Complete is called on a store goroutine and must not block.
type Completion interface{ Complete(status PutStatus) }

// BatchItem is one message inside a batch put; the rest comes from the batch's envelope.
type BatchItem struct {
	Flag       int32
	Body       []byte
	Properties string
}

// GetStatus is the outcome of a read (Java GetMessageStatus); String is the Java name, which is the remark of pull answers.
type GetStatus int

const (
	Found GetStatus = iota
	NoMatchedMessage
	MessageWasRemoving
	OffsetFoundNull
	OffsetOverflowBadly
	OffsetOverflowOne
	OffsetTooSmall
	NoMatchedLogicQueue
	NoMessageInQueue
	OffsetReset
)

// Filter decides what a read returns. MatchTags sees the queue entry; MatchRecord the stored record, only where MatchTags passed.
type Filter interface {
	MatchTags(tagsCode int64) bool
	MatchRecord(rec []byte) bool
}

// GetRequest asks for messages of one queue. A nil Filter takes all.
type GetRequest struct {
	Topic    string
	QueueID  int32
	Offset   int64
	MaxCount int32
	MaxBytes int32
	Filter   Filter
}

// GetResult is what a read found. Regions are ranges of mapped files, adjacent records joined; they are valid until Release.
// A GetResult may be reused: Get resets it.
type GetResult struct {
	Status    GetStatus
	Next      int64
	Min, Max  int64
	Count     int
	Bytes     int
	Regions   [][]byte
	FromSlave bool // suggestPullingFromSlave
	// unexported: what Release has to give back
}

// Arrival says that a queue has grown; Next is its new max offset.
type Arrival struct {
	Topic          string
	QueueID        int32
	Next           int64
	TagsCode       int64
	StoreTimestamp int64
	Record         []byte // the whole record; valid during the call
}

var _ = record.Message{}
