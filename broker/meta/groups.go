package meta

import (
	"fmt"
	"log/slog"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/store/vfs"
)

// GroupOptions configure the table of subscription groups.
type GroupOptions struct {
	FS  vfs.FS
	Dir string // store root
	Now func() time.Time
	Log *slog.Logger

	LMQ              bool        // enableLmq: light queues' groups need no creation (LmqSubscriptionGroupManager)
	AutoCreate       func() bool // autoCreateSubscriptionGroup
	AutoCreateSystem func() bool // enableCreateSysGroup
}

// Groups is the table of subscription groups (SubscriptionGroupManager). Configurations it hands out are shared and must not be
// changed.
type Groups struct {
	opts    GroupOptions
	file    configFile
	table   *table[body.SubscriptionGroupConfig, struct{}]
	version dataVersion
	extras  fastjson.Extras

	mu        sync.Mutex                                  // guards changes of table and forbidden
	forbidden atomic.Pointer[map[string]map[string]int32] // group, topic, bits; copied on change
}

// Groups that exist from the start (SubscriptionGroupManager.init).
const (
	ToolsGroup  = "TOOLS_CONSUMER"
	TransGroup  = "CID_RMQ_SYS_TRANS"
	onsHTTP     = "CID_ONS-HTTP-PROXY"
	onsPull     = "CID_ONSAPI_PULL"
	onsPerm     = "CID_ONSAPI_PERMISSION"
	onsOwner    = "CID_ONSAPI_OWNER"
	filterGroup = "FILTERSRV_CONSUMER"
	selfTest    = "SELF_TEST_C_GROUP"
)

// MayPull tells whether a group pulls without consumers that have registered, also where rejectPullConsumerEnable forbids it
// (MixAll.isSysConsumerGroupPullMessage).
func MayPull(group string) bool {
	switch group {
	case ToolsGroup, onsHTTP, onsPull, onsPerm, onsOwner, filterGroup, selfTest, "DEFAULT_CONSUMER", "SCHEDULE_CONSUMER", "__MONITOR_CONSUMER":
		return true
	}
	return IsSystemGroup(group)
}

var predefined = [...]string{ToolsGroup, filterGroup, selfTest, onsHTTP, onsPull, onsPerm, onsOwner, TransGroup}

// IsPredefinedGroup tells whether every broker has a group from its start.
func IsPredefinedGroup(name string) bool { return slices.Contains(predefined[:], name) }

// NewGroups makes a table with the predefined groups. Load follows.
func NewGroups(opts GroupOptions) *Groups {
	g := &Groups{opts: opts, table: newTable[body.SubscriptionGroupConfig, struct{}]()}
	g.file = configFile{
		fs: opts.FS, name: path.Join(ConfigDir(opts.Dir), "subscriptionGroup.json"), log: opts.Log, now: opts.Now,
		lost: "Groups that have offsets are made again, as new ones are",
	}
	g.version.set(body.NewDataVersion(opts.Now()))
	g.forbidden.Store(&map[string]map[string]int32{})
	for _, name := range predefined {
		c := body.NewSubscriptionGroupConfig(name)
		g.table.putLocked(name, &c)
	}
	return g
}

// Load reads subscriptionGroup.json; what it says wins over the predefined groups.
func (g *Groups) Load() error {
	return g.file.load(func(text []byte) error {
		var w body.SubscriptionGroupWrapper
		if err := fastjson.Unmarshal(text, &w); err != nil {
			return err
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		for name, c := range w.SubscriptionGroupTable {
			if c == nil {
				continue
			}
			if c.GroupName == "" {
				c.GroupName = name
			}
			g.table.putLocked(name, c)
		}
		if w.ForbiddenTable == nil {
			w.ForbiddenTable = map[string]map[string]int32{}
		}
		g.forbidden.Store(&w.ForbiddenTable)
		g.version.set(w.DataVersion)
		g.extras = w.Extras
		return nil
	})
}

// Get finds a group and creates nothing. It takes no lock and keeps nothing of the name; it allocates nothing but for light queues.
func (g *Groups) Get(name string) (*body.SubscriptionGroupConfig, bool) {
	if g.opts.LMQ && IsLMQ(name) {
		c := body.NewSubscriptionGroupConfig(strings.Clone(name))
		return &c, true
	}
	return g.table.get(name)
}

// Creatable tells whether Ensure would make the group: then a handler that must not block has to go to one that may.
func (g *Groups) Creatable(name string) bool {
	return (g.opts.AutoCreate() || (IsSystemGroup(name) && g.opts.AutoCreateSystem())) && ValidateGroup(name) == ""
}

// Ensure finds a group, or makes it where the configuration allows that (findSubscriptionGroupConfig). Making one blocks on the disk.
func (g *Groups) Ensure(name string) (*body.SubscriptionGroupConfig, bool) {
	if c, ok := g.Get(name); ok {
		return c, true
	}
	if !g.Creatable(name) {
		return nil, false
	}
	var c *body.SubscriptionGroupConfig
	err := g.change(func() bool {
		if old, ok := g.table.get(name); ok {
			c = old
			return false
		}
		n := body.NewSubscriptionGroupConfig(strings.Clone(name))
		c = &n
		g.table.putLocked(n.GroupName, c)
		return true
	})
	if err != nil {
		g.opts.Log.Error("group created but not on disk", "group", c.GroupName, "err", err)
	}
	return c, true
}

// change runs f under the lock and writes the file if f reports a change.
func (g *Groups) change(f func() bool) error {
	g.mu.Lock()
	changed := f()
	if changed {
		g.version.bump(g.opts.Now())
		g.file.changes.Add(1)
	}
	g.mu.Unlock()
	if !changed {
		return nil
	}
	return g.Persist()
}

// Update creates or changes groups as an operator asks; attributes are changes ("+key": value, "-key": ""). Nothing is changed
// if one of them is refused.
func (g *Groups) Update(configs ...*body.SubscriptionGroupConfig) error {
	var refused error
	err := g.change(func() bool {
		next := make([]*body.SubscriptionGroupConfig, 0, len(configs))
		for _, c := range configs {
			n := *c
			old, exists := g.table.get(n.GroupName)
			var had map[string]string
			if exists {
				had = old.Attributes
				n.Extras = merged(old.Extras, n.Extras)
			}
			n.Attributes, refused = alterAttributes(groupAttributes, !exists, had, c.Attributes)
			if refused != nil {
				return false
			}
			next = append(next, &n)
		}
		for _, n := range next {
			g.table.putLocked(n.GroupName, n)
		}
		return len(next) > 0
	})
	if refused != nil {
		return refused
	}
	return err
}

func merged(old, next fastjson.Extras) fastjson.Extras {
	if len(old) == 0 {
		return next
	}
	out := maps.Clone(old)
	maps.Copy(out, next)
	return out
}

// Disable turns a group's consumption off.
func (g *Groups) Disable(name string) error {
	return g.change(func() bool {
		old, ok := g.table.get(name)
		if !ok || !old.ConsumeEnable {
			return false
		}
		n := *old
		n.ConsumeEnable = false
		g.table.putLocked(n.GroupName, &n)
		return true
	})
}

// Delete removes a group and what is forbidden to it. One that is not there is no error.
func (g *Groups) Delete(name string) error {
	return g.change(func() bool {
		_, had := g.table.deleteLocked(name)
		f := *g.forbidden.Load()
		if _, ok := f[name]; ok {
			next := maps.Clone(f)
			delete(next, name)
			g.forbidden.Store(&next)
			return true
		}
		return had
	})
}

// Readable is false if the group has been forbidden to consume the topic.
func (g *Groups) Readable(group, topic string) bool {
	return (*g.forbidden.Load())[group][topic]&body.ForbidRead == 0
}

// SetReadable forbids or allows a group to consume a topic.
func (g *Groups) SetReadable(group, topic string, readable bool) error {
	return g.change(func() bool {
		all := *g.forbidden.Load()
		bits := all[group][topic] | body.ForbidRead
		if readable {
			bits &^= body.ForbidRead
		}
		next := maps.Clone(all)
		topics := maps.Clone(all[group])
		if topics == nil {
			topics = make(map[string]int32, 1)
		}
		if bits == 0 {
			delete(topics, topic)
		} else {
			topics[strings.Clone(topic)] = bits
		}
		if len(topics) == 0 {
			delete(next, group)
		} else {
			next[strings.Clone(group)] = topics
		}
		g.forbidden.Store(&next)
		return true
	})
}

// Forbidden is group, topic, bits. The maps are shared and must not be changed.
func (g *Groups) Forbidden() map[string]map[string]int32 { return *g.forbidden.Load() }

// All is every group, in a map of the caller's own.
func (g *Groups) All() map[string]*body.SubscriptionGroupConfig { return g.table.all() }

// Names is every group's name, in order.
func (g *Groups) Names() []string { return g.table.names() }

// Len is how many groups there are.
func (g *Groups) Len() int { return g.table.len() }

// Version is the data version of the table.
func (g *Groups) Version() body.DataVersion { return g.version.get() }

// Persist writes the file if there is something new.
func (g *Groups) Persist() error {
	return g.file.persist(func() ([]byte, vfs.Same, error) {
		return fastjson.MarshalPretty(&body.SubscriptionGroupWrapper{
			SubscriptionGroupTable: g.table.all(), ForbiddenTable: *g.forbidden.Load(),
			DataVersion: g.version.get(), Extras: g.extras,
		}), vfs.Same{}, nil
	})
}

// String is for logs.
func (g *Groups) String() string { return fmt.Sprintf("%d groups", g.Len()) }
