package store

import (
	"fmt"
	"runtime/debug"

	"apogee/store/record"
)

// MinOffset is the first offset of a queue that can be read; -1 for a queue that is not there.
func (s *Store) MinOffset(topic string, queueID int32) int64 {
	if q := s.queues.get(topic, queueID); q != nil && q.cq.served() {
		lo, _ := q.cq.bounds()
		return lo
	}
	return -1
}

// MaxOffset is the offset after the last message that can be read; 0 for a queue that is not there.
func (s *Store) MaxOffset(topic string, queueID int32) int64 {
	if q := s.queues.get(topic, queueID); q != nil && q.cq.served() {
		return q.cq.end()
	}
	return 0
}

// ReadEnd is MaxOffset, except for a compaction topic: what is in its queue can be read once it has been copied.
func (s *Store) ReadEnd(topic string, queueID int32) int64 {
	if q := s.queues.get(topic, queueID); q != nil && q.kind == CompactionQueue {
		if l := s.compact.find(topic, queueID); l != nil {
			_, hi := l.bounds()
			return hi
		}
		return 0
	}
	return s.MaxOffset(topic, queueID)
}

// OffsetByTime is the first offset stored at or after ms; with upper the last one stored at or before it, where there is none
// after it. It answers as ConsumeQueue.getOffsetInQueueByTime does, within min and max: a time after all messages is max (upper:
// the last message), one before all is min. 0 for a queue that is not there.
func (s *Store) OffsetByTime(topic string, queueID int32, ms int64, upper bool) int64 {
	q := s.queues.get(topic, queueID)
	if q == nil || !q.cq.served() {
		return 0
	}
	c := &q.cq
	if c.inner != nil {
		return c.batchOffsetByTime(ms, upper)
	}
	min, max := c.min.Load(), c.max.Load()
	if min >= max {
		return max
	}
	off, err := c.search(min, max, func(phys int64, size int32) bool {
		at := s.storeTimeAt(phys, size)
		return at > ms || at == ms && !upper
	})
	switch {
	case err != nil:
		return min // Java's answer is 0, brought into the range
	case upper:
		return clamp(off-1, min, max)
	}
	return off
}

func clamp(off, low, high int64) int64 { return min(max(off, low), high) }

// StoreTime is the store time of the message at offset, -1 if there is none.
func (s *Store) StoreTime(topic string, queueID int32, offset int64) int64 {
	q := s.queues.get(topic, queueID)
	if q == nil || !q.cq.served() {
		return -1
	}
	phys, size, ok := q.cq.recordOf(offset)
	if !ok {
		return -1
	}
	return s.storeTimeAt(phys, size)
}

// storeTimeAt is the store time of a record, -1 if it is not in the log (CommitLog.pickupStoreTimestamp).
func (s *Store) storeTimeAt(phys int64, size int32) int64 {
	b, f, err := s.commit.hold(phys, int64(size))
	if err != nil {
		return -1
	}
	defer f.release()
	return guardedStoreTime(f, b)
}

func guardedStoreTime(f *mappedFile, rec []byte) (at int64) {
	if len(rec) < record.MinSize {
		return -1
	}
	at = -1
	var fault error // leaves at as it is
	defer f.caught(&fault, debug.SetPanicOnFault(true))
	at = record.StoreTimeOf(rec)
	return at
}

// InMemory tells whether the message at offset is near enough to the end of the log to count as in memory.
func (s *Store) InMemory(topic string, queueID int32, offset int64) bool {
	q := s.queues.get(topic, queueID)
	if q == nil || !q.cq.served() {
		return false
	}
	phys, _, ok := q.cq.recordOf(offset)
	return ok && s.commit.end()-phys <= s.nearby(s.options())
}

// View is the record that starts at a commit-log offset; release lets go of it.
func (s *Store) View(physical int64) (rec []byte, release func(), err error) {
	f, rec, err := s.view(physical)
	if err != nil {
		return nil, nil, err
	}
	return rec, f.release, nil
}

// view is View without the closure.
func (s *Store) view(physical int64) (*mappedFile, []byte, error) {
	b, f, err := s.commit.holdRest(physical, s.commit.end())
	if err != nil {
		return nil, nil, err
	}
	if f == nil {
		return nil, nil, fmt.Errorf("offset %d: %w", physical, errNoRecord)
	}
	var bad error
	size := 0
	err = f.guard(func() error {
		var h record.Header
		// The body too: what is viewed is often put once more, with a checksum of its own.
		if bad = record.Parse(b, &h); bad == nil && (h.PhysicalOffset != physical || s.isDamaged(physical)) {
			bad = errNoRecord
		} else if bad == nil {
			bad = h.CheckBody()
		}
		size = h.Size
		return nil
	})
	if err == nil && bad != nil {
		err = fmt.Errorf("offset %d: %w", physical, bad)
	}
	if err != nil {
		f.release()
		return nil, nil, err
	}
	return f, b[:size:size], nil
}
