package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"apogee/store/vfs"
)

// A queue whose directory is lost, or its last file, looks like one that never had those entries: its next message would get an offset that
// it has had, and the others could not be read. So a clean stop leaves the ends of all queues in a file of ours, and the next start
// makes again what is missing. The file counts only if nobody has opened the directory since, which shows in the time of the lock file: a
// Java broker writes it at each start, and may have deleted queues.

// queueEndsFile is that file, below the store's root.
const queueEndsFile = "queues.json"

// queueEnds is what is in it: by topic and queue, how many entries there are.
type queueEnds struct {
	Lock   int64                      `json:"lock"` // when the lock file was written, ns
	Queues map[string]map[int32]int64 `json:"queues"`
}

// writeQueueEnds is for the end of a clean stop.
func (s *Store) writeQueueEnds() error {
	lock, err := s.fs.Stat(s.files.lock)
	if err != nil {
		return err
	}
	ends := queueEnds{Lock: lock.ModTime.UnixNano(), Queues: map[string]map[int32]int64{}}
	for q := range s.queues.each {
		c := &q.cq
		if !c.served() || c.max.Load() == 0 {
			continue
		}
		of := ends.Queues[q.topic]
		if of == nil {
			of = map[int32]int64{}
			ends.Queues[q.topic] = of
		}
		of[q.id] = c.max.Load()
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

// checkQueueEnds marks queues that have lost entries since the last clean stop. It is only a help: without the file, or with one that cannot
// be read, nothing is known.
func (s *Store) checkQueueEnds() {
	lock, err := s.fs.Stat(s.files.lock)
	if err != nil {
		return
	}
	text, err := vfs.ReadFile(s.fs, path.Join(s.options().RootDir, queueEndsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var ends queueEnds
	if err == nil {
		err = json.Unmarshal(text, &ends)
	}
	if err != nil {
		s.log.Warn("ends of queues are not known; consume queues are taken as they are", "err", err)
		return
	}
	if ends.Lock != lock.ModTime.UnixNano() {
		return
	}
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
