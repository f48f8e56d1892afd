package processor

import (
	"apogee/compat/body"
	"apogee/remoting"
)

// 041 LOCK_BATCH_MQ: an orderly consumer takes, or renews, the queues that it was assigned (AdminBrokerProcessor.lockBatchMQ). Always 0,
// with the queues that it holds now. lockInStrictMode asks the other replicas in Java; there are none.
func (p *Processor) lockQueues(r *remoting.Request) {
	var b body.LockBatchRequestBody
	if !decodeBody(r, &b) {
		return
	}
	held := p.Locks.Lock(b.ConsumerGroup, b.ClientID, b.MQSet)
	replyJSON(r, &body.LockBatchResponseBody{LockOKMQSet: held})
}

// 042 UNLOCK_BATCH_MQ: an orderly consumer gives queues back (AdminBrokerProcessor.unlockBatchMQ). Always 0.
func (p *Processor) unlockQueues(r *remoting.Request) {
	var b body.LockBatchRequestBody
	if !decodeBody(r, &b) {
		return
	}
	p.Locks.Unlock(b.ConsumerGroup, b.ClientID, b.MQSet)
	replyOK(r)
}
