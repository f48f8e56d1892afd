package meta

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/store/vfs"
)

// ErrMixedType refuses the message type MIXED where enableMixedMessageType is off.
var ErrMixedType = errors.New("MIXED message type is not supported.") //nolint:staticcheck // Java's text

// TopicOptions configure the table of topics.
type TopicOptions struct {
	FS  vfs.FS
	Dir string // store root
	Now func() time.Time
	Log *slog.Logger

	System []body.TopicConfig // put at every start, below what the file says; see [SystemTopics]
	// LMQ is enableLmq: every name of a light queue is a topic of one queue then, though no table holds it (LmqTopicConfigManager).
	LMQ bool
	// AutoCreate is autoCreateTopicEnable, asked for each creation: a TBW102 left over from a time when it was on creates nothing.
	AutoCreate func() bool
	// OnChange hears of every topic that was created or changed, after it is on disk, on the goroutine of the change; deleted
	// topics are not reported, as Java leaves their routes to whoever deletes them. It may block.
	// The version is that of this very change: a name server takes a topic that it knows only with a version that it does not.
	OnChange func(changed []*body.TopicConfig, version body.DataVersion)
}

// Topics is the table of topics (TopicConfigManager). Configurations it hands out are shared and must not be changed.
type Topics struct {
	opts    TopicOptions
	file    configFile
	table   *table[body.TopicConfig, Topic]
	version dataVersion
	extras  fastjson.Extras // top-level members of the file that we do not know; set by Load, then constant
	system  map[string]bool

	mu      sync.Mutex      // guards changes of table, and what follows
	changed map[string]bool // topics whose entries in text are out of date; true for those that have none there

	text *tableText // the file's, nil until something changes; under file.mu
}

// SystemConfig is what the set of system topics depends on.
type SystemConfig struct {
	Cluster, Broker          string
	AutoCreate               bool
	DefaultQueues            int32
	ClusterTopic             bool
	BrokerTopic              bool
	TraceTopic               string // "" for none
	ReviveQueues, DelayLevel int32
	Timer                    bool
}

// MembersTopic is a topic that all brokers of a name have, so that its route tells who they are.
func MembersTopic(broker string) string { return sysTopicPrefix + "SYNC_BROKER_MEMBER_" + broker }

// SystemTopics are the topics that a broker always has (store.md 10.3; TopicConfigManager.init).
func SystemTopics(c SystemConfig) []body.TopicConfig {
	const rw = body.PermRead | body.PermWrite
	var out []body.TopicConfig
	add := func(name string, queues, perm int32) {
		t := body.NewTopicConfig(name)
		t.ReadQueueNums, t.WriteQueueNums, t.Perm = queues, queues, perm
		out = append(out, t)
	}
	permOf := func(enabled bool) int32 {
		if enabled {
			return body.PermInherit | rw
		}
		return body.PermInherit
	}
	add(SelfTestTopic, 1, rw)
	if c.AutoCreate {
		add(AutoCreateTopic, c.DefaultQueues, body.PermInherit|rw)
	}
	add(BenchmarkTopic, 1024, rw)
	add(c.Cluster, 16, permOf(c.ClusterTopic))
	add(c.Broker, 1, permOf(c.BrokerTopic))
	add(OffsetMovedTopic, 1, rw)
	add(ScheduleTopic, c.DelayLevel, rw)
	if c.TraceTopic != "" {
		add(c.TraceTopic, 1, rw)
	}
	add(c.Cluster+"_REPLY_TOPIC", 1, rw)
	add(sysTopicPrefix+"REVIVE_LOG_"+c.Cluster, c.ReviveQueues, rw)
	add(MembersTopic(c.Broker), 1, body.PermInherit)
	// The RocksDB pair belongs to transRocksDBEnable by its documentation; Java 5.5.0 creates it in any case.
	for _, t := range []string{HalfTopic, OpHalfTopic, RocksDBHalfTopic, RocksDBOpHalfTopic} {
		add(t, 1, rw)
	}
	if c.Timer {
		add(TimerTopic, 1, rw)
	}
	return out
}

// NewTopics makes a table that holds the system topics. Load follows.
func NewTopics(opts TopicOptions) *Topics {
	t := &Topics{opts: opts, table: newTable[body.TopicConfig, Topic](), system: maps.Clone(systemTopics)}
	t.file = configFile{
		fs: opts.FS, name: path.Join(ConfigDir(opts.Dir), "topics.json"), log: opts.Log, now: opts.Now,
		lost: "Topics that have queues are made again, as new ones are",
	}
	t.version.set(body.NewDataVersion(opts.Now()))
	for i := range opts.System {
		t.system[opts.System[i].TopicName] = true
		t.putLocked(&opts.System[i])
	}
	return t
}

// Load reads topics.json; what it says wins over the system topics. If it was damaged, topics that it lacks are made of their queues.
func (t *Topics) Load() error {
	err := t.file.load(func(text []byte) error {
		var w body.TopicConfigSerializeWrapper
		if err := fastjson.Unmarshal(text, &w); err != nil {
			return err
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		for name, c := range w.TopicConfigTable {
			if c == nil {
				continue
			}
			if c.TopicName == "" {
				c.TopicName = name
			}
			if c.TopicName == name {
				t.putLocked(c)
			} else {
				t.table.moreLocked(name).setLocked(name, c)
				t.table.putLocked(name, c)
			}
		}
		t.version.set(w.DataVersion)
		t.extras = w.Extras
		return nil
	})
	if err == nil && t.file.lacking() {
		t.adoptDirs()
	}
	return err
}

// Get finds a topic. It takes no lock and keeps nothing of the name; it allocates nothing but for light queues.
func (t *Topics) Get(name string) (*body.TopicConfig, bool) {
	if t.opts.LMQ && IsLMQ(name) {
		return lightTopic(name), true
	}
	return t.table.get(name)
}

// lightTopic is made for each caller, since there may be any number of light queues.
func lightTopic(name string) *body.TopicConfig {
	c := body.NewTopicConfig(strings.Clone(name))
	c.ReadQueueNums, c.WriteQueueNums = 1, 1
	return &c
}

// Order tells whether a topic is marked for ordered consumption.
func (t *Topics) Order(name string) bool {
	c, ok := t.table.get(name)
	return ok && c.Order
}

// All is every topic, in a map of the caller's own.
func (t *Topics) All() map[string]*body.TopicConfig { return t.table.all() }

// Names is every topic's name, in order.
func (t *Topics) Names() []string { return t.table.names() }

// Len is how many topics there are.
func (t *Topics) Len() int { return t.table.len() }

// Version is the data version of the table.
func (t *Topics) Version() body.DataVersion { return t.version.get() }

// Bump makes a new data version although no topic has changed, for a change of the broker's own permission that routes must follow.
func (t *Topics) Bump() error {
	t.version.bump(t.opts.Now())
	t.file.changes.Add(1)
	return t.persist()
}

// IsSystem tells whether a topic is reserved for the broker (TopicValidator.isSystemTopic).
func (t *Topics) IsSystem(name string) bool {
	return t.system[name] || strings.HasPrefix(name, sysTopicPrefix)
}

// SystemNames is the set of reserved topics, in order.
func (t *Topics) SystemNames() []string { return slices.Sorted(maps.Keys(t.system)) }

// Update creates or changes topics as an operator asks: the attributes of each are changes ("+key": value, "-key": ""), all else replaces
// what there was. Nothing is changed if one of them is refused.
func (t *Topics) Update(configs ...*body.TopicConfig) error {
	err := t.change(func() ([]*body.TopicConfig, error) {
		out := make([]*body.TopicConfig, 0, len(configs))
		for _, c := range configs {
			next := cloneTopic(c)
			old, exists := t.table.get(next.TopicName)
			var had map[string]string
			if exists {
				had = old.Attributes
				next.Extras = old.Extras
			}
			attrs, err := alterAttributes(topicAttributes, !exists, had, c.Attributes)
			if err != nil {
				return nil, err
			}
			next.Attributes = attrs
			out = append(out, next)
		}
		return out, nil
	})
	return err
}

// Same tells whether a topic is already as an operator wants it.
func (t *Topics) Same(c *body.TopicConfig) bool {
	old, ok := t.table.get(c.TopicName)
	return ok && old.ReadQueueNums == c.ReadQueueNums && old.WriteQueueNums == c.WriteQueueNums && old.Perm == c.Perm &&
		old.TopicFilterType == c.TopicFilterType && old.TopicSysFlag == c.TopicSysFlag && old.Order == c.Order &&
		maps.Equal(old.Attributes, c.Attributes)
}

// Put creates or replaces topics as they are, attributes included.
func (t *Topics) Put(configs ...*body.TopicConfig) error {
	return t.change(func() ([]*body.TopicConfig, error) {
		out := make([]*body.TopicConfig, len(configs))
		for i, c := range configs {
			out[i] = cloneTopic(c)
		}
		return out, nil
	})
}

func cloneTopic(c *body.TopicConfig) *body.TopicConfig {
	next := *c
	next.TopicName = strings.Clone(c.TopicName)
	next.TopicFilterType = strings.Clone(c.TopicFilterType)
	return &next
}

// change puts what f makes under the lock, writes the file and tells OnChange. The topics are in force even if the file cannot
// be written, as in Java; the error says so, and what is new stays so.
func (t *Topics) change(f func() ([]*body.TopicConfig, error)) error {
	t.mu.Lock()
	changed, err := f()
	if err != nil || len(changed) == 0 {
		t.mu.Unlock()
		return err
	}
	for _, c := range changed {
		if _, exists := t.table.get(c.TopicName); !exists {
			t.table.moreLocked(c.TopicName).newLocked()
		}
		t.changedLocked(c.TopicName)
		t.putLocked(c)
	}
	version := t.version.bump(t.opts.Now())
	t.file.changes.Add(1)
	t.mu.Unlock()

	err = t.save(changed)
	if t.opts.OnChange != nil {
		t.opts.OnChange(changed, version)
	}
	return err
}

// Saved returns when a topic is on disk, or why it cannot be written. It waits for a write that is under way.
func (t *Topics) Saved(c *body.TopicConfig) error { return t.save([]*body.TopicConfig{c}) }

// save writes the file. What is in the table then is not new any more.
func (t *Topics) save(configs []*body.TopicConfig) error {
	if err := t.persist(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range configs {
		if now, ok := t.table.get(c.TopicName); ok && now == c { // otherwise somebody else writes a later one
			t.table.moreLocked(c.TopicName).savedLocked()
		}
	}
	return nil
}

// Delete removes topics. Those that are not there are no error.
func (t *Topics) Delete(names ...string) error {
	t.mu.Lock()
	found := false
	for _, n := range names {
		t.changedLocked(n)
		if _, ok := t.table.deleteLocked(n); ok {
			found = true
		}
	}
	if !found {
		t.mu.Unlock()
		return nil
	}
	t.version.bump(t.opts.Now())
	t.file.changes.Add(1)
	t.mu.Unlock()
	return t.persist()
}

// CreateOnSend makes a topic that a producer sends to, after the model of defaultTopic (behaviour.md 2.3). It returns the topic
// that was there already, if another request was first, and false if the default topic may not be copied. It blocks on the disk and on
// the name servers. If the topic could not be written it is new still, as is one that another request is about to write.
func (t *Topics) CreateOnSend(topic, defaultTopic string, queues, sysFlag int32, remote string) (*body.TopicConfig, bool) {
	var made *body.TopicConfig
	err := t.change(func() ([]*body.TopicConfig, error) {
		if c, ok := t.table.get(topic); ok {
			made = c
			return nil, nil
		}
		model, ok := t.table.get(defaultTopic)
		if !ok || model.Perm&body.PermInherit == 0 || (defaultTopic == AutoCreateTopic && !t.opts.AutoCreate()) {
			return nil, nil
		}
		c := body.NewTopicConfig(strings.Clone(topic))
		n := max(0, min(queues, model.WriteQueueNums))
		c.ReadQueueNums, c.WriteQueueNums = n, n
		c.Perm = model.Perm &^ body.PermInherit
		c.TopicSysFlag, c.TopicFilterType = sysFlag, model.TopicFilterType
		made = &c
		return []*body.TopicConfig{made}, nil
	})
	t.created(made, defaultTopic, remote, err)
	return made, made != nil
}

func (t *Topics) created(c *body.TopicConfig, model, remote string, err error) {
	switch {
	case err != nil:
		t.opts.Log.Error("topic created but not on disk", "topic", c.TopicName, "err", err)
	case c == nil:
		t.opts.Log.Warn("topic not created: the default topic may not be copied", "default", model, "addr", remote)
	default:
		t.opts.Log.Info("topic created", "topic", c.TopicName, "default", model, "queues", c.WriteQueueNums, "addr", remote)
	}
}

// CreateOnSendBack makes a retry or dead letter topic if it is missing (createTopicInSendMessageBackMethod). The order flag of
// one that exists follows order.
func (t *Topics) CreateOnSendBack(topic string, queues, perm int32, order bool, sysFlag int32) (*body.TopicConfig, error) {
	if c, ok := t.table.get(topic); ok && c.Order == order {
		return c, nil // the common case, on every heartbeat
	}
	var made *body.TopicConfig
	err := t.change(func() ([]*body.TopicConfig, error) {
		if c, ok := t.table.get(topic); ok {
			made = c
			if c.Order == order {
				return nil, nil
			}
			made = cloneTopic(c)
			made.Order = order
			return []*body.TopicConfig{made}, nil
		}
		c := body.NewTopicConfig(strings.Clone(topic))
		c.ReadQueueNums, c.WriteQueueNums = queues, queues
		c.Perm, c.Order, c.TopicSysFlag = perm, order, sysFlag
		made = &c
		return []*body.TopicConfig{made}, nil
	})
	return made, err
}

// SetOrder marks the topics for which the name servers have an order configuration. Topics without one keep their mark, as in Java.
func (t *Topics) SetOrder(ordered []string) error {
	return t.change(func() ([]*body.TopicConfig, error) {
		var out []*body.TopicConfig
		for _, name := range ordered {
			if c, ok := t.table.get(name); ok && !c.Order {
				next := cloneTopic(c)
				next.Order = true
				out = append(out, next)
			}
		}
		return out, nil
	})
}

// Persist writes the file if there is something new.
func (t *Topics) Persist() error { return t.persist() }

func (t *Topics) persist() error { return t.file.persist(t.encode) }

// putLocked puts a topic that nobody else has yet.
func (t *Topics) putLocked(c *body.TopicConfig) {
	c.TopicName = t.table.ownLocked(c.TopicName)
	t.table.moreLocked(c.TopicName).setLocked(c.TopicName, c)
	t.table.putLocked(c.TopicName, c)
}

// changedLocked notes that a topic is about to change.
func (t *Topics) changedLocked(name string) {
	if _, noted := t.changed[name]; noted {
		return
	}
	if t.changed == nil {
		t.changed = make(map[string]bool)
	}
	_, exists := t.table.get(name)
	t.changed[strings.Clone(name)] = !exists
}

// rebuildFrom is from how many changes on the text is made anew instead of entry by entry.
const rebuildFrom = 64

// encode brings the text of the file up to date.
func (t *Topics) encode() ([]byte, vfs.Same, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	changed := t.changed
	t.changed = nil
	anew := t.text == nil || len(changed) > rebuildFrom
	if anew {
		t.text = &tableText{table: "topicConfigTable"}
	}
	if err := t.text.frame(fastjson.MarshalPretty(&body.TopicConfigSerializeWrapper{DataVersion: t.version.get(), Extras: t.extras})); err != nil {
		t.text = nil
		return nil, vfs.Same{}, err
	}
	if anew {
		names := t.table.names()
		t.text.grow(len(names) * entrySize)
		for _, name := range names {
			c, _ := t.table.get(name)
			t.text.add(name, topicEntry(c))
		}
	} else {
		for _, name := range slices.Sorted(maps.Keys(changed)) {
			t.encodeTopic(name, changed[name])
		}
	}
	text, same := t.text.take()
	return text, same, nil
}

func (t *Topics) encodeTopic(name string, fresh bool) {
	c, exists := t.table.get(name)
	switch {
	case exists && fresh:
		t.text.add(name, topicEntry(c))
	case exists:
		t.text.replace(name, topicEntry(c))
	case !fresh:
		t.text.remove(name)
	}
}

// String is for logs.
func (t *Topics) String() string { return fmt.Sprintf("%d topics", t.Len()) }
