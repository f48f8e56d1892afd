package client

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// Notifier tells the members of changed groups to look at their queues anew: NOTIFY_CONSUMER_IDS_CHANGED (40), one-way, to every
// connection (DefaultConsumerIdsChangeListener, Broker2Client). It has one goroutine. Changes of a group that come while
// its members are being told are told once more at the end, however many they are: a thousand clients that start together do not
// cause a million notices.
type Notifier struct {
	opts NotifierOptions

	mu      sync.Mutex // guards pending
	pending map[string]struct{}
	wake    chan struct{}
}

// NotifierOptions configure a Notifier.
type NotifierOptions struct {
	Channels func(group string) []Channel
	Enabled  func() bool // notifyConsumerIdsChangedEnable
	RealTime func() bool // realTimeNotifyConsumerChange; false collects changes for Delay
	Delay    time.Duration
	Log      *slog.Logger
}

// NotifyDelay is how long changes are collected where they are not told at once.
const NotifyDelay = 15 * time.Second

// NewNotifier makes one; Run does the work.
func NewNotifier(opts NotifierOptions) *Notifier {
	return &Notifier{opts: opts, pending: make(map[string]struct{}), wake: make(chan struct{}, 1)}
}

// Changed asks for a notice to the members of a group. It never blocks.
func (n *Notifier) Changed(group string) {
	if !n.opts.Enabled() {
		return
	}
	n.mu.Lock()
	n.pending[group] = struct{}{}
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// Run sends notices until ctx ends.
func (n *Notifier) Run(ctx context.Context) {
	tick := time.NewTicker(n.opts.Delay)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			n.flush()
		case <-n.wake:
			if n.opts.RealTime() {
				n.flush()
			}
		}
	}
}

func (n *Notifier) flush() {
	for {
		group, ok := n.take()
		if !ok {
			return
		}
		out := remoting.Outgoing{
			Code:   code.NotifyConsumerIDsChanged,
			Header: &header.NotifyConsumerIDsChangedRequest{ConsumerGroup: group},
		}
		for _, ch := range n.opts.Channels(group) {
			if err := ch.Oneway(out); err != nil {
				n.opts.Log.Debug("consumer not told of change", "group", group, "addr", ch.RemoteText(), "err", err)
			}
		}
	}
}

func (n *Notifier) take() (string, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for g := range n.pending {
		delete(n.pending, g)
		return g, true
	}
	return "", false
}
