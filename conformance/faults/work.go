package faults

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"apogee/broker/pop"
	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store/record"
)

// Topics of the load.
const (
	plainTopics = 3       // T0, T1, ...: made by an operator, or by the first send
	batchTopic  = "B0"    // of queue.type BatchCQ
	popTopic    = "P0"    // whose group is popGroup
	lateTopic   = "D0"    // messages of delay levels arrive here
	timedTopic  = "S0"    // timed ones here
	tranTopic   = "X0"    // and those of transactions here
	popGroup    = "PG"    //
	offsetGroup = "OG"    // commits offsets
	producer    = "P"     //
	poppedFor   = 1000    // ms
	halfFlag    = 4       // of the system flags
	rolledBackT = 12      // END_TRANSACTION: roll back
	commitT     = 8       // commit
	tagOfAll    = "*"     //
	maxBody     = 3000    //
	largeBody   = 9 << 10 //
)

func plainTopic(i int) string { return fmt.Sprint("T", i) }

// load is what the clients of one life do.
type load struct {
	*node
	ledger *ledger
	clock  *clock
	life   string
	timers bool // timed messages and pops
	clean  bool // old files are deleted on request: no message that is delivered later, since it may be in one
}

// run works with some clients until each has made its requests, or ctx ends.
func (l *load) run(ctx context.Context, rnd *rand.Rand, clients, requests int) {
	l.makeTopic(ctx, batchTopic, "+queue.type=BatchCQ", queues)
	for i := range 2 {
		g := body.NewSubscriptionGroupConfig(fmt.Sprint(offsetGroup, i))
		_, _ = l.want(ctx, code.UpdateAndCreateSubscriptionGroup, nil, fastjson.Marshal(&g))
	}
	var wg sync.WaitGroup
	for i := range clients {
		w := &worker{load: l, rnd: rand.New(rand.NewPCG(rnd.Uint64(), 7)), name: fmt.Sprintf("%s.%d", l.life, i), slot: i}
		wg.Go(func() {
			for range requests {
				if ctx.Err() != nil {
					return
				}
				w.one(ctx)
			}
		})
	}
	wg.Wait()
}

// worker is one client. What it is answered when something is refused does not matter here; only promises do.
type worker struct {
	*load
	rnd  *rand.Rand
	name string
	slot int // among its like
	n    int
}

func (w *worker) one(ctx context.Context) {
	switch n := w.rnd.IntN(100); {
	case n < 30:
		w.plain(ctx)
	case n < 38:
		w.batch(ctx)
	case n < 44:
		w.innerBatch(ctx)
	case n < 52 && !w.clean:
		w.transaction(ctx)
	case n < 60 && !w.clean:
		w.send(ctx, lateTopic, 0, "DELAY\x01"+strconv.Itoa(1+w.rnd.IntN(3))+"\x02", later)
	case n < 66 && w.timers:
		at := w.clock.now().UnixMilli() + int64(w.rnd.IntN(1500))
		w.send(ctx, timedTopic, 0, "TIMER_DELIVER_MS\x01"+strconv.FormatInt(at, 10)+"\x02", later)
	case n < 74 && w.timers:
		w.send(ctx, popTopic, w.queue(), "", stored)
	case n < 82 && w.timers:
		w.pop(ctx)
	case n < 90:
		w.commitOffset(ctx)
	case n < 92:
		w.n++
		w.makeTopic(ctx, fmt.Sprintf("N%s_%d", strings.ReplaceAll(w.name, ".", "_"), w.n), "", int32(1+w.rnd.IntN(7)))
	case n < 94 && w.clean:
		_, _ = w.call(ctx, code.DeleteExpiredCommitLog, nil, nil)
	case n < 96:
		_, _ = w.call(ctx, code.QueryMessage, &header.QueryMessageRequest{Topic: plainTopic(0), Key: "k1", MaxNum: 8, EndTimestamp: 1 << 60}, nil)
	default:
		_, _ = w.call(ctx, code.PullMessage, pullHeader("reader", plainTopic(w.rnd.IntN(plainTopics)), w.queue(), 0), nil)
	}
}

func (w *worker) queue() int32 { return int32(w.rnd.IntN(queues)) }

// body is a text that is nowhere else.
func (w *worker) body() string {
	w.n++
	size := w.rnd.IntN(maxBody)
	if w.rnd.IntN(30) == 0 {
		size = largeBody
	}
	return fmt.Sprintf("%s.%d:", w.name, w.n) + strings.Repeat("x", size)
}

func (w *worker) plain(ctx context.Context) {
	w.send(ctx, plainTopic(w.rnd.IntN(plainTopics)), w.queue(), "KEYS\x01k"+strconv.Itoa(w.rnd.IntN(5))+"\x02", stored)
}

// send sends one message, and notes the answer.
func (w *worker) send(ctx context.Context, topic string, queue int32, props string, kind what) (fact, bool) {
	body := w.body()
	return w.put(ctx, code.SendMessage, sendHeader(topic, queue, props), []byte(body), body, kind)
}

func sendHeader(topic string, queue int32, props string) *header.SendMessageRequest {
	return &header.SendMessageRequest{
		ProducerGroup: producer, Topic: topic, DefaultTopic: "TBW102", DefaultTopicQueueNums: queues, QueueID: queue, Properties: props,
		BornTimestamp: time.Now().UnixMilli(),
	}
}

func (w *worker) put(ctx context.Context, request int32, h *header.SendMessageRequest, text []byte, body string, kind what) (fact, bool) {
	var a header.SendMessageResponse
	r, err := w.want(ctx, request, h, text)
	if err != nil || a.DecodeFields(r.Fields) != nil {
		return fact{}, false
	}
	first, _, _ := strings.Cut(a.MsgID, ",")
	_, phys, err := record.ParseMessageID(first)
	if err != nil {
		return fact{}, false
	}
	f := fact{what: kind, body: body, topic: h.Topic, queue: a.QueueID, off: a.QueueOffset, phys: phys}
	w.ledger.add(f)
	return f, true
}

// item is a message in the body of a batch.
func item(body, props string) []byte {
	be := binary.BigEndian
	var b []byte
	b = be.AppendUint32(b, uint32(4+4+4+4+4+len(body)+2+len(props)))
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	b = append(be.AppendUint32(b, uint32(len(body))), body...)
	return append(be.AppendUint16(b, uint16(len(props))), props...)
}

// batch sends a few messages at once. All or none is promised; the first stands for all.
func (w *worker) batch(ctx context.Context) {
	var text []byte
	var bodies []string
	for range 2 + w.rnd.IntN(4) {
		bodies = append(bodies, w.body())
		text = append(text, item(bodies[len(bodies)-1], "KEYS\x01k1\x02")...)
	}
	h := sendHeader(plainTopic(0), w.queue(), "")
	h.Batch = header.Some(true)
	f, ok := w.put(ctx, code.SendBatchMessage, h, text, bodies[0], stored)
	for _, body := range bodies[1:] {
		if ok {
			f.body, f.off, f.phys = body, f.off+1, -1
			w.ledger.add(f)
		}
	}
}

// innerBatch sends messages that become one record.
func (w *worker) innerBatch(ctx context.Context) {
	w.n++
	var text []byte
	for range 1 + w.rnd.IntN(4) {
		text = append(text, item(w.body(), "")...)
	}
	h := sendHeader(batchTopic, w.queue(), fmt.Sprintf("UNIQ_KEY\x01%s-%d\x02", w.name, w.n))
	h.Batch = header.Some(true)
	w.put(ctx, code.SendBatchMessage, h, text, string(text), stored)
}

func (w *worker) transaction(ctx context.Context) {
	w.n++
	props := fmt.Sprintf("UNIQ_KEY\x01%s-%d\x02TRAN_MSG\x01true\x02PGROUP\x01%s\x02", w.name, w.n, producer)
	body := w.body()
	h := sendHeader(tranTopic, 0, props)
	h.SysFlag = halfFlag
	f, ok := w.put(ctx, code.SendMessage, h, []byte(body), body, half)
	if !ok {
		return
	}
	trying, done, end := committing, committed, int32(commitT)
	switch w.rnd.IntN(5) {
	case 0:
		return
	case 1:
		trying, done, end = rollingBack, rolledBack, rolledBackT
	}
	w.ledger.add(fact{what: trying, body: body, topic: tranTopic})
	if _, err := w.want(ctx, code.EndTransaction, &header.EndTransactionRequest{
		ProducerGroup: producer, TranStateTableOffset: f.off, CommitLogOffset: f.phys, CommitOrRollback: end, MsgID: "m",
	}, nil); err == nil {
		w.ledger.add(fact{what: done, body: body, topic: tranTopic, phys: -1})
	}
}

// pop takes messages and acknowledges some of them.
func (w *worker) pop(ctx context.Context) {
	messages, err := w.popSome(ctx, w.clock.now())
	if err != nil {
		return
	}
	for _, m := range messages {
		if w.rnd.IntN(3) == 0 {
			continue
		}
		w.ledger.add(fact{what: taken, body: m.body})
		_, _ = w.call(ctx, code.AckMessage, &header.AckMessageRequest{
			ConsumerGroup: popGroup, Topic: popTopic, QueueID: m.receipt.Queue, ExtraInfo: string(m.receipt.Append(nil)), Offset: m.receipt.Offset,
		}, nil)
	}
}

// poppedMessage is a message with what acknowledges it.
type poppedMessage struct {
	body    string
	receipt pop.Receipt
}

func (n *node) popSome(ctx context.Context, now time.Time) ([]poppedMessage, error) {
	r, err := n.want(ctx, code.PopMessage, &header.PopMessageRequest{
		ConsumerGroup: popGroup, Topic: popTopic, QueueID: -1, MaxMsgNums: 8, InvisibleTime: poppedFor, BornTime: now.UnixMilli(),
		ExpType: "TAG", Exp: tagOfAll,
	}, nil)
	if err != nil {
		return nil, err
	}
	var a header.PopMessageResponse
	if err := a.DecodeFields(r.Fields); err != nil {
		return nil, err
	}
	starts := make(map[int32]int64)
	for _, part := range strings.Split(a.StartOffsetInfo, ";") {
		var kind string
		var queue int32
		var start int64
		if n, _ := fmt.Sscanf(part, "%s %d %d", &kind, &queue, &start); n == 3 && kind == "0" {
			starts[queue] = start
		}
	}
	var out []poppedMessage
	for rest := r.Body; len(rest) > 0; {
		var m record.Message
		if err := record.Decode(rest, &m); err != nil {
			return out, fmt.Errorf("popped message: %w", err)
		}
		rest = rest[m.StoreSize:]
		p := poppedMessage{body: string(m.Body)}
		if text := record.Property(m.Properties, pop.PropReceipt); text != "" {
			if p.receipt, err = pop.ParseReceipt(text); err != nil {
				return out, err
			}
		} else {
			p.receipt = pop.Receipt{
				StartOffset: starts[m.QueueID], PopTime: a.PopTime, Invisible: a.InvisibleTime, ReviveQueue: a.ReviveQid, Kind: pop.KindNormal,
				Broker: "b", Queue: m.QueueID, Offset: m.QueueOffset,
			}
		}
		out = append(out, p)
	}
	return out, nil
}

func (w *worker) commitOffset(ctx context.Context) {
	// Each has its own: of two that commit at the same time the one that comes last counts, as with real consumers.
	p := place{fmt.Sprint(offsetGroup, w.slot/queues%2), plainTopic(0), int32(w.slot % queues)}
	off := w.ledger.next(p, int64(w.rnd.IntN(3)))
	if _, err := w.want(ctx, code.UpdateConsumerOffset, &header.UpdateConsumerOffsetRequest{
		ConsumerGroup: p.group, Topic: p.topic, QueueID: p.queue, CommitOffset: off,
	}, nil); err == nil {
		w.ledger.committed(p, off)
	}
}

// makeTopic has an operator make a topic.
func (l *load) makeTopic(ctx context.Context, name, attributes string, n int32) {
	if _, err := l.want(ctx, code.UpdateAndCreateTopic, &header.UpdateAndCreateTopicRequest{
		Topic: name, DefaultTopic: "TBW102", ReadQueueNums: n, WriteQueueNums: n, Perm: 6, TopicFilterType: "SINGLE_TAG", Attributes: attributes,
	}, nil); err == nil {
		l.ledger.add(fact{what: topicMade, topic: name, queue: n})
	}
}

func pullHeader(group, topic string, queue int32, off int64) *header.PullMessageRequest {
	return &header.PullMessageRequest{
		ConsumerGroup: group, Topic: topic, QueueID: queue, QueueOffset: off, MaxMsgNums: 32, SysFlag: 4, Subscription: tagOfAll, ExpressionType: "TAG",
	}
}
