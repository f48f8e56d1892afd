package transaction

import (
	"math"

	"apogee/broker/meta"
	"apogee/store"
	"apogee/store/record"
)

// opRead is how many op messages are read at once (OP_MSG_PULL_NUMS).
const opRead = 32

// opWindow is what a round knows of the op queue: the half messages that op messages have ended and the check has not passed yet.
type opWindow struct {
	next int64           // where to read on
	by   map[int64]int64 // half offset: the op message that ended it
	left map[int64]int   // op message: how many of its half messages are still to be met
}

func newOpWindow(from int64) opWindow {
	return opWindow{next: from, by: make(map[int64]int64), left: make(map[int64]int)}
}

// note adds what one op message has ended. Of several that end the same one, the first counts.
func (w *opWindow) note(op, half int64) {
	if _, known := w.by[half]; !known {
		w.by[half] = op
		w.left[op]++
	}
}

// take tells whether a half message was ended, and forgets it.
func (w *opWindow) take(off int64) bool {
	op, ok := w.by[off]
	if !ok {
		return false
	}
	delete(w.by, off)
	if w.left[op]--; w.left[op] == 0 {
		delete(w.left, op)
	}
	return true
}

// done is the first op message that will be needed again.
func (w *opWindow) done() int64 {
	at := w.next
	for op := range w.left {
		at = min(at, op)
	}
	return at
}

// readOps reads op messages up to the end of their queue, or so many batches of them. What they end below the round's first half
// message is over, unless it is the name of a copy.
func (l *look) readOps(batches int) {
	w := &l.ops
	for ; batches > 0; batches-- {
		c := &l.opReader
		switch c.get(l.s.opts.Store, meta.OpHalfTopic, l.q.id, w.next, opRead) {
		case store.Found:
			for _, region := range c.res.Regions {
				eachRecord(region, l.noteOps)
			}
			next := c.res.Next
			c.res.Release()
			if next <= w.next {
				return
			}
			w.next = next
		case store.NoMatchedLogicQueue, store.NoMessageInQueue, store.OffsetOverflowOne:
			return
		default: // the queue begins later, or ends before, or has a hole
			l.s.opts.Log.Warn("check of half messages skips op messages", "queue", l.q.id, "off", w.next, "next", c.res.Next)
			if c.res.Next == w.next {
				return
			}
			back := c.res.Next < w.next
			w.next = c.res.Next
			if back {
				return
			}
		}
	}
}

func (l *look) noteOps(m *record.Message) {
	if record.Property(m.Properties, record.PropTags) != opTag {
		l.s.opts.Log.Error("op message with an unknown tag", "queue", l.q.id, "off", m.QueueOffset)
		return
	}
	eachOffset(m.Body, func(half int64) {
		if _, copied := l.q.prepared[half]; half >= l.first || copied {
			l.ops.note(m.QueueOffset, half)
		}
	})
}

// reader reads one queue. What it has read stays until its result is released.
type reader struct {
	req store.GetRequest
	res store.GetResult
}

func (r *reader) get(s Store, topic string, queue int32, at int64, most int32) store.GetStatus {
	r.req = store.GetRequest{Topic: topic, QueueID: queue, Offset: at, MaxCount: most, MaxBytes: math.MaxInt32}
	s.Get(&r.req, &r.res)
	if r.res.Status != store.Found {
		r.res.Release()
	}
	return r.res.Status
}
