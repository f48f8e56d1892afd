package inspect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"

	"apogee/store/record"
)

const (
	segmentSize = 1024
	queueSize   = 5 * simpleUnit
)

// builder writes a small directory as a broker does: records in segments, an entry for each in its queue.
type builder struct {
	t      testing.TB
	files  fstest.MapFS
	end    int64
	queues map[string]int64
}

func newBuilder(t testing.TB) *builder {
	return &builder{t: t, files: fstest.MapFS{}, queues: map[string]int64{}}
}

func (b *builder) file(dir string, start, size int64) []byte {
	name := fmt.Sprintf("%s/%020d", dir, start)
	if b.files[name] == nil {
		b.files[name] = &fstest.MapFile{Data: make([]byte, size)}
	}
	return b.files[name].Data
}

func (b *builder) put(topic string, queue int32, body string) int64 {
	b.t.Helper()
	host := netip.MustParseAddrPort("127.0.0.1:10911")
	m := record.Message{
		Topic: topic, QueueID: queue, Body: []byte(body), BornHost: host, StoreHost: host,
		BodyCRC: record.BodyCRC([]byte(body)), StoreTimestamp: 1700000000000,
	}
	dir := fmt.Sprintf("consumequeue/%s/%d", topic, queue)
	m.QueueOffset = b.queues[dir]
	layout, err := m.Measure(false)
	if err != nil {
		b.t.Fatal(err)
	}
	if rest := segmentSize - b.end%segmentSize; rest < int64(layout.Total+record.BlankSize) {
		record.PutBlank(b.file("commitlog", b.end-b.end%segmentSize, segmentSize)[b.end%segmentSize:], int32(rest))
		b.end += rest
	}
	m.PhysicalOffset = b.end
	record.Encode(b.file("commitlog", b.end-b.end%segmentSize, segmentSize)[b.end%segmentSize:], &m, layout)
	pos := m.QueueOffset * simpleUnit
	e := b.file(dir, pos-pos%queueSize, queueSize)[pos%queueSize:]
	binary.BigEndian.PutUint64(e, uint64(b.end))
	binary.BigEndian.PutUint32(e[8:], uint32(layout.Total))
	b.queues[dir]++
	b.end += int64(layout.Total)
	return m.PhysicalOffset
}

func (b *builder) open() *Store {
	b.t.Helper()
	s, err := Open(b.files, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(s.Close)
	return s
}

func TestQueuesAndRecords(t *testing.T) {
	b := newBuilder(t)
	for i := range 23 {
		b.put("T", int32(i%2), fmt.Sprintf("body %d", i))
	}
	b.put("U", 3, strings.Repeat("x", 800))
	s := b.open()
	queues, err := s.Queues()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, q := range queues {
		got = append(got, fmt.Sprintf("%s/%d %d-%d %d files %s", q.Topic, q.ID, q.Min, q.Max, q.Files, q.Fault))
	}
	want := []string{"T/0 0-12 3 files ", "T/1 0-11 3 files ", "U/3 0-1 1 files "}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	var bodies []string
	err = s.EachEntry(queues[1], 8, func(e Entry) bool {
		rec, err := s.RecordAt(e)
		if err != nil || rec.Fault != nil || rec.QueueOffset != e.QueueOffset {
			t.Fatalf("%+v: %v, %v", e, rec, err)
		}
		bodies = append(bodies, string(rec.Body))
		return true
	})
	if err != nil || fmt.Sprint(bodies) != "[body 17 body 19 body 21]" {
		t.Fatalf("bodies %v, %v", bodies, err)
	}
	n := 0
	for r := s.Reader(0); ; n++ {
		if _, err := r.Next(); errors.Is(err, ErrEnd) {
			if r.Offset() != b.end {
				t.Errorf("the log ends at %d, want %d", r.Offset(), b.end)
			}
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if n != 24 {
		t.Errorf("%d records", n)
	}
}

func TestSummary(t *testing.T) {
	b := newBuilder(t)
	for range 30 {
		b.put("T", 0, "body")
	}
	long := func(v ...int64) []byte {
		out := make([]byte, 4096)
		for i, x := range v {
			binary.BigEndian.PutUint64(out[8*i:], uint64(x))
		}
		return out
	}
	b.files["checkpoint"] = &fstest.MapFile{Data: long(1, 2, 3, 4, 5, 6)}
	b.files["abort"] = &fstest.MapFile{Data: []byte("4711")}
	b.files["index/20260101000000000"] = &fstest.MapFile{Data: append(long(10, 20, 30, 40)[:32], 0, 0, 0, 7, 0, 0, 0, 9)}
	b.files["config/topics.json"] = &fstest.MapFile{Data: []byte("{}")}
	// What a crash leaves: a file that was prepared and holds nothing yet.
	b.file("commitlog", (b.end/segmentSize+1)*segmentSize, segmentSize)
	sum, err := b.open().Summary()
	if err != nil {
		t.Fatal(err)
	}
	if !sum.Abort || sum.AbortPID != "4711" || sum.Topics != 1 || sum.Queues != 1 || sum.Messages != 30 || len(sum.Faults) != 0 {
		t.Errorf("got %+v", sum)
	}
	if sum.Log.End != b.end || sum.Log.Min != 0 || sum.Log.FileSize != segmentSize || sum.Log.Reserved <= b.end {
		t.Errorf("log %+v, want the end at %d", sum.Log, b.end)
	}
	if *sum.Checkpoint != (Checkpoint{1, 2, 3, 4, 5, 6}) {
		t.Errorf("checkpoint %+v", sum.Checkpoint)
	}
	if want := (Index{"20260101000000000", 40, 10, 20, 30, 40, 7, 9}); len(sum.Indexes) != 1 || sum.Indexes[0] != want {
		t.Errorf("indexes %+v", sum.Indexes)
	}
	if len(sum.Configs) != 1 || sum.Configs[0].Name != "topics.json" {
		t.Errorf("configs %+v", sum.Configs)
	}
}

func TestMinFollowsDeletedSegments(t *testing.T) {
	b := newBuilder(t)
	var at []int64
	for range 30 {
		at = append(at, b.put("T", 0, "body"))
	}
	delete(b.files, fmt.Sprintf("commitlog/%020d", 0))
	delete(b.files, fmt.Sprintf("consumequeue/T/0/%020d", 0))
	first := int64(0)
	for at[first] < segmentSize {
		first++
	}
	queues, err := b.open().Queues()
	if err != nil || len(queues) != 1 || queues[0].Min != first || queues[0].Max != 30 {
		t.Fatalf("got %+v, %v; want min %d", queues, err, first)
	}
}

func TestBatchQueue(t *testing.T) {
	b := newBuilder(t)
	phys := b.put("T", 0, "body")
	data := b.file("batchconsumequeue/B/0", 0, 4*batchUnit)
	for i, base := range []int64{0, 5} {
		e := data[i*batchUnit:]
		binary.BigEndian.PutUint64(e, uint64(phys))
		binary.BigEndian.PutUint32(e[8:], 100)
		binary.BigEndian.PutUint64(e[28:], uint64(base))
		binary.BigEndian.PutUint16(e[36:], 5)
	}
	s := b.open()
	queues, err := s.Queues()
	if err != nil || len(queues) != 2 || !queues[0].Batch || queues[0].Min != 0 || queues[0].Max != 10 {
		t.Fatalf("got %+v, %v", queues, err)
	}
	n := 0
	if err := s.EachEntry(queues[0], 7, func(e Entry) bool { n += e.Count; return true }); err != nil || n != 5 {
		t.Fatalf("%d messages from 7 on, %v", n, err)
	}
}

func TestDamageIsReported(t *testing.T) {
	b := newBuilder(t)
	first, second := b.put("T", 0, "body"), b.put("T", 0, "body")
	log := b.file("commitlog", 0, segmentSize)
	log[first+88] ^= 1 // first byte of the body (layout: store/record)
	binary.BigEndian.PutUint32(log[second:], segmentSize*2)
	s := b.open()
	r := s.Reader(0)
	rec, err := r.Next()
	if err != nil || !errors.Is(rec.Fault, record.ErrBodyCRC) {
		t.Errorf("wrong checksum: %v, %v", rec, err)
	}
	if _, err := r.Next(); !errors.Is(err, record.ErrMalformed) {
		t.Errorf("too large a size: %v", err)
	}
}

func TestOpenRefusesOtherFolders(t *testing.T) {
	if _, err := Open(fstest.MapFS{"readme": &fstest.MapFile{}}, nil); err == nil {
		t.Error("a folder without a log was opened")
	}
	s, err := Open(fstest.MapFS{"config/topics.json": &fstest.MapFile{}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.ReadConfig("../abort"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

func FuzzReader(f *testing.F) {
	b := newBuilder(f)
	for range 10 {
		b.put("T", 0, "body")
	}
	f.Add(b.file("commitlog", 0, segmentSize), b.file("consumequeue/T/0", 0, queueSize))
	f.Add([]byte{}, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, log, queue []byte) {
		if len(log) > 1<<16 || len(queue) > 1<<16 {
			return
		}
		name := fmt.Sprintf("%020d", 0)
		s, err := Open(fstest.MapFS{
			"commitlog/" + name: {Data: log}, "consumequeue/T/0/" + name: {Data: queue},
			"batchconsumequeue/T/0/" + name: {Data: queue}, "checkpoint": {Data: queue}, "index/1": {Data: queue},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if _, err := s.Summary(); err != nil {
			t.Fatal(err)
		}
		queues, err := s.Queues()
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range queues {
			if q.Fault == "" && !q.Batch && (q.Min < 0 || q.Max < q.Min) {
				t.Fatalf("%+v", q)
			}
			_ = s.EachEntry(q, 0, func(e Entry) bool {
				_, _ = s.RecordAt(e)
				return true
			})
		}
		for r, n := s.Reader(0), 0; ; n++ {
			rec, err := r.Next()
			if err != nil {
				break
			}
			if n > len(log)/record.MinSize || len(rec.Bytes) > len(log) {
				t.Fatalf("record %d of %d bytes in a log of %d", n, len(rec.Bytes), len(log))
			}
		}
	})
}
