package lite

import (
	"unicode/utf16"

	"apogee/compat/body"
)

// Owner is the broker that a new lite topic belongs to: names are shared out among the write queues of the parent, in order of broker and
// number, by a consistent hash (LiteShardingImpl). "" where there are no queues.
func Owner(topic string, queues []body.MessageQueue) string {
	if len(queues) == 0 {
		return ""
	}
	var hash int32 // String.hashCode
	for _, u := range utf16.Encode([]rune(topic)) {
		hash = 31*hash + int32(u)
	}
	return queues[bucketOf(int64(hash), len(queues))].BrokerName
}

// bucketOf is Guava's consistent hash: a jump hash over a linear congruential generator.
func bucketOf(hash int64, buckets int) int {
	state, at := uint64(hash), 0
	for {
		state = state*2862933555777941757 + 1
		next := float64(at+1) / (float64(int32(state>>33)+1) / (1 << 31))
		if next < 0 || next >= float64(buckets) { // below 0 where 31 set bits and 1 are no int, as in Java
			return at
		}
		at = int(next)
	}
}
