package broker

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"apogee/broker/config"
	"apogee/broker/meta"
	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// memberTimeout is how long a name server has to say who has this broker's name.
const memberTimeout = 3 * time.Second

// members knows the brokers of this broker's name. It asks name servers only while somebody wants to know: with lockInStrictMode and more
// than one replica, and with enableSlaveActingMaster. Java asks with the latter only; without it it grants no strict lock at all.
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

// alive is how many brokers have this broker's name, itself included: as many as there should be while nobody has been asked.
func (m *members) alive() int {
	c, known := m.live.Get(), m.known.Load()
	if known == nil {
		return c.Replicas
	}
	if _, ok := (*known)[c.ID]; ok {
		return len(*known)
	}
	return len(*known) + 1
}

// refresh asks the name servers where nobody else does: a broker that may act for its master, or whose slaves may, asks anyway.
func (m *members) refresh(ctx context.Context) {
	c := m.live.Get()
	switch {
	case c.SlaveActing:
	case !c.StrictLocks || c.Replicas < 2:
		m.known.Store(nil)
	default:
		_, _ = m.ask(ctx) // what was known stays known
	}
}

// ask asks the name servers, the first that answers. A name that nobody has is no error.
func (m *members) ask(ctx context.Context) (map[int64]string, error) {
	c := m.live.Get()
	var errs []error
	for _, addr := range c.NameServerList() {
		known, err := m.askOne(ctx, c, addr)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if len(known) > 0 {
			m.known.Store(&known)
		}
		return known, nil
	}
	return nil, errors.Join(append(errs, errNoNameServer)...)
}

var errNoNameServer = errors.New("no name server answers")

// askOne asks for the member group; with compatibleWithOldNameSrv, for the route of a topic that all brokers of the name have.
func (m *members) askOne(ctx context.Context, c *config.Broker, addr string) (map[int64]string, error) {
	ctx, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	out := remoting.Outgoing{
		Code: code.GetBrokerMemberGroup, Header: &header.GetBrokerMemberGroupRequest{ClusterName: c.ClusterName, BrokerName: c.Name},
	}
	byRoute := c.SlaveActing && c.OldNameServers
	if byRoute {
		out = remoting.Outgoing{Code: code.GetRouteInfoByTopic, Header: &header.GetRouteInfoByTopicRequest{
			Topic: meta.MembersTopic(c.Name), AcceptStandardJsonOnly: header.Some(true),
		}}
	}
	resp, err := m.Call(ctx, addr, out)
	switch {
	case err != nil:
		return nil, fmt.Errorf("brokers of this name from %s: %w", addr, err)
	case byRoute && resp.Code == code.TopicNotExist:
		return nil, nil
	case resp.Code != code.Success:
		return nil, fmt.Errorf("brokers of this name from %s: answer %d: %s", addr, resp.Code, resp.Remark)
	}
	if byRoute {
		var route body.TopicRouteData
		if err := fastjson.Unmarshal(resp.Body, &route); err != nil {
			return nil, fmt.Errorf("brokers of this name from %s: %w", addr, err)
		}
		for _, b := range route.BrokerDatas {
			if b.BrokerName == c.Name && b.Cluster == c.ClusterName {
				return b.BrokerAddrs, nil
			}
		}
		return nil, nil
	}
	var b body.GetBrokerMemberGroupResponseBody
	if err := fastjson.Unmarshal(resp.Body, &b); err != nil {
		return nil, fmt.Errorf("brokers of this name from %s: %w", addr, err)
	}
	if b.BrokerMemberGroup == nil {
		return nil, nil
	}
	return b.BrokerMemberGroup.BrokerAddrs, nil
}
