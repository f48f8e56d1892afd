package bench

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Answer codes of a pop that brought nothing (spec: response-codes.tsv).
const (
	popPollingFull    = 209
	popPollingTimeout = 210
)

const invisible = time.Minute

// popper takes messages by pop over one connection and acknowledges them. It has one pop under way at a time, and the acks of the one before;
// a message counts when its ack is answered.
type popper struct {
	*conn
	*tally
	run     *run
	broker  string // as receipts name it
	pop     template
	born    []int
	out     []byte
	waiting int       // acks without answer
	sizes   []int     // messages that an ack is for, by its number behind slot 0
	free    []int     // of these numbers
	began   time.Time // when the pop was written
	counted bool      // while measuring
	empty   bool      // the topic has no more
	vain    int       // pops in a row that brought nothing
	popped  []popped
	receipt []byte
}

// popped is what an answer holds of one queue.
type popped struct {
	queue   int32
	start   int64
	offsets []int64
}

func popTemplate(o *Options) template {
	return makeTemplate(o.Serialization, codePop, []pair{
		{"consumerGroup", o.Group},
		{"topic", o.Topic},
		{"queueId", "-1"},
		{"maxMsgNums", strconv.Itoa(o.Batch)},
		{"invisibleTime", strconv.FormatInt(invisible.Milliseconds(), 10)},
		{"pollTime", "0"},
		{"bornTime", markBorn},
		{"initMode", "0"},
		{"expType", "TAG"},
		{"exp", "*"},
		{"order", "false"},
	}, nil, markBorn)
}

func (p *popper) counts() *tally { return p.tally }

func (p *popper) work() error {
	p.ask()
	for {
		if len(p.out) > 0 {
			if _, err := p.Write(p.out); err != nil {
				return err
			}
			p.out = p.out[:0]
		}
		if p.empty && p.waiting == 0 {
			return nil
		}
		if err := p.fill(); err != nil {
			return err
		}
		if err := p.answers(); err != nil {
			return err
		}
	}
}

// ask makes the next pop, in slot 0.
func (p *popper) ask() {
	if p.run.now() == ending {
		p.empty = true
		return
	}
	p.began, p.counted = time.Now(), p.run.now() == measuring
	begin := len(p.out)
	p.out = append(p.out, p.pop.frame...)
	f := p.out[begin:]
	p.pop.setOpaque(f, 0)
	for _, i := range p.born {
		putDecimal(f[i:i+len(markBorn)], uint64(p.began.UnixMilli()))
	}
}

func (p *popper) answers() error {
	for {
		a, ok, err := p.conn.next()
		if err != nil || !ok {
			return err
		}
		switch {
		case a.slot == 0:
			if err := p.take(&a); err != nil {
				return err
			}
		case a.slot > 0 && a.slot <= len(p.sizes):
			p.acknowledged(&a)
		default:
			return fmt.Errorf("answer to a request that was not made: %s", a.text())
		}
	}
}

// take acknowledges what a pop has brought, and pops again.
func (p *popper) take(a *answer) error {
	switch a.code {
	case 0:
	case popPollingFull, popPollingTimeout, pullNotFound:
		return p.nothing()
	default:
		return fmt.Errorf("pop: %s", a.text())
	}
	if err := p.read(a); err != nil {
		return err
	}
	p.vain = 0
	if p.counted {
		p.requests++
		record(p.delay, time.Since(p.began))
	}
	times := fmt.Sprintf("%s %s %s 0 %s ", a.word("popTime"), a.word("invisibleTime"), a.word("reviveQid"), p.broker)
	for i := range p.popped {
		q := &p.popped[i]
		if p.run.opts.BatchAck {
			p.ackAll(q, a)
			continue
		}
		for _, off := range q.offsets {
			p.receipt = strconv.AppendInt(p.receipt[:0], q.start, 10)
			p.receipt = append(append(p.receipt, ' '), times...)
			p.receipt = strconv.AppendInt(p.receipt, int64(q.queue), 10)
			p.receipt = strconv.AppendInt(append(p.receipt, ' '), off, 10)
			p.request(codeAck, 1, []pair{
				{"consumerGroup", p.run.opts.Group},
				{"topic", p.run.opts.Topic},
				{"queueId", strconv.Itoa(int(q.queue))},
				{"extraInfo", string(p.receipt)},
				{"offset", strconv.FormatInt(off, 10)},
			}, nil)
		}
	}
	p.ask()
	return nil
}

// nothing pops again, for others may have had the queues' locks, unless the topic is drained.
func (p *popper) nothing() error {
	if p.vain++; p.vain > maxVain || p.run.popped.Load() >= p.run.opts.Fill {
		p.empty = true
		return nil
	}
	time.Sleep(time.Millisecond)
	p.ask()
	return nil
}

// maxVain is how many pops in a row may bring nothing.
const maxVain = 500

// read finds the offsets of each queue in an answer's records, and the queue's start in its header.
func (p *popper) read(a *answer) error {
	p.popped = p.popped[:0]
	for _, part := range strings.Split(a.word("startOffsetInfo"), ";") {
		f := strings.Fields(part)
		if len(f) != 3 || f[0] != "0" {
			return fmt.Errorf("startOffsetInfo %q: %s", part, a.text())
		}
		queue, err1 := strconv.ParseInt(f[1], 10, 32)
		start, err2 := strconv.ParseInt(f[2], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return fmt.Errorf("startOffsetInfo %q: %w", part, err)
		}
		p.popped = append(p.popped, popped{queue: int32(queue), start: start})
	}
	for b := a.body; len(b) >= 88; {
		size := int(binary.BigEndian.Uint32(b))
		if size < 88 || size > len(b) {
			return fmt.Errorf("record of %d bytes in %d", size, len(b))
		}
		queue, offset := int32(binary.BigEndian.Uint32(b[12:])), int64(binary.BigEndian.Uint64(b[20:]))
		for i := range p.popped {
			if p.popped[i].queue == queue {
				p.popped[i].offsets = append(p.popped[i].offsets, offset)
				p.run.popped.Add(1)
			}
		}
		if p.counted {
			p.bytes += int64(len(recordBody(b[:size])))
		}
		b = b[size:]
	}
	return nil
}

// ackAll acknowledges what one queue has brought with one request. Bit n of the set is the message n behind the start.
func (p *popper) ackAll(q *popped, a *answer) {
	var set []byte
	for _, off := range q.offsets {
		bit := int(off - q.start)
		for len(set) <= bit/8 {
			set = append(set, 0)
		}
		set[bit/8] |= 1 << (bit % 8)
	}
	body := fmt.Appendf(nil, `{"acks":[{"b":%q,"c":%q,"it":%s,"pt":%s,"q":%d,"r":"0","rq":%s,"so":%d,"t":%q}],"brokerName":%q}`, base64.StdEncoding.EncodeToString(set),
		p.run.opts.Group, a.word("invisibleTime"), a.word("popTime"), q.queue, a.word("reviveQid"), q.start, p.run.opts.Topic, p.broker)
	p.request(codeBatchAck, len(q.offsets), nil, body)
}

// request makes an ack of so many messages.
func (p *popper) request(code, messages int, ext []pair, body []byte) {
	var slot int
	if n := len(p.free); n > 0 {
		slot, p.free = p.free[n-1], p.free[:n-1]
	} else {
		p.sizes = append(p.sizes, 0)
		slot = len(p.sizes)
	}
	p.sizes[slot-1] = messages
	if !p.counted {
		p.sizes[slot-1] = -messages
	}
	p.waiting++
	p.out = append(p.out, frame(p.run.opts.Serialization, code, int32(opaqueBase+slot), ext, body)...)
}

func (p *popper) acknowledged(a *answer) {
	n := int64(p.sizes[a.slot-1])
	p.free = append(p.free, a.slot)
	p.waiting--
	p.run.total.Add(max(n, -n))
	switch {
	case a.code != 0:
		p.run.fails.Add(1)
		p.fail(a)
	case n > 0:
		p.requests++
		p.messages += n
		p.run.done.Add(n)
	}
}

// word is a field of the custom header as text, up to the quote or the end of the number.
func (a *answer) word(name string) string {
	i := bytes.Index(a.header, []byte(`"`+name+`":`))
	if i < 0 {
		return ""
	}
	v := a.header[i+len(name)+3:]
	if len(v) > 0 && v[0] == '"' {
		v = v[1:]
	}
	end := bytes.IndexAny(v, `",}`)
	return string(v[:max(0, end)])
}

// Pop drains a topic by pop, several connections at once, and acknowledges each message, or all of a queue together.
func Pop(ctx context.Context, o Options) (Result, error) {
	how := "each acknowledged"
	if o.BatchAck {
		how = "a queue's acknowledged together"
	}
	res := Result{Kind: "pop", Broker: o.Broker, Settings: fmt.Sprintf("%d queues over %d connections, up to %d messages a pop, %s", o.Queues, o.Connections, o.Batch, how)}
	if o.Serialization != JSON {
		return res, errors.New("pop: JSON headers only")
	}
	if o.Duration <= 0 {
		o.Duration = time.Hour // until the topic is drained
	}
	// A group of its own finds all messages.
	o.Group += strconv.FormatInt(time.Now().UnixMilli(), 36)
	if err := o.check(); err != nil {
		return res, err
	}
	if err := o.prepare(); err != nil {
		return res, err
	}
	if _, err := o.fill(ctx); err != nil {
		return res, err
	}
	name, err := brokerName(o.Broker)
	if err != nil {
		return res, err
	}
	o.Warmup = 0
	r := &run{opts: o}
	r.phase.Store(int32(measuring))
	var workers workers
	defer func() { workers.close() }()
	for range o.Connections {
		c, err := dialPull(o.Broker)
		if err != nil {
			return res, err
		}
		t := newTally()
		p := &popper{conn: c, tally: &t, run: r, broker: name, pop: popTemplate(&o)}
		p.born = p.pop.places[markBorn]
		workers = append(workers, p)
	}
	h, err := r.drive(ctx, workers, &res)
	l := latencyOf(h)
	res.Pull = &l
	return res, err
}

// brokerName is what a broker calls itself.
func brokerName(addr string) (string, error) {
	c, err := dial(addr)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	a, err := c.call(JSON, codeBrokerConfig, nil, nil)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(a.body)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "brokerName="); ok {
			return name, nil
		}
	}
	return "", fmt.Errorf("configuration of %s: no brokerName: %s", addr, a.text())
}
