package processor

import (
	"math/rand/v2"
	"strings"

	"apogee/broker/config"
	"apogee/broker/hold"
	"apogee/broker/pop"
	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store"
)

// 200054 NOTIFICATION: tells a proxy that there is something to pop, once there is (NotificationProcessor; spec: remoting.md 7.5).
//
// The checks are those of 200052, then 23 for an expression that is none. Else 0: hasMsg if a queue, or a retry topic's, has messages that
// were not popped; with order, of a queue that is not blocked. If not, the request waits like a pop, and is answered when something has come
// or its time is over; pollingFull says that it could not wait. With useMessageFilterForNotification and a tag expression a queue with
// few messages left counts only if one of them has such a tag; another expression is only looked at when a message comes.
func (p *Processor) notification(r *remoting.Request) {
	op := &noticeOp{p: p, cfg: p.cfg(), replier: r.Replier(), conn: r.Conn()}
	if !decode(r, &op.hdr) {
		return
	}
	h := &op.hdr
	topic, ok := p.peekable(r, h.Topic, h.ConsumerGroup, h.QueueID)
	if !ok {
		return
	}
	if h.BornTime == 0 {
		h.BornTime = p.Now().UnixMilli()
	}
	if op.cfg.NotifyFilter && h.ExpType != "" && h.Exp != "" {
		f, err := p.messageFilter(h.ExpType, h.Exp)
		if err != nil {
			p.Log.Warn("subscription of a notification refused", "group", strings.Clone(h.ConsumerGroup), "topic", topic.TopicName, "err", err)
			r.Fail(code.SubscriptionParseFailed, "%s", remarkParse)
			return
		}
		op.filter, op.byTag = f, body.IsTagType(h.ExpType)
	}
	op.topic = topic
	op.letGo()
	op.look()
}

// noticeOp is one notification request, from its arrival until its answer.
type noticeOp struct {
	wait    pop.Wait
	p       *Processor
	cfg     *config.Broker
	replier remoting.Replier
	conn    *remoting.Conn
	hdr     header.NotificationRequest
	topic   *body.TopicConfig
	filter  store.Filter
	byTag   bool // the filter is one of tags
	last    bool // it does not wait any more
	ends    []queueEnd
	out     *remoting.Batch
}

// letGo replaces what aliases the frame.
func (op *noticeOp) letGo() {
	h := &op.hdr
	h.Topic, h.ConsumerGroup, h.AttemptID = op.topic.TopicName, strings.Clone(h.ConsumerGroup), strings.Clone(h.AttemptID)
	h.ExpType, h.Exp = "", ""
}

// look answers, or waits. It may read queue entries from the disk, so it is not for an event loop.
func (op *noticeOp) look() {
	defer op.p.answerPanic(op.replier)
	const looks = 3 // a producer that is always faster gets its answer by and by
	for range looks {
		if op.hasMessages() {
			op.say(header.NotificationResponse{HasMsg: true})
			return
		}
		switch op.park() {
		case pop.Parked: // from here on the op may be gone
			return
		case pop.Full:
			op.say(header.NotificationResponse{PollingFull: true})
			return
		case pop.TooLate:
			op.say(header.NotificationResponse{})
			return
		case pop.Ready:
		}
	}
	op.say(header.NotificationResponse{HasMsg: true})
}

func (op *noticeOp) park() pop.Outcome {
	h := &op.hdr
	if h.PollTime <= 0 || op.last {
		return pop.TooLate
	}
	op.wait.Waiter, op.wait.Conn = op, op.conn
	op.wait.Key = pop.Key{Topic: h.Topic, Group: h.ConsumerGroup, Queue: max(h.QueueID, -1)}
	op.wait.Until = h.BornTime + h.PollTime
	return op.p.Notices.Park(&op.wait)
}

func (op *noticeOp) say(answer header.NotificationResponse) {
	reply := &remoting.Reply{Header: &answer}
	if op.out != nil {
		op.out.Reply(op.replier, reply)
		return
	}
	op.replier.Reply(reply)
}

// hasMessages looks into the topic's queues, then into the group's retry topics.
func (op *noticeOp) hasMessages() bool {
	h := &op.hdr
	op.ends = op.ends[:0]
	luck := rand.Int32N(100)
	var tags store.Filter
	if op.byTag {
		tags = op.filter
	}
	if h.QueueID >= 0 {
		if op.inQueue(h.Topic, h.QueueID, tags) {
			return true
		}
	} else if op.inTopic(op.topic, luck, tags) {
		return true
	}
	if h.Order { // ordered pops do not read retry topics
		return false
	}
	c := op.cfg
	if t, ok := op.p.Topics.Get(pop.RetryTopic(h.Topic, h.ConsumerGroup, c.RetryTopicV2)); ok && op.inTopic(t, luck, nil) {
		return true
	}
	if c.RetryTopicV2 && c.RetryTopicV1Read {
		t, ok := op.p.Topics.Get(pop.RetryTopicV1(h.Topic, h.ConsumerGroup))
		return ok && op.inTopic(t, luck, nil)
	}
	return false
}

func (op *noticeOp) inTopic(topic *body.TopicConfig, luck int32, f store.Filter) bool {
	for i := range topic.ReadQueueNums {
		if op.inQueue(topic.TopicName, (luck+i)%topic.ReadQueueNums, f) {
			return true
		}
	}
	return false
}

func (op *noticeOp) inQueue(topic string, queue int32, f store.Filter) bool {
	k := pop.Key{Topic: topic, Group: op.hdr.ConsumerGroup, Queue: queue}
	end := op.p.Queues.MaxOffset(topic, queue)
	blocked := op.blocked(k)
	op.ends = append(op.ends, queueEnd{topic: topic, queue: queue, max: end, blocked: blocked})
	if blocked {
		return false
	}
	off := op.p.Pop.Offset(k, true)
	rest := end - off
	if f == nil || rest >= int64(op.cfg.NotifyFilterMax) {
		return rest > 0
	}
	if rest <= 0 {
		return false
	}
	var res store.GetResult
	op.p.Reader.Get(&store.GetRequest{Topic: topic, QueueID: queue, Offset: off, MaxCount: 1, MaxBytes: 1, Filter: f}, &res)
	defer res.Release()
	return res.Status == store.Found
}

func (op *noticeOp) blocked(k pop.Key) bool {
	return op.hdr.Order && op.p.Pop.Orders.Blocked(k, op.hdr.AttemptID, 0, op.p.Now().UnixMilli())
}

// Ready, Wants and Wake make an op a [pop.Waiter].
func (op *noticeOp) Ready() bool {
	for i := range op.ends {
		e := &op.ends[i]
		if op.p.Queues.MaxOffset(e.topic, e.queue) > e.max {
			return true
		}
		if e.blocked && !op.blocked(pop.Key{Topic: e.topic, Group: op.hdr.ConsumerGroup, Queue: e.queue}) {
			return true
		}
	}
	return false
}

// Wants looks at an arrival. An expression of properties cannot tell without the record, and then it is worth a look.
func (op *noticeOp) Wants(a *store.Arrival) bool {
	f := op.filter
	return f == nil || f.MatchTags(a.TagsCode) && (a.Record == nil || f.MatchRecord(a.Record))
}

// Wake looks once more, in a lane where that may need the disk.
func (op *noticeOp) Wake(why hold.Reason, out *remoting.Batch) {
	if why == hold.Gone {
		return
	}
	op.last, op.cfg = why != hold.Arrived, op.p.cfg()
	if op.filter == nil {
		op.out = out
		op.look()
		return
	}
	op.out = nil
	if !op.p.Lanes.Pull.Submit(op.look) {
		op.replier.Reply(&remoting.Reply{Code: code.SystemBusy, Remark: remarkOverload})
	}
}
