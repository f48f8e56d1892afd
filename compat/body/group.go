package body

import "apogee/compat/fastjson"

// SubscriptionGroupConfig is what a broker knows of a consumer group. Java class SubscriptionGroupConfig.
type SubscriptionGroupConfig struct {
	GroupName                      string                   `json:"groupName,omitempty"`
	ConsumeEnable                  bool                     `json:"consumeEnable"`
	ConsumeFromMinEnable           bool                     `json:"consumeFromMinEnable"`
	ConsumeBroadcastEnable         bool                     `json:"consumeBroadcastEnable"`
	ConsumeMessageOrderly          bool                     `json:"consumeMessageOrderly"`
	RetryQueueNums                 int32                    `json:"retryQueueNums"`
	RetryMaxTimes                  int32                    `json:"retryMaxTimes"`
	GroupRetryPolicy               *GroupRetryPolicy        `json:"groupRetryPolicy"`
	BrokerID                       int64                    `json:"brokerId"`
	WhichBrokerWhenConsumeSlowly   int64                    `json:"whichBrokerWhenConsumeSlowly"`
	NotifyConsumerIDsChangedEnable bool                     `json:"notifyConsumerIdsChangedEnable"`
	GroupSysFlag                   int32                    `json:"groupSysFlag"`
	ConsumeTimeoutMinute           int32                    `json:"consumeTimeoutMinute"`
	SubscriptionDataSet            []SimpleSubscriptionData `json:"subscriptionDataSet"`
	Attributes                     map[string]string        `json:"attributes" fastjson:"nonnull"`
	Extras                         fastjson.Extras          `json:"-"`
}

// NewSubscriptionGroupConfig is a group with Java's defaults.
func NewSubscriptionGroupConfig(name string) SubscriptionGroupConfig {
	return SubscriptionGroupConfig{
		GroupName: name, ConsumeEnable: true, ConsumeFromMinEnable: true, ConsumeBroadcastEnable: true, RetryQueueNums: 1, RetryMaxTimes: 16,
		GroupRetryPolicy: &GroupRetryPolicy{Type: CustomizedRetry}, WhichBrokerWhenConsumeSlowly: 1, NotifyConsumerIDsChangedEnable: true,
		ConsumeTimeoutMinute: 15,
	}
}

// UnmarshalJSON gives what the text leaves out Java's defaults: files of 4.9 lack half of the members.
func (c *SubscriptionGroupConfig) UnmarshalJSON(text []byte) (err error) {
	type plain SubscriptionGroupConfig
	*c = NewSubscriptionGroupConfig("")
	c.Extras, err = fastjson.UnmarshalKeeping(text, (*plain)(c))
	return err
}

// Types of retry policy.
const (
	CustomizedRetry  = "CUSTOMIZED"
	ExponentialRetry = "EXPONENTIAL"
)

// GroupRetryPolicy says how long a message waits before each redelivery (pop and gRPC). The policy that Type names may be absent:
// then it is the default one.
type GroupRetryPolicy struct {
	Type                   string                  `json:"type,omitempty"`
	ExponentialRetryPolicy *ExponentialRetryPolicy `json:"exponentialRetryPolicy"`
	CustomizedRetryPolicy  *CustomizedRetryPolicy  `json:"customizedRetryPolicy"`
	Extras                 fastjson.Extras         `json:"-"`
}

// UnmarshalJSON keeps unknown members. An empty type is Java's null, which is left out on writing and read back as the default.
func (p *GroupRetryPolicy) UnmarshalJSON(text []byte) (err error) {
	type plain GroupRetryPolicy
	*p = GroupRetryPolicy{Type: CustomizedRetry}
	p.Extras, err = fastjson.UnmarshalKeeping(text, (*plain)(p))
	if p.Type == "" {
		p.Type = CustomizedRetry
	}
	return err
}

// ExponentialRetryPolicy waits Initial*Multiplier^n, at most Max (ms).
type ExponentialRetryPolicy struct {
	Initial    int64 `json:"initial"`
	Max        int64 `json:"max"`
	Multiplier int64 `json:"multiplier"`
}

// CustomizedRetryPolicy lists the waits (ms).
type CustomizedRetryPolicy struct {
	Next []int64 `json:"next"`
}

// SimpleSubscriptionData is a subscription that an operator fixes for a group.
type SimpleSubscriptionData struct {
	Topic          string `json:"topic,omitempty"`
	ExpressionType string `json:"expressionType,omitempty"`
	Expression     string `json:"expression,omitempty"`
	Version        int64  `json:"version"`
}

// SubscriptionGroupWrapper is a broker's group table: the file subscriptionGroup.json and the answer to
// GET_ALL_SUBSCRIPTIONGROUP_CONFIG (201).
type SubscriptionGroupWrapper struct {
	SubscriptionGroupTable map[string]*SubscriptionGroupConfig `json:"subscriptionGroupTable" fastjson:"nonnull"`
	ForbiddenTable         map[string]map[string]int32         `json:"forbiddenTable" fastjson:"nonnull"` // group, topic, bits
	DataVersion            DataVersion                         `json:"dataVersion"`
	Extras                 fastjson.Extras                     `json:"-"`
}

// UnmarshalJSON keeps unknown members.
func (w *SubscriptionGroupWrapper) UnmarshalJSON(text []byte) (err error) {
	type plain SubscriptionGroupWrapper
	*w = SubscriptionGroupWrapper{}
	w.Extras, err = fastjson.UnmarshalKeeping(text, (*plain)(w))
	return err
}

// ForbidRead is the bit of the forbidden table that keeps a group from consuming a topic.
const ForbidRead int32 = 1 << 2

// SubscriptionGroupList is the body of UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST (225).
type SubscriptionGroupList struct {
	GroupConfigList []*SubscriptionGroupConfig `json:"groupConfigList" fastjson:"nonnull"`
}

// GroupForbidden is the answer to UPDATE_AND_GET_GROUP_FORBIDDEN (353).
type GroupForbidden struct {
	Topic    string `json:"topic,omitempty"`
	Group    string `json:"group,omitempty"`
	Readable bool   `json:"readable"`
}

// GroupList is a set of group names.
type GroupList struct {
	GroupList []string `json:"groupList" fastjson:"nonnull"`
}
