package processor

import (
	"encoding/binary"
	"fmt"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store"
)

// maxQueueEntries bounds one answer of 321: it is what one read looks at.
const maxQueueEntries = 800

// 321 QUERY_CONSUME_QUEUE: entries of a consume queue, for mqadmin queryCq (AdminBrokerProcessor.queryConsumeQueue).
//
// Answers:
//   - 1: no such queue, or a group was named that is not online in the topic
//   - 0 with a remark and no body: there is no entry at the index (Java, too)
//   - 0 with up to count entries
func (p *Processor) queueEntries(r *remoting.Request) {
	var h header.QueryConsumeQueueRequest
	if !decode(r, &h) {
		return
	}
	q, index, count := h.QueueID.Or(0), h.Index.Or(0), h.Count.Or(0)
	lo, hi := p.Queues.MinOffset(h.Topic, q), p.Queues.MaxOffset(h.Topic, q)
	if lo < 0 || hi < 0 {
		if t, ok := p.Topics.Get(h.Topic); !ok || q < 0 || q >= max(t.ReadQueueNums, t.WriteQueueNums) {
			r.Fail(code.SystemError, "%d@%s is not exist!", q, h.Topic)
			return
		}
		lo, hi = 0, 0 // nobody has sent to it yet
	}
	b := &body.QueryConsumeQueueResponseBody{MinQueueIndex: lo, MaxQueueIndex: hi}
	if h.ConsumerGroup != "" {
		b.SubscriptionData = p.Consumers.Subscription(h.ConsumerGroup, h.Topic)
		if b.SubscriptionData == nil {
			r.Fail(code.SystemError, "%s@%s is not online!", h.ConsumerGroup, h.Topic)
			return
		}
		b.FilterData = "null"
		if f := p.Filters.Get(h.Topic, h.ConsumerGroup); f != nil {
			d := f.Body()
			b.FilterData = string(fastjson.MarshalPretty(&d))
		}
	}
	c := &entryCollector{max: int(min(max(count, 0), maxQueueEntries))}
	var res store.GetResult
	p.Reader.Get(&store.GetRequest{Topic: h.Topic, QueueID: q, Offset: index, MaxCount: maxQueueEntries, MaxBytes: 1 << 30, Filter: c, Plain: true}, &res)
	res.Release()
	if index < lo || index >= hi || (len(c.entries) == 0 && count > 0) {
		r.Reply(&remoting.Reply{Remark: fmt.Sprintf("Index %d of %d@%s is not exist!", index, q, h.Topic)})
		return
	}
	b.QueueData = c.entries
	replyJSON(r, b)
}

// entryCollector is a filter that takes nothing and notes what it is shown.
type entryCollector struct {
	max     int
	tags    int64
	entries []body.ConsumeQueueData
}

func (c *entryCollector) MatchTags(tagsCode int64) bool {
	c.tags = tagsCode
	return len(c.entries) < c.max
}

// Fields of a stored record (docs/format/commitlog.md).
const (
	recordSizeAt     = 0
	recordPhysicalAt = 28
)

func (c *entryCollector) MatchRecord(rec []byte) bool {
	if len(rec) >= recordPhysicalAt+8 {
		c.entries = append(c.entries, body.ConsumeQueueData{
			PhysicOffset: int64(binary.BigEndian.Uint64(rec[recordPhysicalAt:])),
			PhysicSize:   int32(binary.BigEndian.Uint32(rec[recordSizeAt:])),
			TagsCode:     c.tags,
		})
	}
	return false
}
