package processor

import (
	"sync/atomic"
	"unsafe"

	"apogee/broker/meta"
	"apogee/broker/stats"
	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store"
	"apogee/store/record"
)

// sendOp is one send on its way. Ops are pooled with all that they point to, so that a send allocates nothing.
//
// A send is staged by its handler and committed at the end of the batch that it came with, so that one write serves the batch; see
// batchEnd. An op is worked by one goroutine at a time: the handler's until then; if the store has to complete it, by whoever comes
// second of the batch's end and the completion.
type sendOp struct {
	p       *Processor
	view    *sendView
	replier remoting.Replier
	oneway  bool
	pooled  bool // it goes back to the pool, and is not kept by the batch that it is in

	hdr   header.SendMessageRequest // strings alias the frame
	props sentProperties            // likewise
	topic *body.TopicConfig         // where the message goes; not the schedule topic
	name  string                    // of topic
	known *meta.Topic               // of topic, nil where it has none
	plain bool                      // nothing in the topic's configuration matters to the message
	queue int32                     // as answered; a delayed message is stored in another
	batch bool
	inner bool // a batch in one record
	tran  ending
	msg   record.Message
	items []store.BatchItem

	buf    []byte // properties of msg
	spare  []byte // properties of msg, where they are changed once more
	id     []byte // of the answer
	uniq   []byte // of the answer
	handle []byte // of the answer, to recall the message with

	res       store.PutResult
	turns     atomic.Int32    // who of end and Complete is second
	completed bool            // set by Complete
	outcome   store.PutStatus // set by Complete
	lost      bool            // it could not be committed, whatever Complete says
	answer    header.SendMessageResponse
	reply     remoting.Reply
	next      *sendOp // in Answers

	admitted string // a topic's name that passed the checks of names; it stays with the op, since names keep passing
}

// maxKeptIDs and maxKeptItems bound what a pooled op keeps of a large batch.
const (
	maxKeptIDs   = 64 << 10
	maxKeptItems = 2048
)

const (
	remarkOverload = "[OVERLOAD]system busy, start flow control for a while"
	remarkNoTimer  = "accurate timer message is not enabled, timerWheelEnable is false"
)

func (p *Processor) newSend(r *remoting.Request) *sendOp {
	b := p.batchOf(r)
	op := b.spare()
	if op == nil {
		op, _ = p.sends.Get().(*sendOp)
	}
	if op == nil {
		op = &sendOp{p: p}
	}
	op.replier, op.oneway, op.pooled = r.Replier(), r.Oneway(), b == nil
	op.view = p.sendView()
	op.turns.Store(0)
	op.completed, op.lost, op.batch, op.inner = false, false, false, false
	op.tran = ending{}
	op.handle = op.handle[:0]
	return op
}

// forget drops what aliases the frame.
func (op *sendOp) forget() {
	op.hdr, op.props = header.SendMessageRequest{}, sentProperties{}
	op.msg.Body, op.msg.Properties, op.msg.Topic, op.msg.Found = nil, "", "", record.Words{}
	clear(op.items)
	op.items = op.items[:0]
}

func (op *sendOp) release() {
	op.forget()
	op.p.keep(op)
}

// keep gives an op back that has forgotten the frame.
func (p *Processor) keep(op *sendOp) {
	op.drop()
	p.sends.Put(op)
}

// drop lets go of what an op that has forgotten the frame still holds.
func (op *sendOp) drop() {
	op.replier, op.topic, op.known, op.next = remoting.Replier{}, nil, nil, nil
	op.name, op.tran = "", ending{}
	if cap(op.id) > maxKeptIDs {
		op.id = nil
	}
	if cap(op.items) > maxKeptItems {
		op.items = nil
	}
}

// fail answers a refusal and ends the op. What every answer to a send carries, this one does too; the end of a transaction is no send.
func (op *sendOp) fail(r *remoting.Request, c int32, remark string) {
	op.reply = remoting.Reply{Code: c, Remark: remark}
	if op.tran.step != tranCommit {
		op.reply.Shared = op.view.shared
	}
	r.Reply(&op.reply)
	op.release()
}

// put stages the message. The answer comes at the end of the batch, or when the message is safe.
func (op *sendOp) put(r *remoting.Request) {
	var c store.Completion
	if !op.oneway && !op.props.noWait {
		c = op
		if op.p.pending.Load() >= int64(op.view.cfg.SendQueue) {
			op.fail(r, code.SystemBusy, remarkOverload)
			return
		}
	}
	if op.tran.step == tranCommit {
		op.p.Transactions.Begin(op.tran.queue, op.tran.off)
	}
	op.uniq = append(op.uniq[:0], op.props.uniqKey...)
	var at *store.Place
	if op.known != nil && unsafe.StringData(op.msg.Topic) == unsafe.StringData(op.name) { // and not the schedule topic
		at = op.known.Place(op.msg.QueueID)
	}
	if op.batch {
		op.res = op.p.Store.StageBatch(at, &op.msg, op.items, c)
	} else {
		op.res = op.p.Store.StageAt(at, &op.msg, c)
	}
	if _, stored := putCode(op.res.Status); stored {
		op.makeID()
	}
	if op.res.Pending {
		op.p.pending.Add(1)
		r.HandOver() // to the flusher
	}
	op.forget() // the frame is gone when the batch ends
	op.p.putOff(r, op)
}

// end makes an op a staged request.
func (op *sendOp) end(b *batchEnd) {
	if err := op.p.Store.Commit(&op.res); err != nil {
		op.res.Status, op.res.Err, op.lost = store.UnknownError, err, true
	}
	_, stored := putCode(op.res.Status)
	if stored {
		b.counts.add(op.counters(), int64(max(1, op.res.Count)), op.res.NextOffset-op.res.PhysicalOffset)
	}
	if op.tran.step != tranNone {
		op.settle(stored)
	}
	if op.res.Pending {
		if op.turns.Add(1) == 1 {
			return // Complete goes on
		}
		op.p.pending.Add(-1)
	}
	op.replier.Reply(op.finish())
	b.keep(op)
}

// broken makes an op a staged request. The op is never used again: Complete may still come, and finds that nothing follows.
func (op *sendOp) broken() remoting.Replier {
	if op.res.Pending && op.turns.Load() < 2 {
		op.p.pending.Add(-1)
	}
	if t := &op.tran; t.step == tranCommit && !t.settled {
		op.settle(false)
	}
	return op.replier
}

// counters are the statistics of the topic.
func (op *sendOp) counters() *stats.Item {
	if op.known != nil {
		return op.known.Item(op.p.Stats, op.name)
	}
	return op.p.Stats.Topic(op.name)
}

// Complete is the store's word that a pending message is safe, or that it is not. It may come before Stage has returned.
func (op *sendOp) Complete(status store.PutStatus) {
	op.completed, op.outcome = true, status
	if op.turns.Add(1) == 2 {
		op.p.pending.Add(-1)
		op.p.Lanes.Answers.put(op)
	}
}

// makeID makes the offset message id, of a batch a list of them.
func (op *sendOp) makeID() {
	op.id = op.id[:0]
	if !op.batch {
		op.id = op.view.appendID(op.id, op.res.PhysicalOffset)
		return
	}
	for i := range op.items {
		if i > 0 {
			op.id = append(op.id, ',')
		}
		op.id = op.view.appendID(op.id, op.items[i].PhysicalOffset)
	}
}

// finish makes the answer from the outcome.
func (op *sendOp) finish() *remoting.Reply {
	if op.completed && !op.lost {
		op.res.Status = op.outcome
	}
	if op.tran.step == tranCommit {
		return op.finishEnd()
	}
	c, stored := putCode(op.res.Status)
	op.reply = remoting.Reply{Code: c, Shared: op.view.shared}
	if !stored {
		op.reply.Remark = op.p.putRemark(&op.res)
		return &op.reply
	}
	op.answer = header.SendMessageResponse{
		MsgID: viewOf(op.id), QueueID: op.queue, QueueOffset: op.res.QueueOffset, TransactionID: viewOf(op.uniq),
		RecallHandle: viewOf(op.handle),
	}
	if op.inner {
		op.answer.BatchUniqID = viewOf(op.uniq)
	}
	op.reply.Header = &op.answer
	return &op.reply
}
