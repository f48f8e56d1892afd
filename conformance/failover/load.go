package failover

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"apogee/conformance/wire"
	"apogee/remoting/code"
)

// group reads without pause: what is new, and then the last messages again, so that there is something to read when the master is away.
const (
	group   = "FailoverReaders"
	again   = 200
	atOnce  = 8
	between = 10 * time.Millisecond // two pulls
)

// event is the first success of a client with a broker since it was asked for, and how long it had none.
type event struct {
	pair string // of who reads

	mu      sync.Mutex // guards what follows
	addr    string
	at      time.Time
	last    time.Time
	longest time.Duration
}

// expect waits for a success with addr from now on.
func (e *event) expect(addr string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.addr, e.at = addr, time.Time{}
}

func (e *event) success(addr string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	if addr == e.addr && e.at.IsZero() {
		e.at = now
	}
	if !e.last.IsZero() {
		e.longest = max(e.longest, now.Sub(e.last))
	}
	e.last = now
}

// gap is the longest time without a success since it was asked for last.
func (e *event) gap() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	d := e.longest
	e.longest = 0
	return d
}

func (e *event) when() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.at
}

// load are clients that know the wire and ask the guide whenever a request fails.
type load struct {
	guide *guide
	book  *book
	made  *made
	lines *lines
	done  sync.WaitGroup

	reads  []*event // one of each reader
	sent   event
	refuse atomic.Int64 // sends that were not taken
}

// sender sends to the queues of a pair in turn; a message that is not acknowledged is not sent again, so nothing comes twice.
func (l *load) sender(ctx context.Context, p *pair, name string) {
	for n := 1; pause(ctx, 4*time.Millisecond); n++ {
		s := l.guide.look(p.name)
		if !s.writable || s.master() == "" {
			n--
			continue
		}
		id, queue := fmt.Sprint(name, "-", n), n%queues
		props := wire.Properties("UNIQ_KEY", id, "KEYS", id)
		f, err := l.lines.ask(s.master(), code.SendMessageV2, wire.Ext("a", "FailoverProducer", "b", topic, "c", "TBW102", "d", queues, "e", queue,
			"f", 0, "g", time.Now().UnixMilli(), "h", 0, "i", props, "j", 0, "k", false, "m", false), filled(id, n))
		if err != nil || f.Code != int(code.Success) {
			l.refuse.Add(1)
			continue
		}
		l.book.confirm(place{p.name, queue}, f.Int("queueOffset"), id)
		l.sent.success(s.master())
	}
}

// filled is the body of a message: its name, and some more.
func filled(id string, n int) []byte {
	return []byte(id + " " + strings.Repeat("x", n*7%1500))
}

// reader reads one queue from the broker that is shown as master, and commits what it has read.
func (l *load) reader(ctx context.Context, p place, e *event) {
	at, most, said, when := int64(0), int64(0), int64(0), time.Now()
	for pause(ctx, between) {
		addr := l.guide.look(p.pair).master()
		if addr == "" {
			continue
		}
		f, err := l.lines.ask(addr, code.PullMessage, pullExt(group, p.queue, at, atOnce), nil)
		if err != nil {
			continue
		}
		switch f.Code {
		case int(code.Success):
			recs, err := wire.Records(f.Body)
			if err != nil {
				l.book.differ("%v at %d: %s gives a broken record: %v", p, at, addr, err)
				continue
			}
			l.book.saw(p, addr, at, recs)
			at += int64(len(recs))
			e.success(addr)
		case int(code.PullNotFound): // at the end, of this broker
			most = max(most, at)
			at = max(0, at-again)
		case int(code.PullRetryImmediately): // a slave that lacks what was read already
			at = max(0, at-again)
		case int(code.PullOffsetMoved):
			l.book.differ("%v at %d: %s sends the reader to %d", p, at, addr, f.Int("nextBeginOffset"))
			at = max(0, at-again)
		}
		if most > said || time.Since(when) > 5*time.Second { // clients say it again and again
			if err := l.made.commit(addr, offsetKey{p.pair, group, topic, p.queue}, most); err == nil {
				said, when = most, time.Now()
			}
		}
	}
}

func pullExt(group string, queue int, offset int64, most int) map[string]string {
	return wire.Ext("consumerGroup", group, "topic", topic, "queueId", queue, "queueOffset", offset, "maxMsgNums", most,
		"sysFlag", 4, "commitOffset", 0, "suspendTimeoutMillis", 0, "subscription", "*", "subVersion", 0, "expressionType", "TAG")
}

// readers starts one for each queue of a pair.
func (l *load) readers(ctx context.Context, p *pair) {
	for q := range queues {
		e := &event{pair: p.name}
		l.reads = append(l.reads, e)
		l.done.Go(func() { l.reader(ctx, place{p.name, q}, e) })
	}
}

// expect waits for a read from addr by each reader, and for an acknowledgement.
func (l *load) expect(addr string) {
	for _, e := range l.reads {
		e.expect(addr)
	}
	l.sent.expect(addr)
}

// reading is when the last reader has had its first answer from whom it was expected, the zero time while one of them has not.
func (l *load) reading() (last time.Time) {
	for _, e := range l.reads {
		at := e.when()
		if at.IsZero() {
			return at
		}
		if at.After(last) {
			last = at
		}
	}
	return last
}

// longest is the longest time that a queue of a pair, or of any, was not read since this was asked for last.
func (l *load) longest(pair string) (most time.Duration) {
	for _, e := range l.reads {
		if d := e.gap(); e.pair == pair || pair == "" {
			most = max(most, d)
		}
	}
	return most
}

// drain reads all queues of a pair from one of its brokers to their ends.
func drain(ctx context.Context, l *lines, b *book, p *pair, addr string) error {
	for q := range queues {
		f, err := l.must(addr, code.GetMaxOffset, wire.Ext("topic", topic, "queueId", q), nil)
		if err != nil {
			return err
		}
		end := f.Int("offset")
		for at := int64(0); at < end; {
			f, err := l.must(addr, code.PullMessage, pullExt("FailoverChecker", q, at, 32), nil)
			if err != nil {
				return err
			}
			recs, err := wire.Records(f.Body)
			if err != nil {
				return fmt.Errorf("%v at %d of %s: %w", p.name, at, addr, err)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			b.saw(place{p.name, q}, addr, at, recs)
			at += int64(len(recs))
		}
	}
	return nil
}
