package timer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"apogee/store/vfs"
)

// A stop in between changes nothing: nothing is lost, nothing comes twice.
func TestCleanRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fs := newFakeStore(), newMem()
		run(t, s, fs, func(*Service) {
			for i := range 60 { // over several files of the log
				s.send(t, strconv.Itoa(i), 1000*int64(1+i%10))
			}
			s.send(t, "cancelled", 8000)
			s.send(t, "cancel", 8000, PropCancel, "cancelled")
			time.Sleep(4500 * time.Millisecond)
		})
		time.Sleep(2 * time.Second)
		run(t, s, fs, func(v *Service) {
			synctest.Wait()
			if p := v.Progress(); p.Waiting != 24 {
				t.Errorf("%d wait, want 24", p.Waiting)
			}
			time.Sleep(time.Second)
		})
		time.Sleep(time.Hour)
		s.send(t, "while it was down", 500)
		run(t, s, fs, func(*Service) { time.Sleep(time.Second) })
		if len(s.put) != 61 {
			t.Errorf("%d delivered of 61: %s", len(s.put), s.delivered())
		}
	})
}

// Cancellations count also for what became due while the broker was down.
func TestCancelledWhileDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fs := newFakeStore(), newMem()
		run(t, s, fs, func(*Service) { time.Sleep(time.Second) })
		s.arrive = nil
		s.send(t, "a", 5000)
		s.send(t, "b", 5000)
		s.send(t, "cancel", 5000, PropCancel, "a")
		time.Sleep(time.Minute)
		run(t, s, fs, func(*Service) { time.Sleep(2 * time.Second) })
		if got := s.bodies(); !slices.Equal(got, []string{"b"}) {
			t.Errorf("delivered %v", got)
		}
	})
}

// damages are what can happen to the files while nobody looks.
var damages = map[string]func(fs vfs.FS) error{
	"no wheel": func(fs vfs.FS) error { return fs.Remove("store/timerwheel") },
	"short wheel": func(fs vfs.FS) error {
		return edit(fs, "store/timerwheel", func(f vfs.File) error { return f.Truncate(100) })
	},
	"empty wheel": func(fs vfs.FS) error {
		return edit(fs, "store/timerwheel", func(f vfs.File) error { return f.Zero(0, wheelSize) })
	},
	"old wheel":        func(fs vfs.FS) error { return write(fs, "store/timerwheel.0000", []byte("x")) },
	"garbage in wheel": func(fs vfs.FS) error { return garble(fs, "store/timerwheel", 1<<20) },
	"no log":           func(fs vfs.FS) error { return vfs.RemoveAll(fs, "store/timerlog") },
	"first file of the log gone": func(fs vfs.FS) error {
		return fs.Remove("store/timerlog/00000000000000000000")
	},
	"file in the middle gone": func(fs vfs.FS) error { return fs.Remove("store/timerlog/00000000000000001056") },
	"short file of the log": func(fs vfs.FS) error {
		return edit(fs, "store/timerlog/00000000000000001056", func(f vfs.File) error { return f.Truncate(300) })
	},
	"garbage in the log":    func(fs vfs.FS) error { return garble(fs, "store/timerlog/00000000000000001056", 60) },
	"other file in the log": func(fs vfs.FS) error { return write(fs, "store/timerlog/00000000000000000007", []byte("x")) },
	"no checkpoint":         func(fs vfs.FS) error { return fs.Remove("store/config/timercheck") },
	"short checkpoint": func(fs vfs.FS) error {
		return edit(fs, "store/config/timercheck", func(f vfs.File) error { return f.Truncate(20) })
	},
	"garbage in the checkpoint": func(fs vfs.FS) error { return garble(fs, "store/config/timercheck", 64) },
	"no metrics": func(fs vfs.FS) error {
		return errors.Join(fs.Remove("store/config/timermetrics"), fs.Remove("store/config/timermetrics.bak"))
	},
	"garbage in the metrics": func(fs vfs.FS) error { return garble(fs, "store/config/timermetrics", 30) },
}

func edit(fsys vfs.FS, name string, f func(vfs.File) error) error {
	file, err := fsys.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f(file), file.Close())
}

func write(fsys vfs.FS, name string, data []byte) error {
	file, err := fsys.Create(name)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(data, 0)
	return errors.Join(err, file.Close())
}

// garble overwrites some bytes at the start.
func garble(fsys vfs.FS, name string, n int) error {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return edit(fsys, name, func(f vfs.File) error {
		_, err := f.WriteAt(b, 0)
		return err
	})
}

// Whatever is damaged, the timer opens, and what has not been delivered is. What was delivered comes again only where there is no telling.
func TestDamage(t *testing.T) {
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, fs := newFakeStore(), newMem()
				run(t, s, fs, func(*Service) {
					for i := range 60 {
						s.send(t, strconv.Itoa(i), 1000*int64(1+i%10))
					}
					s.send(t, "cancelled", 9000)
					s.send(t, "cancel", 9000, PropCancel, "cancelled")
					time.Sleep(4500 * time.Millisecond)
				}, func(o *Options) { o.LogFileSize = 1056 }) // 20 units
				if err := damage(fs); err != nil {
					t.Fatal(err)
				}
				before := len(s.put)
				run(t, s, fs, func(v *Service) {
					time.Sleep(20 * time.Second)
					if p := v.Progress(); p.Waiting != 0 || p.OffsetBehind != 0 {
						t.Errorf("progress %+v", p)
					}
				}, func(o *Options) { o.LogFileSize = 1056 })
				if _, err := fs.ReadDir("store/" + vfs.QuarantineDir); strings.HasPrefix(name, "short") && err != nil {
					t.Errorf("what was damaged is not kept: %v", err)
				}
				got := make(map[string]int)
				for _, d := range s.put {
					got[d.body]++
				}
				again := 0
				for i := range 60 {
					n := got[strconv.Itoa(i)]
					if n == 0 {
						t.Errorf("%d is lost", i)
					}
					again += n - 1
				}
				if got["cancelled"] != 0 {
					t.Error("the cancelled message came")
				}
				if again > 0 && !bytes.Contains([]byte(name), []byte("checkpoint")) {
					t.Errorf("%d of %d came again", again, before)
				}
			})
		})
	}
}

// Crashes at any moment: nothing is lost, nothing is early, what was cancelled in time does not come, and what was delivered
// comes again only within what a checkpoint may be behind. Some of the lives end as those of a Java broker do that was slow to enter: its
// hand has moved on all the same.
func TestCrashes(t *testing.T) {
	seeds := uint64(4)
	if os.Getenv("APOGEE_LONG") == "1" {
		seeds = 500
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) { crashes(t, seed) })
	}
}

func crashes(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	s, fsys := newFakeStore(), newMem()
	window := func(o *Options) { o.RollWindow = 30 }
	due, cancelled := make(map[string]int64), make(map[string]bool)
	for range 2 + r.IntN(2) {
		v := open(t, s, fsys, window)
		v.Start()
		slow := 0
		if r.IntN(2) == 0 {
			slow = 1 + r.IntN(15)
		}
		n := 1 + r.IntN(30)
		for i := range n {
			if i == n-slow {
				time.Sleep(3 * time.Second) // all is written
				synctest.Wait()
				s.arrive = nil
			}
			body := strconv.Itoa(len(due))
			in := int64(r.IntN(50_000))
			due[body] = since() + in
			s.send(t, body, in)
			if r.IntN(4) == 0 && in > 3000 {
				s.send(t, "cancel", in, PropCancel, body)
				cancelled[body] = true
			}
			time.Sleep(time.Duration(r.IntN(500)) * time.Millisecond)
		}
		time.Sleep(time.Duration(r.IntN(5000)) * time.Millisecond)
		synctest.Wait()
		hand := min(v.next, v.wheel.floor(time.Now().UnixMilli()))
		switch end := r.IntN(3); {
		case end == 0:
			if fsys = fsys.KillClone(); s.arrive == nil && v.due == nil {
				moveHand(t, fsys, hand)
			}
		case end == 1:
			fsys = fsys.CrashClone(seed)
		}
		if err := errors.Join(v.Stop(), v.Save(true)); err != nil {
			t.Fatal(err)
		}
		if r.IntN(3) == 0 {
			if err := vfs.RemoveAll(fsys, "store/timerlog"); err != nil {
				t.Fatal(err)
			}
		}
	}
	run(t, s, fsys, func(v *Service) {
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if p := v.Progress(); p.Waiting != 0 || p.OffsetBehind != 0 {
			t.Errorf("seed %d: progress %+v", seed, p)
		}
	}, window)
	came := make(map[string]bool)
	for _, d := range s.put {
		came[d.body] = true
		if d.at < due[d.body] {
			t.Errorf("seed %d: %s came %d ms early", seed, d.body, due[d.body]-d.at)
		}
		if cancelled[d.body] {
			t.Errorf("seed %d: %s came and was cancelled", seed, d.body)
		}
	}
	for body := range due {
		if !came[body] && !cancelled[body] {
			t.Errorf("seed %d: %s is lost", seed, body)
		}
	}
}

// A power cut may take the tail of the commit log with it, and other messages take its place.
func TestLostTailOfTheCommitLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fs := newFakeStore(), newMem()
		run(t, s, fs, func(*Service) {
			s.send(t, "a", 5000)
			s.send(t, "lost", 5000)
			s.send(t, "lost", 6000)
			time.Sleep(2 * time.Second)
		})
		s.log, s.queue = s.log[:s.queue[1]], s.queue[:1]
		s.arrive = nil
		s.send(t, "b", 3000)
		s.send(t, "c", 3000)
		run(t, s, fs, func(*Service) { time.Sleep(time.Minute) })
		if got := s.bodies(); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("delivered %v", got)
		}
	})
}

// Files that cannot be written are tried again; nothing is delivered too early or lost meanwhile.
func TestDiskErrors(t *testing.T) {
	for nth := range int64(12) {
		synctest.Test(t, func(t *testing.T) {
			s, mem := newFakeStore(), newMem()
			faulty := vfs.Faulty(mem, vfs.FailNth(nth+1, false, errors.New("no"), vfs.OpCreate, vfs.OpWrite, vfs.OpTruncate, vfs.OpSync))
			v := open(t, s, faulty)
			v.Start()
			for i := range 30 {
				s.send(t, strconv.Itoa(i), 1000*int64(1+i%10))
			}
			time.Sleep(time.Minute)
			_ = errors.Join(v.Stop(), v.Save(true))
			run(t, s, mem, func(*Service) { time.Sleep(time.Minute) })
			for i := range 30 {
				if !slices.Contains(s.bodies(), strconv.Itoa(i)) {
					t.Errorf("failure %d: %d is lost", nth, i)
				}
			}
		})
	}
}

// Files of the log go when their messages are gone from the commit log.
func TestOldFilesOfTheLogGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fs := newFakeStore(), newMem()
		begin := int64(0)
		run(t, s, fs, func(*Service) {
			for i := range 100 {
				s.send(t, strconv.Itoa(i), 1000*int64(1+i))
			}
			time.Sleep(200 * time.Second)
			s.mu.Lock()
			begin = int64(len(s.log))
			s.mu.Unlock()
			s.send(t, "x", 60_000)
			time.Sleep(50 * time.Second)
		}, func(o *Options) {
			o.Ends = func() (int64, int64, int64) {
				_, end, flushed := s.ends()
				return begin, end, flushed
			}
		})
		list, err := fs.ReadDir("store/timerlog")
		if err != nil || len(list) > 2 { // the last but one may have waited for its sync
			t.Errorf("%d files are left, %v", len(list), err)
		}
		run(t, s, fs, func(*Service) { time.Sleep(time.Minute) })
		if !slices.Contains(s.bodies(), "x") {
			t.Error("x is lost")
		}
	})
}

// The bytes of a unit and of a slot (spec: store.md 12.2, 12.3).
func TestLayouts(t *testing.T) {
	u := unit{prev: 104, magic: 3, entered: 0x01a2041f2a28, delay: 0x05265c00, phys: 0x60ff18, size: 0x162, topic: 0x7aa3e1b9}
	want := "0000003400000000000000680000000300" + "0001a2041f2a2805265c00000000000060ff18000001627aa3e1b90000000000000000"
	got := u.append(nil)
	if fmt.Sprintf("%x", got) != want || len(got) != unitSize {
		t.Errorf("unit %x, want %s", got, want)
	}
	var back unit
	if err := back.parse(got); err != nil || back != u {
		t.Errorf("read back %+v %v", back, err)
	}
	var w wheel
	w.precision = 1000
	w.put(1795365485000, slot{first: 260, last: 1404, num: 3})
	i := w.index(1795365485000)
	if i != 319085 { // as in a wheel that Java wrote
		t.Errorf("slot %d", i)
	}
	b := w.pages[i/pageSlots][i%pageSlots*slotSize:][:slotSize]
	if fmt.Sprintf("%x", b) != fmt.Sprintf("%016x%016x%016x%08x%08x", 1795365485, 260, 1404, 3, 0) {
		t.Errorf("slot %x", b)
	}
	if h := topicHash([]byte("Timer_s11")); h != 0x7aa3e1b9 {
		t.Errorf("hash %x", h)
	}
}

func FuzzUnit(f *testing.F) {
	f.Add((&unit{prev: -1, magic: 1, size: 1}).append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var u unit
		if u.parse(b) == nil && !bytes.Equal(u.append(nil)[:44], b[:44]) {
			t.Errorf("%x is read as %+v", b, u)
		}
	})
}

func FuzzCheckpoint(f *testing.F) {
	f.Add((&checkpoint{read: 1, log: 2, queue: 3, master: 4}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		var c checkpoint
		if c.parse(b) == nil && !bytes.Equal(c.encode(), b[:checkpointSize]) {
			t.Errorf("%x is read as %+v", b, c)
		}
	})
}

// Whatever the files hold, the timer opens.
func FuzzRecover(f *testing.F) {
	var log []byte
	for i := range 5 {
		log = (&unit{prev: int64(i)*unitSize - unitSize, magic: 1, entered: epoch, delay: 1000, phys: 0, size: 100}).append(log)
	}
	slotBytes := make([]byte, slotSize)
	binary.BigEndian.PutUint64(slotBytes, uint64(epoch/1000+1))
	f.Add(log, slotBytes, (&checkpoint{read: epoch, log: 260, queue: 5, master: 5}).encode())
	f.Fuzz(func(t *testing.T, log, slots, check []byte) {
		synctest.Test(t, func(t *testing.T) {
			fsys := newMem()
			for name, data := range map[string][]byte{
				"store/timerlog/00000000000000000000": append(log, make([]byte, 1056-min(len(log), 1056))...)[:1056],
				"store/timerwheel":                    slots, "store/config/timercheck": check,
			} {
				if err := errors.Join(fsys.MkdirAll(path.Dir(name)), write(fsys, name, data)); err != nil {
					t.Fatal(err)
				}
			}
			if err := edit(fsys, "store/timerwheel", func(f vfs.File) error {
				var w wheel
				w.precision = 1000
				if err := f.Truncate(wheelSize); err != nil || len(slots) < slotSize {
					return err
				}
				_, err := f.WriteAt(slots[:min(len(slots), wheelSize)/slotSize*slotSize], int64(w.index(epoch+1000))*slotSize%(wheelSize/2))
				return err
			}); err != nil && !errors.Is(err, fs.ErrInvalid) {
				t.Fatal(err)
			}
			s := newFakeStore()
			s.send(t, "a", 3000)
			run(t, s, fsys, func(*Service) { time.Sleep(time.Minute) })
			if len(check) == 0 && len(s.put) != 1 {
				t.Errorf("delivered %s", s.delivered())
			}
		})
	})
}
