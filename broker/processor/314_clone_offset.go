package processor

import (
	"math"
	"strings"

	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

const maxLong = math.MaxInt64

// inList tells what is in a list joined by commas.
func inList(list string) func(string) bool {
	in := make(map[string]bool)
	for s := range strings.SplitSeq(list, ",") {
		in[s] = true
	}
	return func(s string) bool { return in[s] }
}

// 314 CLONE_GROUP_OFFSET: a group starts where another one is (AdminBrokerProcessor.cloneGroupOffset). Always 0. Without a topic, in all
// topics of the source group; topics without configuration, and unless offline those that it no longer subscribes to, are skipped.
func (p *Processor) cloneOffset(r *remoting.Request) {
	var h header.CloneGroupOffsetRequest
	if !decode(r, &h) {
		return
	}
	topics := []string{h.Topic}
	if h.Topic == "" {
		topics = p.Offsets.TopicsOf(h.SrcGroup)
	}
	for _, topic := range topics {
		if _, ok := p.Topics.Get(topic); !ok {
			continue
		}
		if !h.Offline.Or(false) && p.unsubscribed(h.SrcGroup, topic) {
			continue
		}
		p.Offsets.Clone(h.SrcGroup, h.DestGroup, topic)
	}
	p.Log.Info("offsets cloned by operator", "group", strings.Clone(h.SrcGroup), "to", strings.Clone(h.DestGroup),
		"topic", strings.Clone(h.Topic), "addr", r.Conn().RemoteText())
	replyOK(r)
}

// 315 VIEW_BROKER_STATS_DATA: one statistic over the last minute, hour and day (AdminBrokerProcessor.ViewBrokerStatsData). 1 for one that
// has counted nothing; mqadmin takes that for zero.
func (p *Processor) viewStats(r *remoting.Request) {
	var h header.ViewBrokerStatsDataRequest
	if !decode(r, &h) {
		return
	}
	v, ok := p.Stats.View(h.StatsName, h.StatsKey)
	if !ok {
		r.Fail(code.SystemError, "The stats <%s> <%s> not exist", h.StatsName, h.StatsKey)
		return
	}
	replyJSON(r, &body.BrokerStatsData{
		StatsMinute: &body.BrokerStatsItem{Sum: v.Minute.Sum, Tps: v.Minute.TPS, Avgpt: v.Minute.Average},
		StatsHour:   &body.BrokerStatsItem{Sum: v.Hour.Sum, Tps: v.Hour.TPS, Avgpt: v.Hour.Average},
		StatsDay:    &body.BrokerStatsItem{Sum: v.Day.Sum, Tps: v.Day.TPS, Avgpt: v.Day.Average},
	})
}
