package takeover

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"apogee/conformance/wire"
	"apogee/remoting/code"
)

// popped is what is known of a message that is to be popped, by the one group that does. It may be stored several times: each time that it
// was not acknowledged, there is a copy in the retry topic.
type popped struct {
	message *message
	places  map[spot]*handed
	sent    int64    // a pop whose answer a kill has swallowed may have been the first
	story   []string // what was done with it
}

// handed is one stored copy that was handed out.
type handed struct {
	acked   known
	at      int64 // when it was popped last
	hidden  int64 // until when it is invisible
	ackedAt int64
	back    bool // it has come back, as another copy
}

func (p *popped) tell(format string, args ...any) {
	p.story = append(p.story, time.Now().Format("05.000 ")+fmt.Sprintf(format, args...))
}

// settled is whether nothing of it is to come.
func (p *popped) settled() bool {
	for _, h := range p.places {
		if h.acked == no && !h.back {
			return false
		}
	}
	return len(p.places) > 0
}

// aBitEarly is what a check point may come before its time: the timer's precision, and a clock that is read twice.
const aBitEarly = 1500

// delivered notes that a copy of a message was popped, and looks whether it may be: for the first time; or, in the retry topic, because
// another one was not acknowledged in its time; or because a kill made the broker forget, or because the
// answer to a pop was lost when it ended.
func (l *ledger) delivered(rec *wire.Record, from handle, before, after int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id, at := idOf(rec), from.spot()
	p := l.pops[id]
	if p == nil {
		l.run.differ("popped %.60q, which nobody has sent", id)
		return
	}
	l.poppings++
	p.tell("popped from %v at %d, hidden for %d ms", at.place, at.offset, from.hidden)
	h := p.places[at]
	switch {
	case h != nil && l.run.killedBetween(h.at, after):
		l.twice++
	case h != nil:
		l.run.differ("%v is popped once more from the same place: %s", p.message, strings.Join(p.story, "; "))
	case at.topic != popTopic && p.revived(after):
		l.back++
	case at.topic != popTopic && (l.run.cutBetween(p.sent, after) || p.overdue(l.run, rec.StoreTime)):
		l.twice++
	case at.topic != popTopic || len(p.places) > 0:
		l.run.differ("%v comes back, and should not: %s", p.message, strings.Join(p.story, "; "))
	}
	p.places[at] = &handed{at: before, hidden: from.popTime + from.hidden}
}

// overdue is whether the reference may have taken a copy that was acknowledged for one that was not, when it stored another one.
func (p *popped) overdue(r *run, stored int64) bool {
	for _, h := range p.places {
		if r.overdue(h.at, h.hidden, stored) {
			return true
		}
	}
	return false
}

// revived finds the copy that has come back as another one.
func (p *popped) revived(now int64) bool {
	for _, want := range []known{no, maybe} {
		for _, h := range p.places {
			if h.acked == want && !h.back && now >= h.hidden-aBitEarly {
				h.back = true
				return true
			}
		}
	}
	return false
}

// hidden is an invisible time: some are over while this broker runs, most when it has ended.
func (p *phase) hidden(rnd *rand.Rand) int64 {
	if p.drained { // it would only be waited for
		return 4000
	}
	return 4000 + rnd.Int64N(min(9000, 3*p.Phase.Milliseconds()))
}

// popOnce pops once. Some messages are acknowledged, some stay out, and of some the time is changed.
func (p *phase) popOnce(c *wire.Conn, rnd *rand.Rand, ackAll bool) (n int, err error) {
	hidden := p.hidden(rnd)
	f, recs, before, after, err := p.call(c, popExt(popGroup, popTopic, 1+rnd.IntN(8), hidden, false))
	if err != nil || len(recs) == 0 {
		return 0, err
	}
	handles := make([]handle, len(recs))
	for i := range recs {
		if handles[i], err = handleOf(f, &recs[i], popGroup, popTopic); err != nil {
			p.differ("%v", err)
			return len(recs), nil
		}
		p.ledger.delivered(&recs[i], handles[i], before, after)
	}
	for i, h := range handles {
		if err := p.decide(c, rnd, idOf(&recs[i]), h, ackAll); err != nil {
			return len(recs), err
		}
	}
	return len(recs), nil
}

// call pops, and tells when it was asked and answered. There may be no messages.
func (p *phase) call(c *wire.Conn, ext map[string]string) (f *wire.Frame, recs []wire.Record, before, after int64, err error) {
	before = time.Now().UnixMilli()
	f, err = c.Call(int(code.PopMessage), ext, nil)
	if err != nil || f.Code == int(code.PollingTimeout) || f.Code == int(code.PollingFull) {
		return nil, nil, 0, 0, err
	}
	if f, err = accepted(f, nil); err != nil {
		return nil, nil, 0, 0, err
	}
	after = time.Now().UnixMilli()
	if recs, err = wire.Records(f.Body); err != nil {
		p.differ("popped: %v", err)
		return nil, nil, 0, 0, nil
	}
	return f, recs, before, after, nil
}

func (p *phase) decide(c *wire.Conn, rnd *rand.Rand, id string, h handle, ackAll bool) error {
	switch n := rnd.IntN(10); {
	case ackAll || n < 6:
		return p.ack(c, id, h)
	case n < 8: // it stays out
		return nil
	}
	// Its time changes; it has another receipt then. In the millisecond of the pop the reference would take the one for the other, and the
	// message would be lost.
	time.Sleep(2 * time.Millisecond)
	hidden := p.hidden(rnd)
	ext := h.ext(popGroup)
	ext["invisibleTime"] = fmt.Sprint(hidden)
	before := time.Now().UnixMilli()
	f, err := accepted(c.Call(int(code.ChangeMessageInvisibleTime), ext, nil))
	p.ledger.onCopy(id, h, func(c *handed) {
		switch {
		case err == nil:
			c.hidden = f.Int("popTime") + f.Int("invisibleTime")
		case errors.Is(err, errRefused):
		default: // whichever is sooner
			c.hidden = min(c.hidden, before+hidden)
		}
	}, "changed: hidden for %d ms (%v)", hidden, err)
	if err != nil {
		return err
	}
	h.popTime, h.hidden, h.revive, h.start = f.Int("popTime"), f.Int("invisibleTime"), f.Int("reviveQid"), h.offset
	if rnd.IntN(2) == 0 {
		return p.ack(c, id, h)
	}
	return nil
}

// onCopy changes what is known of a copy.
func (l *ledger) onCopy(id string, at handle, change func(*handed), format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.pops[id]; p != nil {
		p.tell("%s: %s", at.receipt(), fmt.Sprintf(format, args...))
		change(p.places[at.spot()])
	}
}

func (p *phase) ack(c *wire.Conn, id string, h handle) error {
	mark := func(k known) {
		p.ledger.onCopy(id, h, func(c *handed) {
			c.acked, c.ackedAt = k, time.Now().UnixMilli()
			if k == yes && c.ackedAt > c.hidden-aBitEarly-1000 {
				c.acked = maybe // it may be on its way back
			}
			if k == yes {
				p.ledger.acks++
			}
		}, "ack: %d", k)
	}
	mark(maybe)
	_, err := accepted(c.Call(int(code.AckMessage), h.ext(popGroup), nil))
	if err == nil {
		mark(yes)
	}
	return err
}
