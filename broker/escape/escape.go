// Package escape stores elsewhere what a slave that acts for its master would have to store itself, and cannot, since its log is its master's
// (Java EscapeBridge; spec: store.md 22): delayed and timed messages that are due, messages that popped groups did not acknowledge, check
// points and acks of pops, half messages. With enableRemoteEscape they are sent to brokers of other names that have their topic.
package escape

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"apogee/broker/config"
	"apogee/broker/delay"
	"apogee/broker/meta"
	"apogee/broker/timer"
	"apogee/broker/transaction"
	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store"
	"apogee/store/record"
)

const (
	routeKept  = 30 * time.Second
	maxRoutes  = 10_000 // topics whose route is kept
	maxSending = 1024   // sends that nobody waits for on a goroutine of theirs
)

// ErrNowhere says that no other broker has a topic.
var ErrNowhere = errors.New("no other broker has the topic")

// Options configure a bridge. All of it is set.
type Options struct {
	Config *config.Live
	Caller remoting.Caller
	Log    *slog.Logger
	Now    func() time.Time
	// Acting tells whether this broker acts for its master.
	Acting func() bool
	// Route asks the name servers for a topic's route.
	Route func(ctx context.Context, topic string) (*body.TopicRouteData, error)
}

// Bridge sends messages to other brokers.
type Bridge struct {
	Options
	ctx     context.Context // ends with the broker
	turn    atomic.Uint32
	sending chan struct{}
	work    sync.WaitGroup

	mu     sync.Mutex // guards routes; a leaf
	routes map[string]*targets
}

// targets are the queues of a topic at other brokers.
type targets struct {
	queues []target
	at     time.Time
}

type target struct {
	addr  string
	queue int32
}

// New makes a bridge whose sends end with ctx.
func New(ctx context.Context, o Options) *Bridge {
	return &Bridge{Options: o, ctx: ctx, sending: make(chan struct{}, maxSending), routes: make(map[string]*targets)}
}

// Wait returns when nothing is being sent any more.
func (b *Bridge) Wait() { b.work.Wait() }

// On tells whether what this broker would store is sent elsewhere.
func (b *Bridge) On() bool {
	c := b.Config.Get()
	return !c.Master() && c.SlaveActing && c.RemoteEscape && b.Acting()
}

// Send stores a message at another broker, and returns when it has been acknowledged there.
func (b *Bridge) Send(ctx context.Context, m *record.Message) error {
	out, topic := b.request(m)
	to, err := b.find(ctx, topic)
	if err != nil {
		return err
	}
	return b.send(ctx, to, out, topic)
}

// request is a message as it is sent. It refers to nothing of m.
func (b *Bridge) request(m *record.Message) (out remoting.Outgoing, topic string) {
	c := b.Config.Get()
	topic, sys, props := m.Topic, m.SysFlag, m.Properties
	switch {
	case topic == meta.HalfTopic:
		topic = record.Property(props, record.PropRealTopic)
		sys |= record.SysTranPrepared
		props = string(record.SetProperty(nil, without(props, transaction.PropPreparedAt, record.PropRealQueue), transaction.PropHalf, "true"))
	case topic != timer.Topic:
		// It is due: nobody is to delay it once more.
		props = without(props, record.PropDelay, timer.PropDelaySec, timer.PropDelayMs, timer.PropDeliver)
	}
	group := record.Property(props, transaction.PropProducerGroup)
	if group == "" {
		group = "InnerProducerGroup_" + c.Name + "_" + strconv.FormatInt(c.ID, 10)
	}
	h := &header.SendMessageRequest{
		ProducerGroup: clone(group), Topic: clone(topic), DefaultTopic: meta.AutoCreateTopic, DefaultTopicQueueNums: 8, SysFlag: sys,
		BornTimestamp: m.BornTimestamp, Flag: m.Flag, Properties: clone(props), ReconsumeTimes: header.Some(m.ReconsumeTimes), Batch: header.Some(false),
	}
	return remoting.Outgoing{Code: code.SendMessage, Header: h, Body: append([]byte(nil), m.Body...)}, h.Topic
}

func clone(s string) string { return string(append([]byte(nil), s...)) }

func without(props string, names ...string) string {
	for _, n := range names {
		props = record.DeleteProperty(props, n)
	}
	return props
}

func (b *Bridge) send(ctx context.Context, to target, out remoting.Outgoing, topic string) error {
	ctx, cancel := context.WithTimeout(ctx, b.Config.Get().EscapeTimeout)
	defer cancel()
	out.Header.(*header.SendMessageRequest).QueueID = to.queue
	resp, err := b.Caller.Call(ctx, to.addr, out)
	if err != nil {
		b.forget(topic)
		return fmt.Errorf("send a message of %s to %s: %w", topic, to.addr, err)
	}
	switch resp.Code {
	case code.Success, code.FlushDiskTimeout, code.FlushSlaveTimeout, code.SlaveNotAvailable: // it is there
		return nil
	}
	b.forget(topic)
	return fmt.Errorf("send a message of %s to %s: answer %d: %s", topic, to.addr, resp.Code, resp.Remark)
}

// find picks a queue at another broker, one after the other.
func (b *Bridge) find(ctx context.Context, topic string) (target, error) {
	b.mu.Lock()
	t := b.routes[topic]
	b.mu.Unlock()
	if t == nil || b.Now().Sub(t.at) > routeKept {
		ctx, cancel := context.WithTimeout(ctx, b.Config.Get().EscapeTimeout)
		defer cancel()
		route, err := b.Route(ctx, topic)
		if err != nil {
			return target{}, err
		}
		t = b.targets(route)
		b.mu.Lock()
		if len(b.routes) >= maxRoutes {
			clear(b.routes)
		}
		b.routes[topic] = t
		b.mu.Unlock()
	}
	if len(t.queues) == 0 {
		return target{}, fmt.Errorf("%s: %w", topic, ErrNowhere)
	}
	return t.queues[int(b.turn.Add(1)-1)%len(t.queues)], nil
}

func (b *Bridge) forget(topic string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.routes, topic)
}

// targets are the writable queues at masters of other names.
func (b *Bridge) targets(route *body.TopicRouteData) *targets {
	own := b.Config.Get().Name
	masters := make(map[string]string)
	for _, d := range route.BrokerDatas {
		if addr := d.BrokerAddrs[body.MasterID]; addr != "" && d.BrokerName != own {
			masters[d.BrokerName] = addr
		}
	}
	t := &targets{at: b.Now()}
	for _, q := range route.QueueDatas {
		addr := masters[q.BrokerName]
		if addr == "" || q.Perm&body.PermWrite == 0 {
			continue
		}
		for id := range q.WriteQueueNums {
			t.queues = append(t.queues, target{addr, id})
		}
	}
	return t
}

// Fetch is the record of a message at a broker of another name, nil if it is not there any more. An error means that nobody can tell now.
func (b *Bridge) Fetch(ctx context.Context, broker, topic string, queue int32, off int64) ([]byte, error) {
	c := b.Config.Get()
	ctx, cancel := context.WithTimeout(ctx, c.EscapeTimeout)
	defer cancel()
	route, err := b.Route(ctx, topic)
	if err != nil {
		return nil, err
	}
	addr := ""
	for _, d := range route.BrokerDatas {
		if d.BrokerName == broker && len(d.BrokerAddrs) > 0 {
			addr = d.BrokerAddrs[slices.Min(slices.Collect(maps.Keys(d.BrokerAddrs)))]
		}
	}
	if addr == "" {
		return nil, fmt.Errorf("broker %s is not in the route of %s", broker, topic)
	}
	const oneOf = 4 // the subscription is in the request
	resp, err := b.Caller.Call(ctx, addr, remoting.Outgoing{Code: code.PullMessage, Header: &header.PullMessageRequest{
		ConsumerGroup: "InnerConsumerGroup_" + c.Name + "_" + strconv.FormatInt(c.ID, 10), Topic: topic, QueueID: queue, QueueOffset: off,
		MaxMsgNums: 1, SysFlag: oneOf, Subscription: "*", SubVersion: b.Now().UnixMilli(), ExpressionType: "TAG",
	}})
	if err != nil {
		return nil, err
	}
	switch resp.Code {
	case code.Success:
		if len(resp.Body) < record.MinSize || record.QueueOffsetOf(resp.Body) != off {
			return nil, nil // it was compacted, and another one comes behind it
		}
		return resp.Body[:min(len(resp.Body), int(record.SizeOf(resp.Body)))], nil
	case code.PullNotFound, code.PullOffsetMoved, code.PullRetryImmediately:
		return nil, nil
	}
	return nil, fmt.Errorf("message %d of %s from %s: answer %d: %s", off, topic, addr, resp.Code, resp.Remark)
}

// put is Put or Stage: whoever has a completion hears by it, others wait.
func (b *Bridge) put(m *record.Message, c store.Completion) store.PutResult {
	if c == nil {
		if err := b.Send(b.ctx, m); err != nil {
			return failed(err)
		}
		return store.PutResult{Status: store.PutOK, Count: 1}
	}
	out, topic := b.request(m)
	select {
	case b.sending <- struct{}{}:
	default:
		return store.PutResult{Status: store.OSPageCacheBusy, Err: fmt.Errorf("%d messages are on their way to other brokers", maxSending)}
	}
	b.work.Go(func() {
		defer func() { <-b.sending }()
		to, err := b.find(b.ctx, topic)
		if err == nil {
			err = b.send(b.ctx, to, out, topic)
		}
		if err != nil {
			b.Log.Warn("message is not stored elsewhere", "topic", topic, "err", err)
			c.Complete(store.PutToRemoteBrokerFail)
			return
		}
		c.Complete(store.PutOK)
	})
	return store.PutResult{Status: store.PutOK, Count: 1, Pending: true}
}

func failed(err error) store.PutResult {
	return store.PutResult{Status: store.PutToRemoteBrokerFail, Err: err}
}

// Store is the broker's store for those who only add to it: what they put goes where the bridge sends it while it is on.
type Store struct {
	*store.Store
	Bridge *Bridge
}

// Put is the store's Put, or a send.
func (s *Store) Put(m *record.Message, c store.Completion) store.PutResult {
	if s.Bridge.On() {
		return s.Bridge.put(m, c)
	}
	return s.Store.Put(m, c)
}

// Stage is the store's Stage, or a send, which leaves Commit nothing to do.
func (s *Store) Stage(m *record.Message, c store.Completion) store.PutResult {
	if s.Bridge.On() {
		return s.Bridge.put(m, c)
	}
	return s.Store.Stage(m, c)
}

var _ delay.Store = (*Store)(nil)
