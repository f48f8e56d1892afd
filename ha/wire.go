package ha

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	reportSize = 8
	frameHead  = 12
)

var errProtocol = errors.New("not what a replica sends")

// putFrame writes the head of a frame.
func putFrame(to []byte, off int64, size int) {
	binary.BigEndian.PutUint64(to, uint64(off))
	binary.BigEndian.PutUint32(to[8:], uint32(int32(size)))
}

func getFrame(b []byte) (off int64, size int32) {
	return int64(binary.BigEndian.Uint64(b)), int32(binary.BigEndian.Uint32(b[8:]))
}

// reports cuts a stream into words of 8 bytes, whatever the pieces are in which it comes.
type reports struct {
	part [reportSize]byte
	n    int
}

// each calls fn for every word that is complete with b, until it returns an error.
func (r *reports) each(b []byte, fn func(int64) error) error {
	for len(b) > 0 {
		if r.n == 0 && len(b) >= reportSize {
			if err := fn(int64(binary.BigEndian.Uint64(b))); err != nil {
				return err
			}
			b = b[reportSize:]
			continue
		}
		n := copy(r.part[r.n:], b)
		r.n, b = r.n+n, b[n:]
		if r.n == reportSize {
			r.n = 0
			if err := fn(int64(binary.BigEndian.Uint64(r.part[:]))); err != nil {
				return err
			}
		}
	}
	return nil
}

// frames takes the heads out of what a master sends.
type frames struct {
	next    int64 // where the next byte belongs; -1 while the master may choose
	largest int64 // no frame has more: they don't cross files
	left    int64 // bytes of the frame under way
	n       int   // of part
	part    [frameHead]byte
	// note takes what a master of ours says of itself; nil of a Java master, who says nothing.
	note func(kind int32, value int64) error
	idle func() // the master has nothing more, up to next; may be nil
}

// feed takes what was read and returns what of it are bytes of the log, at the front of b, with the offset where they belong. It
// changes b. What came before an error is returned with it.
func (r *frames) feed(b []byte) (off int64, data []byte, err error) {
	kept := 0
	off = r.next
	for at := 0; at < len(b); {
		if r.left > 0 {
			n := int(min(r.left, int64(len(b)-at)))
			if kept == 0 {
				off = r.next
			}
			if kept != at {
				copy(b[kept:], b[at:at+n])
			}
			kept, at = kept+n, at+n
			r.left, r.next = r.left-int64(n), r.next+int64(n)
			continue
		}
		n := copy(r.part[r.n:], b[at:])
		r.n, at = r.n+n, at+n
		if r.n < frameHead {
			break
		}
		r.n = 0
		if err := r.head(getFrame(r.part[:])); err != nil {
			return off, b[:kept], err
		}
	}
	return off, b[:kept], nil
}

// head looks at the head of a frame.
func (r *frames) head(off int64, size int32) error {
	switch {
	case size < 0 && r.note != nil:
		return r.note(size, off)
	case off < 0 || size < 0 || int64(size) > r.largest:
		return fmt.Errorf("frame of %d bytes at %d: %w", size, off, errProtocol)
	case r.next >= 0 && off != r.next:
		return fmt.Errorf("master sends what belongs to %d, the next byte here is %d: %w", off, r.next, errProtocol)
	}
	r.next, r.left = off, int64(size)
	if size == 0 && r.idle != nil {
		r.idle()
	}
	return nil
}
