package store

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

func TestQueueTableIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table, made := newQueueTable(), 0
		table.prepare = func(q *queue) {
			q.cq.files = &mappedQueue{}
			made++
		}
		model := map[queueKey]*queue{}
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			topic := fmt.Sprint("topic", rapid.IntRange(0, 150).Draw(t, "topic"))
			id := rapid.OneOf(rapid.Int32Range(0, 40), rapid.SampledFrom([]int32{-1, densestID, densestID + 1, 1<<31 - 1})).Draw(t, "id")
			key := queueKey{topic, id}
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				if q := model[key]; q != nil {
					table.remove(q)
					table.remove(q) // it is gone: nothing else is
					delete(model, key)
				}
			default:
				frame := []byte(topic)
				q, before := table.getOrCreate(stringView(frame), id), made
				clear(frame)
				if old := model[key]; old != nil && (q != old || made != before) || q.topic != topic || q.id != id {
					t.Fatalf("%v is %v, was %v", key, q, old)
				}
				model[key] = q
			}
			if got := table.get(topic, id); got != model[key] {
				t.Fatalf("%v is %v, want %v", key, got, model[key])
			}
		}
		var all []*queue
		ids := map[string][]int32{}
		for _, q := range model {
			all = append(all, q)
			ids[q.topic] = append(ids[q.topic], q.id)
		}
		slices.SortFunc(all, func(a, b *queue) int {
			if a.topic != b.topic {
				return map[bool]int{true: -1, false: 1}[a.topic < b.topic]
			}
			return int(a.id) - int(b.id)
		})
		for _, l := range ids {
			slices.Sort(l)
		}
		if got := table.all(); !slices.Equal(got, all) {
			t.Fatalf("%d queues, want %d", len(got), len(all))
		}
		if got := table.ids(); !maps.EqualFunc(got, ids, slices.Equal) {
			t.Fatalf("ids %v, want %v", got, ids)
		}
	})
}

// Whoever asks for a queue at the same time gets the same one, and only those that were removed are ever missed.
func TestQueueTableAtOnce(t *testing.T) {
	table := newQueueTable()
	const topics, ids, workers = 300, 20, 4
	var got [workers]map[queueKey]*queue
	var done sync.WaitGroup
	for w := range workers {
		got[w] = map[queueKey]*queue{}
		done.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 1))
			for range 20_000 {
				key := queueKey{fmt.Sprint("t", rnd.IntN(topics)), rnd.Int32N(ids)}
				q := table.getOrCreate(key.topic, key.id)
				if old := got[w][key]; old != nil && old != q {
					t.Errorf("%v is another one now", key)
				}
				got[w][key] = q
				if table.get(key.topic, key.id) != q {
					t.Errorf("%v cannot be found", key)
				}
				if w == 0 { // topics that come and go make the table anew meanwhile
					table.remove(table.getOrCreate(fmt.Sprint("gone", rnd.IntN(1000)), 0))
				}
			}
		})
	}
	done.Wait()
	for w := range workers {
		for key, q := range got[w] {
			if table.get(key.topic, key.id) != q {
				t.Fatalf("%v: worker %d had another", key, w)
			}
		}
	}
	if n := len(table.all()); n > topics*ids {
		t.Errorf("%d queues", n)
	}
}

// What a message changes of its queue is in two cache lines.
func TestQueueLayout(t *testing.T) {
	var q queue
	if size := unsafe.Sizeof(q); size%64 != 0 {
		t.Errorf("a queue has %d bytes", size)
	}
	if end := unsafe.Offsetof(q.cq) + unsafe.Offsetof(q.cq.saved); end >= 128 {
		t.Errorf("what dispatch needs goes up to byte %d", end)
	}
}

func TestQueueTableLetsTopicsGo(t *testing.T) {
	table := newQueueTable()
	for i := range 1000 {
		table.remove(table.getOrCreate(fmt.Sprint("t", i), int32(i%20)))
	}
	if n := table.topics.Len(); n > 0 {
		t.Errorf("%d topics without queues", n)
	}
}

// BenchmarkQueueTable looks queues up in turn.
func BenchmarkQueueTable(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("topics%d", n), func(b *testing.B) {
			table := newQueueTable()
			names := make([]string, n)
			for i := range names {
				names[i] = fmt.Sprintf("BenchTopic_%05d", i)
				for id := range int32(4) {
					table.getOrCreate(names[i], id)
				}
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if table.get(names[i>>2], int32(i&3)).next < 0 {
					b.Fatal("no queue")
				}
				if i++; i == 4*n {
					i = 0
				}
			}
		})
	}
}
