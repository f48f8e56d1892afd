package processor

import (
	"fmt"

	"apogee/broker/meta"
	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/store/record"
)

// headerRetryVersion is MQVersion V3_4_9: clients from it on say in the header how often a message may be tried.
const headerRetryVersion = 121

// dlqQueues is the number of queues of a dead letter topic (MixAll.DLQ_NUMS_PER_GROUP).
const dlqQueues = 1

// retry is what a send to a retry topic goes through: after too many attempts, and at once while the group consumes in order, the message
// goes to the group's dead letters instead (SendMessageProcessor.handleRetryAndDLQ).
func (op *sendOp) retry(r *remoting.Request, mayBlock bool) step {
	p, h := op.p, &op.hdr
	name := op.msg.Topic[len(meta.RetryPrefix):]
	group, ok := p.Groups.Get(name)
	if !ok {
		if !mayBlock && p.Groups.Creatable(name) {
			return moveOn
		}
		if group, ok = p.Groups.Ensure(name); !ok {
			op.fail(r, code.SubscriptionGroupNotExist, fmt.Sprintf("subscription group not exist, %s %s", name, faq))
			return ended
		}
	}
	limit := group.RetryMaxTimes
	if r.Version >= headerRetryVersion && h.MaxReconsumeTimes.Valid {
		limit = h.MaxReconsumeTimes.Value
	}
	if op.msg.ReconsumeTimes <= limit && !p.Locks.Held(name) {
		return goOn
	}
	dead := meta.DLQTopic(name)
	topic, ok := p.Topics.Get(dead)
	if !ok {
		if !mayBlock {
			return moveOn
		}
		var err error
		if topic, err = p.deadLetters(dead); topic == nil {
			op.fail(r, code.SystemError, fmt.Sprintf("topic[%s] not exist: %v", dead, err))
			return ended
		}
	}
	// Java clears the level by setting it to -1, which stays in the stored properties.
	op.spare = record.SetProperty(op.spare[:0], viewOf(op.buf), record.PropDelay, "-1")
	op.buf, op.spare = op.spare, op.buf
	op.props.delay = ""
	op.topic, op.name, op.known = topic, topic.TopicName, nil
	op.msg.Topic, op.msg.QueueID = topic.TopicName, 0
	p.Stats.DeadLettered(dead, name)
	return goOn
}

// deadLetters finds or makes a dead letter topic. It may block.
func (p *Processor) deadLetters(name string) (*body.TopicConfig, error) {
	t, err := p.Topics.CreateOnSendBack(name, dlqQueues, body.PermRead|body.PermWrite, false, 0)
	if t != nil && err != nil {
		p.Log.Error("dead letter topic created but not on disk", "topic", name, "err", err)
	}
	return t, err
}
