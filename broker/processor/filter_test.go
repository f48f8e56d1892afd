package processor

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"apogee/broker/client"
	"apogee/broker/config"
	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/filter"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store"
	"apogee/store/record"
)

// filterRig has a topic tS with three messages whose a is 0, 1 and 2, and lets SQL92 in.
func filterRig(t testing.TB, change ...func(*config.Broker)) *rig {
	g := newRig(t, append([]func(*config.Broker){func(c *config.Broker) { c.PropertyFilter = true }}, change...)...)
	g.addTopic("tS", nil)
	g.addGroup("cg", nil)
	for _, a := range []string{"0", "1", "2"} {
		g.put("tS", "m"+a, "a="+a)
	}
	return g
}

func (g *rig) put(topic, text string, pairs ...string) {
	g.store.Put(&record.Message{Topic: topic, Body: []byte(text), Properties: props(pairs...)}, nil)
}

func (g *rig) subscribe(group string, subs ...body.SubscriptionData) {
	g.t.Helper()
	hb := body.HeartbeatData{ClientID: "c1", ConsumerDataSet: []body.ConsumerData{{
		GroupName: group, ConsumeType: body.ConsumePassively, MessageModel: body.Clustering, SubscriptionDataSet: subs,
	}}}
	if a := g.call(code.HeartBeat, nil, string(jsonOf(&hb))); a.code != code.Success {
		g.t.Fatalf("heartbeat: %v", a)
	}
}

func sqlSub(topic, expression string, version int64) body.SubscriptionData {
	return body.SubscriptionData{Topic: topic, SubString: expression, ExpressionType: "SQL92", SubVersion: version}
}

func byRequest(topic, expression string) header.Fields {
	return pullFields(topic, 0, "subscription", expression, "expressionType", "SQL92")
}

func byHeartbeat(topic, version string) header.Fields {
	return pullFields(topic, 0, "sysFlag", "0", "subscription", "-", "expressionType", "-", "subVersion", version)
}

func TestPullWithAnExpression(t *testing.T) {
	for name, c := range map[string]struct {
		fields header.Fields
		setup  func(*rig)
		code   int32
		remark string
		found  string
	}{
		"in the request":              {byRequest("tS", "a > 0"), nil, 0, "FOUND", "m1 m2"},
		"nothing matches":             {byRequest("tS", "a > 9"), nil, 20, "NO_MATCHED_MESSAGE", ""},
		"a property that is absent":   {byRequest("tS", "b > 0"), nil, 20, "NO_MATCHED_MESSAGE", ""},
		"fails for each message":      {byRequest("tS", "a > 0 AND a = 1.5 OR TRUE = a"), nil, 20, "NO_MATCHED_MESSAGE", ""},
		"does not compile":            {byRequest("tS", "a >"), nil, 23, remarkParse, ""},
		"too deep":                    {byRequest("tS", strings.Repeat("(", 30_000)), nil, 23, remarkParse, ""},
		"too long":                    {byRequest("tS", "a = 1"+strings.Repeat(" ", filter.MaxLength)), nil, 23, remarkParse, ""},
		"another language":            {pullFields("tS", 0, "subscription", "a > 0", "expressionType", "FOO"), nil, 23, remarkParse, ""},
		"does not compile, no filter": {byRequest("tS", "a >"), func(g *rig) { g.set(func(c *config.Broker) { c.PropertyFilter = false }) }, 1, remarkNoFilter + "SQL92", ""},
		"from the heartbeat":          {byHeartbeat("tS", "7"), func(g *rig) { g.subscribe("cg", sqlSub("tS", "a > 0", 7)) }, 0, "FOUND", "m1 m2"},
		"class filter": {byHeartbeat("tS", "7"), func(g *rig) {
			s := sqlSub("tS", "a > 0", 7)
			s.ClassFilterMode = true
			g.subscribe("cg", s)
		}, 0, "FOUND", "m0 m1 m2"},
		"the heartbeat's does not compile": {
			byHeartbeat("tS", "7"), func(g *rig) { g.subscribe("cg", sqlSub("tS", "a >", 7)) }, 27,
			"The broker's consumer filter data is not exist!Your expression may be wrong!", "",
		},
		"the filter is older than the subscription": {byHeartbeat("tS", "7"), func(g *rig) {
			g.subscribe("cg", sqlSub("tS", "a > 0", 7))
			g.Consumers.Register(new(deafClient), clientNamed("c2"), registration("cg", sqlSub("tS", "a > 0", 9)))
		}, 0, "FOUND", "m1 m2"},
		"the filter is older than the request": {byHeartbeat("tS", "9"), func(g *rig) {
			g.subscribe("cg", sqlSub("tS", "a > 0", 7))
			g.Consumers.Register(new(deafClient), clientNamed("c2"), registration("cg", sqlSub("tS", "a > 0", 9)))
		}, 28, "the consumer's consumer filter data not latest", ""},
		"no filter for heartbeats": {byHeartbeat("tS", "7"), func(g *rig) {
			g.subscribe("cg", sqlSub("tS", "a > 0", 7))
			g.set(func(c *config.Broker) { c.PropertyFilter = false })
		}, 1, remarkNoFilter + "SQL92", ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := filterRig(t)
			if c.setup != nil {
				c.setup(g)
			}
			for range 2 { // the second time it is compiled already
				a := g.call(code.PullMessage, c.fields, "")
				if a.code != c.code || a.remark != c.remark || a.code == 0 && bodies(t, a.body) != c.found {
					t.Errorf("answer %v\nwant %d %s %s", a, c.code, c.remark, c.found)
				}
			}
		})
	}
}

func TestCheckClient(t *testing.T) {
	check := func(g *rig, kind, expression string) answered {
		s := sqlSub("tS", expression, 1)
		s.ExpressionType = kind
		return g.call(code.CheckClientConfig, nil, string(jsonOf(&body.CheckClientRequestBody{ClientID: "c", Group: "g", SubscriptionData: &s})))
	}
	g := filterRig(t)
	for _, c := range []struct {
		kind, expression string
		want             int32
	}{
		{"SQL92", "a > 1", 0}, {"SQL92", "a >", 23}, {"SQL92", "", 23}, {"TAG", "a >", 0}, {"", "a >", 0}, {"tag", "a", 23}, {"sql92", "a > 1", 23}, {"FOO", "a > 1", 23},
	} {
		if a := check(g, c.kind, c.expression); a.code != c.want || (a.remark == "") != (c.want == 0) {
			t.Errorf("%s %q: %v, want %d", c.kind, c.expression, a, c.want)
		}
	}
	for text, want := range map[string]int32{"": 0, "{}": 0, "null": 0, "{": 1} {
		if a := g.call(code.CheckClientConfig, nil, text); a.code != want {
			t.Errorf("body %q: %v, want %d", text, a, want)
		}
	}
	g.set(func(c *config.Broker) { c.PropertyFilter = false })
	if a := check(g, "SQL92", "a >"); a.code != 1 || a.remark != remarkNoFilter+"SQL92" {
		t.Errorf("without filters: %v", a)
	}
	if a := check(g, "TAG", "a"); a.code != 0 {
		t.Errorf("tags without filters: %v", a)
	}
}

// TestHeldPullWithAnExpression: what is held is woken by what it wants, though its frame is long gone.
func TestHeldPullWithAnExpression(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := filterRig(t)
		frame := []byte("a = 7")
		f := pullFields("tS", 3, "sysFlag", "6", "subscription", viewOf(frame), "expressionType", "SQL92")
		out := g.start(remoting.Request{Code: code.PullMessage, Fields: f})
		synctest.Wait()
		copy(frame, "#####")
		g.put("tS", "no", "a=1")
		g.put("tS", "none")
		synctest.Wait()
		if g.Hold.Len() != 1 {
			t.Fatal("woken by what it does not want")
		}
		began := time.Now()
		g.put("tS", "yes", "a=7")
		if a := g.wait(out); bodies(t, a.body) != "yes" || time.Since(began) > time.Millisecond {
			t.Errorf("answer %v", a)
		}
		g.Hold.Close()
	})
}

func TestFilterOnRetryTopics(t *testing.T) {
	const retry = "%RETRY%cg"
	for name, c := range map[string]struct {
		on    bool
		sub   body.SubscriptionData
		found string
	}{
		"off":                        {false, sqlSub(retry, "a = 0", 7), "r0"},
		"on":                         {true, sqlSub(retry, "a = 0", 7), "r1 other unknown"},
		"tags, as clients subscribe": {true, body.SubscriptionData{Topic: retry, SubString: "*", SubVersion: 7}, "r0 r1 other unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			g := filterRig(t, func(b *config.Broker) { b.FilterRetry = c.on })
			g.subscribe("cg", sqlSub("tS", "a = 1", 7), c.sub)
			g.put(retry, "r0", "a=0", "RETRY_TOPIC=tS")
			g.put(retry, "r1", "a=1", "RETRY_TOPIC=tS")
			g.put(retry, "other", "a=5", "RETRY_TOPIC=tOther") // no filter there
			g.put(retry, "unknown", "a=5")
			if a := g.call(code.PullMessage, byHeartbeat(retry, "7"), ""); bodies(t, a.body) != c.found {
				t.Errorf("found %q, want %q: %v", bodies(t, a.body), c.found, a)
			}
		})
	}
	for topic, want := range map[string]string{"%RETRY%g": "g", "%RETRY%g+t": "g", "%RETRY%g_t": "g_t", "%RETRY%g+t+u": "g+t+u", "%RETRY%": ""} {
		if got := retryGroup(topic); got != want {
			t.Errorf("%s is of %q, want %q", topic, got, want)
		}
	}
}

func TestMessageFilters(t *testing.T) {
	g := filterRig(t)
	for _, c := range []struct {
		kind, expression string
		nothing, bad     bool
	}{
		{"TAG", "*", true, false},
		{"", "", true, false},
		{"TAG", "a||b", false, false},
		{"SQL92", "a = 1", false, false},
		{"SQL92", "a =", true, true},
		{"XPATH", "a = 1", true, true},
	} {
		f, err := g.messageFilter(c.kind, c.expression)
		if (f == nil) != c.nothing || (err != nil) != c.bad {
			t.Errorf("%s %q: %v, %v", c.kind, c.expression, f, err)
		}
	}
	if _, err := g.messageFilter("SQL92", "a = 1"); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = g.messageFilter("SQL92", "a = 1") }); n != 0 {
		t.Errorf("%v allocations for a filter that is known", n)
	}
}

// TestFiltersDieWithTheirGroup: the last consumer's connection closes.
func TestFiltersDieWithTheirGroup(t *testing.T) {
	g := filterRig(t)
	ch := new(deafClient)
	g.Consumers.Register(ch, clientNamed("c1"), registration("cg", sqlSub("tS", "a > 0", 7)))
	g.Filters.Register("cg", []body.SubscriptionData{sqlSub("tS", "a > 0", 7)})
	if g.Filters.Get("tS", "cg").Body().Dead {
		t.Fatal("dead at birth")
	}
	g.Consumers.ChannelClosed(ch)
	if !g.Filters.Get("tS", "cg").Body().Dead {
		t.Error("alive without consumers")
	}
}

func jsonOf(v any) []byte { return fastjson.Marshal(v) }

func clientNamed(id string) client.Identity { return client.Identity{ClientID: id} }

func registration(group string, subs ...body.SubscriptionData) client.Registration {
	return client.Registration{Group: group, ConsumeType: body.ConsumePassively, Model: body.Clustering, Subscriptions: subs}
}

// TestNotificationsWithoutRecords: an arrival does not always bring its record. Then nobody can say that it is not wanted.
func TestNotificationsWithoutRecords(t *testing.T) {
	g := filterRig(t)
	f, err := g.messageFilter("SQL92", "a > 1")
	if err != nil {
		t.Fatal(err)
	}
	op := &noticeOp{p: g.Processor, filter: f}
	host := netip.MustParseAddrPort("127.0.0.1:1")
	rec := func(a string) []byte {
		m := record.Message{Topic: "tS", Body: []byte("x"), Properties: props("a=" + a), BornHost: host, StoreHost: host}
		l, err := m.Measure(false)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, l.Total)
		record.Encode(b, &m, l)
		return b
	}
	for _, c := range []struct {
		rec  []byte
		want bool
	}{{nil, true}, {rec("2"), true}, {rec("1"), false}} {
		if got := op.Wants(&store.Arrival{Topic: "tS", Record: c.rec}); got != c.want {
			t.Errorf("%d bytes: %t", len(c.rec), got)
		}
	}
}
