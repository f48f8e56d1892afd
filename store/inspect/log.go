package inspect

import (
	"encoding/binary"
	"errors"
	"fmt"

	"apogee/store/record"
)

// maxRecord bounds what is read for one record; a larger size is damage. Java's limit for a message is configurable, and nobody
// sets it beyond this.
const maxRecord = 256 << 20

// ErrEnd says that no further record follows.
var ErrEnd = errors.New("end of the log")

// Record is one message of the commit log as it is stored. It is valid until the next one is read.
type Record struct {
	record.Message
	Bytes []byte // the whole record
	Fault error  // what is wrong with it, if anything: its checksum, or that it names another place than its own
}

// Reader walks the commit log.
type Reader struct {
	log *segments
	off int64
	buf []byte
	rec Record
}

// Reader starts at a commit-log offset where a record starts.
func (s *Store) Reader(off int64) *Reader { return &Reader{log: s.log, off: off} }

// Offset is where the next record would start.
func (r *Reader) Offset() int64 { return r.off }

// Next reads one record. It steps over the unused ends of files, and answers ErrEnd at the first place where no record starts.
func (r *Reader) Next() (*Record, error) {
	for {
		i := r.log.at(r.off)
		if i < 0 {
			return nil, ErrEnd
		}
		rest := r.log.files[i].end() - r.off
		var head [record.BlankSize]byte
		if rest < int64(len(head)) {
			return nil, ErrEnd
		}
		if err := r.log.read(head[:], r.off); err != nil {
			return nil, err
		}
		size := int64(int32(binary.BigEndian.Uint32(head[:])))
		switch binary.BigEndian.Uint32(head[4:]) {
		case record.MagicBlank:
			r.off = r.log.files[i].end()
			continue
		case record.MagicV1, record.MagicV2:
		default:
			return nil, ErrEnd
		}
		if size < record.MinSize || size > min(rest, maxRecord) {
			return nil, fmt.Errorf("commit log at %d: a record of %d bytes: %w", r.off, size, record.ErrMalformed)
		}
		return r.decode(size)
	}
}

func (r *Reader) decode(size int64) (*Record, error) {
	if int64(cap(r.buf)) < size {
		r.buf = make([]byte, size)
	}
	b := r.buf[:size]
	if err := r.log.read(b, r.off); err != nil {
		return nil, err
	}
	r.rec = Record{Bytes: b}
	if err := record.Decode(b, &r.rec.Message); err != nil {
		return nil, fmt.Errorf("commit log at %d: %w", r.off, err)
	}
	switch {
	case record.BodyCRC(r.rec.Body) != r.rec.BodyCRC:
		r.rec.Fault = record.ErrBodyCRC
	case r.rec.PhysicalOffset != r.off:
		r.rec.Fault = fmt.Errorf("the record says that it starts at %d", r.rec.PhysicalOffset)
	}
	r.off += size
	return &r.rec, nil
}

// logEnd finds the end of the log: known is an offset up to which queue entries vouch for it, or 0.
func (s *Store) logEnd(known int64) int64 {
	from := known
	if s.log.at(known) < 0 && known != s.log.max() {
		from = s.log.min()
	}
	if from == s.log.min() {
		// Nothing is known: the last file that is not empty has the end in it.
		for i := len(s.log.files) - 1; i > 0; i-- {
			var head [record.BlankSize]byte
			if s.log.read(head[:], s.log.files[i].start) == nil && head != [record.BlankSize]byte{} {
				from = s.log.files[i].start
				break
			}
		}
	}
	r := s.Reader(from)
	for {
		if _, err := r.Next(); err != nil {
			return r.Offset()
		}
	}
}
