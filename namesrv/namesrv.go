// Package namesrv is the name server: brokers register their topics with it, clients ask it where a topic is.
//
// It serves the 23 request codes of the spec's table (request-codes.tsv); dispatch.go lists them, and there is one file for each
// family of codes, numbered by its first code. What brokers tell is kept in memory by the topology; only the KV store (kv.go) and
// changed settings (318_config.go) are on disk. It does not coordinate with other name servers: brokers tell each of them.
//
// Start reading at [Server], then dispatch.go, then topology.go.
package namesrv

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"apogee/compat/properties"
	"apogee/remoting"
	"apogee/store/vfs"
)

// Deps are what a server needs of the world.
type Deps struct {
	FS  vfs.FS
	Now func() time.Time
	Log *slog.Logger
	TLS *remoting.TLSPolicy // nil serves plain connections only

	// ClientTLS is for the connections that the server makes to brokers.
	ClientTLS *tls.Config

	// Source is what the configuration was bound from: its settings without effect here are kept when the configuration is
	// written. It may be nil.
	Source *properties.File

	// Upstream lists the name servers of another environment, which are asked for topics that are unknown here (clusterTest).
	Upstream func() []string
}

// Sizes of the queues between the event loops and the workers. Java's hold 10000 requests of any size; a request here may be 16 MiB.
const (
	registerQueue = 1024
	adminQueue    = 256
	notifyQueue   = 1024
)

const (
	firstScan     = 5 * time.Second        // after the start (NamesrvController.startScheduleService)
	notifyTimeout = 300 * time.Millisecond // for each broker (RouteInfoManager.notifyMinBrokerIdChanged)
)

// Server is a name server.
type Server struct {
	deps    Deps
	log     *slog.Logger
	started time.Time

	conf   atomic.Pointer[Config]
	source *properties.File // guarded by confMu
	confMu sync.Mutex       // held while the configuration changes and its file is written

	topology *topology
	kv       *kvStore
	remote   *remoting.Server
	client   *remoting.Client // to brokers; to other name servers with clusterTest

	register *remoting.Lane // what changes the topology: one worker, so that a broker's requests keep their order
	admin    *remoting.Lane // what writes files or walks over everything

	leaving chan departure
	notices chan minIDChange
	stop    chan struct{}
	workers sync.WaitGroup
}

// New makes a server, which loads its KV store. cfg needs both paths (see [Config.FillPaths]).
func New(cfg Config, deps Deps) (*Server, error) {
	if cfg.KVConfigPath == "" {
		return nil, errors.New("name server: kvConfigPath is not set")
	}
	kv, err := openKV(deps.FS, cfg.KVConfigPath, deps.Now, deps.Log)
	if err != nil {
		return nil, fmt.Errorf("name server: %w", err)
	}
	s := &Server{
		deps: deps, log: deps.Log, kv: kv,
		source:  properties.Merge(cfg.ConfigStorePath, deps.Source),
		leaving: make(chan departure, max(cfg.UnregisterQueueCapacity, 1)),
		notices: make(chan minIDChange, notifyQueue),
		stop:    make(chan struct{}),
	}
	s.conf.Store(&cfg)
	s.topology = newTopology(deps.Now, deps.Log, s.conf.Load)
	s.topology.notify = s.postNotice
	s.topology.orders = func(topic string) string {
		order, _ := kv.get(orderTopicConfig, topic)
		return order
	}
	return s, nil
}

// Start opens the port and starts the housekeeping.
func (s *Server) Start() error {
	cfg := s.conf.Load()
	s.started = s.deps.Now()
	s.register = remoting.NewLane("register", 1, registerQueue)
	s.admin = remoting.NewLane("admin", 1, adminQueue)
	s.client = remoting.NewClient(remoting.ClientOptions{
		DialTimeout: cfg.ConnectTimeout, TLS: s.deps.ClientTLS, Log: s.log, Now: s.deps.Now,
	})
	remote, err := remoting.Listen(remoting.ServerOptions{
		Addr:    net.JoinHostPort(cfg.BindAddress, strconv.Itoa(cfg.ListenPort)),
		Routes:  s.routes(),
		Limits:  remoting.Limits{Idle: cfg.ChannelMaxIdle, WriteHighMark: cfg.WriteHighMark},
		TLS:     s.deps.TLS,
		Log:     s.log,
		Now:     s.deps.Now,
		OnClose: s.disconnected,
		GoAway:  cfg.ShutdownGrace,
	})
	if err != nil {
		s.closeWorkers()
		return fmt.Errorf("name server: %w", err)
	}
	s.remote = remote
	s.workers.Go(s.unregisterLoop)
	s.workers.Go(s.scanLoop)
	s.workers.Go(s.noticeLoop)
	return nil
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.remote.Addr() }

// Config is the configuration in effect. It must not be changed.
func (s *Server) Config() *Config { return s.conf.Load() }

// Shutdown stops accepting, lets requests under way finish until ctx ends, and waits for everything that Start started.
func (s *Server) Shutdown(ctx context.Context) error {
	if cfg := s.conf.Load(); cfg.ShutdownGrace {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cfg.ShutdownWait)
		defer cancel()
	}
	err := s.remote.Shutdown(ctx)
	close(s.stop)
	s.workers.Wait()
	s.closeWorkers()
	return err
}

func (s *Server) closeWorkers() {
	s.register.Close()
	s.admin.Close()
	s.client.Close()
}

// disconnected hears of every connection that ends. Those over which a broker registered carry a mark.
func (s *Server) disconnected(c *remoting.Conn) {
	if c.Attachment() == nil {
		return
	}
	for _, d := range s.topology.disconnected(c) {
		s.log.Info("broker connection closed", "cluster", d.cluster, "broker", d.name, "id", d.id, "addr", d.addr)
		s.depart(d)
	}
}

// depart queues an unregistration; false means that the queue is full. Who is not taken now expires later.
func (s *Server) depart(d departure) bool {
	select {
	case s.leaving <- d:
		return true
	default:
		return false
	}
}

// unregisterLoop applies unregistrations, as many at a time as there are (BatchUnregistrationService): when a machine with many
// connections goes, the topics are walked over once.
func (s *Server) unregisterLoop() {
	for {
		var batch []departure
		select {
		case <-s.stop:
			return
		case d := <-s.leaving:
			batch = append(batch, d)
		}
		for len(s.leaving) > 0 {
			batch = append(batch, <-s.leaving) // this loop is the only reader
		}
		s.topology.remove(batch)
	}
}

func (s *Server) scanLoop() {
	timer := time.NewTimer(firstScan)
	defer timer.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-timer.C:
		}
		s.scan()
		timer.Reset(max(s.conf.Load().ScanInterval, time.Millisecond))
	}
}

// scan drops brokers that have been silent for too long.
func (s *Server) scan() {
	for _, d := range s.topology.expired() {
		queued := s.depart(d)
		s.log.Warn("broker expired", "cluster", d.cluster, "broker", d.name, "id", d.id, "addr", d.addr, "queued", queued)
	}
}

// upstream lists the name servers to ask for unknown topics.
func (s *Server) upstream() []string {
	if s.deps.Upstream == nil {
		return nil
	}
	var list []string
	for _, addr := range s.deps.Upstream() {
		if addr = strings.TrimSpace(addr); addr != "" {
			list = append(list, addr)
		}
	}
	return list
}
