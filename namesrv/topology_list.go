package namesrv

import (
	"maps"
	"slices"

	"apogee/compat/body"
)

// Lists are sorted; Java's come in the order of a hash table.

// clusterInfo is everything about brokers and clusters.
func (t *topology) clusterInfo() *body.ClusterInfo {
	t.mu.RLock()
	defer t.mu.RUnlock()
	info := &body.ClusterInfo{BrokerAddrTable: make(map[string]*body.BrokerData, len(t.brokers)), ClusterAddrTable: make(map[string][]string, len(t.clusters))}
	for name, b := range t.brokers {
		shown := *b
		shown.BrokerAddrs = maps.Clone(b.BrokerAddrs)
		info.BrokerAddrTable[name] = &shown
	}
	for cluster, names := range t.clusters {
		info.ClusterAddrTable[cluster] = slices.Sorted(maps.Keys(names))
	}
	return info
}

// memberGroup is the addresses of one broker name; Java does not compare the cluster.
func (t *topology) memberGroup(cluster, name string) *body.BrokerMemberGroup {
	t.mu.RLock()
	defer t.mu.RUnlock()
	g := &body.BrokerMemberGroup{Cluster: cluster, BrokerName: name, BrokerAddrs: make(map[int64]string)}
	if b := t.brokers[name]; b != nil {
		maps.Copy(g.BrokerAddrs, b.BrokerAddrs)
	}
	return g
}

// topicsWhere lists the topics that match.
func (t *topology) topicsWhere(match func(queues []body.QueueData) bool) []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	names := make([]string, 0, len(t.topics))
	for name, e := range t.topics {
		if match(e.queues) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (t *topology) allTopics() []string {
	return t.topicsWhere(func([]body.QueueData) bool { return true })
}

// topicsOfCluster lists the topics that have queues on a broker of the cluster.
func (t *topology) topicsOfCluster(cluster string) []string {
	t.mu.RLock()
	names := maps.Clone(t.clusters[cluster])
	t.mu.RUnlock()
	return t.topicsWhere(func(queues []body.QueueData) bool {
		return slices.ContainsFunc(queues, func(q body.QueueData) bool {
			_, in := names[q.BrokerName]
			return in
		})
	})
}

// unitTopics lists the topics whose flags, as their first broker gives them, have all of want and none of not.
func (t *topology) unitTopics(want, not int32) []string {
	return t.topicsWhere(func(queues []body.QueueData) bool {
		flags := queues[0].TopicSysFlag
		return flags&want == want && flags&not == 0
	})
}

// systemTopics lists the topics that exist because a cluster or a broker does, and names a broker that can be asked for more.
func (t *topology) systemTopics() *body.TopicList {
	t.mu.RLock()
	defer t.mu.RUnlock()
	set := make(map[string]struct{}, len(t.clusters)+len(t.brokers))
	for cluster, names := range t.clusters {
		set[cluster] = struct{}{}
		maps.Copy(set, names)
	}
	list := &body.TopicList{TopicList: slices.Sorted(maps.Keys(set))}
	for _, name := range slices.Sorted(maps.Keys(t.brokers)) {
		b := t.brokers[name]
		if lowest, some := minID(b.BrokerAddrs); some {
			list.BrokerAddr = b.BrokerAddrs[lowest]
			break
		}
	}
	return list
}
