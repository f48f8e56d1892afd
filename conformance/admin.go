package conformance

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/admin"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

var adminCases = []Case{
	{Area: "admin", Feature: "Broker runtime info", Run: runtimeInfo},
	{Area: "admin", Feature: "Hot broker config", Own: true, Run: hotConfig},
	{Area: "admin", Feature: "Config black list", Own: true, Run: configBlackList},
	{Area: "admin", Feature: "Topic attributes +k=v", Run: topicAttributes},
	{Area: "admin", Feature: "Delete topic / group with clean-up", Run: deletions},
	{Area: "admin", Feature: "Batch create topics and groups", Run: batchCreate},
	{Area: "admin", Feature: "Topics and groups survive a killed broker", Own: true, Run: createdSurvive, Limit: 3 * time.Minute},
}

// runtimeKeys are what mqadmin, the dashboard and the exporter read of runtime info.
const runtimeKeys = `bootTimestamp runtime putMessageEntireTimeMax putMessageTimesTotal putMessageFailedTimes putMessageSizeTotal
putMessageDistributeTime putMessageAverageSize dispatchMaxBuffer getMessageEntireTimeMax putTps getFoundTps getMissTps getTotalTps
getTransferredTps putLatency99 putLatency999 commitLogDiskRatio consumeQueueDiskRatio commitLogMinOffset commitLogMaxOffset
brokerActive brokerVersionDesc msgPutTotalYesterdayMorning msgPutTotalTodayMorning msgPutTotalTodayNow
msgGetTotalYesterdayMorning msgGetTotalTodayMorning msgGetTotalTodayNow dispatchBehindBytes pageCacheLockTimeMills
earliestMessageTimeStamp startAcceptSendRequestTimeStamp timerReadBehind timerOffsetBehind timerCongestNum timerEnqueueTps
timerDequeueTps remainTransientStoreBufferNumbs remainHowManyDataToFlush commitLogDirCapacity
sendThreadPoolQueueSize sendThreadPoolQueueCapacity sendThreadPoolQueueHeadWaitTimeMills
pullThreadPoolQueueSize pullThreadPoolQueueCapacity pullThreadPoolQueueHeadWaitTimeMills
litePullThreadPoolQueueSize litePullThreadPoolQueueCapacity litePullThreadPoolQueueHeadWaitTimeMills
queryThreadPoolQueueSize queryThreadPoolQueueCapacity queryThreadPoolQueueHeadWaitTimeMills
ackThreadPoolQueueSize ackThreadPoolQueueCapacity ackThreadPoolQueueHeadWaitTimeMills
EndTransactionQueueSize EndTransactionThreadPoolQueueCapacity`

func runtimeInfo(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("Info")
	b.topic(topic, topicConf{})
	b.send(message{topic: topic, body: []byte("x")})
	// The reference has an error for an answer in its first seconds, before it has taken a sample.
	t.Until(30*time.Second, "runtime info", func() (bool, string) {
		f := b.call(code.GetBrokerRuntimeInfo, nil, nil)
		return f.Code == 0, f.String()
	})
	table, _ := wire.At(b.json(code.GetBrokerRuntimeInfo, nil, nil), "table").(map[string]any)
	for _, key := range strings.Fields(runtimeKeys) {
		if _, ok := table[key].(string); !ok {
			t.Errorf("no text under %s", key)
		}
	}
	for _, key := range []string{"putTps", "getFoundTps", "getMissTps", "getTotalTps", "getTransferredTps"} {
		// One for each of 10 s, 1 min and 10 min; a young broker of the reference lacks some. Tools read the first.
		words := strings.Fields(fmt.Sprint(table[key]))
		if len(words) < 1 || len(words) > 3 {
			t.Errorf("%s is %q, want up to three numbers", key, table[key])
		}
		for _, w := range words {
			if _, err := strconv.ParseFloat(w, 64); err != nil {
				t.Errorf("%s is %q: %v", key, table[key], err)
			}
		}
	}
	Equal(t, "brokerVersionDesc", fmt.Sprint(table["brokerVersionDesc"]), "V5_5_0")
	Equal(t, "brokerActive", fmt.Sprint(table["brokerActive"]), "true")
	if fmt.Sprint(table["commitLogMaxOffset"]) == "0" {
		t.Errorf("commitLogMaxOffset is 0 after a send")
	}
}

func configText(b *raw) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(string(b.ok(code.GetBrokerConfig, nil, nil).Body)) {
		if k, v, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "="); ok {
			out[k] = v
		}
	}
	return out
}

func hotConfig(t *T) {
	c := t.ownCluster(nil)
	b := t.dial(c.broker)
	topic := t.Name("Hot")
	b.topic(topic, topicConf{})
	before := configText(b)
	Equal(t, "flushDiskType", before["flushDiskType"], "ASYNC_FLUSH")
	Equal(t, "maxMessageSize", before["maxMessageSize"], "4194304")
	f := b.ok(code.GetBrokerConfig, nil, nil)
	version, err := wire.Loose([]byte(f.Ext["version"]))
	t.Must(err, "version of the configuration")
	if wire.At(version, "counter") == nil {
		t.Errorf("no counter in the version %q", f.Ext["version"])
	}
	b.ok(code.UpdateBrokerConfig, nil, []byte("flushDiskType=SYNC_FLUSH\nmaxMessageSize=2000\nnotKnownAnywhere=1\nautoCreateTopicEnable=false\n"))
	after := configText(b)
	Equal(t, "flushDiskType after the update", after["flushDiskType"], "SYNC_FLUSH")
	Equal(t, "maxMessageSize after the update", after["maxMessageSize"], "2000")
	b.want(code.MessageIllegal, code.SendMessageV2, message{topic: topic}.short(), make([]byte, 2001))
	// It was written to the file, whole, without what was not known.
	b.Close()
	t.Must(c.brokerServer().Stop(), "stop the broker")
	path := ""
	for _, name := range []string{"broker.conf", filepath.Join("home", "broker.conf")} {
		if _, err := os.Stat(filepath.Join(c.brokerServer().Dir(), name)); err == nil {
			path = filepath.Join(c.brokerServer().Dir(), name)
		}
	}
	text, err := os.ReadFile(path)
	t.Must(err, "read the broker's file")
	for _, line := range []string{"flushDiskType=SYNC_FLUSH", "maxMessageSize=2000", "fileReservedTime=87600", "messageDelayLevel=1s 5s"} {
		if !strings.Contains(strings.ReplaceAll(string(text), `\ `, " "), line) {
			t.Errorf("file has no %s", line)
		}
	}
	if _, err := os.Stat(path + ".bak"); err != nil {
		t.Errorf("no copy of the former file: %v", err)
	}
	// A change of the broker's permission reaches the routes.
	t.Must(c.brokerServer().Restart(nil), "start it again")
	b, n := t.dial(c.broker), t.dial(c.namesrv)
	t.Must(c.ready(), "registration")
	b.ok(code.UpdateBrokerConfig, nil, []byte("brokerPermission=4\n"))
	t.Until(15*time.Second, "route without write permission", func() (bool, string) {
		f := n.call(code.GetRouteInfoByTopic, wire.Ext("topic", topic, "acceptStandardJsonOnly", true), nil)
		v, err := wire.Loose(f.Body)
		return err == nil && wire.Num(queueData(v, c.brokerName)["perm"]) == "4", f.String()
	})
}

func configBlackList(t *T) {
	c := t.ownCluster(testkit.Props{"configBlackList": "messageDelayLevel"})
	b := t.dial(c.broker)
	for _, key := range []string{"brokerConfigPath", "rocketmqHome", "configBlackList", "messageDelayLevel"} {
		b.want(code.NoPermission, code.UpdateBrokerConfig, nil, []byte(key+"=x\nmaxMessageSize=777\n"))
	}
	Equal(t, "nothing else was applied", configText(b)["maxMessageSize"], "4194304")
}

func topicAttributes(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("Attributes")
	b.topic(topic, topicConf{attributes: "+message.type=FIFO"})
	attr := func(key string) string {
		conf := b.json(code.GetTopicConfig, wire.Ext("topic", topic), nil)
		return fmt.Sprint(wire.At(conf, "attributes", key))
	}
	Equal(t, "message.type", attr("message.type"), "FIFO")
	b.topic(topic, topicConf{attributes: "+message.type=DELAY"})
	Equal(t, "message.type changed", attr("message.type"), "DELAY")
	b.topic(topic, topicConf{attributes: "-message.type"})
	Equal(t, "message.type removed", attr("message.type"), "<nil>")
	try := func(attributes string) int {
		return b.call(code.UpdateAndCreateTopic, wire.Ext("topic", topic, "defaultTopic", "TBW102", "readQueueNums", 1, "writeQueueNums", 1, "perm", 6,
			"topicFilterType", "SINGLE_TAG", "topicSysFlag", 0, "order", false, "attributes", attributes), nil).Code
	}
	Equal(t, "unknown key", try("+no.such.key=1"), int(code.SystemError))
	Equal(t, "bad value", try("+message.type=WRONG"), int(code.SystemError))
	Equal(t, "key that may not change", try("+cleanup.policy=COMPACTION"), int(code.SystemError))
	all := b.json(code.GetAllTopicConfig, wire.Ext("topicSeq", 0), nil)
	if wire.At(all, "topicConfigTable", topic) == nil {
		t.Errorf("topic is not in the list of all")
	}
}

func deletions(t *T) {
	b, n := t.dial(t.shared.broker), t.dial(t.shared.namesrv)
	topic, group := t.Name("Gone"), t.Name("G")
	b.topic(topic, topicConf{read: 2})
	b.group(group, "")
	b.send(message{topic: topic, body: []byte("x")})
	b.await(topic, 0, 1, 10*time.Second)
	commit := wire.Ext("consumerGroup", group, "topic", topic, "queueId", 0, "commitOffset", 1)
	query := wire.Ext("consumerGroup", group, "topic", topic, "queueId", 0, "setZeroIfNotFound", false)
	b.ok(code.UpdateConsumerOffset, commit, nil)
	b.ok(code.QueryConsumerOffset, query, nil)
	b.ok(code.DeleteTopicInBroker, wire.Ext("topic", topic), nil)
	b.want(code.QueryNotFound, code.QueryConsumerOffset, query, nil)
	b.want(code.TopicNotExist, code.GetTopicConfig, wire.Ext("topic", topic), nil)
	b.want(code.TopicNotExist, code.PullMessage, pullExt(group, topic, 0, 0), nil)
	// The official client's own deletion does the broker and the name server.
	adm, err := admin.NewAdmin(admin.WithResolver(resolver(t.shared.namesrv)))
	t.Must(err, "make an admin client")
	t.Cleanup(func() { _ = adm.Close() })
	second := t.Name("Gone")
	t.Must(adm.CreateTopic(context.Background(), admin.WithTopicCreate(second), admin.WithBrokerAddrCreate(t.shared.broker)), "create with the official client")
	n.route(second)
	t.Must(adm.DeleteTopic(context.Background(), admin.WithTopicDelete(second), admin.WithBrokerAddrDelete(t.shared.broker),
		admin.WithNameSrvAddr([]string{t.shared.namesrv})), "delete with the official client")
	n.want(code.TopicNotExist, code.GetRouteInfoByTopic, wire.Ext("topic", second), nil)
	list, err := adm.FetchAllTopicList(context.Background())
	t.Must(err, "list topics with the official client")
	for _, name := range list.TopicList {
		if name == second {
			t.Errorf("deleted topic is still listed")
		}
	}
	// A topic made again begins at 0.
	b.topic(topic, topicConf{})
	Equal(t, "queue offset in the topic made again", b.send(message{topic: topic, body: []byte("y")}).Int("queueOffset"), 0)
	b.ok(code.UpdateConsumerOffset, commit, nil)
	b.ok(code.GetSubscriptionGroupConfig, wire.Ext("group", group), nil)
	b.ok(code.DeleteSubscriptionGroup, wire.Ext("groupName", group, "cleanOffset", true), nil)
	groups := b.json(code.GetAllSubscriptionGroupConfig, wire.Ext("groupSeq", 0), nil)
	if wire.At(groups, "subscriptionGroupTable", group) != nil {
		t.Errorf("deleted group is still listed")
	}
	b.group(group, "")
	b.want(code.QueryNotFound, code.QueryConsumerOffset, query, nil)
	b.ok(code.DeleteTopicInBroker, wire.Ext("topic", t.Name("NeverThere")), nil)
}

func batchCreate(t *T) {
	b, n := t.dial(t.shared.broker), t.dial(t.shared.namesrv)
	var topics, groups []string
	var tj, gj []string
	for i := range 3 {
		topics, groups = append(topics, t.Name("Many")), append(groups, t.Name("GMany"))
		tj = append(tj, fmt.Sprintf(`{"attributes":{"+message.type":"NORMAL"},"order":false,"perm":6,"readQueueNums":%d,"topicFilterType":"SINGLE_TAG","topicName":%q,"topicSysFlag":0,"writeQueueNums":%d}`, i+1, topics[i], i+1))
		gj = append(gj, fmt.Sprintf(`{"groupName":%q,"retryMaxTimes":%d,"consumeEnable":true}`, groups[i], i+3))
	}
	b.ok(code.UpdateAndCreateTopicList, nil, []byte(`{"topicConfigList":[`+strings.Join(tj, ",")+`]}`))
	b.ok(code.UpdateAndCreateSubscriptionGroupList, nil, []byte(`{"groupConfigList":[`+strings.Join(gj, ",")+`]}`))
	for i := range 3 {
		Equal(t, "queues in the route", wire.Num(queueData(n.route(topics[i]), t.shared.brokerName)["readQueueNums"]), fmt.Sprint(i+1))
		conf := b.json(code.GetSubscriptionGroupConfig, wire.Ext("group", groups[i]), nil)
		Equal(t, "retryMaxTimes", wire.Num(wire.At(conf, "retryMaxTimes")), fmt.Sprint(i+3))
	}
}
