package conformance

import (
	"fmt"
	"strings"
	"time"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

var nicheCases = []Case{
	{Area: "filtering", Feature: "Bloom filter bitmaps in queue extension", Own: true, Run: queueExtension, Limit: 4 * time.Minute},
	{Area: "filtering", Feature: "Class filter mode", Run: classFilter},
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
