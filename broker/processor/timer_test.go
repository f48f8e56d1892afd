package processor

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"apogee/broker/config"
	"apogee/broker/timer"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store/record"
)

// fakeTimers has one slot that is full.
type fakeTimers struct {
	full   int64
	passed bool
	forgot string
}

func (f *fakeTimers) Full(out int64, limit int) bool { return out == f.full && limit == 10 }
func (f *fakeTimers) Passed(int64) bool              { return f.passed }
func (f *fakeTimers) Checkpoint() []byte             { return make([]byte, 56) }
func (f *fakeTimers) Metrics() []byte                { return []byte(`{"timingCount":{}}`) }
func (f *fakeTimers) Forget(topic string)            { f.forgot = topic }
func (f *fakeTimers) Progress() timer.Progress {
	return timer.Progress{ReadBehind: 1, OffsetBehind: 2, Waiting: 3}
}

// timedRig is a broker with a timer whose clock stands still, with what it stores.
func timedRig(t *testing.T, change ...func(*config.Broker)) (*rig, *fakeTimers) {
	g, f := newRig(t, change...), &fakeTimers{full: -1}
	g.Timers = f
	g.Now = func() time.Time { return time.UnixMilli(1_700_000_000_500) }
	g.addTopic("tA", nil)
	return g, f
}

// last is the record that was stored last.
func (g *rig) last() record.Message {
	g.t.Helper()
	var m record.Message
	if len(g.store.log) == 0 {
		g.t.Fatal("nothing was stored")
	}
	at := slices.Max(slices.Collect(maps.Keys(g.store.log)))
	if err := record.Decode(g.store.log[at], &m); err != nil {
		g.t.Fatal(err)
	}
	return m
}

const illegal = "timer message illegal, the delay time should not be bigger than the max delay 259200000ms; or if set del msg, the delay time should be bigger than the current time"

func TestTimedSends(t *testing.T) {
	for name, c := range map[string]struct {
		props  string
		code   int32
		remark string
		out    string // where it waits; "" if it does not
	}{
		"seconds first":        {props: props("UNIQ_KEY=u", "TIMER_DELAY_MS=1", "TIMER_DELAY_SEC=5"), out: "1700000005000"},
		"whole second":         {props: props("UNIQ_KEY=u", "TIMER_DELIVER_MS=1700000005000"), out: "1700000004000"},
		"past":                 {props: props("UNIQ_KEY=u", "TIMER_DELIVER_MS=1")},
		"came from the timer":  {props: props("UNIQ_KEY=u", "TIMER_DELAY_MS=5000", "TIMER_OUT_MS=7")},
		"no number":            {props: props("TIMER_DELAY_MS=x"), code: 13, remark: illegal},
		"too far":              {props: props("TIMER_DELAY_SEC=259201"), code: 13, remark: illegal},
		"cancels in the past":  {props: props("TIMER_DELIVER_MS=1", "TIMER_DEL_UNIQKEY=x"), code: 13, remark: illegal},
		"cancels something":    {props: props("UNIQ_KEY=u", "TIMER_DELIVER_MS=1700000005000", "TIMER_DEL_UNIQKEY=x"), out: "1700000004000"},
		"slot that is full":    {props: props("TIMER_DELIVER_MS=1700000009000"), code: 1, remark: "timer message is under flow control, max num limit is 20 or the current value is greater than 10 and less than 20, trigger random flow control"},
		"level and a bad time": {props: props("UNIQ_KEY=u", "TIMER_DELAY_MS=x", "DELAY=1")},
	} {
		t.Run(name, func(t *testing.T) {
			g, f := timedRig(t, func(c *config.Broker) { c.TimerCongest = 10 })
			f.full = 1_700_000_008_000
			a := g.call(code.SendMessage, sendFields("tA", c.props, "queueId", "2"), "x")
			if a.code != c.code || a.remark != c.remark {
				t.Fatalf("answer %v, want %d %q", a, c.code, c.remark)
			}
			if c.code != 0 {
				if len(g.store.log) != 0 {
					t.Error("it was stored all the same")
				}
				return
			}
			m := g.last()
			if got := record.Property(m.Properties, timer.PropOut); c.out != "" && (got != c.out || m.Topic != timer.Topic || m.QueueID != 0 ||
				record.Property(m.Properties, "REAL_TOPIC") != "tA" || record.Property(m.Properties, "REAL_QID") != "2") {
				t.Errorf("stored in %s/%d: %q", m.Topic, m.QueueID, m.Properties)
			}
			handle := ""
			if c.out != "" {
				ms, _ := strconv.ParseInt(c.out, 10, 64)
				handle = string(timer.AppendHandle(nil, "tA", "broker-a", ms+1, "u"))
			} else if m.Topic == timer.Topic {
				t.Errorf("stored in %s: %q", m.Topic, m.Properties)
			}
			if a.ext["recallHandle"] != handle || a.ext["queueId"] != "2" {
				t.Errorf("answer %v, want the handle %q", a, handle)
			}
		})
	}
}

// The time of a transaction's message counts from its commit, which is refused as a send would be; the half message stays undecided.
func TestTimedCommits(t *testing.T) {
	for ask, want := range map[string]struct {
		code   int32
		remark string
		heard  string
	}{
		"TIMER_DELAY_SEC=5":              {heard: "begin 0/0 done 0/0 tA"},
		"TIMER_DELAY_SEC=259201":         {code: 13, remark: illegal},
		"TIMER_DELAY_MS=x":               {code: 13, remark: illegal},
		"TIMER_DELIVER_MS=1700000009000": {code: 1, remark: "timer message is under flow control, max num limit is 20 or the current value is greater than 10 and less than 20, trigger random flow control"},
	} {
		g, f := timedRig(t, func(c *config.Broker) { c.TimerCongest = 10 })
		f.full = 1_700_000_008_000
		g.prepare("properties", props("TRAN_MSG=true", "PGROUP=pg", ask))
		g.tran().take()
		half := g.last()
		a := g.call(code.EndTransaction, endFields(8), "")
		if a.code != want.code || a.remark != want.remark || len(a.ext) != 0 {
			t.Errorf("%s: answer %v, want %d %q", ask, a, want.code, want.remark)
		}
		if got := g.tran().take(); got != "["+want.heard+"]" {
			t.Errorf("%s: transactions heard %s", ask, got)
		}
		if m := g.last(); want.code == 0 && m.Topic != timer.Topic || want.code != 0 && m.PhysicalOffset != half.PhysicalOffset {
			t.Errorf("%s: stored %+v", ask, m)
		}
	}
}

func TestTimedBatchIsRefused(t *testing.T) {
	g, _ := timedRig(t)
	a := g.call(code.SendMessage, sendFields("tA", props("TIMER_DELAY_SEC=5"), "batch", "true"), "x")
	if a.code != code.MessageIllegal || len(g.store.log) != 0 {
		t.Errorf("answer %v", a)
	}
}

func TestRecall(t *testing.T) {
	handle := func(words string) string {
		w := strings.Fields(words)
		ms, _ := strconv.ParseInt(w[2], 10, 64)
		return string(timer.AppendHandle(nil, w[0], w[1], ms, w[3]))
	}
	good := handle("tA broker-a 1700000004001 KEY")
	for name, c := range map[string]struct {
		topic, handle string
		change        func(*config.Broker)
		passed        bool // when the cancellation has been stored
		code          int32
		remark        string
		cancels       string
	}{
		"good":             {topic: "tA", handle: good, cancels: "KEY"},
		"topic in the key": {topic: "tA", handle: good, change: func(c *config.Broker) { c.TimerTopicInKey = true }, cancels: "tA+KEY"},
		"read-only broker": {topic: "tA", handle: good, change: func(c *config.Broker) { c.Permission = 4 }, cancels: "KEY"},
		"switched off":     {topic: "tA", handle: good, change: func(c *config.Broker) { c.Recall = false }, code: 16, remark: "recall failed, operation is forbidden"},
		"too early":        {topic: "tA", handle: good, change: func(c *config.Broker) { c.StartAcceptSend = 1 << 60 }, code: 14, remark: "recall failed, broker service not available"},
		"not even recalls": {topic: "tA", handle: good, change: func(c *config.Broker) { c.Permission, c.RecallNotWritable = 4, false }, code: 14, remark: "recall failed, broker service not available"},
		"no topic":         {topic: "tNo", handle: good, code: 17, remark: "recall failed, the topic[tNo] not exist"},
		"no handle":        {topic: "tA", handle: "x", code: 604, remark: "recall handle is invalid"},
		"other topic":      {topic: "tA", handle: handle("tB broker-a 1700000004001 KEY"), code: 604, remark: "recall failed, topic not match"},
		"other broker":     {topic: "tA", handle: handle("tA broker-b 1700000004001 KEY"), code: 604, remark: "recall failed, broker service not available"},
		"past":             {topic: "tA", handle: handle("tA broker-a 1700000000500 KEY"), code: 604, remark: "recall failed, timestamp invalid"},
		"far":              {topic: "tA", handle: handle("tA broker-a 1700259200500 KEY"), code: 604, remark: "recall failed, timestamp invalid"},
		"time has come":    {topic: "tA", handle: good, passed: true, code: 604, remark: "recall failed, timestamp invalid"},
		"no timer":         {topic: "tA", handle: good, change: func(c *config.Broker) { c.TimerWheel = false }, code: 1, remark: "recall failed, execute error"},
		"without a handle": {topic: "tA", code: 1, remark: "the custom field <recallHandle> is null"},
	} {
		t.Run(name, func(t *testing.T) {
			g, timers := timedRig(t, func(b *config.Broker) {
				b.Recall = true
				if c.change != nil {
					c.change(b)
				}
			})
			if timers.passed = c.passed; name == "no timer" {
				g.Timers = nil
			}
			f := header.Fields{{Key: "producerGroup", Value: "pg"}, {Key: "topic", Value: c.topic}}
			if c.handle != "" {
				f = append(f, header.Pair{Key: "recallHandle", Value: c.handle})
			}
			a := g.call(code.RecallMessage, f, "")
			if a.code != c.code || a.remark != c.remark || a.ext["MSG_REGION"] != "DefaultRegion" {
				t.Fatalf("answer %v, want %d %q", a, c.code, c.remark)
			}
			if c.code != 0 {
				if (len(g.store.log) != 0) != c.passed {
					t.Errorf("%d messages were stored", len(g.store.log))
				}
				return
			}
			m := g.last()
			want := props("TAGS=_RECALL_TAG_", "TIMER_DEL_UNIQKEY="+c.cancels, "UNIQ_KEY=KEY", "TIMER_DELIVER_MS=1700000004001",
				"BORN_TIMESTAMP=1700000000500", "PGROUP=pg", "TIMER_OUT_MS=1700000004000", "REAL_TOPIC=tA", "REAL_QID=0")
			if a.ext["msgId"] != "KEY" || m.Topic != timer.Topic || string(m.Body) != "0" || m.Properties != want {
				t.Errorf("answer %v, stored in %s: %q\nwant %q", a, m.Topic, m.Properties, want)
			}
		})
	}
}

func TestTimerQueries(t *testing.T) {
	g, _ := timedRig(t)
	if a := g.call(code.GetTimerCheckPoint, nil, ""); a.code != 0 || len(a.body) != 56 {
		t.Errorf("checkpoint %v", a)
	}
	if a := g.call(code.GetTimerMetrics, nil, ""); a.code != 0 || string(a.body) != `{"timingCount":{}}` {
		t.Errorf("metrics %v", a)
	}
	g.Timers = nil
	for c, remark := range map[int32]string{code.GetTimerCheckPoint: "The checkpoint is null", code.GetTimerMetrics: "The timer message store is null"} {
		if a := g.call(c, nil, ""); a.code != 1 || a.remark != remark {
			t.Errorf("%d without a timer: %v", c, a)
		}
	}
}

// What is put without a producer gets the same treatment.
func TestScheduleOfInternalPuts(t *testing.T) {
	g, _ := timedRig(t)
	for sent, want := range map[string]string{
		props("A=1"):                                 "tA/1 A=1",
		props("DELAY=2", "TIMER_DELAY_SEC=5"):        "SCHEDULE_TOPIC_XXXX/1 DELAY=2 REAL_TOPIC=tA REAL_QID=1",
		props("TIMER_DELAY_SEC=5"):                   "rmq_sys_wheel_timer/0 TIMER_DELAY_SEC=5 TIMER_OUT_MS=1700000005000 REAL_TOPIC=tA REAL_QID=1",
		props("TIMER_DELIVER_MS=1"):                  "tA/1 TIMER_DELIVER_MS=1",
		props("TIMER_DELAY_SEC=5", "TIMER_OUT_MS=1"): "tA/1 TIMER_DELAY_SEC=5 TIMER_OUT_MS=1",
		props("TIMER_DELAY_SEC=x"):                   "13",
		props("DELAY=x"):                             "1",
	} {
		m := record.Message{Topic: "tA", QueueID: 1, Properties: sent}
		_, no := g.schedule(&m, nil)
		got := fmt.Sprintf("%s/%d %s", m.Topic, m.QueueID, strings.TrimSpace(strings.NewReplacer("\x01", "=", "\x02", " ").Replace(m.Properties)))
		if no.code != 0 {
			got = fmt.Sprint(no.code)
		}
		if got != want {
			t.Errorf("%q becomes %s, want %s", sent, got, want)
		}
	}
}
