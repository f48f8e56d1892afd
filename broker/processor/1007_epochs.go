package processor

import (
	"apogee/remoting"
	"apogee/remoting/code"
)

// 1007 GET_BROKER_EPOCH_CACHE: the epochs of a broker in controller mode (AdminBrokerProcessor.getBrokerEpochCache). In every other mode,
// as here, always 1.
func (p *Processor) epochs(r *remoting.Request) {
	r.Fail(code.SystemError, "this request only for controllerMode")
}
