package inspect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"strconv"
	"strings"

	"apogee/store/record"
)

// FileKind is what a file of a data directory is.
type FileKind string

// The kinds.
const (
	LogFile             FileKind = "commit log"
	QueueFile           FileKind = "consume queue"
	BatchQueueFile      FileKind = "batch queue"
	ExtFile             FileKind = "extension of a consume queue"
	IndexFile           FileKind = "index"
	CheckpointFile      FileKind = "checkpoint"
	TimerWheelFile      FileKind = "timer wheel"
	TimerLogFile        FileKind = "timer log"
	TimerCheckFile      FileKind = "timer checkpoint"
	AbortFile           FileKind = "abort"
	LockFile            FileKind = "lock"
	EpochFile           FileKind = "epochs"
	IdentityFile        FileKind = "broker identity"
	ConfigText          FileKind = "configuration"
	CompactionLogFile   FileKind = "compaction log"
	CompactionQueueFile FileKind = "queue of a compaction log"
	UnknownFile         FileKind = "unknown"
)

// HeadSize is how much of a file Recognize looks at.
const HeadSize = 64

// Recognize tells what a file is: by where it lies, else by its name, else by what it begins with. Its name has slashes.
func Recognize(name string, size int64, head []byte) FileKind {
	parts := strings.Split(path.Clean(name), "/")
	base := parts[len(parts)-1]
	plain := strings.TrimSuffix(base, ".bak")
	if isOffset(base) {
		for i := len(parts) - 2; i >= 0; i-- {
			switch parts[i] {
			case "commitlog":
				return LogFile
			case simpleDir:
				return QueueFile
			case batchDir:
				return BatchQueueFile
			case "consumequeue_ext":
				return ExtFile
			case "compactionLog":
				return CompactionLogFile
			case "compactionCq":
				return CompactionQueueFile
			case "timerlog":
				return TimerLogFile
			}
		}
		return byContent(size, head)
	}
	if _, err := strconv.ParseUint(base, 10, 63); err == nil && len(base) == 17 {
		return IndexFile
	}
	switch {
	case base == "timerwheel" || strings.HasPrefix(base, "timerwheel."):
		return TimerWheelFile
	case plain == "epochFileCheckpoint":
		return EpochFile
	case base == "brokerIdentity", base == "brokerIdentity-temp":
		return IdentityFile
	case strings.HasSuffix(plain, ".json"), strings.HasSuffix(plain, ".json.corrupt"), plain == "timermetrics", plain == "transactionMetrics", plain == "position-checkpoint":
		return ConfigText
	case base == "timercheck":
		return TimerCheckFile
	case base == "checkpoint" && size >= 40:
		return CheckpointFile
	case plain == "abort":
		return AbortFile
	case base == "lock":
		return LockFile
	}
	return byContent(size, head)
}

func isOffset(name string) bool {
	_, err := strconv.ParseUint(name, 10, 63)
	return err == nil && len(name) == nameLen
}

// byContent guesses from the first bytes.
func byContent(size int64, head []byte) FileKind {
	if len(head) >= 8 {
		switch binary.BigEndian.Uint32(head[4:]) {
		case record.MagicV1, record.MagicV2:
			return LogFile
		}
	}
	if size == TimerWheelSize {
		return TimerWheelFile
	}
	if u, ok, _ := ParseTimerUnit(head); ok && u.Magic != 0 {
		return TimerLogFile
	}
	if e, ok := ParseBatchEntry(head); ok && size%BatchEntrySize == 0 && e.Count < 1<<12 && binary.BigEndian.Uint32(head[38:]) == 1<<32-1 {
		return BatchQueueFile
	}
	if _, ok := ParseEntry(head); ok && size%EntrySize == 0 {
		return QueueFile
	}
	if len(head) > 0 && (head[0] == '{' || head[0] == '[') {
		return ConfigText
	}
	return UnknownFile
}

// Item is one thing that a file holds.
type Item struct {
	Number int64  `json:"number"` // what File.Each counts by
	At     int64  `json:"at"`     // byte in the file
	Value  any    `json:"value"`  // a *Record, an Entry, ... or text
	Fault  string `json:"fault,omitempty"`
}

// File is one file, looked at by itself.
type File struct {
	Kind FileKind
	Name string // with slashes
	Size int64
	Base int64 // the offset that the name is, where it is one

	r   io.ReaderAt
	buf []byte
	at  int64
}

// OpenFile recognises a file.
func OpenFile(r io.ReaderAt, size int64, name string) (*File, error) {
	f := &File{Name: name, Size: size, r: r}
	head := make([]byte, min(HeadSize, size))
	if n, err := r.ReadAt(head, 0); n < len(head) {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	f.Kind = Recognize(name, size, head)
	if base, err := strconv.ParseInt(path.Base(name), 10, 64); err == nil && isOffset(path.Base(name)) {
		f.Base = base
	}
	return f, nil
}

// get is n bytes at a position, fewer at the end of the file; they are valid until the next call.
func (f *File) get(at, n int64) ([]byte, error) {
	if at < 0 || at > f.Size {
		return nil, nil
	}
	if at < f.at || at+n > f.at+int64(len(f.buf)) {
		want := min(max(n, 256<<10), max(f.Size-at, 0))
		if int64(cap(f.buf)) < want {
			f.buf = make([]byte, want)
		}
		got, err := f.r.ReadAt(f.buf[:want], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s at %d: %w", f.Name, at, err)
		}
		f.buf, f.at = f.buf[:got], at
	}
	b := f.buf[min(at-f.at, int64(len(f.buf))):]
	return b[:min(n, int64(len(b)))], nil
}

// text is the whole of a small file.
func (f *File) text() (string, error) {
	if f.Size > 512<<20 {
		return "", fmt.Errorf("%s: %d bytes are too many for a file of its kind", f.Name, f.Size)
	}
	b, err := f.get(0, f.Size)
	return string(b), err
}

// Counts says what the numbers of the items are, "" for a file that is one item.
func (f *File) Counts() string {
	switch f.Kind {
	case LogFile, CompactionLogFile:
		return "offset in the log"
	case QueueFile:
		return "queue offset"
	case BatchQueueFile, CompactionQueueFile, IndexFile:
		return "number of the entry"
	case ExtFile, TimerLogFile:
		return "position in the log of the kind"
	case TimerWheelFile:
		return "number of the slot"
	}
	return ""
}

// Each calls fn for what the file holds, from a number on, until fn returns false.
func (f *File) Each(from int64, fn func(Item) bool) error {
	if f.Base > math.MaxInt64-f.Size { // no broker gets there
		return fmt.Errorf("%s: its name is beyond what a log can have", f.Name)
	}
	from = min(max(from, 0), f.Base+f.Size)
	switch f.Kind {
	case LogFile, CompactionLogFile:
		return f.eachRecord(from, fn)
	case QueueFile:
		return f.eachEntry(from, EntrySize, fn)
	case BatchQueueFile, CompactionQueueFile:
		return f.eachEntry(from, BatchEntrySize, fn)
	case ExtFile:
		return f.eachExt(from, fn)
	case IndexFile:
		return f.eachIndexEntry(from, fn)
	case TimerWheelFile:
		return f.eachSlot(from, fn)
	case TimerLogFile:
		return f.eachTimer(from, fn)
	}
	v, err := f.single()
	if err != nil {
		return err
	}
	fn(Item{Value: v})
	return nil
}

// single is a file that is one item.
func (f *File) single() (any, error) {
	text, err := f.text()
	if err != nil {
		return nil, err
	}
	switch f.Kind {
	case CheckpointFile:
		return ParseCheckpoint([]byte(text))
	case TimerCheckFile:
		return ParseTimerCheckpoint([]byte(text))
	case EpochFile:
		return ParseEpochs(text)
	case IdentityFile:
		return ParseIdentity(text)
	case AbortFile, LockFile, ConfigText:
		return text, nil
	}
	return nil, fmt.Errorf("%s: no file of a data directory that is known, by its name or by what it begins with", f.Name)
}

// eachRecord walks a file of the log; a number is an offset of the whole log.
func (f *File) eachRecord(from int64, fn func(Item) bool) error {
	for at := int64(0); at+record.BlankSize <= f.Size; {
		head, err := f.get(at, record.BlankSize)
		if err != nil {
			return err
		}
		if len(head) < record.BlankSize {
			return nil
		}
		size := int64(int32(binary.BigEndian.Uint32(head)))
		switch magic := binary.BigEndian.Uint32(head[4:]); {
		case magic == record.MagicBlank:
			if f.Base+at >= from {
				fn(Item{Number: f.Base + at, At: at, Value: fmt.Sprintf("mark: the remaining %d bytes of the file are not used", size)})
			}
			return nil
		case magic == 0 && size == 0:
			return nil
		case magic != record.MagicV1 && magic != record.MagicV2 || size < record.MinSize || size > min(f.Size-at, maxRecord):
			fn(Item{Number: f.Base + at, At: at, Fault: fmt.Sprintf("no record: it begins with %x", head)})
			return nil
		}
		if f.Base+at >= from {
			more, err := f.record(at, size, fn)
			if err != nil || !more {
				return err
			}
		}
		at += size
	}
	return nil
}

func (f *File) record(at, size int64, fn func(Item) bool) (more bool, err error) {
	b, err := f.get(at, size)
	if err != nil {
		return false, err
	}
	rec := &Record{Bytes: b}
	item := Item{Number: f.Base + at, At: at, Value: rec}
	if err := record.Decode(b, &rec.Message); err != nil {
		item.Value, item.Fault = nil, err.Error()
		return fn(item), nil
	}
	var h record.Header
	_ = record.Parse(b, &h)
	switch {
	case h.CheckBody() != nil:
		rec.Fault = record.ErrBodyCRC
	case h.CheckPropCRC(b, false) != nil:
		rec.Fault = record.ErrPropCRC
	case rec.PhysicalOffset != item.Number:
		rec.Fault = fmt.Errorf("the record says that it starts at %d", rec.PhysicalOffset)
	}
	if rec.Fault != nil {
		item.Fault = rec.Fault.Error()
	}
	return fn(item), nil
}

// eachEntry walks a file of a queue; a number is that of an entry of the whole queue.
func (f *File) eachEntry(from, width int64, fn func(Item) bool) error {
	first := f.Base / width
	for n := max(from, first); ; n++ {
		at := n*width - f.Base
		b, err := f.get(at, width)
		if err != nil || int64(len(b)) < width {
			return err
		}
		var e Entry
		var ok bool
		if width == EntrySize {
			e, ok = ParseEntry(b)
			e.QueueOffset = n
		} else {
			e, ok = ParseBatchEntry(b)
		}
		item := Item{Number: n, At: at, Value: e}
		switch {
		case !ok && allZero(b):
			return nil
		case !ok:
			item.Fault = "no entry: it ends the queue"
		case e.Blank() && e.PhysicalOffset == 0:
			item.Value = "blank: the queue starts behind it"
		}
		if !fn(item) {
			return nil
		}
	}
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func (f *File) eachExt(from int64, fn func(Item) bool) error {
	for at := int64(0); ; {
		b, err := f.get(at, ExtUnitHead+1<<15)
		if err != nil {
			return err
		}
		u, ok := ParseExtUnit(b)
		if !ok {
			return nil
		}
		if f.Base+at >= from && !fn(Item{Number: f.Base + at, At: at, Value: u}) {
			return nil
		}
		at += int64(u.Size)
	}
}

func (f *File) eachTimer(from int64, fn func(Item) bool) error {
	at := max((from-f.Base+TimerUnitSize-1)/TimerUnitSize*TimerUnitSize, 0)
	for ; ; at += TimerUnitSize {
		b, err := f.get(at, TimerUnitSize)
		if err != nil {
			return err
		}
		u, ok, end := ParseTimerUnit(b)
		item := Item{Number: f.Base + at, At: at, Value: &u}
		u.Position = f.Base + at
		switch {
		case end:
			fn(Item{Number: f.Base + at, At: at, Value: "mark: the rest of the file is not used"})
			return nil
		case !ok && allZero(b):
			return nil
		case !ok:
			item.Value, item.Fault = nil, fmt.Sprintf("no unit: %x", b)
		}
		if !fn(item) || !ok {
			return nil
		}
	}
}

func (f *File) eachSlot(from int64, fn func(Item) bool) error {
	for n := max(from, 0); ; n++ {
		b, err := f.get(n*TimerSlotSize, TimerSlotSize)
		if err != nil || len(b) < TimerSlotSize {
			return err
		}
		s, ok := ParseTimerSlot(b)
		if !ok {
			continue
		}
		s.Index = int(n)
		item := Item{Number: n, At: n * TimerSlotSize, Value: s}
		if s.Time%TimerSlots != n {
			item.Fault = "the time is not this slot's"
		}
		if !fn(item) {
			return nil
		}
	}
}

// eachIndexEntry walks an index file: number 0 is the header, the others are entries.
func (f *File) eachIndexEntry(from int64, fn func(Item) bool) error {
	b, err := f.get(0, IndexHeadSize)
	if err != nil {
		return err
	}
	h, err := ParseIndexHeader(b)
	if err != nil {
		return err
	}
	h.Name, h.Size = path.Base(f.Name), f.Size
	if from <= 0 && !fn(Item{Value: h}) {
		return nil
	}
	slots, err := IndexSlots(f.r, f.Size, &h)
	if err != nil {
		return err
	}
	for n := max(from, 1); n < int64(h.IndexCount); n++ {
		at := indexEntryAt(slots, n)
		b, err := f.get(at, IndexEntrySize)
		if err != nil {
			return err
		}
		e, ok := ParseIndexEntry(b)
		if !ok {
			return fmt.Errorf("%s: the header counts %d entries, the file ends at %d", f.Name, h.IndexCount-1, f.Size)
		}
		e.Number = int32(n)
		if !fn(Item{Number: n, At: at, Value: e}) {
			return nil
		}
	}
	return nil
}
