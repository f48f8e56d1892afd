package verify

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"path"

	"apogee/compat/fastjson"
	"apogee/store/inspect"
	"apogee/store/record"
)

// Folders of compaction logs (docs/format/compaction.md).
const (
	compactionLogDir = "compaction/compactionLog"
	compactionCqDir  = "compaction/compactionCq"
	positionFile     = "compaction/position-checkpoint"
)

// checkCompaction reads the compaction logs: each entry's record is in the file of the same name.
func (r *run) checkCompaction() error {
	if _, err := fs.Stat(r.Root, "compaction"); err != nil {
		return nil
	}
	r.checkConfig(positionFile, parsePositions)
	return queueDirs(r.Root, compactionLogDir, func(topic string, id int32, at string) error {
		cqDir := path.Join(compactionCqDir, topic, path.Base(at))
		logs, err := r.segments(r.Root, at, at, CompactFile)
		if err == nil {
			var cqs []segment
			if cqs, err = r.segments(r.Root, cqDir, cqDir, CompactFile); err == nil {
				r.checkCompacted(topic, id, at, cqDir, logs, cqs)
			}
		}
		if err != nil {
			r.unreadable(at, -1, err)
		}
		if _, err := fs.Stat(r.Root, path.Join(at, "compacting")); err == nil && !r.Live {
			if list, err := fs.ReadDir(r.Root, path.Join(at, "compacting")); err == nil && len(list) > 0 {
				r.report(Finding{Kind: CompactFile, Level: Recoverable, File: path.Join(at, "compacting"), At: -1, Text: "a compaction was cut short; a start ends it or forgets it"})
			}
		}
		return r.ctx.Err()
	})
}

func parsePositions(_ *run, text []byte, _ bool) (odd []string, err error) {
	var w struct {
		Map map[string]int64 `json:"queueOffsetMap"`
	}
	if err := fastjson.Unmarshal(text, &w); err != nil {
		return nil, err
	}
	for key, off := range w.Map {
		if off < -1 {
			odd = append(odd, fmt.Sprintf("%s: %d", key, off))
		}
	}
	return odd, nil
}

// checkCompacted looks at one compaction log.
func (r *run) checkCompacted(topic string, id int32, dir, cqDir string, logs, cqs []segment) {
	last := int64(-1) // queue offset of the record before
	for i, seg := range logs {
		cq := find(cqs, seg.base)
		for k := range cqs { // their sizes differ, their names do not
			if cqs[k].base == seg.base {
				cq = &cqs[k]
			}
		}
		if cq == nil || cq.base != seg.base {
			r.report(Finding{Kind: CompactFile, Level: Recoverable, File: path.Join(dir, seg.name), At: -1, Text: "has no file of entries: the rest of a roll-over that was cut short"})
			continue
		}
		c := compacted{r: r, topic: topic, id: id, log: path.Join(dir, seg.name), cq: path.Join(cqDir, cq.name), seg: seg, cqSize: cq.size, active: i == len(logs)-1}
		last = c.check(last)
	}
}

// compacted is one file of a compaction log and its entries.
type compacted struct {
	r       *run
	topic   string
	id      int32
	log, cq string
	seg     segment
	cqSize  int64
	active  bool
}

// check holds entries and records against each other.
func (c *compacted) check(last int64) int64 {
	entries := windowed{fsys: c.r.Root, name: c.cq, size: c.cqSize}
	records := windowed{fsys: c.r.Root, name: c.log, size: c.seg.size}
	defer entries.close()
	defer records.close()
	bad := func(kind Kind, file string, at int64, format string, args ...any) {
		c.r.report(Finding{Kind: kind, Level: Damage, File: file, At: at, Topic: c.topic, Queue: c.id, Offset: last + 1, Text: fmt.Sprintf(format, args...)})
	}
	end, pos := int64(0), int64(0)
	for ; pos+inspect.BatchEntrySize <= c.cqSize; pos += inspect.BatchEntrySize {
		b, err := entries.get(pos, inspect.BatchEntrySize)
		if err != nil {
			c.r.unreadable(c.cq, pos, err)
			return last
		}
		e, ok := inspect.ParseBatchEntry(b)
		if !ok {
			if next, err := entries.get(pos+inspect.BatchEntrySize, inspect.BatchEntrySize); err == nil {
				if e, ok := inspect.ParseBatchEntry(next); ok && e.QueueOffset > last && e.PhysicalOffset >= c.seg.base+end {
					bad(CompactEntry, c.cq, pos, "is no entry, and entries follow: a start ends the log here")
					continue
				}
			}
			break
		}
		if e.QueueOffset <= last || e.Count != 1 {
			bad(CompactEntry, c.cq, pos, "%d messages at queue offset %d, the entry before is at %d", e.Count, e.QueueOffset, last)
		}
		if at := e.PhysicalOffset - c.seg.base; at != end {
			bad(CompactEntry, c.cq, pos, "points at %d, the record before ends at %d", e.PhysicalOffset, c.seg.base+end)
		}
		size, offset := c.record(&records, &e, end, bad)
		end += size
		last = max(last, offset)
	}
	if !c.active || c.r.Live {
		return last
	}
	if b, err := records.get(end, record.MinSize); err == nil && recordHead(b, c.seg.base+end, c.seg.size-end) && string(b[4:8]) != "\xCB\xD4\x31\x94" {
		c.r.report(Finding{Kind: CompactRecord, Level: Recoverable, File: c.log, At: end, Topic: c.topic, Queue: c.id, Offset: last + 1, Text: "a record without entry ends the log; it is copied again"})
	}
	return last
}

// record looks at the record of an entry, which starts at a position, and returns its size and queue offset; those of the entry if there is none.
func (c *compacted) record(records *windowed, e *inspect.Entry, at int64, bad func(Kind, string, int64, string, ...any)) (size, offset int64) {
	size = int64(e.Size)
	var h record.Header
	head, err := records.get(at, record.BlankSize)
	if err == nil {
		claimed := int64(int32(binary.BigEndian.Uint32(head)))
		if magic := binary.BigEndian.Uint32(head[4:]); (magic == record.MagicV1 || magic == record.MagicV2) && claimed >= record.MinSize && claimed <= c.seg.size-at && claimed != size {
			bad(CompactEntry, c.log, at, "the record has %d bytes, its entry says %d", claimed, size)
			if b, err := records.get(at, claimed); err == nil && record.Parse(b, &h) == nil {
				size = claimed
			}
		}
	}
	b, err := records.get(at, size)
	if err == nil {
		err = record.Parse(b, &h)
	}
	if err != nil {
		bad(CompactRecord, c.log, at, "no record of queue offset %d: %v", e.QueueOffset, err)
		return size, e.QueueOffset
	}
	c.r.res.Compacted++
	words := record.ReadWords(view(h.Properties))
	switch {
	case h.CheckBody() != nil:
		bad(CompactRecord, c.log, at, "the body is not what its checksum says")
	case h.PhysicalOffset != c.seg.base+at:
		bad(CompactRecord, c.log, at, "the record says that it starts at %d", h.PhysicalOffset)
	case h.QueueOffset != e.QueueOffset:
		bad(CompactRecord, c.log, at, "the record says that its queue offset is %d, its entry says %d", h.QueueOffset, e.QueueOffset)
	case string(h.Topic) != c.topic || h.QueueID != c.id:
		bad(CompactRecord, c.log, at, "the record is of %s/%d", h.Topic, h.QueueID)
	case int64(record.HashString(words.Tags)) != e.TagsCode:
		bad(CompactEntry, c.log, at, "the tags code is %d, the entry says %d", record.HashString(words.Tags), e.TagsCode)
	case words.Keys == "":
		bad(CompactRecord, c.log, at, "the record has no keys")
	}
	if why := badProperties(h.Properties); why != "" {
		bad(CompactRecord, c.log, at, "%s", why)
	}
	return size, h.QueueOffset
}

// windowed reads a file forwards in large pieces.
type windowed struct {
	fsys fs.FS
	name string
	size int64
	f    fs.File
	buf  []byte
	at   int64
}

// get is n bytes at a position; they are valid until the next call.
func (w *windowed) get(at, n int64) ([]byte, error) {
	if at < 0 || n < 0 || at+n > w.size {
		return nil, fmt.Errorf("%d bytes at %d go beyond the %d of the file", n, at, w.size)
	}
	if at < w.at || at+n > w.at+int64(len(w.buf)) {
		if w.f == nil {
			f, err := w.fsys.Open(w.name)
			if err != nil {
				return nil, err
			}
			w.f = f
		}
		if want := max(n, 256<<10); int64(cap(w.buf)) < want {
			w.buf = make([]byte, want)
		}
		got, err := readFrom(w.f, w.name, w.buf[:min(int64(cap(w.buf)), w.size-at)], at)
		if err != nil {
			return nil, err
		}
		w.buf, w.at = w.buf[:got], at
		if int64(got) < n {
			return nil, fmt.Errorf("%d bytes at %d: the file is shorter than it was", n, at)
		}
	}
	return w.buf[at-w.at : at-w.at+n : at-w.at+n], nil
}

func (w *windowed) close() {
	if w.f != nil {
		_ = w.f.Close()
	}
}
