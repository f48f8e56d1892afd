package broker

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"apogee/broker/config"
	"apogee/broker/meta"
	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// Bounds of registerNameServerPeriod, which Java clamps to.
const (
	minRegisterPeriod = 10 * time.Second
	maxRegisterPeriod = 60 * time.Second
)

// changeTimeout bounds what a change of topics waits for, in place of registerBrokerTimeoutMills: a send that creates its topic waits with it.
const changeTimeout = 3 * time.Second

// retryPeriod is how often a name server that failed is tried.
const retryPeriod = time.Second

// unregisterTimeout is how long a broker that stops waits for its name servers (BrokerOuterAPI).
const unregisterTimeout = 3 * time.Second

// registrar tells the name servers what this broker has (BrokerController.registerBrokerAll, BrokerOuterAPI; remoting.md 8.2). Each name
// server is told on its own; one that is down costs a log line and nothing else.
type registrar struct {
	caller remoting.Caller
	live   *config.Live
	topics *meta.Topics
	log    *slog.Logger
	addr   atomic.Pointer[string] // as clients dial it; nil until the ports are open
	haAddr atomic.Pointer[string] // as slaves do; set before addr
	master func(haAddr, addr string)

	isolated func() bool   // nobody is to be told of this broker yet
	again    chan struct{} // a full registration is due before its time
	hurry    chan struct{} // one with those that failed is
	leaving  atomic.Bool   // nobody is to be told of this broker any more

	mu     sync.Mutex // guards failed
	failed map[string]string
}

// newRegistrar makes a registrar that tells master who name servers say is master of this broker's name.
func newRegistrar(caller remoting.Caller, live *config.Live, topics *meta.Topics, master func(haAddr, addr string), log *slog.Logger) *registrar {
	return &registrar{
		caller: caller, live: live, topics: topics, master: master, log: log, isolated: func() bool { return false }, again: make(chan struct{}, 1), hurry: make(chan struct{}, 1), failed: make(map[string]string),
	}
}

// open tells the addresses, from which on there is something to register.
func (g *registrar) open(addr, haAddr string) {
	g.haAddr.Store(&haAddr)
	g.addr.Store(&addr)
}

func (g *registrar) ready() bool { return g.addr.Load() != nil }

// run registers periodically until ctx ends, and with name servers that failed as soon as they are back: one that has lost its connection
// with a broker has forgotten it.
func (g *registrar) run(ctx context.Context) {
	period := func() time.Duration {
		return min(max(g.live.Get().RegisterPeriod, minRegisterPeriod), maxRegisterPeriod)
	}
	due := time.NewTimer(period())
	defer due.Stop()
	retry := time.NewTicker(retryPeriod)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-due.C:
			g.full(ctx)
		case <-g.again:
			g.full(ctx)
		case <-g.hurry:
			g.late(ctx)
			continue
		case <-retry.C:
			g.late(ctx)
			continue
		}
		due.Reset(period())
	}
}

// lost hears that the connection with somebody has ended, a name server perhaps.
func (g *registrar) lost(addr string) {
	if g.leaving.Load() || !slices.Contains(g.live.Get().NameServerList(), addr) {
		return
	}
	g.report(addr, code.RegisterBroker, errLost)
	select {
	case g.hurry <- struct{}{}:
	default:
	}
}

var errLost = errors.New("connection lost")

// late registers with name servers that failed.
func (g *registrar) late(ctx context.Context) {
	if g.isolated() || g.leaving.Load() || !slices.ContainsFunc(g.live.Get().NameServerList(), g.isFailed) {
		return
	}
	c := g.live.Get()
	version := g.topics.Version()
	for _, part := range split(g.topics.All(), c) {
		g.register(ctx, c, part, version, failing)
	}
}

// soon asks for a full registration without waiting for it.
func (g *registrar) soon() {
	select {
	case g.again <- struct{}{}:
	default:
	}
}

// full registers every topic.
func (g *registrar) full(ctx context.Context) {
	if g.isolated() {
		return
	}
	c := g.live.Get()
	version := g.topics.Version()
	all := g.topics.All()
	if !c.ForceRegister && !g.changed(ctx, c, version) {
		return
	}
	for _, part := range split(all, c) {
		g.register(ctx, c, part, version, everyOne)
	}
	if g.topics.Version() != version {
		g.soon() // what changed meanwhile may have been told before this, and be undone by it
	}
}

// split cuts the table for name servers whose frames would be too large (enableSplitRegistration). Every part carries the same
// version; a name server takes each in as an addition.
func split(all map[string]*body.TopicConfig, c *config.Broker) []map[string]*body.TopicConfig {
	if !c.SplitRegister || c.SplitRegSize <= 0 || len(all) <= c.SplitRegSize {
		return []map[string]*body.TopicConfig{all}
	}
	var parts []map[string]*body.TopicConfig
	for names := range slices.Chunk(slices.Sorted(maps.Keys(all)), c.SplitRegSize) {
		part := make(map[string]*body.TopicConfig, len(names))
		for _, n := range names {
			part[n] = all[n]
		}
		parts = append(parts, part)
	}
	return parts
}

// topicsChanged registers what has just changed: only that, since the table may be large. It goes with the version of the change and not
// with the newest one: of two changes at the same time the second would reach a name server with a version that it knows already,
// and a topic that is there would stay as it was. (Java has that race.)
func (g *registrar) topicsChanged(ctx context.Context, changed []*body.TopicConfig, version body.DataVersion) {
	if g.isolated() {
		return
	}
	c := g.live.Get()
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	if c.SingleRegister {
		for _, t := range changed {
			if !g.single(ctx, c, t) {
				g.soon()
			}
		}
		return
	}
	part := make(map[string]*body.TopicConfig, len(changed))
	for _, t := range changed {
		part[t.TopicName] = t
		if newest, ok := g.topics.Get(t.TopicName); ok { // changed again meanwhile: whichever registration comes last is right
			part[t.TopicName] = newest
		}
	}
	if !g.register(ctx, c, part, version, reachable) {
		g.soon() // a name server that does not know the broker yet takes no increments
	}
}

// register sends one registration to name servers, waits for them, and reports whether all took it.
func (g *registrar) register(
	ctx context.Context, c *config.Broker, topics map[string]*body.TopicConfig, version body.DataVersion, to audience,
) bool {
	b := &body.RegisterBrokerBody{
		TopicConfigSerializeWrapper: body.TopicConfigAndMappingSerializeWrapper{
			TopicConfigTable: masked(topics, int32(c.Permission)), DataVersion: version, MappingDataVersion: &body.DataVersion{},
		},
		FilterServerList: []string{},
	}
	text := b.Encode(c.CompressRegister)
	out := remoting.Outgoing{
		Code: code.RegisterBroker,
		Header: &header.RegisterBrokerRequest{
			BrokerName: c.Name, BrokerAddr: *g.addr.Load(), ClusterName: c.ClusterName, BrokerID: c.ID,
			HAServerAddr: *g.haAddr.Load(), EnableActingMaster: header.Some(c.SlaveActing), HeartbeatTimeoutMillis: activeFor(c),
			Compressed: header.Some(c.CompressRegister), BodyCRC32: int32(crc32.ChecksumIEEE(text) & 0x7FFFFFFF),
		},
		Body: text,
	}
	return g.each(ctx, to, c.RegisterTimeout, out, g.took)
}

// activeFor is how long the broker counts as alive without a heartbeat, where it sends them.
func activeFor(c *config.Broker) header.Opt[int64] {
	if !c.SlaveActing {
		return header.Opt[int64]{}
	}
	return header.Some(c.NotActive.Milliseconds())
}

// masked takes away what the broker as a whole may not do.
func masked(topics map[string]*body.TopicConfig, permission int32) map[string]*body.TopicConfig {
	const rw = body.PermRead | body.PermWrite
	if permission&rw == rw {
		return topics
	}
	out := make(map[string]*body.TopicConfig, len(topics))
	for name, t := range topics {
		m := *t
		m.Perm &= permission
		out[name] = &m
	}
	return out
}

// took honours a name server's answer: who is master, and the topics that an operator has ordered there, which are ordered here.
func (g *registrar) took(resp *remoting.Response) {
	var h header.RegisterBrokerResponse
	if h.DecodeFields(resp.Fields) == nil {
		g.master(h.HAServerAddr, h.MasterAddr)
	}
	if len(resp.Body) == 0 {
		return
	}
	var kv body.KVTable
	if err := fastjson.Unmarshal(resp.Body, &kv); err != nil {
		g.log.Warn("order configuration unreadable", "err", err)
		return
	}
	if err := g.topics.SetOrder(slices.Collect(maps.Keys(kv.Table))); err != nil {
		g.log.Error("order configuration not on disk", "err", err)
	}
}

// single is REGISTER_TOPIC_IN_NAMESRV (217): one topic, without the table.
func (g *registrar) single(ctx context.Context, c *config.Broker, t *body.TopicConfig) bool {
	m := masked(map[string]*body.TopicConfig{t.TopicName: t}, int32(c.Permission))[t.TopicName]
	route := &body.TopicRouteData{
		QueueDatas: []body.QueueData{{
			BrokerName: c.Name, ReadQueueNums: m.ReadQueueNums, WriteQueueNums: m.WriteQueueNums, Perm: m.Perm, TopicSysFlag: m.TopicSysFlag,
		}},
		BrokerDatas: []body.BrokerData{{Cluster: c.ClusterName, BrokerName: c.Name, BrokerAddrs: map[int64]string{c.ID: *g.addr.Load()}}},
	}
	return g.each(ctx, reachable, c.RegisterTimeout, remoting.Outgoing{
		Code: code.RegisterTopicInNamesrv, Header: &header.RegisterTopicInNamesrvRequest{Topic: t.TopicName}, Body: fastjson.Marshal(route),
	}, nil)
}

// changed asks the name servers whether they know this version (forceRegister=false). One that cannot be asked counts as changed.
func (g *registrar) changed(ctx context.Context, c *config.Broker, version body.DataVersion) bool {
	var mu sync.Mutex
	changed := false
	all := g.each(ctx, everyOne, c.RegisterTimeout, remoting.Outgoing{
		Code: code.QueryDataVersion,
		Header: &header.QueryDataVersionRequest{
			BrokerName: c.Name, BrokerAddr: *g.addr.Load(), ClusterName: c.ClusterName, BrokerID: c.ID,
		},
		Body: fastjson.Marshal(&version),
	}, func(resp *remoting.Response) {
		var h header.QueryDataVersionResponse
		err := h.DecodeFields(resp.Fields)
		mu.Lock()
		changed = changed || err != nil || h.Changed
		mu.Unlock()
	})
	return changed || !all
}

// unregister tells the name servers that this broker goes, so that clients look elsewhere before the ports close.
func (g *registrar) unregister(ctx context.Context) {
	c := g.live.Get()
	g.leaving.Store(true)
	g.each(ctx, everyOne, unregisterTimeout, remoting.Outgoing{
		Code: code.UnregisterBroker,
		Header: &header.UnregisterBrokerRequest{
			BrokerName: c.Name, BrokerAddr: *g.addr.Load(), ClusterName: c.ClusterName, BrokerID: c.ID,
		},
	}, nil)
}

// audience is which name servers are told.
type audience int

const (
	everyOne  audience = iota
	reachable          // not those that failed the last time: the next full registration is for them, and nobody waits for it
	failing            // only those
)

// each makes one request to name servers at once, waits for them, and reports whether all there are took it.
func (g *registrar) each(
	ctx context.Context, to audience, timeout time.Duration, out remoting.Outgoing, took func(*remoting.Response),
) bool {
	servers := g.live.Get().NameServerList()
	results := make([]error, len(servers))
	var wg sync.WaitGroup
	for i, addr := range servers {
		if to != everyOne && g.isFailed(addr) != (to == failing) {
			results[i] = errSkipped
			continue
		}
		wg.Go(func() {
			results[i] = g.call(ctx, timeout, addr, out, took)
			g.report(addr, out.Code, results[i])
		})
	}
	wg.Wait()
	return errors.Join(results...) == nil
}

var errSkipped = errors.New("skipped")

func (g *registrar) isFailed(addr string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failed[addr] != ""
}

func (g *registrar) call(ctx context.Context, timeout time.Duration, addr string, out remoting.Outgoing, took func(*remoting.Response)) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	resp, err := g.caller.Call(ctx, addr, out)
	if err != nil {
		return err
	}
	if resp.Code != code.Success {
		return fmt.Errorf("name server answers %d: %s", resp.Code, resp.Remark)
	}
	if took != nil {
		took(resp)
	}
	return nil
}

// report logs what has changed since the last time, so that a name server that is down for a day is two lines.
func (g *registrar) report(addr string, what int32, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	g.mu.Lock()
	last, known := g.failed[addr]
	g.failed[addr] = text
	g.mu.Unlock()
	switch {
	case known && last == text:
	case err != nil:
		g.log.Warn("name server not reached", "addr", addr, "code", what, "err", err)
	default:
		g.log.Info("registered", "addr", addr, "code", what)
	}
}
