package namesrv

import (
	"fmt"

	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// routes binds codes to handlers. Without a lane a handler runs on the event loop, so only what looks into memory for a moment does.
func (s *Server) routes() []remoting.Route {
	route := remoting.Route{Code: code.GetRouteInfoByTopic, Handle: s.getRouteInfo}
	if s.conf.Load().ClusterTest {
		route = remoting.Route{Code: code.GetRouteInfoByTopic, Lane: s.admin, Handle: s.getRouteInfoOrAsk}
	}
	return []remoting.Route{
		route,
		{Code: code.PutKVConfig, Lane: s.admin, Handle: s.putKVConfig},
		{Code: code.GetKVConfig, Handle: s.getKVConfig},
		{Code: code.DeleteKVConfig, Lane: s.admin, Handle: s.deleteKVConfig},
		{Code: code.RegisterBroker, Lane: s.register, Handle: s.registerBroker},
		{Code: code.UnregisterBroker, Handle: s.unregisterBroker},
		{Code: code.GetBrokerClusterInfo, Lane: s.admin, Handle: s.getBrokerClusterInfo},
		{Code: code.WipeWritePermOfBroker, Lane: s.register, Handle: s.wipeWritePermOfBroker},
		{Code: code.GetAllTopicListFromNameServer, Lane: s.admin, Handle: s.getAllTopicList},
		{Code: code.DeleteTopicInNamesrv, Lane: s.register, Handle: s.deleteTopic},
		{Code: code.RegisterTopicInNamesrv, Lane: s.register, Handle: s.registerTopic},
		{Code: code.GetKVListByNamespace, Handle: s.getKVListByNamespace},
		{Code: code.GetTopicsByCluster, Lane: s.admin, Handle: s.getTopicsByCluster},
		{Code: code.GetSystemTopicListFromNS, Lane: s.admin, Handle: s.getSystemTopicList},
		{Code: code.GetUnitTopicList, Lane: s.admin, Handle: s.getUnitTopicList},
		{Code: code.GetHasUnitSubTopicList, Lane: s.admin, Handle: s.getHasUnitSubTopicList},
		{Code: code.GetHasUnitSubUnunitTopicList, Lane: s.admin, Handle: s.getHasUnitSubUnunitTopicList},
		{Code: code.UpdateNamesrvConfig, Lane: s.admin, Handle: s.updateConfig},
		{Code: code.GetNamesrvConfig, Lane: s.admin, Handle: s.getConfig},
		{Code: code.QueryDataVersion, Handle: s.queryDataVersion},
		{Code: code.AddWritePermOfBroker, Lane: s.register, Handle: s.addWritePermOfBroker},
		{Code: code.GetBrokerMemberGroup, Handle: s.getBrokerMemberGroup},
		{Code: code.BrokerHeartbeat, Handle: s.brokerHeartbeat},
	}
}

// decode reads a custom header that cannot be worked with unless it is complete: the answer names what is missing, with the code
// that Java's exception gets a little later. Handlers that Java gets through without a field (the value is null, which no table
// has) call r.Decode and go on.
func decode(r *remoting.Request, h header.Decoder) bool {
	if err := r.Decode(h); err != nil {
		r.Fail(code.SystemError, "%v", err)
		return false
	}
	return true
}

// orNull is a field's value as Java prints it in a remark.
func orNull(r *remoting.Request, field string) string {
	if v, ok := r.Fields.Get(field); ok {
		return v
	}
	return "null"
}

// reply answers SUCCESS with a header (nil for none) and a body.
func reply(r *remoting.Request, h header.Encodable, body []byte) {
	r.Reply(&remoting.Reply{Code: code.Success, Header: h, Body: body})
}

// fail answers SYSTEM_ERROR for something that went wrong here.
func (s *Server) fail(r *remoting.Request, err error) {
	s.log.Error("request failed", "code", r.Code, "addr", remoteText(r), "err", err)
	r.Fail(code.SystemError, "%v", err)
}

// remoteText is who made a request; requests of tests come over no connection.
func remoteText(r *remoting.Request) string {
	if c := r.Conn(); c != nil {
		return c.RemoteText()
	}
	return fmt.Sprintf("opaque %d", r.Opaque)
}
