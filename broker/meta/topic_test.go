package meta

import (
	"fmt"
	"testing"
	"unsafe"

	"apogee/broker/stats"
	"apogee/compat/body"
	"apogee/store/vfs"
)

func TestPlain(t *testing.T) {
	topics := newTopics(vfs.NewMem(now), nil)
	with := func(name string, change func(*body.TopicConfig)) *body.TopicConfig {
		c := body.NewTopicConfig(name)
		c.ReadQueueNums, c.WriteQueueNums = 4, 6
		if change != nil {
			change(&c)
		}
		return &c
	}
	for _, c := range []struct {
		what *body.TopicConfig
		want int32
	}{
		{with("Usual", nil), 6},
		{with("ReadsMore", func(c *body.TopicConfig) { c.ReadQueueNums = 9 }), 9},
		{with("NoQueues", func(c *body.TopicConfig) { c.ReadQueueNums, c.WriteQueueNums = 0, -1 }), 0},
		{with("Attributes", func(c *body.TopicConfig) { c.Attributes = map[string]string{"queue.type": "BatchCQ"} }), 0},
		{with("MultiTag", func(c *body.TopicConfig) { c.TopicFilterType = body.MultiTag }), 0},
		{with("%RETRY%group", nil), 0},
		{with("SCHEDULE_TOPIC_XXXX", nil), 0},
		{with("no topic", nil), 0},
	} {
		if err := topics.Put(c.what); err != nil {
			t.Fatal(err)
		}
		own, topic, config := topics.Lookup(c.what.TopicName)
		if topic == nil || own != c.what.TopicName || config.WriteQueueNums != c.what.WriteQueueNums {
			t.Errorf("%s: found %q %v %v", c.what.TopicName, own, topic, config)
		} else if topic.Plain() != c.want {
			t.Errorf("%s: %d queues for what is as usual, want %d", own, topic.Plain(), c.want)
		}
	}
	_, topic, _ := topics.Lookup("Usual")
	if err := topics.Put(with("Usual", func(c *body.TopicConfig) { c.WriteQueueNums = 2 })); err != nil {
		t.Fatal(err)
	}
	if topic.Plain() != 4 {
		t.Errorf("%d queues after a change, want 4", topic.Plain())
	}
	if own, topic, config := topics.Lookup("Missing"); own != "" || topic != nil || config != nil {
		t.Errorf("found a topic that is not there: %q %v %v", own, topic, config)
	}
	light := newTopics(vfs.NewMem(now), func(o *TopicOptions) { o.LMQ = true })
	if own, topic, config := light.Lookup("%LMQ%x"); own != "%LMQ%x" || topic != nil || config == nil {
		t.Errorf("a light queue: %q %v %v", own, topic, config)
	}
}

func TestTopicsHandles(t *testing.T) {
	topics := newTopics(vfs.NewMem(now), nil)
	counters := stats.New(topics.IsSystem)
	name, topic, _ := topics.Lookup(AutoCreateTopic)
	topic.Fetch(0)
	topic.Item(counters, name).Add(1, 3, 10)
	topic.Fetch(topicPlaces)
	if it := topic.Item(counters, name); it != counters.Topic(name) || it.Gone() {
		t.Error("other counters than those of the topic")
	}
	counters.DeleteTopic(name)
	if it := topic.Item(counters, name); it != counters.Topic(name) || it.Gone() {
		t.Error("counters that are gone are still used")
	}
	if topic.Place(0) == nil || topic.Place(0) == topic.Place(topicPlaces-1) || topic.Place(topicPlaces) != nil || topic.Place(-1) != nil {
		t.Error("places")
	}
	if before := unsafe.Offsetof(entryOf[body.TopicConfig, Topic]{}.more); before+unsafe.Sizeof(*topic) != 128-48 {
		t.Errorf("an entry, which has 48 bytes before that, does not fill two cache lines: %d + %d", before, unsafe.Sizeof(*topic))
	}
}

// What each message costs where there are many topics: alone, as names are looked up in an order that the processor cannot guess.
func BenchmarkLookupAmong10000(b *testing.B) {
	topics := newTopics(vfs.NewMem(now), nil)
	names, configs := make([]string, 10_000), make([]*body.TopicConfig, 10_000)
	for i := range names {
		names[i] = fmt.Sprintf("BenchTopic_%05d", i)
		c := body.NewTopicConfig(names[i])
		configs[i] = &c
	}
	if err := topics.Put(configs...); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, topic, _ := topics.Lookup(names[i%len(names)]); topic.Plain() == 0 {
			b.Fatal("not plain")
		}
	}
}
