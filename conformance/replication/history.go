package replication

import (
	"fmt"
	"time"

	"github.com/anishathalye/porcupine"

	"apogee/remoting/code"
)

// sent is one message that a producer sent, once.
type sent struct {
	producer, queue  int
	id               int32
	size             int // of its body
	call, ret        int64
	answered         bool
	code             int32
	offset, physical int64 // as the answer says
}

// stored tells whether the answer says that the message is in the master's log.
func (s *sent) stored() bool {
	switch s.code {
	case code.Success, code.FlushDiskTimeout, code.SlaveNotAvailable, code.FlushSlaveTimeout:
		return s.answered
	}
	return false
}

func (s *sent) ok() bool { return s.answered && s.code == code.Success }

// look is what a reader got at once: messages of one queue, one after the other.
type look struct {
	reader, queue int
	at            int64
	ids           []int32
	call, ret     int64
}

// history is what clients noted. Times are nanoseconds since the cell began.
type history struct {
	sends []*sent
	looks []look
}

// forever is the return of an operation that nobody heard the end of.
const forever = int64(1) << 62

// Operations on a queue, as the checker sees them. All that is known of their outcome is in the input: a message has its place by its
// answer, or, where none came, by where it was found in the end.
type (
	appended struct { // took place at offset
		id     int32
		offset int64
	}
	seen struct { // ids were read from an offset on
		at  int64
		ids []int32
	}
	ended struct{ n int64 } // the queue has this many messages, and no one is sending any more
)

// queueLog is the state of a queue: immutable, with blocks that later states share.
type queueLog struct {
	n    int64
	hash uint64 // of all ids in their order
	last *block
}

const blockSize = 64

type block struct {
	before *block
	first  int64
	ids    []int32
}

func (q queueLog) with(id int32) queueLog {
	b := &block{before: q.last, first: q.n}
	if q.last != nil && len(q.last.ids) < blockSize {
		b.before, b.first = q.last.before, q.last.first
		b.ids = append(make([]int32, 0, len(q.last.ids)+1), q.last.ids...)
	}
	b.ids = append(b.ids, id)
	return queueLog{q.n + 1, (q.hash ^ uint64(uint32(id))) * 1099511628211, b}
}

func (q queueLog) at(offset int64) int32 {
	b := q.last
	for offset < b.first {
		b = b.before
	}
	return b.ids[offset-b.first]
}

// model is an append-only queue whose sends tell the place, and whose reads may be late but never wrong.
var model = porcupine.Model{
	Init:  func() any { return queueLog{hash: 14695981039346656037} },
	Step:  step,
	Equal: func(a, b any) bool { return a.(queueLog).n == b.(queueLog).n && a.(queueLog).hash == b.(queueLog).hash },
	Hash:  func(a any) uint64 { return a.(queueLog).hash },
}

func step(state, input, _ any) (bool, any) {
	q := state.(queueLog)
	switch op := input.(type) {
	case appended:
		if op.offset != q.n {
			return false, q
		}
		return true, q.with(op.id)
	case seen:
		if op.at < 0 || op.at+int64(len(op.ids)) > q.n {
			return false, q
		}
		for i, id := range op.ids {
			if q.at(op.at+int64(i)) != id {
				return false, q
			}
		}
		return true, q
	case ended:
		return op.n == q.n, q
	}
	return false, q
}

// final is what a broker has in the end: ids by queue and offset.
type final [][]int32

// places are where each message is.
func (f final) places() map[int32][]place {
	out := map[int32][]place{}
	for q, ids := range f {
		for at, id := range ids {
			out[id] = append(out[id], place{q, int64(at)})
		}
	}
	return out
}

type place struct {
	queue  int
	offset int64
}

// judge has the checker judge a history that ended with f. promised says of which messages the answer promised that they are there; if it
// is nil, f is what the master has, and all answers promised that. Otherwise f is of a replica alone: what was not promised and is not there
// has never happened.
func judge(h *history, f final, promised func(*sent) bool, limit time.Duration) (verdict string, operations int, why []string) {
	verdict = "linearizable"
	for q, ops := range operationsOf(h, f, promised) {
		operations += len(ops)
		switch porcupine.CheckOperationsTimeout(model, ops, limit) {
		case porcupine.Ok:
		case porcupine.Unknown:
			why = append(why, fmt.Sprintf("queue %d: the checker did not come to an end with %d operations in %v", q, len(ops), limit))
			if verdict != "VIOLATED" {
				verdict = "UNKNOWN"
			}
		case porcupine.Illegal:
			verdict = "VIOLATED"
			why = append(why, fmt.Sprintf("queue %d: %s", q, explain(ops, limit)))
		}
	}
	return verdict, operations, why
}

// operationsOf are the operations on each queue.
func operationsOf(h *history, f final, promised func(*sent) bool) [][]porcupine.Operation {
	places := f.places()
	ops := make([][]porcupine.Operation, len(f))
	last := int64(0)
	add := func(queue, client int, call, ret int64, in any) {
		ops[queue] = append(ops[queue], porcupine.Operation{ClientId: client, Call: call, Return: ret, Input: in})
		last = max(last, call)
		if ret < forever {
			last = max(last, ret)
		}
	}
	for _, s := range h.sends {
		at := places[s.id]
		switch {
		case s.stored() && (promised == nil || promised(s) || len(at) > 0):
			add(s.queue, s.producer, s.call, s.ret, appended{s.id, s.offset})
		case len(at) > 0:
			add(s.queue, s.producer, s.call, forever, appended{s.id, at[0].offset})
		}
	}
	for _, l := range h.looks {
		if promised != nil { // what the replica has of it
			l.ids = l.ids[:min(int64(len(l.ids)), max(0, int64(len(f[l.queue]))-l.at))]
			if len(l.ids) == 0 {
				continue
			}
		}
		add(l.queue, l.reader, l.call, l.ret, seen{l.at, l.ids})
	}
	for q, ids := range f {
		ops[q] = append(ops[q], porcupine.Operation{Call: last + 1, Return: last + 2, Input: seen{0, ids}},
			porcupine.Operation{Call: last + 1, Return: last + 2, Input: ended{int64(len(ids))}})
	}
	return ops
}

// explain tells what cannot be.
func explain(ops []porcupine.Operation, limit time.Duration) string {
	_, info := porcupine.CheckOperationsVerbose(model, ops, limit)
	var best []int
	for _, order := range info.PartialLinearizations()[0] {
		if len(order) > len(best) {
			best = order
		}
	}
	done, q := map[int]bool{}, model.Init().(queueLog)
	for _, i := range best {
		done[i] = true
		_, next := step(q, ops[i].Input, nil)
		q = next.(queueLog)
	}
	// The next one that has returned: everything that was called before its return has had its chance.
	stuck := -1
	for i := range ops {
		if !done[i] && (stuck < 0 || ops[i].Return < ops[stuck].Return) {
			stuck = i
		}
	}
	if stuck < 0 {
		return "no order of the operations explains what clients saw"
	}
	op := ops[stuck]
	return fmt.Sprintf("no order explains %+v, called at %v and answered at %v; the longest one explains %d of %d operations and ends with %d messages",
		brief(op.Input), time.Duration(op.Call), time.Duration(op.Return), len(best), len(ops), q.n)
}

// brief leaves out most of what a long read has read.
func brief(in any) string {
	if s, ok := in.(seen); ok && len(s.ids) > 8 {
		return fmt.Sprintf("seen %d messages from %d on, first %v", len(s.ids), s.at, s.ids[:8])
	}
	return fmt.Sprintf("%T%+v", in, in)
}
