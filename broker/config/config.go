// Package config is the broker's configuration under Java's key names (BrokerConfig, BrokerIdentity, NettyServerConfig).
//
// It holds every key outside the store that changes something here; the store's keys are in store.Options, bound from the same
// file. A [Broker] value is immutable once published: [Live] hands out the present one, and a change at run time publishes a new one.
package config

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"apogee/store"
)

// Permission bits of a broker and of a topic (PermName).
const (
	PermInherit  = 1
	PermWrite    = 2
	PermRead     = 4
	PermPriority = 8
)

// RequestMode is how a group gets messages (MessageRequestMode).
type RequestMode string

// The modes.
const (
	ModePull RequestMode = "PULL"
	ModePop  RequestMode = "POP"
)

// UnmarshalText accepts the two names.
func (m *RequestMode) UnmarshalText(b []byte) error {
	switch v := RequestMode(b); v {
	case ModePull, ModePop:
		*m = v
		return nil
	default:
		return fmt.Errorf("allowed are %s and %s", ModePull, ModePop)
	}
}

// Broker is the configuration of one broker. Fields tagged hot take effect when they change in a running broker; the others are
// stored and take effect at the next start, as in Java.
type Broker struct {
	// Who the broker is.
	ClusterName string     `prop:"brokerClusterName" default:"DefaultCluster"`
	Name        string     `prop:"brokerName"` // the host's name where no file says
	ID          int64      `prop:"brokerId" default:"0"`
	Role        store.Role `prop:"brokerRole" default:"ASYNC_MASTER"`
	Home        string     `prop:"rocketmqHome"`
	ConfigPath  string     `prop:"brokerConfigPath"`
	RootDir     string     `prop:"storePathRootDir"` // the store binds it too

	// Where it listens, and what it tells others.
	BindAddress string `prop:"bindAddress" default:"0.0.0.0"`
	ListenPort  int    `prop:"listenPort" default:"10911"`
	IP1         string `prop:"brokerIP1"` // first address that is not loopback where no file says
	IP2         string `prop:"brokerIP2"`
	HAPort      int    `prop:"haListenPort" default:"10912"`
	NameServers string `prop:"namesrvAddr" hot:"true"`

	ChannelMaxIdle   time.Duration `prop:"serverChannelMaxIdleTimeSeconds" unit:"s" default:"120"`
	WriteHighMark    int           `prop:"writeBufferHighWaterMark" default:"0"`
	ConnectTimeout   time.Duration `prop:"connectTimeoutMillis" unit:"ms" default:"3000"`
	ShutdownGrace    bool          `prop:"enableShutdownGracefully" default:"false" hot:"true"`
	ShutdownWait     time.Duration `prop:"shutdownWaitTimeSeconds" unit:"s" default:"30" hot:"true"`
	FlowControl      bool          `prop:"enableNetWorkFlowControl" default:"false" hot:"true"`
	RegisterTimeout  time.Duration `prop:"registerBrokerTimeoutMills" unit:"ms" default:"24000" hot:"true"`
	RegisterPeriod   time.Duration `prop:"registerNameServerPeriod" unit:"ms" default:"30000" hot:"true"`
	ForceRegister    bool          `prop:"forceRegister" default:"true" hot:"true"`
	SingleRegister   bool          `prop:"enableSingleTopicRegister" default:"false" hot:"true"`
	CompressRegister bool          `prop:"compressedRegister" default:"false" hot:"true"`
	SplitRegister    bool          `prop:"enableSplitRegistration" default:"false" hot:"true"`
	SplitRegSize     int           `prop:"splitRegistrationSize" default:"800" hot:"true"`

	// Replication.
	HAMaster       string        `prop:"haMasterAddress"` // of a slave; empty: the name servers know
	HAHeartbeat    time.Duration `prop:"haSendHeartbeatInterval" unit:"ms" default:"5000" hot:"true"`
	HAHousekeeping time.Duration `prop:"haHousekeepingInterval" unit:"ms" default:"20000" hot:"true"`
	HABatch        int           `prop:"haTransferBatchSize" default:"32768" hot:"true"`
	HAFlowControl  bool          `prop:"haFlowControlEnable" default:"false" hot:"true"`
	HAMostPerSec   int64         `prop:"maxHaTransferByteInSecond" default:"104857600" hot:"true"`
	HAMaxGap       int64         `prop:"haMaxGapNotInSync" default:"268435456" hot:"true"` // bytes
	SlaveTimeout   time.Duration `prop:"slaveTimeout" unit:"ms" default:"3000" hot:"true"`
	InSyncReplicas int           `prop:"inSyncReplicas" default:"1" hot:"true"`
	AutoInSync     bool          `prop:"enableAutoInSyncReplicas" default:"false" hot:"true"` // where slaves may act: no more than are alive
	MinInSync      int           `prop:"minInSyncReplicas" default:"1" hot:"true"`            // but no fewer than these
	SyncLastFile   bool          `prop:"syncFromLastFile" default:"false" hot:"true"`         // an empty slave begins with its master's last file

	// Topics and groups.
	Permission          int    `prop:"brokerPermission" default:"6" hot:"true"`
	DefaultQueues       int    `prop:"defaultTopicQueueNums" default:"8" hot:"true"`
	AutoCreateTopic     bool   `prop:"autoCreateTopicEnable" default:"true" hot:"true"`
	AutoCreateGroup     bool   `prop:"autoCreateSubscriptionGroup" default:"true" hot:"true"`
	CreateSystemGroup   bool   `prop:"enableCreateSysGroup" default:"true" hot:"true"`
	ClusterTopic        bool   `prop:"clusterTopicEnable" default:"true"`
	BrokerTopic         bool   `prop:"brokerTopicEnable" default:"true"`
	TraceTopic          bool   `prop:"traceTopicEnable" default:"false"`
	TraceTopicName      string `prop:"msgTraceTopicName" default:"RMQ_SYS_TRACE_TOPIC"`
	ReviveQueues        int    `prop:"reviveQueueNum" default:"8"`
	LMQ                 bool   `prop:"enableLmq" default:"false"`
	ValidateSystemTopic bool   `prop:"validateSystemTopicWhenUpdateTopic" default:"true" hot:"true"`
	MixedMessageType    bool   `prop:"enableMixedMessageType" default:"false" hot:"true"`
	ClearRetryTopic     bool   `prop:"clearRetryTopicWhenDeleteTopic" default:"true" hot:"true"`
	SplitMetadata       bool   `prop:"enableSplitMetadata" default:"true" hot:"true"`
	SplitMetadataSize   int    `prop:"splitMetadataSize" default:"2000" hot:"true"`

	// Sending.
	RegionID          string `prop:"regionId" default:"DefaultRegion" hot:"true"`
	TraceOn           bool   `prop:"traceOn" default:"true" hot:"true"`
	StartAcceptSend   int64  `prop:"startAcceptSendRequestTimeStamp" default:"0" hot:"true"` // ms
	StoreReply        bool   `prop:"storeReplyMessageEnable" default:"true" hot:"true"`      // answers of request-reply are stored too
	RejectTransaction bool   `prop:"rejectTransactionMessage" default:"false" hot:"true"`
	DelayLevels       string `prop:"messageDelayLevel" default:"1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h"`

	FlushDelayOffset time.Duration `prop:"flushDelayOffsetInterval" unit:"ms" default:"10000"`
	DelayOffsetStep  int64         `prop:"delayOffsetUpdateVersionStep" default:"200" hot:"true"`

	// Transactions.
	TransactionTimeout       time.Duration `prop:"transactionTimeOut" unit:"ms" default:"6000" hot:"true"`
	TransactionCheckMax      int           `prop:"transactionCheckMax" default:"15" hot:"true"`
	TransactionCheckInterval time.Duration `prop:"transactionCheckInterval" unit:"ms" default:"30000" hot:"true"`
	TransactionFlushCounts   time.Duration `prop:"transactionMetricFlushInterval" unit:"ms" default:"10000" hot:"true"`
	TransactionOpSize        int           `prop:"transactionOpMsgMaxSize" default:"4096" hot:"true"`
	TransactionOpInterval    time.Duration `prop:"transactionOpBatchInterval" unit:"ms" default:"3000" hot:"true"`
	// Timed messages.
	TimerWheel        bool          `prop:"timerWheelEnable" default:"true"`
	TimerPrecision    int64         `prop:"timerPrecisionMs" default:"1000"`              // as timer.Precision rounds it
	TimerMaxDelay     int64         `prop:"timerMaxDelaySec" default:"259200" hot:"true"` // s
	TimerRollWindow   int64         `prop:"timerRollWindowSlot" default:"172800"`         // steps of the precision
	TimerCongest      int           `prop:"timerCongestNumEachSlot" default:"2147483647" hot:"true"`
	TimerLogSize      int64         `prop:"mappedFileSizeTimerLog" default:"104857600"`
	TimerFlush        time.Duration `prop:"timerFlushIntervalMs" unit:"ms" default:"1000"`
	TimerStopEnqueue  bool          `prop:"timerStopEnqueue" default:"false" hot:"true"`
	TimerStopDequeue  bool          `prop:"timerStopDequeue" default:"false" hot:"true"`
	TimerSkipUnknown  bool          `prop:"timerSkipUnknownError" default:"false" hot:"true"`
	TimerTopicInKey   bool          `prop:"appendTopicForTimerDeleteKey" default:"false"`
	DisappearTime     time.Duration `prop:"disappearTimeAfterStart" unit:"ms" default:"-1"`
	Recall            bool          `prop:"recallMessageEnable" default:"false" hot:"true"`
	RecallNotWritable bool          `prop:"allowRecallWhenBrokerNotWriteable" default:"true" hot:"true"`

	// Pulling and offsets.
	LongPolling        bool          `prop:"longPollingEnable" default:"true" hot:"true"`
	ShortPolling       time.Duration `prop:"shortPollingTimeMills" unit:"ms" default:"1000" hot:"true"`
	QueryMax           int           `prop:"defaultQueryMaxNum" default:"32" hot:"true"` // hits of a look-up by unique key
	LitePull           bool          `prop:"litePullMessageEnable" default:"true" hot:"true"`
	SlaveRead          bool          `prop:"slaveReadEnable" default:"false" hot:"true"`
	OffsetCheckInSlave bool          `prop:"offsetCheckInSlave" default:"false" hot:"true"` // the store binds it too
	RejectPull         bool          `prop:"rejectPullConsumerEnable" default:"false" hot:"true"`
	ServerSideReset    bool          `prop:"useServerSideResetOffset" default:"true" hot:"true"`
	FlushOffsets       time.Duration `prop:"flushConsumerOffsetInterval" unit:"ms" default:"5000"`
	OffsetVersionStep  int64         `prop:"consumerOffsetUpdateVersionStep" default:"500"`

	// Where clients of broadcasting groups are, for when they go from a proxy to the broker or back.
	BroadcastOffsets   bool          `prop:"enableBroadcastOffsetStore" default:"true" hot:"true"`
	BroadcastExpire    time.Duration `prop:"broadcastOffsetExpireSecond" unit:"s" default:"120" hot:"true"`    // of clients that are gone
	BroadcastExpireMax time.Duration `prop:"broadcastOffsetExpireMaxSecond" unit:"s" default:"300" hot:"true"` // of those that are here and pull nothing

	// Groups that read too far behind the end of the log are switched off.
	DisableSlow bool  `prop:"disableConsumeIfConsumerReadSlowly" default:"false" hot:"true"`
	SlowBehind  int64 `prop:"consumerFallbehindThreshold" default:"17179869184" hot:"true"` // bytes

	// Lite topics.
	LiteQuota     int64         `prop:"maxLiteSubscriptionCount" default:"100000" hot:"true"`
	LiteEvents    int           `prop:"maxClientEventCount" default:"100" hot:"true"`
	LiteScan      time.Duration `prop:"liteEventCheckInterval" unit:"ms" default:"10000"`
	LiteFullDelay time.Duration `prop:"liteEventFullDispatchDelayTime" unit:"ms" default:"10000" hot:"true"`
	LiteWildDelay time.Duration `prop:"liteEventFullDispatchDelayTimeForWildcardGroup" unit:"ms" default:"10000" hot:"true"`
	LiteExpiry    time.Duration `prop:"liteSubscriptionCheckInterval" unit:"ms" default:"120000"`
	LiteIdle      time.Duration `prop:"liteSubscriptionCheckTimeoutMills" unit:"ms" default:"180000" hot:"true"`
	LiteTTLScan   time.Duration `prop:"liteTtlCheckInterval" unit:"ms" default:"120000"`
	LiteMinTTL    time.Duration `prop:"minLiteTTl" unit:"ms" default:"900000" hot:"true"`

	// Locks of orderly consumers that most replicas have to grant.
	StrictLocks  bool          `prop:"lockInStrictMode" default:"false" hot:"true"`
	Replicas     int           `prop:"totalReplicas" default:"1" hot:"true"`
	MembersEvery time.Duration `prop:"syncBrokerMemberGroupPeriod" unit:"ms" default:"1000"`

	// A slave that does its master's work while that is away.
	SlaveActing    bool          `prop:"enableSlaveActingMaster" default:"false"`
	RemoteEscape   bool          `prop:"enableRemoteEscape" default:"false" hot:"true"`               // what it would store goes to other masters
	EscapeTimeout  time.Duration `prop:"forwardTimeout" unit:"ms" default:"3000" hot:"true"`          // and has so long to get there
	NoteFlushed    bool          `prop:"syncMasterFlushOffsetWhenStartup" default:"false" hot:"true"` // where the master's log ended at its start, in the checkpoint
	SkipPreOnline  bool          `prop:"skipPreOnline" default:"false"`
	HeartbeatEvery time.Duration `prop:"brokerHeartbeatInterval" unit:"ms" default:"1000"`
	HeartbeatLimit time.Duration `prop:"sendHeartbeatTimeoutMillis" unit:"ms" default:"1000" hot:"true"`
	NotActive      time.Duration `prop:"brokerNotActiveTimeoutMillis" unit:"ms" default:"10000" hot:"true"`
	OldNameServers bool          `prop:"compatibleWithOldNameSrv" default:"true" hot:"true"` // speak to them by requests that they know

	// Pop.
	PopBuffer          bool          `prop:"enablePopBufferMerge" default:"false" hot:"true"`
	PopBufferStay      time.Duration `prop:"popCkStayBufferTime" unit:"ms" default:"10000" hot:"true"`
	PopBufferLeave     time.Duration `prop:"popCkStayBufferTimeOut" unit:"ms" default:"3000" hot:"true"`
	PopBufferMax       int           `prop:"popCkMaxBufferSize" default:"200000" hot:"true"`
	PopBufferQueueMax  int           `prop:"popCkOffsetMaxQueueSize" default:"20000" hot:"true"`
	PopBatchAck        bool          `prop:"enablePopBatchAck" default:"false" hot:"true"`
	PopLimit           bool          `prop:"enablePopMessageThreshold" default:"false" hot:"true"`
	PopLimitMessages   int64         `prop:"popInflightMessageThreshold" default:"10000" hot:"true"`
	PopInitInMemory    bool          `prop:"initPopOffsetByCheckMsgInMem" default:"true" hot:"true"`
	PopRetryFirst      int           `prop:"popFromRetryProbability" default:"20" hot:"true"`           // percent of pops
	PopRetryPriority   int           `prop:"popFromRetryProbabilityForPriority" default:"0" hot:"true"` // the same, of pops that heed priorities
	PriorityAsc        bool          `prop:"priorityOrderAsc" default:"true" hot:"true"`                // the last queue is the one of the highest priority
	PopRealRetryTopic  bool          `prop:"popResponseReturnActualRetryTopic" default:"false" hot:"true"`
	RetryTopicV2       bool          `prop:"enableRetryTopicV2" default:"false" hot:"true"`
	RetryTopicV1Read   bool          `prop:"retrieveMessageFromPopRetryTopicV1" default:"true" hot:"true"`
	SeparateRetryQueue bool          `prop:"useSeparateRetryQueue" default:"false" hot:"true"`
	ReviveInterval     time.Duration `prop:"reviveInterval" unit:"ms" default:"1000" hot:"true"`
	ReviveMaxSlow      int64         `prop:"reviveMaxSlow" default:"3" hot:"true"`
	SkipAwaitingAck    bool          `prop:"enableSkipLongAwaitingAck" default:"false" hot:"true"`
	ReviveAckWait      time.Duration `prop:"reviveAckWaitMs" unit:"ms" default:"180000" hot:"true"`
	SkipWhenRePut      bool          `prop:"skipWhenCKRePutReachMaxTimes" default:"false" hot:"true"`

	PopWaiting      int64         `prop:"maxPopPollingSize" default:"100000" hot:"true"`
	PopLine         int           `prop:"popPollingSize" default:"1024" hot:"true"` // waiting for one queue, and for any
	PopGroups       int           `prop:"popPollingMapSize" default:"100000" hot:"true"`
	PopGroupIdle    time.Duration `prop:"popPollingMapExpireTimeSeconds" unit:"s" default:"600" hot:"true"`
	PopForce        int64         `prop:"popLongPollingForceNotifyInterval" default:"800" hot:"true"`
	PopNotifyFree   bool          `prop:"enableNotifyAfterPopOrderLockRelease" default:"true" hot:"true"`
	NotifyFilter    bool          `prop:"useMessageFilterForNotification" default:"true" hot:"true"`
	NotifyFilterMax int           `prop:"maxMessageFilterNumForNotification" default:"64" hot:"true"`

	// Filters other than tags.
	PropertyFilter  bool          `prop:"enablePropertyFilter" default:"false" hot:"true"`
	FilterRetry     bool          `prop:"filterSupportRetry" default:"false" hot:"true"`
	FilterKept      time.Duration `prop:"filterDataCleanTimeSpan" unit:"ms" default:"86400000" hot:"true"` // after the last consumer has left
	BloomConsumers  int           `prop:"expectConsumerNumUseFilter" default:"32"`
	BloomFalseShare int           `prop:"maxErrorRateOfBloomFilter" default:"20"` // percent

	// Clients.
	NotifyIDsChanged    bool          `prop:"notifyConsumerIdsChangedEnable" default:"true" hot:"true"`
	NotifyRealTime      bool          `prop:"realTimeNotifyConsumerChange" default:"true" hot:"true"`
	RegisterProducer    bool          `prop:"enableRegisterProducer" default:"true" hot:"true"`
	SubscriptionExpired time.Duration `prop:"subscriptionExpiredTimeout" unit:"ms" default:"600000" hot:"true"` // of one that only requests have named
	ChannelExpired      time.Duration `prop:"channelExpiredTimeout" unit:"ms" default:"120000" hot:"true"`

	// Sharing queues out among consumers.
	ServerBalancer bool          `prop:"serverLoadBalancerEnable" default:"true" hot:"true"`
	RoutePeriod    time.Duration `prop:"loadBalancePollNameServerInterval" unit:"ms" default:"30000" hot:"true"` // how old a route may be
	RequestMode    RequestMode   `prop:"defaultMessageRequestMode" default:"PULL" hot:"true"`
	PopShareQueues int           `prop:"defaultPopShareQueueNum" default:"-1" hot:"true"`

	// How much work may wait.
	SendQueue        int `prop:"sendThreadPoolQueueCapacity" default:"10000"`
	PullQueue        int `prop:"pullThreadPoolQueueCapacity" default:"100000"`
	LitePullQueue    int `prop:"litePullThreadPoolQueueCapacity" default:"100000"`
	AckQueue         int `prop:"ackThreadPoolQueueCapacity" default:"100000"`
	QueryQueue       int `prop:"queryThreadPoolQueueCapacity" default:"20000"`
	ClientQueue      int `prop:"clientManagerThreadPoolQueueCapacity" default:"1000000"`
	ConsumerQueue    int `prop:"consumerManagerThreadPoolQueueCapacity" default:"1000000"`
	ReplyQueue       int `prop:"replyThreadPoolQueueCapacity" default:"10000"`
	HeartbeatQ       int `prop:"heartbeatThreadPoolQueueCapacity" default:"50000"`
	AdminQueue       int `prop:"adminBrokerThreadPoolQueueCapacity" default:"10000"`
	BalanceQueue     int `prop:"loadBalanceThreadPoolQueueCapacity" default:"100000"`
	TransactionQueue int `prop:"endTransactionPoolQueueCapacity" default:"100000"`

	// Running it.
	ConfigBlackList string `prop:"configBlackList" default:"configBlackList;brokerConfigPath" hot:"true"`
	DropUnusedStats bool   `prop:"autoDeleteUnusedStats" default:"true" hot:"true"`
}

// Master tells whether clients may write here.
func (b *Broker) Master() bool { return b.Role != store.Slave }

// Address is what the broker announces to clients and name servers.
func (b *Broker) Address(port int) string { return net.JoinHostPort(b.IP1, strconv.Itoa(port)) }

// Validate says what makes a broker refuse to start (BrokerStartup).
func (b *Broker) Validate() error {
	switch {
	case b.Name == "":
		return fmt.Errorf("brokerName is empty")
	case b.ClusterName == "":
		return fmt.Errorf("brokerClusterName is empty")
	case b.ListenPort < 0 || b.ListenPort > 65535:
		return fmt.Errorf("listenPort=%d is no port", b.ListenPort)
	case b.ListenPort == 1 || b.ListenPort == 2:
		return fmt.Errorf("listenPort=%d leaves no port for the second listener, which is two below", b.ListenPort)
	case b.Role == store.Slave && b.ID <= 0:
		return fmt.Errorf("brokerId=%d: a slave's must be above 0", b.ID)
	case b.HAHeartbeat <= 0 || b.HAHousekeeping <= 0:
		return fmt.Errorf("haSendHeartbeatInterval=%d, haHousekeepingInterval=%d: must be above 0", b.HAHeartbeat.Milliseconds(), b.HAHousekeeping.Milliseconds())
	case b.HABatch <= 0 || b.HAFlowControl && b.HAMostPerSec <= 0:
		return fmt.Errorf("haTransferBatchSize=%d, maxHaTransferByteInSecond=%d: must be above 0", b.HABatch, b.HAMostPerSec)
	case b.EscapeTimeout <= 0:
		return fmt.Errorf("forwardTimeout=%d must be above 0", b.EscapeTimeout.Milliseconds())
	case b.DefaultQueues <= 0:
		return fmt.Errorf("defaultTopicQueueNums=%d must be above 0", b.DefaultQueues)
	case b.OffsetVersionStep <= 0:
		return fmt.Errorf("consumerOffsetUpdateVersionStep=%d must be above 0", b.OffsetVersionStep)
	case b.FlushOffsets <= 0:
		return fmt.Errorf("flushConsumerOffsetInterval=%d must be above 0", b.FlushOffsets.Milliseconds())
	}
	for _, a := range b.NameServerList() {
		if _, port, err := net.SplitHostPort(a); err != nil || port == "" {
			return fmt.Errorf("namesrvAddr: %q is not host:port", a)
		}
	}
	return nil
}

// Complete fills what depends on the machine and settles what Java settles at start: a master has broker id 0, whatever the file says.
func (b *Broker) Complete(hostname string, addrs []net.Addr) {
	if b.Name == "" {
		b.Name = hostname
	}
	if b.Name == "" {
		b.Name = "DEFAULT_BROKER"
	}
	if b.Master() {
		b.ID = 0
	}
	if b.IP1 == "" {
		b.IP1 = firstAddress(addrs)
	}
	if b.IP2 == "" {
		b.IP2 = b.IP1
	}
}

// firstAddress is the machine's first IPv4 address that is not loopback or link-local, else IPv6, else 127.0.0.1 (NetworkUtil).
func firstAddress(addrs []net.Addr) string {
	var six string
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok || n.IP.IsLoopback() || n.IP.IsLinkLocalUnicast() {
			continue
		}
		if n.IP.To4() != nil {
			return n.IP.String()
		}
		if six == "" {
			six = n.IP.String()
		}
	}
	if six != "" {
		return six
	}
	return "127.0.0.1"
}

// NameServerList is namesrvAddr, taken apart.
func (b *Broker) NameServerList() []string {
	var out []string
	for a := range strings.SplitSeq(b.NameServers, ";") {
		if a = strings.TrimSpace(a); a != "" {
			out = append(out, a)
		}
	}
	return out
}

// BlackList is the keys that a change at run time may not touch (AdminBrokerProcessor.initConfigBlackList).
func (b *Broker) BlackList() map[string]bool {
	out := map[string]bool{"brokerConfigPath": true, "rocketmqHome": true, "configBlackList": true}
	for k := range strings.SplitSeq(b.ConfigBlackList, ";") {
		if k = strings.TrimSpace(k); k != "" {
			out[k] = true
		}
	}
	return out
}

// Live is the present configuration of a running broker.
type Live struct{ p atomic.Pointer[Broker] }

// NewLive publishes b, which must not be changed any more.
func NewLive(b *Broker) *Live {
	l := new(Live)
	l.p.Store(b)
	return l
}

// Get is the present configuration; it is not to be changed.
func (l *Live) Get() *Broker { return l.p.Load() }

// Set publishes b in its place.
func (l *Live) Set(b *Broker) { l.p.Store(b) }
