package body

import "apogee/compat/fastjson"

// MessageQueue names a queue. It is a map key in several bodies, where Java writes it as an object.
type MessageQueue struct {
	Topic      string `json:"topic,omitempty"`
	BrokerName string `json:"brokerName,omitempty"`
	QueueID    int32  `json:"queueId"`
}

// UnmarshalText reads a map key. A key that is no queue (fastjson 1.2 may write {"$ref":..} for one) reads as the empty queue.
func (q *MessageQueue) UnmarshalText(text []byte) error {
	type plain MessageQueue
	return fastjson.Unmarshal(text, (*plain)(q))
}

// UnmarshalJSON is there because UnmarshalText would otherwise be asked to read plain values too.
func (q *MessageQueue) UnmarshalJSON(text []byte) error {
	type plain MessageQueue
	return fastjson.Unmarshal(text, (*plain)(q))
}

// LockBatchRequestBody is the body of LOCK_BATCH_MQ (41) and UNLOCK_BATCH_MQ (42).
type LockBatchRequestBody struct {
	ConsumerGroup  string         `json:"consumerGroup,omitempty"`
	ClientID       string         `json:"clientId,omitempty"`
	OnlyThisBroker bool           `json:"onlyThisBroker"`
	MQSet          []MessageQueue `json:"mqSet" fastjson:"nonnull"`
}

// LockBatchResponseBody lists the queues that the client holds now.
type LockBatchResponseBody struct {
	LockOKMQSet []MessageQueue `json:"lockOKMQSet" fastjson:"nonnull"`
}

// TopicStatsTable is the answer to GET_TOPIC_STATS_INFO (202).
type TopicStatsTable struct {
	OffsetTable map[MessageQueue]TopicOffset `json:"offsetTable" fastjson:"nonnull"`
	TopicPutTps float64                      `json:"topicPutTps"`
}

// TopicOffset is how far a queue reaches.
type TopicOffset struct {
	MinOffset           int64 `json:"minOffset"`
	MaxOffset           int64 `json:"maxOffset"`
	LastUpdateTimestamp int64 `json:"lastUpdateTimestamp"`
}

// ConsumeStats is the answer to GET_CONSUME_STATS (208).
type ConsumeStats struct {
	OffsetTable map[MessageQueue]OffsetWrapper `json:"offsetTable" fastjson:"nonnull"`
	ConsumeTps  float64                        `json:"consumeTps"`
}

// OffsetWrapper is how far a group is in a queue.
type OffsetWrapper struct {
	BrokerOffset   int64 `json:"brokerOffset"`
	ConsumerOffset int64 `json:"consumerOffset"`
	PullOffset     int64 `json:"pullOffset"`
	LastTimestamp  int64 `json:"lastTimestamp"`
}

// ConsumeStatsList is the answer to GET_BROKER_CONSUME_STATS (317).
type ConsumeStatsList struct {
	ConsumeStatsList []map[string][]ConsumeStats `json:"consumeStatsList" fastjson:"nonnull"`
	BrokerAddr       string                      `json:"brokerAddr,omitempty"`
	TotalDiff        int64                       `json:"totalDiff"`
	TotalInflight    int64                       `json:"totalInflightDiff"`
}

// ResetOffsetBody carries new offsets to clients (220) and to the caller (222).
type ResetOffsetBody struct {
	OffsetTable map[MessageQueue]int64 `json:"offsetTable"`
}

// ResetOffsetBodyForC is the same for C++ clients.
type ResetOffsetBodyForC struct {
	OffsetTable []MessageQueueForC `json:"offsetTable"`
}

// MessageQueueForC is a queue with its offset.
type MessageQueueForC struct {
	Topic      string `json:"topic,omitempty"`
	BrokerName string `json:"brokerName,omitempty"`
	QueueID    int32  `json:"queueId"`
	Offset     int64  `json:"offset"`
}

// GetConsumerStatusBody is a client's answer to 221 (messageQueueTable) and the broker's to 223 (consumerTable).
type GetConsumerStatusBody struct {
	MessageQueueTable map[MessageQueue]int64            `json:"messageQueueTable" fastjson:"nonnull"`
	ConsumerTable     map[string]map[MessageQueue]int64 `json:"consumerTable" fastjson:"nonnull"`
}

// QueryCorrectionOffsetBody is the answer to QUERY_CORRECTION_OFFSET (308).
type QueryCorrectionOffsetBody struct {
	CorrectionOffsets map[int32]int64 `json:"correctionOffsets" fastjson:"nonnull"`
}

// QueryConsumeTimeSpanBody is the answer to QUERY_CONSUME_TIME_SPAN (303).
type QueryConsumeTimeSpanBody struct {
	ConsumeTimeSpanSet []QueueTimeSpan `json:"consumeTimeSpanSet" fastjson:"nonnull"`
}

// QueueTimeSpan is how old the first, last and next message of a queue are. The texts are what Java's getters add:
// UtilAll.timeMillisToHumanString2 of each stamp.
type QueueTimeSpan struct {
	MessageQueue        *MessageQueue `json:"messageQueue"`
	MinTimeStamp        int64         `json:"minTimeStamp"`
	MinTimeStampStr     string        `json:"minTimeStampStr,omitempty"`
	MaxTimeStamp        int64         `json:"maxTimeStamp"`
	MaxTimeStampStr     string        `json:"maxTimeStampStr,omitempty"`
	ConsumeTimeStamp    int64         `json:"consumeTimeStamp"`
	ConsumeTimeStampStr string        `json:"consumeTimeStampStr,omitempty"`
	DelayTime           int64         `json:"delayTime"`
}

// QueryConsumeQueueResponseBody is the answer to QUERY_CONSUME_QUEUE (321).
type QueryConsumeQueueResponseBody struct {
	SubscriptionData *SubscriptionData  `json:"subscriptionData"`
	FilterData       string             `json:"filterData,omitempty"`
	QueueData        []ConsumeQueueData `json:"queueData"`
	MaxQueueIndex    int64              `json:"maxQueueIndex"`
	MinQueueIndex    int64              `json:"minQueueIndex"`
}

// ConsumeQueueData is one entry of a consume queue.
type ConsumeQueueData struct {
	PhysicOffset   int64  `json:"physicOffset"`
	PhysicSize     int32  `json:"physicSize"`
	TagsCode       int64  `json:"tagsCode"`
	ExtendDataJSON string `json:"extendDataJson,omitempty"`
	BitMap         string `json:"bitMap,omitempty"`
	Eval           bool   `json:"eval"`
	Msg            string `json:"msg,omitempty"`
}

// BrokerStatsData is the answer to VIEW_BROKER_STATS_DATA (315).
type BrokerStatsData struct {
	StatsMinute *BrokerStatsItem `json:"statsMinute"`
	StatsHour   *BrokerStatsItem `json:"statsHour"`
	StatsDay    *BrokerStatsItem `json:"statsDay"`
}

// BrokerStatsItem is one window of a statistic.
type BrokerStatsItem struct {
	Sum   int64   `json:"sum"`
	Tps   float64 `json:"tps"`
	Avgpt float64 `json:"avgpt"`
}

// HARuntimeInfo is the answer to GET_BROKER_HA_STATUS (907).
type HARuntimeInfo struct {
	Master                   bool                      `json:"master"`
	MasterCommitLogMaxOffset int64                     `json:"masterCommitLogMaxOffset"`
	InSyncSlaveNums          int32                     `json:"inSyncSlaveNums"`
	HAConnectionInfo         []HAConnectionRuntimeInfo `json:"haConnectionInfo" fastjson:"nonnull"`
	HAClientRuntimeInfo      HAClientRuntimeInfo       `json:"haClientRuntimeInfo"`
}

// HAConnectionRuntimeInfo is one slave as its master sees it.
type HAConnectionRuntimeInfo struct {
	Addr                    string `json:"addr,omitempty"`
	SlaveAckOffset          int64  `json:"slaveAckOffset"`
	Diff                    int64  `json:"diff"`
	DiffMillis              *int64 `json:"diffMillis,omitempty"` // age of the oldest message that it lacks; not Java's
	InSync                  bool   `json:"inSync"`
	TransferredByteInSecond int64  `json:"transferredByteInSecond"`
	TransferFromWhere       int64  `json:"transferFromWhere"`
}

// HAClientRuntimeInfo is a slave's own view.
type HAClientRuntimeInfo struct {
	MasterAddr              string `json:"masterAddr,omitempty"`
	TransferredByteInSecond int64  `json:"transferredByteInSecond"`
	MaxOffset               int64  `json:"maxOffset"`
	LastReadTimestamp       int64  `json:"lastReadTimestamp"`
	LastWriteTimestamp      int64  `json:"lastWriteTimestamp"`
	MasterFlushOffset       int64  `json:"masterFlushOffset"`
	Diff                    *int64 `json:"diff,omitempty"`       // from its master; nil while that is not known, and of Java's
	DiffMillis              *int64 `json:"diffMillis,omitempty"` // likewise, by the store times of the last messages
}
