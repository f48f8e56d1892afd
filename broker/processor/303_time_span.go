package processor

import (
	"time"

	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// 303 QUERY_CONSUME_TIME_SPAN: how old the first, the last and the next message of each queue are, for a group
// (AdminBrokerProcessor.queryConsumeTimeSpan). 17 if there is no such topic.
func (p *Processor) timeSpan(r *remoting.Request) {
	var h header.QueryConsumeTimeSpanRequest
	if !decode(r, &h) {
		return
	}
	t, ok := p.Topics.Get(h.Topic)
	if !ok {
		r.Fail(code.TopicNotExist, "topic[%s] not exist", h.Topic)
		return
	}
	b := &body.QueryConsumeTimeSpanBody{ConsumeTimeSpanSet: make([]body.QueueTimeSpan, 0, t.WriteQueueNums)}
	for q := range t.WriteQueueNums {
		b.ConsumeTimeSpanSet = append(b.ConsumeTimeSpanSet, p.queueTimeSpan(h.Group, h.Topic, q))
	}
	replyJSON(r, b)
}

func (p *Processor) queueTimeSpan(group, topic string, q int32) body.QueueTimeSpan {
	end := p.Queues.MaxOffset(topic, q)
	s := body.QueueTimeSpan{
		MessageQueue: &body.MessageQueue{Topic: topic, BrokerName: p.cfg().Name, QueueID: q},
		MinTimeStamp: p.Queues.StoreTime(topic, q, max(0, p.Queues.MinOffset(topic, q))),
		MaxTimeStamp: p.Queues.StoreTime(topic, q, end-1),
	}
	off, _ := p.Offsets.Query(group, topic, q)
	s.ConsumeTimeStamp = s.MinTimeStamp
	if off > 0 {
		s.ConsumeTimeStamp = p.Queues.StoreTime(topic, q, off-1)
	}
	if off < end {
		if next := p.Queues.StoreTime(topic, q, off); next > 0 {
			s.DelayTime = p.Now().UnixMilli() - next
		}
	}
	s.MinTimeStampStr, s.MaxTimeStampStr = humanTime(s.MinTimeStamp), humanTime(s.MaxTimeStamp)
	s.ConsumeTimeStampStr = humanTime(s.ConsumeTimeStamp)
	return s
}

// humanTime is UtilAll.timeMillisToHumanString2.
func humanTime(ms int64) string { return time.UnixMilli(ms).Format("2006-01-02 15:04:05,000") }

// 308 QUERY_CORRECTION_OFFSET: for each queue the smallest offset of all groups but filterGroups, or the largest long there is, where
// compareGroup is behind that (AdminBrokerProcessor.queryCorrectionOffset). Always 0. Java removes the filtered groups from the
// table while it looks; we leave them there.
func (p *Processor) correctionOffset(r *remoting.Request) {
	var h header.QueryCorrectionOffsetRequest
	if !decode(r, &h) {
		return
	}
	b := &body.QueryCorrectionOffsetBody{CorrectionOffsets: p.Offsets.MinOf(h.Topic, inList(h.FilterGroups))}
	for q, off := range p.Offsets.OfTopic(h.CompareGroup, h.Topic) {
		if least, ok := b.CorrectionOffsets[q]; ok && least > off {
			b.CorrectionOffsets[q] = maxLong
		}
	}
	replyJSON(r, b)
}
