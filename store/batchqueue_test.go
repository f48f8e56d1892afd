package store

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"apogee/store/record"
)

func TestBatchUnitBytes(t *testing.T) {
	// An entry that a Java broker wrote.
	const want = "000000000061484c000004da0000000000000000000001a2041f2f0700000000000000000006ffffffff00000000"
	u := batchUnit{phys: 0x61484c, size: 0x4da, time: 0x1a2041f2f07, num: 6}
	var b [batchUnitSize]byte
	u.put(b[:])
	if got := hex.EncodeToString(b[:]); got != want {
		t.Errorf("entry %s\nwant  %s", got, want)
	}
	var back batchUnit
	if back.read(b[:]); back != u || back.end() != 6 || !validBatchUnit(b[:]) {
		t.Errorf("read back %+v", back)
	}
	for name, change := range map[string]func(){
		"no messages":     func() { back.num = 0 },
		"negative":        func() { back.num = -1 },
		"negative offset": func() { back.base = -1 },
	} {
		back = u
		change()
		if back.put(b[:]); validBatchUnit(b[:]) {
			t.Errorf("%s: taken for an entry", name)
		}
	}
}

func batchRig(t testing.TB) *rig {
	return newRig(t, func(o *Options) {
		o.MapperFileSizeBatchConsumeQueue = 3 * batchUnitSize
		o.QueueKind = func(topic string) QueueKind { return map[string]QueueKind{"B": BatchQueue}[topic] }
	})
}

// inner is a message of n.
func inner(n int, body string) *record.Message {
	m := message("B", 0, body)
	m.SysFlag = record.SysInnerBatch | record.SysNeedUnwrap
	m.Properties = string(record.AppendProperty(nil, record.PropInnerNum, strconv.Itoa(n)))
	return m
}

// TestBatchQueueAgainstSlice compares a batch queue with a list of its messages, through closes, crashes and reads everywhere.
func TestBatchQueueAgainstSlice(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := batchRig(t)
		s := r.open()
		defer func() { _ = s.Close() }()
		var model []int // for each message the entry that it is in
		entries := 0
		for step := range rapid.IntRange(1, 25).Draw(rt, "steps") {
			switch rapid.IntRange(0, 9).Draw(rt, "what") {
			case 0:
				must(t, s.Close())
				s = r.open()
			case 1: // the process is gone, what was synced stays; all has been flushed before
				must(t, s.commit.commitStaged())
				must(t, s.flush.flush())
				clone := r.on(r.mem.KillClone())
				abandon(s)
				r = clone
				s = r.open()
			default:
				n := rapid.IntRange(1, 5).Draw(rt, "messages")
				m := inner(n, fmt.Sprintf("body %d", step))
				if n == 1 && rapid.Bool().Draw(rt, "plain") {
					m.SysFlag, m.Properties = 0, ""
				}
				res := put(t, s, m)
				if res.QueueOffset != int64(len(model)) || res.Count != n {
					rt.Fatalf("put of %d at %d: %+v", n, len(model), res)
				}
				for range n {
					model = append(model, entries)
				}
				entries++
			}
			checkBatchQueue(rt, s, model)
		}
	})
}

func checkBatchQueue(t *rapid.T, s *Store, model []int) {
	if got := s.MaxOffset("B", 0); got != int64(len(model)) {
		t.Fatalf("max %d, want %d", got, len(model))
	}
	if got := s.MinOffset("B", 0); len(model) > 0 && got != 0 {
		t.Fatalf("min %d", got)
	}
	if len(model) == 0 {
		return
	}
	off := rapid.IntRange(0, len(model)-1).Draw(t, "offset")
	var res GetResult
	defer res.Release()
	s.Get(&GetRequest{Topic: "B", Offset: int64(off), MaxCount: 1}, &res)
	first, last := off, off+1 // the whole record comes
	for first > 0 && model[first-1] == model[off] {
		first--
	}
	for last < len(model) && model[last] == model[off] {
		last++
	}
	if res.Status != Found || res.Next != int64(last) || res.Count != last-first || len(res.Regions) != 1 {
		t.Fatalf("get at %d: %v, next %d, %d messages; want %d to %d", off, res.Status, res.Next, res.Count, first, last)
	}
	var h record.Header
	if err := record.Parse(res.Regions[0], &h); err != nil || h.QueueOffset != int64(first) {
		t.Fatalf("record at %d says %d: %v", off, h.QueueOffset, err)
	}
	if base := record.Property(string(h.Properties), record.PropInnerBase); h.SysFlag&record.SysInnerBatch != 0 && base != strconv.Itoa(first) {
		t.Fatalf("base of the batch at %d is %q", off, base)
	}
	if s.StoreTime("B", 0, int64(off)) < 0 {
		t.Fatalf("no store time at %d", off)
	}
}

func TestInnerBatchRefusals(t *testing.T) {
	r := batchRig(t)
	s := r.open()
	defer s.Close()
	for name, m := range map[string]*record.Message{
		"another kind of topic": func() *record.Message { m := inner(2, "x"); m.Topic = "A"; return m }(),
		"no number":             func() *record.Message { m := inner(2, "x"); m.Properties = "INNER_NUM\x01x\x02"; return m }(),
		"none":                  inner(0, "x"),
		"too many":              inner(40000, "x"),
	} {
		if res := s.Put(m, nil); res.Status != MessageIllegal {
			t.Errorf("%s: %+v", name, res)
		}
	}
	if s.commit.end() != 0 {
		t.Error("something was written")
	}
}

// TestBatchQueueCleaning deletes the log's beginning under a queue of several files.
func TestBatchQueueCleaning(t *testing.T) {
	r := batchRig(t)
	s := r.open()
	body := make([]byte, 3000)
	for range 20 { // four or five in a file of the log
		put(t, s, inner(3, string(body)))
	}
	must(t, s.flushQueues(true))
	must(t, s.commit.files.removeFirst())
	must(t, s.commit.files.removeFirst())
	must(t, s.cleanQueues(s.commit.begin()))
	lo := s.MinOffset("B", 0)
	if lo <= 0 || lo%3 != 0 || lo >= 60 {
		t.Fatalf("min %d", lo)
	}
	q := s.queues.get("B", 0)
	if first := q.cq.files.first(); first.base == 0 {
		t.Error("no file of the queue was deleted")
	}
	check := func() {
		t.Helper()
		var res GetResult
		defer res.Release()
		if s.Get(&GetRequest{Topic: "B", Offset: lo - 1, MaxCount: 1}, &res); res.Status != OffsetTooSmall || res.Next != lo {
			t.Errorf("before min: %v, %d", res.Status, res.Next)
		}
		if s.Get(&GetRequest{Topic: "B", Offset: lo + 1, MaxCount: 6}, &res); res.Status != Found || res.Count != 6 || res.Next != lo+6 {
			t.Errorf("at min: %v, %d messages to %d", res.Status, res.Count, res.Next)
		}
	}
	check()
	must(t, s.Close())
	s = r.open()
	defer s.Close()
	if again := s.MinOffset("B", 0); again != lo || s.MaxOffset("B", 0) != 60 {
		t.Errorf("after a start: %d to %d, want %d to 60", again, s.MaxOffset("B", 0), lo)
	}
	check()
}

// TestQueuesOfAnotherKind starts with queues in the directory of the other kind than their topic is of now.
func TestQueuesOfAnotherKind(t *testing.T) {
	r := batchRig(t)
	s := r.open()
	put(t, s, inner(2, "x"))
	put(t, s, message("A", 0, "y"))
	must(t, s.Close())
	before := r.mem.Dump()
	r.opts.QueueKind = func(topic string) QueueKind { return map[string]QueueKind{"A": BatchQueue}[topic] }
	s = r.open()
	for _, topic := range []string{"A", "B"} { // made anew from the log
		if lo, hi := s.MinOffset(topic, 0), s.MaxOffset(topic, 0); lo != 0 || hi != 1 {
			t.Errorf("%s: %d to %d", topic, lo, hi)
		}
	}
	must(t, s.Close())
	after := r.mem.Dump()
	for line := range strings.Lines(before) {
		if !strings.Contains(after, line) {
			t.Errorf("%s is not there any more:\n%s", line, after)
		}
	}
}

// TestBatchPropertiesThatSendersMakeUp has messages that are no inner batches say that they are many.
func TestBatchPropertiesThatSendersMakeUp(t *testing.T) {
	r := batchRig(t)
	s := r.open()
	said := "INNER_NUM\x01100\x02INNER_BASE\x0150\x02"
	if res := s.PutBatch(message("B", 0, ""), []BatchItem{{Body: []byte("x"), Properties: said}, {Body: []byte("y"), Properties: said}}, nil); res.Status != PutOK {
		t.Fatalf("%+v", res)
	}
	put(t, s, inner(3, "z"))
	if lo, hi := s.MinOffset("B", 0), s.MaxOffset("B", 0); lo != 0 || hi != 5 {
		t.Errorf("%d to %d", lo, hi)
	}
	var res GetResult
	s.Get(&GetRequest{Topic: "B", MaxCount: 32, Each: true}, &res)
	if res.Count != 5 || fmt.Sprint(res.Offsets) != "[0 1 2]" || res.Next != 5 {
		t.Errorf("%d messages at %v, next %d", res.Count, res.Offsets, res.Next)
	}
	res.Release()
	must(t, s.Close())
	s = r.open()
	defer s.Close()
	if got := put(t, s, inner(2, "z")).QueueOffset; got != 5 {
		t.Errorf("after a start it goes on at %d", got)
	}
}

// TestBatchReadsOfTheDisk: an event loop does not search files for an entry.
func TestBatchReadsOfTheDisk(t *testing.T) {
	r := batchRig(t)
	s := r.open()
	put(t, s, inner(3, "x"))
	put(t, s, inner(3, "y"))
	for off := range int64(7) {
		if s.Cold("B", 0, off) {
			t.Errorf("cold at %d, which is in memory", off)
		}
	}
	must(t, s.Close())
	s = r.open()
	defer s.Close()
	put(t, s, inner(3, "z"))
	for off, cold := range []bool{true, true, true, true, true, true, false, false, false, false} {
		if got := s.Cold("B", 0, int64(off)); got != cold {
			t.Errorf("cold at %d: %v", off, got)
		}
	}
}

// TestBatchEntriesWhileCleaning has an entry come while the least offset is looked for, and all entries before it are gone.
func TestBatchEntriesWhileCleaning(t *testing.T) {
	r := batchRig(t)
	s := r.open()
	defer s.Close()
	c := &s.queues.getOrCreate("B", 0).cq
	for i := range int64(2000) {
		s.dispatch.mu.Lock()
		u := batchUnit{phys: 1000 * (i + 1), size: 100, base: 3 * i, num: 3}
		c.min.Store(c.max.Load())
		lo := c.min.Load()
		done := make(chan error)
		go func() { done <- c.reboundMin(lo) }()
		c.putBatch(&u, &s.dispatch.heap)
		err := <-done
		s.dispatch.mu.Unlock()
		if least, _ := c.bounds(); err != nil || least != u.base {
			t.Fatalf("the least offset is %d, want %d: %v", least, u.base, err)
		}
	}
}

func FuzzBatchUnits(f *testing.F) {
	u := batchUnit{phys: 5, size: 100, num: 3}
	var b [batchUnitSize]byte
	u.put(b[:])
	f.Add(b[:])
	f.Fuzz(func(t *testing.T, b []byte) {
		r := unitScan{width: batchUnitSize}
		r.take(b)
		if r.size%batchUnitSize != 0 || r.size > int64(len(b)) {
			t.Fatalf("%d bytes of %d", r.size, len(b))
		}
		for p := int64(0); p < r.size; p += batchUnitSize {
			var u batchUnit
			if u.read(b[p:]); u.num <= 0 || u.base < 0 || u.phys < 0 || u.size <= 0 {
				t.Fatalf("entry %+v", u)
			}
		}
	})
}
