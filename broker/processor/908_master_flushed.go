package processor

import (
	"apogee/remoting"
	"apogee/remoting/header"
)

// 908 RESET_MASTER_FLUSH_OFFSET: a slave is told up to where its master's log is on disk, which its checkpoint keeps
// (AdminBrokerProcessor.resetMasterFlushOffset). Always 0; a master does nothing.
func (p *Processor) resetMasterFlushed(r *remoting.Request) {
	if p.cfg().ID == 0 {
		replyOK(r)
		return
	}
	var h header.ResetMasterFlushOffsetRequest
	if !decode(r, &h) {
		return
	}
	p.HA.ResetMasterFlushed(h.MasterFlushOffset)
	replyOK(r)
}
