package broker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

func topicHeader(name string) *header.UpdateAndCreateTopicRequest {
	return &header.UpdateAndCreateTopicRequest{
		Topic: name, DefaultTopic: "TBW102", ReadQueueNums: 4, WriteQueueNums: 6, Perm: 6, TopicFilterType: "SINGLE_TAG",
	}
}

func (n *node) makeTopic(name string) {
	n.call(code.Success, code.UpdateAndCreateTopic, topicHeader(name), nil)
}

func (n *node) makeGroup(name string) {
	g := body.NewSubscriptionGroupConfig(name)
	n.call(code.Success, code.UpdateAndCreateSubscriptionGroup, nil, fastjson.Marshal(&g))
}

// The remarks are those that Java 5.5.0 gave mqadmin for the same commands.
func TestOperatorsChangeTopics(t *testing.T) {
	ns := startNameServer(t)
	n := startNode(t, t.TempDir(), "namesrvAddr="+ns.Addr().String())
	update := func(want int32, remark string, change func(*header.UpdateAndCreateTopicRequest)) {
		t.Helper()
		h := topicHeader("TFifo")
		change(h)
		if r := n.call(want, code.UpdateAndCreateTopic, h, nil); r.Remark != remark {
			t.Errorf("remark %q, want %q", r.Remark, remark)
		}
	}
	n.makeTopic("TAdm")
	if c, ok := ns.topic("TAdm"); !ok || c.ReadQueueNums != 4 || c.WriteQueueNums != 6 {
		t.Errorf("registered %+v", c)
	}
	update(29, "The specified topic: a.b, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$",
		func(h *header.UpdateAndCreateTopicRequest) { h.Topic = "a.b" })
	update(29, "The topic[TBW102] is conflict with system topic.", func(h *header.UpdateAndCreateTopicRequest) { h.Topic = "TBW102" })
	update(0, "", func(h *header.UpdateAndCreateTopicRequest) { h.Attributes, h.Order = "+message.type=FIFO", true })
	update(1, "unsupported key: nope", func(h *header.UpdateAndCreateTopicRequest) { h.Attributes = "+nope=1" })
	update(1, "add/alter attribute format is wrong: queue.type", func(h *header.UpdateAndCreateTopicRequest) { h.Attributes = "queue.type=BatchCQ" })
	update(1, "attempt to update an unchangeable attribute. key: queue.type",
		func(h *header.UpdateAndCreateTopicRequest) { h.Attributes = "+queue.type=BatchCQ" })
	update(1, "MIXED message type is not supported.", func(h *header.UpdateAndCreateTopicRequest) { h.Attributes = "+message.type=MIXED" })

	version := n.topics.Version()
	n.makeTopic("TAdm")
	if n.topics.Version() != version {
		t.Error("the same topic again is a change")
	}
	one := ask[body.TopicConfig](n, code.GetTopicConfig, &header.GetTopicConfigRequest{Topic: "TFifo"})
	if !one.Order || one.Attributes["message.type"] != "FIFO" {
		t.Errorf("TFifo is %+v", one)
	}
	n.call(code.TopicNotExist, code.GetTopicConfig, &header.GetTopicConfigRequest{Topic: "Nothing"}, nil)

	a, b := body.NewTopicConfig("LA"), body.NewTopicConfig("LB")
	n.call(code.Success, code.UpdateAndCreateTopicList, nil, fastjson.Marshal(&body.CreateTopicListRequestBody{TopicConfigList: []*body.TopicConfig{&a, &b}}))
	bad := body.NewTopicConfig("b d")
	c := body.NewTopicConfig("LC")
	n.call(code.InvalidParameter, code.UpdateAndCreateTopicList, nil,
		fastjson.Marshal(&body.CreateTopicListRequestBody{TopicConfigList: []*body.TopicConfig{&c, &bad}}))
	if _, ok := n.topics.Get("LB"); !ok {
		t.Error("LB is not there")
	}
	if _, ok := n.topics.Get("LC"); ok {
		t.Error("half of a refused list was created")
	}
	system := ask[body.TopicList](n, code.GetSystemTopicListFromBroker, nil)
	if !slices.Contains(system.TopicList, "C_REPLY_TOPIC") || !slices.Contains(system.TopicList, "SCHEDULE_TOPIC_XXXX") {
		t.Errorf("system topics %v", system.TopicList)
	}
}

func TestDeletedTopicsTakeEverythingAlong(t *testing.T) {
	n := startNode(t, t.TempDir(), "")
	n.makeGroup("G")
	for _, name := range []string{"T", "%RETRY%G_T"} {
		n.makeTopic(name)
	}
	for range 3 {
		n.send("T", "x")
	}
	n.call(code.Success, code.UpdateConsumerOffset, &header.UpdateConsumerOffsetRequest{ConsumerGroup: "G", Topic: "T", CommitOffset: 2}, nil)
	n.call(code.Success, code.DeleteTopicInBroker, &header.DeleteTopicInBrokerRequest{Topic: "T"}, nil)
	n.call(code.Success, code.DeleteTopicInBroker, &header.DeleteTopicInBrokerRequest{Topic: "NotThere"}, nil)
	n.call(code.InvalidParameter, code.DeleteTopicInBroker, &header.DeleteTopicInBrokerRequest{Topic: "SCHEDULE_TOPIC_XXXX"}, nil)
	for _, name := range []string{"T", "%RETRY%G_T"} {
		if _, ok := n.topics.Get(name); ok {
			t.Errorf("%s is there", name)
		}
	}
	if got := n.offsets.GroupsOf("T"); len(got) != 0 {
		t.Errorf("offsets of %v are there", got)
	}
	n.call(code.TopicNotExist, code.GetTopicStatsInfo, &header.GetTopicStatsInfoRequest{Topic: "T"}, nil)
	n.makeTopic("T")
	stats := ask[body.TopicStatsTable](n, code.GetTopicStatsInfo, &header.GetTopicStatsInfoRequest{Topic: "T"})
	if len(stats.OffsetTable) != 6 {
		t.Errorf("%d queues", len(stats.OffsetTable))
	}
	for q, o := range stats.OffsetTable {
		if o.MaxOffset != 0 {
			t.Errorf("%+v goes on at %d", q, o.MaxOffset)
		}
	}
}

func TestTablesComeInPages(t *testing.T) {
	n := startNode(t, t.TempDir(), "splitMetadataSize=7")
	for i := range 10 {
		n.makeTopic(fmt.Sprintf("Page%d", i))
		n.makeGroup(fmt.Sprintf("Page%d", i))
	}
	type answer struct {
		TopicConfigTable       map[string]any   `json:"topicConfigTable"`
		SubscriptionGroupTable map[string]any   `json:"subscriptionGroupTable"`
		DataVersion            body.DataVersion `json:"dataVersion"`
	}
	read := func(what int32, h header.Encodable, total string) answer {
		t.Helper()
		resp := n.call(code.Success, what, h, nil)
		var a answer
		if err := fastjson.Unmarshal(resp.Body, &a); err != nil {
			t.Fatal(err)
		}
		if v, _ := resp.Fields.Get(total); v == "" {
			t.Errorf("no %s", total)
		}
		return a
	}
	if got := read(code.GetAllTopicConfig, nil, "totalTopicNum"); len(got.TopicConfigTable) != n.topics.Len() {
		t.Errorf("%d topics without a page asked for, of %d", len(got.TopicConfigTable), n.topics.Len())
	}
	all := map[string]bool{}
	version := ""
	for len(all) < n.topics.Len() {
		a := read(code.GetAllTopicConfig, &header.GetAllTopicConfigRequest{
			TopicSeq: int32(len(all)), MaxTopicNum: header.Some[int32](100), DataVersion: version,
		}, "totalTopicNum")
		if len(a.TopicConfigTable) == 0 || len(a.TopicConfigTable) > 7 {
			t.Fatalf("a page of %d", len(a.TopicConfigTable))
		}
		for name := range a.TopicConfigTable {
			if all[name] {
				t.Fatalf("%s twice", name)
			}
			all[name] = true
		}
		version = string(fastjson.Marshal(&a.DataVersion))
	}
	first := read(code.GetAllTopicConfig, &header.GetAllTopicConfigRequest{MaxTopicNum: header.Some[int32](3)}, "totalTopicNum")
	again := read(code.GetAllTopicConfig, &header.GetAllTopicConfigRequest{
		TopicSeq: 3, MaxTopicNum: header.Some[int32](3), DataVersion: `{"counter":1,"stateVersion":0,"timestamp":1}`,
	}, "totalTopicNum")
	if !slices.Equal(slices.Sorted(maps.Keys(first.TopicConfigTable)), slices.Sorted(maps.Keys(again.TopicConfigTable))) {
		t.Error("a page of another version does not start over")
	}
	beyond := read(code.GetAllTopicConfig, &header.GetAllTopicConfigRequest{TopicSeq: 1 << 30, DataVersion: version}, "totalTopicNum")
	if len(beyond.TopicConfigTable) != 0 {
		t.Errorf("beyond the end: %d", len(beyond.TopicConfigTable))
	}
	groups := read(code.GetAllSubscriptionGroupConfig, &header.GetAllSubscriptionGroupConfigRequest{MaxGroupNum: header.Some[int32](4)}, "totalGroupNum")
	if len(groups.SubscriptionGroupTable) != 4 {
		t.Errorf("%d groups", len(groups.SubscriptionGroupTable))
	}
}

func TestOperatorsChangeGroups(t *testing.T) {
	n := startNode(t, t.TempDir(), "autoCreateSubscriptionGroup=false")
	n.makeGroup("G")
	bad := body.NewSubscriptionGroupConfig("a b")
	n.call(code.InvalidParameter, code.UpdateAndCreateSubscriptionGroup, nil, fastjson.Marshal(&bad))
	other := body.NewSubscriptionGroupConfig("H")
	n.call(code.InvalidParameter, code.UpdateAndCreateSubscriptionGroupList, nil,
		fastjson.Marshal(&body.SubscriptionGroupList{GroupConfigList: []*body.SubscriptionGroupConfig{&other, &bad}}))
	n.call(code.SubscriptionGroupNotExist, code.GetSubscriptionGroupConfig, &header.GetSubscriptionGroupConfigRequest{Group: "H"}, nil)
	n.call(code.Success, code.UpdateAndCreateSubscriptionGroupList, nil,
		fastjson.Marshal(&body.SubscriptionGroupList{GroupConfigList: []*body.SubscriptionGroupConfig{&other}}))
	if g := ask[body.SubscriptionGroupConfig](n, code.GetSubscriptionGroupConfig, &header.GetSubscriptionGroupConfigRequest{Group: "H"}); g.RetryMaxTimes != 16 {
		t.Errorf("H is %+v", g)
	}
	forbid := func(readable header.Opt[bool]) body.GroupForbidden {
		return ask[body.GroupForbidden](n, code.UpdateAndGetGroupForbidden,
			&header.UpdateAndGetGroupForbiddenRequest{Group: "G", Topic: "T", Readable: readable})
	}
	if f := forbid(header.Opt[bool]{}); !f.Readable || f.Group != "G" || f.Topic != "T" {
		t.Errorf("forbidden %+v", f)
	}
	if f := forbid(header.Some(false)); f.Readable || n.groups.Readable("G", "T") {
		t.Errorf("forbidden %+v", f)
	}
	n.offsets.Commit("G", "T", 0, 5)
	n.call(code.Success, code.DeleteSubscriptionGroup, &header.DeleteSubscriptionGroupRequest{GroupName: "G"}, nil)
	if len(n.offsets.TopicsOf("G")) != 1 || !n.groups.Readable("G", "T") {
		t.Error("offsets go only on request; what is forbidden goes")
	}
	n.call(code.Success, code.DeleteSubscriptionGroup, &header.DeleteSubscriptionGroupRequest{GroupName: "G", CleanOffset: true}, nil)
	if len(n.offsets.TopicsOf("G")) != 0 {
		t.Error("offsets are there")
	}
	n.call(code.SubscriptionGroupNotExist, code.UpdateConsumerOffset,
		&header.UpdateConsumerOffsetRequest{ConsumerGroup: "G", Topic: "TBW102", CommitOffset: 1}, nil)
	n.call(code.TopicNotExist, code.UpdateConsumerOffset,
		&header.UpdateConsumerOffsetRequest{ConsumerGroup: "H", Topic: "NotThere", CommitOffset: 1}, nil)
}

// consumer is a client that answers what operators ask of it.
func consumer(t *testing.T, n *node, id string) *remoting.Client {
	t.Helper()
	c := remoting.NewClient(remoting.ClientOptions{Routes: []remoting.Route{
		{Code: code.NotifyConsumerIDsChanged, Handle: func(*remoting.Request) {}},
		{Code: code.GetConsumerRunningInfo, Handle: func(r *remoting.Request) {
			jstack, _ := r.Fields.Get("jstackEnable")
			r.Reply(&remoting.Reply{Body: []byte(`{"jstack":"` + jstack + `"}`)})
		}},
		{Code: code.ConsumeMessageDirectly, Handle: func(r *remoting.Request) {
			broker, _ := r.Fields.Get("brokerName")
			r.Reply(&remoting.Reply{Remark: broker, Body: r.Body})
		}},
		{Code: code.GetConsumerStatusFromClient, Handle: func(r *remoting.Request) {
			r.Reply(&remoting.Reply{Body: fastjson.Marshal(&body.GetConsumerStatusBody{
				MessageQueueTable: map[body.MessageQueue]int64{{Topic: "T", BrokerName: "b"}: 7},
			})})
		}},
	}})
	t.Cleanup(c.Close)
	ctx := context.Background()
	resp, err := c.Call(ctx, n.addr, remoting.Outgoing{Code: code.HeartBeat, Body: heartbeatBody(id, "G", "T")})
	if err != nil || resp.Code != code.Success {
		t.Fatal(resp, err)
	}
	return c
}

func TestOperatorsAskClients(t *testing.T) {
	n := startNode(t, t.TempDir(), "")
	n.makeTopic("T")
	sent := n.call(code.Success, code.SendMessage, sendHeader("T"), []byte("hello"))
	id, _ := sent.Fields.Get("msgId")
	consumer(t, n, "c1")

	resp := n.call(code.Success, code.GetConsumerRunningInfo,
		&header.GetConsumerRunningInfoRequest{ConsumerGroup: "G", ClientID: "c1", JstackEnable: header.Some(true)}, nil)
	if string(resp.Body) != `{"jstack":"true"}` {
		t.Errorf("running info %s", resp.Body)
	}
	resp = n.call(code.SystemError, code.GetConsumerRunningInfo, &header.GetConsumerRunningInfoRequest{ConsumerGroup: "G", ClientID: "c2"}, nil)
	if resp.Remark != "The Consumer <G> <c2> not online" {
		t.Errorf("remark %q", resp.Remark)
	}
	eventually(t, "the message cannot be looked up", func() bool {
		resp, err := n.client.Call(context.Background(), n.addr, remoting.Outgoing{
			Code:   code.ConsumeMessageDirectly,
			Header: &header.ConsumeMessageDirectlyRequest{ConsumerGroup: "G", ClientID: "c1", MsgID: id, Topic: "T"},
		})
		return err == nil && resp.Remark == "b" && strings.Contains(string(resp.Body), "hello")
	})
	n.call(code.SystemError, code.ConsumeMessageDirectly, &header.ConsumeMessageDirectlyRequest{ConsumerGroup: "G", ClientID: "c1", MsgID: "junk"}, nil)
	status := ask[body.GetConsumerStatusBody](n, code.InvokeBrokerToGetConsumerStatus,
		&header.InvokeBrokerToGetConsumerStatusRequest{Topic: "T", Group: "G"})
	if got := status.ConsumerTable["c1"][body.MessageQueue{Topic: "T", BrokerName: "b"}]; got != 7 {
		t.Errorf("status %+v", status)
	}
	n.call(code.SystemError, code.InvokeBrokerToGetConsumerStatus, &header.InvokeBrokerToGetConsumerStatusRequest{Topic: "T", Group: "None"}, nil)

	producers := ask[body.ProducerConnection](n, code.GetProducerConnectionList, &header.GetProducerConnectionListRequest{ProducerGroup: "P"})
	if len(producers.ConnectionSet) != 1 || producers.ConnectionSet[0].Language != "JAVA" && producers.ConnectionSet[0].Language != "GO" {
		t.Errorf("producers %+v", producers)
	}
	resp = n.call(code.SystemError, code.GetProducerConnectionList, &header.GetProducerConnectionListRequest{ProducerGroup: "X"}, nil)
	if resp.Remark != "the producer group[X] not exist" {
		t.Errorf("remark %q", resp.Remark)
	}
	resp = n.call(code.ConsumerNotOnline, code.GetConsumerConnectionList, &header.GetConsumerConnectionListRequest{ConsumerGroup: "X"}, nil)
	if resp.Remark != "the consumer group[X] not online" {
		t.Errorf("remark %q", resp.Remark)
	}
	all := ask[body.ProducerTableInfo](n, code.GetAllProducerInfo, nil)
	if p := all.Data["P"]; len(p) != 1 || p[0].ClientID != "c1" || !strings.HasPrefix(p[0].RemoteIP, "/127.0.0.1:") {
		t.Errorf("producers %+v", all)
	}
	resp = n.call(code.SystemError, code.CheckClientConfig, nil, []byte(`{"clientId":"c1","group":"G","subscriptionData":{"expressionType":"SQL92","subString":"a>1"}}`))
	if resp.Remark != "The broker does not support consumer to filter message by SQL92" {
		t.Errorf("remark %q", resp.Remark)
	}
	n.call(code.Success, code.CheckClientConfig, nil, []byte(`{"clientId":"c1","group":"G","subscriptionData":{"expressionType":"TAG","subString":"a"}}`))
}

// queueOfMessages sends three messages to queue 0 of T and makes group G.
func queueOfMessages(n *node) {
	n.t.Helper()
	n.makeTopic("T")
	n.makeGroup("G")
	for range 3 {
		n.send("T", "x")
	}
	eventually(n.t, "the messages do not arrive", func() bool { return n.store.MaxOffset("T", 0) == 3 })
}

func TestOperatorsReadProgress(t *testing.T) {
	n := startNode(t, t.TempDir(), "")
	queueOfMessages(n)
	n.call(code.Success, code.UpdateConsumerOffset, &header.UpdateConsumerOffsetRequest{ConsumerGroup: "G", Topic: "T", CommitOffset: 1}, nil)
	first := body.MessageQueue{Topic: "T", BrokerName: "b"}

	for name, h := range map[string]*header.GetConsumeStatsRequest{
		"by topic": {ConsumerGroup: "G", Topic: "T"}, "all topics": {ConsumerGroup: "G"}, "a list": {ConsumerGroup: "G", Topic: "Other", TopicList: "T;Nothing"},
	} {
		s := ask[body.ConsumeStats](n, code.GetConsumeStats, h)
		if o := s.OffsetTable[first]; len(s.OffsetTable) != 4 || o.BrokerOffset != 3 || o.ConsumerOffset != 1 || o.LastTimestamp == 0 {
			t.Errorf("%s: %+v", name, s)
		}
	}
	if s := ask[body.ConsumeStats](n, code.GetConsumeStats, &header.GetConsumeStatsRequest{ConsumerGroup: "Nobody"}); len(s.OffsetTable) != 0 {
		t.Errorf("nobody consumes %+v", s)
	}
	list := ask[body.ConsumeStatsList](n, code.GetBrokerConsumeStats, &header.GetBrokerConsumeStatsRequest{})
	if list.TotalDiff != 2 || len(list.ConsumeStatsList) != 1 || list.BrokerAddr != n.Address() {
		t.Errorf("list %+v", list)
	}
	if ordered := ask[body.ConsumeStatsList](n, code.GetBrokerConsumeStats, &header.GetBrokerConsumeStatsRequest{IsOrder: true}); len(ordered.ConsumeStatsList) != 0 {
		t.Errorf("ordered %+v", ordered)
	}
	span := ask[body.QueryConsumeTimeSpanBody](n, code.QueryConsumeTimeSpan, &header.QueryConsumeTimeSpanRequest{Topic: "T", Group: "G"})
	if s := span.ConsumeTimeSpanSet[0]; len(span.ConsumeTimeSpanSet) != 6 || s.MinTimeStamp <= 0 || s.MaxTimeStamp < s.MinTimeStamp || s.DelayTime < 0 {
		t.Errorf("time span %+v", s)
	}
	if who := ask[body.GroupList](n, code.QueryTopicConsumeByWho, &header.QueryTopicConsumeByWhoRequest{Topic: "T"}); !slices.Equal(who.GroupList, []string{"G"}) {
		t.Errorf("who %+v", who)
	}
	if topics := ask[body.TopicList](n, code.QueryTopicsByConsumer, &header.QueryTopicsByConsumerRequest{Group: "G"}); !slices.Equal(topics.TopicList, []string{"T"}) {
		t.Errorf("topics %+v", topics)
	}
	consumer(t, n, "c1")
	sub := ask[body.QuerySubscriptionResponseBody](n, code.QuerySubscriptionByConsumer, &header.QuerySubscriptionByConsumerRequest{Group: "G", Topic: "T"})
	if sub.SubscriptionData == nil || sub.SubscriptionData.SubString != "*" {
		t.Errorf("subscription %+v", sub)
	}
	n.call(code.Success, code.CloneGroupOffset, &header.CloneGroupOffsetRequest{SrcGroup: "G", DestGroup: "Copy", Topic: "T"}, nil)
	if off, ok := n.offsets.Query("Copy", "T", 0); !ok || off != 1 {
		t.Errorf("cloned %d %v", off, ok)
	}
	n.offsets.Commit("Copy", "T", 0, 0)
	c := ask[body.QueryCorrectionOffsetBody](n, code.QueryCorrectionOffset, &header.QueryCorrectionOffsetRequest{FilterGroups: "Copy", CompareGroup: "G", Topic: "T"})
	if c.CorrectionOffsets[0] != 1 {
		t.Errorf("correction %+v", c)
	}
	cq := ask[body.QueryConsumeQueueResponseBody](n, code.QueryConsumeQueue, &header.QueryConsumeQueueRequest{
		Topic: "T", QueueID: header.Some[int32](0), Index: header.Some[int64](1), Count: header.Some[int32](10), ConsumerGroup: "G",
	})
	if len(cq.QueueData) != 2 || cq.MaxQueueIndex != 3 || cq.QueueData[0].PhysicSize == 0 || cq.QueueData[1].PhysicOffset <= cq.QueueData[0].PhysicOffset {
		t.Errorf("queue %+v", cq)
	}
	resp := n.call(code.Success, code.QueryConsumeQueue, &header.QueryConsumeQueueRequest{Topic: "T", QueueID: header.Some[int32](1), Count: header.Some[int32](5)}, nil)
	if resp.Remark != "Index 0 of 1@T is not exist!" || len(resp.Body) != 0 {
		t.Errorf("remark %q, body %s", resp.Remark, resp.Body)
	}
	n.call(code.SystemError, code.QueryConsumeQueue, &header.QueryConsumeQueueRequest{Topic: "Nothing", QueueID: header.Some[int32](1), Count: header.Some[int32](5)}, nil)
	n.call(code.SystemError, code.ViewBrokerStatsData, &header.ViewBrokerStatsDataRequest{StatsName: "TOPIC_PUT_NUMS", StatsKey: "Nothing"}, nil)
	n.stats.Sample(n.env.Now())
	if v := ask[body.BrokerStatsData](n, code.ViewBrokerStatsData, &header.ViewBrokerStatsDataRequest{StatsName: "TOPIC_PUT_NUMS", StatsKey: "T"}); v.StatsMinute.Sum != 3 {
		t.Errorf("stats %+v", v.StatsMinute)
	}
	offsets := ask[body.ConsumerOffsetSerializeWrapper](n, code.GetAllConsumerOffset, nil)
	if offsets.OffsetTable["T@G"][0] != 1 {
		t.Errorf("offsets %+v", offsets.OffsetTable)
	}
	ask[body.DelayOffsetSerializeWrapper](n, code.GetAllDelayOffset, nil)
}

func TestServerSideReset(t *testing.T) {
	n := startNode(t, t.TempDir(), "")
	queueOfMessages(n)
	commit := func(off int64) *remoting.Response {
		t.Helper()
		return n.call(code.Success, code.UpdateConsumerOffset, &header.UpdateConsumerOffsetRequest{ConsumerGroup: "G", Topic: "T", CommitOffset: off}, nil)
	}
	commit(3)
	reset := func(want int32, h header.InvokeBrokerToResetOffsetRequest) *remoting.Response {
		t.Helper()
		if h.Group == "" {
			h.Group = "G"
		}
		if h.Topic == "" {
			h.Topic = "T"
		}
		return n.call(want, code.InvokeBrokerToResetOffset, &h, nil)
	}
	reset(code.TopicNotExist, header.InvokeBrokerToResetOffsetRequest{Topic: "Nothing", QueueID: -1})
	reset(code.SubscriptionGroupNotExist, header.InvokeBrokerToResetOffsetRequest{Group: "Nobody", QueueID: -1})
	r := reset(code.SystemError, header.InvokeBrokerToResetOffsetRequest{QueueID: 0, Offset: header.Some[int64](9)})
	if r.Remark != "Target offset 9 not in consume queue range [0-3]" {
		t.Errorf("remark %q", r.Remark)
	}
	var b body.ResetOffsetBody
	if err := fastjson.Unmarshal(reset(code.Success, header.InvokeBrokerToResetOffsetRequest{QueueID: -1}).Body, &b); err != nil || len(b.OffsetTable) != 4 {
		t.Fatalf("reset to %+v, %v", b, err)
	}
	if r := commit(2); r.Remark != "Offset has been previously reset" {
		t.Errorf("remark %q", r.Remark)
	}
	if off, _ := n.offsets.Query("G", "T", 0); off != 0 {
		t.Errorf("offset %d", off)
	}
	pulled := n.call(code.PullOffsetMoved, code.PullMessage, pullHeader("G", "T", 3), nil)
	if v, _ := pulled.Fields.Get("nextBeginOffset"); v != "0" {
		t.Errorf("the pull goes on at %s", v)
	}
	n.call(code.Success, code.PullMessage, pullHeader("G", "T", 0), nil)
	if r := commit(2); r.Remark != "" {
		t.Errorf("after the pull: %q", r.Remark)
	}
	reset(code.Success, header.InvokeBrokerToResetOffsetRequest{QueueID: 0, Timestamp: -1})
	if off, _ := n.offsets.Query("G", "T", 0); off != 3 {
		t.Errorf("the end is %d", off)
	}
	reset(code.Success, header.InvokeBrokerToResetOffsetRequest{QueueID: 0, Offset: header.Some[int64](1)})
	if off, _ := n.offsets.Query("G", "T", 0); off != 1 {
		t.Errorf("set to %d", off)
	}
}

func TestResetAtClients(t *testing.T) {
	n := startNode(t, t.TempDir(), "useServerSideResetOffset=false")
	queueOfMessages(n)
	for q := range int32(6) {
		n.offsets.Commit("G", "T", q, 2)
	}
	h := &header.InvokeBrokerToResetOffsetRequest{Group: "G", Topic: "T", QueueID: -1}
	n.call(code.ConsumerNotOnline, code.InvokeBrokerToResetOffset, h, nil)
	told := make(chan body.ResetOffsetBody, 1)
	c := remoting.NewClient(remoting.ClientOptions{Routes: []remoting.Route{
		{Code: code.NotifyConsumerIDsChanged, Handle: func(*remoting.Request) {}},
		{Code: code.ResetConsumerClientOffset, Handle: func(r *remoting.Request) {
			var b body.ResetOffsetBody
			_ = fastjson.Unmarshal(r.Body, &b)
			told <- b
		}},
	}})
	defer c.Close()
	if resp, err := c.Call(context.Background(), n.addr, remoting.Outgoing{Code: code.HeartBeat, Body: heartbeatBody("c1", "G", "T")}); err != nil || resp.Code != 0 {
		t.Fatal(resp, err)
	}
	n.call(code.Success, code.InvokeBrokerToResetOffset, h, nil)
	b := <-told
	if off, ok := b.OffsetTable[body.MessageQueue{Topic: "T", BrokerName: "b"}]; !ok || off != 0 || len(b.OffsetTable) != 6 {
		t.Errorf("told %+v", b)
	}
}

func TestLocksOverTheWire(t *testing.T) {
	n := startNode(t, t.TempDir(), "")
	lock := func(client string, queues ...int32) int {
		t.Helper()
		b := &body.LockBatchRequestBody{ConsumerGroup: "G", ClientID: client}
		for _, q := range queues {
			b.MQSet = append(b.MQSet, body.MessageQueue{Topic: "T", BrokerName: "b", QueueID: q})
		}
		var held body.LockBatchResponseBody
		if err := fastjson.Unmarshal(n.call(code.Success, code.LockBatchMQ, nil, fastjson.Marshal(b)).Body, &held); err != nil {
			t.Fatal(err)
		}
		return len(held.LockOKMQSet)
	}
	if a, b := lock("x", 0, 1), lock("y", 1, 2); a != 2 || b != 1 {
		t.Errorf("x has %d, y has %d", a, b)
	}
	n.call(code.Success, code.UnlockBatchMQ, nil, fastjson.Marshal(&body.LockBatchRequestBody{
		ConsumerGroup: "G", ClientID: "x", MQSet: []body.MessageQueue{{Topic: "T", BrokerName: "b", QueueID: 1}},
	}))
	if b := lock("y", 1); b != 1 {
		t.Error("an unlocked queue is not free")
	}
	n.call(code.SystemError, code.LockBatchMQ, nil, []byte("{"))
	n.call(code.SystemError, code.LockBatchMQ, nil, nil)
}

// Names are those of Java's answer to mqadmin brokerStatus.
func TestRuntimeInfoHasJavasKeys(t *testing.T) {
	n := startNode(t, t.TempDir(), "")
	queueOfMessages(n)
	n.sampleRates()
	table := ask[body.KVTable](n, code.GetBrokerRuntimeInfo, nil).Table
	for _, key := range strings.Fields(`EndTransactionQueueSize EndTransactionThreadPoolQueueCapacity ackThreadPoolQueueCapacity
		ackThreadPoolQueueHeadWaitTimeMills ackThreadPoolQueueSize bootTimestamp brokerActive brokerVersionDesc commitLogDirCapacity
		commitLogDiskRatio commitLogMaxOffset commitLogMinOffset consumeQueueDiskRatio dispatchBehindBytes dispatchMaxBuffer
		earliestMessageTimeStamp getFoundTps getMessageEntireTimeMax getMissTps getTotalTps getTransferredTps
		litePullThreadPoolQueueCapacity litePullThreadPoolQueueHeadWaitTimeMills litePullThreadPoolQueueSize msgGetTotalTodayMorning
		msgGetTotalTodayNow msgGetTotalYesterdayMorning msgPutTotalTodayMorning msgPutTotalTodayNow msgPutTotalYesterdayMorning
		pageCacheLockTimeMills pullThreadPoolQueueCapacity pullThreadPoolQueueHeadWaitTimeMills pullThreadPoolQueueSize putLatency99
		putLatency999 putMessageAverageSize putMessageDistributeTime putMessageEntireTimeMax putMessageFailedTimes putMessageSizeTotal
		putMessageTimesTotal putTps queryThreadPoolQueueCapacity queryThreadPoolQueueHeadWaitTimeMills queryThreadPoolQueueSize
		remainHowManyDataToFlush remainTransientStoreBufferNumbs runtime sendThreadPoolQueueCapacity
		sendThreadPoolQueueHeadWaitTimeMills sendThreadPoolQueueSize startAcceptSendRequestTimeStamp timerCongestNum timerDequeueTps
		timerEnqueueTps timerOffsetBehind timerReadBehind`) {
		if table[key] == "" {
			t.Errorf("%s is missing", key)
		}
	}
	if table["putMessageTimesTotal"] != "3" || table["brokerVersionDesc"] != "V5_5_0" || table["msgPutTotalTodayNow"] != "3" {
		t.Errorf("table %v", table)
	}
	if table["commitLogDiskRatio_"+n.logDir()] == "" || len(strings.Fields(table["putTps"])) != 3 {
		t.Errorf("table %v", table)
	}
	ha := ask[body.HARuntimeInfo](n, code.GetBrokerHAStatus, nil)
	if !ha.Master || ha.MasterCommitLogMaxOffset == 0 {
		t.Errorf("ha %+v", ha)
	}
}

func TestOperatorsCleanUp(t *testing.T) {
	n := startNode(t, t.TempDir(), "")
	queueOfMessages(n)
	if err := n.topics.Delete("T"); err != nil { // the queue stays, as after a crash in the middle of a deletion
		t.Fatal(err)
	}
	n.call(code.Success, code.CleanUnusedTopic, nil, nil)
	if _, ok := n.store.Queues()["T"]; ok {
		t.Error("the queue of a topic without configuration is there")
	}
	n.call(code.Success, code.CleanExpiredConsumeQueue, nil, nil)
	n.call(code.Success, code.DeleteExpiredCommitLog, nil, nil)
}

// Requests that lack what they need are answered with an error and never with silence or a panic.
func TestAdminRequestsWithNothingInThem(t *testing.T) {
	n := startNode(t, t.TempDir(), "")
	for what := range int32(400) {
		ctx, cancel := context.WithCancel(context.Background())
		resp, err := n.client.Call(ctx, n.addr, remoting.Outgoing{Code: what})
		cancel()
		if err != nil {
			t.Fatalf("code %d: %v", what, err)
		}
		_ = resp
	}
	n.send("T", "still working")
}
