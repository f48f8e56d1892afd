package timer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"apogee/compat/body"
	"apogee/store/vfs"
)

// checkpoint is config/timercheck (spec: store.md 12.4; Java TimerCheckpoint): seven numbers of eight bytes at the start of 4096 bytes.
type checkpoint struct {
	read    int64 // ms: all slots before this are delivered
	log     int64 // the timer log is on disk up to here
	queue   int64 // offset in the timer topic of the next message to enter
	master  int64 // the same at the master; on a master they are equal
	version body.DataVersion
}

const (
	checkpointSize  = 56
	checkpointBytes = 4096 // of the file
)

func (c *checkpoint) encode() []byte {
	b := make([]byte, 0, checkpointSize)
	for _, v := range []int64{c.read, c.log, c.queue, c.master, c.version.StateVersion, c.version.Timestamp, c.version.Counter} {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	return b
}

var errCheckpoint = errors.New("not a timer checkpoint")

func (c *checkpoint) parse(b []byte) error {
	if len(b) < checkpointSize {
		return fmt.Errorf("%w: %d bytes", errCheckpoint, len(b))
	}
	var v [7]int64
	for i := range v {
		if v[i] = int64(binary.BigEndian.Uint64(b[8*i:])); v[i] < 0 {
			return fmt.Errorf("%w: number %d is %d", errCheckpoint, i, v[i])
		}
	}
	*c = checkpoint{v[0], v[1], v[2], v[3], body.DataVersion{StateVersion: v[4], Timestamp: v[5], Counter: v[6]}}
	return nil
}

func checkpointName(dir string) string { return path.Join(dir, "config", "timercheck") }

// loadCheckpoint reads the file: fs.ErrNotExist if there is none.
func loadCheckpoint(fsys vfs.FS, dir string) (c checkpoint, err error) {
	b, err := vfs.ReadFile(fsys, checkpointName(dir))
	if err != nil {
		return c, err
	}
	return c, c.parse(b)
}

// openCheckpoint opens the file, which is written in place: its numbers lie in one sector.
func openCheckpoint(fsys vfs.FS, dir string) (vfs.File, error) {
	name := checkpointName(dir)
	f, err := fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		if err = fsys.MkdirAll(path.Dir(name)); err == nil {
			f, err = fsys.Create(name)
		}
		if err == nil {
			err = fsys.SyncDir(path.Dir(name))
		}
	}
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err == nil && size < checkpointBytes {
		err = f.Truncate(checkpointBytes)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
