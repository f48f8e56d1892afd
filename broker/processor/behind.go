package processor

import (
	"encoding/binary"
	"runtime/debug"
	"strings"
	"sync"

	"apogee/store"
)

// behind is how far groups read behind the end of the log (GROUP_GET_FALL_SIZE), as of the last pull of each queue. It is kept only while
// disableConsumeIfConsumerReadSlowly is on.
type behind struct {
	mu sync.Mutex           // guards m
	m  map[behindKey]*int64 // pointers: an assignment takes the key anew too, and those that are passed do not last
}

type behindKey struct {
	group, topic string
	queue        int32
}

// physicalAt is where in a record its place in the log stands.
const physicalAt = 28

// note takes what a pull has read. The end of what was read counts; Java takes the start of the last message.
func (b *behind) note(group, topic string, queue int32, res *store.GetResult, upkeep Upkeep) {
	var bytes int64
	switch {
	case res.Status == store.Found && len(res.Regions) > 0:
		last := res.Regions[len(res.Regions)-1]
		phys, ok := physicalOf(last)
		if !ok {
			return
		}
		bytes = max(0, upkeep.Stats().MaxPhysical-phys-int64(len(last)))
	case res.Status == store.OffsetOverflowOne:
	default:
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	key := behindKey{group, topic, queue}
	known := b.m[key]
	if known == nil {
		if b.m == nil {
			b.m = make(map[behindKey]*int64)
		}
		known = new(int64)
		b.m[behindKey{strings.Clone(group), strings.Clone(topic), queue}] = known
	}
	*known = bytes
}

// physicalOf is where a record of mapped memory lies in the log; false if it cannot be read.
func physicalOf(rec []byte) (phys int64, ok bool) {
	if len(rec) < physicalAt+8 {
		return 0, false
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch p := recover().(type) {
		case nil:
		case memoryFault:
			phys, ok = 0, false
		default:
			panic(p)
		}
	}()
	return int64(binary.BigEndian.Uint64(rec[physicalAt:])), true
}

// slow are the groups that are further behind than limit, with by how much. Groups that keep says nothing of are forgotten.
func (b *behind) slow(limit int64, keep func(group string) bool) map[string]int64 {
	out := make(map[string]int64)
	b.mu.Lock()
	defer b.mu.Unlock()
	for k, bytes := range b.m {
		switch {
		case !keep(k.group):
			delete(b.m, k)
		case *bytes > limit:
			out[k.group] = max(out[k.group], *bytes)
		}
	}
	return out
}

// DisableSlow switches off the groups that read further behind than consumerFallbehindThreshold (BrokerController.protectBroker). An operator
// has to switch them on again.
func (p *Processor) DisableSlow() {
	cfg := p.cfg()
	if !cfg.DisableSlow {
		return
	}
	exists := func(group string) bool { _, ok := p.Groups.Get(group); return ok }
	for group, bytes := range p.behind.slow(cfg.SlowBehind, exists) {
		if g, ok := p.Groups.Get(group); !ok || !g.ConsumeEnable {
			continue
		}
		p.Log.Warn("group reads too far behind and is disabled", "group", group, "bytes", bytes)
		if err := p.Groups.Disable(group); err != nil {
			p.Log.Error("group disabled but not on disk", "group", group, "err", err)
		}
	}
}
