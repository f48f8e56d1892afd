package meta

import (
	"log/slog"
	"os"
	"path"
	"testing"
	"time"

	"apogee/store/vfs"
)

// at is the time of every test that does not move its clock.
var at = time.UnixMilli(1_700_000_000_000)

func now() time.Time { return at }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// write puts a file where a table looks for it.
func write(t *testing.T, fs vfs.FS, name string, data []byte) {
	t.Helper()
	if err := fs.MkdirAll(path.Dir(name)); err != nil {
		t.Fatal(err)
	}
	if err := vfs.WriteFileAtomic(fs, name, data); err != nil {
		t.Fatal(err)
	}
}

// golden is a file that Java wrote, copied into a file system in memory.
func golden(t *testing.T, fs vfs.FS, dir, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(path.Join("testdata", dir, name))
	if err != nil {
		t.Fatal(err)
	}
	write(t, fs, path.Join(ConfigDir("/store"), name), data)
	return data
}

func read(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	data, err := vfs.ReadFile(fs, path.Join(ConfigDir("/store"), name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}
