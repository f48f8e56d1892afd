package verify

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"

	"apogee/store/inspect"
)

// Extensions reads the extensions of queue entries that a Java broker with enableConsumeQueueExt wrote. The one at hand stays, since entries
// come in the order in which they were written.
type Extensions struct {
	Root  fs.FS // of the data directory
	lists map[queueKey][]segment

	file fs.File
	name string
	buf  []byte
	at   int64
}

var errNoExt = errors.New("there is none")

// Tags is the tags code that an extension holds.
func (x *Extensions) Tags(topic string, id int32, at int64) (int64, error) {
	key := queueKey{topic, id}
	dir := path.Join(extDir, topic, strconv.Itoa(int(id)))
	list, ok := x.lists[key]
	if !ok {
		entries, err := fs.ReadDir(x.Root, dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
		for _, e := range entries {
			base, err := strconv.ParseInt(e.Name(), 10, 64)
			if info, infoErr := e.Info(); err == nil && infoErr == nil && !e.IsDir() {
				list = append(list, segment{e.Name(), base, info.Size()})
			}
		}
		if x.lists == nil {
			x.lists = map[queueKey][]segment{}
		}
		x.lists[key] = list
	}
	seg := find(list, at)
	if seg == nil {
		return 0, errNoExt
	}
	b, err := x.read(path.Join(dir, seg.name), at-seg.base, seg.size)
	if err != nil {
		return 0, err
	}
	u, ok := inspect.ParseExtUnit(b)
	if !ok {
		return 0, fmt.Errorf("%w: %x", errNoExt, b[:min(len(b), inspect.ExtUnitHead)])
	}
	return u.TagsCode, nil
}

func (x *Extensions) read(name string, at, size int64) ([]byte, error) {
	if x.name != name {
		x.Close()
		f, err := x.Root.Open(name)
		if err != nil {
			return nil, err
		}
		x.file, x.name = f, name
	}
	if at < x.at || at+inspect.ExtUnitHead > x.at+int64(len(x.buf)) {
		if x.buf == nil {
			x.buf = make([]byte, 0, 64<<10)
		}
		n, err := readFrom(x.file, name, x.buf[:min(int64(cap(x.buf)), size-at)], at)
		if err != nil {
			return nil, err
		}
		x.buf, x.at = x.buf[:n], at
	}
	return x.buf[at-x.at:], nil
}

// Close closes the file that was read last.
func (x *Extensions) Close() {
	if x.file != nil {
		_ = x.file.Close()
		x.file, x.name, x.buf = nil, "", x.buf[:0]
	}
}
