package meta

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/store/vfs"
)

// File names below config (BrokerPathConfigHelper).
const (
	offsetFile    = "consumerOffset.json"
	lmqOffsetFile = "lmqConsumerOffset.json"
)

// NewOffsets makes an empty table. Load follows.
func NewOffsets(opts OffsetOptions) *Offsets {
	o := &Offsets{opts: opts, lmq: opts.LMQ, seed: maphash.MakeSeed()}
	o.file = configFile{
		fs: opts.FS, name: path.Join(ConfigDir(opts.Dir), offsetFile), log: opts.Log, now: opts.Now,
		lost: "Groups whose offsets are lost start where their clients are told to start",
	}
	if o.opts.VersionStep <= 0 {
		o.opts.VersionStep = 500
	}
	o.version.set(body.NewDataVersion(opts.Now()))
	return o
}

// Load reads the offsets. A directory whose offsets are all in the light queues' file, because it was written with enableLmq, keeps
// that file even where the switch is off now, and one that has none because it was written without takes over what the other file has: Java
// would start with no offsets at all.
func (o *Offsets) Load() error {
	plain, light := o.file.name, path.Join(ConfigDir(o.opts.Dir), lmqOffsetFile)
	switch {
	case !o.lmq && o.absent(plain) && !o.absent(light):
		o.opts.Log.Warn("offsets are in the file for light queues, which stays in use", "file", lmqOffsetFile)
		o.lmq = true
	case o.lmq && o.absent(light) && !o.absent(plain):
		o.opts.Log.Warn("offsets are in the file without light queues, and go into the one with them", "file", offsetFile)
		if err := o.file.load(o.decode); err != nil {
			return err
		}
		o.file.name = light
		o.file.changes.Add(1)
		return nil
	}
	if o.lmq {
		o.file.name = light
	}
	return o.file.load(o.decode)
}

func (o *Offsets) absent(name string) bool {
	_, err := o.opts.FS.Stat(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	_, err = o.opts.FS.Stat(name + ".bak")
	return errors.Is(err, fs.ErrNotExist)
}

func (o *Offsets) decode(text []byte) error {
	var t body.ConsumerOffsetSerializeWrapper
	if err := fastjson.Unmarshal(text, &t); err != nil {
		return err
	}
	for key := range t.LMQOffsetTable {
		if !strings.Contains(key, "@") {
			return fmt.Errorf("offset key %q is not topic@group", key)
		}
	}
	for key := range t.OffsetTable {
		if !strings.Contains(key, "@") {
			return fmt.Errorf("offset key %q is not topic@group", key)
		}
	}
	o.extras = t.Extras
	if t.DataVersion != (body.DataVersion{}) { // 4.9 writes none
		o.version.set(t.DataVersion)
	}
	for key, queues := range t.OffsetTable {
		for q, off := range queues {
			o.restore(key, func(p *progress) { p.committed.set(q, off) })
		}
	}
	for key, off := range t.LMQOffsetTable {
		o.restore(key, func(p *progress) { p.committed.set(0, off) })
	}
	for key, queues := range t.PullOffsetTable {
		for q, off := range queues {
			o.restore(key, func(p *progress) { p.pulled.set(q, off) })
		}
	}
	return nil
}

func (o *Offsets) restore(key string, set func(*progress)) {
	topic, group, _ := strings.Cut(key, "@")
	s := o.stripe(group, topic)
	s.mu.Lock()
	defer s.mu.Unlock()
	set(s.lookupLocked(group, topic, true))
}

// Persist writes the file if an offset has changed since the last time.
func (o *Offsets) Persist() error {
	return o.file.persist(func() ([]byte, vfs.Same, error) {
		text := fastjson.Pretty(nil, o.Encode())
		if o.opts.Sync != nil {
			if err := o.opts.Sync(); err != nil {
				return nil, vfs.Same{}, err
			}
		}
		return text, vfs.Same{}, nil
	})
}

// Encode is the table as the file has it, in one line: body.ConsumerOffsetSerializeWrapper without the detour over maps, since a large broker writes hundreds of thousands of offsets every few seconds. groupTopicMap, which a getter of Java's
// leaks into the file and nobody reads, is left out.
func (o *Offsets) Encode() []byte { return o.encode(true) }

// EncodeCommitted is the table as slaves read it: without the offsets of pulls, which are of no use elsewhere. The slaves of Java 5.5.0 fail
// on them, since they cannot skip what they do not know if it has numbers for keys; they would get no offset at all.
func (o *Offsets) EncodeCommitted() []byte { return o.encode(false) }

func (o *Offsets) encode(all bool) []byte {
	committed, pulled, light := o.collect()
	version := o.version.get()
	b := append([]byte(nil), `{"dataVersion":`...)
	b = fastjson.Append(b, &version)
	for _, k := range slices.Sorted(maps.Keys(o.extras)) {
		b = append(b, ',')
		b = fastjson.Append(b, k)
		b = append(append(b, ':'), o.extras[k]...)
	}
	if o.lmq {
		b = append(b, `,"lmqOffsetTable":`...)
		b = appendEntries(b, light, func(b []byte, e *tableEntry) []byte { return strconv.AppendInt(b, e.queues[0].off, 10) })
	}
	b = append(b, `,"offsetTable":`...)
	b = appendEntries(b, committed, appendQueues)
	if all {
		b = append(b, `,"pullOffsetTable":`...)
		b = appendEntries(b, pulled, appendQueues)
	}
	return append(b, '}')
}

// tableEntry is one topic@group, taken out from under its lock.
type tableEntry struct {
	key    progressKey
	queues []queueOffset
}

type queueOffset struct {
	queue int32
	off   int64
}

// collect copies the tables stripe by stripe, in the order of their keys. Together they are no snapshot: each offset is one that
// was there at some moment of the walk.
func (o *Offsets) collect() (committed, pulled, light []tableEntry) {
	o.each(func(k progressKey, p *progress) bool {
		if q := p.committed.list(); len(q) > 0 {
			if o.lmq && IsLMQ(k.group) {
				light = append(light, tableEntry{k, q})
			} else {
				committed = append(committed, tableEntry{k, q})
			}
		}
		if q := p.pulled.list(); len(q) > 0 {
			pulled = append(pulled, tableEntry{k, q})
		}
		return false
	})
	for _, t := range [][]tableEntry{committed, pulled, light} {
		slices.SortFunc(t, func(a, b tableEntry) int {
			if c := strings.Compare(a.key.topic, b.key.topic); c != 0 {
				return c
			}
			return strings.Compare(a.key.group, b.key.group)
		})
	}
	return committed, pulled, light
}

func (q *queueValues) list() []queueOffset {
	n := q.count()
	if n == 0 {
		return nil
	}
	out := make([]queueOffset, 0, n)
	for id, v := range q.dense {
		if v != noOffset {
			out = append(out, queueOffset{int32(id), v})
		}
	}
	for id, v := range q.sparse {
		out = append(out, queueOffset{id, v})
	}
	if len(q.sparse) > 0 {
		slices.SortFunc(out, func(a, b queueOffset) int { return int(a.queue) - int(b.queue) })
	}
	return out
}

func appendEntries(b []byte, entries []tableEntry, value func([]byte, *tableEntry) []byte) []byte {
	b = append(b, '{')
	for i := range entries {
		if i > 0 {
			b = append(b, ',')
		}
		e := &entries[i]
		b = fastjson.Append(b, e.key.topic+"@"+e.key.group)
		b = value(append(b, ':'), e)
	}
	return append(b, '}')
}

func appendQueues(b []byte, e *tableEntry) []byte {
	b = append(b, '{')
	for i, q := range e.queues {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(q.queue), 10)
		b = append(b, ':')
		b = strconv.AppendInt(b, q.off, 10)
	}
	return append(b, '}')
}
