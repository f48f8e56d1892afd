package processor

import (
	"strings"

	"apogee/broker/meta"
	"apogee/compat/body"
	"apogee/filter"
	"apogee/store"
	"apogee/store/record"
)

// Remarks of refused subscriptions.
const (
	remarkParse    = "parse the consumer's subscription failed"
	remarkNoFilter = "The broker does not support consumer to filter message by "
)

// messageFilter makes the filter of an expression that came with a request, for a pull, a POP or a notification
// (ExpressionMessageFilter); nil takes everything. An error, which the client is told as 23 with remarkParse, says what is wrong with
// the expression. Whether there may be filters of that kind at all (enablePropertyFilter) is the caller's question, as it differs.
//
// Compiling takes long: a handler on the event loop asks compiles first. It keeps nothing of its arguments' memory.
func (p *Processor) messageFilter(kind, expression string) (store.Filter, error) {
	if body.IsTagType(kind) {
		return p.filters.filter(expression), nil
	}
	e, err := p.Expressions.Compile(kind, expression)
	if err != nil {
		return nil, err
	}
	return sqlFilter{e}, nil
}

// compiles tells whether messageFilter would have to compile an expression, which takes too long for the event loop.
func (p *Processor) compiles(kind, expression string) bool {
	return !body.IsTagType(kind) && !p.Expressions.Has(kind, expression)
}

// sqlFilter passes messages for which an expression is true.
type sqlFilter struct{ expression *filter.Expression }

func (f sqlFilter) MatchTags(int64) bool { return true }

func (f sqlFilter) MatchRecord(rec []byte) bool { return meta.MatchExpression(f.expression, rec) }

// retriedFilter is the filter of a retry topic with filterSupportRetry, nil for other topics and without
// (ExpressionForRetryMessageFilter).
func (p *Processor) retriedFilter(topic string) store.Filter {
	if !p.cfg().FilterRetry || !strings.HasPrefix(topic, meta.RetryPrefix) {
		return nil
	}
	return &retryFilter{filters: p.Filters, group: retryGroup(topic)}
}

// retryGroup is the group of a retry topic, %RETRY%group or %RETRY%group+topic (KeyBuilder.parseGroup).
func retryGroup(topic string) string {
	group := topic[len(meta.RetryPrefix):]
	if first, rest, ok := strings.Cut(group, "+"); ok && rest != "" && !strings.Contains(rest, "+") {
		group = first
	}
	return strings.Clone(group)
}

// retryFilter passes retried messages by the filter that their group has for the topic that they were first sent to; what it does not
// filter there it gets.
type retryFilter struct {
	filters *meta.Filters
	group   string
}

func (f *retryFilter) MatchTags(int64) bool { return true }

func (f *retryFilter) MatchRecord(rec []byte) bool {
	var h record.Header
	if record.Parse(rec, &h) != nil {
		return false
	}
	topic := record.PropertyBytes(h.Properties, propRetryTopic)
	known := f.filters.Get(viewOf(topic), f.group)
	return known == nil || known.MatchRecord(rec)
}

// byRecord tells whether a filter looks into most records. One of tags looks at the codes of the queue first.
func byRecord(f store.Filter) bool {
	if f == nil {
		return false
	}
	_, tags := f.(*tagFilter)
	return !tags
}
