package broker

import (
	"context"
	"sync/atomic"
	"time"

	"apogee/broker/config"
	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// memberTimeout is how long a name server has to say who has this broker's name.
const memberTimeout = 3 * time.Second

// members knows the brokers of this broker's name. It asks name servers only while somebody wants to know: with lockInStrictMode and more
// than one replica. Java asks with enableSlaveActingMaster; without that it knows nobody but itself, and grants no lock at all then.
type members struct {
	*remoting.Client
	live  *config.Live
	self  func() string
	known atomic.Pointer[map[int64]string]
}

func newMembers(caller *remoting.Client, live *config.Live, self func() string) *members {
	return &members{Client: caller, live: live, self: self}
}

// Members are the addresses that were known last, this broker's own in any case.
func (m *members) Members() map[int64]string {
	if known := m.known.Load(); known != nil {
		return *known
	}
	return map[int64]string{m.live.Get().ID: m.self()}
}

// refresh asks the name servers, the first that answers.
func (m *members) refresh(ctx context.Context) {
	c := m.live.Get()
	if !c.StrictLocks || c.Replicas < 2 {
		m.known.Store(nil)
		return
	}
	for _, addr := range c.NameServerList() {
		if m.ask(ctx, c, addr) {
			return
		}
	}
}

func (m *members) ask(ctx context.Context, c *config.Broker, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	resp, err := m.Call(ctx, addr, remoting.Outgoing{
		Code: code.GetBrokerMemberGroup, Header: &header.GetBrokerMemberGroupRequest{ClusterName: c.ClusterName, BrokerName: c.Name},
	})
	if err != nil || resp.Code != code.Success {
		return false
	}
	var b body.GetBrokerMemberGroupResponseBody
	if err := fastjson.Unmarshal(resp.Body, &b); err != nil || b.BrokerMemberGroup == nil || len(b.BrokerMemberGroup.BrokerAddrs) == 0 {
		return false
	}
	known := b.BrokerMemberGroup.BrokerAddrs
	m.known.Store(&known)
	return true
}
