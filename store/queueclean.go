package store

import (
	"errors"
	"fmt"
	"path"
)

// cleanQueues moves min offsets to the first records that are still in the log, and deletes queue and index files that only
// know older ones; never the last file of a queue, which holds its place.
func (s *Store) cleanQueues(minPhysical int64) error {
	var errs error
	for q := range s.queues.each {
		if !q.cq.served() {
			continue
		}
		if err := s.cleanQueue(&q.cq, minPhysical); err != nil {
			errs = errors.Join(errs, fmt.Errorf("clean consume queue %s/%d: %w", q.topic, q.id, err))
		}
	}
	return errors.Join(errs, s.index.clean(minPhysical))
}

func (s *Store) cleanQueue(c *consumeQueue, minPhysical int64) error {
	if err := c.correctMin(minPhysical, s.physEnd(c)); err != nil {
		return err
	}
	old := func() bool {
		l := c.files.list()
		return len(l) > 1 && l[0].end() <= c.min.Load()*c.width
	}
	if !old() {
		return nil
	}
	v := &s.dispatch.saver
	v.passMu.Lock() // nobody notes what is there meanwhile
	defer v.passMu.Unlock()
	if err := s.forgetQueueEnds(); err != nil {
		return err
	}
	c.saveMu.Lock()
	defer c.saveMu.Unlock()
	for old() {
		if err := c.files.removeFirst(); err != nil {
			return err
		}
	}
	return nil
}

// physEnd is the end of the furthest record a queue knows, 0 for none.
func (s *Store) physEnd(c *consumeQueue) int64 {
	s.dispatch.mu.Lock()
	defer s.dispatch.letGo()
	return c.physEnd
}

// idlePasses is how many looks of unmapIdle a queue stays mapped without being read.
const idlePasses = 2

// unmapIdle drops mappings that have not been used for a while; called every now and then.
func (s *Store) unmapIdle() {
	s.checkLog()
	for _, f := range s.commit.files.list() {
		f.unmapIdle()
	}
	for q := range s.queues.each {
		c := &q.cq
		if c.reads.Load() == 0 {
			continue
		}
		c.reads.Add(-1)
		for _, f := range c.files.list() {
			f.unmapIdle()
		}
	}
	s.compact.unmapIdle()
	s.index.unmapIdle()
}

// checkLog looks if files of the log have been cut short underneath. Those who send from a mapping only hear that it cannot be read; from
// here on they are told which file it is. With the file that is written the store takes no more: what follows would lie behind a hole.
func (s *Store) checkLog() {
	for _, f := range s.commit.files.list() {
		if f.resting() {
			continue
		}
		if err := f.shrunk(); err != nil {
			s.log.Error("file of the commit log is damaged", "err", err)
			if f == s.commit.files.last() {
				s.fail(err)
			}
		}
	}
}

// CheckLog has that done soon.
func (s *Store) CheckLog() {
	select {
	case s.cleaner.check <- struct{}{}:
	default:
	}
}

// closeQueues unmaps queue and index files.
func (s *Store) closeQueues() {
	for q := range s.queues.each {
		if q.cq.served() {
			q.cq.files.close()
		}
	}
	if s.index != nil {
		s.index.close()
	}
}

// Queues lists topic to queue ids that the store has, for admin codes and cleaning.
func (s *Store) Queues() map[string][]int32 { return s.queues.ids() }

// DeleteTopics removes the consume queues of topics and forgets their offsets: the next message of such a queue has offset 0.
// Their messages stay in the log.
func (s *Store) DeleteTopics(topics ...string) error {
	gone := map[string]bool{}
	for _, t := range topics {
		gone[t] = true
	}
	err := s.destroyThose(func(q *queue) bool { return gone[q.topic] })
	for _, l := range s.compact.all() {
		if gone[l.topic] {
			err = errors.Join(err, s.compact.remove(l.topic, l.id))
		}
	}
	return err
}

// CleanExpiredQueues removes queues whose messages are all gone from the log (never of the topics that keep says).
func (s *Store) CleanExpiredQueues(keep func(topic string) bool) error {
	begin := s.commit.begin()
	return s.destroyThose(func(q *queue) bool {
		if keep(q.topic) || q.kind == CompactionQueue { // the offsets of a compaction log go on from those of its queue
			return false
		}
		end := s.physEnd(&q.cq)
		return end > 0 && end <= begin
	})
}

// destroyQueues removes every consume queue, for a directory without a log.
func (s *Store) destroyQueues() error { return s.destroyThose(func(*queue) bool { return true }) }

func (s *Store) destroyThose(which func(*queue) bool) error {
	var errs error
	for _, q := range s.queues.all() {
		if q.cq.served() && which(q) {
			if err := s.destroyQueue(q); err != nil {
				errs = errors.Join(errs, fmt.Errorf("remove consume queue %s/%d: %w", q.topic, q.id, err))
			}
		}
	}
	return errs
}

// destroyQueue removes a queue. A put of the same topic may make a new one at once; the saver is kept out meanwhile, since the
// new one has the same file names.
func (s *Store) destroyQueue(q *queue) error {
	d := s.dispatch
	d.saver.passMu.Lock()
	defer d.saver.passMu.Unlock()
	if err := s.forgetQueueEnds(); err != nil {
		return err
	}
	s.queues.remove(q)
	s.commit.retire(q)
	q.cq.saveMu.Lock()
	defer q.cq.saveMu.Unlock()
	d.mu.Lock()
	d.drop(q)
	d.letGo()
	return s.removeQueueFiles(q)
}

// drop gives up what a queue has in memory, and lets nothing more in. Under the right to dispatch and saveMu.
func (d *dispatcher) drop(q *queue) {
	c := &q.cq
	c.dropped.Store(true)
	d.written.Add(c.max.Load() - c.saved.Load())
	c.saved.Store(c.max.Load())
	c.forget(&d.heap)
}

// removeQueueFiles removes the files of a queue that was dropped, and what they leave empty.
func (s *Store) removeQueueFiles(q *queue) error {
	if err := q.cq.files.destroy(); err != nil {
		return err
	}
	dir := path.Dir(q.cq.files.dir)
	if infos, err := s.fs.ReadDir(dir); err == nil && len(infos) == 0 {
		return s.fs.Remove(dir)
	}
	return nil
}
