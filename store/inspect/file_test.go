package inspect_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"apogee/internal/testkit"
	"apogee/store/inspect"
)

func TestRecognize(t *testing.T) {
	for name, want := range map[string]inspect.FileKind{
		"/s/commitlog/00000000000000000000":                    inspect.LogFile,
		"/s/consumequeue/T/0/00000000000000000000":             inspect.QueueFile,
		"/s/batchconsumequeue/T/0/00000000000000000000":        inspect.BatchQueueFile,
		"/s/consumequeue_ext/T/0/00000000000000000000":         inspect.ExtFile,
		"/s/compaction/compactionLog/T/0/00000000000000000000": inspect.CompactionLogFile,
		"/s/compaction/compactionCq/T/0/00000000000000000000":  inspect.CompactionQueueFile,
		"/s/timerlog/00000000000000000000":                     inspect.TimerLogFile,
		"/s/index/20260101000000000":                           inspect.IndexFile,
		"/s/checkpoint":                                        inspect.CheckpointFile,
		"/s/config/timercheck":                                 inspect.TimerCheckFile,
		"/s/config/topics.json.bak":                            inspect.ConfigText,
		"/s/config/timermetrics":                               inspect.ConfigText,
		"/s/timerwheel.123":                                    inspect.TimerWheelFile,
		"/s/abort":                                             inspect.AbortFile,
		"/s/lock":                                              inspect.LockFile,
		"/s/epochFileCheckpoint.bak":                           inspect.EpochFile,
		"/s/brokerIdentity-temp":                               inspect.IdentityFile,
		"/s/notes.txt":                                         inspect.UnknownFile,
	} {
		if got := inspect.Recognize(name, 100, nil); got != want {
			t.Errorf("%s is %s", name, got)
		}
	}
}

// TestEveryFileOfJava recognises each file of a golden directory, where it lies and by itself, and reads all of it.
func TestEveryFileOfJava(t *testing.T) {
	dir := testkit.Golden(t, "clean", nil)
	count := map[inspect.FileKind]int{}
	err := filepath.Walk(filepath.Join(dir, "store"), func(name string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() || strings.Contains(name, "rocksdbstore") {
			return err
		}
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		defer file.Close()
		f, err := inspect.OpenFile(file, info.Size(), filepath.ToSlash(name))
		if err != nil {
			return err
		}
		items := 0
		err = f.Each(0, func(i inspect.Item) bool {
			if items++; i.Fault != "" {
				t.Errorf("%s: %+v", name, i)
			}
			return true
		})
		if err != nil || f.Kind == inspect.UnknownFile {
			t.Errorf("%s, %s: %v", name, f.Kind, err)
		}
		count[f.Kind] += items
		alone, err := inspect.OpenFile(file, info.Size(), "/copies/"+info.Name())
		if err != nil {
			return err
		}
		if got := alone.Kind; got != f.Kind && items > 0 && f.Kind != inspect.CompactionLogFile && f.Kind != inspect.CompactionQueueFile {
			t.Errorf("%s alone is taken for %s", name, got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for kind, least := range map[inspect.FileKind]int{
		inspect.LogFile: 756, inspect.QueueFile: 700, inspect.BatchQueueFile: 10, inspect.IndexFile: 2196, inspect.TimerLogFile: 28,
		inspect.TimerWheelFile: 10, inspect.CompactionLogFile: 60, inspect.CompactionQueueFile: 60, inspect.ConfigText: 16, inspect.CheckpointFile: 1,
	} {
		if count[kind] < least {
			t.Errorf("%s: %d things", kind, count[kind])
		}
	}
}

func FuzzFile(f *testing.F) {
	for _, name := range []string{
		"commitlog/00000000000000000000", "consumequeue/T/0/00000000000000000000", "batchconsumequeue/T/0/00000000000000000000", "index/20260101000000000",
		"timerlog/00000000000000000000", "timerwheel", "consumequeue_ext/T/0/00000000000000000000", "checkpoint", "config/timercheck", "epochFileCheckpoint", "x",
	} {
		f.Add("/s/"+name, []byte("0123456789"), int64(0))
	}
	f.Fuzz(func(t *testing.T, name string, data []byte, from int64) {
		file, err := inspect.OpenFile(strings.NewReader(string(data)), int64(len(data)), name)
		if err != nil {
			return
		}
		n := 0
		_ = file.Each(from, func(inspect.Item) bool {
			if n++; n > len(data)+2 {
				t.Fatalf("%d things in %d bytes", n, len(data))
			}
			return true
		})
	})
}
