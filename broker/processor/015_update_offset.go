package processor

import (
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// 015 UPDATE_CONSUMER_OFFSET: a group has consumed up to an offset (ConsumerManageProcessor.updateConsumerOffset). Usually one-way.
//
// Answers:
//   - 0: stored, also where the offset goes back; or ignored with a remark, while a server-side reset waits to be taken
//   - 26, 17: group or topic unknown; nothing is created
//
// Version notes: 4.9 stores offsets of unknown groups too.
func (p *Processor) updateConsumerOffset(r *remoting.Request) {
	var h header.UpdateConsumerOffsetRequest
	if err := h.DecodeFields(r.Fields); err != nil {
		r.Fail(code.SystemError, "%v", err)
		return
	}
	if _, ok := p.Groups.Get(h.ConsumerGroup); !ok {
		r.Fail(code.SubscriptionGroupNotExist, "Group %s not exist!", h.ConsumerGroup)
		return
	}
	if _, ok := p.Topics.Get(h.Topic); !ok {
		r.Fail(code.TopicNotExist, "Topic %s not exist!", h.Topic)
		return
	}
	if p.Offsets.ResetPending(h.ConsumerGroup, h.Topic, h.QueueID) && p.cfg().ServerSideReset {
		r.Reply(&remoting.Reply{Remark: "Offset has been previously reset"})
		return
	}
	if p.Offsets.CommitOfClient(h.ConsumerGroup, h.Topic, h.QueueID, h.CommitOffset) {
		p.Log.Debug("offset goes back", "group", h.ConsumerGroup, "topic", h.Topic, "queue", h.QueueID,
			"off", h.CommitOffset, "addr", r.Conn().RemoteText())
	}
	replyOK(r)
}
