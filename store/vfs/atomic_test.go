package vfs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"testing"

	"apogee/store/vfs"
)

// load reads a file that is valid if it starts with "ok".
func load(fsys vfs.FS, name string) (string, error) {
	var got string
	err := vfs.ReadFileOrBackup(fsys, name, func(b []byte) error {
		if len(b) < 2 || string(b[:2]) != "ok" {
			return fmt.Errorf("bad contents %q", b)
		}
		got = string(b)
		return nil
	})
	return got, err
}

func TestWriteFileAtomicKeepsABackup(t *testing.T) {
	systems(t, func(t *testing.T, fsys vfs.FS, dir string) {
		name := path.Join(dir, "x.json")
		if _, err := load(fsys, name); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("nothing there: %v", err)
		}
		for i, text := range []string{"ok 1", "ok 2", "ok 3"} {
			must(t, vfs.WriteFileAtomic(fsys, name, []byte(text)))
			if got, err := load(fsys, name); got != text || err != nil {
				t.Fatalf("loaded %q, %v", got, err)
			}
			if i > 0 {
				if got := read(t, fsys, name+".bak"); got != fmt.Sprintf("ok %d", i) {
					t.Fatalf("backup %q", got)
				}
			}
		}
	})
}

func TestReadFileOrBackup(t *testing.T) {
	for _, c := range []struct {
		name, file, bak string // "-" is no file
		want            string
		err             error
	}{
		{"the file counts before its backup", "ok f", "ok b", "ok f", nil},
		{"a missing file has a backup", "-", "ok b", "ok b", nil},
		{"an empty file has a backup", "", "ok b", "ok b", nil},
		{"a damaged file has a backup", "?", "ok b", "ok b", nil},
		{"a damaged file without a backup", "?", "-", "", vfs.ErrCorrupt},
		{"both damaged", "?", "?", "", vfs.ErrCorrupt},
		{"an empty file without a backup", "", "-", "", vfs.ErrCorrupt},
		{"neither", "-", "-", "", fs.ErrNotExist},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMem()
			for name, text := range map[string]string{"/f": c.file, "/f.bak": c.bak} {
				if text != "-" {
					write(t, m, name, []byte(text))
				}
			}
			got, err := load(m, "/f")
			if got != c.want || !errors.Is(err, c.err) || (err != nil) != (c.err != nil) {
				t.Fatalf("%q, %v", got, err)
			}
			if c.want == "ok b" {
				// The next write must not push damaged contents over the good backup.
				must(t, vfs.WriteFileAtomic(m, "/f", []byte("ok n")))
				if got := read(t, m, "/f.bak"); got != "ok b" {
					t.Fatalf("backup is now %q", got)
				}
			}
		})
	}
}

// TestReplaceSurvivesAnyCrash cuts the power before each file operation of a replacement.
func TestReplaceSurvivesAnyCrash(t *testing.T) {
	for seed := range uint64(20) {
		for at := 1; ; at++ {
			m := newMem()
			must(t, vfs.WriteFileAtomic(m, "/f", []byte("ok 1")))
			count := 0
			var after *vfs.Mem
			fsys := vfs.Faulty(m, func(vfs.Op, string) error {
				if count++; count == at {
					after = m.CrashClone(seed)
				}
				return nil
			})
			must(t, vfs.WriteFileAtomic(fsys, "/f", []byte("ok 2")))
			if after == nil {
				break
			}
			if got, err := load(after, "/f"); err != nil || got != "ok 1" && got != "ok 2" {
				t.Fatalf("seed %d, before operation %d: %q, %v\n%s", seed, at, got, err, after.Dump())
			}
		}
	}
}
