package pop

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"apogee/broker/config"
	"apogee/store"
	"apogee/store/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func buffered(c *config.Broker) { c.PopBuffer = true }

func TestUnackedComeBack(t *testing.T) {
	for name, change := range map[string]func(*config.Broker){
		"written": func(*config.Broker) {}, "in memory": buffered, "acks in batches": func(c *config.Broker) { c.PopBuffer, c.PopBatchAck = true, true },
		"retry v2": func(c *config.Broker) { c.RetryTopicV2 = true },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, change)
			r.topic("T", 1)
			for i := range 4 {
				r.send("T", 0, strconv.Itoa(i))
			}
			first := r.take("T", "g", 0, 32, 20*time.Second)
			if got := texts(first); !slices.Equal(got, []string{"0", "1", "2", "3"}) {
				t.Fatal(got)
			}
			if again := r.take("T", "g", 0, 32, 20*time.Second); again != nil {
				t.Fatal("invisible messages are given out", again)
			}
			r.ack("g", first[1], first[3])
			for range 12 { // check points leave memory
				r.pass(time.Second)
				r.pop.leave(false)
			}
			if off, _ := r.offsets.Query("g", "T", 0); off != 4 {
				t.Error("offset", off)
			}
			r.revive(20 * time.Second)
			retry := RetryTopic("T", "g", r.cfg.Get().RetryTopicV2)
			back := r.take(retry, "g", 0, 32, 20*time.Second)
			if got := texts(back); !slices.Equal(got, []string{"0", "2"}) {
				t.Fatal(got)
			}
			for _, p := range back {
				if p.times != 1 || record.Property(p.props, PropFirstPop) != strconv.FormatInt(epoch, 10) ||
					record.Property(p.props, PropOriginGroup) != "g" || record.Property(p.props, "TAGS") != "red" {
					t.Errorf("%+v", p)
				}
			}
			r.ack("g", back...)
			r.revive(20 * time.Second)
			if more := r.take(retry, "g", 0, 32, time.Second); more != nil {
				t.Error("acknowledged messages come back", more)
			}
			if c, ok := r.topics.Get(retry); !ok || c.ReadQueueNums != 1 {
				t.Errorf("%+v", c)
			}
		})
	}
}

func TestNothingIsWrittenWhereAcksComeInTime(t *testing.T) {
	r := newRig(t, buffered)
	r.topic("T", 1)
	for i := range 3 {
		r.send("T", 0, strconv.Itoa(i))
	}
	a := r.take("T", "g", 0, 1, 30*time.Second)
	b := r.take("T", "g", 0, 1, 30*time.Second)
	if off, _ := r.offsets.Query("g", "T", 0); off != 0 || r.pop.Latest(Key{"T", "g", 0}) != 2 {
		t.Error("offset moved before anything was acknowledged", off)
	}
	r.ack("g", b...)
	if off, _ := r.offsets.Query("g", "T", 0); off != 0 {
		t.Error("offset moved past messages that are not acknowledged", off)
	}
	r.ack("g", a...)
	if off, _ := r.offsets.Query("g", "T", 0); off != 2 {
		t.Error("offset", off)
	}
	if n := r.store.MaxOffset("rmq_sys_wheel_timer", 0); n != 0 {
		t.Error(n, "records")
	}
}

func TestBufferIsBypassed(t *testing.T) {
	r := newRig(t, buffered)
	r.topic("T", 1)
	r.send("T", 0, "x")
	r.take("T", "g", 0, 1, 4*time.Second) // too soon over
	if n := r.store.MaxOffset("rmq_sys_wheel_timer", 0); n != 1 {
		t.Error(n, "records")
	}
	if off, _ := r.offsets.Query("g", "T", 0); off != 1 {
		t.Error("offset", off)
	}
}

func TestStopWritesWhatIsInMemory(t *testing.T) {
	r := newRig(t, buffered)
	r.topic("T", 1)
	r.send("T", 0, "x")
	r.pop.Start()
	r.take("T", "g", 0, 1, time.Minute)
	r.pop.Stop()
	r.flush()
	if n := r.store.MaxOffset("rmq_sys_wheel_timer", 0); n != 1 {
		t.Error(n, "records")
	}
	if off, _ := r.offsets.Query("g", "T", 0); off != 1 {
		t.Error("offset", off)
	}
}

func TestChange(t *testing.T) {
	r := newRig(t)
	r.topic("T", 1)
	r.send("T", 0, "x")
	for _, suspend := range []bool{false, true} {
		topic := "T"
		if suspend {
			topic = RetryTopicV1("T", "g")
		}
		p := r.take(topic, "g", 0, 1, 10*time.Second)
		if len(p) != 1 {
			t.Fatal("popped", p)
		}
		r.pass(time.Second)
		done := make(noted, 1)
		a := Ack{Offset: p[0].receipt.Offset, Broker: broker, Group: "g", PopTime: p[0].receipt.PopTime, StartOffset: p[0].receipt.StartOffset, Topic: topic}
		res := r.pop.Change(&a, &p[0].receipt, r.millis.Load(), 60_000, suspend, done)
		if must(t, r.store.Commit(&res)); res.Status != store.PutOK || <-done != store.PutOK {
			t.Fatal(res)
		}
		r.revive(20 * time.Second)
		if n := r.store.MaxOffset(RetryTopicV1("T", "g"), 0); n > 1 || n == 1 && !suspend {
			t.Fatal("the message is back too soon")
		}
		r.revive(40 * time.Second)
	}
	p := r.take(RetryTopicV1("T", "g"), "g", 0, 1, time.Second)
	if len(p) != 1 || p[0].times != 1 { // once by the first, and not by the second, which was suspended
		t.Errorf("%+v", p)
	}
}

// A message whose time is changed at once, and once more, comes back all the same.
func TestChangeInTheMillisecondOfThePop(t *testing.T) {
	for _, more := range []func(*config.Broker){func(*config.Broker) {}, buffered} {
		r := newRig(t, more)
		r.topic("T", 1)
		r.send("T", 0, "x")
		receipt := r.take("T", "g", 0, 1, 10*time.Second)[0].receipt
		for range 2 {
			now := receipt.ChangedAt(0, r.millis.Load())
			done := make(noted, 1)
			a := Ack{Broker: broker, Group: "g", PopTime: receipt.PopTime, StartOffset: receipt.StartOffset, Topic: "T"}
			res := r.pop.Change(&a, &receipt, now, 20_000, false, done)
			if must(t, r.store.Commit(&res)); res.Status != store.PutOK || <-done != store.PutOK {
				t.Fatal(res)
			}
			receipt.PopTime, receipt.Invisible = now, 20_000
		}
		r.revive(30 * time.Second)
		if got := texts(r.take(RetryTopicV1("T", "g"), "g", 0, 32, time.Second)); !slices.Equal(got, []string{"x"}) {
			t.Errorf("came back: %q", got)
		}
	}
}

func TestBatchAck(t *testing.T) {
	r := newRig(t)
	r.topic("T", 1)
	for i := range 5 {
		r.send("T", 0, strconv.Itoa(i))
	}
	p := r.take("T", "g", 0, 32, 10*time.Second)
	b, err := ParseBatchAck([]byte(fmt.Sprintf(
		`{"acks":[{"b":"Gw==","c":"g","it":10000,"pt":%d,"q":0,"r":"0","rq":%d,"so":0,"t":"T"}],"brokerName":"b1"}`, epoch, p[0].receipt.ReviveQueue)))
	must(t, err)
	offs, err := b.Acks[0].Offsets(0, 5)
	must(t, err)
	if !slices.Equal(offs, []int64{0, 1, 3, 4}) || b.Acks[0].Kind() != KindNormal {
		t.Fatal(offs)
	}
	res := r.pop.Ack(&Ack{Offset: -1, Offsets: offs, Broker: broker, Group: "g", PopTime: epoch, Topic: "T"}, p[0].receipt.ReviveQueue, epoch+10000, nil)
	must(t, r.store.Commit(&res))
	r.revive(10 * time.Second)
	if got := texts(r.take(RetryTopicV1("T", "g"), "g", 0, 32, time.Second)); !slices.Equal(got, []string{"2"}) {
		t.Error(got)
	}
	if _, err := (&BatchAck{Bits: "?"}).Offsets(0, 1); err == nil {
		t.Error("no Base64")
	}
	if out, err := (&BatchAck{Bits: "/w==", StartOffset: 10}).Offsets(12, 13); err != nil || len(out) != 2 {
		t.Error(out, err)
	}
}

func TestLimitOfMessagesOut(t *testing.T) {
	r := newRig(t, func(c *config.Broker) { c.PopLimit, c.PopLimitMessages = true, 3 })
	r.topic("T", 1)
	for i := range 12 {
		r.send("T", 0, strconv.Itoa(i))
	}
	a := r.take("T", "g", 0, 3, 10*time.Second)
	b := r.take("T", "g", 0, 3, 10*time.Second) // three are not too many
	if len(a) != 3 || len(b) != 3 || r.take("T", "g", 0, 3, 10*time.Second) != nil {
		t.Fatal(len(a), len(b))
	}
	r.ack("g", a...)
	if len(r.take("T", "g", 0, 1, 10*time.Second)) != 1 {
		t.Error("nothing after acks")
	}
	if r.take("T", "g", 0, 1, 10*time.Second) != nil {
		t.Error("too many are out")
	}
	r.revive(10 * time.Second)
	if len(r.take("T", "g", 0, 1, 10*time.Second)) != 1 {
		t.Error("nothing after the revival")
	}
}

func TestReset(t *testing.T) {
	for _, change := range []func(*config.Broker){func(*config.Broker) {}, buffered} {
		r := newRig(t, change)
		r.topic("T", 1)
		for i := range 5 {
			r.send("T", 0, strconv.Itoa(i))
		}
		r.take("T", "g", 0, 4, time.Minute)
		r.offsets.AssignReset("g", "T", 0, 1)
		if got := texts(r.take("T", "g", 0, 2, time.Minute)); !slices.Equal(got, []string{"1", "2"}) {
			t.Error(got)
		}
	}
}

func TestFirstOffsets(t *testing.T) {
	r := newRig(t)
	r.topic("T", 2)
	for i := range 3 {
		r.send("T", 0, strconv.Itoa(i))
	}
	begin := func(k Key, fromMin bool) int64 {
		q := r.pop.Lock(k)
		defer q.Unlock()
		return r.pop.Begin(q, fromMin)
	}
	if off := begin(Key{"T", "a", 0}, true); off != 0 {
		t.Error(off)
	}
	if off := begin(Key{"T", "b", 0}, false); off != 0 { // all of it is in memory
		t.Error(off)
	}
	r.cfg.Get().PopInitInMemory = false
	if off := begin(Key{"T", "c", 0}, false); off != 2 {
		t.Error(off)
	}
	if off := begin(Key{"T", "c", 1}, false); off != 0 {
		t.Error(off)
	}
	if off, ok := r.offsets.Query("c", "T", 0); !ok || off != 2 {
		t.Error("the first offset is not committed", off, ok)
	}
}

func TestQueueLocks(t *testing.T) {
	r := newRig(t)
	k := Key{"T", "g", 0}
	q := r.pop.TryLock(k)
	if q == nil || r.pop.TryLock(k) != nil || r.pop.TryLock(Key{"T", "g", 1}) == nil {
		t.Fatal("locks")
	}
	got := make(chan *Queue)
	go func() { got <- r.pop.Lock(k) }()
	q.Unlock()
	(<-got).Unlock()
	r.pass(time.Hour)
	r.pop.forget()
	if r.pop.find(k) != nil {
		t.Error("a queue that nobody uses is remembered")
	}
}

func TestRevivalSkipsWhatIsGone(t *testing.T) {
	r := newRig(t)
	r.topic("T", 1)
	r.topic("U", 1)
	r.send("T", 0, "x")
	r.send("U", 0, "y")
	r.take("T", "g", 0, 1, 5*time.Second)
	r.take("U", "g", 0, 1, 5*time.Second)
	must(t, r.topics.Delete("T"))
	// What is no record of ours does no harm.
	for q := range int32(2) {
		r.mustPut(&record.Message{Topic: ReviveTopic("c1"), QueueID: q, Body: []byte("3-17"), Properties: "TAGS\x01ck\x02"})
	}
	r.revive(5 * time.Second)
	if n := r.store.MaxOffset(RetryTopicV1("T", "g"), 0); n != 0 {
		t.Error("revived for a topic that is gone")
	}
	if n := r.store.MaxOffset(RetryTopicV1("U", "g"), 0); n != 1 {
		t.Error(n)
	}
}

// broken is a store that refuses messages of some topics.
type broken struct {
	Store
	refuse func(topic string) store.PutStatus
}

func (b *broken) Put(m *record.Message, c store.Completion) store.PutResult {
	if s := b.refuse(m.Topic); s != store.PutOK {
		return store.PutResult{Status: s, Err: errors.New("refused")}
	}
	return b.Store.Put(m, c)
}

func (b *broken) Stage(m *record.Message, c store.Completion) store.PutResult {
	if s := b.refuse(m.Topic); s != store.PutOK {
		return store.PutResult{Status: s, Err: errors.New("refused")}
	}
	return b.Store.Stage(m, c)
}

func TestRefusedCheckPoints(t *testing.T) {
	r := newRig(t)
	r.topic("T", 1)
	r.send("T", 0, "x")
	r.pop.Store = &broken{r.store, func(string) store.PutStatus { return store.ServiceNotAvailable }}
	if p := r.take("T", "g", 0, 1, time.Minute); p != nil {
		t.Fatal("given out without a check point")
	}
	if off, _ := r.offsets.Query("g", "T", 0); off != 0 {
		t.Error("offset", off)
	}
	r.pop.Store = r.store
	if p := r.take("T", "g", 0, 1, time.Minute); len(p) != 1 {
		t.Error("not given out")
	}
}

func TestRevivalWaitsForTheStore(t *testing.T) {
	r := newRig(t)
	r.topic("T", 1)
	for i := range 3 {
		r.send("T", 0, strconv.Itoa(i))
	}
	r.take("T", "g", 0, 3, 5*time.Second)
	retry := RetryTopicV1("T", "g")
	n := 0
	status := store.ServiceNotAvailable
	r.pop.Store = &broken{r.store, func(topic string) store.PutStatus {
		if topic != retry {
			return store.PutOK
		}
		if n++; n%2 == 0 {
			return status
		}
		return store.PutOK
	}}
	r.revive(15 * time.Second)
	if got := texts(r.take(retry, "g", 0, 32, time.Hour)); !slices.Equal(got, []string{"0", "1", "2"}) {
		t.Error("each of them once:", got)
	}
	// Refused for good: it is tried again later.
	r.send("T", 0, "3")
	status, n = store.MessageIllegal, 1
	r.take("T", "g", 0, 1, 5*time.Second)
	r.revive(5 * time.Second)
	if p := r.take(retry, "g", 0, 32, time.Hour); p != nil {
		t.Fatal(p)
	}
	r.revive(20 * time.Second)
	if got := texts(r.take(retry, "g", 0, 32, time.Hour)); !slices.Equal(got, []string{"3"}) {
		t.Error(got)
	}
}

func TestInvisibleForLong(t *testing.T) {
	r := newRig(t)
	r.topic("T", 1)
	r.send("T", 0, "x")
	r.take("T", "g", 0, 1, 30*24*time.Hour)
	r.pass(30*24*time.Hour - 20*time.Second)
	r.revive(0)
	if r.store.MaxOffset(RetryTopicV1("T", "g"), 0) != 0 {
		t.Error("back too soon")
	}
	r.revive(20 * time.Second)
	if r.store.MaxOffset(RetryTopicV1("T", "g"), 0) != 1 {
		t.Error("not back")
	}
}

func TestDelayedMessagesComeBackAtOnce(t *testing.T) {
	r := newRig(t)
	r.topic("T", 1)
	r.mustPut(&record.Message{Topic: "T", Body: []byte("x"), Properties: "DELAY\x013\x02TIMER_DELIVER_MS\x0117\x02"})
	r.take("T", "g", 0, 1, 5*time.Second)
	r.revive(5 * time.Second)
	if p := r.take(RetryTopicV1("T", "g"), "g", 0, 1, time.Hour); len(p) != 1 || record.Property(p[0].props, "DELAY") != "3" {
		t.Error(p)
	}
}

func TestDeletedTopicsAreForgotten(t *testing.T) {
	r := newRig(t, buffered)
	r.topic("T", 1)
	r.send("T", 0, "x")
	r.take("T", "g", 0, 1, time.Minute)
	r.take("T", "h", 0, 1, time.Minute)
	r.pop.Forget("", "g")
	if r.pop.Latest(Key{"T", "g", 0}) != -1 || r.pop.Latest(Key{"T", "h", 0}) != 1 {
		t.Error("group")
	}
	r.pop.Forget("T", "")
	if r.pop.Latest(Key{"T", "h", 0}) != -1 || r.pop.held.Load() != 0 {
		t.Error("topic", r.pop.held.Load())
	}
}

func TestRevivalWaitsForTheTimer(t *testing.T) {
	r := newRig(t)
	r.topic("T", 1)
	r.send("T", 0, "x")
	p := r.take("T", "g", 0, 1, 10*time.Second)
	r.pass(9 * time.Second)
	r.timer.deliver() // the check point
	r.ack("g", p...)
	r.pass(20 * time.Second) // the timer stands
	r.timer.late = true
	for range 5 {
		r.pop.Revive()
	}
	r.timer.late = false
	r.timer.deliver()
	r.revive(5 * time.Second)
	if n := r.store.MaxOffset(RetryTopicV1("T", "g"), 0); n != 0 {
		t.Error("revived although the ack was on its way")
	}
}

// What was sent is popped until it is acknowledged, whatever ends when: pops, acks, revivals, persisted offsets, kills and power cuts
// come in any order.
func TestNothingIsLost(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var change []func(*config.Broker)
		if rapid.Bool().Draw(rt, "buffered") {
			change = append(change, buffered)
		}
		r := newRig(t, change...)
		defer func() { _ = r.store.Close() }()
		r.topic("T", 2)
		left := map[string]bool{}
		var out []popped
		sent := 0
		steps := rapid.SliceOfN(rapid.IntRange(0, 99), 10, 60).Draw(rt, "steps")
		for i, step := range steps {
			switch {
			case step < 30:
				text := strconv.Itoa(sent)
				r.send("T", int32(sent%2), text)
				left[text] = true
				sent++
			case step < 50:
				out = append(out, r.takeAll("T", "g", 2, time.Duration(5+step%20)*time.Second)...)
			case step < 65:
				if len(out) > 0 {
					n := step % len(out)
					r.ack("g", out[n])
					delete(left, out[n].text)
					out = slices.Delete(out, n, n+1)
				}
			case step < 80:
				r.pass(time.Duration(step-60) * 400 * time.Millisecond)
				r.timer.deliver()
				r.pop.leave(false)
				r.pop.Revive()
				r.flush()
			case step < 90:
				must(t, r.offsets.Persist())
			case step < 95:
				r.crash(0)
			default:
				r.crash(uint64(i)*1000 + uint64(step))
			}
		}
		rnd := rand.New(rand.NewPCG(uint64(len(steps)), uint64(sent)))
		for range 40 {
			if len(left) == 0 {
				return
			}
			for _, p := range r.takeAll("T", "g", 2, 5*time.Second) {
				if rnd.IntN(3) > 0 {
					r.ack("g", p)
					delete(left, p.text)
				}
			}
			for range 3 {
				r.pop.leave(false)
				r.pass(4 * time.Second)
				r.timer.deliver()
				r.pop.Revive()
				r.pop.Revive()
				r.flush()
			}
		}
		rt.Errorf("%d of %d messages are lost: %v", len(left), sent, left)
	})
}

func TestReword(t *testing.T) {
	r := newRig(t)
	for _, size := range []int{0, 10, wholeBody, wholeBody + 1, 9000} {
		text := string(slices.Repeat([]byte("x"), size))
		r.send("%RETRY%g_T", 0, text)
		var res store.GetResult
		r.store.Get(&store.GetRequest{Topic: "%RETRY%g_T", Offset: r.store.MaxOffset("%RETRY%g_T", 0) - 1, MaxCount: 1}, &res)
		for _, topic := range []string{"T", string(slices.Repeat([]byte("t"), 200))} {
			rc := Receipt{StartOffset: 1, PopTime: 2, Invisible: 3, Kind: KindRetryV1, Broker: "b", Offset: 5}
			regions, n, err := Reword(nil, res.Regions[0], topic, &rc)
			must(t, err)
			var m record.Message
			must(t, record.Decode(slices.Concat(regions...), &m))
			if n != len(res.Regions[0]) || m.Topic != topic || string(m.Body) != text || record.Property(m.Properties, PropReceipt) != "1 2 3 0 1 b 0 5" ||
				record.Property(m.Properties, "TAGS") != "red" || (len(regions) == 3) != (size > wholeBody) {
				t.Errorf("%d: %d regions, %+v", size, len(regions), m)
			}
		}
		res.Release()
	}
}
