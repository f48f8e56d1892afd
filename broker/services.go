package broker

import (
	"context"
	"time"

	"apogee/broker/meta"
	"apogee/broker/stats"
	"apogee/compat/body"
	"apogee/remoting"
	"apogee/store"
)

// Periods of the background services, as in Java.
const (
	firstPersist = 10 * time.Second // of offsets, after the start
	expiryPeriod = 10 * time.Second // of the scan for clients that have gone silent
	slowPeriod   = 3 * time.Minute  // of the look for groups that read too slowly
)

// minMembersEvery keeps syncBrokerMemberGroupPeriod=0 from asking without pause.
const minMembersEvery = 100 * time.Millisecond

// startServices starts what runs until Shutdown.
func (b *Broker) startServices() {
	b.services.Go(func() { b.registrar.run(b.ctx) })
	b.services.Go(func() { b.notifier.Run(b.ctx) })
	b.services.Go(func() { every(b.ctx, firstPersist, b.live.Get().FlushOffsets, b.persistOrLog) })
	b.services.Go(func() { b.orders.Run(b.ctx) })
	b.services.Go(func() { every(b.ctx, expiryPeriod, expiryPeriod, b.expireClients) })
	b.services.Go(func() { every(b.ctx, meta.BroadcastScan, meta.BroadcastScan, b.broadcast.Scan) })
	b.startLite()
	b.services.Go(func() { b.acting.Run(b.ctx) })
	if b.slave != nil {
		b.services.Go(func() { b.slave.Run(b.ctx) })
	}
	b.services.Go(func() { every(b.ctx, slowPeriod, slowPeriod, b.proc.DisableSlow) })
	b.services.Go(func() {
		every(b.ctx, 0, max(b.live.Get().MembersEvery, minMembersEvery), func() { b.members.refresh(b.ctx) })
	})
	b.services.Go(func() {
		every(b.ctx, stats.SamplePeriod, stats.SamplePeriod, func() { b.stats.Sample(b.env.Now()) })
	})
	b.services.Go(func() { every(b.ctx, 0, stats.RatePeriod, b.sampleRates) })
}

// every calls f first after the first wait and then periodically, until ctx ends.
func every(ctx context.Context, first, period time.Duration, f func()) {
	timer := time.NewTimer(first)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			f()
			timer.Reset(period)
		}
	}
}

func (b *Broker) persistOrLog() {
	if err := b.persist(); err != nil {
		b.env.Log.Error("configuration not on disk", "err", err)
	}
}

// expireClients forgets clients that have sent no heartbeat for channelExpiredTimeout, and closes their connections.
func (b *Broker) expireClients() {
	timeout := b.live.Get().ChannelExpired
	for _, ch := range append(b.consumers.Expire(timeout), b.producers.Expire(timeout)...) {
		b.env.Log.Info("client expired", "addr", ch.RemoteText())
		ch.Close()
	}
	b.consumers.ExpireNoted(b.live.Get().SubscriptionExpired)
	b.locks.Expire()
}

// firstOffset is where a broadcasting client starts that nobody knows.
func (b *Broker) firstOffset(topic string, queue int32) int64 {
	if b.store.MinOffset(topic, queue) <= 0 && b.store.InMemory(topic, queue, 0) {
		return 0
	}
	return max(0, b.store.MaxOffset(topic, queue))
}

func (b *Broker) sampleRates() {
	s := b.store.Stats()
	b.rates.Sample(b.env.Now(), stats.Totals{Put: s.PutTotal, Found: s.GetFound, Miss: s.GetMiss, Transferred: s.GetMessages})
}

// connClosed forgets what a connection has announced and held.
func (b *Broker) connClosed(c *remoting.Conn) {
	b.consumers.ChannelClosed(c)
	b.producers.ChannelClosed(c)
	b.hold.Drop(c)
}

// arrive hears of new messages, on the store's dispatcher.
func (b *Broker) arrive(batch []store.Arrival) {
	b.hold.Arrive(batch)
	b.pops.Arrive(batch)
	b.notices.Arrive(batch)
	b.delay.Arrive(batch)
	b.lite.Arrive(batch)
	if b.timer != nil {
		b.timer.Arrive(batch)
	}
}

// topicsChanged tells the name servers of created and changed topics.
func (b *Broker) topicsChanged(changed []*body.TopicConfig, version body.DataVersion) {
	if b.registrar.ready() {
		b.registrar.topicsChanged(b.ctx, changed, version)
	}
}

// permissionChanged makes routes follow brokerPermission.
func (b *Broker) permissionChanged() {
	if err := b.topics.Bump(); err != nil {
		b.env.Log.Error("topics not on disk", "err", err)
	}
	b.registrar.full(b.ctx)
}

func (b *Broker) logDir() string {
	if b.storeOpts.CommitLogDir != "" {
		return b.storeOpts.CommitLogDir
	}
	return b.storeOpts.RootDir + "/commitlog"
}
