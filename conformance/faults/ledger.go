package faults

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// what is a kind of fact.
type what uint8

const (
	stored     what = iota // a message was acknowledged
	later                  // one was that is delivered later
	half                   // a half message was acknowledged
	committing             // its commit is on the way
	committed              // and was acknowledged
	rollingBack
	rolledBack
	taken     // the consumer of a popped message is through with it: its acknowledgement is on the way
	topicMade // a topic, or a change of it, was acknowledged
)

// promise tells whether a fact of this kind is something that the broker has said. Others are what it may know.
func (w what) promise() bool {
	return w != committing && w != rollingBack && w != taken
}

// fact is something that clients know.
type fact struct {
	what  what
	body  string
	topic string
	queue int32
	off   int64 // in the queue
	phys  int64 // in the log, -1 where it is not known
	at    time.Time

	// excused says that an ASYNC_FLUSH broker may have lost what was promised, which was so old then.
	excused bool
	age     time.Duration
}

// place is a queue of a group.
type place struct {
	group, topic string
	queue        int32
}

type commit struct {
	place
	off int64
}

// ledger is all that clients know of a broker in all of its lives.
type ledger struct {
	mu    sync.Mutex // guards what follows
	facts []fact
	dead  bool
	birth time.Time

	commits []commit // offsets that were acknowledged in this life
	marks   [2]int   // of commits: how many there were when the last two writes of the file began
	kept    map[place]int64
	sent    map[place]int64
}

func newLedger() *ledger {
	return &ledger{kept: make(map[place]int64), sent: make(map[place]int64)}
}

func (l *ledger) add(f fact) {
	f.at = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead && f.what.promise() {
		return // the power was off before the answer came
	}
	l.facts = append(l.facts, f)
}

// next is an offset for a group that is on its way from here on, so much beyond the last one.
func (l *ledger) next(p place, step int64) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[p] += step
	return l.sent[p]
}

// committed notes that an offset was acknowledged.
func (l *ledger) committed(p place, off int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.dead {
		l.commits = append(l.commits, commit{p, off})
	}
}

// persisting says that a write of the offsets begins, so that the one before is done: what was acknowledged when that one had not begun
// is on disk.
func (l *ledger) persisting() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.commits[:l.marks[0]] {
		l.kept[c.place] = max(l.kept[c.place], c.off)
	}
	l.marks[0], l.marks[1] = l.marks[1], len(l.commits)
}

// closed says that the broker has stopped in order: all offsets are on disk.
func (l *ledger) closed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.commits {
		l.kept[c.place] = max(l.kept[c.place], c.off)
	}
}

// found takes what a broker knows of offsets for promised from here on, once it runs.
func (l *ledger) found(now map[place]int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p, off := range now {
		l.commits = append(l.commits, commit{p, off})
	}
}

// begin begins a life.
func (l *ledger) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead, l.birth, l.commits, l.marks = false, time.Now(), nil, [2]int{}
}

// cut ends a life. durable tells whether the record at a log offset is on disk.
func (l *ledger) cut(durable func(phys int64) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = true
	if durable == nil {
		return
	}
	now := time.Now()
	for i := range l.facts {
		f := &l.facts[i]
		if !f.excused && f.what != topicMade && f.what.promise() && !durable(f.phys) {
			f.excused, f.age = true, now.Sub(latest(f.at, l.birth)) // a broker that is down has no time to flush
		}
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// all is a copy of the facts.
func (l *ledger) all() []fact {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.facts)
}

// offsets are what was promised of offsets, and the most that was ever sent.
func (l *ledger) offsets() (kept, sent map[place]int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.kept), maps.Clone(l.sent)
}
