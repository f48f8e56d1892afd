package foreign

import (
	"errors"
	"path"
	"strconv"
	"strings"
	"testing"
	"time"

	"apogee/store/record"
	"apogee/store/vfs"
)

func newDir(t *testing.T, files map[string]string) *vfs.Mem {
	t.Helper()
	m := vfs.NewMem(func() time.Time { return time.Unix(1700000000, 0) })
	for name, text := range files {
		put(t, m, path.Join("/s", name), []byte(text))
	}
	return m
}

func put(t *testing.T, m *vfs.Mem, name string, b []byte) {
	t.Helper()
	if err := m.MkdirAll(path.Dir(name)); err != nil {
		t.Fatal(err)
	}
	f, err := m.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsFound(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string // kind and path of what bars
	}{
		{"nothing at all", nil, ""},
		{"an empty database, as Java makes it always", map[string]string{"rocksdbstore/CURRENT": "M", "rocksdbstore/000004.log": ""}, ""},
		{"one with a table", map[string]string{"rocksdbstore/CURRENT": "M", "rocksdbstore/000009.sst": "x"}, "RocksDB index, timers or transactions rocksdbstore"},
		{"one with a log", map[string]string{"rocksdbstore/CURRENT": "M", "rocksdbstore/000004.log": "x"}, "RocksDB index, timers or transactions rocksdbstore"},
		{"topics", map[string]string{"config/topics/CURRENT": "M"}, "RocksDB configuration config/topics"},
		{"all settings in one", map[string]string{"config/metadata/CURRENT": "M"}, "RocksDB configuration config/metadata"},
		{"second form", map[string]string{"config/rdb/CURRENT": "M"}, "RocksDB configuration v2 config/rdb"},
		{"a folder of that name, but no database", map[string]string{"config/topics/x.json": "{}"}, ""},
		{"pops", map[string]string{"kvStore/CURRENT": "M", "kvStore/000003.log": "x"}, "RocksDB pops kvStore"},
		{"queues", map[string]string{"consumequeue/CURRENT": "M"}, "RocksDB queues consumequeue"},
		{"queues apart", map[string]string{"consumequeue_rocksdb/CURRENT": "M"}, "RocksDB queues consumequeue_rocksdb"},
		{"DLedger", map[string]string{"dledger-n0/data/00000000000000000000": "x"}, "DLedger log dledger-n0/data"},
		{"DLedger without files", map[string]string{"dledger-n0/checkpoint": "x"}, ""},
		{"tiered", map[string]string{"config/tieredStoreMetadata.json": "{}"}, "tiered storage config/tieredStoreMetadata.json"},
		{"half a copy", map[string]string{"migrate.json": "{}"}, "unfinished copy migrate.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Check(Place{FS: newDir(t, c.files), Root: "/s"})
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			r, ok := errors.AsType[*Refusal](err)
			if !ok || len(r.Findings) != 1 {
				t.Fatalf("%v", err)
			}
			if got := string(r.Findings[0].Kind) + " " + r.Findings[0].Path; got != c.want {
				t.Errorf("found %s, want %s", got, c.want)
			}
			if text := err.Error(); !strings.Contains(text, "/s/"+r.Findings[0].Path) || strings.Contains(text, "$") || !strings.Contains(text, "1. ") && r.Findings[0].Kind != Unfinished {
				t.Errorf("text:\n%s", text)
			}
		})
	}
}

// written is a directory with queues in both places; the log's first records are of queues T/0 to T/n-1.
func written(t *testing.T, records int, inFile func(n int) bool) Place {
	t.Helper()
	m := newDir(t, map[string]string{"consumequeue/CURRENT": "M", "consumequeue/000012.sst": "x"})
	log := make([]byte, 8192)
	at := 0
	for n := range records {
		msg := record.Message{Topic: "T", QueueID: int32(n), Body: []byte("body"), QueueOffset: 7, PhysicalOffset: int64(at), StoreTimestamp: 1}
		l, err := msg.Measure(false)
		if err != nil {
			t.Fatal(err)
		}
		rec := log[at : at+l.Total]
		record.Encode(rec, &msg, l)
		record.Patch(rec, 7, int64(at), 1)
		if inFile(n) {
			unit := make([]byte, 600)
			putUnit(unit[140:], int64(at), l.Total)
			put(t, m, path.Join("/s/consumequeue/T", strconv.Itoa(n), "00000000000000000000"), unit)
		}
		at += l.Total
	}
	put(t, m, "/s/commitlog/00000000000000000000", log)
	return Place{FS: m, Root: "/s"}
}

func putUnit(b []byte, phys int64, size int) {
	for i := range 8 {
		b[i] = byte(phys >> (56 - 8*i))
	}
	for i := range 4 {
		b[8+i] = byte(size >> (24 - 8*i))
	}
}

// Queues that stand in RocksDB and, from the log's start on, in files are opened; others are not.
func TestDoubleWrittenQueues(t *testing.T) {
	all := func(int) bool { return true }
	found, err := Check(written(t, 5, all))
	if err != nil || len(found) != 1 || found[0].Kind != DoubleQueues {
		t.Errorf("%v, %v", found, err)
	}
	if _, err := Check(written(t, 5, func(n int) bool { return n != 3 })); err == nil {
		t.Error("opened though a queue is not in files")
	}
	if _, err := Check(written(t, 0, all)); err == nil {
		t.Error("opened though nothing vouches for the files")
	}
	p := written(t, 5, all)
	p.Setting = func(key string) (string, bool) { return "true", key == "combineCQUseRocksdbForLmq" }
	if _, err := Check(p); err == nil {
		t.Error("opened though light queues are in RocksDB only")
	}
}
