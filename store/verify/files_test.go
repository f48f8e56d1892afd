package verify_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"apogee/internal/testkit"
	"apogee/store/inspect"
	"apogee/store/verify"
)

// TestFlippedBitsElsewhere flips bits of the files that are not log, queue or index.
func TestFlippedBitsElsewhere(t *testing.T) {
	dir := filepath.Join(testkit.Golden(t, "clean", nil), "store")
	f := &flipper{t: t, dir: dir}
	const firstTimers = "timerlog/00000000000000000000"
	for _, at := range []int64{3, 8, 11, 14, 15 /* cancels */, 22, 26, 31, 34, 39, 43} {
		bits := byte(1)
		if at == 15 {
			bits = inspect.TimerRolled << 3
		}
		f.flip("timer log", firstTimers, 5*inspect.TimerUnitSize+at, bits, verify.TimerUnit)
	}

	check, err := os.ReadFile(filepath.Join(dir, "config/timercheck"))
	if err != nil {
		t.Fatal(err)
	}
	cp, err := inspect.ParseTimerCheckpoint(check)
	if err != nil {
		t.Fatal(err)
	}
	wheel, err := os.ReadFile(filepath.Join(dir, "timerwheel"))
	if err != nil {
		t.Fatal(err)
	}
	pending := int64(-1)
	for at := int64(0); at < int64(len(wheel)) && pending < 0; at += inspect.TimerSlotSize {
		if s, ok := inspect.ParseTimerSlot(wheel[at:]); ok && s.Time >= cp.ReadTime/1000 {
			pending = at
		}
	}
	if pending < 0 {
		t.Fatal("no timer waits")
	}
	for _, at := range []int64{0, 7, 15, 23, 31} {
		f.flip("timer wheel", "timerwheel", pending+at, 1, verify.TimerSlot)
	}
	for _, at := range []int64{0, 8, 13, 16, 21, 29, 48} {
		f.flip("timer checkpoint", "config/timercheck", at, 0x80, verify.TimerCheckFile)
	}

	const log, cq = "compaction/compactionLog/Compact_s11/0/00000000000000000000", "compaction/compactionCq/Compact_s11/0/00000000000000000000"
	for _, at := range []int64{1, 3, 5, 9, 27, 35, 90} {
		f.flip("compaction log", log, at, 4, verify.CompactRecord, verify.CompactEntry)
	}
	for _, at := range []int64{0, 7, 11, 19, 35, 37} {
		f.flip("compaction entry", cq, inspect.BatchEntrySize+at, 2, verify.CompactEntry, verify.CompactRecord)
	}
	list, err := os.ReadDir(filepath.Join(dir, "config"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		switch name := "config/" + e.Name(); {
		case e.Name() == "timercheck":
		case strings.HasSuffix(name, ".bak"):
			f.quick = true
			f.flip(name, name, 0, 0x21, verify.ConfigBackup)
		default:
			f.quick = true
			f.flip(name, name, 0, 0x21, verify.ConfigUnread)
		}
	}
	f.quick = false
	f.flip("position-checkpoint", "compaction/position-checkpoint", 0, 0x21, verify.ConfigUnread)
}

// TestFilesThatAreWrong takes away, empties and cuts files.
func TestFilesThatAreWrong(t *testing.T) {
	dir := filepath.Join(testkit.Golden(t, "clean", nil), "store")
	for _, tc := range []struct {
		what, file string
		do         func(name string) error
		level      verify.Level
		kind       verify.Kind
	}{
		{"log of another size", firstLog, func(n string) error { return os.Truncate(n, 7<<20) }, "", ""},
		{"log cut short", firstLog, func(n string) error { return os.Truncate(n, 5<<20) }, verify.Damage, verify.QueueAhead},
		{"queue that is gone", "consumequeue/Props_s11", os.RemoveAll, verify.Damage, verify.QueueLost},
		{"queue file of another size", "consumequeue/Props_s11/0/00000000000000000600", func(n string) error { return os.Truncate(n, 580) }, verify.Damage, verify.QueueFile},
		{"first queue file gone", "consumequeue/Props_s11/0/00000000000000000000", os.Remove, verify.Damage, verify.QueueMissing},
		{"wheel of another size", "timerwheel", func(n string) error { return os.Truncate(n, 100) }, verify.Recoverable, verify.TimerFile},
		{"no wheel", "timerwheel", os.Remove, verify.Recoverable, verify.TimerFile},
		{"no timer log", "timerlog", os.RemoveAll, verify.Damage, verify.TimerCheckFile},
		{"topics empty", "config/topics.json", func(n string) error { return os.Truncate(n, 0) }, verify.Recoverable, verify.ConfigUnread},
		{"topics gone", "config/topics.json", os.Remove, verify.Recoverable, verify.ConfigUnread},
		{"topics half written", "config/topics.json", func(n string) error { return os.Truncate(n, 5000) }, verify.Recoverable, verify.ConfigUnread},
		{"topics and backup half written", "config/topics.json", func(n string) error {
			if err := os.Truncate(n, 5000); err != nil {
				return err
			}
			return os.Truncate(n+".bak", 5000)
		}, verify.Damage, verify.ConfigUnread},
		{"checkpoint gone", "checkpoint", os.Remove, verify.Recoverable, verify.CheckpointBad},
		{"checkpoint short", "checkpoint", func(n string) error { return os.Truncate(n, 20) }, verify.Recoverable, verify.CheckpointBad},
		{"name that is no offset", "consumequeue/Props_s11/0/notes", func(n string) error { return os.WriteFile(n, nil, 0o644) }, verify.Damage, verify.QueueFile},
		{"epoch file", "epochFileCheckpoint", func(n string) error { return os.WriteFile(n, []byte("1\n5\n1-0\n"), 0o644) }, verify.Damage, verify.ConfigUnread},
		{"broker identity", "brokerIdentity", func(n string) error { return os.WriteFile(n, []byte("a#b"), 0o644) }, verify.Damage, verify.ConfigUnread},
		{"offset beyond the queue", "config/lmqConsumerOffset.json", func(n string) error {
			return os.WriteFile(n, []byte(`{"offsetTable":{"Props_s11@g":{0:1000000}}}`), 0o644)
		}, verify.Damage, verify.OffsetRange},
		{"delay offset beyond the queue", "config/delayOffset.json", func(n string) error {
			return os.WriteFile(n, []byte(`{"offsetTable":{1:1000000}}`), 0o644)
		}, verify.Damage, verify.OffsetRange},
		{"topic of another name", "config/topics.json", func(n string) error {
			return os.WriteFile(n, []byte(`{"topicConfigTable":{"A":{"topicName":"B"}}}`), 0o644)
		}, verify.Damage, verify.ConfigValue},
		{"topic of another kind of queue", "config/topics.json", func(n string) error {
			return os.WriteFile(n, []byte(`{"topicConfigTable":{"Props_s11":{"topicName":"Props_s11","attributes":{"queue.type":"BatchCQ"}}}}`), 0o644)
		}, verify.Damage, verify.QueueKind},
		{"abort", "abort", func(n string) error { return os.WriteFile(n, []byte("12"), 0o644) }, verify.Recoverable, verify.Unclean},
	} {
		t.Run(tc.what, func(t *testing.T) {
			work := clone(t, dir, tc.file)
			if err := tc.do(filepath.Join(work, tc.file)); err != nil {
				t.Fatal(err)
			}
			_, list := look(t, work)
			if tc.kind == "" {
				if got := kinds(list); len(got) != 0 { // one file alone is of the size that it has
					t.Errorf("found %q", got)
				}
			} else if !slices.ContainsFunc(list, func(f verify.Finding) bool { return f.Kind == tc.kind && f.Level == tc.level }) {
				t.Errorf("found %+v", list)
			}
		})
	}
}

// clone makes a second directory of the same files; those whose names begin with what is to be changed are copies.
func clone(t *testing.T, dir, changes string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "store")
	err := filepath.Walk(dir, func(name string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		at := filepath.Join(to, rel)
		switch {
		case info.IsDir():
			return os.MkdirAll(at, 0o755)
		case !strings.HasPrefix(rel, changes):
			return os.Link(name, at)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(at, data, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}
