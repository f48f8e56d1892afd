package namesrv

import (
	"maps"
	"slices"
	"strings"

	"apogee/compat/body"
	"apogee/compat/fastjson"
)

// dialect is how a route is written down (spec: remoting.md 8.1).
type dialect int

const (
	bareKeys     dialect = iota // {0:"addr"}, for clients before 4.9.4
	standardJSON                // {"0":"addr"}
	dialects
)

// cachedRoute are the encoded answers of one topic, valid as long as topology.changes stands at at and the topic has not changed.
// Empty texts mean that there is no route.
type cachedRoute struct {
	at    uint64
	texts [dialects][]byte
}

// syncMemberPrefix starts the topics over which the members of a broker group tell each other what they have: those need the real
// ids.
const syncMemberPrefix = "rmq_sys_SYNC_BROKER_MEMBER_"

// route is the encoded route of a topic, nil if there is none. It belongs to the cache and must not be changed. Answering the same
// question again costs a read lock and a look into a map.
func (t *topology) route(name string, d dialect) []byte {
	t.mu.RLock()
	defer t.mu.RUnlock()
	e := t.topics[name]
	if e == nil {
		return nil
	}
	at := t.changes.Load()
	c := e.cached.Load()
	if c == nil || c.at != at {
		c = t.encodeLocked(name, at)
		e.cached.Store(c)
	}
	return c.texts[d]
}

// encodeLocked writes down both dialects: clusters have clients of either kind, and a miss is rare.
func (t *topology) encodeLocked(name string, at uint64) *cachedRoute {
	c := &cachedRoute{at: at}
	if r := t.pickLocked(name); r != nil {
		c.texts[bareKeys] = fastjson.Marshal(r)
		c.texts[standardJSON] = fastjson.MarshalStandard(r)
	}
	return c
}

// zoneRoute is the route of a topic as a client in zone should see it (ZoneRouteRPCHook): brokers of that zone, and brokers without a
// master. Java encodes it with bare keys whatever the client's version.
func (t *topology) zoneRoute(name, zone string) []byte {
	t.mu.RLock()
	defer t.mu.RUnlock()
	r := t.pickLocked(name)
	if r == nil {
		return nil
	}
	removed := make(map[string]bool)
	r.BrokerDatas = slices.DeleteFunc(r.BrokerDatas, func(b body.BrokerData) bool {
		if _, master := b.BrokerAddrs[body.MasterID]; !master || strings.EqualFold(b.ZoneName, zone) {
			return false
		}
		removed[b.BrokerName] = true
		for _, addr := range b.BrokerAddrs {
			delete(r.FilterServerTable, addr)
		}
		return true
	})
	r.QueueDatas = slices.DeleteFunc(slices.Clone(r.QueueDatas), func(q body.QueueData) bool { return removed[q.BrokerName] })
	return fastjson.Marshal(r)
}

// pickLocked puts a route together, nil if no broker of the topic is known (RouteInfoManager.pickupTopicRouteData). QueueDatas
// belongs to the topic.
func (t *topology) pickLocked(name string) *body.TopicRouteData {
	e := t.topics[name]
	if e == nil {
		return nil
	}
	r := &body.TopicRouteData{QueueDatas: e.queues, FilterServerTable: make(map[string][]string)}
	for i := range e.queues {
		b := t.brokers[e.queues[i].BrokerName]
		if b == nil {
			continue
		}
		shown := *b
		shown.BrokerAddrs = maps.Clone(b.BrokerAddrs)
		for _, addr := range b.BrokerAddrs {
			if servers, ok := t.filters[brokerKey{b.Cluster, addr}]; ok {
				r.FilterServerTable[addr] = servers
			}
		}
		r.BrokerDatas = append(r.BrokerDatas, shown)
	}
	if len(r.BrokerDatas) == 0 {
		return nil
	}
	if m := t.mappings[name]; m != nil {
		r.TopicQueueMappingByBroker = m
	}
	conf := t.conf()
	if conf.OrderMessageEnable || conf.ClusterTest {
		r.OrderTopicConf = t.orders(name)
	}
	if conf.SupportActingMaster && !strings.HasPrefix(name, syncMemberPrefix) {
		presentActingMasters(r)
	}
	return r
}

// presentActingMasters shows the lowest id of a broker name without a master as its master, where the name allows it and its
// queues cannot be written (so that nobody sends to a slave).
func presentActingMasters(r *body.TopicRouteData) {
	for i := range r.BrokerDatas {
		b := &r.BrokerDatas[i]
		if _, master := b.BrokerAddrs[body.MasterID]; master || !b.EnableActingMaster {
			continue
		}
		lowest, some := minID(b.BrokerAddrs)
		if !some {
			continue
		}
		for _, q := range r.QueueDatas {
			if q.BrokerName != b.BrokerName {
				continue
			}
			if q.Perm&body.PermWrite == 0 {
				b.BrokerAddrs[body.MasterID] = b.BrokerAddrs[lowest]
				delete(b.BrokerAddrs, lowest)
			}
			break
		}
	}
}
