package processor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"apogee/broker/config"
	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store"
	"apogee/store/record"
)

// sendFields is the header of a send as the official Go client writes it.
func sendFields(topic, properties string, kv ...string) header.Fields {
	return fields(header.Fields{
		{Key: "producerGroup", Value: "pg"},
		{Key: "topic", Value: topic},
		{Key: "defaultTopic", Value: "TBW102"},
		{Key: "defaultTopicQueueNums", Value: "4"},
		{Key: "queueId", Value: "0"},
		{Key: "sysFlag", Value: "0"},
		{Key: "bornTimestamp", Value: "1700000000000"},
		{Key: "flag", Value: "0"},
		{Key: "properties", Value: properties},
		{Key: "reconsumeTimes", Value: "0"},
		{Key: "unitMode", Value: "false"},
		{Key: "maxReconsumeTimes", Value: "0"},
		{Key: "batch", Value: "false"},
	}, kv...)
}

// short is the same with the names of code 310.
func short(f header.Fields) header.Fields {
	names := map[string]string{
		"producerGroup": "a", "topic": "b", "defaultTopic": "c", "defaultTopicQueueNums": "d", "queueId": "e", "sysFlag": "f",
		"bornTimestamp": "g", "flag": "h", "properties": "i", "reconsumeTimes": "j", "unitMode": "k", "maxReconsumeTimes": "l", "batch": "m",
	}
	out := slices.Clone(f)
	for i := range out {
		out[i].Key = names[out[i].Key]
	}
	return out
}

func TestSendStores(t *testing.T) {
	g := newRig(t)
	g.addTopic("tA", nil)
	a := g.call(code.SendMessage, sendFields("tA", props("UNIQ_KEY=AAAA", "WAIT=true", "TAGS=tagA"), "flag", "3", "queueId", "2"), "hello")
	want := map[string]string{
		"msgId": "7F00000100002A9F0000000000000000", "queueId": "2", "queueOffset": "0", "transactionId": "AAAA",
		"MSG_REGION": "DefaultRegion", "TRACE_ON": "true",
	}
	if a.code != 0 || a.remark != "" || fmt.Sprint(a.ext) != fmt.Sprint(want) {
		t.Errorf("answer %v, want %v", a, want)
	}
	m := g.store.stored(t, "tA", 2)[0]
	if string(m.Body) != "hello" || m.Flag != 3 || m.BornTimestamp != 1700000000000 || m.StoreHost.String() != "127.0.0.1:10911" || m.SysFlag != 0 {
		t.Errorf("stored %+v", m)
	}
	if got, want := m.Properties, props("UNIQ_KEY=AAAA", "WAIT=true", "TAGS=tagA", "MSG_REGION=DefaultRegion", "TRACE_ON=true", "CLUSTER=DefaultCluster"); got != want {
		t.Errorf("properties %q, want %q", got, want)
	}
	second := g.call(code.SendMessageV2, short(sendFields("tA", props("UNIQ_KEY=BBBB"), "queueId", "2")), "x")
	if second.code != 0 || second.ext["queueOffset"] != "1" || second.ext["transactionId"] != "BBBB" || !strings.HasSuffix(second.ext["msgId"], fmt.Sprintf("%016X", len(mustRecord(t, m)))) {
		t.Errorf("second answer %v", second)
	}
}

func mustRecord(t testing.TB, m record.Message) []byte {
	t.Helper()
	l, err := m.Measure(false)
	if err != nil {
		t.Fatal(err)
	}
	return make([]byte, l.Total)
}

// TestSendRefusals has the answers that a Java 5.5.0 broker gives to the same requests.
func TestSendRefusals(t *testing.T) {
	long := strings.Repeat("x", 128)
	illegal := "the message is illegal, maybe msg body or properties length not matched. msg body length limit 4194304B, msg properties length limit 32KB."
	cases := map[string]struct {
		fields header.Fields
		body   string
		change func(*rig)
		code   int32
		remark string
	}{
		"too early": {
			fields: sendFields("tA", ""), code: 1, remark: "broker unable to service, until 2033-05-18 03:33:20,123",
			change: func(g *rig) { g.set(func(c *config.Broker) { c.StartAcceptSend = 2000000000123 }) },
		},
		"ordered topic while the broker is read-only": {
			fields: sendFields("tOrder", ""), code: 16, remark: "the broker[127.0.0.1] sending message is forbidden",
			change: func(g *rig) { g.set(func(c *config.Broker) { c.Permission = 4 }) },
		},
		"dot in the name": {fields: sendFields("a.b", ""), code: 29, remark: "The specified topic: a.b, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"},
		"blank name":      {fields: sendFields("", ""), code: 29, remark: "The specified topic is blank."},
		"long name":       {fields: sendFields(long, ""), code: 29, remark: "The specified topic: " + long + ", is longer than topic max length: 127"},
		"reserved topic":  {fields: sendFields("SCHEDULE_TOPIC_XXXX", ""), code: 16, remark: "Sending message to topic[SCHEDULE_TOPIC_XXXX] is forbidden."},
		"missing topic": {
			fields: sendFields("tNo", "", "defaultTopic", "nothere"), code: 17,
			remark: "topic[tNo] not exist, apply first please!\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.",
		},
		"queue beyond": {
			fields: sendFields("tA", "", "queueId", "99"), code: 29,
			remark: "request queueId[99] is illegal, TopicConfig [topicName=tA, readQueueNums=4, writeQueueNums=4, perm=RW-, topicFilterType=SINGLE_TAG, topicSysFlag=0, order=false, attributes={}] Producer: ",
		},
		"retry topic without its group": {
			fields: sendFields("%RETRY%gone", ""), code: 26,
			remark: "subscription group not exist, gone \nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.",
			change: func(g *rig) { g.set(func(c *config.Broker) { c.AutoCreateGroup = false }) },
		},
		"compacted topic without keys": {fields: sendFields("tCompact", ""), code: 13, remark: "Required message key is missing"},
		"half message where they are rejected": {
			fields: sendFields("tA", props("TRAN_MSG=true")), code: 16, remark: "the broker[127.0.0.1] sending transaction message is forbidden",
			change: func(g *rig) { g.set(func(c *config.Broker) { c.RejectTransaction = true }) },
		},
		"timer message":             {fields: sendFields("tA", props("TIMER_DELAY_SEC=10")), code: 1, remark: "accurate timer message is not enabled, timerWheelEnable is false"},
		"timer message in the past": {fields: sendFields("tA", props("TIMER_DELIVER_MS=1")), code: 1, remark: "accurate timer message is not enabled, timerWheelEnable is false"},
		"delay level that is none":  {fields: sendFields("tA", props("DELAY=abc")), code: 1, remark: `property DELAY: strconv.ParseInt: parsing "abc": invalid syntax`},
		"inner batch":               {fields: sendFields("tA", props("INNER_NUM=2")), code: 13, remark: illegal},
		"inner batch by its flag":   {fields: sendFields("tA", props("INNER_NUM=2"), "sysFlag", "128"), code: 13, remark: illegal},
		"delayed inner batch":       {fields: sendFields("tBatchCQ", props("INNER_NUM=2", "DELAY=1"), "sysFlag", "128"), code: 13, remark: illegal},
		"any queue of a reserved topic": {
			fields: sendFields("SCHEDULE_TOPIC_XXXX", "", "queueId", "-1"), code: 16, remark: "Sending message to topic[SCHEDULE_TOPIC_XXXX] is forbidden.",
			change: func(g *rig) { g.addTopic("SCHEDULE_TOPIC_XXXX", nil) },
		},
		"any queue of a topic with a bad name": {
			fields: sendFields("a.b", "", "queueId", "-1"), code: 29, remark: "The specified topic: a.b, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$",
			change: func(g *rig) { g.addTopic("a.b", nil) },
		},
		"any queue of a compacted topic, without keys": {fields: sendFields("tCompact", "", "queueId", "-1"), code: 13, remark: "Required message key is missing"},
		"no body":             {fields: sendFields("tA", ""), body: "-", code: 1, remark: "the message has no body"},
		"no queue":            {fields: sendFields("tA", "", "queueId", "-"), code: 1, remark: "the custom field <queueId> is null"},
		"no topic":            {fields: sendFields("tA", "", "topic", "-"), code: 1, remark: "the custom field <topic> is null"},
		"queue is no number":  {fields: sendFields("tA", "", "queueId", "1x"), code: 1, remark: "the custom field <queueId> is null"},
		"no header at all":    {code: 1, remark: "the custom field <producerGroup> is null"},
		"properties too long": {fields: sendFields("tA", props("K="+strings.Repeat("v", 32700))), code: 13, remark: illegal},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			g.addTopic("tA", nil)
			g.addTopic("tOrder", func(c *body.TopicConfig) { c.Order = true })
			g.addTopic("tCompact", func(c *body.TopicConfig) { c.Attributes = map[string]string{"cleanup.policy": "COMPACTION"} })
			g.addTopic("tBatchCQ", func(c *body.TopicConfig) { c.Attributes = map[string]string{"queue.type": "BatchCQ"} })
			if c.change != nil {
				c.change(g)
			}
			text := "x"
			if c.body == "-" {
				text = ""
			}
			a := g.call(code.SendMessage, c.fields, text)
			if a.code != c.code || a.remark != c.remark {
				t.Errorf("answer %v\nwant %d %q", a, c.code, c.remark)
			}
			if a.ext["MSG_REGION"] != "DefaultRegion" || a.ext["TRACE_ON"] != "true" || a.ext["msgId"] != "" {
				t.Errorf("fields %v", a.ext)
			}
			if len(g.store.log) != 0 {
				t.Error("it was stored all the same")
			}
		})
	}
}

func TestSendAccepts(t *testing.T) {
	// What Java lets pass although one might not think so.
	cases := map[string]header.Fields{
		"read-only topic":                sendFields("tRead", ""),
		"no producer group":              sendFields("tA", "", "producerGroup", "-"),
		"no default topic":               sendFields("tA", "", "defaultTopic", "-", "defaultTopicQueueNums", "-"),
		"no optional fields":             sendFields("tA", "", "properties", "-", "reconsumeTimes", "-", "unitMode", "-", "maxReconsumeTimes", "-", "batch", "-"),
		"queue between read and write":   sendFields("tWide", "", "queueId", "5"),
		"TBW102 itself":                  sendFields("TBW102", ""),
		"timer that was worked out":      sendFields("tA", props("TIMER_OUT_MS=1", "TIMER_DELAY_SEC=3")),
		"half message that says false":   sendFields("tA", props("TRAN_MSG=false")),
		"negative delay level":           sendFields("tA", props("DELAY=-1")),
		"delayed half message, retried":  sendFields("tA", props("TRAN_MSG=true", "DELAY=1"), "reconsumeTimes", "2"),
		"compacted topic with a key":     sendFields("tCompact", props("KEYS=k")),
		"message for a read-only broker": sendFields("tA", ""),
	}
	for name, f := range cases {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			g.addTopic("tA", nil)
			g.addTopic("tRead", func(c *body.TopicConfig) { c.Perm = body.PermRead })
			g.addTopic("tWide", func(c *body.TopicConfig) { c.ReadQueueNums = 8 })
			g.addTopic("tCompact", func(c *body.TopicConfig) { c.Attributes = map[string]string{"cleanup.policy": "COMPACTION"} })
			if name == "message for a read-only broker" {
				g.set(func(c *config.Broker) { c.Permission = 4 })
			}
			if a := g.call(code.SendMessage, f, "x"); a.code != 0 || a.ext["msgId"] == "" {
				t.Errorf("answer %v", a)
			}
		})
	}
}

// TestSentProperties compares with what Java stored for the same properties (order aside).
func TestSentProperties(t *testing.T) {
	added := []string{"MSG_REGION=DefaultRegion", "TRACE_ON=true", "CLUSTER=DefaultCluster"}
	cases := map[string]struct {
		sent  string
		queue int32
		topic string
		want  []string
	}{
		"as they are":                {sent: props("UNIQ_KEY=u", "TAGS=t"), want: []string{"UNIQ_KEY=u", "TAGS=t"}},
		"receipt is taken out":       {sent: props("POP_CK=abc", "UNIQ_KEY=u", "A=1"), want: []string{"UNIQ_KEY=u", "A=1"}},
		"the broker's names win":     {sent: props("CLUSTER=x", "UNIQ_KEY=u", "MSG_REGION=y", "TRACE_ON=z"), want: []string{"UNIQ_KEY=u"}},
		"last mark missing":          {sent: "UNIQ_KEY\x01u\x02WAIT\x01false", want: []string{"UNIQ_KEY=u", "WAIT=false"}},
		"pairs without value vanish": {sent: "UNIQ_KEY\x01u\x02KEYS\x01\x02A\x02\x01b\x02", want: []string{"UNIQ_KEY=u"}},
		"second mark is value":       {sent: "UNIQ_KEY\x01u\x02A\x01b\x01c\x02", want: []string{"UNIQ_KEY=u", "A=b\x01c"}},
		"priority picks the queue":   {sent: props("UNIQ_KEY=u", "_SYS_MSG_PRIORITY_=2"), queue: 2, want: []string{"UNIQ_KEY=u", "_SYS_MSG_PRIORITY_=2"}},
		"priority above the queues":  {sent: props("UNIQ_KEY=u", "_SYS_MSG_PRIORITY_=99"), queue: 3, want: []string{"UNIQ_KEY=u", "_SYS_MSG_PRIORITY_=99"}},
		"negative priority":          {sent: props("UNIQ_KEY=u", "_SYS_MSG_PRIORITY_=-1"), want: []string{"UNIQ_KEY=u", "_SYS_MSG_PRIORITY_=-1"}},
		"priority of an ordered one": {sent: props("UNIQ_KEY=u", "_SYS_MSG_PRIORITY_=2", "__SHARDINGKEY=k"), want: []string{"UNIQ_KEY=u", "__SHARDINGKEY=k"}},
		"lite topic":                 {sent: props("UNIQ_KEY=u", "__LITE_TOPIC=lt"), want: []string{"UNIQ_KEY=u", "__LITE_TOPIC=lt", "INNER_MULTI_DISPATCH=%LMQ%$tA$lt"}},
		"a lite topic takes the place of a priority": { // to the byte
			sent: props("UNIQ_KEY=u", "_SYS_MSG_PRIORITY_=1234567890123", "__SHARDINGKEY=k", "__LITE_TOPIC=lt"),
			want: []string{"UNIQ_KEY=u", "__SHARDINGKEY=k", "__LITE_TOPIC=lt", "INNER_MULTI_DISPATCH=%LMQ%$tA$lt"},
		},
		"delayed": {
			sent: props("UNIQ_KEY=u", "DELAY=2"), queue: 1, topic: record.ScheduleTopic,
			want: []string{"UNIQ_KEY=u", "DELAY=2", "REAL_TOPIC=tA", "REAL_QID=0"},
		},
		"delayed beyond the last level": {
			sent: props("UNIQ_KEY=u", "DELAY=99"), queue: 2, topic: record.ScheduleTopic,
			want: []string{"UNIQ_KEY=u", "DELAY=3", "REAL_TOPIC=tA", "REAL_QID=0"},
		},
		"delay level wins over a timer": {
			sent: props("UNIQ_KEY=u", "TIMER_DELAY_SEC=5", "DELAY=1"), topic: record.ScheduleTopic,
			want: []string{"UNIQ_KEY=u", "DELAY=1", "REAL_TOPIC=tA", "REAL_QID=0"},
		},
		"delay level wins over a priority": {
			sent: props("UNIQ_KEY=u", "_SYS_MSG_PRIORITY_=2", "DELAY=1"), topic: record.ScheduleTopic,
			want: []string{"UNIQ_KEY=u", "DELAY=1", "REAL_TOPIC=tA", "REAL_QID=0"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			g.addTopic("tA", nil)
			if a := g.call(code.SendMessage, sendFields("tA", c.sent), "x"); a.code != 0 || a.ext["transactionId"] != "u" {
				t.Fatalf("answer %v", a)
			}
			topic := c.topic
			if topic == "" {
				topic = "tA"
			}
			got := g.store.stored(t, topic, c.queue)
			if len(got) != 1 {
				t.Fatalf("%d messages in %s/%d", len(got), topic, c.queue)
			}
			want := append(slices.Clone(c.want), added...)
			slices.Sort(want)
			if have := sorted(got[0].Properties); !slices.Equal(have, want) {
				t.Errorf("stored %q\nwant   %q", have, want)
			}
		})
	}
}

func TestSendMakesUniqueKey(t *testing.T) {
	g := newRig(t)
	g.addTopic("tA", nil)
	seen := map[string]bool{}
	for range 3 {
		a := g.call(code.SendMessage, sendFields("tA", ""), "x")
		key := a.ext["transactionId"]
		if len(key) != 32 || strings.ToUpper(key) != key || !strings.HasPrefix(key, "7F000001") || seen[key] {
			t.Errorf("key %q", key)
		}
		seen[key] = true
	}
	for _, m := range g.store.stored(t, "tA", 0) {
		if !seen[record.Property(m.Properties, "UNIQ_KEY")] {
			t.Errorf("stored %q", m.Properties)
		}
	}
}

func TestSendPicksAnyQueue(t *testing.T) {
	g := newRig(t)
	g.addTopic("tA", func(c *body.TopicConfig) { c.ReadQueueNums, c.WriteQueueNums = 8, 3 })
	seen := map[string]int{}
	for range 200 {
		a := g.call(code.SendMessage, sendFields("tA", "", "queueId", "-1"), "x")
		seen[a.ext["queueId"]]++
	}
	if len(seen) != 3 || seen["0"] == 0 || seen["1"] == 0 || seen["2"] == 0 {
		t.Errorf("queues %v", seen)
	}
}

func TestSendCreatesTopics(t *testing.T) {
	cases := map[string]struct {
		topic string
		kv    []string
		want  body.TopicConfig
	}{
		"after the default topic":    {"tNew", nil, body.TopicConfig{ReadQueueNums: 4, WriteQueueNums: 4, Perm: 6}},
		"no more than the default":   {"tNew", []string{"defaultTopicQueueNums", "100"}, body.TopicConfig{ReadQueueNums: 8, WriteQueueNums: 8, Perm: 6}},
		"unit mode":                  {"tNew", []string{"unitMode", "true"}, body.TopicConfig{ReadQueueNums: 4, WriteQueueNums: 4, Perm: 6, TopicSysFlag: 1}},
		"retry topic, no model":      {"%RETRY%g", []string{"defaultTopic", "none"}, body.TopicConfig{ReadQueueNums: 1, WriteQueueNums: 1, Perm: 6}},
		"retry topic in unit mode":   {"%RETRY%g", []string{"defaultTopic", "none", "unitMode", "true"}, body.TopicConfig{ReadQueueNums: 1, WriteQueueNums: 1, Perm: 6, TopicSysFlag: 2}},
		"after the topic of cluster": {"tNew", []string{"defaultTopic", "DefaultCluster"}, body.TopicConfig{ReadQueueNums: 4, WriteQueueNums: 4, Perm: 6}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			if a := g.call(code.SendMessage, sendFields(c.topic, "", c.kv...), "x"); a.code != 0 {
				t.Fatalf("answer %v", a)
			}
			got, ok := g.Topics.Get(c.topic)
			if !ok || got.ReadQueueNums != c.want.ReadQueueNums || got.WriteQueueNums != c.want.WriteQueueNums || got.Perm != c.want.Perm || got.TopicSysFlag != c.want.TopicSysFlag {
				t.Errorf("created %+v", got)
			}
			if len(g.store.stored(t, c.topic, 0)) != 1 {
				t.Error("the message is not stored")
			}
		})
	}
}

func TestMultiTagTopic(t *testing.T) {
	for _, queue := range []string{"0", "-1"} {
		g := newRig(t)
		g.addTopic("tA", func(c *body.TopicConfig) { c.TopicFilterType, c.ReadQueueNums, c.WriteQueueNums = body.MultiTag, 1, 1 })
		g.call(code.SendMessage, sendFields("tA", "", "queueId", queue), "x")
		if m := g.store.stored(t, "tA", 0)[0]; m.SysFlag != record.SysMultiTags {
			t.Errorf("queue %s: sysFlag %d", queue, m.SysFlag)
		}
	}
}

func TestPutStatusAnswers(t *testing.T) {
	cases := map[store.PutStatus]struct {
		code   int32
		stored bool
		remark string
	}{
		store.PutOK:                   {0, true, ""},
		store.FlushDiskTimeout:        {10, true, ""},
		store.FlushSlaveTimeout:       {12, true, ""},
		store.SlaveNotAvailable:       {11, true, ""},
		store.ServiceNotAvailable:     {14, false, "service not available now: why. CL:  0.50 CQ:  0.50 INDEX:  0.50"},
		store.CreateMappedFileFailed:  {1, false, "create mapped file failed, server is busy or broken.: why"},
		store.MessageIllegal:          {13, false, "the message is illegal, maybe msg body or properties length not matched. msg body length limit 4194304B, msg properties length limit 32KB."},
		store.PropertiesSizeExceeded:  {13, false, "the message is illegal, maybe msg body or properties length not matched. msg body length limit 4194304B, msg properties length limit 32KB."},
		store.OSPageCacheBusy:         {2, false, "[PC_SYNCHRONIZED]broker busy, start flow control for a while"},
		store.UnknownError:            {1, false, "UNKNOWN_ERROR: why"},
		store.InSyncReplicasNotEnough: {1, false, "in-sync replicas not enough: why"},
	}
	for status, c := range cases {
		g := newRig(t)
		g.addTopic("tA", nil)
		g.store.status, g.store.err = status, errors.New("why")
		a := g.call(code.SendMessage, sendFields("tA", ""), "x")
		if a.code != c.code || a.remark != c.remark || (a.ext["queueOffset"] != "") != c.stored {
			t.Errorf("status %d: %v, want %+v", status, a, c)
		}
	}
}

func TestSyncFlush(t *testing.T) {
	for _, early := range []bool{false, true} {
		for outcome, want := range map[store.PutStatus]int32{store.PutOK: 0, store.FlushDiskTimeout: 10, store.ServiceNotAvailable: 14} {
			if early && outcome != store.PutOK {
				continue
			}
			t.Run(fmt.Sprintf("early=%t outcome=%d", early, outcome), func(t *testing.T) {
				g := newRig(t)
				g.addTopic("tA", nil)
				g.store.hold, g.store.early = true, early
				frame := []byte(props("UNIQ_KEY=AAAA", "TAGS=x"))
				out := g.start(remoting.Request{Code: code.SendMessage, Version: 513, Fields: sendFields("tA", viewOf(frame)), Body: []byte("x")})
				for i := range frame {
					frame[i] = 'z' // the frame's memory is used for the next one
				}
				if !early {
					select {
					case a := <-out:
						t.Fatalf("answered before the flush: %v", a)
					default:
					}
					g.store.completeAll(outcome)
				}
				a := g.wait(out)
				if a.code != want {
					t.Errorf("answer %v", a)
				}
				if want != 14 && (a.ext["transactionId"] != "AAAA" || a.ext["msgId"] == "") {
					t.Errorf("answer %v", a)
				}
				if n := g.pending.Load(); n != 0 {
					t.Errorf("%d pending", n)
				}
			})
		}
	}
}

func TestFailedCommitIsNoSuccess(t *testing.T) {
	for _, hold := range []bool{false, true} {
		for _, early := range []bool{false, true} {
			g := newRig(t)
			g.addTopic("tA", nil)
			g.store.hold, g.store.early, g.store.lost = hold, early, errors.New("no space")
			out := g.start(remoting.Request{Code: code.SendMessage, Version: 513, Fields: sendFields("tA", ""), Body: []byte("x")})
			g.store.completeAll(store.PutOK)
			if a := g.wait(out); a.code != code.SystemError || !strings.Contains(a.remark, "no space") || a.ext["msgId"] != "" {
				t.Errorf("hold %t early %t: %v", hold, early, a)
			}
			if n := g.pending.Load(); n != 0 {
				t.Errorf("%d pending", n)
			}
		}
	}
}

func TestSyncFlushWaitsForNobody(t *testing.T) {
	g := newRig(t)
	g.addTopic("tA", nil)
	g.store.hold = true
	if a := g.call(code.SendMessage, sendFields("tA", props("WAIT=false")), "x"); a.code != 0 {
		t.Errorf("WAIT=false: %v", a)
	}
	out := g.start(remoting.Request{Code: code.SendMessage, Flag: 2, Version: 513, Fields: sendFields("tA", ""), Body: []byte("x")})
	select {
	case a := <-out:
		t.Errorf("one-way is answered: %v", a)
	default:
	}
	if n := len(g.store.stored(t, "tA", 0)); n != 2 {
		t.Errorf("%d stored", n)
	}
}

func TestPendingSendsAreBounded(t *testing.T) {
	g := newRig(t, func(c *config.Broker) { c.SendQueue = 2 })
	g.addTopic("tA", nil)
	g.store.hold = true
	send := func() <-chan answered {
		return g.start(remoting.Request{Code: code.SendMessage, Version: 513, Fields: sendFields("tA", ""), Body: []byte("x")})
	}
	first, second := send(), send()
	if a := g.wait(send()); a.code != 2 || a.remark != "[OVERLOAD]system busy, start flow control for a while" || a.ext["TRACE_ON"] != "true" {
		t.Errorf("third: %v", a)
	}
	g.store.completeAll(store.PutOK)
	if a, b := g.wait(first), g.wait(second); a.code != 0 || b.code != 0 {
		t.Errorf("%v %v", a, b)
	}
}

func TestRetryAndDeadLetters(t *testing.T) {
	retryProps := props("UNIQ_KEY=RS", "DELAY=2", "RETRY_TOPIC=tP")
	cases := map[string]struct {
		kv      []string
		version int32
		max     int32
		locked  bool
		props   string
		dead    bool
	}{
		"within the header's limit":        {kv: []string{"reconsumeTimes", "16", "maxReconsumeTimes", "16"}, version: 513, max: 1},
		"beyond the header's limit":        {kv: []string{"reconsumeTimes", "17", "maxReconsumeTimes", "16"}, version: 513, max: 99, dead: true},
		"old clients: within the group's":  {kv: []string{"reconsumeTimes", "1", "maxReconsumeTimes", "0"}, version: 100, max: 1},
		"old clients: beyond the group's":  {kv: []string{"reconsumeTimes", "2", "maxReconsumeTimes", "16"}, version: 100, max: 1, dead: true},
		"no limit in the header":           {kv: []string{"reconsumeTimes", "2", "maxReconsumeTimes", "-"}, version: 513, max: 1, dead: true},
		"a group that consumes in order":   {kv: []string{"reconsumeTimes", "0", "maxReconsumeTimes", "16"}, version: 513, max: 16, locked: true, dead: true},
		"without a delay level":            {kv: []string{"reconsumeTimes", "17", "maxReconsumeTimes", "16"}, version: 513, max: 1, props: props("UNIQ_KEY=RS", "RETRY_TOPIC=tP"), dead: true},
		"any queue":                        {kv: []string{"queueId", "-1", "reconsumeTimes", "17", "maxReconsumeTimes", "16"}, version: 513, max: 99, dead: true},
		"the Go client's 0 allows nothing": {kv: []string{"reconsumeTimes", "1", "maxReconsumeTimes", "0"}, version: 513, max: 16, dead: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			g.addGroup("gR", func(s *body.SubscriptionGroupConfig) { s.RetryMaxTimes = c.max })
			g.addTopic("%RETRY%gR", func(c *body.TopicConfig) { c.ReadQueueNums, c.WriteQueueNums = 1, 1 })
			if c.locked {
				g.Locks.Lock("gR", "c1", []body.MessageQueue{{Topic: "tP", BrokerName: "b", QueueID: 0}})
			}
			sent := c.props
			if sent == "" {
				sent = retryProps
			}
			a := g.wait(g.start(remoting.Request{Code: code.SendMessage, Version: c.version, Fields: sendFields("%RETRY%gR", sent, c.kv...), Body: []byte("x")}))
			if a.code != 0 || a.ext["queueId"] != "0" {
				t.Fatalf("answer %v", a)
			}
			if !c.dead {
				m := g.store.stored(t, record.ScheduleTopic, 1)
				if len(m) != 1 || record.Property(m[0].Properties, "REAL_TOPIC") != "%RETRY%gR" {
					t.Errorf("scheduled %+v", m)
				}
				return
			}
			m := g.store.stored(t, "%DLQ%gR", 0)
			want := []string{"CLUSTER=DefaultCluster", "DELAY=-1", "MSG_REGION=DefaultRegion", "RETRY_TOPIC=tP", "TRACE_ON=true", "UNIQ_KEY=RS"}
			if len(m) != 1 || !slices.Equal(sorted(m[0].Properties), want) {
				t.Errorf("dead letters %+v", m)
			}
			if d, ok := g.Topics.Get("%DLQ%gR"); !ok || d.Perm != 6 || d.ReadQueueNums != 1 {
				t.Errorf("topic %+v", d)
			}
		})
	}
}

func TestBatch(t *testing.T) {
	two := viewOf(record.AppendBatch(record.AppendBatch(nil, record.BatchRecord{Body: []byte("b1"), Properties: []byte(props("UNIQ_KEY=U1", "TAGS=tt"))}),
		record.BatchRecord{Flag: 7, Body: []byte("b2"), Properties: []byte(props("UNIQ_KEY=U2", "DELAY=3"))}))
	long := strings.Repeat("x", 128)
	cases := map[string]struct {
		code   int32
		fields header.Fields
		body   string
		want   int32
		remark string
		trans  string
	}{
		"320":                      {320, short(sendFields("tA", props("WAIT=true"), "batch", "true")), two, 0, "", ""},
		"10 with batch":            {10, sendFields("tA", "", "batch", "true"), two, 0, "", ""},
		"unique key of the whole":  {320, short(sendFields("tA", props("UNIQ_KEY=ENV"), "batch", "true")), two, 0, "", "ENV"},
		"half message properties":  {320, short(sendFields("tA", props("TRAN_MSG=true"), "batch", "true")), two, 0, "", ""},
		"retry topic":              {320, short(sendFields("%RETRY%g", "", "batch", "true")), two, 13, "batch request does not support retry group %RETRY%g", ""},
		"long topic":               {320, short(sendFields(long, "", "batch", "true")), two, 29, "The specified topic: " + long + ", is longer than topic max length: 127", ""},
		"delay level of the whole": {320, short(sendFields("tA", props("DELAY=2"), "batch", "true")), two, 13, "the message is illegal, maybe msg body or properties length not matched. msg body length limit 4194304B, msg properties length limit 32KB.", ""},
		"transaction type":         {320, short(sendFields("tA", "", "batch", "true", "sysFlag", "4")), two, 13, "the message is illegal, maybe msg body or properties length not matched. msg body length limit 4194304B, msg properties length limit 32KB.", ""},
		"not a batch":              {320, short(sendFields("tA", "", "batch", "true")), "12345678", 1, "record: malformed batch body", ""},
		"cut off":                  {320, short(sendFields("tA", "", "batch", "true")), two[:len(two)-3], 1, "record: malformed batch body", ""},
		"empty":                    {320, short(sendFields("tA", "", "batch", "true")), "", 1, "the message has no body", ""},
		"too long":                 {320, short(sendFields("tA", "", "batch", "true")), strings.Repeat("x", 4<<20+1), 1, "message body size exceeded: 4194305 bytes, the limit is 4194304", ""},
		"320 that says it is none": {320, short(sendFields("tA", props("UNIQ_KEY=S"), "batch", "false")), two, 0, "", "S"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			g.addTopic("tA", nil)
			a := g.call(c.code, c.fields, c.body)
			if a.code != c.want || a.remark != c.remark || a.ext["transactionId"] != c.trans || a.ext["TRACE_ON"] != "true" {
				t.Fatalf("answer %v", a)
			}
			if c.want != 0 {
				return
			}
			got := g.store.stored(t, "tA", 0)
			if name == "320 that says it is none" {
				if len(got) != 1 || string(got[0].Body) != two {
					t.Errorf("stored %+v", got)
				}
				return
			}
			if len(got) != 2 || got[0].Properties != props("UNIQ_KEY=U1", "TAGS=tt") || got[1].Properties != props("UNIQ_KEY=U2", "DELAY=3") ||
				string(got[1].Body) != "b2" || got[1].Flag != 7 || got[1].QueueOffset != 1 || got[1].BornTimestamp != 1700000000000 {
				t.Errorf("stored %+v", got)
			}
			ids := fmt.Sprintf("7F00000100002A9F%016X,7F00000100002A9F%016X", got[0].PhysicalOffset, got[1].PhysicalOffset)
			if a.ext["msgId"] != ids || a.ext["queueOffset"] != "0" || a.ext["batchUniqId"] != "" {
				t.Errorf("answer %v", a)
			}
		})
	}
}

func FuzzSentProperties(f *testing.F) {
	f.Add("UNIQ_KEY\x01u\x02WAIT\x01false")
	f.Add("TAGS\x01a\x02KEYS\x01b c\x02TAGS\x01d\x02DELAY\x013\x02INNER_MULTI_DISPATCH\x01q\x02")
	f.Add("POP_CK\x01\x02\x02\x01a\x02A\x01\x01\x02CLUSTER\x01c\x02")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		var p sentProperties
		out := string(p.rewrite(nil, s))
		var want []string
		for c := record.Pairs([]byte(s)); c.Next(); {
			switch string(c.Name) {
			case "POP_CK", "MSG_REGION", "TRACE_ON", "CLUSTER":
			default:
				want = append(want, string(c.Name)+"\x01"+string(c.Value)+"\x02")
			}
		}
		if joined := strings.Join(want, ""); out != joined {
			t.Fatalf("%q becomes %q, want %q", s, out, joined)
		}
		if p.uniqKey != record.Property(s, "UNIQ_KEY") {
			t.Fatalf("unique key %q", p.uniqKey)
		}
		if got, want := p.words(out), record.ReadWords(out); got != want {
			t.Fatalf("words %+v, the store finds %+v", got, want)
		}
	})
}
