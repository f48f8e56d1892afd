package processor

import (
	"fmt"
	"strings"

	"apogee/broker/pop"
	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/code"
)

// 200050 POP_MESSAGE: messages of any queue of a topic, invisible for others until they are acknowledged or their time is over
// (PopMessageProcessor; spec: behaviour.md 8, remoting.md 7).
//
// Answers, checked in this order:
//   - 210 if bornTime and pollTime have passed by more than 500 ms, 16 if the broker is not readable, 29 for more than 32 messages, 1 without
//     the timer
//   - 17 without the topic, 16 if it is not readable, 29 for a queue beyond its read queues, 26 without the group, 16 if it may not consume
//   - 23 for an expression that is none
//   - 0 with messages, and where each queue's batch begins; 210 without any, when nothing came in time; 209 if no more pops can wait
//
// One pop out of five (popFromRetryProbability) looks into the group's retry topic first, the others last and if there is room. A queue
// that somebody else is popping from is left out. Messages are not copied: the answer refers to the mapped log, but for those of retry
// topics, which get the name of the topic that was asked for and their receipt.
func (p *Processor) popMessage(r *remoting.Request) { p.servePop(r, false) }

// lateAllowance is how much later than its waiting time a pop may come.
const lateAllowance = 500

func (p *Processor) servePop(r *remoting.Request, mayBlock bool) {
	op := p.newPop(r)
	if err := op.hdr.DecodeFields(r.Fields); err != nil {
		op.refuse(code.SystemError, err.Error())
		return
	}
	if op.hdr.BornTime == 0 {
		op.hdr.BornTime = p.Now().UnixMilli()
	}
	group, ok := p.Groups.Get(op.hdr.ConsumerGroup)
	if !mayBlock && (!p.cfg().Master() || !ok && p.Groups.Creatable(op.hdr.ConsumerGroup) && p.brokerReadable() || op.hdr.Exp != "" && p.compiles(op.hdr.ExpType, op.hdr.Exp)) {
		op.free()
		r.GoOn(p.Lanes.Pull, func(r *remoting.Request) { p.servePop(r, true) })
		return
	}
	op.group = group
	if op.admit() {
		op.request = r
		op.run()
	}
}

// admit goes through the checks, again when a pop that waited is woken.
func (op *popOp) admit() bool {
	p, h, cfg := op.p, &op.hdr, op.cfg
	switch {
	case p.Now().UnixMilli()-h.BornTime-h.PollTime > lateAllowance && !op.waited:
		return op.refuse(code.PollingTimeout, fmt.Sprintf("the broker[%s] pop message is timeout too much", cfg.IP1))
	case cfg.Permission&int(body.PermRead) == 0:
		return op.refuse(code.NoPermission, fmt.Sprintf("the broker[%s] pop message is forbidden", cfg.IP1))
	case h.MaxMsgNums > pop.MaxBatch:
		return op.refuse(code.InvalidParameter, fmt.Sprintf("the broker[%s] pop message's num is greater than 32", cfg.IP1))
	case !cfg.TimerWheel:
		return op.refuse(code.SystemError, fmt.Sprintf("the broker[%s] pop message is forbidden because timerWheelEnable is false", cfg.IP1))
	}
	topic, ok := p.Topics.Get(h.Topic)
	if !ok {
		return op.refuse(code.TopicNotExist, fmt.Sprintf("topic[%s] not exist, apply first please! %s", h.Topic, faq))
	}
	op.topic = topic
	if topic.Perm&body.PermRead == 0 {
		return op.refuse(code.NoPermission, fmt.Sprintf("the topic[%s] peeking message is forbidden", h.Topic))
	}
	if h.QueueID >= topic.ReadQueueNums {
		return op.refuse(code.InvalidParameter, fmt.Sprintf("queueId[%d] is illegal, topic:[%s] topicConfig.readQueueNums:[%d] consumer:[/%s]",
			h.QueueID, h.Topic, topic.ReadQueueNums, remoteText(op.conn)))
	}
	if op.group == nil {
		if op.group, ok = p.Groups.Ensure(h.ConsumerGroup); !ok {
			return op.refuse(code.SubscriptionGroupNotExist, fmt.Sprintf("subscription group [%s] does not exist, %s", h.ConsumerGroup, faq))
		}
	}
	if !op.group.ConsumeEnable {
		return op.refuse(code.NoPermission, "subscription group no permission, "+h.ConsumerGroup)
	}
	return op.waited || op.subscribe()
}

// subscribe makes the filter. It is made once: its expression is in the frame. Messages of retry topics are filtered as they were the
// first time.
func (op *popOp) subscribe() bool {
	h := &op.hdr
	retry := func() string { return pop.RetryTopic(h.Topic, h.ConsumerGroup, op.cfg.RetryTopicV2) }
	op.p.Consumers.Note(op.group.GroupName, op.topic.TopicName, h.ExpType, h.Exp, retry)
	if h.Exp == "" {
		return true
	}
	f, err := op.p.messageFilter(h.ExpType, h.Exp)
	if err != nil {
		op.p.Log.Warn("subscription of a pop refused", "group", h.ConsumerGroup, "topic", h.Topic, "err", err)
		return op.refuse(code.SubscriptionParseFailed, remarkParse)
	}
	op.filter = f
	return true
}

// letGo replaces what aliases the frame by what does not, for an op that outlives its handler, or whoever woke it: the batch of answers is
// theirs, too, and has left when this one comes.
func (op *popOp) letGo() {
	op.request, op.out = nil, nil
	h := &op.hdr
	h.ConsumerGroup, h.Topic = op.group.GroupName, op.topic.TopicName
	h.Exp, h.ExpType = "", ""
	if !op.waited {
		h.AttemptID = strings.Clone(h.AttemptID)
	}
}
