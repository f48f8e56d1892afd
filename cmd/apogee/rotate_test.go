package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRotatingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "logs", "broker.log")
	r, err := openRotating(path, 100, 3)
	if err != nil {
		t.Fatal(err)
	}
	line := func(i int) string { return fmt.Sprintf("line %03d %s\n", i, strings.Repeat("x", 30)) }
	for i := range 20 {
		if n, err := fmt.Fprint(r, line(i)); err != nil || n != len(line(i)) {
			t.Fatal(n, err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Write([]byte("late")); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
	// Two lines fit into a file; the present file and three older ones are left.
	for i, name := range []string{"", ".1", ".2", ".3"} {
		got, err := os.ReadFile(path + name)
		if err != nil {
			t.Fatal(err)
		}
		if want := line(18-2*i) + line(19-2*i); string(got) != want {
			t.Errorf("%q holds %q, want %q", name, got, want)
		}
	}
	if _, err := os.Stat(path + ".4"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a fourth old file: %v", err)
	}
	// A restart appends.
	again, err := openRotating(path, 100, 3)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Write([]byte("more\n")); err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); !strings.HasSuffix(string(got), "more\n") || !strings.HasPrefix(string(got), "line") {
		t.Errorf("after a restart: %q", got)
	}
}

func TestRotatingFileGoesOnWhenItCannotRename(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	if err := os.Mkdir(path+".1", 0o755); err != nil { // no file takes the name of a folder, whoever asks for it
		t.Fatal(err)
	}
	r, err := openRotating(path, 10, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var want string
	for i := range 3 {
		line := fmt.Sprintf("line %04d\n", i)
		if _, err := r.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
		want += line
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%q, %v; want all lines in the file that could not be renamed", got, err)
	}
}
