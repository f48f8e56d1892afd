package timer

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"apogee/store"
	"apogee/store/record"
	"apogee/store/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeStore has the timer topic in memory and remembers what is put elsewhere.
type fakeStore struct {
	mu      sync.Mutex
	log     []byte
	queue   []int64 // positions of the messages of the timer topic
	put     []delivery
	refuse  func(m *record.Message) store.PutStatus
	reads   int
	flushed int64 // -1: all is
	arrive  func([]store.Arrival)
}

type delivery struct {
	topic string
	queue int32
	body  string
	at    int64 // ms since the test began
	props string
}

func newFakeStore() *fakeStore { return &fakeStore{flushed: -1} }

// epoch is when the clock of a synctest bubble starts.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()

func since() int64 { return time.Now().UnixMilli() - epoch }

func (s *fakeStore) MinOffset(string, int32) int64 { return 0 }

func (s *fakeStore) MaxOffset(string, int32) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.queue))
}

func (s *fakeStore) ends() (begin, end, flushed int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flushed >= 0 {
		return 0, int64(len(s.log)), s.flushed
	}
	return 0, int64(len(s.log)), int64(len(s.log))
}

func (s *fakeStore) Get(req *store.GetRequest, res *store.GetResult) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	*res = store.GetResult{Next: req.Offset, Max: int64(len(s.queue)), Regions: res.Regions[:0]}
	switch n := int64(len(s.queue)); {
	case n == 0:
		res.Status = store.NoMessageInQueue
	case req.Offset == n:
		res.Status = store.OffsetOverflowOne
	case req.Offset > n:
		res.Status, res.Next = store.OffsetOverflowBadly, n
	default:
		for ; res.Next < n && res.Count < int(req.MaxCount); res.Next++ {
			at := s.queue[res.Next]
			res.Regions = append(res.Regions, s.log[at:at+int64(record.SizeOf(s.log[at:]))])
			res.Count++
		}
		res.Status = store.Found
	}
}

func (s *fakeStore) View(at int64) ([]byte, func(), error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var h record.Header
	if at >= int64(len(s.log)) || record.Parse(s.log[at:], &h) != nil || h.PhysicalOffset != at {
		return nil, nil, errors.New("no record")
	}
	return s.log[at : at+int64(record.SizeOf(s.log[at:]))], func() {}, nil
}

func (s *fakeStore) Stage(m *record.Message, c store.Completion) store.PutResult {
	if c != nil {
		panic("a delivery waits for nobody")
	}
	if s.refuse != nil {
		if st := s.refuse(m); st != store.PutOK {
			return store.PutResult{Status: st, Err: errors.New("refused")}
		}
	}
	return s.append(m)
}

func (s *fakeStore) Commit(*store.PutResult) error { return nil }

func (s *fakeStore) append(m *record.Message) store.PutResult {
	l, err := m.Measure(false)
	if err != nil {
		return store.PutResult{Status: store.PropertiesSizeExceeded, Err: err}
	}
	s.mu.Lock()
	at := int64(len(s.log))
	m.PhysicalOffset, m.StoreTimestamp, m.QueueOffset = at, time.Now().UnixMilli(), 0
	timer := m.Topic == Topic
	if timer {
		m.QueueOffset = int64(len(s.queue))
		s.queue = append(s.queue, at)
	} else {
		s.put = append(s.put, delivery{
			strings.Clone(m.Topic), m.QueueID, string(m.Body), since(), strings.Clone(m.Properties),
		})
	}
	s.log = append(s.log, make([]byte, l.Total)...)
	record.Encode(s.log[at:], m, l)
	next := int64(len(s.log))
	s.mu.Unlock()
	if timer && s.arrive != nil {
		s.arrive([]store.Arrival{{Topic: Topic, Next: m.QueueOffset + 1}})
	}
	return store.PutResult{PhysicalOffset: at, NextOffset: next, QueueOffset: m.QueueOffset}
}

// rules are those of a broker with nothing configured.
var rules = Rules{Precision: 1000, MaxDelay: 259200 * 1000}

// message is a plain one for topic A, queue 3.
func message(body, props string) *record.Message {
	return &record.Message{
		Topic: "A", QueueID: 3, Body: []byte(body), BornTimestamp: 1, Flag: 3, ReconsumeTimes: 2,
		BornHost: netip.MustParseAddrPort("127.0.0.1:1000"), StoreHost: netip.MustParseAddrPort("127.0.0.1:10911"),
		Properties: "UNIQ_KEY\x01" + body + "\x02" + props,
	}
}

// send stores a message as a send at this moment would, that asks for a delivery in so many ms.
func (s *fakeStore) send(t testing.TB, body string, in int64, more ...string) {
	t.Helper()
	deliver := strconv.FormatInt(time.Now().UnixMilli()+in, 10)
	props := PropDeliver + "\x01" + deliver + "\x02"
	for i := 0; i < len(more); i += 2 {
		props += more[i] + "\x01" + more[i+1] + "\x02"
	}
	out, v := rules.Out(&Ask{Deliver: deliver}, time.Now().UnixMilli())
	m := message(body, props)
	switch v {
	case Timed:
		Schedule(m, out, nil)
	case Illegal:
		t.Fatalf("%s is illegal", body)
	}
	s.append(m)
}

func (s *fakeStore) delivered() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, d := range s.put {
		fmt.Fprintf(&b, "%s@%d ", d.body, d.at)
	}
	return strings.TrimSpace(b.String())
}

// bodies is what was delivered, sorted.
func (s *fakeStore) bodies() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, d := range s.put {
		out = append(out, d.body)
	}
	slices.Sort(out)
	return out
}

func open(t testing.TB, s *fakeStore, fs vfs.FS, change ...func(*Options)) *Service {
	t.Helper()
	o := Options{
		Store: s, FS: fs, Dir: "store", Now: time.Now, Precision: 1000, RollWindow: 172800, LogFileSize: 52*20 + 16, Ends: s.ends,
	}
	for _, f := range change {
		f(&o)
	}
	v, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	s.arrive = v.Arrive
	return v
}

// run opens, starts, works and stops.
func run(t testing.TB, s *fakeStore, fs vfs.FS, work func(*Service), change ...func(*Options)) {
	t.Helper()
	v := open(t, s, fs, change...)
	v.Start()
	work(v)
	if err := v.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := v.Save(true); err != nil {
		t.Fatal(err)
	}
}

func newMem() *vfs.Mem { return vfs.NewMem(time.Now) }

func TestDeliversAfterItsTimeAndWithinAStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		run(t, s, newMem(), func(v *Service) {
			time.Sleep(100 * time.Millisecond)
			s.send(t, "soon", 50)
			s.send(t, "two", 1900) // at 2000: exactly
			s.send(t, "more", 1901)
			s.send(t, "later", 5000)
			time.Sleep(gathering)
			synctest.Wait()
			if p := v.Progress(); p.Waiting != 4 || p.OffsetBehind != 0 {
				t.Errorf("progress %+v", p)
			}
			time.Sleep(10 * time.Second)
			synctest.Wait()
			if got, want := s.delivered(), "soon@1000 two@2000 more@3000 later@6000"; got != want {
				t.Errorf("delivered %s, want %s", got, want)
			}
			d := s.put[1]
			want := "UNIQ_KEY=two TIMER_DELIVER_MS=+2000 TIMER_OUT_MS=+1000 REAL_TOPIC=A REAL_QID=3 TIMER_ENQUEUE_MS=+0 TIMER_DEQUEUE_MS=+2000"
			if got := relative(d.props); d.topic != "A" || d.queue != 3 || got != want {
				t.Errorf("%s/%d %s, want %s", d.topic, d.queue, got, want)
			}
			if got := string(v.Metrics()); !strings.Contains(got, `"A":{"count":0,`) {
				t.Errorf("metrics %s", got)
			}
		})
	})
}

// relative is a properties string to read, with times since the start.
func relative(props string) string {
	var b []string
	for c := record.Pairs([]byte(props)); c.Next(); {
		v := string(c.Value)
		if n, err := strconv.ParseInt(v, 10, 64); err == nil && n >= epoch && n < math.MaxInt64 {
			v = fmt.Sprintf("+%d", n-epoch)
		}
		b = append(b, string(c.Name)+"="+v)
	}
	return strings.Join(b, " ")
}

func TestCancels(t *testing.T) {
	for _, withTopic := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newFakeStore()
			run(t, s, newMem(), func(v *Service) {
				s.send(t, "a", 5000)
				s.send(t, "b", 5000)
				s.send(t, "cancel", 5000, PropCancel, CancelKey("A", "a", withTopic))
				s.send(t, "cancel", 5000, PropCancel, "nobody")
				s.send(t, "cancel", 7000, PropCancel, CancelKey("A", "b", withTopic)) // of another time
				time.Sleep(gathering)
				synctest.Wait()
				if got := string(v.Metrics()); !strings.Contains(got, `"A":{"count":-1,`) {
					t.Errorf("metrics %s", got)
				}
				time.Sleep(20 * time.Second)
				synctest.Wait()
				if got := s.delivered(); got != "b@5000" {
					t.Errorf("delivered %s", got)
				}
				if got := string(v.Metrics()); !strings.Contains(got, `"A":{"count":0,`) {
					t.Errorf("metrics %s", got)
				}
			}, func(o *Options) { o.KeysHaveTopic = withTopic })
		})
	}
}

func TestRolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		run(t, s, newMem(), func(v *Service) {
			s.send(t, "far", 60_000)
			s.send(t, "near", 9_000)
			s.send(t, "cancelled", 60_000)
			time.Sleep(30 * time.Second)
			s.send(t, "cancel", 30_000, PropCancel, "cancelled")
			time.Sleep(gathering)
			synctest.Wait()
			if got := string(v.Metrics()); !strings.Contains(got, `"A":{"count":1,`) {
				t.Errorf("metrics %s", got)
			}
			time.Sleep(60 * time.Second)
			synctest.Wait()
			if got := s.delivered(); got != "near@9000 far@60000" {
				t.Errorf("delivered %s", got)
			}
			if got := record.Property(s.put[1].props, PropRolls); got == "" || got == "0" {
				t.Errorf("rolled %s times", got)
			}
			if got := string(v.Metrics()); !strings.Contains(got, `"A":{"count":0,`) {
				t.Errorf("metrics %s", got)
			}
		}, func(o *Options) { o.RollWindow = 10 })
	})
}

// Java waits for ever at a message that is no timed one, and gives up one that is refused three times.
func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		var busy atomic.Bool
		s.refuse = func(m *record.Message) store.PutStatus {
			switch {
			case busy.Load():
				return store.ServiceNotAvailable
			case string(m.Body) == "illegal":
				return store.MessageIllegal
			}
			return store.PutOK
		}
		run(t, s, newMem(), func(*Service) {
			s.append(&record.Message{Topic: Topic, Body: []byte("nonsense"), BornHost: message("", "").BornHost, StoreHost: message("", "").StoreHost, Properties: "TIMER_OUT_MS\x01x\x02"})
			s.append(&record.Message{Topic: Topic, Body: []byte("nonsense"), BornHost: message("", "").BornHost, StoreHost: message("", "").StoreHost})
			s.send(t, "illegal", 2000)
			s.send(t, "a", 2000)
			s.send(t, "long", 2000, "p", strings.Repeat("x", record.MaxProperties-150))
			busy.Store(true)
			time.Sleep(time.Minute)
			synctest.Wait()
			if got := s.delivered(); got != "" {
				t.Errorf("delivered %s", got)
			}
			busy.Store(false)
			time.Sleep(10 * time.Second)
			synctest.Wait()
			if got := s.bodies(); !slices.Equal(got, []string{"a", "long"}) {
				t.Errorf("delivered %v", got)
			}
		})
	})
}

// Nothing is read and nothing written while nothing waits; what waits costs a look when it is due.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		count := func() int {
			synctest.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.reads
		}
		run(t, s, newMem(), func(*Service) {
			time.Sleep(time.Minute)
			reads := count()
			time.Sleep(24 * time.Hour)
			if n := count() - reads; n != 0 {
				t.Errorf("%d reads in a day without messages", n)
			}
			s.send(t, "a", 600_000)
			time.Sleep(5 * time.Second)
			reads = count()
			time.Sleep(500 * time.Second)
			if n := count() - reads; n > 20 {
				t.Errorf("%d reads while a message waits for 500 s", n)
			}
		})
	})
}

func TestSwitches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		var mu sync.Mutex
		sw := Switches{StopDequeue: true}
		set := func(v Switches) {
			mu.Lock()
			defer mu.Unlock()
			sw = v
		}
		run(t, s, newMem(), func(v *Service) {
			s.send(t, "a", 1500)
			time.Sleep(10 * time.Second)
			s.send(t, "b", 1500)
			time.Sleep(10 * time.Second)
			if got := s.delivered(); got != "" {
				t.Errorf("delivered %s", got)
			}
			set(Switches{StopEnqueue: true})
			time.Sleep(2 * time.Second)
			if got := s.bodies(); !slices.Equal(got, []string{"a", "b"}) {
				t.Errorf("delivered %v", got)
			}
			s.send(t, "c", 1500)
			time.Sleep(10 * time.Second)
			if p := v.Progress(); p.OffsetBehind != 1 {
				t.Errorf("progress %+v", p)
			}
			set(Switches{})
			time.Sleep(2 * time.Second)
			if got := s.bodies(); !slices.Equal(got, []string{"a", "b", "c"}) {
				t.Errorf("delivered %v", got)
			}
		}, func(o *Options) {
			o.Switches = func() Switches {
				mu.Lock()
				defer mu.Unlock()
				return sw
			}
		})
	})
}

// The checkpoint never knows more than is on disk.
func TestCheckpointWaitsForTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fs := newFakeStore(), newMem()
		s.flushed = 0
		v := open(t, s, fs)
		v.Start()
		s.send(t, "a", 1500)
		time.Sleep(10 * time.Second)
		if c, err := loadCheckpoint(fs, "store"); err == nil && c.read > epoch+1000 {
			t.Errorf("checkpoint %+v, and the delivery is not on disk", c)
		}
		s.mu.Lock()
		s.flushed = int64(len(s.log))
		s.mu.Unlock()
		time.Sleep(3 * time.Second)
		if c, err := loadCheckpoint(fs, "store"); err != nil || c.read <= epoch+1000 || c.queue != 1 || c.log != 52 {
			t.Errorf("checkpoint %+v %v", c, err)
		}
		if err := errors.Join(v.Stop(), v.Save(true)); err != nil {
			t.Error(err)
		}
	})
}

func TestManyPending(t *testing.T) {
	n := 10_000
	if os.Getenv("APOGEE_LONG") == "1" {
		n = 100_000
	}
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		run(t, s, newMem(), func(*Service) {
			for i := range n {
				s.send(t, strconv.Itoa(i), 1000+int64(i)*7%120_000)
			}
			time.Sleep(130 * time.Second)
			synctest.Wait()
		}, func(o *Options) { o.LogFileSize = 1 << 20 })
		if len(s.put) != n {
			t.Fatalf("%d delivered of %d", len(s.put), n)
		}
		for _, d := range s.put {
			i, _ := strconv.ParseInt(d.body, 10, 64)
			if late := d.at - (1000 + i*7%120_000); late < 0 || late > 1000 {
				t.Fatalf("%s came %d ms late", d.body, late)
			}
		}
	})
}
