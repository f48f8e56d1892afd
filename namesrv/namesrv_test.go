package namesrv

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"apogee/compat/properties"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store/vfs"
)

// served are the codes that the table of the protocol gives to the name server.
var served = []int32{100, 101, 102, 103, 104, 105, 106, 205, 206, 216, 217, 219, 224, 304, 311, 312, 313, 318, 319, 322, 327, 901, 904}

func TestEveryCodeIsRouted(t *testing.T) {
	s := startServer(t, nil)
	var got []int32
	for _, r := range s.routes() {
		if r.Handle == nil {
			t.Errorf("code %d has no handler", r.Code)
		}
		got = append(got, r.Code)
	}
	slices.Sort(got)
	if !slices.Equal(got, served) {
		t.Errorf("routed: %v\nwant    %v", got, served)
	}
}

// Each request, with nothing in it at all, gets an answer.
func TestEmptyRequests(t *testing.T) {
	s := startServer(t, nil)
	p := dialPeer(t, s.Addr().String())
	for _, c := range served {
		p.ask(c, 513, nil, nil)
		p.ask(c, 0, map[string]string{"topic": "", "brokerId": "x"}, []byte{0xff, '{'})
	}
}

// remoting's client and typed headers, where java_test.go has a client of its own.
func TestOverTheClient(t *testing.T) {
	s := startServer(t, nil)
	c := remoting.NewClient(remoting.ClientOptions{Log: slog.New(slog.DiscardHandler), Now: time.Now})
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), testDeadline)
	defer cancel()
	call := func(out remoting.Outgoing) *remoting.Response {
		t.Helper()
		r, err := c.Call(ctx, s.Addr().String(), out)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	h := &header.RegisterBrokerRequest{BrokerName: "b-0", BrokerAddr: "a:1", ClusterName: "c1", HAServerAddr: "a:2"}
	r := call(remoting.Outgoing{Code: code.RegisterBroker, Header: h, Body: registerBody(1, topicConfig("T", 4, 6, 0), topicConfig("U", 4, 6, 0)).Encode(true)})
	if r.Code != code.Success {
		t.Fatalf("register: %+v", r)
	}
	r = call(remoting.Outgoing{Code: code.GetRouteInfoByTopic, Header: &header.GetRouteInfoByTopicRequest{Topic: "T"}})
	if r.Code != code.Success || !strings.Contains(string(r.Body), `"brokerAddrs":{"0":"a:1"}`) {
		t.Errorf("route: %d %s %s", r.Code, r.Remark, r.Body)
	}
}

func TestWaitForService(t *testing.T) {
	clock := &fakeClock{at: time.UnixMilli(1700000000000)}
	cfg := defaultConfig(t)
	cfg.NeedWaitForService = true
	s, err := New(cfg, Deps{FS: vfs.NewMem(time.Now), Now: clock.now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s.started = clock.now()
	ask := func() int32 {
		var got *remoting.Reply
		s.getRouteInfo(remoting.NewRequest(remoting.Request{Code: code.GetRouteInfoByTopic, Fields: header.Fields{{Key: "topic", Value: "T"}}}, func(r *remoting.Reply) { got = r }))
		return got.Code
	}
	clock.advance(45*time.Second - time.Millisecond)
	if got := ask(); got != code.SystemError {
		t.Errorf("before the end of the wait: %d", got)
	}
	clock.advance(time.Millisecond)
	if got := ask(); got != code.TopicNotExist {
		t.Errorf("after the wait: %d", got)
	}
}

func TestFullUnregisterQueue(t *testing.T) {
	cfg := defaultConfig(t)
	cfg.UnregisterQueueCapacity = 1
	s, err := New(cfg, Deps{FS: vfs.NewMem(time.Now), Now: time.Now, Log: slog.New(slog.DiscardHandler)}) // not started: nobody empties the queue
	if err != nil {
		t.Fatal(err)
	}
	fields := header.Fields{{Key: "brokerName", Value: "b"}, {Key: "brokerAddr", Value: "a"}, {Key: "clusterName", Value: "c"}, {Key: "brokerId", Value: "0"}}
	for _, want := range []int32{code.Success, code.SystemError} {
		s.unregisterBroker(remoting.NewRequest(remoting.Request{Code: code.UnregisterBroker, Fields: fields}, func(r *remoting.Reply) {
			if r.Code != want {
				t.Errorf("got %d, want %d", r.Code, want)
			}
		}))
	}
}

func TestStoresSurviveARestart(t *testing.T) {
	mem := vfs.NewMem(time.Now)
	with := func(c *Config, d *Deps) { d.FS = mem }
	s := startServer(t, with)
	p := dialPeer(t, s.Addr().String())
	p.ask(code.PutKVConfig, 513, map[string]string{"namespace": "NS", "key": "k", "value": "v"}, nil)
	if f := p.ask(code.UpdateNamesrvConfig, 513, nil, []byte("enableTopicList=false\nclientRequestThreadPoolNums=5\nhouseKey=x")); f.Code != code.Success {
		t.Fatalf("update: %d %s", f.Code, f.Remark)
	}
	if text := fileText(t, mem, "/data/namesrv/kvConfig.json"); text != `{"configTable":{"NS":{"k":"v"}}}` {
		t.Errorf("KV file: %s", text)
	}
	file, err := properties.Parse("namesrv.properties", []byte(fileText(t, mem, "/data/namesrv/namesrv.properties")))
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"enableTopicList": "false", "clientRequestThreadPoolNums": "5", "houseKey": "x", "waitSecondsForService": "45"} {
		if got, _ := file.Get(key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}

	again := startServer(t, with)
	f := dialPeer(t, again.Addr().String()).ask(code.GetKVConfig, 513, map[string]string{"namespace": "NS", "key": "k"}, nil)
	if f.ExtFields["value"] != "v" {
		t.Errorf("after a restart: %+v", f)
	}
}

func fileText(t *testing.T, fsys vfs.FS, name string) string {
	t.Helper()
	text, err := vfs.ReadFile(fsys, name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var errDisk = errors.New("disk on fire")

// What cannot be written is not taken.
func TestFailingDisk(t *testing.T) {
	s := startServer(t, func(c *Config, d *Deps) {
		d.FS = vfs.Faulty(d.FS, vfs.FailNth(1, true, errDisk, vfs.OpWrite))
	})
	p := dialPeer(t, s.Addr().String())
	if f := p.ask(code.PutKVConfig, 513, map[string]string{"namespace": "NS", "key": "k", "value": "v"}, nil); f.Code != code.SystemError || !strings.Contains(f.Remark, errDisk.Error()) {
		t.Errorf("put: %+v", f)
	}
	if f := p.ask(code.GetKVConfig, 513, map[string]string{"namespace": "NS", "key": "k"}, nil); f.Code != code.QueryNotFound {
		t.Errorf("get: %+v", f)
	}
	if f := p.ask(code.UpdateNamesrvConfig, 513, nil, []byte("enableTopicList=false")); f.Code != code.SystemError {
		t.Errorf("update: %+v", f)
	}
	if !s.Config().EnableTopicList {
		t.Error("a change that is on no disk took effect")
	}
}

// A crash at any operation of a put leaves the value before or the value after.
func TestKVCrash(t *testing.T) {
	for n := int64(1); n < 12; n++ {
		mem := vfs.NewMem(time.Now)
		k, err := openKV(mem, "/d/kv.json", time.Now, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := k.put("NS", "k", "old"); err != nil {
			t.Fatal(err)
		}
		k.fs = vfs.Faulty(mem, vfs.FailNth(n, true, errDisk))
		putErr := k.put("NS", "k", "new")
		for seed := range uint64(8) {
			after, err := openKV(mem.CrashClone(seed), "/d/kv.json", time.Now, nil)
			if err != nil {
				t.Fatalf("operation %d, seed %d: %v", n, seed, err)
			}
			got, _ := after.get("NS", "k")
			if got != "new" && (got != "old" || putErr == nil) {
				t.Errorf("operation %d, seed %d: %q after put said %v", n, seed, got, putErr)
			}
		}
	}
}

func TestUnreadableKVFile(t *testing.T) {
	mem := vfs.NewMem(time.Now)
	if err := mem.MkdirAll("/d"); err != nil {
		t.Fatal(err)
	}
	if err := vfs.WriteFileAtomic(mem, "/d/kv.json", []byte("{nonsense")); err != nil {
		t.Fatal(err)
	}
	cfg := defaultConfig(t)
	cfg.KVConfigPath = "/d/kv.json"
	var log strings.Builder
	if _, err := New(cfg, Deps{FS: mem, Now: time.Now, Log: slog.New(slog.NewTextHandler(&log, nil))}); err != nil {
		t.Error(err)
	}
	if entries, err := mem.ReadDir("/d"); err != nil || len(entries) != 2 || !strings.Contains(log.String(), entries[1].Name) {
		t.Errorf("what was damaged is not kept: %v, %v\n%s", entries, err, &log)
	}
	if _, err := New(Config{}, Deps{FS: mem}); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a path: %v", err)
	}
}

func TestAskTheOtherEnvironment(t *testing.T) {
	other := startServer(t, nil)
	dialPeer(t, other.Addr().String()).register(t, "b-0", "T", "U")
	s := startServer(t, func(c *Config, d *Deps) {
		c.ClusterTest = true
		d.Upstream = func() []string { return []string{" ", "127.0.0.1:1", other.Addr().String()} }
	})
	p := dialPeer(t, s.Addr().String())
	if f := p.ask(code.GetRouteInfoByTopic, 317, map[string]string{"topic": "T"}, nil); f.Code != code.Success || !strings.Contains(string(f.body), `"0":"a:1"`) {
		t.Errorf("route: %+v %s", f, f.body)
	}
	if f := p.ask(code.GetRouteInfoByTopic, 317, map[string]string{"topic": "none"}, nil); f.Code != code.TopicNotExist {
		t.Errorf("unknown there too: %+v", f)
	}
}

// register registers a broker at a:1 with topics.
func (p *peer) register(t *testing.T, name string, topics ...string) {
	t.Helper()
	b := registerBody(1)
	for _, topic := range topics {
		b.TopicConfigSerializeWrapper.TopicConfigTable[topic] = topicConfig(topic, 4, 6, 0)
	}
	f := p.ask(code.RegisterBroker, 513, brokerSpec{name: name, addr: "a:1", cluster: "c1", id: "0"}.ext(nil), b.Encode(false))
	if f.Code != code.Success {
		t.Fatalf("register: %+v", f)
	}
}

func TestScanDropsSilentBrokers(t *testing.T) {
	s := startServer(t, nil)
	dialPeer(t, s.Addr().String()).ask(code.RegisterBroker, 513,
		brokerSpec{name: "b-0", addr: "a:1", cluster: "c1", id: "0"}.ext(map[string]string{"heartbeatTimeoutMillis": "-1"}), registerBody(1, topicConfig("T", 1, 6, 0), topicConfig("U", 1, 6, 0)).Encode(false))
	s.scan()
	p := dialPeer(t, s.Addr().String())
	for deadline := time.Now().Add(testDeadline); ; {
		if f := p.ask(code.GetRouteInfoByTopic, 513, map[string]string{"topic": "T"}, nil); f.Code == code.TopicNotExist {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the broker is still there")
		}
	}
}

func TestBusyPort(t *testing.T) {
	s := startServer(t, nil)
	cfg := defaultConfig(t)
	cfg.ListenPort = portOf(t, s)
	second, err := New(cfg, Deps{FS: vfs.NewMem(time.Now), Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Start(); err == nil {
		t.Error("two servers on one port")
	}
}

func portOf(t *testing.T, s *Server) int {
	t.Helper()
	addr, err := netip.ParseAddrPort(s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return int(addr.Port())
}
