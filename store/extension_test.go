package store

import (
	"encoding/binary"
	"math"
	"testing"

	"apogee/store/record"
	"apogee/store/vfs"
)

// Entries that a Java broker wrote with enableConsumeQueueExt name a place in an extension in place of their tags, or of the time at which a
// delayed message is due. What is read with a filter is what it would be without extensions.
func TestExtendedEntries(t *testing.T) {
	r := newRig(t)
	s := r.open()
	for i, tag := range []string{"a", "b", "", "a"} {
		m := message("T", 0, string(rune('0'+i)))
		if tag != "" {
			m.Properties = string(record.AppendProperty(nil, record.PropTags, tag))
		}
		put(t, s, m)
	}
	delayed := message(record.ScheduleTopic, 2, "later")
	delayed.Properties = string(record.AppendProperty(nil, record.PropDelay, "3"))
	put(t, s, delayed)
	due := r.clock.now().UnixMilli() + 10_000
	must(t, s.Close())
	for name, n := range map[string]int64{"T/0": 4, record.ScheduleTopic + "/2": 1} {
		for i := range n {
			place := binary.BigEndian.AppendUint64(nil, uint64(math.MinInt64+20*i))
			must(t, vfs.WriteAt(r.mem, "/data/store/consumequeue/"+name+"/"+fileName(0), place, i*unitSize+12))
		}
	}
	s = r.open()
	defer s.Close()
	read := func(topic string, queue int32, f Filter) (out string) {
		var res GetResult
		defer res.Release()
		s.Get(&GetRequest{Topic: topic, QueueID: queue, MaxCount: 32, MaxBytes: 1 << 20, Filter: f}, &res)
		for _, region := range res.Regions {
			for len(region) > 0 {
				var h record.Header
				must(t, record.Parse(region, &h))
				out += string(h.Body)
				region = region[h.Size:]
			}
		}
		return out
	}
	hash := func(want int32) Filter { return filterFunc{tags: func(code int64) bool { return code == int64(want) }} }
	for tag, want := range map[string]string{"a": "03", "b": "1", "": "2", "c": ""} {
		if got := read("T", 0, hash(record.HashString(tag))); got != want {
			t.Errorf("tag %q: %q, want %q", tag, got, want)
		}
	}
	if got := read("T", 0, nil); got != "0123" {
		t.Errorf("without a filter: %q", got)
	}
	var seen int64
	read(record.ScheduleTopic, 2, filterFunc{tags: func(code int64) bool { seen = code; return false }})
	if seen != due {
		t.Errorf("due at %d, want %d", seen, due)
	}
}
