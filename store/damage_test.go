package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"apogee/store/record"
	"apogee/store/vfs"
)

// The directory that is damaged: 200 messages in queue 0 of T, and one after each tenth in queue 0 of U, in six files of the log, four
// files of T's queue and several of the index.
const (
	damageMessages = 200
	cqDir          = "/data/store/consumequeue/T/0/"
)

func damageBody(i int) string { return fmt.Sprintf("%03d%s", i, strings.Repeat("b", 300)) }

// damageRig is that directory, after a clean stop or as a killed process leaves it, and where each message of T is.
func damageRig(t *testing.T, clean bool, kind QueueKind) (*rig, []PutResult) {
	t.Helper()
	r := newRig(t, func(o *Options) {
		if kind == BatchQueue {
			o.QueueKind = func(string) QueueKind { return BatchQueue }
			o.MapperFileSizeBatchConsumeQueue = batchUnitSize * 50
		}
	})
	s := r.open()
	var results []PutResult
	for i := range damageMessages {
		m := message("T", 0, damageBody(i))
		m.Properties = fmt.Sprintf("KEYS\x01k%d\x02", i)
		results = append(results, put(t, s, m))
		if i%10 == 9 {
			put(t, s, message("U", 0, "u"))
		}
		r.clock.advance(time.Millisecond)
	}
	must(t, s.flush.flush())
	must(t, s.flushQueues(true))
	must(t, s.checkpoint.write())
	must(t, s.writeQueueEnds())
	if !clean {
		clone := r.mem.KillClone()
		abandon(s)
		return r.on(clone), results
	}
	must(t, s.Close())
	return r, results
}

// logLines collects what is logged.
type logLines struct{ strings.Builder }

func (l *logLines) handler() slog.Handler {
	return slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelWarn})
}

// flip flips a bit of a file.
func flip(t *testing.T, m *vfs.Mem, name string, off int64, bit byte) {
	t.Helper()
	var b [1]byte
	f, err := m.Open(name)
	must(t, err)
	_, err = f.ReadAt(b[:], off)
	must(t, err)
	overwrite(t, m, name, off, []byte{b[0] ^ bit})
}

// inLog is the file and the position of a log offset.
func inLog(off int64) (string, int64) {
	return logDir + fileName(off/(16<<10)*(16<<10)), off % (16 << 10)
}

// hideCheckpoint keeps the times of the checkpoint, and makes recovery read all of the log.
func hideCheckpoint(t *testing.T, m *vfs.Mem) {
	t.Helper()
	var cp [checkpointSize]byte
	binary.BigEndian.PutUint64(cp[:], uint64(epoch.UnixMilli()+10_000))
	overwrite(t, m, "/data/store/checkpoint", 0, cp[:])
}

func remove(t *testing.T, m *vfs.Mem, names ...string) {
	t.Helper()
	for _, name := range names {
		must(t, vfs.RemoveAll(m, name))
	}
}

// damageCase is one damage. Messages of T that are in lost are not served, those from end on are cut off, and those before begin are
// gone; all others are served at their offsets.
type damageCase struct {
	name  string
	exits string // "clean", "killed"; "" for both
	kind  QueueKind
	do    func(t *testing.T, m *vfs.Mem, at []PutResult)
	lost  []int
	begin int
	end   int // 0 for all
	err   string
	log   string // "" where nothing is to be said
	kept  string // a file below quarantine
}

func file(n int64) string { return logDir + fileName(n*(16<<10)) }

var damageCases = []damageCase{
	{name: "nothing", do: func(*testing.T, *vfs.Mem, []PutResult) {}},

	// The log.
	{name: "log: body of the last record", exits: "clean", lost: []int{199}, log: "commit log is damaged", do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		name, pos := inLog(at[199].PhysicalOffset)
		flip(t, m, name, pos+100, 4)
		name, pos = inLog(at[199].NextOffset) // it is U's record that is the last
		overwrite(t, m, name, pos, make([]byte, 300))
	}},
	{name: "log: magic of the last record", exits: "clean", log: "commit log is damaged", do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		name, pos := inLog(at[199].NextOffset)
		flip(t, m, name, pos+4, 1)
	}},
	{name: "log: bodies in the middle, all read again", exits: "killed", lost: []int{3, 50, 51, 120}, log: "commit log is damaged", do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		hideCheckpoint(t, m)
		for _, i := range []int{3, 50, 51, 120} {
			name, pos := inLog(at[i].PhysicalOffset)
			flip(t, m, name, pos+100, 4)
		}
	}},
	{name: "log: sizes and magics in the middle, all read again", exits: "killed", lost: []int{0, 77, 78, 120}, log: "commit log is damaged", do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		hideCheckpoint(t, m)
		for _, i := range []int{0, 77, 120} {
			name, pos := inLog(at[i].PhysicalOffset)
			flip(t, m, name, pos+3, 4)
		}
		name, pos := inLog(at[78].PhysicalOffset)
		overwrite(t, m, name, pos, make([]byte, 200))
	}},
	{name: "log: a part and all queues", lost: []int{10, 11, 12, 60}, log: "commit log is damaged", do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		hideCheckpoint(t, m)
		remove(t, m, "/data/store/consumequeue")
		name, pos := inLog(at[10].PhysicalOffset)
		overwrite(t, m, name, pos, []byte(strings.Repeat("x", int(at[13].PhysicalOffset-at[10].PhysicalOffset))))
		name, pos = inLog(at[60].PhysicalOffset)
		flip(t, m, name, pos+4, 1)
	}},
	{name: "log: the mark at the end of a file", exits: "killed", log: "commit log is damaged", do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		hideCheckpoint(t, m)
		for i := range at {
			if next := at[i].NextOffset; i+1 < len(at) && at[i+1].PhysicalOffset/(16<<10) != next/(16<<10) && at[i+1].PhysicalOffset > next {
				name, pos := inLog(next)
				if i%10 != 9 {
					overwrite(t, m, name, pos+4, []byte{1, 2, 3, 4})
				}
			}
		}
	}},
	{name: "log: first file missing", begin: -1, do: func(t *testing.T, m *vfs.Mem, at []PutResult) { remove(t, m, file(0)) }},
	{name: "log: a file in the middle missing", err: "commit log has a hole", do: func(t *testing.T, m *vfs.Mem, at []PutResult) { remove(t, m, file(2)) }},
	{name: "log: a file in the middle empty", exits: "clean", err: "apogee store repair", do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		remove(t, m, file(2))
		touch(m, file(2), 0)
	}},
	{name: "log: a durable file in the middle without contents", exits: "killed", err: "commit log has a hole", do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		hideCheckpoint(t, m)
		remove(t, m, file(2))
		touch(m, file(2), 0)
	}},
	{name: "log: a file in the middle without contents, of which nothing is known", exits: "killed", end: -2, log: "set aside", kept: "commitlog/" + fileName(3*(16<<10)), do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		remove(t, m, "/data/store/checkpoint", file(2))
		touch(m, file(2), 0)
	}},
	{name: "log: a file in the middle of wrong size", err: "apogee store doctor", do: func(t *testing.T, m *vfs.Mem, at []PutResult) { truncate(t, m, file(2), 5000) }},
	{name: "log: last file missing", end: -3, log: "queues are ahead of the log", do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		remove(t, m, file(at[199].NextOffset/(16<<10)), file(at[199].NextOffset/(16<<10)+1))
	}},
	{name: "log: last file too short", exits: "clean", lost: []int{199}, log: "too short", do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		name, pos := inLog(at[199].PhysicalOffset)
		truncate(t, m, name, pos+20)
	}},
	{name: "log: a foreign file", log: "left alone", do: func(t *testing.T, m *vfs.Mem, at []PutResult) { touch(m, logDir+"notes.txt", 10) }},

	{name: "log: all missing", end: -4, log: "consume queues are set aside", kept: "consumequeue/T/0/" + fileName(0), do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		remove(t, m, strings.TrimSuffix(logDir, "/"))
	}},

	// Queues.
	{name: "queue: all missing", log: "made again", do: func(t *testing.T, m *vfs.Mem, at []PutResult) { remove(t, m, "/data/store/consumequeue") }},
	{name: "queue: first file of wrong size", log: "made again", kept: "consumequeue/T/0/" + fileName(1000), do: func(t *testing.T, m *vfs.Mem, at []PutResult) { truncate(t, m, cqDir+fileName(0), 500) }},
	{name: "queue: a file in the middle of wrong size", log: "made again", kept: "consumequeue/T/0/" + fileName(1000), do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		truncate(t, m, cqDir+fileName(1000), 2000)
	}},
	{name: "queue: a file in the middle empty", exits: "killed", log: "made again", do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		truncate(t, m, cqDir+fileName(1000), 0)
	}},
	{name: "queue: a file in the middle empty", exits: "clean", log: "made again", kept: "consumequeue/T/0/" + fileName(2000), do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		truncate(t, m, cqDir+fileName(1000), 0)
	}},
	{name: "queue: a file in the middle missing", log: "made again", kept: "consumequeue/T/0/" + fileName(2000), do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		remove(t, m, cqDir+fileName(1000))
	}},
	{name: "queue: last file too short", log: "made again", kept: "consumequeue/T/0/" + fileName(3000), do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		truncate(t, m, cqDir+fileName(3000), 21)
	}},
	{name: "queue: a topic missing", log: "made again", do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		remove(t, m, "/data/store/consumequeue/T")
	}},
	{name: "queue: first file missing", log: "made again", kept: "consumequeue/T/0/" + fileName(1000), do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		remove(t, m, cqDir+fileName(0))
	}},
	{name: "queue: all files but the last missing", log: "made again", kept: "consumequeue/T/0/" + fileName(3000), do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		remove(t, m, cqDir+fileName(0), cqDir+fileName(1000), cqDir+fileName(2000))
	}},
	{name: "queue: last file missing", log: "made again", do: func(t *testing.T, m *vfs.Mem, at []PutResult) { remove(t, m, cqDir+fileName(3000)) }},
	{name: "queue: last entries are zeros", exits: "clean", log: "made again", do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		overwrite(t, m, cqDir+fileName(3000), 600, make([]byte, 400))
	}},
	{name: "queues.json: half of it", log: "ends of queues are not known", do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		truncate(t, m, "/data/store/queues.json", 30)
	}},
	{name: "queues.json: from before somebody opened the directory", do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		text := string(must2(vfs.ReadFile(m, "/data/store/queues.json")))
		text = strings.Replace(strings.Replace(text, `"lock":1`, `"lock":2`, 1), ":200", ":2000", 1)
		must(t, vfs.WriteFileAtomic(m, "/data/store/queues.json", []byte(text)))
	}},
	{name: "queue: an offset of an entry is negative", log: "made again", do: func(t *testing.T, m *vfs.Mem, at []PutResult) { flip(t, m, cqDir+fileName(3000), 200, 0x80) }},
	{name: "queue: an offset of an entry is too large", log: "made again", do: func(t *testing.T, m *vfs.Mem, at []PutResult) { flip(t, m, cqDir+fileName(3000), 203, 0x08) }},
	{name: "queue: entries are zeros", log: "made again", do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		overwrite(t, m, cqDir+fileName(3000), 100, make([]byte, 100))
	}},
	{name: "queue: a foreign file", log: "left alone", do: func(t *testing.T, m *vfs.Mem, at []PutResult) { touch(m, cqDir+".DS_Store", 10) }},
	{name: "queue of batches: a file in the middle of wrong size", kind: BatchQueue, log: "made again", do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		truncate(t, m, "/data/store/batchconsumequeue/T/0/"+fileName(2300), 7)
	}},
	// apache/rocketmq issues 9728 and 10108: a queue's last file has no entries, and the messages it was made for are lost with the end
	// of the log.
	{name: "queue: a last file without entries", do: func(t *testing.T, m *vfs.Mem, at []PutResult) { touch(m, cqDir+fileName(4000), 1000) }},
	// Issue 1434: entries of the last messages of one file of the log, and of the first of the next, are missing.
	{name: "queue: behind by two files of the log", exits: "killed", do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		var unit int64
		for at[unit].PhysicalOffset < 4*(16<<10)-500 {
			unit++
		}
		if unit < 150 {
			t.Fatal(unit)
		}
		remove(t, m, "/data/store/queues.json") // a Java broker's directory
		overwrite(t, m, cqDir+fileName(3000), (unit-150)*20, make([]byte, (200-unit)*20))
		var cp [checkpointSize]byte
		binary.BigEndian.PutUint64(cp[:], uint64(at[unit].StoreTimestamp))
		binary.BigEndian.PutUint64(cp[8:], uint64(at[unit-1].StoreTimestamp))
		binary.BigEndian.PutUint64(cp[40:], uint64(at[unit-1].PhysicalOffset))
		overwrite(t, m, "/data/store/checkpoint", 0, cp[:])
	}},

	// The index.
	{name: "index: missing", do: func(t *testing.T, m *vfs.Mem, at []PutResult) { remove(t, m, "/data/store/index") }},

	// Small files.
	{name: "checkpoint: missing", do: func(t *testing.T, m *vfs.Mem, at []PutResult) { remove(t, m, "/data/store/checkpoint") }},
	{name: "checkpoint: zeros", do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		overwrite(t, m, "/data/store/checkpoint", 0, make([]byte, 4096))
	}},
	{name: "checkpoint: empty", do: func(t *testing.T, m *vfs.Mem, at []PutResult) { truncate(t, m, "/data/store/checkpoint", 0) }},
	{name: "checkpoint: torn", do: func(t *testing.T, m *vfs.Mem, at []PutResult) { truncate(t, m, "/data/store/checkpoint", 43) }},
	{name: "checkpoint: ones", do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		overwrite(t, m, "/data/store/checkpoint", 0, []byte(strings.Repeat("\xff", 48)))
	}},
	{name: "checkpoint: of a later time", exits: "clean", do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		overwrite(t, m, "/data/store/checkpoint", 0, []byte(strings.Repeat("\x00\x00\x01\xff\xff\xff\xff\xff", 6)))
	}},
	{name: "checkpoint: of a later time, killed", exits: "killed", log: "no queue has the record", do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		overwrite(t, m, "/data/store/checkpoint", 40, []byte("\x00\x00\x01\xff\xff\xff\xff\xff"))
	}},
	{name: "checkpoint: stale", do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		var cp [checkpointSize]byte
		binary.BigEndian.PutUint64(cp[:], uint64(at[5].StoreTimestamp))
		binary.BigEndian.PutUint64(cp[8:], uint64(at[5].StoreTimestamp))
		binary.BigEndian.PutUint64(cp[40:], uint64(at[5].PhysicalOffset))
		overwrite(t, m, "/data/store/checkpoint", 0, cp[:])
	}},
	{name: "abort: anything", exits: "killed", do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		overwrite(t, m, "/data/store/abort", 0, []byte("\x00not a number"))
	}},
	{name: "lock: missing", do: func(t *testing.T, m *vfs.Mem, at []PutResult) { remove(t, m, "/data/store/lock") }},
	{name: "lock: anything", do: func(t *testing.T, m *vfs.Mem, at []PutResult) {
		overwrite(t, m, "/data/store/lock", 0, []byte(strings.Repeat("x", 100)))
	}},
}

func truncate(t *testing.T, m *vfs.Mem, name string, size int64) {
	t.Helper()
	f, err := m.Open(name)
	must(t, err)
	must(t, errors.Join(f.Truncate(size), f.Close()))
}

// Each file of the store, damaged in each way: what is opened serves every message that is not damaged itself, at its offset, takes new
// ones behind, says what it found, keeps what it could not use, and finds nothing more at the next start.
func TestDamage(t *testing.T) {
	for _, c := range damageCases {
		for _, exit := range []string{"clean", "killed"} {
			if c.exits == "" || c.exits == exit {
				t.Run(c.name+"/"+exit, func(t *testing.T) { testDamage(t, &c, exit == "clean") })
			}
		}
	}
}

func testDamage(t *testing.T, c *damageCase, clean bool) {
	r, at := damageRig(t, clean, c.kind)
	c.do(t, r.mem, at)
	var log logLines
	r.opts.Log = slog.New(log.handler())
	s, err := Open(r.opts)
	if c.err != "" {
		if err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("error %v, want %q", err, c.err)
		}
		if err == nil {
			_ = s.Close()
		}
		return
	}
	must(t, err)
	if c.log == "" != (log.Len() == 0) || !strings.Contains(log.String(), c.log) {
		t.Errorf("logged %q, want %q", log.String(), c.log)
	}
	must(t, s.Start())
	begin, end := c.bounds(at)
	checkDamaged(t, s, c, begin, end)
	if res := put(t, s, message("T", 0, "new")); res.QueueOffset != int64(end) {
		t.Errorf("a new message has offset %d, want %d", res.QueueOffset, end)
	}
	if c.kept != "" && len(findKept(r.mem, c.kept)) != 1 {
		t.Errorf("%s was not kept:\n%s", c.kept, r.mem.Dump())
	}
	if err := s.Close(); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}

	log = logLines{}
	s, err = Open(r.opts)
	must(t, err)
	must(t, s.Start())
	if log.Len() != 0 && !strings.Contains(log.String(), "left alone") {
		t.Errorf("the next start finds %s", log.String())
	}
	checkDamaged(t, s, c, begin, end)
	must(t, s.Close())
}

// bounds are the offsets of T that are there.
func (c *damageCase) bounds(at []PutResult) (begin, end int) {
	begin, end = c.begin, c.end
	lastFile := at[199].NextOffset / (16 << 10)
	switch end {
	case 0:
		end = damageMessages
	case -2:
		end = slices.IndexFunc(at, func(p PutResult) bool { return p.PhysicalOffset >= 2*(16<<10) })
	case -4:
		end = 0
	case -3:
		end = slices.IndexFunc(at, func(p PutResult) bool { return p.PhysicalOffset >= lastFile*(16<<10) })
	}
	if begin < 0 {
		begin = slices.IndexFunc(at, func(p PutResult) bool { return p.PhysicalOffset >= 16<<10 })
	}
	return begin, end
}

func findKept(m *vfs.Mem, name string) []string {
	var found []string
	root := "/data/store/" + vfs.QuarantineDir
	days, _ := m.ReadDir(root)
	for _, day := range days {
		if _, err := m.Stat(path.Join(root, day.Name, name)); err == nil {
			found = append(found, path.Join(root, day.Name, name))
		}
	}
	return found
}

// checkDamaged reads T from its first message to its last.
func checkDamaged(t *testing.T, s *Store, c *damageCase, begin, end int) {
	t.Helper()
	if got := s.MinOffset("T", 0); got != int64(begin) && end > 0 {
		t.Errorf("T begins at %d, want %d", got, begin)
	}
	if got := s.MaxOffset("T", 0); got < int64(end) {
		t.Errorf("T ends at %d, want %d", got, end)
	}
	var res GetResult
	defer res.Release()
	next, got := int64(begin), map[int]bool{}
	for next < int64(end) {
		s.Get(&GetRequest{Topic: "T", Offset: next, MaxCount: 32, MaxBytes: 1 << 20}, &res)
		if res.Next <= next {
			t.Fatalf("at %d: %v, next %d", next, res.Status, res.Next)
		}
		for _, region := range res.Regions {
			for len(region) > 0 {
				var m record.Message
				must(t, record.Decode(region, &m))
				i := int(m.QueueOffset)
				if i < end && string(m.Body) != damageBody(i) {
					t.Errorf("message %d is %.20q", i, m.Body)
				}
				got[i] = true
				region = region[m.StoreSize:]
			}
		}
		next = res.Next
	}
	for i := begin; i < end; i++ {
		if got[i] == slices.Contains(c.lost, i) {
			t.Errorf("message %d is served: %v", i, got[i])
		}
	}
	if c.kind == BatchQueue {
		return
	}
	for i := begin; i < end; i += 7 {
		q, err := s.Query("T", fmt.Sprintf("k%d", i), "", 10, 0, 1<<62)
		must(t, err)
		if n := len(q.Records); n != 1 && !slices.Contains(c.lost, i) {
			t.Errorf("%d records with key %d", n, i)
		}
		q.Release()
	}
}
