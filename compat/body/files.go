package body

import (
	"slices"
	"strings"

	"apogee/compat/fastjson"
)

// ConsumerOffsetSerializeWrapper is the file consumerOffset.json, lmqConsumerOffset.json (where LMQOffsetTable is there), and the
// answer to GET_ALL_CONSUMER_OFFSET (43). Keys are topic@group, inner keys queue ids.
type ConsumerOffsetSerializeWrapper struct {
	DataVersion     DataVersion                `json:"dataVersion"`
	GroupTopicMap   map[string][]string        `json:"groupTopicMap"` // of the file only; derived, see SetGroupTopicMap
	OffsetTable     map[string]map[int32]int64 `json:"offsetTable" fastjson:"nonnull"`
	PullOffsetTable map[string]map[int32]int64 `json:"pullOffsetTable"`
	LMQOffsetTable  map[string]int64           `json:"lmqOffsetTable"`
	Extras          fastjson.Extras            `json:"-"`
}

// UnmarshalJSON keeps unknown members.
func (w *ConsumerOffsetSerializeWrapper) UnmarshalJSON(text []byte) (err error) {
	type plain ConsumerOffsetSerializeWrapper
	*w = ConsumerOffsetSerializeWrapper{}
	w.Extras, err = fastjson.UnmarshalKeeping(text, (*plain)(w))
	return err
}

// SetGroupTopicMap fills in what a getter of Java's ConsumerOffsetManager leaks into the file: the topics of each group.
func (w *ConsumerOffsetSerializeWrapper) SetGroupTopicMap() {
	w.GroupTopicMap = make(map[string][]string)
	for key := range w.OffsetTable {
		if topic, group, ok := strings.Cut(key, "@"); ok {
			w.GroupTopicMap[group] = append(w.GroupTopicMap[group], topic)
		}
	}
	for _, topics := range w.GroupTopicMap {
		slices.Sort(topics)
	}
}

// DelayOffsetSerializeWrapper is the file delayOffset.json and the answer to GET_ALL_DELAY_OFFSET (45): delay level to the next
// offset of its queue.
type DelayOffsetSerializeWrapper struct {
	DataVersion *DataVersion    `json:"dataVersion"` // 4.9 has none
	OffsetTable map[int32]int64 `json:"offsetTable" fastjson:"nonnull"`
	Extras      fastjson.Extras `json:"-"`
}

// UnmarshalJSON keeps unknown members.
func (w *DelayOffsetSerializeWrapper) UnmarshalJSON(text []byte) (err error) {
	type plain DelayOffsetSerializeWrapper
	*w = DelayOffsetSerializeWrapper{}
	w.Extras, err = fastjson.UnmarshalKeeping(text, (*plain)(w))
	return err
}

// MessageRequestModeSerializeWrapper is the file messageRequestMode.json: topic, group, how the group gets its messages.
type MessageRequestModeSerializeWrapper struct {
	MessageRequestModeMap map[string]map[string]SetMessageRequestModeRequestBody `json:"messageRequestModeMap" fastjson:"nonnull"`
}

// SetMessageRequestModeRequestBody is the body of SET_MESSAGE_REQUEST_MODE (401). Mode is PULL or POP.
type SetMessageRequestModeRequestBody struct {
	Topic            string `json:"topic,omitempty"`
	ConsumerGroup    string `json:"consumerGroup,omitempty"`
	Mode             string `json:"mode,omitempty"`
	PopShareQueueNum int32  `json:"popShareQueueNum"`
}

// QueryAssignmentRequestBody is the body of QUERY_ASSIGNMENT (400): a consumer asks for its queues.
type QueryAssignmentRequestBody struct {
	Topic         string       `json:"topic,omitempty"`
	ConsumerGroup string       `json:"consumerGroup,omitempty"`
	ClientID      string       `json:"clientId,omitempty"`
	StrategyName  string       `json:"strategyName,omitempty"`
	MessageModel  MessageModel `json:"messageModel,omitempty"`
}

// QueryAssignmentResponseBody is the answer to it. Nil leaves the list out: the client is to keep what it has.
type QueryAssignmentResponseBody struct {
	MessageQueueAssignments []MessageQueueAssignment `json:"messageQueueAssignments"`
}

// MessageQueueAssignment is a queue and how to read it. Queue id -1 stands for all queues of the broker.
type MessageQueueAssignment struct {
	MessageQueue MessageQueue      `json:"messageQueue"`
	Mode         string            `json:"mode,omitempty"`
	Attachments  map[string]string `json:"attachments"`
}

// ConsumerFilterWrapper is the file consumerFilter.json.
type ConsumerFilterWrapper struct {
	FilterDataByTopic map[string]FilterDataMapByTopic `json:"filterDataByTopic" fastjson:"nonnull"`
	Extras            fastjson.Extras                 `json:"-"`
}

// UnmarshalJSON keeps unknown members.
func (w *ConsumerFilterWrapper) UnmarshalJSON(text []byte) (err error) {
	type plain ConsumerFilterWrapper
	*w = ConsumerFilterWrapper{}
	w.Extras, err = fastjson.UnmarshalKeeping(text, (*plain)(w))
	return err
}

// FilterDataMapByTopic has the filters of a topic, by group.
type FilterDataMapByTopic struct {
	GroupFilterData map[string]ConsumerFilterData `json:"groupFilterData" fastjson:"nonnull"`
	Topic           string                        `json:"topic,omitempty"`
}

// ConsumerFilterData is one group's filter expression on one topic.
type ConsumerFilterData struct {
	ConsumerGroup   string           `json:"consumerGroup,omitempty"`
	Topic           string           `json:"topic,omitempty"`
	Expression      string           `json:"expression,omitempty"`
	ExpressionType  string           `json:"expressionType,omitempty"`
	BornTime        int64            `json:"bornTime"`
	Dead            bool             `json:"dead"`
	DeadTime        int64            `json:"deadTime"`
	BloomFilterData *BloomFilterData `json:"bloomFilterData"`
	ClientVersion   int64            `json:"clientVersion"`
}

// BloomFilterData is where a filter's name hashes to.
type BloomFilterData struct {
	BitPos []int32 `json:"bitPos"`
	BitNum int32   `json:"bitNum"`
}

// TimerMetrics is the file timermetrics and the answer to GET_TIMER_METRICS (61).
type TimerMetrics struct {
	DataVersion DataVersion       `json:"dataVersion"`
	TimingCount map[string]Metric `json:"timingCount" fastjson:"nonnull"`
}

// TransactionMetrics is the file transactionMetrics.
type TransactionMetrics struct {
	DataVersion      DataVersion       `json:"dataVersion"`
	TransactionCount map[string]Metric `json:"transactionCount" fastjson:"nonnull"`
}

// Metric counts what waits for a topic.
type Metric struct {
	Count     int64 `json:"count"`
	TimeStamp int64 `json:"timeStamp"`
}

// KVConfigSerializeWrapper is the name server's file kvConfig.json: namespace, key, value.
type KVConfigSerializeWrapper struct {
	ConfigTable map[string]map[string]string `json:"configTable" fastjson:"nonnull"`
	Extras      fastjson.Extras              `json:"-"`
}

// UnmarshalJSON keeps unknown members.
func (w *KVConfigSerializeWrapper) UnmarshalJSON(text []byte) (err error) {
	type plain KVConfigSerializeWrapper
	*w = KVConfigSerializeWrapper{}
	w.Extras, err = fastjson.UnmarshalKeeping(text, (*plain)(w))
	return err
}
