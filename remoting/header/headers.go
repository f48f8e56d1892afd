package header

// Declared from the spec's request-codes.tsv. Tag: wire name, then "alias=" (compact V2 name), "required" (Java @CFNotNull), "default=".

// SendMessageRequest is the header of request SEND_MESSAGE (10).
type SendMessageRequest struct {
	ProducerGroup         string     `rmq:"producerGroup,alias=a,required"`
	Topic                 string     `rmq:"topic,alias=b,required"`
	DefaultTopic          string     `rmq:"defaultTopic,alias=c,required"`
	DefaultTopicQueueNums int32      `rmq:"defaultTopicQueueNums,alias=d,required"`
	QueueID               int32      `rmq:"queueId,alias=e,required"`
	SysFlag               int32      `rmq:"sysFlag,alias=f,required"`
	BornTimestamp         int64      `rmq:"bornTimestamp,alias=g,required"`
	Flag                  int32      `rmq:"flag,alias=h,required"`
	Properties            string     `rmq:"properties,alias=i"`
	ReconsumeTimes        Opt[int32] `rmq:"reconsumeTimes,alias=j"`
	UnitMode              Opt[bool]  `rmq:"unitMode,alias=k"`
	Batch                 Opt[bool]  `rmq:"batch,alias=m"`
	MaxReconsumeTimes     Opt[int32] `rmq:"maxReconsumeTimes,alias=l"`
}

// SendMessageResponse is the header of answers to SEND_MESSAGE (10).
type SendMessageResponse struct {
	MsgID         string `rmq:"msgId"`
	QueueID       int32  `rmq:"queueId"`
	QueueOffset   int64  `rmq:"queueOffset"`
	TransactionID string `rmq:"transactionId"`
	BatchUniqID   string `rmq:"batchUniqId"`
	RecallHandle  string `rmq:"recallHandle"`
}

// PullMessageRequest is the header of request PULL_MESSAGE (11).
type PullMessageRequest struct {
	ConsumerGroup        string     `rmq:"consumerGroup,required"`
	Topic                string     `rmq:"topic,required"`
	LiteTopic            string     `rmq:"liteTopic"`
	QueueID              int32      `rmq:"queueId,required"`
	QueueOffset          int64      `rmq:"queueOffset,required"`
	MaxMsgNums           int32      `rmq:"maxMsgNums,required"`
	SysFlag              int32      `rmq:"sysFlag,required"`
	CommitOffset         int64      `rmq:"commitOffset,required"`
	SuspendTimeoutMillis int64      `rmq:"suspendTimeoutMillis,required"`
	Subscription         string     `rmq:"subscription"`
	SubVersion           int64      `rmq:"subVersion,required"`
	ExpressionType       string     `rmq:"expressionType"`
	MaxMsgBytes          Opt[int32] `rmq:"maxMsgBytes"`
	RequestSource        Opt[int32] `rmq:"requestSource"`
	ProxyFrowardClientID string     `rmq:"proxyFrowardClientId"`
}

// PullMessageResponse is the header of answers to PULL_MESSAGE (11).
type PullMessageResponse struct {
	SuggestWhichBrokerID int64      `rmq:"suggestWhichBrokerId"`
	NextBeginOffset      int64      `rmq:"nextBeginOffset"`
	MinOffset            int64      `rmq:"minOffset"`
	MaxOffset            int64      `rmq:"maxOffset"`
	OffsetDelta          Opt[int64] `rmq:"offsetDelta"`
	TopicSysFlag         Opt[int32] `rmq:"topicSysFlag"`
	GroupSysFlag         Opt[int32] `rmq:"groupSysFlag"`
	ForbiddenType        Opt[int32] `rmq:"forbiddenType"`
}

// QueryMessageRequest is the header of request QUERY_MESSAGE (12).
type QueryMessageRequest struct {
	Topic          string `rmq:"topic,required"`
	Key            string `rmq:"key,required"`
	MaxNum         int32  `rmq:"maxNum,required"`
	BeginTimestamp int64  `rmq:"beginTimestamp,required"`
	EndTimestamp   int64  `rmq:"endTimestamp,required"`
	IndexType      string `rmq:"indexType"`
	LastKey        string `rmq:"lastKey"`
}

// QueryMessageResponse is the header of answers to QUERY_MESSAGE (12).
type QueryMessageResponse struct {
	IndexLastUpdateTimestamp int64 `rmq:"indexLastUpdateTimestamp"`
	IndexLastUpdatePhyoffset int64 `rmq:"indexLastUpdatePhyoffset"`
}

// QueryConsumerOffsetRequest is the header of request QUERY_CONSUMER_OFFSET (14).
type QueryConsumerOffsetRequest struct {
	ConsumerGroup     string    `rmq:"consumerGroup,required"`
	Topic             string    `rmq:"topic,required"`
	QueueID           int32     `rmq:"queueId,required"`
	SetZeroIfNotFound Opt[bool] `rmq:"setZeroIfNotFound"`
}

// QueryConsumerOffsetResponse is the header of answers to QUERY_CONSUMER_OFFSET (14).
type QueryConsumerOffsetResponse struct {
	Offset int64 `rmq:"offset"`
}

// UpdateConsumerOffsetRequest is the header of request UPDATE_CONSUMER_OFFSET (15).
type UpdateConsumerOffsetRequest struct {
	ConsumerGroup string `rmq:"consumerGroup,required"`
	Topic         string `rmq:"topic,required"`
	QueueID       int32  `rmq:"queueId,required"`
	CommitOffset  int64  `rmq:"commitOffset,required"`
}

// UpdateAndCreateTopicRequest is the header of request UPDATE_AND_CREATE_TOPIC (17).
type UpdateAndCreateTopicRequest struct {
	Topic           string     `rmq:"topic,required"`
	DefaultTopic    string     `rmq:"defaultTopic,required"`
	ReadQueueNums   int32      `rmq:"readQueueNums,required"`
	WriteQueueNums  int32      `rmq:"writeQueueNums,required"`
	Perm            int32      `rmq:"perm,required"`
	TopicFilterType string     `rmq:"topicFilterType,required"`
	TopicSysFlag    Opt[int32] `rmq:"topicSysFlag"`
	Order           bool       `rmq:"order"`
	Attributes      string     `rmq:"attributes"`
	Force           bool       `rmq:"force"`
}

// GetAllTopicConfigRequest is the header of request GET_ALL_TOPIC_CONFIG (21).
type GetAllTopicConfigRequest struct {
	TopicSeq    int32      `rmq:"topicSeq"`
	DataVersion string     `rmq:"dataVersion"`
	MaxTopicNum Opt[int32] `rmq:"maxTopicNum"`
}

// GetAllTopicConfigResponse is the header of answers to GET_ALL_TOPIC_CONFIG (21).
type GetAllTopicConfigResponse struct {
	TotalTopicNum Opt[int32] `rmq:"totalTopicNum"`
}

// GetBrokerConfigResponse is the header of answers to GET_BROKER_CONFIG (26).
type GetBrokerConfigResponse struct {
	Version string `rmq:"version"`
}

// SearchOffsetByTimestampRequest is the header of request SEARCH_OFFSET_BY_TIMESTAMP (29).
type SearchOffsetByTimestampRequest struct {
	Topic        string `rmq:"topic,required"`
	LiteTopic    string `rmq:"liteTopic"`
	QueueID      int32  `rmq:"queueId,required"`
	Timestamp    int64  `rmq:"timestamp,required"`
	BoundaryType string `rmq:"boundaryType"`
}

// SearchOffsetByTimestampResponse is the header of answers to SEARCH_OFFSET_BY_TIMESTAMP (29).
type SearchOffsetByTimestampResponse struct {
	Offset int64 `rmq:"offset"`
}

// GetMaxOffsetRequest is the header of request GET_MAX_OFFSET (30).
type GetMaxOffsetRequest struct {
	Topic     string `rmq:"topic,required"`
	QueueID   int32  `rmq:"queueId,required"`
	Committed bool   `rmq:"committed,default=true"`
}

// GetMaxOffsetResponse is the header of answers to GET_MAX_OFFSET (30).
type GetMaxOffsetResponse struct {
	Offset int64 `rmq:"offset"`
}

// GetMinOffsetRequest is the header of request GET_MIN_OFFSET (31).
type GetMinOffsetRequest struct {
	Topic   string `rmq:"topic,required"`
	QueueID int32  `rmq:"queueId,required"`
}

// GetMinOffsetResponse is the header of answers to GET_MIN_OFFSET (31).
type GetMinOffsetResponse struct {
	Offset int64 `rmq:"offset"`
}

// GetEarliestMsgStoreTimeRequest is the header of request GET_EARLIEST_MSG_STORETIME (32).
type GetEarliestMsgStoreTimeRequest struct {
	Topic   string `rmq:"topic,required"`
	QueueID int32  `rmq:"queueId,required"`
}

// GetEarliestMsgStoreTimeResponse is the header of answers to GET_EARLIEST_MSG_STORETIME (32).
type GetEarliestMsgStoreTimeResponse struct {
	Timestamp int64 `rmq:"timestamp"`
}

// ViewMessageByIDRequest is the header of request VIEW_MESSAGE_BY_ID (33).
type ViewMessageByIDRequest struct {
	Topic  string `rmq:"topic"`
	Offset int64  `rmq:"offset,required"`
}

// UnregisterClientRequest is the header of request UNREGISTER_CLIENT (35).
type UnregisterClientRequest struct {
	ClientID      string `rmq:"clientID,required"`
	ProducerGroup string `rmq:"producerGroup"`
	ConsumerGroup string `rmq:"consumerGroup"`
}

// ConsumerSendMsgBackRequest is the header of request CONSUMER_SEND_MSG_BACK (36).
type ConsumerSendMsgBackRequest struct {
	Offset            int64      `rmq:"offset,required"`
	Group             string     `rmq:"group,required"`
	DelayLevel        int32      `rmq:"delayLevel,required"`
	OriginMsgID       string     `rmq:"originMsgId"`
	OriginTopic       string     `rmq:"originTopic"`
	UnitMode          bool       `rmq:"unitMode"`
	MaxReconsumeTimes Opt[int32] `rmq:"maxReconsumeTimes"`
}

// EndTransactionRequest is the header of request END_TRANSACTION (37).
type EndTransactionRequest struct {
	Topic                string `rmq:"topic"`
	ProducerGroup        string `rmq:"producerGroup,required"`
	TranStateTableOffset int64  `rmq:"tranStateTableOffset,required"`
	CommitLogOffset      int64  `rmq:"commitLogOffset,required"`
	CommitOrRollback     int32  `rmq:"commitOrRollback,required"`
	FromTransactionCheck bool   `rmq:"fromTransactionCheck"`
	MsgID                string `rmq:"msgId,required"`
	TransactionID        string `rmq:"transactionId"`
}

// GetConsumerListByGroupRequest is the header of request GET_CONSUMER_LIST_BY_GROUP (38).
type GetConsumerListByGroupRequest struct {
	ConsumerGroup string `rmq:"consumerGroup,required"`
}

// CheckTransactionStateRequest is the header of request CHECK_TRANSACTION_STATE (39).
type CheckTransactionStateRequest struct {
	Topic                string `rmq:"topic"`
	TranStateTableOffset int64  `rmq:"tranStateTableOffset,required"`
	CommitLogOffset      int64  `rmq:"commitLogOffset,required"`
	MsgID                string `rmq:"msgId"`
	TransactionID        string `rmq:"transactionId"`
	OffsetMsgID          string `rmq:"offsetMsgId"`
	BrokerName           string `rmq:"bname"`
}

// NotifyConsumerIDsChangedRequest is the header of request NOTIFY_CONSUMER_IDS_CHANGED (40).
type NotifyConsumerIDsChangedRequest struct {
	ConsumerGroup string `rmq:"consumerGroup,required"`
}

// PutKVConfigRequest is the header of request PUT_KV_CONFIG (100).
type PutKVConfigRequest struct {
	Namespace string `rmq:"namespace,required"`
	Key       string `rmq:"key,required"`
	Value     string `rmq:"value,required"`
}

// GetKVConfigRequest is the header of request GET_KV_CONFIG (101).
type GetKVConfigRequest struct {
	Namespace string `rmq:"namespace,required"`
	Key       string `rmq:"key,required"`
}

// GetKVConfigResponse is the header of answers to GET_KV_CONFIG (101).
type GetKVConfigResponse struct {
	Value string `rmq:"value"`
}

// DeleteKVConfigRequest is the header of request DELETE_KV_CONFIG (102).
type DeleteKVConfigRequest struct {
	Namespace string `rmq:"namespace,required"`
	Key       string `rmq:"key,required"`
}

// RegisterBrokerRequest is the header of request REGISTER_BROKER (103).
type RegisterBrokerRequest struct {
	BrokerName             string     `rmq:"brokerName,required"`
	BrokerAddr             string     `rmq:"brokerAddr,required"`
	ClusterName            string     `rmq:"clusterName,required"`
	HAServerAddr           string     `rmq:"haServerAddr,required"`
	BrokerID               int64      `rmq:"brokerId,required"`
	HeartbeatTimeoutMillis Opt[int64] `rmq:"heartbeatTimeoutMillis"`
	EnableActingMaster     Opt[bool]  `rmq:"enableActingMaster"`
	Compressed             Opt[bool]  `rmq:"compressed"`
	BodyCRC32              int32      `rmq:"bodyCrc32"`
}

// RegisterBrokerResponse is the header of answers to REGISTER_BROKER (103).
type RegisterBrokerResponse struct {
	HAServerAddr string `rmq:"haServerAddr"`
	MasterAddr   string `rmq:"masterAddr"`
}

// UnregisterBrokerRequest is the header of request UNREGISTER_BROKER (104).
type UnregisterBrokerRequest struct {
	BrokerName  string `rmq:"brokerName,required"`
	BrokerAddr  string `rmq:"brokerAddr,required"`
	ClusterName string `rmq:"clusterName,required"`
	BrokerID    int64  `rmq:"brokerId,required"`
}

// GetRouteInfoByTopicRequest is the header of request GET_ROUTEINFO_BY_TOPIC (105).
type GetRouteInfoByTopicRequest struct {
	Topic                  string    `rmq:"topic,required"`
	AcceptStandardJsonOnly Opt[bool] `rmq:"acceptStandardJsonOnly"`
}

// PeekMessageRequest is the header of request PEEK_MESSAGE (200052). Its answers have a PopMessageResponse.
type PeekMessageRequest struct {
	Topic         string `rmq:"topic,required"`
	QueueID       int32  `rmq:"queueId,required"` // below 0 for all
	MaxMsgNums    int32  `rmq:"maxMsgNums,required"`
	ConsumerGroup string `rmq:"consumerGroup,required"`
}

// NotificationRequest is the header of request NOTIFICATION (200054).
type NotificationRequest struct {
	ConsumerGroup string `rmq:"consumerGroup,required"`
	Topic         string `rmq:"topic,required"`
	QueueID       int32  `rmq:"queueId,required"` // below 0 for all
	PollTime      int64  `rmq:"pollTime,required"`
	BornTime      int64  `rmq:"bornTime,required"`
	Order         bool   `rmq:"order"`
	AttemptID     string `rmq:"attemptId"`
	ExpType       string `rmq:"expType"`
	Exp           string `rmq:"exp"`
}

// NotificationResponse is the header of answers to NOTIFICATION (200054).
type NotificationResponse struct {
	HasMsg      bool `rmq:"hasMsg"`
	PollingFull bool `rmq:"pollingFull"`
}

// PollingInfoRequest is the header of request POLLING_INFO (200055).
type PollingInfoRequest struct {
	ConsumerGroup string `rmq:"consumerGroup,required"`
	Topic         string `rmq:"topic,required"`
	QueueID       int32  `rmq:"queueId,required"`
}

// PollingInfoResponse is the header of answers to POLLING_INFO (200055).
type PollingInfoResponse struct {
	PollingNum int32 `rmq:"pollingNum"`
}

// GetAllSubscriptionGroupConfigRequest is the header of request GET_ALL_SUBSCRIPTIONGROUP_CONFIG (201).
type GetAllSubscriptionGroupConfigRequest struct {
	GroupSeq    int32      `rmq:"groupSeq"`
	DataVersion string     `rmq:"dataVersion"`
	MaxGroupNum Opt[int32] `rmq:"maxGroupNum"`
}

// GetAllSubscriptionGroupConfigResponse is the header of answers to GET_ALL_SUBSCRIPTIONGROUP_CONFIG (201).
type GetAllSubscriptionGroupConfigResponse struct {
	TotalGroupNum int32 `rmq:"totalGroupNum"`
}

// GetTopicStatsInfoRequest is the header of request GET_TOPIC_STATS_INFO (202).
type GetTopicStatsInfoRequest struct {
	Topic string `rmq:"topic,required"`
}

// GetConsumerConnectionListRequest is the header of request GET_CONSUMER_CONNECTION_LIST (203).
type GetConsumerConnectionListRequest struct {
	ConsumerGroup string `rmq:"consumerGroup,required"`
}

// GetProducerConnectionListRequest is the header of request GET_PRODUCER_CONNECTION_LIST (204).
type GetProducerConnectionListRequest struct {
	ProducerGroup string `rmq:"producerGroup,required"`
}

// WipeWritePermOfBrokerRequest is the header of request WIPE_WRITE_PERM_OF_BROKER (205).
type WipeWritePermOfBrokerRequest struct {
	BrokerName string `rmq:"brokerName,required"`
}

// WipeWritePermOfBrokerResponse is the header of answers to WIPE_WRITE_PERM_OF_BROKER (205).
type WipeWritePermOfBrokerResponse struct {
	WipeTopicCount int32 `rmq:"wipeTopicCount"`
}

// DeleteSubscriptionGroupRequest is the header of request DELETE_SUBSCRIPTIONGROUP (207).
type DeleteSubscriptionGroupRequest struct {
	GroupName   string `rmq:"groupName,required"`
	CleanOffset bool   `rmq:"cleanOffset"`
}

// GetConsumeStatsRequest is the header of request GET_CONSUME_STATS (208).
type GetConsumeStatsRequest struct {
	ConsumerGroup string `rmq:"consumerGroup,required"`
	Topic         string `rmq:"topic"`
	TopicList     string `rmq:"topicList"`
}

// DeleteTopicInBrokerRequest is the header of request DELETE_TOPIC_IN_BROKER (215).
type DeleteTopicInBrokerRequest struct {
	Topic string `rmq:"topic,required"`
}

// DeleteTopicInNamesrvRequest is the header of request DELETE_TOPIC_IN_NAMESRV (216).
type DeleteTopicInNamesrvRequest struct {
	Topic       string `rmq:"topic,required"`
	ClusterName string `rmq:"clusterName"`
}

// RegisterTopicInNamesrvRequest is the header of request REGISTER_TOPIC_IN_NAMESRV (217).
type RegisterTopicInNamesrvRequest struct {
	Topic string `rmq:"topic,required"`
}

// GetKVListByNamespaceRequest is the header of request GET_KVLIST_BY_NAMESPACE (219).
type GetKVListByNamespaceRequest struct {
	Namespace string `rmq:"namespace,required"`
}

// ResetConsumerClientOffsetRequest is the header of request RESET_CONSUMER_CLIENT_OFFSET (220).
type ResetConsumerClientOffsetRequest struct {
	Group     string     `rmq:"group,required"`
	Topic     string     `rmq:"topic,required"`
	QueueID   int32      `rmq:"queueId,default=-1"`
	Offset    Opt[int64] `rmq:"offset"`
	Timestamp int64      `rmq:"timestamp"`
	IsForce   bool       `rmq:"isForce"`
}

// GetConsumerStatusFromClientRequest is the header of request GET_CONSUMER_STATUS_FROM_CLIENT (221).
type GetConsumerStatusFromClientRequest struct {
	Topic      string `rmq:"topic,required"`
	Group      string `rmq:"group,required"`
	ClientAddr string `rmq:"clientAddr"`
}

// InvokeBrokerToResetOffsetRequest is the header of request INVOKE_BROKER_TO_RESET_OFFSET (222).
type InvokeBrokerToResetOffsetRequest struct {
	Group     string     `rmq:"group,required"`
	Topic     string     `rmq:"topic,required"`
	QueueID   int32      `rmq:"queueId,default=-1"`
	Offset    Opt[int64] `rmq:"offset"`
	Timestamp int64      `rmq:"timestamp"`
	IsForce   bool       `rmq:"isForce"`
}

// InvokeBrokerToGetConsumerStatusRequest is the header of request INVOKE_BROKER_TO_GET_CONSUMER_STATUS (223).
type InvokeBrokerToGetConsumerStatusRequest struct {
	Topic      string `rmq:"topic,required"`
	Group      string `rmq:"group,required"`
	ClientAddr string `rmq:"clientAddr"`
}

// GetTopicsByClusterRequest is the header of request GET_TOPICS_BY_CLUSTER (224).
type GetTopicsByClusterRequest struct {
	Cluster string `rmq:"cluster,required"`
}

// QueryTopicConsumeByWhoRequest is the header of request QUERY_TOPIC_CONSUME_BY_WHO (300).
type QueryTopicConsumeByWhoRequest struct {
	Topic string `rmq:"topic,required"`
}

// QueryConsumeTimeSpanRequest is the header of request QUERY_CONSUME_TIME_SPAN (303).
type QueryConsumeTimeSpanRequest struct {
	Topic string `rmq:"topic,required"`
	Group string `rmq:"group,required"`
}

// GetConsumerRunningInfoRequest is the header of request GET_CONSUMER_RUNNING_INFO (307).
type GetConsumerRunningInfoRequest struct {
	ConsumerGroup string    `rmq:"consumerGroup,required"`
	ClientID      string    `rmq:"clientId,required"`
	JstackEnable  Opt[bool] `rmq:"jstackEnable"`
}

// QueryCorrectionOffsetRequest is the header of request QUERY_CORRECTION_OFFSET (308).
type QueryCorrectionOffsetRequest struct {
	FilterGroups string `rmq:"filterGroups"`
	CompareGroup string `rmq:"compareGroup,required"`
	Topic        string `rmq:"topic,required"`
}

// ConsumeMessageDirectlyRequest is the header of request CONSUME_MESSAGE_DIRECTLY (309).
type ConsumeMessageDirectlyRequest struct {
	ConsumerGroup string     `rmq:"consumerGroup,required"`
	ClientID      string     `rmq:"clientId"`
	MsgID         string     `rmq:"msgId"`
	BrokerName    string     `rmq:"brokerName"`
	Topic         string     `rmq:"topic"`
	TopicSysFlag  Opt[int32] `rmq:"topicSysFlag"`
	GroupSysFlag  Opt[int32] `rmq:"groupSysFlag"`
}

// CloneGroupOffsetRequest is the header of request CLONE_GROUP_OFFSET (314).
type CloneGroupOffsetRequest struct {
	SrcGroup  string    `rmq:"srcGroup,required"`
	DestGroup string    `rmq:"destGroup,required"`
	Topic     string    `rmq:"topic"`
	Offline   Opt[bool] `rmq:"offline"`
}

// ViewBrokerStatsDataRequest is the header of request VIEW_BROKER_STATS_DATA (315).
type ViewBrokerStatsDataRequest struct {
	StatsName string `rmq:"statsName,required"`
	StatsKey  string `rmq:"statsKey,required"`
}

// GetBrokerConsumeStatsRequest is the header of request GET_BROKER_CONSUME_STATS (317).
type GetBrokerConsumeStatsRequest struct {
	IsOrder bool `rmq:"isOrder"`
}

// QueryConsumeQueueRequest is the header of request QUERY_CONSUME_QUEUE (321).
type QueryConsumeQueueRequest struct {
	Topic         string     `rmq:"topic"`
	QueueID       Opt[int32] `rmq:"queueId"`
	Index         Opt[int64] `rmq:"index"`
	Count         Opt[int32] `rmq:"count"`
	ConsumerGroup string     `rmq:"consumerGroup"`
}

// QueryDataVersionRequest is the header of request QUERY_DATA_VERSION (322).
type QueryDataVersionRequest struct {
	BrokerName  string `rmq:"brokerName,required"`
	BrokerAddr  string `rmq:"brokerAddr,required"`
	ClusterName string `rmq:"clusterName,required"`
	BrokerID    int64  `rmq:"brokerId,required"`
}

// QueryDataVersionResponse is the header of answers to QUERY_DATA_VERSION (322).
type QueryDataVersionResponse struct {
	Changed bool `rmq:"changed"`
}

// ResumeCheckHalfMessageRequest is the header of request RESUME_CHECK_HALF_MESSAGE (323).
type ResumeCheckHalfMessageRequest struct {
	Topic string `rmq:"topic"`
	MsgID string `rmq:"msgId"`
}

// PushReplyMessageToClientRequest is the header of request PUSH_REPLY_MESSAGE_TO_CLIENT (326).
type PushReplyMessageToClientRequest struct {
	ProducerGroup         string     `rmq:"producerGroup,required"`
	Topic                 string     `rmq:"topic,required"`
	DefaultTopic          string     `rmq:"defaultTopic,required"`
	DefaultTopicQueueNums int32      `rmq:"defaultTopicQueueNums,required"`
	QueueID               int32      `rmq:"queueId,required"`
	SysFlag               int32      `rmq:"sysFlag,required"`
	BornTimestamp         int64      `rmq:"bornTimestamp,required"`
	Flag                  int32      `rmq:"flag,required"`
	Properties            string     `rmq:"properties"`
	ReconsumeTimes        Opt[int32] `rmq:"reconsumeTimes"`
	UnitMode              bool       `rmq:"unitMode"`
	BornHost              string     `rmq:"bornHost,required"`
	StoreHost             string     `rmq:"storeHost,required"`
	StoreTimestamp        int64      `rmq:"storeTimestamp"`
}

// AddWritePermOfBrokerRequest is the header of request ADD_WRITE_PERM_OF_BROKER (327).
type AddWritePermOfBrokerRequest struct {
	BrokerName string `rmq:"brokerName,required"`
}

// AddWritePermOfBrokerResponse is the header of answers to ADD_WRITE_PERM_OF_BROKER (327).
type AddWritePermOfBrokerResponse struct {
	AddTopicCount int32 `rmq:"addTopicCount"`
}

// QueryTopicsByConsumerRequest is the header of request QUERY_TOPICS_BY_CONSUMER (343).
type QueryTopicsByConsumerRequest struct {
	Group string `rmq:"group,required"`
}

// QuerySubscriptionByConsumerRequest is the header of request QUERY_SUBSCRIPTION_BY_CONSUMER (345).
type QuerySubscriptionByConsumerRequest struct {
	Group string `rmq:"group,required"`
	Topic string `rmq:"topic"`
}

// GetTopicConfigRequest is the header of request GET_TOPIC_CONFIG (351).
type GetTopicConfigRequest struct {
	Topic string `rmq:"topic,required"`
}

// GetSubscriptionGroupConfigRequest is the header of request GET_SUBSCRIPTIONGROUP_CONFIG (352).
type GetSubscriptionGroupConfigRequest struct {
	Group string `rmq:"group,required"`
}

// UpdateAndGetGroupForbiddenRequest is the header of request UPDATE_AND_GET_GROUP_FORBIDDEN (353).
type UpdateAndGetGroupForbiddenRequest struct {
	Group    string    `rmq:"group,required"`
	Topic    string    `rmq:"topic,required"`
	Readable Opt[bool] `rmq:"readable"`
}

// RecallMessageRequest is the header of request RECALL_MESSAGE (370).
type RecallMessageRequest struct {
	ProducerGroup string `rmq:"producerGroup"`
	Topic         string `rmq:"topic,required"`
	RecallHandle  string `rmq:"recallHandle,required"`
}

// RecallMessageResponse is the header of answers to RECALL_MESSAGE (370).
type RecallMessageResponse struct {
	MsgID string `rmq:"msgId"`
}

// GetBrokerMemberGroupRequest is the header of request GET_BROKER_MEMBER_GROUP (901).
type GetBrokerMemberGroupRequest struct {
	ClusterName string `rmq:"clusterName,required"`
	BrokerName  string `rmq:"brokerName,required"`
}

// BrokerHeartbeatRequest is the header of request BROKER_HEARTBEAT (904).
type BrokerHeartbeatRequest struct {
	ClusterName           string     `rmq:"clusterName,required"`
	BrokerAddr            string     `rmq:"brokerAddr,required"`
	BrokerName            string     `rmq:"brokerName,required"`
	BrokerID              Opt[int64] `rmq:"brokerId"`
	Epoch                 Opt[int32] `rmq:"epoch"`
	MaxOffset             Opt[int64] `rmq:"maxOffset"`
	ConfirmOffset         Opt[int64] `rmq:"confirmOffset"`
	HeartbeatTimeoutMills Opt[int64] `rmq:"heartbeatTimeoutMills"`
	ElectionPriority      Opt[int32] `rmq:"electionPriority"`
}

// NotifyMinBrokerIDChangeRequest is the header of request NOTIFY_MIN_BROKER_ID_CHANGE (905).
type NotifyMinBrokerIDChangeRequest struct {
	MinBrokerID       Opt[int64] `rmq:"minBrokerId"`
	BrokerName        string     `rmq:"brokerName"`
	MinBrokerAddr     string     `rmq:"minBrokerAddr"`
	OfflineBrokerAddr string     `rmq:"offlineBrokerAddr"`
	HABrokerAddr      string     `rmq:"haBrokerAddr"`
}

// ExchangeBrokerHAInfoRequest is the header of request EXCHANGE_BROKER_HA_INFO (906).
type ExchangeBrokerHAInfoRequest struct {
	MasterHAAddress   string     `rmq:"masterHaAddress"`
	MasterFlushOffset Opt[int64] `rmq:"masterFlushOffset"`
	MasterAddress     string     `rmq:"masterAddress"`
}

// ExchangeBrokerHAInfoResponse is the header of answers to EXCHANGE_BROKER_HA_INFO (906).
type ExchangeBrokerHAInfoResponse struct {
	MasterHAAddress   string     `rmq:"masterHaAddress"`
	MasterFlushOffset Opt[int64] `rmq:"masterFlushOffset"`
	MasterAddress     string     `rmq:"masterAddress"`
}

// ResetMasterFlushOffsetRequest is the header of request RESET_MASTER_FLUSH_OFFSET (908).
type ResetMasterFlushOffsetRequest struct {
	MasterFlushOffset int64 `rmq:"masterFlushOffset,required"`
}

// PopMessageRequest is the header of request POP_MESSAGE (200050).
type PopMessageRequest struct {
	ConsumerGroup string `rmq:"consumerGroup,required"`
	Topic         string `rmq:"topic,required"`
	QueueID       int32  `rmq:"queueId,required"` // -1 for all
	MaxMsgNums    int32  `rmq:"maxMsgNums,required"`
	InvisibleTime int64  `rmq:"invisibleTime,required"`
	PollTime      int64  `rmq:"pollTime,required"`
	BornTime      int64  `rmq:"bornTime"`
	InitMode      int32  `rmq:"initMode,required"`
	ExpType       string `rmq:"expType"`
	Exp           string `rmq:"exp"`
	Order         bool   `rmq:"order"`
	AttemptID     string `rmq:"attemptId"`
}

// PopMessageResponse is the header of answers to POP_MESSAGE (200050).
type PopMessageResponse struct {
	PopTime         int64  `rmq:"popTime"`
	InvisibleTime   int64  `rmq:"invisibleTime"`
	ReviveQid       int32  `rmq:"reviveQid"`
	RestNum         int64  `rmq:"restNum"`
	StartOffsetInfo string `rmq:"startOffsetInfo"`
	MsgOffsetInfo   string `rmq:"msgOffsetInfo"`
	OrderCountInfo  string `rmq:"orderCountInfo"`
}

// AckMessageRequest is the header of request ACK_MESSAGE (200051).
type AckMessageRequest struct {
	ConsumerGroup string `rmq:"consumerGroup,required"`
	Topic         string `rmq:"topic,required"`
	QueueID       int32  `rmq:"queueId,required"`
	ExtraInfo     string `rmq:"extraInfo,required"`
	Offset        int64  `rmq:"offset,required"`
	LiteTopic     string `rmq:"liteTopic"`
}

// ChangeInvisibleTimeRequest is the header of request CHANGE_MESSAGE_INVISIBLETIME (200053).
type ChangeInvisibleTimeRequest struct {
	ConsumerGroup string `rmq:"consumerGroup,required"`
	Topic         string `rmq:"topic,required"`
	QueueID       int32  `rmq:"queueId,required"`
	ExtraInfo     string `rmq:"extraInfo,required"`
	Offset        int64  `rmq:"offset,required"`
	InvisibleTime int64  `rmq:"invisibleTime,required"`
	LiteTopic     string `rmq:"liteTopic"`
	Suspend       bool   `rmq:"suspend"`
}

// ChangeInvisibleTimeResponse is the header of answers to CHANGE_MESSAGE_INVISIBLETIME (200053).
type ChangeInvisibleTimeResponse struct {
	PopTime       int64 `rmq:"popTime"`
	InvisibleTime int64 `rmq:"invisibleTime"`
	ReviveQid     int32 `rmq:"reviveQid"`
}

// PopLiteMessageRequest is the header of request POP_LITE_MESSAGE (200070).
type PopLiteMessageRequest struct {
	ClientID      string `rmq:"clientId,required"`
	ConsumerGroup string `rmq:"consumerGroup,required"`
	Topic         string `rmq:"topic,required"`
	MaxMsgNum     int32  `rmq:"maxMsgNum,required"`
	InvisibleTime int64  `rmq:"invisibleTime,required"`
	PollTime      int64  `rmq:"pollTime,required"`
	BornTime      int64  `rmq:"bornTime"`
	AttemptID     string `rmq:"attemptId"`
}

// PopLiteMessageResponse is the header of answers to POP_LITE_MESSAGE (200070).
type PopLiteMessageResponse struct {
	PopTime        int64  `rmq:"popTime"`
	InvisibleTime  int64  `rmq:"invisibleTime"`
	ReviveQid      int32  `rmq:"reviveQid"`
	OrderCountInfo string `rmq:"orderCountInfo"`
}

// NotifyUnsubscribeLiteRequest is the header of request NOTIFY_UNSUBSCRIBE_LITE (200073).
type NotifyUnsubscribeLiteRequest struct {
	LiteTopic     string `rmq:"liteTopic"`
	ConsumerGroup string `rmq:"consumerGroup"`
	ClientID      string `rmq:"clientId"`
}

// LiteInfoRequest is the header of requests about lite topics: GET_PARENT_TOPIC_INFO (200075), GET_LITE_TOPIC_INFO (200076),
// GET_LITE_CLIENT_INFO (200077) and TRIGGER_LITE_DISPATCH (200079) have some of these each.
type LiteInfoRequest struct {
	Topic       string     `rmq:"topic"`
	ParentTopic string     `rmq:"parentTopic"`
	LiteTopic   string     `rmq:"liteTopic"`
	Group       string     `rmq:"group"`
	ClientID    string     `rmq:"clientId"`
	MaxCount    Opt[int32] `rmq:"maxCount"`
}
