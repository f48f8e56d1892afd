package meta

import (
	"fmt"
	"log/slog"
	"path"
	"strings"
	"sync"
	"time"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/store/vfs"
)

// Modes is what operators have ordered about how groups get the messages of topics, by pulling or by popping, and its file
// config/messageRequestMode.json (MessageRequestModeManager):
//
//	{
//		"messageRequestModeMap":{
//			"tA":{
//				"gA":{
//					"consumerGroup":"gA",
//					"mode":"POP",
//					"popShareQueueNum":8,
//					"topic":"tA"
//				}
//			}
//		}
//	}
//
// Entries outlive their topic and group, as in Java: who makes both again gets the mode again.
type Modes struct {
	file configFile

	mu    sync.RWMutex // guards table
	table map[string]map[string]body.SetMessageRequestModeRequestBody
}

// NewModes makes an empty table over the files below dir, the store's root. Load follows.
func NewModes(fs vfs.FS, dir string, now func() time.Time, log *slog.Logger) *Modes {
	return &Modes{
		file: configFile{
			fs: fs, name: path.Join(ConfigDir(dir), "messageRequestMode.json"), log: log, now: now,
			lost: "Groups for which operators have ordered a mode get their messages by pulling",
		},
		table: make(map[string]map[string]body.SetMessageRequestModeRequestBody),
	}
}

// Load reads the file.
func (m *Modes) Load() error {
	return m.file.load(func(text []byte) error {
		var w body.MessageRequestModeSerializeWrapper
		if err := fastjson.Unmarshal(text, &w); err != nil {
			return err
		}
		if w.MessageRequestModeMap == nil {
			w.MessageRequestModeMap = make(map[string]map[string]body.SetMessageRequestModeRequestBody)
		}
		for topic, groups := range w.MessageRequestModeMap {
			if groups == nil { // a null in the file
				delete(w.MessageRequestModeMap, topic)
			}
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		m.table = w.MessageRequestModeMap
		return nil
	})
}

// Get is what was ordered for a group and a topic.
func (m *Modes) Get(topic, group string) (body.SetMessageRequestModeRequestBody, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	mode, ok := m.table[topic][group]
	return mode, ok
}

// Set orders a mode, and returns when it is on disk.
func (m *Modes) Set(mode body.SetMessageRequestModeRequestBody) error {
	mode.Topic, mode.ConsumerGroup, mode.Mode = strings.Clone(mode.Topic), strings.Clone(mode.ConsumerGroup), strings.Clone(mode.Mode)
	m.mu.Lock()
	groups := m.table[mode.Topic]
	if groups == nil {
		groups = make(map[string]body.SetMessageRequestModeRequestBody)
		m.table[mode.Topic] = groups
	}
	groups[mode.ConsumerGroup] = mode
	m.file.changes.Add(1)
	m.mu.Unlock()
	return m.Persist()
}

// JSON is the table as slaves read it.
func (m *Modes) JSON() []byte {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return fastjson.Marshal(&body.MessageRequestModeSerializeWrapper{MessageRequestModeMap: m.table})
}

// Persist writes the file if there is something new.
func (m *Modes) Persist() error {
	return m.file.persist(func() ([]byte, vfs.Same, error) {
		return fastjson.Pretty(nil, m.JSON()), vfs.Same{}, nil
	})
}

// String is for logs.
func (m *Modes) String() string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return fmt.Sprintf("request modes of %d topics", len(m.table))
}
