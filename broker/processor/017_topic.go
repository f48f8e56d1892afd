package processor

import (
	"fmt"
	"strings"

	"apogee/broker/meta"
	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// 017 UPDATE_AND_CREATE_TOPIC: an operator creates or changes a topic (AdminBrokerProcessor.updateAndCreateTopic).
//
// Behavior:
//   - 29 for an illegal name or a reserved one (validateSystemTopicWhenUpdateTopic)
//   - 1 for unreadable or unknown attributes, for changes of fixed ones, and for message.type=MIXED without enableMixedMessageType
//   - 0 without any change if the topic is like that already
//   - else it is put on disk and told to the name servers before the answer
//   - queue numbers and permission are not checked, as in Java: fewer write than read queues is how a topic shrinks
func (p *Processor) updateTopic(r *remoting.Request) {
	var h header.UpdateAndCreateTopicRequest
	if !decode(r, &h) {
		return
	}
	attrs, err := meta.ParseAttributes(strings.Clone(h.Attributes))
	if err != nil {
		r.Fail(code.SystemError, "%v", err)
		return
	}
	p.changeTopics(r, []*body.TopicConfig{{
		TopicName: strings.Clone(h.Topic), ReadQueueNums: h.ReadQueueNums, WriteQueueNums: h.WriteQueueNums, Perm: h.Perm,
		TopicFilterType: strings.Clone(h.TopicFilterType), TopicSysFlag: h.TopicSysFlag.Or(0), Order: h.Order, Attributes: attrs,
	}})
}

// 018 UPDATE_AND_CREATE_TOPIC_LIST: the same for many (AdminBrokerProcessor.updateAndCreateTopicList): all of them or none.
func (p *Processor) updateTopics(r *remoting.Request) {
	var b body.CreateTopicListRequestBody
	if !decodeBody(r, &b) {
		return
	}
	p.changeTopics(r, b.TopicConfigList)
}

func (p *Processor) changeTopics(r *remoting.Request, wanted []*body.TopicConfig) {
	c := p.cfg()
	var changes []*body.TopicConfig
	for _, t := range wanted {
		if t == nil {
			r.Fail(code.SystemError, "a topic of the list is null")
			return
		}
		if text := meta.ValidateTopic(t.TopicName); text != "" {
			r.Fail(code.InvalidParameter, "%s", text)
			return
		}
		if c.ValidateSystemTopic && p.Topics.IsSystem(t.TopicName) {
			r.Fail(code.InvalidParameter, "%s", conflictText(t.TopicName))
			return
		}
		if t.TopicFilterType != body.SingleTag && t.TopicFilterType != body.MultiTag {
			r.Fail(code.SystemError, "No enum constant org.apache.rocketmq.common.TopicFilterType.%s", t.TopicFilterType)
			return
		}
		if t.Attributes["+"+meta.AttrMessageType] == meta.TypeMixed && !c.MixedMessageType {
			r.Fail(code.SystemError, "%v", meta.ErrMixedType)
			return
		}
		if !p.Topics.Same(t) {
			changes = append(changes, t)
		}
	}
	p.Log.Info("topics changed by operator", "topic", topicNames(changes), "addr", r.Conn().RemoteText())
	replyDone(r, p.Topics.Update(changes...))
}

func conflictText(topic string) string {
	return fmt.Sprintf("The topic[%s] is conflict with system topic.", topic)
}

func topicNames(configs []*body.TopicConfig) string {
	names := make([]string, len(configs))
	for i, c := range configs {
		names[i] = c.TopicName
	}
	return strings.Join(names, ";")
}

// 215 DELETE_TOPIC_IN_BROKER (AdminBrokerProcessor.deleteTopic).
//
// Behavior:
//   - 29 for a blank or reserved name; 0 otherwise, also for a topic that is not there
//   - configuration, offsets of all groups, queues on disk and statistics go; records in the commit log stay until they expire
//   - so do, with clearRetryTopicWhenDeleteTopic, the pop retry topics of each group that had offsets in the topic
//   - routes are left to mqadmin, which deletes them from the name servers itself
func (p *Processor) deleteTopic(r *remoting.Request) {
	var h header.DeleteTopicInBrokerRequest
	if !decode(r, &h) {
		return
	}
	topic := strings.Clone(h.Topic)
	c := p.cfg()
	switch {
	case strings.TrimSpace(topic) == "":
		r.Fail(code.InvalidParameter, "The specified topic is blank.")
		return
	case c.ValidateSystemTopic && p.Topics.IsSystem(topic):
		r.Fail(code.InvalidParameter, "%s", conflictText(topic))
		return
	}
	doomed := []string{topic}
	if c.ClearRetryTopic {
		for _, group := range p.Offsets.GroupsOf(topic) {
			// Pop retry topics, old and new form (KeyBuilder).
			for _, name := range []string{meta.RetryTopic(group) + "_" + topic, meta.RetryTopic(group) + "+" + topic} {
				if _, ok := p.Topics.Get(name); ok {
					doomed = append(doomed, name)
				}
			}
		}
	}
	err := p.Topics.Delete(doomed...)
	for _, t := range doomed {
		p.Pop.Forget(t, "")
		p.Offsets.DeleteTopic(t)
		if p.Timers != nil {
			p.Timers.Forget(t)
		}
		if c.DropUnusedStats {
			p.Stats.DeleteTopic(t)
		}
	}
	p.Log.Info("topics deleted by operator", "topic", strings.Join(doomed, ";"), "addr", r.Conn().RemoteText())
	if err == nil {
		err = p.Upkeep.DeleteTopics(doomed...)
	}
	replyDone(r, err)
}
