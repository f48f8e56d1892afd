package conformance

import (
	"fmt"
	"strings"
	"time"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

// operatorCases are of several areas: what operators ask of clients and brokers, and what stands in front of the protocol.
var operatorCases = []Case{
	{Area: "messaging", Feature: "Request-reply (RPC)", Run: requestReply, Limit: 3 * time.Minute},
	{Area: "consumption", Feature: "Clone group offset", Run: cloneOffset},
	{Area: "consumption", Feature: "Consume message directly (admin)", Run: consumeDirectly},
	{Area: "consumption", Feature: "Consumer running info and jstack", Run: runningInfo},
	{Area: "admin", Feature: "View broker stats", Run: brokerStats},
	{Area: "storage", Feature: "Disk pressure rules 75/85/90 %", Own: true, Run: diskPressure, Limit: 4 * time.Minute},
	{Area: "storage", Feature: "Property CRC", Own: true, Run: propertyCRC},
	{Area: "security", Feature: "Proxy protocol v1/v2", Run: proxyProtocol},
	{Area: "security", Feature: "TLS permissive/enforcing", Run: tlsPermissive},
}

// requestReply goes by raw frames: the official Go client sends its replies without a body, which the reference does not survive.
func requestReply(t *T) {
	b := t.dial(t.shared.broker)
	v := t.dial(t.shared.namesrv).json(code.GetBrokerClusterInfo, nil, nil)
	clusterOf, _ := wire.At(v, "brokerAddrTable", t.shared.brokerName, "cluster").(string)
	asker := t.dial(t.shared.broker)
	id, group := t.Name("asker@1"), t.Name("PG")
	body := fmt.Sprintf(`{"clientID":%q,"consumerDataSet":[],"producerDataSet":[{"groupName":%q}]}`, id, group)
	asker.ok(code.HeartBeat, nil, []byte(body))
	reply := message{
		topic: clusterOf + "_REPLY_TOPIC", group: t.Name("PG"), body: []byte("the answer"),
		properties: wire.Properties("CORRELATION_ID", "c-1", "REPLY_TO_CLIENT", id, "MSG_TYPE", "reply", "TTL", "5000", "UNIQ_KEY", t.Name("K")),
	}
	for i, row := range []struct {
		code int32
		ext  map[string]string
	}{{code.SendReplyMessageV2, reply.short()}, {code.SendReplyMessage, reply.long()}} {
		wait, err := b.Begin(int(row.code), row.ext, reply.body)
		t.Must(err, "send a reply")
		t.Until(10*time.Second, "reply pushed to the asker", func() (bool, string) { return len(asker.Asked()) > i, "none" })
		push := asker.Asked()[i]
		Equal(t, "code of the push", push.Code, int(code.PushReplyMessageToClient))
		Equal(t, "it wants an answer", push.Flag&2, 0)
		Equal(t, "body", string(push.Body), "the answer")
		props := wire.ParseProperties(push.Ext["properties"])
		Equal(t, "CORRELATION_ID", props["CORRELATION_ID"], "c-1")
		if props["PUSH_REPLY_TIME"] == "" {
			t.Errorf("no PUSH_REPLY_TIME in %v", props)
		}
		t.Must(asker.Send(&wire.Frame{Code: 0, Opaque: push.Opaque, Flag: 1, Language: "JAVA", Version: 513}), "answer the push")
		select {
		case f := <-wait:
			Equal(t, "answer to the replier", f.Code, int(code.Success))
		case <-time.After(15 * time.Second):
			t.Fatalf("no answer to the replier")
		}
	}
	gone := reply
	gone.properties = wire.Properties("CORRELATION_ID", "c-2", "REPLY_TO_CLIENT", "nobody@1", "MSG_TYPE", "reply", "TTL", "5000")
	f := b.call(code.SendReplyMessageV2, gone.short(), gone.body)
	if f.Code != int(code.SystemError) || !strings.Contains(f.Remark, "nobody@1") {
		t.Errorf("reply to nobody: %v", f)
	}
	officialReply(t)
}

func cloneOffset(t *T) {
	b := t.dial(t.shared.broker)
	topic, from, to := t.Name("Clone"), t.Name("G"), t.Name("G")
	b.topic(topic, topicConf{read: 2})
	b.group(from, "")
	b.group(to, "")
	for q := range 2 {
		b.ok(code.UpdateConsumerOffset, wire.Ext("consumerGroup", from, "topic", topic, "queueId", q, "commitOffset", 5+q), nil)
	}
	b.ok(code.CloneGroupOffset, wire.Ext("srcGroup", from, "destGroup", to, "topic", topic, "offline", false), nil)
	for q := range 2 {
		got := b.ok(code.QueryConsumerOffset, wire.Ext("consumerGroup", to, "topic", topic, "queueId", q), nil).Int("offset")
		Equal(t, fmt.Sprintf("offset of queue %d", q), got, int64(5+q))
	}
}

func consumeDirectly(t *T) {
	b := t.dial(t.shared.broker)
	topic, group := t.Name("Direct"), t.Name("G")
	b.topic(topic, topicConf{})
	var got inbox
	t.push(t.shared, group, topic, "*", got.into)
	res := t.sendSync(t.producer(t.shared), message1(topic, "again, please"))
	t.awaitBodies(&got, 20*time.Second, "again, please")
	id := t.member(b, group)
	v := b.json(code.ConsumeMessageDirectly, wire.Ext("consumerGroup", group, "clientId", id, "msgId", res.OffsetMsgID, "brokerName", t.shared.brokerName, "topic", topic), nil)
	// The Go client writes the number of the result where Java writes its name; the broker passes on what it gets.
	Equal(t, "result at the client", wire.Num(wire.At(v, "consumeResult")), "0")
	Equal(t, "deliveries", got.bodies()["again, please"], 2)
	f := b.want(code.SystemError, code.ConsumeMessageDirectly,
		wire.Ext("consumerGroup", group, "clientId", "nobody", "msgId", res.OffsetMsgID, "brokerName", t.shared.brokerName, "topic", topic), nil)
	if !strings.Contains(f.Remark, "nobody") {
		t.Errorf("remark %q does not name the client", f.Remark)
	}
}

// member is the only client of a group.
func (t *T) member(b *raw, group string) string {
	ids, _ := wire.At(b.json(code.GetConsumerListByGroup, wire.Ext("consumerGroup", group), nil), "consumerIdList").([]any)
	if len(ids) != 1 {
		t.Fatalf("members of %s: %v, want one", group, ids)
	}
	return ids[0].(string)
}

func runningInfo(t *T) {
	b := t.dial(t.shared.broker)
	topic, group := t.Name("Running"), t.Name("G")
	b.topic(topic, topicConf{})
	var got inbox
	t.push(t.shared, group, topic, "*", got.into)
	t.sendSync(t.producer(t.shared), message1(topic, "x"))
	t.awaitBodies(&got, 20*time.Second, "x")
	v := b.json(code.GetConsumerRunningInfo, wire.Ext("consumerGroup", group, "clientId", t.member(b, group), "jstackEnable", false), nil)
	Equal(t, "consume type of the client", fmt.Sprint(wire.At(v, "properties", "PROP_CONSUME_TYPE")), "CONSUME_PASSIVELY")
	if !strings.Contains(fmt.Sprint(wire.At(v, "mqTable")), topic) {
		t.Errorf("the client's queues are not in its answer: %.300v", v)
	}
	status := b.json(code.InvokeBrokerToGetConsumerStatus, wire.Ext("topic", topic, "group", group), nil)
	if !strings.Contains(fmt.Sprint(wire.At(status, "consumerTable")), topic) {
		t.Errorf("consumer status: %.300v", status)
	}
	conns := b.json(code.GetConsumerConnectionList, wire.Ext("consumerGroup", group), nil)
	list, _ := wire.At(conns, "connectionSet").([]any)
	Equal(t, "connections", len(list), 1)
	Equal(t, "language", fmt.Sprint(wire.At(list[0], "language")), "GO")
}

func brokerStats(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("Stats")
	b.topic(topic, topicConf{})
	for range 7 {
		b.send(message{topic: topic, body: []byte("0123456789")})
	}
	sum := func(name string) string {
		f := b.call(code.ViewBrokerStatsData, wire.Ext("statsName", name, "statsKey", topic), nil)
		v, err := wire.Loose(f.Body)
		if err != nil {
			return f.String()
		}
		return wire.Num(wire.At(v, "statsMinute", "sum"))
	}
	// The counters are sampled every ten seconds.
	t.Until(40*time.Second, "seven messages in the minute's sum", func() (bool, string) { s := sum("TOPIC_PUT_NUMS"); return s == "7", s })
	b.want(code.SystemError, code.ViewBrokerStatsData, wire.Ext("statsName", "TOPIC_PUT_NUMS", "statsKey", "NeverSeen"), nil)
	v := b.json(code.GetTopicStatsInfo, wire.Ext("topic", topic), nil)
	table, _ := wire.At(v, "offsetTable").(map[string]any)
	Equal(t, "queues in the topic's state", len(table), 1)
	for _, q := range table {
		Equal(t, "its end", wire.Num(wire.At(q, "maxOffset")), "7")
	}
}

func propertyCRC(t *T) {
	c := t.ownCluster(testkit.Props{"enabledAppendPropCRC": "true"})
	b := t.dial(c.broker)
	topic := t.Name("CRC")
	b.topic(topic, topicConf{})
	rec := b.one(message{topic: topic, body: []byte("x"), properties: wire.Properties("UNIQ_KEY", "K")})
	sum := rec.Properties["__CRC32#"]
	if len(sum) != 10 || strings.Trim(sum, "0123456789") != "" {
		t.Errorf("__CRC32# is %q, want ten digits", sum)
	}
	var got inbox
	t.push(c, t.Name("G"), topic, "*", got.into)
	t.awaitBodies(&got, 20*time.Second, "x")
	t.Must(c.brokerServer().Kill(), "kill the broker")
	t.Must(c.brokerServer().Restart(nil), "start it again")
	again := t.dial(c.broker).await(topic, 0, 1, 20*time.Second)[0]
	Equal(t, "record after a restart", string(again.Raw), string(rec.Raw))
}

func proxyProtocol(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("Proxy")
	b.topic(topic, topicConf{})
	v2 := append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"), 5, 6, 7, 8, 10, 0, 0, 1, 0x30, 0x39, 0x2A, 0x9F)
	for what, row := range map[string]struct {
		head []byte
		want string
	}{
		"text":   {[]byte("PROXY TCP4 1.2.3.4 10.0.0.1 5555 10911\r\n"), "1.2.3.4:5555"},
		"binary": {v2, "5.6.7.8:12345"},
	} {
		c := t.dial(t.shared.broker)
		t.Must(c.Write(row.head), "write the header")
		group := t.Name("G")
		c.ok(code.HeartBeat, nil, heartbeat("proxied", consumer2(group, topic), ""))
		v := b.json(code.GetConsumerConnectionList, wire.Ext("consumerGroup", group), nil)
		list, _ := wire.At(v, "connectionSet").([]any)
		Equal(t, what+" header: connections", len(list), 1)
		Equal(t, what+" header: address of the client", fmt.Sprint(wire.At(list[0], "clientAddr")), row.want)
	}
}

func tlsPermissive(t *T) {
	plain := t.dial(t.shared.broker)
	topic := t.Name("TLS")
	plain.topic(topic, topicConf{})
	c, err := wire.DialTLS(t.shared.broker)
	t.Must(err, "connect with TLS on the same port")
	t.Cleanup(c.Close)
	secure := &raw{c, t}
	secure.send(message{topic: topic, body: []byte("secure")})
	Equal(t, "body", string(plain.await(topic, 0, 1, 10*time.Second)[0].Body), "secure")
	f := secure.ok(code.PullMessage, pullExt(t.Name("G"), topic, 0, 0), nil)
	recs, err := wire.Records(f.Body)
	t.Must(err, "messages over TLS")
	Equal(t, "body over TLS", string(recs[0].Body), "secure")
	ns, err := wire.DialTLS(t.shared.namesrv)
	t.Must(err, "connect to the name server with TLS")
	t.Cleanup(ns.Close)
	(&raw{ns, t}).ok(code.GetBrokerClusterInfo, nil, nil)
}
