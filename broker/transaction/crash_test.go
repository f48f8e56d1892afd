package transaction

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"time"

	"apogee/broker/meta"
	"apogee/store"
	"apogee/store/record"
	"apogee/store/vfs"
)

// tale is a transaction as its producer sees it.
type tale struct {
	name      string
	commit    bool // what it says, unasked or asked
	immune    bool
	prepared  bool // acknowledged
	ended     bool // acknowledged
	opEnd     int64
	queue     int64 // where the producer knows it
	physical  int64
	spare     int // how often it may come twice: a crash took what said that it was ended
	beginning bool
}

// world has producers that prepare, end and are asked, a clock that goes on, and a broker whose file system is taken away at any door.
type world struct {
	*rig
	rnd   *rand.Rand
	seed  uint64
	tales map[string]*tale
	order []string
	kill  bool
	left  int // doors until the crash; below 0 for none
	clone *vfs.Mem
	snap  map[string]tale
	n     int
}

func (w *world) knock() {
	if w.left--; w.left != 0 {
		return
	}
	stats := w.st.Stats() // before the cut: the flusher goes on meanwhile
	flushed := stats.Flushed
	if w.kill {
		flushed = stats.MaxPhysical
		w.clone = w.mem.KillClone()
	} else {
		w.clone = w.mem.CrashClone(w.seed)
	}
	w.snap = make(map[string]tale)
	for name, t := range w.tales {
		c := *t
		if (c.ended || c.beginning) && (c.opEnd == 0 || c.opEnd > flushed) {
			c.spare++
		}
		w.snap[name] = c
	}
}

func (w *world) prepare() {
	w.n++
	t := &tale{name: fmt.Sprintf("%d-%d", w.seed, w.n), commit: w.rnd.IntN(2) == 0, immune: w.rnd.IntN(4) == 0}
	w.tales[t.name] = t
	w.order = append(w.order, t.name)
	var more []string
	if t.immune {
		more = []string{PropImmunity, "40"}
	}
	w.knock()
	res := w.half(t.name, more...)
	t.prepared, t.queue, t.physical = true, res.QueueOffset, res.PhysicalOffset
	w.knock()
}

// end has the producer tell what it decided, at the place that it knows.
func (w *world) end(t *tale, queue, physical int64) {
	t.beginning = true
	if t.commit {
		w.commit(queue, physical)
	} else if err := w.RolledBack(0, queue, "T"); err != nil {
		w.t.Fatal(err)
	}
	t.ended, t.beginning = true, false
	w.knock()
}

// answer has the producers answer what they were asked.
func (w *world) answer() {
	for _, q := range w.peer.asked {
		t := w.tales[q.MsgID]
		if t == nil {
			w.t.Fatalf("asked about %q", q.MsgID)
		}
		if t.ended {
			w.t.Errorf("seed %d: asked about %s, which was ended", w.seed, t.name)
		}
		w.end(t, q.TranStateTableOffset, q.CommitLogOffset)
	}
	w.peer.asked = nil
}

func (w *world) step() {
	switch w.rnd.IntN(10) {
	case 0, 1, 2:
		w.prepare()
	case 3, 4:
		for _, name := range w.order {
			if t := w.tales[name]; t.prepared && !t.ended && t.physical >= 0 && w.rnd.IntN(3) == 0 {
				w.end(t, t.queue, t.physical)
			}
		}
	case 5:
		w.clock.add(time.Duration(w.rnd.IntN(9)) * time.Second)
	case 6:
		w.writeAll()
	case 7, 8:
		w.check.round()
		for _, q := range w.peer.asked {
			w.tales[q.MsgID].physical = -1 // the place that the producer knew may be passed: from now on it answers
		}
		w.knock()
		w.answer()
	case 9:
		w.check.publish(false)
		w.knock()
		if err := w.offsets.Persist(); err != nil {
			w.t.Fatal(err)
		}
		w.knock()
	}
}

// writeAll writes the ops, and notes where the log has them.
func (w *world) writeAll() {
	w.flush()
	end := w.st.Stats().MaxPhysical
	for _, t := range w.tales {
		if t.ended && t.opEnd == 0 {
			t.opEnd = end
		}
	}
	w.knock()
}

// crash goes on with what the file system was when the door was knocked at.
func (w *world) crash() {
	if w.clone == nil {
		w.left = 1
		w.knock()
	}
	w.tales = make(map[string]*tale)
	for name, t := range w.snap {
		t.beginning, t.opEnd = false, 0
		if t.spare > 0 {
			t.ended = false // it may be asked about again
		}
		t.physical = -1 // producers have lost what they knew, and answer when they are asked
		w.tales[name] = &t
	}
	clone := w.clone
	w.clone, w.snap = nil, nil
	w.left = -1
	w.on(clone)
	w.st.door = w.knock
}

// awaitFlush waits until all that is put can be read.
func (w *world) awaitFlush() {
	last := &record.Message{Topic: "Last", Body: []byte("x"), StoreHost: w.opts.Host(), BornHost: w.opts.Host()}
	if res := w.st.PutWait(last); !stored(res.Status) {
		w.t.Fatal(res.Err)
	}
	for w.st.MaxOffset("Last", 0) == 0 {
		runtime.Gosched()
	}
}

// finish lets everything come to its end.
func (w *world) finish() {
	w.left = -1
	for range 12 {
		w.clock.add(31 * time.Second)
		w.awaitFlush()
		w.check.round()
		w.answer()
		w.writeAll()
		w.settle()
	}
	if half, op := w.st.MaxOffset(meta.HalfTopic, 0), w.st.MaxOffset(meta.OpHalfTopic, 0); w.at() != fmt.Sprint(half, op) {
		w.t.Errorf("seed %d: offsets %s, want %d %d", w.seed, w.at(), half, op)
	}
	if n := len(w.messages(meta.CheckMaxTimeTopic, 0)); n != 0 {
		w.t.Errorf("seed %d: %d messages are given up", w.seed, n)
	}
	got := make(map[string]int)
	for _, m := range w.messages("T", 1) {
		got[string(m.Body)]++
	}
	for name, t := range w.tales {
		n := got[name]
		delete(got, name)
		switch {
		case !t.commit && n > 0:
			w.t.Errorf("seed %d: %s was rolled back and came", w.seed, name)
		case t.commit && t.prepared && n == 0:
			w.t.Errorf("seed %d: %s is lost (%+v)", w.seed, name, t)
		case n > 1+t.spare:
			w.t.Errorf("seed %d: %s came %d times, %d may be (%+v)", w.seed, name, n, 1+t.spare, t)
		}
	}
	for name := range maps.Keys(got) {
		w.t.Errorf("seed %d: nobody prepared %s", w.seed, name)
	}
}

// TestCrashes takes the file system away at any step, by a kill or by a power cut, again and again. No half message that was acknowledged is
// lost, none is left undecided, none that was rolled back comes, and none comes twice whose end was safe.
func TestCrashes(t *testing.T) {
	seeds := uint64(60)
	if os.Getenv("APOGEE_LONG") != "" {
		seeds = 3000
	}
	for seed := range seeds {
		kill := seed%2 == 0
		mode := store.SyncFlush
		if kill && seed%4 == 0 {
			mode = store.AsyncFlush
		}
		w := &world{rig: newRig(t, mode), rnd: rand.New(rand.NewPCG(seed, 5)), seed: seed, tales: make(map[string]*tale), kill: kill, left: -1}
		w.st.door = w.knock
		for range 4 {
			w.left = 1 + w.rnd.IntN(60)
			for range 40 {
				if w.clone != nil {
					break
				}
				w.step()
			}
			w.crash()
		}
		w.finish()
		if t.Failed() {
			t.Fatalf("seed %d, kill %v, mode %s", seed, kill, mode)
		}
	}
}
