package namesrv

import (
	"apogee/remoting"
	"apogee/remoting/header"
)

// Requests 205 WIPE_WRITE_PERM_OF_BROKER (so that producers leave a broker that is about to stop) and 327 ADD_WRITE_PERM_OF_BROKER
// (which makes its topics readable and writable, whatever they were).
//
// Answers: SUCCESS with the number of topics, 0 for an unknown broker. A changed registration of the broker undoes both.
//
// Checked against DefaultRequestProcessor and RouteInfoManager.operateWritePermOfBroker.

func (s *Server) wipeWritePermOfBroker(r *remoting.Request) {
	var h header.WipeWritePermOfBrokerRequest
	_ = r.Decode(&h)
	count := s.topology.wipeWrite(h.BrokerName)
	s.log.Info("write permission of a broker wiped", "broker", h.BrokerName, "topics", count, "addr", remoteText(r))
	reply(r, &header.WipeWritePermOfBrokerResponse{WipeTopicCount: int32(count)}, nil)
}

func (s *Server) addWritePermOfBroker(r *remoting.Request) {
	var h header.AddWritePermOfBrokerRequest
	_ = r.Decode(&h)
	count := s.topology.addWrite(h.BrokerName)
	s.log.Info("write permission of a broker added", "broker", h.BrokerName, "topics", count, "addr", remoteText(r))
	reply(r, &header.AddWritePermOfBrokerResponse{AddTopicCount: int32(count)}, nil)
}
