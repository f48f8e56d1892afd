package store

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

func TestChunksAreUsedAgain(t *testing.T) {
	var h chunkHeap
	classes := map[int]bool{}
	for units := chunkLeast; ; units = min(2*units, chunkMost) {
		class := chunkClass(units)
		if classes[class] {
			t.Fatalf("two sizes in class %d", class)
		}
		classes[class] = true
		a := h.get(units, 5, unitSize)
		b := h.get(units, 6, unitSize)
		b.prev.Store(a)
		if a.end(unitSize) != int64(5+units) || h.Load() != int64(2*units*unitSize) {
			t.Fatalf("chunk of %d units: ends at %d, %d bytes in use", units, a.end(unitSize), h.Load())
		}
		h.put(b, false)
		again := map[*chunk]bool{h.get(units, 1, unitSize): true, h.get(units, 1, unitSize): true}
		if !again[a] || !again[b] {
			t.Fatalf("chunks of %d units are not used again", units)
		}
		a.prev.Store(nil)
		b.prev.Store(a)
		h.put(b, true) // somebody reads them
		if c := h.get(units, 1, unitSize); c == a || c == b || c.prev.Load() != nil {
			t.Fatalf("a chunk of %d units is used again while it is read", units)
		}
		h.put(nil, false)
		h.bytes.Store(0)
		if units == chunkMost {
			break
		}
	}
	if len(classes) != chunkClasses {
		t.Errorf("%d classes", len(classes))
	}
}

func TestChunksThatNobodyNeedsAreFreed(t *testing.T) {
	var h chunkHeap
	fill := func(n int) {
		var last *chunk
		for range n {
			ch := h.get(chunkLeast, 0, unitSize)
			ch.prev.Store(last)
			last = ch
		}
		h.put(last, false)
	}
	fill(100)
	h.trim()
	fill(30)
	h.trim()
	if n := len(h.free[0]); n != 30 {
		t.Errorf("%d chunks are kept after 30 were needed", n)
	}
	h.trim()
	if n := len(h.free[0]); n != 0 || h.free[0] != nil {
		t.Errorf("%d chunks are kept for nobody", n)
	}
}

// Whoever reads a queue while its entries go to files and its memory to other queues sees its own entries.
func TestChunksUnderReaders(t *testing.T) {
	r := newRig(t, func(o *Options) { o.MappedFileSizeConsumeQueue = 20 * 1000 })
	s, err := Open(r.opts)
	must(t, err)
	defer s.Close()
	d := s.dispatch
	const queues, rounds, each = 5, 60, 40
	tag := func(q, n int64) int64 { return q<<32 | n }
	var done sync.WaitGroup
	stop := make(chan struct{})
	for w := range 3 {
		done.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 3))
			for {
				select {
				case <-stop:
					return
				default:
				}
				i := rnd.Int64N(queues)
				q := s.queues.get(fmt.Sprint("Topic", i), 0)
				if q == nil || q.cq.max.Load() == 0 {
					continue
				}
				n := rnd.Int64N(q.cq.max.Load())
				if _, _, tags, ok := q.cq.unit(n); !ok || tags != tag(i, n) {
					t.Errorf("entry %d of queue %d is %x, %v", n, i, tags, ok)
					return
				}
			}
		})
	}
	phys := int64(0)
	for range rounds {
		d.mu.Lock()
		for range each {
			for i := range int64(queues) {
				q := s.queues.getOrCreate(fmt.Sprint("Topic", i), 0)
				d.enter(q, q.cq.max.Load(), phys, 10, tag(i, q.cq.max.Load()), 0)
				phys += 10
			}
		}
		d.entered.Add(d.fresh)
		d.fresh = 0
		d.mu.Unlock()
		must(t, s.flushQueues(true))
	}
	close(stop)
	done.Wait()
	must(t, s.flushQueues(true))
	must(t, s.flushQueues(true))
	if d.heap.Load() != 0 {
		t.Errorf("%d bytes in use", d.heap.Load())
	}
}
