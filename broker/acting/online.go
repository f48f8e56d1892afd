package acting

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"time"

	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// Info is what a master and its slaves tell each other with EXCHANGE_BROKER_HA_INFO (906).
type Info struct {
	HAAddr, Addr string // of the master; "" asks for them
	Flushed      int64  // where the master's log ended when it was opened
}

const (
	exchangeTimeout = 3 * time.Second
	linkTimeout     = 10 * time.Second // for the connection that the log goes by (HAConnectionStateNotificationService)
)

// HAInfo is what a master tells of itself.
func (s *Service) HAInfo() Info {
	return Info{HAAddr: s.HASelf(), Addr: s.Self(), Flushed: s.Link.InitEnd()}
}

// TakeHAInfo is what a slave is told of its master, who is not online yet: until it is, the slave goes on with what it does in its place.
func (s *Service) TakeHAInfo(info Info) {
	s.noteFlushed(info)
	s.Link.SetMaster(info.HAAddr, otherBroker, "it is about to be online")
}

// noteFlushed keeps where the master's log ended at its start, if that is wanted (syncMasterFlushOffsetWhenStartup).
func (s *Service) noteFlushed(info Info) {
	if s.Link.WantsFlushed() {
		s.Link.NoteFlushed(info.Flushed)
	}
}

// Exchange tells a broker what is in info, or asks it.
func Exchange(ctx context.Context, caller remoting.Caller, addr string, info Info) (Info, error) {
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	h := &header.ExchangeBrokerHAInfoRequest{MasterHAAddress: info.HAAddr, MasterAddress: info.Addr}
	if info.HAAddr != "" {
		h.MasterFlushOffset = header.Some(info.Flushed)
	}
	resp, err := caller.Call(ctx, addr, remoting.Outgoing{Code: code.ExchangeBrokerHAInfo, Header: h})
	if err != nil {
		return Info{}, fmt.Errorf("exchange replication addresses with %s: %w", addr, err)
	}
	if resp.Code != code.Success {
		return Info{}, fmt.Errorf("exchange replication addresses with %s: answer %d: %s", addr, resp.Code, resp.Remark)
	}
	var answer header.ExchangeBrokerHAInfoResponse
	if err := answer.DecodeFields(resp.Fields); err != nil {
		return Info{}, fmt.Errorf("exchange replication addresses with %s: %w", addr, err)
	}
	return Info{HAAddr: answer.MasterHAAddress, Addr: answer.MasterAddress, Flushed: answer.MasterFlushOffset.Or(0)}, nil
}

// prepare gets an isolated broker ready to be known (BrokerPreOnlineService); false if it is to be tried again.
func (s *Service) prepare(ctx context.Context) bool {
	c, self := s.Config.Get(), s.Self()
	members, err := s.Members(ctx)
	if err != nil {
		s.Log.Warn("broker stays isolated: no name server says who has its name", "err", err)
		return false
	}
	others := maps.Clone(members)
	maps.DeleteFunc(others, func(id int64, addr string) bool { return id == c.ID || addr == self })
	switch {
	case len(others) == 0:
		s.online(ctx, c.ID, self, "nobody else of this name is online")
		return true
	case c.ID == 0:
		err = s.prepareMaster(ctx, others)
	case others[0] != "":
		err = s.prepareSlave(ctx, others[0])
	default:
		least := min(lowest(others), c.ID)
		addr := others[least]
		if least == c.ID {
			addr = self
		}
		s.online(ctx, least, addr, "no master is online")
		return true
	}
	if err != nil && ctx.Err() == nil {
		s.Log.Warn("broker stays isolated", "err", err)
	}
	return err == nil
}

// prepareMaster has each slave connect, and takes back what it has done. What one of them has done after the next was asked is not lost: it
// does it until the name servers know this master.
func (s *Service) prepareMaster(ctx context.Context, slaves map[int64]string) error {
	for _, id := range slices.Sorted(maps.Keys(slaves)) {
		addr := slaves[id]
		if _, err := Exchange(ctx, s.Caller, addr, s.HAInfo()); err != nil {
			return err
		}
		if err := s.await(ctx, addr); err != nil {
			return err
		}
		if err := s.TakeBack(ctx, addr); err != nil {
			return fmt.Errorf("take back from %s: %w", addr, err)
		}
		s.Log.Info("taken back what was done in this master's place", "id", id, "addr", addr)
	}
	s.online(ctx, 0, s.Self(), "slaves are connected")
	return nil
}

func (s *Service) prepareSlave(ctx context.Context, masterAddr string) error {
	info, err := Exchange(ctx, s.Caller, masterAddr, Info{})
	if err != nil {
		return err
	}
	s.noteFlushed(info)
	if info.HAAddr != "" {
		s.Link.SetMaster(info.HAAddr, thisBroker, "it asked the master before it was online")
		if err := s.await(ctx, info.HAAddr); err != nil {
			return err
		}
	}
	s.SetMaster(masterAddr, thisBroker, "it asked the master before it was online")
	s.online(ctx, 0, masterAddr, "connected with the master")
	return nil
}

func (s *Service) await(ctx context.Context, addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, linkTimeout)
	defer cancel()
	if err := s.Link.Await(ctx, host); err != nil {
		return fmt.Errorf("wait for the replication connection with %s: %w", addr, err)
	}
	return nil
}

// online ends the isolation.
func (s *Service) online(ctx context.Context, least int64, addr, why string) {
	s.least.Store(least)
	s.leastAddr = addr
	s.change(s.Config.Get().ID == least, thisBroker, why)
	s.isolated.Store(false)
	s.Register(ctx)
	s.Log.Info("broker is online", "least", least, "addr", addr, "who", thisBroker, "why", why)
}
