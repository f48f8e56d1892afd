package verify_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"apogee/internal/testkit"
	"apogee/store"
	"apogee/store/verify"
)

// look verifies a directory, and collects what is found.
func look(t testing.TB, dir string) (*verify.Result, []verify.Finding) {
	t.Helper()
	return lookWith(t, dir, false)
}

func lookWith(t testing.TB, dir string, quick bool) (*verify.Result, []verify.Finding) {
	t.Helper()
	var list []verify.Finding
	run := verify.Run
	if quick {
		run = verify.Quick
	}
	res, err := run(context.Background(), verify.Options{Root: os.DirFS(dir), Report: func(f verify.Finding) { list = append(list, f) }})
	if err != nil {
		t.Fatal(err)
	}
	return res, list
}

// kinds are the kinds of what was found, without notes.
func kinds(list []verify.Finding) []string {
	seen := map[string]bool{}
	for _, f := range list {
		if f.Level != verify.Note {
			seen[fmt.Sprintf("%s %s", f.Level, f.Kind)] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// TestGoldenDirectories looks at directories that Java brokers wrote. Two kinds of damage are real: 4.9 deletes the queue of half messages
// when a topic is deleted, and one queue was taken out of what the slaves left (the README of the golden directories says why).
func TestGoldenDirectories(t *testing.T) {
	for _, tc := range []struct {
		name    string
		records int64
		want    []string
	}{
		{"clean", 756, nil},
		{"crash", 1228, []string{"recoverable abort"}},
		{"torn", 1228, []string{"recoverable abort", "recoverable log.tail", "recoverable queue.behind"}},
		{"segments", 430, nil},
		{"propcrc", 393, nil},
		{"v4", 597, []string{"damage queue.lost"}},
		{"slave-async", 403, []string{"damage queue.lost"}},
		{"rocksdb", 393, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res, list := look(t, filepath.Join(testkit.Golden(t, tc.name, nil), "store"))
			if got := kinds(list); !slices.Equal(got, tc.want) {
				t.Errorf("found %q, want %q: %+v", got, tc.want, list)
			}
			if res.Records != tc.records || res.Unreadable != 0 || tc.name != "rocksdb" && res.Entries < res.Records-30 {
				t.Errorf("looked at %+v", res)
			}
			if (tc.name == "rocksdb") != (len(res.Skipped) > 0) {
				t.Errorf("not looked at: %q", res.Skipped)
			}
		})
	}
}

// TestAfterRecovery looks at what Apogee makes of directories of killed brokers.
func TestAfterRecovery(t *testing.T) {
	for _, name := range []string{"crash", "torn"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(testkit.Golden(t, name, nil), "store")
			reopen(t, dir, nil)
			if res, list := look(t, dir); !res.Sound() || res.Records != 1228 {
				t.Errorf("found %+v in %+v", list, res)
			}
		})
	}
}

// reopen opens a golden directory with the store, and closes it.
func reopen(t *testing.T, dir string, then func(*store.Store)) {
	t.Helper()
	o := store.Defaults()
	o.RootDir = dir
	conf, err := testkit.GoldenConf(filepath.Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	number := func(key string) int64 {
		n, err := strconv.ParseInt(conf[key], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	o.MappedFileSizeCommitLog, o.MappedFileSizeConsumeQueue = number("mappedFileSizeCommitLog"), number("mappedFileSizeConsumeQueue")
	o.MapperFileSizeBatchConsumeQueue = number("mapperFileSizeBatchConsumeQueue")
	o.MaxHashSlotNum, o.MaxIndexNum = int32(number("maxHashSlotNum")), int32(number("maxIndexNum"))
	o.CompactionMappedFileSize, o.CompactionCqMappedFileSize = number("compactionMappedFileSize"), number("compactionCqMappedFileSize")
	o.FileReservedTimeHours = 87600
	o.EnableLmq, o.EnableMultiDispatch = true, true
	o.QueueKind = func(topic string) store.QueueKind {
		switch topic {
		case "BatchCq_s11":
			return store.BatchQueue
		case "Compact_s11":
			return store.CompactionQueue
		}
		return store.SimpleQueue
	}
	s, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if then != nil {
		then(s)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
