package store

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// chunk is a piece of a queue in memory, in the form of the file.
type chunk struct {
	base int64 // first entry
	buf  []byte
	prev atomic.Pointer[chunk] // the one before, unless its entries are in files
}

// Sizes of chunks, in entries. The first is small since most queues are quiet; each next one doubles, up to 64 KiB, so that
// a busy queue is written out in large pieces.
const (
	chunkLeast   = 16
	chunkMost    = 3276
	chunkClasses = 9 // 16, 32, up to 2048, and the largest
)

// end is the entry after the last that it has room for.
func (ch *chunk) end(width int64) int64 { return ch.base + int64(len(ch.buf))/width }

// chunkHeap is the memory of chunks. Ten thousand queues fill and empty megabytes of them each second: they are used again, since
// the collector would let the heap grow by as much as they are and more before it looks for them.
type chunkHeap struct {
	bytes atomic.Int64 // of chunks in queues

	mu    sync.Mutex // a leaf; guards all below
	free  [chunkClasses][]*chunk
	least [chunkClasses]int // how many have been free at any time since the last trim
}

// Load is how many bytes are in use.
func (h *chunkHeap) Load() int64 { return h.bytes.Load() }

func chunkClass(units int) int {
	if units == chunkMost {
		return chunkClasses - 1
	}
	return bits.TrailingZeros(uint(units / chunkLeast))
}

// get is a chunk for so many entries of 20 bytes, one of the sizes there are, cut to whole entries of the width.
func (h *chunkHeap) get(units int, base int64, width int) *chunk {
	h.bytes.Add(int64(units) * unitSize)
	ch := h.used(chunkClass(units))
	if ch == nil {
		ch = &chunk{buf: make([]byte, units*unitSize)} // of exactly this capacity, which is its class
	}
	ch.base = base
	ch.buf = ch.buf[:cap(ch.buf)/width*width]
	return ch
}

func (h *chunkHeap) used(class int) *chunk {
	h.mu.Lock()
	defer h.mu.Unlock()
	free := h.free[class]
	n := len(free) - 1
	if n < 0 {
		return nil
	}
	ch := free[n]
	free[n] = nil
	h.free[class] = free[:n]
	h.least[class] = min(h.least[class], n)
	return ch
}

// put takes back ch and all before it, which no queue has any more. Where a reader may still look at them they are left to the collector.
func (h *chunkHeap) put(ch *chunk, read bool) {
	if ch == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for ch != nil {
		prev := ch.prev.Load()
		h.bytes.Add(-int64(cap(ch.buf)))
		if !read {
			ch.prev.Store(nil)
			class := chunkClass(cap(ch.buf) / unitSize)
			h.free[class] = append(h.free[class], ch)
		}
		ch = prev
	}
}

// trim lets go of chunks that have not been needed since the last time.
func (h *chunkHeap) trim() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, free := range h.free {
		rest := free[:len(free)-min(h.least[i], len(free))]
		clear(free[len(rest):])
		if len(rest) == 0 {
			rest = nil
		}
		h.free[i], h.least[i] = rest, len(rest)
	}
}
