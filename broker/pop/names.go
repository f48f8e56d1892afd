package pop

import "strings"

// Names and numbers that clients, tools and files know (PopAckConstants, KeyBuilder).
const (
	ReviveGroup  = "CID_RMQ_SYS_REVIVE_GROUP"
	revivePrefix = "rmq_sys_REVIVE_LOG_"

	TagCheckPoint = "ck"
	TagAck        = "ack"
	TagBatchAck   = "bAck"

	// OrderQueue is the revive queue in receipts of ordered pops, which have no check points.
	OrderQueue = 999
	// MaxBatch is how many messages a pop may ask for; a check point has 32 bits for them.
	MaxBatch = 32

	// PropReceipt is the property that carries a message's receipt, PropFirstPop the time of the first pop, PropOriginGroup (5.5) the
	// group whose retry topic a message is in.
	PropReceipt     = "POP_CK"
	PropFirstPop    = "1ST_POP_TIME"
	PropOriginGroup = "ORIGIN_GROUP"

	retryPrefix = "%RETRY%"
	ackInterval = 1000 // ms between a check point and its acks in the revive queue
)

// ReviveTopic is the revive topic of a cluster.
func ReviveTopic(cluster string) string { return revivePrefix + cluster }

// RetryTopicV1 is where unacknowledged messages of a topic come back to a group; RetryTopicV2 with enableRetryTopicV2.
func RetryTopicV1(topic, group string) string { return retryPrefix + group + "_" + topic }

// RetryTopicV2 is the unambiguous form: neither name can have a plus sign.
func RetryTopicV2(topic, group string) string { return retryPrefix + group + "+" + topic }

// RetryTopic is the one of both that is written.
func RetryTopic(topic, group string, v2 bool) string {
	if v2 {
		return RetryTopicV2(topic, group)
	}
	return RetryTopicV1(topic, group)
}

// IsRetryV2 tells the new form of a pop retry topic.
func IsRetryV2(topic string) bool {
	return strings.HasPrefix(topic, retryPrefix) && strings.IndexByte(topic, '+') >= 0
}

// NormalTopic is the topic that a pop retry topic of group belongs to; other topics are themselves (KeyBuilder.parseNormalTopic). A retry
// topic of no known form gives "".
func NormalTopic(topic, group string) string {
	rest, ok := strings.CutPrefix(topic, retryPrefix)
	if !ok {
		return topic
	}
	rest, ok = strings.CutPrefix(rest, group)
	if !ok || rest == "" || rest[0] != '_' && rest[0] != '+' {
		return ""
	}
	return rest[1:]
}

// SplitRetryV2 is group and topic of a retry topic of the new form, which says both without further knowledge.
func SplitRetryV2(retry string) (topic, group string, ok bool) {
	rest, ok := strings.CutPrefix(retry, retryPrefix)
	if !ok {
		return "", "", false
	}
	group, topic, ok = strings.Cut(rest, "+")
	if !ok || topic == "" || strings.IndexByte(topic, '+') >= 0 {
		return "", "", false
	}
	return topic, group, true
}

// Kind says which of its topics a message of a pop came from; in receipts and in the answer's infos.
type Kind byte

const (
	KindNormal  Kind = '0'
	KindRetryV1 Kind = '1'
	KindRetryV2 Kind = '2'
)

// KindOf is a topic's kind (ExtraInfoUtil.getRetry).
func KindOf(topic string) Kind {
	switch {
	case !strings.HasPrefix(topic, retryPrefix):
		return KindNormal
	case strings.IndexByte(topic, '+') >= 0:
		return KindRetryV2
	}
	return KindRetryV1
}

// RealTopic is the topic that an ack of that kind means (ExtraInfoUtil.getRealTopic); false for a kind that is none.
func RealTopic(topic, group string, k Kind) (string, bool) {
	switch k {
	case KindNormal:
		return topic, true
	case KindRetryV1:
		return RetryTopicV1(topic, group), true
	case KindRetryV2:
		return RetryTopicV2(topic, group), true
	}
	return "", false
}

// Key is one queue as one group pops it.
type Key struct {
	Topic, Group string
	Queue        int32
}
