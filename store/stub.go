package store

// This file holds signatures that other packages build against until the real files land; it goes away with them.

import "time"

// consumeQueue is what a queue of the table has on disk: entries of 20 bytes. The zero value is a queue without files.
type consumeQueue struct{}

// dispatcher turns log records into queue and index entries. It reads the log with commitLog.holdRest up to
// commitLog.confirmed(); at the end of a file (ErrBlank) it goes on at commitLog.nextFile(off).
//
// The checkpoint's logicsPhysicalOffset may only be moved to a record that is durable in its queue AND before flusher.flushed:
// recovery starts reading there.
type dispatcher struct{}

// start runs the dispatcher from an offset of the log; it follows commitLog.confirmed().
func (d *dispatcher) start(from int64) { panic("stub") }

// wake says that confirmed() has grown. Called for each put: cheap, never blocks.
func (d *dispatcher) wake() { panic("stub") }

// behind is how many bytes of the log, up to its end, are not dispatched.
func (d *dispatcher) behind() int64 { panic("stub") }

// stop lets the dispatcher reach confirmed(), for at most the timeout, ends it, and tells how many bytes are left.
func (d *dispatcher) stop(timeout time.Duration) (behind int64) { panic("stub") }

// indexFiles are the files under index.
type indexFiles struct{}

// loadQueues finds the consume queues on disk and puts them into s.queues; it makes s.dispatch.
func (s *Store) loadQueues() error { panic("stub") }

// loadIndex finds the index files; after an unclean exit those newer than checkpoint.indexMsgTimestamp are deleted.
func (s *Store) loadIndex(last exit) error { panic("stub") }

// recoverQueues finds the end of each queue (store.md 4.2) and returns the furthest record that any of them knows. After an
// unclean exit what it finds may be in the page cache only, so it counts as not flushed.
func (s *Store) recoverQueues(last exit) (extent, error) { panic("stub") }

// replay gives recovery's records to queues and index, in order, without telling anybody of arrivals. What they have already is ignored.
func (s *Store) replay(physical int64, rec []byte) error { panic("stub") }

// truncateQueues drops entries of records at or after a log offset.
func (s *Store) truncateQueues(physical int64) error { panic("stub") }

// destroyQueues removes every consume queue, for a directory without a log.
func (s *Store) destroyQueues() error { panic("stub") }

// settleQueues ends recovery: min offsets by the log's first offset, q.next of each queue.
func (s *Store) settleQueues(minPhysical int64) error { panic("stub") }

// flushQueues makes queue entries durable; a thorough one all of them, and moves the checkpoint's logics fields.
func (s *Store) flushQueues(thorough bool) error { panic("stub") }

// flushIndex makes the index durable.
func (s *Store) flushIndex() error { panic("stub") }

// cleanQueues deletes queue and index files whose messages are before a log offset, and moves min offsets.
func (s *Store) cleanQueues(minPhysical int64) error { panic("stub") }

// closeQueues unmaps queue and index files.
func (s *Store) closeQueues() {}

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
