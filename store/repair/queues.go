package repair

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"apogee/store"
	"apogee/store/inspect"
	"apogee/store/record"
)

// queueKey names a queue.
type queueKey struct {
	topic string
	id    int32
}

// queueState is what the log says that a queue holds: how many entries, and a hash over them in their order. A queue whose files
// hash to the same needs no closer look.
type queueState struct {
	sum     entrySum
	first   int64 // queue offset of the first record
	last    int64 // queue offset of the last record
	end     int64 // of that record in the log
	gaps    bool  // offsets are left out: their records are lost
	damaged bool  // is to be made again
	files   bool  // it has a folder
}

// entrySum is a running hash of entries.
type entrySum struct {
	n    int64
	hash uint64
}

func (s *entrySum) add(phys int64, size int32, tags int64) {
	const prime = 1099511628211
	for _, v := range [3]uint64{uint64(phys), uint64(uint32(size)), uint64(tags)} {
		s.hash = (s.hash ^ v) * prime
		s.hash ^= s.hash >> 29
	}
	s.n++
}

// Sizes of a queue's entry (spec: store.md 4.1 and 4.4).
const (
	simpleUnit = 20
	batchUnit  = 46
	blankSize  = 0x7FFFFFFF
)

// tagsOf is what the entry of a record says. In the schedule topic it is a time that depends on the configuration, and is not compared.
func tagsOf(h *record.Header, words *record.Words) int64 {
	if string(h.Topic) == record.ScheduleTopic {
		return 0
	}
	return int64(record.HashString(words.Tags))
}

// expect notes the entries that a record must have.
func (r *run) expect(off int64, h *record.Header) {
	words := record.ReadWords(string(h.Properties))
	if h.Tran() != record.SysTranRollback && (words.Uniq != "" || words.Keys != "") { // 4.x does not index tags
		if r.log.keyed < 0 {
			r.log.keyed = off
		}
	}
	if t := h.Tran(); t == record.SysTranPrepared || t == record.SysTranRollback || h.QueueID < 0 || !dirName(string(h.Topic)) {
		return
	}
	tags := tagsOf(h, &words)
	if r.kind(string(h.Topic)) == store.BatchQueue && !inBatch(h) {
		return
	}
	r.queue(string(h.Topic), h.QueueID).expect(&r.log, h.QueueOffset, off, int32(h.Size), tags)
	if words.Multi && multiDispatched(r.s, string(h.Topic)) {
		eachMulti(h, func(name string, unit int64) { r.queue(name, 0).expect(&r.log, unit, off, int32(h.Size), tags) })
	}
}

// inBatch tells whether a record of a batch topic gets an entry.
func inBatch(h *record.Header) bool {
	if h.SysFlag&record.SysInnerBatch == 0 {
		return true
	}
	base, err := strconv.ParseInt(record.Property(string(h.Properties), record.PropInnerBase), 10, 64)
	return err == nil && base >= 0
}

// multiDispatched tells whether records of a topic go to light queues as well (spec: store.md 4.6).
func multiDispatched(o *store.Options, topic string) bool {
	return o.EnableMultiDispatch && o.EnableLmq && !strings.HasPrefix(topic, "%RETRY%") && !strings.HasPrefix(topic, "rmq_sys_") && topic != record.ScheduleTopic
}

// eachMulti calls f for the light queues that a record names, with its offset there.
func eachMulti(h *record.Header, f func(name string, unit int64)) {
	props := string(h.Properties)
	names := strings.Split(record.Property(props, record.PropMultiDispatch), ",")
	offsets := strings.Split(record.Property(props, record.PropMultiDispatchQueue), ",")
	if len(names) != len(offsets) {
		return
	}
	for i, name := range names {
		if unit, err := strconv.ParseInt(offsets[i], 10, 64); err == nil && unit >= 0 && strings.HasPrefix(name, "%LMQ%") && dirName(name) {
			f(name, unit)
		}
	}
}

func (q *queueState) expect(log *logScan, unit, phys int64, size int32, tags int64) {
	if q.sum.n > 0 && unit <= q.last { // the topic was deleted and made again: what was before has no entries any more
		q.sum, q.gaps = entrySum{}, false
	}
	if lost := unit - q.last - 1; q.sum.n > 0 && lost > 0 {
		q.gaps = true
		log.lost(lost, q.end, phys)
	}
	if q.sum.n == 0 {
		q.first = unit
	}
	q.last, q.end = unit, phys+int64(size)
	q.sum.add(phys, size, tags)
}

func (r *run) queue(topic string, id int32) *queueState {
	k := queueKey{topic, id}
	q := r.queues[k]
	if q == nil {
		q = &queueState{}
		r.queues[k] = q
	}
	return q
}

func (r *run) kind(topic string) store.QueueKind {
	if r.s.QueueKind == nil {
		return store.SimpleQueue
	}
	return r.s.QueueKind(topic)
}

func dirName(topic string) bool {
	return topic != "" && topic != "." && topic != ".." && !strings.ContainsAny(topic, "/\x00")
}

// queueDir is the folder of a queue.
func (r *run) queueDir(k queueKey) string {
	dir := "consumequeue"
	if r.kind(k.topic) == store.BatchQueue {
		dir = "batchconsumequeue"
	}
	return path.Join(r.root, dir, k.topic, strconv.Itoa(int(k.id)))
}

// lookQueueFiles sets files aside whose names cannot be.
func (r *run) lookQueueFiles() error {
	return r.eachQueueDir(func(_ queueKey, dir string, infos []fileInfo) error {
		for _, info := range infos {
			if _, ok := offsetName(info.name); !ok {
				r.quarantineStep(Name, path.Join(dir, info.name), "its name is no offset of 20 digits; a Java broker does not start with such a file")
			}
		}
		return nil
	})
}

type fileInfo struct {
	name string
	size int64
}

// eachQueueDir calls f for the folders of queues of the right kind, with their files.
func (r *run) eachQueueDir(f func(k queueKey, dir string, files []fileInfo) error) error {
	for _, tree := range []string{"consumequeue", "batchconsumequeue"} {
		topics, err := r.list(path.Join(r.root, tree))
		if err != nil {
			return err
		}
		for _, t := range topics {
			if !t.Dir || (r.kind(t.Name) == store.BatchQueue) != (tree == "batchconsumequeue") {
				continue
			}
			ids, err := r.list(path.Join(r.root, tree, t.Name))
			if err != nil {
				return err
			}
			for _, d := range ids {
				id, err := strconv.ParseInt(d.Name, 10, 32)
				if err != nil || id < 0 || !d.Dir {
					continue
				}
				dir := path.Join(r.root, tree, t.Name, d.Name)
				infos, err := r.list(dir)
				if err != nil {
					return err
				}
				var files []fileInfo
				for _, info := range infos {
					if !info.Dir {
						files = append(files, fileInfo{info.Name, info.Size})
					}
				}
				if err := f(queueKey{t.Name, int32(id)}, dir, files); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// lookQueues compares what the queues hold with what the log says.
func (r *run) lookQueues() error {
	if len(r.log.files) == 0 {
		return nil
	}
	lost := map[string]int64{}
	err := r.eachQueueDir(func(k queueKey, dir string, files []fileInfo) error { return r.lookQueue(k, dir, files, lost) })
	if err != nil {
		return err
	}
	for _, k := range r.sortedQueues() {
		q := r.queues[k]
		if q.files || q.sum.n == 0 || r.o.Deleted != nil && r.o.Deleted(k.topic) {
			continue
		}
		r.queueStep(QueueEntry, k, r.queueDir(k), fmt.Sprintf("the queue is not there; the log has %d records of it", q.sum.n))
	}
	r.tellLost(lost)
	return nil
}

func (r *run) sortedQueues() []queueKey {
	keys := make([]queueKey, 0, len(r.queues))
	for k := range r.queues {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b queueKey) int {
		if c := strings.Compare(a.topic, b.topic); c != 0 {
			return c
		}
		return int(a.id) - int(b.id)
	})
	return keys
}

// tellLost completes the steps about holes with what queues say of them.
func (r *run) tellLost(lost map[string]int64) {
	for i := range r.rep.Steps {
		s := &r.rep.Steps[i]
		if !strings.HasSuffix(s.Lost, "; ") {
			continue
		}
		var parts []string
		for _, what := range sortedKeys(lost) {
			if name, ok := strings.CutPrefix(what, fmt.Sprintf("%d ", *s.At)); ok {
				parts = append(parts, fmt.Sprintf("%d of %s", lost[what], name))
			}
		}
		if len(parts) == 0 {
			parts = []string{"no queue knows any"}
		}
		s.Lost += strings.Join(parts, ", ")
	}
}

// lookQueue reads one queue.
func (r *run) lookQueue(k queueKey, dir string, files []fileInfo, lost map[string]int64) error {
	q := r.queue(k.topic, k.id)
	q.files = true
	unit, size := int64(simpleUnit), r.s.MappedFileSizeConsumeQueue
	if r.kind(k.topic) == store.BatchQueue {
		unit, size = batchUnit, r.s.MapperFileSizeBatchConsumeQueue
	}
	var list []segment
	for i, f := range files {
		base, ok := offsetName(f.name)
		switch {
		case !ok:
		case f.size == 0 && i == len(files)-1: // a start deletes it
		case f.size != size || base%size != 0 || len(list) > 0 && list[len(list)-1].end() != base:
			r.queueStep(QueueFile, k, dir, fmt.Sprintf("%s has %d bytes of %d, or does not go on where the file before it ends", f.name, f.size, size))
			return nil
		default:
			list = append(list, segment{path.Join(dir, f.name), base, f.size})
		}
	}
	if bad, err := r.lookExt(k); err != nil || bad != "" {
		if bad != "" {
			r.queueStep(QueueExt, k, dir, bad)
		}
		return err
	}
	have, err := r.sumQueue(k, list, unit)
	if err != nil {
		return err
	}
	for from, n := range have.lost {
		lost[fmt.Sprintf("%d %s/%d", from, k.topic, k.id)] += n
	}
	switch {
	case have.broken >= 0:
		r.queueStep(QueueEntry, k, dir, fmt.Sprintf("entries follow behind the %d-th, which is none", have.broken))
	case have.noExt > 0:
		r.queueStep(QueueExt, k, dir, fmt.Sprintf("%d entries have their tags codes in an extension (%s) that is not there, or damaged", have.noExt, r.below(r.extDir(k))))
	case have.sum != q.sum && !(r.abort && !q.gaps && have.sum.n < q.sum.n && r.isPrefix(k, have.sum)): // the start after a crash gives it the rest
		r.queueStep(QueueEntry, k, dir, fmt.Sprintf("%d entries, the log has %d records: some are missing, or are of something else", have.sum.n, q.sum.n))
	case have.ahead > 0:
		r.queueStep(QueueAhead, k, dir, fmt.Sprintf("%d entries of records behind the end of the log", have.ahead))
	}
	return nil
}

// isPrefix tells whether what a queue lacks are its last entries, all of records that the start after a crash dispatches again.
func (r *run) isPrefix(k queueKey, have entrySum) bool {
	from, ok := r.redispatched()
	if !ok {
		return false
	}
	var sum entrySum
	good := false
	// The entries are compared with the log once more, which only a crash makes needful.
	err := r.eachExpected(k, func(phys int64, size int32, tags int64) {
		if sum == have {
			good = good || phys >= from
		}
		sum.add(phys, size, tags)
	})
	return err == nil && good
}

// queueSum is what a look at a queue's entries gives.
type queueSum struct {
	sum    entrySum        // of records that are in the log
	ahead  int64           // entries behind its end
	broken int64           // the first entry that is none though others follow, -1 for no such
	lost   map[int64]int64 // by the start of a hole: entries of what was there
	noExt  int64           // entries whose extension cannot be read
	gap    int64
}

func (r *run) sumQueue(k queueKey, list []segment, unit int64) (*queueSum, error) {
	s := &queueSum{broken: -1, gap: -1, lost: map[int64]int64{}}
	buf := make([]byte, 3200*unit)
	for _, f := range list {
		file, err := r.fs.Open(f.path)
		if err != nil {
			return nil, err
		}
		for pos := int64(0); pos < f.size; {
			n, err := file.ReadAt(buf[:min(int64(len(buf)), f.size-pos)], pos)
			if err != nil && !errors.Is(err, io.EOF) || n == 0 {
				return nil, errors.Join(fmt.Errorf("read %s: %w", f.path, err), file.Close())
			}
			for p := int64(0); p+unit <= int64(n); p += unit {
				r.sumEntry(s, k, f, pos+p, unit, buf[p:p+unit])
			}
			pos += int64(n)
		}
		if err := file.Close(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (r *run) sumEntry(s *queueSum, k queueKey, f segment, pos, unit int64, b []byte) {
	be := binary.BigEndian
	phys, size, tags := int64(be.Uint64(b)), int32(be.Uint32(b[8:])), int64(be.Uint64(b[12:]))
	switch {
	case phys < 0 || size <= 0:
		if s.gap < 0 {
			s.gap = (f.base + pos) / unit
		}
		return
	case s.gap >= 0 && s.broken < 0:
		s.broken = s.gap
	}
	if size == blankSize || phys < r.log.begin {
		return
	}
	if phys >= r.log.end {
		s.ahead++
		return
	}
	if h := r.log.holeOf(phys); h != nil {
		s.lost[h.from]++
		if !h.unused && !h.wrapped {
			h.gone = append(h.gone, extent{phys, int64(size)})
		}
		return
	}
	if at, ok := (&inspect.Entry{TagsCode: tags}).ExtAddress(); ok && unit == simpleUnit {
		var err error
		if tags, err = r.ext.Tags(k.topic, k.id, at); err != nil {
			s.noExt++
		}
	}
	if k.topic == record.ScheduleTopic {
		tags = 0
	}
	s.sum.add(phys, size, tags)
}

// eachExpected calls f for the entries that the log says a queue has, in order.
func (r *run) eachExpected(k queueKey, f func(phys int64, size int32, tags int64)) error {
	return r.eachRecord(func(off int64, h *record.Header) {
		r.eachEntryOf(h, func(topic string, id int32, _ int64) {
			if topic == k.topic && id == k.id {
				words := record.ReadWords(string(h.Properties))
				f(off, int32(h.Size), tagsOf(h, &words))
			}
		})
	})
}

// queueStep notes a queue that is to be made again.
func (r *run) queueStep(kind Kind, k queueKey, dir, found string) {
	r.queue(k.topic, k.id).damaged = true
	r.rebuild = true
	r.add(Step{
		Kind: kind, Path: r.below(dir), Found: found, Do: "set its files aside and make the queue again from the log",
		apply: func() error { return r.quarantineFolders(dir, r.extDir(k)) }, // the entries that are made have their tags codes themselves
	})
}

// extDir is the folder of the extensions of a queue's entries, which a Java broker with enableConsumeQueueExt writes.
func (r *run) extDir(k queueKey) string {
	return path.Join(r.root, extTree, k.topic, strconv.Itoa(int(k.id)))
}

const extTree = "consumequeue_ext"

// lookExt tells what is wrong with the files of a queue's extensions: with such a name or size a Java broker does not start. Nothing makes
// them again, for what they have beside tags codes are the bit maps of filters; the queue does without.
func (r *run) lookExt(k queueKey) (bad string, err error) {
	infos, err := r.list(r.extDir(k))
	if err != nil || len(infos) == 0 {
		return "", err
	}
	if r.extSize == 0 {
		r.extSize = usualSize(r.fs, path.Join(r.root, extTree), 2)
	}
	for i, info := range infos {
		base, ok := offsetName(info.Name)
		last := i == len(infos)-1
		switch {
		case info.Dir || ok && info.Size == 0 && last:
		case !ok || info.Size != r.extSize || base%r.extSize != 0:
			return fmt.Sprintf("%s has %d bytes of %d, or a wrong name: a Java broker does not start with it", r.below(path.Join(r.extDir(k), info.Name)), info.Size, r.extSize), nil
		}
	}
	return "", nil
}
