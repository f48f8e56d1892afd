package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"apogee/internal/testkit"
	"apogee/store/record"
	"apogee/store/vfs"
)

// stored is a message as it stands in the log.
type stored struct {
	topic string
	queue int32
	off   int64
	body  string
}

// walkLog reads the whole log as a reader would and fails the test for anything that is not a valid record.
func walkLog(t testing.TB, s *Store) []stored {
	t.Helper()
	var all []stored
	for off := s.commit.begin(); off < s.commit.end(); {
		b, f, err := s.commit.holdRest(off, s.commit.end())
		must(t, err)
		if f == nil {
			t.Fatalf("hole at %d, end %d", off, s.commit.end())
		}
		var h record.Header
		switch err := record.Parse(b, &h); {
		case errors.Is(err, record.ErrBlank):
			off = s.commit.nextFile(off)
		case err != nil || h.CheckBody() != nil || h.PhysicalOffset != off:
			t.Fatalf("record at %d of %d: %v, says it is at %d", off, s.commit.end(), err, h.PhysicalOffset)
		default:
			all = append(all, stored{string(h.Topic), h.QueueID, h.QueueOffset, string(h.Body)})
			off += int64(h.Size)
		}
		f.release()
	}
	return all
}

// checkQueues fails the test unless the offsets of each queue go up by one.
func checkQueues(t testing.TB, all []stored) {
	t.Helper()
	next := map[string]int64{}
	for _, m := range all {
		key := fmt.Sprintf("%s-%d", m.topic, m.queue)
		if want, seen := next[key]; seen && m.off != want {
			t.Fatalf("%s: offset %d where %d is due", key, m.off, want)
		}
		next[key] = m.off + 1
	}
}

// checkReads fails the test unless the queues serve exactly the messages of the log.
func checkReads(t testing.TB, s *Store, all []stored) {
	t.Helper()
	want := map[string][]stored{}
	for _, m := range all {
		key := fmt.Sprintf("%s-%d", m.topic, m.queue)
		want[key] = append(want[key], m)
	}
	for key, list := range want {
		topic, queue := list[0].topic, list[0].queue
		if lo, hi := s.MinOffset(topic, queue), s.MaxOffset(topic, queue); lo != list[0].off || hi != list[len(list)-1].off+1 {
			t.Fatalf("%s: offsets %d to %d, the log has %d to %d", key, lo, hi, list[0].off, list[len(list)-1].off+1)
		}
		var res GetResult
		for _, m := range list {
			s.Get(&GetRequest{Topic: topic, QueueID: queue, Offset: m.off, MaxCount: 1, MaxBytes: 1 << 20}, &res)
			var got record.Message
			if res.Status != Found || len(res.Regions) != 1 || record.Decode(res.Regions[0], &got) != nil || string(got.Body) != m.body {
				t.Fatalf("%s: offset %d: %v, %.20q, want %.20q", key, m.off, res.Status, got.Body, m.body)
			}
			res.Release()
		}
	}
	for topic, ids := range s.Queues() {
		for _, id := range ids {
			if key := fmt.Sprintf("%s-%d", topic, id); want[key] == nil && s.MaxOffset(topic, id) != s.MinOffset(topic, id) {
				t.Fatalf("%s serves messages that are not in the log", key)
			}
		}
	}
}

// load is a source of messages that can be told apart.
type load struct {
	rnd *rand.Rand
	n   int
}

func (l *load) next(life int) *record.Message {
	l.n++
	size := l.rnd.IntN(1500)
	if l.rnd.IntN(20) == 0 {
		size = l.rnd.IntN(6000)
	}
	m := message(fmt.Sprintf("T%d", l.rnd.IntN(3)), int32(l.rnd.IntN(2)), fmt.Sprintf("%d.%d:%s", life, l.n, strings.Repeat("x", size)))
	m.Properties = "UNIQ_KEY\x01" + fmt.Sprintf("K%d-%d", life, l.n) + "\x02"
	return m
}

// acks are the bodies of messages that have been acknowledged.
type acks struct {
	mu   sync.Mutex
	done map[string]bool
}

func (a *acks) add(body string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.done[body] = true
}

func (a *acks) snapshot() map[string]bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := make(map[string]bool, len(a.done))
	for k := range a.done {
		c[k] = true
	}
	return c
}

type ackOne struct {
	a    *acks
	body string
}

func (c ackOne) Complete(status PutStatus) {
	if status == PutOK {
		c.a.add(c.body)
	}
}

// drive puts n messages, most of them without waiting for the one before.
func drive(s *Store, l *load, life, n int, a *acks) {
	for range n {
		m := l.next(life)
		switch l.rnd.IntN(8) {
		case 0:
			if r := s.PutWait(m); r.Status == PutOK {
				a.add(string(m.Body))
			}
		case 1:
			items := []BatchItem{{Body: m.Body}, {Body: append([]byte("second of "), m.Body...)}}
			s.PutBatch(m, items, ackOne{a, string(m.Body)})
		case 2:
			driveBatch(s, l, life, a)
		default:
			if r := s.Put(m, ackOne{a, string(m.Body)}); r.Status == PutOK && !r.Pending {
				a.add(string(m.Body))
			}
		}
	}
}

// driveBatch stages several messages and commits them together.
func driveBatch(s *Store, l *load, life int, a *acks) {
	var results []PutResult
	var bodies []string
	for range 1 + l.rnd.IntN(6) {
		m := l.next(life)
		results = append(results, s.Stage(m, ackOne{a, string(m.Body)}))
		bodies = append(bodies, string(m.Body))
	}
	for i := range results {
		r := &results[i]
		if err := s.Commit(r); err == nil && r.Status == PutOK && !r.Pending {
			a.add(bodies[i])
		}
	}
}

// lost is a body of those acknowledged that is not in the log, if there is one.
func lost(all []stored, acked map[string]bool) (body string, ok bool) {
	have := map[string]bool{}
	for _, m := range all {
		have[m.body] = true
	}
	for body := range acked {
		if !have[body] {
			return body, true
		}
	}
	return "", false
}

// TestPowerCuts runs a store through several lives, each ended by a power cut at a random file operation. What was acknowledged
// under SYNC_FLUSH must be there, nothing torn or made up may be, and the directory must always open.
func TestPowerCuts(t *testing.T) {
	seeds := uint64(200)
	if testing.Short() || testkit.RaceDetector {
		seeds = 20
	}
	for seed := range seeds {
		rnd := rand.New(rand.NewPCG(seed, 1))
		r := newRig(t, syncFlush)
		acked := map[string]bool{}
		for life := range 4 {
			r = r.cutDuring(rnd, seed, life, acked)
			s := r.open()
			all := walkLog(t, s)
			checkQueues(t, all)
			checkReads(t, s, all)
			if body, ok := lost(all, acked); ok {
				t.Fatalf("seed %d, life %d: acknowledged message %.20q is lost; the log has %d", seed, life, body, len(all))
			}
			if u := r.mem.WroteUnallocated(); len(u) != 0 {
				t.Fatalf("seed %d: written without blocks: %v", seed, u)
			}
			clone := r.mem.KillClone()
			abandon(s)
			r = r.on(clone)
		}
	}
}

// cutDuring lets a store work and returns the rig as a power cut at a random moment leaves it; acked gets what was
// acknowledged until then.
func (r *rig) cutDuring(rnd *rand.Rand, seed uint64, life int, acked map[string]bool) *rig {
	r.t.Helper()
	var mu sync.Mutex
	var after *vfs.Mem
	left := 1 + rnd.IntN(100)
	if rnd.IntN(4) > 0 {
		left = 25 + rnd.IntN(60) // opening takes some twenty operations
	}
	a := &acks{done: map[string]bool{}}
	var before map[string]bool
	mem := r.mem
	fsys := vfs.Faulty(mem, func(vfs.Op, string) error {
		mu.Lock()
		defer mu.Unlock()
		if left--; left == 0 {
			before = a.snapshot() // first: what is acknowledged later need not be in the clone
			after = mem.CrashClone(seed*100 + uint64(life))
		}
		return nil
	})
	s := r.on(fsys).open()
	drive(s, &load{rnd: rnd}, life, 60, a)
	mu.Lock()
	if after == nil {
		before, after = a.snapshot(), mem.CrashClone(seed)
	}
	mu.Unlock()
	abandon(s)
	for body := range before {
		acked[body] = true
	}
	return r.on(after)
}

// TestKills is the same with killed processes: everything written survives, so nothing acknowledged may be lost in either mode.
func TestKills(t *testing.T) {
	for seed := range uint64(40) {
		for _, mode := range []FlushDiskType{AsyncFlush, SyncFlush} {
			rnd := rand.New(rand.NewPCG(seed, 2))
			r := newRig(t, func(o *Options) { o.FlushDiskType = mode })
			want := map[string]bool{}
			for life := range 3 {
				a := &acks{done: map[string]bool{}}
				s := r.open()
				drive(s, &load{rnd: rnd}, life, 30+rnd.IntN(60), a)
				got := a.snapshot()
				clone := r.mem.KillClone()
				abandon(s)
				for body := range got {
					want[body] = true
				}
				r = r.on(clone)
				s = r.open()
				all := walkLog(t, s)
				checkQueues(t, all)
				checkReads(t, s, all)
				if body, ok := lost(all, want); ok {
					t.Fatalf("seed %d, %s, life %d: %.20q is lost", seed, mode, life, body)
				}
				must(t, s.Close())
			}
		}
	}
}

// TestFaults fails the n-th file operation, for every n, once and for good. The store reports it or carries on; afterwards the
// directory opens, with everything that was acknowledged.
func TestFaults(t *testing.T) {
	boom := errors.New("boom")
	for _, sticky := range []bool{false, true} {
		for n := int64(1); ; n++ {
			r := newRig(t, syncFlush)
			a := &acks{done: map[string]bool{}}
			check := vfs.FailNth(n, sticky, boom)
			var reached atomic.Bool
			fsys := vfs.Faulty(r.mem, func(op vfs.Op, name string) error {
				err := check(op, name)
				if err != nil {
					reached.Store(true)
				}
				return err
			})
			if s, err := Open(r.on(fsys).opts); err == nil {
				s.drain = 10 * time.Millisecond // what cannot be written is behind for good
				if err := s.Start(); err == nil {
					drive(s, &load{rnd: rand.New(rand.NewPCG(1, 1))}, 0, 40, a)
				}
				_ = s.Close()
			} else if !errors.Is(err, boom) {
				t.Fatalf("operation %d: open: %v", n, err)
			}
			s := r.on(r.mem.KillClone()).open()
			all := walkLog(t, s)
			checkQueues(t, all)
			checkReads(t, s, all)
			if body, ok := lost(all, a.snapshot()); ok {
				t.Fatalf("operation %d: %.20q is lost", n, body)
			}
			if err := s.Close(); err != nil {
				t.Fatalf("operation %d: %v", n, err)
			}
			if !reached.Load() {
				break
			}
		}
	}
}

// TestMetamorphic puts the same messages into stores of other shapes, with restarts, and finds the same messages.
func TestMetamorphic(t *testing.T) {
	for seed := range uint64(8) {
		var first []stored
		for _, c := range []struct {
			name     string
			size     int64
			mode     FlushDiskType
			restarts int
			kill     bool
		}{
			{"small files", 8 << 10, AsyncFlush, 0, false},
			{"large files", 1 << 20, AsyncFlush, 0, false},
			{"small files, restarts", 8 << 10, AsyncFlush, 5, false},
			{"synced, kills", 16 << 10, SyncFlush, 5, true},
			{"large files, kills", 1 << 20, AsyncFlush, 3, true},
		} {
			rnd := rand.New(rand.NewPCG(seed, 3))
			r := newRig(t, func(o *Options) { o.MappedFileSizeCommitLog, o.FlushDiskType = c.size, c.mode })
			l := &load{rnd: rnd}
			const puts = 120
			s := r.open()
			for i := range puts {
				put(t, s, l.next(0))
				if c.restarts > 0 && i%(puts/c.restarts) == 7 {
					if c.kill {
						clone := r.mem.KillClone()
						abandon(s)
						r = r.on(clone)
					} else {
						must(t, s.Close())
					}
					s = r.open()
				}
			}
			got := walkLog(t, s)
			eventually(t, func() bool { return s.Stats().DispatchBehind == 0 })
			checkReads(t, s, got)
			must(t, s.Close())
			if first == nil {
				first = got
			}
			if fmt.Sprint(got) != fmt.Sprint(first) {
				t.Fatalf("seed %d, %s: %d messages, the first shape has %d", seed, c.name, len(got), len(first))
			}
		}
	}
}

// TestKillThenPowerCut: what a killed process has made, and not synced, is there when the next one starts. A clean stop of that one makes
// it durable all the same.
func TestKillThenPowerCut(t *testing.T) {
	for seed := range uint64(20) {
		r := newRig(t, syncFlush)
		s := r.open()
		put(t, s, message("T", 0, "first")) // at log offset 0
		must(t, s.flushQueues(false))
		killed := r.mem.Fork()
		abandon(s)

		r = r.on(killed)
		s = r.open()
		put(t, s, message("T", 0, "second"))
		put(t, s, message("U", 0, "third")) // a clean start reads from the last record that any queue knows
		must(t, s.Close())

		r = r.on(killed.CrashClone(seed))
		s = r.open()
		if all := walkLog(t, s); len(all) != 3 {
			t.Fatalf("seed %d: %d messages", seed, len(all))
		} else {
			checkReads(t, s, all)
		}
		must(t, s.Close())
	}
}
