package timer

import (
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"apogee/store/record"
	"apogee/store/vfs"
)

// A message and what cancels it are both stored in time, and the timer has looked at neither when their time comes: the process stood still.
func TestCancelledWhileNobodyLooked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		run(t, s, newMem(), func(*Service) {
			s.send(t, "far", 3600_000) // the timer looks at the clock now and then
			time.Sleep(2500 * time.Millisecond)
			s.arrive = nil
			s.send(t, "a", 5000)
			s.send(t, "b", 5000)
			s.send(t, "cancel", 5000, PropCancel, "a")
			time.Sleep(time.Minute)
		})
		if got := s.bodies(); !slices.Equal(got, []string{"b"}) {
			t.Errorf("delivered %v", got)
		}
	})
}

// When the time of a slot comes there is more to be entered than fits into a step, and what cancels a message of it is the last.
func TestCancelledBehindMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		run(t, s, newMem(), func(*Service) {
			s.send(t, "a", 5000)
			s.send(t, "b", 5000)
			time.Sleep(2500 * time.Millisecond) // all is written
			s.arrive = nil
			for range 3 * enterCount {
				s.send(t, "far", 3600_000)
			}
			s.send(t, "cancel", 2500, PropCancel, "a")
			time.Sleep(time.Minute)
		})
		if got := s.bodies(); !slices.Equal(got, []string{"b"}) {
			t.Errorf("delivered %v", got)
		}
	})
}

// What cancels a message is acknowledged, and in the log, but not yet in its queue when the time comes.
func TestCancelledBehindDispatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		var upTo atomic.Int64
		run(t, s, newMem(), func(*Service) {
			s.send(t, "a", 5000)
			s.send(t, "b", 5000)
			time.Sleep(10 * time.Second)
			s.append(cancelOf("a", epoch+5000))
			upTo.Store(1)
			time.Sleep(time.Minute)
		}, func(o *Options) {
			o.Dispatched = func() (int64, int64) { return upTo.Load(), 1 }
		})
		if got := s.bodies(); !slices.Equal(got, []string{"b"}) || s.put[0].at < 10_000 {
			t.Errorf("delivered %s", s.delivered())
		}
	})
}

// cancelOf is what cancels the message with a key that is due at a time.
func cancelOf(key string, due int64) *record.Message {
	m := message("cancel", PropCancel+"\x01"+key+"\x02")
	Schedule(m, rules.Slot(due), nil)
	return m
}

// A broker of Java moves its hand on whatever it has still to enter: its checkpoint is ahead of messages that were never looked at.
func TestCancelledBehindTheHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, mem := newFakeStore(), newMem()
		run(t, s, mem, func(*Service) {
			s.send(t, "entered", 3000)
			time.Sleep(10 * time.Second)
		})
		s.arrive = nil
		for i := range 2 * enterCount {
			s.send(t, "late "+strconv.Itoa(i), 5000)
		}
		s.send(t, "a", 5000)
		s.send(t, "b", 6000)
		s.send(t, "cancel", 5000, PropCancel, "a")
		s.send(t, "cancel", 7000, PropCancel, "b") // of another time
		time.Sleep(20 * time.Second)
		moveHand(t, mem, time.Now().UnixMilli())
		run(t, s, mem, func(*Service) { time.Sleep(time.Minute) })
		got := s.bodies()
		if n := len(got); n != 2*enterCount+2 || slices.Contains(got, "a") || !slices.Contains(got, "b") {
			t.Errorf("%d delivered, of them a %t, b %t", n, slices.Contains(got, "a"), slices.Contains(got, "b"))
		}
	})
}

// moveHand has the checkpoint say that all slots before a time are delivered, as Java's does whether or not all was entered.
func moveHand(t *testing.T, fsys vfs.FS, read int64) {
	t.Helper()
	c, err := loadCheckpoint(fsys, "store")
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		c.read = max(c.read, read)
		err = edit(fsys, checkpointName("store"), func(f vfs.File) error {
			_, err := f.WriteAt(c.encode(), 0)
			return err
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// What is stored once a slot may have been given up for delivery is told so.
func TestPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		run(t, s, newMem(), func(v *Service) {
			s.send(t, "a", 5000)
			out := rules.Slot(epoch + 5000)
			time.Sleep(4900 * time.Millisecond)
			synctest.Wait()
			if v.Passed(out) {
				t.Error("passed before its time")
			}
			time.Sleep(200 * time.Millisecond)
			synctest.Wait()
			if !v.Passed(out) {
				t.Error("not passed when it was delivered")
			}
		})
	})
}
