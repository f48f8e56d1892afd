package processor

import (
	"context"
	"strings"
	"time"

	"apogee/broker/balance"
	"apogee/broker/config"
	"apogee/broker/meta"
	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/code"
)

// routeTimeout is how long a name server is waited for (TopicRouteInfoManager.GET_TOPIC_ROUTE_TIMEOUT).
const routeTimeout = 3 * time.Second

// 400 QUERY_ASSIGNMENT: which queues are this client's, and whether it pulls or pops them (QueryAssignmentProcessor.queryAssignment).
//
// Answers: 1 without topic, group or message model; else 0. The list of assignments is left out where there is no answer, upon which a client
// keeps what it has: unknown topic, unknown strategy, a group that nobody is online of, a client without id. It is empty where the
// client is to let go of everything. Broadcasting consumers, and all with serverLoadBalancerEnable=false, get every queue.
func (p *Processor) queryAssignment(r *remoting.Request) {
	var b body.QueryAssignmentRequestBody
	if !decodeBody(r, &b) {
		return
	}
	switch {
	case b.Topic == "":
		r.Fail(code.SystemError, "the request names no topic")
		return
	case b.ConsumerGroup == "":
		r.Fail(code.SystemError, "the request names no consumer group")
		return
	case b.MessageModel != body.Broadcasting && b.MessageModel != body.Clustering:
		r.Fail(code.SystemError, "the request has no message model")
		return
	}
	mode := p.requestMode(b.Topic, b.ConsumerGroup)
	queues := p.assigned(&b, mode)
	var answer body.QueryAssignmentResponseBody
	if queues != nil {
		answer.MessageQueueAssignments = make([]body.MessageQueueAssignment, 0, len(queues))
		for _, q := range queues {
			answer.MessageQueueAssignments = append(answer.MessageQueueAssignments, body.MessageQueueAssignment{MessageQueue: q, Mode: mode.Mode})
		}
	}
	replyJSON(r, &answer)
}

// requestMode is how a group gets a topic's messages: as ordered, else as the configuration says; retry topics are pulled.
func (p *Processor) requestMode(topic, group string) body.SetMessageRequestModeRequestBody {
	if mode, ok := p.Modes.Get(topic, group); ok {
		return mode
	}
	c := p.cfg()
	mode := body.SetMessageRequestModeRequestBody{Topic: topic, ConsumerGroup: group, Mode: string(c.RequestMode)}
	if strings.HasPrefix(topic, meta.RetryPrefix) {
		mode.Mode = string(config.ModePull)
	}
	if mode.Mode == string(config.ModePop) {
		mode.PopShareQueueNum = int32(c.PopShareQueues)
	}
	return mode
}

// assigned is nil where there is no answer.
func (p *Processor) assigned(b *body.QueryAssignmentRequestBody, mode body.SetMessageRequestModeRequestBody) []body.MessageQueue {
	c := p.cfg()
	var all []body.MessageQueue
	if b.MessageModel == body.Clustering && meta.IsLMQ(b.Topic) {
		all = []body.MessageQueue{{Topic: b.Topic, BrokerName: c.Name}}
	} else {
		ctx, cancel := context.WithTimeout(context.Background(), routeTimeout)
		defer cancel()
		all = p.TopicRoutes.Queues(ctx, b.Topic, c.RoutePeriod)
	}
	if all == nil || b.MessageModel == body.Broadcasting || !c.ServerBalancer {
		return all
	}
	if p.Consumers.Group(b.ConsumerGroup) == nil {
		return nil
	}
	queues, err := balance.Assign(balance.Question{
		Strategy: b.StrategyName, Client: b.ClientID, Clients: p.Consumers.ClientIDs(b.ConsumerGroup), Queues: all,
		Pop: mode.Mode == string(config.ModePop), Share: mode.PopShareQueueNum,
	})
	if err != nil {
		p.Log.Warn("no assignment", "group", strings.Clone(b.ConsumerGroup), "topic", strings.Clone(b.Topic), "err", err)
		return nil
	}
	return queues
}

// 401 SET_MESSAGE_REQUEST_MODE: an operator has a group pull or pop a topic (QueryAssignmentProcessor.setMessageRequestMode).
//
// Answers: 1 without a topic, a group or one of the two modes; 16 for retry topics, which are always pulled; 17 without the topic,
// 26 without the group; else 0 when it is on disk.
func (p *Processor) setRequestMode(r *remoting.Request) {
	var b body.SetMessageRequestModeRequestBody
	if !decodeBody(r, &b) {
		return
	}
	switch {
	case b.Topic == "":
		r.Fail(code.SystemError, "the request names no topic")
		return
	case strings.HasPrefix(b.Topic, meta.RetryPrefix):
		r.Fail(code.NoPermission, "retry topic is not allowed to set mode")
		return
	}
	if _, ok := p.Topics.Get(b.Topic); !ok {
		r.Fail(code.TopicNotExist, "topic[%s] not exist", b.Topic)
		return
	}
	if b.ConsumerGroup == "" {
		r.Fail(code.SystemError, "the request names no consumer group")
		return
	}
	if _, ok := p.Groups.Ensure(b.ConsumerGroup); !ok {
		r.Fail(code.SubscriptionGroupNotExist, "subscription group does not exist")
		return
	}
	if b.Mode != string(config.ModePull) && b.Mode != string(config.ModePop) {
		r.Fail(code.SystemError, "mode %q: allowed are %s and %s", b.Mode, config.ModePull, config.ModePop)
		return
	}
	p.Log.Info("request mode set by operator", "group", strings.Clone(b.ConsumerGroup), "topic", strings.Clone(b.Topic), "mode", strings.Clone(b.Mode),
		"share", b.PopShareQueueNum, "addr", r.Conn().RemoteText())
	replyDone(r, p.Modes.Set(b))
}

// 402 GET_ALL_MESSAGE_REQUEST_MODE: the table of 401, for slaves (AdminBrokerProcessor.getAllMessageRequestMode).
func (p *Processor) allRequestModes(r *remoting.Request) {
	r.Reply(&remoting.Reply{Body: p.Modes.JSON()})
}
