package store

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"apogee/store/record"
	"apogee/store/vfs"
)

// TestQueuesThatTurnOutToBeOfAnotherKind: a replica has records of topics that are of batches, or compacted, and does not know it yet. With
// crashes before and behind the moment when it does.
func TestQueuesThatTurnOutToBeOfAnotherKind(t *testing.T) {
	kinds := map[string]QueueKind{"B": BatchQueue, "C": CompactionQueue, "D": BatchQueue}
	small := func(o *Options) {
		o.MapperFileSizeBatchConsumeQueue = 3 * batchUnitSize
		o.CompactionCqMappedFileSize, o.CompactionMappedFileSize = 10*batchUnitSize, 1500
		o.EnableLmq, o.EnableMultiDispatch = true, true
	}
	m := newRig(t, small, func(o *Options) { o.QueueKind = func(topic string) QueueKind { return kinds[topic] } }).open()
	defer m.Close()
	n := 0
	some := func() {
		for range 12 {
			n++
			put(t, m, message("A", 0, strconv.Itoa(n)))
			put(t, m, inner(1+n%4, strings.Repeat("i", n)))
			put(t, m, message("B", int32(n%2), "a single one"))
			put(t, m, keyed(strconv.Itoa(n%5), strconv.Itoa(n)))
			light := message("A", 1, "also for light queues")
			light.Properties = string(record.AppendProperty(nil, record.PropMultiDispatch, "%LMQ%x,%LMQ%y"))
			put(t, m, light)
		}
	}
	some()
	must(t, m.Sync())
	first := logBytes(t, m, 0)
	some()
	must(t, m.Sync())
	whole := logBytes(t, m, 0)
	queues := []struct {
		topic string
		id    int32
	}{{"A", 0}, {"A", 1}, {"B", 0}, {"B", 1}, {"C", 0}, {"%LMQ%x", 0}, {"%LMQ%y", 0}}
	ends := func(s *Store) (l []string) {
		for _, q := range queues {
			l = append(l, fmt.Sprintf("%s/%d: %d to %d", q.topic, q.id, s.MinOffset(q.topic, q.id), s.MaxOffset(q.topic, q.id)))
		}
		return l
	}
	reads := func(s *Store) (l []string) {
		var res GetResult
		defer res.Release()
		for _, q := range queues[:4] {
			for off := s.MinOffset(q.topic, q.id); off < s.MaxOffset(q.topic, q.id); off = res.Next {
				s.Get(&GetRequest{Topic: q.topic, QueueID: q.id, Offset: off, MaxCount: 3}, &res)
				if res.Status != Found || res.Next <= off {
					t.Fatalf("%s/%d at %d: %v", q.topic, q.id, off, res.Status)
				}
				for _, r := range res.Regions {
					l = append(l, fmt.Sprintf("%s/%d %d %x", q.topic, q.id, off, r))
				}
			}
		}
		return append(l, compacted(t, s))
	}
	check := func(s *Store, what string) {
		t.Helper()
		t.Log(what, ends(s))
		eventually(t, func() bool { return fmt.Sprint(ends(s)) == fmt.Sprint(ends(m)) })
		eventually(t, func() bool { return fmt.Sprint(reads(s)) == fmt.Sprint(reads(m)) })
	}
	for _, save := range []bool{false, true} {
		for _, crash := range []string{"", "kill before", "power before", "kill", "power"} {
			var known atomic.Bool
			rig := replicaOf(t, small, func(o *Options) {
				o.QueueKind = func(topic string) QueueKind {
					if known.Load() {
						return kinds[topic]
					}
					return SimpleQueue
				}
			})
			s := rig.open()
			add := func(b []byte) {
				_, end := s.Bounds()
				_, err := s.AppendLog(end, b)
				must(t, err)
			}
			if save {
				add(first[:len(first)/2])
			} else {
				add(first)
			}
			after := func(mem *vfs.Mem) {
				abandon(s)
				rig = rig.on(mem)
				s = rig.open()
			}
			if save { // some of the queues are on disk, and the checkpoint is behind them
				must(t, s.Sync())
				must(t, s.flushQueues(true))
				must(t, s.checkpoint.write())
				s.tryQueueEnds()
				_, end := s.Bounds()
				add(first[end:])
			}
			must(t, s.Sync())
			known.Store(true)
			switch crash {
			case "kill before":
				after(rig.mem.KillClone())
			case "power before":
				after(rig.mem.CrashClone(1))
			}
			must(t, s.RemakeQueues(func(topic string) bool { return topic != "D" }))
			switch crash {
			case "kill":
				after(rig.mem.KillClone())
			case "power":
				after(rig.mem.CrashClone(2))
			}
			_, end := s.Bounds()
			add(whole[end:])
			check(s, fmt.Sprint(save, crash))
			must(t, s.Close())
			s = rig.open()
			check(s, fmt.Sprint(save, crash, " opened again"))
			must(t, s.Close())
		}
	}
}
