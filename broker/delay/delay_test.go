package delay

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"apogee/store"
	"apogee/store/record"
	"apogee/store/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeStore has the queues of the schedule topic in memory and remembers what is put.
type fakeStore struct {
	mu     sync.Mutex
	min    map[int32]int64
	queues map[int32][]entry
	put    []delivery
	staged []delivery // put, and not committed yet

	failCommit int // so many commits lose what they should write
	refuse     func(m *record.Message) store.PutStatus
	end        int64
	arrive     func([]store.Arrival)
}

type entry struct {
	due int64
	rec []byte
}

type delivery struct {
	topic string
	queue int32
	body  string
	at    int64 // ms since the test began
}

func newFakeStore() *fakeStore {
	return &fakeStore{min: make(map[int32]int64), queues: make(map[int32][]entry)}
}

func (s *fakeStore) MinOffset(_ string, q int32) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.min[q]
}

func (s *fakeStore) MaxOffset(_ string, q int32) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.queues[q]))
}

func (s *fakeStore) Get(req *store.GetRequest, res *store.GetResult) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if req.Topic != record.ScheduleTopic {
		panic("read of " + req.Topic)
	}
	q, lo := s.queues[req.QueueID], s.min[req.QueueID]
	*res = store.GetResult{Next: req.Offset, Min: lo, Max: int64(len(q)), Regions: res.Regions[:0]}
	switch {
	case len(q) == 0:
		res.Status = store.NoMessageInQueue
		return
	case req.Offset < lo:
		res.Status, res.Next = store.OffsetTooSmall, lo
		return
	case req.Offset == int64(len(q)):
		res.Status = store.OffsetOverflowOne
		return
	case req.Offset > int64(len(q)):
		res.Status, res.Next = store.OffsetOverflowBadly, int64(len(q))
		return
	}
	res.Status = store.NoMatchedMessage
	for off := req.Offset; off < int64(len(q)) && res.Count < int(req.MaxCount); off++ {
		res.Next = off + 1
		if req.Filter.MatchTags(q[off].due) {
			res.Status = store.Found
			res.Count++
			res.Regions = append(res.Regions, q[off].rec)
		}
	}
}

// Commit makes what was staged before it the store's, or forgets it.
func (s *fakeStore) Commit(*store.PutResult) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failCommit > 0 && len(s.staged) > 0 {
		s.failCommit--
		s.staged = s.staged[:0]
		return errors.New("no space left")
	}
	s.put = append(s.put, s.staged...)
	s.staged = s.staged[:0]
	return nil
}

func (s *fakeStore) Stage(m *record.Message, c store.Completion) store.PutResult {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c != nil {
		panic("a delivery waits for nobody")
	}
	if s.refuse != nil {
		if st := s.refuse(m); st != store.PutOK {
			return store.PutResult{Status: st, Err: errors.New("refused")}
		}
	}
	s.staged = append(s.staged, delivery{m.Topic, m.QueueID, string(m.Body), time.Now().UnixMilli() - epoch})
	s.end += 100
	return store.PutResult{Status: store.PutOK, NextOffset: s.end}
}

// epoch is when the clock of a synctest bubble starts.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()

// send stores a delayed message, as a send at this moment would.
func (s *fakeStore) send(t testing.TB, levels Levels, level int, topic string, queue int32, body string) {
	t.Helper()
	m := &record.Message{
		Topic: topic, QueueID: queue, Body: []byte(body), BornTimestamp: 1, Flag: 3, ReconsumeTimes: 2,
		BornHost: netip.MustParseAddrPort("127.0.0.1:1000"), StoreHost: netip.MustParseAddrPort("127.0.0.1:10911"),
		Properties: fmt.Sprintf("UNIQ_KEY\x01U\x02DELAY\x01%d\x02TAGS\x01tagA\x02", level),
	}
	Schedule(m, level, false, nil)
	s.append(t, m, time.Now().UnixMilli()+levels[level-1])
}

func (s *fakeStore) append(t testing.TB, m *record.Message, due int64) {
	t.Helper()
	l, err := m.Measure(false)
	if err != nil {
		t.Fatal(err)
	}
	rec := make([]byte, l.Total)
	s.mu.Lock()
	q := s.queues[m.QueueID]
	m.QueueOffset, m.BodyCRC = int64(len(q)), record.BodyCRC(m.Body)
	record.Encode(rec, m, l)
	s.queues[m.QueueID] = append(q, entry{due, rec})
	s.mu.Unlock()
	if s.arrive != nil {
		s.arrive([]store.Arrival{{Topic: record.ScheduleTopic, QueueID: m.QueueID, Next: m.QueueOffset + 1, TagsCode: due}})
	}
}

func (s *fakeStore) delivered() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, d := range s.put {
		fmt.Fprintf(&b, "%s/%d %s @%d\n", d.topic, d.queue, d.body, d.at)
	}
	return b.String()
}

var testLevels = Levels{1000, 5000, 10_000}

func open(t testing.TB, st *fakeStore, fsys vfs.FS, change ...func(*Options)) *Scheduler {
	t.Helper()
	opts := Options{Store: st, FS: fsys, Dir: "/store", Levels: testLevels}
	for _, f := range change {
		f(&opts)
	}
	s, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	st.arrive = s.Arrive
	return s
}

func stop(t testing.TB, s *Scheduler) {
	t.Helper()
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
}

// The times are those of the grid.
func TestDeliversWhenDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newFakeStore()
		st.send(t, testLevels, 2, "a", 1, "before the start")
		s := open(t, st, vfs.NewMem(time.Now))
		s.Start()
		time.Sleep(300 * time.Millisecond)
		st.send(t, testLevels, 1, "b", 3, "one")
		time.Sleep(300 * time.Millisecond)
		st.send(t, testLevels, 1, "a", 0, "two")
		st.send(t, testLevels, 3, "c", 0, "far")
		time.Sleep(8 * time.Second)
		st.send(t, testLevels, 1, "d", 0, "after a silence")
		time.Sleep(20 * time.Second)
		stop(t, s)
		want := "b/3 one @1302\na/0 two @1602\na/1 before the start @5001\nd/0 after a silence @9600\nc/0 far @10602\n"
		if got := st.delivered(); got != want {
			t.Errorf("delivered\n%swant\n%s", got, want)
		}
	})
}

func TestBacklogIsDeliveredInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newFakeStore()
		for i := range 5 * roundCount {
			st.send(t, testLevels, 1, "t", 0, fmt.Sprint(i))
			st.send(t, testLevels, 2, "u", 0, fmt.Sprint(i))
		}
		time.Sleep(time.Minute)
		s := open(t, st, vfs.NewMem(time.Now))
		s.Start()
		synctest.Wait()
		time.Sleep(time.Second)
		stop(t, s)
		next := map[string]int{}
		for _, d := range st.put {
			if d.body != fmt.Sprint(next[d.topic]) {
				t.Fatalf("%s: got %s, want %d", d.topic, d.body, next[d.topic])
			}
			next[d.topic]++
		}
		if next["t"] != 5*roundCount || next["u"] != 5*roundCount {
			t.Errorf("delivered %v", next)
		}
		if st.put[roundCount].topic != "u" {
			t.Error("a backlog of one level keeps another waiting")
		}
	})
}

// A write of the log that fails takes the whole round with it: all of it is delivered again.
func TestFailedCommitIsDeliveredAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newFakeStore()
		for i := range 3 {
			st.send(t, testLevels, 1, "t", 0, fmt.Sprint(i))
		}
		st.failCommit = 2
		s := open(t, st, vfs.NewMem(time.Now))
		s.Start()
		time.Sleep(5 * time.Second)
		stop(t, s)
		if got, want := st.delivered(), "t/0 0 @1305\nt/0 1 @1305\nt/0 2 @1305\n"; got != want {
			t.Errorf("delivered\n%swant\n%s", got, want)
		}
	})
}

func TestClockSetBackDeliversNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newFakeStore()
		m := &record.Message{Topic: "t", Body: []byte("x"), Properties: "DELAY\x011\x02"}
		Schedule(m, 1, false, nil)
		st.append(t, m, time.Now().Add(time.Hour).UnixMilli())
		s := open(t, st, vfs.NewMem(time.Now))
		s.Start()
		time.Sleep(10 * time.Millisecond)
		stop(t, s)
		if got := st.delivered(); got != "t/0 x @0\n" {
			t.Errorf("delivered %q", got)
		}
	})
}

func TestRefusals(t *testing.T) {
	cases := map[string]struct {
		status store.PutStatus
		times  int // of the first message
		want   string
	}{
		"a refusal that may pass is retried, and order is kept": {store.ServiceNotAvailable, 3, "t/0 first @1707\nt/0 second @1707\n"},
		"a busy store is retried":                               {store.OSPageCacheBusy, 1, "t/0 first @1104\nt/0 second @1104\n"},
		"an illegal message does not stop the level":            {store.MessageIllegal, 99, "t/0 second @1002\n"},
		"too long properties do not stop the level":             {store.PropertiesSizeExceeded, 99, "t/0 second @1002\n"},
		"a message that is stored but not flushed counts":       {store.FlushDiskTimeout, 99, "t/0 second @1002\n"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := newFakeStore()
				left := c.times
				st.refuse = func(m *record.Message) store.PutStatus {
					if string(m.Body) == "first" && left > 0 {
						left--
						return c.status
					}
					return store.PutOK
				}
				s := open(t, st, vfs.NewMem(time.Now))
				s.Start()
				st.send(t, testLevels, 1, "t", 0, "first")
				st.send(t, testLevels, 1, "t", 0, "second")
				time.Sleep(time.Minute)
				stop(t, s)
				if got := st.delivered(); got != c.want {
					t.Errorf("delivered\n%swant\n%s", got, c.want)
				}
			})
		})
	}
}

// fault is what the runtime panics with where mapped memory cannot be had.
type fault struct{ error }

func (fault) RuntimeError() {}
func (fault) Addr() uintptr { return 1 }

func TestUnreadableMemoryIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newFakeStore()
		left := 2
		st.refuse = func(*record.Message) store.PutStatus {
			if left--; left >= 0 {
				panic(fault{errors.New("unexpected fault address")})
			}
			return store.PutOK
		}
		s := open(t, st, vfs.NewMem(time.Now))
		s.Start()
		st.send(t, testLevels, 1, "t", 0, "x")
		time.Sleep(time.Minute)
		stop(t, s)
		if got := st.delivered(); got != "t/0 x @21006\n" {
			t.Errorf("delivered %q", got)
		}
	})
}

func TestUndeliverableAreSkipped(t *testing.T) {
	for name, props := range map[string]string{
		"no real topic":      "REAL_QID\x010\x02",
		"no real queue":      "REAL_TOPIC\x01t\x02",
		"queue is no number": "REAL_TOPIC\x01t\x02REAL_QID\x01x\x02",
		"half message":       "REAL_TOPIC\x01RMQ_SYS_TRANS_HALF_TOPIC\x02REAL_QID\x010\x02",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := newFakeStore()
				st.append(t, &record.Message{Topic: record.ScheduleTopic, Body: []byte("bad"), Properties: props}, 0)
				st.send(t, testLevels, 1, "t", 0, "good")
				s := open(t, st, vfs.NewMem(time.Now))
				s.Start()
				time.Sleep(2 * time.Second)
				stop(t, s)
				if got := st.delivered(); got != "t/0 good @1002\n" {
					t.Errorf("delivered %q", got)
				}
			})
		})
	}
}

// A body that was damaged on the disk would be delivered with a checksum that is right.
func TestDamagedBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newFakeStore()
		for _, body := range []string{"bad", "good"} {
			st.send(t, testLevels, 1, "t", 0, body)
		}
		for _, entries := range st.queues {
			rec := entries[0].rec
			copy(rec[bytes.Index(rec, []byte("bad")):], "bat")
		}
		s := open(t, st, vfs.NewMem(time.Now))
		s.Start()
		time.Sleep(2 * time.Second)
		stop(t, s)
		if got := st.delivered(); !strings.HasPrefix(got, "t/0 good") {
			t.Errorf("delivered %q", got)
		}
	})
}

func TestOffsets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, fsys := newFakeStore(), vfs.NewMem(time.Now)
		for i := range 4 {
			st.send(t, testLevels, 1, "t", 0, fmt.Sprint("l1-", i))
			st.send(t, testLevels, 2, "t", 0, fmt.Sprint("l2-", i))
		}
		st.min[1] = 3 // three of level 2 are cleaned
		write(t, fsys, `{"dataVersion":{"counter":7,"stateVersion":0,"timestamp":5},"offsetTable":{1:2,2:0,3:12,18:4}}`)
		time.Sleep(time.Minute)
		s := open(t, st, fsys)
		s.Start()
		time.Sleep(time.Second)
		stop(t, s)
		if got, want := st.delivered(), "t/0 l1-2 @60000\nt/0 l1-3 @60000\nt/0 l2-3 @60000\n"; got != want {
			t.Errorf("delivered\n%swant\n%s", got, want)
		}
		want := "{\n\t\"dataVersion\":{\n\t\t\"counter\":7,\n\t\t\"stateVersion\":0,\n\t\t\"timestamp\":5\n\t},\n\t\"offsetTable\":{\n\t\t1:4,\n\t\t2:4,\n\t\t18:4\n\t}\n}"
		if got := read(t, fsys); got != want {
			t.Errorf("file is %s\nwant %s", got, want)
		}
	})
}

func TestPersistsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, fsys := newFakeStore(), vfs.NewMem(time.Now)
		var flushed int64
		s := open(t, st, fsys, func(o *Options) {
			o.Flushed = func() int64 { st.mu.Lock(); defer st.mu.Unlock(); return flushed }
			o.VersionStep = 2
		})
		s.Start()
		st.send(t, testLevels, 1, "t", 0, "a")
		time.Sleep(9 * time.Second)
		if _, err := fsys.Stat("/store/config/delayOffset.json"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("written before its time: %v", err)
		}
		time.Sleep(2 * time.Second)
		if _, err := fsys.Stat("/store/config/delayOffset.json"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("written though the delivery is not on disk: %v", err)
		}
		st.mu.Lock()
		flushed = 100
		st.mu.Unlock()
		st.send(t, testLevels, 1, "t", 0, "b")
		time.Sleep(10 * time.Second)
		if got := read(t, fsys); !strings.Contains(got, "\t1:1\n") {
			t.Errorf("file is %s, want what is on disk", got)
		}
		stop(t, s)
		if got := read(t, fsys); !strings.Contains(got, "\t1:1\n") {
			t.Errorf("file is %s, want what is on disk", got)
		}
		if err := s.Save(); err != nil {
			t.Error(err)
		}
		if got := read(t, fsys); !strings.Contains(got, "\t1:2\n") || !strings.Contains(got, `"counter":1,`) {
			t.Errorf("file is %s, want all of it", got)
		}
	})
}

// A file that was cut off is read up to there. Where nothing can be read messages are delivered again, and the log says so: that is
// better than none. (apache/rocketmq issues 3401 and 6096: the broker does not start.)
func TestDamagedFile(t *testing.T) {
	for text, want := range map[string]string{`{"offsetTable":{1:5,2:6,3`: "map[1:5 2:6]", `{"offsetTable":{"x":1}}`: "map[]", "\x00\x00": "map[]"} {
		var log strings.Builder
		fsys := vfs.NewMem(time.Now)
		write(t, fsys, text)
		f := new(file)
		f.init(Options{FS: fsys, Dir: "/store", Now: time.Now, Log: slog.New(slog.NewTextHandler(&log, nil)), Levels: testLevels})
		offsets, err := f.load()
		if err != nil || fmt.Sprint(offsets) != want || !strings.Contains(log.String(), "are delivered again") {
			t.Errorf("%q: %v, %v\n%s", text, offsets, err, &log)
		}
	}
}

// TestModel sends at random moments, stops and starts, and expects each message once, not early, and in order.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 2))
			st, fsys := newFakeStore(), vfs.NewMem(time.Now)
			s := open(t, st, fsys)
			s.Start()
			var sent []string
			for i := range 60 {
				time.Sleep(time.Duration(rnd.IntN(400)) * time.Millisecond)
				if rnd.IntN(10) == 0 {
					stop(t, s)
					time.Sleep(time.Duration(rnd.IntN(3000)) * time.Millisecond)
					s = open(t, st, fsys)
					s.Start()
				}
				level := 1 + rnd.IntN(3)
				topic := fmt.Sprint("L", level)
				st.send(t, testLevels, level, topic, 0, fmt.Sprint(i, " ", time.Now().UnixMilli()-epoch+testLevels[level-1]))
				sent = append(sent, topic)
			}
			time.Sleep(30 * time.Second)
			stop(t, s)
			if len(st.put) != len(sent) {
				t.Fatalf("%d delivered, %d sent", len(st.put), len(sent))
			}
			last := map[string]int{}
			for _, d := range st.put {
				var n int
				var due int64
				if _, err := fmt.Sscan(d.body, &n, &due); err != nil {
					t.Fatal(err)
				}
				if sent[n] != d.topic || n < last[d.topic] || d.at < due {
					t.Fatalf("delivered %+v after %d of its level", d, last[d.topic])
				}
				last[d.topic] = n
			}
		})
	})
}

func write(t testing.TB, fsys vfs.FS, text string) {
	t.Helper()
	if err := fsys.MkdirAll("/store/config"); err != nil {
		t.Fatal(err)
	}
	if err := vfs.WriteFileAtomic(fsys, "/store/config/delayOffset.json", []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, fsys vfs.FS) string {
	t.Helper()
	b, err := vfs.ReadFile(fsys, "/store/config/delayOffset.json")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"dataVersion":{"counter":7,"stateVersion":0,"timestamp":5},"offsetTable":{1:2,"2":0}}`))
	f.Add([]byte("{\n\t\"offsetTable\":{}\n}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		offsets, v, err := parse(data)
		if err != nil {
			return
		}
		var file file
		file.others, file.version = map[int]int64{}, v
		again, v2, err := parse(file.encode(offsets))
		if err != nil || v2 != v || len(again) != len(offsets) {
			t.Fatalf("%q: written and read again %v %v, %v", data, again, v2, err)
		}
	})
}

func TestTakeOverAndStartAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, fsys := newFakeStore(), vfs.NewMem(time.Now)
		s := open(t, st, fsys)
		for range 4 {
			st.send(t, testLevels, 1, "t", 0, "a")
		}
		take := func(text string) {
			t.Helper()
			if err := s.TakeOver([]byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		take(`{"dataVersion":{"counter":3,"stateVersion":0,"timestamp":5},"offsetTable":{1:2}}`)
		if got := read(t, fsys); !strings.Contains(got, "\t1:2\n") || !strings.Contains(got, `"counter":3,`) || !strings.Contains(got, `"timestamp":5`) {
			t.Errorf("file is %s, want the master's", got)
		}
		s.Start()
		time.Sleep(20 * time.Second)
		take(`{"dataVersion":{"counter":9},"offsetTable":{1:0}}`) // it delivers itself
		stop(t, s)
		if n := len(st.put); n != 2 {
			t.Errorf("%d delivered, want those the master has not", n)
		}
		take(`{"dataVersion":{"counter":1},"offsetTable":{1:3}}`) // older than what is here
		if got := s.offsets()[1]; got != 4 {
			t.Errorf("offset %d, want what is delivered", got)
		}
		st.send(t, testLevels, 1, "t", 0, "b")
		s.Start()
		time.Sleep(20 * time.Second)
		stop(t, s)
		if n := len(st.put); n != 3 {
			t.Errorf("%d delivered after another start, want 3", n)
		}
	})
}
