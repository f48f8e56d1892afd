package store

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"apogee/store/record"
	"apogee/store/vfs"
)

func compactionRig(t testing.TB, change ...func(*Options)) *rig {
	return newRig(t, append([]func(*Options){func(o *Options) {
		o.CompactionCqMappedFileSize, o.CompactionMappedFileSize = 10*batchUnitSize, 1500
		o.QueueKind = func(topic string) QueueKind { return map[string]QueueKind{"C": CompactionQueue}[topic] }
	}}, change...)...)
}

func keyed(key, body string) *record.Message {
	m := message("C", 0, body)
	if key != "" {
		m.Properties = string(record.AppendProperty(nil, record.PropKeys, key))
	}
	return m
}

// compacted reads a compaction log from its start: offset:body of each record.
func compacted(t interface{ Fatalf(string, ...any) }, s *Store) string {
	var res GetResult
	defer res.Release()
	var l []string
	for next := int64(0); ; {
		s.Get(&GetRequest{Topic: "C", Offset: next, MaxCount: 5}, &res)
		if res.Status == OffsetOverflowOne || res.Status == NoMessageInQueue || res.Status == NoMatchedLogicQueue {
			return strings.Join(l, " ")
		}
		if res.Status != Found || res.Next <= next || res.Count == 0 {
			t.Fatalf("get at %d: %v next %d, %d messages", next, res.Status, res.Next, res.Count)
		}
		for _, region := range res.Regions {
			for len(region) > 0 {
				var h record.Header
				if err := record.Parse(region, &h); err != nil {
					t.Fatalf("record: %v", err)
				}
				l = append(l, fmt.Sprintf("%d:%s", h.QueueOffset, h.Body))
				region = region[h.Size:]
			}
		}
		next = res.Next
	}
}

var never = func() error { return nil }

func TestCompactionSizes(t *testing.T) {
	for _, c := range []struct{ log, cq, wantLog, wantCq int64 }{
		{104857600, 10485760, 104857460, 10485746}, // the defaults
		{65536, 9200, 64400, 9200},
		{1000, 9200, 46000, 9200},
		{97 * 9200, 9200, 98 * 9200, 9200}, // as Java has it: without a remainder one more
		{7*9200 + 5000, 9200, 8 * 9200, 9200},
	} {
		if log, cq := CompactionSizes(c.log, c.cq); log != c.wantLog || cq != c.wantCq {
			t.Errorf("%d, %d: %d and %d, want %d and %d", c.log, c.cq, log, cq, c.wantLog, c.wantCq)
		}
	}
}

// What the queue itself points at can be read too, whatever has been compacted.
func TestPlainReadOfACompactionTopic(t *testing.T) {
	s := compactionRig(t).open()
	defer func() { must(t, s.Close()) }()
	for i := range 3 {
		if res := s.PutWait(keyed("a", fmt.Sprint("b", i))); res.Status != PutOK {
			t.Fatal(res)
		}
	}
	s.compact.copyAll(never)
	var res GetResult
	s.Get(&GetRequest{Topic: "C", MaxCount: 5, Plain: true}, &res)
	defer res.Release()
	if res.Status != Found || res.Count != 3 || res.Next != 3 {
		t.Errorf("%v, %d messages, next %d", res.Status, res.Count, res.Next)
	}
}

// TestCompactionAgainstModel compares a compaction log with what must be in it, through compactions, closes and kills.
func TestCompactionAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := compactionRig(t)
		s := r.open()
		defer func() { _ = s.Close() }()
		type msg struct {
			off       int64
			key, body string
		}
		var all []msg
		newest := map[string]int64{}
		compactions := 0
		for step := range rapid.IntRange(1, 60).Draw(rt, "steps") {
			switch rapid.IntRange(0, 14).Draw(rt, "what") {
			case 0:
				must(t, s.Close())
				s = r.open()
			case 1:
				must(t, s.commit.commitStaged())
				clone := r.on(r.mem.KillClone())
				abandon(s)
				r = clone
				s = r.open()
			case 2, 3:
				s.compact.copyAll(never)
				if l := s.compact.find("C", 0); l != nil {
					if err := s.compact.compact(l, never); err != nil {
						rt.Fatalf("compact: %v", err)
					}
					compactions++
				}
			default:
				m := msg{off: int64(len(all)), key: rapid.SampledFrom([]string{"a", "b", "c", "d d", "", " "}).Draw(rt, "key"), body: fmt.Sprintf("b%d", step)}
				if rapid.IntRange(0, 5).Draw(rt, "tombstone") == 0 {
					m.body = ""
				}
				put(t, s, keyed(m.key, m.body))
				all = append(all, m)
				if strings.TrimSpace(m.key) != "" {
					newest[m.key] = m.off
				}
			}
		}
		s.compact.copyAll(never)
		got := " " + compacted(rt, s) + " "
		// What must be there: the newest of each key. What may not: what has no key. All that is there is in order and as it was put.
		for key, off := range newest {
			if all[off].body != "" && !strings.Contains(got, fmt.Sprintf(" %d:%s ", off, all[off].body)) {
				rt.Fatalf("the newest of %q, at %d, is gone: %s", key, off, got)
			}
		}
		last, n := int64(-1), 0
		for _, word := range strings.Fields(got) {
			var off int64
			var body string
			_, _ = fmt.Sscanf(word, "%d:%s", &off, &body)
			if off <= last || off >= int64(len(all)) || strings.TrimSpace(all[off].key) == "" || all[off].body != body {
				rt.Fatalf("%s in %s", word, got)
			}
			last, n = off, n+1
		}
		if compactions == 0 && n != len(all)-countBlank(all, func(m msg) bool { return strings.TrimSpace(m.key) == "" }) {
			rt.Fatalf("%d records of %d: %s", n, len(all), got)
		}
	})
}

func countBlank[T any](l []T, is func(T) bool) (n int) {
	for _, v := range l {
		if is(v) {
			n++
		}
	}
	return n
}

func TestCompactionKeepsTheNewest(t *testing.T) {
	r := compactionRig(t)
	s := r.open()
	for i := range 30 { // about seven in a file
		put(t, s, keyed(fmt.Sprint("k", i%3), fmt.Sprint("v", i)))
	}
	put(t, s, keyed("k0", ""))
	for i := range 9 {
		put(t, s, keyed("x", fmt.Sprint("x", i)))
	}
	s.compact.copyAll(never)
	l := s.compact.find("C", 0)
	files := len(l.list())
	if files < 4 {
		t.Fatalf("%d files", files)
	}
	var res GetResult // somebody who is reading keeps what he has
	s.Get(&GetRequest{Topic: "C", Offset: 0, MaxCount: 3}, &res)
	before := string(res.Regions[0])
	must(t, s.compact.compact(l, never))
	if string(res.Regions[0]) != before {
		t.Error("what is being read has changed")
	}
	res.Release()
	got := compacted(t, s)
	if !strings.HasPrefix(got, "28:v28 29:v29 ") || strings.Contains(got, "27:") || strings.Contains(got, "30:") || !strings.HasSuffix(got, "39:x8") {
		t.Errorf("kept: %s", got)
	}
	if n := len(l.list()); n != 2 {
		t.Errorf("%d files of %d", n, files)
	}
	if s.Get(&GetRequest{Topic: "C", Offset: 5, MaxCount: 1}, &res); res.Status != Found || res.Next != 29 || res.Min != 28 {
		t.Errorf("inside a gap: %v, next %d, min %d", res.Status, res.Next, res.Min)
	}
	res.Release()
	must(t, s.compact.compact(l, never)) // nothing new: nothing happens
	text, err := vfs.ReadFile(r.mem, "/data/store/compaction/position-checkpoint")
	must(t, err)
	if want := fmt.Sprintf("{\n\t\"empty\":false,\n\t\"queueOffsetMap\":{\n\t\t\"C_0\":%d\n\t}\n}", s.compact.positions["C_0"]); string(text) != want {
		t.Errorf("positions %s", text)
	}
	must(t, s.Close())
	s = r.open()
	if again := compacted(t, s); again != got {
		t.Errorf("after a start: %s\nwas %s", again, got)
	}
	put(t, s, keyed("k1", "new"))
	eventually(t, func() bool { return strings.HasSuffix(compacted(t, s), "40:new") })
	must(t, s.DeleteTopics("C"))
	put(t, s, keyed("k", "again"))
	eventually(t, func() bool { return compacted(t, s) == "0:again" })
	must(t, s.Close())
}

// TestCompactionCrashes cuts the power at each step of a compaction.
func TestCompactionCrashes(t *testing.T) {
	for step := int64(1); ; step += 2 {
		r := compactionRig(t, syncFlush)
		var armed atomic.Bool
		var count atomic.Int64
		var clone atomic.Pointer[vfs.Mem]
		r.opts.FS = vfs.Faulty(r.mem, func(vfs.Op, string) error {
			if armed.Load() && count.Add(1) == step {
				clone.Store(r.mem.CrashClone(uint64(step)))
			}
			return nil
		})
		s := r.open()
		for i := range 40 {
			put(t, s, keyed(fmt.Sprint("k", i%3), fmt.Sprint("v", i)))
		}
		s.compact.copyAll(never)
		must(t, s.compact.sync())
		must(t, s.flushQueues(true))
		armed.Store(true)
		must(t, s.compact.compact(s.compact.find("C", 0), never))
		armed.Store(false)
		abandon(s)
		if clone.Load() == nil {
			if step < 20 {
				t.Errorf("only %d steps", step)
			}
			return
		}
		s = r.on(clone.Load()).open()
		s.compact.copyAll(never)
		got := " " + compacted(t, s) + " "
		for _, want := range []string{" 37:v37 ", " 38:v38 ", " 39:v39 "} {
			if !strings.Contains(got, want) {
				t.Fatalf("step %d: %s is gone: %s", step, want, got)
			}
		}
		must(t, s.compact.compact(s.compact.find("C", 0), never))
		if again := " " + compacted(t, s) + " "; !strings.Contains(again, " 39:v39 ") || len(again) > len(got) {
			t.Fatalf("step %d: %s", step, again)
		}
		must(t, s.Close())
	}
}

// TestCompactionFailures has the disk refuse one step of a compaction. The next one goes through, and so does a start.
func TestCompactionFailures(t *testing.T) {
	for step := int64(1); ; step++ {
		r := compactionRig(t, syncFlush)
		var armed, refused atomic.Bool
		var count atomic.Int64
		r.opts.FS = vfs.Faulty(r.mem, func(_ vfs.Op, name string) error {
			if armed.Load() && strings.Contains(name, compactionDir) && count.Add(1) == step {
				refused.Store(true)
				return errors.New("refused")
			}
			return nil
		})
		s := r.open()
		for i := range 40 {
			put(t, s, keyed(fmt.Sprint("k", i%3), fmt.Sprint("v", i)))
		}
		s.compact.copyAll(never)
		l := s.compact.find("C", 0)
		armed.Store(true)
		failed := s.compact.compact(l, never)
		armed.Store(false)
		if !refused.Load() {
			if step < 20 {
				t.Errorf("only %d steps", step)
			}
			must(t, failed)
			must(t, s.Close())
			return
		}
		s.unmapIdle()
		s.unmapIdle() // and again, so that nothing is read that has lost its name
		s.unmapIdle()
		if err := s.compact.compact(l, never); err != nil {
			t.Fatalf("step %d: %v, then %v", step, failed, err)
		}
		check := func(when string) string {
			got := " " + compacted(t, s) + " "
			for _, want := range []string{" 37:v37 ", " 38:v38 ", " 39:v39 "} {
				if !strings.Contains(got, want) {
					t.Fatalf("step %d (%v), %s: %s is gone: %s", step, failed, when, want, got)
				}
			}
			return got
		}
		before := check("compacted")
		must(t, s.Close())
		s = r.open()
		if after := check("started"); after != before {
			t.Fatalf("step %d (%v): %s before a start, then %s", step, failed, before, after)
		}
		must(t, s.Close())
	}
}

// Whoever takes over after a kill copies only what is behind the checkpoint: it does not pass what is in no compaction log.
func TestTheCheckpointWaitsForCompactionLogs(t *testing.T) {
	r := compactionRig(t, syncFlush)
	var refuse atomic.Bool
	refuse.Store(true)
	r.opts.FS = vfs.Faulty(r.mem, func(op vfs.Op, name string) error {
		if refuse.Load() && op == vfs.OpCreate && strings.Contains(name, compactionDir) {
			return errors.New("refused")
		}
		return nil
	})
	s := r.open()
	put(t, s, keyed("a", "1"))
	at := put(t, s, keyed("a", "2")).PhysicalOffset
	if err := s.flushQueues(true); err == nil || s.checkpoint.logicsPhysicalOffset.Load() == at {
		t.Errorf("%v, checkpoint at %d", err, s.checkpoint.logicsPhysicalOffset.Load())
	}
	refuse.Store(false)
	must(t, s.flushQueues(true))
	if got := s.checkpoint.logicsPhysicalOffset.Load(); got != at || compacted(t, s) != "0:1 1:2" {
		t.Errorf("checkpoint at %d, want %d; %s", got, at, compacted(t, s))
	}
	must(t, s.Close())
}

// TestCompactedOffsets asks for the offsets of what is left, as pops do.
func TestCompactedOffsets(t *testing.T) {
	r := compactionRig(t)
	s := r.open()
	defer s.Close()
	put(t, s, keyed("a", "1"))
	put(t, s, keyed("", "left out"))
	put(t, s, keyed("b", "2"))
	eventually(t, func() bool { return s.ReadEnd("C", 0) == 3 })
	var res GetResult
	defer res.Release()
	if s.Get(&GetRequest{Topic: "C", MaxCount: 9, Each: true}, &res); res.Count != 2 || fmt.Sprint(res.Offsets) != "[0 2]" {
		t.Errorf("%d messages at %v", res.Count, res.Offsets)
	}
	for off, cold := range []bool{true, true, true, false} { // an event loop waits for no disk
		if got := s.Cold("C", 0, int64(off)); got != cold {
			t.Errorf("cold at %d: %v", off, got)
		}
	}
}

// TestCompactionForgetsWhatTheLogLost has the power cut take the end of the commit log, but not that of the compaction log.
func TestCompactionForgetsWhatTheLogLost(t *testing.T) {
	r := compactionRig(t)
	s := r.open()
	put(t, s, keyed("a", "1"))
	must(t, s.commit.commitStaged())
	must(t, s.flush.flush())
	for i := range 5 {
		put(t, s, keyed("a", fmt.Sprint("lost", i)))
	}
	s.compact.copyAll(never)
	must(t, s.compact.sync())
	clone := r.on(r.mem.KillClone())
	abandon(s)
	must(t, clearLogBehind(clone.mem, 1))
	s = clone.open()
	put(t, s, keyed("a", "2"))
	eventually(t, func() bool { return compacted(t, s) == "0:1 1:2" })
	must(t, s.Close())
}

// clearLogBehind zeroes the log behind its first records.
func clearLogBehind(fs vfs.FS, records int) error {
	name := path.Join("/data/store/commitlog", fileName(0))
	b, err := vfs.ReadFile(fs, name)
	if err != nil {
		return err
	}
	at := 0
	for range records {
		var h record.Header
		if err := record.Parse(b[at:], &h); err != nil {
			return err
		}
		at += h.Size
	}
	return vfs.WriteAt(fs, name, make([]byte, len(b)-at), int64(at))
}

func TestCompactionArrivals(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	var s *Store
	r := compactionRig(t, func(o *Options) {
		o.OnArrive = func(l []Arrival) {
			mu.Lock()
			defer mu.Unlock()
			for _, a := range l {
				seen = append(seen, fmt.Sprintf("%s%d%t", a.Topic, a.Next, len(a.Record) > 0))
			}
		}
	})
	s = r.open()
	defer s.Close()
	put(t, s, keyed("k", "1"))
	put(t, s, keyed("", "no key"))
	put(t, s, keyed("k", "2"))
	eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(seen, " ") == "C1true C3true"
	})
}

func TestCompactionRunsByItself(t *testing.T) {
	r := compactionRig(t, func(o *Options) { o.CompactionScheduleInternal = 1 })
	s := r.open()
	defer s.Close()
	for i := range 30 {
		put(t, s, keyed("k", fmt.Sprint(i)))
	}
	r.clock.advance(time.Minute)
	eventually(t, func() bool { return len(strings.Fields(compacted(t, s))) < 20 })
}

func TestCompactionOfManyKeys(t *testing.T) {
	r := compactionRig(t, func(o *Options) { o.MaxOffsetMapSize = 24 * 100 })
	s := r.open()
	defer s.Close()
	for i := range 400 { // 200 keys, twice the table
		put(t, s, keyed(fmt.Sprint("k", i%200), fmt.Sprint("v", i)))
	}
	s.compact.copyAll(never)
	l := s.compact.find("C", 0)
	for range 8 {
		must(t, s.compact.compact(l, never))
	}
	got := " " + compacted(t, s) + " "
	for i := range 200 {
		if !strings.Contains(got, fmt.Sprintf(" %d:v%d ", i+200, i+200)) {
			t.Fatalf("k%d is gone: %s", i, got)
		}
	}
	if n := len(strings.Fields(got)); n == 400 {
		t.Error("nothing was compacted")
	}
}

// TestCompactionPassesNoKey has two messages of a key that the first run has no room for, and after them more of those that it has.
func TestCompactionPassesNoKey(t *testing.T) {
	r := compactionRig(t, func(o *Options) { o.MaxOffsetMapSize = 24 * 100 })
	s := r.open()
	defer s.Close()
	for i := range 100 {
		put(t, s, keyed(fmt.Sprint("k", i), "old"))
	}
	put(t, s, keyed("d", "old"))
	put(t, s, keyed("d", "new"))
	for i := range 40 {
		put(t, s, keyed(fmt.Sprint("k", i), "new"))
	}
	s.compact.copyAll(never)
	for range 4 {
		must(t, s.compact.compact(s.compact.find("C", 0), never))
	}
	got := " " + compacted(t, s) + " "
	if strings.Contains(got, " 100:old ") || !strings.Contains(got, " 101:new ") {
		t.Error(got)
	}
}

// TestCompactionEnds reads where the queue has more than the log.
func TestCompactionEnds(t *testing.T) {
	r := compactionRig(t)
	s := r.open()
	defer s.Close()
	put(t, s, keyed("k", "1"))
	eventually(t, func() bool { return s.ReadEnd("C", 0) == 1 })
	put(t, s, keyed("", "never copied"))
	for _, c := range []struct {
		off    int64
		status GetStatus
		next   int64
	}{{1, OffsetOverflowOne, 1}, {2, OffsetOverflowOne, 2}, {3, OffsetOverflowBadly, 0}} {
		var res GetResult
		if s.Get(&GetRequest{Topic: "C", Offset: c.off, MaxCount: 1}, &res); res.Status != c.status || res.Next != c.next {
			t.Errorf("at %d: %v, next %d; want %v, %d", c.off, res.Status, res.Next, c.status, c.next)
		}
	}
	if s.MaxOffset("C", 0) != 2 || s.ReadEnd("C", 0) != 1 || s.ReadEnd("Other", 0) != 0 {
		t.Errorf("ends %d and %d", s.MaxOffset("C", 0), s.ReadEnd("C", 0))
	}
}
