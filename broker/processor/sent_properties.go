package processor

import (
	"strings"

	"apogee/broker/timer"
	"apogee/store/record"
)

// Property names that sends deal with; more are in package record.
const (
	propPopCheckpoint   = "POP_CK"
	propRegion          = "MSG_REGION"
	propTraceOn         = "TRACE_ON"
	propCluster         = "CLUSTER"
	propTran            = "TRAN_MSG"
	propPriority        = "_SYS_MSG_PRIORITY_"
	propShardingKey     = "__SHARDINGKEY"
	propLite            = "__LITE_TOPIC"
	propRetryTopic      = "RETRY_TOPIC"
	propOriginMessageID = "ORIGIN_MESSAGE_ID"
	propReplyTo         = "REPLY_TO_CLIENT"
	propPushReplyTime   = "PUSH_REPLY_TIME"
)

// sentProperties is what a send wants to know of the properties that came with it. The strings alias the properties string.
type sentProperties struct {
	uniqKey, keys, tags, delay, priority, lite, innerNum string

	tran     bool // TRAN_MSG says true
	noWait   bool // WAIT says anything but true
	sharding bool
	timerOut bool // a delivery time was worked out already
	multi    bool // names further queues

	ask timer.Ask // the delivery time that is asked for
}

// rewrite reads the properties of a send and appends them to dst as they are to be stored: without what clients may not set, and
// without what is no pair at all, which Java loses when it goes through a map. What stays is copied in runs and keeps its order; Java's
// order is that of a hash table. Of equal names the last counts, for us as for every reader.
func (p *sentProperties) rewrite(dst []byte, s string) []byte {
	*p = sentProperties{}
	run := 0 // what from here on is to be kept is not copied yet
	for i := 0; i < len(s); {
		end, next := len(s), len(s)
		if n := strings.IndexByte(s[i:], record.PairEnd); n >= 0 {
			end, next = i+n, i+n+1
		}
		pair := s[i:end]
		if k := strings.IndexByte(pair, record.NameEnd); k <= 0 || k == len(pair)-1 || !p.note(pair[:k], pair[k+1:]) {
			dst = append(dst, s[run:i]...)
			run = next
		}
		i = next
	}
	dst = append(dst, s[run:]...)
	if n := len(dst); n > 0 && dst[n-1] != record.PairEnd {
		dst = append(dst, record.PairEnd)
	}
	return dst
}

// words are what the store wants to know of the properties that were made of these.
func (p *sentProperties) words(props string) record.Words {
	w := record.Words{Uniq: p.uniqKey, Keys: p.keys, Tags: p.tags, Delay: p.delay, Multi: p.multi}
	w.From(props)
	return w
}

// note looks at one pair and tells whether it is stored.
func (p *sentProperties) note(name, value string) bool {
	switch name {
	case propPopCheckpoint, propRegion, propTraceOn, propCluster:
		return false
	case record.PropUniqKey:
		p.uniqKey = value
	case record.PropKeys:
		p.keys = value
	case record.PropTags:
		p.tags = value
	case record.PropMultiDispatch:
		p.multi = true
	case record.PropWait:
		p.noWait = value != "true" && !strings.EqualFold(value, "true")
	case record.PropDelay:
		p.delay = value
	case propTran:
		p.tran = strings.EqualFold(value, "true")
	case propPriority:
		p.priority = value
	case propShardingKey:
		p.sharding = true
	case propLite:
		p.lite = value
	case record.PropInnerNum:
		p.innerNum = value
	case timer.PropOut:
		p.timerOut = true
	default:
		noteAsk(&p.ask, name, value)
	}
	return true
}

// noteAsk looks for what a message says of its delivery time.
func noteAsk(a *timer.Ask, name, value string) {
	switch name {
	case timer.PropDelaySec:
		a.DelaySec = value
	case timer.PropDelayMs:
		a.DelayMs = value
	case timer.PropDeliver:
		a.Deliver = value
	case timer.PropCancel:
		a.Cancels = true
	}
}
