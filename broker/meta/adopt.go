package meta

import (
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"apogee/compat/body"
)

// A table of topics or groups whose file was damaged, or is missing, may lack some that are in use: what was not salvaged, or was made after the backup. They
// are made again, as new ones are, from what else is there: a topic has queues, and a group has offsets.

// queueDirs are the directories of queues by topic, with the attribute that their topics have.
var queueDirs = []struct{ dir, attribute, value string }{
	{"batchconsumequeue", "queue.type", "BatchCQ"},
	{"compaction/compactionLog", "cleanup.policy", "COMPACTION"},
	{"consumequeue", "", ""},
}

// adoptDirs makes topics of the directories of queues. The store does not have to be open for it: it asks the table, while it opens, for
// the kind of each topic's queues.
func (t *Topics) adoptDirs() {
	var made []string
	for _, d := range queueDirs {
		root := path.Join(t.opts.Dir, d.dir)
		topics, err := t.opts.FS.ReadDir(root)
		if err != nil {
			continue // there are none, or the store will say why it cannot be read
		}
		for _, topic := range topics {
			queues, err := t.opts.FS.ReadDir(path.Join(root, topic.Name))
			if err != nil || !topic.Dir {
				continue
			}
			last := int32(-1)
			for _, q := range queues {
				if id, err := strconv.ParseInt(q.Name, 10, 32); err == nil && q.Dir {
					last = max(last, int32(id))
				}
			}
			if t.adopt(topic.Name, last, d.attribute, d.value) {
				made = append(made, topic.Name)
			}
		}
	}
	t.tellAdopted(made)
}

// AdoptQueues makes topics of queues that the store has, if the file was damaged or is missing; by topic, the queues' ids.
func (t *Topics) AdoptQueues(queues map[string][]int32) {
	if !t.file.lacking() {
		return
	}
	var made []string
	for _, topic := range slices.Sorted(maps.Keys(queues)) {
		if t.adopt(topic, slices.Max(append(queues[topic], -1)), "", "") {
			made = append(made, topic)
		}
	}
	t.tellAdopted(made)
}

// adopt makes a topic if there is none of that name.
func (t *Topics) adopt(name string, lastQueue int32, attribute, value string) bool {
	if lastQueue < 0 || IsLMQ(name) || ValidateTopic(name) != "" {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.table.get(name); ok {
		return false
	}
	c := body.NewTopicConfig(strings.Clone(name))
	c.ReadQueueNums, c.WriteQueueNums = lastQueue+1, lastQueue+1
	if attribute != "" {
		c.Attributes = map[string]string{attribute: value}
	}
	t.changedLocked(c.TopicName)
	t.putLocked(&c)
	t.version.bump(t.opts.Now())
	t.file.changes.Add(1)
	return true
}

// toldNames is how many names a line of the log has at most.
const toldNames = 20

func (t *Topics) tellAdopted(made []string) {
	if n := len(made); n > 0 {
		t.opts.Log.Warn("topics.json lacks topics that have queues. They are made again; number of queues, permission and attributes may have been others",
			"topics", n, "names", made[:min(n, toldNames)])
	}
}

// Adopt makes groups that are in use, if the file was damaged or is missing.
func (g *Groups) Adopt(names []string) {
	if !g.file.lacking() {
		return
	}
	var made []string
	g.mu.Lock()
	for _, name := range names {
		if _, ok := g.table.get(name); ok || IsLMQ(name) || ValidateGroup(name) != "" {
			continue
		}
		c := body.NewSubscriptionGroupConfig(strings.Clone(name))
		g.table.putLocked(c.GroupName, &c)
		made = append(made, c.GroupName)
	}
	if len(made) > 0 {
		g.version.bump(g.opts.Now())
		g.file.changes.Add(1)
	}
	g.mu.Unlock()
	if n := len(made); n > 0 {
		g.opts.Log.Warn("subscriptionGroup.json lacks groups that have offsets. They are made again; their settings may have been others", "groups", n, "names", made[:min(n, toldNames)])
	}
}

// Groups is every group that has committed anything, in order.
func (o *Offsets) Groups() []string {
	return slices.Compact(o.committed(func(k progressKey) (string, bool) { return k.group, true }))
}
