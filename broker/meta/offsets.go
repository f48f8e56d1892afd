package meta

import (
	"hash/maphash"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/store/vfs"
)

// offsetStripes spreads the locks of the offset table; two commits meet only if their topic@group share a stripe.
const offsetStripes = 64

// OffsetOptions configure the table of consumer offsets.
type OffsetOptions struct {
	FS  vfs.FS
	Dir string // store root; the files are in its config folder
	Now func() time.Time
	Log *slog.Logger

	// LMQ is enableLmq: all offsets, not only those of light queues, live in lmqConsumerOffset.json (LmqConsumerOffsetManager).
	LMQ bool
	// VersionStep is consumerOffsetUpdateVersionStep: commits per bump of the data version.
	VersionStep int64
	// Sync makes durable what the offsets rest on. It is called before they are written, and after they were read: what they have moved past
	// must not be lost in a power cut. Nil where they rest on nothing.
	Sync func() error
	// Slave has what clients commit noted for the master ([Offsets.TakeMoved]).
	Slave bool
}

// Offsets are how far each group has consumed each queue: what it committed, what it last pulled, and where an operator wants it
// to start over. Commit and Query allocate nothing and keep nothing of the names they are given.
type Offsets struct {
	opts    OffsetOptions
	file    configFile
	lmq     bool
	seed    maphash.Seed
	stripes [offsetStripes]offsetStripe

	resets  atomic.Int64 // pending server-side resets; spares the hot path a lookup
	commits atomic.Int64
	moved   moved
	version dataVersion
	extras  fastjson.Extras // top-level members of the file that we do not know; set by Load, then constant
}

type progressKey struct{ topic, group string }

type offsetStripe struct {
	mu sync.Mutex // guards progress and what it points to
	m  map[progressKey]*progress
}

// progress is one topic@group.
type progress struct {
	committed queueValues
	pulled    queueValues
	reset     queueValues
}

// noOffset marks a queue without a value. Java lets clients commit negative offsets; to commit this one is to commit none.
const noOffset = math.MinInt64

// denseQueues is up to which queue id values are kept in a slice. Ids beyond come from odd clients only.
const denseQueues = 4096

// queueValues maps queue ids to offsets.
type queueValues struct {
	dense  []int64
	sparse map[int32]int64
}

func (q *queueValues) get(id int32) (int64, bool) {
	if id >= 0 && int(id) < len(q.dense) {
		if v := q.dense[id]; v != noOffset {
			return v, true
		}
		return 0, false
	}
	v, ok := q.sparse[id]
	return v, ok
}

func (q *queueValues) set(id int32, v int64) {
	if id < 0 || id >= denseQueues {
		if q.sparse == nil {
			q.sparse = make(map[int32]int64)
		}
		q.sparse[id] = v
		return
	}
	for int(id) >= len(q.dense) {
		q.dense = append(q.dense, noOffset)
	}
	q.dense[id] = v
}

// remove reports whether there was a value.
func (q *queueValues) remove(id int32) bool {
	_, ok := q.get(id)
	if !ok {
		return false
	}
	if id >= 0 && int(id) < len(q.dense) {
		q.dense[id] = noOffset
	} else {
		delete(q.sparse, id)
	}
	return true
}

func (q *queueValues) empty() bool {
	return len(q.sparse) == 0 && !slices.ContainsFunc(q.dense, func(v int64) bool { return v != noOffset })
}

func (q *queueValues) count() int {
	n := len(q.sparse)
	for _, v := range q.dense {
		if v != noOffset {
			n++
		}
	}
	return n
}

// values is a copy, nil if there are none.
func (q *queueValues) values() map[int32]int64 {
	if q.empty() {
		return nil
	}
	out := make(map[int32]int64, len(q.dense)+len(q.sparse))
	for id, v := range q.dense {
		if v != noOffset {
			out[int32(id)] = v
		}
	}
	maps.Copy(out, q.sparse)
	return out
}

func (q *queueValues) clone() queueValues {
	return queueValues{dense: slices.Clone(q.dense), sparse: maps.Clone(q.sparse)}
}

// IsLMQ tells whether a topic or group name is that of a light message queue (MixAll.isLmq).
func IsLMQ(name string) bool { return strings.HasPrefix(name, lmqPrefix) }

func (o *Offsets) stripe(group, topic string) *offsetStripe {
	h := maphash.String(o.seed, topic) ^ maphash.String(o.seed, group)*31
	return &o.stripes[h%offsetStripes]
}

// lookupLocked finds topic@group; create makes it, with names of its own.
func (s *offsetStripe) lookupLocked(group, topic string, create bool) *progress {
	if p := s.m[progressKey{topic, group}]; p != nil || !create {
		return p
	}
	if s.m == nil {
		s.m = make(map[progressKey]*progress)
	}
	p := new(progress)
	s.m[progressKey{strings.Clone(topic), strings.Clone(group)}] = p
	return p
}

// queue is the queue under which a value is filed: light queues have only one.
func (o *Offsets) queue(group string, queue int32) int32 {
	if o.lmq && IsLMQ(group) {
		return 0
	}
	return queue
}

// Commit stores the next offset to consume. A smaller value than before is stored like any other; lower reports it, for the log.
func (o *Offsets) Commit(group, topic string, queue int32, off int64) (lower bool) {
	queue = o.queue(group, queue)
	s := o.stripe(group, topic)
	s.mu.Lock()
	p := s.lookupLocked(group, topic, true)
	old, ok := p.committed.get(queue)
	if !ok || old != off {
		p.committed.set(queue, off)
		o.file.changes.Add(1)
	}
	s.mu.Unlock()
	if n := o.commits.Add(1); n%o.opts.VersionStep == 0 {
		o.version.bump(o.opts.Now())
	}
	return ok && off < old
}

// CommitPull notes where a group pulls next; it is what shows messages in flight.
func (o *Offsets) CommitPull(group, topic string, queue int32, off int64) {
	s := o.stripe(group, topic)
	s.mu.Lock()
	p := s.lookupLocked(group, topic, true)
	if old, ok := p.pulled.get(queue); !ok || old != off {
		p.pulled.set(queue, off)
		o.file.changes.Add(1)
	}
	s.mu.Unlock()
}

// Query is the offset to consume next: a pending reset if there is one, else what was committed.
func (o *Offsets) Query(group, topic string, queue int32) (int64, bool) {
	queue = o.queue(group, queue)
	s := o.stripe(group, topic)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.lookupLocked(group, topic, false)
	if p == nil {
		return 0, false
	}
	if v, ok := p.reset.get(queue); ok {
		return v, true
	}
	return p.committed.get(queue)
}

// QueryPull is what CommitPull noted.
func (o *Offsets) QueryPull(group, topic string, queue int32) (int64, bool) {
	s := o.stripe(group, topic)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.lookupLocked(group, topic, false)
	if p == nil {
		return 0, false
	}
	return p.pulled.get(queue)
}

// AssignReset makes off the group's offset and holds back commits and pulls of it until [Offsets.TakeReset].
func (o *Offsets) AssignReset(group, topic string, queue int32, off int64) {
	queue = o.queue(group, queue)
	s := o.stripe(group, topic)
	s.mu.Lock()
	p := s.lookupLocked(group, topic, true)
	if _, ok := p.reset.get(queue); !ok {
		o.resets.Add(1)
	}
	p.reset.set(queue, off)
	p.committed.set(queue, off)
	o.file.changes.Add(1)
	s.mu.Unlock()
}

// ResetPending tells whether a reset waits to be taken.
func (o *Offsets) ResetPending(group, topic string, queue int32) bool {
	if o.resets.Load() == 0 {
		return false
	}
	s := o.stripe(group, topic)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.lookupLocked(group, topic, false)
	if p == nil {
		return false
	}
	_, ok := p.reset.get(o.queue(group, queue))
	return ok
}

// TakeReset returns a pending reset and ends it.
func (o *Offsets) TakeReset(group, topic string, queue int32) (int64, bool) {
	if o.resets.Load() == 0 {
		return 0, false
	}
	queue = o.queue(group, queue)
	s := o.stripe(group, topic)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.lookupLocked(group, topic, false)
	if p == nil {
		return 0, false
	}
	v, ok := p.reset.get(queue)
	if ok {
		p.reset.remove(queue)
		o.resets.Add(-1)
	}
	return v, ok
}

// OfTopic is what a group has committed in a topic, by queue; nil if nothing.
func (o *Offsets) OfTopic(group, topic string) map[int32]int64 {
	s := o.stripe(group, topic)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.lookupLocked(group, topic, false)
	if p == nil {
		return nil
	}
	return p.committed.values()
}

// each calls f for every topic@group, under the lock of its stripe.
func (o *Offsets) each(f func(k progressKey, p *progress) (remove bool)) {
	for i := range o.stripes {
		s := &o.stripes[i]
		s.mu.Lock()
		for k, p := range s.m {
			if f(k, p) {
				o.resets.Add(-int64(p.reset.count()))
				delete(s.m, k)
				o.file.changes.Add(1)
			}
		}
		s.mu.Unlock()
	}
}

// TopicsOf is the topics in which a group has committed, in order.
func (o *Offsets) TopicsOf(group string) []string {
	return o.committed(func(k progressKey) (string, bool) { return k.topic, k.group == group })
}

// GroupsOf is the groups that have committed in a topic, in order.
func (o *Offsets) GroupsOf(topic string) []string {
	return o.committed(func(k progressKey) (string, bool) { return k.group, k.topic == topic })
}

// committed is the names that pick takes of what anything is committed for, in order.
func (o *Offsets) committed(pick func(k progressKey) (name string, ok bool)) []string {
	var out []string
	o.each(func(k progressKey, p *progress) bool {
		if name, ok := pick(k); ok && !p.committed.empty() {
			out = append(out, name)
		}
		return false
	})
	slices.Sort(out)
	return out
}

// Len is how many topics of groups have offsets.
func (o *Offsets) Len() int {
	n := 0
	o.each(func(progressKey, *progress) bool { n++; return false })
	return n
}

// DeleteGroup forgets a group in every topic.
func (o *Offsets) DeleteGroup(group string) {
	o.each(func(k progressKey, _ *progress) bool { return k.group == group })
}

// DeleteTopic forgets a topic in every group.
func (o *Offsets) DeleteTopic(topic string) {
	o.each(func(k progressKey, _ *progress) bool { return k.topic == topic })
}

// ClearPull forgets the pull positions of a group in a topic, so that lag is counted from what is committed.
func (o *Offsets) ClearPull(group, topic string) {
	s := o.stripe(group, topic)
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.lookupLocked(group, topic, false); p != nil && !p.pulled.empty() {
		p.pulled = queueValues{}
		o.file.changes.Add(1)
	}
}

// Clone copies what one group committed in a topic to another group, replacing what that had.
func (o *Offsets) Clone(src, dest, topic string) {
	from := o.stripe(src, topic)
	from.mu.Lock()
	p := from.lookupLocked(src, topic, false)
	var values queueValues
	if p != nil {
		values = p.committed.clone()
	}
	from.mu.Unlock()
	if values.empty() {
		return
	}
	to := o.stripe(dest, topic)
	to.mu.Lock()
	to.lookupLocked(dest, topic, true).committed = values
	to.mu.Unlock()
	o.file.changes.Add(1)
}

// MinOf is, for each queue of a topic, the smallest offset that any group but the excluded ones has committed
// (ConsumerOffsetManager.queryMinOffsetInAllGroup).
func (o *Offsets) MinOf(topic string, exclude func(group string) bool) map[int32]int64 {
	out := make(map[int32]int64)
	o.each(func(k progressKey, p *progress) bool {
		if k.topic != topic || exclude(k.group) {
			return false
		}
		for q, v := range p.committed.values() {
			if old, ok := out[q]; !ok || v < old {
				out[q] = v
			}
		}
		return false
	})
	return out
}

// Version is the data version of the table.
func (o *Offsets) Version() body.DataVersion { return o.version.get() }
