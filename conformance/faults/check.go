package faults

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store/record"
)

// message is what is looked at of a message that was read back.
type message struct {
	off  int64
	body string
}

// content is all that a broker serves of the topics of the load.
type content struct {
	least  map[place]int64 // the first offset of each queue
	queues map[place][]message
	bodies map[string]map[string]int // by topic and body: how often
}

// loadTopics are the topics that the load sends to.
func loadTopics() []string {
	out := []string{batchTopic, popTopic, lateTopic, timedTopic, tranTopic}
	for i := range plainTopics {
		out = append(out, plainTopic(i))
	}
	return out
}

// read reads all queues of some topics.
func (n *node) read(ctx context.Context, topics ...string) (*content, error) {
	c := &content{least: make(map[place]int64), queues: make(map[place][]message), bodies: make(map[string]map[string]int)}
	for _, topic := range topics {
		c.bodies[topic] = make(map[string]int)
		for q := range int32(queues) {
			if err := n.readQueue(ctx, c, topic, q); err != nil {
				return nil, fmt.Errorf("topic %s, queue %d: %w", topic, q, err)
			}
		}
	}
	return c, nil
}

func (n *node) readQueue(ctx context.Context, c *content, topic string, queue int32) error {
	var lo header.GetMinOffsetResponse
	var hi header.GetMaxOffsetResponse
	r, err := n.want(ctx, code.GetMinOffset, &header.GetMinOffsetRequest{Topic: topic, QueueID: queue}, nil)
	if err != nil {
		return err
	}
	if err := lo.DecodeFields(r.Fields); err != nil {
		return err
	}
	if r, err = n.want(ctx, code.GetMaxOffset, &header.GetMaxOffsetRequest{Topic: topic, QueueID: queue, Committed: true}, nil); err != nil {
		return err
	}
	if err := hi.DecodeFields(r.Fields); err != nil {
		return err
	}
	p := place{topic: topic, queue: queue}
	c.least[p] = max(lo.Offset, 0)
	for off := c.least[p]; off < hi.Offset; {
		r, err := n.call(ctx, code.PullMessage, pullHeader("checker", topic, queue, off), nil)
		if err != nil {
			return err
		}
		if r.Code != code.Success {
			return fmt.Errorf("pull at %d of %d: answer %d, %s", off, hi.Offset, r.Code, r.Remark)
		}
		var a header.PullMessageResponse
		if err := a.DecodeFields(r.Fields); err != nil {
			return err
		}
		if off, err = c.take(p, off, r.Body); err != nil {
			return err
		}
		if a.NextBeginOffset != off {
			return fmt.Errorf("pull goes on at %d, its messages end at %d", a.NextBeginOffset, off)
		}
	}
	return nil
}

// take takes the messages of a pull, which are to follow each other from off on.
func (c *content) take(p place, off int64, text []byte) (int64, error) {
	for len(text) > 0 {
		var h record.Header
		if err := record.Parse(text, &h); err != nil {
			return off, fmt.Errorf("message %d: %w", off, err)
		}
		switch {
		case h.QueueOffset != off || h.QueueID != p.queue || string(h.Topic) != p.topic:
			return off, fmt.Errorf("message %d of %s, queue %d, where %d is due", h.QueueOffset, h.Topic, h.QueueID, off)
		case h.CheckBody() != nil:
			return off, fmt.Errorf("message %d: %w", off, h.CheckBody())
		}
		body := string(h.Body)
		c.queues[p] = append(c.queues[p], message{off, body})
		c.bodies[p.topic][body]++
		off += max(1, batchSize(&h))
		text = text[h.Size:]
	}
	return off, nil
}

// batchSize is how many messages an inner batch is, 0 for what is none.
func batchSize(h *record.Header) int64 {
	if h.SysFlag&record.SysInnerBatch == 0 {
		return 0
	}
	n, err := record.CountBatch(h.Body)
	if err != nil {
		return 0
	}
	return int64(n)
}

// at is the message at an offset.
func (c *content) at(p place, off int64) (string, bool) {
	list := c.queues[p]
	i, ok := slices.BinarySearchFunc(list, off, func(m message, off int64) int { return int(m.off - off) })
	if !ok {
		return "", false
	}
	return list[i].body, true
}

// verdict is what a check has found.
type verdict struct {
	acked int
	lost  []string // that were promised
	async int      // that an ASYNC_FLUSH broker has lost
	late  []string // of those, what was too old to be lost
	age   time.Duration
}

// judge compares what clients know with what is there. An error is something that may not be under any promise.
func judge(facts []fact, c *content, late time.Duration) (*verdict, error) {
	v := new(verdict)
	ended := make(map[string]what)
	for _, f := range facts {
		switch f.what {
		case committing, committed:
			ended[f.body] = committing
		case rollingBack, rolledBack:
			if ended[f.body] == 0 {
				ended[f.body] = rollingBack
			}
		}
	}
	for i := range facts {
		f := &facts[i]
		there := true
		switch f.what {
		case stored:
			p := place{topic: f.topic, queue: f.queue}
			if f.off < c.least[p] {
				continue // deleted with its file
			}
			got, _ := c.at(p, f.off)
			there = got == f.body
		case later, committed:
			there = c.bodies[f.topic][f.body] > 0
		case half:
			if ended[f.body] != committing && c.bodies[f.topic][f.body] > 0 {
				return v, fmt.Errorf("half message %s was delivered, and nobody has committed it", name(f.body))
			}
			continue
		default:
			continue
		}
		v.acked++
		v.count(f, there, late)
	}
	for topic, bodies := range c.bodies {
		if topic == lateTopic || topic == timedTopic {
			continue // a cut repeats what was delivered shortly before, and not yet noted
		}
		for body, n := range bodies {
			if n > 1 {
				return v, fmt.Errorf("message %s of %s is there %d times", name(body), topic, n)
			}
		}
	}
	return v, nil
}

func (v *verdict) count(f *fact, there bool, late time.Duration) {
	switch {
	case there:
	case f.excused:
		v.async++
		v.age = max(v.age, f.age)
		if f.age > late {
			v.late = append(v.late, fmt.Sprintf("%s, %v old", name(f.body), f.age))
		}
	default:
		v.lost = append(v.lost, fmt.Sprintf("%s of %s, queue %d, offset %d", name(f.body), f.topic, f.queue, f.off))
	}
}

// name is the part of a body that tells it from others.
func name(body string) string {
	text, _, _ := strings.Cut(body, ":")
	if len(text) > 40 {
		return fmt.Sprintf("batch of %d bytes", len(body))
	}
	return text
}

// makeMissing makes topics that nobody was told of.
func (n *node) makeMissing(ctx context.Context, l *load) error {
	for _, topic := range loadTopics() {
		r, err := n.call(ctx, code.GetTopicConfig, &header.GetTopicConfigRequest{Topic: topic}, nil)
		if err != nil {
			return err
		}
		if r.Code != code.Success && topic != batchTopic {
			l.makeTopic(ctx, topic, "", queues)
		}
	}
	return nil
}

// checkTopics looks for the topics that operators made, and for those of acknowledged messages, which the first of them made.
func (n *node) checkTopics(ctx context.Context, facts []fact) error {
	found := make(map[string]bool)
	for _, f := range facts {
		if !f.what.promise() || f.what != topicMade && found[f.topic] {
			continue
		}
		found[f.topic] = true
		r, err := n.call(ctx, code.GetTopicConfig, &header.GetTopicConfigRequest{Topic: f.topic}, nil)
		if err != nil {
			return err
		}
		var c body.TopicConfig
		if r.Code != code.Success {
			return fmt.Errorf("topic %s is gone: answer %d, %s", f.topic, r.Code, r.Remark)
		}
		if err := fastjson.Unmarshal(r.Body, &c); err != nil {
			return err
		}
		if f.what == topicMade && c.ReadQueueNums != f.queue {
			return fmt.Errorf("topic %s has %d queues, %d were made", f.topic, c.ReadQueueNums, f.queue)
		}
	}
	return nil
}

// checkOffsets compares consumer offsets with what was promised, and returns them.
func (n *node) checkOffsets(ctx context.Context, kept, sent map[place]int64) (map[place]int64, error) {
	now := make(map[place]int64)
	for p, most := range sent {
		r, err := n.call(ctx, code.QueryConsumerOffset, &header.QueryConsumerOffsetRequest{ConsumerGroup: p.group, Topic: p.topic, QueueID: p.queue}, nil)
		if err != nil {
			return nil, err
		}
		var a header.QueryConsumerOffsetResponse
		if r.Code == code.Success {
			if err := a.DecodeFields(r.Fields); err != nil {
				return nil, err
			}
		}
		if a.Offset < kept[p] || a.Offset > most {
			return nil, fmt.Errorf("offset of %s in %s, queue %d, is %d; %d was on disk, %d is the last one sent", p.group, p.topic, p.queue, a.Offset, kept[p], most)
		}
		now[p] = a.Offset
	}
	return now, nil
}
