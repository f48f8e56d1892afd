package store

// This file holds signatures that other packages build against until the real files land; it goes away with them.

import (
	"log/slog"
	"time"

	"apogee/store/record"
	"apogee/store/vfs"
)

// Options configure a store. The prop tags are Java's keys (MessageStoreConfig); compat/properties fills them.
type Options struct {
	FS       vfs.FS           `prop:"-"`
	Now      func() time.Time `prop:"-"`
	Log      *slog.Logger     `prop:"-"`
	OnArrive func([]Arrival)  `prop:"-"` // called by the dispatcher, in order, in batches
	RootDir  string           `prop:"storePathRootDir"`
	// ... every store key that has an effect, with Java's default in a default tag
}

// Store is the message store of one broker.
type Store struct{}

// Open loads and recovers a directory and takes its lock; nothing is written to but what recovery must repair.
func Open(opts Options) (*Store, error) { panic("stub") }

// Start writes the abort file and starts the background services; Close stops them, flushes, and leaves a clean directory.
func (s *Store) Start() error { panic("stub") }
func (s *Store) Close() error { panic("stub") }

// Put appends one message. It never waits for the disk: what is not yet as safe as the policy asks has Pending set, and c hears.
// With c == nil nobody waits (property WAIT=false, one-way).
func (s *Store) Put(m *record.Message, c Completion) PutResult { panic("stub") }

// PutBatch appends items as consecutive messages of env's queue, in one file, all or nothing.
func (s *Store) PutBatch(env *record.Message, items []BatchItem, c Completion) PutResult {
	panic("stub")
}

// PutWait is Put for callers that may block.
func (s *Store) PutWait(m *record.Message) PutResult { panic("stub") }

func (s *Store) Get(req *GetRequest, res *GetResult) { panic("stub") }
func (r *GetResult) Release()                        { panic("stub") }

// Cold tells whether reading the queue from offset would likely touch the disk (then the caller moves to a lane).
func (s *Store) Cold(topic string, queueID int32, offset int64) bool { panic("stub") }

func (s *Store) MinOffset(topic string, queueID int32) int64 { panic("stub") }
func (s *Store) MaxOffset(topic string, queueID int32) int64 { panic("stub") }

// OffsetByTime is the first offset stored at or after ms (upper: the last at or before it).
func (s *Store) OffsetByTime(topic string, queueID int32, ms int64, upper bool) int64 { panic("stub") }

// StoreTime is the store time of the message at offset, -1 if there is none.
func (s *Store) StoreTime(topic string, queueID int32, offset int64) int64 { panic("stub") }

// InMemory is Java's checkInDiskByConsumeOffset, negated: the message at offset is near enough to the end of the log.
func (s *Store) InMemory(topic string, queueID int32, offset int64) bool { panic("stub") }

// View is the record that starts at a commit-log offset.
func (s *Store) View(physical int64) (rec []byte, release func(), err error) { panic("stub") }

// QueryResult are the records that an index query found, newest first.
type QueryResult struct {
	Records        [][]byte
	LastUpdateTime int64
	LastUpdatePhys int64
	Release        func()
}

// Query looks a key up in the index (indexType "", "K", "U", "T" as in Java).
func (s *Store) Query(topic, key, indexType string, max int, begin, end int64) (QueryResult, error) {
	panic("stub")
}

// Queues lists topic to queue ids that the store has, for admin codes and cleaning.
func (s *Store) Queues() map[string][]int32 { panic("stub") }

// DeleteTopics removes the consume queues of topics and forgets their offsets.
func (s *Store) DeleteTopics(topics ...string) error { panic("stub") }

// CleanExpiredQueues removes queues whose messages are all gone from the log (never of the topics that keep says).
func (s *Store) CleanExpiredQueues(keep func(topic string) bool) error { panic("stub") }

// DeleteExpired runs the retention delete now (admin code 329).
func (s *Store) DeleteExpired() error { panic("stub") }

// Stats are the numbers of runtime info.
type Stats struct {
	MinPhysical, MaxPhysical, Flushed, DispatchBehind int64
	EarliestStoreTime                                 int64
	DiskUsedRatio                                     float64
	PutTotal, PutBytes, PutFailed                     int64
	GetFound, GetMiss, GetMessages, GetBytes          int64
	Writable, Readable                                bool
}

func (s *Store) Stats() Stats { panic("stub") }

// Writable is false while the store refuses messages (disk full, shutting down, failed write), and why.
func (s *Store) Writable() (bool, string) { panic("stub") }
