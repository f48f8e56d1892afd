package conformance

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"apogee/conformance/wire"
	"apogee/internal/testkit"
	"apogee/remoting/code"
)

// decider is a producer that commits every half message that it is asked about.
type decider struct {
	t     *testing.T
	c     *wire.Conn
	group string
	seen  int
	asked map[string]int
}

func newDecider(t *testing.T, addr, group string) *decider {
	d := &decider{t: t, c: dialTest(t, addr), group: group, asked: map[string]int{}}
	mustTest(t, d.c, code.HeartBeat, nil, []byte(fmt.Sprintf(`{"clientID":%q,"consumerDataSet":[],"producerDataSet":[{"groupName":%q}]}`, group+"@x", group)))
	return d
}

// answer answers what has been asked since the last call.
func (d *decider) answer() {
	all := d.c.Asked()
	for _, q := range all[d.seen:] {
		if q.Code != int(code.CheckTransactionState) {
			continue
		}
		d.asked[q.Ext["msgId"]]++
		mustTest(d.t, d.c, code.EndTransaction, wire.Ext("producerGroup", d.group, "tranStateTableOffset", q.Int("tranStateTableOffset"), "commitLogOffset",
			q.Int("commitLogOffset"), "commitOrRollback", endCommit, "fromTransactionCheck", true, "msgId", q.Ext["msgId"]), nil)
	}
	d.seen = len(all)
}

// read reads a queue to its end.
func (d *decider) read(topic string, queue int) []wire.Record {
	var out []wire.Record
	for at := int64(0); ; {
		f, err := d.c.Call(int(code.PullMessage), pullExt("golden_reader", topic, queue, at), nil)
		if err != nil {
			d.t.Fatal(err)
		}
		if f.Code == int(code.PullOffsetMoved) && f.Int("nextBeginOffset") > at {
			at = f.Int("nextBeginOffset")
			continue
		}
		if f.Code != 0 {
			return out
		}
		recs, err := wire.Records(f.Body)
		if err != nil {
			d.t.Fatal(err)
		}
		out, at = append(out, recs...), f.Int("nextBeginOffset")
	}
}

// keys counts the unique keys in the queues of a topic.
func (d *decider) keys(topic string, queues int) map[string]int {
	out := map[string]int{}
	for q := range queues {
		for _, rec := range d.read(topic, q) {
			out[rec.Properties["UNIQ_KEY"]]++
		}
	}
	return out
}

// checked waits until the check has passed every half message and has no op to come back to.
func (d *decider) checked() {
	waitTest(d.t, 60*time.Second, "check at the end of its queues", func() bool {
		d.answer()
		for _, topic := range []string{halfTopic, opTopic} {
			f := mustTest(d.t, d.c, code.GetMaxOffset, wire.Ext("topic", topic, "queueId", 0), nil)
			if f.Int("offset") == 0 {
				continue
			}
			at, err := d.c.Call(int(code.QueryConsumerOffset), wire.Ext("consumerGroup", tranGroup, "topic", topic, "queueId", 0), nil)
			if err != nil || at.Code != 0 || at.Int("offset") != f.Int("offset") {
				return false
			}
		}
		return true
	})
}

// TestGoldenTransactions goes on with the half messages that the reference left undecided: each producer is asked, and what it
// commits comes once. What was decided before stays so.
func TestGoldenTransactions(t *testing.T) {
	t.Parallel()
	target := testTarget(t)
	for _, name := range []string{"clean", "crash", "segments", "defaults"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var m goldenHalves
			goOnWithGolden(t, target, testkit.Golden(t, name, &m), &m)
		})
	}
}

// goldenHalves are the half messages of a manifest.
type goldenHalves struct {
	Topics map[string]struct {
		Queues []struct {
			Messages []struct{ Properties map[string]string }
		}
	}
}

func goOnWithGolden(t *testing.T, target testkit.Target, dir string, m *goldenHalves) {
	say := map[string]string{} // what each producer said
	var topic, group string
	for _, q := range m.Topics[halfTopic].Queues {
		for _, msg := range q.Messages {
			say[msg.Properties["UNIQ_KEY"]] = msg.Properties["end"]
			topic, group = msg.Properties["REAL_TOPIC"], msg.Properties["PGROUP"]
		}
	}
	conf, err := testkit.GoldenConf(dir)
	if err != nil {
		t.Fatal(err)
	}
	// Long enough for the answers to come before it asks again, which both implementations then do.
	s, err := target.Broker(dir, "127.0.0.1:1", conf.With(hasty(testkit.Props{"transactionCheckInterval": "5000"})))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Stop() }()
	d := newDecider(t, s.Addr(), group)
	defer d.c.Close()
	committed, undecided := 0, 0
	for _, word := range say {
		switch word {
		case "COMMIT_MESSAGE":
			committed++
		case "UNKNOW":
			undecided++
		}
	}
	if undecided == 0 {
		t.Fatal("nothing is undecided")
	}
	waitTest(t, 60*time.Second, "messages that were undecided", func() bool {
		d.answer()
		return len(d.keys(topic, 4)) == committed+undecided
	})
	d.checked()
	for key, n := range d.keys(topic, 4) {
		if n != 1 || say[key] == "ROLLBACK_MESSAGE" {
			t.Errorf("%s, of which its producer said %s, came %d times", key, say[key], n)
		}
	}
	for key, n := range d.asked {
		if n != 1 || say[key] != "UNKNOW" {
			t.Errorf("asked %d times about %s, of which its producer said %s", n, key, say[key])
		}
	}
}

// TestTransactionsGoOnElsewhere has the two implementations go on where the other one stopped.
func TestTransactionsGoOnElsewhere(t *testing.T) {
	t.Parallel()
	target := testTarget(t)
	elsewhere, err := other(target)
	if err != nil {
		t.Skipf("SKIPPED, no half message went from one implementation to the other: %v; run it where both are", err)
	}
	dir := filepath.Join(t.TempDir(), "both")
	// The reference asks on while it stops, and gives up if it is asked to be too hasty.
	conf := baseConf("both").With(hasty(testkit.Props{"transactionCheckInterval": "3000"}))
	const topic, group = "TranOfBoth", "PGOfBoth"
	var want []string
	before := map[string]int{}
	for i, impl := range []testkit.Target{target, elsewhere, target} {
		s, err := impl.Broker(dir, "127.0.0.1:1", conf)
		if err != nil {
			t.Fatal(err)
		}
		stop := func() { _ = s.Stop() }
		t.Cleanup(func() { stop() })
		conf["listenPort"] = strings.TrimPrefix(s.Addr(), "127.0.0.1:")
		d := newDecider(t, s.Addr(), group)
		mustTest(t, d.c, code.UpdateAndCreateTopic, wire.Ext("topic", topic, "defaultTopic", "TBW102", "readQueueNums", 1, "writeQueueNums", 1, "perm", 6,
			"topicFilterType", "SINGLE_TAG", "topicSysFlag", 0, "order", false), nil)
		// What the one before left undecided.
		waitTest(t, 60*time.Second, fmt.Sprint("messages at ", impl.Name()), func() bool {
			d.answer()
			return len(d.keys(topic, 1)) >= len(want)
		})
		d.checked()
		got := d.keys(topic, 1)
		if len(got) != len(want) {
			t.Errorf("%s: messages %v, want %v", impl.Name(), got, want)
		}
		for _, key := range want {
			if n := got[key]; n == 0 || n > 1 && before[key] == 0 && impl == target { // the reference may ask twice
				t.Errorf("%s: %s came %d times", impl.Name(), key, n)
			}
		}
		before = got
		half := func(name string, end int, more ...string) {
			key := fmt.Sprint(name, i)
			props := append([]string{"TRAN_MSG", "true", "PGROUP", group, "UNIQ_KEY", key}, more...)
			m := message{topic: topic, group: group, body: []byte(key), sysFlag: 4, properties: wire.Properties(props...)}
			f := mustTest(t, d.c, code.SendMessageV2, m.short(), m.body)
			if end != endUnknown {
				mustTest(t, d.c, code.EndTransaction, endExt(f, group, end), nil)
			}
			if end != endRollback {
				want = append(want, key)
			}
		}
		half("committed", endCommit)
		half("rolled back", endRollback)
		waitTest(t, 20*time.Second, "op messages", func() bool { // the reference loses those that wait when it stops
			var text string
			for _, rec := range d.read(opTopic, 0) {
				text += string(rec.Body)
			}
			recs := d.read(halfTopic, 0)
			ended := strings.Split(text, ",")
			return slices.Contains(ended, fmt.Sprint(recs[len(recs)-1].QueueOffset)) && slices.Contains(ended, fmt.Sprint(recs[len(recs)-2].QueueOffset))
		})
		half("immune", endUnknown, "CHECK_IMMUNITY_TIME_IN_SECONDS", "3")
		half("undecided", endUnknown)
		d.c.Close()
		stop = func() {}
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
	}
}
