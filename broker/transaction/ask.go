package transaction

import (
	"strconv"

	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store"
	"apogee/store/record"
)

// ask asks a producer of the group what became of a half message, which was just stored again (CHECK_TRANSACTION_STATE, 39;
// AbstractTransactionalMessageCheckListener.sendCheckMessage). The producer answers, if at all, with END_TRANSACTION. Where none
// is connected, or the question gets lost, the next round asks again.
func (s *Service) ask(m *record.Message, at *store.PutResult) {
	group := record.Property(m.Properties, PropProducerGroup)
	ch := s.opts.Producer(group)
	if ch == nil {
		s.opts.Log.Warn("no producer to ask about a half message", "group", group, "off", at.QueueOffset)
		return
	}
	uniq := record.Property(m.Properties, record.PropUniqKey)
	h := header.CheckTransactionStateRequest{
		Topic: m.Topic, TranStateTableOffset: at.QueueOffset, CommitLogOffset: at.PhysicalOffset, MsgID: uniq, TransactionID: uniq,
		OffsetMsgID: string(record.AppendMessageID(nil, m.StoreHost, at.PhysicalOffset)), BrokerName: s.opts.Settings().BrokerName,
	}
	body, err := question(m, at)
	if err == nil {
		err = ch.Oneway(remoting.Outgoing{Code: code.CheckTransactionState, Header: &h, Body: body})
	}
	if err != nil {
		s.opts.Log.Warn("producer cannot be asked about a half message", "group", group, "off", at.QueueOffset, "addr", ch.RemoteText(), "err", err)
	}
}

// question is the half message as the producer knows it: with its real topic and queue, at the place where it was stored last.
func question(m *record.Message, at *store.PutResult) ([]byte, error) {
	q := *m
	q.Topic = record.Property(m.Properties, record.PropRealTopic)
	queue, err := strconv.ParseInt(record.Property(m.Properties, record.PropRealQueue), 10, 32)
	if err != nil {
		return nil, err
	}
	q.QueueID, q.QueueOffset, q.PhysicalOffset = int32(queue), at.QueueOffset, at.PhysicalOffset
	q.BodyCRC = record.BodyCRC(m.Body)
	l, err := q.Measure(false)
	if err != nil {
		return nil, err
	}
	b := make([]byte, l.Total)
	record.Encode(b, &q, l)
	return b, nil
}
