package processor

import (
	"math/rand/v2"
	"runtime/debug"
	"strconv"
	"strings"

	"apogee/broker/delay"
	"apogee/broker/meta"
	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store"
	"apogee/store/record"
)

// 036 CONSUMER_SEND_MSG_BACK: a consumer could not work a message and wants it again later (AbstractSendMessageProcessor.consumerSendMsgBack).
// A copy is stored for the group's retry topic, with a delay that grows with the attempts; after the last attempt, or for a negative
// delay level, in the group's dead letters.
//
// Answers, checked in this order:
//   - 1 at a slave, where the copy cannot be stored
//   - 26 without the group, 16 if the broker is not writeable
//   - 0 and nothing else if the group has no retry queues
//   - 16 if the retry topic is not writeable, 1 if the message is not there
//   - 1 with the status if the store refuses the copy
//
// Where it has to read the disk, or to create the group or a topic, it goes on in the send lane.
func (p *Processor) sendBack(r *remoting.Request) { p.serveBack(r, false) }

func (p *Processor) serveBack(r *remoting.Request, mayBlock bool) {
	var h header.ConsumerSendMsgBackRequest
	if !decode(r, &h) {
		return
	}
	if !mayBlock && p.backBlocks(&h) {
		r.GoOn(p.Lanes.Send, func(r *remoting.Request) { p.serveBack(r, true) })
		return
	}
	cfg := p.cfg()
	if !cfg.Master() {
		r.Fail(code.SystemError, "no master available along with %s", cfg.IP1)
		return
	}
	group, ok := p.Groups.Ensure(h.Group)
	switch {
	case !ok:
		r.Fail(code.SubscriptionGroupNotExist, "subscription group not exist, %s %s", h.Group, faq)
		return
	case cfg.Permission&int(body.PermWrite) == 0:
		r.Fail(code.NoPermission, "the broker[%s] sending message is forbidden", cfg.IP1)
		return
	case group.RetryQueueNums <= 0:
		replyOK(r)
		return
	}
	topic, err := p.retryTopic(group, h.UnitMode)
	if topic == nil {
		r.Fail(code.SystemError, "topic[%s] not exist: %v", meta.RetryTopic(group.GroupName), err)
		return
	}
	if topic.Perm&body.PermWrite == 0 {
		r.Fail(code.NoPermission, "the topic[%s] sending message is forbidden", topic.TopicName)
		return
	}
	rec, release, err := p.Reader.View(h.Offset)
	if err != nil {
		r.Fail(code.SystemError, "look message by offset failed, %d", h.Offset)
		return
	}
	defer release()
	// From here on mapped memory is read. A disk that cannot give it must cost this request only: the fault becomes a panic, which the
	// dispatcher answers.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	var m record.Message
	if err := record.Decode(rec, &m); err != nil {
		r.Fail(code.SystemError, "look message by offset failed, %d", h.Offset)
		return
	}
	p.storeBack(r, &h, &m, group, topic, mayBlock)
}

// backBlocks tells whether something would have to be made or read from the disk.
func (p *Processor) backBlocks(h *header.ConsumerSendMsgBackRequest) bool {
	if _, ok := p.Groups.Get(h.Group); !ok {
		return true
	}
	if _, ok := p.Topics.Get(meta.RetryTopic(h.Group)); !ok {
		return true
	}
	return p.Reader.ColdAt(h.Offset)
}

func (p *Processor) retryTopic(group *body.SubscriptionGroupConfig, unit bool) (*body.TopicConfig, error) {
	var sys int32
	if unit {
		sys = sysUnitSub
	}
	name := meta.RetryTopic(group.GroupName)
	t, err := p.Topics.CreateOnSendBack(name, group.RetryQueueNums, body.PermRead|body.PermWrite, false, sys)
	if t != nil && err != nil {
		p.Log.Error("retry topic created but not on disk", "topic", name, "err", err)
	}
	return t, err
}

// storeBack stores the copy of m, which aliases the log.
func (p *Processor) storeBack(r *remoting.Request, h *header.ConsumerSendMsgBackRequest, m *record.Message, group *body.SubscriptionGroupConfig, retry *body.TopicConfig, mayBlock bool) {
	view := p.sendView()
	limit := group.RetryMaxTimes
	if r.Version >= headerRetryVersion && h.MaxReconsumeTimes.Valid {
		limit = h.MaxReconsumeTimes.Value
	}
	dead := m.ReconsumeTimes >= limit || h.DelayLevel < 0
	level := h.DelayLevel
	switch {
	case dead:
		level = 0
	case level == 0:
		level = 3 + m.ReconsumeTimes
	}
	source := m.Topic
	m.Properties = backProperties(m, level)
	m.Topic, m.QueueID = retry.TopicName, rand.Int32N(group.RetryQueueNums)
	if dead {
		if _, ok := p.Topics.Get(meta.DLQTopic(group.GroupName)); !ok && !mayBlock {
			r.GoOn(p.Lanes.Send, func(r *remoting.Request) { p.serveBack(r, true) })
			return
		}
		t, err := p.deadLetters(meta.DLQTopic(group.GroupName))
		if t == nil {
			r.Fail(code.SystemError, "topic[%s] not exist: %v", meta.DLQTopic(group.GroupName), err)
			return
		}
		m.Topic, m.QueueID = t.TopicName, 0
	}
	m.ReconsumeTimes++
	m.StoreHost = view.addr.Host
	m.PreparedTransactionOffset, m.TagsCode = 0, 0
	if n, clipped, _ := view.levels.Of(strconv.Itoa(int(level))); n > 0 {
		delay.Schedule(m, n, clipped, nil)
	}
	back := &sentBack{p: p, replier: r.Replier(), source: p.knownName(source), group: group.GroupName, dead: dead, offset: h.Offset, attempts: m.ReconsumeTimes}
	if dead {
		back.addr = remoteText(r.Conn())
	}
	// Nobody waits for a flush: the copy says WAIT=false, as in Java.
	back.res = p.Store.StageAt(nil, m, nil)
	p.putOff(r, back)
}

// knownName is a topic's name that outlives the message which bears it.
func (p *Processor) knownName(topic string) string {
	if t, ok := p.Topics.Get(topic); ok {
		return t.TopicName
	}
	return strings.Clone(topic)
}

// sentBack is a copy that was staged, and what is said of it once it is stored.
type sentBack struct {
	p             *Processor
	replier       remoting.Replier
	res           store.PutResult
	source, group string
	dead          bool
	addr          string // of the client, of dead ones
	offset        int64  // of the message
	attempts      int32
}

// end makes sentBack a staged request.
func (back *sentBack) end(*batchEnd) {
	p := back.p
	if err := p.Store.Commit(&back.res); err != nil {
		back.res.Status, back.res.Err = store.UnknownError, err
	}
	if _, stored := putCode(back.res.Status); !stored {
		back.replier.Reply(&remoting.Reply{Code: code.SystemError, Remark: p.putRemark(&back.res)})
		return
	}
	p.Stats.SentBack(back.source, back.group)
	if back.dead {
		p.Stats.DeadLettered(back.source, back.group)
		p.Log.Info("dead letter", "group", back.group, "topic", back.source, "off", back.offset, "attempts", back.attempts, "addr", back.addr)
	}
	back.replier.Reply(&remoting.Reply{})
}

func (back *sentBack) broken() remoting.Replier { return back.replier }

// backProperties is the properties of the copy: where the message was first, which one it was, its delay level, and that nobody waits.
// What an earlier attempt has set of the first two stays.
func backProperties(m *record.Message, level int32) string {
	drop := []string{record.PropDelay, record.PropWait}
	b := appendWithout(make([]byte, 0, len(m.Properties)+192), m.Properties, drop...)
	if record.Property(m.Properties, propRetryTopic) == "" {
		b = record.AppendProperty(b, propRetryTopic, m.Topic)
	}
	if record.Property(m.Properties, propOriginMessageID) == "" {
		var id [record.MaxMessageID]byte
		b = record.AppendProperty(b, propOriginMessageID, viewOf(record.AppendMessageID(id[:0], m.StoreHost, m.PhysicalOffset)))
	}
	b = record.AppendProperty(b, record.PropDelay, strconv.Itoa(int(level)))
	b = record.AppendProperty(b, record.PropWait, "false")
	return viewOf(b)
}
