package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"apogee/store/record"
	"apogee/store/vfs"
)

// A topic of cleanup.policy=COMPACTION keeps the newest message of each key (docs/format/compaction.md; Java CompactionStore and
// CompactionLog). Its messages go to the commit log and to consume queues as all do; beside those each queue has a compaction log,
// which is a copy of its records, and it is that which is read. Files of it that are full are written anew from time to time with
// what is still worth keeping.
//
// One goroutine copies. It follows the consume queues, so what a crash has taken from the compaction logs is copied again. Another one
// compacts, which may take long: it holds what belongs to a log only to begin and to put new files in the place of old ones. Readers take
// the files of a queue as one list, which is replaced as a whole.

// segment is one file of a compaction log with the file of entries that goes with it. The entries are those of a batch queue, each of
// one message; their queue offsets ascend and may have gaps.
type segment struct {
	log, cq *mappedFile
	first   atomic.Int64 // queue offset of the first entry
	n       atomic.Int64 // entries that can be read; stored after first
	last    atomic.Int64 // queue offset of the last entry, -1 for none; stored after n

	end int64 // the writer's: position in log where the next record goes
}

// unit is the i-th entry.
func (g *segment) unit(i int64) (u batchUnit, err error) {
	if err := g.cq.hold(); err != nil {
		return u, err
	}
	defer g.cq.release()
	var b [batchUnitSize]byte
	if err := g.cq.readAt(i*batchUnitSize, b[:]); err != nil {
		return u, err
	}
	u.read(b[:])
	return u, nil
}

// search is the first entry whose queue offset is at least off.
func (g *segment) search(off int64) (int64, error) {
	from, to := int64(0), g.n.Load()
	for from < to {
		mid := from + (to-from)/2
		u, err := g.unit(mid)
		if err != nil {
			return 0, err
		}
		if u.base >= off {
			to = mid
		} else {
			from = mid + 1
		}
	}
	return from, nil
}

// compactionLog is the compaction log of one queue.
type compactionLog struct {
	topic      string
	id         int32
	dir, cqDir string

	segments atomic.Pointer[[]*segment] // ascending, immutable; all but the last have entries

	gone  atomic.Bool // it is being deleted
	again atomic.Bool // there is a new queue of that name since

	passMu sync.Mutex // one compaction at a time; held throughout, by nobody else for long
	mu     sync.Mutex // guards all that follows, and changes of segments; held across writes and syncs

	next  int64 // queue offset of the next message to look at
	dirty bool  // written since the last sync
	made  bool  // files were made since

	swapping bool       // a swap is under way, or has failed and will be finished
	swapped  []*segment // its new files, which have their old names
}

func (l *compactionLog) list() []*segment { return *l.segments.Load() }

// bounds are the offsets that can be read; -1 and 0 for none.
func (l *compactionLog) bounds() (lo, hi int64) {
	lo = -1
	for _, g := range l.list() {
		if g.n.Load() == 0 {
			continue
		}
		if lo < 0 {
			lo = g.first.Load()
		}
		hi = max(hi, g.last.Load()+1)
	}
	return lo, hi
}

// compactor keeps the compaction logs of a store.
type compactor struct {
	s               *Store
	root            string
	logSize, cqSize int64
	ping            chan struct{}

	posMu     sync.Mutex       // guards both, and is held while the file is written
	positions map[string]int64 // by topic_queue: the offset up to which keys have been compared
	written   string           // the text of the file of positions

	mu   sync.RWMutex // guards logs; a leaf
	logs map[queueKey]*compactionLog
}

// Names under the store's root.
const (
	compactionDir    = "compaction"
	compactionLogDir = "compactionLog"
	compactionCqDir  = "compactionCq"
	compactingDir    = "compacting"
	positionFile     = "position-checkpoint"
)

func newCompactor(s *Store) *compactor {
	c := &compactor{s: s, root: path.Join(s.options().RootDir, compactionDir), ping: make(chan struct{}, 1)}
	c.logs, c.positions = map[queueKey]*compactionLog{}, map[string]int64{}
	c.logSize, c.cqSize = CompactionSizes(s.options().CompactionMappedFileSize, s.options().CompactionCqMappedFileSize)
	return c
}

// CompactionSizes are the sizes of the files: the queue's is cut to whole entries, the log's to a multiple of that (CompactionLog).
func CompactionSizes(log, cq int64) (logSize, cqSize int64) {
	cqSize = max(cq/batchUnitSize, 2) * batchUnitSize
	switch n, rest := log/cqSize, log%cqSize; {
	case n < 5:
		return 5 * cqSize, cqSize
	case rest > 0 && rest < cqSize/2:
		return n * cqSize, cqSize
	default:
		return (n + 1) * cqSize, cqSize
	}
}

// find is the log of a queue, nil if there is none.
func (c *compactor) find(topic string, id int32) *compactionLog {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if l := c.logs[queueKey{topic, id}]; l != nil && !l.gone.Load() {
		return l
	}
	return nil
}

// ask has a log that is being deleted followed by a new one; false if there is none at all.
func (c *compactor) ask(topic string, id int32) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	l := c.logs[queueKey{topic, id}]
	if l != nil && l.gone.Load() {
		l.again.Store(true)
	}
	return l != nil
}

// add makes the log of a queue if there is none; its files are made with the first message.
func (c *compactor) add(topic string, id int32) {
	if c.ask(topic, id) {
		return
	}
	l := c.newLog(topic, id)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.logs[queueKey{topic, id}] == nil {
		c.logs[queueKey{topic, id}] = l
	}
}

func (c *compactor) newLog(topic string, id int32) *compactionLog {
	name := strconv.Itoa(int(id))
	l := &compactionLog{topic: topic, id: id, dir: path.Join(c.root, compactionLogDir, topic, name), cqDir: path.Join(c.root, compactionCqDir, topic, name)}
	l.segments.Store(&[]*segment{})
	return l
}

func (c *compactor) all() []*compactionLog {
	c.mu.RLock()
	defer c.mu.RUnlock()
	l := make([]*compactionLog, 0, len(c.logs))
	for _, log := range c.logs {
		l = append(l, log)
	}
	return l
}

// notice says that a queue of a compaction topic has grown.
func (c *compactor) notice() { signal(c.ping) }

// load finds the compaction logs on disk.
func (c *compactor) load() error {
	if err := c.loadPositions(); err != nil {
		return err
	}
	root := path.Join(c.root, compactionLogDir)
	topics, err := c.s.fs.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, topic := range topics {
		if !topic.Dir || c.s.kindOf(topic.Name) != CompactionQueue {
			continue // of a topic that is gone: left alone
		}
		ids, err := c.s.fs.ReadDir(path.Join(root, topic.Name))
		if err != nil {
			return err
		}
		for _, info := range ids {
			id, err := strconv.ParseInt(info.Name, 10, 32)
			if err != nil || id < 0 || !info.Dir {
				continue
			}
			c.add(topic.Name, int32(id))
			if err := c.loadLog(c.find(topic.Name, int32(id))); err != nil {
				return fmt.Errorf("load compaction log %s/%d: %w", topic.Name, id, err)
			}
		}
	}
	return nil
}

// loadLog finds the files of one log. A file without its partner is the rest of a roll-over that was cut short.
func (c *compactor) loadLog(l *compactionLog) error {
	if err := c.finishSwap(l); err != nil {
		return err
	}
	logs, cqs := newMappedQueue(c.s.fs, l.dir, c.logSize, 0), newMappedQueue(c.s.fs, l.cqDir, c.cqSize, 0)
	logs.readOnly, cqs.readOnly = true, true
	if err := errors.Join(logs.load(c.s.lastExit, c.setAside), cqs.load(c.s.lastExit, c.setAside)); err != nil {
		return err
	}
	var list []*segment
	for _, f := range logs.list() {
		i := slices.IndexFunc(cqs.list(), func(cq *mappedFile) bool { return cq.base == f.base })
		if i < 0 {
			c.s.log.Warn("file of a compaction log without its queue removed", "file", f.path)
			if err := f.remove(); err != nil {
				return err
			}
			continue
		}
		list = append(list, &segment{log: f, cq: cqs.list()[i]})
	}
	for _, cq := range cqs.list() {
		if !slices.ContainsFunc(list, func(g *segment) bool { return g.cq == cq }) {
			c.s.log.Warn("queue of a compaction log without its file removed", "file", cq.path)
			if err := cq.remove(); err != nil {
				return err
			}
		}
	}
	return c.recoverLog(l, list)
}

// setAside moves a file that cannot be one of a compaction log out of the way; what was in it, and is in the commit log, is copied again.
func (c *compactor) setAside(odd oddFile) error {
	to, err := c.s.quarantine(odd.name)
	if err == nil {
		c.s.log.Error("file of a compaction log is damaged; messages that are in the commit log are copied again", "err", odd.why, "moved", to)
	}
	return err
}

// recoverLog finds the ends of the files. After an unclean exit the records of the last three are looked at, as is done with queues; the
// first that is none ends the log.
func (c *compactor) recoverLog(l *compactionLog, list []*segment) error {
	for i, g := range list {
		n, err := g.countUnits()
		if err != nil {
			return err
		}
		valid := n
		if c.s.lastExit == uncleanExit && i >= len(list)-3 {
			if valid, err = g.countRecords(n); err != nil {
				return err
			}
		}
		if err := g.settle(valid); err != nil {
			return err
		}
		if valid < n || valid == 0 && i < len(list)-1 { // what follows is copied again
			for _, rest := range list[i+1:] {
				if err := errors.Join(rest.log.remove(), rest.cq.remove()); err != nil {
					return err
				}
			}
			if err := g.clearUnits(valid, n); err != nil {
				return err
			}
			list = list[:i+1]
			break
		}
	}
	l.segments.Store(&list)
	_, l.next = l.bounds()
	l.dirty = c.s.lastExit == uncleanExit
	l.made = l.dirty
	if q := c.s.queues.get(l.topic, l.id); q != nil && q.cq.served() && c.s.lastExit == uncleanExit && l.next > q.cq.max.Load() {
		return c.cut(l, q.cq.max.Load())
	}
	return nil
}

// countUnits is how many entries there are ahead of the first that is none.
func (g *segment) countUnits() (int64, error) {
	from, to := int64(0), g.cq.size/batchUnitSize
	for from < to {
		mid := from + (to-from)/2
		u, err := g.unit(mid)
		if err != nil {
			return 0, err
		}
		if u.phys < 0 || u.size <= 0 || u.base < 0 || u.num <= 0 {
			to = mid
		} else {
			from = mid + 1
		}
	}
	return from, nil
}

// countRecords is how many of the entries have their record.
func (g *segment) countRecords(n int64) (int64, error) {
	if err := g.log.hold(); err != nil {
		return 0, err
	}
	defer g.log.release()
	for i := range n {
		u, err := g.unit(i)
		if err != nil {
			return 0, err
		}
		pos := u.phys - g.log.base
		if pos < 0 || pos+int64(u.size) > g.log.size {
			return i, nil
		}
		var bad error
		err = g.log.guard(func() error {
			var h record.Header
			if bad = record.Parse(g.log.data[pos:pos+int64(u.size)], &h); bad == nil && (h.QueueOffset != u.base || h.PhysicalOffset != u.phys) {
				bad = errNoRecord
			}
			if bad == nil {
				bad = h.CheckBody()
			}
			return nil
		})
		if err != nil || bad != nil {
			return i, err
		}
	}
	return n, nil
}

// settle makes n entries those that can be read.
func (g *segment) settle(n int64) error {
	g.end = 0
	g.last.Store(-1)
	if n > 0 {
		first, err := g.unit(0)
		last, err2 := g.unit(n - 1)
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		g.first.Store(first.base)
		g.n.Store(n)
		g.last.Store(last.base)
		g.end = last.phys + int64(last.size) - g.log.base
	}
	g.log.wrote.Store(g.end)
	g.cq.wrote.Store(n * batchUnitSize)
	g.n.Store(n)
	return nil
}

// clearUnits makes sure that entries that do not count are none at the next start either.
func (g *segment) clearUnits(from, to int64) error {
	if from >= to {
		return nil
	}
	return clearFile(g.cq, from*batchUnitSize, to*batchUnitSize)
}

// unmapIdle drops mappings that have not been used for a while.
func (c *compactor) unmapIdle() {
	for _, l := range c.all() {
		for _, g := range l.list() {
			g.log.unmapIdle()
			g.cq.unmapIdle()
		}
	}
}

// close unmaps the files of all logs.
func (c *compactor) close() {
	for _, l := range c.all() {
		for _, g := range l.list() {
			g.log.close()
			g.cq.close()
		}
	}
}

// remove deletes the log of a queue that has been deleted. There may be a new queue of that name. A compaction of it that is under way ends
// with the record that it is at.
func (c *compactor) remove(topic string, id int32) error {
	l := c.find(topic, id)
	if l == nil || !l.gone.CompareAndSwap(false, true) {
		return nil
	}
	l.passMu.Lock()
	defer l.passMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, g := range l.list() {
		g.log.close()
		g.cq.close()
	}
	err := errors.Join(vfs.RemoveAll(c.s.fs, l.dir), vfs.RemoveAll(c.s.fs, l.cqDir), c.setPosition(l, noPosition))
	c.mu.Lock()
	delete(c.logs, queueKey{topic, id})
	c.mu.Unlock()
	if l.again.Load() || c.s.queues.get(topic, id) != nil {
		c.add(topic, id)
		c.notice()
	}
	return err
}

// cut drops entries that the queue does not have, whose messages were lost with the end of the commit log.
func (c *compactor) cut(l *compactionLog, to int64) error {
	list := l.list()
	for i, g := range list {
		n := g.n.Load()
		if n == 0 || g.last.Load() < to {
			continue
		}
		keep, err := g.search(to)
		if err != nil {
			return err
		}
		if err := errors.Join(g.settle(keep), g.clearUnits(keep, n)); err != nil {
			return err
		}
		for _, rest := range list[i+1:] {
			if err := errors.Join(rest.log.remove(), rest.cq.remove()); err != nil {
				return err
			}
		}
		list = list[:i+1]
		l.segments.Store(&list)
		break
	}
	_, l.next = l.bounds()
	return nil
}
