package conformance

import (
	"fmt"
	"time"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

var unregisteredCases = []Case{
	{Area: "consumption", Feature: "POP and pull without heartbeats, as tools see them", Run: unregistered, Limit: 3 * time.Minute},
	{Area: "consumption", Feature: "Pull consumers rejected", Own: true, Run: rejectedPulls, Limit: 3 * time.Minute},
}

// unregistered consumes without ever sending a heartbeat, and asks what operators ask.
func unregistered(t *T) {
	b := t.dial(t.shared.broker)
	topic, other, group := t.Name("pop"), t.Name("other"), t.Name("g")
	b.topic(topic, topicConf{})
	b.topic(other, topicConf{})
	b.group(group, "")
	b.sendTexts(topic, 1, "a", "b", "c")
	b.sendTexts(other, 1, "d")
	ask := func(topic string) any {
		return wire.At(b.json(code.QuerySubscriptionByConsumer, wire.Ext("group", group, "topic", topic), nil), "subscriptionData")
	}
	Equal(t, "subscription before", ask(topic), nil)
	got := b.popAll(group, topic, 3, 20*time.Second, "invisibleTime", 60000, "exp", "taga||tagb||tagc||x")
	sub := func(topic, text, kind string, tags int) {
		s := ask(topic)
		Equal(t, "expression of "+topic, wire.At(s, "subString"), any(text))
		Equal(t, "its type", wire.At(s, "expressionType"), any(kind))
		list, _ := wire.At(s, "tagsSet").([]any)
		Equal(t, "its tags", len(list), tags)
		codes, _ := wire.At(s, "codeSet").([]any)
		Equal(t, "their codes", len(codes), tags)
	}
	sub(topic, "taga||tagb||tagc||x", "TAG", 4)
	sub("%RETRY%"+group+"_"+topic, "*", "TAG", 0)
	b.call(code.PullMessage, pullExt(group, other, 0, 0, "subscription", "tagd"), nil)
	sub(other, "tagd", "TAG", 1)

	// Nobody is online.
	b.want(code.SystemError, code.GetConsumerListByGroup, wire.Ext("consumerGroup", group), nil)
	b.want(code.ConsumerNotOnline, code.GetConsumerConnectionList, wire.Ext("consumerGroup", group), nil)

	// A consumer of the group that subscribes to another topic hides nothing of what is popped.
	b.ok(code.HeartBeat, nil, heartbeat(t.Name("client"), consumerJSON(group, t.Name("third"), "*", 1), ""))
	stats := b.json(code.GetConsumeStats, wire.Ext("consumerGroup", group), nil)
	table, _ := wire.At(stats, "offsetTable").(map[string]any)
	seen := false
	for key := range table {
		q, err := wire.Loose([]byte(key))
		t.Must(err, "key %s", key)
		seen = seen || wire.At(q, "topic") == any(topic)
	}
	Equal(t, "progress in the popped topic is shown", seen, true)

	// What is popped and acknowledged is counted.
	name := t.shared.brokerName
	b.ack(group, name, got[0])
	b.ok(code.BatchAckMessage, nil, batchOf(group, topic, name, got[1:]))
	for what, want := range map[string]string{"GROUP_CK_NUMS": "1", "GROUP_ACK_NUMS": "3", "GROUP_GET_NUMS": "3"} {
		t.Until(40*time.Second, what, func() (bool, string) {
			f := b.call(code.ViewBrokerStatsData, wire.Ext("statsName", what, "statsKey", topic+"@"+group), nil)
			if f.Code != int(code.Success) {
				return false, f.Remark
			}
			v, err := wire.Loose(f.Body)
			t.Must(err, "statistic")
			sum := wire.Num(wire.At(v, "statsMinute", "sum"))
			return sum == want, sum
		})
	}
	for _, what := range []string{"BROKER_CK_NUMS", "BROKER_ACK_NUMS"} {
		b.ok(code.ViewBrokerStatsData, wire.Ext("statsName", what, "statsKey", clusterName), nil)
	}
}

// rejectedPulls: with rejectPullConsumerEnable only consumers that have registered as something else, or before, get messages.
func rejectedPulls(t *T) {
	c, b, _ := t.popBroker(testkit.Props{})
	topic, group, push := t.Name("t"), t.Name("pull"), t.Name("push")
	b.topic(topic, topicConf{})
	b.group(group, "")
	b.group(push, "")
	b.sendTexts(topic, 1, "a")
	b.await(topic, 0, 1, 10*time.Second)
	beat := func(r *raw, client, group, kind string) {
		consumers := fmt.Sprintf(`{"consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","consumeType":%q,"groupName":%q,"messageModel":"CLUSTERING",`+
			`"subscriptionDataSet":[{"classFilterMode":false,"codeSet":[],"expressionType":"TAG","subString":"*","subVersion":1,"tagsSet":[],"topic":%q}],"unitMode":false}`, kind, group, topic)
		r.ok(code.HeartBeat, nil, heartbeat(client, consumers, ""))
	}
	beat(b, "known", group, "CONSUME_ACTIVELY")
	beat(b, "known", push, "CONSUME_PASSIVELY")
	b.ok(code.UpdateBrokerConfig, nil, []byte("rejectPullConsumerEnable=true"))
	stranger := t.dial(c.broker)
	beat(stranger, "late", group, "CONSUME_ACTIVELY")
	for _, s := range []struct {
		what, group string
		who         *raw
		want        int32
	}{
		{"registered before", group, b, code.Success},
		{"registers now", group, stranger, code.SubscriptionNotExist},
		{"group of push consumers", push, stranger, code.Success},
		{"unknown group", t.Name("nobody"), stranger, code.SubscriptionNotExist},
		{"group of tools", "TOOLS_CONSUMER", stranger, code.Success},
		{"group of self tests", "SELF_TEST_C_GROUP", stranger, code.Success},
	} {
		if s.want != code.Success {
			b.group(s.group, "")
		}
		f := s.who.call(code.PullMessage, pullExt(s.group, topic, 0, 0), nil)
		Equal(t, "pull, "+s.what, f.Code, int(s.want))
	}
}
