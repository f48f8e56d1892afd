package pop

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"apogee/broker/config"
	"apogee/compat/body"
	"apogee/store"
	"apogee/store/record"
)

// Store is what pop needs of the message store.
type Store interface {
	Put(m *record.Message, c store.Completion) store.PutResult
	Stage(m *record.Message, c store.Completion) store.PutResult
	Get(req *store.GetRequest, res *store.GetResult)
	MinOffset(topic string, queueID int32) int64
	MaxOffset(topic string, queueID int32) int64
	InMemory(topic string, queueID int32, offset int64) bool
}

// Offsets is how far groups are.
type Offsets interface {
	Query(group, topic string, queue int32) (int64, bool)
	Commit(group, topic string, queue int32, off int64) (lower bool)
	ResetPending(group, topic string, queue int32) bool
	TakeReset(group, topic string, queue int32) (int64, bool)
}

// Topics knows and makes topics.
type Topics interface {
	Get(name string) (*body.TopicConfig, bool)
	Put(configs ...*body.TopicConfig) error
}

// Groups knows groups.
type Groups interface {
	Ensure(name string) (*body.SubscriptionGroupConfig, bool)
}

// Timer is where records wait for their time.
type Timer interface {
	// Schedule makes m a message that waits until due. Its new properties are built in buf, which is returned.
	Schedule(m *record.Message, due int64, buf []byte) []byte
	// Behind tells whether something that was due by now may not be in its topic yet.
	Behind() bool
}

// Options configure a service. All of it is set, unless it says otherwise.
type Options struct {
	Config  *config.Live
	Store   Store
	Offsets Offsets
	Topics  Topics
	Groups  Groups
	Timer   Timer
	Waiting Waiting
	Orders  Orders
	Host    func() netip.AddrPort // what the broker stores as its own address
	// Active tells whether it is this broker that revives, and not its master. Nil: it is.
	Active func() bool
	// Fetch is the record of a message at another broker, nil if it is gone; an error means that it cannot be told now. An acting master
	// without a store of its own puts its check points here.
	Fetch func(broker, topic string, queue int32, off int64) ([]byte, error)
	Now   func() time.Time
	Log   *slog.Logger

	// Counts hears what the reviver reads of the revive topic and puts into retry topics; nil: nobody does.
	Counts Counts
}

// Counts are the broker's statistics.
type Counts interface {
	Put(topic string, messages, bytes int64)
	Got(topic, group string, messages, bytes int64)
}

// Service is pop consumption of one broker.
type Service struct {
	Options
	topic   string // the revive topic
	started int64  // ms
	turn    atomic.Uint32

	mu     sync.RWMutex // guards queues
	queues map[Key]*Queue

	held   atomic.Int64 // check points in memory
	moved  atomic.Bool  // an offset has moved past something that may not be on disk
	nudge  chan struct{}
	stop   chan struct{}
	once   sync.Once
	done   sync.WaitGroup
	revive []*reviver

	records sync.Pool // *timedRecord
}

// New makes a service. Start follows.
func New(o Options) *Service {
	if o.Active == nil {
		o.Active = func() bool { return true }
	}
	s := &Service{
		Options: o, topic: ReviveTopic(o.Config.Get().ClusterName), started: o.Now().UnixMilli(),
		queues: make(map[Key]*Queue), nudge: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	s.records.New = func() any { return new(timedRecord) }
	for q := range o.Config.Get().ReviveQueues {
		s.revive = append(s.revive, newReviver(s, int32(q)))
	}
	return s
}

// Start begins to revive, and to look after the check points in memory.
func (s *Service) Start() {
	s.done.Go(s.runBuffer)
	s.done.Go(s.runRevive)
}

// Stop ends both. Check points in memory are written; what cannot be written is not lost, since the offsets have not passed it.
func (s *Service) Stop() {
	s.once.Do(func() { close(s.stop) })
	s.done.Wait()
	s.leave(true)
}

func (s *Service) now() int64 { return s.Now().UnixMilli() }

// ReviveQueue is where the check points of the next pop go.
func (s *Service) ReviveQueue() int32 { return int32(s.turn.Add(1)-1) % int32(max(len(s.revive), 1)) }

// Batch is what one pop took from one queue.
type Batch struct {
	Start       int64 // where it read
	Next        int64 // where the next pop goes on
	Offsets     []int64
	PopTime     int64
	Invisible   int64
	ReviveQueue int32

	Put store.PutResult // of the check point, where Take wrote one: it is staged, and has to be committed before the messages are given out
}

// Take makes a batch invisible for others: it writes the check point, or keeps it in memory for a while, and moves the offset on. After
// an error the messages must not be given to anybody. The caller holds the queue.
func (s *Service) Take(q *Queue, b *Batch) error {
	ck := CheckPoint{
		Broker: s.Config.Get().Name, Group: q.key.Group, Invisible: b.Invisible, Num: int32(len(b.Offsets)), PopTime: b.PopTime,
		Queue: q.key.Queue, Topic: q.key.Topic, StartOffset: b.Start,
	}
	r := s.records.Get().(*timedRecord)
	defer s.records.Put(r)
	r.diffs = r.diffs[:0]
	for _, off := range b.Offsets {
		r.diffs = append(r.diffs, int32(off-b.Start))
	}
	ck.Diffs = r.diffs
	b.Put = store.PutResult{}
	if s.hold(q, &ck, b) {
		return nil
	}
	if q.knows(b.Start, b.PopTime) {
		return fmt.Errorf("%w: check point of %s at %d is there already", ErrNotTaken, q.key.Topic, b.Start)
	}
	b.Put = s.checkPoint(r, &ck, b.ReviveQueue, s.Store.Stage)
	if !stored(b.Put.Status) {
		return putError("check point", &b.Put)
	}
	s.advance(q, b.Next)
	return nil
}

// ErrNotTaken says that messages could not be made invisible.
var ErrNotTaken = errors.New("messages cannot be handed out")

// Skip moves on over messages that the group does not want. The caller holds the queue.
func (s *Service) Skip(q *Queue, next int64) { s.advance(q, next) }

// Ack acknowledges. It goes to the check point in memory, or else into the revive log; then it is staged, and the caller commits it; c
// hears when it is as safe as the policy asks, if it is pending. It is no error if nothing is left to acknowledge.
func (s *Service) Ack(a *Ack, reviveQueue int32, due int64, c store.Completion) store.PutResult {
	n := int64(1)
	if a.Offsets != nil {
		n = int64(len(a.Offsets))
	}
	if s.merge(a) {
		s.returned(Key{a.Topic, a.Group, a.Queue}, a.PopTime, n)
		return store.PutResult{Status: store.PutOK}
	}
	res := s.putAck(a, reviveQueue, due, c, s.Store.Stage)
	s.returned(Key{a.Topic, a.Group, a.Queue}, a.PopTime, n)
	return res
}

// Change gives one message a new invisible time, from now on: a check point of its own, then an ack of the old one. The result is that of
// the put that has to be safe, as that of Ack is.
func (s *Service) Change(a *Ack, r *Receipt, now, invisible int64, suspend bool, c store.Completion) store.PutResult {
	ck := CheckPoint{
		Broker: r.Broker, Group: a.Group, Diffs: []int32{0}, Invisible: invisible, Num: 1, PopTime: now, Queue: a.Queue, Topic: a.Topic,
		StartOffset: a.Offset, Suspend: suspend,
	}
	t := s.records.Get().(*timedRecord)
	res := s.checkPoint(t, &ck, r.ReviveQueue, s.Store.Stage)
	s.records.Put(t)
	if !stored(res.Status) {
		return res
	}
	s.merge(a) // the ack is written all the same, behind the check point: where it is safe, so is the other
	return s.putAck(a, r.ReviveQueue, r.ReviveTime(), c, s.Store.Stage)
}

// SyncMoved makes durable what moved offsets rest on. It is called after offsets were read and before they are written to their file.
func (s *Service) SyncMoved(sync func() error) error {
	if !s.moved.Swap(false) {
		return nil
	}
	if err := sync(); err != nil {
		s.moved.Store(true)
		return err
	}
	return nil
}

// commit moves a group's offset. The mark comes first: whoever writes the offset has seen it.
func (s *Service) commit(k Key, off int64) {
	s.moved.Store(true)
	s.Offsets.Commit(k.Group, k.Topic, k.Queue, off)
}
