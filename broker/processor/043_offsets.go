package processor

import "apogee/remoting"

// 043 GET_ALL_CONSUMER_OFFSET: the table of offsets, for slaves (AdminBrokerProcessor.getAllConsumerOffset). Always 0.
func (p *Processor) allOffsets(r *remoting.Request) {
	r.Reply(&remoting.Reply{Body: p.Offsets.EncodeCommitted()})
}

// 045 GET_ALL_DELAY_OFFSET: how far the delay levels are delivered, for slaves (AdminBrokerProcessor.getAllDelayOffset). Always 0.
func (p *Processor) delayOffsets(r *remoting.Request) {
	r.Reply(&remoting.Reply{Body: p.Delays.JSON()})
}
