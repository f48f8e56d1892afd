package processor

import (
	"fmt"
	"testing"

	"apogee/broker/config"
	"apogee/compat/body"
)

func TestPopsHeedPriorities(t *testing.T) {
	for name, c := range map[string]struct {
		kind, factor string
		order, desc  bool
		luck         int
		queue        int32
		want         string
	}{
		"highest first":           {kind: "PRIORITY", luck: 99, queue: -1, want: "[3 2 1 0]"},
		"lowest first":            {kind: "PRIORITY", desc: true, luck: 7, queue: -1, want: "[0 1 2 3]"},
		"one queue":               {kind: "PRIORITY", luck: 5, queue: 2, want: "[2 2 2 2]"},
		"as often as asked for":   {kind: "PRIORITY", factor: "30", luck: 29, queue: -1, want: "[3 2 1 0]"},
		"and not more often":      {kind: "PRIORITY", factor: "30", luck: 31, queue: -1, want: "[2 1 0 3]"},
		"never":                   {kind: "PRIORITY", factor: "0", luck: 0, queue: -1, want: "[3 2 1 0]"},
		"in order":                {kind: "PRIORITY", order: true, luck: 2, queue: -1, want: "[1 0 3 2]"},
		"a topic without":         {kind: "NORMAL", luck: 1, queue: -1, want: "[0 3 2 1]"},
		"a topic without, upward": {kind: "NORMAL", desc: true, luck: 1, queue: -1, want: "[1 2 3 0]"},
	} {
		t.Run(name, func(t *testing.T) {
			topic := body.NewTopicConfig("T")
			topic.ReadQueueNums, topic.Attributes = 4, map[string]string{"message.type": c.kind}
			group := body.NewSubscriptionGroupConfig("G")
			if c.factor != "" {
				group.Attributes = map[string]string{"priority.factor": c.factor}
			}
			op := &popOp{topic: &topic, group: &group, cfg: &config.Broker{PriorityAsc: !c.desc}, stage: popNormal, luck: c.luck}
			op.hdr.QueueID, op.hdr.Order = c.queue, c.order
			var got []int32
			for op.nth = 0; op.nth < 4; op.nth++ {
				got = append(got, op.queueOf(&topic))
			}
			if fmt.Sprint(got) != c.want {
				t.Errorf("queues %v, want %s", got, c.want)
			}
		})
	}
}
