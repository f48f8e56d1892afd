package processor

import (
	"apogee/broker/config"
	"apogee/remoting"
	"apogee/remoting/code"
)

// laneID says where a request is worked. The zero value is inline, on the event loop.
type laneID uint8

const (
	inline laneID = iota
	laneSend
	lanePull
	laneLitePull
	laneQuery
	laneHeartbeat
	laneClient
	laneConsumer
	laneAdmin
	laneReply
	laneBalance
)

func (l *Lanes) lane(id laneID) *remoting.Lane {
	switch id {
	case laneSend:
		return l.Send
	case lanePull:
		return l.Pull
	case laneLitePull:
		return l.LitePull
	case laneQuery:
		return l.Query
	case laneHeartbeat:
		return l.Heartbeat
	case laneClient:
		return l.Client
	case laneConsumer:
		return l.Consumer
	case laneAdmin:
		return l.Admin
	case laneReply:
		return l.Reply
	case laneBalance:
		return l.Balance
	default:
		return nil
	}
}

type route struct {
	code   int32
	lane   laneID
	handle func(*Processor, *remoting.Request)
	// slow keeps a code off the second port, which serves everything that is not held or long.
	slow bool
	// reject tells whether the broker takes no such requests, by its configuration (NettyRequestProcessor.rejectRequest). Nil: it does.
	reject func(*config.Broker) bool
}

// Slaves take messages from their master only. One that may act for its master refuses them at the store, as Java does.
func sendRejected(c *config.Broker) bool { return !c.Master() && !c.SlaveActing }
func pullRejected(c *config.Broker) bool { return !c.Master() && !c.SlaveRead }

const remarkRejected = "[REJECTREQUEST]system busy, start flow control for a while"

// table is what the broker serves, sorted by code. What else package code knows is in notServed (a test compares).
var table = []route{
	{code: code.SendMessage, handle: (*Processor).send, reject: sendRejected},
	{code: code.PullMessage, handle: (*Processor).pull, slow: true, reject: pullRejected},
	{code: code.QueryMessage, lane: laneQuery, handle: (*Processor).queryMessage},
	{code: code.QueryConsumerOffset, handle: (*Processor).queryConsumerOffset},
	{code: code.UpdateConsumerOffset, handle: (*Processor).updateConsumerOffset},
	{code: code.UpdateAndCreateTopic, lane: laneAdmin, handle: (*Processor).updateTopic},
	{code: code.UpdateAndCreateTopicList, lane: laneAdmin, handle: (*Processor).updateTopics},
	{code: code.GetAllTopicConfig, lane: laneAdmin, handle: (*Processor).allTopics},
	{code: code.UpdateBrokerConfig, lane: laneAdmin, handle: (*Processor).updateConfig},
	{code: code.GetBrokerConfig, lane: laneAdmin, handle: (*Processor).brokerConfig},
	{code: code.GetBrokerRuntimeInfo, lane: laneAdmin, handle: (*Processor).runtimeInfo},
	{code: code.SearchOffsetByTimestamp, lane: laneAdmin, handle: (*Processor).searchOffset},
	{code: code.GetMaxOffset, handle: (*Processor).maxOffset},
	{code: code.GetMinOffset, handle: (*Processor).minOffset},
	{code: code.GetEarliestMsgStoreTime, lane: laneAdmin, handle: (*Processor).earliestStoreTime},
	{code: code.ViewMessageByID, lane: laneQuery, handle: (*Processor).viewMessage},
	{code: code.HeartBeat, lane: laneHeartbeat, handle: (*Processor).heartbeat},
	{code: code.UnregisterClient, lane: laneClient, handle: (*Processor).unregisterClient},
	{code: code.ConsumerSendMsgBack, handle: (*Processor).sendBack, reject: sendRejected},
	{code: code.EndTransaction, handle: (*Processor).endTransaction},
	{code: code.GetConsumerListByGroup, lane: laneConsumer, handle: (*Processor).consumerList},
	{code: code.LockBatchMQ, lane: laneAdmin, handle: (*Processor).lockQueues},
	{code: code.UnlockBatchMQ, lane: laneAdmin, handle: (*Processor).unlockQueues},
	{code: code.GetAllConsumerOffset, lane: laneAdmin, handle: (*Processor).allOffsets},
	{code: code.GetAllDelayOffset, lane: laneAdmin, handle: (*Processor).delayOffsets},
	{code: code.CheckClientConfig, lane: laneClient, handle: (*Processor).checkClient},
	{code: code.GetTimerCheckPoint, lane: laneAdmin, handle: (*Processor).timerCheckpoint},
	{code: code.GetTimerMetrics, lane: laneAdmin, handle: (*Processor).timerMetrics},
	{code: code.UpdateAndCreateSubscriptionGroup, lane: laneAdmin, handle: (*Processor).updateGroup},
	{code: code.GetAllSubscriptionGroupConfig, lane: laneAdmin, handle: (*Processor).allGroups},
	{code: code.GetTopicStatsInfo, lane: laneAdmin, handle: (*Processor).topicStats},
	{code: code.GetConsumerConnectionList, lane: laneAdmin, handle: (*Processor).consumerConnections},
	{code: code.GetProducerConnectionList, lane: laneAdmin, handle: (*Processor).producerConnections},
	{code: code.DeleteSubscriptionGroup, lane: laneAdmin, handle: (*Processor).deleteGroup},
	{code: code.GetConsumeStats, lane: laneAdmin, handle: (*Processor).consumeStats},
	{code: code.DeleteTopicInBroker, lane: laneAdmin, handle: (*Processor).deleteTopic},
	{code: code.InvokeBrokerToResetOffset, lane: laneAdmin, handle: (*Processor).resetOffset},
	{code: code.InvokeBrokerToGetConsumerStatus, lane: laneAdmin, handle: (*Processor).consumerStatus},
	{code: code.UpdateAndCreateSubscriptionGroupList, lane: laneAdmin, handle: (*Processor).updateGroups},
	{code: code.QueryTopicConsumeByWho, lane: laneAdmin, handle: (*Processor).topicConsumers},
	{code: code.QueryConsumeTimeSpan, lane: laneAdmin, handle: (*Processor).timeSpan},
	{code: code.GetSystemTopicListFromBroker, lane: laneAdmin, handle: (*Processor).systemTopics},
	{code: code.CleanExpiredConsumeQueue, lane: laneAdmin, handle: (*Processor).cleanQueues},
	{code: code.GetConsumerRunningInfo, lane: laneAdmin, handle: (*Processor).consumerRunningInfo},
	{code: code.QueryCorrectionOffset, lane: laneAdmin, handle: (*Processor).correctionOffset},
	{code: code.ConsumeMessageDirectly, lane: laneAdmin, handle: (*Processor).consumeDirectly},
	{code: code.SendMessageV2, handle: (*Processor).send, reject: sendRejected},
	{code: code.CloneGroupOffset, lane: laneAdmin, handle: (*Processor).cloneOffset},
	{code: code.ViewBrokerStatsData, lane: laneAdmin, handle: (*Processor).viewStats},
	{code: code.CleanUnusedTopic, lane: laneAdmin, handle: (*Processor).cleanUnused},
	{code: code.GetBrokerConsumeStats, lane: laneAdmin, handle: (*Processor).brokerConsumeStats},
	{code: code.SendBatchMessage, handle: (*Processor).send, reject: sendRejected},
	{code: code.QueryConsumeQueue, lane: laneAdmin, handle: (*Processor).queueEntries},
	{code: code.ResumeCheckHalfMessage, lane: laneAdmin, handle: (*Processor).resumeCheck},
	{code: code.SendReplyMessage, lane: laneReply, handle: (*Processor).sendReply},
	{code: code.SendReplyMessageV2, lane: laneReply, handle: (*Processor).sendReply},
	{code: code.GetAllProducerInfo, lane: laneAdmin, handle: (*Processor).allProducers},
	{code: code.DeleteExpiredCommitLog, lane: laneAdmin, handle: (*Processor).deleteExpired},
	{code: code.QueryTopicsByConsumer, lane: laneAdmin, handle: (*Processor).topicsOfGroup},
	{code: code.QuerySubscriptionByConsumer, lane: laneAdmin, handle: (*Processor).subscriptionOfGroup},
	{code: code.GetTopicConfig, lane: laneAdmin, handle: (*Processor).topicConfig},
	{code: code.GetSubscriptionGroupConfig, lane: laneAdmin, handle: (*Processor).groupConfig},
	{code: code.UpdateAndGetGroupForbidden, lane: laneAdmin, handle: (*Processor).groupForbidden},
	{code: code.LitePullMessage, handle: (*Processor).pull, slow: true, reject: pullRejected},
	{code: code.RecallMessage, lane: laneSend, handle: (*Processor).recall},
	{code: code.QueryAssignment, lane: laneBalance, handle: (*Processor).queryAssignment},
	{code: code.SetMessageRequestMode, lane: laneBalance, handle: (*Processor).setRequestMode},
	{code: code.GetAllMessageRequestMode, lane: laneAdmin, handle: (*Processor).allRequestModes},
	{code: code.NotifyMinBrokerIDChange, lane: laneAdmin, handle: (*Processor).lowestIDChanged},
	{code: code.ExchangeBrokerHAInfo, lane: laneAdmin, handle: (*Processor).exchangeHAInfo},
	{code: code.GetBrokerHAStatus, lane: laneAdmin, handle: (*Processor).haStatus},
	{code: code.ResetMasterFlushOffset, lane: laneAdmin, handle: (*Processor).resetMasterFlushed},
	{code: code.GetBrokerEpochCache, lane: laneAdmin, handle: (*Processor).epochs},
	{code: code.PopMessage, handle: (*Processor).popMessage, slow: true},
	{code: code.AckMessage, handle: (*Processor).ackMessage},
	{code: code.PeekMessage, lane: lanePull, handle: (*Processor).peekMessage, slow: true},
	{code: code.ChangeMessageInvisibleTime, handle: (*Processor).changeInvisible},
	{code: code.Notification, lane: lanePull, handle: (*Processor).notification, slow: true},
	{code: code.PollingInfo, lane: lanePull, handle: (*Processor).pollingInfo, slow: true},
	{code: code.PopLiteMessage, lane: lanePull, handle: (*Processor).popLite, slow: true},
	{code: code.LiteSubscriptionCtl, lane: laneClient, handle: (*Processor).liteSubscription},
	{code: code.GetBrokerLiteInfo, lane: laneAdmin, handle: (*Processor).liteBrokerInfo},
	{code: code.GetParentTopicInfo, lane: laneAdmin, handle: (*Processor).liteParentInfo},
	{code: code.GetLiteTopicInfo, lane: laneAdmin, handle: (*Processor).liteTopicInfo},
	{code: code.GetLiteClientInfo, lane: laneAdmin, handle: (*Processor).liteClientInfo},
	{code: code.TriggerLiteDispatch, lane: laneAdmin, handle: (*Processor).liteDispatch},
	{code: code.BatchAckMessage, handle: (*Processor).batchAck},
}

// Routes binds the table to p, for the main port or for the second ("VIP") one.
func (p *Processor) Routes(second bool) []remoting.Route {
	out := make([]remoting.Route, 0, len(table))
	for i := range table {
		r := &table[i]
		if second && r.slow {
			continue
		}
		out = append(out, remoting.Route{
			Code: r.code, Lane: p.Lanes.lane(r.lane), Handle: p.handler(r),
		})
	}
	return out
}

func (p *Processor) handler(r *route) func(*remoting.Request) {
	if r.reject == nil {
		return func(req *remoting.Request) { r.handle(p, req) }
	}
	return func(req *remoting.Request) {
		if r.reject(p.cfg()) {
			req.Fail(code.SystemBusy, remarkRejected)
			return
		}
		r.handle(p, req)
	}
}
