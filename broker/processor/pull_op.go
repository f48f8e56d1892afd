package processor

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"apogee/broker/config"
	"apogee/broker/hold"
	"apogee/broker/meta"
	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store"
)

// pullOp is one pull, from its arrival until its answer has been written. Ops are pooled with all that they point to.
//
// One goroutine at a time works on an op: the event loop's, the lane's, or one of the hold table's.
type pullOp struct {
	entry   hold.Entry
	p       *Processor
	cfg     *config.Broker
	replier remoting.Replier
	conn    *remoting.Conn
	lite    bool

	hdr     header.PullMessageRequest // strings alias the frame until letGo
	group   *body.SubscriptionGroupConfig
	topic   *body.TopicConfig
	settled bool // the first run is through: commits are done, the filter is made
	suspend bool // a 19 may be held back
	cold    bool // what it reads is not in memory, and it may wait for that

	listener string // client id of one that broadcasts, else ""
	proxied  bool   // a proxy pulls for it

	get    store.GetRequest
	res    store.GetResult
	answer header.PullMessageResponse
	reply  remoting.Reply
	out    *remoting.Batch // where the answer goes, with others; nil sends it at once

	onLane    func() // read, as lanes want it; made once for each op
	onWritten func() // written, as replies want it
}

func (p *Processor) newPull(r *remoting.Request) *pullOp {
	op, _ := p.pulls.Get().(*pullOp)
	if op == nil {
		op = &pullOp{p: p}
		op.entry.Waiter = op
		op.onLane, op.onWritten = op.readCold, op.written
	}
	op.cfg = p.cfg()
	op.replier, op.conn = r.Replier(), r.Conn()
	op.lite = r.Code == code.LitePullMessage
	op.settled, op.suspend, op.cold, op.out = false, true, false, nil
	return op
}

// free gives the op back. Nothing of it is in use any more.
func (op *pullOp) free() {
	op.replier, op.conn, op.cfg, op.group, op.topic = remoting.Replier{}, nil, nil, nil, nil
	op.hdr = header.PullMessageRequest{}
	op.get.Filter, op.get.Topic = nil, ""
	op.listener, op.proxied = "", false
	op.reply = remoting.Reply{}
	op.p.pulls.Put(op)
}

// letGo replaces what aliases the frame by what does not, for an op that outlives its handler.
func (op *pullOp) letGo() {
	h := &op.hdr
	h.ConsumerGroup, h.Topic = op.group.GroupName, op.topic.TopicName
	h.LiteTopic, h.Subscription, h.ExpressionType, h.ProxyFrowardClientID = "", "", "", ""
}

// lane is where the op goes on if it has to block.
func (op *pullOp) lane() *remoting.Lane {
	if op.lite {
		return op.p.Lanes.LitePull
	}
	return op.p.Lanes.Pull
}

// refuse answers an error and ends the op; it returns false for the convenience of checks.
func (op *pullOp) refuse(c int32, forbidden, remark string) bool {
	op.reply = remoting.Reply{Code: c, Remark: remark}
	if forbidden != "" {
		op.reply.Extra = header.Fields{{Key: "forbiddenType", Value: forbidden}}
	}
	op.say()
	op.free()
	return false
}

// settle does what a request does once only: it commits the offset that it carries.
func (op *pullOp) settle() {
	h := &op.hdr
	op.settled = true
	if h.SysFlag&pullCommitOffset == 0 {
		return
	}
	// A commit from before a reset must not undo it.
	if op.p.Offsets.ResetPending(op.group.GroupName, op.topic.TopicName, h.QueueID) {
		return
	}
	if op.p.Offsets.CommitOfClient(op.group.GroupName, op.topic.TopicName, h.QueueID, h.CommitOffset) {
		op.p.Log.Debug("offset goes back", "group", op.group.GroupName, "topic", op.topic.TopicName, "queue", h.QueueID, "off", h.CommitOffset)
	}
}

// maxReads bounds how often a pull is read because something came in between: a producer that is always faster must not keep an event loop.
const maxReads = 3

// readCold is read on a lane, which may wait for the disk.
func (op *pullOp) readCold() {
	defer op.p.answerPanic(op.replier)
	op.cold = true
	op.read()
}

// read asks the store and answers, or parks the request.
func (op *pullOp) read() {
	h := &op.hdr
	if op.cfg.ServerSideReset {
		if off, ok := op.p.Offsets.TakeReset(op.group.GroupName, op.topic.TopicName, h.QueueID); ok {
			op.answerReset(off)
			return
		}
	}
	if op.listener != "" {
		if off, ok := op.p.Broadcast.Start(op.listening(), h.QueueID, h.QueueOffset); ok {
			op.res.Min, op.res.Max = 0, 0 // Java does not look
			op.answerOffset(off)
			return
		}
	}
	op.get.Topic, op.get.QueueID, op.get.Offset = op.topic.TopicName, h.QueueID, h.QueueOffset
	op.get.MaxCount, op.get.MaxBytes, op.get.ByRecord = max(1, h.MaxMsgNums), math.MaxInt32, byRecord(op.get.Filter)
	for reads := 1; ; reads++ {
		op.p.Reader.Get(&op.get, &op.res)
		if op.cold && op.res.Status == store.Found {
			op.res.Load()
		}
		if reads == maxReads || !op.mayPark() {
			op.send()
			return
		}
		op.res.Release()
		if op.listener != "" { // it is there, also while it waits
			op.p.Broadcast.Moved(op.listening(), h.QueueID, h.QueueOffset)
		}
		if op.park() {
			return
		}
		// Something has come since, or the table took no more and park has switched suspension off.
	}
}

// mayPark tells whether the outcome is one to wait with. A hole in the queue is none: it is behind the end already.
func (op *pullOp) mayPark() bool {
	if !op.suspend || op.hdr.SysFlag&pullSuspend == 0 || op.res.Status == store.OffsetFoundNull {
		return false
	}
	return pullCode(op.res.Status, op.hdr.QueueOffset) == code.PullNotFound
}

// park holds the request. False means that it is to be read again.
func (op *pullOp) park() bool {
	wait := time.Duration(op.hdr.SuspendTimeoutMillis) * time.Millisecond
	if !op.cfg.LongPolling {
		wait = op.cfg.ShortPolling
	}
	if wait <= 0 {
		op.suspend = false
		return false
	}
	op.letGo()
	conn, table := op.conn, op.p.Hold
	op.entry.Topic, op.entry.Queue, op.entry.Offset = op.topic.TopicName, op.hdr.QueueID, op.hdr.QueueOffset
	switch table.Park(&op.entry, conn, wait) {
	case hold.Parked:
		// From here on the op may be gone. A connection that closed before the parking has been dropped too early.
		if conn != nil && conn.Closed() {
			table.Drop(conn)
		}
		return true
	case hold.Full:
		op.refuse(code.SystemBusy, "", "too many pulls are held, start flow control for a while")
		return true
	case hold.Closed:
		op.suspend = false
	}
	return false
}

// Ready, Wants and Wake make an op a [hold.Waiter].
func (op *pullOp) Ready() bool {
	return op.p.Queues.ReadEnd(op.entry.Topic, op.entry.Queue) > op.entry.Offset
}

// Wants looks at an arrival as the read would.
func (op *pullOp) Wants(a *store.Arrival) bool {
	f := op.get.Filter
	return f == nil || f.MatchTags(a.TagsCode) && (a.Record == nil || f.MatchRecord(a.Record))
}

// Wake runs the request once more, for the last time.
func (op *pullOp) Wake(why hold.Reason, out *remoting.Batch) {
	if why == hold.Gone {
		op.free()
		return
	}
	defer op.p.answerPanic(op.replier)
	op.out = out
	op.suspend, op.cold = false, false
	op.cfg = op.p.cfg()
	op.group = nil
	if op.admit() {
		op.read()
	}
}

// answerReset tells the client to go on elsewhere, as an operator has ordered.
func (op *pullOp) answerReset(off int64) {
	topic, queue := op.topic.TopicName, op.hdr.QueueID
	op.res.Min, op.res.Max = op.p.Queues.MinOffset(topic, queue), op.p.Queues.MaxOffset(topic, queue)
	op.answerOffset(off)
}

func (op *pullOp) answerOffset(off int64) {
	op.res.Status, op.res.Next, op.res.Count, op.res.Regions = store.OffsetReset, off, 0, op.res.Regions[:0]
	op.res.FromSlave = false
	op.send()
}

// sourceProxyBroadcast is RequestSource PROXY_FOR_BROADCAST.
const sourceProxyBroadcast = 1

// findListener finds out for which client of a broadcasting group this is.
func (op *pullOp) findListener() {
	h := &op.hdr
	switch {
	case !op.cfg.BroadcastOffsets:
		op.listener = ""
	case h.RequestSource.Valid && h.RequestSource.Value == sourceProxyBroadcast:
		if !op.settled { // the name goes with the frame
			op.listener, op.proxied = strings.Clone(h.ProxyFrowardClientID), true
		}
	case op.conn != nil:
		op.listener = op.p.Consumers.Listener(h.ConsumerGroup, op.conn)
	}
}

func (op *pullOp) listening() meta.Listener {
	return meta.Listener{Topic: op.topic.TopicName, Group: op.group.GroupName, ClientID: op.listener, Proxied: op.proxied}
}

// send answers with what was read.
func (op *pullOp) send() {
	res, group, topic := &op.res, op.group, op.topic
	if res.Status != store.OffsetReset {
		op.p.Offsets.CommitPull(group.GroupName, topic.TopicName, op.hdr.QueueID, res.Next)
	}
	if op.listener != "" {
		at := op.hdr.QueueOffset
		if pullCode(res.Status, at) == code.PullOffsetMoved {
			at = res.Next
		}
		op.p.Broadcast.Moved(op.listening(), op.hdr.QueueID, at)
	}
	if op.cfg.DisableSlow {
		op.p.behind.note(group.GroupName, topic.TopicName, op.hdr.QueueID, res, op.p.Upkeep)
	}
	if op.cfg.FlowControl && op.conn != nil && !op.conn.Writable() {
		res.Release() // Java drops it too: the client's time-out is the flow control
		op.free()
		return
	}
	op.answer = header.PullMessageResponse{
		NextBeginOffset: res.Next, MinOffset: res.Min, MaxOffset: res.Max,
		TopicSysFlag: header.Some(topic.TopicSysFlag), GroupSysFlag: header.Some(group.GroupSysFlag),
	}
	if op.cfg.SlaveRead {
		op.answer.SuggestWhichBrokerID = group.BrokerID
		if res.FromSlave {
			op.answer.SuggestWhichBrokerID = group.WhichBrokerWhenConsumeSlowly
		}
	}
	op.reply = remoting.Reply{Code: pullCode(res.Status, op.hdr.QueueOffset), Remark: res.Status.String(), Header: &op.answer}
	if op.reply.Code == code.PullOffsetMoved && !op.cfg.Master() && !op.cfg.OffsetCheckInSlave {
		// A slave may be behind: its word on where queues begin and end does not move a group.
		op.reply.Code, op.answer.SuggestWhichBrokerID = code.PullRetryImmediately, group.BrokerID
	}
	if res.Status != store.Found {
		if res.Err != nil { // clients wait before they try again
			op.reply.Code, op.reply.Remark = code.SystemError, fmt.Sprintf("message %d of %s, queue %d, cannot be read: %v", res.Next, topic.TopicName, op.hdr.QueueID, res.Err)
		}
		op.say()
		res.Release()
		op.free()
		return
	}
	op.p.Stats.Got(topic.TopicName, group.GroupName, int64(res.Count), int64(res.Bytes))
	op.reply.Regions, op.reply.Release = res.Regions, op.onWritten
	op.say() // the op may be gone when it returns
}

// say sends the answer.
func (op *pullOp) say() {
	if op.out != nil {
		op.out.Reply(op.replier, &op.reply)
		return
	}
	op.replier.Reply(&op.reply)
}

// written is called when the messages have left, or never will.
func (op *pullOp) written() {
	op.res.Release()
	op.free()
}

// number tells whether a field is there and reads as a number.
func number(f header.Fields, key string, bits int) bool {
	v, _ := f.Get(key)
	_, err := strconv.ParseInt(v, 10, bits)
	return err == nil
}
