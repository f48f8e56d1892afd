package processor

import (
	"apogee/remoting"
	"apogee/remoting/header"
)

// 030 GET_MAX_OFFSET, 031 GET_MIN_OFFSET and 032 GET_EARLIEST_MSG_STORETIME: where a queue ends and begins (AdminBrokerProcessor). All
// answer SUCCESS, also for a queue or a topic that does not exist: 0 for offsets, -1 for the time.
//
// The flag committed of 030 makes no difference: Java reads it for queues of other kinds only.
func (p *Processor) maxOffset(r *remoting.Request) {
	var h header.GetMaxOffsetRequest
	if !decode(r, &h) {
		return
	}
	r.Reply(&remoting.Reply{Header: &header.GetMaxOffsetResponse{Offset: p.Queues.MaxOffset(h.Topic, h.QueueID)}})
}

func (p *Processor) minOffset(r *remoting.Request) {
	var h header.GetMinOffsetRequest
	if !decode(r, &h) {
		return
	}
	r.Reply(&remoting.Reply{Header: &header.GetMinOffsetResponse{Offset: max(0, p.Queues.MinOffset(h.Topic, h.QueueID))}})
}

func (p *Processor) earliestStoreTime(r *remoting.Request) {
	var h header.GetEarliestMsgStoreTimeRequest
	if !decode(r, &h) {
		return
	}
	at := p.Queues.StoreTime(h.Topic, h.QueueID, p.Queues.MinOffset(h.Topic, h.QueueID))
	r.Reply(&remoting.Reply{Header: &header.GetEarliestMsgStoreTimeResponse{Timestamp: at}})
}
