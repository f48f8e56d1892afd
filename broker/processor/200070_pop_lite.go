package processor

import (
	"fmt"
	"math"
	"strings"
	"time"

	"apogee/broker/hold"
	"apogee/broker/lite"
	"apogee/broker/pop"
	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store"
)

// 200070 POP_LITE_MESSAGE: messages of whatever lite topics a client subscribes to and something new is in, in order within each
// (PopLiteMessageProcessor). A lite topic of which messages are out is passed over; an acknowledgement, or the end of their time, brings it back.
//
// Answers, checked in this order:
//   - 210 if the request has been on its way for too long, 16 if the broker is not readable, 29 for more than 32 messages
//   - 17 without the topic, 16 if it is not readable, 29 if it is no parent of lite topics
//   - 26 without the group, 16 if it may not consume, 29 if it is not bound to the topic
//   - 0 with messages; else it waits for pollTime: 210 then, 209 if too many wait
//
// It reads the log and runs in the pull lane.
func (p *Processor) popLite(r *remoting.Request) {
	op := &litePop{p: p, replier: r.Replier(), conn: r.Conn()}
	if !decode(r, &op.hdr) {
		return
	}
	h := &op.hdr
	h.ClientID, h.ConsumerGroup, h.Topic = strings.Clone(h.ClientID), strings.Clone(h.ConsumerGroup), strings.Clone(h.Topic)
	h.AttemptID = strings.Clone(h.AttemptID)
	if h.BornTime == 0 {
		h.BornTime = p.Now().UnixMilli()
	}
	op.entry.Waiter, op.entry.Topic = op, liteWaiting(h.ClientID)
	r.HandOver()
	if op.admit() {
		op.run(true)
	}
}

// litePopLate is how much later than its time a request may come.
const litePopLate = 500 // ms

// liteWaiting is under what name the pops of a client are held; no topic can be called so.
func liteWaiting(client string) string { return "\x00lite\x00" + client }

// litePop is one pop of lite topics, from its arrival until its answer.
type litePop struct {
	entry   hold.Entry
	p       *Processor
	replier remoting.Replier
	conn    *remoting.Conn
	hdr     header.PopLiteMessageRequest

	got    []*store.GetResult
	counts []byte
	answer header.PopLiteMessageResponse
}

func (op *litePop) fail(c int32, format string, args ...any) bool {
	op.replier.Reply(&remoting.Reply{Code: c, Remark: fmt.Sprintf(format, args...)})
	return false
}

func (op *litePop) admit() bool {
	p, h, cfg := op.p, &op.hdr, op.p.cfg()
	if p.Now().UnixMilli()-h.BornTime-h.PollTime > litePopLate {
		return op.fail(code.PollingTimeout, "the broker[%s] pop message is timeout too much", cfg.IP1)
	}
	if cfg.Permission&int(body.PermRead) == 0 {
		return op.fail(code.NoPermission, "the broker[%s] pop message is forbidden", cfg.IP1)
	}
	if h.MaxMsgNum > pop.MaxBatch {
		return op.fail(code.InvalidParameter, "the broker[%s] pop message's num is greater than 32", cfg.IP1)
	}
	t, ok := p.Topics.Get(h.Topic)
	switch {
	case !ok:
		return op.fail(code.TopicNotExist, "topic [%s] not exist, apply first please! %s", h.Topic, faq)
	case t.Perm&body.PermRead == 0:
		return op.fail(code.NoPermission, "the topic [%s] peeking message is forbidden", h.Topic)
	case !liteParent(t):
		return op.fail(code.InvalidParameter, "the topic [%s] message type not match", h.Topic)
	}
	g, ok := p.Groups.Ensure(h.ConsumerGroup)
	switch {
	case !ok:
		return op.fail(code.SubscriptionGroupNotExist, "subscription group [%s] not exist, %s", h.ConsumerGroup, faq)
	case !g.ConsumeEnable:
		return op.fail(code.NoPermission, "subscription group no permission, %s", h.ConsumerGroup)
	case g.Attributes["lite.bind.topic"] != h.Topic:
		return op.fail(code.InvalidParameter, "subscription bind topic not match, %s", h.ConsumerGroup)
	}
	return true
}

// liteParent tells whether a topic has lite topics.
func liteParent(t *body.TopicConfig) bool { return t.Attributes["message.type"] == "LITE" }

// run takes what there is and answers, or waits.
func (op *litePop) run(mayWait bool) {
	defer op.p.answerPanic(op.replier)
	now := op.p.Now().UnixMilli()
	for {
		op.collect(now)
		if len(op.got) > 0 || !mayWait {
			break
		}
		left := op.hdr.BornTime + op.hdr.PollTime - op.p.Now().UnixMilli()
		if op.hdr.PollTime <= 0 || left <= 0 {
			break
		}
		switch op.p.Hold.Park(&op.entry, op.conn, time.Duration(left)*time.Millisecond) {
		case hold.Parked:
			if op.conn != nil && op.conn.Closed() {
				op.p.Hold.Drop(op.conn)
			}
			return
		case hold.Full:
			op.say(now, code.PollingFull)
			return
		case hold.Closed:
			mayWait = false
		}
	}
	if len(op.got) == 0 {
		op.say(now, code.PollingTimeout)
		return
	}
	op.say(now, code.Success)
}

// collect pops from the client's events until there are enough messages. Each lite topic gets one turn; what came to it after that is an
// event again, since nobody else would tell of it.
func (op *litePop) collect(now int64) {
	h, turns := &op.hdr, make(map[string]bool)
	var again []string
	defer func() {
		for _, queue := range again {
			op.p.Lite.Dispatch(h.ConsumerGroup, queue)
		}
	}()
	for n := int32(0); n < h.MaxMsgNum; {
		queue := op.p.Lite.Next(h.ClientID)
		if queue == "" {
			return
		}
		if turns[queue] {
			again = append(again, queue)
			continue
		}
		turns[queue] = true
		n += op.take(queue, h.MaxMsgNum-n, now)
	}
}

// take pops one lite topic and returns how many messages it gave.
func (op *litePop) take(queue string, most int32, now int64) int32 {
	p, h := op.p, &op.hdr
	k := pop.Key{Topic: queue, Group: h.ConsumerGroup}
	if !p.Lite.Lock(k) {
		return 0
	}
	defer p.Lite.Unlock(k)
	invisible := time.Duration(h.InvisibleTime) * time.Millisecond
	if p.LiteOrders.Blocked(k, h.AttemptID, invisible, now) {
		return 0
	}
	res := op.read(queue, p.litePlace(k), most)
	if res.Status != store.Found || res.Count == 0 {
		res.Release()
		return 0
	}
	offsets := make([]int64, 0, res.Count)
	for off := res.Next - int64(res.Count); off < res.Next; off++ {
		offsets = append(offsets, off)
	}
	// One count for each message: how often it was handed out before.
	part := p.LiteOrders.Taken(k, h.AttemptID, now, invisible, offsets, nil)
	op.counts = appendLiteCounts(op.counts, string(part), res.Count)
	op.got = append(op.got, res)
	p.Stats.Got(h.Topic, h.ConsumerGroup, int64(res.Count), int64(res.Bytes))
	return int32(res.Count)
}

// read reads from an offset, or from where the queue says instead. The result has messages without a gap before them.
func (op *litePop) read(queue string, at int64, most int32) *store.GetResult {
	res := new(store.GetResult)
	req := store.GetRequest{Topic: queue, Offset: at, MaxCount: most, MaxBytes: math.MaxInt32}
	op.p.Reader.Get(&req, res)
	switch res.Status {
	case store.Found, store.OffsetOverflowOne, store.NoMessageInQueue:
	default: // an offset that is not there any more
		op.p.Offsets.Commit(op.hdr.ConsumerGroup, queue, 0, res.Next)
		req.Offset = res.Next
		res.Release()
		op.p.Reader.Get(&req, res)
	}
	if res.Status == store.Found && res.Next-int64(res.Count) != req.Offset { // messages between are gone: one alone has a known offset
		req.MaxCount = 1
		res.Release()
		op.p.Reader.Get(&req, res)
	}
	if res.Status == store.Found {
		res.Load()
	}
	return res
}

// litePlace is where a group goes on in a lite topic: an order to start elsewhere, what it committed, or where new groups start.
func (p *Processor) litePlace(k pop.Key) int64 {
	off, ok := p.Offsets.Query(k.Group, k.Topic, 0)
	if !ok || off < 0 {
		lo, hi := p.Queues.MinOffset(k.Topic, 0), p.Queues.MaxOffset(k.Topic, 0)
		if off = max(0, hi-1); lo <= 0 && p.Queues.InMemory(k.Topic, 0, 0) {
			off = 0
		}
		p.Offsets.Commit(k.Group, k.Topic, 0, off)
	}
	if reset, ok := p.Offsets.TakeReset(k.Group, k.Topic, 0); ok {
		p.LiteOrders.Clear(k)
		p.Offsets.Commit(k.Group, k.Topic, 0, reset)
		return reset
	}
	return off
}

// appendLiteCounts makes one count a message of what an ordered pop says of its batch: nothing, parts for messages and one for the queue,
// or the last alone.
func appendLiteCounts(dst []byte, part string, n int) []byte {
	parts := strings.Split(part, ";")
	if len(dst) > 0 {
		dst = append(dst, ';')
	}
	if len(parts) > 1 {
		return append(dst, part[:strings.LastIndexByte(part, ';')]...)
	}
	count := "0"
	if words := strings.Split(part, " "); len(words) == 3 {
		count = words[2]
	}
	for i := range n {
		if i > 0 {
			dst = append(dst, ';')
		}
		dst = append(dst, count...)
	}
	return dst
}

func (op *litePop) say(now int64, c int32) {
	op.answer = header.PopLiteMessageResponse{
		PopTime: now, InvisibleTime: op.hdr.InvisibleTime, ReviveQid: pop.OrderQueue, OrderCountInfo: string(op.counts),
	}
	reply := &remoting.Reply{Code: c, Remark: store.NoMessageInQueue.String(), Header: &op.answer}
	if len(op.got) > 0 {
		reply.Remark = store.Found.String()
		for _, res := range op.got {
			reply.Regions = append(reply.Regions, res.Regions...)
		}
		reply.Release = func() {
			for _, res := range op.got {
				res.Release()
			}
		}
	}
	op.replier.Reply(reply)
}

// Ready, Wants and Wake make a pop a [hold.Waiter]. A pop of no messages is never ready: it waits for its end.
func (op *litePop) Ready() bool { return op.hdr.MaxMsgNum > 0 && op.p.Lite.Ready(op.hdr.ClientID) }

// Wants is true: whoever wakes a client has an event for it.
func (op *litePop) Wants(*store.Arrival) bool { return true }

// Wake runs the pop again, on the lane, since it reads.
func (op *litePop) Wake(why hold.Reason, _ *remoting.Batch) {
	if why == hold.Gone {
		return
	}
	if !op.p.Lanes.Pull.Submit(func() { op.run(why == hold.Arrived) }) {
		op.fail(code.SystemBusy, remarkOverload)
	}
}

// WakeLite wakes the pops of a client that wait.
func (p *Processor) WakeLite(client string) {
	p.Hold.Arrive([]store.Arrival{{Topic: liteWaiting(client), Next: 1}})
}

// liteAck acknowledges a message of a lite topic (AckMessageProcessor.ackLite). False: the request is not about one.
//
// Answers: 29 for a group that is not bound to the topic, and for a receipt of anything but a lite pop; 208 for an offset behind the end; 13 for
// one that is not out; 0, also for one that was acknowledged before.
func (p *Processor) liteAck(r *remoting.Request, group, topic, liteTopic, extraInfo string, queue int32, offset int64) bool {
	if strings.TrimSpace(liteTopic) == "" {
		return false
	}
	if g, ok := p.Groups.Get(group); !ok || g.Attributes["lite.bind.topic"] != topic {
		r.Fail(code.InvalidParameter, "group type or bind topic not match.")
		return true
	}
	k := pop.Key{Topic: lite.Queue(topic, liteTopic), Group: strings.Clone(group)}
	if offset > p.Queues.MaxOffset(k.Topic, 0) {
		r.Fail(code.NoMessage, "ack offset illegal.")
		return true
	}
	receipt, err := pop.ParseReceipt(extraInfo)
	switch {
	case err != nil:
		r.Fail(code.SystemError, "%v", err)
	case queue != 0 || !receipt.Order():
		r.Fail(code.InvalidParameter, "ack queue illegal.")
	case !p.liteCommit(k, offset, &receipt):
		r.Fail(code.MessageIllegal, "ack offset illegal.")
	default:
		replyOK(r)
	}
	return true
}

// liteCommit is false for an offset that is not out.
func (p *Processor) liteCommit(k pop.Key, offset int64, receipt *pop.Receipt) bool {
	p.liteAcks.Lock() // acknowledgements are committed in the order in which they count
	defer p.liteAcks.Unlock()
	if at, _ := p.Offsets.Query(k.Group, k.Topic, 0); offset < at {
		return true
	}
	next := p.LiteOrders.Ack(k, offset, receipt.PopTime)
	if next < 0 {
		return next != -1
	}
	if !p.Offsets.ResetPending(k.Group, k.Topic, 0) {
		p.Offsets.Commit(k.Group, k.Topic, 0, next)
	}
	if !p.LiteOrders.Blocked(k, "", time.Duration(receipt.Invisible)*time.Millisecond, p.Now().UnixMilli()) && next < p.Queues.MaxOffset(k.Topic, 0) {
		p.Lite.Dispatch(k.Group, k.Topic)
	}
	return true
}

// liteChange has a message of a lite topic come again at another time (ChangeInvisibleTimeProcessor.processChangeInvisibleTimeForLite).
// 208 for an offset behind the end, 1 for a receipt that cannot be read; else 0.
func (p *Processor) liteChange(r *remoting.Request, h *header.ChangeInvisibleTimeRequest) {
	k := pop.Key{Topic: lite.Queue(h.Topic, h.LiteTopic), Group: strings.Clone(h.ConsumerGroup)}
	if h.Offset > p.Queues.MaxOffset(k.Topic, 0) {
		p.unchanged(r, code.NoMessage, "")
		return
	}
	receipt, err := pop.ParseReceipt(h.ExtraInfo)
	if err != nil {
		p.unchanged(r, code.SystemError, err.Error())
		return
	}
	p.liteAcks.Lock()
	defer p.liteAcks.Unlock()
	if at, _ := p.Offsets.Query(k.Group, k.Topic, 0); h.Offset < at {
		p.unchanged(r, code.Success, "")
		return
	}
	visible := p.Now().UnixMilli() + h.InvisibleTime
	p.LiteOrders.Postpone(k, h.Offset, receipt.PopTime, visible)
	r.Reply(&remoting.Reply{Header: &header.ChangeInvisibleTimeResponse{
		PopTime: receipt.PopTime, InvisibleTime: visible - receipt.PopTime, ReviveQid: receipt.ReviveQueue,
	}})
}
