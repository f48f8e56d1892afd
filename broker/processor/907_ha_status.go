package processor

import "apogee/remoting"

// 907 GET_BROKER_HA_STATUS: replication as a master or a slave sees it (AdminBrokerProcessor.getBrokerHaStatus). Always 0.
func (p *Processor) haStatus(r *remoting.Request) { replyJSON(r, p.HA.HAStatus()) }
