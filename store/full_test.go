package store

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"apogee/store/vfs"
)

// onDisk fails operations on some files for as long as it is told to.
type onDisk struct {
	err  atomic.Pointer[error]
	only func(op vfs.Op, name string) bool
}

func (d *onDisk) check(op vfs.Op, name string) error {
	if err := d.err.Load(); err != nil && d.only(op, name) {
		return *err
	}
	return nil
}

func (d *onDisk) set(err error) {
	if err == nil {
		d.err.Store(nil)
		return
	}
	d.err.Store(&err)
}

// TestLogWithoutSpace: a disk that has no room for a write of the log, although its blocks were allocated, is waited for. What was staged
// keeps its place.
func TestLogWithoutSpace(t *testing.T) {
	for _, mode := range []FlushDiskType{AsyncFlush, SyncFlush} {
		for _, short := range []int{0, 100} {
			disk := &onDisk{only: func(op vfs.Op, name string) bool { return op == vfs.OpWrite && strings.Contains(name, "commitlog/") }}
			r := newRig(t, func(o *Options) { o.FlushDiskType, o.FlushIntervalCommitLogMs = mode, 1 })
			s := r.on(vfs.Faulty(r.mem, disk.check)).open()
			put(t, s, message("T", 0, "before"))
			disk.set(&vfs.Short{N: short, Err: vfs.ErrNoSpace})
			res := s.PutWait(message("T", 0, "refused"))
			if res.Status != UnknownError {
				t.Fatalf("%s: %+v", mode, res)
			}
			res = s.PutWait(message("T", 0, "refused at once"))
			if res.Status != ServiceNotAvailable || !strings.Contains(res.Err.Error(), "no space left") {
				t.Fatalf("%s: %+v", mode, res)
			}
			disk.set(nil)
			eventually(t, func() bool { ok, _ := s.Writable(); return ok })
			put(t, s, message("T", 0, "after"))
			eventually(t, func() bool { return s.MaxOffset("T", 0) == 3 })
			all := walkLog(t, s)
			checkQueues(t, all)
			checkReads(t, s, all)
			must(t, s.Close())
		}
	}
}

// TestStopWithoutSpace: what could not be written when the store stops was never acknowledged.
func TestStopWithoutSpace(t *testing.T) {
	disk := &onDisk{only: func(op vfs.Op, name string) bool { return op == vfs.OpWrite && strings.Contains(name, "commitlog/") }}
	r := newRig(t)
	s := r.on(vfs.Faulty(r.mem, disk.check)).open()
	put(t, s, message("T", 0, "before"))
	disk.set(vfs.ErrNoSpace)
	if res := s.PutWait(message("T", 0, strings.Repeat("x", 1<<14-200))); res.Status == PutOK { // it begins a file
		t.Fatalf("%+v", res)
	}
	if err := s.Close(); !errors.Is(err, vfs.ErrNoSpace) {
		t.Fatal(err)
	}
	s = r.open()
	if all := walkLog(t, s); len(all) != 1 {
		t.Fatalf("%d messages", len(all))
	}
	must(t, s.Close())
}

// TestLeftFilesAreMadeAnew: a file that was made, and could not be taken away when what followed failed, is in nobody's way later.
func TestLeftFilesAreMadeAnew(t *testing.T) {
	for _, where := range []string{"commitlog/", "consumequeue/"} {
		disk := &onDisk{only: func(op vfs.Op, name string) bool {
			return strings.Contains(name, where) && (op == vfs.OpTruncate || op == vfs.OpRemove)
		}}
		r := newRig(t, func(o *Options) { o.FlushIntervalConsumeQueueMs = 1 })
		s := r.on(vfs.Faulty(r.mem, disk.check)).open()
		disk.set(errors.New("boom"))
		if where == "commitlog/" {
			for s.PutWait(message("T", 0, strings.Repeat("x", 2000))).Status == PutOK {
			}
		} else {
			put(t, s, message("T", 0, "x"))
			eventually(t, func() bool { ok, _ := s.Writable(); return !ok })
		}
		disk.set(nil)
		eventually(t, func() bool {
			r.clock.advance(allocRetry)
			return s.PutWait(message("T", 0, "y")).Status == PutOK
		})
		must(t, s.Close())
	}
}

// TestReplicaWithoutSpace: a replica whose disk has no room for a write of its log goes on where it was once there is room.
func TestReplicaWithoutSpace(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		m := newRig(t).open()
		drive(m, &load{rnd: rnd}, 0, 80, &acks{done: map[string]bool{}})
		must(t, m.Sync())
		disk := &onDisk{only: func(op vfs.Op, name string) bool { return op == vfs.OpWrite && strings.Contains(name, "commitlog/") }}
		slave := replicaOf(t)
		s := slave.on(vfs.Faulty(slave.mem, disk.check)).open()
		_, end := m.Bounds()
		refused := 0
		for at := int64(0); at < end; {
			disk.set(nil)
			if rnd.IntN(3) == 0 {
				disk.set(&vfs.Short{N: rnd.IntN(300), Err: vfs.ErrNoSpace})
			}
			piece, err := m.ReadLog(at, 1+rnd.Int64N(5000))
			must(t, err)
			now, err := s.AppendLog(at, piece.Bytes)
			if at += int64(len(piece.Bytes)); err != nil {
				if !errors.Is(err, vfs.ErrNoSpace) {
					t.Fatalf("seed %d: %v", seed, err)
				}
				refused++
				at = now // as a new connection does
			}
			piece.Release()
		}
		disk.set(nil)
		if refused == 0 || !bytes.Equal(logBytes(t, m, 0), logBytes(t, s, 0)) {
			t.Fatalf("seed %d: %d refusals, and the logs differ", seed, refused)
		}
		must(t, s.Close())
		s = slave.open()
		if !bytes.Equal(logBytes(t, m, 0), logBytes(t, s, 0)) {
			t.Fatalf("seed %d: the logs differ after a restart", seed)
		}
		must(t, s.Close())
		must(t, m.Close())
	}
}

// TestCutWithoutSpace cuts a replica's log on a disk that is full after so many writes: until there is room nothing has changed, and
// then it is cut. What its queues keep survives a power cut.
func TestCutWithoutSpace(t *testing.T) {
	base := newRig(t)
	m := base.open()
	var at int64
	for i := range 21 {
		at = put(t, m, message("T", int32(i%3), strings.Repeat("x", 20*i))).NextOffset
	}
	must(t, m.Close())
	other := base.on(base.mem.KillClone()).open()
	for i := range 30 {
		put(t, other, message("T", int32(i%3), strings.Repeat("o", 30*i)))
	}
	lost := logBytes(t, other, 0)
	must(t, other.Close())
	m = base.open()
	for i := range 30 {
		put(t, m, message("T", 0, strings.Repeat("m", 25*i)))
	}
	whole := logBytes(t, m, 0)
	defer m.Close()
	check := func(s *Store) {
		t.Helper()
		for id := range int32(3) {
			eventually(t, func() bool { return s.MaxOffset("T", id) == m.MaxOffset("T", id) })
		}
		all := walkLog(t, s)
		checkQueues(t, all)
		checkReads(t, s, all)
		if !bytes.Equal(whole, logBytes(t, s, 0)) {
			t.Fatal("the logs differ")
		}
	}
	refused := 0
	for room := int64(0); refused == int(room); room++ {
		slave := replicaOf(t, func(o *Options) { o.FlushIntervalConsumeQueueMs = math.MaxInt32 })
		var left atomic.Int64
		left.Store(math.MaxInt32)
		s := slave.on(vfs.Faulty(slave.mem, func(op vfs.Op, _ string) error {
			switch op {
			case vfs.OpWrite, vfs.OpCreate, vfs.OpAllocate, vfs.OpTruncate, vfs.OpMkdir:
				if left.Add(-1) < 0 {
					return vfs.ErrNoSpace
				}
			}
			return nil
		})).open()
		_, err := s.AppendLog(0, lost)
		must(t, err)
		eventually(t, func() bool { return s.MaxOffset("T", 2) == 17 })
		left.Store(room)
		if err := s.CutLog(at); err != nil {
			refused++
			if !errors.Is(err, vfs.ErrNoSpace) || s.failure.Load() != nil {
				t.Fatalf("room for %d writes: %v", room, err)
			}
			if !bytes.Equal(lost, logBytes(t, s, 0)) || s.MaxOffset("T", 2) != 17 {
				t.Fatalf("room for %d writes: something has changed", room)
			}
			left.Store(math.MaxInt32)
			must(t, s.CutLog(at))
		}
		left.Store(math.MaxInt32)
		eventually(t, func() bool {
			slave.clock.advance(allocRetry)
			_, end := s.Bounds()
			_, err := s.AppendLog(end, whole[end:])
			return err == nil
		})
		check(s)
		must(t, s.Sync())
		must(t, s.flushQueues(true))
		must(t, s.checkpoint.write())
		after := slave.on(slave.mem.CrashClone(uint64(room)))
		must(t, s.Close())
		s = after.open()
		check(s)
		must(t, s.Close())
	}
	if refused == 0 {
		t.Error("the disk was never too full")
	}
}
