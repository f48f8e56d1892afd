package body

// ConsumeType is how a consumer gets its messages.
type ConsumeType string

const (
	ConsumeActively  ConsumeType = "CONSUME_ACTIVELY"
	ConsumePassively ConsumeType = "CONSUME_PASSIVELY"
	ConsumePop       ConsumeType = "CONSUME_POP"
)

// Names lists the constants in Java's order, by which the C++ client sends them.
func (ConsumeType) Names() []string {
	return []string{string(ConsumeActively), string(ConsumePassively), string(ConsumePop)}
}

// MessageModel is who of a group gets a message.
type MessageModel string

const (
	Broadcasting  MessageModel = "BROADCASTING"
	Clustering    MessageModel = "CLUSTERING"
	LiteSelective MessageModel = "LITE_SELECTIVE"
)

// Names lists the constants in Java's order.
func (MessageModel) Names() []string {
	return []string{string(Broadcasting), string(Clustering), string(LiteSelective)}
}

// ConsumeFromWhere is where a new group starts.
type ConsumeFromWhere string

const (
	ConsumeFromLastOffset  ConsumeFromWhere = "CONSUME_FROM_LAST_OFFSET"
	ConsumeFromFirstOffset ConsumeFromWhere = "CONSUME_FROM_FIRST_OFFSET"
	ConsumeFromTimestamp   ConsumeFromWhere = "CONSUME_FROM_TIMESTAMP"
)

// Names lists the constants in Java's order, with three old ones.
func (ConsumeFromWhere) Names() []string {
	return []string{
		string(ConsumeFromLastOffset), "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST", "CONSUME_FROM_MIN_OFFSET", "CONSUME_FROM_MAX_OFFSET",
		string(ConsumeFromFirstOffset), string(ConsumeFromTimestamp),
	}
}

// Expression types of a subscription.
const (
	ExpressionTag   = "TAG"
	ExpressionSQL92 = "SQL92"
)

// IsTagType tells whether an expression is one of tags, which it is where no type says otherwise (ExpressionType.isTagType).
func IsTagType(t string) bool { return t == "" || t == ExpressionTag }

// HeartbeatData is the body of HEART_BEAT (34).
type HeartbeatData struct {
	ClientID             string         `json:"clientID,omitempty"`
	ProducerDataSet      []ProducerData `json:"producerDataSet" fastjson:"nonnull"`
	ConsumerDataSet      []ConsumerData `json:"consumerDataSet" fastjson:"nonnull"`
	HeartbeatFingerprint int32          `json:"heartbeatFingerprint"`
	WithoutSub           bool           `json:"withoutSub"`
}

// ProducerData names a producer group.
type ProducerData struct {
	GroupName string `json:"groupName,omitempty"`
}

// ConsumerData is a consumer group as one client runs it.
type ConsumerData struct {
	GroupName           string             `json:"groupName,omitempty"`
	ConsumeType         ConsumeType        `json:"consumeType,omitempty"`
	MessageModel        MessageModel       `json:"messageModel,omitempty"`
	ConsumeFromWhere    ConsumeFromWhere   `json:"consumeFromWhere,omitempty"`
	SubscriptionDataSet []SubscriptionData `json:"subscriptionDataSet" fastjson:"nonnull"`
	UnitMode            bool               `json:"unitMode"`
}

// SubscriptionData is one subscribed topic. An absent ExpressionType means TAG.
type SubscriptionData struct {
	ClassFilterMode bool     `json:"classFilterMode"`
	Topic           string   `json:"topic,omitempty"`
	SubString       string   `json:"subString,omitempty"`
	TagsSet         []string `json:"tagsSet" fastjson:"nonnull"`
	CodeSet         []int32  `json:"codeSet" fastjson:"nonnull"`
	SubVersion      int64    `json:"subVersion"`
	ExpressionType  string   `json:"expressionType,omitempty"`
}

// CheckClientRequestBody is the body of CHECK_CLIENT_CONFIG (46).
type CheckClientRequestBody struct {
	ClientID         string            `json:"clientId,omitempty"`
	Group            string            `json:"group,omitempty"`
	SubscriptionData *SubscriptionData `json:"subscriptionData"`
	Namespace        string            `json:"namespace,omitempty"`
}

// Connection is one client in a list of clients. Language has to be a name that Java knows.
type Connection struct {
	ClientID   string `json:"clientId,omitempty"`
	ClientAddr string `json:"clientAddr,omitempty"`
	Language   string `json:"language,omitempty"`
	Version    int32  `json:"version"`
}

// ConsumerConnection is the answer to GET_CONSUMER_CONNECTION_LIST (203).
type ConsumerConnection struct {
	ConnectionSet     []Connection                `json:"connectionSet" fastjson:"nonnull"`
	SubscriptionTable map[string]SubscriptionData `json:"subscriptionTable" fastjson:"nonnull"`
	ConsumeType       ConsumeType                 `json:"consumeType,omitempty"`
	MessageModel      MessageModel                `json:"messageModel,omitempty"`
	ConsumeFromWhere  ConsumeFromWhere            `json:"consumeFromWhere,omitempty"`
}

// ProducerConnection is the answer to GET_PRODUCER_CONNECTION_LIST (204).
type ProducerConnection struct {
	ConnectionSet []Connection `json:"connectionSet" fastjson:"nonnull"`
}

// ProducerTableInfo is the answer to GET_ALL_PRODUCER_INFO (328).
type ProducerTableInfo struct {
	Data map[string][]ProducerInfo `json:"data" fastjson:"nonnull"`
}

// ProducerInfo is one producer of a group.
type ProducerInfo struct {
	ClientID            string `json:"clientId,omitempty"`
	RemoteIP            string `json:"remoteIP,omitempty"`
	Language            string `json:"language,omitempty"`
	Version             int32  `json:"version"`
	LastUpdateTimestamp int64  `json:"lastUpdateTimestamp"`
}

// GetConsumerListByGroupResponseBody is the answer to GET_CONSUMER_LIST_BY_GROUP (38).
type GetConsumerListByGroupResponseBody struct {
	ConsumerIDList []string `json:"consumerIdList"`
}

// QuerySubscriptionResponseBody is the answer to QUERY_SUBSCRIPTION_BY_CONSUMER (345).
type QuerySubscriptionResponseBody struct {
	SubscriptionData *SubscriptionData `json:"subscriptionData"`
	Group            string            `json:"group,omitempty"`
	Topic            string            `json:"topic,omitempty"`
}
