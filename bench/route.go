package bench

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"time"

	"apogee/compat/body"
)

// Request codes of name servers.
const (
	codeRegisterBroker = 103
	codeGetRoute       = 105
)

// routeBroker is the broker that a run of route queries registers; it does not exist.
const (
	routeBroker  = "bench-routes"
	routeCluster = "BenchRoutes"
	routeAddr    = "127.0.0.1:10911"
)

// RegisterTopics tells a name server of a broker with topics, without there being one. Name servers forget a broker when the connection over
// which it registered ends, so what is returned has to stay open as long as the routes are needed. They also forget one that is silent;
// an hour is enough for any run.
func RegisterTopics(namesrv string, topics []string, queues int) (io.Closer, error) {
	b := &body.RegisterBrokerBody{}
	w := &b.TopicConfigSerializeWrapper
	w.DataVersion = body.NewDataVersion(time.Now())
	w.TopicConfigTable = map[string]*body.TopicConfig{}
	for _, name := range topics {
		w.TopicConfigTable[name] = topicOf(name, queues)
	}
	text := b.Encode(false)
	c, err := dial(namesrv)
	if err != nil {
		return nil, fmt.Errorf("name server: %w", err)
	}
	a, err := c.call(JSON, codeRegisterBroker, []pair{
		{"brokerName", routeBroker},
		{"brokerAddr", routeAddr},
		{"clusterName", routeCluster},
		{"haServerAddr", "127.0.0.1:10912"},
		{"brokerId", "0"},
		{"heartbeatTimeoutMillis", strconv.FormatInt(time.Hour.Milliseconds(), 10)},
		{"compressed", "false"},
		{"bodyCrc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE(text)&0x7fffffff), 10)},
	}, text)
	if err == nil && a.code != 0 {
		err = errors.New(a.text())
	}
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("register %d topics with name server %s: %w", len(topics), namesrv, err)
	}
	return c, nil
}

func topicOf(name string, queues int) *body.TopicConfig {
	t := body.NewTopicConfig(name)
	t.ReadQueueNums, t.WriteQueueNums = int32(queues), int32(queues)
	return &t
}

// Route asks a name server, which is Options.Broker here, for the routes of Options.Topics topics in turn. With Create it registers
// them first. Messages are queries; the broker's processor time is the name server's.
func Route(ctx context.Context, o Options) (Result, error) {
	res := Result{
		Kind: "route", Broker: o.Broker,
		Settings: fmt.Sprintf("%d connections with %d in flight, %d topics of %d queues", o.Connections, o.InFlight, max(1, o.Topics), o.Queues),
	}
	o.Body, o.Batch = 1, 1 // of no concern here
	if err := o.check(); err != nil {
		return res, err
	}
	if o.Create {
		registered, err := RegisterTopics(o.Broker, o.topics(), o.Queues)
		if err != nil {
			return res, err
		}
		defer func() { _ = registered.Close() }()
	}
	r := &run{opts: o}
	var workers []worker
	defer func() {
		for _, w := range workers {
			_ = w.Close()
		}
	}()
	for range o.Connections {
		s, err := newAsker(r, routeTemplate(&o))
		if err != nil {
			return res, err
		}
		workers = append(workers, s)
	}
	h, err := r.drive(ctx, workers, &res)
	res.Bytes = 0
	l := latencyOf(h)
	res.Send = &l
	return res, err
}

// newAsker is a sender of another kind of request: it counts answers as a sender does.
func newAsker(r *run, t template) (*sender, error) {
	c, err := dial(r.opts.Broker)
	if err != nil {
		return nil, err
	}
	count := newTally()
	n := r.opts.InFlight
	s := &sender{
		conn: c, tally: &count, run: r, per: 1, began: make([]int64, n), measured: make([]bool, n), start: time.Now(),
		templates: []template{t}, place: []places{{t.places[markKey], t.places[markBorn], t.places[markTopic]}},
	}
	for i := range n {
		s.free = append(s.free, i)
	}
	return s, nil
}

func routeTemplate(o *Options) template {
	topic := o.Topic
	if o.Topics > 1 {
		topic += markTopic
	}
	return makeTemplate(o.Serialization, codeGetRoute, []pair{{"topic", topic}, {"acceptStandardJsonOnly", "true"}}, nil, markTopic)
}
