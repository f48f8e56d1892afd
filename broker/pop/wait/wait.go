// Package wait holds pops, and requests that ask whether there is something to pop, until there is, or until their time is over (Java
// PopLongPollingService; spec: behaviour.md 8.10).
//
// Waiters stand in lines, one for each topic, group and queue, ordered by the end of their time; queue -1 is a line of its own, of those that
// take from any queue. A message wakes one waiter of line -1 and one of its queue's line, in each group: whoever is woken looks for itself
// and passes on that there is more. A message of a pop retry topic wakes waiters of its group on the topic that it belongs to.
//
// Only the lines are here. Deadlines, closed connections and the waking are those of held pulls ([hold.Table]), so that a pop is woken by
// the event loop's worker that brought the message, and nothing polls while nothing comes.
package wait

import (
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"apogee/broker/hold"
	"apogee/broker/pop"
	"apogee/remoting"
	"apogee/store"
)

// Limits bound a table; they may change at run time.
type Limits struct {
	Total  int64         // maxPopPollingSize: waiters at once
	Line   int           // popPollingSize: waiters of one line; one more is let in, as in Java
	Groups int           // popPollingMapSize: topics and groups that are known at once
	Idle   time.Duration // popPollingMapExpireTimeSeconds: how long one without waiters is known
	Force  int64         // popLongPollingForceNotifyInterval: a message whose offset divides by it wakes in spite of filters; 0: none
}

// Options are what a table works with; all are needed.
type Options struct {
	Hold   *hold.Table
	Now    func() time.Time
	Limits func() Limits
	// Last wakes the waiter of a line that has the most time left, in place of the one with the least.
	Last bool
}

// spare is how much time a waiter must have left at least (PopRequest.isTimeout).
const spare = 50 * time.Millisecond

// Table is the waiting requests of one kind.
type Table struct {
	opts    Options
	waiting atomic.Int64
	serial  atomic.Uint32

	mu     sync.RWMutex // guards all below; lists in names are replaced, not changed
	names  map[string][]*group
	groups map[groupKey]*group
	swept  int64 // ms
}

type groupKey struct{ topic, group string }

// group is the lines of one group on one topic.
type group struct {
	groupKey
	retry [2]string // the retry topics whose messages come to this group's pops of the topic

	mu    sync.Mutex // guards all below and the links of the waiters
	lines map[int32]*line
	n     int
	used  int64 // ms, of the last waiter
	gone  bool  // swept away; look again
}

type line struct {
	first, last *held
	n           int
}

// held is one waiter in a line.
type held struct {
	entry hold.Entry
	wait  *pop.Wait
	table *Table
	group *group

	line       *line // nil: in none
	prev, next *held
	taken      atomic.Bool // somebody has woken it, perhaps before it was parked
}

// New makes an empty table.
func New(opts Options) *Table {
	return &Table{opts: opts, names: make(map[string][]*group), groups: make(map[groupKey]*group)}
}

// Park holds w until something comes for it or its time is over; see [pop.Waiting].
func (t *Table) Park(w *pop.Wait) pop.Outcome {
	now := t.opts.Now().UnixMilli()
	if w.Until-now < spare.Milliseconds() {
		return pop.TooLate
	}
	limits := t.opts.Limits()
	if t.waiting.Load() >= limits.Total {
		return pop.Full
	}
	h, _ := w.Private.(*held)
	if h == nil {
		h = &held{wait: w, table: t}
		h.entry.Waiter = h
		h.entry.Offset = math.MaxInt64 // no arrival is its own; Take wakes it
		h.entry.Queue = int32(t.serial.Add(1) % 256)
		w.Private = h
	}
	h.entry.Prepare()
	h.taken.Store(false)
	if !t.stand(h, now, &limits) {
		return pop.Full
	}
	// From here on the waiter is found; from Parked on it may be gone.
	conn, table := w.Conn, t.opts.Hold
	switch table.Park(&h.entry, conn, time.Duration(min(w.Until-now, maxWait))*time.Millisecond) {
	case hold.Parked:
		if conn != nil && conn.Closed() { // it was dropped before it was parked
			table.Drop(conn)
		}
		return pop.Parked
	case hold.Ready:
		t.leave(h)
		return pop.Ready
	case hold.Full:
		t.leave(h)
		return pop.Full
	default:
		t.leave(h)
		return pop.TooLate
	}
}

// maxWait keeps a client's number from running over, in ms.
const maxWait = int64(30 * 24 * time.Hour / time.Millisecond)

// stand puts h into its line.
func (t *Table) stand(h *held, now int64, limits *Limits) bool {
	key := h.wait.Key
	for {
		g := t.group(groupKey{key.Topic, key.Group}, now, limits)
		if g == nil {
			return false
		}
		g.mu.Lock()
		if g.gone {
			g.mu.Unlock()
			continue
		}
		l := g.lines[key.Queue]
		if l == nil {
			l = new(line)
			g.lines[key.Queue] = l
		}
		if l.n > limits.Line {
			g.mu.Unlock()
			return false
		}
		h.group = g
		g.used = now
		g.n++
		t.waiting.Add(1)
		l.insert(h)
		g.mu.Unlock()
		return true
	}
}

// group finds or makes a group; nil if there are too many.
func (t *Table) group(k groupKey, now int64, limits *Limits) *group {
	t.mu.RLock()
	g := t.groups[k]
	t.mu.RUnlock()
	if g != nil {
		return g
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if g = t.groups[k]; g != nil {
		return g
	}
	if idle := limits.Idle.Milliseconds(); now-t.swept > idle {
		t.sweepLocked(now - idle)
		t.swept = now
	}
	if len(t.groups) >= limits.Groups {
		if t.sweepLocked(math.MaxInt64); len(t.groups) >= limits.Groups {
			return nil
		}
	}
	k.topic, k.group = strings.Clone(k.topic), strings.Clone(k.group)
	g = &group{groupKey: k, lines: make(map[int32]*line, 1)}
	g.retry = [2]string{pop.RetryTopicV1(k.topic, k.group), pop.RetryTopicV2(k.topic, k.group)}
	t.groups[k] = g
	for _, name := range g.names() {
		t.names[name] = append(slices.Clip(t.names[name]), g)
	}
	return g
}

func (g *group) names() [3]string { return [3]string{g.topic, g.retry[0], g.retry[1]} }

// sweepLocked forgets the groups without waiters that were last used before a time.
func (t *Table) sweepLocked(before int64) {
	for k, g := range t.groups {
		g.mu.Lock()
		g.gone = g.n == 0 && g.used < before
		gone := g.gone
		g.mu.Unlock()
		if !gone {
			continue
		}
		delete(t.groups, k)
		for _, name := range g.names() {
			left := slices.DeleteFunc(slices.Clone(t.names[name]), func(o *group) bool { return o == g })
			if len(left) == 0 {
				delete(t.names, name)
			} else {
				t.names[name] = left
			}
		}
	}
}

// leave takes h out of its line, unless somebody has.
func (t *Table) leave(h *held) {
	h.group.mu.Lock()
	t.leaveLocked(h)
	h.group.mu.Unlock()
}

func (t *Table) leaveLocked(h *held) {
	if h.line != nil {
		h.line.remove(h)
		h.group.n--
		t.waiting.Add(-1)
	}
}

// Arrive wakes waiters for new messages; the store's dispatcher calls it.
func (t *Table) Arrive(batch []store.Arrival) {
	if t.waiting.Load() == 0 {
		return
	}
	force := t.opts.Limits().Force
	var woken hold.Woken
	t.mu.RLock()
	for i := range batch {
		a := &batch[i]
		for _, g := range t.names[a.Topic] {
			t.arrived(g, a, force > 0 && (a.Next-1)%force == 0, &woken)
		}
	}
	t.mu.RUnlock()
	t.opts.Hold.Wake(&woken)
}

func (t *Table) arrived(g *group, a *store.Arrival, force bool, woken *hold.Woken) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n == 0 {
		return
	}
	force = force || a.Topic != g.topic // as in Java: what comes back has passed the filter once
	all := t.takeLocked(g, -1, a, force, woken)
	own := t.takeLocked(g, a.QueueID, a, force, woken)
	if all || own || a.Topic == g.topic {
		return
	}
	// Pops of any queue of the topic take from the retry topic too.
	for id, l := range g.lines {
		if l.n > 0 && t.takeLocked(g, id, a, force, woken) {
			return
		}
	}
}

// takeLocked has the waiter of a line woken whose turn it is. If that one does not want what came, nobody is woken: the others of its group
// want the same.
func (t *Table) takeLocked(g *group, queue int32, a *store.Arrival, force bool, woken *hold.Woken) bool {
	l := g.lines[queue]
	for l != nil && l.n > 0 {
		h := l.first
		if t.opts.Last {
			h = l.last
		}
		if !force && a != nil && !h.wait.Waiter.Wants(a) {
			return false
		}
		h.taken.Store(true)
		t.leaveLocked(h)
		if t.opts.Hold.Take(&h.entry, woken) != hold.Over {
			return true
		}
		// Its time was over just now: the next one.
	}
	return false
}

// Notify wakes one waiter of a line, whatever it wants, or of line -1 if that is empty.
func (t *Table) Notify(k pop.Key) {
	if t.waiting.Load() == 0 {
		return
	}
	t.mu.RLock()
	g := t.groups[groupKey{k.Topic, k.Group}]
	t.mu.RUnlock()
	if g == nil {
		return
	}
	var woken hold.Woken
	g.mu.Lock()
	if !t.takeLocked(g, k.Queue, nil, true, &woken) && k.Queue >= 0 {
		t.takeLocked(g, -1, nil, true, &woken)
	}
	g.mu.Unlock()
	t.opts.Hold.Wake(&woken)
}

// Len is how many wait in a line.
func (t *Table) Len(k pop.Key) int {
	t.mu.RLock()
	g := t.groups[groupKey{k.Topic, k.Group}]
	t.mu.RUnlock()
	if g == nil {
		return 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if l := g.lines[k.Queue]; l != nil {
		return l.n
	}
	return 0
}

// insert puts h behind those whose time ends no later. Most come with the latest end.
func (l *line) insert(h *held) {
	after := l.last
	for after != nil && after.wait.Until > h.wait.Until {
		after = after.prev
	}
	h.line, h.prev = l, after
	if after == nil {
		h.next, l.first = l.first, h
	} else {
		h.next, after.next = after.next, h
	}
	if h.next == nil {
		l.last = h
	} else {
		h.next.prev = h
	}
	l.n++
}

func (l *line) remove(h *held) {
	if h.prev == nil {
		l.first = h.next
	} else {
		h.prev.next = h.next
	}
	if h.next == nil {
		l.last = h.prev
	} else {
		h.next.prev = h.prev
	}
	h.line, h.prev, h.next = nil, nil, nil
	l.n--
}

// Ready, Wants and Wake make a held a [hold.Waiter].
func (h *held) Ready() bool { return h.taken.Load() || h.wait.Waiter.Ready() }

// Wants is never asked: no arrival is for the entry.
func (h *held) Wants(*store.Arrival) bool { return false }

// Wake passes on why the waiting is over. Its lock waits for whoever is about to take it.
func (h *held) Wake(why hold.Reason, out *remoting.Batch) {
	h.table.leave(h)
	h.wait.Waiter.Wake(why, out)
}
