package namesrv

import (
	"context"
	"strings"
	"time"

	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// Request 105 GET_ROUTEINFO_BY_TOPIC: where are the queues of a topic?
//
// Answers: SUCCESS with TopicRouteData, as standard JSON for clients from 4.9.4 on and those that say acceptStandardJsonOnly, with
// bare integer keys for older ones; TOPIC_NOT_EXIST (17) where no broker has the topic; SYSTEM_ERROR "name server not ready"
// during the first waitSecondsForService with needWaitForService. With __ZONE_MODE=true and a __ZONE_NAME only that zone is shown.
//
// With clusterTest, name servers of another environment are asked for topics that are unknown here, and queue orders are always
// shown.
//
// Checked against ClientRequestProcessor, ClusterTestRequestProcessor and ZoneRouteRPCHook.

const (
	// standardJSONFrom is MQVersion V4_9_4.
	standardJSONFrom = 401

	noRoute    = "No topic route info in name server for the topic: "
	faqSuffix  = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
	zoneMode   = "__ZONE_MODE"
	askTimeout = 5 * time.Second // DefaultMQAdminExt
)

func (s *Server) getRouteInfo(r *remoting.Request) {
	var h header.GetRouteInfoByTopicRequest
	_ = r.Decode(&h)
	if !s.ready(r) {
		return
	}
	route := s.findRoute(r, &h)
	if route == nil {
		r.Fail(code.TopicNotExist, "%s", noRoute+orNull(r, "topic")+faqSuffix)
		return
	}
	reply(r, nil, route)
}

// ready answers a request that comes too early.
func (s *Server) ready(r *remoting.Request) bool {
	cfg := s.conf.Load()
	if !cfg.NeedWaitForService || s.deps.Now().Sub(s.started) >= cfg.WaitForService {
		return true
	}
	r.Fail(code.SystemError, "name server not ready")
	return false
}

func (s *Server) findRoute(r *remoting.Request, h *header.GetRouteInfoByTopicRequest) []byte {
	if mode, ok := r.Fields.Get(zoneMode); ok && strings.EqualFold(mode, "true") {
		if zone, _ := r.Fields.Get(zoneName); strings.TrimSpace(zone) != "" {
			return s.topology.zoneRoute(h.Topic, zone)
		}
	}
	d := bareKeys
	if r.Version >= standardJSONFrom || h.AcceptStandardJsonOnly.Or(false) {
		d = standardJSON
	}
	return s.topology.route(h.Topic, d)
}

// getRouteInfoOrAsk is getRouteInfo for clusterTest. It waits for other servers, so it has a lane.
func (s *Server) getRouteInfoOrAsk(r *remoting.Request) {
	var h header.GetRouteInfoByTopicRequest
	_ = r.Decode(&h)
	route := s.findRoute(r, &h)
	if route == nil {
		route = s.askUpstream(r, &h)
	}
	if route == nil {
		r.Fail(code.TopicNotExist, "%s", noRoute+orNull(r, "topic")+faqSuffix)
		return
	}
	reply(r, nil, route)
}

// askUpstream asks the other environment's name servers, one after the other, and passes on the first answer.
func (s *Server) askUpstream(r *remoting.Request, h *header.GetRouteInfoByTopicRequest) []byte {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	// Our own version makes them answer in standard JSON, which every client reads.
	out := remoting.Outgoing{Code: code.GetRouteInfoByTopic, Header: header.Fields{{Key: "topic", Value: h.Topic}}}
	for _, addr := range s.upstream() {
		answer, err := s.client.Call(ctx, addr, out)
		switch {
		case err != nil:
			s.log.Info("name server of the other environment does not answer", "env", s.conf.Load().ProductEnvName, "addr", addr, "topic", h.Topic, "err", err)
		case answer.Code == code.Success:
			return answer.Body
		}
	}
	return nil
}
