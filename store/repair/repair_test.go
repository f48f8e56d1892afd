package repair

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
	"sync/atomic"
	"testing"
	"time"

	"apogee/internal/leaktest"
	"apogee/store"
	"apogee/store/record"
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

func options(fsys vfs.FS) store.Options {
	o := store.Defaults()
	o.FS, o.RootDir, o.Now = fsys, "/s", func() time.Time { return epoch }
	o.MappedFileSizeCommitLog, o.MappedFileSizeConsumeQueue = 16<<10, 1000
	o.MapperFileSizeBatchConsumeQueue = 46 * 20
	o.MaxHashSlotNum, o.MaxIndexNum = 100, 150
	return o
}

// filled is a directory that was closed, with what it serves.
func filled(t testing.TB) (*vfs.Mem, map[string][]string) {
	t.Helper()
	m := vfs.NewMem(func() time.Time { return epoch })
	o := options(m)
	s, err := store.Open(o)
	must(t, err)
	must(t, s.Start())
	rnd := rand.New(rand.NewPCG(1, 2))
	host := netip.MustParseAddrPort("10.1.2.3:10911")
	for n := range 150 {
		r := s.PutWait(&record.Message{
			Topic: fmt.Sprintf("T%d", rnd.IntN(3)), QueueID: int32(rnd.IntN(2)), BornHost: host, StoreHost: host, BornTimestamp: epoch.UnixMilli(),
			Body: []byte(fmt.Sprintf("%d:%s", n, strings.Repeat("x", rnd.IntN(900)))), Properties: fmt.Sprintf("UNIQ_KEY\x01K%d\x02TAGS\x01A\x02", n),
		})
		if r.Status != store.PutOK {
			t.Fatal(r.Err)
		}
	}
	must(t, s.Close())
	return m, serves(t, m)
}

// serves reads all queues, and looks each message up by its key.
func serves(t testing.TB, m *vfs.Mem) map[string][]string {
	t.Helper()
	s, err := store.Open(options(m.KillClone()))
	must(t, err)
	must(t, s.Start())
	out := map[string][]string{}
	var res store.GetResult
	for topic, ids := range s.Queues() {
		for _, id := range ids {
			key := fmt.Sprintf("%s/%d", topic, id)
			for off := s.MinOffset(topic, id); off < s.MaxOffset(topic, id); off++ {
				s.Get(&store.GetRequest{Topic: topic, QueueID: id, Offset: off, MaxCount: 1, MaxBytes: 1 << 20}, &res)
				text := fmt.Sprintf("%d %v", off, res.Status)
				if res.Status == store.Found {
					var got record.Message
					must(t, record.Decode(res.Regions[0], &got))
					uniq := record.Property(got.Properties, record.PropUniqKey)
					hits, err := s.Query(topic, uniq, "", 10, 0, epoch.UnixMilli()*2)
					must(t, err)
					text = fmt.Sprintf("%d %s %.12s %d", off, uniq, got.Body, len(hits.Records))
					hits.Release()
				}
				res.Release()
				out[key] = append(out[key], text)
			}
		}
	}
	must(t, s.Close())
	return out
}

func repaired(t testing.TB, fsys vfs.FS, apply bool) *Report {
	t.Helper()
	rep, err := Run(Options{Store: options(fsys), Apply: apply, ValidConfig: validConfig})
	must(t, err)
	return rep
}

func validConfig(_ string, text []byte) error {
	if text[len(text)-1] != '}' {
		return errors.New("cut short")
	}
	return nil
}

func (r *Report) text() string {
	var b strings.Builder
	for _, s := range r.Steps {
		fmt.Fprintf(&b, "%s %s: %s; %s; lost %s: %s\n", s.Kind, s.Path, s.Found, s.Do, s.Lost, s.State)
	}
	return b.String()
}

func edit(t testing.TB, m *vfs.Mem, name string, at int64, b ...byte) {
	t.Helper()
	f, err := m.Open(path.Join("/s", name))
	must(t, err)
	_, err = f.WriteAt(b, at)
	must(t, err)
	must(t, f.Sync())
}

func create(t testing.TB, m *vfs.Mem, name, text string) {
	t.Helper()
	name = path.Join("/s", name)
	must(t, m.MkdirAll(path.Dir(name)))
	f, err := m.Create(name)
	must(t, err)
	_, err = f.WriteAt([]byte(text), 0)
	must(t, errors.Join(err, f.Sync()))
}

func resize(t testing.TB, m *vfs.Mem, name string, size int64) {
	t.Helper()
	f, err := m.Open(path.Join("/s", name))
	must(t, err)
	must(t, errors.Join(f.Truncate(size), f.Sync()))
}

// recordFrom is a record that lies in the given range of the log.
func recordFrom(t testing.TB, m *vfs.Mem, from int64) (at int64, size int) {
	t.Helper()
	name := fmt.Sprintf("/s/commitlog/%020d", from-from%(16<<10))
	b, err := vfs.ReadFile(m, name)
	must(t, err)
	var h record.Header
	for off := 0; ; off += h.Size {
		must(t, record.Parse(b[off:], &h))
		if int64(off) >= from%(16<<10) {
			return from - from%(16<<10) + int64(off), h.Size
		}
	}
}

const (
	log0 = "commitlog/00000000000000000000"
	log1 = "commitlog/00000000000000016384"
	cq0  = "consumequeue/T0/0/00000000000000000000"
)

type damage struct {
	name    string
	do      func(t testing.TB, m *vfs.Mem)
	want    string // kinds of the steps
	same    bool   // everything is served as before
	remains int
}

var damages = []damage{
	{"none", func(testing.TB, *vfs.Mem) {}, "", true, 0},
	{"abort", func(t testing.TB, m *vfs.Mem) { create(t, m, "abort", "123") }, "abort", true, 0},
	{"log name", func(t testing.TB, m *vfs.Mem) { create(t, m, "commitlog/core.1", "x") }, "name", true, 0},
	{"config", func(t testing.TB, m *vfs.Mem) {
		create(t, m, "config/topics.json", "{\"a\"")
		create(t, m, "config/topics.json.bak", "{}")
		create(t, m, "config/consumerOffset.json", "")
		create(t, m, "config/delayOffset.json.tmp", "{")
		create(t, m, "config/subscriptionGroup.json", "{}")
		create(t, m, "config/subscriptionGroup.json.bak", "")
	}, "config.file leftover", true, 1},
	{"queue folder lost", func(t testing.TB, m *vfs.Mem) { must(t, vfs.RemoveAll(m, "/s/consumequeue")) }, "queue.entry", true, 0},
	{"queue file of another size", func(t testing.TB, m *vfs.Mem) { resize(t, m, cq0, 400) }, "queue.file", true, 0},
	{"queue entry", func(t testing.TB, m *vfs.Mem) { edit(t, m, cq0, 40, 0, 0, 0, 0, 0, 0, 1, 1) }, "queue.entry", true, 0},
	{"queue entries cleared", func(t testing.TB, m *vfs.Mem) { edit(t, m, cq0, 60, make([]byte, 40)...) }, "queue.entry", true, 0},
	{"queue's end cleared", func(t testing.TB, m *vfs.Mem) { edit(t, m, cq0, 60, make([]byte, 900)...) }, "queue.entry", true, 0},
	{"queue name", func(t testing.TB, m *vfs.Mem) { create(t, m, "consumequeue/T0/0/tmp", "x") }, "name", true, 0},
	{"index lost", func(t testing.TB, m *vfs.Mem) { must(t, vfs.RemoveAll(m, "/s/index")) }, "index.file", true, 0},
	{"index size", func(t testing.TB, m *vfs.Mem) {
		infos, err := m.ReadDir("/s/index")
		must(t, err)
		resize(t, m, "index/"+infos[len(infos)-1].Name, 100)
	}, "index.file", true, 0},
	{"index entry", func(t testing.TB, m *vfs.Mem) {
		infos, err := m.ReadDir("/s/index")
		must(t, err)
		edit(t, m, "index/"+infos[0].Name, 40+400+20*7+4, 1)
	}, "index.file", true, 0},
	{"extension", extend, "", true, 0},
	{"extension lost", func(t testing.TB, m *vfs.Mem) {
		extend(t, m)
		must(t, m.Remove("/s/"+extFile))
	}, "queue.ext", true, 0},
	{"extension with other tags", func(t testing.TB, m *vfs.Mem) {
		extend(t, m)
		edit(t, m, extFile, 34+9, 1)
	}, "queue.entry", true, 0},
	{"extension of another size", func(t testing.TB, m *vfs.Mem) {
		extend(t, m)
		create(t, m, "consumequeue_ext/T0/0/00000000000000004096", strings.Repeat("\x00", 4096))
		create(t, m, "consumequeue_ext/T0/0/00000000000000008192", "x")
	}, "queue.ext", true, 0},
	{"checkpoint", func(t testing.TB, m *vfs.Mem) { edit(t, m, "checkpoint", 40, 1) }, "checkpoint", true, 0},
	{"checkpoint and abort", func(t testing.TB, m *vfs.Mem) {
		edit(t, m, "checkpoint", 40, 1)
		create(t, m, "abort", "123")
	}, "abort checkpoint", true, 0},
	{"timer wheel", func(t testing.TB, m *vfs.Mem) { create(t, m, "timerwheel", "x") }, "timer.file", true, 0},
	{"torn tail", func(t testing.TB, m *vfs.Mem) {
		end := repaired(t, m.KillClone(), false).End
		b, err := vfs.ReadFile(m, "/s/"+log0)
		must(t, err)
		edit(t, m, fmt.Sprintf("commitlog/%020d", end-end%(16<<10)), end%(16<<10), b[:60]...)
		create(t, m, "abort", "123")
	}, "abort log.tail", true, 0},
	{"body", func(t testing.TB, m *vfs.Mem) {
		at, _ := recordFrom(t, m, 4000)
		edit(t, m, log0, at+88, '?')
	}, "log.bodyCRC", false, 0},
	{"body and a lost queue", func(t testing.TB, m *vfs.Mem) {
		at, _ := recordFrom(t, m, 4000)
		edit(t, m, log0, at+88, '?')
		must(t, vfs.RemoveAll(m, "/s/consumequeue"))
	}, "log.bodyCRC queue.entry", false, 0},
	{"hole", func(t testing.TB, m *vfs.Mem) {
		at, size := recordFrom(t, m, 16<<10+3000)
		edit(t, m, log1, at-16<<10, make([]byte, size+20)...)
	}, "log.hole", false, 0},
	{"hole up to the end of a file", func(t testing.TB, m *vfs.Mem) {
		at, _ := recordFrom(t, m, 12000)
		edit(t, m, log0, at, make([]byte, 16<<10-at)...)
	}, "log.hole", false, 0},
	{"hole and lost queues", func(t testing.TB, m *vfs.Mem) {
		at, size := recordFrom(t, m, 16<<10+3000)
		edit(t, m, log1, at-16<<10, make([]byte, size+20)...)
		must(t, vfs.RemoveAll(m, "/s/consumequeue"))
	}, "log.hole queue.entry", false, 0},
	{"log file missing", func(t testing.TB, m *vfs.Mem) { must(t, m.Remove("/s/"+log1)) }, "log.file", false, 0},
	{"log file cut", func(t testing.TB, m *vfs.Mem) { resize(t, m, log1, 5000) }, "log.file log.hole", false, 0},
}

// Each kind of damage is found by a look that changes nothing, and is gone after a repair, with all messages that are still in the log.
func TestDamage(t *testing.T) {
	whole, before := filled(t)
	for _, d := range damages {
		t.Run(d.name, func(t *testing.T) {
			m := whole.KillClone()
			d.do(t, m)
			was := contents(t, m)
			look := repaired(t, m, false)
			if now := contents(t, m); !maps.Equal(now, was) {
				t.Fatalf("a look has changed files")
			}
			rep := repaired(t, m, true)
			if got := kinds(rep); got != d.want || kinds(look) != d.want || rep.Remains != d.remains {
				t.Errorf("found %q, look %q, want %q; %d remain\n%s", got, kinds(look), d.want, rep.Remains, rep.text())
			}
			checkKept(t, m, was, rep)
			again := repaired(t, m, true)
			for _, s := range again.Steps {
				if s.State != Remains {
					t.Errorf("again: %s", again.text())
				}
			}
			after := serves(t, m)
			if d.same {
				sameServed(t, after, before)
			} else {
				mostServed(t, after, before)
			}
			if t.Failed() {
				t.Log(rep.text())
			}
		})
	}
}

func kinds(r *Report) string {
	var out []string
	for _, s := range r.Steps {
		if s.State != Remains {
			out = append(out, string(s.Kind))
		}
	}
	slices.Sort(out)
	return strings.Join(compact(out), " ")
}

// compact leaves each kind of queue or index step once: how many there are depends on the messages.
func compact(kinds []string) []string {
	return slices.CompactFunc(kinds, func(a, b string) bool {
		return a == b && (strings.HasPrefix(a, "queue") || strings.HasPrefix(a, "index"))
	})
}

func sameServed(t *testing.T, got, want map[string][]string) {
	t.Helper()
	for key := range want {
		if !slices.Equal(got[key], want[key]) {
			t.Errorf("%s serves\n%v\nwant\n%v", key, got[key], want[key])
		}
	}
}

// mostServed tells whether all but a few messages are served at their offsets, and none that was not before.
func mostServed(t *testing.T, got, want map[string][]string) {
	t.Helper()
	for key := range want {
		at := map[string]bool{}
		for _, m := range want[key] {
			at[m] = true
		}
		hits := 0
		for _, m := range got[key] {
			if at[m] {
				hits++
			}
		}
		if len(got[key]) != len(want[key]) || hits < len(want[key])/3 {
			t.Errorf("%s serves %d of %d, %d of them the same", key, len(got[key]), len(want[key]), hits)
		}
	}
}

// contents are all files but those that a lock makes.
func contents(t testing.TB, m *vfs.Mem) map[string]string {
	t.Helper()
	out := map[string]string{}
	for line := range strings.SplitSeq(m.Dump(), "\n") {
		name, _, _ := strings.Cut(line, " ")
		b, err := vfs.ReadFile(m, name)
		must(t, err)
		out[name] = string(b)
	}
	return out
}

// checkKept fails unless what was taken out of its place is in the quarantine.
func checkKept(t *testing.T, m *vfs.Mem, was map[string]string, rep *Report) {
	t.Helper()
	now := contents(t, m)
	for name, text := range was {
		kept, there := now[name]
		if there && kept == text || !strings.Contains(name, "/config/") && !strings.Contains(name, "core.1") && !strings.HasSuffix(name, "/tmp") {
			continue
		}
		if away := path.Join("/s", rep.Quarantine, strings.TrimPrefix(name, "/s/")); now[away] != text {
			t.Errorf("%s is neither in its place nor in the quarantine", name)
		}
	}
}

// A repair that is cut short by a power cut, at any moment, ends in the same when it is run again.
func TestRepairCutShort(t *testing.T) {
	whole, _ := filled(t)
	cuts := 2
	if os.Getenv("APOGEE_LONG") != "" {
		cuts = 40
	}
	for i, d := range damages {
		if d.want == "" || testing.Short() {
			continue
		}
		t.Run(d.name, func(t *testing.T) {
			first := whole.KillClone()
			d.do(t, first)
			must(t, first.SyncAll("/s"))
			done := first.KillClone()
			repaired(t, done, true)
			want := serves(t, done)
			var counter atomic.Int64
			_, err := Run(Options{Store: options(counted(first.KillClone(), &counter)), Apply: true, ValidConfig: validConfig})
			must(t, err)
			ops := counter.Load()
			for k := range cuts {
				m := first.KillClone()
				must(t, m.SyncAll("/s"))
				var cut *vfs.Mem // by the one call that is the stop-th
				var n atomic.Int64
				stop := 1 + (ops*int64(k)+ops*int64(i)/int64(len(damages)))/int64(cuts)
				fsys := vfs.Faulty(m, func(vfs.Op, string) error {
					if n.Add(1) == stop {
						cut = m.CrashClone(uint64(k*100 + i))
					}
					return nil
				})
				_, err := Run(Options{Store: options(fsys), Apply: true, ValidConfig: validConfig})
				must(t, err)
				if cut == nil {
					continue
				}
				rep := repaired(t, cut, true)
				if got := serves(t, cut); !maps.EqualFunc(got, want, slices.Equal) {
					t.Fatalf("cut at %d of %d, seed %d: %s\n%s", stop, ops, k*100+i, difference(got, want), rep.text())
				}
			}
		})
	}
}

// difference is the first one of each queue.
func difference(got, want map[string][]string) string {
	var b strings.Builder
	for key := range want {
		for n := range max(len(got[key]), len(want[key])) {
			if n >= len(got[key]) || n >= len(want[key]) || got[key][n] != want[key][n] {
				fmt.Fprintf(&b, "%s serves %q, want %q; ", key, got[key][min(n, len(got[key])):min(n+1, len(got[key]))], want[key][min(n, len(want[key])):min(n+1, len(want[key]))])
				break
			}
		}
	}
	return b.String()
}

func counted(m *vfs.Mem, n *atomic.Int64) vfs.FS {
	return vfs.Faulty(m, func(vfs.Op, string) error { n.Add(1); return nil })
}

// A directory that a broker runs on is left alone.
func TestRunningBroker(t *testing.T) {
	m, _ := filled(t)
	l, err := m.Lock("/s/lock")
	must(t, err)
	for _, apply := range []bool{false, true} {
		if _, err := Run(Options{Store: options(m), Apply: apply}); !errors.Is(err, ErrRunning) {
			t.Errorf("apply %v: %v", apply, err)
		}
	}
	must(t, l.Close())
}

// The sizes of files are taken from them where no configuration says them.
func TestSizes(t *testing.T) {
	m, _ := filled(t)
	o := store.Defaults()
	o.FS, o.RootDir = m, "/s"
	Sizes(m, &o)
	if o.MappedFileSizeCommitLog != 16<<10 || o.MappedFileSizeConsumeQueue != 1000 || o.MessageIndexEnable {
		t.Errorf("%d %d %v", o.MappedFileSizeCommitLog, o.MappedFileSizeConsumeQueue, o.MessageIndexEnable)
	}
}
