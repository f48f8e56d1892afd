package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"apogee/compat/body"
	"apogee/compat/fastjson"
)

// CreateTopics creates Options.Count topics of Options.Queues queues one after the other, named Topic_00000 and on from the index
// Options.Fill, on a broker with whatever topics it has. Messages are topics; the delay is from request to answer.
func CreateTopics(ctx context.Context, o Options) (Result, error) {
	res := Result{Kind: "create topics", Broker: o.Broker, Settings: fmt.Sprintf("%d topics of %d queues, one after the other", o.Count, o.Queues)}
	o.Connections, o.InFlight, o.Body, o.Batch = 1, 1, 1, 1
	if err := o.check(); err != nil {
		return res, err
	}
	c, err := dial(o.Broker)
	if err != nil {
		return res, err
	}
	defer func() { _ = c.Close() }()
	h := newHistogram()
	pid := o.pid()
	before := measure(pid)
	for n := int64(0); (o.Count <= 0 || n < o.Count) && (o.Duration <= 0 || time.Since(before.at) < o.Duration); n++ {
		if err = ctx.Err(); err != nil {
			break
		}
		began := time.Now()
		if err = createTopic(c, TopicName(o.Topic, int(o.Fill+n)), o.Queues); err != nil {
			break
		}
		record(h, time.Since(began))
		res.Messages++
		res.Requests++
	}
	res.account(pid, before, measure(pid))
	l := latencyOf(h)
	res.Send = &l
	return res, err
}

// TopicName is the name of a topic among several, as runs with Options.Topics use it.
func TopicName(topic string, n int) string { return fmt.Sprintf("%s_%05d", topic, n) }

// WriteTopics puts a table of topics into the folder of a store that no broker has open, as Apogee and Java read it when they start. What
// topics were there before is lost.
func WriteTopics(store, topic string, topics, queues int) error {
	w := body.TopicConfigSerializeWrapper{TopicConfigTable: map[string]*body.TopicConfig{}, DataVersion: body.NewDataVersion(time.Now()).Next(0, time.Now())}
	for i := range topics {
		name := TopicName(topic, i)
		w.TopicConfigTable[name] = topicOf(name, queues)
	}
	dir := filepath.Join(store, "config")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "topics.json"), fastjson.MarshalPretty(&w), 0o644)
}
