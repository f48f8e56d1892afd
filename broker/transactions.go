package broker

import (
	"errors"
	"net/netip"
	"time"

	"apogee/broker/client"
	"apogee/broker/meta"
	"apogee/broker/transaction"
	"apogee/compat/body"
)

// openTransactions makes the service that decides about half messages.
func (b *Broker) openTransactions() (*transaction.Service, error) {
	return transaction.Open(transaction.Options{
		Store: b.puts(), Escape: b.escapes, Offsets: b.offsets, FS: b.env.FS, Dir: b.storeOpts.RootDir, Now: b.env.Now, Log: b.env.Log,
		Settings: b.transactionSettings,
		Producer: func(group string) client.Channel { return b.producers.Available(group) },
		Queues: func() int32 {
			if t, ok := b.topics.Get(meta.HalfTopic); ok {
				return t.ReadQueueNums
			}
			return 0
		},
		GivenUp: func() error {
			_, err := b.topics.CreateOnSendBack(meta.CheckMaxTimeTopic, 1, body.PermRead|body.PermWrite, false, 0)
			return err
		},
		Host:    func() netip.AddrPort { return b.proc.Address().Host },
		Stored:  func(topic string, bytes int64) { b.stats.Topic(topic).Add(1, 1, bytes) },
		End:     func() int64 { return b.store.Stats().MaxPhysical },
		Flushed: func() int64 { return b.store.Stats().Flushed },
	})
}

// maxReserved is a time in hours that is for ever.
const maxReserved = 1 << 20

func (b *Broker) transactionSettings() transaction.Settings {
	c := b.live.Get()
	return transaction.Settings{
		Timeout: c.TransactionTimeout, CheckMax: c.TransactionCheckMax, CheckInterval: c.TransactionCheckInterval,
		Reserved:  time.Duration(min(b.reserved.Load(), maxReserved)) * time.Hour,
		OpMaxSize: c.TransactionOpSize, OpInterval: c.TransactionOpInterval, FlushCounts: c.TransactionFlushCounts,
		BrokerName: c.Name,
	}
}

// settleTransactions notes how far the check has got, once the store is closed.
func (b *Broker) settleTransactions() error {
	changed, err := b.trans.Settle()
	if changed {
		err = errors.Join(err, b.offsets.Persist())
	}
	return err
}
