package slave

import (
	"context"
	"fmt"

	"apogee/broker/meta"
	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// syncOffsets brings the master what clients have committed here meanwhile, and takes over its offsets. A master that comes back asks for
// them before anybody may know that it is there; clients go on committing here until they know. (A Java slave forgets what came in between.)
func (s *Synchronizer) syncOffsets(ctx context.Context, m master) error {
	text, err := m.body(ctx, code.GetAllConsumerOffset)
	if err != nil {
		return err
	}
	told, err := s.tellMoved(ctx, m, text)
	if err == nil && told {
		text, err = m.body(ctx, code.GetAllConsumerOffset)
	}
	if err != nil {
		return err // the offsets here are not to be put back
	}
	if _, err := s.Offsets.TakeOver(text); err != nil {
		return fmt.Errorf("consumer offsets of %s: %w", m.addr, err)
	}
	return s.Offsets.Persist()
}

// tellMoved commits at the master what clients have committed here, as far as nobody has moved it there since: an offset that is further on
// there, or was reset to one before that it had here, stays. told tells whether anything was committed.
func (s *Synchronizer) tellMoved(ctx context.Context, m master, text []byte) (told bool, err error) {
	moved := s.Offsets.TakeMoved()
	if len(moved) == 0 {
		return false, nil
	}
	var theirs body.ConsumerOffsetSerializeWrapper
	if err := fastjson.Unmarshal(text, &theirs); err != nil {
		s.Offsets.NoteMoved(moved)
		return false, fmt.Errorf("consumer offsets of %s: %w", m.addr, err)
	}
	for i, of := range moved {
		off, ok := offsetIn(&theirs, of)
		if ok && (off < of.From || off >= of.To) {
			continue
		}
		if err := m.commit(ctx, of); err != nil {
			s.Offsets.NoteMoved(moved[i:])
			return told, err
		}
		told = true
	}
	return told, nil
}

// offsetIn finds an offset in a master's table.
func offsetIn(w *body.ConsumerOffsetSerializeWrapper, of meta.Moved) (off int64, ok bool) {
	key := of.Topic + "@" + of.Group
	if off, ok = w.OffsetTable[key][of.Queue]; !ok && of.Queue == 0 {
		off, ok = w.LMQOffsetTable[key]
	}
	return off, ok
}

// commit is request 15. A master that does not know the group or the topic has no use for its offsets.
func (m master) commit(ctx context.Context, of meta.Moved) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := m.Call(ctx, m.addr, remoting.Outgoing{Code: code.UpdateConsumerOffset, Header: &header.UpdateConsumerOffsetRequest{
		ConsumerGroup: of.Group, Topic: of.Topic, QueueID: of.Queue, CommitOffset: of.To,
	}})
	if err != nil {
		return fmt.Errorf("commit at %s: %w", m.addr, err)
	}
	switch resp.Code {
	case code.Success, code.SubscriptionGroupNotExist, code.TopicNotExist:
		return nil
	}
	return fmt.Errorf("commit of %s in %s/%d at %s: answer %d: %s", of.Group, of.Topic, of.Queue, m.addr, resp.Code, resp.Remark)
}
