package takeover

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"apogee/conformance/wire"
	"apogee/remoting/code"
)

// transact is a transaction producer: it sends half messages, ends most of them, and answers when it is asked about the others.
func (p *phase) transact(c *wire.Conn, rnd *rand.Rand) error {
	if err := p.announce(c); err != nil {
		return err
	}
	if err := p.answer(c, rnd); err != nil {
		return err
	}
	m := &message{id: p.name("half"), topic: tranTopic, kind: half, phase: p.number, decision: endCommit}
	if rnd.IntN(3) == 0 {
		m.decision = endRollback
	}
	body := m.filled(size(rnd))
	p.ledger.add(m)
	f, err := send(c, tranTopic, rnd.IntN(queues), tranFlag, false, pgGroup,
		wire.Properties("TRAN_MSG", "true", "PGROUP", pgGroup, "UNIQ_KEY", m.id, "TAGS", "tran", "KEYS", "k"+m.id), body)
	if err != nil {
		return err
	}
	p.ledger.settle(func() { m.stored = yes })
	if rnd.IntN(4) == 0 {
		return nil // until it is asked
	}
	return p.finish(c, m, endExt(f, pgGroup, m.id, m.decision))
}

// finish ends a half message as it was decided.
func (p *phase) finish(c *wire.Conn, m *message, ext map[string]string) error {
	p.ledger.settle(func() {
		if m.decision == endCommit {
			m.commits++
		}
		m.ended = max(m.ended, maybe)
	})
	_, err := accepted(c.Call(int(code.EndTransaction), ext, nil))
	if err == nil {
		p.ledger.settle(func() { m.ended = yes })
		p.mu.Lock()
		defer p.mu.Unlock()
		p.ended[ext["tranStateTableOffset"]] = true
	}
	return err
}

// announce tells the broker that this connection belongs to the producer, again and again: one of whom nothing is heard for two minutes is
// closed, and a drain may take longer.
func (p *phase) announce(c *wire.Conn) error {
	p.mu.Lock()
	if p.told == c && time.Since(p.toldAt) < 20*time.Second {
		p.mu.Unlock()
		return nil
	}
	if p.told != c {
		p.answered = 0
	}
	p.told, p.toldAt = c, time.Now()
	p.mu.Unlock()
	_, err := accepted(c.Call(int(code.HeartBeat), nil, fmt.Appendf(nil,
		`{"clientID":"takeover-%d","consumerDataSet":[],"producerDataSet":[{"groupName":%q}]}`, p.number, pgGroup)))
	return err
}

// answer answers what the broker has asked since the last call; now and then the producer does not know yet.
func (p *phase) answer(c *wire.Conn, rnd *rand.Rand) error {
	all := c.Asked()
	for _, q := range all[p.answered:] {
		p.answered++
		if q.Code != int(code.CheckTransactionState) {
			continue
		}
		id := q.Ext["msgId"]
		var m *message
		p.ledger.settle(func() {
			if m = p.ledger.messages[id]; m != nil {
				m.asked++
			}
		})
		if m == nil {
			p.differ("asked about the half message %q, which nobody has sent", id)
			continue
		}
		ext := wire.Ext("producerGroup", pgGroup, "tranStateTableOffset", q.Int("tranStateTableOffset"), "commitLogOffset", q.Int("commitLogOffset"),
			"commitOrRollback", m.decision, "fromTransactionCheck", true, "msgId", id, "transactionId", id)
		if rnd.IntN(5) == 0 && m.asked < 4 {
			ext["commitOrRollback"] = fmt.Sprint(endUnknown)
			if _, err := c.Oneway(int(code.EndTransaction), ext, nil); err != nil { // the reference has no answer to that
				return err
			}
			continue
		}
		if err := p.finish(c, m, ext); err != nil {
			return err
		}
	}
	return nil
}

// checked waits until the ends of all half messages are in op messages: the reference loses those that wait when it stops.
func (p *phase) checked() error {
	return wait(30*time.Second, func() error {
		_, end, err := (reader{p.c}).ends(place{opTopic, 0})
		if err != nil {
			return err
		}
		there := map[string]bool{}
		err = reader{p.c}.records(place{opTopic, 0}, 0, end, func(_ int64, rec *wire.Record) {
			for word := range strings.SplitSeq(string(rec.Body), ",") {
				there[word] = true
			}
		})
		if err != nil {
			return err
		}
		for at := range p.ended {
			if !there[at] {
				return fmt.Errorf("half message %s was ended, and there is no op message about it", at)
			}
		}
		return nil
	})
}
