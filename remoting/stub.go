package remoting

// This file holds signatures that other packages build against until the real files land; it goes away with them.

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"apogee/remoting/header"
)

// Language is the sender's language code (spec: remoting.md 2.5).
type Language int8

// Serialization is the header encoding of a frame.
type Serialization uint8

const (
	JSON     Serialization = 0
	RocketMQ Serialization = 1
)

// String is the Java name of the language, "" if unknown.
func (l Language) String() string { panic("stub") }

// Replier answers one request, at any time, from any goroutine. It is a small value and may be copied; the answer to a one-way
// request is dropped (its Release is still called).
type Replier struct{ conn *Conn }

func (r Replier) Conn() *Conn                    { return r.conn }
func (r Replier) Reply(rep *Reply)               { panic("stub") }
func (r *Request) Replier() Replier              { return r.replier }
func (r *Request) Conn() *Conn                   { return r.replier.conn }
func (r *Request) Oneway() bool                  { return r.Flag&2 != 0 }
func (r *Request) Reply(rep *Reply)              { r.replier.Reply(rep) }
func (r *Request) Detach() *Request              { panic("stub") }
func (r *Request) Decode(h header.Decoder) error { return h.DecodeFields(r.Fields) }

// Fail answers with a code and a remark and nothing else.
func (r *Request) Fail(code int32, format string, args ...any) { panic("stub") }

// Conn is one connection, of a server or of a client.
type Conn struct{}

func (c *Conn) RemoteAddr() netip.AddrPort { panic("stub") }
func (c *Conn) LocalAddr() netip.AddrPort  { panic("stub") }

// RemoteText is RemoteAddr as "ip:port", made once.
func (c *Conn) RemoteText() string { panic("stub") }
func (c *Conn) Closed() bool       { panic("stub") }
func (c *Conn) Close()             { panic("stub") }

// Writable is false while more answers wait than the high-water mark allows.
func (c *Conn) Writable() bool                                            { panic("stub") }
func (c *Conn) Call(ctx context.Context, out Outgoing) (*Response, error) { panic("stub") }
func (c *Conn) Oneway(out Outgoing) error                                 { panic("stub") }

// Attachment is one value that the layer above keeps with the connection.
func (c *Conn) Attachment() any { panic("stub") }
func (c *Conn) Attach(v any)    { panic("stub") }

// Lane is a bounded queue of requests with workers of its own, for work that may block.
type Lane struct{}

// LaneStats tells how full a lane is.
type LaneStats struct {
	Queued, Capacity int
	HeadWait         time.Duration
}

func NewLane(name string, workers, capacity int) *Lane { panic("stub") }
func (l *Lane) Stats() LaneStats                       { panic("stub") }

// Submit queues work; false means the lane is full (the caller answers SYSTEM_BUSY).
func (l *Lane) Submit(f func()) bool { panic("stub") }
func (l *Lane) Close()               { panic("stub") }

// Limits bound what a connection may cost (spec: remoting.md 1.3, 2.1). Zero fields take Java's defaults.
type Limits struct {
	MaxFrame      int           // 16 MiB, length field included
	Idle          time.Duration // 120 s without a read or a write closes the connection
	WriteTimeout  time.Duration
	WriteHighMark int
}

// ServerOptions says what a server listens on and what it serves.
type ServerOptions struct {
	Addr          string // host:port; port 0 lets the kernel choose
	Routes        []Route
	Fallback      Handler       // for codes without a route; nil answers REQUEST_CODE_NOT_SUPPORTED (3)
	Serialization Serialization // kept for parity; answers go out in the request's own serialization
	Limits        Limits
	TLS           *TLSPolicy
	Log           *slog.Logger
	Now           func() time.Time
	OnOpen        func(*Conn)
	OnClose       func(*Conn) // after it, nothing more arrives from the connection
}

// TLSPolicy is tls.server.mode and where the certificate comes from.
type TLSPolicy struct {
	Mode   string                      // disabled, permissive, enforcing
	Config func() (*tls.Config, error) // asked for each handshake, so that a reload takes effect
}

// Server listens, decodes and dispatches.
type Server struct{}

func Listen(opts ServerOptions) (*Server, error) { panic("stub") }
func (s *Server) Addr() net.Addr                 { panic("stub") }

// Shutdown stops accepting, lets work under way answer until ctx ends, then closes every connection and waits for its goroutines.
func (s *Server) Shutdown(ctx context.Context) error { panic("stub") }

// ClientOptions configure a Client.
type ClientOptions struct {
	Serialization Serialization
	Limits        Limits
	DialTimeout   time.Duration // 3 s
	TLS           *tls.Config
	Routes        []Route // requests that the other side makes over our connections (name server to broker)
	Log           *slog.Logger
	Now           func() time.Time
}

// Client keeps one connection to each address and multiplexes calls on it.
type Client struct{}

func NewClient(opts ClientOptions) *Client { panic("stub") }
func (c *Client) Call(ctx context.Context, addr string, out Outgoing) (*Response, error) {
	panic("stub")
}
func (c *Client) Oneway(ctx context.Context, addr string, out Outgoing) error { panic("stub") }
func (c *Client) Close()                                                      { panic("stub") }
