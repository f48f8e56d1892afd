package processor

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"apogee/broker/config"
	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store"
	"apogee/store/record"
)

func backFields(off int64, kv ...string) header.Fields {
	return fields(header.Fields{
		{Key: "offset", Value: fmt.Sprint(off)},
		{Key: "group", Value: "gR"},
		{Key: "delayLevel", Value: "0"},
		{Key: "originMsgId", Value: "OM1"},
		{Key: "originTopic", Value: "tP"},
		{Key: "unitMode", Value: "false"},
		{Key: "maxReconsumeTimes", Value: "16"},
	}, kv...)
}

// TestSendBack compares with what a Java 5.5.0 broker stored for the same requests.
func TestSendBack(t *testing.T) {
	const original = "UNIQ_KEY=SB1 TAGS=tagA KEYS=kk MSG_REGION=DefaultRegion"
	id := "7F00000100002A9F0000000000000000"
	cases := map[string]struct {
		kv      []string
		version int32
		times   int32  // of the message that is sent back
		had     string // properties it has besides
		topic   string
		queue   int32
		want    string
	}{
		"first attempt": {topic: record.ScheduleTopic, queue: 2, want: "DELAY=3 WAIT=false RETRY_TOPIC=tP ORIGIN_MESSAGE_ID=" + id + " REAL_TOPIC=%RETRY%gR REAL_QID=0"},
		"a level of its own": {
			kv: []string{"delayLevel", "1"}, topic: record.ScheduleTopic, queue: 0,
			want: "DELAY=1 WAIT=false RETRY_TOPIC=tP ORIGIN_MESSAGE_ID=" + id + " REAL_TOPIC=%RETRY%gR REAL_QID=0",
		},
		"a level above the last": {
			kv: []string{"delayLevel", "50"}, topic: record.ScheduleTopic, queue: 2,
			want: "DELAY=3 WAIT=false RETRY_TOPIC=tP ORIGIN_MESSAGE_ID=" + id + " REAL_TOPIC=%RETRY%gR REAL_QID=0",
		},
		"given up by the client": {kv: []string{"delayLevel", "-1"}, topic: "%DLQ%gR", want: "DELAY=0 WAIT=false RETRY_TOPIC=tP ORIGIN_MESSAGE_ID=" + id},
		"too many attempts":      {times: 16, topic: "%DLQ%gR", want: "DELAY=0 WAIT=false RETRY_TOPIC=tP ORIGIN_MESSAGE_ID=" + id},
		"as the header says":     {kv: []string{"maxReconsumeTimes", "0"}, topic: "%DLQ%gR", want: "DELAY=0 WAIT=false RETRY_TOPIC=tP ORIGIN_MESSAGE_ID=" + id},
		"an old client's header is not heard": {
			kv: []string{"maxReconsumeTimes", "0"}, version: 100, topic: record.ScheduleTopic, queue: 2,
			want: "DELAY=3 WAIT=false RETRY_TOPIC=tP ORIGIN_MESSAGE_ID=" + id + " REAL_TOPIC=%RETRY%gR REAL_QID=0",
		},
		"a later attempt keeps the origin": {
			times: 3, had: "RETRY_TOPIC=tOrig ORIGIN_MESSAGE_ID=OMX DELAY=1 WAIT=true", topic: record.ScheduleTopic, queue: 2,
			want: "DELAY=3 WAIT=false RETRY_TOPIC=tOrig ORIGIN_MESSAGE_ID=OMX REAL_TOPIC=%RETRY%gR REAL_QID=0",
		},
		"no optional fields": {
			kv: []string{"originMsgId", "-", "originTopic", "-", "maxReconsumeTimes", "-", "unitMode", "-"}, topic: record.ScheduleTopic, queue: 2,
			want: "DELAY=3 WAIT=false RETRY_TOPIC=tP ORIGIN_MESSAGE_ID=" + id + " REAL_TOPIC=%RETRY%gR REAL_QID=0",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			g.addGroup("gR", nil)
			m := &record.Message{
				Topic: "tP", QueueID: 1, Flag: 3, BornTimestamp: 5, ReconsumeTimes: c.times, Body: []byte("body1"), StoreHost: g.Address().Host,
				Properties: props(append(words(original), words(c.had)...)...),
			}
			g.store.Put(m, nil)
			version := c.version
			if version == 0 {
				version = 513
			}
			a := g.wait(g.start(remoting.Request{Code: code.ConsumerSendMsgBack, Version: version, Fields: backFields(0, c.kv...)}))
			if a.code != 0 || len(a.ext) != 0 {
				t.Fatalf("answer %v", a)
			}
			got := g.store.stored(t, c.topic, c.queue)
			if len(got) != 1 {
				t.Fatalf("%d messages in %s/%d", len(got), c.topic, c.queue)
			}
			want := append(words(original), words(c.want)...)
			slices.Sort(want)
			if have := sorted(got[0].Properties); !slices.Equal(have, want) {
				t.Errorf("stored %q\nwant   %q", have, want)
			}
			if s := got[0]; s.ReconsumeTimes != c.times+1 || s.Flag != 3 || s.BornTimestamp != 5 || string(s.Body) != "body1" {
				t.Errorf("stored %+v", s)
			}
			g.Lanes.Close() // the answer may come before the lane is done
			if g.store.released != 1 {
				t.Errorf("the message is released %d times", g.store.released)
			}
		})
	}
}

func TestSendBackRefusals(t *testing.T) {
	const help = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
	cases := map[string]struct {
		fields header.Fields
		setup  func(*rig)
		code   int32
		remark string
	}{
		"no such group":        {backFields(0, "group", "g.x"), nil, 26, "subscription group not exist, g.x " + help},
		"read-only broker":     {backFields(0), func(g *rig) { g.set(func(c *config.Broker) { c.Permission = 4 }) }, 16, "the broker[127.0.0.1] sending message is forbidden"},
		"no retry queues":      {backFields(99), func(g *rig) { g.addGroup("gR", func(s *body.SubscriptionGroupConfig) { s.RetryQueueNums = 0 }) }, 0, ""},
		"retry topic is shut":  {backFields(0), func(g *rig) { g.addTopic("%RETRY%gR", func(c *body.TopicConfig) { c.Perm = 4 }) }, 16, "the topic[%RETRY%gR] sending message is forbidden"},
		"no message there":     {backFields(7), nil, 1, "look message by offset failed, 7"},
		"no group in header":   {backFields(0, "group", "-"), nil, 1, "the custom field <group> is null"},
		"no offset in header":  {backFields(0, "offset", "-"), nil, 1, "the custom field <offset> is null"},
		"no level in header":   {backFields(0, "delayLevel", "-"), nil, 1, "the custom field <delayLevel> is null"},
		"the store refuses it": {backFields(0), func(g *rig) { g.store.status, g.store.err = store.UnknownError, errors.New("why") }, 1, "UNKNOWN_ERROR: why"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			g.addGroup("gR", nil)
			g.send("tP", 0, "a", "x")
			if c.setup != nil {
				c.setup(g)
			}
			before := len(g.store.log)
			if a := g.call(code.ConsumerSendMsgBack, c.fields, ""); a.code != c.code || a.remark != c.remark {
				t.Errorf("answer %v", a)
			}
			if len(g.store.log) != before {
				t.Error("something is stored")
			}
		})
	}
}

func TestSendBackInUnitMode(t *testing.T) {
	g := newRig(t)
	g.send("tP", 0, "a", "x")
	if a := g.call(code.ConsumerSendMsgBack, backFields(0, "unitMode", "true", "group", "gU"), ""); a.code != 0 {
		t.Fatalf("answer %v", a)
	}
	if c, ok := g.Topics.Get("%RETRY%gU"); !ok || c.TopicSysFlag != 2 || c.Perm != 6 || c.WriteQueueNums != 1 {
		t.Errorf("retry topic %+v", c)
	}
}

// TestSendBackMovesOnlyWhereItMayBlock has a lane that takes nothing: what needs it is refused, the rest does not notice.
func TestSendBackMovesOnlyWhereItMayBlock(t *testing.T) {
	cases := map[string]struct {
		setup func(*rig)
		kv    []string
		code  int32
	}{
		"all is there":           {code: 0},
		"no group yet":           {kv: []string{"group", "gNew"}, code: 2},
		"the message is on disk": {setup: func(g *rig) { g.store.cold = true }, code: 2},
		"no dead letters yet":    {kv: []string{"delayLevel", "-1"}, code: 2},
		"dead letters and their topic": {
			setup: func(g *rig) { g.addTopic("%DLQ%gR", nil) }, kv: []string{"delayLevel", "-1"}, code: 0,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			g.addGroup("gR", nil)
			g.addTopic("%RETRY%gR", nil)
			g.send("tP", 0, "a", "x")
			if c.setup != nil {
				c.setup(g)
			}
			g.Lanes.Close()
			if a := g.call(code.ConsumerSendMsgBack, backFields(0, c.kv...), ""); a.code != c.code {
				t.Errorf("answer %v, want code %d", a, c.code)
			}
		})
	}
}
