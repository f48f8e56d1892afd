package order

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"apogee/broker/pop"
	"apogee/compat/fastjson"
	"apogee/store/vfs"
)

// file is config/consumerOrderInfo.json, as Java writes it:
//
//	{
//		"table":{
//			"tA@gA":{
//				0:{
//					"a":"attempt-1",
//					"cm":1,
//					"i":60000,
//					"l":1700000000500,
//					"o":[
//						100,
//						1,
//						2
//					],
//					"oc":{
//						100:1
//					},
//					"ot":{
//						100:1700000060000
//					},
//					"popTime":1700000000000
//				}
//			}
//		}
//	}
//
// o is the first offset and the distances of the others from it, cm the bits of those that are acknowledged, i the invisible time, l the
// time of the last pop, oc how often a message was handed out before, ot when it is visible again where it has a time of its own.
type file struct {
	fs   vfs.FS
	name string

	mu sync.Mutex // held across a write; taken by writers only
}

type fileBody struct {
	Table map[string]map[int32]*fileBatch `json:"table" fastjson:"nonnull"`
}

type fileBatch struct {
	Attempt   string          `json:"a,omitempty"`
	Acked     int64           `json:"cm"`
	Invisible *int64          `json:"i"`
	Last      int64           `json:"l"`
	Offsets   []int64         `json:"o" fastjson:"nonnull"`
	Counts    map[int64]int32 `json:"oc"`
	Visible   map[int64]int64 `json:"ot"`
	PopTime   int64           `json:"popTime"`
}

func (f *file) init(opts *Options) {
	f.fs, f.name = opts.FS, path.Join(opts.Dir, "config", "consumerOrderInfo.json")
}

// Load reads the file, or its backup. A missing one leaves the table empty.
func (t *Table) Load() error {
	small := vfs.SmallFile{
		FS: t.file.fs, Name: t.file.name, Log: t.opts.Log, Now: t.opts.Now, Salvage: fastjson.Salvage,
		Lost: "Ordered messages that were out and are not acknowledged are given out again at once",
	}
	if _, err := small.Load(t.parse); err != nil {
		return fmt.Errorf("load %w", err)
	}
	return nil
}

func (t *Table) parse(text []byte) error {
	var w fileBody
	if err := fastjson.Unmarshal(text, &w); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.groups, t.heap = make(map[name]map[int32]*batch), nil
	for key, queues := range w.Table {
		topic, group, ok := strings.Cut(key, "@")
		if !ok || strings.Contains(group, "@") {
			t.opts.Log.Warn("ordered pops of no topic and group are left out", "key", key)
			continue
		}
		for id, f := range queues {
			if f == nil || len(f.Offsets) == 0 || len(f.Offsets) > maxBatch {
				continue
			}
			b := f.batch(pop.Key{Topic: topic, Group: group, Queue: id})
			n := name{topic, group}
			if t.groups[n] == nil {
				t.groups[n] = make(map[int32]*batch)
			}
			t.groups[n][id] = b
			t.settleLocked(b)
		}
	}
	t.changed = false
	return nil
}

func (f *fileBatch) batch(k pop.Key) *batch {
	b := &batch{
		key: k, attempt: f.Attempt, popTime: f.PopTime, offsets: slices.Clone(f.Offsets), acked: uint64(f.Acked), visible: f.Visible,
		counts: f.Counts, last: f.Last, heapAt: -1,
	}
	for i := 1; i < len(b.offsets); i++ {
		b.offsets[i] += b.offsets[0]
	}
	if f.Invisible != nil {
		b.invisible = *f.Invisible
	}
	return b
}

// encodeLocked copies what it needs, so that the lock is not held while it is written.
func (b *batch) encodeLocked() *fileBatch {
	f := &fileBatch{
		Attempt: b.attempt, Acked: int64(b.acked), Last: b.last, Offsets: slices.Clone(b.offsets), Counts: b.counts,
		Visible: maps.Clone(b.visible), PopTime: b.popTime,
	}
	for i := 1; i < len(f.Offsets); i++ {
		f.Offsets[i] -= f.Offsets[0]
	}
	if b.invisible > 0 {
		invisible := b.invisible
		f.Invisible = &invisible
	}
	return f
}

// Persist forgets what belongs to nobody any more, and writes the file if there is something new.
func (t *Table) Persist() error {
	t.file.mu.Lock()
	defer t.file.mu.Unlock()
	t.Clean()
	w, changed := t.snapshot()
	if !changed {
		return nil
	}
	err := t.file.fs.MkdirAll(path.Dir(t.file.name))
	if err == nil {
		err = vfs.WriteFileAtomic(t.file.fs, t.file.name, fastjson.MarshalPretty(w))
	}
	if err != nil {
		t.mu.Lock()
		t.changed = true
		t.mu.Unlock()
		return fmt.Errorf("persist %s: %w", t.file.name, err)
	}
	return nil
}

func (t *Table) snapshot() (*fileBody, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.changed {
		return nil, false
	}
	t.changed = false
	w := &fileBody{Table: make(map[string]map[int32]*fileBatch, len(t.groups))}
	for n, queues := range t.groups {
		out := make(map[int32]*fileBatch, len(queues))
		for id, b := range queues {
			out[id] = b.encodeLocked()
		}
		w.Table[n.topic+"@"+n.group] = out
	}
	return w, true
}
