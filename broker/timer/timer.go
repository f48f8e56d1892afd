// Package timer delivers messages at the times that they ask for (Java TimerMessageStore; spec: store.md 12, behaviour.md 10.2).
//
// A timed message is stored in the timer topic. From there it is entered: a unit in the timer log says where it is, and a slot of the
// timer wheel chains the units of one time. When the time of a slot is over, its messages are put into their topics. What is further off
// than the window of the wheel is entered nearer and, when that slot is due, put into the timer topic again ("rolled"). A cancellation
// is a timed message that names another one; it lies in the same slot and is looked at first.
//
// The files are Java's: timerwheel, timerlog/, config/timercheck and config/timermetrics. Only the timer topic is needed to make all
// of them again, and where they are damaged that is what happens ([Open]).
//
// One goroutine enters and delivers; it sleeps until the next slot is due or a message arrives, and does nothing while nothing waits. A
// second one writes, so that no delivery waits for the disk. Making a message a timed one is done where it is sent: see [Rules] and
// [Schedule].
package timer

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"apogee/internal/clock"
	"apogee/store"
	"apogee/store/record"
	"apogee/store/vfs"
)

// Store is what the timer needs of the message store.
type Store interface {
	Get(req *store.GetRequest, res *store.GetResult)
	View(physical int64) (rec []byte, release func(), err error)
	Stage(m *record.Message, c store.Completion) store.PutResult
	Commit(r *store.PutResult) error
	MinOffset(topic string, queueID int32) int64
	MaxOffset(topic string, queueID int32) int64
}

// Switches are what can be changed while the timer runs.
type Switches struct {
	StopEnqueue bool // timerStopEnqueue
	StopDequeue bool // timerStopDequeue
	SkipUnknown bool // timerSkipUnknownError
}

// Options configure a timer.
type Options struct {
	Store Store
	FS    vfs.FS
	Dir   string // store root
	Now   func() time.Time
	Log   *slog.Logger

	Precision     int64         // ms, as the function Precision gives it
	RollWindow    int64         // timerRollWindowSlot
	LogFileSize   int64         // mappedFileSizeTimerLog
	FlushEvery    time.Duration // timerFlushIntervalMs
	KeysHaveTopic bool          // appendTopicForTimerDeleteKey
	Hold          time.Duration // disappearTimeAfterStart: nothing is delivered in the first moments

	// Ends reports where the commit log begins and ends, and how far it is on disk. The checkpoint never runs ahead of the last, so that
	// a power cut repeats deliveries but loses none.
	Ends func() (begin, end, flushed int64)

	// Dispatched reports how far what is in the commit log can be read from its topics, and how far it is acknowledged, which may be a little
	// further. nil: it never is.
	Dispatched func() (upTo, acknowledged int64)

	Switches func() Switches // nil: none
}

// Retry after a refused put: the waits grow, since a full disk does not heal at once.
const (
	retryFirst = 100 * time.Millisecond
	retryLast  = 10 * time.Second
)

const (
	maxSleep    = 30 * time.Second // so that a wall clock that was set forward is noticed
	pausedSleep = time.Second      // between looks at the switches while they stop something
	cleanEvery  = 30 * time.Second // looks for timer log files that can go
	maxSettle   = 10000            // parts of a slot, to the end of which a stop waits
	blankSlots  = 60               // kept between what is behind the hand and what is ahead, after a long stop
)

// Service is the timer of one broker.
type Service struct {
	opts    Options
	log     *timerLog
	metrics metrics
	saver   saver

	mu    sync.Mutex // guards wheel against those who ask for numbers; the run loop alone changes it
	wheel wheel

	// What others may see of the progress.
	readTime    atomic.Int64 // all slots before it are delivered
	queueOffset atomic.Int64 // of the next message to enter
	first       atomic.Int64 // time of the first slot that is not delivered; math.MaxInt64 without any
	caughtUp    atomic.Int64 // when all that was stored by then was entered
	looked      atomic.Int64 // the time of the last look at the topic's end

	// All that follows belongs to the run loop.
	write    int64 // the present time, in steps, never going back
	look     look
	settled  int64 // slots before it can be delivered: what was acknowledged by then is entered, cancellations too
	read     int64 // what is entered for a time before this is delivered at once
	next     int64 // time of the first slot from read on; math.MaxInt64 without any
	due      *dueSlot
	spare    *dueSlot // to be used again
	batch    batch
	repeat   repeat // what recovery found of messages that are in the topic still to be entered
	full     bool   // nothing can be entered before something is delivered
	putEnd   int64  // end of what was put last
	retryAt  int64
	retry    time.Duration
	paused   bool
	started  int64
	dirty    bool // something is to be written
	flushAt  int64
	flushing bool
	cleanAt  int64

	following following

	orders orders
	idle   atomic.Bool // the topic's queue was at its end; the arrival that clears it nudges the loop
	nudge  chan struct{}
	stop   chan struct{}
	once   sync.Once
	done   sync.WaitGroup

	req store.GetRequest // the run loop's own, used again and again
	res store.GetResult
}

// Open loads the files, and makes them anew from the timer topic where they are damaged.
func Open(opts Options) (*Service, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = clock.Now
	}
	if opts.FlushEvery <= 0 {
		opts.FlushEvery = time.Second
	}
	if opts.Precision <= 0 {
		opts.Precision = 1000
	}
	if opts.RollWindow < 2 || opts.RollWindow > slotsTotal-blankSlots {
		opts.RollWindow = slotsTotal - blankSlots
	}
	if opts.Dispatched == nil {
		opts.Dispatched = func() (upTo, acknowledged int64) { return 0, 0 }
	}
	if opts.Switches == nil {
		opts.Switches = func() Switches { return Switches{} }
	}
	s := &Service{opts: opts, nudge: make(chan struct{}, 1), stop: make(chan struct{})}
	s.wheel.precision = opts.Precision
	s.metrics.init(opts.Now)
	s.saver.init(&s.opts, &s.metrics)
	err := errors.New("the commit log cannot be read")
	s.guarded(func() { err = s.recover() })
	if err != nil {
		return nil, fmt.Errorf("timer: %w", errors.Join(err, s.close()))
	}
	return s, nil
}

// Start begins to enter and deliver.
func (s *Service) Start() {
	s.started = s.now()
	s.orders.mu.Lock()
	s.following.on = s.orders.follow
	s.orders.mu.Unlock()
	s.saver.start()
	s.done.Go(s.run)
}

// Stop ends the delivery and writes as much of the progress as is safe. Save writes the rest, once the store is closed.
func (s *Service) Stop() error {
	s.once.Do(func() { close(s.stop) })
	s.done.Wait()
	s.saver.stop()
	select {
	case r := <-s.saver.results:
		s.flushed(r)
	default:
	}
	s.guarded(func() { s.settle() })
	return s.save(false)
}

// save writes all that has changed.
func (s *Service) save(final bool) error {
	if err := s.log.write(); err != nil {
		return err
	}
	n := s.snapshot()
	if n.err = s.saver.save(n, final); n.err != nil {
		s.flushed(n)
	}
	return n.err
}

// settle finishes the slot that is being delivered, since it would be delivered again as a whole, and moves the hand to the present.
func (s *Service) settle() {
	if s.following.on {
		return
	}
	sw := s.opts.Switches()
	for n := 0; s.due != nil && n < maxSettle; n++ {
		if _, err := s.deliverDue(&sw); err != nil {
			s.opts.Log.Warn("timed messages will be delivered again", "slot", s.due.time, "n", s.due.next, "err", err)
			break
		}
	}
	s.advance()
}

// Save writes the progress as it is and closes the files. It is for the end, when the store has been closed: flushed says that all of the
// commit log is on disk. If it is not, no more is written than Ends knows to be there.
func (s *Service) Save(flushed bool) error {
	return errors.Join(s.save(flushed), s.close())
}

func (s *Service) close() error {
	err := s.saver.close()
	if s.log != nil {
		err = errors.Join(err, s.log.close())
	}
	return err
}

func (s *Service) now() int64 { return s.opts.Now().UnixMilli() }

// Arrive tells of stored messages; the store's dispatcher calls it.
func (s *Service) Arrive(batch []store.Arrival) {
	if !s.idle.Load() {
		return
	}
	for i := range batch {
		if batch[i].Topic == Topic && s.idle.CompareAndSwap(true, false) {
			select {
			case s.nudge <- struct{}{}:
			default:
			}
			return
		}
	}
}

// Checkpoint is what slaves ask for (request 60): how far the timer has got.
func (s *Service) Checkpoint() []byte {
	c := s.saver.checkpoint()
	s.orders.mu.Lock()
	follows := s.orders.follow
	s.orders.mu.Unlock()
	if follows {
		return c.encode()
	}
	c.read, c.queue = max(c.read, s.readTime.Load()), s.queueOffset.Load()
	c.master = c.queue
	return c.encode()
}

// Metrics is what waits for each topic, as JSON (request 61).
func (s *Service) Metrics() []byte { return s.metrics.json() }

// Forget drops the count of a topic that was deleted.
func (s *Service) Forget(topic string) { s.metrics.remove(topic) }

// Progress are the numbers of runtime info.
type Progress struct {
	ReadBehind   int64 // s since the time that is being delivered
	OffsetBehind int64 // messages that are not entered yet
	Waiting      int64 // messages in the wheel
}

// Progress collects the present numbers.
func (s *Service) Progress() Progress {
	read := s.readTime.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	p := Progress{
		OffsetBehind: max(0, s.opts.Store.MaxOffset(Topic, 0)-s.queueOffset.Load()),
		Waiting:      s.wheel.sum(read),
	}
	if at, ok := s.wheel.next(read); ok {
		p.ReadBehind = max(0, s.now()-s.opts.Precision-at) / 1000
	}
	return p
}

// Behind tells whether something that was due by now may not be in its topic yet: a slot whose time is over, or messages that have
// waited to be entered for longer than a step.
func (s *Service) Behind() bool {
	now := s.now()
	if first := s.first.Load(); first <= now-s.opts.Precision {
		return true
	}
	return now-s.caughtUp.Load() > s.opts.Precision && s.opts.Store.MaxOffset(Topic, 0) > s.queueOffset.Load()
}

// run is the one goroutine that enters and delivers.
func (s *Service) run() {
	sleep := time.NewTimer(maxSleep)
	defer sleep.Stop()
	for {
		s.obey()
		s.advance()
		busy := s.stepGuarded()
		s.first.Store(s.next)
		if s.due != nil {
			s.first.Store(s.due.time)
		}
		s.flush()
		wait := s.wait()
		if busy && s.retryAt == 0 {
			wait = 0
		}
		if wait == 0 {
			select {
			case <-s.stop:
				return
			case n := <-s.saver.results:
				s.flushed(n)
			default:
			}
			continue
		}
		var c <-chan time.Time
		if wait < math.MaxInt64 {
			sleep.Reset(wait)
			c = sleep.C
		}
		select {
		case <-s.stop:
			return
		case n := <-s.saver.results:
			s.flushed(n)
		case <-s.nudge:
			if !s.gather(sleep) {
				return
			}
		case <-c:
		}
	}
}

// gathering is how long the timer waits for more once something has arrived: waking up for each costs more than to enter it, and a slot is
// as long as fifty of these.
const gathering = 20 * time.Millisecond

// gather lets more arrive, until something is due; false if the timer is to stop.
func (s *Service) gather(sleep *time.Timer) bool {
	sleep.Reset(min(gathering, s.wait()))
	select {
	case <-s.stop:
		return false
	case <-sleep.C:
		return true
	}
}

// advance moves the hand to the present time, or as near as is known what waits there. Between read and there may be slots that are due.
func (s *Service) advance() {
	s.write = max(s.write, s.wheel.floor(s.now()))
	s.followUp()
	if s.due == nil && s.next >= s.settled && s.read < s.settled && !s.holding() {
		s.read = s.settled
	}
	if s.due == nil {
		s.readTime.Store(min(s.read, s.write))
	}
}

// look is a look at the end of the timer topic. When everything up to there is entered, slots before the time of the look may be delivered. A
// machine that stood still, or many messages at once, would otherwise have a message delivered that was recalled long before its time.
type look struct {
	at    int64 // when; 0: none is under way
	end   int64 // of what was acknowledged by then
	queue int64 // end of the topic's queue, with all of that in it; -1 until it is
}

// followUp goes on with a look, or begins one.
func (s *Service) followUp() {
	l := &s.look
	if l.at == 0 {
		if s.write <= s.settled {
			return
		}
		s.looked.Store(s.write) // first: what is acknowledged later may not be seen
		*l = look{at: s.write, queue: -1}
		_, l.end = s.opts.Dispatched()
	}
	if l.queue < 0 {
		if upTo, _ := s.opts.Dispatched(); upTo < l.end {
			return
		}
		l.queue = s.opts.Store.MaxOffset(Topic, 0)
	}
	if s.queueOffset.Load() >= l.queue || s.full || s.opts.Switches().StopEnqueue {
		s.settled, l.at = l.at, 0
	}
}

// Passed tells whether a cancellation that has just been stored may come too late for a slot.
func (s *Service) Passed(out int64) bool { return s.looked.Load() > out }

// holding tells whether slots that are past may still get messages: what was there at the start is entered first, and nothing is passed
// over while delivery is switched off, or somebody else delivers.
func (s *Service) holding() bool {
	return s.following.on || s.catchingUp() || s.opts.Switches().StopDequeue
}

// wait is how long there is nothing to do; math.MaxInt64 is until something arrives.
func (s *Service) wait() time.Duration {
	now := s.now()
	at := int64(math.MaxInt64)
	if !s.following.on && (s.next != math.MaxInt64 || s.due != nil) {
		at = now + maxSleep.Milliseconds()
	}
	switch {
	case s.retryAt > 0:
		at = min(at, s.retryAt)
	case s.following.on:
	case s.paused:
		at = min(at, now+pausedSleep.Milliseconds())
	case s.due != nil:
		return 0
	case s.next != math.MaxInt64 && s.look.at > 0: // dispatch is behind
		at = min(at, max(s.next+s.opts.Precision, now+1))
	case s.next != math.MaxInt64:
		at = min(at, s.next+s.opts.Precision)
	}
	if s.dirty && !s.flushing {
		at = min(at, s.flushAt)
	}
	if at == math.MaxInt64 {
		return math.MaxInt64
	}
	return time.Duration(max(0, at-now)) * time.Millisecond
}

// stepGuarded is step that survives a disk which cannot give what is mapped: it is tried again later.
func (s *Service) stepGuarded() (busy bool) {
	s.guarded(func() { busy = s.step() })
	return busy
}

func (s *Service) guarded(f func()) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch p := recover().(type) {
		case nil:
		case memoryFault:
			s.opts.Log.Error("timed message cannot be read", "off", s.queueOffset.Load(), "err", p)
			s.backOff()
		default:
			panic(p)
		}
	}()
	f()
}

// memoryFault is the runtime's error for an access that the kernel refuses.
type memoryFault interface {
	runtime.Error
	Addr() uintptr
}

// step enters some messages and delivers some; false if there is nothing more to do now.
func (s *Service) step() (busy bool) {
	now := s.now()
	if s.retryAt > now {
		return false
	}
	s.retryAt = 0
	sw := s.opts.Switches()
	hold := s.opts.Hold > 0 && now < s.started+s.opts.Hold.Milliseconds()
	s.paused = sw.StopEnqueue || sw.StopDequeue || hold
	hold = hold || s.following.on
	if !sw.StopEnqueue {
		more, err := s.enter(&sw)
		if err != nil {
			s.opts.Log.Warn("timed messages are not entered", "off", s.queueOffset.Load(), "err", err)
			s.backOff()
			return false
		}
		busy = more
	}
	if sw.StopDequeue || hold || s.catchingUp() && !s.full {
		return busy
	}
	more, err := s.deliverDue(&sw)
	if err != nil {
		s.opts.Log.Warn("timed messages are not delivered", "err", err)
		s.backOff()
		return false
	}
	return busy || more
}

// backOff has the next step wait.
func (s *Service) backOff() {
	s.retry = min(max(2*s.retry, retryFirst), retryLast)
	s.retryAt = s.now() + s.retry.Milliseconds()
}

// changed has the files written before long.
func (s *Service) changed() {
	if !s.dirty {
		s.dirty = true
		s.flushAt = s.now() + s.opts.FlushEvery.Milliseconds()
	}
}
