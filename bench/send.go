package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// phase is where a run is; its workers look at it once for every round of reading.
type phase int32

const (
	warming phase = iota
	measuring
	ending
)

// run is what the workers of one run share.
type run struct {
	opts   Options
	phase  atomic.Int32
	done   atomic.Int64 // messages answered while measuring
	total  atomic.Int64 // messages answered at all, for the progress line
	fails  atomic.Int64
	popped atomic.Int64
	keys   atomic.Uint64 // blocks of unique keys that have been handed out

	templates []template
	place     []places
}

func (r *run) now() phase { return phase(r.phase.Load()) }

// tally is what one worker counts for itself.
type tally struct {
	messages, requests, bytes int64
	unanswered                int64
	errors                    map[int]int64
	firstErr                  string
	delay                     *hdrhistogram.Histogram
	pauses                    []pause // of an open loop
}

func newTally() tally { return tally{errors: map[int]int64{}, delay: newHistogram()} }

func (t *tally) fail(a *answer) {
	t.errors[a.code]++
	if t.firstErr == "" {
		t.firstErr = a.text()
	}
}

func (t *tally) into(r *Result, h *hdrhistogram.Histogram) {
	r.Messages += t.messages
	r.Requests += t.requests
	r.Bytes += t.bytes
	r.Unanswered += t.unanswered
	for c, n := range t.errors {
		if r.Errors == nil {
			r.Errors = map[int]int64{}
		}
		r.Errors[c] += n
	}
	if r.FirstErr == "" {
		r.FirstErr = t.firstErr
	}
	h.Merge(t.delay)
}

// worker is one connection of a run.
type worker interface {
	work() error
	counts() *tally
	Close() error
}

// drive runs workers through warm-up, measuring and end, and adds up.
func (r *run) drive(ctx context.Context, workers []worker, result *Result) (*hdrhistogram.Histogram, error) {
	slave, err := r.opts.watchSlave()
	if err != nil {
		return newHistogram(), err
	}
	defer slave.close()
	var wg sync.WaitGroup
	errs := make([]error, len(workers))
	over := make(chan struct{})
	for i, w := range workers {
		wg.Go(func() { errs[i] = w.work() })
	}
	go func() {
		wg.Wait()
		close(over)
	}()
	stop := r.progress()
	r.wait(ctx, over, r.opts.Warmup, false)
	pid := r.opts.pid()
	before, slaveBefore := measure(pid), slave.used()
	highest := watchMemory(pid)
	r.phase.Store(int32(measuring))
	r.wait(ctx, over, r.opts.Duration, true)
	r.phase.Store(int32(ending))
	after := measure(pid)
	if slave != nil {
		result.Slave = new(SlaveResult)
		if result.Slave.Behind, err = slave.behind(); err != nil {
			errs = append(errs, err)
		}
	}
	result.Memory = highest()
	stop()
	// What is under way is let to its end, for a bounded time; then the connections are closed under the workers.
	select {
	case <-over:
	case <-time.After(10 * time.Second):
	}
	for _, w := range workers {
		_ = w.Close()
	}
	<-over
	h := newHistogram()
	for _, w := range workers {
		w.counts().into(result, h)
	}
	result.account(pid, before, after)
	if slave != nil {
		errs = append(errs, slave.account(ctx, result, pid, before.broker, after, slaveBefore))
	}
	return h, errors.Join(append(errs, ctx.Err())...)
}

// wait returns when the time is over, the count is reached, all workers have ended, or ctx is done.
func (r *run) wait(ctx context.Context, over <-chan struct{}, d time.Duration, counted bool) {
	if d <= 0 && (!counted || r.opts.Count <= 0) {
		return
	}
	var timeout <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		timeout = timer.C
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-over:
			return
		case <-timeout:
			return
		case <-tick.C:
			if counted && r.opts.Count > 0 && r.done.Load() >= r.opts.Count {
				return
			}
		}
	}
}

// progress prints a line each second until the returned function is called.
func (r *run) progress() (stop func()) {
	if r.opts.Progress == nil {
		return func() {}
	}
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		var last int64
		names := map[phase]string{warming: "warm-up", measuring: "measuring", ending: "ending"}
		for second := 1; ; second++ {
			select {
			case <-quit:
				return
			case <-tick.C:
				n := r.total.Load()
				_, _ = fmt.Fprintf(r.opts.Progress, "%4d s  %-9s %12s messages/s  %s in all, %d failed\n", second, names[r.now()], group(n-last), group(n), r.fails.Load())
				last = n
			}
		}
	}()
	return func() {
		close(quit)
		<-ended
	}
}

// Marks in templates; each has the width of what is put there.
const (
	markKey   = "KKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKK" // a unique key: 32 hexadecimal digits
	markBorn  = "7777777777777"                    // milliseconds
	markTopic = "_99999"                           // number of a topic among several
)

const producerGroup = "bench_producer"

// keyBlock is how many unique keys a worker takes at once.
const keyBlock = 1 << 20

// sender keeps a number of sends without answer on one connection.
type sender struct {
	*conn
	*tally
	run       *run
	templates []template // one for each queue
	place     []places
	turn      int // template
	first     int // template of the first request that is written next
	topic     int
	per       int // messages in a request
	out       []byte
	free      []int   // slots without a request
	began     []int64 // slot: when its request was written, in nanoseconds since start
	measured  []bool  // slot: written while measuring
	start     time.Time
	key       uint64
	keyEnd    uint64
	ring      *ring    // nil: requests are too large for one
	bornAt    uint64   // milliseconds, in the digits of
	born      [13]byte // this
	same      int64    // how many answers had the
	delayed   time.Duration
	pace      bool // delays count from intended times
}

// places are where a template is patched.
type places struct{ keys, born, topics []int }

func newSender(r *run, per int) (*sender, error) {
	c, err := dial(r.opts.Broker)
	if err != nil {
		return nil, err
	}
	n := r.opts.InFlight
	t := newTally()
	s := &sender{conn: c, tally: &t, run: r, per: per, began: make([]int64, n), measured: make([]bool, n), start: time.Now()}
	for i := range n {
		s.free = append(s.free, i)
	}
	s.templates, s.place = r.sendTemplates(per)
	s.turn = rand.IntN(len(s.templates))
	s.topic = rand.IntN(max(1, r.opts.Topics))
	return s, nil
}

// sendTemplates are the same for all senders of a run.
func (r *run) sendTemplates(per int) ([]template, []places) {
	if r.templates != nil {
		return r.templates, r.place
	}
	for q := range r.opts.Queues {
		t := sendTemplate(&r.opts, q, per)
		r.templates = append(r.templates, t)
		r.place = append(r.place, places{t.places[markKey], t.places[markBorn], t.places[markTopic]})
	}
	return r.templates, r.place
}

// sendTemplate is the send of one message, or of a batch of them, to one queue.
func sendTemplate(o *Options, queue, per int) template {
	topic := o.Topic
	if o.Topics > 1 {
		topic += markTopic
	}
	props := "UNIQ_KEY\x01" + markKey + "\x02WAIT\x01" + strconv.FormatBool(o.Wait) + "\x02" + o.Properties
	if o.Keys {
		props += "KEYS\x01" + markKey + "\x02"
	}
	body := make([]byte, o.Body)
	for i := range body {
		body[i] = byte('a' + (i*7+i/61)%26)
	}
	ext := []pair{
		{"a", producerGroup},
		{"b", topic},
		{"c", "TBW102"},
		{"d", "4"},
		{"e", strconv.Itoa(queue)},
		{"f", strconv.Itoa(o.sysFlag)},
		{"g", markBorn},
		{"h", "0"},
		{"i", props},
		{"j", "0"},
		{"k", "false"},
		{"m", strconv.FormatBool(per > 1)},
	}
	code := codeSendV2
	if per > 1 {
		code = codeSendBatch
		ext[8].value = "WAIT\x01" + strconv.FormatBool(o.Wait) + "\x02"
		var batch []byte
		for range per {
			batch = appendBatchItem(batch, body, props)
		}
		body = batch
	}
	t := makeTemplate(o.Serialization, code, ext, body, markKey, markBorn, markTopic)
	for _, i := range t.places[markKey] {
		putHex(t.frame[i:i+len(markKey)], 0) // the upper half stays so
	}
	return t
}

// appendBatchItem adds one message to the body of a batch:
//
//	offset size field
//	     0    4 total size
//	     4    8 magic and body CRC, not used
//	    12    4 flag
//	    16    4 body length, then the body
//	          2 properties length, then the properties
func appendBatchItem(b, body []byte, props string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(22+len(body)+len(props)))
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	b = append(b, body...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(props)))
	return append(b, props...)
}

func (s *sender) counts() *tally { return s.tally }

// work writes a request for every free slot, reads what answers there are, and again.
func (s *sender) work() error {
	for {
		p := s.run.now()
		if p == ending {
			if len(s.free) == len(s.began) {
				return nil
			}
		} else if err := s.write(p == measuring); err != nil {
			return s.closed(err)
		}
		if err := s.fill(); err != nil {
			return s.closed(err)
		}
		if err := s.answers(); err != nil {
			return err
		}
	}
}

// closed drops the error of a connection that was closed at the end of a run, which happens when answers did not come in time.
func (s *sender) closed(err error) error {
	if s.run.now() == ending && errors.Is(err, net.ErrClosed) {
		s.unanswered = int64(len(s.began) - len(s.free))
		return nil
	}
	return err
}

// write writes a request for each free slot.
func (s *sender) write(measured bool) error {
	if len(s.free) == 0 {
		return nil
	}
	now := time.Now()
	born, at := uint64(now.UnixMilli()), int64(now.Sub(s.start))
	out := s.frames(born)
	for _, slot := range s.free {
		s.began[slot], s.measured[slot] = at, measured
	}
	s.free = s.free[:0]
	_, err := s.Write(out)
	return err
}

// frames are requests, one for each free slot.
func (s *sender) frames(born uint64) []byte {
	for k, slot := range s.free {
		s.request(slot, k, born)
	}
	return s.made(len(s.free))
}

// advance goes on to the next queue, and behind the last one to the next topic.
func (s *sender) advance() {
	if s.turn++; s.turn == len(s.templates) {
		s.turn = 0
		if s.run.opts.Topics > 1 {
			s.topic = (s.topic + 1) % s.run.opts.Topics
		}
	}
}

// patch writes what is different in each request.
func (s *sender) patch(f []byte, t *template, p *places, slot int, born uint64) {
	t.setOpaque(f, slot)
	for _, i := range p.keys {
		if s.key == s.keyEnd {
			s.key = s.run.keys.Add(keyBlock) - keyBlock
			s.keyEnd = s.key + keyBlock
		}
		putHex(f[i+16:i+32], s.key)
		s.key++
	}
	if born != s.bornAt {
		s.bornAt = born
		putDecimal(s.born[:], born)
	}
	for _, i := range p.born {
		copy(f[i:i+13], s.born[:])
	}
	for _, i := range p.topics {
		putDecimal(f[i+1:i+6], uint64(s.topic))
	}
}

func (s *sender) answers() error {
	at := int64(time.Since(s.start))
	var done, all int64
	for {
		a, ok, err := s.conn.next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if a.slot < 0 || a.slot >= len(s.began) {
			return fmt.Errorf("answer to a request that was not made: %s", a.text())
		}
		s.free = append(s.free, a.slot)
		all += int64(s.per)
		if a.code != 0 {
			s.run.fails.Add(1)
		}
		if !s.measured[a.slot] {
			continue
		}
		s.requests++
		if a.code != 0 {
			s.fail(&a)
			continue
		}
		s.messages += int64(s.per)
		s.bytes += int64(s.per * s.run.opts.Body)
		done += int64(s.per)
		delay := time.Duration(at - s.began[a.slot])
		s.count(delay)
		if s.pace && delay > pauseFrom {
			s.paused(time.Duration(s.began[a.slot]), delay)
		}
	}
	s.countSame()
	s.run.total.Add(all)
	if done > 0 {
		s.run.done.Add(done)
	}
	return nil
}

// count counts a delay. Requests that were written together are mostly answered together, and counted together.
func (s *sender) count(d time.Duration) {
	if d != s.delayed {
		s.countSame()
		s.delayed = d
	}
	s.same++
}

func (s *sender) countSame() {
	if s.same > 0 {
		_ = s.delay.RecordValues(clamp(s.delayed), s.same)
		s.same = 0
	}
}

// Send keeps connections busy with single sends and measures the delay from request to answer.
func Send(ctx context.Context, o Options) (Result, error) { return send(ctx, o, 1) }

// Batch is Send with batches of Options.Batch messages.
func Batch(ctx context.Context, o Options) (Result, error) { return send(ctx, o, o.Batch) }

// sends begins a run of sends.
func (o *Options) sends() (*run, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if err := o.prepare(); err != nil {
		return nil, err
	}
	r := &run{opts: *o}
	// Keys that no other run has: the index would grow chains of equal ones.
	r.keys.Store(uint64(time.Now().UnixNano()))
	return r, nil
}

// workers are those of a run.
type workers []worker

func (all workers) close() {
	for _, w := range all {
		_ = w.Close()
	}
}

func send(ctx context.Context, o Options, per int) (Result, error) {
	res := Result{Kind: "send", Broker: o.Broker, Settings: fmt.Sprintf("%d connections with %d in flight, %d bytes, %d topics, %d queues", o.Connections,
		o.InFlight, o.Body, max(1, o.Topics), o.Queues)}
	if per > 1 {
		res.Kind = "batch"
		res.Settings += fmt.Sprintf(", batches of %d", per)
	}
	r, err := o.sends()
	if err != nil {
		return res, err
	}
	var workers workers
	defer func() { workers.close() }()
	for range o.Connections {
		s, err := newSender(r, per)
		if err != nil {
			return res, err
		}
		workers = append(workers, s)
		s.ring = newRing(s.templates, o.InFlight)
		if o.Connections == 1 {
			if err := s.waitInKernel(o.Broker); err != nil {
				return res, err
			}
		}
	}
	h, err := r.drive(ctx, workers, &res)
	l := latencyOf(h)
	res.Send = &l
	return res, err
}
