package conformance

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

var messagingCases = []Case{
	{Area: "messaging", Feature: "Synchronous send of a normal message", Run: syncSend},
	{Area: "messaging", Feature: "Asynchronous send with callback", Own: true, Run: asyncSend},
	{Area: "messaging", Feature: "One-way send", Run: onewaySend},
	{Area: "messaging", Feature: "SEND_MESSAGE_V2 short header names", Run: compactNames},
	{Area: "messaging", Feature: "Legacy SEND_MESSAGE (code 10)", Run: legacySend},
	{Area: "messaging", Feature: "Many sends in one piece of a connection", Run: manyInOnePiece},
	{Area: "messaging", Feature: "Batch send", Run: batchSend},
	{Area: "messaging", Feature: "Batch to %RETRY% or delayed batch refused", Run: batchRefused},
	{Area: "messaging", Feature: "Message body compression (zlib, lz4, zstd)", Run: compression},
	{Area: "messaging", Feature: "Message keys and tags", Run: keysAndTags},
	{Area: "messaging", Feature: "User properties", Run: userProperties},
	{Area: "messaging", Feature: "Send to chosen queue / selector", Run: chosenQueue},
	{Area: "messaging", Feature: "Auto topic creation via TBW102", Run: autoCreation},
	{Area: "messaging", Feature: "Auto creation disabled", Own: true, Run: autoCreationDisabled},
	{Area: "messaging", Feature: "Topic permission RW/R/W", Run: topicPermission},
	{Area: "messaging", Feature: "Different read and write queue numbers", Run: queueNumbers, Limit: 2 * time.Minute},
	{Area: "messaging", Feature: "Message size limit 4 MiB", Run: sizeLimit},
	{Area: "messaging", Feature: "Property size limit 32 KiB", Run: propertyLimit},
	{Area: "messaging", Feature: "Topic name validation", Run: topicNames},
	{Area: "messaging", Feature: "Reserved send topics refused", Run: reservedTopics},
	{Area: "messaging", Feature: "Unique client message id assigned by broker when missing", Run: brokerMadeID},
	{Area: "messaging", Feature: "Message version 2 for long topics (>127 bytes)", Own: true, Run: longTopic},
	{Area: "messaging", Feature: "Namespace support", Run: namespaces},
	{Area: "messaging", Feature: "Unit mode topics", Run: unitMode},
	{Area: "messaging", Feature: "Reply of region and trace switch", Run: regionAndTrace},
	{Area: "messaging", Feature: "Transient property CLUSTER", Run: clusterProperty},
}

func syncSend(t *T) {
	c, b := t.shared, t.dial(t.shared.broker)
	topic := t.Name("Sync")
	b.topic(topic, topicConf{})
	p := t.producer(c)
	for i := range 3 {
		res := t.sendSync(p, message1(topic, fmt.Sprint("body ", i)))
		Equal(t, "queue offset", res.QueueOffset, int64(i))
		Equal(t, "queue", res.MessageQueue.QueueId, 0)
		Equal(t, "broker", res.MessageQueue.BrokerName, c.brokerName)
		host, _, err := wire.OffsetID(res.OffsetMsgID)
		t.Must(err, "offset id")
		Equal(t, "host in the offset id", host.String(), c.broker)
		if len(res.MsgID) != 32 {
			t.Errorf("message id %q has not 32 characters", res.MsgID)
		}
	}
	for i, rec := range b.await(topic, 0, 3, 10*time.Second) {
		Equal(t, "body", string(rec.Body), fmt.Sprint("body ", i))
		Equal(t, "store host", rec.StoreHost.String(), c.broker)
		Equal(t, "magic", rec.Magic, wire.MagicV1)
	}
}

func asyncSend(t *T) {
	c := t.ownCluster(nil)
	topic := t.Name("Async")
	t.dial(c.broker).topic(topic, topicConf{read: 4})
	p := t.producer(c, producer.WithRetry(0), producer.WithSendMsgTimeout(3*time.Second))
	send := func(n int) (ok, failed int) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range n {
			wg.Add(1)
			err := p.SendAsync(context.Background(), func(_ context.Context, res *primitive.SendResult, err error) {
				defer wg.Done()
				mu.Lock()
				defer mu.Unlock()
				if err == nil && res.Status == primitive.SendOK {
					ok++
				} else {
					failed++
				}
			}, message1(topic, fmt.Sprint("m", i)))
			if err != nil { // refused before it was sent: no callback follows
				wg.Done()
				mu.Lock()
				failed++
				mu.Unlock()
			}
		}
		wg.Wait()
		return ok, failed
	}
	if ok, failed := send(50); ok != 50 {
		t.Fatalf("%d callbacks with success and %d with failure, want 50 successes", ok, failed)
	}
	t.Must(c.brokerServer().Kill(), "kill the broker")
	if ok, failed := send(3); failed != 3 {
		t.Fatalf("with the broker killed: %d callbacks with success and %d with failure, want 3 failures", ok, failed)
	}
}

func onewaySend(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("Oneway")
	b.topic(topic, topicConf{})
	p := t.producer(t.shared)
	t.Must(p.SendOneWay(context.Background(), message1(topic, "from the client")), "send one-way")
	opaque, err := b.Oneway(int(code.SendMessageV2), message{topic: topic}.short(), []byte("raw"))
	t.Must(err, "send one-way")
	b.await(topic, 0, 2, 10*time.Second)
	// Answers come in any order, but these requests were made after the one-way one was read.
	for _, f := range b.Stray() {
		if f.Opaque == opaque {
			t.Errorf("one-way request was answered: %v", f)
		}
	}
}

func compactNames(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("Compact")
	b.topic(topic, topicConf{read: 4})
	ext := message{topic: topic, queue: 3, flag: 7, properties: wire.Properties("TAGS", "x", "n", "v"), born: 1700000000123}.short()
	ext["n"] = t.shared.brokerName
	f := b.ok(code.SendMessageV2, ext, []byte("compact"))
	Equal(t, "queueId", f.Int("queueId"), 3)
	Equal(t, "queueOffset", f.Int("queueOffset"), 0)
	rec := b.await(topic, 3, 1, 10*time.Second)[0]
	Equal(t, "body", string(rec.Body), "compact")
	Equal(t, "flag", rec.Flag, 7)
	Equal(t, "born", rec.BornTime, 1700000000123)
	Equal(t, "property", rec.Properties["n"], "v")
	_, at, err := wire.OffsetID(f.Ext["msgId"])
	t.Must(err, "msgId of the answer")
	Equal(t, "position in msgId", at, rec.Physical)
}

func legacySend(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("Legacy")
	b.topic(topic, topicConf{})
	f := b.ok(code.SendMessage, message{topic: topic, properties: wire.Properties("UNIQ_KEY", "0A0B0C")}.long(), []byte("old"))
	Equal(t, "transactionId (the unique key)", f.Ext["transactionId"], "0A0B0C")
	Equal(t, "body", string(b.await(topic, 0, 1, 10*time.Second)[0].Body), "old")
	var got inbox
	t.push(t.shared, t.Name("G"), topic, "*", got.into)
	t.awaitBodies(&got, 20*time.Second, "old")
}

func batchSend(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("Batch")
	b.topic(topic, topicConf{})
	p := t.producer(t.shared)
	t.sendSync(p, message1(topic, "before"))
	res := t.sendSync(p, message1(topic, "b0"), message1(topic, "b1"), message1(topic, "b2"))
	Equal(t, "first queue offset", res.QueueOffset, int64(1))
	ids := strings.Split(res.OffsetMsgID, ",")
	Equal(t, "offset ids", len(ids), 3)
	recs := b.await(topic, 0, 4, 10*time.Second)
	for i, rec := range recs[1:] {
		Equal(t, "body", string(rec.Body), fmt.Sprint("b", i))
		Equal(t, "queue offset", rec.QueueOffset, int64(i+1))
		_, at, err := wire.OffsetID(ids[min(i, len(ids)-1)])
		t.Must(err, "offset id %d", i)
		Equal(t, "position", at, rec.Physical)
	}
}

func batchRefused(t *T) {
	b := t.dial(t.shared.broker)
	group := t.Name("G")
	b.group(group, "")
	body := wire.Batch(wire.BatchItem{Body: []byte("a")}, wire.BatchItem{Body: []byte("b")})
	m := message{topic: "%RETRY%" + group, batch: true, group: group}
	b.want(code.MessageIllegal, code.SendBatchMessage, m.short(), body)
	// The official client refuses a delayed message inside a batch; the broker is not asked.
	topic := t.Name("Batch")
	b.topic(topic, topicConf{})
	m.topic = topic
	b.ok(code.SendBatchMessage, m.short(), body)
}

func compression(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("Compressed")
	b.topic(topic, topicConf{})
	body := strings.Repeat("compressible ", 8192/13)
	p := t.producer(t.shared, producer.WithCompressMsgBodyOverHowmuch(4096))
	t.sendSync(p, message1(topic, body))
	rec := b.await(topic, 0, 1, 10*time.Second)[0]
	Equal(t, "compressed flag", rec.SysFlag&1, 1)
	if len(rec.Body) >= len(body)/2 {
		t.Errorf("stored body has %d bytes", len(rec.Body))
	}
	var got inbox
	t.push(t.shared, t.Name("G"), topic, "*", got.into)
	t.awaitBodies(&got, 20*time.Second, body)
	// The broker neither packs nor unpacks: other types are bytes with two bits of the flag.
	opaque := t.Name("Opaque")
	b.topic(opaque, topicConf{})
	for i, kind := range []int{0x101, 0x201, 0x301} {
		packed := bytes.Repeat([]byte{byte(kind), 0xFF, 0, 1}, 64)
		rec := b.one(message{topic: opaque, sysFlag: kind, body: packed})
		Equal(t, "queue offset", rec.QueueOffset, int64(i))
		Equal(t, "flag", rec.SysFlag, kind)
		Equal(t, "packed body kept", bytes.Equal(rec.Body, packed), true)
	}
}

func keysAndTags(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("Keys")
	b.topic(topic, topicConf{})
	m := message1(topic, "tagged").WithTag("TagA").WithKeys([]string{"key1", "key2"})
	t.sendSync(t.producer(t.shared), m)
	var got inbox
	t.push(t.shared, t.Name("G"), topic, "*", got.into)
	t.awaitBodies(&got, 20*time.Second, "tagged")
	Equal(t, "tag", got.all()[0].GetTags(), "TagA")
	Equal(t, "keys", strings.TrimSpace(got.all()[0].GetKeys()), "key1 key2")
}

func userProperties(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("Props")
	b.topic(topic, topicConf{})
	want := map[string]string{"plain": "value", "city": "北京 – Köln", "empty-looking": " ", "long": strings.Repeat("x", 5000), "smile": "😀"}
	m := message1(topic, "props")
	for k, v := range want {
		m.WithProperty(k, v)
	}
	t.sendSync(t.producer(t.shared), m)
	var got inbox
	t.push(t.shared, t.Name("G"), topic, "*", got.into)
	t.awaitBodies(&got, 20*time.Second, "props")
	for k, v := range want {
		Equal(t, "property "+k, got.all()[0].GetProperty(k), v)
	}
}

func chosenQueue(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("Chosen")
	b.topic(topic, topicConf{read: 4})
	byHash := t.producer(t.shared, producer.WithQueueSelector(producer.NewHashQueueSelector()))
	queues := map[int]bool{}
	for i := range 5 {
		m := message1(topic, fmt.Sprint("h", i))
		m.WithShardingKey("order-1")
		queues[t.sendSync(byHash, m).MessageQueue.QueueId] = true
	}
	Equal(t, "queues of one sharding key", len(queues), 1)
	manual := t.producer(t.shared, producer.WithQueueSelector(producer.NewManualQueueSelector()))
	for q := range 4 {
		m := message1(topic, "manual")
		m.Queue = &primitive.MessageQueue{Topic: topic, BrokerName: t.shared.brokerName, QueueId: q}
		Equal(t, "queue", t.sendSync(manual, m).MessageQueue.QueueId, q)
	}
	// A negative queue means any.
	if q := b.send(message{topic: topic, queue: -1}).Int("queueId"); q < 0 || q > 3 {
		t.Errorf("queue %d chosen by the broker", q)
	}
}

func autoCreation(t *T) {
	b, ns := t.dial(t.shared.broker), t.dial(t.shared.namesrv)
	topic := t.Name("Fresh")
	t.sendSync(t.producer(t.shared), message1(topic, "first"))
	var q map[string]any
	t.Until(10*time.Second, "route of the new topic", func() (bool, string) {
		f := ns.call(code.GetRouteInfoByTopic, wire.Ext("topic", topic, "acceptStandardJsonOnly", true), nil)
		if f.Code != 0 {
			return false, f.String()
		}
		v, err := wire.Loose(f.Body)
		t.Must(err, "route")
		q = queueData(v, t.shared.brokerName)
		return q != nil, string(f.Body)
	})
	Equal(t, "read queues (the client's 4)", wire.Num(q["readQueueNums"]), "4")
	Equal(t, "write queues", wire.Num(q["writeQueueNums"]), "4")
	Equal(t, "permission", wire.Num(q["perm"]), "6")
	for _, want := range []struct{ wish, queues int }{{16, 8}, {2, 2}} { // TBW102 has 8
		topic := t.Name("Fresh")
		b.send(message{topic: topic, queueNums: want.wish})
		conf := b.json(code.GetTopicConfig, wire.Ext("topic", topic), nil)
		Equal(t, fmt.Sprintf("queues for a wish of %d", want.wish), wire.Num(wire.At(conf, "writeQueueNums")), fmt.Sprint(want.queues))
	}
}

func autoCreationDisabled(t *T) {
	c := t.ownCluster(testkit.Props{"autoCreateTopicEnable": "false"})
	topic := t.Name("Fresh")
	p := t.producer(c, producer.WithRetry(0))
	if _, err := p.SendSync(context.Background(), message1(topic, "x")); err == nil {
		t.Errorf("the official client could send to a topic that does not exist")
	}
	b := t.dial(c.broker)
	f := b.want(code.TopicNotExist, code.SendMessageV2, message{topic: topic}.short(), []byte("x"))
	if !strings.Contains(f.Remark, topic) {
		t.Errorf("remark %q does not name the topic", f.Remark)
	}
	t.dial(c.namesrv).want(code.TopicNotExist, code.GetRouteInfoByTopic, wire.Ext("topic", topic), nil)
	b.topic(topic, topicConf{})
	b.send(message{topic: topic})
}

func topicPermission(t *T) {
	b, ns := t.dial(t.shared.broker), t.dial(t.shared.namesrv)
	topic := t.Name("Perm")
	b.topic(topic, topicConf{perm: 6})
	b.send(message{topic: topic, body: []byte("while writable")})
	b.topic(topic, topicConf{perm: 4})
	t.Until(10*time.Second, "permission 4 in the route", func() (bool, string) {
		perm := wire.Num(queueData(ns.route(topic), t.shared.brokerName)["perm"])
		return perm == "4", perm
	})
	if _, err := t.producer(t.shared, producer.WithRetry(0)).SendSync(context.Background(), message1(topic, "x")); err == nil {
		t.Errorf("the official client could send to a read-only topic")
	}
	// Only the route keeps producers away: the broker itself takes what is sent to a read-only topic.
	b.send(message{topic: topic, body: []byte("by an old route")})
	Equal(t, "messages readable", len(b.await(topic, 0, 2, 10*time.Second)), 2)
	b.topic(topic, topicConf{perm: 2})
	f := b.want(code.NoPermission, code.PullMessage, pullExt(t.Name("G"), topic, 0, 0), nil)
	Equal(t, "forbiddenType", f.Ext["forbiddenType"], "3")
}

func unevenQueues(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("Uneven")
	b.topic(topic, topicConf{read: 4, write: 8})
	adm, err := admin.NewAdmin(admin.WithResolver(resolver(t.shared.namesrv)))
	t.Must(err, "make an admin client")
	t.Cleanup(func() { _ = adm.Close() })
	queues, err := adm.FetchPublishMessageQueues(context.Background(), topic)
	t.Must(err, "queues to publish to")
	Equal(t, "queues to publish to", len(queues), 8)
	b.send(message{topic: topic, queue: 7})
	b.want(code.InvalidParameter, code.SendMessageV2, message{topic: topic, queue: 8}.short(), []byte("x"))
	b.ok(code.SendMessageV2, message{topic: topic, queue: 3}.short(), []byte("readable"))
	b.want(code.InvalidParameter, code.PullMessage, pullExt(t.Name("G"), topic, 7, 0), nil)
	b.await(topic, 3, 1, 10*time.Second)
	var got inbox
	p := t.producer(t.shared, producer.WithQueueSelector(producer.NewManualQueueSelector()))
	for q := range 4 {
		m := message1(topic, fmt.Sprint("q", q))
		m.Queue = &primitive.MessageQueue{Topic: topic, BrokerName: t.shared.brokerName, QueueId: q}
		t.sendSync(p, m)
	}
	t.push(t.shared, t.Name("G"), topic, "*", got.into)
	t.awaitBodies(&got, 20*time.Second, "q0", "q1", "q2", "q3", "readable")
}

func sizeLimit(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("Big")
	b.topic(topic, topicConf{})
	b.want(code.MessageIllegal, code.SendMessageV2, message{topic: topic}.short(), make([]byte, 5<<20))
	b.want(code.MessageIllegal, code.SendMessageV2, message{topic: topic}.short(), make([]byte, 4<<20+1))
	rec := b.one(message{topic: topic, body: bytes.Repeat([]byte{7}, 4<<20)})
	Equal(t, "largest body", len(rec.Body), 4<<20)
}

func propertyLimit(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("Props")
	b.topic(topic, topicConf{})
	send := func(n int) *wire.Frame {
		return b.trySend(message{topic: topic, properties: wire.Properties("k", strings.Repeat("v", n))})
	}
	Equal(t, "answer to 40 KiB of properties", send(40<<10).Code, int(code.MessageIllegal))
	Equal(t, "answer to 32 KiB of properties", send(32<<10).Code, int(code.MessageIllegal))
	Equal(t, "answer to 32,000 bytes of properties", send(32000).Code, int(code.Success))
}

func topicNames(t *T) {
	b := t.dial(t.shared.broker)
	for _, name := range []string{"a b", "a.b", "ünder", "a/b", strings.Repeat("t", 128)} {
		f := b.trySend(message{topic: name})
		Equal(t, fmt.Sprintf("send to %q", name), f.Code, int(code.InvalidParameter))
		f = b.call(code.UpdateAndCreateTopic, wire.Ext("topic", name, "defaultTopic", "TBW102", "readQueueNums", 1, "writeQueueNums", 1,
			"perm", 6, "topicFilterType", "SINGLE_TAG", "topicSysFlag", 0, "order", false), nil)
		Equal(t, fmt.Sprintf("create %q", name), f.Code, int(code.InvalidParameter))
	}
	for _, name := range []string{t.Name("A-z0_%|"), t.Name("t") + strings.Repeat("t", 100)} {
		Equal(t, fmt.Sprintf("send to %q", name), b.trySend(message{topic: name}).Code, int(code.Success))
	}
}

func reservedTopics(t *T) {
	b := t.dial(t.shared.broker)
	for _, name := range []string{
		"SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRANS_HALF_TOPIC", "RMQ_SYS_TRANS_OP_HALF_TOPIC", "TRANS_CHECK_MAX_TIME_TOPIC",
		"SELF_TEST_TOPIC", "OFFSET_MOVED_EVENT",
	} {
		for _, queue := range []int{0, -1} {
			f := b.trySend(message{topic: name, queue: queue, body: []byte("x")})
			Equal(t, fmt.Sprintf("send to queue %d of %s", queue, name), f.Code, int(code.NoPermission))
		}
	}
	Equal(t, "send to BenchmarkTest", b.trySend(message{topic: "BenchmarkTest", body: []byte("x")}).Code, int(code.Success))
}

func brokerMadeID(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("NoKey")
	b.topic(topic, topicConf{})
	ids := map[string]bool{}
	for range 3 {
		f := b.send(message{topic: topic, body: []byte("x")})
		if id := f.Ext["transactionId"]; len(id) != 32 {
			t.Errorf("transactionId %q has not 32 characters", id)
		}
		ids[f.Ext["transactionId"]] = true
	}
	for _, rec := range b.await(topic, 0, 3, 10*time.Second) {
		if !ids[rec.Properties["UNIQ_KEY"]] {
			t.Errorf("stored key %q was in no answer", rec.Properties["UNIQ_KEY"])
		}
	}
	Equal(t, "different ids", len(ids), 3)
}

// longTopic reads what the reference wrote: only pop makes such topics, in a directory that was made with it.
func longTopic(t *T) {
	dir := filepath.Join(t.tempDir(), "clean")
	if err := testkit.UnpackGolden("clean", dir); err != nil {
		t.Skipf("no directory with such a topic: %v; it is among the golden directories, beside the repository or in APOGEE_SHARED", err)
	}
	_, b := t.onGolden(dir)
	all := b.json(code.GetAllTopicConfig, wire.Ext("topicSeq", 0), nil)
	found := 0
	for name := range wire.At(all, "topicConfigTable").(map[string]any) {
		if len(name) <= 127 {
			continue
		}
		for _, rec := range b.records(name, 0, 0) {
			found++
			Equal(t, "magic", rec.Magic, wire.MagicV2)
			Equal(t, "topic", rec.Topic, name)
			Equal(t, "length of the body is that of the record's others", len(rec.Body) > 0, true)
		}
	}
	if found == 0 {
		t.Errorf("no message in a topic of more than 127 bytes")
	}
	// A client cannot send there: the group in the name is too long to exist.
	long := "%RETRY%" + strings.Repeat("g", 100) + "_" + strings.Repeat("t", 100)
	Equal(t, "send to a long retry topic", b.trySend(message{topic: long}).Code, int(code.SubscriptionGroupNotExist))
	Equal(t, "send to a topic over 255", b.trySend(message{topic: "%RETRY%" + strings.Repeat("t", 255)}).Code, int(code.InvalidParameter))
}

func namespaces(t *T) {
	ns, topic, group := t.Name("NS"), t.Name("Topic"), t.Name("G")
	b := t.dial(t.shared.broker)
	b.topic(ns+"%"+topic, topicConf{})
	res := t.sendSync(t.producer(t.shared, producer.WithNamespace(ns)), message1(topic, "inside"))
	Equal(t, "topic in the result", strings.TrimPrefix(res.MessageQueue.Topic, ns+"%"), topic)
	var got, outside inbox
	t.push(t.shared, group, topic, "*", got.into, consumer.WithNamespace(ns))
	t.awaitBodies(&got, 20*time.Second, "inside")
	Equal(t, "stored topic", b.records(ns+"%"+topic, 0, 0)[0].Topic, ns+"%"+topic)
	t.dial(t.shared.namesrv).want(code.TopicNotExist, code.GetRouteInfoByTopic, wire.Ext("topic", topic), nil)
	Equal(t, "messages outside", outside.len(), 0)
}

func unitMode(t *T) {
	b, ns := t.dial(t.shared.broker), t.dial(t.shared.namesrv)
	topic := t.Name("Unit")
	ext := message{topic: topic, body: []byte("x")}.short()
	ext["k"] = "true"
	b.ok(code.SendMessageV2, ext, []byte("x"))
	conf := b.json(code.GetTopicConfig, wire.Ext("topic", topic), nil)
	Equal(t, "topicSysFlag", wire.Num(wire.At(conf, "topicSysFlag")), "1")
	t.Until(10*time.Second, "topic in the unit list", func() (bool, string) {
		v := ns.json(code.GetUnitTopicList, nil, nil)
		list, _ := wire.At(v, "topicList").([]any)
		for _, name := range list {
			if name == topic {
				return true, ""
			}
		}
		return false, fmt.Sprint(list)
	})
}

func regionAndTrace(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("Region")
	b.topic(topic, topicConf{})
	f := b.send(message{topic: topic, body: []byte("x")})
	Equal(t, "MSG_REGION of the answer", f.Ext["MSG_REGION"], "DefaultRegion")
	Equal(t, "TRACE_ON of the answer", f.Ext["TRACE_ON"], "true")
	rec := b.await(topic, 0, 1, 10*time.Second)[0]
	Equal(t, "MSG_REGION stored", rec.Properties["MSG_REGION"], "DefaultRegion")
	Equal(t, "TRACE_ON stored", rec.Properties["TRACE_ON"], "true")
	// Refusals carry them too: old clients read them from every answer.
	f = b.trySend(message{topic: "a b"})
	Equal(t, "MSG_REGION of a refusal", f.Ext["MSG_REGION"], "DefaultRegion")
	res := t.sendSync(t.producer(t.shared), message1(topic, "y"))
	Equal(t, "region at the official client", res.RegionID, "DefaultRegion")
}

func clusterProperty(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("Cluster")
	b.topic(topic, topicConf{})
	v := t.dial(t.shared.namesrv).json(code.GetBrokerClusterInfo, nil, nil)
	want, _ := wire.At(v, "brokerAddrTable", t.shared.brokerName, "cluster").(string)
	Equal(t, "CLUSTER", b.one(message{topic: topic, body: []byte("x")}).Properties["CLUSTER"], want)
	b.ok(code.SendBatchMessage, message{topic: topic, batch: true}.short(), wire.Batch(wire.BatchItem{Body: []byte("y")}))
	// It goes into the properties of the batch, which no message of the batch gets.
	Equal(t, "properties of a message in a batch", fmt.Sprint(b.await(topic, 0, 2, 10*time.Second)[1].Properties), "map[]")
}
