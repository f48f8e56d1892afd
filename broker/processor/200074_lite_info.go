package processor

import (
	"slices"
	"strings"

	"apogee/broker/lite"
	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// What operators ask about lite topics (LiteManagerProcessor). All answer 0 with JSON, after these checks as far as they apply: 17 without
// the topic, 29 if it is no parent of lite topics, 26 without the group, 29 if it is not bound to the topic.

// maxLiteTopics bounds what one answer lists.
const maxLiteTopics = 10000

// 200074 GET_BROKER_LITE_INFO.
func (p *Processor) liteBrokerInfo(r *remoting.Request) {
	subscriptions, clients := p.Lite.Active()
	queues := p.Upkeep.Queues()
	b := &body.LiteBrokerInfo{
		StoreType: "default", LiteSubscriptionCount: int32(subscriptions), EventMapSize: int32(clients), CQTableSize: int32(len(queues)),
		OffsetTableSize: int32(p.Offsets.Len()), TopicMeta: map[string]int32{}, GroupMeta: map[string][]string{},
	}
	for name := range queues {
		if strings.HasPrefix(name, lmqPrefix) {
			b.CurrentLmqNum++
		}
	}
	for name, t := range p.Topics.All() {
		if liteParent(t) {
			b.TopicMeta[name] = lite.TTL(t)
		}
	}
	for name, g := range p.Groups.All() {
		if parent := g.Attributes["lite.bind.topic"]; parent != "" {
			b.GroupMeta[parent] = append(b.GroupMeta[parent], name)
		}
	}
	for _, groups := range b.GroupMeta {
		slices.Sort(groups)
	}
	replyJSON(r, b)
}

const lmqPrefix = "%LMQ%"

// liteParentOf finds a parent of lite topics, or answers that it is none.
func (p *Processor) liteParentOf(r *remoting.Request, name string) *body.TopicConfig {
	t, ok := p.Topics.Get(name)
	switch {
	case !ok:
		r.Fail(code.TopicNotExist, "Topic [%s] not exist.", name)
	case !liteParent(t):
		r.Fail(code.InvalidParameter, "Topic [%s] type not match.", name)
	default:
		return t
	}
	return nil
}

// 200075 GET_PARENT_TOPIC_INFO.
func (p *Processor) liteParentInfo(r *remoting.Request) {
	var h header.LiteInfoRequest
	if !decode(r, &h) {
		return
	}
	t := p.liteParentOf(r, h.Topic)
	if t == nil {
		return
	}
	b := &body.LiteParentInfo{Topic: t.TopicName, TTL: lite.TTL(t)}
	for name := range p.Upkeep.Queues() {
		if strings.HasPrefix(name, lmqPrefix) {
			b.LmqNum++
		}
		if parent, _, ok := lite.Split(name); ok && parent == t.TopicName {
			b.LiteTopicCount++
		}
	}
	for name, g := range p.Groups.All() {
		if g.Attributes["lite.bind.topic"] == t.TopicName {
			b.Groups = append(b.Groups, name)
		}
	}
	slices.Sort(b.Groups)
	replyJSON(r, b)
}

// 200076 GET_LITE_TOPIC_INFO.
func (p *Processor) liteTopicInfo(r *remoting.Request) {
	var h header.LiteInfoRequest
	if !decode(r, &h) {
		return
	}
	if p.liteParentOf(r, h.ParentTopic) == nil {
		return
	}
	queue := lite.Queue(h.ParentTopic, h.LiteTopic)
	b := &body.LiteTopicInfo{ParentTopic: h.ParentTopic, LiteTopic: h.LiteTopic, Subscriber: p.Lite.Subscribers(queue), ShardingToBroker: p.Lite.Here(h.ParentTopic, h.LiteTopic)}
	if end := p.Queues.MaxOffset(queue, 0); end > 0 {
		b.TopicOffset = body.TopicOffset{
			MinOffset: max(0, p.Queues.MinOffset(queue, 0)), MaxOffset: end, LastUpdateTimestamp: p.Queues.StoreTime(queue, 0, end-1),
		}
	}
	replyJSON(r, b)
}

// liteGroupOf checks a group against its parent topic, which may be left open.
func (p *Processor) liteGroupOf(r *remoting.Request, group, parent string) bool {
	g, ok := p.Groups.Get(group)
	switch bound := ""; {
	case !ok:
		r.Fail(code.SubscriptionGroupNotExist, "Group [%s] not exist.", group)
		return false
	case parent == "" && g.Attributes["lite.bind.topic"] == "":
		r.Fail(code.InvalidParameter, "Group [%s] is not a LITE group.", group)
		return false
	default:
		bound = g.Attributes["lite.bind.topic"]
		if parent != "" && bound != parent {
			r.Fail(code.InvalidParameter, "Subscription [%s]-[%s] not match.", group, parent)
			return false
		}
	}
	return true
}

// 200077 GET_LITE_CLIENT_INFO.
func (p *Processor) liteClientInfo(r *remoting.Request) {
	var h header.LiteInfoRequest
	if !decode(r, &h) {
		return
	}
	if p.liteParentOf(r, h.ParentTopic) == nil || !p.liteGroupOf(r, h.Group, h.ParentTopic) {
		return
	}
	b := &body.LiteClientInfo{ParentTopic: h.ParentTopic, Group: h.Group, ClientID: h.ClientID, LiteTopicCount: -1, LastAccessTime: -1}
	if queues, access := p.Lite.Client(h.ClientID); !access.IsZero() {
		b.LiteTopicCount, b.LastAccessTime = int32(len(queues)), access.UnixMilli()
		b.LiteTopicSet = queues[:min(len(queues), int(min(max(h.MaxCount.Or(1000), 0), maxLiteTopics)))]
	}
	replyJSON(r, b)
}

// 200079 TRIGGER_LITE_DISPATCH: everything that a group, or one client of it, has not consumed becomes an event again. 0.
func (p *Processor) liteDispatch(r *remoting.Request) {
	var h header.LiteInfoRequest
	if !decode(r, &h) {
		return
	}
	if !p.liteGroupOf(r, h.Group, "") {
		return
	}
	p.Lite.Full(h.Group, h.ClientID)
	replyOK(r)
}
