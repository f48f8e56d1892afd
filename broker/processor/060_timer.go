package processor

import (
	"apogee/remoting"
	"apogee/remoting/code"
)

// 060 GET_TIMER_CHECK_POINT: seven numbers of eight bytes that say how far the timer has got, for slaves
// (AdminBrokerProcessor.getTimerCheckPoint). 1 without a timer wheel.
func (p *Processor) timerCheckpoint(r *remoting.Request) {
	if p.Timers == nil {
		r.Fail(code.SystemError, "The checkpoint is null")
		return
	}
	r.Reply(&remoting.Reply{Body: p.Timers.Checkpoint()})
}

// 061 GET_TIMER_METRICS: how many messages wait for each topic (AdminBrokerProcessor.getTimerMetrics). 1 without a timer wheel.
func (p *Processor) timerMetrics(r *remoting.Request) {
	if p.Timers == nil {
		r.Fail(code.SystemError, "The timer message store is null")
		return
	}
	r.Reply(&remoting.Reply{Body: p.Timers.Metrics()})
}
