package lite

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"apogee/broker/meta"
	"apogee/broker/pop"
	"apogee/compat/body"
	"apogee/remoting"
	"apogee/store"
	"apogee/store/vfs"
)

// rig is a service with ends of queues, groups and a clock that are set by hand.
type rig struct {
	*Service
	now    time.Time
	ends   map[string]int64
	groups map[string]map[string]string
	woken  []string
	told   []string
	offs   *meta.Offsets
	quota  int64
	asked  int // how often who has which names
}

func newRig() *rig {
	r := &rig{now: time.UnixMilli(1_700_000_000_000), ends: map[string]int64{}, groups: map[string]map[string]string{}, quota: 1000}
	now := func() time.Time { return r.now }
	r.offs = meta.NewOffsets(meta.OffsetOptions{FS: vfs.NewMem(now), Dir: "/s", Now: now, Log: slog.New(slog.DiscardHandler), VersionStep: 100})
	r.Service = New(Options{
		Now: now, Log: slog.New(slog.DiscardHandler), Offsets: r.offs, Orders: pop.NoOrders{},
		Settings: func() Settings {
			return Settings{Quota: r.quota, Events: 3, FullDelay: 10 * time.Second, WildDelay: 10 * time.Second, ClientIdle: 3 * time.Minute}
		},
		Group: func(name string) (*body.SubscriptionGroupConfig, bool) {
			a, ok := r.groups[name]
			g := body.NewSubscriptionGroupConfig(name)
			g.Attributes = a
			return &g, ok
		},
		MaxOffset: func(q string) int64 { return r.ends[q] },
		Queues: func() (out []string) {
			for q := range r.ends {
				out = append(out, q)
			}
			return out
		},
		Here: func(string) func(string) bool {
			r.asked++
			return func(topic string) bool { return topic != "elsewhere" }
		},
		Wake: func(client string) { r.woken = append(r.woken, client) },
	})
	return r
}

func (r *rig) Oneway(out remoting.Outgoing) error {
	r.told = append(r.told, fmt.Sprint(out.Header))
	return nil
}

func (r *rig) order(action, client, group string, o *body.LiteOffsetOption, topics ...string) error {
	return r.Apply(&body.LiteSubscription{Action: action, ClientID: client, Group: group, Topic: "P", LiteTopicSet: topics, OffsetOption: o}, r)
}

func (r *rig) arrive(topic string) {
	q := Queue("P", topic)
	r.ends[q]++
	r.Arrive([]store.Arrival{{Topic: q, Next: r.ends[q]}})
}

// drain takes all events of a client.
func (r *rig) drain(client string) (out []string) {
	for q := r.Next(client); q != ""; q = r.Next(client) {
		_, topic, _ := Split(q)
		out = append(out, topic)
	}
	return out
}

func TestNames(t *testing.T) {
	if q := Queue("P", "l"); q != "%LMQ%$P$l" {
		t.Error(q)
	}
	for name, ok := range map[string]bool{
		"%LMQ%$P$l": true, "%LMQ%$P$": false, "%LMQ%$$l": false, "%LMQ%$P": false, "%LMQ%$P$l$m": false, "%LMQ%P$l": false, "P": false, "": false,
	} {
		if parent, topic, got := Split(name); got != ok || ok && (parent != "P" || topic != "l") {
			t.Errorf("%q: %q %q %v", name, parent, topic, got)
		}
	}
	if Queue("", "l") != "" || Queue("P", "") != "" {
		t.Error("a name of nothing")
	}
}

func FuzzSplit(f *testing.F) {
	f.Add("%LMQ%$P$l")
	f.Fuzz(func(t *testing.T, name string) {
		if parent, topic, ok := Split(name); ok && Queue(parent, topic) != name {
			t.Errorf("%q is %q of %q", name, topic, parent)
		}
	})
}

func TestSubscriptionsAreRefused(t *testing.T) {
	r := newRig()
	r.groups["G"], r.groups["W"] = nil, map[string]string{"lite.sub.wildcard": "true"}
	for what, err := range map[string]error{
		"an unknown group":              r.order(body.LitePartialAdd, "c", "absent", nil, "l"),
		"one topic of a wildcard group": r.order(body.LitePartialAdd, "c", "W", nil, "l"),
		"a name with a separator":       r.order(body.LitePartialAdd, "c", "G", nil, "a$b"),
		"an empty name":                 r.order(body.LiteCompleteAdd, "c", "G", nil, ""),
		"an action that nobody knows":   r.order("ADD", "c", "G", nil, "l"),
		"more than the broker's allowed": func() error {
			r.quota = 0
			defer func() { r.quota = 10 }()
			return r.order(body.LitePartialAdd, "c", "G", nil, "l")
		}(),
	} {
		if err == nil {
			t.Errorf("%s is taken", what)
		}
	}
	if n, _ := r.Active(); n != 0 {
		t.Errorf("%d subscriptions", n)
	}
}

func TestExclusiveGroupsHaveOneSubscriber(t *testing.T) {
	r := newRig()
	r.groups["G"] = map[string]string{"lite.sub.model": "Exclusive", "lite.sub.reset.offset.exclusive": "true"}
	r.offs.Commit("G", Queue("P", "l"), 0, 7)
	for _, c := range []string{"a", "b", "b"} {
		if err := r.order(body.LitePartialAdd, c, "G", nil, "l"); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.Subscribers(Queue("P", "l")); len(got) != 1 || got[0].ClientID != "b" {
		t.Errorf("subscribers %v", got)
	}
	if len(r.told) != 1 || !strings.Contains(r.told[0], "l G a") {
		t.Errorf("told %v", r.told)
	}
	if off, ok := r.offs.TakeReset("G", Queue("P", "l"), 0); !ok || off != 0 {
		t.Errorf("reset to %d %v", off, ok)
	}
	// One that has not heard of it names the lite topic at its next renewal, and is told again.
	if err := r.order(body.LiteCompleteAdd, "a", "G", nil, "l", "m"); err != nil {
		t.Fatal(err)
	}
	if got := r.Subscribers(Queue("P", "l")); len(got) != 1 || got[0].ClientID != "b" {
		t.Errorf("subscribers after a renewal %v", got)
	}
	if got, _ := r.Client("a"); len(r.told) != 2 || len(got) != 1 {
		t.Errorf("told %v; has %v", r.told, got)
	}
}

func TestOffsetsOfNewSubscriptions(t *testing.T) {
	for name, c := range map[string]struct {
		o         body.LiteOffsetOption
		committed int64 // -1: none
		want      int64 // -1: no reset
	}{
		"least":                 {body.LiteOffsetOption{Type: body.LitePolicy, Value: body.LitePolicyMin}, 5, 0},
		"least, there already":  {body.LiteOffsetOption{Type: body.LitePolicy, Value: body.LitePolicyMin}, 0, -1},
		"end":                   {body.LiteOffsetOption{Type: body.LitePolicy, Value: body.LitePolicyMax}, -1, 9},
		"where it was":          {body.LiteOffsetOption{Type: body.LitePolicy, Value: body.LitePolicyLast}, 5, -1},
		"an offset":             {body.LiteOffsetOption{Type: body.LiteOffset, Value: 3}, 5, 3},
		"some before":           {body.LiteOffsetOption{Type: body.LiteTail, Value: 2}, 5, 3},
		"some before the first": {body.LiteOffsetOption{Type: body.LiteTail, Value: 9}, 5, 0},
		"some before nothing":   {body.LiteOffsetOption{Type: body.LiteTail, Value: 2}, -1, -1},
		"a time":                {body.LiteOffsetOption{Type: body.LiteTime, Value: 2}, 5, -1},
		"an unknown kind":       {body.LiteOffsetOption{Type: "?", Value: 2}, 5, -1},
		"a negative offset":     {body.LiteOffsetOption{Type: body.LiteOffset, Value: -3}, 5, -1},
	} {
		t.Run(name, func(t *testing.T) {
			r, q := newRig(), Queue("P", "l")
			r.groups["G"], r.ends[q] = nil, 9
			if c.committed >= 0 {
				r.offs.Commit("G", q, 0, c.committed)
			}
			if err := r.order(body.LitePartialAdd, "c", "G", &c.o, "l"); err != nil {
				t.Fatal(err)
			}
			got, ok := r.offs.TakeReset("G", q, 0)
			if !ok {
				got = -1
			}
			if got != c.want {
				t.Errorf("reset to %d, want %d", got, c.want)
			}
		})
	}
}

func TestFullEventsAreMadeUpFor(t *testing.T) {
	r := newRig()
	r.groups["G"] = nil
	if err := r.order(body.LiteCompleteAdd, "c", "G", nil, "1", "2", "3", "4", "5"); err != nil {
		t.Fatal(err)
	}
	for _, l := range []string{"1", "2", "3", "4", "5"} {
		r.arrive(l)
	}
	if got := r.drain("c"); fmt.Sprint(got) != "[1 2 3]" {
		t.Fatalf("events %v", got)
	}
	for _, l := range []string{"1", "2", "3"} { // and consumes them
		r.offs.Commit("G", Queue("P", l), 0, 1)
	}
	r.Scan()
	if got := r.drain("c"); len(got) != 0 {
		t.Errorf("events before their time: %v", got)
	}
	r.now = r.now.Add(10 * time.Second)
	r.Scan()
	got := r.drain("c")
	slices.Sort(got)
	if fmt.Sprint(got) != "[4 5]" {
		t.Errorf("events %v", got)
	}
}

func TestQuietClientsLoseTheirEvents(t *testing.T) {
	r := newRig()
	r.groups["G"] = nil
	for _, c := range []string{"a", "b"} {
		if err := r.order(body.LitePartialAdd, c, "G", nil, "l"); err != nil {
			t.Fatal(err)
		}
	}
	r.arrive("l")
	has := map[bool]string{true: "a", false: "b"}
	first := has[r.Ready("a")]
	other := has[first == "b"]
	r.now = r.now.Add(11 * time.Second)
	r.Next(other) // asks
	r.Scan()
	if r.Ready(first) || !r.Ready(other) {
		t.Errorf("%s still has the event, or %s has not", first, other)
	}
	// A client that goes gives its events to those that stay; one that says nothing for long goes.
	if err := r.order(body.LiteCompleteRemove, other, "G", nil); err != nil {
		t.Fatal(err)
	}
	if !r.Ready(first) {
		t.Errorf("the event went with %s", other)
	}
	r.now = r.now.Add(4 * time.Minute)
	r.Expire()
	if n, clients := r.Active(); n != 0 || clients != 0 {
		t.Errorf("%d subscriptions of %d clients", n, clients)
	}
}

func TestWhoIsTurnedAwayIsAskedAgain(t *testing.T) {
	r := newRig()
	r.groups["G"] = nil
	if err := r.order(body.LitePartialAdd, "c", "G", nil, "l"); err != nil {
		t.Fatal(err)
	}
	k := pop.Key{Topic: Queue("P", "l"), Group: "G"}
	if !r.Lock(k) || r.Lock(k) {
		t.Fatal("the lock is no lock")
	}
	r.Unlock(k)
	if got := r.drain("c"); fmt.Sprint(got) != "[l]" {
		t.Errorf("events %v", got)
	}
	if !r.Lock(k) {
		t.Error("still locked")
	}
	r.Unlock(k)
	if r.Ready("c") {
		t.Error("an event for nobody")
	}
}

// TestQuotaHoldsForSets: the broker's limit counts for those who name many lite topics at once, and at each renewal.
func TestQuotaHoldsForSets(t *testing.T) {
	r := newRig()
	r.groups["G"], r.quota = nil, 2
	for _, action := range []string{body.LitePartialAdd, body.LiteCompleteAdd} {
		var quota QuotaError
		if err := r.order(action, "c", "G", nil, "1", "2", "3"); !errors.As(err, &quota) || quota.Limit != 2 {
			t.Errorf("%s: %v", action, err)
		}
		if n, _ := r.Active(); n != 2 {
			t.Errorf("%s: %d subscriptions", action, n)
		}
		if err := r.order(body.LiteCompleteAdd, "c", "G", nil, "1", "2"); err != nil { // what is there is renewed
			t.Errorf("%s: %v", action, err)
		}
		if err := r.order(body.LiteCompleteRemove, "c", "G", nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.order(body.LitePartialRemove, "nobody", "G", nil, "1"); err != nil {
		t.Error(err)
	}
	if _, clients := r.Active(); clients != 0 {
		t.Errorf("%d clients", clients)
	}
}

// TestWhoLeavesLeavesItsEvents: what a client has not taken yet when it leaves a lite topic is for those who stay, and not for itself.
func TestWhoLeavesLeavesItsEvents(t *testing.T) {
	r := newRig()
	r.groups["G"], r.groups["E"] = nil, map[string]string{"lite.sub.model": "Exclusive"}
	for _, c := range []string{"a", "b"} {
		if err := r.order(body.LitePartialAdd, c, "G", nil, "l", "m"); err != nil {
			t.Fatal(err)
		}
	}
	r.arrive("l")
	has, other := "a", "b"
	if r.Ready("b") {
		has, other = other, has
	}
	if err := r.order(body.LitePartialRemove, has, "G", nil, "l"); err != nil {
		t.Fatal(err)
	}
	if got := r.drain(has); len(got) != 0 {
		t.Errorf("who has left has %v", got)
	}
	if got := r.drain(other); fmt.Sprint(got) != "[l]" {
		t.Errorf("who stays has %v", got)
	}
	if err := r.order(body.LitePartialAdd, "c", "E", nil, "x"); err != nil {
		t.Fatal(err)
	}
	r.arrive("x")
	if err := r.order(body.LitePartialAdd, "d", "E", nil, "x"); err != nil {
		t.Fatal(err)
	}
	if got := r.drain("c"); len(got) != 0 {
		t.Errorf("who was pushed out has %v", got)
	}
	if got := r.drain("d"); fmt.Sprint(got) != "[x]" {
		t.Errorf("who came has %v", got)
	}
}

// TestTopicsOfOtherBrokers are not subscribed to, unless they are here all the same; who has which is asked once.
func TestTopicsOfOtherBrokers(t *testing.T) {
	r := newRig()
	r.groups["G"] = nil
	if err := r.order(body.LiteCompleteAdd, "c", "G", nil, "1", "2", "elsewhere", "3"); err != nil {
		t.Fatal(err)
	}
	if n, _ := r.Active(); n != 3 || r.asked != 1 {
		t.Errorf("%d subscriptions, asked %d times", n, r.asked)
	}
	r.ends[Queue("P", "elsewhere")] = 1
	if err := r.order(body.LiteCompleteAdd, "c", "G", nil, "elsewhere"); err != nil {
		t.Fatal(err)
	}
	if got, _ := r.Client("c"); fmt.Sprint(got) != "["+Queue("P", "elsewhere")+"]" || r.asked != 1 {
		t.Errorf("subscriptions %v, asked %d times", got, r.asked)
	}
}

func TestOutdated(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	parent := func(name string) (*body.TopicConfig, bool) {
		c := body.NewTopicConfig(name)
		c.Attributes = map[string]map[string]string{"P": {"lite.topic.expiration": "20"}, "N": {}}[name]
		return &c, c.Attributes != nil
	}
	ages := map[string]time.Duration{
		Queue("P", "old"): 21 * time.Minute, Queue("P", "young"): 19 * time.Minute, Queue("N", "never"): time.Hour,
		Queue("gone", "x"): time.Hour, "%LMQ%other": time.Hour, Queue("P", "unknown"): -1,
	}
	var queues []string
	for q := range ages {
		queues = append(queues, q)
	}
	last := func(q string) time.Time {
		if ages[q] < 0 {
			return time.Time{}
		}
		return now.Add(-ages[q])
	}
	if got := Outdated(queues, parent, last, now, 15*time.Minute); fmt.Sprint(got) != "["+Queue("P", "old")+"]" {
		t.Errorf("outdated %v", got)
	}
	if got := Outdated(queues, parent, last, now, 30*time.Minute); len(got) != 0 {
		t.Errorf("outdated before the least time: %v", got)
	}
}

// TestNoLiteTopicIsForgotten: whatever clients do, when all is quiet and time has passed, each group that has clients which want a lite topic with
// something to read has it as an event of one of them.
func TestNoLiteTopicIsForgotten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRig()
		r.groups["G"], r.groups["H"] = nil, map[string]string{"lite.sub.model": "Exclusive"}
		r.groups["W"] = map[string]string{"lite.sub.wildcard": "true"}
		topics := rapid.SampledFrom([]string{"1", "2", "3", "4", "5"})
		group := map[string]string{"a": "G", "b": "G", "c": "H", "d": "H", "e": "W", "f": "W"}
		clients := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"})
		t.Repeat(map[string]func(*rapid.T){
			"subscribe": func(t *rapid.T) {
				c := clients.Draw(t, "client")
				action := rapid.SampledFrom([]string{body.LitePartialAdd, body.LiteCompleteAdd, body.LitePartialRemove, body.LiteCompleteRemove}).Draw(t, "action")
				_ = r.order(action, c, group[c], nil, rapid.SliceOfN(topics, 1, 5).Draw(t, "topics")...) // wildcard groups refuse some
			},
			"message": func(t *rapid.T) { r.arrive(topics.Draw(t, "topic")) },
			"pop": func(t *rapid.T) {
				c := clients.Draw(t, "client")
				if q := r.Next(c); q != "" { // and consumes all of it
					r.offs.Commit(group[c], q, 0, r.ends[q])
				}
			},
			"time": func(t *rapid.T) {
				r.now = r.now.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "seconds")) * time.Second)
				r.Scan()
			},
			"refresh": func(t *rapid.T) { r.Expire() },
		})
		for range 40 { // quiet: everybody asks and consumes, and time goes on
			for c, g := range group {
				for q := r.Next(c); q != ""; q = r.Next(c) {
					r.offs.Commit(g, q, 0, r.ends[q])
				}
			}
			r.now = r.now.Add(time.Second)
			r.Scan()
		}
		for q, end := range r.ends {
			for g := range r.groups {
				wants := g == "W" && len(r.of[wildKey("P", "W")]) > 0
				for _, c := range r.of[q] {
					wants = wants || c.group == g
				}
				if at, _ := r.offs.Query(g, q, 0); wants && at < end {
					t.Fatalf("%s of %s: consumed up to %d of %d, and nobody is told", q, g, at, end)
				}
			}
		}
	})
}
