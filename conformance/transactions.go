package conformance

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

var transactionCases = []Case{
	{Area: "transactions", Feature: "Half message, commit, rollback", Own: true, Run: commitAndRollback, Limit: 2 * time.Minute},
	{Area: "transactions", Feature: "Check back of undecided transactions", Own: true, Run: checkBack, Limit: 4 * time.Minute},
	{Area: "transactions", Feature: "Max 15 checks then TRANS_CHECK_MAX_TIME_TOPIC", Own: true, Run: checkMax, Limit: 3 * time.Minute},
	{Area: "transactions", Feature: "Custom immunity time", Own: true, Run: immunityTime, Limit: 2 * time.Minute},
	{Area: "transactions", Feature: "Late end-transaction refused (604)", Own: true, Run: lateEnd, Limit: 2 * time.Minute},
	{Area: "transactions", Feature: "Resume check (RESUME_CHECK_HALF_MESSAGE)", Own: true, Run: resumeCheck, Limit: 3 * time.Minute},
	{Area: "transactions", Feature: "rejectTransactionMessage", Own: true, Run: rejectTransactions, Limit: 2 * time.Minute},
	{Area: "transactions", Feature: "Proxy transaction data is per proxy", Own: true, Run: endElsewhere, Limit: 2 * time.Minute},
	{Area: "transactions", Feature: "Half message metrics file", Own: true, Run: halfMetrics, Limit: 2 * time.Minute},
}

const (
	halfTopic    = "RMQ_SYS_TRANS_HALF_TOPIC"
	opTopic      = "RMQ_SYS_TRANS_OP_HALF_TOPIC"
	givenUpTopic = "TRANS_CHECK_MAX_TIME_TOPIC"
	tranGroup    = "CID_RMQ_SYS_TRANS"
)

// Values of commitOrRollback.
const (
	endUnknown  = 0
	endCommit   = 8
	endRollback = 12
)

// hasty are settings with which half messages are asked about soon.
func hasty(more testkit.Props) testkit.Props {
	return testkit.Props{
		"transactionCheckInterval": "300", "transactionTimeOut": "1000", "transactionOpBatchInterval": "200", "transactionMetricFlushInterval": "300",
		"waitTimeMillsInTransactionQueue": "60000",
	}.With(more)
}

// half sends a half message by raw frames; more are properties.
func (r *raw) half(topic, group, uniq string, more ...string) *wire.Frame {
	props := append([]string{"TRAN_MSG", "true", "PGROUP", group, "UNIQ_KEY", uniq, "TAGS", "tagA", "KEYS", uniq, "WAIT", "true"}, more...)
	return r.send(message{topic: topic, group: group, body: []byte(uniq), sysFlag: 4, flag: 7, properties: wire.Properties(props...)})
}

// endExt is the header of END_TRANSACTION for the half message that f is the answer to.
func endExt(f *wire.Frame, group string, end int, more ...any) map[string]string {
	_, physical, _ := wire.OffsetID(f.Ext["msgId"])
	ext := wire.Ext("producerGroup", group, "tranStateTableOffset", f.Int("queueOffset"), "commitLogOffset", physical, "commitOrRollback", end,
		"fromTransactionCheck", false, "msgId", f.Ext["transactionId"], "transactionId", f.Ext["transactionId"])
	for k, v := range wire.Ext(more...) {
		ext[k] = v
	}
	return ext
}

// asProducer announces the connection as a producer.
func (r *raw) asProducer(group string) {
	r.ok(code.HeartBeat, nil, []byte(fmt.Sprintf(`{"clientID":%q,"consumerDataSet":[],"producerDataSet":[{"groupName":%q}]}`, group+"@raw", group)))
}

// checks are the questions about transactions that came over the connection.
func (r *raw) checks() []*wire.Frame {
	var out []*wire.Frame
	for _, f := range r.Asked() {
		if f.Code == int(code.CheckTransactionState) {
			out = append(out, f)
		}
	}
	return out
}

// listener is a producer's side of transactions: what it says by body, first and when it is asked.
type tranListener struct {
	mu    sync.Mutex
	first map[string]primitive.LocalTransactionState
	later map[string][]primitive.LocalTransactionState // the last one stays
	asked map[string]int
}

func (l *tranListener) ExecuteLocalTransaction(m *primitive.Message) primitive.LocalTransactionState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first[string(m.Body)]
}

func (l *tranListener) CheckLocalTransaction(m *primitive.MessageExt) primitive.LocalTransactionState {
	l.mu.Lock()
	defer l.mu.Unlock()
	body := string(m.Body)
	l.asked[body]++
	say := l.later[body]
	if len(say) == 0 {
		return primitive.UnknowState
	}
	if len(say) > 1 {
		l.later[body] = say[1:]
	}
	return say[0]
}

func (l *tranListener) times(body string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked[body]
}

// transactions starts a transaction producer of the official client.
func (t *T) transactions(c *cluster, l *tranListener) rocketmq.TransactionProducer {
	group := t.Name("TPG")
	l.asked = map[string]int{}
	p, err := rocketmq.NewTransactionProducer(l, producer.WithNsResolver(resolver(c.namesrv)), producer.WithGroupName(group),
		producer.WithInstanceName(group), producer.WithRetry(1), producer.WithSendMsgTimeout(15*time.Second))
	t.Must(err, "make a transaction producer")
	t.Must(p.Start(), "start a transaction producer")
	t.Cleanup(func() { _ = p.Shutdown() })
	return p
}

func (t *T) sendInTransaction(p rocketmq.TransactionProducer, m *primitive.Message) *primitive.TransactionSendResult {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	res, err := p.SendMessageInTransaction(ctx, m)
	t.Must(err, "send in a transaction")
	if res.Status != primitive.SendOK {
		t.Fatalf("send in a transaction: status %d", res.Status)
	}
	return res
}

func commitAndRollback(t *T) {
	c := t.ownCluster(testkit.Props{"transactionOpBatchInterval": "300", "transactionCheckInterval": "3600000"})
	b := t.dial(c.broker)
	topic := t.Name("Tran")
	b.topic(topic, topicConf{read: 2})
	// The official client commits and rolls back; a consumer sees what is committed, once.
	l := &tranListener{first: map[string]primitive.LocalTransactionState{
		"commit": primitive.CommitMessageState, "rollback": primitive.RollbackMessageState, "commit too": primitive.CommitMessageState,
	}}
	p := t.transactions(c, l)
	box := &inbox{}
	t.push(c, t.Name("G"), topic, "*", box.into)
	for _, body := range []string{"commit", "rollback", "commit too"} {
		res := t.sendInTransaction(p, message1(topic, body).WithTag("tagB"))
		Equal(t, "state of "+body, res.State, l.first[body])
	}
	t.awaitBodies(box, 30*time.Second, "commit", "commit too")

	// By raw frames: what is stored where, and every answer.
	raw := t.Name("Raw")
	b.topic(raw, topicConf{read: 2})
	group := t.Name("PG")
	halves := b.call(code.GetMaxOffset, wire.Ext("topic", halfTopic, "queueId", 0), nil).Int("offset")
	one := b.half(raw, group, "U1")
	Equal(t, "queue offset of the half message", one.Int("queueOffset"), halves)
	Equal(t, "queue of the answer", one.Int("queueId"), 0)
	Equal(t, "transaction id", one.Ext["transactionId"], "U1")
	var rec wire.Record
	t.Until(10*time.Second, "half message", func() (bool, string) {
		recs := b.records(halfTopic, 0, halves)
		if len(recs) > 0 {
			rec = recs[0]
		}
		return len(recs) == 1, fmt.Sprint(len(recs))
	})
	Equal(t, "sysFlag of the half message", rec.SysFlag, 0)
	Equal(t, "flag of the half message", rec.Flag, 7)
	for k, want := range map[string]string{"REAL_TOPIC": raw, "REAL_QID": "0", "TRAN_MSG": "true", "PGROUP": group, "__transactionId__": "U1", "TAGS": "tagA"} {
		Equal(t, k+" of the half message", rec.Properties[k], want)
	}
	for what, ext := range map[string]map[string]string{
		"The producer group wrong":                 endExt(one, "another", endCommit),
		"The transaction state table offset wrong": endExt(one, group, endCommit, "tranStateTableOffset", halves+1),
		"Find prepared transaction message failed": endExt(one, group, endCommit, "commitLogOffset", int64(1)<<40),
	} {
		f := b.want(code.SystemError, code.EndTransaction, ext, nil)
		Equal(t, "remark", f.Remark, what)
	}
	Equal(t, "messages before the commit", len(b.records(raw, 0, 0)), 0)
	Equal(t, "remark of a commit", b.ok(code.EndTransaction, endExt(one, group, endCommit), nil).Remark, "")
	got := b.await(raw, 0, 1, 10*time.Second)[0]
	Equal(t, "body", string(got.Body), "U1")
	Equal(t, "sysFlag of what is committed", got.SysFlag, endCommit)
	Equal(t, "prepared offset of what is committed", got.Prepared, rec.Physical)
	Equal(t, "flag of what is committed", got.Flag, 7)
	Equal(t, "birth of what is committed", fmt.Sprint(got.BornTime, got.BornHost), fmt.Sprint(rec.BornTime, rec.BornHost))
	for k, want := range map[string]string{"REAL_TOPIC": "", "REAL_QID": "", "TRAN_MSG": "true", "PGROUP": group, "__transactionId__": "U1", "UNIQ_KEY": "U1", "WAIT": "true"} {
		Equal(t, k+" of what is committed", got.Properties[k], want)
	}
	two := b.half(raw, group, "U2")
	Equal(t, "remark of a rollback", b.ok(code.EndTransaction, endExt(two, group, endRollback), nil).Remark, "not set any response code")
	three := b.half(raw, group, "U3", "DELAY", "0")
	// One-way, as clients do it.
	_, err := b.Oneway(int(code.EndTransaction), endExt(three, group, endCommit), nil)
	t.Must(err, "commit one-way")
	recs := b.await(raw, 0, 2, 10*time.Second)
	Equal(t, "bodies", string(recs[0].Body)+" "+string(recs[1].Body), "U1 U3")
	// Neither of these has an answer; what comes behind them on the connection has.
	for _, end := range []int{endUnknown, 4} {
		wait, err := b.Begin(int(code.EndTransaction), endExt(three, group, end), nil)
		t.Must(err, "end %d", end)
		b.ok(code.GetMaxOffset, wire.Ext("topic", raw, "queueId", 0), nil)
		select {
		case f := <-wait:
			t.Errorf("end %d is answered: %v", end, f)
		default:
		}
	}
	delete3 := endExt(three, group, endCommit)
	delete(delete3, "commitLogOffset")
	b.want(code.SystemError, code.EndTransaction, delete3, nil)
	// The ends are noted: offsets in the bodies of op messages.
	t.Until(20*time.Second, "op messages of all ends", func() (bool, string) {
		ended, text := map[string]bool{}, ""
		for _, rec := range b.records(opTopic, 0, 0) {
			text += string(rec.Body) + " "
			Equal(t, "tag of the op message", rec.Properties["TAGS"], "d")
			Equal(t, "WAIT of the op message", rec.Properties["WAIT"], "true")
			for off := range strings.SplitSeq(string(rec.Body), ",") {
				ended[off] = true
			}
		}
		for i := range int64(3) {
			if !ended[fmt.Sprint(halves+i)] {
				return false, text
			}
		}
		return true, text
	})
	time.Sleep(300 * time.Millisecond)
	if n := box.bodies(); n["rollback"] != 0 || n["commit"] != 1 || n["commit too"] != 1 {
		t.Errorf("consumed %v", n)
	}
	notForProducers(b)
}

// notForProducers: the topics of transactions are written by the broker alone.
func notForProducers(b *raw) {
	for _, topic := range []string{halfTopic, opTopic, givenUpTopic} {
		b.want(code.NoPermission, code.SendMessageV2, message{topic: topic}.short(), []byte("x"))
	}
}

func checkBack(t *T) {
	c := t.ownCluster(hasty(nil))
	b := t.dial(c.broker)
	topic := t.Name("Tran")
	b.topic(topic, topicConf{})
	l := &tranListener{later: map[string][]primitive.LocalTransactionState{
		"second time": {primitive.UnknowState, primitive.CommitMessageState}, "asked": {primitive.CommitMessageState}, "dropped": {primitive.RollbackMessageState},
	}, first: map[string]primitive.LocalTransactionState{
		"known": primitive.CommitMessageState, "second time": primitive.UnknowState,
		"asked": primitive.UnknowState, "dropped": primitive.UnknowState,
	}}
	p := t.transactions(c, l)
	box := &inbox{}
	t.push(c, t.Name("G"), topic, "*", box.into)
	for _, body := range []string{"second time", "known", "asked", "dropped"} {
		t.sendInTransaction(p, message1(topic, body))
	}
	// The client announces itself every 30 s, the first time soon after its start.
	t.awaitBodies(box, 60*time.Second, "known", "asked", "second time")
	t.Until(20*time.Second, "the question about what is dropped", func() (bool, string) { return l.times("dropped") == 1, fmt.Sprint(l.times("dropped")) })
	if n := l.times("known"); n != 0 {
		t.Errorf("asked %d times about what was committed", n)
	}
	rawCheck(t, c, b)
	for body, n := range box.bodies() {
		if n != 1 || body == "dropped" {
			t.Errorf("%q was consumed %d times", body, n)
		}
	}
	if _, err := testkit.FindJava(); err != nil {
		t.Logf("the Java client was not asked: %v", err)
		return
	}
	t.javaProgram("Transactions", c.namesrv, t.Name("T"))
}

// rawCheck looks at the frames.
func rawCheck(t *T, c *cluster, b *raw) {
	topic, group := t.Name("Raw"), t.Name("PG")
	b.topic(topic, topicConf{read: 3})
	peer := t.dial(c.broker)
	peer.asProducer(group)
	sent := time.Now()
	f := b.send(message{
		topic: topic, group: group, queue: 2, body: []byte("asked"), sysFlag: 4,
		properties: wire.Properties("TRAN_MSG", "true", "PGROUP", group, "UNIQ_KEY", "UQ", "TAGS", "t"),
	})
	t.Until(30*time.Second, "question", func() (bool, string) { return len(peer.checks()) > 0, "none" })
	if took := time.Since(sent); took < 900*time.Millisecond {
		t.Errorf("asked after %v, before transactionTimeOut", took)
	}
	q := peer.checks()[0]
	Equal(t, "one-way", q.Flag&2, 2)
	rec, err := wire.ParseRecord(q.Body)
	t.Must(err, "body of the question")
	Equal(t, "topic and queue in the body", fmt.Sprint(rec.Topic, "/", rec.QueueID), topic+"/2")
	Equal(t, "body", string(rec.Body), "asked")
	for k, want := range map[string]string{"PGROUP": group, "UNIQ_KEY": "UQ", "TRANSACTION_CHECK_TIMES": "1", "REAL_TOPIC": topic, "REAL_QID": "2"} {
		Equal(t, k+" in the body", rec.Properties[k], want)
	}
	for k, want := range map[string]string{"topic": halfTopic, "msgId": "UQ", "transactionId": "UQ", "bname": c.brokerName} {
		Equal(t, k+" in the header", q.Ext[k], want)
	}
	_, physical, err := wire.OffsetID(q.Ext["offsetMsgId"])
	t.Must(err, "offsetMsgId")
	Equal(t, "log offset", q.Int("commitLogOffset"), physical)
	if q.Int("tranStateTableOffset") <= f.Int("queueOffset") || rec.QueueOffset != q.Int("tranStateTableOffset") || rec.Physical != physical {
		t.Errorf("question %v about the half message %v: record %d at %d", q, f, rec.QueueOffset, rec.Physical)
	}
	// The answer names the place that the question named.
	ext := wire.Ext("producerGroup", group, "tranStateTableOffset", q.Int("tranStateTableOffset"), "commitLogOffset", physical,
		"commitOrRollback", endCommit, "fromTransactionCheck", true, "msgId", "UQ", "transactionId", "UQ")
	peer.ok(code.EndTransaction, ext, nil)
	got := b.await(topic, 2, 1, 10*time.Second)[0]
	Equal(t, "prepared offset", got.Prepared, physical)
	if n := got.Properties["TRANSACTION_CHECK_TIMES"]; n == "" {
		t.Errorf("no TRANSACTION_CHECK_TIMES in %v", got.Properties)
	}
	t.Until(20*time.Second, "offsets of the check at the end", func() (bool, string) {
		at := b.call(code.QueryConsumerOffset, wire.Ext("consumerGroup", tranGroup, "topic", halfTopic, "queueId", 0), nil).Int("offset")
		end := b.call(code.GetMaxOffset, wire.Ext("topic", halfTopic, "queueId", 0), nil).Int("offset")
		return at == end, fmt.Sprint(at, " of ", end)
	})
	Equal(t, "messages", len(b.records(topic, 2, 0)), 1)
}

// givenUp has a half message given up: it is the record in the topic of those, and the questions that were asked.
func givenUp(t *T, c *cluster, b, peer *raw, topic, group, uniq string, most int) (wire.Record, int) {
	before := len(peer.checks())
	b.half(topic, group, uniq)
	var rec wire.Record
	t.Until(100*time.Second, "message that is given up", func() (bool, string) {
		f := b.call(code.GetMaxOffset, wire.Ext("topic", givenUpTopic, "queueId", 0), nil)
		if f.Code != 0 || f.Int("offset") == 0 {
			return false, fmt.Sprint(len(peer.checks()), " questions")
		}
		// The topic is not for consumers everywhere; the record can be looked up by its key.
		f = b.call(code.QueryMessage, wire.Ext("topic", givenUpTopic, "key", uniq, "maxNum", 4, "beginTimestamp", 0, "endTimestamp", int64(1)<<62), nil)
		recs, _ := wire.Records(f.Body)
		if len(recs) == 0 {
			return false, "not in the index"
		}
		rec = recs[0]
		return true, ""
	})
	asked := len(peer.checks()) - before
	if asked > most {
		t.Errorf("%d questions, at most %d are allowed", asked, most)
	}
	return rec, asked
}

func checkMax(t *T) {
	c := t.ownCluster(hasty(nil))
	b, peer := t.dial(c.broker), t.dial(c.broker)
	topic, group := t.Name("Tran"), t.Name("PG")
	b.topic(topic, topicConf{})
	peer.asProducer(group)
	rec, asked := givenUp(t, c, b, peer, topic, group, "KEPT", 15)
	Equal(t, "questions", asked, 15)
	Equal(t, "body", string(rec.Body), "KEPT")
	Equal(t, "topic and queue", fmt.Sprint(rec.Topic, "/", rec.QueueID), givenUpTopic+"/0")
	for k, want := range map[string]string{"TRANSACTION_CHECK_TIMES": "15", "REAL_TOPIC": topic, "PGROUP": group, "TRAN_MSG": "true"} {
		Equal(t, k, rec.Properties[k], want)
	}
	Equal(t, "messages in the real topic", len(b.records(topic, 0, 0)), 0)
	v := b.json(code.GetAllTopicConfig, wire.Ext("topicSeq", 0), nil)
	Equal(t, "queues of the topic", wire.Num(wire.At(v, "topicConfigTable", givenUpTopic, "readQueueNums")), "1")
}

func immunityTime(t *T) {
	c := t.ownCluster(hasty(nil))
	b, peer := t.dial(c.broker), t.dial(c.broker)
	topic, group := t.Name("Tran"), t.Name("PG")
	b.topic(topic, topicConf{})
	peer.asProducer(group)
	sent := time.Now()
	immune := b.half(topic, group, "IMMUNE", "CHECK_IMMUNITY_TIME_IN_SECONDS", "5")
	b.half(topic, group, "USUAL")
	when := map[string]time.Duration{}
	t.Until(40*time.Second, "questions about both", func() (bool, string) {
		for _, f := range peer.checks() {
			if when[f.Ext["msgId"]] == 0 {
				when[f.Ext["msgId"]] = time.Since(sent)
			}
		}
		return len(when) == 2, fmt.Sprint(when)
	})
	if when["IMMUNE"] < 4900*time.Millisecond || when["USUAL"] > 4*time.Second {
		t.Errorf("asked after %v, want the immune one after 5 s and the usual one after 1 s", when)
	}
	for _, f := range peer.checks() {
		if f.Ext["msgId"] != "IMMUNE" {
			continue
		}
		rec, err := wire.ParseRecord(f.Body)
		t.Must(err, "body of the question")
		// It was stored again while it was immune, with the offset that its producer knows.
		Equal(t, "TRAN_PREPARED_QUEUE_OFFSET", rec.Properties["TRAN_PREPARED_QUEUE_OFFSET"], fmt.Sprint(immune.Int("queueOffset")))
		break
	}
	// An immune message that is committed in time is delivered, wherever the check has got.
	f := b.half(topic, group, "IN TIME", "CHECK_IMMUNITY_TIME_IN_SECONDS", "60")
	b.ok(code.EndTransaction, endExt(f, group, endCommit), nil)
	Equal(t, "body", string(b.await(topic, 0, 1, 10*time.Second)[0].Body), "IN TIME")
}

func lateEnd(t *T) {
	c := t.ownCluster(hasty(testkit.Props{"transactionCheckInterval": "3600000"}))
	b := t.dial(c.broker)
	topic, group := t.Name("Tran"), t.Name("PG")
	b.topic(topic, topicConf{})
	// The age of a message counts from its birth, as its producer told it.
	late := func(uniq string, age time.Duration, more ...string) *wire.Frame {
		props := append([]string{"TRAN_MSG", "true", "PGROUP", group, "UNIQ_KEY", uniq}, more...)
		return b.send(message{topic: topic, group: group, sysFlag: 4, body: []byte(uniq), properties: wire.Properties(props...), born: time.Now().Add(-age).UnixMilli()})
	}
	for _, end := range []int{endCommit, endRollback} {
		f := b.want(604, code.EndTransaction, endExt(late(fmt.Sprint("LATE", end), 10*time.Second, "CHECK_IMMUNITY_TIME_IN_SECONDS", "5"), group, end), nil)
		Equal(t, "remark", f.Remark, "not set any response code")
	}
	// Even another group's end is late first.
	b.want(604, code.EndTransaction, endExt(late("LATE", 10*time.Second, "CHECK_IMMUNITY_TIME_IN_SECONDS", "5"), "another", endCommit), nil)
	Equal(t, "messages after late commits", len(b.records(topic, 0, 0)), 0)
	// In time, without such a time, below the broker's own time, or asked for: taken.
	b.ok(code.EndTransaction, endExt(late("A", 10*time.Second, "CHECK_IMMUNITY_TIME_IN_SECONDS", "60"), group, endCommit), nil)
	b.ok(code.EndTransaction, endExt(late("B", 10*time.Second), group, endCommit), nil)
	b.ok(code.EndTransaction, endExt(late("C", 0, "CHECK_IMMUNITY_TIME_IN_SECONDS", "0"), group, endCommit), nil)
	b.ok(code.EndTransaction, endExt(late("D", 10*time.Second, "CHECK_IMMUNITY_TIME_IN_SECONDS", "5"), group, endCommit, "fromTransactionCheck", true), nil)
	b.want(604, code.EndTransaction, endExt(late("E", 10*time.Second, "CHECK_IMMUNITY_TIME_IN_SECONDS", "soon"), group, endCommit), nil)
	bodies := ""
	for _, rec := range b.await(topic, 0, 4, 10*time.Second) {
		bodies += string(rec.Body)
	}
	Equal(t, "committed", bodies, "ABCD")
}

func resumeCheck(t *T) {
	c := t.ownCluster(hasty(testkit.Props{"transactionCheckMax": "2"}))
	b, peer := t.dial(c.broker), t.dial(c.broker)
	topic, group := t.Name("Tran"), t.Name("PG")
	b.topic(topic, topicConf{})
	peer.asProducer(group)
	rec, _ := givenUp(t, c, b, peer, topic, group, "BACK", 2)
	id := fmt.Sprintf("7F000001%08X%016X", rec.StoreHost.Port(), rec.Physical)
	before := len(peer.checks())
	b.ok(code.ResumeCheckHalfMessage, wire.Ext("topic", topic, "msgId", id), nil)
	t.Until(30*time.Second, "another question", func() (bool, string) { return len(peer.checks()) > before, "none" })
	q := peer.checks()[before]
	asked, err := wire.ParseRecord(q.Body)
	t.Must(err, "body of the question")
	Equal(t, "TRANSACTION_CHECK_TIMES", asked.Properties["TRANSACTION_CHECK_TIMES"], "1")
	peer.ok(code.EndTransaction, wire.Ext("producerGroup", group, "tranStateTableOffset", q.Int("tranStateTableOffset"), "commitLogOffset",
		q.Int("commitLogOffset"), "commitOrRollback", endCommit, "fromTransactionCheck", true, "msgId", "BACK", "transactionId", "BACK"), nil)
	Equal(t, "body", string(b.await(topic, 0, 1, 10*time.Second)[0].Body), "BACK")
	for _, bad := range []string{"", "nonsense", "7F00000100002A9F00000000FFFFFFFF"} {
		f := b.want(code.SystemError, code.ResumeCheckHalfMessage, wire.Ext("msgId", bad), nil)
		if !strings.HasPrefix(f.Remark, "Exception was thrown when putting message back to "+halfTopic) {
			t.Errorf("remark for %q: %s", bad, f.Remark)
		}
	}
}

func rejectTransactions(t *T) {
	c := t.ownCluster(testkit.Props{"rejectTransactionMessage": "true"})
	b := t.dial(c.broker)
	topic := t.Name("Tran")
	b.topic(topic, topicConf{})
	m := message{topic: topic, sysFlag: 4, properties: wire.Properties("TRAN_MSG", "true", "PGROUP", "g", "UNIQ_KEY", "U")}
	f := b.want(code.NoPermission, code.SendMessageV2, m.short(), []byte("x"))
	Equal(t, "remark", f.Remark, "the broker[127.0.0.1] sending transaction message is forbidden")
	m.properties = wire.Properties("TRAN_MSG", "false", "UNIQ_KEY", "U")
	m.sysFlag = 0
	b.send(m)
	p := t.transactions(c, &tranListener{})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if res, err := p.SendMessageInTransaction(ctx, message1(topic, "refused")); err == nil && res.Status == primitive.SendOK {
		t.Errorf("the official client's half message is taken: %v", res)
	}
	Equal(t, "messages", len(b.await(topic, 0, 1, 10*time.Second)), 1)
	// The setting takes effect at once.
	b.ok(code.UpdateBrokerConfig, nil, []byte("rejectTransactionMessage=false\n"))
	f = b.half(topic, "g", "V")
	b.ok(code.EndTransaction, endExt(f, "g", endCommit), nil)
	Equal(t, "messages", len(b.await(topic, 0, 2, 10*time.Second)), 2)
}

func halfMetrics(t *T) {
	c := t.ownCluster(hasty(testkit.Props{"transactionCheckInterval": "3600000"}))
	b := t.dial(c.broker)
	topic, group := t.Name("Tran"), t.Name("PG")
	b.topic(topic, topicConf{})
	file := filepath.Join(testkit.StoreDir(c.brokerServer()), "config", "transactionMetrics")
	count := func(want string) {
		t.Until(20*time.Second, "count "+want+" in the file", func() (bool, string) {
			text, err := os.ReadFile(file)
			if err != nil {
				return false, err.Error()
			}
			v, err := wire.Loose(text)
			if err != nil {
				return false, err.Error()
			}
			if wire.At(v, "dataVersion", "counter") == nil || wire.At(v, "transactionCount", topic, "timeStamp") == nil {
				return false, string(text)
			}
			return wire.Num(wire.At(v, "transactionCount", topic, "count")) == want, string(text)
		})
	}
	one, two := b.half(topic, group, "U1"), b.half(topic, group, "U2")
	b.half(topic, group, "U3")
	count("3")
	b.ok(code.EndTransaction, endExt(one, group, endCommit), nil)
	count("2")
	b.ok(code.EndTransaction, endExt(two, group, endRollback), nil)
	count("1")
	// The count outlives the broker.
	t.Must(c.brokerServer().Stop(), "stop")
	t.Must(c.brokerServer().Restart(nil), "start again")
	b = t.dial(c.broker)
	t.Until(20*time.Second, "topic known", func() (bool, string) {
		f := b.call(code.GetMaxOffset, wire.Ext("topic", topic, "queueId", 0), nil)
		return f.Code == 0 && f.Int("offset") == 1, f.String()
	})
	b.half(topic, group, "U4")
	count("2")
}

// endElsewhere is the servers' part of that row, on which a proxy rests that does not know a transaction: an end that reaches a broker
// which has no such half message settles nothing, and the check-back of the one that has it does. There is no proxy here to send it.
func endElsewhere(t *T) {
	c := t.ownCluster(hasty(nil))
	other := t.dial(t.ownBroker(c.namesrv, hasty(nil)).Addr())
	b := t.dial(c.broker)
	topic, group := t.Name("Elsewhere"), t.Name("PG")
	b.topic(topic, topicConf{read: 1})
	other.topic(topic, topicConf{read: 1})
	peer := t.dial(c.broker)
	peer.asProducer(group)
	f := b.half(topic, group, "UQ")
	if end := other.call(code.EndTransaction, endExt(f, group, endCommit), nil); end.Code == int(code.Success) {
		t.Errorf("the end at the other broker: %v, want a refusal", end)
	}
	t.Until(30*time.Second, "question", func() (bool, string) { return len(peer.checks()) > 0, "none" })
	Equal(t, "messages before the answer", len(b.records(topic, 0, 0)), 0)
	q := peer.checks()[0]
	peer.ok(code.EndTransaction, wire.Ext("producerGroup", group, "tranStateTableOffset", q.Int("tranStateTableOffset"), "commitLogOffset", q.Int("commitLogOffset"),
		"commitOrRollback", endCommit, "fromTransactionCheck", true, "msgId", "UQ", "transactionId", "UQ"), nil)
	Equal(t, "body", string(b.await(topic, 0, 1, 20*time.Second)[0].Body), "UQ")
	Equal(t, "messages at the other broker", len(other.records(topic, 0, 0)), 0)
}
