package remoting

// outbox holds frames that wait to be written, in order. It is filled under its connection's lock; once a writer has taken it
// nobody adds to it any more.
type outbox struct {
	frameWriter
	marks []mark

	vec  [][]byte // the pieces to write; rest is what is left of them
	rest [][]byte
}

// mark is a place in buf where regions go.
type mark struct {
	at      int
	regions [][]byte
	release func()
}

// maxKept bounds the memory that a pooled outbox or inbox keeps.
const maxKept = 128 << 10

// add appends a frame and returns how many bytes it has. Release is the outbox's business only if there is no error.
func (o *outbox) add(ser Serialization, h *head, body []byte, regions [][]byte, release func()) (int, error) {
	before, inRegions := len(o.buf), 0
	for _, r := range regions {
		inRegions += len(r)
	}
	if err := o.frame(ser, h, body, inRegions); err != nil {
		return 0, err
	}
	if inRegions > 0 || release != nil {
		o.marks = append(o.marks, mark{len(o.buf), regions, release})
	}
	return len(o.buf) - before + inRegions, nil
}

// seal makes the pieces to write.
func (o *outbox) seal() {
	from := 0
	for i := range o.marks {
		m := &o.marks[i]
		if m.at > from {
			o.vec = append(o.vec, o.buf[from:m.at])
			from = m.at
		}
		for _, r := range m.regions {
			if len(r) > 0 {
				o.vec = append(o.vec, r)
			}
		}
	}
	if from < len(o.buf) {
		o.vec = append(o.vec, o.buf[from:])
	}
	o.rest = o.vec
}

// wrote steps over n bytes.
func (o *outbox) wrote(n int) {
	i := 0
	for i < len(o.rest) && n >= len(o.rest[i]) {
		n -= len(o.rest[i])
		i++
	}
	o.rest = o.rest[i:]
	if n > 0 {
		o.rest[0] = o.rest[0][n:]
	}
}

// recycle releases the regions, whether or not they were written, and gives the outbox back.
func (ep *endpoint) recycle(o *outbox) {
	if o == nil {
		return
	}
	for i := range o.marks {
		if f := o.marks[i].release; f != nil {
			f()
		}
		o.marks[i] = mark{}
	}
	if cap(o.buf) > maxKept {
		o.buf = nil
	}
	clear(o.vec)
	o.buf, o.marks, o.vec, o.rest = o.buf[:0], o.marks[:0], o.vec[:0], nil
	ep.outboxes.Put(o)
}
