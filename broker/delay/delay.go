// Package delay delivers messages of the delay levels when they are due (Java ScheduleMessageService; spec: store.md 11).
//
// A delayed message is stored in queue level-1 of the schedule topic; its queue entry holds, in place of a tags code, the time at
// which it is due. One goroutine reads the heads of these queues, puts what is due into its real topic, and sleeps until the next head
// is due; an arrival in an empty queue wakes it. Within a level messages are due in the order in which they were stored, so the head is
// all there is to know. How far each level has got is kept in config/delayOffset.json.
//
// Turning a message into a delayed one is not done here, but where messages are sent: see [Levels] and [Schedule].
package delay

import (
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"apogee/internal/clock"
	"apogee/store"
	"apogee/store/record"
	"apogee/store/vfs"
)

// halfTopic is where half messages of transactions are; nothing is delivered there, since nobody could commit it.
const halfTopic = "RMQ_SYS_TRANS_HALF_TOPIC"

// Levels are the delays in ms; level n is Levels[n-1].
type Levels []int64

// ParseLevels reads messageDelayLevel: numbers with a unit of s, m, h or d, separated by blanks.
func ParseLevels(s string) (Levels, error) {
	var out Levels
	for _, f := range strings.Fields(s) {
		unit, ok := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}[f[len(f)-1]]
		n, err := strconv.ParseInt(f[:len(f)-1], 10, 64)
		if !ok || err != nil || n < 0 || n > math.MaxInt64/int64(unit) {
			return nil, fmt.Errorf("delay level %d: %q is not a number followed by s, m, h or d", len(out)+1, f)
		}
		out = append(out, (time.Duration(n) * unit).Milliseconds())
	}
	return out, nil
}

// Store is what the scheduler needs of the message store.
type Store interface {
	Get(req *store.GetRequest, res *store.GetResult)
	Stage(m *record.Message, c store.Completion) store.PutResult
	Commit(r *store.PutResult) error
	MinOffset(topic string, queueID int32) int64
	MaxOffset(topic string, queueID int32) int64
}

// Options configure a scheduler.
type Options struct {
	Store  Store
	FS     vfs.FS
	Dir    string // store root; the file is in its config folder
	Now    func() time.Time
	Log    *slog.Logger
	Levels Levels

	// Flushed is how far the commit log is on disk. What is persisted on the way never runs ahead of it, so that a power cut
	// repeats deliveries but loses none. Nil: what is put counts as safe.
	Flushed func() int64

	// Around is told before and after a number of deliveries, so that who waits for the messages is woken by this goroutine, and once.
	Around interface {
		Begin()
		End()
	}

	FlushEvery  time.Duration // flushDelayOffsetInterval, 10 s
	VersionStep int64         // delayOffsetUpdateVersionStep: deliveries per bump of the data version, 200
}

// Retry after a refused put: Java waits 100 ms each time; we go on to 10 s, since a full disk does not heal in 100 ms.
const (
	retryFirst = 100 * time.Millisecond
	retryLast  = 10 * time.Second
)

// tick is the grid that the scheduler wakes up on. At a thousand messages a second waking up costs more than a delivery, and nobody can tell
// a delay of a second from one of 1.003 s.
const tick = 3 * time.Millisecond

// maxSleep bounds a sleep, so that a wall clock that was set forward is noticed.
const maxSleep = 30 * time.Second

// roundCount is how many messages one level delivers before the next has its turn.
const roundCount = 32

// Scheduler delivers delayed messages.
type Scheduler struct {
	opts   Options
	levels []*level
	file   file

	last      store.PutResult // staged last, and not committed yet; owned by the run loop
	putEnd    int64           // end of what was put last in the commit log; owned by the run loop
	delivered int64           // for the data version; owned by the run loop

	nudge chan struct{}

	life sync.Mutex    // guards stop, and serialises Start, Stop and TakeOver
	stop chan struct{} // nil while nothing is delivered
	done sync.WaitGroup

	req store.GetRequest // the run loop's own, used again and again
	res store.GetResult
	due dueFilter
	msg record.Message
}

// level is one delay level. All but idle and next belong to the run loop.
type level struct {
	number int   // 1..
	delay  int64 // ms
	next   atomic.Int64
	wakeAt int64 // ms; when its head is due, or a failed put is tried again; math.MaxInt64 while its queue is empty
	retry  time.Duration
	idle   atomic.Bool // its queue was empty; the arrival that clears it nudges the loop
}

func (l *level) queue() int32 { return int32(l.number - 1) }

// Open loads the progress of the levels.
func Open(opts Options) (*Scheduler, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = clock.Now
	}
	if opts.FlushEvery <= 0 {
		opts.FlushEvery = 10 * time.Second
	}
	if opts.VersionStep <= 0 {
		opts.VersionStep = 200
	}
	s := &Scheduler{opts: opts, nudge: make(chan struct{}, 1)}
	s.file.init(opts)
	offsets, err := s.file.load()
	if err != nil {
		return nil, fmt.Errorf("delay offsets: %w", err)
	}
	for i, d := range opts.Levels {
		l := &level{number: i + 1, delay: d}
		l.next.Store(offsets[l.number])
		s.levels = append(s.levels, l)
	}
	return s, nil
}

// Start begins to deliver. Offsets outside of what the store has are moved to its nearest end: on a slave it has grown since Open.
func (s *Scheduler) Start() {
	s.life.Lock()
	defer s.life.Unlock()
	if s.stop != nil {
		return
	}
	for _, l := range s.levels {
		off := l.next.Load()
		lo, hi := s.opts.Store.MinOffset(record.ScheduleTopic, l.queue()), s.opts.Store.MaxOffset(record.ScheduleTopic, l.queue())
		if off < lo || off > hi {
			corrected := min(max(off, lo), max(lo, hi))
			s.opts.Log.Warn("delay offset is outside of its queue", "level", l.number, "off", off, "corrected", corrected)
			l.next.Store(corrected)
		}
		l.wakeAt, l.retry = 0, 0
	}
	stop := make(chan struct{})
	s.stop = stop
	s.done.Go(func() { s.run(stop) })
}

// Stop ends the delivery and writes as much of the progress as is safe. Save writes the rest, once the store is flushed. Start may follow.
func (s *Scheduler) Stop() error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.stop == nil {
		return nil
	}
	close(s.stop)
	s.done.Wait()
	s.stop = nil
	return s.file.persist(s.snapshot(), s.opts.Flushed)
}

// TakeOver takes over how far another broker has delivered, and writes it to the file: text is its delayOffset.json. Where that is as new as
// what is known here or newer, it counts, and so does its data version; else an offset only moves ahead, since what was delivered here
// while the other broker was away is delivered. Nothing is taken over while this broker delivers.
func (s *Scheduler) TakeOver(text []byte) error {
	offsets, v, err := parse(text)
	if err != nil {
		return err
	}
	s.life.Lock()
	defer s.life.Unlock()
	if s.stop != nil {
		return nil
	}
	newer := s.file.adopt(v)
	for _, l := range s.levels {
		if off, ok := offsets[l.number]; ok && (newer || off > l.next.Load()) {
			l.next.Store(off)
		}
	}
	return s.file.persist(s.snapshot(), nil)
}

// Save writes the progress as it is. It is for the end: the store must be flushed, or have been closed.
func (s *Scheduler) Save() error { return s.file.persist(s.snapshot(), nil) }

// JSON is the content of delayOffset.json, as slaves ask for it (request code 45).
func (s *Scheduler) JSON() []byte { return s.file.encode(s.offsets()) }

// offsets is the next queue offset of each level that has got anywhere.
func (s *Scheduler) offsets() map[int]int64 {
	out := make(map[int]int64, len(s.levels))
	for _, l := range s.levels {
		if off := l.next.Load(); off > 0 {
			out[l.number] = off
		}
	}
	return out
}

func (s *Scheduler) snapshot() snapshot { return snapshot{offsets: s.offsets(), end: s.putEnd} }

// Arrive tells of stored messages; the store's dispatcher calls it.
func (s *Scheduler) Arrive(batch []store.Arrival) {
	for i := range batch {
		a := &batch[i]
		if a.Topic != record.ScheduleTopic || a.QueueID < 0 || int(a.QueueID) >= len(s.levels) {
			continue
		}
		if l := s.levels[a.QueueID]; l.idle.Load() && l.idle.CompareAndSwap(true, false) {
			select {
			case s.nudge <- struct{}{}:
			default:
			}
		}
	}
}

// run is the one goroutine: deliver what is due, persist now and then, sleep until the next is due.
func (s *Scheduler) run(stop <-chan struct{}) {
	timer := time.NewTimer(maxSleep)
	defer timer.Stop()
	persist := time.NewTicker(s.opts.FlushEvery)
	defer persist.Stop()
	for {
		timer.Reset(s.round())
		select {
		case <-stop:
			return
		case <-persist.C:
			if err := s.file.persist(s.snapshot(), s.opts.Flushed); err != nil {
				s.opts.Log.Error("persist delay offsets", "err", err)
			}
		case <-timer.C:
		case <-s.nudge:
		}
	}
}

// round works the levels that are due, and says how long to sleep.
func (s *Scheduler) round() time.Duration {
	if a := s.opts.Around; a != nil {
		a.Begin()
		defer a.End()
	}
	now := s.opts.Now().UnixMilli()
	next := now + maxSleep.Milliseconds()
	for _, l := range s.levels {
		if l.wakeAt == math.MaxInt64 && !l.idle.Load() {
			l.wakeAt = 0 // an arrival has cleared idle
		}
		if l.wakeAt <= now {
			s.workGuarded(l, now)
		}
		next = min(next, l.wakeAt)
	}
	if next <= now {
		return 0
	}
	const grid = int64(tick / time.Millisecond)
	return time.Duration((next+grid-1)/grid*grid-now) * time.Millisecond
}

// workGuarded is work that survives a disk which cannot give what is mapped: the level is tried again later.
func (s *Scheduler) workGuarded(l *level, now int64) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch p := recover().(type) {
		case nil:
		case memoryFault:
			l.wakeAt = now + retryLast.Milliseconds()
			s.opts.Log.Error("delayed message cannot be read", "level", l.number, "off", l.next.Load(), "err", p)
		default:
			panic(p)
		}
	}()
	s.work(l, now)
}

// memoryFault is the runtime's error for an access that the kernel refuses.
type memoryFault interface {
	runtime.Error
	Addr() uintptr
}

// work delivers at most one round of a level's due messages and sets when to look again.
func (s *Scheduler) work(l *level, now int64) {
	off := l.next.Load()
	s.due = dueFilter{now: now, delay: l.delay}
	s.req = store.GetRequest{Topic: record.ScheduleTopic, QueueID: l.queue(), Offset: off, MaxCount: roundCount, MaxBytes: math.MaxInt32, Filter: &s.due}
	s.opts.Store.Get(&s.req, &s.res)
	defer s.res.Release()
	switch s.res.Status {
	case store.Found:
		if !s.deliverAll(l, now) {
			return
		}
		l.wakeAt = now
		if s.due.stopped {
			l.wakeAt = s.due.next
		}
	case store.NoMatchedMessage:
		l.wakeAt = now
		if s.due.stopped {
			l.wakeAt = s.due.next
			return
		}
		s.skip(l, off)
		if l.next.Load() == off { // its message cannot be read just now
			l.wakeAt = now + retryFirst.Milliseconds()
		}
	case store.OffsetTooSmall, store.OffsetOverflowBadly, store.OffsetFoundNull, store.MessageWasRemoving:
		s.skip(l, off)
		l.wakeAt = now
		if l.next.Load() == off { // nothing to go on to; look again when the store has changed
			l.wakeAt = now + retryFirst.Milliseconds()
		}
	default: // the queue ends here
		s.sleepUntilArrival(l, off)
	}
}

// skip moves over queue entries whose messages are gone, or to where the queue begins or ends now.
func (s *Scheduler) skip(l *level, off int64) {
	s.opts.Log.Warn("delay level skips", "level", l.number, "off", off, "next", s.res.Next, "status", s.res.Status)
	l.next.Store(s.res.Next)
}

// sleepUntilArrival marks a level as having an empty queue. A message that came in since the read is seen by the second look.
func (s *Scheduler) sleepUntilArrival(l *level, off int64) {
	l.wakeAt = math.MaxInt64
	l.idle.Store(true)
	if s.opts.Store.MaxOffset(record.ScheduleTopic, l.queue()) > off && l.idle.CompareAndSwap(true, false) {
		l.wakeAt = 0
	}
}

// deliverAll puts the messages of the result into their topics, in order and with one write of the log; false if one was refused, or
// the write failed, and is to be tried again.
func (s *Scheduler) deliverAll(l *level, now int64) bool {
	first := l.next.Load()
	s.last = store.PutResult{}
	whole := s.stageAll(l, now)
	if err := s.opts.Store.Commit(&s.last); err != nil {
		l.next.Store(first)
		s.later(l, now)
		s.opts.Log.Warn("delayed messages are refused", "level", l.number, "off", first, "err", err, "retry", l.retry)
		return false
	}
	s.putEnd = max(s.putEnd, s.last.NextOffset)
	for range l.next.Load() - first {
		if s.delivered++; s.delivered%s.opts.VersionStep == 0 {
			s.file.bump()
		}
	}
	if whole {
		l.retry = 0
	}
	return whole
}

// stageAll stages the messages of the result; false if one was refused and is to be tried again.
func (s *Scheduler) stageAll(l *level, now int64) bool {
	for _, region := range s.res.Regions {
		for len(region) >= record.MinSize {
			size := int(record.SizeOf(region))
			if size < record.MinSize || size > len(region) {
				s.opts.Log.Error("delayed message is damaged", "level", l.number, "off", l.next.Load(), "size", size)
				l.next.Add(1)
				return true
			}
			rec := region[:size]
			region = region[size:]
			if !s.deliver(l, rec, now) {
				return false
			}
			l.next.Store(record.QueueOffsetOf(rec) + 1)
		}
	}
	return true
}

// later lets a level wait before it tries again, each time longer.
func (s *Scheduler) later(l *level, now int64) {
	l.retry = min(max(2*l.retry, retryFirst), retryLast)
	l.wakeAt = now + l.retry.Milliseconds()
}

// deliver stages one message; false if the store may take it later.
func (s *Scheduler) deliver(l *level, rec []byte, now int64) bool {
	m := &s.msg
	err := record.Decode(rec, m)
	if err == nil && len(m.Body) > 0 {
		if m.BodyChecked = record.BodyCRC(m.Body) == m.BodyCRC; !m.BodyChecked {
			err = record.ErrBodyCRC // it would be put with a checksum that is right
		}
	}
	if err != nil {
		s.opts.Log.Error("delayed message is damaged", "level", l.number, "off", l.next.Load(), "err", err)
		return true
	}
	if err := restore(m); err != nil {
		// Java tries such a message for ever, and what is behind it is never delivered.
		s.opts.Log.Error("delayed message cannot be delivered", "level", l.number, "off", m.QueueOffset, "err", err)
		return true
	}
	res := s.opts.Store.Stage(m, nil)
	switch res.Status {
	case store.PutOK:
		s.last = res
		return true
	case store.FlushDiskTimeout, store.FlushSlaveTimeout, store.SlaveNotAvailable:
		s.putEnd = max(s.putEnd, res.NextOffset)
		return true
	case store.MessageIllegal, store.PropertiesSizeExceeded:
		s.opts.Log.Error("delayed message is refused for good", "level", l.number, "off", m.QueueOffset, "topic", m.Topic, "err", res.Err)
		return true
	}
	s.later(l, now)
	s.opts.Log.Warn("delayed message is refused", "level", l.number, "topic", m.Topic, "status", int(res.Status), "err", res.Err, "retry", l.retry)
	return false
}

// restore makes a stored delayed message the one that its sender meant. Java rebuilds the record in the same way: the properties stay
// as they are stored, DELAY, REAL_TOPIC and REAL_QID included (ScheduleMessageService.messageTimeUp).
func restore(m *record.Message) error {
	m.Found = record.ReadWords(m.Properties)
	topic := m.Found.RealTopic
	queue, err := strconv.ParseInt(m.Found.RealQueue, 10, 32)
	switch {
	case topic == "":
		return fmt.Errorf("property %s is missing", record.PropRealTopic)
	case err != nil:
		return fmt.Errorf("property %s: %w", record.PropRealQueue, err)
	case topic == halfTopic:
		return fmt.Errorf("a half message cannot be delayed")
	}
	m.Topic, m.QueueID = topic, int32(queue)
	m.PreparedTransactionOffset = 0
	m.TagsCode = 0
	return nil
}

// dueFilter lets the entries pass that are due, and ends at the first that is not.
type dueFilter struct {
	now, delay int64
	next       int64 // when the first entry that is not due will be
	stopped    bool
}

// MatchTags sees the time at which an entry is due. A time further away than the level's whole delay comes from a clock that was
// set back since; Java delivers such a message now, and so do we.
func (f *dueFilter) MatchTags(due int64) bool {
	if f.stopped {
		return false
	}
	if due > f.now && due <= f.now+f.delay {
		f.next, f.stopped = due, true
		return false
	}
	return true
}

// MatchRecord takes all: the queue entry has said it.
func (f *dueFilter) MatchRecord([]byte) bool { return true }
