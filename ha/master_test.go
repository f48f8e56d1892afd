package ha

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"apogee/internal/clock"
	"apogee/store"
	"apogee/store/vfs"
)

// javaSlave speaks as Java's slaves do.
type javaSlave struct {
	t testing.TB
	net.Conn
}

func dialJava(t testing.TB, addr string) *javaSlave {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return &javaSlave{t, c}
}

func (j *javaSlave) report(offs ...int64) {
	j.t.Helper()
	_, err := j.Write(putWords(offs...))
	must(j.t, err)
}

// frame reads one frame.
func (j *javaSlave) frame() (int64, []byte) {
	j.t.Helper()
	var head [frameHead]byte
	_, err := io.ReadFull(j, head[:])
	must(j.t, err)
	b := make([]byte, int(binary.BigEndian.Uint32(head[8:])))
	_, err = io.ReadFull(j, b)
	must(j.t, err)
	return int64(binary.BigEndian.Uint64(head[:])), b
}

// copied reads frames up to an offset.
func (j *javaSlave) copied(from, to int64, batch int) []byte {
	j.t.Helper()
	var all []byte
	for at := from; at < to; {
		off, b := j.frame()
		if off != at || len(b) > batch {
			j.t.Fatalf("frame of %d bytes at %d, want at most %d at %d", len(b), off, batch, at)
		}
		at += int64(len(b))
		all = append(all, b...)
	}
	return all
}

// ended waits for the end of the connection.
func (j *javaSlave) ended() {
	j.t.Helper()
	if _, err := io.Copy(io.Discard, j); err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
		j.t.Fatal(err)
	}
}

func TestJavaSlaveGetsTheLog(t *testing.T) {
	m := newMaster(t, vfs.NewMem(clock.Now), nil)
	defer m.close()
	m.conf.set(func(c *Config) { c.Required = 1 })
	size := m.st.LogFileSize()
	for m.srv.end() < 3*size+100 {
		put(t, m.st, strings.Repeat("x", 700))
	}
	log, end := logOf(t, m.st), m.srv.end()
	for _, from := range []int64{0, 1, 500, size - 1, size, end - 1} {
		j := dialJava(t, m.addr())
		j.report(from)
		start := from
		if from == 0 { // an empty slave begins with the last file
			start = 3 * size
		}
		if got := j.copied(start, end, 1000); !bytes.Equal(got, log[start:]) {
			t.Fatalf("from %d: %d bytes that are not the log's", from, len(got))
		}
		must(t, j.Close())
	}
	// It gets what comes later, and chunks never cross files.
	j := dialJava(t, m.addr())
	j.report(end)
	put(t, m.st, "later")
	if got := j.copied(end, m.srv.end(), 1000); !bytes.Equal(got, logOf(t, m.st)[end:]) {
		t.Fatal("what came later is not the log's")
	}
}

func TestHeartbeats(t *testing.T) {
	m := newMaster(t, vfs.NewMem(clock.Now), nil)
	defer m.close()
	m.conf.set(func(c *Config) { c.Heartbeat, c.Required = time.Millisecond, 1 })
	put(t, m.st, "x")
	end := m.srv.end()
	j := dialJava(t, m.addr())
	j.report(end)
	for range 3 {
		if off, b := j.frame(); off != end || len(b) > 0 {
			t.Fatalf("%d bytes at %d", len(b), off)
		}
	}
	// Nothing is ever sent to a slave that is ahead, or behind the oldest file, but heartbeats: the connection lives.
	ahead := dialJava(t, m.addr())
	ahead.report(end + 1)
	ahead.frame()
	put(t, m.st, "beyond")
	for range 5 {
		if off, b := ahead.frame(); off != end+1 || len(b) > 0 {
			t.Fatalf("%d bytes at %d", len(b), off)
		}
	}
	for _, s := range m.srv.Status().Slaves {
		if s.From == end+1 && s.InSync {
			t.Errorf("a slave that is ahead counts as in sync: %+v", s)
		}
	}
}

func TestSilentAndStrange(t *testing.T) {
	m := newMaster(t, vfs.NewMem(clock.Now), nil)
	defer m.close()
	m.conf.set(func(c *Config) { c.Required = 1 })
	put(t, m.st, "x")
	end := m.srv.end()
	for name, words := range map[string][]int64{
		"negative request":         {-1},
		"ack of what was not sent": {end, end + 1},
		"greeting of a new kind":   {helloMagic, 77, 0, 0, 0, 0, 0},
		"greeting that lies":       {helloMagic, version, 1, 0, 100, 0, 50},
		"strange question":         {helloMagic, version, 1, 0, 1, 0, 1, -5, 0, 0},
		"large comparison":         {helloMagic, version, 1, 0, 1, 0, 1, opCompare, 0, compareMost + 1},
		"request beyond the end":   {helloMagic, version, 1, 0, 1, 0, 1, opFrom, end + 1, 0},
	} {
		j := dialJava(t, m.addr())
		j.report(words...)
		j.ended()
		if m.srv.Behind() < 0 {
			t.Fatalf("%s: the master is %d behind", name, m.srv.Behind())
		}
	}
	j := dialJava(t, m.addr())
	_, err := j.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	must(t, err)
	eventually(t, "a request from nowhere", func() bool { return len(m.srv.Status().Slaves) > 0 })
	must(t, j.Close())
	m.conf.set(func(c *Config) { c.Housekeeping = 10 * time.Millisecond })
	dialJava(t, m.addr()).ended()
	m.conf.set(func(c *Config) { c.Housekeeping = time.Hour })
	var all []*javaSlave
	for range mostPeers {
		all = append(all, dialJava(t, m.addr()))
	}
	eventually(t, "all connected", func() bool { return len(m.srv.Status().Slaves) == mostPeers })
	dialJava(t, m.addr()).ended()
	for _, j := range all {
		_ = j.Close()
	}
	eventually(t, "all gone", func() bool { return len(m.srv.Status().Slaves) == 0 })
}

// completed tells whether a put has been, and how.
func (o outcome) now() (store.PutStatus, bool) {
	select {
	case s := <-o:
		return s, true
	default:
		return 0, false
	}
}

func TestAcksAreCounted(t *testing.T) {
	m := newMaster(t, vfs.NewMem(clock.Now), nil)
	defer m.close()
	m.conf.set(func(c *Config) { c.Required = 3 })
	a, b := dialJava(t, m.addr()), dialJava(t, m.addr())
	a.report(0)
	b.report(0)
	first, one := put(t, m.st, "one")
	second, two := put(t, m.st, "two")
	if !first.Pending || !second.Pending {
		t.Fatal("nobody has them yet")
	}
	a.copied(0, second.NextOffset, 1000)
	b.copied(0, second.NextOffset, 1000)
	acks := func(want ...int64) {
		t.Helper()
		eventually(t, "acks", func() bool {
			sum, left := 0, append([]int64(nil), want...)
			for _, s := range m.srv.Status().Slaves {
				for i, w := range left {
					if s.Ack == w {
						left[i] = -99
						sum++
						break
					}
				}
			}
			return sum == len(want)
		})
	}
	a.report(second.NextOffset)
	acks(second.NextOffset, 0)
	if s, ok := one.now(); ok {
		t.Fatalf("%d, with one slave of two", s)
	}
	b.report(first.NextOffset-1, first.NextOffset)
	if s := <-one; s != store.PutOK {
		t.Fatalf("status %d", s)
	}
	b.report(0, 5, first.NextOffset) // going back takes nothing away
	acks(second.NextOffset, first.NextOffset)
	if s, ok := two.now(); ok {
		t.Fatalf("%d, with one slave of two", s)
	}
	if n := m.srv.inSync(); n != 3 {
		t.Errorf("%d are in sync", n)
	}
	m.conf.set(func(c *Config) { c.MaxGap = second.NextOffset - first.NextOffset })
	if n := m.srv.inSync(); n != 2 {
		t.Errorf("%d are in sync with a small gap", n)
	}
	must(t, b.Close())
	eventually(t, "gone", func() bool { return len(m.srv.Status().Slaves) == 1 })
	c := dialJava(t, m.addr())
	c.report(second.NextOffset) // it has been here before
	if s := <-two; s != store.PutOK {
		t.Fatalf("status %d", s)
	}
	// Enough have it already: no wait.
	m.conf.set(func(c *Config) { c.Required = 1 })
	if _, o := put(t, m.st, "three"); <-o != store.PutOK {
		t.Fatal("one is enough")
	}
}

func TestNobodyAnswersInTime(t *testing.T) {
	for _, mode := range []store.FlushDiskType{store.AsyncFlush, store.SyncFlush} {
		m := newMaster(t, vfs.NewMem(clock.Now), func(o *store.Options) { o.FlushDiskType = mode })
		m.conf.set(func(c *Config) { c.SlaveTimeout = 10 * time.Millisecond })
		var all []outcome
		for range 100 {
			_, o := put(t, m.st, "x")
			all = append(all, o)
		}
		for _, o := range all {
			if s := <-o; s != store.FlushSlaveTimeout {
				t.Fatalf("%s: status %d", mode, s)
			}
		}
		m.conf.set(func(c *Config) { c.SlaveTimeout = time.Hour })
		_, o := put(t, m.st, "x")
		m.srv.Close()
		if s := <-o; s != store.FlushSlaveTimeout {
			t.Fatalf("%s: status %d at the stop", mode, s)
		}
		if _, o := put(t, m.st, "x"); <-o != store.FlushSlaveTimeout {
			t.Fatalf("%s: after the stop", mode)
		}
		must(t, m.st.Close())
	}
}

func TestGroupPolicy(t *testing.T) {
	for name, c := range map[string]struct {
		g                     Group
		required, least, sync int
		need                  int
		refused               bool
	}{
		"off":                   {Group{}, 2, 0, 1, 2, false},
		"all there":             {Group{On: true, Alive: 2}, 2, 1, 2, 2, false},
		"one away":              {Group{On: true, Alive: 1}, 2, 1, 2, 2, true},
		"one behind":            {Group{On: true, Alive: 2}, 2, 1, 1, 2, true},
		"one away, auto":        {Group{On: true, Alive: 1, Auto: true}, 2, 1, 2, 1, false},
		"one away, auto, least": {Group{On: true, Alive: 1, Auto: true}, 3, 2, 2, 2, true},
		"all there, auto":       {Group{On: true, Alive: 3, Auto: true}, 2, 1, 3, 2, false},
	} {
		p := Classic{Config: func() Config { return Config{Required: c.required, Least: c.least} }, Group: func() Group { return c.g }}
		if need, err := p.Required(c.sync); need != c.need || (err != nil) != c.refused {
			t.Errorf("%s: %d, %v", name, need, err)
		}
	}
}

// A set that somebody else decides about: only its members count, all of them where that is asked for, and it may change while puts wait.
func TestElectedPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conf := newSettings()
		p := &Elected{Config: conf.get, AllAck: true}
		m := newMasterWith(t, vfs.NewMem(clock.Now), p, conf, nil)
		defer m.close()
		refused := func(what string) {
			t.Helper()
			if r := m.st.PutWait(message("x")); r.Status != store.InSyncReplicasNotEnough {
				t.Errorf("%s: status %d", what, r.Status)
			}
		}
		conf.set(func(c *Config) { c.Least, c.SlaveTimeout = 1, 3*time.Second })
		refused("before the first decision")
		decide := func(epoch int, ids ...int64) bool {
			ok := p.Decide(SyncSet{ids, epoch})
			m.srv.Acks().Advance()
			return ok
		}
		if !decide(5, 0) || decide(5, 0, 1) || decide(4, 0, 1) {
			t.Error("the newest decision counts")
		}
		if r := m.st.PutWait(message("alone")); r.Status != store.PutOK {
			t.Errorf("a set of one: status %d", r.Status)
		}
		conf.set(func(c *Config) { c.Least = 2 })
		refused("fewer than minInSyncReplicas")
		one, stranger := newPipedSlave(t, m, 1), newPipedSlave(t, m, 7)
		defer one.close()
		defer stranger.close()
		synctest.Wait()
		decide(6, 0, 1, 2)
		_, o := put(t, m.st, "all of three")
		synctest.Wait()
		if s, ok := o.now(); ok {
			t.Fatalf("status %d, and a member is not there", s)
		}
		decide(7, 0, 1) // it is dropped
		if s := <-o; s != store.PutOK {
			t.Errorf("status %d from those that are left", s)
		}
		decide(8, 0, 2)
		if r := m.st.PutWait(message("a stranger has it")); r.Status != store.FlushSlaveTimeout {
			t.Errorf("status %d", r.Status)
		}
		p.AllAck = false
		conf.set(func(c *Config) { c.Required = 2 })
		decide(9, 0, 1, 2)
		if r := m.st.PutWait(message("two of three")); r.Status != store.PutOK {
			t.Errorf("status %d", r.Status)
		}
	})
}

func TestFlowControl(t *testing.T) {
	var m meter
	at := time.UnixMilli(5_000_250)
	m.take(at, 300)
	if n, wait := m.room(at, 1000); n != 700 || wait != 750*time.Millisecond {
		t.Errorf("room for %d, %v", n, wait)
	}
	m.take(at, 900)
	if n, _ := m.room(at, 1000); n != 0 {
		t.Errorf("room for %d", n)
	}
	next := at.Add(time.Second)
	if n, _ := m.room(next, 1000); n != 1000 || m.perSecond(next) != 1200 {
		t.Errorf("room for %d, %d in the last second", n, m.perSecond(next))
	}
	if later := at.Add(time.Minute); m.perSecond(later) != 0 {
		t.Errorf("%d a minute later", m.perSecond(later))
	}
}

// counted hears of puts, and keeps nothing.
type counted struct{ n int }

func (c *counted) Complete(store.PutStatus) { c.n++ }

func TestWaitingForReplicasAllocatesNothing(t *testing.T) {
	m := newMaster(t, vfs.NewMem(clock.Now), nil)
	defer m.close()
	p := &peer{s: m.srv}
	p.id.Store(-1)
	list := []*peer{p}
	m.srv.peers.Store(&list)
	defer m.srv.peers.Store(&[]*peer{})
	var c counted
	next := int64(0)
	batch := func() {
		for range 100 {
			next++
			m.srv.acks.Await(next, &c)
		}
		p.ack.Store(next)
		m.srv.acks.Advance()
	}
	for range 10 {
		batch()
	}
	if n := testing.AllocsPerRun(100, batch); n > 1 {
		t.Errorf("%v allocations for 100 puts", n)
	}
	if c.n != int(next) {
		t.Errorf("%d of %d heard", c.n, next)
	}
}
