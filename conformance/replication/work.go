package replication

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

const (
	queues    = 4
	producers = 4
	patience  = 5 * time.Second // for one answer: more than slaveTimeout
)

// client is a connection to one broker, made when it is needed.
type client struct {
	server testkit.Server
	conn   *wire.Conn
}

// call makes a request; a connection that fails is given up.
func (c *client) call(request int32, ext map[string]string, body []byte) (*wire.Frame, error) {
	if c.conn == nil {
		conn, err := wire.Dial(c.server.Addr())
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errUnreachable, err)
		}
		conn.Timeout = patience
		c.conn = conn
	}
	f, err := c.conn.Call(int(request), ext, body)
	if err != nil {
		c.close()
	}
	return f, err
}

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// errUnreachable says that the request was not made.
var errUnreachable = errors.New("no connection")

// now is the time of the history.
func (c *cell) now() int64 { return int64(time.Since(c.began)) }

// produce sends until stop, each message once.
func (c *cell) produce(stop <-chan struct{}, producer int) {
	to := client{server: c.brokers[master]}
	defer to.close()
	var mine []*sent
	for i := producer; !closed(stop); i++ {
		s := &sent{producer: producer, queue: i % queues, id: c.next.Add(1)}
		body := fmt.Sprintf("%d:%s", s.id, strings.Repeat("r", (i*i)%1500))
		s.size, s.call = len(body), c.now()
		f, err := to.call(code.SendMessageV2, wire.SendExt("ReplicationProducer", c.topic, s.queue, 0, wire.Properties("KEYS", fmt.Sprint("k", s.id)), false), []byte(body))
		s.ret = c.now()
		if errors.Is(err, errUnreachable) {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		mine = append(mine, s)
		if err == nil {
			s.answered, s.code, s.offset = true, int32(f.Code), f.Int("queueOffset")
			_, s.physical, _ = wire.OffsetID(f.Ext["msgId"])
		}
		time.Sleep(time.Millisecond)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.history.sends = append(c.history.sends, mine...)
}

// crowd is load that nobody looks at, but for the comparison of the logs.
func (c *cell) crowd(stop <-chan struct{}) {
	to := client{server: c.brokers[master]}
	defer to.close()
	var many []wire.Request
	for i := range 16 {
		ext := wire.SendExt("ReplicationProducer", c.topic+"Crowd", i%queues, 0, "", false)
		many = append(many, wire.Request{Code: int(code.SendMessageV2), Ext: ext, Body: []byte(strings.Repeat("c", 100+200*i))})
	}
	for !closed(stop) {
		if _, err := to.call(code.SendMessageV2, many[0].Ext, many[0].Body); err == nil {
			if _, err = to.conn.Together(many...); err != nil {
				to.close()
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// consumer reads all queues.
type consumer struct {
	*cell
	number  int
	alone   bool // reads from the slave, whatever brokers suggest
	at      [2]client
	suggest [queues]role
	next    [queues]atomic.Int64
	looks   []look
	served  [2]int // messages, by whom
}

// consume reads until stop, and leaves what it has seen in the history.
func (r *consumer) consume(stop <-chan struct{}) {
	for who := range r.at {
		r.at[who].server = r.brokers[who]
		defer r.at[who].close()
	}
	for !closed(stop) {
		some := false
		for q := range queues {
			some = r.pull(q) || some
		}
		if !some {
			time.Sleep(2 * time.Millisecond)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history.looks = append(r.history.looks, r.looks...)
	r.looks = nil
}

// pull reads on in a queue where it was told to, or at the other broker if that one does not answer, as clients do.
func (r *consumer) pull(q int) (some bool) {
	from := r.suggest[q]
	if r.alone {
		from = slave
	}
	call := r.now()
	f, err := r.ask(from, q)
	if err != nil && !r.alone {
		from = 1 - from
		call = r.now()
		f, err = r.ask(from, q)
	}
	if err != nil {
		return false
	}
	switch int32(f.Code) {
	case code.Success:
		return r.take(q, from, call, f)
	case code.PullOffsetMoved:
		r.find("queue %d: the %v throws a consumer that is at %d back: %v", q, from, r.next[q].Load(), f)
	}
	return false
}

func (r *consumer) ask(from role, q int) (*wire.Frame, error) {
	return r.at[from].call(code.PullMessage, wire.PullExt("ReplicationGroup", r.topic, q, r.next[q].Load()), nil)
}

func (r *consumer) take(q int, from role, call int64, f *wire.Frame) (some bool) {
	recs, err := wire.Records(f.Body)
	if err != nil {
		r.find("queue %d: the %v serves at %d: %v", q, from, r.next[q].Load(), err)
		return false
	}
	l := look{reader: r.number, queue: q, at: r.next[q].Load(), call: call, ret: r.now()}
	for i := range recs {
		id, due := idOf(&recs[i]), l.at+int64(i)
		if recs[i].QueueOffset != due || recs[i].QueueID != q || id < 0 {
			r.find("queue %d: the %v serves %d of queue %d where %d is due: %.40q", q, from, recs[i].QueueOffset, recs[i].QueueID, due, recs[i].Body)
			return false
		}
		l.ids = append(l.ids, id)
	}
	r.next[q].Add(int64(len(recs)))
	r.looks = append(r.looks, l)
	r.served[from] += len(recs)
	// Nobody is far behind here: the right broker is the master, as long as there is one.
	if which := f.Int("suggestWhichBrokerId"); which != 0 {
		r.find("queue %d: the %v sends a consumer to broker %d", q, from, which)
	}
	return len(recs) > 0
}

// idOf is the id of a message, -1 for what no producer sent.
func idOf(rec *wire.Record) int32 {
	id := int32(-1)
	_, _ = fmt.Sscanf(string(rec.Body[:min(len(rec.Body), 12)]), "%d:", &id)
	return id
}

// audit is where the slave's log ended.
type audit struct {
	call int64 // when that was asked
	end  int64
}

// audit asks the slave how much it has, until stop.
func (c *cell) audit(stop <-chan struct{}) {
	of := client{server: c.brokers[slave]}
	defer of.close()
	var mine []audit
	for ; !closed(stop); time.Sleep(10 * time.Millisecond) {
		call := c.now()
		if end, err := of.logEnd(); err == nil {
			mine = append(mine, audit{call, end})
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.audits = append(c.audits, mine...)
}
