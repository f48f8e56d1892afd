package namesrv

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"apogee/compat/body"
)

// topology is what the brokers have told: who they are, where they are and which topics they hold (Java: RouteInfoManager). It
// lives in memory only; brokers tell it again within 30 s.
//
// It is changed in topology_register.go, topology_remove.go and topology_edit.go and read in topology_route.go and topology_list.go.
type topology struct {
	now  func() time.Time
	log  *slog.Logger
	conf func() *Config

	// orders is the fixed queue order of a topic out of the KV store; it is asked with mu held and must not wait.
	orders func(topic string) string
	// notify hears that the lowest id of a broker name has changed; it is called with mu held and must not wait.
	notify func(minIDChange)

	// changes counts what may change many routes at once: brokers coming, going or moving, order settings, configuration. What
	// changes one topic drops that topic's cached answers.
	changes atomic.Uint64

	mu       sync.RWMutex                                      // guards everything below
	topics   map[string]*topic                                 // by name
	brokers  map[string]*body.BrokerData                       // by broker name
	clusters map[string]map[string]struct{}                    // broker names by cluster
	live     map[brokerKey]*liveBroker                         // who registered, and when last
	filters  map[brokerKey][]string                            // filter servers; long gone from Java's broker, still carried
	mappings map[string]map[string]*body.TopicQueueMappingInfo // static topics: topic, broker name
}

// brokerKey names one broker process.
type brokerKey struct{ cluster, addr string }

// link is the connection over which a broker registered.
type link interface {
	Close()
	Closed() bool
}

// liveBroker is one broker process that has registered. Only seen changes after that; a registration puts a new one in its place.
type liveBroker struct {
	seen    atomic.Int64 // ms of the last sign of life
	timeout time.Duration
	version body.DataVersion
	haAddr  string
	link    link
}

// topic is where a topic's queues are. queues is sorted by broker name, never empty, and replaced rather than changed.
type topic struct {
	queues []body.QueueData
	cached atomic.Pointer[cachedRoute]
}

func newTopology(now func() time.Time, log *slog.Logger, conf func() *Config) *topology {
	return &topology{
		now: now, log: log, conf: conf,
		orders:   func(string) string { return "" },
		notify:   func(minIDChange) {},
		topics:   make(map[string]*topic),
		brokers:  make(map[string]*body.BrokerData),
		clusters: make(map[string]map[string]struct{}),
		live:     make(map[brokerKey]*liveBroker),
		filters:  make(map[brokerKey][]string),
		mappings: make(map[string]map[string]*body.TopicQueueMappingInfo),
	}
}

// find returns the index of a broker's queues, and whether they are there.
func (t *topic) find(broker string) (int, bool) {
	return slices.BinarySearchFunc(t.queues, broker, func(q body.QueueData, name string) int { return strings.Compare(q.BrokerName, name) })
}

// setQueuesLocked gives a broker's queues of a topic. It tells whether that changed anything.
func (t *topology) setQueuesLocked(name string, q body.QueueData) bool {
	e := t.topics[name]
	if e == nil {
		t.topics[name] = &topic{queues: []body.QueueData{q}}
		return true
	}
	i, found := e.find(q.BrokerName)
	if found && e.queues[i] == q {
		return false
	}
	queues := slices.Clone(e.queues)
	if found {
		queues[i] = q
	} else {
		queues = slices.Insert(queues, i, q)
	}
	e.queues = queues
	e.cached.Store(nil)
	return true
}

// dropQueuesLocked takes a broker's queues from a topic, and the topic away when none are left.
func (t *topology) dropQueuesLocked(name, broker string) {
	e := t.topics[name]
	if e == nil {
		return
	}
	i, found := e.find(broker)
	if !found {
		return
	}
	if len(e.queues) == 1 {
		delete(t.topics, name)
		return
	}
	e.queues = slices.Delete(slices.Clone(e.queues), i, i+1)
	e.cached.Store(nil)
}

// wipeWriteLocked takes the write permission from a broker's queues of a topic.
func (t *topology) wipeWriteLocked(name, broker string) {
	e := t.topics[name]
	if e == nil {
		return
	}
	if i, found := e.find(broker); found {
		q := e.queues[i]
		q.Perm &^= body.PermWrite
		t.setQueuesLocked(name, q)
	}
}

// minID is the lowest broker id of a name.
func minID(addrs map[int64]string) (int64, bool) {
	lowest, found := int64(0), false
	for id := range addrs {
		if !found || id < lowest {
			lowest, found = id, true
		}
	}
	return lowest, found
}

// touch notes a sign of life (QUERY_DATA_VERSION, BROKER_HEARTBEAT).
func (t *topology) touch(cluster, addr string) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if l := t.live[brokerKey{cluster, addr}]; l != nil {
		l.seen.Store(t.now().UnixMilli())
	}
}

// version is the data version that a broker registered with.
func (t *topology) version(cluster, addr string) (body.DataVersion, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if l := t.live[brokerKey{cluster, addr}]; l != nil {
		return l.version, true
	}
	return body.DataVersion{}, false
}
