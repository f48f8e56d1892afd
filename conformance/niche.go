package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

var nicheCases = []Case{
	{Area: "filtering", Feature: "Bloom filter bitmaps in queue extension", Own: true, Run: queueExtension, Limit: 4 * time.Minute},
	{Area: "filtering", Feature: "Class filter mode", Run: classFilter},
	{Area: "messaging", Feature: "Static topic on one broker, as an ordinary one", Own: true, Run: staticTopic},
}

// queueExtension: with the keys that have Java keep bit maps of filters in an extension of the queue, consumers get what they get without,
// also after a restart, and delayed messages come in time.
func queueExtension(t *T) {
	c := t.ownCluster(sqlConf.With(testkit.Props{"enableConsumeQueueExt": "true", "enableCalcFilterBitMap": "true"}))
	b := t.dial(c.broker)
	topic, sql, tags := t.Name("ext"), t.Name("sql"), t.Name("tags")
	b.topic(topic, topicConf{})
	b.group(sql, "")
	b.group(tags, "")
	b.ok(code.HeartBeat, nil, heartbeat("c1", fmt.Sprintf(
		`{"consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":%q,"messageModel":"CLUSTERING","subscriptionDataSet":[%s],"unitMode":false}`,
		sql, subscription(topic, "SQL92", "a > 1", 1)), ""))
	for i := range 6 {
		b.send(message{topic: topic, body: fmt.Append(nil, "m", i), properties: wire.Properties("a", fmt.Sprint(i%3), "TAGS", fmt.Sprint("t", i%2))})
	}
	start := time.Now()
	b.send(message{topic: topic, body: []byte("later"), properties: wire.Properties("DELAY", "2", "a", "5", "TAGS", "t1")}) // 5 s
	look := func(when string, b *raw) {
		b.await(topic, 0, 7, 30*time.Second)
		b.ok(code.HeartBeat, nil, heartbeat("c1", fmt.Sprintf(
			`{"consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":%q,"messageModel":"CLUSTERING","subscriptionDataSet":[%s],"unitMode":false}`,
			sql, subscription(topic, "SQL92", "a > 1", 1)), ""))
		got, _ := b.bodies(pullExt(sql, topic, 0, 0, "sysFlag", 0, "subVersion", 1))
		Equal(t, "by properties, "+when, got, "m2 m5 later")
		got, _ = b.bodies(pullExt(tags, topic, 0, 0, "subscription", "t1"))
		Equal(t, "by tag, "+when, got, "m1 m3 m5 later")
		got, _ = b.sqlPull(topic, "a < 1")
		Equal(t, "by properties of the request, "+when, got, "m0 m3")
	}
	look("first", b)
	if took := time.Since(start); took < 4900*time.Millisecond {
		t.Errorf("the delayed message came after %v", took)
	}
	t.Must(c.brokerServer().Stop(), "stop the broker")
	t.Must(c.brokerServer().Restart(nil), "start it again")
	look("after a restart", t.dial(c.broker))
}

// classFilter: subscriptions of the old class filters are not filtered by the broker.
func classFilter(t *T) {
	b := t.dial(t.shared.broker)
	topic, group := t.Name("class"), t.Name("g")
	b.topic(topic, topicConf{})
	b.group(group, "")
	for _, tag := range []string{"a", "b"} {
		b.send(message{topic: topic, body: []byte(tag), properties: wire.Properties("TAGS", tag)})
	}
	b.await(topic, 0, 2, 10*time.Second)
	for _, class := range []bool{false, true} {
		s := strings.Replace(consumerJSON(group, topic, "a", time.Now().UnixMilli()), `"classFilterMode":false`, fmt.Sprintf(`"classFilterMode":%t`, class), 1)
		b.ok(code.HeartBeat, nil, heartbeat("c", s, ""))
		got, _ := b.bodies(pullExt(group, topic, 0, 0, "sysFlag", 0, "subVersion", 1))
		Equal(t, fmt.Sprintf("with classFilterMode %t", class), got, map[bool]string{false: "a", true: "a b"}[class])
	}
}

// staticTopic: logical queues of a static topic that are all where queues of the same numbers are, as `mqadmin updateStaticTopic` makes
// them on one broker, are sent to and read as those of an ordinary topic, before the topic is mapped and after.
func staticTopic(t *T) {
	c := t.ownCluster(nil)
	b := t.dial(c.broker)
	topic, group := t.Name("static"), t.Name("g")
	b.topic(topic, topicConf{read: 2, write: 2})
	b.group(group, "")
	for i := range 5 {
		b.send(message{topic: topic, queue: 1, body: fmt.Append(nil, "m", i)})
	}
	b.await(topic, 1, 5, 10*time.Second)
	const mapped = "mapped"
	look := func(when string) {
		for _, logical := range []string{"", "true", "false"} {
			ext := func(more ...any) map[string]string {
				e := wire.Ext(append([]any{"topic", topic, "queueId", 1}, more...)...)
				if logical != "" {
					e["lo"] = logical
				}
				return e
			}
			what := fmt.Sprintf("%s, lo %q: ", when, logical)
			Equal(t, what+"first offset", b.ok(code.GetMinOffset, ext(), nil).Int("offset"), int64(0))
			Equal(t, what+"last offset", b.ok(code.GetMaxOffset, ext(), nil).Int("offset"), int64(5))
			Equal(t, what+"offset of a time", b.ok(code.SearchOffsetByTimestamp, ext("timestamp", 1), nil).Int("offset"), int64(0))
			if when != mapped { // the reference asks itself over the network then, and may not have found its address yet
				if at := b.ok(code.GetEarliestMsgStoreTime, ext(), nil).Int("timestamp"); at <= 0 {
					t.Errorf("%sfirst message stored at %d", what, at)
				}
			}
			b.ok(code.UpdateConsumerOffset, ext("consumerGroup", group, "commitOffset", 3), nil)
			Equal(t, what+"offset of a group", b.ok(code.QueryConsumerOffset, ext("consumerGroup", group), nil).Int("offset"), int64(3))
			pull := pullExt(group, topic, 1, 1)
			if logical != "" {
				pull["lo"] = logical
			}
			got, f := b.bodies(pull)
			Equal(t, what+"pulled", got, "m1 m2 m3 m4")
			Equal(t, what+"goes on at", f.Int("nextBeginOffset"), int64(5))
		}
	}
	look("not mapped")
	t.Must(c.brokerServer().Stop(), "stop the broker")
	name := filepath.Join(testkit.StoreDir(c.brokerServer()), "config", "topicQueueMapping.json")
	t.Must(os.WriteFile(name, []byte(mappedTo(c.brokerName, topic, 2)), 0o644), "map the topic")
	t.Must(c.brokerServer().Restart(nil), "start it again")
	b = t.dial(c.broker)
	look(mapped)
	Equal(t, "offset of the next message", b.send(message{topic: topic, queue: 1, body: []byte("m5")}).Int("queueOffset"), int64(5))
}

// mappedTo is the file of a broker that has all queues of a static topic, under their own numbers.
func mappedTo(broker, topic string, queues int) string {
	var ids, hosted []string
	for q := range queues {
		ids = append(ids, fmt.Sprintf("%d:%d", q, q))
		hosted = append(hosted, fmt.Sprintf(`%d:[{"bname":%q,"endOffset":-1,"gen":0,"logicOffset":0,"queueId":%d,"startOffset":0,"timeOfEnd":-1,"timeOfStart":-1}]`, q, broker, q))
	}
	return fmt.Sprintf(`{"dataVersion":{"counter":1,"stateVersion":0,"timestamp":1},"topicQueueMappingInfoMap":{%q:{"bname":%q,"currIdMap":{%s},`+
		`"dirty":false,"epoch":1,"hostedQueues":{%s},"scope":"__global__","topic":%q,"totalQueues":%d}}}`,
		topic, broker, strings.Join(ids, ","), strings.Join(hosted, ","), topic, queues)
}
