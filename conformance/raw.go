package conformance

import (
	"fmt"
	"strings"
	"time"

	"apogee/conformance/wire"
	"apogee/remoting/code"
)

// raw is a connection for raw frames that fails its case when there is no answer.
type raw struct {
	*wire.Conn
	t *T
}

func (t *T) dial(addr string) *raw {
	c, err := wire.Dial(addr)
	t.Must(err, "connect to %s", addr)
	t.Cleanup(c.Close)
	return &raw{c, t}
}

// call makes a request; any answer will do.
func (r *raw) call(c int32, ext map[string]string, body []byte) *wire.Frame {
	f, err := r.Call(int(c), ext, body)
	r.t.Must(err, "request %d %v", c, ext)
	return f
}

// ok makes a request that must succeed.
func (r *raw) ok(c int32, ext map[string]string, body []byte) *wire.Frame {
	return r.want(code.Success, c, ext, body)
}

// want makes a request that must be answered with a code.
func (r *raw) want(answer, c int32, ext map[string]string, body []byte) *wire.Frame {
	f := r.call(c, ext, body)
	if f.Code != int(answer) {
		r.t.Fatalf("request %d %v: answer %v, want code %d", c, ext, f, answer)
	}
	return f
}

// json makes a request that must succeed and reads its answer's body.
func (r *raw) json(c int32, ext map[string]string, body []byte) any {
	f := r.ok(c, ext, body)
	v, err := wire.Loose(f.Body)
	r.t.Must(err, "body of the answer to %d", c)
	return v
}

// topicConf is what a topic is made of; zero fields take usual values.
type topicConf struct {
	read, write, perm int
	order             bool
	attributes        string
	sysFlag           int
}

// topic creates a topic at the broker; it is at the name servers when this returns.
func (r *raw) topic(name string, c topicConf) {
	if c.read == 0 {
		c.read = 1
	}
	if c.write == 0 {
		c.write = c.read
	}
	if c.perm == 0 {
		c.perm = 6
	}
	ext := wire.Ext("topic", name, "defaultTopic", "TBW102", "readQueueNums", c.read, "writeQueueNums", c.write, "perm", c.perm,
		"topicFilterType", "SINGLE_TAG", "topicSysFlag", c.sysFlag, "order", c.order)
	if c.attributes != "" {
		ext["attributes"] = c.attributes
	}
	r.ok(code.UpdateAndCreateTopic, ext, nil)
}

// group creates a consumer group; more are JSON members besides the name, such as `,"consumeEnable":false`.
func (r *raw) group(name, more string) {
	r.ok(code.UpdateAndCreateSubscriptionGroup, nil, []byte(fmt.Sprintf(
		`{"groupName":%q,"brokerId":0,"consumeBroadcastEnable":true,"consumeFromMinEnable":true,"notifyConsumerIdsChangedEnable":true,`+
			`"retryMaxTimes":16,"retryQueueNums":1,"whichBrokerWhenConsumeSlowly":1%s}`, name, more)))
}

// message is a send by raw frame.
type message struct {
	topic      string
	queue      int
	body       []byte
	properties string
	sysFlag    int
	flag       int
	reconsume  int
	group      string
	queueNums  int
	batch      bool
	born       int64
}

func (m message) long() map[string]string {
	m = m.filled()
	return wire.Ext("producerGroup", m.group, "topic", m.topic, "defaultTopic", "TBW102", "defaultTopicQueueNums", m.queueNums,
		"queueId", m.queue, "sysFlag", m.sysFlag, "bornTimestamp", m.born, "flag", m.flag, "properties", m.properties,
		"reconsumeTimes", m.reconsume, "unitMode", false, "batch", m.batch)
}

func (m message) short() map[string]string {
	m = m.filled()
	return wire.Ext("a", m.group, "b", m.topic, "c", "TBW102", "d", m.queueNums, "e", m.queue, "f", m.sysFlag, "g", m.born,
		"h", m.flag, "i", m.properties, "j", m.reconsume, "k", false, "m", m.batch)
}

func (m message) filled() message {
	if m.group == "" {
		m.group = "conformance_producer"
	}
	if m.queueNums == 0 {
		m.queueNums = 4
	}
	if m.born == 0 {
		m.born = time.Now().UnixMilli()
	}
	if m.body == nil { // the reference does not survive a send without a body
		m.body = []byte("x")
	}
	return m
}

// send sends with compact names and must succeed.
func (r *raw) send(m message) *wire.Frame {
	return r.ok(code.SendMessageV2, m.short(), m.filled().body)
}

// trySend sends with compact names; any answer will do.
func (r *raw) trySend(m message) *wire.Frame {
	return r.call(code.SendMessageV2, m.short(), m.filled().body)
}

// pull flags
const (
	pullCommit  = 1
	pullSuspend = 2
	pullSub     = 4
)

// pullExt is the header of a pull with a subscription in it; more pairs win over it.
func pullExt(group, topic string, queue int, offset int64, more ...any) map[string]string {
	ext := wire.PullExt(group, topic, queue, offset)
	for k, v := range wire.Ext(more...) {
		ext[k] = v
	}
	return ext
}

// records pulls what a queue has from an offset on; it stops at the first answer without messages.
func (r *raw) records(topic string, queue int, offset int64) []wire.Record {
	var out []wire.Record
	for {
		f := r.call(code.PullMessage, pullExt("conformance_reader", topic, queue, offset), nil)
		if f.Code != int(code.Success) {
			return out
		}
		recs, err := wire.Records(f.Body)
		r.t.Must(err, "messages of %s/%d at %d", topic, queue, offset)
		out, offset = append(out, recs...), f.Int("nextBeginOffset")
	}
}

// await pulls until a queue has n messages.
func (r *raw) await(topic string, queue, n int, limit time.Duration) []wire.Record {
	var got []wire.Record
	r.t.Until(limit, fmt.Sprintf("%d messages in %s/%d", n, topic, queue), func() (bool, string) {
		got = r.records(topic, queue, 0)
		return len(got) >= n, fmt.Sprintf("%d are there", len(got))
	})
	return got
}

// one sends a message and reads it back as stored.
func (r *raw) one(m message) wire.Record {
	f := r.send(m)
	off := f.Int("queueOffset")
	var rec wire.Record
	r.t.Until(10*time.Second, "message readable", func() (bool, string) {
		recs := r.records(m.topic, int(f.Int("queueId")), off)
		if len(recs) == 0 {
			return false, "nothing at its offset"
		}
		rec = recs[0]
		return true, ""
	})
	return rec
}

// route is the answer of a name server, with quoted keys.
func (r *raw) route(topic string) any {
	f := r.want(code.Success, code.GetRouteInfoByTopic, wire.Ext("topic", topic, "acceptStandardJsonOnly", true), nil)
	v, err := wire.Loose(f.Body)
	r.t.Must(err, "route of %s", topic)
	return v
}

// queueData is the queue data of one broker in a route; nil if the broker is not in it.
func queueData(route any, broker string) map[string]any {
	list, _ := wire.At(route, "queueDatas").([]any)
	for _, q := range list {
		if wire.At(q, "brokerName") == broker {
			return q.(map[string]any)
		}
	}
	return nil
}

// consumerJSON is the JSON of one group in a heartbeat.
func consumerJSON(group, topic, expression string, version int64) string {
	tags, codes := "", ""
	if expression != "*" {
		for i, tag := range strings.Split(expression, "||") {
			tag = strings.TrimSpace(tag)
			if i > 0 {
				tags, codes = tags+",", codes+","
			}
			tags += fmt.Sprintf("%q", tag)
			codes += fmt.Sprint(javaHash(tag))
		}
	}
	return fmt.Sprintf(`{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":%q,`+
		`"messageModel":"CLUSTERING","subscriptionDataSet":[{"classFilterMode":false,"codeSet":[%s],"expressionType":"TAG",`+
		`"subString":%q,"subVersion":%d,"tagsSet":[%s],"topic":%q}],"unitMode":false}`, group, codes, expression, version, tags, topic)
}

// heartbeat is the body of a heartbeat with one consumer group (or none).
func heartbeat(client, consumers string, more string) []byte {
	return []byte(fmt.Sprintf(`{"clientID":%q,"consumerDataSet":[%s],"producerDataSet":[]%s}`, client, consumers, more))
}

// javaHash is String.hashCode.
func javaHash(s string) int32 {
	var h int32
	for _, u := range utf16s(s) {
		h = 31*h + int32(u)
	}
	return h
}
