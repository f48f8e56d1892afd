package pop

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"apogee/store/record"
)

// TestInnerBatchesComeBack: an inner batch that is popped and left comes back, as the messages that it has.
func TestInnerBatchesComeBack(t *testing.T) {
	r := newRig(t)
	r.topic("Batched", 1)
	var batch []byte
	for i := range 3 {
		batch = record.AppendBatch(batch, record.BatchRecord{
			Flag: int32(i), Body: fmt.Append(nil, "m", i), Properties: fmt.Appendf(nil, "KEYS\x01k%d\x02UNIQ_KEY\x01u%d", i, i),
		})
	}
	r.mustPut(&record.Message{
		Topic: "Batched", Body: batch, BornTimestamp: r.millis.Load(), SysFlag: record.SysInnerBatch | record.SysNeedUnwrap,
		Properties: "INNER_NUM\x013\x02",
	})
	r.mustPut(&record.Message{Topic: "Batched", Body: []byte("single"), BornTimestamp: r.millis.Load()})
	if got := r.take("Batched", "g", 0, 32, 5*time.Second); len(got) != 2 {
		t.Fatalf("%d records", len(got))
	}
	r.revive(5 * time.Second)
	retry := RetryTopicV1("Batched", "g")
	got := r.take(retry, "g", 0, 32, 5*time.Second)
	if want := []string{"m0", "m1", "m2", "single"}; !slices.Equal(texts(got), want) {
		t.Fatalf("come back: %q, want %q", texts(got), want)
	}
	for i, p := range got[:3] {
		want := fmt.Sprintf("KEYS\x01k%d\x02UNIQ_KEY\x01u%d\x021ST_POP_TIME\x01%d\x02ORIGIN_GROUP\x01g\x02", i, i, epoch)
		if p.times != 1 || p.props != want {
			t.Errorf("%s: %d times, properties %q, want %q", p.text, p.times, p.props, want)
		}
	}
	r.ack("g", got[1])
	r.revive(5 * time.Second)
	if got := texts(r.take(retry, "g", 0, 32, time.Minute)); !slices.Equal(got, []string{"m0", "m2", "single"}) {
		t.Errorf("after an ack: %q", got)
	}
}

// TestFullPropertiesComeBack: a message whose properties leave no room for what is told of its first pop comes back without.
func TestFullPropertiesComeBack(t *testing.T) {
	r := newRig(t)
	r.topic("T", 1)
	r.mustPut(&record.Message{Topic: "T", Body: []byte("full"), BornTimestamp: r.millis.Load(), Properties: "p\x01" + strings.Repeat("x", record.MaxProperties-10) + "\x02"})
	if got := r.take("T", "g", 0, 32, 5*time.Second); len(got) != 1 {
		t.Fatalf("%d messages", len(got))
	}
	r.revive(5 * time.Second)
	if got := texts(r.take(RetryTopicV1("T", "g"), "g", 0, 32, time.Minute)); !slices.Equal(got, []string{"full"}) {
		t.Errorf("come back: %q", got)
	}
}
