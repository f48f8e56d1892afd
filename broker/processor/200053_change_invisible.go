package processor

import (
	"strings"

	"apogee/broker/pop"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// 200053 CHANGE_MESSAGE_INVISIBLETIME: a popped message stays invisible for a time from now on (ChangeInvisibleTimeProcessor). The answer
// makes a new receipt; the old one is spent.
//
// Answers: 17 without the topic, 13 for a queue that it does not have, 208 for an offset that has no message, 1 if the store takes
// nothing; else 0. A message of an ordered pop keeps its pop time, and gets no new one if it is consumed already.
//
// In a queue that somebody is popping from in order, and at a slave, whose check points go to other brokers, it goes on in a lane.
func (p *Processor) changeInvisible(r *remoting.Request) { p.serveChange(r, false) }

func (p *Processor) serveChange(r *remoting.Request, mayBlock bool) {
	if !mayBlock && !p.cfg().Master() {
		r.GoOn(p.Lanes.Pull, func(r *remoting.Request) { p.serveChange(r, true) })
		return
	}
	var h header.ChangeInvisibleTimeRequest
	if err := h.DecodeFields(r.Fields); err != nil {
		p.unchanged(r, code.SystemError, err.Error())
		return
	}
	if !p.popped(r, h.Topic, h.QueueID) {
		return
	}
	if strings.TrimSpace(h.LiteTopic) != "" {
		p.liteChange(r, &h)
		return
	}
	if h.Offset < p.Queues.MinOffset(h.Topic, h.QueueID) || h.Offset >= p.Queues.MaxOffset(h.Topic, h.QueueID) {
		p.unchanged(r, code.NoMessage, "")
		return
	}
	receipt, err := pop.ParseReceipt(h.ExtraInfo)
	if err != nil {
		p.unchanged(r, code.SystemError, err.Error())
		return
	}
	now := p.Now().UnixMilli()
	if receipt.Order() {
		if !p.changeOrdered(r, &h, &receipt, now, mayBlock) {
			r.GoOn(p.Lanes.Pull, func(r *remoting.Request) { p.serveChange(r, true) })
		}
		return
	}
	if !p.revivable(r, receipt.ReviveQueue) {
		return
	}
	now = receipt.ChangedAt(h.Offset, now)
	d := p.newAcked(r)
	d.header = &header.ChangeInvisibleTimeResponse{PopTime: now, InvisibleTime: h.InvisibleTime, ReviveQid: receipt.ReviveQueue}
	d.expect()
	if _, ok := p.Groups.Get(h.ConsumerGroup); ok { // as in countAcked
		p.Stats.Checked(h.Topic, h.ConsumerGroup)
	}
	p.countAcked(h.Topic, h.ConsumerGroup, 1)
	d.put(p.Pop.Change(&pop.Ack{
		Offset: h.Offset, Broker: receipt.Broker, Group: h.ConsumerGroup, PopTime: receipt.PopTime, Queue: h.QueueID,
		StartOffset: receipt.StartOffset, Topic: h.Topic,
	}, &receipt, now, h.InvisibleTime, h.Suspend, d))
	d.all()
}

// unchanged answers with a header of zeros, as Java does.
func (p *Processor) unchanged(r *remoting.Request, c int32, remark string) {
	r.Reply(&remoting.Reply{Code: c, Remark: remark, Header: new(header.ChangeInvisibleTimeResponse)})
}

// changeOrdered changes and answers; false if that would have to wait.
func (p *Processor) changeOrdered(r *remoting.Request, h *header.ChangeInvisibleTimeRequest, receipt *pop.Receipt, now int64, mayBlock bool) bool {
	k := pop.Key{Topic: strings.Clone(h.Topic), Group: strings.Clone(h.ConsumerGroup), Queue: h.QueueID}
	q := p.popQueue(k, mayBlock)
	if q == nil {
		return false
	}
	defer q.Unlock()
	if off, ok := p.Offsets.Query(k.Group, k.Topic, k.Queue); ok && h.Offset < off {
		p.unchanged(r, code.Success, "")
		return true
	}
	visible := now + h.InvisibleTime
	p.Pop.Orders.Postpone(k, h.Offset, receipt.PopTime, visible)
	r.Reply(&remoting.Reply{Header: &header.ChangeInvisibleTimeResponse{
		PopTime: receipt.PopTime, InvisibleTime: visible - receipt.PopTime, ReviveQid: receipt.ReviveQueue,
	}})
	return true
}
