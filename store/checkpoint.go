package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"
	"sync/atomic"

	"apogee/store/vfs"
)

// checkpointSize is the size of the checkpoint file; what follows the six numbers is zero.
const checkpointSize = 4096

// checkpoint is the file of that name: up to where log, queues and index were known to be durable (docs/format/checkpoint.md).
//
//	offset size field
//	     0    8 physicMsgTimestamp    store time of the newest message known to be flushed, ms
//	     8    8 logicsMsgTimestamp    store time of the newest message whose queue entry is flushed, ms
//	    16    8 indexMsgTimestamp     end of the last index file that was completed, ms
//	    24    8 masterFlushedOffset   a slave's: what its master has flushed
//	    32    8 confirmPhyOffset      as found by the last recovery
//	    40    8 logicsPhysicalOffset  start of the last record whose queue entry is flushed; 4.x files end before it
//	    48      zero
//
// The numbers may be set by anybody at any time; write puts all six out together.
type checkpoint struct {
	physicMsgTimestamp   atomic.Int64
	logicsMsgTimestamp   atomic.Int64
	indexMsgTimestamp    atomic.Int64
	masterFlushedOffset  atomic.Int64
	confirmPhyOffset     atomic.Int64
	logicsPhysicalOffset atomic.Int64

	fs   vfs.FS
	path string
	mu   sync.Mutex // serialises write; held across the sync of this small file
	last [6]int64   // what the file holds
	file bool       // the file exists with its full size
}

func (c *checkpoint) fields() [6]*atomic.Int64 {
	return [6]*atomic.Int64{
		&c.physicMsgTimestamp, &c.logicsMsgTimestamp, &c.indexMsgTimestamp,
		&c.masterFlushedOffset, &c.confirmPhyOffset, &c.logicsPhysicalOffset,
	}
}

// openCheckpoint reads the file. A missing or short one counts as zero from where it ends: both are normal (spec: store.md 6.1).
func openCheckpoint(fsys vfs.FS, name string) (*checkpoint, error) {
	c := &checkpoint{fs: fsys, path: name}
	data, err := vfs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	c.decode(data)
	c.file = len(data) == checkpointSize
	return c, nil
}

func (c *checkpoint) decode(data []byte) {
	var b [48]byte
	copy(b[:], data)
	for i, f := range c.fields() {
		// A negative number cannot have been written on purpose; 0 makes recovery start early, which is always safe.
		v := max(int64(binary.BigEndian.Uint64(b[i*8:])), 0)
		f.Store(v)
		c.last[i] = v
	}
}

// write makes the six numbers durable, if they have changed.
func (c *checkpoint) write() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var now [6]int64
	for i, f := range c.fields() {
		now[i] = f.Load()
	}
	if c.file && now == c.last {
		return nil
	}
	if err := c.put(now); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	c.last, c.file = now, true
	return nil
}

// put overwrites in place: 48 bytes lie in one sector, and Java maps the file, so it must keep its name and size.
func (c *checkpoint) put(now [6]int64) error {
	file, err := c.fs.Open(c.path)
	created := errors.Is(err, fs.ErrNotExist)
	if created {
		file, err = c.fs.Create(c.path)
	}
	if err != nil {
		return err
	}
	var b [checkpointSize]byte
	n := 48
	if !c.file {
		n = checkpointSize
	}
	for i, v := range now {
		binary.BigEndian.PutUint64(b[i*8:], uint64(v))
	}
	_, err = file.WriteAt(b[:n], 0)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	if created {
		return c.fs.SyncDir(path.Dir(c.path))
	}
	return nil
}

// minTimestamp is before which everything is durable in log and queues, with Java's three seconds of margin.
func (c *checkpoint) minTimestamp() int64 {
	return max(min(c.physicMsgTimestamp.Load(), c.logicsMsgTimestamp.Load())-3000, 0)
}

// minTimestampIndex counts the index as well.
func (c *checkpoint) minTimestampIndex() int64 {
	return min(c.minTimestamp(), c.indexMsgTimestamp.Load())
}
