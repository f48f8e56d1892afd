package conformance

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

var consumptionCases = []Case{
	{Area: "consumption", Feature: "Push consumer in clustering mode", Run: clustering},
	{Area: "consumption", Feature: "Push consumer in broadcasting mode", Run: broadcasting},
	{Area: "consumption", Feature: "Pull consumer / DefaultLitePullConsumer", Run: pullConsumer},
	{Area: "consumption", Feature: "Lite pull (code 361)", Own: true, Run: litePull},
	{Area: "consumption", Feature: "Long polling", Run: longPolling},
	{Area: "consumption", Feature: "One message for many held pulls", Run: manyHeldPulls},
	{Area: "consumption", Feature: "Client side rebalance and ids-changed push", Run: idsChanged},
	{Area: "consumption", Feature: "Consumer offset commit and query", Run: offsets},
	{Area: "consumption", Feature: "CONSUME_FROM_LAST/FIRST/TIMESTAMP", Own: true, Run: consumeFromWhere, Limit: 2 * time.Minute},
	{Area: "consumption", Feature: "Offset correction (too small / too big)", Own: true, Run: offsetCorrection},
	{Area: "consumption", Feature: "Reset offset by time while online", Run: resetOnline, Limit: 2 * time.Minute},
	{Area: "consumption", Feature: "Server side reset offset", Run: resetAtServer},
	{Area: "consumption", Feature: "Consumer retry via %RETRY% with delay levels", Run: consumerRetry},
	{Area: "consumption", Feature: "Dead letter queue after 16 tries", Run: deadLetters},
	{Area: "consumption", Feature: "Heartbeat V2 (fingerprint)", Run: heartbeatV2},
	{Area: "consumption", Feature: "Many groups on one connection", Run: manyGroups},
	{Area: "consumption", Feature: "Client expiry 120 s", Own: true, Run: clientExpiry},
	{Area: "consumption", Feature: "Group forbidden per topic", Run: groupForbidden},
	{Area: "consumption", Feature: "Group consumeEnable=false", Run: groupDisabled},
}

func clustering(t *T) {
	b := t.dial(t.shared.broker)
	topic, group := t.Name("Cluster"), t.Name("G")
	b.topic(topic, topicConf{read: 8})
	var one, two inbox
	t.push(t.shared, group, topic, "*", one.into)
	t.push(t.shared, group, topic, "*", two.into)
	p := t.producer(t.shared)
	// Until the queues are shared out, a message may come to one consumer or to both; what is shared out stays so.
	split, round := "", 0
	t.Until(50*time.Second, "the eight queues shared out four to four, in two rounds the same", func() (bool, string) {
		round++
		tag := fmt.Sprint("round ", round, " ")
		for q := range 8 {
			b.send(message{topic: topic, queue: q, body: []byte(tag + fmt.Sprint(q)), properties: wire.Properties("UNIQ_KEY", fmt.Sprint(topic, round, q))})
		}
		var first, second, all []int
		for end := time.Now().Add(3 * time.Second); len(all) < 8 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			first, second = one.queuesOf(tag), two.queuesOf(tag)
			all = slices.Compact(slices.Sorted(slices.Values(slices.Concat(first, second))))
		}
		before := split
		split = fmt.Sprint(first, " and ", second)
		return len(all) == 8 && len(first) == 4 && len(second) == 4 && split == before, split
	})
	for i := range 64 {
		t.sendSync(p, message1(topic, fmt.Sprint("after ", i)))
	}
	both := func() map[string]int {
		all := one.bodies()
		for k, n := range two.bodies() {
			all[k] += n
		}
		return all
	}
	t.Until(20*time.Second, "64 messages at the two consumers together", func() (bool, string) {
		n := 0
		for i := range 64 {
			if both()[fmt.Sprint("after ", i)] > 0 {
				n++
			}
		}
		return n == 64, fmt.Sprint(n)
	})
	for i := range 64 {
		Equal(t, fmt.Sprintf("deliveries of message %d", i), both()[fmt.Sprint("after ", i)], 1)
	}
	Equal(t, "queues of the first and of the second", fmt.Sprint(one.queuesOf("after "), " and ", two.queuesOf("after ")), split)
	list := b.json(code.GetConsumerListByGroup, wire.Ext("consumerGroup", group), nil)
	ids, _ := wire.At(list, "consumerIdList").([]any)
	Equal(t, "members of the group", len(ids), 2)
}

func broadcasting(t *T) {
	b := t.dial(t.shared.broker)
	topic, group := t.Name("Broadcast"), t.Name("G")
	b.topic(topic, topicConf{read: 4})
	var one, two inbox
	model := consumer.WithConsumerModel(consumer.BroadCasting)
	t.push(t.shared, group, topic, "*", one.into, model)
	t.push(t.shared, group, topic, "*", two.into, model)
	p := t.producer(t.shared)
	var want []string
	for i := range 16 {
		want = append(want, fmt.Sprint("m", i))
		t.sendSync(p, message1(topic, want[i]))
	}
	t.awaitBodies(&one, 30*time.Second, want...)
	t.awaitBodies(&two, 30*time.Second, want...)
	// Offsets stay with the clients.
	b.want(code.QueryNotFound, code.QueryConsumerOffset,
		wire.Ext("consumerGroup", group, "topic", topic, "queueId", 0, "setZeroIfNotFound", false), nil)
}

func pullConsumer(t *T) {
	b := t.dial(t.shared.broker)
	topic, group := t.Name("Pull"), t.Name("G")
	b.topic(topic, topicConf{read: 2})
	for i := range 10 {
		b.send(message{topic: topic, queue: i % 2, body: []byte(fmt.Sprint("m", i)), properties: wire.Properties("UNIQ_KEY", fmt.Sprint("P", i))})
	}
	pc, err := rocketmq.NewPullConsumer(consumer.WithNsResolver(resolver(t.shared.namesrv)), consumer.WithGroupName(group),
		consumer.WithInstance(t.Name("C")))
	t.Must(err, "make a pull consumer")
	t.Must(pc.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}), "subscribe")
	t.Must(pc.Start(), "start a pull consumer")
	t.Cleanup(func() { _ = pc.Shutdown() })
	var got []string
	t.Until(30*time.Second, "ten messages polled", func() (bool, string) {
		cr, err := pc.Poll(context.Background(), time.Second)
		if err != nil {
			return false, err.Error()
		}
		for _, m := range cr.GetMsgList() {
			got = append(got, string(m.Body))
		}
		pc.ACK(context.Background(), cr, consumer.ConsumeSuccess)
		return len(got) >= 10, fmt.Sprint(got)
	})
	q := &primitive.MessageQueue{Topic: topic, BrokerName: t.shared.brokerName, QueueId: 1}
	res, err := pc.PullFrom(context.Background(), q, 2, 32)
	t.Must(err, "pull from an offset")
	Equal(t, "status", res.Status, primitive.PullFound)
	Equal(t, "messages from offset 2", len(res.GetMessageExts()), 3)
	Equal(t, "next offset", res.NextBeginOffset, int64(5))
	Equal(t, "first of them", string(res.GetMessageExts()[0].Body), "m5")
}

func litePull(t *T) {
	c := t.ownCluster(nil)
	b := t.dial(c.broker)
	topic := t.Name("Lite")
	b.topic(topic, topicConf{})
	b.send(message{topic: topic, body: []byte("x")})
	b.await(topic, 0, 1, 10*time.Second)
	f := b.ok(code.LitePullMessage, pullExt(t.Name("G"), topic, 0, 0, "sysFlag", pullSub|16), nil)
	recs, err := wire.Records(f.Body)
	t.Must(err, "messages")
	Equal(t, "messages", len(recs), 1)
	b.ok(code.UpdateBrokerConfig, nil, []byte("litePullMessageEnable=false\n"))
	f = b.want(code.NoPermission, code.LitePullMessage, pullExt(t.Name("G"), topic, 0, 0, "sysFlag", pullSub|16), nil)
	Equal(t, "forbiddenType", f.Ext["forbiddenType"], "1")
	b.ok(code.PullMessage, pullExt(t.Name("G"), topic, 0, 0), nil)
}

func longPolling(t *T) {
	b := t.dial(t.shared.broker)
	topic, group := t.Name("Hold"), t.Name("G")
	b.topic(topic, topicConf{})
	hold := func(ms int, sub string) <-chan *wire.Frame {
		wait, err := b.Begin(int(code.PullMessage),
			pullExt(group, topic, 0, 0, "sysFlag", pullSub|pullSuspend, "suspendTimeoutMillis", ms, "subscription", sub), nil)
		t.Must(err, "pull")
		return wait
	}
	// Without the flag, the answer comes at once.
	b.want(code.PullNotFound, code.PullMessage, pullExt(group, topic, 0, 0), nil)
	start := time.Now()
	f := <-hold(1500, "*")
	Equal(t, "answer at the deadline", f.Code, int(code.PullNotFound))
	if held := time.Since(start); held < 1400*time.Millisecond || held > 15*time.Second {
		t.Errorf("held for %v, want 1.5 s and a little", held)
	}
	// A message wakes it; one with another tag does not.
	wait := hold(20000, "wanted")
	b.send(message{topic: topic, body: []byte("other"), properties: wire.Properties("TAGS", "unwanted")})
	b.send(message{topic: topic, body: []byte("it"), properties: wire.Properties("TAGS", "wanted")})
	start = time.Now()
	select {
	case f = <-wait:
	case <-time.After(15 * time.Second):
		t.Fatalf("not woken by a message within 15 s")
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("woken %v after the message", took)
	}
	// It may be woken before the second message is in the queue; the next pull has it then.
	if f.Code == int(code.Success) {
		recs, err := wire.Records(f.Body)
		t.Must(err, "messages")
		Equal(t, "body", string(recs[0].Body), "it")
	}
}

func idsChanged(t *T) {
	topic, group := t.Name("Ids"), t.Name("G")
	one := t.dial(t.shared.broker)
	one.topic(topic, topicConf{read: 4})
	one.ok(code.HeartBeat, nil, heartbeat("c1", consumer2(group, topic), ""))
	notified := func(c *raw) int {
		n := 0
		for _, f := range c.Asked() {
			if f.Code == int(code.NotifyConsumerIDsChanged) && f.Ext["consumerGroup"] == group {
				n++
				if f.Flag&2 == 0 {
					t.Errorf("notification is not one-way")
				}
			}
		}
		return n
	}
	before := notified(one)
	two := t.dial(t.shared.broker)
	two.ok(code.HeartBeat, nil, heartbeat("c2", consumer2(group, topic), ""))
	t.Until(10*time.Second, "notification of the second member", func() (bool, string) { return notified(one) > before, "none" })
	list := one.json(code.GetConsumerListByGroup, wire.Ext("consumerGroup", group), nil)
	Equal(t, "members", fmt.Sprint(len(wire.At(list, "consumerIdList").([]any))), "2")
	// One that leaves, by request or by closing, is announced to the rest at once.
	before = notified(one)
	two.ok(code.UnregisterClient, wire.Ext("clientID", "c2", "consumerGroup", group), nil)
	t.Until(10*time.Second, "notification of the one that left", func() (bool, string) { return notified(one) > before, "none" })
	three := t.dial(t.shared.broker)
	three.ok(code.HeartBeat, nil, heartbeat("c3", consumer2(group, topic), ""))
	t.Until(10*time.Second, "notification of the third", func() (bool, string) { return notified(one) > before+1, "none" })
	before = notified(one)
	three.Close()
	t.Until(10*time.Second, "notification of the closed connection", func() (bool, string) { return notified(one) > before, "none" })
	list = one.json(code.GetConsumerListByGroup, wire.Ext("consumerGroup", group), nil)
	Equal(t, "members left", fmt.Sprint(wire.At(list, "consumerIdList")), "[c1]")
}

func consumer2(group, topic string) string { return consumerJSON(group, topic, "*", 1) }

func offsets(t *T) {
	b := t.dial(t.shared.broker)
	topic, group := t.Name("Offsets"), t.Name("G")
	b.topic(topic, topicConf{})
	b.group(group, "")
	query := wire.Ext("consumerGroup", group, "topic", topic, "queueId", 0, "setZeroIfNotFound", false)
	b.want(code.QueryNotFound, code.QueryConsumerOffset, query, nil)
	commit := func(off int) map[string]string {
		return wire.Ext("consumerGroup", group, "topic", topic, "queueId", 0, "commitOffset", off)
	}
	b.ok(code.UpdateConsumerOffset, commit(5), nil)
	Equal(t, "committed", b.ok(code.QueryConsumerOffset, query, nil).Int("offset"), 5)
	b.ok(code.UpdateConsumerOffset, commit(3), nil) // lower ones are taken too
	Equal(t, "committed again", b.ok(code.QueryConsumerOffset, query, nil).Int("offset"), 3)
	b.want(code.TopicNotExist, code.UpdateConsumerOffset,
		wire.Ext("consumerGroup", group, "topic", t.Name("Absent"), "queueId", 0, "commitOffset", 1), nil)
	// By a pull with the commit flag.
	b.call(code.PullMessage, pullExt(group, topic, 0, 0, "sysFlag", pullSub|pullCommit, "commitOffset", 7), nil)
	Equal(t, "committed by a pull", b.ok(code.QueryConsumerOffset, query, nil).Int("offset"), 7)
	// A consumer of the official client goes on where it ended.
	topic, group = t.Name("Offsets"), t.Name("G")
	b.topic(topic, topicConf{})
	p := t.producer(t.shared)
	for i := range 5 {
		t.sendSync(p, message1(topic, fmt.Sprint("m", i)))
	}
	var got inbox
	first := t.push(t.shared, group, topic, "*", got.into)
	t.awaitBodies(&got, 20*time.Second, "m0", "m4")
	t.Must(first.Shutdown(), "shut the first consumer down")
	t.sendSync(p, message1(topic, "m5"))
	var next inbox
	t.push(t.shared, group, topic, "*", next.into)
	t.awaitBodies(&next, 20*time.Second, "m5")
	Equal(t, "messages at the second consumer", next.len(), 1)
}

// onGolden starts a broker on an unpacked golden directory, with the settings that came with it.
func (t *T) onGolden(dir string) (*cluster, *raw) {
	ns := t.ownNamesrv(nil)
	conf, err := testkit.GoldenConf(dir)
	t.Must(err, "read the directory's settings")
	s, err := t.needTarget().Broker(dir, ns.Addr(), conf)
	t.Must(err, "start a broker on the directory")
	t.Cleanup(func() { _ = s.Stop() })
	c := &cluster{namesrv: ns.Addr(), broker: s.Addr(), brokerName: conf["brokerName"], servers: []testkit.Server{s}}
	t.Must(c.ready(), "register the broker")
	return c, t.dial(s.Addr())
}

// oldTopic starts a broker on a directory whose first files were deleted long ago: topics there have a first message above 0.
// It returns the topic, a queue of it, and where that queue begins and ends.
func (t *T) oldTopic() (c *cluster, b *raw, topic string, queue int, lowest, end int64) {
	dir := filepath.Join(t.tempDir(), "old")
	if err := testkit.UnpackGolden("segments", dir); err != nil {
		t.Skipf("no directory with deleted files: %v; it is among the golden directories, beside the repository or in APOGEE_SHARED", err)
	}
	c, b = t.onGolden(dir)
	all := b.json(code.GetAllTopicConfig, wire.Ext("topicSeq", 0), nil)
	for name := range wire.At(all, "topicConfigTable").(map[string]any) {
		for q := range 4 {
			lowest = b.call(code.GetMinOffset, wire.Ext("topic", name, "queueId", q), nil).Int("offset")
			end = b.call(code.GetMaxOffset, wire.Ext("topic", name, "queueId", q), nil).Int("offset")
			conf := b.json(code.GetTopicConfig, wire.Ext("topic", name), nil)
			if lowest > 0 && end > lowest+1 && wire.Num(wire.At(conf, "perm")) == "6" && name[0] != '%' && name[:4] != "rmq_" && name[:4] != "RMQ_" {
				return c, b, name, q, lowest, end
			}
		}
	}
	t.Fatalf("no queue with a first message above 0 in the directory")
	return
}

func consumeFromWhere(t *T) {
	c, b, topic, queue, lowest, end := t.oldTopic()
	// The broker knows no offset of a new group there, so that the client decides.
	ask := wire.Ext("consumerGroup", t.Name("G"), "topic", topic, "queueId", queue)
	b.group(ask["consumerGroup"], "")
	b.want(code.QueryNotFound, code.QueryConsumerOffset, ask, nil)
	var last, first, byTime inbox
	t.push(c, t.Name("G"), topic, "*", last.into, consumer.WithConsumeFromWhere(consumer.ConsumeFromLastOffset))
	t.push(c, t.Name("G"), topic, "*", first.into, consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	t.push(c, t.Name("G"), topic, "*", byTime.into, consumer.WithConsumeFromWhere(consumer.ConsumeFromTimestamp),
		consumer.WithConsumeTimestamp("20000101000000"))
	at := func(b *inbox, off int64) bool {
		for _, m := range b.all() {
			if m.Queue.QueueId == queue && m.QueueOffset == off {
				return true
			}
		}
		return false
	}
	t.Until(40*time.Second, "FIRST begins at the first message", func() (bool, string) {
		return at(&first, lowest) && at(&first, end-1), fmt.Sprint(first.len(), " messages")
	})
	t.Until(40*time.Second, "TIMESTAMP long ago begins at the first message", func() (bool, string) {
		return at(&byTime, lowest), fmt.Sprint(byTime.len(), " messages")
	})
	// LAST gets what is sent from now on; keep sending, as the consumer settles on its offset at an unknown moment.
	var off int64
	t.Until(40*time.Second, "LAST gets a new message", func() (bool, string) {
		off = b.send(message{topic: topic, queue: queue, body: []byte("new"), properties: wire.Properties("UNIQ_KEY", "N")}).Int("queueOffset")
		return last.len() > 0, "none of " + fmt.Sprint(off)
	})
	for _, m := range last.all() {
		if m.Queue.QueueId == queue && m.QueueOffset < end {
			t.Errorf("LAST got old message %d of a queue that ended at %d", m.QueueOffset, end)
		}
	}
	// A young topic begins at 0 whatever the client wants.
	young := t.Name("Young")
	b.topic(young, topicConf{})
	b.send(message{topic: young, body: []byte("y"), properties: wire.Properties("UNIQ_KEY", "Y")})
	var all inbox
	t.push(c, t.Name("G"), young, "*", all.into, consumer.WithConsumeFromWhere(consumer.ConsumeFromLastOffset))
	t.awaitBodies(&all, 20*time.Second, "y")
}

func offsetCorrection(t *T) {
	_, b, topic, queue, lowest, end := t.oldTopic()
	check := func(what string, offset, next int64, codes ...int32) {
		f := b.call(code.PullMessage, pullExt(t.Name("G"), topic, queue, offset), nil)
		Equal(t, "answer to a pull "+what, f.Code, int(codes[0]))
		Equal(t, "next offset of a pull "+what, f.Int("nextBeginOffset"), next)
		Equal(t, "minOffset of a pull "+what, f.Int("minOffset"), lowest)
		Equal(t, "maxOffset of a pull "+what, f.Int("maxOffset"), end)
	}
	check("below the first message", lowest-1, lowest, code.PullOffsetMoved)
	check("at 0", 0, lowest, code.PullOffsetMoved)
	check("above the end", end+100, end, code.PullOffsetMoved)
	check("at the end", end, end, code.PullNotFound)
	empty := t.Name("Empty")
	b.topic(empty, topicConf{})
	f := b.want(code.PullNotFound, code.PullMessage, pullExt(t.Name("G"), empty, 0, 0), nil)
	Equal(t, "next offset in an empty queue", f.Int("nextBeginOffset"), 0)
	f = b.want(code.PullOffsetMoved, code.PullMessage, pullExt(t.Name("G"), empty, 0, 9), nil)
	Equal(t, "next offset above an empty queue", f.Int("nextBeginOffset"), 0)
}

func resetOnline(t *T) {
	b := t.dial(t.shared.broker)
	topic, group := t.Name("Reset"), t.Name("G")
	b.topic(topic, topicConf{})
	p := t.producer(t.shared)
	for i := range 6 {
		t.sendSync(p, message1(topic, fmt.Sprint("m", i)))
	}
	recs := b.await(topic, 0, 6, 10*time.Second)
	var got inbox
	t.push(t.shared, group, topic, "*", got.into)
	t.awaitBodies(&got, 20*time.Second, "m0", "m5")
	b.ok(code.InvokeBrokerToResetOffset,
		wire.Ext("topic", topic, "group", group, "timestamp", recs[3].StoreTime, "isForce", true, "queueId", -1, "offset", -1), nil)
	t.Until(90*time.Second, "messages from the time on once more", func() (bool, string) {
		n := got.bodies()
		return n["m3"] > 1 && n["m4"] > 1 && n["m5"] > 1, fmt.Sprint(n)
	})
	if n := got.bodies(); recs[2].StoreTime < recs[3].StoreTime && n["m0"]+n["m1"]+n["m2"] != 3 {
		t.Errorf("messages before the time came again: %v", n)
	}
}

func resetAtServer(t *T) {
	b := t.dial(t.shared.broker)
	topic, group := t.Name("Reset"), t.Name("G")
	b.topic(topic, topicConf{})
	b.group(group, "")
	for i := range 5 {
		b.send(message{topic: topic, body: []byte(fmt.Sprint("m", i))})
	}
	b.await(topic, 0, 5, 10*time.Second)
	b.ok(code.UpdateConsumerOffset, wire.Ext("consumerGroup", group, "topic", topic, "queueId", 0, "commitOffset", 5), nil)
	b.ok(code.InvokeBrokerToResetOffset, wire.Ext("topic", topic, "group", group, "timestamp", 0, "isForce", true, "queueId", 0, "offset", 2), nil)
	// While the reset is pending, commits are taken but not kept.
	b.ok(code.UpdateConsumerOffset, wire.Ext("consumerGroup", group, "topic", topic, "queueId", 0, "commitOffset", 5), nil)
	query := wire.Ext("consumerGroup", group, "topic", topic, "queueId", 0)
	Equal(t, "offset while pending", b.ok(code.QueryConsumerOffset, query, nil).Int("offset"), 2)
	f := b.want(code.PullOffsetMoved, code.PullMessage, pullExt(group, topic, 0, 5), nil)
	Equal(t, "next offset", f.Int("nextBeginOffset"), 2)
	b.want(code.PullNotFound, code.PullMessage, pullExt(group, topic, 0, 5), nil) // once only
	b.ok(code.UpdateConsumerOffset, wire.Ext("consumerGroup", group, "topic", topic, "queueId", 0, "commitOffset", 4), nil)
	Equal(t, "offset afterwards", b.ok(code.QueryConsumerOffset, query, nil).Int("offset"), 4)
	b.want(code.TopicNotExist, code.InvokeBrokerToResetOffset,
		wire.Ext("topic", t.Name("Absent"), "group", group, "timestamp", 0, "isForce", true, "queueId", -1, "offset", -1), nil)
}

func consumerRetry(t *T) {
	b := t.dial(t.shared.broker)
	topic, group := t.Name("Retry"), t.Name("G")
	b.topic(topic, topicConf{})
	b.topic("%RETRY%"+group, topicConf{}) // so that the client has its route from the start, and not at its next look after 30 s
	t.sendSync(t.producer(t.shared), message1(topic, "again").WithTag("T").WithKeys([]string{"k"}))
	var got inbox
	var at [3]atomic.Int64
	t.push(t.shared, group, topic, "*", func(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		got.add(msgs...)
		at[min(2, msgs[0].ReconsumeTimes)].Store(time.Now().UnixMilli())
		if cc, ok := primitive.GetConcurrentlyCtx(ctx); ok {
			cc.DelayLevelWhenNextConsume = 1 // one second
		}
		if msgs[0].ReconsumeTimes < 2 {
			return consumer.ConsumeRetryLater, nil
		}
		return consumer.ConsumeSuccess, nil
	})
	t.Until(40*time.Second, "two more deliveries", func() (bool, string) { return got.len() >= 3, fmt.Sprint(got.len(), " deliveries") })
	for i, m := range got.all()[:3] {
		Equal(t, "reconsume times", m.ReconsumeTimes, int32(i))
		Equal(t, "topic", m.Topic, topic)
		Equal(t, "tag", m.GetTags(), "T")
	}
	if gap := at[1].Load() - at[0].Load(); gap < 900 || gap > 10000 {
		t.Errorf("redelivered after %d ms, want 1 s and a little", gap)
	}
	recs := b.records("%RETRY%"+group, 0, 0)
	if len(recs) < 2 {
		t.Fatalf("%d messages in the retry topic, want 2", len(recs))
	}
	first := b.records(topic, 0, 0)[0]
	for i, rec := range recs[:2] {
		Equal(t, "RETRY_TOPIC", rec.Properties["RETRY_TOPIC"], topic)
		Equal(t, "reconsume times stored", rec.ReconsumeTimes, i+1)
		Equal(t, "key kept", rec.Properties["UNIQ_KEY"], first.Properties["UNIQ_KEY"])
		_, phys, err := wire.OffsetID(rec.Properties["ORIGIN_MESSAGE_ID"])
		t.Must(err, "ORIGIN_MESSAGE_ID")
		Equal(t, "first message's position", phys, first.Physical)
	}
	// The default level is three above the number of tries: 10 s for the first.
	b.send(message{topic: topic, body: []byte("by code 36")})
	rec := b.await(topic, 0, 2, 10*time.Second)[1]
	own := t.Name("G")
	b.group(own, "")
	b.ok(code.ConsumerSendMsgBack, wire.Ext("offset", rec.Physical, "group", own, "delayLevel", 0, "originMsgId", "X", "originTopic", topic,
		"unitMode", false, "maxReconsumeTimes", 16), nil)
	f := b.call(code.ConsumerSendMsgBack, wire.Ext("offset", rec.Physical, "group", own, "delayLevel", 1, "originTopic", topic, "unitMode", false), nil)
	Equal(t, "send back with a level", f.Code, int(code.Success))
	back := b.await("%RETRY%"+own, 0, 1, 15*time.Second)[0] // the one with level 1 comes first
	Equal(t, "body sent back", string(back.Body), "by code 36")
	b.want(code.SystemError, code.ConsumerSendMsgBack, wire.Ext("offset", 1<<60, "group", own, "delayLevel", 1, "originTopic", topic, "unitMode", false), nil)
}

func deadLetters(t *T) {
	b := t.dial(t.shared.broker)
	topic, group := t.Name("Dead"), t.Name("G")
	b.topic(topic, topicConf{})
	b.topic("%RETRY%"+group, topicConf{})
	t.sendSync(t.producer(t.shared), message1(topic, "hopeless"))
	var got inbox
	t.push(t.shared, group, topic, "*", func(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		got.add(msgs...)
		if cc, ok := primitive.GetConcurrentlyCtx(ctx); ok {
			cc.DelayLevelWhenNextConsume = 1
		}
		return consumer.ConsumeRetryLater, nil
	}, consumer.WithMaxReconsumeTimes(1))
	dead := "%DLQ%" + group
	rec := b.await(dead, 0, 1, 40*time.Second)[0]
	Equal(t, "body", string(rec.Body), "hopeless")
	Equal(t, "RETRY_TOPIC", rec.Properties["RETRY_TOPIC"], topic)
	_, phys, err := wire.OffsetID(rec.Properties["ORIGIN_MESSAGE_ID"])
	t.Must(err, "ORIGIN_MESSAGE_ID")
	Equal(t, "first message's position", phys, b.records(topic, 0, 0)[0].Physical)
	Equal(t, "properties DELAY and WAIT", rec.Properties["DELAY"]+" "+rec.Properties["WAIT"], "0 false")
	Equal(t, "deliveries", got.len(), 2)
	conf := b.json(code.GetTopicConfig, wire.Ext("topic", dead), nil)
	Equal(t, "queues of the dead-letter topic", wire.Num(wire.At(conf, "writeQueueNums")), "1")
	Equal(t, "its permission", wire.Num(wire.At(conf, "perm")), "6")
	// After 16 tries without the client's say: the group's own number counts.
	b.send(message{topic: topic, body: []byte("x")})
	own := t.Name("G")
	b.group(own, `,"retryMaxTimes":0`)
	src := b.await(topic, 0, 2, 10*time.Second)[1]
	b.ok(code.ConsumerSendMsgBack, wire.Ext("offset", src.Physical, "group", own, "delayLevel", 0, "originTopic", topic, "unitMode", false), nil)
	Equal(t, "body in the dead-letter topic", string(b.await("%DLQ%"+own, 0, 1, 10*time.Second)[0].Body), "x")
	// What a client sends back by itself, to whatever queue of the retry topic, ends there too.
	b.topic("%RETRY%"+own, topicConf{})
	b.send(message{topic: "%RETRY%" + own, queue: -1, reconsume: 99, body: []byte("y")})
	Equal(t, "the second body in it", string(b.await("%DLQ%"+own, 0, 2, 10*time.Second)[1].Body), "y")
}

func heartbeatV2(t *T) {
	topic, group := t.Name("HB"), t.Name("G")
	b := t.dial(t.shared.broker)
	b.topic(topic, topicConf{})
	sub := consumerJSON(group, topic, "TagA", 7)
	f := b.ok(code.HeartBeat, nil, heartbeat("hb", sub, ""))
	Equal(t, "IS_SUPPORT_HEART_BEAT_V2 to version 1", f.Ext["IS_SUPPORT_HEART_BEAT_V2"], "true")
	Equal(t, "IS_SUB_CHANGE to version 1", f.Ext["IS_SUB_CHANGE"], "true")
	two := t.dial(t.shared.broker)
	beat := func(fingerprint int, bare bool) string {
		body := sub
		if bare {
			body = fmt.Sprintf(`{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":%q,`+
				`"messageModel":"CLUSTERING","subscriptionDataSet":[],"unitMode":false}`, group)
		}
		f := two.ok(code.HeartBeat, nil, heartbeat("hb2", body, fmt.Sprintf(`,"heartbeatFingerprint":%d,"withoutSub":%v`, fingerprint, bare)))
		return f.Ext["IS_SUB_CHANGE"]
	}
	Equal(t, "first with a fingerprint, after one without", beat(42, false), "true")
	Equal(t, "same fingerprint", beat(42, false), "false")
	Equal(t, "same fingerprint without subscriptions", beat(42, true), "false")
	v := b.json(code.GetConsumerConnectionList, wire.Ext("consumerGroup", group), nil)
	Equal(t, "subscription kept", fmt.Sprint(wire.At(v, "subscriptionTable", topic, "subString")), "TagA")
	conns, _ := wire.At(v, "connectionSet").([]any)
	Equal(t, "connections", len(conns), 2)
	Equal(t, "another fingerprint", beat(43, true), "true")
	Equal(t, "the same again", beat(43, true), "false")
	// A group that begins with a fingerprint.
	fresh := t.Name("G")
	three := t.dial(t.shared.broker)
	first := func(withoutSub bool) string {
		f := three.ok(code.HeartBeat, nil, heartbeat("hb3", consumerJSON(fresh, topic, "*", 7),
			fmt.Sprintf(`,"heartbeatFingerprint":42,"withoutSub":%v`, withoutSub)))
		return f.Ext["IS_SUB_CHANGE"]
	}
	Equal(t, "first of a group", first(false), "false")
	Equal(t, "second of a group", first(true), "false")
}

func clientExpiry(t *T) {
	// The time is a setting; the scan comes every ten seconds.
	c := t.ownCluster(testkit.Props{"channelExpiredTimeout": "1000"})
	b := t.dial(c.broker)
	topic, group := t.Name("Expiry"), t.Name("G")
	b.topic(topic, topicConf{})
	silent := t.dial(c.broker)
	silent.ok(code.HeartBeat, nil, heartbeat("silent", consumer2(group, topic), ""))
	Equal(t, "members", fmt.Sprint(wire.At(b.json(code.GetConsumerListByGroup, wire.Ext("consumerGroup", group), nil), "consumerIdList")), "[silent]")
	// Other requests do not count as signs of life.
	t.Until(45*time.Second, "the silent member gone", func() (bool, string) {
		if _, err := silent.Call(int(code.GetMaxOffset), wire.Ext("topic", topic, "queueId", 0), nil); err != nil {
			t.Logf("silent member's connection: %v", err)
		}
		f := b.call(code.GetConsumerListByGroup, wire.Ext("consumerGroup", group), nil)
		return f.Code == int(code.SystemError), f.String()
	})
	select {
	case <-silent.Done():
	case <-time.After(10 * time.Second):
		t.Errorf("connection of the expired member is still open")
	}
}

func groupForbidden(t *T) {
	topic, group := t.Name("Forbidden"), t.Name("G")
	b := t.dial(t.shared.broker)
	b.topic(topic, topicConf{})
	b.ok(code.HeartBeat, nil, heartbeat("f", consumer2(group, topic), ""))
	pull := pullExt(group, topic, 0, 0, "sysFlag", 0, "subVersion", 0)
	b.want(code.PullNotFound, code.PullMessage, pull, nil)
	v := b.json(code.UpdateAndGetGroupForbidden, wire.Ext("group", group, "topic", topic, "readable", false), nil)
	Equal(t, "readable", fmt.Sprint(wire.At(v, "readable")), "false")
	f := b.want(code.NoPermission, code.PullMessage, pull, nil)
	Equal(t, "forbiddenType", f.Ext["forbiddenType"], "5")
	b.want(code.PullNotFound, code.PullMessage, pullExt(group, topic, 0, 0), nil) // with a subscription in the request it is not looked at
	v = b.json(code.UpdateAndGetGroupForbidden, wire.Ext("group", group, "topic", topic, "readable", true), nil)
	Equal(t, "readable again", fmt.Sprint(wire.At(v, "readable")), "true")
	b.want(code.PullNotFound, code.PullMessage, pull, nil)
}

func groupDisabled(t *T) {
	topic, group := t.Name("Disabled"), t.Name("G")
	b := t.dial(t.shared.broker)
	b.topic(topic, topicConf{})
	b.group(group, `,"consumeEnable":false`)
	f := b.want(code.NoPermission, code.PullMessage, pullExt(group, topic, 0, 0), nil)
	Equal(t, "forbiddenType", f.Ext["forbiddenType"], "2")
	b.group(group, `,"consumeEnable":true`)
	b.want(code.PullNotFound, code.PullMessage, pullExt(group, topic, 0, 0), nil)
}
