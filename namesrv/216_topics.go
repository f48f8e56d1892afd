package namesrv

import (
	"strings"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// Requests 216 DELETE_TOPIC_IN_NAMESRV (in one cluster, or everywhere without one) and 217 REGISTER_TOPIC_IN_NAMESRV (a broker
// adds the queues of one topic: enableSingleTopicRegister).
//
// Answers: SUCCESS, also for an unknown topic or cluster and for queues that were not taken because their broker is unknown;
// SYSTEM_ERROR for a body that cannot be read.
//
// Checked against DefaultRequestProcessor and RouteInfoManager.

func (s *Server) deleteTopic(r *remoting.Request) {
	var h header.DeleteTopicInNamesrvRequest
	_ = r.Decode(&h)
	s.topology.deleteTopic(h.Topic, h.ClusterName)
	s.log.Info("topic deleted", "topic", h.Topic, "cluster", h.ClusterName, "addr", remoteText(r))
	reply(r, nil, nil)
}

func (s *Server) registerTopic(r *remoting.Request) {
	var h header.RegisterTopicInNamesrvRequest
	_ = r.Decode(&h)
	var route body.TopicRouteData
	if len(r.Body) > 0 {
		if err := fastjson.Unmarshal(r.Body, &route); err != nil {
			r.Fail(code.SystemError, "%v", err)
			return
		}
	}
	if h.Topic != "" {
		s.topology.addTopic(strings.Clone(h.Topic), route.QueueDatas)
	}
	reply(r, nil, nil)
}
