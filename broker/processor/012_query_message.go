package processor

import (
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// 012 QUERY_MESSAGE: the messages of a topic that have a key, stored in a span of time (QueryMessageProcessor.queryMessage). The flag
// _UNIQUE_KEY_QUERY in the fields means a look-up by unique key, for which the number asked for is replaced by defaultQueryMaxNum; the store
// bounds all look-ups.
//
// Answers 0 with the records, or 22; the header tells how far the index reaches, 0 where nothing was found in it.
func (p *Processor) queryMessage(r *remoting.Request) {
	var h header.QueryMessageRequest
	if err := r.Decode(&h); err != nil && !queryable(r.Fields) {
		r.Fail(code.SystemError, "%v", err)
		return
	}
	limit, kind := int(h.MaxNum), h.IndexType
	if v, _ := r.Fields.Get("_UNIQUE_KEY_QUERY"); v == "true" {
		limit = p.cfg().QueryMax
	}
	res, err := p.Reader.Query(h.Topic, h.Key, kind, limit, h.BeginTimestamp, h.EndTimestamp)
	if err != nil {
		r.Fail(code.SystemError, "query %s by key: %v", h.Topic, err)
		return
	}
	reply := remoting.Reply{Header: &header.QueryMessageResponse{
		IndexLastUpdateTimestamp: res.LastUpdateTime, IndexLastUpdatePhyoffset: res.LastUpdatePhys,
	}}
	if len(res.Records) == 0 {
		reply.Code, reply.Remark = code.QueryNotFound, "can not find message, maybe time range not correct"
		r.Reply(&reply)
		res.Release()
		return
	}
	reply.Regions, reply.Release = res.Records, res.Release
	r.Reply(&reply)
}

// queryable tells whether a header that lacks required fields has all that Java really needs.
func queryable(f header.Fields) bool {
	return number(f, "maxNum", 32) && number(f, "beginTimestamp", 64) && number(f, "endTimestamp", 64)
}
