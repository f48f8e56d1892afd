package processor

import (
	"strings"

	"apogee/broker/acting"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// 905 NOTIFY_MIN_BROKER_ID_CHANGE: a name server tells that the lowest id among the brokers of this name has changed
// (AdminBrokerProcessor.notifyMinBrokerIdChange). Always 0; name servers do not wait for it. It is acted upon elsewhere, later.
func (p *Processor) lowestIDChanged(r *remoting.Request) {
	var h header.NotifyMinBrokerIDChangeRequest
	if !decode(r, &h) {
		return
	}
	if !h.MinBrokerID.Valid {
		r.Fail(code.SystemError, "the request has no minBrokerId")
		return
	}
	p.Acting.Notify(acting.Notice{
		ID: h.MinBrokerID.Value, Addr: strings.Clone(h.MinBrokerAddr), Offline: strings.Clone(h.OfflineBrokerAddr), HAAddr: strings.Clone(h.HABrokerAddr),
	})
	replyOK(r)
}

// 906 EXCHANGE_BROKER_HA_INFO: a master that is about to be online tells its slaves where to replicate from; without an address, a slave asks
// its master for that (AdminBrokerProcessor.updateBrokerHaInfo). Always 0, with nothing else from a slave.
func (p *Processor) exchangeHAInfo(r *remoting.Request) {
	var h header.ExchangeBrokerHAInfoRequest
	if !decode(r, &h) {
		return
	}
	switch {
	case h.MasterHAAddress != "":
		p.Acting.TakeHAInfo(acting.Info{
			HAAddr: strings.Clone(h.MasterHAAddress), Addr: strings.Clone(h.MasterAddress), Flushed: h.MasterFlushOffset.Or(0),
		})
	case p.cfg().ID == 0:
		info := p.Acting.HAInfo()
		r.Reply(&remoting.Reply{Header: &header.ExchangeBrokerHAInfoResponse{
			MasterHAAddress: info.HAAddr, MasterFlushOffset: header.Some(info.Flushed), MasterAddress: info.Addr,
		}})
		return
	}
	replyOK(r)
}
