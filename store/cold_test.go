package store

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"apogee/store/vfs"
)

func TestColdAndInMemory(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Memory = 1 << 20 })
	resident := true
	s := filler(t, r.on(residency{FS: r.mem, yes: &resident}), 20)
	defer s.Close()
	if s.Cold("Topic", 0, 0) || s.Cold("Topic", 0, 99) || s.Cold("None", 0, 0) {
		t.Error("cold though it has just been written")
	}
	must(t, s.flushQueues(true))
	must(t, s.flushQueues(true))
	resident = false
	if !s.Cold("Topic", 0, 0) {
		t.Error("not cold though the entry is not in memory")
	}
	if s.ColdAt(-1) || s.ColdAt(-33*logSpan) {
		t.Error("cold in front of the log")
	}
	if s.Cold("Topic", 0, 20) || s.Cold("Topic", 0, -1) {
		t.Error("cold though nothing will be read")
	}
	if !s.InMemory("Topic", 0, 0) || s.InMemory("Topic", 0, 20) || s.InMemory("None", 0, 0) {
		t.Error("in memory")
	}
	o := *s.options()
	o.Memory = 100
	s.opts.Store(&o)
	if s.InMemory("Topic", 0, 0) || s.InMemory("Topic", 0, 19) {
		t.Error("in memory beyond 40 % of 100 bytes")
	}
}

// What was found in memory is taken to be there for a moment, and is asked about again after it.
func TestWarmForAMoment(t *testing.T) {
	r := newRig(t, func(o *Options) { o.MappedFileSizeCommitLog, o.MappedFileSizeConsumeQueue = hotTail, 20*3*unitSpan })
	resident, asked := true, 0
	s := filler(t, r.on(residency{FS: r.mem, yes: &resident, asked: &asked}), 2)
	defer s.Close()
	big := message("Big", 0, strings.Repeat("x", 3<<20))
	for range hotTail/len(big.Body) + 2 { // so that the first messages are not at the tail any more
		put(t, s, big)
	}
	must(t, s.flushQueues(true))
	must(t, s.flushQueues(true))
	cold := func(want bool, questions int) {
		t.Helper()
		asked = 0
		if got := s.Cold("Topic", 0, 0); got != want || asked != questions {
			t.Errorf("cold %v after %d questions, want %v after %d", got, asked, want, questions)
		}
	}
	cold(false, 2) // the entry and the log
	cold(false, 0)
	resident = false
	cold(false, 0)
	r.clock.advance(2 * warmFor)
	cold(true, 2) // both times about the entry: the whole span, then what the read needs
	resident = true
	cold(false, 2)
}

// What a read found is loaded as it lies in the files, and nothing else.
func TestLoadRegions(t *testing.T) {
	r := newRig(t, func(o *Options) { o.MappedFileSizeCommitLog = 4 << 10 })
	resident := true
	var loaded [][]byte
	s := filler(t, r.on(residency{FS: r.mem, yes: &resident, loaded: func(b []byte) { loaded = append(loaded, b) }}), 60)
	defer s.Close()
	var res GetResult
	res.Load() // of nothing
	s.Get(&GetRequest{Topic: "Topic", MaxCount: 32, MaxBytes: 1 << 20}, &res)
	defer res.Release()
	if len(res.Regions) < 2 || len(res.held) < 2 {
		t.Fatalf("%d regions in %d files", len(res.Regions), len(res.held))
	}
	res.Load()
	if len(loaded) != len(res.Regions) {
		t.Fatalf("%d regions, %d loaded", len(res.Regions), len(loaded))
	}
	for i, region := range res.Regions {
		if &region[0] != &loaded[i][0] || len(region) != len(loaded[i]) {
			t.Errorf("region %d: %d bytes loaded of %d, or others", i, len(loaded[i]), len(region))
		}
	}
}

func TestWarmMarks(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	var place atomic.Uint64
	for _, span := range []uint64{0, 1, 511, 1<<39 - 1} {
		if warm(&place, warmMark(span, now)) {
			t.Errorf("span %d is warm before it was noted", span)
		}
		place.Store(warmMark(span, now))
		for after, want := range map[time.Duration]bool{0: true, warmTick: true, 2 * warmTick: false, time.Hour: false, -warmTick: false} {
			if got := warm(&place, warmMark(span, now.Add(after))); got != want {
				t.Errorf("span %d is warm after %s: %v", span, after, got)
			}
			if warm(&place, warmMark(span+1, now.Add(after))) {
				t.Errorf("span %d is warm for %d", span+1, span)
			}
		}
	}
}

// residency is a file system whose mappings are resident or not.
type residency struct {
	vfs.FS
	yes   *bool
	asked *int // how often, if not nil

	loaded func(data []byte)
}

func (r residency) Open(name string) (vfs.File, error) {
	f, err := r.FS.Open(name)
	return residentFile{f, r}, err
}

func (r residency) Create(name string) (vfs.File, error) {
	f, err := r.FS.Create(name)
	return residentFile{f, r}, err
}

type residentFile struct {
	vfs.File
	of residency
}

func (f residentFile) Map(n int64) (vfs.Mapping, error) {
	m, err := f.File.Map(n)
	return residentMapping{m, f.of}, err
}

func (f residentFile) MapRead(n int64) (vfs.Mapping, error) {
	m, err := f.File.MapRead(n)
	return residentMapping{m, f.of}, err
}

type residentMapping struct {
	vfs.Mapping
	of residency
}

func (m residentMapping) Load(off, n int64) {
	if m.of.loaded != nil {
		m.of.loaded(m.Bytes()[off : off+n])
	}
}

func (m residentMapping) Resident(int64, int64) bool {
	if m.of.asked != nil {
		*m.of.asked++
	}
	return *m.of.yes
}
