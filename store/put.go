package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"apogee/store/record"
)

// PutStatus is the outcome of an append (Java PutMessageStatus; ordinals as there).
type PutStatus int

const (
	PutOK PutStatus = iota
	FlushDiskTimeout
	FlushSlaveTimeout
	SlaveNotAvailable
	ServiceNotAvailable
	CreateMappedFileFailed
	MessageIllegal
	PropertiesSizeExceeded
	OSPageCacheBusy
	UnknownError
	InSyncReplicasNotEnough
	PutToRemoteBrokerFail
	LmqConsumeQueueNumExceeded
)

// PutResult tells where a message went.
type PutResult struct {
	Status         PutStatus
	PhysicalOffset int64 // of the (first) record
	NextOffset     int64 // end of the (last) record
	QueueOffset    int64 // of the (first) message
	StoreTimestamp int64
	Count          int
	Pending        bool  // the policy is not satisfied yet: Completion.Complete follows, exactly once, maybe before Put returns
	Err            error // the cause, where Status is a refusal; for remarks and logs

	onDisk bool // it is the disk that a pending put waits for, and the flusher that commits it
}

// Completion hears once that what was put is as safe as the configured policy asks, or why it is not.
// Complete is called on a store goroutine and must not block.
type Completion interface{ Complete(status PutStatus) }

// Replicas is the second gate of a put, beside the local disk: nil where nobody waits for replicas. It is asked only of puts that
// somebody waits for.
type Replicas interface {
	// Admit refuses a put, before it is stored, for which there are not enough replicas (IN_SYNC_REPLICAS_NOT_ENOUGH).
	Admit() error
	// Await completes c, once, when as many replicas as the policy asks for hold the log up to next.
	Await(next int64, c Completion)
}

// BatchItem is one message inside a batch put; the rest comes from the batch's envelope.
type BatchItem struct {
	Flag       int32
	Body       []byte
	Properties string

	PhysicalOffset int64 // set by PutBatch: where the record starts; the queue offsets are consecutive
}

// Limits of a stored message (spec: store.md 3.1, 3.8).
const (
	maxPlainTopic    = 127 // bytes; the length was one signed byte once
	maxRetryTopic    = 255
	retryTopicPrefix = "%RETRY%"
	recordAllowance  = 64 << 10 // what a record may have beyond maxMessageSize
)

// Put appends one message: Stage and Commit. It never waits for the disk: what is not yet as safe as the policy asks has Pending
// set, and c hears. With c == nil nobody waits (property WAIT=false, one-way).
func (s *Store) Put(m *record.Message, c Completion) PutResult {
	return s.committed(s.Stage(m, c))
}

// PutBatch is Put for items, as consecutive messages of env's queue, in one file, all or nothing.
func (s *Store) PutBatch(env *record.Message, items []BatchItem, c Completion) PutResult {
	return s.committed(s.StageBatch(nil, env, items, c))
}

// committed is the result of a put that has been staged.
func (s *Store) committed(r PutResult) PutResult {
	if err := s.Commit(&r); err != nil {
		if r.Pending { // c hears of it
			return r
		}
		return s.refuse(UnknownError, err)
	}
	return r
}

// Stage gives a message its place in the log, and sets its queue offset, physical offset, store time and size. It may be in the
// memory of the process only: before anybody is told of it, the caller calls Commit with the result. Messages that wait for their
// commit together may share their store time.
func (s *Store) Stage(m *record.Message, c Completion) PutResult { return s.StageAt(nil, m, c) }

// StageAt is Stage to a queue that has its place with the caller.
func (s *Store) StageAt(at *Place, m *record.Message, c Completion) (r PutResult) {
	o := s.options()
	if !s.admit(&r, o, m.Topic) {
		return r
	}
	if len(m.Body) > o.MaxMessageSize {
		return s.refuse(MessageIllegal, errBodyTooLarge)
	}
	if !m.BodyChecked {
		m.BodyCRC = record.BodyCRC(m.Body)
	}
	props := m.Properties
	if o.AppendPropCRC {
		m.Properties = record.DeleteProperty(m.Properties, record.PropCRC32)
	}
	switch lay, err := m.Measure(o.AppendPropCRC); {
	case err != nil:
		r = s.refuse(measureStatus(err), err)
	case lay.Total > o.MaxMessageSize+recordAllowance:
		r = s.refuse(MessageIllegal, errRecordTooLarge)
	case c == nil || o.Replicas == nil:
		s.commit.put(&r, at, m, lay, c)
	case s.tooFew(&r, o):
	default:
		g := s.commit.newGates(c)
		s.commit.put(&r, at, m, lay, (*diskGate)(g))
		s.commit.await(&r, g)
	}
	m.Properties = props
	return r
}

// StageBatch is StageAt for items.
func (s *Store) StageBatch(at *Place, env *record.Message, items []BatchItem, c Completion) (r PutResult) {
	o := s.options()
	if !s.admit(&r, o, env.Topic) {
		return r
	}
	if len(items) == 0 {
		return s.refuse(MessageIllegal, errEmptyBatch)
	}
	b := s.commit.batches.Get().(*batch)
	defer s.commit.batches.Put(b)
	defer b.release()
	if !s.measureBatch(&r, o, b, at, env, items) {
		return r
	}
	if c == nil || o.Replicas == nil {
		s.commit.putBatch(&r, at, b, items, c)
		return r
	}
	if s.tooFew(&r, o) {
		return r
	}
	g := s.commit.newGates(c)
	s.commit.putBatch(&r, at, b, items, (*diskGate)(g))
	s.commit.await(&r, g)
	return r
}

// batch is the working memory of one PutBatch.
type batch struct {
	msg     record.Message // the envelope, then each item in turn
	queue   *queue
	layouts []record.Layout
	digests []digest
	crcs    []uint32
	total   int
}

func (b *batch) release() {
	b.msg, b.queue = record.Message{}, nil // it aliases the caller's buffers
	if cap(b.layouts) > 4096 {
		b.layouts, b.digests, b.crcs = nil, nil, nil
	}
}

// take makes b.msg the i-th message.
func (b *batch) take(item *BatchItem, crc uint32) {
	b.msg.Flag, b.msg.Body, b.msg.Properties, b.msg.BodyCRC = item.Flag, item.Body, item.Properties, crc
}

// measureBatch does what needs no lock; false if the batch is refused.
func (s *Store) measureBatch(r *PutResult, o *Options, b *batch, at *Place, env *record.Message, items []BatchItem) bool {
	b.msg, b.total, b.crcs = *env, 0, b.crcs[:0]
	b.layouts, b.digests = slices.Grow(b.layouts[:0], len(items))[:len(items)], slices.Grow(b.digests[:0], len(items))[:len(items)]
	b.msg.PreparedTransactionOffset = 0
	if b.queue = s.queues.at(at, env.Topic, env.QueueID); !b.queue.cq.served() {
		*r = s.refuse(MessageIllegal, errNotServed)
		return false
	}
	for i := range items {
		it := &items[i]
		if len(it.Body) > o.MaxMessageSize {
			*r = s.refuse(MessageIllegal, errBodyTooLarge)
			return false
		}
		if o.AppendPropCRC {
			it.Properties = record.DeleteProperty(it.Properties, record.PropCRC32)
		}
		b.take(it, record.BodyCRC(it.Body))
		var err error
		if b.layouts[i], err = b.msg.Measure(o.AppendPropCRC); err != nil {
			*r = s.refuse(measureStatus(err), err)
			return false
		}
		s.digest(&b.digests[i], b.queue, &b.msg)
		if d := &b.digests[i]; d.multi { // it goes to its queue only; whoever replays the log must not find offsets that the sender made up
			d.multi = false
			it.Properties = record.DeleteProperty(it.Properties, record.PropMultiDispatchQueue)
			b.msg.Properties = it.Properties
			if b.layouts[i], err = b.msg.Measure(o.AppendPropCRC); err != nil {
				*r = s.refuse(measureStatus(err), err)
				return false
			}
		}
		b.crcs = append(b.crcs, b.msg.BodyCRC)
		if b.total += b.layouts[i].Total; b.total > o.MaxMessageSize { // Java's batch encoder throws here (spec: store.md 3.7)
			*r = s.refuse(MessageIllegal, errBatchTooLarge)
			return false
		}
	}
	return true
}

var (
	errNotWritable    = errors.New("store does not take messages")
	errBodyTooLarge   = errors.New("body is longer than maxMessageSize")
	errRecordTooLarge = errors.New("record is longer than maxMessageSize and 64 KiB")
	errBatchTooLarge  = errors.New("batch is longer than maxMessageSize")
	errEmptyBatch     = errors.New("batch without messages")
	errTopicLength    = errors.New("topic is empty or too long")
	errCacheBusy      = errors.New("the append lock has been held too long")
	errNotServed      = errors.New("queues of this topic are of a kind that is not served")
	errFileTooSmall   = errors.New("does not fit into a commit-log file")
)

// admit is what every put must pass (Java HookUtils.checkBeforePutMessage); false if it does not.
func (s *Store) admit(r *PutResult, o *Options, topic string) bool {
	if !s.flags.writeable() {
		*r = s.refuseUnwritable()
		return false
	}
	limit := o.MaxTopicLength
	if strings.HasPrefix(topic, retryTopicPrefix) {
		limit = maxRetryTopic
	}
	if len(topic) == 0 || len(topic) > limit {
		*r = s.refuse(MessageIllegal, errTopicLength)
		return false
	}
	if s.PageCacheBusy() {
		*r = s.refuse(OSPageCacheBusy, errCacheBusy)
		return false
	}
	return true
}

// tooFew refuses a put for which there are not enough replicas.
func (s *Store) tooFew(r *PutResult, o *Options) bool {
	err := o.Replicas.Admit()
	if err != nil {
		*r = s.refuse(InSyncReplicasNotEnough, err)
	}
	return err != nil
}

func (s *Store) refuse(status PutStatus, err error) PutResult {
	s.stats.putFailed.Add(1)
	return PutResult{Status: status, Err: err}
}

func (s *Store) refuseUnwritable() PutResult {
	_, why := s.Writable()
	return s.refuse(ServiceNotAvailable, fmt.Errorf("%w: %s", errNotWritable, why))
}

func measureStatus(err error) PutStatus {
	if errors.Is(err, record.ErrPropertiesTooLong) {
		return PropertiesSizeExceeded
	}
	return MessageIllegal
}

func batchPool() sync.Pool { return sync.Pool{New: func() any { return new(batch) }} }
