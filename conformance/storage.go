package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

var storageCases = []Case{
	{Area: "storage", Feature: "Commit log + consume queue files identical layout", Own: true, Run: bothWays, Limit: 10 * time.Minute},
	{Area: "storage", Feature: "Sync and async flush", Own: true, Run: flushModes, Limit: 2 * time.Minute},
	{Area: "storage", Feature: "Crash recovery with abort file", Own: true, Run: crashRecovery, Limit: 2 * time.Minute},
	{Area: "storage", Feature: "Expired file deletion at deleteWhen hour", Own: true, Run: expiredFiles, Limit: 4 * time.Minute},
	{Area: "storage", Feature: "Deletion at once with fileReservedTime=0", Own: true, Run: nothingReserved, Limit: 4 * time.Minute},
	{Area: "storage", Feature: "Query by key (index)", Run: queryByKey},
	{Area: "storage", Feature: "Query by unique key", Run: queryByUniqueKey},
	{Area: "storage", Feature: "View by offset id", Run: viewByID},
	{Area: "storage", Feature: "Search offset by timestamp with bound", Run: offsetByTime},
	{Area: "storage", Feature: "Earliest store time", Run: earliestTime},
}

// content is what a broker serves of some topics, in a form that can be compared.
func content(b *raw, topics ...string) map[string]string {
	out := map[string]string{}
	for _, topic := range topics {
		for q := range 4 {
			key := fmt.Sprint(topic, "/", q)
			out[key+" range"] = fmt.Sprint(b.call(code.GetMinOffset, wire.Ext("topic", topic, "queueId", q), nil).Int("offset"), "..",
				b.call(code.GetMaxOffset, wire.Ext("topic", topic, "queueId", q), nil).Int("offset"))
			for _, rec := range b.records(topic, q, 0) {
				out[fmt.Sprint(key, " ", rec.QueueOffset)] = string(rec.Raw)
			}
		}
		for _, key := range []string{"k1", "k7"} {
			f := b.call(code.QueryMessage, wire.Ext("topic", topic, "key", key, "maxNum", 32, "beginTimestamp", 0, "endTimestamp", int64(1)<<62), nil)
			recs, err := wire.Records(f.Body)
			b.t.Must(err, "hits of %s in %s", key, topic)
			for _, rec := range recs {
				out[fmt.Sprint(topic, " key ", key, " at ", rec.Physical)] = string(rec.Raw)
			}
		}
	}
	return out
}

func compareContent(t *T, what string, got, want map[string]string) {
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s: %s is %.80q, was %.80q", what, k, got[k], v)
			return
		}
	}
	Equal(t, what+": number of facts", len(got), len(want))
}

// fillStore sends something of every kind that a directory keeps and returns the topics.
func fillStore(t *T, b *raw, tag string) []string {
	plain, group := t.Name("Plain"+tag), t.Name("G")
	retry := "%RETRY%" + group
	b.topic(plain, topicConf{read: 4})
	b.group(group, `,"retryMaxTimes":5`)
	for i := range 40 {
		b.send(message{
			topic: plain, queue: i % 4, body: []byte(strings.Repeat(fmt.Sprint("body ", i, " "), 1+i*7)), flag: i,
			properties: wire.Properties("KEYS", fmt.Sprint("k", i), "TAGS", fmt.Sprint("tag", i%3), "UNIQ_KEY", fmt.Sprintf("%s%030d", tag, i), "ä", "ö"),
		})
	}
	b.ok(code.SendBatchMessage, message{topic: plain, batch: true}.short(),
		wire.Batch(wire.BatchItem{Body: []byte("b1"), Properties: wire.Properties("KEYS", "k1")}, wire.BatchItem{Body: []byte("b2")}))
	b.send(message{topic: retry, body: []byte("in a retry topic"), properties: wire.Properties("RETRY_TOPIC", plain)})
	b.ok(code.UpdateConsumerOffset, wire.Ext("consumerGroup", group, "topic", plain, "queueId", 2, "commitOffset", 4), nil)
	return []string{plain, retry}
}

// bothWays has each implementation read, and go on with, what the other one wrote.
func bothWays(t *T) {
	sameLayout(t)
	goOnElsewhere(t)
}

func sameLayout(t *T) {
	target := t.needTarget()
	other, err := counterpart(target)
	if err != nil {
		t.Skipf("no directory went from one implementation to the other: %v; run it where both are", err)
	}
	dir := filepath.Join(t.tempDir(), "store-of-both")
	conf := baseConf("both-a").With(testkit.Props{"mappedFileSizeCommitLog": "65536", "mappedFileSizeConsumeQueue": "600", "maxHashSlotNum": "500", "maxIndexNum": "40"})
	var topics []string
	var want map[string]string
	for i, impl := range []testkit.Target{target, other, target} {
		s, err := impl.Broker(dir, "127.0.0.1:1", conf) // a name server that is not there: nothing depends on it
		t.Must(err, "start %s on the directory", impl.Name())
		stopped := false
		t.Cleanup(func() {
			if !stopped {
				_ = s.Stop()
			}
		})
		conf["listenPort"] = strings.TrimPrefix(s.Addr(), "127.0.0.1:") // the same host in every record
		b := t.dial(s.Addr())
		if i > 0 {
			t.Until(20*time.Second, "directory read", func() (bool, string) {
				got := content(b, topics...)
				return len(got) >= len(want), fmt.Sprint(len(got), " of ", len(want), " facts")
			})
			compareContent(t, impl.Name()+" on what was there", content(b, topics...), want)
		}
		topics = append(topics, fillStore(t, b, fmt.Sprintf("%c", 'a'+i))...)
		b.await(topics[len(topics)-2], 0, 12, 10*time.Second)
		b.await(topics[len(topics)-1], 0, 1, 10*time.Second)
		want = content(b, topics...)
		b.Close()
		t.Must(s.Stop(), "stop %s", impl.Name())
		stopped = true
	}
}

// counterpart is the other implementation.
func counterpart(target testkit.Target) (testkit.Target, error) {
	if target.Name() == "apogee" {
		return testkit.FindJava()
	}
	bin, err := testkit.Binary()
	return testkit.Apogee{Bin: bin}, err
}

func flushModes(t *T) {
	for _, mode := range []string{"SYNC_FLUSH", "ASYNC_FLUSH"} {
		c := t.ownCluster(testkit.Props{"flushDiskType": mode})
		b := t.dial(c.broker)
		topic := t.Name("Flush")
		b.topic(topic, topicConf{})
		p := t.producer(c)
		for i := range 20 {
			t.sendSync(p, message1(topic, fmt.Sprint("m", i)))
		}
		// WAIT=false does not wait for the disk.
		b.send(message{topic: topic, body: []byte("unwaited"), properties: wire.Properties("WAIT", "false")})
		b.await(topic, 0, 21, 10*time.Second)
		t.Must(c.brokerServer().Kill(), "kill the broker")
		t.Must(c.brokerServer().Restart(nil), "start it again")
		recs := t.dial(c.broker).await(topic, 0, 20, 10*time.Second)
		for i := range 20 {
			Equal(t, mode+": body", string(recs[i].Body), fmt.Sprint("m", i))
		}
		t.Must(c.brokerServer().Stop(), "stop the broker")
	}
}

func crashRecovery(t *T) {
	c := t.ownCluster(testkit.Props{"flushDiskType": "SYNC_FLUSH"})
	b := t.dial(c.broker)
	abort := filepath.Join(testkit.StoreDir(c.brokerServer()), "abort")
	if _, err := os.Stat(abort); err != nil {
		t.Errorf("no abort file while the broker runs: %v", err)
	}
	topics := fillStore(t, b, "x")
	b.await(topics[0], 0, 12, 10*time.Second)
	b.await(topics[1], 0, 1, 10*time.Second)
	want := content(b, topics...)
	t.Must(c.brokerServer().Kill(), "kill the broker")
	if _, err := os.Stat(abort); err != nil {
		t.Errorf("no abort file after kill -9: %v", err)
	}
	t.Must(c.brokerServer().Restart(nil), "start it again")
	b = t.dial(c.broker)
	t.Until(20*time.Second, "queues rebuilt", func() (bool, string) {
		got := content(b, topics...)
		return len(got) >= len(want), fmt.Sprint(len(got), " of ", len(want), " facts")
	})
	compareContent(t, "after the crash", content(b, topics...), want)
	f := b.send(message{topic: topics[0], queue: 1, body: []byte("after")})
	Equal(t, "queue offset of the next message", f.Int("queueOffset"), 10)
	t.Must(c.brokerServer().Stop(), "stop it")
	if _, err := os.Stat(abort); err == nil {
		t.Errorf("abort file is there after a clean stop")
	}
}

// everyHour is a deleteWhen for which it is always time.
const everyHour = "00;01;02;03;04;05;06;07;08;09;10;11;12;13;14;15;16;17;18;19;20;21;22;23"

func expiredFiles(t *T) {
	conf := testkit.Props{
		"mappedFileSizeCommitLog": "65536", "fileReservedTime": "1", "mappedFileSizeConsumeQueue": "600",
		"deleteWhen": everyHour, "cleanResourceInterval": "1000",
	}
	c := t.ownCluster(conf)
	b := t.dial(c.broker)
	topic := t.Name("Old")
	b.topic(topic, topicConf{})
	for i := range 40 {
		b.send(message{topic: topic, body: []byte(strings.Repeat(fmt.Sprint(i, " "), 2000))})
	}
	total := len(b.await(topic, 0, 40, 10*time.Second))
	log := filepath.Join(testkit.StoreDir(c.brokerServer()), "commitlog")
	files, err := os.ReadDir(log)
	t.Must(err, "list the commit log")
	old := time.Now().Add(-2 * time.Hour)
	for _, f := range files[:2] {
		t.Must(os.Chtimes(filepath.Join(log, f.Name()), old, old), "make a file old")
	}
	t.Until(150*time.Second, "two old files gone and the queue's first message moved", func() (bool, string) {
		left, err := os.ReadDir(log)
		t.Must(err, "list the commit log")
		lowest := b.call(code.GetMinOffset, wire.Ext("topic", topic, "queueId", 0), nil).Int("offset")
		first := left[0].Name()
		return first == files[2].Name() && lowest > 0, fmt.Sprint("first file ", first, ", min offset ", lowest)
	})
	lowest := b.call(code.GetMinOffset, wire.Ext("topic", topic, "queueId", 0), nil).Int("offset")
	f := b.want(code.PullOffsetMoved, code.PullMessage, pullExt(t.Name("G"), topic, 0, 0), nil)
	Equal(t, "pull at 0 is sent to the first message", f.Int("nextBeginOffset"), lowest)
	Equal(t, "messages left", len(b.records(topic, 0, lowest)), total-int(lowest))
}

func query(b *raw, topic, key string, more ...any) (*wire.Frame, []wire.Record) {
	ext := wire.Ext("topic", topic, "key", key, "maxNum", 32, "beginTimestamp", 0, "endTimestamp", time.Now().Add(time.Hour).UnixMilli())
	for k, v := range wire.Ext(more...) {
		ext[k] = v
	}
	f := b.call(code.QueryMessage, ext, nil)
	recs, err := wire.Records(f.Body)
	b.t.Must(err, "hits of %s", key)
	return f, recs
}

// hits waits until a query finds n messages: the index may be a moment behind.
func hits(b *raw, n int, topic, key string, more ...any) []wire.Record {
	var recs []wire.Record
	b.t.Until(15*time.Second, fmt.Sprintf("%d hits of %s", n, key), func() (bool, string) {
		_, recs = query(b, topic, key, more...)
		return len(recs) == n, fmt.Sprint(len(recs))
	})
	return recs
}

func queryByKey(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("Index")
	b.topic(topic, topicConf{})
	p := t.producer(t.shared)
	for i := range 6 {
		t.sendSync(p, message1(topic, fmt.Sprint("m", i)).WithKeys([]string{fmt.Sprint("order-", i%3), "all"}))
	}
	recs := hits(b, 2, topic, "order-1")
	bodies := string(recs[0].Body) + string(recs[1].Body)
	if bodies != "m1m4" && bodies != "m4m1" {
		t.Errorf("hits of order-1 are %s", bodies)
	}
	hits(b, 6, topic, "all")
	hits(b, 4, topic, "all", "maxNum", 4)
	f, _ := query(b, topic, "absent")
	Equal(t, "answer when nothing is found", f.Code, int(code.QueryNotFound))
	f, _ = query(b, topic, "order-1", "endTimestamp", 1000)
	Equal(t, "answer outside the time range", f.Code, int(code.QueryNotFound))
	if f.Int("indexLastUpdatePhyoffset") < 0 || f.Int("indexLastUpdateTimestamp") < 0 {
		t.Errorf("answer says nothing of the index: %v", f)
	}
}

func queryByUniqueKey(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("Unique")
	b.topic(topic, topicConf{})
	res := t.sendSync(t.producer(t.shared), message1(topic, "once"))
	rec := hits(b, 1, topic, res.MsgID, "_UNIQUE_KEY_QUERY", true)[0]
	Equal(t, "body", string(rec.Body), "once")
	Equal(t, "unique key", rec.Properties["UNIQ_KEY"], res.MsgID)
}

func viewByID(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("View")
	b.topic(topic, topicConf{})
	res := t.sendSync(t.producer(t.shared), message1(topic, "seen"))
	host, at, err := wire.OffsetID(res.OffsetMsgID)
	t.Must(err, "offset id")
	f := t.dial(host.String()).ok(code.ViewMessageByID, wire.Ext("offset", at, "topic", topic), nil)
	rec, err := wire.ParseRecord(f.Body)
	t.Must(err, "message")
	Equal(t, "body", string(rec.Body), "seen")
	Equal(t, "position", rec.Physical, at)
	b.want(code.SystemError, code.ViewMessageByID, wire.Ext("offset", int64(1)<<50), nil)
}

func offsetByTime(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("Time")
	b.topic(topic, topicConf{})
	for i := range 4 {
		b.send(message{topic: topic, body: []byte(fmt.Sprint("m", i))})
		// Different store times: wait until the clock has gone on by a few milliseconds.
		end := time.Now().Add(5 * time.Millisecond)
		t.Until(time.Second, "clock", func() (bool, string) { return time.Now().After(end), "" })
	}
	recs := b.await(topic, 0, 4, 10*time.Second)
	search := func(ms int64, more ...any) int64 {
		ext := wire.Ext("topic", topic, "queueId", 0, "timestamp", ms)
		for k, v := range wire.Ext(more...) {
			ext[k] = v
		}
		return b.ok(code.SearchOffsetByTimestamp, ext, nil).Int("offset")
	}
	for _, row := range []struct {
		what         string
		ms           int64
		lower, upper int64
	}{
		{"before all", recs[0].StoreTime - 1000, 0, 0},
		{"of the first", recs[0].StoreTime, 0, 0},
		{"of the third", recs[2].StoreTime, 2, 2},
		{"between second and third", recs[1].StoreTime + 1, 2, 1},
		{"of the last", recs[3].StoreTime, 3, 3},
		{"after all", recs[3].StoreTime + 100000, 4, 3},
	} {
		Equal(t, "time "+row.what, search(row.ms), row.lower)
		Equal(t, "lower, time "+row.what, search(row.ms, "boundaryType", "lower"), row.lower)
		Equal(t, "upper, time "+row.what, search(row.ms, "boundaryType", "upper"), row.upper)
	}
}

func earliestTime(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("Earliest")
	b.topic(topic, topicConf{})
	ask := wire.Ext("topic", topic, "queueId", 0)
	Equal(t, "earliest time of an empty queue", b.ok(code.GetEarliestMsgStoreTime, ask, nil).Int("timestamp"), -1)
	rec := b.one(message{topic: topic, body: []byte("x")})
	b.send(message{topic: topic, body: []byte("y")})
	Equal(t, "earliest time", b.ok(code.GetEarliestMsgStoreTime, ask, nil).Int("timestamp"), rec.StoreTime)
}
