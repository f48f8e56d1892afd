package processor_test

import (
	"fmt"
	"testing"

	"apogee/broker/processor"
	"apogee/remoting"
	"apogee/remoting/code"
)

func popOf(topic string, kv ...string) ext {
	return with(ext{
		"consumerGroup": "gP", "topic": topic, "queueId": "-1", "maxMsgNums": "2", "invisibleTime": "60000", "pollTime": "0", "bornTime": "0",
		"initMode": "0", "order": "true",
	}, kv...)
}

func ackOf(topic string, popped *remoting.Response, offset int) ext {
	popTime, _ := popped.Fields.Get("popTime")
	return ext{
		"consumerGroup": "gP", "topic": topic, "queueId": "0", "offset": fmt.Sprint(offset),
		"extraInfo": fmt.Sprintf("0 %s 60000 999 0 b 0 %d", popTime, offset),
	}
}

// TestOrderedPopsWait has one pop wait for a blocked queue; the last ack wakes it.
func TestOrderedPopsWait(t *testing.T) {
	b := startBroker(t, map[string]string{"timerWheelEnable": "true"})
	addr := b.Addr().String()
	c := dial(t, addr)
	for i := range 4 {
		c.call(code.SendMessage, sendTo("tP"), fmt.Sprint("m", i))
	}
	first := c.call(code.PopMessage, popOf("tP", "queueId", "0", "attemptId", "a"), "")
	if got := processor.Bodies(t, first.Body); first.Code != 0 || got != "m0 m1" {
		t.Fatalf("first pop: %d %q %s", first.Code, got, first.Remark)
	}
	if res := c.call(code.PopMessage, popOf("tP", "queueId", "0", "attemptId", "b"), ""); res.Code != code.PollingTimeout {
		t.Fatalf("second pop: %d", res.Code)
	}
	ask := ext{"consumerGroup": "gP", "topic": "tP", "queueId": "0", "pollTime": "0", "bornTime": "0", "order": "true"}
	if res := c.call(code.Notification, ask, ""); hasMessage(res) != "false" {
		t.Errorf("notification of a blocked queue: %+v", res)
	}
	answer := make(chan *remoting.Response, 1)
	other := dial(t, addr)
	go func() {
		res, _ := other.try(code.PopMessage, popOf("tP", "queueId", "0", "attemptId", "b", "pollTime", "60000"), "")
		answer <- res
	}()
	line := ext{"consumerGroup": "gP", "topic": "tP", "queueId": "0"}
	for {
		if n, _ := c.call(code.PollingInfo, line, "").Fields.Get("pollingNum"); n == "1" {
			break
		}
	}
	for _, offset := range []int{1, 0} {
		if res := c.call(code.AckMessage, ackOf("tP", first, offset), ""); res.Code != 0 {
			t.Fatalf("ack of %d: %d %s", offset, res.Code, res.Remark)
		}
	}
	if res := <-answer; res == nil || res.Code != 0 || processor.Bodies(t, res.Body) != "m2 m3" {
		t.Errorf("woken with %+v", res)
	}
	if res := c.call(code.PeekMessage, ext{"consumerGroup": "gP", "topic": "tP", "queueId": "0", "maxMsgNums": "9"}, ""); processor.Bodies(t, res.Body) != "m2 m3" {
		t.Errorf("peek: %d %q", res.Code, processor.Bodies(t, res.Body))
	}
	// With its offsets a group loses what it has out.
	c.call(code.DeleteSubscriptionGroup, ext{"groupName": "gP", "cleanOffset": "true"}, "")
	if res := c.call(code.PopMessage, popOf("tP", "queueId", "0"), ""); res.Code != 0 || processor.Bodies(t, res.Body) != "m0 m1" {
		t.Errorf("a group that starts over: %d %q", res.Code, processor.Bodies(t, res.Body))
	}
}

func hasMessage(res *remoting.Response) string {
	v, _ := res.Fields.Get("hasMsg")
	return v
}

// TestPeekRefusals are the same for what only looks.
func TestPeekRefusals(t *testing.T) {
	b := startBroker(t, map[string]string{"autoCreateSubscriptionGroup": "false"})
	c := dial(t, b.Addr().String())
	c.call(code.SendMessage, sendTo("tP"), "creates the topic")
	for name, g := range map[string]bool{"gP": true, "gOff": false} {
		s := addGroup(name, func(m map[string]any) { m["consumeEnable"] = g })
		c.call(s.code, nil, string(s.body))
	}
	w := addTopic("tW", "2")
	c.call(w.code, w.ext, "")
	for _, request := range []int32{code.PeekMessage, code.Notification, code.PollingInfo} {
		e := ext{"consumerGroup": "gP", "topic": "tP", "queueId": "0", "maxMsgNums": "1", "pollTime": "0", "bornTime": "0"}
		for _, q := range []struct {
			name string
			ext  ext
			want int32
		}{
			{"no topic", with(e, "topic", "tX"), code.TopicNotExist},
			{"a topic that is not readable", with(e, "topic", "tW"), code.NoPermission},
			{"no such queue", with(e, "queueId", "99"), code.InvalidParameter},
			{"no group", with(e, "consumerGroup", "gX"), code.SubscriptionGroupNotExist},
			{"a group that may not consume", with(e, "consumerGroup", "gOff"), code.NoPermission},
			{"no queue in the header", with(e, "queueId", "-"), code.SystemError},
			{"all is well", e, code.Success},
		} {
			if res := c.call(request, q.ext, ""); res.Code != q.want {
				t.Errorf("%d, %s: %d %q", request, q.name, res.Code, res.Remark)
			}
		}
	}
	bad := ext{"consumerGroup": "gP", "topic": "tP", "queueId": "0", "pollTime": "0", "bornTime": "0", "expType": "SQL92", "exp": "a >"}
	if res := c.call(code.Notification, bad, ""); res.Code != code.SubscriptionParseFailed {
		t.Errorf("an expression that is none: %d", res.Code)
	}
	c.call(25, nil, "brokerPermission=2")
	if res := c.call(code.PeekMessage, ext{"consumerGroup": "gP", "topic": "tP", "queueId": "0", "maxMsgNums": "1"}, ""); res.Code != code.NoPermission {
		t.Errorf("a broker that is not readable: %d", res.Code)
	}
}

// TestOrderedNotificationsLeaveRetryTopicsOut: what an ordered pop would not find is no reason to be told.
func TestOrderedNotificationsLeaveRetryTopicsOut(t *testing.T) {
	b := startBroker(t, map[string]string{"timerWheelEnable": "true"})
	c := dial(t, b.Addr().String())
	c.call(code.SendMessage, sendTo("tP"), "m")
	first := c.call(code.PopMessage, popOf("tP", "queueId", "0", "order", "false", "invisibleTime", "10000"), "")
	if first.Code != 0 {
		t.Fatalf("pop: %d %s", first.Code, first.Remark)
	}
	c.call(code.UpdateAndCreateTopic, ext{
		"topic": "%RETRY%gP_tP", "defaultTopic": "TBW102", "readQueueNums": "1", "writeQueueNums": "1", "perm": "6",
		"topicFilterType": "SINGLE_TAG", "order": "false",
	}, "")
	if res := c.call(code.SendMessage, with(sendTo("tP"), "topic", "%RETRY%gP_tP"), "again"); res.Code != 0 {
		t.Fatalf("send: %d %s", res.Code, res.Remark)
	}
	ask := ext{"consumerGroup": "gP", "topic": "tP", "queueId": "-1", "pollTime": "0", "bornTime": "0"}
	for order, want := range map[string]string{"false": "true", "true": "false"} {
		if res := c.call(code.Notification, with(ask, "order", order), ""); hasMessage(res) != want {
			t.Errorf("order %s: %d %s %s", order, res.Code, hasMessage(res), res.Remark)
		}
	}
}

// TestRejectedPulls: with rejectPullConsumerEnable those pull who have registered before, by the connection that they have registered on.
func TestRejectedPulls(t *testing.T) {
	b := startBroker(t, nil)
	addr := b.Addr().String()
	known, other := dial(t, addr), dial(t, addr)
	known.call(code.SendMessage, sendTo("tP"), "m")
	known.call(code.HeartBeat, nil, `{"clientID":"c","consumerDataSet":[{"groupName":"gP","consumeType":"CONSUME_ACTIVELY","messageModel":"CLUSTERING",`+
		`"consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","subscriptionDataSet":[]}],"producerDataSet":[]}`)
	if res := known.call(code.UpdateBrokerConfig, nil, "rejectPullConsumerEnable=true"); res.Code != 0 {
		t.Fatal(res.Remark)
	}
	pull := ext{
		"consumerGroup": "gP", "topic": "tP", "queueId": "0", "queueOffset": "0", "maxMsgNums": "1", "sysFlag": "4", "commitOffset": "0",
		"suspendTimeoutMillis": "0", "subscription": "*", "subVersion": "1",
	}
	for _, s := range []struct {
		who   *caller
		group string
		want  int32
	}{{known, "gP", 0}, {other, "gP", code.SubscriptionNotExist}, {other, "TOOLS_CONSUMER", 0}, {other, "SELF_TEST_C_GROUP", 0}} {
		if res := s.who.call(code.PullMessage, with(pull, "consumerGroup", s.group), ""); res.Code != s.want {
			t.Errorf("%s: %d %s, want %d", s.group, res.Code, res.Remark, s.want)
		}
	}
}
