package store

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"apogee/store/vfs"
)

// When the cleaner runs (spec: store.md 8): the disk is looked at soon after the start, files are deleted later.
const (
	firstDiskCheck = time.Second
	firstClean     = 60 * time.Second
	manualRounds   = 20                // rounds for which a request to delete is kept
	hangedAfter    = 120 * time.Second // a deleted file is held unusually long (Java: destroyMapedFileIntervalForcibly)
)

// cleaner deletes what is old, and what must go to keep the disk from filling. It runs on one goroutine; round is one run.
type cleaner struct {
	s      *Store
	manual atomic.Int32 // rounds left in which files are deleted at any hour
	ping   chan struct{}
	check  chan struct{} // for files that were cut short

	// The loop's own.
	started time.Time
	now     bool // files are deleted regardless of their age
	cleaned int64
	hanged  []hangedFile
	shred   *shredder
}

// hangedFile is a deleted file that is still being read.
type hangedFile struct {
	f      *mappedFile
	blocks vfs.File // keeps them; may be nil
	since  time.Time
	told   bool
}

func newCleaner(s *Store) *cleaner {
	return &cleaner{s: s, ping: make(chan struct{}, 1), check: make(chan struct{}, 1), cleaned: -1, shred: &shredder{s, shredStep}}
}

func (c *cleaner) loop(ctx context.Context) {
	defer c.end()
	c.started = c.s.now()
	every := time.Duration(c.s.options().CleanResourceIntervalMs) * time.Millisecond
	timer := time.NewTimer(firstDiskCheck)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.ping:
			c.round(ctx)
		case <-c.check:
			c.s.checkLog()
		case <-timer.C:
			timer.Reset(every)
			c.s.unmapIdle()
			if c.s.now().Sub(c.started) < firstClean {
				c.spaceShort()
			} else {
				c.round(ctx)
			}
		}
	}
}

// DeleteExpired deletes files whose time is over now, whatever the hour (admin code 329; Java repeats it for 20 rounds).
func (s *Store) DeleteExpired() error {
	s.cleaner.manual.Store(manualRounds)
	select {
	case s.cleaner.ping <- struct{}{}:
	default:
	}
	return nil
}

// round checks the disk and deletes log files, then what depends on them.
func (c *cleaner) round(ctx context.Context) {
	short := c.spaceShort()
	manual := c.manual.Load() > 0
	if manual {
		c.manual.Add(-1)
	}
	if short || manual || c.timeToDelete() {
		if n := c.deleteLogFiles(ctx); n == 0 && short {
			c.s.log.Warn("disk is filling up and no commit-log file can be deleted")
		}
	}
	if begin := c.s.commit.begin(); begin > c.cleaned {
		if err := c.s.cleanQueues(begin); err != nil {
			c.s.log.Error("queues not cleaned", "err", err)
		} else {
			c.cleaned = begin
		}
	}
	c.watchHanged(ctx)
}

// timeToDelete is true in the hours of deleteWhen, local time.
func (c *cleaner) timeToDelete() bool {
	hour := c.s.now().Hour()
	for _, part := range strings.Split(c.s.options().DeleteWhen, ";") {
		if h, err := strconv.Atoi(strings.TrimSpace(part)); err == nil && h == hour {
			return true
		}
	}
	return false
}

// ratios are the three marks of disk usage with Java's bounds (MessageStoreConfig and CleanCommitLogService).
func ratios(o *Options) (most, force, warn float64) {
	part := func(percent, low, high int) float64 { return float64(min(max(percent, low), high)) / 100 }
	return part(o.DiskMaxUsedSpaceRatio, 10, 95), part(o.DiskSpaceCleanForciblyRatio, 30, 85), part(o.DiskSpaceWarningLevelRatio, 35, 90)
}

// spaceShort looks at the disks of log and queues, sets or clears the flags that make the store refuse messages, and tells
// whether files should go.
func (c *cleaner) spaceShort() bool {
	o := c.s.options()
	most, force, warn := ratios(o)
	ratio := 0.0
	for _, dir := range []string{o.CommitLogDir, o.RootDir} {
		u, err := c.s.fs.DiskUsage(dir)
		if err != nil {
			c.s.log.Error("disk usage unknown", "dir", dir, "err", err)
			continue
		}
		ratio = max(ratio, u.Ratio())
	}
	full := ratio > warn
	c.now = ratio > force || full
	c.flag(flagDiskFull, full, ratio)
	logic := o.ReplicasPerDiskPartition > 1 && c.logicRatio() > o.LogicalDiskSpaceCleanForcibly
	c.flag(flagLogicDiskFull, logic, ratio)
	c.now = c.now || logic
	return c.now || ratio > most
}

// logicRatio is what this broker's log uses of its share of the disk.
func (c *cleaner) logicRatio() float64 {
	o := c.s.options()
	u, err := c.s.fs.DiskUsage(o.CommitLogDir)
	if err != nil || u.Total == 0 {
		return 0
	}
	used := int64(len(c.s.commit.files.list())) * o.MappedFileSizeCommitLog
	return float64(used) * float64(o.ReplicasPerDiskPartition) / float64(u.Total)
}

func (c *cleaner) flag(f flag, on bool, ratio float64) {
	if on == c.s.flags.has(f) {
		return
	}
	if on {
		c.s.flags.set(f)
		c.s.log.Error("disk full: the store refuses messages", "used", ratio)
	} else {
		c.s.flags.clear(f)
		c.s.log.Info("disk has room again: the store takes messages", "used", ratio)
	}
}

// deleteLogFiles deletes from the oldest file on, never the last, and returns how many. By age it stops at the first that is
// too young; under pressure age does not count.
func (c *cleaner) deleteLogFiles(ctx context.Context) int {
	o := c.s.options()
	files := c.s.commit.files
	atOnce := c.now && o.CleanFileForciblyEnable
	n := 0
	for n < o.DeleteFileBatchMax && ctx.Err() == nil {
		l := files.list()
		if len(l) < 2 || l[0].end() > c.s.flush.flushed.Load() {
			break
		}
		f := l[0]
		if !atOnce && !c.expired(f) {
			break
		}
		if n > 0 && !pause(ctx, o.DeleteCommitLogFilesEveryMs) {
			break
		}
		blocks := c.shred.open(f)
		if err := files.removeFirst(); err != nil {
			if blocks != nil {
				_ = blocks.Close() // nothing was written to it
			}
			c.s.log.Error("commit-log file not deleted", "file", f.path, "err", err)
			break
		}
		n++
		c.s.log.Info("commit-log file deleted", "file", f.path, "forced", atOnce)
		if f.held() {
			c.hanged = append(c.hanged, hangedFile{f: f, blocks: blocks, since: c.s.now()})
		} else {
			c.shred.shred(ctx, f, blocks)
		}
	}
	return n
}

func (c *cleaner) expired(f *mappedFile) bool {
	st, err := c.s.fs.Stat(f.path)
	if err != nil {
		c.s.log.Error("age of commit-log file unknown", "file", f.path, "err", err)
		return false
	}
	return !c.s.now().Before(st.ModTime.Add(time.Duration(c.s.options().FileReservedTimeHours) * time.Hour))
}

// end lets go of what is still being read.
func (c *cleaner) end() {
	for _, h := range c.hanged {
		if h.blocks != nil {
			_ = h.blocks.Close() // nothing was written to it
		}
	}
	c.hanged = nil
}

// watchHanged tells of deleted files that somebody still reads: their space is not free yet.
func (c *cleaner) watchHanged(ctx context.Context) {
	live := c.hanged[:0]
	for _, h := range c.hanged {
		if !h.f.held() {
			c.shred.shred(ctx, h.f, h.blocks)
			continue
		}
		if !h.told && c.s.now().Sub(h.since) > hangedAfter {
			h.told = true
			c.s.log.Warn("deleted commit-log file is still being read", "file", h.f.path, "since", h.since)
		}
		live = append(live, h)
	}
	c.hanged = live
}

// pause waits; false if ctx ended meanwhile.
func pause(ctx context.Context, ms int64) bool {
	t := time.NewTimer(time.Duration(ms) * time.Millisecond)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
