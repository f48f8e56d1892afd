package wire

import "time"

// SendExt is the header of SEND_MESSAGE_V2, or of SEND_BATCH_MESSAGE.
func SendExt(group, topic string, queue, sysFlag int, properties string, batch bool) map[string]string {
	return Ext("a", group, "b", topic, "c", "TBW102", "d", 4, "e", queue, "f", sysFlag, "g", time.Now().UnixMilli(),
		"h", 0, "i", properties, "j", 0, "k", false, "m", batch)
}

// PullExt is the header of a pull that brings its subscription along and does not wait.
func PullExt(group, topic string, queue int, offset int64) map[string]string {
	const withSubscription = 4
	return Ext("consumerGroup", group, "topic", topic, "queueId", queue, "queueOffset", offset, "maxMsgNums", 32,
		"sysFlag", withSubscription, "commitOffset", 0, "suspendTimeoutMillis", 0, "subscription", "*", "subVersion", 0, "expressionType", "TAG")
}
