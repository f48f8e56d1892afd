// Package acting knows which broker of a name is the lowest one that is alive, and has a slave do its master's work while that is away
// (Java BrokerController.updateMinBroker, BrokerPreOnlineService; spec: store.md 22, behaviour.md 19.2).
//
// With enableSlaveActingMaster the name servers are told every second that the broker is there, and asked who else is; they may also
// tell of a change at once (request 905). The broker with the lowest id runs what only one may: the delivery of delayed and timed
// messages, the check of transactions, the revival of popped messages. A broker with totalReplicas above 1 is isolated when it starts:
// nobody is told of it until it has found out about the others. A master then first waits for its slaves' replication connections and
// takes back what they have done in its place.
//
// One goroutine decides; each change of what the broker does is one line in the log that says why.
package acting

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"apogee/broker/config"
	"apogee/remoting"
)

// Members asks the name servers for the addresses of the brokers of this broker's name, by id.
type Members func(ctx context.Context) (map[int64]string, error)

// Replication is the link that the log comes or goes by.
type Replication interface {
	// SetMaster tells a slave where its master's replication port is, "" for nowhere; who decided so, and why, is for the log.
	SetMaster(haAddr, who, why string)
	// Await waits until messages are transferred over a connection with a host: a master's with a slave's, or a slave's with its master's.
	Await(ctx context.Context, host string) error
	// InitEnd is where the log ended when the broker was opened.
	InitEnd() int64
	// WantsFlushed tells whether a slave is to note where its master's log ended when that was opened; NoteFlushed notes it.
	WantsFlushed() bool
	NoteFlushed(off int64)
	// Hears tells whether a slave is connected with its master, and has heard of it within a time.
	Hears(within time.Duration) bool
}

// Who decides about roles, for the log.
const (
	thisBroker    = "this broker"
	nameServer    = "name server"
	otherBroker   = "the master"
	configuration = "configuration"
)

// Options configure a service. All of it is set, unless it says otherwise.
type Options struct {
	Config  *config.Live
	Caller  remoting.Caller
	Log     *slog.Logger
	Self    func() string // this broker's address
	HASelf  func() string // its replication port's
	Members Members
	Link    Replication

	// Special starts or stops what only one broker of a name may do. It may block.
	Special func(on bool)
	// Register tells the name servers of this broker. Isolated is false from then on.
	Register func(ctx context.Context)
	// Heartbeat tells the name servers that it is still there.
	Heartbeat func(ctx context.Context)
	// SetMaster tells who fetches metadata where the master is, "" for nowhere.
	SetMaster func(addr, who, why string)
	// TakeBack fetches what a slave has done in this master's place.
	TakeBack func(ctx context.Context, addr string) error
	// MasterIsBack wakes what is held here and would be better off there.
	MasterIsBack func()
}

// Service is the decision. Start it with Run, after Begin.
type Service struct {
	Options
	isolated atomic.Bool
	special  atomic.Bool
	least    atomic.Int64 // the lowest id that is alive
	notices  chan Notice

	leastAddr string // the goroutine's
	lost      bool   // the name servers did not say who is there the last time
	doubted   bool   // they say that the master is gone, and it is not
}

// Notice is what a name server tells with NOTIFY_MIN_BROKER_ID_CHANGE (905).
type Notice struct {
	ID              int64
	Addr            string
	Offline, HAAddr string // who went away; the replication port of who came
}

// maxNotices may wait to be looked at. Those beyond are dropped: the name servers are asked every second anyway.
const maxNotices = 16

// New makes a service. The broker is isolated from now on, if it will be.
func New(o Options) *Service {
	s := &Service{Options: o, notices: make(chan Notice, maxNotices)}
	c := o.Config.Get()
	s.isolated.Store(c.SlaveActing && c.Replicas > 1 && !c.SkipPreOnline)
	return s
}

// Isolated tells whether nobody is to be told of this broker yet.
func (s *Service) Isolated() bool { return s.isolated.Load() }

// Special tells whether this broker does what only one of its name may do.
func (s *Service) Active() bool { return s.special.Load() }

// Least is the lowest id of a broker that is alive, as far as is known.
func (s *Service) Least() int64 { return s.least.Load() }

// Notify takes a notice of a name server.
func (s *Service) Notify(n Notice) {
	select {
	case s.notices <- n:
	default:
	}
}

// Begin has a broker that is not isolated begin: a master does it all, a slave nothing. It is registered when Begin returns.
func (s *Service) Begin(ctx context.Context) {
	c := s.Config.Get()
	s.Log.Info("broker role", "broker", c.Name, "id", c.ID, "role", c.Role, "isolated", s.Isolated(), "who", configuration, "why", "started")
	if s.Isolated() {
		return // until it knows the others of its name
	}
	s.change(c.ID == 0, configuration, "started")
	s.Register(ctx)
}

// change starts or stops the special services.
func (s *Service) change(on bool, who, why string) {
	if s.special.Load() == on {
		return
	}
	c := s.Config.Get()
	what := "broker stops to deliver, check and revive"
	switch {
	case on && c.ID == 0:
		what = "broker delivers, checks and revives"
	case on:
		what = "broker acts as master"
	}
	s.Log.Info(what, "broker", c.Name, "id", c.ID, "least", s.least.Load(), "addr", s.leastAddr, "who", who, "why", why)
	if on {
		s.special.Store(true)
		s.Special(true)
		return
	}
	s.Special(false)
	s.special.Store(false)
}

// minPeriod keeps a period of 0 from asking without pause.
const minPeriod = 100 * time.Millisecond

// retryOnline is how long an isolated broker waits before it tries again to be online.
const retryOnline = time.Second

// Run decides until ctx ends. Without enableSlaveActingMaster there is nothing to decide.
func (s *Service) Run(ctx context.Context) {
	c := s.Config.Get()
	if !c.SlaveActing {
		return
	}
	for s.Isolated() {
		if s.prepare(ctx) {
			break
		}
		if !sleep(ctx, retryOnline) {
			return
		}
	}
	ask := time.NewTicker(max(c.MembersEvery, minPeriod))
	defer ask.Stop()
	beat := time.NewTicker(max(c.HeartbeatEvery, minPeriod))
	defer beat.Stop()
	doubt := time.NewTicker(minPeriod)
	defer doubt.Stop()
	for {
		var inDoubt <-chan time.Time
		if s.doubted {
			inDoubt = doubt.C
		}
		select {
		case <-ctx.Done():
			return
		case n := <-s.notices:
			s.update(ctx, n, "it has told so")
		case <-ask.C:
			s.ask(ctx)
		case <-inDoubt:
			s.ask(ctx)
		case <-beat.C:
			s.Heartbeat(ctx)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// ask asks the name servers. Where they do not answer, or know nobody, everything stays as it is.
func (s *Service) ask(ctx context.Context) {
	members, err := s.Members(ctx)
	if err != nil || len(members) == 0 {
		if !s.lost && ctx.Err() == nil {
			s.Log.Warn("name servers do not say who has this broker's name", "err", err)
		}
		s.lost = true
		return
	}
	s.lost = false
	least := lowest(members)
	n := Notice{ID: least, Addr: members[least]}
	if least > s.least.Load() {
		n.Offline = s.leastAddr
	}
	s.update(ctx, n, "it was asked who is there")
}

// lowest is the lowest id of members, of which there are some.
func lowest(members map[int64]string) int64 {
	first, least := true, int64(0)
	for id := range members {
		if first || id < least {
			first, least = false, id
		}
	}
	return least
}

// update acts upon another lowest id (BrokerController.onMinBrokerChange).
func (s *Service) update(ctx context.Context, n Notice, why string) {
	c := s.Config.Get()
	if c.ID == 0 {
		return
	}
	if s.doubt(c, n, why) || n.ID == s.least.Load() {
		return
	}
	s.Log.Info("lowest broker id changed", "from", s.least.Load(), "addr", s.leastAddr, "to", n.ID, "toAddr", n.Addr, "who", nameServer, "why", why)
	s.least.Store(n.ID)
	s.leastAddr = n.Addr
	if n.ID != 0 {
		s.SetMaster("", nameServer, "master is offline")
		s.Link.SetMaster("", nameServer, "master is offline")
	}
	s.change(c.ID == n.ID, nameServer, "the lowest id is another")
	if n.ID == 0 && n.Addr != "" {
		s.masterOnline(ctx, n)
	}
}

// doubt tells whether the master is there although it is not named: a name server that has just been started knows those only who have
// registered with it since. Two brokers would do the same work, and the slave would have left its master's log. (Java has no doubts.)
func (s *Service) doubt(c *config.Broker, n Notice, why string) bool {
	doubted := n.ID != 0 && s.least.Load() == 0 && s.Link.Hears(c.NotActive)
	if doubted && !s.doubted {
		s.Log.Warn("master is not named any more, but replication goes on: it stays master", "least", n.ID, "addr", n.Addr, "who", nameServer, "why", why)
	}
	s.doubted = doubted
	return doubted
}

// masterOnline follows a master that is back.
func (s *Service) masterOnline(ctx context.Context, n Notice) {
	const why = "master is online"
	ha := n.HAAddr
	if ha == "" || s.Link.WantsFlushed() {
		info, err := Exchange(ctx, s.Caller, n.Addr, Info{})
		if err != nil {
			s.Log.Warn("master does not tell its replication port", "addr", n.Addr, "err", err)
		} else {
			s.noteFlushed(info)
		}
		if ha == "" {
			ha = info.HAAddr
		}
	}
	if ha != "" {
		s.Link.SetMaster(ha, nameServer, why)
	}
	s.SetMaster(n.Addr, nameServer, why)
	s.MasterIsBack()
}
