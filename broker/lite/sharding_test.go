package lite

import (
	"testing"

	"pgregory.net/rapid"

	"apogee/compat/body"
)

func TestBucketOf(t *testing.T) {
	for hash, want := range []int{0, 55, 62, 8, 45, 59} { // what Guava says for 100 buckets
		if got := bucketOf(int64(hash), 100); got != want {
			t.Errorf("%d is in bucket %d, want %d", hash, got, want)
		}
	}
}

// TestBucketsThatAreAdded: with one bucket more, a name stays where it was or goes to the new one.
func TestBucketsThatAreAdded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hash, n := rapid.Int64().Draw(t, "hash"), rapid.IntRange(1, 1000).Draw(t, "buckets")
		before, after := bucketOf(hash, n), bucketOf(hash, n+1)
		if before < 0 || before >= n || after != before && after != n {
			t.Fatalf("bucket %d of %d, %d of %d", before, n, after, n+1)
		}
	})
}

// TestBucketOfWhatOverflows has the generator's 31 bits be all set at its first, second or third step: one more is no int.
func TestBucketOfWhatOverflows(t *testing.T) {
	const factor = 2862933555777941757
	inverse := uint64(1)
	for range 6 { // each doubles the bits that are right
		inverse *= 2 - factor*inverse
	}
	state := ^uint64(0)
	for range 3 {
		state = (state - 1) * inverse
		if got := bucketOf(int64(state), 1<<20); got < 0 || got >= 1<<20 {
			t.Errorf("%d is in bucket %d", int64(state), got)
		}
	}
}

func TestOwner(t *testing.T) {
	var queues []body.MessageQueue
	for _, broker := range []string{"a", "b"} {
		for id := range int32(4) {
			queues = append(queues, body.MessageQueue{Topic: "P", BrokerName: broker, QueueID: id})
		}
	}
	of := map[string]int{}
	for _, topic := range []string{"1", "2", "3", "4", "5", "6", "7", "8", "a name", "\U0001F600"} {
		owner := Owner(topic, queues)
		if again := Owner(topic, queues); again != owner {
			t.Errorf("%s belongs to %s and to %s", topic, owner, again)
		}
		of[owner]++
	}
	if len(of) != 2 || of["a"] == 0 || of["b"] == 0 {
		t.Errorf("brokers have %v", of)
	}
	if got := Owner("x", nil); got != "" {
		t.Errorf("without queues it is of %q", got)
	}
}
