package store

import (
	"encoding/binary"
	"strings"
	"testing"

	"apogee/store/vfs"
)

func TestCheckpointRoundTrip(t *testing.T) {
	m := newMem(t)
	c, err := openCheckpoint(m, "/q/checkpoint")
	must(t, err)
	for i, f := range c.fields() {
		f.Store(int64(100 + i))
	}
	must(t, c.write())
	data, err := vfs.ReadFile(m, "/q/checkpoint")
	must(t, err)
	if len(data) != 4096 {
		t.Fatalf("%d bytes", len(data))
	}
	for i := range 6 {
		if got := binary.BigEndian.Uint64(data[i*8:]); got != uint64(100+i) {
			t.Fatalf("field %d is %d", i, got)
		}
	}
	c.logicsPhysicalOffset.Store(7)
	must(t, c.write())
	for seed := range uint64(10) {
		again, err := openCheckpoint(m.CrashClone(seed), "/q/checkpoint")
		if err != nil || again.logicsPhysicalOffset.Load() != 7 || again.physicMsgTimestamp.Load() != 100 {
			t.Fatalf("seed %d: %d, %v", seed, again.logicsPhysicalOffset.Load(), err)
		}
	}
}

func TestCheckpointIsWrittenOnlyWhenItChanged(t *testing.T) {
	m := newMem(t)
	writes := 0
	fsys := vfs.Faulty(m, func(op vfs.Op, _ string) error {
		if op == vfs.OpWrite {
			writes++
		}
		return nil
	})
	c, err := openCheckpoint(fsys, "/q/checkpoint")
	must(t, err)
	for range 3 {
		must(t, c.write())
	}
	c.masterFlushedOffset.Store(1)
	must(t, c.write())
	if writes != 2 {
		t.Fatalf("%d writes", writes)
	}
}

// A checkpoint may be missing, cut short, of five numbers, or empty (spec: store.md 6.1, 24.1).
func TestCheckpointOfOtherBrokers(t *testing.T) {
	full := make([]byte, 4096)
	for i := range 6 {
		binary.BigEndian.PutUint64(full[i*8:], uint64(10*(i+1)))
	}
	negative := append([]byte(nil), full...)
	negative[0] = 0x80
	for _, c := range []struct {
		name           string
		data           []byte
		physic, logics int64
	}{
		{"5.5", full, 10, 60},
		{"five numbers", append(append([]byte(nil), full[:40]...), make([]byte, 4056)...), 10, 0},
		{"short", full[:44], 10, 0},
		{"empty", nil, 0, 0},
		{"zeros", make([]byte, 4096), 0, 0},
		{"negative", negative, 0, 60},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMem(t)
			f, err := m.Create("/q/checkpoint")
			must(t, err)
			_, err = f.WriteAt(c.data, 0)
			must(t, err)
			cp, err := openCheckpoint(m, "/q/checkpoint")
			must(t, err)
			if p, l := cp.physicMsgTimestamp.Load(), cp.logicsPhysicalOffset.Load(); p != c.physic || l != c.logics {
				t.Fatalf("physic %d, logics %d", p, l)
			}
			cp.confirmPhyOffset.Store(5)
			must(t, cp.write())
			if st, err := m.Stat("/q/checkpoint"); err != nil || st.Size != 4096 {
				t.Fatalf("size after a write: %d, %v", st.Size, err)
			}
		})
	}
}

func FuzzCheckpoint(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, 4096))
	f.Add([]byte("\x00\x00\x01\xa2\x04\x20\x75\x15\x00\x00\x01\xa2\x04\x1f\xed\x4e"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var c checkpoint
		c.decode(data)
		for i, field := range c.fields() {
			if field.Load() < 0 {
				t.Fatalf("field %d is negative", i)
			}
		}
		if c.minTimestamp() < 0 || c.minTimestampIndex() < 0 {
			t.Fatal("negative timestamps")
		}
	})
}

// TestCheckpointFollowsTheLog: it moves for so much log, more where there are many queues, whatever the time.
func TestCheckpointFollowsTheLog(t *testing.T) {
	r := newRig(t, func(o *Options) {
		o.FlushIntervalConsumeQueueMs, o.FlushConsumeQueueThoroughMs = 1, 1<<40
		o.FlushIntervalCommitLogMs = 1
	})
	s, err := Open(r.opts)
	must(t, err)
	s.dispatch.saver.each = 8 << 10
	must(t, s.Start())
	defer s.Close()
	put(t, s, message("T", 0, strings.Repeat("x", 3<<10)))
	must(t, s.flushQueues(false))
	if got := s.checkpoint.logicsPhysicalOffset.Load(); got != 0 {
		t.Fatalf("the checkpoint is at %d after little", got)
	}
	put(t, s, message("T", 0, strings.Repeat("x", 3<<10)))
	last := put(t, s, message("T", 0, strings.Repeat("x", 3<<10)))
	eventually(t, func() bool {
		put(t, s, message("T", 0, "x")) // the checkpoint moves at a later pass than the sync
		return s.checkpoint.logicsPhysicalOffset.Load() >= last.PhysicalOffset
	})
}

func TestManyQueuesAreWorthMoreLog(t *testing.T) {
	v, d := saver{each: 100}, &dispatcher{}
	d.pos.Store(noMark) // it has nothing to dispatch
	for _, c := range []struct {
		written, waiting int
		want             int64
	}{
		{0, 0, 100},
		{syncTogether - 1, 0, 100},
		{syncTogether, 0, 200},
		{10 * syncTogether, syncTogether, 1100},
		{0, syncTogether, 200},
		{syncTogether, 10 * syncTogether, 1100},
	} {
		v.unsynced, d.unsaved = make([]*queue, c.written), make([]unsaved, c.waiting)
		if got := v.worth(d); got != c.want {
			t.Errorf("%d written, %d waiting: %d, want %d", c.written, c.waiting, got, c.want)
		}
	}
}
