package pop

import (
	"math"
	"testing"
	"time"

	"apogee/broker/meta"
	"apogee/store/record"
)

// A client that means for ever says so with the greatest number: its messages are not forgotten, nor back at once.
func TestInvisibleForEver(t *testing.T) {
	r := newRig(t)
	r.topic("T", 1)
	r.send("T", 0, "x")
	q := r.pop.TryLock(Key{"T", "g", 0})
	must(t, r.pop.Take(q, &Batch{Next: 1, Offsets: []int64{0}, PopTime: r.millis.Load(), Invisible: math.MaxInt64}))
	q.Unlock()
	r.flush()
	r.revive(10 * time.Second)
	if n, back := r.store.MaxOffset(meta.TimerTopic, 0), r.store.MaxOffset(RetryTopicV1("T", "g"), 0); n != 1 || back != 0 {
		t.Errorf("%d check points wait, %d messages are back", n, back)
	}
}

// What has piled up in a revive queue is worked off at once, not a part of it each second.
func TestReviverCatchesUp(t *testing.T) {
	r := newRig(t)
	r.topic("T", 1)
	r.send("T", 0, "x")
	p := r.take("T", "g", 0, 1, 5*time.Second)
	r.pass(10 * time.Second)
	for i := range int64(reviveRead) {
		a := Ack{Offset: i, Broker: broker, Group: "other", Topic: "T"}
		if res := r.pop.Ack(&a, p[0].receipt.ReviveQueue, r.millis.Load(), nil); !stored(res.Status) {
			t.Fatal(res.Err)
		}
	}
	r.timer.deliver() // the check point, behind all acks
	r.pop.Revive()
	r.flush()
	if n := r.store.MaxOffset(RetryTopicV1("T", "g"), 0); n != 1 {
		t.Errorf("%d messages are back", n)
	}
}

// Clients can write into a revive topic. A check point for later holds up no others, and no ack moves the time on.
func TestForeignRecordsInTheReviveTopic(t *testing.T) {
	r := newRig(t)
	r.topic("T", 1)
	r.send("T", 0, "a")
	r.send("T", 0, "b")
	for _, invisible := range []time.Duration{2 * time.Hour, 10_000 * 24 * time.Hour} {
		ck := CheckPoint{Broker: broker, Group: "other", Topic: "T", Num: 1, PopTime: r.millis.Load(), Invisible: invisible.Milliseconds()}
		for q := range int32(2) {
			r.mustPut(&record.Message{Topic: r.pop.topic, QueueID: q, Body: ck.Append(nil), Properties: "TAGS\x01ck\x02"})
		}
	}
	ack := Ack{Broker: broker, Group: "other", Topic: "T"}
	for q := range int32(2) {
		r.mustPut(&record.Message{
			Topic: r.pop.topic, QueueID: q, Body: ack.Append(nil), Properties: "TAGS\x01ack\x02TIMER_DELIVER_MS\x019000000000000\x02",
		})
	}
	r.pop.Revive()
	p := r.take("T", "g", 0, 2, 10*time.Second)
	r.pass(9 * time.Second)
	r.timer.deliver() // the check point
	r.pop.Revive()
	if n := r.store.MaxOffset(RetryTopicV1("T", "g"), 0); n != 0 {
		t.Errorf("%d messages are back too early", n)
	}
	r.ack("g", p[0])
	r.revive(10 * time.Second)
	if n := r.store.MaxOffset(RetryTopicV1("T", "g"), 0); n != 1 {
		t.Errorf("%d messages are back", n)
	}
	if n := r.store.MaxOffset(RetryTopicV1("T", "other"), 0); n != 0 {
		t.Errorf("%d messages of the other group are back", n)
	}
	r.pass(2 * time.Hour)
	r.revive(0)
	if n := r.store.MaxOffset(RetryTopicV1("T", "other"), 0); n != 2 { // one for each revive queue
		t.Errorf("%d messages of the other group are back, later", n)
	}
}
