package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"apogee/internal/testkit"
	"apogee/store/record"
	"apogee/store/vfs"
)

// bodiesOf reads a queue from its min to its end through Get, and tells the bodies.
func bodiesOf(t testing.TB, s *Store, topic string, id int32) []string {
	t.Helper()
	var res GetResult
	defer res.Release()
	var bodies []string
	for next := max(s.MinOffset(topic, id), 0); ; next = res.Next {
		s.Get(&GetRequest{Topic: topic, QueueID: id, Offset: next, MaxCount: 32}, &res)
		if res.Status != Found {
			return bodies
		}
		for _, region := range res.Regions {
			for len(region) > 0 {
				var m record.Message
				must(t, record.Decode(region, &m))
				bodies = append(bodies, string(m.Body))
				region = region[m.StoreSize:]
			}
		}
	}
}

// arrivals collects what OnArrive tells.
type arrivals struct {
	mu  sync.Mutex
	all []Arrival
}

func (a *arrivals) take(batch []Arrival) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, v := range batch {
		v.Topic, v.Record = strings.Clone(v.Topic), slices.Clone(v.Record)
		a.all = append(a.all, v)
	}
}

func (a *arrivals) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.all)
}

func TestMessagesAreReadableWhenPutReturns(t *testing.T) {
	for _, mode := range []FlushDiskType{AsyncFlush, SyncFlush} {
		var seen arrivals
		r := newRig(t, func(o *Options) { o.FlushDiskType, o.OnArrive = mode, seen.take })
		s := r.open()
		for i := range 300 {
			m := message("Topic", int32(i%2), fmt.Sprint(i))
			m.Properties = "TAGS\x01TagA\x02"
			put(t, s, m)
			if mode == AsyncFlush && s.MaxOffset("Topic", int32(i%2)) != int64(i/2+1) {
				t.Fatalf("message %d: max is %d", i, s.MaxOffset("Topic", int32(i%2)))
			}
		}
		eventually(t, func() bool { return seen.count() == 300 })
		for i, a := range seen.all {
			if a.Topic != "Topic" || a.QueueID != int32(i%2) || a.Next != int64(i/2+1) || a.TagsCode != 2598919 || a.StoreTimestamp != epoch.UnixMilli() {
				t.Fatalf("arrival %d: %+v", i, a)
			}
			var m record.Message
			must(t, record.Decode(a.Record, &m))
			if string(m.Body) != fmt.Sprint(i) {
				t.Fatalf("arrival %d brings %q", i, m.Body)
			}
		}
		must(t, s.Close())
	}
}

// gated is r's file system with log syncs that wait while the gate is locked.
func gated(r *rig) (*rig, *sync.RWMutex) {
	gate := new(sync.RWMutex)
	return r.on(vfs.Faulty(r.mem, func(op vfs.Op, name string) error {
		if op == vfs.OpSync && strings.Contains(name, "/commitlog/") {
			gate.RLock()
			defer gate.RUnlock()
		}
		return nil
	})), gate
}

// TestNothingIsReadableBeforeItIsFlushed: with SYNC_FLUSH readers see flushed records only.
func TestNothingIsReadableBeforeItIsFlushed(t *testing.T) {
	r, gate := gated(newRig(t, syncFlush))
	s := r.open()
	put(t, s, message("Topic", 0, "first"))
	eventually(t, func() bool { return s.MaxOffset("Topic", 0) == 1 })
	gate.Lock()
	done := newOutcomes(3)
	for i := range 3 {
		if res := s.Put(message("Topic", 0, fmt.Sprint(i)), done.each(i)); !res.Pending {
			t.Errorf("put %d: %+v", i, res)
		}
	}
	if got := s.MaxOffset("Topic", 0); got != 1 {
		t.Errorf("max is %d before the flush", got)
	}
	gate.Unlock()
	done.wait(t)
	if got := s.MaxOffset("Topic", 0); got != 4 {
		t.Errorf("max is %d after the flush", got)
	}
	must(t, s.Close())
}

// TestLostSlipsAreReadFromTheLog puts more than the ring holds before anything may be dispatched.
func TestLostSlipsAreReadFromTheLog(t *testing.T) {
	r, gate := gated(newRig(t, syncFlush, func(o *Options) { o.MappedFileSizeCommitLog = 4 << 20 }))
	s := r.open()
	put(t, s, message("Topic", 3, "first"))
	gate.Lock()
	const n = slipCount + 1000
	done := newOutcomes(n)
	want := make([][]string, 4)
	want[3] = []string{"first"}
	for i := range n {
		body := fmt.Sprint(i)
		m := message("Topic", int32(i%4), body)
		m.Properties = fmt.Sprintf("UNIQ_KEY\x01key%d\x02KEYS\x01a b c\x02", i)
		if res := s.Put(m, done.each(i)); res.Status != PutOK {
			t.Fatal(res.Err)
		}
		want[i%4] = append(want[i%4], body)
	}
	gate.Unlock()
	done.wait(t)
	for id, w := range want {
		eventually(t, func() bool { return s.MaxOffset("Topic", int32(id)) == int64(len(w)) })
		if got := bodiesOf(t, s, "Topic", int32(id)); !slices.Equal(got, w) {
			t.Errorf("queue %d: %d messages, want %d", id, len(got), len(w))
		}
	}
	res, err := s.Query("Topic", fmt.Sprintf("key%d", n-1), "", 5, 0, epoch.UnixMilli())
	must(t, err)
	if len(res.Records) != 1 {
		t.Errorf("%d records of the last key", len(res.Records))
	}
	res.Release()
	must(t, s.Close())
}

// TestManyPutters: whoever dispatches, each queue gets its entries once and in order, and so do the listeners.
func TestManyPutters(t *testing.T) {
	for _, mode := range []FlushDiskType{AsyncFlush, SyncFlush} {
		var seen arrivals
		r := newRig(t, func(o *Options) {
			o.FlushDiskType, o.OnArrive, o.MappedFileSizeCommitLog = mode, seen.take, 64<<10
		})
		s := r.open()
		const putters, each = 8, 150
		var all sync.WaitGroup
		for p := range putters {
			all.Go(func() {
				rnd := rand.New(rand.NewPCG(uint64(p), 1))
				for i := range each {
					m := message(fmt.Sprintf("T%d", rnd.IntN(3)), 0, fmt.Sprintf("%d.%d", p, i))
					if rnd.IntN(5) == 0 {
						items := []BatchItem{{Body: m.Body}, {Body: m.Body}}
						if res := s.PutBatch(m, items, nil); res.Status != PutOK {
							t.Error(res.Err)
						}
					} else if res := s.Put(m, nil); res.Status != PutOK {
						t.Error(res.Err)
					}
				}
			})
		}
		all.Wait()
		stored := walkLog(t, s)
		checkQueues(t, stored)
		eventually(t, func() bool { return seen.count() == len(stored) })
		checkReads(t, s, stored)
		next := map[string]int64{}
		for _, a := range seen.all {
			if next[a.Topic]++; a.Next != next[a.Topic] || record.QueueOffsetOf(a.Record) != a.Next-1 {
				t.Fatalf("%s: arrival %d, expected %d", a.Topic, a.Next, next[a.Topic])
			}
		}
		must(t, s.Close())
	}
}

// TestDispatchWaitsForTheSaver: entries in memory are bounded; messages are taken all the same.
func TestDispatchWaitsForTheSaver(t *testing.T) {
	r := newRig(t)
	s := r.open()
	d := s.dispatch
	d.written.Add(-pendingMost) // as if so many were waiting
	put(t, s, message("Topic", 0, "a"))
	put(t, s, message("Topic", 0, "b"))
	if got := s.MaxOffset("Topic", 0); got != 0 {
		t.Fatalf("max is %d", got)
	}
	d.written.Add(pendingMost)
	d.saver.press() // who then calls for help
	eventually(t, func() bool { return s.MaxOffset("Topic", 0) == 2 })
	must(t, s.Close())
}

func TestDamageInTheLogIsPassedOver(t *testing.T) {
	r := newRig(t)
	s := r.open()
	var at []PutResult
	for i := range 5 {
		at = append(at, put(t, s, message("Topic", 0, fmt.Sprint(i))))
	}
	name := s.commit.files.first().path
	// The second claims a wrong body length, the fourth has no magic.
	overwrite(t, r.mem, name, at[1].PhysicalOffset+84, []byte{0, 0, 0, 99})
	overwrite(t, r.mem, name, at[3].PhysicalOffset+4, []byte{1, 2, 3, 4})
	var got []int64
	next := int64(0)
	for next < s.commit.end() {
		to, _, err := s.walk(next, s.commit.end(), 10, func(h *record.Header, rec []byte) error {
			got = append(got, h.PhysicalOffset)
			return nil
		})
		must(t, err)
		if to <= next {
			t.Fatalf("no way on from %d", next)
		}
		next = to
	}
	want := []int64{at[0].PhysicalOffset, at[2].PhysicalOffset, at[4].PhysicalOffset}
	if !slices.Equal(got, want) {
		t.Errorf("records at %v, want %v", got, want)
	}
	must(t, s.Close())
}

func TestWalkOverFileEnds(t *testing.T) {
	r := newRig(t, func(o *Options) { o.MappedFileSizeCommitLog = 4 << 10 })
	s := r.open()
	for i := range 30 {
		put(t, s, message("Topic", 0, strings.Repeat("x", 300+i)))
	}
	n, next := 0, int64(0)
	for next < s.commit.end() {
		to, got, err := s.walk(next, s.commit.end(), 2, func(*record.Header, []byte) error { return nil })
		must(t, err)
		n, next = n+got, to
	}
	if n != 30 || next != s.commit.end() {
		t.Errorf("%d records up to %d, the log ends at %d", n, next, s.commit.end())
	}
	must(t, s.Close())
}

func TestMultiDispatch(t *testing.T) {
	lmq := func(o *Options) { o.EnableLmq, o.EnableMultiDispatch = true, true }
	r := newRig(t, lmq)
	s := r.open()
	send := func(s *Store, topic, body, names, offsets string) record.Message {
		m := message(topic, 0, body)
		m.Properties = "INNER_MULTI_DISPATCH\x01" + names + "\x02"
		if offsets != "" {
			m.Properties += "INNER_MULTI_QUEUE_OFFSET\x01" + offsets + "\x02"
		}
		return recordAt(t, s, put(t, s, m).PhysicalOffset)
	}
	first := send(s, "Topic", "1", "%LMQ%a,%LMQ%b", "")
	second := send(s, "Topic", "2", "%LMQ%b,other,%LMQ%b/c", "77,78,79")
	send(s, "%RETRY%group", "3", "%LMQ%a", "9")
	for want, got := range map[string]string{
		"0,0": record.Property(first.Properties, record.PropMultiDispatchQueue),
		"1,,": record.Property(second.Properties, record.PropMultiDispatchQueue),
	} {
		if got != want {
			t.Errorf("offsets %q, want %q", got, want)
		}
	}
	compare := func(s *Store) {
		t.Helper()
		for topic, want := range map[string]string{"Topic": "1 2", "%LMQ%a": "1", "%LMQ%b": "1 2", "other": "", "%RETRY%group": "3"} {
			if got := strings.Join(bodiesOf(t, s, topic, 0), " "); got != want {
				t.Errorf("%s: %q, want %q", topic, got, want)
			}
		}
	}
	compare(s)
	clone := r.mem.KillClone()
	must(t, s.Close())
	s = r.open()
	compare(s)
	if m := send(s, "Topic", "4", "%LMQ%b,%LMQ%b", ""); record.Property(m.Properties, record.PropMultiDispatchQueue) != "2,3" {
		t.Errorf("named twice: %q", m.Properties)
	}
	must(t, s.Close())
	s = r.on(clone).open() // what was only in memory is dispatched again
	compare(s)
	must(t, s.Close())
	off := newRig(t).open()
	m := send(off, "Topic", "1", "%LMQ%a", "5")
	if off.MaxOffset("%LMQ%a", 0) != 0 || !strings.Contains(m.Properties, "\x015\x02") {
		t.Errorf("without enableLmq: max %d, properties %q", off.MaxOffset("%LMQ%a", 0), m.Properties)
	}
	must(t, off.Close())
}

func TestDelayedMessagesGetTheirDueTime(t *testing.T) {
	r := newRig(t, func(o *Options) { o.MessageDelayLevel = "1s 5s 2h" })
	s := r.open()
	for _, c := range []struct {
		level string
		want  int64
	}{{"1", 1000}, {"3", 7200_000}, {"9", 7200_000}} {
		m := message(record.ScheduleTopic, 2, "x")
		m.Properties = "DELAY\x01" + c.level + "\x02TAGS\x01TagA\x02"
		res := put(t, s, m)
		_, _, tags, ok := s.queues.get(record.ScheduleTopic, 2).cq.unit(res.QueueOffset)
		if !ok || tags != res.StoreTimestamp+c.want {
			t.Errorf("level %s: %d, want %d", c.level, tags, res.StoreTimestamp+c.want)
		}
	}
	must(t, s.Close())
	for _, bad := range []string{"1s x", "5", "-1s"} {
		r.opts.MessageDelayLevel = bad
		if _, err := Open(r.opts); err == nil || !strings.Contains(err.Error(), "messageDelayLevel") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestSlipsAndRecordsSayTheSame: what a put tells dispatch is what dispatch would read from the record.
func TestSlipsAndRecordsSayTheSame(t *testing.T) {
	r := newRig(t)
	s := bare(t, r)
	defer s.Close()
	for _, topic := range []string{"Topic", record.ScheduleTopic} {
		for _, props := range []string{
			"", "TAGS\x01a\x02", "UNIQ_KEY\x01u\x02", "KEYS\x01a b\x02TAGS\x01t\x02", "KEYS\x01 a  b c d \x02UNIQ_KEY\x01u\x02TAGS\x01标签\x02",
			"DELAY\x012\x02TAGS\x01t\x02", "TAGS\x01a\x02TAGS\x01b\x02", "TAGS\x01\x02KEYS\x01 \x02", "DELAY\x010\x02TAGS\x01t",
		} {
			for _, sys := range []int32{0, record.SysTranCommit, record.SysTranRollback} {
				q := s.queues.getOrCreate(topic, 0)
				var dig digest
				s.digest(&dig, q, &record.Message{Topic: topic, SysFlag: sys, Properties: props})
				if dig.timed {
					dig.tags += 12345
				}
				words := record.ReadWords(props)
				if code := record.TagsCode(topic, words.Tags, words.Delay, 12345, s.delays); code != dig.tags {
					t.Errorf("%s %q: tags code %d, the record says %d", topic, props, dig.tags, code)
				}
				var hashes []int32
				keys := indexKeys{topic: keyHash(topic), words: words}
				for h, ok := keys.next(); ok; h, ok = keys.next() {
					hashes = append(hashes, h)
				}
				switch {
				case sys == record.SysTranRollback:
					hashes = nil
				case len(hashes) > len(dig.keys):
					if dig.nkeys != tooManyKeys {
						t.Errorf("%q: %d keys", props, dig.nkeys)
					}
					continue
				}
				if !slices.Equal(dig.keys[:dig.nkeys], hashes) {
					t.Errorf("%q: keys %v, the record says %v", props, dig.keys[:dig.nkeys], hashes)
				}
			}
		}
	}
}

func TestCheckpointCountsFlushedRecordsOnly(t *testing.T) {
	r := newRig(t)
	s := r.open()
	var last PutResult
	for range 3 {
		last = put(t, s, message("Topic", 0, "x"))
	}
	must(t, s.flushQueues(true))
	if got := s.checkpoint.logicsPhysicalOffset.Load(); got != 0 {
		t.Errorf("checkpoint at %d though the log is flushed to %d", got, s.flush.flushed.Load())
	}
	must(t, s.flush.flush())
	must(t, s.flushQueues(false)) // no entry is new, but now the record is durable
	if got := s.checkpoint.logicsPhysicalOffset.Load(); got != last.PhysicalOffset {
		t.Errorf("checkpoint at %d, want %d", got, last.PhysicalOffset)
	}
	if got := s.checkpoint.logicsMsgTimestamp.Load(); got != last.StoreTimestamp {
		t.Errorf("time %d, want %d", got, last.StoreTimestamp)
	}
	must(t, s.Close())
}

// A put that comes while somebody looks at the queues does not wait, and is dispatched all the same, without another put or a flush.
func TestPutWhileTheRightToDispatchIsTaken(t *testing.T) {
	arrived := make(chan struct{}, 1)
	r := newRig(t, func(o *Options) {
		hour := time.Hour.Milliseconds()
		o.FlushIntervalCommitLogMs, o.FlushIntervalConsumeQueueMs, o.FlushConsumeQueueThoroughMs = hour, hour, hour
		o.OnArrive = func([]Arrival) { arrived <- struct{}{} }
	})
	s := r.open()
	s.dispatch.mu.Lock()
	put(t, s, message("Topic", 0, "x"))
	if got := s.dispatch.behind(); got == 0 {
		t.Error("dispatched by the put")
	}
	s.dispatch.letGo()
	select {
	case <-arrived:
	case <-time.After(10 * time.Second):
		t.Error("nobody has dispatched the message")
	}
	must(t, s.Close())
}

func TestDispatchDoesNotAllocate(t *testing.T) {
	testkit.CountsAllocations(t)
	var arrived int
	s := dispatchBench(t, func(o *Options) { o.OnArrive = func(a []Arrival) { arrived += len(a) } })
	q := s.queues.getOrCreate("Topic", 0)
	m := benchMessage(10)
	n := int64(0)
	one := func() {
		var dig digest
		s.digest(&dig, q, m)
		pretend(s, q, &dig, n*100, 100)
		n++
	}
	for range 10_000 {
		one()
	}
	if got := testing.AllocsPerRun(3000, one); got != 0 {
		t.Errorf("%v allocations", got)
	}
	if int64(arrived) != n {
		t.Errorf("%d arrivals of %d", arrived, n)
	}
}

func TestRing(t *testing.T) {
	r := newRing[int](4)
	next := 0
	for i := range 1000 {
		n := 0
		for p := r.next(); p != nil; p = r.next() {
			*p = i*10 + n
			r.push()
			n++
		}
		if i == 0 && r.peek() != nil {
			t.Fatal("seen before it was published")
		}
		r.publish()
		if some := r.ahead(3); len(some) == 0 || len(some) > 3 || some[0] != *r.peek() {
			t.Fatalf("%d and on: %v are ahead", *r.peek(), some)
		}
		if want := 4; n != want && i == 0 {
			t.Fatalf("%d fit", n)
		}
		for j := 0; j < 1+i%4; j++ {
			p := r.peek()
			if p == nil {
				break
			}
			if *p < next {
				t.Fatalf("%d after %d", *p, next)
			}
			next = *p
			r.pop()
		}
		r.free()
	}
}

// TestPanicOfDispatchClosesTheStore: what nobody could read any more must not be confirmed.
func TestPanicOfDispatchClosesTheStore(t *testing.T) {
	r := newRig(t, func(o *Options) { o.OnArrive = func([]Arrival) { panic("a listener's defect") } })
	s := r.open()
	defer func() { _ = s.Close() }()
	func() {
		defer func() { _ = recover() }()
		s.PutWait(message("T", 0, "stored"))
	}()
	eventually(t, func() bool {
		ok, why := s.Writable()
		return !ok && strings.Contains(why, "a listener's defect")
	})
	if res := s.PutWait(message("T", 0, "refused")); res.Status == PutOK {
		t.Error("a message is confirmed that nobody can read")
	}
}
