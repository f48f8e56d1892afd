package client

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"

	"apogee/compat/body"
)

// consistent checks everything that a roster keeps twice.
func consistent(t *rapid.T, r *roster) {
	entries := 0
	for name, g := range r.groups {
		if g.name != name || len(g.entries) == 0 {
			t.Fatalf("group %s is kept as %s with %d members", g.name, name, len(g.entries))
		}
		for i, e := range g.entries {
			if e.in != g || int(e.at) != i {
				t.Fatalf("member %d of %s is in %s at %d", i, name, e.in.name, e.at)
			}
			if r.find(g, e.Channel) != e {
				t.Fatalf("member %d of %s is not found", i, name)
			}
			entries++
		}
	}
	for ch, first := range r.of {
		n, prev := 0, (*entry)(nil)
		for e := first; e != nil; e = e.rest {
			if e.Channel != ch || e.prev != prev {
				t.Fatalf("the entries of %s are not chained", ch.RemoteText())
			}
			n, prev = n+1, e
		}
		entries -= n
		if index := r.index[ch]; n > manyGroups && index == nil || index != nil && len(index) != n {
			t.Fatalf("%s has %d entries, and %d in its index", ch.RemoteText(), n, len(index))
		}
	}
	if entries != 0 || len(r.index) > len(r.of) {
		t.Fatalf("%d entries more in groups than of connections; %d indexes for %d connections", entries, len(r.index), len(r.of))
	}
}

// Producers against a model, with connections in so many groups that they get an index, and lose it again.
func TestProducersAgainstAModel(t *testing.T) {
	channels := []*fakeChannel{{name: "a"}, {name: "b"}, {name: "c"}}
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		p := NewProducers(c.now)
		type key struct {
			group string
			ch    Channel
		}
		type known struct {
			id   string
			seen int64
		}
		model := map[key]known{}
		leave := func(which func(key, known) bool) (left []Channel) {
			for k, v := range model {
				if which(k, v) {
					left = append(left, k.ch)
					delete(model, k)
				}
			}
			return left
		}
		group := rapid.Map(rapid.IntRange(0, 39), func(n int) string { return fmt.Sprint("g", n) })
		channel := rapid.SampledFrom(channels)
		t.Repeat(map[string]func(*rapid.T){
			"heartbeat": func(t *rapid.T) {
				ch := channel.Draw(t, "channel")
				for _, g := range rapid.SliceOfN(group, 1, 12).Draw(t, "groups") {
					id := ch.name + fmt.Sprint(rapid.IntRange(0, 1).Draw(t, "id"))
					p.Register(g, ch, identity(id))
					v, ok := model[key{g, ch}]
					if !ok {
						v.id = id
					}
					v.seen = c.now().UnixMilli()
					model[key{g, ch}] = v
				}
			},
			"goodbye": func(t *rapid.T) {
				ch := channel.Draw(t, "channel")
				for _, g := range rapid.SliceOfN(group, 1, 12).Draw(t, "groups") {
					p.Unregister(g, ch)
					delete(model, key{g, ch})
				}
			},
			"close": func(t *rapid.T) {
				ch := channel.Draw(t, "channel")
				left := leave(func(k key, _ known) bool { return k.ch == Channel(ch) })
				if got := p.ChannelClosed(ch); got != (len(left) > 0) {
					t.Fatalf("closed %s: %v, want %d", ch.name, got, len(left))
				}
			},
			"silence": func(t *rapid.T) {
				c.advance(time.Duration(rapid.IntRange(0, 90).Draw(t, "s")) * time.Second)
				limit := c.now().UnixMilli() - 120_000
				left := leave(func(_ key, v known) bool { return v.seen < limit })
				if got := p.Expire(120 * time.Second); len(got) != len(left) {
					t.Fatalf("expired %d, want %d", len(got), len(left))
				}
			},
			"": func(t *rapid.T) {
				consistent(t, &p.roster)
				want := map[string][]string{}
				online := map[string]bool{}
				for k, v := range model {
					want[k.group] = append(want[k.group], v.id)
					online[v.id] = true
				}
				got := p.All()
				if !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want))) {
					t.Fatalf("groups %v, want %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
				}
				for g, ids := range want {
					slices.Sort(ids)
					members := make([]string, 0, len(ids))
					for _, m := range got[g] {
						members = append(members, m.ClientID)
					}
					if !slices.Equal(members, ids) {
						t.Fatalf("group %s: %v, want %v", g, members, ids)
					}
				}
				for _, ch := range channels {
					for _, n := range []string{"0", "1"} {
						id := ch.name + n
						want := Channel(nil)
						if online[id] {
							want = ch
						}
						if got := p.Channel(id); got != want {
							t.Fatalf("%s is at %v, want %v", id, got, want)
						}
					}
				}
			},
		})
	})
}

// What a heartbeat brings is in memory that the next request is read into.
func TestTablesKeepNothingOfTheirArguments(t *testing.T) {
	frame := []byte("group-xcid-1topic-xTAGCONSUME_PASSIVELYCLUSTERING")
	view := func(from, n int) string { return unsafe.String(&frame[from], n) }
	p, told := NewProducers(newClock().now), []string(nil)
	c := NewConsumers(newClock().now, func(g string) { told = append(told, g) }, nil)
	ch := &fakeChannel{name: "a"}
	id := identity(view(7, 5))
	s := sub(view(12, 7), 1)
	s.SubString, s.TagsSet, s.ExpressionType = view(19, 3), []string{view(19, 3)}, view(19, 3)
	r := registration(view(0, 7), s)
	r.ConsumeType, r.Model = body.ConsumeType(view(22, 17)), body.MessageModel(view(39, 10))
	p.Register(view(0, 7), ch, id)
	c.Register(ch, id, r)
	c.Register(&fakeChannel{name: "b"}, identity("cid-2"), registration("group-x", s))
	c.Unregister(view(0, 7), &fakeChannel{}, true)
	for i := range frame {
		frame[i] = '#'
	}
	g := c.Group("group-x")
	if g == nil || g.Name != "group-x" || g.ConsumeType != "CONSUME_PASSIVELY" || g.Model != "CLUSTERING" {
		t.Fatalf("group %+v", g)
	}
	if d := g.Subscriptions["topic-x"]; d == nil || d.Topic != "topic-x" || d.SubString != "TAG" || d.ExpressionType != "TAG" || d.TagsSet[0] != "TAG" {
		t.Errorf("subscription %+v", d)
	}
	if ids := c.ClientIDs("group-x"); !slices.Equal(ids, []string{"cid-1", "cid-2"}) || !slices.Equal(told, []string{"group-x", "group-x"}) {
		t.Errorf("ids %v, told %v", ids, told)
	}
	if m := p.Members("group-x"); len(m) != 1 || m[0].ClientID != "cid-1" || p.Channel("cid-1") != Channel(ch) {
		t.Errorf("producers %+v", m)
	}
}

// A heartbeat comes from each of tens of thousands of connections every 30 s; what it allocated would be most of what they cost.
func TestTheSameHeartbeatAllocatesNothing(t *testing.T) {
	c, _ := table(newClock())
	p := NewProducers(newClock().now)
	ch := &fakeChannel{name: "a"}
	r := registration("G", sub("T", 1), sub("U", 1))
	beat := func() {
		c.Register(ch, identity("a"), r)
		p.Register("P", ch, identity("a"))
	}
	beat()
	if n := testing.AllocsPerRun(100, beat); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkJoin(b *testing.B) {
	p := NewProducers(time.Now)
	b.ReportAllocs()
	for b.Loop() {
		p.Register("P", new(fakeChannel), identity("192.168.1.17@54321#90817263544"))
	}
}
