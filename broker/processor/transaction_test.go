package processor

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"apogee/broker/config"
	"apogee/broker/meta"
	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store"
	"apogee/store/record"
)

// notedTransactions notes what it hears.
type notedTransactions struct {
	mu    sync.Mutex
	heard []string
	full  error
}

func (n *notedTransactions) note(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.heard = append(n.heard, fmt.Sprintf(format, args...))
}

func (n *notedTransactions) take() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := fmt.Sprint(n.heard)
	n.heard = nil
	return s
}

func (n *notedTransactions) Prepared(topic string)             { n.note("prepared %s", topic) }
func (n *notedTransactions) Begin(q int32, off int64)          { n.note("begin %d/%d", q, off) }
func (n *notedTransactions) Abandon(q int32, off int64)        { n.note("abandon %d/%d", q, off) }
func (n *notedTransactions) Done(q int32, off int64, t string) { n.note("done %d/%d %s", q, off, t) }
func (n *notedTransactions) Resumed(topic string)              { n.note("resumed %s", topic) }
func (n *notedTransactions) RolledBack(q int32, off int64, t string) error {
	n.note("rolled back %d/%d %s", q, off, t)
	return n.full
}

func (g *rig) tran() *notedTransactions { return g.Transactions.(*notedTransactions) }

// prepare sends a half message to queue 2 of tA.
func (g *rig) prepare(kv ...string) answered {
	g.t.Helper()
	a := g.call(code.SendMessage, sendFields("tA", props("TRAN_MSG=true", "PGROUP=pg", "UNIQ_KEY=U", "TAGS=t"), append([]string{"queueId", "2", "sysFlag", "4", "flag", "5"}, kv...)...), "half")
	if a.code != 0 {
		g.t.Fatal(a)
	}
	return a
}

func endFields(end int32, kv ...string) header.Fields {
	return fields(header.Fields{
		{Key: "producerGroup", Value: "pg"},
		{Key: "tranStateTableOffset", Value: "0"},
		{Key: "commitLogOffset", Value: "0"},
		{Key: "commitOrRollback", Value: fmt.Sprint(end)},
		{Key: "msgId", Value: "U"},
		{Key: "fromTransactionCheck", Value: "false"},
	}, kv...)
}

func TestHalfMessageIsStored(t *testing.T) {
	g := newRig(t)
	g.addTopic("tA", nil)
	a := g.prepare()
	if a.ext["queueId"] != "2" || a.ext["queueOffset"] != "0" || a.ext["transactionId"] != "U" || a.ext["msgId"] != "7F00000100002A9F0000000000000000" {
		t.Errorf("answer %v", a)
	}
	if len(g.store.stored(t, "tA", 2)) != 0 {
		t.Error("it is in its real topic")
	}
	m := g.store.stored(t, meta.HalfTopic, 0)[0]
	want := props("TRAN_MSG=true", "PGROUP=pg", "UNIQ_KEY=U", "TAGS=t", "MSG_REGION=DefaultRegion", "TRACE_ON=true", "CLUSTER=DefaultCluster",
		"__transactionId__=U", "REAL_TOPIC=tA", "REAL_QID=2")
	if m.Properties != want || m.SysFlag != 0 || m.Flag != 5 || string(m.Body) != "half" {
		t.Errorf("stored %+v", m)
	}
	if got := g.tran().take(); got != "[prepared tA]" {
		t.Errorf("transactions heard %s", got)
	}
	g.store.status = store.ServiceNotAvailable
	if a := g.call(code.SendMessage, sendFields("tA", props("TRAN_MSG=true", "PGROUP=pg")), "x"); a.code != code.ServiceNotAvailable || g.tran().take() != "[]" {
		t.Errorf("refused half message: %v", a)
	}
}

func TestCommit(t *testing.T) {
	g := newRig(t)
	g.addTopic("tA", nil)
	g.prepare()
	g.tran().take()
	half := g.store.stored(t, meta.HalfTopic, 0)[0]
	a := g.call(code.EndTransaction, endFields(8), "")
	if a.code != 0 || a.remark != "" || len(a.ext) != 0 {
		t.Errorf("answer %v", a)
	}
	m := g.store.stored(t, "tA", 2)[0]
	want := props("TRAN_MSG=true", "PGROUP=pg", "UNIQ_KEY=U", "TAGS=t", "MSG_REGION=DefaultRegion", "TRACE_ON=true", "CLUSTER=DefaultCluster", "__transactionId__=U")
	if m.Properties != want || m.SysFlag != record.SysTranCommit || m.Flag != 5 || string(m.Body) != "half" || m.PreparedTransactionOffset != half.PhysicalOffset ||
		m.BornTimestamp != half.BornTimestamp || m.StoreHost != half.StoreHost {
		t.Errorf("stored %+v", m)
	}
	if got := g.tran().take(); got != "[begin 0/0 done 0/0 tA]" {
		t.Errorf("transactions heard %s", got)
	}
	if g.store.released != 1 {
		t.Errorf("%d of 1 views released", g.store.released)
	}
}

func TestEndRefusals(t *testing.T) {
	old := fmt.Sprint(time.Now().Add(-time.Minute).UnixMilli())
	cases := map[string]struct {
		fields header.Fields
		change func(g *rig)
		code   int32
		remark string
		heard  string
	}{
		"another group":         {fields: endFields(8, "producerGroup", "other"), code: 1, remark: "The producer group wrong"},
		"another queue offset":  {fields: endFields(12, "tranStateTableOffset", "1"), code: 1, remark: "The transaction state table offset wrong"},
		"no message there":      {fields: endFields(8, "commitLogOffset", "7"), code: 1, remark: remarkNoHalf},
		"no half message there": {fields: endFields(8, "commitLogOffset", "9"), change: func(g *rig) { g.plainAt(9) }, code: 1, remark: remarkNoHalf},
		"no offset":             {fields: endFields(8, "commitLogOffset", "-"), code: 1, remark: "the custom field <commitLogOffset> is null"},
		"late":                  {fields: endFields(8, "producerGroup", "other"), change: func(g *rig) { g.late = old }, code: 604, remark: remarkUnset},
		"late, but asked":       {fields: endFields(12, "fromTransactionCheck", "true"), change: func(g *rig) { g.late = old }, remark: remarkUnset, heard: "rolled back 0/0 tA"},
		"rolled back":           {fields: endFields(12), remark: remarkUnset, heard: "rolled back 0/0 tA"},
		"rolled back, but too many wait": {
			fields: endFields(12), change: func(g *rig) { g.tran().full = errors.New("full") }, code: 1, remark: "full", heard: "rolled back 0/0 tA",
		},
		"no room": {
			fields: endFields(8), change: func(g *rig) { g.store.status = store.ServiceNotAvailable },
			code: 14, remark: "Service not available now.", heard: "begin 0/0 abandon 0/0",
		},
		"busy": {
			fields: endFields(8), change: func(g *rig) { g.store.status = store.OSPageCacheBusy },
			code: 1, remark: "OS page cache busy, please try another machine", heard: "begin 0/0 abandon 0/0",
		},
		"cannot be committed": {
			fields: endFields(8), change: func(g *rig) { g.store.lost = errors.New("disk") }, code: 1, remark: "UNKNOWN_ERROR", heard: "begin 0/0 abandon 0/0",
		},
		"flush takes long": {fields: endFields(8), change: func(g *rig) { g.store.status = store.FlushDiskTimeout }, heard: "begin 0/0 done 0/0 tA"},
		"overload":         {fields: endFields(8), change: func(g *rig) { g.pending.Store(1 << 30) }, code: 2, remark: remarkOverload},
		"slave":            {fields: endFields(8), change: func(g *rig) { g.set(func(c *config.Broker) { c.Role = store.Slave }) }, code: 11, remark: remarkUnset},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			g.addTopic("tA", nil)
			if c.change != nil && name[:4] == "late" {
				c.change(g)
			}
			kv := []string{}
			if g.late != "" {
				kv = []string{"bornTimestamp", g.late, "properties", props("TRAN_MSG=true", "PGROUP=pg", "UNIQ_KEY=U", "CHECK_IMMUNITY_TIME_IN_SECONDS=5")}
			}
			g.prepare(kv...)
			g.tran().take()
			if c.change != nil && g.late == "" {
				c.change(g)
			}
			a := g.call(code.EndTransaction, c.fields, "")
			if a.code != c.code || a.remark != c.remark || len(a.ext) != 0 {
				t.Errorf("answer %v, want %d %q", a, c.code, c.remark)
			}
			if got := g.tran().take(); got != "["+c.heard+"]" {
				t.Errorf("transactions heard %s, want [%s]", got, c.heard)
			}
		})
	}
}

// plainAt has an ordinary message with the properties of a half message at an offset of the log.
func (g *rig) plainAt(physical int64) {
	half := g.store.stored(g.t, meta.HalfTopic, 0)[0]
	half.Topic, half.PhysicalOffset = meta.CheckMaxTimeTopic, physical
	l, err := half.Measure(false)
	if err != nil {
		g.t.Fatal(err)
	}
	rec := make([]byte, l.Total)
	record.Encode(rec, &half, l)
	g.store.mu.Lock()
	defer g.store.mu.Unlock()
	g.store.log[physical] = rec
}

// Other ends than commit and rollback have no answer.
func TestUndecidedEndIsNotAnswered(t *testing.T) {
	g := newRig(t)
	g.addTopic("tA", nil)
	g.prepare()
	for _, end := range []int32{0, 4, 99} {
		out := g.start(remoting.Request{Code: code.EndTransaction, Version: 513, Fields: endFields(end)})
		select {
		case a := <-out:
			t.Errorf("end %d is answered: %v", end, a)
		default:
		}
	}
}

// A commit whose flush is awaited is answered when it is over, and what is cold is read in a lane.
func TestCommitWaits(t *testing.T) {
	g := newRig(t)
	g.addTopic("tA", nil)
	g.prepare()
	g.store.hold, g.store.cold = true, true
	out := g.start(remoting.Request{Code: code.EndTransaction, Version: 513, Fields: endFields(8)})
	for {
		g.store.mu.Lock()
		n := len(g.store.waiting)
		g.store.mu.Unlock()
		if n == 1 {
			break
		}
	}
	select {
	case a := <-out:
		t.Fatalf("answered before the flush: %v", a)
	default:
	}
	g.store.completeAll(store.FlushDiskTimeout)
	if a := g.wait(out); a.code != 0 {
		t.Errorf("answer %v", a)
	}
}

// It is the log that a commit reads, whatever queue offset it names.
func TestColdHalfMessage(t *testing.T) {
	g := newRig(t)
	g.addTopic("tA", nil)
	half := g.prepare()
	g.store.coldLog = map[int64]bool{0: true}
	lane := make(chan struct{})
	for range endWorkers {
		if !g.Lanes.Transaction.Submit(func() { <-lane }) {
			t.Fatal("the lane is full")
		}
	}
	out := g.start(remoting.Request{Code: code.EndTransaction, Version: 513, Fields: endFields(8, "tranStateTableOffset", half.ext["queueOffset"])})
	select {
	case a := <-out:
		t.Errorf("answered though the lane is busy: %v", a)
	default:
	}
	close(lane)
	if a := g.wait(out); a.code != 0 {
		t.Errorf("answer %v", a)
	}
}

// A half message that cannot be read when it is copied is undecided as before.
func TestCommitOfUnreadable(t *testing.T) {
	g := newRig(t)
	g.addTopic("tA", nil)
	g.prepare()
	g.tran().take()
	g.store.broken = true
	defer func() {
		if recover() == nil || g.tran().take() != "[begin 0/0 abandon 0/0]" {
			t.Error("the commit is not abandoned")
		}
	}()
	g.call(code.EndTransaction, endFields(8), "")
}

// A commit that nobody waits for does not wait for the flush.
func TestCommitWithoutWaiting(t *testing.T) {
	g := newRig(t)
	g.addTopic("tA", nil)
	g.prepare("properties", props("TRAN_MSG=true", "PGROUP=pg", "WAIT=false"))
	g.store.hold = true
	if a := g.call(code.EndTransaction, endFields(8), ""); a.code != 0 || len(g.store.waiting) != 0 {
		t.Errorf("answer %v", a)
	}
}

// The delay of a transaction's message counts from its commit.
func TestDelayedHalfMessage(t *testing.T) {
	g := newRig(t)
	g.addTopic("tA", nil)
	g.prepare("properties", props("TRAN_MSG=true", "PGROUP=pg", "DELAY=99"))
	if n := len(g.store.stored(t, meta.HalfTopic, 0)); n != 1 {
		t.Fatalf("%d half messages", n)
	}
	if a := g.call(code.EndTransaction, endFields(8), ""); a.code != 0 {
		t.Fatal(a)
	}
	m := g.store.stored(t, meta.ScheduleTopic, 2)[0]
	if record.Property(m.Properties, "REAL_TOPIC") != "tA" || record.Property(m.Properties, "REAL_QID") != "2" || record.Property(m.Properties, "DELAY") != "3" {
		t.Errorf("stored %+v", m)
	}
	if got := g.tran().take(); got != "[prepared tA begin 0/0 done 0/0 tA]" {
		t.Errorf("transactions heard %s", got)
	}
	if a := g.call(code.SendMessage, sendFields("tA", props("TRAN_MSG=true", "PGROUP=pg", "DELAY=soon")), "x"); a.code != 1 {
		t.Errorf("delay that is no number: %v", a)
	}
}

func TestResumeCheck(t *testing.T) {
	g := newRig(t)
	g.addTopic("tA", nil)
	g.prepare()
	g.plainAt(1 << 20)
	g.tran().take()
	id := func(physical int64) header.Fields {
		return header.Fields{{Key: "msgId", Value: fmt.Sprintf("7F00000100002A9F%016X", physical)}}
	}
	if a := g.call(code.ResumeCheckHalfMessage, id(1<<20), ""); a.code != 0 {
		t.Fatal(a)
	}
	stored := g.store.stored(t, meta.HalfTopic, 0)
	if len(stored) != 2 || record.Property(stored[1].Properties, "TRANSACTION_CHECK_TIMES") != "0" || stored[1].Flag != 5 || string(stored[1].Body) != "half" {
		t.Errorf("stored %+v", stored)
	}
	if got := g.tran().take(); got != "[resumed tA]" {
		t.Errorf("transactions heard %s", got)
	}
	if a := g.call(code.SendMessage, sendFields("tA", ""), "no half message"); a.code != 0 {
		t.Fatal(a)
	}
	plain := g.store.stored(t, "tA", 0)[0].PhysicalOffset
	for name, f := range map[string]header.Fields{"no half message": id(plain), "nothing there": id(3), "no id": {{Key: "msgId", Value: "x"}}, "none": nil} {
		if a := g.call(code.ResumeCheckHalfMessage, f, ""); a.code != 1 {
			t.Errorf("%s: %v", name, a)
		}
	}
	g.store.status = store.ServiceNotAvailable
	if a := g.call(code.ResumeCheckHalfMessage, id(1<<20), ""); a.code != 1 {
		t.Errorf("refused by the store: %v", a)
	}
	if n := len(g.store.stored(t, meta.HalfTopic, 0)); n != 2 || g.tran().take() != "[]" {
		t.Errorf("%d half messages after refusals", n)
	}
}

// The topic of a half message may be gone when it is committed; the log keeps the message, as Java's does.
func TestCommitToATopicThatIsGone(t *testing.T) {
	g := newRig(t)
	g.addTopic("tA", func(c *body.TopicConfig) { c.Order = true })
	g.prepare()
	if err := g.Topics.Delete("tA"); err != nil {
		t.Fatal(err)
	}
	if a := g.call(code.EndTransaction, endFields(8), ""); a.code != 0 || len(g.store.stored(t, "tA", 2)) != 1 {
		t.Errorf("answer %v", a)
	}
}
