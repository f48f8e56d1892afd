package vfs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"strings"
	"testing"
	"time"

	"apogee/store/vfs"
)

// load reads a file that is valid if it starts with "ok".
func load(fsys vfs.FS, name string) (string, error) {
	got, from, err := loadLogging(fsys, name, nil)
	if err == nil && from.From == "" {
		err = fs.ErrNotExist
		if from.Damaged {
			err = errUseless
		}
	}
	return got, err
}

var errUseless = errors.New("nothing of it can be used")

// loadLogging is load where a text that ends with a full stop can be salvaged up to there.
func loadLogging(fsys vfs.FS, name string, log *slog.Logger) (got string, from vfs.Loaded, err error) {
	small := vfs.SmallFile{FS: fsys, Name: name, Log: log, Now: func() time.Time { return time.Unix(1e9, 0) }, Lost: "All is lost"}
	small.Salvage = func(text []byte, parse func([]byte) error) error {
		part, _, found := strings.Cut(string(text), ".")
		if !found {
			return errUseless
		}
		return parse([]byte("ok" + part))
	}
	from, err = small.Load(func(b []byte) error {
		if len(b) < 2 || string(b[:2]) != "ok" {
			return fmt.Errorf("bad contents %q", b)
		}
		got = string(b)
		return nil
	})
	return got, from, err
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

const aside = ".corrupt-20010909-014640"

func TestSmallFile(t *testing.T) {
	type files map[string]string // by suffix
	for _, c := range []struct {
		name  string
		files files
		want  string
		from  vfs.Loaded
		log   string // "" for none
		after files  // what is elsewhere afterwards
	}{
		{name: "the file counts before its backup", files: files{"": "ok f", ".bak": "ok b"}, want: "ok f", from: vfs.Loaded{From: "/f"}},
		{name: "neither", files: files{}},
		{name: "a missing file has a backup", files: files{".bak": "ok b"}, want: "ok b", from: vfs.Loaded{From: "/f.bak", Damaged: true}, log: "file is missing"},
		{name: "an empty file has a backup", files: files{"": "", ".bak": "ok b"}, want: "ok b", from: vfs.Loaded{From: "/f.bak", Damaged: true}, log: "moved=/f" + aside, after: files{aside: ""}},
		{name: "a file of zeros has a backup", files: files{"": "\x00\x00", ".bak": "ok b"}, want: "ok b", from: vfs.Loaded{From: "/f.bak", Damaged: true}, log: "err=empty"},
		{name: "a file of nothing has a backup", files: files{"": "null", ".bak": "ok b"}, want: "ok b", from: vfs.Loaded{From: "/f.bak", Damaged: true}, log: "err=empty"},
		{name: "a damaged file has a backup", files: files{"": "?", ".bak": "ok b"}, want: "ok b", from: vfs.Loaded{From: "/f.bak", Damaged: true}, log: "what was written last may be missing", after: files{aside: "?"}},
		{name: "one was set aside in this second before", files: files{"": "?", ".bak": "ok b", aside: "!"}, want: "ok b", from: vfs.Loaded{From: "/f.bak", Damaged: true}, log: aside + "-2", after: files{aside: "!", aside + "-2": "?"}},
		{name: "both damaged", files: files{"": "?", ".bak": "!"}, from: vfs.Loaded{Damaged: true}, log: "nothing of them can be used. All is lost", after: files{"": "?", ".bak": "!", aside: "?", ".bak" + aside: "!"}},
		{name: "a damaged file without a backup", files: files{"": "?"}, from: vfs.Loaded{Damaged: true}, log: "nothing of them can be used", after: files{aside: "?"}},
		{name: "an empty file without a backup", files: files{"": ""}, from: vfs.Loaded{Damaged: true}, log: "nothing of them can be used"},
		{name: "a damaged backup without a file", files: files{".bak": "?"}, from: vfs.Loaded{Damaged: true}, log: "nothing of them can be used"},
		{name: "the beginning of the file", files: files{"": "?1.", ".bak": "?2."}, want: "ok?1", from: vfs.Loaded{From: "/f", Damaged: true, Part: true}, log: "what is ahead of the damage is used. All is lost", after: files{aside: "?1.", ".bak" + aside: "?2."}},
		{name: "the beginning of the backup", files: files{"": "", ".bak": "?2."}, want: "ok?2", from: vfs.Loaded{From: "/f.bak", Damaged: true, Part: true}, log: "read=/f.bak"},
		{name: "one that was about to be written", files: files{"": "?1.", ".bak": "?2.", ".tmp": "ok t"}, want: "ok t", from: vfs.Loaded{From: "/f.tmp", Damaged: true}, log: "about to be written"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMem()
			for suffix, text := range c.files {
				write(t, m, "/f"+suffix, []byte(text))
			}
			for round := range 2 { // what was not replaced yet is found again
				var log strings.Builder
				got, from, err := loadLogging(m, "/f", slog.New(slog.NewTextHandler(&log, nil)))
				if err != nil || got != c.want || from != c.from {
					t.Fatalf("%q, %+v, %v", got, from, err)
				}
				if round > 0 {
					break
				}
				if lines := strings.Count(log.String(), "\n"); !strings.Contains(log.String(), c.log) || lines != min(len(c.log), 1) {
					t.Fatalf("logged %q, want %q", log.String(), c.log)
				}
				for suffix, text := range c.after {
					if got := read(t, m, "/f"+suffix); got != text {
						t.Errorf("%s is %q, want %q", suffix, got, text)
					}
				}
			}
			if c.from.From == "/f.bak" && !c.from.Part {
				// The next write must not push damaged contents over the good backup.
				must(t, vfs.WriteFileAtomic(m, "/f", []byte("ok n")))
				if got := read(t, m, "/f.bak"); got != "ok b" {
					t.Fatalf("backup is now %q", got)
				}
			}
		})
	}
}

// A file that cannot be opened, for lack of descriptors or of permission, is not damaged: nothing else is taken in its place.
func TestSmallFileThatCannotBeOpened(t *testing.T) {
	m := newMem()
	write(t, m, "/f", []byte("ok f"))
	write(t, m, "/f.bak", []byte("ok b"))
	denied := errors.New("denied")
	if got, err := load(vfs.Faulty(m, vfs.FailNth(1, false, denied, vfs.OpOpen)), "/f"); !errors.Is(err, denied) || got != "" {
		t.Errorf("%q, %v", got, err)
	}
	// A disk that fails where the file lies is.
	if got, err := load(vfs.Faulty(m, vfs.FailNth(1, false, denied, vfs.OpRead)), "/f"); err != nil || got != "ok b" {
		t.Errorf("%q, %v", got, err)
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
