package conformance

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

// liteCases share one broker, since light queues have to be switched on.
var liteCases = []Case{
	{Area: "messaging", Feature: "Lite topic messages", Own: true, Run: liteMessages, Limit: 4 * time.Minute},
	{Area: "consumption", Feature: "Lite subscription (exclusive/shared/wildcard)", Own: true, Run: liteSubscriptions, Limit: 5 * time.Minute},
}

// liteRig is a parent of lite topics and its groups.
type liteRig struct {
	*raw
	t            *T
	addr, parent string
	own          *cluster // nil for one that is running
}

func (t *T) liteRig() *liteRig {
	addr := t.shared.broker // a running one, which has to have light queues switched on
	var own *cluster
	if t.Target != nil {
		own = t.ownCluster(testkit.Props{"enableLmq": "true", "enableMultiDispatch": "true"})
		addr = own.broker
	}
	r := &liteRig{raw: t.dial(addr), t: t, addr: addr, parent: t.Name("Parent"), own: own}
	r.topic(r.parent, topicConf{attributes: "+message.type=LITE"})
	return r
}

func (r *liteRig) liteGroup(attributes ...string) string {
	name := r.t.Name("G")
	text := fmt.Sprintf(`"+lite.bind.topic":%q`, r.parent)
	for i := 0; i+1 < len(attributes); i += 2 {
		text += fmt.Sprintf(`,%q:%q`, "+"+attributes[i], attributes[i+1])
	}
	r.group(name, `,"attributes":{`+text+`}`)
	return name
}

// put sends to a lite topic.
func (r *liteRig) put(lite, body string) {
	r.send(message{topic: r.parent, body: []byte(body), properties: wire.Properties("__LITE_TOPIC", lite)})
}

// order makes a client say what it subscribes to.
func (r *liteRig) order(answer int32, action, client, group, more string, topics ...string) *wire.Frame {
	list := make([]string, len(topics))
	for i, t := range topics {
		list[i] = fmt.Sprintf("%q", t)
	}
	return r.want(answer, code.LiteSubscriptionCtl, nil, fmt.Appendf(nil,
		`{"subscriptionSet":[{"action":%q,"clientId":%q,"group":%q,"liteTopicSet":[%s],"topic":%q,"version":1%s}]}`,
		action, client, group, strings.Join(list, ","), r.parent, more))
}

func (r *liteRig) popExt(client, group string, invisible, poll time.Duration) map[string]string {
	return wire.Ext("clientId", client, "consumerGroup", group, "topic", r.parent, "maxMsgNum", 8, "invisibleTime", invisible.Milliseconds(),
		"pollTime", poll.Milliseconds(), "bornTime", time.Now().UnixMilli())
}

// take pops, for at most a while, and returns the bodies in order.
func (r *liteRig) take(client, group string, invisible, poll time.Duration) []string {
	f := r.call(code.PopLiteMessage, r.popExt(client, group, invisible, poll), nil)
	if f.Code == int(code.PollingTimeout) {
		return nil
	}
	if f.Code != int(code.Success) {
		r.t.Fatalf("pop of %s: %v", client, f)
	}
	recs, err := wire.Records(f.Body)
	r.t.Must(err, "messages")
	var out []string
	for _, rec := range recs {
		out = append(out, string(rec.Body))
	}
	return out
}

// all pops until there are so many messages.
func (r *liteRig) all(client, group string, n int) []string {
	var got []string
	r.t.Until(40*time.Second, fmt.Sprintf("%d messages at %s", n, client), func() (bool, string) {
		got = append(got, r.take(client, group, 5*time.Minute, time.Second)...)
		return len(got) >= n, fmt.Sprint(got)
	})
	slices.Sort(got)
	return got
}

func liteMessages(t *T) {
	r := t.liteRig()
	group, client := r.liteGroup(), t.Name("c@1")
	r.put("one", "first")
	r.put("two", "not wanted")
	r.order(code.Success, "PARTIAL_ADD", client, group, `,"offsetOption":{"type":"POLICY","value":1}`, "one", "three")
	Equal(t, "messages of lite topics subscribed to", fmt.Sprint(r.all(client, group, 1)), "[first]")
	// The message of a lite topic is one of its parent as well.
	recs := r.await(r.parent, 0, 2, 10*time.Second)
	Equal(t, "INNER_MULTI_DISPATCH", recs[0].Properties["INNER_MULTI_DISPATCH"], "%LMQ%$"+r.parent+"$one")
	Equal(t, "topic of the record", recs[0].Topic, r.parent)

	// One that comes later wakes a pop that waits.
	wait, err := r.Begin(int(code.PopLiteMessage), r.popExt(client, group, time.Minute, 15*time.Second), nil)
	t.Must(err, "pop")
	r.put("three", "later")
	select {
	case f := <-wait:
		got, err := wire.Records(f.Body)
		t.Must(err, "messages")
		if f.Code != int(code.Success) || len(got) != 1 || string(got[0].Body) != "later" {
			t.Errorf("held pop: %v, %d messages", f, len(got))
		}
		Equal(t, "reviveQid", f.Ext["reviveQid"], "999")
		Equal(t, "orderCountInfo", f.Ext["orderCountInfo"], "0")
		Equal(t, "invisibleTime", f.Ext["invisibleTime"], "60000")
	case <-time.After(20 * time.Second):
		t.Fatalf("a held pop is not woken")
	}
	// While a message is out, its lite topic waits; others do not.
	r.put("three", "behind")
	r.put("one", "behind, too")
	if got := r.take(client, group, time.Minute, 300*time.Millisecond); len(got) != 0 {
		t.Errorf("messages behind those that are out: %v", got)
	}
	// Nobody who subscribes to nothing gets anything.
	f := r.call(code.PopLiteMessage, r.popExt(t.Name("c@2"), group, time.Minute, 0), nil)
	Equal(t, "pop without a subscription", f.Code, int(code.PollingTimeout))
	// What nobody acknowledges comes again, and says how often it has come.
	again, second := r.liteGroup(), t.Name("c@3")
	r.order(code.Success, "PARTIAL_ADD", second, again, `,"offsetOption":{"type":"POLICY","value":1}`, "twice")
	r.put("twice", "t1")
	r.put("twice", "t2")
	Equal(t, "messages", len(r.take(second, again, time.Second, 5*time.Second)) > 0, true)
	t.Until(30*time.Second, "both messages again", func() (bool, string) {
		f := r.call(code.PopLiteMessage, r.popExt(second, again, time.Second, 2*time.Second), nil)
		recs, _ := wire.Records(f.Body)
		return len(recs) == 2 && strings.Contains(f.Ext["orderCountInfo"], "0 qo0%0 2"), f.String()
	})
	liteAcks(r)
	liteRefusals(r, client, group)
	liteInfos(r, client, group)
	if r.own != nil {
		t.javaProgram("Special", r.own.namesrv, "lite", r.addr, r.own.brokerName, t.Name("JLite"))
	}
}

// liteAcks: an acknowledged message gives way to the one behind it, one that is postponed keeps its lite topic waiting.
func liteAcks(r *liteRig) {
	t := r.t
	group, client := r.liteGroup(), t.Name("c@4")
	r.order(code.Success, "PARTIAL_ADD", client, group, `,"offsetOption":{"type":"POLICY","value":1}`, "acked")
	r.put("acked", "a1")
	ext := r.popExt(client, group, 5*time.Minute, 15*time.Second)
	f := r.ok(code.PopLiteMessage, ext, nil)
	r.put("acked", "a2")
	receipt := func(f *wire.Frame, offset int) map[string]string {
		return wire.Ext("consumerGroup", group, "topic", r.parent, "queueId", 0, "offset", offset, "liteTopic", "acked",
			"extraInfo", fmt.Sprintf("0 %s %s 999 0 broker 0 %d", f.Ext["popTime"], f.Ext["invisibleTime"], offset))
	}
	with := func(ext map[string]string, more ...any) map[string]string {
		for k, v := range wire.Ext(more...) {
			ext[k] = v
		}
		return ext
	}
	unbound := t.Name("G")
	r.group(unbound, "")
	r.want(code.InvalidParameter, code.AckMessage, with(receipt(f, 0), "consumerGroup", unbound), nil)
	r.want(code.NoMessage, code.AckMessage, receipt(f, 9), nil)
	r.want(code.InvalidParameter, code.AckMessage, with(receipt(f, 0), "extraInfo", fmt.Sprintf("0 %s 60000 0 0 broker 0 0", f.Ext["popTime"])), nil)
	changed := r.ok(code.ChangeMessageInvisibleTime, with(receipt(f, 0), "invisibleTime", 600000), nil)
	Equal(t, "popTime of a postponed message", changed.Ext["popTime"], f.Ext["popTime"])
	if n := changed.Int("invisibleTime"); n < 600000 || n > 700000 {
		t.Errorf("invisibleTime of a postponed message: %d", n)
	}
	r.ok(code.AckMessage, receipt(f, 0), nil)
	Equal(t, "messages behind the acknowledged one", fmt.Sprint(r.all(client, group, 1)), "[a2]")
	r.ok(code.AckMessage, receipt(f, 0), nil) // once more
	at := r.ok(code.QueryConsumerOffset, wire.Ext("consumerGroup", group, "topic", "%LMQ%$"+r.parent+"$acked", "queueId", 0), nil)
	Equal(t, "committed", at.Int("offset"), int64(1))
}

func liteRefusals(r *liteRig, client, group string) {
	plain, unbound := r.t.Name("Plain"), r.t.Name("G")
	r.topic(plain, topicConf{})
	r.group(unbound, "")
	pop := func(answer int32, more ...any) {
		ext := r.popExt(client, group, time.Minute, 0)
		for k, v := range wire.Ext(more...) {
			ext[k] = v
		}
		f := r.want(answer, code.PopLiteMessage, ext, nil)
		if f.Remark == "" {
			r.t.Errorf("no remark: %v", f)
		}
	}
	pop(code.InvalidParameter, "maxMsgNum", 33)
	pop(code.TopicNotExist, "topic", r.t.Name("Absent"))
	pop(code.InvalidParameter, "topic", plain)
	pop(code.InvalidParameter, "consumerGroup", unbound)
	pop(code.PollingTimeout, "bornTime", time.Now().Add(-time.Minute).UnixMilli())
	r.want(code.IllegalOperation, code.LiteSubscriptionCtl, nil, nil)
	r.want(code.IllegalOperation, code.LiteSubscriptionCtl, nil, []byte(`{"subscriptionSet":[]}`))
}

func liteInfos(r *liteRig, client, group string) {
	t := r.t
	v := r.json(code.GetLiteTopicInfo, wire.Ext("parentTopic", r.parent, "liteTopic", "one"), nil)
	Equal(t, "end of the lite topic", wire.Num(wire.At(v, "topicOffset", "maxOffset")), "2")
	list, _ := wire.At(v, "subscriber").([]any)
	if len(list) != 1 || wire.At(list[0], "clientId") != client || wire.At(list[0], "group") != group {
		t.Errorf("subscribers %v", list)
	}
	v = r.json(code.GetParentTopicInfo, wire.Ext("topic", r.parent), nil)
	Equal(t, "lite topics", wire.Num(wire.At(v, "liteTopicCount")), "5")
	Equal(t, "time to live", wire.Num(wire.At(v, "ttl")), "-1")
	if groups := fmt.Sprint(wire.At(v, "groups")); !strings.Contains(groups, group) {
		t.Errorf("groups %s, want %s among them", groups, group)
	}
	v = r.json(code.GetLiteClientInfo, wire.Ext("parentTopic", r.parent, "group", group, "clientId", client), nil)
	Equal(t, "lite topics of the client", wire.Num(wire.At(v, "liteTopicCount")), "2")
	v = r.json(code.GetBrokerLiteInfo, nil, nil)
	if n := wire.Num(wire.At(v, "liteSubscriptionCount")); n == "0" || n == "" {
		t.Errorf("subscriptions of the broker: %s", n)
	}
	r.ok(code.TriggerLiteDispatch, wire.Ext("group", group), nil)
	r.want(code.TopicNotExist, code.GetParentTopicInfo, wire.Ext("topic", t.Name("Absent")), nil)
}

func liteSubscriptions(t *T) {
	r := t.liteRig()
	const first = `,"offsetOption":{"type":"POLICY","value":1}`
	// Shared: a message comes to one of the clients; each group has its own.
	shared, other := r.liteGroup("lite.sub.model", "Shared"), r.liteGroup()
	a, b, c := t.Name("a@1"), t.Name("b@1"), t.Name("c@1")
	r.order(code.Success, "PARTIAL_ADD", a, shared, first, "s")
	r.order(code.Success, "PARTIAL_ADD", b, shared, first, "s")
	r.order(code.Success, "PARTIAL_ADD", c, other, first, "s")
	r.put("s", "for one of two")
	var got []string
	t.Until(30*time.Second, "the message at one of the clients", func() (bool, string) {
		got = append(got, r.take(a, shared, time.Minute, 200*time.Millisecond)...)
		got = append(got, r.take(b, shared, time.Minute, 200*time.Millisecond)...)
		return len(got) > 0, ""
	})
	Equal(t, "messages of both clients", fmt.Sprint(got), "[for one of two]")
	Equal(t, "messages of the other group", fmt.Sprint(r.all(c, other, 1)), "[for one of two]")

	// Exclusive: whoever subscribes last has it, and the one before is told.
	exclusive := r.liteGroup("lite.sub.model", "Exclusive")
	old, next := t.Name("old@1"), t.Name("next@1")
	r.order(code.Success, "PARTIAL_ADD", old, exclusive, first, "x")
	successor := &liteRig{raw: t.dial(r.addr), t: t, addr: r.addr, parent: r.parent}
	successor.order(code.Success, "PARTIAL_ADD", next, exclusive, "", "x")
	t.Until(10*time.Second, "notice of the lost lite topic", func() (bool, string) {
		for _, f := range r.Asked() {
			if f.Code == int(code.NotifyUnsubscribeLite) && f.Ext["liteTopic"] == "x" && f.Ext["clientId"] == old && f.Ext["consumerGroup"] == exclusive {
				return true, ""
			}
		}
		return false, "none"
	})
	r.put("x", "for the last")
	Equal(t, "messages of the last", fmt.Sprint(successor.all(next, exclusive, 1)), "[for the last]")
	if got := r.take(old, exclusive, time.Minute, 300*time.Millisecond); len(got) != 0 {
		t.Errorf("messages of the one before: %v", got)
	}

	// Wildcard: all lite topics, without naming them, those that were there before too.
	wild, w := r.liteGroup("lite.sub.wildcard", "true"), t.Name("w@1")
	r.order(code.IllegalOperation, "PARTIAL_ADD", w, wild, "", "s")
	r.order(code.Success, "COMPLETE_ADD", w, wild, "")
	r.put("new", "for everybody")
	t.Until(60*time.Second, "message of a lite topic that nobody named", func() (bool, string) {
		got := r.take(w, wild, time.Minute, time.Second)
		return slices.Contains(got, "for everybody"), fmt.Sprint(got)
	})

	// A whole list replaces the one before; nothing of a topic comes that is not in it. Removed, a client gets nothing.
	list, l := r.liteGroup(), t.Name("l@1")
	r.order(code.Success, "COMPLETE_ADD", l, list, "", "l1", "l2")
	r.order(code.Success, "COMPLETE_ADD", l, list, "", "l2", "l3")
	for _, lite := range []string{"l1", "l2", "l3"} {
		r.put(lite, "of "+lite)
	}
	Equal(t, "messages of the list", fmt.Sprint(r.all(l, list, 2)), "[of l2 of l3]")
	r.order(code.Success, "PARTIAL_REMOVE", l, list, "", "l3")
	v := r.json(code.GetLiteClientInfo, wire.Ext("parentTopic", r.parent, "group", list, "clientId", l), nil)
	Equal(t, "lite topics left", wire.Num(wire.At(v, "liteTopicCount")), "1")
	r.order(code.Success, "COMPLETE_REMOVE", l, list, "")
	v = r.json(code.GetLiteClientInfo, wire.Ext("parentTopic", r.parent, "group", list, "clientId", l), nil)
	Equal(t, "lite topics of a client that is gone", wire.Num(wire.At(v, "liteTopicCount")), "-1")
	if r.own != nil {
		liteQuota(r)
	}
}

// liteQuota: a client of an exclusive group takes a lite topic over only where there is room for one more subscription, and a renewal
// needs room as well.
func liteQuota(r *liteRig) {
	t := r.t
	info := r.json(code.GetBrokerLiteInfo, nil, nil)
	var n int
	_, err := fmt.Sscan(wire.Num(wire.At(info, "liteSubscriptionCount")), &n)
	t.Must(err, "number of subscriptions")
	r.ok(code.UpdateBrokerConfig, nil, fmt.Append(nil, "maxLiteSubscriptionCount=", n+3))
	group := r.liteGroup("lite.sub.model", "Exclusive")
	other := &liteRig{raw: t.dial(r.addr), t: t, addr: r.addr, parent: r.parent}
	a, b := t.Name("qa@1"), t.Name("qb@1")
	count := func(what, client, want string) {
		v := r.json(code.GetLiteClientInfo, wire.Ext("parentTopic", r.parent, "group", group, "clientId", client), nil)
		Equal(t, what, wire.Num(wire.At(v, "liteTopicCount")), want)
	}
	for _, lite := range []string{"q1", "q2", "q3"} {
		r.order(code.Success, "PARTIAL_ADD", a, group, "", lite)
	}
	r.order(code.LiteSubscriptionQuotaExceeded, "PARTIAL_ADD", a, group, "", "q4")
	other.order(code.LiteSubscriptionQuotaExceeded, "PARTIAL_ADD", b, group, "", "q1")
	r.order(code.LiteSubscriptionQuotaExceeded, "PARTIAL_ADD", a, group, "", "q1")
	count("lite topics with all of the room used", a, "3")
	r.order(code.Success, "PARTIAL_REMOVE", a, group, "", "q3")
	other.order(code.Success, "PARTIAL_ADD", b, group, "", "q1")
	count("lite topics of the one before", a, "1")
	count("lite topics of the one who took over", b, "1")
	other.order(code.Success, "COMPLETE_ADD", b, group, "", "q1")
	count("lite topics after a renewal", b, "1")
	other.order(code.Success, "PARTIAL_REMOVE", b, group, "", "q1")
	count("lite topics of one who has left", b, "0")
}
