package store

import (
	"fmt"
	"testing"
	"unsafe"
)

func TestPlaceOfAQueue(t *testing.T) {
	r := newRig(t)
	s := r.open()
	defer s.Close()
	var at Place
	at.Fetch() // of nothing
	stage := func(body string, want int64) {
		t.Helper()
		res := s.StageAt(&at, message("T", 1, body), nil)
		if must(t, s.Commit(&res)); res.Status != PutOK || res.QueueOffset != want {
			t.Fatalf("%s: %+v, want offset %d", body, res, want)
		}
		if at.q.Load() != s.queues.get("T", 1) {
			t.Fatalf("%s: another queue than the topic's is in its place", body)
		}
		at.Fetch()
	}
	stage("zero", 0)
	stage("one", 1)
	must(t, s.DeleteTopics("T"))
	stage("zero again", 0) // the deleted queue must not go on
	res := s.StageBatch(&at, message("T", 1, ""), []BatchItem{{Body: []byte("a")}, {Body: []byte("b")}}, nil)
	if must(t, s.Commit(&res)); res.QueueOffset != 1 || res.Count != 2 {
		t.Fatalf("batch: %+v", res)
	}
	if res := s.StageAt(&at, message("T", 2, "x"), nil); res.QueueOffset != 0 || s.queues.get("T", 2) == nil {
		t.Fatalf("a place was taken for that of another queue: %+v", res)
	} else {
		must(t, s.Commit(&res))
	}
	eventually(t, func() bool { return s.MaxOffset("T", 1) == 3 && s.MaxOffset("T", 2) == 1 })
}

func TestQueueLines(t *testing.T) {
	var q queue
	if unsafe.Offsetof(q.cq)+unsafe.Offsetof(q.cq.tail) != 64 || unsafe.Sizeof(q)%64 != 0 {
		t.Errorf("tail at %d, size %d: dispatch fetches what is from tail on as one line", unsafe.Offsetof(q.cq)+unsafe.Offsetof(q.cq.tail), unsafe.Sizeof(q))
	}
}

// What dispatch and staging cost a message where there are so many queues that nothing of one is in a cache when its turn comes again.
func BenchmarkManyQueues(b *testing.B) {
	for _, topics := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("%d topics", topics), func(b *testing.B) {
			const queues, group = 4, 64
			s, m := benchStore(b, nil), benchMessage(64)
			places := make([][queues]Place, topics)
			names := make([]string, topics)
			for i := range names {
				names[i] = fmt.Sprintf("BenchTopic_%05d", i)
			}
			var last PutResult
			b.ReportAllocs()
			countCPU(b)
			i := 0
			for b.Loop() {
				t, q := i%topics, i/topics%queues
				m.Topic, m.QueueID = names[t], int32(q)
				if last = s.StageAt(&places[t][q], m, nil); last.Status != PutOK {
					b.Fatal(last.Err)
				}
				if i++; i%group == 0 {
					if err := s.Commit(&last); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
