package store

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"apogee/store/record"
	"apogee/store/vfs"
)

// compactionBatch is how many bytes of records are written to a compaction log at once.
const compactionBatch = 256 << 10

// loop copies and syncs until ctx ends.
func (c *compactor) loop(ctx context.Context) {
	o := c.s.options
	synced := c.s.now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.ping:
			c.copyAll(ctx.Err)
			continue
		case <-tick.C:
		}
		now := c.s.now()
		c.copyAll(ctx.Err) // what could not be written before
		if now.Sub(synced) >= time.Duration(o().FlushConsumeQueueThoroughMs)*time.Millisecond {
			synced = now
			if err := c.sync(); err != nil {
				c.s.log.Error("compaction logs not synced", "err", err)
			}
		}
	}
}

// finish ends the work of a store that closes: all that is in the queues is copied, and on disk.
func (c *compactor) finish() error {
	return errors.Join(c.follow(), c.persist())
}

// follow brings every log up to its queue, and makes it durable. Whoever takes over reads the commit log only from the checkpoint on, and a
// Java broker copies nothing else.
func (c *compactor) follow() error {
	var errs error
	for _, l := range c.all() {
		if err := c.copyOne(l, goOn); err != nil {
			errs = errors.Join(errs, fmt.Errorf("compaction log of %s/%d: %w", l.topic, l.id, err))
		}
	}
	return errors.Join(errs, c.sync())
}

// copyAll brings every log up to its queue.
func (c *compactor) copyAll(stop func() error) {
	for _, l := range c.all() {
		if stop() != nil {
			return
		}
		if err := c.copyOne(l, stop); err != nil {
			c.s.log.Error("compaction log not written", "topic", l.topic, "queue", l.id, "err", err)
		}
	}
}

// copyOne brings a log up to its queue.
func (c *compactor) copyOne(l *compactionLog, stop func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := c.s.queues.get(l.topic, l.id)
	if q == nil || !q.cq.served() || l.gone.Load() {
		return nil
	}
	l.next = max(l.next, q.cq.min.Load())
	w := appender{c: c, l: l, next: l.next}
	var units [getUnits * unitSize]byte
	for l.next < q.cq.max.Load() && stop() == nil {
		n, err := q.cq.read(w.next, units[:])
		if err != nil {
			return err
		}
		for i := range n {
			phys, size, tags := readUnit(units[i*unitSize:])
			if err := w.copyRecord(phys, size, tags); err != nil {
				return err
			}
		}
		if n == 0 || len(w.logBuf) >= compactionBatch {
			if err := w.flush(true); err != nil {
				return err
			}
		}
	}
	return w.flush(true)
}

// appender appends to a compaction log. What it takes is in memory until flush.
type appender struct {
	c    *compactor
	l    *compactionLog
	next int64 // queue offset after what was taken

	g       *segment // the last
	logBuf  []byte   // to be written behind g.end
	unitBuf []byte   // behind g.n
	first   int64
	last    int64

	arrivals []Arrival
}

// copyRecord takes a record of the commit log, unless it has no keys or is not there any more.
func (w *appender) copyRecord(phys int64, size int32, tags int64) error {
	off := w.next
	b, f, err := w.c.s.commit.hold(phys, int64(size))
	if errors.Is(err, errNoRecord) || errors.Is(err, errFileGone) {
		w.next++ // deleted meanwhile
		return nil
	}
	if err != nil {
		return err
	}
	defer f.release()
	var bad error
	err = f.guard(func() error {
		var h record.Header
		if bad = record.Parse(b, &h); bad == nil && h.QueueOffset == off && !blank(record.Property(stringView(h.Properties), record.PropKeys)) {
			return w.append(b, &h, tags)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if bad != nil {
		w.c.s.log.Error("record of a compaction topic cannot be read", "topic", w.l.topic, "queue", w.l.id, "off", phys, "err", bad)
	}
	w.next = off + 1
	return nil
}

// blank is Java's StringUtils.isBlank, for keys.
func blank(s string) bool {
	for _, r := range s {
		if r > ' ' {
			return false
		}
	}
	return true
}

// append takes a record, which says its queue offset. Where it does not fit, the file is finished and the next one made.
func (w *appender) append(rec []byte, h *record.Header, tags int64) error {
	need := int64(len(rec)) + record.BlankSize
	if need > w.c.logSize {
		w.c.s.log.Error("record is larger than a file of its compaction log, left out", "topic", w.l.topic, "queue", w.l.id, "offset", h.QueueOffset)
		return nil
	}
	if w.g == nil {
		if err := w.begin(need); err != nil {
			return err
		}
	} else if !w.fits(need) {
		if err := errors.Join(w.flush(true), w.roll()); err != nil {
			return err
		}
	}
	pos := w.g.end + int64(len(w.logBuf))
	at := len(w.logBuf)
	w.logBuf = append(w.logBuf, rec...)
	u := batchUnit{phys: w.g.log.base + pos, size: int32(len(rec)), tags: tags, time: h.StoreTimestamp, base: h.QueueOffset, num: 1}
	record.PutPhysical(w.logBuf[at:], u.phys)
	n := len(w.unitBuf)
	w.unitBuf = slices.Grow(w.unitBuf, batchUnitSize)[:n+batchUnitSize]
	u.put(w.unitBuf[n:])
	if len(w.unitBuf) == batchUnitSize {
		w.first = u.base
	}
	w.last = u.base
	return nil
}

// begin goes on with the last file, or makes one.
func (w *appender) begin(need int64) error {
	if list := w.l.list(); len(list) > 0 {
		w.g = list[len(list)-1]
		if w.fits(need) {
			return nil
		}
	}
	return w.roll()
}

// fits tells whether a record with the mark behind it fits, and its entry: the last place is for one that ends the file.
func (w *appender) fits(need int64) bool {
	units := w.g.n.Load() + int64(len(w.unitBuf)/batchUnitSize)
	return w.g.end+int64(len(w.logBuf))+need <= w.c.logSize && (units+1)*batchUnitSize < w.c.cqSize
}

// roll finishes the last file and makes the next.
func (w *appender) roll() error {
	base := int64(0)
	if w.g != nil {
		if err := w.finish(); err != nil {
			return err
		}
		base = w.g.log.base + w.c.logSize
	}
	g, err := w.c.newSegment(w.l.dir, w.l.cqDir, base)
	if err != nil {
		return err
	}
	old := w.l.list()
	list := append(old[:len(old):len(old)], g)
	w.l.segments.Store(&list)
	w.g, w.l.made = g, true
	return nil
}

// finish marks the rest of a file and of its queue as unused, as Java does.
func (w *appender) finish() error {
	if rest := w.g.log.size - w.g.end; rest >= record.BlankSize {
		var mark [record.BlankSize]byte
		record.PutBlank(mark[:], int32(rest))
		if err := vfs.WriteAt(w.c.s.fs, w.g.log.path, mark[:], w.g.end); err != nil {
			return err
		}
	}
	n := w.g.n.Load()
	if (n+1)*batchUnitSize > w.c.cqSize {
		return nil
	}
	var mark [batchUnitSize]byte
	(&batchUnit{phys: -1}).put(mark[:])
	return vfs.WriteAt(w.c.s.fs, w.g.cq.path, mark[:], n*batchUnitSize)
}

func (c *compactor) newSegment(dir, cqDir string, base int64) (*segment, error) {
	logs, cqs := newMappedQueue(c.s.fs, dir, c.logSize, 0), newMappedQueue(c.s.fs, cqDir, c.cqSize, 0)
	g := &segment{}
	g.last.Store(-1)
	var err error
	for _, part := range []struct {
		q *mappedQueue
		f **mappedFile
	}{{logs, &g.log}, {cqs, &g.cq}} {
		if err = c.s.fs.MkdirAll(part.q.dir); err != nil {
			break
		}
		name := part.q.dir + "/" + fileName(base)
		if err = vfs.RemoveAll(c.s.fs, name); err != nil { // the rest of an attempt that failed half-way
			break
		}
		if *part.f, err = createMapped(c.s.fs, name, base, part.q.fileSize); err != nil {
			break
		}
		(*part.f).readOnly = true
	}
	if err != nil {
		return nil, fmt.Errorf("next file of a compaction log: %w", err)
	}
	return g, nil
}

// flush writes what was taken, lets readers see it and, with tell, tells who listens.
func (w *appender) flush(tell bool) error {
	if len(w.unitBuf) == 0 {
		w.l.next = max(w.l.next, w.next)
		return nil
	}
	g, n := w.g, w.g.n.Load()
	err := vfs.WriteAt(w.c.s.fs, g.log.path, w.logBuf, g.end)
	if err == nil {
		err = vfs.WriteAt(w.c.s.fs, g.cq.path, w.unitBuf, n*batchUnitSize)
	}
	if err != nil {
		return err
	}
	g.end += int64(len(w.logBuf))
	g.log.wrote.Store(g.end)
	added := int64(len(w.unitBuf) / batchUnitSize)
	g.cq.wrote.Store((n + added) * batchUnitSize)
	if n == 0 {
		g.first.Store(w.first)
	}
	g.n.Store(n + added)
	g.last.Store(w.last)
	w.l.next = w.last + 1
	w.l.dirty = true
	if tell {
		w.arrive()
	}
	w.logBuf, w.unitBuf = w.logBuf[:0], w.unitBuf[:0]
	return nil
}

// arrive tells who listens.
func (w *appender) arrive() {
	tell := w.c.s.options().OnArrive
	if tell == nil || w.c.s.dispatch.pos.Load() == noMark {
		return
	}
	arrivals := w.arrivals[:0]
	rest := w.logBuf
	for b := w.unitBuf; len(b) > 0; b = b[batchUnitSize:] {
		var u batchUnit
		u.read(b)
		arrivals = append(arrivals, Arrival{
			Topic: w.l.topic, QueueID: w.l.id, Next: u.base + 1, TagsCode: u.tags, StoreTimestamp: u.time, Record: rest[:u.size:u.size],
		})
		rest = rest[u.size:]
	}
	tell(arrivals)
	clear(arrivals)
	w.arrivals = arrivals
}

// sync makes the logs durable.
func (c *compactor) sync() error {
	var errs error
	for _, l := range c.all() {
		l.mu.Lock()
		if !l.gone.Load() {
			if err := c.syncLog(l, goOn); err != nil {
				errs = errors.Join(errs, fmt.Errorf("sync compaction log %s/%d: %w", l.topic, l.id, err))
			}
		}
		l.mu.Unlock()
	}
	return errs
}

func goOn() error { return nil }

// syncLog makes a log durable; whoever calls it holds its lock, or is the only one to know the log.
func (c *compactor) syncLog(l *compactionLog, stop func() error) error {
	if !l.dirty && !l.made {
		return nil
	}
	for _, g := range l.list() {
		if err := stop(); err != nil {
			return err
		}
		if err := errors.Join(syncFile(g.log, g.end), syncFile(g.cq, g.n.Load()*batchUnitSize)); err != nil {
			return err
		}
	}
	if l.made {
		for _, dir := range []string{l.dir, l.cqDir} {
			if err := syncUp(c.s.fs, dir, 5); err != nil {
				return err
			}
		}
	}
	l.dirty, l.made = false, false
	return nil
}

// syncUp makes the existence of a directory and of so many above it durable.
func syncUp(fsys vfs.FS, dir string, most int) error {
	for range most {
		if err := fsys.SyncDir(dir); err != nil {
			return err
		}
		dir = path.Dir(dir)
	}
	return nil
}
