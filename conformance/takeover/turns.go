package takeover

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"apogee/conformance/wire"
	"apogee/remoting/code"
)

// turn is how far ordered pops of a queue are. Messages are acknowledged in their order, so it is one number.
type turn struct {
	next    int64 // the first one that is not acknowledged
	perhaps int64 // beyond it, if the ack without an answer was heard
	at      int64 // ms: of the last thing that was done
	hidden  int64 // ms: what is out is not given out again before; 0 if nothing is
}

// popTurns pops in order, as one consumer.
func (p *phase) popTurns(c *wire.Conn, rnd *rand.Rand) error {
	_, err := p.popTurn(c, rnd, false)
	return err
}

// popTurn pops once. As a rule all is acknowledged; otherwise only some of the first are, and the queue has to wait.
func (p *phase) popTurn(c *wire.Conn, rnd *rand.Rand, ackAll bool) (n int, err error) {
	hidden := 3000 + rnd.Int64N(3000)
	f, recs, before, after, err := p.call(c, popExt(turnGroup, turnTopic, 1+rnd.IntN(8), hidden, true))
	if err != nil {
		return 0, err
	}
	for len(recs) > 0 {
		queue := recs[0].QueueID
		if queue < 0 || queue >= queues {
			p.differ("popped in order from queue %d", queue)
			return n, nil
		}
		k := slices.IndexFunc(recs, func(rec wire.Record) bool { return rec.QueueID != queue })
		if k < 0 {
			k = len(recs)
		}
		p.ledger.inTurn(queue, recs[:k], before, after, hidden)
		acks := k
		if !ackAll && rnd.IntN(4) == 0 {
			acks = rnd.IntN(k)
		}
		for i := range acks {
			if err := p.ackTurn(c, f, &recs[i], i == k-1); err != nil {
				return n, err
			}
		}
		n, recs = n+k, recs[k:]
	}
	return n, nil
}

// inTurn takes what was popped from a queue, and looks whether it is its turn.
func (l *ledger) inTurn(queue int, recs []wire.Record, before, after, hidden int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := &l.turns[queue]
	first := recs[0].QueueOffset
	killed := l.run.killedBetween(t.at, after)
	at := fmt.Sprintf("%s/%d at %d", turnTopic, queue, first)
	switch {
	case first > max(t.next, t.perhaps):
		l.run.differ("%s: popped in order, and %d is not acknowledged", at, t.next)
	case first < t.next && !killed:
		l.run.differ("%s: popped in order once more, and all up to %d is acknowledged", at, t.next)
	case after < t.hidden-aBitEarly && !killed:
		l.run.differ("%s: popped in order, and what is out is hidden for %d ms more", at, t.hidden-after)
	}
	for i := range recs {
		if recs[i].QueueOffset != first+int64(i) {
			l.run.differ("%s: popped in order with %d at place %d", at, recs[i].QueueOffset, i)
		}
	}
	l.inOrder += len(recs)
	*t = turn{next: first, at: after, hidden: before + hidden}
}

func (p *phase) ackTurn(c *wire.Conn, f *wire.Frame, rec *wire.Record, last bool) error {
	h, err := handleOf(f, rec, turnGroup, turnTopic)
	if err != nil {
		p.differ("%v", err)
		return nil
	}
	t := &p.ledger.turns[rec.QueueID]
	p.ledger.settle(func() { t.perhaps = rec.QueueOffset + 1 })
	_, err = accepted(c.Call(int(code.AckMessage), h.ext(turnGroup), nil))
	p.ledger.settle(func() {
		t.at = time.Now().UnixMilli()
		if err == nil {
			t.next = t.perhaps
		}
		if last { // also if nobody knows whether it was heard
			t.hidden = 0
		}
	})
	return err
}

// turnsMissing is what is still to be popped in order. Under mu.
func (l *ledger) turnsMissing() (out []string) {
	for _, m := range l.order {
		if m.topic == turnTopic && m.stored == yes && !m.gone && m.offset >= l.turns[m.queue].next {
			out = append(out, fmt.Sprintf("%s (to be popped in order; all up to %d is acknowledged)", m, l.turns[m.queue].next))
		}
	}
	return out
}
