package conformance

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"apogee/conformance/wire"
	"apogee/remoting/code"
)

// officialReply asks and answers with the official Go client, with and without what its reply helper forgets.
func officialReply(t *T) {
	topic := t.Name("Ask")
	t.dial(t.shared.broker).topic(topic, topicConf{})
	replier := t.producer(t.shared)
	replied := make(chan error, 8)
	t.push(t.shared, t.Name("G"), topic, "*", func(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range msgs {
			reply, err := consumer.CreateReplyMessage(m, nil)
			if err == nil {
				if !strings.Contains(string(m.Body), "no body") {
					reply.Body = append([]byte("answer to "), m.Body...)
				}
				_, err = replier.SendSync(ctx, reply)
			}
			select {
			case replied <- err:
			default:
			}
		}
		return consumer.ConsumeSuccess, nil
	})
	asker := t.producer(t.shared)
	ask := func(text string, wait time.Duration) (*primitive.Message, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*wait)
		defer cancel()
		return asker.Request(ctx, wait, message1(topic, text))
	}
	// The asker becomes known to the broker with a heartbeat, and those come every 30 s: until then its replies find nobody.
	var got *primitive.Message
	var err error
	t.Until(100*time.Second, "a reply", func() (bool, string) {
		got, err = ask("question", 5*time.Second)
		last := ""
		select {
		case err := <-replied:
			last = fmt.Sprint(err)
		default:
		}
		return err == nil, fmt.Sprintf("asked: %v, replied: %s", err, last)
	})
	Equal(t, "reply", string(got.Body), "answer to question")
	if t.Target != nil && t.Target.Name() == "apogee" { // a null pointer in Java, as docs/deviations.md says
		got, err = ask("no body, please", 20*time.Second)
		t.Must(err, "ask for a reply without a body")
		Equal(t, "length of the body", len(got.Body), 0)
	}
	bare := message{
		topic: t.replyTopic(), body: []byte{}, properties: wire.Properties("CORRELATION_ID", "c-3", "REPLY_TO_CLIENT", "nobody@1", "MSG_TYPE", "reply", "TTL", "5000"),
	}
	t.dial(t.shared.broker).want(code.SystemError, code.SendReplyMessageV2, bare.short(), nil)
}

// replyTopic is where replies are stored.
func (t *T) replyTopic() string {
	v := t.dial(t.shared.namesrv).json(code.GetBrokerClusterInfo, nil, nil)
	cluster, _ := wire.At(v, "brokerAddrTable", t.shared.brokerName, "cluster").(string)
	return cluster + "_REPLY_TOPIC"
}
