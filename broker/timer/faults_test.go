package timer

import (
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"apogee/store"
	"apogee/store/record"
	"apogee/store/vfs"
)

// What is delivered after the log was made anew does not come once more after the next start, even if nothing new was sent.
func TestCheckpointGoesOnAfterARebuild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fs := newFakeStore(), newMem()
		run(t, s, fs, func(*Service) {
			s.send(t, "a", 5_000)
			s.send(t, "b", 100_000)
			s.send(t, "c", 300_000)
			time.Sleep(10 * time.Second)
		})
		if err := vfs.RemoveAll(fs, "store/timerlog"); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			run(t, s, fs, func(*Service) { time.Sleep(200 * time.Second) })
		}
		if got := s.bodies(); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("delivered %v", got)
		}
	})
}

// A log that turns out to be damaged is not thrown away while it is being synced: that would look like a disk that fails.
func TestRebuildWaitsForTheSaver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, mem := newFakeStore(), newMem()
		var syncing atomic.Bool
		run(t, s, vfs.Faulty(mem, func(op vfs.Op, name string) error {
			switch {
			case !strings.Contains(name, logDir):
			case op == vfs.OpSync:
				syncing.Store(true)
				time.Sleep(10 * time.Second)
				syncing.Store(false)
			case op == vfs.OpRemove && syncing.Load():
				t.Error("a file goes while it is being synced")
			}
			return nil
		}), func(*Service) {
			s.send(t, "a", 4000)
			time.Sleep(2 * time.Second)
			if err := garble(mem, "store/timerlog/00000000000000000000", 30); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		})
		if got := s.bodies(); !slices.Equal(got, []string{"a"}) {
			t.Errorf("delivered %v", got)
		}
	})
}

// A process may end between the making of a file of the log and its first bytes. The next one goes on all the same.
func TestEmptyFilesOfTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fs := newFakeStore(), newMem()
		for i, name := range []string{"00000000000000000000", "00000000000000001056"} { // of 20 units
			if err := errors.Join(fs.MkdirAll("store/timerlog"), write(fs, "store/timerlog/"+name, nil)); err != nil {
				t.Fatal(err)
			}
			run(t, s, fs, func(*Service) {
				s.send(t, "far", 600_000) // the others are not to wait for it
				for n := range 15 {
					s.send(t, strconv.Itoa(100*i+n), 2000)
				}
				time.Sleep(time.Minute)
			})
		}
		if got := s.bodies(); len(got) != 30 {
			t.Errorf("delivered %v", got)
		}
	})
}

// stagingStore counts what is staged and not committed.
type stagingStore struct {
	*fakeStore
	staged atomic.Int64
}

func (s *stagingStore) Stage(m *record.Message, c store.Completion) store.PutResult {
	s.staged.Add(1)
	return s.fakeStore.Stage(m, c)
}

func (s *stagingStore) Commit(*store.PutResult) error {
	s.staged.Store(0)
	return nil
}

// A message that was late is committed although the log cannot be written just now: the checkpoint will not wait for it.
func TestLateMessagesAreCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, mem := &stagingStore{fakeStore: newFakeStore()}, newMem()
		run(t, s.fakeStore, mem, func(*Service) { time.Sleep(20 * time.Second) })
		late := message("late", "")
		Schedule(late, epoch+5000, nil)
		s.append(late)
		s.send(t, "early", 600_000)
		var failed atomic.Bool
		fsys := vfs.Faulty(mem, func(op vfs.Op, name string) error {
			switch {
			case op == vfs.OpWrite && strings.Contains(name, logDir) && !failed.Swap(true):
				return errors.New("disk full")
			case op == vfs.OpWrite && strings.HasSuffix(name, "timercheck") && s.staged.Load() > 0:
				t.Error("the checkpoint is written, and a message that it has passed is not committed")
			}
			return nil
		})
		run(t, s.fakeStore, fsys, func(*Service) { time.Sleep(time.Minute) }, func(o *Options) { o.Store = s })
		if got := s.bodies(); !failed.Load() || !slices.Equal(got, []string{"late"}) {
			t.Errorf("delivered %v, failed %v", got, failed.Load())
		}
	})
}

// The last save knows no more than is on disk, if the store could not be flushed.
func TestSaveAfterAFailedFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, mem := newFakeStore(), newMem()
		s.flushed = 0
		v := open(t, s, mem)
		v.Start()
		s.send(t, "a", 1500)
		time.Sleep(10 * time.Second)
		if err := errors.Join(v.Stop(), v.Save(false)); err != nil {
			t.Fatal(err)
		}
		if c, err := loadCheckpoint(mem, "store"); !errors.Is(err, fs.ErrNotExist) && c.read > epoch+1000 {
			t.Errorf("checkpoint %+v %v", c, err)
		}
	})
}

// Clients can write into the timer topic what they like. What would come back into it, or go where only the broker writes, is dropped.
func TestTopicsThatTakeNoTimedMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		s.refuse = func(m *record.Message) store.PutStatus {
			t.Errorf("put into %s", m.Topic)
			return store.MessageIllegal // so that the test ends
		}
		for _, topic := range []string{Topic, "RMQ_SYS_TRANS_HALF_TOPIC", "RMQ_SYS_TRANS_OP_HALF_TOPIC", "SCHEDULE_TOPIC_XXXX"} {
			m := message(topic, PropOut+"\x011\x02REAL_TOPIC\x01"+topic+"\x02REAL_QID\x010\x02")
			m.Topic, m.QueueID = Topic, 0
			s.append(m)
		}
		run(t, s, newMem(), func(v *Service) {
			time.Sleep(10 * time.Second)
			synctest.Wait()
			if n := v.queueOffset.Load(); n != 4 || s.MaxOffset(Topic, 0) != 4 {
				t.Errorf("%d of %d entered", n, s.MaxOffset(Topic, 0))
			}
		})
	})
}

// A message that is rolled has no room for what is told of its stay: it does without.
func TestRollsWithoutRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		run(t, s, newMem(), func(*Service) {
			s.send(t, "long", 60_000, "p", strings.Repeat("x", record.MaxProperties-150))
			time.Sleep(2 * time.Minute)
			synctest.Wait()
		}, func(o *Options) { o.RollWindow = 10 })
		if got := s.delivered(); got != "long@60000" {
			t.Errorf("delivered %s", got)
		}
	})
}

// unreadable is a store that has no descriptors left for a while.
type unreadable struct {
	*fakeStore
	until time.Time
}

func (s *unreadable) View(at int64) ([]byte, func(), error) {
	if time.Now().Before(s.until) {
		return nil, nil, &fs.PathError{Op: "open", Path: "x", Err: syscall.EMFILE}
	}
	return s.fakeStore.View(at)
}

// What cannot be read just now is delivered later, and what was cancelled meanwhile is not.
func TestMessagesThatCannotBeReadNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &unreadable{newFakeStore(), time.Now().Add(time.Minute)}
		run(t, s.fakeStore, newMem(), func(*Service) {
			s.send(t, "a", 5000)
			s.send(t, "b", 6000)
			s.send(t, "cancel", 6000, PropCancel, "b")
			time.Sleep(2 * time.Minute)
		}, func(o *Options) { o.Store = s })
		if got := s.bodies(); !slices.Equal(got, []string{"a"}) {
			t.Errorf("delivered %v", got)
		}
	})
}
