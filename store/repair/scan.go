package repair

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"

	"apogee/store/record"
	"apogee/store/vfs"
)

const (
	blankMagic = record.MagicBlank
	scanPiece  = 4 << 20   // read at once
	largest    = 256 << 20 // no record is longer
)

// logScan is what the log holds.
type logScan struct {
	files      []segment
	begin, end int64
	records    int64
	holes      []hole
	last       int64 // store time of the newest record
	keyed      int64 // offset of the first record that has index keys, -1 for none
}

// hole is a range of the log without records, though there are some behind it: damaged, or unused, or wrapped by a run before.
type hole struct {
	from, to int64
	unused   bool // the end of a full file: there never was anything
}

// holeOf is the hole that an offset lies in. They are in order once the log has been scanned.
func (l *logScan) holeOf(off int64) (hole, bool) {
	i := sort.Search(len(l.holes), func(i int) bool { return l.holes[i].to > off })
	if i < len(l.holes) && off >= l.holes[i].from {
		return l.holes[i], true
	}
	return hole{}, false
}

// scanLog reads the whole log: where it ends, what in it is no record, and what each queue ought to hold.
func (r *run) scanLog() error {
	l := &r.log
	l.keyed = -1
	r.queues = map[queueKey]*queueState{}
	if len(l.files) == 0 {
		return nil
	}
	l.begin, l.end = l.files[0].base, l.files[0].base
	r.rep.Begin = l.begin
	for i := 0; i < len(l.files); {
		next, err := r.scanFile(i)
		if err != nil {
			return err
		}
		if next < 0 {
			break
		}
		i = next
	}
	slices.SortFunc(l.holes, func(a, b hole) int { return cmp.Compare(a.from, b.from) })
	r.rep.End, r.rep.Records = l.end, l.records
	return r.lookTail()
}

// scanFile reads the i-th file from its start, and tells which to go on with; -1 after the end of the log.
func (r *run) scanFile(i int) (next int, err error) {
	l, f := &r.log, r.log.files[i]
	w, err := r.open(f)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, w.file.Close()) }()
	full := f.base + r.s.MappedFileSizeCommitLog
	for off := f.base; off < f.end(); {
		r.progress(off)
		h, bad, err := w.record(off)
		if err != nil {
			return 0, err
		}
		if bad == nil {
			r.take(off, h)
			off += int64(h.Size)
			l.end = off
			continue
		}
		if errors.Is(bad, record.ErrBlank) && off+int64(h.Size) == full {
			if i+1 < len(l.files) {
				l.end = full
				l.holes = append(l.holes, hole{off, full, true})
			}
			return r.nextFile(i), nil
		}
		to, err := r.resync(w, off+1)
		if err != nil {
			return 0, err
		}
		if to < 0 {
			if next, err = r.laterFile(i); err != nil || next < 0 {
				return -1, err
			}
			to = full
		}
		r.holeAt(off, to, bad)
		if to == full {
			l.end = full
			return next, nil
		}
		off = to
	}
	return r.nextFile(i), nil
}

func (r *run) nextFile(i int) int {
	if i+1 < len(r.log.files) {
		return i + 1
	}
	return -1
}

// laterFile is the first file behind the i-th that begins with a record, or with the mark of an unused file; -1 for none.
func (r *run) laterFile(i int) (int, error) {
	for n := i + 1; n < len(r.log.files); n++ {
		w, err := r.open(r.log.files[n])
		if err != nil {
			return 0, err
		}
		_, bad, err := w.record(r.log.files[n].base)
		if err := errors.Join(err, w.file.Close()); err != nil {
			return 0, err
		}
		if bad == nil {
			return n, nil
		}
	}
	return -1, nil
}

// take notes a record.
func (r *run) take(off int64, h *record.Header) {
	l := &r.log
	if wrapped(h) {
		l.holes = append(l.holes, hole{from: off, to: off + int64(h.Size)})
		return
	}
	l.records++
	l.last = max(l.last, h.StoreTimestamp)
	if h.CheckBody() != nil && !r.noted(off) {
		size := int64(h.Size)
		r.add(Step{
			Kind: LogBody, Path: r.below(r.fileOf(off)), At: at(off),
			Found: fmt.Sprintf("the body of a record of %d bytes is not what its checksum says", h.Size),
			Do:    "note it as damaged, so that nobody is given it; its bytes stay, and its place in the queue",
			Lost:  fmt.Sprintf("%s/%d at %d, key %q", h.Topic, h.QueueID, h.QueueOffset, record.Property(string(h.Properties), record.PropUniqKey)),
			apply: func() error { return r.note(off, off+size) },
		})
	}
	r.expect(off, h)
}

// wrapped tells whether a record was made by a run before, of damaged bytes.
func wrapped(h *record.Header) bool {
	return h.Tran() == record.SysTranRollback && h.QueueID == 0 && len(h.Properties) == 0 && (string(h.Topic) == fillerTopic || len(h.Topic) == 0)
}

func (r *run) fileOf(off int64) string {
	for _, f := range r.log.files {
		if off >= f.base && off < f.base+r.s.MappedFileSizeCommitLog {
			return f.path
		}
	}
	return r.s.CommitLogDir
}

// holeAt reports bytes that are no record, and wraps them.
func (r *run) holeAt(from, to int64, bad error) {
	name := r.fileOf(from)
	s := Step{
		Kind: LogHole, Path: r.below(name), At: at(from),
		Found: fmt.Sprintf("%d bytes are no record (%v), with records behind them", to-from, bad),
		Lost:  fmt.Sprintf("the messages between %d and %d; ", from, to),
	}
	if least := r.leastFiller(from, to); to-from < least {
		s.State, s.Do = Remains, fmt.Sprintf("nothing: fewer than %d bytes cannot be stepped over", least)
	} else {
		s.Do = "note them as damaged, and wrap them as a record that no queue has, so that what is behind them can be read; a copy goes to the quarantine"
		s.apply = func() error {
			if err := r.note(from, to); err != nil {
				return err
			}
			return r.fill(name, from, to)
		}
	}
	r.log.holes = append(r.log.holes, hole{from: from, to: to})
	r.add(s)
}

func (r *run) leastFiller(_, to int64) int64 {
	if to%r.s.MappedFileSizeCommitLog == 0 {
		return record.BlankSize
	}
	return record.MinSize
}

// window reads one file, piece by piece.
type window struct {
	file vfs.File
	seg  segment
	buf  []byte
	from int64 // log offset of buf[0]
	h    record.Header
}

func (r *run) open(f segment) (*window, error) {
	file, err := r.fs.Open(f.path)
	if err != nil {
		return nil, err
	}
	return &window{file: file, seg: f}, nil
}

// bytes are n bytes from off on, fewer at the end of the file.
func (w *window) bytes(off int64, n int) ([]byte, error) {
	if n = int(min(int64(n), w.seg.end()-off)); n <= 0 {
		return nil, nil
	}
	if off < w.from || off+int64(n) > w.from+int64(len(w.buf)) {
		size := int(min(int64(max(n, scanPiece)), w.seg.end()-off))
		if cap(w.buf) < size {
			w.buf = make([]byte, size)
		}
		w.buf, w.from = w.buf[:size], off
		if got, err := w.file.ReadAt(w.buf, off-w.seg.base); err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read %s: %w", w.seg.path, err)
		} else if got < size {
			w.buf = w.buf[:got]
			n = min(n, got)
		}
	}
	return w.buf[off-w.from:][:n], nil
}

var (
	errPlace = errors.New("it says that it starts elsewhere")
	errTopic = errors.New("its topic is damaged")
)

// record reads what starts at off; bad tells why it is none, and is record.ErrBlank at the mark that ends a file.
func (w *window) record(off int64) (h *record.Header, bad, err error) {
	b, err := w.bytes(off, record.BlankSize)
	if err != nil {
		return nil, nil, err
	}
	h = &w.h
	if bad := record.Parse(b, h); !errors.Is(bad, record.ErrShort) && !errors.Is(bad, record.ErrMalformed) || len(b) < record.BlankSize {
		return h, bad, nil
	}
	size := int64(int32(binary.BigEndian.Uint32(b)))
	if size < record.MinSize || size > min(largest, w.seg.end()-off) {
		return h, record.ErrMalformed, nil
	}
	if b, err = w.bytes(off, int(size)); err != nil {
		return nil, nil, err
	}
	if bad := record.Parse(b, h); bad != nil {
		return h, bad, nil
	}
	if h.PhysicalOffset != off {
		return h, errPlace, nil
	}
	for _, c := range h.Topic {
		if c < ' ' { // recovery does not believe it
			return h, errTopic, nil
		}
	}
	return h, nil, nil
}

// resync is the first offset from off on, of the same file, where a record starts, or the mark that ends the file; -1 for none.
func (r *run) resync(w *window, off int64) (int64, error) {
	for off+record.BlankSize <= w.seg.end() {
		b, err := w.bytes(off, scanPiece)
		if err != nil {
			return 0, err
		}
		if len(b) < record.BlankSize {
			return -1, nil
		}
		for i := 0; i+record.BlankSize <= len(b); i++ {
			switch binary.BigEndian.Uint32(b[i+4:]) {
			case record.MagicV1, record.MagicV2:
			case record.MagicBlank:
				if off+int64(i)+int64(int32(binary.BigEndian.Uint32(b[i:]))) == w.seg.base+r.s.MappedFileSizeCommitLog {
					return off + int64(i), nil
				}
				continue
			default:
				continue
			}
			if binary.BigEndian.Uint32(b[i:]) == 0 {
				continue
			}
			// The look at it may move the window, so the search begins again behind it.
			at := off + int64(i)
			_, bad, err := w.record(at)
			if err != nil {
				return 0, err
			}
			if bad == nil {
				return at, nil
			}
			if b, err = w.bytes(off, scanPiece); err != nil {
				return 0, err
			}
		}
		off += int64(len(b) - record.BlankSize + 1)
	}
	return -1, nil
}

// lookTail looks at what is behind the end of the log: zeros, or what a crash has left.
func (r *run) lookTail() error {
	l := &r.log
	for _, f := range l.files {
		if f.end() <= l.end {
			continue
		}
		from := max(f.base, l.end)
		dirty, err := r.dirtyRange(f, from)
		if err != nil {
			return err
		}
		if dirty == 0 || from == l.end && r.isMark(f, from) {
			continue
		}
		r.add(Step{
			Kind: LogTail, Path: r.below(f.path), At: at(from), Found: fmt.Sprintf("%d bytes behind the end of the log that are no record: a write that was cut short", dirty),
			Do:    "copy them to the quarantine and clear them",
			Lost:  "nothing that was acknowledged and flushed: no whole record is among them",
			apply: func() error { return r.clearTail(f, from, from+dirty) },
		})
	}
	return nil
}

// isMark tells whether the log ends with the mark of a full file: the next record overwrites it.
func (r *run) isMark(f segment, off int64) bool {
	w, err := r.open(f)
	if err != nil {
		return false
	}
	h, bad, err := w.record(off)
	return errors.Join(err, w.file.Close()) == nil && errors.Is(bad, record.ErrBlank) && off+int64(h.Size) == f.base+r.s.MappedFileSizeCommitLog
}

// dirtyRange is how many bytes from off on reach up to the last one that is not zero.
func (r *run) dirtyRange(f segment, off int64) (n int64, err error) {
	w, err := r.open(f)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, w.file.Close()) }()
	for p := off; p < f.end(); {
		b, err := w.bytes(p, scanPiece)
		if err != nil || len(b) == 0 {
			return n, err
		}
		for i := len(b) - 1; i >= 0; i-- {
			if b[i] != 0 {
				n = p + int64(i) + 1 - off
				break
			}
		}
		p += int64(len(b))
	}
	return n, nil
}

func (r *run) progress(off int64) {
	if r.o.Progress != nil && len(r.log.files) > 0 {
		first := r.log.files[0].base
		r.o.Progress(off-first, r.log.files[len(r.log.files)-1].end()-first)
	}
}
