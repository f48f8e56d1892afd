package store

import (
	"bytes"
	"errors"
	"os"
	"path"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"apogee/store/vfs"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// epoch is when tests take place.
var epoch = time.UnixMilli(1_700_000_000_000)

func newMem(t testing.TB) *vfs.Mem {
	t.Helper()
	m := vfs.NewMem(func() time.Time { return epoch })
	must(t, m.MkdirAll("/q"))
	must(t, m.SyncDir("/"))
	return m
}

func newFile(t testing.TB, fsys vfs.FS, dir string, size int64) *mappedFile {
	t.Helper()
	f, err := createMapped(fsys, path.Join(dir, fileName(0)), 0, size)
	must(t, err)
	return f
}

func TestMappedFileRoundTrip(t *testing.T) {
	for name, where := range map[string]struct {
		fsys vfs.FS
		dir  string
	}{"os": {vfs.OS(), t.TempDir()}, "mem": {newMem(t), "/q"}} {
		t.Run(name, func(t *testing.T) {
			f := newFile(t, where.fsys, where.dir, 3*vfs.PageSize)
			must(t, f.hold())
			must(t, f.reserve(10))
			must(t, f.writeAt(5, []byte("hello")))
			f.wrote.Store(10)
			must(t, f.sync(10))
			f.release()
			f.unmapIdle()
			f.unmapIdle()
			if f.mapping != nil {
				t.Fatal("an idle file is still mapped")
			}
			must(t, f.hold())
			defer f.release()
			got := make([]byte, 5)
			must(t, f.readAt(5, got))
			if string(got) != "hello" {
				t.Fatalf("read %q", got)
			}
		})
	}
}

func TestMappedFileStaysForItsHolders(t *testing.T) {
	m := newMem(t)
	f := newFile(t, m, "/q", vfs.PageSize)
	must(t, f.hold())
	view := f.bytes()
	must(t, f.remove())
	if err := f.hold(); !errors.Is(err, errFileGone) {
		t.Fatalf("hold of a removed file: %v", err)
	}
	if f.tryHold() {
		t.Fatal("tryHold of a removed file")
	}
	view[0] = 1 // still mapped
	if !f.held() || f.mapping == nil {
		t.Fatal("the mapping went away under its holder")
	}
	f.release()
	if f.held() || f.mapping != nil {
		t.Fatal("the mapping stayed after the last release")
	}
}

// TestMappedFileFaultIsAnError cuts a mapped file short, so that touching its end faults.
func TestMappedFileFaultIsAnError(t *testing.T) {
	dir := t.TempDir()
	f := newFile(t, vfs.OS(), dir, 4*vfs.PageSize)
	must(t, f.hold())
	defer f.release()
	must(t, f.writeAt(0, []byte("x")))
	file, err := os.OpenFile(filepath.Join(dir, fileName(0)), os.O_RDWR, 0)
	must(t, err)
	must(t, file.Truncate(vfs.PageSize))
	must(t, file.Close())
	if err := f.readAt(2*vfs.PageSize, make([]byte, 8)); !errors.Is(err, errFileFault) {
		t.Fatalf("read past the end: %v", err)
	}
	if err := f.writeAt(0, []byte("x")); !errors.Is(err, errFileFault) {
		t.Fatalf("a file that faulted takes a write: %v", err)
	}
	must(t, f.readAt(0, make([]byte, 8)))
}

func TestGuardLetsOtherPanicsThrough(t *testing.T) {
	f := newFile(t, newMem(t), "/q", vfs.PageSize)
	must(t, f.hold())
	defer f.release()
	for name, fn := range map[string]func() error{
		"a panic of its own":       func() error { panic("boom") },
		"an index out of range":    func() error { var b []byte; i := 3; b[i] = 1; return nil },
		"a fault somewhere else":   func() error { var p *int; *p = 1; return nil },
		"a slice past the mapping": func() error { n := vfs.PageSize + 1; _ = f.data[:n]; return nil },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Fatal("it was swallowed")
				}
				if f.failure() != nil {
					t.Fatal("the file was blamed for it")
				}
			}()
			_ = f.guard(fn)
		})
	}
}

func TestReserveInSteps(t *testing.T) {
	m := newMem(t)
	f := newFile(t, m, "/q", 1<<20)
	var sizes []int64
	for pos := int64(0); pos < 1<<20; pos += 20 {
		before := f.reserved.Load()
		must(t, f.reserve(pos+20))
		if after := f.reserved.Load(); after != before {
			sizes = append(sizes, after-before)
		}
	}
	if sizes[0] != reserveFirst || sizes[1] != reserveFirst || sizes[2] != 2*reserveFirst || sizes[len(sizes)-2] != reserveMost {
		t.Fatalf("steps %v", sizes)
	}
	m.SetCapacity(1)
	g, err := createMapped(m, "/q/"+fileName(1<<20), 1<<20, 1<<20)
	must(t, err)
	if err := g.reserve(1); !errors.Is(err, vfs.ErrNoSpace) {
		t.Fatalf("reserve on a full disk: %v", err)
	}
}

func TestSyncErrorIsNotRetried(t *testing.T) {
	boom := errors.New("boom")
	fsys := vfs.Faulty(newMem(t), vfs.FailNth(1, false, boom, vfs.OpSync))
	f := newFile(t, fsys, "/q", vfs.PageSize)
	must(t, f.hold())
	defer f.release()
	f.wrote.Store(10)
	for range 2 {
		if err := f.sync(10); !errors.Is(err, boom) {
			t.Fatalf("sync: %v", err)
		}
	}
	if f.flushed.Load() != 0 {
		t.Fatal("counted as flushed")
	}
}

func TestHoldersOfManyGoroutines(t *testing.T) {
	dir := t.TempDir()
	f := newFile(t, vfs.OS(), dir, vfs.PageSize)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			b := make([]byte, 8)
			for {
				if f.hold() != nil {
					return
				}
				if err := f.readAt(0, b); err != nil {
					t.Error(err)
				}
				f.release()
				f.unmapIdle()
			}
		})
	}
	for range 2000 {
		f.unmapIdle()
	}
	must(t, f.remove())
	wg.Wait()
	if f.mapping != nil || f.held() {
		t.Fatal("left mapped or held")
	}
}

func newQueue(t testing.TB, fsys vfs.FS, size int64, bases ...int64) *mappedQueue {
	t.Helper()
	for _, b := range bases {
		_, err := createMapped(fsys, "/q/"+fileName(b), b, size)
		must(t, err)
	}
	q := newMappedQueue(fsys, "/q", size, 0)
	must(t, q.load(cleanExit, refuseOdd))
	return q
}

func refuseOdd(odd oddFile) error { return odd.why }

func TestMappedQueueFind(t *testing.T) {
	q := newQueue(t, newMem(t), 4096, 8192, 12288, 20480) // one is missing in the middle
	for off, want := range map[int64]int64{0: -1, 8191: -1, 8192: 8192, 12287: 8192, 12288: 12288, 16383: 12288, 16384: -1, 20480: 20480, 24575: 20480, 24576: -1} {
		got := int64(-1)
		if f := q.find(off); f != nil {
			got = f.base
		}
		if got != want {
			t.Errorf("find(%d) = %d, want %d", off, got, want)
		}
	}
	if l := q.from(12290); len(l) != 2 || l[0].base != 12288 {
		t.Errorf("from: %v", l)
	}
}

func TestMappedQueueLoadRefusesWhatIsNotItsOwn(t *testing.T) {
	for _, c := range []struct {
		name  string
		make  func(m *vfs.Mem)
		last  exit
		want  error
		files int
	}{
		{"another size", func(m *vfs.Mem) { touch(m, "/q/"+fileName(0), 100) }, cleanExit, ErrFileSize, 0},
		{"another name", func(m *vfs.Mem) { touch(m, "/q/readme.txt", 4096) }, cleanExit, ErrForeignFile, 0},
		{"a negative name", func(m *vfs.Mem) { touch(m, "/q/-4096", 4096) }, cleanExit, ErrForeignFile, 0},
		{"an empty last file", func(m *vfs.Mem) { touch(m, "/q/"+fileName(0), 4096); touch(m, "/q/"+fileName(4096), 0) }, cleanExit, nil, 1},
		{"an empty file in the middle", func(m *vfs.Mem) { touch(m, "/q/"+fileName(0), 0); touch(m, "/q/"+fileName(4096), 4096) }, cleanExit, ErrFileSize, 0},
		{"the same after a crash", func(m *vfs.Mem) { touch(m, "/q/"+fileName(0), 0); touch(m, "/q/"+fileName(4096), 4096) }, uncleanExit, nil, 2},
		{"a directory", func(m *vfs.Mem) { _ = m.MkdirAll("/q/sub") }, cleanExit, nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMem(t)
			c.make(m)
			q := newMappedQueue(m, "/q", 4096, 0)
			err := q.load(c.last, refuseOdd)
			if !errors.Is(err, c.want) || (err != nil) != (c.want != nil) {
				t.Fatalf("load: %v", err)
			}
			if err == nil && len(q.list()) != c.files {
				t.Fatalf("%d files", len(q.list()))
			}
		})
	}
}

func touch(m *vfs.Mem, name string, size int64) {
	f, err := m.Create(name)
	if err == nil {
		_ = f.Truncate(size)
	}
}

func TestMappedQueueTruncate(t *testing.T) {
	m := newMem(t)
	q := newQueue(t, m, 4096, 0, 4096, 8192)
	must(t, q.truncate(5000))
	if q.maxOffset() != 5000 || len(q.list()) != 2 {
		t.Fatalf("max %d, %d files", q.maxOffset(), len(q.list()))
	}
	must(t, q.truncate(4096)) // the file that starts there stays, as in Java
	if q.maxOffset() != 4096 || len(q.list()) != 2 {
		t.Fatalf("max %d, %d files", q.maxOffset(), len(q.list()))
	}
	f, err := q.create(0, func(*mappedFile) error { return nil })
	must(t, err)
	if f.base != 8192 {
		t.Fatalf("next file at %d", f.base)
	}
	must(t, q.removeFirst())
	if q.minOffset() != 4096 {
		t.Fatalf("min %d", q.minOffset())
	}
	must(t, q.destroy())
	if _, err := m.Stat("/q"); err == nil {
		t.Fatal("the directory stayed")
	}
}

func TestMappedQueueSyncReachesTheDirectory(t *testing.T) {
	for seed := range uint64(20) {
		m := vfs.NewMem(func() time.Time { return epoch })
		q := newMappedQueue(m, "/store/topic/0", 4096, 2)
		f, err := q.create(0, func(*mappedFile) error { return nil })
		must(t, err)
		must(t, f.hold())
		must(t, f.reserve(4))
		must(t, f.writeAt(0, []byte("data")))
		f.release()
		f.wrote.Store(4)
		must(t, m.SyncDir("/"))
		must(t, q.sync())
		got, err := vfs.ReadFile(m.CrashClone(seed), "/store/topic/0/"+fileName(0))
		if err != nil || !bytes.HasPrefix(got, []byte("data")) {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// The race detector is what fails here: the cleaner asks about a file that somebody begins to read.
func TestRestingWhileAFileIsTakenUp(t *testing.T) {
	f := newFile(t, newMem(t), "/q", vfs.PageSize)
	var asking sync.WaitGroup
	defer asking.Wait()
	asking.Go(func() {
		for range 1000 {
			f.resting()
		}
	})
	for range 1000 {
		must(t, f.hold())
		if f.resting() {
			t.Error("a file that is held rests")
		}
		f.release()
		f.unmapIdle()
	}
	f.unmapIdle()
	if !f.resting() {
		t.Error("a file that nobody has held does not rest")
	}
}
