package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// suspend is how long a consumer lets its pull be held.
const suspend = 15 * time.Second

// LatencyRun runs producers at a fixed rate and long-polling consumers, and measures intended send to answer and to delivery.
func LatencyRun(ctx context.Context, o Options) (Result, error) {
	res := Result{Kind: "latency", Broker: o.Broker, Settings: fmt.Sprintf("%s messages/s open loop over %d connections, %d bytes, %d queues", group(int64(o.Rate)),
		o.Connections, o.Body, o.Queues)}
	o.Topics = 1
	switch {
	case o.Groups == 0:
		o.Groups = 1
	case o.Groups < 0:
		o.Groups = 0
	}
	o.Body = max(o.Body, stampBytes)
	if o.Level > 0 && !o.Back {
		o.Properties += "DELAY\x01" + strconv.Itoa(o.Level) + "\x02"
	}
	whole := o.Count > 0
	if whole {
		o.Rate, o.Warmup, o.Duration = unbounded, 0, time.Duration(o.Count)*time.Second/unbounded
		res.Settings = fmt.Sprintf("%s messages over %d connections, %d in flight each, %d bytes, %d queues, until all are delivered", group(o.Count), o.Connections,
			o.InFlight, o.Body, o.Queues)
	}
	if o.Rate < 1 || o.Rate > 2_000_000 {
		return res, fmt.Errorf("rate: %d is not in 1..2,000,000", o.Rate)
	}
	if o.Duration <= 0 {
		return res, errors.New("a latency run needs a duration")
	}
	if !whole {
		// Enough for two seconds of silence; when that is used up the broker is far behind, and waiting is all that is left.
		o.InFlight = max(64, 2*o.Rate/max(1, o.Connections))
	}
	if o.Consumers <= 0 {
		o.Consumers = o.Connections
	}
	if err := o.check(); err != nil {
		return res, err
	}
	if err := o.prepare(); err != nil {
		return res, err
	}
	l := &latencyRun{run: &run{opts: o}, start: time.Now()}
	l.run.keys.Store(uint64(time.Now().UnixNano()))
	defer l.close()
	if err := l.connect(); err != nil {
		return res, err
	}
	err := l.measure(ctx, &res)
	return res, err
}

// unbounded is a rate in messages a second that no broker here reaches: what is in flight bounds such a run.
const unbounded = 2_000_000

type latencyRun struct {
	run       *run
	start     time.Time
	producers []*paced
	consumers []*tailer
	readers   sync.WaitGroup
	from, to  atomic.Int64 // nanoseconds since start: messages intended in between count
	sent      int64        // in that time
	behind    int64
	ring      *ring // of all producers, which one goroutine writes for; nil: requests are too large for one
}

func (l *latencyRun) close() {
	for _, p := range l.producers {
		_ = p.Close()
	}
	for _, c := range l.consumers {
		_ = c.Close()
	}
	l.readers.Wait()
}

func (l *latencyRun) connect() error {
	o := l.run.opts
	l.from.Store(1 << 62)
	l.to.Store(1 << 62)
	for g := range o.Groups {
		if err := l.connectGroup(g); err != nil {
			return err
		}
	}
	for range o.Connections {
		s, err := newSender(l.run, 1)
		if err != nil {
			return err
		}
		s.start = l.start
		if l.ring == nil {
			l.ring = newRing(s.templates, together)
		}
		s.ring, s.pace = l.ring, true
		p := &paced{sender: s, ended: make(chan error, 1)}
		p.slots.some.L = &p.slots.mu
		p.slots.free, s.free = s.free, nil
		l.producers = append(l.producers, p)
	}
	for _, c := range l.consumers {
		l.readers.Go(func() { c.err = c.work() })
	}
	for _, p := range l.producers {
		l.readers.Go(func() { p.ended <- p.read() })
	}
	return nil
}

// connectGroup lets one consumer group follow all queues from their ends on.
func (l *latencyRun) connectGroup(g int) error {
	o := l.run.opts
	if g > 0 {
		o.Group = fmt.Sprintf("%s_%d", o.Group, g)
	}
	consumers := min(o.Consumers, o.Queues)
	for i := range consumers {
		c, err := dialPull(o.Broker)
		if err != nil {
			return err
		}
		t := &tailer{conn: c, run: l, delay: newHistogram(), written: newHistogram()}
		l.consumers = append(l.consumers, t)
		for q := i; q < o.Queues; q += consumers {
			if err := t.follow(&o, o.Topic, q); err != nil {
				return err
			}
		}
	}
	if !o.Back {
		return nil
	}
	first := l.consumers[len(l.consumers)-consumers]
	retry := retryPrefix + o.Group
	if err := createTopic(first.conn, retry, 1); err != nil {
		return err
	}
	return first.follow(&o, retry, 0)
}

const retryPrefix = "%RETRY%"

// follow adds a queue from its end on.
func (t *tailer) follow(o *Options, topic string, q int) error {
	end, err := offset(t.conn, codeMaxOffset, topic, q)
	if err != nil {
		return err
	}
	tp := pullTemplate(o, topic, q, flagSubscription|flagSuspend, suspend)
	t.queues = append(t.queues, queue{id: q, offset: end, template: tp, at: tp.places[markOffset]})
	return nil
}

func (l *latencyRun) measure(ctx context.Context, res *Result) error {
	o := l.run.opts
	pid := o.pid()
	stop := l.run.progress()
	begin := time.Since(l.start) + 50*time.Millisecond
	from := begin + o.Warmup
	to := from + o.Duration
	l.from.Store(int64(from))
	l.to.Store(int64(to))
	var before usage
	highest := func() *Memory { return nil }
	err := l.pace(ctx, begin, from, to, func() {
		l.run.phase.Store(int32(measuring))
		before = measure(pid)
		highest = watchMemory(pid)
	})
	after := measure(pid)
	l.run.phase.Store(int32(ending))
	l.settle()
	if o.Count > 0 {
		after = measure(pid)
	}
	res.Memory = highest()
	stop()
	for _, p := range l.producers {
		_ = p.Close()
	}
	for _, c := range l.consumers {
		_ = c.Close()
	}
	l.readers.Wait()
	h, d, w := newHistogram(), newHistogram(), newHistogram()
	var delivered int64
	errs := []error{err}
	var pauses []pause
	for _, p := range l.producers {
		p.into(res, h)
		pauses = append(pauses, p.pauses...)
		errs = append(errs, ignoreClosed(<-p.ended))
	}
	for _, c := range l.consumers {
		d.Merge(c.delay)
		w.Merge(c.written)
		delivered += c.counted.Load()
		errs = append(errs, ignoreClosed(c.err))
	}
	res.Pauses = joinPauses(l.start, pauses)
	send, delivery, written := latencyOf(h), latencyOf(d), latencyOf(w)
	res.Send = &send
	if o.Groups > 0 {
		res.Delivery, res.Written = &delivery, &written
	}
	if o.Count > 0 { // no message has a time of its own
		res.Send, res.Delivery, res.Pauses, l.behind = nil, nil, nil, 0
	}
	res.Delivered = delivered
	res.Behind, res.NotDeliveredYet = l.behind, max(0, (l.sent-res.Failed())*int64(o.Groups)-delivered)
	res.account(pid, before, after)
	return errors.Join(errs...)
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// settle waits until every message counted has been answered and delivered, for as long as there is something of it from time to time.
func (l *latencyRun) settle() {
	patience := 2*time.Second + l.run.opts.After
	last := int64(-1)
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		var delivered int64
		for _, c := range l.consumers {
			delivered += c.counted.Load()
		}
		done := l.run.done.Load()
		if delivered >= l.sent*int64(l.run.opts.Groups) && done >= l.sent {
			return
		}
		if l.run.opts.Count > 0 && delivered+done > last {
			last, end = delivered+done, time.Now().Add(patience)
		}
	}
}

// stampBytes is what the body of each message begins with: its intended time and when it was written, in nanoseconds since the start of
// the run, and between them which run it is.
const stampBytes = 24

// tailer is a consumer that follows its queues with held pulls.
type tailer struct {
	*conn
	run     *latencyRun
	queues  []queue
	out     []byte
	delay   *hdrhistogram.Histogram // from the intended time
	written *hdrhistogram.Histogram // from the write
	counted atomic.Int64
	err     error
}

func (t *tailer) ask(i int) {
	q := &t.queues[i]
	begin := len(t.out)
	t.out = append(t.out, q.template.frame...)
	f := t.out[begin:]
	q.template.setOpaque(f, i)
	for _, at := range q.at {
		putDecimal(f[at:at+len(markOffset)], uint64(q.offset))
	}
}

func (t *tailer) work() error {
	for i := range t.queues {
		t.ask(i)
	}
	for {
		if len(t.out) > 0 {
			if _, err := t.Write(t.out); err != nil {
				return err
			}
			t.out = t.out[:0]
		}
		if err := t.fill(); err != nil {
			return err
		}
		now := time.Since(t.run.start)
		for {
			a, ok, err := t.conn.next()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			if err := t.take(&a, now); err != nil {
				return err
			}
		}
	}
}

func (t *tailer) take(a *answer, now time.Duration) error {
	if a.slot == backSlot {
		if a.code != 0 {
			return fmt.Errorf("send back: %s", a.text())
		}
		return nil
	}
	if a.slot < 0 || a.slot >= len(t.queues) {
		return fmt.Errorf("answer to a request that was not made: %s", a.text())
	}
	q := &t.queues[a.slot]
	next, ok := a.field(q.template.serialization, "nextBeginOffset")
	if !ok || a.code != 0 && a.code != pullNotFound && a.code != pullRetry && a.code != pullOffsetOff {
		return fmt.Errorf("pull of %s/%d at %d: %s", t.run.run.opts.Topic, q.id, q.offset, a.text())
	}
	if a.code == 0 {
		t.records(a.body, now)
	}
	q.offset = next
	t.ask(a.slot)
	return nil
}

func (t *tailer) records(b []byte, now time.Duration) {
	from, to := t.run.from.Load(), t.run.to.Load()
	mine := uint64(t.run.start.UnixNano())
	for len(b) >= 88 {
		size := int(binary.BigEndian.Uint32(b))
		if size < 88 || size > len(b) {
			return
		}
		if body := recordBody(b[:size]); len(body) >= stampBytes && binary.BigEndian.Uint64(body[8:]) == mine {
			due := int64(binary.BigEndian.Uint64(body))
			if t.run.run.opts.Back && binary.BigEndian.Uint32(b[72:]) == 0 {
				t.sendBack(int64(binary.BigEndian.Uint64(b[28:])))
			} else if due >= from && due < to {
				record(t.delay, now-time.Duration(due)-t.run.run.opts.After)
				record(t.written, now-time.Duration(binary.BigEndian.Uint64(body[16:]))-t.run.run.opts.After)
				t.counted.Add(1)
			}
		}
		b = b[size:]
	}
}

// backSlot is behind those of the queues.
const backSlot = 1_000_000

// sendBack lets a message be delivered again.
func (t *tailer) sendBack(physical int64) {
	o := &t.run.run.opts
	t.out = append(t.out, frame(o.Serialization, codeSendBack, opaqueBase+backSlot, []pair{
		{"offset", strconv.FormatInt(physical, 10)},
		{"group", o.Group},
		{"delayLevel", strconv.Itoa(o.Level)},
		{"originMsgId", ""},
		{"originTopic", o.Topic},
		{"unitMode", "false"},
		{"maxReconsumeTimes", "16"},
	}, nil)...)
}
