package meta

import (
	"fmt"
	"path"
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"

	"apogee/compat/body"
	"apogee/filter"
	"apogee/store/record"
	"apogee/store/vfs"
)

// filterRig is a table with a clock that moves.
type filterRig struct {
	*Filters
	fs  vfs.FS
	now time.Time
}

func newFilterRig(t *testing.T, fs vfs.FS) *filterRig {
	t.Helper()
	bloom, err := filter.NewBloom(20, 32)
	if err != nil {
		t.Fatal(err)
	}
	r := &filterRig{fs: fs, now: at}
	r.Filters = NewFilters(FilterOptions{
		FS: fs, Dir: "/store", Now: func() time.Time { return r.now }, Log: quiet(), Cache: new(filter.Cache), Bloom: bloom,
		Kept: func() time.Duration { return 24 * time.Hour },
	})
	return r
}

func sqlSub(topic, expression string, version int64) body.SubscriptionData {
	return body.SubscriptionData{Topic: topic, SubString: expression, ExpressionType: "SQL92", SubVersion: version}
}

// state is a filter in words: expression, version, and whether it is dead.
func (r *filterRig) state(topic, group string) string {
	f := r.Get(topic, group)
	if f == nil {
		return "none"
	}
	s := f.Data.Expression + " " + time.UnixMilli(f.Data.ClientVersion).UTC().Format("05")
	if f.Body().Dead {
		s += " dead"
	}
	return s
}

func TestFilterVersions(t *testing.T) {
	type step struct {
		subs []body.SubscriptionData // nil: the last consumer leaves
		want string
	}
	beat := func(expression string, version int64, want string) step {
		return step{[]body.SubscriptionData{sqlSub("T", expression, version*1000)}, want}
	}
	tags := body.SubscriptionData{Topic: "T", SubString: "*", SubVersion: 99_000}
	other := sqlSub("U", "b = 1", 1000)
	odd := sqlSub("T", "a = 1", 50_000)
	odd.ExpressionType = "FOO"
	empty := sqlSub("T", "", 50_000)
	for name, steps := range map[string][]step{
		"new":                                {beat("a = 1", 1, "a = 1 01")},
		"does not compile":                   {beat("a =", 1, "none")},
		"right after all":                    {beat("a =", 1, "none"), beat("a = 1", 1, "a = 1 01")},
		"same again":                         {beat("a = 1", 1, "a = 1 01"), beat("a = 1", 1, "a = 1 01")},
		"another with the same version":      {beat("a = 1", 1, "a = 1 01"), beat("a = 2", 1, "a = 1 01")},
		"older":                              {beat("a = 1", 5, "a = 1 05"), beat("a = 2", 4, "a = 1 05")},
		"newer":                              {beat("a = 1", 1, "a = 1 01"), beat("a = 2", 2, "a = 2 02")},
		"newer version, same expression":     {beat("a = 1", 1, "a = 1 01"), beat("a = 1", 2, "a = 1 02")},
		"newer, does not compile":            {beat("a = 1", 1, "a = 1 01"), beat("a >", 2, "none")},
		"older, does not compile":            {beat("a = 1", 2, "a = 1 02"), beat("a >", 1, "a = 1 02")},
		"leaves":                             {beat("a = 1", 1, "a = 1 01"), {nil, "a = 1 01 dead"}},
		"comes back":                         {beat("a = 1", 1, "a = 1 01"), {nil, "a = 1 01 dead"}, beat("a = 1", 1, "a = 1 01")},
		"comes back with another":            {beat("a = 1", 1, "a = 1 01"), {nil, "a = 1 01 dead"}, beat("a = 2", 2, "a = 2 02")},
		"comes back with the same, newer":    {beat("a = 1", 1, "a = 1 01"), {nil, "a = 1 01 dead"}, beat("a = 1", 2, "a = 1 02")},
		"comes back older":                   {beat("a = 1", 2, "a = 1 02"), {nil, "a = 1 02 dead"}, beat("a = 1", 1, "a = 1 02 dead")},
		"tags do not bury it":                {beat("a = 1", 1, "a = 1 01"), {[]body.SubscriptionData{tags}, "a = 1 01"}},
		"another topic does":                 {beat("a = 1", 1, "a = 1 01"), {[]body.SubscriptionData{other}, "a = 1 01 dead"}},
		"no topic at all":                    {beat("a = 1", 1, "a = 1 01"), {[]body.SubscriptionData{}, "a = 1 01 dead"}},
		"another kind of expression":         {{[]body.SubscriptionData{odd}, "none"}},
		"another kind later":                 {beat("a = 1", 1, "a = 1 01"), {[]body.SubscriptionData{odd}, "none"}},
		"empty expression changes nothing":   {beat("a = 1", 1, "a = 1 01"), {[]body.SubscriptionData{empty}, "a = 1 01"}},
		"tags are none of this table":        {{[]body.SubscriptionData{tags}, "none"}},
		"leaves without having had a filter": {{nil, "none"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newFilterRig(t, vfs.NewMem(now))
			for i, s := range steps {
				r.now = r.now.Add(time.Second)
				if s.subs == nil {
					r.Unregister("G")
				} else {
					r.Register("G", s.subs)
				}
				if got := r.state("T", "G"); got != s.want {
					t.Fatalf("after step %d: %s, want %s", i, got, s.want)
				}
			}
		})
	}
}

func TestFiltersAreEvaluated(t *testing.T) {
	r := newFilterRig(t, vfs.NewMem(now))
	r.Register("G", []body.SubscriptionData{sqlSub("T", "a > 2", 1)})
	f := r.Get("T", "G")
	m := record.Message{Topic: "T", Body: []byte("x"), Properties: "a\x013\x02"}
	l, err := m.Measure(false)
	if err != nil {
		t.Fatal(err)
	}
	rec := make([]byte, l.Total)
	record.Encode(rec, &m, l)
	if !f.MatchTags(17) || !f.MatchRecord(rec) {
		t.Error("no match")
	}
	if n := testing.AllocsPerRun(1000, func() { f.MatchRecord(rec) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if f.MatchRecord(rec[:20]) || f.MatchRecord(nil) {
		t.Error("half a record matches")
	}
}

func TestFiltersOutliveTheBroker(t *testing.T) {
	fs := vfs.NewMem(now)
	r := newFilterRig(t, fs)
	r.Register("G", []body.SubscriptionData{sqlSub("T", "a = '北京'", 1), sqlSub("U", "b = 1", 1)})
	r.Register("H", []body.SubscriptionData{sqlSub("T", "a = 1", 1)})
	r.now = r.now.Add(time.Minute)
	r.Unregister("H")
	if err := r.Persist(); err != nil {
		t.Fatal(err)
	}
	before := string(read(t, fs, filterFile))
	if !strings.Contains(before, "\"bitNum\":112") || !strings.Contains(before, "\"deadTime\":0,") {
		t.Errorf("written\n%s", before)
	}
	r.now = r.now.Add(time.Second)
	if err := r.Persist(); err != nil || string(read(t, fs, filterFile)) != before {
		t.Errorf("changed by itself (%v)", err)
	}

	next := newFilterRig(t, fs)
	next.now = at.Add(2 * time.Minute)
	if err := next.Load(); err != nil {
		t.Fatal(err)
	}
	f := next.Get("T", "G")
	if f == nil || !f.Body().Dead || f.Data.DeadTime != next.now.Add(-30*time.Second).UnixMilli() || f.Data.BornTime != at.UnixMilli() {
		t.Fatalf("loaded %+v", f)
	}
	if h := next.Get("T", "H"); h == nil || h.Data.DeadTime != at.Add(time.Minute).UnixMilli() {
		t.Errorf("loaded %+v", h)
	}
	next.Register("G", []body.SubscriptionData{sqlSub("T", "a = '北京'", 1)})
	if got := next.state("T", "G"); strings.Contains(got, "dead") {
		t.Errorf("after the first heartbeat: %s", got)
	}
	next.now = at.Add(24*time.Hour + 59*time.Second)
	if err := next.Persist(); err != nil || next.Get("T", "H") == nil {
		t.Fatalf("forgotten too early (%v)", err)
	}
	next.now = at.Add(24*time.Hour + 60*time.Second)
	if err := next.Persist(); err != nil || next.Get("T", "H") != nil || strings.Contains(string(read(t, fs, filterFile)), "\"H\"") {
		t.Errorf("not forgotten (%v)", err)
	}
	if next.Get("T", "G") == nil {
		t.Error("the living one is gone")
	}
}

func TestFiltersOfASecondBornLater(t *testing.T) {
	fs := vfs.NewMem(now)
	r := newFilterRig(t, fs)
	r.Register("G", []body.SubscriptionData{sqlSub("T", "a = 1", 1)})
	if err := r.Persist(); err != nil {
		t.Fatal(err)
	}
	next := newFilterRig(t, fs) // at the moment of its birth: it cannot have died before
	if err := next.Load(); err != nil || next.Get("T", "G").Data.DeadTime != at.UnixMilli() {
		t.Errorf("%v %+v", err, next.Get("T", "G"))
	}
}

func TestGoldenFilters(t *testing.T) {
	fs := vfs.NewMem(now)
	text := golden(t, fs, "clean", filterFile)
	r := newFilterRig(t, fs)
	r.now = time.UnixMilli(1795365519607).Add(time.Hour)
	if err := r.Load(); err != nil {
		t.Fatal(err)
	}
	if got := r.Get("Props_s11", "SqlGroup_s11"); got == nil || !strings.HasPrefix(got.Data.Expression, "a > 5 AND (city = '北京'") {
		t.Fatalf("loaded %+v", got)
	}
	if err := r.Persist(); err != nil {
		t.Fatal(err)
	}
	var was, is map[string]any
	decode(t, text, &was)
	decode(t, read(t, fs, filterFile), &is)
	if !reflect.DeepEqual(was, is) {
		t.Errorf("was\n%s\nis\n%s", text, read(t, fs, filterFile))
	}
	// Made anew they are the same: positions in the bloom filter included.
	made := newFilterRig(t, vfs.NewMem(now))
	made.Register("SqlGroup_s11", []body.SubscriptionData{sqlSub("Props_s11", "a = 1", 1)})
	if got, want := made.Get("Props_s11", "SqlGroup_s11").Data.BloomFilterData, r.Get("Props_s11", "SqlGroup_s11").Data.BloomFilterData; !reflect.DeepEqual(got, want) {
		t.Errorf("bloom data %v, want %v", got, want)
	}
}

func TestFiltersThatAreNotLoaded(t *testing.T) {
	one := func(group, expression, bloom string) string {
		return `"` + group + `":{"bloomFilterData":` + bloom + `,"bornTime":1,"clientVersion":1,"consumerGroup":"` + group +
			`","dead":false,"deadTime":0,"expression":"` + expression + `","expressionType":"SQL92","topic":"T"}`
	}
	const fits = `{"bitNum":112,"bitPos":[1,2,3]}`
	for name, c := range map[string]struct {
		groups string
		want   int
	}{
		"all is well":               {one("G", "a = 1", fits) + "," + one("H", "a = 1", fits), 2},
		"one does not compile":      {one("G", "a >", fits) + "," + one("H", "a = 1", fits), 1},
		"bloom filter of 64 bits":   {one("G", "a = 1", `{"bitNum":64,"bitPos":[1,2,3]}`) + "," + one("H", "a = 1", fits), 0},
		"bloom filter of 4 hashes":  {one("G", "a = 1", `{"bitNum":112,"bitPos":[1,2,3,4]}`), 0},
		"without bloom filter data": {one("G", "a = 1", `null`), 0},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem(now)
			write(t, fs, path.Join(ConfigDir("/store"), filterFile), []byte(`{"filterDataByTopic":{"T":{"groupFilterData":{`+c.groups+`},"topic":"T"}}}`))
			r := newFilterRig(t, fs)
			if err := r.Load(); err != nil || len(r.groups) != c.want {
				t.Errorf("%d loaded, %v; want %d", len(r.groups), err, c.want)
			}
		})
	}
	fs := vfs.NewMem(now)
	write(t, fs, path.Join(ConfigDir("/store"), filterFile), []byte(`{"filterDataByTopic":[1]}`))
	if r := newFilterRig(t, fs); r.Load() != nil || len(r.groups) != 0 {
		t.Errorf("of a broken file %d groups are loaded", len(r.groups))
	}
}

func TestHeartbeatsThatSayTheSameAllocateNothing(t *testing.T) {
	r := newFilterRig(t, vfs.NewMem(now))
	subs := []body.SubscriptionData{sqlSub("T", "a = 1", 1), {Topic: "%RETRY%G", SubString: "*"}}
	r.Register("G", subs)
	if n := testing.AllocsPerRun(100, func() { r.Register("G", subs); r.Get("T", "G"); r.Register("H", subs[1:]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Of a group with more filters than anybody needs, only those are kept that its consumers have now.
func TestMadeUpTopicsAreForgotten(t *testing.T) {
	r := newFilterRig(t, vfs.NewMem(now))
	for version := range int64(4) {
		var subs []body.SubscriptionData
		for i := range maxDead {
			subs = append(subs, sqlSub(fmt.Sprint(version, "-", i), "a = 1", version))
		}
		r.Register("G", subs)
		if n := len(r.groups["G"]); n != maxDead || r.Get(subs[maxDead-1].Topic, "G").dead() {
			t.Fatalf("%d filters after heartbeat %d", n, version)
		}
	}
	r.Unregister("G")
	if n := len(r.groups["G"]); n != maxDead {
		t.Errorf("%d filters when the consumers are gone", n)
	}
}

func TestFiltersKeepNothingOfAHeartbeat(t *testing.T) {
	r := newFilterRig(t, vfs.NewMem(now))
	frame := []byte("TGa = 1SQL92")
	view := func(from, to int) string { return unsafe.String(&frame[from], to-from) }
	r.Register(view(1, 2), []body.SubscriptionData{{Topic: view(0, 1), SubString: view(2, 7), ExpressionType: view(7, 12), SubVersion: 1000}})
	clear(frame)
	if got := r.state("T", "G"); got != "a = 1 01" {
		t.Errorf("after the frame is gone: %s", got)
	}
}
