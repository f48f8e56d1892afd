package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"apogee/bench"
	"apogee/internal/testkit"
)

// subject is one implementation under test: a broker with a name server of its own.
type subject struct {
	target          testkit.Target
	dir             string
	namesrv, broker testkit.Server
	slave           testkit.Server // of the broker; nil where there is none
	since           time.Time      // when the broker was started last
}

const (
	apogeeName = "apogee"
	javaName   = "java"
)

func (x *subject) name() string   { return x.target.Name() }
func (x *subject) isApogee() bool { return x.name() == apogeeName }

func (x *subject) servers() []testkit.Server {
	var out []testkit.Server
	for _, s := range []testkit.Server{x.slave, x.broker, x.namesrv} {
		if s != nil {
			out = append(out, s)
		}
	}
	return out
}

// stop ends both servers.
func (x *subject) stop() error {
	var errs []error
	for _, s := range x.servers() {
		errs = append(errs, s.Stop())
	}
	x.slave, x.broker, x.namesrv = nil, nil, nil
	return errors.Join(errs...)
}

// freeze stops the servers' processes where they are, so that an idle broker takes nothing from the other; thaw lets them go on.
func (x *subject) freeze() { x.signal(syscall.SIGSTOP) }
func (x *subject) thaw()   { x.signal(syscall.SIGCONT) }

func (x *subject) signal(sig syscall.Signal) {
	for _, s := range x.servers() {
		_ = s.Signal(sig)
	}
}

// started is what the start of a broker cost.
type started struct {
	FirstSend time.Duration // from the start of the process to the first acknowledged send
	CPU       time.Duration // used by then
	Other     float64       // cores that others used meanwhile
}

// baseConf are the settings that all brokers have. Retention is long so that no run meets a deletion, and requests may wait: the
// reference refuses them after 200 ms, which a busy machine makes of every load, and then it is the refusals that are measured. All
// else that concerns speed is the default of both.
func baseConf(name string) testkit.Props {
	return testkit.Props{
		"brokerName": "bench-" + name, "brokerClusterName": "Bench", "brokerId": "0", "flushDiskType": "ASYNC_FLUSH",
		"fileReservedTime": "48", "deleteWhen": quietHour(time.Now()), "diskMaxUsedSpaceRatio": "95",
		"waitTimeMillsInSendQueue": "20000", "osPageCacheBusyTimeOutMills": "20000",
	}
}

// quietHour is an hour of the day that is far off: files of any age stay then.
func quietHour(now time.Time) string { return fmt.Sprintf("%02d", (now.UTC().Hour()+12)%24) }

// startSubject starts name server and broker, and sends until a message is acknowledged.
func startSubject(ctx context.Context, t testkit.Target, dir string, more testkit.Props) (*subject, started, error) {
	x := &subject{target: t, dir: dir}
	port, err := freePorts()
	if err != nil {
		return x, started{}, err
	}
	namesrv, err := t.Namesrv(filepath.Join(dir, "namesrv"), testkit.Props{"listenPort": fmt.Sprint(port + 2)})
	if err != nil {
		return x, started{}, err
	}
	x.namesrv = namesrv
	conf := baseConf(t.Name()).With(more)
	conf["listenPort"] = fmt.Sprint(port)
	x.since = time.Now()
	s, err := timeStart(ctx, testkit.Addr(port), func() error {
		b, err := t.Broker(x.brokerDir(), namesrv.Addr(), conf)
		if err == nil {
			x.broker = b
		} else {
			notStarted(t.Name(), b)
		}
		return err
	})
	if err != nil {
		return x, s, fmt.Errorf("start %s: %w", t.Name(), err)
	}
	return x, s, nil
}

// startSlave starts a slave of the broker, and waits until it has all there is.
func (x *subject) startSlave(ctx context.Context, conf testkit.Props) error {
	port, err := freePorts()
	if err != nil {
		return err
	}
	all := baseConf(x.name()).With(conf).With(testkit.Props{"brokerRole": "SLAVE", "brokerId": "1", "listenPort": fmt.Sprint(port)})
	s, err := x.target.Broker(filepath.Join(x.dir, "slave"), x.namesrv.Addr(), all)
	if err != nil {
		notStarted(x.name(), s)
		return fmt.Errorf("start a slave of %s: %w", x.name(), err)
	}
	x.slave = s
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := bench.AwaitSlave(ctx, x.broker.Addr(), s.Addr()); err != nil {
		return fmt.Errorf("slave of %s: %w", x.name(), err)
	}
	return nil
}

// freePorts finds ports for a broker and a name server: one, its neighbours that a broker opens too (two below and one above), and the
// second one above. They are not taken where the kernel takes those of outgoing connections: after a run with many short ones, none of
// these is free for a minute.
func freePorts() (int, error) {
	for range 1000 {
		port, ok := 12_000+rand.IntN(20_000), true
		for _, p := range []int{port - 2, port, port + 1, port + 2} {
			// All interfaces: the reference opens the replica port there.
			l, err := net.Listen("tcp", fmt.Sprintf(":%d", p))
			if ok = ok && err == nil; err == nil {
				_ = l.Close()
			}
		}
		if ok {
			return port, nil
		}
	}
	return 0, errors.New("no neighbouring ports from 12,000 to 32,000 are free")
}

func (x *subject) brokerDir() string { return filepath.Join(x.dir, "broker") }

// storeDir is where a broker has its store; a store may be prepared there before it starts.
func (x *subject) storeDir() string { return storeDir(x.dir) }

func storeDir(dir string) string { return filepath.Join(dir, "broker", "store") }

// restart starts a broker that has ended again on its files.
func (x *subject) restart(ctx context.Context) (started, error) {
	x.since = time.Now()
	return timeStart(ctx, x.broker.Addr(), func() error {
		err := x.broker.Restart(nil)
		if err != nil {
			notStarted(x.name(), x.broker)
			x.broker = nil
		}
		return err
	})
}

// notStarted ends what is left of a start that failed: a JVM that is too slow goes on; a process of ours is gone.
func notStarted(name string, s testkit.Server) {
	if name == javaName && s != nil {
		_ = s.Kill() // there may be nothing to kill
	}
}

// timeStart measures from the start of a process to the first message that it acknowledges.
func timeStart(ctx context.Context, addr string, start func() error) (started, error) {
	began, others := time.Now(), bench.WatchOthers(0)
	type first struct {
		at    time.Time
		cpu   time.Duration
		other float64
		err   error
	}
	acked := make(chan first, 1)
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	go func() {
		f := first{}
		if f.at, f.err = firstSend(ctx, addr); f.err == nil {
			f.cpu, f.other, f.err = cpuOf(addr, others)
		}
		acked <- f
	}()
	if err := start(); err != nil {
		cancel()
		<-acked
		return started{}, err
	}
	f := <-acked
	if f.err != nil {
		return started{}, fmt.Errorf("first send: %w", f.err)
	}
	return started{FirstSend: f.at.Sub(began), CPU: f.cpu, Other: f.other}, nil
}

func cpuOf(addr string, others func(int) float64) (time.Duration, float64, error) {
	pid, err := bench.Listener(addr)
	if err != nil {
		return 0, 0, err
	}
	used, err := bench.CPU(pid)
	return used, others(pid), err
}

// flushSlaveTimeout is the answer of a broker that has stored a message, and whose slave is not there yet.
const flushSlaveTimeout = 12

// firstSend tries to send one message until the broker takes it.
func firstSend(ctx context.Context, broker string) (time.Time, error) {
	o := bench.Options{
		Broker: broker, Topic: "FirstTopic", Topics: 1, Queues: 1, Create: true, Connections: 1, InFlight: 1, Body: 100, Batch: 1,
		Wait: true, Count: 1, Duration: 10 * time.Second,
	}
	for {
		res, err := bench.Send(ctx, o)
		if err == nil && (res.Messages > 0 || res.Errors[flushSlaveTimeout] > 0) {
			return time.Now(), nil
		}
		select {
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("%w, last: %w", ctx.Err(), err)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// logFiles are the segments of a broker's log, oldest first.
func (x *subject) logFiles() []string {
	names, err := filepath.Glob(filepath.Join(x.storeDir(), "commitlog", "[0-9]*"))
	if err != nil {
		return nil // a folder whose name is a pattern: no figure is worth it
	}
	return names
}

// logBytes is how much log a broker keeps, to a segment.
func (x *subject) logBytes() int64 {
	var n int64
	for _, name := range x.logFiles() {
		if st, err := os.Stat(name); err == nil {
			n += st.Size()
		}
	}
	return n
}
