package conformance

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"apogee/conformance/wire"
	"apogee/remoting/code"
)

var balanceCases = []Case{
	{Area: "consumption", Feature: "Server side rebalance (QUERY_ASSIGNMENT)", Own: true, Run: serverRebalance, Limit: 3 * time.Minute},
}

// assignment asks for a client's queues; "none" where the answer has no list. Each queue is broker:id with its mode where that is not PULL.
func (r *raw) assignment(topic, group, client, strategy, model string) string {
	v := r.json(code.QueryAssignment, nil, []byte(fmt.Sprintf(
		`{"clientId":%q,"consumerGroup":%q,"messageModel":%q,"strategyName":%q,"topic":%q}`, client, group, model, strategy, topic)))
	list, ok := wire.At(v, "messageQueueAssignments").([]any)
	if !ok {
		return "none"
	}
	var out []string
	for _, a := range list {
		q := fmt.Sprint(wire.At(a, "messageQueue", "queueId"))
		if mode := fmt.Sprint(wire.At(a, "mode")); mode != "PULL" {
			q += mode
		}
		if wire.At(a, "messageQueue", "topic") != topic {
			q += " of another topic"
		}
		out = append(out, q)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// heartbeating connects a client of a group.
func (t *T) heartbeating(addr, client, group, topic string) *raw {
	c := t.dial(addr)
	c.ok(code.HeartBeat, nil, heartbeat(client, consumerJSON(group, topic, "*", 1), ""))
	return c
}

func (r *raw) setMode(topic, group, mode string, share int) *wire.Frame {
	return r.call(code.SetMessageRequestMode, nil, []byte(fmt.Sprintf(
		`{"consumerGroup":%q,"mode":%q,"popShareQueueNum":%d,"topic":%q}`, group, mode, share, topic)))
}

func serverRebalance(t *T) {
	c := t.ownCluster(nil)
	b := t.dial(c.broker)
	topic, group := t.Name("Balance"), t.Name("G")
	b.topic(topic, topicConf{read: 8})
	ask := func(client, strategy string) string {
		return b.assignment(topic, group, client, strategy, "CLUSTERING")
	}
	Equal(t, "nobody is online", ask("c1", "AVG"), "none")
	Equal(t, "broadcasting", b.assignment(topic, group, "c1", "AVG", "BROADCASTING"), "0 1 2 3 4 5 6 7")
	Equal(t, "an unknown topic", b.assignment(t.Name("No"), group, "c1", "AVG", "CLUSTERING"), "none")
	for _, id := range []string{"c2", "c1", "c3"} {
		t.heartbeating(c.broker, id, group, topic)
	}
	for client, want := range map[string]string{"c1": "0 1 2", "c2": "3 4 5", "c3": "6 7", "x": ""} {
		Equal(t, "averagely "+client, ask(client, "AVG"), want)
	}
	Equal(t, "by circle", ask("c2", "AVG_BY_CIRCLE"), "1 4 7")
	Equal(t, "another strategy", ask("c1", "CONSISTENT_HASH"), "none")
	Equal(t, "no client id", ask("", "AVG"), "none")

	// Modes: refusals, then sharing.
	Equal(t, "mode of a retry topic", b.setMode("%RETRY%"+group, group, "POP", 0).Code, int(code.NoPermission))
	Equal(t, "mode of no topic", b.setMode(t.Name("No"), group, "POP", 0).Code, int(code.TopicNotExist))
	for share, want := range map[int]string{0: "-1POP", -1: "-1POP", 1: "0POP 1POP 2POP 3POP 4POP 5POP", 2: "-1POP"} {
		Equal(t, "mode", b.setMode(topic, group, "POP", share).Code, int(code.Success))
		Equal(t, fmt.Sprint("popping, shared with ", share), ask("c1", "AVG"), want)
	}
	v := b.json(code.GetAllMessageRequestMode, nil, nil)
	Equal(t, "mode as slaves see it", fmt.Sprint(wire.At(v, "messageRequestModeMap", topic, group, "mode")), "POP")
	Equal(t, "mode", b.setMode(topic, group, "PULL", 1).Code, int(code.Success))
	Equal(t, "pulling again", ask("c1", "AVG"), "0 1 2")
	b.ok(code.UpdateBrokerConfig, nil, []byte("serverLoadBalancerEnable=false"))
	Equal(t, "balancing is off", ask("c1", "AVG"), "0 1 2 3 4 5 6 7")
	b.ok(code.UpdateBrokerConfig, nil, []byte("serverLoadBalancerEnable=true\ndefaultMessageRequestMode=POP"))
	other := t.Name("G")
	t.heartbeating(c.broker, "c1", other, topic)
	Equal(t, "popping by default", b.assignment(topic, other, "c1", "AVG", "CLUSTERING"), "-1POP")
	b.ok(code.UpdateBrokerConfig, nil, []byte("defaultMessageRequestMode=PULL"))

	t.javaProgram("Balance", c.namesrv)
}
