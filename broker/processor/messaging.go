package processor

import (
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"

	"apogee/broker/config"
	"apogee/broker/delay"
	"apogee/broker/timer"
	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/header"
	"apogee/store/record"
)

// messaging is what the sending and pulling handlers keep besides Deps. Its zero value is ready.
type messaging struct {
	views   atomic.Pointer[sendView]
	sends   sync.Pool // *sendOp
	ends    sync.Pool // *batchEnd
	pulls   sync.Pool // *pullOp
	pops    sync.Pool // *popOp
	backs   sync.Pool // *sentBack
	keys    *uniqKeys
	filters tagFilters
	pending atomic.Int64 // sends that wait for the disk
}

func newMessaging() messaging { return messaging{keys: newUniqKeys()} }

// sendView is what sends derive from the configuration and the address. It is made anew when one of them changes.
type sendView struct {
	cfg  *config.Broker
	addr *Address

	shared   *header.Fixed // pairs of every answer to a send
	suffix   string        // properties that every message gets
	reply    string        // the same for messages of request-reply, which get no cluster
	region   *header.Fixed // MSG_REGION alone
	levels   delay.Levels
	timers   timer.Rules
	idPrefix string // of offset message ids
}

func (p *Processor) sendView() *sendView {
	cfg, addr := p.cfg(), p.Address()
	if v := p.views.Load(); v != nil && v.cfg == cfg && v.addr == addr {
		return v
	}
	trace := strconv.FormatBool(cfg.TraceOn)
	v := &sendView{cfg: cfg, addr: addr, shared: header.Fix(header.Fields{{Key: propRegion, Value: cfg.RegionID}, {Key: propTraceOn, Value: trace}})}
	v.region = header.Fix(header.Fields{{Key: propRegion, Value: cfg.RegionID}})
	v.timers = timer.Rules{Precision: timer.Precision(cfg.TimerPrecision), MaxDelay: cfg.TimerMaxDelay * 1000}
	suffix := record.AppendProperty(nil, propRegion, cfg.RegionID)
	suffix = record.AppendProperty(suffix, propTraceOn, trace)
	v.reply = string(suffix)
	v.suffix = string(record.AppendProperty(suffix, propCluster, cfg.ClusterName))
	// A table that cannot be read keeps the broker from starting.
	v.levels, _ = delay.ParseLevels(cfg.DelayLevels)
	id := record.AppendMessageID(nil, addr.Host, 0)
	v.idPrefix = string(id[:len(id)-16])
	p.views.Store(v)
	return v
}

// appendID appends the offset message id of a record of ours.
func (v *sendView) appendID(dst []byte, physical int64) []byte {
	const digits = "0123456789ABCDEF"
	dst = append(dst, v.idPrefix...)
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, digits[physical>>shift&15])
	}
	return dst
}

// remoteAddr is where a request came from; a request that no connection brought comes from nowhere.
func remoteAddr(r *remoting.Request) netip.AddrPort {
	if c := r.Conn(); c != nil {
		return c.RemoteAddr()
	}
	return netip.AddrPort{}
}

func remoteText(c *remoting.Conn) string {
	if c == nil {
		return ""
	}
	return c.RemoteText()
}

// topicText is a topic's configuration as Java's toString prints it, for remarks.
func topicText(t *body.TopicConfig) string {
	b := append([]byte("TopicConfig [topicName="), t.TopicName...)
	b = strconv.AppendInt(append(b, ", readQueueNums="...), int64(t.ReadQueueNums), 10)
	b = strconv.AppendInt(append(b, ", writeQueueNums="...), int64(t.WriteQueueNums), 10)
	b = append(append(b, ", perm="...), permText(t.Perm)...)
	b = append(append(b, ", topicFilterType="...), t.TopicFilterType...)
	b = strconv.AppendInt(append(b, ", topicSysFlag="...), int64(t.TopicSysFlag), 10)
	b = strconv.AppendBool(append(b, ", order="...), t.Order)
	b = append(b, ", attributes={"...)
	first := true
	for k, v := range t.Attributes {
		if !first {
			b = append(b, ", "...)
		}
		first = false
		b = append(append(append(b, k...), '='), v...)
	}
	return string(append(b, "}]"...))
}

// permText is PermName.perm2String: R, W and X (inherit), or a dash in the place of each.
func permText(perm int32) string {
	b := []byte("---")
	if perm&body.PermRead != 0 {
		b[0] = 'R'
	}
	if perm&body.PermWrite != 0 {
		b[1] = 'W'
	}
	if perm&body.PermInherit != 0 {
		b[2] = 'X'
	}
	return string(b)
}
