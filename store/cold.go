package store

import (
	"sync/atomic"
	"time"
)

// What Cold takes for granted and what it asks the kernel about.
const (
	hotTail  = 16 << 20  // written this recently: still in the page cache
	coldSpan = 128 << 10 // about what a read takes
	logSpan  = 512 << 10 // of the log, asked about at once
	unitSpan = 1024      // entries asked about at once
)

// warmFor is how long an answer of the kernel counts. What was in memory a moment ago, and is being read, is there still; that it
// is not costs one read of the disk on an event loop, as it would if the page went right after the question.
const warmFor = time.Second

// warmth remembers spans of the log and of queues that were found in memory, and when. Each has a place of its own by its number, and
// whichever comes last has it: the number is in the upper bits, the time in the lower ones. Asked at each
// pull, the two questions are a sixth of what it costs.
type warmth struct{ log, units [512]atomic.Uint64 }

const (
	warmTick = warmFor / 2
	timeBits = 24 // of the time in ticks: it comes round after three months
)

// warmMark is what stands for a span that is found in memory now.
func warmMark(span uint64, now time.Time) uint64 {
	return (span+1)<<timeBits | uint64(now.UnixNano()/int64(warmTick))&(1<<timeBits-1)
}

// warm tells whether the span was found in memory in this tick, or in the one before.
func warm(place *atomic.Uint64, mark uint64) bool { return mark-place.Load() <= 1 }

// Cold tells whether reading the queue from offset would likely touch the disk (then the caller moves to a lane).
func (s *Store) Cold(topic string, queueID int32, offset int64) bool {
	q := s.queues.get(topic, queueID)
	if q == nil || !q.cq.served() {
		return false
	}
	if q.kind == CompactionQueue { // what of its files is in memory is not known: whatever is read there goes to a lane
		return offset < s.ReadEnd(topic, queueID)
	}
	c := &q.cq
	if lo, hi := c.bounds(); offset < lo || offset >= hi {
		return false // nothing will be read
	}
	switch ch := c.tail.Load(); q.kind {
	case BatchQueue:
		if !c.recent(ch, offset) { // the search for the entry reads files
			return true
		}
	default:
		if (ch == nil || offset < ch.base) && s.coldUnit(q, offset) {
			return true
		}
	}
	phys, size, ok := c.recordOf(offset)
	if !ok || s.commit.end()-phys <= hotTail {
		return false
	}
	return s.coldLog(phys, int64(size))
}

// ColdAt is Cold for one record.
func (s *Store) ColdAt(physical int64) bool {
	return physical >= 0 && s.commit.end()-physical > hotTail && s.coldLog(physical, 1)
}

// coldLog is Cold for what is read of the log. A read begins in one span and may go on into the next.
func (s *Store) coldLog(phys, size int64) bool {
	span := phys / logSpan
	mark, place := warmMark(uint64(span), s.now()), &s.warm.log[span%int64(len(s.warm.log))]
	if warm(place, mark) {
		return false
	}
	b, f, err := s.commit.hold(phys, size)
	if err != nil {
		return false
	}
	defer f.release()
	from := max(span*logSpan-f.base, 0)
	if f.mapping.Resident(from, min(logSpan+coldSpan, f.wrote.Load()-from)) {
		place.Store(mark)
		return false
	}
	pos := phys - f.base
	return !f.mapping.Resident(pos, min(max(int64(len(b)), coldSpan), f.size-pos))
}

// coldUnit tells whether an entry's page would have to be read from its file.
func (s *Store) coldUnit(q *queue, unit int64) bool {
	c := &q.cq
	f := c.files.find(unit * unitSize)
	if f == nil {
		return false
	}
	span := unit / unitSpan
	// Two queues that share a number share an answer, once in 10^12 times.
	number := (uint64(uint32(q.keyHash))<<32 | uint64(q.id)) * 0x9E3779B97F4A7C15
	number = ((number ^ number>>29) + uint64(span)) * 0xBF58476D1CE4E5B9 >> timeBits
	mark, place := warmMark(number, s.now()), &s.warm.units[number%uint64(len(s.warm.units))]
	if warm(place, mark) {
		return false
	}
	if f.hold() != nil {
		return false
	}
	defer f.release()
	c.mapped()
	from := max(span*unitSpan*unitSize-f.base, 0)
	if f.mapping.Resident(from, min(min((span+1)*unitSpan, c.saved.Load())*unitSize-f.base, f.size)-from) {
		place.Store(mark)
		return false
	}
	return !f.mapping.Resident(unit*unitSize-f.base, unitSize)
}
