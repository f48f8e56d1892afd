package namesrv

import (
	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// Requests 206 GET_ALL_TOPIC_LIST_FROM_NAMESERVER, 224 GET_TOPICS_BY_CLUSTER, 304 GET_SYSTEM_TOPIC_LIST_FROM_NS (cluster and
// broker names, with a broker that knows the rest), and by topicSysFlag 311 GET_UNIT_TOPIC_LIST, 312 GET_HAS_UNIT_SUB_TOPIC_LIST,
// 313 GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST.
//
// Answers: SUCCESS with a TopicList, empty for an unknown cluster; SYSTEM_ERROR "disable" where enableAllTopicList (206) or
// enableTopicList (224, 311, 312, 313) is off.
//
// Checked against DefaultRequestProcessor and RouteInfoManager.

func (s *Server) getAllTopicList(r *remoting.Request) {
	if s.listsEnabled(r, s.conf.Load().EnableAllTopicList) {
		replyTopics(r, s.topology.allTopics())
	}
}

func (s *Server) getTopicsByCluster(r *remoting.Request) {
	if !s.listsEnabled(r, s.conf.Load().EnableTopicList) {
		return
	}
	var h header.GetTopicsByClusterRequest
	_ = r.Decode(&h)
	replyTopics(r, s.topology.topicsOfCluster(h.Cluster))
}

func (s *Server) getSystemTopicList(r *remoting.Request) {
	reply(r, nil, fastjson.Marshal(s.topology.systemTopics()))
}

func (s *Server) getUnitTopicList(r *remoting.Request) { s.replyUnitTopics(r, body.TopicUnit, 0) }

func (s *Server) getHasUnitSubTopicList(r *remoting.Request) {
	s.replyUnitTopics(r, body.TopicUnitSub, 0)
}

func (s *Server) getHasUnitSubUnunitTopicList(r *remoting.Request) {
	s.replyUnitTopics(r, body.TopicUnitSub, body.TopicUnit)
}

func (s *Server) replyUnitTopics(r *remoting.Request, want, not int32) {
	if s.listsEnabled(r, s.conf.Load().EnableTopicList) {
		replyTopics(r, s.topology.unitTopics(want, not))
	}
}

func (s *Server) listsEnabled(r *remoting.Request, enabled bool) bool {
	if !enabled {
		r.Fail(code.SystemError, "disable")
	}
	return enabled
}

func replyTopics(r *remoting.Request, topics []string) {
	reply(r, nil, fastjson.Marshal(&body.TopicList{TopicList: topics}))
}
