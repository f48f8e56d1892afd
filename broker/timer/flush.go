package timer

import (
	"errors"
	"fmt"
	"sync"

	"apogee/store/vfs"
)

// snapshot is what is to be written at one moment.
type snapshot struct {
	files    []*logFile // of the timer log, to be synced
	pages    []page     // of the wheel, which know no unit that is not in these files
	progress progress
	hold     bool // the timer log is being made anew: the checkpoint stays behind it
	err      error
	again    bool // something is left for the next time
}

// progress is what the checkpoint says, and how much of the commit log it relies on. A timer that follows notes its master's.
type progress struct {
	read, queue, log, end int64
	follows               bool
	master                checkpoint // if it follows, and knows one
}

// maxKeptPages bounds what a snapshot keeps for the next.
const maxKeptPages = 512

// flush hands what has changed to the saver, if it is time.
func (s *Service) flush() {
	now := s.now()
	if !s.dirty || s.flushing || now < s.flushAt {
		return
	}
	if now >= s.cleanAt {
		s.cleanAt = now + cleanEvery.Milliseconds()
		if begin, _, _ := s.opts.Ends(); len(s.log.files) > 1 {
			if err := s.log.clean(begin); err != nil {
				s.opts.Log.Error("timer log cannot be cleaned", "err", err)
			}
		}
	}
	if err := s.log.write(); err != nil { // the wheel knows units that are in no file
		s.opts.Log.Error("timer is not on disk", "err", err)
		s.flushAt = now + s.opts.FlushEvery.Milliseconds()
		return
	}
	s.dirty, s.flushing = false, true
	s.saver.requests <- s.snapshot()
}

// snapshot takes what has changed for written; flushed or a failed save takes that back.
func (s *Service) snapshot() *snapshot {
	n := s.saver.spare
	s.saver.spare = nil
	if n == nil || cap(n.pages) > maxKeptPages {
		n = new(snapshot)
	}
	*n = snapshot{files: n.files[:0], pages: s.wheel.takeDirty(n.pages[:0]), hold: s.repeat.read > 0}
	for _, f := range s.log.files {
		if f.dirty {
			f.dirty = false
			n.files = append(n.files, f)
		}
	}
	n.progress = progress{
		read: s.readTime.Load(), queue: s.queueOffset.Load(), log: s.log.end - int64(len(s.log.staged)), end: s.putEnd,
	}
	if f := &s.following; f.on {
		n.progress.follows = true
		if f.known {
			n.progress.master = f.master
		}
	}
	return n
}

// flushed hears from the saver.
func (s *Service) flushed(n *snapshot) {
	s.flushing = false
	if n.err != nil {
		s.opts.Log.Error("timer is not on disk", "err", n.err)
		for i := range n.pages {
			s.wheel.touch(n.pages[i].number)
		}
		for _, f := range n.files {
			f.dirty = true
		}
	}
	s.saver.spare = n
	if n.err != nil || n.again {
		s.changed()
	}
}

// saver writes the files, on a goroutine of its own.
type saver struct {
	opts     *Options
	metrics  *metrics
	requests chan *snapshot
	results  chan *snapshot
	done     sync.WaitGroup
	spare    *snapshot // the run loop's

	mu   sync.Mutex // guards last against those who ask for it
	last checkpoint // as in the file

	// All that follows belongs to whoever saves.
	wheel   vfs.File
	check   vfs.File
	waiting *progress // the last one that was not yet safe
	written bool      // there is a checkpoint file
	broken  error     // a sync has failed: what is on disk is not known any more, and the checkpoint stays where it is
}

func (v *saver) init(opts *Options, m *metrics) {
	v.opts, v.metrics = opts, m
	v.requests, v.results = make(chan *snapshot, 1), make(chan *snapshot, 1)
}

func (v *saver) start() {
	requests := v.requests
	v.done.Go(func() { v.run(requests) })
}

func (v *saver) run(requests <-chan *snapshot) {
	for n := range requests {
		n.err = v.save(n, false)
		v.results <- n
	}
}

// stop ends the goroutine; a snapshot under way is in results then.
func (v *saver) stop() {
	if v.requests != nil {
		close(v.requests)
		v.requests = nil
	}
	v.done.Wait()
}

func (v *saver) checkpoint() checkpoint {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.last
}

// save writes a snapshot: the log, then the wheel, then how far both have got. final says that all of the commit log is on disk.
func (v *saver) save(n *snapshot, final bool) error {
	if v.broken != nil {
		return v.broken
	}
	for _, f := range n.files {
		if err := f.f.Sync(); err != nil {
			v.broken = fmt.Errorf("sync timer log: %w", err)
			return v.broken
		}
	}
	if err := v.writeWheel(n.pages); err != nil {
		return err
	}
	err := v.saveProgress(n, final)
	if text := v.metrics.takeChanged(); text != nil {
		e := v.opts.FS.MkdirAll(v.opts.Dir + "/config")
		if e == nil {
			e = vfs.WriteFileAtomic(v.opts.FS, metricsName(v.opts.Dir), text)
		}
		if e != nil {
			v.metrics.again()
			err = errors.Join(err, fmt.Errorf("timer metrics: %w", e))
		}
	}
	return err
}

func (v *saver) writeWheel(pages []page) error {
	if len(pages) == 0 {
		return nil
	}
	if v.wheel == nil {
		f, err := openWheel(v.opts.FS, v.opts.Dir)
		if err != nil {
			return fmt.Errorf("timer wheel: %w", err)
		}
		v.wheel = f
	}
	for i := range pages {
		p := &pages[i]
		if _, err := v.wheel.WriteAt(p.data[:], int64(p.number)*pageSize); err != nil {
			return fmt.Errorf("timer wheel: %w", err)
		}
	}
	if err := v.wheel.Sync(); err != nil {
		v.broken = fmt.Errorf("sync timer wheel: %w", err)
		return v.broken
	}
	return nil
}

// saveProgress writes the checkpoint with the newest progress that is safe.
func (v *saver) saveProgress(n *snapshot, final bool) error {
	p := n.progress
	if n.hold {
		return nil
	}
	if !final {
		_, _, flushed := v.opts.Ends()
		switch {
		case p.end <= flushed:
			v.waiting = nil
		case v.waiting == nil || v.waiting.end > flushed:
			if v.waiting == nil { // else it stays, so that its turn comes however far the flush is behind
				v.waiting = &p
			}
			n.again = true
			return nil
		default:
			next := p
			p, v.waiting = *v.waiting, &next
			n.again = true
		}
	}
	v.mu.Lock()
	c := v.last
	v.mu.Unlock()
	was := c
	moved := c.read != p.read || c.queue != p.queue || c.master != p.queue
	c.read, c.log, c.queue = p.read, p.log, p.queue
	switch {
	case !p.follows:
		if c.master = p.queue; moved {
			c.version = c.version.Next(0, v.opts.Now())
		}
	case p.master != checkpoint{}:
		c.master, c.version = p.master.queue, p.master.version
	}
	if c == was && v.written {
		return nil
	}
	if err := v.writeCheckpoint(&c); err != nil {
		return fmt.Errorf("timer checkpoint: %w", err)
	}
	v.written = true
	v.mu.Lock()
	v.last = c
	v.mu.Unlock()
	return nil
}

func (v *saver) writeCheckpoint(c *checkpoint) (err error) {
	if v.check == nil {
		if v.check, err = openCheckpoint(v.opts.FS, v.opts.Dir); err != nil {
			return err
		}
	}
	if _, err := v.check.WriteAt(c.encode(), 0); err != nil {
		return err
	}
	return v.check.Sync()
}

func (v *saver) close() error {
	var err error
	for _, f := range []*vfs.File{&v.wheel, &v.check} {
		if *f != nil {
			err = errors.Join(err, (*f).Close())
			*f = nil
		}
	}
	return err
}
