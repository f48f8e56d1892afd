package processor

import (
	"runtime/debug"

	"apogee/broker/meta"
	"apogee/broker/transaction"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store/record"
)

// 323 RESUME_CHECK_HALF_MESSAGE: an operator has producers asked once more about a half message that was given up; msgId is its offset
// message id (AdminBrokerProcessor.resumeCheckHalfMessage).
//
// Answers 1 for an id that is none, or where no half message is, and 1 if the store refuses the copy; 0 when it is as safe as the flush
// policy asks.
func (p *Processor) resumeCheck(r *remoting.Request) {
	var h header.ResumeCheckHalfMessageRequest
	if !decode(r, &h) {
		return
	}
	const failed = "Exception was thrown when putting message back to RMQ_SYS_TRANS_HALF_TOPIC."
	_, physical, err := record.ParseMessageID(h.MsgID)
	if err != nil {
		r.Fail(code.SystemError, "%s %v", failed, err)
		return
	}
	rec, release, err := p.Reader.View(physical)
	if err != nil {
		r.Fail(code.SystemError, "%s %v", failed, err)
		return
	}
	defer release()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // see sendBack
	var m record.Message
	if err = record.Decode(rec, &m); err == nil {
		err = transaction.Resume(&m)
	}
	if err != nil {
		r.Fail(code.SystemError, "%s %v", failed, err)
		return
	}
	m.QueueID = 0
	res := p.Store.PutWait(&m)
	if _, stored := putCode(res.Status); !stored {
		r.Fail(code.SystemError, "Put message back to %s failed. %s", meta.HalfTopic, p.putRemark(&res))
		return
	}
	p.Transactions.Resumed(record.Property(m.Properties, record.PropRealTopic))
	replyOK(r)
}
