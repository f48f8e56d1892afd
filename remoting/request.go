package remoting

import (
	"fmt"

	"apogee/remoting/code"
	"apogee/remoting/header"
)

// Replier answers one request, at any time, from any goroutine. It is a small value and may be copied; the answer to a one-way
// request is dropped (its Release is still called).
type Replier struct {
	conn   *Conn
	sink   func(*Reply) // instead of conn, for requests that no connection brought
	opaque int32
	ser    Serialization
	oneway bool
}

// Conn is the connection that the request came from, nil for a request made by NewRequest.
func (r Replier) Conn() *Conn { return r.conn }

// Reply sends the answer. One that the connection can't take any more is dropped.
func (r Replier) Reply(rep *Reply) { r.reply(rep, nil) }

func (r Replier) reply(rep *Reply, b *Batch) {
	switch {
	case r.sink != nil && !r.oneway:
		own := *rep // so that the replies of the hot path, below, stay on their stacks
		r.sink(&own)
		return
	case r.conn == nil || r.oneway:
		if rep.Release != nil {
			rep.Release()
		}
		return
	}
	h := head{code: rep.Code, opaque: r.opaque, flag: flagResponse, remark: rep.Remark, fields: rep.Header, shared: rep.Shared, extra: rep.Extra}
	// An error means that the connection is gone, which its OnClose reports.
	_ = r.conn.send(r.ser, &h, rep.Body, rep.Regions, rep.Release, b)
}

// Replier is what an answer given after the handler has returned needs.
func (r *Request) Replier() Replier { return r.replier }

// Conn is the connection that the request came from.
func (r *Request) Conn() *Conn { return r.replier.conn }

// Oneway says that the sender wants no answer.
func (r *Request) Oneway() bool { return r.Flag&flagOneway != 0 }

// Reply sends the answer.
func (r *Request) Reply(rep *Reply) {
	r.answered = true
	r.replier.Reply(rep)
}

// AtBatchEnd has f called once all requests that were read with this one have been worked, on the same goroutine, before their
// answers are written: for work that costs less for many at a time. It is false, and f is not called, for a request that is not
// one of a batch, such as one in a lane. Nothing of the request is valid any more when f is called, but its Replier is.
// An f that is the LastPutOff is called only once.
func (r *Request) AtBatchEnd(f Finisher) bool {
	if r.batch == nil {
		return false
	}
	r.answered = true // as good as
	if f != r.LastPutOff() {
		r.batch.ends = append(r.batch.ends, f)
		r.batch.eps = append(r.batch.eps, r.replier.conn.ep)
	}
	return true
}

// LastPutOff is what AtBatchEnd was given last in the batch of this request, nil if nothing was: for handlers that finish many
// requests together.
func (r *Request) LastPutOff() Finisher {
	if r.batch == nil || len(r.batch.ends) == 0 {
		return nil
	}
	return r.batch.ends[len(r.batch.ends)-1]
}

// HandOver tells the event loop that another goroutine goes on with the request, and that its answer waits for it. The loop, which keeps
// its context of Go's scheduler while it waits, then lets that one run first: somebody else would need 60 µs to take it from there.
func (r *Request) HandOver() {
	if r.batch != nil {
		r.batch.handed = true
	}
}

// Fail answers with a code and a remark and nothing else.
func (r *Request) Fail(code int32, format string, args ...any) {
	remark := format
	if len(args) > 0 {
		remark = fmt.Sprintf(format, args...)
	}
	r.Reply(&Reply{Code: code, Remark: remark})
}

// Decode reads the custom header.
func (r *Request) Decode(h header.Decoder) error { return h.DecodeFields(r.Fields) }

// GoOn has h work a copy of the request in a lane, where it may block; a full lane answers SYSTEM_BUSY. That is how a request of a route
// with a lane begins, and how a handler goes on that finds out that it would block. The copy is valid until h returns.
func (r *Request) GoOn(l *Lane, h Handler) {
	if r.replier.conn == nil {
		d := new(Request)
		r.copyTo(d, nil)
		if !l.Submit(func() { h(d) }) {
			r.Fail(code.SystemBusy, remarkOverload)
		}
		return
	}
	ep := r.replier.conn.ep
	p := ep.parked.Get().(*parked)
	p.mem = r.copyTo(&p.Request, p.mem)
	ep.busy.Add(1)
	if !l.put(job{ep: ep, handle: h, req: p}) {
		ep.release(p)
		r.Fail(code.SystemBusy, remarkOverload)
		return
	}
	r.answered = true // as good as
	r.HandOver()
}

// copyTo makes dst a copy of r whose strings and body lie in mem, or in new memory if they don't fit. It returns that memory.
func (r *Request) copyTo(dst *Request, mem []byte) []byte {
	n := len(r.Remark) + len(r.Body)
	for i := range r.Fields {
		n += len(r.Fields[i].Key) + len(r.Fields[i].Value)
	}
	if cap(mem) < n {
		mem = make([]byte, 0, n)
	}
	mem = mem[:0]
	take := func(s string) string {
		at := len(mem)
		mem = append(mem, s...)
		return view(mem[at:])
	}
	fields := dst.Fields[:0]
	*dst = *r
	dst.batch = nil
	dst.Remark = take(r.Remark)
	if cap(fields) < len(r.Fields) {
		fields = make(header.Fields, 0, len(r.Fields))
	}
	for i := range r.Fields {
		fields = append(fields, header.Pair{Key: take(r.Fields[i].Key), Value: take(r.Fields[i].Value)})
	}
	dst.Fields = fields
	at := len(mem)
	mem = append(mem, r.Body...)
	dst.Body = mem[at:len(mem):len(mem)]
	return mem
}

// NewRequest makes a request that no connection brought, whose answer goes to answer: for tests of handlers, and for one handler
// that uses another. The Opaque and Flag of r count as on the wire.
func NewRequest(r Request, answer func(*Reply)) *Request {
	r.replier = Replier{sink: answer, opaque: r.Opaque, oneway: r.Oneway()}
	return &r
}
