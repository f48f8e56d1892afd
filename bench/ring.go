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

// request makes the k-th of the requests that are written together next, and takes it from the ring where there is one.
func (s *sender) request(slot, k int, born uint64) []byte {
	t, p := &s.templates[s.turn], &s.place[s.turn]
	if k == 0 {
		s.first, s.out = s.turn, s.out[:0]
	}
	var f []byte
	if r := s.ring; r != nil {
		f = r.frames[r.at[s.first+k]:r.at[s.first+k+1]]
	} else {
		begin := len(s.out)
		s.out = append(s.out, t.frame...)
		f = s.out[begin:]
	}
	s.patch(f, t, p, slot, born)
	s.advance()
	return f
}

// made are the n that request has made.
func (s *sender) made(n int) []byte {
	if r := s.ring; r != nil {
		return r.frames[r.at[s.first]:r.at[s.first+n]]
	}
	return s.out
}
