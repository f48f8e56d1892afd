package conformance

import (
	"fmt"
	"time"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

var delayCases = append([]Case{
	{Area: "delay", Feature: "18 delay levels", Run: delayLevels},
	{Area: "delay", Feature: "Custom messageDelayLevel", Own: true, Run: customLevels},
	{Area: "delay", Feature: "Scheduled async delivery", Own: true, Run: asyncDelivery},
}, timerCases...)

func delayLevels(t *T) {
	b := t.dial(t.shared.broker)
	topic := t.Name("Delay")
	b.topic(topic, topicConf{})
	p := t.producer(t.shared)
	for level := 1; level <= 3; level++ {
		t.sendSync(p, message1(topic, fmt.Sprint("level ", level)).WithDelayTimeLevel(level))
	}
	want := []int64{1000, 5000, 10000}
	for i, rec := range b.await(topic, 0, 3, 30*time.Second) {
		Equal(t, "body", string(rec.Body), fmt.Sprint("level ", i+1))
		// Born when it was sent, stored again when it was due.
		if took := rec.StoreTime - rec.BornTime; took < want[i]-150 || took > want[i]+2500 {
			t.Errorf("level %d was due after %d ms and came after %d", i+1, want[i], took)
		}
		Equal(t, "DELAY stays with the delivered message", rec.Properties["DELAY"], fmt.Sprint(i+1))
		Equal(t, "topic", rec.Topic, topic)
		Equal(t, "REAL_TOPIC and REAL_QID", rec.Properties["REAL_TOPIC"]+" "+rec.Properties["REAL_QID"], topic+" 0")
	}
	v := b.json(code.GetAllDelayOffset, nil, nil)
	table, _ := wire.At(v, "offsetTable").(map[string]any)
	if table["1"] == nil || table["3"] == nil {
		t.Errorf("delay offsets lack levels 1 and 3: %v", table)
	}
	// A level that is far off waits in the schedule topic.
	before := b.ok(code.GetMaxOffset, wire.Ext("topic", "SCHEDULE_TOPIC_XXXX", "queueId", 17), nil).Int("offset")
	b.send(message{topic: topic, body: []byte("far"), properties: wire.Properties("DELAY", "99")})
	t.Until(10*time.Second, "message in the queue of the highest level", func() (bool, string) {
		n := b.ok(code.GetMaxOffset, wire.Ext("topic", "SCHEDULE_TOPIC_XXXX", "queueId", 17), nil).Int("offset")
		return n == before+1, fmt.Sprint(n)
	})
	rec := b.records("SCHEDULE_TOPIC_XXXX", 17, before)[0]
	Equal(t, "REAL_TOPIC", rec.Properties["REAL_TOPIC"], topic)
	Equal(t, "REAL_QID", rec.Properties["REAL_QID"], "0")
}

func customLevels(t *T) {
	c := t.ownCluster(testkit.Props{"messageDelayLevel": "1s 2s 1d"})
	b := t.dial(c.broker)
	topic := t.Name("Levels")
	b.topic(topic, topicConf{})
	b.send(message{topic: topic, body: []byte("two"), properties: wire.Properties("DELAY", "2")})
	rec := b.await(topic, 0, 1, 20*time.Second)[0]
	if took := rec.StoreTime - rec.BornTime; took < 1850 || took > 6000 {
		t.Errorf("level 2 was due after 2000 ms and came after %d", took)
	}
	b.send(message{topic: topic, body: []byte("clipped"), properties: wire.Properties("DELAY", "17")})
	t.Until(10*time.Second, "message in the queue of level 3", func() (bool, string) {
		n := b.ok(code.GetMaxOffset, wire.Ext("topic", "SCHEDULE_TOPIC_XXXX", "queueId", 2), nil).Int("offset")
		return n == 1, fmt.Sprint(n)
	})
}

func asyncDelivery(t *T) {
	c := t.ownCluster(testkit.Props{"enableScheduleAsyncDeliver": "true"})
	b := t.dial(c.broker)
	topic := t.Name("Async")
	b.topic(topic, topicConf{})
	for i := range 50 {
		b.send(message{topic: topic, body: []byte(fmt.Sprint("m", i)), properties: wire.Properties("DELAY", "1")})
	}
	for i, rec := range b.await(topic, 0, 50, 20*time.Second) {
		Equal(t, "body in order", string(rec.Body), fmt.Sprint("m", i))
	}
}
