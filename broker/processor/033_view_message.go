package processor

import (
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// 033 VIEW_MESSAGE_BY_ID: the record that starts at a commit-log offset, which is what an offset message id says
// (QueryMessageProcessor.viewMessageById). Answers 1 where none starts.
func (p *Processor) viewMessage(r *remoting.Request) {
	var h header.ViewMessageByIDRequest
	if !decode(r, &h) {
		return
	}
	rec, release, err := p.Reader.View(h.Offset)
	if err != nil {
		r.Fail(code.SystemError, "can not find message by the offset, %d", h.Offset)
		return
	}
	r.Reply(&remoting.Reply{Regions: [][]byte{rec}, Release: release})
}
