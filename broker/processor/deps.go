package processor

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"apogee/broker/acting"
	"apogee/broker/balance"
	"apogee/broker/client"
	"apogee/broker/config"
	"apogee/broker/hold"
	"apogee/broker/lite"
	"apogee/broker/meta"
	"apogee/broker/pop"
	"apogee/broker/pop/order"
	"apogee/broker/pop/wait"
	"apogee/broker/stats"
	"apogee/broker/timer"
	"apogee/compat/body"
	"apogee/compat/properties"
	"apogee/filter"
	"apogee/remoting"
	"apogee/store"
	"apogee/store/record"
	"apogee/store/vfs"
)

// Appender takes messages in.
type Appender interface {
	Put(m *record.Message, c store.Completion) store.PutResult
	StageAt(at *store.Place, m *record.Message, c store.Completion) store.PutResult
	StageBatch(at *store.Place, env *record.Message, items []store.BatchItem, c store.Completion) store.PutResult
	Commit(r *store.PutResult) error
	PutWait(m *record.Message) store.PutResult
	Writable() (bool, string)
}

// Reader gives messages back.
type Reader interface {
	Get(req *store.GetRequest, res *store.GetResult)
	Cold(topic string, queueID int32, offset int64) bool
	ColdAt(physical int64) bool
	View(physical int64) (rec []byte, release func(), err error)
	Query(topic, key, indexType string, max int, begin, end int64) (store.QueryResult, error)
}

// Queues knows how far each queue reaches.
type Queues interface {
	MinOffset(topic string, queueID int32) int64
	MaxOffset(topic string, queueID int32) int64
	ReadEnd(topic string, queueID int32) int64
	OffsetByTime(topic string, queueID int32, ms int64, upper bool) int64
	StoreTime(topic string, queueID int32, offset int64) int64
	InMemory(topic string, queueID int32, offset int64) bool
}

// Upkeep is what operators ask of the store.
type Upkeep interface {
	Queues() map[string][]int32
	DeleteTopics(topics ...string) error
	CleanExpiredQueues(keep func(topic string) bool) error
	DeleteExpired() error
	Stats() store.Stats
	AppendLockHeldMs() int64
}

// Delays is the delivery of delayed messages.
type Delays interface {
	// JSON is delayOffset.json as Java's slaves read it.
	JSON() []byte
}

// Transactions hear of half messages and of their ends.
type Transactions interface {
	// Prepared says that a half message for a topic was stored.
	Prepared(topic string)
	// Begin says that the half message at an offset of its queue is about to be committed; Done follows when it is, or Abandon.
	Begin(queue int32, off int64)
	Abandon(queue int32, off int64)
	Done(queue int32, off int64, topic string)
	// RolledBack ends a half message that shall never be seen.
	RolledBack(queue int32, off int64, topic string) error
	// Resumed says that a message that was given up is a half message again.
	Resumed(topic string)
}

// Timers is the delivery of timed messages.
type Timers interface {
	// Full tells whether the slot of a time takes no more messages for now.
	Full(out int64, limit int) bool
	// Passed tells whether a cancellation that has just been stored may come too late for the slot of a time.
	Passed(out int64) bool
	// Checkpoint and Metrics are what Java's slaves read.
	Checkpoint() []byte
	Metrics() []byte
	Progress() timer.Progress
	// Forget drops the count of a topic that was deleted.
	Forget(topic string)
}

// Settings is the configuration as operators see it.
type Settings interface {
	// Text is every key and its value, key=value a line.
	Text() []byte
	Version() body.DataVersion
	// Update applies settings and rewrites the configuration file. It refuses unreadable values, and then applies nothing.
	Update(f *properties.File) error
}

// Peers are the brokers of this broker's name: itself and its replicas.
type Peers interface {
	// Members are their addresses by broker id.
	Members() map[int64]string
	Call(ctx context.Context, addr string, out remoting.Outgoing) (*remoting.Response, error)
}

// Acting decides which broker of a name does what only one may.
type Acting interface {
	// Active tells whether it is this one.
	Active() bool
	// Notify takes what a name server tells of the lowest id that is alive.
	Notify(n acting.Notice)
	// HAInfo is what this broker, a master, tells of its replication; TakeHAInfo what a slave is told of its master's.
	HAInfo() acting.Info
	TakeHAInfo(info acting.Info)
}

// Deps is what a Processor works with. All of it is set, unless it says otherwise, and stays.
type Deps struct {
	Config   *config.Live
	Settings Settings
	Log      *slog.Logger
	Now      func() time.Time

	Store  Appender
	Reader Reader
	Queues Queues
	Upkeep Upkeep
	Delays Delays
	Timers Timers // nil without a timer wheel
	Peers  Peers
	Acting Acting

	Transactions Transactions

	Topics    *meta.Topics
	Groups    *meta.Groups
	Offsets   *meta.Offsets
	Broadcast *meta.Broadcast
	Filters   *meta.Filters
	Consumers *client.Consumers
	Producers *client.Producers
	HA        Replication
	Locks     *client.Locks
	Modes     *meta.Modes
	Hold      *hold.Table
	Pop       *pop.Service
	Pops      *wait.Table // pops that wait
	Orders    *order.Table
	Notices   *wait.Table // requests that wait for something to pop
	Stats     *stats.Stats
	Rates     *stats.Rates
	Lanes     *Lanes

	Lite       *lite.Service
	LiteOrders pop.Orders

	// TopicRoutes is what the name servers say of topics.
	TopicRoutes *balance.Routes
	Expressions *filter.Cache // compiled ones, shared with Filters

	FS     vfs.FS
	LogDir string // where the commit log is

	// MaxMessage is maxMessageSize of the store, for remarks.
	MaxMessage func() int
}

// Processor answers the requests of one broker.
type Processor struct {
	Deps

	addr    atomic.Pointer[Address]
	started time.Time

	messaging
	beats  sync.Pool // *beatOp
	behind behind

	liteAcks sync.Mutex // one acknowledgement of a lite topic at a time; memory only
}

// Address is what the broker calls itself: in message ids, and in answers that name it.
type Address struct {
	Host netip.AddrPort // brokerIP1 and port, as stored with each message
	Text string         // the same as clients dial it
}

// New makes a Processor. SetAddress has to follow before it gets requests.
func New(deps Deps) *Processor {
	p := &Processor{Deps: deps, started: deps.Now(), messaging: newMessaging()}
	p.SetAddress(Address{})
	return p
}

// SetAddress tells the address, which is known only once the port is open.
func (p *Processor) SetAddress(a Address) { p.addr.Store(&a) }

// Address is where the broker can be reached.
func (p *Processor) Address() *Address { return p.addr.Load() }

// cfg is the present configuration. A handler asks once, so that it does not see two.
func (p *Processor) cfg() *config.Broker { return p.Config.Get() }

// Lanes are the queues and workers for requests that may block. The names are those of Java's executors; runtime info shows them.
type Lanes struct {
	Send      *remoting.Lane // sends that must create a topic, send back
	Pull      *remoting.Lane // reads of data that is not in memory
	LitePull  *remoting.Lane
	Query     *remoting.Lane // by key, by id
	Heartbeat *remoting.Lane
	Client    *remoting.Lane // unregister, check
	Consumer  *remoting.Lane // lists, offsets of unknown groups
	Admin     *remoting.Lane
	Reply     *remoting.Lane // waits for clients
	Balance   *remoting.Lane // assignments, which may have to ask name servers

	Transaction *remoting.Lane // ends of half messages that are not in memory

	Answers *Answers // of sends that had to wait for the disk
}

// Workers of each lane. Go's scheduler makes many cheap; what blocks here is the disk and other machines.
const (
	sendWorkers      = 4
	pullWorkers      = 16
	queryWorkers     = 8
	heartbeatWorkers = 4
	clientWorkers    = 4
	adminWorkers     = 8
	replyWorkers     = 32
	balanceWorkers   = 8
	endWorkers       = 8
)

// NewLanes starts the lanes with the capacities that the configuration gives.
func NewLanes(c *config.Broker) *Lanes {
	return &Lanes{
		Send:      remoting.NewLane("send", sendWorkers, c.SendQueue),
		Pull:      remoting.NewLane("pull", pullWorkers, c.PullQueue),
		LitePull:  remoting.NewLane("litePull", pullWorkers, c.LitePullQueue),
		Query:     remoting.NewLane("query", queryWorkers, c.QueryQueue),
		Heartbeat: remoting.NewLane("heartbeat", heartbeatWorkers, c.HeartbeatQ),
		Client:    remoting.NewLane("clientManage", clientWorkers, c.ClientQueue),
		Consumer:  remoting.NewLane("consumerManage", clientWorkers, c.ConsumerQueue),
		Admin:     remoting.NewLane("admin", adminWorkers, c.AdminQueue),
		Reply:     remoting.NewLane("reply", replyWorkers, c.ReplyQueue),
		Balance:   remoting.NewLane("loadBalance", balanceWorkers, c.BalanceQueue),
		Answers:   NewAnswers(),

		Transaction: remoting.NewLane("endTransaction", endWorkers, c.TransactionQueue),
	}
}

// Close ends the lanes once what they hold is done.
func (l *Lanes) Close() {
	for _, lane := range []*remoting.Lane{l.Send, l.Pull, l.LitePull, l.Query, l.Heartbeat, l.Client, l.Consumer, l.Admin, l.Reply, l.Balance, l.Transaction} {
		lane.Close()
	}
	l.Answers.Close()
}

// Replication is how copying the log to slaves, or from a master, goes.
type Replication interface {
	HAStatus() *body.HARuntimeInfo
	// ResetMasterFlushed notes up to where the master's log is on disk.
	ResetMasterFlushed(off int64)
}
