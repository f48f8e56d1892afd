package balance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"apogee/compat/body"
)

func queuesOf(broker string, n int) []body.MessageQueue {
	out := make([]body.MessageQueue, n)
	for i := range out {
		out[i] = body.MessageQueue{Topic: "t", BrokerName: broker, QueueID: int32(i)}
	}
	return out
}

func clientsOf(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("c%02d", i)
	}
	return out
}

func text(queues []body.MessageQueue) string {
	var out []string
	for _, q := range queues {
		out = append(out, fmt.Sprintf("%s%d", q.BrokerName, q.QueueID))
	}
	return strings.Join(out, " ")
}

func TestAssign(t *testing.T) {
	two := append(queuesOf("a", 2), queuesOf("b", 2)...)
	for _, c := range []struct {
		name    string
		q       Question
		clients int
		want    string
		refused string
	}{
		{"an even share", Question{Strategy: "AVG", Client: "c01", Queues: queuesOf("a", 4)}, 2, "a2 a3", ""},
		{"the first ones get one more", Question{Strategy: "AVG", Client: "c00", Queues: queuesOf("a", 8)}, 3, "a0 a1 a2", ""},
		{"the last one", Question{Strategy: "AVG", Client: "c02", Queues: queuesOf("a", 8)}, 3, "a6 a7", ""},
		{"more clients than queues", Question{Strategy: "AVG", Client: "c02", Queues: queuesOf("a", 2)}, 3, "", ""},
		{"by circle", Question{Strategy: "AVG_BY_CIRCLE", Client: "c01", Queues: queuesOf("a", 8)}, 3, "a1 a4 a7", ""},
		{"by circle, more clients than queues", Question{Strategy: "AVG_BY_CIRCLE", Client: "c02", Queues: queuesOf("a", 2)}, 3, "", ""},
		{"over brokers", Question{Strategy: "AVG", Client: "c00", Queues: two}, 2, "a0 a1", ""},
		{"a client that is not in the group", Question{Strategy: "AVG", Client: "x", Queues: two}, 2, "", ""},
		{"another strategy", Question{Strategy: "CONSISTENT_HASH", Client: "c00", Queues: two}, 2, "", `unsupported strategy "CONSISTENT_HASH"`},
		{"no client id", Question{Strategy: "AVG", Queues: two}, 2, "", "the request names no client"},
		{"no queues", Question{Strategy: "AVG", Client: "c00"}, 2, "", "the topic has no readable queues"},
		{"no clients", Question{Strategy: "AVG", Client: "c00", Queues: two}, 0, "", "the group has no clients"},
		{"pop, no limit", Question{Strategy: "AVG", Client: "c00", Queues: two, Pop: true, Share: -1}, 9, "a-1 b-1", ""},
		{"pop, a share that is everyone", Question{Strategy: "AVG", Client: "c00", Queues: two, Pop: true, Share: 2}, 3, "a-1 b-1", ""},
		{"pop, a stranger gets them too", Question{Strategy: "AVG", Client: "x", Queues: two, Pop: true}, 2, "a-1 b-1", ""},
		{"pop, no queues", Question{Strategy: "AVG", Client: "c00", Pop: true}, 2, "", ""},
		{"pop, an unknown strategy", Question{Strategy: "x", Client: "c00", Queues: two, Pop: true}, 2, "", "unsupported"},
		{"pop, shared with the next one", Question{Strategy: "AVG", Client: "c02", Queues: queuesOf("a", 8), Pop: true, Share: 1}, 4, "a4 a5 a6 a7", ""},
		{"pop, shared around the end", Question{Strategy: "AVG", Client: "c03", Queues: queuesOf("a", 8), Pop: true, Share: 1}, 4, "a0 a1 a6 a7", ""},
		{"pop, more clients than queues", Question{Strategy: "AVG", Client: "c04", Queues: queuesOf("a", 3), Pop: true, Share: 1}, 5, "a1", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.q.Clients = clientsOf(c.clients)
			before := text(c.q.Queues)
			got, err := Assign(c.q)
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Fatalf("error %v", err)
				}
				return
			}
			if err != nil || got == nil || text(got) != c.want {
				t.Errorf("got %q, %v", text(got), err)
			}
			if text(c.q.Queues) != before {
				t.Error("the route was changed")
			}
		})
	}
}

// Together, the clients of a group have each queue once where they pull; where they pop with a share of n, n+1 of them have it.
func TestEveryQueueHasItsClients(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		queues := append(queuesOf("a", rapid.IntRange(1, 20).Draw(t, "queues")), queuesOf("b", rapid.IntRange(0, 9).Draw(t, "more"))...)
		clients := clientsOf(rapid.IntRange(1, len(queues)).Draw(t, "clients"))
		share := int32(rapid.IntRange(0, 12).Draw(t, "share"))
		q := Question{Strategy: rapid.SampledFrom([]string{Averagely, ByCircle}).Draw(t, "strategy"), Clients: clients, Queues: queues, Pop: share > 0, Share: share}
		want := int(share) + 1
		if q.Pop && int(share) >= len(clients)-1 {
			return // each broker's queues as one
		}
		holders := make(map[body.MessageQueue]int)
		for _, q.Client = range clients {
			got, err := Assign(q)
			if err != nil || !slices.IsSortedFunc(got, compare) {
				t.Fatalf("%v, %v", got, err)
			}
			for _, mq := range got {
				holders[mq]++
			}
		}
		for _, mq := range queues {
			if holders[mq] != want {
				t.Fatalf("queue %v has %d clients, want %d", mq, holders[mq], want)
			}
		}
	})
}

// servers is a name server whose answers a test decides.
type servers struct {
	now    time.Time
	answer *body.TopicRouteData
	err    error
	asked  int
}

func (s *servers) fetch(context.Context, string) (*body.TopicRouteData, error) {
	s.asked++
	return s.answer, s.err
}

func TestRoutes(t *testing.T) {
	s := &servers{now: time.Unix(1700000000, 0)}
	r := NewRoutes(s.fetch, func() time.Time { return s.now })
	ask := func() string {
		queues := r.Queues(t.Context(), "t", 30*time.Second)
		if queues == nil {
			return "none"
		}
		return text(queues)
	}
	expect := func(what, want string, asked int) {
		t.Helper()
		if got := ask(); got != want || s.asked != asked {
			t.Fatalf("%s: got %q, asked %d times", what, got, s.asked)
		}
	}
	s.err = ErrNoTopic
	expect("an unknown topic", "none", 1)
	expect("is asked for again", "none", 2)
	if len(r.table) != 0 {
		t.Error("an unknown topic is kept")
	}
	s.answer, s.err = &body.TopicRouteData{QueueDatas: []body.QueueData{
		{BrokerName: "b", ReadQueueNums: 1, Perm: 6}, {BrokerName: "a", ReadQueueNums: 2, WriteQueueNums: 9, Perm: 4}, {BrokerName: "c", ReadQueueNums: 2, Perm: 2},
	}}, nil
	expect("readable queues in order", "a0 a1 b0", 3)
	s.now = s.now.Add(29 * time.Second)
	expect("fresh enough", "a0 a1 b0", 3)
	s.now, s.err = s.now.Add(time.Second), errors.New("down")
	expect("the name server is down", "a0 a1 b0", 4)
	expect("and is not asked by everyone", "a0 a1 b0", 4)
	s.now, s.err = s.now.Add(30*time.Second), nil
	s.answer = &body.TopicRouteData{QueueDatas: []body.QueueData{{BrokerName: "c", ReadQueueNums: 2, Perm: 2}}}
	expect("nothing readable", "", 5)
	expect("is asked for again", "", 6)
	s.answer = &body.TopicRouteData{
		QueueDatas: []body.QueueData{
			{BrokerName: "b", ReadQueueNums: 1, WriteQueueNums: 2, Perm: 6},
			{BrokerName: "a", WriteQueueNums: 1, Perm: 2},
			{BrokerName: "slave", WriteQueueNums: 4, Perm: 6},
			{BrokerName: "c", ReadQueueNums: 2, WriteQueueNums: 2, Perm: 4},
		},
		BrokerDatas: []body.BrokerData{
			{BrokerName: "a", BrokerAddrs: map[int64]string{0: "x"}},
			{BrokerName: "b", BrokerAddrs: map[int64]string{0: "x"}},
			{BrokerName: "slave", BrokerAddrs: map[int64]string{1: "x"}},
			{BrokerName: "c", BrokerAddrs: map[int64]string{0: "x"}},
		},
	}
	if got := text(r.Writable(t.Context(), "t", 30*time.Second)); got != "a0 b0 b1" {
		t.Errorf("writable %q", got)
	}
	expect("known by now", "b0 c0 c1", 7)
	s.now, s.err = s.now.Add(30*time.Second), ErrNoTopic
	expect("deleted", "none", 8)
	if len(r.table) != 0 {
		t.Error("a deleted topic is kept")
	}
}
