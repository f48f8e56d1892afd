package processor

import (
	"fmt"

	"apogee/broker/meta"
	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// 011 PULL_MESSAGE and 361 LITE_PULL_MESSAGE: messages of one queue from an offset on, or a wait for them (PullMessageProcessor,
// DefaultPullMessageResultHandler, PullRequestHoldService).
//
// Answers, checked in this order; "16/n" is NO_PERMISSION with forbiddenType n:
//   - 16/1 if the broker is not readable, or lite pull is off; 26 without the group, 16/2 if it may not consume
//   - 17 without the topic, 16/3 if it is not readable, 29 for a queue beyond its read queues
//   - with the subscription in the request: 23 if it is none. Without: 24 if nobody of the group is online, 16/4 broadcasting is not
//     allowed, 16/5 the group may not read the topic, 24 it does not subscribe to it, 25 the broker knows an older version only
//   - for expressions other than tags: 27 if a subscription from a heartbeat did not compile, 28 if it is older than the request; 1 unless
//     enablePropertyFilter; 23 if the one in the request does not compile (Java returns all messages then). 24 where pull consumers are rejected
//   - then the store's word as pullCode says, with the four offsets; the remark is the status by Java's name
//
// A 19 of a request that may be suspended is held back until something comes that its filter wants, or its time is over; it is then
// read once more and answered whatever that gives. Messages are not copied: the answer refers to the mapped log.
//
// Not here: static topics, lite queues, limits on cold data.
func (p *Processor) pull(r *remoting.Request) { p.servePull(r, false) }

// Bits of a pull's sysFlag (PullSysFlag).
const (
	pullCommitOffset = 1
	pullSuspend      = 2
	pullSubscription = 4
)

// Values of forbiddenType (ForbiddenType).
const (
	forbiddenBroker       = "1"
	forbiddenGroup        = "2"
	forbiddenTopic        = "3"
	forbiddenBroadcast    = "4"
	forbiddenSubscription = "5"
)

func (p *Processor) servePull(r *remoting.Request, mayBlock bool) {
	op := p.newPull(r)
	if err := op.hdr.DecodeFields(r.Fields); err != nil && !pullable(r.Fields) {
		op.refuse(code.SystemError, "", err.Error())
		return
	}
	group, ok := p.Groups.Get(op.hdr.ConsumerGroup)
	if !mayBlock && (!ok && p.Groups.Creatable(op.hdr.ConsumerGroup) && p.brokerReadable() || op.compiles()) {
		lane := op.lane()
		op.free()
		r.GoOn(lane, func(r *remoting.Request) { p.servePull(r, true) })
		return
	}
	op.group = group
	if !op.admit() {
		return
	}
	op.settle()
	if p.Reader.Cold(op.topic.TopicName, op.hdr.QueueID, op.hdr.QueueOffset) {
		op.letGo()
		if !op.lane().Submit(op.onLane) {
			op.refuse(code.SystemBusy, "", remarkOverload)
		}
		return
	}
	op.read()
}

func (p *Processor) brokerReadable() bool { return p.cfg().Permission&int(body.PermRead) != 0 }

// pullable tells whether a header that lacks required fields has all that Java really needs.
func pullable(f header.Fields) bool {
	for _, k := range [...]string{"consumerGroup", "topic"} {
		if _, ok := f.Get(k); !ok {
			return false
		}
	}
	return number(f, "queueId", 32) && number(f, "queueOffset", 64) && number(f, "maxMsgNums", 32) && number(f, "sysFlag", 32)
}

// admit goes through the checks. It is gone through again when a held request is woken: what was true at first need not be any more.
func (op *pullOp) admit() bool {
	p, h, cfg := op.p, &op.hdr, op.cfg
	if cfg.Permission&int(body.PermRead) == 0 {
		return op.refuse(code.NoPermission, forbiddenBroker, fmt.Sprintf("the broker[%s] pulling message is forbidden", cfg.IP1))
	}
	if op.lite && !cfg.LitePull {
		return op.refuse(code.NoPermission, forbiddenBroker, fmt.Sprintf("the broker[%s] for lite pull consumer is forbidden", cfg.IP1))
	}
	if op.group == nil {
		var ok bool
		if op.group, ok = p.Groups.Ensure(h.ConsumerGroup); !ok {
			return op.refuse(code.SubscriptionGroupNotExist, "", fmt.Sprintf("subscription group [%s] does not exist, %s", h.ConsumerGroup, faq))
		}
	}
	if !op.group.ConsumeEnable {
		return op.refuse(code.NoPermission, forbiddenGroup, "subscription group no permission, "+h.ConsumerGroup)
	}
	topic, ok := p.Topics.Get(h.Topic)
	if !ok {
		return op.refuse(code.TopicNotExist, "", fmt.Sprintf("topic[%s] not exist, apply first please! %s", h.Topic, faq))
	}
	op.topic = topic
	if topic.Perm&body.PermRead == 0 {
		return op.refuse(code.NoPermission, forbiddenTopic, fmt.Sprintf("the topic[%s] pulling message is forbidden", h.Topic))
	}
	if h.QueueID < 0 || h.QueueID >= topic.ReadQueueNums {
		return op.refuse(code.InvalidParameter, "", fmt.Sprintf("queueId[%d] is illegal, topic:[%s] topicConfig.readQueueNums:[%d] consumer:[/%s]",
			h.QueueID, h.Topic, topic.ReadQueueNums, remoteText(op.conn)))
	}
	if !op.subscribe() {
		return false
	}
	op.findListener()
	if cfg.RejectPull && !meta.MayPull(op.group.GroupName) {
		g := p.Consumers.Group(h.ConsumerGroup)
		if g == nil || g.ConsumeType == body.ConsumeActively && !p.Consumers.Has(h.ConsumerGroup, op.conn) {
			return op.refuse(code.SubscriptionNotExist, "", "the consumer's group info not exist, or the pull consumer is rejected by server."+faq)
		}
	}
	return true
}

// subscribe finds what the request wants of its queue.
func (op *pullOp) subscribe() bool {
	p, h := op.p, &op.hdr
	if h.SysFlag&pullSubscription != 0 {
		if op.settled { // the filter was made the first time; its expression has gone with the frame
			return true
		}
		return op.subscribeByRequest()
	}
	g := p.Consumers.Group(h.ConsumerGroup)
	switch {
	case g == nil:
		return op.refuse(code.SubscriptionNotExist, "", "the consumer's group info not exist"+faq)
	case !op.group.ConsumeBroadcastEnable && g.Model == body.Broadcasting:
		return op.refuse(code.NoPermission, forbiddenBroadcast, fmt.Sprintf("the consumer group[%s] can not consume by broadcast way", h.ConsumerGroup))
	case !p.Groups.Readable(h.ConsumerGroup, h.Topic):
		return op.refuse(code.NoPermission, forbiddenSubscription, fmt.Sprintf("the consumer group[%s] is forbidden for topic[%s]", h.ConsumerGroup, h.Topic))
	}
	sub := g.Subscriptions[h.Topic]
	switch {
	case sub == nil:
		return op.refuse(code.SubscriptionNotExist, "", "the consumer's subscription not exist"+faq)
	case sub.SubVersion < h.SubVersion:
		return op.refuse(code.SubscriptionNotLatest, "", "the consumer's subscription not latest")
	case !body.IsTagType(sub.ExpressionType):
		return op.subscribeByFilter(sub)
	}
	if sub.ClassFilterMode {
		op.get.Filter = nil
	} else {
		op.get.Filter = p.filters.filter(sub.SubString)
	}
	return true
}

// subscribeByRequest takes the expression that came with the request.
func (op *pullOp) subscribeByRequest() bool {
	h := &op.hdr
	if body.IsTagType(h.ExpressionType) || h.Subscription != "" {
		op.p.Consumers.Note(h.ConsumerGroup, h.Topic, h.ExpressionType, h.Subscription, nil)
	}
	switch {
	case body.IsTagType(h.ExpressionType):
		op.get.Filter = op.p.filters.filter(h.Subscription)
		return true
	case h.Subscription == "":
		return op.refuse(code.SubscriptionParseFailed, "", remarkParse)
	case !op.cfg.PropertyFilter:
		return op.refuse(code.SystemError, "", remarkNoFilter+h.ExpressionType)
	}
	f, err := op.p.messageFilter(h.ExpressionType, h.Subscription)
	if err != nil {
		op.p.Log.Warn("subscription of a pull refused", "group", h.ConsumerGroup, "topic", h.Topic, "err", err)
		return op.refuse(code.SubscriptionParseFailed, "", remarkParse)
	}
	if retried := op.p.retriedFilter(h.Topic); retried != nil {
		f = retried
	}
	op.get.Filter = f
	return true
}

// subscribeByFilter takes the expression that came with a heartbeat.
func (op *pullOp) subscribeByFilter(sub *body.SubscriptionData) bool {
	h := &op.hdr
	f := op.p.Filters.Get(h.Topic, h.ConsumerGroup)
	switch {
	case f == nil:
		return op.refuse(code.FilterDataNotExist, "", "The broker's consumer filter data is not exist!Your expression may be wrong!")
	case f.Data.ClientVersion < h.SubVersion:
		return op.refuse(code.FilterDataNotLatest, "", "the consumer's consumer filter data not latest")
	case !op.cfg.PropertyFilter:
		return op.refuse(code.SystemError, "", remarkNoFilter+sub.ExpressionType)
	}
	switch retried := op.p.retriedFilter(h.Topic); {
	case sub.ClassFilterMode:
		op.get.Filter = nil
	case retried != nil:
		op.get.Filter = retried
	default:
		op.get.Filter = f
	}
	return true
}

// compiles tells whether an expression has to be compiled, which takes too long for the event loop.
func (op *pullOp) compiles() bool {
	h := &op.hdr
	return h.SysFlag&pullSubscription != 0 && op.cfg.PropertyFilter && op.p.compiles(h.ExpressionType, h.Subscription)
}
