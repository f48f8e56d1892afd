// Package client knows who is connected to the broker: the consumers and producers that heartbeats announce, and the queues that
// orderly consumers have locked.
//
// It keeps tables and says who must be told of a change; it sends nothing but the change notices ([Notifier]), decides no
// permissions and stores nothing on disk: a restart forgets it all, and the clients' next heartbeats bring it back.
// Start at [Consumers.Register].
package client

import (
	"context"

	"apogee/remoting"
)

// Channel is the connection of a client; *remoting.Conn is one. Channels are compared by identity.
type Channel interface {
	RemoteText() string
	Oneway(out remoting.Outgoing) error
	Call(ctx context.Context, out remoting.Outgoing) (*remoting.Response, error)
	Close()
}

// Identity is how a client introduced itself. Language and version come from the request header, not from the heartbeat's body.
type Identity struct {
	ClientID string
	Language remoting.Language
	Version  int32
}

// Member is one connected client of a group.
type Member struct {
	Identity
	Channel    Channel
	LastUpdate int64 // ms, of the last heartbeat
}
