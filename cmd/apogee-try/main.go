// Command apogee-try sends one message and receives it with the official Go client, and says what it does. It is what
// bin/quickstart ends with, and a look at how little a client needs. It is a program of its own so that the servers don't carry
// the client.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

const (
	producerGroup = "quickstart_producer"
	consumerGroup = "quickstart_consumer"
)

func main() {
	namesrv := flag.String("namesrv", "127.0.0.1:9876", "address of the name server")
	topic := flag.String("topic", "QuickStart", "topic; the broker creates it when it is first used")
	wait := flag.Duration("wait", 45*time.Second, "when to give up")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *wait)
	defer cancel()
	rlog.SetLogger(quiet{})
	if err := try(ctx, *namesrv, *topic); err != nil {
		fmt.Fprintln(os.Stderr, "apogee-try:", err)
		os.Exit(1)
	}
}

// try sends a message and waits until it comes back.
func try(ctx context.Context, namesrv, topic string) error {
	resolver := primitive.NewPassthroughResolver([]string{namesrv})
	body := "Hello RocketMQ, it is " + time.Now().Format(time.RFC3339Nano)

	p, err := rocketmq.NewProducer(
		producer.WithNsResolver(resolver), producer.WithGroupName(producerGroup), producer.WithInstanceName("quickstart-p"))
	if err != nil {
		return fmt.Errorf("make a producer: %w", err)
	}
	if err := p.Start(); err != nil {
		return fmt.Errorf("start a producer: %w", err)
	}
	defer func() { _ = p.Shutdown() }()
	sent, err := send(ctx, p, primitive.NewMessage(topic, []byte(body)))
	if err != nil {
		return err
	}
	fmt.Printf("sent      %q\n          to %s, queue %d, offset %d, id %s\n",
		body, topic, sent.MessageQueue.QueueId, sent.QueueOffset, sent.MsgID)

	got := make(chan *primitive.MessageExt, 1)
	c, err := rocketmq.NewPushConsumer(
		consumer.WithNsResolver(resolver), consumer.WithGroupName(consumerGroup), consumer.WithInstance("quickstart-c"),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	if err != nil {
		return fmt.Errorf("make a consumer: %w", err)
	}
	err = c.Subscribe(topic, consumer.MessageSelector{},
		func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			for _, m := range messages {
				if m.MsgId == sent.MsgID {
					select {
					case got <- m:
					default:
					}
				}
			}
			return consumer.ConsumeSuccess, nil
		})
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	if err := c.Start(); err != nil {
		return fmt.Errorf("start a consumer: %w", err)
	}
	defer func() { _ = c.Shutdown() }()

	select {
	case m := <-got:
		fmt.Printf("received  %q\n          stored by %s at %s\n", m.Body, m.StoreHost, time.UnixMilli(m.StoreTimestamp).Format(time.RFC3339Nano))
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the message was sent but did not come back: %w", ctx.Err())
	}
}

// send tries until the broker has taken the message: right after its start the name server may not know it yet.
func send(ctx context.Context, p rocketmq.Producer, m *primitive.Message) (*primitive.SendResult, error) {
	for {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		res, err := p.SendSync(attempt, m)
		cancel()
		if err == nil && res.Status == primitive.SendOK {
			return res, nil
		}
		if err == nil {
			err = fmt.Errorf("status %d", res.Status)
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("send: %w", err), ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// quiet takes the client's log, which otherwise goes to the terminal.
type quiet struct{}

func (quiet) Debug(string, map[string]any)   {}
func (quiet) Info(string, map[string]any)    {}
func (quiet) Warning(string, map[string]any) {}
func (quiet) Error(string, map[string]any)   {}
func (quiet) Fatal(string, map[string]any)   {}
func (quiet) Level(string)                   {}
func (quiet) OutputPath(string) error        { return nil }
