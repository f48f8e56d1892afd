package slave

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"apogee/broker/meta"
	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/store/vfs"
)

// Tick is how often the master is asked for what matters most; the rest is fetched every fullTicks of them.
const (
	Tick      = 3 * time.Second
	fullTicks = 3
)

// Queues are the store's queues, whose kind the topics' attributes say.
type Queues interface {
	// RemakeQueues makes those again whose topics have turned out to be of another kind.
	RemakeQueues(known func(topic string) bool) error
}

// Delays are the delivery of delayed messages while this broker does not deliver.
type Delays interface {
	// TakeOver takes over how far a master has got (the content of its delayOffset.json), and writes it.
	TakeOver(text []byte) error
}

// Timers are the delivery of timed messages while this broker does not deliver.
type Timers interface {
	// TakeOver takes over how far the master's timer is, as it answers to GET_TIMER_CHECK_POINT.
	TakeOver(checkpoint []byte) error
	// TakeOverMetrics takes over what waits at the master, as it answers to GET_TIMER_METRICS.
	TakeOverMetrics(text []byte) error
}

// Options configure a synchronizer. All of it is set, unless it says otherwise.
type Options struct {
	Caller remoting.Caller
	FS     vfs.FS
	Dir    string // store root
	Now    func() time.Time
	Log    *slog.Logger
	Self   func() string // this broker's address, which is never asked

	Queues  Queues
	Topics  *meta.Topics
	Groups  *meta.Groups
	Offsets *meta.Offsets
	Modes   *meta.Modes
	Delays  Delays
	Timers  Timers // nil without a timer wheel
	// Delivers tells whether this broker delivers delayed and timed messages itself, in place of a master: then their progress is its own.
	Delivers func() bool
}

// Synchronizer fetches from the master. All but SetMaster and Master is its goroutine's.
type Synchronizer struct {
	Options
	kept   *kept
	master atomic.Pointer[string]
	again  chan struct{} // the master is another: no need to wait for the tick
	failed string        // the last error, so that a master that is down is two lines
	forced bool          // the next round is a full one
	kinds  bool          // queues may be of another kind than their topics
}

// New loads what was kept before. Run follows.
func New(o Options) (*Synchronizer, error) {
	k, err := loadKept(&o)
	if err != nil {
		return nil, err
	}
	return &Synchronizer{Options: o, kept: k, again: make(chan struct{}, 1)}, nil
}

// SetMaster tells where the master is, "" for nowhere. who and why are for the log.
func (s *Synchronizer) SetMaster(addr, who, why string) {
	old := s.Master()
	if old == addr {
		return
	}
	s.master.Store(&addr)
	s.Log.Info("master address changed", "from", old, "to", addr, "who", who, "why", why)
	if addr != "" {
		select {
		case s.again <- struct{}{}:
		default:
		}
	}
}

// Master is where the master is, "" if that is not known.
func (s *Synchronizer) Master() string {
	if p := s.master.Load(); p != nil {
		return *p
	}
	return ""
}

// Run asks the master until ctx ends.
func (s *Synchronizer) Run(ctx context.Context) {
	ticker := time.NewTicker(Tick)
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-s.again:
			n = 0
		case <-ticker.C:
		}
		s.report(s.sync(ctx, n%fullTicks == 0 || s.forced))
	}
}

// report logs what has changed since the last round.
func (s *Synchronizer) report(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	s.forced = err != nil
	if text == s.failed {
		return
	}
	s.failed = text
	if err != nil {
		s.Log.Warn("metadata is not in sync with the master", "addr", s.Master(), "err", err)
		return
	}
	s.Log.Info("metadata is in sync with the master", "addr", s.Master())
}

// sync is one round; full fetches everything.
func (s *Synchronizer) sync(ctx context.Context, full bool) error {
	addr := s.Master()
	if addr == "" || addr == s.Self() {
		return nil
	}
	m := master{s.Caller, addr}
	errs := []error{s.syncTopics(ctx, m), s.syncGroups(ctx, m)}
	if full || s.Offsets.HasMoved() {
		errs = append(errs, s.syncOffsets(ctx, m))
	}
	if full {
		errs = append(errs, s.syncModes(ctx, m))
	}
	if full && !s.Delivers() {
		errs = append(errs, s.syncDelays(ctx, m))
	}
	if s.Timers != nil && !s.Delivers() {
		errs = append(errs, s.syncTimer(ctx, m, full))
	}
	return errors.Join(errs...)
}

// Full fetches everything at once. It is for who knows a new master before Run is started.
func (s *Synchronizer) Full(ctx context.Context) error { return s.sync(ctx, true) }

// ordinary tells whether a table has anything but what every broker has from its start.
func ordinary[T any](table map[string]T, system func(string) bool) bool {
	for name := range table {
		if !system(name) {
			return true
		}
	}
	return false
}

// follows tells whether a version is of a later state of the table that another one is of. One that counts more changes, but was made
// earlier, is of another table.
func follows(version, other body.DataVersion) bool {
	return version.Compare(other) > 0 && version.Timestamp >= other.Timestamp
}

func (s *Synchronizer) syncTopics(ctx context.Context, m master) error {
	ours := s.Topics.Version()
	all, version, err := m.topics(ctx, ours)
	if err != nil || all == nil {
		return errors.Join(err, s.remakeQueues())
	}
	known := func(name string) bool { return all[name] != nil || s.Topics.IsSystem(name) }
	mayRemove := follows(version, ours) && ordinary(all, s.Topics.IsSystem)
	remove, stays, changed := settle(s.Topics.Names(), known, mayRemove, s.kept.topics)
	if changed { // ahead of the version: what is kept must be known once the versions are the same
		was := s.kept.topics
		s.kept.topics = stays
		if err := s.kept.save(); err != nil {
			s.kept.topics = was
			return fmt.Errorf("topics that the master lacks: %w", err)
		}
		s.Log.Warn("topics are kept that the master lacks", "n", len(stays), "version", version, "ours", ours)
	}
	s.kinds = true
	if err := s.Topics.TakeOver(all, remove, version); err != nil {
		return errors.Join(fmt.Errorf("topics of the master: %w", err), s.remakeQueues()) // they are in force
	}
	s.Log.Info("topics are the master's", "n", len(all), "removed", len(remove), "version", version)
	return s.remakeQueues()
}

// remakeQueues makes queues again whose records came ahead of their topics.
func (s *Synchronizer) remakeQueues() error {
	if !s.kinds {
		return nil
	}
	err := s.Queues.RemakeQueues(func(topic string) bool { _, ok := s.Topics.Get(topic); return ok })
	s.kinds = err != nil
	return err
}

func (s *Synchronizer) syncGroups(ctx context.Context, m master) error {
	ours := s.Groups.Version()
	all, forbidden, version, err := m.groups(ctx, ours)
	if err != nil || all == nil {
		return err
	}
	known := func(name string) bool { return all[name] != nil || meta.IsPredefinedGroup(name) }
	mayRemove := follows(version, ours) && ordinary(all, meta.IsPredefinedGroup)
	remove, stays, changed := settle(s.Groups.Names(), known, mayRemove, s.kept.groups)
	if changed {
		was := s.kept.groups
		s.kept.groups = stays
		if err := s.kept.save(); err != nil {
			s.kept.groups = was
			return fmt.Errorf("groups that the master lacks: %w", err)
		}
		s.Log.Warn("groups are kept that the master lacks", "n", len(stays), "version", version, "ours", ours)
	}
	if err := s.Groups.TakeOver(all, forbidden, remove, version); err != nil {
		return fmt.Errorf("groups of the master: %w", err)
	}
	s.Log.Info("groups are the master's", "n", len(all), "removed", len(remove), "version", version)
	return nil
}

func (s *Synchronizer) syncModes(ctx context.Context, m master) error {
	text, err := m.body(ctx, code.GetAllMessageRequestMode)
	if err != nil {
		return err
	}
	var w body.MessageRequestModeSerializeWrapper
	if err := fastjson.Unmarshal(text, &w); err != nil {
		return fmt.Errorf("request modes of %s: %w", m.addr, err)
	}
	return s.Modes.TakeOver(w.MessageRequestModeMap)
}

func (s *Synchronizer) syncDelays(ctx context.Context, m master) error {
	text, err := m.body(ctx, code.GetAllDelayOffset)
	if err != nil {
		return err
	}
	if err := s.Delays.TakeOver(text); err != nil {
		return fmt.Errorf("delay offsets of %s: %w", m.addr, err)
	}
	return nil
}

func (s *Synchronizer) syncTimer(ctx context.Context, m master, full bool) error {
	text, err := m.body(ctx, code.GetTimerCheckPoint)
	if err != nil {
		return err
	}
	if err := s.Timers.TakeOver(text); err != nil {
		return fmt.Errorf("timer of %s: %w", m.addr, err)
	}
	if !full {
		return nil
	}
	if text, err = m.body(ctx, code.GetTimerMetrics); err != nil {
		return err
	}
	if err := s.Timers.TakeOverMetrics(text); err != nil {
		return fmt.Errorf("timer metrics of %s: %w", m.addr, err)
	}
	return nil
}
