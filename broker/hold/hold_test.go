package hold

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"apogee/remoting"
	"apogee/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// waiter is a request that remembers how it was woken.
type waiter struct {
	Entry
	tag   int64         // wants this tags code only; 0 wants all
	max   *atomic.Int64 // the queue's next offset, for Ready
	woken chan Reason
}

func newWaiter(topic string, queue int32, off int64) *waiter {
	w := &waiter{woken: make(chan Reason, 2)}
	w.Entry = Entry{Waiter: w, Topic: topic, Queue: queue, Offset: off}
	return w
}

func (w *waiter) Ready() bool { return w.max != nil && w.max.Load() > w.Offset }

func (w *waiter) Wants(a *store.Arrival) bool { return w.tag == 0 || a.TagsCode == w.tag }

func (w *waiter) Wake(r Reason, _ *remoting.Batch) { w.woken <- r }

func (w *waiter) state() string {
	select {
	case r := <-w.woken:
		return [...]string{"arrived", "expired", "closing", "gone"}[r]
	default:
		return "held"
	}
}

func arrival(topic string, queue int32, next, tag int64) store.Arrival {
	return store.Arrival{Topic: topic, QueueID: queue, Next: next, TagsCode: tag}
}

func TestWakesOnArrival(t *testing.T) {
	cases := map[string]struct {
		topic     string
		queue     int32
		next, tag int64
		want      string
	}{
		"grown past the offset wakes":             {"t", 1, 6, 7, "arrived"},
		"far past the offset wakes":               {"t", 1, 600, 7, "arrived"},
		"up to the offset does not wake":          {"t", 1, 5, 7, "held"},
		"another queue does not wake":             {"t", 2, 6, 7, "held"},
		"another topic does not wake":             {"u", 1, 6, 7, "held"},
		"a message that is not wanted lets sleep": {"t", 1, 6, 8, "held"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				table := New(Options{})
				w := newWaiter("t", 1, 5)
				w.tag = 7
				if out := table.Park(&w.Entry, "conn", time.Minute); out != Parked {
					t.Fatalf("Park = %v", out)
				}
				table.Arrive([]store.Arrival{arrival("x", 0, 9, 7), arrival(c.topic, c.queue, c.next, c.tag)})
				synctest.Wait()
				if got := w.state(); got != c.want {
					t.Errorf("state is %s, want %s", got, c.want)
				}
				if held := table.Len() == 1; held != (c.want == "held") {
					t.Errorf("Len = %d while it is %s", table.Len(), c.want)
				}
				table.Close()
			})
		})
	}
}

func TestReadyParksNothing(t *testing.T) {
	table := New(Options{})
	defer table.Close()
	w := newWaiter("t", 0, 5)
	w.max = new(atomic.Int64)
	w.max.Store(6)
	if out := table.Park(&w.Entry, "conn", time.Minute); out != Ready {
		t.Fatalf("Park = %v, want Ready", out)
	}
	if table.Len() != 0 {
		t.Errorf("Len = %d", table.Len())
	}
}

func TestExpiresInOrderAndNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := New(Options{})
		waits := []time.Duration{15 * time.Second, time.Second, 20 * time.Second, 0, 15 * time.Second, 3 * time.Second}
		ws := make([]*waiter, len(waits))
		for i, d := range waits {
			ws[i] = newWaiter("t", int32(i), 0)
			table.Park(&ws[i].Entry, i%2, d)
		}
		state := make([]string, len(ws))
		for now := time.Duration(0); now <= 21*time.Second; now += time.Second / 2 {
			synctest.Wait()
			for i, w := range ws {
				if s := w.state(); s != "held" {
					state[i] = fmt.Sprint(s, " ", now)
				}
			}
			time.Sleep(time.Second / 2)
		}
		for i, d := range waits {
			// Deadlines are rounded up to the next step, so a wait shows at the next look after it.
			want := fmt.Sprint("expired ", d+time.Second/2)
			if d == 0 {
				want = "expired 0s"
			}
			if d%granularityDuration == 0 && d != 0 {
				want = fmt.Sprint("expired ", d)
			}
			if state[i] != want {
				t.Errorf("a wait of %v: %q, want %q", d, state[i], want)
			}
		}
		table.Close()
	})
}

const granularityDuration = time.Duration(granularity)

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := New(Options{Max: 3, MaxConn: 2})
		park := func(conn string) (*waiter, Outcome) {
			w := newWaiter("t", 0, 0)
			return w, table.Park(&w.Entry, conn, time.Minute)
		}
		first, _ := park("a")
		park("a")
		if _, out := park("a"); out != Full {
			t.Errorf("third of one connection: %v, want Full", out)
		}
		park("b")
		if _, out := park("c"); out != Full {
			t.Errorf("fourth of the table: %v, want Full", out)
		}
		table.Drop("a")
		synctest.Wait()
		if got := first.state(); got != "gone" {
			t.Errorf("state after Drop is %s", got)
		}
		if _, out := park("a"); out != Parked {
			t.Errorf("after Drop: %v, want Parked", out)
		}
		table.Close()
		if _, out := park("d"); out != Closed {
			t.Errorf("after Close: %v, want Closed", out)
		}
		table.Close()
	})
}

func TestCloseAnswersWhatIsHeld(t *testing.T) {
	table := New(Options{})
	var ws []*waiter
	for i := range 100 {
		w := newWaiter("t", int32(i), 0)
		table.Park(&w.Entry, i%7, time.Hour)
		ws = append(ws, w)
	}
	table.Close()
	for i, w := range ws {
		if got := w.state(); got != "closing" {
			t.Fatalf("waiter %d is %s after Close", i, got)
		}
	}
}

// TestModel runs random operations against a plain map and compares who was woken, and why.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		ops := rapid.SliceOfN(rapid.IntRange(0, 99), 1, 200).Draw(rt, "ops")
		synctest.Test(t, func(t *testing.T) { runModel(t, seed, ops) })
	})
}

func runModel(t *testing.T, seed uint64, ops []int) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	table := New(Options{})
	type held struct {
		w        *waiter
		conn     int
		deadline time.Time
	}
	model := make(map[*waiter]held)
	check := func(gone []held, want string) {
		t.Helper()
		synctest.Wait()
		for _, h := range gone {
			if got := h.w.state(); got != want {
				t.Fatalf("waiter on %s/%d at %d is %s, want %s", h.w.Topic, h.w.Queue, h.w.Offset, got, want)
			}
			delete(model, h.w)
		}
		for _, h := range model {
			if got := h.w.state(); got != "held" {
				t.Fatalf("waiter on %s/%d at %d is %s, want it held", h.w.Topic, h.w.Queue, h.w.Offset, got)
			}
		}
		if table.Len() != len(model) {
			t.Fatalf("Len = %d, want %d", table.Len(), len(model))
		}
	}
	pick := func(f func(held) bool) (out []held) {
		for _, h := range model {
			if f(h) {
				out = append(out, h)
			}
		}
		return out
	}
	for _, op := range ops {
		topic, queue, off := string(rune('a'+rnd.IntN(3))), int32(rnd.IntN(3)), int64(rnd.IntN(5))
		switch {
		case op < 60:
			w := newWaiter(topic, queue, off)
			h := held{w: w, conn: rnd.IntN(4), deadline: time.Now().Add(time.Duration(rnd.IntN(10)) * 160 * time.Millisecond)}
			table.Park(&w.Entry, h.conn, time.Until(h.deadline))
			model[w] = h
			if !h.deadline.After(time.Now()) {
				check([]held{h}, "expired")
			}
		case op < 80:
			table.Arrive([]store.Arrival{arrival(topic, queue, off, 0)})
			check(pick(func(h held) bool {
				return h.w.Topic == topic && h.w.Queue == queue && h.w.Offset < off
			}), "arrived")
		case op < 85:
			conn := rnd.IntN(4)
			table.Drop(conn)
			check(pick(func(h held) bool { return h.conn == conn }), "gone")
		default:
			time.Sleep(160 * time.Millisecond)
			now := time.Now()
			check(pick(func(h held) bool { return !h.deadline.After(now) }), "expired")
		}
	}
	table.Close()
	check(pick(func(held) bool { return true }), "closing")
}

// recycled parks itself again for as long as there is something to come, as a long-polling consumer does.
type recycled struct {
	Entry
	table *Table
	conn  int
	queue *atomic.Int64
	last  int64
	seen  int64
	done  *sync.WaitGroup
}

func (r *recycled) Ready() bool               { return r.queue.Load() > r.Offset }
func (r *recycled) Wants(*store.Arrival) bool { return true }

func (r *recycled) Wake(Reason, *remoting.Batch) { r.run() }

func (r *recycled) run() {
	for {
		r.seen = r.queue.Load()
		if r.seen >= r.last {
			r.done.Done()
			return
		}
		r.Entry = Entry{Waiter: r, Topic: "t", Queue: int32(r.conn % 3), Offset: r.seen}
		if r.table.Park(&r.Entry, r.conn%5, time.Hour) == Parked {
			return
		}
	}
}

// TestNoWakeUpIsLost has consumers that park at the end of their queue race with a producer; each must reach the last message.
func TestNoWakeUpIsLost(t *testing.T) {
	table := New(Options{})
	defer table.Close()
	const consumers, messages = 30, 2000
	var queues [3]atomic.Int64
	var done sync.WaitGroup
	for i := range consumers {
		r := &recycled{table: table, conn: i, queue: &queues[i%3], last: messages, done: &done}
		done.Add(1)
		go r.run()
	}
	for n := int64(1); n <= messages; n++ {
		for q := range queues {
			queues[q].Store(n)
			table.Arrive([]store.Arrival{arrival("t", int32(q), n, 0)})
		}
	}
	done.Wait()
	if table.Len() != 0 {
		t.Errorf("Len = %d after the last message", table.Len())
	}
}

func TestParkAndWakeAllocateNothing(t *testing.T) {
	table := New(Options{})
	defer table.Close()
	w := newWaiter("t", 0, 5)
	batch := []store.Arrival{arrival("t", 0, 6, 0)}
	conn := any(&batch)
	n := testing.AllocsPerRun(200, func() {
		w.Entry = Entry{Waiter: w, Topic: "t", Offset: 5}
		table.Park(&w.Entry, conn, time.Hour)
		table.Arrive(batch)
		<-w.woken
	})
	if n != 0 {
		t.Errorf("%v allocations per park and wake", n)
	}
}

func TestAttendantsWakeWhatComesMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := New(Options{})
		defer table.Close()
		synctest.Wait() // for the wakers to sleep
		var all []*waiter
		park := func(n int) {
			all = all[:0]
			for i := range n {
				w := newWaiter("t", int32(i), 0)
				if out := table.Park(&w.Entry, "conn", time.Hour); out != Parked {
					t.Fatal(out)
				}
				all = append(all, w)
			}
		}
		arrive := func() {
			for i := range all {
				table.Arrive([]store.Arrival{arrival("t", int32(i), 1, 0)})
			}
			synctest.Wait()
		}
		woken := func() (n int) {
			for _, w := range all {
				n += len(w.woken)
			}
			return n
		}

		park(10)
		table.Begin()
		arrive()
		if n := woken(); n != 0 {
			t.Fatalf("%d woken while somebody attends", n)
		}
		table.End()
		if n := woken(); n != 10 {
			t.Fatalf("%d woken when End returns, want 10", n)
		}

		park(10)
		table.Begin()
		table.Begin()
		arrive()
		table.End()
		if n := woken(); n != 10 {
			t.Fatalf("%d woken by the first of two, want 10", n)
		}
		table.End()

		// What is too much for the attendant goes to the wakers, with the last of those who attend.
		park(5 * attended)
		table.Begin()
		table.Begin()
		arrive()
		table.End()
		synctest.Wait()
		if n := woken(); n != attended {
			t.Fatalf("%d woken by the first, want %d", n, attended)
		}
		table.End()
		synctest.Wait()
		if n := woken(); n != 5*attended {
			t.Fatalf("%d woken in the end, want %d", n, 5*attended)
		}

		park(1) // and without attendance as ever
		arrive()
		if n := woken(); n != 1 {
			t.Fatalf("%d woken without attendance, want 1", n)
		}
	})
}
