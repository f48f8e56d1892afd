package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"apogee/store/vfs"
)

// QueueKind is what the queues of a topic are made of; the topic's attributes decide (Java queue.type, cleanup.policy).
type QueueKind int

const (
	SimpleQueue     QueueKind = iota // entries of 20 bytes under consumequeue
	BatchQueue                       // entries of 46 bytes under batchconsumequeue
	CompactionQueue                  // simple queues for dispatch, read through the compaction log
)

// prepareQueue completes a new queue of the table.
func (s *Store) prepareQueue(q *queue) {
	q.keyHash = keyHash(q.topic)
	q.kind = s.kindOf(q.topic)
	if q.kind == CompactionQueue {
		s.compact.add(q.topic, q.id)
	}
	q.cq.width = unitSize
	if !dirName(q.topic) {
		return
	}
	root, size := s.files.queues, s.options().MappedFileSizeConsumeQueue
	if q.kind == BatchQueue {
		q.cq.width, q.cq.inner = batchUnitSize, &batchBounds{}
		q.cq.inner.min.Store(-1)
		root, size = s.files.batchQueues, s.options().MapperFileSizeBatchConsumeQueue
	}
	q.cq.files = newMappedQueue(s.fs, path.Join(root, q.topic, strconv.Itoa(int(q.id))), size, 3)
}

func (s *Store) kindOf(topic string) QueueKind {
	ask := s.options().QueueKind
	if ask == nil {
		return SimpleQueue
	}
	kind := ask(topic)
	if kind == CompactionQueue && (!s.options().EnableCompaction || !dirName(topic)) {
		return SimpleQueue
	}
	return kind
}

// dirName tells whether a topic can be the name of a directory.
func dirName(topic string) bool {
	return topic != "" && topic != "." && topic != ".." && !strings.ContainsAny(topic, "/\x00")
}

// loadQueues finds the consume queues on disk and puts them into s.queues; it makes s.dispatch.
//
// What cannot be a queue is left alone: a queue whose topic is of another kind (Java refuses to start), other files and
// directories.
func (s *Store) loadQueues() error {
	var err error
	if s.delays, err = parseDelays(s.options().MessageDelayLevel); err != nil {
		return err
	}
	s.queues.prepare = s.prepareQueue
	s.dispatch = newDispatcher(s)
	s.ends = s.loadQueueEnds()
	return errors.Join(s.loadQueuesOf(s.files.queues), s.loadQueuesOf(s.files.batchQueues))
}

// loadQueuesOf loads the queues of one of the two directories.
func (s *Store) loadQueuesOf(root string) error {
	topics, err := s.fs.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		s.queuesLost = s.queuesLost || root == s.files.queues
		return nil
	}
	if err != nil {
		return err
	}
	return inParallel(len(topics), func(i int) error {
		if !topics[i].Dir {
			return nil
		}
		return s.loadTopic(root, topics[i].Name)
	})
}

func (s *Store) loadTopic(root, topic string) error {
	if (s.kindOf(topic) == BatchQueue) != (root == s.files.batchQueues) {
		s.log.Warn("consume queues of a topic of another kind left alone", "topic", topic, "dir", root)
		return nil
	}
	ids, err := s.fs.ReadDir(path.Join(root, topic))
	if err != nil {
		return err
	}
	for _, info := range ids {
		id, err := strconv.ParseInt(info.Name, 10, 32)
		if err != nil || id < 0 || !info.Dir {
			s.log.Warn("not a consume queue", "topic", topic, "name", info.Name)
			continue
		}
		q := s.queues.getOrCreate(topic, int32(id))
		if !q.cq.served() {
			continue
		}
		if err := s.loadQueue(q); err != nil {
			return fmt.Errorf("load consume queue %s/%d: %w", topic, id, err)
		}
	}
	return nil
}

// loadQueue finds the files of a queue. From the first on that cannot be right, or is missing, they are set aside, and their entries made
// again from the log. (Java does not start.)
func (s *Store) loadQueue(q *queue) error {
	c := &q.cq
	from := int64(noMark)
	var moved []string
	setAside := func(name string) error {
		to, err := s.quarantine(name)
		moved = append(moved, to)
		return err
	}
	var why error
	err := c.files.load(s.lastExit, func(odd oddFile) error {
		if odd.base < 0 {
			s.log.Warn("not a file of a consume queue, left alone", "file", odd.name)
			return nil
		}
		from, why = min(from, odd.base), errors.Join(why, odd.why)
		return setAside(odd.name)
	})
	if err != nil {
		return err
	}
	if s.ends.lacksFirst(q, s.commit.begin()) {
		from, why = 0, errors.Join(why, errNoFirst)
	}
	for _, f := range c.files.cutAt(from) {
		f.close()
		if err := setAside(f.path); err != nil {
			return err
		}
	}
	if len(moved) > 0 {
		if why == nil {
			why = errGap
		}
		c.broken = true
		s.log.Error("consume queue is damaged: files are set aside and made again from the commit log", "topic", q.topic, "queue", q.id, "err", why, "moved", moved)
	}
	return nil
}

var (
	errGap     = errors.New("a file in the middle is missing")
	errNoFirst = errors.New("the first file is missing")
)

// inParallelMost is how many calls of inParallel may wait for the disk at once: after a boot nothing of the queues is in memory.
const inParallelMost = 16

// inParallel calls fn for 0 to n-1, several at once, and joins what goes wrong.
func inParallel(n int, fn func(i int) error) error {
	share := min(max(n/64, 1), 16) // how many calls a goroutine takes up at once
	var mu sync.Mutex
	var errs error
	var next atomic.Int64
	work := func() {
		for {
			from := int(next.Add(int64(share))) - share
			if from >= n {
				return
			}
			for i := from; i < min(from+share, n); i++ {
				if err := fn(i); err != nil {
					mu.Lock()
					errs = errors.Join(errs, err)
					mu.Unlock()
				}
			}
		}
	}
	var others sync.WaitGroup
	for range min((n-1)/share, max(runtime.GOMAXPROCS(0), inParallelMost)-1) {
		others.Go(work)
	}
	work()
	others.Wait()
	return errs
}

// recoverQueues finds the end of each queue (spec: store.md 4.2) and returns the furthest record that any of them knows. After
// an unclean exit what it finds may be in the page cache only, so it counts as not flushed.
func (s *Store) recoverQueues(last exit) (extent, error) {
	all := slices.Collect(s.queues.each)
	ends := make([]extent, len(all))
	// Most queues are small: a look at each begins with about a page.
	bufs := sync.Pool{New: func() any { return new([200 * unitSize]byte) }}
	durable := int64(noMark)
	if last == uncleanExit {
		if durable = s.checkpoint.logicsPhysicalOffset.Load(); durable == 0 {
			durable = -1 // not even the record at 0
		}
	}
	err := inParallel(len(all), func(i int) (err error) {
		buf := bufs.Get().(*[200 * unitSize]byte)
		defer bufs.Put(buf)
		if ends[i], err = all[i].cq.recover(durable, buf[:]); err != nil {
			return fmt.Errorf("recover consume queue %s/%d: %w", all[i].topic, all[i].id, err)
		}
		return nil
	})
	var most extent
	for i, q := range all {
		if ends[i].end > most.end {
			most = ends[i]
		}
		if q.cq.synced < q.cq.saved.Load() {
			q.cq.toSync = true
			s.dispatch.saver.unsynced = append(s.dispatch.saver.unsynced, q)
		}
	}
	return most, err
}

// recover scans the last three files up to the first unit that cannot be one, and returns where the last unit's record lies.
// Entries of records after durable may not be on disk yet; noMark says that all are. buf is for the first look at a file.
func (c *consumeQueue) recover(durable int64, buf []byte) (last extent, err error) {
	if !c.served() || c.files.last() == nil {
		return last, nil
	}
	if durable != noMark { // of what a killed process has made, a file without an entry may be the last
		c.files.markUnsynced()
	}
	list := c.files.list()
	c.minPhys = -1
	if from := c.scanFrom(list, durable); from > 0 {
		list = list[from:]
	} else {
		c.minPhys = 0 // the scan will tell
	}
	end, first := list[0].base, int64(-1)
	for i, f := range list {
		r, err := scanUnits(f, c.width, last.end, buf)
		if err != nil {
			return last, err
		}
		if r.descends && r.real > 0 {
			r.back()
		}
		if r.real > 0 {
			last = r.last
			if first < 0 {
				first = (end + r.firstAt) / c.width
				if c.minPhys == 0 {
					c.minPhys = r.firstPhys
				}
			}
		}
		end += r.size
		if r.size < f.size {
			// An entry behind one that is none, of a record whose entry is on disk: what is in between was there once.
			c.broken = c.broken || r.behind > 0 && r.behind < durable || i+1 < len(list) && c.hasBefore(list[i+1], durable)
			break
		}
	}
	if f := c.files.find(end); f != nil && c.broken { // it must not be found again
		if err := clearFile(f, end-f.base, f.size); err != nil {
			return last, err
		}
	}
	c.physEnd = last.end
	c.max.Store(end / c.width)
	c.saved.Store(end / c.width)
	c.synced = end / c.width
	c.min.Store(min(c.files.minOffset(), end) / c.width)
	if c.minPhys > 0 {
		c.min.Store(first)
	}
	if err := c.files.truncate(end); err != nil {
		return last, err
	}
	if last.start > durable {
		c.synced = list[0].base / c.width
		for _, f := range c.files.from(list[0].base) {
			f.flushed.Store(0)
		}
	}
	return last, c.rebound()
}

// scanFrom is the file that the scan begins with: the third last one, or, after a power cut, one before it that begins with an entry that is
// on disk for good. Of what follows any page may have been lost.
func (c *consumeQueue) scanFrom(list []*mappedFile, durable int64) int {
	limit := int64(math.MaxInt64)
	if durable > 0 && durable != noMark {
		limit = durable + 1
	}
	from := max(len(list)-3, 0)
	for from > 0 && !c.hasBefore(list[from], limit) {
		from--
	}
	return from
}

// hasBefore tells whether a file starts with an entry of a record ahead of a log offset, so that all before it must be there.
func (c *consumeQueue) hasBefore(f *mappedFile, off int64) bool {
	var b [batchUnitSize]byte
	if readFileAt(f, b[:c.width], 0) != nil {
		return false
	}
	phys, size, _ := readUnit(b[:])
	return size > 0 && phys >= 0 && phys < off
}

// unitScan is what the valid units at the start of a file are.
type unitScan struct {
	width     int64 // of a unit
	size      int64 // bytes
	real      int   // how many are not blank
	firstAt   int64 // position of the first of those
	firstPhys int64
	last      extent // record of the last of those
	before    extent // and of the one before
	descends  bool   // what follows the last one is of a record ahead of its record's end: one of the two is damaged
	behind    int64  // record of an entry behind the first unit that is none, as far as it is at hand; 0 for none
}

func scanUnits(f *mappedFile, width, physEnd int64, buf []byte) (r unitScan, err error) {
	r.width, r.last.end = width, physEnd
	buf = buf[:min(int64(len(buf))/width*width, f.size)]
	n, err := vfs.ReadAt(f.fs, f.path, buf, 0)
	if err != nil || !r.take(buf[:n]) || n < len(buf) || r.size >= f.size {
		return r, err
	}
	file, err := f.fs.Open(f.path) // a large one
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	buf = make([]byte, 3200*width)
	for r.size < f.size {
		piece := buf[:min(int64(len(buf)), f.size-r.size)]
		n, err := file.ReadAt(piece, r.size)
		if n < len(piece) && !errors.Is(err, io.EOF) {
			return r, err
		}
		if !r.take(piece[:n]) || n < len(piece) {
			return r, nil
		}
	}
	return r, nil
}

// take adds units up to the first that cannot be one, and tells whether there is none such.
func (r *unitScan) take(units []byte) bool {
	w := int(r.width)
	for p := 0; p+w <= len(units); p += w {
		phys, size, _ := readUnit(units[p:])
		if phys < 0 || size <= 0 || w == batchUnitSize && !validBatchUnit(units[p:]) {
			r.lookBehind(units[p+w:])
			return false
		}
		if !blankUnit(phys, size) {
			if phys < r.last.end {
				r.descends = true
				r.behind = max(phys, 1)
				return false
			}
			if r.real++; r.real == 1 {
				r.firstAt, r.firstPhys = r.size, phys
			}
			r.before, r.last = r.last, extent{phys, phys + int64(size)}
		}
		r.size += r.width
	}
	return true
}

// lookBehind looks for an entry behind one that is none.
func (r *unitScan) lookBehind(units []byte) {
	w := int(r.width)
	for p := 0; p+w <= len(units); p += w {
		phys, size, _ := readUnit(units[p:])
		if phys >= r.last.end && size > 0 && size < blankSize && (phys > 0 || r.last.end == 0) {
			r.behind = max(phys, 1)
			return
		}
	}
}

// back drops the last unit.
func (r *unitScan) back() {
	r.real--
	r.size -= r.width
	r.last = r.before
	if r.real == 0 {
		r.last = extent{}
	}
}

// truncateQueues drops entries of records at or after a log offset. What follows in the files is cleared: it would look like
// entries to the next recovery, and by then the log may have other records there.
func (s *Store) truncateQueues(physical int64) error {
	if err := s.flushQueues(false); err != nil {
		return err
	}
	all := slices.Collect(s.queues.each)
	return inParallel(len(all), func(i int) error {
		c := &all[i].cq
		if !c.served() || c.physEnd <= physical && c.tail.Load() == nil {
			return nil
		}
		if err := s.truncateQueue(c, physical); err != nil {
			return fmt.Errorf("truncate consume queue %s/%d: %w", all[i].topic, all[i].id, err)
		}
		return nil
	})
}

func (s *Store) truncateQueue(c *consumeQueue, physical int64) error {
	n, err := c.save(&s.dispatch.heap, make([]byte, chunkMost*unitSize))
	s.dispatch.written.Add(n)
	if err != nil {
		return err
	}
	end, err := c.search(c.files.minOffset()/c.width, c.max.Load(), func(phys int64, _ int32) bool { return phys >= physical })
	if err != nil {
		return err
	}
	c.saveMu.Lock()
	defer c.saveMu.Unlock()
	old := c.max.Load()
	c.forget(&s.dispatch.heap)
	c.max.Store(end)
	c.saved.Store(end)
	c.synced = min(c.synced, end)
	c.min.Store(min(c.min.Load(), end))
	c.physEnd = physical
	if end == old {
		return nil
	}
	if err := c.rebound(); err != nil {
		return err
	}
	if f := c.files.find(end * c.width); f != nil {
		if err := clearFile(f, end*c.width-f.base, min(old*c.width-f.base, f.size)); err != nil {
			return err
		}
	}
	return c.files.truncate(end * c.width)
}

// clearFile makes a part of a file zeros, for which a full disk has room.
func clearFile(f *mappedFile, from, to int64) error {
	file, err := f.fs.Open(f.path)
	if err != nil {
		return err
	}
	if err = file.Zero(from, to-from); err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// search is the first unit in [from, to) that pred holds for, to if there is none; it must hold for all that follow one it holds for.
func (c *consumeQueue) search(from, to int64, pred func(phys int64, size int32) bool) (int64, error) {
	var b [batchUnitSize]byte
	for from < to {
		mid := from + (to-from)/2
		if n, err := c.read(mid, b[:c.width]); err != nil {
			return 0, err
		} else if n == 0 {
			return 0, errNoUnit
		}
		if phys, size, _ := readUnit(b[:]); pred(phys, size) {
			to = mid
		} else {
			from = mid + 1
		}
	}
	return from, nil
}

// settleQueues ends recovery: min offsets by the log's first offset, q.next of each queue.
func (s *Store) settleQueues(minPhysical int64) error {
	all := slices.Collect(s.queues.each)
	return inParallel(len(all), func(i int) error {
		c := &all[i].cq
		if !c.served() {
			return nil
		}
		if err := c.correctMin(minPhysical, c.physEnd); err != nil {
			return err
		}
		all[i].next = c.end()
		return nil
	})
}

// correctMin moves the min offset to the first entry whose record is still in the log (spec: store.md 4.1), and past the blank
// units of a queue that starts inside a file. (Java takes those for entries while the log begins at 0.) physEnd is the queue's.
func (c *consumeQueue) correctMin(minPhysical, physEnd int64) error {
	if c.minPhys >= minPhysical || c.min.Load() >= c.max.Load() {
		return nil
	}
	first := c.files.first()
	if first == nil {
		return nil // all in memory: nothing is old
	}
	max := c.max.Load()
	if physEnd <= minPhysical { // all gone: no need to read it
		c.min.Store(max)
		return c.reboundMin(max)
	}
	from, err := c.search(first.base/c.width, max, func(phys int64, size int32) bool { return phys >= minPhysical && !blankUnit(phys, size) })
	if err != nil {
		return err
	}
	c.min.Store(from)
	if err := c.reboundMin(from); err != nil {
		return err
	}
	c.minPhys, _, _, _ = c.unit(from)
	return nil
}
