package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"apogee/store/record"
	"apogee/store/vfs"
)

const logDir = "/data/store/commitlog/"

// overwrite changes bytes of a file behind everybody's back.
func overwrite(t testing.TB, m *vfs.Mem, name string, off int64, data []byte) {
	t.Helper()
	f, err := m.Open(name)
	must(t, err)
	_, err = f.WriteAt(data, off)
	must(t, err)
}

// killed puts messages of the given bodies and returns the rig as a killed process leaves it, with their results.
func killed(r *rig, bodies ...string) (*rig, []PutResult) {
	r.t.Helper()
	s := r.open()
	var results []PutResult
	for _, b := range bodies {
		results = append(results, put(r.t, s, message("T", 0, b)))
	}
	clone := r.mem.KillClone()
	abandon(s)
	return r.on(clone), results
}

func bodies(all []stored) string {
	var b []string
	for _, m := range all {
		b = append(b, m.body)
	}
	return strings.Join(b, " ")
}

func TestRecoveryCutsWhatIsDamaged(t *testing.T) {
	const body = 88 // offset of the body in a record with IPv4 hosts
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, m *vfs.Mem, second PutResult)
		want   string
	}{
		{"nothing", func(*testing.T, *vfs.Mem, PutResult) {}, "one two three"},
		{"a body", func(t *testing.T, m *vfs.Mem, p PutResult) {
			overwrite(t, m, logDir+fileName(0), p.PhysicalOffset+body, []byte("T"))
		}, "one"},
		{"a magic", func(t *testing.T, m *vfs.Mem, p PutResult) {
			overwrite(t, m, logDir+fileName(0), p.PhysicalOffset+4, []byte{1})
		}, "one"},
		{"a size that is too large", func(t *testing.T, m *vfs.Mem, p PutResult) {
			overwrite(t, m, logDir+fileName(0), p.PhysicalOffset, []byte{0x7f})
		}, "one"},
		{"a size that is negative", func(t *testing.T, m *vfs.Mem, p PutResult) {
			overwrite(t, m, logDir+fileName(0), p.PhysicalOffset, []byte{0xff})
		}, "one"},
		{"the first record", func(t *testing.T, m *vfs.Mem, p PutResult) { overwrite(t, m, logDir+fileName(0), 0, make([]byte, 20)) }, ""},
		{"all from the second on", func(t *testing.T, m *vfs.Mem, p PutResult) {
			overwrite(t, m, logDir+fileName(0), p.PhysicalOffset, make([]byte, 16<<10-p.PhysicalOffset))
		}, "one"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, results := killed(newRig(t), "one", "two", "three")
			c.damage(t, r.mem, results[1])
			s := r.open()
			if got := bodies(walkLog(t, s)); got != c.want {
				t.Fatalf("recovered %q, want %q", got, c.want)
			}
			res := put(t, s, message("T", 0, "next"))
			all := walkLog(t, s)
			checkQueues(t, all)
			if got := bodies(all); got != strings.TrimSpace(c.want+" next") {
				t.Fatalf("after a put: %q (at %d)", got, res.PhysicalOffset)
			}
			must(t, s.Close())
		})
	}
}

// TestTornBehindTheBody zeroes the end of the last record: its checksum covers the body only.
func TestTornBehindTheBody(t *testing.T) {
	for _, c := range []struct {
		name   string
		zeros  int64 // of the record's end
		physic int64 // what is known to be flushed
		want   string
	}{
		{"in the properties", 3, 0, "one"},
		{"in the topic", 13, 0, "one"},
		{"where it is known to be durable", 3, epoch.UnixMilli() + 1, "one two"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			s := r.open()
			put(t, s, message("Topic", 0, "one"))
			m := message("Topic", 0, "two")
			m.Properties = "a\x01bcdef\x02"
			res := put(t, s, m)
			clone := r.mem.KillClone()
			abandon(s)
			r = r.on(clone)
			zeros := make([]byte, c.zeros)
			if c.zeros > 10 { // the length of the properties stays, as it stands in another sector
				zeros = zeros[:3]
			}
			overwrite(t, r.mem, logDir+fileName(0), res.NextOffset-c.zeros, zeros)
			var cp [checkpointSize]byte
			binary.BigEndian.PutUint64(cp[:], uint64(c.physic))
			touch(r.mem, "/data/store/checkpoint", 0)
			overwrite(t, r.mem, "/data/store/checkpoint", 0, cp[:])
			s = r.open()
			defer s.Close()
			if got := bodies(walkLog(t, s)); got != c.want {
				t.Fatalf("recovered %q, want %q", got, c.want)
			}
		})
	}
}

// TestNothingComesBackToLife damages the second of three records of one size. The third is cut off with it, and must not be seen
// again when another record has taken the second one's place.
func TestNothingComesBackToLife(t *testing.T) {
	r, results := killed(newRig(t), "aaa", "bbb", "ccc")
	overwrite(t, r.mem, logDir+fileName(0), results[1].PhysicalOffset+88, []byte("x"))
	r, _ = killed(r, "ddd")
	s := r.open()
	defer s.Close()
	if got := bodies(walkLog(t, s)); got != "aaa ddd" {
		t.Fatalf("recovered %q", got)
	}
}

func TestRecoveryAcrossFiles(t *testing.T) {
	big := strings.Repeat("x", 9000) // one to a file of 16 KiB
	for _, c := range []struct {
		name  string
		hurt  int // which of five records is damaged, -1 none
		files int
	}{{"none", -1, 6}, {"the last", 4, 5}, {"the first", 0, 1}, {"one in the middle", 2, 3}} {
		t.Run(c.name, func(t *testing.T) {
			r, results := killed(newRig(t), big, big, big, big, big)
			// A killed process may leave a file that was made ahead.
			touch(r.mem, logDir+fileName(5*16<<10), 16<<10)
			if c.hurt >= 0 {
				base := results[c.hurt].PhysicalOffset
				overwrite(t, r.mem, logDir+fileName(base), 100, []byte("damage"))
			}
			s := r.open()
			want := c.hurt
			if want < 0 {
				want = 5
			}
			if got := len(walkLog(t, s)); got != want {
				t.Fatalf("%d records, want %d", got, want)
			}
			put(t, s, message("T", 0, "next"))
			must(t, s.Close())
			s = r.open()
			if got := bodies(walkLog(t, s)); !strings.HasSuffix(got, "next") {
				t.Fatal("the record after the recovery is lost")
			}
			must(t, s.Close())
		})
	}
}

// TestUnusedFileAhead leaves a zero-filled file behind one that ends with a mark, and one behind a half-full file.
func TestUnusedFileAhead(t *testing.T) {
	for _, n := range []int{1, 15, 16, 100} {
		texts := make([]string, n)
		for i := range texts {
			texts[i] = strings.Repeat("x", 900)
		}
		r, results := killed(newRig(t), texts...)
		end := results[n-1].NextOffset
		next := end - end%(16<<10) + 16<<10
		touch(r.mem, logDir+fileName(next), 16<<10)
		s := r.open()
		if got := s.commit.end(); got != end {
			t.Fatalf("%d records: end %d, want %d", n, got, end)
		}
		put(t, s, message("T", 0, strings.Repeat("y", 2000)))
		if got := len(walkLog(t, s)); got != n+1 {
			t.Fatalf("%d records, want %d", got, n+1)
		}
		must(t, s.Close())
	}
}

// TestEndsWithMark is a crash between the mark at the end of a file and the making of the next: the mark is written over.
func TestEndsWithMark(t *testing.T) {
	r, results := killed(newRig(t), "one")
	var mark [8]byte
	binary.BigEndian.PutUint32(mark[:], uint32(16<<10-results[0].NextOffset))
	binary.BigEndian.PutUint32(mark[4:], record.MagicBlank)
	overwrite(t, r.mem, logDir+fileName(0), results[0].NextOffset, mark[:])
	for _, info := range must2(r.mem.ReadDir(logDir)) {
		if info.Name != fileName(0) {
			must(t, r.mem.Remove(logDir+info.Name))
		}
	}
	s := r.open()
	defer s.Close()
	if s.commit.end() != results[0].NextOffset {
		t.Fatalf("end %d, want %d", s.commit.end(), results[0].NextOffset)
	}
	put(t, s, message("T", 0, "two"))
	if got := bodies(walkLog(t, s)); got != "one two" {
		t.Fatalf("%q", got)
	}
}

func must2[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestOpenNamesTheWrongFile(t *testing.T) {
	for name, make := range map[string]func(m *vfs.Mem){
		fileName(0):                    func(m *vfs.Mem) { touch(m, logDir+fileName(0), 100<<10) },
		fileName(16384):                func(m *vfs.Mem) { touch(m, logDir+fileName(16384), 8<<10) },
		"mappedFileSizeCommitLog=8192": func(m *vfs.Mem) { touch(m, logDir+fileName(0), 8<<10) },
	} {
		r := newRig(t)
		must(t, r.mem.MkdirAll(logDir))
		make(r.mem)
		_, err := Open(r.opts)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := r.mem.Lock("/data/store/lock"); err != nil {
			t.Fatalf("the lock was kept: %v", err)
		}
	}
}

// FuzzRecovery opens a store over a log of arbitrary bytes: no panic, no endless loop, and what is there afterwards is valid.
func FuzzRecovery(f *testing.F) {
	const size = 4096
	r, _ := killed(newRig(f, func(o *Options) { o.MappedFileSizeCommitLog = size }), "one", strings.Repeat("x", 3000), "three", strings.Repeat("y", 2500))
	var log []byte
	for _, info := range must2(r.mem.ReadDir(logDir)) {
		log = append(log, must2(vfs.ReadFile(r.mem, logDir+info.Name))...)
	}
	f.Add(log, false, int64(0))
	f.Add(log, true, int64(102))
	f.Add(bytes.Repeat([]byte{0xDA}, size), false, int64(-1))
	far := bytes.Clone(log) // a queue offset that no file could hold
	binary.BigEndian.PutUint64(far[20:], 1<<62)
	f.Add(far, false, int64(0))
	f.Fuzz(func(t *testing.T, log []byte, clean bool, logics int64) {
		log = log[:min(len(log), 8*size)]
		r := newRig(t, func(o *Options) { o.MappedFileSizeCommitLog = size })
		must(t, r.mem.MkdirAll(logDir))
		for base := 0; base < len(log); base += size {
			name := logDir + fileName(int64(base))
			touch(r.mem, name, size)
			overwrite(t, r.mem, name, 0, log[base:min(base+size, len(log))])
		}
		if !clean {
			touch(r.mem, "/data/store/abort", 0)
			var cp [checkpointSize]byte
			binary.BigEndian.PutUint64(cp[40:], uint64(logics))
			binary.BigEndian.PutUint64(cp[0:], 1<<62)
			touch(r.mem, "/data/store/checkpoint", 0)
			overwrite(t, r.mem, "/data/store/checkpoint", 0, cp[:])
		}
		s, err := Open(r.opts)
		if errors.Is(err, ErrHole) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		must(t, s.Start())
		if end := s.commit.end(); end < 0 || end > int64(len(log))+size {
			t.Fatalf("end %d of %d", end, len(log))
		}
		put(t, s, message("T", 0, "new"))
		_ = s.Close()
	})
}

func TestRecoveryReadsFromTheCheckpoint(t *testing.T) {
	r := newRig(t)
	s := r.open()
	var third PutResult
	for i := range 5 {
		res := put(t, s, message("T", 0, fmt.Sprint("message ", i)))
		r.clock.advance(time.Millisecond)
		if i == 2 {
			third = res
		}
	}
	clone := r.mem.KillClone()
	abandon(s)
	for _, c := range []struct {
		name   string
		physic int64
		logics int64
		want   int64
	}{
		{"a younger record is known to be flushed", third.StoreTimestamp + 1, third.PhysicalOffset, third.PhysicalOffset},
		{"no younger one is", third.StoreTimestamp, third.PhysicalOffset, 0},
		{"no record is there", third.StoreTimestamp + 1, third.PhysicalOffset + 1, 0},
		{"nothing is known", 0, 0, 0},
		{"it is beyond the log", third.StoreTimestamp + 1, 1 << 40, 0},
	} {
		r := r.on(clone.KillClone())
		s, err := Open(r.opts)
		must(t, err)
		s.checkpoint.physicMsgTimestamp.Store(c.physic)
		s.checkpoint.logicsPhysicalOffset.Store(c.logics)
		rec := &recovery{s: s, o: s.options(), last: uncleanExit}
		must(t, rec.chooseStart())
		if rec.from != c.want || rec.replay != c.want {
			t.Errorf("%s: from %d, replay %d, want %d", c.name, rec.from, rec.replay, c.want)
		}
		must(t, s.Close())
	}
}

// TestCleanStartReadsOneRecord: after a clean stop only the record that the queues know last is read again.
func TestCleanStartReadsOneRecord(t *testing.T) {
	r := newRig(t)
	s := r.open()
	var last PutResult
	for i := range 40 {
		last = put(t, s, message("T", int32(i%3), strings.Repeat("x", 1000)))
	}
	must(t, s.Close())
	s, err := Open(r.opts)
	must(t, err)
	defer s.Close()
	rec := &recovery{s: s, o: s.options(), last: cleanExit, queues: extent{last.PhysicalOffset, last.NextOffset}}
	must(t, rec.chooseStart())
	if rec.from != last.PhysicalOffset || rec.replay != last.NextOffset {
		t.Fatalf("from %d, replay %d, want %d and %d", rec.from, rec.replay, last.PhysicalOffset, last.NextOffset)
	}
	rec.queues.end++ // an entry that is not what the record says: the file is read from its start
	must(t, rec.chooseStart())
	if want := last.PhysicalOffset / (16 << 10) * (16 << 10); rec.from != want {
		t.Fatalf("from %d, want %d", rec.from, want)
	}
}

// TestRecoveryGoesBackAllTheWay kills a store that never wrote a checkpoint, with more files than Java would look at.
func TestRecoveryGoesBackAllTheWay(t *testing.T) {
	texts := make([]string, 15)
	for i := range texts {
		texts[i] = fmt.Sprint(i, strings.Repeat("x", 9000)) // one to a file
	}
	r, _ := killed(newRig(t), texts...)
	s := r.open()
	defer s.Close()
	all := walkLog(t, s)
	if len(all) != len(texts) {
		t.Fatalf("%d records", len(all))
	}
	checkReads(t, s, all)
}

// TestQueueWhoseLastFilesAreEmpty: after a power cut a queue may have more files without an entry than the three that recovery would look at.
func TestQueueWhoseLastFilesAreEmpty(t *testing.T) {
	const each, durable, all = 50, 120, 8 * 50 // entries: of a file, on disk for good, written
	r := newRig(t, syncFlush, unhurriedSaver, manyOptions)
	s := r.open()
	want := map[string]bool{}
	for i := range all {
		body := fmt.Sprint(i)
		put(t, s, message("T", 0, body))
		want[body] = true
		if i == durable-1 {
			must(t, s.flushQueues(true))
			must(t, s.checkpoint.write())
		}
	}
	must(t, s.flushQueuesAt(task{all: true}, hurried(s, 0)))
	mem := r.mem.KillClone()
	abandon(s)
	for first := durable / each * each; first < all; first += each {
		from := max(durable-first, 0)
		overwrite(t, mem, "/data/store/consumequeue/T/0/"+fileName(int64(first)*unitSize), int64(from)*unitSize, make([]byte, (each-from)*unitSize))
	}
	r = r.on(mem)
	r.reopen(want)
	r.reopen(want)
}
