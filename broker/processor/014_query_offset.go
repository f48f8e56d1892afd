package processor

import (
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// 014 QUERY_CONSUMER_OFFSET: where a group goes on in a queue (ConsumerManageProcessor.queryConsumerOffset).
//
// Answers:
//   - 0 with the offset: a pending server-side reset, else what was committed
//   - 0 with offset 0 for a group that has committed nothing, while the queue's first message is still there and in memory: a
//     young topic is consumed from its start even by CONSUME_FROM_LAST_OFFSET. setZeroIfNotFound=false turns that off.
//   - 22 otherwise: the client decides by ConsumeFromWhere
//
// Version notes: 4.9 has no setZeroIfNotFound.
func (p *Processor) queryConsumerOffset(r *remoting.Request) {
	var h header.QueryConsumerOffsetRequest
	if err := r.Decode(&h); err != nil {
		r.Fail(code.SystemError, "%v", err)
		return
	}
	if off, ok := p.Offsets.Query(h.ConsumerGroup, h.Topic, h.QueueID); ok && off >= 0 {
		r.Reply(&remoting.Reply{Header: &header.QueryConsumerOffsetResponse{Offset: off}})
		return
	}
	switch {
	case !h.SetZeroIfNotFound.Or(true):
		r.Fail(code.QueryNotFound, "Not found, do not set to zero, maybe this group boot first")
	case p.Queues.MinOffset(h.Topic, h.QueueID) <= 0 && p.Queues.InMemory(h.Topic, h.QueueID, 0):
		r.Reply(&remoting.Reply{Header: &header.QueryConsumerOffsetResponse{}})
	default:
		r.Fail(code.QueryNotFound, "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first")
	}
}
