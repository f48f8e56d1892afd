package vfs

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Mem is a file system in memory that knows what would survive a power cut: contents since the last Sync and directory
// entries since the last SyncDir are volatile. [Mem.CrashClone] draws one of the states such a cut may leave. Mapped bytes
// are plain memory, so a write past allocated blocks does not fault as it would on a full disk; [Mem.WroteUnallocated]
// finds such writes.
//
// It is safe for concurrent use. Cloning while a mapping is being written gives, as a disk would, old or new bytes.
type Mem struct {
	now      func() time.Time
	capacity uint64 // bytes; 0 is without limit

	mu    sync.Mutex // guards all below and every inode
	nodes map[string]*inode
	undo  map[string][]dirOp // by directory, oldest first: entry changes that SyncDir has not made durable
	locks map[string]bool
	used  uint64
}

// inode is a file or directory. data is what a running program sees, durable what the disk has.
type inode struct {
	dir       bool
	data      []byte
	durable   []byte
	allocated map[int64]bool // page numbers with blocks behind them
	modTime   time.Time
	mapped    int  // live mappings: data must stay where it is
	removed   bool // its blocks are not counted any more
}

// dirOp is one entry's change: what stood under name before it.
type dirOp struct {
	name string
	was  *inode
}

// NewMem makes an empty file system. Modification times come from now.
func NewMem(now func() time.Time) *Mem {
	return &Mem{
		now:   now,
		nodes: map[string]*inode{"/": {dir: true}, ".": {dir: true}},
		undo:  map[string][]dirOp{},
		locks: map[string]bool{},
	}
}

// SetCapacity limits the bytes of blocks; 0 lifts the limit.
func (m *Mem) SetCapacity(bytes uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = bytes
}

// SetModTime changes a file's modification time.
func (m *Mem) SetModTime(name string, t time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.lookup("chtimes", name)
	if err != nil {
		return err
	}
	n.modTime = t
	return nil
}

func (m *Mem) lookup(op, name string) (*inode, error) {
	n := m.nodes[path.Clean(name)]
	if n == nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return n, nil
}

// link puts n (nil removes) under name and notes what stood there.
func (m *Mem) link(name string, n *inode) {
	name = path.Clean(name)
	dir := path.Dir(name)
	m.undo[dir] = append(m.undo[dir], dirOp{name: name, was: m.nodes[name]})
	if n == nil {
		delete(m.nodes, name)
	} else {
		m.nodes[name] = n
	}
}

func (m *Mem) Open(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.lookup("open", name)
	if err != nil {
		return nil, err
	}
	if n.dir {
		return nil, &fs.PathError{Op: "open", Path: name, Err: unix.EISDIR}
	}
	return &memFile{fs: m, node: n, name: name}, nil
}

func (m *Mem) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = path.Clean(name)
	if m.nodes[name] != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	parent, err := m.lookup("create", path.Dir(name))
	if err != nil {
		return nil, err
	}
	if !parent.dir {
		return nil, &fs.PathError{Op: "create", Path: name, Err: unix.ENOTDIR}
	}
	n := &inode{allocated: map[int64]bool{}, modTime: m.now()}
	m.link(name, n)
	return &memFile{fs: m, node: n, name: name}, nil
}

func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.lookup("remove", name)
	if err != nil {
		return err
	}
	if n.dir && len(m.children(name)) > 0 {
		return &fs.PathError{Op: "remove", Path: name, Err: unix.ENOTEMPTY}
	}
	m.forget(n)
	m.link(name, nil)
	return nil
}

// forget takes the blocks of what has no name any more off those that are used. Who has the file open may go on.
func (m *Mem) forget(n *inode) {
	n.removed = true
	m.used -= uint64(len(n.allocated)) * PageSize
}

func (m *Mem) Rename(oldname, newname string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.lookup("rename", oldname)
	if err != nil {
		return err
	}
	if n.dir {
		return m.renameDir(path.Clean(oldname), path.Clean(newname))
	}
	if old := m.nodes[path.Clean(newname)]; old != nil && old != n {
		m.forget(old)
	}
	m.link(newname, n)
	m.link(oldname, nil)
	return nil
}

// renameDir moves a directory and all that is below it. It is all there under one of the two names after a crash; here it is always under
// the new one.
func (m *Mem) renameDir(from, to string) error {
	if m.nodes[to] != nil {
		return &fs.PathError{Op: "rename", Path: to, Err: fs.ErrExist}
	}
	for name, n := range maps.Clone(m.nodes) {
		if rest, below := strings.CutPrefix(name, from); below && (rest == "" || rest[0] == '/') {
			delete(m.nodes, name)
			m.nodes[to+rest] = n
		}
	}
	for dir, ops := range maps.Clone(m.undo) {
		if rest, below := strings.CutPrefix(dir, from); below && (rest == "" || rest[0] == '/') {
			delete(m.undo, dir)
			for i := range ops {
				ops[i].name = to + strings.TrimPrefix(ops[i].name, from)
			}
			m.undo[to+rest] = ops
		}
	}
	return nil
}

func (m *Mem) MkdirAll(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir = path.Clean(dir)
	var missing []string
	for d := dir; ; d = path.Dir(d) {
		if n := m.nodes[d]; n != nil {
			if !n.dir {
				return &fs.PathError{Op: "mkdir", Path: d, Err: unix.ENOTDIR}
			}
			break
		}
		missing = append(missing, d)
	}
	for _, d := range slices.Backward(missing) {
		m.link(d, &inode{dir: true, modTime: m.now()})
	}
	return nil
}

// children are the full names directly under dir, sorted.
func (m *Mem) children(dir string) []string {
	dir = path.Clean(dir)
	var names []string
	for name := range m.nodes {
		if name != dir && path.Dir(name) == dir {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (m *Mem) ReadDir(dir string) ([]Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.lookup("readdir", dir)
	if err != nil {
		return nil, err
	}
	if !n.dir {
		return nil, &fs.PathError{Op: "readdir", Path: dir, Err: unix.ENOTDIR}
	}
	var infos []Info
	for _, name := range m.children(dir) {
		infos = append(infos, m.nodes[name].info(name))
	}
	return infos, nil
}

func (n *inode) info(name string) Info {
	return Info{Name: path.Base(name), Size: int64(len(n.data)), ModTime: n.modTime, Dir: n.dir}
}

func (m *Mem) Stat(name string) (Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.lookup("stat", name)
	if err != nil {
		return Info{}, err
	}
	return n.info(name), nil
}

func (m *Mem) SyncAll(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.lookup("sync", dir); err != nil {
		return err
	}
	clear(m.undo)
	for _, n := range m.nodes {
		n.sync(0, int64(len(n.data)))
	}
	return nil
}

func (m *Mem) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.lookup("sync", dir); err != nil {
		return err
	}
	delete(m.undo, path.Clean(dir))
	return nil
}

type memLock struct {
	fs   *Mem
	name string
}

func (m *Mem) Lock(name string) (io.Closer, error) {
	if _, err := m.Stat(name); err != nil {
		f, err := m.Create(name)
		if err != nil {
			return nil, err
		}
		_ = f.Close()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	name = path.Clean(name)
	if m.locks[name] {
		return nil, fmt.Errorf("lock %s: %w", name, ErrLocked)
	}
	m.locks[name] = true
	return memLock{m, name}, nil
}

func (l memLock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	delete(l.fs.locks, l.name)
	return nil
}

func (m *Mem) DiskUsage(name string) (Usage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.lookup("statfs", name); err != nil {
		return Usage{}, err
	}
	total := m.capacity
	if total == 0 {
		total = 1 << 50
	}
	return Usage{Used: m.used, Total: total}, nil
}

// take accounts blocks for a range of n; a full disk is ErrNoSpace, with nothing taken.
func (m *Mem) take(n *inode, name string, off, size int64) error {
	var fresh []int64
	for p := off / PageSize; p*PageSize < off+size; p++ {
		if !n.allocated[p] {
			fresh = append(fresh, p)
		}
	}
	need := uint64(len(fresh)) * PageSize
	if n.removed {
		need = 0
	}
	if m.capacity != 0 && m.used+need > m.capacity {
		return &fs.PathError{Op: "allocate", Path: name, Err: ErrNoSpace}
	}
	m.used += need
	for _, p := range fresh {
		n.allocated[p] = true
	}
	return nil
}

// give takes blocks away that which is true of.
func (m *Mem) give(n *inode, which func(page int64) bool) {
	for p := range n.allocated {
		if which(p) {
			delete(n.allocated, p)
			if !n.removed {
				m.used -= PageSize
			}
		}
	}
}

// WroteUnallocated lists files in which bytes were written, through a mapping, where no blocks had been allocated: on a real
// disk that is a fault once it is full.
func (m *Mem) WroteUnallocated() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for name, n := range m.nodes {
		for p := int64(0); p*PageSize < int64(len(n.data)); p++ {
			if !n.allocated[p] && !allZero(n.data[p*PageSize:min((p+1)*PageSize, int64(len(n.data)))]) {
				names = append(names, fmt.Sprintf("%s page %d", name, p))
			}
		}
	}
	slices.Sort(names)
	return names
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// Synced tells whether a range of a file is as it was synced. A name that was not synced can still go.
func (m *Mem) Synced(name string, off, size int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.nodes[path.Clean(name)]
	return n != nil && off+size <= int64(min(len(n.data), len(n.durable))) && bytes.Equal(n.data[off:off+size], n.durable[off:off+size])
}

// Dump lists every file with its size, one a line: for failing tests.
func (m *Mem) Dump() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var lines []string
	for name, n := range m.nodes {
		if !n.dir {
			lines = append(lines, fmt.Sprintf("%s %d", name, len(n.data)))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
