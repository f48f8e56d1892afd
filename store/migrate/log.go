package migrate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"time"

	"apogee/store/record"
	"apogee/store/vfs"
)

func (r *run) copyLog() error {
	if r.j.LogDone || len(r.log) == 0 {
		return nil
	}
	if err := makeDir(r.FS, r.DstLog); err != nil {
		return err
	}
	copyAll := r.copySegments
	if r.rewrites() {
		copyAll = r.rewriteLog
	}
	if err := copyAll(); err != nil {
		return err
	}
	r.j.LogDone = true
	return r.save()
}

// copySegments copies the files as they are.
func (r *run) copySegments() error {
	for i := r.j.Files; i < len(r.log); i++ {
		s := r.log[i]
		if err := r.copyFile("log", s.path, path.Join(r.DstLog, s.name), vfs.Info{Size: s.size, ModTime: s.modified}, nil); err != nil {
			return err
		}
		if err := r.FS.SyncDir(r.DstLog); err != nil {
			return err
		}
		r.j.Files = i + 1
		if err := r.save(); err != nil {
			return err
		}
	}
	return nil
}

// saveEvery is after how many bytes of a rewritten log the journal is written.
const saveEvery = 64 << 20

// rewriteLog writes each record to the next place of the new log.
func (r *run) rewriteLog() error {
	w := &logWriter{r: r, size: r.LogFile, next: r.j.To}
	if err := w.resume(); err != nil {
		return err
	}
	saved := r.j.From
	src := r.walk(r.log, r.j.From)
	defer src.close()
	for {
		rec, off, err := src.next()
		if err != nil || rec == nil {
			return errors.Join(err, w.close())
		}
		if err := w.put(rec, off, src.modified()); err != nil {
			return errors.Join(err, w.close())
		}
		if src.off-saved >= saveEvery {
			if err := errors.Join(w.flush(), w.file.Sync()); err != nil {
				return err
			}
			r.j.From, r.j.To = src.off, w.next
			if err := r.save(); err != nil {
				return err
			}
			saved = src.off
		}
	}
}

// logWriter writes a log of files of one size.
type logWriter struct {
	r    *run
	size int64
	next int64 // where the next record goes
	file vfs.File
	name string
	last time.Time // of the file that the last record came from: a broker deletes log files by that time
	buf  []byte
	from int64 // log offset of buf
}

// resume opens the file that the journal says is begun, and clears what a killed run has written behind it.
func (w *logWriter) resume() error {
	w.from = w.next
	pos := w.next % w.size
	if pos == 0 {
		return nil
	}
	w.name = path.Join(w.r.DstLog, fmt.Sprintf("%020d", w.next-pos))
	var err error
	if w.file, err = w.r.FS.Open(w.name); err != nil {
		return err
	}
	return w.file.Zero(pos, w.size-pos)
}

// put adds a record that stood at an offset of the source.
func (w *logWriter) put(rec []byte, old int64, modified time.Time) error {
	n := int64(len(rec))
	if n+record.BlankSize > w.size {
		return fmt.Errorf("the record at %d has %d bytes and does not fit into a file of %d: choose a larger mappedFileSizeCommitLog", old, n, w.size)
	}
	if rest := w.size - w.next%w.size; w.file != nil && rest < w.size && n+record.BlankSize > rest {
		w.buf = append(w.buf, make([]byte, record.BlankSize)...)
		record.PutBlank(w.buf[len(w.buf)-record.BlankSize:], int32(rest))
		if err := w.close(); err != nil {
			return err
		}
		w.next += rest
		w.from = w.next
	}
	if w.file == nil {
		w.name = path.Join(w.r.DstLog, fmt.Sprintf("%020d", w.next))
		var err error
		if w.file, err = create(w.r.FS, w.name, w.size); err != nil {
			return err
		}
	}
	w.r.j.Pieces.note(old, w.next)
	w.r.noteMoved(moved{old, w.next, n})
	at := len(w.buf)
	w.buf = append(w.buf, rec...)
	w.r.place(w.buf[at:], w.next)
	w.next += n
	w.last = modified
	if len(w.buf) >= pieceSize {
		return w.flush()
	}
	return nil
}

func (w *logWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	_, err := w.file.WriteAt(w.buf, w.from%w.size)
	w.from += int64(len(w.buf))
	w.buf = w.buf[:0]
	return err
}

// close ends a file.
func (w *logWriter) close() error {
	if w.file == nil {
		return nil
	}
	err := errors.Join(w.flush(), w.file.Sync(), w.file.Close())
	if err == nil && !w.last.IsZero() {
		err = vfs.SetModTime(w.r.FS, w.name, w.last)
	}
	w.file = nil
	return errors.Join(err, w.r.FS.SyncDir(w.r.DstLog))
}

// place makes a record say where it is: itself, and of a committed message where its first half is. A checksum over all of it is renewed.
func (r *run) place(rec []byte, now int64) {
	var h record.Header
	if record.Parse(rec, &h) != nil {
		return // walk has parsed it
	}
	sealed := h.CheckPropCRC(rec, true) == nil
	record.PutPhysical(rec, now)
	if h.PreparedOffset > 0 {
		record.PutPrepared(rec, r.j.Pieces.of(h.PreparedOffset))
	}
	if sealed {
		record.SealCRC(rec)
	}
}

// walker reads a log record by record.
type walker struct {
	r     *run
	files []segment
	off   int64 // of the next record
	file  vfs.File
	open  int // which file it is
	buf   []byte
	from  int64
	h     record.Header
}

func (r *run) walk(files []segment, from int64) *walker {
	return &walker{r: r, files: files, off: from, open: -1}
}

func (w *walker) close() {
	if w.file != nil {
		_ = w.file.Close()
	}
}

func (w *walker) modified() time.Time { return w.files[w.open].modified }

var errDamaged = errors.New("no whole record: run apogee store repair --apply on the source first")

// next is the next record and its offset, nil at the end of the log. It is valid until the call after.
func (w *walker) next() (rec []byte, off int64, err error) {
	for {
		i := int((w.off - w.files[0].base) / w.files[0].size)
		if i >= len(w.files) {
			return nil, w.off, nil
		}
		if err := w.use(i); err != nil {
			return nil, 0, err
		}
		b, err := w.bytes(record.BlankSize)
		if err != nil || len(b) < record.BlankSize {
			return nil, w.off, err
		}
		size := int64(int32(binary.BigEndian.Uint32(b)))
		switch magic := binary.BigEndian.Uint32(b[4:]); {
		case magic == record.MagicBlank && w.off+size == w.files[i].end():
			if i+1 == len(w.files) {
				return nil, w.off, nil
			}
			w.off = w.files[i].end()
			continue
		case magic == 0 && size == 0:
			return nil, w.off, nil
		case size < record.MinSize || w.off+size > w.files[i].end():
			return nil, 0, fmt.Errorf("log at %d: %w", w.off, errDamaged)
		}
		if b, err = w.bytes(size); err != nil {
			return nil, 0, err
		}
		if record.Parse(b, &w.h) != nil || w.h.PhysicalOffset != w.off {
			return nil, 0, fmt.Errorf("log at %d: %w", w.off, errDamaged)
		}
		off = w.off
		w.off += size
		return b, off, nil
	}
}

func (w *walker) use(i int) (err error) {
	if w.open == i {
		return nil
	}
	if w.file != nil {
		err = w.file.Close()
	}
	f, err2 := w.r.FS.Open(w.files[i].path)
	w.file, w.open, w.buf, w.from = f, i, w.buf[:0], w.off
	return errors.Join(err, err2)
}

func (w *walker) bytes(n int64) ([]byte, error) {
	s := w.files[w.open]
	n = min(n, s.end()-w.off)
	if w.off < w.from || w.off+n > w.from+int64(len(w.buf)) {
		size := min(max(n, 4*pieceSize), s.end()-w.off)
		if int64(cap(w.buf)) < size {
			w.buf = make([]byte, size)
		}
		w.buf, w.from = w.buf[:size], w.off
		if got, err := w.file.ReadAt(w.buf, w.off-s.base); err != nil && !errors.Is(err, io.EOF) || int64(got) < size {
			return nil, fmt.Errorf("read %s: %d bytes of %d: %w", s.path, got, size, errors.Join(err, io.ErrUnexpectedEOF))
		}
		if err := w.r.pace("log", size); err != nil {
			return nil, err
		}
	}
	return w.buf[w.off-w.from:][:n], nil
}
