package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"apogee/store/record"
	"apogee/store/vfs"
)

func TestIndexFileLayout(t *testing.T) {
	m := newMem(t)
	must(t, m.MkdirAll("/i"))
	x, err := createIndexFile(m, "/i", 20260102030405006, 10, 5, nil)
	must(t, err)
	must(t, x.f.hold())
	const begin = int64(1_700_000_000_000)
	must(t, x.put(23, 100, begin))      // slot 3
	must(t, x.put(4, 200, begin+1999))  // slot 4, one second later
	must(t, x.put(33, 300, begin+2000)) // slot 3 again
	must(t, x.put(23, 400, begin-5000)) // a clock that was set back
	x.writeHeader()
	x.f.release()
	if !x.full() {
		t.Error("four entries fill a file of five, since none has number 0")
	}
	b, err := vfs.ReadFile(m, "/i/20260102030405006")
	must(t, err)
	want := make([]byte, 40+10*4+5*20)
	be := binary.BigEndian
	be.PutUint64(want, uint64(begin))
	be.PutUint64(want[8:], uint64(begin-5000))
	be.PutUint64(want[16:], 100)
	be.PutUint64(want[24:], 400)
	be.PutUint32(want[32:], 2)
	be.PutUint32(want[36:], 5)
	be.PutUint32(want[40+3*4:], 4)
	be.PutUint32(want[40+4*4:], 2)
	for i, e := range []struct{ hash, phys, seconds, before int }{{23, 100, 0, 0}, {4, 200, 1, 0}, {33, 300, 2, 1}, {23, 400, 0, 3}} {
		p := want[80+(i+1)*20:]
		be.PutUint32(p, uint32(e.hash))
		be.PutUint64(p[4:], uint64(e.phys))
		be.PutUint32(p[12:], uint32(e.seconds))
		be.PutUint32(p[16:], uint32(e.before))
	}
	if !slices.Equal(b, want) {
		t.Errorf("file\n%x\nwant\n%x", b, want)
	}
	got, err := x.find(nil, 23, 10, 0, math.MaxInt64)
	must(t, err)
	if !slices.Equal(got, []int64{400, 100}) {
		t.Errorf("found %v", got)
	}
	again, err := openIndexFile(m, "/i/20260102030405006", 10, 5)
	must(t, err)
	if again.head != x.head {
		t.Errorf("header %+v, was %+v", again.head, x.head)
	}
	next, err := createIndexFile(m, "/i", 20260102030405007, 10, 5, x)
	must(t, err)
	if h := next.head; h.beginTime != begin-5000 || h.endTime != begin-5000 || h.beginPhys != 400 || h.endPhys != 400 || h.count != 1 || h.slotCount != 0 {
		t.Errorf("the next file begins with %+v", h)
	}
}

func TestIndexHash(t *testing.T) {
	for h, want := range map[int32]int32{0: 0, 5: 5, -5: 5, math.MinInt32: 0, math.MaxInt32: math.MaxInt32, -math.MaxInt32: math.MaxInt32} {
		if got := indexHash(h); got != want {
			t.Errorf("%d: %d, want %d", h, got, want)
		}
	}
	if keyHash("Topic") != record.HashString("Topic#") || tagsHash(keyHash("Topic")) != record.HashString("Topic#T#") {
		t.Error("topic hashes")
	}
}

func TestIndexFileNumber(t *testing.T) {
	zone := time.FixedZone("east", 9*3600)
	if got := indexFileNumber(time.Date(2026, 1, 2, 3, 4, 5, 6_999_999, zone)); got != 20260102030405006 {
		t.Error(got)
	}
}

// indexRig is an index alone, whose files are tiny; keys are entered by hand.
type indexRig struct {
	s *Store
	x *indexFiles
}

func newIndexRig(t testing.TB, r *rig) *indexRig {
	t.Helper()
	s := bare(t, r)
	s.files.index = path.Join(r.opts.RootDir, "index")
	must(t, s.loadIndex(s.lastExit))
	s.index.pos.Store(0)
	return &indexRig{s, s.index}
}

func (ir *indexRig) enter(t testing.TB, hash int32, phys, at int64) {
	t.Helper()
	e := slip{phys: phys, time: at, size: 10}
	e.nkeys, e.keys[0] = 1, hash
	ir.x.pos.Store(phys)
	ir.x.offer(&e)
	ir.x.publish()
	ir.s.dispatch.pos.Store(phys + 10)
	for ir.x.catchUp() {
	}
	if ir.x.err != nil || ir.x.behind() != 0 {
		t.Fatalf("index at %d: %v", ir.x.pos.Load(), ir.x.err)
	}
	ir.s.dispatch.pos.Store(noMark)
}

// TestIndexAgainstSlice compares look-ups with a slice, over several files, restarts and deletions.
func TestIndexAgainstSlice(t *testing.T) {
	type entry struct {
		hash int32
		phys int64
		at   int64
	}
	rapid.Check(t, func(rt *rapid.T) {
		r := newRig(t, func(o *Options) { o.MaxHashSlotNum, o.MaxIndexNum = 3, 8 })
		ir := newIndexRig(t, r)
		defer func() { must(t, ir.s.Close()) }()
		var model []entry
		at, phys := int64(1_700_000_000_000), int64(0)
		entered := 0
		rt.Repeat(map[string]func(*rapid.T){
			"enter": func(rt *rapid.T) {
				for range rapid.IntRange(1, 5).Draw(rt, "n") {
					e := entry{rapid.Int32Range(0, 5).Draw(rt, "hash"), phys, at}
					ir.enter(t, e.hash, e.phys, e.at)
					model = append(model, e)
					phys += 10
					// As in Java, the time of a file's first entry counts from the end of the file before, and is too late by that.
					if entered++; entered%7 != 0 {
						at += rapid.Int64Range(0, 3).Draw(rt, "seconds") * 1000
					}
				}
			},
			"reopen": func(*rapid.T) {
				must(t, ir.s.flushIndex())
				must(t, ir.s.Close())
				ir = newIndexRig(t, r)
			},
			"clean": func(rt *rapid.T) {
				if len(ir.x.files) < 2 {
					rt.Skip()
				}
				end := ir.x.files[0].head.endPhys
				must(t, ir.x.clean(end)) // not gone yet: nothing
				must(t, ir.x.clean(end+1))
				model = slices.DeleteFunc(model, func(e entry) bool { return e.phys <= end })
			},
			"": func(rt *rapid.T) {
				hash := rapid.Int32Range(0, 5).Draw(rt, "look up")
				begin := at - rapid.Int64Range(0, 40).Draw(rt, "before")*1000
				end := begin + rapid.Int64Range(0, 40).Draw(rt, "range")*1000
				most := rapid.IntRange(1, 6).Draw(rt, "most")
				if rapid.Bool().Draw(rt, "any time") {
					begin, end = 0, math.MaxInt64
				}
				var want []int64
				for _, e := range slices.Backward(model) {
					if e.hash == hash && e.at >= begin && e.at <= end && len(want) < most {
						want = append(want, e.phys)
					}
				}
				got, err := ir.x.query(hash, most, begin, end)
				must(t, err)
				if !slices.Equal(got.phys, want) {
					rt.Fatalf("hash %d from %d to %d: %v, want %v", hash, begin, end, got.phys, want)
				}
				if n := len(model); n > 0 && (got.lastPhys != model[n-1].phys || got.lastTime != model[n-1].at) {
					rt.Fatalf("last entry %d at %d, want %v", got.lastPhys, got.lastTime, model[n-1])
				}
			},
		})
	})
}

func FuzzIndexFile(f *testing.F) {
	seed := func() []byte {
		m := vfs.NewMem(time.Now)
		_ = m.MkdirAll("/i")
		x, _ := createIndexFile(m, "/i", 1, 4, 8, nil)
		_ = x.f.hold()
		for i := range int64(5) {
			_ = x.put(int32(i%3), i*100, 1_700_000_000_000+i*1000)
		}
		x.writeHeader()
		b, _ := vfs.ReadFile(m, x.f.path)
		return b
	}()
	f.Add(seed, int32(1))
	f.Add(seed[:40], int32(0))
	f.Add([]byte{}, int32(5))
	f.Fuzz(func(t *testing.T, data []byte, hash int32) {
		const slots, entries = 4, 8
		m := newMem(t)
		must(t, m.MkdirAll("/i"))
		file, err := m.Create("/i/1")
		must(t, err)
		_, err = file.WriteAt(append(data, make([]byte, 300)...)[:indexFileSize(slots, entries)], 0)
		must(t, err)
		x, err := openIndexFile(m, "/i/1", slots, entries)
		must(t, err)
		hash = indexHash(hash)
		if x.head.count < 1 || x.head.count > entries {
			t.Fatalf("count %d", x.head.count)
		}
		if _, err := x.find(nil, hash, 100, 0, math.MaxInt64); err != nil {
			t.Fatal(err)
		}
		must(t, x.f.hold())
		defer x.f.release()
		for !x.full() {
			must(t, x.put(hash, 77, 1_700_000_000_000))
			got, err := x.find(nil, hash, 1, math.MinInt64, math.MaxInt64)
			if err != nil || len(got) == 1 && got[0] != 77 {
				t.Fatalf("found %v, %v", got, err)
			}
		}
		x.writeHeader()
	})
}

// TestIndexIsMadeWithTheFirstKey: and it is sparse.
func TestIndexIsMadeWithTheFirstKey(t *testing.T) {
	r := newRig(t)
	s := r.open()
	defer s.Close()
	query := func(key string) int {
		t.Helper()
		res, err := s.Query("Topic", key, "", 10, 0, math.MaxInt64)
		must(t, err)
		defer res.Release()
		return len(res.Records)
	}
	put(t, s, message("Topic", 0, "no key"))
	if n := query("k"); n != 0 {
		t.Errorf("%d records", n)
	}
	if _, err := r.mem.Stat("/data/store/index"); err == nil {
		t.Error("a directory without need")
	}
	m := message("Topic", 0, "key")
	m.Properties = "KEYS\x01k\x02"
	put(t, s, m)
	if n := query("k"); n != 1 {
		t.Errorf("%d records", n)
	}
	name := fmt.Sprintf("%017d", indexFileNumber(epoch))
	if infos, err := r.mem.ReadDir("/data/store/index"); err != nil || len(infos) != 1 || infos[0].Name != name {
		t.Errorf("files %v, want %s", infos, name)
	}
}

func TestQuery(t *testing.T) {
	r := newRig(t, func(o *Options) { o.MaxIndexNum = 40 })
	s := r.open()
	times := map[string]int64{}
	send := func(topic, body, props string) {
		m := message(topic, 0, body)
		m.Properties = props
		times[body] = put(t, s, m).StoreTimestamp
		r.clock.advance(time.Second)
	}
	send("Topic", "a", "UNIQ_KEY\x01U1\x02KEYS\x01order-1 user-9\x02TAGS\x01red\x02")
	send("Topic", "b", "UNIQ_KEY\x01U2\x02KEYS\x01order-2 user-9\x02TAGS\x01blue\x02")
	send("Other", "c", "UNIQ_KEY\x01U3\x02KEYS\x01order-1\x02TAGS\x01red\x02")
	send("Topic", "d", "KEYS\x01Aa\x02")
	send("Topic", "e", "KEYS\x01BB\x02") // the same hash as Aa
	for i := range 100 {                 // over several index files
		send("Topic", fmt.Sprint("f", i), fmt.Sprintf("UNIQ_KEY\x01F%d\x02KEYS\x01many\x02", i))
	}
	if n := len(s.index.files); n < 4 {
		query(t, s, "Topic", "x", "", 1, 0, 1) // brings the index up to date
		if n = len(s.index.files); n < 4 {
			t.Errorf("%d files", n)
		}
	}
	for _, c := range []struct {
		name, topic, key, kind string
		max                    int
		begin, end             int64
		want                   string
	}{
		{"unique key", "Topic", "U1", "", 32, 0, math.MaxInt64, "a"},
		{"unique key by type", "Topic", "U2", "U", 32, 0, math.MaxInt64, "b"},
		{"key, in the order of the log", "Topic", "user-9", "K", 32, 0, math.MaxInt64, "a b"},
		{"key of one topic only", "Topic", "order-1", "", 32, 0, math.MaxInt64, "a"},
		{"tags", "Topic", "red", "T", 32, 0, math.MaxInt64, "a"},
		{"tags are no key", "Topic", "red", "", 32, 0, math.MaxInt64, ""},
		{"a key is no tag", "Topic", "user-9", "T", 32, 0, math.MaxInt64, ""},
		{"part of a key", "Topic", "order", "", 32, 0, math.MaxInt64, ""},
		{"nothing of that name", "Topic", "none", "", 32, 0, math.MaxInt64, ""},
		{"no key", "Topic", "", "", 32, 0, math.MaxInt64, ""},
		{"one of two keys of a hash", "Topic", "Aa", "", 32, 0, math.MaxInt64, "d"},
		{"the newest hide the older of another key", "Topic", "Aa", "", 1, 0, math.MaxInt64, ""},
		{"time range", "Topic", "user-9", "", 32, times["b"], times["b"], "b"},
		{"before the time range", "Topic", "user-9", "", 32, times["c"], math.MaxInt64, ""},
		{"after the time range", "Topic", "user-9", "", 32, 0, times["a"] - 1, ""},
		{"the newest of many", "Topic", "many", "", 3, 0, math.MaxInt64, "f97 f98 f99"},
	} {
		if got := query(t, s, c.topic, c.key, c.kind, c.max, c.begin, c.end); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if got := strings.Fields(query(t, s, "Topic", "many", "", 1000, 0, math.MaxInt64)); len(got) != 64 || got[63] != "f99" {
		t.Errorf("%d records, at most 64 are given", len(got))
	}
	res, err := s.Query("Topic", "F99", "", 1, 0, math.MaxInt64)
	must(t, err)
	if res.LastUpdateTime != times["f99"] || res.LastUpdatePhys != record.PhysicalOf(res.Records[0]) {
		t.Errorf("last update %d at %d", res.LastUpdateTime, res.LastUpdatePhys)
	}
	res.Release()
	res.Release()
	o := *s.options()
	o.IndexFileReadEnable = false
	s.opts.Store(&o)
	if got := query(t, s, "Topic", "U1", "", 32, 0, math.MaxInt64); got != "" {
		t.Errorf("reading is off: %q", got)
	}
	must(t, s.Close())
}

func query(t *testing.T, s *Store, topic, key, kind string, max int, begin, end int64) string {
	t.Helper()
	res, err := s.Query(topic, key, kind, max, begin, end)
	must(t, err)
	defer res.Release()
	var bodies []string
	for _, rec := range res.Records {
		var m record.Message
		must(t, record.Decode(rec, &m))
		bodies = append(bodies, strings.Clone(string(m.Body)))
	}
	return strings.Join(bodies, " ")
}

// TestQueryLooksFurtherBack: where nothing of what the index names is there, older hits are looked for.
func TestQueryLooksFurtherBack(t *testing.T) {
	r := newRig(t)
	s := r.open()
	defer s.Close()
	for i, key := range []string{"Aa", "BB", "BB"} {
		m := message("Topic", 0, fmt.Sprint(i))
		m.Properties = "KEYS\x01" + key + "\x02"
		put(t, s, m)
		r.clock.advance(time.Minute)
	}
	if got := query(t, s, "Topic", "Aa", "", 1, 0, math.MaxInt64); got != "" {
		t.Errorf("%q: each round ends at the hit of the one before", got)
	}
	if got := query(t, s, "Topic", "Aa", "", 2, 0, math.MaxInt64); got != "0" {
		t.Errorf("%q", got)
	}
}

// TestIndexAfterKill: nothing is missing, though the files that may be damaged are thrown away.
func TestIndexAfterKill(t *testing.T) {
	r := newRig(t, func(o *Options) { o.MaxIndexNum, o.MappedFileSizeCommitLog = 30, 64<<10 })
	s := r.open()
	for i := range 100 {
		m := message("Topic", 0, fmt.Sprint(i))
		m.Properties = fmt.Sprintf("UNIQ_KEY\x01U%d\x02KEYS\x01k%d all\x02", i, i)
		put(t, s, m)
		r.clock.advance(time.Second)
	}
	query(t, s, "Topic", "x", "", 1, 0, 1)
	s.index.syncs.Wait()
	must(t, s.checkpoint.write())
	if at := s.checkpoint.indexMsgTimestamp.Load(); at == 0 {
		t.Error("full files are not counted")
	}
	clone := r.mem.KillClone()
	must(t, s.Close())
	s = r.on(clone).open()
	defer s.Close()
	for i := range 100 {
		if got := query(t, s, "Topic", fmt.Sprint("U", i), "", 5, 0, math.MaxInt64); got != fmt.Sprint(i) {
			t.Errorf("U%d: %q", i, got)
		}
		if got := query(t, s, "Topic", fmt.Sprint("k", i), "", 5, 0, math.MaxInt64); got != fmt.Sprint(i) {
			t.Errorf("k%d: %q", i, got)
		}
	}
	if got := strings.Fields(query(t, s, "Topic", "all", "", 64, 0, math.MaxInt64)); len(got) != 64 || got[63] != "99" {
		t.Errorf("%d of 64 records", len(got))
	}
}

// TestIndexTorn: what a power cut leaves of index files that were not synced is made again, also where all records are of one millisecond, and
// where nothing is left but a file's name and size, or not even that.
func TestIndexTorn(t *testing.T) {
	head := make([]byte, indexHeaderSize)
	for name, c := range map[string]struct {
		messages int
		do       func(t *testing.T, m *vfs.Mem, last string)
	}{
		"first file empty":         {3, func(t *testing.T, m *vfs.Mem, last string) { overwrite(t, m, last, 0, head) }},
		"first file gone":          {3, func(t *testing.T, m *vfs.Mem, last string) { remove(t, m, last) }},
		"last file without slots":  {40, func(t *testing.T, m *vfs.Mem, last string) { overwrite(t, m, last, indexHeaderSize, make([]byte, 400)) }},
		"last file without header": {40, func(t *testing.T, m *vfs.Mem, last string) { overwrite(t, m, last, 0, head) }},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(o *Options) { o.MaxIndexNum = 30 })
			s := r.open()
			for i := range c.messages {
				m := message("Topic", 0, fmt.Sprint(i))
				m.Properties = fmt.Sprintf("UNIQ_KEY\x01U%d\x02", i)
				put(t, s, m)
			}
			query(t, s, "Topic", "x", "", 1, 0, 1)
			s.index.syncs.Wait()
			must(t, errors.Join(s.flush.flush(), s.flushQueues(true), s.checkpoint.write()))
			last := s.index.files[len(s.index.files)-1].f.path
			clone := r.mem.KillClone()
			abandon(s)
			c.do(t, clone, last)
			s = r.on(clone).open()
			defer s.Close()
			for i := range c.messages {
				if got := query(t, s, "Topic", fmt.Sprint("U", i), "", 5, 0, math.MaxInt64); got != fmt.Sprint(i) {
					t.Errorf("U%d: %q", i, got)
				}
			}
		})
	}
}

// TestIndexSyncsInOrder: the checkpoint counts a completed file when those before it are on disk as well.
func TestIndexSyncsInOrder(t *testing.T) {
	r := newRig(t, func(o *Options) { o.MaxIndexNum = 30 })
	var failed atomic.Int32
	s := r.on(vfs.Faulty(r.mem, func(op vfs.Op, name string) error {
		if op == vfs.OpSync && strings.Contains(name, "/index/") && failed.CompareAndSwap(0, 1) {
			return errors.New("broken")
		}
		return nil
	})).open()
	for i := range 100 {
		m := message("Topic", 0, fmt.Sprint(i))
		m.Properties = fmt.Sprintf("UNIQ_KEY\x01U%d\x02", i)
		put(t, s, m)
		r.clock.advance(time.Second)
	}
	query(t, s, "Topic", "x", "", 1, 0, 1)
	s.index.syncs.Wait()
	if n := len(s.index.files); n < 3 || failed.Load() == 0 {
		t.Fatalf("%d files, %d failed", n, failed.Load())
	}
	if at := s.checkpoint.indexMsgTimestamp.Load(); at > s.index.files[1].head.endTime {
		t.Errorf("counted up to %d, with a file before it that is not on disk", at)
	}
	must(t, s.Close())
}

// TestIndexGoesOn: after a clean stop nothing is indexed twice, and what came meanwhile is not missing.
func TestIndexGoesOn(t *testing.T) {
	r := newRig(t)
	for life := range 4 {
		s := r.open()
		m := message("Topic", 0, fmt.Sprint(life))
		m.Properties = fmt.Sprintf("KEYS\x01k%d\x02", life)
		put(t, s, m)
		put(t, s, message("Topic", 0, "without key"))
		must(t, s.Close())
		if n := len(s.index.files); n != 1 || s.index.files[0].head.count != int32(life+2) {
			t.Errorf("life %d: %d files, %d entries", life, n, s.index.files[0].head.count-1)
		}
	}
	s := r.open()
	for life := range 4 {
		if got := query(t, s, "Topic", fmt.Sprint("k", life), "", 5, 0, math.MaxInt64); got != fmt.Sprint(life) {
			t.Errorf("k%d: %q", life, got)
		}
	}
	must(t, s.Close())
}

// TestIndexErrors: the index waits for a full disk to have room again, the store goes on.
func TestIndexErrors(t *testing.T) {
	r := newRig(t)
	var full atomic.Bool
	full.Store(true)
	fsys := vfs.Faulty(r.mem, func(op vfs.Op, name string) error {
		if full.Load() && op == vfs.OpAllocate && strings.Contains(name, "/index/") {
			return vfs.ErrNoSpace
		}
		return nil
	})
	s := r.on(fsys).open()
	for i := range 3 {
		m := message("Topic", 0, fmt.Sprint(i))
		m.Properties = fmt.Sprintf("UNIQ_KEY\x01U%d\x02KEYS\x01k\x02", i)
		put(t, s, m)
	}
	if got := query(t, s, "Topic", "k", "", 5, 0, math.MaxInt64); got != "" {
		t.Errorf("%q", got)
	}
	if ok, why := s.Writable(); !ok {
		t.Error(why)
	}
	full.Store(false)
	if got := query(t, s, "Topic", "k", "", 5, 0, math.MaxInt64); got != "0 1 2" {
		t.Errorf("%q", got)
	}
	must(t, s.Close())
}

// putKeyed puts a message x with the key k.
func putKeyed(t *testing.T, s *Store) {
	t.Helper()
	m := message("Topic", 0, "x")
	m.Properties = "KEYS\x01k\x02"
	put(t, s, m)
}

func TestIndexLeavesForeignFilesAlone(t *testing.T) {
	r := newRig(t)
	must(t, r.mem.MkdirAll("/data/store/index"))
	touch(r.mem, "/data/store/index/20200101000000000", 4711) // of another configuration
	touch(r.mem, "/data/store/index/README", 3)
	touch(r.mem, "/data/store/index/20300101000000000", 0) // a crash while it was made
	s := r.open()
	putKeyed(t, s)
	if got := query(t, s, "Topic", "k", "", 5, 0, math.MaxInt64); got != "x" {
		t.Errorf("%q", got)
	}
	must(t, s.Close())
	var names []string
	infos, err := r.mem.ReadDir("/data/store/index")
	must(t, err)
	for _, i := range infos {
		names = append(names, fmt.Sprint(i.Name, ":", i.Size))
	}
	want := fmt.Sprintf("20200101000000000:4711 20300101000000001:%d README:3", indexFileSize(100, 400))
	if got := strings.Join(names, " "); got != want {
		t.Errorf("files %s, want %s", got, want)
	}
}

func TestIndexCanBeOff(t *testing.T) {
	r := newRig(t, func(o *Options) { o.MessageIndexEnable = false })
	s := r.open()
	putKeyed(t, s)
	if got := query(t, s, "Topic", "k", "", 5, 0, math.MaxInt64); got != "" {
		t.Errorf("%q", got)
	}
	must(t, s.Close())
	if _, err := r.mem.Stat("/data/store/index"); err == nil {
		t.Error("there is an index")
	}
}

func TestOffsetByTimeAgainstScan(t *testing.T) {
	r := newRig(t, sevenUnits, func(o *Options) { o.MappedFileSizeCommitLog = 4 << 10 })
	s := r.open()
	defer s.Close()
	var times []int64
	for i := range 60 {
		times = append(times, put(t, s, message("Topic", 0, strings.Repeat("x", 100))).StoreTimestamp)
		if i%4 != 0 {
			r.clock.advance(time.Duration(i%3) * time.Second)
		}
	}
	check := func(from int) {
		t.Helper()
		for at := times[0] - 3000; at <= times[59]+3000; at += 500 {
			lower, upper := int64(60), int64(from)
			for i := 59; i >= from; i-- {
				if times[i] >= at {
					lower = int64(i)
				}
			}
			for i := from; i < 60; i++ {
				if times[i] <= at {
					upper = int64(i)
				}
			}
			if got := s.OffsetByTime("Topic", 0, at, false); got != lower {
				t.Fatalf("from %d, at %d: lower %d, want %d", from, at, got, lower)
			}
			if got := s.OffsetByTime("Topic", 0, at, true); got != upper {
				t.Fatalf("from %d, at %d: upper %d, want %d", from, at, got, upper)
			}
		}
		for i := from; i < 60; i++ {
			if got := s.StoreTime("Topic", 0, int64(i)); got != times[i] {
				t.Fatalf("time of %d is %d, want %d", i, got, times[i])
			}
		}
	}
	check(0)
	must(t, s.flushQueues(true))
	must(t, s.flushQueues(true))
	check(0)
	must(t, s.commit.files.removeFirst())
	must(t, s.cleanQueues(s.commit.begin()))
	check(int(s.MinOffset("Topic", 0)))
	for _, c := range []struct{ topic, want string }{{"None", "0 0 -1"}, {"Topic", "60 59 -1"}} {
		got := fmt.Sprint(s.OffsetByTime(c.topic, 0, math.MaxInt64, false), s.OffsetByTime(c.topic, 0, math.MaxInt64, true), s.StoreTime(c.topic, 0, 99))
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.topic, got, c.want)
		}
	}
}
