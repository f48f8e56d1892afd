package processor

import (
	"apogee/broker/stats"
	"apogee/remoting"
)

// sendBatch is the sends that have come in one batch of requests, from whatever connections. They are ended together: their messages
// are counted by runs of one topic, and their ops go from hand to hand without passing through the pool. A batch belongs to the goroutine
// that works it.
type sendBatch struct {
	p      *Processor
	ops    []*sendOp
	ended  int // of ops
	counts counts
	idle   []*sendOp // that have been ended; for the next batch
}

// maxIdle bounds the ops that a batch keeps.
const maxIdle = 512

// batchOf is the batch of sends that a request is in, nil if it is the first or in none.
func (p *Processor) batchOf(r *remoting.Request) *sendBatch {
	if b, ok := r.LastPutOff().(*sendBatch); ok && b.p == p {
		return b
	}
	return nil
}

// spare takes an idle op, nil if there is none.
func (b *sendBatch) spare() *sendOp {
	if b == nil || len(b.idle) == 0 {
		return nil
	}
	n := len(b.idle) - 1
	op := b.idle[n]
	b.idle = b.idle[:n]
	return op
}

// putOff has a staged send ended with its batch, or ends it where there is none.
func (p *Processor) putOff(r *remoting.Request, op *sendOp) {
	b := p.batchOf(r)
	if b == nil {
		if b, _ = p.batches.Get().(*sendBatch); b == nil {
			b = &sendBatch{p: p}
		}
	}
	if r.AtBatchEnd(b) {
		b.ops = append(b.ops, op)
		return
	}
	done := op.end(&b.counts)
	b.counts.tell()
	if done {
		p.keep(op)
	}
	p.batches.Put(b)
}

// EndBatch ends the sends. One that panics, which is a defect, must not keep the others from their answers.
func (b *sendBatch) EndBatch() {
	defer func() {
		if b.ended < len(b.ops) {
			b.EndBatch()
			return
		}
		b.done() // last of all: somebody else may have the batch then
	}()
	for b.ended < len(b.ops) {
		op := b.ops[b.ended]
		b.ops[b.ended] = nil
		b.ended++
		switch done := op.end(&b.counts); {
		case !done: // it is the Answers' now
		case b.ended == 1 || len(b.idle) == maxIdle: // the first of a batch comes from the pool
			b.p.keep(op)
		default:
			op.drop()
			b.idle = append(b.idle, op)
		}
	}
}

// done counts what was stored, before the answers leave, so that who has one finds its message counted; and gives the batch back.
func (b *sendBatch) done() {
	b.counts.tell()
	b.ops, b.ended = b.ops[:0], 0
	b.p.batches.Put(b)
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
