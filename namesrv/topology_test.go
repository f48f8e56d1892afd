package namesrv

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/remoting/header"

	"pgregory.net/rapid"
)

// fakeClock is a clock that a test sets.
type fakeClock struct{ at time.Time }

func (c *fakeClock) now() time.Time          { return c.at }
func (c *fakeClock) advance(d time.Duration) { c.at = c.at.Add(d) }

// fakeLink is a broker's connection.
type fakeLink struct{ closed bool }

func (l *fakeLink) Close()       { l.closed = true }
func (l *fakeLink) Closed() bool { return l.closed }

// bench is a topology with everything around it.
type bench struct {
	*topology
	clock   *fakeClock
	cfg     Config
	order   map[string]string
	notices []minIDChange
}

func newBench(t testing.TB) *bench {
	b := &bench{clock: &fakeClock{at: time.UnixMilli(1700000000000)}, cfg: defaultConfig(t), order: map[string]string{}}
	b.topology = newTopology(b.clock.now, slog.New(slog.DiscardHandler), func() *Config { return &b.cfg })
	b.orders = func(topic string) string { return b.order[topic] }
	b.notify = func(c minIDChange) { b.notices = append(b.notices, c) }
	return b
}

// reg is a registration of broker name at addr with topics that have as many queues as version says.
func reg(name, addr string, id, version int64, topics ...string) *registration {
	r := &registration{cluster: "c1", name: name, addr: addr, id: id, haAddr: "ha-" + addr, body: registerBody(version)}
	for _, topic := range topics {
		r.body.TopicConfigSerializeWrapper.TopicConfigTable[topic] = topicConfig(topic, int32(version), 6, 0)
	}
	return r
}

func (b *bench) mustRegister(t *testing.T, r *registration) registered {
	t.Helper()
	got, ok := b.register(r)
	if !ok {
		t.Fatalf("registration of %s refused", r.addr)
	}
	return got
}

// show is a route in short: broker(ids)queues/perm.
func (b *bench) show(topic string) string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	r := b.pickLocked(topic)
	if r == nil {
		return "none"
	}
	var parts []string
	for _, d := range r.BrokerDatas {
		var ids []string
		for _, id := range slices.Sorted(maps.Keys(d.BrokerAddrs)) {
			ids = append(ids, fmt.Sprintf("%d=%s", id, d.BrokerAddrs[id]))
		}
		for _, q := range r.QueueDatas {
			if q.BrokerName == d.BrokerName {
				parts = append(parts, fmt.Sprintf("%s(%s)%d/%d", d.BrokerName, strings.Join(ids, ","), q.ReadQueueNums, q.Perm))
			}
		}
	}
	return strings.Join(parts, " ")
}

func (b *bench) expect(t *testing.T, topic, want string) {
	t.Helper()
	if got := b.show(topic); got != want {
		t.Errorf("%s: %s, want %s", topic, got, want)
	}
}

func TestExpiry(t *testing.T) {
	b := newBench(t)
	slow, quick := &fakeLink{}, &fakeLink{}
	r := reg("b-0", "a:1", 0, 1, "T", "U")
	r.link = slow
	b.mustRegister(t, r)
	r = reg("b-1", "b:1", 0, 1, "T", "U")
	r.link, r.timeout = quick, header.Some(int64(3000))
	b.mustRegister(t, r)

	b.clock.advance(3 * time.Second)
	if gone := b.expired(); gone != nil {
		t.Errorf("expired at the very end of the time: %v", gone)
	}
	b.clock.advance(time.Millisecond)
	gone := b.expired()
	if want := []departure{{cluster: "c1", name: "b-1", addr: "b:1"}}; !slices.Equal(gone, want) {
		t.Fatalf("expired: %v, want %v", gone, want)
	}
	if !quick.closed || slow.closed {
		t.Errorf("closed: %v, %v", quick.closed, slow.closed)
	}
	b.remove(gone)
	b.expect(t, "T", "b-0(0=a:1)1/6")

	b.clock.advance(100 * time.Second)
	b.touch("c1", "a:1")
	b.clock.advance(119 * time.Second)
	if gone := b.expired(); gone != nil {
		t.Errorf("expired in spite of a heartbeat: %v", gone)
	}
	b.clock.advance(time.Second + time.Millisecond)
	b.remove(b.expired())
	b.expect(t, "T", "none")
	if len(b.live)+len(b.brokers)+len(b.clusters)+len(b.topics) != 0 {
		t.Errorf("left behind: %v %v %v %v", b.live, b.brokers, b.clusters, b.topics)
	}
}

func TestConnectionOfSeveralBrokers(t *testing.T) {
	b := newBench(t)
	shared, other := &fakeLink{}, &fakeLink{}
	for i, link := range []*fakeLink{shared, shared, other} {
		r := reg(fmt.Sprintf("b-%d", i), fmt.Sprintf("a:%d", i), 0, 1, "T", "U")
		r.link = link
		b.mustRegister(t, r)
	}
	gone := b.disconnected(shared)
	if len(gone) != 2 {
		t.Fatalf("gone: %v", gone)
	}
	b.remove(gone)
	b.expect(t, "T", "b-2(0=a:2)1/6")

	// A broker that has registered over a new connection outlives the old one.
	r := reg("b-2", "a:2", 0, 1, "T", "U")
	r.link = &fakeLink{}
	b.mustRegister(t, r)
	if gone := b.disconnected(other); gone != nil {
		t.Errorf("gone: %v", gone)
	}
}

func TestTopicsAreTakenOnlyWhenChanged(t *testing.T) {
	b := newBench(t)
	b.mustRegister(t, reg("b-0", "a:1", 0, 1, "T", "U"))
	b.wipeWrite("b-0")
	b.expect(t, "T", "b-0(0=a:1)1/4")
	b.mustRegister(t, reg("b-0", "a:1", 0, 1, "T", "U", "V"))
	b.expect(t, "T", "b-0(0=a:1)1/4")
	b.expect(t, "V", "b-0(0=a:1)1/6") // it was missing
	b.mustRegister(t, reg("b-0", "a:1", 0, 2, "T"))
	b.expect(t, "T", "b-0(0=a:1)2/6")
	b.expect(t, "U", "b-0(0=a:1)1/4") // it stays
	b.cfg.DeleteTopicWithRegistration = true
	b.mustRegister(t, reg("b-0", "a:1", 0, 3, "T"))
	b.expect(t, "U", "none")
}

func TestZoneAndActingFlagFollowRegistrations(t *testing.T) {
	b := newBench(t)
	r := reg("b-0", "a:1", 0, 1, "T", "U")
	r.zone, r.acting = "z1", header.Some(true)
	b.mustRegister(t, r)
	before := string(b.route("T", standardJSON))
	b.mustRegister(t, reg("b-0", "a:1", 0, 1, "T", "U"))
	after := string(b.route("T", standardJSON))
	if !strings.Contains(before, `"enableActingMaster":true,"zoneName":"z1"`) || strings.Contains(after, "zoneName") || !strings.Contains(after, `"enableActingMaster":false`) {
		t.Errorf("before %s\nafter %s", before, after)
	}
}

func TestRefusedBrokerLeavesNoTrace(t *testing.T) {
	b := newBench(t)
	if _, ok := b.register(reg("b-0", "a:1", 0, 1, "T")); ok {
		t.Error("an increment without its base was taken")
	}
	if len(b.live)+len(b.brokers)+len(b.clusters)+len(b.topics) != 0 {
		t.Errorf("left behind: %v %v %v %v", b.live, b.brokers, b.clusters, b.topics)
	}
	// A known name with another id is no base either.
	b.mustRegister(t, reg("b-0", "a:1", 0, 1, "T", "U"))
	if _, ok := b.register(reg("b-0", "a:2", 1, 1, "T")); ok {
		t.Error("an increment of an unknown id was taken")
	}
	b.mustRegister(t, reg("b-0", "a:1", 0, 2, "V"))
	b.expect(t, "V", "b-0(0=a:1)2/6")
}

func TestNoticesOfTheLowestID(t *testing.T) {
	b := newBench(t)
	register := func(addr string, id int64) {
		r := reg("b-0", addr, id, 1, "T", "U")
		r.acting = header.Some(true)
		b.mustRegister(t, r)
	}
	leave := func(addr string, id int64) { b.remove([]departure{{cluster: "c1", name: "b-0", addr: addr, id: id}}) }
	expect := func(what string, want ...string) {
		t.Helper()
		var got []string
		for _, c := range b.notices {
			lowest, _ := minID(c.addrs)
			got = append(got, fmt.Sprintf("%d of %d, offline %q, ha %q", lowest, len(c.addrs), c.offline, c.haAddr))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
		b.notices = nil
	}
	register("a:2", 2)
	leave("a:2", 2)
	register("a:2", 2)
	register("a:1", 1)
	expect("switched off")
	b.cfg.NotifyMinBrokerIDChanged = true
	register("a:0", 0)
	expect("master comes", `0 of 3, offline "", ha "ha-a:0"`)
	leave("a:1", 1)
	expect("another slave leaves")
	register("a:3", 3)
	expect("another slave comes")
	leave("a:0", 0)
	expect("master leaves", `2 of 2, offline "a:0", ha ""`)
	leave("a:2", 2)
	leave("a:3", 3)
	expect("all leave", `3 of 1, offline "a:2", ha ""`)
}

func TestActingMasterOnlyWhereItMay(t *testing.T) {
	b := newBench(t)
	b.cfg.SupportActingMaster = true
	b.mustRegister(t, reg("old", "o:1", 1, 1, "T", "U")) // no enableActingMaster: its topics are not even taken
	r := reg("b-0", "a:1", 1, 1, "T", syncMemberPrefix+"b-0")
	r.acting = header.Some(true)
	b.mustRegister(t, r)
	b.expect(t, "T", "b-0(0=a:1)1/4")
	b.expect(t, syncMemberPrefix+"b-0", "b-0(1=a:1)1/4")
	b.cfg.SupportActingMaster = false
	b.expect(t, "T", "b-0(1=a:1)1/4")
	b.cfg.SupportActingMaster = true
	b.addWrite("b-0")
	b.expect(t, "T", "b-0(1=a:1)1/6") // never a writable slave as a master
}

func TestForgottenBrokerExpires(t *testing.T) {
	b := newBench(t)
	b.mustRegister(t, reg("b-0", "a:1", 0, 1, "T", "U"))
	b.mustRegister(t, reg("b-0", "a:2", 0, 2, "T", "U")) // takes the id over; a:1 lives on in no name
	b.expect(t, "T", "b-0(0=a:2)2/6")
	b.clock.advance(121 * time.Second)
	b.touch("c1", "a:2")
	b.remove(b.expired())
	if _, ok := b.version("c1", "a:1"); ok {
		t.Error("the old address is still known")
	}
	b.expect(t, "T", "b-0(0=a:2)2/6")
}

// Whatever brokers do, answers out of the cache are those that would be put together now, and the tables agree with each other.
func TestCachedRoutesAreCurrent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := &bench{clock: &fakeClock{at: time.UnixMilli(1700000000000)}, order: map[string]string{}}
		b.cfg = Config{ScanInterval: time.Second}
		b.topology = newTopology(b.clock.now, slog.New(slog.DiscardHandler), func() *Config { return &b.cfg })
		b.orders = func(topic string) string { return b.order[topic] }
		b.notify = func(minIDChange) {}

		topics := []string{"T0", "T1", "T2", syncMemberPrefix + "x"}
		brokers := []string{"b-0", "b-1", "b-2"}
		addrs := []string{"a:0", "a:1", "a:2", "a:3"}
		pick := func(from []string) string { return rapid.SampledFrom(from).Draw(t, "pick") }
		flag := func() bool { return rapid.Bool().Draw(t, "flag") }
		id := func() int64 { return rapid.Int64Range(0, 2).Draw(t, "id") }

		t.Repeat(map[string]func(*rapid.T){
			"register": func(t *rapid.T) {
				r := reg(pick(brokers), pick(addrs), id(), rapid.Int64Range(1, 3).Draw(t, "version"), rapid.SliceOfN(rapid.SampledFrom(topics), 0, 4).Draw(t, "topics")...)
				r.cluster = pick([]string{"c1", "c2"})
				r.body.TopicConfigSerializeWrapper.DataVersion.StateVersion = rapid.Int64Range(0, 1).Draw(t, "state")
				if flag() {
					r.acting = header.Some(flag())
				}
				if flag() {
					r.zone = "z"
				}
				if flag() {
					r.body.FilterServerList = []string{pick(addrs)}
				}
				if flag() {
					topic := pick(topics)
					r.body.TopicConfigSerializeWrapper.TopicQueueMappingInfoMap = map[string]*body.TopicQueueMappingInfo{topic: {Topic: topic, Bname: r.name}}
				}
				b.register(r)
			},
			"leave": func(t *rapid.T) {
				b.remove([]departure{{cluster: pick([]string{"c1", "c2"}), name: pick(brokers), addr: pick(addrs), id: id()}})
			},
			"expire": func(t *rapid.T) {
				b.clock.advance(time.Duration(rapid.IntRange(0, 200).Draw(t, "seconds")) * time.Second)
				b.remove(b.expired())
			},
			"perm": func(t *rapid.T) {
				if flag() {
					b.wipeWrite(pick(brokers))
				} else {
					b.addWrite(pick(brokers))
				}
			},
			"delete": func(t *rapid.T) { b.deleteTopic(pick(topics), pick([]string{"", "c1", "c2", "c9"})) },
			"add": func(t *rapid.T) {
				b.addTopic(pick(topics), []body.QueueData{{BrokerName: pick(brokers), Perm: 6}, {BrokerName: pick(brokers), Perm: 6}})
			},
			"configure": func(t *rapid.T) {
				b.cfg.SupportActingMaster, b.cfg.OrderMessageEnable, b.cfg.DeleteTopicWithRegistration = flag(), flag(), flag()
				b.order[pick(topics)] = pick([]string{"", "b-0:1"})
				b.changes.Add(1)
			},
			"": func(t *rapid.T) {
				for _, topic := range topics {
					var bare, std []byte
					if r := b.pickLocked(topic); r != nil {
						bare, std = fastjson.Marshal(r), fastjson.MarshalStandard(r)
					}
					if got := b.route(topic, bareKeys); string(got) != string(bare) {
						t.Fatalf("%s: cached %s, now %s", topic, got, bare)
					}
					if got := b.route(topic, standardJSON); string(got) != string(std) {
						t.Fatalf("%s: cached %s, now %s", topic, got, std)
					}
					b.zoneRoute(topic, "z")
				}
				b.check(t)
			},
		})
	})
}

// check holds the tables against each other.
func (b *bench) check(t *rapid.T) {
	for name, e := range b.topics {
		if len(e.queues) == 0 || !slices.IsSortedFunc(e.queues, func(a, b body.QueueData) int { return strings.Compare(a.BrokerName, b.BrokerName) }) {
			t.Fatalf("queues of %s: %v", name, e.queues)
		}
		for _, q := range e.queues {
			if b.brokers[q.BrokerName] == nil {
				t.Fatalf("%s has queues of unknown broker %s", name, q.BrokerName)
			}
		}
	}
	for name, d := range b.brokers {
		seen := map[string]bool{}
		for _, addr := range d.BrokerAddrs {
			if seen[addr] {
				t.Fatalf("%s has %s twice", name, addr)
			}
			seen[addr] = true
		}
	}
	for cluster, names := range b.clusters {
		if len(names) == 0 {
			t.Fatalf("cluster %s has no brokers", cluster)
		}
	}
}
