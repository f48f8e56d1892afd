package namesrv

import (
	"maps"
	"time"

	"apogee/compat/body"
)

// departure is a broker process that unregisters, or has to be unregistered.
type departure struct {
	cluster, name, addr string
	id                  int64
}

// minIDChange says that the lowest id of a broker name has changed.
type minIDChange struct {
	addrs   map[int64]string // of the name, after the change
	offline string           // who went away, if somebody did
	haAddr  string           // of who came
}

// remove takes brokers away, in one go: what follows from it (topics without a broker, names without an address) costs a walk over
// all topics.
func (t *topology) remove(leaving []departure) {
	t.mu.Lock()
	defer t.mu.Unlock()
	gone := make(map[string]bool)    // broker names with no address left
	reduced := make(map[string]bool) // broker names with fewer addresses
	changed := make(map[string]minIDChange)
	for _, d := range leaving {
		key := brokerKey{d.cluster, d.addr}
		_, lived := t.live[key]
		delete(t.live, key)
		delete(t.filters, key)
		t.changes.Add(1)
		t.log.Info("broker unregistered", "cluster", d.cluster, "broker", d.name, "id", d.id, "addr", d.addr, "lived", lived)
		if t.leaveLocked(d, changed) {
			gone[d.name] = true
		} else {
			reduced[d.name] = true
		}
	}
	t.cleanTopicsLocked(gone, reduced)
	if !t.conf().NotifyMinBrokerIDChanged {
		return
	}
	for name, c := range changed {
		if b := t.brokers[name]; b != nil && b.EnableActingMaster {
			t.notify(c)
		}
	}
}

// leaveLocked takes an address from its broker name. It tells whether that was the last one.
func (t *topology) leaveLocked(d departure, changed map[string]minIDChange) bool {
	b := t.brokers[d.name]
	if b == nil {
		return false
	}
	lowest, some := minID(b.BrokerAddrs)
	for id, addr := range b.BrokerAddrs {
		if addr == d.addr {
			delete(b.BrokerAddrs, id)
		}
	}
	if len(b.BrokerAddrs) > 0 {
		if some && d.id == lowest {
			changed[d.name] = minIDChange{addrs: maps.Clone(b.BrokerAddrs), offline: d.addr}
		}
		return false
	}
	delete(t.brokers, d.name)
	if names := t.clusters[d.cluster]; names != nil {
		delete(names, d.name)
		if len(names) == 0 {
			delete(t.clusters, d.cluster)
		}
	}
	return true
}

// cleanTopicsLocked takes the queues of brokers that are gone from all topics. Where a master went but slaves are left that may
// act for it, the queues stop being writable, which is what makes a route show an acting master.
func (t *topology) cleanTopicsLocked(gone, reduced map[string]bool) {
	masterless := make([]string, 0, len(reduced))
	for name := range reduced {
		if b := t.brokers[name]; b != nil && b.EnableActingMaster {
			if lowest, some := minID(b.BrokerAddrs); !some || lowest > body.MasterID {
				masterless = append(masterless, name)
			}
		}
	}
	if len(gone) == 0 && len(masterless) == 0 {
		return
	}
	for name := range t.topics {
		for broker := range gone {
			t.dropQueuesLocked(name, broker)
		}
		for _, broker := range masterless {
			t.wipeWriteLocked(name, broker)
		}
	}
}

// expired lists the brokers that have been silent for longer than they may, and closes their connections.
func (t *topology) expired() []departure {
	now := t.now().UnixMilli()
	return t.departing(func(_ brokerKey, l *liveBroker) bool {
		if l.seen.Load()+int64(l.timeout/time.Millisecond) >= now {
			return false
		}
		if l.link != nil {
			l.link.Close()
		}
		return true
	})
}

// disconnected lists the brokers that registered over a connection that is no more. (Java removes one of them and leaves the others
// to expire; a broker container has several on one connection.)
func (t *topology) disconnected(gone link) []departure {
	return t.departing(func(_ brokerKey, l *liveBroker) bool { return l.link == gone })
}

func (t *topology) departing(which func(brokerKey, *liveBroker) bool) []departure {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var list []departure
	for key, l := range t.live {
		if which(key, l) {
			list = append(list, t.departureLocked(key))
		}
	}
	return list
}

// departureLocked finds the name and id of a broker process. One that no name has any more keeps its key, so that it can be
// forgotten.
func (t *topology) departureLocked(key brokerKey) departure {
	for name, b := range t.brokers {
		if b.Cluster != key.cluster {
			continue
		}
		for id, addr := range b.BrokerAddrs {
			if addr == key.addr {
				return departure{cluster: key.cluster, name: name, addr: key.addr, id: id}
			}
		}
	}
	return departure{cluster: key.cluster, addr: key.addr, id: -1}
}
