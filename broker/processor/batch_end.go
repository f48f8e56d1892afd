package processor

import (
	"fmt"
	"runtime/debug"

	"apogee/broker/stats"
	"apogee/remoting"
	"apogee/remoting/code"
)

// batchEnd is the requests of one batch, from whatever connections, that have staged something. They are ended together, in their order, when
// the whole batch has been worked: the commit of the first one writes what all have staged. Sends of one topic that follow each other are
// counted at once, and their ops go from hand to hand without passing through the pool. A batchEnd belongs to the goroutine that works the
// batch.
type batchEnd struct {
	p      *Processor
	list   []staged
	ended  int // of list
	counts counts
	idle   []*sendOp // that have been ended; for the next batch
}

// staged is a request that has staged a put, or several.
type staged interface {
	// end commits what was staged, and answers unless the completion of a put will.
	end(b *batchEnd)
	// broken is called where end has panicked. It lets go of what others would wait for, and tells who waits for an answer.
	broken() remoting.Replier
}

// maxIdle bounds the ops that a batchEnd keeps.
const maxIdle = 512

// batchOf is the batch that a request is in, nil if it is the first one to stage something or in none.
func (p *Processor) batchOf(r *remoting.Request) *batchEnd {
	if b, ok := r.LastPutOff().(*batchEnd); ok && b.p == p {
		return b
	}
	return nil
}

// spare takes an idle op, nil if there is none.
func (b *batchEnd) spare() *sendOp {
	if b == nil || len(b.idle) == 0 {
		return nil
	}
	n := len(b.idle) - 1
	op := b.idle[n]
	b.idle = b.idle[:n]
	return op
}

// keep keeps an op that has forgotten the frame for the next batch.
func (b *batchEnd) keep(op *sendOp) {
	if op.pooled || len(b.idle) == maxIdle {
		b.p.keep(op)
		return
	}
	op.drop()
	b.idle = append(b.idle, op)
}

// putOff has what was staged ended with the batch of a request, or ends it where there is none; r is nil for what is not worked in the
// handler of its request any more.
func (p *Processor) putOff(r *remoting.Request, s staged) {
	var b *batchEnd
	if r != nil {
		b = p.batchOf(r)
	}
	if b == nil {
		if b, _ = p.ends.Get().(*batchEnd); b == nil {
			b = &batchEnd{p: p}
		}
	}
	b.list = append(b.list, s)
	if r == nil || !r.AtBatchEnd(b) {
		b.EndBatch()
	}
}

// EndBatch ends the requests, and counts what was stored before the answers leave, so that who has one finds its message counted.
func (b *batchEnd) EndBatch() {
	for !b.endSome() {
	}
	b.counts.tell()
	b.list, b.ended = b.list[:0], 0
	b.p.ends.Put(b) // last of all: somebody else may have it then
}

// endSome ends requests until all are, or one panics, which is a defect and must cost that request only; then it is false.
func (b *batchEnd) endSome() (all bool) {
	var s staged
	defer func() {
		if defect := recover(); defect != nil {
			b.p.answerDefect(s.broken(), defect)
		}
	}()
	for b.ended < len(b.list) {
		s = b.list[b.ended]
		b.list[b.ended] = nil
		b.ended++
		s.end(b)
	}
	return true
}

// answerPanic is deferred by what goes on with a request outside of its handler: a panic there costs that request only, as the dispatcher
// sees to it for handlers.
func (p *Processor) answerPanic(to remoting.Replier) {
	if defect := recover(); defect != nil {
		p.answerDefect(to, defect)
	}
}

func (p *Processor) answerDefect(to remoting.Replier, defect any) {
	p.Log.Error("the rest of a request panicked", "addr", remoteText(to.Conn()), "err", fmt.Sprint(defect), "stack", string(debug.Stack()))
	to.Reply(&remoting.Reply{Code: code.SystemError, Remark: fmt.Sprintf("process request failed, %v", defect)})
}

// counts adds up the sends to one topic that follow each other, to be told at once.
type counts struct {
	item                   *stats.Item
	sends, messages, bytes int64
}

func (c *counts) add(item *stats.Item, messages, bytes int64) {
	if item != c.item {
		c.tell()
		c.item = item
	}
	c.sends++
	c.messages += messages
	c.bytes += bytes
}

func (c *counts) tell() {
	if c.item != nil {
		c.item.Add(c.sends, c.messages, c.bytes)
	}
	*c = counts{}
}
