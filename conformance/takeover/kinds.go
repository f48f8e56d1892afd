package takeover

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"

	"apogee/conformance/wire"
)

// sendInner sends a batch that is kept as one record.
func (p *phase) sendInner(c *wire.Conn, rnd *rand.Rand) error {
	m := &message{id: p.name("inner"), topic: innerTopic, queue: rnd.IntN(queues), phase: p.number, inner: 2 + rnd.Int64N(5)}
	var items []wire.BatchItem
	for i := range m.inner {
		items = append(items, wire.BatchItem{
			Body: fmt.Appendf(nil, "%s-%d %s", m.id, i, strings.Repeat("i", rnd.IntN(300))), Properties: wire.Properties("KEYS", m.id),
		})
	}
	body := wire.Batch(items...)
	m.body = sha256.Sum256(body)
	p.ledger.add(m)
	f, err := send(c, m.topic, m.queue, 0, true, "TakeoverProducer", wire.Properties("UNIQ_KEY", m.id), body)
	if err == nil {
		p.acknowledged(m, f, 0)
	}
	return err
}

// sendKeyed sends the next state of something, to a topic that keeps the newest state of each.
func (p *phase) sendKeyed(c *wire.Conn, rnd *rand.Rand) error {
	queue := rnd.IntN(queues)
	return p.store(c, rnd, "keyed", keyedTopic, queue, "KEYS", fmt.Sprintf("thing%d-%d", queue, rnd.IntN(20)))
}

func (p *phase) sendTurn(c *wire.Conn, rnd *rand.Rand) error {
	return p.store(c, rnd, "turn", turnTopic, rnd.IntN(queues))
}
