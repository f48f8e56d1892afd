package takeover

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

// What is sent to, and who consumes it.
const (
	plainTopics = 3 // TakeoverPlain0 and so on; more come with time
	orderTopic  = "TakeoverOrder"
	laterTopic  = "TakeoverLater"
	tranTopic   = "TakeoverTran"
	popTopic    = "TakeoverPop"
	queues      = 3
	popGroup    = "TakeoverPopGroup"
	turnTopic   = "TakeoverTurn" // popped in order
	turnGroup   = "TakeoverTurnGroup"
	innerTopic  = "TakeoverInner"     // a batch is one record
	keyedTopic  = "TakeoverKeyed"     // compacted
	lights      = 2                   // light queues
	pgGroup     = "TakeoverTranGroup" // producers
	pullGroups  = 2                   // TakeoverGroup0 and so on
)

func plainTopic(i int) string { return fmt.Sprint("TakeoverPlain", i) }
func pullGroup(i int) string  { return fmt.Sprint("TakeoverGroup", i) }
func lightQueue(i int) string { return fmt.Sprint(lightPrefix, "takeover", i) }

const lightPrefix = "%LMQ%"

// phase is one life of a broker.
type phase struct {
	*run
	number int
	impl   string
	ready  int64
	server testkit.Server
	c      *wire.Conn
	// drained says that all that is to come comes before the end.
	drained bool
	// stopping is set when the broker is asked to end while clients work.
	stopping atomic.Bool

	mu       sync.Mutex // guards what follows
	serial   int
	ended    map[string]bool // half messages that were ended, by queue offset
	told     *wire.Conn      // the connection that is known as the producer's
	toldAt   time.Time
	answered int // questions on it
	faults   []error
}

// name is the id of the next message.
func (p *phase) name(kind string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.serial++
	return fmt.Sprintf("%s-%d-%s-%d", kind, p.number, p.impl[:1], p.serial)
}

func (p *phase) setUp() error {
	for i := range plainTopics {
		if err := p.topic(plainTopic(i), queues); err != nil {
			return err
		}
	}
	for _, topic := range []string{orderTopic, laterTopic, tranTopic, popTopic, turnTopic, innerTopic, keyedTopic} {
		if err := p.topic(topic, queues); err != nil {
			return err
		}
	}
	for _, group := range []string{pullGroup(0), pullGroup(1), popGroup, turnGroup} {
		if err := p.group(group, 16); err != nil {
			return err
		}
	}
	return p.fill()
}

// fill fills the first segment of the log with what nobody has to do anything about: it will be deleted.
func (p *phase) fill() error {
	rnd := rand.New(rand.NewPCG(p.Seed, 7))
	for end := int64(0); end < p.segment; {
		m, err := p.storeSized(p.c, 30000+rnd.IntN(30000), "fill", plainTopic(rnd.IntN(plainTopics)), rnd.IntN(queues))
		if err != nil {
			return err
		}
		end = m.physical
	}
	return p.book.look(reader{p.c}, false)
}

func (p *phase) topic(name string, n int) error {
	ext := wire.Ext("topic", name, "defaultTopic", "TBW102", "readQueueNums", n, "writeQueueNums", n, "perm", 6,
		"topicFilterType", "SINGLE_TAG", "topicSysFlag", 0, "order", name == orderTopic)
	switch name {
	case innerTopic:
		ext["attributes"] = "+queue.type=BatchCQ"
	case keyedTopic:
		ext["attributes"] = "+cleanup.policy=COMPACTION"
	}
	_, err := accepted(p.c.Call(int(code.UpdateAndCreateTopic), ext, nil))
	return err
}

func (p *phase) group(name string, retries int) error {
	_, err := accepted(p.c.Call(int(code.UpdateAndCreateSubscriptionGroup), nil, fmt.Appendf(nil,
		`{"groupName":%q,"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,"consumeFromMinEnable":true,"notifyConsumerIdsChangedEnable":true,`+
			`"retryMaxTimes":%d,"retryQueueNums":1,"whichBrokerWhenConsumeSlowly":1}`, name, retries)))
	return err
}

// work has clients of all kinds work until it is time, and ends the broker in the way that is asked for, or leaves it without work. It
// returns what the broker said of its tables.
func (p *phase) work(ctx context.Context, how ending) (*tables, error) {
	// Something that only this phase makes.
	if err := p.topic(plainTopic(plainTopics+p.number), 1+p.rnd.IntN(queues)); err != nil {
		return nil, err
	}
	if err := p.group(fmt.Sprint("TakeoverOnly", p.number), 1+p.rnd.IntN(16)); err != nil {
		return nil, err
	}
	after, err := reader{p.c}.tables()
	if err != nil {
		return nil, err
	}
	p.ended = map[string]bool{}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i, work := range []func(*wire.Conn, *rand.Rand) error{
		p.sendPlain, p.sendPlain, p.sendBatch, p.sendOrdered, p.sendLater, p.transact, p.sendToPop, p.popSome, p.popSome,
		p.sendInner, p.sendKeyed, p.sendTurn, p.popTurns,
		func(c *wire.Conn, rnd *rand.Rand) error { return p.pull(c, rnd, 0) },
		func(c *wire.Conn, rnd *rand.Rand) error { return p.pull(c, rnd, 1) },
	} {
		rnd := rand.New(rand.NewPCG(p.Seed+uint64(p.number)<<32, uint64(i)))
		wg.Go(func() { p.worker(stop, rnd, work) })
	}
	length := p.Phase/2 + time.Duration(p.rnd.Int64N(int64(p.Phase)))
	select {
	case <-time.After(length):
	case <-ctx.Done():
	}
	switch how {
	case killed:
		p.stopping.Store(true)
		err = p.server.Kill()
		p.kills = append(p.kills, time.Now().UnixMilli())
		p.cuts = append(p.cuts, p.kills[len(p.kills)-1])
	case busy:
		p.stopping.Store(true)
		err = p.server.Stop()
		p.cuts = append(p.cuts, time.Now().UnixMilli())
	}
	close(stop)
	wg.Wait()
	return after, errors.Join(append(p.faults, err, ctx.Err())...)
}

// worker works until it is told to stop, or its connection ends. The reference needs some pauses: what is asked of it in an instant can
// keep it busy for long after.
func (p *phase) worker(stop <-chan struct{}, rnd *rand.Rand, work func(*wire.Conn, *rand.Rand) error) {
	c, err := dial(p.addr)
	for err == nil {
		select {
		case <-stop:
			c.Close()
			return
		case <-time.After(time.Duration(rnd.IntN(20)) * time.Millisecond):
		}
		if err = work(c, rnd); errors.Is(err, errRefused) {
			p.fault(err)
			err = nil
		}
	}
	p.fault(err)
	if c != nil {
		c.Close()
	}
	<-stop
}

// fault notes what must not be, unless the broker is being stopped: then it may refuse what it likes, and connections end.
func (p *phase) fault(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stopping.Load() && len(p.faults) < 3 { // the workers' are alike
		p.faults = append(p.faults, err)
	}
}

// store sends a direct message and enters what comes of it.
func (p *phase) store(c *wire.Conn, rnd *rand.Rand, kind, topic string, queue int, properties ...string) error {
	_, err := p.storeSized(c, size(rnd), kind, topic, queue, properties...)
	return err
}

// storeSized is store with a size, and returns the message.
func (p *phase) storeSized(c *wire.Conn, n int, kind, topic string, queue int, properties ...string) (*message, error) {
	m := &message{id: p.name(kind), topic: topic, queue: queue, phase: p.number}
	for i := 0; i+1 < len(properties); i += 2 {
		switch properties[i] {
		case "INNER_MULTI_DISPATCH":
			m.light = strings.Split(properties[i+1], ",")
		case "KEYS":
			m.key = properties[i+1]
		}
	}
	body := m.filled(n)
	p.ledger.add(m)
	if topic == popTopic {
		p.ledger.settle(func() {
			p.ledger.pops[m.id] = &popped{message: m, sent: time.Now().UnixMilli(), places: map[spot]*handed{}}
		})
	}
	properties = append(properties, "UNIQ_KEY", m.id)
	if m.key == "" {
		properties = append(properties, "KEYS", "k"+m.id+" all")
	}
	f, err := send(c, topic, queue, 0, false, "TakeoverProducer", wire.Properties(properties...), body)
	if err == nil {
		p.acknowledged(m, f, 0)
	}
	return m, err
}

func (p *phase) acknowledged(m *message, f *wire.Frame, nth int) {
	_, physical, _ := wire.OffsetID(f.Ext["msgId"])
	p.ledger.settle(func() {
		m.stored, m.offset, m.physical = yes, f.Int("queueOffset")+int64(nth), physical
	})
}

// size is mostly small; now and then it is more than a page, or much more.
func size(rnd *rand.Rand) int {
	switch n := rnd.IntN(20); {
	case n < 14:
		return 20 + rnd.IntN(300)
	case n < 19:
		return rnd.IntN(6000)
	}
	return rnd.IntN(60000)
}

func (p *phase) sendPlain(c *wire.Conn, rnd *rand.Rand) error {
	for range 1 + rnd.IntN(6) {
		i := rnd.IntN(plainTopics + 1)
		queue := rnd.IntN(queues)
		if i == plainTopics { // the phase's own
			i, queue = plainTopics+p.number, 0
		}
		properties := []string{"TAGS", fmt.Sprint("tag", rnd.IntN(3)), "n", fmt.Sprint(rnd.IntN(100)), "ü", "\"ß\" 中"}
		if p.light && rnd.IntN(3) == 0 {
			names := []string{lightQueue(0), lightQueue(1), lightQueue(0) + "," + lightQueue(1)}
			properties = append(properties, "INNER_MULTI_DISPATCH", names[rnd.IntN(len(names))])
		}
		if err := p.store(c, rnd, "plain", plainTopic(i), queue, properties...); err != nil {
			return err
		}
	}
	return nil
}

func (p *phase) sendBatch(c *wire.Conn, rnd *rand.Rand) error {
	topic, queue := plainTopic(rnd.IntN(plainTopics)), rnd.IntN(queues)
	var list []*message
	var items []wire.BatchItem
	for range 2 + rnd.IntN(6) {
		m := &message{id: p.name("batch"), topic: topic, queue: queue, phase: p.number}
		items = append(items, wire.BatchItem{Body: m.filled(20 + rnd.IntN(400)), Properties: wire.Properties("UNIQ_KEY", m.id, "KEYS", "k"+m.id)})
		p.ledger.add(m)
		list = append(list, m)
	}
	f, err := send(c, topic, queue, 0, true, "TakeoverProducer", "", wire.Batch(items...))
	if err != nil {
		return err
	}
	for i, m := range list {
		p.acknowledged(m, f, i)
	}
	return nil
}

// sendOrdered sends to all queues in turn; what comes later has a higher number, and the answers' offsets grow.
func (p *phase) sendOrdered(c *wire.Conn, rnd *rand.Rand) error {
	for q := range queues {
		if err := p.store(c, rnd, "order", orderTopic, q, "__SHARDINGKEY", fmt.Sprint("s", q)); err != nil {
			return err
		}
	}
	return nil
}

func (p *phase) sendToPop(c *wire.Conn, rnd *rand.Rand) error {
	return p.store(c, rnd, "pop", popTopic, rnd.IntN(queues), "TAGS", "pop")
}

// sendLater sends a message that is delayed or timed; some are recalled.
func (p *phase) sendLater(c *wire.Conn, rnd *rand.Rand) error {
	m := &message{id: p.name("later"), topic: laterTopic, kind: later, phase: p.number}
	ms := 1000 + rnd.Int64N(min(14000, 5*p.Phase.Milliseconds()))
	if p.drained { // it would only be waited for
		ms = 1000 + rnd.Int64N(1500)
	}
	now := time.Now().UnixMilli()
	recall := false
	var properties []string
	switch rnd.IntN(5) {
	case 0, 1:
		n := rnd.IntN(2 + int(min(1, p.Phase/time.Second)))
		if p.drained {
			n = 0
		}
		ms = []int64{1000, 5000, 10000}[n]
		m.delay, m.slack = ms, 700 // the time of its delivery is one of those that may be old
		properties = []string{"DELAY", fmt.Sprint(n + 1)}
	case 2:
		properties = []string{"TIMER_DELAY_MS", fmt.Sprint(ms)}
	case 3:
		ms -= ms % 1000
		properties = []string{"TIMER_DELAY_SEC", fmt.Sprint(ms / 1000)}
	default:
		properties = []string{"TIMER_DELIVER_MS", fmt.Sprint(now + ms)}
		recall = ms > 3500
	}
	m.sent, m.due = now, now+ms
	if m.delay == 0 {
		m.slack = 1150
	}
	body := m.filled(size(rnd))
	p.ledger.add(m)
	f, err := send(c, laterTopic, rnd.IntN(queues), 0, false, "TakeoverProducer", wire.Properties(append(properties, "UNIQ_KEY", m.id)...), body)
	if err != nil {
		return err
	}
	_, physical, _ := wire.OffsetID(f.Ext["msgId"])
	p.ledger.settle(func() { m.stored, m.physical = yes, physical })
	if !recall {
		return nil
	}
	p.ledger.settle(func() { m.recalled = maybe })
	_, err = accepted(c.Call(int(code.RecallMessage), wire.Ext("producerGroup", "PG", "topic", laterTopic, "recallHandle", f.Ext["recallHandle"]), nil))
	if err == nil {
		p.ledger.settle(func() { m.recalled = yes })
	}
	return err
}

func (p *phase) popSome(c *wire.Conn, rnd *rand.Rand) error {
	_, err := p.popOnce(c, rnd, false)
	return err
}

type offsetKey struct {
	group string
	place
}

// offset is what a group has committed.
type offset struct {
	floor  int64 // when the broker started
	last   int64 // the last one that was acknowledged
	perhap int64 // one that was not
}

// pull consumes like a client of a group that reads all queues alone: it reads on from where the group is, and commits.
func (p *phase) pull(c *wire.Conn, rnd *rand.Rand, group int) error {
	key := offsetKey{pullGroup(group), place{plainTopic(rnd.IntN(plainTopics)), rnd.IntN(queues)}}
	f, err := c.Call(int(code.QueryConsumerOffset), wire.Ext("consumerGroup", key.group, "topic", key.topic, "queueId", key.queue), nil)
	if err != nil {
		return err
	}
	at := int64(0)
	if f.Code == int(code.Success) {
		at = f.Int("offset")
	}
	f, err = c.Call(int(code.PullMessage), wire.PullExt(key.group, key.topic, key.queue, at), nil)
	if err == nil && f.Code == int(code.PullOffsetMoved) { // what it is at went with the first segment
		return p.commit(c, key, f.Int("nextBeginOffset"))
	}
	if err != nil || f.Code != int(code.Success) {
		return err
	}
	recs, err := wire.Records(f.Body)
	if err != nil {
		p.differ("%v: %v", key.place, err)
		return nil
	}
	recs = recs[:1+rnd.IntN(len(recs))]
	for i := range recs {
		p.note(key.place, &recs[i])
		if recs[i].ReconsumeTimes == 0 && rnd.IntN(20) == 0 {
			if err := p.sendBack(c, rnd, key.group, &recs[i]); err != nil {
				return err
			}
		}
	}
	return p.commit(c, key, at+int64(len(recs)))
}

func (p *phase) note(at place, rec *wire.Record) {
	p.run.mu.Lock()
	defer p.run.mu.Unlock()
	p.book.read[spot{at, rec.QueueOffset}] = sha256.Sum256(rec.Raw)
}

func (p *phase) commit(c *wire.Conn, key offsetKey, to int64) error {
	var o *offset
	p.ledger.settle(func() {
		if o = p.ledger.offsets[key]; o == nil {
			o = &offset{}
			p.ledger.offsets[key] = o
		}
		o.perhap = to
	})
	_, err := accepted(c.Call(int(code.UpdateConsumerOffset), wire.Ext("consumerGroup", key.group, "topic", key.topic, "queueId", key.queue, "commitOffset", to), nil))
	if err == nil {
		p.ledger.settle(func() { o.last = to })
	}
	return err
}

// sendBack wants a message again, a little later.
func (p *phase) sendBack(c *wire.Conn, rnd *rand.Rand, group string, rec *wire.Record) error {
	id, level := idOf(rec), 1+rnd.IntN(2)
	if p.drained {
		level = 1
	}
	p.ledger.settle(func() { p.ledger.messages[id].perhaps++ })
	_, err := accepted(c.Call(int(code.ConsumerSendMsgBack), wire.Ext("offset", rec.Physical, "group", group, "delayLevel", level, "originMsgId", id,
		"originTopic", rec.Topic, "unitMode", false, "maxReconsumeTimes", 16), nil))
	if err == nil || errors.Is(err, errRefused) {
		p.ledger.settle(func() { p.ledger.messages[id].perhaps-- })
	}
	if err == nil {
		p.ledger.settle(func() { p.ledger.messages[id].backs++ })
	}
	return err
}
