// Package code numbers the requests and answers of the remoting protocol.
//
// Names are those of RequestCode and ResponseCode in the Java reference, spelled as Go spells them;
// the numbers are the protocol (spec: request-codes.tsv, response-codes.tsv).
package code

// Request codes.
const (
	SendMessage                          int32 = 10     // broker+proxy
	PullMessage                          int32 = 11     // broker+proxy
	QueryMessage                         int32 = 12     // broker
	QueryBrokerOffset                    int32 = 13     // none-in-server
	QueryConsumerOffset                  int32 = 14     // broker+proxy
	UpdateConsumerOffset                 int32 = 15     // broker+proxy
	UpdateAndCreateTopic                 int32 = 17     // broker
	UpdateAndCreateTopicList             int32 = 18     // broker
	GetAllTopicConfig                    int32 = 21     // broker
	GetTopicConfigList                   int32 = 22     // none-in-server
	GetTopicNameList                     int32 = 23     // none-in-server
	UpdateBrokerConfig                   int32 = 25     // broker+container
	GetBrokerConfig                      int32 = 26     // broker+container
	TriggerDeleteFiles                   int32 = 27     // none-in-server
	GetBrokerRuntimeInfo                 int32 = 28     // broker
	SearchOffsetByTimestamp              int32 = 29     // broker+proxy
	GetMaxOffset                         int32 = 30     // broker+proxy
	GetMinOffset                         int32 = 31     // broker+proxy
	GetEarliestMsgStoreTime              int32 = 32     // broker
	ViewMessageByID                      int32 = 33     // broker
	HeartBeat                            int32 = 34     // broker+proxy
	UnregisterClient                     int32 = 35     // broker+proxy
	ConsumerSendMsgBack                  int32 = 36     // broker+proxy
	EndTransaction                       int32 = 37     // broker+proxy
	GetConsumerListByGroup               int32 = 38     // broker+proxy
	CheckTransactionState                int32 = 39     // client
	NotifyConsumerIDsChanged             int32 = 40     // client
	LockBatchMQ                          int32 = 41     // broker+proxy
	UnlockBatchMQ                        int32 = 42     // broker+proxy
	GetAllConsumerOffset                 int32 = 43     // broker
	GetAllDelayOffset                    int32 = 45     // broker
	CheckClientConfig                    int32 = 46     // broker+proxy
	GetClientConfig                      int32 = 47     // none-in-server
	GetTimerCheckPoint                   int32 = 60     // broker
	GetTimerMetrics                      int32 = 61     // broker
	PutKVConfig                          int32 = 100    // namesrv
	GetKVConfig                          int32 = 101    // namesrv
	DeleteKVConfig                       int32 = 102    // namesrv
	RegisterBroker                       int32 = 103    // namesrv
	UnregisterBroker                     int32 = 104    // namesrv
	GetRouteInfoByTopic                  int32 = 105    // namesrv+proxy
	GetBrokerClusterInfo                 int32 = 106    // namesrv
	UpdateAndCreateSubscriptionGroup     int32 = 200    // broker
	GetAllSubscriptionGroupConfig        int32 = 201    // broker
	GetTopicStatsInfo                    int32 = 202    // broker
	GetConsumerConnectionList            int32 = 203    // broker+proxy
	GetProducerConnectionList            int32 = 204    // broker
	WipeWritePermOfBroker                int32 = 205    // namesrv
	GetAllTopicListFromNameServer        int32 = 206    // namesrv
	DeleteSubscriptionGroup              int32 = 207    // broker
	GetConsumeStats                      int32 = 208    // broker
	SuspendConsumer                      int32 = 209    // none-in-server
	ResumeConsumer                       int32 = 210    // none-in-server
	ResetConsumerOffsetInConsumer        int32 = 211    // none-in-server
	ResetConsumerOffsetInBroker          int32 = 212    // none-in-server
	AdjustConsumerThreadPool             int32 = 213    // none-in-server
	WhoConsumeTheMessage                 int32 = 214    // none-in-server
	DeleteTopicInBroker                  int32 = 215    // broker
	DeleteTopicInNamesrv                 int32 = 216    // namesrv
	RegisterTopicInNamesrv               int32 = 217    // namesrv
	GetKVListByNamespace                 int32 = 219    // namesrv
	ResetConsumerClientOffset            int32 = 220    // client
	GetConsumerStatusFromClient          int32 = 221    // client
	InvokeBrokerToResetOffset            int32 = 222    // broker
	InvokeBrokerToGetConsumerStatus      int32 = 223    // broker
	GetTopicsByCluster                   int32 = 224    // namesrv
	UpdateAndCreateSubscriptionGroupList int32 = 225    // broker
	QueryTopicConsumeByWho               int32 = 300    // broker
	RegisterFilterServer                 int32 = 301    // none-in-server
	RegisterMessageFilterClass           int32 = 302    // none-in-server
	QueryConsumeTimeSpan                 int32 = 303    // broker
	GetSystemTopicListFromNS             int32 = 304    // namesrv
	GetSystemTopicListFromBroker         int32 = 305    // broker
	CleanExpiredConsumeQueue             int32 = 306    // broker
	GetConsumerRunningInfo               int32 = 307    // broker+client
	QueryCorrectionOffset                int32 = 308    // broker
	ConsumeMessageDirectly               int32 = 309    // broker+client
	SendMessageV2                        int32 = 310    // broker+proxy
	GetUnitTopicList                     int32 = 311    // namesrv
	GetHasUnitSubTopicList               int32 = 312    // namesrv
	GetHasUnitSubUnunitTopicList         int32 = 313    // namesrv
	CloneGroupOffset                     int32 = 314    // broker
	ViewBrokerStatsData                  int32 = 315    // broker
	CleanUnusedTopic                     int32 = 316    // broker
	GetBrokerConsumeStats                int32 = 317    // broker
	UpdateNamesrvConfig                  int32 = 318    // namesrv
	GetNamesrvConfig                     int32 = 319    // namesrv
	SendBatchMessage                     int32 = 320    // broker+proxy
	QueryConsumeQueue                    int32 = 321    // broker
	QueryDataVersion                     int32 = 322    // namesrv
	ResumeCheckHalfMessage               int32 = 323    // broker
	SendReplyMessage                     int32 = 324    // broker
	SendReplyMessageV2                   int32 = 325    // broker
	PushReplyMessageToClient             int32 = 326    // client
	AddWritePermOfBroker                 int32 = 327    // namesrv
	GetAllProducerInfo                   int32 = 328    // broker
	DeleteExpiredCommitLog               int32 = 329    // broker
	QueryTopicsByConsumer                int32 = 343    // broker
	QuerySubscriptionByConsumer          int32 = 345    // broker
	GetTopicConfig                       int32 = 351    // broker
	GetSubscriptionGroupConfig           int32 = 352    // broker
	UpdateAndGetGroupForbidden           int32 = 353    // broker
	CheckRocksDBCQWriteProgress          int32 = 354    // broker
	ExportRocksDBConfigToJSON            int32 = 355    // broker
	LitePullMessage                      int32 = 361    // broker+proxy
	RecallMessage                        int32 = 370    // broker+proxy
	QueryAssignment                      int32 = 400    // broker
	SetMessageRequestMode                int32 = 401    // broker
	GetAllMessageRequestMode             int32 = 402    // broker
	UpdateAndCreateStaticTopic           int32 = 513    // broker
	GetBrokerMemberGroup                 int32 = 901    // namesrv
	AddBroker                            int32 = 902    // container
	RemoveBroker                         int32 = 903    // container
	BrokerHeartbeat                      int32 = 904    // namesrv+controller
	NotifyMinBrokerIDChange              int32 = 905    // broker
	ExchangeBrokerHAInfo                 int32 = 906    // broker
	GetBrokerHAStatus                    int32 = 907    // broker
	ResetMasterFlushOffset               int32 = 908    // broker
	ControllerAlterSyncStateSet          int32 = 1001   // controller
	ControllerElectMaster                int32 = 1002   // controller
	ControllerRegisterBroker             int32 = 1003   // controller
	ControllerGetReplicaInfo             int32 = 1004   // controller
	ControllerGetMetadataInfo            int32 = 1005   // controller
	ControllerGetSyncStateData           int32 = 1006   // controller
	GetBrokerEpochCache                  int32 = 1007   // broker
	NotifyBrokerRoleChanged              int32 = 1008   // broker
	UpdateControllerConfig               int32 = 1009   // controller
	GetControllerConfig                  int32 = 1010   // controller
	CleanBrokerData                      int32 = 1011   // controller
	ControllerGetNextBrokerID            int32 = 1012   // controller
	ControllerApplyBrokerID              int32 = 1013   // controller
	BrokerCloseChannelRequest            int32 = 1014   // none-in-server
	CheckNotActiveBrokerRequest          int32 = 1015   // none-in-server
	GetBrokerLiveInfoRequest             int32 = 1016   // none-in-server
	GetSyncStateDataRequest              int32 = 1017   // none-in-server
	RaftBrokerHeartBeatEventRequest      int32 = 1018   // none-in-server
	UpdateColdDataFlowCtrConfig          int32 = 2001   // broker
	RemoveColdDataFlowCtrConfig          int32 = 2002   // broker
	GetColdDataFlowCtrInfo               int32 = 2003   // broker
	SetCommitLogReadMode                 int32 = 2004   // broker
	AuthCreateUser                       int32 = 3001   // broker
	AuthUpdateUser                       int32 = 3002   // broker
	AuthDeleteUser                       int32 = 3003   // broker
	AuthGetUser                          int32 = 3004   // broker
	AuthListUser                         int32 = 3005   // broker
	AuthCreateACL                        int32 = 3006   // broker
	AuthUpdateACL                        int32 = 3007   // broker
	AuthDeleteACL                        int32 = 3008   // broker
	AuthGetACL                           int32 = 3009   // broker
	AuthListACL                          int32 = 3010   // broker
	SwitchTimerEngine                    int32 = 5001   // broker
	PopMessage                           int32 = 200050 // broker+proxy
	AckMessage                           int32 = 200051 // broker+proxy
	PeekMessage                          int32 = 200052 // broker
	ChangeMessageInvisibleTime           int32 = 200053 // broker+proxy
	Notification                         int32 = 200054 // broker
	PollingInfo                          int32 = 200055 // broker
	PopRollback                          int32 = 200056 // broker
	PopLiteMessage                       int32 = 200070 // broker
	LiteSubscriptionCtl                  int32 = 200071 // broker
	AckLiteMessage                       int32 = 200072 // none-in-server
	NotifyUnsubscribeLite                int32 = 200073 // client
	GetBrokerLiteInfo                    int32 = 200074 // broker
	GetParentTopicInfo                   int32 = 200075 // broker
	GetLiteTopicInfo                     int32 = 200076 // broker
	GetLiteClientInfo                    int32 = 200077 // broker
	GetLiteGroupInfo                     int32 = 200078 // broker
	TriggerLiteDispatch                  int32 = 200079 // broker
	BatchAckMessage                      int32 = 200151 // broker
)

// Response codes.
const (
	RpcTimeOut                           int32 = -1006
	RpcSendToChannelFailed               int32 = -1004
	RpcAddrIsNull                        int32 = -1002
	RpcUnknown                           int32 = -1000
	Success                              int32 = 0
	SystemError                          int32 = 1
	SystemBusy                           int32 = 2
	RequestCodeNotSupported              int32 = 3
	TransactionFailed                    int32 = 4
	FlushDiskTimeout                     int32 = 10
	SlaveNotAvailable                    int32 = 11
	FlushSlaveTimeout                    int32 = 12
	MessageIllegal                       int32 = 13
	ServiceNotAvailable                  int32 = 14
	VersionNotSupported                  int32 = 15
	NoPermission                         int32 = 16
	TopicNotExist                        int32 = 17
	TopicExistAlready                    int32 = 18
	PullNotFound                         int32 = 19
	PullRetryImmediately                 int32 = 20
	PullOffsetMoved                      int32 = 21
	QueryNotFound                        int32 = 22
	SubscriptionParseFailed              int32 = 23
	SubscriptionNotExist                 int32 = 24
	SubscriptionNotLatest                int32 = 25
	SubscriptionGroupNotExist            int32 = 26
	FilterDataNotExist                   int32 = 27
	FilterDataNotLatest                  int32 = 28
	InvalidParameter                     int32 = 29
	TransactionShouldCommit              int32 = 200
	TransactionShouldRollback            int32 = 201
	TransactionStateUnknow               int32 = 202
	TransactionStateGroupWrong           int32 = 203
	NoBuyerID                            int32 = 204
	NotInCurrentUnit                     int32 = 205
	ConsumerNotOnline                    int32 = 206
	ConsumeMsgTimeout                    int32 = 207
	NoMessage                            int32 = 208
	PollingFull                          int32 = 209
	PollingTimeout                       int32 = 210
	BrokerNotExist                       int32 = 211
	BrokerDispatchNotComplete            int32 = 212
	BroadcastConsumption                 int32 = 213
	FlowControl                          int32 = 215
	NotLeaderForQueue                    int32 = 501
	IllegalOperation                     int32 = 604
	GoAway                               int32 = 1500
	ControllerFencedMasterEpoch          int32 = 2000
	ControllerFencedSyncStateSetEpoch    int32 = 2001
	ControllerInvalidMaster              int32 = 2002
	ControllerInvalidReplicas            int32 = 2003
	ControllerMasterNotAvailable         int32 = 2004
	ControllerInvalidRequest             int32 = 2005
	ControllerBrokerNotAlive             int32 = 2006
	ControllerNotLeader                  int32 = 2007
	ControllerBrokerMetadataNotExist     int32 = 2008
	ControllerInvalidCleanBrokerMetadata int32 = 2009
	ControllerBrokerNeedToBeRegistered   int32 = 2010
	ControllerMasterStillExist           int32 = 2011
	ControllerElectMasterFailed          int32 = 2012
	ControllerAlterSyncStateSetFailed    int32 = 2013
	ControllerBrokerIDInvalid            int32 = 2014
	ControllerJRaftInternalError         int32 = 2015
	ControllerBrokerLiveInfoNotExists    int32 = 2016
	LMQQuotaExceeded                     int32 = 2017
	LiteSubscriptionQuotaExceeded        int32 = 2018
	UserNotExist                         int32 = 3001
	PolicyNotExist                       int32 = 3002
)

// RequestName is the Java name of a request code, for log lines and remarks; "" if the code is unknown.
func RequestName(c int32) string {
	switch c {
	case SendMessage:
		return "SEND_MESSAGE"
	case PullMessage:
		return "PULL_MESSAGE"
	case QueryMessage:
		return "QUERY_MESSAGE"
	case QueryBrokerOffset:
		return "QUERY_BROKER_OFFSET"
	case QueryConsumerOffset:
		return "QUERY_CONSUMER_OFFSET"
	case UpdateConsumerOffset:
		return "UPDATE_CONSUMER_OFFSET"
	case UpdateAndCreateTopic:
		return "UPDATE_AND_CREATE_TOPIC"
	case UpdateAndCreateTopicList:
		return "UPDATE_AND_CREATE_TOPIC_LIST"
	case GetAllTopicConfig:
		return "GET_ALL_TOPIC_CONFIG"
	case GetTopicConfigList:
		return "GET_TOPIC_CONFIG_LIST"
	case GetTopicNameList:
		return "GET_TOPIC_NAME_LIST"
	case UpdateBrokerConfig:
		return "UPDATE_BROKER_CONFIG"
	case GetBrokerConfig:
		return "GET_BROKER_CONFIG"
	case TriggerDeleteFiles:
		return "TRIGGER_DELETE_FILES"
	case GetBrokerRuntimeInfo:
		return "GET_BROKER_RUNTIME_INFO"
	case SearchOffsetByTimestamp:
		return "SEARCH_OFFSET_BY_TIMESTAMP"
	case GetMaxOffset:
		return "GET_MAX_OFFSET"
	case GetMinOffset:
		return "GET_MIN_OFFSET"
	case GetEarliestMsgStoreTime:
		return "GET_EARLIEST_MSG_STORETIME"
	case ViewMessageByID:
		return "VIEW_MESSAGE_BY_ID"
	case HeartBeat:
		return "HEART_BEAT"
	case UnregisterClient:
		return "UNREGISTER_CLIENT"
	case ConsumerSendMsgBack:
		return "CONSUMER_SEND_MSG_BACK"
	case EndTransaction:
		return "END_TRANSACTION"
	case GetConsumerListByGroup:
		return "GET_CONSUMER_LIST_BY_GROUP"
	case CheckTransactionState:
		return "CHECK_TRANSACTION_STATE"
	case NotifyConsumerIDsChanged:
		return "NOTIFY_CONSUMER_IDS_CHANGED"
	case LockBatchMQ:
		return "LOCK_BATCH_MQ"
	case UnlockBatchMQ:
		return "UNLOCK_BATCH_MQ"
	case GetAllConsumerOffset:
		return "GET_ALL_CONSUMER_OFFSET"
	case GetAllDelayOffset:
		return "GET_ALL_DELAY_OFFSET"
	case CheckClientConfig:
		return "CHECK_CLIENT_CONFIG"
	case GetClientConfig:
		return "GET_CLIENT_CONFIG"
	case GetTimerCheckPoint:
		return "GET_TIMER_CHECK_POINT"
	case GetTimerMetrics:
		return "GET_TIMER_METRICS"
	case PutKVConfig:
		return "PUT_KV_CONFIG"
	case GetKVConfig:
		return "GET_KV_CONFIG"
	case DeleteKVConfig:
		return "DELETE_KV_CONFIG"
	case RegisterBroker:
		return "REGISTER_BROKER"
	case UnregisterBroker:
		return "UNREGISTER_BROKER"
	case GetRouteInfoByTopic:
		return "GET_ROUTEINFO_BY_TOPIC"
	case GetBrokerClusterInfo:
		return "GET_BROKER_CLUSTER_INFO"
	case UpdateAndCreateSubscriptionGroup:
		return "UPDATE_AND_CREATE_SUBSCRIPTIONGROUP"
	case GetAllSubscriptionGroupConfig:
		return "GET_ALL_SUBSCRIPTIONGROUP_CONFIG"
	case GetTopicStatsInfo:
		return "GET_TOPIC_STATS_INFO"
	case GetConsumerConnectionList:
		return "GET_CONSUMER_CONNECTION_LIST"
	case GetProducerConnectionList:
		return "GET_PRODUCER_CONNECTION_LIST"
	case WipeWritePermOfBroker:
		return "WIPE_WRITE_PERM_OF_BROKER"
	case GetAllTopicListFromNameServer:
		return "GET_ALL_TOPIC_LIST_FROM_NAMESERVER"
	case DeleteSubscriptionGroup:
		return "DELETE_SUBSCRIPTIONGROUP"
	case GetConsumeStats:
		return "GET_CONSUME_STATS"
	case SuspendConsumer:
		return "SUSPEND_CONSUMER"
	case ResumeConsumer:
		return "RESUME_CONSUMER"
	case ResetConsumerOffsetInConsumer:
		return "RESET_CONSUMER_OFFSET_IN_CONSUMER"
	case ResetConsumerOffsetInBroker:
		return "RESET_CONSUMER_OFFSET_IN_BROKER"
	case AdjustConsumerThreadPool:
		return "ADJUST_CONSUMER_THREAD_POOL"
	case WhoConsumeTheMessage:
		return "WHO_CONSUME_THE_MESSAGE"
	case DeleteTopicInBroker:
		return "DELETE_TOPIC_IN_BROKER"
	case DeleteTopicInNamesrv:
		return "DELETE_TOPIC_IN_NAMESRV"
	case RegisterTopicInNamesrv:
		return "REGISTER_TOPIC_IN_NAMESRV"
	case GetKVListByNamespace:
		return "GET_KVLIST_BY_NAMESPACE"
	case ResetConsumerClientOffset:
		return "RESET_CONSUMER_CLIENT_OFFSET"
	case GetConsumerStatusFromClient:
		return "GET_CONSUMER_STATUS_FROM_CLIENT"
	case InvokeBrokerToResetOffset:
		return "INVOKE_BROKER_TO_RESET_OFFSET"
	case InvokeBrokerToGetConsumerStatus:
		return "INVOKE_BROKER_TO_GET_CONSUMER_STATUS"
	case GetTopicsByCluster:
		return "GET_TOPICS_BY_CLUSTER"
	case UpdateAndCreateSubscriptionGroupList:
		return "UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST"
	case QueryTopicConsumeByWho:
		return "QUERY_TOPIC_CONSUME_BY_WHO"
	case RegisterFilterServer:
		return "REGISTER_FILTER_SERVER"
	case RegisterMessageFilterClass:
		return "REGISTER_MESSAGE_FILTER_CLASS"
	case QueryConsumeTimeSpan:
		return "QUERY_CONSUME_TIME_SPAN"
	case GetSystemTopicListFromNS:
		return "GET_SYSTEM_TOPIC_LIST_FROM_NS"
	case GetSystemTopicListFromBroker:
		return "GET_SYSTEM_TOPIC_LIST_FROM_BROKER"
	case CleanExpiredConsumeQueue:
		return "CLEAN_EXPIRED_CONSUMEQUEUE"
	case GetConsumerRunningInfo:
		return "GET_CONSUMER_RUNNING_INFO"
	case QueryCorrectionOffset:
		return "QUERY_CORRECTION_OFFSET"
	case ConsumeMessageDirectly:
		return "CONSUME_MESSAGE_DIRECTLY"
	case SendMessageV2:
		return "SEND_MESSAGE_V2"
	case GetUnitTopicList:
		return "GET_UNIT_TOPIC_LIST"
	case GetHasUnitSubTopicList:
		return "GET_HAS_UNIT_SUB_TOPIC_LIST"
	case GetHasUnitSubUnunitTopicList:
		return "GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST"
	case CloneGroupOffset:
		return "CLONE_GROUP_OFFSET"
	case ViewBrokerStatsData:
		return "VIEW_BROKER_STATS_DATA"
	case CleanUnusedTopic:
		return "CLEAN_UNUSED_TOPIC"
	case GetBrokerConsumeStats:
		return "GET_BROKER_CONSUME_STATS"
	case UpdateNamesrvConfig:
		return "UPDATE_NAMESRV_CONFIG"
	case GetNamesrvConfig:
		return "GET_NAMESRV_CONFIG"
	case SendBatchMessage:
		return "SEND_BATCH_MESSAGE"
	case QueryConsumeQueue:
		return "QUERY_CONSUME_QUEUE"
	case QueryDataVersion:
		return "QUERY_DATA_VERSION"
	case ResumeCheckHalfMessage:
		return "RESUME_CHECK_HALF_MESSAGE"
	case SendReplyMessage:
		return "SEND_REPLY_MESSAGE"
	case SendReplyMessageV2:
		return "SEND_REPLY_MESSAGE_V2"
	case PushReplyMessageToClient:
		return "PUSH_REPLY_MESSAGE_TO_CLIENT"
	case AddWritePermOfBroker:
		return "ADD_WRITE_PERM_OF_BROKER"
	case GetAllProducerInfo:
		return "GET_ALL_PRODUCER_INFO"
	case DeleteExpiredCommitLog:
		return "DELETE_EXPIRED_COMMITLOG"
	case QueryTopicsByConsumer:
		return "QUERY_TOPICS_BY_CONSUMER"
	case QuerySubscriptionByConsumer:
		return "QUERY_SUBSCRIPTION_BY_CONSUMER"
	case GetTopicConfig:
		return "GET_TOPIC_CONFIG"
	case GetSubscriptionGroupConfig:
		return "GET_SUBSCRIPTIONGROUP_CONFIG"
	case UpdateAndGetGroupForbidden:
		return "UPDATE_AND_GET_GROUP_FORBIDDEN"
	case CheckRocksDBCQWriteProgress:
		return "CHECK_ROCKSDB_CQ_WRITE_PROGRESS"
	case ExportRocksDBConfigToJSON:
		return "EXPORT_ROCKSDB_CONFIG_TO_JSON"
	case LitePullMessage:
		return "LITE_PULL_MESSAGE"
	case RecallMessage:
		return "RECALL_MESSAGE"
	case QueryAssignment:
		return "QUERY_ASSIGNMENT"
	case SetMessageRequestMode:
		return "SET_MESSAGE_REQUEST_MODE"
	case GetAllMessageRequestMode:
		return "GET_ALL_MESSAGE_REQUEST_MODE"
	case UpdateAndCreateStaticTopic:
		return "UPDATE_AND_CREATE_STATIC_TOPIC"
	case GetBrokerMemberGroup:
		return "GET_BROKER_MEMBER_GROUP"
	case AddBroker:
		return "ADD_BROKER"
	case RemoveBroker:
		return "REMOVE_BROKER"
	case BrokerHeartbeat:
		return "BROKER_HEARTBEAT"
	case NotifyMinBrokerIDChange:
		return "NOTIFY_MIN_BROKER_ID_CHANGE"
	case ExchangeBrokerHAInfo:
		return "EXCHANGE_BROKER_HA_INFO"
	case GetBrokerHAStatus:
		return "GET_BROKER_HA_STATUS"
	case ResetMasterFlushOffset:
		return "RESET_MASTER_FLUSH_OFFSET"
	case ControllerAlterSyncStateSet:
		return "CONTROLLER_ALTER_SYNC_STATE_SET"
	case ControllerElectMaster:
		return "CONTROLLER_ELECT_MASTER"
	case ControllerRegisterBroker:
		return "CONTROLLER_REGISTER_BROKER"
	case ControllerGetReplicaInfo:
		return "CONTROLLER_GET_REPLICA_INFO"
	case ControllerGetMetadataInfo:
		return "CONTROLLER_GET_METADATA_INFO"
	case ControllerGetSyncStateData:
		return "CONTROLLER_GET_SYNC_STATE_DATA"
	case GetBrokerEpochCache:
		return "GET_BROKER_EPOCH_CACHE"
	case NotifyBrokerRoleChanged:
		return "NOTIFY_BROKER_ROLE_CHANGED"
	case UpdateControllerConfig:
		return "UPDATE_CONTROLLER_CONFIG"
	case GetControllerConfig:
		return "GET_CONTROLLER_CONFIG"
	case CleanBrokerData:
		return "CLEAN_BROKER_DATA"
	case ControllerGetNextBrokerID:
		return "CONTROLLER_GET_NEXT_BROKER_ID"
	case ControllerApplyBrokerID:
		return "CONTROLLER_APPLY_BROKER_ID"
	case BrokerCloseChannelRequest:
		return "BROKER_CLOSE_CHANNEL_REQUEST"
	case CheckNotActiveBrokerRequest:
		return "CHECK_NOT_ACTIVE_BROKER_REQUEST"
	case GetBrokerLiveInfoRequest:
		return "GET_BROKER_LIVE_INFO_REQUEST"
	case GetSyncStateDataRequest:
		return "GET_SYNC_STATE_DATA_REQUEST"
	case RaftBrokerHeartBeatEventRequest:
		return "RAFT_BROKER_HEART_BEAT_EVENT_REQUEST"
	case UpdateColdDataFlowCtrConfig:
		return "UPDATE_COLD_DATA_FLOW_CTR_CONFIG"
	case RemoveColdDataFlowCtrConfig:
		return "REMOVE_COLD_DATA_FLOW_CTR_CONFIG"
	case GetColdDataFlowCtrInfo:
		return "GET_COLD_DATA_FLOW_CTR_INFO"
	case SetCommitLogReadMode:
		return "SET_COMMITLOG_READ_MODE"
	case AuthCreateUser:
		return "AUTH_CREATE_USER"
	case AuthUpdateUser:
		return "AUTH_UPDATE_USER"
	case AuthDeleteUser:
		return "AUTH_DELETE_USER"
	case AuthGetUser:
		return "AUTH_GET_USER"
	case AuthListUser:
		return "AUTH_LIST_USER"
	case AuthCreateACL:
		return "AUTH_CREATE_ACL"
	case AuthUpdateACL:
		return "AUTH_UPDATE_ACL"
	case AuthDeleteACL:
		return "AUTH_DELETE_ACL"
	case AuthGetACL:
		return "AUTH_GET_ACL"
	case AuthListACL:
		return "AUTH_LIST_ACL"
	case SwitchTimerEngine:
		return "SWITCH_TIMER_ENGINE"
	case PopMessage:
		return "POP_MESSAGE"
	case AckMessage:
		return "ACK_MESSAGE"
	case PeekMessage:
		return "PEEK_MESSAGE"
	case ChangeMessageInvisibleTime:
		return "CHANGE_MESSAGE_INVISIBLETIME"
	case Notification:
		return "NOTIFICATION"
	case PollingInfo:
		return "POLLING_INFO"
	case PopRollback:
		return "POP_ROLLBACK"
	case PopLiteMessage:
		return "POP_LITE_MESSAGE"
	case LiteSubscriptionCtl:
		return "LITE_SUBSCRIPTION_CTL"
	case AckLiteMessage:
		return "ACK_LITE_MESSAGE"
	case NotifyUnsubscribeLite:
		return "NOTIFY_UNSUBSCRIBE_LITE"
	case GetBrokerLiteInfo:
		return "GET_BROKER_LITE_INFO"
	case GetParentTopicInfo:
		return "GET_PARENT_TOPIC_INFO"
	case GetLiteTopicInfo:
		return "GET_LITE_TOPIC_INFO"
	case GetLiteClientInfo:
		return "GET_LITE_CLIENT_INFO"
	case GetLiteGroupInfo:
		return "GET_LITE_GROUP_INFO"
	case TriggerLiteDispatch:
		return "TRIGGER_LITE_DISPATCH"
	case BatchAckMessage:
		return "BATCH_ACK_MESSAGE"
	}
	return ""
}
