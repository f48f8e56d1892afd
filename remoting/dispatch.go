package remoting

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"apogee/remoting/code"
	"apogee/remoting/header"
)

// Remarks that Java's clients and operators know.
const (
	remarkOverload = "[OVERLOAD]system busy, start flow control for a while"
	remarkGoAway   = "please go away"
)

// goAwayAbove is MQVersion V5_3_1: clients after it understand GO_AWAY.
const goAwayAbove = 475

// endpoint is what the connections of one server or one client share.
type endpoint struct {
	routes   routeTable
	fallback Handler
	ser      Serialization // of requests that this side makes
	limits   Limits
	tls      *TLSPolicy
	log      *slog.Logger
	now      func() time.Time
	onClose  func(*Conn)
	onFault  func()

	attendant Attendant

	goroutines sync.WaitGroup // of the connections and their owner, who waits for them

	goAway  atomic.Bool  // new requests get GO_AWAY
	busy    atomic.Int64 // requests that lanes hold or work on
	lastNow atomic.Int64 // what now said at the last tick, in nanoseconds: the time that connections note for their reads

	scratch  sync.Pool // *scratch
	parked   sync.Pool // *parked
	outboxes sync.Pool // *outbox
	inboxes  sync.Pool // *inbox
}

// scratch is what a batch of frames needs while it is read and worked on.
type scratch struct {
	req    Request
	buf    []byte
	ends   []Finisher
	eps    []*endpoint // whose ends those are
	worked int         // requests since the last end
	handed bool        // to another goroutine, since the last wait
}

func (s *scratch) init() { s.req.Fields = make(header.Fields, 0, 32) }

// parked is a request that waits for a lane's worker, in memory of its own that the next one reuses.
type parked struct {
	Request
	mem []byte
}

// unreadable says that regions of an answer cannot be read.
func (ep *endpoint) unreadable(err error) {
	ep.log.Error("what was to be sent cannot be read", "err", err)
	if ep.onFault != nil {
		ep.onFault()
	}
}

func newEndpoint(routes []Route, fallback Handler) *endpoint {
	ep := &endpoint{routes: newRouteTable(routes), fallback: fallback}
	ep.scratch.New = func() any {
		s := new(scratch)
		s.init()
		return s
	}
	ep.parked.New = func() any { return new(parked) }
	ep.inboxes.New = func() any { return new(inbox) }
	ep.outboxes.New = func() any { return new(outbox) }
	return ep
}

// routeTable finds the route of a code: small codes by index, the rest (pop, controller) by map.
type routeTable struct {
	dense  [1024]*Route
	sparse map[int32]*Route
}

func newRouteTable(routes []Route) routeTable {
	t := routeTable{sparse: map[int32]*Route{}}
	for _, r := range routes {
		if r.Code >= 0 && int(r.Code) < len(t.dense) {
			t.dense[r.Code] = &r
		} else {
			t.sparse[r.Code] = &r
		}
	}
	return t
}

func (t *routeTable) find(code int32) *Route {
	if code >= 0 && int(code) < len(t.dense) {
		return t.dense[code]
	}
	return t.sparse[code]
}

// dispatch gives a request to its handler or to its lane.
func (ep *endpoint) dispatch(r *Request) {
	if ep.goAway.Load() && r.Version > goAwayAbove {
		r.Fail(code.GoAway, remarkGoAway)
		return
	}
	route := ep.routes.find(r.Code)
	switch {
	case route == nil && ep.fallback == nil:
		r.Fail(code.RequestCodeNotSupported, " request type %d not supported", r.Code)
	case route == nil:
		ep.run(ep.fallback, r)
	case route.Lane == nil:
		ep.run(route.Handle, r)
	default:
		r.GoOn(route.Lane, route.Handle)
	}
}

// runParked is what a lane's worker does with a request.
func (ep *endpoint) runParked(h Handler, p *parked) {
	defer ep.release(p)
	ep.run(h, &p.Request)
}

// maxParked bounds the memory that an idle parked request keeps.
const maxParked = 64 << 10

func (ep *endpoint) release(p *parked) {
	if cap(p.mem) > maxParked {
		p.mem = nil
	}
	p.replier, p.Body, p.Remark = Replier{}, nil, ""
	ep.parked.Put(p)
	ep.busy.Add(-1)
}

// run calls a handler. One that panics is a defect of ours and must not take the other connections with it: the request gets
// SYSTEM_ERROR, as Java answers an exception.
func (ep *endpoint) run(h Handler, r *Request) {
	defer func() {
		if p := recover(); p != nil {
			ep.panicked(r, p)
		}
	}()
	h(r)
}

// end lets handlers finish what they have begun in a batch.
func (s *scratch) end() {
	for i, f := range s.ends {
		s.ends[i] = nil
		s.eps[i].end(f)
	}
	s.ends, s.eps = s.ends[:0], s.eps[:0]
}

func (ep *endpoint) end(f Finisher) {
	defer func() {
		if p := recover(); p != nil {
			ep.log.Error("end of a batch panicked", "err", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	f.EndBatch()
}

func (ep *endpoint) panicked(r *Request, p any) {
	ep.log.Error("handler panicked", "code", r.Code, "addr", r.replier.conn.RemoteText(), "err", fmt.Sprint(p), "stack", string(debug.Stack()))
	if !r.answered {
		r.Fail(code.SystemError, "process request %d failed, %v", r.Code, p)
	}
}
