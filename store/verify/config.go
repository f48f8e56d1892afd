package verify

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"apogee/compat/body"
	"apogee/compat/fastjson"
)

// configs is what the configuration files hold that is compared with something else.
type configs struct {
	topics  map[string]*body.TopicConfig // nil if there is no such file
	offsets []offsets
	delay   map[int32]int64
	order   map[string]map[int32]orderInfo

	delays map[int32][]int64 // of the schedule topic, by queue: see dueOtherwise
}

// offsets is a table of consumer offsets, and the file it is from.
type offsets struct {
	file  string
	table map[string]map[int32]int64 // by topic@group and queue
}

// orderInfo is what verify looks at of consumerOrderInfo.json.
type orderInfo struct {
	Offsets []int64 `json:"o"`
	Acked   int64   `json:"cm"`
}

// configMost bounds the size of a configuration file that is read.
const configMost = 512 << 20

// A configFile is one file of configuration that is known by name. parse reads its text and says what cannot be in it; keep says whether what is
// read counts: it is the file that a start would take.
type configFile struct {
	name  string
	parse func(r *run, text []byte, keep bool) (odd []string, err error)
}

func configFiles() []configFile {
	return []configFile{
		{"topics.json", parseTopics},
		{"subscriptionGroup.json", parseGroups},
		{"consumerOffset.json", parseOffsets},
		{"lmqConsumerOffset.json", parseOffsets},
		{"delayOffset.json", parseDelay},
		{"consumerOrderInfo.json", parseOrder},
		{"consumerFilter.json", parseInto[body.ConsumerFilterWrapper]},
		{"messageRequestMode.json", parseInto[body.MessageRequestModeSerializeWrapper]},
		{"topicQueueMapping.json", parseInto[body.TopicQueueMappingSerializeWrapper]},
		{"timermetrics", parseInto[body.TimerMetrics]},
		{"transactionMetrics", parseInto[body.TransactionMetrics]},
	}
}

// parseInto is for files of which nothing is compared.
func parseInto[T any](_ *run, text []byte, _ bool) ([]string, error) {
	var v T
	return nil, fastjson.Unmarshal(text, &v)
}

// checkConfigs reads the configuration files.
func (r *run) checkConfigs() error {
	known := map[string]bool{"timercheck": true}
	for _, f := range configFiles() {
		known[f.name] = true
		r.checkConfig(path.Join("config", f.name), f.parse)
	}
	list, err := fs.ReadDir(r.Root, "config")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	done := map[string]bool{}
	for _, e := range list {
		name := strings.TrimSuffix(e.Name(), ".bak")
		if e.IsDir() || known[name] || done[name] || !strings.HasSuffix(name, ".json") {
			continue
		}
		done[name] = true
		r.checkConfig(path.Join("config", name), func(_ *run, text []byte, _ bool) ([]string, error) {
			_, err := fastjson.Normalize(nil, text)
			return nil, err
		})
	}
	return nil
}

// checkConfig reads a file and its backup as a broker does: the backup counts where the file cannot be read.
func (r *run) checkConfig(name string, parse func(*run, []byte, bool) ([]string, error)) {
	main, there := r.readConfig(name, parse, true)
	backup, backupThere := r.readConfig(name+".bak", parse, main != nil)
	if !there && !backupThere {
		return
	}
	report := func(kind Kind, level Level, file, text string) {
		r.report(Finding{Kind: kind, Level: level, File: file, At: -1, Text: text})
	}
	switch {
	case main == nil:
	case backupThere && backup == nil && there:
		report(ConfigUnread, Recoverable, name, fmt.Sprintf("cannot be read: %v; a start takes the backup", main))
	case backupThere && backup == nil:
		report(ConfigUnread, Recoverable, name, "is not there; a start takes the backup")
	default:
		report(ConfigUnread, Damage, name, fmt.Sprintf("cannot be read: %v; nor can a backup: %v", main, backup))
	}
	if main == nil && backup != nil && backupThere {
		report(ConfigBackup, Recoverable, name+".bak", fmt.Sprintf("cannot be read: %v; the next change of %s replaces it", backup, path.Base(name)))
	}
}

// readConfig reads one file; the error is why a broker would not take it.
func (r *run) readConfig(name string, parse func(*run, []byte, bool) ([]string, error), keep bool) (why error, there bool) {
	text, err := readLimited(r.Root, name, configMost)
	if errors.Is(err, fs.ErrNotExist) {
		return fs.ErrNotExist, false
	}
	if err != nil {
		r.unreadable(name, -1, err)
		return err, true
	}
	r.res.ConfigFiles++
	if len(text) == 0 {
		return errors.New("it is empty"), true
	}
	odd, err := parse(r, text, keep)
	if err != nil {
		return err, true
	}
	if keep {
		slices.Sort(odd)
		for _, o := range odd {
			r.report(Finding{Kind: ConfigValue, Level: Damage, File: name, At: -1, Text: o})
		}
	}
	return nil, true
}

func parseTopics(r *run, text []byte, keep bool) (odd []string, err error) {
	var t body.TopicConfigSerializeWrapper
	if err := fastjson.Unmarshal(text, &t); err != nil {
		return nil, err
	}
	if t.TopicConfigTable == nil {
		t.TopicConfigTable = map[string]*body.TopicConfig{}
	}
	for name, c := range t.TopicConfigTable {
		say := func(format string, args ...any) {
			odd = append(odd, fmt.Sprintf("topic %s: ", name)+fmt.Sprintf(format, args...))
		}
		switch {
		case c == nil:
			say("null")
			delete(t.TopicConfigTable, name)
		case c.TopicName != name:
			say("its name is %q", c.TopicName)
		case c.ReadQueueNums < 0 || c.WriteQueueNums < 0:
			say("%d queues to read, %d to write", c.ReadQueueNums, c.WriteQueueNums)
		case c.Perm&^15 != 0:
			say("permission %d", c.Perm)
		}
		if c != nil {
			switch kind := c.Attributes["queue.type"]; kind {
			case "", "SimpleCQ", "BatchCQ":
			default:
				say("queue.type=%s", kind)
			}
		}
	}
	if keep {
		r.conf.topics = t.TopicConfigTable
	}
	return odd, nil
}

func parseGroups(_ *run, text []byte, _ bool) (odd []string, err error) {
	var g body.SubscriptionGroupWrapper
	if err := fastjson.Unmarshal(text, &g); err != nil {
		return nil, err
	}
	for name, c := range g.SubscriptionGroupTable {
		switch {
		case c == nil:
			odd = append(odd, fmt.Sprintf("group %s: null", name))
		case c.GroupName != name:
			odd = append(odd, fmt.Sprintf("group %s: its name is %q", name, c.GroupName))
		case c.RetryQueueNums < 0:
			odd = append(odd, fmt.Sprintf("group %s: %d retry queues", name, c.RetryQueueNums))
		}
	}
	return odd, nil
}

func parseOffsets(r *run, text []byte, keep bool) (odd []string, err error) {
	var w body.ConsumerOffsetSerializeWrapper
	if err := fastjson.Unmarshal(text, &w); err != nil {
		return nil, err
	}
	table := w.OffsetTable
	if table == nil {
		table = map[string]map[int32]int64{}
	}
	file := "config/consumerOffset.json"
	if w.LMQOffsetTable != nil {
		file = "config/lmqConsumerOffset.json"
		for key, off := range w.LMQOffsetTable {
			if table[key] == nil {
				table[key] = map[int32]int64{0: off}
			}
		}
	}
	for key, queues := range table {
		if topic, group, ok := strings.Cut(key, "@"); !ok || topic == "" || group == "" {
			odd = append(odd, fmt.Sprintf("%q is not topic@group", key))
		}
		for id, off := range queues {
			if id < 0 || off < 0 {
				odd = append(odd, fmt.Sprintf("%s: queue %d, offset %d", key, id, off))
			}
		}
	}
	if keep {
		r.conf.offsets = append(r.conf.offsets, offsets{file, table})
	}
	return odd, nil
}

func parseDelay(r *run, text []byte, keep bool) (odd []string, err error) {
	var w body.DelayOffsetSerializeWrapper
	if err := fastjson.Unmarshal(text, &w); err != nil {
		return nil, err
	}
	for level, off := range w.OffsetTable {
		if level < 1 || off < 0 {
			odd = append(odd, fmt.Sprintf("level %d, offset %d", level, off))
		}
	}
	if keep {
		r.conf.delay = w.OffsetTable
	}
	return odd, nil
}

func parseOrder(r *run, text []byte, keep bool) (odd []string, err error) {
	var w struct {
		Table map[string]map[int32]orderInfo `json:"table"`
	}
	if err := fastjson.Unmarshal(text, &w); err != nil {
		return nil, err
	}
	for key, queues := range w.Table {
		for id, o := range queues {
			if n := len(o.Offsets); n > 64 || n > 0 && o.Offsets[0] < 0 || n < 63 && o.Acked>>n != 0 {
				odd = append(odd, fmt.Sprintf("%s: queue %d has out %d messages from %d, of which %b are acknowledged", key, id, n, o.Offsets[:min(n, 1)], o.Acked))
			}
		}
	}
	if keep {
		r.conf.order = w.Table
	}
	return odd, nil
}

// checkOffsets compares offsets with the queues that they count in, when those have been read.
func (r *run) checkOffsets() error {
	if r.rocksQueues() {
		return nil
	}
	for _, o := range r.conf.offsets {
		for _, key := range sorted(o.table) {
			topic, group, _ := strings.Cut(key, "@")
			for id, off := range o.table[key] {
				r.checkOffset(o.file, "group "+group, topic, id, off)
			}
		}
	}
	for level, off := range r.conf.delay {
		r.checkOffset("config/delayOffset.json", fmt.Sprintf("delay level %d", level), "SCHEDULE_TOPIC_XXXX", level-1, off)
	}
	for _, key := range sorted(r.conf.order) {
		topic, group, _ := strings.Cut(key, "@")
		for id, o := range r.conf.order[key] {
			if len(o.Offsets) > 0 {
				r.checkOffset("config/consumerOrderInfo.json", "what is out of group "+group, topic, id, o.Offsets[0])
			}
		}
	}
	return nil
}

func (r *run) checkOffset(file, who, topic string, id int32, off int64) {
	q := r.queues.get(topic, id)
	f := Finding{Kind: OffsetRange, Level: r.afterCrash(), File: file, At: -1, Topic: topic, Queue: id, Offset: off}
	switch {
	case q == nil && off > 0:
		f.Text = fmt.Sprintf("%s is at %d of %s/%d, and there is no such queue", who, off, topic, id)
		if r.conf.topics[topic] == nil {
			f.Level = Note
		}
	case q != nil && off > q.max && q.behind.n == 0:
		f.Text = fmt.Sprintf("%s is at %d of %s/%d, which ends at %d", who, off, topic, id, q.max)
	default:
		return
	}
	if r.Live {
		f.Level = Note // the queue's end may be in memory only
	}
	r.report(f)
}
