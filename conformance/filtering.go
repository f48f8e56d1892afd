package conformance

import (
	"fmt"
	"strings"
	"time"

	"apogee/conformance/wire"
	"apogee/remoting/code"
)

var filteringCases = []Case{
	{Area: "filtering", Feature: "Tag filter a || b", Run: tagFilter},
	{Area: "filtering", Feature: "Tag hash collision re-check at client", Run: tagCollision},
	{Area: "filtering", Feature: "SQL92 disabled answer", Run: sqlDisabled},
}

func tagFilter(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("Tags")
	b.topic(topic, topicConf{})
	p := t.producer(t.shared)
	for i, tag := range []string{"TagA", "TagB", "TagC", "", "TagA", "标签"} {
		m := message1(topic, fmt.Sprint(tag, "-", i))
		if tag != "" {
			m.WithTag(tag)
		}
		t.sendSync(p, m)
	}
	var got inbox
	t.push(t.shared, t.Name("G"), topic, "TagA || TagC", got.into)
	t.awaitBodies(&got, 20*time.Second, "TagA-0", "TagC-2", "TagA-4")
	Equal(t, "messages", got.len(), 3)
	b.await(topic, 0, 6, 10*time.Second)
	pull := func(sub string) (bodies []string, f *wire.Frame) {
		f = b.call(code.PullMessage, pullExt(t.Name("G"), topic, 0, 0, "subscription", sub), nil)
		recs, err := wire.Records(f.Body)
		t.Must(err, "messages")
		for _, r := range recs {
			bodies = append(bodies, string(r.Body))
		}
		return bodies, f
	}
	for sub, want := range map[string]string{
		"TagA||TagC": "TagA-0 TagC-2 TagA-4", " TagB ": "TagB-1", "*": "TagA-0 TagB-1 TagC-2 -3 TagA-4 标签-5", "标签": "标签-5",
	} {
		bodies, f := pull(sub)
		Equal(t, fmt.Sprintf("pull with %q", sub), strings.Join(bodies, " "), want)
		Equal(t, "next offset", f.Int("nextBeginOffset"), int64(6))
	}
	_, f := pull("Nothing")
	Equal(t, "answer when nothing matches", f.Code, int(code.PullRetryImmediately))
	Equal(t, "next offset behind what was looked at", f.Int("nextBeginOffset"), 6)
}

func tagCollision(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("Collide")
	b.topic(topic, topicConf{})
	if javaHash("Aa") != javaHash("BB") {
		t.Fatalf("the two tags do not collide")
	}
	p := t.producer(t.shared)
	t.sendSync(p, message1(topic, "wanted").WithTag("Aa"))
	t.sendSync(p, message1(topic, "collides").WithTag("BB"))
	t.sendSync(p, message1(topic, "last").WithTag("Aa"))
	b.await(topic, 0, 3, 10*time.Second)
	f := b.ok(code.PullMessage, pullExt(t.Name("G"), topic, 0, 0, "subscription", "Aa"), nil)
	recs, err := wire.Records(f.Body)
	t.Must(err, "messages")
	Equal(t, "messages the broker lets through", len(recs), 3)
	var got inbox
	t.push(t.shared, t.Name("G"), topic, "Aa", got.into)
	t.awaitBodies(&got, 20*time.Second, "wanted", "last")
	Equal(t, "messages with the colliding tag at the consumer", got.bodies()["collides"], 0)
}

func sqlDisabled(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("SQL")
	b.topic(topic, topicConf{})
	f := b.want(code.SystemError, code.PullMessage,
		pullExt(t.Name("G"), topic, 0, 0, "expressionType", "SQL92", "subscription", "a between 0 and 3"), nil)
	if !strings.Contains(f.Remark, "SQL92") {
		t.Errorf("remark %q does not name SQL92", f.Remark)
	}
	f = b.want(code.SystemError, code.CheckClientConfig, nil, []byte(fmt.Sprintf(
		`{"clientId":"c","group":"g","subscriptionData":{"topic":%q,"subString":"a > 1","expressionType":"SQL92","subVersion":1}}`, topic)))
	if !strings.Contains(f.Remark, "SQL92") {
		t.Errorf("remark %q of CHECK_CLIENT_CONFIG does not name SQL92", f.Remark)
	}
}
