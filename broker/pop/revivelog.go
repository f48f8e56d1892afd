package pop

import (
	"fmt"
	"strconv"
	"unsafe"

	"apogee/store"
	"apogee/store/record"
)

const propDeliver = "TIMER_DELIVER_MS"

// timedRecord is the working memory of one record of the revive log.
type timedRecord struct {
	msg   record.Message
	body  []byte
	uniq  []byte
	props []byte
	spare []byte
	diffs []int32
}

// putter is Put or Stage of the store.
type putter func(m *record.Message, c store.Completion) store.PutResult

// putCheckPoint writes a check point.
func (s *Service) putCheckPoint(t *timedRecord, ck *CheckPoint, reviveQueue int32) error {
	if r := s.checkPoint(t, ck, reviveQueue, s.Store.Put); !stored(r.Status) {
		return putError("check point", &r)
	}
	return nil
}

// checkPoint puts a check point. It is in its revive queue a second before its messages are visible again.
func (s *Service) checkPoint(t *timedRecord, ck *CheckPoint, reviveQueue int32, put putter) store.PutResult {
	return s.checkPointFor(t, ck, reviveQueue, nil, put)
}

func (s *Service) checkPointFor(t *timedRecord, ck *CheckPoint, reviveQueue int32, c store.Completion, put putter) store.PutResult {
	t.body = ck.Append(t.body[:0])
	t.uniq = ck.AppendUnique(t.uniq[:0])
	return s.timed(t, TagCheckPoint, reviveQueue, ck.ReviveTime()-ackInterval, c, put)
}

// putAck puts an ack. It comes into its revive queue when the messages are visible again, behind the check point.
func (s *Service) putAck(a *Ack, reviveQueue int32, due int64, c store.Completion, put putter) store.PutResult {
	t := s.records.Get().(*timedRecord)
	defer s.records.Put(t)
	t.body = a.Append(t.body[:0])
	t.uniq = a.AppendUnique(t.uniq[:0])
	return s.timed(t, a.Tag(), reviveQueue, due, c, put)
}

func (s *Service) timed(t *timedRecord, tag string, queue int32, due int64, c store.Completion, put putter) store.PutResult {
	now, host := s.now(), s.Host()
	var num [20]byte
	t.props = record.AppendProperty(t.props[:0], record.PropUniqKey, view(t.uniq))
	t.props = record.AppendProperty(t.props, propDeliver, view(strconv.AppendInt(num[:0], due, 10)))
	t.props = record.AppendProperty(t.props, record.PropTags, tag)
	t.msg = record.Message{
		Topic: s.topic, QueueID: queue, BornTimestamp: now, BornHost: host, StoreHost: host, Body: t.body, Properties: view(t.props),
	}
	if due > now {
		t.spare = s.Timer.Schedule(&t.msg, due, t.spare)
	}
	return put(&t.msg, c)
}

func putError(what string, r *store.PutResult) error {
	if r.Err != nil {
		return fmt.Errorf("%w: put %s: %w", ErrNotTaken, what, r.Err)
	}
	return fmt.Errorf("%w: put %s: status %d", ErrNotTaken, what, r.Status)
}

func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
