package migrate

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"apogee/internal/leaktest"
	"apogee/store"
	"apogee/store/foreign"
	"apogee/store/inspect"
	"apogee/store/record"
	"apogee/store/repair"
	"apogee/store/vfs"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

var epoch = time.UnixMilli(1700000000000)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func options(fsys vfs.FS, dir string) store.Options {
	o := store.Defaults()
	o.FS, o.RootDir, o.Now = fsys, dir, func() time.Time { return epoch }
	o.MappedFileSizeCommitLog, o.MappedFileSizeConsumeQueue = 16<<10, 20*16
	o.MapperFileSizeBatchConsumeQueue = 46 * 10
	o.MaxHashSlotNum, o.MaxIndexNum = 100, 150
	o.AppendPropCRC = true
	return o
}

// filled is a directory that was closed. Its first log files are gone, so that queues begin late, and some hold nothing any more.
func filled(t testing.TB) *vfs.Mem {
	t.Helper()
	m := vfs.NewMem(func() time.Time { return epoch })
	o := options(m, "/src")
	s, err := store.Open(o)
	must(t, err)
	must(t, s.Start())
	rnd := rand.New(rand.NewPCG(1, 2))
	host := netip.MustParseAddrPort("10.1.2.3:10911")
	half := int64(0)
	for n := range 200 {
		topic := fmt.Sprintf("T%d", rnd.IntN(3))
		if n < 20 {
			topic = "Old"
		}
		msg := &record.Message{
			Topic: topic, QueueID: int32(rnd.IntN(2)), BornHost: host, StoreHost: host, BornTimestamp: epoch.UnixMilli(),
			Body: []byte(fmt.Sprintf("%d:%s", n, strings.Repeat("x", rnd.IntN(900)))), Properties: fmt.Sprintf("UNIQ_KEY\x01K%d\x02", n),
		}
		if n%7 == 6 {
			msg.SysFlag, msg.PreparedTransactionOffset = record.SysTranCommit, half
		}
		r := s.PutWait(msg)
		if r.Status != store.PutOK {
			t.Fatal(r.Err)
		}
		half = r.PhysicalOffset
	}
	must(t, s.Close())
	_ = m.Remove("/src/queues.json.bak") // it is there where the first one had time to be replaced
	for _, n := range []int{0, 1} {
		must(t, m.Remove(fmt.Sprintf("/src/commitlog/%020d", n*16<<10)))
	}
	// The settings and the rest.
	for name, text := range map[string]string{
		"config/topics.json": "{}", "compaction/compactionLog/T/0/00000000000000000000": "x", "timerwheel": "wheel", "rocksdbstore/CURRENT": "M",
		"config/timercheck": "t",
	} {
		name = path.Join("/src", name)
		must(t, m.MkdirAll(path.Dir(name)))
		f, err := m.Create(name)
		must(t, err)
		_, err = f.WriteAt([]byte(text), 0)
		must(t, errors.Join(err, f.Sync()))
	}
	must(t, m.SyncAll("/src"))
	return m
}

// serves reads all queues, and looks each message up by its key. What a log offset is in the one, is in the other by the mapping.
func serves(t testing.TB, m *vfs.Mem, o store.Options) map[string][]string {
	t.Helper()
	o.FS = m.KillClone()
	s, err := store.Open(o)
	must(t, err)
	must(t, s.Start())
	out := map[string][]string{}
	var res store.GetResult
	for topic, ids := range s.Queues() {
		for _, id := range ids {
			key := fmt.Sprintf("%s/%d", topic, id)
			out[key] = append(out[key], fmt.Sprintf("%d to %d", s.MinOffset(topic, id), s.MaxOffset(topic, id)))
			for off := s.MinOffset(topic, id); off < s.MaxOffset(topic, id); off++ {
				s.Get(&store.GetRequest{Topic: topic, QueueID: id, Offset: off, MaxCount: 1, MaxBytes: 1 << 20}, &res)
				if res.Status != store.Found {
					t.Fatalf("%s at %d: %v", key, off, res.Status)
				}
				var got record.Message
				must(t, record.Decode(res.Regions[0], &got))
				uniq := record.Property(got.Properties, record.PropUniqKey)
				hits, err := s.Query(topic, uniq, "", 10, 0, epoch.UnixMilli()*2)
				must(t, err)
				out[key] = append(out[key], fmt.Sprintf("%d %s %.12s %d", off, uniq, got.Body, len(hits.Records)))
				hits.Release()
				res.Release()
			}
		}
	}
	must(t, s.Close())
	return out
}

func request(fsys vfs.FS) Options {
	return Options{FS: fsys, Src: "/src", Dst: "/dst", HashSlots: 100, IndexEntries: 150}
}

var sizes = []struct {
	name string
	set  func(*Options)
	open func(*store.Options)
}{
	{"as it is", func(*Options) {}, func(*store.Options) {}},
	{"log elsewhere", func(o *Options) { o.DstLog = "/disk2/log" }, func(o *store.Options) { o.CommitLogDir = "/disk2/log" }},
	{"larger queue files", func(o *Options) { o.QueueFile = 20 * 100 }, func(o *store.Options) { o.MappedFileSizeConsumeQueue = 20 * 100 }},
	{"smaller queue files", func(o *Options) { o.QueueFile = 20 * 7 }, func(o *store.Options) { o.MappedFileSizeConsumeQueue = 20 * 7 }},
	{"smaller log files", func(o *Options) { o.LogFile = 8 << 10 }, func(o *store.Options) { o.MappedFileSizeCommitLog = 8 << 10 }},
	{"larger log files", func(o *Options) { o.LogFile, o.QueueFile = 64<<10, 20*33 }, func(o *store.Options) {
		o.MappedFileSizeCommitLog, o.MappedFileSizeConsumeQueue = 64<<10, 20*33
	}},
}

// A copy serves what its source does, whatever the sizes of its files; the source is not touched.
func TestCopies(t *testing.T) {
	whole := filled(t)
	want := serves(t, whole, options(nil, "/src"))
	before := source(t, whole)
	for _, c := range sizes {
		t.Run(c.name, func(t *testing.T) {
			m := whole.KillClone()
			o := request(m)
			c.set(&o)
			rep, err := Run(o)
			must(t, err)
			opts := options(nil, "/dst")
			c.open(&opts)
			if got := serves(t, m, opts); !maps.EqualFunc(got, want, slices.Equal) {
				t.Errorf("serves\n%v\nwant\n%v", got, want)
			}
			if rep.Records != 152 && rep.Records == 0 || rep.Queues != 8 || rep.Rewritten != (o.LogFile != 0) || !slices.Equal(rep.NotCopied, []string{"queues.json", "rocksdbstore"}) { // the ends of queues count for the directory that was stopped only
				t.Errorf("%+v", rep)
			}
			for _, name := range []string{"config/topics.json", "config/timercheck", "timerwheel", "compaction/compactionLog/T/0/00000000000000000000"} {
				if _, err := m.Stat("/dst/" + name); err != nil {
					t.Error(err)
				}
			}
			if now := source(t, m); !maps.Equal(now, before) {
				t.Error("the source has changed")
			}
		})
	}
}

func source(t testing.TB, m *vfs.Mem) map[string]string {
	t.Helper()
	out := map[string]string{}
	for line := range strings.SplitSeq(m.Dump(), "\n") {
		name, _, _ := strings.Cut(line, " ")
		if inside(name, "/src") {
			b, err := vfs.ReadFile(m, name)
			must(t, err)
			out[name] = string(b)
		}
	}
	return out
}

// A copy that is cut short at any moment, by a power cut, keeps brokers off and is finished by the same command.
func TestCopyCutShort(t *testing.T) {
	whole := filled(t)
	want := serves(t, whole, options(nil, "/src"))
	cuts := 6
	if os.Getenv("APOGEE_LONG") != "" {
		cuts = 200
	}
	for _, c := range sizes[2:] {
		t.Run(c.name, func(t *testing.T) {
			var ops int64
			o := request(vfs.Faulty(whole.KillClone(), func(vfs.Op, string) error { ops++; return nil }))
			c.set(&o)
			_, err := Run(o)
			must(t, err)
			for k := range cuts {
				m := whole.KillClone()
				must(t, m.SyncAll("/src"))
				var n int64
				stop := 1 + ops*int64(k)/int64(cuts)
				errCut := errors.New("cut")
				o := request(vfs.Faulty(m, func(vfs.Op, string) error {
					if n++; n >= stop {
						return errCut
					}
					return nil
				}))
				c.set(&o)
				if _, err := Run(o); !errors.Is(err, errCut) {
					t.Fatalf("cut at %d of %d: %v", stop, ops, err)
				}
				m = m.CrashClone(uint64(k))
				if _, err := m.Stat("/dst/commitlog"); err == nil {
					if _, err := foreign.Check(foreign.Place{FS: m, Root: "/dst"}); err == nil {
						t.Errorf("cut at %d of %d: half a copy would be opened", stop, ops)
					}
				}
				o = request(m)
				c.set(&o)
				if _, err := Run(o); err != nil {
					t.Fatalf("cut at %d of %d, again: %v\n%s", stop, ops, err, m.Dump())
				}
				opts := options(nil, "/dst")
				c.open(&opts)
				if got := serves(t, m, opts); !maps.EqualFunc(got, want, slices.Equal) {
					t.Fatalf("cut at %d of %d: serves\n%v\nwant\n%v", stop, ops, got, want)
				}
			}
		})
	}
}

// Damaged parts that repair has wrapped move along: the copy serves what the source does, and leaves out the same.
func TestDamagedParts(t *testing.T) {
	m := filled(t)
	f, err := m.Open("/src/commitlog/00000000000000032768")
	must(t, err)
	_, err = f.WriteAt(make([]byte, 3000), 1000)
	must(t, err)
	_, err = f.WriteAt([]byte("??"), 9000)
	must(t, err)
	_, err = f.WriteAt(make([]byte, 700), 16<<10-700) // up to the end of the file
	must(t, err)
	must(t, vfs.RemoveAll(m, "/src/consumequeue/T1"))
	if _, err := repair.Run(repair.Options{Store: options(m, "/src"), Apply: true}); err != nil {
		t.Fatal(err)
	}
	want := serves(t, m, options(nil, "/src"))
	o := request(m)
	o.LogFile = 20 << 10
	_, err = Run(o)
	must(t, err)
	opts := options(nil, "/dst")
	opts.MappedFileSizeCommitLog = o.LogFile
	if got := serves(t, m, opts); !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("serves\n%v\nwant\n%v", got, want)
	}
	text, err := vfs.ReadFile(m, "/dst/damaged.json")
	must(t, err)
	parts, err := inspect.ParseDamaged(text)
	if err != nil || len(parts) < 2 {
		t.Errorf("%s, %v", text, err)
	}
}

func TestRefusals(t *testing.T) {
	whole := filled(t)
	for _, c := range []struct {
		name string
		do   func(t *testing.T, m *vfs.Mem, o *Options)
		want string
	}{
		{"not closed", func(t *testing.T, m *vfs.Mem, _ *Options) { file(t, m, "/src/abort", "1") }, "did not close it"},
		{"running", func(t *testing.T, m *vfs.Mem, _ *Options) { _, err := m.Lock("/src/lock"); must(t, err) }, "a broker is running"},
		{"not empty", func(t *testing.T, m *vfs.Mem, _ *Options) { file(t, m, "/dst/x", "1") }, "not empty"},
		{"in itself", func(_ *testing.T, _ *vfs.Mem, o *Options) { o.Dst = "/src/copy" }, "lie in each other"},
		{"record that does not fit", func(_ *testing.T, _ *vfs.Mem, o *Options) { o.LogFile = 500 }, "does not fit"},
		{"size of queue files", func(_ *testing.T, _ *vfs.Mem, o *Options) { o.QueueFile = 50 }, "multiples of 20"},
		{"RocksDB", func(t *testing.T, m *vfs.Mem, _ *Options) { file(t, m, "/src/config/topics/CURRENT", "M") }, "not in files"},
		{"epochs", func(t *testing.T, m *vfs.Mem, o *Options) {
			file(t, m, "/src/epochFileCheckpoint", "1")
			o.LogFile = 64 << 10
		}, "leave the group"},
		{"damage that is not wrapped", func(t *testing.T, m *vfs.Mem, o *Options) {
			file(t, m, "/src/damaged.json", `[{"from":16384,"to":98304}]`)
			f, err := m.Open("/src/consumequeue/T1/0/00000000000000000000")
			must(t, err)
			for at := int64(0); at < 320; at += 20 { // to where nothing is
				_, err = f.WriteAt([]byte{0, 0, 0, 0, 0, 1, 0x7f, 0xff, 0, 0, 0, 1}, at)
				must(t, err)
			}
			o.LogFile = 64 << 10
		}, "run apogee store repair"},
		{"index of unknown size", func(_ *testing.T, _ *vfs.Mem, o *Options) { o.LogFile, o.HashSlots = 64<<10, 7 }, "maxHashSlotNum"},
		{"other source", func(t *testing.T, m *vfs.Mem, _ *Options) { file(t, m, "/dst/migrate.json", `{"src":"/other"}`) }, "copy of /other"},
		{"damaged record", func(t *testing.T, m *vfs.Mem, o *Options) {
			f, err := m.Open("/src/commitlog/00000000000000032768")
			must(t, err)
			_, err = f.WriteAt([]byte{9}, 4)
			must(t, err)
			o.LogFile = 64 << 10
		}, "no whole record"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := whole.KillClone()
			o := request(m)
			c.do(t, m, &o)
			if _, err := Run(o); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

func file(t *testing.T, m *vfs.Mem, name, text string) {
	t.Helper()
	must(t, m.MkdirAll(path.Dir(name)))
	f, err := m.Create(name)
	must(t, err)
	_, err = f.WriteAt([]byte(text), 0)
	must(t, err)
}

// Whoever paces the copy is told of all that is read, and can end it.
func TestPace(t *testing.T) {
	m := filled(t)
	var n int64
	o := request(m)
	o.Pace = func(bytes int64) error { n += bytes; return nil }
	_, err := Run(o)
	must(t, err)
	if n < 16<<10*5 {
		t.Errorf("%d bytes", n)
	}
	stop := errors.New("stop")
	o = request(filled(t))
	o.Pace = func(int64) error { return stop }
	if _, err := Run(o); !errors.Is(err, stop) {
		t.Error(err)
	}
}
