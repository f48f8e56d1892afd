package verify

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"

	"apogee/store/record"
)

// Sizes of reads.
const (
	chunkSize = 1 << 20
	// maxRecord bounds what is read for one record; a larger size is damage. Nobody sets maxMessageSize beyond this.
	maxRecord = 256 << 20
	// pieces of the log are on their way from the reader to the caller.
	pieces = 4
)

// LogScan reads a commit log from its start to its end: each record, and each stretch that is none with more of the log behind it.
type LogScan struct {
	Log   fs.FS
	Files []LogSegment // by offset; some may be missing
	Live  bool         // a broker is writing

	// Known is an offset that the log has reached: ahead of it what is no record is damage, and not the end.
	Known int64
	// Follow says the same of every place that records follow.
	Follow bool
	// Check looks at what has the lengths of a record, with what stands behind it as far as that is at hand, and adds what it finds to the
	// piece. False says that it is no record. nil takes all.
	Check func(p *LogPiece, r *LogRecord, behind []byte) bool
}

// LogSegment is a file of a log.
type LogSegment struct {
	Name       string
	Base, Size int64
}

func (f LogSegment) end() int64 { return f.Base + f.Size }

// LogPiece is a part of the log, with findings that are about it. It is valid until the next one is asked for.
type LogPiece struct {
	Records  []LogRecord
	Findings []Finding
	Min, End int64 // of the log, as far as it has been read

	buf []byte
}

// LogRecord is one record.
type LogRecord struct {
	Off   int64
	Head  record.Header
	Bytes []byte
	In    *LogSegment
}

// Pieces are the parts of the log in their order. They are read ahead, by a goroutine that has ended when the loop has. The last one has no
// records, and says where the log ends. An error comes alone, and last.
func (o *LogScan) Pieces(ctx context.Context) iter.Seq2[*LogPiece, error] {
	return func(yield func(*LogPiece, error) bool) {
		if len(o.Files) == 0 {
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		s := &scanner{LogScan: o, ctx: ctx, min: o.Files[0].Base, end: o.Files[0].Base}
		s.free, s.out = make(chan *LogPiece, pieces), make(chan *LogPiece, pieces)
		for range pieces {
			s.free <- &LogPiece{buf: make([]byte, min(chunkSize, o.Files[0].Size+record.BlankSize))}
		}
		go func() {
			s.err = s.scan()
			close(s.out)
		}()
		for p := range s.out {
			if !yield(p, nil) {
				cancel()
				for range s.out { // until the reader has ended
				}
				return
			}
			s.free <- p
		}
		if s.err != nil {
			yield(nil, s.err)
		}
	}
}

// scanner is one reading of a log.
type scanner struct {
	*LogScan
	ctx  context.Context
	free chan *LogPiece
	out  chan *LogPiece

	file     fs.File
	seg      LogSegment
	n        int // number of seg in the log
	min, end int64
	some     bool  // a record was read
	retried  int64 // where a record was looked for once more, and how often
	retries  int
	err      error
}

// scan reads file after file.
func (s *scanner) scan() error {
	for s.n = range s.Files {
		s.seg = s.Files[s.n]
		more, err := s.scanFile()
		if err != nil {
			return err
		}
		if !more {
			break
		}
		s.end = max(s.end, s.seg.end())
	}
	// The last file ends in a mark, or at its very end: what comes next would overwrite the mark.
	p, err := s.take()
	if err != nil {
		return err
	}
	return s.send(p)
}

// take gets a piece to fill.
func (s *scanner) take() (*LogPiece, error) {
	select {
	case b := <-s.free:
		b.Records, b.Findings = b.Records[:0], b.Findings[:0]
		return b, nil
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
}

// send hands a piece on.
func (s *scanner) send(b *LogPiece) error {
	b.Min, b.End = s.min, s.end
	select {
	case s.out <- b:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// scanFile reads one file; false ends the log.
func (s *scanner) scanFile() (more bool, err error) {
	if s.file, err = s.Log.Open(s.seg.Name); err != nil {
		return s.closed(err)
	}
	defer func() { err = errors.Join(err, s.file.Close()) }()
	need := int64(chunkSize)
	for at := int64(0); at+record.BlankSize <= s.seg.Size; {
		b, err := s.take()
		if err != nil {
			return false, err
		}
		if int64(len(b.buf)) < need {
			b.buf = make([]byte, need)
		}
		want := min(int64(len(b.buf)), s.seg.Size-at)
		n, err := readFrom(s.file, s.seg.Name, b.buf[:want], at)
		if err != nil || int64(n) < want {
			if err == nil {
				err = errors.New("the file is shorter than it was")
			}
			b.Findings = append(b.Findings, Finding{Kind: Unreadable, Level: Damage, File: s.name(), At: at, Text: err.Error()})
			return true, s.send(b)
		}
		got := s.cut(b, b.buf[:n], at)
		if got.what == stopMark {
			got = s.badMark(b, got.at, got.need)
		}
		if got.what == stopBroken {
			if got, err = s.broken(b, got.at); err != nil {
				return false, err
			}
		}
		if err := s.send(b); err != nil {
			return false, err
		}
		switch got.what {
		case stopFile:
			return true, nil
		case stopLog:
			return false, nil
		}
		at, need = got.at, max(got.need, chunkSize)
	}
	return s.ends() == stopFile, nil
}

// closed is for a file that cannot be opened. The first ones may go while a broker is at work.
func (s *scanner) closed(err error) (bool, error) {
	b, ctxErr := s.take()
	if ctxErr != nil {
		return false, ctxErr
	}
	if s.Live && !s.some && errors.Is(err, fs.ErrNotExist) {
		s.min = s.seg.end()
	} else {
		b.Findings = append(b.Findings, Finding{Kind: Unreadable, Level: Damage, File: s.name(), At: -1, Text: err.Error()})
	}
	return true, s.send(b)
}

func (s *scanner) name() string { return below(logDir, s.seg.Name) }

// stop says why reading a piece ended, and where to go on.
type stop struct {
	what stopReason
	at   int64 // position in the file
	need int64 // bytes of the record that starts there, or that the mark there says are left
}

type stopReason int

const (
	stopChunk  stopReason = iota // the piece is used up
	stopBroken                   // no record starts here
	stopMark                     // a mark that is wrong
	stopFile                     // the file ends
	stopLog                      // the log ends
)

// cut finds the records of a piece that starts at a position of the file.
func (s *scanner) cut(b *LogPiece, data []byte, from int64) stop {
	var h record.Header
	for pos := int64(0); ; {
		at, rest := from+pos, data[pos:]
		left := s.seg.Size - at // in the file
		if left < record.BlankSize {
			return stop{what: s.ends()}
		}
		if len(rest) < record.BlankSize {
			return stop{what: stopChunk, at: at}
		}
		err := record.Parse(rest, &h)
		size := int64(int32(binary.BigEndian.Uint32(rest)))
		switch {
		case err == nil:
			rec := LogRecord{s.seg.Base + at, h, rest[:h.Size], &s.Files[s.n]}
			if s.Check != nil && !s.Check(b, &rec, rest[h.Size:]) {
				return stop{what: stopBroken, at: at}
			}
			b.Records = append(b.Records, rec)
			s.some = true
			pos += int64(h.Size)
			s.end = s.seg.Base + from + pos
		case errors.Is(err, record.ErrBlank) && size == left:
			return stop{what: s.ends()}
		case errors.Is(err, record.ErrBlank):
			return stop{what: stopMark, at: at, need: size}
		case errors.Is(err, record.ErrShort) && int64(len(rest)) < left && size <= min(left, maxRecord):
			return stop{what: stopChunk, at: at, need: size}
		default:
			return stop{what: stopBroken, at: at}
		}
	}
}

// ends says what the end of a file means: what comes next overwrites the mark of the last one.
func (s *scanner) ends() stopReason {
	if s.n == len(s.Files)-1 {
		return stopLog
	}
	return stopFile
}

// badMark reports a mark that does not say how much is left of the file. It ends the file all the same, if no record follows.
func (s *scanner) badMark(b *LogPiece, at, size int64) stop {
	left := s.seg.Size - at
	s.add(b, LogFileMark, Damage, at, left, fmt.Sprintf("the mark at the end of the file says that %d bytes are left, there are %d", size, left))
	if again, _, err := s.resync(at); err == nil && again >= 0 {
		return stop{what: stopBroken, at: at}
	}
	return stop{what: s.ends()}
}

func (s *scanner) add(b *LogPiece, kind Kind, level Level, at, size int64, text string) {
	b.Findings = append(b.Findings, Finding{Kind: kind, Level: level, File: s.name(), At: at, Size: size, Phys: s.seg.Base + at, Text: text})
}

// broken decides what it means that no record starts at a position: damage with more of the log behind it, or the end of the log.
func (s *scanner) broken(b *LogPiece, at int64) (stop, error) {
	off := s.seg.Base + at
	again, dirty, err := s.resync(at)
	if err != nil {
		b.Findings = append(b.Findings, Finding{Kind: Unreadable, Level: Damage, File: s.name(), At: at, Text: err.Error()})
		return stop{what: stopFile}, nil
	}
	if s.Live && s.again(at) {
		return stop{what: stopChunk, at: at}, nil
	}
	later := s.n+1 < len(s.Files) && (s.Known > off || s.begins(s.n+1))
	left := s.seg.Size - at
	switch {
	case again >= 0 && (s.Known > off || later || s.Follow):
		s.add(b, LogHole, Damage, at, again-at, fmt.Sprintf("%d bytes are no record, and records follow; a start after a crash may cut the log here", again-at))
		return stop{what: stopChunk, at: again}, nil
	case later:
		s.add(b, LogHole, Damage, at, left, "the rest of the file is no record and no mark, and the log goes on in the next file; a start after a crash may cut it here")
		return stop{what: stopFile}, nil
	case s.Known > off:
		s.add(b, LogLost, Damage, at, left, fmt.Sprintf("the log ends at %d, and records up to %d are known to queues or checkpoint", off, s.Known))
	case again >= 0 || dirty:
		s.add(b, LogTail, Note, at, left, fmt.Sprintf("the log ends at %d; what stands behind it is no whole record, or one that no queue knows, and is not counted", off))
	}
	return stop{what: stopLog}, nil
}

// again tells whether a place where there was no record is to be looked at once more: a broker may have written it since it was read.
func (s *scanner) again(at int64) bool {
	if off := s.seg.Base + at; s.retried != off {
		s.retried, s.retries = off, 0
	}
	s.retries++
	return s.retries <= 3 && s.whole(at)
}

// begins tells whether a file of the log from the n-th on starts with a record, or with the mark of its end.
func (s *scanner) begins(n int) bool {
	for _, f := range s.Files[n:] {
		var head [36]byte
		if got, err := readAt(s.Log, f.Name, head[:], 0); err == nil && got == len(head) && recordHead(head[:], f.Base, f.Size) {
			return true
		}
	}
	return false
}

// recordHead tells whether a record that names its place may start here, with so many bytes left.
func recordHead(b []byte, off, left int64) bool {
	be := binary.BigEndian
	size := int64(int32(be.Uint32(b)))
	magic := be.Uint32(b[4:])
	if magic == record.MagicBlank {
		return size == left
	}
	return (magic == record.MagicV1 || magic == record.MagicV2) && size >= record.MinSize && size <= left && int64(be.Uint64(b[28:])) == off
}

// resync looks for the next record of the file behind a position, or for the mark at its end: -1 if there is none. dirty says whether
// anything but zeros was passed over.
func (s *scanner) resync(from int64) (at int64, dirty bool, err error) {
	const head = 36
	buf := make([]byte, 256<<10)
	for pos := from; pos < s.seg.Size; {
		n, err := readFrom(s.file, s.seg.Name, buf[:min(int64(len(buf)), s.seg.Size-pos)], pos)
		if err != nil {
			return -1, dirty, err
		}
		if n == 0 {
			break
		}
		w := buf[:n]
		if onlyZeros(w) {
			pos += int64(n)
			continue
		}
		dirty = true
		for i := 0; i+head <= len(w); i++ {
			k := nextMagic(w[i:])
			if k < 0 {
				break
			}
			i += k
			if i+head > len(w) {
				break
			}
			if p := pos + int64(i); p > from && recordHead(w[i:], s.seg.Base+p, s.seg.Size-p) && s.whole(p) {
				return p, dirty, nil
			}
		}
		if pos+int64(n) >= s.seg.Size {
			break
		}
		pos += int64(max(n-head, 1)) // a head may lie across the end of the piece
	}
	return -1, dirty, nil
}

// nextMagic is where a record or mark whose magic number stands in b would start; -1 for none.
func nextMagic(b []byte) int {
	if len(b) < 8 {
		return -1
	}
	k := bytes.Index(b[4:], []byte{0xDA, 0xA3, 0x20})
	if mark := bytes.Index(b[4:], []byte{0xCB, 0xD4, 0x31, 0x94}); k < 0 || mark >= 0 && mark < k {
		k = mark
	}
	return k
}

// whole tells whether a whole record, or a mark, starts at a position.
func (s *scanner) whole(at int64) bool {
	var head [8]byte
	if n, err := readFrom(s.file, s.seg.Name, head[:], at); err != nil || n < len(head) {
		return false
	}
	if binary.BigEndian.Uint32(head[4:]) == record.MagicBlank {
		return true
	}
	size := int64(int32(binary.BigEndian.Uint32(head[:])))
	if size > maxRecord {
		return false
	}
	b := make([]byte, size)
	n, err := readFrom(s.file, s.seg.Name, b, at)
	var h record.Header
	return err == nil && int64(n) == size && record.Parse(b, &h) == nil
}
