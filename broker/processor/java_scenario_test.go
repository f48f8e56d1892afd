package processor_test

import (
	"fmt"
	"maps"
	"strings"

	"apogee/broker/processor"
	"apogee/compat/fastjson"
	"apogee/store/record"
)

type ext = map[string]string

// with is e with other values; "-" takes a key out.
func with(e ext, kv ...string) ext {
	out := maps.Clone(e)
	for i := 0; i < len(kv); i += 2 {
		if kv[i+1] == "-" {
			delete(out, kv[i])
		} else {
			out[kv[i]] = kv[i+1]
		}
	}
	return out
}

var usual = processor.Props("UNIQ_KEY=AAAA", "WAIT=true", "TAGS=tagA")

func sendTo(topic string, kv ...string) ext {
	return with(ext{
		"producerGroup": "pg", "topic": topic, "defaultTopic": "TBW102", "defaultTopicQueueNums": "4", "queueId": "0", "sysFlag": "0",
		"bornTimestamp": "1700000000000", "flag": "0", "properties": usual, "reconsumeTimes": "0", "unitMode": "false",
		"maxReconsumeTimes": "0", "batch": "false",
	}, kv...)
}

func batchTo(topic string, kv ...string) ext {
	return with(ext{
		"a": "pg", "b": topic, "c": "TBW102", "d": "4", "e": "0", "f": "0", "g": "1700000000000", "h": "0", "i": processor.Props("WAIT=true"),
		"j": "0", "k": "false", "l": "0", "m": "true",
	}, kv...)
}

func pullFrom(topic string, kv ...string) ext {
	return with(ext{
		"consumerGroup": "cg", "topic": topic, "queueId": "0", "queueOffset": "0", "maxMsgNums": "32", "sysFlag": "4", "commitOffset": "0",
		"suspendTimeoutMillis": "1000", "subscription": "*", "subVersion": "0", "expressionType": "TAG",
	}, kv...)
}

func backOf(offset string, kv ...string) ext {
	return with(ext{
		"offset": offset, "group": "gSb", "delayLevel": "0", "originMsgId": "OM1", "originTopic": "tP", "unitMode": "false",
		"maxReconsumeTimes": "16",
	}, kv...)
}

func queryFor(key string, kv ...string) ext {
	return with(ext{"topic": "tA", "key": key, "maxNum": "32", "beginTimestamp": "0", "endTimestamp": "9999999999999"}, kv...)
}

func atQueue(topic, queue string, kv ...string) ext {
	return with(ext{"topic": topic, "queueId": queue}, kv...)
}

func configure(line string) step { return step{code: 25, body: []byte(line)} }

func addTopic(name, perm string, kv ...string) step {
	return step{code: 17, ext: with(ext{
		"topic": name, "defaultTopic": "TBW102", "readQueueNums": "4", "writeQueueNums": "4", "perm": perm, "topicFilterType": "SINGLE_TAG",
		"topicSysFlag": "0", "order": "false",
	}, kv...)}
}

func addGroup(name string, change func(map[string]any)) step {
	g := map[string]any{
		"groupName": name, "consumeEnable": true, "consumeFromMinEnable": true, "consumeBroadcastEnable": true, "consumeMessageOrderly": false,
		"retryQueueNums": 1, "retryMaxTimes": 16, "brokerId": 0, "whichBrokerWhenConsumeSlowly": 1, "notifyConsumerIdsChangedEnable": true,
	}
	if change != nil {
		change(g)
	}
	return step{code: 200, body: fastjson.Marshal(g)}
}

func heartbeat(group, topic, sub, model string) step {
	return step{code: 34, body: fastjson.Marshal(map[string]any{
		"clientID": "cid-" + group, "producerDataSet": []any{map[string]any{"groupName": "pgx"}},
		"consumerDataSet": []any{map[string]any{
			"groupName": group, "consumeType": "CONSUME_PASSIVELY", "messageModel": model, "consumeFromWhere": "CONSUME_FROM_LAST_OFFSET",
			"unitMode": false, "subscriptionDataSet": []any{map[string]any{
				"classFilterMode": false, "topic": topic, "subString": sub, "tagsSet": []string{sub}, "codeSet": []int32{record.HashString(sub)},
				"subVersion": 100, "expressionType": "TAG",
			}},
		}},
	})}
}

// dispatched waits until the queue has n entries: both brokers dispatch behind the send.
func dispatched(topic, queue string, n int) step {
	return step{code: 30, ext: atQueue(topic, queue), until: [2]string{"offset", fmt.Sprint(n)}}
}

// scenario is played in this order. Half messages are not in it: Java stores them, and everything behind them has other offsets then.
func scenario() []step {
	var out []step
	for _, part := range [][]step{sends(), batches(), pulls(), subscriptions(), queueEnds(), queries(), backs(), switches(), delays()} {
		out = append(out, part...)
	}
	return out
}

func sends() []step {
	x := []byte("x")
	long := strings.Repeat("x", 128)
	send := func(name, topic string, kv ...string) step {
		return step{name: "send: " + name, code: 10, ext: sendTo(topic, kv...), body: x}
	}
	noExt := "Java loses the fields where it throws; ours has them in every answer"
	thrownNoExt := func(s step) step { s.anyText, s.differs = true, noExt; return s }
	return []step{
		send("first", "tA"),
		{name: "send: short names", code: 310, ext: batchTo("tA", "e", "1", "i", processor.Props("KEYS=k1"), "m", "false"), body: []byte("hello")},
		send("dot in the name", "a.b"),
		send("blank", ""),
		send("too long", long),
		send("retry name too long", "%RETRY%"+strings.Repeat("y", 249)),
		send("schedule topic", "SCHEDULE_TOPIC_XXXX"),
		send("self test topic", "SELF_TEST_TOPIC"),
		send("half topic", "RMQ_SYS_TRANS_HALF_TOPIC"),
		send("blank inside", "tB b"),
		send("TBW102", "TBW102"),
		send("BenchmarkTest", "BenchmarkTest"),
		send("cluster topic", "DefaultCluster"),
		send("queue beyond", "tA", "queueId", "99"),
		send("missing topic", "tNo", "defaultTopic", "nothere"),
		send("retry topic, new group", "%RETRY%fresh"),
		thrownNoExt(step{name: "send: no body", code: 10, ext: sendTo("tA")}),
		send("no properties", "tA", "properties", ""),
		send("properties missing", "tA", "properties", "-"),
		send("timer", "tA", "properties", processor.Props("TIMER_DELAY_SEC=10")),
		send("timer in the past", "tA", "properties", processor.Props("TIMER_DELAY_SEC=0")),
		thrownNoExt(send("delay level is no number", "tA", "properties", processor.Props("DELAY=abc", "UNIQ_KEY=u2"))),
		send("inner batch", "tA", "properties", processor.Props("INNER_NUM=2", "UNIQ_KEY=u2")),
		{name: "send: body too long", code: 10, ext: sendTo("tA"), body: make([]byte, 4<<20+1)},
		send("properties too long", "tA", "properties", processor.Props("K="+strings.Repeat("v", 32700))),
		send("properties far too long", "tA", "properties", processor.Props("K="+strings.Repeat("v", 40000))),
		thrownNoExt(send("no queue", "tA", "queueId", "-")),
		thrownNoExt(send("no topic", "tA", "topic", "-")),
		send("no producer group", "tA", "producerGroup", "-"),
		thrownNoExt(send("no sysFlag", "tA", "sysFlag", "-")),
		thrownNoExt(send("no born time", "tA", "bornTimestamp", "-")),
		thrownNoExt(send("no flag", "tA", "flag", "-")),
		send("no default topic", "tA", "defaultTopic", "-"),
		thrownNoExt(step{name: "send: no header", code: 10, body: x}),
		send("receipt", "tA", "properties", processor.Props("POP_CK=abc", "UNIQ_KEY=u2", "A=1")),
		send("nobody waits", "tA", "properties", "UNIQ_KEY\x01u9\x02WAIT\x01false"),
		send("foreign CRC", "tA", "properties", processor.Props("UNIQ_KEY=u9", "__CRC32#=2")),
		send("prepared by sysFlag", "tA", "sysFlag", "4"),
		send("flag and reconsume times", "tA", "flag", "7", "reconsumeTimes", "2"),
		send("priority", "tA", "properties", processor.Props("UNIQ_KEY=P", "_SYS_MSG_PRIORITY_=2")),
		send("priority above", "tA", "properties", processor.Props("UNIQ_KEY=P", "_SYS_MSG_PRIORITY_=99")),
		send("priority below", "tA", "properties", processor.Props("UNIQ_KEY=P", "_SYS_MSG_PRIORITY_=-1")),
		send("priority and order", "tA", "properties", processor.Props("UNIQ_KEY=P", "_SYS_MSG_PRIORITY_=2", "__SHARDINGKEY=k")),
		send("lite topic", "tA", "properties", processor.Props("UNIQ_KEY=P", "__LITE_TOPIC=lt")),
		send("odd pairs", "tA", "properties", "UNIQ_KEY\x01P\x02A\x02=\x02B\x01b\x01c\x02\x01v\x02KEYS\x01\x02"),
		send("twice the same name", "tA", "properties", processor.Props("UNIQ_KEY=P", "CLUSTER=x", "MSG_REGION=y")),
		send("worked out timer", "tA", "properties", processor.Props("UNIQ_KEY=P", "TIMER_OUT_MS=1")),
		send("negative level", "tA", "properties", processor.Props("UNIQ_KEY=P", "DELAY=-1")),
		send("no half message", "tA", "properties", processor.Props("UNIQ_KEY=P", "TRAN_MSG=false")),
		send("unit mode", "tUnit", "unitMode", "true"),
		addTopic("tComp", "6", "attributes", "+cleanup.policy=COMPACTION"),
		send("compacted, no key", "tComp"),
		addTopic("tMulti", "6", "topicFilterType", "MULTI_TAG"),
		send("multi tag topic", "tMulti"),
		addTopic("tW", "4"),
		send("read-only topic", "tW"),
		dispatched("tA", "0", 17),
		{name: "send: stored in 0", code: 11, ext: pullFrom("tA", "maxMsgNums", "32")},
		{name: "send: stored in 1", code: 11, ext: pullFrom("tA", "queueId", "1")},
		{name: "send: stored in 2", code: 11, ext: pullFrom("tA", "queueId", "2")},
		{name: "send: stored in 3", code: 11, ext: pullFrom("tA", "queueId", "3")},
		dispatched("tMulti", "0", 1),
		{name: "send: stored multi tag", code: 11, ext: pullFrom("tMulti")},
	}
}

func batches() []step {
	two := record.AppendBatch(record.AppendBatch(nil, record.BatchRecord{Body: []byte("b1"), Properties: []byte(processor.Props("UNIQ_KEY=U1", "TAGS=tt"))}),
		record.BatchRecord{Flag: 7, Body: []byte("b2"), Properties: []byte(processor.Props("UNIQ_KEY=U2", "KEYS=kk"))})
	bare := record.AppendBatch(record.AppendBatch(nil, record.BatchRecord{Body: []byte("b1")}), record.BatchRecord{Body: []byte("b2"), Properties: []byte("A\x01b")})
	delayed := record.AppendBatch(nil, record.BatchRecord{Body: []byte("b1"), Properties: []byte(processor.Props("UNIQ_KEY=U1", "DELAY=3"))})
	empty := record.AppendBatch(nil, record.BatchRecord{Properties: []byte(processor.Props("UNIQ_KEY=U1"))})
	big := []byte{}
	for range 4300 {
		big = record.AppendBatch(big, record.BatchRecord{Body: make([]byte, 1000), Properties: []byte(processor.Props("UNIQ_KEY=U1"))})
	}
	batch := func(name string, body []byte, e ext) step {
		return step{name: "batch: " + name, code: 320, ext: e, body: body}
	}
	thrown := func(s step) step {
		s.anyText, s.differs = true, "Java loses the fields where it throws; ours has them in every answer"
		return s
	}
	return []step{
		batch("two", two, batchTo("tBat")),
		batch("bare", bare, batchTo("tBat")),
		batch("unique key of the whole", two, batchTo("tBat", "i", processor.Props("UNIQ_KEY=ENV"))),
		batch("retry topic", two, batchTo("%RETRY%cg")),
		batch("long topic", two, batchTo(strings.Repeat("x", 128))),
		batch("delay level of the whole", two, batchTo("tBat", "i", processor.Props("DELAY=3"))),
		batch("delay level inside", delayed, batchTo("tBat")),
		batch("half message properties", two, batchTo("tBat", "i", processor.Props("TRAN_MSG=true"))),
		batch("transaction type", two, batchTo("tBat", "f", "4")),
		thrown(batch("no batch", []byte("12345678"), batchTo("tBat"))),
		thrown(batch("cut off", two[:len(two)-3], batchTo("tBat"))),
		thrown(batch("no body", nil, batchTo("tBat"))),
		thrown(batch("too long", big, batchTo("tBat"))),
		batch("empty message", empty, batchTo("tBat")),
		{name: "batch: by code 10", code: 10, ext: sendTo("tBat", "batch", "true"), body: two},
		batch("not a batch after all", two, batchTo("tBat", "m", "false", "i", processor.Props("UNIQ_KEY=S1"))),
		batch("flag of the whole", two, batchTo("tBat", "h", "5")),
		dispatched("tBat", "0", 15),
		{name: "batch: stored", code: 11, ext: pullFrom("tBat")},
	}
}

func pulls() []step {
	pull := func(name string, kv ...string) step {
		return step{name: "pull: " + name, code: 11, ext: pullFrom("tA", kv...)}
	}
	thrown := func(s step) step {
		s.anyText = true
		return s
	}
	return []step{
		{name: "pull: no topic", code: 11, ext: pullFrom("nosuch")},
		pull("queue beyond", "queueId", "9"),
		pull("queue below", "queueId", "-1"),
		pull("SQL without text", "subscription", "", "expressionType", "SQL92"),
		pull("SQL", "subscription", "a > 1", "expressionType", "SQL92"),
		pull("bad SQL", "subscription", "a >>> ", "expressionType", "SQL92"),
		pull("another language", "expressionType", "FOO"),
		pull("empty expression", "subscription", "", "maxMsgNums", "1"),
		pull("no expression", "subscription", "-", "expressionType", "-", "maxMsgNums", "1"),
		pull("not online", "sysFlag", "0"),
		pull("no such tag", "subscription", "zz"),
		pull("tags", "subscription", "tagA || zz", "maxMsgNums", "2"),
		pull("none asked for", "maxMsgNums", "0"),
		pull("less than none", "maxMsgNums", "-1"),
		pull("at the end", "queueOffset", "17"),
		pull("behind the end", "queueOffset", "99"),
		pull("before the start", "queueOffset", "-1"),
		pull("behind the end, may wait", "queueOffset", "99", "sysFlag", "6"),
		{name: "pull: empty queue", code: 11, ext: pullFrom("tBat", "queueId", "2")},
		{name: "pull: empty queue, not its start", code: 11, ext: pullFrom("tBat", "queueId", "2", "queueOffset", "5")},
		{name: "pull: empty queue, may wait", code: 11, ext: pullFrom("tBat", "queueId", "2", "queueOffset", "5", "sysFlag", "6")},
		pull("bad group", "consumerGroup", "a.b"),
		pull("empty group", "consumerGroup", ""),
		thrown(pull("no queue", "queueId", "-")),
		thrown(pull("no offset", "queueOffset", "-")),
		thrown(pull("no number", "maxMsgNums", "-")),
		thrown(pull("no group", "consumerGroup", "-")),
		thrown(pull("no topic in the header", "topic", "-")),
		thrown(pull("no sysFlag", "sysFlag", "-")),
		thrown(step{name: "pull: no header", code: 11}),
		pull("no suspend time", "suspendTimeoutMillis", "-", "maxMsgNums", "1"),
		pull("no version", "subVersion", "-", "maxMsgNums", "1"),
		pull("no commit offset", "commitOffset", "-", "maxMsgNums", "1"),
		{name: "pull: lite", code: 361, ext: pullFrom("tA", "maxMsgNums", "1")},
		pull("lite flag", "sysFlag", "20", "maxMsgNums", "1"),
		pull("commit", "sysFlag", "5", "commitOffset", "4", "maxMsgNums", "1"),
		{name: "pull: what was committed", code: 14, ext: ext{"consumerGroup": "cg", "topic": "tA", "queueId": "0"}},
	}
}

func subscriptions() []step {
	pull := func(name, group string, kv ...string) step {
		return step{name: "subscription: " + name, code: 11, ext: with(pullFrom("tP", "consumerGroup", group, "sysFlag", "0", "subVersion", "100"), kv...)}
	}
	forbid := func(readable string) step {
		return step{code: 353, ext: ext{"group": "gSb", "topic": "tP", "readable": readable}, name: ""}
	}
	return []step{
		addTopic("tP", "6"), addTopic("tR", "2"),
		addGroup("gOff", func(g map[string]any) { g["consumeEnable"] = false }),
		addGroup("gNoBc", func(g map[string]any) { g["consumeBroadcastEnable"] = false }),
		addGroup("gNoRetry", func(g map[string]any) { g["retryQueueNums"] = 0 }),
		addGroup("gSb", nil),
		addGroup("gMax1", func(g map[string]any) { g["retryMaxTimes"] = 1 }),
		{name: "subscription: write-only topic", code: 11, ext: pullFrom("tR")},
		{name: "subscription: group is off", code: 11, ext: pullFrom("tP", "consumerGroup", "gOff")},
		heartbeat("gNoBc", "tP", "*", "BROADCASTING"),
		pull("no broadcast", "gNoBc"),
		heartbeat("gSb", "tP", "wanted", "CLUSTERING"),
		{name: "subscription: not to this topic", code: 11, ext: pullFrom("tA", "consumerGroup", "gSb", "sysFlag", "0")},
		pull("too old", "gSb", "subVersion", "200"),
		pull("as old", "gSb"),
		pull("newer", "gSb", "subVersion", "50"),
		{code: 10, ext: sendTo("tP", "properties", processor.Props("UNIQ_KEY=w", "TAGS=wanted", "KEYS=kk")), body: []byte("body1")},
		{code: 10, ext: sendTo("tP"), body: []byte("body2")},
		dispatched("tP", "0", 2),
		pull("its tag", "gSb"),
		forbid("false"),
		pull("forbidden", "gSb"),
		pull("forbidden, with its own expression", "gSb", "sysFlag", "4", "queueId", "1"),
		forbid("true"),
	}
}

func queueEnds() []step {
	var out []step
	for _, topic := range []string{"tA", "nosuch"} {
		for _, queue := range []string{"0", "3", "9", "-1"} {
			for _, code := range []int32{30, 31, 32} {
				out = append(out, step{name: fmt.Sprintf("ends: %d of %s/%s", code, topic, queue), code: code, ext: atQueue(topic, queue)})
			}
		}
		for _, bound := range []string{"lower", "upper", "UPPER", "-"} {
			for _, at := range []string{"0", "-1", "9999999999999"} {
				out = append(out, step{
					name: fmt.Sprintf("ends: %s of %s at %s", bound, topic, at), code: 29, ext: atQueue(topic, "0", "timestamp", at, "boundaryType", bound),
				})
			}
		}
	}
	return append(out,
		step{name: "ends: committed", code: 30, ext: atQueue("tA", "0", "committed", "false")},
		step{name: "ends: 30 without queue", code: 30, ext: ext{"topic": "tA"}, anyText: true},
		step{name: "ends: 29 without queue", code: 29, ext: ext{"topic": "tA"}, anyText: true},
		step{name: "view: first", code: 33, ext: ext{"offset": "0"}},
		step{name: "view: beyond", code: 33, ext: ext{"offset": "99999999"}},
		step{name: "view: below", code: 33, ext: ext{"offset": "-5"}},
		step{name: "view: no record starts there", code: 33, ext: ext{"offset": "5"}, anyText: true},
		step{name: "view: no offset", code: 33, anyText: true},
	)
}

func queries() []step {
	q := func(name, key string, kv ...string) step {
		return step{name: "query: " + name, code: 12, ext: queryFor(key, kv...)}
	}
	// The index is written behind the queues: ask until it knows the last key.
	return []step{
		{code: 12, ext: queryFor("kk", "topic", "tP"), until: [2]string{"indexLastUpdateTimestamp", "<time>"}},
		q("key", "k1"),
		q("key, by type", "k1", "indexType", "K"),
		q("tag", "tagA", "indexType", "T"),
		q("unique key", "u2"),
		q("unique key, by type", "u2", "indexType", "U"),
		q("unique key, by flag", "u2", "_UNIQUE_KEY_QUERY", "true"),
		q("several, one wanted", "P", "maxNum", "1"),
		q("several", "P"),
		q("none wanted", "P", "maxNum", "0"),
		q("unknown key", "zz"),
		q("unknown topic", "k1", "topic", "nosuch"),
		q("another time", "k1", "beginTimestamp", "9999999999990"),
		q("no key", "", "key", "-"),
		{name: "query: no number", code: 12, ext: queryFor("k1", "maxNum", "-"), anyText: true},
		{name: "query: no time", code: 12, ext: queryFor("k1", "beginTimestamp", "-"), anyText: true},
	}
}

func backs() []step {
	// The message that is sent back lies where "sends to tP" put it; the scenario asks for its offset by key.
	const at = "{tP}"
	back := func(name string, kv ...string) step {
		return step{name: "back: " + name, code: 36, ext: backOf(at, kv...)}
	}
	thrown := func(s step) step { s.anyText = true; return s }
	retried := processor.Props("UNIQ_KEY=RS", "DELAY=16", "RETRY_TOPIC=tP", "ORIGIN_MESSAGE_ID=OM", "RECONSUME_TIME=1", "MAX_RECONSUME_TIMES=16")
	resend := func(name, topic string, kv ...string) step {
		return step{name: "retry: " + name, code: 10, ext: sendTo(topic, append([]string{"properties", retried}, kv...)...), body: []byte("rb")}
	}
	return []step{
		back("first", "delayLevel", "17"),
		back("a level above", "delayLevel", "50"),
		back("given up", "delayLevel", "-1"),
		back("at the limit", "maxReconsumeTimes", "0"),
		back("new group", "group", "gAuto", "delayLevel", "17"),
		back("bad group", "group", "g.x"),
		back("no retry queues", "group", "gNoRetry"),
		back("no such message", "offset", "99999999"),
		back("unit mode", "group", "gUnit", "unitMode", "true", "delayLevel", "17"),
		back("few fields", "originMsgId", "-", "originTopic", "-", "maxReconsumeTimes", "-", "delayLevel", "17"),
		thrown(back("no group", "group", "-")),
		thrown(back("no offset", "offset", "-")),
		thrown(back("no level", "delayLevel", "-")),
		addTopic("%RETRY%gShut", "4", "readQueueNums", "1", "writeQueueNums", "1"),
		addGroup("gShut", nil),
		back("retry topic is shut", "group", "gShut"),
		resend("within the header's limit", "%RETRY%gMax1", "reconsumeTimes", "1", "maxReconsumeTimes", "16"),
		resend("beyond the header's limit", "%RETRY%gMax1", "reconsumeTimes", "17", "maxReconsumeTimes", "16"),
		resend("beyond the group's limit", "%RETRY%gMax1", "reconsumeTimes", "2", "maxReconsumeTimes", "-"),
		resend("at the group's limit", "%RETRY%gMax1", "reconsumeTimes", "1", "maxReconsumeTimes", "-"),
		resend("no delay, beyond", "%RETRY%gMax1", "reconsumeTimes", "17", "maxReconsumeTimes", "16", "properties", processor.Props("UNIQ_KEY=RS5", "RETRY_TOPIC=tP")),
		resend("pop retry name of version 2", "%RETRY%gSb+tP"),
		dispatched("%DLQ%gMax1", "0", 3),
		{name: "retry: dead letters", code: 11, ext: pullFrom("%DLQ%gMax1")},
		dispatched("%DLQ%gSb", "0", 2),
		{name: "back: dead letters", code: 11, ext: pullFrom("%DLQ%gSb")},
		dispatched("SCHEDULE_TOPIC_XXXX", "16", 4),
		{name: "back: level 17", code: 11, ext: pullFrom("SCHEDULE_TOPIC_XXXX", "queueId", "16")},
		dispatched("SCHEDULE_TOPIC_XXXX", "17", 1),
		{name: "back: level 18", code: 11, ext: pullFrom("SCHEDULE_TOPIC_XXXX", "queueId", "17")},
		dispatched("SCHEDULE_TOPIC_XXXX", "15", 2),
		{name: "retry: level 16", code: 11, ext: pullFrom("SCHEDULE_TOPIC_XXXX", "queueId", "15")},
		{name: "back: unit retry topic", code: 11, ext: pullFrom("%RETRY%gUnit")},
	}
}

func switches() []step {
	send := func(name, topic string, kv ...string) step {
		return step{name: "switch: " + name, code: 10, ext: sendTo(topic, kv...), body: []byte("x")}
	}
	return []step{
		addTopic("tOrder", "6", "order", "true"),
		configure("brokerPermission=4"),
		send("read-only broker", "tA"),
		send("read-only broker, ordered topic", "tOrder"),
		{name: "switch: read-only broker, back", code: 36, ext: backOf("0")},
		configure("brokerPermission=2"),
		{name: "switch: write-only broker", code: 11, ext: pullFrom("tA", "consumerGroup", "no.group")},
		configure("brokerPermission=6"),
		configure("rejectTransactionMessage=true"),
		send("no transactions", "tA", "properties", processor.Props("TRAN_MSG=true")),
		configure("rejectTransactionMessage=false"),
		configure("litePullMessageEnable=false"),
		{name: "switch: no lite pull", code: 361, ext: pullFrom("tA")},
		configure("litePullMessageEnable=true"),
		configure("rejectPullConsumerEnable=true"),
		{name: "switch: no pull consumers", code: 11, ext: pullFrom("tA")},
		configure("rejectPullConsumerEnable=false"),
		configure("startAcceptSendRequestTimeStamp=1895373777494"),
		send("too early", "tA"),
		{name: "switch: too early, reply", code: 324, ext: sendTo("tA"), body: []byte("x")},
		configure("startAcceptSendRequestTimeStamp=0"),
		configure("traceOn=false"),
		send("no trace", "tA"),
		configure("traceOn=true"),
		configure("autoCreateSubscriptionGroup=false"),
		{name: "switch: no new groups, pull", code: 11, ext: pullFrom("tA", "consumerGroup", "gNever")},
		send("no new groups, retry topic", "%RETRY%gNever"),
		configure("autoCreateSubscriptionGroup=true"),
		configure("autoCreateTopicEnable=false"),
		send("no new topics", "tNever"),
		send("no new topics, retry topic", "%RETRY%gSb2"),
		configure("autoCreateTopicEnable=true"),
		{name: "reply: nobody there", code: 324, ext: sendTo("DefaultCluster_REPLY_TOPIC", "properties", processor.Props("UNIQ_KEY=R1", "REPLY_TO_CLIENT=nobody")), body: []byte("r")},
		{name: "reply: to nobody", code: 325, ext: batchTo("DefaultCluster_REPLY_TOPIC", "m", "false"), body: []byte("r")},
		{name: "reply: no topic", code: 324, ext: sendTo("nosuchr", "defaultTopic", "nope"), body: []byte("r")},
		dispatched("DefaultCluster_REPLY_TOPIC", "0", 2),
		{name: "reply: stored", code: 11, ext: pullFrom("DefaultCluster_REPLY_TOPIC")},
	}
}

// delays comes last: what is delivered is stored when it is due, between whatever else is stored then.
func delays() []step {
	return []step{
		addTopic("tDelay", "6"), // Java's TBW102 has lost its inheritance by being switched off
		{name: "delay: send", code: 10, ext: sendTo("tDelay", "queueId", "2", "flag", "3", "reconsumeTimes", "1", "properties", processor.Props("UNIQ_KEY=DL1", "DELAY=1", "TAGS=tagA", "WAIT=true")), body: []byte("x")},
		{name: "delay: send, level wins over timer", code: 10, ext: sendTo("tDelay", "queueId", "2", "properties", processor.Props("UNIQ_KEY=DL2", "DELAY=1", "TIMER_DELAY_SEC=5")), body: []byte("x")},
		{name: "delay: send, level clipped", code: 10, ext: sendTo("tDelay", "queueId", "1", "properties", processor.Props("UNIQ_KEY=DL3", "DELAY=99")), body: []byte("x")},
		{name: "delay: send, sets real topic", code: 10, ext: sendTo("tDelay", "properties", processor.Props("REAL_TOPIC=zz", "REAL_QID=3", "DELAY=18", "UNIQ_KEY=DL4")), body: []byte("x")},
		dispatched("SCHEDULE_TOPIC_XXXX", "0", 2),
		{name: "delay: waiting", code: 11, ext: pullFrom("SCHEDULE_TOPIC_XXXX")},
		dispatched("SCHEDULE_TOPIC_XXXX", "17", 3),
		{name: "delay: waiting longest", code: 11, ext: pullFrom("SCHEDULE_TOPIC_XXXX", "queueId", "17", "queueOffset", "1")},
		{code: 11, ext: pullFrom("tDelay", "queueId", "2", "sysFlag", "6", "suspendTimeoutMillis", "8000", "maxMsgNums", "1")},
		dispatched("tDelay", "2", 2),
		{name: "delay: delivered", code: 11, ext: pullFrom("tDelay", "queueId", "2")},
	}
}
