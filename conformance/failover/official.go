package failover

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

const officialGroup = "FailoverOfficial"

// official is a push consumer of the Go client.
type official struct {
	client rocketmq.PushConsumer
	gate   sync.RWMutex // held for writing while nothing is to be consumed; a leaf otherwise

	mu     sync.Mutex // guards what follows
	had    map[string]bool
	at     []time.Time // of each delivery
	newest time.Time   // when the newest of what was delivered was sent
	before int         // how many had been delivered when it last fell behind
}

func newOfficial(namesrv string) (*official, error) {
	o := &official{had: map[string]bool{}}
	c, err := rocketmq.NewPushConsumer(
		consumer.WithNsResolver(primitive.NewPassthroughResolver([]string{namesrv})), consumer.WithGroupName(officialGroup),
		consumer.WithInstance(officialGroup), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset), consumer.WithPullInterval(0),
		consumer.WithPullBatchSize(atOnce), consumer.WithPullThresholdForQueue(atOnce), consumer.WithConsumeGoroutineNums(1),
	)
	if err != nil {
		return nil, err
	}
	o.client = c
	err = c.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}, func(_ context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		o.gate.RLock()
		defer o.gate.RUnlock()
		for _, m := range msgs {
			o.take(m)
		}
		return consumer.ConsumeSuccess, nil
	})
	if err != nil {
		return nil, err
	}
	return o, c.Start()
}

func (o *official) close() { _ = o.client.Shutdown() }

func (o *official) take(m *primitive.MessageExt) {
	id, _, _ := strings.Cut(string(m.Body), " ")
	o.mu.Lock()
	defer o.mu.Unlock()
	o.had[id] = true
	o.at = append(o.at, time.Now())
	if sent := time.UnixMilli(m.BornTimestamp); sent.After(o.newest) {
		o.newest = sent
	}
}

// inMemory is more than the client holds of messages that it has not consumed.
const inMemory = 3 * queues * atOnce

// fallBehind has messages wait that the client has not fetched yet, until f returns.
func (o *official) fallBehind(ctx context.Context, f func() error) error {
	o.gate.Lock()
	defer o.gate.Unlock()
	pause(ctx, 2*time.Second)
	// Counted while nothing is consumed: a client that goes on at once may be at the end before anybody looks, and nobody sends meanwhile.
	o.mu.Lock()
	o.before = len(o.at)
	o.mu.Unlock()
	return f()
}

// goesOn waits until something is delivered that was not in the client's memory when it fell behind, and tells when.
func (o *official) goesOn(ctx context.Context) (at time.Time, err error) {
	err = until(ctx, patience, "the Go client's consumer goes on at the slave", func() (bool, string) {
		o.mu.Lock()
		defer o.mu.Unlock()
		if len(o.at) < o.before+inMemory {
			return false, fmt.Sprintf("%d messages", len(o.at)-o.before)
		}
		at = o.at[o.before+inMemory-1]
		return true, ""
	})
	return at, err
}

// isBack waits until something is delivered that the master took after a time, and tells when.
func (o *official) isBack(ctx context.Context, after time.Time) (at time.Time, err error) {
	err = until(ctx, patience, "the Go client's consumer is back at the master", func() (bool, string) {
		o.mu.Lock()
		defer o.mu.Unlock()
		at = time.Now()
		return o.newest.After(after), fmt.Sprintf("the newest is of %v, due is one after %v", o.newest, after)
	})
	return at, err
}

// lacks tells how many of some messages were not delivered, and the first of them.
func (o *official) lacks(ids []string) (n int, first string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, id := range ids {
		if !o.had[id] {
			if n++; first == "" {
				first = id
			}
		}
	}
	return n, first
}

// producers send with the Go client, each in its own order.
type producers struct {
	book *book
	done sync.WaitGroup

	mu      sync.Mutex // guards what follows
	failed  []failure
	weak    map[primitive.SendStatus]int // acknowledged with less than was asked for
	slowest time.Duration
}

// failure is a send that failed with all of its retries.
type failure struct {
	at, until time.Time // when it began, and when the next one that succeeded was acknowledged
	err       error
}

// start starts a producer that sends without pause until ctx ends. The Go client's retries take the next queue, whichever broker has it:
// there have to be more of them than a broker has queues.
func (s *producers) start(ctx context.Context, namesrv, name string) error {
	p, err := rocketmq.NewProducer(
		producer.WithNsResolver(primitive.NewPassthroughResolver([]string{namesrv})), producer.WithGroupName("Failover"+name),
		producer.WithInstanceName(name), producer.WithRetry(queues),
	)
	if err != nil {
		return err
	}
	if err := p.Start(); err != nil {
		return err
	}
	s.done.Go(func() {
		defer func() { _ = p.Shutdown() }()
		for n := 1; pause(ctx, 4*time.Millisecond); n++ {
			s.send(p, fmt.Sprint(name, "-", n), n)
		}
	})
	return nil
}

func (s *producers) send(p rocketmq.Producer, id string, n int) {
	m := primitive.NewMessage(topic, filled(id, n))
	m.WithKeys([]string{id})
	began := time.Now()
	// The client's own time-outs, 3 s an attempt, are what counts; ctx must not be over before.
	res, err := p.SendSync(context.Background(), m)
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slowest = max(s.slowest, now.Sub(began))
	if err != nil {
		s.failed = append(s.failed, failure{at: began, err: err})
		return
	}
	for i := len(s.failed) - 1; i >= 0 && s.failed[i].until.IsZero(); i-- {
		s.failed[i].until = now
	}
	if res.Status != primitive.SendOK {
		if s.weak == nil {
			s.weak = map[primitive.SendStatus]int{}
		}
		s.weak[res.Status]++
	}
	s.book.confirm(place{res.MessageQueue.BrokerName, res.MessageQueue.QueueId}, res.QueueOffset, id)
}

// count is how many sends have failed.
func (s *producers) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.failed)
}

// since is how many have failed since there were so many, for how long, and why.
func (s *producers) since(n int) (d time.Duration, failed int, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.failed[n:]
	if len(list) == 0 {
		return 0, 0, nil
	}
	end := list[len(list)-1].until
	if end.IsZero() { // still failing
		end = time.Now()
	}
	return end.Sub(list[0].at), len(list), list[0].err
}
