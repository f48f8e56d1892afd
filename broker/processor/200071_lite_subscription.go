package processor

import (
	"errors"
	"strings"

	"apogee/broker/lite"
	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/remoting"
	"apogee/remoting/code"
)

// 200071 LITE_SUBSCRIPTION_CTL: clients say which lite topics they subscribe to (LiteSubscriptionCtlProcessor). Entries without client,
// group or topic are passed over.
//
// Answers:
//   - 604 without a body or entries, for a group that may not consume, or for single topics of a wildcard group
//   - 2018 above maxLiteSubscriptionCount
//   - 1 for a body or an action that cannot be read; 0
func (p *Processor) liteSubscription(r *remoting.Request) {
	if len(r.Body) == 0 {
		r.Fail(code.IllegalOperation, "Request body is null.")
		return
	}
	var b body.LiteSubscriptionCtlRequestBody
	if err := fastjson.Unmarshal(r.Body, &b); err != nil {
		r.Fail(code.SystemError, "unreadable body: %v", err)
		return
	}
	if len(b.SubscriptionSet) == 0 {
		r.Fail(code.IllegalOperation, "LiteSubscriptionCtlRequestBody is empty.")
		return
	}
	for i := range b.SubscriptionSet {
		e := &b.SubscriptionSet[i]
		if strings.TrimSpace(e.ClientID) == "" || strings.TrimSpace(e.Group) == "" || strings.TrimSpace(e.Topic) == "" {
			continue
		}
		var quota lite.QuotaError
		var refused lite.RefusedError
		switch err := p.Lite.Apply(e, r.Conn()); {
		case err == nil:
		case errors.As(err, &quota):
			r.Fail(code.LiteSubscriptionQuotaExceeded, "org.apache.rocketmq.broker.lite.LiteQuotaException: %v", err)
			return
		case errors.As(err, &refused):
			r.Fail(code.IllegalOperation, "java.lang.IllegalStateException: %v", err)
			return
		default:
			r.Fail(code.SystemError, "%v", err)
			return
		}
	}
	replyOK(r)
}
