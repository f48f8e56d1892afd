package transaction

import (
	"fmt"
	"strconv"
	"sync"

	"apogee/broker/meta"
	"apogee/store"
	"apogee/store/record"
)

// opCapacity is how many ends of one queue may wait to be written; those beyond it write too (MessageQueueOpContext).
const opCapacity = 20_000

// opHelp is how often, in ends, those beyond the capacity do the writer's work: an op message takes more than that.
const opHelp = 256

// ops are the ends of transactions on their way into the op queue, in which many share one message
// (TransactionalMessageServiceImpl.deletePrepareMessage, TransactionalOpBatchService).
//
// Each offset is marked from before its commit is stored until its op message can be read, so that the check never takes a message
// for undecided whose end is under way; nor for ended, since its commit may yet be refused.
type ops struct {
	mu     sync.Mutex // guards what follows; a leaf
	queues map[int32]*opQueue
}

// opQueue is one half queue's.
type opQueue struct {
	marks   map[int64]mark
	waiting []int64   // ended, and to be written
	size    int       // of waiting, as text
	since   int64     // ms; when the first of waiting came
	written []opBatch // in messages that cannot be read yet
}

// mark is how many ends of one half message there are that no op message tells of yet.
type mark struct{ begun, ended int32 }

// endState is what is known of the end of a half message without the op queue.
type endState uint8

const (
	undecided endState = iota
	begun              // a commit is being stored, or refused
	ended
)

// opBatch is one op message.
type opBatch struct {
	at      int64 // its offset in the op queue
	offsets []int64
}

func newOps() *ops { return &ops{queues: make(map[int32]*opQueue)} }

func (o *ops) queueLocked(id int32) *opQueue {
	q := o.queues[id]
	if q == nil {
		q = &opQueue{marks: make(map[int64]mark)}
		o.queues[id] = q
	}
	return q
}

// begin says that the end of a half message is under way.
func (o *ops) begin(queue int32, off int64) { o.change(queue, off, mark{begun: 1}) }

// abandon says that it is not any more.
func (o *ops) abandon(queue int32, off int64) { o.change(queue, off, mark{begun: -1}) }

func (o *ops) change(queue int32, off int64, by mark) {
	o.mu.Lock()
	o.queueLocked(queue).changeLocked(off, by)
	o.mu.Unlock()
}

func (q *opQueue) changeLocked(off int64, by mark) {
	m := q.marks[off]
	m.begun += by.begun
	m.ended += by.ended
	if m == (mark{}) {
		delete(q.marks, off)
		return
	}
	q.marks[off] = m
}

// state tells of the end of a half message.
func (o *ops) state(queue int32, off int64) endState {
	o.mu.Lock()
	defer o.mu.Unlock()
	q := o.queues[queue]
	switch {
	case q == nil:
		return undecided
	case q.marks[off].ended > 0:
		return ended
	case q.marks[off].begun > 0:
		return begun
	}
	return undecided
}

// add has an end that was begun written with the next op message. first says that nothing was waiting, and size is that of what waits.
func (o *ops) add(queue int32, off, now int64) (first bool, size, count int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	q := o.queueLocked(queue)
	first = len(q.waiting) == 0
	if first {
		q.since = now
	}
	q.changeLocked(off, mark{begun: -1, ended: 1})
	q.waiting = append(q.waiting, off)
	q.size += textSize(off)
	return first, q.size, len(q.waiting)
}

// take removes what the next op message of a queue will list: as much as reaches most bytes. It is nil if nothing waits.
func (o *ops) take(queue int32, most int, now int64) []int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	q := o.queues[queue]
	if q == nil || len(q.waiting) == 0 {
		return nil
	}
	n, size := 0, 0
	for n < len(q.waiting) && (n == 0 || size < most) {
		size += textSize(q.waiting[n])
		n++
	}
	out := q.waiting[:n:n]
	q.waiting = q.waiting[n:]
	if len(q.waiting) == 0 {
		q.waiting = nil
	}
	q.size -= size
	q.since = now
	return out
}

// giveBack returns what could not be written.
func (o *ops) giveBack(queue int32, offsets []int64, now int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	q := o.queueLocked(queue)
	for _, off := range offsets {
		q.size += textSize(off)
	}
	q.waiting = append(offsets, q.waiting...)
	q.since = now
}

// wrote says where an op message is. Those below readable, which the check can read, need no marks any more.
func (o *ops) wrote(queue int32, b opBatch, readable int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	q := o.queueLocked(queue)
	q.written = append(q.written, b)
	keep := q.written[:0]
	for _, b := range q.written {
		if b.at >= readable {
			keep = append(keep, b)
			continue
		}
		for _, off := range b.offsets {
			q.changeLocked(off, mark{ended: -1})
		}
	}
	clear(q.written[len(keep):])
	q.written = keep
}

// due are the queues with an op message that is to be written: since is early enough, or there is enough for one; and, of the others,
// when the first will be due, 0 for never.
func (o *ops) due(now, interval int64, most int) (queues []int32, next int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, q := range o.queues {
		switch at := q.since + interval; {
		case len(q.waiting) == 0:
		case at <= now || q.size > most:
			queues = append(queues, id)
		case next == 0 || at < next:
			next = at
		}
	}
	return queues, next
}

// textSize is how long an offset is in an op message, with its comma.
func textSize(off int64) int {
	n := 2
	for ; off >= 10; off /= 10 {
		n++
	}
	return n
}

// writeOps writes one op message of a queue; false if nothing was waiting.
func (s *Service) writeOps(queue int32) (bool, error) {
	set := s.opts.Settings()
	now := s.opts.Now().UnixMilli()
	offsets := s.ops.take(queue, set.OpMaxSize, now)
	if len(offsets) == 0 {
		return false, nil
	}
	m := opMessage(queue, offsets)
	m.BornTimestamp, m.BornHost = now, s.opts.Host()
	m.StoreHost = m.BornHost
	// Nobody waits for a flush: what the op message tells of lies in front of it in the log.
	res := s.opts.Store.Put(m, nil)
	if !stored(res.Status) {
		s.ops.giveBack(queue, offsets, now)
		return false, fmt.Errorf("op message of %d ends refused: status %d: %w", len(offsets), res.Status, res.Err)
	}
	s.opts.Stored(meta.OpHalfTopic, res.NextOffset-res.PhysicalOffset)
	s.ops.wrote(queue, opBatch{res.QueueOffset, offsets}, s.opts.Store.MaxOffset(meta.OpHalfTopic, queue))
	return true, nil
}

// opMessage is the op message of some half offsets: body "12,15,", the tag, and WAIT as Java's constructor of messages sets it.
func opMessage(queue int32, offsets []int64) *record.Message {
	var body []byte
	for _, off := range offsets {
		body = append(strconv.AppendInt(body, off, 10), ',')
	}
	props := record.AppendProperty(nil, record.PropTags, opTag)
	props = record.AppendProperty(props, record.PropWait, "true")
	return &record.Message{Topic: meta.OpHalfTopic, QueueID: queue, Body: body, Properties: view(props)}
}

// stored tells whether a put is in the log.
func stored(s store.PutStatus) bool {
	switch s {
	case store.PutOK, store.FlushDiskTimeout, store.FlushSlaveTimeout, store.SlaveNotAvailable:
		return true
	}
	return false
}

// ids are the queues that ever had an end.
func (o *ops) ids() []int32 {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := make([]int32, 0, len(o.queues))
	for id := range o.queues {
		out = append(out, id)
	}
	return out
}

// waiting is how many ends of a queue are to be written.
func (o *ops) waiting(queue int32) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if q := o.queues[queue]; q != nil {
		return len(q.waiting)
	}
	return 0
}
