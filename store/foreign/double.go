package foreign

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"

	"apogee/store/record"
	"apogee/store/vfs"
)

// firstRecords is how many records of the log's start are looked up in the queues' files.
const firstRecords = 64

// largestRecord is a size that no record has: a larger one is damage.
const largestRecord = 256 << 20

// missingInFiles tells why files do not hold all queues, "" if they do.
//
// A broker that writes both (CombineConsumeQueueStore) begins a queue's file at the queue's end of that moment, and from then on
// dispatches every record to both. So the files are complete once a record at the start of the log is in them: what lay
// before the moment has left the log.
func (l *looker) missingInFiles() string {
	for _, key := range []string{"combineCQUseRocksdbForLmq"} {
		if l.p.on(key) {
			return key + "=true keeps the light queues in RocksDB only"
		}
	}
	files := l.segments(l.p.logDir())
	if len(files) == 0 {
		return "there is no commit log that could vouch for the files"
	}
	looked, why := 0, ""
	err := l.eachFirst(files, func(phys int64, h *record.Header) bool {
		if t := h.Tran(); t != 0 && t != record.SysTranCommit || h.SysFlag&record.SysInnerBatch != 0 || !plainName(h.Topic) {
			return true // has no entry, or one of another kind
		}
		looked++
		if !l.inFile(phys, h) {
			why = fmt.Sprintf("the record at %d, of %s/%d, is in none", phys, h.Topic, h.QueueID)
		}
		return why == "" && looked < firstRecords
	})
	switch {
	case err != nil:
		return err.Error()
	case why == "" && looked == 0:
		return "no record at the start of the log could vouch for them"
	}
	return why
}

func plainName(topic []byte) bool {
	return len(topic) > 0 && !slices.Contains(topic, '/') && !slices.Contains(topic, 0) && string(topic) != "." && string(topic) != ".."
}

// segment is a file of a queue of files; its name is its first offset.
type segment struct {
	path       string
	base, size int64
}

func (l *looker) segments(dir string) []segment {
	var out []segment
	for _, info := range l.list(dir) {
		if base, err := strconv.ParseInt(info.Name, 10, 64); err == nil && base >= 0 && !info.Dir && info.Size > 0 {
			out = append(out, segment{path.Join(dir, info.Name), base, info.Size})
		}
	}
	slices.SortFunc(out, func(a, b segment) int { return int(min(max(a.base-b.base, -1), 1)) })
	return out
}

// eachFirst calls f for the records at the start of the log until f returns false.
func (l *looker) eachFirst(files []segment, f func(phys int64, h *record.Header) bool) error {
	for _, s := range files {
		more, err := l.eachIn(s, f)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

func (l *looker) eachIn(s segment, f func(int64, *record.Header) bool) (more bool, err error) {
	file, err := l.p.FS.Open(s.path)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	var head [record.BlankSize]byte
	for off := int64(0); off+record.BlankSize <= s.size; {
		if _, err := file.ReadAt(head[:], off); err != nil {
			return false, fmt.Errorf("read %s: %w", s.path, err)
		}
		size := int64(int32(binary.BigEndian.Uint32(head[:])))
		if magic := binary.BigEndian.Uint32(head[4:]); magic == record.MagicBlank {
			return true, nil
		} else if magic != record.MagicV1 && magic != record.MagicV2 || size < record.MinSize || size > min(s.size-off, largestRecord) {
			return false, nil // the end, or damage, which is not looked for here
		}
		rec := make([]byte, size)
		if _, err := file.ReadAt(rec, off); err != nil && !errors.Is(err, io.EOF) {
			return false, fmt.Errorf("read %s: %w", s.path, err)
		}
		var h record.Header
		if record.Parse(rec, &h) != nil || !f(s.base+off, &h) {
			return false, nil
		}
		off += size
	}
	return true, nil
}

// inFile tells whether a record has its entry in a file of its queue.
func (l *looker) inFile(phys int64, h *record.Header) bool {
	const unit = 20 // spec: store.md 4.1
	at := h.QueueOffset * unit
	for _, s := range l.segments(path.Join(l.p.Root, queueDirs[0], string(h.Topic), strconv.Itoa(int(h.QueueID)))) {
		if at < s.base || at+unit > s.base+s.size {
			continue
		}
		var b [unit]byte
		if n, err := vfs.ReadAt(l.p.FS, s.path, b[:], at-s.base); err != nil || n < unit {
			return false
		}
		return int64(binary.BigEndian.Uint64(b[:])) == phys && int(int32(binary.BigEndian.Uint32(b[8:]))) == h.Size
	}
	return false
}
