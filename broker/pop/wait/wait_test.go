package wait

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"apogee/broker/hold"
	"apogee/broker/pop"
	"apogee/internal/leaktest"
	"apogee/remoting"
	"apogee/store"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// popper is a pop that notes how it was woken.
type popper struct {
	pop.Wait
	name  string
	tag   int64 // wants this tags code only; 0 wants all
	ready func() bool
	woken chan hold.Reason
}

func (p *popper) Ready() bool                           { return p.ready != nil && p.ready() }
func (p *popper) Wants(a *store.Arrival) bool           { return p.tag == 0 || a.TagsCode == p.tag }
func (p *popper) Wake(r hold.Reason, _ *remoting.Batch) { p.woken <- r }

func newPopper(name, topic, grp string, queue int32, until int64) *popper {
	p := &popper{name: name, woken: make(chan hold.Reason, 1)}
	p.Wait = pop.Wait{Waiter: p, Key: pop.Key{Topic: topic, Group: grp, Queue: queue}, Until: until}
	return p
}

// rig is a table with its own hold table, on the clock of a bubble.
type rig struct {
	*Table
	t      *testing.T
	hold   *hold.Table
	limits Limits
	all    []*popper
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, hold: hold.New(hold.Options{Now: time.Now}), limits: Limits{Total: 100, Line: 10, Groups: 10, Idle: time.Minute, Force: 800}}
	t.Cleanup(r.hold.Close)
	r.Table = New(Options{Hold: r.hold, Now: time.Now, Limits: func() Limits { return r.limits }})
	return r
}

// park parks a pop on a topic tA of a group that the name starts with, for some seconds.
func (r *rig) park(name string, queue int32, seconds int) *popper {
	r.t.Helper()
	p := newPopper(name, "tA", name[:1], queue, time.Now().UnixMilli()+int64(seconds)*1000)
	if out := r.Park(&p.Wait); out != pop.Parked {
		r.t.Fatalf("%s: not parked, %d", name, out)
	}
	r.all = append(r.all, p)
	return p
}

// woken are the names of those that were woken since the last time, with the reason.
func (r *rig) woken() string {
	synctest.Wait()
	var out []string
	for _, p := range r.all {
		select {
		case why := <-p.woken:
			out = append(out, p.name+[...]string{"", " late", " closing", " gone"}[why])
		default:
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func arrival(topic string, queue int32, offset, tag int64) []store.Arrival {
	return []store.Arrival{{Topic: topic, QueueID: queue, Next: offset + 1, TagsCode: tag}}
}

func (r *rig) expect(what, want string) {
	r.t.Helper()
	if got := r.woken(); got != want {
		r.t.Errorf("%s: woken %q, want %q", what, got, want)
	}
}

func TestAMessageWakesOneOfEachLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.park("g any long", -1, 9)
		r.park("g any short", -1, 5)
		r.park("g own", 1, 7)
		r.park("g other", 2, 7)
		r.park("h any", -1, 7)
		r.Arrive(arrival("tB", 1, 5, 0))
		r.expect("another topic", "")
		r.Arrive(arrival("tA", 1, 5, 0))
		r.expect("a message", "g any short, g own, h any")
		if n := r.Len(pop.Key{Topic: "tA", Group: "g", Queue: -1}); n != 1 {
			t.Errorf("%d left in the line", n)
		}
		r.Arrive(arrival("tA", 1, 6, 0))
		r.expect("the next one", "g any long")
		r.Arrive(arrival("tA", 1, 7, 0))
		r.expect("nobody is left on that queue", "")
		r.Arrive(arrival("%RETRY%g_tA", 0, 0, 0))
		r.expect("a retry finds a pop of any queue", "g other")
	})
}

func TestRetryTopicsBelongToOneGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for _, topic := range []string{"%RETRY%g_tA", "%RETRY%g+tA"} {
			r.park("g", -1, 9)
			r.park("h", -1, 9)
			r.Arrive(arrival(topic, 0, 3, 0))
			r.expect(topic, "g")
			r.Notify(pop.Key{Topic: "tA", Group: "h", Queue: -1})
			r.expect("notified", "h")
		}
	})
}

func TestFilters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.park("g", -1, 9).tag = 7
		r.Arrive(arrival("tA", 0, 5, 8))
		r.expect("another tag", "")
		r.Arrive(arrival("tA", 0, 799, 8))
		r.expect("just before the offset that wakes all the same", "")
		r.Arrive(arrival("tA", 0, 800, 8))
		r.expect("at it", "g")
		r.limits.Force = 0
		r.park("g2", -1, 9).tag = 7
		r.Arrive(arrival("tA", 0, 1600, 8))
		r.expect("never", "")
		r.Arrive(arrival("tA", 0, 1601, 7))
		r.expect("its tag", "g2")
	})
}

func TestLastComeFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.opts.Last = true
		for i, seconds := range []int{5, 9, 7} {
			r.park(fmt.Sprint("g", i), -1, seconds)
		}
		for _, want := range []string{"g1", "g2", "g0", ""} {
			r.Arrive(arrival("tA", 0, 1, 0))
			r.expect("a message", want)
		}
	})
}

func TestTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		short := newPopper("g", "tA", "g", 0, time.Now().UnixMilli()+49)
		if out := r.Park(&short.Wait); out != pop.TooLate {
			t.Errorf("49 ms left: %d", out)
		}
		r.park("g", 0, 2)
		time.Sleep(2*time.Second - time.Millisecond)
		r.expect("before its time is over", "")
		time.Sleep(17 * time.Millisecond)
		r.expect("its time is over", "g late")
		if r.Len(pop.Key{Topic: "tA", Group: "g"}) != 0 || r.waiting.Load() != 0 {
			t.Error("still in the line")
		}
		huge := newPopper("g", "tA", "g", 0, 1<<62)
		r.all = append(r.all, huge)
		if out := r.Park(&huge.Wait); out != pop.Parked {
			t.Errorf("a huge time: %d", out)
		}
		r.expect("a huge time", "")
		r.hold.Close()
		r.expect("closing", "g closing")
		if out := r.Park(&huge.Wait); out != pop.TooLate {
			t.Errorf("closed: %d", out)
		}
	})
}

func TestNotify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.Notify(pop.Key{Topic: "tA", Group: "g", Queue: 1})
		r.park("g any", -1, 9).tag = 7
		r.park("g own", 1, 9).tag = 7
		r.Notify(pop.Key{Topic: "tA", Group: "h", Queue: 1})
		r.Notify(pop.Key{Topic: "tB", Group: "g", Queue: 1})
		r.expect("others", "")
		r.Notify(pop.Key{Topic: "tA", Group: "g", Queue: 1})
		r.expect("its queue", "g own")
		r.Notify(pop.Key{Topic: "tA", Group: "g", Queue: 1})
		r.expect("any queue", "g any")
	})
}

func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		try := func(topic string, queue int32) pop.Outcome {
			p := newPopper("g", topic, "g", queue, time.Now().UnixMilli()+9000)
			r.all = append(r.all, p)
			return r.Park(&p.Wait)
		}
		for range 11 {
			try("tA", 0)
		}
		if try("tA", 0) != pop.Full || try("tA", 1) != pop.Parked {
			t.Error("a line is full on its own")
		}
		for i := range 9 {
			try(fmt.Sprint("t", i), 0)
		}
		if try("t9", 0) != pop.Full {
			t.Error("too many topics")
		}
		r.limits.Total = r.waiting.Load()
		if try("tA", 2) != pop.Full {
			t.Error("too many in all")
		}
		r.limits.Total = 100
		time.Sleep(10 * time.Second)
		if got := strings.Count(r.woken(), "late"); got != 21 {
			t.Errorf("%d waited", got)
		}
		if try("t9", 0) != pop.Parked || len(r.groups) != 1 || len(r.names) != 3 {
			t.Errorf("%d topics are known", len(r.groups))
		}
		time.Sleep(2 * time.Minute)
		if try("tA", 0) != pop.Parked || len(r.groups) != 1 {
			t.Error("topics that nobody waits for are kept")
		}
	})
}

func TestReadyIsAskedOnceItIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := newPopper("g", "tA", "g", 0, time.Now().UnixMilli()+9000)
		p.ready = func() bool { return true }
		if out := r.Park(&p.Wait); out != pop.Ready || r.waiting.Load() != 0 || r.hold.Len() != 0 {
			t.Errorf("something is there: %d", out)
		}
		// A message that comes between its joining the line and its parking.
		p.ready = nil
		limits := r.limits
		h := p.Private.(*held)
		h.entry.Prepare()
		h.taken.Store(false)
		if !r.stand(h, time.Now().UnixMilli(), &limits) {
			t.Fatal("not in line")
		}
		r.Arrive(arrival("tA", 0, 1, 0))
		if out := r.hold.Park(&h.entry, nil, time.Second); out != hold.Ready || r.waiting.Load() != 0 {
			t.Errorf("something comes meanwhile: %d", out)
		}
	})
}

// The waiter of each line that is woken is the one with the least time, and each is woken once.
func TestOrderAgainstAModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		until := rapid.SliceOfN(rapid.Int64Range(0, 9), 1, 40).Draw(rt, "until")
		last := rapid.Bool().Draw(rt, "last")
		l := new(line)
		for i, u := range until {
			p := newPopper(fmt.Sprint(i), "", "", 0, u)
			l.insert(&held{wait: &p.Wait})
		}
		for _, i := range rapid.SliceOfN(rapid.IntRange(0, 39), 0, 20).Draw(rt, "leave") {
			h := l.first
			for range i {
				if h != nil {
					h = h.next
				}
			}
			if h != nil {
				l.remove(h)
			}
		}
		var got []int64
		for l.n > 0 {
			h := l.first
			if last {
				h = l.last
			}
			got = append(got, h.wait.Until)
			l.remove(h)
		}
		if last {
			slices.Reverse(got)
		}
		if !slices.IsSorted(got) || l.first != nil || l.last != nil {
			rt.Fatalf("order %v", got)
		}
	})
}

// TestNothingIsLost has pops wait on a queue whose messages come all the while; every message must be seen by somebody, without waiting for
// the end of anybody's time.
func TestNothingIsLost(t *testing.T) {
	table := hold.New(hold.Options{Now: time.Now})
	defer table.Close()
	w := New(Options{Hold: table, Now: time.Now, Limits: func() Limits { return Limits{Total: 1000, Line: 1000, Groups: 10, Idle: time.Minute} }})
	const messages = 5000
	var written, read atomic.Int64
	var wg sync.WaitGroup
	end := make(chan struct{}, 8)
	for i := range 8 {
		wg.Go(func() {
			for {
				at := read.Load()
				if at == messages {
					end <- struct{}{}
					return
				}
				if at < written.Load() {
					read.CompareAndSwap(at, at+1)
					w.Notify(pop.Key{Topic: "t", Group: "g", Queue: -1}) // there may be more
					continue
				}
				p := newPopper("p", "t", "g", int32(i%2)-1, time.Now().Add(time.Hour).UnixMilli())
				p.ready = func() bool { return written.Load() > at || read.Load() > at }
				if w.Park(&p.Wait) == pop.Parked {
					if why := <-p.woken; why != hold.Arrived {
						t.Errorf("woken with %d", why)
						return
					}
				}
			}
		})
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range int64(messages) {
		written.Add(1)
		w.Arrive(arrival("t", int32(rnd.IntN(2)), i, 0))
	}
	<-end
	for range 8 { // those that wait for more
		w.Arrive(arrival("t", 0, messages, 0))
	}
	wg.Wait()
}
