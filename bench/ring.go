package bench

// ring are the requests of a sender, one behind the other, its queues in turn, so many that as many as can be in flight always stand
// together. They are patched where they are and written from there: only what differs from request to request is touched.
type ring struct {
	frames []byte
	at     []int // where each request begins, and where the last one ends
}

// ringBytes is what one connection's ring takes at most. Beyond that, requests are copied together one by one.
const ringBytes = 2 << 20

func newRing(templates []template, inFlight int) *ring {
	n := len(templates) + inFlight - 1
	size := 0
	for i := range n {
		if size += len(templates[i%len(templates)].frame); size > ringBytes {
			return nil
		}
	}
	r := &ring{frames: make([]byte, 0, size), at: []int{0}}
	for i := range n {
		r.frames = append(r.frames, templates[i%len(templates)].frame...)
		r.at = append(r.at, len(r.frames))
	}
	return r
}

// fromRing patches one request for each free slot, from the sender's turn on.
func (s *sender) fromRing(born uint64) []byte {
	first, r := s.turn, s.ring
	for i, slot := range s.free {
		f := r.frames[r.at[first+i]:r.at[first+i+1]]
		s.patch(f, &s.templates[s.turn], &s.place[s.turn], slot, born)
		s.advance()
	}
	return r.frames[r.at[first]:r.at[first+len(s.free)]]
}
