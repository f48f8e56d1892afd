package processor

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store/record"
)

// replyTimeout is how long the requester's client may take to accept an answer.
const replyTimeout = 10 * time.Second

// 324 SEND_REPLY_MESSAGE and 325 SEND_REPLY_MESSAGE_V2 (the same with one-letter names): the answer of request-reply. It is pushed to the
// producer that asked, which has to be connected to this broker (326 PUSH_REPLY_MESSAGE_TO_CLIENT), and stored whatever
// becomes of that, unless storeReplyMessageEnable is off (ReplyMessageProcessor).
//
// Answers, after the checks of a send: 0 when the client took it; 1 if REPLY_TO_CLIENT is missing, not connected, or did not take it. The
// header says where it is stored; a failure to store is only logged. It waits for a client and runs in a lane of its own.
func (p *Processor) sendReply(r *remoting.Request) {
	op := p.newSend(r)
	if err := op.hdr.DecodeFields(r.Fields); err != nil && !sendable(r.Fields) {
		op.fail(r, code.SystemError, err.Error())
		return
	}
	if op.admit(r, true) != goOn {
		return
	}
	h, m := &op.hdr, &op.msg
	op.queue = h.QueueID
	if op.queue < 0 {
		op.queue = rand.Int32N(max(1, op.topic.WriteQueueNums))
	}
	*m = record.Message{
		Topic: op.name, QueueID: op.queue, Flag: h.Flag, SysFlag: h.SysFlag, BornTimestamp: h.BornTimestamp,
		BornHost: remoteAddr(r), StoreHost: op.view.addr.Host, ReconsumeTimes: h.ReconsumeTimes.Or(0), Body: r.Body,
	}
	op.buf = op.props.rewrite(op.buf[:0], h.Properties)
	op.buf = append(op.buf, op.view.reply...)
	m.Properties = viewOf(op.buf)

	answer, remark := code.Success, ""
	if remark = p.pushReply(op); remark != "" {
		answer = code.SystemError
	}
	op.answer = header.SendMessageResponse{MsgID: "0", QueueID: op.queue}
	if p.cfg().StoreReply {
		p.storeReply(op)
	}
	op.reply = remoting.Reply{Code: answer, Remark: remark, Header: &op.answer, Shared: op.view.shared}
	r.Reply(&op.reply)
	op.release()
}

// storeReply keeps the reply in its topic, and notes its place in the answer.
func (p *Processor) storeReply(op *sendOp) {
	m := &op.msg
	res := p.Store.PutWait(m)
	if _, stored := putCode(res.Status); !stored {
		p.Log.Warn("reply is not stored", "topic", m.Topic, "err", res.Err, "status", int(res.Status))
		return
	}
	op.id = op.view.appendID(op.id[:0], res.PhysicalOffset)
	op.answer.MsgID, op.answer.QueueOffset = viewOf(op.id), res.QueueOffset
	p.Stats.Put(m.Topic, 1, res.NextOffset-res.PhysicalOffset)
}

// pushReply hands the reply to the client that waits for it, or says in Java's words why it could not.
func (p *Processor) pushReply(op *sendOp) (refusal string) {
	h, m := &op.hdr, &op.msg
	client := record.Property(m.Properties, propReplyTo)
	if client == "" {
		return fmt.Sprintf("reply message properties[%s] is null", propReplyTo)
	}
	ch := p.Producers.Channel(client)
	if ch == nil {
		return fmt.Sprintf("push reply message fail, channel of <%s> not found.", client)
	}
	now := p.Now().UnixMilli()
	props := record.AppendProperty([]byte(m.Properties), propPushReplyTime, strconv.FormatInt(now, 10))
	out := remoting.Outgoing{
		Code: code.PushReplyMessageToClient,
		Header: &header.PushReplyMessageToClientRequest{
			ProducerGroup: h.ProducerGroup, Topic: h.Topic, DefaultTopic: h.DefaultTopic, DefaultTopicQueueNums: h.DefaultTopicQueueNums,
			QueueID: m.QueueID, SysFlag: m.SysFlag, BornTimestamp: m.BornTimestamp, Flag: m.Flag, Properties: string(props),
			ReconsumeTimes: h.ReconsumeTimes, UnitMode: h.UnitMode.Or(false), BornHost: m.BornHost.String(), StoreHost: m.StoreHost.String(),
			StoreTimestamp: now,
		},
		Body: m.Body,
	}
	ctx, cancel := context.WithTimeout(context.Background(), replyTimeout)
	defer cancel()
	res, err := ch.Call(ctx, out)
	if err != nil || res.Code != code.Success {
		p.Log.Warn("reply is not taken", "client", client, "err", err)
		return fmt.Sprintf("push reply message to %sfail.", client)
	}
	return ""
}
