package bench

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// Options say what load to make. Each run uses the ones that concern it.
type Options struct {
	Broker        string // address
	Topic         string
	Topics        int // send: so many topics in turn, named Topic_00001 and on
	Queues        int
	Create        bool // create the topics first
	Group         string
	Connections   int
	InFlight      int // requests without answer on each connection
	Body          int // bytes
	Batch         int // messages in a batch, or in a pull
	Wait          bool
	Keys          bool // also an index key for each message
	Serialization Serialization
	Warmup        time.Duration
	Duration      time.Duration
	Count         int64         // end after so many messages, if not 0; latency: instead of a rate, as fast as InFlight lets them, and measured until all are delivered
	Fill          int64         // pull: send so many first if the topic has fewer
	Rate          int           // latency: messages a second
	Groups        int           // latency: consumer groups that follow the topic; 0 is one, negative is none
	Consumers     int           // latency: connections of each group; 0 is as many as Connections
	Properties    string        // of each message besides those that every message has, as they are stored: key, 1, value, 2
	SQL           string        // pull: the expression that the group has subscribed with
	Level         int           // latency: delay level of each message
	After         time.Duration // latency: what that delays by; delays of delivery count from then
	BatchAck      bool          // pop: acknowledge a queue's messages with one request
	Back          bool          // latency: consumers send each message back once, with the delay level; its delivery from the retry topic counts
	sysFlag       int           // of each message
	PID           int           // of the broker; 0: find it by its port
	Slave         string        // send: address of the broker's slave, whose processor time counts too and who has to get everything; "" for none
	Progress      io.Writer
}

func (o *Options) check() error {
	var errs []error
	bad := func(is bool, format string, args ...any) {
		if is {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(o.Broker == "", "%w", errNoBroker)
	bad(o.Topic == "", "no topic")
	bad(o.Topics < 0 || o.Topics > 99999, "topics: %d is not in 1..99999", o.Topics)
	bad(o.Queues < 1 || o.Queues > 10000, "queues: %d is not in 1..10000", o.Queues)
	bad(o.Connections < 1 || o.Connections > 20000, "connections: %d is not in 1..20000", o.Connections)
	bad(o.InFlight < 1 || o.InFlight > 1<<20, "in flight: %d is not in 1..%d", o.InFlight, 1<<20)
	bad(o.Body < 1 || o.Body > 4<<20, "body: %d is not in 1..%d", o.Body, 4<<20)
	bad(o.Batch < 1 || o.Batch > 10000, "batch: %d is not in 1..10000", o.Batch)
	bad(o.Duration <= 0 && o.Count <= 0, "neither a duration nor a count")
	return errors.Join(errs...)
}

// pid is the broker's process, 0 if it cannot be looked at.
func (o *Options) pid() int {
	if o.PID != 0 {
		return o.PID
	}
	pid, err := Listener(o.Broker)
	if err != nil {
		return 0
	}
	return pid
}

// topics are the names in use.
func (o *Options) topics() []string {
	if o.Topics <= 1 {
		return []string{o.Topic}
	}
	var out []string
	for i := range o.Topics {
		out = append(out, fmt.Sprintf("%s_%05d", o.Topic, i))
	}
	return out
}

func (o *Options) prepare() error {
	if !o.Create {
		return nil
	}
	c, err := dial(o.Broker)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	for _, t := range o.topics() {
		if err := createTopic(c, t, o.Queues); err != nil {
			return err
		}
	}
	return nil
}
