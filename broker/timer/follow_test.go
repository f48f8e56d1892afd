package timer

import (
	"testing"
	"testing/synctest"
	"time"

	"apogee/compat/body"
	"apogee/store/vfs"
)

// master is the checkpoint of a master that has entered so many messages and delivered until a time (ms since the test began).
func masterAt(read, queue, counter int64) []byte {
	c := checkpoint{read: epoch + read, queue: queue, master: queue, version: body.DataVersion{Counter: counter, Timestamp: 1}}
	return c.encode()
}

func TestFollowerEntersAndDeliversNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fsys := newFakeStore(), newMem()
		follow(t, s, fsys, func(v *Service) {
			s.send(t, "a", 2000)
			s.send(t, "b", 20_000)
			s.send(t, "c", 30_000)
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if got := v.queueOffset.Load(); got != 0 {
				t.Errorf("entered to %d without a word of the master", got)
			}
			take(t, v, masterAt(5000, 2, 7))
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if got, n := v.queueOffset.Load(), v.Progress().Waiting; got != 2 || n != 1 {
				t.Errorf("entered to %d, %d wait; want 2, and what the master has delivered left out", got, n)
			}
			deliversIn(t, s, 60*time.Second, "")
			var c checkpoint
			if err := c.parse(v.Checkpoint()); err != nil || c.version.Counter != 7 || c.master != 2 || c.read != epoch+5000 {
				t.Errorf("checkpoint %+v, %v", c, err)
			}
		})
	})
}

func TestFollowerLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fsys := newFakeStore(), newMem()
		follow(t, s, fsys, func(v *Service) {
			s.send(t, "delivered", 2000)
			s.send(t, "entered", 20_000)
			s.send(t, "cancelled", 25_000)
			s.send(t, "late", 3000) // the master has entered it after its time, and delivered it at once
			take(t, v, masterAt(10_000, 2, 1))
			time.Sleep(12 * time.Second)
			take(t, v, masterAt(11_000, 4, 2))
			s.send(t, "not entered", 15_000-since())
			s.send(t, "cancel", 25_000-since(), PropCancel, "cancelled")
			time.Sleep(5 * time.Second)
			v.Follow(false) // at 17 s: the master is gone
			deliversIn(t, s, 30*time.Second, "not entered@17020 entered@20000")
			v.Follow(true) // it is back, with a checkpoint of before
			s.send(t, "the master's", 1000)
			take(t, v, masterAt(19_000, 4, 3))
			deliversIn(t, s, 30*time.Second, "not entered@17020 entered@20000")
		})
	})
}

func TestFollowerThatWasBehindLeavesOutWhatTheMasterDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fsys := newFakeStore(), newMem()
		follow(t, s, fsys, func(v *Service) {
			s.send(t, "delivered", 2000)
			s.send(t, "waits", 40_000)
			time.Sleep(20 * time.Second)
			take(t, v, masterAt(15_000, 2, 1))
			v.Follow(false)
			deliversIn(t, s, 60*time.Second, "waits@40000")
		})
	})
}

// deliversIn lets time pass, and wants this to have been delivered at its end.
func deliversIn(t *testing.T, s *fakeStore, after time.Duration, want string) {
	t.Helper()
	time.Sleep(after)
	synctest.Wait()
	if got := s.delivered(); got != want {
		t.Errorf("delivered %q, want %q", got, want)
	}
}

func take(t *testing.T, v *Service, text []byte) {
	t.Helper()
	if err := v.TakeOver(text); err != nil {
		t.Fatal(err)
	}
}

func follow(t *testing.T, s *fakeStore, fsys vfs.FS, work func(*Service)) {
	t.Helper()
	v := open(t, s, fsys)
	v.Follow(true)
	v.Start()
	work(v)
	if err := v.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := v.Save(true); err != nil {
		t.Fatal(err)
	}
}
