package transaction

import (
	"fmt"
	"log/slog"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/store/vfs"
)

// counts are how many half messages of each real topic are undecided (TransactionMetrics), and the file config/transactionMetrics:
//
//	{"dataVersion":{"counter":2,"stateVersion":0,"timestamp":1700000000000},"transactionCount":{"tA":{"count":1,"timeStamp":1700000000000}}}
//
// They are for operators: nothing is decided by them, and a broker that was killed may have counted wrong, as Java's.
type counts struct {
	fs   vfs.FS
	name string
	log  *slog.Logger
	now  func() time.Time

	mu      sync.Mutex // guards what follows; a leaf
	topics  map[string]*count
	version body.DataVersion

	fileMu  sync.Mutex // serialises writers; held across the write
	written int64      // the version's counter in the file
	there   bool       // the file is
}

type count struct {
	Count     int64 `json:"count"`
	TimeStamp int64 `json:"timeStamp"`
}

func newCounts(fsys vfs.FS, dir string, now func() time.Time, log *slog.Logger) *counts {
	return &counts{
		fs: fsys, log: log, name: path.Join(dir, "config", "transactionMetrics"), now: now,
		topics: make(map[string]*count), version: body.NewDataVersion(now()),
	}
}

// load reads the file or its backup. A missing one is a new broker.
func (c *counts) load() error {
	small := vfs.SmallFile{FS: c.fs, Name: c.name, Log: c.log, Now: c.now, Lost: "Counts of half messages start at zero"}
	_, err := small.Load(func(data []byte) error {
		var b struct {
			DataVersion      body.DataVersion  `json:"dataVersion"`
			TransactionCount map[string]*count `json:"transactionCount"`
		}
		if err := fastjson.Unmarshal(data, &b); err != nil {
			return err
		}
		c.version, c.there = b.DataVersion, true
		c.written = c.version.Counter
		if b.TransactionCount != nil {
			c.topics = b.TransactionCount
			maps.DeleteFunc(c.topics, func(_ string, e *count) bool { return e == nil })
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("load %w", err)
	}
	return nil
}

// add counts n half messages of a topic.
func (c *counts) add(topic string, n int64) {
	ms := c.now().UnixMilli()
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.topics[topic]
	if e == nil { // else the key stays: the topic may be in mapped memory, and an assignment would put it in place of the key
		e = new(count)
		c.topics[strings.Clone(topic)] = e
	}
	e.Count += n
	e.TimeStamp = ms
	c.version.Counter++
	c.version.Timestamp = ms
}

// of is the count of a topic.
func (c *counts) of(topic string) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.topics[topic]; e != nil {
		return e.Count
	}
	return 0
}

// persist writes the file if something has changed.
func (c *counts) persist() error {
	c.fileMu.Lock()
	defer c.fileMu.Unlock()
	c.mu.Lock()
	at := c.version.Counter
	if c.there && at == c.written {
		c.mu.Unlock()
		return nil
	}
	text := c.encodeLocked()
	c.mu.Unlock()
	if err := c.fs.MkdirAll(path.Dir(c.name)); err != nil {
		return fmt.Errorf("persist %s: %w", c.name, err)
	}
	if err := vfs.WriteFileAtomic(c.fs, c.name, text); err != nil {
		return fmt.Errorf("persist: %w", err)
	}
	c.written, c.there = at, true
	return nil
}

func (c *counts) encodeLocked() []byte {
	b := fmt.Appendf(nil, `{"dataVersion":{"counter":%d,"stateVersion":%d,"timestamp":%d},"transactionCount":{`,
		c.version.Counter, c.version.StateVersion, c.version.Timestamp)
	for i, topic := range slices.Sorted(maps.Keys(c.topics)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, fastjson.Marshal(topic)...), ':')
		b = fmt.Appendf(b, `{"count":%d,"timeStamp":%d}`, c.topics[topic].Count, c.topics[topic].TimeStamp)
	}
	return append(b, "}}"...)
}
