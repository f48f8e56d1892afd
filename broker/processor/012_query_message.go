package processor

import (
	"bytes"

	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store/record"
)

// Limits of a query by key (maxMsgsNumBatch and defaultQueryMaxNum, which the store applies too).
const (
	maxQuery       = 64
	uniqueKeyQuery = 32
)

// 012 QUERY_MESSAGE: the messages of a topic that have a key, stored in a span of time (QueryMessageProcessor.queryMessage). The flag
// _UNIQUE_KEY_QUERY in the fields means a look-up by unique key, for which the number asked for is replaced.
//
// Answers 0 with the records, or 22; the header tells in both cases how far the index reaches. The index holds hashes only: what it
// finds is compared with the key here, where Java leaves that to the client.
func (p *Processor) queryMessage(r *remoting.Request) {
	var h header.QueryMessageRequest
	if err := r.Decode(&h); err != nil && !queryable(r.Fields) {
		r.Fail(code.SystemError, "%v", err)
		return
	}
	limit, kind := min(int(h.MaxNum), maxQuery), h.IndexType
	if v, _ := r.Fields.Get("_UNIQUE_KEY_QUERY"); v == "true" {
		limit = uniqueKeyQuery
	}
	res, err := p.Reader.Query(h.Topic, h.Key, kind, limit, h.BeginTimestamp, h.EndTimestamp)
	if err != nil {
		r.Fail(code.SystemError, "query %s by key: %v", h.Topic, err)
		return
	}
	found := res.Records[:0:0]
	for _, rec := range res.Records {
		if hasKey(rec, h.Topic, h.Key) {
			found = append(found, rec)
		}
	}
	reply := remoting.Reply{Header: &header.QueryMessageResponse{
		IndexLastUpdateTimestamp: res.LastUpdateTime, IndexLastUpdatePhyoffset: res.LastUpdatePhys,
	}}
	if len(found) == 0 {
		reply.Code, reply.Remark = code.QueryNotFound, "can not find message, maybe time range not correct"
		r.Reply(&reply)
		if res.Release != nil {
			res.Release()
		}
		return
	}
	reply.Regions, reply.Release = found, res.Release
	r.Reply(&reply)
}

// queryable tells whether a header that lacks required fields has all that Java really needs.
func queryable(f header.Fields) bool {
	return number(f, "maxNum", 32) && number(f, "beginTimestamp", 64) && number(f, "endTimestamp", 64)
}

// hasKey tells whether a record is of the topic and has the key, be it as its unique key or among its blank-separated keys.
func hasKey(rec []byte, topic, key string) bool {
	var h record.Header
	if record.Parse(rec, &h) != nil || string(h.Topic) != topic {
		return false
	}
	if string(record.PropertyBytes(h.Properties, record.PropUniqKey)) == key {
		return true
	}
	for rest := record.PropertyBytes(h.Properties, record.PropKeys); len(rest) > 0; {
		token, after, _ := bytes.Cut(rest, []byte(" "))
		if string(token) == key {
			return true
		}
		rest = after
	}
	return false
}
