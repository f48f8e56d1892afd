package acting

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"apogee/broker/config"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
	"apogee/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is what a broker sees of the others, and what it does.
type world struct {
	remoting.Caller

	mu      sync.Mutex // guards what follows
	members map[int64]string
	err     error
	linkErr error
	back    error
	hears   bool
	did     []string
	wants   bool // to know what the master had on disk
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.did = append(w.did, fmt.Sprintf(format, args...))
}

// set changes the world.
func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// failing is one of the errors of now.
func (w *world) failing(err *error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return *err
}

func (w *world) known(context.Context) (map[int64]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.members), w.err
}

func (w *world) Call(_ context.Context, addr string, out remoting.Outgoing) (*remoting.Response, error) {
	h := out.Header.(*header.ExchangeBrokerHAInfoRequest)
	w.note("exchange %s %s", addr, h.MasterHAAddress)
	if err := w.failing(&w.err); err != nil {
		return nil, err
	}
	if h.MasterHAAddress == "" {
		return &remoting.Response{Fields: header.Fields{{Key: "masterHaAddress", Value: "ha-of-" + addr}, {Key: "masterAddress", Value: addr}, {Key: "masterFlushOffset", Value: "7"}}}, nil
	}
	return &remoting.Response{Code: code.Success}, nil
}

func (w *world) SetMaster(ha, _, _ string) { w.note("link %s", ha) }

func (w *world) Await(_ context.Context, host string) error {
	w.note("await %s", host)
	return w.failing(&w.linkErr)
}

func (w *world) InitEnd() int64 { return 5 }

func (w *world) WantsFlushed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wants
}

func (w *world) NoteFlushed(off int64) {
	w.note("flushed %d", off)
	w.set(func() { w.wants = false })
}

func (w *world) Hears(time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hears
}

// take is what was done since the last time.
func (w *world) take() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := strings.Join(w.did, ", ")
	w.did = nil
	return out
}

func newService(w *world, id int64, change ...func(*config.Broker)) *Service {
	c := &config.Broker{
		Name: "b", ID: id, Role: store.AsyncMaster, SlaveActing: true, Replicas: 2, MembersEvery: time.Second, HeartbeatEvery: 100 * time.Second,
	}
	if id > 0 {
		c.Role = store.Slave
	}
	for _, f := range change {
		f(c)
	}
	return New(Options{
		Config: config.NewLive(c), Caller: w, Log: slog.New(slog.DiscardHandler), Self: func() string { return fmt.Sprintf("self:%d", id) },
		HASelf: func() string { return "selfha:1" }, Link: w,
		Members: w.known,
		Special: func(on bool) { w.note("special %v", on) }, Register: func(context.Context) { w.note("register") },
		Heartbeat: func(context.Context) { w.note("heartbeat") }, SetMaster: func(addr, _, _ string) { w.note("master %s", addr) },
		TakeBack:     func(_ context.Context, addr string) error { w.note("take back %s", addr); return w.failing(&w.back) },
		MasterIsBack: func() { w.note("wake") },
	})
}

// runs has a service at work while f looks at it.
func runs(t *testing.T, w *world, id int64, f func(s *Service), change ...func(*config.Broker)) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(w, id, change...)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		s.Begin(ctx)
		go func() { s.Run(ctx); close(done) }()
		f(s)
		cancel()
		<-done
	})
}

// later is what was done in a while.
func (w *world) later(d time.Duration) string {
	time.Sleep(d)
	synctest.Wait()
	return w.take()
}

func check(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

func TestWithoutActingMasters(t *testing.T) {
	off := func(c *config.Broker) { c.SlaveActing = false }
	w := new(world)
	runs(t, w, 0, func(*Service) { check(t, "master", w.later(time.Hour), "special true, register") }, off)
	runs(t, w, 1, func(s *Service) {
		check(t, "slave", w.later(time.Hour), "register")
		if s.Active() {
			t.Error("slave is on duty")
		}
	}, off)
}

// alone is one replica, which is not isolated at its start.
func alone(c *config.Broker) { c.Replicas = 1 }

func TestSlaveActs(t *testing.T) {
	w := &world{members: map[int64]string{0: "m:1", 1: "self:1", 2: "c:1"}}
	runs(t, w, 1, func(s *Service) {
		check(t, "start", w.later(10*time.Second), "register")
		w.set(func() { w.members = nil }) // the name servers have just started
		check(t, "nobody is known", w.later(10*time.Second), "")
		w.set(func() { w.err = errors.New("down") })
		check(t, "no name server", w.later(10*time.Second), "")
		w.set(func() { w.err, w.members = nil, map[int64]string{1: "self:1", 2: "c:1"} })
		check(t, "master is gone", w.later(10*time.Second), "master , link , special true")
		if !s.Active() || s.Least() != 1 {
			t.Errorf("active %v, least %d", s.Active(), s.Least())
		}
		w.set(func() { w.members = map[int64]string{0: "m:1", 1: "self:1"} })
		check(t, "master is back", w.later(10*time.Second), "special false, exchange m:1 , link ha-of-m:1, master m:1, wake")
		w.set(func() { w.members = map[int64]string{1: "self:1"} })
		s.Notify(Notice{ID: 1, Addr: "self:1", Offline: "m:1"})
		check(t, "a name server tells", w.later(10*time.Second), "master , link , special true")
		w.set(func() { w.members = map[int64]string{0: "m:1", 1: "self:1"} })
		s.Notify(Notice{ID: 0, Addr: "m:1", HAAddr: "m:2"})
		check(t, "of the return too", w.later(10*time.Second), "special false, link m:2, master m:1, wake")
	}, alone)
}

func TestOnlyTheLowestSlaveActs(t *testing.T) {
	w := &world{members: map[int64]string{0: "m:1", 1: "a:1", 2: "self:2"}}
	runs(t, w, 2, func(*Service) {
		w.later(5 * time.Second)
		w.set(func() { delete(w.members, 0) })
		check(t, "another one is lower", w.later(5*time.Second), "master , link ")
		w.set(func() { delete(w.members, 1) })
		check(t, "none is", w.later(5*time.Second), "master , link , special true")
	}, alone)
}

// A name server that was exchanged, or started again, does not make a slave act beside its master.
func TestNameServerThatForgotTheMaster(t *testing.T) {
	w := &world{members: map[int64]string{0: "m:1", 1: "self:1"}, hears: true}
	runs(t, w, 1, func(s *Service) {
		w.later(5 * time.Second)
		w.set(func() { w.members = map[int64]string{1: "self:1"} })
		check(t, "the master is heard", w.later(20*time.Second), "")
		s.Notify(Notice{ID: 1, Addr: "self:1", Offline: "m:1"})
		check(t, "whatever a name server tells", w.later(time.Second), "")
		w.set(func() { w.members = map[int64]string{0: "m:1", 1: "self:1"} })
		check(t, "it is named again", w.later(5*time.Second), "")
		w.set(func() { w.members = map[int64]string{1: "self:1"} })
		w.later(5 * time.Second)
		w.set(func() { w.hears = false })
		check(t, "it is not heard any more", w.later(200*time.Millisecond), "master , link , special true")
	}, alone)
}

func TestIsolatedMaster(t *testing.T) {
	w := &world{members: map[int64]string{1: "one:1", 2: "two:1", 0: "self:0"}, linkErr: errors.New("no connection")}
	runs(t, w, 0, func(s *Service) {
		if !s.Isolated() {
			t.Error("not isolated")
		}
		check(t, "no connection", w.later(500*time.Millisecond), "exchange one:1 selfha:1, await one")
		w.set(func() { w.linkErr, w.back = nil, errors.New("no") })
		check(t, "nothing to take", w.later(time.Second), "exchange one:1 selfha:1, await one, take back one:1")
		w.set(func() { w.back = nil })
		check(t, "all is well", w.later(time.Second),
			"exchange one:1 selfha:1, await one, take back one:1, exchange two:1 selfha:1, await two, take back two:1, special true, register")
		if s.Isolated() || !s.Active() {
			t.Errorf("isolated %v, active %v", s.Isolated(), s.Active())
		}
		w.set(func() { w.members = map[int64]string{1: "one:1"} }) // the name servers have lost it
		check(t, "a master stays one", w.later(time.Minute), "")
	})
}

func TestIsolatedAlone(t *testing.T) {
	w := &world{err: errors.New("down")}
	runs(t, w, 1, func(*Service) {
		check(t, "no name server", w.later(3500*time.Millisecond), "")
		w.set(func() { w.err = nil })
		check(t, "nobody there", w.later(time.Second), "special true, register")
	})
}

func TestIsolatedSlave(t *testing.T) {
	w := &world{members: map[int64]string{0: "m:1"}}
	runs(t, w, 1, func(*Service) {
		check(t, "with a master", w.later(500*time.Millisecond), "exchange m:1 , link ha-of-m:1, await ha-of-m, master m:1, register")
	})
	w = &world{members: map[int64]string{2: "c:1"}}
	runs(t, w, 1, func(*Service) { check(t, "with a higher one", w.later(500*time.Millisecond), "special true, register") })
	w = &world{members: map[int64]string{1: "c:1"}}
	runs(t, w, 3, func(*Service) { check(t, "with a lower one", w.later(500*time.Millisecond), "register") })
}

func TestSkipPreOnline(t *testing.T) {
	w := &world{members: map[int64]string{1: "one:1"}}
	runs(t, w, 0, func(*Service) { check(t, "at once", w.later(time.Second/2), "special true, register") }, func(c *config.Broker) { c.SkipPreOnline = true })
}

func TestFlushedOffsetIsNoted(t *testing.T) {
	w := &world{members: map[int64]string{0: "m:1"}, wants: true}
	runs(t, w, 1, func(s *Service) {
		check(t, "at its start", w.later(500*time.Millisecond), "exchange m:1 , flushed 7, link ha-of-m:1, await ha-of-m, master m:1, register")
		w.set(func() { w.wants = true })
		s.TakeHAInfo(Info{HAAddr: "ha:2", Addr: "m:1", Flushed: 9})
		check(t, "when the master tells", w.later(0), "flushed 9, link ha:2")
		w.set(func() { w.members = map[int64]string{1: "self:1"} })
		w.later(10 * time.Second)
		w.set(func() { w.wants, w.members = true, map[int64]string{0: "m:1", 1: "self:1"} })
		s.Notify(Notice{ID: 0, Addr: "m:1", HAAddr: "m:2"})
		check(t, "when it is back", w.later(time.Second/2), "special false, exchange m:1 , flushed 7, link m:2, master m:1, wake")
	})
}
