package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"apogee/broker/config"
	"apogee/broker/meta"
	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store/vfs"
)

var at = time.UnixMilli(1_700_000_000_000)

func now() time.Time { return at }

// call is one request that a name server got.
type call struct {
	addr string
	out  remoting.Outgoing
}

// nameServers answers calls as a test says.
type nameServers struct {
	answer func(addr string, code int32) (*remoting.Response, error)

	mu    sync.Mutex
	calls []call
}

func (n *nameServers) Call(ctx context.Context, addr string, out remoting.Outgoing) (*remoting.Response, error) {
	n.mu.Lock()
	n.calls = append(n.calls, call{addr, out})
	n.mu.Unlock()
	if n.answer == nil {
		return &remoting.Response{}, ctx.Err()
	}
	return n.answer(addr, out.Code)
}

func (n *nameServers) Oneway(context.Context, string, remoting.Outgoing) error { return nil }

// take returns what came since the last take, ordered by address.
func (n *nameServers) take() []call {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := n.calls
	n.calls = nil
	slices.SortStableFunc(out, func(a, b call) int { return strings.Compare(a.addr, b.addr) })
	return out
}

func newTestRegistrar(t *testing.T, log *slog.Logger, change func(*config.Broker)) (*registrar, *nameServers, *meta.Topics) {
	t.Helper()
	c := &config.Broker{
		Name: "broker-a", ClusterName: "C", IP1: "127.0.0.1", IP2: "10.0.0.1", HAPort: 10912, NameServers: "ns1:9876;ns2:9876", Permission: 6,
		RegisterTimeout: time.Second, RegisterPeriod: time.Hour, ForceRegister: true,
	}
	if change != nil {
		change(c)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	topics := meta.NewTopics(meta.TopicOptions{
		FS: vfs.NewMem(now), Dir: "/store", Now: now, Log: log, AutoCreate: func() bool { return true },
	})
	for _, name := range []string{"A", "B", "D"} {
		cfg := body.NewTopicConfig(name)
		if err := topics.Put(&cfg); err != nil {
			t.Fatal(err)
		}
	}
	ns := new(nameServers)
	g := newRegistrar(ns, config.NewLive(c), topics, func(string, string) {}, log)
	if g.ready() {
		t.Error("ready without an address")
	}
	g.open("127.0.0.1:10911", "10.0.0.1:10912")
	return g, ns, topics
}

func registered(t *testing.T, c call) (*header.RegisterBrokerRequest, *body.RegisterBrokerBody) {
	t.Helper()
	h, ok := c.out.Header.(*header.RegisterBrokerRequest)
	if !ok || c.out.Code != code.RegisterBroker {
		t.Fatalf("%d with %T", c.out.Code, c.out.Header)
	}
	b := new(body.RegisterBrokerBody)
	if err := fastjson.Unmarshal(c.out.Body, b); err != nil {
		t.Fatal(err)
	}
	return h, b
}

func TestFullRegistrationReachesEveryNameServer(t *testing.T) {
	g, ns, topics := newTestRegistrar(t, nil, nil)
	g.full(context.Background())
	calls := ns.take()
	if len(calls) != 2 || calls[0].addr != "ns1:9876" || calls[1].addr != "ns2:9876" {
		t.Fatalf("calls %v", calls)
	}
	for _, c := range calls {
		h, b := registered(t, c)
		want := header.RegisterBrokerRequest{
			BrokerName: "broker-a", BrokerAddr: "127.0.0.1:10911", ClusterName: "C", HAServerAddr: "10.0.0.1:10912",
			EnableActingMaster: header.Some(false), Compressed: header.Some(false), BodyCRC32: int32(crc32.ChecksumIEEE(c.out.Body) & 0x7FFFFFFF),
		}
		if *h != want {
			t.Errorf("header %+v\nwant %+v", *h, want)
		}
		w := b.TopicConfigSerializeWrapper
		if names := slices.Sorted(maps.Keys(w.TopicConfigTable)); !slices.Equal(names, []string{"A", "B", "D"}) || w.DataVersion != topics.Version() {
			t.Errorf("topics %v, version %+v", names, w.DataVersion)
		}
	}
}

func TestChangedTopicsAreRegisteredAlone(t *testing.T) {
	g, ns, topics := newTestRegistrar(t, nil, nil)
	c, _ := topics.Get("B")
	g.topicsChanged(context.Background(), []*body.TopicConfig{c}, body.DataVersion{Counter: 99})
	for _, c := range ns.take() {
		_, b := registered(t, c)
		if names := slices.Collect(maps.Keys(b.TopicConfigSerializeWrapper.TopicConfigTable)); !slices.Equal(names, []string{"B"}) {
			t.Errorf("registered %v", names)
		}
		if v := b.TopicConfigSerializeWrapper.DataVersion.Counter; v != 99 {
			t.Errorf("registered with version %d, want that of the change", v)
		}
	}
	select {
	case <-g.again:
		t.Error("a full registration is due although both took the increment")
	default:
	}
	ns.answer = func(addr string, _ int32) (*remoting.Response, error) {
		if addr == "ns2:9876" {
			return &remoting.Response{Code: code.SystemError, Remark: "register broker failed"}, nil
		}
		return &remoting.Response{}, nil
	}
	g.topicsChanged(context.Background(), []*body.TopicConfig{c}, body.DataVersion{Counter: 99})
	select {
	case <-g.again:
	default:
		t.Error("a name server refused the increment, and no full registration is due")
	}
}

func TestAFullRegistrationThatWasOvertakenIsRepeated(t *testing.T) {
	g, ns, topics := newTestRegistrar(t, nil, func(c *config.Broker) { c.NameServers = "ns:1" })
	ns.answer = func(string, int32) (*remoting.Response, error) {
		c := body.NewTopicConfig("Meanwhile")
		return &remoting.Response{}, topics.Put(&c)
	}
	g.full(context.Background())
	select {
	case <-g.again:
	default:
		t.Error("a topic changed while the table was on its way, and nothing is due")
	}
	ns.answer = nil
	g.full(context.Background())
	select {
	case <-g.again:
		t.Error("nothing has changed, and another registration is due")
	default:
	}
}

func TestNobodyWaitsForANameServerThatIsDown(t *testing.T) {
	g, ns, topics := newTestRegistrar(t, nil, nil)
	ns.answer = func(addr string, _ int32) (*remoting.Response, error) {
		if addr == "ns2:9876" {
			return nil, errors.New("down")
		}
		return &remoting.Response{}, nil
	}
	g.full(context.Background())
	ns.take()
	c, _ := topics.Get("B")
	g.topicsChanged(context.Background(), []*body.TopicConfig{c}, body.DataVersion{Counter: 99})
	if calls := ns.take(); len(calls) != 1 || calls[0].addr != "ns1:9876" {
		t.Errorf("calls %v", calls)
	}
	select {
	case <-g.again:
	default:
		t.Error("the other one is to hear of the topic with a full registration, and none is due")
	}
	g.full(context.Background())
	if calls := ns.take(); len(calls) != 2 {
		t.Errorf("a full registration tried %d name servers", len(calls))
	}
}

func TestSingleTopicRegistration(t *testing.T) {
	g, ns, topics := newTestRegistrar(t, nil, func(c *config.Broker) { c.SingleRegister, c.Permission = true, 4 })
	c, _ := topics.Get("B")
	g.topicsChanged(context.Background(), []*body.TopicConfig{c}, body.DataVersion{Counter: 99})
	calls := ns.take()
	if len(calls) != 2 || calls[0].out.Code != code.RegisterTopicInNamesrv {
		t.Fatalf("calls %v", calls)
	}
	var route body.TopicRouteData
	if err := fastjson.Unmarshal(calls[0].out.Body, &route); err != nil {
		t.Fatal(err)
	}
	if q := route.QueueDatas[0]; q.BrokerName != "broker-a" || q.Perm != 4 || q.ReadQueueNums != 16 {
		t.Errorf("queues %+v", q)
	}
	if h := calls[0].out.Header.(*header.RegisterTopicInNamesrvRequest); h.Topic != "B" {
		t.Errorf("topic %s", h.Topic)
	}
}

func TestBrokerPermissionMasksTopics(t *testing.T) {
	g, ns, topics := newTestRegistrar(t, nil, func(c *config.Broker) { c.Permission = 4 })
	g.full(context.Background())
	_, b := registered(t, ns.take()[0])
	if got := b.TopicConfigSerializeWrapper.TopicConfigTable["A"].Perm; got != 4 {
		t.Errorf("registered with %d", got)
	}
	if own, _ := topics.Get("A"); own.Perm != 6 {
		t.Errorf("the topic itself has %d", own.Perm)
	}
}

func TestSplitRegistration(t *testing.T) {
	g, ns, _ := newTestRegistrar(t, nil, func(c *config.Broker) { c.SplitRegister, c.SplitRegSize, c.NameServers = true, 2, "ns:1" })
	g.full(context.Background())
	var got []string
	for _, c := range ns.take() {
		_, b := registered(t, c)
		got = append(got, fmt.Sprint(slices.Sorted(maps.Keys(b.TopicConfigSerializeWrapper.TopicConfigTable))))
	}
	if !slices.Equal(got, []string{"[A B]", "[D]"}) {
		t.Errorf("parts %v", got)
	}
}

func TestCompressedRegistrationSaysSo(t *testing.T) {
	g, ns, _ := newTestRegistrar(t, nil, func(c *config.Broker) { c.CompressRegister, c.NameServers = true, "ns:1" })
	g.full(context.Background())
	c := ns.take()[0]
	if h := c.out.Header.(*header.RegisterBrokerRequest); !h.Compressed.Value || c.out.Body[0] != 0x78 {
		t.Errorf("compressed %v, body starts %x", h.Compressed, c.out.Body[0])
	}
}

func TestUnchangedTablesNeedNoRegistration(t *testing.T) {
	g, ns, _ := newTestRegistrar(t, nil, func(c *config.Broker) { c.ForceRegister = false })
	changed := "false"
	down := false
	ns.answer = func(addr string, what int32) (*remoting.Response, error) {
		if down && addr == "ns2:9876" {
			return nil, errors.New("down")
		}
		if what == code.QueryDataVersion {
			return &remoting.Response{Fields: header.Fields{{Key: "changed", Value: changed}}}, nil
		}
		return &remoting.Response{}, nil
	}
	codes := func() (out []int32) {
		g.full(context.Background())
		for _, c := range ns.take() {
			out = append(out, c.out.Code)
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	if got := codes(); !slices.Equal(got, []int32{code.QueryDataVersion}) {
		t.Errorf("unchanged: %v", got)
	}
	changed = "true"
	if got := codes(); !slices.Equal(got, []int32{code.RegisterBroker, code.QueryDataVersion}) {
		t.Errorf("changed: %v", got)
	}
	changed, down = "false", true
	if got := codes(); !slices.Equal(got, []int32{code.RegisterBroker, code.QueryDataVersion}) {
		t.Errorf("one does not answer: %v", got)
	}
}

func TestOrderConfigurationComesBack(t *testing.T) {
	g, ns, topics := newTestRegistrar(t, nil, nil)
	ns.answer = func(string, int32) (*remoting.Response, error) {
		return &remoting.Response{Body: []byte(`{"table":{"B":"broker-a:4","Unknown":"x:1"}}`)}, nil
	}
	g.full(context.Background())
	if !topics.Order("B") || topics.Order("A") {
		t.Error("B is not ordered, or A is")
	}
	ns.answer = func(string, int32) (*remoting.Response, error) {
		return &remoting.Response{Body: []byte(`{"table":`)}, nil
	}
	g.full(context.Background()) // a broken answer changes nothing
	if !topics.Order("B") {
		t.Error("B lost its order")
	}
}

func TestANameServerThatIsDownIsTwoLines(t *testing.T) {
	var text bytes.Buffer
	g, ns, _ := newTestRegistrar(t, slog.New(slog.NewTextHandler(&text, nil)), nil)
	down := errors.New("connection refused")
	ns.answer = func(addr string, _ int32) (*remoting.Response, error) {
		if addr == "ns2:9876" && down != nil {
			return nil, down
		}
		return &remoting.Response{}, nil
	}
	for range 5 {
		g.full(context.Background())
	}
	down = nil
	for range 5 {
		g.full(context.Background())
	}
	if n := strings.Count(text.String(), "ns2:9876"); n != 2 || strings.Count(text.String(), "ns1:9876") != 1 {
		t.Errorf("log:\n%s", text.String())
	}
}

// A name server that has lost a broker's connection has forgotten the broker.
func TestALostNameServerIsToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, ns, _ := newTestRegistrar(t, nil, nil)
		var down atomic.Bool
		ns.answer = func(addr string, _ int32) (*remoting.Response, error) {
			if addr == "ns1:9876" && down.Load() {
				return nil, errors.New("connection refused")
			}
			return &remoting.Response{}, nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		wg.Go(func() { g.run(ctx) })
		told := func(what string, d time.Duration, want ...string) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			var got []string
			for _, c := range ns.take() {
				got = append(got, c.addr)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		g.full(ctx)
		told("all is well", 1500*time.Millisecond, "ns1:9876", "ns2:9876")
		g.lost("ns1:9876")
		told("it is there", 2*time.Second, "ns1:9876")
		down.Store(true)
		g.lost("ns1:9876")
		told("it is not", 2*time.Second, "ns1:9876", "ns1:9876", "ns1:9876")
		down.Store(false)
		told("it is back", 2*time.Second, "ns1:9876")
		g.lost("127.0.0.1:10911")
		told("a broker", 2*time.Second)
		g.unregister(ctx)
		told("leaving", 0, "ns1:9876", "ns2:9876")
		g.lost("ns1:9876")
		told("gone", 2*time.Second)
	})
}

func TestUnregister(t *testing.T) {
	g, ns, _ := newTestRegistrar(t, nil, nil)
	g.unregister(context.Background())
	for _, c := range ns.take() {
		want := header.UnregisterBrokerRequest{BrokerName: "broker-a", BrokerAddr: "127.0.0.1:10911", ClusterName: "C"}
		if h, ok := c.out.Header.(*header.UnregisterBrokerRequest); !ok || *h != want || c.out.Code != code.UnregisterBroker {
			t.Errorf("%d %+v", c.out.Code, c.out.Header)
		}
	}
}

func TestRegistrationLoop(t *testing.T) {
	g, ns, _ := newTestRegistrar(t, nil, func(c *config.Broker) { c.NameServers = "ns:1" })
	got := make(chan int32, 10)
	ns.answer = func(_ string, what int32) (*remoting.Response, error) {
		got <- what
		return &remoting.Response{}, nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { g.run(ctx) })
	g.soon()
	g.soon()
	if what := <-got; what != code.RegisterBroker {
		t.Errorf("code %d", what)
	}
	cancel()
	wg.Wait()
}
