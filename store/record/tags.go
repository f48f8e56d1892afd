package record

import "strconv"

// ScheduleTopic holds delayed messages; the tags code of its queue entries is a time (spec: store.md 3.4).
const ScheduleTopic = "SCHEDULE_TOPIC_XXXX"

// TagsCode is the third field of a record's queue entry: the hash of its tags, 0 without tags; in the schedule topic the time at
// which the message is due. delays[i] is the delay in ms of level i+1.
func TagsCode(topic, tags, delay string, storeTime int64, delays []int64) int64 {
	if delay != "" && topic == ScheduleTopic {
		if level := DelayLevel(delay, len(delays)); level > 0 {
			return storeTime + delays[level-1]
		}
	}
	return int64(HashString(tags))
}

// DelayLevel reads the DELAY property: 0 is none, a level above the highest counts as the highest.
func DelayLevel(delay string, levels int) int {
	n, err := strconv.ParseInt(delay, 10, 32)
	if err != nil || n <= 0 {
		return 0
	}
	return min(int(n), levels)
}
