package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"apogee/store/vfs"
)

// A queue whose directory is lost, or its first or last file, looks like one that never had those entries: its next message would get an
// offset that it has had, and the others could not be read. So what is on disk of all queues is noted in a file of ours, and the next start
// makes again what is missing of it. The file counts only if nobody has started on the directory since, which shows in the time of the lock
// file: a Java broker writes it at each start, and may have deleted queues. Before entries or queues go for good, the file goes.

// queueEndsFile is that file, below the store's root.
const queueEndsFile = "queues.json"

// queueEnds is what is in it. Queues are by topic and id.
type queueEnds struct {
	Lock   int64                      `json:"lock"`             // when the lock file was written, ns
	Begin  int64                      `json:"begin"`            // of the log: when that moves, so may the firsts
	Queues map[string]map[int32]int64 `json:"queues"`           // how many entries are on disk
	Firsts map[string]map[int32]int64 `json:"firsts,omitempty"` // the first entry that there is a file for, where that is not 0
}

func noteQueue(in map[string]map[int32]int64, q *queue, n int64) {
	if n == 0 {
		return
	}
	of := in[q.topic]
	if of == nil {
		of = map[int32]int64{}
		in[q.topic] = of
	}
	of[q.id] = n
}

// noteShare bounds the share of the time that is spent on noting the ends of very many queues.
const noteShare = 200

// noteEnds notes what is on disk now and then. It is the saver's goroutine's.
func (v *saver) noteEnds(s *Store) {
	began := s.now()
	if began.Before(v.noteAt) {
		return
	}
	v.passMu.Lock()
	defer v.passMu.Unlock()
	s.tryQueueEnds()
	every := time.Duration(s.options().FlushConsumeQueueThoroughMs) * time.Millisecond
	v.noteAt = began.Add(max(every, noteShare*s.now().Sub(began)))
}

// tryQueueEnds writes the file. Without it the next start knows less.
func (s *Store) tryQueueEnds() {
	if err := s.writeQueueEnds(); err != nil {
		s.log.Warn("ends of queues not written", "err", err)
	}
}

// writeQueueEnds is called with nobody about who takes entries or queues away: at the start, under passMu, and when all has stopped.
func (s *Store) writeQueueEnds() error {
	s.endsNoted.Store(true) // or something that does no harm
	lock, err := s.fs.Stat(s.files.lock)
	if err != nil {
		return err
	}
	ends := queueEnds{Lock: lock.ModTime.UnixNano(), Begin: s.commit.begin(), Queues: map[string]map[int32]int64{}, Firsts: map[string]map[int32]int64{}}
	for q := range s.queues.each {
		c := &q.cq
		if !c.served() {
			continue
		}
		c.saveMu.Lock()
		synced, first := c.synced, c.files.minOffset()/c.width
		c.saveMu.Unlock()
		noteQueue(ends.Queues, q, synced)
		noteQueue(ends.Firsts, q, first)
	}
	text, err := json.Marshal(&ends)
	if err == nil {
		err = vfs.WriteFileAtomic(s.fs, path.Join(s.options().RootDir, queueEndsFile), text)
	}
	if err != nil {
		return fmt.Errorf("write the ends of queues: %w", err)
	}
	return nil
}

// forgetQueueEnds is for before entries or queues are taken away.
func (s *Store) forgetQueueEnds() error {
	if !s.endsNoted.Load() {
		return nil
	}
	root := s.options().RootDir
	if err := s.fs.Remove(path.Join(root, queueEndsFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget the ends of queues: %w", err)
	}
	if err := s.fs.SyncDir(root); err != nil {
		return fmt.Errorf("forget the ends of queues: %w", err)
	}
	s.endsNoted.Store(false)
	return nil
}

// loadQueueEnds reads the file. It is only a help: without it, or with one that cannot be read, nothing is known.
func (s *Store) loadQueueEnds() (ends queueEnds) {
	lock, err := s.fs.Stat(s.files.lock)
	if err != nil || s.commit.files.last() == nil {
		return ends
	}
	text, err := vfs.ReadFile(s.fs, path.Join(s.options().RootDir, queueEndsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return ends
	}
	if err == nil {
		err = json.Unmarshal(text, &ends)
	}
	if err != nil {
		s.log.Warn("ends of queues are not known; consume queues are taken as they are", "err", err)
		return queueEnds{}
	}
	if ends.Lock != lock.ModTime.UnixNano() {
		return queueEnds{}
	}
	return ends
}

// lacksFirst tells whether files of a queue are missing in front: they go with the log's first file, or not at all.
func (e *queueEnds) lacksFirst(q *queue, begin int64) bool {
	first := q.cq.files.minOffset() / q.cq.width
	return e.Queues[q.topic][q.id] > 0 && e.Begin == begin && first > e.Firsts[q.topic][q.id]
}

// checkQueueEnds marks queues that have lost entries since they were noted.
func (s *Store) checkQueueEnds(ends *queueEnds) {
	for topic, queues := range ends.Queues {
		for id, end := range queues {
			q := s.queues.get(topic, id)
			if q != nil && (!q.cq.served() || q.cq.max.Load() >= end) {
				continue
			}
			if q == nil {
				q = s.queues.getOrCreate(topic, id)
			}
			if q.cq.served() {
				q.cq.broken = true
			}
		}
	}
}
