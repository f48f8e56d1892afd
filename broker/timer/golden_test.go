package timer

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/compat/properties"
	"apogee/internal/testkit"
	"apogee/store"
	"apogee/store/record"
	"apogee/store/vfs"
)

// goldenTimers is a directory that Java wrote, opened by us.
type goldenTimers struct {
	t     *testing.T
	dir   string
	store *store.Store
	timer *Service
	now   atomic.Int64
	grown chan struct{}
	want  struct {
		TimerMetrics struct {
			TimingCount map[string]struct{ Count int64 }
		}
	}
}

func openGolden(t *testing.T, name string) *goldenTimers {
	t.Helper()
	g := &goldenTimers{t: t, grown: make(chan struct{}, 1)}
	g.dir = testkit.Golden(t, name, &g.want)
	root := filepath.Join(g.dir, "store")
	c, err := loadCheckpoint(vfs.OS(), root)
	must(t, err)
	g.now.Store(c.read + 500)
	g.open()
	return g
}

func (g *goldenTimers) open() {
	t := g.t
	t.Helper()
	text, err := os.ReadFile(filepath.Join(g.dir, "broker.conf"))
	must(t, err)
	file, err := properties.Parse("broker.conf", text)
	must(t, err)
	opts := store.Defaults()
	_, err = properties.Bind(file, &opts)
	must(t, err)
	opts.RootDir = filepath.Join(g.dir, "store")
	opts.QueueKind = func(topic string) store.QueueKind {
		switch {
		case strings.HasPrefix(topic, "BatchCq_"):
			return store.BatchQueue
		case strings.HasPrefix(topic, "Compact_"):
			return store.CompactionQueue
		}
		return store.SimpleQueue
	}
	started := make(chan struct{})
	opts.OnArrive = func(batch []store.Arrival) {
		select {
		case <-started:
			g.timer.Arrive(batch)
		default:
		}
		select {
		case g.grown <- struct{}{}:
		default:
		}
	}
	g.store, err = store.Open(opts)
	must(t, err)
	size := int64(104857600)
	if strings.Contains(string(text), "mappedFileSizeTimerLog=5200") {
		size = 5200
	}
	g.timer, err = Open(Options{
		Store: g.store, FS: vfs.OS(), Dir: opts.RootDir, Now: func() time.Time { return time.UnixMilli(g.now.Load()) },
		Precision: 1000, RollWindow: 172800, LogFileSize: size,
		Ends: func() (int64, int64, int64) {
			s := g.store.Stats()
			return s.MinPhysical, s.MaxPhysical, s.Flushed
		},
	})
	must(t, err)
	must(t, g.store.Start())
	close(started)
}

func (g *goldenTimers) close() {
	g.t.Helper()
	must(g.t, errors.Join(g.timer.Stop(), g.store.Close(), g.timer.Save(true)))
}

// keys are the keys of what is in the timed topic, with how often each is there.
func (g *goldenTimers) keys() map[string]int {
	out := make(map[string]int)
	for q := range int32(2) {
		var res store.GetResult
		req := store.GetRequest{Topic: "Timer_s11", QueueID: q, MaxCount: 100}
		g.store.Get(&req, &res)
		for _, region := range res.Regions {
			for len(region) > 0 {
				var m record.Message
				must(g.t, record.Decode(region, &m))
				out[record.Property(m.Properties, record.PropKeys)]++
				region = region[m.StoreSize:]
			}
		}
		res.Release()
	}
	return out
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What waited when Java stopped is what waits here, and all of it comes, once, except what was recalled.
func TestGoldenTimers(t *testing.T) {
	for _, name := range []string{"clean", "crash", "torn", "segments", "defaults"} {
		t.Run(name, func(t *testing.T) {
			g := openGolden(t, name)
			g.counts()
			g.close()
			g.open() // and once more, as we left it
			g.counts()
			g.now.Add(6 * 24 * 3600 * 1000)
			g.timer.Start()
			want := map[string]int{}
			for i := range 6 {
				want[fmt.Sprint("tk", i)] = 1
			}
			for i := range 5 {
				want[fmt.Sprint("th", i)] = 1
			}
			for i := range 3 {
				want[fmt.Sprint("td", i)] = 1
			}
			limit := time.After(30 * time.Second)
			for {
				if got := g.keys(); maps.Equal(got, want) {
					break
				}
				select {
				case <-g.grown:
				case <-limit:
					t.Fatalf("delivered %v, want %v", g.keys(), want)
				}
			}
			g.close()
		})
	}
}

// counts compares what waits for each topic.
func (g *goldenTimers) counts() {
	g.t.Helper()
	var got body.TimerMetrics
	must(g.t, fastjson.Unmarshal(g.timer.Metrics(), &got))
	total := int64(0)
	for _, topic := range slices.Sorted(maps.Keys(g.want.TimerMetrics.TimingCount)) {
		w := g.want.TimerMetrics.TimingCount[topic].Count
		if n := got.TimingCount[topic].Count; n != w {
			g.t.Errorf("%d wait for %s, want %d", n, topic, w)
		}
		total += w
	}
	if n := g.timer.Progress().Waiting; n != total {
		g.t.Errorf("%d wait, want %d", n, total)
	}
}
