package processor

import (
	"apogee/broker/client"
	"apogee/broker/config"
	"apogee/broker/meta"
	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// Answers to heartbeats tell clients what this broker can do.
var (
	heartbeatV1    = header.Fields{{Key: extHeartbeatV2, Value: "true"}, {Key: extSubChange, Value: "true"}}
	heartbeatSame  = header.Fields{{Key: extHeartbeatV2, Value: "true"}, {Key: extSubChange, Value: "false"}}
	heartbeatAgain = heartbeatV1 // V2, and the subscriptions have to be sent again
)

const (
	extHeartbeatV2 = "IS_SUPPORT_HEART_BEAT_V2"
	extSubChange   = "IS_SUB_CHANGE"
)

// 034 HEART_BEAT: a client says who it is, which groups it belongs to and what they subscribe to (ClientManageProcessor.heartBeat).
//
// Behavior:
//   - always 0, also where groups were skipped: clients know no other answer
//   - a consumer group that does not exist is created if the configuration allows that, and skipped silently otherwise
//   - each consumer group gets its retry topic
//   - a fingerprint other than 0 is heartbeat V2: unchanged subscriptions are left out (withoutSub), and the answer says
//     whether they have to be sent again
//
// Language and version come from the request header.
func (p *Processor) heartbeat(r *remoting.Request) {
	op, _ := p.beats.Get().(*beatOp)
	if op == nil {
		op = new(beatOp)
	}
	defer p.beats.Put(op)
	hb := op.reset()
	if !viewBody(r, hb) {
		return
	}
	c := p.cfg()
	id := client.Identity{ClientID: hb.ClientID, Language: r.Language, Version: r.Version}
	extra := heartbeatV1
	v2 := hb.HeartbeatFingerprint != 0
	if v2 {
		extra = heartbeatSame
	}
	for i := range hb.ConsumerDataSet {
		d := &hb.ConsumerDataSet[i]
		if c.RejectPull && d.ConsumeType == body.ConsumeActively {
			continue
		}
		if !p.consumerHeartbeat(r, op, id, d) {
			continue
		}
		if p.Consumers.Fingerprint(d.GroupName, hb.HeartbeatFingerprint, hb.WithoutSub) && v2 {
			extra = heartbeatAgain
		}
	}
	if c.RegisterProducer {
		for i := range hb.ProducerDataSet {
			p.Producers.Register(hb.ProducerDataSet[i].GroupName, r.Conn(), id)
		}
	}
	op.reply = remoting.Reply{Extra: extra}
	r.Reply(&op.reply)
}

// beatOp is what a heartbeat is read into. Its strings share the request's memory, so whoever keeps one copies it: tens of thousands
// of clients send the same every 30 s, and what each of them left for the collector would be most of what a connection costs.
type beatOp struct {
	data  body.HeartbeatData
	reply remoting.Reply
	topic []byte
}

// maxKeptBeat is how many groups, or subscriptions of a group, a beatOp keeps room for.
const maxKeptBeat = 64

// reset empties data, and keeps the room of its slices.
func (op *beatOp) reset() *body.HeartbeatData {
	old := op.data
	op.data = body.HeartbeatData{}
	if producers := old.ProducerDataSet[:cap(old.ProducerDataSet)]; len(producers) <= maxKeptBeat {
		clear(producers)
		op.data.ProducerDataSet = producers[:0]
	}
	if consumers := old.ConsumerDataSet[:cap(old.ConsumerDataSet)]; len(consumers) <= maxKeptBeat {
		for i := range consumers {
			subs := consumers[i].SubscriptionDataSet
			subs = subs[:cap(subs)]
			clear(subs)
			consumers[i] = body.ConsumerData{}
			if len(subs) <= maxKeptBeat {
				consumers[i].SubscriptionDataSet = subs[:0]
			}
		}
		op.data.ConsumerDataSet = consumers[:0]
	}
	return &op.data
}

// consumerHeartbeat reports whether the group is known.
func (p *Processor) consumerHeartbeat(r *remoting.Request, op *beatOp, id client.Identity, d *body.ConsumerData) bool {
	group, ok := p.Groups.Ensure(d.GroupName)
	if !ok {
		p.Log.Warn("heartbeat of an unknown group skipped", "group", d.GroupName, "addr", r.Conn().RemoteText())
		return false
	}
	order := false
	for i := range d.SubscriptionDataSet {
		order = order || p.Topics.Order(d.SubscriptionDataSet[i].Topic)
	}
	var sysFlag int32
	if d.UnitMode {
		sysFlag = body.TopicUnitSub
	}
	op.topic = append(append(op.topic[:0], meta.RetryPrefix...), d.GroupName...)
	_, err := p.Topics.CreateOnSendBack(viewOf(op.topic), group.RetryQueueNums, config.PermRead|config.PermWrite, order, sysFlag)
	if err != nil {
		p.Log.Error("retry topic not on disk", "group", d.GroupName, "err", err)
	}
	changed := p.Consumers.Register(r.Conn(), id, client.Registration{
		Group: d.GroupName, ConsumeType: d.ConsumeType, Model: d.MessageModel, FromWhere: d.ConsumeFromWhere,
		Subscriptions: d.SubscriptionDataSet, WithoutSub: op.data.HeartbeatFingerprint != 0 && op.data.WithoutSub,
		Notify: group.NotifyConsumerIDsChangedEnable,
	})
	if op.data.HeartbeatFingerprint == 0 || !op.data.WithoutSub {
		p.Filters.Register(d.GroupName, d.SubscriptionDataSet)
	}
	if changed {
		p.Log.Info("consumer group changed", "group", d.GroupName, "client", id.ClientID, "addr", r.Conn().RemoteText())
	}
	return true
}

// 035 UNREGISTER_CLIENT: a client leaves (ClientManageProcessor.unregisterClient). Always 0. The Go client does not send it; there
// the closed connection does.
func (p *Processor) unregisterClient(r *remoting.Request) {
	var h header.UnregisterClientRequest
	if !decode(r, &h) {
		return
	}
	if h.ProducerGroup != "" {
		p.Producers.Unregister(h.ProducerGroup, r.Conn())
	}
	if h.ConsumerGroup != "" {
		notify := true
		if g, ok := p.Groups.Get(h.ConsumerGroup); ok {
			notify = g.NotifyConsumerIDsChangedEnable
		}
		p.Consumers.Unregister(h.ConsumerGroup, r.Conn(), notify)
	}
	replyOK(r)
}

// 038 GET_CONSUMER_LIST_BY_GROUP: the client ids of a group, by which each client computes its share of the queues
// (ConsumerManageProcessor.getConsumerListByGroup). 1 when nobody is online, which clients take for an empty list.
func (p *Processor) consumerList(r *remoting.Request) {
	var h header.GetConsumerListByGroupRequest
	if !decode(r, &h) {
		return
	}
	ids := p.Consumers.ClientIDs(h.ConsumerGroup)
	if len(ids) == 0 {
		r.Fail(code.SystemError, "no consumer for this group, %s", h.ConsumerGroup)
		return
	}
	replyJSON(r, &body.GetConsumerListByGroupResponseBody{ConsumerIDList: ids})
}

// 046 CHECK_CLIENT_CONFIG: may a client subscribe with this expression (ClientManageProcessor.checkClientConfig)? Push consumers ask
// before they start if they filter by anything but tags.
//
// Answers: 0 for tags, for an expression that compiles, and without a subscription or a body; 1 for others than tags unless
// enablePropertyFilter; 23 with the reason if it does not compile.
func (p *Processor) checkClient(r *remoting.Request) {
	var b body.CheckClientRequestBody
	if len(r.Body) > 0 && !decodeBody(r, &b) {
		return
	}
	s := b.SubscriptionData
	if s == nil || body.IsTagType(s.ExpressionType) {
		replyOK(r)
		return
	}
	if !p.cfg().PropertyFilter {
		r.Fail(code.SystemError, "%s%s", remarkNoFilter, s.ExpressionType)
		return
	}
	if _, err := p.Expressions.Compile(s.ExpressionType, s.SubString); err != nil {
		p.Log.Warn("filter of a client refused", "client", b.ClientID, "group", b.Group, "topic", s.Topic, "err", err)
		r.Fail(code.SubscriptionParseFailed, "%v", err)
		return
	}
	replyOK(r)
}
