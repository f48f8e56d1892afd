package namesrv

import (
	"maps"
	"strings"
	"time"

	"apogee/compat/body"
	"apogee/remoting/header"
)

// defaultHeartbeatTimeout is how long a broker that names no time of its own may be silent (RouteInfoManager).
const defaultHeartbeatTimeout = 120 * time.Second

// registration is what a broker says of itself with REGISTER_BROKER. Its strings live as long as the topology.
type registration struct {
	cluster, name, addr, haAddr, zone string
	id                                int64
	timeout                           header.Opt[int64] // ms
	acting                            header.Opt[bool]  // absent: a broker older than the acting master
	body                              *body.RegisterBrokerBody
	link                              link
}

// registered is what the broker hears back: where its master is, if it is a slave and the master lives.
type registered struct {
	haAddr, masterAddr string
}

// register takes a registration. It is false for a broker that has to register in full first.
//
// The rules, in this order (RouteInfoManager.registerBroker):
//   - An address that had another id leaves it: a slave has become the master.
//   - An address other than the known one for an id is ignored, with success, while the known broker's state version is higher.
//   - Exactly one topic from a broker that is not known is an increment without its base, and refused. (Java keeps an empty
//     broker entry then; here a refused broker leaves no trace.)
//   - Topics come from the master, or from the lowest id where the broker knows of acting masters; the latter's are not writable.
//   - They are taken when the broker is new or its data version has changed, and where a topic lacks the broker.
func (t *topology) register(r *registration) (registered, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.isOrphan(t.brokers[r.name]) {
		t.log.Warn("refuse a single topic of a broker that has not registered", "cluster", r.cluster, "broker", r.name, "id", r.id, "addr", r.addr)
		return registered{}, false
	}
	b, first := t.joinLocked(r)
	previous, some := minID(b.BrokerAddrs)
	lower := some && r.id < previous || !some && r.id < 0

	for id, addr := range b.BrokerAddrs {
		if addr == r.addr && id != r.id {
			delete(b.BrokerAddrs, id)
			t.changes.Add(1)
		}
	}
	if t.conflictsLocked(r, b) {
		delete(t.live, brokerKey{r.cluster, r.addr})
		return registered{}, true
	}
	old := b.BrokerAddrs[r.id]
	first = first || old == ""
	if old != r.addr {
		b.BrokerAddrs[r.id] = r.addr
		t.changes.Add(1)
	}
	t.takeTopicsLocked(r, b, first)
	t.aliveLocked(r)
	t.filterServersLocked(r)

	if lower && t.conf().NotifyMinBrokerIDChanged {
		t.notify(minIDChange{addrs: maps.Clone(b.BrokerAddrs), haAddr: r.haAddr})
	}
	return t.masterOfLocked(r, b), true
}

// isOrphan tells a registration that must be refused. b is nil for an unknown name.
func (r *registration) isOrphan(b *body.BrokerData) bool {
	if len(r.body.TopicConfigSerializeWrapper.TopicConfigTable) != 1 {
		return false
	}
	if b == nil {
		return true
	}
	_, known := b.BrokerAddrs[r.id]
	return !known
}

// joinLocked finds or makes the entry of the broker's name and puts into it what every registration may change.
func (t *topology) joinLocked(r *registration) (b *body.BrokerData, first bool) {
	names := t.clusters[r.cluster]
	if names == nil {
		names = make(map[string]struct{})
		t.clusters[r.cluster] = names
	}
	names[r.name] = struct{}{}

	b = t.brokers[r.name]
	if b == nil {
		first = true
		b = &body.BrokerData{Cluster: r.cluster, BrokerName: r.name, BrokerAddrs: make(map[int64]string)}
		t.brokers[r.name] = b
		t.changes.Add(1)
	}
	if acting := r.acting.Or(false); b.EnableActingMaster != acting || b.ZoneName != r.zone {
		b.EnableActingMaster, b.ZoneName = acting, r.zone
		t.changes.Add(1)
	}
	return b, first
}

// conflictsLocked tells that another broker holds the id and knows a later state.
func (t *topology) conflictsLocked(r *registration, b *body.BrokerData) bool {
	old := b.BrokerAddrs[r.id]
	if old == "" || old == r.addr {
		return false
	}
	l := t.live[brokerKey{r.cluster, old}]
	if l == nil {
		return false
	}
	version := r.body.TopicConfigSerializeWrapper.DataVersion.StateVersion
	if l.version.StateVersion <= version {
		return false
	}
	t.log.Warn("ignore a broker in conflict with a live one", "cluster", r.cluster, "broker", r.name, "id", r.id,
		"addr", r.addr, "version", version, "live_addr", old, "live_version", l.version.StateVersion)
	return true
}

func (t *topology) takeTopicsLocked(r *registration, b *body.BrokerData, first bool) {
	lowest, _ := minID(b.BrokerAddrs)
	prime := r.id != body.MasterID && r.acting.Valid && r.id == lowest // PrimeSlave in Java
	w := &r.body.TopicConfigSerializeWrapper
	if r.id != body.MasterID && !prime || w.TopicConfigTable == nil {
		return
	}
	if t.conf().DeleteTopicWithRegistration && len(w.TopicQueueMappingInfoMap) == 0 {
		for name, e := range t.topics {
			if _, has := e.find(r.name); has && w.TopicConfigTable[name] == nil {
				t.dropQueuesLocked(name, r.name)
			}
		}
	}
	known := t.live[brokerKey{r.cluster, r.addr}]
	changed := first || known == nil || known.version != w.DataVersion
	for key, c := range w.TopicConfigTable {
		if c == nil {
			continue
		}
		name := c.TopicName
		if name == "" {
			name = key
		}
		if !changed {
			if e := t.topics[name]; e != nil {
				if _, has := e.find(r.name); has {
					continue
				}
			}
		}
		perm := c.Perm
		if prime && b.EnableActingMaster {
			perm &^= body.PermWrite
		}
		t.setQueuesLocked(name, body.QueueData{
			BrokerName: r.name, ReadQueueNums: c.ReadQueueNums, WriteQueueNums: c.WriteQueueNums, Perm: perm, TopicSysFlag: c.TopicSysFlag,
		})
	}
	if changed {
		t.takeMappingsLocked(w)
	}
}

// takeMappingsLocked notes where the queues of static topics are. Java never forgets them, and so they outlive their broker.
func (t *topology) takeMappingsLocked(w *body.TopicConfigAndMappingSerializeWrapper) {
	for name, info := range w.TopicQueueMappingInfoMap {
		if info == nil {
			continue
		}
		if t.mappings[name] == nil {
			t.mappings[name] = make(map[string]*body.TopicQueueMappingInfo)
		}
		t.mappings[name][info.Bname] = info
		if e := t.topics[name]; e != nil {
			e.cached.Store(nil)
		}
	}
}

func (t *topology) aliveLocked(r *registration) {
	key := brokerKey{r.cluster, r.addr}
	l := &liveBroker{
		timeout: defaultHeartbeatTimeout, version: r.body.TopicConfigSerializeWrapper.DataVersion, haAddr: r.haAddr, link: r.link,
	}
	if r.timeout.Valid {
		l.timeout = time.Duration(r.timeout.Value) * time.Millisecond
	}
	l.seen.Store(t.now().UnixMilli())
	if t.live[key] == nil {
		t.log.Info("broker registered", "cluster", r.cluster, "broker", r.name, "id", r.id, "addr", r.addr, "ha_addr", r.haAddr)
	}
	t.live[key] = l
}

func (t *topology) filterServersLocked(r *registration) {
	key := brokerKey{r.cluster, r.addr}
	if len(r.body.FilterServerList) == 0 {
		if _, had := t.filters[key]; had {
			delete(t.filters, key)
			t.changes.Add(1)
		}
		return
	}
	if strings.Join(t.filters[key], ";") != strings.Join(r.body.FilterServerList, ";") {
		t.filters[key] = r.body.FilterServerList
		t.changes.Add(1)
	}
}

func (t *topology) masterOfLocked(r *registration, b *body.BrokerData) registered {
	master := b.BrokerAddrs[body.MasterID]
	if r.id == body.MasterID || master == "" {
		return registered{}
	}
	l := t.live[brokerKey{r.cluster, master}]
	if l == nil {
		return registered{}
	}
	return registered{haAddr: l.haAddr, masterAddr: master}
}
