package body

// TopicRouteData is the answer to GET_ROUTEINFO_BY_TOPIC (105).
type TopicRouteData struct {
	OrderTopicConf            string                            `json:"orderTopicConf,omitempty"`
	QueueDatas                []QueueData                       `json:"queueDatas" fastjson:"nonnull"`
	BrokerDatas               []BrokerData                      `json:"brokerDatas" fastjson:"nonnull"`
	FilterServerTable         map[string][]string               `json:"filterServerTable" fastjson:"nonnull"`
	TopicQueueMappingByBroker map[string]*TopicQueueMappingInfo `json:"topicQueueMappingByBroker"`
}

// QueueData is the queues of a topic on one broker.
type QueueData struct {
	BrokerName     string `json:"brokerName,omitempty"`
	ReadQueueNums  int32  `json:"readQueueNums"`
	WriteQueueNums int32  `json:"writeQueueNums"`
	Perm           int32  `json:"perm"`
	TopicSysFlag   int32  `json:"topicSysFlag"`
}

// BrokerData is a broker name with its addresses by broker id; id 0 is the master.
type BrokerData struct {
	Cluster            string           `json:"cluster,omitempty"`
	BrokerName         string           `json:"brokerName,omitempty"`
	BrokerAddrs        map[int64]string `json:"brokerAddrs" fastjson:"nonnull"`
	ZoneName           string           `json:"zoneName,omitempty"`
	EnableActingMaster bool             `json:"enableActingMaster"`
}

// MasterID is the broker id of a master.
const MasterID int64 = 0

// ClusterInfo is the answer to GET_BROKER_CLUSTER_INFO (106).
type ClusterInfo struct {
	BrokerAddrTable  map[string]*BrokerData `json:"brokerAddrTable" fastjson:"nonnull"`
	ClusterAddrTable map[string][]string    `json:"clusterAddrTable" fastjson:"nonnull"`
}

// GetBrokerMemberGroupResponseBody is the answer to GET_BROKER_MEMBER_GROUP (901).
type GetBrokerMemberGroupResponseBody struct {
	BrokerMemberGroup *BrokerMemberGroup `json:"brokerMemberGroup"`
}

// BrokerMemberGroup is the addresses of one broker name.
type BrokerMemberGroup struct {
	Cluster     string           `json:"cluster,omitempty"`
	BrokerName  string           `json:"brokerName,omitempty"`
	BrokerAddrs map[int64]string `json:"brokerAddrs" fastjson:"nonnull"`
}
