package meta

import (
	"fmt"
	"maps"
	"reflect"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/store/vfs"
)

func sysConfig() SystemConfig {
	return SystemConfig{
		Cluster: "DefaultCluster", Broker: "broker-a", AutoCreate: true, DefaultQueues: 8, ClusterTopic: true, BrokerTopic: true,
		ReviveQueues: 8, DelayLevel: 18, Timer: true,
	}
}

func newTopics(fs vfs.FS, change func(*TopicOptions)) *Topics {
	opts := TopicOptions{
		FS: fs, Dir: "/store", Now: now, Log: quiet(), System: SystemTopics(sysConfig()), AutoCreate: func() bool { return true },
	}
	if change != nil {
		change(&opts)
	}
	return NewTopics(opts)
}

// Java 5.5.0 listed these for a fresh broker (mqadmin topicList).
func TestSystemTopics(t *testing.T) {
	want := map[string]string{
		"BenchmarkTest": "1024/6", "DefaultCluster": "16/7", "DefaultCluster_REPLY_TOPIC": "1/6", "OFFSET_MOVED_EVENT": "1/6",
		"RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC": "1/6", "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC": "1/6", "RMQ_SYS_TRANS_HALF_TOPIC": "1/6",
		"RMQ_SYS_TRANS_OP_HALF_TOPIC": "1/6", "SCHEDULE_TOPIC_XXXX": "18/6", "SELF_TEST_TOPIC": "1/6", "TBW102": "8/7", "broker-a": "1/7",
		"rmq_sys_REVIVE_LOG_DefaultCluster": "8/6", "rmq_sys_SYNC_BROKER_MEMBER_broker-a": "1/1", "rmq_sys_wheel_timer": "1/6",
	}
	got := map[string]string{}
	for name, c := range newTopics(vfs.NewMem(now), nil).All() {
		got[name] = fmt.Sprintf("%d/%d", c.ReadQueueNums, c.Perm)
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

func TestCreateOnSend(t *testing.T) {
	for _, c := range []struct {
		name, defaultTopic string
		auto               bool
		wish, flag         int32
		want               string // queues, perm; "" for refused
	}{
		{"the client's wish", AutoCreateTopic, true, 4, 0, "4 6 0"},
		{"at most what the default topic has", AutoCreateTopic, true, 100, 1, "8 6 1"},
		{"a negative wish is none", AutoCreateTopic, true, -3, 0, "0 6 0"},
		{"any topic that may be inherited from", "DefaultCluster", false, 12, 0, "12 6 0"},
		{"TBW102 while creation is off", AutoCreateTopic, false, 4, 0, ""},
		{"a topic that may not be inherited from", BenchmarkTopic, true, 4, 0, ""},
		{"a topic that is not there", "Nothing", true, 4, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var told []string
			topics := newTopics(vfs.NewMem(now), func(o *TopicOptions) {
				o.AutoCreate = func() bool { return c.auto }
				o.OnChange = func(l []*body.TopicConfig, _ body.DataVersion) { told = append(told, l[0].TopicName) }
			})
			frame := []byte("Fresh") // the name comes out of a buffer that is used again
			name := string(frame)
			got, ok := topics.CreateOnSend(name, c.defaultTopic, c.wish, c.flag, "10.0.0.1:4")
			text := ""
			if ok {
				text = fmt.Sprint(got.WriteQueueNums, got.Perm, got.TopicSysFlag)
			}
			if text != c.want || (c.want != "") != (len(told) == 1) {
				t.Fatalf("got %q, told %v; want %q", text, told, c.want)
			}
			again, _ := topics.CreateOnSend("Fresh", c.defaultTopic, 1, 0, "")
			if again != got || len(told) > 1 {
				t.Errorf("the second request made another topic: %v, told %v", again, told)
			}
		})
	}
}

func TestCreateOnSendBackFollowsOrder(t *testing.T) {
	topics := newTopics(vfs.NewMem(now), nil)
	made, err := topics.CreateOnSendBack("%RETRY%G", 2, 6, false, body.TopicUnitSub)
	if err != nil || made.ReadQueueNums != 2 || made.WriteQueueNums != 2 || made.Order || made.TopicSysFlag != body.TopicUnitSub {
		t.Fatalf("made %+v, %v", made, err)
	}
	version := topics.Version()
	if same, _ := topics.CreateOnSendBack("%RETRY%G", 5, 6, false, 0); same != made || topics.Version() != version {
		t.Errorf("a topic that is there was changed: %+v", same)
	}
	ordered, _ := topics.CreateOnSendBack("%RETRY%G", 5, 6, true, 0)
	if !ordered.Order || ordered.ReadQueueNums != 2 || made.Order {
		t.Errorf("order: %+v, before %+v", ordered, made)
	}
}

func TestTopicsSurviveARestart(t *testing.T) {
	fs := vfs.NewMem(now)
	a := newTopics(fs, nil)
	if err := a.Update(&body.TopicConfig{
		TopicName: "T", ReadQueueNums: 3, WriteQueueNums: 5, Perm: 4, TopicFilterType: body.SingleTag, Order: true,
		Attributes: map[string]string{"+message.type": "FIFO"},
	}); err != nil {
		t.Fatal(err)
	}
	if err := a.SetOrder([]string{"TBW102", "NotThere"}); err != nil {
		t.Fatal(err)
	}
	if err := a.Delete(BenchmarkTopic, "NotThere"); err != nil {
		t.Fatal(err)
	}
	b := newTopics(fs, nil)
	if err := b.Load(); err != nil {
		t.Fatal(err)
	}
	got, _ := b.Get("T")
	if got == nil || got.ReadQueueNums != 3 || got.WriteQueueNums != 5 || got.Perm != 4 || !got.Order || got.Attributes["message.type"] != "FIFO" {
		t.Errorf("T is %+v", got)
	}
	if !b.Order("TBW102") || b.Order("NotThere") {
		t.Error("order of TBW102 is lost")
	}
	if _, ok := b.Get(BenchmarkTopic); !ok {
		t.Error("a deleted system topic comes back with the next start")
	}
	if a.Version() != b.Version() || b.Version().Counter != 3 {
		t.Errorf("versions %+v and %+v", a.Version(), b.Version())
	}
}

func TestUpdateIsAllOrNothing(t *testing.T) {
	topics := newTopics(vfs.NewMem(now), nil)
	good, bad := body.NewTopicConfig("Good"), body.NewTopicConfig("Bad")
	bad.Attributes = map[string]string{"+nope": "1"}
	err := topics.Update(&good, &bad)
	if err == nil || !strings.Contains(err.Error(), "unsupported key: nope") {
		t.Fatal(err)
	}
	if _, ok := topics.Get("Good"); ok || topics.Version().Counter != 0 {
		t.Error("half of a refused list was applied")
	}
	if !topics.Same(mustGet(t, topics, "TBW102")) {
		t.Error("a topic is not the same as itself")
	}
}

func mustGet(t *testing.T, topics *Topics, name string) *body.TopicConfig {
	t.Helper()
	c, ok := topics.Get(name)
	if !ok {
		t.Fatalf("no topic %s", name)
	}
	return c
}

// What Java wrote must come back the same from what we write, unknown members included.
func TestGoldenTopics(t *testing.T) {
	for _, dir := range []string{"clean", "defaults", "v4"} {
		t.Run(dir, func(t *testing.T) {
			fs := vfs.NewMem(now)
			before := golden(t, fs, dir, "topics.json")
			topics := newTopics(fs, nil)
			if err := topics.Load(); err != nil {
				t.Fatal(err)
			}
			extra := body.NewTopicConfig("Extra")
			if err := topics.Put(&extra); err != nil {
				t.Fatal(err)
			}
			var was, is map[string]any
			decode(t, before, &was)
			decode(t, read(t, fs, "topics.json"), &is)
			wasTable, isTable := was["topicConfigTable"].(map[string]any), is["topicConfigTable"].(map[string]any)
			if len(wasTable) < 10 {
				t.Fatalf("only %d golden topics", len(wasTable))
			}
			for name, c := range wasTable {
				if dir == "v4" { // 4.9 has no attributes; we write the empty table
					c.(map[string]any)["attributes"] = map[string]any{}
				}
				if !reflect.DeepEqual(c, isTable[name]) {
					t.Errorf("%s was %v, is %v", name, c, isTable[name])
				}
			}
			if isTable["Extra"] == nil {
				t.Error("the new topic is not there")
			}
		})
	}
}

func decode(t *testing.T, text []byte, v any) {
	t.Helper()
	if err := fastjson.Unmarshal(text, v); err != nil {
		t.Fatal(err)
	}
}

func TestUnknownMembersStay(t *testing.T) {
	fs := vfs.NewMem(now)
	write(t, fs, "/store/config/topics.json", []byte(`{"dataVersion":{"counter":7,"stateVersion":0,"timestamp":1},"future":[1,2],`+
		`"topicConfigTable":{"T":{"topicName":"T","readQueueNums":1,"writeQueueNums":1,"perm":6,"novelty":{"a":1}}}}`))
	topics := newTopics(fs, nil)
	if err := topics.Load(); err != nil {
		t.Fatal(err)
	}
	changed := *mustGet(t, topics, "T")
	changed.ReadQueueNums, changed.Extras, changed.Attributes = 9, nil, nil
	if err := topics.Update(&changed); err != nil {
		t.Fatal(err)
	}
	text := string(read(t, fs, "topics.json"))
	for _, want := range []string{`"future":[`, `"novelty":{`, `"readQueueNums":9`, `"counter":8`} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not in\n%s", want, text)
		}
	}
}

// Topics that a broken file lacks are made of the directories of their queues.
func TestBrokenFileAndQueues(t *testing.T) {
	fs := vfs.NewMem(now)
	write(t, fs, "/store/config/topics.json", []byte(`{"topicConfigTable":{"Here":{"perm":4,"readQueueNums":7,"topicName":"Here"},"Torn":{"perm"`))
	for _, dir := range []string{
		"consumequeue/Here/0", "consumequeue/Torn/2", "consumequeue/Torn/x", "consumequeue/%LMQ%light/0", "consumequeue/bad name/0",
		"consumequeue/Empty", "batchconsumequeue/Batch/0", "compaction/compactionLog/Compact/1", "consumequeue/Compact/4", "consumequeue/TBW102/0",
	} {
		if err := fs.MkdirAll("/store/" + dir); err != nil {
			t.Fatal(err)
		}
	}
	topics := newTopics(fs, nil)
	before := topics.Len()
	if err := topics.Load(); err != nil {
		t.Fatal(err)
	}
	version := topics.Version()
	topics.AdoptQueues(map[string][]int32{"Log": {1, 0}, "Torn": {5}})
	for name, want := range map[string]struct {
		queues, perm int32
		attributes   string
	}{
		"Here": {7, 4, "map[]"}, "Torn": {3, 6, "map[]"}, "Batch": {1, 6, "map[queue.type:BatchCQ]"},
		"Compact": {2, 6, "map[cleanup.policy:COMPACTION]"}, "Log": {2, 6, "map[]"},
	} {
		c, ok := topics.Get(name)
		if !ok || c.ReadQueueNums != want.queues || c.Perm != want.perm || fmt.Sprint(c.Attributes) != want.attributes {
			t.Errorf("%s is %+v", name, c)
		}
	}
	if n := topics.Len() - before; n != 5 || topics.Version() == version {
		t.Errorf("%d topics more, version %+v after %+v", n, topics.Version(), version)
	}
	if err := topics.Persist(); err != nil {
		t.Fatal(err)
	}
	again := newTopics(fs, nil)
	if err := again.Load(); err != nil || again.Len() != topics.Len() {
		t.Errorf("%d topics, %v", again.Len(), err)
	}
	again.AdoptQueues(map[string][]int32{"Deleted": {0}})
	if _, ok := again.Get("Deleted"); ok {
		t.Error("a good file is not added to")
	}
}

func TestBackupIsUsed(t *testing.T) {
	fs := vfs.NewMem(now)
	write(t, fs, "/store/config/topics.json", []byte(`{"topicConfigTable":{"Old":{"perm":6}}}`))
	write(t, fs, "/store/config/topics.json", []byte(`torn`))
	topics := newTopics(fs, nil)
	if err := topics.Load(); err != nil {
		t.Fatal(err)
	}
	if c, ok := topics.Get("Old"); !ok || c.TopicName != "Old" {
		t.Errorf("Old is %+v", c)
	}
}

// Changes that come together share writes, and each call returns with its own topic on disk.
func TestConcurrentChangesReachTheDisk(t *testing.T) {
	fs := vfs.NewMem(now)
	topics := newTopics(fs, nil)
	const n = 40
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			name := fmt.Sprintf("T%d", i)
			topics.CreateOnSend(name, AutoCreateTopic, 4, 0, "")
			topics.file.mu.Lock() // no write is under way
			defer topics.file.mu.Unlock()
			if text := string(read(t, fs, "topics.json")); !strings.Contains(text, `"`+name+`"`) {
				t.Errorf("%s is not on disk", name)
			}
		})
	}
	wg.Wait()
	if got := topics.Version().Counter; got != n {
		t.Errorf("counter %d", got)
	}
}

func TestLightTopics(t *testing.T) {
	topics := newTopics(vfs.NewMem(now), func(o *TopicOptions) { o.LMQ = true })
	if c, ok := topics.Get("%LMQ%anything"); !ok || c.TopicName != "%LMQ%anything" || c.ReadQueueNums != 1 || c.Perm != 6 {
		t.Errorf("light topic %+v", c)
	}
	if _, ok := newTopics(vfs.NewMem(now), nil).Get("%LMQ%anything"); ok {
		t.Error("a light topic without enableLmq")
	}
}

func TestGetAllocatesNothing(t *testing.T) {
	topics := newTopics(vfs.NewMem(now), nil)
	frame := []byte("xTBW102x")
	if n := testing.AllocsPerRun(100, func() {
		if _, ok := topics.Get(string(frame[1:7])); !ok {
			t.Error("not found")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestTableIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tab, model := newTable[int, int](), map[string]*int{}
		keys := rapid.StringMatching(`[a-d]{0,3}`)
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				k, v := keys.Draw(t, "k"), new(int)
				tab.putLocked(k, v)
				model[k] = v
			},
			"delete": func(t *rapid.T) {
				k := keys.Draw(t, "k")
				_, had := tab.deleteLocked(k)
				if _, ok := model[k]; ok != had {
					t.Fatalf("delete %q: %v", k, had)
				}
				delete(model, k)
			},
			"": func(t *rapid.T) {
				if !maps.Equal(tab.all(), model) || tab.len() != len(model) || len(tab.names()) != len(model) {
					t.Fatalf("%v, want %v", tab.all(), model)
				}
				k := keys.Draw(t, "k")
				if v, ok := tab.get(k); v != model[k] || (ok != containsKey(model, k)) {
					t.Fatalf("get %q: %v %v", k, v, ok)
				}
			},
		})
	})
}

func containsKey(m map[string]*int, k string) bool { _, ok := m[k]; return ok }

func BenchmarkGet(b *testing.B) {
	topics := newTopics(vfs.NewMem(now), nil)
	for i := range 10_000 {
		c := body.NewTopicConfig(fmt.Sprintf("BenchTopic_%05d", i))
		topics.table.putLocked(c.TopicName, &c)
	}
	names := topics.Names()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if c, ok := topics.Get(names[i%len(names)]); !ok || c.Perm == 0 {
				b.Fatal("no topic")
			}
		}
	})
}

// TestNewTopics: a topic is new until it is on disk, whatever becomes of it meanwhile.
func TestNewTopics(t *testing.T) {
	var full error
	topics := newTopics(vfs.Faulty(vfs.NewMem(now), func(op vfs.Op, _ string) error {
		if op == vfs.OpCreate {
			return full
		}
		return nil
	}), nil)
	isNew := func(name string) bool {
		t.Helper()
		_, topic, c := topics.Lookup(name)
		if c == nil {
			t.Fatalf("%s is not there", name)
		}
		if topic.New() && topic.Plain() > 0 {
			t.Errorf("%s is new, and as usual", name)
		}
		return topic.New()
	}
	topics.CreateOnSend("Written", AutoCreateTopic, 4, 0, "")
	if isNew(AutoCreateTopic) || isNew("Written") {
		t.Error("what is on disk is new")
	}
	full = vfs.ErrNoSpace
	topics.CreateOnSend("T", AutoCreateTopic, 4, 0, "")
	changed := body.NewTopicConfig("T")
	changed.WriteQueueNums = 9
	if err := topics.Update(&changed); err == nil || !isNew("T") || isNew("Written") {
		t.Errorf("a topic that could not be written: %v", err)
	}
	c, _ := topics.Get("T")
	if err := topics.Saved(c); err == nil || !isNew("T") {
		t.Errorf("a topic that cannot be written: %v", err)
	}
	full = nil
	if err := topics.Saved(c); err != nil || isNew("T") {
		t.Errorf("a topic that can be written: %v", err)
	}
	if _, topic, _ := topics.Lookup("T"); topic.Plain() != max(c.ReadQueueNums, 9) {
		t.Errorf("%d queues", topic.Plain())
	}
}
