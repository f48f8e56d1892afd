package namesrv

import (
	"strings"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// Requests 106 GET_BROKER_CLUSTER_INFO (all clusters and brokers) and 901 GET_BROKER_MEMBER_GROUP (the addresses of one broker name).
//
// Answers: SUCCESS, always with bare integer keys. A broker name that nobody knows has no addresses.
//
// Checked against DefaultRequestProcessor and RouteInfoManager.

func (s *Server) getBrokerClusterInfo(r *remoting.Request) {
	reply(r, nil, fastjson.Marshal(s.topology.clusterInfo()))
}

func (s *Server) getBrokerMemberGroup(r *remoting.Request) {
	var h header.GetBrokerMemberGroupRequest
	_ = r.Decode(&h)
	g := s.topology.memberGroup(strings.Clone(h.ClusterName), strings.Clone(h.BrokerName))
	r.Reply(&remoting.Reply{
		Code: code.Success, Remark: "not set any response code", // Java forgets to clear it; code and body are right
		Body: fastjson.Marshal(&body.GetBrokerMemberGroupResponseBody{BrokerMemberGroup: g}),
	})
}
