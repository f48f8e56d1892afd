package conformance

import (
	"fmt"
	"strings"
	"time"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

// kindCases are the kinds of messages and topics that the store keeps in ways of their own.
var kindCases = []Case{
	{Area: "messaging", Feature: "Inner batch on BatchCQ topic", Run: innerBatch},
	{Area: "messaging", Feature: "Auto-batch producer", Run: autoBatch, Limit: 3 * time.Minute},
	{Area: "messaging", Feature: "LMQ (light message queue) multi dispatch", Run: lightQueues, Own: true, Limit: 3 * time.Minute},
	{Area: "messaging", Feature: "Compaction topic", Run: compactionTopic, Own: true, Limit: 3 * time.Minute},
}

func innerBatch(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("BatchCQ")
	b.topic(topic, topicConf{attributes: "+queue.type=BatchCQ"})
	send := func(unique string, bodies ...string) *wire.Frame {
		var items []wire.BatchItem
		for i, body := range bodies {
			items = append(items, wire.BatchItem{Body: []byte(body), Properties: wire.Properties("KEYS", fmt.Sprint("k", i))})
		}
		m := message{topic: topic, batch: true}
		if unique != "" {
			m.properties = wire.Properties("UNIQ_KEY", unique)
		}
		return b.ok(code.SendBatchMessage, m.short(), wire.Batch(items...))
	}
	f := send("U1", "a", "b", "c")
	Equal(t, "batchUniqId", f.Ext["batchUniqId"], "U1")
	Equal(t, "queueOffset", f.Int("queueOffset"), int64(0))
	Equal(t, "ids of one record", strings.Count(f.Ext["msgId"], ","), 0)
	f = send("U2", "d", "e")
	Equal(t, "offset of the next batch", f.Int("queueOffset"), int64(3))
	f = b.send(message{topic: topic, body: []byte("f")}) // a message of its own
	Equal(t, "offset of a message", f.Int("queueOffset"), int64(5))
	f = send("", "g", "h") // an envelope without a unique key: records of their own
	Equal(t, "offset of an old batch", f.Int("queueOffset"), int64(6))
	Equal(t, "ids of two records", strings.Count(f.Ext["msgId"], ","), 1)
	Equal(t, "batchUniqId of an old batch", f.Ext["batchUniqId"], "")

	t.Until(10*time.Second, "max offset", func() (bool, string) {
		f := b.ok(code.GetMaxOffset, wire.Ext("topic", topic, "queueId", 0), nil)
		return f.Int("offset") == 8, f.Ext["offset"]
	})
	recs := b.records(topic, 0, 0)
	Equal(t, "records", len(recs), 5)
	props := recs[0].Properties
	Equal(t, "INNER_NUM", props["INNER_NUM"], "3")
	Equal(t, "INNER_BASE of the second", recs[1].Properties["INNER_BASE"], "3")
	Equal(t, "flags", recs[0].SysFlag, 0xC0)
	Equal(t, "min offset", b.ok(code.GetMinOffset, wire.Ext("topic", topic, "queueId", 0), nil).Int("offset"), int64(0))

	for off, want := range map[int64]int64{0: 3, 1: 3, 2: 3, 3: 5, 4: 5, 5: 6, 7: 8} { // from inside a batch the whole of it comes
		f := b.ok(code.PullMessage, pullExt("conformance_reader", topic, 0, off, "maxMsgNums", 1), nil)
		Equal(t, fmt.Sprintf("next offset after a pull at %d", off), f.Int("nextBeginOffset"), want)
		got, err := wire.Records(f.Body)
		t.Must(err, "messages at %d", off)
		Equal(t, fmt.Sprintf("records of a pull of one at %d", off), len(got), 1)
	}
	f = b.call(code.PullMessage, pullExt("conformance_reader", topic, 0, 0, "maxMsgNums", 6), nil)
	got, err := wire.Records(f.Body)
	t.Must(err, "messages")
	Equal(t, "records of a pull of six messages", len(got), 3)
	f = b.call(code.PullMessage, pullExt("conformance_reader", topic, 0, 8), nil)
	Equal(t, "pull at the end", f.Code, int(code.PullNotFound))

	plain := t.Name("Plain")
	b.topic(plain, topicConf{})
	b.want(code.MessageIllegal, code.SendMessageV2, message{topic: plain, sysFlag: 0x80, properties: wire.Properties("INNER_NUM", "2")}.short(), []byte("x"))
	b.want(code.MessageIllegal, code.SendMessageV2, message{topic: topic, properties: wire.Properties("INNER_NUM", "2")}.short(), []byte("x"))
}

func autoBatch(t *T) {
	b := t.dial(t.shared.broker)
	batch, plain := t.Name("AutoBatchCQ"), t.Name("AutoBatch")
	b.topic(batch, topicConf{attributes: "+queue.type=BatchCQ"})
	b.topic(plain, topicConf{})
	t.javaProgram("Kinds", t.shared.namesrv, batch, plain)
}

func lightQueues(t *T) {
	c := t.ownCluster(testkit.Props{"enableLmq": "true", "enableMultiDispatch": "true", "enableLmqQuota": "true", "maxLmqConsumeQueueNum": "3"})
	b := t.dial(c.broker)
	b.topic("Parent", topicConf{})
	send := func(names, body string) message {
		return message{topic: "Parent", body: []byte(body), properties: wire.Properties("INNER_MULTI_DISPATCH", names, "TAGS", "mqtt")}
	}
	b.send(message{topic: "Parent", body: []byte("0")})
	b.send(send("%LMQ%a,%LMQ%b", "1"))
	b.send(send("%LMQ%b", "2"))
	b.send(send("%LMQ%a,%LMQ%b", "3"))

	texts := func(recs []wire.Record) string {
		var l []string
		for _, r := range recs {
			l = append(l, fmt.Sprintf("%s:%s:%s", r.Topic, r.Body, r.Properties["INNER_MULTI_QUEUE_OFFSET"]))
		}
		return strings.Join(l, " ")
	}
	Equal(t, "records of a", texts(b.await("%LMQ%a", 0, 2, 10*time.Second)), "Parent:1:0,0 Parent:3:1,2")
	Equal(t, "records of b", texts(b.await("%LMQ%b", 0, 3, 10*time.Second)), "Parent:1:0,0 Parent:2:1 Parent:3:1,2")
	Equal(t, "records of the parent", len(b.await("Parent", 0, 4, 10*time.Second)), 4)
	Equal(t, "records of b from 2 on", texts(b.records("%LMQ%b", 0, 2)), "Parent:3:1,2")
	Equal(t, "max offset of b", b.ok(code.GetMaxOffset, wire.Ext("topic", "%LMQ%b", "queueId", 0), nil).Int("offset"), int64(3))
	Equal(t, "min offset of b", b.ok(code.GetMinOffset, wire.Ext("topic", "%LMQ%b", "queueId", 0), nil).Int("offset"), int64(0))

	ext := wire.Ext("consumerGroup", "%LMQ%g", "topic", "%LMQ%b", "queueId", 0)
	update := wire.Ext("consumerGroup", "%LMQ%g", "topic", "%LMQ%b", "queueId", 0, "commitOffset", 2)
	b.ok(code.UpdateConsumerOffset, update, nil)
	Equal(t, "consumer offset", b.ok(code.QueryConsumerOffset, ext, nil).Int("offset"), int64(2))

	held, err := b.Begin(int(code.PullMessage), pullExt("%LMQ%g", "%LMQ%c", 0, 0, "sysFlag", pullSub|pullSuspend, "suspendTimeoutMillis", 15000), nil)
	t.Must(err, "pull")
	b.send(send("%LMQ%c", "4"))
	select {
	case f := <-held:
		Equal(t, "answer to a held pull", f.Code, int(code.Success))
	case <-time.After(10 * time.Second):
		t.Errorf("a held pull of a light queue was not answered")
	}

	b.want(code.LMQQuotaExceeded, code.SendMessageV2, send("%LMQ%d", "5").short(), []byte("5"))
	b.send(send("%LMQ%a,%LMQ%b,%LMQ%c", "6")) // those that are there
	Equal(t, "records of c", texts(b.await("%LMQ%c", 0, 2, 10*time.Second)), "Parent:4:0 Parent:6:2,3,1")
}

func compactionTopic(t *T) {
	c := t.ownCluster(testkit.Props{"compactionCqMappedFileSize": "460", "compactionMappedFileSize": "2300", "compactionScheduleInternal": "1000"})
	b := t.dial(c.broker)
	b.topic("Compacted", topicConf{attributes: "+cleanup.policy=COMPACTION"})
	b.want(code.MessageIllegal, code.SendMessageV2, message{topic: "Compacted"}.short(), []byte("no key"))
	const n = 40
	for i := range n {
		b.send(message{topic: "Compacted", body: []byte(fmt.Sprint("v", i)), properties: wire.Properties("KEYS", fmt.Sprint("k", i%4), "UNIQ_KEY", fmt.Sprint("u", i))})
	}
	last := func() []wire.Record { return b.records("Compacted", 0, 0) }
	// The newest file stays as it is, of the others only what is newest is kept.
	t.Until(40*time.Second, "old values gone", func() (bool, string) {
		got := last()
		return len(got) > 0 && len(got) <= n/2 && got[len(got)-1].QueueOffset == n-1, fmt.Sprintf("%d messages", len(got))
	})
	got := last()
	bodies := map[string]string{}
	for i, rec := range got {
		bodies[rec.Properties["KEYS"]] = string(rec.Body)
		if want := fmt.Sprint("v", rec.QueueOffset); string(rec.Body) != want {
			t.Errorf("message at %d is %s", rec.QueueOffset, rec.Body)
		}
		if i > 0 && rec.QueueOffset <= got[i-1].QueueOffset {
			t.Errorf("offset %d after %d", rec.QueueOffset, got[i-1].QueueOffset)
		}
	}
	for i := range 4 {
		Equal(t, fmt.Sprint("newest of k", i), bodies[fmt.Sprint("k", i)], fmt.Sprint("v", n-4+i))
	}
	first := got[0].QueueOffset
	f := b.ok(code.PullMessage, pullExt("conformance_reader", "Compacted", 0, 1, "maxMsgNums", 1), nil) // one that is gone
	Equal(t, "next offset after a pull at a gap", f.Int("nextBeginOffset"), first+1)
	Equal(t, "max offset", b.ok(code.GetMaxOffset, wire.Ext("topic", "Compacted", "queueId", 0), nil).Int("offset"), int64(n))
	f = b.call(code.PullMessage, pullExt("conformance_reader", "Compacted", 0, n), nil)
	Equal(t, "pull at the end", f.Code, int(code.PullNotFound))

	held, err := b.Begin(int(code.PullMessage), pullExt("conformance_reader", "Compacted", 0, n, "sysFlag", pullSub|pullSuspend, "suspendTimeoutMillis", 15000), nil)
	t.Must(err, "pull")
	b.send(message{topic: "Compacted", body: []byte(fmt.Sprint("v", n)), properties: wire.Properties("KEYS", "k0")})
	select {
	case f := <-held:
		Equal(t, "answer to a held pull", f.Code, int(code.Success))
	case <-time.After(10 * time.Second):
		t.Errorf("a held pull of a compaction topic was not answered")
	}
}
