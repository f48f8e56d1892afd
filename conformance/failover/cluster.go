package failover

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"

	"apogee/internal/testkit"
)

const (
	clusterName = "FailoverCluster"
	topic       = "FailoverLoad"
	queues      = 4
)

// member is one server of a cluster: a broker, or the name server.
type member struct {
	pair  string // the broker's name; "" of the name server
	id    int    // the broker's; 0 is the master
	addr  string
	dir   string // its store is in the folder store of it
	conf  testkit.Props
	ports *testkit.Ports // held while it is down, too

	namesrv string
	now     testkit.Target // what it is
	server  testkit.Server
}

func (m *member) String() string {
	switch {
	case m.pair == "":
		return "name server"
	case m.id == 0:
		return "master of " + m.pair
	}
	return "slave of " + m.pair
}

// start starts it as what target is, on the files that are there.
func (m *member) start(target testkit.Target) (err error) {
	m.now = target
	if m.pair == "" {
		m.server, err = target.Namesrv(m.dir, m.conf)
	} else {
		m.server, err = target.Broker(m.dir, m.namesrv, m.conf)
	}
	if err != nil {
		return fmt.Errorf("start the %v as %s: %w", m, target.Name(), err)
	}
	return nil
}

// pair is a master and its slave.
type pair struct {
	name    string
	members [2]*member // by id
}

// cluster is a name server and some pairs.
type cluster struct {
	ns    *member
	pairs []*pair
}

// newCluster takes ports; nothing runs yet.
func newCluster(dir string, pairs int, more testkit.Props) (*cluster, error) {
	member := func(name string, id int, dir string, hold func() (*testkit.Ports, error)) (*member, error) {
		ports, err := hold()
		if err != nil {
			return nil, err
		}
		return &member{pair: name, id: id, ports: ports, addr: testkit.Addr(ports.Port()), dir: dir, conf: testkit.Props{"listenPort": ports.Text()}}, nil
	}
	ns, err := member("", 0, filepath.Join(dir, "namesrv"), testkit.HoldPort)
	if err != nil {
		return nil, err
	}
	ns.conf = ns.conf.With(testkit.Props{"supportActingMaster": "true", "notifyMinBrokerIdChanged": "true"})
	c := &cluster{ns: ns}
	for i := range pairs {
		p := &pair{name: "pair-" + string(rune('a'+i))}
		for id := range p.members {
			m, err := member(p.name, id, filepath.Join(dir, fmt.Sprint(p.name, "-", id)), testkit.HoldBrokerPorts)
			if err != nil {
				return nil, err
			}
			m.namesrv, m.conf = ns.addr, brokerConf(p.name, id).With(m.conf).With(more)
			p.members[id] = m
		}
		c.pairs = append(c.pairs, p)
	}
	return c, nil
}

// brokerConf are the settings that operators make for slaves that act. What else is there keeps files small, and has the reference take
// messages on a busy machine.
func brokerConf(name string, id int) testkit.Props {
	role := "ASYNC_MASTER"
	if id > 0 {
		role = "SLAVE"
	}
	return testkit.Props{
		"brokerClusterName": clusterName, "brokerName": name, "brokerId": strconv.Itoa(id), "brokerRole": role,
		"enableSlaveActingMaster": "true", "enableRemoteEscape": "true", "totalReplicas": "2", "slaveReadEnable": "true",
		"deleteWhen": "04", "fileReservedTime": "87600", "mappedFileSizeCommitLog": "16777216", "mappedFileSizeConsumeQueue": "60000",
		"maxHashSlotNum": "5000", "maxIndexNum": "20000", "diskMaxUsedSpaceRatio": "95",
		"waitTimeMillsInSendQueue": "20000", "osPageCacheBusyTimeOutMills": "20000",
	}
}

func (c *cluster) members() []*member {
	all := []*member{c.ns}
	for _, p := range c.pairs {
		all = append(all, p.members[:]...)
	}
	return all
}

// pairOf is the pair of a broker.
func (c *cluster) pairOf(m *member) *pair {
	return c.pairs[slices.IndexFunc(c.pairs, func(p *pair) bool { return p.name == m.pair })]
}

// start starts all of them.
func (c *cluster) start(target testkit.Target) error {
	for _, m := range c.members() {
		if err := m.start(target); err != nil {
			return err
		}
	}
	return nil
}

// stop stops what runs, brokers first.
func (c *cluster) stop() error {
	var errs []error
	all := c.members()
	for i := len(all) - 1; i >= 0; i-- {
		if s := all[i].server; s != nil {
			errs = append(errs, s.Stop())
		}
	}
	return errors.Join(errs...)
}
