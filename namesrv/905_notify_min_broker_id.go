package namesrv

import (
	"context"

	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// Request 905 NOTIFY_MIN_BROKER_ID_CHANGE, which the name server makes: with notifyMinBrokerIdChanged it tells the brokers of a
// name, one-way, that the lowest id among them has changed, so that a slave begins or stops acting as master.
//
// It goes to everybody when a broker went away, or when there is only one; else to all but the one with the lowest id, who is the
// news. It goes to the brokers' own ports, because Java's broker serves it only there.
//
// Checked against RouteInfoManager.notifyMinBrokerIdChanged.

// postNotice queues a notice. A queue that is full means that brokers come and go faster than they can be told; they also find out by
// asking for their member group (901).
func (s *Server) postNotice(c minIDChange) {
	select {
	case s.notices <- c:
	default:
		s.log.Warn("drop a notice of a changed lowest broker id", "offline", c.offline)
	}
}

func (s *Server) noticeLoop() {
	for {
		select {
		case <-s.stop:
			return
		case c := <-s.notices:
			s.sendNotice(c)
		}
	}
}

func (s *Server) sendNotice(c minIDChange) {
	lowest, some := minID(c.addrs)
	if !some {
		return
	}
	h := &header.NotifyMinBrokerIDChangeRequest{
		MinBrokerID: header.Some(lowest), MinBrokerAddr: c.addrs[lowest], OfflineBrokerAddr: c.offline, HABrokerAddr: c.haAddr,
	}
	for id, addr := range c.addrs {
		if id == lowest && c.offline == "" && len(c.addrs) > 1 {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), notifyTimeout)
		err := s.client.Oneway(ctx, addr, remoting.Outgoing{Code: code.NotifyMinBrokerIDChange, Header: h})
		cancel()
		if err != nil {
			s.log.Warn("notify a broker of the lowest id", "addr", addr, "id", id, "lowest", lowest, "err", err)
		}
	}
}
