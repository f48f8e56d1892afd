package failover

import (
	"context"
	"fmt"
	"sync"
	"time"

	"apogee/conformance/wire"
	"apogee/remoting/code"
)

// guide asks the name server where the brokers are, as clients do, only that it asks every 20 ms: what is measured is what the servers
// take, and not how often a client asks (30 s by default).
type guide struct {
	lines   *lines
	namesrv string

	mu    sync.Mutex // guards what follows
	shown map[string]shown
	stale bool // the name server does not answer, or does not know the topic: what was known stays known, as it does for clients
}

// shown is how the route of the topic shows a broker name.
type shown struct {
	addrs    map[string]string // by id
	writable bool
}

// master is who is shown as master, acting or not.
func (s shown) master() string { return s.addrs["0"] }

func (g *guide) run(ctx context.Context) {
	for pause(ctx, 20*time.Millisecond) {
		v, err := g.lines.json(g.namesrv, code.GetRouteInfoByTopic, wire.Ext("topic", topic, "acceptStandardJsonOnly", true))
		if err != nil {
			g.mu.Lock()
			g.stale = true
			g.mu.Unlock()
			continue
		}
		now := map[string]shown{}
		brokers, _ := wire.At(v, "brokerDatas").([]any)
		for _, b := range brokers {
			addrs, _ := wire.At(b, "brokerAddrs").(map[string]any)
			s := shown{addrs: map[string]string{}}
			for id, addr := range addrs {
				s.addrs[id] = fmt.Sprint(addr)
			}
			now[fmt.Sprint(wire.At(b, "brokerName"))] = s
		}
		list, _ := wire.At(v, "queueDatas").([]any)
		for _, q := range list {
			name := fmt.Sprint(wire.At(q, "brokerName"))
			if s, ok := now[name]; ok {
				perm := wire.Num(wire.At(q, "perm"))
				s.writable = perm == "6" || perm == "2"
				now[name] = s
			}
		}
		g.mu.Lock()
		g.shown, g.stale = now, false
		g.mu.Unlock()
	}
}

func (g *guide) look(name string) shown {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shown[name]
}

// whole tells whether a pair is shown as it should be, and how it is shown.
func (g *guide) whole(p *pair) (bool, string) {
	s := g.look(p.name)
	g.mu.Lock()
	stale := g.stale
	g.mu.Unlock()
	ok := !stale && len(s.addrs) == 2 && s.writable && s.addrs["0"] == p.members[0].addr && s.addrs["1"] == p.members[1].addr
	return ok, fmt.Sprintf("the name server shows %v, writable %v, stale %v", s.addrs, s.writable, stale)
}
