package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"apogee/compat/body"
	"apogee/compat/fastjson"
)

// markOffset stands where a pull has its offset.
const markOffset = "6666666666666666666"

// Answer codes of a pull (spec: response-codes.tsv).
const (
	pullNotFound  = 19
	pullRetry     = 20
	pullOffsetOff = 21
)

// Pull system flags (spec: remoting.md 5.1).
const (
	flagSuspend      = 2
	flagSubscription = 4
)

// queue is one queue that a puller reads.
type queue struct {
	id       int
	offset   int64
	end      int64 // stop there
	template template
	at       []int // of the offset in the template
	began    time.Time
	measured bool
}

func pullTemplate(o *Options, topic string, id int, sysFlag int, suspend time.Duration) template {
	kind := "TAG"
	if o.SQL != "" { // the broker has it from the heartbeat
		kind, sysFlag = "SQL92", sysFlag&^flagSubscription
	}
	return makeTemplate(o.Serialization, codePull, []pair{
		{"consumerGroup", o.Group},
		{"topic", topic},
		{"queueId", strconv.Itoa(id)},
		{"queueOffset", markOffset},
		{"maxMsgNums", strconv.Itoa(o.Batch)},
		{"sysFlag", strconv.Itoa(sysFlag)},
		{"commitOffset", "0"},
		{"suspendTimeoutMillis", strconv.FormatInt(suspend.Milliseconds(), 10)},
		{"subscription", "*"},
		{"subVersion", "0"},
		{"expressionType", kind},
	}, nil, markOffset)
}

// subscribe tells a broker what a group wants of the topic.
func (c *conn) subscribe(o *Options) error {
	hb := body.HeartbeatData{ClientID: "bench@" + c.LocalAddr().String(), ConsumerDataSet: []body.ConsumerData{{
		GroupName: o.Group, ConsumeType: body.ConsumePassively, MessageModel: body.Clustering, ConsumeFromWhere: body.ConsumeFromFirstOffset,
		SubscriptionDataSet: []body.SubscriptionData{{Topic: o.Topic, SubString: o.SQL, ExpressionType: "SQL92", SubVersion: time.Now().UnixMilli()}},
	}}}
	a, err := c.call(JSON, codeHeartbeat, nil, fastjson.Marshal(&hb))
	if err == nil && a.code != 0 {
		err = errors.New(a.text())
	}
	if err != nil {
		return fmt.Errorf("subscribe with %q: %w", o.SQL, err)
	}
	return nil
}

// puller reads several queues over one connection, one request under way for each.
type puller struct {
	*conn
	*tally
	run    *run
	queues []queue
	left   int // queues not at their end
	out    []byte
}

func (p *puller) counts() *tally { return p.tally }

func (p *puller) ask(i int, now time.Time, measured bool) {
	q := &p.queues[i]
	begin := len(p.out)
	p.out = append(p.out, q.template.frame...)
	f := p.out[begin:]
	q.template.setOpaque(f, i)
	for _, at := range q.at {
		putDecimal(f[at:at+len(markOffset)], uint64(q.offset))
	}
	q.began, q.measured = now, measured
}

func (p *puller) work() error {
	now := time.Now()
	for i := range p.queues {
		p.ask(i, now, p.run.now() == measuring)
	}
	p.left = len(p.queues)
	for {
		if len(p.out) > 0 {
			if _, err := p.Write(p.out); err != nil {
				return p.closed(err)
			}
			p.out = p.out[:0]
		}
		if p.left == 0 {
			return nil
		}
		if err := p.fill(); err != nil {
			return p.closed(err)
		}
		if err := p.answers(); err != nil {
			return err
		}
	}
}

func (p *puller) closed(err error) error {
	if p.run.now() == ending && errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (p *puller) answers() error {
	now := time.Now()
	phase := p.run.now()
	var done int64
	for {
		a, ok, err := p.conn.next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if a.slot < 0 || a.slot >= len(p.queues) {
			return fmt.Errorf("answer to a request that was not made: %s", a.text())
		}
		q := &p.queues[a.slot]
		next, ok := a.field(q.template.serialization, "nextBeginOffset")
		if !ok || a.code != 0 && a.code != pullNotFound && a.code != pullRetry && a.code != pullOffsetOff {
			return fmt.Errorf("pull of %s/%d at %d: %s", p.run.opts.Topic, q.id, q.offset, a.text())
		}
		if a.code == 0 {
			n, bytes := countRecords(a.body)
			p.run.total.Add(n)
			if q.measured {
				p.messages += n
				p.requests++
				p.bytes += bytes
				done += n
				record(p.delay, now.Sub(q.began))
			}
		}
		q.offset = next
		if phase == ending || q.offset >= q.end || a.code == pullNotFound {
			p.left--
			continue
		}
		p.ask(a.slot, now, phase == measuring)
	}
	if done > 0 {
		p.run.done.Add(done)
	}
	return nil
}

// countRecords walks the messages in an answer: how many there are, and the bytes of their bodies.
func countRecords(b []byte) (n, bodies int64) {
	for len(b) >= 4 {
		size := int(binary.BigEndian.Uint32(b))
		if size < 88 || size > len(b) {
			return n, bodies
		}
		n++
		bodies += int64(len(recordBody(b[:size])))
		b = b[size:]
	}
	return n, bodies
}

// recordBody is the body of a stored message. Its length stands at 84, behind two hosts of 8 bytes each; a host of IPv6, told by
// the bits 4 and 5 of the flag at 36, is 12 bytes longer (spec: remoting.md 3.1).
func recordBody(rec []byte) []byte {
	at := 84
	flag := binary.BigEndian.Uint32(rec[36:])
	if flag&0x10 != 0 {
		at += 12
	}
	if flag&0x20 != 0 {
		at += 12
	}
	if at+4 > len(rec) {
		return nil
	}
	size := int(binary.BigEndian.Uint32(rec[at:]))
	if size < 0 || at+4+size > len(rec) {
		return nil
	}
	return rec[at+4 : at+4+size]
}

// Pull drains a topic from its first messages on, the queues in parallel over several connections.
func Pull(ctx context.Context, o Options) (Result, error) {
	res := Result{Kind: "pull", Broker: o.Broker, Settings: fmt.Sprintf("%d queues over %d connections, up to %d messages a pull", o.Queues, o.Connections, o.Batch)}
	o.Connections = min(o.Connections, o.Queues)
	if o.Duration <= 0 {
		o.Duration = time.Hour // until the topic is drained
	}
	if err := o.check(); err != nil {
		return res, err
	}
	if err := o.prepare(); err != nil {
		return res, err
	}
	ends, err := o.fill(ctx)
	if err != nil {
		return res, err
	}
	o.Warmup = 0 // each message is there to be drained once
	r := &run{opts: o}
	r.phase.Store(int32(measuring))
	var workers workers
	defer func() { workers.close() }()
	for i := range o.Connections {
		c, err := dialPull(o.Broker)
		if err != nil {
			return res, err
		}
		t := newTally()
		p := &puller{conn: c, tally: &t, run: r}
		workers = append(workers, p)
		if o.SQL != "" && i == 0 {
			if err := c.subscribe(&o); err != nil {
				return res, err
			}
		}
		for q := i; q < o.Queues; q += o.Connections {
			first, err := offset(c, codeMinOffset, o.Topic, q)
			if err != nil {
				return res, err
			}
			t := pullTemplate(&o, o.Topic, q, flagSubscription, 0)
			p.queues = append(p.queues, queue{id: q, offset: max(0, first), end: ends[q], template: t, at: t.places[markOffset]})
		}
	}
	h, err := r.drive(ctx, workers, &res)
	l := latencyOf(h)
	res.Pull = &l
	return res, err
}

// fill sends messages until the topic has enough, and tells where each queue ends.
func (o *Options) fill(ctx context.Context) ([]int64, error) {
	c, err := dial(o.Broker)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	look := func() (ends []int64, have int64, err error) {
		for q := range o.Queues {
			first, err := offset(c, codeMinOffset, o.Topic, q)
			if err != nil {
				return nil, 0, err
			}
			end, err := offset(c, codeMaxOffset, o.Topic, q)
			if err != nil {
				return nil, 0, err
			}
			ends, have = append(ends, end), have+end-max(0, first)
		}
		return ends, have, nil
	}
	ends, have, err := look()
	if err != nil || have >= o.Fill {
		return ends, err
	}
	more := *o
	more.Create, more.Warmup, more.Duration, more.Count = false, 0, 10*time.Minute, o.Fill-have
	more.Connections, more.InFlight, more.Batch, more.Topics = 4, 8, 32, 1
	if _, err := Batch(ctx, more); err != nil {
		return nil, fmt.Errorf("fill the topic: %w", err)
	}
	// Queue entries follow the messages at once, but not in the same moment.
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if ends, have, err = look(); err != nil || have >= o.Fill {
			return ends, err
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("fill the topic: %d messages can be read, %d were sent", have, o.Fill)
		}
	}
}
