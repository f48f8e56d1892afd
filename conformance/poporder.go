package conformance

import (
	"fmt"
	"strings"
	"time"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

var popOrderCases = []Case{
	{Area: "consumption", Feature: "POP orderly", Run: popOrderly, Limit: 3 * time.Minute},
	{Area: "consumption", Feature: "POP long polling", Run: popLongPolling, Limit: 3 * time.Minute},
	{Area: "consumption", Feature: "POP notification request", Run: popNotification},
	{Area: "consumption", Feature: "Peek message", Run: peekMessages},
	{Area: "consumption", Feature: "Message request mode POP/PULL per group", Own: true, Run: requestModes, Limit: 4 * time.Minute},
	{Area: "ordering", Feature: "FIFO messages by message group", Own: true, Run: fifoByGroup, Limit: 4 * time.Minute},
}

// fifo is a group's ordered pops of one queue.
type fifo struct {
	*raw
	topic, group string
}

func (t *T) fifo(queues int) *fifo {
	f := &fifo{raw: t.dial(t.shared.broker), topic: t.Name("Fifo"), group: t.Name("G")}
	f.raw.topic(f.topic, topicConf{read: queues, attributes: "+message.type=FIFO"})
	f.raw.group(f.group, `,"consumeMessageOrderly":true`)
	return f
}

func (f *fifo) put(bodies ...string) {
	for _, b := range bodies {
		f.send(message{topic: f.topic, body: []byte(b), properties: wire.Properties("__SHARDINGKEY", "k")})
	}
	f.await(f.topic, 0, len(bodies), 10*time.Second)
}

func (f *fifo) ext(more ...any) map[string]string {
	ext := wire.Ext("consumerGroup", f.group, "topic", f.topic, "queueId", -1, "maxMsgNums", 2, "invisibleTime", 20000, "pollTime", 0,
		"bornTime", time.Now().UnixMilli(), "initMode", 0, "expType", "TAG", "exp", "*", "order", true)
	for k, v := range wire.Ext(more...) {
		ext[k] = v
	}
	return ext
}

// bodies are those of an answer; its code in words where there are none.
func (f *fifo) bodies(a *wire.Frame) string {
	switch a.Code {
	case int(code.Success):
	case int(code.PollingTimeout):
		return "timeout"
	case int(code.PollingFull):
		return "full"
	default:
		f.t.Fatalf("pop: %v", a)
	}
	recs, err := wire.Records(a.Body)
	f.t.Must(err, "popped messages")
	var out []string
	for _, r := range recs {
		out = append(out, string(r.Body))
	}
	return strings.Join(out, " ")
}

// pop pops and compares the bodies.
func (f *fifo) pop(what, want string, more ...any) *wire.Frame {
	a := f.call(code.PopMessage, f.ext(more...), nil)
	Equal(f.t, what, f.bodies(a), want)
	return a
}

// handle is the receipt of a message that a was the answer to.
func (f *fifo) handle(a *wire.Frame, offset int64) map[string]string {
	start := strings.Fields(a.Ext["startOffsetInfo"])
	if len(start) != 3 {
		f.t.Fatalf("startOffsetInfo of %v", a)
	}
	return wire.Ext("consumerGroup", f.group, "topic", f.topic, "queueId", start[1], "offset", offset, "extraInfo", fmt.Sprintf(
		"%s %s %s %s 0 %s %s %d", start[2], a.Ext["popTime"], a.Ext["invisibleTime"], a.Ext["reviveQid"], f.t.shared.brokerName, start[1], offset))
}

func (f *fifo) ack(a *wire.Frame, offset int64) int {
	return f.call(code.AckMessage, f.handle(a, offset), nil).Code
}

func (f *fifo) committed() string {
	a := f.call(code.QueryConsumerOffset, wire.Ext("consumerGroup", f.group, "topic", f.topic, "queueId", 0), nil)
	return a.Ext["offset"]
}

func popOrderly(t *T) {
	f := t.fifo(1)
	f.put("m0", "m1", "m2", "m3", "m4", "m5")
	a := f.pop("first pop", "m0 m1", "attemptId", "one")
	Equal(t, "revive queue", a.Ext["reviveQid"], "999")
	Equal(t, "counts of the first pop", a.Ext["orderCountInfo"], "0 0 0")
	f.pop("second pop", "timeout", "attemptId", "two")
	f.pop("second pop without an attempt", "timeout")
	a = f.pop("the same attempt again", "m0 m1", "attemptId", "one")
	Equal(t, "counts of the same attempt", a.Ext["orderCountInfo"], "0 0 0")
	Equal(t, "ack of a message that is not out", f.ack(a, 3), int(code.MessageIllegal))
	Equal(t, "ack of a message that is not there", f.ack(a, 99), int(code.NoMessage))
	Equal(t, "ack of the second", f.ack(a, 1), int(code.Success))
	Equal(t, "offset while the first is out", f.committed(), "0")
	f.pop("while the first is out", "timeout", "attemptId", "two")
	Equal(t, "ack of the first", f.ack(a, 0), int(code.Success))
	Equal(t, "offset behind both", f.committed(), "2")
	Equal(t, "ack once more", f.ack(a, 0), int(code.Success))

	// A message becomes visible again: both come again, and are counted.
	b := f.pop("the next two", "m2 m3", "attemptId", "three")
	ext := f.handle(b, 3)
	ext["invisibleTime"] = "0"
	c := f.ok(code.ChangeMessageInvisibleTime, ext, nil)
	Equal(t, "pop time of a changed handle", c.Ext["popTime"], b.Ext["popTime"])
	f.pop("while the other is out", "timeout", "attemptId", "four")
	ext = f.handle(b, 2)
	ext["invisibleTime"] = "0"
	f.ok(code.ChangeMessageInvisibleTime, ext, nil)
	t.Until(10*time.Second, "both are visible again", func() (bool, string) {
		b = f.call(code.PopMessage, f.ext("attemptId", "four"), nil)
		return f.bodies(b) == "m2 m3", f.bodies(b)
	})
	counts := strings.Split(b.Ext["orderCountInfo"], ";")
	Equal(t, "how many counts", len(counts), 3)
	Equal(t, "count of the queue", counts[2], "0 0 1")
	for _, want := range []string{"0 qo0%2 1", "0 qo0%3 1"} {
		if !strings.Contains(b.Ext["orderCountInfo"], want) {
			t.Errorf("counts %q lack %q", b.Ext["orderCountInfo"], want)
		}
	}
	// A pop that waits is woken when the queue becomes free, by acks or by time.
	wait := f.begin("pollTime", 30000)
	Equal(t, "acks", f.ack(b, 2)+f.ack(b, 3), 0)
	d := f.answered(wait, 10*time.Second)
	Equal(t, "woken by the last ack", f.bodies(d), "m4 m5")
	ext = f.handle(d, 5)
	ext["invisibleTime"] = "1000"
	Equal(t, "ack", f.ack(d, 4), 0)
	f.ok(code.ChangeMessageInvisibleTime, ext, nil)
	d = f.answered(f.begin("pollTime", 30000), 15*time.Second)
	Equal(t, "woken by time", f.bodies(d), "m5")
	Equal(t, "ack", f.ack(d, 5), 0)
	Equal(t, "offset at the end", f.committed(), "6")
	f.pop("nothing is left", "timeout")
}

// begin starts a pop that may wait.
func (f *fifo) begin(more ...any) <-chan *wire.Frame {
	wait, err := f.Begin(int(code.PopMessage), f.ext(more...), nil)
	f.t.Must(err, "pop")
	return wait
}

func (f *fifo) answered(wait <-chan *wire.Frame, limit time.Duration) *wire.Frame {
	select {
	case a := <-wait:
		return a
	case <-time.After(limit):
		f.t.Fatalf("no answer within %v", limit)
		return nil
	}
}

// waiting waits until n pops wait for a queue.
func (f *fifo) waiting(queue, n int) {
	f.t.Until(20*time.Second, fmt.Sprint(n, " waiting pops"), func() (bool, string) {
		a := f.ok(code.PollingInfo, wire.Ext("consumerGroup", f.group, "topic", f.topic, "queueId", queue), nil)
		return a.Ext["pollingNum"] == fmt.Sprint(n), a.Ext["pollingNum"]
	})
}

func popLongPolling(t *T) {
	f := t.fifo(2)
	ask := func(more ...any) <-chan *wire.Frame {
		return f.begin(append([]any{"order", false, "invisibleTime", 60000}, more...)...)
	}
	start := time.Now()
	Equal(t, "no time to wait", f.bodies(f.answered(ask(), 10*time.Second)), "timeout")
	Equal(t, "a pop that comes too late", f.bodies(f.answered(ask("pollTime", 1000, "bornTime", start.UnixMilli()-2000), 10*time.Second)), "timeout")
	start = time.Now()
	Equal(t, "at the deadline", f.bodies(f.answered(ask("pollTime", 2000), 20*time.Second)), "timeout")
	if took := time.Since(start); took < 1700*time.Millisecond || took > 8*time.Second {
		t.Errorf("answered after %v, want 2 s", took)
	}
	any, own, other := ask("pollTime", 25000), ask("pollTime", 25000, "queueId", 0), ask("pollTime", 25000, "queueId", 1)
	for q := range 3 {
		f.waiting(q-1, 1)
	}
	// One message: it goes to one of those that take from its queue. The other one may look, and waits on.
	f.send(message{topic: f.topic, body: []byte("one")})
	var a *wire.Frame
	select {
	case a = <-any:
		any = nil
	case a = <-own:
		own = nil
	case <-other:
		t.Fatalf("a pop of another queue is woken")
	case <-time.After(10 * time.Second):
		t.Fatalf("not woken within 10 s")
	}
	Equal(t, "the message", f.bodies(a), "one")
	f.send(message{topic: f.topic, queue: 1, body: []byte("two")})
	f.send(message{topic: f.topic, queue: 0, body: []byte("three")})
	got := map[string]bool{}
	for range 2 {
		select {
		case a = <-any:
			any = nil
		case a = <-own:
			own = nil
		case a = <-other:
			other = nil
		case <-time.After(10 * time.Second):
			t.Fatalf("two more messages, not both popped within 10 s: %v", got)
		}
		got[f.bodies(a)] = true
		if len(got) == 1 && got["two three"] || got["three two"] {
			break
		}
	}
	// With a filter.
	g := t.fifo(1)
	wait := g.begin("order", false, "pollTime", 25000, "exp", "wanted")
	g.waiting(-1, 1)
	g.send(message{topic: g.topic, body: []byte("other"), properties: wire.Properties("TAGS", "unwanted")})
	g.send(message{topic: g.topic, body: []byte("it"), properties: wire.Properties("TAGS", "wanted")})
	Equal(t, "by tag", g.bodies(g.answered(wait, 15*time.Second)), "it")

	// Refusals of the number of those that wait.
	for what, c := range map[string]struct {
		want int32
		ext  map[string]string
	}{
		"no topic": {code.TopicNotExist, wire.Ext("consumerGroup", f.group, "topic", t.Name("No"), "queueId", -1)},
		"no queue": {code.InvalidParameter, wire.Ext("consumerGroup", f.group, "topic", f.topic, "queueId", 2)},
	} {
		Equal(t, "polling info, "+what, f.call(code.PollingInfo, c.ext, nil).Code, int(c.want))
	}
	t.javaProgram("PopOrder", t.shared.namesrv, "poll", t.shared.broker, t.shared.brokerName, t.Name("JPoll"))
}

func popNotification(t *T) {
	f := t.fifo(2)
	ext := func(more ...any) map[string]string {
		ext := wire.Ext("consumerGroup", f.group, "topic", f.topic, "queueId", -1, "pollTime", 0, "bornTime", time.Now().UnixMilli(), "order", false)
		for k, v := range wire.Ext(more...) {
			ext[k] = v
		}
		return ext
	}
	has := func(what, want string, more ...any) {
		Equal(t, what, f.ok(code.Notification, ext(more...), nil).Ext["hasMsg"], want)
	}
	has("nothing is there", "false")
	start := time.Now()
	has("nothing comes", "false", "pollTime", 2000)
	if took := time.Since(start); took < 1700*time.Millisecond || took > 8*time.Second {
		t.Errorf("answered after %v, want 2 s", took)
	}
	wait, err := f.Begin(int(code.Notification), ext("pollTime", 25000), nil)
	t.Must(err, "notification")
	f.send(message{topic: f.topic, body: []byte("m0"), properties: wire.Properties("TAGS", "tagA")})
	Equal(t, "a message comes", f.answered(wait, 10*time.Second).Ext["hasMsg"], "true")
	f.await(f.topic, 0, 1, 10*time.Second)
	has("it is there", "true")
	has("in its queue", "true", "queueId", 0)
	has("not in the other", "false", "queueId", 1)
	has("with its tag", "true", "expType", "TAG", "exp", "tagA")
	has("with another tag", "false", "expType", "TAG", "exp", "tagB")
	// Ordered: a blocked queue has nothing, but for its attempt.
	a := f.pop("ordered pop", "m0", "attemptId", "one")
	has("the queue is blocked", "false", "order", true)
	has("for its own attempt it is not", "true", "order", true, "attemptId", "one")
	f.send(message{topic: f.topic, body: []byte("m1")})
	f.await(f.topic, 0, 2, 10*time.Second)
	has("still blocked", "false", "order", true, "attemptId", "two")
	wait, err = f.Begin(int(code.Notification), ext("pollTime", 25000, "order", true), nil)
	t.Must(err, "notification")
	Equal(t, "ack", f.ack(a, 0), 0)
	Equal(t, "the queue is free", f.answered(wait, 15*time.Second).Ext["hasMsg"], "true")
	for what, c := range map[string]struct {
		want int32
		ext  map[string]string
	}{
		"no topic": {code.TopicNotExist, ext("topic", t.Name("No"))},
		"no queue": {code.InvalidParameter, ext("queueId", 2)},
	} {
		Equal(t, "notification, "+what, f.call(code.Notification, c.ext, nil).Code, int(c.want))
	}
}

func peekMessages(t *T) {
	f := t.fifo(2)
	ext := func(more ...any) map[string]string {
		ext := wire.Ext("consumerGroup", f.group, "topic", f.topic, "queueId", -1, "maxMsgNums", 10)
		for k, v := range wire.Ext(more...) {
			ext[k] = v
		}
		return ext
	}
	f.want(code.PullNotFound, code.PeekMessage, ext(), nil)
	f.send(message{topic: f.topic, queue: 0, body: []byte("a0")})
	f.send(message{topic: f.topic, queue: 0, body: []byte("a1")})
	f.send(message{topic: f.topic, queue: 1, body: []byte("b0")})
	f.await(f.topic, 0, 2, 10*time.Second)
	f.await(f.topic, 1, 1, 10*time.Second)
	for range 2 { // nothing changes
		a := f.ok(code.PeekMessage, ext(), nil)
		recs, err := wire.Records(a.Body)
		t.Must(err, "peeked messages")
		Equal(t, "messages", len(recs), 3)
		Equal(t, "rest", a.Ext["restNum"], "3")
		Equal(t, "pop time", a.Ext["popTime"], "0")
		Equal(t, "messages of one queue", f.bodies(f.ok(code.PeekMessage, ext("queueId", 0), nil)), "a0 a1")
		Equal(t, "one message", f.bodies(f.ok(code.PeekMessage, ext("queueId", 0, "maxMsgNums", 1), nil)), "a0")
	}
	a := f.pop("popped all the same", "a0 a1", "queueId", 0, "order", true)
	Equal(t, "ack", f.ack(a, 0), 0)
	Equal(t, "behind what is consumed", f.bodies(f.ok(code.PeekMessage, ext("queueId", 0), nil)), "a1")
	for what, c := range map[string]struct {
		want int32
		ext  map[string]string
	}{
		"no topic": {code.TopicNotExist, ext("topic", t.Name("No"))},
		"no queue": {code.InvalidParameter, ext("queueId", 2)},
	} {
		Equal(t, "peek, "+what, f.call(code.PeekMessage, c.ext, nil).Code, int(c.want))
	}
}

// requestModes has a consumer of the Java client change from pulling to popping and back while it runs.
func requestModes(t *T) {
	c := t.ownCluster(testkit.Props{"reviveInterval": "500"})
	t.javaProgram("PopOrder", c.namesrv, "modes", c.broker, c.brokerName, "JModes")
}

// fifoByGroup has two ordered poppers of the Java client consume messages of several groups, with failures, suspension and silence.
func fifoByGroup(t *T) {
	c := t.ownCluster(nil)
	t.javaProgram("PopOrder", c.namesrv, "fifo", c.broker, c.brokerName, "JFifo")
}
