package verify

// Level says how bad a finding is.
type Level string

// The levels.
const (
	Note        Level = "note"        // nothing is wrong
	Recoverable Level = "recoverable" // normal after a crash: the next start of a broker puts it right
	Damage      Level = "damage"      // lost or wrong, and a start does not change that
)

// Kind is what a finding is about. The names stay.
type Kind string

// Findings in the commit log.
const (
	LogFile     Kind = "log.file"       // a file's name or size is wrong, or one is missing
	LogHole     Kind = "log.hole"       // bytes that are no record, with records behind them
	LogLost     Kind = "log.lost"       // the log ends before records that queues or the checkpoint know
	LogTail     Kind = "log.tail"       // a torn record, or other bytes, behind the end of the log
	LogBody     Kind = "log.bodyCRC"    // the body is not what its checksum says
	LogProps    Kind = "log.properties" // properties that cannot be taken apart, or another checksum than theirs
	LogPlace    Kind = "log.place"      // the record says that it starts elsewhere
	LogFields   Kind = "log.fields"     // a field that cannot be
	LogFileMark Kind = "log.mark"       // the mark at the end of a file says another size
)

// Findings in consume queues and batch queues.
const (
	QueueFile     Kind = "queue.file"     // as for the log
	QueueEntry    Kind = "queue.entry"    // an entry that differs from its record: size, queue offset, tags code, number of messages
	QueueDangling Kind = "queue.dangling" // an entry that points where no record of its queue starts
	QueueOrder    Kind = "queue.order"    // entries whose records are not in the order of the log
	QueueHole     Kind = "queue.hole"     // bytes that are no entry, with entries behind them
	QueueAhead    Kind = "queue.ahead"    // entries of records behind the end of the log
	QueueBehind   Kind = "queue.behind"   // records behind the queue's end that it has no entry of yet
	QueueMissing  Kind = "queue.missing"  // records that have lost their entry
	QueueLost     Kind = "queue.lost"     // a topic's queue is not there, but its records are
	QueueOld      Kind = "queue.replaced" // records of a topic that was deleted, and made again or not
	QueueKind     Kind = "queue.kind"     // a queue of another kind than its topic's attributes say
	QueueExt      Kind = "queue.ext"      // the extension of an entry
)

// Findings in index files.
const (
	IndexFile     Kind = "index.file"
	IndexHeader   Kind = "index.header"   // counts or ends that are not those of the entries
	IndexChain    Kind = "index.chain"    // a slot, or what an entry says of the one before it
	IndexDangling Kind = "index.dangling" // an entry that points where no record starts
	IndexKey      Kind = "index.key"      // an entry whose record has no such key
	IndexTime     Kind = "index.time"     // an entry with another time than its record's
	IndexOrder    Kind = "index.order"    // entries that are not in the order of the log
	IndexGap      Kind = "index.gap"      // records without index entries
)

// Findings elsewhere.
const (
	Unreadable     Kind = "unreadable"
	Unclean        Kind = "abort"      // the store was not closed
	CheckpointBad  Kind = "checkpoint" // numbers that cannot be
	SmallFile      Kind = "file"       // abort, lock, epoch file, broker identity
	ConfigUnread   Kind = "config.file"
	ConfigBackup   Kind = "config.backup"
	ConfigValue    Kind = "config.value"
	OffsetRange    Kind = "offset.range" // a consumer or delay offset outside of its queue
	CompactFile    Kind = "compaction.file"
	CompactEntry   Kind = "compaction.entry"
	CompactRecord  Kind = "compaction.record"
	TimerFile      Kind = "timer.file"
	TimerUnit      Kind = "timer.unit"
	TimerSlot      Kind = "timer.slot"
	TimerCheckFile Kind = "timer.check"
)

// Finding is one thing that was found.
type Finding struct {
	Kind   Kind   `json:"kind"`
	Level  Level  `json:"level"`
	File   string `json:"file"`            // below the directory; files of the log are below commitlog wherever that is
	At     int64  `json:"at"`              // byte in the file, -1 for the whole
	Size   int64  `json:"size,omitempty"`  // how many bytes it is about
	Count  int64  `json:"count,omitempty"` // how many entries, records or files in a row it stands for; 0 is one
	Topic  string `json:"topic,omitempty"`
	Queue  int32  `json:"queueId,omitempty"`
	Offset int64  `json:"offset,omitempty"` // queue offset of the first, where it is about a queue
	Phys   int64  `json:"physicalOffset,omitempty"`
	Text   string `json:"text"`
}
