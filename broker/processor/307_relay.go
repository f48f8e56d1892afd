package processor

import (
	"bytes"
	"context"
	"errors"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"apogee/broker/client"
	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store/record"
)

// Requests that an operator makes to a client, through the broker that the client is connected to.
const (
	relayTimeout    = 10 * time.Second
	statusTimeout   = 5 * time.Second
	minRelayVersion = 62 // V3_1_8_SNAPSHOT
)

// 307 GET_CONSUMER_RUNNING_INFO: what a consumer is doing (AdminBrokerProcessor.getConsumerRunningInfo). The client's answer is passed
// on as it is.
//
// Answers: 1 if the client is not online, too old or fails; 207 if it does not answer within 10 s.
func (p *Processor) consumerRunningInfo(r *remoting.Request) {
	var h header.GetConsumerRunningInfoRequest
	if !decode(r, &h) {
		return
	}
	p.relay(r, remoting.Outgoing{Code: r.Code, Extra: r.Fields, Body: r.Body}, h.ConsumerGroup, h.ClientID)
}

// 309 CONSUME_MESSAGE_DIRECTLY: a consumer shall consume one message now (AdminBrokerProcessor.consumeMessageDirectly). The message is
// looked up by its offset id and goes along. Answers like 307.
func (p *Processor) consumeDirectly(r *remoting.Request) {
	var h header.ConsumeMessageDirectlyRequest
	if !decode(r, &h) {
		return
	}
	fields := append(header.Fields(nil), r.Fields...)
	fields = append(fields, header.Pair{Key: "brokerName", Value: p.cfg().Name})
	if t, ok := p.Topics.Get(h.Topic); ok {
		fields = append(fields, header.Pair{Key: "topicSysFlag", Value: strconv.Itoa(int(t.TopicSysFlag))})
	}
	if g, ok := p.Groups.Get(h.ConsumerGroup); ok {
		fields = append(fields, header.Pair{Key: "groupSysFlag", Value: strconv.Itoa(int(g.GroupSysFlag))})
	}
	_, off, err := record.ParseMessageID(h.MsgID)
	if err != nil {
		r.Fail(code.SystemError, "%v", err)
		return
	}
	rec, release, err := p.Reader.View(off)
	if err != nil {
		r.Fail(code.SystemError, "can not find message by the offset, %d", off)
		return
	}
	defer release()
	// Copied here, where a disk that cannot give it costs this request only (see sendBack), and not where the client's connection is locked.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	rec = bytes.Clone(rec)
	p.relay(r, remoting.Outgoing{Code: r.Code, Extra: fields, Body: rec}, h.ConsumerGroup, h.ClientID)
}

func (p *Processor) relay(r *remoting.Request, out remoting.Outgoing, group, clientID string) {
	m, ok := p.Consumers.Member(group, clientID)
	switch {
	case !ok:
		r.Fail(code.SystemError, "The Consumer <%s> <%s> not online", group, clientID)
		return
	case m.Version < minRelayVersion:
		r.Fail(code.SystemError, "The Consumer <%s> Version <%s> too low to finish, please upgrade it to V3_1_8_SNAPSHOT",
			clientID, versionText(m.Version))
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), relayTimeout)
	defer cancel()
	resp, err := m.Channel.Call(ctx, out)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		r.Fail(code.ConsumeMsgTimeout, "consumer <%s> <%s> Timeout: %v", group, clientID, err)
	case err != nil:
		r.Fail(code.SystemError, "invoke consumer <%s> <%s> Exception: %v", group, clientID, err)
	default:
		r.Reply(&remoting.Reply{Code: resp.Code, Remark: resp.Remark, Extra: resp.Fields, Body: resp.Body})
	}
}

// 223 INVOKE_BROKER_TO_GET_CONSUMER_STATUS: the offsets that clients of a group hold in memory, by client
// (Broker2Client.getConsumeStatus): 221 to each of them, or to the one whose id is clientAddr. 1 if nobody is online, or one of them is too
// old; clients that do not answer are left out.
func (p *Processor) consumerStatus(r *remoting.Request) {
	var h header.InvokeBrokerToGetConsumerStatusRequest
	if !decode(r, &h) {
		return
	}
	members := p.Consumers.Members(h.Group)
	if len(members) == 0 {
		r.Fail(code.SystemError, "No Any Consumer online in the consumer group: [%s]", h.Group)
		return
	}
	b := &body.GetConsumerStatusBody{ConsumerTable: make(map[string]map[body.MessageQueue]int64)}
	for i := range members {
		m := &members[i]
		if m.Version < minResetVersion {
			r.Fail(code.SystemError, "the client does not support this feature. version=%s", versionText(m.Version))
			return
		}
		if strings.TrimSpace(h.ClientAddr) != "" && h.ClientAddr != m.ClientID {
			continue
		}
		if table := p.askStatus(m, h.Topic, h.Group); table != nil {
			b.ConsumerTable[m.ClientID] = table
		}
	}
	replyJSON(r, b)
}

func (p *Processor) askStatus(m *client.Member, topic, group string) map[body.MessageQueue]int64 {
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	resp, err := m.Channel.Call(ctx, remoting.Outgoing{
		Code:   code.GetConsumerStatusFromClient,
		Header: &header.GetConsumerStatusFromClientRequest{Topic: topic, Group: group},
	})
	var b body.GetConsumerStatusBody
	if err == nil && resp.Code == code.Success && len(resp.Body) > 0 {
		err = fastjson.Unmarshal(resp.Body, &b)
	}
	if err != nil {
		p.Log.Warn("client does not tell its offsets", "group", group, "addr", m.Channel.RemoteText(), "err", err)
		return nil
	}
	return b.MessageQueueTable
}
