package conformance

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"apogee/conformance/wire"
	"apogee/remoting/code"
)

// What the workers of a soak do, each on a connection of its own until that breaks.

func (s *soak) producePlain(c *wire.Conn, worker int) error {
	n := rand.IntN(10)
	body := fmt.Sprintf("plain-%d-%d-%d", worker, n, rand.Int64())
	props := []string{"n", fmt.Sprint(n), "UNIQ_KEY", body, "TAGS", fmt.Sprint("t", n%2)}
	if rand.IntN(8) == 0 {
		props = append(props, "DELAY", fmt.Sprint(1+rand.IntN(4)))
	}
	if _, err := s.send(c, message{topic: soakPlain, queue: rand.IntN(soakQueues), body: []byte(body), properties: wire.Properties(props...)}); err != nil {
		return err
	}
	groups := []string{"plain", "pop"}
	if n >= 3 && n <= 6 {
		groups = append(groups, "sql")
	}
	s.expect(body, groups...)
	time.Sleep(time.Duration(rand.IntN(6)) * time.Millisecond) // a rate, not a wait
	return nil
}

// produceTimers sends messages for a time of their own. A broker that does not serve timers refuses them, and is not asked again for a while.
func (s *soak) produceTimers(c *wire.Conn, n *int) error {
	*n++
	at := time.Now().Add(time.Duration(200+rand.IntN(15000)) * time.Millisecond).UnixMilli()
	body := fmt.Sprintf("timer-%d-%d", *n, at)
	_, err := s.send(c, message{
		topic: soakPlain, queue: rand.IntN(soakQueues), body: []byte(body),
		properties: wire.Properties("UNIQ_KEY", body, "n", "1", "TIMER_DELIVER_MS", fmt.Sprint(at)),
	})
	switch {
	case errors.Is(err, errRefused):
		time.Sleep(time.Second)
		return nil
	case err != nil:
		return err
	}
	s.expect(body, "plain", "pop")
	time.Sleep(20 * time.Millisecond)
	return nil
}

// produceOrder sends the numbers of one queue, each until it is acknowledged.
func (s *soak) produceOrder(c *wire.Conn, queue int, seq *int) error {
	body := fmt.Sprintf("order-%d-%d", queue, *seq)
	if _, err := s.send(c, message{topic: soakOrder, queue: queue, body: []byte(body)}); err != nil {
		return err
	}
	s.expect(body, "order")
	*seq++
	time.Sleep(5 * time.Millisecond)
	return nil
}

// decision is what becomes of a transaction; it is the same whenever it is asked for.
func decision(body string) int {
	if strings.HasSuffix(body, "-rollback") {
		return endRollback
	}
	return endCommit
}

// transact begins a transaction, unless sending is over, ends some of them at once, and answers questions about the rest.
func (s *soak) transact(c *wire.Conn, n *int) error {
	hello := fmt.Appendf(nil, `{"clientID":"soak@1","consumerDataSet":[],"producerDataSet":[{"groupName":"soakers"}]}`)
	if _, err := c.Call(int(code.HeartBeat), nil, hello); err != nil {
		return err
	}
	asked := 0
	for {
		if closed(s.done) {
			return nil
		}
		questions := c.Asked()
		for ; asked < len(questions); asked++ {
			if err := s.answer(c, questions[asked]); err != nil {
				return err
			}
		}
		if closed(s.end) {
			time.Sleep(50 * time.Millisecond)
			if _, err := c.Call(int(code.GetMaxOffset), wire.Ext("topic", soakTran, "queueId", 0), nil); err != nil {
				return err // the connection is gone: somebody has to be there who can be asked
			}
			continue
		}
		*n++
		body := fmt.Sprintf("tran-%d-%d-%s", *n, rand.Int64(), []string{"commit", "commit", "rollback"}[rand.IntN(3)])
		f, err := s.send(c, message{
			topic: soakTran, queue: rand.IntN(soakQueues), group: "soakers", body: []byte(body), sysFlag: 4,
			properties: wire.Properties("TRAN_MSG", "true", "PGROUP", "soakers", "UNIQ_KEY", body),
		})
		if decision(body) == endRollback {
			s.mu.Lock()
			s.never[body] = true
			s.mu.Unlock()
		}
		if err != nil {
			return err
		}
		if decision(body) == endCommit {
			s.expect(body, "tran")
		}
		if rand.IntN(4) != 0 { // the rest waits to be asked about
			if _, err := c.Call(int(code.EndTransaction), endExt(f, "soakers", decision(body)), nil); err != nil {
				return err
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// answer ends a transaction that the broker asks about.
func (s *soak) answer(c *wire.Conn, q *wire.Frame) error {
	if q.Code != int(code.CheckTransactionState) {
		return nil
	}
	rec, err := wire.ParseRecord(q.Body)
	if err != nil {
		s.fault("a question about no message: %v", err)
		return nil
	}
	_, err = c.Oneway(int(code.EndTransaction), wire.Ext("producerGroup", "soakers", "tranStateTableOffset", q.Int("tranStateTableOffset"),
		"commitLogOffset", q.Int("commitLogOffset"), "commitOrRollback", decision(string(rec.Body)), "fromTransactionCheck", true,
		"msgId", q.Ext["msgId"], "transactionId", q.Ext["transactionId"]), nil)
	return err
}

func (s *soak) fault(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.broken) < 20 {
		s.broken = append(s.broken, fmt.Sprintf(format, args...))
	}
}

func (s *soak) got(group, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen[group] == nil {
		s.seen[group] = map[string]int{}
	}
	s.seen[group][body]++
	if s.never[body] && len(s.broken) < 20 {
		s.broken = append(s.broken, body+" was rolled back and is delivered")
	}
	var n, at int64
	if _, err := fmt.Sscanf(body, "timer-%d-%d", &n, &at); err == nil && time.Now().UnixMilli() < at && len(s.broken) < 20 {
		s.broken = append(s.broken, body+" has come before its time")
	}
}

// pull is one life of a consumer that pulls: a moment of reading from where the group is, with its progress committed; some messages are
// sent back to come again. Then it goes, as consumers do.
func (s *soak) pull(c *wire.Conn, group, topic, sql string) error {
	until := time.Now().Add(time.Duration(200+rand.IntN(3000)) * time.Millisecond)
	queues := soakQueues
	if strings.HasPrefix(topic, "%RETRY%") {
		queues = 1
	}
	for time.Now().Before(until) && !closed(s.done) {
		idle := true
		for q := range queues {
			more, err := s.pullOnce(c, group, topic, sql, q)
			if err != nil {
				return err
			}
			idle = idle && !more
		}
		if idle {
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

func (s *soak) pullOnce(c *wire.Conn, group, topic, sql string, queue int) (more bool, err error) {
	at, err := c.Call(int(code.QueryConsumerOffset), wire.Ext("consumerGroup", group, "topic", topic, "queueId", queue), nil)
	if err != nil {
		return false, err
	}
	offset := int64(0)
	if at.Code == 0 {
		offset = at.Int("offset")
	}
	ext := pullExt(group, topic, queue, offset)
	if sql != "" {
		ext = pullExt(group, topic, queue, offset, "subscription", sql, "expressionType", "SQL92")
	}
	f, err := c.Call(int(code.PullMessage), ext, nil)
	if err != nil {
		return false, err
	}
	next := f.Int("nextBeginOffset")
	switch f.Code {
	case int(code.Success):
		recs, err := wire.Records(f.Body)
		if err != nil {
			s.fault("%s: %v", topic, err)
			return false, nil
		}
		for i := range recs {
			s.got(group, string(recs[i].Body))
			if group == "plain" && recs[i].ReconsumeTimes < 3 && rand.IntN(50) == 0 {
				if err := s.sendBack(c, group, &recs[i]); err != nil {
					return false, err
				}
			}
			if sql != "" && !strings.Contains("3456", recs[i].Properties["n"]) {
				s.fault("%s does not match %s", recs[i].Body, sql)
			}
		}
	case int(code.PullRetryImmediately), int(code.PullOffsetMoved):
	default: // nothing there, or the topic is not there yet
		return false, nil
	}
	if next <= offset {
		return false, nil
	}
	_, err = c.Call(int(code.UpdateConsumerOffset), wire.Ext("consumerGroup", group, "topic", topic, "queueId", queue, "commitOffset", next), nil)
	return true, err
}

// sendBack wants a message again: from when it is acknowledged, it has to come.
func (s *soak) sendBack(c *wire.Conn, group string, rec *wire.Record) error {
	f, err := c.Call(int(code.ConsumerSendMsgBack), wire.Ext("offset", rec.Physical, "group", group, "delayLevel", 1+rand.IntN(2), "originMsgId", "",
		"originTopic", rec.Topic, "unitMode", false, "maxReconsumeTimes", 16), nil)
	if err != nil {
		return err
	}
	if f.Code == 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		key := fmt.Sprintf("again-%s", rec.Body)
		if s.want["again"] == nil {
			s.want["again"] = map[string]time.Time{}
		}
		s.want["again"][key] = time.Now()
	}
	return nil
}

// consumeOrder is one life of an orderly consumer: it locks what it can and reads that in order.
func (s *soak) consumeOrder(c *wire.Conn, me int) error {
	client := fmt.Sprintf("orderly-%d@soak", me)
	var all [soakQueues]int
	for q := range all {
		all[q] = q
	}
	until := time.Now().Add(time.Duration(500+rand.IntN(3000)) * time.Millisecond)
	for time.Now().Before(until) && !closed(s.done) {
		f, err := c.Call(int(code.LockBatchMQ), nil, lockBody(client, "order", soakOrder, "soak-a", all[:]...))
		if err != nil {
			return err
		}
		v, err := wire.Loose(f.Body)
		if err != nil {
			return nil
		}
		held, _ := wire.At(v, "lockOKMQSet").([]any)
		for _, h := range held {
			var q int
			if _, err := fmt.Sscan(wire.Num(wire.At(h, "queueId")), &q); err != nil {
				continue
			}
			if err := s.orderOnce(c, q); err != nil {
				return err
			}
		}
		if len(held) == 0 {
			time.Sleep(20 * time.Millisecond)
		}
	}
	_, err := c.Call(int(code.UnlockBatchMQ), nil, lockBody(client, "order", soakOrder, "soak-a", all[:]...))
	time.Sleep(time.Duration(rand.IntN(50)) * time.Millisecond)
	return err
}

// orderOnce reads a queue once. Nobody else does at the same time; a number comes first after all before it.
func (s *soak) orderOnce(c *wire.Conn, queue int) error {
	at, err := c.Call(int(code.QueryConsumerOffset), wire.Ext("consumerGroup", "order", "topic", soakOrder, "queueId", queue), nil)
	if err != nil {
		return err
	}
	offset := int64(0)
	if at.Code == 0 {
		offset = at.Int("offset")
	}
	f, err := c.Call(int(code.PullMessage), pullExt("order", soakOrder, queue, offset), nil)
	if err != nil || f.Code != 0 {
		return err
	}
	recs, err := wire.Records(f.Body)
	if err != nil {
		s.fault("%s: %v", soakOrder, err)
		return nil
	}
	for i := range recs {
		var q, n int
		if _, err := fmt.Sscanf(string(recs[i].Body), "order-%d-%d", &q, &n); err != nil || q != queue {
			s.fault("%q in queue %d", recs[i].Body, queue)
			continue
		}
		s.mu.Lock()
		due := s.next[queue]
		s.next[queue] = max(due, n+1)
		s.mu.Unlock()
		if n > due {
			s.fault("queue %d: %d comes before %d", queue, n, due)
		}
		s.got("order", string(recs[i].Body))
	}
	_, err = c.Call(int(code.UpdateConsumerOffset), wire.Ext("consumerGroup", "order", "topic", soakOrder, "queueId", queue, "commitOffset", f.Int("nextBeginOffset")), nil)
	return err
}

// pop is one life of a consumer that pops; now and then it goes with messages that it has not acknowledged.
func (s *soak) pop(c *wire.Conn) error {
	until := time.Now().Add(time.Duration(200+rand.IntN(2000)) * time.Millisecond)
	for time.Now().Before(until) && !closed(s.done) {
		f, err := c.Call(int(code.PopMessage), popExt("pop", soakPlain, "invisibleTime", 5000, "pollTime", 500), nil)
		if err != nil {
			return err
		}
		if f.Code != 0 {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		recs, err := wire.Records(f.Body)
		if err != nil {
			s.fault("pop: %v", err)
			return nil
		}
		if rand.IntN(30) == 0 {
			return nil // and all of it comes again
		}
		for i := range recs {
			if err := s.ack(c, f, &recs[i]); err != nil {
				return err
			}
			s.got("pop", string(recs[i].Body))
		}
	}
	return nil
}

func (s *soak) ack(c *wire.Conn, f *wire.Frame, rec *wire.Record) error {
	topic, queue, offset := soakPlain, rec.QueueID, rec.QueueOffset
	receipt := rec.Properties["POP_CK"]
	if receipt == "" {
		start := ""
		for part := range strings.SplitSeq(f.Ext["startOffsetInfo"], ";") {
			if w := strings.Fields(part); len(w) == 3 && w[0] == "0" && w[1] == fmt.Sprint(queue) {
				start = w[2]
			}
		}
		receipt = fmt.Sprintf("%s %s %s %s 0 soak-a %d %d", start, f.Ext["popTime"], f.Ext["invisibleTime"], f.Ext["reviveQid"], queue, offset)
	} else {
		w := strings.Fields(receipt)
		if len(w) != 8 {
			s.fault("POP_CK %q", receipt)
			return nil
		}
		topic = map[string]string{"0": soakPlain, "1": "%RETRY%pop_" + soakPlain, "2": "%RETRY%pop+" + soakPlain}[w[4]]
		if _, err := fmt.Sscan(w[6]+" "+w[7], &queue, &offset); err != nil {
			s.fault("POP_CK %q", receipt)
			return nil
		}
	}
	a, err := c.Call(int(code.AckMessage), wire.Ext("consumerGroup", "pop", "topic", topic, "queueId", queue, "offset", offset, "extraInfo", receipt), nil)
	if err == nil && a.Code != 0 {
		s.fault("ack of %s: %v", rec.Body, a)
	}
	return err
}
