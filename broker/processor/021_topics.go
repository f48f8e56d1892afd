package processor

import (
	"strings"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// 021 GET_ALL_TOPIC_CONFIG: the table of topics, for mqadmin and for slaves (AdminBrokerProcessor.getAllTopicConfig).
//
// Behavior:
//   - without a header, or with enableSplitMetadata=false, the whole table
//   - else a page of at most maxTopicNum (and splitMetadataSize; one more if it is the last) topics from topicSeq on, in the order of names; a page asked for with another
//     data version than the present one starts over at 0, because the caller would mix two tables
//   - totalTopicNum with every answer; the caller asks until it has that many
func (p *Processor) allTopics(r *remoting.Request) {
	c := p.cfg()
	all := p.Topics.All()
	w := &body.TopicConfigAndMappingSerializeWrapper{TopicConfigTable: all, DataVersion: p.Topics.Version()}
	w.MappingDataVersion = &body.DataVersion{}
	if len(r.Fields) > 0 && c.SplitMetadata {
		var h header.GetAllTopicConfigRequest
		_ = h.DecodeFields(r.Fields) // topicSeq may be missing: 0
		from, to := page(h.TopicSeq, h.MaxTopicNum, c.SplitMetadataSize, len(all), h.DataVersion, w.DataVersion)
		w.TopicConfigTable = make(map[string]*body.TopicConfig, to-from)
		for _, name := range p.Topics.Names()[from:to] {
			w.TopicConfigTable[name] = all[name]
		}
	}
	r.Reply(&remoting.Reply{
		Header: &header.GetAllTopicConfigResponse{TotalTopicNum: header.Some(int32(len(all)))},
		Body:   fastjson.Marshal(w),
	})
}

// page cuts a table of total entries. version is the caller's, as JSON text.
func page(seq int32, wanted header.Opt[int32], limit, total int, version string, present body.DataVersion) (from, to int) {
	if limit <= 0 {
		limit = total // pages of nothing would never end
	}
	n := int(wanted.Or(int32(limit)))
	if n <= 0 || n > limit {
		n = limit
	}
	from = int(seq)
	var theirs body.DataVersion
	if from != 0 && (version == "" || fastjson.Unmarshal([]byte(version), &theirs) != nil || theirs != present) {
		from = 0
	}
	from = min(max(from, 0), total)
	to = min(from+n, total)
	if total-to == 1 && to > 1 {
		to = total // Java's slaves take a table for whole that lacks one entry, and delete that one
	}
	return from, to
}

// 351 GET_TOPIC_CONFIG: one topic (AdminBrokerProcessor.getTopicConfig). 17 if there is none. Static topics' mapping is not there yet.
func (p *Processor) topicConfig(r *remoting.Request) {
	var h header.GetTopicConfigRequest
	if !decode(r, &h) {
		return
	}
	t, ok := p.Topics.Get(h.Topic)
	if !ok {
		r.Fail(code.TopicNotExist, "No topic in this broker. topic: %s", h.Topic)
		return
	}
	replyJSON(r, &body.TopicConfigAndQueueMapping{TopicConfig: *t})
}

// 305 GET_SYSTEM_TOPIC_LIST_FROM_BROKER: the reserved names (AdminBrokerProcessor.getSystemTopicListFromBroker).
func (p *Processor) systemTopics(r *remoting.Request) {
	replyJSON(r, &body.TopicList{TopicList: p.Topics.SystemNames()})
}

// 300 QUERY_TOPIC_CONSUME_BY_WHO: groups that subscribe to a topic now or have committed offsets in it
// (AdminBrokerProcessor.queryTopicConsumeByWho). Always 0.
func (p *Processor) topicConsumers(r *remoting.Request) {
	var h header.QueryTopicConsumeByWhoRequest
	if !decode(r, &h) {
		return
	}
	groups := append(p.Consumers.GroupsOf(h.Topic), p.Offsets.GroupsOf(h.Topic)...)
	replyJSON(r, &body.GroupList{GroupList: unique(groups)})
}

// 343 QUERY_TOPICS_BY_CONSUMER: topics in which a group has committed offsets (AdminBrokerProcessor.queryTopicsByConsumer). Always 0.
func (p *Processor) topicsOfGroup(r *remoting.Request) {
	var h header.QueryTopicsByConsumerRequest
	if !decode(r, &h) {
		return
	}
	replyJSON(r, &body.TopicList{TopicList: unique(p.Offsets.TopicsOf(h.Group))})
}

// 345 QUERY_SUBSCRIPTION_BY_CONSUMER: what a group subscribes to in a topic, by its heartbeats or else by what it pulls and pops
// (AdminBrokerProcessor.querySubscriptionByConsumer). Always 0; without subscriptionData if it does not.
func (p *Processor) subscriptionOfGroup(r *remoting.Request) {
	var h header.QuerySubscriptionByConsumerRequest
	if !decode(r, &h) {
		return
	}
	replyJSON(r, &body.QuerySubscriptionResponseBody{Group: h.Group, Topic: h.Topic, SubscriptionData: p.Consumers.Subscription(h.Group, h.Topic)})
}

// 316 CLEAN_UNUSED_TOPIC: queues of topics that have no configuration go (AdminBrokerProcessor.cleanUnusedTopic). Those of
// retries, dead letters and the broker itself stay.
func (p *Processor) cleanUnused(r *remoting.Request) {
	var doomed []string
	for topic := range p.Upkeep.Queues() {
		_, known := p.Topics.Get(topic)
		if !known && !p.Topics.IsSystem(topic) && !strings.HasPrefix(topic, "%") {
			doomed = append(doomed, topic)
		}
	}
	p.Log.Info("queues without a topic removed by operator", "topic", strings.Join(doomed, ";"), "addr", r.Conn().RemoteText())
	replyDone(r, p.Upkeep.DeleteTopics(doomed...))
}

// 306 CLEAN_EXPIRED_CONSUMEQUEUE: queues whose messages are all gone from the log go (AdminBrokerProcessor.cleanExpiredConsumeQueue).
func (p *Processor) cleanQueues(r *remoting.Request) {
	p.Log.Info("expired queues removed by operator", "addr", r.Conn().RemoteText())
	replyDone(r, p.Upkeep.CleanExpiredQueues(p.Topics.IsSystem))
}

// 329 DELETE_EXPIRED_COMMITLOG: retention now instead of at deleteWhen (AdminBrokerProcessor.deleteExpiredCommitLog).
func (p *Processor) deleteExpired(r *remoting.Request) {
	p.Log.Info("expired log files removed by operator", "addr", r.Conn().RemoteText())
	replyDone(r, p.Upkeep.DeleteExpired())
}
