package meta

import (
	"bytes"
	"maps"
	"strings"

	"apogee/compat/body"
	"apogee/compat/fastjson"
)

// What a slave takes over of its master's tables. The caller decides what goes; nothing goes here because the master lacks it.

// TakeOver puts the topics of another broker's table in place of those of the same name, removes some, and takes on that table's data
// version. The caller does not change configs any more. Nobody is told: a slave's topics are its master's.
func (t *Topics) TakeOver(configs map[string]*body.TopicConfig, remove []string, version body.DataVersion) error {
	t.mu.Lock()
	changed := t.version.get() != version
	for name, c := range configs {
		if c == nil || c.TopicName != "" && c.TopicName != name {
			continue
		}
		c.TopicName = name
		if old, ok := t.table.get(name); ok && same(old, c) {
			continue
		}
		t.changedLocked(name)
		t.putLocked(c)
		changed = true
	}
	for _, name := range remove {
		t.changedLocked(name)
		if _, ok := t.table.deleteLocked(name); ok {
			changed = true
		}
	}
	if changed {
		t.version.set(version)
		t.file.changes.Add(1)
	}
	t.mu.Unlock()
	return t.persist()
}

func same(a, b any) bool { return bytes.Equal(fastjson.Marshal(a), fastjson.Marshal(b)) }

// TakeOver puts the groups of another broker's table in place of those of the same name, with what is forbidden to them, removes some, and
// takes on that table's data version. The caller does not change configs any more.
func (g *Groups) TakeOver(configs map[string]*body.SubscriptionGroupConfig, forbidden map[string]map[string]int32, remove []string, version body.DataVersion) error {
	g.mu.Lock()
	changed := g.version.get() != version
	for name, c := range configs {
		if c == nil || c.GroupName != "" && c.GroupName != name {
			continue
		}
		c.GroupName = name
		if old, ok := g.table.get(name); ok && same(old, c) {
			continue
		}
		g.table.putLocked(name, c)
		changed = true
	}
	for _, name := range remove {
		if _, ok := g.table.deleteLocked(name); ok {
			changed = true
		}
	}
	if next, ok := takeOverForbidden(*g.forbidden.Load(), configs, forbidden, remove); ok {
		g.forbidden.Store(&next)
		changed = true
	}
	if changed {
		g.version.set(version)
		g.file.changes.Add(1)
	}
	g.mu.Unlock()
	return g.Persist()
}

// takeOverForbidden takes what the other table says of its groups, and keeps what it says nothing of.
func takeOverForbidden(old map[string]map[string]int32, configs map[string]*body.SubscriptionGroupConfig, forbidden map[string]map[string]int32, remove []string) (next map[string]map[string]int32, changed bool) {
	next = maps.Clone(old)
	if next == nil {
		next = make(map[string]map[string]int32)
	}
	for name := range configs {
		theirs, ours := forbidden[name], next[name]
		if maps.Equal(theirs, ours) {
			continue
		}
		changed = true
		if len(theirs) == 0 {
			delete(next, name)
		} else {
			next[name] = theirs
		}
	}
	for _, name := range remove {
		if _, ok := next[name]; ok {
			delete(next, name)
			changed = true
		}
	}
	return next, changed
}

// TakeOver puts another broker's orders in place of those for the same topic and group. There is no order to take one back, so that none is
// missing there on purpose.
func (m *Modes) TakeOver(theirs map[string]map[string]body.SetMessageRequestModeRequestBody) error {
	m.mu.Lock()
	for topic, groups := range theirs {
		for group, mode := range groups {
			if old, ok := m.table[topic][group]; ok && old == mode {
				continue
			}
			if m.table[topic] == nil {
				m.table[topic] = make(map[string]body.SetMessageRequestModeRequestBody)
			}
			m.table[topic][group] = mode
			m.file.changes.Add(1)
		}
	}
	m.mu.Unlock()
	return m.Persist()
}

// TakeOver takes over the offsets of another broker's table, which is the text that Encode makes. Where that table is as new as this one or
// newer, its offsets count, and so does its data version. Where it is older, somebody has consumed here while the other broker was away: then
// an offset only moves ahead. What the other table does not have stays.
func (o *Offsets) TakeOver(text []byte) (newer bool, err error) {
	var t body.ConsumerOffsetSerializeWrapper
	if err := fastjson.Unmarshal(text, &t); err != nil {
		return false, err
	}
	newer = t.DataVersion.Compare(o.version.get()) >= 0 || o.Len() == 0
	for key, queues := range t.OffsetTable {
		o.takeOver(key, queues, newer)
	}
	for key, off := range t.LMQOffsetTable {
		o.takeOver(key, map[int32]int64{0: off}, newer)
	}
	if newer && t.DataVersion != o.version.get() {
		o.version.set(t.DataVersion)
		o.file.changes.Add(1)
	}
	return newer, nil
}

func (o *Offsets) takeOver(key string, queues map[int32]int64, newer bool) {
	topic, group, ok := strings.Cut(key, "@")
	if !ok {
		return
	}
	s := o.stripe(group, topic)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.lookupLocked(group, topic, len(queues) > 0)
	for q, off := range queues {
		if old, ok := p.committed.get(q); ok && (old == off || !newer && old > off) {
			continue
		}
		p.committed.set(q, off)
		o.file.changes.Add(1)
	}
}
