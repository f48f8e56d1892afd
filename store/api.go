package store

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
