package remoting

import (
	"crypto/tls"
	"log/slog"
	"time"

	"apogee/internal/clock"
)

// Limits bound what a connection may cost (spec: remoting.md 1.3, 2.1). Zero fields take the defaults.
type Limits struct {
	MaxFrame  int           // 16 MiB, length field included
	Idle      time.Duration // 120 s without a read or a write closes the connection
	Handshake time.Duration // 10 s (netty's SslHandler) for a TLS handshake

	// WriteTimeout is how long output may wait without a byte of it leaving before the connection is given up: 30 s.
	WriteTimeout time.Duration

	// WriteHighMark is how many bytes of output may wait before the connection isn't read any more: 1 MiB. Reading goes on at
	// half of it. (Java: netty's 64 KiB, which a single pull answer exceeds.)
	WriteHighMark int
}

const (
	defaultMaxFrame      = 16 << 20
	defaultIdle          = 120 * time.Second
	defaultHandshake     = 10 * time.Second
	defaultWriteTimeout  = 30 * time.Second
	defaultWriteHighMark = 1 << 20
	defaultDialTimeout   = 3 * time.Second
)

func (l Limits) withDefaults() Limits {
	if l.MaxFrame <= 0 {
		l.MaxFrame = defaultMaxFrame
	}
	if l.Idle <= 0 {
		l.Idle = defaultIdle
	}
	if l.Handshake <= 0 {
		l.Handshake = defaultHandshake
	}
	if l.WriteTimeout <= 0 {
		l.WriteTimeout = defaultWriteTimeout
	}
	if l.WriteHighMark <= 0 {
		l.WriteHighMark = defaultWriteHighMark
	}
	return l
}

// ServerOptions says what a server listens on and what it serves.
type ServerOptions struct {
	Addr          string // host:port; port 0 lets the kernel choose
	Routes        []Route
	Fallback      Handler       // for codes without a route; nil answers REQUEST_CODE_NOT_SUPPORTED (3)
	Serialization Serialization // of requests that the server makes; answers go out in the request's own serialization
	Limits        Limits
	TLS           *TLSPolicy // nil means disabled
	Log           *slog.Logger
	Now           func() time.Time
	OnOpen        func(*Conn)
	OnClose       func(*Conn) // after it, nothing more arrives from the connection
	OnFault       func()      // regions of an answer could not be read; its connection is closed
	Attendant     Attendant   // may be nil

	// GoAway makes Shutdown answer GO_AWAY to clients that understand it (enableShutdownGracefully) until its context ends or
	// the last connection is gone.
	GoAway bool
}

// TLSPolicy is tls.server.mode and where the certificate comes from.
type TLSPolicy struct {
	Mode   string                      // disabled, enforcing; anything else is permissive, as in Java
	Config func() (*tls.Config, error) // asked for each handshake, so that a reload takes effect
}

// ClientOptions configure a Client.
type ClientOptions struct {
	Serialization Serialization
	Limits        Limits
	DialTimeout   time.Duration // 3 s
	TLS           *tls.Config
	Routes        []Route // requests that the other side makes over our connections (name server to broker)
	// Lost hears of a connection that has ended, unless the client was closed. It must not block. Nil does nothing.
	Lost func(addr string)
	Log  *slog.Logger
	Now  func() time.Time
}

func orDiscard(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}

func orRealClock(now func() time.Time) func() time.Time {
	if now == nil {
		return clock.Now
	}
	return now
}
