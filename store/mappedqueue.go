package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"

	"apogee/store/vfs"
)

// mappedQueue is a directory of mapped files of one size that together are one long file: each is named by the offset of its
// first byte, 20 digits. Offsets are of the whole; positions are inside one file.
//
// Readers take a snapshot of the list without a lock. Changes are made by the queue's one writer and by deletion of old
// files; mu serialises those.
type mappedQueue struct {
	fs       vfs.FS
	dir      string
	fileSize int64
	readOnly bool // files are mapped for reading only
	parents  int  // how many directories above dir were made with it and must be synced for its files to survive

	files    atomic.Pointer[[]*mappedFile] // ascending, immutable
	mu       sync.Mutex                    // guards changes of files and dirDirty
	dirDirty bool                          // files were made since the directories were synced
}

func newMappedQueue(fs vfs.FS, dir string, fileSize int64, parents int) *mappedQueue {
	q := &mappedQueue{fs: fs, dir: dir, fileSize: fileSize, parents: parents}
	q.files.Store(&[]*mappedFile{})
	return q
}

// fileName is the name of the file that starts at an offset.
func fileName(base int64) string { return fmt.Sprintf("%020d", base) }

// oddFile is a file that cannot be one of a queue of files.
type oddFile struct {
	name string
	base int64 // -1 for one whose name is no offset
	size int64
	why  error
}

// load finds the files. As in Java (spec: store.md 1) each must have the configured size and a number as its name;
// directories are passed over, and an empty file that sorts last is deleted, since a crash between creating and sizing leaves
// one. After an unclean exit an empty file may stand further in front as well, where files are not synced when they are
// made; it gets its size again, and recovery finds that it holds nothing. odd is told of what cannot be a file of the queue: unless it
// returns an error, that file is passed over.
func (q *mappedQueue) load(last exit, odd func(oddFile) error) error {
	infos, err := q.fs.ReadDir(q.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var files []*mappedFile
	for i, info := range infos {
		if info.Dir {
			continue
		}
		name := path.Join(q.dir, info.Name)
		base, err := strconv.ParseInt(info.Name, 10, 64)
		if err != nil || base < 0 {
			if err := odd(oddFile{name, -1, info.Size, fmt.Errorf("%s: %w: its name is not an offset", name, ErrForeignFile)}); err != nil {
				return err
			}
			continue
		}
		if info.Size == 0 && i == len(infos)-1 {
			if err := q.fs.Remove(name); err != nil {
				return err
			}
			continue
		}
		if info.Size == 0 && last == uncleanExit {
			if err := resizeFile(q.fs, name, q.fileSize); err != nil {
				return err
			}
			info.Size = q.fileSize
		}
		if info.Size != q.fileSize {
			err := fmt.Errorf("%s: %w: it has %d bytes, the configuration says %d", name, ErrFileSize, info.Size, q.fileSize)
			if err := odd(oddFile{name, base, info.Size, err}); err != nil {
				return err
			}
			continue
		}
		f := openMapped(q.fs, name, base, q.fileSize)
		f.readOnly = q.readOnly
		files = append(files, f)
	}
	sort.Slice(files, func(i, j int) bool { return files[i].base < files[j].base })
	q.files.Store(&files)
	return nil
}

// cutAt takes the files from an offset on out of the queue, and those behind the first gap, and returns them. For the time before the
// queue is used.
func (q *mappedQueue) cutAt(off int64) []*mappedFile {
	l := q.list()
	n := 0
	for n < len(l) && l[n].base < off && (n == 0 || l[n].base == l[n-1].end()) {
		n++
	}
	keep := l[:n:n]
	q.files.Store(&keep)
	return l[n:]
}

// forget takes a file out of the queue that is not in its place any more.
func (q *mappedQueue) forget(f *mappedFile) {
	q.mu.Lock()
	defer q.mu.Unlock()
	f.close()
	l := slices.DeleteFunc(slices.Clone(q.list()), func(o *mappedFile) bool { return o == f })
	q.files.Store(&l)
}

func resizeFile(fs vfs.FS, name string, size int64) error {
	f, err := fs.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}

// list is the present files, oldest first; not to be changed.
func (q *mappedQueue) list() []*mappedFile { return *q.files.Load() }

func (q *mappedQueue) first() *mappedFile {
	if l := q.list(); len(l) > 0 {
		return l[0]
	}
	return nil
}

func (q *mappedQueue) last() *mappedFile {
	if l := q.list(); len(l) > 0 {
		return l[len(l)-1]
	}
	return nil
}

// find is the file that an offset lies in, nil if there is none.
func (q *mappedQueue) find(off int64) *mappedFile {
	l := q.list()
	if len(l) == 0 || off < l[0].base {
		return nil
	}
	i := int((off - l[0].base) / q.fileSize) // right unless somebody took a file out of the middle
	if i >= len(l) || l[i].base > off {
		i = sort.Search(len(l), func(i int) bool { return l[i].base > off }) - 1
	}
	if f := l[i]; off < f.end() {
		return f
	}
	return nil
}

// from is the files that hold offsets at or after off, oldest first.
func (q *mappedQueue) from(off int64) []*mappedFile {
	l := q.list()
	return l[sort.Search(len(l), func(i int) bool { return l[i].end() > off }):]
}

// minOffset is the first offset, 0 for no files.
func (q *mappedQueue) minOffset() int64 {
	if f := q.first(); f != nil {
		return f.base
	}
	return 0
}

// maxOffset is the end of what is written, 0 for no files.
func (q *mappedQueue) maxOffset() int64 {
	if f := q.last(); f != nil {
		return f.base + f.wrote.Load()
	}
	return 0
}

// nextBase is where the next file starts: after the last one, or, where there is none, at the one that start lies in.
func (q *mappedQueue) nextBase(start int64) int64 {
	if f := q.last(); f != nil {
		return f.end()
	}
	return start - start%q.fileSize
}

// create makes the next file, of which fill writes the beginning. The directory is made with the first one. No blocks are allocated: see
// mappedFile.reserve.
func (q *mappedQueue) create(start int64, fill func(*mappedFile) error) (*mappedFile, error) {
	base := q.nextBase(start)
	if err := q.makeDir(); err != nil {
		return nil, err
	}
	f, err := createMapped(q.fs, path.Join(q.dir, fileName(base)), base, q.fileSize)
	if err != nil {
		return nil, err
	}
	f.readOnly = q.readOnly
	if err := fill(f); err != nil {
		return nil, errors.Join(err, f.remove())
	}
	q.add(f)
	return f, nil
}

// createAt is create with the first bytes, in as few steps as there can be: many thousands of files may be made at once. The
// caller stores wrote.
func (q *mappedQueue) createAt(base int64, p []byte, pos int64) (*mappedFile, error) {
	if err := q.makeDir(); err != nil {
		return nil, err
	}
	name := q.dir + "/" + fileName(base)
	if err := anew(q.fs, name, func() error { return vfs.CreateAt(q.fs, name, q.fileSize, p, pos) }); err != nil {
		return nil, err
	}
	f := &mappedFile{fs: q.fs, path: name, base: base, size: q.fileSize, readOnly: q.readOnly}
	q.add(f)
	return f, nil
}

func (q *mappedQueue) makeDir() error {
	if q.last() != nil {
		return nil
	}
	return q.fs.MkdirAll(q.dir)
}

// add appends a file that was made elsewhere (preallocated).
func (q *mappedQueue) add(f *mappedFile) {
	q.mu.Lock()
	defer q.mu.Unlock()
	old := q.list()
	l := append(old[:len(old):len(old)], f)
	q.files.Store(&l)
	q.dirDirty = true
}

// markUnsynced says that the directory entries may be younger than the last crash (a killed process): sync makes sure of them.
func (q *mappedQueue) markUnsynced() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dirDirty = true
}

// truncate ends the queue at off: files beyond are removed, the file that holds off gets its position there. Bytes after off
// are not cleared (spec: store.md 2), the next write overwrites them.
func (q *mappedQueue) truncate(off int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.list()
	n := sort.Search(len(l), func(i int) bool { return l[i].base > off })
	keep := l[:n:n]
	q.files.Store(&keep)
	if n > 0 && off < l[n-1].end() {
		f := l[n-1]
		f.setPosition(off-f.base, f.flushed.Load() >= off-f.base)
	}
	var errs error
	for _, f := range slices.Backward(l[n:]) { // a crash under way leaves no hole
		errs = errors.Join(errs, f.remove())
	}
	return errs
}

// removeFirst deletes the oldest file.
func (q *mappedQueue) removeFirst() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.list()
	if len(l) == 0 {
		return nil
	}
	rest := l[1:]
	q.files.Store(&rest)
	return l[0].remove()
}

// destroy removes every file and the directory, if nothing else is in it.
func (q *mappedQueue) destroy() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	var errs error
	for _, f := range q.list() {
		errs = errors.Join(errs, f.remove())
	}
	q.files.Store(&[]*mappedFile{})
	if infos, err := q.fs.ReadDir(q.dir); err == nil && len(infos) == 0 {
		errs = errors.Join(errs, q.fs.Remove(q.dir))
	}
	return errs
}

// close unmaps every file that nobody holds.
func (q *mappedQueue) close() {
	for _, f := range q.list() {
		f.close()
	}
}

// sync makes all that is written durable, the existence of new files included.
func (q *mappedQueue) sync() error {
	for _, f := range q.list() {
		if f.flushed.Load() >= f.wrote.Load() {
			continue
		}
		if err := f.hold(); err != nil {
			if errors.Is(err, errFileGone) {
				continue
			}
			return err
		}
		err := f.sync(f.wrote.Load())
		f.release()
		if err != nil {
			return err
		}
	}
	return q.syncDirs()
}

// dirsSynced says that the existence of all files is durable, by other means than syncDirs.
func (q *mappedQueue) dirsSynced() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dirDirty = false
}

// syncDirs makes the existence of new files durable.
func (q *mappedQueue) syncDirs() error {
	q.mu.Lock()
	dirty := q.dirDirty
	q.dirDirty = false
	q.mu.Unlock()
	if !dirty {
		return nil
	}
	dir := q.dir
	for range q.parents + 1 {
		if err := q.fs.SyncDir(dir); err != nil {
			q.markUnsynced()
			return err
		}
		dir = path.Dir(dir)
	}
	return nil
}
