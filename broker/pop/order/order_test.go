package order

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"apogee/broker/pop"
	"apogee/internal/leaktest"
	"apogee/store/vfs"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const start = 1700000000000 // ms

// rig is a table and what is around it.
type rig struct {
	*Table
	fs     *vfs.Mem
	now    int64
	topics map[string]int32
	next   int64
	freed  []pop.Key
	silent bool
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func newRig(t fataler, fs *vfs.Mem) *rig {
	t.Helper()
	r := &rig{now: start, topics: map[string]int32{"tA": 4}, fs: fs}
	if fs == nil {
		r.fs = vfs.NewMem(r.clock)
		if err := errors.Join(r.fs.MkdirAll("/store/config"), r.fs.SyncDir("/store"), r.fs.SyncDir("/")); err != nil {
			t.Fatalf("%v", err)
		}
	}
	r.Table = New(Options{
		FS: r.fs, Dir: "/store", Now: r.clock,
		ReadQueues: func(topic string) (int32, bool) { n, ok := r.topics[topic]; return n, ok },
		HasGroup:   func(group string) bool { return group == "gA" },
		Next:       func(pop.Key) int64 { return r.next },
		Free:       func(k pop.Key) { r.freed = append(r.freed, k) },
		Announce:   func() bool { return !r.silent },
	})
	if err := r.Load(); err != nil {
		t.Fatalf("load: %v", err)
	}
	return r
}

func (r *rig) clock() time.Time { return time.UnixMilli(r.now) }

var key = pop.Key{Topic: "tA", Group: "gA", Queue: 1}

func (r *rig) take(attempt string, invisible time.Duration, offsets ...int64) string {
	return string(r.Taken(key, attempt, r.now, invisible, offsets, nil))
}

func (r *rig) blocked(attempt string) bool { return r.Blocked(key, attempt, time.Minute, r.now) }

func TestABatchBlocksUntilItIsAcknowledged(t *testing.T) {
	r := newRig(t, nil)
	if r.blocked("") {
		t.Error("blocked before anything is out")
	}
	if got := r.take("a1", time.Minute, 100, 101, 103); got != "0 1 0" {
		t.Errorf("counts %q", got)
	}
	popTime := r.now
	if !r.blocked("") || !r.blocked("a2") || r.blocked("a1") {
		t.Error("all but the attempt itself are blocked")
	}
	if r.Blocked(pop.Key{Topic: "tA", Group: "gA", Queue: 2}, "", time.Minute, r.now) {
		t.Error("another queue is blocked")
	}
	r.now += 10
	for _, ack := range []struct{ offset, popTime, want int64 }{
		{101, popTime, 100}, {102, popTime, Illegal}, {104, popTime, Illegal}, {100, popTime - 1, NoneToDo}, {100, popTime, 103}, {100, popTime, 103},
	} {
		if got := r.Ack(key, ack.offset, ack.popTime); got != ack.want || !r.blocked("") {
			t.Errorf("ack of %d: %d, blocked %v", ack.offset, got, r.blocked(""))
		}
	}
	if got := r.Ack(key, 103, popTime); got != 104 || r.blocked("") {
		t.Errorf("the last ack: %d", got)
	}
	if len(r.heap) != 0 {
		t.Error("a free queue is waited for")
	}
}

func TestCountsOfWhatComesAgain(t *testing.T) {
	r := newRig(t, nil)
	r.take("a1", time.Second, 100, 101)
	if got := r.take("a1", time.Second, 100, 101); got != "0 1 0" {
		t.Errorf("the same attempt: %q", got)
	}
	r.now += 1000
	if r.blocked("a2") {
		t.Error("blocked although all are visible again")
	}
	if got := r.take("a2", time.Second, 101, 102); got != "0 qo1%101 1;0 1 0" {
		t.Errorf("one again, one new: %q", got)
	}
	if got := r.take("", time.Second, 101, 102); got != "0 qo1%101 2;0 qo1%102 1;0 1 1" {
		t.Errorf("both again: %q", got)
	}
	if got := r.take("", time.Second, 101, 102); got != "0 qo1%101 3;0 qo1%102 2;0 1 2" {
		t.Errorf("two pops without an attempt id are two attempts: %q", got)
	}
	if got := r.take("", time.Second, 103); got != "0 1 0" {
		t.Errorf("a new one: %q", got)
	}
}

func TestPostpone(t *testing.T) {
	r := newRig(t, nil)
	r.take("a1", time.Second, 100, 101)
	popTime := r.now
	r.Postpone(key, 100, popTime-1, r.now+9000) // of an older batch
	r.Postpone(key, 102, popTime, r.now+9000)   // not out
	r.Postpone(pop.Key{Topic: "tX"}, 100, popTime, r.now+9000)
	r.Postpone(key, 101, popTime, r.now+5000)
	r.Postpone(key, 100, popTime, r.now) // visible at once
	r.now += 1000
	if !r.blocked("") {
		t.Error("what is postponed does not block")
	}
	r.now += 4000
	if r.blocked("") {
		t.Error("blocked after its time")
	}
}

// Without a batch, as after a crash, only what goes on where the group is may be acknowledged.
func TestAckWithoutABatch(t *testing.T) {
	r := newRig(t, nil)
	r.next = 100
	if got := r.Ack(key, 102, r.now); got != NoneToDo {
		t.Errorf("an ack that would lose two messages: %d", got)
	}
	if got := r.Ack(key, 100, r.now); got != 101 {
		t.Errorf("the next one: %d", got)
	}
}

func TestClearAndDelete(t *testing.T) {
	r := newRig(t, nil)
	r.take("", time.Minute, 100)
	r.Clear(key)
	r.Clear(key)
	if r.blocked("") || len(r.groups) != 0 || len(r.heap) != 0 {
		t.Error("still blocked")
	}
	r.take("", time.Minute, 100)
	r.DeleteGroup("gB")
	if !r.blocked("") {
		t.Error("another group was deleted")
	}
	r.DeleteGroup("gA")
	if r.blocked("") || len(r.heap) != 0 {
		t.Error("the group is gone")
	}
	if r.take("", time.Minute); r.blocked("") {
		t.Error("nothing was taken")
	}
}

func TestTheFileIsJavas(t *testing.T) {
	r := newRig(t, nil)
	r.take("attempt-1", time.Minute, 100)
	r.now += 500
	r.take("attempt-2", time.Minute, 100, 101, 103)
	r.Ack(key, 101, r.now)
	r.Postpone(key, 100, r.now, r.now+7)
	if err := r.Persist(); err != nil {
		t.Fatal(err)
	}
	text, err := vfs.ReadFile(r.fs, "/store/config/consumerOrderInfo.json")
	want := strings.ReplaceAll(`{
	"table":{
		"tA@gA":{
			1:{
				"a":"attempt-2",
				"cm":2,
				"i":60000,
				"l":1700000000500,
				"o":[
					100,
					1,
					3
				],
				"oc":{
					100:1
				},
				"ot":{
					100:1700000000507
				},
				"popTime":1700000000500
			}
		}
	}
}`, "[\n\t\t\t\t\t100,\n\t\t\t\t\t1,\n\t\t\t\t\t3\n\t\t\t\t]", "[100,1,3]")
	flat := strings.ReplaceAll(string(text), "[\n\t\t\t\t\t100,\n\t\t\t\t\t1,\n\t\t\t\t\t3\n\t\t\t\t]", "[100,1,3]")
	if err != nil || flat != want {
		t.Errorf("%v\n%s", err, text)
	}
	again := newRig(t, r.fs.CrashClone(7))
	again.now = r.now
	if !again.blocked("x") || again.blocked("attempt-2") || len(again.heap) != 1 {
		t.Error("the block is not there after a start")
	}
	if got := again.Ack(key, 100, again.now); got != 103 {
		t.Errorf("ack after a start: %d", got)
	}
	if got := again.Ack(key, 103, again.now); got != 104 || again.blocked("x") {
		t.Errorf("last ack after a start: %d", got)
	}
}

// Files that Java never writes must not do harm either.
func TestOddFiles(t *testing.T) {
	for _, text := range []string{
		`{}`, `{"table":null}`, `{"table":{"tA@gA":null,"x":{0:{"o":[1]}},"a@b@c":{0:{"o":[1]}}}}`,
		`{"table":{"tA@gA":{1:null,2:{},3:{"o":[],"popTime":1},0:{"o":[` + strings.Repeat("1,", 80) + `1]}}}}`,
	} {
		r := newRig(t, nil)
		if err := vfs.WriteFileAtomic(r.fs, "/store/config/consumerOrderInfo.json", []byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := r.Load(); err != nil || len(r.groups) != 0 {
			t.Errorf("%s: %v, %d groups", text, err, len(r.groups))
		}
	}
	// One without an invisible time takes that of the next pop.
	r := newRig(t, nil)
	if err := vfs.WriteFileAtomic(r.fs, "/store/config/consumerOrderInfo.json", []byte(`{"table":{"tA@gA":{1:{"o":[5,1],"popTime":1700000000000}}}}`)); err != nil {
		t.Fatal(err)
	}
	if err := r.Load(); err != nil || !r.blocked("") {
		t.Errorf("%v", err)
	}
	if r.now += time.Minute.Milliseconds(); r.blocked("") {
		t.Error("blocked for longer than the pop's invisible time")
	}
}

func TestWhatBelongsToNobodyIsForgotten(t *testing.T) {
	r := newRig(t, nil)
	taken := func(topic, group string, queue int32) {
		r.Taken(pop.Key{Topic: topic, Group: group, Queue: queue}, "", r.now, time.Hour, []int64{1}, nil)
	}
	r.topics["tB"] = 1
	taken("tB", "gA", 0)
	r.now += 1000
	taken("tX", "gA", 0)
	taken("tA", "gX", 0)
	taken("tA", "gA", 0)
	taken("tA", "gA", 4)
	r.now += (24 * time.Hour).Milliseconds()
	if err := r.Persist(); err != nil {
		t.Fatal(err)
	}
	if len(r.groups) != 1 || len(r.groups[name{"tA", "gA"}]) != 1 || len(r.heap) != 1 {
		t.Errorf("left: %v", r.groups)
	}
}

func TestFreeQueuesAreTold(t *testing.T) {
	r := newRig(t, nil)
	told := make(chan pop.Key)
	r.opts.Free = func(k pop.Key) { told <- k }
	r.opts.Now = time.Now // the timer's clock
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { r.Run(ctx); close(done) }()
	now := time.Now().UnixMilli()
	late := pop.Key{Topic: "tA", Group: "gA", Queue: 0}
	r.Taken(late, "", now, time.Hour, []int64{1}, nil)
	r.Taken(key, "", now, 5*time.Millisecond, []int64{1, 2}, nil)
	r.Postpone(key, 2, now, now+10)
	if got := <-told; got != key {
		t.Errorf("told of %v", got)
	}
	r.Postpone(late, 1, now, 0)
	r.Taken(late, "", now, time.Millisecond, []int64{1}, nil)
	if got := <-told; got != late {
		t.Errorf("told of %v", got)
	}
	cancel()
	<-done
}

// model is the rules, one message at a time.
type model struct {
	attempt string
	popTime int64
	visible map[int64]int64 // offset to ms, of those that are not acknowledged
	all     []int64
	counts  map[int64]int32
}

func TestAgainstTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRig(t, nil)
		r.silent = rapid.Bool().Draw(t, "silent")
		var m *model
		base := int64(0)
		blocked := func(attempt string) bool {
			if m == nil || attempt != "" && attempt == m.attempt {
				return false
			}
			for _, at := range m.visible {
				if at > r.now {
					return true
				}
			}
			return false
		}
		attempts := rapid.SampledFrom([]string{"", "a1", "a2"})
		t.Repeat(map[string]func(*rapid.T){
			"pop": func(t *rapid.T) {
				attempt := attempts.Draw(t, "attempt")
				if got := r.blocked(attempt); got != blocked(attempt) {
					t.Fatalf("blocked %v", got)
				} else if got {
					return
				}
				invisible := time.Duration(rapid.IntRange(1, 50).Draw(t, "invisible")) * time.Millisecond
				next := &model{attempt: attempt, popTime: r.now, visible: map[int64]int64{}, counts: map[int64]int32{}}
				at := base
				for range rapid.IntRange(1, 32).Draw(t, "messages") {
					next.all = append(next.all, at)
					next.visible[at] = r.now + invisible.Milliseconds()
					at += int64(rapid.IntRange(1, 2).Draw(t, "distance"))
				}
				same := m != nil && attempt != "" && m.attempt == attempt
				for _, off := range next.all {
					if m != nil && !same && slices.Contains(m.all, off) {
						next.counts[off] = m.counts[off] + 1
					}
				}
				if same {
					next.counts = m.counts
				}
				m = next
				want := ""
				least := int32(1 << 30)
				for _, off := range slices.Sorted(maps.Keys(m.counts)) {
					want += fmt.Sprintf("0 qo1%%%d %d;", off, m.counts[off])
					least = min(least, m.counts[off])
				}
				if len(m.counts) != len(m.all) {
					least = 0
				}
				if got := r.take(attempt, invisible, m.all...); got != want+fmt.Sprintf("0 1 %d", least) {
					t.Fatalf("counts %q, want %q and %d", got, want, least)
				}
			},
			"ack": func(t *rapid.T) {
				if m == nil {
					return
				}
				off, popTime := base+int64(rapid.IntRange(-1, 70).Draw(t, "offset")), m.popTime-int64(rapid.IntRange(0, 1).Draw(t, "older"))
				want := NoneToDo
				if popTime == m.popTime {
					want = Illegal
					if slices.Contains(m.all, off) {
						delete(m.visible, off)
						want = m.all[len(m.all)-1] + 1
						if len(m.visible) > 0 {
							want = slices.Min(slices.Collect(maps.Keys(m.visible)))
						}
					}
				}
				got := r.Ack(key, off, popTime)
				if got != want {
					t.Fatalf("ack of %d: %d, want %d", off, got, want)
				}
				if got >= 0 {
					base = got // the group's offset: pops start there
				}
			},
			"postpone": func(t *rapid.T) {
				if m == nil {
					return
				}
				off, at := base+int64(rapid.IntRange(0, 40).Draw(t, "offset")), r.now+int64(rapid.IntRange(-5, 60).Draw(t, "wait"))
				r.Postpone(key, off, m.popTime, at)
				if _, out := m.visible[off]; out {
					m.visible[off] = at
				}
			},
			"wait":    func(t *rapid.T) { r.now += int64(rapid.IntRange(1, 40).Draw(t, "ms")) },
			"restart": func(t *rapid.T) { r.restart(t) },
			"clear": func(t *rapid.T) {
				r.Clear(key)
				m = nil
			},
			"": func(t *rapid.T) { r.check(t, blocked("")) },
		})
	})
}

func (r *rig) restart(t *rapid.T) {
	if err := r.Persist(); err != nil {
		t.Fatalf("%v", err)
	}
	again := newRig(t, r.fs.CrashClone(uint64(r.now)))
	again.now, again.silent = r.now, r.silent
	if again.silent {
		again.heap = nil
		again.opts.Announce = func() bool { return false }
		for _, queues := range again.groups {
			for _, b := range queues {
				b.heapAt = -1
			}
		}
	}
	r.Table, r.fs = again.Table, again.fs
	r.opts.Now = r.clock
}

// check holds the heap against the batches: who is told of, is told when the block ends.
func (r *rig) check(t *rapid.T, blocked bool) {
	for i, b := range r.heap {
		if b.heapAt != i || i > 0 && r.heap[(i-1)/2].end > b.end || b.end != b.freeAt() {
			t.Fatalf("heap at %d: %+v", i, b)
		}
	}
	if b := r.findLocked(key); b != nil && !r.silent && blocked && (len(r.heap) != 1 || r.heap[0] != b) {
		t.Fatalf("nobody would hear of the end of the block")
	}
	if r.blocked("") != blocked {
		t.Fatalf("blocked %v", !blocked)
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte(`{"table":{"tA@gA":{1:{"a":"x","cm":3,"i":60000,"l":1,"o":[100,1,2],"oc":{100:1},"ot":{100:5},"popTime":7}}}}`))
	f.Add([]byte(`{"table":{"tA@gA":{1:{"i":9223372036854775807,"o":[9223372036854775807,9223372036854775807],"popTime":9223372036854775807}}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r := newRig(t, nil)
		if r.parse(text) != nil {
			return
		}
		r.blocked("x")
		r.ended(r.now)
		r.changed = true
		if err := r.Persist(); err != nil {
			t.Fatal(err)
		}
		newRig(t, r.fs)
	})
}
