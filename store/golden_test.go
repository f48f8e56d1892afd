package store_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"apogee/compat/properties"
	"apogee/internal/testkit"
	"apogee/store"
	"apogee/store/record"
)

// manifest is what a Java broker served from a golden directory, as far as it concerns the store.
type manifest struct {
	Runtime struct {
		CommitLogMinOffset int64 `json:",string"`
	}
	TopicConfig struct {
		TopicConfigTable map[string]struct{ Attributes map[string]string }
	}
	Topics         map[string]struct{ Queues []goldenQueue }
	QueryByKey     []goldenQuery
	QueryByUniqKey []goldenQuery
}

type goldenQueue struct {
	QueueID           int32
	Min, Max          int64
	EarliestStoreTime int64
	OffsetsByTime     []struct {
		Timestamp    int64
		Lower, Upper *int64
	}
	Messages []goldenMessage
}

type goldenMessage struct {
	PhysOffset     int64
	StoreSize      int
	StoreTimestamp int64
	RecordSha256   string
	CqTagsCode     int64
	CqOffset       int64
	QueueOffset    int64
	Inner          []json.RawMessage
}

type goldenQuery struct {
	Topic, Key string
	Hits       []struct {
		QueueID                 int32
		QueueOffset, PhysOffset int64
	}
}

func (m *manifest) kind(topic string) store.QueueKind {
	switch a := m.TopicConfig.TopicConfigTable[topic].Attributes; {
	case a["queue.type"] == "BatchCQ":
		return store.BatchQueue
	case a["cleanup.policy"] == "COMPACTION":
		return store.CompactionQueue
	}
	return store.SimpleQueue
}

// golden is one directory under test.
type golden struct {
	want manifest
	opts store.Options
	s    *store.Store
	old  bool  // read back by 4.9, which answers otherwise where no message has the time that is asked for
	end  int64 // of the log as it was unpacked: the Java broker that was asked had put more by then
}

func openGolden(t *testing.T, name string) *golden {
	t.Helper()
	g := &golden{opts: store.Defaults(), old: name == "v4"}
	dir := testkit.Golden(t, name, &g.want)
	conf, err := os.ReadFile(filepath.Join(dir, "broker.conf"))
	check(t, err)
	file, err := properties.Parse("broker.conf", conf)
	check(t, err)
	_, err = properties.Bind(file, &g.opts)
	check(t, err)
	g.opts.RootDir = filepath.Join(dir, "store")
	g.opts.QueueKind = g.want.kind
	return g
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestGoldenDirectoriesAreServed opens directories that Java brokers wrote, and compares all that is read from them with what
// a Java broker read: before anything is written, while the store runs, and when a store of ours has been through it.
func TestGoldenDirectoriesAreServed(t *testing.T) {
	for _, name := range []string{"clean", "crash", "segments", "defaults", "v4", "compaction", "slave-async", "slave-sync"} {
		t.Run(name, func(t *testing.T) {
			g := openGolden(t, name)
			foreign := g.foreignFiles(t)
			for round := range 2 {
				var err error
				g.s, err = store.Open(g.opts)
				check(t, err)
				if round == 0 {
					g.end = g.s.Stats().MaxPhysical
				}
				g.compareQueues(t)
				check(t, g.s.Start())
				g.compareQueues(t)
				g.compareQueries(t)
				check(t, g.s.Close())
				if _, err := os.Stat(filepath.Join(g.opts.RootDir, "abort")); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("abort after a clean stop: %v", err)
				}
			}
			if now := g.foreignFiles(t); !reflect.DeepEqual(now, foreign) {
				t.Errorf("files that are not ours have changed:\n%v\nwere\n%v", now, foreign)
			}
		})
	}
}

// foreignFiles are hashes of files that must stay as they are.
func (g *golden) foreignFiles(t *testing.T) map[string]string {
	hashes := map[string]string{}
	for _, dir := range []string{"timerlog", "config", "rocksdbstore"} {
		root := filepath.Join(g.opts.RootDir, dir)
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) && path == root {
				return nil
			}
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			hashes[path] = sum(text)
			return err
		})
		check(t, err)
	}
	return hashes
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

func (g *golden) compareQueues(t *testing.T) {
	t.Helper()
	if st := g.s.Stats(); st.MinPhysical != g.want.Runtime.CommitLogMinOffset {
		t.Errorf("log begins at %d, want %d", st.MinPhysical, g.want.Runtime.CommitLogMinOffset)
	}
	messages := 0
	for topic, queues := range g.want.Topics {
		for i := range queues.Queues {
			messages += g.compareQueue(t, topic, &queues.Queues[i])
		}
	}
	if messages < 200 {
		t.Errorf("only %d messages compared", messages)
	}
}

// compareQueue returns how many messages it has compared.
func (g *golden) compareQueue(t *testing.T, topic string, q *goldenQueue) int {
	t.Helper()
	id := fmt.Sprintf("%s/%d", topic, q.QueueID)
	kind := g.want.kind(topic)
	// What the Java broker put itself after it had opened the directory is not in it.
	later := 0
	if kind == store.SimpleQueue {
		for later < len(q.Messages) && q.Messages[len(q.Messages)-1-later].PhysOffset >= g.end {
			later++
		}
	}
	max := q.Max - int64(later)
	if later == 0 || max > 0 {
		if got := g.s.MinOffset(topic, q.QueueID); got != q.Min {
			t.Errorf("%s: min %d, want %d", id, got, q.Min)
		}
	}
	if got := g.s.MaxOffset(topic, q.QueueID); got != max {
		t.Errorf("%s: max %d, want %d (of %d)", id, got, max, q.Max)
		return 0
	}
	if later == 0 && !g.old {
		g.compareTimes(t, id, topic, q)
	}
	if kind == store.CompactionQueue {
		g.compareCompacted(t, id, topic, q)
		return len(q.Messages)
	}
	if len(q.Messages) == 0 && q.Min < q.Max {
		return 0 // the Java broker did not let it be read: no permission, or the topic is deleted
	}
	g.compareMessages(t, id, topic, q, q.Messages[:len(q.Messages)-later])
	return len(q.Messages) - later
}

// compareCompacted reads a compaction log from its start to its end. What is behind the log's last entry is copied from the queue.
func (g *golden) compareCompacted(t *testing.T, id, topic string, q *goldenQueue) {
	t.Helper()
	var res store.GetResult
	defer res.Release()
	want, next := q.Messages, q.Min
	for len(want) > 0 {
		g.s.Get(&store.GetRequest{Topic: topic, QueueID: q.QueueID, Offset: next, MaxCount: 32}, &res)
		if res.Status != store.Found {
			t.Errorf("%s at %d: %v", id, next, res.Status)
			return
		}
		for _, region := range res.Regions {
			for len(region) > 0 {
				m := &want[0]
				if len(region) < m.StoreSize || sum(region[:m.StoreSize]) != m.RecordSha256 {
					t.Errorf("%s: record at %d differs", id, m.QueueOffset)
					return
				}
				region, want, next = region[m.StoreSize:], want[1:], m.QueueOffset+1
			}
		}
		if res.Next != next {
			t.Errorf("%s: next offset %d, want %d", id, res.Next, next)
		}
	}
}

func (g *golden) compareTimes(t *testing.T, id, topic string, q *goldenQueue) {
	t.Helper()
	// Of a queue without messages Java says -1, or -2 where a slave has the queue of batches and nothing in it.
	if got := g.s.StoreTime(topic, q.QueueID, q.Min); got != q.EarliestStoreTime && q.Max > 0 {
		t.Errorf("%s: earliest store time %d, want %d", id, got, q.EarliestStoreTime)
	}
	for _, at := range q.OffsetsByTime {
		if at.Lower != nil {
			if got := g.s.OffsetByTime(topic, q.QueueID, at.Timestamp, false); got != *at.Lower {
				t.Errorf("%s: lower offset of time %d is %d, want %d", id, at.Timestamp, got, *at.Lower)
			}
		}
		if at.Upper != nil {
			if got := g.s.OffsetByTime(topic, q.QueueID, at.Timestamp, true); got != *at.Upper {
				t.Errorf("%s: upper offset of time %d is %d, want %d", id, at.Timestamp, got, *at.Upper)
			}
		}
	}
}

// compareMessages reads a queue from min to its end.
func (g *golden) compareMessages(t *testing.T, id, topic string, q *goldenQueue, want []goldenMessage) {
	t.Helper()
	var res store.GetResult
	defer res.Release()
	var tags tagWatch
	next := q.Min
	for len(want) > 0 {
		tags.seen = tags.seen[:0]
		g.s.Get(&store.GetRequest{Topic: topic, QueueID: q.QueueID, Offset: next, MaxCount: 32, Filter: &tags}, &res)
		if res.Status != store.Found || res.Count == 0 || res.Next != next+int64(res.Count) {
			t.Errorf("%s at %d: %v, %d messages, next %d", id, next, res.Status, res.Count, res.Next)
			return
		}
		n, at := 0, next
		for _, region := range res.Regions {
			for len(region) > 0 {
				m := &want[n]
				if g.want.kind(topic) == store.BatchQueue {
					m.CqOffset = m.QueueOffset // as its records say
				}
				if len(region) < m.StoreSize || sum(region[:m.StoreSize]) != m.RecordSha256 {
					t.Errorf("%s at %d: record differs", id, at)
					return
				}
				if m.CqOffset != at || tags.seen[n] != m.CqTagsCode {
					t.Errorf("%s: entry %d with tags code %d, want %d with %d", id, at, tags.seen[n], m.CqOffset, m.CqTagsCode)
				}
				if got := g.s.StoreTime(topic, q.QueueID, m.CqOffset); got != m.StoreTimestamp {
					t.Errorf("%s at %d: store time %d, want %d", id, m.CqOffset, got, m.StoreTimestamp)
				}
				region = region[m.StoreSize:]
				n, at = n+1, at+int64(max(1, len(m.Inner)))
			}
		}
		want, next = want[n:], res.Next
	}
	g.s.Get(&store.GetRequest{Topic: topic, QueueID: q.QueueID, Offset: next, MaxCount: 32}, &res)
	if res.Status != store.OffsetOverflowOne && !(next == 0 && res.Status == store.NoMessageInQueue) {
		t.Errorf("%s: %v at its end", id, res.Status)
	}
}

// tagWatch is a filter that lets everything pass and remembers the tags codes.
type tagWatch struct{ seen []int64 }

func (w *tagWatch) MatchTags(code int64) bool {
	w.seen = append(w.seen, code)
	return true
}
func (*tagWatch) MatchRecord([]byte) bool { return true }

func (g *golden) compareQueries(t *testing.T) {
	t.Helper()
	g.compareQuery(t, "", g.want.QueryByKey)
	g.compareQuery(t, "U", g.want.QueryByUniqKey)
}

func (g *golden) compareQuery(t *testing.T, indexType string, queries []goldenQuery) {
	t.Helper()
	if len(queries) == 0 {
		t.Error("no queries in the manifest")
	}
	for _, q := range queries {
		res, err := g.s.Query(q.Topic, q.Key, indexType, 64, 0, math.MaxInt64)
		check(t, err)
		var got, want []int64
		for _, rec := range res.Records {
			got = append(got, record.PhysicalOf(rec))
		}
		for _, hit := range q.Hits {
			if hit.PhysOffset < g.end {
				want = append(want, hit.PhysOffset)
			}
		}
		res.Release()
		if !slices.Equal(got, want) {
			t.Errorf("%s key %q type %q: hits at %v, want %v", q.Topic, q.Key, indexType, got, want)
		}
	}
}
