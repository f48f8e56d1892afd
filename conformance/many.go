package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

// Cases of many requests, connections or things at once.

// together makes sends that reach the broker in one piece, and returns their answers.
func (r *raw) together(msgs ...message) []*wire.Frame {
	reqs := make([]wire.Request, len(msgs))
	for i, m := range msgs {
		reqs[i] = wire.Request{Code: int(code.SendMessageV2), Ext: m.short(), Body: m.filled().body}
	}
	answers, err := r.Together(reqs...)
	r.t.Must(err, "%d sends in one piece", len(msgs))
	return answers
}

func manyInOnePiece(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("Many")
	b.topic(topic, topicConf{})
	var msgs []message
	for i := range 200 {
		m := message{topic: topic, body: []byte(fmt.Sprint("m", i))}
		if i%10 == 9 {
			m.topic = "bad topic" // refused, and its neighbours are not
		}
		msgs = append(msgs, m)
	}
	at := map[int64]string{}
	for i, f := range b.together(msgs...) {
		if msgs[i].topic != topic {
			Equal(t, "answer to a send that is refused", f.Code != 0 && f.Remark != "", true)
			continue
		}
		Equal(t, "answer to a send", f.Code, 0)
		at[f.Int("queueOffset")] = string(msgs[i].body)
	}
	Equal(t, "offsets", len(at), 180)
	recs := b.await(topic, 0, 180, 10*time.Second)
	for i, rec := range recs {
		Equal(t, fmt.Sprint("body at ", i, ", and of the send that was told so"), string(rec.Body), at[int64(i)])
	}
	// Messages may share a store time; they are in order all the same, and the first and the last of a time are found.
	for i, rec := range recs {
		first := slices.IndexFunc(recs, func(r wire.Record) bool { return r.StoreTime >= rec.StoreTime })
		last := first
		for last+1 < len(recs) && recs[last+1].StoreTime == rec.StoreTime {
			last++
		}
		if i < first || i > last {
			t.Fatalf("store time of message %d is %d; messages %d to %d have it", i, rec.StoreTime, first, last)
		}
		if i != first {
			continue
		}
		for bound, want := range map[string]int{"lower": first, "upper": last} {
			f := b.ok(code.SearchOffsetByTimestamp, wire.Ext("topic", topic, "queueId", 0, "timestamp", rec.StoreTime, "boundaryType", bound), nil)
			Equal(t, fmt.Sprintf("%s bound of the time of messages %d to %d", bound, first, last), f.Int("offset"), int64(want))
		}
	}
}

func connectUnderTraffic(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("Traffic")
	b.topic(topic, topicConf{read: 4})
	stop, ended := make(chan struct{}), make(chan error, 4)
	for q := range 4 {
		c := t.dial(t.shared.broker)
		one := message{topic: topic, queue: q}
		reqs := make([]wire.Request, 32)
		for i := range reqs {
			reqs[i] = wire.Request{Code: int(code.SendMessageV2), Ext: one.short(), Body: one.filled().body}
		}
		go func() {
			for {
				select {
				case <-stop:
					ended <- nil
					return
				default:
				}
				if _, err := c.Together(reqs...); err != nil {
					ended <- err
					return
				}
			}
		}()
	}
	for i := range 40 {
		c, err := wire.Dial(t.shared.broker)
		t.Must(err, "connection %d", i)
		f, err := c.Call(int(code.GetMaxOffset), wire.Ext("topic", topic, "queueId", i%4), nil)
		t.Must(err, "first request of connection %d", i)
		Equal(t, "its answer", f.Code, 0)
		c.Close()
	}
	close(stop)
	for range 4 {
		t.Must(<-ended, "sends meanwhile")
	}
}

func manyHeldPulls(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("Held")
	b.topic(topic, topicConf{})
	var waits []<-chan *wire.Frame
	for range 20 {
		wait, err := t.dial(t.shared.broker).Begin(int(code.PullMessage),
			pullExt(t.Name("G"), topic, 0, 0, "sysFlag", pullSub|pullSuspend, "suspendTimeoutMillis", 30000), nil)
		t.Must(err, "pull")
		waits = append(waits, wait)
	}
	b.send(message{topic: topic, body: []byte("for all")})
	deadline := time.After(20 * time.Second) // before the pulls end by themselves
	for i, wait := range waits {
		select {
		case f := <-wait:
			Equal(t, "answer", f.Code, 0)
			recs, err := wire.Records(f.Body)
			t.Must(err, "messages")
			Equal(t, "body", string(recs[0].Body), "for all")
		case <-deadline:
			t.Fatalf("pull %d of %d is not woken by the message", i+1, len(waits))
		}
	}
}

func manyGroups(t *T) {
	b, proxy := t.dial(t.shared.broker), t.dial(t.shared.broker)
	topic := t.Name("Groups")
	b.topic(topic, topicConf{})
	groups := make([]string, 20)
	for i := range groups {
		groups[i] = t.Name("G")
	}
	beat := func(expression string, version int64) {
		var all []string
		for _, g := range groups {
			all = append(all, consumerJSON(g, topic, expression, version))
		}
		proxy.ok(code.HeartBeat, nil, heartbeat("proxy", strings.Join(all, ","), ""))
	}
	members := func(group string) *wire.Frame {
		return b.call(code.GetConsumerListByGroup, wire.Ext("consumerGroup", group), nil)
	}
	for _, row := range []struct {
		expression string
		version    int64
		want       string
	}{{"one", 1, "one"}, {"one", 1, "one"}, {"two", 2, "two"}, {"old", 1, "two"}} {
		beat(row.expression, row.version)
		for _, g := range groups {
			v := b.json(code.GetConsumerConnectionList, wire.Ext("consumerGroup", g), nil)
			list, _ := wire.At(v, "connectionSet").([]any)
			Equal(t, "connections", len(list), 1)
			Equal(t, "subscription", fmt.Sprint(wire.At(v, "subscriptionTable", topic, "subString")), row.want)
		}
	}
	proxy.ok(code.UnregisterClient, wire.Ext("clientID", "proxy", "consumerGroup", groups[7]), nil)
	Equal(t, "list of the group that was left", members(groups[7]).Code, int(code.SystemError))
	Equal(t, "list of another", members(groups[8]).Code, 0)
	proxy.Close()
	t.Until(20*time.Second, "every group empty", func() (bool, string) {
		for _, g := range groups {
			if f := members(g); f.Code == 0 {
				return false, fmt.Sprint(g, " has ", string(f.Body))
			}
		}
		return true, ""
	})
}

// createdSurvive: a topic or group that was created is in a file when that is answered.
func createdSurvive(t *T) {
	c := t.ownCluster(nil)
	b := t.dial(c.broker)
	var topics, groups []string
	for range 10 {
		topics, groups = append(topics, t.Name("Kept")), append(groups, t.Name("G"))
		b.topic(topics[len(topics)-1], topicConf{read: 3})
		b.group(groups[len(groups)-1], `,"retryMaxTimes":5`)
	}
	t.Must(c.brokerServer().Kill(), "kill the broker")
	t.Must(c.brokerServer().Restart(nil), "start it again")
	b = t.dial(c.broker)
	table := wire.At(b.json(code.GetAllSubscriptionGroupConfig, nil, nil), "subscriptionGroupTable")
	for i := range topics {
		v := b.json(code.GetTopicConfig, wire.Ext("topic", topics[i]), nil)
		Equal(t, "queues of topic "+topics[i], wire.Num(wire.At(v, "readQueueNums")), "3")
		Equal(t, "tries of group "+groups[i], wire.Num(wire.At(table, groups[i], "retryMaxTimes")), "5")
	}
}

// nothingReserved: with fileReservedTime=0 all files but the one that is written are old, whatever their time.
func nothingReserved(t *T) {
	c := t.ownCluster(testkit.Props{
		"mappedFileSizeCommitLog": "65536", "fileReservedTime": "0", "mappedFileSizeConsumeQueue": "600", "deleteWhen": everyHour, "cleanResourceInterval": "1000",
	})
	b := t.dial(c.broker)
	topic := t.Name("Short")
	b.topic(topic, topicConf{})
	var last *wire.Frame
	for i := range 20 {
		last = b.send(message{topic: topic, body: []byte(strings.Repeat(fmt.Sprint(i, " "), 4000))})
	}
	_, at, err := wire.OffsetID(last.Ext["msgId"])
	t.Must(err, "position of the last message")
	want := fmt.Sprintf("%020d", at/65536*65536)
	log := filepath.Join(testkit.StoreDir(c.brokerServer()), "commitlog")
	t.Until(150*time.Second, "all files gone but the last", func() (bool, string) {
		left, err := os.ReadDir(log)
		t.Must(err, "list the commit log")
		return left[0].Name() == want, fmt.Sprint("first file ", left[0].Name(), ", last message in ", want)
	})
	t.Until(20*time.Second, "the queue's first message moved", func() (bool, string) {
		lowest := b.call(code.GetMinOffset, wire.Ext("topic", topic, "queueId", 0), nil).Int("offset")
		return lowest > 0 && len(b.records(topic, 0, lowest)) == 20-int(lowest), fmt.Sprint("min offset ", lowest)
	})
}
