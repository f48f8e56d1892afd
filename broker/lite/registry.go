package lite

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"apogee/broker/meta"
	"apogee/broker/pop"
	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store"
)

// Channel is the connection by which a client was last heard of.
type Channel interface {
	Oneway(out remoting.Outgoing) error
}

// Settings are the parts of the broker's configuration that count here.
type Settings struct {
	Quota      int64         // maxLiteSubscriptionCount
	Events     int           // maxClientEventCount, where a group says nothing else
	FullDelay  time.Duration // liteEventFullDispatchDelayTime
	WildDelay  time.Duration // liteEventFullDispatchDelayTimeForWildcardGroup
	ClientIdle time.Duration // liteSubscriptionCheckTimeoutMills
}

// Options are what a service works with; all are needed.
type Options struct {
	Now      func() time.Time
	Log      *slog.Logger
	Settings func() Settings
	Group    func(name string) (*body.SubscriptionGroupConfig, bool)
	Offsets  *meta.Offsets
	Orders   interface{ Clear(k pop.Key) }
	// MaxOffset is where a light queue ends, 0 where there is none; Queues are those that there are.
	MaxOffset func(queue string) int64
	Queues    func() []string
	// Here tells of a parent topic which names of new lite topics belong to this broker.
	Here func(parent string) func(topic string) bool
	// Wake says that a client has events. No lock is held; it must not block.
	Wake func(client string)
}

// Service is the subscriptions and events of one broker.
type Service struct {
	opts Options

	mu      sync.Mutex // guards what follows, and what it points to
	clients map[string]*subscriber
	of      map[string]map[string]*subscriber // by light queue, or parent@group of a wildcard group; then by client id
	wild    map[string]map[string]bool        // wildcard groups by parent topic
	active  int64                             // subscriptions: of each client each
	due     map[string]fullDispatch           // by client id, or by group of a wildcard group
	busy    map[pop.Key]bool                  // light queues that are being popped; true: somebody else wanted to
	turn    int                               // who of several is asked first
	wakes   []string                          // clients to be woken by who lets go of mu
}

// unlock lets go of mu and wakes the clients that have got events meanwhile.
func (s *Service) unlock() {
	wakes := s.wakes
	s.wakes = nil
	s.mu.Unlock()
	for _, id := range wakes {
		s.opts.Wake(id)
	}
}

// subscriber is one client.
type subscriber struct {
	id, group, parent string
	channel           Channel
	queues            map[string]bool
	updated           time.Time

	events       []string // light queues with something new, in order
	queued       map[string]bool
	access, took time.Time // when it last asked for events, and got one
}

// How long a client may be quiet until its events are given to others (LiteEventDispatcher).
const (
	quietWithEvents = 10 * time.Second
	quietAtAll      = 35 * time.Second
)

// New makes an empty service.
func New(opts Options) *Service {
	return &Service{
		opts: opts, clients: make(map[string]*subscriber), of: make(map[string]map[string]*subscriber), wild: make(map[string]map[string]bool),
		due: make(map[string]fullDispatch), busy: make(map[pop.Key]bool),
	}
}

// QuotaError is a subscription too many.
type QuotaError struct{ Limit int64 }

func (e QuotaError) Error() string {
	return fmt.Sprintf("lite subscription quota exceeded %d", e.Limit)
}

// RefusedError is a subscription that cannot be.
type RefusedError string

func (e RefusedError) Error() string { return string(e) }

// Apply does what a client orders.
func (s *Service) Apply(e *body.LiteSubscription, ch Channel) error {
	queues := make([]string, 0, len(e.LiteTopicSet))
	for _, t := range e.LiteTopicSet {
		q := Queue(e.Topic, t)
		if _, _, ok := Split(q); !ok {
			return RefusedError(fmt.Sprintf("lite topic %q of %q is no name", t, e.Topic))
		}
		queues = append(queues, q)
	}
	switch e.Action {
	case body.LitePartialAdd, body.LiteCompleteAdd:
		g, ok := s.opts.Group(e.Group)
		if !ok || !g.ConsumeEnable {
			return RefusedError("Consumer group is not allowed to consume.")
		}
		if !wildcard(g) {
			queues = s.served(e.Topic, queues) // it may ask a name server: no lock is held
		}
		s.mu.Lock()
		defer s.unlock()
		if e.Action == body.LitePartialAdd {
			return s.addLocked(e, g, queues, ch)
		}
		return s.replaceLocked(e, g, queues, ch)
	case body.LitePartialRemove:
		s.mu.Lock()
		defer s.unlock()
		s.removeLocked(e, queues)
	case body.LiteCompleteRemove:
		s.mu.Lock()
		defer s.unlock()
		s.forgetLocked(s.clients[e.ClientID])
	default:
		return fmt.Errorf("action %q of a lite subscription is unknown", e.Action)
	}
	return nil
}

func (s *Service) clientLocked(e *body.LiteSubscription) *subscriber {
	c := s.clients[e.ClientID]
	if c == nil {
		now := s.opts.Now()
		c = &subscriber{
			id: strings.Clone(e.ClientID), group: strings.Clone(e.Group), parent: strings.Clone(e.Topic), queues: make(map[string]bool),
			queued: make(map[string]bool), updated: now, access: now, took: now,
		}
		s.clients[c.id] = c
	}
	return c
}

func (s *Service) addLocked(e *body.LiteSubscription, g *body.SubscriptionGroupConfig, queues []string, ch Channel) error {
	if limit := s.opts.Settings().Quota; s.active >= limit {
		return QuotaError{limit}
	}
	if wildcard(g) {
		return RefusedError("subscribe lite operation is not supported for this group")
	}
	c := s.clientLocked(e)
	c.channel, c.updated = ch, s.opts.Now()
	for _, q := range queues {
		if err := s.roomLocked(c, q); err != nil {
			return err
		}
		if exclusive(g) {
			s.evictLocked(c, g, q)
		}
		if e.OffsetOption != nil {
			s.resetLocked(q, c.group, e.OffsetOption)
		}
		s.joinLocked(c, q, false)
	}
	return nil
}

// roomLocked tells whether there may be one more subscription, if it is one.
func (s *Service) roomLocked(c *subscriber, queue string) error {
	if limit := s.opts.Settings().Quota; s.active >= limit && !c.queues[queue] {
		return QuotaError{limit}
	}
	return nil
}

// served are those of a parent's light queues that this broker serves: they are there already, or new ones of that name belong here.
func (s *Service) served(parent string, queues []string) []string {
	var here func(topic string) bool // asked for once, not for each of thousands
	return slices.DeleteFunc(queues, func(q string) bool {
		if s.opts.MaxOffset(q) > 0 {
			return false
		}
		if here == nil {
			here = s.opts.Here(parent)
		}
		_, topic, _ := Split(q)
		return !here(topic)
	})
}

// replaceLocked makes queues all that a client subscribes to; a client of a wildcard group has everything.
func (s *Service) replaceLocked(e *body.LiteSubscription, g *body.SubscriptionGroupConfig, queues []string, ch Channel) error {
	c := s.clientLocked(e)
	c.channel, c.updated = ch, s.opts.Now()
	all := wildcard(g)
	if all {
		queues = []string{wildKey(c.parent, c.group)}
	}
	want := make(map[string]bool, len(queues))
	for _, q := range queues {
		want[q] = true
	}
	for q := range c.queues {
		if !want[q] {
			s.leaveLocked(c, q)
		}
	}
	for _, q := range queues {
		if err := s.roomLocked(c, q); err != nil {
			return err
		}
		if exclusive(g) && !c.queues[q] && s.takenLocked(c, q) { // it has not heard that it was pushed out
			s.tell(c, q)
			continue
		}
		s.joinLocked(c, q, all)
	}
	return nil
}

func (s *Service) removeLocked(e *body.LiteSubscription, queues []string) {
	c := s.clients[e.ClientID]
	if c == nil {
		return
	}
	c.updated = s.opts.Now()
	g, _ := s.opts.Group(c.group)
	for _, q := range queues {
		if s.leaveLocked(c, q) && g != nil && g.Attributes["lite.sub.reset.offset.unsubscribe"] == "true" {
			s.resetLocked(q, c.group, &body.LiteOffsetOption{Type: body.LitePolicy, Value: body.LitePolicyMin})
		}
	}
}

func (s *Service) joinLocked(c *subscriber, queue string, all bool) {
	if c.queues[queue] {
		return
	}
	queue = strings.Clone(queue)
	c.queues[queue] = true
	if s.of[queue] == nil {
		s.of[queue] = make(map[string]*subscriber, 1)
	}
	s.of[queue][c.id] = c
	s.active++
	switch {
	case all:
		if s.wild[c.parent] == nil {
			s.wild[c.parent] = make(map[string]bool)
		}
		s.wild[c.parent][c.group] = true
		s.scheduleLocked(c.group, fullDispatch{group: c.group, wild: true}, wildFirst)
	case s.opts.MaxOffset(queue) > 0:
		s.dispatchLocked(c.group, queue, "")
	}
}

// leaveLocked reports whether the client had the queue. If it has an event of it, that goes to another of its group.
func (s *Service) leaveLocked(c *subscriber, queue string) bool {
	if !c.queues[queue] {
		return false
	}
	delete(c.queues, queue)
	delete(s.of[queue], c.id)
	s.active--
	if len(s.of[queue]) == 0 {
		delete(s.of, queue)
		if queue == wildKey(c.parent, c.group) {
			delete(s.wild[c.parent], c.group)
			if len(s.wild[c.parent]) == 0 {
				delete(s.wild, c.parent)
			}
		}
	}
	if c.queued[queue] {
		delete(c.queued, queue)
		c.events = slices.DeleteFunc(c.events, func(q string) bool { return q == queue })
		s.dispatchLocked(c.group, queue, c.id)
	}
	return true
}

// evictLocked takes a lite topic from all others of an exclusive group, and tells them.
func (s *Service) evictLocked(by *subscriber, g *body.SubscriptionGroupConfig, queue string) {
	for _, c := range s.of[queue] {
		if c.group != by.group || c == by {
			continue
		}
		s.leaveLocked(c, queue)
		s.tell(c, queue)
		if g.Attributes["lite.sub.reset.offset.exclusive"] == "true" {
			s.resetLocked(queue, c.group, &body.LiteOffsetOption{Type: body.LitePolicy, Value: body.LitePolicyMin})
		}
	}
}

// takenLocked tells whether another client of the group has a lite topic.
func (s *Service) takenLocked(by *subscriber, queue string) bool {
	for _, c := range s.of[queue] {
		if c.group == by.group && c != by {
			return true
		}
	}
	return false
}

// tell has a client know that a lite topic is not its any more.
func (s *Service) tell(c *subscriber, queue string) {
	if c.channel == nil {
		return
	}
	_, topic, _ := Split(queue)
	err := c.channel.Oneway(remoting.Outgoing{
		Code:   code.NotifyUnsubscribeLite,
		Header: &header.NotifyUnsubscribeLiteRequest{LiteTopic: topic, ConsumerGroup: c.group, ClientID: c.id},
	})
	if err != nil {
		s.opts.Log.Warn("client not told of a lite topic that it has lost", "client", c.id, "group", c.group, "err", err)
	}
}

// forgetLocked removes a client; its events go to others.
func (s *Service) forgetLocked(c *subscriber) {
	if c == nil {
		return
	}
	for q := range maps.Clone(c.queues) {
		s.leaveLocked(c, q)
	}
	delete(s.clients, c.id)
	delete(s.due, c.id)
	for _, q := range c.events {
		s.dispatchLocked(c.group, q, c.id)
	}
}

// resetLocked moves a group in a lite topic, as a subscription asks. A time is not heard (nor is it by Java).
func (s *Service) resetLocked(queue, group string, o *body.LiteOffsetOption) {
	at, known := s.opts.Offsets.Query(group, queue, 0)
	to := int64(-1)
	switch {
	case o.Type == body.LitePolicy && o.Value == body.LitePolicyMin:
		to = 0
	case o.Type == body.LitePolicy && o.Value == body.LitePolicyMax:
		to = s.opts.MaxOffset(queue)
	case o.Type == body.LiteOffset:
		to = o.Value
	case o.Type == body.LiteTail && known:
		to = max(0, at-o.Value)
	}
	if to < 0 || known && to == at {
		return
	}
	s.opts.Offsets.AssignReset(group, queue, 0, to)
	s.opts.Orders.Clear(pop.Key{Topic: queue, Group: group})
}

func wildcard(g *body.SubscriptionGroupConfig) bool {
	return g.Attributes["lite.sub.wildcard"] == "true"
}

func exclusive(g *body.SubscriptionGroupConfig) bool {
	return g.Attributes["lite.sub.model"] == "Exclusive"
}

func wildKey(parent, group string) string { return parent + "@" + group }

// Active is how many subscriptions there are, Clients how many clients have any.
func (s *Service) Active() (subscriptions int64, clients int) {
	s.mu.Lock()
	defer s.unlock()
	return s.active, len(s.clients)
}

// Client is what a client subscribes to and when it last asked for something; nil if it is not known.
func (s *Service) Client(id string) (queues []string, access time.Time) {
	s.mu.Lock()
	defer s.unlock()
	c := s.clients[id]
	if c == nil {
		return nil, time.Time{}
	}
	return slices.Sorted(maps.Keys(c.queues)), c.access
}

// Subscribers are the clients that subscribe to a light queue by its name, with their groups.
func (s *Service) Subscribers(queue string) []body.ClientGroup {
	s.mu.Lock()
	defer s.unlock()
	out := make([]body.ClientGroup, 0, len(s.of[queue]))
	for _, id := range slices.Sorted(maps.Keys(s.of[queue])) {
		out = append(out, body.ClientGroup{ClientID: id, Group: s.of[queue][id].group})
	}
	return out
}

// limit is how many events a client of a group may have.
func (s *Service) limit(group string) int {
	if g, ok := s.opts.Group(group); ok {
		if n, err := strconv.Atoi(g.Attributes["lite.sub.client.max.event.cnt"]); err == nil && n > 0 {
			return n
		}
	}
	return s.opts.Settings().Events
}

// Arrive hears of messages. It must not block: it is called by the store's dispatcher.
func (s *Service) Arrive(batch []store.Arrival) {
	for i := range batch {
		if a := &batch[i]; a.QueueID == 0 && strings.HasPrefix(a.Topic, Prefix) {
			s.mu.Lock()
			s.dispatchLocked("", a.Topic, "")
			s.unlock()
		}
	}
}
