package processor

import (
	"apogee/broker/pop"
	"apogee/remoting"
	"apogee/remoting/header"
)

// 200055 POLLING_INFO: how many pops wait for a queue, or with -1 for any queue (PollingInfoProcessor). The checks are those of 200052; else 0.
func (p *Processor) pollingInfo(r *remoting.Request) {
	var h header.PollingInfoRequest
	if !decode(r, &h) {
		return
	}
	if _, ok := p.peekable(r, h.Topic, h.ConsumerGroup, h.QueueID); !ok {
		return
	}
	n := p.Pops.Len(pop.Key{Topic: h.Topic, Group: h.ConsumerGroup, Queue: h.QueueID})
	r.Reply(&remoting.Reply{Header: &header.PollingInfoResponse{PollingNum: int32(n)}})
}
