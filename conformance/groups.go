package conformance

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

// groupCases are what the configuration of a group, or of the broker for all groups, changes in consuming.
var groupCases = []Case{
	{Area: "consumption", Feature: "DLQ for gRPC groups", Run: deadAtOnce},
	{Area: "consumption", Feature: "Broadcast offset kept at broker", Run: broadcastOffsets, Limit: 4 * time.Minute},
	{Area: "consumption", Feature: "Disable slow consumer automatically", Own: true, Long: true, Run: slowConsumer, Limit: 9 * time.Minute},
	{Area: "consumption", Feature: "Group retry policy customized/exponential", Run: retryPolicy},
	{Area: "consumption", Feature: "Static subscription of offline groups", Run: staticSubscription},
	{Area: "ordering", Feature: "Lock in strict mode (quorum)", Own: true, Run: strictLocks, Limit: 5 * time.Minute},
}

// deadAtOnce gives up a message as a proxy does whose client has had it as often as the group allows: delay level -1.
func deadAtOnce(t *T) {
	b := t.dial(t.shared.broker)
	topic, group := t.Name("Dead"), t.Name("G")
	b.topic(topic, topicConf{})
	b.group(group, `,"retryMaxTimes":3`)
	sent := b.send(message{topic: topic, body: []byte("given up"), properties: wire.Properties("UNIQ_KEY", topic+"u", "TAGS", "t")})
	rec := b.await(topic, 0, 1, 10*time.Second)[0]
	b.ok(code.ConsumerSendMsgBack, wire.Ext("offset", rec.Physical, "group", group, "delayLevel", -1, "originMsgId", sent.Ext["msgId"],
		"originTopic", topic, "unitMode", false, "maxReconsumeTimes", 0), nil)
	dead := b.await("%DLQ%"+group, 0, 1, 10*time.Second)[0]
	Equal(t, "body", string(dead.Body), "given up")
	Equal(t, "RETRY_TOPIC", dead.Properties["RETRY_TOPIC"], topic)
	Equal(t, "ORIGIN_MESSAGE_ID", dead.Properties["ORIGIN_MESSAGE_ID"], sent.Ext["msgId"])
	Equal(t, "tag", dead.Properties["TAGS"], "t")
	Equal(t, "attempts", dead.ReconsumeTimes, 1)
	// One more attempt than the caller allows: the same, whatever the level.
	b.ok(code.ConsumerSendMsgBack, wire.Ext("offset", dead.Physical, "group", group, "delayLevel", 0, "originMsgId", sent.Ext["msgId"],
		"originTopic", topic, "unitMode", false, "maxReconsumeTimes", 1), nil)
	b.await("%DLQ%"+group, 0, 2, 10*time.Second)
}

// broadcastHeartbeat is a push consumer that broadcasts.
func broadcastHeartbeat(client, group, topic string) []byte {
	return heartbeat(client, strings.Replace(consumerJSON(group, topic, "*", 1), "CLUSTERING", "BROADCASTING", 1), "")
}

func broadcastOffsets(t *T) {
	b := t.dial(t.shared.broker)
	topic, group := t.Name("Broad"), t.Name("G")
	b.topic(topic, topicConf{})
	for i := range 8 {
		b.send(message{topic: topic, body: fmt.Append(nil, "m", i)})
	}
	b.await(topic, 0, 8, 10*time.Second)
	direct := func(offset int64) *wire.Frame {
		return b.call(code.PullMessage, pullExt(group, topic, 0, offset), nil)
	}
	proxied := func(client string, offset int64) *wire.Frame {
		return b.call(code.PullMessage, pullExt(group, topic, 0, offset, "requestSource", 1, "proxyFrowardClientId", client), nil)
	}
	wants := func(what string, f *wire.Frame, answer int32, next int64) {
		if f.Code != int(answer) || f.Int("nextBeginOffset") != next {
			t.Errorf("%s: %v, want code %d and next offset %d", what, f, answer, next)
		}
	}
	// Nobody is known: who comes through a proxy and says -1 starts at the first message, which is in memory.
	b.ok(code.HeartBeat, nil, broadcastHeartbeat("one", group, topic))
	wants("first pull through a proxy", proxied("p", -1), code.PullOffsetMoved, 0)
	wants("pull at the place told", proxied("p", 0), code.Success, 8)
	// A client that was here directly goes on through a proxy where it was, and back again.
	wants("direct pull", direct(5), code.Success, 8)
	wants("the same client through a proxy", proxied("one", -1), code.PullOffsetMoved, 5)
	wants("and on", proxied("one", 7), code.Success, 8)
	wants("directly again", direct(2), code.PullOffsetMoved, 7)
	wants("and on, directly", direct(7), code.Success, 8)
	// Offsets do not go back.
	wants("an older place", direct(3), code.Success, 8)
	wants("through a proxy once more", proxied("one", -1), code.PullOffsetMoved, 7)
	// The least offset of all clients is committed now and then; one that nobody knows starts there.
	committed := func() int64 {
		f := b.call(code.QueryConsumerOffset, wire.Ext("consumerGroup", group+"@broadcast", "topic", topic, "queueId", 0, "setZeroIfNotFound", false), nil)
		if f.Code != int(code.Success) {
			return -1
		}
		return f.Int("offset")
	}
	wants("the slowest moves on", proxied("p", 6), code.Success, 8)
	t.Until(20*time.Second, "least offset committed", func() (bool, string) {
		at := committed()
		return at == 6, fmt.Sprint(at)
	})
	wants("a new client through a proxy", proxied("new", -1), code.PullOffsetMoved, 6)
	// A pull that waits at the end counts as well.
	wants("directly once more", direct(7), code.PullOffsetMoved, 7)
	_, err := b.Begin(int(code.PullMessage), pullExt(group, topic, 0, 8, "sysFlag", 6, "suspendTimeoutMillis", 20000), nil)
	t.Must(err, "pull that waits")
	wants("the client through a proxy while its pull waits", proxied("one", -1), code.PullOffsetMoved, 8)
	t.javaProgram("Special", t.shared.namesrv, "broadcast", t.shared.broker, t.shared.brokerName, t.Name("JBroadcast"))
}

// slowConsumer waits for the look that is taken every three minutes.
func slowConsumer(t *T) {
	c := t.ownCluster(testkit.Props{"disableConsumeIfConsumerReadSlowly": "true", "consumerFallbehindThreshold": "20000"})
	b := t.dial(c.broker)
	topic, slow, quick := t.Name("Slow"), t.Name("Slow"), t.Name("Quick")
	b.topic(topic, topicConf{})
	b.group(slow, "")
	b.group(quick, "")
	for range 40 {
		b.send(message{topic: topic, body: make([]byte, 1000)})
	}
	b.await(topic, 0, 40, 10*time.Second)
	pull := func(group string, offset, n int64) *wire.Frame {
		return b.call(code.PullMessage, pullExt(group, topic, 0, offset, "maxMsgNums", n), nil)
	}
	Equal(t, "pull far behind", pull(slow, 0, 1).Code, int(code.Success))
	Equal(t, "pull near the end", pull(quick, 36, 4).Code, int(code.Success))
	t.Until(4*time.Minute, "slow group disabled", func() (bool, string) {
		time.Sleep(time.Second)
		f := pull(slow, 0, 1)
		return f.Code == int(code.NoPermission) && f.Ext["forbiddenType"] == "2", f.String()
	})
	conf := b.json(code.GetSubscriptionGroupConfig, wire.Ext("group", slow), nil)
	Equal(t, "consumeEnable", fmt.Sprint(wire.At(conf, "consumeEnable")), "false")
	Equal(t, "the quick one", pull(quick, 36, 4).Code, int(code.Success))
}

// retryPolicy: the broker keeps the policy and gives it to whoever delivers (Java's proxy and clients of pop); it does not look at it.
func retryPolicy(t *T) {
	b := t.dial(t.shared.broker)
	plain, custom, growing := t.Name("Plain"), t.Name("Custom"), t.Name("Growing")
	b.group(plain, "")
	b.group(custom, `,"groupRetryPolicy":{"type":"CUSTOMIZED","customizedRetryPolicy":{"next":[500,1500,60000]}}`)
	b.group(growing, `,"groupRetryPolicy":{"type":"EXPONENTIAL","exponentialRetryPolicy":{"initial":1000,"max":9000,"multiplier":3}}`)
	policy := func(group string) any {
		return wire.At(b.json(code.GetSubscriptionGroupConfig, wire.Ext("group", group), nil), "groupRetryPolicy")
	}
	Equal(t, "type by default", fmt.Sprint(wire.At(policy(plain), "type")), "CUSTOMIZED")
	next, _ := wire.At(policy(custom), "customizedRetryPolicy", "next").([]any)
	text := ""
	for _, n := range next {
		text += wire.Num(n) + " "
	}
	Equal(t, "customized waits", text, "500 1500 60000 ")
	p := policy(growing)
	Equal(t, "type", fmt.Sprint(wire.At(p, "type")), "EXPONENTIAL")
	for key, want := range map[string]string{"initial": "1000", "max": "9000", "multiplier": "3"} {
		Equal(t, key, wire.Num(wire.At(p, "exponentialRetryPolicy", key)), want)
	}
	all := b.json(code.GetAllSubscriptionGroupConfig, nil, nil)
	Equal(t, "type in the whole table", fmt.Sprint(wire.At(all, "subscriptionGroupTable", growing, "groupRetryPolicy", "type")), "EXPONENTIAL")
}

// staticSubscription: what an offline group subscribes to is kept with it. Only Java's metrics look at it.
func staticSubscription(t *T) {
	b := t.dial(t.shared.broker)
	topic, group := t.Name("Static"), t.Name("G")
	b.topic(topic, topicConf{})
	b.group(group, fmt.Sprintf(`,"subscriptionDataSet":[{"topic":%q,"expression":"a||b","expressionType":"TAG","version":7}]`, topic))
	list, _ := wire.At(b.json(code.GetSubscriptionGroupConfig, wire.Ext("group", group), nil), "subscriptionDataSet").([]any)
	if len(list) != 1 {
		t.Fatalf("subscriptions: %v", list)
	}
	got := fmt.Sprint(wire.At(list[0], "topic"), " ", wire.At(list[0], "expression"), " ", wire.At(list[0], "expressionType"), " ", wire.Num(wire.At(list[0], "version")))
	Equal(t, "subscription", got, topic+" a||b TAG 7")
}

// replica is a broker of ours that only grants locks.
type replica struct {
	mu     sync.Mutex // guards what follows
	grants bool
	asked  []string // bodies of requests, with their code in front
}

func (r *replica) serve(c net.Conn) {
	defer c.Close()
	for {
		f, err := wire.ReadFrame(c)
		if err != nil {
			return
		}
		r.mu.Lock()
		grants := r.grants
		if f.Code == int(code.LockBatchMQ) || f.Code == int(code.UnlockBatchMQ) {
			r.asked = append(r.asked, fmt.Sprint(f.Code, string(f.Body)))
		}
		r.mu.Unlock()
		a := &wire.Frame{Opaque: f.Opaque, Flag: 1, Language: "JAVA", Version: 513, Type: f.Type}
		if f.Code == int(code.LockBatchMQ) {
			set := []any{}
			if v, err := wire.Loose(f.Body); err == nil && grants {
				set, _ = wire.At(v, "mqSet").([]any)
			}
			a.Body, _ = json.Marshal(map[string]any{"lockOKMQSet": set})
		}
		if b, err := a.Encode(); err == nil {
			_, _ = c.Write(b)
		}
	}
}

func (r *replica) set(grants bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.grants = grants
}

func (r *replica) was(what string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.asked {
		if strings.HasPrefix(a, what) && strings.Contains(strings.ReplaceAll(a, " ", ""), `"onlyThisBroker":true`) {
			return true
		}
	}
	return false
}

// fakeReplica listens as a replica of a broker and registers with its name server.
func (t *T) fakeReplica(c *cluster) *replica {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	t.Must(err, "listen")
	r := &replica{grants: true}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			wg.Go(func() { r.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, conn := range conns {
			_ = conn.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	f := fake{name: c.brokerName, cluster: clusterName, addr: l.Addr().String(), id: 1, version: 1}
	f.register(t.dial(c.namesrv))
	return r
}

func strictLocks(t *T) {
	// Java looks for its replicas only if one of them may act as master.
	c := t.ownCluster(testkit.Props{"lockInStrictMode": "true", "totalReplicas": "3", "enableSlaveActingMaster": "true"})
	b := t.dial(c.broker)
	topic, group := t.Name("Strict"), t.Name("G")
	b.topic(topic, topicConf{read: 4})
	lock := func(client string, only bool, queues ...int) int {
		body := string(lockBody(client, group, topic, c.brokerName, queues...))
		if only {
			body = strings.Replace(body, `"onlyThisBroker":false`, `"onlyThisBroker":true`, 1)
		}
		list, _ := wire.At(b.json(code.LockBatchMQ, nil, []byte(body)), "lockOKMQSet").([]any)
		return len(list)
	}
	// One of three is not most of them; what was granted here stays so all the same.
	Equal(t, "queues locked without replicas", lock("one", false, 0), 0)
	Equal(t, "queue locked for another client", lock("two", true, 0), 0)
	Equal(t, "queue locked at this broker", lock("two", true, 1), 1)
	r := t.fakeReplica(c)
	t.Until(20*time.Second, "two of three grant a lock", func() (bool, string) {
		n := lock("one", false, 2)
		return n == 1, fmt.Sprint(n)
	})
	Equal(t, "replica asked for itself alone", r.was(fmt.Sprint(code.LockBatchMQ)), true)
	Equal(t, "queues that this broker refuses", lock("one", false, 1), 0)
	r.set(false)
	Equal(t, "queue that the replica refuses", lock("one", false, 3), 0)
	b.ok(code.UnlockBatchMQ, nil, lockBody("one", group, topic, c.brokerName, 2))
	t.Until(10*time.Second, "replica told of the unlock", func() (bool, string) {
		return r.was(fmt.Sprint(code.UnlockBatchMQ)), ""
	})
	t.Until(10*time.Second, "queue free again at this broker", func() (bool, string) {
		return lock("two", true, 2) == 1, ""
	})
}
