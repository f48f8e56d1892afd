package conformance

import (
	"fmt"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

// traceCases are what clients tell of queues and messages besides the messages.
var traceCases = []Case{
	{Area: "messaging", Feature: "Priority message", Run: priorities, Limit: 2 * time.Minute},
	{Area: "observability", Feature: "Message trace topic", Own: true, Run: traceTopic, Limit: 4 * time.Minute},
}

// priorities: a message with a higher priority is popped before those that were there first. How often is up to the group.
func priorities(t *T) {
	b := t.dial(t.shared.broker)
	topic, group, never := t.Name("Priority"), t.Name("G"), t.Name("G")
	b.topic(topic, topicConf{read: 4, attributes: "+message.type=PRIORITY"})
	b.group(group, "")
	b.group(never, `,"attributes":{"+priority.factor":"0"}`)
	for _, p := range []int{0, 2, 1, 3, 99} {
		m := message{topic: topic, body: fmt.Append(nil, "p", p), properties: wire.Properties("_SYS_MSG_PRIORITY_", fmt.Sprint(p), "UNIQ_KEY", t.Name("K"))}
		Equal(t, fmt.Sprintf("queue of priority %d", p), b.send(m).Int("queueId"), int64(min(p, 3)))
	}
	for q := range 4 {
		b.await(topic, q, 1, 10*time.Second)
	}
	pop := func(group string, n int) (got string) {
		f := b.call(code.PopMessage, popExt(group, topic, "maxMsgNums", n, "invisibleTime", 60000), nil)
		recs, err := wire.Records(f.Body)
		t.Must(err, "popped messages")
		for _, rec := range recs {
			got += string(rec.Body) + " "
		}
		return got
	}
	Equal(t, "the highest", pop(group, 1), "p3 ")
	Equal(t, "next to the highest", pop(group, 1), "p99 ")
	Equal(t, "the rest", pop(group, 8), "p2 p1 p0 ")
	if got := pop(never, 8); len(strings.Fields(got)) != 5 {
		t.Errorf("messages of a group that heeds no priorities: %s", got)
	}
	t.javaProgram("Special", t.shared.namesrv, "priority", t.shared.broker, t.shared.brokerName, t.Name("JPriority"))
}

// traceTopic looks at what the official client writes about a message that it sends and consumes. That client never lets go of the
// connection that it traces with: a second cluster in the same process could not be traced.
func traceTopic(t *T) { t.isolated("trace", "ORACLE_CACHE="+oracleCache()) }

func traceInside(t *T) {
	c := t.ownCluster(testkit.Props{"traceTopicEnable": "true"})
	b := t.dial(c.broker)
	topic, group := t.Name("Traced"), t.Name("G")
	b.topic(topic, topicConf{})
	trace := func() *primitive.TraceConfig {
		return &primitive.TraceConfig{Access: primitive.Local, Resolver: resolver(c.namesrv)}
	}
	var got inbox
	t.push(c, group, topic, "*", got.into, consumer.WithTrace(trace()))
	res := t.sendSync(t.producer(c, producer.WithTrace(trace())), message1(topic, "watched"))
	t.awaitBodies(&got, 60*time.Second, "watched")
	lines := map[string]bool{}
	t.Until(60*time.Second, "trace of sending and consuming", func() (bool, string) {
		for _, rec := range b.records("RMQ_SYS_TRACE_TOPIC", 0, 0) {
			for line := range strings.SplitSeq(string(rec.Body), "\x02") {
				if strings.Contains(line, res.MsgID) {
					lines[strings.SplitN(line, "\x01", 2)[0]] = true
				}
			}
			if !strings.Contains(rec.Properties["KEYS"], res.MsgID) {
				continue
			}
			Equal(t, "region", rec.Properties["MSG_REGION"], "DefaultRegion")
		}
		return lines["Pub"] && lines["SubBefore"] && lines["SubAfter"], fmt.Sprint(lines)
	})
	// Tools look for the trace of a message by its id, which is a key of the trace.
	f := b.ok(code.QueryMessage, wire.Ext("topic", "RMQ_SYS_TRACE_TOPIC", "key", res.MsgID, "maxNum", 32, "beginTimestamp", 0, "endTimestamp", time.Now().Add(time.Hour).UnixMilli()), nil)
	found, err := wire.Records(f.Body)
	t.Must(err, "messages by key")
	if len(found) < 2 {
		t.Errorf("%d trace messages by key, want those of the sender and of the consumer", len(found))
	}
	conf := b.json(code.GetTopicConfig, wire.Ext("topic", "RMQ_SYS_TRACE_TOPIC"), nil)
	Equal(t, "queues of the trace topic", wire.Num(wire.At(conf, "readQueueNums")), "1")
}

// queueNumbers: queues by their numbers, and by those of a static topic.
func queueNumbers(t *T) {
	unevenQueues(t)
	logicalQueues(t)
}

// logicalQueues: clients of 5.x say of each queue that it is a logical one, and whose; a topic that is not static does not care.
func logicalQueues(t *T) {
	b := t.dial(t.shared.broker)
	topic, group := t.Name("Logical"), t.Name("G")
	b.topic(topic, topicConf{read: 2})
	b.group(group, "")
	lo := func(ext map[string]string) map[string]string {
		ext["lo"], ext["bname"] = "true", t.shared.brokerName
		return ext
	}
	m := message{topic: topic, queue: 1, body: []byte("logical")}
	ext := m.short()
	ext["n"] = t.shared.brokerName
	f := b.ok(code.SendMessageV2, lo(ext), m.body)
	Equal(t, "queue offset", f.Int("queueOffset"), int64(0))
	b.await(topic, 1, 1, 10*time.Second)
	f = b.ok(code.PullMessage, lo(pullExt(group, topic, 1, 0)), nil)
	Equal(t, "next offset", f.Int("nextBeginOffset"), int64(1))
	recs, err := wire.Records(f.Body)
	t.Must(err, "messages")
	Equal(t, "messages", len(recs), 1)
	at := func(c int32, more ...any) int64 {
		return b.ok(c, lo(wire.Ext(append([]any{"topic", topic, "queueId", 1}, more...)...)), nil).Int("offset")
	}
	Equal(t, "end", at(code.GetMaxOffset), int64(1))
	Equal(t, "start", at(code.GetMinOffset), int64(0))
	Equal(t, "offset of a time", at(code.SearchOffsetByTimestamp, "timestamp", 0), int64(0))
	b.ok(code.UpdateConsumerOffset, lo(wire.Ext("consumerGroup", group, "topic", topic, "queueId", 1, "commitOffset", 1)), nil)
	Equal(t, "committed", at(code.QueryConsumerOffset, "consumerGroup", group), int64(1))
}
