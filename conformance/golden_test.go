package conformance

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

// TestGoldenOverTheWire starts a broker on directories that the reference wrote and asks it for everything that the manifests say the
// reference answered. Then the reference opens what that broker has left, and that broker once more: the manifests hold each time. What may
// differ is what the README of the golden directories allows: things that the reference had delivered by itself between opening and reading,
// and what each of them delivers in the same way.
func TestGoldenOverTheWire(t *testing.T) {
	t.Parallel()
	target := testTarget(t)
	other, missing := other(target)
	for _, name := range []string{"clean", "crash", "torn", "segments", "defaults", "propcrc", "v4", "slave-async", "slave-sync"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &goldenManifest{old: name == "v4"}
			dir := testkit.Golden(t, name, m)
			m.end = lastRecordEnd(t, filepath.Join(dir, "store", "commitlog"))
			m.compare(t, target, dir)
			if missing != nil {
				t.Skipf("SKIPPED, %s did not go on to Java and back: %v; it was compared with what %s serves from it", name, missing, target.Name())
			}
			between := other
			if java, ok := other.(*testkit.Java); ok && m.old {
				var err error
				if between, err = java.Release("4.9.7"); err != nil {
					t.Skipf("SKIPPED, %s did not go back to the release that wrote it: %v", name, err)
				}
			}
			m.compare(t, between, dir)
			m.compare(t, target, dir)
		})
	}
}

// goldenManifest is what is compared of a manifest; numbers stay text.
type goldenManifest struct {
	Runtime      map[string]string                                         `json:"runtime"`
	Topics       map[string]goldenTopic                                    `json:"topics"`
	TopicConfig  struct{ TopicConfigTable anyTable }                       `json:"topicConfig"`
	Groups       struct{ SubscriptionGroupTable, ForbiddenTable anyTable } `json:"subscriptionGroups"`
	DelayOffsets struct{ OffsetTable map[string]int64 }                    `json:"delayOffsets"`
	ByQuery      []goldenOffset                                            `json:"offsetsByQuery"`
	RawByKey     []goldenQuery                                             `json:"queryByKey"`
	RawByUniq    []goldenQuery                                             `json:"queryByUniqKey"`

	end int64 // of the log in the archive: what lies behind it in the manifest, the reference wrote when it opened the directory
	old bool  // the manifest comes from a 4.9 broker
}

type anyTable map[string]map[string]any

type goldenOffset struct {
	Group, Topic string
	QueueID      int
	Offset       *int64
}

type goldenQuery struct {
	Topic, Key string
	Hits       []goldenHit
}

type goldenHit struct {
	Topic       string
	QueueID     int
	QueueOffset int64
	PhysOffset  int64
}

type goldenTopic struct {
	EmptyQueues int
	Queues      []goldenQueue
}

type goldenQueue struct {
	QueueID           int
	Min, Max          int64
	EarliestStoreTime int64
	PullEndedWith     string
	OffsetsByTime     []struct {
		Timestamp    int64
		Lower, Upper *int64
	}
	Messages []goldenMessage
}

type goldenEntry struct{ PhysicOffset, TagsCode int64 }

type goldenMessage struct {
	QueueOffset, PhysOffset int64
	CQOffset                *int64       `json:"cqOffset"`
	CQTagsCode              *int64       `json:"cqTagsCode"`
	CQEntry                 *goldenEntry `json:"cqEntry"` // where it does not point at this record
	RecordSha256            string
	StoreTimestamp          int64
}

// golden is one comparison under way.
type golden struct {
	*goldenManifest
	t      *testing.T
	who    string
	c      *wire.Conn
	bad    int
	checks int
}

func (g *golden) errorf(format string, args ...any) {
	if g.bad++; g.bad <= 15 {
		g.t.Errorf("%s: %s", g.who, fmt.Sprintf(format, args...))
	}
}

func same[V comparable](g *golden, got, want V, format string, args ...any) {
	if g.checks++; got != want {
		g.errorf("%s: got %v, want %v", fmt.Sprintf(format, args...), got, want)
	}
}

// compare starts a broker on the directory, compares what it serves, and stops it.
func (m *goldenManifest) compare(t *testing.T, target testkit.Target, dir string) {
	conf, err := testkit.GoldenConf(dir)
	if err != nil {
		t.Fatal(err)
	}
	if conf["brokerRole"] == "SLAVE" { // it becomes a master, as operators do with a slave when its master is lost
		conf["brokerRole"], conf["brokerId"] = "ASYNC_MASTER", "0"
	}
	s, err := target.Broker(dir, "127.0.0.1:1", conf)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}()
	g := &golden{goldenManifest: m, t: t, who: target.Name(), c: dialTest(t, s.Addr())}
	defer g.c.Close()
	g.configs()
	g.offsets()
	for _, topic := range sortedKeys(m.Topics) {
		for i := range m.Topics[topic].Queues {
			g.queue(topic, &m.Topics[topic].Queues[i])
		}
	}
	g.queries("key", m.RawByKey, false)
	g.queries("unique key", m.RawByUniq, true)
	t.Logf("%s: %d facts compared, %d differ", g.who, g.checks, g.bad)
	if g.checks < 500 {
		t.Errorf("%s: only %d facts were compared", g.who, g.checks)
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// lastRecordEnd walks the log's last files: it is where the archive's messages end.
func lastRecordEnd(t *testing.T, dir string) int64 {
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var end int64
	for _, f := range files {
		var base int64
		if _, err := fmt.Sscanf(f.Name(), "%d", &base); err != nil {
			continue
		}
		end = max(end, base+recordsEnd(t, filepath.Join(dir, f.Name())))
	}
	return end
}

// recordsEnd reads sizes and magic numbers from the start of a file on until something else comes.
func recordsEnd(t *testing.T, path string) int64 {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var at int64
	var head [8]byte
	for {
		if _, err := f.ReadAt(head[:], at); err != nil {
			return at
		}
		size := int64(head[0])<<24 | int64(head[1])<<16 | int64(head[2])<<8 | int64(head[3])
		magic := uint32(head[4])<<24 | uint32(head[5])<<16 | uint32(head[6])<<8 | uint32(head[7])
		if size < 91 || magic != wire.MagicV1 && magic != wire.MagicV2 {
			return at
		}
		at += size
	}
}

func (g *golden) json(c int32, ext map[string]string) any {
	v, err := wire.Loose(mustTest(g.t, g.c, c, ext, nil).Body)
	if err != nil {
		g.t.Fatalf("body of the answer to %d: %v", c, err)
	}
	return v
}

// configs compares topics, groups and what is left of delay levels. Ours may have more, as any broker makes its own.
func (g *golden) configs() {
	topics := g.json(code.GetAllTopicConfig, wire.Ext("topicSeq", 0))
	for _, name := range sortedKeys(g.TopicConfig.TopicConfigTable) {
		g.members("topic "+name, wire.At(topics, "topicConfigTable", name), g.TopicConfig.TopicConfigTable[name])
	}
	groups := g.json(code.GetAllSubscriptionGroupConfig, wire.Ext("groupSeq", 0))
	for _, name := range sortedKeys(g.Groups.SubscriptionGroupTable) {
		g.members("group "+name, wire.At(groups, "subscriptionGroupTable", name), g.Groups.SubscriptionGroupTable[name])
	}
	for _, name := range sortedKeys(g.Groups.ForbiddenTable) {
		g.members("forbidden "+name, wire.At(groups, "forbiddenTable", name), g.Groups.ForbiddenTable[name])
	}
	delays, _ := wire.At(g.json(code.GetAllDelayOffset, nil), "offsetTable").(map[string]any)
	for level, want := range g.DelayOffsets.OffsetTable {
		var got int64
		if n, ok := delays[level].(json.Number); ok {
			got, _ = n.Int64()
		}
		g.checks++
		if got < want { // levels go on: what is due is delivered
			g.errorf("delay level %s is at %d, the reference had got to %d", level, got, want)
		}
	}
	// The reference has an error for an answer in its first seconds, before it has taken a sample.
	waitTest(g.t, 30*time.Second, "runtime info", func() bool {
		f, err := g.c.Call(int(code.GetBrokerRuntimeInfo), nil, nil)
		return err == nil && f.Code == 0
	})
	runtime := g.json(code.GetBrokerRuntimeInfo, nil)
	same(g, fmt.Sprint(wire.At(runtime, "table", "commitLogMinOffset")), g.Runtime["commitLogMinOffset"], "first position of the log")
}

func (g *golden) members(what string, got any, want map[string]any) {
	for k, v := range want {
		g.checks++
		a, _ := json.Marshal(wire.At(got, k))
		b, _ := json.Marshal(v)
		if string(a) != string(b) {
			g.errorf("%s: %s is %s, want %s", what, k, a, b)
		}
	}
}

// offsets compares what each group has committed. The groups of half messages and of pop's revival are the broker's own, and move.
func (g *golden) offsets() {
	for _, o := range g.ByQuery {
		if o.Offset == nil || strings.HasPrefix(o.Group, "CID_RMQ_SYS_") {
			continue
		}
		f, err := g.c.Call(int(code.QueryConsumerOffset),
			wire.Ext("consumerGroup", o.Group, "topic", o.Topic, "queueId", o.QueueID, "setZeroIfNotFound", false), nil)
		if err != nil {
			g.t.Fatal(err)
		}
		same(g, f.Int("offset"), *o.Offset, "offset of %s in %s/%d (%s)", o.Group, o.Topic, o.QueueID, f.Remark)
	}
}

func (g *golden) end1(request int32, topic string, queue int) int64 {
	f, err := g.c.Call(int(request), wire.Ext("topic", topic, "queueId", queue), nil)
	if err != nil {
		g.t.Fatal(err)
	}
	if v, ok := f.Ext["timestamp"]; ok {
		var n int64
		_, _ = fmt.Sscan(v, &n)
		return n
	}
	return f.Int("offset")
}

// queue compares one queue from its first message to the last one that the archive holds.
func (g *golden) queue(topic string, q *goldenQueue) {
	name := fmt.Sprintf("%s/%d", topic, q.QueueID)
	closed := q.Max // where the queue ended in the archive
	for i, m := range q.Messages {
		if m.PhysOffset >= g.end {
			closed = min(closed, q.Min+int64(i))
		}
	}
	if q.Min >= 0 { // less where the reference has no file of a queue of batches
		same(g, g.end1(code.GetMinOffset, topic, q.QueueID), q.Min, "%s: first offset", name)
		same(g, g.end1(code.GetEarliestMsgStoreTime, topic, q.QueueID), q.EarliestStoreTime, "%s: earliest store time", name)
	}
	got := g.end1(code.GetMaxOffset, topic, q.QueueID)
	if g.checks++; got < closed {
		g.errorf("%s: ends at %d, want %d or more", name, got, closed)
	}
	g.messages(name, topic, q)
	for _, row := range q.OffsetsByTime {
		if g.old {
			break // 4.9 looks into the queue file that was written to at that time, and so misses by up to a file; 5.5 does not
		}
		for bound, want := range map[string]*int64{"lower": row.Lower, "upper": row.Upper} {
			if want == nil {
				continue
			}
			f := mustTest(g.t, g.c, code.SearchOffsetByTimestamp,
				wire.Ext("topic", topic, "queueId", q.QueueID, "timestamp", row.Timestamp, "boundaryType", bound), nil)
			// At the end of a queue that goes on, maybe since a moment ago, it is another one.
			if *want >= closed-1 && g.end1(code.GetMaxOffset, topic, q.QueueID) != q.Max {
				continue
			}
			same(g, f.Int("offset"), *want, "%s: %s offset of time %d", name, bound, row.Timestamp)
		}
	}
}

func (g *golden) messages(name, topic string, q *goldenQueue) {
	sums, ended := g.pull(topic, q)
	if q.PullEndedWith != "" && !(g.old && strings.HasPrefix(topic, "RMQ_SYS_")) { // 5.5 has settings for these topics
		code, _, _ := strings.Cut(q.PullEndedWith, " ")
		same(g, ended, code, "%s: answer that ended the pulls", name)
	}
	at := int64(-1)
	for i, m := range q.Messages {
		if m.PhysOffset >= g.end {
			continue // written by the reference when it opened the directory
		}
		at = max(q.Min, 0) + int64(i)
		if m.CQOffset != nil {
			at = *m.CQOffset
		}
		same(g, sums[at], m.RecordSha256, "%s: record at %d", name, at)
		// A queue of batches is asked by message and listed by entry.
		want := m.CQEntry
		if want == nil && m.CQTagsCode != nil {
			want = &goldenEntry{m.PhysOffset, *m.CQTagsCode}
		}
		if want != nil && !strings.HasPrefix(topic, "BatchCq") {
			v := g.json(code.QueryConsumeQueue, wire.Ext("topic", topic, "queueId", q.QueueID, "index", at, "count", 1))
			list, _ := wire.At(v, "queueData").([]any)
			if len(list) != 1 {
				g.errorf("%s: %d queue entries at %d", name, len(list), at)
				continue
			}
			same(g, wire.Num(wire.At(list[0], "tagsCode")), fmt.Sprint(want.TagsCode), "%s: tags code of the entry at %d", name, at)
			same(g, wire.Num(wire.At(list[0], "physicOffset")), fmt.Sprint(want.PhysicOffset), "%s: position in the entry at %d", name, at)
		}
	}
}

// pull reads a queue: the sum of each record by its place in the queue, and the code that ended it early.
func (g *golden) pull(topic string, q *goldenQueue) (map[int64]string, string) {
	sums := map[int64]string{}
	for at := max(q.Min, 0); at < q.Max; {
		// One at a time where records do not know their place in this queue (multi-dispatch).
		f, err := g.c.Call(int(code.PullMessage), pullExt("golden_reader", topic, q.QueueID, at), nil)
		if err != nil {
			g.t.Fatal(err)
		}
		if f.Code != 0 {
			return sums, fmt.Sprint(f.Code)
		}
		recs, err := wire.Records(f.Body)
		if err != nil {
			g.errorf("%s/%d at %d: %v", topic, q.QueueID, at, err)
			return sums, ""
		}
		for i, rec := range recs {
			sum := sha256.Sum256(rec.Raw)
			sums[at+int64(i)] = hex.EncodeToString(sum[:])
		}
		at = f.Int("nextBeginOffset")
	}
	return sums, ""
}

func (g *golden) queries(what string, queries []goldenQuery, unique bool) {
	for _, q := range queries {
		f, err := g.c.Call(int(code.QueryMessage), wire.Ext("topic", q.Topic, "key", q.Key, "maxNum", 64, "beginTimestamp", 0,
			"endTimestamp", int64(1)<<62, "_UNIQUE_KEY_QUERY", unique), nil)
		if err != nil {
			g.t.Fatal(err)
		}
		recs, err := wire.Records(f.Body)
		if err != nil {
			g.errorf("%s %s in %s: %v", what, q.Key, q.Topic, err)
			continue
		}
		var got, want []string
		for _, r := range recs {
			if r.Physical < g.end {
				got = append(got, fmt.Sprint(r.Topic, "/", r.QueueID, " ", r.QueueOffset, " at ", r.Physical))
			}
		}
		for _, h := range q.Hits {
			if h.PhysOffset < g.end {
				want = append(want, fmt.Sprint(h.Topic, "/", h.QueueID, " ", h.QueueOffset, " at ", h.PhysOffset))
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		same(g, strings.Join(got, ", "), strings.Join(want, ", "), "%s %q in %s", what, q.Key, q.Topic)
	}
}
