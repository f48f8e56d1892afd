package conformance

import (
	"encoding/base64"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

var popCases = []Case{
	{Area: "consumption", Feature: "POP consumption", Own: true, Run: popConsumption, Limit: 8 * time.Minute},
	{Area: "consumption", Feature: "POP batch ack", Own: true, Run: popBatchAck, Limit: 3 * time.Minute},
	{Area: "consumption", Feature: "Change invisible time", Own: true, Run: changeInvisibleTime, Limit: 3 * time.Minute},
	{Area: "consumption", Feature: "POP in-flight limit", Own: true, Run: popLimit, Limit: 3 * time.Minute},
	{Area: "filtering", Feature: "POP with filter", Own: true, Run: popWithFilter, Limit: 4 * time.Minute},
}

// popMessage is a message that was popped, with what its client makes of the answer.
type popMessage struct {
	wire.Record
	text  string
	topic string // where it is; acks name it
	pop   *popAnswer
	start int64
	kind  string
}

type popAnswer struct {
	popTime, invisible, revive int64
}

// receipt is the handle of a message.
func (m *popMessage) receipt(broker string) string {
	return fmt.Sprintf("%d %d %d %d %s %s %d %d", m.start, m.pop.popTime, m.pop.invisible, m.pop.revive, m.kind, broker, m.QueueID, m.QueueOffset)
}

// popExt is the header of a pop; more pairs win over it.
func popExt(group, topic string, more ...any) map[string]string {
	ext := wire.Ext("consumerGroup", group, "topic", topic, "queueId", -1, "maxMsgNums", 32, "invisibleTime", 6000, "pollTime", 0,
		"bornTime", time.Now().UnixMilli(), "initMode", 0, "expType", "TAG", "exp", "*", "order", false)
	for k, v := range wire.Ext(more...) {
		ext[k] = v
	}
	return ext
}

// infos takes startOffsetInfo or msgOffsetInfo apart: kind@queue to offsets.
func (r *raw) infos(text string) map[string][]int64 {
	out := map[string][]int64{}
	if text == "" {
		return out
	}
	for _, part := range strings.Split(text, ";") {
		f := strings.Split(part, " ")
		if len(f) != 3 || out[f[0]+"@"+f[1]] != nil {
			r.t.Fatalf("offset info %q", text)
		}
		for _, s := range strings.Split(f[2], ",") {
			n, err := strconv.ParseInt(s, 10, 64)
			r.t.Must(err, "offset info %q", text)
			out[f[0]+"@"+f[1]] = append(out[f[0]+"@"+f[1]], n)
		}
	}
	return out
}

// pop pops once, and checks that the answer is whole: each message is in msgOffsetInfo, and each of those is a message.
func (r *raw) pop(group, topic string, more ...any) []popMessage {
	ext := popExt(group, topic, more...)
	f := r.call(code.PopMessage, ext, nil)
	if f.Code != int(code.Success) {
		if f.Code != int(code.PollingTimeout) {
			r.t.Fatalf("pop of %s: %v", topic, f)
		}
		return nil
	}
	a := &popAnswer{f.Int("popTime"), f.Int("invisibleTime"), f.Int("reviveQid")}
	if f.Remark != "FOUND" || strconv.FormatInt(a.invisible, 10) != ext["invisibleTime"] || a.popTime < time.Now().UnixMilli()-60_000 {
		r.t.Errorf("answer to a pop: %v", f)
	}
	starts, offsets := r.infos(f.Ext["startOffsetInfo"]), r.infos(f.Ext["msgOffsetInfo"])
	recs, err := wire.Records(f.Body)
	r.t.Must(err, "popped messages")
	var out []popMessage
	n := 0
	for _, list := range offsets {
		n += len(list)
	}
	for _, rec := range recs {
		m := popMessage{Record: rec, text: string(rec.Body), topic: topic, pop: a, kind: "0"}
		if ck := rec.Properties["POP_CK"]; ck != "" { // from a retry topic
			part := strings.Split(ck, " ")
			if len(part) != 8 {
				r.t.Fatalf("POP_CK %q", ck)
			}
			m.kind = part[4]
			m.topic = map[string]string{"1": "%RETRY%" + group + "_" + topic, "2": "%RETRY%" + group + "+" + topic}[m.kind]
			if m.topic == "" || rec.Topic != topic {
				r.t.Errorf("message of %s with POP_CK %q", rec.Topic, ck)
			}
		}
		key := m.kind + "@" + strconv.Itoa(int(rec.QueueID))
		if len(starts[key]) != 1 || !slices.Contains(offsets[key], rec.QueueOffset) {
			r.t.Fatalf("message %d of %s is not in %v, %v", rec.QueueOffset, key, starts, offsets)
		}
		m.start = starts[key][0]
		if ck := rec.Properties["POP_CK"]; ck != "" && !strings.HasPrefix(ck, fmt.Sprintf("%d %d %d %d %s ", m.start, a.popTime, a.invisible, a.revive, m.kind)) {
			r.t.Errorf("POP_CK %q of %+v, start %d", ck, a, m.start)
		}
		out = append(out, m)
	}
	if n != len(out) {
		r.t.Errorf("%d messages, msgOffsetInfo %q", len(out), f.Ext["msgOffsetInfo"])
	}
	return out
}

// popAll pops until there have been n messages.
func (r *raw) popAll(group, topic string, n int, limit time.Duration, more ...any) (all []popMessage) {
	r.t.Until(limit, fmt.Sprintf("%d messages popped", n), func() (bool, string) {
		all = append(all, r.pop(group, topic, more...)...)
		return len(all) >= n, fmt.Sprint(popTexts(all))
	})
	return all
}

func popTexts(ms []popMessage) string {
	var out []string
	for _, m := range ms {
		out = append(out, m.text)
	}
	sort.Strings(out)
	return strings.Join(out, " ")
}

func ackExt(group string, m *popMessage, broker string, more ...any) map[string]string {
	ext := wire.Ext("consumerGroup", group, "topic", m.topic, "queueId", m.QueueID, "extraInfo", m.receipt(broker), "offset", m.QueueOffset)
	for k, v := range wire.Ext(more...) {
		ext[k] = v
	}
	return ext
}

func (r *raw) ack(group, broker string, ms ...popMessage) {
	for i := range ms {
		r.ok(code.AckMessage, ackExt(group, &ms[i], broker), nil)
	}
}

// sendTexts sends one message for each text, to the queues in turn.
func (r *raw) sendTexts(topic string, queues int, texts ...string) {
	for i, s := range texts {
		r.send(message{topic: topic, queue: i % queues, body: []byte(s), properties: wire.Properties("TAGS", "tag"+s[:1], "UNIQ_KEY", "u"+s)})
	}
}

// popBroker is a cluster with its broker, and the broker's name.
func (t *T) popBroker(conf testkit.Props) (*cluster, *raw, string) {
	c := t.ownCluster(testkit.Props{"popFromRetryProbability": "50"}.With(conf))
	return c, t.dial(c.broker), c.brokerName
}

// popConsumption: what is popped is invisible, and back when its time is over; what is acknowledged never comes back.
func popConsumption(t *T) {
	for _, conf := range []testkit.Props{nil, {"enablePopBufferMerge": "true", "enableRetryTopicV2": "true"}} {
		popRoundTrip(t, conf)
	}
	popRefusals(t)
	c, b, _ := t.popBroker(nil)
	b.topic("JPop", topicConf{read: 4})
	b.topic("JPopPush", topicConf{read: 4})
	t.javaProgram("Pop", c.namesrv)
}

func popRoundTrip(t *T, conf testkit.Props) {
	_, b, name := t.popBroker(conf)
	topic, group := t.Name("pop"), t.Name("popgroup")
	b.topic(topic, topicConf{read: 2})
	b.group(group, "")
	b.sendTexts(topic, 2, "a", "b", "c", "d", "e", "f")
	first := b.popAll(group, topic, 6, 10*time.Second)
	if got := popTexts(first); got != "a b c d e f" {
		t.Fatalf("popped %s", got)
	}
	if more := b.pop(group, topic); more != nil {
		t.Fatalf("popped twice: %s", popTexts(more))
	}
	var kept []popMessage
	for _, m := range first {
		if m.ReconsumeTimes != 0 || m.Properties["1ST_POP_TIME"] != "" {
			t.Errorf("%+v", m.Record)
		}
		if m.text == "b" || m.text == "e" {
			kept = append(kept, m)
			continue
		}
		b.ack(group, name, m)
	}
	b.ack(group, name, first[0]) // once more; or too early for one that comes back, which then does not
	want := popTexts(slices.DeleteFunc(kept, func(m popMessage) bool { return m.text == first[0].text }))
	n := len(strings.Fields(want))
	back := b.popAll(group, topic, n, 60*time.Second)
	if got := popTexts(back); got != want {
		t.Fatalf("came back: %s, want %s", got, want)
	}
	for _, m := range back {
		if m.ReconsumeTimes != 1 || m.Properties["1ST_POP_TIME"] == "" || m.Properties["ORIGIN_GROUP"] != group || m.Properties["TAGS"] != "tag"+m.text ||
			m.Properties["UNIQ_KEY"] != "u"+m.text || m.kind == "0" {
			t.Errorf("revived %+v of kind %s", m.Record, m.kind)
		}
	}
	b.ack(group, name, back[1:]...)
	if conf != nil { // the rest is the same
		return
	}
	again := b.popAll(group, topic, 1, 60*time.Second)
	if got := popTexts(again); got != back[0].text || again[0].ReconsumeTimes != 2 || again[0].Properties["1ST_POP_TIME"] != back[0].Properties["1ST_POP_TIME"] {
		t.Fatalf("came back a second time: %s, want %s", got, back[0].text)
	}
	b.ack(group, name, again...)
	end := time.Now().Add(10 * time.Second)
	for time.Now().Before(end) {
		if more := b.pop(group, topic, "pollTime", 0); more != nil {
			t.Fatalf("acknowledged messages come back: %s", popTexts(more))
		}
		time.Sleep(300 * time.Millisecond)
	}
}

// popRefusals: codes and remarks of what is refused.
func popRefusals(t *T) {
	_, b, name := t.popBroker(testkit.Props{"autoCreateSubscriptionGroup": "false"})
	topic, group := t.Name("pop"), t.Name("popgroup")
	b.topic(topic, topicConf{read: 1})
	b.topic(topic+"w", topicConf{read: 1, perm: 2})
	b.group(group, "")
	b.group(group+"off", `,"consumeEnable":false`)
	b.sendTexts(topic, 1, "a")
	old := time.Now().UnixMilli() - 10_000
	for _, c := range []struct {
		what string
		want int32
		ext  map[string]string
	}{
		{"too late", code.PollingTimeout, popExt(group, topic, "bornTime", old)},
		{"33 messages", code.InvalidParameter, popExt(group, topic, "maxMsgNums", 33)},
		{"no topic", code.TopicNotExist, popExt(group, topic+"none")},
		{"topic not readable", code.NoPermission, popExt(group, topic+"w")},
		{"queue", code.InvalidParameter, popExt(group, topic, "queueId", 1)},
		{"no group", code.SubscriptionGroupNotExist, popExt(group+"none", topic)},
		{"group may not", code.NoPermission, popExt(group+"off", topic)},
		{"no messages wanted", code.PollingTimeout, popExt(group, topic, "maxMsgNums", 0)},
		{"nothing there", code.PollingTimeout, popExt(group, "TBW102")},
	} {
		if f := b.call(code.PopMessage, c.ext, nil); f.Code != int(c.want) {
			t.Errorf("pop, %s: %v, want code %d", c.what, f, c.want)
		}
	}
	m := b.popAll(group, topic, 1, 10*time.Second)[0]
	for _, req := range []int32{code.AckMessage, code.ChangeMessageInvisibleTime} {
		for _, c := range []struct {
			what string
			want int32
			more []any
		}{
			{"no topic", code.TopicNotExist, []any{"topic", topic + "none"}},
			{"queue", code.MessageIllegal, []any{"queueId", 1}},
			{"negative queue", code.MessageIllegal, []any{"queueId", -1}},
			{"offset beyond the end", code.NoMessage, []any{"offset", 2}},
			{"offset before the begin", code.NoMessage, []any{"offset", -1}},
			{"no receipt", code.SystemError, []any{"extraInfo", "x"}},
		} {
			ext := ackExt(group, &m, name, append([]any{"invisibleTime", 1000}, c.more...)...)
			if f := b.call(req, ext, nil); f.Code != int(c.want) {
				t.Errorf("request %d, %s: %v, want code %d", req, c.what, f, c.want)
			}
		}
	}
	b.want(code.NoMessage, code.BatchAckMessage, nil, nil)
	b.want(code.NoMessage, code.BatchAckMessage, nil, []byte(`{"acks":[],"brokerName":"x"}`))
	b.ack(group, name, m)
}

// popBatchAck: a list of acks in one request.
func popBatchAck(t *T) {
	for _, conf := range []testkit.Props{nil, {"enablePopBufferMerge": "true", "enablePopBatchAck": "true"}} {
		_, b, name := t.popBroker(conf)
		topic, group := t.Name("pop"), t.Name("popgroup")
		b.topic(topic, topicConf{read: 2})
		b.group(group, "")
		b.sendTexts(topic, 2, "a", "b", "c", "d", "e", "f", "g", "h")
		first := b.popAll(group, topic, 8, 10*time.Second)
		b.ok(code.BatchAckMessage, nil, batchOf(group, topic, name, slices.DeleteFunc(slices.Clone(first), func(m popMessage) bool { return m.text == "d" })))
		back := b.popAll(group, topic, 1, 60*time.Second)
		if got := popTexts(back); got != "d" {
			t.Fatalf("came back: %s", got)
		}
		b.ok(code.BatchAckMessage, nil, batchOf(group, topic, name, back)) // of the retry topic
		end := time.Now().Add(12 * time.Second)
		for time.Now().Before(end) {
			if more := b.pop(group, topic); more != nil {
				t.Fatalf("acknowledged messages come back: %s", popTexts(more))
			}
			time.Sleep(300 * time.Millisecond)
		}
	}
}

// batchOf is the body of a batch ack: an entry for each check point. Bits beyond the end of the queue are set too.
func batchOf(group, topic, broker string, ms []popMessage) []byte {
	var entries []string
	bits := map[string][]byte{}
	head := map[string]*popMessage{}
	for i := range ms {
		m := &ms[i]
		key := fmt.Sprint(m.kind, m.QueueID, m.start, m.pop.popTime)
		if bits[key] == nil {
			bits[key], head[key] = make([]byte, 9), m
			bits[key][8] = 1
		}
		n := m.QueueOffset - m.start
		bits[key][n/8] |= 1 << (n % 8)
	}
	for key, b := range bits {
		m := head[key]
		entries = append(entries, fmt.Sprintf(`{"b":%q,"c":%q,"it":%d,"pt":%d,"q":%d,"r":%q,"rq":%d,"so":%d,"t":%q}`,
			base64.StdEncoding.EncodeToString(b), group, m.pop.invisible, m.pop.popTime, m.QueueID, m.kind, m.pop.revive, m.start, topic))
	}
	return []byte(fmt.Sprintf(`{"acks":[%s],"brokerName":%q}`, strings.Join(entries, ","), broker))
}

// changeInvisibleTime: a message stays away for longer, or less long, and its old receipt is spent.
func changeInvisibleTime(t *T) {
	_, b, name := t.popBroker(nil)
	topic, group := t.Name("pop"), t.Name("popgroup")
	b.topic(topic, topicConf{read: 1})
	b.group(group, "")
	b.sendTexts(topic, 1, "a", "b", "c")
	first := b.popAll(group, topic, 3, 10*time.Second, "invisibleTime", 5000)
	sort.Slice(first, func(i, j int) bool { return first[i].text < first[j].text })
	change := func(m *popMessage, ms int64, suspend bool) {
		before := time.Now().UnixMilli()
		f := b.ok(code.ChangeMessageInvisibleTime, ackExt(group, m, name, "invisibleTime", ms, "suspend", suspend), nil)
		if f.Int("invisibleTime") != ms || f.Int("reviveQid") != m.pop.revive || f.Int("popTime") < before || f.Int("popTime") > time.Now().UnixMilli()+1 { // ours is one more in the millisecond of the pop
			t.Fatalf("answer to a change: %v", f)
		}
		m.pop, m.start = &popAnswer{f.Int("popTime"), f.Int("invisibleTime"), f.Int("reviveQid")}, m.QueueOffset
	}
	began := time.Now()
	change(&first[0], 20_000, false)
	change(&first[1], 2_000, true)
	change(&first[2], 2_000, false)
	b.ack(group, name, first[2]) // by the new receipt
	back := b.popAll(group, topic, 1, 60*time.Second, "invisibleTime", 60_000)
	if got := popTexts(back); got != "b" || back[0].ReconsumeTimes != 0 || time.Since(began) > 19*time.Second {
		t.Fatalf("came back: %s with %d after %s", got, back[0].ReconsumeTimes, time.Since(began))
	}
	late := b.popAll(group, topic, 1, 60*time.Second, "invisibleTime", 60_000)
	if got := popTexts(late); got != "a" || late[0].ReconsumeTimes != 1 || time.Since(began) < 19*time.Second {
		t.Fatalf("came back: %s with %d after %s", got, late[0].ReconsumeTimes, time.Since(began))
	}
	b.ack(group, name, append(back, late...)...)
}

// popLimit: a queue with too many messages out gives no more until some are acknowledged.
func popLimit(t *T) {
	_, b, name := t.popBroker(testkit.Props{"enablePopMessageThreshold": "true", "popInflightMessageThreshold": "3"})
	topic, group := t.Name("pop"), t.Name("popgroup")
	b.topic(topic, topicConf{read: 1})
	b.group(group, "")
	b.sendTexts(topic, 1, "a", "b", "c", "d", "e", "f", "g")
	more := []any{"queueId", 0, "maxMsgNums", 2, "invisibleTime", 60_000}
	first := b.popAll(group, topic, 4, 10*time.Second, more...)
	for range 5 {
		if m := b.pop(group, topic, more...); m != nil {
			t.Fatalf("popped %s although %s is out", popTexts(m), popTexts(first))
		}
	}
	b.ack(group, name, first[:1]...)
	if got := popTexts(b.popAll(group, topic, 2, 10*time.Second, more...)); got != "e f" {
		t.Fatalf("popped %s", got)
	}
	if m := b.pop(group, topic, more...); m != nil {
		t.Fatalf("popped %s although five are out", popTexts(m))
	}
}

// popWithFilter: what a pop does not want is passed over, the first time and when it comes back.
func popWithFilter(t *T) {
	_, b, name := t.popBroker(testkit.Props{"enablePropertyFilter": "true"})
	topic := t.Name("pop")
	b.topic(topic, topicConf{read: 1})
	for i := range 20 {
		b.send(message{topic: topic, body: []byte(fmt.Sprintf("%02d", i)), properties: wire.Properties("TAGS", "t"+strconv.Itoa(i%3), "n", strconv.Itoa(i))})
	}
	for _, c := range []struct{ kind, exp, want string }{
		{"TAG", "t1", "01 04 07 10 13 16 19"},
		{"TAG", "t0 || t2", "00 02 03 05 06 08 09 11 12 14 15 17 18"},
		{"SQL92", "n > 15 AND n <> 18", "16 17 19"},
		{"SQL92", "TAGS = 't1' AND n BETWEEN 3 AND 11", "04 07 10"},
		{"", "*", "00 01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17 18 19"},
		{"TAG", "", "00 01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17 18 19"},
	} {
		group := t.Name("popgroup")
		b.group(group, "")
		more := []any{"expType", c.kind, "exp", c.exp, "invisibleTime", 4000}
		n := len(strings.Fields(c.want))
		first := b.popAll(group, topic, n, 20*time.Second, more...)
		if got := popTexts(first); got != c.want {
			t.Fatalf("%s %s: popped %s", c.kind, c.exp, got)
		}
		b.ack(group, name, first[1:]...)
		back := b.popAll(group, topic, 1, 60*time.Second, more...)
		if got := popTexts(back); got != first[0].text {
			t.Fatalf("%s %s: came back: %s", c.kind, c.exp, got)
		}
		b.ack(group, name, back...)
		f := b.ok(code.QueryConsumerOffset, wire.Ext("consumerGroup", group, "topic", topic, "queueId", 0), nil)
		if f.Int("offset") != 20 {
			t.Errorf("%s %s: offset %d", c.kind, c.exp, f.Int("offset"))
		}
	}
	for _, exp := range []string{"n >", "n > 'a", "BETWEEN"} {
		b.want(code.SubscriptionParseFailed, code.PopMessage, popExt("popgroup_bad", topic, "expType", "SQL92", "exp", exp), nil)
	}
	b.want(code.SubscriptionParseFailed, code.PopMessage, popExt("popgroup_bad", topic, "expType", "XPATH", "exp", "n"), nil)
}
