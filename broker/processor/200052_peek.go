package processor

import (
	"fmt"
	"math"
	"math/rand/v2"

	"apogee/broker/pop"
	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store"
)

// 200052 PEEK_MESSAGE: the messages that a pop would find, which stay as they are (PeekMessageProcessor).
//
// Answers, checked in this order: 16 if the broker is not readable, 17 without the topic, 16 if it is not readable, 29 for a queue beyond
// its read queues, 26 without the group, 16 if it may not consume; 0 with messages; 19 without. Of the header only restNum is filled.
//
// One out of five looks into the group's retry topic first, the others last and if there is room. Messages are not copied.
func (p *Processor) peekMessage(r *remoting.Request) {
	var h header.PeekMessageRequest
	if !decode(r, &h) {
		return
	}
	topic, ok := p.peekable(r, h.Topic, h.ConsumerGroup, h.QueueID)
	if !ok {
		return
	}
	k := &peek{p: p, group: h.ConsumerGroup, most: h.MaxMsgNums}
	luck := rand.IntN(100)
	retry, _ := p.Topics.Get(pop.RetryTopic(topic.TopicName, h.ConsumerGroup, p.cfg().RetryTopicV2))
	first := luck%5 == 0
	if first {
		k.all(retry, luck)
	}
	if h.QueueID < 0 {
		k.all(topic, luck)
	} else {
		k.one(topic.TopicName, h.QueueID)
	}
	if !first && k.count < k.most {
		k.all(retry, luck)
	}
	answer := &header.PopMessageResponse{RestNum: k.rest}
	if k.count == 0 {
		k.release()
		r.Reply(&remoting.Reply{Code: code.PullNotFound, Remark: store.NoMessageInQueue.String(), Header: answer})
		return
	}
	p.Stats.Got(topic.TopicName, h.ConsumerGroup, int64(k.count), k.bytes)
	r.Reply(&remoting.Reply{Remark: store.Found.String(), Header: answer, Regions: k.regions, Release: k.release})
}

// peekable goes through the checks that peeks, notifications and polling infos share.
func (p *Processor) peekable(r *remoting.Request, name, group string, queue int32) (*body.TopicConfig, bool) {
	if !p.brokerReadable() {
		r.Fail(code.NoPermission, "the broker[%s] peeking message is forbidden", p.cfg().IP1)
		return nil, false
	}
	topic, ok := p.Topics.Get(name)
	if !ok {
		r.Fail(code.TopicNotExist, "topic[%s] not exist, apply first please! %s", name, faq)
		return nil, false
	}
	if topic.Perm&body.PermRead == 0 {
		r.Fail(code.NoPermission, "the topic[%s] peeking message is forbidden", name)
		return nil, false
	}
	if queue >= topic.ReadQueueNums {
		r.Fail(code.InvalidParameter, "%s", illegalQueue(r.Conn(), topic, queue))
		return nil, false
	}
	g, ok := p.Groups.Ensure(group)
	if !ok {
		r.Fail(code.SubscriptionGroupNotExist, "subscription group [%s] does not exist, %s", group, faq)
		return nil, false
	}
	if !g.ConsumeEnable {
		r.Fail(code.NoPermission, "subscription group no permission, %s", group)
		return nil, false
	}
	return topic, true
}

func illegalQueue(conn *remoting.Conn, topic *body.TopicConfig, queue int32) string {
	return fmt.Sprintf("queueId[%d] is illegal, topic:[%s] topicConfig.readQueueNums:[%d] consumer:[/%s]",
		queue, topic.TopicName, topic.ReadQueueNums, remoteText(conn))
}

// peek collects what is found.
type peek struct {
	p     *Processor
	group string
	most  int32

	count   int32
	bytes   int64
	rest    int64
	regions [][]byte
	results []*store.GetResult
}

// all looks into all queues of a topic, nil for one that is not there, from any on.
func (k *peek) all(topic *body.TopicConfig, luck int) {
	if topic == nil {
		return
	}
	for i := range topic.ReadQueueNums {
		k.one(topic.TopicName, (int32(luck)+i)%topic.ReadQueueNums)
	}
}

func (k *peek) one(topic string, queue int32) {
	off := k.p.Pop.Offset(pop.Key{Topic: topic, Group: k.group, Queue: queue}, true)
	k.rest += k.p.Queues.MaxOffset(topic, queue) - off
	if k.count >= k.most {
		return
	}
	res := new(store.GetResult)
	req := store.GetRequest{Topic: topic, QueueID: queue, Offset: off, MaxCount: k.most - k.count, MaxBytes: math.MaxInt32}
	k.p.Reader.Get(&req, res)
	if res.Status == store.OffsetTooSmall || res.Status == store.OffsetOverflowBadly {
		req.Offset = res.Next
		k.p.Reader.Get(&req, res)
	}
	if res.Status != store.Found {
		res.Release()
		return
	}
	res.Load()
	k.results = append(k.results, res)
	k.regions = append(k.regions, res.Regions...)
	k.count += int32(res.Count)
	k.bytes += int64(res.Bytes)
}

func (k *peek) release() {
	for _, res := range k.results {
		res.Release()
	}
}
