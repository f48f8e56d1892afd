package processor

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// minResetVersion is V3_0_7_SNAPSHOT, the first client that understands pushed resets.
const minResetVersion = 28

// 222 INVOKE_BROKER_TO_RESET_OFFSET: an operator moves a group to a time or an offset (AdminBrokerProcessor.resetOffset; behaviour.md 6.1).
//
// Behavior with useServerSideResetOffset (the default): the broker keeps the new offsets aside; commits are ignored and the next
// pull of each queue answers 21 with it. Clients need not be online nor new.
//   - 1 at a slave
//   - 17, 26: topic or group unknown
//   - 1: an offset outside the queue
//   - 0 with the new offsets. A negative time means the end of the queue; one queue and an offset set exactly that.
//
// Behavior without: the broker pushes 220 to the group's clients, who reset themselves.
//   - 206: nobody is online; mqadmin then sets the offsets itself
func (p *Processor) resetOffset(r *remoting.Request) {
	var h header.InvokeBrokerToResetOffsetRequest
	if !decode(r, &h) {
		return
	}
	h.Topic, h.Group = strings.Clone(h.Topic), strings.Clone(h.Group)
	p.Log.Info("offsets reset by operator", "topic", h.Topic, "group", h.Group, "time", h.Timestamp, "queue", h.QueueID,
		"addr", r.Conn().RemoteText())
	if p.cfg().ServerSideReset {
		p.resetHere(r, &h)
		return
	}
	p.resetAtClients(r, &h)
}

func (p *Processor) resetHere(r *remoting.Request, h *header.InvokeBrokerToResetOffsetRequest) {
	if !p.cfg().Master() {
		r.Fail(code.SystemError, "Can not reset offset in slave broker")
		return
	}
	t, ok := p.Topics.Get(h.Topic)
	if !ok {
		r.Fail(code.TopicNotExist, "Topic %s does not exist", h.Topic)
		return
	}
	if _, ok := p.Groups.Get(h.Group); !ok {
		r.Fail(code.SubscriptionGroupNotExist, "Group %s does not exist", h.Group)
		return
	}
	targets := make(map[int32]int64)
	if h.QueueID >= 0 {
		off := h.Offset.Or(-1)
		if off == -1 {
			off = p.offsetByTime(h.Topic, h.QueueID, h.Timestamp)
		} else if err := p.inQueue(h.Topic, h.QueueID, off); err != nil {
			r.Fail(code.SystemError, "%v", err)
			return
		}
		targets[h.QueueID] = off
	} else {
		for q := range t.ReadQueueNums {
			targets[q] = p.offsetByTime(h.Topic, q, h.Timestamp)
		}
	}
	if len(targets) == 0 {
		r.Reply(&remoting.Reply{Remark: "No queues to reset."})
		return
	}
	b := &body.ResetOffsetBody{OffsetTable: make(map[body.MessageQueue]int64, len(targets))}
	for q, off := range targets {
		p.Offsets.AssignReset(h.Group, h.Topic, q, off)
		b.OffsetTable[body.MessageQueue{Topic: h.Topic, BrokerName: p.cfg().Name, QueueID: q}] = off
	}
	replyJSON(r, b)
}

// offsetByTime is the first message at or after a time; a negative time is the end.
func (p *Processor) offsetByTime(topic string, queue int32, ms int64) int64 {
	if ms < 0 {
		return max(0, p.Queues.MaxOffset(topic, queue))
	}
	return max(0, p.Queues.OffsetByTime(topic, queue, ms, false))
}

func (p *Processor) inQueue(topic string, queue int32, off int64) error {
	lo, hi := p.Queues.MinOffset(topic, queue), p.Queues.MaxOffset(topic, queue)
	if lo >= 0 && off < lo || off > hi+1 {
		return fmt.Errorf("Target offset %d not in consume queue range [%d-%d]", off, lo, hi) //nolint:staticcheck // Java's text
	}
	return nil
}

// resetAtClients is Broker2Client.resetOffset.
func (p *Processor) resetAtClients(r *remoting.Request, h *header.InvokeBrokerToResetOffsetRequest) {
	t, ok := p.Topics.Get(h.Topic)
	if !ok {
		r.Fail(code.SystemError, "[reset-offset] reset offset failed, no topic in this broker. topic=%s", h.Topic)
		return
	}
	table := make(map[body.MessageQueue]int64)
	for q := range t.WriteQueueNums {
		committed, ok := p.Offsets.Query(h.Group, h.Topic, q)
		if !ok {
			r.Fail(code.SystemError, "THe consumer group <%s> not exist", h.Group)
			return
		}
		off := p.offsetByTime(h.Topic, q, h.Timestamp)
		if !h.IsForce {
			off = min(off, committed) // never forward
		}
		table[body.MessageQueue{Topic: h.Topic, BrokerName: p.cfg().Name, QueueID: q}] = off
	}
	members := p.Consumers.Members(h.Group)
	if len(members) == 0 {
		r.Fail(code.ConsumerNotOnline, "Consumer not online, so can not reset offset, Group: %s Topic: %s Timestamp: %d",
			h.Group, h.Topic, h.Timestamp)
		return
	}
	out := remoting.Outgoing{
		Code: code.ResetConsumerClientOffset,
		Header: &header.ResetConsumerClientOffsetRequest{
			Group: h.Group, Topic: h.Topic, QueueID: -1, Timestamp: h.Timestamp, IsForce: h.IsForce,
		},
		Body: resetBody(r.Language, table),
	}
	for i := range members {
		m := &members[i]
		if m.Version < minResetVersion {
			r.Fail(code.SystemError, "the client does not support this feature. version=%s", versionText(m.Version))
			return
		}
		if err := m.Channel.Oneway(out); err != nil {
			p.Log.Warn("client not told of its new offsets", "group", h.Group, "topic", h.Topic, "addr", m.Channel.RemoteText(), "err", err)
		}
	}
	replyJSON(r, &body.ResetOffsetBody{OffsetTable: table})
}

// resetBody is a list for C++ callers, whose clients cannot read objects as keys, and a table for the rest (remoting.md 6.13).
func resetBody(l remoting.Language, table map[body.MessageQueue]int64) []byte {
	if l != remoting.CPP {
		return fastjson.Marshal(&body.ResetOffsetBody{OffsetTable: table})
	}
	list := make([]body.MessageQueueForC, 0, len(table))
	for _, q := range slices.SortedFunc(maps.Keys(table), func(a, b body.MessageQueue) int { return int(a.QueueID) - int(b.QueueID) }) {
		list = append(list, body.MessageQueueForC{Topic: q.Topic, BrokerName: q.BrokerName, QueueID: q.QueueID, Offset: table[q]})
	}
	return fastjson.Marshal(&body.ResetOffsetBodyForC{OffsetTable: list})
}
