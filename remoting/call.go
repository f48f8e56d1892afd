package remoting

import (
	"context"
	"fmt"
)

// Call makes a request over this connection and waits for its answer, the end of ctx or of the connection. It is not for handlers
// that run on the event loop: the answer may come over the very loop that waits.
func (c *Conn) Call(ctx context.Context, out Outgoing) (*Response, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("call code %d to %s: %w", out.Code, c.RemoteText(), err)
	}
	answer := make(chan *Response, 1)
	c.callMu.Lock()
	if c.ended {
		c.callMu.Unlock()
		return nil, fmt.Errorf("call code %d to %s: %w", out.Code, c.RemoteText(), ErrClosed)
	}
	if c.calls == nil {
		c.calls = make(map[int32]chan *Response)
	}
	c.opaque++
	opaque := c.opaque
	c.calls[opaque] = answer
	c.callMu.Unlock()

	h := head{code: out.Code, opaque: opaque, fields: out.Header, extra: out.Extra}
	err := c.send(c.ep.ser, &h, out.Body, nil, nil, nil)
	if err == nil {
		select {
		case r, ok := <-answer:
			if ok {
				return r, nil
			}
			err = ErrClosed
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	c.callMu.Lock()
	delete(c.calls, opaque)
	c.callMu.Unlock()
	return nil, fmt.Errorf("call code %d to %s: %w", out.Code, c.RemoteText(), err)
}

// Oneway makes a request that nobody answers.
func (c *Conn) Oneway(out Outgoing) error {
	c.callMu.Lock()
	c.opaque++
	opaque := c.opaque
	c.callMu.Unlock()
	h := head{code: out.Code, opaque: opaque, flag: flagOneway, fields: out.Header, extra: out.Extra}
	if err := c.send(c.ep.ser, &h, out.Body, nil, nil, nil); err != nil {
		return fmt.Errorf("one-way code %d to %s: %w", out.Code, c.RemoteText(), err)
	}
	return nil
}

// resolve gives an answer to the call that waits for it. Calls that gave up leave answers that nobody wants.
func (c *Conn) resolve(r *Request) {
	c.callMu.Lock()
	answer, ok := c.calls[r.Opaque]
	delete(c.calls, r.Opaque)
	c.callMu.Unlock()
	if !ok {
		c.ep.log.Debug("answer that matches no request", "addr", c.RemoteText(), "code", r.Code, "opaque", r.Opaque)
		return
	}
	var own Request
	r.copyTo(&own, nil)
	answer <- &Response{Code: own.Code, Version: own.Version, Remark: own.Remark, Fields: own.Fields, Body: own.Body}
}

func (c *Conn) failCalls() {
	c.callMu.Lock()
	calls := c.calls
	c.calls, c.ended = nil, true
	c.callMu.Unlock()
	for _, answer := range calls {
		close(answer)
	}
}
