package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"apogee/compat/body"
	"apogee/compat/fastjson"
)

const (
	codeHeartbeat = 34

	callTimeout = 15 * time.Second
	dialTimeout = 5 * time.Second

	// sources is from how many loopback addresses connections come: each has its own ports, and ports of closed connections rest for a
	// minute.
	sources = 16
	// dialers is how many connections are made, or told to beat, at a time.
	dialers = 8
)

// dialFrom connects from one of several addresses of this machine if addr is a loopback address, else from where the kernel likes.
func dialFrom(addr string, n int) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	if host, _, err := net.SplitHostPort(addr); err == nil {
		if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() && ip.To4() != nil && manyLoopbacks {
			d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+n%sources))}
			d.Control = bindLate
		}
	}
	return d.Dial("tcp", addr)
}

// heartbeatFrame is what a producer says every 30 s.
func heartbeatFrame(clientID, group string) []byte {
	hb := body.HeartbeatData{ClientID: clientID, ProducerDataSet: []body.ProducerData{{GroupName: group}}}
	return frame(JSON, codeHeartbeat, opaqueBase, nil, fastjson.Marshal(&hb))
}

// exchange writes one request and reads its answer, with buf to read into.
func exchange(nc net.Conn, request, buf []byte) (answer, error) {
	if err := nc.SetDeadline(time.Now().Add(callTimeout)); err != nil {
		return answer{}, err
	}
	if _, err := nc.Write(request); err != nil {
		return answer{}, err
	}
	c := &conn{Conn: nc, buf: buf}
	for {
		if err := c.fill(); err != nil {
			return answer{}, err
		}
		a, ok, err := c.next()
		if err != nil || ok {
			return a, err
		}
	}
}

// IdleOptions say how many connections to hold.
type IdleOptions struct {
	Broker      string
	PID         int // of the broker; 0: find it by its port
	Connections int
	Group       string        // producer group of all of them
	Every       time.Duration // between the heartbeats of a connection
	Hold        time.Duration // from the last connection made to the measurement; 0: at once
	Progress    io.Writer
}

// IdleResult is what connections cost that do nothing but heartbeats.
type IdleResult struct {
	Broker    string  `json:"broker"`
	BrokerPID int     `json:"broker_pid,omitempty"`
	Wanted    int     `json:"wanted"`
	Held      int     `json:"held"`  // made, and their first heartbeat answered
	Alive     int     `json:"alive"` // of these, answered one more at the end
	Before    Memory  `json:"memory_before"`
	After     Memory  `json:"memory_after"`
	Anonymous float64 `json:"anonymous_bytes_each"` // what the broker's anonymous memory grew by, for each connection
	Resident  float64 `json:"resident_bytes_each"`
	Beats     int64   `json:"heartbeats"`
	ConnCPU   float64 `json:"broker_cpu_us_per_connection"` // connecting, with the first heartbeat
	BeatCPU   float64 `json:"broker_cpu_us_per_heartbeat"`  // all later ones, and whatever the broker does besides
	FirstErr  string  `json:"first_error,omitempty"`
}

// Print writes the result for people.
func (r *IdleResult) Print(w io.Writer) error {
	text := fmt.Sprintf("idle connections at %s: %s of %s held, %s alive at the end\n", r.Broker, group(int64(r.Held)), group(int64(r.Wanted)), group(int64(r.Alive)))
	if r.BrokerPID != 0 {
		text += fmt.Sprintf("  broker (process %d): %.2f KiB anonymous, %.2f KiB resident a connection (%.1f to %.1f MiB anonymous)\n", r.BrokerPID, r.Anonymous/1024,
			r.Resident/1024, float64(r.Before.Anonymous)/(1<<20), float64(r.After.Anonymous)/(1<<20))
		text += fmt.Sprintf("  broker: %.1f us CPU for each connection with its first heartbeat, %.1f us for each of %s later ones\n", r.ConnCPU, r.BeatCPU, group(r.Beats))
	}
	if r.FirstErr != "" {
		text += "  first error: " + r.FirstErr + "\n"
	}
	_, err := io.WriteString(w, text)
	return err
}

// Idle makes connections, lets each send heartbeats, and measures what they take of the broker's memory. Fewer connections than wanted
// are no error but in the result: both ends have a limit on descriptors.
func Idle(ctx context.Context, o IdleOptions) (IdleResult, error) {
	res := IdleResult{Broker: o.Broker, Wanted: o.Connections}
	if o.Broker == "" || o.Connections < 1 || o.Every <= 0 {
		return res, fmt.Errorf("idle connections: %d to %q with a heartbeat every %v", o.Connections, o.Broker, o.Every)
	}
	pid := (&Options{Broker: o.Broker, PID: o.PID}).pid()
	res.BrokerPID = pid
	h := &holder{o: o}
	defer h.close()
	// The first connection costs what is needed once: code, tables, buffers.
	if err := h.connect(ctx, 0); err != nil {
		return res, fmt.Errorf("connect to %s: %w", o.Broker, err)
	}
	h.close()
	h.held = nil
	res.Before, _ = MemoryOf(pid)
	before := measure(pid)
	h.connectAll(ctx)
	made := measure(pid)
	res.Held = len(h.held)
	h.beatUntil(ctx, time.Now().Add(o.Hold))
	res.After, _ = MemoryOf(pid)
	end := measure(pid)
	res.Beats = h.beats.Load()
	res.Alive = h.beatAll(ctx)
	res.FirstErr = h.firstErr()
	if n := float64(res.Held); n > 0 && pid != 0 {
		res.Anonymous = float64(res.After.Anonymous-res.Before.Anonymous) / n
		res.Resident = float64(res.After.Resident-res.Before.Resident) / n
		res.ConnCPU = float64((made.broker - before.broker).Microseconds()) / n
	}
	if res.Beats > 0 {
		res.BeatCPU = float64((end.broker - made.broker).Microseconds()) / float64(res.Beats)
	}
	return res, ctx.Err()
}

// holder holds connections.
type holder struct {
	o     IdleOptions
	beats atomic.Int64 // answered heartbeats after the first of each connection

	mu   sync.Mutex
	held []held
	err  error
}

type held struct {
	net.Conn
	beat []byte // the request
}

func (h *holder) connect(_ context.Context, n int) error {
	c, err := dialFrom(h.o.Broker, n)
	if err != nil {
		return err
	}
	beat := heartbeatFrame(fmt.Sprintf("127.0.0.1@bench-idle-%05d", n), h.o.Group)
	a, err := exchange(c, beat, make([]byte, 1024))
	if err == nil && a.code != 0 {
		err = errors.New(a.text())
	}
	if err != nil {
		_ = c.Close()
		return fmt.Errorf("heartbeat: %w", err)
	}
	h.mu.Lock()
	h.held = append(h.held, held{c, beat})
	h.mu.Unlock()
	return nil
}

// connectAll ends early when connections fail: then there will not be more.
func (h *holder) connectAll(ctx context.Context) {
	var next atomic.Int64
	var failed atomic.Bool
	var wg sync.WaitGroup
	for range dialers {
		wg.Go(func() {
			for !failed.Load() && ctx.Err() == nil {
				n := int(next.Add(1))
				if n > h.o.Connections {
					return
				}
				if err := h.connect(ctx, n); err != nil {
					h.fail(fmt.Errorf("connection %d: %w", n, err))
					failed.Store(true)
				}
				if h.o.Progress != nil && n%1000 == 0 {
					_, _ = fmt.Fprintf(h.o.Progress, "%s connections\n", group(int64(n)))
				}
			}
		})
	}
	wg.Wait()
}

// beatUntil lets every connection beat when it is time, until the end.
func (h *holder) beatUntil(ctx context.Context, end time.Time) {
	tick := time.NewTicker(h.o.Every)
	defer tick.Stop()
	over := time.NewTimer(time.Until(end))
	defer over.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-over.C:
			return
		case <-tick.C:
			h.beatAll(ctx)
		}
	}
}

// beatAll sends a heartbeat on each connection and returns how many were answered.
func (h *holder) beatAll(ctx context.Context) int {
	var next, ok atomic.Int64
	var wg sync.WaitGroup
	for range dialers {
		wg.Go(func() {
			buf := make([]byte, 1024)
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(h.held) {
					return
				}
				a, err := exchange(h.held[i].Conn, h.held[i].beat, buf)
				if err == nil && a.code != 0 {
					err = errors.New(a.text())
				}
				if err != nil {
					h.fail(fmt.Errorf("heartbeat of connection %d: %w", i, err))
					continue
				}
				ok.Add(1)
			}
		})
	}
	wg.Wait()
	h.beats.Add(ok.Load())
	return int(ok.Load())
}

func (h *holder) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil {
		h.err = err
	}
}

func (h *holder) firstErr() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil {
		return ""
	}
	return h.err.Error()
}

func (h *holder) close() {
	for _, c := range h.held {
		_ = c.Close()
	}
}

// Churn makes connections, each for one heartbeat, Options.Connections of them at a time. Messages are connections; the delay is from
// connecting to the heartbeat's answer.
func Churn(ctx context.Context, o Options) (Result, error) { return churn(ctx, o, false) }

// ChurnSend is Churn with a send in the place of the heartbeat.
func ChurnSend(ctx context.Context, o Options) (Result, error) { return churn(ctx, o, true) }

func churn(ctx context.Context, o Options, send bool) (Result, error) {
	what := "heartbeat"
	if send {
		what = "send"
	}
	res := Result{Kind: "churn", Broker: o.Broker, Settings: fmt.Sprintf("%d at a time connect, make one %s, and close", o.Connections, what)}
	o.InFlight, o.Batch = 1, 1
	o.Body = max(1, o.Body)
	if err := o.check(); err != nil {
		return res, err
	}
	if send {
		if err := o.prepare(); err != nil {
			return res, err
		}
	}
	r := &run{opts: o}
	r.keys.Store(uint64(time.Now().UnixNano()))
	var workers []worker
	for i := range o.Connections {
		t := newTally()
		c := &churner{tally: &t, run: r, n: i, buf: make([]byte, 4096)}
		if send {
			c.sends = newSends(r)
		}
		workers = append(workers, c)
	}
	h, err := r.drive(ctx, workers, &res)
	l := latencyOf(h)
	res.Send = &l
	return res, err
}

// newSends makes requests without a connection of its own.
func newSends(r *run) *sender {
	s := &sender{run: r, per: 1}
	for q := range r.opts.Queues {
		t := sendTemplate(&r.opts, q, 1)
		s.templates = append(s.templates, t)
		s.place = append(s.place, places{t.places[markKey], t.places[markBorn], t.places[markTopic]})
	}
	return s
}

// churner makes one connection after the other.
type churner struct {
	*tally
	run   *run
	n     int
	sends *sender // nil for heartbeats
	buf   []byte

	mu     sync.Mutex
	now    net.Conn
	closed bool
}

func (c *churner) counts() *tally { return c.tally }

func (c *churner) work() error {
	for c.run.now() != ending {
		if err := c.once(c.run.now() == measuring); err != nil {
			if c.over() {
				return nil
			}
			return err
		}
	}
	return nil
}

func (c *churner) once(measured bool) error {
	began := time.Now()
	c.n += c.run.opts.Connections
	nc, err := dialFrom(c.run.opts.Broker, c.n)
	if err != nil {
		return err
	}
	defer func() { _ = nc.Close() }()
	if !c.take(nc) {
		return net.ErrClosed
	}
	a, err := exchange(nc, c.request(began), c.buf)
	if err != nil {
		return err
	}
	c.run.total.Add(1)
	if a.code != 0 {
		c.run.fails.Add(1)
	}
	if !measured {
		return nil
	}
	c.requests++
	if a.code != 0 {
		c.fail(&a)
		return nil
	}
	c.messages++
	c.run.done.Add(1)
	record(c.delay, time.Since(began))
	return nil
}

func (c *churner) request(now time.Time) []byte {
	if c.sends == nil {
		return heartbeatFrame(fmt.Sprintf("127.0.0.1@bench-churn-%d", c.n), c.run.opts.Group)
	}
	return c.sends.request(0, 0, uint64(now.UnixMilli()))
}

func (c *churner) take(nc net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = nc
	return !c.closed
}

func (c *churner) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// Close ends what is under way.
func (c *churner) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.now != nil {
		return c.now.Close()
	}
	return nil
}
