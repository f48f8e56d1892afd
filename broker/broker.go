// Package broker puts the broker together: store, tables, handlers, background services and ports, in the order in which they start
// and the reverse in which they stop (ARCHITECTURE.md, Start and stop).
//
// What a request does is in broker/processor; what is remembered in broker/meta, broker/client and the store. Start at [New] and
// [Broker.Start].
package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	iofs "io/fs"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"apogee/broker/acting"
	"apogee/broker/balance"
	"apogee/broker/client"
	"apogee/broker/config"
	"apogee/broker/delay"
	"apogee/broker/escape"
	"apogee/broker/hold"
	"apogee/broker/lite"
	"apogee/broker/meta"
	"apogee/broker/pop"
	"apogee/broker/pop/order"
	"apogee/broker/pop/wait"
	"apogee/broker/processor"
	"apogee/broker/slave"
	"apogee/broker/stats"
	"apogee/broker/timer"
	"apogee/broker/transaction"
	"apogee/compat/body"
	"apogee/compat/properties"
	"apogee/filter"
	"apogee/ha"
	"apogee/internal/clock"
	"apogee/remoting"
	"apogee/store"
	"apogee/store/vfs"
)

// Config is the broker's configuration.
type Config = config.Broker

// Env is what a broker takes from outside. Zero fields take the machine's.
type Env struct {
	FS  vfs.FS
	Now func() time.Time
	Log *slog.Logger

	// Settings are the keys as they were read, for operators who ask for them and for the file that a change at run time writes.
	Settings *properties.File

	TLS           *remoting.TLSPolicy // of the ports
	ClientTLS     *tls.Config         // towards name servers
	Serialization remoting.Serialization
}

// Broker is one broker.
type Broker struct {
	env      Env
	live     *config.Live
	settings *settings

	store     *store.Store
	storeOpts store.Options

	maxMessage atomic.Int64 // maxMessageSize, which can change at run time
	reserved   atomic.Int64 // fileReservedTime in hours, likewise

	topics    *meta.Topics
	groups    *meta.Groups
	offsets   *meta.Offsets
	broadcast *meta.Broadcast
	filters   *meta.Filters

	lite        *lite.Service
	liteOrders  *order.Table
	topicRoutes *balance.Routes

	consumers *client.Consumers
	producers *client.Producers
	locks     *client.Locks
	modes     *meta.Modes
	notifier  *client.Notifier
	hold      *hold.Table
	pop       *pop.Service
	compiled  *filter.Cache
	pops      *wait.Table // pops that wait, and requests that wait for something to pop
	notices   *wait.Table
	orders    *order.Table
	delay     *delay.Scheduler
	trans     *transaction.Service
	timer     *timer.Service // nil without a timer wheel
	stats     *stats.Stats
	rates     *stats.Rates
	lanes     *processor.Lanes
	proc      *processor.Processor

	replicas *ha.Server
	follower *ha.Client // nil on a master
	initEnd  int64      // where the log ended when the store was opened

	acting *acting.Service
	bridge *escape.Bridge
	slave  *slave.Synchronizer // nil on a master

	client    *remoting.Client
	members   *members
	registrar *registrar
	server    *remoting.Server
	second    *remoting.Server // the "VIP" port: everything but pulls

	ctx      context.Context // ends when the background services shall
	cancel   context.CancelFunc
	services sync.WaitGroup
	stopping sync.Once
	stopErr  error
}

// New checks a configuration. Nothing is touched until Start. The broker keeps cfg.
func New(cfg *Config, storeOpts store.Options, env Env) (*Broker, error) {
	if env.FS == nil {
		env.FS = vfs.OS()
	}
	if env.Now == nil {
		env.Now = clock.Now
	}
	if env.Log == nil {
		env.Log = slog.New(slog.DiscardHandler)
	}
	if env.Settings == nil {
		env.Settings = properties.New("")
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("broker configuration: %w", err)
	}
	b := &Broker{env: env, live: config.NewLive(cfg), storeOpts: storeOpts}
	b.storeOpts.FS, b.storeOpts.Now, b.storeOpts.Log, b.storeOpts.OnArrive = env.FS, env.Now, env.Log, b.arrive
	b.settings = &settings{
		fs: env.FS, now: env.Now, live: b.live, source: env.Settings, broker: *cfg, store: b.storeOpts,
		version: body.NewDataVersion(env.Now()), apply: b.reconfigure,
		permission: b.permissionChanged,
	}
	b.maxMessage.Store(int64(storeOpts.MaxMessageSize))
	b.reserved.Store(storeOpts.FileReservedTimeHours)
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b, nil
}

// reconfigure makes the hot part of new store options effective.
func (b *Broker) reconfigure(o store.Options) {
	b.store.Reconfigure(o)
	b.maxMessage.Store(int64(o.MaxMessageSize))
	b.reserved.Store(o.FileReservedTimeHours)
}

// Start opens the directory and the ports and registers. When it returns without an error, clients find the broker. After an error
// everything is closed again.
func (b *Broker) Start() (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Shutdown(context.Background()))
		}
	}()
	if err := b.open(); err != nil {
		return err
	}
	if err := b.wire(); err != nil {
		return err
	}
	if err := b.store.Start(); err != nil {
		return err
	}
	b.pop.Start()
	if b.timer != nil {
		b.timer.Follow(true) // until it is this broker's duty to deliver
		b.timer.Start()
	}
	if err := b.listen(); err != nil {
		return err
	}
	b.acting.Begin(b.ctx)
	if b.follower != nil {
		b.follower.Start()
	}
	b.startServices()
	return nil
}

// open locks and loads the directory: store, topics, groups, offsets, delay levels.
func (b *Broker) open() (err error) {
	c := b.live.Get()
	levels, err := delay.ParseLevels(c.DelayLevels)
	if err != nil {
		return fmt.Errorf("messageDelayLevel: %w", err)
	}
	if err := b.refuseForeign(); err != nil {
		return err
	}
	fs, dir, now, log := b.env.FS, b.storeOpts.RootDir, b.env.Now, b.env.Log
	b.client = remoting.NewClient(remoting.ClientOptions{
		Serialization: b.env.Serialization, DialTimeout: c.ConnectTimeout, TLS: b.env.ClientTLS, Log: log, Now: now,
		Lost: func(addr string) { b.registrar.lost(addr) },
	})
	b.newBridge()
	b.topics = meta.NewTopics(meta.TopicOptions{
		FS: fs, Dir: dir, Now: now, Log: log, System: b.systemTopics(c, len(levels)), LMQ: c.LMQ,
		AutoCreate: func() bool { return b.live.Get().AutoCreateTopic }, OnChange: b.topicsChanged,
	})
	// The store asks for the kind of a topic's queues while it opens: then the directory is locked, and not before.
	loadTopics := sync.OnceValue(b.topics.Load)
	opts := b.storeOpts
	opts.QueueKind = func(topic string) store.QueueKind {
		_ = loadTopics() // open returns it
		return b.queueKind(topic)
	}
	b.newReplicas(&opts)
	if b.store, err = store.Open(opts); err != nil {
		return err
	}
	_, b.initEnd = b.store.Bounds()
	// What is read now counts as written. A broker that was killed may have been about to see to that.
	if err := fs.SyncDir(meta.ConfigDir(dir)); err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return err
	}
	b.groups = meta.NewGroups(meta.GroupOptions{
		FS: fs, Dir: dir, Now: now, Log: log, LMQ: c.LMQ,
		AutoCreate:       func() bool { return b.live.Get().AutoCreateGroup },
		AutoCreateSystem: func() bool { return b.live.Get().CreateSystemGroup },
	})
	b.offsets = meta.NewOffsets(meta.OffsetOptions{
		FS: fs, Dir: dir, Now: now, Log: log, LMQ: c.LMQ, VersionStep: c.OffsetVersionStep, Sync: b.syncMoved,
		Slave: !c.Master(),
	})
	b.modes, b.orders = meta.NewModes(fs, dir, now, log), b.newOrders()
	bloom, err := filter.NewBloom(c.BloomFalseShare, c.BloomConsumers)
	if err != nil {
		return fmt.Errorf("maxErrorRateOfBloomFilter, expectConsumerNumUseFilter: %w", err)
	}
	b.compiled = new(filter.Cache)
	b.filters = meta.NewFilters(meta.FilterOptions{
		FS: fs, Dir: dir, Now: now, Log: log, Cache: b.compiled, Bloom: bloom, Kept: func() time.Duration { return b.live.Get().FilterKept },
	})
	if err := errors.Join(loadTopics(), b.groups.Load(), b.offsets.Load(), b.modes.Load(), b.orders.Load(), b.filters.Load()); err != nil {
		return err
	}
	b.topics.AdoptQueues(b.store.Queues())
	switch static, err := meta.StaticTopics(fs, dir); {
	case err != nil:
		log.Warn("which topics are static is not known", "err", err)
	case len(static) > 0:
		log.Warn("static topics are served as ordinary ones, by the queues that they have here", "topics", static)
	}
	b.groups.Adopt(b.offsets.Groups())
	b.hold = hold.New(hold.Options{Now: now})
	b.delay, err = delay.Open(delay.Options{
		Store: b.puts(), FS: fs, Dir: dir, Now: now, Log: log, Levels: levels, Around: b.hold, FlushEvery: c.FlushDelayOffset,
		VersionStep: c.DelayOffsetStep, Flushed: func() int64 { return b.store.Stats().Flushed },
	})
	if err != nil {
		return err
	}
	if c.TimerWheel {
		if b.timer, err = timer.Open(b.timerOptions(c)); err != nil {
			return err
		}
	}
	b.trans, err = b.openTransactions()
	return err
}

func (b *Broker) timerOptions(c *Config) timer.Options {
	return timer.Options{
		Store: b.puts(), FS: b.env.FS, Dir: b.storeOpts.RootDir, Now: b.env.Now, Log: b.env.Log,
		Precision: timer.Precision(c.TimerPrecision), RollWindow: c.TimerRollWindow, LogFileSize: c.TimerLogSize,
		FlushEvery: c.TimerFlush, KeysHaveTopic: c.TimerTopicInKey, Hold: c.DisappearTime,
		Ends: func() (begin, end, flushed int64) {
			s := b.store.Stats()
			return s.MinPhysical, s.MaxPhysical, s.Flushed
		},
		Dispatched: b.store.Dispatched,
		Switches: func() timer.Switches {
			c := b.live.Get()
			return timer.Switches{StopEnqueue: c.TimerStopEnqueue, StopDequeue: c.TimerStopDequeue, SkipUnknown: c.TimerSkipUnknown}
		},
	}
}

// timers is nil, and not a nil inside of an interface, without a timer wheel.
func (b *Broker) timers() processor.Timers {
	if b.timer == nil {
		return nil
	}
	return b.timer
}

// queueKind is what a topic's attributes say that its queues are made of.
func (b *Broker) queueKind(topic string) store.QueueKind {
	t, ok := b.topics.Get(topic)
	switch {
	case ok && t.Attributes["queue.type"] == "BatchCQ":
		return store.BatchQueue
	case ok && t.Attributes["cleanup.policy"] == "COMPACTION":
		return store.CompactionQueue
	}
	return store.SimpleQueue
}

func (b *Broker) systemTopics(c *Config, levels int) []body.TopicConfig {
	trace := ""
	if c.TraceTopic {
		trace = c.TraceTopicName
	}
	return meta.SystemTopics(meta.SystemConfig{
		Cluster: c.ClusterName, Broker: c.Name, AutoCreate: c.AutoCreateTopic, DefaultQueues: int32(c.DefaultQueues),
		ClusterTopic: c.ClusterTopic, BrokerTopic: c.BrokerTopic, TraceTopic: trace, ReviveQueues: int32(c.ReviveQueues),
		DelayLevel: int32(levels), Timer: c.TimerWheel,
	})
}

// wire makes what lives in memory only.
func (b *Broker) wire() error {
	c, now, log := b.live.Get(), b.env.Now, b.env.Log
	b.notifier = client.NewNotifier(client.NotifierOptions{
		Channels: func(group string) []client.Channel { return b.consumers.Channels(group) },
		Enabled:  func() bool { return b.live.Get().NotifyIDsChanged },
		RealTime: func() bool { return b.live.Get().NotifyRealTime },
		Delay:    client.NotifyDelay, Log: log,
	})
	b.consumers = client.NewConsumers(now, b.notifier.Changed, b.filters)
	b.producers = client.NewProducers(now)
	b.locks = client.NewLocks(now)
	b.pops, b.notices = b.newLines(false), b.newLines(true)
	b.stats, b.rates = stats.New(b.topics.IsSystem), new(stats.Rates)
	b.pop = b.newPop()
	b.lanes = processor.NewLanes(c)
	b.broadcast = meta.NewBroadcast(meta.BroadcastOptions{
		Now: now, Offsets: b.offsets, First: b.firstOffset,
		Online: func(group, clientID string) bool { _, ok := b.consumers.Member(group, clientID); return ok },
		Expire: func() time.Duration { return b.live.Get().BroadcastExpire }, ExpireMax: func() time.Duration { return b.live.Get().BroadcastExpireMax },
	})
	b.members = newMembers(b.client, b.live, b.Address)
	b.topicRoutes = balance.NewRoutes(b.fetchRoute, now)
	b.wireLite()
	b.registrar = newRegistrar(b.client, b.live, b.topics, b.masterTold, log)
	b.newFollower()
	if err := b.newActing(); err != nil {
		return err
	}
	b.proc = processor.New(processor.Deps{
		Config: b.live, Settings: b.settings, Log: log, Now: now,
		Store: b.store, Reader: b.store, Queues: b.store, Upkeep: b.store, Delays: b.delay, Timers: b.timers(), Transactions: b.trans, Peers: b.members, Acting: b.acting,
		Topics: b.topics, Groups: b.groups, Offsets: b.offsets, Broadcast: b.broadcast, Filters: b.filters, Expressions: b.compiled, Consumers: b.consumers, Producers: b.producers,
		HA: b, Locks: b.locks, Modes: b.modes, Hold: b.hold, Pop: b.pop, Pops: b.pops, Notices: b.notices, Orders: b.orders, Stats: b.stats, Rates: b.rates, Lanes: b.lanes,
		TopicRoutes: b.topicRoutes, Lite: b.lite, LiteOrders: b.liteOrders,
		FS: b.env.FS, LogDir: b.logDir(), MaxMessage: func() int { return int(b.maxMessage.Load()) },
	})
	return nil
}

// listen opens the main port and the second one, two below it. Port 0 lets the kernel choose both.
func (b *Broker) listen() error {
	c := b.live.Get()
	host, err := resolve(c.IP1)
	if err != nil {
		return fmt.Errorf("brokerIP1: %w", err)
	}
	if b.server, err = b.listenOn(c.ListenPort, false); err != nil {
		return err
	}
	port := b.server.Addr().(*net.TCPAddr).Port
	b.proc.SetAddress(processor.Address{Host: netip.AddrPortFrom(host, uint16(port)), Text: c.Address(port)})
	second := 0
	if c.ListenPort != 0 {
		second = c.ListenPort - 2
	}
	if b.second, err = b.listenOn(second, true); err != nil {
		return err
	}
	if err := b.listenForReplicas(); err != nil {
		return err
	}
	b.registrar.open(b.Address(), b.haAddress())
	return nil
}

func (b *Broker) listenOn(port int, second bool) (*remoting.Server, error) {
	c := b.live.Get()
	return remoting.Listen(remoting.ServerOptions{
		Addr: net.JoinHostPort(c.BindAddress, strconv.Itoa(port)), Routes: b.proc.Routes(second), Serialization: b.env.Serialization,
		Limits: remoting.Limits{Idle: c.ChannelMaxIdle, WriteHighMark: c.WriteHighMark},
		TLS:    b.env.TLS, Log: b.env.Log, Now: b.env.Now, OnClose: b.connClosed, OnFault: b.store.CheckLog, Attendant: b.hold, GoAway: c.ShutdownGrace,
	})
}

// resolve finds the address that goes into message ids.
func resolve(host string) (netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return a, nil
	}
	a, err := net.ResolveIPAddr("ip", host)
	if err != nil {
		return netip.Addr{}, err
	}
	addr, _ := netip.AddrFromSlice(a.IP)
	return addr.Unmap(), nil
}

// Addr is where the main port listens.
func (b *Broker) Addr() net.Addr { return b.server.Addr() }

// SecondAddr is where the second ("VIP") port listens.
func (b *Broker) SecondAddr() net.Addr { return b.second.Addr() }

// Address is what clients are told.
func (b *Broker) Address() string { return b.proc.Address().Text }

// Shutdown is the reverse of Start: name servers first, so that clients look elsewhere; then ports, held requests, delivery, lanes,
// services; then everything goes to disk, and the abort file goes last. Requests under way have until ctx ends.
func (b *Broker) Shutdown(ctx context.Context) error {
	b.stopping.Do(func() { b.stopErr = b.shutdown(ctx) })
	return b.stopErr
}

func (b *Broker) shutdown(ctx context.Context) error {
	var errs error
	also := func(err error) { errs = errors.Join(errs, err) }
	if c := b.live.Get(); c.ShutdownGrace {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.ShutdownWait)
		defer cancel()
	}
	if b.registrar != nil && b.registrar.ready() {
		b.registrar.unregister(ctx)
	}
	b.cancel()
	b.services.Wait()
	if b.hold != nil {
		b.hold.Close() // what is held is answered while its connection is still open
	}
	b.closePorts(ctx)
	if b.follower != nil {
		b.follower.Stop()
	}
	if b.delay != nil {
		also(b.delay.Stop())
	}
	if b.timer != nil {
		also(b.timer.Stop())
	}
	if b.pop != nil {
		b.pop.Stop()
	}
	if b.lanes != nil {
		b.lanes.Close()
	}
	if b.client != nil {
		b.bridge.Wait()
		b.client.Close()
	}
	if b.trans != nil { // after the lanes, where commits may still be under way
		also(b.trans.Stop())
	}
	if b.replicas != nil { // whoever waits for replicas hears
		if b.store != nil {
			b.replicas.Settle(ctx)
		}
		b.replicas.Close()
	}
	if b.store != nil {
		if b.offsets != nil && b.delay != nil { // loaded, hence not to be overwritten by emptiness
			also(b.persist())
		}
		err := b.store.Close()
		also(err)
		if b.delay != nil && err == nil {
			also(b.delay.Save())
		}
		if b.timer != nil {
			also(b.timer.Save(err == nil))
		}
		if b.trans != nil && err == nil { // what the check has put is on disk now
			also(b.settleTransactions())
		}
	}
	return errs
}

// closePorts ends both ports at once: while clients are told to go away, neither takes new work. That some were still busy when
// ctx ended is no failure of the shutdown.
func (b *Broker) closePorts(ctx context.Context) {
	var wg sync.WaitGroup
	for _, s := range []*remoting.Server{b.second, b.server} {
		if s == nil {
			continue
		}
		wg.Go(func() {
			if err := s.Shutdown(ctx); err != nil {
				b.env.Log.Warn("requests were under way when the port closed", "addr", s.Addr().String(), "err", err)
			}
		})
	}
	wg.Wait()
}

func (b *Broker) persist() error {
	return errors.Join(b.topics.Persist(), b.groups.Persist(), b.offsets.Persist(), b.modes.Persist(), b.orders.Persist(), b.filters.Persist())
}
