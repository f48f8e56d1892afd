package store

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"apogee/store/vfs"
)

// cleaning is a store of five full log files and a part, whose cleaner runs only when the test says so.
func cleaning(t *testing.T, change ...func(*Options)) (*rig, *Store) {
	t.Helper()
	r := newRig(t, append([]func(*Options){func(o *Options) {
		o.CleanResourceIntervalMs = 1 << 40
		o.DeleteCommitLogFilesEveryMs = 1
		o.DeleteWhen = "04"
	}}, change...)...)
	r.mem.SetCapacity(1 << 20)
	r.clock.ms.Store(time.Date(2026, 5, 1, 12, 0, 0, 0, time.Local).UnixMilli())
	s := r.open()
	for range 5 * 15 {
		put(t, s, message("T", 0, strings.Repeat("x", 950)))
	}
	must(t, s.flush.flush())
	must(t, s.flushQueues(true)) // so that the disk does not get fuller by itself
	return r, s
}

func TestFilesAreDeletedByAge(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Options)
		after  time.Duration
		manual bool
		left   int64 // begin of the log, in files
	}{
		{"too young", nil, 16 * time.Hour, false, 0},
		{"old, another hour", nil, 73 * time.Hour, false, 0},
		{"old, the hour", nil, (72 + 16) * time.Hour, false, 4},
		{"old, one of several hours", func(o *Options) { o.DeleteWhen = "01;13" }, 73 * time.Hour, false, 4},
		{"old, by request", nil, 73 * time.Hour, true, 4},
		{"young, by request", nil, time.Hour, true, 0},
		{"a few at a time", func(o *Options) { o.DeleteFileBatchMax = 2 }, (72 + 16) * time.Hour, false, 2},
		{"kept for longer", func(o *Options) { o.FileReservedTimeHours = 100 }, (72 + 16) * time.Hour, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, s := cleaning(t)
			defer s.Close()
			if c.change != nil {
				o := *s.options()
				c.change(&o)
				s.Reconfigure(o)
			}
			r.clock.advance(c.after)
			if c.manual {
				s.cleaner.manual.Store(1)
			}
			s.cleaner.round(context.Background())
			if got := s.commit.begin() / (16 << 10); got != c.left {
				t.Fatalf("the log begins at file %d, want %d", got, c.left)
			}
			if st := s.Stats(); st.MinPhysical != s.commit.begin() || !st.Writable {
				t.Fatalf("%+v", st)
			}
		})
	}
}

func TestTheLastFileStays(t *testing.T) {
	r, s := cleaning(t)
	r.clock.advance(1000 * time.Hour)
	for range 5 {
		s.cleaner.manual.Store(1)
		s.cleaner.round(context.Background())
	}
	if got, want := s.commit.begin(), s.commit.files.last().base; got != want {
		t.Fatalf("begin %d, last file %d", got, want)
	}
	put(t, s, message("T", 0, "x"))
	must(t, s.Close())
	s = r.open()
	defer s.Close()
	if s.commit.begin() == 0 {
		t.Fatal("deleted files are back")
	}
	put(t, s, message("T", 0, "x"))
}

func TestDiskPressure(t *testing.T) {
	for _, c := range []struct {
		percent  int
		deleted  bool
		writable bool
	}{{75, false, true}, {76, false, true}, {85, false, true}, {86, true, true}, {90, true, true}, {91, true, false}} {
		r, s := cleaning(t)
		u, err := r.mem.DiskUsage("/")
		must(t, err)
		r.mem.SetCapacity((u.Used*100 + uint64(c.percent) - 1) / uint64(c.percent)) // the ratio is rounded up
		s.cleaner.round(context.Background())
		if got := s.commit.begin() > 0; got != c.deleted {
			t.Errorf("%d %%: young files deleted: %v", c.percent, got)
		}
		// The flag is of before the deletion; a full disk may have room now.
		if ok, why := s.Writable(); ok != c.writable {
			t.Errorf("%d %%: writable %v, %s", c.percent, ok, why)
		}
		if !c.writable {
			if res := s.PutWait(message("T", 0, "x")); res.Status != ServiceNotAvailable || !strings.Contains(res.Err.Error(), "disk full") {
				t.Errorf("%d %%: %+v", c.percent, res)
			}
			s.cleaner.round(context.Background())
			put(t, s, message("T", 0, "x"))
		}
		must(t, s.Close())
	}
}

// Between diskMaxUsedSpaceRatio and diskSpaceCleanForciblyRatio old files go at any hour, young ones stay.
func TestDiskAboveTheFirstMarkDeletesOldFiles(t *testing.T) {
	r, s := cleaning(t)
	defer s.Close()
	u, err := r.mem.DiskUsage("/")
	must(t, err)
	r.mem.SetCapacity(u.Used * 100 / 80)
	r.clock.advance(73 * time.Hour)
	s.cleaner.round(context.Background())
	if s.commit.begin() == 0 {
		t.Fatal("nothing was deleted")
	}
}

func TestForcedDeletionCanBeForbidden(t *testing.T) {
	r, s := cleaning(t, func(o *Options) { o.CleanFileForciblyEnable = false })
	defer s.Close()
	u, err := r.mem.DiskUsage("/")
	must(t, err)
	r.mem.SetCapacity(u.Used * 100 / 95)
	s.cleaner.round(context.Background())
	if s.commit.begin() != 0 {
		t.Fatal("young files were deleted")
	}
}

// A file that is being read is deleted by name, keeps its bytes, and is told of when it stays held for long.
func TestDeletedFileWhileItIsRead(t *testing.T) {
	r, s := cleaning(t)
	defer s.Close()
	b, f, err := s.commit.hold(0, 100)
	must(t, err)
	r.clock.advance((72 + 16) * time.Hour)
	s.cleaner.round(context.Background())
	if _, err := r.mem.Stat(logDir + fileName(0)); err == nil {
		t.Fatal("the file is still there")
	}
	if int(b[3])+int(b[2])<<8 < 950 || len(s.cleaner.hanged) != 1 {
		t.Fatalf("read %v, hanged %d", b[:4], len(s.cleaner.hanged))
	}
	r.clock.advance(hangedAfter + time.Second)
	s.cleaner.watchHanged(context.Background())
	if !s.cleaner.hanged[0].told {
		t.Fatal("nobody was told")
	}
	f.release()
	s.cleaner.watchHanged(context.Background())
	if len(s.cleaner.hanged) != 0 {
		t.Fatal("still on the list")
	}
}

// truncations tells of each change of a log file's size, and of the removal of names, in order.
type truncations struct {
	vfs.FS
	did *[]string
}

func (x truncations) Open(name string) (vfs.File, error) {
	f, err := x.FS.Open(name)
	return truncated{f, path.Base(name), x.did}, err
}

func (x truncations) Remove(name string) error {
	*x.did = append(*x.did, "remove "+path.Base(name))
	return x.FS.Remove(name)
}

func (x truncations) SyncDir(name string) error {
	*x.did = append(*x.did, "sync "+path.Base(name))
	return x.FS.SyncDir(name)
}

type truncated struct {
	vfs.File
	name string
	did  *[]string
}

func (x truncated) Truncate(size int64) error {
	*x.did = append(*x.did, fmt.Sprintf("cut %s to %d", x.name, size))
	return x.File.Truncate(size)
}

// TestBlocksAreFreedInSteps: the name goes first and for good; then the file is cut short, but not while it is read.
func TestBlocksAreFreedInSteps(t *testing.T) {
	r, s := cleaning(t)
	must(t, s.Close())
	var did []string
	o := r.opts
	o.FS = truncations{r.mem, &did}
	s, err := Open(o)
	must(t, err)
	defer s.Close()
	s.cleaner.shred.step = 6 << 10
	before, err := r.mem.DiskUsage("/")
	must(t, err)
	b, f, err := s.commit.hold(16<<10, 100) // the second file
	must(t, err)
	r.clock.advance((72 + 16) * time.Hour)
	s.flush.flushed.Store(s.commit.end())
	did = did[:0]
	s.cleaner.round(context.Background())
	cut := func(file string) []string {
		return []string{"sync commitlog", "cut " + file + " to 10240", "cut " + file + " to 4096"}
	}
	names := []string{fileName(0), fileName(16 << 10), fileName(32 << 10), fileName(48 << 10)}
	want := []string{}
	for i, name := range names {
		want = append(want, "remove "+name)
		if i != 1 {
			want = append(want, cut(name)...)
		}
	}
	if len(did) < len(want) || !slices.Equal(did[:len(want)], want) {
		t.Fatalf("did  %q\nwant %q", did, want)
	}
	if int(b[3])+int(b[2])<<8 < 950 {
		t.Fatalf("read %v", b[:4])
	}
	f.release()
	did = did[:0]
	s.cleaner.watchHanged(context.Background())
	if !slices.Equal(did, cut(names[1])) {
		t.Fatalf("after the last reader: %q", did)
	}
	after, err := r.mem.DiskUsage("/")
	must(t, err)
	if freed := before.Used - after.Used; freed < 4*16<<10 || freed > 5*16<<10 {
		t.Fatalf("%d bytes are free again", freed)
	}
}

func TestUnflushedFilesAreNotDeleted(t *testing.T) {
	r, s := cleaning(t)
	defer s.Close()
	s.flush.flushed.Store(20 << 10) // as if the rest were not synced
	r.clock.advance((72 + 16) * time.Hour)
	s.cleaner.round(context.Background())
	if got := s.commit.begin(); got != 16<<10 {
		t.Fatalf("the log begins at %d", got)
	}
}

func TestRatiosAreBounded(t *testing.T) {
	for _, c := range []struct{ most, force, warn, wantMost, wantForce, wantWarn int }{
		{75, 85, 90, 75, 85, 90}, {1, 1, 1, 10, 30, 35}, {100, 100, 100, 95, 85, 90},
	} {
		most, force, warn := ratios(&Options{DiskMaxUsedSpaceRatio: c.most, DiskSpaceCleanForciblyRatio: c.force, DiskSpaceWarningLevelRatio: c.warn})
		if int(most*100+.5) != c.wantMost || int(force*100+.5) != c.wantForce || int(warn*100+.5) != c.wantWarn {
			t.Errorf("%+v: %v %v %v", c, most, force, warn)
		}
	}
}

func TestFlagsAreNamed(t *testing.T) {
	var r runningFlags
	r.set(flagDiskFull | flagQueueWriteError)
	if got := r.String(); got != "consume queue write error, disk full" {
		t.Fatal(got)
	}
	r.clear(flagQueueWriteError)
	if r.writeable() || !r.readable() || r.String() != "disk full" {
		t.Fatal(r.String())
	}
}
