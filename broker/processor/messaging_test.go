package processor

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"apogee/broker/client"
	"apogee/broker/config"
	"apogee/broker/hold"
	"apogee/broker/meta"
	"apogee/broker/stats"
	"apogee/compat/body"
	"apogee/compat/properties"
	"apogee/filter"
	"apogee/internal/leaktest"
	"apogee/remoting"
	"apogee/remoting/header"
	"apogee/store"
	"apogee/store/record"
	"apogee/store/vfs"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// memStore is a store in memory: what is put can be read at once.
type memStore struct {
	mu       sync.Mutex
	log      map[int64][]byte // by physical offset
	queues   map[string]map[int32][]memEntry
	min      map[string]int64 // by topic, of all its queues
	end      int64
	now      func() time.Time
	delays   []int64
	status   store.PutStatus // of puts; stored where putCode says so
	err      error
	lost     error              // of commits
	waiting  []store.Completion // puts are pending while hold is set
	hold     bool
	early    bool // pending puts are completed before Put returns
	cold     bool
	coldLog  map[int64]bool // offsets of the log
	broken   bool           // puts panic, as those of what cannot be read
	hole     int64          // the entry at this offset cannot be read; 0 for none
	released int
	onArrive func([]store.Arrival)
}

type memEntry struct {
	rec  []byte
	tags int64
}

func newMemStore() *memStore {
	return &memStore{
		log: map[int64][]byte{}, queues: map[string]map[int32][]memEntry{}, min: map[string]int64{}, now: time.Now,
		delays: []int64{1000, 5000, 10_000},
	}
}

func (s *memStore) Put(m *record.Message, c store.Completion) store.PutResult {
	if s.broken {
		panic("broken")
	}
	s.mu.Lock()
	res := s.putLocked(m)
	s.mu.Unlock()
	return s.settle(res, c, m)
}

func (s *memStore) settle(res store.PutResult, c store.Completion, m *record.Message) store.PutResult {
	_, stored := putCode(res.Status)
	if stored && s.onArrive != nil {
		s.onArrive([]store.Arrival{s.arrival(m, res)})
	}
	if !stored || !s.hold || c == nil {
		return res
	}
	res.Pending = true
	if s.early {
		c.Complete(store.PutOK)
		return res
	}
	s.mu.Lock()
	s.waiting = append(s.waiting, c)
	s.mu.Unlock()
	return res
}

func (s *memStore) arrival(m *record.Message, res store.PutResult) store.Arrival {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[m.Topic][m.QueueID]
	e := q[len(q)-1]
	return store.Arrival{Topic: m.Topic, QueueID: m.QueueID, Next: int64(len(q)), TagsCode: e.tags, StoreTimestamp: res.StoreTimestamp, Record: e.rec}
}

func (s *memStore) putLocked(m *record.Message) store.PutResult {
	if _, stored := putCode(s.status); !stored {
		return store.PutResult{Status: s.status, Err: s.err}
	}
	if w, want := m.Words(), record.ReadWords(m.Properties); w.Multi != want.Multi || w.Uniq != want.Uniq || w.Keys != want.Keys || w.Tags != want.Tags {
		panic(fmt.Sprintf("words %+v of properties %q", w, m.Properties))
	}
	l, err := m.Measure(false)
	if err != nil {
		return store.PutResult{Status: store.PropertiesSizeExceeded, Err: err}
	}
	if s.queues[m.Topic] == nil {
		s.queues[strings.Clone(m.Topic)] = map[int32][]memEntry{}
	}
	q := s.queues[m.Topic][m.QueueID]
	c := *m
	c.StoreTimestamp, c.QueueOffset, c.PhysicalOffset, c.BodyCRC = s.now().UnixMilli(), int64(len(q)), s.end, record.BodyCRC(m.Body)
	rec := make([]byte, l.Total)
	record.Encode(rec, &c, l)
	tags := record.TagsCode(m.Topic, record.Property(m.Properties, record.PropTags), record.Property(m.Properties, record.PropDelay), c.StoreTimestamp, s.delays)
	s.queues[m.Topic][m.QueueID] = append(q, memEntry{rec, tags})
	s.log[s.end] = rec
	s.end += int64(l.Total)
	return store.PutResult{
		Status: s.status, PhysicalOffset: c.PhysicalOffset, NextOffset: s.end, QueueOffset: c.QueueOffset, StoreTimestamp: c.StoreTimestamp, Count: 1,
	}
}

func (s *memStore) StageAt(_ *store.Place, m *record.Message, c store.Completion) store.PutResult {
	return s.Put(m, c)
}

func (s *memStore) Commit(*store.PutResult) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

func (s *memStore) StageBatch(_ *store.Place, env *record.Message, items []store.BatchItem, c store.Completion) store.PutResult {
	s.mu.Lock()
	var first store.PutResult
	for i := range items {
		m := *env
		m.Flag, m.Body, m.Properties = items[i].Flag, items[i].Body, items[i].Properties
		res := s.putLocked(&m)
		items[i].PhysicalOffset = res.PhysicalOffset
		if i == 0 {
			first = res
		}
		first.NextOffset, first.Count = res.NextOffset, i+1
	}
	s.mu.Unlock()
	return s.settle(first, c, env)
}

func (s *memStore) PutWait(m *record.Message) store.PutResult { return s.Put(m, nil) }

func (s *memStore) Writable() (bool, string) { return true, "" }

func (s *memStore) completeAll(st store.PutStatus) {
	s.mu.Lock()
	w := s.waiting
	s.waiting = nil
	s.mu.Unlock()
	for _, c := range w {
		c.Complete(st)
	}
}

func (s *memStore) Get(req *store.GetRequest, res *store.GetResult) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, known := s.queues[req.Topic][req.QueueID]
	lo, hi := s.min[req.Topic], int64(len(q))
	*res = store.GetResult{Next: req.Offset, Min: lo, Max: hi, Regions: res.Regions[:0]}
	switch {
	case !known:
		res.Status, res.Next = store.NoMatchedLogicQueue, 0
		return
	case req.Offset < lo:
		res.Status, res.Next = store.OffsetTooSmall, lo
		return
	case req.Offset == hi:
		res.Status = store.OffsetOverflowOne
		return
	case req.Offset > hi:
		res.Status, res.Next = store.OffsetOverflowBadly, hi
		return
	}
	if s.hole > 0 && req.Offset == s.hole {
		res.Status, res.Next = store.OffsetFoundNull, s.hole+1
		return
	}
	res.Status = store.NoMatchedMessage
	for off := req.Offset; off < hi && res.Count < int(req.MaxCount); off++ {
		res.Next = off + 1
		if req.Filter != nil && !(req.Filter.MatchTags(q[off].tags) && req.Filter.MatchRecord(q[off].rec)) {
			continue
		}
		res.Status = store.Found
		res.Count++
		res.Bytes += len(q[off].rec)
		res.Regions = append(res.Regions, q[off].rec)
	}
}

func (s *memStore) Cold(string, int32, int64) bool { return s.cold }
func (s *memStore) ColdAt(physical int64) bool     { return s.cold || s.coldLog[physical] }

func (s *memStore) View(physical int64) ([]byte, func(), error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if rec := s.log[physical]; rec != nil {
		return rec, func() { s.mu.Lock(); s.released++; s.mu.Unlock() }, nil
	}
	return nil, nil, errors.New("no record there")
}

func (s *memStore) Query(topic, key, _ string, limit int, begin, end int64) (store.QueryResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	res := store.QueryResult{LastUpdateTime: 11, LastUpdatePhys: 22, Release: func() { s.mu.Lock(); s.released++; s.mu.Unlock() }}
	for _, off := range slices.Sorted(maps.Keys(s.log)) {
		var m record.Message
		if err := record.Decode(s.log[off], &m); err != nil {
			return res, err
		}
		words := append(strings.Fields(record.Property(m.Properties, "KEYS")), record.Property(m.Properties, "UNIQ_KEY"))
		if m.Topic == topic && slices.Contains(words, key) && m.StoreTimestamp >= begin && m.StoreTimestamp <= end && len(res.Records) < limit {
			res.Records = append(res.Records, s.log[off])
		}
	}
	return res, nil
}

func (s *memStore) MinOffset(topic string, _ int32) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.min[topic]
}

func (s *memStore) MaxOffset(topic string, q int32) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.queues[topic][q]))
}

func (s *memStore) ReadEnd(topic string, q int32) int64 { return s.MaxOffset(topic, q) }

func (s *memStore) OffsetByTime(topic string, q int32, ms int64, upper bool) int64 {
	if upper {
		return ms + 1
	}
	return ms
}

func (s *memStore) StoreTime(topic string, q int32, off int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.queues[topic][q]; off >= 0 && off < int64(len(e)) {
		return record.StoreTimeOf(e[off].rec)
	}
	return -1
}

func (s *memStore) InMemory(string, int32, int64) bool               { return true }
func (s *memStore) Queues() map[string][]int32                       { return nil }
func (s *memStore) DeleteTopics(...string) error                     { return nil }
func (s *memStore) CleanExpiredQueues(func(topic string) bool) error { return nil }
func (s *memStore) DeleteExpired() error                             { return nil }
func (s *memStore) Stats() store.Stats                               { return store.Stats{DiskUsedRatio: 0.5} }
func (s *memStore) AppendLockHeldMs() int64                          { return 0 }

// stored is the messages of a queue, as a reader would decode them.
func (s *memStore) stored(t testing.TB, topic string, q int32) []record.Message {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []record.Message
	for _, e := range s.queues[topic][q] {
		var m record.Message
		if err := record.Decode(e.rec, &m); err != nil {
			t.Fatal(err)
		}
		out = append(out, m)
	}
	return out
}

// rig is a Processor over a memStore.
type rig struct {
	*Processor
	t     testing.TB
	store *memStore
	conf  *config.Broker
	late  string // when the half message of a test was born
}

func newRig(t testing.TB, change ...func(*config.Broker)) *rig {
	t.Helper()
	conf := new(config.Broker)
	file, err := properties.Parse("broker.conf", []byte("brokerName=broker-a\nbrokerIP1=127.0.0.1\nmessageDelayLevel=1s 5s 10s\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := properties.Bind(file, conf); err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(conf)
	}
	st := newMemStore()
	log := slog.New(slog.DiscardHandler)
	fsys := vfs.NewMem(time.Now)
	live := config.NewLive(conf)
	table := hold.New(hold.Options{})
	lanes := NewLanes(conf)
	system := meta.SystemTopics(meta.SystemConfig{
		Cluster: conf.ClusterName, Broker: conf.Name, AutoCreate: true, DefaultQueues: 8, ClusterTopic: true, BrokerTopic: true, ReviveQueues: 8, DelayLevel: 18, Timer: true,
	})
	expressions := new(filter.Cache)
	bloom, err := filter.NewBloom(conf.BloomFalseShare, conf.BloomConsumers)
	if err != nil {
		t.Fatal(err)
	}
	filters := meta.NewFilters(meta.FilterOptions{
		FS: fsys, Dir: "/store", Now: time.Now, Log: log, Cache: expressions, Bloom: bloom, Kept: func() time.Duration { return live.Get().FilterKept },
	})
	deps := Deps{
		Config: live, Log: log, Now: time.Now, Acting: new(fakeActing), Transactions: new(notedTransactions), Store: st, Reader: st, Queues: st, Upkeep: st,
		Topics: meta.NewTopics(meta.TopicOptions{
			FS: fsys, Dir: "/store", Now: time.Now, Log: log, System: system,
			AutoCreate: func() bool { return live.Get().AutoCreateTopic },
		}),
		Groups: meta.NewGroups(meta.GroupOptions{
			FS: fsys, Dir: "/store", Now: time.Now, Log: log,
			AutoCreate: func() bool { return live.Get().AutoCreateGroup }, AutoCreateSystem: func() bool { return true },
		}),
		Offsets:   meta.NewOffsets(meta.OffsetOptions{FS: fsys, Dir: "/store", Now: time.Now, Log: log, VersionStep: 500}),
		Consumers: client.NewConsumers(time.Now, func(string) {}, filters),
		Filters:   filters, Expressions: expressions,
		Producers: client.NewProducers(time.Now),
		Locks:     client.NewLocks(time.Now),
		Hold:      table, Stats: stats.New(func(string) bool { return false }), Lanes: lanes,
	}
	p := New(deps)
	p.SetAddress(Address{Host: netip.MustParseAddrPort("127.0.0.1:10911"), Text: "127.0.0.1:10911"})
	st.onArrive = table.Arrive
	t.Cleanup(func() { table.Close(); lanes.Close() })
	return &rig{Processor: p, t: t, store: st, conf: conf}
}

// set changes the configuration.
func (g *rig) set(change func(*config.Broker)) {
	next := *g.Config.Get()
	change(&next)
	g.Config.Set(&next)
}

// addTopic makes a topic; f may change it.
func (g *rig) addTopic(name string, f func(*body.TopicConfig)) {
	g.t.Helper()
	c := body.NewTopicConfig(name)
	c.ReadQueueNums, c.WriteQueueNums = 4, 4
	if f != nil {
		f(&c)
	}
	if err := g.Topics.Put(&c); err != nil {
		g.t.Fatal(err)
	}
}

func (g *rig) addGroup(name string, f func(*body.SubscriptionGroupConfig)) {
	g.t.Helper()
	c := body.NewSubscriptionGroupConfig(name)
	if f != nil {
		f(&c)
	}
	if err := g.Groups.Update(&c); err != nil {
		g.t.Fatal(err)
	}
}

// answered is an answer as a client sees it.
type answered struct {
	code   int32
	remark string
	ext    map[string]string
	body   []byte
}

func (a answered) String() string {
	return fmt.Sprintf("%d %q %v %d bytes", a.code, a.remark, a.ext, len(a.body))
}

// fieldMap takes header fields as text.
type fieldMap map[string]string

func (f fieldMap) String(k, v string)    { f[k] = strings.Clone(v) }
func (f fieldMap) Int(k string, v int64) { f[k] = fmt.Sprint(v) }
func (f fieldMap) Bool(k string, v bool) { f[k] = fmt.Sprint(v) }

func view(rep *remoting.Reply) answered {
	a := answered{code: rep.Code, remark: rep.Remark, ext: map[string]string{}, body: slices.Clone(rep.Body)}
	if rep.Header != nil {
		rep.Header.EncodeFields(fieldMap(a.ext))
	}
	rep.Shared.EncodeFields(fieldMap(a.ext))
	rep.Extra.EncodeFields(fieldMap(a.ext))
	for _, r := range rep.Regions {
		a.body = append(a.body, r...)
	}
	if rep.Release != nil {
		rep.Release()
	}
	return a
}

// start gives a request to the handler that the table has for its code; answers come on the channel.
func (g *rig) start(r remoting.Request) <-chan answered {
	g.t.Helper()
	out := make(chan answered, 2)
	req := remoting.NewRequest(r, func(rep *remoting.Reply) { out <- view(rep) })
	for i := range table {
		if table[i].code == r.Code {
			g.handler(&table[i])(req)
			return out
		}
	}
	g.t.Fatalf("code %d is not in the table", r.Code)
	return nil
}

// call is start with the wait for the one answer.
func (g *rig) call(code int32, fields header.Fields, body string) answered {
	g.t.Helper()
	return g.wait(g.start(remoting.Request{Code: code, Version: 513, Fields: fields, Body: []byte(body)}))
}

func (g *rig) wait(out <-chan answered) answered {
	g.t.Helper()
	select {
	case a := <-out:
		select {
		case b := <-out:
			g.t.Errorf("answered twice: %v, %v", a, b)
		default:
		}
		return a
	case <-time.After(10 * time.Second):
		g.t.Fatal("no answer")
		return answered{}
	}
}

// fields makes header fields of "key", "value" pairs laid over a base; a value of "-" takes the key out.
func fields(base header.Fields, kv ...string) header.Fields {
	out := slices.Clone(base)
	for i := 0; i < len(kv); i += 2 {
		out = slices.DeleteFunc(out, func(p header.Pair) bool { return p.Key == kv[i] })
		if kv[i+1] != "-" {
			out = append(out, header.Pair{Key: kv[i], Value: kv[i+1]})
		}
	}
	return out
}

// props makes a properties string of "NAME=value" words.
func props(words ...string) string {
	var b strings.Builder
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		b.WriteString(name + "\x01" + value + "\x02")
	}
	return b.String()
}

// sorted is a properties string as "NAME=value" words in order, for comparing without regard to order.
func sorted(properties string) []string {
	var out []string
	for c := record.Pairs([]byte(properties)); c.Next(); {
		out = append(out, string(c.Name)+"="+string(c.Value))
	}
	slices.Sort(out)
	return out
}
