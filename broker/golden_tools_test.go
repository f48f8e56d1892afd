package broker

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"apogee/compat/properties"
	"apogee/internal/clock"
	"apogee/internal/testkit"
	"apogee/store"
	"apogee/store/migrate"
	"apogee/store/repair"
	"apogee/store/vfs"
)

// unpacked is a directory that a Java broker wrote, with what it served from it.
func unpacked(t *testing.T, name string) (dir string, m manifest, conf testkit.Props) {
	t.Helper()
	dir = testkit.Golden(t, name, &m)
	conf, err := testkit.GoldenConf(dir)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "store"), m, conf
}

// A copy with other files is served as the Java broker served the original.
func TestCopiesAreServed(t *testing.T) {
	for _, name := range []string{"clean", "segments"} {
		for _, logFile := range []int64{0, 64 << 20} {
			t.Run(fmt.Sprintf("%s with log files of %d", name, logFile), func(t *testing.T) {
				dir, m, conf := unpacked(t, name)
				number := func(key string) int64 {
					n, _ := strconv.ParseInt(conf[key], 10, 64)
					return n
				}
				dst := filepath.Join(t.TempDir(), "copy")
				o := migrate.Options{
					FS: vfs.OS(), Src: dir, Dst: dst, DstLog: filepath.Join(t.TempDir(), "log"), LogFile: logFile, QueueFile: 2000,
					HashSlots: number("maxHashSlotNum"), IndexEntries: number("maxIndexNum"),
				}
				if _, err := migrate.Run(o); err != nil {
					t.Fatal(err)
				}
				conf["mappedFileSizeConsumeQueue"], conf["storePathCommitLog"] = "2000", o.DstLog
				if logFile > 0 {
					conf["mappedFileSizeCommitLog"] = strconv.FormatInt(logFile, 10)
				}
				n := startGolden(t, dst, conf)
				if logFile == 0 {
					sameAsManifest(n, &m)
					return
				}
				n.sameTables(&m) // each record names another place, so their hashes differ; the copy has compared the rest of them
				n.sameOffsets(&m)
				for topic, q := range m.Topics {
					for i := range q.Queues {
						q := &q.Queues[i]
						n.sameQueue(topic, q.QueueID, q.Min, q.Max)
						for _, at := range q.OffsetsByTime {
							n.sameTime(topic, q.QueueID, at.Timestamp, at.Lower, at.Upper)
						}
					}
				}
			})
		}
	}
}

// A directory that was torn, and then lost its queues, is served as before once it was repaired.
func TestRepairedDirectoryIsServed(t *testing.T) {
	dir, m, conf := unpacked(t, "torn")
	if err := os.RemoveAll(filepath.Join(dir, "consumequeue")); err != nil {
		t.Fatal(err)
	}
	file, err := properties.Parse("broker.conf", []byte(goldenSettings+conf.Text()))
	if err != nil {
		t.Fatal(err)
	}
	var opts store.Options
	if _, err := properties.Bind(file, &opts); err != nil {
		t.Fatal(err)
	}
	opts.RootDir, opts.Now, opts.Whole = dir, clock.Now, true
	opts.QueueKind = func(topic string) store.QueueKind {
		var c struct{ Attributes map[string]string }
		text, _ := json.Marshal(m.TopicConfig.TopicConfigTable[topic])
		if json.Unmarshal(text, &c) == nil && c.Attributes["queue.type"] == "BatchCQ" {
			return store.BatchQueue
		}
		return store.SimpleQueue
	}
	for _, apply := range []bool{false, true} {
		rep, err := repair.Run(repair.Options{Store: opts, Apply: apply})
		if err != nil || rep.Remains > 0 || len(rep.Steps) < 10 {
			t.Fatalf("%v: %+v", err, rep)
		}
	}
	n := startGolden(t, dir, conf)
	n.sameTables(&m)
	n.sameOffsets(&m)
	for topic, q := range m.Topics {
		for i := range q.Queues {
			q := &q.Queues[i]
			n.sameQueue(topic, q.QueueID, q.Min, q.Max)
		}
	}
}
