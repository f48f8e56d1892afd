package timer

import (
	"fmt"
	"log/slog"
	"path"
	"sync"
	"time"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/store/vfs"
)

// metrics counts what waits for each real topic (Java TimerMetrics): config/timermetrics, and the answer to request 61.
type metrics struct {
	now func() time.Time

	mu      sync.Mutex // guards what follows
	counts  map[string]*body.Metric
	version body.DataVersion
	changed bool

	topic string // the one that was counted last
	last  *body.Metric
}

func (m *metrics) init(now func() time.Time) {
	m.now, m.counts, m.version = now, make(map[string]*body.Metric), body.NewDataVersion(now())
}

// add counts n more messages for a topic.
func (m *metrics) add(topic []byte, n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last == nil || m.topic != string(topic) {
		m.topic = string(topic)
		if m.last = m.counts[m.topic]; m.last == nil {
			m.last = new(body.Metric)
			m.counts[m.topic] = m.last
		}
	}
	now := m.now()
	m.last.Count += n
	m.last.TimeStamp = now.UnixMilli()
	m.version = m.version.Next(0, now)
	m.changed = true
}

// adopt takes over another broker's counts, where its data version is another one.
func (m *metrics) adopt(t *body.TimerMetrics) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t.DataVersion == m.version {
		return
	}
	m.version, m.counts, m.changed = t.DataVersion, make(map[string]*body.Metric, len(t.TimingCount)), true
	m.topic, m.last = "", nil
	for topic, c := range t.TimingCount {
		m.counts[topic] = &c
	}
}

// remove forgets a topic.
func (m *metrics) remove(topic string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.counts[topic]; ok {
		delete(m.counts, topic)
		m.topic, m.last = "", nil
		m.changed = true
	}
}

// revise sets the counts to what was found in the timer log, by the hash of the topics. Topics that share one keep theirs
// (TimerMessageStore.checkAndReviseMetrics).
func (m *metrics) revise(found map[int32]int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := make(map[int32]int, len(m.counts))
	for topic := range m.counts {
		seen[topicHash([]byte(topic))]++
	}
	for topic, c := range m.counts {
		if h := topicHash([]byte(topic)); seen[h] == 1 && c.Count != found[h] {
			c.Count = found[h]
			m.changed = true
		}
	}
}

// reset sets all counts to zero.
func (m *metrics) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.counts {
		c.Count = 0
	}
	m.changed = true
}

func (m *metrics) json() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.jsonLocked()
}

func (m *metrics) jsonLocked() []byte {
	t := body.TimerMetrics{DataVersion: m.version, TimingCount: make(map[string]body.Metric, len(m.counts))}
	for topic, c := range m.counts {
		t.TimingCount[topic] = *c
	}
	return fastjson.Marshal(&t)
}

// takeChanged is the content of the file, nil if it has not changed.
func (m *metrics) takeChanged() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.changed {
		return nil
	}
	m.changed = false
	return m.jsonLocked()
}

// again has the file written once more, since it could not be.
func (m *metrics) again() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changed = true
}

func metricsName(dir string) string { return path.Join(dir, "config", "timermetrics") }

// load reads the file or its backup. A missing one, and one that cannot be read, is empty: the counts are only told to operators.
func (m *metrics) load(fsys vfs.FS, dir string, log *slog.Logger) error {
	small := vfs.SmallFile{FS: fsys, Name: metricsName(dir), Log: log, Now: m.now, Lost: "They are counted anew"}
	_, err := small.Load(func(data []byte) error {
		var t body.TimerMetrics
		if err := fastjson.Unmarshal(data, &t); err != nil {
			return err
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		m.version = t.DataVersion
		for topic, c := range t.TimingCount {
			m.counts[topic] = &c
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("timer metrics: %w", err)
	}
	return nil
}
