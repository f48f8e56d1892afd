package conformance

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

var timerCases = []Case{
	{Area: "messaging", Feature: "Message recall (cancel a timer message)", Own: true, Run: timerRecall, Limit: 3 * time.Minute},
	{Area: "delay", Feature: "Arbitrary delay (timer wheel)", Run: timerDelay},
	{Area: "delay", Feature: "Timer up to 3 days with roll", Own: true, Run: timerRoll},
	{Area: "delay", Feature: "Timer deletion by unique key", Run: timerDelete},
	{Area: "delay", Feature: "Timer metrics / checkpoints", Own: true, Run: timerMetrics},
}

// due is when a message with these properties is wanted.
func due(rec wire.Record) int64 {
	now := rec.BornTime
	for _, of := range []struct { // the first of them counts
		name string
		unit int64
	}{{"TIMER_DELAY_SEC", 1000}, {"TIMER_DELAY_MS", 1}} {
		if n, err := strconv.ParseInt(rec.Properties[of.name], 10, 64); err == nil {
			return now + n*of.unit
		}
	}
	n, _ := strconv.ParseInt(rec.Properties["TIMER_DELIVER_MS"], 10, 64)
	return n
}

func timerDelay(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("Timer")
	b.topic(topic, topicConf{})
	p := t.producer(t.shared)
	second := time.Now().UnixMilli()/1000*1000 + 4000
	for name, value := range map[string]string{
		"TIMER_DELAY_SEC": "3", "TIMER_DELAY_MS": "2500", "TIMER_DELIVER_MS": fmt.Sprint(second),
	} {
		m := message1(topic, name)
		m.WithProperty(name, value)
		t.sendSync(p, m)
	}
	// The first of seconds, ms and time counts; a time that has passed makes an ordinary message.
	b.send(message{topic: topic, body: []byte("several"), properties: wire.Properties("TIMER_DELAY_MS", "3600000", "TIMER_DELAY_SEC", "2")})
	b.send(message{topic: topic, body: []byte("past"), properties: wire.Properties("TIMER_DELIVER_MS", "1000")})
	// A delay level wins.
	b.send(message{topic: topic, body: []byte("level"), properties: wire.Properties("TIMER_DELAY_SEC", "3600", "DELAY", "1")})
	past := b.await(topic, 0, 1, 10*time.Second)[0]
	Equal(t, "first message", string(past.Body), "past")
	for _, rec := range b.await(topic, 0, 6, 30*time.Second) {
		name := string(rec.Body)
		switch name {
		case "past":
			continue
		case "level":
			Equal(t, "TIMER_DELAY_SEC beside a level", rec.Properties["TIMER_DELAY_SEC"], "")
			continue
		}
		if late := rec.StoreTime - due(rec); late < -150 || late > 3000 {
			t.Errorf("%s came %d ms after its time", name, late)
		}
		out, err := strconv.ParseInt(rec.Properties["TIMER_OUT_MS"], 10, 64)
		if err != nil || out%1000 != 0 || due(rec)-out < 1 || due(rec)-out > 1200 {
			t.Errorf("%s: TIMER_OUT_MS is %q, wanted at %d", name, rec.Properties["TIMER_OUT_MS"], due(rec))
		}
		if name == "TIMER_DELIVER_MS" {
			Equal(t, "slot of a whole second", out, second-1000)
		}
		Equal(t, name+": topic", rec.Topic, topic)
		Equal(t, name+": REAL_TOPIC and REAL_QID", rec.Properties["REAL_TOPIC"]+" "+rec.Properties["REAL_QID"], topic+" 0")
		for _, prop := range []string{"TIMER_ENQUEUE_MS", "TIMER_DEQUEUE_MS"} {
			if _, err := strconv.ParseInt(rec.Properties[prop], 10, 64); err != nil {
				t.Errorf("%s: %s is %q", name, prop, rec.Properties[prop])
			}
		}
	}
	for name, props := range map[string]string{
		"no number":           wire.Properties("TIMER_DELAY_MS", "soon"),
		"cancels in the past": wire.Properties("TIMER_DELIVER_MS", "1000", "TIMER_DEL_UNIQKEY", "x"),
	} {
		f := b.trySend(message{topic: topic, properties: props})
		if f.Code != int(code.MessageIllegal) || !strings.HasPrefix(f.Remark, "timer message illegal") {
			t.Errorf("%s: answer %v, want 13", name, f)
		}
	}
}

func timerRoll(t *T) {
	c := t.ownCluster(testkit.Props{"timerRollWindowSlot": "4"})
	b := t.dial(c.broker)
	topic := t.Name("Roll")
	b.topic(topic, topicConf{})
	b.send(message{topic: topic, body: []byte("71 h"), properties: wire.Properties("TIMER_DELAY_SEC", fmt.Sprint(71*3600))})
	f := b.trySend(message{topic: topic, body: []byte("73 h"), properties: wire.Properties("TIMER_DELAY_SEC", fmt.Sprint(73*3600))})
	if f.Code != int(code.MessageIllegal) || !strings.Contains(f.Remark, "259200000ms") {
		t.Errorf("73 h: answer %v, want 13", f)
	}
	b.send(message{topic: topic, body: []byte("9 s"), properties: wire.Properties("TIMER_DELAY_MS", "9000")})
	rec := b.await(topic, 0, 1, 30*time.Second)[0]
	Equal(t, "message", string(rec.Body), "9 s")
	if late := rec.StoreTime - due(rec); late < -150 || late > 3000 {
		t.Errorf("the rolled message came %d ms after its time", late)
	}
	if n, err := strconv.Atoi(rec.Properties["TIMER_ROLL_TIMES"]); err != nil || n < 1 || n > 5 {
		t.Errorf("TIMER_ROLL_TIMES is %q", rec.Properties["TIMER_ROLL_TIMES"])
	}
	// Java counts a message that it rolls down before it counts it up again.
	t.Until(10*time.Second, "one message waits", func() (bool, string) {
		n := wire.Num(wire.At(b.json(code.GetTimerMetrics, nil, nil), "timingCount", topic, "count"))
		return n == "1", n
	})
}

func timerDelete(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("Cancel")
	b.topic(topic, topicConf{})
	at := time.Now().UnixMilli() + 3000
	for _, key := range []string{"ONE", "TWO"} {
		b.send(message{topic: topic, body: []byte(key), properties: wire.Properties("UNIQ_KEY", key, "TIMER_DELIVER_MS", fmt.Sprint(at))})
	}
	b.send(message{topic: topic, body: []byte("cancel"), properties: wire.Properties("TIMER_DELIVER_MS", fmt.Sprint(at), "TIMER_DEL_UNIQKEY", "ONE")})
	b.send(message{topic: topic, body: []byte("cancel"), properties: wire.Properties("TIMER_DELIVER_MS", fmt.Sprint(at), "TIMER_DEL_UNIQKEY", "NONE")})
	b.send(message{topic: topic, body: []byte("last"), properties: wire.Properties("TIMER_DELIVER_MS", fmt.Sprint(at+2000))})
	recs := b.await(topic, 0, 2, 20*time.Second)
	Equal(t, "messages", len(recs), 2)
	Equal(t, "first", string(recs[0].Body), "TWO")
	Equal(t, "second", string(recs[1].Body), "last")
	t.Until(10*time.Second, "nothing waits", func() (bool, string) {
		n := wire.Num(wire.At(b.json(code.GetTimerMetrics, nil, nil), "timingCount", topic, "count"))
		return n == "0", n
	})
}

func timerMetrics(t *T) {
	c := t.ownCluster(nil)
	b := t.dial(c.broker)
	topic := t.Name("Metrics")
	b.topic(topic, topicConf{})
	before := time.Now().UnixMilli()
	for range 3 {
		b.send(message{topic: topic, properties: wire.Properties("TIMER_DELAY_SEC", "3600")})
	}
	b.send(message{topic: topic, properties: wire.Properties("TIMER_DELAY_MS", "1500")})
	b.await(topic, 0, 1, 20*time.Second)
	t.Until(10*time.Second, "three messages wait", func() (bool, string) {
		v := b.json(code.GetTimerMetrics, nil, nil)
		n := wire.Num(wire.At(v, "timingCount", topic, "count"))
		stamp, _ := strconv.ParseInt(wire.Num(wire.At(v, "timingCount", topic, "timeStamp")), 10, 64)
		return n == "3" && stamp >= before, n
	})
	t.Until(10*time.Second, "checkpoint", func() (bool, string) {
		f := b.ok(code.GetTimerCheckPoint, nil, nil)
		if len(f.Body) != 56 {
			return false, fmt.Sprintf("%d bytes", len(f.Body))
		}
		var v [7]int64
		for i := range v {
			v[i] = int64(binary.BigEndian.Uint64(f.Body[8*i:]))
		}
		return v[0] >= before && v[1] == 4*52 && v[2] == 4 && v[3] == 4 && v[6] > 0, fmt.Sprint(v)
	})
	t.Until(10*time.Second, "runtime info", func() (bool, string) {
		v := b.json(code.GetBrokerRuntimeInfo, nil, nil)
		n := fmt.Sprint(wire.At(v, "table", "timerCongestNum"), " ", wire.At(v, "table", "timerOffsetBehind"))
		return n == "3 0", n
	})
	// It comes back after a restart.
	s := c.brokerServer()
	t.Must(s.Stop(), "stop the broker")
	t.Must(s.Restart(nil), "restart the broker")
	b = t.dial(s.Addr())
	Equal(t, "messages that wait", wire.Num(wire.At(b.json(code.GetTimerMetrics, nil, nil), "timingCount", topic, "count")), "3")
}

func timerRecall(t *T) {
	c := t.ownCluster(testkit.Props{"recallMessageEnable": "true"})
	b := t.dial(c.broker)
	topic := t.Name("Recall")
	b.topic(topic, topicConf{})
	t.javaProgram("Timer", c.namesrv, topic)
	t.recallRefusals(b, c, topic)
}

// recallRefusals goes through what cannot be recalled.
func (t *T) recallRefusals(b *raw, c *cluster, topic string) {
	recall := func(topic, handle string) *wire.Frame {
		return b.call(code.RecallMessage, wire.Ext("producerGroup", "PG", "topic", topic, "recallHandle", handle), nil)
	}
	handle := func(words ...any) string {
		return base64.URLEncoding.EncodeToString([]byte(strings.TrimSpace(fmt.Sprintln(words...))))
	}
	later := time.Now().UnixMilli() + 60000
	for name, step := range map[string]struct {
		topic, handle string
		code          int32
		remark        string
	}{
		"no topic":        {"Nowhere", handle("v1", "Nowhere", c.brokerName, later, "ID"), code.TopicNotExist, "recall failed, the topic[Nowhere] not exist"},
		"no base64":       {topic, "?", code.IllegalOperation, "recall handle is invalid"},
		"other version":   {topic, handle("v2", topic, c.brokerName, later, "ID"), code.IllegalOperation, "recall handle is invalid"},
		"too few words":   {topic, handle("v1", topic, c.brokerName, later), code.IllegalOperation, "recall handle is invalid"},
		"other topic":     {topic, handle("v1", "Other", c.brokerName, later, "ID"), code.IllegalOperation, "recall failed, topic not match"},
		"other broker":    {topic, handle("v1", topic, "other", later, "ID"), code.IllegalOperation, "recall failed, broker service not available"},
		"past":            {topic, handle("v1", topic, c.brokerName, 1000, "ID"), code.IllegalOperation, "recall failed, timestamp invalid"},
		"far off":         {topic, handle("v1", topic, c.brokerName, later+259200000, "ID"), code.IllegalOperation, "recall failed, timestamp invalid"},
		"no time":         {topic, handle("v1", topic, c.brokerName, "soon", "ID"), code.IllegalOperation, "recall failed, timestamp invalid"},
		"nobody's":        {topic, handle("v1", topic, c.brokerName, later, "ID"), code.Success, ""},
		"without padding": {topic, strings.TrimRight(handle("v1", topic, c.brokerName, later, "IDE"), "="), code.Success, ""},
	} {
		f := recall(step.topic, step.handle)
		if f.Code != int(step.code) || step.code != code.Success && f.Remark != step.remark {
			t.Errorf("%s: answer %v, want %d %s", name, f, step.code, step.remark)
		}
		Equal(t, name+": MSG_REGION", f.Ext["MSG_REGION"], "DefaultRegion")
	}
	off := t.dial(t.ownBroker(c.namesrv, nil).Addr())
	f := off.call(code.RecallMessage, wire.Ext("topic", topic, "recallHandle", "x"), nil)
	Equal(t, "switched off", fmt.Sprint(f.Code, " ", f.Remark), "16 recall failed, operation is forbidden")
}
