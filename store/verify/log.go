package verify

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"unicode/utf8"
	"unsafe"

	"apogee/store/record"
)

// Sizes of reads.
const (
	chunkSize = 1 << 20
	// maxRecord bounds what is read for one record; a larger size is damage. Nobody sets maxMessageSize beyond this.
	maxRecord = 256 << 20
	// batches are pieces of the log on their way from the reader to the merge.
	batches = 4
)

// batch is a piece of the log: the records in it, and what was found on the way.
type batch struct {
	buf      []byte
	recs     []found
	findings []Finding
	min, end int64 // of the log that has been read
}

// found is one record.
type found struct {
	off int64
	h   record.Header
	rec []byte
}

// scanner reads the log from start to end.
type scanner struct {
	r     *run
	ctx   context.Context
	known int64 // a record that ends here is known to queues or the checkpoint
	free  chan *batch
	out   chan *batch

	file     fs.File
	seg      segment
	n        int // number of seg in the log
	min, end int64
	some     bool  // a record was read
	retried  int64 // where a record was looked for once more, and how often
	retries  int
	err      error
}

// checkLog reads the log, and merges queues and index files with it.
func (r *run) checkLog() error {
	if len(r.log) == 0 {
		r.queues.finish(r)
		return nil
	}
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	s := &scanner{r: r, ctx: ctx, known: max(r.queues.known, r.cp.LogicsPhysical), min: r.logMin, end: r.logMin}
	s.free, s.out = make(chan *batch, batches), make(chan *batch, batches)
	for range batches {
		s.free <- &batch{buf: make([]byte, min(chunkSize, r.log[0].size+record.BlankSize))}
	}
	go func() {
		s.err = s.scan()
		close(s.out)
	}()
	first, total := r.log[0].base, int64(0)
	for _, f := range r.log {
		total += f.size
	}
	for b := range s.out {
		for _, f := range b.findings {
			r.report(f)
		}
		r.logMin = b.min
		for i := range b.recs {
			r.join(&b.recs[i])
		}
		r.logEnd = b.end
		if r.Progress != nil {
			r.Progress(b.end-first, total)
		}
		s.free <- b
	}
	if s.err != nil {
		return s.err
	}
	r.logMin, r.logEnd = s.min, s.end
	r.queues.finish(r)
	r.index.finish(r)
	r.checkMarks()
	return nil
}

// scan reads file after file.
func (s *scanner) scan() error {
	for s.n = range s.r.log {
		s.seg = s.r.log[s.n]
		more, err := s.scanFile()
		if err != nil || !more {
			return err
		}
		s.end = max(s.end, s.seg.end())
	}
	// The last file ends in a mark, or at its very end: what comes next would overwrite the mark.
	return nil
}

// take gets a batch to fill.
func (s *scanner) take() (*batch, error) {
	select {
	case b := <-s.free:
		b.recs, b.findings = b.recs[:0], b.findings[:0]
		return b, nil
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
}

// send hands a batch on.
func (s *scanner) send(b *batch) error {
	b.min, b.end = s.min, s.end
	select {
	case s.out <- b:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// scanFile reads one file; false ends the log.
func (s *scanner) scanFile() (more bool, err error) {
	if s.file, err = s.r.Log.Open(s.seg.name); err != nil {
		return s.closed(err)
	}
	defer func() { err = errors.Join(err, s.file.Close()) }()
	need := int64(chunkSize)
	for at := int64(0); at+record.BlankSize <= s.seg.size; {
		b, err := s.take()
		if err != nil {
			return false, err
		}
		if int64(len(b.buf)) < need {
			b.buf = make([]byte, need)
		}
		want := min(int64(len(b.buf)), s.seg.size-at)
		n, err := readFrom(s.file, s.seg.name, b.buf[:want], at)
		if err != nil || int64(n) < want {
			if err == nil {
				err = errors.New("the file is shorter than it was")
			}
			b.findings = append(b.findings, Finding{Kind: Unreadable, Level: Damage, File: s.name(), At: at, Text: err.Error()})
			return true, s.send(b)
		}
		got := s.cut(b, b.buf[:n], at)
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
	return true, nil
}

// closed is for a file that cannot be opened. The first ones may go while a broker is at work.
func (s *scanner) closed(err error) (bool, error) {
	b, ctxErr := s.take()
	if ctxErr != nil {
		return false, ctxErr
	}
	if s.r.Live && !s.some && errors.Is(err, fs.ErrNotExist) {
		s.min = s.seg.end()
	} else {
		b.findings = append(b.findings, Finding{Kind: Unreadable, Level: Damage, File: s.name(), At: -1, Text: err.Error()})
	}
	return true, s.send(b)
}

func (s *scanner) name() string { return below(logDir, s.seg.name) }

// stop says why reading a piece ended, and where to go on.
type stop struct {
	what stopReason
	at   int64 // position in the file
	need int64 // bytes of the record that starts there
}

type stopReason int

const (
	stopChunk  stopReason = iota // the piece is used up
	stopBroken                   // no record starts here
	stopFile                     // the file ends
	stopLog                      // the log ends
)

// cut finds the records of a piece that starts at a position of the file.
func (s *scanner) cut(b *batch, data []byte, from int64) stop {
	var h record.Header
	for pos := int64(0); ; {
		at, rest := from+pos, data[pos:]
		left := s.seg.size - at // in the file
		if left < record.BlankSize {
			return stop{what: stopFile}
		}
		if len(rest) < record.BlankSize {
			return stop{what: stopChunk, at: at}
		}
		err := record.Parse(rest, &h)
		size := int64(int32(binary.BigEndian.Uint32(rest)))
		switch {
		case err == nil:
			if bad := s.check(b, at, rest, &h); bad {
				return stop{what: stopBroken, at: at}
			}
			b.recs = append(b.recs, found{s.seg.base + at, h, rest[:h.Size]})
			s.some = true
			pos += int64(h.Size)
			s.end = s.seg.base + from + pos
		case errors.Is(err, record.ErrBlank):
			if size != left {
				b.findings = append(b.findings, Finding{
					Kind: LogFileMark, Level: Damage, File: s.name(), At: at,
					Text: fmt.Sprintf("the mark at the end of the file says that %d bytes are left, there are %d", size, left),
				})
			}
			if s.n == len(s.r.log)-1 {
				return stop{what: stopLog} // what comes next overwrites the mark
			}
			return stop{what: stopFile}
		case errors.Is(err, record.ErrShort) && int64(len(rest)) < left && size <= min(left, maxRecord):
			return stop{what: stopChunk, at: at, need: size}
		default:
			return stop{what: stopBroken, at: at}
		}
	}
}

// check looks at one record. True says that it is none: its checksum is wrong, and nothing says that it ever was there as a whole.
func (s *scanner) check(b *batch, at int64, rest []byte, h *record.Header) (none bool) {
	off := s.seg.base + at
	add := func(kind Kind, level Level, text string) {
		b.findings = append(b.findings, Finding{
			Kind: kind, Level: level, File: s.name(), At: at, Size: int64(h.Size), Count: 1,
			Topic: string(bytes.ToValidUTF8(h.Topic, []byte("?"))), Queue: h.QueueID, Offset: h.QueueOffset, Phys: off, Text: text,
		})
	}
	err := h.CheckBody()
	if err != nil && !s.vouched(rest, off, h) {
		return true
	}
	if err != nil {
		add(LogBody, Damage, fmt.Sprintf("the body of %d bytes is not what its checksum says", len(h.Body)))
	}
	if err := h.CheckPropCRC(rest[:h.Size], false); err != nil {
		if !s.vouched(rest, off, h) {
			return true
		}
		add(LogProps, Damage, "the record is not what the checksum in its properties says")
	}
	if h.PhysicalOffset != off {
		add(LogPlace, Damage, fmt.Sprintf("the record at %d says that it starts at %d", off, h.PhysicalOffset))
	}
	if why := badFields(h); why != "" {
		add(LogFields, Damage, why)
	}
	if why := badProperties(h.Properties); why != "" {
		add(LogProps, Damage, why)
	} else if !utf8.Valid(h.Properties) {
		add(LogProps, Note, "the properties are no UTF-8")
	}
	return false
}

// vouched tells whether a record whose checksum is wrong was there before: a queue knows it, or another record follows.
func (s *scanner) vouched(rest []byte, off int64, h *record.Header) bool {
	if s.known >= off+int64(h.Size) {
		return true
	}
	var next record.Header
	err := record.Parse(rest[h.Size:], &next)
	return err == nil && next.PhysicalOffset == off+int64(h.Size) && next.CheckBody() == nil
}

func badFields(h *record.Header) string {
	switch {
	case h.QueueID < 0:
		return fmt.Sprintf("queue id %d", h.QueueID)
	case h.QueueOffset < 0:
		return fmt.Sprintf("queue offset %d", h.QueueOffset)
	case h.StoreTimestamp <= 0:
		return fmt.Sprintf("stored at %d ms", h.StoreTimestamp)
	case len(h.Topic) == 0:
		return "no topic"
	}
	for _, c := range h.Topic {
		if c < ' ' {
			return fmt.Sprintf("topic %q", h.Topic)
		}
	}
	return ""
}

// badProperties tells what is wrong with a properties string: a pair without a name, or without an end of the name.
func badProperties(p []byte) string {
	for len(p) > 0 {
		pair := p
		if i := bytes.IndexByte(p, record.PairEnd); i >= 0 {
			pair, p = p[:i], p[i+1:]
		} else {
			p = nil
		}
		if len(pair) == 0 {
			continue
		}
		if k := bytes.IndexByte(pair, record.NameEnd); k <= 0 {
			return fmt.Sprintf("a property that is no name and value: %.60q", pair)
		}
	}
	return ""
}

// broken decides what it means that no record starts at a position: damage with more of the log behind it, or the end of the log.
func (s *scanner) broken(b *batch, at int64) (stop, error) {
	off := s.seg.base + at
	again, dirty, err := s.resync(at)
	if err != nil {
		b.findings = append(b.findings, Finding{Kind: Unreadable, Level: Damage, File: s.name(), At: at, Text: err.Error()})
		return stop{what: stopFile}, nil
	}
	if s.r.Live && s.again(at) {
		return stop{what: stopChunk, at: at}, nil
	}
	later := s.n+1 < len(s.r.log) && (s.known > off || s.begins(s.n+1))
	add := func(kind Kind, level Level, size int64, text string) {
		b.findings = append(b.findings, Finding{Kind: kind, Level: level, File: s.name(), At: at, Size: size, Phys: off, Text: text})
	}
	switch {
	case again >= 0 && (s.known > off || later || s.r.queues.known == 0):
		add(LogHole, Damage, again-at, fmt.Sprintf("%d bytes are no record, and records follow; a start after a crash may cut the log here", again-at))
		return stop{what: stopChunk, at: again}, nil
	case later:
		add(LogHole, Damage, s.seg.size-at, "the rest of the file is no record and no mark, and the log goes on in the next file; a start after a crash may cut it here")
		return stop{what: stopFile}, nil
	case s.known > off:
		add(LogLost, s.r.afterCrash(), s.seg.size-at, fmt.Sprintf("the log ends at %d, and records up to %d are known to queues or checkpoint", off, s.known))
	case again >= 0 || dirty:
		level := Note
		if !s.r.clean {
			level = Recoverable
		}
		add(LogTail, level, s.seg.size-at, fmt.Sprintf("the log ends at %d; what stands behind it is no whole record, or one that no queue knows, and is not counted", off))
	}
	return stop{what: stopLog}, nil
}

// again tells whether a place where there was no record is to be looked at once more: a broker may have written it since it was read.
func (s *scanner) again(at int64) bool {
	if off := s.seg.base + at; s.retried != off {
		s.retried, s.retries = off, 0
	}
	s.retries++
	return s.retries <= 3 && s.whole(at)
}

// begins tells whether a file of the log starts with a record, or with the mark of its end.
func (s *scanner) begins(n int) bool {
	var head [36]byte
	f := s.r.log[n]
	if got, err := readAt(s.r.Log, f.name, head[:], 0); err != nil || got < len(head) {
		return false
	}
	return recordHead(head[:], f.base, f.size)
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
	for pos := from; pos < s.seg.size; {
		n, err := readFrom(s.file, s.seg.name, buf[:min(int64(len(buf)), s.seg.size-pos)], pos)
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
			if p := pos + int64(i); p > from && recordHead(w[i:], s.seg.base+p, s.seg.size-p) && s.whole(p) {
				return p, dirty, nil
			}
		}
		if pos+int64(n) >= s.seg.size {
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
	if n, err := readFrom(s.file, s.seg.name, head[:], at); err != nil || n < len(head) {
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
	n, err := readFrom(s.file, s.seg.name, b, at)
	var h record.Header
	return err == nil && int64(n) == size && record.Parse(b, &h) == nil
}

// join holds queues and index against a record.
func (r *run) join(f *found) {
	r.res.Records++
	h := &f.h
	r.newest = max(r.newest, h.StoreTimestamp)
	words := record.ReadWords(view(h.Properties))
	if t := h.Tran(); t != record.SysTranPrepared && t != record.SysTranRollback && h.QueueID >= 0 {
		r.queues.join(r, f, &words)
	}
	r.index.join(r, f, &words)
}

// view is the string that shares b's bytes.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
