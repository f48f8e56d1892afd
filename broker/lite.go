package broker

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"apogee/broker/lite"
	"apogee/broker/pop"
	"apogee/broker/pop/order"
)

// liteRoutes is how long a route counts by which new lite topics are shared out among brokers, liteRoute how long it may take to get it.
const (
	liteRoutes = 30 * time.Second
	liteRoute  = time.Second
)

// wireLite makes what serves lite topics. What is out of them is in memory only, as in Java.
func (b *Broker) wireLite() {
	b.liteOrders = order.New(order.Options{
		FS: b.env.FS, Dir: b.storeOpts.RootDir, Now: b.env.Now, Log: b.env.Log,
		ReadQueues: func(topic string) (int32, bool) { return 1, b.store.MaxOffset(topic, 0) > 0 },
		HasGroup:   func(group string) bool { _, ok := b.groups.Get(group); return ok },
		Next:       func(k pop.Key) int64 { off, _ := b.offsets.Query(k.Group, k.Topic, 0); return off },
		Free:       func(k pop.Key) { b.lite.Dispatch(k.Group, k.Topic) },
		Announce:   func() bool { return true },
	})
	b.lite = lite.New(lite.Options{
		Now: b.env.Now, Log: b.env.Log, Group: b.groups.Get, Offsets: b.offsets, Orders: b.liteOrders,
		MaxOffset: func(queue string) int64 { return max(0, b.store.MaxOffset(queue, 0)) }, Queues: b.liteQueues, Here: b.liteHere,
		Wake: func(client string) { b.proc.WakeLite(client) },
		Settings: func() lite.Settings {
			c := b.live.Get()
			return lite.Settings{Quota: c.LiteQuota, Events: c.LiteEvents, FullDelay: c.LiteFullDelay, WildDelay: c.LiteWildDelay, ClientIdle: c.LiteIdle}
		},
	})
}

// startLite starts what serves lite topics until Shutdown.
func (b *Broker) startLite() {
	c := b.live.Get()
	const least = 100 * time.Millisecond
	started := b.env.Now()
	b.services.Go(func() { b.liteOrders.Run(b.ctx) })
	b.services.Go(func() { every(b.ctx, c.LiteScan, max(c.LiteScan, least), b.lite.Scan) })
	b.services.Go(func() { every(b.ctx, c.LiteExpiry, max(c.LiteExpiry, least), b.lite.Expire) })
	b.services.Go(func() {
		every(b.ctx, c.LiteTTLScan, max(c.LiteTTLScan, least), func() {
			if b.env.Now().Sub(started) >= b.live.Get().LiteMinTTL {
				b.expireLiteTopics()
			}
			b.liteOrders.Clean()
		})
	})
}

func (b *Broker) liteQueues() []string {
	return slices.DeleteFunc(slices.Collect(maps.Keys(b.store.Queues())), func(q string) bool { return !strings.HasPrefix(q, lite.Prefix) })
}

// expireLiteTopics deletes lite topics that have had no message for as long as their parent says.
func (b *Broker) expireLiteTopics() {
	last := func(q string) time.Time {
		if ms := b.store.StoreTime(q, 0, b.store.MaxOffset(q, 0)-1); ms > 0 {
			return time.UnixMilli(ms)
		}
		return time.Time{}
	}
	for _, q := range lite.Outdated(b.liteQueues(), b.topics.Get, last, b.env.Now(), b.live.Get().LiteMinTTL) {
		b.lite.Forget(q)
		b.offsets.DeleteTopic(q)
		if err := b.store.DeleteTopics(q); err != nil {
			b.env.Log.Error("lite topic not deleted", "topic", q, "err", err)
			continue
		}
		b.env.Log.Info("lite topic deleted", "topic", q)
	}
}

// liteHere tells which new lite topics of a parent belong to this broker. Without a route all do.
func (b *Broker) liteHere(parent string) func(topic string) bool {
	ctx, cancel := context.WithTimeout(b.ctx, liteRoute)
	defer cancel()
	queues, self := b.topicRoutes.Writable(ctx, parent, liteRoutes), b.live.Get().Name
	return func(topic string) bool { return len(queues) == 0 || lite.Owner(topic, queues) == self }
}
