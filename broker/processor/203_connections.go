package processor

import (
	"apogee/broker/client"
	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// languageText is a language as Java's readers need it: they fail on a name that they do not know.
func languageText(l remoting.Language) string {
	if s := l.String(); s != "" {
		return s
	}
	return "OTHER"
}

func connections(members []client.Member) []body.Connection {
	out := make([]body.Connection, len(members))
	for i := range members {
		m := &members[i]
		out[i] = body.Connection{
			ClientID: m.ClientID, ClientAddr: m.Channel.RemoteText(), Language: languageText(m.Language), Version: m.Version,
		}
	}
	return out
}

// 203 GET_CONSUMER_CONNECTION_LIST: who is online in a consumer group (AdminBrokerProcessor.getConsumerConnectionList). 206 if nobody.
func (p *Processor) consumerConnections(r *remoting.Request) {
	var h header.GetConsumerConnectionListRequest
	if !decode(r, &h) {
		return
	}
	g := p.Consumers.Group(h.ConsumerGroup)
	if g == nil {
		r.Fail(code.ConsumerNotOnline, "the consumer group[%s] not online", h.ConsumerGroup)
		return
	}
	b := &body.ConsumerConnection{
		ConnectionSet: connections(p.Consumers.Members(h.ConsumerGroup)), SubscriptionTable: make(map[string]body.SubscriptionData),
		ConsumeType: g.ConsumeType, MessageModel: g.Model, ConsumeFromWhere: g.FromWhere,
	}
	for topic, s := range g.Subscriptions {
		b.SubscriptionTable[topic] = *s
	}
	replyJSON(r, b)
}

// 204 GET_PRODUCER_CONNECTION_LIST: who is online in a producer group (AdminBrokerProcessor.getProducerConnectionList). 1 if nobody.
func (p *Processor) producerConnections(r *remoting.Request) {
	var h header.GetProducerConnectionListRequest
	if !decode(r, &h) {
		return
	}
	members := p.Producers.Members(h.ProducerGroup)
	if members == nil {
		r.Fail(code.SystemError, "the producer group[%s] not exist", h.ProducerGroup)
		return
	}
	replyJSON(r, &body.ProducerConnection{ConnectionSet: connections(members)})
}

// 328 GET_ALL_PRODUCER_INFO: every producer (AdminBrokerProcessor.getAllProducerInfo). Always 0.
func (p *Processor) allProducers(r *remoting.Request) {
	b := &body.ProducerTableInfo{Data: make(map[string][]body.ProducerInfo)}
	for group, members := range p.Producers.All() {
		list := make([]body.ProducerInfo, len(members))
		for i := range members {
			m := &members[i]
			list[i] = body.ProducerInfo{
				ClientID: m.ClientID, RemoteIP: "/" + m.Channel.RemoteText(), Language: languageText(m.Language), Version: m.Version,
				LastUpdateTimestamp: m.LastUpdate,
			}
		}
		b.Data[group] = list
	}
	replyJSON(r, b)
}
