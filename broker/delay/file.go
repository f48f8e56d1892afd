package delay

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"path"
	"slices"
	"strconv"
	"sync"
	"time"

	"apogee/compat/fastjson"
	"apogee/store/vfs"
)

// snapshot is the progress at one moment, and how much of the commit log it relies on.
type snapshot struct {
	offsets map[int]int64
	end     int64
}

// file is config/delayOffset.json: the next queue offset of each level, as Java writes it.
//
//	{
//		"dataVersion":{
//			"counter":1,
//			"stateVersion":0,
//			"timestamp":1700000000000
//		},
//		"offsetTable":{
//			1:10,
//			3:42
//		}
//	}
type file struct {
	fs     vfs.FS
	name   string
	log    *slog.Logger
	now    func() time.Time
	levels int

	mu      sync.Mutex // guards all below; held across writes
	version version
	others  map[int]int64 // levels in the file that are not configured; kept
	written map[int]int64
	bumped  bool
	waiting *snapshot // the last one that was not yet safe
}

type version struct {
	Counter      int64 `json:"counter"`
	StateVersion int64 `json:"stateVersion"`
	Timestamp    int64 `json:"timestamp"`
}

func (f *file) init(opts Options) {
	f.fs, f.log, f.now, f.levels = opts.FS, opts.Log, opts.Now, len(opts.Levels)
	f.name = path.Join(opts.Dir, "config", "delayOffset.json")
	f.version.Timestamp = opts.Now().UnixMilli()
	f.others = make(map[int]int64)
}

// load reads the file or its backup. A missing one is a new broker.
func (f *file) load() (map[int]int64, error) {
	small := vfs.SmallFile{
		FS: f.fs, Name: f.name, Log: f.log, Now: f.now, Salvage: fastjson.Salvage,
		Lost: "Delayed messages of levels whose offsets are lost, and that are still in the log, are delivered again",
	}
	_, err := small.Load(func(data []byte) error {
		offsets, v, err := parse(data)
		if err != nil {
			return err
		}
		f.written, f.version = offsets, v
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load %w", err)
	}
	for level, off := range f.written {
		if level > f.levels {
			f.others[level] = off
		}
	}
	return f.written, nil
}

func parse(data []byte) (map[int]int64, version, error) {
	var body struct {
		DataVersion version          `json:"dataVersion"`
		OffsetTable map[string]int64 `json:"offsetTable"`
	}
	if err := fastjson.Unmarshal(data, &body); err != nil {
		return nil, version{}, err
	}
	offsets := make(map[int]int64, len(body.OffsetTable))
	for k, v := range body.OffsetTable {
		level, err := strconv.Atoi(k)
		if err != nil {
			return nil, version{}, fmt.Errorf("delay level %q: %w", k, err)
		}
		offsets[level] = v
	}
	return offsets, body.DataVersion, nil
}

// adopt takes over another broker's data version, unless it is older than the one of a file that is here.
func (f *file) adopt(v version) (newer bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting = nil
	if f.written != nil && v.compare(f.version) < 0 {
		return false
	}
	f.bumped = f.bumped || v != f.version
	f.version = v
	return true
}

func (v version) compare(w version) int {
	return cmp.Or(cmp.Compare(v.StateVersion, w.StateVersion), cmp.Compare(v.Counter, w.Counter), cmp.Compare(v.Timestamp, w.Timestamp))
}

// bump makes the next data version.
func (f *file) bump() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.version.Counter++
	f.version.Timestamp = f.now().UnixMilli()
	f.bumped = true
}

// persist writes s, or what was left waiting by the call before, whichever is the newest that is on disk; flushed == nil takes s for safe.
func (f *file) persist(s snapshot, flushed func() int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if flushed != nil {
		safe := flushed()
		switch last := f.waiting; {
		case s.end <= safe:
			f.waiting = nil
		case last == nil:
			f.waiting = &s
			return nil
		case last.end > safe: // it stays, so that its turn comes however far the flush is behind
			return nil
		default:
			f.waiting = &s
			s = *last
		}
	}
	if !f.bumped && f.written != nil && maps.Equal(f.written, f.merged(s.offsets)) { // a missing file is written, empty as it may be: Java does
		return nil
	}
	if err := f.fs.MkdirAll(path.Dir(f.name)); err != nil {
		return fmt.Errorf("persist %s: %w", f.name, err)
	}
	if err := vfs.WriteFileAtomic(f.fs, f.name, f.encodeLocked(s.offsets)); err != nil {
		return fmt.Errorf("persist: %w", err)
	}
	f.written, f.bumped = f.merged(s.offsets), false
	return nil
}

// merged adds the levels that are in the file but not configured.
func (f *file) merged(offsets map[int]int64) map[int]int64 {
	out := maps.Clone(f.others)
	maps.Copy(out, offsets)
	return out
}

func (f *file) encode(offsets map[int]int64) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.encodeLocked(offsets)
}

func (f *file) encodeLocked(offsets map[int]int64) []byte {
	b := fmt.Appendf(nil, "{\n\t\"dataVersion\":{\n\t\t\"counter\":%d,\n\t\t\"stateVersion\":%d,\n\t\t\"timestamp\":%d\n\t},\n\t\"offsetTable\":{",
		f.version.Counter, f.version.StateVersion, f.version.Timestamp)
	all := f.merged(offsets)
	for i, level := range slices.Sorted(maps.Keys(all)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, "\n\t\t%d:%d", level, all[level])
	}
	if len(all) > 0 {
		b = append(b, "\n\t"...)
	}
	return append(b, "}\n}"...)
}
