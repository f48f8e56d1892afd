package vfs_test

import (
	"path/filepath"
	"testing"

	"apogee/store/vfs"
)

func TestLocked(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	look := func(want bool) {
		t.Helper()
		if held, _, err := vfs.Locked(name); held != want || err != nil {
			t.Fatalf("held %v, %v; want %v", held, err, want)
		}
	}
	look(false) // there is no file, and none is made
	look(false)
	lock, err := vfs.OS().Lock(name)
	if err != nil {
		t.Fatal(err)
	}
	look(true)
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	look(false)
}
