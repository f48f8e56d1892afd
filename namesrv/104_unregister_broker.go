package namesrv

import (
	"strings"

	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// Request 104 UNREGISTER_BROKER: a broker leaves.
//
// Answers: SUCCESS as soon as the request is queued (its effect follows within moments, in a batch with others), SYSTEM_ERROR without
// a remark when the queue (unRegisterBrokerQueueCapacity) is full.
//
// Checked against DefaultRequestProcessor.unregisterBroker and BatchUnregistrationService.
func (s *Server) unregisterBroker(r *remoting.Request) {
	var h header.UnregisterBrokerRequest
	if !decode(r, &h) {
		return
	}
	d := departure{
		cluster: strings.Clone(h.ClusterName), name: strings.Clone(h.BrokerName), addr: strings.Clone(h.BrokerAddr), id: h.BrokerID,
	}
	if !s.depart(d) {
		s.log.Warn("queue of unregistrations is full", "broker", d.name, "addr", d.addr)
		r.Reply(&remoting.Reply{Code: code.SystemError})
		return
	}
	reply(r, nil, nil)
}
