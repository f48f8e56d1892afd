package ha

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"apogee/internal/clock"
	"apogee/store"
	"apogee/store/record"
	"apogee/store/vfs"
)

func same(t testing.TB, m, s *store.Store) bool {
	t.Helper()
	b1, e1 := m.Bounds()
	b2, e2 := s.Bounds()
	return b1 == b2 && e1 == e2 && bytes.Equal(logOf(t, m), logOf(t, s))
}

func TestSlaveHasTheLog(t *testing.T) {
	for _, lastFile := range []bool{false, true} {
		m := newMaster(t, vfs.NewMem(clock.Now), nil)
		m.conf.set(func(c *Config) { c.Required = 1 })
		for m.srv.end() < 3*m.st.LogFileSize()+100 {
			put(t, m.st, strings.Repeat("y", 600))
		}
		m.conf.set(func(c *Config) { c.Required = 2 })
		s := newSlave(t, vfs.NewMem(clock.Now), 1, "", nil)
		s.conf.set(func(c *Config) { c.LastFileOnly = lastFile })
		s.c.Follow(m.addr(), "test", "it is there now")
		r, o := put(t, m.st, "together")
		if st := <-o; st != store.PutOK {
			t.Fatalf("status %d", st)
		}
		begin, end := s.st.Bounds()
		want := int64(0)
		if lastFile {
			want = 3 * m.st.LogFileSize()
		}
		if begin != want || end != r.NextOffset {
			t.Fatalf("the slave's log is from %d to %d", begin, end)
		}
		if !bytes.Equal(logOf(t, m.st)[begin:], logOf(t, s.st)) {
			t.Fatal("the logs differ")
		}
		eventually(t, "dispatch", func() bool { return s.st.MaxOffset("T", 0) == m.st.MaxOffset("T", 0) })
		if c := s.c.Status(); !c.Active || c.Master != m.addr() || c.End != end {
			t.Errorf("%+v", c)
		}
		if p := m.srv.Status(); p.InSync != 1 || p.Slaves[0].ID != 1 || p.Slaves[0].Behind != 0 {
			t.Errorf("%+v", p)
		}
		s.close()
		m.close()
	}
}

func TestSlaveThatSyncsReportsWhatIsOnDisk(t *testing.T) {
	m := newMaster(t, vfs.NewMem(clock.Now), nil)
	defer m.close()
	s := newSlave(t, vfs.NewMem(clock.Now), 1, m.addr(), func(o *store.Options) { o.FlushDiskType = store.SyncFlush })
	defer s.close()
	for range 20 {
		r, o := put(t, m.st, "x")
		if st := <-o; st != store.PutOK || s.st.Flushed() < r.NextOffset {
			t.Fatalf("status %d, flushed %d of %d", st, s.st.Flushed(), r.NextOffset)
		}
	}
}

func TestEachReplicaCountsOnce(t *testing.T) {
	m := newMaster(t, vfs.NewMem(clock.Now), nil)
	defer m.close()
	m.conf.set(func(c *Config) { c.Required = 3 })
	a := newSlave(t, vfs.NewMem(clock.Now), 1, m.addr(), nil)
	defer a.close()
	b := newSlave(t, vfs.NewMem(clock.Now), 1, m.addr(), nil)
	defer b.close()
	r, o := put(t, m.st, "x")
	eventually(t, "both have it", func() bool {
		st := m.srv.Status()
		return len(st.Slaves) == 2 && st.Slaves[0].Ack == r.NextOffset && st.Slaves[1].Ack == r.NextOffset
	})
	if s, ok := o.now(); ok {
		t.Fatalf("status %d, but both say that they are replica 1", s)
	}
	c := newSlave(t, vfs.NewMem(clock.Now), 2, m.addr(), nil)
	defer c.close()
	if s := <-o; s != store.PutOK {
		t.Fatalf("status %d", s)
	}
}

// TestNothingAcknowledgedIsLost kills masters and slaves, with and without power, and looks for each message that was acknowledged on
// both disks that were promised: the master's own where it only lost its process, and the slave's.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	for seed := range uint64(12) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		mMem, sMem := vfs.NewMem(clock.Now), vfs.NewMem(clock.Now)
		sync := func(o *store.Options) { o.FlushDiskType = store.SyncFlush }
		m := newMaster(t, mMem, sync)
		s := newSlave(t, sMem, 1, m.addr(), sync)
		acked := map[string]bool{}
		n := 0
		for range 6 {
			var bodies []string
			var outs []outcome
			for range 5 + rnd.IntN(20) {
				n++
				bodies = append(bodies, fmt.Sprintf("%d:%s", n, strings.Repeat("z", rnd.IntN(3000))))
				_, o := put(t, m.st, bodies[len(bodies)-1])
				outs = append(outs, o)
			}
			wait := rnd.IntN(len(outs))
			for i, o := range outs[:wait] {
				if st := <-o; st == store.PutOK {
					acked[bodies[i]] = true
				}
			}
			killMaster, power := rnd.IntN(2) == 0, rnd.IntN(2) == 0
			clone := func(mem *vfs.Mem) *vfs.Mem {
				if power {
					return mem.CrashClone(rnd.Uint64())
				}
				return mem.KillClone()
			}
			if killMaster {
				next := clone(m.mem)
				m.close()
				m = newMaster(t, next, sync)
				s.c.Follow(m.addr(), "test", "the master is back")
			} else {
				next := clone(s.mem)
				s.close()
				s = newSlave(t, next, 1, m.addr(), sync)
			}
		}
		_, o := put(t, m.st, "last")
		if st := <-o; st != store.PutOK {
			t.Fatalf("seed %d: status %d", seed, st)
		}
		if !same(t, m.st, s.st) {
			t.Fatalf("seed %d: the logs differ", seed)
		}
		there := map[string]bool{}
		eventually(t, "dispatch", func() bool { return s.st.MaxOffset("T", 0) == m.st.MaxOffset("T", 0) })
		var res store.GetResult
		for off := s.st.MinOffset("T", 0); off < s.st.MaxOffset("T", 0); off++ {
			s.st.Get(&store.GetRequest{Topic: "T", Offset: off, MaxCount: 1, MaxBytes: 1 << 20}, &res)
			var got record.Message
			if res.Status != store.Found || record.Decode(res.Regions[0], &got) != nil {
				t.Fatalf("seed %d: offset %d: %v", seed, off, res.Status)
			}
			there[string(got.Body)] = true
			res.Release()
		}
		for b := range acked {
			if !there[b] {
				t.Errorf("seed %d: %.20q was acknowledged and is not there", seed, b)
			}
		}
		s.close()
		m.close()
	}
}

func TestReconnects(t *testing.T) {
	m := newMaster(t, vfs.NewMem(clock.Now), nil)
	defer m.close()
	s := newSlave(t, vfs.NewMem(clock.Now), 1, m.addr(), nil)
	defer s.close()
	for i := range 20 {
		_, o := put(t, m.st, strings.Repeat("x", i*100))
		for _, p := range *m.srv.peers.Load() {
			p.end(errSilent)
		}
		if st := <-o; st != store.PutOK {
			t.Fatalf("status %d", st)
		}
	}
	m.conf.set(func(c *Config) { c.FlowControl, c.MostPerSec = true, 1<<20 })
	if _, o := put(t, m.st, "slowly"); <-o != store.PutOK {
		t.Fatal("not within the flow")
	}
	if !same(t, m.st, s.st) {
		t.Fatal("the logs differ")
	}
}

// rewrite makes a log whose records are the same up to some place.
func rewrite(t testing.TB, from *vfs.Mem, bodies ...string) *vfs.Mem {
	t.Helper()
	mem := from.KillClone()
	s := openStore(t, options(mem, store.AsyncMaster))
	for _, b := range bodies {
		put(t, s, b)
	}
	must(t, s.Close())
	return mem
}

func TestPartedLogs(t *testing.T) {
	long := func(tag string, n int) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprint(tag, i, strings.Repeat("-", i*37%900)))
		}
		return all
	}
	common := rewrite(t, vfs.NewMem(clock.Now), long("both", 60)...)
	for name, c := range map[string]struct{ master, slave []string }{
		"the slave is ahead":          {nil, long("s", 3)},
		"the slave is far ahead":      {nil, long("s", 120)},
		"other records":               {long("m", 5), long("s", 5)},
		"other records, many of them": {long("m", 150), long("s", 90)},
		"one each, of one size":       {[]string{"A"}, []string{"B"}},
		"the master has more":         {long("m", 100), long("s", 1)},
	} {
		m := newMaster(t, rewrite(t, common, c.master...), nil)
		disk := rewrite(t, common, c.slave...)
		s := newSlave(t, disk, 1, m.addr(), nil)
		_, o := put(t, m.st, "last")
		if st := <-o; st != store.PutOK {
			t.Fatalf("%s: status %d", name, st)
		}
		if !same(t, m.st, s.st) {
			t.Fatalf("%s: the logs differ", name)
		}
		check := func(s *store.Store, what string) {
			t.Helper()
			eventually(t, name+what, func() bool { return s.MaxOffset("T", 0) == m.st.MaxOffset("T", 0) })
			var res store.GetResult
			for off := range s.MaxOffset("T", 0) {
				var got [2]string
				for i, of := range []*store.Store{s, m.st} {
					of.Get(&store.GetRequest{Topic: "T", Offset: off, MaxCount: 1, MaxBytes: 1 << 20}, &res)
					if res.Status != store.Found {
						t.Fatalf("%s%s: offset %d: %v", name, what, off, res.Status)
					}
					got[i] = string(bytes.Join(res.Regions, nil))
					res.Release()
				}
				if got[0] != got[1] {
					t.Fatalf("%s%s: offset %d differs", name, what, off)
				}
			}
		}
		check(s.st, "")
		s.c.Stop()
		power := disk.CrashClone(1)
		must(t, s.st.Close())
		for what, mem := range map[string]*vfs.Mem{", opened again": disk, ", after a power cut": power} {
			again := newSlave(t, mem, 1, m.addr(), nil)
			eventually(t, name+what, func() bool { return same(t, m.st, again.st) })
			check(again.st, what)
			again.close()
		}
		m.close()
	}
}

func TestNothingInCommon(t *testing.T) {
	m := newMaster(t, rewrite(t, vfs.NewMem(clock.Now), "m"), nil)
	defer m.close()
	s := newSlave(t, rewrite(t, vfs.NewMem(clock.Now), "s", "t"), 1, m.addr(), nil)
	defer s.close()
	before := logOf(t, s.st)
	m.conf.set(func(c *Config) { c.SlaveTimeout = 50 * time.Millisecond })
	if _, o := put(t, m.st, "x"); <-o != store.FlushSlaveTimeout {
		t.Fatal("a slave with another log counts")
	}
	if !bytes.Equal(before, logOf(t, s.st)) {
		t.Fatal("the slave's log was touched")
	}
}

// TestSlaveWithoutSpace: replication goes on by itself when the slave's disk has room again.
func TestSlaveWithoutSpace(t *testing.T) {
	m := newMaster(t, vfs.NewMem(clock.Now), nil)
	defer m.close()
	mem := vfs.NewMem(clock.Now)
	var full atomic.Bool
	var refused atomic.Int64
	s := newSlave(t, mem, 1, m.addr(), func(o *store.Options) {
		o.FS = vfs.Faulty(mem, func(op vfs.Op, _ string) error {
			if full.Load() && (op == vfs.OpWrite || op == vfs.OpCreate || op == vfs.OpAllocate || op == vfs.OpTruncate || op == vfs.OpMkdir) {
				refused.Add(1)
				return &vfs.Short{N: 100, Err: vfs.ErrNoSpace}
			}
			return nil
		})
	})
	defer s.close()
	if _, o := put(t, m.st, "before"); <-o != store.PutOK {
		t.Fatal("the slave does not follow")
	}
	full.Store(true)
	m.conf.set(func(c *Config) { c.Required = 1 })
	for m.srv.end() < 2*m.st.LogFileSize() {
		put(t, m.st, strings.Repeat("y", 600))
	}
	eventually(t, "a full disk", func() bool { return refused.Load() > 0 && !s.c.Status().Active })
	full.Store(false)
	m.conf.set(func(c *Config) { c.Required = 2 })
	if _, o := put(t, m.st, "after"); <-o != store.PutOK {
		t.Fatal("the slave does not go on")
	}
	if !same(t, m.st, s.st) {
		t.Fatal("the logs differ")
	}
	eventually(t, "dispatch", func() bool { return s.st.MaxOffset("T", 0) == m.st.MaxOffset("T", 0) })
}

// TestPartedLogWithoutSpace: a slave whose log is to be cut, and whose disk is full, waits for room too.
func TestPartedLogWithoutSpace(t *testing.T) {
	common := rewrite(t, vfs.NewMem(clock.Now), strings.Repeat("a", 6000), "b")
	old := newMaster(t, rewrite(t, common, strings.Repeat("o", 5000), "p"), nil)
	defer old.close()
	m := newMaster(t, rewrite(t, common, "n", "q", strings.Repeat("r", 3000)), nil)
	defer m.close()
	mem := vfs.NewMem(clock.Now)
	var full atomic.Bool
	var refused atomic.Int64
	s := newSlave(t, mem, 1, old.addr(), func(o *store.Options) {
		o.FS = vfs.Faulty(mem, func(op vfs.Op, _ string) error {
			if full.Load() && (op == vfs.OpWrite || op == vfs.OpCreate || op == vfs.OpAllocate || op == vfs.OpTruncate || op == vfs.OpMkdir) {
				refused.Add(1)
				return vfs.ErrNoSpace
			}
			return nil
		})
	})
	defer s.close()
	eventually(t, "the first log", func() bool { return same(t, old.st, s.st) })
	full.Store(true)
	s.c.Follow(m.addr(), "test", "another master")
	eventually(t, "a full disk", func() bool { return refused.Load() > 1 && s.c.Status().Master == m.addr() && !s.c.Status().Active })
	full.Store(false)
	if _, o := put(t, m.st, "after"); <-o != store.PutOK {
		t.Fatal("the slave does not go on")
	}
	if !same(t, m.st, s.st) {
		t.Fatal("the logs differ")
	}
	eventually(t, "dispatch", func() bool { return s.st.MaxOffset("T", 0) == m.st.MaxOffset("T", 0) })
}
