package processor

import (
	"context"
	"errors"
	"strings"
	"testing"

	"apogee/broker/client"
	"apogee/broker/config"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store/record"
)

func words(s string) []string { return strings.Fields(s) }

func queryFields(key string, kv ...string) header.Fields {
	return fields(header.Fields{
		{Key: "topic", Value: "tA"},
		{Key: "key", Value: key},
		{Key: "maxNum", Value: "32"},
		{Key: "beginTimestamp", Value: "0"},
		{Key: "endTimestamp", Value: "9999999999999"},
	}, kv...)
}

func TestQueryByKey(t *testing.T) {
	cases := map[string]struct {
		fields header.Fields
		code   int32
		found  string
	}{
		"unique key":                   {queryFields("u1"), 0, "m1"},
		"one of several keys":          {queryFields("k2"), 0, "m1 m2"},
		"part of a key is no key":      {queryFields("k"), 22, ""},
		"another topic":                {queryFields("k1", "topic", "tB"), 22, ""},
		"nothing":                      {queryFields("zz"), 22, ""},
		"unique key query ignores max": {queryFields("k2", "maxNum", "0", "_UNIQUE_KEY_QUERY", "true"), 0, "m1 m2"},
		"none asked for":               {queryFields("k2", "maxNum", "0"), 22, ""},
		"another time":                 {queryFields("k2", "beginTimestamp", "9999999999990"), 22, ""},
		"no key is no error":           {queryFields("", "key", "-"), 22, ""},
		"no number is one":             {queryFields("k2", "maxNum", "-"), 1, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			for i, p := range []string{props("UNIQ_KEY=u0"), props("UNIQ_KEY=u1", "KEYS=k1 k2 k3"), props("UNIQ_KEY=u2", "KEYS=k2")} {
				g.store.Put(&record.Message{Topic: "tA", Body: []byte("m" + string(rune('0'+i))), Properties: p}, nil)
			}
			a := g.call(code.QueryMessage, c.fields, "")
			if a.code != c.code || bodies(t, a.body) != c.found {
				t.Errorf("answer %v", a)
			}
			switch {
			case c.code == 1:
				return
			case a.ext["indexLastUpdateTimestamp"] != "11" || a.ext["indexLastUpdatePhyoffset"] != "22":
				t.Errorf("fields %v", a.ext)
			case c.code == 22 && a.remark != "can not find message, maybe time range not correct":
				t.Errorf("remark %q", a.remark)
			case g.store.released != 1:
				t.Errorf("released %d times", g.store.released)
			}
		})
	}
}

func TestQueueEnds(t *testing.T) {
	g := pullRig(t)
	g.store.min["tA"] = 1
	at := func(topic, queue string, kv ...string) header.Fields {
		return fields(header.Fields{{Key: "topic", Value: topic}, {Key: "queueId", Value: queue}}, kv...)
	}
	for name, c := range map[string]struct {
		code        int32
		fields      header.Fields
		field, want string
	}{
		"max":                {30, at("tA", "0"), "offset", "3"},
		"max of what is not": {30, at("nosuch", "0"), "offset", "0"},
		"min":                {31, at("tA", "0"), "offset", "1"},
		"min of what is not": {31, at("nosuch", "0"), "offset", "0"},
		"time of nothing":    {32, at("nosuch", "0"), "timestamp", "-1"},
		"by time":            {29, at("tA", "0", "timestamp", "5"), "offset", "5"},
		"by time, lower":     {29, at("tA", "0", "timestamp", "5", "boundaryType", "LOWER"), "offset", "5"},
		"by time, upper":     {29, at("tA", "0", "timestamp", "5", "boundaryType", "Upper"), "offset", "6"},
	} {
		if a := g.call(c.code, c.fields, ""); a.code != 0 || a.ext[c.field] != c.want {
			t.Errorf("%s: %v", name, a)
		}
	}
	if a := g.call(32, at("tA", "0"), ""); a.code != 0 || len(a.ext["timestamp"]) != 13 {
		t.Errorf("earliest: %v", a)
	}
	if a := g.call(30, at("tA", "x"), ""); a.code != 1 {
		t.Errorf("queue that is no number: %v", a)
	}
}

func TestViewMessage(t *testing.T) {
	g := pullRig(t)
	if a := g.call(code.ViewMessageByID, header.Fields{{Key: "offset", Value: "0"}}, ""); a.code != 0 || bodies(t, a.body) != "m0" || g.store.released != 1 {
		t.Errorf("answer %v, released %d", a, g.store.released)
	}
	if a := g.call(code.ViewMessageByID, header.Fields{{Key: "offset", Value: "-5"}}, ""); a.code != 1 || a.remark != "can not find message by the offset, -5" {
		t.Errorf("answer %v", a)
	}
}

// requester is a producer's connection that takes replies.
type requester struct {
	client.Channel
	code int32
	err  error
	got  fieldMap
	body string
}

func (r *requester) Call(_ context.Context, out remoting.Outgoing) (*remoting.Response, error) {
	r.got = fieldMap{}
	out.Header.EncodeFields(r.got)
	r.body = string(out.Body)
	return &remoting.Response{Code: r.code}, r.err
}

func TestReply(t *testing.T) {
	all := props("UNIQ_KEY=R1", "MSG_TYPE=reply", "CORRELATION_ID=cc", "REPLY_TO_CLIENT=cidX")
	cases := map[string]struct {
		props  string
		peer   *requester
		code   int32
		remark string
	}{
		"taken":         {all, &requester{}, 0, ""},
		"not taken":     {all, &requester{code: 1}, 1, "push reply message to cidXfail."},
		"cut off":       {all, &requester{err: errors.New("closed")}, 1, "push reply message to cidXfail."},
		"not connected": {all, nil, 1, "push reply message fail, channel of <cidX> not found."},
		"for nobody":    {props("UNIQ_KEY=R1"), nil, 1, "reply message properties[REPLY_TO_CLIENT] is null"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			if c.peer != nil {
				g.Producers.Register("pg", c.peer, client.Identity{ClientID: "cidX"})
			}
			a := g.call(code.SendReplyMessage, sendFields("DefaultCluster_REPLY_TOPIC", c.props), "rbody")
			if a.code != c.code || a.remark != c.remark || a.ext["msgId"] != "7F00000100002A9F0000000000000000" || a.ext["queueOffset"] != "0" || a.ext["TRACE_ON"] != "true" {
				t.Errorf("answer %v", a)
			}
			stored := g.store.stored(t, "DefaultCluster_REPLY_TOPIC", 0)
			if want := c.props + props("MSG_REGION=DefaultRegion", "TRACE_ON=true"); len(stored) != 1 || stored[0].Properties != want || string(stored[0].Body) != "rbody" {
				t.Errorf("stored %+v", stored)
			}
			if c.peer == nil {
				return
			}
			if got := c.peer.got; c.peer.body != "rbody" || got["topic"] != "DefaultCluster_REPLY_TOPIC" || got["storeHost"] != "127.0.0.1:10911" ||
				!strings.Contains(got["properties"], "PUSH_REPLY_TIME\x01") || !strings.Contains(got["properties"], "CORRELATION_ID\x01cc") {
				t.Errorf("pushed %v %q", got, c.peer.body)
			}
		})
	}
	// The reply helper of the official Go client leaves the body out.
	e, empty := newRig(t), &requester{body: "unset"}
	e.Producers.Register("pg", empty, client.Identity{ClientID: "cidX"})
	if a := e.call(code.SendReplyMessageV2, short(sendFields("DefaultCluster_REPLY_TOPIC", all)), ""); a.code != 0 || empty.body != "" || empty.got["topic"] == "" {
		t.Errorf("reply without a body: answer %v, pushed %v %q", a, empty.got, empty.body)
	}
	g := newRig(t, func(c *config.Broker) { c.StoreReply = false })
	a := g.call(code.SendReplyMessage, sendFields("DefaultCluster_REPLY_TOPIC", all), "rbody")
	if stored := g.store.stored(t, "DefaultCluster_REPLY_TOPIC", 0); len(stored) != 0 || a.code != 1 || a.ext["msgId"] != "0" {
		t.Errorf("storing is off: answer %v, stored %+v", a, stored)
	}
	g = newRig(t)
	if a := g.call(code.SendReplyMessageV2, short(sendFields("nosuch", "", "defaultTopic", "none")), "x"); a.code != 17 {
		t.Errorf("answer %v", a)
	}
}
