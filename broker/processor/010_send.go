package processor

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"apogee/broker/delay"
	"apogee/broker/meta"
	"apogee/broker/timer"
	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store"
	"apogee/store/record"
)

// 010 SEND_MESSAGE, 310 SEND_MESSAGE_V2 (the same with one-letter names) and 320 SEND_BATCH_MESSAGE: store what a producer sends
// (SendMessageProcessor, AbstractSendMessageProcessor; HookUtils for what happens at the put).
//
// Answers, checked in this order:
//   - 1 before startAcceptSendRequestTimeStamp
//   - 16 if the broker is not writeable and the topic is ordered, 29 for a name that is none, 16 for topics that only the broker writes
//   - 17 if the topic is missing and cannot be made after the model of the header's default topic, 1 if it is new and cannot be written
//   - 29 for a queue beyond both queue numbers; a negative one means any. The topic's own write permission is not looked at, as in Java:
//     producers learn it from the route
//   - to a retry topic: 26 without the group; into the dead letters after too many attempts, or while the group holds queue locks
//   - 13 for a compacted topic without KEYS, 16 for half messages if rejectTransactionMessage says so
//   - a message that asks for a delivery time: see schedule.go
//   - then the store's word: 0, 10, 11, 12 with the header; 13, 14, 2, 1 without
//
// Every answer carries MSG_REGION and TRACE_ON. A one-way send is stored and not answered, and waits for no flush.
//
// A half message goes to the half topic and waits there for its end (037).
//
// Not here yet: static topics.
func (p *Processor) send(r *remoting.Request) { p.serveSend(r, false) }

// serveSend works a send. On the event loop it must not block: where it would, it goes on in the lane with a copy of the request.
func (p *Processor) serveSend(r *remoting.Request, mayBlock bool) {
	op := p.newSend(r)
	if err := op.hdr.DecodeFields(r.Fields); err != nil && !sendable(r.Fields) {
		op.fail(r, code.SystemError, err.Error())
		return
	}
	step := op.admit(r, mayBlock)
	if step == goOn {
		step = op.prepare(r, mayBlock)
	}
	switch step {
	case goOn:
		op.put(r)
	case moveOn:
		op.release()
		r.GoOn(p.Lanes.Send, func(r *remoting.Request) { p.serveSend(r, true) })
	}
}

// step is what comes after a part of the work.
type step uint8

const (
	goOn   step = iota
	ended       // answered
	moveOn      // has to block: go on in a lane
)

// sendable tells whether a header that lacks required fields has all that Java really needs.
func sendable(f header.Fields) bool {
	_, long := f.Get("topic")
	_, short := f.Get("b")
	return (long || short) && (number(f, "queueId", 32) || number(f, "e", 32)) && (number(f, "sysFlag", 32) || number(f, "f", 32)) &&
		(number(f, "bornTimestamp", 64) || number(f, "g", 64)) && (number(f, "flag", 32) || number(f, "h", 32))
}

// admit checks the broker, the topic and the queue (preSend, msgCheck).
func (op *sendOp) admit(r *remoting.Request, mayBlock bool) step {
	p, cfg, h := op.p, op.view.cfg, &op.hdr
	if cfg.StartAcceptSend > 0 {
		if ms := cfg.StartAcceptSend; p.Now().UnixMilli() < ms {
			op.fail(r, code.SystemError, "broker unable to service, until "+javaTime(time.UnixMilli(ms)))
			return ended
		}
	}
	if cfg.Permission&int(body.PermWrite) == 0 && p.Topics.Order(h.Topic) {
		op.fail(r, code.NoPermission, fmt.Sprintf("the broker[%s] sending message is forbidden", cfg.IP1))
		return ended
	}
	name, known, topic := p.Topics.Lookup(h.Topic)
	op.topic, op.name, op.known = topic, name, known
	op.plain = false
	if known != nil && topic != nil {
		n := known.Plain()
		op.plain = n > 0 && h.QueueID < n // a negative queue is any of them, if there are any
	}
	if op.plain { // the usual one: its configuration is not even looked at
		known.Fetch(h.QueueID)
		return goOn
	}
	return op.admitOther(r, mayBlock)
}

// admitOther is admit for what is not as usual.
func (op *sendOp) admitOther(r *remoting.Request, mayBlock bool) step {
	h, topic := &op.hdr, op.topic
	if h.Topic == "" || h.Topic != op.admitted {
		if wrong := meta.ValidateTopic(h.Topic); wrong != "" {
			op.fail(r, code.InvalidParameter, wrong)
			return ended
		}
		if !meta.SendAllowed(h.Topic) {
			op.fail(r, code.NoPermission, fmt.Sprintf("Sending message to topic[%s] is forbidden.", h.Topic))
			return ended
		}
	}
	if topic == nil {
		if !mayBlock {
			return moveOn
		}
		if topic = op.create(r); topic == nil {
			return ended
		}
		op.topic = topic
		_, op.known, _ = op.p.Topics.Lookup(h.Topic)
	}
	if s := op.saved(r, mayBlock); s != goOn {
		return s
	}
	if h.QueueID >= max(topic.ReadQueueNums, topic.WriteQueueNums) {
		op.fail(r, code.InvalidParameter, fmt.Sprintf("request queueId[%d] is illegal, %s Producer: %s", h.QueueID, topicText(topic), remoteText(r.Conn())))
		return ended
	}
	if op.name = topic.TopicName; op.name == h.Topic {
		op.admitted = topic.TopicName // and not h.Topic, which lies in the frame
	} else {
		op.known = nil // it is of the name in the table
	}
	return goOn
}

// saved waits until a new topic is on disk: a message that is acknowledged has a topic, whatever happens to the power. Later sends find a
// plain topic and do not come here.
func (op *sendOp) saved(r *remoting.Request, mayBlock bool) step {
	switch {
	case op.known == nil || !op.known.New():
		return goOn
	case !mayBlock:
		return moveOn
	}
	if err := op.p.Topics.Saved(op.topic); err != nil {
		op.fail(r, code.SystemError, fmt.Sprintf("topic[%s] is not on disk: %v", op.topic.TopicName, err))
		return ended
	}
	return goOn
}

// create makes the topic of a send, or answers that it cannot.
func (op *sendOp) create(r *remoting.Request) *body.TopicConfig {
	p, h := op.p, &op.hdr
	retry := strings.HasPrefix(h.Topic, meta.RetryPrefix)
	var sys int32
	if h.UnitMode.Or(false) {
		sys = sysUnit
		if retry {
			sys = sysUnitSub
		}
	}
	if t, ok := p.Topics.CreateOnSend(h.Topic, h.DefaultTopic, h.DefaultTopicQueueNums, sys, remoteText(r.Conn())); ok {
		return t
	}
	if retry {
		t, err := p.Topics.CreateOnSendBack(h.Topic, 1, body.PermRead|body.PermWrite, false, sys)
		if err != nil {
			p.Log.Error("retry topic created but not on disk", "topic", h.Topic, "err", err)
		}
		if t != nil {
			return t
		}
	}
	op.fail(r, code.TopicNotExist, fmt.Sprintf("topic[%s] not exist, apply first please!%s", h.Topic, faq))
	return nil
}

// Bits of a topic's sysFlag.
const (
	sysUnit    = 1
	sysUnitSub = 2
)

// prepare turns the request into the record that is stored.
func (op *sendOp) prepare(r *remoting.Request, mayBlock bool) step {
	p, h, m := op.p, &op.hdr, &op.msg
	op.batch = h.Batch.Or(false) // the code says nothing of it, not even 320
	if len(r.Body) == 0 {
		op.fail(r, code.SystemError, "the message has no body")
		return ended
	}
	op.queue = h.QueueID
	if op.queue < 0 {
		if op.topic.WriteQueueNums <= 0 {
			op.fail(r, code.SystemError, fmt.Sprintf("topic[%s] has no queue to write to", op.topic.TopicName))
			return ended
		}
		op.queue = rand.Int32N(op.topic.WriteQueueNums)
	}
	*m = record.Message{
		Topic: op.name, QueueID: op.queue, Flag: h.Flag, SysFlag: h.SysFlag, BornTimestamp: h.BornTimestamp,
		BornHost: remoteAddr(r), StoreHost: op.view.addr.Host, ReconsumeTimes: h.ReconsumeTimes.Or(0), Body: r.Body,
	}
	op.buf = op.props.rewrite(op.buf[:0], h.Properties)
	if op.batch {
		return op.prepareBatch(r)
	}
	if !op.plain && strings.HasPrefix(m.Topic, meta.RetryPrefix) {
		if s := op.retry(r, mayBlock); s != goOn {
			return s
		}
	}
	if !op.plain && op.topic.TopicFilterType == body.MultiTag {
		m.SysFlag |= record.SysMultiTags
	}
	if op.props.uniqKey == "" {
		op.uniq = p.keys.append(op.uniq[:0], op.view.addr.Host.Addr(), p.Now())
		op.props.uniqKey = viewOf(op.uniq)
		op.buf = record.AppendProperty(op.buf, record.PropUniqKey, op.props.uniqKey)
	}
	op.buf = append(op.buf, op.view.suffix...)
	m.Properties = viewOf(op.buf)
	m.Found = op.props.words(m.Properties)
	if s := op.special(r); s != goOn {
		return s
	}
	if op.tran.step == tranHalf {
		return op.prepareHalf(r)
	}
	return op.schedule(r)
}

// special is what only some messages are: compacted, half, with a priority, of a lite topic.
func (op *sendOp) special(r *remoting.Request) step {
	m, props := &op.msg, &op.props
	if op.compacted() && strings.TrimSpace(props.keys) == "" {
		op.fail(r, code.MessageIllegal, remarkNoKeys)
		return ended
	}
	half := props.tran && (m.ReconsumeTimes <= 0 || op.level() <= 0)
	if half && op.view.cfg.RejectTransaction {
		op.fail(r, code.NoPermission, fmt.Sprintf("the broker[%s] sending transaction message is forbidden", op.view.cfg.IP1))
		return ended
	}
	if inner := m.SysFlag&record.SysInnerBatch != 0; inner && (half || !op.innerBatches()) || !inner && props.innerNum != "" {
		op.fail(r, code.MessageIllegal, op.p.putRemark(&store.PutResult{Status: store.MessageIllegal}))
		return ended
	}
	if props.priority != "" {
		op.prioritise()
	}
	if props.lite != "" {
		op.spare = append(append(append(op.spare[:0], "%LMQ%$"...), op.topic.TopicName...), '$')
		op.spare = append(op.spare, props.lite...)
		target := string(op.spare)
		op.spare = record.SetProperty(op.spare[:0], m.Properties, record.PropMultiDispatch, target)
		op.swap()
	}
	if half {
		op.tran.step = tranHalf
	}
	return goOn
}

const remarkNoKeys = "Required message key is missing"

// compacted tells whether the topic keeps the newest message of each key.
func (op *sendOp) compacted() bool {
	return !op.plain && len(op.topic.Attributes) > 0 && op.topic.Attributes["cleanup.policy"] == "COMPACTION"
}

// innerBatches tells whether the topic's records may be batches that nobody has named a delivery time for (HookUtils.checkInnerBatch).
func (op *sendOp) innerBatches() bool {
	return len(op.topic.Attributes) > 0 && op.topic.Attributes["queue.type"] == "BatchCQ" && op.level() <= 0 && !op.props.ask.Asks()
}

// swap makes spare the properties.
func (op *sendOp) swap() {
	op.buf, op.spare = op.spare, op.buf
	op.msg.Properties, op.msg.Found = viewOf(op.buf), record.Words{} // which may be those of a string that stood here before
}

// level is the delay level that the message asks for.
func (op *sendOp) level() int {
	n, _, _ := op.view.levels.Of(op.props.delay)
	return n
}

// prioritise picks the queue of a message with a priority; messages of another kind lose the property (5.5: SendMessageProcessor).
func (op *sendOp) prioritise() {
	m, props := &op.msg, &op.props
	if props.tran || props.ask.Asks() || props.sharding || props.delay != "" {
		op.spare = record.AppendPairs(op.spare[:0], m.Properties, propPriority)
		op.swap()
		return
	}
	if n, err := strconv.ParseInt(props.priority, 10, 32); err == nil && n >= 0 && op.topic.WriteQueueNums > 0 {
		op.queue = min(int32(n), op.topic.WriteQueueNums-1)
		m.QueueID = op.queue
	}
}

// schedule sends delayed messages to the schedule topic (HookUtils.handleScheduleMessage).
func (op *sendOp) schedule(r *remoting.Request) step {
	m, props := &op.msg, &op.props
	if props.delay == "" && !props.ask.Asks() {
		return goOn
	}
	if tran := m.SysFlag & record.SysTranMask; tran == record.SysTranPrepared || tran == record.SysTranRollback {
		return goOn
	}
	level, clipped, err := op.view.levels.Of(props.delay)
	switch {
	case err != nil:
		op.fail(r, code.SystemError, err.Error())
		return ended
	case level <= 0 && props.ask.Asks() && !props.timerOut && m.Topic != timer.Topic:
		return op.timed(r)
	case level <= 0:
		return goOn
	}
	if props.ask.Asks() { // the level wins
		op.spare = record.AppendPairs(op.spare[:0], m.Properties, timer.PropDelaySec, timer.PropDelayMs, timer.PropDeliver)
		op.swap()
	}
	op.spare = delay.Schedule(m, level, clipped, op.spare)
	op.buf, op.spare = op.spare, op.buf
	return goOn
}

// timed sends a message to the timer topic if its time has not come yet. The answer then has a handle to recall it with.
func (op *sendOp) timed(r *remoting.Request) step {
	out, verdict, refusal := op.p.timing(op.view, &op.props.ask)
	if refusal.code != 0 {
		op.fail(r, refusal.code, refusal.remark)
		return ended
	}
	if verdict == timer.AtOnce {
		return goOn
	}
	op.spare = timer.Schedule(&op.msg, out, op.spare)
	op.buf, op.spare = op.spare, op.buf
	if r.Code != code.SendBatchMessage && !strings.HasPrefix(op.name, meta.RetryPrefix) {
		op.handle = timer.AppendHandle(op.handle[:0], op.name, op.view.cfg.Name, out+1, op.props.uniqKey)
	}
	return goOn
}

// javaTime is UtilAll.timeMillisToHumanString2.
func javaTime(t time.Time) string {
	return t.Format("2006-01-02 15:04:05") + fmt.Sprintf(",%03d", t.UnixMilli()%1000)
}
