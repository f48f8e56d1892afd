package migrate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"apogee/store/vfs"
)

// blankSize is the record size of entries that only fill the start of a queue's first file (spec: store.md 4.1).
const blankSize = 0x7FFFFFFF

// queueBatch is after how many queues the journal is written.
const queueBatch = 256

func (r *run) copyQueues() error {
	for i := r.j.Queues; i < len(r.queues); i++ {
		if err := r.copyQueue(r.queues[i]); err != nil {
			return err
		}
		if n := i + 1; n%queueBatch == 0 || n == len(r.queues) {
			if err := r.settle(r.queues[r.j.Queues:n]); err != nil {
				return err
			}
			r.j.Queues = n
			if err := r.save(); err != nil {
				return err
			}
		}
	}
	return nil
}

// settle makes queues durable: all at once, where the system can.
func (r *run) settle(queues []queueDir) error {
	err := r.FS.SyncAll(r.Dst)
	if !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	for _, q := range queues {
		dir := q.path(r.Dst)
		files, err := segments(r.FS, dir)
		if err != nil {
			return err
		}
		for _, s := range files {
			f, err := r.FS.Open(s.path)
			if err == nil {
				err = errors.Join(f.Sync(), f.Close())
			}
			if err != nil {
				return err
			}
		}
		for d := dir; inside(d, r.Dst); d = path.Dir(d) {
			if err := r.FS.SyncDir(d); err != nil {
				return err
			}
		}
	}
	return nil
}

// sizeOf is the size of the copy's files of a tree.
func (r *run) sizeOf(tree string) int64 {
	switch tree {
	case simpleTree:
		return r.QueueFile
	case batchTree:
		return r.BatchQueueFile
	default:
		return r.qsize[extTree]
	}
}

// copyQueue cuts the entries of a queue into files of the new size. An entry keeps its place, since that is its queue offset.
func (r *run) copyQueue(q queueDir) error {
	files, err := segments(r.FS, q.path(r.Src))
	if err != nil {
		return err
	}
	if err := r.FS.MkdirAll(q.path(r.Dst)); err != nil {
		return err
	}
	if err := r.clear(q.path(r.Dst)); err != nil || len(files) == 0 {
		return err
	}
	w := &queueWriter{r: r, dir: q.path(r.Dst), size: r.sizeOf(q.tree), tree: q.tree}
	if err := w.begin(files[0].base); err != nil {
		return err
	}
	err = r.eachPiece(files, unitOf[q.tree], func(at int64, b []byte) (bool, error) {
		if q.tree == extTree {
			return true, w.put(b)
		}
		n := 0
		for unit := unitOf[q.tree]; n < len(b) && validUnit(b[n:], unit); n += int(unit) {
			if err := r.misled(int64(binary.BigEndian.Uint64(b[n:]))); err != nil {
				return false, fmt.Errorf("queue %s/%s: %w", q.topic, q.id, err)
			}
			r.place20(b[n:])
		}
		r.rep.Entries += int64(n) / unitOf[q.tree]
		return n == len(b), w.put(b[:n])
	})
	return errors.Join(err, w.close())
}

// clear removes what a killed run has left of a queue.
func (r *run) clear(dir string) error {
	infos, err := r.FS.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, info := range infos {
		err = errors.Join(err, r.FS.Remove(path.Join(dir, info.Name)))
	}
	return err
}

// validUnit is what recovery asks of an entry.
func validUnit(b []byte, unit int64) bool {
	be := binary.BigEndian
	if int64(be.Uint64(b)) < 0 || int32(be.Uint32(b[8:])) <= 0 {
		return false
	}
	return unit != 46 || int64(be.Uint64(b[28:])) >= 0 && int16(be.Uint16(b[36:])) > 0
}

// place20 moves an entry to where its record is now. Fill stays fill.
func (r *run) place20(b []byte) {
	if !r.rewrites() || binary.BigEndian.Uint32(b[8:]) == blankSize {
		return
	}
	binary.BigEndian.PutUint64(b, uint64(r.j.Pieces.of(int64(binary.BigEndian.Uint64(b)))))
}

// eachPiece calls f for the bytes of a queue in order, in pieces of whole units, until f says that it is enough.
func (r *run) eachPiece(files []segment, unit int64, f func(at int64, b []byte) (more bool, err error)) error {
	buf := make([]byte, min(3200*46*20/unit*unit, files[0].size))
	for _, s := range files {
		more, err := r.piecesOf(s, buf, f)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

func (r *run) piecesOf(s segment, buf []byte, f func(at int64, b []byte) (bool, error)) (more bool, err error) {
	file, err := r.FS.Open(s.path)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	for at := int64(0); at < s.size; {
		b := buf[:min(int64(len(buf)), s.size-at)]
		if n, err := file.ReadAt(b, at); n < len(b) {
			return false, fmt.Errorf("read %s: %w", s.path, errors.Join(err, io.ErrUnexpectedEOF))
		}
		if err := r.pace("queues", int64(len(b))); err != nil {
			return false, err
		}
		if more, err := f(s.base+at, b); err != nil || !more {
			return false, err
		}
		at += int64(len(b))
	}
	return true, nil
}

// queueWriter writes the files of one queue.
type queueWriter struct {
	r    *run
	dir  string
	tree string
	size int64
	next int64 // position in the queue
	file vfs.File
}

// begin makes the first file. Its start is filled up to where the source's first file starts; a batch queue's entries say their offsets
// themselves, so there it may begin anywhere.
func (w *queueWriter) begin(base int64) error {
	w.next = base / w.size * w.size
	if w.tree == batchTree && base > w.next {
		w.next += w.size
	}
	if err := w.roll(); err != nil {
		return err
	}
	if w.tree != simpleTree || base == w.next {
		return nil
	}
	fill := make([]byte, base-w.next)
	for at := 0; at < len(fill); at += 20 {
		binary.BigEndian.PutUint32(fill[at+8:], blankSize)
	}
	return w.put(fill)
}

func (w *queueWriter) roll() (err error) {
	if err := w.close(); err != nil {
		return err
	}
	w.file, err = create(w.r.FS, path.Join(w.dir, fmt.Sprintf("%020d", w.next)), w.size)
	return err
}

func (w *queueWriter) put(b []byte) error {
	for len(b) > 0 {
		pos := w.next % w.size
		if pos == 0 && w.file == nil {
			if err := w.roll(); err != nil {
				return err
			}
		}
		n := min(int64(len(b)), w.size-pos)
		if _, err := w.file.WriteAt(b[:n], pos); err != nil {
			return err
		}
		w.next += n
		b = b[n:]
		if w.next%w.size == 0 {
			if err := w.close(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *queueWriter) close() error {
	if w.file == nil {
		return nil
	}
	f := w.file
	w.file = nil
	return f.Close()
}
