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

var getStatusNames = [...]string{
	"FOUND", "NO_MATCHED_MESSAGE", "MESSAGE_WAS_REMOVING", "OFFSET_FOUND_NULL", "OFFSET_OVERFLOW_BADLY", "OFFSET_OVERFLOW_ONE",
	"OFFSET_TOO_SMALL", "NO_MATCHED_LOGIC_QUEUE", "NO_MESSAGE_IN_QUEUE", "OFFSET_RESET",
}

func (s GetStatus) String() string {
	if s < 0 || int(s) >= len(getStatusNames) {
		return "UNKNOWN"
	}
	return getStatusNames[s]
}

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
	Each     bool // fill GetResult.Offsets
	Plain    bool // of a compaction topic too: what its consume queue points at, not its compaction log
	ByRecord bool // Filter looks into most records, and not at tags codes: what it will look at is fetched ahead
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
	Offsets   []int64 // of each record, where the request asks for them; of an inner batch that of its first message
	FromSlave bool    // suggestPullingFromSlave
	Err       error   // why what is at Next cannot be read just now; a result that ends there for another reason has none

	s         *Store
	req       *GetRequest
	compacted bool          // of a compaction log
	held      []*mappedFile // the files that the regions lie in
	jointFile *mappedFile   // where the last region ends
	joint     int64         // log offset of that
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
