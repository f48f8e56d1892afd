package processor_test

import (
	"strings"
	"testing"

	"apogee/compat/fastjson"
	"apogee/remoting/code"
)

// TestAssignmentRefusals has no name server: what needs a route has no answer.
func TestAssignmentRefusals(t *testing.T) {
	b := startBroker(t, map[string]string{"autoCreateSubscriptionGroup": "false"})
	c := dial(t, b.Addr().String())
	c.call(code.SendMessage, sendTo("tA"), "creates the topic")
	g := addGroup("gA", nil)
	c.call(g.code, nil, string(g.body))
	for _, q := range []struct {
		name   string
		code   int32
		body   map[string]any
		want   int32
		remark string
	}{
		{"assignment without a topic", 400, map[string]any{"consumerGroup": "gA", "messageModel": "CLUSTERING"}, 1, "no topic"},
		{"assignment without a group", 400, map[string]any{"topic": "tA", "messageModel": "CLUSTERING"}, 1, "no consumer group"},
		{"assignment without a model", 400, map[string]any{"topic": "tA", "consumerGroup": "gA"}, 1, "no message model"},
		{"no name server", 400, map[string]any{"topic": "tA", "consumerGroup": "gA", "messageModel": "BROADCASTING"}, 0, ""},
		{"mode without a topic", 401, map[string]any{"consumerGroup": "gA", "mode": "POP"}, 1, "no topic"},
		{"mode of a retry topic", 401, map[string]any{"topic": "%RETRY%gA", "consumerGroup": "gA", "mode": "POP"}, 16, "retry topic is not allowed to set mode"},
		{"mode of no topic", 401, map[string]any{"topic": "tX", "consumerGroup": "gA", "mode": "POP"}, 17, "topic[tX] not exist"},
		{"mode without a group", 401, map[string]any{"topic": "tA", "mode": "POP"}, 1, "no consumer group"},
		{"mode of no group", 401, map[string]any{"topic": "tA", "consumerGroup": "gX", "mode": "POP"}, 26, "subscription group does not exist"},
		{"no mode", 401, map[string]any{"topic": "tA", "consumerGroup": "gA"}, 1, "allowed are PULL and POP"},
		{"another mode", 401, map[string]any{"topic": "tA", "consumerGroup": "gA", "mode": "PUSH"}, 1, "allowed are PULL and POP"},
		{"a mode", 401, map[string]any{"topic": "tA", "consumerGroup": "gA", "mode": "POP", "popShareQueueNum": 3}, 0, ""},
	} {
		res := c.call(q.code, nil, string(fastjson.Marshal(q.body)))
		if res.Code != q.want || !strings.Contains(res.Remark, q.remark) || (q.code == 400 && q.want == 0 && string(res.Body) != "{}") {
			t.Errorf("%s: %d %q %s", q.name, res.Code, res.Remark, res.Body)
		}
	}
	if res := c.call(401, nil, ""); res.Code != 1 {
		t.Errorf("no body: %d", res.Code)
	}
	const want = `{"messageRequestModeMap":{"tA":{"gA":{"consumerGroup":"gA","mode":"POP","popShareQueueNum":3,"topic":"tA"}}}}`
	if res := c.call(402, nil, ""); string(res.Body) != want {
		t.Errorf("the table: %s", res.Body)
	}
}
