package verify

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"apogee/store/inspect"
	"apogee/store/record"
)

// Folders of queues.
const (
	simpleDir = "consumequeue"
	batchDir  = "batchconsumequeue"
	extDir    = "consumequeue_ext"
)

// queue is one consume queue, and the entry that the log has not come to yet. Entries are in the order of the log, and so is the merge.
type queue struct {
	topic string
	id    int32
	batch bool
	dir   string
	files []segment
	width int64

	n    int64         // number of the entry at hand
	e    inspect.Entry // the entry at hand
	has  bool          // there is one; without, the queue has ended
	last int64         // where the record of the entry before starts; -1 ahead of the first
	min  int64         // queue offset of the first entry whose record is in the log, -1 without any
	max  int64         // queue offset behind the last entry

	win  []byte // entries from winN on
	winN int64

	dangling stretch // entries that point at no record, in a row
	ahead    stretch // entries of records behind the log's end
	behind   stretch // records behind the queue's end
	missing  stretch // records whose entry is gone
	old      stretch // records that the queue has been made anew since
	worst    Level   // of behind and missing
}

// stretch is how often something came up in a row, and where first and last.
type stretch struct {
	n           int64
	at          int64 // queue offset
	phys, until int64
}

func (s *stretch) add(at, phys int64) {
	if s.n++; s.n == 1 {
		s.at, s.phys = at, phys
	}
	s.until = phys
}

type queueKey struct {
	topic string
	id    int32
}

// topicQueues are the queues of one topic, by id.
type topicQueues struct {
	simple, batch map[int32]*queue
	gone          stretch // records of queues that are not there
	goneID        int32   // of the first
	goneWorst     Level
}

// queueTable has all queues.
type queueTable struct {
	topics map[string]*topicQueues
	all    []*queue
	window int64 // bytes that are read at once, for each queue
	known  int64 // end of the furthest record that any queue points at
	ext    *Extensions
}

// windowMost is how much memory the entries of all queues have together.
const windowMost = 64 << 20

// loadQueues lists the queues.
func (r *run) loadQueues() error {
	t := &queueTable{topics: map[string]*topicQueues{}, ext: &Extensions{Root: r.Root}}
	r.queues = t
	for _, kind := range []struct {
		dir   string
		batch bool
		width int64
	}{{simpleDir, false, inspect.EntrySize}, {batchDir, true, inspect.BatchEntrySize}} {
		err := queueDirs(r.Root, kind.dir, func(topic string, id int32, at string) error {
			files, err := r.segments(r.Root, at, at, QueueFile)
			if err != nil {
				r.unreadable(at, -1, err)
				return nil
			}
			t.add(&queue{topic: topic, id: id, batch: kind.batch, dir: at, files: files, width: kind.width, last: -1, min: -1})
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", kind.dir, err)
		}
	}
	r.res.Queues = len(t.all)
	t.window = min(max(windowMost/int64(max(len(t.all), 1)), 32*inspect.BatchEntrySize), 64<<10)
	for _, q := range t.all {
		end, err := q.knownEnd(r)
		if err != nil {
			r.unreadable(q.dir, -1, err)
		}
		t.known = max(t.known, end)
	}
	r.replay = r.replayFrom()
	for _, q := range t.all {
		r.checkKind(q)
		if len(q.files) > 0 {
			q.n = q.files[0].base/q.width - 1
			q.step(r)
		}
	}
	return nil
}

func (t *queueTable) add(q *queue) {
	topic := t.topics[q.topic]
	if topic == nil {
		topic = &topicQueues{}
		t.topics[q.topic] = topic
	}
	m := &topic.simple
	if q.batch {
		m = &topic.batch
	}
	if *m == nil {
		*m = map[int32]*queue{}
	}
	(*m)[q.id] = q
	t.all = append(t.all, q)
}

// get is a queue, nil if there is none; of two kinds of one id the batch queue.
func (t *queueTable) get(topic string, id int32) *queue {
	of := t.topics[topic]
	if of == nil {
		return nil
	}
	if q := of.batch[id]; q != nil {
		return q
	}
	return of.simple[id]
}

// replayFrom is from where on the next start gives records to the queues again.
func (r *run) replayFrom() int64 {
	if r.clean {
		return r.queues.known
	}
	if r.cp.LogicsPhysical > 0 {
		return r.cp.LogicsPhysical
	}
	for i := len(r.log) - 1; i >= 0; i-- {
		var head [record.HeadSize]byte
		n, err := readAt(r.Log, r.log[i].name, head[:], 0)
		if err == nil && n == len(head) && recordHead(head[:], r.log[i].base, r.log[i].size) && record.StoreTimeOf(head[:]) <= r.cp.LogicsTime {
			return r.log[i].base
		}
	}
	return r.logMin
}

// checkKind compares the folder that a queue is in with what the topic's attributes say.
func (r *run) checkKind(q *queue) {
	topic := r.conf.topics[q.topic]
	if topic == nil || len(q.files) == 0 {
		return
	}
	if want := topic.Attributes["queue.type"] == "BatchCQ"; want != q.batch {
		kind := "SimpleCQ"
		if want {
			kind = "BatchCQ"
		}
		r.report(Finding{
			Kind: QueueKind, Level: Damage, File: q.dir, At: -1, Topic: q.topic, Queue: q.id,
			Text: "the attributes of the topic say queue.type=" + kind + ": a Java broker does not start, Apogee leaves the queue alone",
		})
	}
}

// knownEnd is the end of the record that the last entry points at: quick, by halving, and only as right as the entries are.
func (q *queue) knownEnd(r *run) (int64, error) {
	for i := len(q.files) - 1; i >= 0; i-- {
		end, ok, err := q.lastOf(r, q.files[i])
		if err != nil || ok {
			return end, err
		}
	}
	return 0, nil
}

func (q *queue) lastOf(r *run, seg segment) (end int64, ok bool, err error) {
	f, err := r.Root.Open(path.Join(q.dir, seg.name))
	if err != nil {
		return 0, false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var b [inspect.BatchEntrySize]byte
	from, to := int64(0), seg.size/q.width
	for from < to { // the first that is none
		mid := from + (to-from)/2
		n, err := readFrom(f, seg.name, b[:q.width], mid*q.width)
		if err != nil {
			return 0, false, err
		}
		if e, valid := q.parse(b[:n], 0); valid {
			if !e.Blank() {
				end, ok = e.End(), true
			}
			from = mid + 1
		} else {
			to = mid
		}
	}
	return end, ok, nil
}

func (q *queue) parse(b []byte, n int64) (e inspect.Entry, ok bool) {
	if q.batch {
		return inspect.ParseBatchEntry(b)
	}
	e, ok = inspect.ParseEntry(b)
	e.QueueOffset = n
	return e, ok
}

// entry is entry number n; ok is false where none stands.
func (q *queue) entry(r *run, n int64) (e inspect.Entry, ok bool) {
	if n < q.winN || n >= q.winN+int64(len(q.win))/q.width {
		if !q.load(r, n) {
			return e, false
		}
	}
	return q.parse(q.win[(n-q.winN)*q.width:], n)
}

// load reads the entries from n on.
func (q *queue) load(r *run, n int64) bool {
	seg := find(q.files, n*q.width)
	if seg == nil {
		return false
	}
	at := n*q.width - seg.base
	size := min(r.queues.window, seg.size-at) / q.width * q.width
	if int64(cap(q.win)) < size {
		q.win = make([]byte, size)
	}
	got, err := readAt(r.Root, path.Join(q.dir, seg.name), q.win[:size], at)
	if err != nil {
		r.unreadable(path.Join(q.dir, seg.name), at, err)
		got = 0
	}
	q.win, q.winN = q.win[:int64(got)/q.width*q.width], n
	return len(q.win) > 0
}

// place is the file and position of an entry.
func (q *queue) place(n int64) (file string, at int64) {
	if seg := find(q.files, n*q.width); seg != nil {
		return path.Join(q.dir, seg.name), n*q.width - seg.base
	}
	return q.dir, -1
}

func (q *queue) finding(kind Kind, level Level, n int64, text string) Finding {
	file, at := q.place(n)
	return Finding{Kind: kind, Level: level, File: file, At: at, Topic: q.topic, Queue: q.id, Offset: n, Text: text}
}

// step goes to the next entry that can be held against the log.
func (q *queue) step(r *run) {
	for {
		q.n++
		e, ok := q.entry(r, q.n)
		if !ok {
			again := q.behindHole(r)
			if again < 0 {
				q.has = false
				return
			}
			r.report(q.finding(QueueHole, Damage, q.n, fmt.Sprintf("%d entries are none, and entries follow: a start ends the queue here", again-q.n)))
			q.n = again
			e, _ = q.entry(r, q.n)
		}
		if e.Blank() && e.PhysicalOffset == 0 {
			if q.last >= 0 {
				r.report(q.finding(QueueEntry, Damage, q.n, "an entry that only fills up space, behind others"))
			}
			continue
		}
		q.max = e.QueueOffset + int64(e.Count)
		if q.misplaced(r, &e) {
			continue
		}
		q.last = e.PhysicalOffset
		if e.PhysicalOffset < r.logMin {
			continue // its record is gone
		}
		if q.min < 0 {
			q.min = e.QueueOffset
		}
		q.e, q.has = e, true
		return
	}
}

// misplaced reports an entry that is out of order: not behind the one before it, or not ahead of the next one while that one is in order.
func (q *queue) misplaced(r *run, e *inspect.Entry) bool {
	bad := e.PhysicalOffset <= q.last
	if !bad {
		next, ok := q.entry(r, q.n+1)
		bad = ok && next.PhysicalOffset > q.last && next.PhysicalOffset <= e.PhysicalOffset
	}
	if bad && (e.PhysicalOffset >= r.logMin || q.last >= 0) {
		f := q.finding(QueueOrder, Damage, q.n, fmt.Sprintf("points at %d, which is not between its neighbours", e.PhysicalOffset))
		f.Phys = e.PhysicalOffset
		r.report(f)
	}
	return bad
}

// behindHole is the next entry behind one that is none, -1 if the queue ends here. It looks as far as one read goes, and at the start of the
// next file.
func (q *queue) behindHole(r *run) int64 {
	seg := find(q.files, q.n*q.width)
	if seg == nil {
		if i := q.after(q.n * q.width); i >= 0 { // a file is missing
			return q.files[i].base / q.width
		}
		return -1
	}
	look := min(r.queues.window, 4<<10) / q.width
	if len(r.queues.all) < 10000 {
		look = r.queues.window / q.width
	}
	for n := q.n + 1; n < q.n+look && n*q.width < seg.end(); n++ {
		if e, ok := q.entry(r, n); ok && e.PhysicalOffset > q.last && !e.Blank() {
			return n
		}
	}
	if i := q.after(seg.end()); i >= 0 {
		n := q.files[i].base / q.width
		if e, ok := q.entry(r, n); ok && e.PhysicalOffset > q.last && !e.Blank() {
			return n
		}
	}
	return -1
}

// after is the first file that starts at a position or behind it, -1 for none.
func (q *queue) after(at int64) int {
	for i, f := range q.files {
		if f.base >= at {
			return i
		}
	}
	return -1
}

// join holds the queues of a record against it.
func (t *queueTable) join(r *run, f *LogRecord, words *record.Words) {
	h := &f.Head
	topic := view(h.Topic)
	tags := record.TagsCode(topic, words.Tags, words.Delay, h.StoreTimestamp, r.DelayLevels)
	want := expected{queueOffset: h.QueueOffset, tags: tags, count: 1}
	if of := t.topics[topic]; of != nil && of.batch[h.QueueID] != nil {
		if q := of.simple[h.QueueID]; q != nil {
			q.match(r, f, want, true)
		}
		if h.SysFlag&record.SysInnerBatch != 0 {
			want.inner(view(h.Properties))
		}
		of.batch[h.QueueID].match(r, f, want, false)
	} else if of != nil && of.simple[h.QueueID] != nil {
		of.simple[h.QueueID].match(r, f, want, false)
	} else {
		t.lost(r, topic, h.QueueID, f)
	}
	if words.Multi {
		t.joinMulti(r, f, tags)
	}
}

// inner takes the numbers of an inner batch from the record's properties.
func (w *expected) inner(props string) {
	num, errNum := strconv.ParseInt(record.Property(props, record.PropInnerNum), 10, 16)
	base, errBase := strconv.ParseInt(record.Property(props, record.PropInnerBase), 10, 64)
	if errNum == nil && errBase == nil {
		w.count, w.queueOffset = int(num), base
	}
}

// joinMulti does the same for the further queues that a record names (store/multi.go has the rules).
func (t *queueTable) joinMulti(r *run, f *LogRecord, tags int64) {
	props := view(f.Head.Properties)
	assigned := record.Property(props, record.PropMultiDispatchQueue)
	if assigned == "" {
		return
	}
	names := strings.Split(record.Property(props, record.PropMultiDispatch), ",")
	offsets := strings.Split(assigned, ",")
	if len(names) != len(offsets) {
		return
	}
	for i, name := range names {
		off, err := strconv.ParseInt(offsets[i], 10, 64)
		if err != nil || off < 0 {
			continue
		}
		if of := t.topics[name]; of != nil && of.simple[0] != nil {
			of.simple[0].match(r, f, expected{queueOffset: off, tags: tags, count: 1, multi: true}, false)
		}
	}
}

// lost notes a record whose queue is not there.
func (t *queueTable) lost(r *run, topic string, id int32, f *LogRecord) {
	of := t.topics[topic]
	if of == nil {
		if len(t.topics) >= maxTopics {
			topic = "and others"
			of = t.topics[topic]
		}
		if of == nil {
			of = &topicQueues{}
			t.topics[strings.Clone(topic)] = of
		}
	}
	if of.gone.n == 0 {
		of.goneID = id
	}
	of.gone.add(f.Head.QueueOffset, f.Off)
	of.goneWorst = worse(of.goneWorst, r.mends(f.Off))
}

// maxTopics bounds how many topics without queues are told apart.
const maxTopics = 1 << 20

func worse(a, b Level) Level {
	if a == Damage {
		return a
	}
	return b
}

// expected is what the entry of a record has to say.
type expected struct {
	queueOffset, tags int64
	count             int
	multi             bool
}

// match holds a record of the queue against the entry at hand. In the second of two queues of a topic's kind nothing has to be there.
func (q *queue) match(r *run, f *LogRecord, want expected, second bool) {
	q.pass(r, f.Off)
	if q.has && q.e.PhysicalOffset == f.Off {
		q.compare(r, f, want)
		r.res.Entries++
		if r.Visit != nil {
			r.Visit(&Visited{Topic: q.topic, Queue: q.id, Batch: q.batch, Entry: q.e, Record: f.Bytes})
		}
		q.step(r)
		return
	}
	switch {
	case second:
	case !q.has && want.queueOffset >= q.max:
		q.behind.add(want.queueOffset, f.Off)
		q.worst = worse(q.worst, r.mends(f.Off))
	case q.has && want.queueOffset >= q.e.QueueOffset:
		q.old.add(want.queueOffset, f.Off)
	default:
		q.missing.add(want.queueOffset, f.Off)
	}
}

// pass reports entries of records ahead of an offset of the log: their turn is over, and none of them came by.
func (q *queue) pass(r *run, off int64) {
	for q.has && q.e.PhysicalOffset < off {
		if q.e.PhysicalOffset >= r.logMin { // otherwise it went away in the meantime
			q.dangling.add(q.n, q.e.PhysicalOffset)
			r.res.Entries++
		}
		q.step(r)
	}
	if q.dangling.n > 0 {
		q.endDangling(r)
	}
}

func (q *queue) endDangling(r *run) {
	d := &q.dangling
	f := q.finding(QueueDangling, Damage, d.at, fmt.Sprintf("points at %d, where no record of this queue starts", d.phys))
	if d.n > 1 {
		f.Text = fmt.Sprintf("%d entries point at %d to %d, where no records of this queue start", d.n, d.phys, d.until)
	}
	f.Count, f.Phys = d.n, d.phys
	r.report(f)
	*d = stretch{}
}

// compare looks at an entry of a record that is there.
func (q *queue) compare(r *run, f *LogRecord, want expected) {
	e := &q.e
	bad := func(format string, args ...any) {
		x := q.finding(QueueEntry, Damage, q.n, fmt.Sprintf(format, args...))
		x.Phys = f.Off
		r.report(x)
	}
	if int(e.Size) != f.Head.Size {
		bad("says that the record at %d has %d bytes, it has %d", f.Off, e.Size, f.Head.Size)
	}
	if e.QueueOffset != want.queueOffset {
		bad("stands at queue offset %d, and its record at %d says %d", e.QueueOffset, f.Off, want.queueOffset)
	}
	if e.Count != want.count {
		bad("says that the record at %d has %d messages, it has %d", f.Off, e.Count, want.count)
	}
	if q.batch && e.StoreTimestamp != f.Head.StoreTimestamp {
		bad("says that the record at %d was stored at %d, it was at %d", f.Off, e.StoreTimestamp, f.Head.StoreTimestamp)
	}
	tags := e.TagsCode
	if at, ext := e.ExtAddress(); ext && !q.batch {
		var err error
		if tags, err = r.queues.ext.Tags(q.topic, q.id, at); err != nil {
			x := q.finding(QueueExt, Damage, q.n, fmt.Sprintf("its extension at %d: %v", at, err))
			r.report(x)
			return
		}
	}
	if tags != want.tags && !r.dueOtherwise(q, f, tags) {
		bad("has the tags code %d, that of the record at %d is %d", tags, f.Off, want.tags)
	}
}

// dueOtherwise tells whether an entry of the schedule topic has a time that others of its level have too: with other delay levels than are
// known here. The first such time of a level is reported.
func (r *run) dueOtherwise(q *queue, f *LogRecord, tags int64) bool {
	if q.topic != record.ScheduleTopic {
		return false
	}
	delay := tags - f.Head.StoreTimestamp
	for _, seen := range r.conf.delays[q.id] {
		if seen == delay {
			return true
		}
	}
	if r.conf.delays == nil {
		r.conf.delays = map[int32][]int64{}
	}
	if len(r.conf.delays[q.id]) < 4 {
		r.conf.delays[q.id] = append(r.conf.delays[q.id], delay)
	}
	return false
}

// finish reports what is left when the log has ended.
func (t *queueTable) finish(r *run) {
	for _, q := range t.all {
		q.pass(r, r.logEnd)
		for q.has {
			q.ahead.add(q.n, q.e.PhysicalOffset)
			q.step(r)
		}
		q.summary(r)
	}
	for _, topic := range sorted(t.topics) {
		t.finishLost(r, topic, t.topics[topic])
	}
	t.ext.Close()
}

func (q *queue) summary(r *run) {
	file := func(kind Kind, level Level, s *stretch, format string, args ...any) {
		if s.n > 0 {
			f := q.finding(kind, level, s.at, fmt.Sprintf(format, args...))
			f.Count, f.Phys = s.n, s.phys
			r.report(f)
		}
	}
	level := r.afterCrash()
	if r.Live {
		level = Note
	}
	file(QueueAhead, level, &q.ahead, "%d entries from here on point at %d and behind, the log ends at %d", q.ahead.n, q.ahead.phys, r.logEnd)
	file(QueueBehind, q.worst, &q.behind, "%d records from %d on have no entry yet", q.behind.n, q.behind.phys)
	file(QueueMissing, Damage, &q.missing, "%d records, at %d to %d, have lost their entries", q.missing.n, q.missing.phys, q.missing.until)
	file(QueueOld, Note, &q.old, "%d records, at %d to %d, are from before the topic was deleted and made again", q.old.n, q.old.phys, q.old.until)
}

// finishLost reports records of a topic's queues that are not there.
func (t *queueTable) finishLost(r *run, topic string, of *topicQueues) {
	g := &of.gone
	if g.n == 0 || len(r.res.Skipped) > 0 && r.rocksQueues() {
		return
	}
	f := Finding{Kind: QueueLost, Level: of.goneWorst, File: path.Join(simpleDir, topic), At: -1, Topic: topic, Queue: of.goneID, Count: g.n, Phys: g.phys}
	f.Text = fmt.Sprintf("%d records of the topic, at %d to %d, have no queue; the first is of queue %d", g.n, g.phys, g.until, of.goneID)
	if r.conf.topics != nil && r.conf.topics[topic] == nil {
		f.Kind, f.Level = QueueOld, Note
		f.Text += "; the topic is not configured any more"
	}
	r.report(f)
}

// rocksQueues tells whether the queues are in RocksDB.
func (r *run) rocksQueues() bool {
	for _, dir := range []string{simpleDir, "consumequeue_rocksdb"} {
		if _, err := fs.Stat(r.Root, path.Join(dir, "CURRENT")); err == nil {
			return true
		}
	}
	return false
}
