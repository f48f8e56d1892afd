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
	retry := meta.RetryTopic(h.Group)
	if !mayBlock && p.backBlocks(&h, retry) {
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
	topic, err := p.retryTopic(retry, group, h.UnitMode)
	if topic == nil {
		r.Fail(code.SystemError, "topic[%s] not exist: %v", retry, err)
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
	back := p.newBack(r)
	if err := record.Decode(rec, &back.msg); err != nil {
		r.Fail(code.SystemError, "look message by offset failed, %d", h.Offset)
		back.free()
		return
	}
	back.msg.BodyChecked = len(back.msg.Body) > 0 // by View
	if !p.storeBack(r, &h, back, group, topic, mayBlock) {
		back.free()
	}
}

// backBlocks tells whether something would have to be made or read from the disk.
func (p *Processor) backBlocks(h *header.ConsumerSendMsgBackRequest, retry string) bool {
	if _, ok := p.Groups.Get(h.Group); !ok {
		return true
	}
	if _, ok := p.Topics.Get(retry); !ok {
		return true
	}
	return p.Reader.ColdAt(h.Offset)
}

func (p *Processor) retryTopic(name string, group *body.SubscriptionGroupConfig, unit bool) (*body.TopicConfig, error) {
	var sys int32
	if unit {
		sys = sysUnitSub
	}
	t, err := p.Topics.CreateOnSendBack(name, group.RetryQueueNums, body.PermRead|body.PermWrite, false, sys)
	if t != nil && err != nil {
		p.Log.Error("retry topic created but not on disk", "topic", name, "err", err)
	}
	return t, err
}

// storeBack makes the copy of the message that back has, which aliases the log, and stages it; false if that was not to be.
func (p *Processor) storeBack(r *remoting.Request, h *header.ConsumerSendMsgBackRequest, back *sentBack, group *body.SubscriptionGroupConfig, retry *body.TopicConfig, mayBlock bool) bool {
	view, m := p.sendView(), &back.msg
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
	back.source, back.group, back.dead, back.offset = p.knownName(m.Topic), group.GroupName, dead, h.Offset
	words := back.rewrite(strconv.Itoa(int(level)))
	m.Topic, m.QueueID = retry.TopicName, rand.Int32N(group.RetryQueueNums)
	if dead {
		if _, ok := p.Topics.Get(meta.DLQTopic(group.GroupName)); !ok && !mayBlock {
			r.GoOn(p.Lanes.Send, func(r *remoting.Request) { p.serveBack(r, true) })
			return false
		}
		t, err := p.deadLetters(meta.DLQTopic(group.GroupName))
		if t == nil {
			r.Fail(code.SystemError, "topic[%s] not exist: %v", meta.DLQTopic(group.GroupName), err)
			return false
		}
		m.Topic, m.QueueID = t.TopicName, 0
		back.addr = remoteText(r.Conn())
	}
	m.ReconsumeTimes++
	back.attempts = m.ReconsumeTimes
	m.StoreHost = view.addr.Host
	m.PreparedTransactionOffset, m.TagsCode = 0, 0
	n, clipped, _ := view.levels.Of(words.Delay)
	if n > 0 {
		back.delayed = delay.Schedule(m, n, clipped, back.delayed)
	}
	if !clipped {
		words.From(m.Properties)
		m.Found = words
	}
	// Nobody waits for a flush: the copy says WAIT=false, as in Java.
	back.res = p.Store.StageAt(nil, m, nil)
	back.msg = record.Message{} // the log may be unmapped from here on
	p.putOff(r, back)
	return true
}

// knownName is a topic's name that outlives the message which bears it.
func (p *Processor) knownName(topic string) string {
	if t, ok := p.Topics.Get(topic); ok {
		return t.TopicName
	}
	return strings.Clone(topic)
}

// sentBack is a copy that is made and staged, and what is said of it once it is stored.
type sentBack struct {
	p             *Processor
	replier       remoting.Replier
	msg           record.Message // aliases the log and the two buffers
	props         []byte         // of the copy
	delayed       []byte         // of the copy while it waits
	res           store.PutResult
	source, group string
	dead          bool
	addr          string // of the client, of dead ones
	offset        int64  // of the message
	attempts      int32
}

func (p *Processor) newBack(r *remoting.Request) *sentBack {
	back, _ := p.backs.Get().(*sentBack)
	if back == nil {
		back = &sentBack{p: p}
	}
	back.replier = r.Replier()
	return back
}

// free gives back what is used again; nobody may use back afterwards.
func (back *sentBack) free() {
	*back = sentBack{p: back.p, props: back.props, delayed: back.delayed}
	back.p.backs.Put(back)
}

// end makes sentBack a staged request.
func (back *sentBack) end(*batchEnd) {
	back.answer()
	back.free() // not deferred: who sees to a panic wants to know whom to answer
}

func (back *sentBack) answer() {
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

// rewrite makes the properties of the copy: where the message was first, which one it was, its delay level, and that nobody waits. What an
// earlier attempt has set of the first two stays. It returns what the store wants to know of them.
func (back *sentBack) rewrite(level string) (words record.Words) {
	m, retry, origin := &back.msg, false, false
	b := back.props[:0]
	for c := record.Pairs(bytesOf(m.Properties)); c.Next(); {
		name, value := viewOf(c.Name), viewOf(c.Value)
		switch name {
		case record.PropDelay, record.PropWait:
			continue
		case propRetryTopic:
			retry = true
		case propOriginMessageID:
			origin = true
		default:
			words.Note(name, value)
		}
		b = record.AppendProperty(b, name, value)
	}
	if !retry {
		b = record.AppendProperty(b, propRetryTopic, m.Topic)
	}
	if !origin {
		var id [record.MaxMessageID]byte
		b = record.AppendProperty(b, propOriginMessageID, viewOf(record.AppendMessageID(id[:0], m.StoreHost, m.PhysicalOffset)))
	}
	b = record.AppendProperty(b, record.PropDelay, level)
	b = record.AppendProperty(b, record.PropWait, "false")
	words.Delay = level
	back.props, m.Properties = b, viewOf(b)
	return words
}
