package store

import (
	"context"
	"crypto/md5"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"apogee/store/record"
	"apogee/store/vfs"
)

// passes compacts at its times until ctx ends.
func (c *compactor) passes(ctx context.Context) {
	compacted := c.s.now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now := c.s.now(); now.Sub(compacted) >= time.Duration(c.s.options().CompactionScheduleInternal)*time.Millisecond {
			compacted = now
			c.compactAll(ctx.Err)
		}
	}
}

// compactAll compacts every log that has something new in full files.
func (c *compactor) compactAll(stop func() error) {
	for _, l := range c.all() {
		if stop() != nil {
			return
		}
		if err := c.compact(l, stop); err != nil && stop() == nil {
			c.s.log.Error("compaction failed", "topic", l.topic, "queue", l.id, "err", err)
		}
	}
}

// errLogGone ends the compaction of a log that is being deleted.
var errLogGone = errors.New("the queue has been deleted")

// compact writes all files of a log but the last anew, with the newest record of each key; one without a body says that its key is gone,
// and goes too. It does nothing where no file has messages behind the position that keys have been compared up to.
func (c *compactor) compact(l *compactionLog, stop func() error) error {
	l.passMu.Lock()
	defer l.passMu.Unlock()
	err := c.pass(l, func() error {
		if l.gone.Load() {
			return errLogGone
		}
		return stop()
	})
	if errors.Is(err, errLogGone) {
		return nil
	}
	return err
}

func (c *compactor) pass(l *compactionLog, stop func() error) error {
	old, err := c.fullFiles(l)
	if err == nil {
		err = stop()
	}
	if err != nil {
		return err
	}
	position := c.position(l)
	if !slices.ContainsFunc(old, func(g *segment) bool { return g.n.Load() > 0 && g.last.Load() > position }) {
		return nil
	}
	keys := newKeyTable(c.entryLimit())
	for _, g := range old {
		err := g.each(stop, func(_ []byte, h *record.Header) error { return keys.note(h, position) })
		if errors.Is(err, errKeysFull) {
			break // and not on to the next file, or the position would pass what has not been compared
		}
		if err != nil {
			return err
		}
	}
	if keys.last < 0 {
		return nil
	}
	next, err := c.rewrite(l, old, keys, stop)
	if err != nil {
		return err
	}
	if err := c.swap(l, old, next); err != nil {
		return err
	}
	return c.setPosition(l, keys.last)
}

// fullFiles are the files of a log to which nothing is added any more.
func (c *compactor) fullFiles(l *compactionLog) ([]*segment, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := c.endSwap(l); err != nil {
		return nil, err
	}
	list := l.list()
	return list[:max(len(list)-1, 0)], nil
}

// entryLimit bounds the keys that one run compares (OffsetMap: a hash of 16 bytes and an offset each).
func (c *compactor) entryLimit() int {
	return int(min(max(int64(c.s.options().MaxOffsetMapSize)/24, 100), math.MaxInt32))
}

// each calls fn for the records of a file.
func (g *segment) each(stop func() error, fn func(rec []byte, h *record.Header) error) error {
	if err := g.log.hold(); err != nil {
		return err
	}
	defer g.log.release()
	for i := range g.n.Load() {
		if err := stop(); err != nil {
			return err
		}
		u, err := g.unit(i)
		if err != nil {
			return err
		}
		pos := u.phys - g.log.base
		if pos < 0 || pos+int64(u.size) > g.log.size {
			return fmt.Errorf("%s, entry %d: %w", g.cq.path, i, errNoRecord)
		}
		err = g.log.guard(func() error {
			var h record.Header
			rec := g.log.data[pos : pos+int64(u.size)]
			if err := record.Parse(rec, &h); err != nil {
				return fmt.Errorf("%s at %d: %w", g.log.path, pos, err)
			}
			return fn(rec, &h)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// keyTable is the newest queue offset of each key, by hash.
type keyTable struct {
	at   map[[md5.Size]byte]int64
	most int
	last int64 // queue offset up to which all have been noted
}

var errKeysFull = errors.New("as many keys as maxOffsetMapSize allows")

func newKeyTable(most int) *keyTable {
	return &keyTable{at: map[[md5.Size]byte]int64{}, most: most, last: -1}
}

// note notes a record behind the position. What does not fit into the table is kept, and compared the next time.
func (t *keyTable) note(h *record.Header, position int64) error {
	if h.QueueOffset <= position {
		return nil
	}
	key := md5.Sum(record.PropertyBytes(h.Properties, record.PropKeys))
	if _, ok := t.at[key]; !ok && len(t.at) == t.most {
		return errKeysFull
	}
	t.at[key] = h.QueueOffset
	t.last = h.QueueOffset
	return nil
}

// keeps tells whether a record stays.
func (t *keyTable) keeps(h *record.Header) bool {
	if h.QueueOffset > t.last {
		return true
	}
	key := record.PropertyBytes(h.Properties, record.PropKeys)
	newest, ok := t.at[md5.Sum(key)]
	return len(key) > 0 && len(h.Body) > 0 && (!ok || h.QueueOffset >= newest)
}

// rewrite writes what stays to new files beside the log, and makes them durable.
func (c *compactor) rewrite(l *compactionLog, old []*segment, keys *keyTable, stop func() error) ([]*segment, error) {
	next := &compactionLog{topic: l.topic, id: l.id, dir: path.Join(l.dir, compactingDir), cqDir: path.Join(l.cqDir, compactingDir)}
	next.segments.Store(&[]*segment{})
	if err := errors.Join(vfs.RemoveAll(c.s.fs, next.dir), vfs.RemoveAll(c.s.fs, next.cqDir)); err != nil {
		return nil, err
	}
	w := appender{c: c, l: next}
	for _, g := range old {
		err := g.each(stop, func(rec []byte, h *record.Header) error {
			if !keys.keeps(h) {
				return nil
			}
			if len(w.logBuf) >= compactionBatch {
				if err := w.flush(false); err != nil {
					return err
				}
			}
			return w.append(rec, h, int64(record.HashString(record.Property(stringView(h.Properties), record.PropTags))))
		})
		if err != nil {
			return nil, err
		}
	}
	if err := w.flush(false); err != nil {
		return nil, err
	}
	list := next.list()
	if n := len(list); n > 0 && list[n-1].log.base > old[len(old)-1].log.base {
		return nil, errors.New("files have become more, not fewer")
	}
	return list, c.syncLog(next, stop)
}

// swapMark is the file that says that the new files are whole: from then on a start finishes the swap.
const swapMark = "ready"

// swapPlan is what the mark says: names of files, which are the same in both directories.
type swapPlan struct{ Old, New []string }

func baseNames(list []*segment) []string {
	var names []string
	for _, g := range list {
		names = append(names, fileName(g.log.base))
	}
	return names
}

// swap puts new files in the place of old ones. Whoever reads goes on with those that he has.
func (c *compactor) swap(l *compactionLog, old, next []*segment) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, g := range next { // mapped before their names change
		if err := errors.Join(g.log.hold(), g.cq.hold()); err != nil {
			return err
		}
		defer g.log.release()
		defer g.cq.release()
	}
	text, err := json.Marshal(swapPlan{Old: baseNames(old), New: baseNames(next)})
	if err != nil {
		return err
	}
	compacting := path.Join(l.dir, compactingDir)
	if err := c.s.fs.MkdirAll(compacting); err != nil {
		return err
	}
	if err := vfs.WriteFileAtomic(c.s.fs, path.Join(compacting, swapMark), text); err != nil {
		return err
	}
	list := append(slices.Clone(next), l.list()[len(old):]...)
	l.segments.Store(&list)
	for _, g := range old { // nobody may map what has their names next
		g.log.close()
		g.cq.close()
	}
	l.swapping, l.swapped = true, next
	return c.endSwap(l)
}

// endSwap does what is left to do of a swap: after one that failed, too, before there is another, which would take its files for the rest
// of a compaction that was not whole.
func (c *compactor) endSwap(l *compactionLog) error {
	if !l.swapping {
		return nil
	}
	if err := c.finishSwap(l); err != nil {
		return err
	}
	for _, g := range l.swapped {
		g.log.renamed(path.Join(l.dir, fileName(g.log.base)))
		g.cq.renamed(path.Join(l.cqDir, fileName(g.cq.base)))
	}
	l.swapping, l.swapped = false, nil
	return nil
}

// finishSwap does what is left to do of a swap: new files get their names, old ones go. A compaction that was not whole is forgotten.
func (c *compactor) finishSwap(l *compactionLog) error {
	compacting, compactingCq := path.Join(l.dir, compactingDir), path.Join(l.cqDir, compactingDir)
	forget := func() error {
		return errors.Join(vfs.RemoveAll(c.s.fs, compactingCq), vfs.RemoveAll(c.s.fs, compacting))
	}
	var plan swapPlan
	switch text, err := vfs.ReadFile(c.s.fs, path.Join(compacting, swapMark)); {
	case errors.Is(err, fs.ErrNotExist):
		if err := c.finishJavaSwap(l); err != nil {
			return err
		}
		return forget()
	case err != nil:
		return err
	default:
		if err := json.Unmarshal(text, &plan); err != nil {
			return c.setSwapAside(compacting, compactingCq, err)
		}
	}
	for _, part := range []struct{ from, to string }{{compacting, l.dir}, {compactingCq, l.cqDir}} {
		for _, name := range plan.New {
			err := c.s.fs.Rename(path.Join(part.from, name), path.Join(part.to, name))
			if err != nil && !errors.Is(err, fs.ErrNotExist) { // moved before
				return err
			}
		}
		for _, name := range plan.Old {
			if slices.Contains(plan.New, name) {
				continue
			}
			if err := vfs.RemoveAll(c.s.fs, path.Join(part.to, name)); err != nil {
				return err
			}
		}
		if err := c.s.fs.SyncDir(part.to); err != nil {
			return err
		}
	}
	return forget()
}

// setSwapAside moves the files of a compaction out of the way whose mark cannot be read: nobody knows whether they are whole.
func (c *compactor) setSwapAside(compacting, compactingCq string, why error) error {
	to, err := c.s.quarantine(compacting)
	if _, statErr := c.s.fs.Stat(compactingCq); err == nil && statErr == nil {
		_, err = c.s.quarantine(compactingCq)
	}
	if err == nil {
		c.s.log.Error("the mark of a compaction is damaged: its files are set aside, and those before it stay", "dir", compacting, "err", why, "moved", to)
	}
	return err
}

// positionsFile is the file of positions, as Java writes it.
type positionsFile struct {
	QueueOffsetMap map[string]int64 `json:"queueOffsetMap"`
}

func (c *compactor) loadPositions() error {
	name := path.Join(c.root, positionFile)
	var got positionsFile
	small := vfs.SmallFile{FS: c.s.fs, Name: name, Log: c.s.log, Now: c.s.now, Lost: "Keys of compaction topics are compared from the start again"}
	_, err := small.Load(func(b []byte) error {
		var f positionsFile
		if err := json.Unmarshal(b, &f); err != nil {
			return err
		}
		got = f
		return nil
	})
	if err != nil {
		return err
	}
	for k, v := range got.QueueOffsetMap {
		c.positions[k] = v
	}
	c.written = c.positionsText()
	return nil
}

func (c *compactor) positionsText() string {
	var b strings.Builder
	fmt.Fprintf(&b, "{\n\t\"empty\":%t,\n\t\"queueOffsetMap\":{", len(c.positions) == 0)
	names := slices.Sorted(maps.Keys(c.positions))
	for i, name := range names {
		if i > 0 {
			b.WriteByte(',')
		}
		quoted, _ := json.Marshal(name) // a string has a text
		fmt.Fprintf(&b, "\n\t\t%s:%d", quoted, c.positions[name])
	}
	if len(names) > 0 {
		b.WriteString("\n\t")
	}
	b.WriteString("}\n}")
	return b.String()
}

// noPosition says that no keys have been compared.
const noPosition = -1

func positionName(l *compactionLog) string { return l.topic + "_" + strconv.Itoa(int(l.id)) }

// position is the queue offset up to which the keys of a log have been compared.
func (c *compactor) position(l *compactionLog) int64 {
	c.posMu.Lock()
	defer c.posMu.Unlock()
	if p, ok := c.positions[positionName(l)]; ok {
		return p
	}
	return noPosition
}

func (c *compactor) setPosition(l *compactionLog, p int64) error {
	c.posMu.Lock()
	defer c.posMu.Unlock()
	if p == noPosition {
		delete(c.positions, positionName(l))
	} else {
		c.positions[positionName(l)] = p
	}
	return c.persistLocked()
}

// persist writes the positions if they have changed.
func (c *compactor) persist() error {
	c.posMu.Lock()
	defer c.posMu.Unlock()
	return c.persistLocked()
}

func (c *compactor) persistLocked() error {
	text := c.positionsText()
	if text == c.written || c.written == "" && len(c.positions) == 0 {
		return nil
	}
	if err := c.s.fs.MkdirAll(c.root); err != nil {
		return err
	}
	if err := vfs.WriteFileAtomic(c.s.fs, path.Join(c.root, positionFile), []byte(text)); err != nil {
		return err
	}
	c.written = text
	return nil
}
