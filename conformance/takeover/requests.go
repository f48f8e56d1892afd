package takeover

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"apogee/conformance/wire"
	"apogee/remoting/code"
)

// Values of commitOrRollback.
const (
	endUnknown  = 0
	endCommit   = 8
	endRollback = 12
)

var decisions = map[int]string{endUnknown: "undecided", endCommit: "to be committed", endRollback: "to be rolled back"}

const (
	halfTopic = "RMQ_SYS_TRANS_HALF_TOPIC"
	opTopic   = "RMQ_SYS_TRANS_OP_HALF_TOPIC"
	tranGroup = "CID_RMQ_SYS_TRANS"
	tranFlag  = 4 // sysFlag of a half message
)

// dial connects; answers are waited for as long as a machine that does something else for a while may need.
func dial(addr string) (*wire.Conn, error) {
	c, err := wire.Dial(addr)
	if err == nil {
		c.Timeout = 3 * time.Minute
	}
	return c, err
}

// errRefused is an answer that says no.
var errRefused = errors.New("refused")

// send sends one message, or the body of a batch. An error is errRefused, or the connection's.
func send(c *wire.Conn, topic string, queue, sysFlag int, batch bool, group, properties string, body []byte) (*wire.Frame, error) {
	request := code.SendMessageV2
	if batch {
		request = code.SendBatchMessage
	}
	return accepted(c.Call(int(request), wire.SendExt(group, topic, queue, sysFlag, properties, batch), body))
}

func accepted(f *wire.Frame, err error) (*wire.Frame, error) {
	if err == nil && f.Code != int(code.Success) {
		err = fmt.Errorf("%w: %v", errRefused, f)
	}
	return f, err
}

func popExt(group, topic string, n int, invisible int64, order bool) map[string]string {
	return wire.Ext("consumerGroup", group, "topic", topic, "queueId", -1, "maxMsgNums", n, "invisibleTime", invisible, "pollTime", 0,
		"bornTime", time.Now().UnixMilli(), "initMode", 0, "expType", "TAG", "exp", "*", "order", order)
}

// endExt is the header of END_TRANSACTION for the half message that f is the answer to.
func endExt(f *wire.Frame, group, id string, end int) map[string]string {
	_, physical, _ := wire.OffsetID(f.Ext["msgId"])
	return wire.Ext("producerGroup", group, "tranStateTableOffset", f.Int("queueOffset"), "commitLogOffset", physical, "commitOrRollback", end,
		"fromTransactionCheck", false, "msgId", id, "transactionId", id)
}

// handle is what a client makes of the answer to a pop: the receipt of one message, and the topic that acks name.
type handle struct {
	topic           string
	queue           int
	offset, start   int64
	popTime, hidden int64
	revive          int64
	kind            string
}

func (h handle) receipt() string {
	return fmt.Sprintf("%d %d %d %d %s %s %d %d", h.start, h.popTime, h.hidden, h.revive, h.kind, brokerName, h.queue, h.offset)
}

func (h handle) ext(group string) map[string]string {
	return wire.Ext("consumerGroup", group, "topic", h.topic, "queueId", h.queue, "offset", h.offset, "extraInfo", h.receipt())
}

func (h handle) spot() spot { return spot{place{h.topic, h.queue}, h.offset} }

// handleOf reads what the answer to a pop says of one of its messages.
func handleOf(f *wire.Frame, rec *wire.Record, group, topic string) (handle, error) {
	h := handle{
		topic: topic, queue: rec.QueueID, offset: rec.QueueOffset, start: -1, popTime: f.Int("popTime"), hidden: f.Int("invisibleTime"),
		revive: f.Int("reviveQid"), kind: "0",
	}
	if ck := strings.Fields(rec.Properties["POP_CK"]); len(ck) == 8 { // from a retry topic
		h.kind = ck[4]
		h.topic = map[string]string{"1": "%RETRY%" + group + "_" + topic, "2": "%RETRY%" + group + "+" + topic}[h.kind]
	}
	for part := range strings.SplitSeq(f.Ext["startOffsetInfo"], ";") {
		if w := strings.Fields(part); len(w) == 3 && w[0] == h.kind && w[1] == fmt.Sprint(h.queue) {
			_, err := fmt.Sscan(w[2], &h.start)
			return h, err
		}
	}
	return h, fmt.Errorf("answer to a pop has no start for %s@%d: %v", h.kind, h.queue, f)
}
