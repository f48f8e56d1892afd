package store

import "sync/atomic"

// ring is a bounded queue between one producer and one consumer at a time. What does not fit is not queued: both users can
// find it in the log again.
type ring[T any] struct {
	slots []T // a power of two

	_    [64]byte // the two ends are written by different processors
	head atomic.Uint64
	_    [56]byte
	tail atomic.Uint64
	seen uint64 // head as the producer knows it
}

func newRing[T any](size int) *ring[T] { return &ring[T]{slots: make([]T, size)} }

// next is the slot to fill, nil if the ring is full; push then adds it. The producer's.
func (r *ring[T]) next() *T {
	t := r.tail.Load()
	if t-r.seen == uint64(len(r.slots)) {
		if r.seen = r.head.Load(); t-r.seen == uint64(len(r.slots)) {
			return nil
		}
	}
	return &r.slots[t&uint64(len(r.slots)-1)]
}

func (r *ring[T]) push() { r.tail.Store(r.tail.Load() + 1) }

// peek is the oldest element, nil if there is none; pop takes it away. The consumer's.
func (r *ring[T]) peek() *T {
	h := r.head.Load()
	if h == r.tail.Load() {
		return nil
	}
	return &r.slots[h&uint64(len(r.slots)-1)]
}

func (r *ring[T]) pop() { r.head.Store(r.head.Load() + 1) }
