package processor

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"apogee/broker/pop"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store"
)

// 200051 ACK_MESSAGE and 200151 BATCH_ACK_MESSAGE: popped messages are consumed (AckMessageProcessor).
//
// Answers of the first: 17 without the topic, 13 for a queue that it does not have, 208 for an offset that the queue does not have, 13 for
// a message that an ordered pop does not have out; else 0, even if the receipt is too old or was used before. Of the second: 208 without
// any ack; else 0, and what a queue does not have is left out. With SYNC_FLUSH the answer comes when the ack is on disk.
//
// The ack of an ordered pop waits for whoever is popping from its queue, who may wait for the disk: then it goes on in a lane.
func (p *Processor) ackMessage(r *remoting.Request) { p.serveAck(r, false) }

func (p *Processor) serveAck(r *remoting.Request, mayBlock bool) {
	var h header.AckMessageRequest
	if !decode(r, &h) {
		return
	}
	if !p.popped(r, h.Topic, h.QueueID) {
		return
	}
	if p.liteAck(r, h.ConsumerGroup, h.Topic, h.LiteTopic, h.ExtraInfo, h.QueueID, h.Offset) {
		return
	}
	least, most := p.Queues.MinOffset(h.Topic, h.QueueID), p.Queues.MaxOffset(h.Topic, h.QueueID)
	if h.Offset < least || h.Offset > most {
		r.Fail(code.NoMessage, "offset is illegal, key:%s@%d, commit:%d, store:%d~%d", h.Topic, h.QueueID, h.Offset, least, most)
		return
	}
	receipt, err := pop.ParseReceipt(h.ExtraInfo)
	if err != nil {
		r.Fail(code.SystemError, "%v", err)
		return
	}
	if receipt.Order() {
		k := pop.Key{Topic: h.Topic, Group: h.ConsumerGroup, Queue: h.QueueID}
		if !p.ackOrdered(r, k, h.Offset, receipt.PopTime, mayBlock) {
			r.GoOn(p.Lanes.Pull, func(r *remoting.Request) { p.serveAck(r, true) })
		}
		return
	}
	if !p.revivable(r, receipt.ReviveQueue) {
		return
	}
	d := p.newAcked(r)
	d.expect()
	p.countAcked(h.Topic, h.ConsumerGroup, 1)
	d.put(p.Pop.Ack(&pop.Ack{
		Offset: h.Offset, Broker: receipt.Broker, Group: h.ConsumerGroup, PopTime: receipt.PopTime, Queue: h.QueueID,
		StartOffset: receipt.StartOffset, Topic: h.Topic,
	}, receipt.ReviveQueue, receipt.ReviveTime(), d))
	d.all()
}

// countAcked counts for groups that there are: names that clients make up would fill the memory.
func (p *Processor) countAcked(topic, group string, messages int) {
	if _, ok := p.Groups.Get(group); ok {
		p.Stats.Acked(topic, group, messages)
	}
}

// popped tells whether a topic has a queue, or answers that it has not.
func (p *Processor) popped(r *remoting.Request, topic string, queue int32) bool {
	t, ok := p.Topics.Get(topic)
	if !ok {
		r.Fail(code.TopicNotExist, "topic[%s] not exist, apply first please! %s", topic, faq)
		return false
	}
	if queue < 0 || queue >= t.ReadQueueNums {
		r.Fail(code.MessageIllegal, "queueId[%d] is illegal, topic:[%s] topicConfig.readQueueNums:[%d] consumer:[/%s]",
			queue, topic, t.ReadQueueNums, remoteText(r.Conn()))
		return false
	}
	return true
}

// revivable refuses a receipt whose revive queue nobody reads: Java would put the ack where it is never seen.
func (p *Processor) revivable(r *remoting.Request, queue int32) bool {
	if queue >= 0 && int(queue) < p.cfg().ReviveQueues {
		return true
	}
	r.Fail(code.SystemError, "receipt names revive queue %d, there are %d", queue, p.cfg().ReviveQueues)
	return false
}

func (p *Processor) batchAck(r *remoting.Request) { p.serveBatchAck(r, false) }

func (p *Processor) serveBatchAck(r *remoting.Request, mayBlock bool) {
	if len(r.Body) == 0 {
		r.Reply(&remoting.Reply{Code: code.NoMessage})
		return
	}
	b, err := pop.ParseBatchAck(r.Body)
	if err != nil {
		r.Fail(code.SystemError, "%v", err)
		return
	}
	if len(b.Acks) == 0 {
		r.Reply(&remoting.Reply{Code: code.NoMessage})
		return
	}
	if !mayBlock && slices.ContainsFunc(b.Acks, func(e pop.BatchAck) bool { return e.ReviveQueue == pop.OrderQueue }) {
		r.GoOn(p.Lanes.Pull, func(r *remoting.Request) { p.serveBatchAck(r, true) })
		return
	}
	d := p.newAcked(r)
	for i := range b.Acks {
		p.batchAckOne(d, b, &b.Acks[i])
	}
	d.all()
}

func (p *Processor) batchAckOne(d *acked, b *pop.BatchAckBody, e *pop.BatchAck) {
	topic, ok := pop.RealTopic(e.Topic, e.Group, e.Kind())
	if !ok {
		d.refuse(code.SystemError, fmt.Sprintf("retry %q is no kind of a topic", e.Retry))
		return
	}
	least, most := p.Queues.MinOffset(topic, e.Queue), p.Queues.MaxOffset(topic, e.Queue)
	if least < 0 || most < 0 {
		p.Log.Warn("batch of acks for a queue that is not there", "topic", topic, "queue", e.Queue)
		return
	}
	offsets, err := e.Offsets(least, most)
	if err != nil {
		d.refuse(code.SystemError, err.Error())
		return
	}
	if len(offsets) == 0 {
		return
	}
	if e.ReviveQueue == pop.OrderQueue {
		for _, off := range offsets {
			k := pop.Key{Topic: topic, Group: e.Group, Queue: e.Queue}
			if remark, _ := p.ackInOrder(k, off, e.PopTime, d.from, true); remark != "" {
				d.refuse(code.MessageIllegal, remark)
			}
		}
		return
	}
	if e.ReviveQueue < 0 || int(e.ReviveQueue) >= p.cfg().ReviveQueues {
		d.refuse(code.SystemError, fmt.Sprintf("receipt names revive queue %d, there are %d", e.ReviveQueue, p.cfg().ReviveQueues))
		return
	}
	d.expect()
	p.countAcked(topic, e.Group, len(offsets))
	d.put(p.Pop.Ack(&pop.Ack{
		Offset: -1, Offsets: offsets, Broker: b.Broker, Group: e.Group, PopTime: e.PopTime, Queue: e.Queue, StartOffset: e.StartOffset, Topic: topic,
	}, e.ReviveQueue, e.PopTime+e.Invisible, d))
}

// ackOrdered acknowledges and answers; false if that would have to wait.
func (p *Processor) ackOrdered(r *remoting.Request, k pop.Key, offset, popTime int64, mayBlock bool) bool {
	remark, ok := p.ackInOrder(k, offset, popTime, remoteText(r.Conn()), mayBlock)
	switch {
	case !ok:
		return false
	case remark != "":
		r.Fail(code.MessageIllegal, "%s", remark)
	default:
		replyOK(r)
	}
	return true
}

// popQueue is a queue that the caller may pop from; nil if somebody else does, and the caller must not wait.
func (p *Processor) popQueue(k pop.Key, mayBlock bool) *pop.Queue {
	if mayBlock {
		return p.Pop.Lock(k)
	}
	return p.Pop.TryLock(k)
}

// ackInOrder acknowledges a message of an ordered pop. It returns a remark if the message is not out, and false if it would have to wait.
func (p *Processor) ackInOrder(k pop.Key, offset, popTime int64, from string, mayBlock bool) (remark string, ok bool) {
	old, _ := p.Offsets.Query(k.Group, k.Topic, k.Queue)
	if offset < old {
		return "", true
	}
	k.Group, k.Topic = strings.Clone(k.Group), strings.Clone(k.Topic)
	q := p.popQueue(k, mayBlock)
	if q == nil {
		return "", false
	}
	defer q.Unlock()
	if old, _ = p.Offsets.Query(k.Group, k.Topic, k.Queue); offset < old {
		return "", true
	}
	next := p.Pop.Orders.Ack(k, offset, popTime)
	switch {
	case next > -1:
		if !p.Offsets.ResetPending(k.Group, k.Topic, k.Queue) {
			p.Pop.Skip(q, next)
		}
		if !p.Pop.Orders.Blocked(k, "", 0, p.Now().UnixMilli()) {
			p.Pop.Waiting.Notify(k)
		}
	case next == -1:
		return fmt.Sprintf("offset is illegal, key:%s@%s@%d, old:%d, commit:%d, next:%d, /%s", k.Topic, k.Group, k.Queue, old, offset, next, from), true
	}
	p.Pop.Returned(k, popTime)
	return "", true
}

// acked answers when all acks of a request are safe. What was staged is committed at the end of the batch of requests, with one write.
type acked struct {
	p       *Processor
	r       *remoting.Request // until all is called
	replier remoting.Replier
	from    string // whose they are, for remarks
	left    atomic.Int32
	lost    atomic.Bool
	last    store.PutResult // behind the others
	code    int32
	remark  string
	header  header.Encodable
}

func (p *Processor) newAcked(r *remoting.Request) *acked {
	d := &acked{p: p, r: r, replier: r.Replier(), from: remoteText(r.Conn())}
	d.left.Store(1)
	return d
}

// refuse has the answer be an error. It is for the handler only.
func (d *acked) refuse(c int32, remark string) { d.code, d.remark = c, remark }

// expect comes before a put: its completion may come before the put returns.
func (d *acked) expect() { d.left.Add(1) }

// put is the result of a put. One that the store refuses is an error: the message comes back although its consumer is through.
func (d *acked) put(res store.PutResult) {
	if c, kept := putCode(res.Status); !kept {
		d.refuse(c, fmt.Sprintf("ack is not stored: %v", res.Err))
	} else if res.NextOffset > d.last.NextOffset {
		d.last = res
	}
	if !res.Pending { // else Complete counts
		d.left.Add(-1)
	}
}

// all says that nothing more is put.
func (d *acked) all() {
	r := d.r
	d.r = nil
	d.p.putOff(r, d)
}

// end makes acked a staged request.
func (d *acked) end(*batchEnd) {
	if d.last.NextOffset > 0 {
		if err := d.p.Store.Commit(&d.last); err != nil {
			d.refuse(code.SystemError, fmt.Sprintf("ack is not stored: %v", err))
		}
	}
	if d.left.Add(-1) == 0 {
		d.answer()
	}
}

// broken makes acked a staged request. What its end holds of left stays, so that Complete does not answer.
func (d *acked) broken() remoting.Replier { return d.replier }

// Complete makes acked a [store.Completion]. That the disk was too slow is no failure: the ack is stored. Where it was sent to another
// broker it may be lost.
func (d *acked) Complete(s store.PutStatus) {
	if _, kept := putCode(s); !kept {
		d.lost.Store(true)
	}
	if d.left.Add(-1) == 0 {
		d.answer()
	}
}

func (d *acked) answer() {
	if d.code == code.Success && d.lost.Load() {
		d.refuse(code.SystemError, "ack is not stored: no other broker has taken it")
	}
	d.replier.Reply(&remoting.Reply{Code: d.code, Remark: d.remark, Header: d.header})
}
