package ha

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"apogee/internal/clock"
	"apogee/internal/leaktest"
	"apogee/store"
	"apogee/store/record"
	"apogee/store/vfs"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// settings is a configuration that tests change.
type settings struct {
	mu sync.Mutex
	c  Config
}

func newSettings() *settings {
	return &settings{c: Config{
		Heartbeat: time.Hour, Housekeeping: time.Hour, Batch: 1000, MaxGap: 1 << 20, SlaveTimeout: time.Hour, Required: 2, MostPerSec: 1 << 40,
	}}
}

func (s *settings) get() Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.c
}

func (s *settings) set(change func(*Config)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.c)
}

// options are those of a small store in memory.
func options(mem *vfs.Mem, role store.Role) store.Options {
	o := store.Defaults()
	o.FS, o.RootDir, o.BrokerRole = mem, "/store", role
	o.MappedFileSizeCommitLog, o.MappedFileSizeConsumeQueue = 16<<10, 1000
	o.MaxHashSlotNum, o.MaxIndexNum = 100, 400
	return o
}

func openStore(t testing.TB, o store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(o)
	must(t, err)
	must(t, s.Start())
	return s
}

// master is a broker that others copy.
type master struct {
	t    testing.TB
	mem  *vfs.Mem
	conf *settings
	st   *store.Store
	srv  *Server
}

func newMaster(t testing.TB, mem *vfs.Mem, change func(*store.Options)) *master {
	t.Helper()
	m := newMasterOf(t, mem, change)
	must(t, m.srv.Listen("127.0.0.1:0"))
	return m
}

// newMasterOf makes one that does not listen.
func newMasterOf(t testing.TB, mem *vfs.Mem, change func(*store.Options)) *master {
	t.Helper()
	conf := newSettings()
	return newMasterWith(t, mem, &Classic{Config: conf.get}, conf, change)
}

// newMasterWith makes one with a policy.
func newMasterWith(t testing.TB, mem *vfs.Mem, p Policy, conf *settings, change func(*store.Options)) *master {
	t.Helper()
	m := &master{t: t, mem: mem, conf: conf}
	m.srv = NewServer(ServerOptions{
		Store: func() *store.Store { return m.st }, Config: m.conf.get, Policy: p, Now: clock.Now, Log: slog.New(slog.DiscardHandler),
	})
	o := options(mem, store.SyncMaster)
	o.Replicas = m.srv.Acks()
	if change != nil {
		change(&o)
	}
	m.st = openStore(t, o)
	return m
}

func (m *master) addr() string { return m.srv.Addr().String() }

func (m *master) close() {
	m.srv.Close()
	_ = m.st.Close() // of an abandoned disk
}

// slave is a broker that copies.
type slave struct {
	mem  *vfs.Mem
	conf *settings
	st   *store.Store
	c    *Client
}

func newSlave(t testing.TB, mem *vfs.Mem, id int64, addr string, change func(*store.Options)) *slave {
	t.Helper()
	s := &slave{mem: mem, conf: newSettings()}
	s.conf.set(func(c *Config) { c.ID = id })
	o := options(mem, store.Slave)
	if change != nil {
		change(&o)
	}
	s.st = openStore(t, o)
	s.c = NewClient(ClientOptions{Store: s.st, Config: s.conf.get, Now: clock.Now, Log: slog.New(slog.DiscardHandler), Dial: dial})
	s.c.Follow(addr, "test", "")
	s.c.Start()
	return s
}

func (s *slave) close() {
	s.c.Stop()
	_ = s.st.Close() // of an abandoned disk
}

func dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	end := clock.Now().Add(20 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !f() {
		if clock.Now().After(end) {
			t.Fatalf("%s: not within 20 s", what)
		}
		<-tick.C
	}
}

var host = netip.MustParseAddrPort("127.0.0.1:10911")

func message(body string) *record.Message {
	return &record.Message{Topic: "T", Body: []byte(body), BornTimestamp: 1, BornHost: host, StoreHost: host}
}

// outcome hears of a put.
type outcome chan store.PutStatus

func (o outcome) Complete(s store.PutStatus) { o <- s }

// put puts without waiting.
func put(t testing.TB, s *store.Store, body string) (store.PutResult, outcome) {
	t.Helper()
	o := make(outcome, 1)
	r := s.Put(message(body), o)
	if r.Status != store.PutOK {
		t.Fatalf("put: status %d, %v", r.Status, r.Err)
	}
	return r, o
}

func logOf(t testing.TB, s *store.Store) []byte {
	t.Helper()
	begin, end := s.Bounds()
	b := make([]byte, end-begin)
	must(t, s.CopyLog(begin, b))
	return b
}
