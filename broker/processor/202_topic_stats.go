package processor

import (
	"strings"

	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// 202 GET_TOPIC_STATS_INFO: how far each queue of a topic reaches (AdminBrokerProcessor.getTopicStatsInfo). 17 if there is no such topic.
func (p *Processor) topicStats(r *remoting.Request) {
	var h header.GetTopicStatsInfoRequest
	if !decode(r, &h) {
		return
	}
	t, ok := p.Topics.Get(h.Topic)
	if !ok {
		r.Fail(code.TopicNotExist, "topic[%s] not exist", h.Topic)
		return
	}
	name := p.cfg().Name
	b := &body.TopicStatsTable{OffsetTable: make(map[body.MessageQueue]body.TopicOffset), TopicPutTps: p.Stats.PutTPS(h.Topic)}
	for q := range max(t.ReadQueueNums, t.WriteQueueNums) {
		o := body.TopicOffset{
			MinOffset: max(0, p.Queues.MinOffset(h.Topic, q)), MaxOffset: max(0, p.Queues.MaxOffset(h.Topic, q)),
		}
		if o.MaxOffset > 0 {
			o.LastUpdateTimestamp = max(0, p.Queues.StoreTime(h.Topic, q, o.MaxOffset-1))
		}
		b.OffsetTable[body.MessageQueue{Topic: h.Topic, BrokerName: name, QueueID: q}] = o
	}
	replyJSON(r, b)
}

// 208 GET_CONSUME_STATS: how far a group is (AdminBrokerProcessor.getConsumeStats). Always 0; a group that has nothing gets an empty
// table. topicList, joined by ";", wins over topic; with neither, all topics in which the group has committed.
func (p *Processor) consumeStats(r *remoting.Request) {
	var h header.GetConsumeStatsRequest
	if !decode(r, &h) {
		return
	}
	var topics []string
	switch {
	case h.TopicList != "":
		topics = strings.Split(h.TopicList, ";")
	case h.Topic != "":
		topics = []string{h.Topic}
	default:
		topics = p.Offsets.TopicsOf(h.ConsumerGroup)
	}
	b := &body.ConsumeStats{OffsetTable: make(map[body.MessageQueue]body.OffsetWrapper)}
	for _, topic := range topics {
		t, ok := p.Topics.Get(topic)
		if !ok || p.unsubscribed(h.ConsumerGroup, topic) {
			continue
		}
		p.addProgress(b.OffsetTable, h.ConsumerGroup, topic, t.ReadQueueNums)
		b.ConsumeTps += p.Stats.GetTPS(topic, h.ConsumerGroup)
	}
	replyJSON(r, b)
}

// unsubscribed tells whether a group is online with subscriptions, but none to this topic: what it committed there is history.
func (p *Processor) unsubscribed(group, topic string) bool {
	g := p.Consumers.Group(group)
	return g != nil && len(g.Subscriptions) > 0 && p.Consumers.Subscription(group, topic) == nil
}

func (p *Processor) addProgress(table map[body.MessageQueue]body.OffsetWrapper, group, topic string, queues int32) {
	name := p.cfg().Name
	for q := range queues {
		var o body.OffsetWrapper
		o.BrokerOffset = max(0, p.Queues.MaxOffset(topic, q))
		committed, _ := p.Offsets.Query(group, topic, q)
		pulled, _ := p.Offsets.QueryPull(group, topic, q)
		o.ConsumerOffset, o.PullOffset = max(0, committed), max(0, pulled)
		if o.ConsumerOffset > 0 {
			o.LastTimestamp = max(0, p.Queues.StoreTime(topic, q, o.ConsumerOffset-1))
		}
		table[body.MessageQueue{Topic: topic, BrokerName: name, QueueID: q}] = o
	}
}

// 317 GET_BROKER_CONSUME_STATS: 208 for every group, one topic at a time, with the sum of what is behind
// (AdminBrokerProcessor.fetchAllConsumeStatsInBroker). isOrder takes ordered topics only.
func (p *Processor) brokerConsumeStats(r *remoting.Request) {
	var h header.GetBrokerConsumeStatsRequest
	if !decode(r, &h) {
		return
	}
	b := &body.ConsumeStatsList{BrokerAddr: p.Address().Text, ConsumeStatsList: []map[string][]body.ConsumeStats{}}
	for _, group := range p.Groups.Names() {
		var all []body.ConsumeStats
		for _, topic := range p.Offsets.TopicsOf(group) {
			t, ok := p.Topics.Get(topic)
			if !ok || (h.IsOrder && !t.Order) || p.unsubscribed(group, topic) {
				continue
			}
			s := body.ConsumeStats{OffsetTable: make(map[body.MessageQueue]body.OffsetWrapper), ConsumeTps: p.Stats.GetTPS(topic, group)}
			p.addProgress(s.OffsetTable, group, topic, t.WriteQueueNums)
			for _, o := range s.OffsetTable {
				b.TotalDiff += o.BrokerOffset - o.ConsumerOffset
				b.TotalInflight += o.PullOffset - o.ConsumerOffset
			}
			all = append(all, s)
		}
		if len(all) > 0 {
			b.ConsumeStatsList = append(b.ConsumeStatsList, map[string][]body.ConsumeStats{group: all})
		}
	}
	replyJSON(r, b)
}
