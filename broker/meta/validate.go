package meta

import (
	"fmt"
	"strings"
)

// Limits of names (TopicValidator).
const (
	maxTopic      = 127
	maxRetryTopic = 255 // %RETRY% and %DLQ% names hold a group and more
	maxGroup      = 120
)

// Name parts with a meaning (MixAll).
const (
	RetryPrefix = "%RETRY%"
	DLQPrefix   = "%DLQ%"

	lmqPrefix      = "%LMQ%"
	sysTopicPrefix = "rmq_sys_"
	sysGroupPrefix = "CID_RMQ_SYS_"
)

// Topics that the broker itself uses (TopicValidator, MixAll).
const (
	AutoCreateTopic    = "TBW102"
	ScheduleTopic      = "SCHEDULE_TOPIC_XXXX"
	BenchmarkTopic     = "BenchmarkTest"
	SelfTestTopic      = "SELF_TEST_TOPIC"
	OffsetMovedTopic   = "OFFSET_MOVED_EVENT"
	TraceTopic         = "RMQ_SYS_TRACE_TOPIC"
	HalfTopic          = "RMQ_SYS_TRANS_HALF_TOPIC"
	OpHalfTopic        = "RMQ_SYS_TRANS_OP_HALF_TOPIC"
	RocksDBHalfTopic   = "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC"
	RocksDBOpHalfTopic = "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC"
	CheckMaxTimeTopic  = "TRANS_CHECK_MAX_TIME_TOPIC"
	TimerTopic         = "rmq_sys_wheel_timer"
	CheckpointTopic    = "CHECKPOINT_TOPIC"
)

// systemTopics are reserved whatever the configuration says.
var systemTopics = map[string]bool{
	AutoCreateTopic: true, ScheduleTopic: true, BenchmarkTopic: true, HalfTopic: true, RocksDBHalfTopic: true, TraceTopic: true,
	OpHalfTopic: true, RocksDBOpHalfTopic: true, CheckMaxTimeTopic: true, SelfTestTopic: true, OffsetMovedTopic: true, CheckpointTopic: true,
}

// closedTopics may not be sent to by clients (TopicValidator.NOT_ALLOWED_SEND_TOPIC_SET).
var closedTopics = map[string]bool{
	ScheduleTopic: true, HalfTopic: true, OpHalfTopic: true, RocksDBHalfTopic: true, RocksDBOpHalfTopic: true,
	CheckMaxTimeTopic: true, SelfTestTopic: true, OffsetMovedTopic: true,
}

// SendAllowed is false for the topics that only the broker writes.
func SendAllowed(topic string) bool { return !closedTopics[topic] }

// IsSystemGroup tells whether a group belongs to the broker.
func IsSystemGroup(group string) bool { return strings.HasPrefix(group, sysGroupPrefix) }

// ValidateTopic says what is wrong with a topic's name, "" if nothing. The texts are Java's: clients and runbooks show them.
func ValidateTopic(topic string) string {
	switch {
	case blank(topic):
		return "The specified topic is blank."
	case !legal(topic):
		return fmt.Sprintf("The specified topic: %s, contains illegal characters, allowing only ^[%%|a-zA-Z0-9_-]+$", topic)
	case strings.HasPrefix(topic, RetryPrefix) || strings.HasPrefix(topic, DLQPrefix):
		if len(topic) > maxRetryTopic {
			return fmt.Sprintf("The specified topic is DLQ or Retry topic: %s, and it's longer than topic max length: %d", topic, maxRetryTopic)
		}
	case len(topic) > maxTopic:
		return fmt.Sprintf("The specified topic: %s, is longer than topic max length: %d", topic, maxTopic)
	}
	return ""
}

// ValidateGroup says what is wrong with a group's name, "" if nothing.
func ValidateGroup(group string) string {
	switch {
	case blank(group):
		return "The specified group is blank."
	case !legal(group):
		return fmt.Sprintf("The specified group: %s, contains illegal characters, allowing only ^[%%|a-zA-Z0-9_-]+$", group)
	case len(group) > maxGroup:
		return fmt.Sprintf("The specified group: %s, is longer than group max length: %d", group, maxGroup)
	}
	return ""
}

func blank(s string) bool { return strings.TrimSpace(s) == "" }

// legal also refuses everything outside ASCII.
func legal(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '%', c == '|', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// RetryTopic is where the messages go that a group wants again.
func RetryTopic(group string) string { return RetryPrefix + group }

// DLQTopic is where the messages go that a group has given up on.
func DLQTopic(group string) string { return DLQPrefix + group }
