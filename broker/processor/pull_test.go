package processor

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"apogee/broker/client"
	"apogee/broker/config"
	"apogee/broker/hold"
	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store"
	"apogee/store/record"
)

func pullFields(topic string, off int, kv ...string) header.Fields {
	return fields(header.Fields{
		{Key: "consumerGroup", Value: "cg"},
		{Key: "topic", Value: topic},
		{Key: "queueId", Value: "0"},
		{Key: "queueOffset", Value: fmt.Sprint(off)},
		{Key: "maxMsgNums", Value: "32"},
		{Key: "sysFlag", Value: "4"},
		{Key: "commitOffset", Value: "0"},
		{Key: "suspendTimeoutMillis", Value: "15000"},
		{Key: "subscription", Value: "*"},
		{Key: "subVersion", Value: "0"},
		{Key: "expressionType", Value: "TAG"},
	}, kv...)
}

// pullRig has a topic tA with messages tagged a, b, a in queue 0, and a group cg.
func pullRig(t testing.TB, change ...func(*config.Broker)) *rig {
	g := newRig(t, change...)
	g.addTopic("tA", nil)
	g.addGroup("cg", nil)
	for i, tag := range []string{"a", "b", "a"} {
		g.send("tA", 0, tag, fmt.Sprint("m", i))
	}
	return g
}

func (g *rig) send(topic string, queue int32, tag, text string) {
	m := &record.Message{Topic: topic, QueueID: queue, Body: []byte(text), Properties: props("TAGS=" + tag)}
	if tag == "" {
		m.Properties = ""
	}
	g.store.Put(m, nil)
}

// bodies is the bodies of the records of a pull's answer.
func bodies(t testing.TB, records []byte) string {
	t.Helper()
	var out []string
	for len(records) > 0 {
		var m record.Message
		if err := record.Decode(records, &m); err != nil {
			t.Fatal(err)
		}
		out = append(out, string(m.Body))
		records = records[m.StoreSize:]
	}
	return strings.Join(out, " ")
}

func offsets(next, lo, hi int64) map[string]string {
	return map[string]string{
		"suggestWhichBrokerId": "0", "nextBeginOffset": fmt.Sprint(next), "minOffset": fmt.Sprint(lo), "maxOffset": fmt.Sprint(hi),
		"groupSysFlag": "0", "topicSysFlag": "0",
	}
}

// TestPullStatuses has the answers that a Java 5.5.0 broker gives in the same states.
func TestPullStatuses(t *testing.T) {
	cases := map[string]struct {
		fields header.Fields
		code   int32
		remark string
		next   int64
		min    int64
		max    int64
		found  string
	}{
		"all":                          {pullFields("tA", 0), 0, "FOUND", 3, 0, 3, "m0 m1 m2"},
		"from the middle":              {pullFields("tA", 2), 0, "FOUND", 3, 0, 3, "m2"},
		"some":                         {pullFields("tA", 0, "maxMsgNums", "2"), 0, "FOUND", 2, 0, 3, "m0 m1"},
		"none asked for is one":        {pullFields("tA", 0, "maxMsgNums", "0"), 0, "FOUND", 1, 0, 3, "m0"},
		"fewer than none is one":       {pullFields("tA", 0, "maxMsgNums", "-1"), 0, "FOUND", 1, 0, 3, "m0"},
		"one tag":                      {pullFields("tA", 0, "subscription", "b"), 0, "FOUND", 3, 0, 3, "m1"},
		"either tag":                   {pullFields("tA", 0, "subscription", " a ||b|| "), 0, "FOUND", 3, 0, 3, "m0 m1 m2"},
		"no such tag":                  {pullFields("tA", 0, "subscription", "zz"), 20, "NO_MATCHED_MESSAGE", 3, 0, 3, ""},
		"no expression":                {pullFields("tA", 0, "subscription", "-", "expressionType", "-"), 0, "FOUND", 3, 0, 3, "m0 m1 m2"},
		"empty expression":             {pullFields("tA", 0, "subscription", ""), 0, "FOUND", 3, 0, 3, "m0 m1 m2"},
		"at the end":                   {pullFields("tA", 3), 19, "OFFSET_OVERFLOW_ONE", 3, 0, 3, ""},
		"behind the end":               {pullFields("tA", 99), 21, "OFFSET_OVERFLOW_BADLY", 3, 0, 3, ""},
		"behind the end, may wait":     {pullFields("tA", 99, "sysFlag", "6"), 21, "OFFSET_OVERFLOW_BADLY", 3, 0, 3, ""},
		"before the start":             {pullFields("tA", -1), 21, "OFFSET_TOO_SMALL", 0, 0, 3, ""},
		"empty queue":                  {pullFields("tA", 0, "queueId", "3"), 19, "NO_MATCHED_LOGIC_QUEUE", 0, 0, 0, ""},
		"empty queue, not its start":   {pullFields("tA", 5, "queueId", "3", "sysFlag", "6"), 21, "NO_MATCHED_LOGIC_QUEUE", 0, 0, 0, ""},
		"no wait without a time":       {pullFields("tA", 3, "sysFlag", "6", "suspendTimeoutMillis", "0"), 19, "OFFSET_OVERFLOW_ONE", 3, 0, 3, ""},
		"fields that nobody misses":    {pullFields("tA", 0, "suspendTimeoutMillis", "-", "subVersion", "-", "commitOffset", "-"), 0, "FOUND", 3, 0, 3, "m0 m1 m2"},
		"lite pull":                    {fields(pullFields("tA", 0), "sysFlag", "20"), 0, "FOUND", 3, 0, 3, "m0 m1 m2"},
		"a filter that fits one later": {pullFields("tA", 1, "subscription", "a"), 0, "FOUND", 3, 0, 3, "m2"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := pullRig(t)
			a := g.call(code.PullMessage, c.fields, "")
			if a.code != c.code || a.remark != c.remark || fmt.Sprint(a.ext) != fmt.Sprint(offsets(c.next, c.min, c.max)) {
				t.Errorf("answer %v\nwant %d %s next %d", a, c.code, c.remark, c.next)
			}
			if got := bodies(t, a.body); got != c.found {
				t.Errorf("found %q, want %q", got, c.found)
			}
			if off, _ := g.Offsets.QueryPull("cg", "tA", 0); name == "some" && off != 2 {
				t.Errorf("pull offset %d", off)
			}
		})
	}
}

// TestPullRefusals has the answers that a Java 5.5.0 broker gives to the same requests.
func TestPullRefusals(t *testing.T) {
	const help = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
	noFlag := func(kv ...string) header.Fields { return fields(pullFields("tA", 0, "sysFlag", "0"), kv...) }
	cases := map[string]struct {
		code      int32
		fields    header.Fields
		setup     func(*rig)
		want      int32
		forbidden string
		remark    string
	}{
		"write-only broker": {11, pullFields("tA", 0, "consumerGroup", "no.group"), func(g *rig) { g.set(func(c *config.Broker) { c.Permission = 2 }) }, 16, "1", "the broker[127.0.0.1] pulling message is forbidden"},
		"no lite pull":      {361, pullFields("tA", 0), func(g *rig) { g.set(func(c *config.Broker) { c.LitePull = false }) }, 16, "1", "the broker[127.0.0.1] for lite pull consumer is forbidden"},
		"bad group":         {11, pullFields("tA", 0, "consumerGroup", "a.b"), nil, 26, "", "subscription group [a.b] does not exist, " + help},
		"empty group":       {11, pullFields("tA", 0, "consumerGroup", ""), nil, 26, "", "subscription group [] does not exist, " + help},
		"unknown group, none are made": {
			11, pullFields("tA", 0, "consumerGroup", "new"), func(g *rig) { g.set(func(c *config.Broker) { c.AutoCreateGroup = false }) }, 26, "",
			"subscription group [new] does not exist, " + help,
		},
		"group switched off":   {11, pullFields("tA", 0, "consumerGroup", "gOff"), nil, 16, "2", "subscription group no permission, gOff"},
		"no topic":             {11, pullFields("nosuch", 0), nil, 17, "", "topic[nosuch] not exist, apply first please! " + help},
		"write-only topic":     {11, pullFields("tW", 0), nil, 16, "3", "the topic[tW] pulling message is forbidden"},
		"queue beyond":         {11, pullFields("tA", 0, "queueId", "9"), nil, 29, "", "queueId[9] is illegal, topic:[tA] topicConfig.readQueueNums:[4] consumer:[/]"},
		"queue below":          {11, pullFields("tA", 0, "queueId", "-1"), nil, 29, "", "queueId[-1] is illegal, topic:[tA] topicConfig.readQueueNums:[4] consumer:[/]"},
		"SQL without text":     {11, pullFields("tA", 0, "subscription", "", "expressionType", "SQL92"), nil, 23, "", "parse the consumer's subscription failed"},
		"SQL":                  {11, pullFields("tA", 0, "subscription", "a > 1", "expressionType", "SQL92"), nil, 1, "", "The broker does not support consumer to filter message by SQL92"},
		"some other language":  {11, pullFields("tA", 0, "expressionType", "FOO"), nil, 1, "", "The broker does not support consumer to filter message by FOO"},
		"tags by another name": {11, pullFields("tA", 0, "expressionType", "tag"), nil, 1, "", "The broker does not support consumer to filter message by tag"},
		"group is not online":  {11, noFlag(), nil, 24, "", "the consumer's group info not exist" + help},
		"no broadcast":         {11, noFlag("consumerGroup", "gNoBc"), func(g *rig) { g.online("gNoBc", body.Broadcasting, "tA", "*", 100) }, 16, "4", "the consumer group[gNoBc] can not consume by broadcast way"},
		"group is forbidden": {11, noFlag(), func(g *rig) {
			g.online("cg", body.Clustering, "tA", "*", 100)
			_ = g.Groups.SetReadable("cg", "tA", false)
		}, 16, "5", "the consumer group[cg] is forbidden for topic[tA]"},
		"not subscribed":      {11, noFlag(), func(g *rig) { g.online("cg", body.Clustering, "tOther", "*", 100) }, 24, "", "the consumer's subscription not exist" + help},
		"subscription is old": {11, noFlag("subVersion", "200"), func(g *rig) { g.online("cg", body.Clustering, "tA", "*", 100) }, 25, "", "the consumer's subscription not latest"},
		"pull consumer, rejected": {
			11, pullFields("tA", 0), func(g *rig) { g.set(func(c *config.Broker) { c.RejectPull = true }) }, 24, "",
			"the consumer's group info not exist, or the pull consumer is rejected by server." + help,
		},
		"no queue":    {11, pullFields("tA", 0, "queueId", "-"), nil, 1, "", "the custom field <queueId> is null"},
		"no offset":   {11, pullFields("tA", 0, "queueOffset", "-"), nil, 1, "", "the custom field <queueOffset> is null"},
		"no number":   {11, pullFields("tA", 0, "maxMsgNums", "-"), nil, 1, "", "the custom field <maxMsgNums> is null"},
		"no group":    {11, pullFields("tA", 0, "consumerGroup", "-"), nil, 1, "", "the custom field <consumerGroup> is null"},
		"no header":   {11, nil, nil, 1, "", "the custom field <consumerGroup> is null"},
		"no sys flag": {11, pullFields("tA", 0, "sysFlag", "-"), nil, 1, "", "the custom field <sysFlag> is null"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := pullRig(t)
			g.addGroup("gOff", func(s *body.SubscriptionGroupConfig) { s.ConsumeEnable = false })
			g.addGroup("gNoBc", func(s *body.SubscriptionGroupConfig) { s.ConsumeBroadcastEnable = false })
			g.addTopic("tW", func(s *body.TopicConfig) { s.Perm = body.PermWrite })
			if c.setup != nil {
				c.setup(g)
			}
			a := g.call(c.code, c.fields, "")
			want := map[string]string{}
			if c.forbidden != "" {
				want["forbiddenType"] = c.forbidden
			}
			if a.code != c.want || a.remark != c.remark || fmt.Sprint(a.ext) != fmt.Sprint(want) {
				t.Errorf("answer %v\nwant %d %q %v", a, c.want, c.remark, want)
			}
		})
	}
}

// online registers a consumer as a heartbeat would.
func (g *rig) online(group string, model body.MessageModel, topic, sub string, version int64) {
	g.Consumers.Register(new(deafClient), client.Identity{ClientID: "c1"}, client.Registration{
		Group: group, ConsumeType: body.ConsumePassively, Model: model,
		Subscriptions: []body.SubscriptionData{{Topic: topic, SubString: sub, SubVersion: version}},
	})
}

type deafClient struct{ client.Channel }

func TestPullWithTheHeartbeatsSubscription(t *testing.T) {
	g := pullRig(t)
	g.online("cg", body.Clustering, "tA", "b", 100)
	for version, want := range map[string]int32{"100": 0, "50": 0} {
		a := g.call(code.PullMessage, pullFields("tA", 0, "sysFlag", "0", "subscription", "-", "subVersion", version), "")
		if a.code != want || bodies(t, a.body) != "m1" {
			t.Errorf("version %s: %v", version, a)
		}
	}
}

func TestPullCreatesGroup(t *testing.T) {
	g := pullRig(t)
	a := g.call(code.PullMessage, pullFields("tA", 0, "consumerGroup", "fresh"), "")
	if _, ok := g.Groups.Get("fresh"); a.code != 0 || !ok {
		t.Errorf("answer %v, group %t", a, ok)
	}
}

func TestPullCommits(t *testing.T) {
	g := pullRig(t)
	g.call(code.PullMessage, pullFields("tA", 0, "sysFlag", "5", "commitOffset", "2"), "")
	if off, ok := g.Offsets.Query("cg", "tA", 0); !ok || off != 2 {
		t.Errorf("committed %d %t", off, ok)
	}
	g.call(code.PullMessage, pullFields("tA", 0, "commitOffset", "3"), "")
	if off, _ := g.Offsets.Query("cg", "tA", 0); off != 2 {
		t.Errorf("committed %d without being asked to", off)
	}
}

func TestPullAnswersReset(t *testing.T) {
	g := pullRig(t)
	g.Offsets.AssignReset("cg", "tA", 0, 1)
	a := g.call(code.PullMessage, pullFields("tA", 3, "sysFlag", "7", "commitOffset", "3"), "")
	if a.code != code.PullOffsetMoved || a.remark != "OFFSET_RESET" || fmt.Sprint(a.ext) != fmt.Sprint(offsets(1, 0, 3)) {
		t.Errorf("answer %v", a)
	}
	if off, _ := g.Offsets.Query("cg", "tA", 0); off != 1 {
		t.Errorf("the commit of the same request has undone the reset: %d", off)
	}
	if a := g.call(code.PullMessage, pullFields("tA", 1), ""); a.code != 0 {
		t.Errorf("second answer %v", a)
	}
}

func TestPullSuggestsBroker(t *testing.T) {
	g := pullRig(t, func(c *config.Broker) { c.SlaveRead = true })
	g.addGroup("gS", func(s *body.SubscriptionGroupConfig) {
		s.BrokerID, s.WhichBrokerWhenConsumeSlowly, s.GroupSysFlag = 7, 9, 4
	})
	a := g.call(code.PullMessage, pullFields("tA", 0, "consumerGroup", "gS"), "")
	if a.ext["suggestWhichBrokerId"] != "7" || a.ext["groupSysFlag"] != "4" {
		t.Errorf("answer %v", a)
	}
}

func TestPullAtAHole(t *testing.T) {
	g := pullRig(t)
	g.store.hole = 1
	a := g.call(code.PullMessage, pullFields("tA", 1, "sysFlag", "6"), "")
	if a.code != code.PullNotFound || a.remark != "OFFSET_FOUND_NULL" || a.ext["nextBeginOffset"] != "2" {
		t.Errorf("answer %v", a)
	}
}

func TestColdPullLeavesTheEventLoop(t *testing.T) {
	g := pullRig(t)
	g.store.cold = true
	frame := []byte("b")
	out := g.start(remoting.Request{Code: code.PullMessage, Fields: pullFields("tA", 0, "subscription", viewOf(frame))})
	frame[0] = 'z'
	if a := g.wait(out); bodies(t, a.body) != "m1" {
		t.Errorf("answer %v", a)
	}
}

func TestHeldPull(t *testing.T) {
	wait := func(kv ...string) header.Fields {
		return pullFields("tA", 3, append([]string{"sysFlag", "6"}, kv...)...)
	}
	cases := map[string]struct {
		fields header.Fields
		after  func(g *rig) // a second later
		code   int32
		remark string
		found  string
		at     time.Duration
	}{
		"a message comes":              {wait(), func(g *rig) { g.send("tA", 0, "a", "new") }, 0, "FOUND", "new", time.Second},
		"a wanted message comes":       {wait("subscription", "x"), func(g *rig) { g.send("tA", 0, "x", "new") }, 0, "FOUND", "new", time.Second},
		"an unwanted message comes":    {wait("subscription", "y"), func(g *rig) { g.send("tA", 0, "x", "new") }, 20, "NO_MATCHED_MESSAGE", "", 15 * time.Second},
		"unwanted, then wanted":        {wait("subscription", "y"), func(g *rig) { g.send("tA", 0, "x", "1"); g.send("tA", 0, "y", "2") }, 0, "FOUND", "2", time.Second},
		"a message in another queue":   {wait(), func(g *rig) { g.send("tA", 1, "a", "new") }, 19, "OFFSET_OVERFLOW_ONE", "", 15 * time.Second},
		"nothing comes":                {wait("suspendTimeoutMillis", "3000"), nil, 19, "OFFSET_OVERFLOW_ONE", "", 3 * time.Second},
		"first message of a queue":     {pullFields("tA", 0, "queueId", "2", "sysFlag", "6"), func(g *rig) { g.send("tA", 2, "a", "new") }, 0, "FOUND", "new", time.Second},
		"the topic goes away":          {wait(), func(g *rig) { _ = g.Topics.Delete("tA"); g.send("tA", 0, "a", "new") }, 17, "topic[tA] not exist, apply first please! " + faq, "", time.Second},
		"the table closes":             {wait(), func(g *rig) { g.Hold.Close() }, 19, "OFFSET_OVERFLOW_ONE", "", time.Second},
		"short polling ends early":     {wait(), func(g *rig) {}, 19, "OFFSET_OVERFLOW_ONE", "", 2 * time.Second},
		"a reset is ordered meanwhile": {wait("suspendTimeoutMillis", "3000"), func(g *rig) { g.Offsets.AssignReset("cg", "tA", 0, 1) }, 21, "OFFSET_RESET", "", 3 * time.Second},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := pullRig(t, func(b *config.Broker) {
					if name == "short polling ends early" {
						b.LongPolling, b.ShortPolling = false, 2*time.Second
					}
				})
				frame := []byte(strings.Repeat("?", 64))
				f := slices.Clone(c.fields)
				rest := frame
				for i := range f { // values lie in a frame that is gone when the request is woken
					n := copy(rest, f[i].Value)
					f[i].Value = viewOf(rest[:n:n])
					rest = rest[n:]
				}
				began := time.Now()
				out := g.start(remoting.Request{Code: code.PullMessage, Fields: f})
				for i := range frame {
					frame[i] = '#'
				}
				time.Sleep(time.Second)
				if len(out) != 0 {
					t.Fatalf("answered at once: %v", <-out)
				}
				if c.after != nil {
					c.after(g)
				}
				a := <-out
				if took := time.Since(began).Round(50 * time.Millisecond); took != c.at {
					t.Errorf("answered after %v, want %v", took, c.at)
				}
				if a.code != c.code || a.remark != c.remark || bodies(t, a.body) != c.found {
					t.Errorf("answer %v, want %d %s %q", a, c.code, c.remark, c.found)
				}
				if g.Hold.Len() != 0 || len(out) != 0 {
					t.Errorf("%d still held, %d more answers", g.Hold.Len(), len(out))
				}
				g.Hold.Close()
				g.Lanes.Close()
			})
		})
	}
}

func TestHeldPullsAreBounded(t *testing.T) {
	g := pullRig(t)
	g.Hold.Close()
	g.Processor.Hold = hold.New(hold.Options{MaxConn: 1})
	defer g.Processor.Hold.Close()
	f := pullFields("tA", 3, "sysFlag", "6")
	first := g.start(remoting.Request{Code: code.PullMessage, Fields: f})
	if a := g.call(code.PullMessage, f, ""); a.code != code.SystemBusy {
		t.Errorf("answer %v", a)
	}
	g.Processor.Hold.Close()
	if a := g.wait(first); a.code != code.PullNotFound {
		t.Errorf("answer %v", a)
	}
}

// TestPullsSeeEveryMessage has consumers follow a producer with held pulls; each must see each message once, in order.
func TestPullsSeeEveryMessage(t *testing.T) {
	g := newRig(t)
	g.addTopic("tA", nil)
	const messages, consumers = 300, 4
	var wg sync.WaitGroup
	for i := range consumers {
		group := fmt.Sprint("g", i)
		g.addGroup(group, nil)
		wg.Go(func() {
			for off := 0; off < messages; {
				a := g.call(code.PullMessage, pullFields("tA", off, "consumerGroup", group, "sysFlag", "6", "maxMsgNums", "7"), "")
				if a.code != 0 {
					continue
				}
				for _, b := range strings.Fields(bodies(t, a.body)) {
					if b != fmt.Sprint(off) {
						t.Errorf("%s: %s at %d", group, b, off)
						return
					}
					off++
				}
			}
		})
	}
	for i := range messages {
		g.send("tA", 0, "a", fmt.Sprint(i))
	}
	wg.Wait()
}

func TestPullCode(t *testing.T) {
	for s, want := range map[store.GetStatus][2]int32{ // asked for 0, and for more
		store.Found: {0, 0}, store.NoMatchedMessage: {20, 20}, store.MessageWasRemoving: {20, 20}, store.OffsetFoundNull: {19, 19},
		store.OffsetOverflowBadly: {21, 21}, store.OffsetOverflowOne: {19, 19}, store.OffsetTooSmall: {21, 21},
		store.NoMatchedLogicQueue: {19, 21}, store.NoMessageInQueue: {19, 21}, store.OffsetReset: {21, 21},
	} {
		if got := [2]int32{pullCode(s, 0), pullCode(s, 5)}; got != want {
			t.Errorf("%v: %v, want %v", s, got, want)
		}
	}
}

func TestTagFilters(t *testing.T) {
	var cache tagFilters
	if cache.get("*") != nil || cache.get("") != nil {
		t.Error("everything has a filter")
	}
	f := cache.get("a || bb")
	if f != cache.get("a || bb") {
		t.Error("the filter is made again")
	}
	for tag, want := range map[string]bool{"a": true, "bb": true, "c": false, "Aa": false} {
		if got := f.MatchTags(int64(record.HashString(tag))); got != want {
			t.Errorf("%s: %t", tag, got)
		}
	}
	if cache.get("Aa").MatchTags(int64(record.HashString("BB"))) != true {
		t.Error("tags with the same hash pass the broker, as in Java")
	}
	if f := cache.get(" || "); f == nil || f.MatchTags(0) {
		t.Error("an expression of blanks matches nothing")
	}
	for i := range 3 * maxFilters {
		cache.get(fmt.Sprint("t", i))
	}
	if len(cache.m) > maxFilters {
		t.Errorf("%d filters are kept", len(cache.m))
	}
}
