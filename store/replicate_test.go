package store

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"apogee/store/record"
)

// replicaOf is the rig of a replica with the same kind of files.
func replicaOf(t testing.TB, change ...func(*Options)) *rig {
	return newRig(t, append(change, func(o *Options) { o.BrokerRole = Slave })...)
}

// logBytes is the log from off to its end.
func logBytes(t testing.TB, s *Store, off int64) []byte {
	t.Helper()
	_, end := s.Bounds()
	b := make([]byte, end-off)
	must(t, s.CopyLog(off, b))
	return b
}

// copyAll copies what the replica lacks, in pieces of random sizes that now and then are given up in their middle.
func copyAll(t testing.TB, rnd *rand.Rand, from, to *Store, start int64) {
	t.Helper()
	_, end := from.Bounds()
	at := start
	if _, have := to.Bounds(); have > 0 {
		at = have
	}
	for at < end {
		piece, err := from.ReadLog(at, 1+rnd.Int64N(5000))
		must(t, err)
		now, err := to.AppendLog(at, piece.Bytes)
		must(t, err)
		if at += int64(len(piece.Bytes)); now > at {
			t.Fatalf("the log ends at %d, %d has come", now, at)
		}
		piece.Release()
		if rnd.IntN(10) == 0 {
			at = now
			if at == 0 {
				at = start
			}
		}
	}
}

func TestReplicaHasTheSameLog(t *testing.T) {
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		master := newRig(t)
		m := master.open()
		slave := replicaOf(t, func(o *Options) {
			if seed%2 == 0 {
				o.FlushDiskType = SyncFlush
			}
		})
		s := slave.open()
		l, a := &load{rnd: rnd}, &acks{done: map[string]bool{}}
		for life := range 4 {
			drive(m, l, life, 20+rnd.IntN(30), a)
			must(t, m.Sync())
			copyAll(t, rnd, m, s, 0)
			switch rnd.IntN(4) {
			case 0:
				must(t, s.Close())
				s = slave.open()
			case 1:
				next := slave.on(slave.mem.KillClone())
				abandon(s)
				slave, s = next, next.open()
			case 2:
				next := slave.on(slave.mem.CrashClone(rnd.Uint64()))
				abandon(s)
				slave, s = next, next.open()
				if _, end := s.Bounds(); end == 0 {
					continue // nothing was on disk: the next copy begins at 0 again
				}
			}
		}
		copyAll(t, rnd, m, s, 0)
		if !bytes.Equal(logBytes(t, m, 0), logBytes(t, s, 0)) {
			t.Fatalf("seed %d: the logs differ", seed)
		}
		must(t, s.Sync())
		eventually(t, func() bool { return s.Stats().DispatchBehind == 0 })
		all := walkLog(t, s)
		if !slices.Equal(all, walkLog(t, m)) {
			t.Fatalf("seed %d: the records differ", seed)
		}
		checkReads(t, s, all)
		if res := s.PutWait(message("T", 0, "x")); res.Status != ServiceNotAvailable {
			t.Fatalf("a replica takes messages: %+v", res)
		}
		must(t, s.Close())
		must(t, m.Close())
		// What was a replica goes on as a master.
		slave.opts.BrokerRole = AsyncMaster
		s = slave.open()
		put(t, s, message("T0", 0, "x"))
		checkQueues(t, walkLog(t, s))
		must(t, s.Close())
	}
}

func TestReplicaBeginsInsideOfTheMastersLog(t *testing.T) {
	m := newRig(t).open()
	defer m.Close()
	l := &load{rnd: rand.New(rand.NewPCG(1, 2))}
	drive(m, l, 0, 60, &acks{done: map[string]bool{}})
	must(t, m.Sync())
	_, end := m.Bounds()
	start := end - end%m.LogFileSize()
	if start < 2*m.LogFileSize() {
		t.Fatal("the log is too short for this test")
	}
	r := replicaOf(t)
	s := r.open()
	if _, err := s.AppendLog(start+1, []byte{1}); !errors.Is(err, ErrForeignLog) {
		t.Fatalf("inside of a file: %v", err)
	}
	copyAll(t, l.rnd, m, s, start)
	if begin, got := s.Bounds(); begin != start || got != end {
		t.Fatalf("the log is from %d to %d, want %d to %d", begin, got, start, end)
	}
	must(t, s.Close())
	s = r.open()
	defer s.Close()
	if !bytes.Equal(logBytes(t, m, start), logBytes(t, s, start)) {
		t.Fatal("the logs differ")
	}
}

func TestForeignBytesAreNoLog(t *testing.T) {
	m := newRig(t).open()
	defer m.Close()
	first := put(t, m, message("T", 0, "first"))
	second := put(t, m, message("T", 0, "second"))
	good := logBytes(t, m, 0)
	at := int(first.NextOffset)
	for name, change := range map[string]func(b []byte){
		"no record":        func(b []byte) { b[at+4]++ },
		"another place":    func(b []byte) { b[at+35]++ },
		"too small":        func(b []byte) { copy(b[at:], []byte{0, 0, 0, record.MinSize - 1}) },
		"too large":        func(b []byte) { copy(b[at:], []byte{0, 0, 64, 0}) },
		"negative":         func(b []byte) { b[at] = 0x80 },
		"a mark elsewhere": func(b []byte) { record.PutBlank(b[at:], 100) },
	} {
		for _, piece := range []int{1, 7, 4096} {
			s := replicaOf(t).open()
			bad := bytes.Clone(good)
			change(bad)
			var err error
			for off := 0; off < len(bad) && err == nil; off += piece {
				_, err = s.AppendLog(int64(off), bad[off:min(off+piece, len(bad))])
			}
			_, end := s.Bounds()
			if !errors.Is(err, ErrForeignLog) || end != first.NextOffset {
				t.Fatalf("%s, %d at a time: %v, the log ends at %d", name, piece, err, end)
			}
			for _, off := range []int64{0, end - 1, end + 1} {
				if _, err := s.AppendLog(off, good); !errors.Is(err, ErrForeignLog) {
					t.Fatalf("at %d: %v", off, err)
				}
			}
			if end, err := s.AppendLog(end, good[end:]); err != nil || end != second.NextOffset {
				t.Fatalf("the right bytes after the wrong ones: %d, %v", end, err)
			}
			must(t, s.Close())
		}
	}
	if _, err := m.AppendLog(second.NextOffset, good); err == nil {
		t.Fatal("a master takes another's log")
	}
}

func TestFollowersHearOfGrowth(t *testing.T) {
	s := newRig(t, func(o *Options) { o.FlushDiskType = SyncFlush }).open()
	defer s.Close()
	a, b := make(chan struct{}, 1), make(chan struct{}, 1)
	stopA, stopB := s.Follow(a), s.Follow(b)
	put(t, s, message("T", 0, "x"))
	<-a
	<-b
	stopA()
	eventually(t, func() bool { return s.Flushed() == s.Stats().MaxPhysical })
	select {
	case <-a:
	default:
	}
	put(t, s, message("T", 0, "x"))
	<-b
	if len(a) != 0 {
		t.Fatal("whoever has stopped to follow is told")
	}
	stopB()
	put(t, s, message("T", 0, "x"))
	for _, off := range []int64{-1, 1 << 40} {
		if _, err := s.ReadLog(off, 1); !errors.Is(err, ErrNotInLog) {
			t.Fatalf("at %d: %v", off, err)
		}
	}
}

func FuzzRawTail(f *testing.F) {
	rec := make([]byte, record.MinSize)
	copy(rec, []byte{0, 0, 0, record.MinSize, 0xDA, 0xA3, 0x20, 0xA7})
	f.Add(rec, uint16(3))
	f.Add([]byte{0, 0, 0x10, 0, 0xCB, 0xD4, 0x31, 0x94}, uint16(9))
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		const size = 4096
		var whole, parts rawTail
		done, good, err := whole.scan(b, size)
		n := int(cut) % (len(b) + 1)
		d1, g1, e1 := parts.scan(b[:n], size)
		if e1 == nil {
			d2, g2, e2 := parts.scan(b[n:], size)
			if d1.end = max(d1.end, d2.end); e2 == nil || g2 > 0 {
				g1 = n + g2
			} else {
				g1 = good
			}
			e1, d1.puts, d1.bytes = e2, d1.puts+d2.puts, d1.bytes+d2.bytes
		}
		if (err == nil) != (e1 == nil) || done.end != d1.end || done.puts != d1.puts || done.bytes != d1.bytes || g1 != good {
			t.Fatalf("whole: %+v %d %v, in parts: %+v %d %v", done, good, err, d1, g1, e1)
		}
		if done.end > int64(len(b)) || good > len(b) {
			t.Fatalf("%d bytes make %d", len(b), done.end)
		}
	})
}

func TestStoreTimeAt(t *testing.T) {
	r := newRig(t)
	s := r.open()
	defer s.Close()
	var starts, ends, times []int64
	for end := int64(0); end < 2*s.LogFileSize(); {
		r.clock.advance(time.Second)
		res := s.PutWait(message("T", 0, "not a record: \xDA\xA3\x20\xA7"))
		if res.Status != PutOK {
			t.Fatal(res)
		}
		_, end = s.Bounds()
		starts, ends, times = append(starts, res.PhysicalOffset), append(ends, end), append(times, res.StoreTimestamp)
	}
	at := int64(0)
	for i, end := range ends { // the end of one is where the next begins, or the mark at the end of a file
		if got := s.StoreTimeAt(at); got != times[i] {
			t.Errorf("%d: %d, want %d", at, got, times[i])
		}
		next := int64(0)
		if i+1 < len(times) {
			next = times[i+1]
		}
		for _, off := range []int64{starts[i] + 1, starts[i] + 60, end - 1} {
			if got := s.StoreTimeAt(off); got != next {
				t.Errorf("%d, inside of a record: %d, want %d", off, got, next)
			}
		}
		at = end
	}
	if got := s.StoreTimeAt(at) + s.StoreTimeAt(at+1) + s.StoreTimeAt(-1); got != 0 {
		t.Errorf("outside of the log: %d", got)
	}
}
