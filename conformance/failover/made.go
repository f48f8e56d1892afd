package failover

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"apogee/conformance/wire"
	"apogee/remoting/code"
)

// made are the topics and groups that were made at masters, and the offsets that were committed, of which none may be lost.
type made struct {
	lines *lines

	mu      sync.Mutex // guards what follows
	settled time.Time  // what was committed before that is known to be at the slaves
	names   []named
	offsets map[offsetKey][]committed
}

// named is a topic with so many queues, and a group with so many retries.
type named struct {
	pair, topic, group string
	n                  int
	at                 time.Time
}

type offsetKey struct {
	pair, group, topic string
	queue              int
}

func (k offsetKey) ext() map[string]string {
	return wire.Ext("consumerGroup", k.group, "topic", k.topic, "queueId", k.queue)
}

type committed struct {
	at     time.Time
	offset int64
}

func newMade(l *lines) *made { return &made{lines: l, offsets: map[offsetKey][]committed{}} }

// topicAt makes a topic at a master.
func (m *made) topicAt(addr, topic string, n int) error {
	_, err := m.lines.must(addr, code.UpdateAndCreateTopic, wire.Ext("topic", topic, "defaultTopic", "TBW102", "readQueueNums", n, "writeQueueNums", n,
		"perm", 6, "topicFilterType", "SINGLE_TAG", "topicSysFlag", 0, "order", false), nil)
	return err
}

// groupAt makes a consumer group at a master.
func (m *made) groupAt(addr, group string, retries int) error {
	_, err := m.lines.must(addr, code.UpdateAndCreateSubscriptionGroup, nil, fmt.Appendf(nil,
		`{"groupName":%q,"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,"consumeFromMinEnable":true,"notifyConsumerIdsChangedEnable":true,`+
			`"retryMaxTimes":%d,"retryQueueNums":1,"whichBrokerWhenConsumeSlowly":1}`, group, retries))
	return err
}

// more makes another topic and another group at a pair's master, and commits an offset of it.
func (m *made) more(p *pair) error {
	addr := p.members[0].addr
	m.mu.Lock()
	n := len(m.names)
	m.mu.Unlock()
	e := named{p.name, fmt.Sprint("FailoverTopic", n), fmt.Sprint("FailoverGroup", n), 1 + n%9, time.Now()}
	if err := errors.Join(m.topicAt(addr, e.topic, e.n), m.groupAt(addr, e.group, e.n), m.commit(addr, offsetKey{p.name, e.group, e.topic, 0}, int64(100+n))); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.names = append(m.names, e)
	return nil
}

// commit commits an offset.
func (m *made) commit(addr string, k offsetKey, offset int64) error {
	ext := k.ext()
	ext["commitOffset"] = fmt.Sprint(offset)
	if _, err := m.lines.must(addr, code.UpdateConsumerOffset, ext, nil); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	list := append(m.offsets[k], committed{time.Now(), offset})
	if len(list) > 5000 {
		list = append([]committed(nil), list[len(list)/2:]...)
	}
	m.offsets[k] = list
	return nil
}

// forget forgets offsets that were committed after a time: a master that is killed had not written them, nor its slave fetched them, and
// what is committed at a Java slave while its master returns may come too late. Clients commit theirs again.
func (m *made) forget(after time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if after.Before(m.settled) {
		after = m.settled
	}
	for k, list := range m.offsets {
		list = slices.DeleteFunc(list, func(c committed) bool { return c.at.After(after) })
		if m.offsets[k] = list; len(list) == 0 {
			delete(m.offsets, k)
		}
	}
}

// due are what a broker of a pair has to have: what was made or committed before a time.
func (m *made) due(pair string, before time.Time) (names []named, offsets map[offsetKey]int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.names {
		if e.pair == pair && e.at.Before(before) {
			names = append(names, e)
		}
	}
	offsets = map[offsetKey]int64{}
	for k, list := range m.offsets {
		for _, c := range list {
			if k.pair == pair && c.at.Before(before) {
				offsets[k] = c.offset
			}
		}
	}
	return names, offsets
}

// inventory is what a broker has, and lacks, of what was made before a time.
type inventory struct {
	names, offsets []string // that it lacks
	due            int      // offsets
}

// look asks a broker. An error is one of the connection.
func (m *made) look(addr, pair string, before time.Time) (*inventory, error) {
	topics, err := m.lines.json(addr, code.GetAllTopicConfig, wire.Ext("topicSeq", 0, "maxTopicNum", 100000))
	if err != nil {
		return nil, err
	}
	groups, err := m.lines.json(addr, code.GetAllSubscriptionGroupConfig, wire.Ext("groupSeq", 0, "maxGroupNum", 100000))
	if err != nil {
		return nil, err
	}
	names, offsets := m.due(pair, before)
	inv := &inventory{due: len(offsets)}
	for _, e := range names {
		if got := wire.Num(wire.At(topics, "topicConfigTable", e.topic, "readQueueNums")); got != fmt.Sprint(e.n) {
			inv.names = append(inv.names, fmt.Sprintf("topic %s has %q queues, not %d", e.topic, got, e.n))
		}
		if got := wire.Num(wire.At(groups, "subscriptionGroupTable", e.group, "retryMaxTimes")); got != fmt.Sprint(e.n) {
			inv.names = append(inv.names, fmt.Sprintf("group %s has %q retries, not %d", e.group, got, e.n))
		}
	}
	for k, want := range offsets {
		f, err := m.lines.ask(addr, code.QueryConsumerOffset, k.ext(), nil)
		if err != nil {
			return nil, err
		}
		if f.Code != int(code.Success) || f.Int("offset") < want {
			inv.offsets = append(inv.offsets, fmt.Sprintf("offset of %s in %s/%d is not %d: code %d, %s", k.group, k.topic, k.queue, want, f.Code, f.Ext["offset"]))
		}
	}
	return inv, nil
}

// settle waits until the slaves have all that was made.
func (r *rig) settle(ctx context.Context, when string) error {
	now := time.Now()
	for _, p := range r.cluster.pairs {
		if err := r.has(ctx, p.members[1], 100*time.Second, now, when); err != nil {
			return err
		}
	}
	r.made.mu.Lock()
	defer r.made.mu.Unlock()
	r.made.settled = now
	return nil
}

// blind tells whether a broker may lack offsets: a Java slave cannot read what a Java master tells of them while anybody pulls.
func (c *cluster) blind(m *member) bool {
	return m.id > 0 && m.now.Name() == "java" && c.pairOf(m).members[0].now.Name() == "java"
}

// has waits until a broker lacks nothing of what was made before a time; what it lacks then is a finding.
func (r *rig) has(ctx context.Context, who *member, limit time.Duration, before time.Time, when string) error {
	var lacks []string
	var failed error
	_ = until(ctx, limit, "", func() (bool, string) {
		var inv *inventory
		if inv, failed = r.made.look(who.addr, who.pair, before); failed != nil {
			return false, ""
		}
		if lacks = inv.names; !r.cluster.blind(who) {
			lacks = append(lacks, inv.offsets...)
		}
		return len(lacks) == 0, ""
	})
	if failed != nil {
		return fmt.Errorf("%s: what the %v has: %w", when, who, failed)
	}
	for _, text := range lacks {
		r.book.differ("%s: %v: %s", when, who, text)
	}
	return nil
}
