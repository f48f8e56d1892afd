package processor

import (
	"fmt"
	"runtime/debug"
	"strings"

	"apogee/broker/meta"
	"apogee/broker/transaction"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store"
	"apogee/store/record"
)

// 037 END_TRANSACTION: a producer says what becomes of a half message, unasked or because it was asked (EndTransactionProcessor).
//
// Answers, checked in this order:
//   - none at all, not even to a request that waits for one, for any end but commit (8) and rollback (12)
//   - 1 if there is no half message at the log offset, 604 if it has a time of immunity that is over and the
//     producer was not asked
//   - 1 for another producer group, or another queue offset than the message has
//   - to a rollback 0; to a commit 0 once the message is as safe in its real topic as the flush policy asks, or the store's refusal
//
// A commit is a put like any other: staged with the sends of its batch and committed with them.
func (p *Processor) endTransaction(r *remoting.Request) { p.serveEnd(r, false) }

// serveEnd works an end. A half message that is not in memory any more is read in a lane.
func (p *Processor) serveEnd(r *remoting.Request, mayBlock bool) {
	var h header.EndTransactionRequest
	if !decode(r, &h) {
		return
	}
	if !p.cfg().Master() {
		r.Reply(&remoting.Reply{Code: code.SlaveNotAvailable, Remark: remarkUnset})
		return
	}
	if h.CommitOrRollback != record.SysTranCommit && h.CommitOrRollback != record.SysTranRollback {
		return
	}
	if !mayBlock && p.Reader.ColdAt(h.CommitLogOffset) {
		r.GoOn(p.Lanes.Transaction, func(r *remoting.Request) { p.serveEnd(r, true) })
		return
	}
	rec, release, err := p.Reader.View(h.CommitLogOffset)
	if err != nil {
		r.Fail(code.SystemError, remarkNoHalf)
		return
	}
	defer release()
	// From here on mapped memory is read; see sendBack.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	op := p.newSend(r)
	if refusal, remark := op.half(rec, &h); refusal != code.Success {
		op.release()
		r.Reply(&remoting.Reply{Code: refusal, Remark: remark})
		return
	}
	if h.CommitOrRollback == record.SysTranRollback {
		err := p.Transactions.RolledBack(op.msg.QueueID, op.msg.QueueOffset, record.Property(op.msg.Properties, record.PropRealTopic))
		op.release()
		if err != nil {
			r.Fail(code.SystemError, "%v", err)
			return
		}
		r.Reply(&remoting.Reply{Remark: remarkUnset})
		return
	}
	op.commit(r)
}

const (
	remarkNoHalf = "Find prepared transaction message failed"
	remarkUnset  = "not set any response code" // what Java's answers begin with, and where these end
)

// half reads the half message of an end into msg, or says why there is none that it could end. What is no half message, such as one
// that was given up, counts as none: its queue offset would end another message.
func (op *sendOp) half(rec []byte, h *header.EndTransactionRequest) (refusal int32, remark string) {
	m := &op.msg
	if err := record.Decode(rec, m); err != nil || m.Topic != meta.HalfTopic {
		return code.SystemError, remarkNoHalf
	}
	if !h.FromTransactionCheck {
		immune, custom := transaction.Immunity(m.Properties, op.view.cfg.TransactionTimeout.Milliseconds())
		if custom && op.p.Now().UnixMilli()-m.BornTimestamp > immune {
			return code.IllegalOperation, remarkUnset
		}
	}
	switch {
	case record.Property(m.Properties, transaction.PropProducerGroup) != h.ProducerGroup:
		return code.SystemError, "The producer group wrong"
	case m.QueueOffset != h.TranStateTableOffset:
		return code.SystemError, "The transaction state table offset wrong"
	case m.PhysicalOffset != h.CommitLogOffset:
		return code.SystemError, "The commit log offset wrong"
	}
	return code.Success, ""
}

// commit stages the half message in msg for its real topic. Its transaction is begun where the put is sure to be settled.
func (op *sendOp) commit(r *remoting.Request) {
	m := &op.msg
	queue, off := m.QueueID, m.QueueOffset
	wait := strings.EqualFold(record.Property(m.Properties, record.PropWait), "false")
	var err error
	var no refusal
	if op.buf, err = transaction.Commit(m, op.buf); err != nil {
		no = refusal{code.SystemError, err.Error()}
	} else {
		no = op.delayCommitted()
	}
	if no.code != 0 {
		op.release()
		r.Fail(no.code, "%s", no.remark)
		return
	}
	op.props.noWait = wait
	op.tran = ending{step: tranCommit, queue: queue, off: off}
	staged := false
	defer func() {
		if !staged { // what is mapped cannot be read; a commit that is never settled would stop the check
			op.p.Transactions.Abandon(queue, off)
		}
	}()
	op.put(r)
	staged = true // and op may be another's
}

// delayCommitted sends a committed message that asks for a delay or a time to where it waits.
func (op *sendOp) delayCommitted() (no refusal) {
	m := &op.msg
	name, known, _ := op.p.Topics.Lookup(m.Topic)
	if name == "" {
		name = strings.Clone(m.Topic) // the topic is gone; the log keeps the message, as Java's
	}
	m.Topic, op.name, op.known = name, name, known
	if op.spare, no = op.p.schedule(m, op.spare); no.code == 0 {
		op.buf, op.spare = op.spare, op.buf
	}
	return no
}

// tranStep is what a put is to a transaction.
type tranStep uint8

const (
	tranNone   tranStep = iota
	tranHalf            // stores a half message
	tranCommit          // stores what a half message becomes
)

// ending is the transaction that a put belongs to.
type ending struct {
	step    tranStep
	settled bool
	queue   int32 // of the half message that is committed
	off     int64
	topic   string // where a half message will go
}

// settle tells the transactions how the put went.
func (op *sendOp) settle(stored bool) {
	op.tran.settled = true
	switch t := &op.tran; {
	case t.step == tranHalf && stored:
		op.p.Transactions.Prepared(t.topic)
	case t.step == tranCommit && stored:
		op.p.Transactions.Done(t.queue, t.off, op.name)
	case t.step == tranCommit:
		op.p.Transactions.Abandon(t.queue, t.off)
	}
}

// prepareHalf makes the message a half message. Its answer still names the queue that was asked for.
func (op *sendOp) prepareHalf(r *remoting.Request) step {
	if _, _, err := op.view.levels.Of(op.props.delay); err != nil {
		op.fail(r, code.SystemError, err.Error())
		return ended
	}
	op.spare = transaction.Prepare(&op.msg, op.props.uniqKey, op.spare)
	op.swap()
	op.msg.Found = op.props.words(op.msg.Properties)
	op.tran = ending{step: tranHalf, topic: op.name}
	op.name, op.known, _ = op.p.Topics.Lookup(meta.HalfTopic)
	if op.name == "" {
		op.name = meta.HalfTopic
	}
	op.msg.Topic = op.name
	return goOn
}

// finishEnd makes the answer to END_TRANSACTION from the outcome (EndTransactionProcessor.sendFinalMessage).
func (op *sendOp) finishEnd() *remoting.Reply {
	op.reply = remoting.Reply{}
	c, stored := putCode(op.res.Status)
	if stored {
		return &op.reply // a flush that takes longer has stored the message, too
	}
	if op.res.Status == store.OSPageCacheBusy {
		c = code.SystemError
	}
	op.reply.Code, op.reply.Remark = c, op.p.endRemark(&op.res)
	return &op.reply
}

func (p *Processor) endRemark(res *store.PutResult) string {
	switch res.Status {
	case store.CreateMappedFileFailed:
		return "Create mapped file failed."
	case store.MessageIllegal, store.PropertiesSizeExceeded:
		return fmt.Sprintf("The message is illegal, maybe msg body or properties length not matched. msg body length limit %dB, msg properties length limit 32KB.", p.maxMessage())
	case store.ServiceNotAvailable:
		return "Service not available now."
	case store.OSPageCacheBusy:
		return "OS page cache busy, please try another machine"
	case store.InSyncReplicasNotEnough:
		return "in-sync replicas not enough"
	default:
		return "UNKNOWN_ERROR"
	}
}
