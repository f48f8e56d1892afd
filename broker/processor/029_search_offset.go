package processor

import (
	"strings"

	"apogee/remoting"
	"apogee/remoting/header"
)

// 029 SEARCH_OFFSET_BY_TIMESTAMP: the offset at a time (AdminBrokerProcessor.searchOffsetByTimestamp). boundaryType upper means the last
// message stored at or before it, anything else the first at or after it. It answers SUCCESS also for what does not exist: offset 0.
func (p *Processor) searchOffset(r *remoting.Request) {
	var h header.SearchOffsetByTimestampRequest
	if !decode(r, &h) {
		return
	}
	upper := strings.EqualFold(h.BoundaryType, "upper")
	off := p.Queues.OffsetByTime(h.Topic, h.QueueID, h.Timestamp, upper)
	r.Reply(&remoting.Reply{Header: &header.SearchOffsetByTimestampResponse{Offset: off}})
}
