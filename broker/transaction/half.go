package transaction

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unsafe"

	"apogee/broker/meta"
	"apogee/store/record"
)

// Group is whose consumer offsets say how far the check has got in the half and the op queues (MixAll.CID_SYS_RMQ_TRANS).
const Group = "CID_RMQ_SYS_TRANS"

// Names of properties of half messages; remoting.md 3.2.
const (
	PropHalf          = "TRAN_MSG"          // says "true" of a half message, and stays with what is committed
	PropProducerGroup = "PGROUP"            // who is asked
	PropTransactionID = "__transactionId__" // the unique key once more
	PropCheckTimes    = "TRANSACTION_CHECK_TIMES"
	PropImmunity      = "CHECK_IMMUNITY_TIME_IN_SECONDS"
	PropPreparedAt    = "TRAN_PREPARED_QUEUE_OFFSET" // of a copy made in the time of immunity: the queue offset that the producer knows
)

// opTag is the tag of op messages; their body is a list of half queue offsets, each followed by a comma.
const opTag = "d"

// Prepare makes m a half message: of queue 0 of the half topic, with what brings it back, and an ordinary message by its flags
// (TransactionalMessageBridge.parseHalfMessageInner). A delay or a time of delivery stays a property and counts when the message is
// committed. The new properties are built in buf, which m.Properties aliases from then on; the grown buffer is returned.
func Prepare(m *record.Message, uniqKey string, buf []byte) []byte {
	buf = record.AppendPairs(buf[:0], m.Properties, PropTransactionID, record.PropRealTopic, record.PropRealQueue, record.PropMultiDispatchQueue)
	if uniqKey != "" {
		buf = record.AppendProperty(buf, PropTransactionID, uniqKey)
	}
	var num [11]byte
	buf = record.AppendProperty(buf, record.PropRealTopic, m.Topic)
	buf = record.AppendProperty(buf, record.PropRealQueue, view(strconv.AppendInt(num[:0], int64(m.QueueID), 10)))
	m.SysFlag &^= record.SysTranMask
	m.Topic, m.QueueID = meta.HalfTopic, 0
	m.Properties = view(buf)
	return buf
}

// Commit makes a stored half message the one that its producer meant (EndTransactionProcessor.endMessageTransaction): in its real
// queue, marked as committed and with the half's place in the log. The new properties are built in buf as with [Prepare].
func Commit(m *record.Message, buf []byte) ([]byte, error) {
	topic := record.Property(m.Properties, record.PropRealTopic)
	queue, err := strconv.ParseInt(record.Property(m.Properties, record.PropRealQueue), 10, 32)
	switch {
	case topic == "":
		return buf, fmt.Errorf("property %s is missing", record.PropRealTopic)
	case err != nil:
		return buf, fmt.Errorf("property %s: %w", record.PropRealQueue, err)
	}
	buf = record.AppendPairs(buf[:0], m.Properties, record.PropRealTopic, record.PropRealQueue)
	m.Topic, m.QueueID = topic, int32(queue)
	m.SysFlag = m.SysFlag&^record.SysTranMask | record.SysTranCommit
	m.PreparedTransactionOffset = m.PhysicalOffset
	m.TagsCode = 0
	m.Properties = view(buf)
	return buf, nil
}

// Resume makes a stored half message, or one that was given up, a half message that nobody was asked about
// (AdminBrokerProcessor.resumeCheckHalfMessage).
func Resume(m *record.Message) error {
	if m.Topic != meta.HalfTopic && m.Topic != meta.CheckMaxTimeTopic {
		return fmt.Errorf("the message is of topic %s and no half message", m.Topic)
	}
	if record.Property(m.Properties, record.PropRealTopic) == "" || record.Property(m.Properties, PropProducerGroup) == "" {
		return fmt.Errorf("property %s or %s is missing", record.PropRealTopic, PropProducerGroup)
	}
	rewrite(m, PropCheckTimes, "0")
	m.Topic = meta.HalfTopic
	return nil
}

// rewrite makes m a message that is to be stored once more in queue 0, with one property set. Offsets in light queues, which Java has
// fixed for the message, are not the copy's.
func rewrite(m *record.Message, name, value string) {
	b := record.AppendPairs(make([]byte, 0, len(m.Properties)+len(name)+len(value)+2), m.Properties, name, record.PropMultiDispatchQueue)
	m.Properties = view(record.AppendProperty(b, name, value))
	m.PreparedTransactionOffset, m.TagsCode = 0, 0
}

// Immunity is for how long after its birth the end of a transaction, in ms, that a producer tells unasked is taken, and whether the
// message has such a time at all. It is never shorter than the broker's timeout (TransactionalMessageUtil.getImmunityTime).
func Immunity(properties string, timeout int64) (ms int64, custom bool) {
	text := record.Property(properties, PropImmunity)
	if text == "" {
		return timeout, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return timeout, true
	}
	return max(millis(n), timeout), true
}

// checkImmunity is for how long nobody is asked; it may be shorter than the timeout (TransactionalMessageServiceImpl.getImmunityTime).
func checkImmunity(properties string, timeout int64) (ms int64, custom bool) {
	text := record.Property(properties, PropImmunity)
	if text == "" {
		return timeout, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n == -1 {
		return timeout, true
	}
	return millis(n), true
}

func millis(seconds int64) int64 {
	const most = math.MaxInt64 / 1000
	return min(max(seconds, -most), most) * 1000
}

// checkTimes is how often the producers were asked; a text that is no number counts as never.
func checkTimes(properties string) (n int64, known bool) {
	text := record.Property(properties, PropCheckTimes)
	if text == "" {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return -1, true
	}
	return n, true
}

// preparedAt is the queue offset that the producer knows a copy by, -1 for none. It is always in front of the copy; what a producer has
// set to another message's further on is none.
func preparedAt(m *record.Message) int64 {
	n, err := strconv.ParseInt(record.Property(m.Properties, PropPreparedAt), 10, 64)
	if err != nil || n < 0 || n >= m.QueueOffset {
		return -1
	}
	return n
}

// eachOffset calls f with the half offsets that an op message lists. What is no number is passed over, as is what is below zero.
func eachOffset(body []byte, f func(offset int64)) {
	for text := range strings.SplitSeq(view(body), ",") {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 {
			f(n)
		}
	}
}

func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
