// Package remoting speaks RocketMQ's remoting protocol, as a server and as a client.
//
// It knows frames, both header serializations, connections, TLS and the dispatch of requests to handlers. It knows nothing of
// topics or stores: what a code means is the business of whoever registers a [Route]. Start reading at [Server] for the way in
// and at [Conn] for the way out. The layout of a frame is in docs/format/remoting.md.
package remoting

import (
	"context"

	"apogee/remoting/header"
)

// Request is one request frame as its handler sees it. Everything in it (strings, Fields, Body) aliases the connection's read
// buffer and dies when the handler returns: [Request.GoOn] makes a copy that lives on, [Request.Replier] is what an answer
// given later needs.
type Request struct {
	Code     int32
	Language Language
	Version  int32
	Opaque   int32
	Flag     int32
	Remark   string
	Fields   header.Fields
	Body     []byte

	replier  Replier
	answered bool     // through the request itself
	batch    *scratch // that the request came with; nil where it was copied, and where no connection brought it
}

// Reply is an answer. Body and the strings of Header are copied before Reply returns; Regions are not.
type Reply struct {
	Code   int32
	Remark string
	Header header.Encodable
	Shared *header.Fixed // pairs that all answers of a kind carry, such as MSG_REGION
	Extra  header.Fields // more pairs
	Body   []byte

	// Regions follow Body on the wire without being copied (mapped file ranges). They must stay valid until Release is called,
	// which happens exactly once, whatever becomes of the connection.
	Regions [][]byte
	Release func()
}

// Finisher ends work that a handler began. See [Request.AtBatchEnd].
type Finisher interface{ EndBatch() }

// Attendant is told when an event loop begins to work requests of its server, and when it has worked them and their answers have
// left. In between it may put off what can as well be done then, on the loop: see [ServerOptions]. Several goroutines call it.
type Attendant interface {
	Begin()
	End()
}

// Handler works one request and answers it through the request or its Replier, now or later, at most once.
// A handler of a route without a lane runs on the connection's event loop and must not block: no I/O, no lock held across I/O.
type Handler func(r *Request)

// Route binds a request code to its handler. A nil Lane means inline, on the event loop.
type Route struct {
	Code   int32
	Lane   *Lane
	Handle Handler
}

// Outgoing is a request that this side makes.
type Outgoing struct {
	Code   int32
	Header header.Encodable
	Extra  header.Fields
	Body   []byte
}

// Response is the answer to an [Outgoing]; it owns its memory.
type Response struct {
	Code    int32
	Version int32
	Remark  string
	Fields  header.Fields
	Body    []byte
}

// Caller makes requests to an address; [Client] is one.
type Caller interface {
	Call(ctx context.Context, addr string, out Outgoing) (*Response, error)
	Oneway(ctx context.Context, addr string, out Outgoing) error
}
