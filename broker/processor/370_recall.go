package processor

import (
	"fmt"
	"strconv"
	"strings"

	"apogee/broker/timer"
	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store/record"
)

// Properties and tag of the message that cancels another one.
const (
	propBornTime      = "BORN_TIMESTAMP"
	propProducerGroup = "PGROUP"
	tagRecall         = "_RECALL_TAG_"
)

// 370 RECALL_MESSAGE: take back a timed message that has not been delivered, by the handle that its sender was given
// (RecallMessageProcessor). A message that cancels it is stored for the same time; nobody looks whether there is one to be cancelled.
//
// Answers, checked in this order:
//   - 16 unless recallMessageEnable, 11 at a slave, 14 before startAcceptSendRequestTimeStamp or if the broker is not writeable and recalls are no exception
//   - 17 if the topic is missing
//   - 604 for what is no handle, one of another topic or broker, and a time that has passed or is timerMaxDelaySec away
//   - 1 if the store refuses the cancellation; 604 if its time had come when it was stored, and so it may be too late
//   - 0 with the unique key, also if it waits for the disk in vain
//
// Every answer carries MSG_REGION. It waits for the disk: it runs in the send lane.
func (p *Processor) recall(r *remoting.Request) {
	v := p.sendView()
	var h header.RecallMessageRequest
	err := r.Decode(&h)
	id, no := "", refusal{code.SystemError, fmt.Sprint(err)}
	if err == nil {
		id, no = p.recallMessage(r, v, &h)
	}
	reply := remoting.Reply{Code: no.code, Remark: no.remark, Shared: v.region}
	if no.code == 0 {
		reply.Header = &header.RecallMessageResponse{MsgID: id}
	}
	r.Reply(&reply)
}

func (p *Processor) recallMessage(r *remoting.Request, v *sendView, h *header.RecallMessageRequest) (id string, no refusal) {
	const unavailable = "recall failed, broker service not available"
	cfg, now := v.cfg, p.Now().UnixMilli()
	switch {
	case !cfg.Recall:
		return "", refusal{code.NoPermission, "recall failed, operation is forbidden"}
	case !cfg.Master():
		return "", refusal{code.SlaveNotAvailable, unavailable}
	case now < cfg.StartAcceptSend, cfg.Permission&int(body.PermWrite) == 0 && !cfg.RecallNotWritable:
		return "", refusal{code.ServiceNotAvailable, unavailable}
	}
	if _, ok := p.Topics.Get(h.Topic); !ok {
		return "", refusal{code.TopicNotExist, fmt.Sprintf("recall failed, the topic[%s] not exist", h.Topic)}
	}
	handle, err := timer.ParseHandle(h.RecallHandle)
	switch {
	case err != nil:
		return "", refusal{code.IllegalOperation, err.Error()}
	case handle.Topic != h.Topic:
		return "", refusal{code.IllegalOperation, "recall failed, topic not match"}
	case handle.Broker != cfg.Name:
		return "", refusal{code.IllegalOperation, unavailable}
	}
	at, err := strconv.ParseInt(handle.Time, 10, 64)
	if err != nil || at <= now || at-now >= v.timers.MaxDelay {
		return "", refusal{code.IllegalOperation, "recall failed, timestamp invalid"}
	}
	m := cancellation(&handle, h.ProducerGroup, now, cfg.TimerTopicInKey)
	m.BornHost, m.StoreHost = remoteAddr(r), v.addr.Host
	if _, no := p.schedule(&m, nil); no.code != 0 {
		p.Log.Warn("recall is refused", "topic", h.Topic, "key", handle.UniqKey, "err", no.remark)
		return "", refusal{code.SystemError, "recall failed, execute error"}
	}
	res := p.Store.PutWait(&m)
	if _, stored := putCode(res.Status); !stored {
		p.Log.Warn("recall is not stored", "topic", h.Topic, "key", handle.UniqKey, "err", res.Err)
		return "", refusal{code.SystemError, "recall failed, execute error"}
	}
	p.Stats.Put(m.Topic, 1, res.NextOffset-res.PhysicalOffset)
	if p.Timers.Passed(v.timers.Slot(at)) {
		return "", refusal{code.IllegalOperation, "recall failed, timestamp invalid"}
	}
	return handle.UniqKey, refusal{}
}

// cancellation is the message that cancels the one of a handle.
func cancellation(h *timer.Handle, group string, now int64, topicInKey bool) record.Message {
	var b []byte
	for _, p := range [][2]string{
		{record.PropTags, tagRecall},
		{timer.PropCancel, timer.CancelKey(h.Topic, h.UniqKey, topicInKey)},
		{record.PropUniqKey, h.UniqKey},
		{timer.PropDeliver, h.Time},
		{propBornTime, strconv.FormatInt(now, 10)},
		{propProducerGroup, group},
	} {
		if p[1] != "" {
			b = record.AppendProperty(b, p[0], p[1])
		}
	}
	return record.Message{Topic: strings.Clone(h.Topic), Body: []byte("0"), BornTimestamp: now, Properties: string(b)}
}
