package ha

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"apogee/internal/clock"
	"apogee/store"
	"apogee/store/vfs"
)

// Here time is virtual, and connections are pipes: what takes how long is exact.

// piped is a connection with a master that does not listen.
func piped(m *master) net.Conn {
	ours, theirs := net.Pipe()
	m.srv.take(theirs)
	return ours
}

func newPipedMaster(t testing.TB) *master {
	t.Helper()
	return newMasterOf(t, vfs.NewMem(clock.Now), nil)
}

// newPipedSlave follows a master over pipes.
func newPipedSlave(t testing.TB, m *master, id int64, change ...func(*ClientOptions)) *slave {
	t.Helper()
	s := &slave{mem: vfs.NewMem(clock.Now), conf: newSettings()}
	s.conf.set(func(c *Config) { c.ID = id })
	s.st = openStore(t, options(s.mem, store.Slave))
	o := ClientOptions{
		Store: s.st, Config: s.conf.get, Now: clock.Now, Log: slog.New(slog.DiscardHandler),
		Dial: func(context.Context, string) (net.Conn, error) { return piped(m), nil },
	}
	for _, f := range change {
		f(&o)
	}
	s.c = NewClient(o)
	s.c.Follow("master", "test", "")
	s.c.Start()
	return s
}

// fill puts messages until the log is so long.
func fill(t testing.TB, m *master, size int64) {
	t.Helper()
	m.conf.set(func(c *Config) { c.Required = 1 })
	for m.srv.end() < size {
		put(t, m.st, strings.Repeat("x", 700))
	}
}

// copyTime is how long a slave takes to have all of a log of this size; each second it looks that no second had more than its share.
func copyTime(t *testing.T, size, most int64, conf func(*Config), change func(*ClientOptions)) (took time.Duration, end int64) {
	synctest.Test(t, func(t *testing.T) {
		m := newPipedMaster(t)
		defer m.close()
		fill(t, m, size)
		end = m.srv.end()
		m.conf.set(conf)
		began := clock.Now()
		s := newPipedSlave(t, m, 1, func(o *ClientOptions) {
			own := o.Config
			o.Config = func() Config { c := own(); conf(&c); return c }
			change(o)
		})
		defer s.close()
		last := int64(0)
		for {
			synctest.Wait()
			_, got := s.st.Bounds()
			const record = 1000 // the log ends with a whole one, of which a part may have come before
			if got-last > most+record {
				t.Errorf("%d bytes in a second, %d are allowed", got-last, most)
			}
			if got == end {
				break
			}
			last = got
			time.Sleep(clock.Now().Truncate(time.Second).Add(time.Second).Sub(clock.Now()))
		}
		took = clock.Now().Sub(began)
	})
	return took, end
}

// A copy with a limit takes as long as it says, to the second, also where the limit is less than what is read or sent at once.
func TestLimitedCopies(t *testing.T) {
	const size = 300_000
	for most, want := range map[int64]time.Duration{10_000: 31 * time.Second, 50_000: 6 * time.Second, 200_000: time.Second, 1 << 30: 0} {
		limit := func(c *Config) { c.MostPerSec = most }
		took, end := copyTime(t, size, most, limit, func(o *ClientOptions) { o.Limited = true })
		if took > want || took < want-time.Second {
			t.Errorf("slave's limit of %d: %d bytes in %v, want %v", most, end, took, want)
		}
		took, end = copyTime(t, size, most, func(c *Config) { limit(c); c.FlowControl = true }, func(*ClientOptions) {})
		if took > want || took < want-time.Second {
			t.Errorf("master's limit of %d: %d bytes in %v, want %v", most, end, took, want)
		}
	}
}

func TestStopWaitsForSlaves(t *testing.T) {
	settle := func(ctx context.Context, m *master) chan time.Duration {
		done, began := make(chan time.Duration, 1), clock.Now()
		go func() { m.srv.Settle(ctx); done <- clock.Now().Sub(began) }()
		return done
	}
	synctest.Test(t, func(t *testing.T) {
		m := newPipedMaster(t)
		defer m.close()
		m.srv.Settle(t.Context()) // nobody is there
		fill(t, m, 5000)
		end := m.srv.end()
		j := &javaSlave{t, piped(m)}
		defer j.Close()
		m.srv.Settle(t.Context()) // nor does anybody know what it has
		j.report(0)
		j.copied(0, end, 1000)
		done := settle(t.Context(), m)
		time.Sleep(time.Second)
		j.report(end)
		if took := <-done; took < time.Second || took > time.Second+settleLook {
			t.Errorf("slave had it after 1 s, the wait took %v", took)
		}
		// One that does not say so is waited for as long as Java waits, or as the stop may take.
		put(t, m.st, "x")
		if took := <-settle(t.Context(), m); took != settleMost {
			t.Errorf("slave that says nothing: %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if took := <-settle(ctx, m); took != time.Second {
			t.Errorf("stop that may take a second: %v", took)
		}
		// One that is far behind is not.
		m.conf.set(func(c *Config) { c.MaxGap = 1 })
		if took := <-settle(t.Context(), m); took != 0 {
			t.Errorf("slave that is far behind: %v", took)
		}
		go io.Copy(io.Discard, j)
	})
}

func TestLagIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newPipedMaster(t)
		defer m.close()
		m.conf.set(func(c *Config) { c.Heartbeat = 5 * time.Second })
		fill(t, m, 20_000)
		var out net.Conn
		s := newPipedSlave(t, m, 1, func(o *ClientOptions) {
			o.Limited = true
			own, dial := o.Config, o.Dial
			o.Config = func() Config { c := own(); c.MostPerSec = 10_000; return c }
			o.Dial = func(ctx context.Context, addr string) (c net.Conn, err error) {
				c, err = dial(ctx, addr)
				out = c
				return c, err
			}
		})
		defer s.close()
		synctest.Wait()
		of, at := s.c.Status(), m.srv.Status().Slaves[0]
		if of.Behind != m.srv.end()-of.End || of.Behind == 0 || at.Behind < of.Behind {
			t.Errorf("the slave says %+v, the master %+v", of, at)
		}
		time.Sleep(7 * time.Second)
		fill(t, m, 40_000) // 20 KB that are 7 s younger
		time.Sleep(10 * time.Millisecond)
		at = m.srv.Status().Slaves[0]
		if at.Age != 10*time.Millisecond || at.Behind == 0 {
			t.Errorf("of what came 10 ms ago the slave lacks %d bytes, %v old", at.Behind, at.Age)
		}
		time.Sleep(1300 * time.Millisecond)
		if at = m.srv.Status().Slaves[0]; at.Age < 1300*time.Millisecond || at.Age > 1311*time.Millisecond {
			t.Errorf("1.3 s later: %v", at.Age)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		of, at = s.c.Status(), m.srv.Status().Slaves[0]
		if of.Behind != 0 || of.Late != 0 || at.Behind != 0 || at.Age != 0 || of.End != m.srv.end() {
			t.Errorf("caught up: the slave says %+v, the master %+v", of, at)
		}
		_ = out.Close()
	})
}
