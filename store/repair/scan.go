package repair

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"sort"

	"apogee/store/record"
	"apogee/store/verify"
	"apogee/store/vfs"
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
	unused   bool   // the end of a full file: there never was anything
	wrapped  bool   // by a run before
	missing  bool   // there is no file
	why      string // it is damaged

	gone []extent // entries of queues that point here
	need int64    // as many records of one queue have been here at least
}

// extent is where a record was.
type extent struct{ from, size int64 }

// holeOf is the hole that an offset lies in. They are in order once the log has been scanned.
func (l *logScan) holeOf(off int64) *hole {
	i := sort.Search(len(l.holes), func(i int) bool { return l.holes[i].to > off })
	if i < len(l.holes) && off >= l.holes[i].from {
		return &l.holes[i]
	}
	return nil
}

// add notes a hole; damaged parts side by side, and wrapped ones, are one.
func (l *logScan) add(h hole) {
	if n := len(l.holes); n > 0 {
		last := &l.holes[n-1]
		if last.to == h.from && !last.unused && !h.unused && last.wrapped == h.wrapped && !last.missing && !h.missing {
			last.to = h.to
			return
		}
	}
	l.holes = append(l.holes, h)
}

// lost has the hole between two records of a queue that so many are lost of hold as many.
func (l *logScan) lost(n, from, to int64) {
	i := sort.Search(len(l.holes), func(i int) bool { return l.holes[i].from >= from })
	for ; i < len(l.holes) && l.holes[i].to <= to; i++ {
		if h := &l.holes[i]; !h.unused && h.to-h.from >= n {
			h.need = max(h.need, n)
			return
		}
	}
}

// pieces are the parts of the log. What does not stand where it says, or has a topic that recovery does not believe, is no record.
func (r *run) pieces() func(func(*verify.LogPiece, error) bool) {
	scan := verify.LogScan{Log: vfs.ReadOnly(r.fs, r.s.CommitLogDir), Follow: true, Check: func(_ *verify.LogPiece, f *verify.LogRecord, _ []byte) bool {
		return f.Head.PhysicalOffset == f.Off && !slices.ContainsFunc(f.Head.Topic, func(c byte) bool { return c < ' ' })
	}}
	for _, f := range r.log.files {
		scan.Files = append(scan.Files, verify.LogSegment{Name: path.Base(f.path), Base: f.base, Size: f.size})
	}
	return scan.Pieces(context.Background())
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
	for p, err := range r.pieces() {
		if err != nil {
			return err
		}
		for i := range p.Records {
			f := &p.Records[i]
			r.passTo(f.Off)
			r.take(f.Off, &f.Head)
			l.end = f.Off + int64(f.Head.Size)
		}
		for _, f := range p.Findings {
			if err := r.takeFinding(&f); err != nil {
				return err
			}
		}
		r.passTo(p.End)
		r.progress(l.end)
	}
	for i := range l.holes {
		if h := &l.holes[i]; h.why != "" {
			r.holeStep(h)
		}
	}
	r.rep.End, r.rep.Records = l.end, l.records
	return r.lookTail()
}

// takeFinding notes what the scan says of a stretch without records.
func (r *run) takeFinding(f *verify.Finding) error {
	l, to := &r.log, f.Phys+f.Size
	switch f.Kind {
	case verify.Unreadable:
		return fmt.Errorf("read %s: %s", f.File, f.Text)
	case verify.LogHole:
	case verify.LogFileMark:
		if f.Phys >= l.files[len(l.files)-1].base {
			return nil // what comes next overwrites it
		}
	default:
		return nil
	}
	r.passTo(f.Phys)
	if file := r.fileAt(f.Phys); to == file.end() {
		to = file.base + r.s.MappedFileSizeCommitLog
	}
	if to > l.end {
		l.add(hole{from: l.end, to: to, why: f.Text})
		l.end = to
	}
	return nil
}

// passTo notes that there is nothing up to an offset: the unused ends of files, what was cut off of them, and files that are missing.
func (r *run) passTo(to int64) {
	l, size := &r.log, r.s.MappedFileSizeCommitLog
	for l.end < to {
		next := min((l.end/size+1)*size, to)
		switch f := r.fileAt(l.end); {
		case f == nil:
			l.add(hole{from: l.end, to: next, missing: true})
		case f.size < size:
			l.add(hole{from: l.end, to: next, why: "the file was cut off"})
		default:
			l.add(hole{from: l.end, to: next, unused: true})
		}
		l.end = next
	}
}

// take notes a record.
func (r *run) take(off int64, h *record.Header) {
	l := &r.log
	if h.Wrapped() {
		l.add(hole{from: off, to: off + int64(h.Size), wrapped: true})
		return
	}
	l.records++
	l.last = max(l.last, h.StoreTimestamp)
	if h.CheckBody() != nil && !r.noted(off) {
		size := int64(h.Size)
		r.add(Step{
			Kind: LogBody, Path: r.below(r.fileAt(off).path), At: at(off),
			Found: fmt.Sprintf("the body of a record of %d bytes is not what its checksum says", h.Size),
			Do:    "note it as damaged, so that nobody is given it; its bytes stay, and its place in the queue",
			Lost:  fmt.Sprintf("%s/%d at %d, key %q", h.Topic, h.QueueID, h.QueueOffset, record.Property(string(h.Properties), record.PropUniqKey)),
			apply: func() error { return r.note(off, off+size) },
		})
	}
	r.expect(off, h)
}

// fileAt is the file that an offset is in, nil for none.
func (r *run) fileAt(off int64) *segment {
	for i := range r.log.files {
		if f := &r.log.files[i]; off >= f.base && off < f.base+r.s.MappedFileSizeCommitLog {
			return f
		}
	}
	return nil
}

// holeStep reports bytes that are no record, and wraps them.
func (r *run) holeStep(h *hole) {
	from, to := h.from, h.to
	name := r.fileAt(from).path
	s := Step{
		Kind: LogHole, Path: r.below(name), At: at(from),
		Found: fmt.Sprintf("%d bytes are no record, with records behind them: %s", to-from, h.why),
		Lost:  fmt.Sprintf("the messages between %d and %d; ", from, to),
	}
	least := int64(record.MinSize)
	if to%r.s.MappedFileSizeCommitLog == 0 {
		least = record.BlankSize
	}
	if to-from < least {
		s.State, s.Do = Remains, fmt.Sprintf("nothing: fewer than %d bytes cannot be stepped over", least)
	} else {
		s.Do = "note them as damaged, and wrap them as records that no queue has, so that what is behind them can be read; a copy goes to the quarantine"
		s.apply = func() error {
			if err := r.note(from, to); err != nil {
				return err
			}
			return r.fill(name, r.log.holeOf(from))
		}
	}
	r.add(s)
}

// lookTail looks at what is behind the end of the log: zeros, or what a crash has left.
func (r *run) lookTail() error {
	l := &r.log
	for _, f := range l.files {
		if f.end() <= l.end {
			continue
		}
		from := max(f.base, l.end)
		dirty, mark, err := r.behindEnd(f, from)
		if err != nil {
			return err
		}
		if dirty == 0 || from == l.end && mark { // of a full file: the next record overwrites it
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

// behindEnd is how many bytes of a file from an offset on reach up to the last one that is not zero, and whether they begin with a mark that
// ends the file.
func (r *run) behindEnd(f segment, off int64) (dirty int64, mark bool, err error) {
	file, err := r.fs.Open(f.path)
	if err != nil {
		return 0, false, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	buf := make([]byte, min(4<<20, f.end()-off))
	for p := off; p < f.end(); {
		n, err := file.ReadAt(buf[:min(int64(len(buf)), f.end()-p)], p-f.base)
		if n == 0 {
			if err != nil && !errors.Is(err, io.EOF) {
				return 0, false, fmt.Errorf("read %s: %w", f.path, err)
			}
			break
		}
		var h record.Header
		mark = mark || p == off && errors.Is(record.Parse(buf[:n], &h), record.ErrBlank) && off+int64(h.Size) == f.base+r.s.MappedFileSizeCommitLog
		for i := n - 1; i >= 0; i-- {
			if buf[i] != 0 {
				dirty = p + int64(i) + 1 - off
				break
			}
		}
		p += int64(n)
	}
	return dirty, mark, nil
}

func (r *run) progress(off int64) {
	if r.o.Progress != nil && len(r.log.files) > 0 {
		first := r.log.files[0].base
		r.o.Progress(off-first, r.log.files[len(r.log.files)-1].end()-first)
	}
}
