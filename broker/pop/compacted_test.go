package pop

import (
	"runtime"
	"testing"
	"time"

	"apogee/store/record"
)

// TestRevivalOfWhatWasCompacted: a message that has made way for a newer one of its key comes back no more, and no other in its place.
func TestRevivalOfWhatWasCompacted(t *testing.T) {
	r := newRig(t)
	r.topic("Compacted", 1)
	for _, key := range []string{"a", "", "b"} { // the second cannot be read, as after a compaction
		m := &record.Message{Topic: "Compacted", Body: []byte("of " + key), BornTimestamp: r.millis.Load()}
		if key != "" {
			m.Properties = "KEYS\x01" + key + "\x02"
		}
		r.mustPut(m)
	}
	for r.store.ReadEnd("Compacted", 0) < 3 {
		runtime.Gosched()
	}
	q := r.pop.TryLock(Key{"Compacted", "g", 0})
	b := Batch{Start: 0, Next: 3, Offsets: []int64{0, 1}, PopTime: r.millis.Load(), Invisible: 5000, ReviveQueue: 0}
	must(t, r.pop.Take(q, &b))
	must(t, r.store.Commit(&b.Put))
	q.Unlock()
	r.flush()
	r.revive(5 * time.Second)
	if got := texts(r.take(RetryTopicV1("Compacted", "g"), "g", 0, 32, time.Minute)); len(got) != 1 || got[0] != "of a" {
		t.Errorf("come back: %q", got)
	}
}

// TestPopOfCompacted takes what a compaction topic has, and leaves it: it comes back.
func TestPopOfCompacted(t *testing.T) {
	r := newRig(t)
	r.topic("Compacted", 1)
	r.mustPut(&record.Message{Topic: "Compacted", Body: []byte("x"), BornTimestamp: r.millis.Load(), Properties: "KEYS\x01k\x02"})
	for r.store.ReadEnd("Compacted", 0) < 1 {
		runtime.Gosched()
	}
	if got := r.take("Compacted", "g", 0, 32, 5*time.Second); len(got) != 1 {
		t.Fatalf("%d messages", len(got))
	}
	r.revive(5 * time.Second)
	if got := texts(r.take(RetryTopicV1("Compacted", "g"), "g", 0, 32, time.Minute)); len(got) != 1 || got[0] != "x" {
		t.Errorf("come back: %q", got)
	}
}
