package body

// Actions of a lite subscription (LiteSubscriptionAction).
const (
	LitePartialAdd     = "PARTIAL_ADD"
	LitePartialRemove  = "PARTIAL_REMOVE"
	LiteCompleteAdd    = "COMPLETE_ADD"
	LiteCompleteRemove = "COMPLETE_REMOVE"
)

// Kinds of a place to start (OffsetOption), and the values of a policy.
const (
	LitePolicy = "POLICY"
	LiteOffset = "OFFSET"
	LiteTail   = "TAIL_N"
	LiteTime   = "TIMESTAMP"

	LitePolicyLast = 0
	LitePolicyMin  = 1
	LitePolicyMax  = 2
)

// LiteSubscriptionCtlRequestBody is the body of LITE_SUBSCRIPTION_CTL (200071).
type LiteSubscriptionCtlRequestBody struct {
	SubscriptionSet []LiteSubscription `json:"subscriptionSet"`
}

// LiteSubscription is what one client orders (LiteSubscriptionDTO).
type LiteSubscription struct {
	Action       string            `json:"action,omitempty"`
	ClientID     string            `json:"clientId,omitempty"`
	Group        string            `json:"group,omitempty"`
	LiteTopicSet []string          `json:"liteTopicSet"`
	OffsetOption *LiteOffsetOption `json:"offsetOption"`
	Topic        string            `json:"topic,omitempty"`
	Version      int64             `json:"version"`
}

// LiteOffsetOption says where a new subscription starts.
type LiteOffsetOption struct {
	Type  string `json:"type,omitempty"`
	Value int64  `json:"value"`
}

// ClientGroup is a client and its group.
type ClientGroup struct {
	ClientID string `json:"clientId,omitempty"`
	Group    string `json:"group,omitempty"`
}

// LiteBrokerInfo is the answer to GET_BROKER_LITE_INFO (200074).
type LiteBrokerInfo struct {
	CQTableSize           int32               `json:"cqTableSize"`
	CurrentLmqNum         int32               `json:"currentLmqNum"`
	EventMapSize          int32               `json:"eventMapSize"`
	GroupMeta             map[string][]string `json:"groupMeta" fastjson:"nonnull"`
	LiteSubscriptionCount int32               `json:"liteSubscriptionCount"`
	MaxLmqNum             int32               `json:"maxLmqNum"`
	OffsetTableSize       int32               `json:"offsetTableSize"`
	OrderInfoCount        int32               `json:"orderInfoCount"`
	StoreType             string              `json:"storeType,omitempty"`
	TopicMeta             map[string]int32    `json:"topicMeta" fastjson:"nonnull"`
}

// LiteParentInfo is the answer to GET_PARENT_TOPIC_INFO (200075).
type LiteParentInfo struct {
	Groups         []string `json:"groups"`
	LiteTopicCount int32    `json:"liteTopicCount"`
	LmqNum         int32    `json:"lmqNum"`
	Topic          string   `json:"topic,omitempty"`
	TTL            int32    `json:"ttl"`
}

// LiteTopicInfo is the answer to GET_LITE_TOPIC_INFO (200076).
type LiteTopicInfo struct {
	LiteTopic        string        `json:"liteTopic,omitempty"`
	ParentTopic      string        `json:"parentTopic,omitempty"`
	ShardingToBroker bool          `json:"shardingToBroker"`
	Subscriber       []ClientGroup `json:"subscriber"`
	TopicOffset      TopicOffset   `json:"topicOffset"`
}

// LiteClientInfo is the answer to GET_LITE_CLIENT_INFO (200077).
type LiteClientInfo struct {
	ClientID        string   `json:"clientId,omitempty"`
	Group           string   `json:"group,omitempty"`
	LastAccessTime  int64    `json:"lastAccessTime"`
	LastConsumeTime int64    `json:"lastConsumeTime"`
	LiteTopicCount  int32    `json:"liteTopicCount"`
	LiteTopicSet    []string `json:"liteTopicSet"`
	ParentTopic     string   `json:"parentTopic,omitempty"`
}
