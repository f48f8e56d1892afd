package store

import (
	"bytes"
	"fmt"
	"io/fs"
	"math"
	"path"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"apogee/internal/testkit"
	"apogee/store/record"
	"apogee/store/vfs"
)

// filler is a running store with n messages of about 200 bytes in queue 0 of Topic; every third has the tag TagA.
func filler(t testing.TB, r *rig, n int) *Store {
	t.Helper()
	s := r.open()
	for i := range n {
		m := message("Topic", 0, fmt.Sprintf("%03d%s", i, strings.Repeat("x", 97)))
		if i%3 == 0 {
			m.Properties = "TAGS\x01TagA\x02"
		}
		put(t, s, m)
	}
	return s
}

// recordsOf cuts regions into records and checks that they are the messages from first on.
func recordsOf(t *testing.T, res *GetResult) []record.Message {
	t.Helper()
	var all []record.Message
	size := 0
	for _, region := range res.Regions {
		size += len(region)
		for len(region) > 0 {
			var m record.Message
			must(t, record.Decode(region, &m))
			all = append(all, m)
			region = region[m.StoreSize:]
		}
	}
	if len(all) != res.Count || size != res.Bytes {
		t.Errorf("%d messages of %d bytes in the regions, said are %d of %d", len(all), size, res.Count, res.Bytes)
	}
	return all
}

func TestGetStatus(t *testing.T) {
	r := newRig(t, sevenUnits, func(o *Options) {
		o.QueueKind = func(topic string) QueueKind {
			return map[string]QueueKind{"Batch": BatchQueue, "Compact": CompactionQueue}[topic]
		}
	})
	s := filler(t, r, 20)
	defer s.Close()
	q := s.queues.get("Topic", 0)
	must(t, s.flushQueues(true))
	q.cq.min.Store(3)
	for _, c := range []struct {
		name   string
		topic  string
		queue  int32
		offset int64
		status GetStatus
		next   int64
		slave  int64 // next of a replica that does not check offsets
	}{
		{"no such topic", "None", 0, 7, NoMessageInQueue, 0, 7},
		{"no such queue", "Topic", 1, 0, NoMessageInQueue, 0, 0},
		{"a batch topic", "Batch", 0, 5, NoMessageInQueue, 0, 5},
		{"a compaction topic", "Compact", 0, 5, NoMatchedLogicQueue, 0, 5},
		{"before the first", "Topic", 0, 2, OffsetTooSmall, 3, 2},
		{"negative", "Topic", 0, -1, OffsetTooSmall, 3, -1},
		{"the first", "Topic", 0, 3, Found, 4, 4},
		{"the last", "Topic", 0, 19, Found, 20, 20},
		{"at the end", "Topic", 0, 20, OffsetOverflowOne, 20, 20},
		{"behind the end", "Topic", 0, 21, OffsetOverflowBadly, 20, 21},
		{"far behind", "Topic", 0, math.MaxInt64, OffsetOverflowBadly, 20, math.MaxInt64},
	} {
		var res GetResult
		req := GetRequest{Topic: c.topic, QueueID: c.queue, Offset: c.offset, MaxCount: 1}
		s.Get(&req, &res)
		if res.Status != c.status || res.Next != c.next {
			t.Errorf("%s: %v next %d, want %v next %d", c.name, res.Status, res.Next, c.status, c.next)
		}
		if c.topic == "Topic" && c.queue == 0 && (res.Min != 3 || res.Max != 20) {
			t.Errorf("%s: from %d to %d", c.name, res.Min, res.Max)
		}
		o := *s.options()
		o.BrokerRole = Slave
		before := s.opts.Swap(&o)
		if s.Get(&req, &res); res.Status != c.status || res.Next != c.slave {
			t.Errorf("%s, on a replica: %v next %d, want %d", c.name, res.Status, res.Next, c.slave)
		}
		o.OffsetCheckInSlave = true
		if s.Get(&req, &res); res.Next != c.next {
			t.Errorf("%s, on a replica that checks: next %d, want %d", c.name, res.Next, c.next)
		}
		s.opts.Store(before)
		res.Release()
	}
}

func TestPutRefusesQueuesThatAreNotServed(t *testing.T) {
	for _, name := range []string{"..", "a/b", "."} {
		r := newRig(t)
		s := r.open()
		if res := s.Put(message(name, 0, "x"), nil); res.Status != MessageIllegal {
			t.Errorf("topic %q: %+v", name, res)
		}
		must(t, s.Close())
	}
}

func TestGetStatusNames(t *testing.T) {
	if Found.String() != "FOUND" || OffsetReset.String() != "OFFSET_RESET" || GetStatus(99).String() != "UNKNOWN" || GetStatus(-1).String() != "UNKNOWN" {
		t.Error("names are wrong")
	}
}

func TestGetLimits(t *testing.T) {
	r := newRig(t, func(o *Options) { o.MappedFileSizeCommitLog, o.MappedFileSizeConsumeQueue = 1<<20, 2000 })
	s := filler(t, r, 90)
	defer s.Close()
	small := int32(s.commit.end() / 90) // the average: three records from offset 1 have a little more, ten a little less
	for _, c := range []struct {
		name   string
		req    GetRequest
		change func(*Options)
		count  int
	}{
		{"asked for", GetRequest{MaxCount: 5}, nil, 5},
		{"none asked for gives one", GetRequest{MaxCount: 0}, nil, 1},
		{"as many as in memory", GetRequest{MaxCount: 1000}, nil, 32},
		{"changed", GetRequest{MaxCount: 1000}, func(o *Options) { o.MaxTransferCountInMemory = 40 }, 40},
		{"bytes asked for", GetRequest{MaxCount: 32, MaxBytes: 10 * small}, nil, 10},
		{"less bytes than a record", GetRequest{MaxCount: 32, MaxBytes: 1}, nil, 1},
		{"bytes in memory", GetRequest{MaxCount: 32}, func(o *Options) { o.MaxTransferBytesInMemory = 4 * small }, 4},
		{"on disk", GetRequest{MaxCount: 32}, func(o *Options) { o.Memory = 1 }, 8},
		{"bytes on disk", GetRequest{MaxCount: 32}, func(o *Options) { o.Memory, o.MaxTransferBytesInDisk = 1, 3*small }, 2},
	} {
		o := *s.options()
		if c.change != nil {
			c.change(&o)
		}
		before := s.opts.Swap(&o)
		var res GetResult
		c.req.Topic, c.req.Offset = "Topic", 1
		s.Get(&c.req, &res)
		got := recordsOf(t, &res)
		if res.Status != Found || len(got) != c.count || res.Next != 1+int64(c.count) {
			t.Errorf("%s: %v, %d messages, next %d; want %d", c.name, res.Status, len(got), res.Next, c.count)
		}
		for i, m := range got {
			if m.QueueOffset != 1+int64(i) {
				t.Errorf("%s: message %d has offset %d", c.name, i, m.QueueOffset)
			}
		}
		if len(res.Regions) != 1 {
			t.Errorf("%s: %d regions of records that lie side by side", c.name, len(res.Regions))
		}
		if res.FromSlave != (o.Memory == 1) {
			t.Errorf("%s: suggest slave %v", c.name, res.FromSlave)
		}
		res.Release()
		s.opts.Store(before)
	}
}

// filterFunc is a filter of two functions; nil lets pass.
type filterFunc struct {
	tags func(int64) bool
	rec  func([]byte) bool
}

func (f filterFunc) MatchTags(code int64) bool   { return f.tags == nil || f.tags(code) }
func (f filterFunc) MatchRecord(rec []byte) bool { return f.rec == nil || f.rec(rec) }

func TestGetFilters(t *testing.T) {
	r := newRig(t, func(o *Options) { o.MappedFileSizeCommitLog, o.MappedFileSizeConsumeQueue = 1<<20, 2000 })
	s := filler(t, r, 90)
	defer s.Close()
	var res GetResult
	defer res.Release()
	get := func(offset int64, f Filter) {
		s.Get(&GetRequest{Topic: "Topic", Offset: offset, MaxCount: 10, Filter: f}, &res)
	}

	get(1, filterFunc{tags: func(code int64) bool { return code == 2598919 }})
	for i, m := range recordsOf(t, &res) {
		if m.QueueOffset != int64(3+3*i) {
			t.Errorf("message %d has offset %d", i, m.QueueOffset)
		}
	}
	// The read ends at the record that would be one too many: what lies between is looked at only once.
	if res.Status != Found || res.Count != 10 || res.Next != 31 || len(res.Regions) != 10 {
		t.Errorf("by tag: %v, %d messages in %d regions, next %d", res.Status, res.Count, len(res.Regions), res.Next)
	}
	get(0, filterFunc{rec: func(rec []byte) bool { return bytes.Contains(rec, []byte("007x")) }})
	if got := recordsOf(t, &res); res.Status != Found || len(got) != 1 || got[0].QueueOffset != 7 || res.Next != 90 {
		t.Errorf("by record: %v, %d messages, next %d", res.Status, len(got), res.Next)
	}
	get(0, filterFunc{tags: func(int64) bool { return false }, rec: func([]byte) bool { t.Error("the record is looked at"); return true }})
	if res.Status != NoMatchedMessage || res.Next != 90 || res.Count != 0 || len(res.Regions) != 0 {
		t.Errorf("no tag: %v, next %d", res.Status, res.Next)
	}
	get(5, filterFunc{rec: func([]byte) bool { return false }})
	if res.Status != NoMatchedMessage || res.Next != 90 {
		t.Errorf("no record: %v, next %d", res.Status, res.Next)
	}
	// A window of entries bounds what one read looks at.
	o := *s.options()
	o.MaxFilterMessageSize = 20 * unitSize
	s.opts.Store(&o)
	get(5, filterFunc{tags: func(int64) bool { return false }})
	if res.Status != NoMatchedMessage || res.Next != 25 {
		t.Errorf("window: %v, next %d", res.Status, res.Next)
	}
	s.Get(&GetRequest{Topic: "Topic", MaxCount: 40, Filter: filterFunc{tags: func(int64) bool { return false }}}, &res)
	if res.Next != 40 {
		t.Errorf("a window is never smaller than what is asked for: next %d", res.Next)
	}
}

// TestGetOverFiles: an entry file at a time while something is found, log files without notice.
func TestGetOverFiles(t *testing.T) {
	r := newRig(t, sevenUnits, func(o *Options) { o.MappedFileSizeCommitLog = 4 << 10 })
	s := filler(t, r, 50)
	defer s.Close()
	for _, saved := range []bool{false, true} {
		if saved {
			must(t, s.flushQueues(true))
			must(t, s.flushQueues(true))
		}
		var res GetResult
		next, steps := int64(0), ""
		for next < 50 {
			s.Get(&GetRequest{Topic: "Topic", Offset: next, MaxCount: 32}, &res)
			for i, m := range recordsOf(t, &res) {
				if m.QueueOffset != next+int64(i) {
					t.Fatalf("message %d has offset %d", next+int64(i), m.QueueOffset)
				}
			}
			steps += fmt.Sprint(res.Count, " ")
			next = res.Next
		}
		if steps != "7 7 7 7 7 7 7 1 " {
			t.Errorf("steps %s", steps)
		}
		s.Get(&GetRequest{Topic: "Topic", Offset: 3, MaxCount: 32, Filter: filterFunc{tags: func(int64) bool { return false }}}, &res)
		if res.Status != NoMatchedMessage || res.Next != 7 {
			t.Errorf("%v next %d", res.Status, res.Next)
		}
		o := *s.options()
		o.TravelCQFileNumWhenGetMessage = 3
		before := s.opts.Swap(&o)
		s.Get(&GetRequest{Topic: "Topic", Offset: 3, MaxCount: 32, Filter: filterFunc{tags: func(int64) bool { return false }}}, &res)
		if res.Next != 21 {
			t.Errorf("over three files: next %d", res.Next)
		}
		s.opts.Store(before)
		res.Release()
	}
}

func TestGetOfRemovedRecords(t *testing.T) {
	r := newRig(t, func(o *Options) { o.MappedFileSizeCommitLog, o.MappedFileSizeConsumeQueue = 4<<10, 2000 })
	s := filler(t, r, 60)
	defer s.Close()
	first := s.commit.files.first()
	var res GetResult
	s.Get(&GetRequest{Topic: "Topic", MaxCount: 3}, &res)
	must(t, s.commit.files.removeFirst())
	if got := recordsOf(t, &res); len(got) != 3 || string(got[2].Body[:3]) != "002" {
		t.Error("what a result holds has gone with its file")
	}
	res.Release()
	if first.held() {
		t.Error("the file is still held")
	}
	// The index of the first record that is left.
	left := int64(0)
	for ; ; left++ {
		if phys, _, _, _ := s.queues.get("Topic", 0).cq.unit(left); phys >= first.end() {
			break
		}
	}
	s.Get(&GetRequest{Topic: "Topic", MaxCount: 4}, &res)
	if got := recordsOf(t, &res); res.Status != Found || got[0].QueueOffset != left || res.Next != left+4 {
		t.Errorf("%v, next %d, want %d", res.Status, res.Next, left+4)
	}
	o := *s.options()
	o.MaxFilterMessageSize = unitSize
	s.opts.Store(&o)
	s.Get(&GetRequest{Topic: "Topic", MaxCount: 4}, &res)
	if res.Status != MessageWasRemoving || res.Next != 4 {
		t.Errorf("%v, next %d", res.Status, res.Next)
	}
	res.Release()
}

func TestGetOfMissingEntries(t *testing.T) {
	r := newRig(t, sevenUnits)
	s := filler(t, r, 30)
	defer s.Close()
	must(t, s.flushQueues(true))
	must(t, s.flushQueues(true)) // now nothing is in memory
	c := &s.queues.get("Topic", 0).cq
	l := append([]*mappedFile(nil), c.files.list()...)
	l = append(l[:1], l[2:]...)
	c.files.files.Store(&l)
	var res GetResult
	defer res.Release()
	s.Get(&GetRequest{Topic: "Topic", Offset: 8, MaxCount: 32}, &res)
	if res.Status != OffsetFoundNull || res.Next != 14 {
		t.Errorf("%v, next %d", res.Status, res.Next)
	}
	if s.Get(&GetRequest{Topic: "Topic", Offset: 14, MaxCount: 32}, &res); res.Status != Found || res.Next != 21 {
		t.Errorf("%v, next %d", res.Status, res.Next)
	}
}

func TestGetReadsWithoutMappings(t *testing.T) {
	r := newRig(t, sevenUnits)
	var none atomic.Bool
	fsys := vfs.Faulty(r.mem, func(op vfs.Op, name string) error {
		if none.Load() && op == vfs.OpMap && strings.Contains(name, "/consumequeue/") {
			return fmt.Errorf("too many mappings")
		}
		return nil
	})
	s := filler(t, r.on(fsys), 30)
	defer s.Close()
	must(t, s.flushQueues(true))
	must(t, s.flushQueues(true))
	none.Store(true)
	if got := bodiesOf(t, s, "Topic", 0); len(got) != 30 {
		t.Errorf("%d messages", len(got))
	}
}

// Where the log cannot be mapped for a while nothing is passed over.
func TestGetPassesNothingThatCannotBeReadNow(t *testing.T) {
	for _, batch := range []bool{false, true} {
		r := newRig(t, func(o *Options) {
			o.MappedFileSizeCommitLog = 4096
			if batch {
				o.QueueKind = func(string) QueueKind { return BatchQueue }
			}
		})
		var none atomic.Bool
		s := filler(t, r.on(vfs.Faulty(r.mem, func(op vfs.Op, name string) error {
			if none.Load() && op == vfs.OpMap && strings.Contains(name, "/commitlog/") {
				return &fs.PathError{Op: "map", Path: name, Err: syscall.ENOMEM}
			}
			return nil
		})), 60)
		must(t, s.flushQueues(true))
		var res GetResult
		first := s.commit.files.first()
		eventually(t, func() bool {
			s.unmapIdle()
			first.mu.Lock()
			defer first.mu.Unlock()
			return first.mapping == nil
		})
		none.Store(true)
		if s.Get(&GetRequest{Topic: "Topic", Offset: 2, MaxCount: 32}, &res); res.Status != NoMatchedMessage || res.Next != 2 {
			t.Errorf("%v, next %d", res.Status, res.Next)
		}
		none.Store(false)
		if s.Get(&GetRequest{Topic: "Topic", Offset: 2, MaxCount: 32}, &res); res.Status != Found || res.Next <= 2 {
			t.Errorf("%v, next %d", res.Status, res.Next)
		}
		res.Release()
		must(t, s.Close())
	}
}

func TestQueueFilesAreUnmappedWhenIdle(t *testing.T) {
	r := newRig(t, sevenUnits)
	s := filler(t, r, 30)
	defer s.Close()
	must(t, s.flushQueues(true))
	must(t, s.flushQueues(true))
	bodiesOf(t, s, "Topic", 0)
	f := s.queues.get("Topic", 0).cq.files.first()
	mapped := func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.mapping != nil
	}
	if !mapped() {
		t.Fatal("not mapped by reading")
	}
	for range 3 {
		s.unmapIdle()
	}
	if mapped() {
		t.Error("still mapped")
	}
	if got := bodiesOf(t, s, "Topic", 0); len(got) != 30 {
		t.Errorf("%d messages", len(got))
	}
}

func TestGetDoesNotAllocate(t *testing.T) {
	testkit.CountsAllocations(t)
	r := newRig(t, func(o *Options) { o.MappedFileSizeCommitLog, o.MappedFileSizeConsumeQueue = 1<<20, 2000 })
	s := filler(t, r, 200)
	defer s.Close()
	for _, saved := range []bool{false, true} {
		if saved {
			must(t, s.flushQueues(true))
			must(t, s.flushQueues(true))
		}
		for _, f := range []Filter{nil, &filterFunc{tags: func(code int64) bool { return code == 0 }, rec: func(b []byte) bool { return len(b) > 0 }}} {
			var res GetResult
			req := GetRequest{Topic: "Topic", MaxCount: 32, Filter: f}
			n := testing.AllocsPerRun(200, func() {
				s.Get(&req, &res)
				if res.Count == 0 {
					t.Fatal(res.Status)
				}
				req.Offset = (req.Offset + 7) % 90
			})
			res.Release()
			if n != 0 {
				t.Errorf("saved %v, filter %v: %v allocations", saved, f != nil, n)
			}
		}
	}
}

func TestReleaseTwice(t *testing.T) {
	r := newRig(t)
	s := filler(t, r, 3)
	defer s.Close()
	var res GetResult
	res.Release()
	s.Get(&GetRequest{Topic: "Topic", MaxCount: 3}, &res)
	f := s.commit.files.first()
	held := f.refs.Load()
	res.Release()
	res.Release()
	if got := f.refs.Load(); got != held-1 || len(res.Regions) != 0 {
		t.Errorf("%d holders, were %d; %d regions", got, held, len(res.Regions))
	}
}

func TestGetStatistics(t *testing.T) {
	r := newRig(t)
	s := filler(t, r, 3)
	defer s.Close()
	var res GetResult
	defer res.Release()
	for _, off := range []int64{0, 3, 9} {
		s.Get(&GetRequest{Topic: "Topic", Offset: off, MaxCount: 32}, &res)
	}
	st := s.Stats()
	if st.GetFound != 1 || st.GetMiss != 2 || st.GetMessages != 3 || st.GetBytes != s.commit.end() {
		t.Errorf("%+v", st)
	}
}

func TestView(t *testing.T) {
	r := newRig(t)
	s := filler(t, r, 3)
	defer s.Close()
	phys, size, _, _ := s.queues.get("Topic", 0).cq.unit(1)
	rec, release, err := s.View(phys)
	must(t, err)
	if len(rec) != int(size) || record.QueueOffsetOf(rec) != 1 {
		t.Errorf("%d bytes", len(rec))
	}
	release()
	for _, bad := range []int64{-1, phys + 1, s.commit.end(), math.MaxInt64} {
		if _, _, err := s.View(bad); err == nil {
			t.Errorf("a record at %d", bad)
		}
	}
}

func TestDeleteTopics(t *testing.T) {
	r := newRig(t)
	s := filler(t, r, 30)
	put(t, s, message("Topic", 1, "x"))
	put(t, s, message("Other", 0, "y"))
	must(t, s.flushQueues(true))
	dir := path.Join(r.opts.RootDir, "consumequeue/Topic")
	if _, err := r.mem.Stat(dir); err != nil {
		t.Fatal(err)
	}
	must(t, s.DeleteTopics("Topic", "None"))
	if _, err := r.mem.Stat(dir); err == nil {
		t.Error("the directory is still there")
	}
	if got := s.Queues(); len(got) != 1 || len(got["Other"]) != 1 {
		t.Errorf("queues %v", got)
	}
	if s.MaxOffset("Topic", 0) != 0 || s.MinOffset("Topic", 0) != -1 {
		t.Error("offsets are still there")
	}
	if res := put(t, s, message("Topic", 0, "again")); res.QueueOffset != 0 {
		t.Errorf("offset %d after the deletion", res.QueueOffset)
	}
	if got := bodiesOf(t, s, "Topic", 0); len(got) != 1 || got[0] != "again" {
		t.Errorf("messages %v", got)
	}
	must(t, s.Close())
	s = r.open()
	if got := bodiesOf(t, s, "Topic", 0); len(got) != 1 || got[0] != "again" {
		t.Errorf("messages %v after a restart", got)
	}
	if s.dispatch.pending() != 0 {
		t.Errorf("%d entries pending", s.dispatch.pending())
	}
	must(t, s.Close())
}

func TestCleanQueues(t *testing.T) {
	r := newRig(t, sevenUnits, func(o *Options) { o.MappedFileSizeCommitLog = 4 << 10 })
	s := r.open()
	put(t, s, message("Old", 0, "x"))
	put(t, s, message("System", 0, "x"))
	for i := range 60 {
		put(t, s, message("Topic", 0, fmt.Sprintf("%03d%s", i, strings.Repeat("x", 97))))
	}
	must(t, s.flushQueues(true))
	for range 2 {
		must(t, s.commit.files.removeFirst())
	}
	begin := s.commit.begin()
	must(t, s.cleanQueues(begin))
	c := &s.queues.get("Topic", 0).cq
	phys, _, _, ok := c.unit(c.min.Load())
	if !ok || phys != begin {
		t.Errorf("min %d is at %d, the log begins at %d", c.min.Load(), phys, begin)
	}
	if first := c.files.first(); first.base > c.min.Load()*unitSize || first.end() <= c.min.Load()*unitSize {
		t.Errorf("first file from %d to %d, min at %d", first.base, first.end(), c.min.Load()*unitSize)
	}
	if min, max := s.MinOffset("Old", 0), s.MaxOffset("Old", 0); min != 1 || max != 1 {
		t.Errorf("Old from %d to %d", min, max)
	}
	want := bodiesOf(t, s, "Topic", 0)
	must(t, s.CleanExpiredQueues(func(topic string) bool { return topic == "System" }))
	if got := s.Queues(); len(got) != 2 || got["System"] == nil || got["Topic"] == nil {
		t.Errorf("queues %v", got)
	}
	must(t, s.Close())
	s = r.open()
	if got := bodiesOf(t, s, "Topic", 0); fmt.Sprint(got) != fmt.Sprint(want) || s.MinOffset("Topic", 0) != c.min.Load() {
		t.Errorf("after a restart from %d: %v, want %v", s.MinOffset("Topic", 0), got, want)
	}
	if min, max := s.MinOffset("System", 0), s.MaxOffset("System", 0); min != 1 || max != 1 {
		t.Errorf("System from %d to %d", min, max)
	}
	must(t, s.Close())
}
