package store

import "sync/atomic"

// ring is a bounded queue between one producer and one consumer at a time. What does not fit is not queued: both users can
// find it in the log again.
type ring[T any] struct {
	slots []T // a power of two

	_    [64]byte // the two ends are written by different processors
	head atomic.Uint64
	at   uint64 // the consumer's: the oldest element
	end  uint64 // tail as the consumer knows it
	_    [40]byte
	tail atomic.Uint64
	fill uint64 // the producer's: beyond tail, elements that are not published
	seen uint64 // head as the producer knows it
}

func newRing[T any](size int) *ring[T] { return &ring[T]{slots: make([]T, size)} }

// next is the slot to fill, nil if the ring is full; push then adds it, and publish lets the consumer see what was added: one
// store for many, since it has the processors wait for each other. The producer's.
func (r *ring[T]) next() *T {
	if r.fill-r.seen == uint64(len(r.slots)) {
		if r.seen = r.head.Load(); r.fill-r.seen == uint64(len(r.slots)) {
			return nil
		}
	}
	return &r.slots[r.fill&uint64(len(r.slots)-1)]
}

func (r *ring[T]) push() { r.fill++ }

func (r *ring[T]) publish() {
	if r.tail.Load() != r.fill {
		r.tail.Store(r.fill)
	}
}

// queued is how many elements have been added and not been given back. The producer's.
func (r *ring[T]) queued() int { return int(r.fill - r.head.Load()) }

// peek is the oldest element, nil if there is none; pop takes it away, and free gives the places of what was taken back to the
// producer. The consumer's.
func (r *ring[T]) peek() *T {
	if r.at == r.end {
		if r.end = r.tail.Load(); r.at == r.end {
			return nil
		}
	}
	return &r.slots[r.at&uint64(len(r.slots)-1)]
}

func (r *ring[T]) pop() { r.at++ }

// ahead is some of the next elements, as many as lie side by side, and at most so many. The consumer's.
func (r *ring[T]) ahead(most int) []T {
	if r.peek() == nil {
		return nil
	}
	i := r.at & uint64(len(r.slots)-1)
	return r.slots[i:min(i+min(r.end-r.at, uint64(most)), uint64(len(r.slots)))]
}

// later is the element that comes n after the oldest, nil if it is not there or not known of yet. The consumer's.
func (r *ring[T]) later(n uint64) *T {
	if r.end-r.at <= n {
		return nil
	}
	return &r.slots[(r.at+n)&uint64(len(r.slots)-1)]
}

func (r *ring[T]) free() { r.head.Store(r.at) }
