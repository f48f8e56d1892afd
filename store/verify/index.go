package verify

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"apogee/store/inspect"
	"apogee/store/record"
)

const indexDir = "index"

// indexJoin holds index files against the log. Their entries are in the order of the log, file after file.
type indexJoin struct {
	files []indexFile
	cur   *indexCursor // of the file at hand, nil when all are done
	next  int          // the file after that

	last     int64 // where the record of the entry before starts
	dangling stretch
	danglers int32   // number of the first of those
	hashes   []int32 // of the keys of the record at hand
	gap      stretch // records with keys that have no entry, between those that have
	tail     stretch // the same, behind the last that has
}

type indexFile struct {
	name           string
	size           int64
	slots, entries int32
}

// indexCursor reads the entries of one file.
type indexCursor struct {
	f     *indexFile
	file  string // path
	h     inspect.Index
	slots []int32 // as they stand in the file
	seen  []int32 // the newest entry of each slot, as the entries say
	used  int32

	e     inspect.IndexEntry
	has   bool
	first int64 // where the record of the first entry starts
	win   []byte
	winN  int32
}

// loadIndex lists the index files.
func (r *run) loadIndex() error {
	x := &indexJoin{last: -1}
	r.index = x
	list, err := fs.ReadDir(r.Root, indexDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range list {
		info, err := e.Info()
		if err != nil {
			continue // gone in the meantime
		}
		name := path.Join(indexDir, e.Name())
		if _, err := strconv.ParseUint(e.Name(), 10, 63); err != nil || e.IsDir() {
			r.report(Finding{Kind: IndexFile, Level: Damage, File: name, At: -1, Text: "no index file; a Java broker does not start with it"})
			continue
		}
		if info.Size() == 0 {
			r.report(Finding{Kind: IndexFile, Level: Recoverable, File: name, At: -1, Text: "empty: a crash cut its making short; a start deletes it"})
			continue
		}
		f := indexFile{name: e.Name(), size: info.Size(), slots: r.IndexSlots, entries: r.IndexEntries}
		if err := r.measureIndex(&f, name); err != nil {
			r.report(Finding{Kind: IndexFile, Level: Damage, File: name, At: -1, Size: f.size, Text: err.Error()})
			continue
		}
		x.files = append(x.files, f)
	}
	r.res.IndexFiles = len(x.files)
	x.open(r)
	return nil
}

// measureIndex finds out how many slots a file has: as configured, as by default, or so that its first and last entry are where its header says.
func (r *run) measureIndex(f *indexFile, name string) error {
	if f.slots > 0 && f.entries > 0 {
		if f.size != inspect.IndexFileSize(f.slots, f.entries) {
			return fmt.Errorf("has %d bytes; with maxHashSlotNum=%d and maxIndexNum=%d it has to have %d", f.size, f.slots, f.entries, inspect.IndexFileSize(f.slots, f.entries))
		}
		return nil
	}
	file, err := r.Root.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	ra, ok := file.(io.ReaderAt)
	if !ok {
		return fmt.Errorf("%s cannot be read at an offset", name)
	}
	var head [inspect.IndexHeadSize]byte
	if n, err := readFrom(file, name, head[:], 0); err != nil || n < len(head) {
		return fmt.Errorf("header of %d bytes: %v", n, err)
	}
	h, err := inspect.ParseIndexHeader(head[:])
	if err != nil {
		return err
	}
	if f.slots, err = inspect.IndexSlots(ra, f.size, &h); err != nil {
		return err
	}
	f.entries = int32((f.size - inspect.IndexFileSize(f.slots, 0)) / inspect.IndexEntrySize)
	return nil
}

// open goes to the next file that has entries.
func (x *indexJoin) open(r *run) {
	for x.cur = nil; x.next < len(x.files); {
		f := &x.files[x.next]
		x.next++
		c := &indexCursor{f: f, file: path.Join(indexDir, f.name), first: -1}
		if c.start(r) {
			x.cur = c
			x.step(r)
			if x.cur != c || c.has {
				return
			}
			c.finish(r, x.next < len(x.files))
			x.cur = nil
		}
	}
}

func (c *indexCursor) bad(r *run, kind Kind, at int64, format string, args ...any) {
	r.report(Finding{Kind: kind, Level: Damage, File: c.file, At: at, Text: fmt.Sprintf(format, args...)})
}

// start reads header and slots.
func (c *indexCursor) start(r *run) bool {
	head := make([]byte, inspect.IndexHeadSize)
	n, err := readAt(r.Root, c.file, head, 0)
	if err == nil {
		c.h, err = inspect.ParseIndexHeader(head[:n])
	}
	if err != nil {
		r.unreadable(c.file, 0, err)
		return false
	}
	if c.h.IndexCount < 0 || c.h.IndexCount > c.f.entries {
		c.bad(r, IndexHeader, 36, "says that entry %d is the next, there is room for %d", c.h.IndexCount, c.f.entries)
		return false
	}
	raw := make([]byte, int64(c.f.slots)*inspect.IndexSlotSize)
	if n, err := readAt(r.Root, c.file, raw, inspect.IndexHeadSize); err != nil || n < len(raw) {
		r.unreadable(c.file, inspect.IndexHeadSize, errors.Join(err, fmt.Errorf("%d bytes of slots", n)))
		return false
	}
	c.slots, c.seen = make([]int32, c.f.slots), make([]int32, c.f.slots)
	for i := range c.slots {
		c.slots[i] = int32(binary.BigEndian.Uint32(raw[i*inspect.IndexSlotSize:]))
	}
	return true
}

// read gets entry n.
func (c *indexCursor) read(r *run, n int32) bool {
	if n >= c.h.IndexCount {
		return false
	}
	if n < c.winN || int64(n-c.winN) >= int64(len(c.win))/inspect.IndexEntrySize {
		if c.win == nil {
			c.win = make([]byte, 0, 1<<20/inspect.IndexEntrySize*inspect.IndexEntrySize)
		}
		at := inspect.IndexFileSize(c.f.slots, n)
		got, err := readAt(r.Root, c.file, c.win[:min(int64(cap(c.win)), inspect.IndexFileSize(c.f.slots, c.h.IndexCount)-at)], at)
		if err != nil {
			r.unreadable(c.file, at, err)
			return false
		}
		c.win, c.winN = c.win[:got/inspect.IndexEntrySize*inspect.IndexEntrySize], n
		if len(c.win) == 0 {
			return false
		}
	}
	c.e, _ = inspect.ParseIndexEntry(c.win[int64(n-c.winN)*inspect.IndexEntrySize:])
	c.e.Number = n
	return true
}

// step goes to the next entry of the file at hand that can be held against the log, and follows the chains on the way.
func (x *indexJoin) step(r *run) {
	c := x.cur
	for n := c.e.Number + 1; ; n++ {
		if c.has = c.read(r, n); !c.has {
			return
		}
		r.res.IndexEntries++
		c.chain(r)
		if c.first < 0 {
			c.first = c.e.PhysicalOffset
		}
		if c.e.PhysicalOffset < x.last {
			c.bad(r, IndexOrder, c.at(), "entry %d points at %d, the one before it at %d", n, c.e.PhysicalOffset, x.last)
			continue
		}
		x.last = c.e.PhysicalOffset
		return
	}
}

// at is the place of the entry at hand.
func (c *indexCursor) at() int64 { return inspect.IndexFileSize(c.f.slots, c.e.Number) }

// chain checks that an entry names the one before it in its slot.
func (c *indexCursor) chain(r *run) {
	if c.e.Hash < 0 {
		c.bad(r, IndexKey, c.at(), "entry %d has the hash %d", c.e.Number, c.e.Hash)
		return
	}
	slot := c.e.Hash % c.f.slots
	if before := c.seen[slot]; c.e.Before != before {
		c.bad(r, IndexChain, c.at(), "entry %d names entry %d as the one before it in slot %d, it is %d", c.e.Number, c.e.Before, slot, before)
	}
	if c.seen[slot] == 0 {
		c.used++
	}
	c.seen[slot] = c.e.Number
}

// finish checks what can be told when all entries were seen: the slots and the header.
func (c *indexCursor) finish(r *run, more bool) {
	active := r.Live && !more // a broker is writing it
	for i, n := range c.slots {
		if n != c.seen[i] && !active && (n > 0 || c.seen[i] > 0) {
			c.bad(r, IndexChain, inspect.IndexHeadSize+int64(i)*inspect.IndexSlotSize, "slot %d leads to entry %d, its newest is %d", i, n, c.seen[i])
		}
	}
	if c.used != c.h.SlotsUsed && !active {
		c.bad(r, IndexHeader, 32, "says that %d slots are in use, there are %d", c.h.SlotsUsed, c.used)
	}
	if c.h.IndexCount > 1 && c.first >= 0 {
		if c.first != c.h.BeginPhys {
			c.bad(r, IndexHeader, 16, "says that the first record is at %d, the first entry says %d", c.h.BeginPhys, c.first)
		}
		if c.e.PhysicalOffset != c.h.EndPhys && !active {
			c.bad(r, IndexHeader, 24, "says that the last record is at %d, the last entry says %d", c.h.EndPhys, c.e.PhysicalOffset)
		}
	}
	if c.h.EndTime < c.h.BeginTime {
		c.bad(r, IndexHeader, 8, "ends at %d ms and begins at %d ms", c.h.EndTime, c.h.BeginTime)
	}
}

// advance leaves the entry at hand.
func (x *indexJoin) advance(r *run) {
	x.step(r)
	if x.cur.has {
		return
	}
	x.endDangling(r)
	x.cur.finish(r, x.next < len(x.files))
	x.open(r)
}

// join holds the entries of a record against it.
func (x *indexJoin) join(r *run, f *LogRecord, words *record.Words) {
	x.pass(r, f.Off)
	if f.Head.Tran() == record.SysTranRollback {
		return
	}
	x.hashes = indexHashes(x.hashes[:0], view(f.Head.Topic), words)
	if len(x.hashes) == 0 && (x.cur == nil || x.cur.e.PhysicalOffset != f.Off) {
		return
	}
	n := 0
	for x.cur != nil && x.cur.e.PhysicalOffset == f.Off {
		x.compare(r, f)
		n++
		x.advance(r)
	}
	switch {
	case n > 0:
	case x.cur == nil:
		x.tail.add(0, f.Off)
	default:
		x.gap.add(0, f.Off)
	}
}

// indexHashes are the hashes of a record's keys (docs/format/index.md).
func indexHashes(dst []int32, topic string, w *record.Words) []int32 {
	start := record.HashMore(record.HashString(topic), "#")
	add := func(h int32) {
		if h < 0 {
			h = -h
		}
		dst = append(dst, max(h, 0))
	}
	if w.Uniq != "" {
		add(record.HashMore(start, w.Uniq))
	}
	for word := range strings.SplitSeq(w.Keys, " ") {
		if word != "" {
			add(record.HashMore(start, word))
		}
	}
	if w.Tags != "" {
		add(record.HashMore(record.HashMore(start, "T#"), w.Tags))
	}
	return dst
}

// compare looks at an entry whose record is there.
func (x *indexJoin) compare(r *run, f *LogRecord) {
	c := x.cur
	if !slices.Contains(x.hashes, c.e.Hash) {
		c.bad(r, IndexKey, c.at(), "entry %d has the hash %d, which no key of the record at %d has", c.e.Number, c.e.Hash, f.Off)
	}
	if c.e.Number == 1 {
		if f.Head.StoreTimestamp != c.h.BeginTime {
			c.bad(r, IndexHeader, 0, "begins at %d ms, its first record was stored at %d", c.h.BeginTime, f.Head.StoreTimestamp)
		}
		return // its time counts from where the file before has ended
	}
	seconds := (f.Head.StoreTimestamp - c.h.BeginTime) / 1000
	if c.h.BeginTime <= 0 || seconds < 0 {
		seconds = 0
	}
	if seconds = min(seconds, math.MaxInt32); int64(c.e.Seconds) != seconds {
		c.bad(r, IndexTime, c.at(), "entry %d is of %d seconds after the begin, its record at %d was stored %d seconds after it", c.e.Number, c.e.Seconds, f.Off, seconds)
	}
	if c.e.Number == c.h.IndexCount-1 && f.Head.StoreTimestamp != c.h.EndTime && !r.Live {
		c.bad(r, IndexHeader, 8, "ends at %d ms, its last record was stored at %d", c.h.EndTime, f.Head.StoreTimestamp)
	}
}

// pass reports entries of records ahead of an offset of the log.
func (x *indexJoin) pass(r *run, off int64) {
	for x.cur != nil && x.cur.e.PhysicalOffset < off {
		if x.cur.e.PhysicalOffset >= r.logMin {
			x.dangles()
		}
		x.advance(r)
	}
	if x.dangling.n > 0 && x.cur != nil {
		x.endDangling(r)
	}
}

// dangles notes that the entry at hand points at no record.
func (x *indexJoin) dangles() {
	if x.dangling.n == 0 {
		x.danglers = x.cur.e.Number
	}
	x.dangling.add(x.cur.at(), x.cur.e.PhysicalOffset)
}

func (x *indexJoin) endDangling(r *run) {
	d := &x.dangling
	if d.n == 0 {
		return
	}
	f := Finding{Kind: IndexDangling, Level: Damage, File: x.cur.file, At: d.at, Count: d.n, Phys: d.phys}
	f.Text = fmt.Sprintf("%d entries from number %d on point at %d to %d, where no records start", d.n, x.danglers, d.phys, d.until)
	r.report(f)
	*d = stretch{}
}

// finish reports what is left when the log has ended.
func (x *indexJoin) finish(r *run) {
	for x.cur != nil {
		if !r.Live || x.cur.e.PhysicalOffset < r.logEnd {
			x.dangles()
		}
		x.advance(r)
	}
	note := func(s *stretch, text string) {
		if s.n > 0 {
			r.report(Finding{Kind: IndexGap, Level: Note, File: indexDir, At: -1, Count: s.n, Phys: s.phys, Text: fmt.Sprintf(text, s.n, s.phys, s.until)})
		}
	}
	if len(x.files) == 0 {
		return // the index is off, or was never begun
	}
	note(&x.gap, "%d records, at %d to %d, are not in the index: look-ups by key do not find them")
	note(&x.tail, "%d records, at %d to %d, are not in the index yet")
}
