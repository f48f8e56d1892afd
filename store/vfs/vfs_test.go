package vfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"
	"time"

	"apogee/store/vfs"
)

var epoch = time.UnixMilli(1_700_000_000_000)

func newMem() *vfs.Mem { return vfs.NewMem(func() time.Time { return epoch }) }

// systems runs a test on the real file system and on the one in memory.
func systems(t *testing.T, test func(t *testing.T, fsys vfs.FS, dir string)) {
	t.Run("os", func(t *testing.T) { test(t, vfs.OS(), t.TempDir()) })
	t.Run("mem", func(t *testing.T) {
		m := newMem()
		must(t, m.MkdirAll("/d"))
		test(t, m, "/d")
	})
	t.Run("faulty", func(t *testing.T) {
		m := newMem()
		must(t, m.MkdirAll("/d"))
		test(t, vfs.Faulty(m, func(vfs.Op, string) error { return nil }), "/d")
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, fsys vfs.FS, name string, data []byte) {
	t.Helper()
	f, err := fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = fsys.Create(name)
	}
	must(t, err)
	_, err = f.WriteAt(data, 0)
	must(t, err)
	must(t, f.Close())
}

func read(t testing.TB, fsys vfs.FS, name string) string {
	t.Helper()
	data, err := vfs.ReadFile(fsys, name)
	must(t, err)
	return string(data)
}

func TestEntries(t *testing.T) {
	systems(t, func(t *testing.T, fsys vfs.FS, dir string) {
		must(t, fsys.MkdirAll(path.Join(dir, "b/c")))
		write(t, fsys, path.Join(dir, "a"), []byte("x"))
		if _, err := fsys.Create(path.Join(dir, "a")); !errors.Is(err, fs.ErrExist) {
			t.Fatalf("create of an existing file: %v", err)
		}
		if _, err := fsys.Open(path.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("open of a missing file: %v", err)
		}
		must(t, fsys.Rename(path.Join(dir, "a"), path.Join(dir, "z")))
		infos, err := fsys.ReadDir(dir)
		must(t, err)
		var got string
		for _, i := range infos {
			got += fmt.Sprintf("%s/%v/%v ", i.Name, i.Dir, i.Dir || i.Size == 1)
		}
		if got != "b/true/true z/false/true " {
			t.Fatalf("entries: %s", got)
		}
		if err := fsys.Remove(path.Join(dir, "b")); err == nil {
			t.Fatal("a directory with children was removed")
		}
		must(t, vfs.RemoveAll(fsys, path.Join(dir, "b")))
		must(t, vfs.RemoveAll(fsys, path.Join(dir, "b")))
		if _, err := fsys.Stat(path.Join(dir, "b")); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("stat of what was removed: %v", err)
		}
		must(t, fsys.SyncDir(dir))
		must(t, fsys.SyncAll(dir))
		if err := fsys.SyncAll(path.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("sync of what is not there: %v", err)
		}
		u, err := fsys.DiskUsage(dir)
		must(t, err)
		if u.Total == 0 || u.Used > u.Total {
			t.Fatalf("usage %+v", u)
		}
	})
}

// size is that of the files of the tests of mappings.
const size = 3 * vfs.PageSize

// allocated is a new file with room for size bytes.
func allocated(t *testing.T, fsys vfs.FS, name string) vfs.File {
	t.Helper()
	f, err := fsys.Create(name)
	must(t, err)
	must(t, f.Truncate(size))
	must(t, f.Allocate(0, size))
	return f
}

func TestMappingAndFileShareBytes(t *testing.T) {
	systems(t, func(t *testing.T, fsys vfs.FS, dir string) {
		f := allocated(t, fsys, path.Join(dir, "f"))
		m, err := f.Map(size)
		must(t, err)
		copy(m.Bytes()[4090:], "0123456789")
		must(t, m.Sync(4090, 10))
		got := make([]byte, 10)
		_, err = f.ReadAt(got, 4090)
		must(t, err)
		if string(got) != "0123456789" {
			t.Fatalf("read %q", got)
		}
		_, err = f.WriteAt([]byte("abc"), 0)
		must(t, err)
		if string(m.Bytes()[:3]) != "abc" {
			t.Fatalf("mapped %q", m.Bytes()[:3])
		}
		if !m.Resident(0, vfs.PageSize) {
			t.Fatal("a page just written is not resident")
		}
		must(t, m.Evict(0, size))
		must(t, f.Zero(4092, vfs.PageSize))
		if want := append([]byte("01"), make([]byte, 8)...); !bytes.Equal(m.Bytes()[4090:4100], want) {
			t.Fatalf("after Zero: %q", m.Bytes()[4090:4100])
		}
		must(t, f.Sync())
		must(t, f.Close())
		copy(m.Bytes(), "the mapping outlives the file")
		must(t, m.Unmap())
		if n, err := fsys.Stat(path.Join(dir, "f")); err != nil || n.Size != size {
			t.Fatalf("size %d, %v", n.Size, err)
		}
	})
}

func TestReadingMappingShowsWhatIsWritten(t *testing.T) {
	systems(t, func(t *testing.T, fsys vfs.FS, dir string) {
		f := allocated(t, fsys, path.Join(dir, "f"))
		m, err := f.MapRead(size)
		must(t, err)
		if m.Bytes()[4090] != 0 {
			t.Fatal("a new file is not empty")
		}
		_, err = f.WriteAt([]byte("0123456789"), 4090)
		must(t, err)
		if got := m.Bytes()[4090:4100]; string(got) != "0123456789" {
			t.Fatalf("read %q", got)
		}
		must(t, m.Sync(4090, 10))
		must(t, m.Evict(0, size))
		m.Load(4090, 10)
		m.Load(size, 10) // beyond the end there is nothing
		if !m.Resident(4090, 10) {
			t.Fatal("not resident after Load")
		}
		must(t, f.Close())
		must(t, m.Unmap())
	})
}

func TestWriteAtNeedsTheFile(t *testing.T) {
	systems(t, func(t *testing.T, fsys vfs.FS, dir string) {
		name := path.Join(dir, "piece")
		if err := vfs.WriteAt(fsys, name, []byte("x"), 0); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("a file that is not there: %v", err)
		}
		write(t, fsys, name, []byte("abcdef"))
		must(t, vfs.WriteAt(fsys, name, []byte("XY"), 2))
		must(t, vfs.WriteAt(fsys, name, []byte("Z"), 7))
		must(t, vfs.WriteAt(fsys, name, nil, 0))
		if got := read(t, fsys, name); got != "abXYef\x00Z" {
			t.Fatalf("file is %q", got)
		}
	})
}

func TestCreateAt(t *testing.T) {
	systems(t, func(t *testing.T, fsys vfs.FS, dir string) {
		name := path.Join(dir, "a/b/piece")
		if err := vfs.CreateAt(fsys, name, 8, []byte("x"), 0); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("no directory: %v", err)
		}
		for range 2 { // it may be there
			must(t, fsys.MkdirAll(path.Dir(name)))
		}
		must(t, vfs.CreateAt(fsys, name, 8, []byte("xyz"), 2))
		if got := read(t, fsys, name); got != "\x00\x00xyz\x00\x00\x00" {
			t.Fatalf("file is %q", got)
		}
		if err := vfs.CreateAt(fsys, name, 8, []byte("x"), 0); !errors.Is(err, fs.ErrExist) {
			t.Fatalf("a file that is there: %v", err)
		}
		if err := fsys.MkdirAll(path.Join(name, "c")); err == nil {
			t.Fatal("a directory in a file")
		}
		if err := fsys.MkdirAll(name); err == nil {
			t.Fatal("a directory in place of a file")
		}
	})
}

func TestCreateAtLeavesNoHalves(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpTruncate, vfs.OpWrite} {
		m := vfs.NewMem(time.Now)
		must(t, m.MkdirAll("/d"))
		boom := errors.New("boom")
		if err := vfs.CreateAt(vfs.Faulty(m, vfs.FailNth(1, false, boom, op)), "/d/f", 8, []byte("x"), 0); !errors.Is(err, boom) {
			t.Fatalf("%s: %v", op, err)
		}
		if _, err := m.Stat("/d/f"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: there is a file: %v", op, err)
		}
	}
}

func TestReadAtKeepsNothingOpen(t *testing.T) {
	systems(t, func(t *testing.T, fsys vfs.FS, dir string) {
		name := path.Join(dir, "piece")
		if _, err := vfs.ReadAt(fsys, name, make([]byte, 1), 0); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("a file that is not there: %v", err)
		}
		write(t, fsys, name, []byte("abcdef"))
		for _, c := range []struct {
			off  int64
			n    int
			want string
		}{{0, 6, "abcdef"}, {0, 3, "abc"}, {2, 2, "cd"}, {4, 9, "ef"}, {6, 1, ""}, {9, 3, ""}, {0, 0, ""}} {
			buf := make([]byte, c.n)
			n, err := vfs.ReadAt(fsys, name, buf, c.off)
			if err != nil || string(buf[:n]) != c.want {
				t.Errorf("%d at %d: %q, %v", c.n, c.off, buf[:n], err)
			}
		}
	})
}

// TestReadDirOfManyEntries takes the system more than one answer.
func TestReadDirOfManyEntries(t *testing.T) {
	systems(t, func(t *testing.T, fsys vfs.FS, dir string) {
		dir = path.Join(dir, "many")
		if _, err := fsys.ReadDir(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("a directory that is not there: %v", err)
		}
		must(t, fsys.MkdirAll(dir))
		if infos, err := fsys.ReadDir(dir); err != nil || len(infos) != 0 {
			t.Fatalf("an empty one: %v, %v", infos, err)
		}
		name := func(i int) string { return fmt.Sprintf("%03d-%s", i, strings.Repeat("x", i%200)) }
		const entries = 300
		for i := range entries {
			if i%3 == 0 {
				must(t, fsys.MkdirAll(path.Join(dir, name(i))))
			} else {
				must(t, vfs.CreateAt(fsys, path.Join(dir, name(i)), int64(i), nil, 0))
			}
		}
		infos, err := fsys.ReadDir(dir)
		must(t, err)
		if len(infos) != entries {
			t.Fatalf("%d entries, want %d", len(infos), entries)
		}
		for i, info := range infos {
			if info.Name != name(i) || info.Dir != (i%3 == 0) || !info.Dir && (info.Size != int64(i) || info.ModTime.IsZero()) {
				t.Fatalf("entry %d: %+v", i, info)
			}
		}
		if _, err := fsys.ReadDir(path.Join(dir, name(1))); err == nil {
			t.Error("a file was read as a directory")
		}
	})
}

func TestReadDirOfLinks(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(path.Join(dir, "real"), 0o755))
	must(t, os.Symlink("real", path.Join(dir, "link")))
	must(t, os.Symlink("nowhere", path.Join(dir, "stale")))
	infos, err := vfs.OS().ReadDir(dir)
	must(t, err)
	if len(infos) != 3 || infos[0].Name != "link" || infos[0].Dir || !infos[1].Dir || infos[2].Dir {
		t.Errorf("entries: %+v", infos)
	}
}

func TestLockExcludes(t *testing.T) {
	systems(t, func(t *testing.T, fsys vfs.FS, dir string) {
		name := path.Join(dir, "lock")
		l, err := fsys.Lock(name)
		must(t, err)
		if _, err := fsys.Lock(name); !errors.Is(err, vfs.ErrLocked) {
			t.Fatalf("second lock: %v", err)
		}
		// Writing the file elsewhere must not drop the lock, as closing any descriptor does with process-owned ones.
		write(t, fsys, name, []byte("lock"))
		if _, err := fsys.Lock(name); !errors.Is(err, vfs.ErrLocked) {
			t.Fatalf("lock after a write: %v", err)
		}
		must(t, l.Close())
		l, err = fsys.Lock(name)
		must(t, err)
		must(t, l.Close())
	})
}

func TestUsageRatioRoundsUp(t *testing.T) {
	for _, c := range []struct {
		u    vfs.Usage
		want float64
	}{
		{vfs.Usage{}, 0},
		{vfs.Usage{Used: 0, Total: 10}, 0},
		{vfs.Usage{Used: 1, Total: 1000}, 0.01},
		{vfs.Usage{Used: 750, Total: 1000}, 0.75},
		{vfs.Usage{Used: 751, Total: 1000}, 0.76},
		{vfs.Usage{Used: 1000, Total: 1000}, 1},
	} {
		if got := c.u.Ratio(); got != c.want {
			t.Errorf("%+v: %v, want %v", c.u, got, c.want)
		}
	}
}

// A file that is open counts under the name that it has now, and not at all once it has none.
func TestMemCountsBlocksOfFilesThatMove(t *testing.T) {
	m := newMem()
	used := func(want uint64) {
		t.Helper()
		if u, err := m.DiskUsage("/"); err != nil || u.Used != want*vfs.PageSize {
			t.Fatalf("%d bytes used, %v; want %d pages", u.Used, err, want)
		}
	}
	f, err := m.Create("/f")
	must(t, err)
	must(t, f.Truncate(8*vfs.PageSize))
	must(t, f.Allocate(0, 8*vfs.PageSize))
	must(t, m.Rename("/f", "/g"))
	must(t, f.Truncate(4*vfs.PageSize))
	used(4)
	must(t, m.Remove("/g"))
	used(0)
	must(t, f.Zero(0, vfs.PageSize))
	used(0)
	must(t, f.Allocate(0, vfs.PageSize))
	used(0)
	must(t, f.Truncate(0))
	used(0)
}

func TestMemFullDisk(t *testing.T) {
	m := newMem()
	m.SetCapacity(4 * vfs.PageSize)
	f, err := m.Create("/f")
	must(t, err)
	must(t, f.Truncate(8*vfs.PageSize))
	must(t, f.Allocate(0, 3*vfs.PageSize))
	if err := f.Allocate(0, 5*vfs.PageSize); !errors.Is(err, vfs.ErrNoSpace) {
		t.Fatalf("allocate beyond capacity: %v", err)
	}
	if _, err := f.WriteAt(make([]byte, 2*vfs.PageSize), 3*vfs.PageSize); !errors.Is(err, vfs.ErrNoSpace) {
		t.Fatalf("write beyond capacity: %v", err)
	}
	mapped, err := f.Map(8 * vfs.PageSize)
	must(t, err)
	mapped.Bytes()[vfs.PageSize] = 1
	if got := m.WroteUnallocated(); len(got) != 0 {
		t.Fatalf("allocated page reported: %v", got)
	}
	mapped.Bytes()[5*vfs.PageSize] = 1
	if got := m.WroteUnallocated(); len(got) != 1 {
		t.Fatalf("write without blocks not found: %v", got)
	}
	must(t, m.Remove("/f"))
	if u, _ := m.DiskUsage("/"); u.Used != 0 {
		t.Fatalf("used after remove: %d", u.Used)
	}
}

func TestCrashKeepsWhatWasSynced(t *testing.T) {
	for seed := range uint64(50) {
		m := newMem()
		must(t, m.MkdirAll("/d"))
		must(t, m.SyncDir("/"))
		write(t, m, "/d/a", []byte("old"))
		f, err := m.Open("/d/a")
		must(t, err)
		must(t, f.Sync())
		must(t, m.SyncDir("/d"))
		_, err = f.WriteAt([]byte("new"), 0)
		must(t, err)
		write(t, m, "/d/b", []byte("b"))
		c := m.CrashClone(seed)
		if got := read(t, c, "/d/a"); got != "old" && got != "new" {
			t.Fatalf("seed %d: a sector is neither old nor new: %q", seed, got)
		}
		if got := read(t, m.KillClone(), "/d/a"); got != "new" {
			t.Fatalf("a killed process lost a write: %q", got)
		}
	}
}

func TestSyncAllCoversContentsAndNames(t *testing.T) {
	for seed := range uint64(20) {
		m := newMem()
		must(t, m.MkdirAll("/d/e"))
		write(t, m, "/d/e/a", []byte("a"))
		write(t, m, "/b", []byte("b"))
		must(t, m.SyncAll("/d"))
		c := m.CrashClone(seed)
		if got := read(t, c, "/d/e/a") + read(t, c, "/b"); got != "ab" {
			t.Fatalf("seed %d: %q", seed, got)
		}
	}
}

func TestCrashLosesWhatWasNot(t *testing.T) {
	outcomes := map[string]int{}
	for seed := range uint64(200) {
		m := newMem()
		must(t, m.MkdirAll("/d"))
		must(t, m.SyncDir("/"))
		write(t, m, "/d/a", bytes.Repeat([]byte("1"), 2*vfs.PageSize))
		c := m.CrashClone(seed)
		data, err := vfs.ReadFile(c, "/d/a")
		switch {
		case errors.Is(err, fs.ErrNotExist):
			outcomes["no entry"]++
		case len(data) == 0:
			outcomes["empty"]++
		case bytes.Count(data, []byte("1")) == len(data):
			outcomes["whole"]++
		case bytes.Count(data[:vfs.PageSize], []byte("1"))%512 == 0:
			outcomes["torn"]++
		}
	}
	for _, o := range []string{"no entry", "empty", "whole", "torn"} {
		if outcomes[o] == 0 {
			t.Errorf("200 crashes never left the file %s: %v", o, outcomes)
		}
	}
}

func TestCrashIsTheSameForASeed(t *testing.T) {
	m := newMem()
	for i := range 20 {
		write(t, m, fmt.Sprintf("/f%d", i), bytes.Repeat([]byte{byte(i + 1)}, 5000))
	}
	a, b := m.CrashClone(7), m.CrashClone(7)
	if a.Dump() != b.Dump() {
		t.Fatalf("two clones differ:\n%s\n\n%s", a.Dump(), b.Dump())
	}
}

func TestFailNth(t *testing.T) {
	boom := errors.New("boom")
	fsys := vfs.Faulty(newMem(), vfs.FailNth(2, false, boom, vfs.OpSync, vfs.OpSyncDir))
	f, err := fsys.Create("/f")
	must(t, err)
	must(t, f.Truncate(vfs.PageSize))
	m, err := f.Map(vfs.PageSize)
	must(t, err)
	must(t, f.Sync())
	if err := m.Sync(0, 10); !errors.Is(err, boom) {
		t.Fatalf("second sync: %v", err)
	}
	must(t, fsys.SyncDir("/"))
	sticky := vfs.FailNth(1, true, boom)
	for range 3 {
		if err := sticky(vfs.OpRead, ""); !errors.Is(err, boom) {
			t.Fatalf("sticky: %v", err)
		}
	}
}

// A directory takes along what is in it.
func TestRenameOfADirectory(t *testing.T) {
	systems(t, func(t *testing.T, fsys vfs.FS, dir string) {
		must(t, fsys.MkdirAll(path.Join(dir, "a/b")))
		must(t, fsys.MkdirAll(path.Join(dir, "ab")))
		write(t, fsys, path.Join(dir, "a/b/f"), []byte("in it"))
		write(t, fsys, path.Join(dir, "ab/f"), []byte("beside it"))
		must(t, fsys.Rename(path.Join(dir, "a"), path.Join(dir, "c")))
		if got := read(t, fsys, path.Join(dir, "c/b/f")); got != "in it" {
			t.Errorf("read %q", got)
		}
		if got := read(t, fsys, path.Join(dir, "ab/f")); got != "beside it" {
			t.Errorf("read %q", got)
		}
		if _, err := fsys.Stat(path.Join(dir, "a/b/f")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the old name: %v", err)
		}
	})
}

// A directory that is only read shows what is in it, by the names that package fs asks for.
func TestReadOnly(t *testing.T) {
	systems(t, func(t *testing.T, fsys vfs.FS, dir string) {
		if err := fsys.MkdirAll(dir + "/a/b"); err != nil {
			t.Fatal(err)
		}
		write(t, fsys, dir+"/a/f", []byte("text"))
		root := vfs.ReadOnly(fsys, dir)
		if text, err := fs.ReadFile(root, "a/f"); err != nil || string(text) != "text" {
			t.Errorf("%q, %v", text, err)
		}
		list, err := fs.ReadDir(root, "a")
		if err != nil || len(list) != 2 || list[0].Name() != "b" || !list[0].IsDir() || list[1].Name() != "f" || list[1].IsDir() {
			t.Errorf("%v, %v", list, err)
		}
		if info, err := fs.Stat(root, "a/f"); err != nil || info.Size() != 4 || info.Mode().IsDir() {
			t.Errorf("%v, %v", info, err)
		}
		if _, err := fs.Stat(root, "x"); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		for _, name := range []string{"../x", "/a", "a"} {
			if f, err := root.Open(name); err == nil {
				t.Errorf("%s is open: %v", name, f)
			}
		}
	})
}
