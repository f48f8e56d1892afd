package broker

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/compat/properties"
	"apogee/internal/clock"
	"apogee/internal/leaktest"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store"
	"apogee/store/vfs"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// nameServer takes registrations and notes them.
type nameServer struct {
	*remoting.Server

	mu    sync.Mutex
	known map[string]*body.TopicConfig
	codes []int32
}

func startNameServer(t *testing.T) *nameServer {
	t.Helper()
	n := &nameServer{known: make(map[string]*body.TopicConfig)}
	note := func(r *remoting.Request) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.codes = append(n.codes, r.Code)
		var b body.RegisterBrokerBody
		if r.Code == code.RegisterBroker && fastjson.Unmarshal(r.Body, &b) == nil {
			for name, c := range b.TopicConfigSerializeWrapper.TopicConfigTable {
				n.known[name] = c
			}
		}
		r.Reply(&remoting.Reply{})
	}
	s, err := remoting.Listen(remoting.ServerOptions{
		Addr: "127.0.0.1:0", Routes: []remoting.Route{{Code: code.RegisterBroker, Handle: note}, {Code: code.UnregisterBroker, Handle: note}},
	})
	if err != nil {
		t.Fatal(err)
	}
	n.Server = s
	t.Cleanup(func() { _ = s.Shutdown(context.Background()) })
	return n
}

func (n *nameServer) topic(name string) (body.TopicConfig, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c, ok := n.known[name]
	if !ok {
		return body.TopicConfig{}, false
	}
	return *c, true
}

func (n *nameServer) last() int32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.codes) == 0 {
		return 0
	}
	return n.codes[len(n.codes)-1]
}

// node is a broker under test and a client of it.
type node struct {
	t *testing.T
	*Broker
	client *remoting.Client
	addr   string
}

// startNode starts a broker on a directory; conf are settings beyond what every test needs.
func startNode(t *testing.T, dir, conf string) *node {
	t.Helper()
	return startNodeAt(t, dir, conf, clock.Now)
}

func startNodeAt(t *testing.T, dir, conf string, now func() time.Time) *node {
	t.Helper()
	return startBroker(t, newBrokerAt(t, dir, conf, now))
}

func startBroker(t *testing.T, b *Broker) *node {
	t.Helper()
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, Broker: b, client: remoting.NewClient(remoting.ClientOptions{}), addr: b.Addr().String()}
	t.Cleanup(func() {
		n.client.Close()
		_ = n.Shutdown(context.Background())
	})
	return n
}

func newBroker(t *testing.T, dir, conf string) *Broker {
	t.Helper()
	return newBrokerAt(t, dir, conf, clock.Now)
}

func newBrokerAt(t *testing.T, dir, conf string, now func() time.Time) *Broker {
	t.Helper()
	return newLoggingBroker(t, dir, conf, now, nil)
}

func newLoggingBroker(t *testing.T, dir, conf string, now func() time.Time, log *slog.Logger) *Broker {
	t.Helper()
	text := "brokerClusterName=C\nbrokerName=b\nbindAddress=127.0.0.1\nbrokerIP1=127.0.0.1\nlistenPort=0\nmappedFileSizeCommitLog=1048576\n" +
		"mappedFileSizeConsumeQueue=6000\nmaxIndexNum=2000\nmaxHashSlotNum=500\nstorePathRootDir=" + dir + "\n" + conf
	f, err := properties.Parse("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var c Config
	var opts store.Options
	if _, err := properties.Bind(f, &c, &opts); err != nil {
		t.Fatal(err)
	}
	c.Complete("host", nil)
	if log == nil {
		log = slog.New(slog.DiscardHandler)
		if testing.Verbose() {
			log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
		}
	}
	b, err := New(&c, opts, Env{FS: vfs.OS(), Now: now, Log: log, Settings: f})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (n *node) stop() {
	n.t.Helper()
	if err := n.Shutdown(context.Background()); err != nil {
		n.t.Fatal(err)
	}
}

// call makes a request and checks the code of the answer.
func (n *node) call(want, what int32, h header.Encodable, text []byte) *remoting.Response {
	n.t.Helper()
	return n.callTo(n.addr, want, what, h, text)
}

func (n *node) callTo(addr string, want, what int32, h header.Encodable, text []byte) *remoting.Response {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	resp, err := n.client.Call(ctx, addr, remoting.Outgoing{Code: what, Header: h, Body: text})
	if err != nil {
		n.t.Fatalf("code %d: %v", what, err)
	}
	if resp.Code != want {
		n.t.Fatalf("code %d answers %d (%s), want %d", what, resp.Code, resp.Remark, want)
	}
	return resp
}

// ask is call for answers with a JSON body.
func ask[T any](n *node, what int32, h header.Encodable) T {
	n.t.Helper()
	var v T
	if err := fastjson.Unmarshal(n.call(code.Success, what, h, nil).Body, &v); err != nil {
		n.t.Fatalf("code %d: %v", what, err)
	}
	return v
}

func sendHeader(topic string) *header.SendMessageRequest {
	return &header.SendMessageRequest{
		ProducerGroup: "P", Topic: topic, DefaultTopic: "TBW102", DefaultTopicQueueNums: 4, BornTimestamp: 1,
		Properties: "UNIQ_KEY\x010123456789ABCDEF0123456789ABCDEF\x02KEYS\x01k1\x02TAGS\x01tagA\x02",
	}
}

func (n *node) send(topic, text string) {
	n.t.Helper()
	n.call(code.Success, code.SendMessage, sendHeader(topic), []byte(text))
}

func pullHeader(group, topic string, off int64) *header.PullMessageRequest {
	return &header.PullMessageRequest{
		ConsumerGroup: group, Topic: topic, QueueOffset: off, MaxMsgNums: 32, SysFlag: 4, Subscription: "*", ExpressionType: "TAG",
	}
}

func heartbeatBody(id, group, topic string) []byte {
	return fastjson.Marshal(&body.HeartbeatData{
		ClientID: id, ProducerDataSet: []body.ProducerData{{GroupName: "P"}},
		ConsumerDataSet: []body.ConsumerData{{
			GroupName: group, ConsumeType: body.ConsumePassively, MessageModel: body.Clustering, ConsumeFromWhere: body.ConsumeFromFirstOffset,
			SubscriptionDataSet: []body.SubscriptionData{{Topic: topic, SubString: "*", SubVersion: 1, ExpressionType: "TAG"}},
		}},
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.After(10 * time.Second); !ok(); {
		select {
		case <-deadline:
			t.Fatal(what)
		case <-time.After(time.Millisecond):
		}
	}
}

func TestSendPullCommitAndRestart(t *testing.T) {
	ns := startNameServer(t)
	dir := t.TempDir()
	n := startNode(t, dir, "namesrvAddr="+ns.Addr().String())
	if c, ok := ns.topic("TBW102"); !ok || c.Perm != 7 {
		t.Fatal("not registered when Start returned")
	}
	n.send("Fresh", "hello")
	if c, ok := ns.topic("Fresh"); !ok || c.WriteQueueNums != 4 {
		t.Error("the new topic was not registered before the answer")
	}
	n.call(code.Success, code.HeartBeat, nil, heartbeatBody("c1", "G", "Fresh"))
	eventually(t, "the message does not arrive", func() bool {
		resp, err := n.client.Call(context.Background(), n.addr, remoting.Outgoing{Code: code.PullMessage, Header: pullHeader("G", "Fresh", 0)})
		return err == nil && resp.Code == code.Success && strings.Contains(string(resp.Body), "hello")
	})
	n.call(code.Success, code.UpdateConsumerOffset,
		&header.UpdateConsumerOffsetRequest{ConsumerGroup: "G", Topic: "Fresh", CommitOffset: 1}, nil)
	n.stop()
	if last := ns.last(); last != code.UnregisterBroker {
		t.Errorf("the last request to the name server was %d", last)
	}
	if _, err := os.Stat(filepath.Join(dir, "abort")); err == nil {
		t.Error("the abort file is left")
	}

	n = startNode(t, dir, "")
	resp := n.call(code.Success, code.QueryConsumerOffset, &header.QueryConsumerOffsetRequest{ConsumerGroup: "G", Topic: "Fresh"}, nil)
	if off, _ := resp.Fields.Get("offset"); off != "1" {
		t.Errorf("offset %s", off)
	}
	if r := n.call(code.Success, code.PullMessage, pullHeader("G", "Fresh", 0), nil); !strings.Contains(string(r.Body), "hello") {
		t.Error("the message is gone")
	}
	retry := ask[body.TopicConfig](n, code.GetTopicConfig, &header.GetTopicConfigRequest{Topic: "%RETRY%G"})
	if retry.WriteQueueNums != 1 || retry.Perm != 6 {
		t.Errorf("retry topic %+v", retry)
	}
}

func TestSecondPortServesAllButPulls(t *testing.T) {
	n := startNode(t, t.TempDir(), "")
	second := n.SecondAddr().String()
	n.callTo(second, code.Success, code.SendMessage, sendHeader("T"), []byte("x"))
	n.callTo(second, code.RequestCodeNotSupported, code.PullMessage, pullHeader("G", "T", 0), nil)
	n.callTo(second, code.RequestCodeNotSupported, code.LitePullMessage, pullHeader("G", "T", 0), nil)
	n.call(code.RequestCodeNotSupported, 4711, nil, nil)
}

func TestFixedPortsAreTwoApart(t *testing.T) {
	// A port that is free now, with a free one two below it; another process may take it, so there are several tries.
	var last error
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		_ = l.Close()
		b := newBroker(t, t.TempDir(), "listenPort="+strconv.Itoa(port))
		if last = b.Start(); last != nil {
			continue
		}
		defer b.Shutdown(context.Background())
		if got := b.SecondAddr().(*net.TCPAddr).Port; got != port-2 {
			t.Errorf("second port %d, main %d", got, port)
		}
		return
	}
	t.Fatalf("no start on 20 pairs of ports, at last: %v", last)
}

func TestConsumersHearOfEachOther(t *testing.T) {
	n := startNode(t, t.TempDir(), "")
	told := make(chan string, 100)
	first := remoting.NewClient(remoting.ClientOptions{Routes: []remoting.Route{{
		Code: code.NotifyConsumerIDsChanged,
		Handle: func(r *remoting.Request) {
			group, _ := r.Fields.Get("consumerGroup")
			told <- strings.Clone(group)
		},
	}}})
	defer first.Close()
	second := remoting.NewClient(remoting.ClientOptions{})
	beat := func(c *remoting.Client, id string) {
		t.Helper()
		resp, err := c.Call(context.Background(), n.addr, remoting.Outgoing{Code: code.HeartBeat, Body: heartbeatBody(id, "G", "T")})
		if err != nil || resp.Code != code.Success {
			t.Fatal(resp, err)
		}
		if v, _ := resp.Fields.Get("IS_SUPPORT_HEART_BEAT_V2"); v != "true" || resp.Version != 513 {
			t.Errorf("answer %v, version %d", resp.Fields, resp.Version)
		}
	}
	heard := func(why string) {
		t.Helper()
		select {
		case g := <-told:
			if g != "G" {
				t.Errorf("%s: told of %s", why, g)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: not told", why)
		}
	}
	beat(first, "c1")
	heard("joined itself")
	beat(second, "c2")
	heard("another one joined")
	list := ask[body.GetConsumerListByGroupResponseBody](n, code.GetConsumerListByGroup, &header.GetConsumerListByGroupRequest{ConsumerGroup: "G"})
	if !slices.Equal(list.ConsumerIDList, []string{"c1", "c2"}) {
		t.Errorf("list %v", list.ConsumerIDList)
	}
	second.Close()
	heard("another one left")
	conns := ask[body.ConsumerConnection](n, code.GetConsumerConnectionList, &header.GetConsumerConnectionListRequest{ConsumerGroup: "G"})
	if len(conns.ConnectionSet) != 1 || conns.ConnectionSet[0].ClientID != "c1" || conns.SubscriptionTable["T"].SubString != "*" {
		t.Errorf("connections %+v", conns)
	}
}

func TestConfigurationChangesAtRunTime(t *testing.T) {
	ns := startNameServer(t)
	dir := t.TempDir()
	conf := filepath.Join(dir, "broker.conf")
	if err := os.WriteFile(conf, []byte("# a comment\ntraceOn=true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := startNode(t, filepath.Join(dir, "store"), "brokerConfigPath="+conf+"\nunknownKey=u\nnamesrvAddr="+ns.Addr().String())
	update := func(want int32, text string) *remoting.Response {
		t.Helper()
		return n.call(want, code.UpdateBrokerConfig, nil, []byte(text))
	}
	update(code.Success, "traceOn=false\nmaxMessageSize=1234\nlistenPort=4711\nanother=x")
	if c := n.live.Get(); c.TraceOn || c.ListenPort != 0 {
		t.Errorf("in force: traceOn %v, listenPort %d", c.TraceOn, c.ListenPort)
	}
	if n.maxMessage.Load() != 1234 {
		t.Errorf("maxMessageSize %d", n.maxMessage.Load())
	}
	text, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"traceOn=false\n", "maxMessageSize=1234\n", "listenPort=4711\n", "unknownKey=u\n", "another=x\n", "brokerPermission=6\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is not in the file", want)
		}
	}
	if old, _ := os.ReadFile(conf + ".bak"); !strings.HasPrefix(string(old), "# a comment") {
		t.Errorf("backup %q", old)
	}
	resp := n.call(code.Success, code.GetBrokerConfig, nil, nil)
	if v, _ := resp.Fields.Get("version"); !strings.Contains(v, `"counter":1`) || !strings.Contains(string(resp.Body), "\ntraceOn=false\n") {
		t.Errorf("version %s", v)
	}
	for _, key := range []string{"brokerConfigPath", "rocketmqHome", "configBlackList"} {
		update(code.NoPermission, "traceOn=true\n"+key+"=x")
	}
	if r := update(code.SystemError, "traceOn=true\nmaxMessageSize=many"); !strings.Contains(r.Remark, "maxMessageSize") {
		t.Errorf("remark %q", r.Remark)
	}
	if r := update(code.SystemError, "traceOn=true\nbrokerRole=SLAVE"); !strings.Contains(r.Remark, "a slave's must be above 0") {
		t.Errorf("remark %q", r.Remark)
	}
	if n.live.Get().TraceOn {
		t.Error("a refused change was applied in part")
	}
	update(code.Success, "brokerPermission=4")
	if c, _ := ns.topic("TBW102"); c.Perm != 4 {
		t.Errorf("registered with permission %d", c.Perm)
	}
}

func TestAStartThatFailsLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	n := startNode(t, dir, "")
	port := n.Addr().(*net.TCPAddr).Port
	second := newBroker(t, dir, "")
	if err := second.Start(); err == nil || !strings.Contains(err.Error(), "lock") {
		t.Errorf("error %v", err)
	}
	other := t.TempDir()
	taken := newBroker(t, other, "listenPort="+strconv.Itoa(port))
	if err := taken.Start(); err == nil {
		t.Error("two brokers on one port")
	}
	if _, err := os.Stat(filepath.Join(other, "abort")); err == nil {
		t.Error("the abort file is left")
	}
	broken := t.TempDir() // what cannot be opened is not damaged
	if err := os.MkdirAll(filepath.Join(broken, "config", "topics.json"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := newBroker(t, broken, "").Start(); err == nil || !strings.Contains(err.Error(), "topics.json") {
		t.Errorf("error %v", err)
	}
	n.send("T", "still working")
}
