package conformance

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf16"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

func utf16s(s string) []uint16 { return utf16.Encode([]rune(s)) }

// silence takes the official client's log; its own has a global logger that writes to standard output.
type silence struct{}

func (silence) Debug(string, map[string]any)   {}
func (silence) Info(string, map[string]any)    {}
func (silence) Warning(string, map[string]any) {}
func (silence) Error(string, map[string]any)   {}
func (silence) Fatal(string, map[string]any)   {}
func (silence) Level(string)                   {}
func (silence) OutputPath(string) error        { return nil }

// Quiet silences the official client. Its logger belongs to the process, so this is for main and TestMain.
func Quiet() { rlog.SetLogger(silence{}) }

func resolver(namesrv ...string) primitive.NsResolver {
	return primitive.NewPassthroughResolver(namesrv)
}

// producer starts a producer of the official client.
func (t *T) producer(c *cluster, opts ...producer.Option) rocketmq.Producer {
	group := t.Name("PG")
	opts = append([]producer.Option{
		producer.WithNsResolver(resolver(c.namesrv)), producer.WithGroupName(group), producer.WithInstanceName(group),
		producer.WithRetry(1), producer.WithSendMsgTimeout(15 * time.Second),
	}, opts...)
	p, err := rocketmq.NewProducer(opts...)
	t.Must(err, "make a producer")
	t.Must(p.Start(), "start a producer")
	t.Cleanup(func() { _ = p.Shutdown() })
	return p
}

// sendSync sends with the official client and must succeed.
func (t *T) sendSync(p rocketmq.Producer, msgs ...*primitive.Message) *primitive.SendResult {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	res, err := p.SendSync(ctx, msgs...)
	t.Must(err, "send")
	if res.Status != primitive.SendOK {
		t.Fatalf("send: status %d, want SEND_OK", res.Status)
	}
	return res
}

// inbox collects what a consumer gets.
type inbox struct {
	mu   sync.Mutex
	msgs []*primitive.MessageExt
}

func (b *inbox) add(msgs ...*primitive.MessageExt) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.msgs = append(b.msgs, msgs...)
}

func (b *inbox) all() []*primitive.MessageExt {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]*primitive.MessageExt(nil), b.msgs...)
}

func (b *inbox) len() int { return len(b.all()) }

// bodies are the bodies so far, counted.
func (b *inbox) bodies() map[string]int {
	out := map[string]int{}
	for _, m := range b.all() {
		out[string(m.Body)]++
	}
	return out
}

// queuesOf are the queues that messages whose body begins with prefix came from, in order.
func (b *inbox) queuesOf(prefix string) []int {
	queues := map[int]bool{}
	for _, m := range b.all() {
		if strings.HasPrefix(string(m.Body), prefix) {
			queues[m.Queue.QueueId] = true
		}
	}
	return slices.Sorted(maps.Keys(queues))
}

type listener = func(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error)

// into is a listener that puts everything into the box.
func (b *inbox) into(_ context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	b.add(msgs...)
	return consumer.ConsumeSuccess, nil
}

// push makes a push consumer of the official client and starts it.
func (t *T) push(c *cluster, group, topic, expression string, f listener, opts ...consumer.Option) rocketmq.PushConsumer {
	return t.pushSelect(c, group, topic, consumer.MessageSelector{Type: consumer.TAG, Expression: expression}, f, opts...)
}

// pushSelect is push with any kind of expression.
func (t *T) pushSelect(c *cluster, group, topic string, selector consumer.MessageSelector, f listener, opts ...consumer.Option) rocketmq.PushConsumer {
	opts = append([]consumer.Option{
		consumer.WithNsResolver(resolver(c.namesrv)), consumer.WithGroupName(group), consumer.WithInstance(t.Name("C")),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset), consumer.WithPullInterval(0),
	}, opts...)
	pc, err := rocketmq.NewPushConsumer(opts...)
	t.Must(err, "make a consumer")
	t.Must(pc.Subscribe(topic, selector, f), "subscribe")
	t.Must(pc.Start(), "start a consumer")
	var once sync.Once
	t.Cleanup(func() { once.Do(func() { _ = pc.Shutdown() }) })
	return pc
}

// awaitBodies waits until the box has each of the bodies.
func (t *T) awaitBodies(b *inbox, limit time.Duration, want ...string) {
	t.Until(limit, "messages at the consumer", func() (bool, string) {
		got := b.bodies()
		for _, w := range want {
			if got[w] == 0 {
				return false, "has " + keysOf(got) + ", lacks " + w
			}
		}
		return true, ""
	})
}

func keysOf(m map[string]int) string {
	s := ""
	for k := range m {
		if len(s) > 200 {
			return s + "..."
		}
		s += k + " "
	}
	return "[ " + s + "]"
}

func message1(topic, body string) *primitive.Message {
	return primitive.NewMessage(topic, []byte(body))
}
