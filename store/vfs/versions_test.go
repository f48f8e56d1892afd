package vfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path"
	"testing"
	"time"

	"apogee/store/vfs"
)

// edited is a next version of text and what the two have in common. Versions are of several pages, so that a crash can tear them.
func edited(rnd *rand.Rand, text []byte, n int) ([]byte, vfs.Same) {
	head := fmt.Appendf(nil, "ok %06d ", n)
	if len(text) == 0 || rnd.IntN(6) == 0 { // all new
		next := append(head, bytes.Repeat([]byte{byte('a' + n%26)}, rnd.IntN(20000))...)
		return append(next, '.'), vfs.Same{}
	}
	from := len(head) + rnd.IntN(len(text)-len(head))
	next := append(append(head, text[len(head):from]...), bytes.Repeat([]byte{byte('A' + n%26)}, rnd.IntN(3000))...)
	return append(next, '.'), vfs.Same{First: len(head), Last: from}
}

func TestVersionsAreWhatWasWritten(t *testing.T) {
	systems(t, func(t *testing.T, fsys vfs.FS, dir string) {
		rnd := rand.New(rand.NewPCG(1, 2))
		name := path.Join(dir, "x.json")
		v := vfs.NewVersions(fsys, name)
		var text, last []byte
		for n := range 200 {
			var same vfs.Same
			last = text
			text, same = edited(rnd, text, n)
			must(t, v.Write(text, same))
			if got := read(t, fsys, name); got != string(text) {
				t.Fatalf("version %d is not what was written", n)
			}
			if n > 0 {
				if got := read(t, fsys, name+".bak"); got != string(last) {
					t.Fatalf("the backup of version %d is not the version before", n)
				}
			}
			if n%50 == 49 { // somebody takes the backup away
				must(t, fsys.Remove(name+".bak"))
			}
			if n%70 == 69 { // a new process
				v = vfs.NewVersions(fsys, name)
			}
		}
	})
}

// complete tells whether text is one of the versions.
func complete(fsys vfs.FS, name string, versions ...[]byte) error {
	small := vfs.SmallFile{FS: fsys, Name: name, Now: time.Now}
	from, err := small.Load(func(got []byte) error {
		for _, v := range versions {
			if bytes.Equal(got, v) {
				return nil
			}
		}
		return errors.New("neither this version nor the one before")
	})
	if err == nil && from.From == "" {
		err = errUseless
	}
	return err
}

// TestVersionsSurviveAnyCrash cuts the power before each file operation of the writing of a version.
func TestVersionsSurviveAnyCrash(t *testing.T) {
	for seed := range uint64(40) {
		for at := 1; ; at++ {
			rnd := rand.New(rand.NewPCG(seed, 7))
			m := newMem()
			count, armed := math.MinInt, false
			var after *vfs.Mem
			fsys := vfs.Faulty(m, func(vfs.Op, string) error {
				if count++; armed && count == at {
					after = m.CrashClone(seed)
				}
				return nil
			})
			v := vfs.NewVersions(fsys, "/f")
			var text, last []byte
			for n := range 5 {
				var same vfs.Same
				last = text
				text, same = edited(rnd, text, n)
				if n == 4 {
					count, armed = 0, true
				}
				must(t, v.Write(text, same))
			}
			if err := complete(m.CrashClone(seed), "/f", text); err != nil {
				t.Fatalf("seed %d: written, but after a power cut %v", seed, err)
			}
			if after == nil {
				break
			}
			if err := complete(after, "/f", text, last); err != nil {
				t.Fatalf("seed %d, before operation %d: %v\n%s", seed, at, err, after.Dump())
			}
		}
	}
}

// TestVersionsAfterAnError fails each file operation in turn; the next version is whole again.
func TestVersionsAfterAnError(t *testing.T) {
	broken := errors.New("broken")
	for at := 1; ; at++ {
		rnd := rand.New(rand.NewPCG(uint64(at), 7))
		m := newMem()
		count, failed := math.MinInt, false
		fsys := vfs.Faulty(m, func(vfs.Op, string) error {
			if count++; count == at {
				failed = true
				return broken
			}
			return nil
		})
		v := vfs.NewVersions(fsys, "/f")
		var text, last []byte
		for n := range 8 {
			var same vfs.Same
			last = text
			text, same = edited(rnd, text, n)
			if n == 4 {
				count = 0
			}
			err := v.Write(text, same)
			if err != nil && (n < 4 || !errors.Is(err, broken)) {
				t.Fatalf("operation %d, version %d: %v", at, n, err)
			}
			if err := complete(m, "/f", text, last); err != nil {
				t.Fatalf("operation %d failed, version %d: %v", at, n, err)
			}
		}
		if err := complete(m.CrashClone(uint64(at)), "/f", text, last); err != nil {
			t.Fatalf("operation %d had failed: %v", at, err)
		}
		if !failed {
			break
		}
	}
}
