package namesrv

import (
	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// Requests 322 QUERY_DATA_VERSION (a broker asks whether it has to register, forceRegister=false) and 904 BROKER_HEARTBEAT. Both
// are signs of life.
//
// Answers: SUCCESS; 322 with changed and, where the broker is known, with the version that it registered. SYSTEM_ERROR for a body
// that cannot be read.
//
// Checked against DefaultRequestProcessor.

func (s *Server) queryDataVersion(r *remoting.Request) {
	var h header.QueryDataVersionRequest
	if !decode(r, &h) {
		return
	}
	var asked body.DataVersion
	if err := fastjson.Unmarshal(r.Body, &asked); err != nil {
		r.Fail(code.SystemError, "%v", err)
		return
	}
	s.topology.touch(h.ClusterName, h.BrokerAddr)
	known, ok := s.topology.version(h.ClusterName, h.BrokerAddr)
	var text []byte
	if ok {
		text = fastjson.Marshal(known)
	}
	reply(r, &header.QueryDataVersionResponse{Changed: !ok || known != asked}, text)
}

func (s *Server) brokerHeartbeat(r *remoting.Request) {
	var h header.BrokerHeartbeatRequest
	if !decode(r, &h) {
		return
	}
	s.topology.touch(h.ClusterName, h.BrokerAddr)
	reply(r, nil, nil)
}
