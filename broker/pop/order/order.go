// Package order remembers what ordered pops have handed out, so that a queue goes on only when all of it is acknowledged or visible again
// (Java ConsumerOrderInfoManager, ConsumerOrderInfoLockManager; spec: behaviour.md 8.9).
//
// For each queue that a group pops in order there is one batch: the last one. While a message of it is neither acknowledged nor visible again
// the queue is blocked, except for the attempt that took the batch, whose answer may have been lost. An acknowledgement says where
// the group goes on: at the first message that is not acknowledged. A pop after the block starts there again, and is told how often each
// message has been handed out before.
//
// [Table] is the [pop.Orders] of a broker. One goroutine tells when a block ends by time; without blocked queues it sleeps.
package order

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"apogee/broker/pop"
	"apogee/store/vfs"
)

// Results of [Table.Ack] that are no offsets, as Java numbers them.
const (
	Illegal  int64 = -1 // the offset is not out
	NoneToDo int64 = -2 // it belongs to an older batch
)

const (
	maxBatch = 64             // one bit each
	keepFor  = 24 * time.Hour // since the last pop of a queue
	maxWait  = 24 * time.Hour // at once, of the goroutine
)

// Options are what a table works with; all but Log are needed.
type Options struct {
	FS  vfs.FS
	Dir string // store root
	Now func() time.Time
	Log *slog.Logger

	// ReadQueues is how many queues a topic has for consumers, HasGroup whether a group exists: what is out for others is forgotten.
	ReadQueues func(topic string) (int32, bool)
	HasGroup   func(group string) bool
	// Next is where a group would go on in a queue: its committed offset, else where the queue begins.
	Next func(k pop.Key) int64
	// Free hears that the block of a queue has ended by time. No lock is held.
	Free func(k pop.Key)
	// Announce says whether Free is to hear at all (enableNotifyAfterPopOrderLockRelease).
	Announce func() bool
}

// Table is what is out for all groups and queues.
type Table struct {
	opts Options

	mu      sync.Mutex // guards groups and all batches
	groups  map[name]map[int32]*batch
	heap    []*batch // those with a block that ends by itself, the earliest first
	changed bool     // since the file was written

	file  file
	armed atomic.Int64  // when the goroutine looks next, ms; math.MaxInt64 while it does not know
	nudge chan struct{} // something ends earlier
}

type name struct{ topic, group string }

// batch is the last pop of one queue.
type batch struct {
	key       pop.Key
	attempt   string
	popTime   int64 // ms
	invisible int64 // ms; not above 0 where a file did not say it
	offsets   []int64
	acked     uint64          // bit i: offsets[i]
	visible   map[int64]int64 // offset to ms, of those that have a time of their own
	counts    map[int64]int32 // offset to how often it was handed out before
	last      int64           // ms; of the pop

	end    int64 // when the block ends by itself, ms; while in the heap
	heapAt int   // -1: not in it
}

// New makes an empty table. Load follows, then Run.
func New(opts Options) *Table {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	t := &Table{opts: opts, groups: make(map[name]map[int32]*batch), nudge: make(chan struct{}, 1)}
	t.file.init(&opts)
	t.armed.Store(math.MaxInt64)
	return t
}

func (t *Table) findLocked(k pop.Key) *batch { return t.groups[name{k.Topic, k.Group}][k.Queue] }

// Blocked tells whether messages are out that are neither acknowledged nor visible again. The attempt that took them is let through.
// invisible stands in for the time of a batch that has none.
func (t *Table) Blocked(k pop.Key, attempt string, invisible time.Duration, now int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.findLocked(k)
	if b == nil || len(b.offsets) == 0 || attempt != "" && b.attempt == attempt {
		return false
	}
	if b.invisible <= 0 {
		b.invisible = invisible.Milliseconds()
	}
	return b.freeAt() > now
}

// freeAt is when the last message that is out is visible again; 0 if none is out.
func (b *batch) freeAt() int64 {
	at := int64(0)
	for i, off := range b.offsets {
		if b.acked&(1<<i) == 0 {
			at = max(at, b.visibleAt(off))
		}
	}
	return at
}

func (b *batch) visibleAt(off int64) int64 {
	if at, ok := b.visible[off]; ok {
		return at
	}
	if b.invisible > math.MaxInt64-max(0, b.popTime) { // a client's number
		return math.MaxInt64
	}
	return b.popTime + b.invisible
}

// Taken notes a batch in place of the one before and appends its part of orderCountInfo to counts. More offsets than fit are a fault of
// the caller: no pop takes more than 32.
func (t *Table) Taken(k pop.Key, attempt string, popTime int64, invisible time.Duration, offsets []int64, counts []byte) []byte {
	if len(offsets) == 0 || len(offsets) > maxBatch {
		return counts
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	b := &batch{
		key: k, attempt: strings.Clone(attempt), popTime: popTime, invisible: invisible.Milliseconds(), offsets: slices.Clone(offsets),
		last: t.opts.Now().UnixMilli(), heapAt: -1,
	}
	queues := t.groups[name{k.Topic, k.Group}]
	if old := queues[k.Queue]; old != nil {
		b.key = old.key
		b.count(old)
		t.unheapLocked(old)
	} else {
		b.key.Topic, b.key.Group = strings.Clone(k.Topic), strings.Clone(k.Group)
	}
	if queues == nil {
		queues = make(map[int32]*batch, 1)
		t.groups[name{b.key.Topic, b.key.Group}] = queues
	}
	queues[k.Queue] = b
	t.settleLocked(b)
	return b.appendCounts(counts)
}

// count takes over how often each message was handed out: once more for what was in the batch before, unless the same attempt took it.
func (b *batch) count(old *batch) {
	if old.attempt != "" && old.attempt == b.attempt {
		b.counts = old.counts
		return
	}
	for _, off := range b.offsets {
		if slices.Contains(old.offsets, off) {
			if b.counts == nil {
				b.counts = make(map[int64]int32, len(b.offsets))
			}
			b.counts[off] = old.counts[off] + 1
		}
	}
}

// appendCounts writes a count for each message that was handed out before, and the least for the queue, which old clients read.
func (b *batch) appendCounts(dst []byte) []byte {
	kind, least := pop.KindOf(b.key.Topic), int32(math.MaxInt32)
	offsets := make([]int64, 0, len(b.counts))
	for off, n := range b.counts {
		offsets = append(offsets, off)
		least = min(least, n)
	}
	slices.Sort(offsets)
	for _, off := range offsets {
		dst = pop.AppendOffsetCount(dst, kind, b.key.Queue, off, b.counts[off])
	}
	if len(offsets) != len(b.offsets) { // some are new
		least = 0
	}
	return pop.AppendQueueCount(dst, kind, b.key.Queue, least)
}

// Ack notes an acknowledgement and returns where the group goes on, [Illegal] or [NoneToDo].
//
// Without a batch, as after a crash, only the message at which the group goes on counts: a later one would take those before it along, which
// nobody has acknowledged. (Java takes any.)
func (t *Table) Ack(k pop.Key, offset, popTime int64) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.findLocked(k)
	switch {
	case b == nil:
		if offset != t.opts.Next(k) {
			return NoneToDo
		}
		return offset + 1
	case len(b.offsets) == 0:
		return Illegal
	case b.popTime != popTime:
		return NoneToDo
	}
	i := slices.Index(b.offsets, offset)
	if i < 0 {
		return Illegal
	}
	b.acked |= 1 << i
	t.settleLocked(b)
	for i, off := range b.offsets {
		if b.acked&(1<<i) == 0 {
			return off
		}
	}
	return b.offsets[len(b.offsets)-1] + 1
}

// Postpone makes a message visible again at a time (ms) of its own, unless it belongs to an older batch.
func (t *Table) Postpone(k pop.Key, offset, popTime, visible int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.findLocked(k)
	if b == nil || b.popTime != popTime || !slices.Contains(b.offsets, offset) {
		return
	}
	if b.visible == nil {
		b.visible = make(map[int64]int64, 1)
	}
	b.visible[offset] = visible
	t.settleLocked(b)
}

// Clear forgets what is out of a queue.
func (t *Table) Clear(k pop.Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	queues := t.groups[name{k.Topic, k.Group}]
	if b := queues[k.Queue]; b != nil {
		t.unheapLocked(b)
		delete(queues, k.Queue)
		if len(queues) == 0 {
			delete(t.groups, name{k.Topic, k.Group})
		}
		t.changed = true
	}
}

// DeleteGroup forgets what is out for a group.
func (t *Table) DeleteGroup(group string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for n, queues := range t.groups {
		if n.group == group {
			t.dropLocked(n, queues)
		}
	}
}

func (t *Table) dropLocked(n name, queues map[int32]*batch) {
	for _, b := range queues {
		t.unheapLocked(b)
	}
	delete(t.groups, n)
	t.changed = true
}

// settleLocked puts a batch into the heap, or takes it out, as its block begins, moves or ends.
func (t *Table) settleLocked(b *batch) {
	t.changed = true
	at := b.freeAt()
	t.unheapLocked(b)
	if at == 0 || b.invisible <= 0 || !t.opts.Announce() {
		return
	}
	b.end = at
	t.pushLocked(b)
	if at < t.armed.Load() {
		select {
		case t.nudge <- struct{}{}:
		default:
		}
	}
}

// Run tells of blocks that end, until ctx does.
func (t *Table) Run(ctx context.Context) {
	timer := time.NewTimer(math.MaxInt64)
	defer timer.Stop()
	for {
		t.armed.Store(math.MaxInt64) // what comes while we look nudges
		now := t.opts.Now().UnixMilli()
		free, next := t.ended(now)
		t.armed.Store(next)
		for _, k := range free {
			t.opts.Free(k)
		}
		wait := time.Duration(math.MaxInt64)
		if next != math.MaxInt64 {
			wait = time.Duration(min(max(0, next-now), maxWait.Milliseconds())) * time.Millisecond
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-t.nudge:
		case <-ctx.Done():
			return
		}
	}
}

// ended takes those out of the heap whose block is over, and returns when the next one is.
func (t *Table) ended(now int64) (free []pop.Key, next int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.heap) > 0 {
		b := t.heap[0]
		if b.end > now {
			return free, b.end
		}
		t.unheapLocked(b)
		if t.opts.Announce() {
			free = append(free, b.key)
		}
	}
	return free, math.MaxInt64
}

// Clean forgets what belongs to nobody any more: topic, group or queue are gone, or nothing was popped for a day (autoClean). Persist does
// it too; a table that is never written needs it now and then.
func (t *Table) Clean() {
	now := t.opts.Now().UnixMilli()
	t.mu.Lock()
	defer t.mu.Unlock()
	for n, queues := range t.groups {
		count, ok := t.opts.ReadQueues(n.topic)
		if !ok || !t.opts.HasGroup(n.group) {
			t.dropLocked(n, queues)
			continue
		}
		for id, b := range queues {
			if id >= count || now-b.last > keepFor.Milliseconds() {
				t.unheapLocked(b)
				delete(queues, id)
				t.changed = true
			}
		}
		if len(queues) == 0 {
			delete(t.groups, n)
			t.changed = true
		}
	}
}

// The heap is a binary one by end.

func (t *Table) pushLocked(b *batch) {
	b.heapAt = len(t.heap)
	t.heap = append(t.heap, b)
	t.upLocked(b.heapAt)
}

func (t *Table) unheapLocked(b *batch) {
	i := b.heapAt
	if i < 0 {
		return
	}
	b.heapAt = -1
	last := len(t.heap) - 1
	moved := t.heap[last]
	t.heap[last] = nil
	t.heap = t.heap[:last]
	if i == last {
		return
	}
	t.heap[i], moved.heapAt = moved, i
	t.upLocked(i)
	t.downLocked(moved.heapAt)
}

func (t *Table) upLocked(i int) {
	for i > 0 {
		up := (i - 1) / 2
		if t.heap[up].end <= t.heap[i].end {
			return
		}
		t.swapLocked(i, up)
		i = up
	}
}

func (t *Table) downLocked(i int) {
	for {
		least := i
		for _, c := range [...]int{2*i + 1, 2*i + 2} {
			if c < len(t.heap) && t.heap[c].end < t.heap[least].end {
				least = c
			}
		}
		if least == i {
			return
		}
		t.swapLocked(i, least)
		i = least
	}
}

func (t *Table) swapLocked(i, j int) {
	t.heap[i], t.heap[j] = t.heap[j], t.heap[i]
	t.heap[i].heapAt, t.heap[j].heapAt = i, j
}
