package body

import (
	"encoding/json"

	"apogee/compat/fastjson"
)

// Permission bits of a topic (PermName).
const (
	PermInherit  int32 = 1
	PermWrite    int32 = 2
	PermRead     int32 = 4
	PermPriority int32 = 8
)

// Bits of topicSysFlag (TopicSysFlag).
const (
	TopicUnit    int32 = 1 // made by a unit-mode client
	TopicUnitSub int32 = 2 // has subscribers in unit mode
)

// SingleTag and MultiTag are the topic filter types; nothing acts on them.
const (
	SingleTag = "SINGLE_TAG"
	MultiTag  = "MULTI_TAG"
)

// TopicConfig is what a broker knows of a topic. Java class TopicConfig.
type TopicConfig struct {
	TopicName       string            `json:"topicName,omitempty"`
	ReadQueueNums   int32             `json:"readQueueNums"`
	WriteQueueNums  int32             `json:"writeQueueNums"`
	Perm            int32             `json:"perm"`
	TopicFilterType string            `json:"topicFilterType,omitempty"`
	TopicSysFlag    int32             `json:"topicSysFlag"`
	Order           bool              `json:"order"`
	Attributes      map[string]string `json:"attributes" fastjson:"nonnull"`
	Extras          fastjson.Extras   `json:"-"`
}

// NewTopicConfig is a topic with Java's defaults.
func NewTopicConfig(name string) TopicConfig {
	return TopicConfig{TopicName: name, ReadQueueNums: 16, WriteQueueNums: 16, Perm: PermRead | PermWrite, TopicFilterType: SingleTag}
}

// UnmarshalJSON gives what the text leaves out Java's defaults, and an empty filter type too.
func (c *TopicConfig) UnmarshalJSON(text []byte) (err error) {
	type plain TopicConfig
	*c = NewTopicConfig("")
	c.Extras, err = fastjson.UnmarshalKeeping(text, (*plain)(c))
	if c.TopicFilterType == "" {
		c.TopicFilterType = SingleTag
	}
	return err
}

// TopicConfigSerializeWrapper is a broker's topic table: the file topics.json, and the first part of what a broker registers.
type TopicConfigSerializeWrapper struct {
	TopicConfigTable map[string]*TopicConfig `json:"topicConfigTable" fastjson:"nonnull"`
	DataVersion      DataVersion             `json:"dataVersion"`
	Extras           fastjson.Extras         `json:"-"`
}

// UnmarshalJSON keeps unknown members.
func (w *TopicConfigSerializeWrapper) UnmarshalJSON(text []byte) (err error) {
	type plain TopicConfigSerializeWrapper
	*w = TopicConfigSerializeWrapper{}
	w.Extras, err = fastjson.UnmarshalKeeping(text, (*plain)(w))
	return err
}

// TopicConfigAndMappingSerializeWrapper is a topic table with the static topics' mapping: the answer to GET_ALL_TOPIC_CONFIG (21)
// and the main part of a registration.
type TopicConfigAndMappingSerializeWrapper struct {
	TopicConfigTable           map[string]*TopicConfig             `json:"topicConfigTable" fastjson:"nonnull"`
	DataVersion                DataVersion                         `json:"dataVersion"`
	TopicQueueMappingInfoMap   map[string]*TopicQueueMappingInfo   `json:"topicQueueMappingInfoMap" fastjson:"nonnull"`
	TopicQueueMappingDetailMap map[string]*TopicQueueMappingDetail `json:"topicQueueMappingDetailMap" fastjson:"nonnull"`
	MappingDataVersion         *DataVersion                        `json:"mappingDataVersion"`
}

// TopicQueueMappingInfo says which queues of a static topic a broker holds. Java class TopicQueueMappingInfo.
type TopicQueueMappingInfo struct {
	Topic       string          `json:"topic,omitempty"`
	Scope       string          `json:"scope,omitempty"`
	TotalQueues int32           `json:"totalQueues"`
	Bname       string          `json:"bname,omitempty"`
	Epoch       int64           `json:"epoch"`
	Dirty       bool            `json:"dirty"`
	CurrIDMap   map[int32]int32 `json:"currIdMap" fastjson:"nonnull"` // logic queue to physical queue
}

// TopicQueueMappingDetail adds where each logic queue has been over time.
type TopicQueueMappingDetail struct {
	TopicQueueMappingInfo
	HostedQueues map[int32][]LogicQueueMappingItem `json:"hostedQueues" fastjson:"nonnull"`
}

// LogicQueueMappingItem is one stretch of a logic queue on one physical queue. Java class LogicQueueMappingItem.
type LogicQueueMappingItem struct {
	Gen         int32  `json:"gen"`
	QueueID     int32  `json:"queueId"`
	Bname       string `json:"bname,omitempty"`
	LogicOffset int64  `json:"logicOffset"`
	StartOffset int64  `json:"startOffset"`
	EndOffset   int64  `json:"endOffset"`
	TimeOfStart int64  `json:"timeOfStart"`
	TimeOfEnd   int64  `json:"timeOfEnd"`
}

// TopicQueueMappingSerializeWrapper is the file topicQueueMapping.json.
type TopicQueueMappingSerializeWrapper struct {
	TopicQueueMappingInfoMap map[string]*TopicQueueMappingDetail `json:"topicQueueMappingInfoMap" fastjson:"nonnull"`
	DataVersion              DataVersion                         `json:"dataVersion"`
}

// TopicConfigAndQueueMapping is the answer to GET_TOPIC_CONFIG (351).
type TopicConfigAndQueueMapping struct {
	TopicConfig
	MappingDetail *TopicQueueMappingDetail `json:"mappingDetail"`
}

// UnmarshalJSON stands in for that of the embedded TopicConfig, which would miss the mapping.
func (m *TopicConfigAndQueueMapping) UnmarshalJSON(text []byte) error {
	if err := m.TopicConfig.UnmarshalJSON(text); err != nil {
		return err
	}
	raw, ok := m.Extras["mappingDetail"]
	if !ok {
		return nil
	}
	delete(m.Extras, "mappingDetail")
	return fastjson.Unmarshal(raw, &m.MappingDetail)
}

// CreateTopicListRequestBody is the body of UPDATE_AND_CREATE_TOPIC_LIST (18).
type CreateTopicListRequestBody struct {
	TopicConfigList []*TopicConfig `json:"topicConfigList"`
}

// TopicList is a set of topic names, sorted where we write it.
type TopicList struct {
	TopicList  []string `json:"topicList" fastjson:"nonnull"`
	BrokerAddr string   `json:"brokerAddr,omitempty"`
}

// KVTable is a table of strings.
type KVTable struct {
	Table map[string]string `json:"table" fastjson:"nonnull"`
}

var _ json.Unmarshaler = (*TopicConfig)(nil)
