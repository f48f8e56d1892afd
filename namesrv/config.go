package namesrv

import (
	"path"
	"strings"
	"time"
)

// Config is the name server's configuration under Java's key names (NamesrvConfig, NettyServerConfig). Fields tagged hot take
// effect when UPDATE_NAMESRV_CONFIG changes them; the others are stored and take effect at the next start. A Config is never
// changed once a server has it.
type Config struct {
	RocketmqHome    string `prop:"rocketmqHome"`
	KVConfigPath    string `prop:"kvConfigPath"`    // see FillPaths
	ConfigStorePath string `prop:"configStorePath"` // the file of -c where one was given

	// Where it listens.
	BindAddress     string        `prop:"bindAddress" default:"0.0.0.0"`
	ListenPort      int           `prop:"listenPort" default:"9876"`
	ChannelMaxIdle  time.Duration `prop:"serverChannelMaxIdleTimeSeconds" unit:"s" default:"120"`
	WriteHighMark   int           `prop:"writeBufferHighWaterMark" default:"0"`
	ShutdownGrace   bool          `prop:"enableShutdownGracefully" default:"false"`
	ShutdownWait    time.Duration `prop:"shutdownWaitTimeSeconds" unit:"s" default:"30" hot:"true"`
	ConnectTimeout  time.Duration `prop:"connectTimeoutMillis" unit:"ms" default:"3000"`
	ConfigBlackList string        `prop:"configBlackList" default:"configBlackList;configStorePath;kvConfigPath"`

	// Brokers.
	ScanInterval                time.Duration `prop:"scanNotActiveBrokerInterval" unit:"ms" default:"5000"`
	UnregisterQueueCapacity     int           `prop:"unRegisterBrokerQueueCapacity" default:"3000"`
	DeleteTopicWithRegistration bool          `prop:"deleteTopicWithBrokerRegistration" default:"false" hot:"true"`
	ReturnOrderTopicConfig      bool          `prop:"returnOrderTopicConfigToBroker" default:"true" hot:"true"`
	NotifyMinBrokerIDChanged    bool          `prop:"notifyMinBrokerIdChanged" default:"false" hot:"true"`

	// Routes and lists.
	OrderMessageEnable  bool          `prop:"orderMessageEnable" default:"false" hot:"true"`
	SupportActingMaster bool          `prop:"supportActingMaster" default:"false" hot:"true"`
	EnableAllTopicList  bool          `prop:"enableAllTopicList" default:"true" hot:"true"`
	EnableTopicList     bool          `prop:"enableTopicList" default:"true" hot:"true"`
	NeedWaitForService  bool          `prop:"needWaitForService" default:"false" hot:"true"`
	WaitForService      time.Duration `prop:"waitSecondsForService" unit:"s" default:"45" hot:"true"`
	ClusterTest         bool          `prop:"clusterTest" default:"false"`
	ProductEnvName      string        `prop:"productEnvName" default:"center"`
}

// FillPaths gives the two files the places that Java gives them when no setting does: below the user's home.
func (c *Config) FillPaths(userHome string) {
	if c.KVConfigPath == "" {
		c.KVConfigPath = path.Join(userHome, "namesrv", "kvConfig.json")
	}
	if c.ConfigStorePath == "" {
		c.ConfigStorePath = path.Join(userHome, "namesrv", "namesrv.properties")
	}
}

// alwaysBlack are the keys that no UPDATE_NAMESRV_CONFIG may set, whatever configBlackList says
// (DefaultRequestProcessor.initConfigBlackList).
var alwaysBlack = []string{"configBlackList", "configStorePath", "kvConfigPath", "rocketmqHome"}

// blackListed tells whether an update may not touch key.
func (c *Config) blackListed(key string) bool {
	for _, k := range alwaysBlack {
		if k == key {
			return true
		}
	}
	for k := range strings.SplitSeq(c.ConfigBlackList, ";") {
		if k == key {
			return true
		}
	}
	return false
}
