package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
)

// committer sends half messages and commits each once it is stored. A message counts when its commit is answered; a request that is not
// there yet has a slot, and its commit the same one behind all slots.
type committer struct {
	*sender
	commit template
	at     commitPlaces
	ends   []byte // commits that are to be written
}

// Where the commit of a half message says which one.
const markPhysical = "5555555555555555555"

type commitPlaces struct{ offset, physical []int }

const (
	sysPrepared = 4
	flagCommit  = 8
)

func commitTemplate(o *Options) template {
	return makeTemplate(o.Serialization, codeEndTransaction, []pair{
		{"topic", o.Topic},
		{"producerGroup", producerGroup},
		{"tranStateTableOffset", markOffset},
		{"commitLogOffset", markPhysical},
		{"commitOrRollback", strconv.Itoa(flagCommit)},
		{"fromTransactionCheck", "false"},
		{"msgId", ""},
		{"transactionId", ""},
	}, nil, markOffset, markPhysical)
}

// work writes halves and commits, reads what answers there are, and again.
func (c *committer) work() error {
	for {
		p := c.run.now()
		if p == ending && len(c.free) == len(c.began) {
			return nil
		}
		if len(c.ends) > 0 {
			if _, err := c.Write(c.ends); err != nil {
				return c.closed(err)
			}
			c.ends = c.ends[:0]
		}
		if p != ending {
			if err := c.write(p == measuring); err != nil {
				return c.closed(err)
			}
		}
		if err := c.fill(); err != nil {
			return c.closed(err)
		}
		if err := c.answers(); err != nil {
			return err
		}
	}
}

func (c *committer) answers() error {
	now := int64(time.Since(c.start))
	var done, all int64
	for {
		a, ok, err := c.conn.next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		half := a.slot < len(c.began)
		if a.slot < 0 || a.slot >= 2*len(c.began) {
			return fmt.Errorf("answer to a request that was not made: %s", a.text())
		}
		slot := a.slot % len(c.began)
		if a.code == 0 && half {
			if err := c.end(&a); err != nil {
				return err
			}
			continue
		}
		c.free = append(c.free, slot)
		all++
		if a.code != 0 {
			c.run.fails.Add(1)
		}
		switch {
		case !c.measured[slot]:
		case a.code != 0:
			c.fail(&a)
		default:
			c.requests += 2
			c.messages++
			c.bytes += int64(c.run.opts.Body)
			done++
			record(c.delay, time.Duration(now-c.began[slot]))
		}
	}
	c.run.total.Add(all)
	c.run.done.Add(done)
	return nil
}

// end makes the commit of the half message that an answer tells of.
func (c *committer) end(a *answer) error {
	offset, ok := a.field(c.commit.serialization, "queueOffset")
	physical, err := a.physical()
	if !ok || err != nil {
		return fmt.Errorf("answer to a half message: %s: %w", a.text(), err)
	}
	begin := len(c.ends)
	c.ends = append(c.ends, c.commit.frame...)
	f := c.ends[begin:]
	c.commit.setOpaque(f, len(c.began)+a.slot)
	for _, i := range c.at.offset {
		putDecimal(f[i:i+len(markOffset)], uint64(offset))
	}
	for _, i := range c.at.physical {
		putDecimal(f[i:i+len(markPhysical)], uint64(physical))
	}
	return nil
}

var errNoMessageID = errors.New("no offset message id")

// physical is the place in the commit log that the message id of an answer to a send ends with: 16 hexadecimal digits.
func (a *answer) physical() (int64, error) {
	i := bytes.Index(a.header, []byte("msgId"))
	if i < 0 {
		return 0, errNoMessageID
	}
	id := a.header[i+len("msgId"):]
	begin := bytes.IndexFunc(id, isHex)
	if begin < 0 {
		return 0, errNoMessageID
	}
	end := begin
	for end < len(id) && isHex(rune(id[end])) {
		end++
	}
	if end-begin < 16 {
		return 0, errNoMessageID
	}
	return strconv.ParseInt(string(id[end-16:end]), 16, 64)
}

func isHex(c rune) bool { return c >= '0' && c <= '9' || c >= 'A' && c <= 'F' }

// Transactions keeps connections busy with half messages, each of which is committed as soon as it is stored. The delay is from the half
// message to the answer of its commit.
func Transactions(ctx context.Context, o Options) (Result, error) {
	res := Result{Kind: "transactions", Broker: o.Broker, Settings: fmt.Sprintf("%d connections with %d in flight, %d bytes, %d queues", o.Connections, o.InFlight,
		o.Body, o.Queues)}
	o.Topics, o.sysFlag = 1, sysPrepared
	o.Properties += "TRAN_MSG\x01true\x02PGROUP\x01" + producerGroup + "\x02"
	r, err := o.sends()
	if err != nil {
		return res, err
	}
	var workers workers
	defer func() { workers.close() }()
	for range o.Connections {
		s, err := newSender(r, 1)
		if err != nil {
			return res, err
		}
		c := &committer{sender: s, commit: commitTemplate(&o)}
		workers = append(workers, c)
		c.at = commitPlaces{c.commit.places[markOffset], c.commit.places[markPhysical]}
		s.ring = newRing(s.templates, o.InFlight)
		if err := c.announce(); err != nil {
			return res, err
		}
	}
	h, err := r.drive(ctx, workers, &res)
	l := latencyOf(h)
	res.Send = &l
	return res, err
}

// announce makes the connection one of the producer group's: a broker asks it for what it did not decide.
func (c *conn) announce() error {
	if _, err := c.Write(heartbeatFrame("bench@"+c.LocalAddr().String(), producerGroup)); err != nil {
		return err
	}
	for {
		a, ok, err := c.next()
		if err != nil {
			return err
		}
		if ok {
			if a.code != 0 {
				return fmt.Errorf("heartbeat: %s", a.text())
			}
			return nil
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
}

var _ net.Conn = (*committer)(nil)
