package namesrv

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/remoting/code"
)

// The scenario below was played to the Java name server once; testdata/java.json has what it answered, see testdata/README.md. The
// test plays it to ours and compares. With -java=HOST:PORT it plays it to a Java name server that was just started, and writes the
// file.
var javaAddr = flag.String("java", "", "play the scenario to the Java name server at this address and keep its answers")

const javaFile = "testdata/java.json"

// step is one request of the scenario.
type step struct {
	name    string
	conn    string // connections by name; "" is the admin's
	code    int32
	version int32 // 513 if 0
	ext     map[string]string
	body    []byte

	until     string // ask again until the body holds this ...
	gone      string // ... and does not hold this
	close     bool   // close the connection instead
	anyRemark bool   // Java's remark is an exception's text
	sortLines bool
	notify    string // instead of asking, wait for the request that comes to this broker

	differs string // why our answer is not Java's
}

// answer is what is kept of an answer.
type answer struct {
	Step   string            `json:"step"`
	Code   int32             `json:"code"`
	Remark string            `json:"remark,omitempty"`
	Ext    map[string]string `json:"ext,omitempty"`
	Body   string            `json:"body,omitempty"`
}

type brokerSpec struct {
	name, addr, cluster, zone, acting string
	id, ha                            string
}

func (b brokerSpec) ext(more map[string]string) map[string]string {
	e := map[string]string{
		"brokerName": b.name, "brokerAddr": b.addr, "clusterName": b.cluster, "haServerAddr": b.ha, "brokerId": b.id,
		"compressed": "false", "bodyCrc32": "0",
	}
	if b.zone != "" {
		e["__ZONE_NAME"] = b.zone
	}
	if b.acting != "" {
		e["enableActingMaster"] = b.acting
	}
	maps.Copy(e, more)
	return e
}

func registerBody(version int64, topics ...*body.TopicConfig) *body.RegisterBrokerBody {
	b := &body.RegisterBrokerBody{FilterServerList: []string{}}
	w := &b.TopicConfigSerializeWrapper
	w.DataVersion = body.DataVersion{Counter: version, Timestamp: 1700000000000}
	w.MappingDataVersion = &body.DataVersion{Timestamp: 1700000000000}
	w.TopicConfigTable = map[string]*body.TopicConfig{}
	for _, c := range topics {
		w.TopicConfigTable[c.TopicName] = c
	}
	return b
}

func topicConfig(name string, queues, perm, flags int32) *body.TopicConfig {
	c := body.NewTopicConfig(name)
	c.ReadQueueNums, c.WriteQueueNums, c.Perm, c.TopicSysFlag = queues, queues, perm, flags
	return &c
}

func crcOf(b []byte) string { return fmt.Sprint(crc32.ChecksumIEEE(b) & crcMask) }

// scenario is played in this order. {A0}, {A1}, {B0} are the addresses of three brokers.
func scenario() []step {
	a0 := brokerSpec{name: "b-0", addr: "{A0}", cluster: "c1", zone: "z1", acting: "true", id: "0", ha: "10.0.0.1:10912"}
	a1 := brokerSpec{name: "b-0", addr: "{A1}", cluster: "c1", zone: "z1", acting: "true", id: "1", ha: "10.0.0.2:10912"}
	b0 := brokerSpec{name: "b-1", addr: "{B0}", cluster: "c1", zone: "z2", id: "0", ha: "10.0.0.3:10912"}
	c0 := brokerSpec{name: "c-0", addr: "10.0.0.4:10911", cluster: "c2", id: "0", ha: "10.0.0.4:10912"}

	first := registerBody(1, topicConfig("T1", 4, 6, 0), topicConfig("Unit", 1, 6, 1), topicConfig("NoWrite", 1, 4, 0)).Encode(false)
	slave := registerBody(1, topicConfig("T1", 9, 6, 0), topicConfig("OnlySlave", 9, 6, 0)).Encode(false)
	second := registerBody(1, topicConfig("T1", 2, 6, 0), topicConfig("UnitSub", 1, 6, 2), topicConfig("Both", 1, 6, 3)).Encode(false)
	static := registerBody(2, topicConfig("ST", 2, 6, 0), topicConfig("T1", 2, 6, 0))
	static.TopicConfigSerializeWrapper.TopicQueueMappingInfoMap = map[string]*body.TopicQueueMappingInfo{
		"ST": {Topic: "ST", Scope: "__global__", TotalQueues: 4, Bname: "b-1", Epoch: 1700000000000, CurrIDMap: map[int32]int32{0: 0, 2: 1}},
	}
	static.FilterServerList = []string{"10.0.0.9:1"}
	newer := registerBody(1, topicConfig("T3", 1, 6, 0), topicConfig("T4", 1, 6, 0))
	newer.TopicConfigSerializeWrapper.DataVersion.StateVersion = 5

	topic := func(name string, more ...string) map[string]string {
		e := map[string]string{"topic": name}
		for i := 0; i < len(more); i += 2 {
			e[more[i]] = more[i+1]
		}
		return e
	}
	kv := func(ns, key, value string) map[string]string {
		e := map[string]string{"namespace": ns}
		if key != "" {
			e["key"] = key
		}
		if value != "" {
			e["value"] = value
		}
		return e
	}
	version := func(counter int64) []byte {
		return fastjson.Marshal(body.DataVersion{Counter: counter, Timestamp: 1700000000000})
	}
	queues := func(brokers ...string) []byte {
		var r body.TopicRouteData
		for _, b := range brokers {
			r.QueueDatas = append(r.QueueDatas, body.QueueData{BrokerName: b, ReadQueueNums: 3, WriteQueueNums: 3, Perm: 6})
		}
		return fastjson.Marshal(&r)
	}

	return []step{
		{name: "unknown code", code: 999},
		{name: "route of an unknown topic", code: code.GetRouteInfoByTopic, ext: topic("T1")},
		{name: "route without a topic", code: code.GetRouteInfoByTopic},
		{name: "get without anything", code: code.GetKVConfig},
		{name: "get without a key", code: code.GetKVConfig, ext: kv("NS", "", "")},
		{name: "delete without anything", code: code.DeleteKVConfig},
		{name: "put without a value", code: code.PutKVConfig, ext: kv("NS0", "k", "")},
		{name: "get what was put without a value", code: code.GetKVConfig, ext: kv("NS0", "k", "")},
		{name: "list without a namespace", code: code.GetKVListByNamespace},
		{name: "topics of no cluster", code: code.GetTopicsByCluster},
		{name: "delete no topic", code: code.DeleteTopicInNamesrv},
		{name: "wipe nobody", code: code.WipeWritePermOfBroker},
		{name: "member group of nobody", code: code.GetBrokerMemberGroup},
		{name: "version of nobody", code: code.QueryDataVersion, anyRemark: true},
		{name: "version of nobody in particular", code: code.QueryDataVersion, body: version(1), anyRemark: true},
		{name: "heartbeat of nobody", code: code.BrokerHeartbeat, anyRemark: true},
		{name: "register nothing", code: code.RegisterBroker, anyRemark: true},
		{name: "register nobody", code: code.RegisterBroker, body: first, anyRemark: true},
		{name: "add no topic", code: code.RegisterTopicInNamesrv},
		{name: "clusters without brokers", code: code.GetBrokerClusterInfo},
		{name: "topics without brokers", code: code.GetAllTopicListFromNameServer},
		{name: "system topics without brokers", code: code.GetSystemTopicListFromNS},
		{name: "member group of an unknown broker", code: code.GetBrokerMemberGroup, ext: map[string]string{"clusterName": "c9", "brokerName": "b-9"}},
		{name: "version of an unknown broker", code: code.QueryDataVersion, ext: a0.ext(nil), body: version(1)},
		{name: "heartbeat of an unknown broker", code: code.BrokerHeartbeat, ext: a0.ext(nil)},
		{name: "unregister an unknown broker", code: code.UnregisterBroker, ext: brokerSpec{name: "x-0", addr: "10.0.0.9:10911", cluster: "c1", id: "0"}.ext(nil)},

		{name: "wrong checksum", conn: "A0", code: code.RegisterBroker, ext: a0.ext(map[string]string{"bodyCrc32": "1"}), body: first},
		{name: "register without a readable body", conn: "A0", code: code.RegisterBroker, ext: a0.ext(nil), body: []byte("{nonsense"), anyRemark: true},
		{name: "register", conn: "A0", code: code.RegisterBroker, ext: a0.ext(map[string]string{"bodyCrc32": crcOf(first)}), body: first},
		{name: "route, new client", code: code.GetRouteInfoByTopic, ext: topic("T1")},
		{name: "route, Go client", code: code.GetRouteInfoByTopic, version: 317, ext: topic("T1")},
		{name: "route, 4.9.3", code: code.GetRouteInfoByTopic, version: 399, ext: topic("T1")},
		{name: "route, 4.9.4", code: code.GetRouteInfoByTopic, version: 401, ext: topic("T1")},
		{name: "route, Go client that accepts standard JSON only", code: code.GetRouteInfoByTopic, version: 317, ext: topic("T1", "acceptStandardJsonOnly", "true")},
		{name: "register slave", conn: "A1", code: code.RegisterBroker, ext: a1.ext(nil), body: slave},
		{name: "topic that only a slave has", code: code.GetRouteInfoByTopic, ext: topic("OnlySlave")},
		{name: "register another", conn: "B0", code: code.RegisterBroker, ext: b0.ext(nil), body: second},
		{name: "register with one topic first", conn: "C0", code: code.RegisterBroker, ext: c0.ext(nil), body: registerBody(1, topicConfig("T3", 1, 6, 0)).Encode(false)},
		{name: "clusters after a refused registration", code: code.GetBrokerClusterInfo, differs: "Java keeps an empty entry of the refused broker"},
		{name: "register without topics", conn: "C0", code: code.RegisterBroker, ext: c0.ext(nil), body: registerBody(1).Encode(false)},
		{name: "register one topic more", conn: "C0", code: code.RegisterBroker, ext: c0.ext(nil), body: registerBody(2, topicConfig("T3", 1, 6, 0)).Encode(false)},

		{name: "route over two brokers", code: code.GetRouteInfoByTopic, ext: topic("T1")},
		{name: "route over two brokers, Go client", code: code.GetRouteInfoByTopic, version: 317, ext: topic("T1")},
		{name: "clusters", code: code.GetBrokerClusterInfo},
		{name: "member group", code: code.GetBrokerMemberGroup, ext: map[string]string{"clusterName": "c1", "brokerName": "b-0"}},
		{name: "all topics", code: code.GetAllTopicListFromNameServer},
		{name: "topics of a cluster", code: code.GetTopicsByCluster, ext: map[string]string{"cluster": "c1"}},
		{name: "topics of another cluster", code: code.GetTopicsByCluster, ext: map[string]string{"cluster": "c2"}},
		{name: "topics of an unknown cluster", code: code.GetTopicsByCluster, ext: map[string]string{"cluster": "c9"}},
		{name: "system topics", code: code.GetSystemTopicListFromNS, differs: "any broker's address will do"},
		{name: "unit topics", code: code.GetUnitTopicList},
		{name: "unit subscription topics", code: code.GetHasUnitSubTopicList},
		{name: "unit subscription topics that are no unit topics", code: code.GetHasUnitSubUnunitTopicList},
		{name: "route in a zone", code: code.GetRouteInfoByTopic, ext: topic("T1", "__ZONE_MODE", "true", "__ZONE_NAME", "Z1")},
		{name: "route in an unknown zone", code: code.GetRouteInfoByTopic, ext: topic("T1", "__ZONE_MODE", "true", "__ZONE_NAME", "z9")},
		{name: "route without a zone", code: code.GetRouteInfoByTopic, ext: topic("T1", "__ZONE_MODE", "true", "__ZONE_NAME", " ")},
		{name: "unknown topic in a zone", code: code.GetRouteInfoByTopic, ext: topic("T9", "__ZONE_MODE", "true", "__ZONE_NAME", "z1")},
		{name: "version that is known", code: code.QueryDataVersion, ext: a0.ext(nil), body: version(1)},
		{name: "version that is not", code: code.QueryDataVersion, ext: a0.ext(nil), body: version(2)},
		{name: "heartbeat", code: code.BrokerHeartbeat, ext: a0.ext(nil)},

		{name: "value that is not there", code: code.GetKVConfig, ext: kv("NS", "k", "")},
		{name: "namespace that is not there", code: code.GetKVListByNamespace, ext: kv("NS", "", "")},
		{name: "delete what is not there", code: code.DeleteKVConfig, ext: kv("NS", "k", "")},
		{name: "put without a key", code: code.PutKVConfig, ext: kv("NS", "", "v")},
		{name: "put", code: code.PutKVConfig, ext: kv("NS", "k", "v é")},
		{name: "get", code: code.GetKVConfig, ext: kv("NS", "k", "")},
		{name: "get another", code: code.GetKVConfig, ext: kv("NS", "k2", "")},
		{name: "list", code: code.GetKVListByNamespace, ext: kv("NS", "", "")},
		{name: "delete", code: code.DeleteKVConfig, ext: kv("NS", "k", "")},
		{name: "list after the last key", code: code.GetKVListByNamespace, ext: kv("NS", "", "")},
		{name: "put an order", code: code.PutKVConfig, ext: kv("ORDER_TOPIC_CONFIG", "T1", "b-0:4;b-1:2")},
		{name: "route with an order that is not enabled", code: code.GetRouteInfoByTopic, ext: topic("T1")},
		{name: "register hears of orders", conn: "A0", code: code.RegisterBroker, ext: a0.ext(nil), body: first},
		{name: "register slave hears of its master", conn: "A1", code: code.RegisterBroker, ext: a1.ext(nil), body: slave},

		{name: "update without a body", code: code.UpdateNamesrvConfig},
		{name: "update of a refused key", code: code.UpdateNamesrvConfig, body: []byte("orderMessageEnable=true\nkvConfigPath=/x")},
		{name: "update of the home", code: code.UpdateNamesrvConfig, body: []byte("rocketmqHome=/x")},
		{name: "update of an unknown key", code: code.UpdateNamesrvConfig, body: []byte("noSuchKey=1")},
		{name: "update of a value that cannot be read", code: code.UpdateNamesrvConfig, body: []byte("waitSecondsForService=soon"), differs: "Java ignores the value and answers SUCCESS"},
		{name: "enable orders", code: code.UpdateNamesrvConfig, body: []byte("orderMessageEnable=true\nproductEnvName=a\\tb\n")},
		{name: "route with an order", code: code.GetRouteInfoByTopic, ext: topic("T1")},
		{name: "route with an order, Go client", code: code.GetRouteInfoByTopic, version: 317, ext: topic("T1")},
		{name: "configuration", code: code.GetNamesrvConfig, sortLines: true},

		{name: "wipe", code: code.WipeWritePermOfBroker, ext: map[string]string{"brokerName": "b-0"}},
		{name: "route after wipe", code: code.GetRouteInfoByTopic, ext: topic("T1")},
		{name: "add", code: code.AddWritePermOfBroker, ext: map[string]string{"brokerName": "b-0"}},
		{name: "route after add", code: code.GetRouteInfoByTopic, ext: topic("NoWrite")},
		{name: "wipe an unknown broker", code: code.WipeWritePermOfBroker, ext: map[string]string{"brokerName": "b-9"}},

		{name: "add a topic", code: code.RegisterTopicInNamesrv, ext: topic("T5"), body: queues("b-0", "b-1")},
		{name: "route of the added topic", code: code.GetRouteInfoByTopic, ext: topic("T5")},
		{name: "add a topic of an unknown broker", code: code.RegisterTopicInNamesrv, ext: topic("T6"), body: queues("b-0", "b-9")},
		{name: "route of the topic not added", code: code.GetRouteInfoByTopic, ext: topic("T6")},
		{name: "add nothing", code: code.RegisterTopicInNamesrv, ext: topic("T6"), body: []byte("{}")},
		{name: "delete a topic in another cluster", code: code.DeleteTopicInNamesrv, ext: topic("T5", "clusterName", "c2")},
		{name: "route of the topic that stays", code: code.GetRouteInfoByTopic, ext: topic("T5")},
		{name: "delete a topic in its cluster", code: code.DeleteTopicInNamesrv, ext: topic("T5", "clusterName", "c1")},
		{name: "route of the deleted topic", code: code.GetRouteInfoByTopic, ext: topic("T5")},
		{name: "delete a topic everywhere", code: code.DeleteTopicInNamesrv, ext: topic("NoWrite")},
		{name: "route of the topic deleted everywhere", code: code.GetRouteInfoByTopic, ext: topic("NoWrite")},
		{name: "registering again brings it back", conn: "A0", code: code.RegisterBroker, ext: a0.ext(nil), body: first},
		{name: "route of the topic that came back", code: code.GetRouteInfoByTopic, ext: topic("NoWrite")},

		{name: "disable lists", code: code.UpdateNamesrvConfig, body: []byte("enableTopicList=false\nenableAllTopicList=false")},
		{name: "all topics, disabled", code: code.GetAllTopicListFromNameServer},
		{name: "topics of a cluster, disabled", code: code.GetTopicsByCluster, ext: map[string]string{"cluster": "c1"}},
		{name: "unit topics, disabled", code: code.GetUnitTopicList},
		{name: "unit subscription topics, disabled", code: code.GetHasUnitSubTopicList},
		{name: "unit subscription topics that are no unit topics, disabled", code: code.GetHasUnitSubUnunitTopicList},
		{name: "system topics cannot be disabled", code: code.GetSystemTopicListFromNS, differs: "any broker's address will do"},

		{name: "static topic, filter servers", conn: "B0", code: code.RegisterBroker, ext: b0.ext(nil), body: static.Encode(false)},
		{name: "route of a static topic", code: code.GetRouteInfoByTopic, ext: topic("ST")},
		{name: "route of a static topic, Go client", code: code.GetRouteInfoByTopic, version: 317, ext: topic("ST")},
		{name: "route with filter servers", code: code.GetRouteInfoByTopic, ext: topic("T1")},
		{name: "route with filter servers in a zone", code: code.GetRouteInfoByTopic, ext: topic("T1", "__ZONE_MODE", "true", "__ZONE_NAME", "z1")},
		{name: "compressed registration", conn: "B0", code: code.RegisterBroker, ext: b0.ext(map[string]string{"compressed": "true"}), body: registerBody(3, topicConfig("T1", 5, 6, 0), topicConfig("Packed", 1, 6, 0)).Encode(true)},
		{name: "route after a compressed registration", code: code.GetRouteInfoByTopic, ext: topic("Packed")},
		{name: "compressed registration that says it is not", conn: "B0", code: code.RegisterBroker, ext: b0.ext(nil), body: registerBody(4, topicConfig("T1", 5, 6, 0), topicConfig("Packed", 1, 6, 0)).Encode(true), differs: "Java cannot read what Java's broker sends so"},
		{name: "registration of 3.0.10", conn: "B0", code: code.RegisterBroker, version: 36, ext: b0.ext(nil), body: []byte(`{"dataVersion":{"counter":5,"timestamp":1700000000000},"topicConfigTable":{"Old":{"topicName":"Old","perm":6,"readQueueNums":1,"writeQueueNums":1},"T1":{"topicName":"T1","perm":6,"readQueueNums":2,"writeQueueNums":2}}}`)},
		{name: "route after a registration of 3.0.10", code: code.GetRouteInfoByTopic, ext: topic("Old")},

		{name: "support acting masters", code: code.UpdateNamesrvConfig, body: []byte("supportActingMaster=true\nnotifyMinBrokerIdChanged=true")},
		{name: "master leaves", conn: "A0", code: code.UnregisterBroker, ext: a0.ext(nil)},
		{name: "route with an acting master", code: code.GetRouteInfoByTopic, ext: topic("T1"), gone: "{A0}"},
		{name: "route with an acting master, Go client", code: code.GetRouteInfoByTopic, version: 317, ext: topic("T1")},
		{name: "member group without a master", code: code.GetBrokerMemberGroup, ext: map[string]string{"clusterName": "c1", "brokerName": "b-0"}},
		{name: "slave hears that the master left", notify: "A1"},
		{name: "acting master registers a changed topic", conn: "A1", code: code.RegisterBroker, ext: a1.ext(nil), body: registerBody(7, topicConfig("T1", 7, 6, 0), topicConfig("OnlySlave", 9, 6, 0)).Encode(false)},
		{name: "route after that", code: code.GetRouteInfoByTopic, ext: topic("T1")},
		{name: "route of its other topic", code: code.GetRouteInfoByTopic, ext: topic("OnlySlave")},
		{name: "master comes back", conn: "A0", code: code.RegisterBroker, ext: a0.ext(nil), body: first},
		{name: "slave hears that the master came back", notify: "A1"},
		{name: "route with the master", code: code.GetRouteInfoByTopic, ext: topic("T1")},
		{name: "slave becomes master", conn: "A1", code: code.RegisterBroker, ext: brokerSpec{name: "b-0", addr: "{A1}", cluster: "c1", zone: "z1", acting: "true", id: "0", ha: "10.0.0.2:10912"}.ext(nil), body: first},
		{name: "member group after that", code: code.GetBrokerMemberGroup, ext: map[string]string{"clusterName": "c1", "brokerName": "b-0"}},
		{name: "register a later state", conn: "C0", code: code.RegisterBroker, ext: c0.ext(nil), body: newer.Encode(false)},
		{name: "register an older state from elsewhere", conn: "D0", code: code.RegisterBroker, ext: brokerSpec{name: "c-0", addr: "10.0.0.5:10911", cluster: "c2", id: "0", ha: "10.0.0.5:10912"}.ext(nil), body: registerBody(9, topicConfig("T8", 1, 6, 0), topicConfig("T9", 1, 6, 0)).Encode(false)},
		{name: "member group after a conflict", code: code.GetBrokerMemberGroup, ext: map[string]string{"clusterName": "c2", "brokerName": "c-0"}},
		{name: "route after a conflict", code: code.GetRouteInfoByTopic, ext: topic("T8")},
		{name: "connection of a broker ends", conn: "C0", close: true},
		{name: "clusters without it", code: code.GetBrokerClusterInfo, gone: "10.0.0.4"},
		{name: "topic without a broker", code: code.GetRouteInfoByTopic, ext: topic("T3")},
	}
}

// player plays the scenario to one server.
type player struct {
	t       *testing.T
	addr    string
	brokers map[string]*listener
	peers   map[string]*peer
	marks   *strings.Replacer // placeholders to addresses
	scrub   *strings.Replacer // and back
}

func newPlayer(t *testing.T, addr string) *player {
	p := &player{t: t, addr: addr, brokers: map[string]*listener{}, peers: map[string]*peer{}}
	var marks, scrub []string
	for _, name := range []string{"A0", "A1", "B0"} {
		l := newListener(t)
		p.brokers[name] = l
		marks = append(marks, "{"+name+"}", l.addr())
		scrub = append(scrub, l.addr(), "{"+name+"}")
	}
	p.marks, p.scrub = strings.NewReplacer(marks...), strings.NewReplacer(scrub...)
	return p
}

func (p *player) peer(name string) *peer {
	if p.peers[name] == nil {
		p.peers[name] = dialPeer(p.t, p.addr)
	}
	return p.peers[name]
}

func (p *player) play(s step) answer {
	p.t.Helper()
	switch {
	case s.close:
		_ = p.peer(s.conn).conn.Close()
		delete(p.peers, s.conn)
		return answer{Step: s.name}
	case s.notify != "":
		return p.keep(s, p.brokers[s.notify].next(p.t))
	}
	ext := map[string]string{}
	for k, v := range s.ext {
		ext[k] = p.marks.Replace(v)
	}
	version := s.version
	if version == 0 {
		version = 513
	}
	for deadline := time.Now().Add(testDeadline); ; {
		got := p.keep(s, p.peer(s.conn).ask(s.code, version, ext, s.body))
		if strings.Contains(got.Body, s.until) && (s.gone == "" || !strings.Contains(got.Body, s.gone)) {
			return got
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s: still %s", s.name, got.Body)
		}
	}
}

func (p *player) keep(s step, f *frame) answer {
	a := answer{Step: s.name, Code: f.Code, Remark: p.scrub.Replace(f.Remark), Body: p.scrub.Replace(string(f.body))}
	for k, v := range f.ExtFields {
		if a.Ext == nil {
			a.Ext = map[string]string{}
		}
		a.Ext[k] = p.scrub.Replace(v)
	}
	if s.sortLines {
		lines := strings.Split(strings.TrimSuffix(a.Body, "\n"), "\n")
		slices.Sort(lines)
		for i, line := range lines {
			if k, _, _ := strings.Cut(line, "="); slices.Contains(machineKeys, k) {
				lines[i] = k + "="
			}
		}
		a.Body = strings.Join(lines, "\n")
	}
	if s.anyRemark {
		a.Remark = ""
	}
	return a
}

func TestAnswersAreJavas(t *testing.T) {
	if *javaAddr != "" {
		captureJava(t)
		return
	}
	text, err := os.ReadFile(javaFile)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]answer{}
	for line := range bytes.Lines(text) {
		var a answer
		if err := json.Unmarshal(line, &a); err != nil {
			t.Fatal(err)
		}
		want[a.Step] = a
	}
	p := newPlayer(t, startServer(t, nil).Addr().String())
	for _, s := range scenario() {
		got := p.play(s)
		w, ok := want[s.name]
		if !ok {
			t.Errorf("%s: not captured", s.name)
			continue
		}
		if s.sortLines {
			compareConfig(t, got.Body, w.Body)
			continue
		}
		same := got.Code == w.Code && got.Remark == w.Remark && reflect.DeepEqual(got.Ext, w.Ext) && sameBody(t, got.Body, w.Body)
		if same == (s.differs != "") {
			t.Errorf("%s (differs: %q)\ngot  %+v\nwant %+v", s.name, s.differs, got, w)
		}
	}
}

func captureJava(t *testing.T) {
	var out bytes.Buffer
	p := newPlayer(t, *javaAddr)
	for _, s := range scenario() {
		line, err := json.Marshal(p.play(s))
		if err != nil {
			t.Fatal(err)
		}
		out.Write(append(line, '\n'))
	}
	if err := os.WriteFile(javaFile, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// sameBody compares two bodies: the same values in the same dialect. Sets and tables have another order in Java.
func sameBody(t *testing.T, got, want string) bool {
	if got == want {
		return true
	}
	if json.Valid([]byte(got)) != json.Valid([]byte(want)) {
		return false
	}
	return reflect.DeepEqual(canonical(t, got), canonical(t, want))
}

func canonical(t *testing.T, text string) any {
	std, err := fastjson.Normalize(nil, []byte(text))
	if err != nil {
		return text
	}
	var v any
	if err := json.Unmarshal(std, &v); err != nil {
		t.Fatal(err)
	}
	return sorted(v)
}

// sorted orders every list by the text of its elements.
func sorted(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = sorted(v[k])
		}
	case []any:
		for i := range v {
			v[i] = sorted(v[i])
		}
		slices.SortFunc(v, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
	return v
}

// machineKeys are settings that differ from one machine to the next.
var machineKeys = []string{"kvConfigPath", "configStorePath", "rocketmqHome", "listenPort"}

// compareConfig compares settings. Ours are more: Java shows those of its client side and of TLS nowhere.
func compareConfig(t *testing.T, got, want string) {
	t.Helper()
	keys := func(text string) map[string]string {
		m := map[string]string{}
		for line := range strings.Lines(text) {
			k, v, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			m[k] = v
		}
		return m
	}
	g, w := keys(got), keys(want)
	for k, v := range w {
		have, ok := g[k]
		switch {
		case !ok:
			t.Errorf("configuration: no key %s", k)
		case have != v:
			t.Errorf("configuration: %s is %q, want %q", k, have, v)
		}
	}
}
