package conformance

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

var orderingCases = []Case{
	{Area: "ordering", Feature: "Orderly consumption with broker locks", Run: orderly, Limit: 2 * time.Minute},
	{Area: "ordering", Feature: "Order topic config", Own: true, Run: orderTopic},
	{Area: "ordering", Feature: "DLQ directly for orderly groups", Run: orderlyDead},
}

func lockBody(client, group, topic, broker string, queues ...int) []byte {
	set := ""
	for i, q := range queues {
		if i > 0 {
			set += ","
		}
		set += fmt.Sprintf(`{"brokerName":%q,"queueId":%d,"topic":%q}`, broker, q, topic)
	}
	return []byte(fmt.Sprintf(`{"clientId":%q,"consumerGroup":%q,"mqSet":[%s],"onlyThisBroker":false}`, client, group, set))
}

func orderly(t *T) {
	b := t.dial(t.shared.broker)
	topic, group := t.Name("Order"), t.Name("G")
	b.topic(topic, topicConf{read: 4})
	lock := func(client string, queues ...int) int {
		v := b.json(code.LockBatchMQ, nil, lockBody(client, group, topic, t.shared.brokerName, queues...))
		list, _ := wire.At(v, "lockOKMQSet").([]any)
		return len(list)
	}
	Equal(t, "queues locked", lock("one", 0, 1), 2)
	Equal(t, "own locks renewed", lock("one", 0, 1), 2)
	Equal(t, "locks of another client", lock("two", 0, 1, 2), 1)
	b.ok(code.UnlockBatchMQ, nil, lockBody("two", group, topic, t.shared.brokerName, 0)) // not its own
	Equal(t, "lock kept", lock("two", 0), 0)
	b.ok(code.UnlockBatchMQ, nil, lockBody("one", group, topic, t.shared.brokerName, 0))
	Equal(t, "lock free", lock("two", 0), 1)

	// Two orderly consumers, one joining while messages flow: each queue's messages come in order.
	topic, group = t.Name("Order"), t.Name("G")
	b.topic(topic, topicConf{read: 4})
	var mu sync.Mutex
	last := map[int]int64{}
	seen := map[string]bool{}
	var broken []string
	listen := func(_ context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		mu.Lock()
		defer mu.Unlock()
		for _, m := range msgs {
			// The same message may come twice around a rebalance; going back further than that is disorder.
			if prev, ok := last[m.Queue.QueueId]; ok && m.QueueOffset > prev+1 {
				broken = append(broken, fmt.Sprintf("queue %d: %d after %d", m.Queue.QueueId, m.QueueOffset, prev))
			}
			last[m.Queue.QueueId] = m.QueueOffset
			seen[string(m.Body)] = true
		}
		return consumer.ConsumeSuccess, nil
	}
	p := t.producer(t.shared, producer.WithQueueSelector(producer.NewHashQueueSelector()))
	send := func(from, to int) {
		for i := from; i < to; i++ {
			m := message1(topic, fmt.Sprint("m", i))
			m.WithShardingKey(fmt.Sprint("order-", i%7))
			t.sendSync(p, m)
		}
	}
	all := func(n int) func() (bool, string) {
		return func() (bool, string) {
			mu.Lock()
			defer mu.Unlock()
			return len(seen) == n, fmt.Sprint(len(seen))
		}
	}
	t.push(t.shared, group, topic, "*", listen, consumer.WithConsumerOrder(true))
	send(0, 40)
	t.Until(60*time.Second, "first forty messages", all(40))
	t.push(t.shared, group, topic, "*", listen, consumer.WithConsumerOrder(true))
	send(40, 80)
	t.Until(90*time.Second, "all eighty messages", all(80))
	mu.Lock()
	defer mu.Unlock()
	for _, s := range broken {
		t.Errorf("out of order: %s", s)
	}
}

func orderTopic(t *T) {
	ns := t.ownNamesrv(testkit.Props{"orderMessageEnable": "true"})
	s := t.ownBroker(ns.Addr(), nil)
	b, n := t.dial(s.Addr()), t.dial(ns.Addr())
	topic := t.Name("Order")
	b.topic(topic, topicConf{read: 4, order: true})
	conf := b.json(code.GetTopicConfig, wire.Ext("topic", topic), nil)
	Equal(t, "order flag", fmt.Sprint(wire.At(conf, "order")), "true")
	value := "broker-x:4"
	n.ok(code.PutKVConfig, wire.Ext("namespace", "ORDER_TOPIC_CONFIG", "key", topic, "value", value), nil)
	Equal(t, "orderTopicConf in the route", fmt.Sprint(wire.At(n.route(topic), "orderTopicConf")), value)
	n.ok(code.DeleteKVConfig, wire.Ext("namespace", "ORDER_TOPIC_CONFIG", "key", topic), nil)
	Equal(t, "orderTopicConf after its removal", wire.At(n.route(topic), "orderTopicConf") == nil, true)
}

func orderlyDead(t *T) {
	b := t.dial(t.shared.broker)
	topic, group := t.Name("Order"), t.Name("G")
	b.topic(topic, topicConf{})
	b.group(group, "")
	send := func() {
		m := message{
			topic: "%RETRY%" + group, group: group, body: []byte("suspended"), reconsume: 1,
			properties: wire.Properties("RETRY_TOPIC", topic, "MAX_RECONSUME_TIMES", "16"),
		}
		ext := m.short()
		ext["l"] = "16"
		b.ok(code.SendMessageV2, ext, m.body)
	}
	send()
	b.await("%RETRY%"+group, 0, 1, 10*time.Second)
	b.ok(code.LockBatchMQ, nil, lockBody("one", group, topic, t.shared.brokerName, 0))
	send()
	Equal(t, "body in the dead-letter topic", string(b.await("%DLQ%"+group, 0, 1, 10*time.Second)[0].Body), "suspended")
	Equal(t, "messages in the retry topic", len(b.records("%RETRY%"+group, 0, 0)), 1)
}
