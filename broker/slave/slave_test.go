package slave

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"apogee/broker/meta"
	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store/vfs"
)

// fakeMaster answers like a master whose tables a test sets.
type fakeMaster struct {
	remoting.Caller
	topics     map[string]*body.TopicConfig
	version    body.DataVersion
	groups     map[string]*body.SubscriptionGroupConfig
	forbidden  map[string]map[string]int32
	groupsAt   body.DataVersion
	offsets    string
	modes      string
	delays     string
	check      string
	metrics    string
	old        bool // knows no pages
	clock      int64
	moveBefore int // pages until the table changes under way
	asked      []int32
	down       error
	refuses    int32 // the answer to commits
}

func (m *fakeMaster) commit(h *header.UpdateConsumerOffsetRequest) {
	var w body.ConsumerOffsetSerializeWrapper
	if err := fastjson.Unmarshal([]byte(m.offsets), &w); err != nil {
		panic(err)
	}
	key := h.Topic + "@" + h.ConsumerGroup
	if w.OffsetTable[key] == nil {
		w.OffsetTable[key] = map[int32]int64{}
	}
	w.OffsetTable[key][h.QueueID] = h.CommitOffset
	m.offsets = string(fastjson.Marshal(&w))
}

func newMaster() *fakeMaster {
	return &fakeMaster{
		topics: map[string]*body.TopicConfig{}, groups: map[string]*body.SubscriptionGroupConfig{}, offsets: `{"offsetTable":{}}`,
		modes: `{"messageRequestModeMap":{}}`, delays: `{"offsetTable":{}}`, check: "c", metrics: "m",
	}
}

func (m *fakeMaster) Call(_ context.Context, _ string, out remoting.Outgoing) (*remoting.Response, error) {
	m.asked = append(m.asked, out.Code)
	if m.down != nil {
		return nil, m.down
	}
	resp := &remoting.Response{}
	switch out.Code {
	case code.GetAllTopicConfig:
		h := out.Header.(*header.GetAllTopicConfigRequest)
		if m.moveBefore--; m.moveBefore == 0 {
			m.version.Counter++
		}
		names := m.cut(slices.Sorted(maps.Keys(m.topics)), h.TopicSeq, h.MaxTopicNum.Or(0), h.DataVersion, m.version)
		w := body.TopicConfigAndMappingSerializeWrapper{TopicConfigTable: map[string]*body.TopicConfig{}, DataVersion: m.version}
		for _, n := range names {
			w.TopicConfigTable[n] = m.topics[n]
		}
		resp.Body = fastjson.Marshal(&w)
		if !m.old {
			resp.Fields = header.Fields{{Key: "totalTopicNum", Value: strconv.Itoa(len(m.topics))}}
		}
	case code.GetAllSubscriptionGroupConfig:
		h := out.Header.(*header.GetAllSubscriptionGroupConfigRequest)
		names := m.cut(slices.Sorted(maps.Keys(m.groups)), h.GroupSeq, h.MaxGroupNum.Or(0), h.DataVersion, m.groupsAt)
		w := body.SubscriptionGroupWrapper{SubscriptionGroupTable: map[string]*body.SubscriptionGroupConfig{}, DataVersion: m.groupsAt, ForbiddenTable: map[string]map[string]int32{}}
		for _, n := range names {
			w.SubscriptionGroupTable[n] = m.groups[n]
			if f := m.forbidden[n]; f != nil {
				w.ForbiddenTable[n] = f
			}
		}
		resp.Body = fastjson.Marshal(&w)
		if !m.old {
			resp.Fields = header.Fields{{Key: "totalGroupNum", Value: strconv.Itoa(len(m.groups))}}
		}
	case code.GetAllConsumerOffset:
		resp.Body = []byte(m.offsets)
	case code.GetAllMessageRequestMode:
		resp.Body = []byte(m.modes)
	case code.GetAllDelayOffset:
		resp.Body = []byte(m.delays)
	case code.GetTimerCheckPoint:
		resp.Body = []byte(m.check)
	case code.GetTimerMetrics:
		resp.Body = []byte(m.metrics)
	case code.UpdateConsumerOffset:
		resp.Code = m.refuses
		if m.refuses == code.Success {
			m.commit(out.Header.(*header.UpdateConsumerOffsetRequest))
		}
	default:
		resp.Code = code.RequestCodeNotSupported
	}
	return resp, nil
}

func (m *fakeMaster) cut(names []string, seq, most int32, version string, present body.DataVersion) []string {
	if m.old {
		return names
	}
	var theirs body.DataVersion
	if seq != 0 && (fastjson.Unmarshal([]byte(version), &theirs) != nil || theirs != present) {
		seq = 0
	}
	most = min(most, 3) // small pages, as a master may have them
	from := min(int(seq), len(names))
	return names[from:min(from+int(most), len(names))]
}

func (m *fakeMaster) topic(name string, queues int32) {
	t := body.NewTopicConfig(name)
	t.ReadQueueNums, t.WriteQueueNums = queues, queues
	m.topics[name] = &t
	m.changed()
}

func (m *fakeMaster) changed() {
	m.clock++
	m.version = m.version.Next(0, time.UnixMilli(m.clock))
}

func (m *fakeMaster) deleteTopic(name string) {
	delete(m.topics, name)
	m.changed()
}

func (m *fakeMaster) group(name string, more func(*body.SubscriptionGroupConfig)) {
	g := body.NewSubscriptionGroupConfig(name)
	if more != nil {
		more(&g)
	}
	m.groups[name] = &g
	m.groupsAt = m.groupsAt.Next(0, time.UnixMilli(1000+m.groupsAt.Counter))
}

// fakeDelivery notes what it is told.
type fakeDelivery struct{ delays, check, metrics string }

func (f *fakeDelivery) TakeOver(text []byte) error {
	if strings.HasPrefix(string(text), "{") {
		f.delays = string(text)
	} else {
		f.check = string(text)
	}
	return nil
}

func (f *fakeDelivery) TakeOverMetrics(text []byte) error { f.metrics = string(text); return nil }

type rig struct {
	*Synchronizer
	m        *fakeMaster
	fs       *vfs.Mem
	delivery fakeDelivery
	acting   bool
	remade   []error // the results of remaking queues, the next one first
	remakes  int
}

// RemakeQueues notes that it was called.
func (r *rig) RemakeQueues(known func(string) bool) (err error) {
	r.remakes++
	if known("nobody knows it") {
		err = errors.New("what is not in the table is known")
	}
	if len(r.remade) > 0 {
		err, r.remade = r.remade[0], r.remade[1:]
	}
	return err
}

type fataler interface {
	Helper()
	Fatal(args ...any)
}

func newRig(t fataler, m *fakeMaster, fs *vfs.Mem) *rig {
	t.Helper()
	now := func() time.Time { return time.UnixMilli(500) }
	r := &rig{m: m, fs: fs}
	log := slog.New(slog.DiscardHandler)
	no := func() bool { return false }
	o := Options{
		Queues: r, Caller: m, FS: fs, Dir: "/s", Now: now, Log: log, Self: func() string { return "self:1" },
		Topics:  meta.NewTopics(meta.TopicOptions{FS: fs, Dir: "/s", Now: now, Log: log, AutoCreate: no}),
		Groups:  meta.NewGroups(meta.GroupOptions{FS: fs, Dir: "/s", Now: now, Log: log, AutoCreate: no, AutoCreateSystem: no}),
		Offsets: meta.NewOffsets(meta.OffsetOptions{FS: fs, Dir: "/s", Now: now, Log: log, VersionStep: 1, Slave: true}),
		Modes:   meta.NewModes(fs, "/s", now, log), Delays: &r.delivery, Timers: &r.delivery, Delivers: func() bool { return r.acting },
	}
	for _, err := range []error{o.Topics.Load(), o.Groups.Load(), o.Offsets.Load(), o.Modes.Load()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.SetMaster("master:1", "test", "")
	r.Synchronizer = s
	return r
}

func (r *rig) must(t fataler) {
	t.Helper()
	if err := r.Full(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func TestEverythingIsFetched(t *testing.T) {
	for _, old := range []bool{false, true} {
		t.Run(fmt.Sprint("old ", old), func(t *testing.T) {
			m := newMaster()
			m.old = old
			for i := range 8 {
				m.topic(fmt.Sprint("t", i), int32(i+1))
				m.group(fmt.Sprint("g", i), func(g *body.SubscriptionGroupConfig) { g.RetryMaxTimes = int32(i) })
			}
			m.forbidden = map[string]map[string]int32{"g3": {"t3": body.ForbidRead}}
			m.offsets = `{"dataVersion":{"counter":4,"timestamp":9},"offsetTable":{"t1@g1":{0:7,2:9}}}`
			m.modes = `{"messageRequestModeMap":{"t1":{"g1":{"topic":"t1","consumerGroup":"g1","mode":"POP","popShareQueueNum":2}}}}`
			m.delays = `{"offsetTable":{3:4}}`
			r := newRig(t, m, vfs.NewMem(time.Now))
			r.must(t)
			// What is on disk counts: the broker is started again.
			r = newRig(t, m, r.fs)
			for name, want := range m.topics {
				if got, ok := r.Topics.Get(name); !ok || got.WriteQueueNums != want.WriteQueueNums {
					t.Errorf("%s: %v", name, got)
				}
			}
			if g, ok := r.Groups.Get("g5"); !ok || g.RetryMaxTimes != 5 {
				t.Errorf("g5: %v", g)
			}
			if r.Groups.Readable("g3", "t3") || !r.Groups.Readable("g2", "t3") {
				t.Error("what is forbidden is not the master's")
			}
			if r.Topics.Version() != m.version || r.Groups.Version() != m.groupsAt || r.Offsets.Version() != (body.DataVersion{Counter: 4, Timestamp: 9}) {
				t.Errorf("versions %v %v %v", r.Topics.Version(), r.Groups.Version(), r.Offsets.Version())
			}
			if off, _ := r.Offsets.Query("g1", "t1", 2); off != 9 {
				t.Errorf("offset %d", off)
			}
			if mode, _ := r.Modes.Get("t1", "g1"); mode.Mode != "POP" || mode.PopShareQueueNum != 2 {
				t.Errorf("mode %v", mode)
			}
			r.must(t)
			if r.delivery != (fakeDelivery{m.delays, "c", "m"}) {
				t.Errorf("delivery %v", r.delivery)
			}
		})
	}
}

func TestSameVersionIsFetchedOnce(t *testing.T) {
	m := newMaster()
	for i := range 20 {
		m.topic(fmt.Sprint("t", i), 1)
	}
	r := newRig(t, m, vfs.NewMem(time.Now))
	r.must(t)
	m.asked = nil
	if err := r.sync(context.Background(), false); err != nil {
		t.Fatal(err)
	}
	if want := []int32{code.GetAllTopicConfig, code.GetAllSubscriptionGroupConfig, code.GetTimerCheckPoint}; !slices.Equal(m.asked, want) {
		t.Errorf("asked %v, want %v", m.asked, want)
	}
}

func TestTableThatChangesUnderWay(t *testing.T) {
	m := newMaster()
	for i := range 20 {
		m.topic(fmt.Sprintf("t%02d", i), 1)
	}
	m.moveBefore = 4
	r := newRig(t, m, vfs.NewMem(time.Now))
	r.must(t)
	if r.Topics.Len() != 20 || r.Topics.Version() != m.version {
		t.Errorf("%d topics, version %v", r.Topics.Len(), r.Topics.Version())
	}
}

func TestWhoActsKeepsItsDelivery(t *testing.T) {
	m := newMaster()
	r := newRig(t, m, vfs.NewMem(time.Now))
	r.acting = true
	r.must(t)
	if r.delivery != (fakeDelivery{}) {
		t.Errorf("delivery %v", r.delivery)
	}
}

func TestOffsetsOfAnOlderTableOnlyMoveAhead(t *testing.T) {
	m := newMaster()
	m.offsets = `{"dataVersion":{"counter":1},"offsetTable":{"t@g":{0:10,1:10}}}`
	r := newRig(t, m, vfs.NewMem(time.Now))
	r.must(t)
	r.Offsets.Commit("g", "t", 0, 50) // the master is away, and a consumer goes on here
	r.must(t)                         // it comes back as it was
	if off, _ := r.Offsets.Query("g", "t", 0); off != 50 {
		t.Errorf("progress is lost: %d", off)
	}
	m.offsets = `{"dataVersion":{"counter":1},"offsetTable":{"t@g":{0:10,1:70}}}`
	r.must(t)
	if off, _ := r.Offsets.Query("g", "t", 1); off != 70 {
		t.Errorf("progress at the master is not seen: %d", off)
	}
	m.offsets = `{"dataVersion":{"counter":9},"offsetTable":{"t@g":{0:5}}}`
	r.must(t)
	if off, _ := r.Offsets.Query("g", "t", 0); off != 5 { // an operator's reset
		t.Errorf("offset %d, want the newer table's", off)
	}
	m.offsets = `{"dataVersion":{"counter":9},"offsetTable":{}}`
	r.must(t)
	if off, ok := r.Offsets.Query("g", "t", 1); !ok || off != 70 {
		t.Errorf("an empty table has taken %d, %v", off, ok)
	}
}

func TestGroupsOfAnEmptyMasterStay(t *testing.T) {
	m := newMaster()
	m.group("g1", nil)
	m.group("g2", nil)
	r := newRig(t, m, vfs.NewMem(time.Now))
	r.must(t)
	m.groups, m.groupsAt = map[string]*body.SubscriptionGroupConfig{}, body.DataVersion{Counter: 1000} // newer, and empty
	r.must(t)
	m.group("g3", nil)
	r.must(t)
	for _, g := range []string{"g1", "g2", "g3"} {
		if _, ok := r.Groups.Get(g); !ok {
			t.Errorf("%s is gone", g)
		}
	}
}

func TestMasterThatIsDown(t *testing.T) {
	m := newMaster()
	m.topic("t1", 1)
	r := newRig(t, m, vfs.NewMem(time.Now))
	r.must(t)
	m.down = fmt.Errorf("down")
	if err := r.Full(context.Background()); err == nil {
		t.Error("no error")
	}
	if _, ok := r.Topics.Get("t1"); !ok {
		t.Error("topic is gone")
	}
	r.SetMaster("", "test", "")
	m.asked = nil
	r.must(t)
	r.SetMaster("self:1", "test", "")
	r.must(t)
	if len(m.asked) > 0 {
		t.Errorf("asked %v", m.asked)
	}
}

// TestNothingIsLost has masters change, lose their disk or come back with an older one, and slaves start again: a topic goes only if a
// master had it when the slave was in sync, and deleted it.
func TestNothingIsLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, fs := newMaster(), vfs.NewMem(time.Now)
		r := newRig(t, m, fs)
		must := map[string]bool{}   // topics that the slave has to have
		synced := map[string]bool{} // topics of the master's present life that the slave has got from it
		var saved *fakeMaster
		name := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"})
		// A master that comes back is asked before its table has changed as often as it had before: its version would tell nothing.
		sync := func(t *rapid.T) {
			r.must(t)
			clear(synced)
			for n, want := range m.topics {
				got, ok := r.Topics.Get(n)
				if !ok || got.WriteQueueNums != want.WriteQueueNums {
					t.Fatalf("%s is %v, at the master %v", n, got, want)
				}
				must[n], synced[n] = true, true
			}
			for n := range must {
				if _, ok := r.Topics.Get(n); !ok {
					t.Fatalf("%s is lost", n)
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"create": func(t *rapid.T) { m.topic(name.Draw(t, "name"), rapid.Int32Range(1, 9).Draw(t, "queues")) },
			"delete": func(t *rapid.T) {
				n := name.Draw(t, "name")
				m.deleteTopic(n)
				if synced[n] {
					delete(must, n) // may go
				}
			},
			"save": func(*rapid.T) {
				c := *m
				c.topics = maps.Clone(m.topics)
				saved = &c
			},
			"lose the disk": func(t *rapid.T) {
				m.clock++
				m.topics, m.version = map[string]*body.TopicConfig{}, body.DataVersion{Timestamp: m.clock}
				clear(synced)
				sync(t)
			},
			"restore": func(t *rapid.T) {
				if saved != nil {
					m.topics, m.version = maps.Clone(saved.topics), saved.version
					clear(synced)
					sync(t)
				}
			},
			"start again": func(t *rapid.T) { r = newRig(t, m, fs) },
			"sync":        sync,
		})
	})
}

// TestQueuesAreRemadeWithTheTopics: once for each table, and again if that did not work.
func TestQueuesAreRemadeWithTheTopics(t *testing.T) {
	m := newMaster()
	m.topic("t", 1)
	r := newRig(t, m, vfs.NewMem(time.Now))
	r.remade = []error{errors.New("no room")}
	if err := r.Full(context.Background()); err == nil || r.remakes != 1 {
		t.Errorf("%d remakes, %v", r.remakes, err)
	}
	for range 3 {
		r.must(t)
	}
	if r.remakes != 2 {
		t.Errorf("%d remakes of one table", r.remakes)
	}
	m.topic("u", 1)
	r.must(t)
	if r.remakes != 3 {
		t.Errorf("%d remakes of two tables", r.remakes)
	}
}

// TestWhatClientsCommitComesToTheMaster: what the master has had when it came back was asked for too early.
func TestWhatClientsCommitComesToTheMaster(t *testing.T) {
	for name, c := range map[string]struct {
		master string // the queue of the group there; empty for none
		refuse int32
		want   int64 // at both
		fails  bool
	}{
		"as it was":                 {master: "{0:10}", want: 12},
		"a little further":          {master: "{0:11}", want: 12},
		"nothing there":             {want: 12},
		"the same":                  {master: "{0:12}", want: 12},
		"further on there":          {master: "{0:20}", want: 20},
		"reset there":               {master: "{0:3}", want: 3},
		"unknown there":             {master: "{0:10}", refuse: code.SubscriptionGroupNotExist, want: 10},
		"not taken just now":        {master: "{0:10}", refuse: code.SystemError, want: 12, fails: true},
		"nothing there, not taken ": {refuse: code.SystemError, want: 12, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMaster()
			r := newRig(t, m, vfs.NewMem(time.Now))
			m.offsets = `{"dataVersion":{"counter":1,"timestamp":9},"offsetTable":{"t@g":{0:10}}}`
			r.must(t)
			r.Offsets.CommitOfClient("g", "t", 0, 11)
			r.Offsets.CommitOfClient("g", "t", 0, 12)
			r.Offsets.Commit("popped", "t", 0, 5) // what it rests on is not at the master
			// The master's is the newer table all the same.
			m.offsets = `{"dataVersion":{"counter":99,"timestamp":9},"offsetTable":{}}`
			if c.master != "" {
				m.offsets = `{"dataVersion":{"counter":99,"timestamp":9},"offsetTable":{"t@g":` + c.master + `}}`
			}
			m.refuses = c.refuse
			if err := r.sync(context.Background(), false); (err != nil) != c.fails {
				t.Fatal(err)
			}
			if off, _ := r.Offsets.Query("g", "t", 0); off != c.want {
				t.Errorf("the slave is at %d", off)
			}
			m.refuses = code.Success
			r.must(t)
			if c.refuse == code.SubscriptionGroupNotExist {
				return
			}
			if want := fmt.Sprintf(`"t@g":{0:%d}`, c.want); !strings.Contains(m.offsets, want) || strings.Contains(m.offsets, "popped") {
				t.Errorf("the master has %s", m.offsets)
			}
			if r.Offsets.HasMoved() {
				t.Error("it is said again")
			}
		})
	}
}
