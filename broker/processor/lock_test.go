package processor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"apogee/broker/config"
	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/remoting"
	"apogee/remoting/code"
)

// fakePeers are replicas by their answers: the queues that each grants, or an error.
type fakePeers struct {
	mu    sync.Mutex
	grant map[string]func(*body.LockBatchRequestBody) ([]body.MessageQueue, error)
	asked []string
}

func (f *fakePeers) Members() map[int64]string {
	out := map[int64]string{0: "self"}
	for addr := range f.grant {
		out[int64(len(out))] = addr
	}
	return out
}

func (f *fakePeers) Call(_ context.Context, addr string, out remoting.Outgoing) (*remoting.Response, error) {
	var b body.LockBatchRequestBody
	if err := fastjson.Unmarshal(out.Body, &b); err != nil || !b.OnlyThisBroker || addr == "self" {
		return nil, fmt.Errorf("asked %s with %s: %v", addr, out.Body, err)
	}
	f.mu.Lock()
	f.asked = append(f.asked, fmt.Sprint(out.Code))
	f.mu.Unlock()
	queues, err := f.grant[addr](&b)
	if err != nil {
		return nil, err
	}
	return &remoting.Response{Body: fastjson.Marshal(&body.LockBatchResponseBody{LockOKMQSet: queues})}, nil
}

func lockText(client string, only bool, queues ...int32) string {
	b := body.LockBatchRequestBody{ConsumerGroup: "G", ClientID: client, OnlyThisBroker: only}
	for _, q := range queues {
		b.MQSet = append(b.MQSet, body.MessageQueue{Topic: "T", BrokerName: "broker-a", QueueID: q})
	}
	return string(fastjson.Marshal(&b))
}

func TestStrictLocksTakeMostReplicas(t *testing.T) {
	all := func(b *body.LockBatchRequestBody) ([]body.MessageQueue, error) { return b.MQSet, nil }
	none := func(*body.LockBatchRequestBody) ([]body.MessageQueue, error) { return nil, nil }
	gone := func(*body.LockBatchRequestBody) ([]body.MessageQueue, error) {
		return nil, errors.New("no route to host")
	}
	foreign := func(b *body.LockBatchRequestBody) ([]body.MessageQueue, error) { // grants what it was not asked for, too
		return append([]body.MessageQueue{{Topic: "T", BrokerName: "broker-a", QueueID: 9}}, b.MQSet...), nil
	}
	type answer = func(*body.LockBatchRequestBody) ([]body.MessageQueue, error)
	for name, c := range map[string]struct {
		replicas int
		strict   bool
		only     bool
		peers    []answer
		want     int
	}{
		"not strict":               {3, false, false, nil, 2},
		"one replica":              {1, true, false, nil, 2},
		"asked for this one alone": {3, true, true, nil, 2},
		"nobody else":              {3, true, false, nil, 0},
		"two of three":             {3, true, false, []answer{all, gone}, 2},
		"one of three":             {3, true, false, []answer{none, gone}, 0},
		"three of three":           {3, true, false, []answer{all, all}, 2},
		"two of two":               {2, true, false, []answer{all}, 2},
		"one of two":               {2, true, false, []answer{gone}, 0},
		"not asked for":            {3, true, false, []answer{foreign, foreign}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, func(b *config.Broker) { b.StrictLocks, b.Replicas = c.strict, c.replicas })
			peers := &fakePeers{grant: map[string]answer{}}
			for i, a := range c.peers {
				peers.grant[fmt.Sprint("peer-", i)] = a
			}
			g.Peers = peers
			a := g.call(code.LockBatchMQ, nil, lockText("one", c.only, 0, 1))
			var got body.LockBatchResponseBody
			if err := fastjson.Unmarshal(a.body, &got); err != nil || len(got.LockOKMQSet) != c.want {
				t.Errorf("held %v, want %d (%v %v)", got.LockOKMQSet, c.want, a, err)
			}
			// Granted here it is in any case: nobody else gets it.
			if a := g.call(code.LockBatchMQ, nil, lockText("two", true, 0, 1)); !strings.Contains(string(a.body), `"lockOKMQSet":[]`) {
				t.Errorf("another client got %s", a.body)
			}
			if a := g.call(code.UnlockBatchMQ, nil, lockText("one", c.only, 0, 1)); a.code != code.Success {
				t.Errorf("unlock: %v", a)
			}
			if c.strict && !c.only && strings.Count(strings.Join(peers.asked, " "), fmt.Sprint(code.UnlockBatchMQ)) != len(c.peers) {
				t.Errorf("replicas were asked %v", peers.asked)
			}
			if a := g.call(code.LockBatchMQ, nil, lockText("two", true, 0, 1)); strings.Contains(string(a.body), `"lockOKMQSet":[]`) {
				t.Errorf("still locked: %s", a.body)
			}
		})
	}
}
