package processor_test

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"apogee/broker/processor"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store/record"
)

// These tests go over the network to a whole broker with a real store.

// caller makes requests over one connection.
type caller struct {
	t      *testing.T
	client *remoting.Client
	addr   string
}

func dial(t *testing.T, addr string) *caller {
	c := &caller{t: t, client: remoting.NewClient(remoting.ClientOptions{}), addr: addr}
	t.Cleanup(c.client.Close)
	return c
}

func (c *caller) try(code int32, e ext, body string) (*remoting.Response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var f header.Fields
	for _, k := range slices.Sorted(maps.Keys(e)) {
		f = append(f, header.Pair{Key: k, Value: e[k]})
	}
	return c.client.Call(ctx, c.addr, remoting.Outgoing{Code: code, Header: f, Body: []byte(body)})
}

func (c *caller) call(code int32, e ext, body string) *remoting.Response {
	c.t.Helper()
	res, err := c.try(code, e, body)
	if err != nil {
		c.t.Fatal(err)
	}
	return res
}

// TestEveryMessageArrives has consumers follow producers on a whole broker, in both flush modes; each must see each message once and in
// order, whether it waits for it or finds it.
func TestEveryMessageArrives(t *testing.T) {
	for _, mode := range []string{"ASYNC_FLUSH", "SYNC_FLUSH"} {
		t.Run(mode, func(t *testing.T) {
			b := startBroker(t, map[string]string{"flushDiskType": mode})
			addr := b.Addr().String()
			first := dial(t, addr)
			if res := first.call(code.SendMessage, sendTo("tQ", "queueId", "3"), "creates the topic"); res.Code != 0 {
				t.Fatal(res.Remark)
			}
			const messages, queues = 200, 3
			var wg sync.WaitGroup
			for q := range queues {
				queue := fmt.Sprint(q)
				for _, group := range []string{"g1", "g2"} {
					c := dial(t, addr)
					wg.Go(func() { follow(t, c, group, queue, messages) })
				}
				c := dial(t, addr)
				wg.Go(func() {
					for i := range messages {
						if res, err := c.try(code.SendMessage, sendTo("tQ", "queueId", queue), fmt.Sprint(i)); err != nil || res.Code != 0 {
							t.Errorf("send: %v %v", res, err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

func follow(t *testing.T, c *caller, group, queue string, messages int) {
	for off := 0; off < messages; {
		res, err := c.try(code.PullMessage, pullFrom("tQ", "consumerGroup", group, "queueId", queue, "queueOffset", fmt.Sprint(off), "sysFlag", "6", "suspendTimeoutMillis", "15000"), "")
		if err != nil {
			t.Errorf("pull: %v", err)
			return
		}
		if res.Code != 0 {
			continue
		}
		for _, text := range strings.Fields(processor.Bodies(t, res.Body)) {
			if text != fmt.Sprint(off) {
				t.Errorf("%s, queue %s: %q at %d", group, queue, text, off)
				return
			}
			off++
		}
	}
}

// TestHeldPullDiesWithItsConnection closes connections that wait; the broker must forget them, and end in time.
func TestHeldPullDiesWithItsConnection(t *testing.T) {
	b := startBroker(t, nil)
	addr := b.Addr().String()
	sender := dial(t, addr)
	sender.call(code.SendMessage, sendTo("tH"), "x")
	gone := remoting.NewClient(remoting.ClientOptions{})
	ctx, cancel := context.WithCancel(context.Background())
	answered := make(chan error, 1)
	go func() {
		_, err := gone.Call(ctx, addr, remoting.Outgoing{Code: code.PullMessage, Header: fieldsOf(pullFrom("tH", "queueOffset", "1", "sysFlag", "7", "commitOffset", "1", "suspendTimeoutMillis", "60000"))})
		answered <- err
	}()
	live := make(chan *remoting.Response, 1)
	waiting := dial(t, addr)
	go func() {
		res, _ := waiting.try(code.PullMessage, pullFrom("tH", "consumerGroup", "cg2", "queueOffset", "1", "sysFlag", "7", "commitOffset", "1", "suspendTimeoutMillis", "10000"), "")
		live <- res
	}()
	// What they commit tells that both have got there.
	for _, group := range []string{"cg", "cg2"} {
		for {
			res := sender.call(code.QueryConsumerOffset, ext{"consumerGroup": group, "topic": "tH", "queueId": "0"}, "")
			if off, _ := res.Fields.Get("offset"); off == "1" {
				break
			}
		}
	}
	gone.Close()
	cancel()
	if err := <-answered; err == nil {
		t.Error("a pull on a closed connection is answered")
	}
	sender.call(code.SendMessage, sendTo("tH"), "y")
	if res := <-live; res == nil || res.Code != 0 || processor.Bodies(t, res.Body) != "y" {
		t.Errorf("the other one's answer: %+v", res)
	}
}

func fieldsOf(e ext) header.Fields {
	var f header.Fields
	for _, k := range slices.Sorted(maps.Keys(e)) {
		f = append(f, header.Pair{Key: k, Value: e[k]})
	}
	return f
}

// TestDelayedMessagesOutliveTheBroker stops a broker with messages that wait, and has the next one deliver each once.
func TestDelayedMessagesOutliveTheBroker(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	settings := map[string]string{"storePathRootDir": dir, "messageDelayLevel": "1s 2s"}
	b := startBroker(t, settings)
	c := dial(t, b.Addr().String())
	for i := range 4 {
		level := fmt.Sprint(i%2 + 1)
		if res := c.call(code.SendMessage, sendTo("tD", "properties", processor.Props("DELAY="+level)), "delayed"+level); res.Code != 0 {
			t.Fatal(res.Remark)
		}
	}
	// Level 1 is delivered by the first broker.
	res := c.call(code.PullMessage, pullFrom("tD", "sysFlag", "6", "suspendTimeoutMillis", "10000", "queueOffset", "0"), "")
	if res.Code != 0 {
		t.Fatalf("%d %s", res.Code, res.Remark)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := b.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	b = startBroker(t, settings)
	c = dial(t, b.Addr().String())
	var got []string
	for len(got) < 4 {
		res := c.call(code.PullMessage, pullFrom("tD", "sysFlag", "6", "suspendTimeoutMillis", "10000", "queueOffset", fmt.Sprint(len(got))), "")
		if res.Code != 0 {
			t.Fatalf("%d %s after %v", res.Code, res.Remark, got)
		}
		got = append(got, strings.Fields(processor.Bodies(t, res.Body))...)
	}
	if want := []string{"delayed1", "delayed1", "delayed2", "delayed2"}; !slices.Equal(got, want) {
		t.Errorf("delivered %v", got)
	}
}

// TestSendBackComesAgain sends a message back until it is a dead letter.
func TestSendBackComesAgain(t *testing.T) {
	b := startBroker(t, map[string]string{"messageDelayLevel": "1s 1s 1s 1s 1s"})
	c := dial(t, b.Addr().String())
	c.call(code.SendMessage, sendTo("tB", "properties", processor.Props("UNIQ_KEY=once", "TAGS=t")), "again")
	c.call(30, atQueue("tB", "0"), "")
	physical, topic := "0", "tB"
	for attempt := range 3 {
		res := c.call(code.ConsumerSendMsgBack, ext{"offset": physical, "group": "gB", "delayLevel": "0", "maxReconsumeTimes": "2"}, "")
		if res.Code != 0 {
			t.Fatalf("attempt %d: %s", attempt, res.Remark)
		}
		topic = "%RETRY%gB"
		if attempt == 2 {
			topic = "%DLQ%gB"
			attempt = 0
		}
		res = c.call(code.PullMessage, pullFrom(topic, "consumerGroup", "gB", "queueOffset", fmt.Sprint(attempt), "sysFlag", "6", "suspendTimeoutMillis", "10000"), "")
		for res.Code == code.PullNotFound || res.Code == code.TopicNotExist {
			res = c.call(code.PullMessage, pullFrom(topic, "consumerGroup", "gB", "queueOffset", fmt.Sprint(attempt), "sysFlag", "6", "suspendTimeoutMillis", "10000"), "")
		}
		var m record.Message
		if err := record.Decode(res.Body, &m); err != nil {
			t.Fatalf("%s: %d %s: %v", topic, res.Code, res.Remark, err)
		}
		if string(m.Body) != "again" || record.Property(m.Properties, "RETRY_TOPIC") != "tB" || record.Property(m.Properties, "UNIQ_KEY") != "once" {
			t.Errorf("%s: %+v", topic, m)
		}
		physical = fmt.Sprint(m.PhysicalOffset)
	}
}
