package meta

import (
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/filter"
	"apogee/store/record"
	"apogee/store/vfs"
)

// filterFile is its name below config (BrokerPathConfigHelper).
const filterFile = "consumerFilter.json"

// FilterOptions configure the table of filters.
type FilterOptions struct {
	FS    vfs.FS
	Dir   string // store root; the file is in its config folder
	Now   func() time.Time
	Log   *slog.Logger
	Cache *filter.Cache
	Bloom filter.Bloom
	// Kept is filterDataCleanTimeSpan: how long the filter of a group without consumers is remembered.
	Kept func() time.Duration
}

// Filters are the expressions, other than tags, by which groups subscribe to topics (ConsumerFilterManager). They come with heartbeats
// and outlive the consumers, and the broker, for a day.
type Filters struct {
	opts   FilterOptions
	file   configFile
	extras fastjson.Extras

	mu     sync.RWMutex // guards groups
	groups map[string]map[string]*Filter
}

// Filter is a group's filter of a topic. It is immutable, and a store.Filter.
type Filter struct {
	Data       body.ConsumerFilterData
	expression *filter.Expression
}

// MatchTags takes all: the entry of a queue says nothing of properties.
func (f *Filter) MatchTags(int64) bool { return true }

// MatchRecord evaluates the expression.
func (f *Filter) MatchRecord(rec []byte) bool { return MatchExpression(f.expression, rec) }

// MatchExpression evaluates an expression for a stored record. It allocates nothing.
func MatchExpression(e *filter.Expression, rec []byte) bool {
	var h record.Header
	return record.Parse(rec, &h) == nil && e.Match(h.Properties)
}

// dead tells whether the group has no consumers (any more) that filter so.
func (f *Filter) dead() bool { return f.Data.DeadTime >= f.Data.BornTime }

// NewFilters makes an empty table. Load follows.
func NewFilters(opts FilterOptions) *Filters {
	return &Filters{
		opts: opts, groups: make(map[string]map[string]*Filter),
		file: configFile{
			fs: opts.FS, name: path.Join(ConfigDir(opts.Dir), filterFile), log: opts.Log, now: opts.Now,
			lost: "Filters of consumers come back with their next heartbeat",
		},
	}
}

// loadedAge is how long a group counts as dead when its filter is read from the file: nobody is connected then.
const loadedAge = 30 * time.Second

// Load reads the file. If the bloom filter has another size than the one that the file was written with, nothing of it is used; an
// expression that does not compile is left out.
func (f *Filters) Load() error {
	return f.file.load(func(text []byte) error {
		var w body.ConsumerFilterWrapper
		if err := fastjson.Unmarshal(text, &w); err != nil {
			return err
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.extras = w.Extras
		for _, byTopic := range w.FilterDataByTopic {
			for _, d := range byTopic.GroupFilterData {
				if b := d.BloomFilterData; b == nil || !f.opts.Bloom.Fits(b.BitNum, b.BitPos) {
					f.opts.Log.Warn("filters of consumers dropped: the bloom filter has another size now", "group", d.ConsumerGroup, "topic", d.Topic)
					return nil
				}
			}
		}
		for _, byTopic := range w.FilterDataByTopic {
			for _, d := range byTopic.GroupFilterData {
				f.loadLocked(d)
			}
		}
		return nil
	})
}

func (f *Filters) loadLocked(d body.ConsumerFilterData) {
	e, err := f.opts.Cache.Compile(d.ExpressionType, d.Expression)
	if err != nil {
		f.opts.Log.Warn("filter of a consumer group dropped", "group", d.ConsumerGroup, "topic", d.Topic, "err", err)
		return
	}
	if d.DeadTime == 0 {
		d.DeadTime = max(d.BornTime, f.opts.Now().Add(-loadedAge).UnixMilli())
	}
	f.putLocked(&Filter{Data: d, expression: e})
}

func (f *Filters) putLocked(v *Filter) {
	topics := f.groups[v.Data.ConsumerGroup]
	if topics == nil {
		topics = make(map[string]*Filter)
		f.groups[v.Data.ConsumerGroup] = topics
	}
	topics[v.Data.Topic] = v
	f.file.changes.Add(1)
}

func (f *Filters) dropLocked(v *Filter) {
	topics := f.groups[v.Data.ConsumerGroup]
	delete(topics, v.Data.Topic)
	if len(topics) == 0 {
		delete(f.groups, v.Data.ConsumerGroup)
	}
	f.file.changes.Add(1)
}

// Get finds a group's filter of a topic, nil if there is none. It allocates nothing and keeps nothing of the names.
func (f *Filters) Get(topic, group string) *Filter {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.groups[group][topic]
}

// Register notes what a heartbeat says of a group's subscriptions. It keeps nothing of their memory, and does little where they are what
// they were.
//
// A subscription replaces what is known only with a newer version; one whose expression does not compile forgets what was known, so
// that pulls are told. Topics that are not among the subscriptions are dead.
func (f *Filters) Register(group string, subs []body.SubscriptionData) {
	known := f.known(group)
	for i := range subs {
		if s := &subs[i]; !body.IsTagType(s.ExpressionType) && s.SubString != "" {
			f.register(group, s)
			known = true
		}
	}
	if known {
		f.bury(group, topicsOf(subs))
	}
}

func (f *Filters) known(group string) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.groups[group] != nil
}

func (f *Filters) register(group string, s *body.SubscriptionData) {
	old := f.Get(s.Topic, group)
	if old != nil && (s.SubVersion < old.Data.ClientVersion || s.SubVersion == old.Data.ClientVersion && !old.dead()) {
		return
	}
	e, err := f.opts.Cache.Compile(s.ExpressionType, s.SubString)
	if err != nil {
		f.opts.Log.Warn("filter of a consumer group refused", "group", group, "topic", s.Topic, "err", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	old = f.groups[group][s.Topic]
	if next := f.next(old, e, group, s); next != nil {
		f.putLocked(next)
	} else if old != nil && err != nil && s.SubVersion > old.Data.ClientVersion {
		f.dropLocked(old)
	}
}

// next is the filter that follows old, nil for none. e is nil for an expression that does not compile.
func (f *Filters) next(old *Filter, e *filter.Expression, group string, s *body.SubscriptionData) *Filter {
	if old != nil {
		d := old.Data
		same := d.Expression == s.SubString && d.ExpressionType == s.ExpressionType
		switch {
		case s.SubVersion < d.ClientVersion, s.SubVersion == d.ClientVersion && !old.dead():
			return nil
		case s.SubVersion == d.ClientVersion, same:
			d.ClientVersion, d.DeadTime = s.SubVersion, 0
			return &Filter{Data: d, expression: old.expression}
		}
	}
	if e == nil {
		return nil
	}
	group, topic := strings.Clone(group), strings.Clone(s.Topic)
	return &Filter{expression: e, Data: body.ConsumerFilterData{
		ConsumerGroup: group, Topic: topic, Expression: strings.Clone(s.SubString), ExpressionType: strings.Clone(s.ExpressionType),
		BornTime: f.opts.Now().UnixMilli(), ClientVersion: s.SubVersion,
		BloomFilterData: &body.BloomFilterData{BitNum: int32(f.opts.Bloom.Bits()), BitPos: f.opts.Bloom.Positions(group + "#" + topic)},
	}}
}

// Unregister notes that a group has no consumers any more.
func (f *Filters) Unregister(group string) {
	if f.known(group) {
		f.bury(group, topicSet{})
	}
}

// maxDead is how many filters a group has at most for which dead ones are remembered: a client that makes up topics would fill the memory.
const maxDead = 1000

// bury marks the group's filters as dead, except those of the subscriptions that it has.
func (f *Filters) bury(group string, but topicSet) {
	if !f.stale(group, but) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.opts.Now().UnixMilli()
	many := len(f.groups[group]) > maxDead
	for topic, v := range f.groups[group] {
		switch dead := v.dead(); {
		case !dead && but.has(topic):
		case many:
			f.dropLocked(v)
		case !dead:
			next := *v
			next.Data.DeadTime = now
			f.putLocked(&next)
		}
	}
}

func (f *Filters) stale(group string, but topicSet) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for topic, v := range f.groups[group] {
		if !v.dead() && !but.has(topic) {
			return true
		}
	}
	return false
}

// topicSet is the topics of subscriptions. There are few, as a rule; many are looked up by name, since a lock is held meanwhile.
type topicSet struct {
	subs  []body.SubscriptionData
	names map[string]struct{} // nil for few
}

const fewTopics = 32

func topicsOf(subs []body.SubscriptionData) topicSet {
	s := topicSet{subs: subs}
	if len(subs) > fewTopics {
		s.names = make(map[string]struct{}, len(subs))
		for i := range subs {
			s.names[subs[i].Topic] = struct{}{}
		}
	}
	return s
}

func (s *topicSet) has(topic string) bool {
	if s.names != nil {
		_, ok := s.names[topic]
		return ok
	}
	return slices.ContainsFunc(s.subs, func(d body.SubscriptionData) bool { return d.Topic == topic })
}

// Persist forgets what has been dead for long and writes the file if there is something new.
func (f *Filters) Persist() error {
	f.clean()
	return f.file.persist(func() ([]byte, vfs.Same, error) {
		f.mu.RLock()
		defer f.mu.RUnlock()
		w := body.ConsumerFilterWrapper{FilterDataByTopic: make(map[string]body.FilterDataMapByTopic), Extras: f.extras}
		for group, topics := range f.groups {
			for topic, v := range topics {
				t, ok := w.FilterDataByTopic[topic]
				if !ok {
					t = body.FilterDataMapByTopic{Topic: topic, GroupFilterData: make(map[string]body.ConsumerFilterData)}
					w.FilterDataByTopic[topic] = t
				}
				t.GroupFilterData[group] = v.Body()
			}
		}
		return fastjson.MarshalPretty(&w), vfs.Same{}, nil
	})
}

// Body is the filter as Java writes it.
func (f *Filter) Body() body.ConsumerFilterData {
	d := f.Data
	d.Dead = f.dead()
	return d
}

func (f *Filters) clean() {
	limit := f.opts.Now().Add(-f.opts.Kept()).UnixMilli()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, topics := range f.groups {
		for _, v := range topics {
			if v.dead() && v.Data.DeadTime <= limit {
				f.dropLocked(v)
			}
		}
	}
}
