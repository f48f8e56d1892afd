package meta

import (
	"errors"
	"fmt"
	"log/slog"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/store/vfs"
)

// ConfigDir is where the files are, below the store's root.
func ConfigDir(root string) string { return path.Join(root, "config") }

// dataVersion is Java's DataVersion: it tells name servers and slaves whether a table has changed since they last saw it.
type dataVersion struct {
	mu sync.Mutex // guards v
	v  body.DataVersion
}

func (d *dataVersion) get() body.DataVersion {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.v
}

func (d *dataVersion) set(v body.DataVersion) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.v = v
}

// bump makes the next version and returns it. The state version belongs to controller mode and stays 0.
func (d *dataVersion) bump(now time.Time) body.DataVersion {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.v.Timestamp = now.UnixMilli()
	d.v.Counter++
	return d.v
}

// configFile writes one table to one file. Changes that come while a write is under way share the next one, so that creating
// many topics at once does not write the file for each.
type configFile struct {
	fs   vfs.FS
	name string
	log  *slog.Logger
	now  func() time.Time
	lost string     // what it means for clients that the file is lost
	got  vfs.Loaded // what load has found

	changes  atomic.Uint64 // counts changes of the table
	mu       sync.Mutex    // guards all below; held across the write, and taken by writers only
	written  uint64
	versions *vfs.Versions // made with the first write
}

// encoder makes the text of a file, and says what it has in common with the one before. It is called by one goroutine at a time.
type encoder func() ([]byte, vfs.Same, error)

// load reads the file, or its backup, or what can be salvaged of them. A missing one leaves the table as it is, and so does one that
// is of no use: a broker that has lost a table says so, and starts.
func (c *configFile) load(parse func([]byte) error) (err error) {
	f := vfs.SmallFile{FS: c.fs, Name: c.name, Log: c.log, Now: c.now, Salvage: fastjson.Salvage, Lost: c.lost}
	if c.got, err = f.Load(parse); err != nil {
		return fmt.Errorf("load %w", err)
	}
	if c.got.Damaged {
		c.changes.Add(1) // so that it is whole again soon
	}
	return nil
}

// lacking tells whether the table may lack what it once had.
func (c *configFile) lacking() bool { return c.got.Damaged || c.got.From == "" }

// persist returns when what the table held at the time of the call, or later, is on disk. An error leaves it to be written by the next
// call: the table in memory is ahead of the file then.
func (c *configFile) persist(encode encoder) error {
	want := c.changes.Load()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.written >= want {
		return nil
	}
	at := c.changes.Load()
	if c.versions == nil {
		dir := path.Dir(c.name)
		if err := errors.Join(c.fs.MkdirAll(dir), c.fs.SyncDir(path.Dir(dir))); err != nil {
			return fmt.Errorf("persist %s: %w", c.name, err)
		}
		c.versions = vfs.NewVersions(c.fs, c.name)
	}
	text, same, err := encode()
	if err != nil {
		return fmt.Errorf("persist %s: %w", c.name, err)
	}
	if err := c.versions.Write(text, same); err != nil {
		return fmt.Errorf("persist: %w", err)
	}
	c.written = at
	return nil
}
