package transaction

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"apogee/broker/meta"
	"apogee/store"
	"apogee/store/record"
	"apogee/store/vfs"
)

func prop(m record.Message, name string) string { return record.Property(m.Properties, name) }

func TestEndedAreNotAskedAbout(t *testing.T) {
	r := newRig(t, store.AsyncFlush)
	one, two := r.half("U1"), r.half("U2")
	three := r.half("U3")
	r.commit(one.QueueOffset, one.PhysicalOffset)
	if err := r.RolledBack(0, three.QueueOffset, "T"); err != nil {
		t.Fatal(err)
	}
	// The ops are not written yet.
	r.round(7 * time.Second)
	if len(r.peer.asked) != 1 || r.peer.asked[0].MsgID != "U2" {
		t.Fatalf("asked %+v", r.peer.asked)
	}
	if got := r.at(); got != "3 0" {
		t.Errorf("offsets %s", got)
	}
	r.flush()
	if ops := r.messages(meta.OpHalfTopic, 0); len(ops) != 1 || string(ops[0].Body) != "0,2," || ops[0].Properties != "TAGS\x01d\x02WAIT\x01true\x02" {
		t.Errorf("op messages %+v", ops)
	}
	q := r.peer.asked[0]
	if q.TranStateTableOffset != 3 || q.TranStateTableOffset == two.QueueOffset || q.Topic != meta.HalfTopic || q.BrokerName != "b" || q.msg.Topic != "T" || q.msg.QueueID != 1 {
		t.Errorf("question %+v", q)
	}
	r.commit(q.TranStateTableOffset, q.CommitLogOffset)
	r.flush()
	r.round(7 * time.Second)
	if got := r.at(); got != "4 2" || len(r.peer.asked) != 1 {
		t.Errorf("offsets %s, asked %d times", got, len(r.peer.asked))
	}
	var bodies []string
	for _, m := range r.messages("T", 1) {
		bodies = append(bodies, string(m.Body))
	}
	if fmt.Sprint(bodies) != "[U1 U2]" || r.Undecided("T") != 0 {
		t.Errorf("committed %v, undecided %d", bodies, r.Undecided("T"))
	}
}

// A commit that is being stored may yet be refused: until then the half message is neither asked about nor passed.
func TestRefusedCommitIsAskedAbout(t *testing.T) {
	for _, origin := range []bool{false, true} {
		r := newRig(t, store.AsyncFlush)
		var more []string
		if origin {
			more = []string{PropImmunity, "5"}
		}
		one := r.half("U1", more...)
		if origin {
			r.round(time.Second) // leaves a copy
		}
		at := r.at()
		r.Begin(0, one.QueueOffset)
		r.round(7 * time.Second)
		if len(r.peer.asked) != 0 || r.at() != at && at != " " {
			t.Errorf("asked %d times, offsets %s, while it is stored", len(r.peer.asked), r.at())
		}
		r.Abandon(0, one.QueueOffset)
		r.round(7 * time.Second)
		if len(r.peer.asked) != 1 || r.peer.asked[0].MsgID != "U1" {
			t.Errorf("asked %+v after the refusal", r.peer.asked)
		}
		if n := len(r.ops.queues[0].marks); n != 0 {
			t.Errorf("%d marks are left", n)
		}
	}
}

// Of what is decided nothing is kept.
func TestCopiesAreForgotten(t *testing.T) {
	r := newRig(t, store.AsyncFlush)
	r.half("U1", PropImmunity, "5")
	r.round(time.Second)
	r.on(r.mem.KillClone()) // finds the copy
	r.round(7 * time.Second)
	if len(r.peer.asked) != 1 {
		t.Fatalf("asked %d times", len(r.peer.asked))
	}
	r.commit(r.peer.asked[0].TranStateTableOffset, r.peer.asked[0].CommitLogOffset)
	r.flush()
	r.round(7 * time.Second)
	if q := r.check.queues[0]; len(q.prepared) != 0 || len(q.newest) != 0 {
		t.Errorf("kept: %v, %v", q.prepared, q.newest)
	}
}

// A producer that says of a message that it is the copy of a later one does not undo the end of that one.
func TestForeignOrigin(t *testing.T) {
	r := newRig(t, store.AsyncFlush)
	r.half("U1", PropPreparedAt, "1")
	two := r.half("U2")
	r.commit(two.QueueOffset, two.PhysicalOffset)
	r.flush()
	r.round(7 * time.Second)
	if len(r.peer.asked) != 1 || r.peer.asked[0].MsgID != "U1" {
		t.Errorf("asked %+v", r.peer.asked)
	}
}

// Offsets in light queues are those of one record: neither a half message nor what becomes of it has them from another one.
func TestOffsetsInLightQueuesAreNotCopied(t *testing.T) {
	for _, reserved := range []time.Duration{time.Hour, time.Second} { // asked about, or given up at once
		r := newRig(t, store.AsyncFlush)
		r.set.CheckMax, r.set.Reserved = 1, reserved
		res := r.half("U1", record.PropMultiDispatchQueue, "7")
		java := r.messages(meta.HalfTopic, 0)[res.QueueOffset]
		if got := prop(java, record.PropMultiDispatchQueue); got != "" {
			t.Errorf("the half message says %s", got)
		}
		java.Properties += record.PropMultiDispatchQueue + "\x018\x02" // as Java leaves it
		if put := r.st.PutWait(&java); !stored(put.Status) {
			t.Fatal(put.Err)
		}
		r.round(7 * time.Second)
		r.round(7 * time.Second)
		given := r.messages(meta.CheckMaxTimeTopic, 0)
		for _, m := range append(r.messages(meta.HalfTopic, 0)[2:], given...) {
			if got := prop(m, record.PropMultiDispatchQueue); got != "" {
				t.Errorf("a copy in %s says %s", m.Topic, got)
			}
		}
		if len(given) != 2 {
			t.Errorf("%d messages are given up", len(given))
		}
	}
}

func TestNobodyIsAskedTooSoon(t *testing.T) {
	r := newRig(t, store.AsyncFlush)
	r.half("U1")
	r.round(5 * time.Second)
	if len(r.peer.asked) != 0 || len(r.messages(meta.HalfTopic, 0)) != 1 {
		t.Errorf("asked %d times", len(r.peer.asked))
	}
	// Without a producer the check goes on, and the message counts as asked about.
	r.peer = nil
	r.round(2 * time.Second)
	if m := r.messages(meta.HalfTopic, 0); len(m) != 2 || prop(m[1], PropCheckTimes) != "1" {
		t.Errorf("half messages %+v", m)
	}
	r.peer = &peer{err: errors.New("gone")}
	r.round(time.Second)
	if m := r.messages(meta.HalfTopic, 0); len(m) != 3 || prop(m[2], PropCheckTimes) != "2" {
		t.Errorf("half messages %+v", m)
	}
}

func TestGivesUp(t *testing.T) {
	r := newRig(t, store.AsyncFlush)
	r.set.CheckMax = 3
	r.half("U1")
	for range 3 {
		r.round(7 * time.Second)
		if m := r.messages(meta.CheckMaxTimeTopic, 0); len(m) != 0 {
			t.Fatal("given up too soon")
		}
	}
	r.round(7 * time.Second)
	given := r.messages(meta.CheckMaxTimeTopic, 0)
	if len(r.peer.asked) != 3 || len(given) != 1 || prop(given[0], PropCheckTimes) != "3" || prop(given[0], record.PropRealTopic) != "T" || string(given[0].Body) != "U1" {
		t.Errorf("asked %d times, given up %+v", len(r.peer.asked), given)
	}
	if r.at() != "4 0" || r.Undecided("T") != 0 {
		t.Errorf("offsets %s, undecided %d", r.at(), r.Undecided("T"))
	}
	r.round(7 * time.Second)
	if len(r.messages(meta.CheckMaxTimeTopic, 0)) != 1 {
		t.Error("given up twice")
	}
}

func TestGivenUpIsNotLost(t *testing.T) {
	r := newRig(t, store.AsyncFlush)
	r.set.Reserved = time.Hour
	r.half("U1")
	r.st.refuse = func(m *record.Message) bool { return m.Topic == meta.CheckMaxTimeTopic }
	r.round(2 * time.Hour)
	if r.at() != "0 0" {
		t.Errorf("offsets %s", r.at())
	}
	r.st.refuse = nil
	r.round(time.Second)
	if len(r.messages(meta.CheckMaxTimeTopic, 0)) != 1 || len(r.peer.asked) != 0 {
		t.Error("it is not given up")
	}
	// A copy that is refused is tried again, too.
	r.half("U2")
	r.st.refuse = func(m *record.Message) bool { return m.Topic == meta.HalfTopic }
	r.round(7 * time.Second)
	if r.at() != "1 0" || len(r.peer.asked) != 0 {
		t.Errorf("offsets %s", r.at())
	}
}

func TestImmunityIsNoQuestion(t *testing.T) {
	r := newRig(t, store.AsyncFlush)
	r.set.CheckMax = 2
	r.half("U1", PropImmunity, "100")
	for range 5 {
		r.round(15 * time.Second)
	}
	if m := r.messages(meta.HalfTopic, 0); len(m) != 6 || prop(m[5], PropPreparedAt) != "0" || prop(m[5], PropCheckTimes) != "" || len(r.peer.asked) != 0 {
		t.Fatalf("%d half messages, the last one %+v", len(m), m[len(m)-1])
	}
	r.round(30 * time.Second)
	if len(r.peer.asked) != 1 {
		t.Errorf("asked %d times when the time is over", len(r.peer.asked))
	}
}

// An end names the offset that the producer knows, wherever the check has got, and whether or not the broker was started since.
func TestEndOfAnImmuneMessage(t *testing.T) {
	for _, restart := range []bool{false, true} {
		r := newRig(t, store.AsyncFlush)
		one := r.half("U1", PropImmunity, "60")
		r.round(7 * time.Second)
		r.round(7 * time.Second)
		r.commit(one.QueueOffset, one.PhysicalOffset)
		r.flush()
		if restart {
			if err := r.offsets.Persist(); err != nil {
				t.Fatal(err)
			}
			r.on(r.mem.KillClone())
		}
		for range 5 {
			r.round(30 * time.Second)
		}
		if len(r.peer.asked) != 0 || len(r.messages("T", 1)) != 1 {
			t.Errorf("restart %v: asked %d times, committed %d times", restart, len(r.peer.asked), len(r.messages("T", 1)))
		}
		if r.at() != "3 1" {
			t.Errorf("restart %v: offsets %s", restart, r.at())
		}
	}
}

func TestCopiesAreWhole(t *testing.T) {
	r := newRig(t, store.AsyncFlush)
	r.half("U1", record.PropTags, "t", record.PropWait, "true")
	r.round(7 * time.Second)
	m := r.messages(meta.HalfTopic, 0)
	a, b := m[0], m[1]
	if b.Flag != a.Flag || b.ReconsumeTimes != a.ReconsumeTimes || b.BornTimestamp != a.BornTimestamp || b.BornHost != a.BornHost ||
		b.StoreHost != a.StoreHost || string(b.Body) != string(a.Body) || b.SysFlag != 0 || b.Properties != a.Properties+"TRANSACTION_CHECK_TIMES\x011\x02" {
		t.Errorf("copy %+v\nof %+v", b, a)
	}
}

// A queue that has lost its beginning or its end, and op messages that are damaged, do not stop the check.
func TestOddQueues(t *testing.T) {
	r := newRig(t, store.AsyncFlush)
	put := func(topic, tags, body string) {
		m := opMessage(0, nil)
		m.Topic, m.Body, m.Properties = topic, []byte(body), "TAGS\x01"+tags+"\x02"
		m.StoreHost, m.BornHost = r.opts.Host(), r.opts.Host()
		if res := r.st.PutWait(m); !stored(res.Status) {
			t.Fatal(res.Err)
		}
	}
	one := r.half("U1")
	put(meta.OpHalfTopic, "x", "0,")
	put(meta.OpHalfTopic, "d", "x,,-5,99999999999999999999,")
	put(meta.HalfTopic, "", "no half message")
	r.round(7 * time.Second)
	if len(r.peer.asked) != 1 || r.at() != "2 2" {
		t.Errorf("asked %d times, offsets %s", len(r.peer.asked), r.at())
	}
	r.offsets.Commit(Group, meta.HalfTopic, 0, 1000)
	r.offsets.Commit(Group, meta.OpHalfTopic, 0, 1000)
	r.round(7 * time.Second)
	r.commit(one.QueueOffset, one.PhysicalOffset)
	r.flush()
	r.round(7 * time.Second)
	if half, op := r.st.MaxOffset(meta.HalfTopic, 0), r.st.MaxOffset(meta.OpHalfTopic, 0); r.at() != fmt.Sprint(half, op) {
		t.Errorf("offsets %s, want %d %d", r.at(), half, op)
	}
}

// The offsets never rely on what a power cut would take.
func TestOffsetsWaitForTheLog(t *testing.T) {
	r := newRig(t, store.AsyncFlush)
	flushed := int64(0)
	r.opts.Flushed = func() int64 { return flushed }
	r.half("U1")
	r.clock.add(7 * time.Second)
	r.check.round()
	if r.check.publish(false) || !r.check.waits() || r.at() != "0 0" {
		t.Errorf("offsets %s before the flush", r.at())
	}
	// The next round goes on from there all the same.
	r.clock.add(time.Second)
	r.check.round()
	if m := r.messages(meta.HalfTopic, 0); len(m) != 3 || prop(m[2], PropCheckTimes) != "2" {
		t.Errorf("half messages %+v", m)
	}
	flushed = r.opts.End()
	if !r.check.publish(false) || r.at() != "2 0" {
		t.Errorf("offsets %s after the flush", r.at())
	}
}

func TestOpsAreNotLost(t *testing.T) {
	r := newRig(t, store.AsyncFlush)
	for i := range int64(5) {
		if err := r.RolledBack(0, i, "T"); err != nil {
			t.Fatal(err)
		}
	}
	r.st.refuse = func(*record.Message) bool { return true }
	if err := r.flushOps(); err == nil {
		t.Fatal("no error")
	}
	r.st.refuse = nil
	r.flush()
	if ops := r.messages(meta.OpHalfTopic, 0); len(ops) != 1 || string(ops[0].Body) != "0,1,2,3,4," {
		t.Errorf("op messages %+v", ops)
	}
	if _, err := r.writeOps(0); err != nil || r.ops.waiting(0) != 0 {
		t.Error("something is left")
	}
}

// While the store takes nothing, what waits is bounded.
func TestOpsAreBounded(t *testing.T) {
	r := newRig(t, store.AsyncFlush)
	r.st.refuse = func(*record.Message) bool { return true }
	var err error
	n := int64(0)
	for ; err == nil && n < 10*opCapacity; n++ {
		err = r.RolledBack(0, n, "T")
	}
	if err == nil || n > 2*opCapacity+1 {
		t.Errorf("%d ends wait: %v", n, err)
	}
}

func TestOpMessagesAreFull(t *testing.T) {
	r := newRig(t, store.AsyncFlush)
	r.set.OpMaxSize = 20
	var want []string
	for i := range int64(12) {
		r.Begin(0, 1000+i)
		r.Done(0, 1000+i, "T")
		want = append(want, fmt.Sprint(1000+i))
	}
	now := r.clock.now().UnixMilli()
	if queues, _ := r.ops.due(now, 3000, 20); !slices.Equal(queues, []int32{0}) {
		t.Errorf("due %v", queues)
	}
	r.flush()
	var got []string
	for _, m := range r.messages(meta.OpHalfTopic, 0) {
		if len(m.Body) > 25 {
			t.Errorf("body %q", m.Body)
		}
		got = append(got, strings.Split(strings.TrimSuffix(string(m.Body), ","), ",")...)
	}
	if !slices.Equal(got, want) {
		t.Errorf("ops %v", got)
	}
	if queues, next := r.ops.due(now, 3000, 20); queues != nil || next != 0 {
		t.Errorf("due %v, next %d", queues, next)
	}
	r.Begin(0, 1)
	r.Done(0, 1, "T")
	if queues, next := r.ops.due(now, 3000, 20); queues != nil || next != now+3000 {
		t.Errorf("due %v, next %d", queues, next)
	}
	r.clock.add(3 * time.Second)
	if queues, _ := r.ops.due(now+3000, 3000, 20); len(queues) != 1 {
		t.Errorf("due %v", queues)
	}
}

func TestStopWritesOps(t *testing.T) {
	r := newRig(t, store.AsyncFlush)
	r.Start()
	one := r.half("U1")
	r.commit(one.QueueOffset, one.PhysicalOffset)
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	if ops := r.messages(meta.OpHalfTopic, 0); len(ops) != 1 || string(ops[0].Body) != "0," {
		t.Errorf("op messages %+v", ops)
	}
	if _, err := r.Settle(); err != nil {
		t.Fatal(err)
	}
	text, err := vfs.ReadFile(r.mem, "/data/store/config/transactionMetrics")
	if want := `{"dataVersion":{"counter":2,"stateVersion":0,"timestamp":1700000000001},"transactionCount":{"T":{"count":0,"timeStamp":1700000000001}}}`; err != nil || string(text) != want {
		t.Errorf("counts %s, %v\nwant %s", text, err, want)
	}
}

func TestCountsAreRead(t *testing.T) {
	mem := vfs.NewMem(time.Now)
	if err := mem.MkdirAll("/s/config"); err != nil {
		t.Fatal(err)
	}
	// As a Java broker wrote it.
	text := `{"dataVersion":{"counter":27,"stateVersion":0,"timestamp":1795365481857},"transactionCount":{"Trans_s11":{"count":5,"timeStamp":1795365481857}}}`
	if err := vfs.WriteFileAtomic(mem, "/s/config/transactionMetrics", []byte(text)); err != nil {
		t.Fatal(err)
	}
	c := newCounts(mem, "/s", time.Now, nil)
	if err := c.load(); err != nil || c.of("Trans_s11") != 5 || string(c.encodeLocked()) != text {
		t.Errorf("%v: %s", err, c.encodeLocked())
	}
	if err := vfs.WriteFileAtomic(mem, "/s/config/transactionMetrics", []byte("{")); err != nil {
		t.Fatal(err)
	}
	c = newCounts(mem, "/s", time.Now, nil)
	if err := c.load(); err != nil || c.of("Trans_s11") != 5 {
		t.Errorf("the backup is not read: %v", err)
	}
}

func FuzzOps(f *testing.F) {
	f.Add([]byte("12,15,"))
	f.Add([]byte(",,x,-1,9223372036854775808,7"))
	f.Fuzz(func(t *testing.T, body []byte) {
		var offsets []int64
		eachOffset(body, func(off int64) { offsets = append(offsets, off) })
		if len(offsets) > len(body) {
			t.Fatal("more offsets than bytes")
		}
		if len(offsets) == 0 {
			return
		}
		var again []int64
		eachOffset(opMessage(0, offsets).Body, func(off int64) { again = append(again, off) })
		if !slices.Equal(offsets, again) {
			t.Fatalf("%v became %v", offsets, again)
		}
	})
}

func TestImmunity(t *testing.T) {
	for text, want := range map[string][2]int64{"": {6000, 6000}, "5": {6000, 5000}, "60": {60000, 60000}, "-1": {6000, 6000}, "soon": {6000, 6000}, "9223372036854775807": {9223372036854775000, 9223372036854775000}} {
		props := ""
		if text != "" {
			props = PropImmunity + "\x01" + text + "\x02"
		}
		end, custom := Immunity(props, 6000)
		check, _ := checkImmunity(props, 6000)
		if end != want[0] || check != want[1] || custom != (text != "") {
			t.Errorf("%q: %d, %d", text, end, check)
		}
	}
}
