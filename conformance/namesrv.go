package conformance

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

var namesrvCases = []Case{
	{Area: "namesrv", Feature: "Broker registration and route query", Own: true, Run: registration},
	{Area: "namesrv", Feature: "Expiry of silent brokers 120 s", Own: true, Run: silentBroker, Limit: 90 * time.Second},
	{Area: "namesrv", Feature: "KV config", Own: true, Run: kvConfig},
	{Area: "namesrv", Feature: "Wipe / add write perm", Own: true, Run: writePerm},
	{Area: "namesrv", Feature: "Topic lists (all, by cluster, system, unit)", Own: true, Run: topicLists},
	{Area: "namesrv", Feature: "Standard JSON route answer", Run: routeDialects},
	{Area: "namesrv", Feature: "Acting master presentation", Own: true, Run: actingMaster},
	{Area: "namesrv", Feature: "Single topic registration", Own: true, Run: singleTopic},
	{Area: "namesrv", Feature: "Zone filtering", Own: true, Run: zones},
	{Area: "namesrv", Feature: "Dynamic config update", Own: true, Run: namesrvConfig},
	{Area: "namesrv", Feature: "Multiple name servers independent", Own: true, Run: severalNameservers},
}

// fake is a broker that exists at a name server only.
type fake struct {
	name, cluster, addr string
	id                  int
	topics              []string // "name read write perm sysFlag"
	version             int64
	ext                 []any
}

func (f fake) body() []byte {
	var table []string
	for _, line := range f.topics {
		var name string
		var r, w, perm, flag int
		if _, err := fmt.Sscan(line, &name, &r, &w, &perm, &flag); err != nil {
			panic(err)
		}
		table = append(table, fmt.Sprintf(`%q:{"attributes":{},"order":false,"perm":%d,"readQueueNums":%d,"topicFilterType":"SINGLE_TAG",`+
			`"topicName":%q,"topicSysFlag":%d,"writeQueueNums":%d}`, name, perm, r, name, flag, w))
	}
	version := fmt.Sprintf(`{"counter":%d,"stateVersion":0,"timestamp":1700000000000}`, f.version)
	return []byte(fmt.Sprintf(`{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":%s,"mappingDataVersion":%s,`+
		`"topicConfigTable":{%s},"topicQueueMappingDetailMap":{},"topicQueueMappingInfoMap":{}}}`, version, version, strings.Join(table, ",")))
}

func (f fake) header(body []byte) map[string]string {
	ext := wire.Ext("brokerName", f.name, "brokerAddr", f.addr, "clusterName", f.cluster, "haServerAddr", f.addr+"1", "brokerId", f.id,
		"compressed", false, "bodyCrc32", crc32.ChecksumIEEE(body)&0x7FFFFFFF)
	for k, v := range wire.Ext(f.ext...) {
		ext[k] = v
	}
	return ext
}

func (f fake) register(n *raw) *wire.Frame {
	body := f.body()
	return n.ok(code.RegisterBroker, f.header(body), body)
}

func names(v any, path string) []string {
	list, _ := wire.At(v, path).([]any)
	var out []string
	for _, x := range list {
		out = append(out, fmt.Sprint(x))
	}
	slices.Sort(out)
	return out
}

func registration(t *T) {
	ns := t.ownNamesrv(nil)
	n := t.dial(ns.Addr())
	b := fake{name: "fake-a", cluster: "c1", addr: "127.0.0.1:20911", topics: []string{"T1 4 8 6 0", "T2 1 1 4 0"}, version: 1}
	n.want(code.TopicNotExist, code.GetRouteInfoByTopic, wire.Ext("topic", "T1"), nil)
	b.register(n)
	route := n.route("T1")
	q := queueData(route, "fake-a")
	Equal(t, "queues", fmt.Sprint(wire.Num(q["readQueueNums"]), " ", wire.Num(q["writeQueueNums"]), " ", wire.Num(q["perm"])), "4 8 6")
	datas, _ := wire.At(route, "brokerDatas").([]any)
	Equal(t, "address", fmt.Sprint(wire.At(datas[0], "brokerAddrs", "0")), b.addr)
	Equal(t, "cluster", fmt.Sprint(wire.At(datas[0], "cluster")), "c1")
	// A slave learns its master.
	slave := b
	slave.addr, slave.id = "127.0.0.1:20921", 1
	f := slave.register(n)
	Equal(t, "masterAddr for the slave", f.Ext["masterAddr"], b.addr)
	Equal(t, "haServerAddr for the slave", f.Ext["haServerAddr"], b.addr+"1")
	// A body that was damaged on the way is refused.
	body := b.body()
	bad := b.header(body)
	bad["bodyCrc32"] = "1"
	n.want(code.SystemError, code.RegisterBroker, bad, body)
	// The name server is asked whether it knows the present version.
	version := []byte(`{"counter":1,"stateVersion":0,"timestamp":1700000000000}`)
	f = n.ok(code.QueryDataVersion, wire.Ext("brokerName", b.name, "brokerAddr", b.addr, "clusterName", b.cluster, "brokerId", 0), version)
	Equal(t, "changed for the same version", f.Ext["changed"], "false")
	f = n.ok(code.QueryDataVersion, wire.Ext("brokerName", b.name, "brokerAddr", b.addr, "clusterName", b.cluster, "brokerId", 0),
		bytes.Replace(version, []byte("1,"), []byte("2,"), 1))
	Equal(t, "changed for another version", f.Ext["changed"], "true")
	// An unknown broker that sends a single topic is told to send all.
	inc := fake{name: "fake-b", cluster: "c1", addr: "127.0.0.1:20931", topics: []string{"T9 1 1 6 0"}, version: 1}
	n.want(code.SystemError, code.RegisterBroker, inc.header(inc.body()), inc.body())
	v := n.json(code.GetBrokerMemberGroup, wire.Ext("clusterName", "c1", "brokerName", "fake-a"), nil)
	Equal(t, "member 1", fmt.Sprint(wire.At(v, "brokerMemberGroup", "brokerAddrs", "1")), slave.addr)
	for _, x := range []fake{b, slave} {
		n.ok(code.UnregisterBroker, wire.Ext("brokerName", x.name, "brokerAddr", x.addr, "clusterName", x.cluster, "brokerId", x.id), nil)
	}
	t.Until(15*time.Second, "route gone", func() (bool, string) {
		f := n.call(code.GetRouteInfoByTopic, wire.Ext("topic", "T1"), nil)
		return f.Code == int(code.TopicNotExist), f.String()
	})
}

func silentBroker(t *T) {
	ns := t.ownNamesrv(nil)
	n := t.dial(ns.Addr())
	b := fake{name: "fake-a", cluster: "c1", addr: "127.0.0.1:20911", topics: []string{"T1 4 4 6 0", "T2 1 1 6 0"}, version: 1}
	gone := func(what string) {
		t.Until(25*time.Second, "route gone after "+what, func() (bool, string) {
			f := n.call(code.GetRouteInfoByTopic, wire.Ext("topic", "T1"), nil)
			return f.Code == int(code.TopicNotExist), f.String()
		})
	}
	conn := t.dial(ns.Addr())
	b.register(conn)
	n.route("T1")
	conn.Close()
	gone("its connection closed")
	// The connection stays open, nothing is said: the broker's own time counts, looked at every five seconds.
	b.ext = []any{"heartbeatTimeoutMillis", 1000}
	b.register(t.dial(ns.Addr()))
	n.route("T1")
	gone("its time is over")
	// A real one that is stopped in its tracks keeps its route; one that is killed loses it at once.
	s := t.ownBroker(ns.Addr(), nil)
	topic := t.Name("Real")
	t.dial(s.Addr()).topic(topic, topicConf{})
	n.route(topic)
	t.Must(s.Signal(syscall.SIGSTOP), "stop the broker's process")
	n.route(topic)
	t.Must(s.Signal(syscall.SIGCONT), "let it go on")
	t.Must(s.Kill(), "kill it")
	t.Until(15*time.Second, "route gone after kill -9", func() (bool, string) {
		f := n.call(code.GetRouteInfoByTopic, wire.Ext("topic", topic), nil)
		return f.Code == int(code.TopicNotExist), f.String()
	})
}

func kvConfig(t *T) {
	ns := t.ownNamesrv(nil)
	n := t.dial(ns.Addr())
	space := t.Name("NS")
	n.want(code.QueryNotFound, code.GetKVConfig, wire.Ext("namespace", space, "key", "k"), nil)
	n.ok(code.PutKVConfig, wire.Ext("namespace", space, "key", "k", "value", "wärt;=\"1\""), nil)
	n.ok(code.PutKVConfig, wire.Ext("namespace", space, "key", "l", "value", "2"), nil)
	Equal(t, "value", n.ok(code.GetKVConfig, wire.Ext("namespace", space, "key", "k"), nil).Ext["value"], "wärt;=\"1\"")
	v := n.json(code.GetKVListByNamespace, wire.Ext("namespace", space), nil)
	Equal(t, "list", fmt.Sprint(wire.At(v, "table", "l")), "2")
	n.ok(code.DeleteKVConfig, wire.Ext("namespace", space, "key", "l"), nil)
	n.ok(code.DeleteKVConfig, wire.Ext("namespace", space, "key", "never there"), nil)
	n.want(code.QueryNotFound, code.GetKVConfig, wire.Ext("namespace", space, "key", "l"), nil)
	n.want(code.QueryNotFound, code.GetKVListByNamespace, wire.Ext("namespace", t.Name("Absent")), nil)
	file := filepath.Join(ns.Dir(), "namesrv", "kvConfig.json")
	text, err := os.ReadFile(file)
	t.Must(err, "read kvConfig.json")
	saved, err := wire.Loose(text)
	t.Must(err, "kvConfig.json")
	Equal(t, "saved value", fmt.Sprint(wire.At(saved, "configTable", space, "k")), "wärt;=\"1\"")
	n.Close()
	t.Must(ns.Kill(), "kill the name server")
	t.Must(ns.Restart(nil), "start it again")
	Equal(t, "value after kill -9", t.dial(ns.Addr()).ok(code.GetKVConfig, wire.Ext("namespace", space, "key", "k"), nil).Ext["value"], "wärt;=\"1\"")
}

func writePerm(t *T) {
	ns := t.ownNamesrv(nil)
	n := t.dial(ns.Addr())
	b := fake{name: "fake-a", cluster: "c1", addr: "127.0.0.1:20911", topics: []string{"T1 4 4 6 0", "T2 1 1 2 0", "T3 1 1 7 0"}, version: 1}
	b.register(n)
	perm := func(topic string) string { return wire.Num(queueData(n.route(topic), b.name)["perm"]) }
	Equal(t, "topics wiped", n.ok(code.WipeWritePermOfBroker, wire.Ext("brokerName", b.name), nil).Ext["wipeTopicCount"], "3")
	Equal(t, "permissions", perm("T1")+perm("T2")+perm("T3"), "405")
	b.register(n) // with the same version: what was wiped stays so
	Equal(t, "permission after a registration without change", perm("T1"), "4")
	Equal(t, "topics added", n.ok(code.AddWritePermOfBroker, wire.Ext("brokerName", b.name), nil).Ext["addTopicCount"], "3")
	Equal(t, "permissions", perm("T1")+perm("T2")+perm("T3"), "666")
	n.ok(code.WipeWritePermOfBroker, wire.Ext("brokerName", b.name), nil)
	b.version = 2
	b.register(n)
	Equal(t, "permission after a registration with changes", perm("T1"), "6")
	Equal(t, "unknown broker", n.ok(code.WipeWritePermOfBroker, wire.Ext("brokerName", "nobody"), nil).Ext["wipeTopicCount"], "0")
}

func topicLists(t *T) {
	ns := t.ownNamesrv(nil)
	n := t.dial(ns.Addr())
	fake{
		name: "fake-a", cluster: "c1", addr: "127.0.0.1:20911", version: 1,
		topics: []string{"T1 4 4 6 0", "Unit 1 1 6 1", "Sub 1 1 6 2", "UnitSub 1 1 6 3"},
	}.register(n)
	fake{name: "fake-b", cluster: "c2", addr: "127.0.0.1:20921", version: 1, topics: []string{"T1 4 4 6 0", "T2 1 1 6 0"}}.register(n)
	list := func(c int32, ext ...any) string {
		return strings.Join(names(n.json(c, wire.Ext(ext...), nil), "topicList"), " ")
	}
	Equal(t, "all", list(code.GetAllTopicListFromNameServer), "Sub T1 T2 Unit UnitSub")
	Equal(t, "of cluster c1", list(code.GetTopicsByCluster, "cluster", "c1"), "Sub T1 Unit UnitSub")
	Equal(t, "of cluster c2", list(code.GetTopicsByCluster, "cluster", "c2"), "T1 T2")
	Equal(t, "unit", list(code.GetUnitTopicList), "Unit UnitSub")
	Equal(t, "with unit subscription", list(code.GetHasUnitSubTopicList), "Sub UnitSub")
	Equal(t, "with unit subscription, not unit", list(code.GetHasUnitSubUnunitTopicList), "Sub")
	v := n.json(code.GetSystemTopicListFromNS, nil, nil)
	Equal(t, "system", strings.Join(names(v, "topicList"), " "), "c1 c2 fake-a fake-b")
	if addr := fmt.Sprint(wire.At(v, "brokerAddr")); addr != "127.0.0.1:20911" && addr != "127.0.0.1:20921" {
		t.Errorf("broker address with the system topics is %s", addr)
	}
	n.ok(code.DeleteTopicInNamesrv, wire.Ext("topic", "T1", "clusterName", "c1"), nil)
	Equal(t, "of cluster c1 without T1", list(code.GetTopicsByCluster, "cluster", "c1"), "Sub Unit UnitSub")
	Equal(t, "of cluster c2 with T1", list(code.GetTopicsByCluster, "cluster", "c2"), "T1 T2")
	n.ok(code.DeleteTopicInNamesrv, wire.Ext("topic", "T1"), nil)
	Equal(t, "all without T1", list(code.GetAllTopicListFromNameServer), "Sub T2 Unit UnitSub")
}

func routeDialects(t *T) {
	b, n := t.dial(t.shared.broker), t.dial(t.shared.namesrv)
	topic := t.Name("Route")
	b.topic(topic, topicConf{})
	ask := func(version int, ext ...any) string {
		n.Version = version
		return string(n.ok(code.GetRouteInfoByTopic, wire.Ext(append(ext, "topic", topic)...), nil).Body)
	}
	quoted, bare := `"brokerAddrs":{"0":"`+t.shared.broker+`"}`, `"brokerAddrs":{0:"`+t.shared.broker+`"}`
	for _, row := range []struct {
		what, want, body string
	}{
		{"5.5.0", quoted, ask(513)},
		{"4.9.4", quoted, ask(401)},
		{"4.9.3", bare, ask(399)},
		{"the Go client", bare, ask(317)},
		{"4.9.3 that accepts standard JSON only", quoted, ask(399, "acceptStandardJsonOnly", true)},
	} {
		if !strings.Contains(row.body, row.want) {
			t.Errorf("route for %s has no %s: %s", row.what, row.want, row.body)
		}
	}
	if !strings.HasPrefix(ask(317), `{"brokerDatas":[{`) {
		t.Errorf("members of the route are not in the order of their names: %s", ask(317))
	}
	// Cluster information has bare keys whoever asks.
	n.Version = 513
	if body := string(n.ok(code.GetBrokerClusterInfo, nil, nil).Body); !strings.Contains(body, bare) {
		t.Errorf("cluster information has no %s: %s", bare, body)
	}
}

func actingMaster(t *T) {
	ns := t.ownNamesrv(testkit.Props{"supportActingMaster": "true"})
	n := t.dial(ns.Addr())
	topics := []string{"T1 4 4 6 0", "T2 1 1 6 0"}
	master := fake{name: "fake-a", cluster: "c1", addr: "127.0.0.1:20911", topics: topics, version: 1, ext: []any{"enableActingMaster", true}}
	slave := master
	slave.id, slave.addr = 1, "127.0.0.1:20921"
	m := t.dial(ns.Addr())
	master.register(m)
	slave.register(n)
	m.Close()
	t.Until(15*time.Second, "slave shown as master without write permission", func() (bool, string) {
		v := n.route("T1")
		datas, _ := wire.At(v, "brokerDatas").([]any)
		addrs := fmt.Sprint(wire.At(datas[0], "brokerAddrs"))
		perm := wire.Num(queueData(v, "fake-a")["perm"])
		return addrs == "map[0:127.0.0.1:20921]" && perm == "4", addrs + " perm " + perm
	})
}

func singleTopic(t *T) {
	ns := t.ownNamesrv(nil)
	n := t.dial(ns.Addr())
	fake{name: "fake-a", cluster: "c1", addr: "127.0.0.1:20911", topics: []string{"T1 4 4 6 0", "T2 1 1 6 0"}, version: 1}.register(n)
	body := `{"brokerDatas":[],"queueDatas":[{"brokerName":"fake-a","perm":6,"readQueueNums":2,"topicSysFlag":0,"writeQueueNums":3},` +
		`{"brokerName":"nobody","perm":6,"readQueueNums":2,"topicSysFlag":0,"writeQueueNums":3}],"filterServerTable":{}}`
	n.call(code.RegisterTopicInNamesrv, wire.Ext("topic", "Single"), []byte(body))
	f := n.call(code.GetRouteInfoByTopic, wire.Ext("topic", "Single"), nil)
	if f.Code != 0 { // with an unknown broker among them, nothing is taken
		body = `{"brokerDatas":[],"queueDatas":[{"brokerName":"fake-a","perm":6,"readQueueNums":2,"topicSysFlag":0,"writeQueueNums":3}],"filterServerTable":{}}`
		n.ok(code.RegisterTopicInNamesrv, wire.Ext("topic", "Single"), []byte(body))
	}
	q := queueData(n.route("Single"), "fake-a")
	Equal(t, "queues", wire.Num(q["readQueueNums"])+" "+wire.Num(q["writeQueueNums"]), "2 3")
	n.route("T1")
	// A broker that registers its topics one by one.
	s := t.ownBroker(ns.Addr(), testkit.Props{"enableSingleTopicRegister": "true"})
	topic := t.Name("One")
	t.dial(s.Addr()).topic(topic, topicConf{read: 3})
	t.Until(10*time.Second, "route of the topic", func() (bool, string) {
		f := n.call(code.GetRouteInfoByTopic, wire.Ext("topic", topic), nil)
		return f.Code == 0, f.String()
	})
}

func zones(t *T) {
	ns := t.ownNamesrv(nil)
	n := t.dial(ns.Addr())
	for i, zone := range []string{"east", "west"} {
		fake{
			name: "fake-" + zone, cluster: "c1", addr: fmt.Sprintf("127.0.0.1:209%d1", i), topics: []string{"T1 4 4 6 0", "T2 1 1 6 0"}, version: 1,
			ext: []any{"__ZONE_NAME", zone},
		}.register(n)
	}
	in := func(ext ...any) string {
		f := n.ok(code.GetRouteInfoByTopic, wire.Ext(append(ext, "topic", "T1")...), nil)
		v, err := wire.Loose(f.Body)
		t.Must(err, "route")
		var out []string
		for _, part := range []string{"brokerDatas", "queueDatas"} {
			list, _ := wire.At(v, part).([]any)
			var part []string
			for _, d := range list {
				part = append(part, fmt.Sprint(wire.At(d, "brokerName")))
			}
			slices.Sort(part)
			out = append(out, strings.Join(part, "+"))
		}
		return strings.Join(out, " ")
	}
	Equal(t, "without a zone", in(), "fake-east+fake-west fake-east+fake-west")
	Equal(t, "zone east", in("__ZONE_MODE", true, "__ZONE_NAME", "east"), "fake-east fake-east")
	Equal(t, "zone WEST", in("__ZONE_MODE", "true", "__ZONE_NAME", "WEST"), "fake-west fake-west")
	Equal(t, "zone mode off", in("__ZONE_MODE", "false", "__ZONE_NAME", "east"), "fake-east+fake-west fake-east+fake-west")
}

func namesrvConfig(t *T) {
	ns := t.ownNamesrv(nil)
	n := t.dial(ns.Addr())
	get := func(key string) string {
		for line := range strings.Lines(string(n.ok(code.GetNamesrvConfig, nil, nil).Body)) {
			if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok && k == key {
				return v
			}
		}
		return "(absent)"
	}
	Equal(t, "orderMessageEnable", get("orderMessageEnable"), "false")
	n.ok(code.UpdateNamesrvConfig, nil, []byte("orderMessageEnable=true\nsomethingUnknown=1\n"))
	Equal(t, "orderMessageEnable after the update", get("orderMessageEnable"), "true")
	for _, key := range []string{"kvConfigPath", "configStorePath", "configBlackList"} {
		n.want(code.NoPermission, code.UpdateNamesrvConfig, nil, []byte(key+"=/elsewhere\norderMessageEnable=false\n"))
	}
	Equal(t, "orderMessageEnable after refused updates", get("orderMessageEnable"), "true")
	// It has effect at once, and outlives a restart: it was written to the file.
	fake{name: "fake-a", cluster: "c1", addr: "127.0.0.1:20911", topics: []string{"T1 4 4 6 0", "T2 1 1 6 0"}, version: 1}.register(n)
	n.ok(code.PutKVConfig, wire.Ext("namespace", "ORDER_TOPIC_CONFIG", "key", "T1", "value", "fake-a:4"), nil)
	Equal(t, "orderTopicConf", fmt.Sprint(wire.At(n.route("T1"), "orderTopicConf")), "fake-a:4")
}

func severalNameservers(t *T) {
	one, two := t.ownNamesrv(nil), t.ownNamesrv(nil)
	s := t.ownBroker(one.Addr()+";"+two.Addr(), nil)
	c := &cluster{namesrv: two.Addr(), broker: s.Addr()}
	topic := t.Name("Both")
	t.dial(s.Addr()).topic(topic, topicConf{})
	for _, ns := range []testkit.Server{one, two} {
		n := t.dial(ns.Addr())
		t.Until(10*time.Second, "route at each name server", func() (bool, string) {
			f := n.call(code.GetRouteInfoByTopic, wire.Ext("topic", topic), nil)
			return f.Code == 0, f.String()
		})
	}
	t.Must(one.Kill(), "kill the first name server")
	var got inbox
	t.push(c, t.Name("G"), topic, "*", got.into)
	t.sendSync(t.producer(c), message1(topic, "goes on"))
	t.awaitBodies(&got, 20*time.Second, "goes on")
	another := t.Name("Later")
	t.dial(s.Addr()).topic(another, topicConf{})
	n := t.dial(two.Addr())
	t.Until(20*time.Second, "new topic at the one that is left", func() (bool, string) {
		f := n.call(code.GetRouteInfoByTopic, wire.Ext("topic", another), nil)
		return f.Code == 0, f.String()
	})
	t.Must(one.Restart(nil), "start the first name server again")
	n = t.dial(one.Addr())
	t.Until(50*time.Second, "route at the one that came back", func() (bool, string) {
		f := n.call(code.GetRouteInfoByTopic, wire.Ext("topic", another), nil)
		return f.Code == 0, f.String()
	})
}
