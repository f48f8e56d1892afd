package store

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"apogee/internal/testkit"
	"apogee/store/record"
	"apogee/store/vfs"
)

func TestPutStoresTheMessage(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*record.Message)
		props  string
		magic  uint32
	}{
		{"plain", func(m *record.Message) { m.Properties = "a\x01b\x02" }, "a\x01b\x02", record.MagicV1},
		{"IPv6 hosts", func(m *record.Message) { m.BornHost, m.StoreHost = hostV6, hostV6 }, "", record.MagicV1},
		{"long retry topic", func(m *record.Message) { m.Topic = "%RETRY%" + strings.Repeat("g", 200) }, "", record.MagicV2},
		{"empty body", func(m *record.Message) { m.Body = nil }, "", record.MagicV1},
		{"WAIT stays, as in Java 5.5.0", func(m *record.Message) { m.Properties = "WAIT\x01true\x02a\x01b\x02" }, "WAIT\x01true\x02a\x01b\x02", record.MagicV1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			s := r.open()
			defer s.Close()
			m := message("Topic", 3, "the body")
			m.Flag, m.ReconsumeTimes, m.PreparedTransactionOffset = 7, 2, 99
			c.change(m)
			before := m.Properties
			put(t, s, message(m.Topic, 3, "first"))
			res := put(t, s, m)
			if res.QueueOffset != 1 || res.Count != 1 || res.Pending || res.StoreTimestamp != r.clock.ms.Load() {
				t.Fatalf("result %+v", res)
			}
			if m.Properties != before {
				t.Fatalf("the caller's properties are now %q", m.Properties)
			}
			got := recordAt(t, s, res.PhysicalOffset)
			if got.Topic != m.Topic || string(got.Body) != string(m.Body) || got.Properties != c.props || got.Magic != c.magic ||
				got.QueueID != 3 || got.Flag != 7 || got.ReconsumeTimes != 2 || got.PreparedTransactionOffset != 99 || got.QueueOffset != 1 ||
				got.PhysicalOffset != res.PhysicalOffset || got.StoreTimestamp != res.StoreTimestamp || got.BornHost != m.BornHost {
				t.Fatalf("stored %+v", got)
			}
			if res.NextOffset != res.PhysicalOffset+int64(got.StoreSize) || res.NextOffset != s.commit.end() || m.StoreSize != got.StoreSize {
				t.Fatalf("sizes: %+v, record %d, end %d", res, got.StoreSize, s.commit.end())
			}
		})
	}
}

func TestPutRefuses(t *testing.T) {
	small := func(o *Options) { o.MaxMessageSize = 1000; o.MappedFileSizeCommitLog = 1 << 20 }
	for _, c := range []struct {
		name   string
		change func(*record.Message)
		want   PutStatus
	}{
		{"body at the limit", func(m *record.Message) { m.Body = make([]byte, 1000) }, PutOK},
		{"body over the limit", func(m *record.Message) { m.Body = make([]byte, 1001) }, MessageIllegal},
		{"properties at the limit", func(m *record.Message) { m.Properties = strings.Repeat("p", 32767) }, PutOK},
		{"properties over the limit", func(m *record.Message) { m.Properties = strings.Repeat("p", 32768) }, PropertiesSizeExceeded},
		{"no topic", func(m *record.Message) { m.Topic = "" }, MessageIllegal},
		{"topic of 127 bytes", func(m *record.Message) { m.Topic = strings.Repeat("t", 127) }, PutOK},
		{"topic of 128 bytes", func(m *record.Message) { m.Topic = strings.Repeat("t", 128) }, MessageIllegal},
		{"retry topic of 255 bytes", func(m *record.Message) { m.Topic = "%RETRY%" + strings.Repeat("t", 248) }, PutOK},
		{"retry topic of 256 bytes", func(m *record.Message) { m.Topic = "%RETRY%" + strings.Repeat("t", 249) }, MessageIllegal},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newRig(t, small).open()
			defer s.Close()
			m := message("Topic", 0, "x")
			c.change(m)
			res := s.PutWait(m)
			if res.Status != c.want || (res.Err != nil) != (c.want != PutOK) {
				t.Fatalf("%+v", res)
			}
			if st := s.Stats(); c.want != PutOK && (st.PutFailed != 1 || st.MaxPhysical != 0) {
				t.Fatalf("%+v", st)
			}
		})
	}
}

func TestPutRefusesWhatFitsIntoNoFile(t *testing.T) {
	s := newRig(t).open() // 16 KiB files
	defer s.Close()
	m := message("Topic", 0, "")
	m.Body = make([]byte, 16<<10-record.MinSize-record.BlankSize-len("Topic"))
	put(t, s, m)
	m.Body = make([]byte, len(m.Body)+1)
	if res := s.PutWait(m); res.Status != MessageIllegal {
		t.Fatalf("%+v", res)
	}
}

func TestPutNeedsARunningMaster(t *testing.T) {
	r := newRig(t)
	s, err := Open(r.opts)
	must(t, err)
	if res := s.PutWait(message("T", 0, "x")); res.Status != ServiceNotAvailable {
		t.Fatalf("before the start: %+v", res)
	}
	must(t, s.Start())
	put(t, s, message("T", 0, "x"))
	must(t, s.Close())
	if res := s.PutWait(message("T", 0, "x")); res.Status != ServiceNotAvailable {
		t.Fatalf("after the close: %+v", res)
	}
	must(t, s.Close())
	r.opts.BrokerRole = Slave
	s = r.open()
	defer s.Close()
	if res := s.PutWait(message("T", 0, "x")); res.Status != ServiceNotAvailable || !strings.Contains(res.Err.Error(), "SLAVE") {
		t.Fatalf("on a slave: %+v", res)
	}
}

func TestTransactionTypesAndQueueOffsets(t *testing.T) {
	s := newRig(t).open()
	defer s.Close()
	var got []int64
	for _, sys := range []int32{0, record.SysTranPrepared, record.SysTranCommit, record.SysTranRollback, 0} {
		m := message("T", 0, "x")
		m.SysFlag = sys
		got = append(got, put(t, s, m).QueueOffset)
	}
	for i, want := range []int64{0, 0, 1, 0, 2} {
		if got[i] != want {
			t.Fatalf("queue offsets %v", got)
		}
	}
}

// TestFileEnds puts records so that every distance to the end of a file up to 60 bytes occurs.
func TestFileEnds(t *testing.T) {
	const size = 4096
	for gap := range 60 {
		r := newRig(t, func(o *Options) { o.MappedFileSizeCommitLog = size })
		s := r.open()
		m := message("T", 0, "")
		m.Body = make([]byte, size-record.MinSize-len(m.Topic)-gap)
		first := s.PutWait(m)
		if gap < record.BlankSize {
			if first.Status != MessageIllegal {
				t.Fatalf("gap %d: no room for the mark, but %+v", gap, first)
			}
			must(t, s.Close())
			continue
		}
		second := put(t, s, message("T", 0, "x"))
		if second.PhysicalOffset != size || second.QueueOffset != 1 {
			t.Fatalf("gap %d: second record at %d", gap, second.PhysicalOffset)
		}
		data, err := vfs.ReadFile(r.mem, "/data/store/commitlog/"+fileName(0))
		must(t, err)
		mark := data[size-gap:]
		if rest, magic := binary.BigEndian.Uint32(mark), binary.BigEndian.Uint32(mark[4:]); rest != uint32(gap) || magic != record.MagicBlank {
			t.Fatalf("gap %d: mark %d %x", gap, rest, magic)
		}
		must(t, s.Close())
	}
}

func TestPutBatch(t *testing.T) {
	for _, crc := range []bool{false, true} {
		r := newRig(t, func(o *Options) { o.AppendPropCRC = crc })
		s := r.open()
		put(t, s, message("T", 1, strings.Repeat("x", 15000)))
		env := message("T", 1, "")
		env.SysFlag, env.PreparedTransactionOffset = 5<<8, 77
		items := []BatchItem{{Body: []byte("one"), Flag: 1, Properties: "a\x01b\x02"}, {Body: make([]byte, 2000)}, {Body: []byte("three"), Flag: 3}}
		res := s.PutBatch(env, items, nil)
		if res.Status != PutOK || res.Count != 3 || res.QueueOffset != 1 || res.PhysicalOffset != 16<<10 {
			t.Fatalf("%+v", res) // did not fit into the first file, so all of it is in the second
		}
		next := res.PhysicalOffset
		for i, it := range items {
			if it.PhysicalOffset != next {
				t.Fatalf("item %d at %d, want %d", i, it.PhysicalOffset, next)
			}
			got := recordAt(t, s, next)
			if string(got.Body) != string(it.Body) || got.Flag != it.Flag || got.QueueOffset != int64(1+i) || got.PreparedTransactionOffset != 0 ||
				!strings.HasPrefix(got.Properties, it.Properties) {
				t.Fatalf("item %d: %+v", i, got)
			}
			next += int64(got.StoreSize)
		}
		if res.NextOffset != next {
			t.Fatalf("next %d, want %d", res.NextOffset, next)
		}
		if res := s.PutBatch(env, nil, nil); res.Status != MessageIllegal {
			t.Fatalf("empty batch: %+v", res)
		}
		must(t, s.Close())
	}
	s := newRig(t, func(o *Options) { o.MaxMessageSize = 1000 }).open()
	defer s.Close()
	if res := s.PutBatch(message("T", 0, ""), []BatchItem{{Body: make([]byte, 600)}, {Body: make([]byte, 600)}}, nil); res.Status != MessageIllegal {
		t.Fatalf("batch over maxMessageSize: %+v", res)
	}
	if res := put(t, s, message("T", 0, "x")); res.QueueOffset != 0 || res.PhysicalOffset != 0 {
		t.Fatalf("a refused batch left traces: %+v", res)
	}
}

func TestPropertyCRC(t *testing.T) {
	s := newRig(t, func(o *Options) { o.AppendPropCRC = true }).open()
	defer s.Close()
	m := message("T", 0, "body")
	m.Properties = "__CRC32#\x010000000000\x02a\x01b"
	res := put(t, s, m)
	b, f, err := s.commit.hold(res.PhysicalOffset, res.NextOffset-res.PhysicalOffset)
	must(t, err)
	defer f.release()
	var h record.Header
	must(t, record.Parse(b, &h))
	must(t, h.CheckPropCRC(b, true))
	if p := string(h.Properties); !strings.HasPrefix(p, "a\x01b\x02__CRC32#") || strings.Count(p, "__CRC32#") != 1 {
		t.Fatalf("properties %q", p)
	}
}

// TestFullDisk fills the disk, which must be an error of the roll-over and no more than that.
func TestFullDisk(t *testing.T) {
	r := newRig(t)
	r.mem.SetCapacity(3 * 16 << 10)
	s := r.open()
	defer s.Close()
	var last PutResult
	n := 0
	for ; n < 1000; n++ {
		if last = s.PutWait(message("T", 0, strings.Repeat("x", 1000))); last.Status != PutOK {
			break
		}
	}
	if last.Status != CreateMappedFileFailed || !errors.Is(last.Err, vfs.ErrNoSpace) {
		t.Fatalf("put %d: %+v", n, last)
	}
	if u := r.mem.WroteUnallocated(); len(u) != 0 {
		t.Fatalf("written without blocks: %v", u)
	}
	r.mem.SetCapacity(0)
	if res := s.PutWait(message("T", 0, "x")); res.Status != CreateMappedFileFailed {
		t.Fatalf("tried again at once: %+v", res)
	}
	r.clock.advance(2 * time.Second)
	if res := put(t, s, message("T", 0, "x")); res.QueueOffset != int64(n) {
		t.Fatalf("after there is room: %+v", res)
	}
}

// A log whose last file has no blocks behind its end, as Java's have not, opens on a full disk, and takes messages once there is room.
func TestFullDiskAtTheStart(t *testing.T) {
	r, _ := killed(newRig(t), "one")
	for _, info := range must2(r.mem.ReadDir(logDir))[1:] {
		must(t, r.mem.Remove(logDir+info.Name))
	}
	f, err := r.mem.Open(logDir + fileName(0))
	must(t, err)
	must(t, f.Zero(vfs.PageSize, 3*vfs.PageSize))
	u, err := r.mem.DiskUsage("/")
	must(t, err)
	r.mem.SetCapacity(u.Used + vfs.PageSize) // for the small files
	s := r.open()
	defer s.Close()
	big := message("T", 0, strings.Repeat("x", 5000))
	res := s.PutWait(big)
	if res.Status != CreateMappedFileFailed || !errors.Is(res.Err, vfs.ErrNoSpace) {
		t.Fatalf("%+v", res)
	}
	if got := bodies(walkLog(t, s)); got != "one" {
		t.Fatalf("the log has %q", got)
	}
	r.mem.SetCapacity(0)
	r.clock.advance(2 * time.Second)
	put(t, s, big)
	if u := r.mem.WroteUnallocated(); len(u) != 0 {
		t.Fatalf("written without blocks: %v", u)
	}
}

func TestPageCacheBusy(t *testing.T) {
	r := newRig(t)
	enter, leave := make(chan struct{}), make(chan struct{})
	s := r.on(vfs.Faulty(r.mem, func(op vfs.Op, name string) error {
		if op == vfs.OpCreate && strings.Contains(name, "commitlog") {
			enter <- struct{}{}
			<-leave
		}
		return nil
	})).open()
	defer s.Close()
	slow := make(chan PutResult)
	<-enter // the first file is being made, ahead of its need
	go func() { slow <- s.PutWait(message("T", 0, "slow")) }()
	eventually(t, func() bool { return s.commit.lock.since.Load() != 0 }) // until the put holds the lock
	if s.PageCacheBusy() {
		t.Fatal("busy at once")
	}
	r.clock.advance(1001 * time.Millisecond)
	if res := s.PutWait(message("T", 0, "x")); res.Status != OSPageCacheBusy {
		t.Fatalf("%+v", res)
	}
	if ms := s.AppendLockHeldMs(); ms != 1001 {
		t.Fatalf("held for %d ms", ms)
	}
	close(leave)
	go func() { // later files
		for range enter {
		}
	}()
	defer close(enter)
	if res := <-slow; res.Status != PutOK {
		t.Fatalf("%+v", res)
	}
	put(t, s, message("T", 0, "x"))
}

func TestPutDoesNotAllocate(t *testing.T) {
	testkit.CountsAllocations(t)
	s := benchStore(t, func(o *Options) { o.MappedFileSizeCommitLog = 64 << 20 })
	m := benchMessage(1024)
	if n := testing.AllocsPerRun(2000, func() {
		if r := s.Put(m, nil); r.Status != PutOK {
			t.Fatal(r.Err)
		}
	}); n != 0 {
		t.Errorf("Put allocates %v times", n)
	}
	items := make([]BatchItem, 8)
	for i := range items {
		items[i] = BatchItem{Body: m.Body, Properties: m.Properties}
	}
	if n := testing.AllocsPerRun(500, func() {
		if r := s.PutBatch(m, items, nil); r.Status != PutOK {
			t.Fatal(r.Err)
		}
	}); n != 0 {
		t.Errorf("PutBatch allocates %v times", n)
	}
}
