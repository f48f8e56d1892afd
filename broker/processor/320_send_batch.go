package processor

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"apogee/broker/meta"
	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/store"
	"apogee/store/record"
)

// 320 SEND_BATCH_MESSAGE, and 010/310 with batch=true: a body of several messages, all for one queue (sendBatchMessage). Each becomes
// a record of its own with the properties that it brought; those of the envelope (WAIT apart) are not stored.
//
// Answers, after the checks of a single send: 13 for a retry topic or a name of more than 127 characters, 13 for an envelope with a
// delay level, a delivery time or a transaction type or of an inner batch, 1 for a body that is no batch or too long. msgId is a comma list of offset ids, queueOffset that of
// the first; transactionId is there only if the envelope has a unique key.
//
// A batch whose envelope has a unique key, to a topic with queues of type BatchCQ, becomes one record, an inner batch: its body is that of
// the request, its properties are those of the envelope, and the answer has batchUniqId.
func (op *sendOp) prepareBatch(r *remoting.Request) step {
	m, props := &op.msg, &op.props
	switch {
	case len(m.Topic) > 127:
		op.fail(r, code.MessageIllegal, fmt.Sprintf("message topic length too long %d", len(m.Topic)))
		return ended
	case strings.HasPrefix(m.Topic, meta.RetryPrefix):
		op.fail(r, code.MessageIllegal, "batch request does not support retry group "+m.Topic)
		return ended
	case op.level() > 0 || m.SysFlag&(record.SysTranMask|record.SysInnerBatch) != 0 || props.innerNum != "", props.ask.Asks() && !props.timerOut:
		op.fail(r, code.MessageIllegal, op.p.putRemark(&store.PutResult{Status: store.MessageIllegal}))
		return ended
	case len(r.Body) > op.p.maxMessage():
		op.fail(r, code.SystemError, fmt.Sprintf("message body size exceeded: %d bytes, the limit is %d", len(r.Body), op.p.maxMessage()))
		return ended
	}
	if props.uniqKey != "" && op.innerBatches() {
		return op.prepareInner(r)
	}
	m.Body, m.Properties = nil, ""
	compacted := op.compacted()
	for rest := r.Body; len(rest) > 0; {
		var b record.BatchRecord
		var err error
		if b, rest, err = record.CutBatch(rest); err != nil {
			op.fail(r, code.SystemError, err.Error())
			return ended
		}
		if compacted && strings.TrimSpace(string(record.PropertyBytes(b.Properties, record.PropKeys))) == "" {
			op.fail(r, code.MessageIllegal, remarkNoKeys)
			return ended
		}
		op.items = append(op.items, store.BatchItem{Flag: b.Flag, Body: b.Body, Properties: viewOf(b.Properties)})
	}
	return goOn
}

// prepareInner makes the batch one record.
func (op *sendOp) prepareInner(r *remoting.Request) step {
	n, err := record.CountBatch(r.Body)
	if err != nil || n > math.MaxInt16 {
		op.fail(r, code.MessageIllegal, op.p.putRemark(&store.PutResult{Status: store.MessageIllegal}))
		return ended
	}
	m := &op.msg
	m.SysFlag |= record.SysNeedUnwrap | record.SysInnerBatch
	if op.topic.TopicFilterType == body.MultiTag {
		m.SysFlag |= record.SysMultiTags
	}
	op.buf = append(op.buf, op.view.suffix...)
	op.buf = record.AppendProperty(op.buf, record.PropInnerNum, strconv.Itoa(n))
	m.Properties = viewOf(op.buf)
	op.inner, op.batch = true, false
	return goOn
}
