// Package transaction decides what becomes of half messages (Java TransactionalMessageServiceImpl, TransactionalOpBatchService,
// TransactionalMessageCheckService; spec: store.md 13).
//
// A half message waits in queue 0 of the half topic. Its end, commit or rollback, is told by the producer: the commit stores the message
// in its real topic, and either one notes the half's queue offset in an op message. The check walks the half queue behind both: it
// passes over what has an op, and of what is undecided for too long it asks a producer of the group, for which it stores the half
// message once more at the queue's end. How far it has got in the half and the op queue are consumer offsets of a system group.
//
// What requests do is in broker/processor (send, END_TRANSACTION); they tell the [Service] of half messages and of their ends. One
// goroutine writes op messages, one checks.
package transaction

import (
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"apogee/broker/client"
	"apogee/internal/clock"
	"apogee/store"
	"apogee/store/record"
	"apogee/store/vfs"
)

// Store is what the service needs of the message store.
type Store interface {
	Get(req *store.GetRequest, res *store.GetResult)
	Put(m *record.Message, c store.Completion) store.PutResult
	MinOffset(topic string, queueID int32) int64
	MaxOffset(topic string, queueID int32) int64
}

// Offsets are the consumer offsets.
type Offsets interface {
	Query(group, topic string, queue int32) (int64, bool)
	Commit(group, topic string, queue int32, off int64) (lower bool)
}

// Settings are the broker's settings that matter here. They may change at run time.
type Settings struct {
	Timeout       time.Duration // transactionTimeOut: so old is a message that is asked about
	CheckMax      int           // transactionCheckMax: how often producers are asked
	CheckInterval time.Duration // transactionCheckInterval
	Reserved      time.Duration // fileReservedTime: so old is a message that is given up
	OpMaxSize     int           // transactionOpMsgMaxSize
	OpInterval    time.Duration // transactionOpBatchInterval
	FlushCounts   time.Duration // transactionMetricFlushInterval
	BrokerName    string
}

// Options are what a service works with.
type Options struct {
	Store    Store
	Offsets  Offsets
	FS       vfs.FS
	Dir      string // store root
	Now      func() time.Time
	Log      *slog.Logger
	Settings func() Settings

	// Producer picks a connected producer of a group, nil if there is none.
	Producer func(group string) client.Channel
	// Queues is how many half queues there are.
	Queues func() int32
	// GivenUp makes sure of the topic of messages that are given up.
	GivenUp func() error
	// Host is where the broker is.
	Host func() netip.AddrPort
	// Stored hears of messages that were stored here, for statistics.
	Stored func(topic string, bytes int64)
	// Escape sends a half message to another broker, which takes it as a new one. Nil, or nil for now: undecided messages are asked about
	// here. A slave that acts for its master cannot store them once more.
	Escape func() func(m *record.Message) error
	// Log positions: what is put is below End, what outlives a power cut is below Flushed. The offsets of the check never rely on more.
	End, Flushed func() int64
}

// Service is the transactions of one broker.
type Service struct {
	opts   Options
	ops    *ops
	counts *counts
	check  checker

	nudge chan struct{} // for the writer of op messages

	life sync.Mutex    // guards stop, and serialises Start and Stop
	stop chan struct{} // nil while nothing is checked
	done sync.WaitGroup
}

// Open loads the counts of half messages.
func Open(opts Options) (*Service, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = clock.Now
	}
	s := &Service{
		opts: opts, ops: newOps(), counts: newCounts(opts.FS, opts.Dir, opts.Now, opts.Log),
		nudge: make(chan struct{}, 1),
	}
	s.check.s = s
	if err := s.counts.load(); err != nil {
		return nil, fmt.Errorf("counts of half messages: %w", err)
	}
	return s, nil
}

// Start begins to write op messages and to check.
func (s *Service) Start() {
	s.life.Lock()
	defer s.life.Unlock()
	if s.stop != nil {
		return
	}
	stop := make(chan struct{})
	s.stop = stop
	s.check = checker{s: s, stop: stop}
	s.done.Go(func() { s.writeLoop(stop) })
	s.done.Go(s.checkLoop)
}

// Stop ends both and writes what waits: no more requests may come. Settle follows when the store is closed, or Start on a slave that
// begins to act for its master again.
func (s *Service) Stop() error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.stop == nil {
		return nil
	}
	close(s.stop)
	s.done.Wait()
	s.stop = nil
	return s.flushOps()
}

// Settle notes how far the check has got: the store must be flushed, or have been closed. It tells whether that changes consumer
// offsets, which are to be persisted then.
func (s *Service) Settle() (changed bool, err error) {
	return s.check.publish(true), s.counts.persist()
}

// Prepared says that a half message for a topic was stored.
func (s *Service) Prepared(topic string) { s.counts.add(topic, 1) }

// Begin says that a half message is about to be committed. Done or Abandon follows.
func (s *Service) Begin(queue int32, off int64) { s.ops.begin(queue, off) }

// Abandon says that it could not be.
func (s *Service) Abandon(queue int32, off int64) { s.ops.abandon(queue, off) }

// Done ends a half message that Begin was called for: its commit is in the log. It never waits for a disk. Java's answer to the
// producer does not depend on the op message either: one that is lost has the producer asked once more.
func (s *Service) Done(queue int32, off int64, topic string) {
	s.counts.add(topic, -1)
	first, size, count := s.ops.add(queue, off, s.opts.Now().UnixMilli())
	switch set := s.opts.Settings(); {
	case count >= opCapacity && count%opHelp == 0:
		if _, err := s.writeOps(queue); err != nil {
			s.opts.Log.Error("ends of transactions wait for the store", "queue", queue, "waiting", count, "err", err)
		}
	case first || size > set.OpMaxSize:
		select {
		case s.nudge <- struct{}{}:
		default:
		}
	}
}

// RolledBack ends a half message that shall never be seen. It is an error where the store has refused op messages for so long that no
// more may wait.
func (s *Service) RolledBack(queue int32, off int64, topic string) error {
	if n := s.ops.waiting(queue); n >= 2*opCapacity {
		return fmt.Errorf("%d ends of transactions wait for the store", n)
	}
	s.ops.begin(queue, off)
	s.Done(queue, off, topic)
	return nil
}

// Resumed says that a message was made a half message again.
func (s *Service) Resumed(topic string) { s.counts.add(topic, 1) }

// Undecided is how many half messages of a topic wait for their end.
func (s *Service) Undecided(topic string) int64 { return s.counts.of(topic) }

// maxSleep bounds a sleep, so that changed settings and a wall clock that was set are noticed.
const maxSleep = 30 * time.Second

// retryOps is how long the writer waits after the store refused an op message.
const retryOps = time.Second

// writeLoop writes op messages when there is enough for one, or when what waits has waited for long enough; and the counts now and then.
func (s *Service) writeLoop(stop <-chan struct{}) {
	timer := time.NewTimer(maxSleep)
	defer timer.Stop()
	saved := s.opts.Now()
	for {
		set := s.opts.Settings()
		now := s.opts.Now()
		queues, next := s.ops.due(now.UnixMilli(), set.OpInterval.Milliseconds(), set.OpMaxSize)
		sleep := min(maxSleep, max(set.FlushCounts-now.Sub(saved), 0))
		if next > 0 {
			sleep = min(sleep, time.Duration(max(0, next-now.UnixMilli()))*time.Millisecond)
		}
		for _, q := range queues {
			sleep = 0
			if _, err := s.writeOps(q); err != nil {
				sleep = retryOps
				s.opts.Log.Error("ends of transactions wait for the store", "queue", q, "err", err)
			}
		}
		if now.Sub(saved) >= set.FlushCounts {
			saved = now
			if err := s.counts.persist(); err != nil {
				s.opts.Log.Error("counts of half messages not on disk", "err", err)
			}
			sleep = min(sleep, set.FlushCounts)
		}
		timer.Reset(max(sleep, time.Millisecond))
		select {
		case <-stop:
			return
		case <-timer.C:
		case <-s.nudge:
		}
	}
}

// flushOps writes all that waits.
func (s *Service) flushOps() error {
	for _, q := range s.ops.ids() {
		for {
			more, err := s.writeOps(q)
			if err != nil {
				return err
			}
			if !more {
				break
			}
		}
	}
	return nil
}
