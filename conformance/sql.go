package conformance

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"

	"apogee/conformance/wire"
	"apogee/filter"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

var sqlCases = []Case{
	{Area: "filtering", Feature: "SQL92 property filter", Own: true, Limit: 8 * time.Minute, Run: sqlFilter},
	{Area: "filtering", Feature: "SQL92 syntax check on subscribe", Own: true, Limit: 4 * time.Minute, Run: sqlSyntax},
	{Area: "filtering", Feature: "CONTAINS / STARTSWITH / ENDSWITH", Own: true, Limit: 4 * time.Minute, Run: sqlStrings},
	{Area: "filtering", Feature: "Filter on retry topics", Own: true, Limit: 2 * time.Minute, Run: sqlRetry},
}

var sqlConf = testkit.Props{"enablePropertyFilter": "true"}

func sqlSelector(expression string) consumer.MessageSelector {
	return consumer.MessageSelector{Type: consumer.SQL92, Expression: expression}
}

// sqlPull pulls with an expression in the request, and gives the bodies.
func (r *raw) sqlPull(topic, expression string, more ...any) (string, *wire.Frame) {
	more = append([]any{"expressionType", "SQL92", "subscription", expression}, more...)
	return r.bodies(pullExt(r.t.Name("G"), topic, 0, 0, more...))
}

func (r *raw) bodies(ext map[string]string) (string, *wire.Frame) {
	f := r.call(code.PullMessage, ext, nil)
	var out []string
	if f.Code == int(code.Success) {
		recs, err := wire.Records(f.Body)
		r.t.Must(err, "messages")
		for _, rec := range recs {
			out = append(out, string(rec.Body))
		}
	}
	return strings.Join(out, " "), f
}

// subscription is the JSON of one subscribed topic.
func subscription(topic, kind, expression string, version int64) string {
	text, err := json.Marshal(expression)
	if err != nil {
		panic(err) // strings can be marshalled
	}
	return fmt.Sprintf(`{"classFilterMode":false,"codeSet":[],"expressionType":%q,"subString":%s,"subVersion":%d,"tagsSet":[],"topic":%q}`,
		kind, text, version, topic)
}

func subscriber(group string, subs ...string) string {
	return fmt.Sprintf(`{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":%q,`+
		`"messageModel":"CLUSTERING","subscriptionDataSet":[%s],"unitMode":false}`, group, strings.Join(subs, ","))
}

func sqlFilter(t *T) {
	c := t.ownCluster(sqlConf)
	b := t.dial(c.broker)
	sqlClient(t, c, b)
	sqlHeartbeats(t, b)
	sqlHeld(t, c, b)
	sqlDifferential(t, b)
}

// sqlClient is the ordinary way: the official client subscribes with an expression.
func sqlClient(t *T, c *cluster, b *raw) {
	topic := t.Name("SQL")
	b.topic(topic, topicConf{})
	p := t.producer(c)
	for i := range 8 {
		m := message1(topic, fmt.Sprint("m", i))
		if i != 5 {
			m.WithProperty("a", fmt.Sprint(i))
		}
		t.sendSync(p, m)
	}
	var got inbox
	t.pushSelect(c, t.Name("G"), topic, sqlSelector("a between 0 and 3 OR a IS NULL"), got.into)
	t.awaitBodies(&got, 30*time.Second, "m0", "m1", "m2", "m3", "m5")
	Equal(t, "messages", got.len(), 5)
}

// sqlHeartbeats is what the broker makes of subscriptions in heartbeats.
func sqlHeartbeats(t *T, b *raw) {
	topic, group := t.Name("Beats"), t.Name("G")
	b.topic(topic, topicConf{})
	b.group(group, "")
	for i := range 4 {
		b.send(message{topic: topic, body: []byte(fmt.Sprint("m", i)), properties: wire.Properties("a", fmt.Sprint(i))})
	}
	b.await(topic, 0, 4, 10*time.Second)
	beat := func(kind, expression string, version int64) {
		b.ok(code.HeartBeat, nil, heartbeat("c1", subscriber(group, subscription(topic, kind, expression, version)), ""))
	}
	pull := func(what string, version int64, answer int32, want string) {
		bodies, f := b.bodies(pullExt(group, topic, 0, 0, "sysFlag", 0, "subVersion", version, "expressionType", "SQL92", "subscription", ""))
		Equal(t, what+": answer", f.Code, int(answer))
		Equal(t, what+": messages", bodies, want)
	}
	beat("SQL92", "a >", 100)
	pull("expression that does not compile", 100, code.FilterDataNotExist, "")
	beat("SQL92", "a > 1", 100)
	pull("the same version, now right", 100, code.Success, "m2 m3")
	beat("SQL92", "a > 2", 100)
	pull("the same version with another expression", 100, code.Success, "m2 m3")
	beat("SQL92", "a > 2", 101)
	pull("a newer version", 101, code.Success, "m3")
	pull("the broker's subscription is older", 102, code.SubscriptionNotLatest, "")
	beat("SQL92", "a >", 102)
	pull("a newer one that does not compile", 102, code.FilterDataNotExist, "")
	beat("SQL92", "a < 2", 103)
	pull("nothing wrong any more", 103, code.Success, "m0 m1")
	beat("TAG", "*", 104)
	pull("tags again", 104, code.Success, "m0 m1 m2 m3")
	beat("FOO", "a < 2", 105)
	pull("another language", 105, code.FilterDataNotExist, "")
}

// sqlHeld is a pull that waits for a message that it wants.
func sqlHeld(t *T, c *cluster, b *raw) {
	topic, group := t.Name("Held"), t.Name("G")
	b.topic(topic, topicConf{})
	b.send(message{topic: topic, body: []byte("m0"), properties: wire.Properties("a", "0")})
	b.await(topic, 0, 1, 10*time.Second)
	held := make(chan string, 1)
	waiting := t.dial(c.broker)
	go func() {
		at := int64(1)
		for { // the reference looks at what waits every 5 s, and tells it to go on behind what it does not want
			bodies, f := waiting.bodies(pullExt(group, topic, 0, at, "sysFlag", pullSuspend|pullSub, "suspendTimeoutMillis", 20000,
				"expressionType", "SQL92", "subscription", "a = 7"))
			if f.Code != int(code.PullRetryImmediately) && f.Code != int(code.PullNotFound) {
				held <- bodies
				return
			}
			at = f.Int("nextBeginOffset")
		}
	}()
	time.Sleep(300 * time.Millisecond) // for the request to be held: nothing tells
	b.send(message{topic: topic, body: []byte("m1"), properties: wire.Properties("a", "1")})
	b.send(message{topic: topic, body: []byte("m2")})
	select {
	case bodies := <-held:
		t.Errorf("the held pull gets %q, which it does not want", bodies)
		return
	case <-time.After(500 * time.Millisecond):
	}
	b.send(message{topic: topic, body: []byte("m3"), properties: wire.Properties("a", "7")})
	select {
	case bodies := <-held:
		Equal(t, "message that the held pull gets", bodies, "m3")
	case <-time.After(40 * time.Second):
		t.Errorf("the held pull was not answered")
	}
}

func sqlSyntax(t *T) {
	c := t.ownCluster(sqlConf)
	b := t.dial(c.broker)
	check := func(kind, expression string, want int32) {
		f := b.call(code.CheckClientConfig, nil, []byte(fmt.Sprintf(`{"clientId":"c","group":"g","subscriptionData":%s}`, subscription("T", kind, expression, 1))))
		Equal(t, fmt.Sprintf("answer to %s %q", kind, expression), f.Code, int(want))
		if want != code.Success && f.Remark == "" {
			t.Errorf("no reason for %s %q", kind, expression)
		}
	}
	for _, good := range []string{
		"a > 1", "a", "a = 3 b LIKE", "(a IN ('x') OR NOT b) AND c BETWEEN 1 AND 2", "a CONTAINS 'x'", "TRUE", strings.Repeat("(", 100) + "a" + strings.Repeat(")", 100),
	} {
		check("SQL92", good, code.Success)
	}
	for _, bad := range []string{
		"a >", "a > 'x'", "a IN (3)", "a BETWEEN 5 AND 1", "a > 0.0", "a = 9223372036854775808", "a == 3", "a != 3", `a = "x"`, "a = 3 'x", "3", "",
		strings.Repeat("(", 20000) + "a",
	} {
		check("SQL92", bad, code.SubscriptionParseFailed)
	}
	check("TAG", "a >", code.Success)
	check("FOO", "a > 1", code.SubscriptionParseFailed)
	t.javaProgram("Filter", c.namesrv)
}

func sqlStrings(t *T) {
	c := t.ownCluster(sqlConf)
	b := t.dial(c.broker)
	topic := t.Name("Strings")
	b.topic(topic, topicConf{})
	p := t.producer(c)
	for _, city := range []string{"hello", "shell", "yellow", "", "北京市", "He"} {
		m := message1(topic, "<"+city+">")
		if city != "" {
			m.WithProperty("b", city)
		}
		t.sendSync(p, m)
	}
	b.await(topic, 0, 6, 10*time.Second)
	for expression, want := range map[string]string{
		"b CONTAINS 'ell'": "<hello> <shell> <yellow>", "b NOT CONTAINS 'ell'": "<北京市> <He>", "b STARTSWITH 'he'": "<hello>",
		"b NOT STARTSWITH 'he'": "<shell> <yellow> <北京市> <He>", "b ENDSWITH 'll'": "<shell>", "b NOT ENDSWITH 'll'": "<hello> <yellow> <北京市> <He>",
		"b CONTAINS ''": "", "b contains '京'": "<北京市>", "b ENDSWITH 'o' OR b STARTSWITH 'H'": "<hello> <He>", "NOT (b CONTAINS 'e')": "<> <北京市>",
		"b STARTSWITH '北京' AND b ENDSWITH '市'": "<北京市>",
	} {
		bodies, _ := b.sqlPull(topic, expression)
		Equal(t, expression, bodies, want)
	}
	var got inbox
	t.pushSelect(c, t.Name("G"), topic, sqlSelector("b STARTSWITH 'he' OR b ENDSWITH '市'"), got.into)
	t.awaitBodies(&got, 30*time.Second, "<hello>", "<北京市>")
	Equal(t, "messages at the client", got.len(), 2)
}

// sqlRetry has messages come back through the retry topic of a group that subscribes to it with an expression.
func sqlRetry(t *T) {
	c := t.ownCluster(sqlConf.With(testkit.Props{"filterSupportRetry": "true"}))
	b := t.dial(c.broker)
	topic, group := t.Name("Again"), t.Name("G")
	retry := "%RETRY%" + group
	b.topic(topic, topicConf{})
	b.group(group, "")
	for i := range 3 {
		b.send(message{topic: topic, body: []byte(fmt.Sprint("m", i)), properties: wire.Properties("a", fmt.Sprint(i))})
	}
	b.ok(code.HeartBeat, nil, heartbeat("c1", subscriber(group,
		subscription(topic, "SQL92", "a > 0", 1), subscription(retry, "SQL92", "a = 1", 1)), ""))
	for _, rec := range b.await(topic, 0, 3, 10*time.Second) {
		b.ok(code.ConsumerSendMsgBack, wire.Ext("offset", rec.Physical, "group", group, "delayLevel", 1, "originMsgId", "X", "originTopic", topic,
			"unitMode", false, "maxReconsumeTimes", 16), nil)
	}
	b.await(retry, 0, 3, 20*time.Second)
	pull := func(what, want string) {
		bodies, f := b.bodies(pullExt(group, retry, 0, 0, "sysFlag", 0, "subVersion", 1))
		Equal(t, what, strings.Join(slices.Sorted(slices.Values(strings.Fields(bodies))), " "), want)
		Equal(t, what+": next offset", f.Int("nextBeginOffset"), 3)
	}
	pull("the filter of the original topic", "m1 m2")
	b.ok(code.UpdateBrokerConfig, nil, []byte("filterSupportRetry=false\n"))
	pull("the filter of the retry topic", "m1")
	b.ok(code.HeartBeat, nil, heartbeat("c1", subscriber(group,
		subscription(topic, "SQL92", "a > 0", 2), subscription(retry, "TAG", "*", 2)), ""))
	pull("as clients subscribe", "m0 m1 m2")
	b.ok(code.UpdateBrokerConfig, nil, []byte("filterSupportRetry=true\n"))
	pull("as clients subscribe, with filterSupportRetry", "m0 m1 m2")
}

// sqlDifferential compares the verdicts of a broker with those of package filter, for generated expressions and messages; when it has
// passed on both targets, they agree with each other.
func sqlDifferential(t *T, b *raw) {
	expressions := 120
	if t.long {
		expressions = 4000
	}
	topic := t.Name("Generated")
	b.topic(topic, topicConf{})
	g := sqlGenerator{rand.New(rand.NewPCG(92, 5))}
	for i := range 32 {
		b.send(message{topic: topic, body: []byte{byte(i)}, properties: wire.Properties(g.properties()...)})
	}
	stored := b.await(topic, 0, 32, 20*time.Second)
	properties := make([][]byte, len(stored))
	for i, rec := range stored {
		for name, value := range rec.Properties {
			properties[i] = append(properties[i], name+"\x01"+value+"\x02"...)
		}
	}
	compared, refused, matched := 0, 0, 0
	for range expressions {
		text := g.expression()
		e, err := filter.Compile(text)
		f := b.call(code.CheckClientConfig, nil, []byte(fmt.Sprintf(`{"clientId":"c","group":"g","subscriptionData":%s}`, subscription(topic, "SQL92", text, 1))))
		if want := code.Success; err != nil && f.Code != int(code.SubscriptionParseFailed) || err == nil && f.Code != int(want) {
			t.Errorf("%q: answer %d %.200q, ours %v", text, f.Code, f.Remark, err)
		}
		if err != nil {
			refused++
			continue
		}
		var got, want uint32
		f = b.call(code.PullMessage, pullExt("conformance_reader", topic, 0, 0, "expressionType", "SQL92", "subscription", text), nil)
		if f.Code == int(code.Success) {
			recs, err := wire.Records(f.Body)
			t.Must(err, "messages")
			for _, rec := range recs {
				got |= 1 << rec.QueueOffset
			}
		} else if f.Code != int(code.PullRetryImmediately) {
			t.Errorf("%q: pull: %v", text, f)
			continue
		}
		for i := range properties {
			if e.Match(properties[i]) {
				want |= 1 << i
				matched++
			}
			if compared++; (got^want)&(1<<i) != 0 {
				t.Errorf("%q for %q: %v, ours %v", text, stored[i].Properties, got&(1<<i) != 0, want&(1<<i) != 0)
			}
		}
	}
	t.Logf("%d expressions, %d of them refused; %d pairs compared, %d of them matches", expressions, refused, compared, matched)
	if compared < expressions*8 || matched < compared/20 {
		t.Errorf("too few comparisons to say much: %d pairs of %d expressions, %d matches", compared, expressions, matched)
	}
}
