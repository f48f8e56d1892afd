package namesrv

import "apogee/compat/body"

// wipeWrite takes the write permission from all queues of a broker name; addWrite gives read and write. Both return the number of
// topics, and both last until the broker's next changed registration.
func (t *topology) wipeWrite(broker string) int {
	return t.setPerm(broker, func(perm int32) int32 { return perm &^ body.PermWrite })
}

func (t *topology) addWrite(broker string) int {
	return t.setPerm(broker, func(int32) int32 { return body.PermRead | body.PermWrite })
}

func (t *topology) setPerm(broker string, perm func(int32) int32) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	count := 0
	for name, e := range t.topics {
		if i, has := e.find(broker); has {
			q := e.queues[i]
			q.Perm = perm(q.Perm)
			t.setQueuesLocked(name, q)
			count++
		}
	}
	return count
}

// deleteTopic forgets a topic, in one cluster or (cluster "") everywhere. The brokers still have it: one that registers with a
// changed data version brings it back.
func (t *topology) deleteTopic(name, cluster string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if cluster == "" {
		delete(t.topics, name)
		return
	}
	for broker := range t.clusters[cluster] {
		t.dropQueuesLocked(name, broker)
	}
}

// addTopic merges queues into a topic (REGISTER_TOPIC_IN_NAMESRV). At the first queue of an unknown broker it stops: a known topic
// keeps what came before, a new one is not made (RouteInfoManager.registerTopic).
func (t *topology) addTopic(name string, queues []body.QueueData) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, known := t.topics[name]
	if !known {
		for _, q := range queues {
			if t.brokers[q.BrokerName] == nil {
				t.log.Warn("register topic of an unknown broker", "topic", name, "broker", q.BrokerName)
				return
			}
		}
	}
	for _, q := range queues {
		if t.brokers[q.BrokerName] == nil {
			t.log.Warn("register topic of an unknown broker", "topic", name, "broker", q.BrokerName)
			return
		}
		t.setQueuesLocked(name, q)
	}
}
