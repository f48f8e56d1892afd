package processor

import (
	"math"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"apogee/broker/config"
	"apogee/broker/hold"
	"apogee/broker/pop"
	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store"
)

// popOp is one pop, from its arrival until its answer has been written. Ops are pooled with all that they point to. One goroutine at a
// time works on an op: the event loop's, the lane's, or that of whoever wakes it.
type popOp struct {
	wait    pop.Wait
	p       *Processor
	cfg     *config.Broker
	replier remoting.Replier
	conn    *remoting.Conn
	request *remoting.Request // while its handler works on the op

	hdr    header.PopMessageRequest // strings alias the frame until letGo
	group  *body.SubscriptionGroupConfig
	topic  *body.TopicConfig
	filter store.Filter
	waited bool // it has been held back
	last   bool // it is not held back any more
	cold   bool // what it reads may come from the disk

	// The walk over the queues.
	popTime   int64
	revive    int32
	luck      int // 0..99
	stage     popStage
	nth       int32 // queue within the stage, from where it began
	rest      int64
	contended bool // somebody else was popping from a queue
	ends      []queueEnd

	count   int
	results []*store.GetResult // [:used] hold files
	used    int
	regions [][]byte
	starts  []byte // startOffsetInfo
	offsets []byte // msgOffsetInfo
	orders  []byte // orderCountInfo
	batch   pop.Batch
	put     store.PutResult // of the last check point

	get    store.GetRequest
	answer header.PopMessageResponse
	reply  remoting.Reply
	out    *remoting.Batch // where the answer goes, with others; nil sends it at once

	onLane    func()
	onAgain   func()
	onWritten func()
}

// popStage is which of its topics a pop looks into.
type popStage uint8

const (
	popRetryFirst popStage = iota
	popNormal
	popRetryLast
	popDone
)

// queueEnd is how far a queue reached when the pop looked.
type queueEnd struct {
	topic   string
	queue   int32
	max     int64
	blocked bool // for an ordered pop
}

func (p *Processor) newPop(r *remoting.Request) *popOp {
	op, _ := p.pops.Get().(*popOp)
	if op == nil {
		op = &popOp{p: p}
		op.wait.Waiter = op
		op.onLane, op.onAgain, op.onWritten = op.onPullLane, op.rerun, op.written
	}
	op.cfg = p.cfg()
	op.replier, op.conn = r.Replier(), r.Conn()
	op.waited, op.last, op.cold, op.out, op.filter = false, false, false, nil, nil
	op.answer = header.PopMessageResponse{}
	return op
}

// free gives the op back. Nothing of it is in use any more.
func (op *popOp) free() {
	op.replier, op.conn, op.cfg, op.group, op.topic, op.filter = remoting.Replier{}, nil, nil, nil, nil, nil
	op.request = nil
	op.hdr, op.get = header.PopMessageRequest{}, store.GetRequest{}
	op.wait = pop.Wait{Waiter: op, Private: op.wait.Private}
	op.reply = remoting.Reply{}
	clear(op.regions)
	op.regions = op.regions[:0]
	clear(op.ends)
	op.ends = op.ends[:0]
	op.p.pops.Put(op)
}

// refuse answers an error and ends the op; it returns false for the convenience of checks.
func (op *popOp) refuse(c int32, remark string) bool {
	op.reply = remoting.Reply{Code: c, Remark: remark, Header: &op.answer}
	op.say()
	op.free()
	return false
}

func (op *popOp) say() {
	if op.out != nil {
		op.out.Reply(op.replier, &op.reply)
		return
	}
	op.replier.Reply(&op.reply)
}

// written is called when the messages have left, or never will.
func (op *popOp) written() {
	op.release()
	op.free()
}

func (op *popOp) release() {
	for _, res := range op.results[:op.used] {
		res.Release()
	}
	op.used = 0
}

// run begins the walk over the queues.
func (op *popOp) run() {
	op.popTime = op.p.Now().UnixMilli()
	op.luck = rand.IntN(100)
	op.revive = pop.OrderQueue
	if !op.hdr.Order {
		op.revive = op.p.Pop.ReviveQueue()
	}
	op.stage, op.nth, op.rest, op.contended, op.count, op.used = popRetryFirst, 0, 0, false, 0, 0
	op.put = store.PutResult{}
	op.starts, op.offsets, op.orders = op.starts[:0], op.offsets[:0], op.orders[:0]
	clear(op.ends)
	op.ends = op.ends[:0]
	op.walk()
}

// onPullLane goes on with the walk where the disk may be waited for.
func (op *popOp) onPullLane() {
	defer op.p.answerPanic(op.replier)
	op.cold = true
	op.walk()
}

// walk looks into the queues, from where it was interrupted, and answers. What has to wait for the disk goes on in a lane.
func (op *popOp) walk() {
	for ; op.stage < popDone; op.stage, op.nth = op.stage+1, 0 {
		topic := op.stageTopic()
		if topic == nil {
			continue
		}
		n := topic.ReadQueueNums
		if op.stage == popNormal && op.hdr.QueueID >= 0 {
			n = 1
		}
		for ; op.nth < n; op.nth++ {
			if !op.one(topic, op.queueOf(topic)) {
				op.letGo()
				if !op.p.Lanes.Pull.Submit(op.onLane) {
					op.release()
					op.refuse(code.SystemBusy, remarkOverload)
				}
				return
			}
		}
	}
	op.finish()
}

// queueOf is the queue of a topic whose turn it is. Pops start at any of them, but for those that heed priorities: they look into the queue
// of the highest one first, which is the last (priorityOrderAsc), or else the first.
func (op *popOp) queueOf(topic *body.TopicConfig) int32 {
	if op.stage == popNormal && op.hdr.QueueID >= 0 {
		return op.hdr.QueueID
	}
	at, n := op.nth, topic.ReadQueueNums
	if op.cfg.PriorityAsc {
		at = n - 1 - at
	}
	if !op.heeds() {
		at += int32(op.luck)
	}
	return at % max(n, 1)
}

// heeds tells whether priorities count in this pop: in a topic of them, and in so many of a hundred as the group says (priority.factor).
func (op *popOp) heeds() bool {
	if op.hdr.Order || op.topic.Attributes["message.type"] != "PRIORITY" {
		return false
	}
	factor := 100
	if n, err := strconv.Atoi(op.group.Attributes["priority.factor"]); err == nil {
		factor = n
	}
	return op.luck < factor
}

// stageTopic is the topic of the present stage, nil if there is nothing to do in it.
func (op *popOp) stageTopic() *body.TopicConfig {
	if op.stage == popNormal {
		return op.topic
	}
	percent := op.cfg.PopRetryFirst
	if op.heeds() {
		percent = op.cfg.PopRetryPriority
	}
	first := op.luck < percent
	if op.hdr.Order || first != (op.stage == popRetryFirst) || op.stage == popRetryLast && op.count >= int(op.hdr.MaxMsgNums) {
		return nil
	}
	name := pop.RetryTopic(op.topic.TopicName, op.group.GroupName, op.cfg.RetryTopicV2 && !(op.cfg.RetryTopicV1Read && op.luck%2 == 0))
	t, _ := op.p.Topics.Get(name)
	return t
}

// one pops from one queue. False means that the disk has to be waited for.
func (op *popOp) one(topic *body.TopicConfig, queue int32) bool {
	svc, h := op.p.Pop, &op.hdr
	k := pop.Key{Topic: topic.TopicName, Group: op.group.GroupName, Queue: queue}
	op.ends = append(op.ends, queueEnd{topic: k.Topic, queue: queue, max: op.p.Queues.MaxOffset(k.Topic, queue)})
	fromMin := h.InitMode == 0
	if svc.Quiet(k) {
		return true
	}
	q := svc.TryLock(k)
	if q == nil {
		op.contended = true
		if !h.Order {
			op.rest += op.backlog(k, svc.Offset(k, fromMin))
		}
		return true
	}
	defer q.Unlock()
	if svc.TooManyOut(q) {
		op.rest += op.backlog(k, svc.Offset(k, fromMin))
		return true
	}
	start := svc.Begin(q, fromMin)
	if h.Order {
		if svc.Orders.Blocked(k, h.AttemptID, op.invisible(), op.popTime) {
			op.ends[len(op.ends)-1].blocked = true
			return true
		}
		q.NoneOut()
	}
	if op.count >= int(h.MaxMsgNums) {
		op.rest += op.backlog(k, start)
		return true
	}
	if !op.cold && op.p.Reader.Cold(k.Topic, queue, start) {
		op.ends = op.ends[:len(op.ends)-1]
		return false
	}
	op.read(q, start)
	return true
}

func (op *popOp) invisible() time.Duration {
	return time.Duration(op.hdr.InvisibleTime) * time.Millisecond
}

func (op *popOp) backlog(k pop.Key, off int64) int64 {
	return op.p.Queues.MaxOffset(k.Topic, k.Queue) - off
}

// read takes messages from a queue that the op has locked.
func (op *popOp) read(q *pop.Queue, start int64) {
	k, svc := q.Key(), op.p.Pop
	if op.used == len(op.results) {
		op.results = append(op.results, new(store.GetResult))
	}
	res := op.results[op.used]
	op.used++
	op.get = store.GetRequest{
		Topic: k.Topic, QueueID: k.Queue, Offset: start, MaxCount: op.hdr.MaxMsgNums - int32(op.count), MaxBytes: math.MaxInt32,
		Filter: op.filter, Each: true, ByRecord: byRecord(op.filter),
	}
	op.p.Reader.Get(&op.get, res)
	switch res.Status {
	case store.OffsetTooSmall, store.OffsetOverflowBadly, store.OffsetFoundNull:
		// The group's offset has no message.
		op.p.Log.Warn("pop offset is corrected", "topic", k.Topic, "group", k.Group, "queue", k.Queue, "off", start, "next", res.Next)
		svc.Correct(q, res.Next)
		start, op.get.Offset = res.Next, res.Next
		op.p.Reader.Get(&op.get, res)
	}
	if res.Status == store.Found {
		if op.cold {
			res.Load()
		}
		if !op.take(q, start, res) {
			return
		}
	} else {
		switch res.Status {
		case store.NoMatchedMessage, store.OffsetFoundNull, store.MessageWasRemoving, store.NoMatchedLogicQueue:
			svc.Skip(q, res.Next)
		}
	}
	op.rest += res.Max - res.Next
}

// take makes what was found the client's; false if that is not possible, and the messages stay.
func (op *popOp) take(q *pop.Queue, start int64, res *store.GetResult) bool {
	k, svc, h := q.Key(), op.p.Pop, &op.hdr
	retry := op.stage != popNormal
	regions := len(op.regions)
	if retry && !op.cfg.PopRealRetryTopic {
		if err := op.reword(k, start, res); err != nil {
			op.p.Log.Error("messages of a retry topic are damaged", "topic", k.Topic, "queue", k.Queue, "off", start, "err", err)
			op.regions = op.regions[:regions]
			return false
		}
	} else {
		op.regions = append(op.regions, res.Regions...)
	}
	if h.Order {
		op.orders = svc.Orders.Taken(k, h.AttemptID, op.popTime, op.invisible(), res.Offsets, op.orders)
		svc.Skip(q, start)
		op.batch.Put = store.PutResult{}
	} else {
		op.batch = pop.Batch{
			Start: start, Next: res.Next, Offsets: res.Offsets, PopTime: op.popTime, Invisible: h.InvisibleTime, ReviveQueue: op.revive,
		}
		if err := svc.Take(q, &op.batch); err != nil {
			op.p.Log.Error("pop", "topic", k.Topic, "group", k.Group, "queue", k.Queue, "err", err)
			op.regions = op.regions[:regions]
			op.rest += int64(res.Count)
			return false
		}
		op.p.Stats.Checked(op.topic.TopicName, k.Group)
	}
	if op.batch.Put.NextOffset > 0 { // the last is behind the others
		op.put = op.batch.Put
	}
	kind := pop.KindOf(k.Topic)
	op.starts = pop.AppendStartOffset(op.starts, kind, k.Queue, start)
	op.offsets = pop.AppendOffsets(op.offsets, kind, k.Queue, res.Offsets)
	q.Out(len(res.Offsets)) // as many as can be acknowledged: an inner batch is one
	op.count += res.Count
	op.p.Stats.Got(k.Topic, k.Group, int64(res.Count), int64(res.Bytes))
	return true
}

// reword gives messages of a retry topic the topic that was asked for, and their receipts.
func (op *popOp) reword(k pop.Key, start int64, res *store.GetResult) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch f := recover().(type) {
		case nil:
		case memoryFault:
			err = f
		default:
			panic(f)
		}
	}()
	r := pop.Receipt{
		StartOffset: start, PopTime: op.popTime, Invisible: op.hdr.InvisibleTime, ReviveQueue: op.revive, Kind: pop.KindOf(k.Topic),
		Broker: op.cfg.Name, Queue: k.Queue,
	}
	i := 0
	for _, region := range res.Regions {
		for len(region) > 0 && i < len(res.Offsets) {
			r.Offset = res.Offsets[i]
			i++
			var n int
			if op.regions, n, err = pop.Reword(op.regions, region, op.topic.TopicName, &r); err != nil {
				return err
			}
			region = region[n:]
		}
	}
	return nil
}

// memoryFault is the runtime's error for an access that the kernel refuses.
type memoryFault interface {
	runtime.Error
	Addr() uintptr
}

// finish answers, or waits.
func (op *popOp) finish() {
	if op.count > 0 {
		op.makeAnswer(code.Success, store.Found)
		r := op.request
		op.request = nil
		op.p.putOff(r, op)
		return
	}
	op.release()
	c := code.PollingTimeout
	switch op.park(op.key()) {
	case pop.Parked: // the op may be gone
		return
	case pop.Ready:
		op.again()
		return
	case pop.Full:
		c = code.PollingFull
	}
	op.makeAnswer(c, store.NoMessageInQueue)
	op.say()
	op.free()
}

// key is what others wait for.
func (op *popOp) key() pop.Key {
	return pop.Key{Topic: op.topic.TopicName, Group: op.group.GroupName, Queue: max(op.hdr.QueueID, -1)}
}

func (op *popOp) makeAnswer(c int32, status store.GetStatus) {
	op.answer = header.PopMessageResponse{
		PopTime: op.popTime, InvisibleTime: op.hdr.InvisibleTime, ReviveQid: op.revive, RestNum: op.rest,
		StartOffsetInfo: viewOf(op.starts), MsgOffsetInfo: viewOf(op.offsets), OrderCountInfo: viewOf(op.orders),
	}
	op.reply = remoting.Reply{Code: c, Remark: status.String(), Header: &op.answer}
}

// end makes an op a staged request: it gives the messages out, once what brings them back is where it outlives the process.
func (op *popOp) end(*batchEnd) {
	if err := op.p.Store.Commit(&op.put); err != nil {
		op.release()
		op.refuse(code.SystemError, err.Error())
		return
	}
	if op.rest > 0 {
		op.p.Pop.Waiting.Notify(op.key())
	}
	op.reply.Regions, op.reply.Release = op.regions, op.onWritten
	op.say() // the op may be gone when it returns
}

// broken makes an op a staged request. The op is never used again, and what its answer refers to is released by whoever has that.
func (op *popOp) broken() remoting.Replier {
	if op.reply.Release == nil {
		op.release()
	}
	return op.replier
}

// park holds the pop back, if it may wait.
func (op *popOp) park(key pop.Key) pop.Outcome {
	h := &op.hdr
	if h.PollTime <= 0 || op.last {
		return pop.TooLate
	}
	op.letGo()
	op.waited = true
	op.wait.Key, op.wait.Until, op.wait.Conn = key, h.BornTime+h.PollTime, op.conn
	contended, waiting := op.contended, op.p.Pop.Waiting
	out := waiting.Park(&op.wait) // from here on the op may be gone, if it is parked
	if out == pop.Parked && contended {
		waiting.Notify(key) // whoever was popping may be through, and have told nobody
	}
	return out
}

// again looks once more, in a lane: where messages that nobody wants keep coming, an event loop must not.
func (op *popOp) again() {
	if !op.p.Lanes.Pull.Submit(op.onAgain) {
		op.refuse(code.SystemBusy, remarkOverload)
	}
}

func (op *popOp) rerun() {
	defer op.p.answerPanic(op.replier)
	op.run()
}

// Ready, Wants and Wake make an op a [pop.Waiter].
func (op *popOp) Ready() bool {
	for i := range op.ends {
		e := &op.ends[i]
		if op.p.Queues.MaxOffset(e.topic, e.queue) > e.max {
			return true
		}
		k := pop.Key{Topic: e.topic, Group: op.wait.Key.Group, Queue: e.queue}
		if e.blocked && !op.p.Pop.Orders.Blocked(k, op.hdr.AttemptID, op.invisible(), op.p.Now().UnixMilli()) {
			return true
		}
	}
	return false
}

// Wants looks at an arrival as the read would.
func (op *popOp) Wants(a *store.Arrival) bool {
	f := op.filter
	return f == nil || f.MatchTags(a.TagsCode) && (a.Record == nil || f.MatchRecord(a.Record))
}

// Wake looks once more.
func (op *popOp) Wake(why hold.Reason, out *remoting.Batch) {
	if why == hold.Gone {
		op.free()
		return
	}
	defer op.p.answerPanic(op.replier)
	op.out = out
	op.last, op.cold = why != hold.Arrived, false
	op.cfg = op.p.cfg()
	op.group = nil
	if op.admit() {
		op.run()
	}
}
