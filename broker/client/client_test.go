package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeChannel is a connection that notes what it is sent.
type fakeChannel struct {
	name string

	mu   sync.Mutex
	sent []string
}

func (c *fakeChannel) RemoteText() string { return c.name }
func (c *fakeChannel) Close()             {}

func (c *fakeChannel) Call(context.Context, remoting.Outgoing) (*remoting.Response, error) {
	return nil, errors.New("no answer")
}

func (c *fakeChannel) Oneway(out remoting.Outgoing) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := out.Header.(*header.NotifyConsumerIDsChangedRequest)
	c.sent = append(c.sent, fmt.Sprint(out.Code, " ", h.ConsumerGroup))
	return nil
}

func (c *fakeChannel) got() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.sent)
}

// clock is moved by hand.
type clock struct{ at time.Time }

func newClock() *clock                   { return &clock{time.UnixMilli(1_700_000_000_000)} }
func (c *clock) now() time.Time          { return c.at }
func (c *clock) advance(d time.Duration) { c.at = c.at.Add(d) }

func sub(topic string, version int64) body.SubscriptionData {
	return body.SubscriptionData{Topic: topic, SubString: "*", SubVersion: version}
}

func registration(group string, subs ...body.SubscriptionData) Registration {
	return Registration{
		Group: group, ConsumeType: body.ConsumePassively, Model: body.Clustering, FromWhere: body.ConsumeFromLastOffset,
		Subscriptions: subs, Notify: true,
	}
}

func identity(id string) Identity { return Identity{ClientID: id, Language: remoting.Go, Version: 317} }

// table is a consumer table that counts change notices.
func table(c *clock) (*Consumers, *[]string) {
	var told []string
	return NewConsumers(c.now, func(group string) { told = append(told, group) }, nil), &told
}

func TestHeartbeatsChangeAGroup(t *testing.T) {
	a, b := &fakeChannel{name: "a"}, &fakeChannel{name: "b"}
	type step struct {
		name string
		ch   Channel
		reg  Registration
		want bool // changed, and the members were told
		subs map[string]int64
	}
	broadcast := registration("G", sub("T", 5))
	broadcast.Model = body.Broadcasting
	silent := registration("G", sub("T", 5), sub("U", 1))
	silent.Notify = false
	without := registration("G")
	without.WithoutSub = true
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"the first member", []step{{"joins", a, registration("G", sub("T", 1)), true, map[string]int64{"T": 1}}}},
		{"the same heartbeat again", []step{
			{"joins", a, registration("G", sub("T", 1)), true, map[string]int64{"T": 1}},
			{"again", a, registration("G", sub("T", 1)), false, map[string]int64{"T": 1}},
		}},
		{"a newer version of a known topic is silent", []step{
			{"joins", a, registration("G", sub("T", 1)), true, map[string]int64{"T": 1}},
			{"newer", a, registration("G", sub("T", 2)), false, map[string]int64{"T": 2}},
			{"older is ignored", a, registration("G", sub("T", 1)), false, map[string]int64{"T": 2}},
		}},
		{"topics come and go with the latest heartbeat", []step{
			{"joins", a, registration("G", sub("T", 1)), true, map[string]int64{"T": 1}},
			{"other topics of another member win", b, registration("G", sub("U", 1)), true, map[string]int64{"U": 1}},
			{"and back", a, registration("G", sub("T", 1)), true, map[string]int64{"T": 1}},
			{"one more", a, registration("G", sub("T", 1), sub("U", 1)), true, map[string]int64{"T": 1, "U": 1}},
		}},
		{"a heartbeat without subscriptions keeps them", []step{
			{"joins", a, registration("G", sub("T", 1)), true, map[string]int64{"T": 1}},
			{"refreshes", a, without, false, map[string]int64{"T": 1}},
			{"a new member still changes the group", b, without, true, map[string]int64{"T": 1}},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			consumers, told := table(newClock())
			for _, s := range c.steps {
				before := len(*told)
				if got := consumers.Register(s.ch, identity("id"), s.reg); got != s.want {
					t.Fatalf("%s: changed %v", s.name, got)
				}
				if got := len(*told) > before; got != s.want {
					t.Errorf("%s: told %v", s.name, got)
				}
				got := map[string]int64{}
				for topic, d := range consumers.Group("G").Subscriptions {
					got[topic] = d.SubVersion
				}
				if !maps.Equal(got, s.subs) {
					t.Errorf("%s: subscriptions %v, want %v", s.name, got, s.subs)
				}
			}
		})
	}
	t.Run("broadcasting and switched-off groups are not told", func(t *testing.T) {
		consumers, told := table(newClock())
		if !consumers.Register(a, identity("id"), broadcast) || !consumers.Register(b, identity("id2"), silent) {
			t.Error("not changed")
		}
		consumers.Register(a, identity("id"), broadcast)
		consumers.Unregister("G", b, true)
		if len(*told) != 0 {
			t.Errorf("told %v", *told)
		}
	})
}

func TestTheLatestHeartbeatDecidesForTheGroup(t *testing.T) {
	consumers, _ := table(newClock())
	consumers.Register(&fakeChannel{}, identity("a"), registration("G", sub("T", 1)))
	r := registration("G", sub("T", 1))
	r.ConsumeType, r.Model, r.FromWhere = body.ConsumeActively, body.Broadcasting, body.ConsumeFromFirstOffset
	before := consumers.Group("G")
	consumers.Register(&fakeChannel{name: "other"}, identity("b"), r)
	g := consumers.Group("G")
	if g.ConsumeType != body.ConsumeActively || g.Model != body.Broadcasting || g.FromWhere != body.ConsumeFromFirstOffset {
		t.Errorf("group %+v", g)
	}
	if before.Model != body.Clustering {
		t.Error("a group that was handed out has changed")
	}
}

func TestFingerprints(t *testing.T) {
	consumers, _ := table(newClock())
	if consumers.Fingerprint("G", 7, false) || !consumers.Fingerprint("G", 7, true) {
		t.Error("of an unknown group the subscriptions are needed exactly if they were left out")
	}
	consumers.Register(&fakeChannel{}, identity("a"), registration("G", sub("T", 1)))
	for i, s := range []struct {
		fp      int32
		without bool
		want    bool
	}{{7, false, false}, {7, true, false}, {8, false, true}, {8, true, false}, {9, true, true}, {0, false, true}, {9, false, true}} {
		if got := consumers.Fingerprint("G", s.fp, s.without); got != s.want {
			t.Errorf("step %d: resend %v", i, got)
		}
	}
}

func TestMembersLeave(t *testing.T) {
	a, b := &fakeChannel{name: "a"}, &fakeChannel{name: "b"}
	c := newClock()
	consumers, told := table(c)
	join := func() {
		consumers.Register(a, identity("a"), registration("G", sub("T", 1)))
		consumers.Register(b, identity("b"), registration("G", sub("T", 1)))
		consumers.Register(a, identity("a"), registration("H", sub("T", 1)))
		*told = nil
	}
	check := func(what string, wantTold, wantIDs []string) {
		t.Helper()
		slices.Sort(*told)
		if !slices.Equal(*told, wantTold) || !slices.Equal(consumers.ClientIDs("G"), wantIDs) {
			t.Errorf("%s: told %v, want %v; members %v, want %v", what, *told, wantTold, consumers.ClientIDs("G"), wantIDs)
		}
	}
	join()
	consumers.Unregister("G", a, true)
	check("goodbye", []string{"G"}, []string{"b"})
	consumers.Unregister("G", a, true)
	check("goodbye twice", []string{"G"}, []string{"b"})
	consumers.Unregister("G", b, true)
	check("the last goodbye", []string{"G"}, []string{})
	if consumers.Group("G") != nil || consumers.Members("G") != nil || !slices.Equal(consumers.GroupsOf("T"), []string{"H"}) {
		t.Error("a group without members is there")
	}
	join()
	if !consumers.ChannelClosed(a) || consumers.ChannelClosed(a) {
		t.Error("closing reports wrongly")
	}
	check("a closed connection", []string{"G"}, []string{"b"})
	join()
	c.advance(100 * time.Second)
	consumers.Register(b, identity("b"), registration("G", sub("T", 1)))
	c.advance(21 * time.Second)
	if out := consumers.Expire(120 * time.Second); len(out) != 2 || out[0] != Channel(a) || out[1] != Channel(a) {
		t.Errorf("expired %v", out)
	}
	check("silence", []string{"G"}, []string{"b"})
	if !slices.Equal(consumers.Names(), []string{"G"}) || len(consumers.of) != 1 {
		t.Errorf("groups %v, channels %d", consumers.Names(), len(consumers.of))
	}
	if m, ok := consumers.Member("G", "b"); !ok || m.Channel != Channel(b) || m.Version != 317 {
		t.Errorf("member %+v", m)
	}
	if _, ok := consumers.Member("G", "a"); ok {
		t.Error("a is still there")
	}
}

func TestARenamedClientIsOneClient(t *testing.T) {
	consumers, _ := table(newClock())
	ch := &fakeChannel{}
	consumers.Register(ch, identity("old"), registration("G", sub("T", 1)))
	if consumers.Register(ch, identity("new"), registration("G", sub("T", 1))) {
		t.Error("the group changed")
	}
	if ids := consumers.ClientIDs("G"); !slices.Equal(ids, []string{"new"}) {
		t.Errorf("ids %v", ids)
	}
}

func TestProducers(t *testing.T) {
	c := newClock()
	p := NewProducers(c.now)
	a, b := &fakeChannel{name: "a"}, &fakeChannel{name: "b"}
	p.Register("P", a, identity("a"))
	p.Register("Q", a, identity("a"))
	c.advance(100 * time.Second)
	p.Register("P", b, identity("b"))
	p.Register("P", b, identity("b"))
	if m := p.Members("P"); len(m) != 2 || m[0].ClientID != "a" || m[1].ClientID != "b" {
		t.Errorf("members %+v", m)
	}
	if p.Channel("a") != Channel(a) || p.Channel("nobody") != nil || len(p.All()) != 2 {
		t.Error("look-ups")
	}
	p.Unregister("Q", a)
	if p.Channel("a") != Channel(a) {
		t.Error("a is gone although it still produces for P")
	}
	c.advance(21 * time.Second)
	if out := p.Expire(120 * time.Second); len(out) != 1 || out[0] != Channel(a) || p.Channel("a") != nil {
		t.Errorf("expired %v", out)
	}
	if !p.ChannelClosed(b) || p.ChannelClosed(b) || len(p.groups)+len(p.of)+len(p.byClient) != 0 {
		t.Errorf("left over: %v %v %v", p.groups, p.of, p.byClient)
	}
}

func queues(ids ...int32) []body.MessageQueue {
	out := make([]body.MessageQueue, len(ids))
	for i, id := range ids {
		out[i] = body.MessageQueue{Topic: "T", BrokerName: "b", QueueID: id}
	}
	return out
}

// Locks against a model: who renewed last within a minute owns the queue.
func TestLocksHaveOneOwner(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		l := NewLocks(c.now)
		type owner struct {
			id string
			at time.Time
		}
		model := map[int32]owner{}
		live := func(q int32) bool { o, ok := model[q]; return ok && c.now().Sub(o.at) <= LockLife }
		ids, clients := rapid.SliceOfN(rapid.Int32Range(0, 3), 0, 4), rapid.SampledFrom([]string{"x", "y"})
		t.Repeat(map[string]func(*rapid.T){
			"lock": func(t *rapid.T) {
				id, want := clients.Draw(t, "client"), []body.MessageQueue{}
				asked := ids.Draw(t, "queues")
				for _, q := range asked {
					if !live(q) || model[q].id == id {
						model[q] = owner{id, c.now()}
						want = append(want, queues(q)...)
					}
				}
				if got := l.Lock("G", id, queues(asked...)); !slices.Equal(got, want) {
					t.Fatalf("%s locks %v, got %v, want %v", id, asked, got, want)
				}
			},
			"unlock": func(t *rapid.T) {
				id, asked := clients.Draw(t, "client"), ids.Draw(t, "queues")
				l.Unlock("G", id, queues(asked...))
				for _, q := range asked {
					if model[q].id == id {
						delete(model, q)
					}
				}
			},
			"wait":   func(t *rapid.T) { c.advance(time.Duration(rapid.IntRange(1, 40).Draw(t, "s")) * time.Second) },
			"expire": func(*rapid.T) { l.Expire() },
			"": func(t *rapid.T) {
				want := false
				for q := range model {
					want = want || live(q)
				}
				if l.Held("G") != want || l.Held("Other") {
					t.Fatalf("held %v", l.Held("G"))
				}
			},
		})
	})
}

func TestNotifierTellsEveryMember(t *testing.T) {
	members := []*fakeChannel{{name: "a"}, {name: "b"}}
	n := NewNotifier(NotifierOptions{
		Channels: func(group string) []Channel {
			if group != "G" {
				return nil
			}
			return []Channel{members[0], members[1]}
		},
		Enabled: func() bool { return true }, RealTime: func() bool { return true }, Delay: time.Hour, Log: slog.New(slog.DiscardHandler),
	})
	for range 100 {
		n.Changed("G") // before anybody looks: one notice is enough
	}
	n.Changed("Empty")
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { n.Run(ctx) })
	want := []string{fmt.Sprint(code.NotifyConsumerIDsChanged, " G")}
	deadline := time.After(10 * time.Second)
	for _, m := range members {
		for !slices.Equal(m.got(), want) {
			select {
			case <-deadline:
				t.Fatalf("%s got %v", m.name, m.got())
			case <-time.After(time.Millisecond):
			}
		}
	}
	cancel()
	wg.Wait()
}

func TestNotifierSwitches(t *testing.T) {
	ch := &fakeChannel{}
	enabled := false
	n := NewNotifier(NotifierOptions{
		Channels: func(string) []Channel { return []Channel{ch} },
		Enabled:  func() bool { return enabled }, RealTime: func() bool { return false }, Delay: time.Millisecond,
		Log: slog.New(slog.DiscardHandler),
	})
	n.Changed("G")
	if len(n.pending) != 0 {
		t.Error("switched off, but noted")
	}
	enabled = true
	n.Changed("G")
	n.Changed("G")
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { n.Run(ctx) })
	for deadline := time.After(10 * time.Second); len(ch.got()) == 0; {
		select {
		case <-deadline:
			t.Fatal("not told with the tick")
		case <-time.After(time.Millisecond):
		}
	}
	cancel()
	wg.Wait()
	if got := ch.got(); len(got) != 1 {
		t.Errorf("sent %v", got)
	}
}

func TestGroupLookupAllocatesNothing(t *testing.T) {
	consumers, _ := table(newClock())
	consumers.Register(&fakeChannel{}, identity("a"), registration("Group", sub("T", 1)))
	frame := []byte("Group")
	if n := testing.AllocsPerRun(100, func() {
		if consumers.Group(string(frame)) == nil {
			t.Error("not found")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// lineChannel is a connection that may be closed or stuck.
type lineChannel struct {
	Channel
	closed, stuck bool
}

func (c *lineChannel) Closed() bool   { return c.closed }
func (c *lineChannel) Writable() bool { return !c.stuck }

func TestAvailableProducers(t *testing.T) {
	p := NewProducers(time.Now)
	if p.Available("g") != nil {
		t.Error("a producer of a group that is not there")
	}
	lines := []*lineChannel{{}, {}, {}, {}}
	for i, c := range lines {
		p.Register("g", c, Identity{ClientID: string(rune('a' + i))})
	}
	turns := map[Channel]int{}
	for range 40 {
		turns[p.Available("g")]++
	}
	for i, c := range lines {
		if turns[c] != 10 {
			t.Errorf("producer %d had %d turns of 40", i, turns[c])
		}
	}
	lines[0].closed, lines[1].stuck, lines[2].closed = true, true, true
	for range 8 {
		if c := p.Available("g"); c != lines[3] && c != lines[1] {
			t.Errorf("a closed connection was picked: %v", c)
		}
	}
	lines[3].closed = true
	found := 0
	for range 8 {
		if p.Available("g") == lines[1] {
			found++
		}
	}
	if found != 6 { // one that is stuck but open, where it is among the three
		t.Errorf("the open connection was picked %d times", found)
	}
	lines[1].closed = true
	if p.Available("g") != nil {
		t.Error("a closed connection was picked")
	}
}
