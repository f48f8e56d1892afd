package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"testing"

	"pgregory.net/rapid"

	"apogee/store/vfs"
)

// queueRig is one consume queue of a store whose log is only pretended: files of seven entries.
type queueRig struct {
	r *rig
	s *Store
	q *queue
}

func newQueueRig(t testing.TB, r *rig) *queueRig {
	t.Helper()
	s := bare(t, r)
	return &queueRig{r, s, s.queues.getOrCreate("Topic", 1)}
}

// bare is a store whose queues are those of r but whose log is somewhere else, and empty: recovery would remove queues that
// have no log.
func bare(t testing.TB, r *rig) *Store {
	t.Helper()
	o := r.opts
	o.RootDir = "/data/elsewhere"
	s, err := Open(o)
	must(t, err)
	s.files.queues = path.Join(r.opts.RootDir, "consumequeue")
	s.queues = newQueueTable()
	must(t, s.loadQueues())
	return s
}

func sevenUnits(o *Options) { o.MappedFileSizeConsumeQueue = 7 * unitSize }

// enter adds an entry as dispatch does.
func (qr *queueRig) enter(unit, phys int64, size int32, tags int64) {
	d := qr.s.dispatch
	d.mu.Lock()
	defer d.mu.Unlock()
	d.enter(qr.q, unit, phys, size, tags, 0)
	d.entered.Store(d.entered.Load() + d.fresh)
	d.fresh = 0
}

// units reads the queue from an entry on.
func (qr *queueRig) units(t testing.TB, from int64) []modelUnit {
	t.Helper()
	var got []modelUnit
	var buf [5 * unitSize]byte
	for {
		n, err := qr.q.cq.read(from, buf[:])
		must(t, err)
		if n == 0 {
			return got
		}
		for i := range n {
			phys, size, tags := readUnit(buf[i*unitSize:])
			got = append(got, modelUnit{phys, size, tags})
		}
		from += int64(n)
	}
}

type modelUnit struct {
	phys int64
	size int32
	tags int64
}

// TestConsumeQueueAgainstSlice drives a queue through everything that happens to one, beside a slice.
func TestConsumeQueueAgainstSlice(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := newRig(t, sevenUnits)
		qr := newQueueRig(t, r)
		defer func() { must(t, qr.s.Close()) }()
		start := rapid.SampledFrom([]int64{0, 0, 3, 7, 16}).Draw(rt, "start")
		var model []modelUnit // from entry start on
		saved := 0            // of those in files
		low := int64(0)       // entries before it are forgotten
		phys := int64(100)
		max := func() int64 {
			if len(model) == 0 && low == 0 {
				return 0
			}
			return start + int64(len(model))
		}
		rt.Repeat(map[string]func(*rapid.T){
			"enter": func(rt *rapid.T) {
				for range rapid.IntRange(1, 20).Draw(rt, "n") {
					u := modelUnit{phys, rapid.Int32Range(1, 50).Draw(rt, "size"), rapid.Int64().Draw(rt, "tags")}
					phys += int64(u.size)
					qr.enter(start+int64(len(model)), u.phys, u.size, u.tags)
					qr.enter(start+int64(len(model)), u.phys, u.size, 7) // again: ignored
					model = append(model, u)
				}
			},
			"save": func(*rapid.T) {
				n, err := qr.q.cq.save(&qr.s.dispatch.heap, make([]byte, 3*unitSize))
				must(t, err)
				if int(n) != len(model)-saved {
					rt.Fatalf("saved %d of %d", n, len(model)-saved)
				}
				qr.s.dispatch.written.Add(n)
				saved = len(model)
			},
			"save thoroughly": func(*rapid.T) {
				must(t, qr.s.flushQueues(true))
				saved = len(model)
			},
			"reopen": func(*rapid.T) { // what is not in files is entered again by recovery, here by hand
				must(t, qr.s.Close())
				qr = newQueueRig(t, r)
				last, err := qr.q.cq.recover(noMark, make([]byte, 200*unitSize))
				must(t, err)
				if saved > 0 && last.end != model[saved-1].phys+int64(model[saved-1].size) {
					rt.Fatalf("last record ends at %d", last.end)
				}
				must(t, qr.q.cq.correctMin(0, qr.q.cq.physEnd))
				if saved < len(model) {
					for i, u := range model {
						qr.enter(start+int64(i), u.phys, u.size, u.tags)
					}
				}
				if low > 0 {
					must(t, qr.s.cleanQueue(&qr.q.cq, model[low-start].phys))
				}
			},
			"truncate": func(rt *rapid.T) {
				if len(model) == 0 || low > 0 {
					rt.Skip()
				}
				n := rapid.IntRange(0, len(model)-1).Draw(rt, "keep")
				must(t, qr.s.truncateQueues(model[n].phys))
				phys = model[n].phys
				model = model[:n]
				saved = n
				if n == 0 { // the queue keeps its place, but a model cannot tell when it is opened again
					start = qr.q.cq.max.Load()
					must(t, qr.s.destroyQueue(qr.q))
					qr.q = qr.s.queues.getOrCreate("Topic", 1)
				}
			},
			"clean": func(rt *rapid.T) {
				if len(model) == 0 || saved == 0 {
					rt.Skip()
				}
				n := rapid.IntRange(int(max2(low-start, 0)), saved-1).Draw(rt, "from")
				must(t, qr.s.cleanQueue(&qr.q.cq, model[n].phys))
				if n > 0 {
					low = start + int64(n)
				}
			},
			"": func(rt *rapid.T) {
				c := &qr.q.cq
				if c.max.Load() != max() {
					rt.Fatalf("max is %d, want %d", c.max.Load(), max())
				}
				if len(model) == 0 {
					return
				}
				if want := max2(low, start); c.min.Load() != want {
					rt.Fatalf("min is %d, want %d", c.min.Load(), want)
				}
				want := model[c.min.Load()-start:]
				if got := qr.units(t, c.min.Load()); fmt.Sprint(got) != fmt.Sprint(want) {
					rt.Fatalf("entries from %d\n%v\nwant\n%v", c.min.Load(), got, want)
				}
				if p := qr.s.dispatch.pending(); p != int64(len(model)-saved) {
					rt.Fatalf("%d entries pending, want %d", p, len(model)-saved)
				}
			},
		})
	})
}

func max2(a, b int64) int64 { return max(a, b) }

func TestQueueFilesAreJavas(t *testing.T) {
	r := newRig(t, sevenUnits)
	qr := newQueueRig(t, r)
	defer qr.s.Close()
	for i := range int64(9) {
		qr.enter(3+i, 1000+i*10, 10, i-5) // begins inside a file
	}
	must(t, qr.s.flushQueues(true))
	first, err := vfs.ReadFile(r.mem, "/data/store/consumequeue/Topic/1/00000000000000000000")
	must(t, err)
	second, err := vfs.ReadFile(r.mem, "/data/store/consumequeue/Topic/1/00000000000000000140")
	must(t, err)
	if len(first) != 140 || len(second) != 140 {
		t.Fatalf("files of %d and %d bytes", len(first), len(second))
	}
	all := append(first, second...)
	for i := range 14 {
		b := all[i*20 : i*20+20]
		phys, size, tags := int64(binary.BigEndian.Uint64(b)), int32(binary.BigEndian.Uint32(b[8:])), int64(binary.BigEndian.Uint64(b[12:]))
		want := modelUnit{}
		switch {
		case i < 3:
			want = modelUnit{0, 0x7FFFFFFF, 0}
		case i < 12:
			want = modelUnit{1000 + int64(i-3)*10, 10, int64(i-3) - 5}
		}
		if (modelUnit{phys, size, tags}) != want {
			t.Errorf("unit %d: %d %d %d, want %v", i, phys, size, tags, want)
		}
	}
}

func TestEntriesOutOfPlace(t *testing.T) {
	r := newRig(t, sevenUnits)
	qr := newQueueRig(t, r)
	defer qr.s.Close()
	qr.enter(0, 100, 10, 1)
	qr.enter(0, 110, 10, 2) // should stand further back: ignored
	qr.enter(1, 105, 5, 3)  // a record that the queue knows: ignored
	qr.enter(5, 120, 10, 4) // leaves a gap: appended without it
	want := []modelUnit{{100, 10, 1}, {120, 10, 4}}
	if got := qr.units(t, 0); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("entries %v, want %v", got, want)
	}
}

// TestManyQueuesStayCheap: neither files nor mappings for queues that have just been written to, memory that is given back.
func TestManyQueuesStayCheap(t *testing.T) {
	r := newRig(t)
	s, err := Open(r.opts)
	must(t, err)
	defer s.Close()
	d := s.dispatch
	const queues = 2000
	enter := func(from, to int64) {
		d.mu.Lock()
		defer d.mu.Unlock()
		for n := from; n < to; n++ {
			for i := range int64(queues) {
				q := s.queues.getOrCreate(fmt.Sprintf("Topic%d", i/4), int32(i%4))
				d.enter(q, n, (n*queues+i)*10, 10, 0, 0)
			}
		}
		d.entered.Add(d.fresh)
		d.fresh = 0
	}
	enter(0, 3)
	if heap := d.heap.Load(); heap != queues*chunkLeast*unitSize {
		t.Errorf("%d bytes for %d queues", heap, queues)
	}
	must(t, s.flushQueues(false))
	if d.pending() != 0 {
		t.Error("the files of new queues are left for a thorough pass")
	}
	enter(3, 6)
	must(t, s.flushQueues(false))
	if d.pending() != 3*queues {
		t.Error("a pass that is not thorough writes small pieces")
	}
	must(t, s.flushQueues(true))
	if d.pending() != 0 {
		t.Errorf("%d entries pending after a thorough pass", d.pending())
	}
	must(t, s.flushQueues(true))
	if heap := d.heap.Load(); heap != 0 {
		t.Errorf("%d bytes are kept for idle queues", heap)
	}
	for _, q := range s.queues.all() {
		if phys, _, _, ok := q.cq.unit(5); !ok || phys < 5*queues*10 {
			t.Fatalf("%s/%d: entry 5 at %d", q.topic, q.id, phys)
		}
	}
}

// TestQueueWriteErrors: what cannot be written stays readable in memory, the store refuses messages, and all is well again
// when it can be written.
func TestQueueWriteErrors(t *testing.T) {
	r := newRig(t, sevenUnits)
	broken := true
	fsys := vfs.Faulty(r.mem, func(op vfs.Op, name string) error {
		if broken && op == vfs.OpWrite && path.Base(path.Dir(name)) == "1" {
			return vfs.ErrNoSpace
		}
		return nil
	})
	qr := newQueueRig(t, r.on(fsys))
	defer qr.s.Close()
	for i := range int64(20) {
		qr.enter(i, i*10, 10, i)
	}
	if err := qr.s.flushQueues(true); !errors.Is(err, vfs.ErrNoSpace) {
		t.Fatalf("flush: %v", err)
	}
	if got := qr.units(t, 0); len(got) != 20 || !qr.s.flags.has(flagQueueWriteError) || qr.s.failure.Load() != nil {
		t.Fatalf("%d entries, flags %v", len(got), &qr.s.flags)
	}
	if at := qr.s.checkpoint.logicsPhysicalOffset.Load(); at != 0 {
		t.Errorf("checkpoint at %d", at)
	}
	broken = false
	must(t, qr.s.flushQueues(true))
	if qr.s.flags.has(flagQueueWriteError) || qr.s.dispatch.pending() != 0 {
		t.Errorf("flags %v, %d pending", &qr.s.flags, qr.s.dispatch.pending())
	}
	if got := qr.units(t, 0); len(got) != 20 {
		t.Errorf("%d entries", len(got))
	}
}

// FuzzConsumeQueueRecovery opens a queue whose last file holds anything.
func FuzzConsumeQueueRecovery(f *testing.F) {
	unit := func(phys int64, size int32) []byte {
		b := make([]byte, unitSize)
		putUnit(b, phys, size, 5)
		return b
	}
	f.Add(append(unit(0, 10), unit(10, 10)...), int64(15))
	f.Add(append(unit(0, blankSize), unit(10, -1)...), int64(0))
	f.Add([]byte{0xFF}, int64(1))
	f.Fuzz(func(t *testing.T, data []byte, cut int64) {
		r := newRig(t, sevenUnits)
		data = append(data, make([]byte, 21*unitSize)...)[:21*unitSize]
		for i := range 3 {
			name := path.Join("/data/store/consumequeue/Topic/1", fileName(int64(i)*140))
			must(t, r.mem.MkdirAll(path.Dir(name)))
			file, err := r.mem.Create(name)
			must(t, err)
			_, err = file.WriteAt(data[i*140:i*140+140], 0)
			must(t, err)
		}
		qr := newQueueRig(t, r)
		defer qr.s.Close()
		qr.q = qr.s.queues.get("Topic", 1)
		_, err := qr.s.recoverQueues(uncleanExit)
		must(t, err)
		c := &qr.q.cq
		must(t, qr.s.settleQueues(max(cut, 0)))
		must(t, qr.s.truncateQueues(max(cut, 1)))
		if min, max := c.min.Load(), c.max.Load(); min < 0 || min > max || max > 21 {
			t.Fatalf("from %d to %d", min, max)
		}
		qr.units(t, c.min.Load())
		before := c.max.Load()
		qr.enter(before, 1<<40, 10, 1)
		if c.max.Load() != before+1 {
			t.Fatalf("an entry more makes %d of %d", c.max.Load(), before)
		}
		must(t, qr.s.flushQueues(true))
	})
}
