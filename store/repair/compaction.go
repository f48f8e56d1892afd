package repair

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"apogee/store/inspect"
	"apogee/store/verify"
	"apogee/store/vfs"
)

// Folders of compaction logs (docs/format/compaction.md).
const (
	compactionDir = "compaction"
	compactedLogs = "compaction/compactionLog"
	compactedCqs  = "compaction/compactionCq"
)

// lookCompaction has verify look at the compaction logs. One that is damaged is a copy of what the commit log has, as long as that has all of
// it: then it is set aside, and a start copies it again. Where the commit log begins later the newest message of a key may be nowhere else.
func (r *run) lookCompaction() error {
	if _, err := r.fs.Stat(path.Join(r.root, compactionDir)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	bad := map[string][]string{} // by topic/queue
	_, err := verify.Compaction(context.Background(), verify.Options{
		Root: vfs.ReadOnly(r.fs, r.root), Log: vfs.ReadOnly(r.fs, r.s.CommitLogDir), Report: func(f verify.Finding) {
			for _, dir := range []string{compactedLogs, compactedCqs} {
				if rest, ok := cutDir(f.File, dir); ok && f.Level == verify.Damage {
					key := path.Dir(rest)
					bad[key] = append(bad[key], fmt.Sprintf("%s: %s", f.File, f.Text))
				}
			}
		},
	})
	if err != nil && !errors.Is(err, verify.ErrNoStore) {
		return err
	}
	for _, key := range sortedKeys(bad) {
		if err := r.compactionStep(key, bad[key]); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) compactionStep(key string, found []string) error {
	topic, id, ok := strings.Cut(key, "/")
	n, err := strconv.ParseInt(id, 10, 32)
	if !ok || err != nil {
		return nil // no compaction log
	}
	logs, cqs := path.Join(r.root, compactedLogs, key), path.Join(r.root, compactedCqs, key)
	oldest, err := r.oldestCompacted(cqs)
	if err != nil {
		return err
	}
	s := Step{Kind: Compacted, Path: r.below(logs), Found: found[0]}
	if len(found) > 1 {
		s.Found += fmt.Sprintf(", and %d things more", len(found)-1)
	}
	if q := r.queues[queueKey{topic, int32(n)}]; q != nil && q.sum.n > 0 && !q.gaps && q.first <= oldest {
		s.Do = "set it aside with its entries: the commit log has all of it, and the next start of Apogee copies it again"
		s.apply = func() error {
			if err := r.quarantine(path.Join(r.root, compactionDir, "position-checkpoint")); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return r.quarantineFolders(logs, cqs)
		}
	} else {
		s.State = Remains
		s.Lost = fmt.Sprintf("what is damaged, and what follows it if a start after a crash ends the log there: messages from queue offset %d on, of which the commit log has not all any more", oldest)
		s.Do = fmt.Sprintf("nothing: what can be read is served. Put %s and %s of a backup or a slave in their place; or move both away, with no broker running, to have them made again of what the commit log still has",
			r.below(logs), r.below(cqs))
	}
	r.add(s)
	return nil
}

// oldestCompacted is the queue offset of the first entry of a compaction log; 0 where there is none to be read.
func (r *run) oldestCompacted(dir string) (int64, error) {
	infos, err := r.list(dir)
	if err != nil {
		return 0, err
	}
	for _, info := range infos {
		if _, ok := offsetName(info.Name); !ok || info.Size < batchUnit {
			continue
		}
		b := make([]byte, batchUnit)
		if _, err := vfs.ReadAt(r.fs, path.Join(dir, info.Name), b, 0); err != nil {
			return 0, err
		}
		if e, ok := inspect.ParseBatchEntry(b); ok {
			return e.QueueOffset, nil
		}
		return 0, nil
	}
	return 0, nil
}
